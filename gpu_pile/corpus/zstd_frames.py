"""Walk over zstd frames by their headers, without decompressing (RFC 8878, section 3.1)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from gpu_pile.corpus.files import Source

CHUNK = 128 * 1024
"""Bytes asked of a decoder at a time, always: so what comes before an error does not depend on the block size."""


MAGIC = b"\x28\xb5\x2f\xfd"


def is_skippable(head: bytes) -> bool:
    return len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5


@dataclass(frozen=True)
class Frame:
    """What a walk over a frame's block headers found; data: there is something to decompress."""

    end: int
    problem: str = ""
    skippable: bool = False
    data: bool = False
    window: int = 0
    dictionary: int = 0


def walk_frame(source: Source, start: int) -> Frame:
    """The frame at a position, by its headers alone: nothing is decompressed."""
    size = source.size
    head = source.pread(18, start)
    cut = "the frame is cut off: the file is truncated"
    if is_skippable(head):
        if len(head) < 8:
            return Frame(size, cut)
        end = start + 8 + struct.unpack_from("<I", head, 4)[0]
        return Frame(end, skippable=True) if end <= size else Frame(size, cut, skippable=True)
    if head[:4] != MAGIC:
        if MAGIC.startswith(head[:4]):
            return Frame(size, cut)
        return Frame(size, f"garbage instead of a zstd frame: {head[:8].hex(' ')}")
    if len(head) < 6:
        return Frame(size, cut)
    descriptor = head[4]
    single, checksum = descriptor >> 5 & 1, descriptor >> 2 & 1
    if descriptor & 8:
        return Frame(size, "not a valid zstd frame header")
    at = 5
    window = 0
    if not single:
        exponent, mantissa = head[5] >> 3, head[5] & 7
        window = (1 << (10 + exponent)) + ((1 << (10 + exponent)) >> 3) * mantissa
        at = 6
    id_bytes = (0, 1, 2, 4)[descriptor & 3]
    dictionary = int.from_bytes(head[at : at + id_bytes], "little")
    at += id_bytes
    content_bytes = (single, 2, 4, 8)[descriptor >> 6]
    if single:
        window = int.from_bytes(head[at : at + content_bytes], "little") + (256 if content_bytes == 2 else 0)
    at += content_bytes
    if at > len(head):
        return Frame(size, cut)
    position = start + at
    while True:
        raw = source.pread(3, position)
        if len(raw) < 3:
            return Frame(size, cut, data=True, window=window, dictionary=dictionary)
        header = int.from_bytes(raw, "little")
        kind, length = header >> 1 & 3, header >> 3
        if kind == 3 or (kind == 2 and length > CHUNK):
            return Frame(size, "corrupt zstd frame (bad block header)", data=True, window=window, dictionary=dictionary)
        position += 3 + (1 if kind == 1 else length)
        if header & 1:
            break
    position += 4 * checksum
    problem = "" if position <= size else cut
    return Frame(min(position, size), problem, data=True, window=window, dictionary=dictionary)


def find_frame(source: Source, start: int) -> int:
    """Where the next frame begins that can be walked to its end; the file's size if there is none."""
    step = 1 << 20
    while start < source.size:
        piece = source.pread(step + 3, start)
        for match in re.finditer(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", piece):
            if not walk_frame(source, start + match.start()).problem:
                return start + match.start()
        start += step
    return source.size
