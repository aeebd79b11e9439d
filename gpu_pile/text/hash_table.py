"""An open hash table that finds equal pieces of a document again, and hashes of their bytes. For numba.

A piece is found by a 64-bit key. Where a key is the piece itself, equal keys are equal pieces; other keys are hashes,
and pieces of equal hash are compared, so that a collision, by accident or by intent, changes nothing. A table grows
with the number of distinct pieces: a document that repeats one word needs a small one.

What another clock wrote counts as empty, so that nothing is cleared between documents. A leaf (gpu_pile.text.jit)
fills a table: when it is full the leaf says how far it came, and goes on there with a larger one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpu_pile.text.hashing import mix64
from gpu_pile.text.jit import inlined, jit, leaf
from gpu_pile.text.simd import item, load_u64, set_item
from gpu_pile.types import Array

P = np.uint64(0x9E3779B97F4A7C15)
Q = np.uint64(0xD1342543DE82EF95)
"""Odd numbers without pattern that hashes are multiplied with."""

FIRST_SLOTS = 8192
"""Slots that a table has room for before it first grows."""

_TICK = np.uint64(1 << 32)
_ITEM = np.uint64((1 << 32) - 1)


@jit
def hash_bytes(data, start, end):
    """Return a hash of data[start:end], taken eight bytes at a time; the last eight overlap those before."""
    h = np.uint64(end - start) * Q
    i = start
    if end - start > 64:  # four products at a time, of which none waits for another
        a, b, c = h ^ P, h + P, h - P
        while i + 32 < end:
            h = (h ^ load_u64(data, i)) * P
            a = (a ^ load_u64(data, i + 8)) * P
            b = (b ^ load_u64(data, i + 16)) * P
            c = (c ^ load_u64(data, i + 24)) * P
            h ^= h >> np.uint64(29)
            a ^= a >> np.uint64(29)
            b ^= b >> np.uint64(29)
            c ^= c >> np.uint64(29)
            i += 32
        h = (h ^ a * Q) * P ^ (b ^ c * Q) * Q
        h ^= h >> np.uint64(31)
    while i + 8 < end:
        h = (h ^ load_u64(data, i)) * P
        h ^= h >> np.uint64(29)
        i += 8
    if end - start >= 8:
        h ^= load_u64(data, end - 8)
    else:
        while i < end:
            h = (h << np.uint64(8)) ^ h ^ np.uint64(data[i])
            i += 1
    return mix64(h)


@jit
def same_bytes(data, a, b, n):
    """Return whether data[a:a + n] equals data[b:b + n]."""
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


class Table(NamedTuple):
    """A table, used again for the next document.

    slots: uint64[2 * room], for each slot a key and clock | item.
    state: uint64[3], the clock, the slots in use less 1, and how many of them are filled.
    """

    slots: Array
    state: Array


_CLOCK, _MASK, _ITEMS = range(3)


def new_table() -> Table:
    """Return an empty table."""
    return Table(np.zeros(2 * FIRST_SLOTS, np.uint64), np.zeros(3, np.uint64))


@leaf
def clear(table, items):
    """Empty a table that is to have about this many items at first."""
    n = 16
    while n < 2 * items and 4 * n <= len(table.slots):
        n *= 2
    _empty(table, n - 1)


@inlined
def _empty(table, mask):
    table.state[_CLOCK] += _TICK
    table.state[_MASK] = mask
    table.state[_ITEMS] = 0


@inlined
def mask_of(table):
    """Return the number of a table's slots less 1."""
    return np.int64(table.state[_MASK])


@inlined
def home(key, mask):
    """Return the slot where the search for a key begins."""
    h = key * P
    return np.int64((h ^ (h >> np.uint64(32))) & np.uint64(mask))


def home_int(key: int, mask: int) -> int:
    """The same as home, in Python."""
    h = key * int(P) % (1 << 64)
    return (h ^ h >> 32) & mask


@inlined
def is_filled(table, s):
    """Return whether slot s has an item."""
    return item(table.slots, 2 * s + 1) >= table.state[_CLOCK]


@inlined
def item_at(table, s):
    """Return the item in slot s."""
    return np.int64(item(table.slots, 2 * s + 1) & _ITEM)


@inlined
def put(table, s, key, value):
    """Fill slot s. Then look whether the table is full."""
    set_item(table.slots, 2 * s, key)
    set_item(table.slots, 2 * s + 1, table.state[_CLOCK] | np.uint64(value))
    table.state[_ITEMS] += np.uint64(1)


@inlined
def is_full(table):
    """Return whether half of the slots are filled: it has to be `grown` before more is put into it."""
    return np.uint64(2) * table.state[_ITEMS] >= table.state[_MASK]


@jit
def grown(table):
    """Return a table with twice the slots and the same items; the same arrays if they are long enough."""
    slots = 2 * mask_of(table) + 2
    live = np.empty(slots, np.uint64)
    n = _take_items(table, live)
    larger = Table(np.zeros(2 * slots, np.uint64), table.state) if 2 * slots > len(table.slots) else table
    _put_items(larger, slots - 1, live, n)
    return larger


@leaf
def _take_items(table, live):
    """Write the keys and items of a table to `live`. Return how many numbers these are."""
    n = 0
    for s in range(mask_of(table) + 1):
        if is_filled(table, s):
            live[n] = table.slots[2 * s]
            live[n + 1] = np.uint64(item_at(table, s))
            n += 2
    return n


@leaf
def _put_items(table, mask, live, n):
    _empty(table, mask)
    for i in range(0, n, 2):
        s = home(live[i], mask)
        while is_filled(table, s):
            s = (s + 1) & mask
        put(table, s, live[i], live[i + 1])


@inlined
def same_item(data, bounds, step, width, a, b):
    """Return whether items a and b have the same bytes; item i is data[bounds[i * step]:bounds[i * step + width]]."""
    start, other = item(bounds, a * step), item(bounds, b * step)
    n = item(bounds, a * step + width) - start
    return item(bounds, b * step + width) - other == n and same_bytes(data, start, other, n)


@leaf
def find_span(table, key, data, bounds, step, width, this):
    """Return the slot of the item with this key whose bytes equal those of item `this`, or the empty slot for it.

    Item i is data[bounds[i * step]:bounds[i * step + width]].
    """
    mask = mask_of(table)
    s = home(key, mask)
    while is_filled(table, s):
        if item(table.slots, 2 * s) == key and same_item(data, bounds, step, width, item_at(table, s), this):
            break
        s = (s + 1) & mask
    return s
