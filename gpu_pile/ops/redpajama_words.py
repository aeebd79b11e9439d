"""redpajama_words: RedPajama-Data v2's counts for a whole document.

    redpajama_words(text) = int64[n_docs, n_columns]

Raw words are regex.findall(r"\\w+|[^\\w\\s]+", t), with \\w as UTS18_WORD and without U+001C to U+001F in \\s: that is
NLTK's WordPunctTokenizer since it uses the regex module (3.10), where combining marks belong to words. Words are those
of the normal form (gpu_pile.text.normal_form): lower case, without ASCII punctuation. Lengths are in code points. The
published data set was made with an older NLTK, whose \\w is that of re: raw words differ in one document of a hundred,
above all in scripts with combining marks. Columns, for a document t:

    raw_words        raw words
    ascii_alpha_words  raw words with one of a-z, A-Z
    caps_words       raw words that are str.isupper()
    stop_words       raw words that are in the list of stop words, in this spelling
    sentences        len(re.findall(r"\\b[^.!?]+[.!?]*", t))
    curly            { and } signs
    words, chars     words, and their characters
    numeric          NUMERIC ones among these
    lines            lines, ending at line feeds, that have a word
    unique_words     distinct words
    entropy          floor(2^32 * sum of f ln(1 / f)), f the frequencies of the words, by normal_form.logarithm
    javascript       words that are "javascript"
    lorem            "lorem ipsum" in the words joined by spaces
    bad_phrases      entries of LDNOOBW among the words joined by spaces, at word boundaries
    top_N_chars      (N = 2, 3, 4) the most frequent n-gram, of equally frequent ones the first seen: its words'
                     characters times how often it occurs, overlaps included; 0 where none occurs more than once
    covered_N_chars  (N = 5 to 10) characters of words in n-grams that occur more than once, each word once
"""

from __future__ import annotations

import re
import string
from collections import Counter
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from gpu_pile.gpu.launch import launch_threads, launch_warps
from gpu_pile.gpu.ngrams import device_numbers, device_table, hash_spans, number_spans
from gpu_pile.gpu.segments import Segments, constant, constants, exclusive_sum, flag_tables, line_feeds
from gpu_pile.ops.op import Op, columns_by_width
from gpu_pile.ops.redpajama_lines import DOCUMENTS, NormalWords
from gpu_pile.ops.word_repetition import unpack_top
from gpu_pile.text import normal_form, unicode, unicode_reference
from gpu_pile.text.blocks import (
    BEYOND,
    BLOCK,
    DIGITS,
    SPACES,
    below,
    block,
    classify,
    last_bit,
    lowest,
    padded,
    runs_of,
    runs_with,
)
from gpu_pile.text.column import TextColumn
from gpu_pile.text.hash_table import home, home_int, new_table
from gpu_pile.text.jit import inlined, jit, leaf
from gpu_pile.text.ngrams import covered_chars, new_grams, number_words, pair_places, repeated_grams, word_keys
from gpu_pile.text.simd import (
    byte_at,
    bytes_of_64,
    count_ones,
    count_trailing_zeros,
    highest_bit,
    item,
    load_u64,
    lower_bytes,
    set_item,
    store_byte,
)
from gpu_pile.text.split import Words
from gpu_pile.types import Array, DeviceArray

TOP = (2, 3, 4)
LONG = (5, 6, 7, 8, 9, 10)


redpajama_words = Op(
    "redpajama_words",
    version=1,
    columns=(
        *("raw_words", "ascii_alpha_words", "caps_words", "stop_words", "sentences", "curly"),
        *("words", "chars", "numeric", "lines", "unique_words", "entropy", "javascript", "lorem", "bad_phrases"),
        *(f"top_{n}_chars" for n in TOP),
        *(f"covered_{n}_chars" for n in LONG),
    ),
    document_bytes_max=2**32,
    documents=(
        *DOCUMENTS,
        "The the and AND it's don't unfortunately hereupon uucp qv. thee a b c zero",
        "One. two three! (Four) five?! six... ...seven. - eight",
        "?!. a. b",
        "A.B.C. 1.5 e.g. \u00e9t\u00e9. _x_.",
        "f(x) { return x; } }{",
        "USA Usa usa U.S.A. ÉCOLE \u01c5 \u24b6\u24b7 X1 1 _A",
        "lorem ipsum, Lorem-ipsum lorem, ipsum dolorem ipsums lorem\nipsum loremipsum ipsum lorem",
        "an ass a cock and two girls one cup, two girls one cup! Asses ass-ass A.S.S. \U0001f595 \u00e9 ass",
        "one guy one jar one guy one",
        "x y x y x y z x y",
        "\x00 \x00the \x00a a\x00 \x00ass \x00 \x00",
        "a b c d e f a b c d e f a b c d e",
        "A, b. C! a B c; a b - c",
        " ".join(f"w{i % 7}" for i in range(60)),
        "x\u00b2 \u00bd a\u200db \x1c\x1d. a\x1fb \u24b6b \u0301 a.\u0301b \u2028\u0301",
        "one one one one two " * 1101,
        "Two girls one",  # an entry, were it not for the document's end
        "cup",
    ),
)
C = redpajama_words.index


