"""Text in blocks of 64 bytes, a class of characters in each as a mask: bit k stands for byte k. For numba.

Masks of ASCII come from comparing all bytes of a block with ranges (native.bytes_between_64); what is beyond ASCII is
looked up, a character at a time, and its bits are added. A buffer has BLOCK bytes or more; `padded` sees to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gpu_pile.text import unicode
from gpu_pile.text.simd import count_trailing_zeros

BLOCK = 64

_0, _1, _ALL = np.uint64(0), np.uint64(1), np.uint64(2**64 - 1)
_ALPHA, _NUMERIC, _SPACE, _LINE_BREAK = unicode.ALPHA, unicode.NUMERIC, unicode.SPACE, unicode.LINE_BREAK
_UPPER, _PUNCTUATION, _DECIMAL = unicode.UPPER, unicode.PUNCTUATION, unicode.DECIMAL


def padded(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The buffer, or a longer copy of one that is too short."""
    return data if len(data) >= BLOCK else np.concatenate([data, np.zeros(BLOCK, np.uint8)])


@njit(inline="always")
def block(data, i, end):
    """(at, shift, valid): bytes_between_64(data, at, ...) >> shift & valid is a mask of data[i:i + 64], cut off at end.

    i may be end, and then nothing is in the block.
    """
    at = min(i, len(data) - BLOCK)
    valid = _ALL if end - i >= BLOCK else (_1 << np.uint64(end - i)) - _1
    return at, np.uint64(min(i - at, 63)), valid


@njit(inline="always")
def runs_with(runs, seeds, carry):
    """Runs of bits with a seed in them: (the bit behind the end of each that ends, 1 if one goes on behind the block).

    Seeds are bits of runs. carry: 1 if the run that goes on into the block has a seed already, or ended just before it
    with one. A seed added to its run carries to the bit behind it.
    """
    once = runs + seeds
    twice = once + carry
    return twice & ~runs, np.uint64((once < runs) | (twice < once))


_SETS = 1 << int(unicode.FLAG_LEAVES.max()).bit_length()
_COUNTED = np.zeros(_SETS, np.uint64)
"""Of each set of class bits, a byte each: whether it is NUMERIC, UPPER, SPACE, PUNCTUATION, DECIMAL."""
for _i, _bit in enumerate((_NUMERIC, _UPPER, _SPACE, _PUNCTUATION, _DECIMAL)):
    _COUNTED |= np.where(np.arange(_SETS) & _bit, np.uint64(1 << 8 * _i), _0)


@njit(inline="always")
def _byte(sums, i):
    return np.int64(sums >> np.uint64(8 * i) & np.uint64(0xFF))


@njit
def beyond_ascii(data, base, leads, stage, leaves):
    """Characters whose bytes begin at the bits `leads` of the block at data[base], none of them ASCII.

    Returns (masks, counts): of ALPHA ones, of those that are no PUNCTUATION and no SPACE, of …, of line breaks, of the
    bytes of SPACE ones, of such bytes in the next block; how many are NUMERIC, UPPER, SPACE, PUNCTUATION, DECIMAL, and
    how many are a parenthesis.
    """
    alpha = plain = ellipses = breaks = spaces = spaces_behind = sums = _0
    parens = 0
    while leads:
        k = count_trailing_zeros(leads)
        bit = leads & (_0 - leads)
        leads ^= bit
        c, n = unicode.decode_at(data, base + k)
        f = np.int64(unicode.table_value(stage, leaves, c))
        sums += _COUNTED[np.uint64(f)]
        if f & _SPACE:
            own = (_1 << np.uint64(n)) - _1
            spaces |= own << np.uint64(k)
            if k + n > BLOCK:
                spaces_behind = own >> np.uint64(BLOCK - k)
            if f & _LINE_BREAK:
                breaks |= bit
        else:
            if f & _ALPHA:
                alpha |= bit
            if f & _PUNCTUATION == 0:
                plain |= bit
            elif c == 0x2026:
                ellipses |= bit
        parens += c == 0x27E8 or c == 0x27E9
    masks = (alpha, plain, ellipses, breaks, spaces, spaces_behind)
    return masks, (_byte(sums, 0), _byte(sums, 1), _byte(sums, 2), _byte(sums, 3), _byte(sums, 4), parens)
