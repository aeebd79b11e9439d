"""Exact counting of equal pieces of a document: lines, words, n-grams. What the repetition operations are built from.

Pieces are found again in an open table by a 64-bit key. The key of a word of up to seven bytes is the word, that of an
n-gram is (number of the (n - 1)-gram before, number of the last word): these are equal only for equal pieces. Other
keys are hashes, and pieces of equal hash are compared, so a collision, by accident or by intent, changes nothing.
Tables grow with the number of distinct pieces: a document of one word repeated needs a small one, and every step is
linear in the text. Scratch memory of a document is at most 57 bytes a word and 32 to 96 bytes a distinct piece.

A table is uint64[2 * slots]: a key, and clock | item. What another clock wrote counts as empty, so nothing is cleared
between documents; `clock` is a uint64[1] whose upper half counts the uses of the table.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from gpu_pile.text.hash_table import _P, _Q, clear, grown, hash_bytes, home, is_filled, item_at, put, same_item
from gpu_pile.text.jit import jit
from gpu_pile.text.simd import (
    item,
    load_u64,
    prefetch,
    set_item,
)
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

_AHEAD = 8
"""So many words ahead, what will be looked up is fetched."""

_FAR = 10_000
"""Words from which on their tables do not fit a core's own caches."""

_B = np.uint64(0x9FB21C651E98DF25)
_BYTE = np.uint64(0xFF)
_B2, _B3, _B4, _B5, _B6, _B7 = (np.uint64(pow(int(_B), n, 1 << 64)) for n in range(2, 8))


@jit
def word_keys(words, packed, bounds, keys):
    """keys[i]: word i itself if it has less than eight bytes, else a hash of it; packed as in number_words."""
    for i in range(words):
        start = item(bounds, i)
        n = item(bounds, i + 1) - start
        if n <= 16:
            shift = np.uint64(max(64 - 8 * n, 0))
            first = (load_u64(packed, start) << shift) >> shift
            hashed = (first * _P) ^ load_u64(packed, start + max(n - 8, 0))
            hashed = (hashed ^ (hashed >> np.uint64(32))) * _Q + np.uint64(n)
            key = first | (np.uint64(n) << np.uint64(56)) if n < 8 else hashed | HASHED
        else:
            key = hash_bytes(packed, start, start + n) | HASHED
        set_item(keys, i, key)


@jit
def number_words(words, packed, bounds, keys, ids, counts, table, clock):
    """ids[i]: the position of the first word that equals word i; counts[that]: how often it occurs.

    packed is readable 8 bytes beyond its last word. keys: room for word_keys. Returns (distinct words, table).
    """
    word_keys(words, packed, bounds, keys)
    mask = clear(table, clock, words)
    distinct = 0
    for i in range(words):
        if i + _AHEAD < words:
            prefetch(table, 2 * home(item(keys, i + _AHEAD), mask))
        key = item(keys, i)
        s = home(key, mask)
        while is_filled(table, clock, s):
            if item(table, 2 * s) == key:
                first = item_at(table, s)
                if key < HASHED or same_item(packed, bounds, 1, 1, first, i):
                    set_item(ids, i, np.int32(first))
                    set_item(counts, first, np.int32(item(counts, first) + 1))
                    break
            s = (s + 1) & mask
        else:
            set_item(ids, i, np.int32(i))
            set_item(counts, i, np.int32(1))
            put(table, clock, s, key, i)
            distinct += 1
            if 2 * distinct >= mask:
                table, mask = grown(table, clock, mask)
    return distinct, table


@njit
def new_bits(items):
    """(once, twice): bits for this many items, 16 or more for each."""
    n = 1
    while 64 * n < 16 * items:
        n *= 2
    return np.empty(n, np.uint64), np.empty(n, np.uint64)


@njit(inline="always")
def _clear_bits(once, twice, items):
    """Room for this many items; the number of bits, 16 an item if there are so many."""
    bits = 64
    while bits < 16 * items and bits < 64 * len(once):
        bits *= 2
    once[: bits >> 6] = 0
    twice[: bits >> 6] = 0
    return bits


@njit(inline="always")
def _set_bit(once, twice, s):
    """Note that slot s is met, and whether it had been met before."""
    bit = np.uint64(1) << np.uint64(s & 63)
    before = item(once, s >> 6)
    set_item(twice, s >> 6, item(twice, s >> 6) | (before & bit))
    set_item(once, s >> 6, before | bit)


@njit(inline="always")
def _fetch_bit(once, twice, s):
    prefetch(once, s >> 6)
    prefetch(twice, s >> 6)


@njit(inline="always")
def _was_set_twice(twice, s):
    return (item(twice, s >> 6) >> np.uint64(s & 63)) & np.uint64(1) != 0


