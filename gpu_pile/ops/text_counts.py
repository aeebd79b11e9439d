"""text_counts: all that is counted about the characters, words and lines of a document, in one pass over its bytes.

    text_counts(text) = int64[n_docs, n_columns]

Character classes are those of gpu_pile.text.unicode; lengths are in code points. Columns, for a document t:

    chars               len(t)
    alpha_chars, numeric_chars, upper_chars, space_chars, punctuation_chars, decimal_chars   characters of these classes
    nemo_alnum_chars    characters in [a-zA-Z0-9\\n?!,.]
    nemo_space_chars    tabs, line feeds, carriage returns, backspaces, spaces
    paren_chars         characters in { } ⟨ ⟩ [ ] ( )
    hashes              t.count("#")
    ellipses            t.count("...") + t.count("…"), without overlaps
    newlines            t.count("\\n")
    url_chars           characters of matches of URL
    porn_urls           matches of URL with "porn"
    xml_header          1 where the first 100 characters have "<?xml version="

Words are str.split(): runs without white space.

    words               len(t.split())
    word_chars          sum of the words' lengths
    plain_words         words with at least one character that is no PUNCTUATION
    plain_word_chars    sum of their lengths
    alpha_words         words with at least one ALPHA character
    symbol_words        words with # or …
    nemo_symbol_words   words that are one of NEMO_SYMBOLS, or in which runs of # outnumber half of the characters
    different_stop_words   how many of STOP_WORDS occur as a word, in this spelling (0 to 8)
    stop_words          words that are one of them, every occurrence counted
    stop_words_lower    the same, in any case of ASCII letters
    twice_median_word   twice the median of the words' lengths (a whole number); 0 where there is no word
    longest_word        length of the longest word

Lines are str.splitlines() here:

    lines               len(t.splitlines())
    gopher_bullet_lines    lines whose first character that is no white space is • or -
    gopher_ellipsis_lines  lines that end with ... or … when white space at the end is left out

and t.split("\\n") from here on; a blank line is white space alone or empty:

    nonblank_lines      lines that are not blank
    terminal_lines      of these, those whose last character (not stripped) is TERMINAL
    short_lines         of these, those of at most 30 characters
    third_line_chars    length of the third-longest line, blank ones included; 0 where there are fewer than three
    redpajama_lines           lines, without an empty one at the end
    rps_ellipsis_lines  as gopher_ellipsis_lines
    rps_terminal_lines  as rps_ellipsis_lines, with . ! ? or ”
    rps_bullet_lines    lines whose first character that is no white space is one of • ‣ ▶ ◀ ◦ ■ □ ▪ ▫ –
    dolma_bullet_lines   lines that begin with * or -
    dolma_ellipsis_lines lines that end with …
    dclm_bullet_lines    as rps_bullet_lines, with ● • * -
    dclm_ellipsis_lines  as rps_ellipsis_lines, or with ". . ."
    nemo_bullet_lines    as rps_bullet_lines, with • ‣ ⁃ ⁌ ⁍ ∙ ○ ● ◘ ◦ ⦾ ⦿
    nemo_end_mark_lines  as rps_ellipsis_lines, with . ? ! " or '
    nemo_ellipsis_lines  as rps_ellipsis_lines, in lower case, with one of NEMO_ELLIPSES
"""

from __future__ import annotations

import re
import statistics
from typing import Any

import numpy as np
from numba import njit