@redpajama_words.reference
def _reference(text: TextColumn) -> Array:
    return np.array([_reference_counts(d.decode()) for d in text.documents()], np.int64).reshape(-1, len(C))


def _raw_words(t: str) -> list[str]:
    out: list[str] = []
    kind = 0
    for c in t:
        f = unicode_reference.flags(c)
        now = 0 if f & unicode.SPACE and c not in "\x1c\x1d\x1e\x1f" else 1 if f & unicode.UTS18_WORD else 2
        if now and now == kind:
            out[-1] += c
        elif now:
            out.append(c)
        kind = now
    return out


def _is_upper(word: str) -> bool:
    cased = [unicode_reference.flags(c) & (unicode.UPPER | unicode.CASED) for c in word]
    return any(f & unicode.UPPER for f in cased) and not any(f == unicode.CASED for f in cased)


def _sentences(t: str) -> int:
    count, inside = 0, False
    for c in t:
        if c in ".!?":
            inside = False
        elif not inside and unicode_reference.flags(c) & unicode.WORD:
            count, inside = count + 1, True
    return count


def _entropy(counts: list[int]) -> int:
    total = sum(counts)
    return sum(c * (normal_form.logarithm_int(total) - normal_form.logarithm_int(c)) for c in counts) // max(total, 1)


def _reference_counts(t: str) -> list[int]:
    raw = _raw_words(t)
    words = normal_form.normal_words(t)
    joined = " ".join(words)
    stop, bad = set(normal_form.stop_words()), set(normal_form.bad_phrases())
    out = [
        len(raw),
        sum(any(c.isascii() and c.isalpha() for c in w) for w in raw),
        sum(map(_is_upper, raw)),
        sum(w in stop for w in raw),
        _sentences(t),
        t.count("{") + t.count("}"),
        len(words),
        sum(map(len, words)),
        sum(bool(unicode_reference.flags(c) & unicode.NUMERIC) for c in joined),
        sum(bool(normal_form.normal_words(line)) for line in t.split("\n")),
        len(set(words)),
        _entropy(list(Counter(words).values())),
        words.count("javascript"),
        len(re.findall("lorem ipsum", joined)),
        sum(
            " ".join(words[i : i + n]) in bad
            for n in {1 + b.count(" ") for b in bad}
            for i in range(len(words) - n + 1)
        ),
    ]
    for n in (*TOP, *LONG):
        grams = list(zip(*(words[k:] for k in range(n)), strict=False))
        count = Counter(grams)
        if n in TOP:
            top, most = count.most_common(1)[0] if grams else ((), 0)
            out.append(len("".join(top)) * most if most > 1 else 0)
        else:
            covered = {i + k for i, gram in enumerate(grams) if count[gram] > 1 for k in range(n)}
            out.append(sum(len(words[i]) for i in covered))
    return out


_SPACE, _WORD, _UTS18_WORD = unicode.SPACE, unicode.WORD, unicode.UTS18_WORD
_UPPER, _CASED = unicode.UPPER, unicode.CASED
_GAPS = "\t\n\v\f\r "
"""White space of ASCII between raw words."""
_SENTENCE_ENDS, _DROPPED = ".!?", string.punctuation
_LINE_FEED, _FIRST_BEYOND_ASCII = ord("\n"), 0x80
_0, _1, _2 = np.uint64(0), np.uint64(1), np.uint64(2)

_TOP_CHARS = columns_by_width(C, "top_{}_chars", TOP)
_COVERED_CHARS = columns_by_width(C, "covered_{}_chars", LONG)


