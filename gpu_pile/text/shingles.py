"""Shingles: the overlapping pieces of a document that similarity is counted in, as 64-bit hashes.

Kinds, each with a width n:

    word   n words in a row; words are runs of \\w of the text, lower-cased code point by code point (numbers stay as
           they are): gpu_pile.text.unicode_reference.words
    byte   n bytes in a row
    char   n code points in a row

A document with 1 to n - 1 units has one shingle, of all of them; a document without units has none. All arithmetic is
modulo 2^64; mix is gpu_pile.text.hashing.mix64; U(x) stands for the hash of one unit:

    word:  h = 0; for each byte c of the word's lower-cased UTF-8: h = h * P + c + 1;  U = h ^ (h >> 29)
    byte:  U = byte + 1
    char:  U = code point + 1

    shingle of units u[0] .. u[m - 1]:  mix(sum over i of U(u[i]) * Q^(m - 1 - i)  +  m * R)

A shingle depends on its own units only. A long document can be cut into segments at any unit, each segment taking
n - 1 units of the next with it: the shingles of the segments together are those of the document.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.hashing import M64, mix64, mix64_int
from gpu_pile.text.jit import jit
from gpu_pile.types import Array

KINDS = ("word", "byte", "char")

P = 0x9E3779B97F4A7C15
Q = 0xD1342543DE82EF95
R = 0xDA942042E4DD58B5

DOCUMENTS = (
    "a",
    "one",
    "one two three four",
    "one two three four five",
    "one two three four five six",
    "One TWO three, four; five -- six!",
    "...",
    " \n\t",
    "a b c d e a b c d e a b c d e",
    "x" * 300,
    "Ⱥ Ⱦ İ İx xİ Kelvin \u212a Ångström \u212b",
    "e\u0301 é ñ n\u0303",
    "漢字 かな 한국어 العربية हिन्दी ไทย",
    "😀 😀😀 a😀b",
    "x\x00y z",
    "under_score 3.14 1e5 ²³ Ⅻ",
    "ΣΊΣΥΦΟΣ ΟΔΟΣ",
    "\ufeffbom \u200bzero\u200dwidth",
    "word " * 40,
)
"""Documents that break naive versions of shingling, for the operations that use it."""


def reference_shingles(document: bytes, kind: str, width: int) -> list[int]:
    """The shingle hashes of one document, in order: the definition above, in plain Python."""
    if kind == "word":
        units = []
        for word in unicode_reference.words(document.decode()):
            h = 0
            for c in word.encode():
                h = (h * P + c + 1) & M64
            units.append(h ^ h >> 29)
    elif kind == "byte":
        units = [c + 1 for c in document]
    elif kind == "char":
        units = [ord(c) + 1 for c in document.decode()]
    else:
        raise ValueError(f"unknown kind of shingle {kind!r}; there are: {', '.join(KINDS)}")
    if not units:
        return []
    n = min(width, len(units))
    shingles = []
    for start in range(len(units) - n + 1):
        h = 0
        for u in units[start : start + n]:
            h = (h * Q + u) & M64
        shingles.append(mix64_int((h + n * R) & M64))
    return shingles


# A table of 256 entries gives for each byte of ASCII its folded byte + 1 where it is a word character, else 0, and for
# bytes from 0x80 on the mark below.
_BEYOND = 1 << 12
FOLD = np.array(
    [
        (ord(chr(c).lower()) + 1 if unicode.ASCII_FLAGS[c] & unicode.WORD else 0) if c < 128 else _BEYOND
        for c in range(256)
    ],
    np.uint16,
)

TABLES = (FOLD, unicode.FLAG_STAGE, unicode.FLAG_LEAVES, unicode.LOWER_STAGE, unicode.LOWER_LEAVES)
"""Passed to the compiled functions, so that they are not frozen into them."""

_P, _Q, _R = np.uint64(P), np.uint64(Q), np.uint64(R)
_ONE = np.uint64(1)
_WORD = unicode.WORD


@jit
def _words(data, start, end, tables, out):
    """Hash the words of data[start:end] into out; how many."""
    fold, flag_stage, flag_leaves, lower_stage, lower_leaves = tables
    n = 0
    h = np.uint64(0)
    inside = np.int64(0)  # 1 where the byte before was part of a word
    i = start
    while i < end:
        f = fold[data[i]]
        if f < _BEYOND:
            is_word = np.int64(f != 0)
            out[n] = h ^ (h >> np.uint64(29))  # kept if the word ends here
            n += inside & (is_word ^ 1)
            h = h * _P + np.uint64(f) if is_word else np.uint64(0)
            inside = is_word
            i += 1
            continue
        c, length = unicode.decode_at(data, i)
        i += length
        if unicode.table_value(flag_stage, flag_leaves, c) & _WORD:
            last = c == 0x130  # its lower case is "i" and a mark that is not a word character
            c += unicode.table_value(lower_stage, lower_leaves, c)
            if c < 0x80:
                h = h * _P + np.uint64(c) + _ONE
            elif c < 0x800:
                h = h * _P + np.uint64(0xC0 | (c >> 6)) + _ONE
                h = h * _P + np.uint64(0x80 | (c & 0x3F)) + _ONE
            elif c < 0x10000:
                h = h * _P + np.uint64(0xE0 | (c >> 12)) + _ONE
                h = h * _P + np.uint64(0x80 | ((c >> 6) & 0x3F)) + _ONE
                h = h * _P + np.uint64(0x80 | (c & 0x3F)) + _ONE
            else:
                h = h * _P + np.uint64(0xF0 | (c >> 18)) + _ONE
                h = h * _P + np.uint64(0x80 | ((c >> 12) & 0x3F)) + _ONE
                h = h * _P + np.uint64(0x80 | ((c >> 6) & 0x3F)) + _ONE
                h = h * _P + np.uint64(0x80 | (c & 0x3F)) + _ONE
            inside = 1
            if not last:
                continue
        if inside:
            out[n] = h ^ (h >> np.uint64(29))
            n += 1
            h = np.uint64(0)
            inside = 0
    if inside:
        out[n] = h ^ (h >> np.uint64(29))
        n += 1
    return n


@jit
def _units(kind, data, start, end, tables, out):
    """Unit hashes of data[start:end] into out; how many. kind: 0 word, 1 byte, 2 char."""
    if kind == 0:
        return _words(data, start, end, tables, out)
    if kind == 1:
        for i in range(end - start):
            out[i] = np.uint64(data[start + i]) + _ONE
        return end - start
    n = 0
    i = start
    while i < end:
        c, length = unicode.decode_at(data, i)
        out[n] = np.uint64(c) + _ONE
        n += 1
        i += length
    return n


@jit
def _five(u0, u1, u2, u3, u4, out):
    """Shingles of width 5 at once: independent multiplications that the compiler turns into vectors."""
    q2 = _Q * _Q
    q3 = q2 * _Q
    q4 = q3 * _Q
    m = np.uint64(5) * _R
    for i in range(len(out)):
        out[i] = mix64(u0[i] * q4 + u1[i] * q3 + u2[i] * q2 + u3[i] * _Q + u4[i] + m)


class Shingling(NamedTuple):
    """How to cut a document: a kind's place in KINDS, the width, TABLES."""

    kind: int
    width: int
    tables: tuple[Array, ...]