from gpu_pile.gpu.launch import launch_threads, launch_warps
from gpu_pile.gpu.segments import Segments, constant, flag_tables
from gpu_pile.ops.op import Op
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.blocks import beyond_ascii, block, padded, runs_with
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit
from gpu_pile.text.simd import (
    byte_at,
    bytes_between_64,
    count_ones,
    count_trailing_zeros,
    highest_bit,
    is_one_of,
    load_u64,
    slot_table,
    starts_with,
    swap_bytes,
)
from gpu_pile.types import Array

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Rae et al. 2021, appendix A1."""
SHORT_CHARS = 30
XML_CHARS = 100
URL = r"http[s]?://(?:[a-zA-Z]|[0-9]|[$-_@.&+]|[!*\(\),]|(?:%[0-9a-fA-F][0-9a-fA-F]))+"
RPS_BULLETS = "•‣▶◀◦■□▪▫–"
DCLM_BULLETS = "●•*-"
NEMO_BULLETS = "•‣⁃⁌⁍∙○●◘◦⦾⦿"
NEMO_SYMBOLS = ("...", "[...]", "…", "(...)", "[…]", "-»")
NEMO_ELLIPSES = (*NEMO_SYMBOLS, "read more..", "read more")

text_counts = Op(
    "text_counts",
    version=1,
    columns=(
        *("chars", "alpha_chars", "numeric_chars", "upper_chars", "space_chars", "punctuation_chars", "decimal_chars"),
        *("nemo_alnum_chars", "nemo_space_chars", "paren_chars", "hashes", "ellipses", "newlines"),
        *("url_chars", "porn_urls", "xml_header"),
        *("words", "word_chars", "plain_words", "plain_word_chars", "alpha_words", "symbol_words", "nemo_symbol_words"),
        *("different_stop_words", "stop_words", "stop_words_lower", "twice_median_word", "longest_word"),
        *("lines", "gopher_bullet_lines", "gopher_ellipsis_lines"),
        *("nonblank_lines", "terminal_lines", "short_lines", "third_line_chars"),
        *("redpajama_lines", "rps_ellipsis_lines", "rps_terminal_lines", "rps_bullet_lines"),
        *("dolma_bullet_lines", "dolma_ellipsis_lines", "dclm_bullet_lines", "dclm_ellipsis_lines"),
        *("nemo_bullet_lines", "nemo_end_mark_lines", "nemo_ellipsis_lines"),
    ),
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
        "\n\n\n",
        "a.\nb!\r\nc? \nd。\ne…\nf...\ng”\nh\"\ni'",
        "x" * 30 + "\n" + "x" * 31 + "\n" + "é" * 30 + "\n" + "é" * 31 + "\n" + " " * 40,
        "a\nbb\nccc\ndddd",
        "dddd\nccc\nbb\na",
        "aa\naa\naa\n",
        "a\n\n",
        "漢字\nb",
        "\n".join(f"{b} x" for b in RPS_BULLETS + NEMO_BULLETS + DCLM_BULLETS),
        "\n".join(f"\u3000\t{b}" for b in RPS_BULLETS + NEMO_BULLETS + DCLM_BULLETS),
        "* a\n - b\n-c\n\n-",
        "a ... \nb. . .\nc . . . \t\nd…\ne…\u00a0\nf. ..\ng....\n. . .\n..\n...",
        "a [...]\nb (...)\nc […]\nd -»\ne read more..\nf READ MORE\ng Read more \nh read  more\nread more.\n»\n-»",
        "read more",
        "\x00\n\x00• x\n\x00...\n...\x00\n\x00 read more\n*\x00",
        "\x85\n\u2028a.\x0b",
        " \n \n a. \n",
        " " * 70 + "• " + "x" * 70 + " (...)" + " " * 70 + "\n* " + "é" * 70 + " read more" + "\t" * 70,
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
        "<?xml version=\n<?xml version=",
        "漢字 かな 😀",
        "http://x",
        "\x00... \x00the \x00\x00be \x00# a\x00 \x00",
        "https://",
        " ".join("a" * (i % 9 + 1) for i in range(100)),
        # what goes on over the seams of the blocks of 64 bytes that the cpu function takes
        *(
            "x" * n + " the THE with. ... \u3000…\r\nhttp://a.b/porn, ## {e}\n - read more\u2028\u0085 […]" + "é" * n
            for n in (37, 42, 46, 50, 53, 57, 60, 62, 63, 64)
        ),
        " " * 61 + "\u3000" * 22 + "-\u2029" + "." * 64 + "-" * 64 + "\r" * 64 + "\n" * 64 + "漢" * 64,
    ),
)
COLUMNS = text_counts.columns


@text_counts.reference
def _reference(text: TextColumn) -> Array:
    rows = [_reference_counts(d.decode()) for d in text.documents()]
    return np.array([[row[name] for name in COLUMNS] for row in rows], np.int64).reshape(-1, len(COLUMNS))


def _reference_counts(t: str) -> dict[str, int]:
    return {**_reference_characters(t), **_reference_words(t), **_reference_lines(t)}


def _has(c: str, bit: int) -> bool:
    return bool(unicode_reference.flags(c) & bit)


def _reference_characters(t: str) -> dict[str, int]:
    classes = ("alpha", "numeric", "upper", "space", "punctuation", "decimal")
    urls = re.findall(URL, t)
    return {
        "chars": len(t),
        **{f"{name}_chars": sum(_has(c, getattr(unicode, name.upper())) for c in t) for name in classes},
        "nemo_alnum_chars": len(re.findall("[a-zA-Z0-9\n?!,.]", t)),
        "nemo_space_chars": sum(c in "\t\n\r\b " for c in t),
        "paren_chars": len(re.findall(r"{|}|⟨|⟩|\[|\]|\(|\)", t)),
        "hashes": t.count("#"),
        "ellipses": t.count("...") + t.count("…"),
        "newlines": t.count("\n"),
        "url_chars": sum(map(len, urls)),
        "porn_urls": sum("porn" in url for url in urls),
        "xml_header": int("<?xml version=" in t[:XML_CHARS]),
    }


def _reference_words(t: str) -> dict[str, int]:
    words = unicode_reference.split(t)
    plain = [w for w in words if not all(_has(c, unicode.PUNCTUATION) for c in w)]
    lengths = list(map(len, words))
    return {
        "words": len(words),
        "word_chars": sum(lengths),
        "plain_words": len(plain),
        "plain_word_chars": sum(map(len, plain)),
        "alpha_words": sum(any(_has(c, unicode.ALPHA) for c in w) for w in words),
        "symbol_words": sum("#" in w or "…" in w for w in words),
        "nemo_symbol_words": sum(w in NEMO_SYMBOLS or 2 * len(re.findall("#+", w)) > len(w) for w in words),
        "different_stop_words": len(set(STOP_WORDS) & set(words)),
        "stop_words": sum(w in STOP_WORDS for w in words),
        "stop_words_lower": sum(w.isascii() and w.lower() in STOP_WORDS for w in words),
        "twice_median_word": int(2 * statistics.median(lengths)) if lengths else 0,
        "longest_word": max(lengths, default=0),
    }


def _reference_lines(t: str) -> dict[str, int]:
    pieces = [unicode_reference.strip(line) for line in unicode_reference.split_lines(t)]
    lines = t.split("\n")
    stripped = [unicode_reference.strip(line) for line in lines]
    nonblank = [line for line in lines if unicode_reference.strip(line)]
    lengths = sorted(map(len, lines), reverse=True)
    return {
        "lines": len(pieces),
        "gopher_bullet_lines": sum(s.startswith(("•", "-")) for s in pieces),
        "gopher_ellipsis_lines": sum(s.endswith(("...", "…")) for s in pieces),
        "nonblank_lines": len(nonblank),
        "terminal_lines": sum(_has(line[-1], unicode.TERMINAL) for line in nonblank),
        "short_lines": sum(len(line) <= SHORT_CHARS for line in nonblank),
        "third_line_chars": lengths[2] if len(lengths) > 2 else 0,
        "redpajama_lines": len(lines) - (lines[-1] == ""),
        "rps_ellipsis_lines": sum(s.endswith(("...", "…")) for s in stripped),
        "rps_terminal_lines": sum(s.endswith((".", "!", "?", "”")) for s in stripped),
        "rps_bullet_lines": sum(s.startswith(tuple(RPS_BULLETS)) for s in stripped),
        "dolma_bullet_lines": sum(line.startswith(("*", "-")) for line in lines),
        "dolma_ellipsis_lines": sum(line.endswith("…") for line in lines),
        "dclm_bullet_lines": sum(s.startswith(tuple(DCLM_BULLETS)) for s in stripped),
        "dclm_ellipsis_lines": sum(s.endswith(("...", "…", ". . .")) for s in stripped),
        "nemo_bullet_lines": sum(s.startswith(tuple(NEMO_BULLETS)) for s in stripped),
        "nemo_end_mark_lines": sum(s.endswith((".", "?", "!", '"', "'")) for s in stripped),
        "nemo_ellipsis_lines": sum(unicode_reference.lower(s).endswith(NEMO_ELLIPSES) for s in stripped),
    }


# On the CPU a document is taken in blocks of 64 bytes, classes of characters as masks (gpu_pile.text.blocks).
# Characters are counted by counting bits; what is looked at by itself is the end of a word, the end of a line, a colon.

_TERMINAL = unicode.TERMINAL
_0, _1, _2, _3, _4, _63 = (np.uint64(n) for n in (0, 1, 2, 3, 4, 63))

_ROW = {name: i for i, name in enumerate(COLUMNS)}
_URL_CHARS, _PORN_URLS, _XML_HEADER = _ROW["url_chars"], _ROW["porn_urls"], _ROW["xml_header"]
_WORDS, _TWICE_MEDIAN, _LINES, _RPS_LINES = (
    _ROW[c] for c in ("words", "twice_median_word", "lines", "redpajama_lines")
)
_GOPHER_BULLET, _GOPHER_ELLIPSIS = _ROW["gopher_bullet_lines"], _ROW["gopher_ellipsis_lines"]
_NONBLANK, _TERMINAL_LINES, _SHORT, _THIRD = range(_ROW["nonblank_lines"], _ROW["redpajama_lines"])
_RPS_ELLIPSIS, _RPS_TERMINAL, _RPS_BULLET = range(_ROW["rps_ellipsis_lines"], _ROW["dolma_bullet_lines"])
_DOLMA_BULLET, _DOLMA_ELLIPSIS, _DCLM_BULLET, _DCLM_ELLIPSIS, _NEMO_BULLET, _NEMO_END_MARK, _NEMO_ELLIPSIS = range(
    _ROW["dolma_bullet_lines"], len(COLUMNS)
)

_RPS, _DCLM, _NEMO = (np.array(sorted(map(ord, b)), np.int64) for b in (RPS_BULLETS, DCLM_BULLETS, NEMO_BULLETS))
_READ_MORE, _HTTP, _SLASHES, _PORN, _XML = (
    np.frombuffer(s, np.uint8).copy() for s in (b"read more", b"http", b"://", b"porn", b"<?xml version=")
)
_IN_URL = np.array([bool(re.match("[a-zA-Z!$-_]", chr(c))) for c in range(256)]) & (np.arange(256) < 128)
"""Whether a byte may be in a URL, behind its ://."""


