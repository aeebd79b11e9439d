"""Buckets: rows that share a hash, or a band. gpu_pile.dedup.partition is for more records than fit in memory.

Records (gpu_pile.dedup.radix):

    hashes  (high, low, row)    the 128-bit hash of a document; rows may be marked (gpu_pile.dedup.equal_sets)
    keys    (key, row)          the key of a band of a document
    pairs   (b, a)              candidates, a < b
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from gpu_pile.dedup.radix import sort
from gpu_pile.text.jit import jit
from gpu_pile.types import Array


def hash_records(hashes: Array, rows: Array, scope: Array | None = None) -> Array:
    """Return uint64[n, 3], the records of rows with these hashes, uint64[n, 2].

    scope: uint64[n], mixed into the hashes so that only documents of one scope are equal.
    """
    records = np.empty((len(rows), 3), np.uint64)
    records[:, :2] = hashes
    if scope is not None:
        records[:, 0] ^= scope
    records[:, 2] = rows
    return records


def key_records(keys: Array, rows: Array, scope: Array | None = None) -> Array:
    """Return uint64[n * bands, 2], the records of rows with these band keys, uint64[n, bands]; scope as above."""
    records = np.empty((*keys.shape, 2), np.uint64)
    records[..., 0] = keys if scope is None else keys ^ scope[:, None]
    records[..., 1] = rows.astype(np.uint64)[:, None]
    return records.reshape(-1, 2)


@jit
def _collect_sets(records):
    """Move (row, first row) of each row in a run of equal hashes to the front of sorted records; return how many."""
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
    """Return the rows that share a 128-bit hash with another row.

    Args:
        records: uint64[n, 3], hashes; overwritten. spare: at least as large, overwritten.

    Returns:
        uint64[m, 2], (row, representative) of every member of every such set, the representative (the smallest row of
        the set) included; in no particular order.
    """
    return sets_of_sorted(sort(records, np.empty_like(records) if spare is None else spare))


def sets_of_sorted(records: Array) -> Array:
    """Return what equal_hashes returns, of records that are sorted; overwrites them."""
    return records[: _collect_sets(records), :2].copy()


@jit
def _pairs_of_runs(records, neighbours_max, state, out):
    """Fill `out` with pairs of rows in runs of equal keys; return how many.

    state: (first record of the current run, next record of it): where to continue; (len(records), ...) when done.
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
    """Yield the pairs of rows that share a key, uint64[m, 2] each; a pair that shares several keys comes several times.

    In a bucket, a row is paired with the first `neighbours_max` rows of the bucket, so a bucket of n rows gives at most
    n x neighbours_max pairs.

    Args:
        records: uint64[n, 2], keys; rows ascend among equal keys. Overwritten. spare: at least as large, overwritten.
        out: uint64[at least neighbours_max, 2], a buffer: each batch is a slice of it, valid until the next one.
        argsort: a stable argsort of a device; without one, records are sorted here.
    """
    yield from pairs_of_sorted(by_key(records, spare, argsort), neighbours_max, out)


def by_key(records: Array, spare: Array | None = None, argsort: Callable[[Array], Array] | None = None) -> Array:
    """Return key records sorted by key and row; see candidate_pairs."""
    spare = np.empty_like(records) if spare is None else spare[: len(records)]
    if argsort is None:
        return sort(records, spare)
    return np.take(records, argsort(np.ascontiguousarray(records[:, 0])), axis=0, out=spare, mode="clip")


def pairs_of_sorted(records: Array, neighbours_max: int, out: Array) -> Iterator[Array]:
    """Yield what candidate_pairs yields, of records that are sorted."""
    state = np.zeros(2, np.int64)
    while state[0] < len(records):
        n = _pairs_of_runs(records, neighbours_max, state, out)
        yield out[:n]


@jit
def _distinct(records):
    """Move each distinct record of two different rows to the front of sorted records; return how many."""
    n = 0
    for i in range(len(records)):
        b, a = records[i, 0], records[i, 1]
        if a != b and (n == 0 or b != records[n - 1, 0] or a != records[n - 1, 1]):
            records[n, 0], records[n, 1] = b, a
            n += 1
    return n


def distinct_pairs(records: Array, spare: Array | None = None) -> Array:
    """Return uint64[m, 2], the distinct pairs with a != b, ascending by (b, a). Overwrites both arguments."""
    records = sort(records, np.empty_like(records) if spare is None else spare)
    return records[: _distinct(records)]
