"""Radix sort of records: rows of an array uint64[n, width], compared by their columns from left to right.

Band keys are records (key, row), candidate pairs (b, a), hashes (high, low, row). Records are sorted by some of the
upper bits of column 0, then each run of records with equal bits is sorted separately.
"""

from __future__ import annotations

import numpy as np

from gpu_pile.text.jit import jit
from gpu_pile.types import Array

DIGIT = 11
"""Bits per pass: the 2,048 places that are written to stay in a core's cache."""

SHORT = 32
"""Runs up to this length are sorted by insertion."""


@jit
def group(records, shift, partitions, out):
    """Copy the records to out, stably, by partition; the partition of a record is column 0 >> shift.

    Returns:
        int64[partitions + 1], where each partition begins in out.
    """
    n, width = records.shape
    bounds = np.zeros(partitions + 1, np.int64)
    for i in range(n):
        bounds[np.int64(records[i, 0] >> shift) + 1] += 1
    for p in range(partitions):
        bounds[p + 1] += bounds[p]
    at = bounds[:-1].copy()
    for i in range(n):
        p = np.int64(records[i, 0] >> shift)
        to = at[p]
        at[p] = to + 1
        for c in range(width):
            out[to, c] = records[i, c]
    return bounds


@jit
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


@jit
def _counts(records, shift, mask):
    """Return how many records have each value of the bits (column 0 >> shift) & mask."""
    counts = np.zeros(mask + np.uint64(1), np.int64)
    for i in range(len(records)):
        counts[np.int64((records[i, 0] >> shift) & mask)] += 1
    return counts


@jit
def _less(x, i, y, j):
    """Return whether record i of x sorts before record j of y."""
    for c in range(x.shape[1]):
        if x[i, c] != y[j, c]:
            return x[i, c] < y[j, c]
    return False


@jit
def _insertion(records, start, stop, held):
    """Sort records start .. stop in place; held: room for one record."""
    width = records.shape[1]
    for i in range(start + 1, stop):
        if not _less(records, i, records, i - 1):
            continue
        for c in range(width):
            held[0, c] = records[i, c]
        j = i
        while j > start and _less(held, 0, records, j - 1):
            for c in range(width):
                records[j, c] = records[j - 1, c]
            j -= 1
        for c in range(width):
            records[j, c] = held[0, c]


@jit
def _finish(records, shift):
    """Sort by all columns, in place, records whose bits from `shift` upwards are in order already."""
    n, width = records.shape
    held = np.empty((1, width), np.uint64)
    i = 0
    while i < n:
        j = i + 1
        ordered = True
        while j < n and records[j, 0] >> shift == records[i, 0] >> shift:
            ordered = ordered and not _less(records, j, records, j - 1)
            j += 1
        if not ordered:
            if j - i <= SHORT:
                _insertion(records, i, j, held)
            else:
                run = records[i:j].copy()
                order = np.arange(j - i)
                for c in range(width - 1, -1, -1):
                    order = order[np.argsort(run[order, c], kind="mergesort")]
                for k in range(j - i):
                    for c in range(width):
                        records[i + k, c] = run[order[k], c]
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
        counts = _counts(records, np.uint64(shift), mask)
        _by_digit(records, np.uint64(shift), mask, np.cumsum(counts) - counts, spare)
        records, spare = spare, records
    _finish(records, np.uint64(top - bits))
    return records
