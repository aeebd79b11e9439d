"""dclm_words: words between Unicode's word boundaries, and n-grams of them that a document has more than once.

    dclm_words(text) = int64[n_docs, n_columns]

Words are the pieces between the boundaries of UAX #29 (gpu_pile.text.unicode_reference.word_segments) that begin with
a letter or digit, str.isalnum(). Lengths are in code points. For a document t:

    words, chars       how many words there are, and the sum of their lengths
    top_N_chars        (N = 2, 3, 4) the most frequent n-gram of N words, the longest on ties: the sum of its words'
                       lengths, times the number of its occurrences, overlaps included; 0 if no n-gram occurs twice
    covered_N_chars    (N = 5 to 10) characters in words inside n-grams that occur more than once, each word once

Everything is counted exactly: words and n-grams of equal hash are compared (gpu_pile.text.ngrams). A document has at
most 4 GiB, and one call on a GPU at most 2^30 words.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from gpu_pile.gpu.launch import launch_threads
from gpu_pile.gpu.ngrams import device_numbers, device_table, hash_spans, number_spans
from gpu_pile.gpu.segments import Segments, constant, count_then_write, exclusive_sum, gather
from gpu_pile.ops.op import Op
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.blocks import BEYOND, BLOCK, DIGITS, LETTERS, below, block, lowest, padded
from gpu_pile.text.column import TextColumn
from gpu_pile.text.hash_table import new_table
from gpu_pile.text.jit import inlined, jit, leaf
from gpu_pile.text.ngrams import DOCUMENTS, covered_chars, new_grams, number_words, pair_places, repeated_grams
from gpu_pile.text.simd import SLACK, byte_at, bytes_of_64, copy_bytes, count_trailing_zeros, set_item
from gpu_pile.text.split import Words
from gpu_pile.types import Array

TOP = (2, 3, 4)
LONG = (5, 6, 7, 8, 9, 10)

dclm_words = Op(
    "dclm_words",
    version=1,
    document_bytes_max=2**32,
    columns=("words", "chars", *(f"top_{n}_chars" for n in TOP), *(f"covered_{n}_chars" for n in LONG)),
    documents=(
        *DOCUMENTS,
        "The quick (“brown”) fox can’t jump 32.3 feet, right? e.g. U.S.A. a.b.c 1,234.5 3.a a.3 1..2 a..b",
        "can't 'quoted' don''t rock'n'roll 1'000 a:b a::b 12:30 a,b 1;2 1_000 _a a_ __ _1 x_y",
        'א"ב ג\' ד" ה"1 א׳ב א״ב א״ ״ב א\'ב\' a"b א"a a"א',
        "カタカナ カ_カ ーー カタa aカ ｶﾞﾊﾟ ひらがな 漢字 漢a字 한글 한a글",
        "\u0308a b\u0308\u0308c a\u0308'\u0308b 1\u0308.\u00ad2 a\u00ad:\u200d ：b \n\u0308a \r\u200da\u0308",
        "a\u200d😀b 1\u200d™2 \u200dⓂx ⓐ\u200dⓂ ℹ\u200dℹ ²²③ x² ¼½ \U0001f1e6\U0001f1e7a\U0001f1e8 👩\u200d🚀",
        "\uff9e\uff9f \uff9ea \n\uff9e\x85\uff9f\u2028\uff9e \u0308\uff9e",
        "ก็ไทย हिन्दी नमस्ते ٣٤٫٥ ٣,٤ ١a \u0601١ ܏ܐ",
        "a" + "\u0308" * 40 + "'" + "\u0308" * 40 + "b" + "\u200d" * 40 + "😀" + "\u0308" * 40 + "c",
        "1" + "\u00ad" * 9 + "." + "\u00ad" * 9 + "1." + "\u00ad" * 9 + 'x א\u0308"\u0308ב א\u0308"\u0308c',
        "a b, c d; a b. c d! a b: c d? a b c d e f g h i j k a b c d e f g h i j k",
        "a² a² a² b² " * 8,
        "one-two three/four one-two three/four\x00one\x00two",
        "ab cd ab cd abc d abc d x yy x yy",
    ),
)
C = dclm_words.index


@dclm_words.reference
def _reference(text: TextColumn) -> Array:
    return np.array([_reference_counts(d.decode()) for d in text.documents()], np.int64).reshape(-1, len(C))


def _reference_counts(t: str) -> list[int]:
    alnum = unicode.ALPHA | unicode.NUMERIC
    words = [w for w in unicode_reference.word_segments(t) if unicode_reference.flags(w[0]) & alnum]
    out = [len(words), sum(map(len, words))]
    for n in (*TOP, *LONG):
        grams = list(zip(*(words[k:] for k in range(n)), strict=False))
        count = Counter(grams)
        most = max(count.values(), default=0)
        if n in TOP:
            out.append(max((len("".join(g)) * most for g in count if count[g] == most > 1), default=0))
        else:
            covered = {i + k for i, gram in enumerate(grams) if count[gram] > 1 for k in range(n)}
            out.append(sum(len(words[i]) for i in covered))
    return out


MID_LETTERS, MID_NUMBERS = "':.", "',.;"
"""Bytes that join two letters, and two digits."""

_0, _1 = np.uint64(0), np.uint64(1)
_BEYOND_ASCII, _LOW_LINE = 0x80, ord("_")
_KINDS, _PICTOGRAPHIC, _COUNTS = unicode.BREAK_KINDS, unicode.PICTOGRAPHIC, unicode.LETTER_OR_DIGIT
_NEWLINE, _IGNORED, _ZWJ, _KATAKANA = unicode.NEWLINE, unicode.IGNORED, unicode.ZWJ, unicode.KATAKANA
_SINGLE, _DOUBLE = unicode.SINGLE_QUOTE, unicode.DOUBLE_QUOTE
_MID_NUM_LET, _MID_LETTER, _MID_NUM = unicode.MID_NUM_LET, unicode.MID_LETTER, unicode.MID_NUM
_LETTER, _HEBREW, _NUMBER, _EXTEND = unicode.LETTER, unicode.HEBREW, unicode.NUMBER, unicode.EXTEND_NUM_LET


class _Breaks(NamedTuple):
    """The table of word boundaries: for ASCII, and in two stages for all characters."""

    ascii: Array
    stage: Array
    leaves: Array


_ASCII = np.zeros(256, np.uint8)
_ASCII[:128] = unicode.ASCII_BREAKS
"""Values of the table of word boundaries for ASCII, 0 for other bytes; no boundary is between two from _LETTER on."""


@inlined
def _value_at(data, i, breaks):
    """Return (value in the table of word boundaries, bytes) of the character at data[i]."""
    if data[i] < _BEYOND_ASCII:
        return np.int64(breaks.ascii[data[i]]), 1
    c, n = unicode.decode_at(data, i)
    return np.int64(unicode.table_value(breaks.stage, breaks.leaves, c)), n


@jit
def _kind_after(data, i, end, breaks):
    """Return the class of the next character in data[i:end] that is not ignored; 0 if there is none."""
    while i < end:
        value, n = _value_at(data, i, breaks)
        kind = value & _KINDS
        if kind != _IGNORED and kind != _ZWJ:
            return kind
        i += n
    return 0


@jit
def _belongs(two_before, before, kind, data, after, end, breaks):
    """Whether no boundary is before a character, as in gpu_pile.text.unicode_reference._belongs.

    kind is the class of the character, `after` where the next one begins. Not for two classes from _LETTER on.
    """
    if kind >= _LETTER:
        if kind == _EXTEND:
            return before == _KATAKANA
        if kind == _NUMBER:
            return two_before == _NUMBER and before in (_MID_NUM, _MID_NUM_LET, _SINGLE)
        if two_before == _HEBREW and before == _DOUBLE:
            return kind == _HEBREW
        return two_before in (_LETTER, _HEBREW) and before in (_MID_LETTER, _MID_NUM_LET, _SINGLE)
    if kind == _KATAKANA:
        return before in (_KATAKANA, _EXTEND)
    if before in (_LETTER, _HEBREW):
        if kind == _SINGLE and before == _HEBREW:
            return True
        if kind in (_MID_LETTER, _MID_NUM_LET, _SINGLE):
            following = _kind_after(data, after, end, breaks)
            return following in (_LETTER, _HEBREW)
        if kind == _DOUBLE and before == _HEBREW:
            return _kind_after(data, after, end, breaks) == _HEBREW
    elif before == _NUMBER and kind in (_MID_NUM, _MID_NUM_LET, _SINGLE):
        return _kind_after(data, after, end, breaks) == _NUMBER
    return False


@jit
def _segment_end(data, i, end, breaks):
    """Return (where the piece that begins at data[i] ends, its characters, the value of its first character).

    The end does not depend on what precedes the piece.
    """
    ascii = breaks.ascii
    first, n = _value_at(data, i, breaks)
    last = first & _KINDS
    i += n
    chars = 1
    if last == _NEWLINE:
        return i, chars, first
    two_before, before = 0, 0 if last in (_IGNORED, _ZWJ) else last
    while i < end:
        if before >= _LETTER:  # letters and digits of ASCII that follow belong to the piece
            run = i
            while i < end and ascii[byte_at(data, i)] >= _LETTER:
                i += 1
            if i > run:
                chars += i - run
                before = last = np.int64(ascii[data[i - 1]]) & _KINDS
                if i == end:
                    break
        value, n = _value_at(data, i, breaks)
        kind = value & _KINDS
        if before < _LETTER or kind < _LETTER:
            if kind == _NEWLINE:
                break
            if kind in (_IGNORED, _ZWJ):
                i += n
                chars += 1
                last = kind
                continue
            if (last != _ZWJ or value & _PICTOGRAPHIC == 0) and not _belongs(
                two_before, before, kind, data, i + n, end, breaks
            ):
                break
        two_before, before, last = before, kind, kind
        i += n
        chars += 1
    return i, chars, first


@inlined
def _word_runs(data, i, end):
    """Find the words of ASCII in data[i:i + 64], where i begins a piece and ends a piece before it.

    Returns (bits of the runs of word characters, how many bytes are decided, whether the next byte is beyond ASCII).
    Whether a run goes on depends on the character after it, and on two if the next one may join letters or digits. So
    of 64 bytes the last is not decided; and a run at the end of what is decided is not, unless that is the text's end.
    """
    at, shift, valid = block(data, i, end)
    beyond = bytes_of_64(data, at, BEYOND) >> shift & valid
    letters = bytes_of_64(data, at, LETTERS) >> shift & valid
    digits = bytes_of_64(data, at, DIGITS) >> shift & valid
    mid_letters = bytes_of_64(data, at, MID_LETTERS) >> shift & valid
    mid_numbers = bytes_of_64(data, at, MID_NUMBERS) >> shift & valid
    run = letters | digits | (bytes_of_64(data, at, "_") >> shift & valid)
    run |= mid_letters & (letters << _1) & (letters >> _1)
    run |= mid_numbers & (digits << _1) & (digits >> _1)
    if beyond:
        first = lowest(beyond)
        run &= below(first)
        run |= (mid_letters | mid_numbers) & (run << _1) & (first >> _1)
        return run, count_trailing_zeros(beyond), True
    size = min(end - i, BLOCK - 1)
    return run & ((_1 << np.uint64(size)) - _1), size, False


@leaf
def _split(data, i, end, breaks, text):
    """Split as gpu_pile.text.split.split_words does; words that bounds and chars have no room for are only counted.

    data has BLOCK bytes or more.
    """
    packed, bounds, chars = text
    words = o = total = 0
    bounds[0] = chars[0] = 0
    while i < end:
        run, size, is_beyond = _word_runs(data, i, end)
        starts, ends = run & ~(run << _1), (run << _1) & ~run
        is_last = i + size == end
        undecided = size > 0 and not is_last and (run >> np.uint64(size - 1)) & _1 != _0
        if not is_last:
            ends &= (_1 << np.uint64(size)) - _1
        while ends:
            first = i + count_trailing_zeros(starts)
            n = i + count_trailing_zeros(ends) - first
            starts &= starts - _1
            ends &= ends - _1
            if byte_at(data, first) == _LOW_LINE:  # the piece does not begin with a letter or digit
                continue
            copy_bytes(packed, o, data, first, n)
            words, o, total = words + 1, o + n, total + n
            if words < len(bounds):
                set_item(bounds, words, o)
                set_item(chars, words, total)
        if undecided:
            size = count_trailing_zeros(starts)
        elif is_beyond and size:
            size -= 1  # what is beyond ASCII may belong to the character before
        i += size
        if is_beyond or (undecided and size == 0):
            while True:
                start = i
                i, n, first = _segment_end(data, start, end, breaks)
                if first & _COUNTS:
                    copy_bytes(packed, o, data, start, i - start)
                    words, o, total = words + 1, o + i - start, total + n
                    if words < len(bounds):
                        set_item(bounds, words, o)
                        set_item(chars, words, total)
                if i == end or byte_at(data, i) < _BEYOND_ASCII:
                    break
    return words


@jit
def _count(data, offsets, breaks, packed, table, out):
    room = 0
    text, grams = Words(packed, np.empty(1, np.int64), np.empty(1, np.int64)), new_grams(1)
    for d in range(len(offsets) - 1):
        start, end = offsets[d], offsets[d + 1]
        row = out[d]
        if (end - start) * 2 // 3 + 1 > room:  # "a\u00b2" is two words of three bytes
            n = _split(data, start, end, breaks, Words(packed, text.bounds[:1], text.chars[:1]))
            if n > room:
                room = n
                text, grams = Words(packed, np.empty(room + 1, np.int64), np.empty(room + 1, np.int64)), new_grams(room)
        words = _split(data, start, end, breaks, text)
        row[C.words], row[C.chars] = words, text.chars[words]
        _, table = number_words(words, text, grams, table)
        m = pair_places(words, grams)
        for n in range(2, 11):
            m, top, table = repeated_grams(n, m, text.chars, grams, table)
            if n <= 4:
                row[C.top_2_chars + n - 2] = top.longest * top.count if top.count > 1 else 0
            else:
                row[C.covered_5_chars + n - 5] = covered_chars(n, m, grams, text.chars)


@dclm_words.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(C)), np.int64)
    longest = int(np.diff(text.offsets).max(initial=0))
    packed = np.empty(longest + SLACK, np.uint8)
    breaks = _Breaks(_ASCII, unicode.BREAK_STAGE, unicode.BREAK_LEAVES)
    _count(padded(text.data), text.offsets, breaks, packed, new_table(), out)
    return out


def _device_words(xp: Any, text: TextColumn) -> tuple[Array, Array, Array]:
    """Return (data, bounds, owners): word i, of document owners[i], is data[bounds[i]:bounds[i + 1]]."""
    segments = Segments.of_text(xp, text)
    tables = constant(xp, unicode.BREAK_STAGE), constant(xp, unicode.BREAK_LEAVES)
    inputs = (text.data, text.offsets, *segments.args, *tables)
    kernels = "count_pieces", "find_pieces"
    _, starts, owners, is_word = count_then_write(
        xp, "dclm_words", kernels, segments, inputs, np.int64, np.int64, np.uint8
    )
    stops = xp.concatenate((starts[1:], text.offsets[-1:]))
    words = xp.flatnonzero(is_word)
    data, bounds = gather(xp, text.data, starts[words], stops[words] - starts[words])
    return data, bounds, owners[words]


@dclm_words.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    docs = len(text)
    data, bounds, owners = _device_words(xp, text)
    n = len(owners)
    first = xp.searchsorted(owners, xp.arange(docs + 1, dtype=np.int64))
    hashes, word_chars = hash_spans(xp, data, bounds, 1, xp.diff(bounds))
    chars = exclusive_sum(xp, word_chars)
    out = xp.empty((docs, len(C)), np.int64)
    out[:, C.words], out[:, C.chars] = xp.diff(first), xp.diff(chars[first])
    words, counts = number_spans(xp, data, bounds, 1, 1, owners, hashes)
    grams = words
    for width in range(2, 11):
        mask, table = device_table(xp, n)
        slots = xp.empty(n, np.uint32)
        launch_threads("word_repetition", "match_grams", n, words, grams, counts, n, width, mask, table, slots)
        grams, counts = device_numbers(xp, slots, table)
        if width in TOP:
            best, longest = xp.zeros(docs, np.uint64), xp.zeros(docs, np.uint64)
            launch_threads("word_repetition", "top_grams", n, owners, grams, counts, n, best)
            launch_threads(
                "word_repetition", "longest_top_grams", n, owners, grams, counts, chars, n, width, best, longest
            )
            out[:, C.top_2_chars + width - 2] = ((best >> np.uint64(32)) * longest).astype(np.int64)
        else:
            covered = xp.empty(n, np.int64)
            launch_threads("redpajama_words", "cover_words", n, grams, counts, chars, n, width, covered)
            out[:, C.covered_5_chars + width - 5] = xp.diff(exclusive_sum(xp, covered)[first])
    return out