def _keys(words: tuple[str, ...]) -> Array:
    raw = [w.encode() for w in words]
    return np.array([int.from_bytes(w, "big") | len(w) << 56 for w in raw], np.uint64)


_STOP_KEYS, _SLOTS = slot_table((int.from_bytes(w.encode(), "big") for w in STOP_WORDS), 4)
_SYMBOL_KEYS = _keys(NEMO_SYMBOLS)


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
def _count_dots(dots, run):
    """Of a block with these dots, `run` of them before it: (how many times three in a row, what is left at its end)."""
    found = 0
    for _ in range(64):
        run = run + 1 if dots & _1 else 0
        dots >>= _1
        if run == 3:
            found += 1
            run = 0
    return found, run


@njit
def _find_url(data, colon, begin, end):
    """(start, end) of the URL in data[begin:end] with this colon behind http or https; (colon, colon) if none is."""
    start = colon - 4
    if start >= begin and data[colon - 1] == 0x73:
        start -= 1
    if start < begin or not starts_with(data, start, colon, _HTTP) or not starts_with(data, colon, end, _SLASHES):
        return colon, colon
    first = colon + len(_SLASHES)
    i = first
    while i < end and _IN_URL[data[i]]:
        i += 1
    return (start, i) if i > first else (colon, colon)


