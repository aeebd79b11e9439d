"""measure.join: columns of tables elsewhere, looked up for every document once the shards are measured.

    joined/<shard>.parquet             doc_id and a column per joined one; the rows and row groups of the measured table
    joined_histograms/<shard>.parquet  as histograms/, of the columns that are numbers

The measured tables stay as they are, so other scores cost no reading of texts. This process does the work, shard by
shard in its threads; memory does not grow with the tables (gpu_pile.run.join_index).
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.identity import file_identity
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.tables import ARROW, ERRORS, PARQUET, open_table
from gpu_pile.errors import ConfigError
from gpu_pile.run import config as configuration
from gpu_pile.run.config import Config, Join
from gpu_pile.run.context import Context
from gpu_pile.run.join_index import JoinIndex, column_type
from gpu_pile.run.own_columns import ID
from gpu_pile.run.tables import row_groups
from gpu_pile.run.threads import map_threads
from gpu_pile.summaries import histograms

VERSION = 1


def with_joined_columns(config: Config) -> Config:
    """Return the configuration with the columns of each joined table and their types.

    Raises:
        ConfigError: a table is missing or damaged, lacks a column, or the columns do not fit the rest.
    """
    joins = config.measure.join
    if not joins:
        return config
    data = config.model_dump()
    for path, join in joins.items():
        data["measure"]["join"][path]["columns"] = _columns(path, join)
    return configuration.parse(data)


def _columns(path: str, join: Join) -> dict[str, str]:
    where = f"measure.join: {path}"
    if not path.endswith((*PARQUET, *ARROW)):
        raise ConfigError(f"{where}: expected a table, named {', '.join(f'*{s}' for s in (*PARQUET, *ARROW))}")
    try:
        with open_table(files.path_of(path)) as table:
            schema = table.schema
    except FileNotFoundError:
        raise ConfigError(f"{where}: there is no such file") from None
    except ERRORS as error:
        raise ConfigError(f"{where}: cannot be read: {' '.join(str(error).split()):.200}") from error
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise ConfigError(f"{where}: the table has two columns named {', '.join(map(repr, twice))}")
    kinds = {field.name: column_type(field.type) for field in schema}
    missing = [name for name in (*join.on, *(join.columns or ())) if name not in kinds]
    if missing:
        raise ConfigError(f"{where}: the table has no column {missing[0]!r}; it has {', '.join(schema.names)}")
    wanted = join.columns if join.columns is not None else {n: None for n, kind in kinds.items() if kind}
    chosen = {name: kinds[name] for name in wanted if name not in join.on}
    wrong = [name for name, kind in chosen.items() if kind is None]
    if wrong or not chosen:
        said = (
            f"column {wrong[0]!r} has the type {schema.field(wrong[0]).type}" if wrong else "no column is left to join"
        )
        raise ConfigError(f"{where}: {said}; a number or a string can be joined")
    return {name: str(kind) for name, kind in chosen.items()}


class Outputs(NamedTuple):
    """The files of a shard."""

    rows: AnyPath
    histogram: AnyPath

    @classmethod
    def of(cls, context: Context, shard: Shard) -> Outputs:
        run = context.directory
        return cls(run.joined(shard.name), run.joined_histogram(shard.name))


def join_key(context: Context) -> str:
    """What joined tables depend on; "" without any."""
    joins = context.config.measure.join
    if not joins:
        return ""
    measured = [(s.name, s.index, context.directory.state("measure", s.name)) for s in context.shards]
    return files.key_of(
        {
            "version": VERSION,
            "tables": [[_identity(path), join.model_dump()] for path, join in joins.items()],
            "shards": [[name, i, m["identity"], m["definition"], m["stopped"]] for name, i, m in measured],
        }
    )


def _identity(path: str) -> str:
    with files.read_errors(files.path_of(path)):
        return file_identity(files.path_of(path))


def join(context: Context) -> None:
    """Look up the columns of all joined tables, unless that is done; without any, remove what an earlier run left.

    Raises:
        ConfigError: a table has two rows for a document; or no document is in a table, with strict.
    """
    run = context.directory
    key = join_key(context)
    outputs = [Outputs.of(context, shard) for shard in context.shards]
    if not key:
        if run.state("join"):
            run.forget("join")
            for path in (path for made in outputs for path in made):
                path.unlink(missing_ok=True)
        return
    if run.state("join").get("key") != key or not all(path.is_file() for made in outputs for path in made):
        run.forget("join")
        folder = run.scratch / "join"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            with context.stage("join"), files.disk_errors(run.scratch):
                facts = _join(context, folder, outputs)
        finally:
            run.clear_scratch("join")
        run.set_state({"key": key, "tables": facts}, "join")
    _judge(context, run.state("join")["tables"])


def _join(context: Context, folder: Path, outputs: Sequence[Outputs]) -> dict[str, dict[str, Any]]:
    """Write the files of all shards. Return facts of each table."""
    tables = []
    for i, (path, join) in enumerate(context.config.measure.join.items()):
        with files.read_errors(files.path_of(path)):
            tables.append(JoinIndex.build(context, path, join, folder / str(i)))
    found = np.zeros((len(tables), len(context.shards)), np.int64)
    with files.AtomicFiles() as made:

        def write(shard: Shard) -> None:
            found[:, shard.index] = _write_shard(context, shard, tables, [made.add(p) for p in outputs[shard.index]])

        map_threads(write, context.shards, context.config.n_workers)
    return {
        table.path: {"rows": table.n_rows, "used": table.used(), "documents": int(n.sum()), "first": table.first}
        for table, n in zip(tables, found, strict=True)
    }


def _write_shard(
    context: Context, shard: Shard, tables: Sequence[JoinIndex], made: Sequence[files.AtomicFile]
) -> list[int]:
    """Write the files of a shard; return how many documents each table has."""
    rows, histogram = made
    numbers, names = list(context.config.joined_signals), histograms.Names()
    columns = ["line", "subset", "text_bytes", *([ID] if context.config.input.id_field is not None else [])]
    counted, found, writer = [histograms.SCHEMA.empty_table()], [0] * len(tables), None
    path = files.table(context.directory.measured(shard.name))
    # first no rows, so that a shard without documents has a file too
    nothing = pq.read_schema(path).empty_table().select(["doc_id", *columns])
    try:
        for measured in itertools.chain([nothing], row_groups(context, shard, ["doc_id", *columns])):
            joined = measured.select(["doc_id"])
            for i, table in enumerate(tables):
                place = table.find(shard, measured)
                found[i] += int((place >= 0).sum())
                for name, column in table.take(place).items():
                    joined = joined.append_column(name, column)
            with rows.errors():
                writer = writer or pq.ParquetWriter(rows.partial, joined.schema, compression="zstd")
                if len(joined):
                    writer.write_table(joined, row_group_size=len(joined))
            cells = histograms.cells_of_columns(joined, numbers)
            counted.append(histograms.count(numbers, measured.select(columns[1:3]), cells, names))
    finally:
        if writer is not None:
            writer.close()
    with histogram.errors():
        pq.write_table(histograms.merged(counted), histogram.partial, compression="zstd")
    return found


def _judge(context: Context, facts: dict[str, dict[str, Any]]) -> None:
    """Say how many documents the tables lack; a table that has none of them is a mistake.

    Raises:
        ConfigError: a table has no document, with strict.
    """
    documents = sum(context.directory.state("measure", s.name)["documents"] for s in context.shards)
    for path, fact in facts.items():
        if documents and not fact["documents"]:
            own = _first_keys(context, context.config.measure.join[path])
            said = (
                f"measure.join: {path} has no row for any of the {documents:,} documents; its first are "
                f"{', '.join(fact['first']) or 'none'}, those of the documents {', '.join(own)}"
            )
            if context.config.strict:
                raise ConfigError(said)
            context.reporter.warn(said)
        elif fact["documents"] < documents or fact["used"] < fact["rows"]:
            context.reporter.note(
                f"{path}: {documents - fact['documents']:,} of {documents:,} documents have no row in it, and "
                f"{fact['rows'] - fact['used']:,} of its {fact['rows']:,} rows are of no document"
            )


def _first_keys(context: Context, join: Join) -> list[str]:
    for shard in context.shards:
        for table in row_groups(context, shard, ["line", *([] if join.by_place else [ID])]):
            if len(table):
                keys = table.column("line" if join.by_place else ID)[:3].to_pylist()
                return [f"{shard.name}:{key}" if join.by_place else repr(key) for key in keys]
    return []


def joined_histograms(context: Context) -> list[pa.Table]:
    """Return the histograms of joined numbers, of each shard."""
    if not context.config.joined_signals:
        return []
    return [pq.read_table(files.table(context.directory.joined_histogram(s.name))) for s in context.shards]


def with_joined(context: Context, shard: Shard, table: pa.Table) -> pa.Table:
    """Return a table of some documents of a shard, by their lines, with the joined numbers as further columns."""
    names = list(context.config.joined_signals)
    if names and not len(table):  # of a shard without documents
        fields = [*table.schema, *(pa.field(name, pa.float64()) for name in names)]
        return pa.schema(fields).empty_table()
    if names:
        joined = pa.concat_tables(row_groups(context, shard, ["line", *names]))
        at = pa.array(np.searchsorted(joined.column("line").to_numpy(), table.column("line").to_numpy()))
        for name in names:
            table = table.append_column(name, joined.column(name).take(at))
    return table