_LIKELY_BITS, _SLOTS = 14, 4096


class _Phrases:
    """The entries of LDNOOBW for compiled code. Words are found by hash and compared; entry e is the words
    sequence[starts[e]:starts[e + 1]], and entries that begin with word w are order[firsts[w]:firsts[w + 1]]."""

    def __init__(self, phrases: tuple[str, ...]) -> None:
        possible = [
            p
            for p in phrases
            if not any(
                c in p for c in map(chr, range(33, 127)) if normal_form.ASCII_NORMAL[ord(c)] == normal_form.DROPPED
            )
        ]
        entries = [p.split(" ") for p in possible]
        words = sorted({w for e in entries for w in e})
        raw = [w.encode() for w in words]
        self.data = np.frombuffer(b"".join(raw), np.uint8).copy()
        self.bounds = np.cumsum([0, *map(len, raw)]).astype(np.int64)
        number = {w: i for i, w in enumerate(words)}
        self.sequence = np.array([number[w] for e in entries for w in e], np.int64)
        self.starts = np.cumsum([0, *map(len, entries)]).astype(np.int64)
        self.order = np.array(sorted(range(len(entries)), key=lambda e: number[entries[e][0]]), np.int64)
        begins = np.bincount([number[e[0]] for e in entries], minlength=len(words))
        self.firsts = np.concatenate(([0], np.cumsum(begins))).astype(np.int64)
        keys = np.empty(len(words), np.uint64)
        word_keys(len(words), np.append(self.data, np.zeros(8, np.uint8)), self.bounds, keys)
        homes = [home_int(int(k), (1 << _LIKELY_BITS) - 1) for k in keys]
        self.likely = np.zeros(1 << _LIKELY_BITS, bool)  # a word of another key is in no entry
        self.likely[homes] = True
        self.slots = np.full(_SLOTS, -1, np.int64)
        for i, s in enumerate(homes):
            s &= _SLOTS - 1
            while self.slots[s] >= 0:
                s = (s + 1) & (_SLOTS - 1)
            self.slots[s] = i

    def arrays(self) -> tuple[Array, ...]:
        return self.data, self.bounds, self.sequence, self.starts, self.order, self.firsts, self.slots, self.likely


def _stop_table(words: tuple[str, ...]) -> Array:
    """uint64[4096, 2]: the words' bytes as two numbers, found by _is_stop; (0, 0) is empty.

    The words are of 16 bytes at most and begin with a small letter of ASCII."""
    table = np.zeros((4096, 2), np.uint64)
    for w in words:
        first, second = (int.from_bytes(part, "little") for part in (w.encode()[:8], w.encode()[8:16]))
        s = (first * _M + second) % 2**64 >> 52
        while table[s].any():
            s = (s + 1) & 4095
        table[s] = first, second
    return table


_STOP_BYTES = 16
"""Of the longest stop word."""
_M = 0x9E3779B97F4A7C15
_M64 = np.uint64(_M)


@leaf
def _is_stop(first, second, stops):
    s = (first * _M64 + second) >> np.uint64(52)
    while stops[s, 0]:
        if stops[s, 0] == first and stops[s, 1] == second:
            return True
        s = (s + np.uint64(1)) & np.uint64(4095)
    return False


@leaf
def _stop_key(data, start, end):
    """The bytes data[start:end], 1 to 16, as the two numbers of _stop_table."""
    first, second = np.uint64(0), np.uint64(0)
    n = end - start
    if start + 16 <= len(data):
        first = load_u64(data, start)
        if n <= 8:
            shift = np.uint64(64 - 8 * n)
            first = (first << shift) >> shift
        else:
            shift = np.uint64(128 - 8 * n)
            second = (load_u64(data, start + 8) << shift) >> shift
    else:
        for k in range(n):
            if k < 8:
                first |= np.uint64(data[start + k]) << np.uint64(8 * k)
            else:
                second |= np.uint64(data[start + k]) << np.uint64(8 * k - 64)
    return first, second


class _Beyond(NamedTuple):
    """Masks of the characters beyond ASCII that begin in a block.

    gaps, raw: all bytes of white space and of characters of raw words; *_after: those in the next block.
    word, upper, small: the first bytes of WORD, of UPPER and of other CASED characters.
    """

    gaps: Any
    gaps_after: Any
    raw: Any
    raw_after: Any
    word: Any
    upper: Any
    small: Any