@jit
def shingle_document(shingling, data, start, end, units, out):
    """Shingle hashes of the document data[start:end], in order, into out; how many.

    units and out: uint64 scratch of at least end - start + 1 entries.
    """
    kind, width, tables = shingling
    n = _units(kind, data, start, end, tables, units)
    if n == 0:
        return 0
    m = min(n, width)
    count = n - m + 1
    if m == 5:
        _five(units[0:count], units[1 : count + 1], units[2 : count + 2], units[3 : count + 3], units[4:n], out[:count])
        return count
    top = _ONE  # Q^(m - 1): what the unit that leaves was multiplied with
    for _ in range(m - 1):
        top *= _Q
    h = np.uint64(0)
    for i in range(m - 1):
        h = h * _Q + units[i]
    add = np.uint64(m) * _R
    for i in range(count):
        h = h * _Q + units[i + m - 1]
        out[i] = mix64(h + add)
        h -= units[i] * top
    return count


@jit
def longest(offsets):
    """Bytes of the longest document."""
    most = 0
    for d in range(len(offsets) - 1):
        most = max(most, offsets[d + 1] - offsets[d])
    return most


def shingling_of(kind: str, width: int) -> Shingling:
    """A kind and a width for the compiled functions.

    Raises:
        ValueError: unknown kind, or a width below 1.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of shingle {kind!r}; there are: {', '.join(KINDS)}")
    if width < 1:
        raise ValueError(f"a shingle needs a width of at least 1, got {width}")
    return Shingling(KINDS.index(kind), width, TABLES)
