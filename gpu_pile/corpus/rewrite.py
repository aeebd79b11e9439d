"""Replace the text of a JSON line: everything else in the line stays byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpu_pile.errors import DataError
from gpu_pile.ops.c4_lines import c4_lines
from gpu_pile.text.column import TextColumn

_DECODER = json.JSONDecoder(strict=False)
_BRACKET = re.compile(r'["{}\[\]]')
_SCALAR = re.compile(r"[^,}\]\s]*")
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_WHITE = " \t\n\r"
CHANGED = "the shard has changed since it was measured; run the same command again to measure it again"


def c4_edited(text: TextColumn) -> TextColumn:
    """Return what the rules of C4 keep of texts (gpu_pile.ops.c4_lines)."""
    _, data, offsets = c4_lines(text, kept_text=True)
    return TextColumn(data, offsets)


def edited_lines(
    lines: Sequence[bytes],
    path: Sequence[str],
    removed: np.ndarray[Any, Any],
    edit: Callable[[TextColumn], TextColumn] = c4_edited,
) -> list[bytes]:
    """Return lines in which each text is replaced by what an edit leaves of it.

    Args:
        lines: JSON lines without line feed.
        path: the keys under which the text is.
        removed: int64[n], the bytes that each text loses, as measured.

    Raises:
        DataError: a text would lose another number of bytes than was measured, or a line has no text.
    """
    try:
        located = [find_text(line.decode("utf-8", "surrogateescape"), path) for line in lines]
    except (ValueError, IndexError) as error:
        raise DataError(f"a line is not JSON: {CHANGED}") from error
    text = TextColumn.from_documents([value for value, _, _ in located])
    left = edit(text)
    lost = np.diff(text.offsets) - np.diff(left.offsets)
    if not np.array_equal(lost, removed):
        i = int(np.flatnonzero(lost != removed)[0])
        raise DataError(f"editing would take {lost[i]} bytes from a text, {removed[i]} were measured: {CHANGED}")
    kept = left.documents()
    return [
        _replaced(line, start, end, new.decode())
        for line, (_, start, end), new in zip(lines, located, kept, strict=True)
    ]


def _replaced(line: bytes, start: int, end: int, text: str) -> bytes:
    """Return a line with another text at these positions of the decoded line; in ASCII if the line was."""
    decoded = line.decode("utf-8", "surrogateescape")
    new = decoded[:start] + json.dumps(text, ensure_ascii=line.isascii()) + decoded[end:]
    return new.encode("utf-8", "surrogateescape")


def emptied_line(line: bytes, path: Sequence[str]) -> bytes:
    """Return a JSON line with "" in the place of its text, and everything else as it is.

    A text that is a list of strings, or has half of a surrogate pair, stays: it is more than its value as a document.
    """
    decoded = line.decode()
    value, start, end = find_text(decoded, path)
    if decoded[start] != '"' or (b"\\u" in line and _HALF_PAIR.search(value)):  # half a pair can only be escaped
        return line
    return f'{decoded[:start]}""{decoded[end:]}'.encode()


def find_text(line: str, path: Sequence[str]) -> tuple[str, int, int]:
    """Return (text, start, end) of the value under a path of keys; if a key is given twice, the last one counts.

    A line that is a JSON string is itself the text; a list of strings is joined by blank lines (lm_dataformat).
    """
    i = _skip(line, 1 if line.startswith("\ufeff") else 0)
    for key in path:
        if line[i] != "{":
            break
        i = _value_of(line, i, key)
    value, end = _DECODER.raw_decode(line, i)
    return "\n\n".join(value) if isinstance(value, list) else value, i, end


def _skip(line: str, i: int) -> int:
    while line[i] in _WHITE:
        i += 1
    return i


def _value_of(line: str, i: int, key: str) -> int:
    """Return where the value of a key begins in the object at i."""
    value = -1
    i = _skip(line, i + 1)
    while line[i] == '"':
        name, i = _DECODER.raw_decode(line, i)
        i = _skip(line, _skip(line, i) + 1)
        if name == key:
            value = i
        i = _skip(line, _end_of(line, i))
        if line[i] == ",":
            i = _skip(line, i + 1)
    if value < 0:
        raise DataError(f"a line has no key {key!r}: {CHANGED}")
    return value


def _end_of(line: str, i: int) -> int:
    """Return where the value at i ends, however deep it is nested."""
    if line[i] == '"':
        return int(_DECODER.raw_decode(line, i)[1])
    if line[i] not in "{[":
        scalar = _SCALAR.match(line, i)
        return i if scalar is None else scalar.end()
    depth = 0
    while True:
        bracket = _BRACKET.search(line, i)
        if bracket is None:
            raise DataError(f"a line is not JSON: {CHANGED}")
        i = bracket.end()
        if bracket[0] == '"':
            _, i = _DECODER.raw_decode(line, i - 1)
        else:
            depth += 1 if bracket[0] in "{[" else -1
            if depth == 0:
                return i


def cut_line(line: bytes, path: Sequence[str], spans: Sequence[tuple[int, int]]) -> bytes:
    """Return a JSON line without these spans of the bytes of its text, which ascend and do not overlap.

    Raises:
        DataError: the line has no text there.
    """
    try:
        value, start, end = find_text(line.decode("utf-8", "surrogateescape"), path)
        data = TextColumn.from_documents([value]).data.tobytes()
        edges = [0, *(place for span in spans for place in span), len(data)]
        if edges != sorted(edges):
            raise ValueError(f"there are {len(data)} bytes of text")
        left = b"".join(data[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)).decode()
    except (ValueError, IndexError) as error:
        raise DataError(f"spans of a text cannot be cut ({error}): {CHANGED}") from error
    return _replaced(line, start, end, left)
