"""NgramTable: n-grams of tokens that are looked for, by their keys (gpu_pile.text.tokens).

A look-up asks a filter first, which is small enough for a cache and knows most keys that are not in the table; then the
keys, sorted, of which the highest bits say where to look.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpu_pile.text.jit import inlined, jit
from gpu_pile.text.simd import item
from gpu_pile.types import Array

FILTER_BITS = 12
"""Bits of the filter for each key, at least: a key that is not in the table passes once in 40 times or less."""
BITS_MAX = 32
"""The filter has at most 2^32 words, and the table at most 2^32 places to begin."""


class NgramTable(NamedTuple):
    """Keys, and how to find one.

    keys:   uint64[n], ascending, distinct; the entry of a key is its place
    starts: uint32[2^b + 1], keys whose highest b bits are x have the entries starts[x] .. starts[x + 1]
    filter: uint64[2^f]; of a key, the three bits of its lowest three sets of 6 bits are set in the word of its highest
            f bits
    """

    keys: Array
    starts: Array
    filter: Array

    @classmethod
    def of(cls, keys: Array) -> NgramTable:
        """keys: uint64[n], ascending and distinct, fewer than 2^32."""
        n = max(2, len(keys))
        bits = min(BITS_MAX, (n - 1).bit_length())
        places = (keys >> np.uint64(63 - bits) >> np.uint64(1)).astype(np.int64)
        counts = np.bincount(places, minlength=1 << bits)
        starts = np.zeros((1 << bits) + 1, np.uint32)
        np.cumsum(counts, out=starts[1:])
        words = np.zeros(1 << min(BITS_MAX, (n * FILTER_BITS // 64).bit_length()), np.uint64)
        _fill(keys, words, shift_of(words))
        return cls(keys, starts, words)


def shift_of(array: Array) -> int:
    """What a key is shifted by, before it is shifted by 1, to give a place in an array of 2^b or 2^b + 1 entries."""
    return 63 - (len(array).bit_length() - 1)


@inlined
def bits_of(key):
    """The bits of a key in its word of the filter."""
    one, mask = np.uint64(1), np.uint64(63)
    return (
        one << (key & mask) | one << ((key >> np.uint64(6)) & mask) | one << ((key >> np.uint64(12)) & mask)
    )  # fmt: skip


@inlined
def place_of(key, shift):
    """The highest bits of a key as a number; shift: see shift_of."""
    return np.int64((key >> np.uint64(shift)) >> np.uint64(1))


@jit
def _fill(keys, words, shift):
    for i in range(len(keys)):
        words[place_of(keys[i], shift)] |= bits_of(keys[i])


@inlined
def may_have(words, shift, key):
    """Whether the filter lets a key pass."""
    bits = bits_of(key)
    return item(words, place_of(key, shift)) & bits == bits


@inlined
def find(keys, starts, shift, key):
    """The entry of a key, or -1."""
    place = place_of(key, shift)
    low, high = np.int64(item(starts, place)), np.int64(item(starts, place + 1))
    while low < high:
        middle = (low + high) >> 1
        if item(keys, middle) < key:
            low = middle + 1
        else:
            high = middle
    return low if low < np.int64(item(starts, place + 1)) and item(keys, low) == key else -1
