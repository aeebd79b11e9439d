"""variant_counts: what Dolma, DCLM and NeMo Curator count in other ways than Gopher's first implementations.

    variant_counts(text) = int64[n_docs, len(COLUMNS)]

Words are str.split(); lengths are in code points. Columns, for a document t:

    symbol_words         words with # or …
    stop_words           words that are one of quality_counts.STOP_WORDS, every occurrence counted
    stop_words_lower     the same, in any case of ASCII letters
    twice_median_word    twice the median of the words' lengths (a whole number); 0 where there is no word
    longest_word         length of the longest word
    nemo_symbol_words    words that are one of NEMO_ELLIPSES, or in which runs of # outnumber half of the characters
    nemo_alnum_chars     characters in [a-zA-Z0-9\\n?!,.]
    decimal_chars        DECIMAL characters
    paren_chars          characters in { } ⟨ ⟩ [ ] ( )
    nemo_space_chars     tabs, line feeds, carriage returns, backspaces, spaces
    url_chars            characters of matches of URL
    porn_urls            matches of URL with "porn"
    xml_header           1 where the first 100 characters have "<?xml version="
"""

from __future__ import annotations

import re
import statistics
from typing import Any

import numpy as np
from numba import njit

from gpu_pile import unicode
from gpu_pile.columns import TextColumn
from gpu_pile.compiled import compiled
from gpu_pile.device import Segments, constant, flag_tables, sums_before
from gpu_pile.kernel import launch_threads, launch_warps
from gpu_pile.op import Op
from gpu_pile.ops.quality_counts import STOP_WORDS, _stop_table
from gpu_pile.ops.word_repetition import device_words

Array = np.ndarray[Any, Any]

COLUMNS = (
    *("symbol_words", "stop_words", "stop_words_lower", "twice_median_word", "longest_word", "nemo_symbol_words"),
    *("nemo_alnum_chars", "decimal_chars", "paren_chars", "nemo_space_chars", "url_chars", "porn_urls", "xml_header"),
)

NEMO_ELLIPSES = ("...", "[...]", "…", "(...)", "[…]", "-»")
URL = r"http[s]?://(?:[a-zA-Z]|[0-9]|[$-_@.&+]|[!*\(\),]|(?:%[0-9a-fA-F][0-9a-fA-F]))+"
XML_CHARS = 100

variant_counts = Op(
    "variant_counts",
    version=1,
    documents=(
        " ",
        "a",
        "a bb",
        "a bb ccc dddd",
        "x" * 300 + " " + "y" * 400 + " z " + "w" * 301,
        "# ## a# #a# #a#b # #a#b# … a…b ... [...] (...) […] -» - » .... [..] (…) # #",
        "the The THE thee of and AND Of the.\nwith WITH",
        "a1٣²Ⅻ {x} [y] (z) ⟨w⟩ \b\t\r\n ,.!?;",
        "http://a.b https://x.y/porn?q=1#porn http:// https:/ http://é httphttp://a http://http://porn",
        'see http://a.b/(c),d%20e"f and HTTPS://no.no https://x http://x~y http://pornporn.x',
        'x <?xml version="1.0"?>',
        "é" * 86 + "<?xml version=",
        "é" * 87 + "<?xml version=",
        "<?xml  version=",
        "漢字 かな 😀",
        "\x00the \x00... \x00… \x00\x00",
        "http://x",
        "https://",
        " ".join("a" * (i % 9 + 1) for i in range(100)),
    ),
)


@variant_counts.reference
def _reference(text: TextColumn) -> Array:
    return np.array([_reference_counts(d.decode()) for d in text.documents()], np.int64).reshape(-1, len(COLUMNS))


def _reference_counts(t: str) -> list[int]:
    words = unicode.split(t)
    lengths = list(map(len, words))
    urls = re.findall(URL, t)
    return [
        sum("#" in w or "…" in w for w in words),
        sum(w in STOP_WORDS for w in words),
        sum(w.isascii() and w.lower() in STOP_WORDS for w in words),
        int(2 * statistics.median(lengths)) if lengths else 0,
        max(lengths, default=0),
        sum(w in NEMO_ELLIPSES or 2 * len(re.findall("#+", w)) > len(w) for w in words),
        len(re.findall("[a-zA-Z0-9\n?!,.]", t)),
        sum(bool(unicode.flags(c) & unicode.DECIMAL) for c in t),
        len(re.findall(r"{|}|⟨|⟩|\[|\]|\(|\)", t)),
        sum(c in "\t\n\r\b " for c in t),
        sum(map(len, urls)),
        sum("porn" in url for url in urls),
        "<?xml version=" in t[:XML_CHARS],
    ]


