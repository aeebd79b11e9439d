"""dclm_repetition: lines and paragraphs that a document has more than once, white space around them left out.

    dclm_repetition(text) = int64[n_docs, n_columns]

Lines are those of t.split("\\n"), paragraphs those of t.split("\\n\\n"), both stripped as str.strip() does; what is
empty then is left out. Lengths are in code points.

    Xs, X_chars                        how many, and characters of all of them
    repeated_Xs, repeated_X_chars      those that occur more than once, the first time included
    spaced_ellipses                    t.count(". . .")

Everything is counted exactly: equal hashes are compared (gpu_pile.text.ngrams).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from gpu_pile.gpu.ngrams import hash_spans, number_spans, strip_spans
from gpu_pile.gpu.segments import exclusive_sum, lines, paragraphs
from gpu_pile.ops.op import Op
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.column import TextColumn
from gpu_pile.text.hash_table import clear, find_span, grown, hash_bytes, is_filled, item_at, new_table, put
from gpu_pile.text.jit import jit
from gpu_pile.text.ngrams import DOCUMENTS
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


_DOTS = np.frombuffer(b". . .", np.uint8).copy()


@jit
def _pieces(data, start, end, wide, tables, bounds, counts, table, clock, row, at):
    """Count lines; paragraphs if wide."""
    stage, leaves = tables
    mask = clear(table, clock, (end - start) // 32)
    n = distinct = chars = repeated = repeated_chars = 0
    i = start
    while i <= end:
        stop = next_newline(data, i, end)
        while wide and stop < end and (stop + 1 == end or data[stop + 1] != 10):
            stop = next_newline(data, stop + 1, end)
        a, b = stripped(data, i, stop, stage, leaves)
        i = stop + 1 + wide
        if a == b:
            continue
        if 2 * n + 2 > len(bounds):
            bounds = np.concatenate((bounds, np.empty_like(bounds)))
            counts = np.concatenate((counts, np.empty_like(counts)))
        bounds[2 * n] = a
        bounds[2 * n + 1] = b
        length = code_points(data, a, b)
        chars += length
        key = hash_bytes(data, a, b)
        s = find_span(table, clock, mask, key, data, bounds, 2, 1, n)
        if is_filled(table, clock, s):
            first = item_at(table, s)
            times = 1 + (counts[first] == 1)  # the first one, when the second comes
            counts[first] = 2
            repeated += times
            repeated_chars += times * length
        else:
            put(table, clock, s, key, n)
            counts[n] = 1
            distinct += 1
            if 2 * distinct >= mask:
                table, mask = grown(table, clock, mask)
        n += 1
    row[at], row[at + 1], row[at + 2], row[at + 3] = n, chars, repeated, repeated_chars
    return bounds, counts, table


@jit
def _count(data, offsets, tables, table, clock, out):
    bounds, counts = np.empty(2048, np.int64), np.empty(1024, np.int32)
    for d in range(len(offsets) - 1):
        start, end = offsets[d], offsets[d + 1]
        row = out[d]
        bounds, counts, table = _pieces(data, start, end, 0, tables, bounds, counts, table, clock, row, 0)
        bounds, counts, table = _pieces(data, start, end, 1, tables, bounds, counts, table, clock, row, 4)
        dots = 0
        i = start
        while i < end:
            if byte_at(data, i) == 0x2E and starts_with(data, i, end, _DOTS):
                dots += 1
                i += 4
            i += 1
        row[8] = dots


@dclm_repetition.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(C)), np.int64)
    tables = unicode.FLAG_STAGE, unicode.FLAG_LEAVES
    _count(text.data, text.offsets, tables, *new_table(), out)
    return out


@dclm_repetition.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    out = xp.empty((len(text), len(C)), np.int64)
    for at, (bounds, _, owners) in ((0, lines(xp, text)), (4, paragraphs(xp, text))):
        spans = strip_spans(xp, text.data, bounds)
        filled = xp.flatnonzero(spans[:, 1] >= 0)
        bounds, owners = spans[filled], owners[filled]
        first = xp.searchsorted(owners, xp.arange(len(text) + 1, dtype=np.int64))
        hashes, chars = hash_spans(xp, text.data, bounds, 2, bounds[:, 1] - bounds[:, 0])
        numbers, counts = number_spans(xp, text.data, bounds, 2, 1, owners, hashes)
        repeated = (counts[numbers] > 1).astype(np.int64)
        for column, values in enumerate((xp.ones(len(bounds), np.int64), chars, repeated, repeated * chars), at):
            out[:, column] = xp.diff(exclusive_sum(xp, values)[first])

    # dots with one space between two of them; three and three of these are an ellipsis
    dots = xp.flatnonzero(text.data == 0x2E)
    owners = xp.searchsorted(text.offsets[1:], dots, side="right")
    begins = xp.ones(len(dots), bool)
    begins[1:] = (dots[1:] != dots[:-1] + 2) | (owners[1:] != owners[:-1])
    begins[1:] |= text.data[xp.maximum(dots[1:] - 1, 0)] != 0x20
    first_dots = xp.flatnonzero(begins)
    lengths = xp.diff(xp.concatenate((first_dots, xp.full(1, len(dots), np.int64))))
    first = xp.searchsorted(owners[first_dots], xp.arange(len(text) + 1, dtype=np.int64))
    out[:, 8] = xp.diff(exclusive_sum(xp, lengths // 3)[first])
    return out
