"""Exact counting of the words and n-grams of a document that repeat. For numba.

Equal pieces are found again in a hash table (gpu_pile.text.hash_table). The key of a word of up to seven bytes is the
word, that of an n-gram is (number of the (n - 1)-gram at its beginning, number of its last word): these are equal only
for equal pieces. Other keys are hashes, and pieces of equal hash are compared. Every step is linear in the text.
Scratch memory of a document is at most 57 bytes per word and 32 to 96 bytes per distinct piece.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from gpu_pile.text.hash_table import (
    P,
    Q,
    clear,
    grown,
    hash_bytes,
    home,
    is_filled,
    is_full,
    item_at,
    mask_of,
    put,
    same_item,
)
from gpu_pile.text.jit import inlined, jit, leaf
from gpu_pile.text.simd import item, load_u64, polynomial, powers_of, prefetch, set_item
from gpu_pile.types import Array

DOCUMENTS = (
    " ",
    "\n",
    "\n\n",
    "\n\n\n\n\n",
    "\na",
    "a\n",
    "\na\n",
    "a\na\n\na\n\n\na\n",
    " \n\t\n \n\n\n\n \n",
    "\u3000a\n\n\u2028b\n\n\na\x1c\n\n",
    "x\r\n\r\nx\r\n\r\n\r\nx",
    "hello world",
    "one two one two three one two three four",
    "a b c d e a b c d e a b c d e a b c d e",
    "ab c d e f a bc d e f abc d e f g",  # equal when joined, not word by word
    "a b c d ef g a b c de f g",
    "b a b a b a",
    "a b b a a b b a",  # ties: the first seen
    "é è é è ü 漢字 é è é è ü 漢字 😀",
    "word " * 70,
    "the same line\nanother\nthe same line\n the same line\nthe same line",
    "p q\n\np q\n\n\np q\n\n\n\np q",
    " ".join(f"w{i % 37}" for i in range(400)),
    " ".join(f"x{i}" for i in range(300)) + " " + " ".join(f"x{i}" for i in range(100, 130)),
    "x" * 300 + " " + "x" * 300 + "\n" + "y" * 2000,
    "e\u0301 é",
    "a\x00b a\x00b",
)
"""Documents that break naive versions of counting what is repeated, for the operations that do."""

HASHED = np.uint64(1 << 63)
"""Set in the key of a word that is a hash of it."""

_AHEAD = 8
"""Prefetch distance, in words."""

_FAR = 10_000
"""Documents of more words than this have tables that exceed a core's own caches."""


_B = np.uint64(0x9FB21C651E98DF25)
_BYTE = np.uint64(0xFF)
_B_POWERS = powers_of(int(_B))


class Grams(NamedTuple):
    """What the n-grams of a document are counted in, used again for the next document; one item per word.

    keys:   uint64, the keys of the words, and later those of joined words
    ids:    int32, the first position of the word that equals each
    first:  int32, right at `places`: the first position of the n-gram that equals the one that begins at each word
    counts: int32, how often a word or n-gram occurs, at its first position
    places: int32, where n-grams begin that occur more than once, ascending; functions say how many of them
    marks:  uint8, scratch
    once, twice: uint64, single bits by hash: met, and met again
    """

    keys: Array
    ids: Array
    first: Array
    counts: Array
    places: Array
    marks: Array
    once: Array
    twice: Array


@jit
def new_grams(words):
    """Return Grams with room for this many words."""
    bits = 1
    while 64 * bits < 16 * words:  # 16 or more per word
        bits *= 2
    once, twice = np.empty(bits, np.uint64), np.empty(bits, np.uint64)
    ids, first, counts = np.empty(words, np.int32), np.empty(words, np.int32), np.empty(words, np.int32)
    places, marks = np.empty(words, np.int32), np.empty(words, np.uint8)
    return Grams(np.empty(words, np.uint64), ids, first, counts, places, marks, once, twice)


