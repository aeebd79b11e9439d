"""Output shards of rows: Parquet and Arrow as they came, with schema and metadata; as JSON lines; and lines as rows."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile.corpus.files import AnyPath, AtomicFile
from gpu_pile.corpus.sinks import Compression, Sink
from gpu_pile.corpus.tables import GROUP_BYTES, ArrowTable, ParquetTable, TableFile
from gpu_pile.errors import DataError

CODECS = {"UNCOMPRESSED": "none", "SNAPPY": "snappy", "GZIP": "gzip", "ZSTD": "zstd", "BROTLI": "brotli", "LZ4": "lz4"}
"""Codecs of Parquet as pyarrow's writer calls them; zstd in the place of others."""


class RowSink(Protocol):
    """An output shard of rows in the making. No file has its name before its commit."""

    def write(self, rows: pa.Table) -> None:
        """Append rows."""

    def finish(self) -> AtomicFile:
        """Complete the partial file and return it: what is left is its commit."""

    def discard(self) -> None:
        """Leave nothing."""


class TableSink:
    """Rows in the format of a file that is open. The bytes depend on the rows alone, not on the calls of write().

    parquet: rows of Arrow are written as Parquet
    """

    def __init__(self, path: AnyPath, like: TableFile, *, parquet: bool = False) -> None:
        self._schema, self._group_rows, self._parquet = like.schema, like.group_rows, parquet
        self._atomic = AtomicFile(path)
        self._waiting: list[pa.Table] = []
        self._n_waiting = 0
        with self._atomic.errors():
            self._writer = self._begin(like)

    def _begin(self, like: TableFile) -> Any:
        if isinstance(like, ParquetTable):
            return pq.ParquetWriter(self._atomic.partial, self._schema, compression=CODECS.get(like.codec, "zstd"))
        assert isinstance(like, ArrowTable)
        if self._parquet:
            return pq.ParquetWriter(self._atomic.partial, self._schema, compression="zstd")
        new: Callable[..., Any] = pa.ipc.new_file if like.is_file else pa.ipc.new_stream
        return new(str(self._atomic.partial), self._schema)

    def write(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        self._n_waiting += len(rows)
        while self._n_waiting >= self._group_rows:
            self._write_group(self._group_rows)

    def finish(self) -> AtomicFile:
        try:
            if self._n_waiting:
                self._write_group(self._n_waiting)
            with self._atomic.errors():
                self._writer.close()
        except BaseException:
            self.discard()
            raise
        return self._atomic

    def discard(self) -> None:
        with contextlib.suppress(OSError, pa.ArrowException):  # what cannot be written is removed anyway
            self._writer.close()
        self._atomic.discard()

    def _write_group(self, n: int) -> None:
        rows = pa.concat_tables(self._waiting)
        self._waiting = [rows.slice(n)]
        self._n_waiting = len(rows) - n
        group = rows.slice(0, n).combine_chunks()
        with self._atomic.errors():
            if isinstance(self._writer, pq.ParquetWriter):
                self._writer.write_table(group, row_group_size=n)
            else:
                self._writer.write_table(group, max_chunksize=n)


GROUP_ROWS = 65_536
"""Rows of a row group of lines that are written as rows, at most."""


class LinesAsRows:
    """Lines as Parquet. The bytes depend on the lines alone, not on how they are divided into groups.

    A row group ends with the row that brings its long columns to GROUP_BYTES, or after GROUP_ROWS rows.

    schema: of the rows; long: the columns of strings that have most of the bytes
    rows:   makes rows of a group of whole lines, each with its line feed; any thread calls it
    """

    copies: ClassVar[bool] = False

    def __init__(
        self,
        path: AnyPath,
        schema: pa.Schema,
        long: tuple[str, ...],
        rows: Callable[[Any], pa.Table],
        compression: Compression,
    ) -> None:
        self.encode = rows
        self._path, self._schema, self._long, self._compression = path, schema, long, compression
        self._atomic: AtomicFile | None = None
        self._writer: Any = None
        self._waiting: list[pa.Table] = []
        self._held_rows = self._held_bytes = 0

    def open(self) -> None:
        self._atomic = AtomicFile(self._path)
        with self._atomic.errors():
            self._writer = pq.ParquetWriter(
                self._atomic.partial,
                self._schema,
                compression="zstd",
                compression_level=self._compression.level,
                use_dictionary=[name for name in self._schema.names if name not in self._long],
                write_page_checksum=self._compression.checksum,
            )

    def write(self, rows: pa.Table) -> None:
        lengths = (pc.binary_length(rows.column(name)).to_numpy() for name in self._long)
        ends = np.cumsum(sum(lengths, np.zeros(len(rows), np.int64)))
        done = before = 0
        while True:
            full = int(np.searchsorted(ends, before + GROUP_BYTES - self._held_bytes)) + 1
            end = min(full, done + GROUP_ROWS - self._held_rows)
            if end > len(rows):
                break
            self._waiting.append(rows.slice(done, end - done))
            self._write_group()
            done, before = end, int(ends[end - 1])
        if done < len(rows):
            self._waiting.append(rows.slice(done))
            self._held_rows += len(rows) - done
            self._held_bytes += int(ends[-1]) - before

    def copy(self, frames: Any) -> None:
        raise NotImplementedError("rows are not copied as frames")

    def finish(self) -> AtomicFile:
        assert self._atomic is not None, "open() comes first"
        try:
            if self._waiting:
                self._write_group()
            with self._atomic.errors():
                self._writer.close()
        except BaseException:
            self.discard()
            raise
        return self._atomic

    def discard(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError, pa.ArrowException):  # what cannot be written is removed anyway
                self._writer.close()
        if self._atomic is not None:
            self._atomic.discard()

    def _write_group(self) -> None:
        assert self._atomic is not None, "open() comes first"
        group = pa.concat_tables(self._waiting).combine_chunks()
        self._waiting, self._held_rows, self._held_bytes = [], 0, 0
        with self._atomic.errors():
            self._writer.write_table(group, row_group_size=len(group))


class JsonSink:
    """Rows as JSON lines, in a format of lines."""

    def __init__(self, sink: Sink, path: AnyPath) -> None:
        self._sink, self._path = sink, path
        sink.open()

    def write(self, rows: pa.Table) -> None:
        for batch in rows.to_batches():
            self._sink.write("".join(f"{json_line(row, self._path)}\n" for row in batch.to_pylist()).encode())

    def finish(self) -> AtomicFile:
        return self._sink.finish()

    def discard(self) -> None:
        self._sink.discard()


def json_line(row: dict[str, Any], path: AnyPath) -> str:
    """Return a row as a line of JSON.

    Raises:
        DataError: a value is of a type that JSON does not have.
    """
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path}: a row cannot be written as JSON ({error}); leave write.format at its default, which keeps rows "
            "as they came"
        ) from None
