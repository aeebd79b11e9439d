"""Partitioned files: records that one task writes, grouped by partition, so that others read a partition of each file.

    records in chunks, each grouped by partition
    int64[chunks, partitions + 1], where in the file, in records, each partition of each chunk begins
    int64[3], chunks, partitions, width

A partition is a range of column 0: column 0 >> shift. There is one file per writer, not one per writer and partition.
A reader takes batches of consecutive partitions that fit its memory. A partition that does not fit is read several
times, each time another range of column 0; so memory is bounded, unless a single value of column 0 is in more records
than fit and its records are wanted together.
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

PARTITIONS_MAX = 4096
"""More partitions than this are made only if memory demands it: each is a separate read from every chunk."""

TASK_BYTES = 1 << 26
"""Records that a task sorts; more if there would be more than PARTITIONS_MAX / 2 tasks."""

SPLIT_BITS = 12
"""A partition that is too large is split into 2^12 equal ranges of column 0."""


@dataclass(frozen=True)
class Layout:
    """How records of one kind are partitioned; small, sent to workers.

    width:  columns of a record
    shift, partitions: the partition of a record is column 0 >> shift, one of 0 .. partitions - 1
    buffer: records that a buffer holds; a writer has two of them, a reader two
    tasks:  how many tasks the partitions are divided among
    """

    width: int
    shift: int
    partitions: int
    buffer: int
    tasks: int

    @classmethod
    def of(cls, width: int, expected: int, memory_bytes: int, values: int = 1 << 64) -> Layout:
        """Return the layout for about this many records, spread evenly over values 0 .. values - 1 of column 0.

        memory_bytes: for four buffers.
        """
        size = 8 * width
        buffer_max = max(1024, memory_bytes // (4 * size))
        tasks = min(PARTITIONS_MAX // 2, max(1, math.ceil(expected * size / TASK_BYTES)))
        partitions = max(2 * tasks, math.ceil(2 * expected / buffer_max))
        bits = (values - 1).bit_length()
        shift = min(63, max(0, bits - (partitions - 1).bit_length()))
        partitions = ((values - 1) >> shift) + 1
        buffer = max(TASK_BYTES // size, partitions << 12, math.ceil(2 * expected / partitions))
        return cls(width, shift, partitions, min(buffer_max, buffer), min(tasks, partitions))

    def ranges(self) -> list[tuple[int, int]]:
        """Return the partitions of each task: (first, one past the last)."""
        bounds = [self.partitions * i // self.tasks for i in range(self.tasks + 1)]
        return list(itertools.pairwise(bounds))


class Buffers:
    """Reusable buffers for records: page faults on new memory cost more than the sorting done in it."""

    def __init__(self) -> None:
        self._free: list[Array] = []
        self._lock = threading.Lock()

    def take(self, rows: int, width: int) -> Array:
        """Return uint64[rows, width] of any content."""
        n = rows * width
        with self._lock:
            for i, flat in enumerate(self._free):
                if n <= len(flat):
                    return self._free.pop(i)[:n].reshape(rows, width)
            self._free = []  # all of them are too small
        return np.empty(n, np.uint64).reshape(rows, width)

    def give(self, *buffers: Array) -> None:
        with self._lock:
            self._free.extend(b.base if b.base is not None else b.reshape(-1) for b in buffers)

    def clear(self) -> None:
        with self._lock:
            self._free = []


BUFFERS = Buffers()


class Writer:
    """Writes one partitioned file; it can be read after close()."""

    def __init__(self, file: BinaryIO, layout: Layout) -> None:
        self.file, self.layout = file, layout
        self.buffer, self.grouped = (BUFFERS.take(layout.buffer, layout.width) for _ in range(2))
        self.n = 0
        self.written = 0
        self.index: list[Array] = []

    def add(self, records: Array) -> None:
        """Append records, uint64[n, width]."""
        while len(records):
            taken = records[: self.layout.buffer - self.n]
            self.buffer[self.n : self.n + len(taken)] = taken
            self.n += len(taken)
            records = records[len(taken) :]
            if self.n == self.layout.buffer:
                self.flush()

    def flush(self) -> None:
        bounds = group(self.buffer[: self.n], self.layout.shift, self.layout.partitions, self.grouped)
        self.file.write(self.grouped[: self.n].data.cast("B"))
        self.index.append(bounds + self.written)
        self.written += self.n
        self.n = 0

    def close(self) -> None:
        if self.n:
            self.flush()
        index = np.array(self.index, np.int64).reshape(len(self.index), self.layout.partitions + 1)
        self.file.write(index.tobytes())
        self.file.write(np.array([len(index), self.layout.partitions, self.layout.width], np.int64).tobytes())
        self.abandon()

    def abandon(self) -> None:
        """Give the buffers back; the file stays unfinished unless close() called this."""
        BUFFERS.give(self.buffer, self.grouped)


@jit
def _copy_range(records, low, high, out):
    """Copy the records with low <= column 0 <= high to out; return how many there are."""
    n, width = records.shape
    copied = 0
    for i in range(n):
        if low <= records[i, 0] <= high:
            for c in range(width):
                out[copied, c] = records[i, c]
            copied += 1
    return copied


@jit
def _count(records, low, shift, counts):
    """Add to counts[i] the number of records with (column 0 - low) >> shift == i."""
    for i in range(len(records)):
        if records[i, 0] >= low:
            at = (records[i, 0] - low) >> shift
            if at < np.uint64(len(counts)):
                counts[np.int64(at)] += 1


def _groups(sizes: Array, limit: int) -> Iterator[tuple[int, int, int]]:
    """Group consecutive items up to a total size; a larger item forms its own group. Empty groups are left out.

    Yields (start, stop, total size).
    """
    start = 0
    while start < len(sizes):
        total, stop = int(sizes[start]), start + 1
        while stop < len(sizes) and total + sizes[stop] <= limit:
            total, stop = total + int(sizes[stop]), stop + 1
        if total:
            yield start, stop, total
        start = stop


class Reader:
    """Reads partitions start .. stop of several files, in their order."""

    def __init__(self, paths: Sequence[Path], layout: Layout, start: int, stop: int) -> None:
        self.paths, self.layout, self.start, self.stop = paths, layout, start, stop
        self._path: Path | None = None
        self._file: RawIOBase | None = None
        chunks = [(number, bounds) for number, path in enumerate(paths) for bounds in self._index(path)]
        self.files = [number for number, _ in chunks]
        self.bounds = np.array([bounds for _, bounds in chunks], np.int64).reshape(len(chunks), stop - start + 1)
        self.sizes = np.diff(self.bounds, axis=1).sum(axis=0)

    def _index(self, path: Path) -> Iterator[Array]:
        """Yield, for each chunk of a file, where the partitions begin, and where the last one ends."""
        layout, start = self.layout, self.start
        with path.open("rb") as file:
            file.seek(-24, os.SEEK_END)
            chunks, partitions, width = np.frombuffer(file.read(24), np.int64).tolist()
            if (partitions, width) != (layout.partitions, layout.width):
                raise DataError(
                    f"{path} has {partitions} partitions of {width} columns, expected {layout.partitions} of "
                    f"{layout.width}; run the same command again to write it again"
                )
            index = file.seek(-24 - 8 * chunks * (partitions + 1), os.SEEK_END)
            for chunk in range(chunks):
                file.seek(index + 8 * (chunk * (partitions + 1) + start))
                yield np.frombuffer(file.read(8 * (self.stop - start + 1)), np.int64)

    def batches(self, buffer: Array, *, together: bool = True) -> Iterator[Array]:
        """Yield the records of consecutive ranges of column 0, in the order of the files and of each file.

        A batch has as many records as the buffer holds; only records that all have one value of column 0 come in one
        batch whatever their number, unless together is False: then they come in several batches.
        """
        for start, stop, total in _groups(self.sizes, len(buffer)):
            if total <= len(buffer):
                yield self._read(start, stop, buffer)
            else:
                low = (self.start + start) << self.layout.shift
                yield from self._split(start, low, self.layout.shift, buffer, together)

    def _split(self, partition: int, low: int, bits: int, buffer: Array, together: bool) -> Iterator[Array]:
        """Yield the records of a partition with low <= column 0 < low + 2^bits; they do not fit the buffer together."""
        shift = max(0, bits - SPLIT_BITS)
        counts = np.zeros(1 << (bits - shift), np.int64)
        for records in self._slices(partition, buffer):
            _count(records, np.uint64(low), np.uint64(shift), counts)
        for start, stop, total in _groups(counts, len(buffer)):
            first, last = low + (start << shift), low + (stop << shift) - 1
            if total > len(buffer) and shift:
                yield from self._split(partition, first, shift, buffer, together)
                continue
            if total > len(buffer) and not together:
                yield from self._in_turn(partition, first, buffer)
                continue
            out = buffer if total <= len(buffer) else np.empty((total, self.layout.width), np.uint64)
            slices, copied = BUFFERS.take(1 << 16, self.layout.width), 0
            for records in self._slices(partition, slices):
                copied += _copy_range(records, np.uint64(first), np.uint64(last), out[copied:])
            BUFFERS.give(slices)
            yield out[:total]

    def _in_turn(self, partition: int, value: int, buffer: Array) -> Iterator[Array]:
        """Yield the records of a partition with this value of column 0, as many at a time as fit the buffer."""
        slices, copied = BUFFERS.take(min(1 << 16, len(buffer)), self.layout.width), 0
        for records in self._slices(partition, slices):
            if copied + len(records) > len(buffer):
                yield buffer[:copied]
                copied = 0
            copied += _copy_range(records, np.uint64(value), np.uint64(value), buffer[copied:])
        BUFFERS.give(slices)
        yield buffer[:copied]

    def _slices(self, partition: int, buffer: Array) -> Iterator[Array]:
        """Yield the records of a partition, as many at a time as the buffer holds."""
        for chunk in range(len(self.bounds)):
            lo, hi = map(int, self.bounds[chunk, partition : partition + 2])
            for first in range(lo, hi, len(buffer)):
                yield self._fill(chunk, first, min(hi, first + len(buffer)), buffer)

    def _read(self, start: int, stop: int, buffer: Array) -> Array:
        """Return the records of partitions start .. stop, which fit the buffer."""
        n = 0
        for chunk in range(len(self.bounds)):
            lo, hi = int(self.bounds[chunk, start]), int(self.bounds[chunk, stop])
            n += len(self._fill(chunk, lo, hi, buffer[n:]))
        return buffer[:n]

    def _fill(self, chunk: int, lo: int, hi: int, buffer: Array) -> Array:
        """Read records lo .. hi of the file that a chunk is in, to the front of the buffer."""
        out = buffer[: hi - lo]
        if not len(out):
            return out
        path = self.paths[self.files[chunk]]
        if self._path != path:
            self.close()
            self._path, self._file = path, path.open("rb", buffering=0)
        assert self._file is not None
        self._file.seek(8 * self.layout.width * lo)
        view, done = out.data.cast("B"), 0
        while done < len(view):
            n = self._file.readinto(view[done:])
            if not n:
                raise DataError(f"{path} ends before its record {hi}; run the same command again to write it again")
            done += n
        return out

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._path, self._file = None, None