@leaf
def word_keys(words, packed, bounds, keys):
    """Write the key of each word to keys: the word itself if it has less than eight bytes, else a hash of it.

    packed, bounds: of gpu_pile.text.split.Words; packed is readable 8 bytes beyond its last word.
    """
    for i in range(words):
        start = item(bounds, i)
        n = item(bounds, i + 1) - start
        if n <= 16:
            shift = np.uint64(max(64 - 8 * n, 0))
            first = (load_u64(packed, start) << shift) >> shift
            hashed = (first * P) ^ load_u64(packed, start + max(n - 8, 0))
            hashed = (hashed ^ (hashed >> np.uint64(32))) * Q + np.uint64(n)
            key = first | (np.uint64(n) << np.uint64(56)) if n < 8 else hashed | HASHED
        else:
            key = hash_bytes(packed, start, start + n) | HASHED
        set_item(keys, i, key)


@jit
def number_words(words, text, grams, table):
    """Fill grams.keys, ids and counts for the words of text, a gpu_pile.text.split.Words.

    Returns (distinct words, the table).
    """
    word_keys(words, text.packed, text.bounds, grams.keys)
    clear(table, words)
    i = distinct = 0
    while True:
        i, new = _number_words_from(i, words, text, grams, table)
        distinct += new
        if i == words:
            return distinct, table
        table = grown(table)


@leaf
def _number_words_from(i, words, text, grams, table):
    """Number the words from i on. Return (where the table was full, or how many words there are; words that are new)"""
    keys, ids, counts = grams.keys, grams.ids, grams.counts
    mask = mask_of(table)
    distinct = 0
    while i < words:
        if i + _AHEAD < words:
            prefetch(table.slots, 2 * home(item(keys, i + _AHEAD), mask))
        key = item(keys, i)
        s = home(key, mask)
        while is_filled(table, s):
            if item(table.slots, 2 * s) == key:
                first = item_at(table, s)
                if key < HASHED or same_item(text.packed, text.bounds, 1, 1, first, i):
                    set_item(ids, i, np.int32(first))
                    set_item(counts, first, np.int32(item(counts, first) + 1))
                    break
            s = (s + 1) & mask
        else:
            set_item(ids, i, np.int32(i))
            set_item(counts, i, np.int32(1))
            put(table, s, key, i)
            distinct += 1
            if is_full(table):
                return i + 1, distinct
        i += 1
    return words, distinct


@inlined
def _clear_bits(once, twice, items):
    """Clear bits for this many items. Return how many bits: 16 per item if there are so many."""
    bits = 64
    while bits < 16 * items and bits < 64 * len(once):
        bits *= 2
    once[: bits >> 6] = 0
    twice[: bits >> 6] = 0
    return bits


@inlined
def _set_bit(once, twice, s):
    """Note that bit s is met, and whether it had been met before."""
    bit = np.uint64(1) << np.uint64(s & 63)
    before = item(once, s >> 6)
    set_item(twice, s >> 6, item(twice, s >> 6) | (before & bit))
    set_item(once, s >> 6, before | bit)


@inlined
def _fetch_bit(once, twice, s):
    prefetch(once, s >> 6)
    prefetch(twice, s >> 6)


@inlined
def _was_set_twice(twice, s):
    return (item(twice, s >> 6) >> np.uint64(s & 63)) & np.uint64(1) != 0


@leaf
def pair_places(words, grams):
    """Write where pairs of words begin that may occur more than once to places, and ids to first. Return how many.

    Pairs are looked up as single bits by their hashes: some of the places may have a pair that occurs once.
    """
    ids, places, once, twice = grams.ids, grams.places, grams.once, grams.twice
    bits = _clear_bits(once, twice, words)
    for i in range(words - 1):
        if words > _FAR and i + _AHEAD < words - 1:
            _fetch_bit(once, twice, _pair_slot(ids, i + _AHEAD, bits))
        _set_bit(once, twice, _pair_slot(ids, i, bits))
    n = 0
    for i in range(words):
        set_item(grams.first, i, item(ids, i))
    for i in range(words - 1):
        set_item(places, n, np.int32(i))
        n += _was_set_twice(twice, _pair_slot(ids, i, bits))
    return n


