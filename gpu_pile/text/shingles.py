"""Shingles: the overlapping pieces of a document that similarity is counted in, as 64-bit hashes.

Kinds, each with a width n:

    auto   n words in a row, of any script: as word, but a word keeps its combining marks, and in Chinese, Japanese,
           Thai, Lao, Khmer, Burmese and Tibetan, which put no spaces between words, each character with its marks is a
           word: gpu_pile.text.unicode_reference.words_of_any_script. Without such characters and marks the same as word
    word   n words in a row; words are runs of \\w of the text, lower-cased code point by code point (numbers stay as
           they are): gpu_pile.text.unicode_reference.words
    byte   n bytes in a row
    char   n code points in a row

A document with 1 to n - 1 units has one shingle, of all of them; a document without units has none. All arithmetic is
modulo 2^64; mix is gpu_pile.text.hashing.mix64; U(x) stands for the hash of one unit:

    auto, word:  h = 0; for each byte c of the word's lower-cased UTF-8: h = h * P + c + 1;  U = h ^ (h >> 29)
    byte:        U = byte + 1
    char:        U = code point + 1

    shingle of units u[0] .. u[m - 1]:  mix(sum over i of U(u[i]) * Q^(m - 1 - i)  +  m * R)

A shingle depends on its own units only. A long document can be cut into segments at any unit, each segment taking
n - 1 units of the next with it: the shingles of the segments together are those of the document.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.hashing import M64, mix64, mix64_int
from gpu_pile.text.jit import inlined, leaf
from gpu_pile.text.lower_words import ANY_SCRIPT, RUNS, TABLES, LowerWords, find_lower_words, room_for_words
from gpu_pile.text.simd import item, load_u64, polynomial, powers_of, set_item
from gpu_pile.types import Array

KINDS = ("auto", "word", "byte", "char")

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

SCRIPTS = (
    "राम की गाय",
    "राम का गाया",
    "கி மு ரா",
    "كِتَاب كُتُب",
    "中文没有空格mixed with words，タイトルー2025年版abc字",
    "ﾊﾟｿｺﾝ パソコン か\u3099 が 一\U000e0100二",
    "ภาษาไทยไม่มีช่องว่าง ๑๒๓",
    "ខ្មែរ ລາວ မြန်မာဘာသာ བོད་ཡིག་",
    "\u0301\u0301",
    " \u0301a\u0301\u0302b漢\u0301\u0302字 \u0301字",
    "İ\u0301İx漢İ",
    "각 가\u11a8 \u1100\u1161\u11a8",
    "👩\u200d👩\u200d👧 ❤\ufe0f 1\ufe0f\u20e3 می\u200cخواهم",
    "\U00020000\U00020001𠮷 \U0001b000",
    "字" + "\u0301" * 150 + "a" + "\u0301" * 150 + "字",
    "漢a" * 40,
)
"""Documents of many scripts and marks, for the operations that take texts apart."""


def reference_shingles(document: bytes, kind: str, width: int) -> list[int]:
    """The shingle hashes of one document, in order: the definition above, in plain Python."""
    if kind in ("auto", "word"):
        units = []
        words = unicode_reference.words if kind == "word" else unicode_reference.words_of_any_script
        for word in words(document.decode()):
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


_P, _Q, _R, _5R = np.uint64(P), np.uint64(Q), np.uint64(R), np.uint64(5 * R % (1 << 64))
_Q2, _Q3, _Q4 = (np.uint64(pow(Q, n, 1 << 64)) for n in range(2, 5))
_POWERS, _P8 = powers_of(P), np.uint64(pow(P, 8, 1 << 64))
_1 = np.uint64(1)
_ONES = np.uint64(0x0101010101010101)


@inlined
def _last_bytes(text, start, end):
    """Return the last eight bytes of text[start:end], each + 1, and 0 for bytes before its start."""
    outside = np.uint64(max(64 - 8 * (end - start), 0))
    return ((load_u64(text, end - 8) >> outside) + (_ONES >> outside)) << outside


@leaf
def _hash_words(n, words, hashes, spare):
    """Write the hashes of the first n words. words: LowerWords. spare: scratch, two uint64 per word.

    Words are taken eight bytes at a time from their ends, those of all words before the next eight: so nothing waits
    and nothing branches, and few words have more than eight.
    """
    text, edges = words
    n_long = 0
    for w in range(n):
        start, end = item(edges, 2 * w), item(edges, 2 * w + 1)
        set_item(hashes, w, _last_bytes(text, start, end))
        set_item(spare, n_long, np.uint64(w))
        n_long += end - start > 8
    for w in range(n):
        set_item(hashes, w, polynomial(item(hashes, w), _POWERS))
    done, power = 8, _P8
    while n_long:
        for i in range(n_long):
            w = np.int64(item(spare, i))
            set_item(spare, n + i, _last_bytes(text, item(edges, 2 * w), item(edges, 2 * w + 1) - done))
        for i in range(n_long):
            set_item(spare, n + i, polynomial(item(spare, n + i), _POWERS) * power)
        done += 8
        power *= _P8
        left = 0
        for i in range(n_long):
            w = np.int64(item(spare, i))
            set_item(hashes, w, item(hashes, w) + item(spare, n + i))
            set_item(spare, left, np.uint64(w))
            left += item(edges, 2 * w + 1) - item(edges, 2 * w) > done
        n_long = left
    for w in range(n):
        h = item(hashes, w)
        set_item(hashes, w, h ^ (h >> np.uint64(29)))


_CHAR = KINDS.index("char")
_WORD_CLASSES = {"auto": ANY_SCRIPT, "word": RUNS}


def word_classes(kind: str) -> int:
    """Return the classes of the characters that words are made of; 0 where words are not the units."""
    return _WORD_CLASSES.get(kind, 0)


class Shingling(NamedTuple):
    """How to cut a document, and the buffers for it.

    kind:     its place in KINDS
    classes:  of the characters that words are made of, where they are the units: ANY_SCRIPT or RUNS
    units:    uint64, hashes of the units
    shingles: uint64, hashes of the shingles
    words:    the words, if they are the units
    tables:   gpu_pile.text.lower_words.TABLES
    """

    kind: int
    classes: int
    width: int
    units: Array
    shingles: Array
    words: LowerWords
    tables: tuple[Array, ...]


def shingling_of(kind: str, width: int, n_bytes: int = 0) -> Shingling:
    """Return what the compiled functions take a document of up to n_bytes apart with.

    Raises:
        ValueError: unknown kind, or a width below 1.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of shingle {kind!r}; there are: {', '.join(KINDS)}")
    if width < 1:
        raise ValueError(f"a shingle needs a width of at least 1, got {width}")
    units, shingles = np.empty(n_bytes + 1, np.uint64), np.empty(n_bytes + 1, np.uint64)
    words = room_for_words(n_bytes)
    return Shingling(KINDS.index(kind), word_classes(kind), width, units, shingles, words, TABLES)