@njit
def _is_symbol(data, start, end, chars, symbol_keys):
    """Whether a word is one of NEMO_SYMBOLS, or runs of # outnumber half of its characters."""
    if end - start <= 5:
        key = _key(data, start, end) | np.uint64(end - start) << np.uint64(56)
        if is_one_of(key, symbol_keys):
            return True
    runs = 0
    for i in range(start, end):
        runs += data[i] == 0x23 and (i == start or data[i - 1] != 0x23)
    return 2 * runs > chars


@njit
def _reads_more(data, start, end):
    n = len(_READ_MORE)
    if end - start < n:
        return False
    for k in range(n):
        b = data[end - n + k]
        if 0x41 <= b <= 0x5A:
            b |= 0x20
        if b != _READ_MORE[k]:
            return False
    return True


_PERIOD, _QUOTE, _LOOK, _LOOK_AFTER_DOT, _LOOK_AFTER_R = (1 << i for i in range(5))
_FIRST, _LAST, _BEFORE_LAST = (np.zeros(256, np.uint8) for _ in range(3))
"""What may make a line one that counts, by its first byte, its last and the one before it, without white space around
it: it ends in . ! or ?, or in a quote; or it must be looked at, if only behind certain bytes."""
for _bytes, _table, _bit in (
    *((b"*-", _FIRST, _LOOK), (bytes(range(128, 256)), _FIRST, _LOOK), (bytes(range(128, 256)), _LAST, _LOOK)),
    *((b".!?", _LAST, _PERIOD), (b"\"'", _LAST, _QUOTE), (b")]", _LAST, _LOOK), (b".", _LAST, _LOOK_AFTER_DOT)),
    *((b"eE", _LAST, _LOOK_AFTER_R), (b". ", _BEFORE_LAST, _LOOK_AFTER_DOT), (b"rR", _BEFORE_LAST, _LOOK_AFTER_R)),
):
    _table[list(_bytes)] |= _bit


@njit(inline="always")
def _seen(data, first, last):
    """What the bytes at the ends of a line say: bits of _LAST; _LOOK if it must be looked at."""
    ends = _LAST[byte_at(data, last)]
    if _FIRST[byte_at(data, first)] | ends & _BEFORE_LAST[byte_at(data, max(last - 1, 0))]:
        return ends | _LOOK
    return ends


@njit
def _judge_piece(data, first, last, row):
    """A line of str.splitlines(); first and last as in _judge_line."""
    b = byte_at(data, first)
    row[_GOPHER_BULLET] += b == 0x2D or (b == 0xE2 and data[first + 1] == 0x80 and data[first + 2] == 0xA2)
    b = byte_at(data, last)
    if b == 0x2E:
        row[_GOPHER_ELLIPSIS] += last - first >= 2 and data[last - 1] == 0x2E and data[last - 2] == 0x2E
    elif b == 0xE2:
        row[_GOPHER_ELLIPSIS] += data[last + 1] == 0x80 and data[last + 2] == 0xA6


