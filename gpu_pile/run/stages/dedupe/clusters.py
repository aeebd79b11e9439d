"""clusters.parquet and pairs.parquet, from sets of equal documents and verified pairs.

A node is a document in a verified pair, or one that has an equal one. Pairs are read from their files three times, one
file at a time: to know the nodes, to join them, and to write them. Memory: 40 bytes per node, 9 bits per 8 rows, and
memory_bytes; a component with more pairs than fit there takes 112 bytes per pair.

    clusters.parquet    ascending by doc_id
    pairs.parquet       by cluster, and within one by b and a: so whole components can be read one after the other
    against.parquet     with input.against: the documents of old runs among the nodes, ascending by doc_id
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.dedup.engine import Duplicates
from gpu_pile.dedup.partition import BUFFERS, Layout, Reader, Writer
from gpu_pile.dedup.radix import sort
from gpu_pile.dedup.rowset import RowSet
from gpu_pile.dedup.survivors import PAIRS
from gpu_pile.ops.components import link, name
from gpu_pile.run.context import Context
from gpu_pile.run.index.old import opened
from gpu_pile.run.stages.dedupe.candidates import scratch_folder
from gpu_pile.run.tables import Rows, doc_ids
from gpu_pile.types import Array

ROW_GROUP = 1 << 20

CLUSTERS = pa.schema([("doc_id", pa.uint64()), ("cluster", pa.uint64()), ("representative", pa.uint64())])


class Clusters:
    """The connected components of the documents that have a duplicate, and the files that hold them."""

    def __init__(self, context: Context, rows: Rows, duplicates: Duplicates, old: Sequence[str] = ()) -> None:
        self.context, self.pairs = context, duplicates.pairs
        members, representatives = duplicates.sets.members, duplicates.sets.representatives
        self.nodes = RowSet.empty(rows.total)
        self.nodes.add(members)
        self.n_pairs = 0
        for a, b, *_ in self.pairs:
            self.nodes.add(a)
            self.nodes.add(b)
            self.n_pairs += len(a)
        self.n_old = int(self.nodes.rank(np.array([rows.old]))[0])
        self.equal = self._of_members(members, representatives)
        self.component = np.arange(len(self.nodes))
        link(self.component, *self.equal)
        for a, b, *_ in self.pairs:
            link(self.component, self.node(a), self.node(b))
        name(self.component)
        self.doc_id = doc_ids(context, rows, self.nodes.rows(rows.old, rows.total))
        self.old: pa.Table | None = None
        if old:
            self.old = opened(old).table(self.nodes.rows(0, rows.old))
            self.doc_id = np.concatenate([self.doc_id, self.old.column("doc_id").to_numpy()])

    def node(self, rows: Array) -> Array:
        """Return the nodes of rows: they are numbered as their doc_ids ascend, so those of old documents come last."""
        return np.asarray((self.nodes.rank(rows) - self.n_old) % max(1, len(self.nodes)))

    def _of_members(self, members: Array, representatives: Array) -> tuple[Array, Array]:
        """The nodes of members of sets of equal documents, ascending, and those of their representatives."""
        nodes = self.node(members)
        order = np.argsort(nodes)
        return nodes[order], self.node(representatives)[order]

    def write(self) -> None:
        """Write both files; with old documents also their table."""
        run = self.context.directory
        if self.old is not None:
            with files.atomic(run.against) as partial:
                pq.write_table(self.old, partial, compression="zstd")
        for path, schema, tables in ((run.pairs, PAIRS, self.pair_rows()), (run.clusters, CLUSTERS, self.node_rows())):
            with (
                files.atomic(path) as partial,
                pq.ParquetWriter(partial, schema, compression="zstd") as writer,
            ):
                for columns in tables:
                    writer.write_table(pa.table(list(columns), schema=schema), row_group_size=ROW_GROUP)

    def node_rows(self) -> Iterator[tuple[Array, Array, Array]]:
        """Yield the columns of clusters.parquet, a row group at a time."""
        members, representatives = self.equal
        for start in range(0, len(self.doc_id), ROW_GROUP):
            stop = min(len(self.doc_id), start + ROW_GROUP)
            representative = np.arange(start, stop)
            lo, hi = np.searchsorted(members, [start, stop])
            representative[members[lo:hi] - start] = representatives[lo:hi]
            cluster = self.doc_id[self.component[start:stop]]
            yield self.doc_id[start:stop], cluster, self.doc_id[representative]

    def pair_rows(self) -> Iterator[tuple[Array | pa.Array, ...]]:
        """Yield the columns of pairs.parquet, a row group at a time."""
        for records in regrouped(ROW_GROUP, self.by_component()):
            _, b, a, similarity, *counts = np.ascontiguousarray(records.T)
            unknown = counts[-1] == 0  # a document without shingles is in no pair
            known = (pa.array(n.view(np.int64), mask=unknown) for n in counts)
            yield self.doc_id[a], self.doc_id[b], similarity.view(np.float64), *known

    def by_component(self) -> Iterator[Array]:
        """Yield uint64[n, 7], sorted over all batches.

        Columns: component, b, a (nodes), the bits of the similarity, and the counts of SimilarPairs.
        """
        layout = Layout.of(7, self.n_pairs, self.context.config.memory_bytes, max(1, len(self.component)))
        path = scratch_folder(self.context) / "components"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            writer = Writer(file, layout)
            for a, b, similarity, common, *shingles in self.pairs:
                x, y = self.node(a), self.node(b)
                turned = x > y  # a is a document of an old run
                x, y = np.where(turned, y, x), np.where(turned, x, y)
                counts = common, np.where(turned, *shingles[::-1]), np.where(turned, *shingles)
                records = np.stack([self.component[x], y, x, similarity.view(np.int64), *counts], axis=1)
                writer.add(records.view(np.uint64))
            writer.close()
        room = int(min(layout.buffer, self.n_pairs))
        buffer, spare = (BUFFERS.take(room, layout.width) for _ in range(2))
        with Reader([path], layout, 0, layout.partitions) as reader:
            for batch in reader.batches(buffer):
                yield sort(batch, spare if len(batch) <= room else np.empty_like(batch))
        BUFFERS.clear()


def regrouped(n: int, arrays: Iterator[Array]) -> Iterator[Array]:
    """Yield the rows of arrays, n at a time; the last array has the rest."""
    held: list[Array] = []
    for array in arrays:
        rest = array
        while len(rest):
            room = n - sum(map(len, held))
            held.append(rest[:room].copy())
            rest = rest[room:]
            if len(held[-1]) == room:
                yield np.concatenate(held)
                held = []
    if held:
        yield np.concatenate(held)
