"""From n-grams in common to spans: where a document and another text have the same tokens in a row.

Tokens are compared letter by letter, so a hash decides nothing. A span is as long as it can be.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpu_pile.text.jit import jit, leaf
from gpu_pile.text.simd import item
from gpu_pile.text.tokens import WIDTH, Tokens
from gpu_pile.types import Array

SEEDS_MAX = 1 << 20
"""Comparisons of a document that are sorted at a time."""


class Spans(NamedTuple):
    """Spans, ascending by document, text, place in the document; int64 all.

    document: its row. text: the other text. at: its token. place: token of the document, among those of
    all documents. length: tokens
    """

    document: Array
    text: Array
    at: Array
    place: Array
    length: Array


class Starts(NamedTuple):
    """Where comparisons of documents and texts start: n-gram e at the places first[e] .. first[e + 1]; int64 all.

    texts, at: the text of each place, and its token where the n-gram begins
    """

    first: Array
    texts: Array
    at: Array


def find_spans(documents: Tokens, hits: tuple[Array, Array, Array], texts: Tokens, starts: Starts) -> Spans:
    """Return all spans that hits lead to; hits: what the operation ngram_hits gives for the same documents."""
    first, places, entries = hits
    found = [np.empty((0, 5), np.int64)]
    for piece in _pieces(starts.first[entries + 1] - starts.first[entries]):
        seeds = _seeds(first, places, entries, piece, starts)
        order = np.lexsort((seeds[:, 3], seeds[:, 2], seeds[:, 1], seeds[:, 0]))
        found.append(_extend(seeds[order], documents, texts))
    rows = np.unique(np.concatenate(found), axis=0)
    document, text, place, at, length = (np.ascontiguousarray(column) for column in rows.T)
    return Spans(document, text, at, place, length)


def _pieces(counts: Array) -> list[tuple[int, int]]:
    """Cut hits into pieces that start SEEDS_MAX comparisons or a few more."""
    ends = np.cumsum(counts)
    pieces, lo = [], 0
    while lo < len(counts):
        before = int(ends[lo - 1]) if lo else 0
        hi = max(lo + 1, int(np.searchsorted(ends, before + SEEDS_MAX, "right")))
        pieces.append((lo, hi))
        lo = hi
    return pieces


@jit
def _seeds(first, places, entries, piece, starts):
    """int64[n, 4]: document, text, diagonal (place in the document less place in the text), place in the document."""
    bounds, texts, at = starts
    lo, hi = piece
    n = 0
    for h in range(lo, hi):
        n += bounds[entries[h] + 1] - bounds[entries[h]]
    out = np.empty((n, 4), np.int64)
    n, d = 0, 0
    for h in range(lo, hi):
        while first[d + 1] <= h:
            d += 1
        for c in range(bounds[entries[h]], bounds[entries[h] + 1]):
            out[n, 0], out[n, 1], out[n, 2], out[n, 3] = d, texts[c], places[h] - at[c], places[h]
            n += 1
    return out


@leaf
def _same(letters, bounds, i, others, other_bounds, j):
    """Whether token i equals token j of the others."""
    start, other = item(bounds, i), item(other_bounds, j)
    n = item(bounds, i + 1) - start
    if item(other_bounds, j + 1) - other != n:
        return False
    k = 0
    while k < n and item(letters, start + k) == item(others, other + k):
        k += 1
    return k == n


@jit
def _extend(seeds, documents, texts):
    """int64[n, 5]: document, text, place in the document, place in the text, tokens; of seeds that are sorted."""
    letters, bounds, _, _, first, _ = documents
    others, other_bounds, _, _, other_first, _ = texts
    out = np.empty((len(seeds), 5), np.int64)
    n, end = 0, -1
    for s in range(len(seeds)):
        d, t, diagonal, place = seeds[s]
        same_line = s > 0 and seeds[s - 1, 0] == d and seeds[s - 1, 1] == t and seeds[s - 1, 2] == diagonal
        if same_line and place < end:
            continue
        if not same_line:
            end = -1
        base, other_base = first[d], other_first[t]
        size, other_size = first[d + 1] - base, other_first[t + 1] - other_base
        i, j = place, place - diagonal
        if not _same(letters, bounds, base + i, others, other_bounds, other_base + j):
            continue
        while i > 0 and j > 0 and _same(letters, bounds, base + i - 1, others, other_bounds, other_base + j - 1):
            i -= 1
            j -= 1
        stop = place + 1
        while (
            stop < size
            and stop - diagonal < other_size
            and _same(letters, bounds, base + stop, others, other_bounds, other_base + stop - diagonal)
        ):
            stop += 1
        end = stop
        # what equal keys of other tokens lead to is shorter
        if stop - i >= min(WIDTH, other_size):
            out[n, 0], out[n, 1], out[n, 2], out[n, 3], out[n, 4] = d, t, base + i, j, stop - i
            n += 1
    return out[:n]
