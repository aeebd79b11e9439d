"""RedPajama-Data v2's normal form of a text, its word lists, and logarithms in integers: what the rps operations share.

The normal form removes the ASCII punctuation of string.punctuation, lower-cases (str.lower(), final sigmas included),
makes one space of each run of white space, strips, and decomposes canonically (NFD). No step crosses white space, so
it is made word by word: a word of str.split() gives one word of the normal form, or none if it was punctuation.
"""

from __future__ import annotations

import string
from functools import cache
from importlib.resources import files

import numpy as np
from numba import njit

from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.jit import jit
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


@njit
def logarithm(table, c):
    """About ln(c) * 2^32 for 0 < c < 2^31, 0 for 0; off by 2^-30 at most, the same on every machine."""
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
"""What an ASCII character that is no white space becomes in the normal form; DROPPED for punctuation."""

UNICODE_TABLES = (
    *(unicode.FLAG_STAGE, unicode.FLAG_LEAVES, unicode.LOWER_STAGE, unicode.LOWER_LEAVES),
    *(unicode.DECOMPOSITION_STAGE, unicode.DECOMPOSITION_LEAVES, unicode.DECOMPOSITION_PARTS),
    *(unicode.COMBINING_STAGE, unicode.COMBINING_LEAVES),
)

_CASED, _IGNORABLE, _NUMERIC = unicode.CASED, unicode.IGNORABLE, unicode.NUMERIC
_CAPITAL_SIGMA, _FINAL_SIGMA = unicode_reference.CAPITAL_SIGMA, unicode_reference.FINAL_SIGMA
_HANGUL, _HANGUL_END = unicode_reference.HANGUL, unicode_reference.HANGUL_END


@njit
def _put_marks(out, o, marks, classes, n):
    """Write n combining marks in the order of their classes, equal ones as they came."""
    if n == 1:
        return put_code_point(out, o, marks[0])
    for wanted in range(1, 256):
        left = n
        for k in range(n):
            if classes[k] == wanted:
                o = put_code_point(out, o, marks[k])
            left -= classes[k] <= wanted
        if left == 0:
            break
    return o


@jit
def normal_word(data, start, end, ascii_normal, tables, marks, classes, out, o):
    """The normal form of the word data[start:end], which has no white space, written to out[o:].

    For a word in ASCII it is its characters looked up in ASCII_NORMAL, which callers do themselves: it is much faster.
    marks, classes: scratch, int32 and uint8, of one length; longer ones are taken where a character has more. They
    are not returned: a caller that assigned them in its loop would count references to arrays at every word.

    Returns:
        (where it ends in out; code points; those that are NUMERIC)
    """
    flag_stage, flag_leaves, lower_stage, lower_leaves, stage, leaves, parts, class_stage, class_leaves = tables
    chars = numeric = 0
    cased_before = False
    n_marks = 0
    i = start
    while i < end:
        c, n = unicode.decode_at(data, i)
        i += n
        if c < 0x80 and ascii_normal[c] == DROPPED:
            continue
        f = unicode.table_value(flag_stage, flag_leaves, c)
        low = c + unicode.table_value(lower_stage, lower_leaves, c)
        if c == _CAPITAL_SIGMA and cased_before:
            final = True
            j = i
            while j < end:
                following, n = unicode.decode_at(data, j)
                j += n
                if following < 0x80 and ascii_normal[following] == DROPPED:
                    continue
                g = unicode.table_value(flag_stage, flag_leaves, following)
                if g & _IGNORABLE == 0:
                    final = g & _CASED == 0
                    break
            if final:
                low = _FINAL_SIGMA
        if f & _IGNORABLE == 0:
            cased_before = f & _CASED != 0

        m, at = 1, 0
        hangul = _HANGUL <= low < _HANGUL_END
        if hangul:
            m = 2 if (low - _HANGUL) % 28 == 0 else 3
        elif low >= 0xC0:
            at = np.int64(unicode.table_value(stage, leaves, low))
            if at:
                m = np.int64(parts[at])
        for k in range(m + (c == unicode.DOTTED_CAPITAL_I)):
            if k == m:
                x = 0x307
            elif hangul:
                s = low - _HANGUL
                x = 0x1100 + s // 588 if k == 0 else 0x1161 + s % 588 // 28 if k == 1 else 0x11A7 + s % 28
            elif at:
                x = np.int64(parts[at + 1 + k])
            else:
                x = low
            chars += 1
            numeric += (unicode.table_value(flag_stage, flag_leaves, x) & _NUMERIC) != 0
            ccc = unicode.table_value(class_stage, class_leaves, x) if x >= 0x300 else np.uint8(0)
            if ccc == 0:
                if n_marks:
                    o = _put_marks(out, o, marks, classes, n_marks)
                    n_marks = 0
                o = put_code_point(out, o, x)
            else:
                if n_marks == len(marks):
                    marks = np.concatenate((marks, np.empty_like(marks)))
                    classes = np.concatenate((classes, np.empty_like(classes)))
                marks[n_marks] = x
                classes[n_marks] = ccc
                n_marks += 1
    if n_marks:
        o = _put_marks(out, o, marks, classes, n_marks)
    return o, chars, numeric