_SPACE, _DECIMAL = unicode.SPACE, unicode.DECIMAL
_HTTP, _PORN, _XML = (np.frombuffer(s, np.uint8).copy() for s in (b"http", b"porn", b"<?xml version="))

# ASCII classes
_A_SPACE, _A_ALNUM, _A_DIGIT, _A_PAREN, _A_WHITE, _A_URL = (1 << i for i in range(6))
_ASCII = np.array(
    [
        _A_SPACE * chr(c).isspace()
        | _A_ALNUM * bool(re.match("[a-zA-Z0-9\n?!,.]", chr(c)))
        | _A_DIGIT * chr(c).isdigit()
        | _A_PAREN * (chr(c) in "{}[]()")
        | _A_WHITE * (chr(c) in "\t\n\r\b ")
        | _A_URL * (chr(c).isalpha() or chr(c) == "!" or 0x24 <= c <= 0x5F)
        for c in range(128)
    ],
    np.uint8,
)


def _keys(words: tuple[str, ...]) -> Array:
    return np.array([int.from_bytes(w.encode(), "big") for w in words], np.uint64)


_STOP_KEYS, _SLOTS = _stop_table()
_SYMBOL_KEYS = _keys(NEMO_ELLIPSES)


@njit
def _has(keys, key):
    for k in keys:  # noqa: SIM110, numba compiles no generators
        if k == key:
            return True
    return False


@njit
def _key(data, start, end):
    """The bytes data[start:end], eight at most, as one number."""
    key = np.uint64(0)
    for k in range(start, end):
        key = (key << np.uint64(8)) | np.uint64(data[k])
    return key


@njit
def _is_stop(data, start, end, keys):
    """(whether the word data[start:end] is a stop word, whether it is one in lower case)"""
    key = _key(data, start, end)
    lower = key | np.uint64(0x20202020) >> np.uint64(8 * (4 - (end - start)))
    if keys[(lower * _SLOTS) >> np.uint64(60)] != lower:
        return False, False
    # setting a bit made capital letters small, but also other signs others: ` of @, { of [
    for i in range(start, end):
        if not (0x41 <= data[i] <= 0x5A or 0x61 <= data[i] <= 0x7A):
            return False, False
    return key == lower, True


@njit
def _is_at(data, i, end, pattern):
    if i + len(pattern) > end:
        return False
    k = 0
    while k < len(pattern) and data[i + k] == pattern[k]:
        k += 1
    return k == len(pattern)


@njit
def _url_end(data, i, end, ascii):
    """Where a URL that begins at i ends; i where there is none."""
    j = i + 4
    if j < end and data[j] == 0x73:
        j += 1
    if j + 3 >= end or data[j] != 0x3A or data[j + 1] != 0x2F or data[j + 2] != 0x2F:
        return i
    j += 3
    first = j
    while j < end and data[j] < 0x80 and ascii[data[j]] & _A_URL:
        j += 1
    return j if j > first else i


