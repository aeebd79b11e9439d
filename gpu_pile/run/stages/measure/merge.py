"""Put the ranges of a shard together, once all of them are measured.

A range is measured alone, into scratch/measure/, with lines and bytes counted from the range's own. What a range alone
cannot judge (damage, too many bad lines, more subsets than are counted separately) makes the shard one range: the shard
is measured as a whole and its ranges are not merged.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.identity import identity_of
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.reader import SEEK_POINTS_MAX, SEEK_SPACING, Limits
from gpu_pile.corpus.shards import Shard
from gpu_pile.run.context import Context
from gpu_pile.run.reading import changed
from gpu_pile.run.stages.by_shard import Finished
from gpu_pile.run.stages.measure.columns import RowGroups, empty_table
from gpu_pile.run.stages.measure.read import MeasuredFile, RangeFiles, scratch_folder
from gpu_pile.summaries import histograms, samples


class RangeMerger:
    """The job of a shard whose ranges are measured: their rows in order, renumbered (see by_shard.ShardJob)."""

    def __init__(self, context: Context, shard: Shard, ranges: Sequence[ShardRange], definition: str) -> None:
        self.context, self.shard, self.ranges = context, shard, ranges
        self.fingerprint = files.fingerprint(shard.path)
        self.files = [RangeFiles(context, shard, r, definition) for r in ranges]
        facts = [files.read_json(f.facts) for f in self.files]
        if not all(facts):
            raise changed(shard)
        self.facts: list[dict[str, Any]] = facts
        self.first_lines, self.starts = (
            [0, *itertools.accumulate(int(f[what]) for f in facts)] for what in ("lines", "own_bytes")
        )
        self.output = MeasuredFile(context, shard, definition)
        self.groups = RowGroups(lambda table, _: self.output.write(table))

    def is_possible(self) -> bool:
        """Whether the ranges together are what measuring the shard as a whole would give."""
        settings = self.context.config.input
        n_bad = sum(len(f["bad_lines"]) for f in self.facts)
        if n_bad > settings.bad_lines_max or not all(f["alone"] for f in self.facts):
            return False
        stream_bytes_max = Limits(expansion_max=settings.expansion_max).stream_bytes_max(self.shard.n_bytes)
        subsets = set().union(*(pq.read_table(f.histogram).column("subset").unique().to_pylist() for f in self.files))
        return self.starts[-1] <= stream_bytes_max and len(subsets) <= histograms.SUBSETS_MAX

    def open(self) -> Iterator[tuple[int, int]]:
        self.output.open()
        for index, range_files in enumerate(self.files):
            with pa.memory_map(str(range_files.rows)) as source:
                n = pa.ipc.open_file(source).num_record_batches
            yield from ((index, i) for i in range(n))

    def process(self, block: tuple[int, int]) -> pa.Table:
        index, number = block
        with self.context.reporter.span("measure", "merge"):
            rows = pa.ipc.open_file(pa.memory_map(str(self.files[index].rows))).get_batch(number)
            return self._renumber(pa.Table.from_batches([rows]), index)

    def consume(self, rows: pa.Table) -> bool:
        with self.context.reporter.span("measure", "store"):
            self.groups.add(rows, np.empty((0, len(rows)), np.int16))
        return True

    def finish(self) -> Finished:
        with self.context.reporter.span("measure", "store"):
            self.groups.finish(lambda: empty_table(self.context.config), 0)
        with self.context.reporter.span("measure", "merge"):
            histogram = histograms.merged([pq.read_table(f.histogram) for f in self.files])
            sample = self._sample()
        return self.output.finish(histogram, sample, self.fingerprint, self._state())

    def abandon(self) -> None:
        self.output.discard()

    def _renumber(self, rows: pa.Table, index: int) -> pa.Table:
        """Count line and start of a range's rows from the shard's beginning."""
        for name, offset in (("line", self.first_lines[index]), ("start", self.starts[index])):
            if name in rows.column_names:
                i = rows.column_names.index(name)
                rows = rows.set_column(i, name, pa.array(rows.column(name).to_numpy() + offset))
        return rows

    def _sample(self) -> samples.Sample:
        sample = samples.Sample(self.context.config.measured_signals)
        for index, facts in enumerate(self.facts):
            if facts["sample"]:
                table = self._renumber(pq.read_table(self.files[index].sample), index)
                cells = histograms.cells_of_columns(table, sample.signals)
                sample.offer(table, cells)
        return sample

    def _state(self) -> dict[str, Any]:
        facts = self.facts
        return {
            "identity": identity_of([bytes.fromhex(d) for f in facts for d in f["digests"]]),
            "documents": sum(f["documents"] for f in facts),
            "text_bytes": sum(f["text_bytes"] for f in facts),
            "lines": self.first_lines[-1],
            "stream_bytes": self.starts[-1],
            "ranges": [
                {"first": r.first, "end": r.end, "start": start, "documents": f["documents"]}
                for f, r, start in zip(facts, self.ranges, self.starts, strict=False)
            ],
            "seek_points": _thinned(
                (byte, start + position)
                for f, start in zip(facts, self.starts, strict=False)
                for byte, position in f["seek_points"]
            ),
            "bad_lines": [
                {"line": first_line + line, "reason": reason}
                for f, first_line in zip(facts, self.first_lines, strict=False)
                for line, reason in f["bad_lines"]
            ],
            "stopped": None,
            "damage": [],
        }


def remove_ranges(context: Context, shards: Iterable[Shard]) -> None:
    """Remove the files of the ranges of these shards, which are merged."""
    for shard in shards:
        shutil.rmtree(scratch_folder(context, shard), ignore_errors=True)


def _thinned(points: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return seek points as far apart as a reader of the whole shard records them."""
    kept: list[tuple[int, int]] = []
    for point in points:
        if not kept or point[1] - kept[-1][1] >= SEEK_SPACING:
            kept.append(point)
    return kept[:SEEK_POINTS_MAX]
