"""Read a shard of rows (Parquet, Arrow) and write its kept rows, all columns as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.row_sinks import JsonSink, RowSink, TableSink
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.sinks import PARQUET, SAME, sink_of
from gpu_pile.corpus.tables import ERRORS, TableFile, open_table
from gpu_pile.errors import DataError
from gpu_pile.run.context import Context
from gpu_pile.run.reading import check_unchanged
from gpu_pile.run.stages.by_shard import Finished
from gpu_pile.run.stages.write.copy import finished_shard, line_outputs
from gpu_pile.run.tables import table_rows
from gpu_pile.types import Array

BATCH_BYTES = 4 * 2**20
"""Decoded bytes of rows that are copied at a time."""


class RowsWriter:
    """The job of a shard of rows (see by_shard.ShardJob); key: what the written shard depends on."""

    def __init__(self, context: Context, shard: Shard, key: str) -> None:
        self.context, self.shard, self.key = context, shard, key
        self.sinks: list[RowSink] = []
        self.wanted: list[Array] = []
        self.stack = contextlib.ExitStack()

    def open(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield (number of the first row, rows), all columns."""
        directory, name = self.context.directory, self.shard.name
        documents = self.context.directory.state("measure", name)["documents"]
        (row,) = _columns(directory.measured(name), documents, "line")
        (keep,) = _columns(directory.decisions(name), documents, "keep")
        self.wanted = [row[keep] - 1, row[~keep] - 1]
        end = int(row[-1]) if len(row) else 0
        try:
            with self.stack:
                table = self.stack.enter_context(open_table(self.shard.path))
                self.sinks = [self._sink(path, table) for path in line_outputs(self.context, self.shard)]
                yield from self._batches(table, end)
        except ERRORS as error:
            raise DataError(
                f"cannot copy the rows of {self.shard.path}: {' '.join(str(error).split()):.200}; a column other than "
                "the text is damaged. Repair the file, or take it out of input.shards"
            ) from error

    def _sink(self, path: AnyPath, table: TableFile) -> RowSink:
        settings = self.context.config.write
        if settings.format in (SAME, PARQUET):
            return TableSink(path, table, parquet=settings.format == PARQUET)
        return JsonSink(sink_of(settings.format)(path, settings.compression), path)

    def _batches(self, table: TableFile, end: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        shown = 0
        for part in table.parts(None, BATCH_BYTES):
            self.context.reporter.advance("write", part.offset - shown)
            shown = part.offset
            row, wanted_until = part.first_row, self._last_wanted(part.first_row + part.n_rows)
            for batch in part.batches if wanted_until >= row else ():
                yield row, batch
                row += len(batch)
                if row > wanted_until:  # what follows may be damaged
                    break
            if part.first_row >= end:
                break
        self.context.reporter.advance("write", self.shard.n_bytes - shown)

    def _last_wanted(self, end: int) -> int:
        """Return the last row before `end` that goes anywhere; -1 if there is none."""
        lasts = [rows[np.searchsorted(rows, end) - 1] for rows in self.wanted[: len(self.sinks)] if np.any(rows < end)]
        return int(max(lasts, default=-1))

    def process(self, block: tuple[int, pa.RecordBatch]) -> list[pa.Table]:
        """Choose the rows of each output."""
        first, batch = block
        table, chosen = pa.Table.from_batches([batch]), []
        with self.context.reporter.span("write", "copy"):
            for rows in self.wanted[: len(self.sinks)]:
                lo, hi = np.searchsorted(rows, [first, first + len(batch)])
                whole = hi - lo == len(batch)
                chosen.append(table if whole else table.take(pa.array(rows[lo:hi] - first)))
        return chosen

    def consume(self, result: list[pa.Table]) -> bool:
        with self.context.reporter.span("write", "compress"):
            for sink, rows in zip(self.sinks, result, strict=True):
                if len(rows):
                    sink.write(rows)
        return True

    def finish(self) -> Finished:
        recorded = self.context.directory.state("measure", self.shard.name)
        check_unchanged(self.shard, recorded["file"], recorded["identity"])
        return finished_shard(self.context, self.shard, self.key, [sink.finish() for sink in self.sinks])

    def abandon(self) -> None:
        for sink in self.sinks:
            sink.discard()


def _columns(path: AnyPath, n: int, *names: str) -> list[Any]:
    table = table_rows(path, 0, n, names)
    return [table.column(name).to_numpy() for name in names]
