"""Unicode classes and lower case from one generated table (tools/make_unicode_table.py), for every backend.

The table is Unicode 14.0.0, that of Python 3.11. Class bits of a code point c:

    ALPHA       c.isalpha()
    NUMERIC     c.isnumeric()
    WORD        c.isalnum() or c == "_", which is \\w of Python's re
    SPACE       c.isspace(), which is what str.split() splits on and \\s of Python's re
    LINE_BREAK  str.splitlines() ends a line at c
    UPPER       c.isupper()
    PUNCTUATION, TERMINAL   the sets PUNCTUATION_SET and TERMINAL_PUNCTUATION of datatrove 0.10.1, which the published
                rules of Gopher and FineWeb are computed with
    CASED       c.isupper() or c.islower() or c.istitle()
    IGNORABLE   str.lower() looks past c to find out whether a capital sigma ends a word
    DECIMAL     c.isdecimal(), which is \\d of Python's re
    UTS18_WORD  \\w of the regex module: WORD without superscripts, fractions and the like, with combining marks,
                joiners and circled letters
    DIGIT       c.isdigit()

Lower case is that of each code point by itself: lower(s) = "".join(c.lower() for c in s). It differs from s.lower()
in one thing: a capital sigma at a word's end becomes the ordinary small sigma. U+0130 alone becomes two code points,
"i" and U+0307, which is not a word character.

Canonical decompositions (of NFD) and combining classes are in the table too; `decomposed` puts them together.

A table of its own has the classes of word boundaries (UAX #29), as uniseg 0.10.1 has them from Unicode 16.0.0; a code
point that Unicode 14.0.0 lacks is no letter or digit there either. BREAK_KINDS is the mask of the class, beside it
PICTOGRAPHIC (Extended_Pictographic) and LETTER_OR_DIGIT (c.isalnum()). `word_segments` applies the rules.

Code points are looked up in two stages, so that the tables stay in the first-level cache:
value(c) = leaves[stage[c >> 7] * 128 + (c & 127)].
"""

from __future__ import annotations

import itertools
from importlib.resources import files
from typing import Any

import numpy as np
from numba import njit

ALPHA, NUMERIC, WORD, SPACE, LINE_BREAK, UPPER, PUNCTUATION, TERMINAL, CASED, IGNORABLE, DECIMAL, UTS18_WORD, DIGIT = (
    1 << i for i in range(13)
)

DOTTED_CAPITAL_I = 0x130

BREAK_KINDS, PICTOGRAPHIC, LETTER_OR_DIGIT = 15, 16, 32
(_, NEWLINE, IGNORED, ZWJ, KATAKANA, SINGLE_QUOTE, DOUBLE_QUOTE, MID_NUM_LET, MID_LETTER, MID_NUM, _, _) = range(12)
LETTER, HEBREW, NUMBER, EXTEND_NUM_LET = range(12, 16)
"""Classes of word boundaries. NEWLINE: CR, LF and Newline; IGNORED: Extend and Format; 0: any other, regional
indicators and spaces among them. Of the last four, from LETTER on, any two belong together."""

with (files("gpu_pile") / "unicode_table.npz").open("rb") as _file:
    _table: Any = np.load(_file, allow_pickle=False)
    VERSION: str = ".".join(str(n) for n in _table["version"])
    FLAG_STAGE: np.ndarray[Any, Any] = _table["flag_stage"]
    FLAG_LEAVES: np.ndarray[Any, Any] = _table["flag_leaves"]
    LOWER_STAGE: np.ndarray[Any, Any] = _table["lower_stage"]
    LOWER_LEAVES: np.ndarray[Any, Any] = _table["lower_leaves"]
    DECOMPOSITION_STAGE: np.ndarray[Any, Any] = _table["decomposition_stage"]
    DECOMPOSITION_LEAVES: np.ndarray[Any, Any] = _table["decomposition_leaves"]
    DECOMPOSITION_PARTS: np.ndarray[Any, Any] = _table["decomposition_parts"]
    COMBINING_STAGE: np.ndarray[Any, Any] = _table["combining_stage"]
    COMBINING_LEAVES: np.ndarray[Any, Any] = _table["combining_leaves"]
    BREAK_STAGE: np.ndarray[Any, Any] = _table["break_stage"]
    BREAK_LEAVES: np.ndarray[Any, Any] = _table["break_leaves"]

