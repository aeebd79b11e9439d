"""Seek points: places inside a zstd frame from which decompressing can begin (docs/seek-points.md).

A block of a frame can be decompressed alone if two things hold: the text before it that it refers to is at hand, and
the encoder carried no entropy table and no repeated offset across the boundary. Nothing in the file says so. So
boundaries are tried while the frame is decompressed from its beginning anyway: the text before a boundary as raw blocks
of a frame of its own, then the file's blocks as they are, must give the text that the whole frame gives. That frame is
valid zstd, which any decoder reads.

Equal text after a boundary does not prove equal text up to the next point. So every MiB of the stream is hashed on the
first reading, and compared whenever it is read from a point (gpu_pile.corpus.seeking).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import zstandard

from gpu_pile.corpus.files import Source
from gpu_pile.corpus.zstd_frames import CHUNK, MAGIC, Frame

STEP = 2**20
"""Bytes of the stream that are hashed together."""

SPACING = 64 * 2**20
"""Bytes of the stream from one point to the next, about."""

JOB = 8 * 2**20
"""Where a boundary is sought next after all tries failed: the threads of an encoder begin anew at multiples of this."""

WINDOW_MAX = 8 * 2**20
"""A frame of a larger window has no points: each would have to hold that much text."""

PREFIX = 256 * 2**10
"""Bytes of text before that suffice where a thread of an encoder began; the whole window is needed elsewhere."""

TRIES = 32
TRIED_BYTES = 16 * CHUNK
"""Boundaries that are tried near a place, and bytes of text after one that must be equal, at least."""

EMPTY_LAST_BLOCK = b"\x01\x00\x00"


@dataclass(frozen=True)
class SeekPoint:
    """A place from which decompressing can begin.

    offset:    byte of the file where the header of a block begins
    position:  byte of the decompressed stream that the block begins with
    frame_end: byte of the file where the block's frame ends
    checksum:  bytes of the checksum before that, which is of the whole frame
    window:    bytes of memory that the frame asks for
    before:    the text before the block that is needed
    """

    offset: int
    position: int
    frame_end: int
    checksum: int
    window: int
    before: bytes = field(repr=False)


def first_step(position: int) -> int:
    """Return the number of the first MiB of the stream that is whole when reading begins at a position."""
    return -(-position // STEP)


def frame_head(window: int, before: bytes) -> bytes:
    """Return the beginning of a frame whose text begins with `before`: header and raw blocks; no checksum follows."""
    head = [MAGIC, b"\x00", bytes([_window_descriptor(window)])]
    for first in range(0, len(before), CHUNK):
        raw = before[first : first + CHUNK]
        head += [(len(raw) << 3).to_bytes(3, "little"), raw]
    return b"".join(head)


def _window_descriptor(window: int) -> int:
    """Return the byte for the smallest window that is not smaller (RFC 8878, section 3.1.1.1.2)."""
    for exponent in range(32):
        for mantissa in range(8):
            if (1 << (10 + exponent)) // 8 * (8 + mantissa) >= window:
                return exponent << 3 | mantissa
    raise ValueError(f"a window of {window} bytes")


def decodes_to(window: int, before: bytes, blocks: bytes, text: bytes) -> bool:
    """Whether these blocks, decompressed after `before`, begin with `text`."""
    whole = frame_head(window, before) + blocks + EMPTY_LAST_BLOCK
    decompressor = zstandard.ZstdDecompressor(max_window_size=2 * WINDOW_MAX).decompressobj()
    try:
        decoded = decompressor.decompress(whole)
    except zstandard.ZstdError:
        return False
    return memoryview(decoded)[len(before) : len(before) + len(text)] == text


class _Boundary(NamedTuple):
    """Where a block begins: in the file, and in the text that was kept."""

    offset: int
    at: int


class PointSearch:
    """Finds the seek points of a shard while it is decompressed.

    For each frame: begin_frame(); wherever is_near() the position, the decoder feeds single blocks and calls add(), and
    at the frame's end end_frame().

    points: those found so far, ascending
    """

    def __init__(self, source: Source) -> None:
        self.points: list[SeekPoint] = []
        self._source = source
        self._frame: Frame | None = None

    def begin_frame(self, frame: Frame, position: int) -> None:
        """A frame begins that is sound by its headers; position: of its first byte in the stream."""
        self._frame = frame if 0 < frame.window <= WINDOW_MAX else None
        self._target = position + SPACING
        self._forget()

    def end_frame(self) -> None:
        """The frame has ended, or is damaged."""
        if self._frame is not None and self._kept > self._target - self._start:
            self._try_boundaries()
        self._frame = None

    def is_near(self, position: int) -> bool:
        """Whether the text from this position of the stream on is to be added, block by block."""
        return self._frame is not None and position >= self._target - self._frame.window - CHUNK

    def add(self, text: bytes, position: int, boundary: int | None) -> None:
        """Take the text at a position of the stream; boundary: where the next block begins in the file, if known."""
        assert self._frame is not None
        if not self._texts:
            self._start = position
        self._texts.append(text)
        self._kept += len(text)
        if boundary is not None:
            self._boundaries.append(_Boundary(boundary, self._kept))
        if self._start + self._kept >= self._target + TRIES * CHUNK + self._tried_bytes():
            self._try_boundaries()

    def _tried_bytes(self) -> int:
        """Bytes after a boundary that must be equal: all that can refer to text before it."""
        return max(TRIED_BYTES, self._frame.window if self._frame else 0)

    def _forget(self) -> None:
        self._texts: list[bytes] = []
        self._boundaries: list[_Boundary] = []
        self._start = self._kept = 0

    def _try_boundaries(self) -> None:
        """Take the first boundary from the target on that can be decompressed from."""
        assert self._frame is not None
        text, first = b"".join(self._texts), self._target - self._start
        candidates = [i for i, b in enumerate(self._boundaries[:-1]) if b.at >= first][:TRIES]
        point = next(filter(None, (self._point(text, i) for i in candidates)), None)
        if point is not None:
            self.points.append(point)
        spacing, nearest = JOB if point is None else SPACING, self._start + self._kept + self._frame.window + CHUNK
        self._target += spacing * max(1, -(-(nearest - self._target) // spacing))
        self._forget()

    def _point(self, text: bytes, i: int) -> SeekPoint | None:
        """Return the point at a boundary; None if the text after it cannot be decompressed from there."""
        frame, (offset, at) = self._frame, self._boundaries[i]
        assert frame is not None
        after = text[at : at + self._tried_bytes()]
        end = next((b.offset for b in self._boundaries[i:] if b.at >= at + len(after)), frame.end)
        before = text[max(0, at - frame.window) : at]
        first_block = self._source.pread(self._boundaries[i + 1].offset - offset, offset)
        if not decodes_to(frame.window, before, first_block, after[: self._boundaries[i + 1].at - at]):
            return None
        blocks = self._source.pread(end - offset, offset)
        needed = next((b for b in (before[-PREFIX:], before) if decodes_to(frame.window, b, blocks, after)), None)
        return (
            None
            if needed is None
            else SeekPoint(offset, self._start + at, frame.end, frame.checksum, frame.window, needed)
        )
