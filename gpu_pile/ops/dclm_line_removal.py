"""dclm_line_removal: words that are left when DCLM has removed what looks like the furniture of web pages.

    dclm_line_removal(text) = int64[n_docs, n_columns]

Words are pieces between NUL, tab, line feed, \\v, \\f, carriage return and space (fastText's) that begin with a letter
or digit, str.isalnum(). Columns: `words` of the text, and `kept_words` of what is left after these steps. Lines are
those of split("\\n"); after each step but the fourth the text is stripped as str.strip() does.

    1  lines of which more than half of the characters are str.isupper() are dropped
    2  lines of which more than 999,999 in a million characters are str.isdigit() are dropped
    3  lines of a number and one of COUNTED, such as "3.2K views", with or without signs around them, are dropped
    4  lines of one word of str.split(), or of none, are dropped
    5  "items in cart" is removed, with one character of white space before it, wherever it occurs
    6  "read more" and three characters at the end of a line are removed, with one of white space before them
    7  "sign-in" at the beginning of a line is removed, with one of white space after it

Steps 5 to 7 change lines of at most ten words of str.split(), in any case of letters, and drop those of which only
white space is left. In step 3 a number is a decimal digit, then more digits, full stops and commas, then k, m, b or
nothing. Case is that of Python's re.IGNORECASE: U+0130 and U+0131 are an i, U+017F is an s; in step 3, of str.lower():
U+212A is a k. Stripping makes a difference to steps 2, 6 and 7, for the lines that are then the first and the last.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.segments import Segments, constants, exclusive_sum, flag_tables
from gpu_pile.gpu.segments import lines as device_lines
from gpu_pile.ops.op import Op
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.blocks import BLOCK, FASTTEXT_SPACES, below, classify, last_bit, lowest, padded
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import inlined, jit, leaf
from gpu_pile.text.simd import byte_at, count_ones, count_trailing_zeros
from gpu_pile.text.split import is_blank, is_first_byte, lstripped, previous_character, rstripped
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
C = dclm_line_removal.index


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
    return np.array([[_reference_words(t), _reference_words(k)] for t, k in rows], np.int64).reshape(-1, len(C))


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
_DOTTED_I, _DOTLESS_I, _LONG_S, _KELVIN_SIGN = map(ord, "\u0130\u0131\u017f\u212a")
_SMALL_B, _SMALL_I, _SMALL_K, _SMALL_M, _SMALL_S = map(ord, "bikms")
_CAPITAL_A, _CAPITAL_Z, _COMMA, _POINT = map(ord, "AZ,.")
_CASE = ord("a") ^ ord("A")
"""The bit that makes a letter of ASCII small."""
_FIRST_BEYOND_ASCII = 0x80
_LONG_S_LEAD, _I_LEADS = chr(_LONG_S).encode()[0], chr(_DOTTED_I).encode()[0] | _CASE
"""First bytes of U+017F, and of U+0130 and U+0131 with the bit _CASE."""

_SEPARATOR = 1 << 15
"""Beside the flags of ASCII: the byte separates words of fastText."""
_ASCII = unicode.ASCII_FLAGS.copy()
for _byte in map(ord, FASTTEXT_SPACES):
    _ASCII[_byte] |= _SEPARATOR


def _bytes(text: str) -> Array:
    return np.frombuffer(text.encode(), np.uint8).copy()


_0, _1 = np.uint64(0), np.uint64(1)


class _Texts(NamedTuple):
    """What the steps look for, as bytes. Noun k of step 3 is counted[bounds[k]:bounds[k + 1]]."""

    counted: Array
    bounds: Array
    cart: Array
    more: Array
    sign_in: Array


_TEXTS = _Texts(
    _bytes("".join(COUNTED)), np.cumsum([0, *map(len, COUNTED)], dtype=np.int64), *map(_bytes, (CART, MORE, SIGN_IN))
)

_LINE = np.dtype(
    [
        ("start", np.int64),  # bytes of the document, or of the copy if the line is edited
        ("stop", np.int64),
        ("chars", np.int64),
        ("digits", np.int64),  # DIGIT characters
        ("split", np.int64),  # words of str.split(), at first
        ("words", np.int64),  # words of fastText
        ("alive", np.bool_),  # whether no step has dropped the line
        ("edited", np.bool_),  # whether step 5 has changed it
    ],
    align=True,
)


@inlined
def _flags_at(data, i, tables):
    """Return (flags, code point, bytes) of the character at data[i]."""
    ascii, stage, leaves = tables
    if data[i] < _FIRST_BEYOND_ASCII:
        return np.int64(ascii[data[i]]), np.int64(data[i]), 1
    c, n = unicode.decode_at(data, i)
    return np.int64(unicode.table_value(stage, leaves, c)), c, n


@leaf
def _words(data, i, end, tables):
    """Return the words of data[i:end], which is one line or a part of one."""
    words = 0
    after_separator = True
    while i < end:
        f, c, n = _flags_at(data, i, tables)
        words += after_separator and (f & _ALNUM) != 0
        after_separator = c < _FIRST_BEYOND_ASCII and (f & _SEPARATOR) != 0
        i += n
    return words


# Step 3


@leaf
def _skip(data, i, end, tables, flag, want):
    """Return the position of the first character of data[i:end] that has the flag, or has it not, as wanted; or end."""
    while i < end:
        f, _, n = _flags_at(data, i, tables)
        if ((f & flag) != 0) == want:
            break
        i += n
    return i


@leaf
def _match_noun(data, i, end, noun):
    """Return where the noun that data[i:end] begins with ends, in any case as str.lower() has it; -1 if it does not."""
    for letter in noun:
        if i >= end:
            return -1
        c, n = unicode.decode_at(data, i)
        if (c | _CASE if c < _FIRST_BEYOND_ASCII else _SMALL_K if c == _KELVIN_SIGN else 0) != letter:
            return -1
        i += n
    return i


@leaf
def _is_counter(data, i, end, tables, texts):
    """Return whether step 3 drops data[i:end]."""
    i = _skip(data, i, end, tables, _WORD, True)
    if i == end or _flags_at(data, i, tables)[0] & _DECIMAL == 0:
        return False
    while i < end:
        f, c, n = _flags_at(data, i, tables)
        if f & _DECIMAL == 0 and c != _COMMA and c != _POINT:
            if c | _CASE in (_SMALL_K, _SMALL_M, _SMALL_B) or c == _KELVIN_SIGN:
                i += n
            break
        i += n
    word = _skip(data, i, end, tables, _SPACE, False)
    if word == i:
        return False
    for k in range(len(texts.bounds) - 1):
        after = _match_noun(data, word, end, texts.counted[texts.bounds[k] : texts.bounds[k + 1]])
        if after >= 0:
            return _skip(data, after, end, tables, _WORD, True) == end
    return False


# Steps 5 to 7


@leaf
def _match(data, i, end, pattern):
    """Return where the pattern that data[i:end] begins with ends, in any case as re.IGNORECASE; -1 if it does not."""
    for letter in pattern:
        if i >= end:
            return -1
        b = data[i]
        if b < _FIRST_BEYOND_ASCII:
            if (b | _CASE if _CAPITAL_A <= b <= _CAPITAL_Z else b) != letter:
                return -1
            i += 1
        else:
            c, n = unicode.decode_at(data, i)
            if not (letter == _SMALL_I and c in (_DOTTED_I, _DOTLESS_I)) and not (letter == _SMALL_S and c == _LONG_S):
                return -1
            i += n
    return i


@leaf
def _has_cart(data, i, end, pattern):
    """Return whether step 5 has something to do on data[i:end]."""
    while i < end:
        b = byte_at(data, i) | _CASE
        if (b == _SMALL_I or b == _I_LEADS) and _match(data, i, end, pattern) >= 0:  # noqa: SIM109, faster
            return True
        i += 1
    return False


@leaf
def _without_space_before(data, start, i, tables):
    """Return i, or where the character of white space begins that ends there."""
    if i > start:
        last = previous_character(data, i)
        f, _, _ = _flags_at(data, last, tables)
        if f & _SPACE:
            return last
    return i


@leaf
def _remove_cart(copy, i, end, tables, pattern):
    """Do step 5 on copy[i:end], in place. Return where it ends."""
    o = floor = i  # nothing before floor is removed any more
    while i < end:
        after = _match(copy, i, end, pattern) if is_first_byte(copy, i) else -1
        if after < 0:
            copy[o] = copy[i]
            o += 1
            i += 1
            continue
        o = floor = _without_space_before(copy, floor, o, tables)
        i = after
    return o


@leaf
def _more_begins(data, start, end, tables, pattern):
    """Return where data[start:end] ends after step 6."""
    i = end
    for n in range(len(pattern) + MORE_CHARS):
        if i == start or (n == MORE_CHARS and data[i - 1] | _CASE != pattern[-1]):
            return end
        i = previous_character(data, i)
    if _match(data, i, end, pattern) < 0:
        return end
    return _without_space_before(data, start, i, tables)


@leaf
def _sign_in_ends(data, i, end, tables, pattern):
    """Return where data[i:end] begins after step 7."""
    if data[i] | _CASE != _SMALL_S and data[i] != _LONG_S_LEAD:
        return i
    after = _match(data, i, end, pattern)
    if after < 0:
        return i
    if after < end:
        f, _, n = _flags_at(data, after, tables)
        if f & _SPACE:
            return after + n
    return after


@leaf
def _trim(data, step, line, tables, texts):
    """Do step 6 or 7 on a line, which lies in data."""
    start, stop = line.start, line.stop
    if step == 6:
        line.stop = _more_begins(data, start, stop, tables, texts.more)
    else:
        line.start = _sign_in_ends(data, start, stop, tables, texts.sign_in)
    if line.start > start or line.stop < stop:
        _, stage, leaves = tables
        line.alive = not is_blank(data, line.start, line.stop, stage, leaves)
        line.words = _words(data, line.start, line.stop, tables)


# All steps


@leaf
def _strip(data, copy, lines, tables):
    """Remove the white space at the beginning of the first line that is left and at the end of the last one."""
    _, stage, leaves = tables
    first, last = 0, len(lines) - 1
    while first <= last and not lines[first].alive:
        first += 1
    if first > last:
        return
    while not lines[last].alive:
        last -= 1
    line = lines[first]
    text = copy if line.edited else data
    line.start, removed = lstripped(text, line.start, line.stop, stage, leaves)
    if removed:
        line.words = _words(text, line.start, line.stop, tables)
    line.chars -= removed
    line = lines[last]
    line.stop, removed = rstripped(copy if line.edited else data, line.start, line.stop, stage, leaves)
    line.chars -= removed


@leaf
def _edit(data, copy, line, tables, texts):
    """Do step 5 on a line, in the copy."""
    line.edited = True
    for i in range(line.start, line.stop):
        copy[i] = data[i]
    line.stop = _remove_cart(copy, line.start, line.stop, tables, texts.cart)
    _, stage, leaves = tables
    line.alive = not is_blank(copy, line.start, line.stop, stage, leaves)
    line.words = _words(copy, line.start, line.stop, tables)


@leaf
def _kept(data, copy, lines, tables, texts):
    """Do steps 2 to 7 on the lines that step 1 leaves, none of them blank. Return the words that are left.

    copy: scratch, as long as data; lines that step 5 changes are copied there, to the same positions.
    """
    _strip(data, copy, lines, tables)
    for line in lines:
        line.alive = line.digits * 1_000_000 <= 999_999 * line.chars
    _strip(data, copy, lines, tables)
    for line in lines:
        if line.alive and line.digits:
            line.alive = not _is_counter(data, line.start, line.stop, tables, texts)
    _strip(data, copy, lines, tables)
    for line in lines:
        line.alive &= line.split > 1
        if line.alive and line.split <= SHORT and _has_cart(data, line.start, line.stop, texts.cart):
            _edit(data, copy, line, tables, texts)
    _strip(data, copy, lines, tables)
    for step in range(6, 8):
        for line in lines:
            if line.alive and line.split <= SHORT:
                _trim(copy if line.edited else data, step, line, tables, texts)
        _strip(data, copy, lines, tables)
    kept = 0
    for line in lines:
        if line.alive:
            kept += line.words
    return kept


# Reading, in blocks of 64 bytes


@leaf
def _count_lines(data, i, end):
    """Return the number of lines of data[i:end]."""
    n = 1
    while i < end:
        n += count_ones(classify(data, i, end).line_feeds)
        i += BLOCK
    return n


@leaf
def _beyond_ascii(data, base, leads, tables):
    """Return masks of the characters whose first bytes are the bits `leads` of the block at data[base].

    They are: all bytes of white space, its bytes in the next block, and the first bytes of UPPER, DIGIT, ALPHA or
    NUMERIC characters.
    """
    spaces = spaces_after = upper = digits = alnum = _0
    while leads:
        k = count_trailing_zeros(leads)
        bit = lowest(leads)
        leads ^= bit
        f, _, n = _flags_at(data, base + k, tables)
        if f & _SPACE:
            own = (_1 << np.uint64(n)) - _1
            spaces |= own << np.uint64(k)
            if k + n > BLOCK:
                spaces_after = own >> np.uint64(BLOCK - k)
        if f & _UPPER:
            upper |= bit
        if f & _DIGIT:
            digits |= bit
        if f & _ALNUM:
            alnum |= bit
    return spaces, spaces_after, upper, digits, alnum


@leaf
def _read_lines(data, begin, end, tables, lines):
    """Read the lines of data[begin:end] and do step 1. Return (lines that are left, words of all lines).

    The lines that are left and not blank are written to `lines`, their positions counted from begin.
    """
    n = all_words = start = 0
    chars = n_upper = digits = split = words = 0  # of the line so far
    after_space, after_separator, spaces_after = _1, _1, _0
    for i in range(begin, end, BLOCK):
        m = classify(data, i, end)
        wide, own_spaces_after, upper, digit, alnum = _beyond_ascii(data, i, m.beyond & ~m.tails, tables)
        space = (m.spaces | spaces_after) & m.valid | wide
        upper, digit, alnum = upper | m.capitals, digit | m.digits, alnum | m.letters | m.digits
        heads = m.valid & ~(m.tails | m.line_feeds)
        pieces = m.valid & ~space & (space << _1 | after_space)
        begun = alnum & (m.fasttext_spaces << _1 | after_separator)
        after_space, after_separator, spaces_after = last_bit(space), last_bit(m.fasttext_spaces), own_spaces_after
        all_words += count_ones(begun)
        rest, feeds = m.valid, m.line_feeds
        while rest:
            feed = lowest(feeds)
            feeds ^= feed
            in_line = rest & below(feed)
            rest &= ~(in_line | feed)
            chars += count_ones(heads & in_line)
            n_upper += count_ones(upper & in_line)
            digits += count_ones(digit & in_line)
            split += count_ones(pieces & in_line)
            words += count_ones(begun & in_line)
            if feed or (i + BLOCK >= end and rest == 0):
                stop = i + count_trailing_zeros(feed) - begin if feed else end - begin
                if split and 2 * n_upper <= chars:
                    line = lines[n]
                    line.start, line.stop, line.chars, line.digits = start, stop, chars, digits
                    line.split, line.words, line.alive, line.edited = split, words, True, False
                    n += 1
                start = stop + 1
                chars = n_upper = digits = split = words = 0
    return n, all_words


@jit
def _count(data, offsets, tables, texts, copy, lines, out):
    for d in range(len(offsets) - 1):
        begin, end = offsets[d], offsets[d + 1]
        n_lines = _count_lines(data, begin, end)
        if n_lines > len(lines):
            lines = np.empty(n_lines, lines.dtype)
        n, out[d, C.words] = _read_lines(data, begin, end, tables, lines)
        out[d, C.kept_words] = _kept(data[begin:end], copy, lines[:n], tables, texts)


_READ = ("chars", "upper", "digits", "split", "words")
"""Columns of kernels/dclm_line_removal.cu."""

_TABLES = _ASCII, unicode.FLAG_STAGE, unicode.FLAG_LEAVES


@dclm_line_removal.cpu
def _cpu(text: TextColumn) -> Array:
    out = np.empty((len(text), len(C)), np.int64)
    copy = np.empty(int(np.diff(text.offsets).max(initial=0)), np.uint8)
    _count(padded(text.data), text.offsets, _TABLES, _TEXTS, copy, np.empty(1, _LINE), out)
    return out


@dclm_line_removal.cuda
def _cuda(xp: Any, text: TextColumn) -> Array:
    lines, first, owners = device_lines(xp, text)
    segments = Segments.of(xp, lines[:, 1] - lines[:, 0])
    read = xp.zeros((len(lines), len(_READ)), np.uint64)
    flags = flag_tables(xp)
    launch_warps("dclm_line_removal", "read_lines", segments.count, text.data, lines, *segments.args, *flags, read)
    chars, upper, _, split, words = read.astype(np.int64).T
    out = xp.empty((len(text), len(C)), np.int64)
    out[:, C.words] = xp.diff(exclusive_sum(xp, words)[first])

    left = xp.flatnonzero((split > 0) & (2 * upper <= chars))
    lines, read, owners = lines[left], read[left].astype(np.int64), owners[left]
    first = xp.searchsorted(owners, xp.arange(len(text) + 1, dtype=np.int64))
    alive, edited = xp.ones(len(left), np.uint8), xp.zeros(len(left), np.uint8)
    copy, kept = xp.empty(text.n_bytes, np.uint8), xp.empty(len(text), np.int64)
    documents = (text.data, copy, first, len(text), lines, read)
    nouns = (*constants(xp, (_TEXTS.counted, _TEXTS.bounds)), len(COUNTED))
    launch_warps(
        "dclm_line_removal", "settle_documents", len(text), *documents, *flags, *nouns, alive, edited, kept
    )  # fmt: skip
    out[:, C.kept_words] = kept
    return out