@inlined
def _gram_key(first, word):
    """The key of the n-gram whose (n - 1)-gram and last word were first seen there."""
    return (np.uint64(first) << np.uint64(32)) | np.uint64(word)


@inlined
def _pair_slot(ids, i, bits):
    return home(_gram_key(item(ids, i), item(ids, i + 1)), bits - 1)


class TopGram(NamedTuple):
    """The most frequent n-gram of a document, of equally frequent ones the first seen.

    first:   its first position; 0 if all n-grams are different
    count:   how often it occurs; 1 if all n-grams are different
    longest: characters of the longest of the equally frequent n-grams; 0 if all are different
    """

    first: Any
    count: Any
    longest: Any


@jit
def repeated_grams(n, m, chars, grams, table):
    """Find the n-grams that occur more than once, and the most frequent one.

    An n-gram that occurs twice is made of (n - 1)-grams that do, so only these are looked at.

    Args:
        m: the first m of grams.places are where an (n - 1)-gram begins that occurs more than once; for n = 2 those of
            pair_places. grams.first is right for n - 1 there. Then both are made so for n.
        chars: the characters before each word.

    Returns:
        (how many places there are for n; the TopGram; the table)
    """
    clear(table, m)
    j = 0
    top = TopGram(np.int64(0), np.int64(1), np.int64(0))
    while True:
        j, top = _repeated_from(j, n, m, chars, grams, table, top)
        if j == m:
            return _keep_marked(m, grams.places, grams.marks), top, table
        table = grown(table)


@leaf
def _repeated_from(j, n, m, chars, grams, table, top):
    """Look at the places from j on. Return (where the table was full, or m; the top n-gram so far)."""
    ids, places, firsts, counts, marks = grams.ids, grams.places, grams.first, grams.counts, grams.marks
    mask = mask_of(table)
    best, most, longest = top
    while j < m:
        if m > _FAR and j + _AHEAD < m:
            _fetch_gram(n, item(places, j + _AHEAD), grams, table, mask)
        i = np.int64(item(places, j))
        j += 1
        set_item(marks, i, np.uint8(0))
        if n > 2 and (j == m or item(places, j) != i + 1):
            continue
        first = np.int64(item(firsts, i))
        if first == i:  # the (n - 1)-gram that begins here is new, so the n-gram is too
            set_item(counts, i, np.int32(1))
            continue
        word = item(ids, i + n - 1)
        if item(ids, first + n - 1) != word:  # another word follows than where the (n - 1)-gram was first seen
            key = _gram_key(first, word)
            s = home(key, mask)
            while is_filled(table, s):
                if item(table.slots, 2 * s) == key:
                    first = item_at(table, s)
                    break
                s = (s + 1) & mask
            else:
                set_item(firsts, i, np.int32(i))
                set_item(counts, i, np.int32(1))
                put(table, s, key, i)
                if is_full(table):
                    break
                continue
            set_item(firsts, i, np.int32(first))
        set_item(marks, first, np.uint8(1))
        set_item(marks, i, np.uint8(1))
        count = item(counts, first) + np.int32(1)
        set_item(counts, first, np.int32(count))
        length = item(chars, i + n) - item(chars, i)
        if count > most:
            best, most, longest = first, np.int64(count), length
        elif count == most:
            best, longest = min(best, first), max(longest, length)
    return j, TopGram(best, most, longest)


@inlined
def _fetch_gram(n, i, grams, table, mask):
    first = np.int64(item(grams.first, i))
    prefetch(grams.ids, first + n - 1)
    prefetch(grams.counts, first)
    prefetch(grams.marks, first)
    prefetch(table.slots, 2 * home(_gram_key(first, item(grams.ids, i + n - 1)), mask))