ASCII_FLAGS: np.ndarray[Any, Any] = FLAG_LEAVES[FLAG_STAGE[0] * 128 :][:128].copy()
ASCII_BREAKS: np.ndarray[Any, Any] = BREAK_LEAVES[BREAK_STAGE[0] * 128 :][:128].copy()


def flags(c: str) -> int:
    """The class bits of one code point: for references and tests."""
    return int(FLAG_LEAVES[int(FLAG_STAGE[ord(c) >> 7]) * 128 + (ord(c) & 127)])


def lower(text: str) -> str:
    """Each code point's lower case by itself: for references and tests."""
    out = []
    for c in text:
        n = ord(c)
        out.append(chr(n + int(LOWER_LEAVES[int(LOWER_STAGE[n >> 7]) * 128 + (n & 127)])))
        if n == DOTTED_CAPITAL_I:
            out.append("\u0307")
    return "".join(out)


CAPITAL_SIGMA, SMALL_SIGMA, FINAL_SIGMA = 0x3A3, 0x3C3, 0x3C2
HANGUL, HANGUL_END = 0xAC00, 0xD7A4


def lower_in_context(text: str) -> str:
    """str.lower(), final sigmas included: for references and tests."""

    def cased(neighbours: str) -> bool:
        for c in neighbours:
            if not flags(c) & IGNORABLE:
                return bool(flags(c) & CASED)
        return False

    out = []
    for i, c in enumerate(text):
        if ord(c) == CAPITAL_SIGMA and cased(text[:i][::-1]) and not cased(text[i + 1 :]):
            out.append(chr(FINAL_SIGMA))
        else:
            out.append(lower(c))
    return "".join(out)


def combining(c: str) -> int:
    """The canonical combining class: for references and tests."""
    return int(COMBINING_LEAVES[int(COMBINING_STAGE[ord(c) >> 7]) * 128 + (ord(c) & 127)])


