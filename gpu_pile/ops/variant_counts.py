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
from gpu_pile.device import Segments, constant, flag_tables
from gpu_pile.kernel import launch_threads, launch_warps
from gpu_pile.native import byte_at, is_one_of, load_u64, starts_with, swap_bytes
from gpu_pile.op import Op
from gpu_pile.ops.quality_counts import STOP_NUMBERS, STOP_WORDS, _stop_table
from gpu_pile.ops.word_repetition import device_split_words

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
        "http://x",
        "\x00... \x00the \x00\x00be \x00# a\x00 \x00",
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
_HTTP, _SLASHES, _PORN, _XML = (
    np.frombuffer(s, np.uint8).copy() for s in (b"http", b"://", b"porn", b"<?xml version=")
)

_A_URL, _A_HERE = np.uint64(1 << 60), np.uint64(1 << 61)
"""Bits of _ASCII: the character belongs to URLs; it is to be looked at by itself."""
_FIELD = 15
"""Bits of each count in a sum of _ASCII values; so many characters less than 1 << _FIELD may be summed up."""
_ASCII = np.array(
    [
        int(bool(re.match("[a-zA-Z0-9\n?!,.]", chr(c))))
        | chr(c).isdigit() << _FIELD
        | (chr(c) in "{}[]()") << 2 * _FIELD
        | (chr(c) in "\t\n\r\b ") << 3 * _FIELD
        | int(_A_URL) * (chr(c).isalpha() or chr(c) == "!" or 0x24 <= c <= 0x5F)
        | int(_A_HERE) * (chr(c).isspace() or chr(c) in ":#")
        for c in range(128)
    ]
    + [int(_A_HERE)] * 128,
    np.uint64,
)


def _keys(words: tuple[str, ...]) -> Array:
    raw = [w.encode() for w in words]
    return np.array([int.from_bytes(w, "big") | len(w) << 56 for w in raw], np.uint64)


_STOP_KEYS, _SLOTS = _stop_table()
_SYMBOL_KEYS = _keys(NEMO_ELLIPSES)


@njit
def _key(data, start, end):
    """The bytes data[start:end], one to eight, as one number."""
    if end >= 8:
        shift = np.uint64(64 - 8 * (end - start))
        return (swap_bytes(load_u64(data, end - 8)) << shift) >> shift
    key = np.uint64(0)
    for k in range(start, end):
        key = (key << np.uint64(8)) | np.uint64(data[k])
    return key


@njit
def _is_stop(key, n, keys):
    """(whether the word of n bytes, 2 to 4, is a stop word, whether it is one in lower case)"""
    # all letters: what becomes one of them by this bit is the letter or its capital
    lower = key | np.uint64(0x20202020) >> np.uint64(8 * (4 - n))
    found = keys[(lower * _SLOTS) >> np.uint64(60)] == lower
    return found and key == lower, found


@njit
def _find_url(data, colon, begin, end, ascii):
    """(start, end) of the URL in data[begin:end] with this colon behind http or https; (colon, colon) if none is."""
    start = colon - 4
    if start >= begin and data[colon - 1] == 0x73:
        start -= 1
    if start < begin or not starts_with(data, start, colon, _HTTP) or not starts_with(data, colon, end, _SLASHES):
        return colon, colon
    first = colon + len(_SLASHES)
    i = first
    while i < end and ascii[data[i]] & _A_URL:
        i += 1
    return (start, i) if i > first else (colon, colon)


@njit
def _find_xml(data, begin, end):
    """Whether the first XML_CHARS characters of data[begin:end] have an XML header."""
    for i in range(begin, min(end, begin + 4 * XML_CHARS)):
        if data[i] == 0x3C and starts_with(data, i, end, _XML):
            chars = len(_XML)
            for k in range(begin, i):
                chars += (data[k] & 0xC0) != 0x80
            return chars <= XML_CHARS
    return False


