"""Walk over zstd frames by their headers, without decompressing (RFC 8878, section 3.1)."""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from gpu_pile.corpus.files import Source

CHUNK = 128 * 1024
"""Bytes asked of a decoder at a time, the largest content of a zstd block. What comes before damage must not depend on
the block size of the reader."""

MAGIC = b"\x28\xb5\x2f\xfd"
HEADER_BYTES_MAX = 18
BLOCK_HEADER_BYTES = 3
CHECKSUM_BYTES = 4
SKIPPABLE_HEADER_BYTES = 8
RLE_BLOCK, COMPRESSED_BLOCK, RESERVED_BLOCK = 1, 2, 3
CUT_OFF = "the frame is cut off: the file is truncated"
_ANY_FRAME = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
_SEARCHED_BYTES = 2**20


def is_skippable(head: bytes) -> bool:
    return len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5


class Frame(NamedTuple):
    """What a walk over a frame's block headers found.

    end:        position after the frame; the file's size if that is unknown
    problem:    why it cannot be walked to its end; "" if it can
    skippable:  it holds no data of the stream
    data:       there is something to decompress
    window:     bytes of memory that the decoder needs
    dictionary: number of the dictionary that it needs, 0 for none
    checksum:   bytes of the checksum after its last block
    """

    end: int
    problem: str = ""
    skippable: bool = False
    data: bool = False
    window: int = 0
    dictionary: int = 0
    checksum: int = 0


class _Header(NamedTuple):
    n_bytes: int
    window: int
    dictionary: int
    has_checksum: bool


def walk_frame(source: Source, start: int) -> Frame:
    """Return the frame at a position, by its headers alone: nothing is decompressed."""
    size = source.size
    head = source.pread(HEADER_BYTES_MAX, start)
    if is_skippable(head):
        return _skippable(head, start, size)
    if head[:4] != MAGIC:
        if MAGIC.startswith(head[:4]):
            return Frame(size, CUT_OFF)
        return Frame(size, f"garbage instead of a zstd frame: {head[:8].hex(' ')}")
    header = _parse_header(head)
    if isinstance(header, str):
        return Frame(size, header)
    end, problem = _walk_blocks(source, start + header.n_bytes)
    checksum = CHECKSUM_BYTES * header.has_checksum
    if not problem:
        end += checksum
        problem = CUT_OFF if end > size else ""
    return Frame(min(end, size), problem, False, True, header.window, header.dictionary, checksum)


def find_frame(source: Source, start: int) -> int:
    """Return where the next frame begins that can be walked to its end; the file's size if there is none."""
    while start < source.size:
        data = source.pread(_SEARCHED_BYTES + len(MAGIC) - 1, start)
        for match in _ANY_FRAME.finditer(data):
            if not walk_frame(source, start + match.start()).problem:
                return start + match.start()
        start += _SEARCHED_BYTES
    return source.size


def _skippable(head: bytes, start: int, size: int) -> Frame:
    if len(head) < SKIPPABLE_HEADER_BYTES:
        return Frame(size, CUT_OFF)
    end = start + SKIPPABLE_HEADER_BYTES + struct.unpack_from("<I", head, 4)[0]
    return Frame(end, skippable=True) if end <= size else Frame(size, CUT_OFF, skippable=True)


def _parse_header(head: bytes) -> _Header | str:
    """Return the header that these bytes begin with, or what is wrong with it."""
    if len(head) < 6:
        return CUT_OFF
    descriptor = head[4]
    if descriptor & 8:
        return "not a valid zstd frame header"
    single_segment, has_checksum = descriptor >> 5 & 1, bool(descriptor >> 2 & 1)
    position, window = 5, 0
    if not single_segment:
        exponent, mantissa = head[5] >> 3, head[5] & 7
        window = (1 << (10 + exponent)) + ((1 << (10 + exponent)) >> 3) * mantissa
        position = 6
    id_bytes = (0, 1, 2, 4)[descriptor & 3]
    dictionary = int.from_bytes(head[position : position + id_bytes], "little")
    position += id_bytes
    content_bytes = (single_segment, 2, 4, 8)[descriptor >> 6]
    if single_segment:
        content = int.from_bytes(head[position : position + content_bytes], "little")
        window = content + (256 if content_bytes == 2 else 0)
    position += content_bytes
    return CUT_OFF if position > len(head) else _Header(position, window, dictionary, has_checksum)


def first_block(source: Source, start: int) -> int:
    """Return where the first block begins of the frame at a position, which walk_frame() has accepted."""
    header = _parse_header(source.pread(HEADER_BYTES_MAX, start))
    assert not isinstance(header, str), header
    return start + header.n_bytes


def _walk_blocks(source: Source, position: int) -> tuple[int, str]:
    """Return (position after the last block, ""), or (the file's size, the problem)."""
    while True:
        is_last, position = block_at(source, position)
        if position < 0:
            return source.size, CUT_OFF if position == TRUNCATED else "corrupt zstd frame (bad block header)"
        if is_last:
            return position, ""


TRUNCATED, CORRUPT = -1, -2


def block_at(source: Source, position: int) -> tuple[bool, int]:
    """Return (whether the block whose header is at a position is the frame's last, where it ends).

    The end is TRUNCATED if the file has no header there, CORRUPT if it is no header.
    """
    raw = source.pread(BLOCK_HEADER_BYTES, position)
    if len(raw) < BLOCK_HEADER_BYTES:
        return False, TRUNCATED
    header = int.from_bytes(raw, "little")
    is_last, kind, length = header & 1, header >> 1 & 3, header >> 3
    if kind == RESERVED_BLOCK or (kind == COMPRESSED_BLOCK and length > CHUNK):
        return False, CORRUPT
    return bool(is_last), position + BLOCK_HEADER_BYTES + (1 if kind == RLE_BLOCK else length)