@compiled
def _count(data, offsets, ascii, stage, leaves, stop_keys, symbol_keys, out):
    histogram = np.zeros(256, np.int64)
    lengths = np.empty(64, np.int64)  # of words of 256 characters or more
    for d in range(len(offsets) - 1):
        begin, end = offsets[d], offsets[d + 1]
        row = out[d]
        row[:] = 0
        alnum = digits = parens = white = words = longest = long_words = 0
        length = n_bytes = 0
        symbol = False
        hash_runs = 0
        url_until = begin
        i = begin
        while i <= end:
            if i == end:
                f, n = _A_SPACE, 1
            elif data[i] < 0x80:
                f, n = np.int64(ascii[data[i]]), 1
            else:
                c, n = unicode.decode_at(data, i)
                g = unicode.table_value(stage, leaves, c)
                f = _A_SPACE if g & _SPACE else 0
                digits += (g & _DECIMAL) != 0
                parens += c == 0x27E8 or c == 0x27E9
                symbol |= c == 0x2026
            if f & _A_SPACE:
                if length:
                    words += 1
                    row[0] += symbol
                    row[5] += 2 * hash_runs > length
                    if n_bytes <= 5:
                        first = data[i - n_bytes]
                        if first == 0x5B or first == 0x28 or 0 < first < 0x30 or first == 0xE2:
                            row[5] += _has(symbol_keys, _key(data, i - n_bytes, i))
                        elif 2 <= n_bytes <= 4 and first < 0x80:
                            same, lower = _is_stop(data, i - n_bytes, i, stop_keys)
                            row[1] += same
                            row[2] += lower
                    longest = max(longest, length)
                    if length < 256:
                        histogram[length] += 1
                    else:
                        if long_words == len(lengths):
                            lengths = np.concatenate((lengths, np.empty_like(lengths)))
                        lengths[long_words] = length
                        long_words += 1
                    length = n_bytes = 0
                    symbol = False
                    hash_runs = 0
                if i == end:
                    break
            else:
                length += 1
                n_bytes += n
                if data[i] == 0x23:
                    symbol = True
                    hash_runs += length == 1 or data[i - 1] != 0x23
                if data[i] == 0x68 and i >= url_until and _is_at(data, i, end, _HTTP):
                    url_until = _url_end(data, i, end, ascii)
                    row[10] += url_until - i
                    for k in range(i, url_until - 3):
                        if _is_at(data, k, url_until, _PORN):
                            row[11] += 1
                            break
                    url_until = max(url_until, i + 1)
            alnum += (f & _A_ALNUM) != 0
            digits += (f & _A_DIGIT) != 0
            parens += (f & _A_PAREN) != 0
            white += (f & _A_WHITE) != 0
            i += n
        if words:
            low, high = (words - 1) // 2, words // 2  # positions of the two middle ones
            if long_words:
                lengths[:long_words].sort()
            below = 0
            for k in range(256):
                below += histogram[k]
                if low < below and low >= below - histogram[k]:
                    row[3] += k
                if high < below and high >= below - histogram[k]:
                    row[3] += k
                histogram[k] = 0
            if low >= below:
                row[3] += lengths[low - below]
            if high >= below:
                row[3] += lengths[high - below]
        row[4] = longest
        row[6], row[7], row[8], row[9] = alnum, digits, parens, white
        chars = 0
        i = begin
        while i < end and chars + len(_XML) <= XML_CHARS:
            if data[i] == 0x3C and _is_at(data, i, end, _XML):
                row[12] = 1
                break
            c, n = unicode.decode_at(data, i)
            i += n
            chars += 1


@variant_counts.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(COLUMNS)), np.int64)
    u = unicode
    _count(text.data, text.offsets, _ASCII, u.FLAG_STAGE, u.FLAG_LEAVES, _STOP_KEYS, _SYMBOL_KEYS, out)
    return out


_STOP_NUMBERS = _keys(tuple(STOP_WORDS))
_LENGTH_BITS = 33
"""Of a word's length where it is sorted together with the number of its document."""


@variant_counts.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    docs = len(text)
    out = xp.zeros((docs, len(COLUMNS)), np.int64)
    segments = Segments.of(xp, xp.diff(text.offsets), 16_384)
    kinds = [xp.empty(segments.count, np.int64) for _ in range(6)]
    launch_warps(
        "variant_counts", "count_characters_of_kinds", segments.count, text.data, text.offsets, *segments.args,
        *flag_tables(xp), *kinds,
    )  # fmt: skip
    for column, counts in enumerate(kinds, 6):
        out[:, column] = xp.diff(sums_before(xp, counts)[segments.first])
    header = xp.empty(docs, np.int64)
    launch_threads("variant_counts", "find_xml_headers", docs, text.data, text.offsets, docs, header)
    out[:, 12] = header

    starts, stops, owners, first = device_words(xp, text)
    n = len(owners)
    segments = Segments.of(xp, stops - starts, 16_384)
    chars, runs, bits = xp.zeros(n, np.int64), xp.zeros(n, np.int64), xp.zeros(n, np.uint32)
    launch_warps(
        "variant_counts", "read_words", segments.count, text.data, starts, stops, *segments.args, chars, runs, bits
    )
    stop_keys, symbol_keys = constant(xp, _STOP_NUMBERS), constant(xp, _SYMBOL_KEYS)
    launch_threads(
        "variant_counts", "judge_words", n, text.data, starts, stops, n, stop_keys, len(stop_keys), symbol_keys,
        len(symbol_keys), chars, runs, bits,
    )  # fmt: skip
    for column, bit in ((0, 1), (1, 2), (2, 4), (5, 8)):
        out[:, column] = xp.diff(sums_before(xp, ((bits & bit) > 0).astype(np.int64))[first])
    if n:
        ascending = xp.sort(owners << _LENGTH_BITS | chars) & ((1 << _LENGTH_BITS) - 1)  # within each document
        begin, words = first[:-1], xp.diff(first)
        low, high, last = (
            xp.minimum(begin + xp.maximum(k, 0), n - 1) for k in ((words - 1) // 2, words // 2, words - 1)
        )
        out[:, 3] = xp.where(words > 0, ascending[low] + ascending[high], 0)
        out[:, 4] = xp.where(words > 0, ascending[last], 0)
    return out
