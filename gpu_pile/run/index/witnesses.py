"""Where the documents are that old runs keep and documents of a run duplicate: names in the place of doc_ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile.run import directory
from gpu_pile.run.context import Context
from gpu_pile.run.index.old import OLD, is_old
from gpu_pile.types import Array

WITNESS = [
    pa.field("witness_run", pa.string()),
    pa.field("witness_shard", pa.string()),
    pa.field("witness_line", pa.int64()),
]
"""Columns of decisions with input.against: where the witness is; the run is null for a document of the run itself."""


class Place(NamedTuple):
    """Where a document is; run: the directory of an old run, None for the run itself."""

    run: str | None
    shard: str
    line: int

    def __str__(self) -> str:
        return f"{self.shard}:{self.line}" + (f" of {self.run}" if self.run is not None else "")


@dataclass(frozen=True)
class Witnesses:
    """names: of the run's shards. old: against.parquet, ascending by doc_id."""

    names: list[str]
    old: pa.Table

    @classmethod
    def of(cls, context: Context) -> Witnesses:
        table = pq.read_table(directory.table(context.directory.against))
        return cls([shard.name for shard in context.shards], table.combine_chunks())

    def columns(self, ids: pa.ChunkedArray) -> list[pa.Array]:
        """Return the columns WITNESS of doc_ids of witnesses; null where there is none."""
        missing = pc.is_null(ids).to_numpy()
        doc_id = pc.fill_null(ids, 0).to_numpy()
        old, (index, line) = is_old(doc_id), directory.split_doc_id(doc_id)
        at = np.zeros(len(doc_id), np.int64)
        at[old] = self._rows(doc_id[old])
        own = pa.array(self.names, pa.string()).take(pa.array(np.where(old, 0, index).astype(np.int64)))
        theirs = {name: self._taken(name, at) for name in ("run", "shard", "line")}
        chosen, nothing = pa.array(old), pa.array(missing)
        columns = [
            pc.if_else(chosen, theirs["run"], pa.nulls(len(at), pa.string())),
            pc.if_else(chosen, theirs["shard"], own),
            pc.if_else(chosen, theirs["line"], pa.array(line.astype(np.int64))),
        ]
        return [pc.if_else(nothing, pa.nulls(len(at), c.type), c) for c in columns]

    def place(self, doc_id: int) -> Place:
        """Return where a document is."""
        if doc_id < OLD:
            index, line = directory.split_doc_id(doc_id)
            return Place(None, self.names[index], line)
        row = self.old.slice(int(self._rows(np.array([doc_id], np.uint64))[0]), 1).to_pylist()[0]
        return Place(row["run"], row["shard"], row["line"])

    def _rows(self, doc_id: Array) -> Array:
        return np.asarray(np.searchsorted(self.old.column("doc_id").to_numpy(), doc_id))

    def _taken(self, name: str, rows: Array) -> pa.Array:
        column = self.old.column(name)
        if not len(column):
            return pa.nulls(len(rows), column.type)
        taken = column.take(pa.array(rows))
        return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken
