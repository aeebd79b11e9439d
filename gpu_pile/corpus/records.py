"""Rows of a table as records of bytes: what the blocks of a Parquet or Arrow shard hold in place of JSON lines.

A record is a header of three int64 (little-endian), the text, the subset's name, the other fields that are asked for in
one string (gpu_pile.corpus.fields.packed), and a line feed, which ends a JSON line too. The header has the bytes of the
three strings. A row without a document has the negative of a key of REASONS in the place of the first, and no strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gpu_pile.corpus.lines import LINE_FEED
from gpu_pile.ops.parse_lines import Parsed
from gpu_pile.text.blocks import read_only
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit, leaf
from gpu_pile.text.simd import copy_32, load_u64
from gpu_pile.types import Array

HEADER = 24
FRAME = HEADER + 1
"""Bytes of a record besides its strings."""

NULL, NOT_UTF8, TOO_LONG = 1, 2, 3
REASONS = {
    NULL: "the text (column {field!r}) is null",
    NOT_UTF8: "the text (column {field!r}) or the subset is not valid UTF-8",
    TOO_LONG: "the text (column {field!r}) is longer than input.line_bytes_max",
}


def explain(reason: int, text_field: str) -> str:
    """A sentence for bad_lines.jsonl."""
    return REASONS[reason].format(field=text_field)


@jit
def _put_int64(out, o, value):
    for i in range(8):
        out[o + i] = (value >> (8 * i)) & 255


@leaf
def _copy(source, start, n, target, to):
    """Copy source[start:start + n] to target; no byte beyond is read or written."""
    i = 0
    while i + 32 <= n:
        copy_32(target, to + i, source, start + i)
        i += 32
    while i < n:
        target[to + i] = source[start + i]
        i += 1


class Strings(NamedTuple):
    """A column: uint8[n_bytes] and int64[n + 1]."""

    data: Array
    offsets: Array


@leaf
def _append(column, i, out, o):
    """Copy string i of a column to out[o:]; return the position after it."""
    n = column.offsets[i + 1] - column.offsets[i]
    _copy(column.data, column.offsets[i], n, out, o)
    return o + n


@leaf
def write_records(texts, subsets, extras, bad, out):
    """Write the records of some rows to out; bad: int64[n], the reason of a row without a document, or 0.

    Returns the number of bytes written.
    """
    o = 0
    for i in range(len(bad)):
        if bad[i]:
            _put_int64(out, o, -bad[i])
            _put_int64(out, o + 8, 0)
            _put_int64(out, o + 16, 0)
            o += HEADER
        else:
            _put_int64(out, o, texts.offsets[i + 1] - texts.offsets[i])
            _put_int64(out, o + 8, subsets.offsets[i + 1] - subsets.offsets[i])
            _put_int64(out, o + 16, extras.offsets[i + 1] - extras.offsets[i])
            o = _append(extras, i, out, _append(subsets, i, out, _append(texts, i, out, o + HEADER)))
        out[o] = LINE_FEED
        o += 1
    return o


@leaf
def _sizes(data, at):
    """Return (bytes of the text or a negative reason, of the subset, of other fields) of the record at a position."""
    return np.int64(load_u64(data, at)), np.int64(load_u64(data, at + 8)), np.int64(load_u64(data, at + 16))


@jit
def _count(data, n):
    """Return (records, documents, bytes of texts, of subsets, of other fields) of data[:n]."""
    records = documents = text_bytes = subset_bytes = extra_bytes = 0
    at = 0
    while at < n:
        size, named, more = _sizes(data, at)
        records += 1
        if size >= 0:
            documents += 1
            text_bytes += size
            subset_bytes += named
            extra_bytes += more
        at += FRAME + max(size, 0) + named + more
    return records, documents, text_bytes, subset_bytes, extra_bytes


@leaf
def _put(data, begin, n, column, d):
    """Make data[begin:begin + n] string d of a column."""
    o = column.offsets[d]
    _copy(data, begin, n, column.data, o)
    column.offsets[d + 1] = o + n


@leaf
def _read(data, n, spans, columns, bad):
    """Read the records of data[:n]: spans[d] is (record, start, length); bad[i] is (record, reason)."""
    at = record = d = b = 0
    while at < n:
        size, named, more = _sizes(data, at)
        begin, length = at + HEADER, HEADER + max(size, 0) + named + more
        if size >= 0:
            spans[d, 0], spans[d, 1], spans[d, 2] = record, at, length
            _put(data, begin, size, columns[0], d)
            _put(data, begin + size, named, columns[1], d)
            d += 1
        else:
            bad[b, 0], bad[b, 1] = record, -size
            b += 1
        record += 1
        at += length + 1


@jit
def _read_extras(data, n, column):
    """Read the third string of the records of data[:n] that are documents."""
    at = d = 0
    while at < n:
        size, named, more = _sizes(data, at)
        if size >= 0:
            _put(data, at + HEADER + size + named, more, column, d)
            d += 1
        at += FRAME + max(size, 0) + named + more


def parse_records(data: Array, out: Array | None = None) -> Parsed:
    """Return the documents and the rows without one of whole records.

    Args:
        data: the records.
        out: a buffer for the text, of len(data) bytes at least; None for a new one.
    """
    data = read_only(data)
    n_records, n, text_bytes, subset_bytes, _ = _count(data, len(data))
    buffers = np.empty(text_bytes, np.uint8) if out is None else out[:text_bytes], np.empty(subset_bytes, np.uint8)
    columns = tuple(Strings(buffer, np.zeros(n + 1, np.int64)) for buffer in buffers)
    spans, bad = np.empty((n, 3), np.int64), np.empty((n_records - n, 2), np.int64)
    _read(data, len(data), spans, columns, bad)
    line, start, length = np.ascontiguousarray(spans.T)
    text, subset = (TextColumn(*column) for column in columns)
    return Parsed(line, start, length, text, subset, bad[:, 0], bad[:, 1], np.zeros(len(bad), np.int64), n_records)


def extras_of_records(data: Array) -> TextColumn:
    """Return the other fields of the documents among whole records, as gpu_pile.corpus.fields.packed() gave them."""
    data = read_only(data)
    _, n, _, _, n_bytes = _count(data, len(data))
    column = Strings(np.empty(n_bytes, np.uint8), np.zeros(n + 1, np.int64))
    _read_extras(data, len(data), column)
    return TextColumn(*column)


@jit
def _begin_near(data, n, middle):
    """Return where the first record from `middle` on begins; where the last one begins if that is before."""
    at = last = 0
    while at < n:
        last = at
        if at >= middle:
            break
        size, named, more = _sizes(data, at)
        at += FRAME + max(size, 0) + named + more
    return last


def middle_record(data: Array) -> int:
    """Return where a record begins near the middle of the data; 0 if the data is one record."""
    return int(_begin_near(read_only(data), len(data), max(1, len(data) // 2)))


def record_sizes(columns: Sequence[TextColumn], bad: Array) -> Any:
    """Return int64[n], the bytes of each row's record; columns: texts, subsets, other fields."""
    return FRAME + np.where(bad > 0, 0, sum(np.diff(column.offsets) for column in columns))
