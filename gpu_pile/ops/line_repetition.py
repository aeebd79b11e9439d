"""line_repetition: paragraphs and lines that a document has more than once, and their characters.

    line_repetition(text) = int64[n_docs, n_columns]

A piece is *duplicate* where it has occurred before (the first occurrence is not counted), *repeated* where it occurs
elsewhere at all (every occurrence is counted). Lengths are in code points. For a document t:

    paragraphs   re.split(r"\\n{2,}", t.strip());  blocks   t.split("\\n\\n")
    lines        re.split(r"\\n+", t), not stripped: a line feed at the beginning or the end makes an empty line there
    filled_lines the lines that are not empty;  nonblank_lines   those that are more than white space
    dup_X, dup_X_chars                    duplicate ones among X, and their characters
    X_chars                               characters of all blocks, of all nonblank lines
    repeated_lines, repeated_line_chars   repeated ones among filled_lines

Everything is counted exactly: equal hashes are compared (gpu_pile.text.ngrams).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.ngrams import hash_spans, number_spans, strip_spans
from gpu_pile.gpu.segments import FeedRuns, Segments, exclusive_sum, flag_tables, split_at
from gpu_pile.ops.op import Op
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.column import TextColumn
from gpu_pile.text.hash_table import clear, find_span, grown, hash_bytes, is_filled, item_at, new_table, put
from gpu_pile.text.jit import jit
from gpu_pile.text.ngrams import DOCUMENTS
from gpu_pile.text.split import code_points, next_newline, stripped
from gpu_pile.types import Array

line_repetition = Op(
    "line_repetition",
    version=1,
    columns=(
        *("paragraphs", "dup_paragraphs", "dup_paragraph_chars"),
        *("blocks", "dup_blocks", "dup_block_chars"),
        *("lines", "dup_lines", "dup_line_chars"),
        *("filled_lines", "repeated_lines", "repeated_line_chars"),
        *("nonblank_lines", "dup_nonblank_lines", "dup_nonblank_line_chars", "nonblank_line_chars"),
    ),
    documents=DOCUMENTS,
)
C = line_repetition.index


@line_repetition.reference
def _reference(text: TextColumn) -> Array:
    return np.array([_reference_counts(d.decode()) for d in text.documents()], np.int64).reshape(-1, len(C))


def _duplicates(pieces: Sequence[str]) -> tuple[int, int]:
    seen: set[str] = set()
    count = chars = 0
    for p in pieces:
        if p in seen:
            count += 1
            chars += len(p)
        seen.add(p)
    return count, chars


def _reference_counts(t: str) -> list[int]:
    lines = re.split("\n+", t)
    filled = [x for x in lines if x]
    nonblank = [x for x in lines if unicode_reference.strip(x)]
    again = Counter(filled)
    repeated = [x for x in filled if again[x] > 1]
    out = []
    for pieces in (re.split("\n{2,}", unicode_reference.strip(t)), t.split("\n\n"), lines):
        out += [len(pieces), *_duplicates(pieces)]
    out += [len(filled), len(repeated), sum(map(len, repeated))]
    return [*out, len(nonblank), *_duplicates(nonblank), sum(map(len, nonblank))]


_SPACE = unicode.SPACE


@jit
def _blank(data, start, end, stage, leaves):
    """Whether there is nothing but white space."""
    while start < end:
        c, n = unicode.decode_at(data, start)
        if unicode.table_value(stage, leaves, c) & _SPACE == 0:
            return False
        start += n
    return True


_PARAGRAPHS, _BLOCKS, _LINES = 0, 1, 2


@jit
def _next_piece(data, i, end, how):
    """(end of the piece that begins at i, beginning of the next one or -1)."""
    while True:
        i = next_newline(data, i, end)
        if i == end:
            return end, -1
        j = i + 1
        while j < end and data[j] == 10 and (how != _BLOCKS or j < i + 2):
            j += 1
        if how == _LINES or j >= i + 2:
            return i, j
        i = j


@jit
def _pieces(data, start, end, how, stage, leaves, bounds, counts, table, clock, row, at):
    """Count pieces and duplicate ones; of lines also filled, repeated and nonblank ones."""
    mask = clear(table, clock, (end - start) // 32)
    n = distinct = dup = dup_chars = 0
    filled = repeated = repeated_chars = nonblank = dup_nonblank = dup_nonblank_chars = nonblank_chars = 0
    i = start
    while i >= 0:
        stop, following = _next_piece(data, i, end, how)
        if 2 * n + 2 > len(bounds):
            bounds = np.concatenate((bounds, np.empty_like(bounds)))
            counts = np.concatenate((counts, np.empty_like(counts)))
        bounds[2 * n] = i
        bounds[2 * n + 1] = stop
        key = hash_bytes(data, i, stop)
        s = find_span(table, clock, mask, key, data, bounds, 2, 1, n)
        again = is_filled(table, clock, s)
        chars = 0
        if again:
            first = item_at(table, s)
            chars = code_points(data, i, stop)
            dup += 1
            dup_chars += chars
            if stop > i:
                repeated += 1 + (counts[first] == 1)
                repeated_chars += chars * (1 + (counts[first] == 1))
            counts[first] = 2
        else:
            put(table, clock, s, key, n)
            counts[n] = 1
            distinct += 1
            if 2 * distinct >= mask:
                table, mask = grown(table, clock, mask)
        if how == _LINES:
            filled += stop > i
            if not _blank(data, i, stop, stage, leaves):
                nonblank += 1
                nonblank_chars += chars if again else code_points(data, i, stop)
                if again:
                    dup_nonblank += 1
                    dup_nonblank_chars += chars
        n += 1
        i = following
    row[at], row[at + 1], row[at + 2] = n, dup, dup_chars
    if how == _LINES:
        row[at + 3], row[at + 4], row[at + 5] = filled, repeated, repeated_chars
        row[at + 6], row[at + 7], row[at + 8] = nonblank, dup_nonblank, dup_nonblank_chars
        row[at + 9] = nonblank_chars
    return bounds, counts, table


@jit
def _count(data, offsets, stage, leaves, table, clock, out):
    bounds, counts = np.empty(2048, np.int64), np.empty(1024, np.int32)
    for d in range(len(offsets) - 1):
        start, end = offsets[d], offsets[d + 1]
        row = out[d]
        a, b = stripped(data, start, end, stage, leaves)
        bounds, counts, table = _pieces(data, a, b, _PARAGRAPHS, stage, leaves, bounds, counts, table, clock, row, 0)
        bounds, counts, table = _pieces(data, start, end, _BLOCKS, stage, leaves, bounds, counts, table, clock, row, 3)
        bounds, counts, table = _pieces(data, start, end, _LINES, stage, leaves, bounds, counts, table, clock, row, 6)


@line_repetition.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(C)), np.int64)
    _count(text.data, text.offsets, unicode.FLAG_STAGE, unicode.FLAG_LEAVES, *new_table(), out)
    return out


@line_repetition.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    starts, stops = text.offsets[:-1], text.offsets[1:]
    runs = FeedRuns.of(xp, text)
    out = xp.empty((len(text), len(C)), np.int64)

    def count(at: int, separators: tuple[Array, Array, Array, Array, Array]) -> tuple[Any, ...]:
        """Fill three columns; returns (bounds, sums by document, characters, whether duplicate, whether repeated)."""
        bounds, first, piece_owners = split_at(xp, *separators)
        hashes, chars = hash_spans(xp, text.data, bounds, 2, bounds[:, 1] - bounds[:, 0])
        numbers, counts = number_spans(xp, text.data, bounds, 2, 1, piece_owners, hashes)
        again = numbers != xp.arange(len(bounds), dtype=np.uint32)

        def sums(values: Array) -> Array:
            return xp.diff(exclusive_sum(xp, values.astype(np.int64))[first])

        out[:, at], out[:, at + 1], out[:, at + 2] = xp.diff(first), sums(again), sums(again * chars)
        return bounds, sums, chars, again, counts[numbers] > 1

    spans = strip_spans(xp, text.data, xp.stack([starts, stops], axis=1))
    empty = spans[:, 1] < 0
    firsts, lasts = xp.where(empty, starts, spans[:, 0]), xp.where(empty, starts, spans[:, 1])
    inside = (runs.lengths >= 2) & (runs.starts >= firsts[runs.owners]) & (runs.starts < lasts[runs.owners])
    ends = runs.starts + runs.lengths
    count(0, (firsts, lasts, runs.owners[inside], runs.starts[inside], ends[inside]))
    count(3, (starts, stops, *runs.pairs(xp)))
    bounds, sums, chars, again, repeated = count(6, (starts, stops, runs.owners, runs.starts, ends))
    lengths = bounds[:, 1] - bounds[:, 0]
    filled = lengths > 0
    segments = Segments.of(xp, lengths, 16_384)
    inked = xp.zeros(len(bounds), np.uint8)
    launch_warps(
        "line_repetition", "mark_inked", segments.count, text.data, bounds, *segments.args, *flag_tables(xp), inked
    )
    inked = inked > 0
    columns = (
        *(filled, filled & repeated, (filled & repeated) * chars),
        *(inked, inked & again, (inked & again) * chars, inked * chars),
    )
    for at, values in enumerate(columns, 9):
        out[:, at] = sums(values)
    return out
