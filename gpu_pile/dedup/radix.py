"""Radix sort of records: rows of an array uint64[n, width], compared by their columns from left to right.

Band keys are records (key, row), candidate pairs (b, a), hashes (high, low, row). Records are sorted by some of the
upper bits of column 0, then each run of records with equal bits is sorted separately.
"""

from __future__ import annotations

import numpy as np

from gpu_pile.text.jit import jit, leaf
from gpu_pile.types import Array

DIGIT = 11
"""Bits per pass: the 2,048 places that are written to stay in a core's cache."""

SHORT = 32
"""Runs up to this length are sorted by insertion, longer ones by merging."""


def group(records: Array, shift: int, partitions: int, out: Array) -> Array:
    """Copy the records to out, stably, by partition; the partition of a record is column 0 >> shift.

    Returns:
        int64[partitions + 1], where each partition begins in out.
    """
    shift64, mask = np.uint64(shift), np.uint64(2**64 - 1)
    bounds = np.zeros(partitions + 1, np.int64)
    _count(records, shift64, mask, bounds[1:])
    np.cumsum(bounds, out=bounds)
    _by_digit(records, shift64, mask, bounds[:-1].copy(), out)
    return bounds


@leaf
def _by_digit(records, shift, mask, at, out):
    """Copy the records to out, stably, by the bits (column 0 >> shift) & mask.

    at: where the records of each value of these bits begin in out; overwritten.
    """
    n, width = records.shape
    for i in range(n):
        d = np.int64((records[i, 0] >> shift) & mask)
        to = at[d]
        at[d] = to + 1
        for c in range(width):
            out[to, c] = records[i, c]


@leaf
def _count(records, shift, mask, counts):
    """Add to counts how many records have each value of the bits (column 0 >> shift) & mask."""
    for i in range(len(records)):
        counts[np.int64((records[i, 0] >> shift) & mask)] += 1


@jit
def _less(x, i, y, j):
    """Return whether record i of x sorts before record j of y."""
    for c in range(x.shape[1]):
        if x[i, c] != y[j, c]:
            return x[i, c] < y[j, c]
    return False


@jit
def _insertion(records, start, stop, spare):
    """Sort records start .. stop in place; record start of spare holds the one that moves."""
    width = records.shape[1]
    for i in range(start + 1, stop):
        if not _less(records, i, records, i - 1):
            continue
        for c in range(width):
            spare[start, c] = records[i, c]
        j = i
        while j > start and _less(spare, start, records, j - 1):
            for c in range(width):
                records[j, c] = records[j - 1, c]
            j -= 1
        for c in range(width):
            records[j, c] = spare[start, c]


@jit
def _copy(source, start, stop, target):
    for i in range(start, stop):
        for c in range(source.shape[1]):
            target[i, c] = source[i, c]


@jit
def _merge(source, start, middle, stop, target):
    """Merge the sorted records start .. middle and middle .. stop of source into target[start:stop]."""
    a, b = start, middle
    for i in range(start, stop):
        from_b = a == middle or (b < stop and _less(source, b, source, a))
        taken = b if from_b else a
        for c in range(source.shape[1]):
            target[i, c] = source[taken, c]
        a, b = a + (not from_b), b + from_b


@jit
def _sort_run(records, start, stop, spare):
    """Sort records start .. stop in place, by insertion and then by merging; spare: as long as records."""
    for i in range(start, stop, SHORT):
        _insertion(records, i, min(i + SHORT, stop), spare)
    width = SHORT
    while width < stop - start:
        for i in range(start, stop, 2 * width):
            _merge(records, i, min(i + width, stop), min(i + 2 * width, stop), spare)
        _copy(spare, start, stop, records)
        width *= 2


@leaf
def _finish(records, shift, spare):
    """Sort by all columns, in place, records whose bits from `shift` upwards are in order already."""
    n = len(records)
    i = 0
    while i < n:
        j = i + 1
        ordered = True
        while j < n and records[j, 0] >> shift == records[i, 0] >> shift:
            ordered = ordered and not _less(records, j, records, j - 1)
            j += 1
        if not ordered:
            _sort_run(records, i, j, spare)
        i = j


def sort(records: Array, spare: Array) -> Array:
    """Return the records sorted by all columns, in one of the two arrays; the other one is overwritten.

    spare: at least as large as records.
    """
    if not len(records):
        return records
    spare = spare[: len(records)]
    top = int(records[:, 0].min() ^ records[:, 0].max()).bit_length()  # from this bit upwards, all records agree
    bits = min(top, -(-len(records).bit_length() // DIGIT) * DIGIT)
    for shift in range(top - bits, top, DIGIT):
        mask = np.uint64((1 << min(DIGIT, top - shift)) - 1)
        counts = np.zeros(int(mask) + 1, np.int64)
        _count(records, np.uint64(shift), mask, counts)
        _by_digit(records, np.uint64(shift), mask, np.cumsum(counts) - counts, spare)
        records, spare = spare, records
    _finish(records, np.uint64(top - bits), spare)
    return records
