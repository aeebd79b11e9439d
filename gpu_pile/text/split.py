"""Split and strip text where str.split(), str.strip() and split("\\n") do, on UTF-8 bytes. For numba.

White space is what str.isspace() says; `stage` and `leaves` are the table of character classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpu_pile.text import unicode
from gpu_pile.text.blocks import BLOCK, SPACES, TAILS, below, block, last_bit, lowest, runs_of
from gpu_pile.text.jit import inlined, jit, leaf
from gpu_pile.text.simd import bytes_between, bytes_of_64, copy_bytes, count_ones, count_trailing_zeros, set_item
from gpu_pile.types import Array

_SPACE = unicode.SPACE
_LINE_FEED = ord("\n")
_TAIL_BITS, _TAIL = 0xC0, 0x80
"""The bits that tell a byte of a character beyond ASCII from its first one, and their value."""
_SPACE_LEADS = "\xc2\xe1\xe2\xe3"
"""Bytes that white space beyond ASCII begins with."""
_0, _1 = np.uint64(0), np.uint64(1)


@jit
def code_points(data, start, end):
    """Return the number of characters of UTF-8 data[start:end]."""
    n = 0
    for i in range(start, end):
        n += (data[i] & _TAIL_BITS) != _TAIL
    return n


@inlined
def is_first_byte(data, i):
    """Return whether a character begins at data[i]."""
    return data[i] & _TAIL_BITS != _TAIL


@inlined
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


@jit
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
def _wide_spaces(data, base, leads, stage, leaves):
    """Return the bytes of white space beyond ASCII: (bits from data[base] on, bits from the next block on).

    leads: the bits of bytes that white space may begin with.
    """
    spaces = after = _0
    while leads:
        k = count_trailing_zeros(leads)
        leads &= leads - _1
        c, n = unicode.decode_at(data, base + k)
        if unicode.table_value(stage, leaves, c) & _SPACE:
            own = (_1 << np.uint64(n)) - _1
            spaces |= own << np.uint64(k)
            after |= own >> np.uint64(BLOCK - k) if k + n > BLOCK else _0
    return spaces, after


@inlined
def _word_bytes(data, i, end, tables, spilled):
    """Return (bits of data[i:i + 64] that are not white space, bytes of white space in the next block).

    spilled: bytes of white space that began in the block before. tables: (stage, leaves).
    """
    at, shift, valid = block(data, i, end)
    spaces = bytes_of_64(data, at, SPACES) >> shift | spilled
    leads = bytes_of_64(data, at, _SPACE_LEADS) >> shift & valid
    spilled = _0
    if leads:
        wide, spilled = _wide_spaces(data, i, leads, tables[0], tables[1])
        spaces |= wide
    return valid & ~spaces, spilled


@leaf
def split_words(data, start, end, tables, words):
    """Write the words of str.split() of data[start:end] to `words`. Return how many.

    data has BLOCK bytes or more. tables: (stage, leaves).
    """
    packed, bounds, chars = words
    n = o = tails = 0  # tails: bytes of the words but the first of each character
    bounds[0] = chars[0] = 0
    first = start  # where the word begins that the next block goes on with
    inside = spilled = _0
    for i in range(start, end, BLOCK):
        word, spilled = _word_bytes(data, i, end, tables, spilled)
        runs = runs_of(word, inside)
        starts, ends = runs.starts, runs.ends
        at, shift, _ = block(data, i, end)
        word_tails = bytes_of_64(data, at, TAILS) >> shift & word
        if inside == _0:
            first = i + count_trailing_zeros(starts)
            starts &= starts - _1
        while ends:
            k = count_trailing_zeros(ends)
            copy_bytes(packed, o, data, first, i + k - first)
            o += i + k - first
            n += 1
            set_item(bounds, n, o)
            set_item(chars, n, o - tails - count_ones(word_tails & below(lowest(ends))))
            ends &= ends - _1
            first = i + count_trailing_zeros(starts)  # after the block if no other begins in it
            starts &= starts - _1
        inside = last_bit(word)
        tails += count_ones(word_tails)
    if inside:
        copy_bytes(packed, o, data, first, end - first)
        o += end - first
        n += 1
        bounds[n], chars[n] = o, o - tails
    return n


@leaf
def count_words(data, start, end, tables):
    """Return len(text.split()) of data[start:end], to know how much room split_words needs."""
    n = 0
    inside = spilled = _0
    for i in range(start, end, BLOCK):
        word, spilled = _word_bytes(data, i, end, tables, spilled)
        n += count_ones(runs_of(word, inside).starts)
        inside = last_bit(word)
    return n
