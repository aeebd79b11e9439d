"""The lines of input shards and the texts in them, read by zstandard and Python's own libraries alone."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import zstandard

from gpu_pile.corpus.shards import Shard
from gpu_pile.explore.tables import RunTables
from gpu_pile.explore.verify.rows import row_lines
from gpu_pile.ops.parse_lines import TEXT_JOINER
from gpu_pile.run.config import Input
from gpu_pile.run.own_columns import ID, STRING_MAX
from gpu_pile.run.reading import open_shard

LIBRARIES: dict[bytes, Any] = {b"\x1f\x8b": gzip, b"BZh": bz2, b"\xfd7zXZ\x00": lzma}
"""What reads a file that begins with these bytes."""

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE_MAGIC = b"\x2a\x4d\x18"
"""Bytes 1 to 3 of a skippable zstd frame; byte 0 is 0x50 to 0x5f."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLANK = b" \t\r\n"


def input_lines(run: RunTables, shard: Shard, damaged: bool) -> Iterator[bytes | None]:
    """Each line of a shard without its line feed, or each row as JSON; None for a line over the limit or a lost row.

    Only a damaged shard is read by the project's own reader, which recovers what is beyond the damage.
    """
    if shard.is_table:
        yield from row_lines(shard.path)
        return
    lines = _recovered_lines(run, shard) if damaged else _plain_lines(run, shard)
    for number, line in enumerate(lines):
        yield line.removeprefix(BYTE_ORDER_MARK) if line is not None and number == 0 else line


def _plain_lines(run: RunTables, shard: Shard) -> Iterator[bytes | None]:
    limit = run.config.input.line_bytes_max
    with shard.path.open("rb") as raw, _decompressed(raw, run.config.input.window_bytes_max) as stream:
        while line := stream.readline(limit + 2):
            if len(line) > limit + 1 or (len(line) == limit + 1 and not line.endswith(b"\n")):
                while not line.endswith(b"\n") and (line := stream.readline(1 << 20)):
                    pass
                yield None
            else:
                yield line.removesuffix(b"\n")


def _recovered_lines(run: RunTables, shard: Shard) -> Iterator[bytes | None]:
    reader = open_shard(run.context, shard)
    next_number = 0
    for block in reader:
        while next_number < block.first_line:  # lines over the limit are counted and not delivered
            next_number += 1
            yield None
        text = block.data[: block.n_bytes].tobytes()
        block.release()
        for line in text.removesuffix(b"\n").split(b"\n"):
            next_number += 1
            yield line
    for _ in range(next_number, reader.n_lines):
        yield None


def _decompressed(raw: BinaryIO, window: int) -> Any:
    """The stream of a whole file, by the libraries alone."""
    head = raw.read(6)
    raw.seek(0)
    for magic, library in LIBRARIES.items():
        if head.startswith(magic):
            return library.open(raw, "rb")
    if head[:4] == ZSTD_MAGIC or head[1:4] == SKIPPABLE_MAGIC:
        decompressor = zstandard.ZstdDecompressor(max_window_size=max(window, 1024))
        return io.BufferedReader(decompressor.stream_reader(raw, read_across_frames=True), 1 << 20)
    return raw


def text_of(line: bytes, settings: Input, is_row: bool = False) -> str:
    """The text of a line, by Python's json; is_row: the name of a column may have dots.

    Raises:
        ValueError, KeyError, TypeError: the line is not a document.
    """
    value = json.loads(line)
    if not isinstance(value, str):
        for key in [settings.text_field] if is_row and settings.text_field in value else settings.text_field.split("."):
            value = value[key]
    if isinstance(value, list):
        value = TEXT_JOINER.join(value)
    return _clean(str(value))


class _Number(str):
    """A number as the line has it."""


def fields_of(line: bytes, settings: Input, is_row: bool = False) -> dict[str, str | float | None]:
    """The other fields of a line that the configuration names, by Python's json.

    Of a row, those are left out that are strings in the run and no strings in the row.
    """
    document = json.loads(line, parse_float=_Number, parse_int=_Number)
    found: dict[str, str | float | None] = {}
    for name, field in zip(settings.extra_columns, settings.line_format.extras, strict=True):
        value = document
        for key in [field.path] if is_row and field.path in document else field.path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if field.number:
            found[name] = _number(value)
        elif type(value) is str:
            found[name] = _clean(value)[: None if name == ID else STRING_MAX] or (None if name == ID else "")
        elif not is_row or value is None:
            found[name] = json.dumps(value) if isinstance(value, bool) else value if type(value) is _Number else None
    return found


def _number(value: Any) -> float | None:
    number = float(value) if isinstance(value, bool | _Number) else math.nan
    return number if math.isfinite(number) else None


def _clean(text: str) -> str:
    """An escaped lone surrogate becomes U+FFFD, as when the document was measured."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def with_text(line: bytes, text: str, settings: Input) -> bytes | None:
    """A line whose text was written beside it, with that text; None if the line has another text itself."""
    value = json.loads(line)
    if value == "":
        return json.dumps(text).encode()
    *path, last = settings.text_field.split(".")
    parent = value
    for key in path if isinstance(value, dict) else ():
        parent = parent[key]
    if isinstance(value, dict) and parent[last] == "":
        parent[last] = text
        return json.dumps(value).encode()
    return line if text_of(line, settings) == text else None


def without_text(line: bytes, settings: Input) -> Any:
    """A line's JSON value with its text replaced by null: what editing must leave as it was."""
    value = json.loads(line)
    if isinstance(value, str):
        return None
    *path, last = settings.text_field.split(".")
    parent = value
    for key in path:
        parent = parent[key]
    parent[last] = None
    return value
