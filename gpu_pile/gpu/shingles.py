"""Units of documents on a device: the device half of gpu_pile.text.shingles."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.segments import Segments, exclusive_sum, flag_tables, word_tables
from gpu_pile.text.column import TextColumn
from gpu_pile.types import Array


def device_units(xp: Any, text: TextColumn, kind: str) -> tuple[Array, Array, str]:
    """The units of all documents on the device, in order, as kernels that include shingles.cuh take them.

    Returns:
        (units, starts, type): document d has units[starts[d]:starts[d + 1]]. For words and characters they are hashes,
        uint64; for bytes they are the text itself, uint8. type is what UNIT is to be defined as.
    """
    if kind == "byte":
        return text.data, text.offsets, "u8"
    segments = Segments.of(xp, xp.diff(text.offsets), 16_384)
    documents = (text.data, text.offsets, *segments.args)
    counts = xp.empty(segments.count, np.int64)
    if kind == "word":
        launch_warps("shingles", "count_words", segments.count, *documents, *flag_tables(xp), counts)
    else:
        launch_warps("shingles", "count_characters", segments.count, *documents, counts)
    before = exclusive_sum(xp, counts)
    units = xp.empty(int(before[-1]), np.uint64)
    if kind == "word":
        launch_warps("shingles", "hash_words", segments.count, *documents, *word_tables(xp), before, units)
    else:
        launch_warps("shingles", "write_characters", segments.count, *documents, before, units)
    return units, before[segments.first], "u64"


def shingle_counts(xp: Any, starts: Array, width: int) -> Array:
    """int64[n_docs]: shingles of documents with these units."""
    n = xp.diff(starts)
    return xp.where(n > 0, n - xp.minimum(n, width) + 1, 0)