@leaf
def _keep_marked(m, places, marks):
    """Keep the marked ones of the first m places. Return how many."""
    n = 0
    for j in range(m):
        i = item(places, j)
        set_item(places, n, i)
        n += item(marks, i)
    return n


@leaf
def hash_prefixes(words, packed, bounds, powers, hashes):
    """Write the hash of all bytes before word i to hashes[i].

    It is a polynomial of the bytes, so that the hash of joined words follows without reading them again (Karp and Rabin
    1987). packed is readable 8 bytes beyond its last word. powers: of hash_powers.
    """
    h = np.uint64(0)
    hashes[0] = h
    for i in range(words):
        start, end = item(bounds, i), item(bounds, i + 1)
        first = ((end - start - 1) & 7) + 1
        h = h * item(powers, first) + polynomial(load_u64(packed, start) << np.uint64(64 - 8 * first), _B_POWERS)
        if end - start > 8:  # few words are that long, and for the others nothing branches
            for k in range(start + first, end, 8):
                h = h * item(powers, 8) + polynomial(load_u64(packed, k), _B_POWERS)
        set_item(hashes, i + 1, h)


@cache
def hash_powers() -> Array:
    """Return uint64[4 * 256]: the polynomial's base to the power of each byte of a number of 32 bits."""
    b = int(_B)
    return np.array([pow(b, n << (8 * k), 1 << 64) for k in range(4) for n in range(256)], np.uint64)


@inlined
def joined_hash(i, n, bounds, hashes, powers):
    """Return the hash of words i to i + n without anything between them."""
    i, after = np.uint64(i), np.uint64(i) + np.uint64(n)  # unsigned, so that numba checks for no negative index
    length = np.uint64(bounds[after] - bounds[i])
    power = powers[length & _BYTE]
    length >>= np.uint64(8)
    table = np.uint64(256)
    while length:
        power *= powers[table + (length & _BYTE)]
        length >>= np.uint64(8)
        table += np.uint64(256)
    return hashes[after] - hashes[i] * power


class Prefixes(NamedTuple):
    """hashes: of hash_prefixes, one more than words; powers: of hash_powers."""

    hashes: Array
    powers: Array


@leaf
def joined_places(words, text, grams):
    """Find where an n-gram of five words or more may begin that equals another when its words are joined.

    Such an n-gram begins with 16 bytes that another word begins with too, or its first five words are shorter than 16
    bytes. The 16 bytes are looked up as single bits by their hashes, so there may be places whose n-gram equals no
    other, but none is missing.

    Args:
        text: Words, packed being readable 16 bytes beyond the last word.

    Returns:
        how many places, in grams.places.
    """
    bounds, places, keys, once, twice = text.bounds, grams.places, grams.keys, grams.once, grams.twice
    bits = _clear_bits(once, twice, words)
    for i in range(words):
        start = item(bounds, i)
        key = load_u64(text.packed, start) * P
        key = (key ^ (key >> np.uint64(29)) ^ load_u64(text.packed, start + 8)) * Q
        s = home(key, bits - 1)
        set_item(keys, i, np.uint64(s))
        _set_bit(once, twice, s)
    n = 0
    for i in range(words):
        set_item(places, n, np.int32(i))
        short = item(bounds, min(i + 5, words)) - item(bounds, i) < 16
        n += short | _was_set_twice(twice, np.int64(item(keys, i)))
    return n


class _Walk(NamedTuple):
    """How far the walk of joined_duplicate_chars is.

    j:     how many of the chosen places it has passed
    after: the word where it goes on
    chars: characters of the n-grams that it stepped over
    """

    j: Any
    after: Any
    chars: Any


