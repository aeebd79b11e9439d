"""RedPajama-Data v2's normal form of a text and its word lists, and logarithms in integers.

The normal form removes the ASCII punctuation of string.punctuation, lower-cases (str.lower(), final sigmas included),
makes one space of each run of white space, strips, and decomposes canonically (NFD). No step crosses white space, so
it is made word by word: a word of str.split() gives one word of the normal form, or none if it was punctuation.
"""

from __future__ import annotations

import string
from functools import cache
from importlib.resources import files

import numpy as np

from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.jit import inlined, jit, leaf
from gpu_pile.text.unicode import put_code_point
from gpu_pile.types import Array

EXPANSION = 3
"""Bytes of the normal form are at most this many times those of the text (U+0390 has two, decomposed six)."""

FRACTION = 32
"""Logarithms are whole numbers of 2^-32."""


def normal_words(text: str) -> list[str]:
    """The words of the normal form: for references and tests."""
    kept = "".join(c for c in text if c not in string.punctuation)
    return unicode_reference.split(unicode_reference.decomposed(unicode_reference.lower_in_context(kept)))


@cache
def stop_words() -> tuple[str, ...]:
    """English stop words that can be a run of word characters: those without apostrophe."""
    words = (files("gpu_pile.text") / "word_lists" / "stop_words_en.txt").read_text(encoding="utf-8").split("\n")
    return tuple(w for w in words if w.isalpha())


@cache
def bad_phrases() -> tuple[str, ...]:
    """The entries of LDNOOBW, as they are: words joined by one space."""
    text = (files("gpu_pile.text") / "word_lists" / "ldnoobw_en.txt").read_text(encoding="utf-8")
    return tuple(line.strip() for line in text.split("\n") if line.strip())


def _logarithms(n: int) -> Array:
    """round(ln(c) * 2^32) for c < n, and 0 for 0: in whole numbers, so that every machine makes the same table."""
    scale = 1 << 96
    out, value = [0, 0], 0
    for c in range(1, n - 1):  # ln(c + 1) - ln(c) = 2 atanh(1 / (2 c + 1))
        term = 2 * scale // (2 * c + 1)
        square, k = (2 * c + 1) ** 2, 1
        while term:
            value += term // k
            term //= square
            k += 2
        out.append((value + (1 << 63)) >> 64)
    return np.array(out[:n], np.int64)


LOGARITHMS = _logarithms(4096)


def logarithm_int(c: int) -> int:
    """logarithm() in Python: for references."""
    shift = max(c.bit_length() - 12, 0)
    top = c >> shift
    x = ((c - (top << shift)) << FRACTION) // (top << shift) if c else 0
    return int(LOGARITHMS[top]) + shift * int(LOGARITHMS[2]) + x - ((x * x) >> (FRACTION + 1))


@jit
def logarithm(table, c):
    """Return about ln(c) * 2^32 for 0 < c < 2^31, 0 for 0: at most 2^-30 off, and the same on every machine."""
    shift = 0
    while c >> shift >= 4096:
        shift += 1
    if shift == 0:
        return table[c]
    top = c >> shift
    x = ((c - (top << shift)) << FRACTION) // (top << shift)
    return table[top] + shift * table[2] + x - ((x * x) >> (FRACTION + 1))


DROPPED = 255
ASCII_NORMAL: Array = np.array(
    [DROPPED if chr(c) in string.punctuation else ord(chr(c).lower()) for c in range(128)], np.uint8
)
"""What an ASCII character that is not white space becomes in the normal form; DROPPED for punctuation."""

UNICODE_TABLES = (
    *(unicode.FLAG_STAGE, unicode.FLAG_LEAVES, unicode.LOWER_STAGE, unicode.LOWER_LEAVES),
    *(unicode.DECOMPOSITION_STAGE, unicode.DECOMPOSITION_LEAVES, unicode.DECOMPOSITION_PARTS),
    *(unicode.COMBINING_STAGE, unicode.COMBINING_LEAVES),
)

_CASED, _IGNORABLE, _NUMERIC = unicode.CASED, unicode.IGNORABLE, unicode.NUMERIC
_CAPITAL_SIGMA, _FINAL_SIGMA = unicode_reference.CAPITAL_SIGMA, unicode_reference.FINAL_SIGMA
_HANGUL, _HANGUL_END = unicode_reference.HANGUL, unicode_reference.HANGUL_END
_LEADING, _VOWEL, _TRAILING, _N_TRAILING, _N_VOWELS_TRAILING = 0x1100, 0x1161, 0x11A7, 28, 21 * 28
"""Where the parts of Hangul syllables begin; how many trailing consonants there are, and how many ends of syllables."""
_FIRST_COMPOSED, _FIRST_MARK, _DOT_ABOVE = 0xC0, 0x300, 0x307
_FIRST_BEYOND_ASCII = 0x80


