"""parse_lines: parse a block of JSON lines into documents; report why every other line was rejected.

    parse_lines(block uint8[n], text_path, subset_path, skip_bom, bare_strings, text_lists) = Parsed

Lines end at LF; the last may lack it. A line of JSON white space alone is blank: neither document nor bad. Every other
line must be one JSON value by RFC 8259, in valid UTF-8: a document if it is an object with a string at text_path, or,
by option, a bare string (bare_strings) or an object with a list of strings there (text_lists, joined by a blank
line). What differs from Python's json.loads: NaN and Infinity, invalid UTF-8 and more than 512 levels of nesting make
a line bad; an escaped lone surrogate becomes U+FFFD. Of equal keys the last counts, on every level of a path. A subset
that is missing or no string is "". With skip_bom, a byte order mark at the block's start belongs to no line.

Parsed holds, for each document: line (its number in the block), start and length (bytes of the line in the block,
without the LF), text and subset; for each bad line: bad_line, bad_reason (a key of REASONS), bad_position (the byte in
the line where it was noticed); n_lines counts all lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.segments import gather, line_feeds
from gpu_pile.ops.op import Op
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import inlined, jit, leaf
from gpu_pile.text.simd import SLACK, copy_32, count_newlines, count_trailing_zeros, string_mask
from gpu_pile.text.split import next_newline
from gpu_pile.text.unicode import put_code_point
from gpu_pile.types import Array

MAX_DEPTH = 512
TEXT_JOINER = "\n\n"

NOT_JSON, UNFINISHED, CONTROL, BAD_ESCAPE, NOT_UTF8, TOO_DEEP, EXTRA, NOT_OBJECT, NO_TEXT, NOT_STRING = range(1, 11)

REASONS = {
    NOT_JSON: "not valid JSON: unexpected character at byte {at}",
    UNFINISHED: "not valid JSON: the line ends in the middle of a value",
    CONTROL: "not valid JSON: control character inside a string at byte {at}",
    BAD_ESCAPE: "not valid JSON: bad escape at byte {at}",
    NOT_UTF8: "not valid UTF-8 at byte {at}",
    TOO_DEEP: f"nested deeper than {MAX_DEPTH} levels at byte {{at}}",
    EXTRA: "more than one JSON value on the line, the second at byte {at}",
    NOT_OBJECT: "no document: the line is not a JSON object",
    NO_TEXT: "no field {field!r}",
    NOT_STRING: "field {field!r} is not a string",
}


def explain(reason: int, position: int, text_field: str) -> str:
    """A sentence for bad_lines.jsonl."""
    return REASONS[reason].format(at=position, field=text_field)


@dataclass(frozen=True)
class Parsed:
    """See the module. Arrays are int64."""

    line: Array
    start: Array
    length: Array
    text: TextColumn
    subset: TextColumn
    bad_line: Array
    bad_reason: Array
    bad_position: Array
    n_lines: int


def _inputs(text: TextColumn, params: Mapping[str, Any]) -> tuple[Any, ...]:
    """The documents as lines of a block."""
    block = b"\n".join(text.documents())
    return (np.frombuffer(block, np.uint8),)


_DOCUMENT = '{"text": "t", "meta": {"pile_set_name": "Pile-CC"}}'

parse_lines = Op(
    "parse_lines",
    version=1,
    samples=(
        {},
        {"skip_bom": True},
        {"bare_strings": True, "text_lists": True},
        {"text_path": ("meta", "t"), "subset_path": ("s",)},
    ),
    inputs=_inputs,
    documents=(
        _DOCUMENT,
        _DOCUMENT + "\r",
        " \t" + _DOCUMENT + " ",
        "   ",
        "\r",
        '{"meta": {"pile_set_name": "A", "text": "no"}, "text": "yes"}',
        '{"text": "first", "text": "last"}',
        '{"text": "first", "text": 5}',
        '{"text": 5, "text": "last"}',
        '{"meta": {"pile_set_name": "A"}, "meta": {}, "text": "x"}',
        '{"meta": {"pile_set_name": "A"}, "meta": 1, "text": "x"}',
        '{"meta": {"pile_set_name": "A", "pile_set_name": "B"}, "text": "x"}',
        '{"meta": {"pile_set_name": null}, "text": ""}',
        '{"meta": [{"pile_set_name": "A"}], "text": ""}',
        '{"te\\u0078t": "escaped key", "meta": {"t": "a", "\\u0074": ["b", "c"]}, "s": "S"}',
        '{"meta": {"t": "deep", "x": {"t": "deeper"}}, "s": "subset"}',
        '{"text": ["a", "b", "c"]}',
        '{"text": []}',
        '{"text": ["a", 1]}',
        '{"text": ["a", ["b"]], "text": ["c"]}',
        '{"text": {"text": "x"}}',
        '"a bare string"',
        '"bare" 1',
        "5",
        "null",
        "[]",
        "{}",
        '{"Text": "x"}',
        '{"text": "x"} {"text": "y"}',
        '{"text": "x"}x',
        '{"text": "x",}',
        '{"text" "x"}',
        "{'text': 'x'}",
        '{"text": "x"',
        '{"text": "x',
        '{"text": "x\\',
        '{"text": "x\\u12',
        '{"text": "x\\u12g4"}',
        '{"text": "x\\q"}',
        '{"text": "\x01"}',
        '{"text": "a\tb"}',
        '{"text": "\\b\\f\\n\\r\\t\\"\\\\\\/\\u0000\\u001f\\u00e9\\u6f22\\ud83d\\ude00\\uffff"}',
        '{"text": "\\ud83d"}',
        '{"text": "\\ude00\\ud83d"}',
        '{"text": "\\ud83d\\u0041\\ud83d\\ud83d\\ude00"}',
        '{"text": "\\ud83dx\\ud83d\\n"}',
        '{"text": "é漢😀\u2028\u0085\x7f"}',
        b'{"text": "\xff"}',
        b'{"text": "\xc3"}',
        b'{"text": "\xc0\x80 \xed\xa0\x80"}',
        b'{"text": "\xf4\x90\x80\x80"}',
        b'{"text": "\xf0\x9f\x98"}',
        b'\xff{"text": "x"}',
        b'\xef\xbb\xbf{"text": "bom"}',
        *(
            f'{{"n": {n}, "text": "x"}}'
            for n in [
                "0",
                "-0",
                "10",
                "-1.5e+10",
                "1E5",
                "1e-2",
                "0.5",
                "01",
                "1.",
                ".5",
                "-",
                "+1",
                "1e",
                "1e+",
                "0x1",
                "NaN",
                "Infinity",
                "-Infinity",
                "tru",
                "true",
                "false",
                "null",
                "nullx",
            ]
        ),
        *('{"text": "%s"}' % ("a" * n + "\\n" + "b" * (40 - n)) for n in range(20, 40)),
        *('{"text": "%s"}' % ("a" * n) for n in (0, 1, 30, 31, 32, 33, 63, 64, 65)),
        '{"text": "%s"}' % ("é" * 40),
        '{"text": "x", "meta": %s}' % ("[" * 511 + "]" * 511),
        '{"text": "x", "meta": %s}' % ("[" * 512 + "]" * 512),
        '{"text": "x", "meta": %s}' % ('{"a":' * 600 + "1" + "}" * 600),
        "[" * 600,
        '{"text": "x", "a": [1, {"b": [true, false, null, {}, [], "s"]}, -2]}',
        '{"text": "x", "a": [1,]}',
        '{"text": "x", "a": [,1]}',
        '{"text": "x", "a": [1 2]}',
        '{"text": "x", "a": [}',
        '{"text": "x"]',
        '{,"text": "x"}',
        '{"text": "x", 1: 2}',
    ),
)


class _Bad(Exception):
    """Why a line is not a document, and the byte in the line where that was noticed."""

    def __init__(self, reason: int, position: int = 0) -> None:
        self.reason, self.position = reason, position


_ESCAPES = dict(zip('"\\/bfnrt', '"\\/\b\f\n\r\t', strict=True))
_NUMBER = re.compile(rb"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NUMBER_BEGUN = re.compile(rb"-?((0|[1-9][0-9]*)(\.(?![0-9])|(\.[0-9]+)?[eE][+-]?)?)?")


class _ReferenceLine:
    """One line, read from left to right by RFC 8259. Raises _Bad at the first byte that cannot follow."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def next(self) -> str:
        """Return the next character that is not white space, without taking it."""
        while self.raw[self.at : self.at + 1] in (b" ", b"\t", b"\r"):
            self.at += 1
        if self.at == len(self.raw):
            raise _Bad(UNFINISHED, self.at)
        return chr(self.raw[self.at])

    def only_value(self) -> Any:
        """Return the one value of the line: a str, dict or list; None for a number, true, false or null."""
        value = self.value(0)
        rest = self.raw[self.at :]
        if value is None and rest and rest[:1] not in (b" ", b"\t", b"\r"):
            raise _Bad(NOT_JSON, self.at)
        if rest.strip(b" \t\r"):
            raise _Bad(EXTRA, len(self.raw) - len(rest.lstrip(b" \t\r")))
        return value

    def value(self, depth: int) -> Any:
        begin = self.next()
        if begin == '"':
            return self.string()
        if begin not in "{[":
            return self.scalar()
        if depth == MAX_DEPTH:
            raise _Bad(TOO_DEEP, self.at)
        pairs: list[tuple[str, Any]] = []
        end = "}" if begin == "{" else "]"
        separator = begin
        while separator != end:
            self.at += 1
            if separator == begin and self.next() == end:
                break
            key = self.key() if begin == "{" else ""
            pairs.append((key, self.value(depth + 1)))
            separator = self.next()
            if separator not in (",", end):
                raise _Bad(NOT_JSON, self.at)
        self.at += 1
        return dict(pairs) if begin == "{" else [value for _, value in pairs]  # of equal keys the last counts

    def key(self) -> str:
        if self.next() != '"':
            raise _Bad(NOT_JSON, self.at)
        key = self.string()
        if self.next() != ":":
            raise _Bad(NOT_JSON, self.at)
        self.at += 1
        return key

    def string(self) -> str:
        characters = []
        self.at += 1
        while self.raw[self.at : self.at + 1] != b'"':
            if self.at == len(self.raw):
                raise _Bad(UNFINISHED, self.at)
            if self.raw[self.at] < ord(" "):
                raise _Bad(CONTROL, self.at)
            characters.append(self.escape() if self.raw[self.at] == ord("\\") else self.character())
        self.at += 1
        return "".join(characters)

    def character(self) -> str:
        for n in range(1, 5):
            try:
                character = self.raw[self.at : self.at + n].decode()
            except UnicodeDecodeError:
                continue
            self.at += n
            return character
        raise _Bad(NOT_UTF8, self.at)

    def escape(self) -> str:
        """Read an escape, or two that are a surrogate pair; a lone surrogate becomes U+FFFD."""
        letter = chr(self.raw[self.at + 1]) if self.at + 1 < len(self.raw) else ""
        if not letter:
            raise _Bad(UNFINISHED, len(self.raw))
        if letter in _ESCAPES:
            self.at += 2
            return _ESCAPES[letter]
        unit = self.utf16_unit(self.at)
        if unit is None:
            is_cut = letter == "u" and self.at + 6 > len(self.raw)
            raise _Bad(UNFINISHED if is_cut else BAD_ESCAPE, self.at)
        self.at += 6
        if not 0xD800 <= unit < 0xE000:
            return chr(unit)
        low = self.utf16_unit(self.at)
        if unit >= 0xDC00 or low is None or not 0xDC00 <= low < 0xE000:
            return "\ufffd"
        self.at += 6
        return chr(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))

    def utf16_unit(self, at: int) -> int | None:
        """Return what \\uXXXX at this position stands for; None if there is no such escape."""
        match = re.compile(rb"\\u([0-9a-fA-F]{4})").match(self.raw, at)
        return int(match[1], 16) if match else None

    def scalar(self) -> None:
        """Read a number, true, false or null."""
        begin = self.raw[self.at : self.at + 1]
        for word in (b"true", b"false", b"null"):
            if begin == word[:1]:
                self.word(word)
                return
        if begin == b"-" or begin.isdigit():
            self.number()
            return
        at = self.at
        self.character()  # raises if it is not UTF-8
        raise _Bad(NOT_JSON, at)

    def word(self, word: bytes) -> None:
        rest = self.raw[self.at : self.at + len(word)]
        if not word.startswith(rest):
            raise _Bad(NOT_JSON, self.at)
        self.at += len(rest)
        if rest != word:
            raise _Bad(UNFINISHED, self.at)

    def number(self) -> None:
        number, begun = (pattern.match(self.raw, self.at) for pattern in (_NUMBER, _NUMBER_BEGUN))
        end = max(match.end() for match in (number, begun) if match)
        if number is None or number.end() < end:
            raise _Bad(NOT_JSON if end < len(self.raw) else UNFINISHED, end)
        self.at = end