@jit
def joined_duplicate_chars(n, m, words, text, prefixes, grams, table):
    """Count the characters of n-grams seen before, on a walk through the words that steps over them.

    An n-gram is its words' characters without anything between them, so "a bc" equals "ab c". Only the first m
    places are looked at, which joined_places found.

    Returns:
        (characters, the table)
    """
    chosen = _choose_repeated(n, m, words, text.bounds, prefixes, grams)
    clear(table, chosen)
    walk = _Walk(np.int64(0), np.int64(0), np.int64(0))
    while True:
        walk = _walk_on(n, chosen, walk, text, grams, table)
        if walk.j == chosen:
            return walk.chars, table
        table = grown(table)


@leaf
def _choose_repeated(n, m, words, bounds, prefixes, grams):
    """Write the places whose n-gram may occur again to grams.counts, and their keys to grams.keys. Return how many."""
    places, keys, once, twice = grams.places, grams.keys, grams.once, grams.twice
    while m and places[m - 1] + n > words:
        m -= 1
    for j in range(m):
        set_item(keys, j, joined_hash(item(places, j), n, bounds, prefixes.hashes, prefixes.powers))
    bits = _clear_bits(once, twice, m)
    for j in range(m):
        if m > _FAR and j + _AHEAD < m:
            _fetch_bit(once, twice, home(item(keys, j + _AHEAD), bits - 1))
        _set_bit(once, twice, home(item(keys, j), bits - 1))
    chosen = 0
    for j in range(m):
        key = item(keys, j)
        set_item(grams.counts, chosen, item(places, j))
        set_item(keys, chosen, key)
        chosen += _was_set_twice(twice, home(key, bits - 1))
    return chosen


@leaf
def _walk_on(n, chosen, walk, text, grams, table):
    """Walk on until the table is full or no place is left."""
    places, keys = grams.counts, grams.keys
    mask = mask_of(table)
    j, after, duplicate_chars = walk
    while j < chosen:
        i = np.int64(item(places, j))
        if chosen > _FAR and j + _AHEAD < chosen:
            prefetch(table.slots, 2 * home(item(keys, j + _AHEAD), mask))
        key = item(keys, j)
        j += 1
        if i < after:  # inside an n-gram that was stepped over
            continue
        s = home(key, mask)
        while is_filled(table, s):
            if item(table.slots, 2 * s) == key and same_item(text.packed, text.bounds, 1, n, item_at(table, s), i):
                duplicate_chars += item(text.chars, i + n) - item(text.chars, i)
                after = i + n
                break
            s = (s + 1) & mask
        else:
            put(table, s, key, i)
            if is_full(table):
                break
    return _Walk(j, after, duplicate_chars)


@leaf
def covered_chars(n, m, grams, chars):
    """Count the characters of words that lie in an n-gram at one of the first m places, each word once."""
    total = until = 0
    for j in range(m):
        i = grams.places[j]
        total += chars[i + n] - chars[max(i, until)]
        until = i + n
    return total


@leaf
def gram_chars(n, m, grams, chars):
    """Count the characters of the n-grams at the first m places, overlaps as often as they occur."""
    total = 0
    for j in range(m):
        total += chars[grams.places[j] + n] - chars[grams.places[j]]
    return total


@leaf
def uncounted_chars(n, m, grams, chars):
    """Count the characters of words that lie in an n-gram that has occurred before, each word once, and spaces.

    The spaces are, for each such n-gram, as many as it has words that were not counted yet, n - 1 at most.
    """
    total = until = 0
    for j in range(m):
        i = grams.places[j]
        if grams.first[i] != i:
            counted = max(until - i, 0)
            total += chars[i + n] - chars[i + counted] + min(n - counted, n - 1)
            until = i + n
    return total


@leaf
def all_gram_chars(words, n, chars):
    """Count the characters of all n-grams: the sum over i of chars[i + n] - chars[i], where the middle cancels out."""
    total = 0
    if n <= words:
        for i in range(n):
            total += chars[words - i] - chars[i]
    return total