@jit
def pair_places(words, ids, places, grams, once, twice):
    """Write where two words begin that may occur more than once to places, and ids to grams; returns how many places.

    Pairs are looked up as single bits by their hashes: some that occur once may be among them.
    once, twice: scratch, of new_bits.
    """
    bits = _clear_bits(once, twice, words)
    for i in range(words - 1):
        if words > _FAR and i + _AHEAD < words - 1:
            _fetch_bit(once, twice, _pair_slot(ids, i + _AHEAD, bits))
        _set_bit(once, twice, _pair_slot(ids, i, bits))
    found = 0
    for i in range(words):
        set_item(grams, i, item(ids, i))
    for i in range(words - 1):
        set_item(places, found, np.int32(i))
        found += _was_set_twice(twice, _pair_slot(ids, i, bits))
    return found


@njit(inline="always")
def _gram_key(first, word):
    """The key of the n-gram whose (n - 1)-gram and last word were first seen there."""
    return (np.uint64(first) << np.uint64(32)) | np.uint64(word)


@njit(inline="always")
def _pair_slot(ids, i, bits):
    return home(_gram_key(item(ids, i), item(ids, i + 1)), bits - 1)


@jit
def repeated_grams(n, ids, grams, places, m, chars, marks, counts, table, clock):
    """Find the n-grams that occur more than once, and the most frequent one.

    An n-gram that occurs twice is made of (n - 1)-grams that do, so only these are looked at.

    Args:
        ids: of the words.
        grams: the first position of the (n - 1)-gram that begins here, right at `places`; then the same for n.
        places, m: the first m are where an (n - 1)-gram begins that occurs more than once, ascending, and for n = 2
            those of pair_places; then the same for n is written there.
        marks, counts: scratch, a uint8 and an int32 a word.

    Returns:
        (how many places; the first position of the most frequent n-gram, the first seen of those that are equally
        frequent; how often it occurs, 1 where all are different, and then the position is 0; characters of the longest
        one of those that are equally frequent, where they occur more than once; table)
    """
    mask = clear(table, clock, m)
    best, most, longest, distinct = 0, 1, 0, 0
    for j in range(m):
        if m > _FAR and j + _AHEAD < m:
            i = item(places, j + _AHEAD)
            first = np.int64(item(grams, i))
            prefetch(ids, first + n - 1)
            prefetch(counts, first)
            prefetch(marks, first)
            prefetch(table, 2 * home(_gram_key(first, item(ids, i + n - 1)), mask))
        i = item(places, j)
        set_item(marks, i, np.uint8(0))
        if n > 2 and (j + 1 == m or item(places, j + 1) != i + 1):
            continue
        first = np.int64(item(grams, i))
        if first == i:  # what begins here is new already when one word shorter
            set_item(counts, i, np.int32(1))
            continue
        word = item(ids, i + n - 1)
        if item(ids, first + n - 1) != word:  # another continuation than where its beginning was first seen
            key = _gram_key(first, word)
            s = home(key, mask)
            while is_filled(table, clock, s):
                if item(table, 2 * s) == key:
                    first = item_at(table, s)
                    break
                s = (s + 1) & mask
            else:
                set_item(grams, i, np.int32(i))
                set_item(counts, i, np.int32(1))
                put(table, clock, s, key, i)
                distinct += 1
                if 2 * distinct >= mask:
                    table, mask = grown(table, clock, mask)
                continue
            set_item(grams, i, np.int32(first))
        set_item(marks, first, np.uint8(1))
        set_item(marks, i, np.uint8(1))
        count = item(counts, first) + np.int32(1)
        set_item(counts, first, np.int32(count))
        length = item(chars, i + n) - item(chars, i)
        if count > most:
            best, most, longest = first, np.int64(count), length
        elif count == most:
            best, longest = min(best, first), max(longest, length)
    found = 0
    for j in range(m):
        i = item(places, j)
        set_item(places, found, i)
        found += item(marks, i)
    return found, best, most, longest, table


@jit
def hash_prefixes(words, packed, bounds, powers, hashes):
    """hashes[i]: of all that precedes word i, as a polynomial of its bytes, so that joined words can be told apart
    without reading them again (Karp and Rabin 1987).

    packed is readable 8 bytes beyond its last word. powers: of hash_powers.
    """
    h = np.uint64(0)
    hashes[0] = h
    for i in range(words):
        start, end = item(bounds, i), item(bounds, i + 1)
        first = ((end - start - 1) & 7) + 1
        h = h * item(powers, first) + _eight(load_u64(packed, start) << np.uint64(64 - 8 * first))
        if end - start > 8:  # few words: the rule above is without a branch
            for k in range(start + first, end, 8):
                h = h * item(powers, 8) + _eight(load_u64(packed, k))
        set_item(hashes, i + 1, h)


@njit(inline="always")
def _eight(x):
    """The polynomial of eight bytes, the lowest first; those that are 0 at the beginning add nothing."""
    return (
        (x & _BYTE) * _B7
        + ((x >> np.uint64(8)) & _BYTE) * _B6
        + ((x >> np.uint64(16)) & _BYTE) * _B5
        + ((x >> np.uint64(24)) & _BYTE) * _B4
        + ((x >> np.uint64(32)) & _BYTE) * _B3
        + ((x >> np.uint64(40)) & _BYTE) * _B2
        + ((x >> np.uint64(48)) & _BYTE) * _B
        + (x >> np.uint64(56))
    )


