"""The lower-cased words of a document, found 64 bytes at a time. For numba.

Words are made of characters of these classes, lower-cased code point by code point:

    RUNS        runs of \\w: gpu_pile.text.unicode_reference.words
    MARKED      with combining marks: gpu_pile.text.unicode_reference.marked_words
    ANY_SCRIPT  gpu_pile.text.unicode_reference.words_of_any_script

ASCII up to the next character beyond it is compared and lower-cased at once; characters beyond ASCII are looked up one
by one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpu_pile.text import unicode
from gpu_pile.text.blocks import BEYOND, BLOCK, DIGITS, LETTERS, below, block, lowest
from gpu_pile.text.jit import leaf
from gpu_pile.text.simd import bytes_of_64, count_ones, count_trailing_zeros, item, lower_64, set_item
from gpu_pile.types import Array

WORD_BYTES = LETTERS + DIGITS + "_"

BEFORE = 8
"""Bytes of LowerWords.text before the first character, so that 8 bytes can be loaded that end within a word."""

TABLES = (unicode.FLAG_STAGE, unicode.FLAG_LEAVES, unicode.LOWER_STAGE, unicode.LOWER_LEAVES)
"""Passed to the compiled functions, so that they are not frozen into them."""

_WORD, _MARK, _UNSPACED = unicode.WORD, unicode.MARK, unicode.UNSPACED

RUNS = _WORD
MARKED = _WORD | _MARK
ANY_SCRIPT = _WORD | _MARK | _UNSPACED

_CAPITAL_I_DOT, _DOT_ABOVE = unicode.DOTTED_CAPITAL_I, 0x307
_0, _1 = np.uint64(0), np.uint64(1)


class LowerWords(NamedTuple):
    """Buffers for the words of a document.

    text:  uint8, the document in lower case from BEFORE on. It may lack characters between words.
    edges: int64, word i is text[edges[2 * i]:edges[2 * i + 1]].
    """

    text: Array
    edges: Array


def longest(offsets: Array) -> int:
    """Return the bytes of the longest document."""
    return int(np.diff(offsets).max(initial=0))


def room_for_words(n_bytes: int) -> LowerWords:
    """Return LowerWords with room for any document of this many bytes."""
    # U+023A has two bytes and its lower case three; a word takes a byte and the gap after it another
    return LowerWords(np.empty(BEFORE + n_bytes + n_bytes // 2 + BLOCK, np.uint8), np.empty(n_bytes + 3, np.int64))


@leaf
def find_lower_words(data, start, end, tables, words, classes):
    """Write the words of data[start:end] to `words`. Return how many. data has BLOCK bytes or more.

    classes: RUNS, MARKED or ANY_SCRIPT.
    """
    lower, edges = words
    n = 0  # edges
    inside = _0  # 1 if the character before is part of a word
    i, o = start, BEFORE
    while i < end:
        at, shift, valid = block(data, i, end)
        beyond = bytes_of_64(data, at, BEYOND) >> shift & valid
        ascii_bytes = valid & below(lowest(beyond))
        size = count_ones(ascii_bytes)
        bits = bytes_of_64(data, at, WORD_BYTES) >> shift & ascii_bytes
        if at == i:
            lower_64(lower, o, data, i)
        else:
            for k in range(size):
                set_item(lower, o + k, np.uint8(unicode.ascii_lower(item(data, i + k))))
        changes = (bits ^ (bits << _1 | inside)) & ascii_bytes
        while changes:
            set_item(edges, n, o + count_trailing_zeros(changes))
            n += 1
            changes &= changes - _1
        if size:
            inside = bits >> np.uint64(size - 1)
        i += size
        o += size
        alone = _0  # 1 if the character before is of a word that takes only marks
        while i < end and item(data, i) >= unicode.BEYOND_ASCII:
            c, size = unicode.decode_at(data, i)
            i += size
            kind = np.int64(unicode.table_value(tables[0], tables[1], c)) & classes
            is_mark, is_unspaced = np.uint64(kind & _MARK != 0), np.uint64(kind & _UNSPACED != 0)
            is_word = np.uint64(kind & _WORD != 0) | is_mark & inside
            cut = inside & is_word & (alone | is_unspaced) & ~is_mark
            set_item(edges, n, o)
            set_item(edges, n + 1, o)
            n += np.int64((is_word ^ inside) + cut + cut)
            inside = is_word
            alone = is_unspaced | is_mark & alone
            if is_word:
                o = unicode.put_code_point(lower, o, c + unicode.table_value(tables[2], tables[3], c))
                if c == _CAPITAL_I_DOT:  # its lower case is "i" and a mark
                    if classes & _MARK:
                        o = unicode.put_code_point(lower, o, _DOT_ABOVE)
                    else:
                        set_item(edges, n, o)
                        n += 1
                        inside = _0
        if alone:  # ASCII has no marks
            set_item(edges, n, o)
            n += 1
            inside = _0
    if inside:
        set_item(edges, n, o)
        n += 1
    return n // 2
