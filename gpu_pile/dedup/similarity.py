"""Verification: the similarity of candidate pairs, from shingle sets or from sketches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from gpu_pile.dedup.rowset import RowSet
from gpu_pile.gpu.device import Device
from gpu_pile.ops.jaccard import jaccard
from gpu_pile.ops.sketch_matches import sketch_matches
from gpu_pile.types import Array


class Evidence(Protocol):
    """What the similarity of documents is computed from."""

    def similarity(self, pairs: Array, device: Device) -> Array:
        """Return float64[n], the similarity of each of pairs int64[n, 2] of documents."""


@dataclass(frozen=True)
class ShingleSets:
    """Distinct shingle hashes of documents, ascending.

    values: uint64; spans: int64[n, 2], where in values each document's set begins and ends
    """

    values: Array
    spans: Array

    def similarity(self, pairs: Array, device: Device) -> Array:
        """Return the exact Jaccard similarities; pairs that do not fit the device's memory together go in halves."""
        if device.backend == "cpu":
            # as offsets of sets and of the gaps between them: set i is number 2 i
            counts = jaccard(self.values, self.spans.reshape(-1), 2 * pairs)
            return np.asarray(counts[:, 0] / counts[:, 1])
        try:
            with device.session():
                counts = device.download(jaccard(*map(device.upload, self._of_pairs(pairs))))
                return np.asarray(counts[:, 0] / counts[:, 1])
        except MemoryError:
            if len(pairs) == 1:
                raise
            middle = len(pairs) // 2
        return np.concatenate([self.similarity(half, device) for half in (pairs[:middle], pairs[middle:])])

    def _of_pairs(self, pairs: Array) -> tuple[Array, Array, Array]:
        """The values and offsets of the sets that pairs refer to, without gaps, and the pairs renumbered."""
        used, index = np.unique(pairs, return_inverse=True)
        starts, sizes = self.spans[used, 0], np.diff(self.spans[used], axis=1)[:, 0]
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        places = np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])
        return self.values[places], offsets, index.reshape(pairs.shape)


@dataclass(frozen=True)
class Sketches:
    """values: uint32[n, K], a sketch per document."""

    values: Array

    def similarity(self, pairs: Array, device: Device) -> Array:
        """Return the shares of equal positions, which estimate the Jaccard similarity."""
        used, index = np.unique(pairs, return_inverse=True)
        with device.session():
            sketches = device.upload(np.ascontiguousarray(self.values[used]))
            matches = device.download(sketch_matches(sketches, device.upload(index.reshape(pairs.shape))))
        return np.asarray(matches / self.values.shape[1])


class SimilarPairs(NamedTuple):
    """Pairs of rows a < b, int64[n] each, and their similarity, float64[n]."""

    a: Array
    b: Array
    similarity: Array

    @classmethod
    def of(cls, pairs: Array, involved: RowSet, evidence: Evidence, device: Device) -> SimilarPairs:
        """Compare pairs of rows, int64[n, 2], (b, a); the evidence is that of the involved rows, in their order."""
        b, a = np.ascontiguousarray(pairs.T)
        documents = np.stack([involved.rank(a), involved.rank(b)], axis=1)
        return cls(a, b, evidence.similarity(documents, device))

    def at_least(self, threshold: float) -> SimilarPairs:
        """Return the near duplicates among the pairs: those at the threshold or above."""
        chosen = self.similarity >= threshold
        return SimilarPairs(self.a[chosen], self.b[chosen], self.similarity[chosen])