def _follow(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


@parse_lines.reference
def _reference(
    block: Array,
    text_path: tuple[str, ...] = ("text",),
    subset_path: tuple[str, ...] = ("meta", "pile_set_name"),
    skip_bom: bool = False,
    bare_strings: bool = False,
    text_lists: bool = False,
) -> Parsed:
    good: list[tuple[int, int, int]] = []
    bad: list[tuple[int, int, int]] = []
    texts, subsets = [], []
    lines = block.tobytes().split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    next_start = 0
    for number, line in enumerate(lines):
        start = next_start
        next_start += len(line) + 1
        if skip_bom and number == 0 and line.startswith(b"\xef\xbb\xbf"):
            line, start = line[3:], start + 3
        if not line.strip(b" \t\r"):
            continue
        try:
            text, subset = _reference_document(line, text_path, subset_path, bare_strings, text_lists)
        except _Bad as error:
            bad.append((number, error.reason, error.position))
            continue
        good.append((number, start, len(line)))
        texts.append(text.encode())
        subsets.append(subset.encode())
    line_numbers, starts, lengths = np.array(good, np.int64).reshape(-1, 3).T
    columns = TextColumn.from_documents(texts), TextColumn.from_documents(subsets)
    bad_lines, reasons, positions = np.array(bad, np.int64).reshape(-1, 3).T
    return Parsed(line_numbers, starts, lengths, *columns, bad_lines, reasons, positions, len(lines))


def _reference_document(
    line: bytes, text_path: tuple[str, ...], subset_path: tuple[str, ...], bare_strings: bool, text_lists: bool
) -> tuple[str, str]:
    value = _ReferenceLine(line).only_value()
    if isinstance(value, str) and bare_strings:
        return value, ""
    if not isinstance(value, dict):
        raise _Bad(NOT_OBJECT)
    text = _follow(value, text_path)
    if text_lists and isinstance(text, list) and all(isinstance(t, str) for t in text):
        text = TEXT_JOINER.join(text)
    if not isinstance(text, str):
        parent = _follow(value, text_path[:-1])
        raise _Bad(NOT_STRING if isinstance(parent, dict) and text_path[-1] in parent else NO_TEXT)
    subset = _follow(value, subset_path)
    return text, subset if isinstance(subset, str) else ""


# The characters that JSON gives a meaning, as bytes.
_LINE_FEED, _SPACE, _TAB, _RETURN = map(ord, "\n \t\r")
_QUOTE, _BACKSLASH, _COMMA, _COLON = map(ord, '"\\,:')
_BEGIN_OBJECT, _END_OBJECT, _BEGIN_LIST, _END_LIST = map(ord, "{}[]")
_MINUS, _PLUS, _POINT, _ZERO, _ONE, _NINE = map(ord, "-+.019")
_SMALL_E, _SMALL_F, _SMALL_N, _SMALL_T, _SMALL_U = map(ord, "efntu")
_CASE = ord("a") ^ ord("A")
"""The bit that makes a letter of ASCII small."""
_FIRST_PRINTABLE, _FIRST_BEYOND_ASCII = 0x20, 0x80

_HIGH_SURROGATES, _LOW_SURROGATES, _AFTER_SURROGATES = 0xD800, 0xDC00, 0xE000
_BEYOND_BASIC_PLANE = 0x10000
_REPLACEMENT = 0xFFFD

ESCAPED = np.zeros(256, np.uint8)
"""The character that follows a backslash -> the byte that both stand for; 0 if there is no such escape."""
for _letter, _byte in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    ESCAPED[_letter] = _byte

_HEX_DIGITS = np.full(256, -1, np.int64)
"""The value of each hexadecimal digit; -1 for any other byte."""
for _digit in "0123456789abcdefABCDEF":
    _HEX_DIGITS[ord(_digit)] = int(_digit, 16)


@leaf
def _hex4(data, i, end):
    """Return the number of four hexadecimal digits at data[i], or -1."""
    if i + 4 > end:
        return -1
    value = 0
    for k in range(4):
        digit = _HEX_DIGITS[data[i + k]]
        if digit < 0:
            return -1
        value = value * 16 + digit
    return value


@leaf
def _utf8_length(data, i, end):
    """Return the bytes of the UTF-8 sequence beyond ASCII at data[i], 0 if it is not valid (Unicode 14, table 3-7)."""
    lead = data[i]
    if lead < 0xC2 or lead > 0xF4:
        return 0
    n = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    if i + n > end:
        return 0
    low, high = np.uint8(0x80), np.uint8(0xBF)  # what the second byte may be
    if lead == 0xE0:
        low = np.uint8(0xA0)
    elif lead == 0xED:
        high = np.uint8(0x9F)
    elif lead == 0xF0:
        low = np.uint8(0x90)
    elif lead == 0xF4:
        high = np.uint8(0x8F)
    if data[i + 1] < low or data[i + 1] > high:
        return 0
    for k in range(2, n):
        if data[i + k] & 0xC0 != 0x80:
            return 0
    return n


@leaf
def long_escape(data, i, end, out, o):
    """Decode the escape \\uXXXX whose backslash is data[i], or a pair of them, to out[o:].

    Returns (the position after the escape, or of its backslash if it is bad; the end of the output; 0 or a reason).
    """
    if data[i + 1] != _SMALL_U:
        return i, o, BAD_ESCAPE
    c = _hex4(data, i + 2, end)
    if c < 0:
        return i, o, UNFINISHED if i + 6 > end else BAD_ESCAPE
    i += 6
    if _HIGH_SURROGATES <= c < _AFTER_SURROGATES:
        low = -1
        if c < _LOW_SURROGATES and i + 1 < end and data[i] == _BACKSLASH and data[i + 1] == _SMALL_U:
            low = _hex4(data, i + 2, end)
        if _LOW_SURROGATES <= low < _AFTER_SURROGATES:
            c = _BEYOND_BASIC_PLANE + ((c - _HIGH_SURROGATES) << 10) + (low - _LOW_SURROGATES)
            i += 6
        else:
            c = _REPLACEMENT
    return i, put_code_point(out, o, c), 0


@leaf
def _copy_beyond_ascii(data, i, end, out, o):
    """Copy the characters beyond ASCII that begin at data[i], which come in runs, to out[o:].

    Returns (the position after them, or of the first invalid sequence; the end of the output; 0 or NOT_UTF8).
    """
    while i < end and data[i] >= _FIRST_BEYOND_ASCII:
        n = _utf8_length(data, i, end)
        if n == 0:
            return i, o, NOT_UTF8
        for k in range(n):
            out[o + k] = data[i + k]
        i += n
        o += n
    return i, o, 0


@leaf
def _string(data, i, end, out, o):
    """Decode the string whose opening quote is data[i - 1] to out[o:].

    Returns (the position after the closing quote, the end of the decoded bytes, 0 or a reason). Reads and writes up to
    SLACK bytes more than it uses.
    """
    while True:
        copy_32(out, o, data, i)
        special = string_mask(data, i)
        if special == 0:
            if i >= end:
                return end, o, UNFINISHED
            i += 32
            o += 32
            continue
        n = count_trailing_zeros(special)
        i += n
        o += n
        if i >= end:
            return end, o, UNFINISHED
        if data[i] == _QUOTE:
            return i + 1, o, 0
        if data[i] < _FIRST_PRINTABLE:
            return i, o, CONTROL
        if data[i] == _BACKSLASH:
            if i + 1 >= end:
                return end, o, UNFINISHED
            out[o] = ESCAPED[data[i + 1]]
            if out[o]:
                i += 2
                o += 1
                continue
            i, o, reason = long_escape(data, i, end, out, o)
        else:
            i, o, reason = _copy_beyond_ascii(data, i, end, out, o)
        if reason:
            return i, o, reason


@leaf
def _digits(data, i, end):
    """Return the position after the digits at data[i]."""
    while i < end and _ZERO <= data[i] <= _NINE:
        i += 1
    return i


@leaf
def _number(data, i, end):
    """Return (the position after the number at data[i], 0 or a reason)."""
    if data[i] == _MINUS:
        i += 1
    if i >= end:
        return end, UNFINISHED
    if data[i] == _ZERO:
        i += 1
    elif _ONE <= data[i] <= _NINE:
        i = _digits(data, i, end)
    else:
        return i, NOT_JSON
    if i < end and data[i] == _POINT:
        first = i + 1
        i = _digits(data, first, end)
        if i == first:
            return i, NOT_JSON if i < end else UNFINISHED
    if i < end and (data[i] | _CASE) == _SMALL_E:
        i += 1
        if i < end and (data[i] == _PLUS or data[i] == _MINUS):
            i += 1
        first = i
        i = _digits(data, first, end)
        if i == first:
            return i, NOT_JSON if i < end else UNFINISHED
    return i, 0


_TRUE, _FALSE, _NULL = (np.frombuffer(word, np.uint8) for word in (b"true", b"false", b"null"))


@leaf
def _literal(data, i, end, word):
    """Return (the position after the word at data[i], 0 or a reason)."""
    for k in range(len(word)):
        if i + k >= end:
            return end, UNFINISHED
        if data[i + k] != word[k]:
            return i, NOT_JSON
    return i + len(word), 0


@leaf
def _scalar(data, i, end):
    """Return (the position after the number, true, false or null at data[i], 0 or a reason)."""
    b = data[i]
    if b == _MINUS or _ZERO <= b <= _NINE:
        return _number(data, i, end)
    if b == _SMALL_T:
        return _literal(data, i, end, _TRUE)
    if b == _SMALL_F:
        return _literal(data, i, end, _FALSE)
    if b == _SMALL_N:
        return _literal(data, i, end, _NULL)
    return i, NOT_JSON if b < _FIRST_BEYOND_ASCII or _utf8_length(data, i, end) else NOT_UTF8


@inlined
def _is_space(b):
    return b in (_SPACE, _TAB, _RETURN)


@leaf
def skip_space(data, i, end):
    """Return the position of the first byte of data[i:end] that is not white space, or end."""
    while i < end and _is_space(data[i]):
        i += 1
    return i


class _Path(NamedTuple):
    """The keys that lead to a value: key k is keys[bounds[k]:bounds[k + 1]]."""

    keys: Array
    bounds: Array

    @classmethod
    def of(cls, path: tuple[str, ...]) -> _Path:
        raw = [key.encode() for key in path]
        return cls(np.frombuffer(b"".join(raw), np.uint8), np.cumsum([0, *map(len, raw)], dtype=np.int64))


class _Block(NamedTuple):
    """What the parser reads and writes: a block of lines and the buffers for what they have."""

    data: Array
    """uint8: the block, and SLACK more readable bytes."""
    paths: tuple[_Path, _Path]
    """To the text and to the subset."""
    texts: Array
    subsets: Array
    """uint8: the texts and subsets of the documents so far, back to back."""
    stack: Array
    """bool[MAX_DEPTH]: whether each open container is an object."""


class _Options(NamedTuple):
    """See the module."""

    skip_bom: bool = False
    bare_strings: bool = False
    text_lists: bool = False


_MISSING, _OTHER, _FOUND = range(3)
"""What the text of a line is so far: missing, a value that is not a text, a text."""

_LINE = np.dtype(
    [
        ("text_keys", np.int64),  # length of the path to the text
        ("subset_keys", np.int64),
        ("depth", np.int64),  # open containers
        ("text_depth", np.int64),  # keys of the path to the text that lead to the innermost open container
        ("subset_depth", np.int64),
        ("list_depth", np.int64),  # depth inside the list that is the text, -1 outside
        ("text", np.int64),  # _MISSING, _OTHER or _FOUND
        ("text_start", np.int64),  # the text is texts[text_start:text_end]
        ("text_end", np.int64),
        ("subset_start", np.int64),
        ("subset_end", np.int64),
        ("is_text", np.bool_),  # whether the next value belongs to the next key of the path to the text
        ("is_subset", np.bool_),
        ("expect_key", np.bool_),
        ("after_value", np.bool_),  # whether a value is complete, so that a separator or an end must follow
        ("list_begun", np.bool_),  # whether the list that is the text has a string already
    ],
    align=True,
)
"""How far a line has been parsed. All functions below change it."""


@inlined
def _begin_line(line, text_start, subset_start):
    line.depth = line.text_depth = line.subset_depth = 0
    line.list_depth = -1
    line.text = _MISSING
    line.text_start = line.text_end = text_start
    line.subset_start = line.subset_end = subset_start
    line.is_text = line.is_subset = line.expect_key = line.after_value = line.list_begun = False


@leaf
def _after_value(data, stack, i, end, line):
    """Read the comma or the end of a container at data[i]. Returns (the position after it, 0 or a reason)."""
    if line.depth == 0:
        return i, EXTRA
    in_object = stack[line.depth - 1]
    if data[i] == _COMMA:
        line.after_value = False
        line.expect_key = in_object
        i += 1
        if not in_object:
            i = skip_space(data, i, end)
            if i < end and data[i] == _END_LIST:
                return i, NOT_JSON
        return i, 0
    if data[i] != (_END_OBJECT if in_object else _END_LIST):
        return i, NOT_JSON
    if line.list_depth == line.depth:
        line.list_depth = -1
    line.depth -= 1
    line.text_depth = min(line.text_depth, max(line.depth - 1, 0))
    line.subset_depth = min(line.subset_depth, max(line.depth - 1, 0))
    return i + 1, 0


@inlined
def _is_next_key(path, depth, line_depth, key):
    """Whether a key of the innermost of line_depth containers is key `depth` of the path."""
    if depth != line_depth - 1 or depth + 1 >= len(path.bounds):
        return False
    first = path.bounds[depth]
    if len(key) != path.bounds[depth + 1] - first:
        return False
    equal = True
    for k in range(len(key)):
        equal &= key[k] == path.keys[first + k]
    return equal


@leaf
def _key(data, texts, paths, i, end, line):
    """Read the key at data[i] and its colon. Returns (the position after the colon, 0 or a reason)."""
    if data[i] != _QUOTE:
        return i, NOT_JSON
    start = line.text_end  # the key is decoded after the text, where the next string will overwrite it
    i, stop, reason = _string(data, i + 1, end, texts, start)
    if reason:
        return i, reason
    text_path, subset_path = paths
    line.is_text = _is_next_key(text_path, line.text_depth, line.depth, texts[start:stop])
    if line.is_text:  # of equal keys the last counts
        line.text, line.text_end = _MISSING, line.text_start
    line.is_subset = _is_next_key(subset_path, line.subset_depth, line.depth, texts[start:stop])
    if line.is_subset:
        line.subset_end = line.subset_start
    i = skip_space(data, i, end)
    if i >= end:
        return end, UNFINISHED
    if data[i] != _COLON:
        return i, NOT_JSON
    line.expect_key = False
    return i + 1, 0


@inlined
def _is_whole_text(line):
    """Whether the next value is what the path to the text leads to."""
    return line.is_text and line.text_depth == line.text_keys - 1


@inlined
def _is_whole_subset(line):
    return line.is_subset and line.subset_depth == line.subset_keys - 1


@inlined
def _replaces_text(line):
    """Note that a value which is not a string stands where the text, or a string of the list that is, should be."""
    if _is_whole_text(line) or (line.list_depth >= 0 and line.depth == line.list_depth):
        line.text = _OTHER


@inlined
def _end_value(line):
    line.is_text = line.is_subset = False
    line.after_value = True


@leaf
def _string_value(data, texts, subsets, i, end, line):
    """Read the string at data[i], a value. Returns (the position after it, 0 or a reason)."""
    is_text = _is_whole_text(line) or line.depth == 0
    listed = not is_text and line.list_depth >= 0 and line.depth == line.list_depth and line.text == _FOUND
    start = line.text_start if is_text else line.text_end
    if listed and line.list_begun:
        texts[start] = texts[start + 1] = _LINE_FEED  # TEXT_JOINER
        start += 2
    i, stop, reason = _string(data, i + 1, end, texts, start)
    if reason:
        return i, reason
    if is_text:
        line.text = _FOUND
    if is_text or listed:
        line.text_end = stop
    line.list_begun |= listed
    if not listed and _is_whole_subset(line):
        for k in range(stop - start):
            subsets[line.subset_start + k] = texts[start + k]
        line.subset_end = line.subset_start + stop - start
    _end_value(line)
    return i, 0


@leaf
def _scalar_value(data, i, end, line):
    """Read the number, true, false or null at data[i]. Returns (the position after it, 0 or a reason)."""
    _replaces_text(line)
    i, reason = _scalar(data, i, end)
    if reason == 0 and line.depth == 0 and i < end and not _is_space(data[i]):
        reason = NOT_JSON
    _end_value(line)
    return i, reason


@leaf
def _open_container(data, stack, text_lists, i, end, line):
    """Read the beginning of the object or list at data[i]. Returns (the position after it, 0 or a reason)."""
    _replaces_text(line)
    is_object = data[i] == _BEGIN_OBJECT
    if line.depth >= MAX_DEPTH:
        return i, TOO_DEEP
    stack[line.depth] = is_object
    line.depth += 1
    whole_text = _is_whole_text(line)
    if is_object:
        line.text_depth += line.is_text and not whole_text
        line.subset_depth += line.is_subset and not _is_whole_subset(line)
    elif whole_text and text_lists:
        line.list_depth = line.depth
        line.text, line.text_end = _FOUND, line.text_start
        line.list_begun = False
    line.is_text = line.is_subset = False
    i = skip_space(data, i + 1, end)
    if i < end and data[i] == (_END_OBJECT if is_object else _END_LIST):
        line.after_value = True  # _after_value reads the end
    else:
        line.expect_key = is_object
    return i, 0


@leaf
def _line(block, options, i, end, line):
    """Parse the line data[i:end], which begins without white space. Returns (0 or a reason, its position or -1)."""
    data, paths, texts, subsets, stack = block
    is_object = data[i] == _BEGIN_OBJECT
    while i < end:
        if line.after_value:
            i, reason = _after_value(data, stack, i, end, line)
        elif line.expect_key:
            i, reason = _key(data, texts, paths, i, end, line)
        elif data[i] == _QUOTE:
            i, reason = _string_value(data, texts, subsets, i, end, line)
        elif data[i] in (_BEGIN_OBJECT, _BEGIN_LIST):
            i, reason = _open_container(data, stack, options.text_lists, i, end, line)
        else:
            i, reason = _scalar_value(data, i, end, line)
        if reason:
            return reason, i
        i = skip_space(data, i, end)
    if line.depth or not line.after_value:
        return UNFINISHED, end
    if line.text == _FOUND and (is_object or options.bare_strings):
        return 0, i
    if not is_object:
        return NOT_OBJECT, -1
    return NOT_STRING if line.text == _OTHER else NO_TEXT, -1


@inlined
def _has_bom(data, i, end):
    return end - i >= 3 and data[i] == 0xEF and data[i + 1] == 0xBB and data[i + 2] == 0xBF


class _Columns(NamedTuple):
    """Buffers for what is known of each document and of each bad line; int64 all. See Parsed."""

    line: Array
    start: Array
    length: Array
    text_offsets: Array
    subset_offsets: Array
    bad_line: Array
    bad_reason: Array
    bad_position: Array


@jit
def _parse(block, options, n, line, columns):
    """Parse the n bytes of a block. Returns (documents, bad lines, lines)."""
    data = block.data
    n_good = n_bad = number = i = 0
    while i < n:
        end = next_newline(data, i, n)
        start = i + 3 if options.skip_bom and number == 0 and _has_bom(data, i, end) else i
        first = skip_space(data, start, end)
        if first < end:
            _begin_line(line[0], columns.text_offsets[n_good], columns.subset_offsets[n_good])
            reason, position = _line(block, options, first, end, line[0])
            if reason == 0:
                columns.line[n_good], columns.start[n_good], columns.length[n_good] = number, start, end - start
                n_good += 1
                columns.text_offsets[n_good] = line[0].text_end
                columns.subset_offsets[n_good] = line[0].subset_end
            else:
                columns.bad_line[n_bad], columns.bad_reason[n_bad] = number, reason
                columns.bad_position[n_bad] = max(position - start, 0)
                n_bad += 1
        number += 1
        i = end + 1
    return n_good, n_bad, number


@parse_lines.cpu
def _cpu(
    block: Array,
    text_path: tuple[str, ...] = ("text",),
    subset_path: tuple[str, ...] = ("meta", "pile_set_name"),
    *,
    padded: bool = False,
    out: Array | None = None,
    **options: bool,
) -> Parsed:
    """The contract's function, with two more parameters.

    padded: SLACK more bytes can be read after the block; else it is copied.
    out: a buffer for the text of at least len(block) + 2 * SLACK bytes; the result's text lies in it.
    """
    n = len(block)
    data = block
    if not padded:
        data = np.zeros(n + SLACK, np.uint8)
        data[:n] = block
    paths = _Path.of(text_path), _Path.of(subset_path)
    texts = np.empty(n + 2 * SLACK, np.uint8) if out is None else out
    subsets, stack = np.empty(n + 1, np.uint8), np.empty(MAX_DEPTH, np.bool_)
    line = np.zeros(1, _LINE)
    line["text_keys"], line["subset_keys"] = len(text_path), len(subset_path)
    n_lines_max = count_newlines(data, n) + 1
    columns = _Columns(*(np.zeros(n_lines_max + 1, np.int64) for _ in _Columns._fields))
    n_good, n_bad, n_lines = _parse(_Block(data, paths, texts, subsets, stack), _Options(**options), n, line, columns)
    text_offsets, subset_offsets = columns.text_offsets[: n_good + 1], columns.subset_offsets[: n_good + 1]
    return Parsed(
        columns.line[:n_good],
        columns.start[:n_good],
        columns.length[:n_good],
        TextColumn(texts[: text_offsets[-1]], text_offsets),
        TextColumn(subsets[: subset_offsets[-1]].copy(), subset_offsets),
        columns.bad_line[:n_bad],
        columns.bad_reason[:n_bad],
        columns.bad_position[:n_bad],
        n_lines,
    )


@parse_lines.cuda
def _cuda(
    xp: Any,
    block: Array,
    text_path: tuple[str, ...] = ("text",),
    subset_path: tuple[str, ...] = ("meta", "pile_set_name"),
    skip_bom: bool = False,
    bare_strings: bool = False,
    text_lists: bool = False,
) -> Parsed:
    n = len(block)
    ends = _line_ends(xp, block)
    m = len(ends)
    paths = _Path.of((*text_path, *subset_path))
    keys, key_bounds = xp.asarray(paths.keys), xp.asarray(paths.bounds)
    starts, lengths, reasons, places, text_bytes, subset_bytes = columns = [xp.empty(m, np.int64) for _ in range(6)]
    texts, subsets = xp.empty(n, np.uint8), xp.empty(n, np.uint8)
    launch_warps(
        "parse_lines", "parse_lines", m, block, ends, m, keys, key_bounds, len(text_path), len(subset_path), skip_bom,
        bare_strings, text_lists, *columns, texts, subsets,
    )  # fmt: skip
    good, bad = xp.flatnonzero(reasons == 0), xp.flatnonzero(reasons > 0)
    return Parsed(
        good,
        starts[good],
        lengths[good],
        TextColumn(*gather(xp, texts, starts[good], text_bytes[good])),
        TextColumn(*gather(xp, subsets, starts[good], subset_bytes[good])),
        bad,
        reasons[bad],
        places[bad],
        m,
    )


def _line_ends(xp: Any, block: Array) -> Array:
    """int64[n_lines]: where each line ends; the last may end with the block."""
    n, feeds = len(block), line_feeds(xp, block)
    last = int(feeds[-1]) + 1 if len(feeds) else 0
    return feeds if last == n else xp.concatenate([feeds, xp.full(1, n, np.int64)])
