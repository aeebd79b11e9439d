"""Candidates for dedupe.contained: documents that may be contained in another one, as tasks over partitioned files.

    sample  every document that takes part, read again, a range per task  -> samples, by ranges of the key
    share   ranges of the key   -> the sampled shingles that several documents have, by row
    rare    ranges of rows      -> the keys that documents ask for, by ranges of the key, as the samples
    answer  ranges of the key   -> pairs, beside those of the band keys; from here on they are treated alike

gpu_pile.dedup.contained has the records and the reasons. Scratch: 16 bytes per sampled shingle, 24 per shared one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.dedup import contained
from gpu_pile.dedup.partition import Layout
from gpu_pile.gpu.segments import to_host
from gpu_pile.ops.shingle_set import shingle_set
from gpu_pile.run.config import Config, Contained
from gpu_pile.run.context import Context
from gpu_pile.run.rereading import Group, Wanted, read_again
from gpu_pile.run.stages.dedupe.candidates import (
    OUT_PAIRS,
    FileJob,
    Jobs,
    PartitionJob,
    Spill,
    copies_path,
    do,
    in_subsets,
    mapped,
    memory_per_task,
    salts_of,
    save,
    scratch_folder,
)
from gpu_pile.run.tables import MeasuredRange, Rows, measured_ranges, parse_again, table_rows
from gpu_pile.types import Array

SHINGLES_PER_BYTE = {"auto": 0.17, "word": 0.17}
"""Shingles per byte of text by kind, to expect; of others, one. A wrong guess only costs time."""


class Samples(NamedTuple):
    """The samples and what they were taken from; small, sent to workers."""

    search: str
    spill: Spill

    def counts(self, context: Context, number: int) -> Path:
        """Return the path of the sizes of the samples of a range, int32."""
        return scratch_folder(context) / self.search / "counts" / f"{number:05d}.npy"

    def sizes_path(self, context: Context, name: str) -> Path:
        """Return the path of int32[rows]: "sampled", the size of each sample, or "least", least_shared() of it."""
        return scratch_folder(context) / self.search / name

    def sizes(self, context: Context) -> tuple[Array, Array]:
        """Return both, mapped."""
        sampled, least = (mapped(self.sizes_path(context, name), np.int32) for name in ("sampled", "least"))
        return sampled, least


def contained_pairs(context: Context, rows: Rows, search: str, pairs: Spill) -> Spill:
    """Add files of candidate pairs to those of the band keys; return all of them."""
    memory = memory_per_task(context.config)
    expected = expected_samples(context.config, sum(_text_bytes(context, shard) for shard in context.shards))
    ranges = [
        (measured, first + measured.first)
        for shard, first in zip(context.shards, rows.first.tolist(), strict=False)
        for measured in measured_ranges(context, shard)
    ]
    samples = Samples(search, Spill(f"{search}/samples", Layout.of(2, expected, memory), len(ranges)))
    jobs: Jobs = [(Sampler, (samples, i, *r), samples.spill.path(context, i)) for i, r in enumerate(ranges)]
    do(context, jobs, "samples")
    _gather_sizes(context, samples, len(ranges))
    by_key, layout = samples.spill.layout.ranges(), Layout.of(3, expected // 2, memory, max(1, rows.total))
    shared = Spill(f"{search}/shared", layout, len(by_key))
    jobs = [(Sharer, (samples, shared, i, *r), shared.path(context, i)) for i, r in enumerate(by_key)]
    do(context, jobs, "keys")
    asked = Spill(f"{search}/asked", samples.spill.layout, len(layout.ranges()))
    jobs = [(Asker, (samples, shared, asked, i, *r), asked.path(context, i)) for i, r in enumerate(layout.ranges())]
    do(context, jobs, "shared keys")
    shared.remove(context)
    numbers = range(pairs.files, pairs.files + len(by_key))
    both = zip(numbers, by_key, strict=True)
    jobs = [(Answerer, (samples, asked, pairs, i, *r), pairs.path(context, i)) for i, r in both]
    do(context, jobs, "rare keys")
    for spill in (samples.spill, asked):
        spill.remove(context)
    return pairs._replace(files=numbers.stop)


def expected_samples(config: Config, text_bytes: float) -> int:
    """Return about how many shingles of so much text are sampled."""
    per_byte = SHINGLES_PER_BYTE.get(config.dedupe.fuzzy.shingle, 1.0)
    return int(text_bytes * per_byte / contained.sampled_of(options(config).min_shingles))


def options(config: Config) -> Contained:
    assert config.dedupe.contained is not None
    return config.dedupe.contained


def _text_bytes(context: Context, shard: Shard) -> int:
    return int(context.directory.state("measure", shard.name)["text_bytes"])


def _gather_sizes(context: Context, samples: Samples, n_ranges: int) -> None:
    """Put the sizes of all samples into one file, in the order of the rows."""
    threshold = options(context.config).threshold
    paths = [samples.sizes_path(context, name) for name in ("sampled", "least")]
    with paths[0].open("wb") as sizes, paths[1].open("wb") as least:
        for number in range(n_ranges):
            sampled = files.load_array(samples.counts(context, number))
            sampled.tofile(sizes)
            contained.least_shared(sampled, threshold).tofile(least)


class Sampler(FileJob):
    """Reads a range of a shard again and partitions the samples of its documents."""

    def __init__(self, context: Context, samples: Samples, number: int, measured: MeasuredRange, first: int) -> None:
        super().__init__(context, samples.spill.path(context, number), measured.shard_range.n_bytes)
        self.samples, self.number, self.measured, self.first = samples, number, measured, first
        self.options = options(context.config)

    def open(self) -> Iterator[Group]:
        self.create(self.samples.spill.layout)
        context, measured = self.context, self.measured
        copies = files.load_array(copies_path(context, self.samples.search), mapped=True)
        columns = ["start", "length", "shingles", "subset"]
        table = table_rows(context.directory.measured(measured.shard.name), measured.first, measured.end, columns)
        least = int(self.options.threshold * self.options.min_shingles)
        chosen = ~in_subsets(table, context.config.dedupe.fuzzy.skip_subsets)
        chosen &= table.column("shingles").to_numpy() >= least
        lo, hi = np.searchsorted(copies, [self.first, self.first + len(table)])
        chosen[copies[lo:hi] - self.first] = False
        self.counts, self.rows = np.zeros(len(table), np.int32), np.flatnonzero(chosen)
        salts = salts_of(context.config.dedupe, table)
        self.salts = None if salts is None else salts[chosen]
        start, self.length = (table.column(name).to_numpy()[chosen] for name in ("start", "length"))
        if len(start):
            wanted = [Wanted.of(start, self.length, context.batch_bytes)]
            yield from read_again(context, "dedupe", measured, wanted)

    def process(self, group: Group) -> list[Array]:
        return self.sample(group.lines(), group.lo, group.hi)

    def sample(self, lines: Array, lo: int, hi: int) -> list[Array]:
        """Return the samples of documents lo .. hi; too many for the device's memory are taken in halves."""
        try:
            return [self._sample_at_once(lines, lo, hi)]
        except MemoryError:
            if hi - lo == 1:
                raise
        # the error is gone, and with it the arrays on the device that it held
        middle = (lo + hi) // 2
        cut = int(self.length[lo:middle].sum()) + middle - lo
        return self.sample(lines[:cut], lo, middle) + self.sample(lines[cut:], middle, hi)

    def _sample_at_once(self, lines: Array, lo: int, hi: int) -> Array:
        span, fuzzy = self.context.reporter.span, self.context.config.dedupe.fuzzy
        with self.context.device.session():
            with span("dedupe", "parse again"):
                text = parse_again(self.context, self.measured.shard, lines)
            with span("dedupe", "sample"):
                values, offsets = map(to_host, shingle_set(text, kind=fuzzy.shingle, width=fuzzy.width))
                salts = None if self.salts is None else self.salts[lo:hi]
                m = contained.sampled_of(self.options.min_shingles)
                rows = self.rows[lo:hi]
                records, self.counts[rows] = contained.sample_records((values, offsets), m, self.first + rows, salts)
        return records

    def consume(self, result: list[Array]) -> bool:
        for records in result:
            self.writer.add(records)
        return True

    def close(self) -> None:
        save(self.samples.counts(self.context, self.number), self.counts)
        super().close()


