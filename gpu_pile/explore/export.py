"""Parts of a finished run as single files for other tools: ids, documents with their texts, and the run's tables.

Everything is streamed: a file is written from row groups and blocks, whatever its size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.rewrite import c4_edited
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import DataError, UsageError
from gpu_pile.explore.tables import RunTables
from gpu_pile.explore.weights import weights
from gpu_pile.gpu.segments import take
from gpu_pile.run import directory
from gpu_pile.run.context import Context
from gpu_pile.run.cuts import Cuts
from gpu_pile.run.progress import Reporter
from gpu_pile.run.reading import changed, check_unchanged, open_shard
from gpu_pile.run.rereading import Group, Wanted, read_shard_again
from gpu_pile.run.tables import measured_ranges, parse_again, table_rows

GROUP_BYTES = 64 * 2**20
"""Bytes of a row group of Parquet, about."""

GROUP_ROWS = 65_536

IDS = ("doc_id", "shard", "line", "id")


class Part(NamedTuple):
    """What can be exported: rows with a schema."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def export(
    run: str | AnyPath, target: str | AnyPath, what: str = "keep", format: str = "", reporter: Reporter | None = None
) -> int:
    """Write a part of a finished run as one file, whole or not at all.

    Args:
        target: its suffix says the format unless that is given; *.zst and *.gz are compressed.
        what: one of WHAT. "keep" and "drop" are the ids of documents: doc_id, shard, line (1-based), and id with
            input.id_field; "kept", "removed" and "documents" have all columns of decisions, and the text as it is kept.
        format: "parquet", "jsonl", "csv", or of ids "tsv", which has no header.
        reporter: shows how far the shards are read.

    Returns:
        the number of rows.

    Raises:
        UsageError: `what` or the format is another one, or there is no finished run. DataError: a shard has changed.
    """
    target = files.path_of(target)
    if what not in WHAT:
        raise UsageError(f"--what is one of {', '.join(WHAT)}, not {what!r}")
    format, compression = _format_of(target, format)
    if format == "tsv" and what not in ("keep", "drop"):
        raise UsageError(f"a list with tabs holds ids only (--what keep or drop); for {what} write csv")
    opened = RunTables(directory.open_dir(run))
    part = WHAT[what](opened, replace(opened.context, reporter=reporter or Reporter()))
    n = 0
    with files.atomic(target) as partial, _Sink(partial, compression) as sink:
        writer = FORMATS[format](sink, part.schema)
        for batch in part.batches:
            writer.write_batch(batch)
            n += len(batch)
        writer.close()
    return n


# what


def _table(paths: Iterable[AnyPath], columns: Iterable[str] | None = None, chosen: Any = None) -> Part:
    """The rows of Parquet files, in their order."""
    dataset = files.dataset([directory.need(path) for path in paths])
    names = [name for name in columns or dataset.schema.names if name in dataset.schema.names]

    def batches() -> Iterator[pa.RecordBatch]:
        size = {"batch_size": GROUP_ROWS, "batch_readahead": 2, "fragment_readahead": 1}
        yield from dataset.scanner(columns=names, filter=chosen, **size).to_batches()

    return Part(pa.schema([dataset.schema.field(name) for name in names]), batches())


def _decisions(run: RunTables) -> list[AnyPath]:
    return [run.directory.decisions(shard.name) for shard in run.shards]


class Columns(NamedTuple):
    """Columns of one of the tables of a run that have a row for each document; path gives the file of a shard."""

    path: Callable[[str], AnyPath]
    names: Sequence[str]


def _schema(run: RunTables, chosen: Sequence[Columns]) -> pa.Schema:
    """The schema of columns side by side."""
    first = run.shards[0].name
    schemas = [(files.dataset([directory.need(c.path(first))]).schema, c.names) for c in chosen if c.names]
    return pa.schema([schema.field(name) for schema, names in schemas for name in names])


def _side_by_side(context: Context, shard: Shard, chosen: Sequence[Columns]) -> Iterator[pa.Table]:
    """The rows of a shard, a row group at a time."""
    n = context.directory.state("measure", shard.name)["documents"]
    for lo in range(0, n, GROUP_ROWS):
        parts = [table_rows(c.path(shard.name), lo, min(n, lo + GROUP_ROWS), c.names) for c in chosen if c.names]
        columns = {name: part.column(name) for part in parts for name in part.column_names}
        yield pa.table(columns)


