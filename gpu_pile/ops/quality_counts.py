"""quality_counts: what can be counted about a document's characters, words and lines in one pass over its bytes.

    quality_counts(text) = int64[n_docs, len(COLUMNS)]

Words are str.split(): runs without white space. Lines are str.splitlines(). Character classes are those of
gpu_pile.unicode; lengths are in code points. Columns, for a document t:

    chars               len(t)
    words               len(t.split())
    word_chars          sum of the words' lengths
    plain_words         words with at least one character that is no PUNCTUATION
    plain_word_chars    sum of their lengths
    alpha_words         words with at least one ALPHA character
    stop_words          how many of STOP_WORDS occur as a word, in this spelling (0 to 8)
    hashes              t.count("#")
    ellipses            t.count("...") + t.count("…"), without overlaps
    lines               len(t.splitlines())
    bullet_lines        lines whose first character that is no white space is • or -
    ellipsis_lines      lines that end in ... or … when white space at the end is left out
    newlines            t.count("\\n")
    alpha_chars, numeric_chars, upper_chars, space_chars, punctuation_chars   characters of these classes
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile import unicode
from gpu_pile.columns import TextColumn
from gpu_pile.compiled import compiled
from gpu_pile.device import Segments, constant, flag_tables
from gpu_pile.kernel import launch_threads, launch_warps
from gpu_pile.op import Op

Array = np.ndarray[Any, Any]

COLUMNS = (
    "chars",
    "words",
    "word_chars",
    "plain_words",
    "plain_word_chars",
    "alpha_words",
    "stop_words",
    "hashes",
    "ellipses",
    "lines",
    "bullet_lines",
    "ellipsis_lines",
    "newlines",
    "alpha_chars",
    "numeric_chars",
    "upper_chars",
    "space_chars",
    "punctuation_chars",
)

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Rae et al. 2021, appendix A1."""

quality_counts = Op(
    "quality_counts",
    version=2,
    documents=(
        " ",
        "\n",
        "\r\n",
        "\r\r\n\n",
        "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i",
        "\x1f word\x1fword",
        "a\u00a0b\u3000c\u200bd",
        "the be to of and that have with the The thee",
        "the\x00 the, the",
        "\x00be \x00\x00of",
        "# ## a#b",
        "....",
        "......",
        ". .. ... .... .....",
        "..\n.",
        "wait...\nwait... \t\nwait… \nwait. ..\n...",
        "…...…",
        "• a\n  - b\n\t•c\n* d\n-\n\n \n–",
        "- a\r\n- b\r- c",
        "1 ² Ⅻ x1 -- !? a! _",
        "ÀÉ ÿ Dž ß \u0345 ＡＢ",
        "１ ％ 。",
        "漢字 かな\u3000テスト",
        "😀 e\u0301",
        "x" * 100,
        "no newline at the end",
        "one at the end\n",
    ),
)


@quality_counts.reference
def _reference(text: TextColumn) -> Array:
    return np.array([_reference_counts(d.decode()) for d in text.documents()], np.int64).reshape(-1, len(COLUMNS))


def _reference_counts(t: str) -> list[int]:
    def has(c: str, bit: int) -> bool:
        return bool(unicode.flags(c) & bit)

    words, lines = unicode.split(t), unicode.split_lines(t)
    plain = [w for w in words if not all(has(c, unicode.PUNCTUATION) for c in w)]
    stripped = [unicode.strip(line) for line in lines]
    classes = (unicode.ALPHA, unicode.NUMERIC, unicode.UPPER, unicode.SPACE, unicode.PUNCTUATION)
    return [
        len(t),
        len(words),
        sum(map(len, words)),
        len(plain),
        sum(map(len, plain)),
        sum(any(has(c, unicode.ALPHA) for c in w) for w in words),
        len(set(STOP_WORDS) & set(words)),
        t.count("#"),
        t.count("...") + t.count("…"),
        len(lines),
        sum(s.startswith(("•", "-")) for s in stripped),
        sum(s.endswith(("...", "…")) for s in stripped),
        t.count("\n"),
        *(sum(has(c, bit) for c in t) for bit in classes),
    ]


def _stop_table() -> tuple[Array, np.uint64]:
    """The stop words' bytes as numbers, each alone in its slot (number * factor >> 60) of 16, and that factor."""
    numbers = [int.from_bytes(w.encode(), "big") for w in STOP_WORDS]
    factor = 0x9E3779B97F4A7C15
    while len({n * factor % 2**64 >> 60 for n in numbers}) < len(numbers):
        factor = (factor * 5 + 2) % 2**64 | 1
    table = np.zeros(16, np.uint64)
    for n in numbers:
        table[n * factor % 2**64 >> 60] = n
    return table, np.uint64(factor)


_STOP_KEYS, _SLOTS = _stop_table()

_ALPHA, _NUMERIC, _SPACE, _LINE_BREAK = unicode.ALPHA, unicode.NUMERIC, unicode.SPACE, unicode.LINE_BREAK
_UPPER, _PUNCTUATION = unicode.UPPER, unicode.PUNCTUATION


