"""Count equal pieces of documents on a device: the device half of gpu_pile.text.pieces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_pile.gpu.ngrams import hash_spans, number_spans
from gpu_pile.gpu.segments import exclusive_sum
from gpu_pile.types import DeviceArray


@dataclass(frozen=True)
class DevicePieces:
    """Pieces of documents, such as lines, and which of them are equal to another piece of the document.

    first:     int64[n_docs + 1]  document d has pieces first[d] .. first[d + 1]
    lengths:   int64[n]           bytes of each piece
    chars:     int64[n]           code points of each piece
    duplicate: bool[n]            whether an earlier piece is equal
    repeated:  bool[n]            whether another piece is equal, earlier or later
    """

    first: DeviceArray
    lengths: DeviceArray
    chars: DeviceArray
    duplicate: DeviceArray
    repeated: DeviceArray

    @classmethod
    def of(
        cls, xp: Any, data: DeviceArray, bounds: DeviceArray, first: DeviceArray, owners: DeviceArray
    ) -> DevicePieces:
        """The pieces data[bounds[k, 0]:bounds[k, 1]] of documents owners[k]."""
        lengths = bounds[:, 1] - bounds[:, 0]
        hashes, chars = hash_spans(xp, data, bounds, 2, lengths)
        numbers, counts = number_spans(xp, data, bounds, 2, 1, owners, hashes)
        duplicate = numbers != xp.arange(len(bounds), dtype=np.uint32)
        return cls(first, lengths, chars, duplicate, counts[numbers] > 1)

    def total(self, xp: Any, values: DeviceArray) -> DeviceArray:
        """Return int64[n_docs]: the sum of values, one per piece, over the pieces of each document."""
        return xp.diff(exclusive_sum(xp, values.astype(np.int64))[self.first])
