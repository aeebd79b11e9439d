"""dclm_repetition: lines and paragraphs that a document has more than once, ignoring the white space around them.

    dclm_repetition(text) = int64[n_docs, n_columns]

Lines are the pieces of t.split("\\n"), paragraphs the pieces of t.split("\\n\\n"). Both are stripped as str.strip()
does, and left out if nothing remains. Lengths are in code points. X is line or paragraph:

    Xs, X_chars                     how many there are, and their characters
    repeated_Xs, repeated_X_chars   those that occur more than once, every occurrence counted, and their characters
    spaced_ellipses                 t.count(". . .")

Everything is counted exactly: pieces of equal hash are compared (gpu_pile.text.pieces).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from gpu_pile.gpu.ngrams import strip_spans
from gpu_pile.gpu.pieces import DevicePieces
from gpu_pile.gpu.segments import exclusive_sum, lines, paragraphs
from gpu_pile.ops.op import Op
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit
from gpu_pile.text.ngrams import DOCUMENTS
from gpu_pile.text.pieces import count_newlines, new_pieces, number_pieces, with_room
from gpu_pile.text.simd import byte_at, starts_with
from gpu_pile.text.split import code_points, next_newline, stripped
from gpu_pile.types import Array

dclm_repetition = Op(
    "dclm_repetition",
    version=1,
    columns=(
        *("lines", "line_chars", "repeated_lines", "repeated_line_chars"),
        *("paragraphs", "paragraph_chars", "repeated_paragraphs", "repeated_paragraph_chars"),
        "spaced_ellipses",
    ),
    documents=(
        *DOCUMENTS,
        " a\na \n\u3000a\u2028\n\ta\r\nb\x1c\n\x85b",
        "a\n\na\n\n a \n\n\nb\n\n\n\nb\n\n\n\n\nb",
        "\u3000\n\n \n\n\x0b\n\n",
        "é\n é\nè\né ",
        ". . . . . . . . .\n. . .\u00a0. . . . . ",
        ".. . . .. . . ... . . .\n. .\n.",
        ". . . . . . . " * 6,
        "  " + "x" * 70 + "  \n" + "x" * 70 + "\n" + " " * 70 + "y\n" + " " * 70 + "\ny" + " " * 70,
        ".",
        " .",
        ". .",
    ),
)
C = dclm_repetition.index


@dclm_repetition.reference
def _reference(text: TextColumn) -> Array:
    rows = []
    for d in text.documents():
        t = d.decode()
        row = []
        for separator in ("\n", "\n\n"):
            pieces = [p for p in map(unicode_reference.strip, t.split(separator)) if p]
            count = Counter(pieces)
            repeated = [p for p in pieces if count[p] > 1]
            row += [len(pieces), sum(map(len, pieces)), len(repeated), sum(map(len, repeated))]
        rows.append([*row, t.count(". . .")])
    return np.array(rows, np.int64).reshape(-1, len(C))


_ELLIPSIS = np.frombuffer(b". . .", np.uint8).copy()
_DOT, _SPACE, _LINE_FEED = map(ord, ". \n")


@jit
def _split(data, start, end, paragraphs, flags, pieces):
    """Write the bounds of the stripped lines or paragraphs of data[start:end]. Return how many there are."""
    stage, leaves = flags
    bounds = pieces.bounds
    n = 0
    while start <= end:
        stop = next_newline(data, start, end)
        while paragraphs and stop < end and (stop + 1 == end or data[stop + 1] != _LINE_FEED):
            stop = next_newline(data, stop + 1, end)
        first, last = stripped(data, start, stop, stage, leaves)
        if first < last:
            bounds[2 * n] = first
            bounds[2 * n + 1] = last
            n += 1
        start = stop + 1 + paragraphs
    return n


@jit
def _repeated(data, pieces, n):
    """Return (characters of n pieces, how many are repeated, characters of the repeated ones)."""
    bounds, first, counts = pieces.bounds, pieces.first, pieces.counts
    chars = repeated = repeated_chars = 0
    for k in range(n):
        length = code_points(data, bounds[2 * k], bounds[2 * k + 1])
        chars += length
        if counts[first[k]] > 1:
            repeated += 1
            repeated_chars += length
    return chars, repeated, repeated_chars


@jit
def _count_spaced_ellipses(data, start, end):
    n = 0
    i = start
    while i < end:
        if byte_at(data, i) == _DOT and starts_with(data, i, end, _ELLIPSIS):
            n += 1
            i += len(_ELLIPSIS)
        else:
            i += 1
    return n


@jit
def _count(data, offsets, flags, pieces, out):
    for d in range(len(offsets) - 1):
        start, end = offsets[d], offsets[d + 1]
        row = out[d]
        pieces = with_room(pieces, count_newlines(data, start, end) + 1)
        n = row[C.lines] = _split(data, start, end, False, flags, pieces)
        pieces = number_pieces(data, pieces, n)
        row[C.line_chars], row[C.repeated_lines], row[C.repeated_line_chars] = _repeated(data, pieces, n)
        n = row[C.paragraphs] = _split(data, start, end, True, flags, pieces)
        pieces = number_pieces(data, pieces, n)
        row[C.paragraph_chars], row[C.repeated_paragraphs], row[C.repeated_paragraph_chars] = _repeated(data, pieces, n)
        row[C.spaced_ellipses] = _count_spaced_ellipses(data, start, end)


@dclm_repetition.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(C)), np.int64)
    _count(text.data, text.offsets, (unicode.FLAG_STAGE, unicode.FLAG_LEAVES), new_pieces(), out)
    return out


def _device_pieces(xp: Any, text: TextColumn, bounds: Array, owners: Array) -> DevicePieces:
    """The pieces data[bounds[k, 0]:bounds[k, 1]], stripped, without those of which nothing remains."""
    spans = strip_spans(xp, text.data, bounds)
    filled = xp.flatnonzero(spans[:, 1] >= 0)
    owners = owners[filled]
    first = xp.searchsorted(owners, xp.arange(len(text) + 1, dtype=np.int64))
    return DevicePieces.of(xp, text.data, spans[filled], first, owners)


def _device_spaced_ellipses(xp: Any, text: TextColumn) -> Array:
    """int64[n_docs]: of the dots with one space between neighbours, every three in a row are an ellipsis."""
    dots = xp.flatnonzero(text.data == _DOT)
    owners = xp.searchsorted(text.offsets[1:], dots, side="right")
    begins = xp.ones(len(dots), bool)
    begins[1:] = (dots[1:] != dots[:-1] + 2) | (owners[1:] != owners[:-1])
    begins[1:] |= text.data[xp.maximum(dots[1:] - 1, 0)] != _SPACE
    first_dots = xp.flatnonzero(begins)
    lengths = xp.diff(xp.concatenate((first_dots, xp.full(1, len(dots), np.int64))))
    first = xp.searchsorted(owners[first_dots], xp.arange(len(text) + 1, dtype=np.int64))
    return xp.diff(exclusive_sum(xp, lengths // 3)[first])


@dclm_repetition.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    out = xp.empty((len(text), len(C)), np.int64)
    bounds, _, owners = lines(xp, text)
    pieces = _device_pieces(xp, text, bounds, owners)
    out[:, C.lines], out[:, C.line_chars] = xp.diff(pieces.first), pieces.total(xp, pieces.chars)
    out[:, C.repeated_lines] = pieces.total(xp, pieces.repeated)
    out[:, C.repeated_line_chars] = pieces.total(xp, pieces.repeated * pieces.chars)
    bounds, _, owners = paragraphs(xp, text)
    pieces = _device_pieces(xp, text, bounds, owners)
    out[:, C.paragraphs], out[:, C.paragraph_chars] = xp.diff(pieces.first), pieces.total(xp, pieces.chars)
    out[:, C.repeated_paragraphs] = pieces.total(xp, pieces.repeated)
    out[:, C.repeated_paragraph_chars] = pieces.total(xp, pieces.repeated * pieces.chars)
    out[:, C.spaced_ellipses] = _device_spaced_ellipses(xp, text)
    return out