@compiled
def _count(data, offsets, ascii_flags, stage, leaves, stop_keys, out):
    for d in range(len(offsets) - 1):
        i, end = offsets[d], offsets[d + 1]
        chars = words = word_chars = plain_words = plain_word_chars = alpha_words = 0
        hashes = ellipses = lines = bullets = ellipsis_lines = newlines = 0
        alpha = numeric = upper = space = punctuation = 0
        seen = 0  # one bit a stop word
        length = 0  # of the word we are in
        word_flags, all_punctuation = 0, _PUNCTUATION
        key = np.uint64(0)
        key_bytes = 0
        run = 0  # dots in a row since the last ellipsis was counted
        dots = 0  # dots in a row up to the last character of the line that is no white space; 3 also for …
        fresh_line = True  # only white space so far
        line_chars = 0
        before = 0  # the character before
        while i <= end:
            if i == end:  # the end closes the last word like white space
                f, c, n = _SPACE, 0, 1
            elif data[i] < 0x80:
                c, n = np.int64(data[i]), 1
                f = np.int64(ascii_flags[c])
                if f & _ALPHA:  # a run of ASCII letters: most of most texts
                    first = i
                    while True:
                        upper += c < 0x60
                        key = (key << np.uint64(8)) | np.uint64(c)
                        i += 1
                        if i >= end:
                            break
                        c = np.int64(data[i])
                        if c >= 0x80 or ascii_flags[c] & _ALPHA == 0:
                            break
                    n = i - first
                    chars += n
                    length += n
                    key_bytes += n
                    alpha += n
                    line_chars += n
                    word_flags |= _ALPHA
                    all_punctuation = 0
                    fresh_line = False
                    run = dots = 0
                    before = 0x61  # some letter
                    continue
            else:
                c, n = unicode.decode_at(data, i)
                f = np.int64(unicode.table_value(stage, leaves, c))
            if f & _SPACE:
                if length:
                    words += 1
                    word_chars += length
                    if all_punctuation == 0:
                        plain_words += 1
                        plain_word_chars += length
                    alpha_words += word_flags & _ALPHA  # ALPHA is 1
                    # a word that begins with NUL has the key of the rest of it
                    if 2 <= key_bytes <= 4 and key >> np.uint64(8 * key_bytes - 8):
                        slot = (key * _SLOTS) >> np.uint64(60)
                        seen |= np.int64(stop_keys[slot] == key) << np.int64(slot)
                    length = word_flags = key_bytes = 0
                    all_punctuation = _PUNCTUATION
                    key = np.uint64(0)
                if i == end:
                    break
                if c == 32:
                    space += 1
                    chars += 1
                    line_chars += 1
                    run = 0
                    before = 32
                    i += 1
                    continue
                space += 1
                numeric += (f & _NUMERIC) != 0
                punctuation += (f & _PUNCTUATION) != 0
                run = 0
                line_chars += 1
                if f & _LINE_BREAK:
                    newlines += c == 10
                    if not (c == 10 and before == 13):
                        lines += 1
                        ellipsis_lines += dots >= 3
                    dots = line_chars = 0
                    fresh_line = True
            else:
                length += 1
                word_flags |= f
                all_punctuation &= f
                key = (key << np.uint64(8)) | np.uint64(c & 0xFF)
                key_bytes += n if c < 0x80 else 5
                alpha += f & _ALPHA
                numeric += (f & _NUMERIC) != 0
                upper += (f & _UPPER) != 0
                punctuation += (f & _PUNCTUATION) != 0
                line_chars += 1
                if fresh_line:
                    bullets += c == 0x2022 or c == 0x2D
                    fresh_line = False
                if c == 0x2E:
                    run += 1
                    dots = dots + 1 if before == 0x2E else 1
                    if run == 3:
                        ellipses += 1
                        run = 0
                else:
                    run = 0
                    dots = 0
                    if c == 0x23:
                        hashes += 1
                    elif c == 0x2026:
                        ellipses += 1
                        dots = 3
            before = c
            chars += 1
            i += n
        if line_chars:
            lines += 1
            ellipsis_lines += dots >= 3
        stops = 0
        while seen:
            stops += seen & 1
            seen >>= 1
        row = out[d]
        row[0], row[1], row[2], row[3], row[4], row[5] = (
            chars, words, word_chars, plain_words, plain_word_chars, alpha_words,
        )  # fmt: skip
        row[6], row[7], row[8], row[9], row[10], row[11] = stops, hashes, ellipses, lines, bullets, ellipsis_lines
        row[12], row[13], row[14], row[15], row[16], row[17] = newlines, alpha, numeric, upper, space, punctuation


@quality_counts.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(COLUMNS)), np.int64)
    u = unicode
    _count(text.data, text.offsets, u.ASCII_FLAGS, u.FLAG_STAGE, u.FLAG_LEAVES, _STOP_KEYS, out)
    return out


STOP_NUMBERS = np.array([int.from_bytes(w.encode(), "big") for w in STOP_WORDS], np.uint32)
_SUMMARY = len(COLUMNS) + 13
"""Entries of a segment's summary: SUMMARY in kernels/quality_counts.cu."""


@quality_counts.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    out = xp.empty((len(text), len(COLUMNS)), np.int64)
    segments = Segments.of(xp, xp.diff(text.offsets), 16_384)
    stops = constant(xp, STOP_NUMBERS)
    summaries = xp.empty((segments.count, _SUMMARY), np.int32)
    launch_warps(
        "quality_counts", "quality_counts_segments", segments.count, text.data, text.offsets, *segments.args,
        *flag_tables(xp), stops, len(stops), summaries,
    )  # fmt: skip
    launch_threads(
        "quality_counts", "quality_counts_join", len(text), text.data, text.offsets, len(text), segments.first,
        segments.size, *flag_tables(xp), stops, len(stops), summaries, out,
    )  # fmt: skip
    return out
