"""word_repetition: word n-grams that a document has more than once, and their characters.

    word_repetition(text) = int64[n_docs, n_columns]

Words are str.split(); lengths are in code points, of the words alone. For a document t:

    words, word_chars    len(t.split()) and the sum of the words' lengths
    top_N_count, top_N_chars       (N = 2, 3, 4) how often the most frequent n-gram of N words occurs, overlaps
                                   included, and the length of its words; of equally frequent n-grams the first seen; 0
                                   and 0 where t has fewer than N words
    top_N_longest_chars            the length of the longest of the equally frequent n-grams
    dup_N_chars                    (N = 5 to 10) going through t word by word: if the next N words, joined without
                                   anything between them, have been seen on this walk, their characters count and the
                                   walk goes on after them, else it goes on with the next word
    again_N_chars                  (N = 5 to 10) words that lie in an n-gram that has occurred before, each word once,
                                   and for each such n-gram as many spaces as it has words that were not counted yet,
                                   N - 1 at most
    repeated_N_chars, gram_N_chars (N = 5 to 10) all n-grams that occur more than once, and all n-grams, overlaps
                                   counted as often as they occur

Everything is counted exactly: equal hashes are compared (gpu_pile.text.ngrams). A document may have 4 GiB at most,
and on a GPU one call 2^30 words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_threads, launch_warps
from gpu_pile.gpu.ngrams import NONE, device_numbers, device_table, hash_spans, number_spans
from gpu_pile.gpu.segments import Segments, count_then_write, exclusive_sum, flag_tables, gather
from gpu_pile.ops.op import Op, columns_by_width
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.blocks import padded
from gpu_pile.text.column import TextColumn
from gpu_pile.text.hash_table import new_table
from gpu_pile.text.jit import jit, leaf
from gpu_pile.text.ngrams import (
    DOCUMENTS,
    Prefixes,
    all_gram_chars,
    gram_chars,
    hash_powers,
    hash_prefixes,
    joined_duplicate_chars,
    joined_places,
    new_grams,
    number_words,
    pair_places,
    repeated_grams,
    uncounted_chars,
)
from gpu_pile.text.split import Words, count_words, split_words
from gpu_pile.types import Array, DeviceArray

TOP = (2, 3, 4)
LONG = (5, 6, 7, 8, 9, 10)


word_repetition = Op(
    "word_repetition",
    version=1,
    columns=(
        *("words", "word_chars"),
        *(f"top_{n}_{what}" for n in TOP for what in ("count", "chars", "longest_chars")),
        *(f"{what}_{n}_chars" for n in LONG for what in ("dup", "again", "repeated", "gram")),
    ),
    document_bytes_max=2**32,
    documents=(
        *DOCUMENTS,
        "x" * 140 + " b c d e " + "x" * 139 + " xb c d e " + "x" * 140 + " b c d f",  # equal and nearly so, long
    ),
)
C = word_repetition.index


@word_repetition.reference
def _reference(text: TextColumn) -> Array:
    return np.array([_reference_counts(d.decode()) for d in text.documents()], np.int64).reshape(-1, len(C))


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


# Columns by the number of words of an n-gram.
_TOP_COUNT, _TOP_CHARS, _TOP_LONGEST_CHARS = (
    columns_by_width(C, f"top_{{}}_{what}", TOP) for what in ("count", "chars", "longest_chars")
)
_DUP, _AGAIN, _REPEATED, _GRAM = (
    columns_by_width(C, f"{what}_{{}}_chars", LONG) for what in ("dup", "again", "repeated", "gram")
)


@leaf
def _longest_gram(words, n, chars):
    longest = 0
    for i in range(words - n + 1):
        longest = max(longest, chars[i + n] - chars[i])
    return longest


@leaf
def _count_top(n, words, top, chars, row):
    """Write the columns of the most frequent n-gram."""
    if n > words:
        row[_TOP_COUNT[n]] = row[_TOP_CHARS[n]] = row[_TOP_LONGEST_CHARS[n]] = 0
        return
    row[_TOP_COUNT[n]] = top.count
    row[_TOP_CHARS[n]] = chars[top.first + n] - chars[top.first]
    row[_TOP_LONGEST_CHARS[n]] = top.longest if top.count > 1 else _longest_gram(words, n, chars)


@jit
def _count(data, offsets, tables, powers, table, out):
    bytes_room = words_room = 0
    text = Words(np.empty(0, np.uint8), np.empty(1, np.int64), np.empty(1, np.int64))
    grams, prefixes = new_grams(1), Prefixes(np.empty(1, np.uint64), powers)
    for d in range(len(offsets) - 1):
        start, end = offsets[d], offsets[d + 1]
        row = out[d]
        if end - start > bytes_room:
            bytes_room = end - start
            text = Words(np.empty(bytes_room + 32, np.uint8), text.bounds, text.chars)
        if (end - start) // 2 + 1 > words_room:
            words = count_words(data, start, end, tables)
            if words > words_room:
                words_room = words
                text = Words(text.packed, np.empty(words + 1, np.int64), np.empty(words + 1, np.int64))
                grams, prefixes = new_grams(words), Prefixes(np.empty(words + 1, np.uint64), powers)
        words = split_words(data, start, end, tables, text)
        row[C.words], row[C.word_chars] = words, text.chars[words]

        _, table = number_words(words, text, grams, table)
        m = pair_places(words, grams)
        for n in range(TOP[0], LONG[-1] + 1):
            m, top, table = repeated_grams(n, m, text.chars, grams, table)
            if n <= TOP[-1]:
                _count_top(n, words, top, text.chars, row)
            else:
                row[_AGAIN[n]] = uncounted_chars(n, m, grams, text.chars)
                row[_REPEATED[n]] = gram_chars(n, m, grams, text.chars)
                row[_GRAM[n]] = all_gram_chars(words, n, text.chars)

        hash_prefixes(words, text.packed, text.bounds, powers, prefixes.hashes)
        m = joined_places(words, text, grams)
        for n in LONG:
            row[_DUP[n]], table = joined_duplicate_chars(n, m, words, text, prefixes, grams, table)


@word_repetition.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(C)), np.int64)
    tables = unicode.FLAG_STAGE, unicode.FLAG_LEAVES
    _count(padded(text.data), text.offsets, tables, hash_powers(), new_table(), out)
    return out


def device_split_words(xp: Any, text: TextColumn) -> tuple[Array, Array, Array, Array]:
    """Return str.split() of all documents on the device: (starts, stops, owners, first).

    Word k is text.data[starts[k]:stops[k]], in document owners[k]; document d has the words first[d] .. first[d + 1].
    """
    segments = Segments.of_text(xp, text)
    inputs = (text.data, text.offsets, *segments.args, *flag_tables(xp))
    kernels = "count_split_words", "find_split_words"
    int64s = 3 * (np.int64,)
    first, starts, stops, owners = count_then_write(xp, "word_repetition", kernels, segments, inputs, *int64s)
    return starts, stops, owners, first


@dataclass(frozen=True)
class _DeviceWords:
    """The words of documents on the device, back to back.

    data, bounds: word k is data[bounds[k]:bounds[k + 1]]
    owners:       int64[n], its document
    first:        int64[n_docs + 1], document d has the words first[d] .. first[d + 1]
    hashes:       uint64[n]
    chars:        int64[n + 1], the characters before each word, of all documents
    """

    data: DeviceArray
    bounds: DeviceArray
    owners: DeviceArray
    first: DeviceArray
    hashes: DeviceArray
    chars: DeviceArray

    @classmethod
    def of(cls, xp: Any, text: TextColumn) -> _DeviceWords:
        starts, stops, owners, first = device_split_words(xp, text)
        data, bounds = gather(xp, text.data, starts, stops - starts)
        hashes, chars = hash_spans(xp, data, bounds, 1, xp.diff(bounds))
        return cls(data, bounds, owners, first, hashes, exclusive_sum(xp, chars))

    def __len__(self) -> int:
        return len(self.owners)

    def sums(self, xp: Any, values: DeviceArray) -> DeviceArray:
        """Return int64[n_docs]: the sums of one value per word."""
        return xp.diff(exclusive_sum(xp, values)[self.first])


@word_repetition.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    docs = len(text)
    w = _DeviceWords.of(xp, text)
    n = len(w)
    out = xp.zeros((docs, len(C)), np.int64)
    out[:, C.words], out[:, C.word_chars] = xp.diff(w.first), xp.diff(w.chars[w.first])

    words, counts = number_spans(xp, w.data, w.bounds, 1, 1, w.owners, w.hashes)
    grams = words
    for width in range(TOP[0], LONG[-1] + 1):
        mask, table = device_table(xp, n)
        slots = xp.empty(n, np.uint32)
        launch_threads("word_repetition", "match_grams", n, words, grams, counts, n, width, mask, table, slots)
        grams, counts = device_numbers(xp, slots, table)
        if width in TOP:
            _count_device_top(xp, width, w, grams, counts, out)
        else:
            repeated, again = xp.empty(n, np.int64), xp.empty(n, np.int64)
            launch_threads("word_repetition", "measure_grams", n, grams, counts, w.chars, n, width, repeated, again)
            out[:, _AGAIN[width]] = w.sums(xp, again)
            out[:, _REPEATED[width]] = w.sums(xp, repeated)
            out[:, _GRAM[width]] = _device_gram_chars(xp, width, w)
    _count_device_joined(xp, w, out)
    return out


def _count_device_top(
    xp: Any, width: int, w: _DeviceWords, grams: DeviceArray, counts: DeviceArray, out: DeviceArray
) -> None:
    """Write the columns of the most frequent n-grams. grams, counts: of device_numbers."""
    n, docs = len(w), len(out)
    best, longest = xp.zeros(docs, np.uint64), xp.zeros(docs, np.uint64)
    launch_threads("word_repetition", "top_grams", n, w.owners, grams, counts, n, best)
    launch_threads("word_repetition", "longest_top_grams", n, w.owners, grams, counts, w.chars, n, width, best, longest)
    count, place = unpack_top(xp, best)
    begin, end = w.first[:-1], w.first[1:]
    enough = end - begin >= width
    place = xp.where(enough, xp.where(count > 0, place, begin), 0)
    out[:, _TOP_COUNT[width]] = xp.where(enough, xp.maximum(count, 1), 0)
    out[:, _TOP_CHARS[width]] = xp.where(enough, w.chars[xp.minimum(place + width, n)] - w.chars[place], 0)
    out[:, _TOP_LONGEST_CHARS[width]] = longest.astype(np.int64)


def unpack_top(xp: Any, best: DeviceArray) -> tuple[DeviceArray, DeviceArray]:
    """Return int64 (count, position) of each document's most frequent repeated n-gram.

    best: what the kernel top_grams writes. Both are 0 where no n-gram is repeated.
    """
    count = (best >> np.uint64(32)).astype(np.int64)
    return count, xp.where(count > 0, NONE - (best & np.uint64(NONE)).astype(np.int64), 0)


def _device_gram_chars(xp: Any, width: int, w: _DeviceWords) -> DeviceArray:
    """Return int64[n_docs]: the characters of all n-grams, the sum of chars[i + width] - chars[i] over them."""
    begin, end = w.first[:-1], w.first[1:]
    sums = exclusive_sum(xp, w.chars)
    ends = sums[end + 1] - sums[xp.minimum(begin + width, len(w) + 1)]
    begins = sums[xp.maximum(end - width + 1, 0)] - sums[begin]
    return xp.where(end - begin >= width, ends - begins, 0)


def _count_device_joined(xp: Any, w: _DeviceWords, out: DeviceArray) -> None:
    """Write the columns dup_N_chars."""
    n, docs = len(w), len(out)
    joined, joined_words = w.hashes.copy(), 1
    for width in LONG:
        launch_threads("ngrams", "join_hashes", n, w.bounds, w.hashes, n, joined_words, width, joined)
        joined_words = width
        leaders, counts = number_spans(xp, w.data, w.bounds, 1, width, w.owners, joined)
        places = xp.flatnonzero((leaders != NONE) & (counts[xp.minimum(leaders, max(n, 1) - 1)] > 1))
        first, seen = xp.searchsorted(places, w.first), xp.zeros(n, np.uint8)
        duplicate_chars = xp.empty(docs, np.int64)
        walks = (places, leaders[places], first, docs, w.chars, width, seen, duplicate_chars)
        launch_warps("word_repetition", "walk_grams", docs, *walks)
        out[:, _DUP[width]] = duplicate_chars
