"""dclm_line_removal: words that are left when DCLM has removed what looks like the furniture of web pages.

    dclm_line_removal(text) = int64[n_docs, n_columns]

Words are pieces between NUL, tab, line feed, \\v, \\f, carriage return and space (fastText's) that begin with a letter
or digit, str.isalnum(). Columns: `words` of the text, and `kept_words` of what becomes of it in these steps. Lines are
those of split("\\n"); behind each step but the fourth the text is stripped as str.strip() does.

    1  lines of which more than half of the characters are str.isupper() are dropped
    2  lines of which more than 999,999 in a million characters are str.isdigit()
    3  lines of a number and one of COUNTED, such as "3.2K views", with signs around them or not
    4  lines of one word of str.split(), or of none
    5  "items in cart" is removed, with one character of white space before it, wherever it occurs
    6  "read more" and three characters at the end of a line, with one of white space before them
    7  "sign-in" at the beginning of a line, with one of white space behind it

Steps 5 to 7 change lines of at most ten words of str.split(), in any case of letters, and drop those of which white
space alone is left. In 3 a number is a decimal digit, then more of these, full stops and commas, then k, m, b or
nothing. Case is that of Python's re.IGNORECASE: U+0130 and U+0131 are an i, U+017F is an s; in step 3, of str.lower():
U+212A is a k. Stripping shows in steps 2, 6 and 7, for the lines that are the first and the last ones then.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.segments import Segments, constants, exclusive_sum, flag_tables
from gpu_pile.gpu.segments import lines as device_lines
from gpu_pile.ops.op import Op
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.blocks import BLOCK, block, padded
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit
from gpu_pile.text.simd import byte_at, bytes_between_64, count_ones, count_trailing_zeros
from gpu_pile.types import Array

COUNTED = (
    *("likes", "shares", "comments", "retweets", "reposts", "quotes", "bookmarks", "upvotes", "downvotes", "downloads"),
    *("views", "followers"),
)
CART, MORE, SIGN_IN = "items in cart", "read more", "sign-in"
MORE_CHARS = 3
"""Characters, whatever they are, that "read more" is followed by."""
SHORT = 10
"""Words of the longest lines that steps 5 to 7 change."""

dclm_line_removal = Op(
    "dclm_line_removal",
    version=1,
    columns=("words", "kept_words"),
    documents=(
        "\n",
        "ABC de\nABc dE f\nAB c\nÀÉ a\nabcd ABCD\nǅ ǅ",
        "12 34\n1234\n١٢٣\n12²³\n½½\n 1234\n1234 \n1 2 3 4",
        " 1234\n 1234\n12 ab\n1234 ",
        "1234\n 1234\nxyz ab",
        "3 likes\n3.2K views\n(1,000 comments)\n5m  followers!\n7 Shares, 8 likes\nx 3 likes\n3likes\n3kk likes",
        "_3 likes\n3\u3000upvotes…\n3b\x1clikes",
        "3 li\u212aes\n4\u212a bookmar\u212as\n٣ quotes\n5 v\u0130ews\n\u01305 likes\n5 likes\u0130",
        "3 downvotes x\n3, likes\n3.k likes\n3,.,4 reposts .\n3 like\n3 retweets\r\n5  downloads \u0308",
        "one\ntwo words\n\n  three  \n a b \n\u3000\n\x1c\nx\x1cy",
        "3 items in cart\nitems in cart\nitems in cartitems in cart now\n \u3000items in cart x\na items  in cart",
        "\u0130TEMS \u0131n cart a b\n\u0131tem\u017f \u0130n CART ok no\nITEM\u015e in cart\nxitems in carty z",
        "xitems in carty zitems in cart",
        "\u2130tems in cart items in cart ok\n\u2130tems in cart\nitems in cart \u2130tems in cart",
        "a b c d e f g items in cart h\na b c d e f g items in cart\na b c d e f g h items in cart",
        "Hello there. Read more...\nRead more...\nRead more abc\nread more ..\nread mor....\na read more…\u3000é",
        "b\u3000READ MORExyz\na b",
        "a b read more... \nc d read more.  \ne f read more...  ",
        "a read more...\n  \n3 likes\nsingle",
        "Sign-in here\nsign-in\nSIGN-IN\u3000now please\n\u017f\u0131gn-\u0130n it is\n sign-in here x",
        "sign-insign-in a\nsign in a",
        " sign-in here x\n sign-in here x\nand sign-in here",
        "sign-in read more...\nsign-in items in cart ok\n items in cartread more...\nitems in cart sign-in x",
        "\u00a0abc def\n\u00a0abc def\nghi jkl",
        "SHOUT\n\u00a0abc def\nSHOUT",
        "\u00a0x\n\u00a0items in cart sign-in\u00a0ab c",
        "sign-in \u00a0\u00a0abc def\n\u00a0abc def sign-in",
        "a\x00b c\x1dd e\u2028f\n_a 'b \u00bd ² é 漢",
        "1" * 200 + "\n" + "a" + "1" * 99 + "\n" + "A" * 60 + "a" * 59 + " b\n" + "x " * 40,
        "\n".join(["3 likes", "a b", "SHOUT", "12"] * 12),
        "\n".join([" sign-in a b read more... "] * 9),
        "\n".join(["one", " two words", "3 views "] * 40),
        "UP\n12\n1 likes\none\nitems in cart\nread more...\nsign-in\n sign-in read more... \nsign-in\n1 likes\nUP",
    ),
)
COLUMNS = dclm_line_removal.columns


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    every = [chr(c) for c in range(0x110000)]
    space = "".join(c for c in every if unicode_reference.flags(c) & unicode.SPACE)
    digit = "".join(c for c in every if unicode_reference.flags(c) & unicode.DECIMAL)

    def any_case(text: str) -> str:
        variants = {"i": "iI\u0130\u0131", "s": "sS\u017f"}
        return "".join(f"[{variants.get(c, c + c.upper())}]" if c.isalpha() else re.escape(c) for c in text)

    return (
        re.compile(rf"[{digit}][,.{digit}]*[kmb]?[{space}]+(?:{'|'.join(COUNTED)})"),
        re.compile(rf"[{space}]?{any_case(CART)}"),
        re.compile(rf"[{space}]?{any_case(MORE)}[^\n]{{{MORE_CHARS}}}\Z"),
        re.compile(rf"\A{any_case(SIGN_IN)}[{space}]?"),
    )


@dclm_line_removal.reference
def _reference(text: TextColumn) -> Array:
    rows = [(d.decode(), _reference_kept(d.decode())) for d in text.documents()]
    return np.array([[_reference_words(t), _reference_words(k)] for t, k in rows], np.int64).reshape(-1, len(COLUMNS))


def _reference_words(t: str) -> int:
    words = [w for w in re.split("[\0\t\n\v\f\r ]+", t) if w]
    return sum(unicode_reference.flags(w[0]) & (unicode.ALPHA | unicode.NUMERIC) > 0 for w in words)


def _reference_kept(t: str) -> str:
    counter, *substrings = _patterns()

    def share(line: str, flag: int) -> float:
        return sum(unicode_reference.flags(c) & flag > 0 for c in line) / max(len(line), 1)

    def is_counter(line: str) -> bool:
        low = unicode_reference.lower(line)
        inside = [i for i, c in enumerate(low) if unicode_reference.flags(c) & unicode.WORD]
        return bool(inside) and counter.fullmatch(low[inside[0] : inside[-1] + 1]) is not None

    for drops in (
        lambda line: share(line, unicode.UPPER) > 0.5,
        lambda line: share(line, unicode.DIGIT) > 0.999999,
        is_counter,
    ):
        t = unicode_reference.strip("\n".join(line for line in t.split("\n") if not drops(line)))
    t = "\n".join(line for line in t.split("\n") if not line or len(unicode_reference.split(line)) > 1)
    for pattern in substrings:
        lines = []
        for line in t.split("\n"):
            changed = pattern.sub("", line) if len(unicode_reference.split(line)) <= SHORT else line
            if not line or unicode_reference.strip(changed):
                lines.append(changed)
        t = unicode_reference.strip("\n".join(lines))
    return t


_SPACE, _UPPER, _DIGIT, _DECIMAL, _WORD = unicode.SPACE, unicode.UPPER, unicode.DIGIT, unicode.DECIMAL, unicode.WORD
_ALNUM = unicode.ALPHA | unicode.NUMERIC
_KELVIN, _DOTTED, _DOTLESS, _LONG_S = 0x212A, 0x130, 0x131, 0x17F

_SEPARATOR = 1 << 15
"""Beside the flags of ASCII: the byte is between two words of fastText."""
_ASCII = unicode.ASCII_FLAGS.copy()
for _byte in b"\0\t\n\v\f\r ":
    _ASCII[_byte] |= _SEPARATOR


def _bytes(text: str) -> Array:
    return np.frombuffer(text.encode(), np.uint8).copy()


_0, _1 = np.uint64(0), np.uint64(1)

_COUNTED = _bytes("".join(COUNTED))
_COUNTED_BOUNDS = np.cumsum([0, *map(len, COUNTED)], dtype=np.int64)
_CART, _MORE, _SIGN_IN = map(_bytes, (CART, MORE, SIGN_IN))


@njit(inline="always")
def _flags_at(data, i, tables):
    """(flags, code point, bytes) of the character at data[i]."""
    ascii, stage, leaves = tables
    if data[i] < 0x80:
        return np.int64(ascii[data[i]]), np.int64(data[i]), 1
    c, n = unicode.decode_at(data, i)
    return np.int64(unicode.table_value(stage, leaves, c)), c, n


@njit(inline="always")
def _before(data, i):
    """Where the character before data[i] begins."""
    i -= 1
    while data[i] & 0xC0 == 0x80:
        i -= 1
    return i


@jit
def _words(data, i, end, tables):
    """Words of data[i:end], which is one line or a part of one."""
    words = 0
    fresh = True
    while i < end:
        f, c, n = _flags_at(data, i, tables)
        words += fresh and (f & _ALNUM) != 0
        fresh = c < 0x80 and (f & _SEPARATOR) != 0
        i += n
    return words


@jit
def _is_counter(data, i, end, tables, counted, counted_bounds):
    while i < end:
        f, c, n = _flags_at(data, i, tables)
        if f & _WORD:
            break
        i += n
    if i == end or f & _DECIMAL == 0:
        return False
    while i < end and (f & _DECIMAL or c == 0x2C or c == 0x2E):
        i += n
        if i < end:
            f, c, n = _flags_at(data, i, tables)
    if i < end and (c | 0x20 == 0x6B or c | 0x20 == 0x6D or c | 0x20 == 0x62 or c == _KELVIN):
        i += n
    word = i
    while word < end:
        f, c, n = _flags_at(data, word, tables)
        if f & _SPACE == 0:
            break
        word += n
    if word == i:
        return False
    for k in range(len(counted_bounds) - 1):
        i = word
        j = counted_bounds[k]
        while i < end and j < counted_bounds[k + 1]:
            f, c, n = _flags_at(data, i, tables)
            if (c | 0x20 if c < 0x80 else 0x6B if c == _KELVIN else 0) != counted[j]:
                break
            i += n
            j += 1
        if j == counted_bounds[k + 1]:
            while i < end:
                f, c, n = _flags_at(data, i, tables)
                if f & _WORD:
                    return False
                i += n
            return True
    return False


@njit
def _match(data, i, end, pattern):
    """Where the pattern ends that data[i:end], of whole characters, begins with, in any case; -1 if it does not."""
    for letter in pattern:
        if i >= end:
            return -1
        b = data[i]
        if b < 0x80:
            if (b | 0x20 if 0x41 <= b <= 0x5A else b) != letter:
                return -1
            i += 1
        else:
            c, n = unicode.decode_at(data, i)
            if not (letter == 0x69 and (c in (_DOTTED, _DOTLESS))) and not (letter == 0x73 and c == _LONG_S):
                return -1
            i += n
    return i


@jit
def _has_cart(data, i, end, pattern):
    """Whether step 5 has something to do on data[i:end]."""
    while i < end:
        b = byte_at(data, i) | 0x20
        if (b == 0x69 or b == 0xE4) and _match(data, i, end, pattern) >= 0:  # i, or what U+0130 and U+0131 begin with
            return True
        i += 1
    return False


@jit
def _remove_cart(line, i, end, tables, pattern):
    """Step 5 on line[i:end], in place; returns where it ends."""
    o = floor = i  # nothing before floor is removed any more
    while i < end:
        behind = _match(line, i, end, pattern) if line[i] & 0xC0 != 0x80 else -1
        if behind < 0:
            line[o] = line[i]
            o += 1
            i += 1
            continue
        if o > floor:
            last = _before(line, o)
            f, _, _ = _flags_at(line, last, tables)
            if f & _SPACE:
                o = last
        floor = o
        i = behind
    return o


@jit
def _more_begins(line, start, end, tables, pattern):
    """Step 6 on line[start:end]: where it ends then."""
    i = end
    for n in range(len(pattern) + MORE_CHARS):
        if i == start or (n == MORE_CHARS and line[i - 1] | 0x20 != pattern[-1]):
            return end
        i = _before(line, i)
    behind = _match(line, i, end, pattern)
    if behind < 0:
        return end
    if i > start:
        last = _before(line, i)
        f, _, _ = _flags_at(line, last, tables)
        if f & _SPACE:
            return last
    return i


@jit
def _sign_in_ends(line, i, end, tables, pattern):
    """Step 7 on line[i:end]: where it begins then."""
    behind = _match(line, i, end, pattern)
    if behind < 0:
        return i
    if behind < end:
        f, _, n = _flags_at(line, behind, tables)
        if f & _SPACE:
            return behind + n
    return behind


@jit
def _trim(line, step, k, starts, stops, words, alive, tables, more, sign_in):
    """Step 6 or 7 on line k."""
    start, stop = starts[k], stops[k]
    if step == 7 and line[start] | 0x20 != 0x73 and line[start] != 0xC5:  # s, or what U+017F begins with
        return
    if step == 6:
        stops[k] = _more_begins(line, start, stop, tables, more)
    else:
        starts[k] = _sign_in_ends(line, start, stop, tables, sign_in)
    if starts[k] > start or stops[k] < stop:
        alive[k] = _lstripped(line, starts[k], stops[k], tables)[0] < stops[k]
        words[k] = _words(line, starts[k], stops[k], tables)


@jit
def _lstripped(data, i, end, tables):
    """(where data[i:end] begins without white space before it, characters left out)"""
    n_chars = 0
    while i < end:
        f, _, n = _flags_at(data, i, tables)
        if f & _SPACE == 0:
            break
        i += n
        n_chars += 1
    return i, n_chars


@jit
def _rstripped(data, i, end, tables):
    """(where data[i:end] ends without white space behind it, characters left out)"""
    n_chars = 0
    while end > i:
        last = _before(data, end)
        f, _, _ = _flags_at(data, last, tables)
        if f & _SPACE == 0:
            break
        end = last
        n_chars += 1
    return end, n_chars


@jit
def _strip(data, line, n, starts, stops, chars, words, alive, edited, tables):
    """The white space before the first line that is left and behind the last one goes."""
    first, last = 0, n - 1
    while first < n and not alive[first]:
        first += 1
    if first == n:
        return
    while not alive[last]:
        last -= 1
    if edited[first]:
        starts[first], gone = _lstripped(line, starts[first], stops[first], tables)
        if gone:
            words[first] = _words(line, starts[first], stops[first], tables)
    else:
        starts[first], gone = _lstripped(data, starts[first], stops[first], tables)
        if gone:
            words[first] = _words(data, starts[first], stops[first], tables)
    chars[first] -= gone
    if edited[last]:
        stops[last], gone = _rstripped(line, starts[last], stops[last], tables)
    else:
        stops[last], gone = _rstripped(data, starts[last], stops[last], tables)
    chars[last] -= gone


@jit
def _kept(data, line, n, starts, stops, chars, digits, split, words, alive, edited, tables, texts):
    """Steps 2 to 7 on the n lines that are left, all of them with something else than white space; returns words.

    line: scratch, as long as data; lines that step 5 changes are copied there, to the same places.
    """
    counted, counted_bounds, cart, more, sign_in = texts
    _strip(data, line, n, starts, stops, chars, words, alive, edited, tables)
    for k in range(n):
        alive[k] = digits[k] * 1_000_000 <= 999_999 * chars[k]
    _strip(data, line, n, starts, stops, chars, words, alive, edited, tables)
    for k in range(n):
        if alive[k] and digits[k]:
            alive[k] = not _is_counter(data, starts[k], stops[k], tables, counted, counted_bounds)
    _strip(data, line, n, starts, stops, chars, words, alive, edited, tables)
    for k in range(n):
        alive[k] &= split[k] > 1
    for k in range(n):
        if alive[k] and split[k] <= SHORT and _has_cart(data, starts[k], stops[k], cart):
            edited[k] = True
            for i in range(starts[k], stops[k]):
                line[i] = data[i]
            stops[k] = _remove_cart(line, starts[k], stops[k], tables, cart)
            alive[k] = _lstripped(line, starts[k], stops[k], tables)[0] < stops[k]
            words[k] = _words(line, starts[k], stops[k], tables)
    _strip(data, line, n, starts, stops, chars, words, alive, edited, tables)
    for step in range(6, 8):
        for k in range(n):
            if alive[k] and split[k] <= SHORT:
                if edited[k]:
                    _trim(line, step, k, starts, stops, words, alive, tables, more, sign_in)
                else:
                    _trim(data, step, k, starts, stops, words, alive, tables, more, sign_in)
        _strip(data, line, n, starts, stops, chars, words, alive, edited, tables)
    kept = 0
    for k in range(n):
        if alive[k]:
            kept += words[k]
    return kept


@jit
def _lines(data, i, end):
    """The number of lines of data[i:end]."""
    n = 1
    while i < end:
        at, shift, valid = block(data, i, end)
        n += count_ones(bytes_between_64(data, at, 10, 10) >> shift & valid)
        i += BLOCK
    return n


@jit
def _count(data, offsets, tables, texts, line, out):
    _, stage, leaves = tables
    room = 0
    starts, stops, chars = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    digits, split, words = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
    alive, edited = np.empty(room, np.bool_), np.empty(room, np.bool_)
    for d in range(len(offsets) - 1):
        begin, end = offsets[d], offsets[d + 1]
        lines = _lines(data, begin, end)
        if lines > room:
            room = lines
            starts, stops, chars = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
            digits, split, words = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
            alive, edited = np.empty(room, np.bool_), np.empty(room, np.bool_)
        n = all_words = start = 0  # lines are positions in the document, so that the scratch is as long as one
        n_chars = n_upper = n_digits = n_split = n_words = 0  # of the line so far
        after_space, after_separator, spaces_behind = _1, _1, _0
        i = begin
        while i < end:
            at, shift, valid = block(data, i, end)
            feeds = bytes_between_64(data, at, 10, 10) >> shift & valid
            upper = bytes_between_64(data, at, 65, 90) >> shift & valid
            digit = bytes_between_64(data, at, 48, 57) >> shift & valid
            alnum = upper | digit | bytes_between_64(data, at, 97, 122) >> shift & valid
            blank = bytes_between_64(data, at, 9, 13) | bytes_between_64(data, at, 32, 32)
            separator = (blank | bytes_between_64(data, at, 0, 0)) >> shift & valid
            space = ((blank | bytes_between_64(data, at, 28, 31)) >> shift | spaces_behind) & valid
            leads = bytes_between_64(data, at, 0xC2, 0xF4) >> shift & valid
            heads = valid & ~(bytes_between_64(data, at, 0x80, 0xBF) >> shift | feeds)
            spaces_behind = _0
            while leads:
                k = count_trailing_zeros(leads)
                bit = leads & (_0 - leads)
                leads ^= bit
                c, size = unicode.decode_at(data, i + k)
                f = np.int64(unicode.table_value(stage, leaves, c))
                if f & _SPACE:
                    own = (_1 << np.uint64(size)) - _1
                    space |= own << np.uint64(k)
                    if k + size > BLOCK:
                        spaces_behind = own >> np.uint64(BLOCK - k)
                if f & _UPPER:
                    upper |= bit
                if f & _DIGIT:
                    digit |= bit
                if f & _ALNUM:
                    alnum |= bit
            pieces = valid & ~space & (space << _1 | after_space)
            begun = alnum & (separator << _1 | after_separator)
            after_space, after_separator = space >> np.uint64(63), separator >> np.uint64(63)
            all_words += count_ones(begun)
            rest = valid
            while rest:
                part = rest
                feed = feeds & (_0 - feeds)
                if feed:
                    part &= feed - _1
                n_chars += count_ones(heads & part)
                n_upper += count_ones(upper & part)
                n_digits += count_ones(digit & part)
                n_split += count_ones(pieces & part)
                n_words += count_ones(begun & part)
                rest &= ~(part | feed)
                feeds ^= feed
                last = i + BLOCK >= end and rest == 0
                if feed or last:
                    stop = i + count_trailing_zeros(feed) - begin if feed else end - begin
                    if n_split and 2 * n_upper <= n_chars:
                        starts[n], stops[n], chars[n], digits[n] = start, stop, n_chars, n_digits
                        split[n], words[n] = n_split, n_words
                        n += 1
                    start = stop + 1
                    n_chars = n_upper = n_digits = n_split = n_words = 0
            i += BLOCK
        alive[:n] = True
        edited[:n] = False
        text = data[begin:end]
        out[d, 0] = all_words
        out[d, 1] = _kept(text, line, n, starts, stops, chars, digits, split, words, alive, edited, tables, texts)


_READ = ("chars", "upper", "digits", "split", "words")
"""Columns of kernels/dclm_line_removal.cu."""

_TABLES = _ASCII, unicode.FLAG_STAGE, unicode.FLAG_LEAVES
_TEXTS = _COUNTED, _COUNTED_BOUNDS, _CART, _MORE, _SIGN_IN


@dclm_line_removal.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(COLUMNS)), np.int64)
    line = np.empty(int(np.diff(text.offsets).max(initial=0)), np.uint8)
    _count(padded(text.data), text.offsets, _TABLES, _TEXTS, line, out)
    return out


@dclm_line_removal.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    lines, first, owners = device_lines(xp, text)
    n = len(lines)
    segments = Segments.of(xp, lines[:, 1] - lines[:, 0], 16_384)
    read = xp.zeros((n, len(_READ)), np.uint64)
    flags = flag_tables(xp)
    launch_warps("dclm_line_removal", "read_lines", segments.count, text.data, lines, *segments.args, *flags, read)
    chars, upper, _, split, words = read.astype(np.int64).T
    out = xp.empty((len(text), len(COLUMNS)), np.int64)
    out[:, 0] = xp.diff(exclusive_sum(xp, words)[first])

    left = xp.flatnonzero((split > 0) & (2 * upper <= chars))
    lines, read, owners = lines[left], read[left].astype(np.int64), owners[left]
    first = xp.searchsorted(owners, xp.arange(len(text) + 1, dtype=np.int64))
    alive, edited = xp.ones(len(left), np.uint8), xp.zeros(len(left), np.uint8)
    texts = *constants(xp, (_COUNTED, _COUNTED_BOUNDS)), len(COUNTED)
    kept = xp.empty(len(text), np.int64)
    launch_warps(
        "dclm_line_removal", "settle_documents", len(text), text.data, xp.empty(text.n_bytes, np.uint8), first, len(text),
        lines, read, *flags, *texts, alive, edited, kept,
    )  # fmt: skip
    out[:, 1] = kept
    return out
