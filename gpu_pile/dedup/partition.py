"""Records between processes: files in which records lie grouped by part, so that others read a part of each file.

    records in chunks, each grouped by part | int64[chunks, parts + 1], where in the file they begin | int64[3], chunks,
                                                                                            parts, width

A part is a range of column 0: column 0 >> shift. Files are as many as writers, not as writers times parts.
Whoever reads takes batches of consecutive parts that fit its memory; a part that does not is read several times, each
time a range of column 0. So memory is bounded, unless a single value of column 0 is in more records than fit.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gpu_pile.dedup.radix import group
from gpu_pile.errors import DataError
from gpu_pile.text.jit import jit
from gpu_pile.types import Array

PARTS_MAX = 4096
"""Where memory allows parts this large, no more of them: each is a piece to read of every chunk."""

WORK_BYTES = 1 << 26
"""Records that a work sorts, where that makes no more than PARTS_MAX / 2 works."""

SPLIT_BITS = 12
"""A part that is too large is looked at in ranges of column 0 of 2^-12 of its own."""


@dataclass(frozen=True)
class Layout:
    """How records of one kind are spread; small, sent to workers.

    width:  columns
    shift, parts: a record's part is column 0 >> shift, one of 0 .. parts - 1
    buffer: records that a buffer holds; a writer has two of them, a reader two
    works:  into how many works the parts are divided
    """

    width: int
    shift: int
    parts: int
    buffer: int
    works: int

    @classmethod
    def of(cls, width: int, expected: int, memory_bytes: int, values: int = 1 << 64) -> Layout:
        """For about this many records, spread evenly over values 0 .. values - 1 of column 0.

        memory_bytes: of four buffers.
        """
        size = 8 * width
        most = max(1024, memory_bytes // (4 * size))
        works = min(PARTS_MAX // 2, max(1, math.ceil(expected * size / WORK_BYTES)))
        parts = max(2 * works, math.ceil(2 * expected / most))
        bits = (values - 1).bit_length()
        shift = min(63, max(0, bits - (parts - 1).bit_length()))
        parts = ((values - 1) >> shift) + 1
        best = max(WORK_BYTES // size, parts << 12, math.ceil(2 * expected / parts))
        return cls(width, shift, parts, min(most, best), min(works, parts))

    def ranges(self) -> list[tuple[int, int]]:
        """The parts of each work."""
        cuts = [self.parts * i // self.works for i in range(self.works + 1)]
        return list(itertools.pairwise(cuts))


class Buffers:
    """Buffers for records, kept when they are given back: fresh memory costs more than the work done in it."""

    def __init__(self) -> None:
        self._free: list[Array] = []
        self._lock = threading.Lock()

    def take(self, rows: int, width: int) -> Array:
        """uint64[rows, width] of any content."""
        n = rows * width
        with self._lock:
            for i, flat in enumerate(self._free):
                if n <= len(flat):
                    return self._free.pop(i)[:n].reshape(rows, width)
            self._free = []  # all too small: as good as none
        return np.empty(n, np.uint64).reshape(rows, width)

    def give(self, *buffers: Array) -> None:
        with self._lock:
            self._free.extend(b.base if b.base is not None else b.reshape(-1) for b in buffers)

    def clear(self) -> None:
        with self._lock:
            self._free = []


BUFFERS = Buffers()


class Writer:
    """Writes one file. Nothing is said of it before close."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self.file, self.layout = file, layout
        self.buffer, self.grouped = (BUFFERS.take(layout.buffer, layout.width) for _ in range(2))
        self.n = 0
        self.written = 0
        self.index: list[Array] = []

    def add(self, records: Array) -> None:
        """uint64[n, width]"""
        while len(records):
            taken = records[: self.layout.buffer - self.n]
            self.buffer[self.n : self.n + len(taken)] = taken
            self.n += len(taken)
            records = records[len(taken) :]
            if self.n == self.layout.buffer:
                self.flush()

    def flush(self) -> None:
        bounds = group(self.buffer[: self.n], np.uint64(self.layout.shift), self.layout.parts, self.grouped)
        self.file.write(self.grouped[: self.n].data.cast("B"))
        self.index.append(bounds + self.written)
        self.written += self.n
        self.n = 0

    def close(self) -> None:
        if self.n:
            self.flush()
        index = np.array(self.index, np.int64).reshape(len(self.index), self.layout.parts + 1)
        self.file.write(index.tobytes())
        self.file.write(np.array([len(index), self.layout.parts, self.layout.width], np.int64).tobytes())
        self.abandon()

    def abandon(self) -> None:
        """The buffers are not needed any more."""
        BUFFERS.give(self.buffer, self.grouped)


@jit
def _within(records, low, high, out):
    """Copy the records with low <= column 0 <= high to out; returns how many they are."""
    n, width = records.shape
    found = 0
    for i in range(n):
        if low <= records[i, 0] <= high:
            for c in range(width):
                out[found, c] = records[i, c]
            found += 1
    return found


