"""The rows of Parquet and Arrow shards as JSON lines, read by pyarrow alone, so that they are checked like lines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath

ARROW_MAGIC = b"ARROW1\0\0"
DAMAGED = (pa.ArrowException, OSError)
ROWS = 256


def row_lines(path: AnyPath) -> Iterator[bytes | None]:
    """Each row of a file as JSON; None for a row that cannot be read."""
    for row in rows_of(path):
        yield None if row is None else json.dumps(row, ensure_ascii=False, default=repr).encode()


def rows_of(path: AnyPath) -> Iterator[dict[str, Any] | None]:
    """Each row of a file; None for a row that cannot be read."""
    return _parquet_rows(path) if path.name.endswith((".parquet", ".parq", ".pq")) else _arrow_rows(path)


def schema_of(path: AnyPath) -> pa.Schema:
    """The columns of a file, with what its writer said about them."""
    if path.name.endswith((".parquet", ".parq", ".pq")):
        return pq.read_schema(files.table(path))
    with path.open("rb") as file:
        return _stream(file).schema


def _parquet_rows(path: AnyPath) -> Iterator[dict[str, Any] | None]:
    with pq.ParquetFile(files.table(path), pre_buffer=False) as file:
        for number in range(file.num_row_groups):
            n = 0
            for size in (ROWS, 1):  # what comes before damage is read row by row
                try:
                    batches = file.iter_batches(size, row_groups=[number])
                    for batch in itertools.islice(batches, n // size, None):
                        yield from batch.to_pylist()
                        n += len(batch)
                    break
                except DAMAGED:
                    continue
            yield from itertools.repeat(None, file.metadata.row_group(number).num_rows - n)


def _arrow_rows(path: AnyPath) -> Iterator[dict[str, Any] | None]:
    with path.open("rb") as file:
        reader = _stream(file)
        while True:
            try:
                batch = reader.read_next_batch()
            except (StopIteration, *DAMAGED):
                return
            yield from batch.to_pylist()


def _stream(file: Any) -> pa.RecordBatchStreamReader:
    """The batches of a stream, or of a file, in which they stand as in a stream."""
    if file.read(len(ARROW_MAGIC)) != ARROW_MAGIC:
        file.seek(0)
    return pa.ipc.open_stream(file)
