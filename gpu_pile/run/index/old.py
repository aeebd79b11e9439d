"""Documents of finished runs that a run is compared with (input.against): rows before those of the run.

Only what the old runs keep counts: a document that they removed has no part in the new run. Row i of the first index is
row i, those of the second index follow, and so on; the run's own documents come last. So an old document is always the
first of a bucket and the representative of its equals.

The doc_id of an old document has the highest bit set: 2^63 + its shard's position among all old shards * 2^40 + its
0-based line.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gpu_pile.corpus import files
from gpu_pile.dedup.equal_sets import mark_apart
from gpu_pile.dedup.joins import join
from gpu_pile.run import directory
from gpu_pile.run.config import Dedupe
from gpu_pile.run.index.store import DOCUMENT, HEAD, Index
from gpu_pile.types import Array

OLD = 1 << 63
"""doc_ids of old documents begin here."""

OLD_SHARD = 1 << 23
"""Positions of old shards begin here, as doc_ids have them."""


AGAINST = pa.schema(
    [
        ("doc_id", pa.uint64()),
        ("run", pa.string()),
        ("shard", pa.string()),
        ("line", pa.int64()),
        ("subset", pa.string()),
        ("text_bytes", pa.int64()),
    ]
)
"""Columns of against.parquet: the old documents that have a duplicate in the run."""


class OldShard(NamedTuple):
    """A shard of an old run: the run's directory, its name, its rows among all old documents."""

    run: str
    name: str
    first: int
    end: int


class OldDocuments:
    """The documents of some indexes, one after the other."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.indexes = [Index(Path(path)) for path in paths]
        self.first = np.cumsum([0, *(index.documents_total for index in self.indexes)])
        self.total = int(self.first[-1])
        self.shards = [
            OldShard(index.runs[shard.run].path, shard.name, int(first) + shard.first, int(first) + shard.end)
            for index, first in zip(self.indexes, self.first, strict=False)
            for shard in index.shards
        ]

    def sharing_hashes(self, records: Array, config: Dedupe) -> Array:
        """Return the hash records of old documents that share a hash with the given ones, which are sorted, too."""
        found, most = [], config.fuzzy.bucket_neighbours_max
        for index, first in zip(self.indexes, self.first.tolist(), strict=False):
            usable = _usable(index, frozenset(config.exact.skip_subsets))
            old = join(records, index.hash_keys, index.hash_rows, usable, most)
            rows = old[:, -1].astype(np.int64)
            apart = ~_usable(index, frozenset(config.fuzzy.skip_subsets))[rows]
            old[:, -1] = mark_apart(rows + first, apart)
            found.append(old)
        return _sorted(found, records.shape[1])

    def sharing_keys(self, records: Array, config: Dedupe) -> Array:
        """Return the key records of old documents that share a band with the given ones, which are sorted, too."""
        found, most = [], config.fuzzy.bucket_neighbours_max
        for index, first in zip(self.indexes, self.first.tolist(), strict=False):
            usable = _usable(index, frozenset(config.fuzzy.skip_subsets))
            old = join(records, index.band_keys.reshape(-1, 1), index.band_rows, usable, most)
            old[:, -1] += np.uint64(first)
            found.append(old)
        return _sorted(found, records.shape[1])

    def _parts(self, rows: Array) -> Iterator[tuple[Index, Array, slice]]:
        """Yield (index, rows in it, where they are among the given rows); rows ascend."""
        bounds = np.searchsorted(rows, self.first)
        for i, index in enumerate(self.indexes):
            if bounds[i] < bounds[i + 1]:
                here = slice(int(bounds[i]), int(bounds[i + 1]))
                yield index, rows[here] - self.first[i], here

    def documents(self, rows: Array) -> Array:
        """Return DOCUMENT[n] of these rows, ascending."""
        parts = [index.documents[own] for index, own, _ in self._parts(rows)]
        return np.concatenate(parts) if parts else np.empty(0, DOCUMENT)

    def sketches(self, rows: Array) -> Iterator[Array]:
        """Yield the sketches of these rows, ascending, some at a time."""
        for index, own, _ in self._parts(rows):
            for start in range(0, len(own), 1 << 16):
                yield index.sketches[own[start : start + (1 << 16)]]

    def subsets(self, rows: Array) -> list[str]:
        """Return the names of the subsets of these rows, ascending."""
        names: list[str] = []
        for index, own, _ in self._parts(rows):
            names += [index.subsets[code] for code in index.documents["subset"][own].tolist()]
        return names

    def shard_numbers(self, rows: Array) -> Array:
        """Return int64: for each of these rows the position of its shard in self.shards."""
        ends = np.array([shard.end for shard in self.shards], np.int64)
        return np.searchsorted(ends, rows, "right")

    def doc_ids(self, rows: Array) -> Array:
        """Return uint64 doc_ids of these rows, ascending."""
        lines = self.documents(rows)["line"].astype(np.uint64)
        return np.asarray(directory.doc_id(self.shard_numbers(rows).astype(np.uint64) + np.uint64(OLD_SHARD), lines))

    def table(self, rows: Array) -> pa.Table:
        """Return doc_id, run, shard, line, subset, text_bytes of these rows, ascending."""
        documents, numbers = self.documents(rows), self.shard_numbers(rows).tolist()
        return pa.table(
            [
                pa.array(self.doc_ids(rows), pa.uint64()),
                pa.array([self.shards[i].run for i in numbers], pa.string()),
                pa.array([self.shards[i].name for i in numbers], pa.string()),
                pa.array(documents["line"], pa.int64()),
                pa.array(self.subsets(rows), pa.string()),
                pa.array(documents["text_bytes"], pa.int64()),
            ],
            schema=AGAINST,
        )


def is_old(doc_id: Array) -> Array:
    """Return bool[n]: which doc_ids are those of old documents."""
    return np.asarray(doc_id >= np.uint64(OLD))


@functools.lru_cache(8)
def _usable(index: Index, skipped: frozenset[str]) -> Array:
    usable = np.asarray(index.keep) != 0
    codes = [i for i, name in enumerate(index.subsets) if name in skipped]
    if codes:
        usable &= ~np.isin(index.documents["subset"], codes)
    return usable


def opened(paths: Sequence[str]) -> OldDocuments:
    """Return the documents of indexes at these paths; a process opens them once."""
    return _opened(tuple((path, tuple(files.fingerprint(Path(path) / HEAD).values())) for path in paths))


@functools.lru_cache(2)
def _opened(paths: tuple[tuple[str, tuple[object, ...]], ...]) -> OldDocuments:
    return OldDocuments([path for path, _ in paths])


def _sorted(found: Sequence[Array], width: int) -> Array:
    records = np.concatenate([np.empty((0, width), np.uint64), *found])
    return records[np.lexsort(records.T[::-1])]
