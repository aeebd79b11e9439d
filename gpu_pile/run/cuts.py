"""What documents of a shard repeat, which of them are removed for it, and the texts that are left after cutting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.run.config import Substrings
from gpu_pile.run.context import Context
from gpu_pile.text.column import TextColumn
from gpu_pile.types import Array


@dataclass(frozen=True)
class Repeated:
    """How much documents of a shard repeat (substrings/<shard>.parquet), ascending by doc_id."""

    doc_id: Array
    text_bytes: Array
    cut_bytes: Array
    referred: Array

    @classmethod
    def none(cls) -> Repeated:
        """Return that nothing is repeated."""
        n_bytes = np.empty(0, np.int64)
        return cls(np.empty(0, np.uint64), n_bytes, n_bytes, np.empty(0, bool))

    @classmethod
    def of(cls, context: Context, shard: Shard) -> Repeated:
        names = ["doc_id", "text_bytes", "cut_bytes", "referred"]
        table = pq.read_table(files.table(context.directory.substrings(shard.name)), columns=names)
        return cls(*(table.column(name).to_numpy() for name in names))

    def look_up(self, ids: Array, passes: Array, settings: Substrings) -> tuple[Array, Array, Array]:
        """Return of documents: int64[n] repeated bytes, bool[n] whether they are removed for it, float64[n] the share.

        passes: bool[n], which documents nothing else removes; of the others nothing is repeated.
        """
        repeated, share, removed = np.zeros(len(ids), np.int64), np.zeros(len(ids)), np.zeros(len(ids), bool)
        own = np.flatnonzero(np.isin(self.doc_id, ids[passes]))
        rows, left = np.searchsorted(ids, self.doc_id[own]), self.text_bytes[own] - self.cut_bytes[own]
        repeated[rows], share[rows] = self.cut_bytes[own], self.cut_bytes[own] / self.text_bytes[own]
        unwanted = share[rows] > (1.0 if settings.max_share is None else settings.max_share)
        if settings.cut:  # what others were cut for stays, unless nothing of it is left
            unwanted |= left < settings.left_min_bytes
            unwanted &= ~self.referred[own] | (left == 0)
        removed[rows] = unwanted
        return repeated, removed, share


@dataclass(frozen=True)
class Cuts:
    """Spans of documents of a shard (substrings/<shard>.parquet).

    doc_id: uint64[n], ascending; document i has the spans bounds[i] .. bounds[i + 1]
    start, length: int64, of spans in its text; source, source_start: the earlier document with the same bytes, and
        where they are in its text
    """

    doc_id: Array
    bounds: Array
    start: Array
    length: Array
    source: Array
    source_start: Array

    @classmethod
    def of(cls, context: Context, shard: Shard) -> Cuts:
        names = ["doc_id", "starts", "lengths", "sources", "source_starts"]
        table = pq.read_table(files.table(context.directory.substrings(shard.name)), columns=names).combine_chunks()
        lists = [table.column(name).combine_chunks() for name in names[1:]]
        sizes = lists[0].value_lengths().to_numpy(zero_copy_only=False)
        bounds = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
        return cls(table.column("doc_id").to_numpy(), bounds, *(values.flatten().to_numpy() for values in lists))

    def rows(self, doc_id: int) -> range:
        """Return the numbers of a document's spans."""
        i = int(np.searchsorted(self.doc_id, np.uint64(doc_id)))
        if i == len(self.doc_id) or self.doc_id[i] != np.uint64(doc_id):
            return range(0)
        return range(int(self.bounds[i]), int(self.bounds[i + 1]))

    def left(self, text: TextColumn, doc_ids: Sequence[int]) -> TextColumn:
        """Return what is left of the texts of these documents."""
        return TextColumn.from_documents(
            [self._left(document, doc_id) for document, doc_id in zip(text.documents(), doc_ids, strict=True)]
        )

    def _left(self, text: bytes, doc_id: int) -> bytes:
        rows = self.rows(doc_id)
        edges = [0, *(int(x) for i in rows for x in (self.start[i], self.start[i] + self.length[i])), len(text)]
        return b"".join(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True))