def decomposed(text: str) -> str:
    """unicodedata.normalize("NFD", text): for references and tests."""
    out: list[str] = []
    for c in text:
        n = ord(c)
        at = int(DECOMPOSITION_LEAVES[int(DECOMPOSITION_STAGE[n >> 7]) * 128 + (n & 127)])
        if HANGUL <= n < HANGUL_END:
            s = n - HANGUL
            out += [chr(0x1100 + s // 588), chr(0x1161 + s % 588 // 28), *([chr(0x11A7 + s % 28)] if s % 28 else [])]
        elif at:
            out += [chr(x) for x in DECOMPOSITION_PARTS[at + 1 : at + 1 + DECOMPOSITION_PARTS[at]]]
        else:
            out.append(c)
    start = 0
    while start < len(out):  # marks behind a letter go in the order of their classes
        end = start + 1
        while end < len(out) and combining(out[end]):
            end += 1
        first = start if combining(out[start]) else start + 1
        out[first:end] = sorted(out[first:end], key=combining)
        start = end
    return "".join(out)


def words(text: str) -> list[str]:
    """Runs of word characters of the lower-cased text: for references and tests."""
    out, run = [], ""
    for c in lower(text):
        if flags(c) & WORD:
            run += c
        elif run:
            out.append(run)
            run = ""
    return [*out, run] if run else out


def split(text: str) -> list[str]:
    """str.split(): for references and tests."""
    out, run = [], ""
    for c in text:
        if not flags(c) & SPACE:
            run += c
        elif run:
            out.append(run)
            run = ""
    return [*out, run] if run else out


def strip(text: str) -> str:
    """str.strip(): for references and tests."""
    kept = [i for i, c in enumerate(text) if not flags(c) & SPACE]
    return text[kept[0] : kept[-1] + 1] if kept else ""


def split_lines(text: str) -> list[str]:
    """str.splitlines(): for references and tests."""
    out, line, before = [], "", ""
    for c in text:
        if not flags(c) & LINE_BREAK:
            line += c
        elif not (c == "\n" and before == "\r"):
            out.append(line)
            line = ""
        before = c
    return [*out, line] if line else out


def word_segments(text: str) -> list[str]:
    """The text cut at the word boundaries of UAX #29: for references and tests.

    Two spaces and two regional indicators in a row are cut apart, which concerns no piece that begins with a letter or
    digit.
    """
    values = [int(BREAK_LEAVES[int(BREAK_STAGE[ord(c) >> 7]) * 128 + (ord(c) & 127)]) for c in text]
    kinds = [value & BREAK_KINDS for value in values]
    kept = [i for i, kind in enumerate(kinds) if kind not in (IGNORED, ZWJ)]
    joined = [False] * len(text)  # with what is before
    for i in range(1, len(text)):
        if NEWLINE not in kinds[i - 1 : i + 1]:  # WB3a, WB3b
            joined[i] = kinds[i] in (IGNORED, ZWJ) or (
                kinds[i - 1] == ZWJ and values[i] & PICTOGRAPHIC > 0
            )  # WB4, WB3c
    window = [0, 0, *(kinds[i] for i in kept), 0]
    for n, i in enumerate(kept):
        joined[i] |= _belongs(*window[n : n + 4])
    starts = [i for i in range(len(text)) if not joined[i]]
    return [text[a:b] for a, b in itertools.pairwise([*starts, len(text)])]


def _belongs(two_before: int, before: int, kind: int, after: int) -> bool:
    """WB5 to WB13b: whether there is no boundary before a character of this class."""
    letters, word = (LETTER, HEBREW), (LETTER, HEBREW, NUMBER, EXTEND_NUM_LET)
    mid_letter, mid_number = (MID_LETTER, MID_NUM_LET, SINGLE_QUOTE), (MID_NUM, MID_NUM_LET, SINGLE_QUOTE)
    return (
        (before in word and kind in word)
        or (before in letters and kind in mid_letter and after in letters)
        or (two_before in letters and before in mid_letter and kind in letters)
        or (before == HEBREW and kind == SINGLE_QUOTE)
        or (before == HEBREW and kind == DOUBLE_QUOTE and after == HEBREW)
        or (two_before == HEBREW and before == DOUBLE_QUOTE and kind == HEBREW)
        or (two_before == NUMBER and before in mid_number and kind == NUMBER)
        or (before == NUMBER and kind in mid_number and after == NUMBER)
        or (before in (KATAKANA, EXTEND_NUM_LET) and kind == KATAKANA)
        or (before == KATAKANA and kind == EXTEND_NUM_LET)
    )


@njit(inline="always")
def decode_at(data, i):
    """The code point whose UTF-8 begins at data[i], and its length in bytes. The bytes must be valid UTF-8."""
    b = np.int64(data[i])
    if b < 0x80:
        return b, 1
    if b < 0xE0:
        return ((b & 0x1F) << 6) | (np.int64(data[i + 1]) & 0x3F), 2
    if b < 0xF0:
        return ((b & 0x0F) << 12) | ((np.int64(data[i + 1]) & 0x3F) << 6) | (np.int64(data[i + 2]) & 0x3F), 3
    return (
        ((b & 0x07) << 18)
        | ((np.int64(data[i + 1]) & 0x3F) << 12)
        | ((np.int64(data[i + 2]) & 0x3F) << 6)
        | (np.int64(data[i + 3]) & 0x3F)
    ), 4


@njit(inline="always")
def table_value(stage, leaves, c):
    """The value of code point c in a two-stage table."""
    return leaves[np.int64(stage[c >> 7]) * 128 + (c & 127)]


@njit
def put_code_point(out, o, c):
    """UTF-8 of c at out[o]; the place behind it."""
    if c < 0x80:
        out[o] = c
        return o + 1
    if c < 0x800:
        out[o], out[o + 1] = 0xC0 | (c >> 6), 0x80 | (c & 0x3F)
        return o + 2
    if c < 0x10000:
        out[o], out[o + 1], out[o + 2] = 0xE0 | (c >> 12), 0x80 | ((c >> 6) & 0x3F), 0x80 | (c & 0x3F)
        return o + 3
    out[o], out[o + 1] = 0xF0 | (c >> 18), 0x80 | ((c >> 12) & 0x3F)
    out[o + 2], out[o + 3] = 0x80 | ((c >> 6) & 0x3F), 0x80 | (c & 0x3F)
    return o + 4
