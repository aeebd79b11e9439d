"""Number equal pieces of a document, such as lines or paragraphs, exactly: pieces of equal hash are compared.

pieces = with_room(pieces, count_newlines(data, start, end) + 1)
pieces.bounds[2 * k], pieces.bounds[2 * k + 1] = start, end
pieces = number_pieces(data, pieces, n)    fills pieces.first and pieces.counts
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpu_pile.text.hash_table import (
    Table,
    clear,
    find_span,
    grown,
    hash_bytes,
    is_filled,
    is_full,
    item_at,
    new_table,
    put,
)
from gpu_pile.text.jit import jit, leaf
from gpu_pile.text.simd import bytes_between, count_ones
from gpu_pile.types import Array

_LINE_FEED = ord("\n")


class Pieces(NamedTuple):
    """The pieces of one document, used again for the next one.

    bounds: int64[2 * room], piece k is data[bounds[2 * k]:bounds[2 * k + 1]]
    first:  uint32[room], the first piece that equals piece k: k itself, or an earlier one
    counts: uint32[room], at the first of equal pieces, how many they are
    table:  from the bytes of a piece to the number of the first of its kind
    """

    bounds: Array
    first: Array
    counts: Array
    table: Table


def new_pieces() -> Pieces:
    return Pieces(np.empty(0, np.int64), np.empty(0, np.uint32), np.empty(0, np.uint32), new_table())


@jit
def count_newlines(data, start, end):
    """How many line feeds data[start:end] has."""
    n = 0
    while start + 32 <= end:
        n += count_ones(bytes_between(data, start, _LINE_FEED, _LINE_FEED))
        start += 32
    for i in range(start, end):
        n += data[i] == _LINE_FEED
    return n


@jit
def with_room(pieces, n):
    """Return pieces with room for n of them; what was in them is lost if there was less."""
    if len(pieces.first) >= n:
        return pieces
    n = max(n, 2 * len(pieces.first))
    return Pieces(np.empty(2 * n, np.int64), np.empty(n, np.uint32), np.empty(n, np.uint32), pieces.table)


@jit
def number_pieces(data, pieces, n):
    """Fill pieces.first and pieces.counts for the first n pieces. Return pieces, with a larger table if need be."""
    clear(pieces.table, n + 1)
    k = 0
    while True:
        k = _number_from(k, data, pieces, n)
        if k == n:
            return pieces
        pieces = Pieces(pieces.bounds, pieces.first, pieces.counts, grown(pieces.table))


@leaf
def _number_from(k, data, pieces, n):
    """Number the pieces from k on. Return where the table was full; n if all have a number."""
    bounds, first, counts, table = pieces
    while k < n:
        key = hash_bytes(data, bounds[2 * k], bounds[2 * k + 1])
        slot = find_span(table, key, data, bounds, 2, 1, k)
        if is_filled(table, slot):
            equal = item_at(table, slot)
            first[k] = equal
            counts[equal] += 1
        else:
            put(table, slot, key, k)
            first[k] = k
            counts[k] = 1
            if is_full(table):
                return k + 1
        k += 1
    return n
