"""Equal keys: rows that share an exact hash, or a band. Arrays in, arrays out; gpu_pile.dedup.partition for more than fit.

Records (gpu_pile.dedup.radix):

    hashes  (high, low, row)    a document's 128-bit hash
    keys    (key, row)          a band of a document
    pairs   (b, a)              candidates, a < b
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from gpu_pile.dedup.radix import sort
from gpu_pile.text.jit import jit
from gpu_pile.types import Array


@jit
def _sets(records):
    """Put (row, smallest row) of each row in a run of equal hashes to the front; returns how many. Sorted records."""
    n, i = 0, 0
    while i < len(records):
        j = i + 1
        while j < len(records) and records[j, 0] == records[i, 0] and records[j, 1] == records[i, 1]:
            j += 1
        if j - i > 1:
            representative = records[i, 2]
            for k in range(i, j):
                records[n, 0], records[n, 1] = records[k, 2], representative
                n += 1
        i = j
    return n


def equal_hashes(records: Array, spare: Array | None = None) -> Array:
    """Rows that share a 128-bit hash with another row.

    Args:
        records: uint64[n, 3], hashes; overwritten. spare: as large, overwritten.

    Returns:
        uint64[m, 2], (row, representative) of every member of every such set, the representative (the smallest row of
        the set) included; in no particular order.
    """
    records = sort(records, np.empty_like(records) if spare is None else spare)
    return records[: _sets(records), :2].copy()


@jit
def _pairs_of_runs(records, neighbours_max, state, out):
    """Fill out with pairs of the runs of equal keys from state on: (first of the run, next of its rows).

    Returns:
        how many pairs; state says where to go on, at len(records) when done.
    """
    n, i, y = 0, state[0], state[1]
    while i < len(records):
        while y < len(records) and records[y, 0] == records[i, 0]:
            first = min(y - i, neighbours_max)
            if n + first > len(out):
                state[0], state[1] = i, y
                return n
            for x in range(first):
                out[n, 0] = records[y, 1]
                out[n, 1] = records[i + x, 1]
                n += 1
            y += 1
        i = y
    state[0], state[1] = i, y
    return n


def candidate_pairs(
    records: Array,
    neighbours_max: int,
    out: Array,
    spare: Array | None = None,
    argsort: Callable[[Array], Array] | None = None,
) -> Iterator[Array]:
    """The pairs of rows that share a key; a pair that shares several keys comes several times.

    In a bucket, a row is paired with the `neighbours_max` first rows of the bucket, so that a bucket of n rows gives
    at most n x neighbours_max pairs.

    Args:
        records: uint64[n, 2], keys with ascending rows; overwritten. spare: as large, overwritten.
        out: uint64[at least neighbours_max, 2], for the pairs: each yield is a part of it, good until the next.
        argsort: a stable one of a device; else they are sorted here.
    """
    spare = np.empty_like(records) if spare is None else spare[: len(records)]
    if argsort is None:
        records = sort(records, spare)
    else:
        records = np.take(records, argsort(np.ascontiguousarray(records[:, 0])), axis=0, out=spare, mode="clip")
    state = np.zeros(2, np.int64)
    while state[0] < len(records):
        n = _pairs_of_runs(records, neighbours_max, state, out)
        yield out[:n]


@jit
def _distinct(records):
    """Move the first of equal records of two rows to the front; returns how many. Sorted records."""
    n = 0
    for i in range(len(records)):
        b, a = records[i, 0], records[i, 1]
        if a != b and (n == 0 or b != records[n - 1, 0] or a != records[n - 1, 1]):
            records[n, 0], records[n, 1] = b, a
            n += 1
    return n


def distinct_pairs(records: Array, spare: Array | None = None) -> Array:
    """uint64[m, 2]: the distinct ones of pairs uint64[n, 2] with a != b, ascending by (b, a); both are overwritten."""
    records = sort(records, np.empty_like(records) if spare is None else spare)
    return records[: _distinct(records)]
