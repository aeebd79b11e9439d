"""Which documents may be contained in another one? Samples of shingles, joined by sorting; the rare ones decide.

Jaccard similarity says nothing about an excerpt of a long document, and sketches of one size do not see it. Here every
document keeps the same share of its shingles, those with the smallest hashes: what a document and an excerpt of it have
in common, they have in common in their samples.

    sample  (key, row)              the sampled shingles of a document
    shared  (row, frequency, key)   those that other documents have too, and how many documents have it
    rare    (key, row | ASKING)     of a document that can be contained: its rarest sampled shingles
    pairs   (b, a)                  a document that asks for a key and one that has it

Of a document that is contained at a threshold t, a share of 1 - t of the shingles may be missing in the other one, and
about that share of its sample (least_shared). A shingle that no other document has is missing everywhere; a document
with too many of these is dropped, which are nearly all. Of the others, one more key than may be missing is asked for,
the rarest ones first: the other document has at least one of them, and boilerplate is asked for last.

So the cost does not depend on how often a shingle occurs: a document asks for no more keys than it has, and an answer
names at most neighbours_max documents.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from gpu_pile.dedup.radix import sort
from gpu_pile.text.hashing import mix64
from gpu_pile.text.jit import jit
from gpu_pile.types import Array

ASKING = np.uint64(1 << 63)
"""The bit of a row that asks for a key. Such records sort after those of the rows that have it."""

SAMPLES_MIN = 6
"""Shingles that the sample of the smallest documents has, on average."""

STANDARD_ERRORS = 3
"""How many more shingles may be missing in a sample than the threshold says, in standard errors."""

LOOK_MAX = 8
"""Times neighbours_max: how many of the documents that have a key are looked at for one that asks."""


def sampled_of(shingles_min: int) -> int:
    """Return m: a shingle is sampled if its hash is among the smallest m-th of all hashes."""
    return max(1, shingles_min // SAMPLES_MIN)


@jit
def _sample(values, offsets, last, rows, salts, out, counts):
    """Fill `out` with (key, row) of the sampled values of each set, counts with how many; return how many in all."""
    n = 0
    for d in range(len(rows)):
        before = n
        for i in range(offsets[d], offsets[d + 1]):
            if values[i] > last:
                break
            out[n, 0], out[n, 1] = mix64(values[i]) ^ salts[d], rows[d]
            n += 1
        counts[d] = n - before
    return n


def sample_records(sets: tuple[Array, Array], m: int, rows: Array, salts: Array | None) -> tuple[Array, Array]:
    """Return (uint64[k, 2] records (key, row), int64[n] how many each document has).

    sets: values and offsets, of the operation shingle_set. rows: int64[n]. salts: uint64[n] that keeps subsets apart.
    """
    values, offsets = sets
    out, counts = np.empty((len(values), 2), np.uint64), np.zeros(len(rows), np.int64)
    salts = np.zeros(len(rows), np.uint64) if salts is None else salts
    n = _sample(values, offsets, np.uint64((2**64 - 1) // m), rows.astype(np.uint64), salts, out, counts)
    return out[:n], counts


def least_shared(sampled: Array, threshold: float) -> Array:
    """Return int32[n]: of samples of these sizes, how many shingles another document has that has a share of all."""
    missing = 1.0 - threshold
    error = np.sqrt(missing * threshold * sampled)
    return sampled - np.floor(missing * sampled + STANDARD_ERRORS * error).astype(np.int32)


@jit
def _shared(records, out):
    """Fill `out` with (row, frequency, key) of the keys that several sorted records have; return how many."""
    n, i = 0, 0
    while i < len(records):
        j = i + 1
        while j < len(records) and records[j, 0] == records[i, 0]:
            j += 1
        if j - i > 1:
            for k in range(i, j):
                out[n, 0], out[n, 1], out[n, 2] = records[k, 1], j - i, records[k, 0]
                n += 1
        i = j
    return n


def shared_records(samples: Array, spare: Array) -> Array:
    """Return uint64[k, 3], what samples, uint64[n, 2], share. Overwrites both arguments; see the module."""
    samples = sort(samples, spare)
    out = np.empty((len(samples), 3), np.uint64)
    return out[: _shared(samples, out)]


@jit
def _rare(records, least, asking, out):
    """Fill `out` with (key, row | asking): what each row of sorted records asks for; return how many."""
    n, i = 0, 0
    while i < len(records):
        j = i + 1
        while j < len(records) and records[j, 0] == records[i, 0]:
            j += 1
        may_be_missing = j - i - least[np.int64(records[i, 0])]
        for k in range(i, min(j, i + max(0, may_be_missing + 1))):
            out[n, 0], out[n, 1] = records[k, 2], records[k, 0] | asking
            n += 1
        i = j
    return n


def rare_records(shared: Array, spare: Array, least: Array) -> Array:
    """Return uint64[k, 2], the keys that documents ask for; see the module.

    shared: uint64[n, 3], all records of their rows; overwritten, like spare. least: int32 of every row, least_shared().
    """
    shared = sort(shared, spare)
    out = np.empty((len(shared), 2), np.uint64)
    return out[: _rare(shared, least, ASKING, out)]


@jit
def _answer(records, sampled, least, limits, state, out):
    """Fill `out` with pairs (b, a) of a row that asks for a key and a row that has it; return how many.

    limits: (most answers to one question, rows that are looked at for it).
    state:  (first record of the current run, next record of it): where to continue; (len(records), ...) when done.
    """
    n, i, y = 0, state[0], state[1]
    while i < len(records):
        asked = i
        while asked < len(records) and records[asked, 0] == records[i, 0] and not records[asked, 1] >> np.uint64(63):
            asked += 1
        y = max(y, asked)
        while y < len(records) and records[y, 0] == records[i, 0]:
            if n + limits[0] > len(out):
                state[0], state[1] = i, y
                return n
            row = np.int64(records[y, 1] & np.uint64(2**63 - 1))
            found = 0
            for x in range(i, min(asked, i + limits[1])):
                other = np.int64(records[x, 1])
                if other != row and sampled[other] >= least[row]:
                    out[n, 0], out[n, 1] = max(row, other), min(row, other)
                    n += 1
                    found += 1
                    if found == limits[0]:
                        break
            y += 1
        i = y
    state[0], state[1] = i, y
    return n


def answered_pairs(
    records: Array, spare: Array, sampled: Array, least: Array, neighbours_max: int, out: Array
) -> Iterator[Array]:
    """Yield the pairs of a row that asks for a key and the rows that have it, uint64[m, 2] each, (b, a) with a < b.

    Args:
        records: uint64[n, 2], samples and questions of their keys; overwritten, like spare.
        sampled, least: int32 of every row: the size of its sample, and least_shared() of it.
        neighbours_max: a row is paired with at most so many, of the first LOOK_MAX times as many that have the key.
        out: uint64[at least neighbours_max, 2], a buffer: each batch is a slice of it, valid until the next one.
    """
    records = sort(records, spare)
    state, limits = np.zeros(2, np.int64), np.array([neighbours_max, LOOK_MAX * neighbours_max])
    while state[0] < len(records):
        n = _answer(records, sampled, least, limits, state, out)
        yield out[:n]
