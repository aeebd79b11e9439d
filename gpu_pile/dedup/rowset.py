"""Sets of rows: one bit per row, and a count of the rows before every few words."""

from __future__ import annotations

import numpy as np

from gpu_pile.text.blocks import read_only
from gpu_pile.text.jit import leaf
from gpu_pile.text.simd import copy_items
from gpu_pile.types import Array

WORDS = 8
"""Words, of 64 rows each, between two entries of `before`."""


@leaf
def _add(bits, rows):
    """Set the bits of rows."""
    for row in rows:
        bits[row >> 6] |= np.uint64(1) << np.uint64(row & 63)


@leaf
def _ones(word):
    """Return how many bits of a word are set."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))


@leaf
def _before(bits, words, out):
    """Write to out how many bits are set before each group of words, and in all."""
    out[0] = 0
    for i in range(len(bits) // words):
        ones = 0
        for j in range(words):
            ones += _ones(bits[words * i + j])
        out[i + 1] = out[i] + ones


@leaf
def _rank(bits, before, words, rows, out):
    """Write to out how many bits are set before that of each row."""
    for i in range(len(rows)):
        word = rows[i] >> 6
        n = before[word // words]
        for w in range(word // words * words, word):
            n += _ones(bits[w])
        out[i] = n + _ones(bits[word] & ((np.uint64(1) << np.uint64(rows[i] & 63)) - np.uint64(1)))


@leaf
def _rows(bits, start, stop, out):
    """Write to out the rows from start to stop whose bits are set."""
    found = 0
    for word in range(start >> 6, (stop + 63) >> 6):
        left = bits[word]
        while left:
            lowest = left & (~left + np.uint64(1))
            row = word * 64 + _ones(lowest - np.uint64(1))
            if start <= row < stop:
                out[found] = row
                found += 1
            left ^= lowest


class RowSet:
    """A set of rows 0 .. total - 1, in 9 bits per 8 rows; the rank of a row is found in constant time.

    bits:   uint64, row i is bit i % 64 of word i // 64; whole groups of WORDS words, at least one
    before: int64, how many rows of the set come before each group of words; computed when all rows are added
    """

    def __init__(self, bits: Array, before: Array | None = None) -> None:
        self.bits = bits
        self._before = before

    @classmethod
    def empty(cls, total: int) -> RowSet:
        return cls(np.zeros((total // (64 * WORDS) + 1) * WORDS, np.uint64))

    def add(self, rows: Array) -> None:
        """Add rows, int64[n], in any order; a row may come several times."""
        _add(self.bits, np.ascontiguousarray(rows, np.int64))
        self._before = None

    @property
    def before(self) -> Array:
        if self._before is None:
            self._before = np.empty(len(self.bits) // WORDS + 1, np.int64)
            _before(read_only(self.bits), WORDS, self._before)
        return self._before

    def __len__(self) -> int:
        return int(self.before[-1])

    def rank(self, rows: Array) -> Array:
        """Return int64[n], the rank of each row: how many rows of the set are smaller."""
        out = np.empty(len(rows), np.int64)
        bits, before = read_only(self.bits), read_only(self.before)
        _rank(bits, before, WORDS, read_only(np.ascontiguousarray(rows, np.int64)), out)
        return out

    def rows(self, start: int, stop: int) -> Array:
        """Return the rows of the set with start <= row < stop, int64, ascending."""
        lo, hi = self.rank(np.array([start, stop]))
        out = np.empty(hi - lo, np.int64)
        _rows(read_only(self.bits), start, stop, out)
        return out


@leaf
def scatter_sets(values, offsets, places, target):
    """Copy set i, values[offsets[i]:offsets[i + 1]], to target[places[i]:]; leave the rest of target as it is.

    values, target: uint64; offsets: int64[n + 1]; places: int64[n], ascending, with room for each set.
    """
    for i in range(len(places)):
        n = offsets[i + 1] - offsets[i]
        copy_items(values, offsets[i], n, target, places[i])