@leaf
def _hash_units(shingling, data, start, end):
    """Write the hashes of the units of data[start:end] to shingling.units. Return how many."""
    out = shingling.units
    if shingling.classes:
        n = find_lower_words(data, start, end, shingling.tables, shingling.words, shingling.classes)
        _hash_words(n, shingling.words, out, shingling.shingles)
        return n
    n = 0
    i = start
    while i < end:
        c, length = np.int64(item(data, i)), 1
        if shingling.kind == _CHAR:
            c, length = unicode.decode_at(data, i)
        set_item(out, n, np.uint64(c) + _1)
        n += 1
        i += length
    return n


@leaf
def _five(units, count, out):
    """Write the shingles of width 5: independent products, which the compiler turns into vectors."""
    for i in range(count):
        h = item(units, i) * _Q4 + item(units, i + 1) * _Q3 + item(units, i + 2) * _Q2 + item(units, i + 3) * _Q
        set_item(out, i, mix64(h + item(units, i + 4) + _5R))


@leaf
def shingle_document(shingling, data, start, end):
    """Write the hashes of the shingles of data[start:end], in order, to shingling.shingles. Return how many.

    data has BLOCK bytes or more.
    """
    n = _hash_units(shingling, data, start, end)
    if n == 0:
        return 0
    units, out, width = shingling.units, shingling.shingles, shingling.width
    m = min(n, width)
    count = n - m + 1
    if m == 5:
        _five(units, count, out)
        return count
    top = _1  # Q^(m - 1): what the unit that leaves was multiplied with
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
