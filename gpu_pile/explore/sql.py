"""SQL over a finished run: its tables are views of DuckDB, in memory.

The views read through Arrow, and DuckDB itself may open no file: a query can neither change the run nor reach anything
else on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.errors import DataError, UsageError
from gpu_pile.explore.tables import RunTables
from gpu_pile.present.tables import Result
from gpu_pile.run import directory

T = TypeVar("T")

SEALED = ("python_enable_replacements = false", "enable_external_access = false", "lock_configuration = true")
"""Settings after which a query sees the views and nothing else."""


class Answer(NamedTuple):
    """The rows of a query, as they come."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def paths_of(run: RunTables) -> dict[str, list[AnyPath]]:
    """The files of each table."""
    names = [shard.name for shard in run.shards]
    joined = {"joined": [run.directory.joined(name) for name in names]} if run.config.joined_columns else {}
    return {
        "decisions": [run.directory.decisions(name) for name in names],
        "measured": [run.directory.measured(name) for name in names],
        **joined,
        "pairs": [run.directory.pairs],
        "clusters": [run.directory.clusters],
    }


def ask(run: RunTables, query: str) -> Answer:
    """Begin a query over the views decisions, signals, pairs, clusters and documents.

    Raises:
        UsageError: DuckDB is not installed, or it does not accept the query. DataError: a table is damaged.
    """
    try:
        import duckdb
    except ImportError:
        raise UsageError("gpu-pile sql needs DuckDB: pip install 'gpu-pile[sql]'") from None
    connection = duckdb.connect(":memory:")
    for name, paths in paths_of(run).items():
        dataset = files.dataset([directory.need(path) for path in paths])
        connection.register(name, dataset)
    together = "measured JOIN joined USING (doc_id)" if run.config.joined_columns else "measured"
    connection.execute(f"CREATE VIEW signals AS SELECT * EXCLUDE (sketch) FROM {together}")
    twice = {"shard", "line", "subset", "id"} & set(run.signals.schema.names)
    own = f"SELECT * EXCLUDE ({', '.join(sorted(twice))}) FROM signals"
    connection.execute(f"CREATE VIEW documents AS SELECT * FROM decisions JOIN ({own}) USING (doc_id)")
    for setting in SEALED:
        connection.execute(f"SET {setting}")

    def begin() -> pa.RecordBatchReader:
        found = connection.sql(query)
        if found is None:
            raise UsageError("the query has no rows as its result; a SELECT is expected")
        return pa.RecordBatchReader.from_stream(found)

    reader = _waiting(duckdb, connection, begin)
    return Answer(reader.schema, _batches(duckdb, connection, reader))


def _batches(duckdb: Any, connection: Any, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    while True:
        batch = _waiting(duckdb, connection, lambda: next(reader, None))
        if batch is None:
            return
        yield batch


def _waiting(duckdb: Any, connection: Any, step: Callable[[], T]) -> T:
    """The result of a step in another thread: Ctrl-C reaches this one, which ends the query.

    Raises:
        UsageError, DataError: see ask().
    """
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(step)
        try:
            while not future.done():  # a wait without end may miss the signal
                wait([future], timeout=0.1)
            return future.result()
        except KeyboardInterrupt:
            connection.interrupt()
            raise
        except duckdb.Error as error:
            raise UsageError(f"sql: {error}") from None
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"a table of the run cannot be read: {error}; run the same command again") from error


def sql(run: RunTables, query: str) -> Result:
    """The rows of a query as a table; see ask()."""
    answer = ask(run, query)
    table = pa.Table.from_batches(list(answer.batches), answer.schema)
    for i, column in enumerate(answer.schema):
        if pa.types.is_decimal(column.type) and column.type.scale == 0:  # sums of whole numbers
            try:
                table = table.set_column(i, column.name, table.column(i).cast(pa.int64()))
            except pa.ArrowInvalid:  # too large
                continue
    return Result(table, " ".join(query.split()))
