"""Tokens: a text as runs of letters and digits, without case and accents, so that copies of it are found again.

What is between tokens does not count: white space of any kind, line breaks, punctuation, symbols.
Character by character:

- it is decomposed canonically and folded, so that composed and decomposed forms are equal, and capitals and small
  letters, even those that become several ("SS" and "ß", "FI" and the ligature "ﬁ");
- marks that have a combining class (accents, viramas), enclosing marks and format characters (soft hyphens, joiners)
  are ignored: "café" is the token "cafe";
- other marks, such as the vowel signs of Indic scripts, are letters;
- a letter of a script that puts no spaces between words (Han, kana, Thai, Lao, Khmer, Myanmar) is a token of its own.

The table is made by tools/make_token_table.py from Unicode 14.0.0. A token reaches in the text from its first letter to
the next character that is not part of it, so it includes the marks that follow.

    hash of a token with the UTF-8 bytes b, of which the first 64 count, as numbers w of eight bytes (zeros at the end):
        h = 0; for each w: h = (h ^ w) * P; h = h ^ h >> 32
    key of the n tokens with the hashes u[0] .. u[n - 1], as NgramTable has it:
        mix64(sum of u[i] * Q^(n - 1 - i) + n * R), and 1 where that is 0

All arithmetic is modulo 2^64; mix64 is gpu_pile.text.hashing.mix64.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from gpu_pile.text import unicode
from gpu_pile.text.blocks import BEYOND, BLOCK, DIGITS, LETTERS, block, runs_of
from gpu_pile.text.hashing import M64, mix64, mix64_int
from gpu_pile.text.jit import inlined, jit, leaf
from gpu_pile.text.shingles import P, Q, R
from gpu_pile.text.simd import bytes_of_64, count_trailing_zeros, item, load_u64, set_item
from gpu_pile.text.unicode import put_code_point
from gpu_pile.text.unicode_reference import HANGUL as FIRST_HANGUL
from gpu_pile.types import Array

SEPARATOR, IGNORED, LETTER, ALONE, MANY, HANGUL = range(6)
"""Kinds of characters. LETTER: becomes one letter, which continues a token; ALONE: one that is a token; MANY: becomes
several letters, listed in PARTS; HANGUL: a syllable, which becomes two or three letters by arithmetic."""
KIND_BITS = 3
"""An entry is kind | number << KIND_BITS; the number is what is to be added to the code point, or its place in PARTS,
where the number of letters is, and after it the letters."""
_KIND = (1 << KIND_BITS) - 1

with (files("gpu_pile.text") / "token_table.npz").open("rb") as _file:
    _table: Any = np.load(_file, allow_pickle=False)
    STAGE: Array = _table["stage"]
    LEAVES: Array = _table["leaves"]
    PARTS: Array = _table["parts"]

TABLES = (STAGE, LEAVES, PARTS)
"""What the compiled functions take."""

EXPANSION = 3
"""Bytes of a token are at most this many times those of the text: a Hangul syllable has three and becomes nine."""
HASHED_BYTES = 64
"""Bytes of a token that its hash is made of."""
WIDTH = 8
"""Tokens of an n-gram, where a text has as many."""

_LEADING, _VOWEL, _TRAILING, _N_TRAILING, _N_VOWELS_TRAILING = 0x1100, 0x1161, 0x11A7, 28, 21 * 28
"""Where the parts of Hangul syllables begin; how many trailing consonants there are, and how many ends of syllables."""


# in plain Python


def folded(c: str) -> tuple[int, str]:
    """Return the kind of a character and its letters."""
    n = ord(c)
    entry = int(LEAVES[int(STAGE[n >> 7]) * 128 + (n & 127)])
    kind, number = entry & _KIND, entry >> KIND_BITS
    if kind in (SEPARATOR, IGNORED):
        return kind, ""
    if kind == MANY:
        return kind, "".join(map(chr, PARTS[number + 1 : number + 1 + PARTS[number]]))
    if kind == HANGUL:
        s = n - FIRST_HANGUL
        end = chr(_TRAILING + s % _N_TRAILING) if s % _N_TRAILING else ""
        return kind, chr(_LEADING + s // _N_VOWELS_TRAILING) + chr(_VOWEL + s // _N_TRAILING % 21) + end
    return kind, chr(n + number)


class Token(NamedTuple):
    """A token, and the bytes start to end (exclusive) of the text that it stands for."""

    letters: str
    start: int
    end: int


def reference_tokens(document: bytes) -> list[Token]:
    """The tokens of a document: the definition above, in plain Python."""
    tokens: list[Token] = []
    at, inside = 0, ALONE  # the kind of the token that the next character may go on with
    for c in document.decode():
        kind, letters = folded(c)
        end = at + len(c.encode())
        if kind == SEPARATOR:
            inside = SEPARATOR
        elif kind == IGNORED:
            if tokens and inside != SEPARATOR:
                tokens[-1] = tokens[-1]._replace(end=end)
        elif tokens and inside not in (SEPARATOR, ALONE) and kind != ALONE:
            tokens[-1] = Token(tokens[-1].letters + letters, tokens[-1].start, end)
        else:
            tokens.append(Token(letters, at, end))
            inside = kind
        at = end
    return tokens


def reference_hash(letters: str) -> int:
    """The hash of a token."""
    h, data = 0, letters.encode()[:HASHED_BYTES]
    for i in range(0, len(data), 8):
        h = (h ^ int.from_bytes(data[i : i + 8], "little")) * P & M64
        h ^= h >> 32
    return h


def reference_keys(tokens: list[Token], width: int) -> list[int]:
    """The keys of all runs of so many tokens."""
    hashes = [reference_hash(t.letters) for t in tokens]
    keys = []
    for i in range(len(hashes) - width + 1):
        h = 0
        for u in hashes[i : i + width]:
            h = (h * Q + u) & M64
        keys.append(mix64_int((h + width * R) & M64) or 1)
    return keys


# compiled


@inlined
def _entry(tables, c):
    return np.int64(unicode.table_value(tables[0], tables[1], c))


@leaf
def put_folded(out, o, c, entry, parts):
    """Write the letters of a code point to out[o:]. Return where they end."""
    kind, number = entry & _KIND, entry >> KIND_BITS
    if kind == MANY:
        for k in range(np.int64(parts[number])):
            o = put_code_point(out, o, np.int64(parts[number + 1 + k]))
    elif kind == HANGUL:
        s = c - FIRST_HANGUL
        o = put_code_point(out, o, _LEADING + s // _N_VOWELS_TRAILING)
        o = put_code_point(out, o, _VOWEL + s // _N_TRAILING % 21)
        if s % _N_TRAILING:
            o = put_code_point(out, o, _TRAILING + s % _N_TRAILING)
    elif kind >= LETTER:
        o = put_code_point(out, o, c + number)
    return o


_WORD_BYTES, _SPACE = LETTERS + DIGITS, ord(" ")
_0, _1, _ALL = np.uint64(0), np.uint64(1), np.uint64(2**64 - 1)
_SMALL = np.uint64(0x2020202020202020)
"""Sets the bit that makes capitals of ASCII small letters, and that digits have."""


@leaf
def find_tokens(data, start, end, tables, edges):
    """Write the tokens of data[start:end] to `edges`, each as (first byte, 2 * end + 1 where it has characters beyond
    ASCII, else 2 * end). Return how many. data has BLOCK bytes or more; edges has room for end - start + 2 numbers."""
    n = 0
    first, wide, alone = -1, 0, False  # the token that is open, if there is one
    i = start
    while i < end:
        at, shift, valid = block(data, i, end)
        beyond = bytes_of_64(data, at, BEYOND) >> shift & valid
        if beyond == _0 and not alone:  # ASCII: tokens are runs of set bits
            word = bytes_of_64(data, at, _WORD_BYTES) >> shift & valid
            runs = runs_of(word, np.uint64(first >= 0))
            starts, ends = runs.starts, runs.ends
            while ends:
                if first < 0:
                    first = i + count_trailing_zeros(starts)
                    starts &= starts - _1
                set_item(edges, n, first)
                set_item(edges, n + 1, 2 * (i + count_trailing_zeros(ends)) + wide)
                n += 2
                first, wide = -1, 0
                ends &= ends - _1
            if starts:
                first = i + count_trailing_zeros(starts)
            i += BLOCK
            continue
        stop = min(i + BLOCK, end)
        while i < stop:
            c, size = unicode.decode_at(data, i)
            entry = _entry(tables, c)
            kind = entry & _KIND
            begins = kind == ALONE or (kind > IGNORED and (first < 0 or alone))
            if first >= 0 and (begins or kind == SEPARATOR):
                set_item(edges, n, first)
                set_item(edges, n + 1, 2 * i + wide)
                n += 2
                first, wide = -1, 0
                alone = False
            if begins:
                first, alone = i, kind == ALONE
            if size > 1 and first >= 0:
                wide = 1
            i += size
    if first >= 0:
        set_item(edges, n, first)
        set_item(edges, n + 1, 2 * end + wide)
        n += 2
    return n // 2


@leaf
def put_token(data, start, end, tables, out, o):
    """Write the letters of the token data[start:end] to out[o:]. Return where they end."""
    i = start
    while i < end:
        c, size = unicode.decode_at(data, i)
        o = put_folded(out, o, c, _entry(tables, c), tables[2])
        i += size
    return o


@inlined
def _mixed(h, w):
    h = (h ^ w) * _P
    return h ^ (h >> np.uint64(32))


@leaf
def _hash_wide(data, start, end, tables, scratch):
    """The hash of a token with characters beyond ASCII. scratch: uint8[2 * HASHED_BYTES]."""
    i, o = start, 0
    while i < end and o < HASHED_BYTES:
        c, size = unicode.decode_at(data, i)
        o = put_folded(scratch, o, c, _entry(tables, c), tables[2])
        i += size
    o = min(o, HASHED_BYTES)
    for k in range(o, o + 8):
        scratch[k] = 0
    h = _0
    for k in range(0, o, 8):
        h = _mixed(h, load_u64(scratch, k))
    return h


@leaf
def _hash_ascii(data, start, end):
    """The hash of a token of letters and digits of ASCII. data has BLOCK bytes or more."""
    h, size = _0, min(end - start, HASHED_BYTES)
    for k in range(0, size, 8):
        at, n = start + k, min(size - k, 8)
        if at + 8 <= len(data):
            w = load_u64(data, at) & (_ALL >> np.uint64(64 - 8 * n))
        else:
            w = load_u64(data, at + n - 8) >> np.uint64(64 - 8 * n)
        h = _mixed(h, w | (_SMALL & (_ALL >> np.uint64(64 - 8 * n))))
    return h


_P, _Q, _R = np.uint64(P), np.uint64(Q), np.uint64(R)


@leaf
def hash_tokens(data, edges, n, tables, scratch, sums):
    """Write the sums of the hashes of the first tokens to `sums`, uint64[n + 1], for keys. scratch: see _hash_wide."""
    total = _0
    sums[0] = total
    for t in range(n):
        start, mark = item(edges, 2 * t), item(edges, 2 * t + 1)
        if mark & 1:
            h = _hash_wide(data, start, mark >> 1, tables, scratch)
        else:
            h = _hash_ascii(data, start, mark >> 1)
        total = total * _Q + h
        set_item(sums, t + 1, total)


@inlined
def power_of(width):
    """Q^width, which ngram_key takes."""
    power = _1
    for _ in range(width):
        power *= _Q
    return power


@inlined
def ngram_key(sums, i, width, power):
    """The key of the tokens i to i + width (exclusive)."""
    h = mix64(item(sums, i + width) - item(sums, i) * power + np.uint64(width) * _R)
    return h if h else _1


class Tokens(NamedTuple):
    """The tokens of several documents.

    letters: uint8, of all tokens, with a space after each
    bounds:  int64[n + 1], token t and its space are letters[bounds[t]:bounds[t + 1]]
    starts, ends: int64[n], where its bytes are in the documents' buffer
    first:   int64[n_docs + 1], document d has the tokens first[d] .. first[d + 1]
    sums:    uint64[n + 1], for keys of n-grams of tokens: one chain over all documents
    """

    letters: Array
    bounds: Array
    starts: Array
    ends: Array
    first: Array
    sums: Array


@jit
def split_tokens(data, offsets, tables):
    """Return the Tokens of documents, as a tuple. data has BLOCK bytes or more."""
    n_docs = len(offsets) - 1
    size = offsets[n_docs] - offsets[0]
    edges = np.empty(size + 2 * n_docs + 2, np.int64)
    first = np.zeros(n_docs + 1, np.int64)
    n = 0
    for d in range(n_docs):
        n += find_tokens(data, offsets[d], offsets[d + 1], tables, edges[2 * n :])
        first[d + 1] = n
    room = 16
    for t in range(n):
        length = (edges[2 * t + 1] >> 1) - edges[2 * t] + 1
        room += length * EXPANSION if edges[2 * t + 1] & 1 else length
    letters, bounds = np.empty(room, np.uint8), np.zeros(n + 1, np.int64)
    starts, ends = np.empty(n, np.int64), np.empty(n, np.int64)
    o = 0
    for t in range(n):
        starts[t], ends[t] = edges[2 * t], edges[2 * t + 1] >> 1
        o = put_token(data, starts[t], ends[t], tables, letters, o) + 1
        letters[o - 1] = _SPACE
        bounds[t + 1] = o
    sums = np.empty(n + 1, np.uint64)
    hash_tokens(data, edges, n, tables, np.empty(2 * HASHED_BYTES, np.uint8), sums)
    return letters[:o], bounds, starts, ends, first, sums


@jit
def ngram_keys(first, sums, windows, width):
    """Return the keys of all n-grams of texts, and the text and first token of each.

    Text t has windows[t + 1] - windows[t] n-grams, of width[t] tokens. first, sums: of Tokens.
    """
    n = windows[-1]
    keys, texts, at = np.empty(n, np.uint64), np.empty(n, np.int64), np.empty(n, np.int64)
    for t in range(len(windows) - 1):
        power = power_of(width[t])
        for k in range(windows[t + 1] - windows[t]):
            keys[windows[t] + k] = ngram_key(sums, first[t] + k, width[t], power)
            texts[windows[t] + k], at[windows[t] + k] = t, k
    return keys, texts, at
