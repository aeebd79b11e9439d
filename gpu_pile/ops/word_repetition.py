"""word_repetition: word n-grams that a document has more than once, and their characters.

    word_repetition(text) = int64[n_docs, n_columns]

Words are str.split(); lengths are in code points, of the words alone. For a document t:

    words, word_chars    len(t.split()) and the sum of the words' lengths
    top_N_count, top_N_chars       (N = 2, 3, 4) how often the most frequent n-gram of N words occurs, overlaps
                                   included, and the length of its words; of equally frequent ones the first seen; 0
                                   and 0 where t has fewer than N words
    top_N_longest_chars            the length of the longest one of equally frequent ones
    dup_N_chars                    (N = 5 to 10) going through t word by word: if the next N words, joined without
                                   anything between them, have been seen on this walk, their characters count and the
                                   walk goes on behind them, else one word further
    again_N_chars                  (N = 5 to 10) words that lie in an n-gram that has occurred before, each word once,
                                   and for each such n-gram as many spaces as it has words that were not counted yet,
                                   N - 1 at most
    repeated_N_chars, gram_N_chars (N = 5 to 10) all n-grams that occur more than once, and all n-grams, overlaps
                                   counted as often as they occur

Everything is counted exactly: equal hashes are compared (gpu_pile.text.ngrams). A document may have 4 GiB at most, and on a
GPU one call 2^30 words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_threads, launch_warps
from gpu_pile.gpu.ngrams import NONE, device_numbers, device_table, hash_spans, number_spans
from gpu_pile.gpu.segments import Segments, count_then_write, exclusive_sum, flag_tables, gather
from gpu_pile.ops.op import Op
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.column import TextColumn
from gpu_pile.text.hash_table import new_table
from gpu_pile.text.jit import jit
from gpu_pile.text.ngrams import (
    DOCUMENTS,
    all_gram_chars,
    gram_chars,
    hash_powers,
    hash_prefixes,
    joined_duplicate_chars,
    joined_places,
    new_bits,
    number_words,
    pair_places,
    repeated_grams,
    uncounted_chars,
)
from gpu_pile.text.split import count_words, split_words
from gpu_pile.types import Array

TOP = (2, 3, 4)
LONG = (5, 6, 7, 8, 9, 10)


BYTES_MAX = 2**32

word_repetition = Op(
    "word_repetition",
    version=1,
    columns=(
        *("words", "word_chars"),
        *(f"top_{n}_{what}" for n in TOP for what in ("count", "chars", "longest_chars")),
        *(f"{what}_{n}_chars" for n in LONG for what in ("dup", "again", "repeated", "gram")),
    ),
    documents=(
        *DOCUMENTS,
        "x" * 140 + " b c d e " + "x" * 139 + " xb c d e " + "x" * 140 + " b c d f",  # equal and nearly so, long
    ),
)
COLUMNS = word_repetition.columns


@word_repetition.reference
def _reference(text: TextColumn) -> Array:
    return np.array([_reference_counts(d.decode()) for d in text.documents()], np.int64).reshape(-1, len(COLUMNS))


def _walk(words: Sequence[str], n: int) -> int:
    seen: set[str] = set()
    chars = i = 0
    while i + n <= len(words):
        joined = "".join(words[i : i + n])
        if joined in seen:
            chars += len(joined)
            i += n
        else:
            seen.add(joined)
            i += 1
    return chars


def _again(grams: Sequence[tuple[str, ...]], n: int) -> int:
    seen: set[tuple[str, ...]] = set()
    chars = counted = 0  # words of the next n-gram that were counted
    for gram in grams:
        if gram in seen:
            chars += len("".join(gram[counted:])) + min(n - counted, n - 1)
            counted = n
        seen.add(gram)
        counted = max(counted - 1, 0)
    return chars


def _reference_counts(t: str) -> list[int]:
    words = unicode_reference.split(t)
    out = [len(words), sum(map(len, words))]
    for n in (*TOP, *LONG):
        grams = list(zip(*(words[k:] for k in range(n)), strict=False))
        count = Counter(grams)
        if n in TOP:
            top, most = count.most_common(1)[0] if grams else ((), 0)
            out += [most, len("".join(top)), max((len("".join(g)) for g in count if count[g] == most), default=0)]
        else:
            out += [_walk(words, n), _again(grams, n)]
            out += [sum(len("".join(g)) for g in grams if count[g] > 1), sum(len("".join(g)) for g in grams)]
    return out


@jit
def _longest_gram(words, n, chars):
    longest = 0
    for i in range(words - n + 1):
        longest = max(longest, chars[i + n] - chars[i])
    return longest


@jit
def _count(data, offsets, ascii_flags, stage, leaves, powers, table, clock, out):
    room, words_room = 0, 0
    packed = np.empty(0, np.uint8)
    bounds, chars = np.empty(1, np.int64), np.empty(1, np.int64)
    ids, grams, counts = np.empty(1, np.int32), np.empty(1, np.int32), np.empty(1, np.int32)
    places, marks = np.empty(1, np.int32), np.empty(1, np.uint8)
    once, twice = np.empty(1, np.uint64), np.empty(1, np.uint64)
    hashes, keys = np.empty(1, np.uint64), np.empty(1, np.uint64)
    for d in range(len(offsets) - 1):
        start, end = offsets[d], offsets[d + 1]
        row = out[d]
        n_bytes = end - start
        if n_bytes > room:
            room = n_bytes
            packed = np.empty(room + 32, np.uint8)
        if n_bytes // 2 + 1 > words_room:
            words = count_words(data, start, end, ascii_flags, stage, leaves)
            if words > words_room:
                words_room = words
                bounds, chars = np.empty(words + 1, np.int64), np.empty(words + 1, np.int64)
                ids, grams = np.empty(words, np.int32), np.empty(words, np.int32)
                counts = np.empty(words, np.int32)
                places, marks = np.empty(words, np.int32), np.empty(words, np.uint8)
                once, twice = new_bits(words)
                hashes, keys = np.empty(words + 1, np.uint64), np.empty(words, np.uint64)
        words = split_words(data, start, end, ascii_flags, stage, leaves, packed, bounds, chars)
        row[0], row[1] = words, chars[words]

        _, table = number_words(words, packed, bounds, keys, ids, counts, table, clock)
        m = pair_places(words, ids, places, grams, once, twice)
        for n in range(2, 11):
            m, best, most, longest, table = repeated_grams(n, ids, grams, places, m, chars, marks, counts, table, clock)
            if n <= 4:
                at = 3 * n - 4
                if n > words:
                    row[at], row[at + 1], row[at + 2] = 0, 0, 0
                else:
                    if most == 1:
                        longest = _longest_gram(words, n, chars)
                    row[at], row[at + 1], row[at + 2] = most, chars[best + n] - chars[best], longest
            else:
                at = 4 * n - 9
                row[at + 1] = uncounted_chars(n, places, m, grams, chars)
                row[at + 2] = gram_chars(n, places, m, chars)
                row[at + 3] = all_gram_chars(words, n, chars)

        hash_prefixes(words, packed, bounds, powers, hashes)
        m = joined_places(words, packed, bounds, places, keys, once, twice)
        for n in range(5, 11):
            row[4 * n - 9], table = joined_duplicate_chars(
                words, n, packed, bounds, chars, hashes, powers, places, m, counts, keys, once, twice, table, clock
            )


def _check_size(longest: int) -> None:
    if longest > BYTES_MAX:
        raise ValueError(
            f"word_repetition counts documents of up to {BYTES_MAX} bytes, this one has {longest}; "
            "set input.line_bytes_max to at most 4GiB, so that such a line is reported instead"
        )


@word_repetition.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(COLUMNS)), np.int64)
    _check_size(int(np.diff(text.offsets).max(initial=0)))
    u = unicode
    _count(text.data, text.offsets, u.ASCII_FLAGS, u.FLAG_STAGE, u.FLAG_LEAVES, hash_powers(), *new_table(), out)
    return out


def device_split_words(xp: Any, text: TextColumn) -> tuple[Array, Array, Array, Array]:
    """str.split() of all documents on the device: (starts, stops, owners, first).

    Word k is text.data[starts[k]:stops[k]] and of document owners[k]; document d has first[d] .. first[d + 1].
    """
    segments = Segments.of(xp, xp.diff(text.offsets), 16_384)
    inputs = (text.data, text.offsets, *segments.args, *flag_tables(xp))
    kernels = "count_split_words", "find_split_words"
    int64s = 3 * (np.int64,)
    first, starts, stops, owners = count_then_write(xp, "word_repetition", kernels, segments, inputs, *int64s)
    return starts, stops, owners, first


def _device_words(xp: Any, text: TextColumn) -> tuple[Array, Array, Array, Array]:
    """As device_split_words, the words one behind the other: word k is data[bounds[k]:bounds[k + 1]]."""
    starts, stops, owners, first = device_split_words(xp, text)
    data, bounds = gather(xp, text.data, starts, stops - starts)
    return data, bounds, owners, first


@word_repetition.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    docs = len(text)
    if docs:
        _check_size(int(xp.diff(text.offsets).max()))
    data, bounds, owners, first = _device_words(xp, text)
    n = len(owners)
    hashes, word_chars = hash_spans(xp, data, bounds, 1, xp.diff(bounds))
    chars = exclusive_sum(xp, word_chars)
    chars_sums = exclusive_sum(xp, chars)
    begin, end = first[:-1], first[1:]
    out = xp.zeros((docs, len(COLUMNS)), np.int64)
    out[:, 0], out[:, 1] = end - begin, chars[end] - chars[begin]

    def sums(values: Array) -> Array:
        return xp.diff(exclusive_sum(xp, values)[first])

    words, counts = number_spans(xp, data, bounds, 1, 1, owners, hashes)
    grams = words
    for width in range(2, 11):
        mask, table = device_table(xp, n)
        slots = xp.empty(n, np.uint32)
        launch_threads("word_repetition", "match_grams", n, words, grams, counts, n, width, mask, table, slots)
        grams, counts = device_numbers(xp, slots, table)
        enough = end - begin >= width
        if width in TOP:
            best, longest = xp.zeros(docs, np.uint64), xp.zeros(docs, np.uint64)
            launch_threads("word_repetition", "top_grams", n, owners, grams, counts, n, best)
            launch_threads(
                "word_repetition", "longest_top_grams", n, owners, grams, counts, chars, n, width, best, longest
            )
            most = (best >> np.uint64(32)).astype(np.int64)
            place = xp.where(most > 0, NONE - (best & np.uint64(NONE)).astype(np.int64), begin)
            place = xp.where(enough, place, 0)
            out[:, 3 * width - 4] = xp.where(enough, xp.maximum(most, 1), 0)
            out[:, 3 * width - 3] = xp.where(enough, chars[xp.minimum(place + width, n)] - chars[place], 0)
            out[:, 3 * width - 2] = longest.astype(np.int64)
        else:
            repeated, again = xp.empty(n, np.int64), xp.empty(n, np.int64)
            launch_threads("word_repetition", "measure_grams", n, grams, counts, chars, n, width, repeated, again)
            out[:, 4 * width - 8] = sums(again)
            out[:, 4 * width - 7] = sums(repeated)
            # the sum of chars[i + width] - chars[i] over the n-grams
            ends = chars_sums[end + 1] - chars_sums[xp.minimum(begin + width, n + 1)]
            begins = chars_sums[xp.maximum(end - width + 1, 0)] - chars_sums[begin]
            out[:, 4 * width - 6] = xp.where(enough, ends - begins, 0)

    joined, joined_words = hashes.copy(), 1
    for width in LONG:
        launch_threads("ngrams", "join_hashes", n, bounds, hashes, n, joined_words, width, joined)
        joined_words = width
        leaders, counts = number_spans(xp, data, bounds, 1, width, owners, joined)
        places = xp.flatnonzero((leaders != NONE) & (counts[xp.minimum(leaders, max(n, 1) - 1)] > 1))
        found = xp.empty(docs, np.int64)
        launch_warps(
            "word_repetition",
            "walk_grams",
            docs,
            places,
            leaders[places],
            xp.searchsorted(places, first),
            docs,
            chars,
            width,
            xp.zeros(n, np.uint8),
            found,
        )
        out[:, 4 * width - 9] = found
    return out