def hash_powers() -> Array:
    """uint64[4 * 256]: the polynomial's base to the power of each byte of a number, for numbers of 32 bits."""
    b = int(_B)
    return np.array([pow(b, n << (8 * k), 1 << 64) for k in range(4) for n in range(256)], np.uint64)


@njit(inline="always")
def joined_hash(i, n, bounds, hashes, powers):
    """The hash of words i to i + n without anything between them."""
    i, after = np.uint64(i), np.uint64(i) + np.uint64(n)  # unsigned: no index from the end is looked for
    length = np.uint64(bounds[after] - bounds[i])
    power = powers[length & _BYTE]
    length >>= np.uint64(8)
    table = np.uint64(256)
    while length:
        power *= powers[table + (length & _BYTE)]
        length >>= np.uint64(8)
        table += np.uint64(256)
    return hashes[after] - hashes[i] * power


@jit
def joined_places(words, packed, bounds, places, keys, once, twice):
    """Where an n-gram of five words or more may begin that equals another when its words are joined.

    These begin with 16 bytes that another word begins with too, or the next five words are shorter than 16 bytes. Words
    that no other equals may be among them, never the other way round: the 16 bytes are looked up as single bits by
    their hashes.

    Args:
        packed: readable 16 bytes beyond its last word.
        keys: scratch, a uint64 a word. once, twice: scratch, of new_bits.

    Returns:
        how many places.
    """
    bits = _clear_bits(once, twice, words)
    for i in range(words):
        start = item(bounds, i)
        key = load_u64(packed, start) * _P
        key = (key ^ (key >> np.uint64(29)) ^ load_u64(packed, start + 8)) * _Q
        s = home(key, bits - 1)
        set_item(keys, i, np.uint64(s))
        _set_bit(once, twice, s)
    found = 0
    for i in range(words):
        set_item(places, found, np.int32(i))
        short = item(bounds, min(i + 5, words)) - item(bounds, i) < 16
        found += short | _was_set_twice(twice, np.int64(item(keys, i)))
    return found


@jit
def joined_duplicate_chars(
    words, n, packed, bounds, chars, hashes, powers, places, m, chosen, keys, once, twice, table, clock
):
    """Characters of n-grams seen before, on a walk that steps over them. Returns (characters, table).

    An n-gram is its words' characters without anything between them, so "a bc" equals "ab c". Only what may equal
    another is looked up, as in joined_places.
    places, m: of joined_places. hashes, powers: of hash_prefixes. chosen: scratch, an int32 a word.
    """
    bits = _clear_bits(once, twice, m)
    while m and places[m - 1] + n > words:
        m -= 1
    for j in range(m):
        set_item(keys, j, joined_hash(item(places, j), n, bounds, hashes, powers))
    for j in range(m):
        if m > _FAR and j + _AHEAD < m:
            _fetch_bit(once, twice, home(item(keys, j + _AHEAD), bits - 1))
        _set_bit(once, twice, home(item(keys, j), bits - 1))
    some = 0
    for j in range(m):
        key = item(keys, j)
        set_item(chosen, some, item(places, j))
        set_item(keys, some, key)
        some += _was_set_twice(twice, home(key, bits - 1))
    mask = clear(table, clock, some)
    distinct = found = after = 0
    for j in range(some):
        i = item(chosen, j)
        if some > _FAR and j + _AHEAD < some:
            prefetch(table, 2 * home(item(keys, j + _AHEAD), mask))
        if i < after:  # inside one that was stepped over
            continue
        key = item(keys, j)
        s = home(key, mask)
        while is_filled(table, clock, s):
            if item(table, 2 * s) == key and same_item(packed, bounds, 1, n, item_at(table, s), i):
                found += chars[i + n] - chars[i]
                after = i + n
                break
            s = (s + 1) & mask
        else:
            put(table, clock, s, key, i)
            distinct += 1
            if 2 * distinct >= mask:
                table, mask = grown(table, clock, mask)
    return found, table


@jit
def covered_chars(n, places, m, chars):
    """Characters of words that lie in an n-gram at one of these places, each word once."""
    total = until = 0
    for j in range(m):
        i = places[j]
        total += chars[i + n] - chars[max(i, until)]
        until = i + n
    return total


@jit
def gram_chars(n, places, m, chars):
    """Characters of the n-grams at these places, overlaps counted as often as they occur."""
    total = 0
    for j in range(m):
        total += chars[places[j] + n] - chars[places[j]]
    return total


@jit
def uncounted_chars(n, places, m, grams, chars):
    """Characters of words that lie in an n-gram that has occurred before, each word once, and of spaces: for each such
    n-gram as many as it has words that were not counted yet, n - 1 at most."""
    total = until = 0
    for j in range(m):
        i = places[j]
        if grams[i] != i:
            counted = max(until - i, 0)
            total += chars[i + n] - chars[i + counted] + min(n - counted, n - 1)
            until = i + n
    return total


@njit
def all_gram_chars(words, n, chars):
    """Characters of all n-grams: the sum over i of chars[i + n] - chars[i], of which the middle cancels out."""
    total = 0
    if n <= words:
        for i in range(n):
            total += chars[words - i] - chars[i]
    return total
