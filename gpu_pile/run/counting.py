"""Count the documents of shards by subset, without a run: each range is decompressed and parsed, nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.shards import Shard
from gpu_pile.run.context import Context
from gpu_pile.run.reading import explain, open_shard, parse, read_blocks, shard_ranges
from gpu_pile.run.stages.measure.read import text_buffer
from gpu_pile.run.threads import run_jobs
from gpu_pile.summaries.histograms import OTHERS, SUBSETS_MAX
from gpu_pile.types import Array

STAGE = "stats"


class Counts:
    """Documents and bytes of text by subset: the first SUBSETS_MAX subsets, and all others together."""

    def __init__(self) -> None:
        self.by_subset: dict[str, tuple[int, int]] = {}

    def add(self, subset: str, documents: int, text_bytes: int) -> None:
        if subset not in self.by_subset and len(self.by_subset) >= SUBSETS_MAX:
            subset = OTHERS
        before = self.by_subset.get(subset, (0, 0))
        self.by_subset[subset] = before[0] + documents, before[1] + text_bytes


class Counted(NamedTuple):
    """What shards have.

    bad_lines: all of them, whatever input.bad_lines_max is. first_bad: a sentence about the first of each shard
    damage: a sentence each
    """

    counts: Counts
    bad_lines: int
    first_bad: list[str]
    damage: list[str]


class _Block(NamedTuple):
    """What a block has: names of subsets, documents and bytes of each; bad lines, and the first with its reason."""

    subsets: list[str]
    documents: Array
    text_bytes: Array
    bad_lines: int
    first_bad: tuple[int, str] | None


class _RangeCounter:
    """The job of a range (see run.threads.Job)."""

    def __init__(self, context: Context, shard: Shard, shard_range: ShardRange) -> None:
        self.context, self.shard, self.shard_range = context, shard, shard_range
        self.cost = shard_range.n_bytes
        self.counts = Counts()
        self.bad_lines = 0
        self.bad: list[tuple[int, str]] = []

    def open(self) -> Iterator[Block]:
        self.reader = open_shard(self.context, self.shard, shard_range=self.shard_range)
        yield from read_blocks(self.context, STAGE, self.reader)

    def process(self, block: Block) -> _Block:
        data = block.data[: block.n_bytes]
        skip_bom = block.start == 0
        parsed = parse(self.context, self.shard, data, skip_bom=skip_bom, padded=True, out=text_buffer(len(data)))
        subset = parsed.subset.to_arrow().cast(pa.string()).dictionary_encode()
        codes, n = subset.indices.to_numpy(zero_copy_only=False), len(subset.dictionary)
        documents = np.bincount(codes, minlength=n)
        # float64 sums of whole numbers are exact below 2^53, more than a block holds
        text_bytes = np.bincount(codes, np.diff(parsed.text.offsets), minlength=n).astype(np.int64)
        bad = None
        if len(parsed.bad_line):
            why = explain(self.context, self.shard, int(parsed.bad_reason[0]), int(parsed.bad_position[0]))
            bad = (block.first_line + int(parsed.bad_line[0]) + 1, why)
        block.release()
        return _Block(subset.dictionary.to_pylist(), documents, text_bytes, len(parsed.bad_line), bad)

    def consume(self, found: _Block) -> bool:
        for subset, documents, text_bytes in zip(found.subsets, found.documents, found.text_bytes, strict=True):
            self.counts.add(subset, int(documents), int(text_bytes))
        self.bad_lines += found.bad_lines
        if found.first_bad is not None and not self.bad:
            self.bad.append(found.first_bad)
        return True

    def close(self) -> None:
        self.bad_lines += len(self.reader.bad_lines)
        self.bad += self.reader.bad_lines[:1]

    def abandon(self) -> None:
        """Nothing is written that would have to go."""


def count(context: Context) -> Counted:
    """Count the documents of all shards.

    A range ends at damage, and only a reader of the whole shard finds what is sound after it: a damaged shard of
    several ranges is counted again as one.
    """
    with context.stage(STAGE, context.shards):
        by_range = zip(context.shards, shard_ranges(context, context.shards), strict=True)
        counters = [[_RangeCounter(context, shard, r) for r in ranges] for shard, ranges in by_range]
        run_jobs([c for own in counters for c in own], context.config.n_workers)
        for i, own in enumerate(counters):
            if len(own) > 1 and any(c.reader.damages for c in own):
                shard = own[0].shard
                counters[i] = [_RangeCounter(context, shard, ShardRange(0, 1, 0, shard.n_bytes))]
                run_jobs(counters[i], context.config.n_workers)
    return _together(counters)


def _together(counters: list[list[_RangeCounter]]) -> Counted:
    """What all ranges have, in the order of the shards."""
    counts, bad_lines = Counts(), 0
    first_bad, damage = [], []
    for own in counters:
        first, line = (math.inf, ""), 0
        for counter in own:
            for subset, (documents, text_bytes) in counter.counts.by_subset.items():
                counts.add(subset, documents, text_bytes)
            bad_lines += counter.bad_lines
            first = min([first, *((line + number, why) for number, why in counter.bad)])
            line += counter.reader.n_lines
            path = counter.shard.path
            damage += [f"{path}, byte {d.offset}, after line {d.line}: {d.reason}" for d in counter.reader.damages]
        first_bad += [f"{own[0].shard.path}, line {first[0]}: {first[1]}"] if first[1] else []
    return Counted(counts, bad_lines, first_bad, damage)
