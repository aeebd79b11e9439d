"""Editing the text of a JSON line: everything else in the line stays byte for byte."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_pile.errors import DataError
from gpu_pile.ops.c4_lines import c4_lines
from gpu_pile.text.column import TextColumn

_DECODER = json.JSONDecoder(strict=False)
_BRACKET = re.compile(r'["{}\[\]]')
_SCALAR = re.compile(r"[^,}\]\s]*")
_WHITE = " \t\n\r"


def edited_lines(lines: Sequence[bytes], path: Sequence[str], removed: np.ndarray[Any, Any]) -> list[bytes]:
    """Lines whose texts are replaced by what the rules of C4 keep of them (gpu_pile.ops.c4_lines).

    Args:
        lines: JSON lines without line feed.
        path: the keys under which the text is.
        removed: int64[n], how many bytes of each text go, as was measured.

    Raises:
        DataError: another number of bytes would go than was measured.
    """
    found = [find_text(line.decode("utf-8", "surrogateescape"), path) for line in lines]
    text = TextColumn.from_documents([value for value, _, _ in found])
    _, data, offsets = c4_lines(text, kept_text=True)
    gone = np.diff(text.offsets) - np.diff(offsets)
    if not np.array_equal(gone, removed):
        at = int(np.flatnonzero(gone != removed)[0])
        raise DataError(
            f"editing would take {gone[at]} bytes from a text, {removed[at]} were measured; the shard has changed "
            "since: run the same command again to measure it anew"
        )
    kept = TextColumn(data, offsets).documents()
    return [
        _replaced(line, start, end, new.decode()) for line, (_, start, end), new in zip(lines, found, kept, strict=True)
    ]


def _replaced(line: bytes, start: int, end: int, text: str) -> bytes:
    """A line with another text at these positions of the decoded line; in ASCII if it was."""
    decoded = line.decode("utf-8", "surrogateescape")
    new = decoded[:start] + json.dumps(text, ensure_ascii=line.isascii()) + decoded[end:]
    return new.encode("utf-8", "surrogateescape")


def find_text(line: str, path: Sequence[str]) -> tuple[str, int, int]:
    """(text, start, end) of the value under a path of keys; of a key given twice the last one counts, as in JSON.

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


def _value_of(line: str, i: int, wanted: str) -> int:
    """Where the value of a key begins in the object at i."""
    found = -1
    i = _skip(line, i + 1)
    while line[i] == '"':
        key, i = _DECODER.raw_decode(line, i)
        i = _skip(line, _skip(line, i) + 1)
        if key == wanted:
            found = i
        i = _skip(line, _end_of(line, i))
        if line[i] == ",":
            i = _skip(line, i + 1)
    if found < 0:
        raise DataError(f"a line has no {wanted!r} any more: the shard has changed since it was measured")
    return found


def _end_of(line: str, i: int) -> int:
    """Where the value at i ends; however deep it is nested."""
    if line[i] == '"':
        return int(_DECODER.raw_decode(line, i)[1])
    if line[i] not in "{[":
        found = _SCALAR.match(line, i)
        return i if found is None else found.end()
    depth = 0
    while True:
        found = _BRACKET.search(line, i)
        if found is None:
            raise DataError("a line is no JSON any more: the shard has changed since it was measured")
        i = found.end()
        if found[0] == '"':
            _, i = _DECODER.raw_decode(line, i - 1)
        else:
            depth += 1 if found[0] in "{[" else -1
            if depth == 0:
                return i