@leaf
def _beyond_ascii(data, base, leads, stage, leaves):
    """Look up the characters whose first bytes are the bits `leads` of the block at data[base]."""
    gaps = gaps_after = raw = raw_after = word = upper = small = _0
    while leads:
        k = count_trailing_zeros(leads)
        bit = lowest(leads)
        leads ^= bit
        c, n = unicode.decode_at(data, base + k)
        f = np.int64(unicode.table_value(stage, leaves, c))
        own = (_1 << np.uint64(n)) - _1
        own_after = own >> np.uint64(BLOCK - k) if k + n > BLOCK else _0
        if f & _SPACE:
            gaps |= own << np.uint64(k)
            gaps_after |= own_after
        elif f & _UTS18_WORD:
            raw |= own << np.uint64(k)
            raw_after |= own_after
        if f & _WORD:
            word |= bit
        if f & _UPPER:
            upper |= bit
        elif f & _CASED:
            small |= bit
    return _Beyond(gaps, gaps_after, raw, raw_after, word, upper, small)


@leaf
def _is_stop_word(data, start, end, stops):
    """Return whether the raw word data[start:end], which begins with a small letter, is in the list."""
    if end - start > _STOP_BYTES:
        return False
    first, second = _stop_key(data, start, end)
    return _is_stop(first, second, stops)


@leaf
def _count_raw(data, begin, end, tables, stops, row):
    """Write the columns that come from raw words, 64 bytes at a time."""
    stage, leaves = tables[0], tables[1]
    raws = alpha = cased = small = stop = sentences = curly = 0
    raw_before, other_before, raw_after, gaps_after = (
        _0,
        _0,
        _0,
        _0,
    )  # of the block before: last bits, bytes in this one
    alpha_open, cased_open, small_open, sentence_open = _0, _0, _0, _0  # whether the run that goes on has a seed
    first, first_small = begin, _0  # of the raw word that goes on: where it begins, whether with a small letter
    for i in range(begin, end, BLOCK):
        m = classify(data, i, end)
        at, shift, valid = block(data, i, end)
        beyond = _beyond_ascii(data, i, m.beyond & ~m.tails, stage, leaves)
        upper, lower = m.capitals | beyond.upper, m.letters & ~m.capitals | beyond.small
        word = m.letters | m.digits | bytes_of_64(data, at, "_") >> shift & valid
        raw = (word | raw_after | beyond.raw) & valid
        gaps = bytes_of_64(data, at, _GAPS) >> shift | gaps_after | beyond.gaps
        other = ~(raw | gaps) & valid
        runs = runs_of(raw, raw_before)
        raws += count_ones(runs.starts) + count_ones(runs_of(other, other_before).starts)

        ended, alpha_open = runs_with(raw, m.letters, alpha_open)
        alpha += count_ones(ended)
        ended, cased_open = runs_with(raw, (upper | lower) & raw, cased_open)
        cased += count_ones(ended)
        ended, small_open = runs_with(raw, lower & raw, small_open)
        small += count_ones(ended)
        in_sentence = valid & ~(bytes_of_64(data, at, _SENTENCE_ENDS) >> shift)
        ended, sentence_open = runs_with(in_sentence, (word | beyond.word) & in_sentence, sentence_open)
        sentences += count_ones(ended)
        curly += count_ones(bytes_of_64(data, at, "{}") >> shift & valid)

        starts, ends = runs.starts, runs.ends
        if not raw_before:
            first, first_small, starts = _next_start(i, starts, lower)
        while ends:
            stop += first_small and _is_stop_word(data, first, i + count_trailing_zeros(ends), stops)
            ends &= ends - _1
            first, first_small, starts = _next_start(i, starts, lower)
        raw_before, other_before = last_bit(raw), last_bit(other)
        raw_after, gaps_after = beyond.raw_after, beyond.gaps_after
    stop += raw_before and first_small and _is_stop_word(data, first, end, stops)
    row[C.raw_words], row[C.ascii_alpha_words] = raws, alpha + np.int64(alpha_open)
    row[C.caps_words] = cased + np.int64(cased_open) - small - np.int64(small_open)
    row[C.stop_words], row[C.sentences], row[C.curly] = stop, sentences + np.int64(sentence_open), curly


