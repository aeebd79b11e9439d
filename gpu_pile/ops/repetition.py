"""repetition: how much of a document is said more than once, by paragraphs, lines and word n-grams.

    repetition(text) = int64[n_docs, len(COLUMNS)]

Words are str.split(); lengths are in code points. A piece is *duplicate* where it has occurred before (the first
occurrence is not counted), *repeated* where it occurs elsewhere at all (every occurrence is counted). For a document t:

    paragraphs   re.split(r"\\n{2,}", t.strip());  blocks   t.split("\\n\\n")
    lines        re.split(r"\\n+", t), not stripped: a line feed at the beginning or the end makes an empty line there
    filled_lines the lines that are not empty;  nonblank_lines   those that are more than white space
    dup_X, dup_X_chars             duplicate ones among X, and their characters
    repeated_lines, repeated_line_chars   repeated ones among filled_lines
    words, word_chars              len(t.split()) and the sum of the words' lengths
    top_N_count, top_N_chars       (N = 2, 3, 4) how often the most frequent n-gram of N words occurs, overlaps
                                   included, and the length of its words; of equally frequent ones the first seen; 0
                                   and 0 where t has fewer than N words
    dup_N_chars                    (N = 5 to 10) going through t word by word: if the next N words, joined without
                                   anything between them, have been seen on this walk, their characters count and the
                                   walk goes on behind them, else one word further
    repeated_N_chars, N_gram_chars (N = 5 to 10) the words' characters of all repeated n-grams, and of all n-grams

Everything is counted exactly: equal hashes are compared (gpu_pile.repeats). A document may have 4 GiB at most.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_pile import unicode
from gpu_pile.columns import TextColumn
from gpu_pile.compiled import compiled
from gpu_pile.op import Op
from gpu_pile.repeats import (
    all_gram_chars,
    clear,
    code_points,
    count_words,
    find_span,
    gram_chars,
    grown,
    hash_bytes,
    is_filled,
    item_at,
    joined_duplicate_chars,
    joined_places,
    new_table,
    next_newline,
    number_words,
    put,
    repeated_grams,
    repeated_words,
    split_words,
)

Array = np.ndarray[Any, Any]

TOP = (2, 3, 4)
LONG = (5, 6, 7, 8, 9, 10)

COLUMNS = (
    *("paragraphs", "dup_paragraphs", "dup_paragraph_chars"),
    *("blocks", "dup_blocks", "dup_block_chars"),
    *("lines", "dup_lines", "dup_line_chars"),
    *("filled_lines", "repeated_lines", "repeated_line_chars"),
    *("nonblank_lines", "dup_nonblank_lines", "dup_nonblank_line_chars"),
    *("words", "word_chars"),
    *(f"top_{n}_{what}" for n in TOP for what in ("count", "chars")),
    *(f"dup_{n}_chars" for n in LONG),
    *(name for n in LONG for name in (f"repeated_{n}_chars", f"gram_{n}_chars")),
)

BYTES_MAX = 2**32

repetition = Op(
    "repetition",
    version=1,
    documents=(
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
    ),
)


@repetition.reference
def _reference(text: TextColumn) -> Array:
    return np.array([_reference_counts(d.decode()) for d in text.documents()], np.int64).reshape(-1, len(COLUMNS))


def _duplicates(pieces: Sequence[str]) -> tuple[int, int]:
    seen: set[str] = set()
    count = chars = 0
    for p in pieces:
        if p in seen:
            count += 1
            chars += len(p)
        seen.add(p)
    return count, chars


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


def _reference_counts(t: str) -> list[int]:
    words = unicode.split(t)
    lines = re.split("\n+", t)
    filled = [x for x in lines if x]
    nonblank = [x for x in lines if unicode.strip(x)]
    again = Counter(filled)
    repeated = [x for x in filled if again[x] > 1]
    out = []
    for pieces in (re.split("\n{2,}", unicode.strip(t)), t.split("\n\n"), lines):
        out += [len(pieces), *_duplicates(pieces)]
    out += [len(filled), len(repeated), sum(map(len, repeated))]
    out += [len(nonblank), *_duplicates(nonblank)]
    out += [len(words), sum(map(len, words))]
    grams = {n: list(zip(*(words[k:] for k in range(n)), strict=False)) for n in (*TOP, *LONG)}
    for n in TOP:
        top = Counter(grams[n]).most_common(1)
        out += [top[0][1], len("".join(top[0][0]))] if top else [0, 0]
    out += [_walk(words, n) for n in LONG]
    for n in LONG:
        count = Counter(grams[n])
        out += [sum(len("".join(g)) for g in grams[n] if count[g] > 1), sum(len("".join(g)) for g in grams[n])]
    return out


_SPACE = unicode.SPACE


@compiled
def _stripped(data, start, end, stage, leaves):
    """(start, end) of str.strip()."""
    while start < end:
        c, n = unicode.decode_at(data, start)
        if unicode.table_value(stage, leaves, c) & _SPACE == 0:
            break
        start += n
    while end > start:
        i = end - 1
        while data[i] & 0xC0 == 0x80:
            i -= 1
        c, n = unicode.decode_at(data, i)
        if unicode.table_value(stage, leaves, c) & _SPACE == 0:
            break
        end = i
    return start, end


@compiled
def _blank(data, start, end, stage, leaves):
    """Whether there is nothing but white space."""
    while start < end:
        c, n = unicode.decode_at(data, start)
        if unicode.table_value(stage, leaves, c) & _SPACE == 0:
            return False
        start += n
    return True


_PARAGRAPHS, _BLOCKS, _LINES = 0, 1, 2


@compiled
def _next_piece(data, i, end, how):
    """(end of the piece that begins at i, beginning of the next one or -1)."""
    while True:
        i = next_newline(data, i, end)
        if i == end:
            return end, -1
        j = i + 1
        while j < end and data[j] == 10 and (how != _BLOCKS or j < i + 2):
            j += 1
        if how == _LINES or j >= i + 2:
            return i, j
        i = j


@compiled
def _pieces(data, start, end, how, stage, leaves, bounds, counts, table, clock, row, at):
    """Count pieces and duplicate ones; of lines also filled, repeated and nonblank ones."""
    mask = clear(table, clock, (end - start) // 32)
    n = distinct = dup = dup_chars = 0
    filled = repeated = repeated_chars = nonblank = dup_nonblank = dup_nonblank_chars = 0
    i = start
    while i >= 0:
        stop, following = _next_piece(data, i, end, how)
        if 2 * n + 2 > len(bounds):
            bounds = np.concatenate((bounds, np.empty_like(bounds)))
            counts = np.concatenate((counts, np.empty_like(counts)))
        bounds[2 * n] = i
        bounds[2 * n + 1] = stop
        key = hash_bytes(data, i, stop)
        s = find_span(table, clock, mask, key, data, bounds, 2, 1, n)
        again = is_filled(table, clock, s)
        chars = 0
        if again:
            first = item_at(table, s)
            chars = code_points(data, i, stop)
            dup += 1
            dup_chars += chars
            if stop > i:
                repeated += 1 + (counts[first] == 1)
                repeated_chars += chars * (1 + (counts[first] == 1))
            counts[first] = 2
        else:
            put(table, clock, s, key, n)
            counts[n] = 1
            distinct += 1
            if 2 * distinct >= mask:
                table, mask = grown(table, clock, mask)
        if how == _LINES:
            filled += stop > i
            if not _blank(data, i, stop, stage, leaves):
                nonblank += 1
                if again:
                    dup_nonblank += 1
                    dup_nonblank_chars += chars
        n += 1
        i = following
    row[at], row[at + 1], row[at + 2] = n, dup, dup_chars
    if how == _LINES:
        row[at + 3], row[at + 4], row[at + 5] = filled, repeated, repeated_chars
        row[at + 6], row[at + 7], row[at + 8] = nonblank, dup_nonblank, dup_nonblank_chars
    return bounds, counts, table


@compiled
def _count(data, offsets, ascii_flags, stage, leaves, table, clock, out):
    room, words_room = 0, 0
    packed = np.empty(0, np.uint8)
    bounds, chars = np.empty(1, np.int64), np.empty(1, np.int64)
    ids, grams, counts = np.empty(1, np.int32), np.empty(1, np.int32), np.empty(1, np.int32)
    places, marks = np.empty(1, np.int32), np.empty(1, np.uint8)
    piece_bounds, piece_counts = np.empty(2048, np.int64), np.empty(1024, np.int32)
    for d in range(len(offsets) - 1):
        start, end = offsets[d], offsets[d + 1]
        row = out[d]
        a, b = _stripped(data, start, end, stage, leaves)
        piece_bounds, piece_counts, table = _pieces(
            data, a, b, _PARAGRAPHS, stage, leaves, piece_bounds, piece_counts, table, clock, row, 0
        )
        piece_bounds, piece_counts, table = _pieces(
            data, start, end, _BLOCKS, stage, leaves, piece_bounds, piece_counts, table, clock, row, 3
        )
        piece_bounds, piece_counts, table = _pieces(
            data, start, end, _LINES, stage, leaves, piece_bounds, piece_counts, table, clock, row, 6
        )

        n_bytes = end - start
        if n_bytes > room:
            room = n_bytes
            packed = np.empty(room + 16, np.uint8)
        if n_bytes // 2 + 1 > words_room:
            words = count_words(data, start, end, ascii_flags, stage, leaves)
            if words > words_room:
                words_room = words
                bounds, chars = np.empty(words + 1, np.int64), np.empty(words + 1, np.int64)
                ids, grams = np.empty(words, np.int32), np.empty(words, np.int32)
                counts = np.empty(words, np.int32)
                places, marks = np.empty(words, np.int32), np.empty(words, np.uint8)
        words = split_words(data, start, end, ascii_flags, stage, leaves, packed, bounds, chars)
        row[15], row[16] = words, chars[words]

        _, table = number_words(words, packed, bounds, ids, counts, table, clock)
        m = repeated_words(words, ids, counts, places, grams)
        for n in range(2, 11):
            m, best, most, table = repeated_grams(n, ids, grams, places, m, marks, counts, table, clock)
            if n <= 4:
                row[13 + 2 * n] = most if n <= words else 0
                row[14 + 2 * n] = chars[best + n] - chars[best] if n <= words else 0
            else:
                row[2 * n + 19] = gram_chars(n, places, m, chars)
                row[2 * n + 20] = all_gram_chars(words, n, chars)

        m, table = joined_places(words, packed, bounds, places, marks, table, clock)
        for n in range(5, 11):
            row[18 + n], table = joined_duplicate_chars(words, n, packed, bounds, chars, places, marks, m, table, clock)


@repetition.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(COLUMNS)), np.int64)
    longest = int(np.diff(text.offsets).max(initial=0))
    if longest > BYTES_MAX:
        raise ValueError(
            f"repetition counts documents of up to {BYTES_MAX} bytes, this one has {longest}; "
            "set input.line_bytes_max to at most 4GiB, so that such a line is reported instead"
        )
    u = unicode
    _count(text.data, text.offsets, u.ASCII_FLAGS, u.FLAG_STAGE, u.FLAG_LEAVES, *new_table(), out)
    return out
