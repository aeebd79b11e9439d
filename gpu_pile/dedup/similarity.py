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


class Overlaps(NamedTuple):
    """What n pairs of documents have in common.

    similarity: float64
    common:     int64, shingles that both have
    shingles:   int64[n, 2], those that each of the two has; like common 0 where the similarity is an estimate
    """

    similarity: Array
    common: Array
    shingles: Array


class Evidence(Protocol):
    """What the similarity of documents is computed from."""

    def overlaps(self, pairs: Array, device: Device) -> Overlaps:
        """Compare pairs, int64[n, 2], of documents."""


@dataclass(frozen=True)
class ShingleSets:
    """Distinct shingle hashes of documents, ascending.

    values: uint64; spans: int64[n, 2], where in values each document's set begins and ends
    """

    values: Array
    spans: Array

    def overlaps(self, pairs: Array, device: Device) -> Overlaps:
        """Return the exact Jaccard similarities and what they are computed from."""
        counts = self._counts(pairs, device)
        return Overlaps(counts[:, 0] / counts[:, 1], counts[:, 0], np.diff(self.spans, axis=1)[pairs, 0])

    def _counts(self, pairs: Array, device: Device) -> Array:
        """Return what the operation jaccard does; pairs that do not fit the device's memory together go in halves."""
        if device.backend == "cpu":
            # as offsets of sets and of the gaps between them: set i is number 2 i
            return np.asarray(jaccard(self.values, self.spans.reshape(-1), 2 * pairs))
        try:
            with device.session():
                return np.asarray(device.download(jaccard(*map(device.upload, self._of_pairs(pairs)))))
        except MemoryError:
            if len(pairs) == 1:
                raise
            middle = len(pairs) // 2
        return np.concatenate([self._counts(half, device) for half in (pairs[:middle], pairs[middle:])])

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

    def overlaps(self, pairs: Array, device: Device) -> Overlaps:
        """Return the shares of equal positions, which estimate the Jaccard similarity."""
        used, index = np.unique(pairs, return_inverse=True)
        with device.session():
            sketches = device.upload(np.ascontiguousarray(self.values[used]))
            matches = device.download(sketch_matches(sketches, device.upload(index.reshape(pairs.shape))))
        unknown = np.zeros((3, len(pairs)), np.int64)
        return Overlaps(matches / self.values.shape[1], unknown[0], unknown[1:].T)


class SimilarPairs(NamedTuple):
    """Pairs of rows a < b, arrays of n; similarity float64, the others int64.

    common, shingles_a, shingles_b: see Overlaps
    """

    a: Array
    b: Array
    similarity: Array
    common: Array
    shingles_a: Array
    shingles_b: Array

    @classmethod
    def of(cls, pairs: Array, involved: RowSet, evidence: Evidence, device: Device) -> SimilarPairs:
        """Compare pairs of rows, int64[n, 2], (b, a); the evidence is that of the involved rows, in their order."""
        b, a = np.ascontiguousarray(pairs.T)
        documents = np.stack([involved.rank(a), involved.rank(b)], axis=1)
        similarity, common, shingles = evidence.overlaps(documents, device)
        return cls(a, b, similarity, common, *np.ascontiguousarray(shingles.T))

    def take(self, chosen: Array) -> SimilarPairs:
        return SimilarPairs(*(values[chosen] for values in self))

    def containment(self) -> Array:
        """Return float64[2, n]: the share of a's shingles that b has, and of b's that a has; 0 where unknown."""
        return np.stack([self.common / np.maximum(sizes, 1) for sizes in (self.shingles_a, self.shingles_b)])

    def at_least(self, threshold: float) -> SimilarPairs:
        """Return the near duplicates among the pairs: those at the threshold or above."""
        return self.take(self.similarity >= threshold)