@inlined
def _next_start(base, starts, lower):
    """Return (position of the first start or after the block, 1 if it is a small letter, the other starts)."""
    k = count_trailing_zeros(starts)
    return base + k, (lower >> np.uint64(min(k, 63))) & _1, starts & (starts - _1)


_N_SPECIAL, _N_KEPT, _N_DIGIT = 1 << 8, 9, 10
_NORMAL = np.array(
    [
        n | _N_SPECIAL * chr(c).isspace() | (n != normal_form.DROPPED) << _N_KEPT | chr(c).isdigit() << _N_DIGIT
        for c, n in enumerate(normal_form.ASCII_NORMAL.tolist())
    ]
    + [_N_SPECIAL] * 128,
    np.uint16,
)
"""For each byte what it becomes in the normal form, whether it needs a closer look (white space and what is beyond
ASCII), whether it is kept, whether it is a digit."""


class _Normal(NamedTuple):
    """Masks of 64 bytes of a text, which begin with a word or white space, up to the first byte that is not decided.

    A word that goes on after the block, or has a character beyond ASCII, is not decided.
    """

    kept: Any
    """characters of words that the normal form keeps"""
    ends: Any
    """the byte after each word that the normal form keeps something of"""
    line_feeds: Any
    digits: Any
    size: Any
    """bytes that are decided"""
    is_beyond: Any
    """whether what comes next is beyond ASCII, or a word that has such a character"""


@leaf
def _normal_block(data, i, end):
    at, shift, valid = block(data, i, end)
    beyond = bytes_of_64(data, at, BEYOND) >> shift & valid
    known = valid & below(lowest(beyond))
    spaces = bytes_of_64(data, at, SPACES) >> shift & known
    if beyond or end - i >= BLOCK:
        known = (_2 << np.uint64(highest_bit(spaces))) - _1 if spaces else _0
    inside = known & ~spaces
    kept = inside & ~(bytes_of_64(data, at, _DROPPED) >> shift)
    ends, _ = runs_with(inside, kept, _0)
    feeds, digits = bytes_of_64(data, at, "\n") >> shift & known, bytes_of_64(data, at, DIGITS) >> shift & known
    return _Normal(kept, ends, feeds, digits, count_ones(known), beyond != _0)


@leaf
def _split_normal(data, i, end, tables, text, marks, row):
    """Write the words of the normal form of data[i:end] to `text` (gpu_pile.text.split.Words). Return how many.

    Writes the columns numeric and lines too. marks: scratch, as normal_word takes it.
    """
    packed, bounds, chars = text
    words = numeric = lines = 0
    line_open = _0  # 1 if a word has come in this line
    bounds[0] = chars[0] = 0
    while i < end:
        m = _normal_block(data, i, end)
        o, total = bounds[words], chars[words]
        ends, kept = m.ends, m.kept
        while ends:
            n = count_ones(kept & below(lowest(ends)))
            ends &= ends - _1
            words += 1
            set_item(bounds, words, o + n)
            set_item(chars, words, total + n)
        starts, ends = kept & ~(kept << _1), (kept << _1) & ~kept  # what punctuation and white space leave
        while starts:
            k = count_trailing_zeros(starts)
            n = count_trailing_zeros(ends) - k
            lower_bytes(packed, o, data, i + k, n)
            o += n
            starts &= starts - _1
            ends &= ends - _1
        numeric += count_ones(m.digits)
        if m.size:
            ended, line_open = runs_with(~m.line_feeds, kept, line_open)
            lines += count_ones(ended)
        i += m.size
        if m.is_beyond or m.size == 0:
            i, letters, digits = _next_word(data, i, end, tables, marks, text, words)
            words += letters > 0
            numeric += digits
            line_open |= np.uint64(letters > 0)
    row[C.numeric], row[C.lines] = numeric, lines + np.int64(line_open)
    return words


