"""redpajama_lines: RedPajama-Data v2's counts for each line of a document.

    redpajama_lines(text) = (int64[n_lines, n_columns], offsets int64[n_docs + 1])

Lines of document d are rows offsets[d] to offsets[d + 1]. A line ends after each line feed and at the end of the text,
if something is left there: re.finditer(r"([^\\n]*\\n|[^\\n]+$)", text). Columns:

    start, end      of the line in the text, its line feed included, in code points
    terminal        1 where the line, without white space at its end, ends with . ! ? or ”
    bullet          1 where it begins with one of • ‣ ▶ ◀ ◦ ■ □ ▪ ▫ – after white space
    upper           UPPER characters
    words           words of its normal form (gpu_pile.text.normal_form)
    javascript      words of the normal form that are "javascript"
    normal_chars    code points of its normal form, the spaces between words included
    numeric         NUMERIC code points of the normal form
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpu_pile.gpu.launch import launch_threads, launch_warps
from gpu_pile.gpu.segments import Segments, constant, constants, exclusive_sum, flag_tables, lines
from gpu_pile.ops.op import Op
from gpu_pile.text import normal_form, unicode, unicode_reference
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import inlined, leaf
from gpu_pile.text.simd import byte_at
from gpu_pile.types import Array

BULLETS = "•‣▶◀◦■□▪▫–"

DOCUMENTS = (
    " ",
    "\n",
    "\n\n",
    "a\n",
    "a\nb",
    'a.\r\nB! \nc?\u3000\nd”\ne"\n\nf',
    "• a\n\u2003‣ b\n- c\n–d\n ",
    "JavaScript, java-script JAVASCRIPT! javascripts (javascript)\njavascript",
    "... --- '\" \n!?\n",
    "1 ² Ⅻ x1 ½ ٣\n१२\n1,234.5",
    "ΟΔΟΣ ΣΑΣ Σ Σ. ΑΣ' ΑΣ'Α ΑΣ-Α Α.Σ Α\u00adΣ Α\u0301Σ\u0301 ʰΣ aʰΣ ΣΣ",
    "İstanbul IĞDIR İİ ıI",
    "é e\u0301 ḕ ế ệ a\u0323\u0302 a\u0302\u0323 q\u0307\u0323 \u0344 \u0390",
    "한국어 가각힣 \u1100\u1161 漢字 \uf900 \u2126 \u212b \u212a",
    "\U0001d15e \U0001d160 \u0958 \u0fb9 \u0f73",
    "a" + "\u0323\u0302\u0345\u0315\u0301" * 30 + " b",
    "\u0301 x\u0301 .\u0301 \u0315\u0300",
    "x_y a-b it's U.S.A. e.g. (c)",
    "\x00 \x00• x\n\x00\n\x00a\x00 \x00javascript",
    "ﬁ ǅ ǆ Ǆ ß ẞ Ⓐ ⓐ",
    "\x00 a\x00b .\x00.",
    "  • " + "a B é " * 20 + "? \njavascribe Javascript\u0301 " + "ḕ1 " * 40 + "\n",
    "\u037ejavascript java\u1fefscript javascript\u037e;",
    "a.\u0323-\u0302.b\u0301\u0323 .\u0323 \u0345.\u0301" + "-" * 40 + "\u0323 Α" + "." * 40 + "Σ" + "." * 40 + "Α",
)

redpajama_lines = Op(
    "redpajama_lines",
    version=2,
    columns=("start", "end", "terminal", "bullet", "upper", "words", "javascript", "normal_chars", "numeric"),
    documents=DOCUMENTS,
)
C = redpajama_lines.index


@redpajama_lines.reference
def _reference(text: TextColumn) -> tuple[Array, Array]:
    rows, offsets = [], [0]
    for d in text.documents():
        start = 0
        pieces = d.decode().split("\n")
        lines = [x + "\n" for x in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])
        for line in lines:
            stripped = unicode_reference.strip(line)
            words = normal_form.normal_words(line)
            normal = " ".join(words)
            rows.append(
                [
                    start,
                    start + len(line),
                    stripped.endswith((".", "!", "?", "”")),
                    stripped.startswith(tuple(BULLETS)),
                    sum(bool(unicode_reference.flags(c) & unicode.UPPER) for c in line),
                    len(words),
                    words.count("javascript"),
                    len(normal),
                    sum(bool(unicode_reference.flags(c) & unicode.NUMERIC) for c in normal),
                ]
            )
            start += len(line)
        offsets.append(len(rows))
    return np.array(rows, np.int64).reshape(-1, len(C)), np.array(offsets, np.int64)


_SPACE, _UPPER, _NUMERIC = unicode.SPACE, unicode.UPPER, unicode.NUMERIC
_DROPPED = normal_form.DROPPED
_BULLETS = np.array(sorted(map(ord, BULLETS)), np.int64)
_JAVASCRIPT = np.frombuffer(b"javascript", np.uint8).copy()
_LINE_FEED = ord("\n")
_BLANK = ord(" ")
_FIRST_BEYOND_ASCII = 0x80
_END_MARKS = tuple(map(ord, ".!?"))
_RIGHT_QUOTE = tuple("”".encode())
_FIRST_BULLET_BYTE = 0xE2
"""All bullets are beyond ASCII; this is the least first byte of their UTF-8."""

_SPECIAL = np.uint64(1 << 60)
_FIELD = 15
"""Bits of each count in a sum of _ASCII values: up to (1 << _FIELD) - 1 characters can be summed up."""
_ASCII = np.array(
    [
        int(_SPECIAL) if f & _SPACE else bool(f & _UPPER) | bool(f & _NUMERIC) << _FIELD | (n != _DROPPED) << 2 * _FIELD
        for f, n in zip(unicode.ASCII_FLAGS.tolist(), normal_form.ASCII_NORMAL.tolist(), strict=True)
    ]
    + [int(_SPECIAL)] * 128,
    np.uint64,
)
"""For each byte a count of UPPER, of NUMERIC and of what is kept in the normal form; _SPECIAL for bytes that need a
closer look: white space and what is beyond ASCII."""


class _Tables(NamedTuple):
    """What compiled code looks up: _ASCII, ASCII_NORMAL and UNICODE_TABLES of normal_form, _BULLETS, _JAVASCRIPT."""

    ascii: Array
    ascii_normal: Array
    unicode: tuple[Array, ...]
    bullets: Array
    javascript: Array


_TABLES = _Tables(_ASCII, normal_form.ASCII_NORMAL, normal_form.UNICODE_TABLES, _BULLETS, _JAVASCRIPT)


class _Scratch(NamedTuple):
    """marks: as normal_word takes them. word: room for the normal form of the longest word."""

    marks: tuple[Array, Array]
    word: Array


@leaf
def _is_javascript(data, start, end, tables):
    """Return whether the word data[start:end] is ASCII and "javascript" is its normal form."""
    k = 0
    for i in range(start, end):
        if data[i] >= _FIRST_BEYOND_ASCII:
            return False
        b = tables.ascii_normal[data[i]]
        if b != _DROPPED:
            if k == len(tables.javascript) or b != tables.javascript[k]:
                return False
            k += 1
    return k == len(tables.javascript)


@leaf
def _equal(data, n, word):
    """Return whether data[:n] is word. A normal form can hold ASCII punctuation: U+037E is decomposed to one."""
    i = 0
    while i < n and i < len(word) and data[i] == word[i]:
        i += 1
    return i == n == len(word)


@leaf
def _ends_line(data, end):
    """Return whether the character that ends at data[end] is one of . ! ? and ”."""
    last = data[end - 1]
    if last == _RIGHT_QUOTE[2]:
        return end >= 3 and data[end - 2] == _RIGHT_QUOTE[1] and data[end - 3] == _RIGHT_QUOTE[0]
    return last in _END_MARKS


@leaf
def _is_bullet(data, i, bullets):
    """Return whether the character at data[i] is a bullet."""
    if data[i] >= _FIRST_BULLET_BYTE:
        c, _ = unicode.decode_at(data, i)
        for bullet in bullets:
            if c == bullet:
                return True
    return False


class _Word(NamedTuple):
    """A run of characters that are not white space, which may be empty."""

    end: Any
    space: Any
    """bytes of the character of white space after it"""
    plain: Any
    """whether it is ASCII"""
    upper: Any
    kept: Any
    """characters in the normal form, of ASCII ones"""
    digits: Any
    """NUMERIC ones among these"""
    tails: Any
    """bytes that are not the first of a character, here and in the white space"""


@inlined
def _read_word(data, i, end, tables):
    """Read the word at data[i]."""
    flag_stage, flag_leaves = tables.unicode[0], tables.unicode[1]
    field = np.uint64(_FIELD)
    ones = (np.uint64(1) << field) - np.uint64(1)
    upper = kept = digits = tails = 0
    plain = True
    space = 1
    while True:
        stop = min(end, i + (1 << _FIELD) - 1)
        sums = np.uint64(0)
        while i < stop:
            counts = tables.ascii[byte_at(data, i)]
            if counts & _SPECIAL:
                break
            sums += counts
            i += 1
        upper += np.int64(sums & ones)
        digits += np.int64((sums >> field) & ones)
        kept += np.int64(sums >> (field + field))
        if i == end or (i < stop and data[i] < _FIRST_BEYOND_ASCII):
            break
        if i < stop:
            c, space = unicode.decode_at(data, i)
            flags = unicode.table_value(flag_stage, flag_leaves, c)
            tails += space - 1
            if flags & _SPACE:
                break
            upper += (flags & _UPPER) != 0
            plain = False
            i += space
            space = 1
    return _Word(i, space, plain, upper, kept, digits, tails)


@inlined
def _read_line(data, line_start, end, tables, scratch, row):
    """Read the line that begins at data[line_start], and write its columns but C.start. Return where it ends."""
    i = line_start
    first, last = -1, i  # of what is not white space
    tails = upper = words = javascript = normal_chars = numeric = 0
    ended = False
    while i < end and not ended:
        if byte_at(data, i) == _BLANK:
            i += 1
            continue
        start, word = i, _read_word(data, i, end, tables)
        i, kept, digits = word.end, word.kept, word.digits
        upper += word.upper
        tails += word.tails
        if i > start:
            first = start if first < 0 else first
            last = i
            if word.plain:
                javascript += kept == len(tables.javascript) and _is_javascript(data, start, i, tables)
            else:
                n_bytes, kept, digits = normal_form.normal_word(
                    data, start, i, tables.unicode, scratch.marks, scratch.word, 0
                )
                javascript += _equal(scratch.word, n_bytes, tables.javascript)
            words += kept > 0
            normal_chars += kept
            numeric += digits
        if i < end:  # one character of white space
            ended = data[i] == _LINE_FEED
            i += word.space
    row[C.end] = row[C.start] + i - line_start - tails
    row[C.terminal] = first >= 0 and _ends_line(data, last)
    row[C.bullet] = first >= 0 and _is_bullet(data, first, tables.bullets)
    row[C.upper], row[C.words], row[C.javascript] = upper, words, javascript
    row[C.normal_chars], row[C.numeric] = normal_chars + max(words - 1, 0), numeric
    return i


@leaf
def _count(data, offsets, tables, scratch, out, bounds):
    """Write the rows of all lines, and where those of each document end to bounds."""
    line = 0
    for d in range(len(offsets) - 1):
        i, end = offsets[d], offsets[d + 1]
        chars = 0
        while i < end:
            out[line, C.start] = chars
            i = _read_line(data, i, end, tables, scratch, out[line])
            chars = out[line, C.end]
            line += 1
        bounds[d + 1] = line


def _line_total(text: TextColumn) -> int:
    ends = text.offsets[1:][np.diff(text.offsets) > 0]
    return int(np.count_nonzero(text.data == _LINE_FEED) + np.count_nonzero(text.data[ends - 1] != _LINE_FEED))


@redpajama_lines.cpu
def _cpu(text: TextColumn) -> tuple[Array, Array]:
    out = np.empty((_line_total(text), len(C)), np.int64)
    bounds = np.zeros(len(text) + 1, np.int64)
    longest = int(np.diff(text.offsets).max(initial=0))
    word = np.empty(normal_form.EXPANSION * longest + 16, np.uint8)
    scratch = _Scratch(normal_form.new_marks(longest), word)
    _count(text.data, text.offsets, _TABLES, scratch, out, bounds)
    return out, bounds


@dataclass(frozen=True)
class NormalWords:
    """The words of the normal form of documents, on the device.

    data:     uint8[n_bytes]     their UTF-8, back to back
    bounds:   int64[n_words + 1] word k is data[bounds[k]:bounds[k + 1]]
    chars:    int64[n_words + 1] code points before each word, of all documents
    numerics: int64[n_words + 1] NUMERIC ones among these
    places:   int64[n_words]     where the word begins in the text
    owners:   int64[n_words]     its document
    first:    int64[n_docs + 1]  document d has words first[d] .. first[d + 1]
    """

    data: Array
    bounds: Array
    chars: Array
    numerics: Array
    places: Array
    owners: Array
    first: Array

    @classmethod
    def of(cls, xp: Any, text: TextColumn) -> NormalWords:
        segments = Segments.of_text(xp, text)
        tables = constants(xp, normal_form.UNICODE_TABLES)
        documents = (text.data, text.offsets, *segments.args, *tables)
        sizes = [xp.empty(segments.count, np.int64) for _ in range(4)]
        launch_warps("normal_form", "count_normal", segments.count, *documents, *sizes)
        before = [exclusive_sum(xp, x) for x in sizes]
        n = int(before[3][-1])
        data = xp.empty(int(before[0][-1]), np.uint8)
        bounds, chars, numerics = (xp.empty(n + 1, np.int64) for _ in range(3))
        bounds[n], chars[n], numerics[n] = (sums[-1] for sums in before[:3])
        places, owners = xp.empty(n, np.int64), xp.empty(n, np.int64)
        columns = (bounds, chars, numerics, places, owners)
        launch_warps("normal_form", "write_normal", segments.count, *documents, *before, data, *columns)
        return cls(data, *columns, before[3][segments.first])


_BULLET_CODES = _BULLETS.astype(np.uint32)


@redpajama_lines.cuda
def _cuda(xp: Any, text: TextColumn) -> tuple[Array, Array]:
    bounds, _, owners = lines(xp, text)
    filled = bounds[:, 0] < text.offsets[1:][owners]  # nothing after the last line feed is not a line
    bounds, owners = bounds[filled], owners[filled]
    first = xp.searchsorted(owners, xp.arange(len(text) + 1, dtype=np.int64))
    n = len(owners)

    segments = Segments.of(xp, bounds[:, 1] - bounds[:, 0])
    chars, uppers, terminal, bullet = (xp.zeros(n, np.int64) for _ in range(4))
    inks = xp.empty((n, 2), np.int64)
    inks[:, 0], inks[:, 1] = text.n_bytes, -1
    spans = (text.data, bounds, *segments.args, *flag_tables(xp))
    launch_warps("redpajama_lines", "read_lines", segments.count, *spans, chars, uppers, inks)
    bullets = constant(xp, _BULLET_CODES)
    launch_threads("redpajama_lines", "judge_lines", n, text.data, inks, n, bullets, len(bullets), terminal, bullet)

    words = NormalWords.of(xp, text)
    javascript = xp.empty(len(words.places), np.int64)
    launch_threads(
        "redpajama_lines", "find_javascript", len(javascript), words.data, words.bounds, len(javascript), javascript
    )
    a, b = xp.searchsorted(words.places, bounds[:, 0]), xp.searchsorted(words.places, bounds[:, 1])
    javascripts = exclusive_sum(xp, javascript)
    ends = exclusive_sum(xp, chars + (bounds[:, 1] < text.offsets[1:][owners]))
    begin = ends[first[owners]]  # of the document
    out = xp.empty((n, len(C)), np.int64)
    out[:, C.start], out[:, C.end] = ends[:-1] - begin, ends[1:] - begin
    out[:, C.terminal], out[:, C.bullet], out[:, C.upper] = terminal, bullet, uppers
    out[:, C.words], out[:, C.javascript] = b - a, javascripts[b] - javascripts[a]
    out[:, C.normal_chars] = words.chars[b] - words.chars[a] + xp.maximum(b - a - 1, 0)
    out[:, C.numeric] = words.numerics[b] - words.numerics[a]
    return out, first
