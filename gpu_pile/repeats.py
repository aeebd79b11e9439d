"""Exact counting of equal pieces of a document: lines, words, n-grams. What the repetition operations are built from.

Pieces are found again in an open table by a 64-bit key. The key of a word of up to seven bytes is the word, that of an
n-gram is (number of the (n - 1)-gram before, number of the last word): these are equal only for equal pieces. Other
keys are hashes, and pieces of equal hash are compared, so a collision, by accident or by intent, changes nothing.
Tables grow with the number of distinct pieces: a document of one word repeated needs a small one, and every step is
linear in the text. Scratch memory of a document is at most 41 bytes a word and 32 to 96 bytes a distinct piece.

A table is uint64[2 * slots]: a key, and clock | item. What another clock wrote counts as empty, so nothing is cleared
between documents; `clock` is a uint64[1] whose upper half counts the uses of the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from gpu_pile import unicode
from gpu_pile.compiled import compiled
from gpu_pile.device import Segments
from gpu_pile.kernel import launch_threads, launch_warps
from gpu_pile.native import count_trailing_zeros, load_u64, mix64, newline_mask

Array = np.ndarray[Any, Any]

_P = np.uint64(0x9E3779B97F4A7C15)
_Q = np.uint64(0xD1342543DE82EF95)
_SPACE = unicode.SPACE

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

FIRST_SLOTS = 8192
"""Slots a table has room for before it first grows."""

_TICK = np.uint64(1 << 32)
_ITEM = np.uint64((1 << 32) - 1)
_HASHED = np.uint64(1 << 63)

_PREFIXES = 3
"""Joined n-grams that are equal begin with the same bytes: only those are looked up whose first 16, 32 and 48 bytes
begin another word too."""


@njit
def hash_bytes(data, start, end):
    """A hash of data[start:end], eight bytes a step; the last step overlaps the one before."""
    h = np.uint64(end - start) * _Q
    i = start
    while i + 8 < end:
        h = (h ^ load_u64(data, i)) * _P
        h ^= h >> np.uint64(29)
        i += 8
    if end - start >= 8:
        h ^= load_u64(data, end - 8)
    else:
        while i < end:
            h = (h << np.uint64(8)) ^ h ^ np.uint64(data[i])
            i += 1
    return mix64(h)


@njit
def same_bytes(data, a, b, n):
    """Whether data[a:a + n] equals data[b:b + n]."""
    if n < 8:
        i = 0
        while i < n and data[a + i] == data[b + i]:
            i += 1
        return i == n
    i = 0
    while i + 8 < n:
        if load_u64(data, a + i) != load_u64(data, b + i):
            return False
        i += 8
    return load_u64(data, a + n - 8) == load_u64(data, b + n - 8)


@njit
def code_points(data, start, end):
    """Characters of UTF-8 data[start:end]."""
    n = 0
    for i in range(start, end):
        n += (data[i] & 0xC0) != 0x80
    return n


def new_table():
    """(table, clock)"""
    return np.zeros(2 * FIRST_SLOTS, np.uint64), np.zeros(1, np.uint64)


@njit
def clear(table, clock, items):
    """Empty a table for about this many items to begin with; returns its mask, the number of slots less 1."""
    clock[0] += _TICK
    n = 16
    while n < 2 * items and 4 * n <= len(table):
        n *= 2
    return n - 1


@njit(inline="always")
def home(key, mask):
    """The slot where the search for a key begins."""
    h = key * _P
    return np.int64((h ^ (h >> np.uint64(32))) & np.uint64(mask))


@njit(inline="always")
def is_filled(table, clock, s):
    return table[2 * s + 1] >= clock[0]


@njit(inline="always")
def item_at(table, s):
    return np.int64(table[2 * s + 1] & _ITEM)


@njit(inline="always")
def put(table, clock, s, key, item):
    table[2 * s] = key
    table[2 * s + 1] = clock[0] | np.uint64(item)


@njit
def grown(table, clock, mask):
    """(table, mask) with twice the slots and the same items; the same array while it is long enough."""
    live = np.empty(mask + 1, np.uint64)
    n = 0
    for s in range(mask + 1):
        if is_filled(table, clock, s):
            live[n] = table[2 * s]
            live[n + 1] = table[2 * s + 1]
            n += 2
    mask = 2 * mask + 1
    if 2 * mask + 2 > len(table):
        table = np.zeros(2 * mask + 2, np.uint64)
    clock[0] += _TICK
    for i in range(0, n, 2):
        s = home(live[i], mask)
        while is_filled(table, clock, s):
            s = (s + 1) & mask
        put(table, clock, s, live[i], live[i + 1] & _ITEM)
    return table, mask


@njit(inline="always")
def find_key(table, clock, mask, key):
    """The slot with this key, or the empty slot where it belongs."""
    s = home(key, mask)
    while is_filled(table, clock, s) and table[2 * s] != key:
        s = (s + 1) & mask
    return s


@njit
def find_span(table, clock, mask, key, data, bounds, step, width, item):
    """The slot of the item with this key whose bytes equal those of `item`, or the empty slot where it belongs.

    Item i is data[bounds[i * step]:bounds[i * step + width]].
    """
    start = bounds[item * step]
    n = bounds[item * step + width] - start
    s = home(key, mask)
    while is_filled(table, clock, s):
        if table[2 * s] == key:
            other = item_at(table, s) * step
            if bounds[other + width] - bounds[other] == n and same_bytes(data, bounds[other], start, n):
                break
        s = (s + 1) & mask
    return s


@njit
def next_newline(data, i, end):
    """The position of the first line feed in data[i:end], or end."""
    while i < end and i + 32 <= len(data):
        found = newline_mask(data, i)
        if found:
            return min(i + count_trailing_zeros(found), end)
        i += 32
    while i < end and data[i] != 10:
        i += 1
    return min(i, end)


@compiled
def split_words(data, start, end, ascii_flags, stage, leaves, packed, bounds, chars):
    """The words of str.split(), their bytes back to back in `packed`; returns how many.

    Word i is packed[bounds[i]:bounds[i + 1]], and chars[i] code points precede it.
    """
    words = o = length = 0
    bounds[0] = chars[0] = 0
    i = start
    while i < end:
        b = data[i]
        if b < 0x80:
            if ascii_flags[b] & _SPACE == 0:
                packed[o] = b
                o += 1
                length += 1
                i += 1
                continue
            n = 1
        else:
            c, n = unicode.decode_at(data, i)
            if unicode.table_value(stage, leaves, c) & _SPACE == 0:
                for k in range(n):
                    packed[o + k] = data[i + k]
                o += n
                length += 1
                i += n
                continue
        if o > bounds[words]:
            words += 1
            bounds[words] = o
            chars[words] = length
        i += n
    if o > bounds[words]:
        words += 1
        bounds[words] = o
        chars[words] = length
    return words


@compiled
def count_words(data, start, end, ascii_flags, stage, leaves):
    """len(text.split()), to know how much room split_words needs."""
    words = 0
    inside = False
    i = start
    while i < end:
        if data[i] < 0x80:
            space, n = (ascii_flags[data[i]] & _SPACE) != 0, 1
        else:
            c, n = unicode.decode_at(data, i)
            space = (unicode.table_value(stage, leaves, c) & _SPACE) != 0
        words += not space and not inside
        inside = not space
        i += n
    return words


@compiled
def number_words(words, packed, bounds, ids, counts, table, clock):
    """ids[i]: the position of the first word that equals word i; counts[that]: how often it occurs.

    packed is readable 8 bytes beyond its last word. Returns (distinct words, table).
    """
    mask = clear(table, clock, words)
    distinct = 0
    for i in range(words):
        start = bounds[i]
        n = bounds[i + 1] - start
        if n < 8:
            shift = np.uint64(64 - 8 * n)
            key = ((load_u64(packed, start) << shift) >> shift) | (np.uint64(n) << np.uint64(56))
            s = find_key(table, clock, mask, key)
        else:
            key = hash_bytes(packed, start, start + n) | _HASHED
            s = find_span(table, clock, mask, key, packed, bounds, 1, 1, i)
        if is_filled(table, clock, s):
            first = item_at(table, s)
            ids[i] = first
            counts[first] += 1
        else:
            ids[i] = i
            counts[i] = 1
            put(table, clock, s, key, i)
            distinct += 1
            if 2 * distinct >= mask:
                table, mask = grown(table, clock, mask)
    return distinct, table


@compiled
def repeated_words(words, ids, counts, places, grams):
    """Write the positions of words that occur more than once to places, and ids to grams; returns how many places."""
    n = 0
    for i in range(words):
        grams[i] = ids[i]
        places[n] = i
        n += counts[ids[i]] > 1
    return n


@compiled
def repeated_grams(n, ids, grams, places, m, chars, marks, counts, table, clock):
    """Find the n-grams that occur more than once, and the most frequent one.

    An n-gram that occurs twice is made of (n - 1)-grams that do, so only these are looked at.

    Args:
        ids: of the words.
        grams: the first position of the (n - 1)-gram that begins here, right at `places`; then the same for n.
        places, m: the first m are where an (n - 1)-gram begins that occurs more than once, ascending; then the same
            for n is written there.
        marks, counts: scratch, a uint8 and an int32 a word.

    Returns:
        (how many places; the first position of the most frequent n-gram, the first seen of those that are equally
        frequent; how often it occurs, 1 where all are different, and then the position is 0; characters of the longest
        one of those that are equally frequent, where they occur more than once; table)
    """
    mask = clear(table, clock, m)
    best, most, longest, distinct = 0, 1, 0, 0
    for j in range(m):
        i = places[j]
        marks[i] = 0
        if j + 1 == m or places[j + 1] != i + 1:
            continue
        key = (np.uint64(grams[i]) << np.uint64(32)) | np.uint64(ids[i + n - 1])
        s = find_key(table, clock, mask, key)
        if is_filled(table, clock, s):
            first = item_at(table, s)
            grams[i] = first
            marks[first] = marks[i] = 1
            counts[first] += 1
            length = chars[i + n] - chars[i]
            if counts[first] > most:
                best, most, longest = first, counts[first], length
            elif counts[first] == most:
                best, longest = min(best, first), max(longest, length)
        else:
            grams[i] = i
            counts[i] = 1
            put(table, clock, s, key, i)
            distinct += 1
            if 2 * distinct >= mask:
                table, mask = grown(table, clock, mask)
    found = 0
    for j in range(m):
        places[found] = places[j]
        found += marks[places[j]]
    return found, best, most, longest, table


@compiled
def joined_places(words, packed, bounds, places, marks, slots, once, twice):
    """Where an n-gram of five words or more may begin that equals another when its words are joined.

    marks[i] is how many of the prefixes of 16, 32 and 48 bytes of what begins at word i also begin at another word;
    those that are longer than the rest of the text count too. Places are where marks[i] is not 0 or the next five words
    are shorter than 16 bytes. A prefix that no other word has may be taken for one that another has, never the other
    way round: prefixes are looked up as single bits by their hashes.

    Args:
        packed: readable 16 bytes beyond its last word.
        slots: scratch, an int32 a word. once, twice: scratch, uint64[n], n a power of two, two bits a word or more.

    Returns:
        how many places.
    """
    for i in range(words):
        places[i] = i
        marks[i] = 0
    found = words
    for level in range(1, _PREFIXES + 1):
        bits = 64
        while bits < 16 * found and bits < 64 * len(once):
            bits *= 2
        once[: bits >> 6] = 0
        twice[: bits >> 6] = 0
        for j in range(found):
            i = places[j]
            slots[j] = -1
            if marks[i] != level - 1:
                continue
            start = bounds[i]
            if bounds[words] - start < 16 * level:
                marks[i] = _PREFIXES
                continue
            key = np.uint64(0)
            for k in range(start, start + 16 * level, 16):
                key = (key ^ load_u64(packed, k)) * _P
                key = (key ^ (key >> np.uint64(29)) ^ load_u64(packed, k + 8)) * _Q
            s = home(key, bits - 1)
            slots[j] = s
            bit = np.uint64(1) << np.uint64(s & 63)
            twice[s >> 6] |= once[s >> 6] & bit
            once[s >> 6] |= bit
        kept = 0
        for j in range(found):
            i = places[j]
            s = slots[j]
            if s >= 0:
                marks[i] += (twice[s >> 6] >> np.uint64(s & 63)) & np.uint64(1)
            places[kept] = i
            kept += level > 1 or marks[i] > 0 or bounds[min(i + 5, words)] - bounds[i] < 16
        found = kept
    return found


@compiled
def joined_duplicate_chars(words, n, packed, bounds, chars, places, marks, m, table, clock):
    """Characters of n-grams seen before, on a walk that steps over them. Returns (characters, table).

    An n-gram is its words' characters without anything between them, so "a bc" equals "ab c".
    places, marks, m: of joined_places.
    """
    mask = clear(table, clock, m)
    distinct = found = after = 0
    for j in range(m):
        i = places[j]
        if i < after:  # inside an n-gram that was stepped over
            continue
        if i + n > words:
            break
        if min((bounds[i + n] - bounds[i]) >> 4, _PREFIXES) > marks[i]:  # unique by its beginning
            continue
        key = hash_bytes(packed, bounds[i], bounds[i + n])
        s = find_span(table, clock, mask, key, packed, bounds, 1, n, i)
        if is_filled(table, clock, s):
            found += chars[i + n] - chars[i]
            after = i + n
        else:
            put(table, clock, s, key, i)
            distinct += 1
            if 2 * distinct >= mask:
                table, mask = grown(table, clock, mask)
    return found, table


@compiled
def covered_chars(n, places, m, chars):
    """Characters of words that lie in an n-gram at one of these places, each word once."""
    total = until = 0
    for j in range(m):
        i = places[j]
        total += chars[i + n] - chars[max(i, until)]
        until = i + n
    return total


@compiled
def gram_chars(n, places, m, chars):
    """Characters of the n-grams at these places, overlaps counted as often as they occur."""
    total = 0
    for j in range(m):
        total += chars[places[j] + n] - chars[places[j]]
    return total


@compiled
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


NONE = 2**32 - 1
"""On the device, the number of what is no item; NONE of kernels/repeats.cuh."""

ITEMS_MAX = 2**30
"""Items of one device table: slots and items are numbered in 32 bits."""


def device_table(xp: Any, items: int) -> tuple[int, Array]:
    """(mask, table): an empty table of kernels/repeats.cuh with room for this many items.

    Raises:
        ValueError: more than ITEMS_MAX.
    """
    if items > ITEMS_MAX:
        raise ValueError(
            f"one call on a GPU compares up to {ITEMS_MAX} words or lines, these texts have {items}; "
            "call it on fewer documents at a time"
        )
    size = 1 << max(4, (2 * items - 1).bit_length())
    return size - 1, xp.full(size, NONE, np.uint32)


def device_numbers(xp: Any, slots: Array, table: Array) -> tuple[Array, Array]:
    """(numbers, counts), uint32[n] both: the first item that equals each, and at that how many do; NONE of no item."""
    n = len(slots)
    counts = xp.zeros(n, np.uint32)
    launch_threads("repeats", "number_items", n, table, n, slots, counts)
    return slots, counts


def hash_spans(xp: Any, data: Array, bounds: Array, step: int, lengths: Array) -> tuple[Array, Array]:
    """(hashes uint64[n], characters int64[n]) of device spans data[bounds[k * step]:bounds[k * step + 1]]."""
    n = len(lengths)
    segments = Segments.of(xp, lengths, 16_384)
    hashes, chars = xp.zeros(n, np.uint64), xp.zeros(n, np.int64)
    launch_warps("repeats", "hash_spans", segments.count, data, bounds, step, *segments.args, hashes, chars)
    return hashes, chars


def number_spans(
    xp: Any, data: Array, bounds: Array, step: int, width: int, owners: Array, hashes: Array
) -> tuple[Array, Array]:
    """device_numbers of the spans data[bounds[k * step]:bounds[k * step + width]], each among those of its document."""
    n = len(owners)
    mask, table = device_table(xp, n)
    slots = xp.empty(n, np.uint32)
    launch_threads("repeats", "match_spans", n, data, bounds, step, width, owners, hashes, n, mask, table, slots)
    return device_numbers(xp, slots, table)
