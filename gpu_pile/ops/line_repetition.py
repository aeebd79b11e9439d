"""line_repetition: paragraphs and lines that a document has more than once, and their characters.

    line_repetition(text) = int64[n_docs, n_columns]

A piece is *duplicate* if it is equal to an earlier piece (the first occurrence is not counted), *repeated* if it is
equal to any other piece (every occurrence is counted). Lengths are in code points. For a document t:

    paragraphs      re.split(r"\\n{2,}", t.strip())
    blocks          t.split("\\n\\n")
    lines           re.split(r"\\n+", t), not stripped: a line feed at the beginning or end of t makes an empty line
    filled_lines    the lines that are not empty
    nonblank_lines  the lines with more than white space

    dup_X, dup_X_chars                    the duplicate ones among X, and their characters
    nonblank_line_chars                   characters of the nonblank lines
    repeated_lines, repeated_line_chars   the repeated ones among filled_lines, and their characters

Everything is counted exactly: pieces of equal hash are compared (gpu_pile.text.pieces).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.ngrams import strip_spans
from gpu_pile.gpu.pieces import DevicePieces
from gpu_pile.gpu.segments import FeedRuns, Segments, flag_tables, split_at
from gpu_pile.ops.op import Op
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit, leaf
from gpu_pile.text.ngrams import DOCUMENTS
from gpu_pile.text.pieces import count_newlines, new_pieces, number_pieces, with_room
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


def _reference_duplicates(pieces: Sequence[str]) -> tuple[int, int]:
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
    count = Counter(filled)
    repeated = [x for x in filled if count[x] > 1]
    out = []
    for pieces in (re.split("\n{2,}", unicode_reference.strip(t)), t.split("\n\n"), lines):
        out += [len(pieces), *_reference_duplicates(pieces)]
    out += [len(filled), len(repeated), sum(map(len, repeated))]
    return [*out, len(nonblank), *_reference_duplicates(nonblank), sum(map(len, nonblank))]


_SPACE = unicode.SPACE
_LINE_FEED = ord("\n")
_PARAGRAPHS, _BLOCKS, _LINES = range(3)


@leaf
def _is_blank(data, start, end, flags):
    """Whether data[start:end] is empty or white space."""
    stage, leaves = flags
    while start < end:
        c, n = unicode.decode_at(data, start)
        if unicode.table_value(stage, leaves, c) & _SPACE == 0:
            return False
        start += n
    return True


@leaf
def _next_piece(data, i, end, kind):
    """Return (where the piece that begins at data[i] ends, where the next one begins or -1)."""
    while True:
        i = next_newline(data, i, end)
        if i == end:
            return end, -1
        j = i + 1
        while j < end and data[j] == _LINE_FEED and (kind != _BLOCKS or j < i + 2):
            j += 1
        if kind == _LINES or j >= i + 2:
            return i, j
        i = j


@leaf
def _split(data, start, end, kind, pieces):
    """Write the bounds of the pieces of data[start:end]. Return how many there are."""
    bounds = pieces.bounds
    n = 0
    while start >= 0:
        stop, following = _next_piece(data, start, end, kind)
        bounds[2 * n] = start
        bounds[2 * n + 1] = stop
        n += 1
        start = following
    return n


@leaf
def _duplicates(data, pieces, n):
    """Return (how many of n pieces are duplicate, their characters)."""
    bounds, first = pieces.bounds, pieces.first
    dup = dup_chars = 0
    for k in range(n):
        if first[k] != k:
            dup += 1
            dup_chars += code_points(data, bounds[2 * k], bounds[2 * k + 1])
    return dup, dup_chars


@leaf
def _count_lines(data, flags, pieces, n, row):
    """Fill the columns of filled lines and nonblank lines."""
    bounds, first, counts = pieces.bounds, pieces.first, pieces.counts
    filled = repeated = repeated_chars = nonblank = nonblank_chars = dup_nonblank = dup_nonblank_chars = 0
    for k in range(n):
        start, end = bounds[2 * k], bounds[2 * k + 1]
        if start == end:
            continue
        chars = code_points(data, start, end)
        filled += 1
        if counts[first[k]] > 1:
            repeated += 1
            repeated_chars += chars
        if not _is_blank(data, start, end, flags):
            nonblank += 1
            nonblank_chars += chars
            if first[k] != k:
                dup_nonblank += 1
                dup_nonblank_chars += chars
    row[C.filled_lines], row[C.repeated_lines], row[C.repeated_line_chars] = filled, repeated, repeated_chars
    row[C.nonblank_lines], row[C.nonblank_line_chars] = nonblank, nonblank_chars
    row[C.dup_nonblank_lines], row[C.dup_nonblank_line_chars] = dup_nonblank, dup_nonblank_chars


@jit
def _count(data, offsets, flags, pieces, out):
    for d in range(len(offsets) - 1):
        start, end = offsets[d], offsets[d + 1]
        row = out[d]
        pieces = with_room(pieces, count_newlines(data, start, end) + 1)
        first, last = stripped(data, start, end, *flags)
        n = row[C.paragraphs] = _split(data, first, last, _PARAGRAPHS, pieces)
        pieces = number_pieces(data, pieces, n)
        row[C.dup_paragraphs], row[C.dup_paragraph_chars] = _duplicates(data, pieces, n)
        n = row[C.blocks] = _split(data, start, end, _BLOCKS, pieces)
        pieces = number_pieces(data, pieces, n)
        row[C.dup_blocks], row[C.dup_block_chars] = _duplicates(data, pieces, n)
        n = row[C.lines] = _split(data, start, end, _LINES, pieces)
        pieces = number_pieces(data, pieces, n)
        row[C.dup_lines], row[C.dup_line_chars] = _duplicates(data, pieces, n)
        _count_lines(data, flags, pieces, n, row)


@line_repetition.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(C)), np.int64)
    _count(text.data, text.offsets, (unicode.FLAG_STAGE, unicode.FLAG_LEAVES), new_pieces(), out)
    return out


def _paragraph_separators(xp: Any, text: TextColumn, runs: FeedRuns) -> tuple[Array, ...]:
    """The separators of the stripped documents: runs of two or more line feeds, as split_at takes them."""
    starts, stops = text.offsets[:-1], text.offsets[1:]
    spans = strip_spans(xp, text.data, xp.stack([starts, stops], axis=1))
    empty = spans[:, 1] < 0
    starts, stops = xp.where(empty, starts, spans[:, 0]), xp.where(empty, starts, spans[:, 1])
    inside = (runs.lengths >= 2) & (runs.starts >= starts[runs.owners]) & (runs.starts < stops[runs.owners])
    ends = runs.starts + runs.lengths
    return starts, stops, runs.owners[inside], runs.starts[inside], ends[inside]


def _are_nonblank(xp: Any, text: TextColumn, bounds: Array, lengths: Array) -> Array:
    """bool[n]: whether data[bounds[k, 0]:bounds[k, 1]] has more than white space."""
    segments = Segments.of(xp, lengths)
    nonblank = xp.zeros(len(bounds), np.uint8)
    tables = flag_tables(xp)
    launch_warps("line_repetition", "mark_inked", segments.count, text.data, bounds, *segments.args, *tables, nonblank)
    return nonblank > 0


@line_repetition.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    out = xp.empty((len(text), len(C)), np.int64)
    runs = FeedRuns.of(xp, text)
    starts, stops = text.offsets[:-1], text.offsets[1:]

    pieces = DevicePieces.of(xp, text.data, *split_at(xp, *_paragraph_separators(xp, text, runs)))
    out[:, C.paragraphs] = xp.diff(pieces.first)
    out[:, C.dup_paragraphs] = pieces.total(xp, pieces.duplicate)
    out[:, C.dup_paragraph_chars] = pieces.total(xp, pieces.duplicate * pieces.chars)

    pieces = DevicePieces.of(xp, text.data, *split_at(xp, starts, stops, *runs.pairs(xp)))
    out[:, C.blocks] = xp.diff(pieces.first)
    out[:, C.dup_blocks] = pieces.total(xp, pieces.duplicate)
    out[:, C.dup_block_chars] = pieces.total(xp, pieces.duplicate * pieces.chars)

    bounds, *owned = split_at(xp, starts, stops, runs.owners, runs.starts, runs.starts + runs.lengths)
    pieces = DevicePieces.of(xp, text.data, bounds, *owned)
    filled, nonblank = pieces.lengths > 0, _are_nonblank(xp, text, bounds, pieces.lengths)
    out[:, C.lines] = xp.diff(pieces.first)
    out[:, C.dup_lines] = pieces.total(xp, pieces.duplicate)
    out[:, C.dup_line_chars] = pieces.total(xp, pieces.duplicate * pieces.chars)
    out[:, C.filled_lines] = pieces.total(xp, filled)
    out[:, C.repeated_lines] = pieces.total(xp, filled & pieces.repeated)
    out[:, C.repeated_line_chars] = pieces.total(xp, (filled & pieces.repeated) * pieces.chars)
    out[:, C.nonblank_lines] = pieces.total(xp, nonblank)
    out[:, C.dup_nonblank_lines] = pieces.total(xp, nonblank & pieces.duplicate)
    out[:, C.dup_nonblank_line_chars] = pieces.total(xp, (nonblank & pieces.duplicate) * pieces.chars)
    out[:, C.nonblank_line_chars] = pieces.total(xp, nonblank * pieces.chars)
    return out