@njit
def _judge_line(data, start, end, first, last, stage, leaves, row):
    """The line data[start:end]; its first and last character that is no white space are at data[first], data[last]."""
    b = byte_at(data, end - 1)
    if b < 0x80:
        row[_TERMINAL_LINES] += b == 0x2E or b == 0x21 or b == 0x3F
    else:
        i = end - 2
        while data[i] & 0xC0 == 0x80:
            i -= 1
        c, _ = unicode.decode_at(data, i)
        row[_TERMINAL_LINES] += (unicode.table_value(stage, leaves, c) & _TERMINAL) != 0
    c, _ = unicode.decode_at(data, first)
    if c >= 0x2000 or c == 0x2A or c == 0x2D:
        row[_DOLMA_BULLET] += first == start and c < 0x80
        row[_RPS_BULLET] += is_one_of(c, _RPS)
        row[_DCLM_BULLET] += is_one_of(c, _DCLM)
        row[_NEMO_BULLET] += is_one_of(c, _NEMO)
    c, n = unicode.decode_at(data, last)
    after = last + n
    n = after - first
    if c == 0x2E:
        row[_RPS_TERMINAL] += 1
        row[_NEMO_END_MARK] += 1
        if n >= 3 and data[after - 2] == 0x2E and data[after - 3] == 0x2E:
            row[_RPS_ELLIPSIS] += 1
            row[_DCLM_ELLIPSIS] += 1
            row[_NEMO_ELLIPSIS] += 1
        elif n >= 3 and data[after - 2] == 0x2E:
            row[_NEMO_ELLIPSIS] += _reads_more(data, first, after - 2)
        elif n >= 5 and data[after - 2] == 0x20:
            row[_DCLM_ELLIPSIS] += data[after - 3] == 0x2E and data[after - 4] == 0x20 and data[after - 5] == 0x2E
    elif c == 0x21 or c == 0x3F:
        row[_RPS_TERMINAL] += 1
        row[_NEMO_END_MARK] += 1
    elif c == 0x22 or c == 0x27:
        row[_NEMO_END_MARK] += 1
    elif c == 0x65 or c == 0x45:
        row[_NEMO_ELLIPSIS] += _reads_more(data, first, after)
    elif c == 0x29 or c == 0x5D:  # (...) [...] […]; … has three bytes too
        if n >= 5 and data[after - 5] == (0x28 if c == 0x29 else 0x5B):
            dots = data[after - 2] == 0x2E and data[after - 3] == 0x2E and data[after - 4] == 0x2E
            sign = data[after - 2] == 0xA6 and data[after - 3] == 0x80 and data[after - 4] == 0xE2
            row[_NEMO_ELLIPSIS] += dots or (sign and c == 0x5D)
    elif c == 0x2026:
        row[_RPS_ELLIPSIS] += 1
        row[_DOLMA_ELLIPSIS] += after == end
        row[_DCLM_ELLIPSIS] += 1
        row[_NEMO_ELLIPSIS] += 1
    elif c == 0x201D:
        row[_RPS_TERMINAL] += 1
    elif c == 0xBB:
        row[_NEMO_ELLIPSIS] += n >= 3 and data[after - 3] == 0x2D


@njit
def _contains(data, start, end, pattern):
    for i in range(start, end - len(pattern) + 1):  # noqa: SIM110, numba compiles no generators
        if starts_with(data, i, end, pattern):
            return True
    return False


@njit
def _longest(first, second, third, length):
    """The three longest of these four; the first three in order, the longest first."""
    if length > first:
        return length, first, second
    if length > second:
        return first, length, second
    return first, second, max(third, length)


@njit
def _twice_median(words, histogram, long_lengths, n_long):
    """(twice the median, the longest) of the words' lengths: how many there are of each below 256, and the others.

    The histogram is 0 again afterwards.
    """
    low, high = (words - 1) // 2, words // 2  # positions of the two middle ones
    below = twice = longest = 0
    for k in range(256):
        if below == words - n_long:
            break
        n = histogram[k]
        if n:
            twice += k * (np.int64(below <= low < below + n) + np.int64(below <= high < below + n))
            below += n
            longest = k
            histogram[k] = 0
    if n_long:
        lengths = long_lengths[:n_long]
        lengths.sort()
        longest = lengths[n_long - 1]
        if low >= below:
            twice += lengths[low - below]
        if high >= below:
            twice += lengths[high - below]
    return twice, longest


