"""Sorted records of new documents meet sorted keys of old ones: one pass over both, the old ones are never sorted.

A pass leaps over keys that the new records do not have, so many old keys cost a logarithm of their number for each new
one, not a look at each.
"""

from __future__ import annotations

import numpy as np

from gpu_pile.text.blocks import read_only
from gpu_pile.text.jit import jit, leaf
from gpu_pile.types import Array


@leaf
def _leap(keys, start, high, low):
    """Return the first position from start on whose key is not below (high, low)."""
    n, step, lo = len(keys), 1, start
    hi = start
    while hi < n and (keys[hi, 0] < high or (keys[hi, 0] == high and keys[hi, -1] < low)):
        lo = hi + 1
        hi += step
        step *= 2
    hi = min(hi, n)
    while lo < hi:
        middle = (lo + hi) >> 1
        if keys[middle, 0] < high or (keys[middle, 0] == high and keys[middle, -1] < low):
            lo = middle + 1
        else:
            hi = middle
    return lo


@jit
def _join(records, keys, rows, usable, most, state, out):
    """Fill out with the keys that records have and the old rows that have them; return how many.

    Only usable rows count, and at most `most` of each key. state: (next record, next key), where to continue.
    """
    width, columns = records.shape[1], keys.shape[1]
    n, i, k = 0, state[0], state[1]
    while i < len(records) and k < len(keys):
        high, low = records[i, 0], records[i, columns - 1]
        k = _leap(keys, k, high, low)
        if n + most > len(out):
            break
        taken, at = 0, k
        while taken < most and at < len(keys) and keys[at, 0] == high and keys[at, -1] == low:
            row = np.int64(rows[at])
            if usable[row]:
                out[n, 0], out[n, columns - 1], out[n, width - 1] = high, low, np.uint64(row)
                n += 1
                taken += 1
            at += 1
        k = at
        while i < len(records) and records[i, 0] == high and records[i, columns - 1] == low:
            i += 1
    if k == len(keys):
        i = len(records)
    state[0], state[1] = i, k
    return n


def join(records: Array, keys: Array, rows: Array, usable: Array, most: int) -> Array:
    """Return the records of old documents that share a key with new ones, sorted.

    Args:
        records: uint64[n, width], sorted; the last column is the row, the others are the key.
        keys: uint64[m, width - 1], ascending. rows: uint32[m], ascending among equal keys.
        usable: bool by old row, which of them count.
        most: how many old rows of one key are taken at most, the first ones.
    """
    keys, rows, usable = (read_only(np.asarray(x)) for x in (keys, rows, usable))
    found, state = [np.empty((0, records.shape[1]), np.uint64)], np.zeros(2, np.int64)
    if len(records) and len(keys):
        state[1] = _leap(keys, 0, records[0, 0], records[0, keys.shape[1] - 1])
    out = np.empty((max(most, 1 << 14), records.shape[1]), np.uint64)
    while state[0] < len(records) and state[1] < len(keys):
        n = _join(records, keys, rows, usable, most, state, out)
        found.append(out[:n].copy())
    return np.concatenate(found)


@jit
def _merge(first, second, out):
    """Merge two sorted arrays of records into out."""
    a, b, width = 0, 0, out.shape[1]
    for i in range(len(out)):
        from_b = a == len(first)
        if not from_b and b < len(second):
            for c in range(width):
                if first[a, c] != second[b, c]:
                    from_b = second[b, c] < first[a, c]
                    break
        for c in range(width):
            out[i, c] = second[b, c] if from_b else first[a, c]
        a, b = a + (not from_b), b + from_b


def merged(first: Array, second: Array) -> Array:
    """Return the records of two sorted arrays, sorted by all columns."""
    if not len(first) or not len(second):
        return second if not len(first) else first
    out = np.empty((len(first) + len(second), first.shape[1]), np.uint64)
    _merge(first, second, out)
    return out