def _signals(run: RunTables, context: Context) -> Part:
    """Measured tables without the sketches, which mean nothing elsewhere, and the columns of measure.join."""
    names = [name for name in run.signals.schema.names if name != "sketch"]
    chosen = [Columns(run.directory.measured, names), Columns(run.directory.joined, list(run.config.joined_columns))]
    schema = _schema(run, chosen)
    tables = (table for shard in run.shards for table in _side_by_side(context, shard, chosen))
    return Part(schema, _batches(tables, schema))


def _batches(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for table in tables:
        yield from table.select(schema.names).cast(schema).combine_chunks().to_batches()


def _documents(run: RunTables, context: Context, keep: bool | None) -> Part:
    """Decisions, own fields and texts of the kept documents, of the removed ones, or of all (None)."""
    chosen = [
        Columns(run.directory.decisions, _table(_decisions(run)).schema.names),
        Columns(run.directory.measured, list(run.config.input.fields)),
        Columns(run.directory.joined, list(run.config.joined_columns)),
    ]
    schema = _schema(run, chosen).append(pa.field("text", pa.large_string()))

    def tables() -> Iterator[pa.Table]:
        context.reporter.begin("export", sum(shard.n_bytes for shard in run.shards))
        for shard in run.shards:
            yield from _with_texts(context, shard, chosen, keep)
        context.reporter.end("export")

    return Part(schema, _batches(tables(), schema))


def _with_texts(context: Context, shard: Shard, chosen: Sequence[Columns], keep: bool | None) -> Iterator[pa.Table]:
    """The rows of a shard's documents, with the texts, a group of lines at a time."""
    state = context.directory.state("measure", shard.name)
    check_unchanged(shard, state["file"], state["identity"])
    all_rows = _side_by_side(context, shard, chosen)
    rows = _Rows(table if keep is None else table.filter(pc.field("keep") == keep) for table in all_rows)
    cuts = Cuts.of(context, shard) if context.config.dedupe.cuts else None
    for measured in measured_ranges(context, shard):
        first, end = measured.first, measured.end
        places = table_rows(context.directory.measured(shard.name), first, end, ["start", "length"])
        start, length = (places.column(name).to_numpy() for name in ("start", "length"))
        if keep is not None:
            kept = table_rows(context.directory.decisions(shard.name), first, end, ["keep"]).column("keep").to_numpy()
            start, length = start[kept == keep], length[kept == keep]
        if len(start):
            wanted = Wanted.of(start, length, context.batch_bytes)
            reader = open_shard(context, shard, shard_range=measured.shard_range)
            for group in read_shard_again(context, "export", shard, [wanted], reader):
                table = rows.take(group.hi - group.lo)
                yield table.append_column("text", _texts(context, shard, group, table, cuts))


def _texts(context: Context, shard: Shard, group: Group, decided: pa.Table, cuts: Cuts | None) -> pa.Array:
    """The texts of lines, edited where the kept lines are."""
    text = parse_again(context, shard, group.lines())
    if len(text) != len(decided):
        raise changed(shard)
    column: pa.Array = text.to_arrow()
    edited = decided.column("edited_bytes").to_numpy() > 0
    if edited.any():
        chosen = take(text, np.flatnonzero(edited))
        ids = decided.column("doc_id").to_numpy()[edited]
        new = c4_edited(chosen) if cuts is None else cuts.left(chosen, ids.tolist())
        column = pc.replace_with_mask(column, pa.array(edited), new.to_arrow())
    return column


class _Rows:
    """Rows of a stream of tables, any number at a time."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables, self._held = tables, pa.table({})

    def take(self, n: int) -> pa.Table:
        while len(self._held) < n:
            table = next(self._tables, None)
            if table is None:
                raise DataError("decisions/ has fewer rows than the shard has documents: run the same command again")
            self._held = pa.concat_tables([self._held, table]) if len(self._held) else table
        taken, self._held = self._held.slice(0, n), self._held.slice(n)
        return taken


WHAT: dict[str, Callable[[RunTables, Context], Part]] = {
    "keep": lambda run, _: _table(_decisions(run), IDS, pc.field("keep")),
    "drop": lambda run, _: _table(_decisions(run), IDS, ~pc.field("keep")),
    "kept": lambda run, context: _documents(run, context, True),
    "removed": lambda run, context: _documents(run, context, False),
    "documents": lambda run, context: _documents(run, context, None),
    "decisions": lambda run, _: _table(_decisions(run)),
    "signals": _signals,
    "pairs": lambda run, _: _table([run.directory.pairs]),
    "clusters": lambda run, _: _table([run.directory.clusters]),
    "reasons": lambda run, _: _table([run.directory.reasons]),
    "weights": lambda run, _: Part(*weights(run)),
}


# formats


class Writer(Protocol):
    """Writes batches of one schema."""

    def write_batch(self, batch: pa.RecordBatch) -> None: ...
    def close(self) -> None: ...


class _Sink:
    """The file that is written, compressed if asked for."""

    def __init__(self, path: Path, compression: str | None) -> None:
        self.file = pa.output_stream(str(path), compression=compression)

    def __enter__(self) -> Any:
        return self.file

    def __exit__(self, *_: object) -> None:
        self.file.close()


class _Parquet:
    """Parquet in row groups of about GROUP_BYTES."""

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(file, schema, compression="zstd")
        self._held: list[pa.RecordBatch] = []

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self._held.append(batch)
        if sum(b.nbytes for b in self._held) >= GROUP_BYTES or sum(map(len, self._held)) >= GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_batches(self._held), row_group_size=GROUP_ROWS)
            self._held = []

    def close(self) -> None:
        self._flush()
        self._writer.close()


class _JsonLines:
    """One object per line; a number that JSON does not have, such as NaN, is null."""

    def __init__(self, file: Any, _: pa.Schema) -> None:
        self._file = file

    def write_batch(self, batch: pa.RecordBatch) -> None:
        for row in batch.to_pylist():
            try:
                line = json.dumps(row, ensure_ascii=False, allow_nan=False)
            except ValueError:
                line = json.dumps({name: _finite(value) for name, value in row.items()}, ensure_ascii=False)
            self._file.write(line.encode() + b"\n")

    def close(self) -> None:
        """The file is closed by its owner."""


def _finite(value: Any) -> Any:
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Csv:
    """A header and quoted strings; a list is written as JSON. The missing value is empty, an empty string is ""."""

    def __init__(self, file: Any, schema: pa.Schema) -> None:
        flat = [pa.string() if pa.types.is_nested(f.type) or pa.types.is_dictionary(f.type) else f.type for f in schema]
        self._schema = pa.schema(list(zip(schema.names, flat, strict=True)))
        self._writer = pyarrow.csv.CSVWriter(file, self._schema)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        columns = [_flat(batch.column(i), field.type) for i, field in enumerate(self._schema)]
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()


def _flat(column: pa.Array, kind: Any) -> pa.Array:
    if pa.types.is_list(column.type):
        return pa.array([None if v is None else json.dumps(_finite(v)) for v in column.to_pylist()], kind)
    return column.cast(kind)


def _tsv(file: Any, schema: pa.Schema) -> Writer:
    options = pyarrow.csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
    writer: Writer = pyarrow.csv.CSVWriter(file, schema, write_options=options)
    return writer


FORMATS: dict[str, Callable[[Any, pa.Schema], Writer]] = {
    "parquet": _Parquet,
    "jsonl": _JsonLines,
    "csv": _Csv,
    "tsv": _tsv,
}

_SUFFIXES = {".parquet": "parquet", ".jsonl": "jsonl", ".csv": "csv", ".tsv": "tsv", ".txt": "tsv"}
_COMPRESSIONS = {".zst": "zstd", ".gz": "gzip"}


def _format_of(target: AnyPath, format: str) -> tuple[str, str | None]:
    """(format, compression or None) of a file.

    Raises:
        UsageError: neither the name nor `format` says it.
    """
    compression = _COMPRESSIONS.get(target.suffix)
    name = target.name.removesuffix(target.suffix) if compression else target.name
    found = format or _SUFFIXES.get(Path(name).suffix, "")
    if found not in FORMATS:
        what = f"--format is {format!r}" if format else f"cannot tell the format of {target}"
        raise UsageError(f"{what}; name it *.parquet, *.jsonl, *.csv or *.tsv, or give --format {'|'.join(FORMATS)}")
    if found == "parquet" and compression:
        raise UsageError(f"{target}: Parquet is compressed inside; name it *.parquet")
    return found, compression