@jit
def _count(records, low, shift, counts):
    """Add to counts[i] the records with (column 0 - low) >> shift == i."""
    for i in range(len(records)):
        if records[i, 0] >= low:
            at = (records[i, 0] - low) >> shift
            if at < np.uint64(len(counts)):
                counts[np.int64(at)] += 1


def _cuts(sizes: Array, most: int) -> Iterator[tuple[int, int, int]]:
    """(start, stop, sum of their sizes) of consecutive items that together have at most so much, or are one."""
    at = 0
    while at < len(sizes):
        n, to = int(sizes[at]), at + 1
        while to < len(sizes) and n + sizes[to] <= most:
            n, to = n + int(sizes[to]), to + 1
        if n:
            yield at, to, n
        at = to


class Reader:
    """Parts start .. stop of several files, in their order."""

    def __init__(self, paths: Sequence[Path], layout: Layout, start: int, stop: int) -> None:
        self.paths, self.layout, self.start, self.stop = paths, layout, start, stop
        self._path: Path | None = None
        self._file: RawIOBase | None = None
        spans = []
        for number, path in enumerate(paths):
            with path.open("rb") as f:
                f.seek(-24, os.SEEK_END)
                chunks, parts, width = np.frombuffer(f.read(24), np.int64).tolist()
                if (parts, width) != (layout.parts, layout.width):
                    raise DataError(
                        f"{path} holds {parts} parts of {width} columns, not {layout.parts} of {layout.width}; "
                        "run the same command again to make it anew"
                    )
                index = f.seek(-24 - 8 * chunks * (parts + 1), os.SEEK_END)
                for chunk in range(chunks):
                    f.seek(index + 8 * (chunk * (parts + 1) + start))
                    spans.append((number, np.frombuffer(f.read(8 * (stop - start + 1)), np.int64)))
        self.files = [number for number, _ in spans]
        self.bounds = np.array([bounds for _, bounds in spans], np.int64).reshape(len(spans), stop - start + 1)
        self.sizes = np.diff(self.bounds, axis=1).sum(axis=0)

    def batches(self, buffer: Array) -> Iterator[Array]:
        """Records of consecutive ranges of column 0 in the order of the files and their order there, each as many as
        the buffer holds; all with an equal column 0 are in one batch, which then may be larger than the buffer."""
        for start, stop, n in _cuts(self.sizes, len(buffer)):
            if n <= len(buffer):
                yield self._read(start, stop, buffer)
            else:
                low = (self.start + start) << self.layout.shift
                yield from self._split(start, low, self.layout.shift, buffer)

    def _split(self, part: int, low: int, bits: int, buffer: Array) -> Iterator[Array]:
        """The records of a part with low <= column 0 < low + 2^bits, which are more than the buffer holds."""
        shift = max(0, bits - SPLIT_BITS)
        counts = np.zeros(1 << (bits - shift), np.int64)
        for records in self._slices(part, buffer):
            _count(records, np.uint64(low), np.uint64(shift), counts)
        for start, stop, n in _cuts(counts, len(buffer)):
            first, last = low + (start << shift), low + (stop << shift) - 1
            if n > len(buffer) and shift:
                yield from self._split(part, first, shift, buffer)
                continue
            out = buffer if n <= len(buffer) else np.empty((n, self.layout.width), np.uint64)
            slices, at = BUFFERS.take(1 << 16, self.layout.width), 0
            for records in self._slices(part, slices):
                at += _within(records, np.uint64(first), np.uint64(last), out[at:])
            BUFFERS.give(slices)
            yield out[:n]

    def _slices(self, part: int, buffer: Array) -> Iterator[Array]:
        """The records of a part, as many at a time as the buffer holds."""
        for i in range(len(self.bounds)):
            lo, hi = map(int, self.bounds[i, part : part + 2])
            for first in range(lo, hi, len(buffer)):
                yield self._fill(i, first, min(hi, first + len(buffer)), buffer)

    def _read(self, start: int, stop: int, buffer: Array) -> Array:
        n = 0
        for i in range(len(self.bounds)):
            n += len(self._fill(i, int(self.bounds[i, start]), int(self.bounds[i, stop]), buffer[n:]))
        return buffer[:n]

    def _fill(self, chunk: int, lo: int, hi: int, buffer: Array) -> Array:
        """Records lo .. hi of the file that a chunk is in."""
        out = buffer[: hi - lo]
        if not len(out):
            return out
        path = self.paths[self.files[chunk]]
        if self._path != path:
            self.close()
            self._path, self._file = path, path.open("rb", buffering=0)
        assert self._file is not None
        self._file.seek(8 * self.layout.width * lo)
        view, at = out.data.cast("B"), 0
        while at < len(view):
            n = self._file.readinto(view[at:])
            if not n:
                raise DataError(f"{path} ends before its record {hi}; run the same command again to make it anew")
            at += n
        return out

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._path, self._file = None, None
