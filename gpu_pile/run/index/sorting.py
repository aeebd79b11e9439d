"""Hashes and band keys of all documents of a run in sorted order, by the tasks of dedupe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from gpu_pile.dedup.partition import BUFFERS, Layout
from gpu_pile.dedup.radix import sort
from gpu_pile.run.context import Context
from gpu_pile.run.stages.dedupe.candidates import (
    HashPartitioner,
    KeyPartitioner,
    PartitionJob,
    Spill,
    copies_path,
    memory_per_task,
    numbered,
    row_ranges,
    save,
)
from gpu_pile.run.tables import Rows
from gpu_pile.run.tasks import Task
from gpu_pile.types import Array

RECORDS_AT_A_TIME = 1 << 20


class RecordSorter(PartitionJob):
    """Leaves the sorted records of some partitions, without a header."""

    def __init__(self, context: Context, source: Spill, number: int, start: int, stop: int) -> None:
        super().__init__(context, numbered(context, f"{source.folder}-sorted", number), source, start, stop)

    def write(self, batches: Iterator[tuple[Array, Array]]) -> None:
        file = self.create()
        for records, spare in batches:
            file.write(sort(records, spare).tobytes())


def sorted_records(context: Context, rows: Rows, kind: Literal["hashes", "keys"]) -> Iterator[Array]:
    """Yield hash records or key records (gpu_pile.dedup.buckets) of all documents, sorted over all batches."""
    banding = context.config.dedupe.fuzzy.banding()
    width, each = (3, 1) if kind == "hashes" else (2, banding.bands)
    ranges = row_ranges(context, rows)
    layout = Layout.of(width, rows.total * each, memory_per_task(context.config))
    spill = Spill(kind, layout, len(ranges))
    save(copies_path(context, kind), np.empty(0, np.int64))
    job, more = (HashPartitioner, ()) if kind == "hashes" else (KeyPartitioner, (banding, kind))
    context.do("dedupe", [Task(job, (spill, i, r, *more), 1, f"{kind} {i}", ()) for i, r in enumerate(ranges)])
    sorters = [Task(RecordSorter, (spill, i, *r), 1, f"sorted {i}", ()) for i, r in enumerate(layout.ranges())]
    context.do("dedupe", sorters)
    spill.remove(context)
    BUFFERS.clear()
    for i in range(len(sorters)):
        yield from _records(numbered(context, f"{kind}-sorted", i), width)


def _records(path: Path, width: int) -> Iterator[Array]:
    with path.open("rb") as file:
        while data := file.read(8 * width * RECORDS_AT_A_TIME):
            yield np.frombuffer(data, np.uint64).reshape(-1, width)
    path.unlink()
