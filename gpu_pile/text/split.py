"""Split and strip text where str.split(), str.strip() and split("\\n") do, on UTF-8 bytes. For numba.

White space is what str.isspace() says; `stage` and `leaves` are the table of character classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from gpu_pile.text import unicode
from gpu_pile.text.jit import leaf
from gpu_pile.text.simd import (
    ascii_space_mask,
    bytes_between,
    copy_32,
    count_ones,
    count_trailing_zeros,
    set_item,
)
from gpu_pile.types import Array

_SPACE = unicode.SPACE
_LINE_FEED = ord("\n")
_TAIL_BITS, _TAIL = 0xC0, 0x80
"""The bits that tell a byte of a character beyond ASCII from its first one, and their value."""
_FIRST_TAIL, _LAST_TAIL = 0x80, 0xBF
_1 = np.uint32(1)


@njit
def code_points(data, start, end):
    """Return the number of characters of UTF-8 data[start:end]."""
    n = 0
    for i in range(start, end):
        n += (data[i] & _TAIL_BITS) != _TAIL
    return n


@njit(inline="always")
def is_first_byte(data, i):
    """Return whether a character begins at data[i]."""
    return data[i] & _TAIL_BITS != _TAIL


@njit(inline="always")
def previous_character(data, i):
    """Return where the character before data[i] begins."""
    i -= 1
    while data[i] & _TAIL_BITS == _TAIL:
        i -= 1
    return i


@leaf
def lstripped(data, start, end, stage, leaves):
    """Return (where str.lstrip() leaves data[start:end] to begin, how many characters it removes)."""
    removed = 0
    while start < end:
        c, n = unicode.decode_at(data, start)
        if unicode.table_value(stage, leaves, c) & _SPACE == 0:
            break
        start += n
        removed += 1
    return start, removed


@leaf
def rstripped(data, start, end, stage, leaves):
    """Return (where str.rstrip() leaves data[start:end] to end, how many characters it removes)."""
    removed = 0
    while end > start:
        last = previous_character(data, end)
        c, _ = unicode.decode_at(data, last)
        if unicode.table_value(stage, leaves, c) & _SPACE == 0:
            break
        end = last
        removed += 1
    return end, removed


@leaf
def stripped(data, start, end, stage, leaves):
    """Return (start, end) of what str.strip() leaves of data[start:end]."""
    start, _ = lstripped(data, start, end, stage, leaves)
    end, _ = rstripped(data, start, end, stage, leaves)
    return start, end


@leaf
def is_blank(data, start, end, stage, leaves):
    """Return whether data[start:end] has nothing but white space."""
    start, _ = lstripped(data, start, end, stage, leaves)
    return start == end


@njit
def next_newline(data, i, end):
    """Return the position of the first line feed in data[i:end], or end."""
    while i < end and i + 32 <= len(data):
        feeds = bytes_between(data, i, _LINE_FEED, _LINE_FEED)
        if feeds:
            return min(i + count_trailing_zeros(feeds), end)
        i += 32
    while i < end and data[i] != _LINE_FEED:
        i += 1
    return min(i, end)


# The words of str.split()


class Words(NamedTuple):
    """Buffers for the words of a document, which lie back to back.

    packed: uint8, the bytes of the words, with room for 31 bytes more than the text.
    bounds: int64[words + 1], word i is packed[bounds[i]:bounds[i + 1]].
    chars:  int64[words + 1], the characters before each word.
    """

    packed: Array
    bounds: Array
    chars: Array


@leaf
def _wide_spaces(data, base, end, leads, stage, leaves):
    """Return the bytes of white space beyond ASCII, as bits from data[base] on.

    leads: the bits of bytes that white space may begin with.
    """
    spaces = np.uint64(0)
    while leads:
        k = count_trailing_zeros(leads)
        leads &= leads - _1
        if base + k >= end:
            break
        c, n = unicode.decode_at(data, base + k)
        if unicode.table_value(stage, leaves, c) & _SPACE:
            spaces |= ((np.uint64(1) << np.uint64(n)) - np.uint64(1)) << np.uint64(k)
    return spaces


@leaf
def split_words(data, start, end, tables, words):
    """Write the words of str.split() of data[start:end] to `words`. Return how many.

    tables: (flags of ASCII, stage, leaves).
    """
    _, stage, leaves = tables
    packed, bounds, chars = words
    n = o = tails = 0  # tails: bytes of the words but the first of each character
    bounds[0] = chars[0] = 0
    i = first = start  # first: where the word begins that the next block goes on with
    outside, spilled = _1, np.uint32(0)  # spilled: bytes of white space that began in the block before
    while i < end and i + 64 <= len(data):  # a word that ends in these 32 bytes is copied 32 bytes at a time
        space = ascii_space_mask(data, i) | spilled
        spilled = np.uint32(0)
        leads = bytes_between(data, i, 0xE1, 0xE3) | bytes_between(data, i, 0xC2, 0xC2)  # of white space, among others
        if leads:
            wide = _wide_spaces(data, i, end, leads, stage, leaves)
            space |= np.uint32(wide)
            spilled = np.uint32(wide >> np.uint64(32))
        if i + 32 > end:
            space |= np.uint32(np.uint64(0xFFFFFFFF) << np.uint64(end - i))
        word_tails = bytes_between(data, i, _FIRST_TAIL, _LAST_TAIL) & ~space
        edges = np.uint32(space ^ ((space << _1) | outside))
        starts, ends = edges & ~space, edges & space
        if outside:
            first = i + count_trailing_zeros(starts)
            starts &= starts - _1
        while ends:
            k = count_trailing_zeros(ends)
            ends &= ends - _1
            copy_32(packed, o, data, first)
            for copied in range(32, i + k - first, 32):
                copy_32(packed, o + copied, data, first + copied)
            o += i + k - first
            n += 1
            set_item(bounds, n, o)
            set_item(chars, n, o - tails - count_ones(word_tails & ((_1 << np.uint32(k)) - _1)))
            first = i + count_trailing_zeros(starts)  # after the block if no other begins in it
            starts &= starts - _1
        outside = space >> np.uint32(31)
        tails += count_ones(word_tails)
        i += 32
    return _split_rest(data, i + count_ones(spilled) if outside else first, end, tables, words, n)


@leaf
def _split_rest(data, i, end, tables, words, n):
    """Write the words of data[i:end] after the first n, one character at a time. Return how many there are then."""
    ascii_flags, stage, leaves = tables
    packed, bounds, chars = words
    o, length = bounds[n], chars[n]
    while i < end:
        if data[i] < _TAIL:
            size, flags = 1, np.int64(ascii_flags[data[i]])
        else:
            c, size = unicode.decode_at(data, i)
            flags = np.int64(unicode.table_value(stage, leaves, c))
        if flags & _SPACE == 0:
            for k in range(size):
                packed[o + k] = data[i + k]
            o += size
            length += 1
        elif o > bounds[n]:
            n += 1
            bounds[n], chars[n] = o, length
        i += size
    if o > bounds[n]:
        n += 1
        bounds[n], chars[n] = o, length
    return n


@leaf
def count_words(data, start, end, tables):
    """Return len(text.split()) of data[start:end], to know how much room split_words needs."""
    ascii_flags, stage, leaves = tables
    words = 0
    inside = False
    i = start
    while i < end:
        if data[i] < _TAIL:
            space, n = (ascii_flags[data[i]] & _SPACE) != 0, 1
        else:
            c, n = unicode.decode_at(data, i)
            space = (unicode.table_value(stage, leaves, c) & _SPACE) != 0
        words += not space and not inside
        inside = not space
        i += n
    return words
