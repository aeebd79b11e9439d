"""parse_lines: a block of JSON lines -> documents, and why the other lines are none.

    parse_lines(block uint8[n], text_path, subset_path, skip_bom, bare_strings, text_lists) = Parsed

Lines end at LF; the last may lack it. A line of JSON white space alone is blank: neither document nor bad. Every other
line must be one JSON value by RFC 8259, in valid UTF-8: a document if it is an object with a string at text_path, or,
by option, a string by itself (bare_strings) or an object with a list of strings there (text_lists, joined by a blank
line). What differs from Python's json.loads: NaN and Infinity, invalid UTF-8 and more than 512 levels of nesting make
a line bad; an escaped lone surrogate becomes U+FFFD. Of equal keys the last counts, on every level of a path. A subset
that is missing or no string is "". With skip_bom, a byte order mark at the block's start belongs to no line.

Parsed holds, for each document: line (its number in the block), start and length (bytes of the line in the block,
without the LF), text and subset; for each bad line: bad_line, bad_reason (a key of REASONS), bad_position (the byte in
the line where it was noticed); n_lines counts all lines.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.segments import gather, line_feeds
from gpu_pile.ops.op import Op
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit
from gpu_pile.text.simd import SLACK, bytes_between, copy_32, count_newlines, count_trailing_zeros, string_mask
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

    def __iter__(self) -> Any:
        """As a tuple of arrays, to be compared with the reference, to which all that is no JSON is alike."""
        return iter(
            (
                self.line,
                self.start,
                self.length,
                self.text.data,
                self.text.offsets,
                self.subset.data,
                self.subset.offsets,
                self.bad_line,
                np.where(self.bad_reason < NOT_OBJECT, NOT_JSON, self.bad_reason),
                np.array(self.n_lines),
            )
        )


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
    def __init__(self, reason: int) -> None:
        self.reason = reason


class _Object(list[tuple[str, Any]]):
    """A JSON object with every pair that was written."""

    def get(self, key: str) -> Any:
        """The last value of a key, or None."""
        return next((v for k, v in reversed(self) if k == key), None)


def _loads(line: str) -> Any:
    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    return json.loads(line, object_pairs_hook=_Object, parse_constant=refuse)


def _depth(line: str) -> int:
    depth = most = 0
    inside = escaped = False
    for c in line:
        if inside:
            inside = escaped or c != '"'
            escaped = c == "\\" and not escaped
        elif c == '"':
            inside = True
        elif c in "[{":
            depth += 1
            most = max(most, depth)
        elif c in "]}":
            depth -= 1
    return most


def _follow(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(value, _Object):
            return None
        value = value.get(key)
    return value


def _repair(text: str) -> bytes:
    return "".join("\ufffd" if 0xD800 <= ord(c) < 0xE000 else c for c in text).encode()


@parse_lines.reference
def _reference(
    block: Array,
    text_path: tuple[str, ...] = ("text",),
    subset_path: tuple[str, ...] = ("meta", "pile_set_name"),
    skip_bom: bool = False,
    bare_strings: bool = False,
    text_lists: bool = False,
) -> Parsed:
    """Reasons are given by what json.loads says only as far as good, bad and why a valid value is no document."""
    good: list[tuple[int, int, int]] = []
    texts, subsets, bad = [], [], []
    raw = block.tobytes()
    lines = raw.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    start = 0
    for number, whole in enumerate(lines):
        line = whole
        at = start
        start += len(whole) + 1
        if skip_bom and number == 0 and line.startswith(b"\xef\xbb\xbf"):
            line, at = line[3:], at + 3
        if not line.strip(b" \t\r"):
            continue
        try:
            text, subset = _reference_line(line, text_path, subset_path, bare_strings, text_lists)
        except _Bad as error:
            bad.append((number, error.reason))
            continue
        good.append((number, at, len(line)))
        texts.append(text)
        subsets.append(subset)
    g = np.array(good, np.int64).reshape(-1, 3)
    b = np.array(bad, np.int64).reshape(-1, 2)
    text_column, subset_column = TextColumn.from_documents(texts), TextColumn.from_documents(subsets)
    position = np.zeros(len(b), np.int64)
    return Parsed(g[:, 0], g[:, 1], g[:, 2], text_column, subset_column, b[:, 0], b[:, 1], position, len(lines))


def _reference_line(
    line: bytes, text_path: tuple[str, ...], subset_path: tuple[str, ...], bare_strings: bool, text_lists: bool
) -> tuple[bytes, bytes]:
    try:
        decoded = line.decode()
    except UnicodeDecodeError:
        raise _Bad(NOT_JSON) from None
    if _depth(decoded) > MAX_DEPTH:
        raise _Bad(NOT_JSON)
    try:
        value = _loads(decoded)
    except ValueError:
        raise _Bad(NOT_JSON) from None
    if isinstance(value, str) and bare_strings:
        return _repair(value), b""
    if not isinstance(value, _Object):
        raise _Bad(NOT_OBJECT)
    text = _follow(value, text_path)
    if (
        isinstance(text, list)
        and not isinstance(text, _Object)
        and text_lists
        and all(isinstance(t, str) for t in text)
    ):
        text = TEXT_JOINER.join(text)
    if not isinstance(text, str):
        # null and a missing field are told apart by whether the key was written
        parent = _follow(value, text_path[:-1])
        written = isinstance(parent, _Object) and any(k == text_path[-1] for k, _ in parent)
        raise _Bad(NOT_STRING if written else NO_TEXT)
    subset = _follow(value, subset_path)
    return _repair(text), _repair(subset) if isinstance(subset, str) else b""


@jit
def _hex4(data, i, end):
    """The number of four hexadecimal digits at data[i], or -1."""
    if i + 4 > end:
        return -1
    v = 0
    for k in range(4):
        c = np.int64(data[i + k])
        if 48 <= c <= 57:
            c -= 48
        elif 97 <= c <= 102:
            c -= 87
        elif 65 <= c <= 70:
            c -= 55
        else:
            return -1
        v = v * 16 + c
    return v


@jit
def _utf8_length(data, i, end):
    """Bytes of the UTF-8 sequence beyond ASCII at data[i], 0 if it is not valid (Unicode 14, table 3-7)."""
    b = data[i]
    if b < 0xC2 or b > 0xF4:
        return 0
    n = 2 if b < 0xE0 else 3 if b < 0xF0 else 4
    if i + n > end:
        return 0
    c = data[i + 1]
    low, high = np.uint8(0x80), np.uint8(0xBF)
    if b == 0xE0:
        low = np.uint8(0xA0)
    elif b == 0xED:
        high = np.uint8(0x9F)
    elif b == 0xF0:
        low = np.uint8(0x90)
    elif b == 0xF4:
        high = np.uint8(0x8F)
    if c < low or c > high:
        return 0
    for k in range(2, n):
        if data[i + k] & 0xC0 != 0x80:
            return 0
    return n


@jit
def _string(data, i, end, out, o):
    """Decode the string whose opening quote is at data[i - 1] to out[o:].

    Returns (place behind the closing quote, place behind the decoded bytes, 0 or a reason). Reads and writes up to
    SLACK bytes more than it uses.
    """
    while True:
        copy_32(out, o, data, i)
        mask = string_mask(data, i)
        if mask == 0:
            if i >= end:
                return end, o, UNFINISHED
            i += 32
            o += 32
            continue
        n = count_trailing_zeros(mask)
        i += n
        o += n
        if i >= end:
            return end, o, UNFINISHED
        b = data[i]
        if b == 0x22:
            return i + 1, o, 0
        if b == 0x5C:
            if i + 1 >= end:
                return end, o, UNFINISHED
            e = data[i + 1]
            i += 2
            if e == 0x6E:
                out[o] = 10
            elif e == 0x22 or e == 0x5C or e == 0x2F:
                out[o] = e
            elif e == 0x74:
                out[o] = 9
            elif e == 0x72:
                out[o] = 13
            elif e == 0x62:
                out[o] = 8
            elif e == 0x66:
                out[o] = 12
            elif e == 0x75:
                c = _hex4(data, i, end)
                if c < 0:
                    return i - 2, o, UNFINISHED if i + 4 > end else BAD_ESCAPE
                i += 4
                if 0xD800 <= c < 0xE000:
                    low = -1
                    if c < 0xDC00 and i + 1 < end and data[i] == 0x5C and data[i + 1] == 0x75:
                        low = _hex4(data, i + 2, end)
                    if 0xDC00 <= low < 0xE000:
                        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00)
                        i += 6
                    else:
                        c = 0xFFFD
                o = put_code_point(out, o, c)
                continue
            else:
                return i - 2, o, BAD_ESCAPE
            o += 1
        elif b < 0x20:
            return i, o, CONTROL
        else:
            while i < end and data[i] >= 0x80:  # characters beyond ASCII come in runs
                n = _utf8_length(data, i, end)
                if n == 0:
                    return i, o, NOT_UTF8
                for k in range(n):
                    out[o + k] = data[i + k]
                i += n
                o += n


@jit
def _number(data, i, end):
    """The place behind the number at data[i], and 0 or a reason."""
    if data[i] == 0x2D:
        i += 1
    if i >= end:
        return end, UNFINISHED
    if data[i] == 0x30:
        i += 1
    elif 0x31 <= data[i] <= 0x39:
        while i < end and 0x30 <= data[i] <= 0x39:
            i += 1
    else:
        return i, NOT_JSON
    if i < end and data[i] == 0x2E:
        i += 1
        first = i
        while i < end and 0x30 <= data[i] <= 0x39:
            i += 1
        if i == first:
            return i, NOT_JSON if i < end else UNFINISHED
    if i < end and (data[i] | 0x20) == 0x65:
        i += 1
        if i < end and (data[i] == 0x2B or data[i] == 0x2D):
            i += 1
        first = i
        while i < end and 0x30 <= data[i] <= 0x39:
            i += 1
        if i == first:
            return i, NOT_JSON if i < end else UNFINISHED
    return i, 0


@jit
def _literal(data, i, end, word):
    for k in range(len(word)):
        if i + k >= end:
            return end, UNFINISHED
        if data[i + k] != word[k]:
            return i, NOT_JSON
    return i + len(word), 0


@jit
def _same(out, start, stop, key):
    if stop - start != len(key):
        return False
    equal = True
    for k in range(len(key)):
        equal &= out[start + k] == key[k]
    return equal


@jit
def _space(data, i, end):
    while i < end and (data[i] == 0x20 or data[i] == 0x09 or data[i] == 0x0D):
        i += 1
    return i


# what a line's text is found to be
_MISSING, _OTHER, _FOUND = 0, 1, 2


@jit
def _line(data, i, end, text_keys, subset_keys, key_bytes, bare, lists, literals, stack, out, base, side, state):
    """Parse one line data[i:end].

    text_keys, subset_keys: int64[m, 2], where in key_bytes each key of the path is.
    out[base:]: the text is left there; side: the subset is left in its first bytes.
    state: int64[2], bytes of the text and of the subset. Returns (0 or a reason, place).
    """
    n_text, n_subset = len(text_keys), len(subset_keys)
    text_found = _MISSING
    text_end, subset_end = base, 0
    text_depth = subset_depth = 0  # keys of the path that lead to the container we are in
    depth = 0
    list_depth = -1  # depth inside the list that is the text
    is_text = is_subset = False  # whether the value that comes is the text, the subset
    expect_key = False
    after_value = False
    while True:
        i = _space(data, i, end)
        if i >= end:
            break
        b = data[i]
        if after_value:
            if depth == 0:
                return EXTRA, i
            if b == 0x2C:  # comma
                i += 1
                after_value = False
                expect_key = stack[depth - 1] == 1
                if expect_key:
                    continue
                i = _space(data, i, end)
                if i < end and data[i] == 0x5D:
                    return NOT_JSON, i
                continue
            if b != (0x7D if stack[depth - 1] == 1 else 0x5D):
                return NOT_JSON, i
            # the container ends
            depth -= 1
            i += 1
            text_depth = min(text_depth, max(depth - 1, 0))
            subset_depth = min(subset_depth, max(depth - 1, 0))
            if list_depth == depth + 1:
                list_depth = -1
            continue
        if expect_key:
            if b != 0x22:
                return NOT_JSON, i
            scratch = max(text_end, base)
            i, o, reason = _string(data, i + 1, end, out, scratch)
            if reason:
                return reason, i
            is_text = is_subset = False
            if text_depth == depth - 1 and text_depth < n_text:
                a, z = text_keys[text_depth, 0], text_keys[text_depth, 1]
                if _same(out, scratch, o, key_bytes[a:z]):
                    text_found, text_end = _MISSING, base  # of equal keys the last counts
                    is_text = True
            if subset_depth == depth - 1 and subset_depth < n_subset:
                a, z = subset_keys[subset_depth, 0], subset_keys[subset_depth, 1]
                if _same(out, scratch, o, key_bytes[a:z]):
                    subset_end = 0
                    is_subset = True
            i = _space(data, i, end)
            if i >= end:
                return UNFINISHED, end
            if data[i] != 0x3A:
                return NOT_JSON, i
            i += 1
            expect_key = False
            continue
        # a value
        whole_text = is_text and text_depth == n_text - 1
        whole_subset = is_subset and subset_depth == n_subset - 1
        in_list = list_depth >= 0 and depth == list_depth
        if b == 0x22:
            bare_value = depth == 0
            if whole_text or bare_value:
                i, text_end, reason = _string(data, i + 1, end, out, base)
                text_found = _FOUND
                if bare_value and not bare:
                    text_found = _MISSING
            elif in_list and text_found == _FOUND:
                o = text_end
                if state[0]:  # not the first of the list
                    out[o], out[o + 1] = 10, 10
                    o += 2
                i, text_end, reason = _string(data, i + 1, end, out, o)
                state[0] = 1
            else:
                scratch = max(text_end, base)
                i, o, reason = _string(data, i + 1, end, out, scratch)
                if reason == 0 and whole_subset:
                    subset_end = o - scratch
                    for k in range(subset_end):
                        side[k] = out[scratch + k]
            if reason:
                return reason, i
            if whole_text and whole_subset:
                subset_end = text_end - base
                for k in range(subset_end):
                    side[k] = out[base + k]
        else:
            if whole_text:
                text_found = _OTHER
            if in_list:
                text_found = _OTHER
            if b == 0x7B or b == 0x5B:
                if depth >= MAX_DEPTH:
                    return TOO_DEEP, i
                stack[depth] = 1 if b == 0x7B else 0
                depth += 1
                i += 1
                if b == 0x7B and is_text and not whole_text:
                    text_depth += 1
                if b == 0x7B and is_subset and not whole_subset:
                    subset_depth += 1
                if b == 0x5B and whole_text and lists:
                    list_depth = depth
                    text_found, text_end = _FOUND, base
                    state[0] = 0
                is_text = is_subset = False
                i = _space(data, i, end)
                if i < end and data[i] == (0x7D if b == 0x7B else 0x5D):
                    after_value = True  # the loop closes it
                else:
                    expect_key = b == 0x7B
                continue
            if b == 0x2D or 0x30 <= b <= 0x39:
                i, reason = _number(data, i, end)
            elif b == 0x74:
                i, reason = _literal(data, i, end, literals[0:4])
            elif b == 0x66:
                i, reason = _literal(data, i, end, literals[4:9])
            elif b == 0x6E:
                i, reason = _literal(data, i, end, literals[9:13])
            else:
                return (NOT_JSON if b < 0x80 or _utf8_length(data, i, end) else NOT_UTF8), i
            if reason:
                return reason, i
            if i < end and depth == 0 and not (data[i] == 0x20 or data[i] == 0x09 or data[i] == 0x0D):
                return NOT_JSON, i
        is_text = is_subset = False
        after_value = True
    if depth or not after_value:
        return UNFINISHED, end
    state[0], state[1] = text_end - base, subset_end
    if text_found == _FOUND:
        return 0, i
    if stack[MAX_DEPTH] == 0:
        return NOT_OBJECT, 0
    return (NOT_STRING if text_found == _OTHER else NO_TEXT), 0


@jit
def _parse(
    data,
    n,
    text_keys,
    subset_keys,
    key_bytes,
    literals,
    skip_bom,
    bare,
    lists,
    lines,
    out,
    offsets,
    subsets,
    subset_offsets,
    bad,
):
    """Returns (documents, bad lines, lines, bytes of subsets)."""
    stack = np.zeros(MAX_DEPTH + 1, np.uint8)  # the last entry: whether the line is an object
    state = np.zeros(2, np.int64)
    side = np.empty(256, np.uint8)
    good = n_bad = number = 0
    o = s = 0
    i = 0
    while i < n:
        j = i
        while True:  # the line's end
            mask = bytes_between(data, j, 10, 10)
            if mask:
                j += count_trailing_zeros(mask)
                break
            j += 32
            if j >= n:
                break
        j = min(j, n)
        start = i
        if skip_bom and number == 0 and j - i >= 3 and data[i] == 0xEF and data[i + 1] == 0xBB and data[i + 2] == 0xBF:
            start += 3
        first = _space(data, start, j)
        if first < j:
            stack[MAX_DEPTH] = data[first] == 0x7B
            if len(side) < j - start:
                side = np.empty(2 * (j - start), np.uint8)
            reason, place = _line(
                data, first, j, text_keys, subset_keys, key_bytes, bare, lists, literals, stack, out, o, side, state
            )
            if reason == 0:
                lines[0, good], lines[1, good], lines[2, good] = number, start, j - start
                o += state[0]
                for k in range(state[1]):
                    subsets[s + k] = side[k]
                s += state[1]
                good += 1
                offsets[good], subset_offsets[good] = o, s
            else:
                bad[0, n_bad], bad[1, n_bad], bad[2, n_bad] = number, reason, place - start
                n_bad += 1
        number += 1
        i = j + 1
    return good, n_bad, number, s


_LITERALS = np.frombuffer(b"truefalsenull", np.uint8)


def _path(path: tuple[str, ...], before: bytes) -> tuple[Array, bytes]:
    bounds = []
    for key in path:
        raw = key.encode()
        bounds.append((len(before), len(before) + len(raw)))
        before += raw
    return np.array(bounds, np.int64).reshape(-1, 2), before


@parse_lines.cpu
def _cpu(
    block: Array,
    text_path: tuple[str, ...] = ("text",),
    subset_path: tuple[str, ...] = ("meta", "pile_set_name"),
    skip_bom: bool = False,
    bare_strings: bool = False,
    text_lists: bool = False,
    padded: bool = False,
    out: Array | None = None,
) -> Parsed:
    """padded: SLACK more bytes can be read behind the block; else it is copied.

    out: a buffer for the text of at least len(block) + 2 * SLACK bytes; the result's text lies in it.
    """
    n = len(block)
    if padded:
        data = block
    else:
        data = np.zeros(n + SLACK, np.uint8)
        data[:n] = block
    text_keys, keys = _path(text_path, b"")
    subset_keys, keys = _path(subset_path, keys)
    most = count_newlines(data, n) + 1
    if out is None:
        out = np.empty(n + 2 * SLACK, np.uint8)
    lines, bad = np.empty((3, most), np.int64), np.empty((3, most), np.int64)
    offsets, subset_offsets = np.zeros(most + 1, np.int64), np.zeros(most + 1, np.int64)
    subsets = np.empty(n + 1, np.uint8)
    key_bytes = np.frombuffer(keys, np.uint8)
    good, n_bad, n_lines, s = _parse(
        data, n, text_keys, subset_keys, key_bytes, _LITERALS, skip_bom, bare_strings, text_lists,
        lines, out, offsets, subsets, subset_offsets, bad,
    )  # fmt: skip
    text = TextColumn(out[: offsets[good]], offsets[: good + 1])
    subset = TextColumn(subsets[:s].copy(), subset_offsets[: good + 1])
    return Parsed(
        lines[0, :good],
        lines[1, :good],
        lines[2, :good],
        text,
        subset,
        bad[0, :n_bad],
        bad[1, :n_bad],
        bad[2, :n_bad],
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
    text_keys, keys = _path(text_path, b"")
    subset_keys, keys = _path(subset_path, keys)
    bounds = xp.asarray(np.concatenate([text_keys, subset_keys]))
    key_bytes = xp.asarray(np.frombuffer(keys, np.uint8))
    starts, lengths, reasons, places, text_bytes, subset_bytes = columns = [xp.empty(m, np.int64) for _ in range(6)]
    texts, subsets = xp.empty(n, np.uint8), xp.empty(n, np.uint8)
    launch_warps(
        "parse_lines", "parse_lines", m, block, ends, m, key_bytes, bounds, len(text_keys), len(subset_keys), skip_bom,
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