@inlined
def _is_dropped(c):
    return c < _FIRST_BEYOND_ASCII and ASCII_NORMAL[c] == DROPPED


@leaf
def _put_marks(out, o, marks, classes, n):
    """Write n combining marks in the order of their classes, equal classes as they came. Return where they end."""
    if n == 1:
        return put_code_point(out, o, marks[0])
    for mark_class in range(1, 256):
        left = n
        for k in range(n):
            if classes[k] == mark_class:
                o = put_code_point(out, o, marks[k])
            left -= classes[k] <= mark_class
        if left == 0:
            break
    return o


@leaf
def _ends_word(data, i, end, flag_stage, flag_leaves):
    """Return whether no cased letter follows in the word data[i:end], so that a capital sigma before it is final."""
    while i < end:
        c, n = unicode.decode_at(data, i)
        i += n
        if _is_dropped(c):
            continue
        flags = unicode.table_value(flag_stage, flag_leaves, c)
        if flags & _IGNORABLE == 0:
            return flags & _CASED == 0
    return True


@inlined
def _count_parts(low, stage, leaves, parts):
    """Return (number of code points that low is decomposed into, their position in parts or 0)."""
    if _HANGUL <= low < _HANGUL_END:
        return 2 if (low - _HANGUL) % _N_TRAILING == 0 else 3, 0
    at = np.int64(unicode.table_value(stage, leaves, low)) if low >= _FIRST_COMPOSED else 0
    return np.int64(parts[at]) if at else 1, at


@inlined
def _part(low, k, at, parts):
    """Return code point k of those that low is decomposed into."""
    if at:
        return np.int64(parts[at + 1 + k])
    if _HANGUL <= low < _HANGUL_END:
        s = low - _HANGUL
        if k == 0:
            return _LEADING + s // _N_VOWELS_TRAILING
        return _VOWEL + s % _N_VOWELS_TRAILING // _N_TRAILING if k == 1 else _TRAILING + s % _N_TRAILING
    return low


def new_marks(n_bytes: int) -> tuple[Array, Array]:
    """Return scratch for the combining marks of a word of up to n_bytes bytes: (code points, classes).

    A mark has two bytes or more. Hardly any word has more than a few; memory that is not touched is not used.
    """
    n = EXPANSION * n_bytes // 2 + 1
    return np.empty(n, np.int32), np.empty(n, np.uint8)


@leaf
def normal_word(data, start, end, tables, scratch, out, o):
    """Write the normal form of the word data[start:end], which has no white space, to out[o:].

    For a word in ASCII it is its characters looked up in ASCII_NORMAL, which callers do themselves: it is much faster.

    Args:
        tables: UNICODE_TABLES.
        scratch: of new_marks.

    Returns:
        (where it ends in out; code points; those that are NUMERIC)
    """
    flag_stage, flag_leaves, lower_stage, lower_leaves, stage, leaves, parts, class_stage, class_leaves = tables
    marks, classes = scratch
    chars = numeric = n_marks = 0
    cased_before = False
    i = start
    while i < end:
        c, n = unicode.decode_at(data, i)
        i += n
        if _is_dropped(c):
            continue
        flags = unicode.table_value(flag_stage, flag_leaves, c)
        low = c + unicode.table_value(lower_stage, lower_leaves, c)
        if c == _CAPITAL_SIGMA and cased_before and _ends_word(data, i, end, flag_stage, flag_leaves):
            low = _FINAL_SIGMA
        if flags & _IGNORABLE == 0:
            cased_before = flags & _CASED != 0
        n_parts, at = _count_parts(low, stage, leaves, parts)
        for k in range(n_parts + (c == unicode.DOTTED_CAPITAL_I)):
            x = _DOT_ABOVE if k == n_parts else _part(low, k, at, parts)
            chars += 1
            numeric += (unicode.table_value(flag_stage, flag_leaves, x) & _NUMERIC) != 0
            combining = unicode.table_value(class_stage, class_leaves, x) if x >= _FIRST_MARK else np.uint8(0)
            if combining == 0:
                if n_marks:
                    o = _put_marks(out, o, marks, classes, n_marks)
                    n_marks = 0
                o = put_code_point(out, o, x)
                continue
            marks[n_marks], classes[n_marks] = x, combining
            n_marks += 1
    if n_marks:
        o = _put_marks(out, o, marks, classes, n_marks)
    return o, chars, numeric
