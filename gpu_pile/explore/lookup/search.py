"""Exact and near matches in an index, by binary search in its sorted parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gpu_pile.explore.lookup.queries import Queries
from gpu_pile.ops.band_keys import band_keys
from gpu_pile.run.index.store import Index
from gpu_pile.run.stages.dedupe.candidates import scope_salt
from gpu_pile.types import Array

EXACT, NEAR = "exact", "near"


class Match(NamedTuple):
    """A document of an indexed run that is like one that is looked for.

    query:       what the one that is looked for is called. kind: exact or near
    run, shard, line, subset, keep, text_bytes: of the match
    similarity:  of their shingles; containment: share of the shingles of the query that the match has
    estimated:   whether both are estimated from sketches
    span:        characters of the query that are the longest passage which both have; None where no text was read
    """

    query: str
    kind: str
    run: str
    shard: str
    line: int
    subset: str
    keep: bool
    text_bytes: int
    similarity: float
    containment: float
    estimated: bool
    span: tuple[int, int] | None = None


class Found(NamedTuple):
    """matches: at most `most` of each query. left_out: by query how many more there are."""

    matches: list[Match]
    left_out: dict[str, int]


def find(index: Index, queries: Queries, threshold: float, most: int) -> Found:
    """Find documents with the hash of a query, and those whose sketches are at least as similar as the threshold."""
    salts = _salts(index)
    found = Found([], {})
    exact = _exact_rows(index, queries, salts)
    near = _near_rows(index, queries, salts) if queries.sketches is not None else [np.empty(0, np.int64)] * len(queries)
    for i, (same, candidates) in enumerate(zip(exact, near, strict=True)):
        others, similarity = _similar(index, queries, i, np.setdiff1d(candidates, same), threshold)
        rows = np.concatenate([same, others])
        values = np.concatenate([np.ones(len(same)), similarity])
        if len(rows) > most:
            found.left_out[queries.names[i]] = len(rows) - most
        kinds = [EXACT] * len(same) + [NEAR] * len(others)
        found.matches.extend(_matches(index, queries, i, (rows[:most], values[:most], kinds[:most])))
    return found


def _salts(index: Index) -> list[np.uint64]:
    """What keys may be mixed with: the index has those of each subset where only documents of one are compared."""
    if index.definitions["dedupe.scope"] == "corpus":
        return [np.uint64(0)]
    return [np.uint64(scope_salt(name)) for name in index.subsets]


def _exact_rows(index: Index, queries: Queries, salts: Sequence[np.uint64]) -> list[Array]:
    """For each query the rows of documents with its hash, ascending."""
    found: list[list[Array]] = [[np.empty(0, np.int64)] for _ in range(len(queries))]
    for salt in salts:
        high = queries.hashes[:, 0] ^ salt
        bounds = (np.searchsorted(index.hash_keys[:, 0], high, side) for side in ("left", "right"))
        for i, (lo, hi) in enumerate(zip(*bounds, strict=True)):
            equal = np.asarray(index.hash_keys[lo:hi, 1]) == queries.hashes[i, 1]
            found[i].append(index.hash_rows[lo:hi][equal].astype(np.int64))
    return [np.unique(np.concatenate(rows)) for rows in found]


def _near_rows(index: Index, queries: Queries, salts: Sequence[np.uint64]) -> list[Array]:
    """For each query the rows of documents that share a band with it, ascending."""
    assert queries.sketches is not None
    assert queries.shingles is not None
    bands, rows = index.banding
    keys = band_keys(np.ascontiguousarray(queries.sketches), bands=bands, rows=rows)
    found: list[list[Array]] = [[np.empty(0, np.int64)] for _ in range(len(queries))]
    for salt in salts:
        salted = (keys ^ salt).reshape(-1)
        bounds = (np.searchsorted(index.band_keys, salted, side).tolist() for side in ("left", "right"))
        for j, (lo, hi) in enumerate(zip(*bounds, strict=True)):
            if lo < hi and queries.shingles[j // bands]:
                found[j // bands].append(index.band_rows[lo:hi].astype(np.int64))
    return [np.unique(np.concatenate(rows)) for rows in found]


def _similar(index: Index, queries: Queries, i: int, rows: Array, threshold: float) -> tuple[Array, Array]:
    """Of candidate rows those that are similar enough, the most similar first, and their similarities."""
    if not len(rows) or queries.sketches is None:
        return np.empty(0, np.int64), np.empty(0)
    counts = [(part == queries.sketches[i]).sum(axis=1) for part in _portions(index, rows)]
    similarity = np.concatenate(counts) / index.sketch_size
    order = np.lexsort((rows, -similarity))
    order = order[similarity[order] >= threshold]
    return rows[order], similarity[order]


def _portions(index: Index, rows: Array) -> Iterator[Array]:
    for start in range(0, len(rows), 1 << 16):
        yield index.sketches[rows[start : start + (1 << 16)]]


def _matches(index: Index, queries: Queries, i: int, found: tuple[Array, Array, list[str]]) -> Iterator[Match]:
    rows, similarity, kinds = found
    documents, keep = index.documents[rows], index.keep[rows]
    own = 0 if queries.shingles is None else int(queries.shingles[i])
    for document, kept, s, kind in zip(documents, keep.tolist(), similarity.tolist(), kinds, strict=True):
        shard = index.shards[int(document["shard"])]
        common = s / (1 + s) * (own + int(document["shingles"]))
        containment = 1.0 if kind == EXACT else min(1.0, common / max(1, own))
        yield Match(
            queries.names[i],
            kind,
            index.runs[shard.run].path,
            shard.name,
            int(document["line"]),
            index.subsets[int(document["subset"])],
            bool(kept),
            int(document["text_bytes"]),
            s,
            containment,
            kind != EXACT,
        )