@leaf
def _next_word(data, i, end, tables, marks, text, words):
    """Write the word of the normal form at data[i], one character at a time; data[i] may be white space.

    Returns (where the word or white space ends, characters of the word, those that are NUMERIC)
    """
    packed, bounds, chars = text
    start, first = i, bounds[words]
    o = first
    plain = True
    digits = 0
    while i < end:
        f = np.int64(_NORMAL[byte_at(data, i)])
        n = 1
        if f & _N_SPECIAL == 0:
            store_byte(packed, o, f)
            o += (f >> _N_KEPT) & 1
            digits += f >> _N_DIGIT
        elif data[i] < _FIRST_BEYOND_ASCII:
            break
        else:
            c, n = unicode.decode_at(data, i)
            if unicode.table_value(tables[0], tables[1], c) & _SPACE:
                i += n if i == start else 0
                break
            plain = False
        i += n
    letters = o - first
    if not plain:
        o, letters, digits = _normal_word(data, start, i, tables, marks, packed, first)
    if letters:
        bounds[words + 1], chars[words + 1] = o, chars[words] + letters
    return i, letters, digits


_normal_word = normal_form.normal_word


@leaf
def _entropy_of(words, ids, counts, logarithms):
    """floor(sum over different words of c * (ln(words) - ln(c)) / words), in units of 2^-32, in 64-bit numbers."""
    whole, rest = np.int64(0), np.int64(0)
    log_words = normal_form.logarithm(logarithms, words)
    for i in range(words):
        c = np.int64(item(counts, i)) * (item(ids, i) == i)  # 0 for a word that was seen before; its logarithm is 0
        rest += c * (log_words - normal_form.logarithm(logarithms, c))
        if rest >= 1 << 61:
            whole += rest // words
            rest %= words
    return whole + rest // words if words else 0


@leaf
def _same(data, a, other, b, n):
    k = 0
    while k < n and data[a + k] == other[b + k]:
        k += 1
    return k == n


@leaf
def _phrases(words, packed, bounds, keys, codes, candidates, phrases):
    """Return how many entries begin at a word, summed over all words.

    keys: of word_keys. codes, candidates: scratch, int32[words].
    """
    data, word_bounds, sequence, starts, order, firsts, slots, likely = phrases
    n = 0
    for i in range(words):
        set_item(codes, i, np.int32(-1))
        set_item(candidates, n, np.int32(i))
        n += item(likely, home(item(keys, i), len(likely) - 1))
    for j in range(n):
        i = candidates[j]
        size = bounds[i + 1] - bounds[i]
        s = home(keys[i], _SLOTS - 1)
        while slots[s] >= 0:
            w = slots[s]
            if word_bounds[w + 1] - word_bounds[w] == size and _same(packed, bounds[i], data, word_bounds[w], size):
                codes[i] = w
                break
            s = (s + 1) & (_SLOTS - 1)
    found = 0
    for j in range(n):
        i = candidates[j]
        w = codes[i]
        if w < 0:
            continue
        for e in range(firsts[w], firsts[w + 1]):
            start, size = starts[order[e]], starts[order[e] + 1] - starts[order[e]]
            k = 1
            while k < size and i + k < words and codes[i + k] == sequence[start + k]:
                k += 1
            found += k == size
    return found


def _bytes(text: str) -> np.uint64:
    """Up to eight bytes as load_u64 gives them."""
    return np.uint64(int.from_bytes(text.encode(), "little"))


_JAVASCR, _IPT, _LOREM, _IPSUM = map(_bytes, ("javascr", "ipt", "lorem", "ipsum"))
_THREE, _FIVE, _SEVEN = (np.uint64((1 << 8 * n) - 1) for n in (3, 5, 7))
"""Masks of three, five and seven bytes."""


@leaf
def _word_texts(words, packed, bounds, row):
    """Write the columns javascript and lorem, without branches that depend on the words."""
    javascript = lorem = 0
    for i in range(words):
        start, end = item(bounds, i), item(bounds, i + 1)
        last = load_u64(packed, max(end - 5, 0)) & _FIVE
        javascript += (
            (end - start == 10)
            & (load_u64(packed, start) & _SEVEN == _JAVASCR)
            & (load_u64(packed, start + 7) & _THREE == _IPT)
        )
        lorem += (
            (end - start >= 5)
            & (last == _LOREM)
            & (load_u64(packed, end) & _FIVE == _IPSUM)
            & (item(bounds, min(i + 2, words)) - end >= 5)
        )
    row[C.javascript], row[C.lorem] = javascript, lorem


