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
    MARK        a combining mark: general category M
    UNSPACED    WORD, of a script that puts no spaces between words: Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar
                or Tibetan, or of no script of its own but used with Han or kana (Script_Extensions): ー, 〆, ㈠

Lower case is that of each code point on its own: lower(s) = "".join(c.lower() for c in s). It differs from s.lower()
in one thing: a capital sigma at a word's end becomes the ordinary small sigma. U+0130 alone becomes two code points,
"i" and U+0307, which is not a word character.

Canonical decompositions (of NFD) and combining classes are in the table too; `decomposed` puts them together.

A table of its own has the classes of word boundaries (UAX #29), as uniseg 0.10.1 has them from Unicode 16.0.0; a code
point that Unicode 14.0.0 lacks is neither a letter nor a digit there. BREAK_KINDS is the mask of the class, beside it
PICTOGRAPHIC (Extended_Pictographic) and LETTER_OR_DIGIT (c.isalnum()). `word_segments` applies the rules.

Code points are looked up in two stages, so that the tables stay in the first-level cache:
value(c) = leaves[stage[c >> 7] * 128 + (c & 127)].
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import numpy as np

from gpu_pile.text.jit import inlined, jit

ALPHA, NUMERIC, WORD, SPACE, LINE_BREAK, UPPER, PUNCTUATION, TERMINAL, CASED, IGNORABLE, DECIMAL, UTS18_WORD = (
    1 << i for i in range(12)
)
DIGIT, MARK, UNSPACED = (1 << i for i in range(12, 15))

DOTTED_CAPITAL_I = 0x130

BEYOND_ASCII = 0x80
"""The first code point that is not ASCII; also, bytes from here on belong to such characters."""

CASE_BIT = 0x20
"""The bit that makes a capital letter of ASCII a small one."""

BREAK_KINDS, PICTOGRAPHIC, LETTER_OR_DIGIT = 15, 16, 32
(_, NEWLINE, IGNORED, ZWJ, KATAKANA, SINGLE_QUOTE, DOUBLE_QUOTE, MID_NUM_LET, MID_LETTER, MID_NUM, _, _) = range(12)
LETTER, HEBREW, NUMBER, EXTEND_NUM_LET = range(12, 16)
"""Classes of word boundaries. NEWLINE: CR, LF and Newline; IGNORED: Extend and Format; 0: any other, regional
indicators and spaces among them. Of the last four, from LETTER on, any two belong together."""

with (files("gpu_pile.text") / "unicode_table.npz").open("rb") as _file:
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


@inlined
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


@inlined
def ascii_lower(b):
    """A byte, with the capitals A to Z as small letters."""
    return b | CASE_BIT if ord("A") <= b <= ord("Z") else np.int64(b)


@inlined
def sequence_length(lead):
    """Bytes of the UTF-8 sequence that begins with this byte."""
    return 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4


@jit
def character_start(data, i):
    """Where the character begins that data[i] belongs to."""
    while data[i] & 0xC0 == 0x80:
        i -= 1
    return i


@inlined
def table_value(stage, leaves, c):
    """The value of code point c in a two-stage table."""
    return leaves[np.int64(stage[c >> 7]) * 128 + (c & 127)]


@jit
def put_code_point(out, o, c):
    """Write the UTF-8 of c at out[o]. Return the position after it."""
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