@jit
def _count(data, offsets, stage, leaves, stop_keys, symbol_keys, long_lengths, out):
    """long_lengths: scratch, of words of 256 characters or more."""
    histogram = np.zeros(256, np.int64)
    for d in range(len(offsets) - 1):
        begin, end = offsets[d], offsets[d + 1]
        row = out[d]
        row[:] = 0
        chars = alphas = numerics = uppers = spaces = punctuations = decimals = 0
        nemo_alnums = nemo_spaces = parens = hashes = ellipses = newlines = 0
        words = word_chars = plain_words = bare_chars = alpha_words = symbol_words = nemo_symbols = 0
        stops = stops_lower = stops_seen = n_long = 0
        lines = nonblank = short = terminal = periods = quotes = 0
        # what goes on from block to block
        in_word = has_plain = has_alpha = has_symbol = _0  # each 0 or 1
        starts_before = inks_before = _0
        word = word_char = 0  # where the word that we are in begins: byte, character
        space_rest = _0  # bits of white space that began in the block before
        dots_before = 0  # modulo 3
        url_until = begin
        line, line_char = begin, 0
        line_first = line_last = piece_first = piece_last = -1  # of the characters that are no white space
        line_1 = line_2 = line_3 = 0  # the longest lines
        after_break = begin
        for base in range(begin, end + 1, 64):
            # The end closes the last word and the last line: there is always a block in which it lies.
            at, shift, valid = block(data, base, end)
            feeds = bytes_between_64(data, at, 0x0A, 0x0A) >> shift & valid
            returns = bytes_between_64(data, at, 0x0D, 0x0D) >> shift & valid
            blanks = bytes_between_64(data, at, 0x20, 0x20) >> shift & valid
            white = (
                bytes_between_64(data, at, 0x09, 0x0D) | bytes_between_64(data, at, 0x1C, 0x1F)
            ) >> shift & valid | blanks
            breaks = (bytes_between_64(data, at, 0x0A, 0x0D) | bytes_between_64(data, at, 0x1C, 0x1E)) >> shift & valid
            capitals = bytes_between_64(data, at, 0x41, 0x5A) >> shift & valid
            alpha = bytes_between_64(data, at, 0x61, 0x7A) >> shift & valid | capitals
            digits = bytes_between_64(data, at, 0x30, 0x39) >> shift & valid
            dots = bytes_between_64(data, at, 0x2E, 0x2E) >> shift & valid
            hash_signs = bytes_between_64(data, at, 0x23, 0x23) >> shift & valid
            colons = bytes_between_64(data, at, 0x3A, 0x3A) >> shift & valid
            marks = (
                bytes_between_64(data, at, 0x21, 0x21)
                | bytes_between_64(data, at, 0x2C, 0x2C)
                | bytes_between_64(data, at, 0x3F, 0x3F)
            ) >> shift & valid
            brackets = (
                (bytes_between_64(data, at, 0x28, 0x29) | bytes_between_64(data, at, 0x5B, 0x5B))
                | (bytes_between_64(data, at, 0x5D, 0x5D) | bytes_between_64(data, at, 0x7B, 0x7B))
                | bytes_between_64(data, at, 0x7D, 0x7D)
            ) >> shift & valid
            controls = bytes_between_64(data, at, 0x08, 0x09) >> shift & valid
            beyond = bytes_between_64(data, at, 0x80, 0xFF) >> shift & valid
            plain = alpha | digits
            symbols = hash_signs
            tails = _0  # bytes of characters but their first

            spaces += count_ones(white)
            numerics += count_ones(digits)
            decimals += count_ones(digits)
            uppers += count_ones(capitals)
            punctuations += count_ones(valid & ~(beyond | plain | blanks | feeds | (controls & white)))
            parens += count_ones(brackets)
            nemo_alnums += count_ones(plain | marks | dots | feeds)
            nemo_spaces += count_ones(controls | blanks | feeds | returns)
            newlines += count_ones(feeds)
            hashes += count_ones(hash_signs)
            white |= space_rest
            space_rest = _0
            if beyond:
                tails = bytes_between_64(data, at, 0x80, 0xBF) >> shift & valid
                far = beyond_ascii(data, base, beyond & ~tails, stage, leaves)
                alpha |= far.letters
                plain |= far.plain
                symbols |= far.ellipses
                ellipses += count_ones(far.ellipses)
                breaks |= far.line_breaks
                white |= far.spaces
                space_rest = far.spaces_after
                numerics += far.n_numeric
                uppers += far.n_upper
                spaces += far.n_spaces
                punctuations += far.n_punctuation
                decimals += far.n_decimal
                parens += far.n_brackets
            alphas += count_ones(alpha)
            inks = valid & ~white

            # dots
            two = dots & (dots << _1 | np.uint64(dots_before > 0))
            if two & (two << _1 | np.uint64(dots_before > 1)):
                found, dots_before = _count_dots(dots, dots_before)
                ellipses += found
            else:
                dots_before = np.int64(dots >> _63) + np.int64(two >> _63)

            # words
            after_ink = inks << _1 | in_word
            starts, ends = inks & ~after_ink, after_ink & ~inks
            in_word_before, in_word = in_word, inks >> _63
            plain_ends, has_plain = runs_with(inks, plain, has_plain)
            alpha_ends, has_alpha = runs_with(inks, alpha, has_alpha)
            words += count_ones(ends)
            word_chars += count_ones(inks & ~tails)
            plain_words += count_ones(plain_ends)
            alpha_words += count_ones(alpha_ends)
            looked_at = ends & ~plain_ends
            if symbols or has_symbol:
                symbol_ends, has_symbol = runs_with(inks, symbols, has_symbol)
                symbol_words += count_ones(symbol_ends)
                looked_at |= symbol_ends
            while looked_at:
                bit = looked_at & (_0 - looked_at)
                looked_at ^= bit
                start, start_char = word, word_char
                own = starts & (bit - _1)
                if own:
                    k = highest_bit(own)
                    start, start_char = base + k, chars + k - count_ones(tails & ((_1 << np.uint64(k)) - _1))
                k = count_trailing_zeros(bit)
                length = chars + k - count_ones(tails & (bit - _1)) - start_char
                if plain_ends & bit == _0:
                    bare_chars += length
                nemo_symbols += _is_symbol(data, start, base + k, length, symbol_keys)

            # stop words: words of 2 to 4 bytes
            second = inks << _2 | inks_before >> np.uint64(62)  # whether the second byte before is of a word
            third = second & (inks << _3 | inks_before >> np.uint64(61))
            of_three = ends & second & (starts << _3 | starts_before >> np.uint64(61))
            of_four = ends & third & (starts << _4 | starts_before >> np.uint64(60))
            looked_at = ends & (starts << _2 | starts_before >> np.uint64(62)) | of_three | of_four
            starts_before, inks_before = starts, inks
            while looked_at:
                bit = looked_at & (_0 - looked_at)
                looked_at ^= bit
                stop = base + count_trailing_zeros(bit)
                n = 2 + np.int64(of_three & bit != _0) + 2 * np.int64(of_four & bit != _0)
                key = _key(data, stop - n, stop)
                # all letters: what becomes one of them by this bit is the letter or its capital
                lower = key | np.uint64(0x20202020) >> np.uint64(8 * (4 - n))
                slot = lower * _SLOTS >> np.uint64(60)
                if stop_keys[slot] == lower:
                    stops_lower += 1
                    if key == lower:
                        stops += 1
                        stops_seen |= 1 << np.int64(slot)

            # the words' lengths
            if in_word_before == _0:
                bit = starts & (_0 - starts)
                starts ^= bit
                k = count_trailing_zeros(bit)
                word, word_char = base + k, chars + k - count_ones(tails & (bit - _1))
            while ends:
                bit = ends & (_0 - ends)
                ends ^= bit
                length = chars + count_trailing_zeros(bit) - count_ones(tails & (bit - _1)) - word_char
                if length < 256:
                    histogram[np.uint64(length)] += 1
                else:
                    long_lengths[n_long] = length
                    n_long += 1
                bit = starts & (_0 - starts)
                starts ^= bit
                k = count_trailing_zeros(bit)
                word, word_char = base + k, chars + k - count_ones(tails & (bit - _1))

            # lines
            inks &= ~tails
            while breaks:
                bit = breaks & (_0 - breaks)
                breaks ^= bit
                k = count_trailing_zeros(bit)
                before = inks & (bit - _1)
                inks ^= before
                if before:
                    if piece_first < 0:
                        piece_first = base + count_trailing_zeros(before)
                    piece_last = base + highest_bit(before)
                if piece_first >= 0:
                    if _seen(data, piece_first, piece_last) & _LOOK:
                        _judge_piece(data, piece_first, piece_last, row)
                    if line_first < 0:
                        line_first = piece_first
                    line_last = piece_last
                    piece_first = -1
                i = base + k
                if feeds & bit:
                    lines += i == begin or byte_at(data, i - 1) != 0x0D
                    place = chars + k - count_ones(tails & (bit - _1))
                    length = place - line_char
                    if length > line_3:
                        line_1, line_2, line_3 = _longest(line_1, line_2, line_3, length)
                    if line_first >= 0:
                        nonblank += 1
                        short += length <= SHORT_CHARS
                        seen = _seen(data, line_first, line_last)
                        b = byte_at(data, i - 1)
                        if seen & _LOOK or b >= 0x80:
                            _judge_line(data, line, i, line_first, line_last, stage, leaves, row)
                        else:
                            terminal += _LAST[b] & _PERIOD
                            periods += seen & _PERIOD
                            quotes += (seen & _QUOTE) != 0
                        line_first = -1
                    line, line_char = i + 1, place + 1
                    after_break = i + 1
                else:
                    lines += 1
                    b = byte_at(data, i)
                    after_break = i + (1 if b < 0x80 else 2 if b < 0xE0 else 3)
            if inks:
                if piece_first < 0:
                    piece_first = base + count_trailing_zeros(inks)
                piece_last = base + highest_bit(inks)

            while colons:
                i = base + count_trailing_zeros(colons)
                colons &= colons - _1
                if i + 3 < end and byte_at(data, i + 1) == 0x2F and byte_at(data, i + 2) == 0x2F:
                    url, url_end = _find_url(data, i, url_until, end)
                    if url < url_end:
                        url_until = url_end
                        row[_URL_CHARS] += url_end - url
                        row[_PORN_URLS] += _contains(data, url, url_end, _PORN)
            if chars < XML_CHARS:
                less = bytes_between_64(data, at, 0x3C, 0x3C) >> shift & valid
                while less:
                    k = count_trailing_zeros(less)
                    if chars + k - count_ones(tails & ((_1 << np.uint64(k)) - _1)) + len(_XML) <= XML_CHARS:
                        row[_XML_HEADER] |= starts_with(data, base + k, end, _XML)
                    less &= less - _1
            chars += count_ones(valid & ~tails)

        if piece_first >= 0:
            _judge_piece(data, piece_first, piece_last, row)
            if line_first < 0:
                line_first = piece_first
            line_last = piece_last
        if line_first >= 0:
            nonblank += 1
            short += chars - line_char <= SHORT_CHARS
            _judge_line(data, line, end, line_first, line_last, stage, leaves, row)
        line_1, line_2, line_3 = _longest(line_1, line_2, line_3, chars - line_char)
        different = count_ones(np.uint64(stops_seen))
        row[0], row[1], row[2], row[3], row[4], row[5] = chars, alphas, numerics, uppers, spaces, punctuations
        row[6], row[7], row[8], row[9], row[10] = decimals, nemo_alnums, nemo_spaces, parens, hashes
        row[11], row[12] = ellipses, newlines
        row[_WORDS], row[_WORDS + 1], row[_WORDS + 2], row[_WORDS + 3] = (
            words, word_chars, plain_words, word_chars - bare_chars,
        )  # fmt: skip
        row[_WORDS + 4], row[_WORDS + 5], row[_WORDS + 6] = alpha_words, symbol_words, nemo_symbols
        row[_WORDS + 7], row[_WORDS + 8], row[_WORDS + 9] = different, stops, stops_lower
        row[_WORDS + 10], row[_WORDS + 11] = _twice_median(words, histogram, long_lengths, n_long)
        row[_NONBLANK], row[_SHORT] = nonblank, short
        row[_TERMINAL_LINES] += terminal
        row[_RPS_TERMINAL] += periods
        row[_NEMO_END_MARK] += periods + quotes
        row[_LINES] = lines + (after_break < end)
        row[_THIRD] = line_3 if newlines > 1 else 0
        row[_RPS_LINES] = newlines + (line < end)


