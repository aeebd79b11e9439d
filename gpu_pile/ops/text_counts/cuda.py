"""text_counts on a GPU: segments are counted by warps, then joined by a thread per document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_threads, launch_warps
from gpu_pile.gpu.segments import Segments, constant, flag_tables
from gpu_pile.ops.text_counts.contract import C, text_counts
from gpu_pile.text.column import TextColumn
from gpu_pile.text.marks import Mark, packed
from gpu_pile.types import Array

LENGTHS = 256
"""Words of fewer characters are counted by length, to find the median."""
SUMMARY = 33
"""Integers in a Summary of kernels/text_counts.cuh."""


@text_counts.cuda
def cuda(xp: Any, text: TextColumn, marks: Sequence[Mark] = ()) -> Array:
    width = len(text_counts.columns) + len(marks)
    out = xp.zeros((len(text), width), np.uint64)
    segments = Segments.of_text(xp, text)
    tables = (*flag_tables(xp), constant(xp, packed(tuple(marks))))
    lengths = xp.zeros((len(text), LENGTHS), np.uint32)
    long_words = xp.empty((text.n_bytes // LENGTHS + 1, 2), np.int64)
    n_long = xp.zeros(1, np.uint64)
    words = (lengths, long_words, n_long)
    summaries = xp.empty((segments.count, SUMMARY), np.int32)
    launch_warps(
        "text_counts", "text_counts_segments", segments.count, text.data, text.offsets, *segments.args, *tables,
        *words, width, out, summaries,
    )  # fmt: skip
    launch_threads(
        "text_counts", "text_counts_join", len(text), text.data, text.offsets, len(text), segments.first,
        segments.size, *tables, *words, width, summaries, out,
    )  # fmt: skip
    result = out.view(np.int64)
    result[:, C.twice_median_word] = twice_median(xp, lengths, long_words[: int(n_long[0])], result[:, C.words])
    return result


def twice_median(xp: Any, lengths: Array, long_words: Array, n: Array) -> Array:
    """int64[n_docs]: the two middle ones of each document's n word lengths added, 0 where there is no word.

    Args:
        lengths: uint32[n_docs, LENGTHS], words of each length.
        long_words: (document, length) of words of LENGTHS characters and more, in any order.
    """
    up_to = xp.cumsum(lengths, axis=1, dtype=np.int64)
    owners, chars = long_words[xp.lexsort(xp.stack([long_words[:, 1], long_words[:, 0]]))].T
    first_long = xp.searchsorted(owners, xp.arange(len(n), dtype=np.int64))
    total = xp.zeros(len(n), np.int64)
    for position in ((n - 1) // 2, n // 2):  # the same word twice if their number is odd
        length = (up_to <= position[:, None]).sum(axis=1)
        if len(chars):
            long = xp.maximum(position - up_to[:, -1], 0) + first_long
            length = xp.where(length == LENGTHS, chars[xp.minimum(long, len(chars) - 1)], length)
        total += length
    return xp.where(n > 0, total, 0)
