"""near left: no two kept documents are near duplicates that the run should have compared.

Kept documents that are alike are looked for by a banding of the stored sketches other than the run's: short bands of
values that stand far apart, of which all together find practically every pair at or above the threshold. Their
similarity is counted again on the texts. A pair at or above the threshold that shares one of the run's own bands fails:
the run had to compare it and to remove one of its documents. Pairs that share none are what the run's banding misses by
chance; a note counts them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.dedup.banding import candidate_probability
from gpu_pile.explore.tables import RunTables
from gpu_pile.explore.verify.check import Check
from gpu_pile.explore.verify.documents import Document, ShardDecisions, TextCheck, among, survivors_of
from gpu_pile.explore.verify.pairs import Shingles
from gpu_pile.run import directory
from gpu_pile.run.tables import row_groups
from gpu_pile.types import Array

OTHER_ROWS_MAX = 4
"""Most values in a band of the other banding."""

OTHER_RECALL = 0.999
"""What all bands of the other banding find, at least, of the pairs at the threshold."""

OTHER_BANDS = 4
"""Bands that are looked at unless all are: with rows of 4 values they find 88 % of the pairs at 0.8, 99 % at 0.9."""

KEYS_AT_A_TIME = 1 << 25
"""Band keys that are held in memory, 16 bytes each."""

NEIGHBOURS = 64
"""In a bucket, a document is paired with at most this many of those that follow it."""

PAIRS_AT_A_TIME = 1 << 16
"""Pairs whose sketches are held in memory."""

LEFT_SAMPLE = 1000
"""Pairs whose similarity is counted again on the texts unless all are."""


class Sketches(NamedTuple):
    """Some documents of a row group: doc_id uint64[n], subset of each, values uint32[n, K]."""

    doc_id: Array
    subsets: list[str]
    values: Array


class NearLeft(TextCheck):
    """Kept documents: no two of them are near duplicates that share a band."""

    def __init__(self, run: RunTables, everything: bool, rng: np.random.Generator, shingles: Shingles) -> None:
        self.check = Check("near left", "kept documents without a kept near duplicate")
        if run.config.dedupe.copies_max > 1:
            self.check.notes.append("without the copies that dedupe.copies_max lets stay")
        self.run, self.everything, self.rng, self.shingles = run, everything, rng, shingles
        self.dedupe = run.config.dedupe
        self.fuzzy = run.config.dedupe.fuzzy
        self.rows = other_rows(self.fuzzy.threshold, self.fuzzy.size)
        self.kept = 0
        self.pairs = np.empty((0, 2), np.uint64)
        self.similarity = np.empty(0)

    def plan(self, decided: ShardDecisions) -> None:
        self.kept += int(survivors_of(decided.table).sum())

    def choose(self) -> None:
        if not self.fuzzy.enabled:
            self.check.notes.append("dedupe.fuzzy is off: near duplicates stay")
            return
        self.check.total = self.kept
        pairs = self._alike()
        if not self.everything and len(pairs) > LEFT_SAMPLE:
            self.check.notes.append(f"a sample of {LEFT_SAMPLE:,} of {len(pairs):,} pairs that are alike")
            pairs = pairs[np.sort(self.rng.choice(len(pairs), LEFT_SAMPLE, replace=False))]
        self.pairs = pairs
        if self.fuzzy.verify == "exact":
            self.shingles.request(np.unique(pairs))

    def wants(self, decided: ShardDecisions) -> Array:
        return np.zeros(len(decided.keep), bool)  # self.shingles asks for the texts

    def look(self, document: Document) -> None:
        raise AssertionError("asks for no text itself")

    # which pairs are alike, by the sketches

    def _alike(self) -> Array:
        """uint64[m, 2]: pairs of kept documents whose sketches say that they may be near duplicates."""
        n_bands = self.fuzzy.size // self.rows
        bands = np.arange(n_bands if self.everything else min(n_bands, OTHER_BANDS))
        passes = -(-self.kept * len(bands) // KEYS_AT_A_TIME) or 1
        likely = []
        for remainder in range(passes if self.everything else 1):
            keys, ids, n_kept = self._keys(bands, passes, remainder)
            self.check.checked = n_kept if self.everything else len(np.unique(ids))
            pairs = np.unique(_neighbours(keys, ids), axis=0)
            for start in range(0, len(pairs), PAIRS_AT_A_TIME):
                likely.append(self._likely(pairs[start : start + PAIRS_AT_A_TIME]))
        return np.unique(np.concatenate([np.empty((0, 2), np.uint64), *likely]), axis=0)

    def _keys(self, bands: Array, passes: int, remainder: int) -> tuple[Array, Array, int]:
        """(band keys, doc_ids) of kept documents: those keys that leave this remainder; and the number of documents."""
        all_keys, all_ids = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
        n_documents = 0
        for sketches in self._sketches(kept=True):
            keys = band_keys(sketches.values, bands, self.rows)
            if self.dedupe.scope == "subset":
                salts = {name: zlib.crc32(name.encode()) for name in set(sketches.subsets)}
                keys ^= np.array([salts[name] for name in sketches.subsets], np.uint64)[:, None]
            row, band = np.nonzero(keys % np.uint64(passes) == remainder)
            all_keys.append(keys[row, band])
            all_ids.append(sketches.doc_id[row])
            n_documents += len(keys)
        return np.concatenate(all_keys), np.concatenate(all_ids), n_documents

    def _sketches(self, kept: bool) -> Iterator[Sketches]:
        """The stored sketches of all documents with shingles, or of the kept ones that may be near duplicates."""
        for shard in self.run.shards:
            decided = pq.read_table(files.table(self.run.directory.decisions(shard.name)), columns=["keep", "witness"])
            keep = survivors_of(decided)
            first = 0
            for table in row_groups(self.run.context, shard, ["line", "subset", "shingles", "sketch"]):
                rows = table.column("shingles").to_numpy() > 0
                if kept:
                    rows &= keep[first : first + len(table)]
                first += len(table)
                table = table.filter(pa.array(rows))
                subsets = table.column("subset").to_pylist()
                if kept and self.fuzzy.skip_subsets:
                    rows = np.array([name not in self.fuzzy.skip_subsets for name in subsets], bool)
                    table, subsets = table.filter(pa.array(rows)), [s for s, r in zip(subsets, rows, strict=True) if r]
                lines = table.column("line").to_numpy().astype(np.uint64)
                values = np.frombuffer(b"".join(table.column("sketch").to_pylist()), np.uint32)
                identifiers = directory.doc_id(np.uint64(shard.index), lines)
                yield Sketches(identifiers, subsets, values.reshape(-1, self.fuzzy.size))

    def _likely(self, pairs: Array) -> Array:
        """The pairs whose estimated similarity is less than four standard errors below the threshold."""
        first, second = self._values_of(pairs)
        threshold, size = self.fuzzy.threshold, self.fuzzy.size
        margin = 0.0 if self.fuzzy.verify == "sketch" else 4 * (max(0.01, threshold * (1 - threshold)) / size) ** 0.5
        return np.asarray(pairs[(first == second).mean(axis=1) >= threshold - margin])

    def _values_of(self, pairs: Array) -> tuple[Array, Array]:
        """uint32[n, K] each: the sketches of both documents of some pairs."""
        ids = np.unique(pairs)
        values = np.zeros((len(ids), self.fuzzy.size), np.uint32)
        for sketches in self._sketches(kept=True) if len(ids) else ():
            rows = among(sketches.doc_id, ids)
            values[np.searchsorted(ids, sketches.doc_id[rows])] = sketches.values[rows]
        return values[np.searchsorted(ids, pairs[:, 0])], values[np.searchsorted(ids, pairs[:, 1])]

    # which of them are wrong

    def finish(self) -> None:
        if not len(self.pairs):
            return
        first, second = self._values_of(self.pairs)
        if self.fuzzy.verify == "exact":
            similarity = np.array([self._counted(int(a), int(b)) for a, b in self.pairs])
        else:
            similarity = (first == second).mean(axis=1)
        missed = 0
        least = max(self.fuzzy.threshold, self.fuzzy.accept.jaccard or 0.0)
        for i in np.flatnonzero(similarity >= least).tolist():
            a, b = (int(x) for x in self.pairs[i])
            if self._had_to_meet(a, first[i], second[i]):
                self.check.fail(f"doc_id {a} and {b} are both kept; their similarity is {similarity[i]:.6f}")
            else:
                missed += 1
        if missed:
            self.check.notes.append(
                f"{missed:,} pairs of kept documents at or above the threshold {self.fuzzy.threshold:g} share no band: "
                "the banding misses some by chance, see the report"
            )

    def _counted(self, a: int, b: int) -> float:
        """The similarity of a pair by its texts; 0 where one of the two may not go for the other."""
        common, *sizes = self.shingles.counts(a, b)
        if common < self.fuzzy.accept.containment * max(sizes):
            return 0.0
        return common / max(1, sum(sizes) - common)

    def _had_to_meet(self, a: int, first: Array, second: Array) -> bool:
        """Whether the run's banding made a candidate of a pair; a is the smaller doc_id.

        In a bucket, a document is compared with the first dedupe.fuzzy.bucket_neighbours_max others alone.
        """
        state = self.run.directory.state("dedupe")
        bands, rows = state["bands"], state["rows"]
        own, other = (values[: bands * rows].reshape(bands, rows) for values in (first, second))
        shared = np.flatnonzero((own == other).all(axis=1))
        return any(self._before(a, own[band], band) < self.fuzzy.bucket_neighbours_max for band in shared.tolist())

    def _before(self, doc_id: int, values: Array, band: int) -> int:
        """How many different sketches of documents before this one have these values in a band."""
        rows = len(values)
        seen: set[bytes] = set()
        for sketches in self._sketches(kept=False):
            same = (sketches.values[:, band * rows : (band + 1) * rows] == values).all(axis=1)
            seen.update(v.tobytes() for v in sketches.values[same & (sketches.doc_id < doc_id)])
        return len(seen)


def other_rows(threshold: float, size: int) -> int:
    """The most rows, hence the fewest false candidates, with which all bands find OTHER_RECALL at the threshold."""
    rows = range(OTHER_ROWS_MAX, 0, -1)
    return next((r for r in rows if candidate_probability(threshold, size // r, r) >= OTHER_RECALL), 1)


def band_keys(values: Array, bands: Array, rows: int) -> Array:
    """uint64[n, bands]: a key of each band; band j has the values j, j + K/rows, j + 2K/rows ... of a sketch of K."""
    stride = values.shape[1] // rows
    keys = np.broadcast_to((bands + 1).astype(np.uint64), (len(values), len(bands))).copy()
    for i in range(rows):
        keys = (keys ^ values[:, i * stride + bands]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(32)
    return keys


def _neighbours(keys: Array, ids: Array) -> Array:
    """uint64[m, 2]: pairs (smaller, larger doc_id) of documents that share a key and stand near in its bucket."""
    order = np.lexsort((ids, keys))
    keys, ids = keys[order], ids[order]
    pairs = [np.empty((0, 2), np.uint64)]
    for distance in range(1, NEIGHBOURS + 1):
        rows = np.flatnonzero(keys[distance:] == keys[:-distance])
        if not len(rows):
            break
        pairs.append(np.stack([ids[rows], ids[rows + distance]], axis=1))
    return np.concatenate(pairs)
