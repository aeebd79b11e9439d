"""Renew the doc_ids of a measured shard whose index has changed because other inputs were added or removed."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.run.context import Context
from gpu_pile.run.stages.by_shard import Finished
from gpu_pile.run.stages.measure.read import MeasuredFile


class Renumberer:
    """The job of a shard that is measured: its table with other doc_ids (see by_shard.ShardJob)."""

    def __init__(self, context: Context, shard: Shard, definition: str) -> None:
        self.context, self.shard = context, shard
        self.output = MeasuredFile(context, shard, definition)

    def open(self) -> Iterator[int]:
        self.output.open()
        with pq.ParquetFile(self._table()) as file:
            yield from range(file.num_row_groups)

    def process(self, block: int) -> pa.Table:
        with self.context.reporter.span("measure", "renumber"), pq.ParquetFile(self._table()) as file:
            return file.read_row_group(block)

    def consume(self, rows: pa.Table) -> bool:
        with self.context.reporter.span("measure", "store"):
            self.output.write(rows)
        return True

    def finish(self) -> Finished:
        self.output.close()
        state = self.context.directory.state("measure", self.shard.name)
        return Finished(self.shard, self.output.files, {**state, "index": self.shard.index})

    def abandon(self) -> None:
        self.output.discard()

    def _table(self) -> object:
        return files.table(self.context.directory.measured(self.shard.name))
