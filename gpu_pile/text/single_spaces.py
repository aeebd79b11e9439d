"""Tokens: runs of bytes without ASCII white space, and texts in which one space stands between them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit
from gpu_pile.types import Array

TOKEN_MAX = 64
"""Bytes of a token: a longer run is several tokens, with nothing between them."""


class Tokens(NamedTuple):
    """The tokens of some documents, int64[t] each, in bytes of all documents.

    start, end: in the text with single spaces; source, source_end: in the text as it was
    last: the last token of the same document; begin: where its text begins as it was
    """

    start: Array
    end: Array
    source: Array
    source_end: Array
    last: Array
    begin: Array


@jit
def _tokens(data, offsets, room, out, out_offsets, tokens):
    """Write the text with single spaces and the tokens; return how many bytes and tokens. room: bytes of a token."""
    start, end, source, source_end, last, begin = tokens
    n = t = 0
    for d in range(len(offsets) - 1):
        first, i, stop = t, offsets[d], offsets[d + 1]
        while i < stop:
            c = data[i]
            if c == 32 or 9 <= c <= 13:
                i += 1
                continue
            apart = t > first and source_end[t - 1] < i
            if apart:
                out[n] = 32
                n += 1
            start[t], source[t] = n, i
            while i < stop and i < source[t] + room and not (data[i] == 32 or 9 <= data[i] <= 13):
                out[n] = data[i]
                n += 1
                i += 1
            end[t], source_end[t] = n, i
            t += 1
        out_offsets[d + 1] = n
        for k in range(first, t):
            last[k] = t - 1
            begin[k] = offsets[d]
    return n, t


def tokens_of(text: TextColumn) -> tuple[TextColumn, Tokens]:
    """Return documents with one space between their tokens, and the tokens (cpu only)."""
    most = text.n_bytes // 2 + text.n_bytes // TOKEN_MAX + len(text) + 1
    out, offsets = np.empty(text.n_bytes, np.uint8), np.zeros(len(text) + 1, np.int64)
    found = tuple(np.empty(most, np.int64) for _ in Tokens._fields)
    n, t = _tokens(text.data, text.offsets, TOKEN_MAX, out, offsets, found)
    return TextColumn(out[:n], offsets), Tokens(*(values[:t] for values in found))


def as_it_was(tokens: Tokens, start: Array, end: Array) -> tuple[Array, Array]:
    """Return (start, end) in the texts as they were, from where each begins, of spans of texts with single spaces.

    A space before a token stands for all white space there.
    """
    first = np.searchsorted(tokens.start, start, "right") - 1
    inside = start < tokens.end[first]
    begin = np.where(inside, tokens.source[first] + start - tokens.start[first], tokens.source_end[first])
    last = np.searchsorted(tokens.start, end - 1, "right") - 1
    within = np.minimum(end - tokens.start[last], tokens.end[last] - tokens.start[last])
    return begin - tokens.begin[first], tokens.source[last] + within - tokens.begin[last]
