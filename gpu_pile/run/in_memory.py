"""Texts in memory: work on pieces of a column, and the search for duplicates in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gpu_pile.dedup.buckets import candidate_pairs, distinct_pairs, equal_hashes, hash_records, key_records
from gpu_pile.dedup.equal_sets import EqualSets
from gpu_pile.dedup.rowset import RowSet
from gpu_pile.dedup.similarity import Evidence, ShingleSets, SimilarPairs, Sketches
from gpu_pile.gpu.device import Device
from gpu_pile.gpu.segments import take, to_host
from gpu_pile.ops.band_keys import band_keys
from gpu_pile.ops.doc_hash import doc_hash
from gpu_pile.ops.shingle_set import shingle_set
from gpu_pile.ops.sketch import sketch
from gpu_pile.run.config import Fuzzy
from gpu_pile.run.exact_text import digests
from gpu_pile.run.threads import map_threads, worker_count
from gpu_pile.text.column import TextColumn, text_pieces
from gpu_pile.types import Array

OUT_PAIRS = 1 << 14
"""Candidate pairs that are found at a time, with repetitions."""


def over_pieces(
    text: TextColumn, workers: int | None, device: Device, function: Callable[[TextColumn], Any]
) -> list[Any]:
    """Return the function's results for consecutive pieces of the text, each uploaded to the device; at least one."""
    if device.backend == "cpu":
        text = device.text(text)
    pieces = list(text_pieces(to_host(text.offsets), device.batch_bytes)) or [(0, 0)]
    asked = device.asked()

    def compute(piece: tuple[int, int]) -> Any:
        with device.session(after=asked):
            return function(device.text(text.slice(*piece)))

    return map_threads(compute, pieces, worker_count(workers))


class TextSource:
    """Texts in memory, to be searched for duplicates (see gpu_pile.dedup.engine.Source)."""

    def __init__(self, text: TextColumn, fuzzy: Fuzzy, workers: int | None, device: Device) -> None:
        self.text, self.fuzzy, self.workers, self.device = text, fuzzy, workers, device
        self.total = len(text)
        self.hashes, self.sketches, self.shingles = self._columns(text, self._hash_and_sketch)
        self.pairs = np.empty((0, 2), np.int64)
        self.evidence: Evidence = Sketches(self.sketches)

    def _columns(self, text: TextColumn, function: Callable[[TextColumn], tuple[Any, ...]]) -> list[Array]:
        """Return the arrays that a function gives for the pieces of a text, concatenated, in host memory."""
        results = over_pieces(text, self.workers, self.device, lambda piece: tuple(map(to_host, function(piece))))
        return [np.concatenate(arrays) for arrays in zip(*results, strict=True)]

    def _hash_and_sketch(self, piece: TextColumn) -> tuple[Any, ...]:
        f = self.fuzzy
        sketches = sketch(piece, kind=f.shingle, width=f.width, method=f.sketch, k=f.size, seed=f.seed)
        return (doc_hash(piece), *sketches)

    def equal_hashes(self) -> EqualSets:
        return EqualSets.of(equal_hashes(hash_records(self.hashes, np.arange(self.total))))

    def candidates(self, copies: Array) -> list[Array]:
        chosen = self.shingles > 0
        chosen[copies] = False
        rows, banding, device = np.flatnonzero(chosen), self.fuzzy.banding(), self.device
        with device.session():
            sketches = device.upload(np.ascontiguousarray(self.sketches[rows]))
            keys = device.download(band_keys(sketches, bands=banding.bands, rows=banding.rows))
        neighbours_max = self.fuzzy.bucket_neighbours_max
        out = np.empty((max(neighbours_max, OUT_PAIRS), 2), np.uint64)
        argsort = None if device.backend == "cpu" else device.argsort
        batches = candidate_pairs(key_records(keys, rows), neighbours_max, out, argsort=argsort)
        pairs = np.concatenate([np.empty((0, 2), np.uint64), *(batch.copy() for batch in batches)])
        self.pairs = distinct_pairs(pairs).astype(np.int64)
        return [self.pairs]

    def read_texts(self, involved: RowSet, members: Array) -> Array:
        rows = involved.rows(0, self.total)
        if self.fuzzy.verify == "exact":
            self.evidence = self._shingle_sets(rows)
        else:
            self.evidence = Sketches(self.sketches[rows])
        return digests(take(self.text, members), "none") if len(members) else np.empty((0, 16), np.uint8)

    def _shingle_sets(self, rows: Array) -> ShingleSets:
        kind, width = self.fuzzy.shingle, self.fuzzy.width

        def sets_of(piece: TextColumn) -> tuple[Any, ...]:
            values, offsets = shingle_set(piece, kind=kind, width=width)
            return values, offsets[1:] - offsets[:-1]

        values, sizes = self._columns(take(self.text, rows), sets_of)
        ends = np.cumsum(sizes)
        return ShingleSets(values, np.stack([ends - sizes, ends], axis=1))

    def compare(self, involved: RowSet) -> list[SimilarPairs]:
        return [SimilarPairs.of(self.pairs, involved, self.evidence, self.device).at_least(self.fuzzy.threshold)]
