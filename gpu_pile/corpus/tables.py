"""Files of rows: Parquet, and Arrow IPC in its file or its stream format, as Hugging Face datasets write them.

Both are read in parts: row groups of Parquet, record batches of Arrow. A part is read in batches of a bounded number of
rows. Nothing here knows what the rows mean; gpu_pile.corpus.rows makes documents of them.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath

PARQUET = (".parquet", ".parq", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
ARROW_MAGIC = b"ARROW1\0\0"
ERRORS = (pa.ArrowException, OSError)
"""What reading damaged tables raises."""

ROWS_MAX = 4096
"""Rows that are decoded at a time, at most."""

BATCH_MAX = 2**30
"""Bytes that rows of one batch may come to if each refers to everything in the dictionaries of its columns."""

BUFFER = 2**20
"""Bytes of a column that are read at a time."""


@dataclass(frozen=True)
class Part:
    """A row group or a record batch.

    offset: byte of the file where it begins. first_row, n_rows: its rows among those of the file
    """

    offset: int
    first_row: int
    n_rows: int
    batches: Iterator[pa.RecordBatch] = field(repr=False, default=iter(()))


class TableFile(Protocol):
    """An open file of rows.

    schema:     Arrow's, with its metadata
    group_rows: rows of a part when the file is written again
    """

    schema: pa.Schema
    group_rows: int

    def parts(self, columns: Sequence[str] | None, n_bytes: int, first: int = 0, end: int = 2**63) -> Iterator[Part]:
        """Yield the parts that begin in bytes first .. end of the file. Read the batches of each before the next part.

        Args:
            columns: paths of columns, keys joined by dots; None for all. n_bytes: decoded bytes of a batch, about.
        """


@contextlib.contextmanager
def open_table(path: AnyPath) -> Iterator[TableFile]:
    """Open a file of rows.

    Raises:
        one of ERRORS: it is damaged where its schema should be.
    """
    with contextlib.ExitStack() as stack:
        # no memory map: another process that cuts the file short would kill this one
        source: Any = pa.OSFile(str(path)) if isinstance(path, Path) else files.table(path)
        stack.enter_context(contextlib.closing(source))
        yield ParquetTable(source) if path.name.endswith(PARQUET) else ArrowTable(source)


GROUP_BYTES = 64 * 2**20
"""Decoded bytes of a row group that is written, about."""


class ParquetTable:
    """A Parquet file (see TableFile)."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.file = pq.ParquetFile(source, pre_buffer=False, buffer_size=BUFFER, page_checksum_verification=True)
        self.schema = self.file.schema_arrow
        metadata = self.file.metadata
        self.groups = []
        first_row = n_bytes = 0
        for i in range(metadata.num_row_groups):
            group = metadata.row_group(i)
            self.groups.append(Part(_begin(group), first_row, group.num_rows))
            first_row += group.num_rows
            n_bytes += group.total_byte_size
        largest = max((part.n_rows for part in self.groups), default=1)
        self.group_rows = max(1, min(largest, GROUP_BYTES * first_row // max(1, n_bytes)))
        columns = metadata.row_group(0) if self.groups else None
        self.codec = columns.column(0).compression if columns is not None and columns.num_columns else "ZSTD"

    def parts(self, columns: Sequence[str] | None, n_bytes: int, first: int = 0, end: int = 2**63) -> Iterator[Part]:
        for number, part in enumerate(self.groups):
            if first <= part.offset < end:
                yield Part(part.offset, part.first_row, part.n_rows, self._batches(number, columns, n_bytes))

    def _batches(self, number: int, columns: Sequence[str] | None, n_bytes: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a row group up to a damage, row by row before it, and raise."""
        group = self.file.metadata.row_group(number)
        rows = min(ROWS_MAX, n_bytes * group.num_rows // max(1, group.total_byte_size))
        rows = max(1, min(rows, BATCH_MAX // max(1, self._row_bytes_max(group, columns))))
        selection = {"row_groups": [number], "columns": columns, "use_threads": False}
        delivered = 0
        try:
            for batch in self.file.iter_batches(rows, **selection):
                yield batch
                delivered += len(batch)
        except ERRORS:
            if rows == 1:
                raise
            yield from itertools.islice(self.file.iter_batches(1, **selection), delivered, None)

    def _row_bytes_max(self, group: Any, columns: Sequence[str] | None) -> int:
        """Return the most bytes of a row that a few bits can stand for: those of the dictionaries of its columns."""
        most = 0
        for i in range(group.num_columns):
            column = group.column(i)
            chosen = columns is None or any(f"{column.path_in_schema}.".startswith(f"{path}.") for path in columns)
            if chosen and column.has_dictionary_page:
                self._source.seek(column.dictionary_page_offset)
                most += page_bytes(self._source.read(16))
        return most


def page_bytes(header: bytes) -> int:
    """Return the decompressed bytes of a page by its header: the second number, in Thrift's compact protocol."""
    numbers, at = [], 0
    for _ in range(2):
        if header[at : at + 1] != b"\x15":  # the next field, of 32 bits
            raise pa.ArrowInvalid("damaged header of a dictionary")
        value = shift = 0
        while True:
            at += 1
            byte = header[at] if at < len(header) else 0
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        at += 1
        numbers.append(value >> 1)
    return numbers[1]


def _begin(group: Any) -> int:
    """Return where the first page of a row group is."""
    begins = []
    for i in range(group.num_columns):
        column = group.column(i)
        begins += [column.data_page_offset, *([column.dictionary_page_offset] if column.has_dictionary_page else ())]
    return min(begins, default=0)


class ArrowTable:
    """An Arrow file or stream (see TableFile). The batches of a file stand in it as in a stream, after its magic."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self.is_file = source.read(len(ARROW_MAGIC)) == ARROW_MAGIC
        self.schema = self._begin().schema
        self.group_rows = 1
        with contextlib.suppress(StopIteration, *ERRORS):
            self.group_rows = max(1, len(next(iter(self._begin()))))

    def _begin(self, columns: Sequence[str] | None = None) -> pa.RecordBatchStreamReader:
        self._source.seek(len(ARROW_MAGIC) if self.is_file else 0)
        fields = None if columns is None else [self.schema.names.index(keys[0]) for keys in map(self._keys, columns)]
        return pa.ipc.open_stream(self._source, options=pa.ipc.IpcReadOptions(included_fields=fields))

    def _keys(self, path: str) -> tuple[str, ...]:
        return find_column(self.schema, path) or (path,)

    def parts(self, columns: Sequence[str] | None, n_bytes: int, first: int = 0, end: int = 2**63) -> Iterator[Part]:
        reader, row = self._begin(columns), 0
        while True:
            offset = self._source.tell()
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except ERRORS as error:
                yield Part(offset, row, 0, _raising(error))
                return
            if first <= offset < end:
                yield Part(offset, row, len(batch), iter([batch]))
            row += len(batch)


def _raising(error: BaseException) -> Iterator[pa.RecordBatch]:
    raise error
    yield


def find_column(schema: pa.Schema, path: str) -> tuple[str, ...] | None:
    """Return the keys of a column, by its name or by a path of keys joined by dots; None if there is none.

    A column whose name has dots comes before a path.
    """
    if path in schema.names:
        return (path,)
    keys, inside = tuple(path.split(".")), schema
    for i, key in enumerate(keys):
        names = [f.name for f in inside]
        if names.count(key) != 1:
            return None
        kind = inside.field(key).type
        if i + 1 < len(keys) and not pa.types.is_struct(kind):
            return None
        inside = kind
    return keys


def column_of(batch: pa.RecordBatch, keys: Sequence[str]) -> pa.Array:
    """Return a column of a batch; null where a struct around it is null.

    Raises:
        pa.ArrowInvalid: its buffers are damaged.
    """
    column = batch.column(keys[0])
    for key in keys[1:]:
        column.validate()
        column = column.flatten()[column.type.get_field_index(key)]
    return column
