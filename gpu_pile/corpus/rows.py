"""Read the documents of a Parquet or Arrow shard, block by block, whatever state it is in.

Blocks hold records (gpu_pile.corpus.records) in the place of lines, and rows count as lines: row 0 is line 1. A row
whose text is null, is not UTF-8 or is too long is a bad line. What cannot be decoded is recorded as damage and costs
the rest of its row group; the rows after it keep their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.corpus import files, remote, tables
from gpu_pile.corpus.blocks import Block, take_buffer
from gpu_pile.corpus.fields import Field, packed
from gpu_pile.corpus.identity import HashedFile, identity_of
from gpu_pile.corpus.line_format import LineFormat
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.reader import SEEK_POINTS_MAX, SEEK_SPACING, Damage, Limits
from gpu_pile.corpus.records import NOT_UTF8, NULL, TOO_LONG, Strings, record_sizes, write_records
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.tables import ERRORS, Part, TableFile, column_of, find_column, open_table
from gpu_pile.errors import UsageError
from gpu_pile.text.blocks import read_only
from gpu_pile.text.column import TextColumn, plain
from gpu_pile.text.simd import SLACK
from gpu_pile.types import Array


@dataclass(frozen=True)
class Documents:
    """Rows as documents: bad is int64[n], the key of records.REASONS for a row without one, else 0.

    extras: the other fields that are asked for, as gpu_pile.corpus.fields.packed() gives them
    """

    text: TextColumn
    subset: TextColumn
    extras: TextColumn
    bad: Array

    @property
    def columns(self) -> tuple[TextColumn, TextColumn, TextColumn]:
        return self.text, self.subset, self.extras

    def slice(self, start: int, stop: int) -> Documents:
        text, subset, extras = (column.slice(start, stop) for column in self.columns)
        return Documents(text, subset, extras, self.bad[start:stop])


class Columns(NamedTuple):
    """The keys of columns of a file; None for a column that is not there.

    extras: those of the other fields that are asked for
    """

    text: tuple[str, ...]
    subset: tuple[str, ...] | None = None
    extras: tuple[tuple[str, ...] | None, ...] = ()


class RowReader:
    """Iterates over a shard's blocks, as gpu_pile.corpus.reader.ShardReader does, and has the same attributes.

    Raises:
        UsageError: the file has no column of strings where the text should be.
    """

    def __init__(
        self,
        shard: Shard,
        line_format: LineFormat,
        *,
        block_bytes: int,
        limits: Limits,
        start: tuple[int, int] = (0, 0),
        shard_range: ShardRange | None = None,
        identify: bool = False,
    ) -> None:
        self.identify = identify
        self.path, self.line_format, self.block_bytes, self.limits = shard.path, line_format, block_bytes, limits
        self.shard_range = shard_range if shard_range is not None and shard_range.of > 1 else None
        self.start, stream_start = (self.shard_range.first, self.shard_range.start) if self.shard_range else start
        self.damages: list[Damage] = []
        self.bad_lines: list[tuple[int, str]] = []
        self.digests: list[bytes] = []
        self.identity = ""
        self.n_lines = self.own_bytes = self.compressed_bytes_read = 0
        self.stream_bytes = self._stream_start = stream_start
        self.seek_points: list[tuple[int, int]] = []
        self._block: Block | None = None

    def __iter__(self) -> Iterator[Block]:
        with files.read_errors(self.path), files.opened(self.path) as source:
            end = self.shard_range.end if self.shard_range else source.size
            yield from self._blocks(end)
            self.own_bytes = self.stream_bytes - self._stream_start
            self.compressed_bytes_read = end - self.start
            if self.identify:
                self.digests = HashedFile(source, (self.start, end), self.start).all_digests()
                self.identity = "" if self.shard_range else identity_of(self.digests)

    def _blocks(self, end: int) -> Iterator[Block]:
        try:
            with open_table(self.path) as table:
                yield from self._of_table(table, end)
        except ERRORS as error:
            self._damaged(0, error)
        yield from self._deliver()

    def _of_table(self, table: TableFile, end: int) -> Iterator[Block]:
        columns = self._columns(table.schema)
        paths = sorted({".".join(keys) for keys in (columns.text, columns.subset, *columns.extras) if keys})
        file_bytes = self.shard_range.n_bytes if self.shard_range else end
        most = self.limits.stream_bytes_max(file_bytes) + self._stream_start
        base: int | None = None
        for part in table.parts(paths, self.block_bytes, self.start, end):
            base = part.first_row if base is None else base
            self._begin_part(part)
            self.n_lines = part.first_row - base
            try:
                for batch in part.batches:
                    yield from self._take(documents_of(batch, columns, self.limits.line_bytes_max))
                    if self.stream_bytes > most:
                        self.damages.append(Damage(part.offset, self.n_lines, self.limits.exceeded(most)))
                        return
            except ERRORS as error:
                self._damaged(part.offset, error)
            if self.n_lines != part.first_row - base + part.n_rows:
                yield from self._deliver()
            self.n_lines = part.first_row - base + part.n_rows

    def _begin_part(self, part: Part) -> None:
        self.compressed_bytes_read = max(0, part.offset - self.start)
        if len(self.seek_points) < SEEK_POINTS_MAX and (
            not self.seek_points or self.stream_bytes - self.seek_points[-1][1] >= SEEK_SPACING
        ):
            self.seek_points.append((part.offset, self.stream_bytes))

    def _columns(self, schema: pa.Schema) -> Columns:
        """Return the keys of the columns; a subset that is not a string counts as missing."""
        text = find_column(schema, self.line_format.text_field)
        kind = None if text is None else _kind(schema, text)
        if text is None or not is_string(kind):
            has = ", ".join(f"{f.name} ({f.type})"[:60] for f in schema)
            what = "no such column" if text is None else f"of the type {kind}, not a string"
            raise UsageError(
                f"{self.path}: input.text_field is {self.line_format.text_field!r}, which is {what}; the file has the "
                f"columns {has}"
            )
        subset = find_column(schema, self.line_format.subset_field)
        named = subset if subset is not None and is_string(_kind(schema, subset)) else None
        return Columns(text, named, tuple(self._extra(schema, field) for field in self.line_format.extras))

    def _extra(self, schema: pa.Schema, field: Field) -> tuple[str, ...] | None:
        """Return the keys of the column of a field.

        Raises:
            UsageError: there are two of it, or its type is not that of the field.
        """
        if schema.names.count(field.path) > 1:
            raise UsageError(f"{self.path}: {field.option} names {field.path!r}, and the file has two such columns")
        keys = find_column(schema, field.path)
        kind = None if keys is None else _kind(schema, keys)
        if kind is None or pa.types.is_null(kind):
            return None
        if field.number and not _is_number(kind):
            raise UsageError(
                f"{self.path}: {field.option} names a column of the type {kind}, which is not a number, as it is "
                "in the configuration or in other shards; set its type to string, or leave the field out"
            )
        if not (_is_number(kind) or is_string(kind) or pa.types.is_temporal(kind) or pa.types.is_decimal(kind)):
            raise UsageError(
                f"{self.path}: {field.option} names a column of the type {kind}; it can be a string, a number or a date"
            )
        return keys

    def _damaged(self, offset: int, error: BaseException) -> None:
        if isinstance(error, remote.StoreError) or getattr(error, "errno", None) is not None:
            raise error  # of the file system, not of the data
        kind = "Parquet" if self.path.name.endswith(tables.PARQUET) else "Arrow"
        said = " ".join(str(error).split())
        self.damages.append(Damage(offset, self.n_lines, f"{kind} data that cannot be read ({said:.200})"))

    def _take(self, documents: Documents) -> Iterator[Block]:
        """Put records into blocks, and yield those that are full."""
        ends = np.cumsum(record_sizes(documents.columns, documents.bad))
        done, n = 0, len(documents.bad)
        while done < n:
            begin = int(ends[done - 1]) if done else 0
            used = self._block.n_bytes if self._block else 0
            stop = max(done, int(np.searchsorted(ends, begin + self.block_bytes - used, "right")))
            if stop == done and used:
                yield from self._deliver()
                continue
            stop = max(stop, done + 1)
            self._append(documents.slice(done, stop), int(ends[stop - 1]) - begin)
            done = stop

    def _append(self, documents: Documents, n_bytes: int) -> None:
        if self._block is None:
            room = max(n_bytes, self.block_bytes) + SLACK
            self._block = Block(take_buffer(room), 0, self.n_lines, self.stream_bytes)
        block = self._block
        columns = (Strings(read_only(c.data), read_only(c.offsets)) for c in documents.columns)
        write_records(*columns, documents.bad, block.data[block.n_bytes :])
        block.n_bytes += n_bytes
        self.stream_bytes += n_bytes
        self.n_lines += len(documents.bad)

    def _deliver(self) -> Iterator[Block]:
        block, self._block = self._block, None
        if block is not None:
            block.data[block.n_bytes : block.n_bytes + SLACK] = 0
            yield block


def is_string(kind: Any) -> bool:
    """Whether Arrow's type is one of strings, in any layout."""
    if pa.types.is_dictionary(kind):
        return is_string(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _kind(schema: pa.Schema, keys: Sequence[str]) -> Any:
    inside: Any = schema
    for key in keys:
        inside = inside.field(key).type
    return inside


def documents_of(batch: pa.RecordBatch, columns: Columns, text_bytes_max: int) -> Documents:
    """Return the documents of a batch; the subset of a row is "" if it is null or there is no such column.

    Raises:
        pa.ArrowInvalid: the buffers are damaged.
    """
    text, bad = _strings(column_of(batch, columns.text))
    bad[bad == 0] = TOO_LONG * (np.diff(text.offsets)[bad == 0] > text_bytes_max)
    nothing = TextColumn(np.empty(0, np.uint8), np.zeros(len(bad) + 1, np.int64))
    subset, bad_subset = (nothing, bad) if columns.subset is None else _strings(column_of(batch, columns.subset))
    extras, bad_extras = _extras(batch, columns.extras) if columns.extras else (nothing, bad)
    bad[(bad == 0) & ((bad_subset == NOT_UTF8) | (bad_extras == NOT_UTF8))] = NOT_UTF8
    return Documents(text, subset, extras, bad)


def _extras(batch: pa.RecordBatch, columns: Sequence[tuple[str, ...] | None]) -> tuple[TextColumn, Array]:
    """Return (the other fields of a batch, packed; int64[n], NOT_UTF8 where one of them is not)."""
    bad = np.zeros(len(batch), np.int64)
    found = []
    for keys in columns:
        if keys is None:
            found.append(pa.nulls(len(batch), pa.large_string()))
            continue
        strings, bad_here = _strings(_as_strings(column_of(batch, keys)))
        found.append(pc.if_else(pa.array(bad_here == 0), strings.to_arrow(), pa.scalar(None, pa.large_string())))
        bad[bad_here == NOT_UTF8] = NOT_UTF8
    return packed(found), bad


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _as_strings(array: pa.Array) -> pa.Array:
    """Return a column of another type as strings: a float32 as a JSON line would have it, 0.1 and not 0.10000000149."""
    if is_string(array.type):
        return array
    array.validate(full=True)
    return array.cast(pa.string())


def _strings(array: pa.Array) -> tuple[TextColumn, Array]:
    """Return (strings, "" where there is none; int64[n], NULL or NOT_UTF8 where there is none, else 0)."""
    bad = np.zeros(len(array), np.int64)
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        array = _without_invalid(array, bad)
    array = plain(array)
    if array.null_count:
        bad[(bad == 0) & array.is_null().to_numpy(zero_copy_only=False)] = NULL
        array = array.fill_null("")
    return TextColumn.from_arrow(array), bad


def _without_invalid(array: pa.Array, bad: Array) -> pa.Array:
    """Return the strings with null for each that is not UTF-8; set bad there.

    Raises:
        pa.ArrowInvalid: more than the UTF-8 is wrong.
    """
    raw = array.cast(pa.large_binary()) if not pa.types.is_dictionary(array.type) else None
    if raw is None:
        array.indices.validate(full=True)
        raw = array.dictionary.cast(pa.large_binary()).take(array.indices)
    raw.validate(full=True)
    found: list[str | None] = []
    for i, value in enumerate(raw.to_pylist()):
        try:
            found.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            found.append(None)
            bad[i] = NOT_UTF8
    return pa.array(found, pa.large_string())
