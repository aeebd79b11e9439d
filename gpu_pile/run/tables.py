"""Reading the run directory's tables: measured rows by row group, dense rows and doc_ids, documents by position."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.shards import Shard
from gpu_pile.run import directory
from gpu_pile.run.context import Context
from gpu_pile.run.reading import parse
from gpu_pile.text.column import TextColumn
from gpu_pile.types import Array


@dataclass(frozen=True)
class Rows:
    """Dense numbering of all good documents, in the order of (shard, line): row first[i] is shard i's first.

    The rows before first[0] are those of documents of old runs, if there are any (gpu_pile.run.index.old).
    """

    names: tuple[str, ...]
    first: Array

    @classmethod
    def of(cls, context: Context, old: int = 0) -> Rows:
        counts = [context.directory.state("measure", s.name)["documents"] for s in context.shards]
        return cls(
            tuple(s.name for s in context.shards), old + np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))
        )

    @property
    def total(self) -> int:
        return int(self.first[-1])

    @property
    def old(self) -> int:
        return int(self.first[0])

    @property
    def own(self) -> int:
        return self.total - self.old


def row_groups(
    context: Context, shard: Shard, columns: Sequence[str], start: int = 0, stop: int | None = None
) -> Iterator[pa.Table]:
    """The measured table of a shard with its joined columns, or its rows start .. stop, a row group at a time."""
    beside = [name for name in columns if name in context.config.joined_columns]
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(pq.ParquetFile(files.table(context.directory.measured(shard.name))))
        joined = (
            stack.enter_context(pq.ParquetFile(files.table(context.directory.joined(shard.name)))) if beside else None
        )
        end = 0
        for i in range(file.num_row_groups):
            first, end = end, end + file.metadata.row_group(i).num_rows
            if end > start and (stop is None or first < stop):
                table = file.read_row_group(i, columns=[name for name in columns if name not in beside])
                if joined is not None:
                    for name, column in zip(beside, joined.read_row_group(i, columns=beside).columns, strict=True):
                        table = table.append_column(name, column)
                lo, hi = max(0, start - first), end - first if stop is None else min(stop, end) - first
                yield table.slice(lo, hi - lo)


def table_rows(path: AnyPath, first: int, end: int, columns: Sequence[str]) -> pa.Table:
    """Rows first .. end of a table; only the row groups that hold them are read."""
    with pq.ParquetFile(files.table(path)) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        begins = np.concatenate(([0], np.cumsum(sizes)))
        lo = max(0, int(np.searchsorted(begins, first, "right")) - 1)
        hi = int(np.searchsorted(begins[:-1], end))
        table = file.read_row_groups(list(range(lo, max(lo, hi))), columns=list(columns))
    return table.slice(first - int(begins[lo]), end - first)


@dataclass(frozen=True)
class MeasuredRange:
    """A range of a measured shard: its documents are rows first .. end of the shard's tables."""

    shard: Shard
    shard_range: ShardRange
    first: int
    end: int

    @property
    def label(self) -> str:
        return self.shard_range.label(self.shard)


def measured_ranges(context: Context, shard: Shard) -> list[MeasuredRange]:
    """The ranges in which a shard was measured, each with where it begins in the decompressed stream."""
    recorded = context.directory.state("measure", shard.name)["ranges"]
    first, found = 0, []
    for i, p in enumerate(recorded):
        shard_range = ShardRange(i, len(recorded), p["first"], p["end"], p["start"], p.get("stop", -1))
        found.append(MeasuredRange(shard, shard_range, first, first + p["documents"]))
        first += p["documents"]
    return found


def measured_whole(context: Context, shard: Shard) -> MeasuredRange:
    """The shard as one range, however it is split."""
    n = context.directory.state("measure", shard.name)["documents"]
    return MeasuredRange(shard, ShardRange(0, 1, 0, shard.n_bytes), 0, n)


def scan(context: Context, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """(first row, table) of every row group of every shard, in order."""
    row = 0
    for shard in context.shards:
        for table in row_groups(context, shard, columns):
            yield row, table
            row += len(table)


def doc_ids(context: Context, rows: Rows, wanted: Array) -> Array:
    """uint64 doc_ids of dense rows (ascending)."""
    out = np.empty(len(wanted), np.uint64)
    for i, shard in enumerate(context.shards):
        lo, hi = np.searchsorted(wanted, [rows.first[i], rows.first[i + 1]])
        if hi > lo:
            lines = (
                pq.read_table(files.table(context.directory.measured(shard.name)), columns=["line"])
                .column("line")
                .to_numpy()
            )
            out[lo:hi] = directory.doc_id(
                np.uint64(shard.index), lines[wanted[lo:hi] - rows.first[i]].astype(np.uint64)
            )
    return out


def subset_codes(table: pa.Table) -> tuple[list[str], Array]:
    """(names, int64 code of each row) of a table's subset column."""
    encoded = table.column("subset").combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def parse_again(context: Context, shard: Shard, lines: Array) -> TextColumn:
    """The texts of good lines of a shard, given one after the other, each with its line feed."""
    # only the first line of a stream can be good and begin with a BOM
    return parse(context, shard, lines, skip_bom=True).text