class Sharer(PartitionJob):
    """Leaves the keys that several documents have, partitioned by ranges of rows."""

    def __init__(self, context: Context, samples: Samples, shared: Spill, number: int, start: int, stop: int) -> None:
        super().__init__(context, shared.path(context, number), samples.spill, start, stop)
        self.target = shared.layout

    def write(self, batches: Iterator[tuple[Array, Array]]) -> None:
        self.create(self.target)
        for records, spare in batches:
            self.writer.add(contained.shared_records(records, spare))


class Asker(PartitionJob):
    """Leaves the keys that documents ask for, partitioned like the samples."""

    def __init__(
        self, context: Context, samples: Samples, shared: Spill, asked: Spill, number: int, start: int, stop: int
    ) -> None:
        super().__init__(context, asked.path(context, number), shared, start, stop)
        self.target, self.samples = asked.layout, samples

    def write(self, batches: Iterator[tuple[Array, Array]]) -> None:
        self.create(self.target)
        _, least = self.samples.sizes(self.context)
        for records, spare in batches:
            self.writer.add(contained.rare_records(records, spare, least))


class Answerer(PartitionJob):
    """Leaves candidate pairs, partitioned like those of the band keys."""

    def __init__(
        self, context: Context, samples: Samples, asked: Spill, pairs: Spill, number: int, start: int, stop: int
    ) -> None:
        super().__init__(context, pairs.path(context, number), samples.spill, start, stop)
        self.sources += [asked.path(context, i) for i in range(asked.files)]
        self.target, self.samples = pairs.layout, samples

    def write(self, batches: Iterator[tuple[Array, Array]]) -> None:
        self.create(self.target)
        sampled, least = self.samples.sizes(self.context)
        neighbours_max = self.context.config.dedupe.fuzzy.bucket_neighbours_max
        out = np.empty((max(neighbours_max, OUT_PAIRS), 2), np.uint64)
        for records, spare in batches:
            for pairs in contained.answered_pairs(records, spare, sampled, least, neighbours_max, out):
                self.writer.add(pairs)
