"""Equal keys: rows that share an exact hash, or a band.

Records go to partitions by the high bits of their key, so equal keys meet in one partition and each partition fits
the memory budget: in memory when there is one, else in files of a scratch folder. The result does not depend on the
number of partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gpu_pile.compiled import compiled

Array = np.ndarray[Any, Any]

SORT_FACTOR = 4
"""Sorting a partition takes about this many times its size: the records, the order, the sorted copy, the pairs."""


class Partitions:
    """Fixed-size records, spread over partitions by a 64-bit number.

    Args:
        dtype: of one record.
        expected: records to come, to choose the number of partitions.
        memory_bytes: what reading one partition and sorting it may take.
        folder: for the files; made when first needed.
    """

    def __init__(self, dtype: np.dtype[Any], expected: int, memory_bytes: int, folder: Path) -> None:
        self.dtype = dtype
        need = max(1, expected) * dtype.itemsize * SORT_FACTOR
        self.count = 1 << max(0, (-(-need // memory_bytes) - 1).bit_length())
        self._folder = folder
        self._parts: list[Array] = []
        if self.count > 1:
            folder.mkdir(parents=True, exist_ok=True)
            for p in range(self.count):
                self._path(p).write_bytes(b"")

    def _path(self, p: int) -> Path:
        return self._folder / f"{p:05d}"

    def add(self, numbers: Array, records: Array) -> None:
        """Add records; numbers (uint64) decide the partition: equal numbers, equal partition, in ascending ranges."""
        if self.count == 1:
            self._parts.append(records)
            return
        part = (numbers >> np.uint64(65 - self.count.bit_length())).astype(np.int64)
        order = np.argsort(part, kind="stable")
        records = records[order]
        bounds = np.searchsorted(part[order], np.arange(self.count + 1))
        for p in np.flatnonzero(np.diff(bounds)):
            with self._path(int(p)).open("ab") as f:
                records[bounds[p] : bounds[p + 1]].tofile(f)

    def __iter__(self) -> Iterator[Array]:
        """Each partition's records in the order they were added; partitions ascending. Can be read once."""
        if self.count == 1:
            parts, self._parts = self._parts, []
            yield np.concatenate(parts) if parts else np.empty(0, self.dtype)
            return
        for p in range(self.count):
            yield np.fromfile(self._path(p), self.dtype)
            self._path(p).unlink()
        self._folder.rmdir()


HASH_RECORD = np.dtype([("hi", "<u8"), ("lo", "<u8"), ("row", "<i8")])
KEY_RECORD = np.dtype([("key", "<u8"), ("row", "<i8")])
PAIR_RECORD = np.dtype([("a", "<i8"), ("b", "<i8")])


def equal_hashes(partitions: Partitions) -> tuple[Array, Array]:
    """Rows that share a 128-bit hash with another row.

    Returns:
        (rows, representatives): int64 each, ascending by row, every member of every such set, the representative
        (the smallest row of the set) included.
    """
    rows, representatives = [], []
    for records in partitions:
        order = np.lexsort((records["row"], records["lo"], records["hi"]))
        hi, lo, row = records["hi"][order], records["lo"][order], records["row"][order]
        same = (hi[1:] == hi[:-1]) & (lo[1:] == lo[:-1])
        starts = np.flatnonzero(np.concatenate(([True], ~same))) if len(row) else np.empty(0, np.int64)
        sizes = np.diff(np.append(starts, len(row)))
        repeated = np.repeat(sizes > 1, sizes)
        rows.append(row[repeated])
        representatives.append(np.repeat(row[starts], sizes)[repeated])
    all_rows = np.concatenate(rows) if rows else np.empty(0, np.int64)
    order = np.argsort(all_rows, kind="stable")
    return all_rows[order], np.concatenate(representatives)[order] if rows else all_rows


@compiled
def _pairs_of_runs(keys, rows, neighbours_max, a, b):
    """Fill a and b with the pairs of each run of equal keys; with empty a, only count them."""
    n, i = 0, 0
    while i < len(keys):
        j = i + 1
        while j < len(keys) and keys[j] == keys[i]:
            j += 1
        if j - i > 1:
            if len(a):
                rows[i:j].sort()
            for y in range(i + 1, j):
                first = min(y - i, neighbours_max)
                if len(a):
                    for x in range(first):
                        a[n + x] = rows[i + x]
                        b[n + x] = rows[y]
                n += first
        i = j
    return n


def candidate_pairs(
    partitions: Partitions,
    neighbours_max: int,
    pairs: Partitions,
    total_rows: int,
    argsort: Callable[[Array], Array] = np.argsort,
) -> int:
    """Send each pair of rows that share a key to `pairs`, a < b; a pair that shares several keys comes several times.

    In a bucket, a row is paired with the `neighbours_max` first rows of the bucket, so that a bucket of n rows gives
    at most n x neighbours_max pairs.

    Returns:
        the number of pairs sent.
    """
    sent = 0
    nothing = np.empty(0, np.int64)
    for records in partitions:
        order = argsort(np.ascontiguousarray(records["key"]))
        keys, rows = records["key"][order], records["row"][order]
        n = _pairs_of_runs(keys, rows, neighbours_max, nothing, nothing)
        found = np.empty(n, PAIR_RECORD)
        a, b = np.empty(n, np.int64), np.empty(n, np.int64)
        if n:
            _pairs_of_runs(keys, rows, neighbours_max, a, b)
        found["a"], found["b"] = a, b
        pairs.add(spread(b, total_rows), found)
        sent += n
    return sent


def spread(rows: Array, total_rows: int) -> Array:
    """Map rows 0 .. total_rows - 1 onto all of uint64, ascending: a partition number for records kept in row order."""
    return rows.astype(np.uint64) * np.uint64((2**64 - 1) // max(1, total_rows))


def distinct_pairs(pairs: Partitions) -> Iterator[tuple[Array, Array]]:
    """(a, b) of each partition: distinct, ascending by (b, a), partitions ascending in b.

    In a large bucket few rows stand on the a side and all on the b side: b spreads evenly over partitions.
    """
    for records in pairs:
        order = np.lexsort((records["a"], records["b"]))
        a, b = records["a"][order], records["b"][order]
        first = np.concatenate(([True], (a[1:] != a[:-1]) | (b[1:] != b[:-1]))) if len(a) else np.empty(0, bool)
        yield a[first], b[first]