@text_counts.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(COLUMNS)), np.int64)
    long_lengths = np.empty(int(np.diff(text.offsets).max(initial=0)) // 257 + 1, np.int64)
    tables = (unicode.FLAG_STAGE, unicode.FLAG_LEAVES, _STOP_KEYS, _SYMBOL_KEYS)
    _count(padded(text.data), text.offsets, *tables, long_lengths, out)
    return out


def _marks() -> Array:
    """uint32: a code point that is a bullet, and from bit 24 on a bit for each of RPS_, DCLM_ and NEMO_BULLETS."""
    bits: dict[str, int] = {}
    for i, bullets in enumerate((RPS_BULLETS, DCLM_BULLETS, NEMO_BULLETS)):
        for c in bullets:
            bits[c] = bits.get(c, 0) | 1 << (24 + i)
    return np.array([ord(c) | b for c, b in bits.items()], np.uint32)


_MARKS = _marks()
_STOP_NUMBERS = np.array([int.from_bytes(w.encode(), "big") for w in STOP_WORDS], np.uint32)
_SUMMARY = 27  # SUMMARY in kernels/text_counts.cu
_LENGTHS = 256  # words of fewer characters are counted by length, to find the median


@text_counts.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    out = xp.zeros((len(text), len(COLUMNS)), np.uint64)
    segments = Segments.of(xp, xp.diff(text.offsets), 16_384)
    stops, symbols, marks = (constant(xp, a) for a in (_STOP_NUMBERS, _SYMBOL_KEYS, _MARKS))
    tables = (*flag_tables(xp), stops, len(stops), symbols, len(symbols), marks, len(marks))
    lengths = xp.zeros((len(text), _LENGTHS), np.uint32)
    long_words = xp.empty((text.n_bytes // _LENGTHS + 1, 2), np.int64)
    n_long = xp.zeros(1, np.uint64)
    summaries = xp.empty((segments.count, _SUMMARY), np.int32)
    launch_warps(
        "text_counts", "text_counts_segments", segments.count, text.data, text.offsets, *segments.args, *tables,
        lengths, long_words, n_long, out, summaries,
    )  # fmt: skip
    launch_threads(
        "text_counts", "text_counts_join", len(text), text.data, text.offsets, len(text), segments.first,
        segments.size, *tables, lengths, long_words, n_long, summaries, out,
    )  # fmt: skip
    result = out.view(np.int64)
    result[:, _TWICE_MEDIAN] = _device_twice_median(xp, lengths, long_words[: int(n_long[0])], result[:, _WORDS])
    return result


def _device_twice_median(xp: Any, lengths: Array, long_words: Array, n: Array) -> Array:
    """int64[n_docs]: the two middle ones of each document's n word lengths added, 0 where there is no word.

    long_words: (document, length) of words of _LENGTHS characters and more, in any order.
    """
    up_to = xp.cumsum(lengths, axis=1, dtype=np.int64)
    owners, chars = long_words[xp.lexsort(xp.stack([long_words[:, 1], long_words[:, 0]]))].T
    first_long = xp.searchsorted(owners, xp.arange(len(n), dtype=np.int64))
    total = xp.zeros(len(n), np.int64)
    for place in ((n - 1) // 2, n // 2):  # the same one twice if their number is odd
        short = (up_to <= place[:, None]).sum(axis=1)
        rest = xp.maximum(place - up_to[:, -1], 0) + first_long
        value = short
        if len(chars):
            value = xp.where(short == _LENGTHS, chars[xp.minimum(rest, len(chars) - 1)], short)
        total += value
    return xp.where(n > 0, total, 0)
