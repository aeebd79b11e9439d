"""c4_lines on a GPU: line breaks are found by segments, then a warp takes a line."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.segments import Segments, constant, count_then_write, exclusive_sum, flag_tables, gather, split_at
from gpu_pile.ops.c4_lines.contract import C, c4_lines
from gpu_pile.ops.c4_lines.sentences import abbreviation_keys
from gpu_pile.text.column import TextColumn
from gpu_pile.types import Array

_KEYS = abbreviation_keys()


@c4_lines.cuda
def cuda(xp: Any, text: TextColumn, kept_text: bool = False) -> Any:
    bounds, owners = _lines(xp, text)
    n = len(owners)
    keys = constant(xp, _KEYS)
    cleaned, verdicts = xp.empty(text.n_bytes, np.uint8), xp.empty(n, np.uint8)
    lengths, spaces, sentences = (xp.empty(n, np.int64) for _ in range(3))
    launch_warps(
        "c4_lines", "c4_lines", n, text.data, text.offsets, bounds, owners, n, *flag_tables(xp), keys, len(keys),
        cleaned, verdicts, lengths, spaces, sentences,
    )  # fmt: skip
    first = _first_of(xp, owners, len(text))
    reached = _reached(xp, verdicts, first, owners)
    counts = xp.empty((len(text), len(c4_lines.columns)), np.int64)
    counts[:, C.lines] = _sums(xp, reached, first)
    for verdict in range(C.too_long_word, C.kept + 1):
        counts[:, verdict] = _sums(xp, reached & (verdicts == verdict), first)
    counts[:, C.sentences] = _sums(xp, reached * sentences, first)
    kept = xp.flatnonzero(reached & (verdicts == C.kept))
    owners = owners[kept]
    first = _first_of(xp, owners, len(text))
    places = xp.arange(len(kept), dtype=np.int64)
    skipped = xp.where(places == first[owners], spaces[kept], 0)  # the joined text is stripped
    line_feeds = (places + 1 < first[owners + 1]).astype(np.int64)
    lengths = lengths[kept] - skipped + line_feeds
    counts[:, C.kept_bytes] = _sums(xp, lengths, first)
    if not kept_text:
        return counts
    data, offsets = gather(xp, cleaned, bounds[kept, 0] + skipped, lengths)
    return counts, data, offsets[first]


def _lines(xp: Any, text: TextColumn) -> tuple[Array, Array]:
    """(bounds int64[n, 2], owners int64[n]): where each line of str.splitlines() begins and ends, and its document."""
    segments = Segments.of_text(xp, text)
    inputs = (text.data, text.offsets, *segments.args, *flag_tables(xp))
    kernels, dtypes = ("count_breaks", "find_breaks"), (np.int64,) * 3
    _, ends, begins, owners = count_then_write(xp, "c4_lines", kernels, segments, inputs, *dtypes)
    bounds, _, owners = split_at(xp, text.offsets[:-1], text.offsets[1:], owners, ends, begins)
    lines = bounds[:, 0] < text.offsets[1:][owners]  # an empty piece after the last line break is not a line
    return bounds[lines], owners[lines]


def _first_of(xp: Any, owners: Array, n: int) -> Array:
    """int64[n + 1]: the first item of each owner, of items in the order of their owners."""
    return xp.searchsorted(owners, xp.arange(n + 1, dtype=np.int64))


def _sums(xp: Any, values: Array, first: Array) -> Array:
    """int64[n]: the sum of each owner's values."""
    return xp.diff(exclusive_sum(xp, values.astype(np.int64))[first])


def _reached(xp: Any, verdicts: Array, first: Array, owners: Array) -> Array:
    """bool[n]: no line of the document before this one rejects the document."""
    rejecting = (verdicts == C.lorem) | (verdicts == C.curly)
    rejections = exclusive_sum(xp, rejecting.astype(np.int64))
    return rejections[:-1] == rejections[first[owners]]
