"""Weights: how many documents each kept document stands for, for a trainer that samples by weight."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from gpu_pile.dedup.survivors import EXACT, NEAR
from gpu_pile.explore.tables import LazyTable, RunTables
from gpu_pile.types import Array

COLUMNS = ("doc_id", "shard", "line", "id", "subset", "copies")


def weights(run: RunTables) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """COLUMNS and weight of every kept document, in the order of decisions; see docs/copies.md.

    A document that stays and the documents that duplicate it share equally in what they stand for: those of them that
    stay or that nothing but being a duplicate removes. So weights add up to the documents that pass everything else.
    """
    dataset = LazyTable([run.directory.decisions(shard.name) for shard in run.shards]).dataset
    names = [name for name in COLUMNS if name in dataset.schema.names]
    schema = pa.schema([*(dataset.schema.field(name) for name in names), pa.field("weight", pa.float64())])

    def batches() -> Iterator[pa.RecordBatch]:
        witness, passing, staying = _counts(dataset)
        for batch in dataset.scanner(columns=[*names, "witness"], filter=pc.field("keep")).to_batches():
            table = pa.Table.from_batches([batch])
            of = pc.coalesce(table.column("witness"), table.column("doc_id")).to_numpy()
            at = np.minimum(np.searchsorted(witness, of), len(witness) - 1)
            known = witness[at] == of
            weight = np.where(known, (1 + passing[at]) / (1 + staying[at]), 1.0)
            column = pa.array(weight, pa.float64())
            yield from table.select(names).append_column("weight", column).cast(schema).combine_chunks().to_batches()

    return schema, batches()


def _counts(dataset: ds.Dataset) -> tuple[Array, Array, Array]:
    """(witnesses, ascending; documents of each that only being a duplicate removes or that stay; those that stay)."""
    found, stays = [np.zeros(1, np.uint64)], [np.zeros(1, bool)]
    columns = ["witness", "keep", "reasons"]
    for batch in dataset.scanner(columns=columns, filter=pc.is_valid(pc.field("witness"))).to_batches():
        reasons = batch.column("reasons")
        others = np.zeros(len(batch), np.int64)
        is_other = pc.invert(pc.is_in(reasons.flatten(), pa.array([EXACT, NEAR])))
        np.add.at(others, pc.list_parent_indices(reasons).filter(is_other).to_numpy(), 1)
        found.append(batch.column("witness").to_numpy()[others == 0])
        stays.append(batch.column("keep").to_numpy(zero_copy_only=False)[others == 0])
    witness, at = np.unique(np.concatenate(found), return_inverse=True)
    staying = np.bincount(at, np.concatenate(stays), len(witness))
    return witness, np.bincount(at, minlength=len(witness)) - (witness == 0), staying