@compiled
def _count(data, offsets, ascii, stage, leaves, stop_keys, symbol_keys, lengths, out):
    # lengths: scratch, of words of 256 characters or more
    histogram = np.zeros(256, np.int64)
    field = np.uint64(_FIELD)
    ones = (np.uint64(1) << field) - np.uint64(1)
    for d in range(len(offsets) - 1):
        begin, end = offsets[d], offsets[d + 1]
        row = out[d]
        row[:] = 0
        alnum = digits = parens = white = words = longest = long_words = 0
        symbols = stops = stops_lower = nemo_symbols = 0
        word = i = begin  # where the word we are in begins
        continuations = 0  # its bytes beyond one a character
        symbol = False
        hash_runs = 0
        url_until = begin
        part = begin
        while True:
            # sums of a part of the text, because a count has only _FIELD bits
            part = min(end, i + (1 << _FIELD) - 1)
            sums = np.uint64(0)
            while True:
                while i < part:
                    f = ascii[byte_at(data, i)]
                    if f & _A_HERE:
                        break
                    sums += f
                    i += 1
                n = 1
                space = i >= end
                if i >= part:
                    if not space:
                        break
                elif data[i] < 0x80:
                    sums += f ^ _A_HERE
                    if data[i] == 0x23:
                        symbol = True
                        hash_runs += i == word or data[i - 1] != 0x23
                    elif data[i] == 0x3A:
                        url, url_end = _find_url(data, i, url_until, end, ascii)
                        if url < url_end:
                            row[10] += url_end - url
                            url_until = url_end
                            for k in range(url, url_end - 3):
                                if starts_with(data, k, url_end, _PORN):
                                    row[11] += 1
                                    break
                    else:
                        space = True
                else:
                    c, n = unicode.decode_at(data, i)
                    g = unicode.table_value(stage, leaves, c)
                    space = (g & _SPACE) != 0
                    digits += (g & _DECIMAL) != 0
                    parens += c == 0x27E8 or c == 0x27E9
                    symbol |= c == 0x2026
                    continuations += n - 1
                if space:
                    if i > word:
                        n_bytes = i - word
                        length = n_bytes - continuations + (n - 1)
                        words += 1
                        symbols += symbol
                        nemo_symbols += 2 * hash_runs > length
                        if n_bytes <= 5:
                            key = _key(data, word, i)
                            first = data[word]
                            if 2 <= n_bytes <= 4:
                                same, lower = _is_stop(key, n_bytes, stop_keys)
                                stops += same
                                stops_lower += lower
                            if first == 0x5B or first == 0x28 or first < 0x30 or first == 0xE2:
                                nemo_symbols += is_one_of(key | np.uint64(n_bytes) << np.uint64(56), symbol_keys)
                        longest = max(longest, length)
                        if length < 256:
                            histogram[length] += 1
                        else:
                            lengths[long_words] = length
                            long_words += 1
                        symbol = False
                        hash_runs = 0
                    continuations = 0
                    word = i + n
                    if i >= end:
                        break
                i += n
            alnum += np.int64(sums & ones)
            digits += np.int64((sums >> field) & ones)
            parens += np.int64((sums >> (field + field)) & ones)
            white += np.int64((sums >> (field + field + field)) & ones)
            if i >= end:
                break
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
        row[0], row[1], row[2], row[4], row[5] = symbols, stops, stops_lower, longest, nemo_symbols
        row[6], row[7], row[8], row[9] = alnum, digits, parens, white
        row[12] = _find_xml(data, begin, end)


@variant_counts.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(COLUMNS)), np.int64)
    u = unicode
    lengths = np.empty(int(np.diff(text.offsets).max(initial=0)) // 257 + 1, np.int64)
    _count(text.data, text.offsets, _ASCII, u.FLAG_STAGE, u.FLAG_LEAVES, _STOP_KEYS, _SYMBOL_KEYS, lengths, out)
    return out


_LENGTHS = 256  # words of fewer characters are counted by length, to find the median


@variant_counts.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    out = xp.zeros((len(text), len(COLUMNS)), np.uint64)
    segments = Segments.of(xp, xp.diff(text.offsets), 16_384)
    launch_warps(
        "variant_counts", "variant_counts_characters", segments.count, text.data, text.offsets, *segments.args,
        *flag_tables(xp), out,
    )  # fmt: skip
    starts, stops, owners, first = device_split_words(xp, text)
    n = len(starts)
    chars, hashes, has = xp.zeros(n, np.uint64), xp.zeros(n, np.uint64), xp.zeros(n, np.uint32)
    words = Segments.of(xp, stops - starts, 16_384)
    launch_warps(
        "variant_counts", "variant_counts_words", words.count, text.data, starts, stops, *words.args, chars, hashes, has
    )
    lengths = xp.zeros((len(text), _LENGTHS), np.uint32)
    stop_keys, symbol_keys = constant(xp, STOP_NUMBERS), constant(xp, _SYMBOL_KEYS)
    launch_threads(
        "variant_counts", "variant_counts_judge", n, text.data, starts, stops, owners, n, stop_keys, len(stop_keys),
        symbol_keys, len(symbol_keys), chars, hashes, has, lengths, out,
    )  # fmt: skip
    result = out.view(np.int64)
    result[:, COLUMNS.index("twice_median_word")] = _twice_median(xp, lengths, chars.view(np.int64), owners, first)
    return result


def _twice_median(xp: Any, lengths: Array, chars: Array, owners: Array, first: Array) -> Array:
    """int64[n_docs]: the two middle ones of each document's word lengths added, 0 where there is no word."""
    n_docs = len(first) - 1
    up_to = xp.cumsum(lengths, axis=1, dtype=np.int64)
    long = xp.flatnonzero(chars >= _LENGTHS)
    if len(long):
        long = long[xp.lexsort(xp.stack([chars[long], owners[long]]))]
    first_long = xp.searchsorted(owners[long], xp.arange(n_docs, dtype=np.int64))
    n = xp.diff(first)
    total = xp.zeros(n_docs, np.int64)
    for place in ((n - 1) // 2, n // 2):  # the same one twice if their number is odd
        short = (up_to <= place[:, None]).sum(axis=1)
        rest = xp.maximum(place - up_to[:, -1], 0) + first_long
        value = short
        if len(long):
            value = xp.where(short == _LENGTHS, chars[long][xp.minimum(rest, len(long) - 1)], short)
        total += value
    return xp.where(n > 0, total, 0)
