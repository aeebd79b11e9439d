"""Split and strip text where str.split(), str.strip() and str.splitlines() do, on UTF-8 bytes."""

from __future__ import annotations

import numpy as np
from numba import njit

from gpu_pile.text import unicode
from gpu_pile.text.jit import jit
from gpu_pile.text.simd import (
    ascii_space_mask,
    bytes_between,
    copy_32,
    count_ones,
    count_trailing_zeros,
    set_item,
)

_SPACE = unicode.SPACE


@njit
def code_points(data, start, end):
    """Characters of UTF-8 data[start:end]."""
    n = 0
    for i in range(start, end):
        n += (data[i] & 0xC0) != 0x80
    return n


@jit
def stripped(data, start, end, stage, leaves):
    """(start, end) of what str.strip() leaves of data[start:end]."""
    while start < end:
        c, n = unicode.decode_at(data, start)
        if unicode.table_value(stage, leaves, c) & _SPACE == 0:
            break
        start += n
    while end > start:
        i = end - 1
        while data[i] & 0xC0 == 0x80:
            i -= 1
        c, n = unicode.decode_at(data, i)
        if unicode.table_value(stage, leaves, c) & _SPACE == 0:
            break
        end = i
    return start, end


@njit
def next_newline(data, i, end):
    """The position of the first line feed in data[i:end], or end."""
    while i < end and i + 32 <= len(data):
        found = bytes_between(data, i, 10, 10)
        if found:
            return min(i + count_trailing_zeros(found), end)
        i += 32
    while i < end and data[i] != 10:
        i += 1
    return min(i, end)


@jit
def split_words(data, start, end, ascii_flags, stage, leaves, packed, bounds, chars):
    """The words of str.split(), their bytes back to back in `packed`; returns how many.

    Word i is packed[bounds[i]:bounds[i + 1]], and chars[i] code points precede it. packed has room for 31 bytes more
    than the text.
    """
    words = o = inner = 0  # inner: bytes of words that are no beginnings of code points
    bounds[0] = chars[0] = 0
    i = first = start  # first: where the word begins that we are in
    outside = np.uint32(1)
    spill = np.uint32(0)  # bytes of white space that began in the block before
    while i < end and i + 64 <= len(data):  # a word that ends in these 32 bytes is copied 32 bytes at a time
        space = ascii_space_mask(data, i) | spill
        spill = np.uint32(0)
        far = bytes_between(data, i, 0xE1, 0xE3) | bytes_between(data, i, 0xC2, 0xC2)  # may begin white space
        while far:
            k = count_trailing_zeros(far)
            far &= far - np.uint32(1)
            if i + k >= end:
                break
            c, n = unicode.decode_at(data, i + k)
            if unicode.table_value(stage, leaves, c) & _SPACE:
                bits = ((np.uint64(1) << np.uint64(n)) - np.uint64(1)) << np.uint64(k)
                space |= np.uint32(bits)
                spill = np.uint32(bits >> np.uint64(32))
        if i + 32 > end:
            space |= np.uint32(np.uint64(0xFFFFFFFF) << np.uint64(end - i))
        rest = bytes_between(data, i, 0x80, 0xBF) & ~space
        edges = np.uint32(space ^ ((space << np.uint32(1)) | outside))
        starts, ends = edges & ~space, edges & space
        if outside:
            first = i + count_trailing_zeros(starts)
            starts &= starts - np.uint32(1)
        while ends:
            k = count_trailing_zeros(ends)
            ends &= ends - np.uint32(1)
            copy_32(packed, o, data, first)
            for after in range(32, i + k - first, 32):
                copy_32(packed, o + after, data, first + after)
            o += i + k - first
            words += 1
            set_item(bounds, words, o)
            set_item(chars, words, o - inner - count_ones(rest & ((np.uint32(1) << np.uint32(k)) - np.uint32(1))))
            first = i + count_trailing_zeros(starts)  # behind the block if there is no other
            starts &= starts - np.uint32(1)
        outside = space >> np.uint32(31)
        inner += count_ones(rest)
        i += 32
    if outside:
        i += count_ones(spill)
    else:  # a word that goes on, or ends with the text
        i = first
    length = chars[words]
    while i < end:
        b = data[i]
        if b < 0x80:
            if ascii_flags[b] & _SPACE == 0:
                packed[o] = b
                o += 1
                length += 1
                i += 1
                continue
            n = 1
        else:
            c, n = unicode.decode_at(data, i)
            if unicode.table_value(stage, leaves, c) & _SPACE == 0:
                for k in range(n):
                    packed[o + k] = data[i + k]
                o += n
                length += 1
                i += n
                continue
        if o > bounds[words]:
            words += 1
            bounds[words] = o
            chars[words] = length
        i += n
    if o > bounds[words]:
        words += 1
        bounds[words] = o
        chars[words] = length
    return words


@jit
def count_words(data, start, end, ascii_flags, stage, leaves):
    """len(text.split()), to know how much room split_words needs."""
    words = 0
    inside = False
    i = start
    while i < end:
        if data[i] < 0x80:
            space, n = (ascii_flags[data[i]] & _SPACE) != 0, 1
        else:
            c, n = unicode.decode_at(data, i)
            space = (unicode.table_value(stage, leaves, c) & _SPACE) != 0
        words += not space and not inside
        inside = not space
        i += n
    return words