@jit
def _count(data, offsets, tables, lists, scratch, table, out):
    stops, phrases, logarithms = lists
    packed, marks = scratch
    room = 0
    text, grams = Words(packed, np.empty(1, np.int64), np.empty(1, np.int64)), new_grams(1)
    for d in range(len(offsets) - 1):
        start, end = offsets[d], offsets[d + 1]
        row = out[d]
        _count_raw(data, start, end, tables, stops, row)
        if (end - start) // 2 + 1 > room:
            n = 0  # after each word comes a character of white space or the end
            for i in range(start, end):
                n += data[i] >= _FIRST_BEYOND_ASCII or _NORMAL[data[i]] & _N_SPECIAL != 0
            n = min(n + 1, (end - start) // 2 + 1)
            if n > room:
                room = n
                text, grams = Words(packed, np.empty(room + 2, np.int64), np.empty(room + 2, np.int64)), new_grams(room)
        words = _split_normal(data, start, end, tables, text, marks, row)
        chars = text.chars
        row[C.words], row[C.chars] = words, chars[words]
        row[C.unique_words], table = number_words(words, text, grams, table)
        row[C.entropy] = _entropy_of(words, grams.ids, grams.counts, logarithms)
        _word_texts(words, packed, text.bounds, row)
        row[C.bad_phrases] = _phrases(words, packed, text.bounds, grams.keys, grams.places, grams.first, phrases)
        m = pair_places(words, grams)
        for n in range(TOP[0], LONG[-1] + 1):
            m, top, table = repeated_grams(n, m, chars, grams, table)
            if n <= TOP[-1]:
                row[_TOP_CHARS[n]] = (chars[top.first + n] - chars[top.first]) * top.count if top.count > 1 else 0
            else:
                row[_COVERED_CHARS[n]] = covered_chars(n, m, grams, chars)


@cache
def _lists() -> tuple[Any, Any]:
    return _stop_table(normal_form.stop_words()), _Phrases(normal_form.bad_phrases()).arrays()


@redpajama_words.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(C)), np.int64)
    longest = int(np.diff(text.offsets).max(initial=0))
    scratch = np.empty(normal_form.EXPANSION * longest + BLOCK, np.uint8), normal_form.new_marks(longest)
    lists = (*_lists(), normal_form.LOGARITHMS)
    _count(padded(text.data), text.offsets, normal_form.UNICODE_TABLES, lists, scratch, new_table(), out)
    return out


_RAW_COLUMNS = C.raw_words, C.ascii_alpha_words, C.caps_words, C.stop_words, C.sentences, C.curly

# Bits of kernels/redpajama_words.cu.
_LETTER, _CAPITAL, _SMALL, _STOP = 1, 2, 4, 8


def _device_raw(xp: Any, text: TextColumn) -> tuple[Array, ...]:
    """The columns that come from raw words, int64[n_docs] each."""
    segments = Segments.of_text(xp, text)
    documents = (text.data, text.offsets, *segments.args, *flag_tables(xp))
    counts, sentences, curly = (xp.empty(segments.count, np.int64) for _ in range(3))
    launch_warps("redpajama_words", "count_raw_words", segments.count, *documents, counts, sentences, curly)
    before = exclusive_sum(xp, counts)
    n = int(before[-1])
    starts, stops, owners = (xp.empty(n, np.int64) for _ in range(3))
    launch_warps("redpajama_words", "find_raw_words", segments.count, *documents, before, starts, stops, owners)
    words = Segments.of(xp, stops - starts)
    classes = xp.zeros(n, np.uint32)
    launch_warps(
        "redpajama_words",
        "classify_raw_words",
        words.count,
        text.data,
        starts,
        stops,
        *words.args,
        *flag_tables(xp),
        classes,
    )
    launch_threads(
        "redpajama_words", "find_stop_words", n, text.data, starts, stops, n, constant(xp, _lists()[0]), classes
    )
    first = before[segments.first]

    def sums(values: Array, bounds: Array) -> Array:
        return xp.diff(exclusive_sum(xp, values.astype(np.int64))[bounds])

    letter, stop = (classes & _LETTER) > 0, (classes & _STOP) > 0
    caps = (classes & (_CAPITAL | _SMALL)) == _CAPITAL
    return (
        xp.diff(first),
        *(sums(x, first) for x in (letter, caps, stop)),
        *(sums(x, segments.first) for x in (sentences, curly)),
    )


