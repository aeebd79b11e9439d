"""Exact counting of equal pieces of a document: lines, words, n-grams. What the repetition operations are built from.

Pieces are found again in an open table by a 64-bit key. The key of a word of up to seven bytes is the word, that of an
n-gram is (number of the (n - 1)-gram before, number of the last word): these are equal only for equal pieces. Other
keys are hashes, and pieces of equal hash are compared, so a collision, by accident or by intent, changes nothing.
Tables grow with the number of distinct pieces: a document of one word repeated needs a small one, and every step is
linear in the text. Scratch memory of a document is at most 57 bytes a word and 32 to 96 bytes a distinct piece.

A table is uint64[2 * slots]: a key, and clock | item. What another clock wrote counts as empty, so nothing is cleared
between documents; `clock` is a uint64[1] whose upper half counts the uses of the table.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gpu_pile.text.hashing import mix64
from gpu_pile.text.simd import (
    item,
    load_u64,
    set_item,
)

_P = np.uint64(0x9E3779B97F4A7C15)
_Q = np.uint64(0xD1342543DE82EF95)

FIRST_SLOTS = 8192
"""Slots a table has room for before it first grows."""

_TICK = np.uint64(1 << 32)
_ITEM = np.uint64((1 << 32) - 1)


@njit
def hash_bytes(data, start, end):
    """A hash of data[start:end], eight bytes a step; the last step overlaps the one before."""
    h = np.uint64(end - start) * _Q
    i = start
    if end - start > 64:  # four at a time: none waits for another's product
        a, b, c = h ^ _P, h + _P, h - _P
        while i + 32 < end:
            h = (h ^ load_u64(data, i)) * _P
            a = (a ^ load_u64(data, i + 8)) * _P
            b = (b ^ load_u64(data, i + 16)) * _P
            c = (c ^ load_u64(data, i + 24)) * _P
            h ^= h >> np.uint64(29)
            a ^= a >> np.uint64(29)
            b ^= b >> np.uint64(29)
            c ^= c >> np.uint64(29)
            i += 32
        h = (h ^ a * _Q) * _P ^ (b ^ c * _Q) * _Q
        h ^= h >> np.uint64(31)
    while i + 8 < end:
        h = (h ^ load_u64(data, i)) * _P
        h ^= h >> np.uint64(29)
        i += 8
    if end - start >= 8:
        h ^= load_u64(data, end - 8)
    else:
        while i < end:
            h = (h << np.uint64(8)) ^ h ^ np.uint64(data[i])
            i += 1
    return mix64(h)


@njit
def same_bytes(data, a, b, n):
    """Whether data[a:a + n] equals data[b:b + n]."""
    if n < 8:
        i = 0
        while i < n and data[a + i] == data[b + i]:
            i += 1
        return i == n
    i = 0
    while i + 8 < n:
        if load_u64(data, a + i) != load_u64(data, b + i):
            return False
        i += 8
    return load_u64(data, a + n - 8) == load_u64(data, b + n - 8)


def new_table():
    """(table, clock)"""
    return np.zeros(2 * FIRST_SLOTS, np.uint64), np.zeros(1, np.uint64)


@njit
def clear(table, clock, items):
    """Empty a table for about this many items to begin with; returns its mask, the number of slots less 1."""
    clock[0] += _TICK
    n = 16
    while n < 2 * items and 4 * n <= len(table):
        n *= 2
    return n - 1


@njit(inline="always")
def home(key, mask):
    """The slot where the search for a key begins."""
    h = key * _P
    return np.int64((h ^ (h >> np.uint64(32))) & np.uint64(mask))


@njit(inline="always")
def is_filled(table, clock, s):
    return item(table, 2 * s + 1) >= clock[0]


@njit(inline="always")
def item_at(table, s):
    return np.int64(item(table, 2 * s + 1) & _ITEM)


@njit(inline="always")
def put(table, clock, s, key, value):
    set_item(table, 2 * s, key)
    set_item(table, 2 * s + 1, clock[0] | np.uint64(value))


@njit
def grown(table, clock, mask):
    """(table, mask) with twice the slots and the same items; the same array while it is long enough."""
    live = np.empty(mask + 1, np.uint64)
    n = 0
    for s in range(mask + 1):
        if is_filled(table, clock, s):
            live[n] = table[2 * s]
            live[n + 1] = table[2 * s + 1]
            n += 2
    mask = 2 * mask + 1
    if 2 * mask + 2 > len(table):
        table = np.zeros(2 * mask + 2, np.uint64)
    clock[0] += _TICK
    for i in range(0, n, 2):
        s = home(live[i], mask)
        while is_filled(table, clock, s):
            s = (s + 1) & mask
        put(table, clock, s, live[i], live[i + 1] & _ITEM)
    return table, mask


@njit(inline="always")
def find_key(table, clock, mask, key):
    """The slot with this key, or the empty slot where it belongs."""
    s = home(key, mask)
    while is_filled(table, clock, s) and item(table, 2 * s) != key:
        s = (s + 1) & mask
    return s


@njit(inline="always")
def same_item(data, bounds, step, width, a, b):
    """Whether items a and b have the same bytes: item i is data[bounds[i * step]:bounds[i * step + width]]."""
    start, other = item(bounds, a * step), item(bounds, b * step)
    n = item(bounds, a * step + width) - start
    return item(bounds, b * step + width) - other == n and same_bytes(data, start, other, n)


@njit
def find_span(table, clock, mask, key, data, bounds, step, width, this):
    """The slot of the item with this key whose bytes equal those of item `this`, or the empty slot where it belongs.

    Item i is data[bounds[i * step]:bounds[i * step + width]].
    """
    s = home(key, mask)
    while is_filled(table, clock, s):
        if item(table, 2 * s) == key and same_item(data, bounds, step, width, item_at(table, s), this):
            break
        s = (s + 1) & mask
    return s