@redpajama_words.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    out = xp.empty((len(text), len(C)), np.int64)
    for column, values in zip(_RAW_COLUMNS, _device_raw(xp, text), strict=True):
        out[:, column] = values
    words = NormalWords.of(xp, text)
    first, n = words.first, len(words.owners)
    out[:, C.words] = xp.diff(first)
    out[:, C.chars], out[:, C.numeric] = xp.diff(words.chars[first]), xp.diff(words.numerics[first])
    lines = xp.searchsorted(line_feeds(xp, text.data), words.places)  # of each word
    first_of_line = xp.ones(n, bool)
    first_of_line[1:] = (lines[1:] != lines[:-1]) | (words.owners[1:] != words.owners[:-1])
    out[:, C.lines] = _sums(xp, words, first_of_line)

    hashes, _ = hash_spans(xp, words.data, words.bounds, 1, xp.diff(words.bounds))
    numbers, counts = number_spans(xp, words.data, words.bounds, 1, 1, words.owners, hashes)
    out[:, C.unique_words] = _sums(xp, words, numbers == xp.arange(n, dtype=np.uint32))
    out[:, C.entropy] = _device_entropy(xp, words, numbers, counts)
    _count_device_texts(xp, words, out)
    _count_device_grams(xp, words, numbers, counts, out)
    return out


def _sums(xp: Any, words: NormalWords, values: DeviceArray) -> DeviceArray:
    """Return int64[n_docs]: the sums of one value per word."""
    return xp.diff(exclusive_sum(xp, values.astype(np.int64))[words.first])


def _of_each(xp: Any, kernel: str, n: int, *arguments: Any) -> DeviceArray:
    """Return int64[n]: what a kernel writes for each word."""
    values = xp.empty(n, np.int64)
    launch_threads("redpajama_words", kernel, n, *arguments, values)
    return values


def _device_entropy(xp: Any, words: NormalWords, numbers: DeviceArray, counts: DeviceArray) -> DeviceArray:
    """Return the column entropy. numbers, counts: of number_spans."""
    n = len(words.owners)
    high, logarithms = xp.empty(n, np.int64), constant(xp, normal_form.LOGARITHMS)
    low = _of_each(xp, "weigh_words", n, numbers, counts, words.owners, words.first, n, logarithms, high)
    total, n_words = _sums(xp, words, high), xp.maximum(xp.diff(words.first), 1)
    return (total // n_words << 32) + ((total % n_words << 32) + _sums(xp, words, low)) // n_words


def _count_device_texts(xp: Any, words: NormalWords, out: DeviceArray) -> None:
    """Write the columns javascript, lorem and bad_phrases."""
    n = len(words.owners)
    javascript, codes = xp.empty(n, np.int64), xp.empty(n, np.int32)
    launch_threads("redpajama_lines", "find_javascript", n, words.data, words.bounds, n, javascript)
    out[:, C.javascript] = _sums(xp, words, javascript)
    lorem = _of_each(xp, "find_lorem", n, words.data, words.bounds, words.owners, n)
    out[:, C.lorem] = _sums(xp, words, lorem)
    data, bounds, sequence, starts, order, firsts = constants(xp, _lists()[1][:6])
    launch_threads(
        "redpajama_words", "look_up_words", n, words.data, words.bounds, n, data, bounds, len(bounds) - 1, codes
    )
    entries = _of_each(xp, "count_entries", n, codes, words.owners, n, sequence, starts, order, firsts)
    out[:, C.bad_phrases] = _sums(xp, words, entries)


def _count_device_grams(
    xp: Any, words: NormalWords, numbers: DeviceArray, counts: DeviceArray, out: DeviceArray
) -> None:
    """Write the columns of n-grams. numbers, counts: of number_spans."""
    n, chars = len(words.owners), words.chars
    grams = numbers
    for width in range(TOP[0], LONG[-1] + 1):
        mask, table = device_table(xp, n)
        slots = xp.empty(n, np.uint32)
        launch_threads("word_repetition", "match_grams", n, numbers, grams, counts, n, width, mask, table, slots)
        grams, counts = device_numbers(xp, slots, table)
        if width in TOP:
            best = xp.zeros(len(out), np.uint64)
            launch_threads("word_repetition", "top_grams", n, words.owners, grams, counts, n, best)
            count, place = unpack_top(xp, best)
            out[:, _TOP_CHARS[width]] = (chars[xp.minimum(place + width, n)] - chars[place]) * count
        else:
            covered = _of_each(xp, "cover_words", n, grams, counts, chars, n, width)
            out[:, _COVERED_CHARS[width]] = _sums(xp, words, covered)
