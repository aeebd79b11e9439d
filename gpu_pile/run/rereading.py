"""Read chosen lines of a range again, in groups: from the spool, or else from the shard."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.lines import copy_spans
from gpu_pile.corpus.reader import ShardReader
from gpu_pile.corpus.rows import RowReader
from gpu_pile.corpus.shards import Shard
from gpu_pile.run.context import Context
from gpu_pile.run.reading import changed, open_shard, read_blocks
from gpu_pile.run.spool import SpooledLines
from gpu_pile.run.tables import MeasuredRange
from gpu_pile.text.simd import SLACK
from gpu_pile.types import Array


class Wanted(NamedTuple):
    """Lines of a range, in groups.

    start, length: int64[n], of each line in the decompressed stream, without its line feed; start ascending
    bounds:        int64[g + 1]: group i is lines bounds[i] .. bounds[i + 1]
    """

    start: Array
    length: Array
    bounds: Array

    @classmethod
    def of(cls, start: Array, length: Array, group_bytes: int) -> Wanted:
        """Group lines: each group but the last has at least this many bytes, and less without its last line."""
        ends = np.cumsum(length + 1)
        bounds = [0]
        while bounds[-1] < len(length):
            before = int(ends[bounds[-1] - 1]) if bounds[-1] else 0
            bounds.append(min(len(length), int(np.searchsorted(ends, before + group_bytes)) + 1))
        return cls(start, length, np.array(bounds, np.int64))


class Stretch(NamedTuple):
    """A part of a range that begins where a zstd frame begins.

    first, end: bytes of the file
    start:      position of `first` in the decompressed stream
    """

    first: int
    end: int
    start: int


class Group(NamedTuple):
    """Lines lo .. hi of a request.

    lines: any thread calls it once; uint8[n], the lines one after the other, each with its line feed, and SLACK more
        bytes that can be read
    """

    request: int
    lo: int
    hi: int
    lines: Callable[[], Array]


def read_again(
    context: Context, stage: str, measured: MeasuredRange, requests: Sequence[Wanted], stretch: Stretch | None = None
) -> Iterator[Group]:
    """Yield the groups of all requests; those of one request in their order.

    stretch: has all lines that are wanted, if not the whole range is read; it begins where a line begins.

    Raises:
        DataError: a line is not where it was measured, so the shard has changed.
    """
    whole, shown = measured.shard_range, 0
    stretch = stretch or Stretch(whole.first, whole.end, whole.start)
    spooled = SpooledLines.of(context, measured.shard, whole)
    if spooled is not None:
        yield from _from_spool(context, stage, requests, spooled)
    else:
        reader = (
            open_shard(context, measured.shard, shard_range=whole)
            if stretch.first == whole.first
            else open_shard(context, measured.shard, (stretch.first, stretch.start))
        )
        yield from read_shard_again(context, stage, measured.shard, requests, reader)
        shown = reader.compressed_bytes_read
    context.reporter.advance(stage, stretch.end - stretch.first - shown)


def _from_spool(context: Context, stage: str, requests: Sequence[Wanted], spooled: SpooledLines) -> Iterator[Group]:
    def reader(start: Array, length: Array) -> Callable[[], Array]:
        def read() -> Array:
            with context.reporter.span(stage, "read"):
                return spooled.read(start, length)

        return read

    for number, wanted in enumerate(requests):
        for lo, hi in itertools.pairwise(wanted.bounds.tolist()):
            yield Group(number, lo, hi, reader(wanted.start[lo:hi], wanted.length[lo:hi]))


def read_shard_again(
    context: Context, stage: str, shard: Shard, requests: Sequence[Wanted], reader: ShardReader | RowReader
) -> Iterator[Group]:
    """As read_again, from a reader of the shard or of the range that has the lines."""
    gathered = [_Gathered(shard, number, wanted) for number, wanted in enumerate(requests)]
    for block in read_blocks(context, stage, reader):
        for request in gathered:
            with context.reporter.span(stage, "copy"):
                full = request.add(block)
            yield from full
        block.release()
        if all(request.is_complete for request in gathered):
            break
    if not all(request.is_complete for request in gathered):
        raise changed(shard)


class _Gathered:
    """The groups of a request, put together from the blocks of a range."""

    def __init__(self, shard: Shard, number: int, wanted: Wanted) -> None:
        self._shard, self._number, self._wanted = shard, number, wanted
        self._line = self._group = self._filled = 0
        self._buffer = np.empty(0, np.uint8)

    @property
    def is_complete(self) -> bool:
        return self._line == len(self._wanted.start)

    def add(self, block: Block) -> list[Group]:
        """Take the lines that are in the next block; return the groups that are complete."""
        wanted, end, full = self._wanted, block.start + block.n_bytes, []
        stop = int(np.searchsorted(wanted.start, end))
        start, length = wanted.start[self._line : stop], wanted.length[self._line : stop]
        if len(start) and (start[0] < block.start or np.any(start + length > end)):
            raise changed(self._shard)
        while self._line < stop:
            lo, hi = wanted.bounds[self._group : self._group + 2].tolist()
            if self._line == lo:
                self._buffer = np.empty(int(wanted.length[lo:hi].sum()) + hi - lo + SLACK, np.uint8)
                self._filled = 0
            here = slice(self._line, min(stop, hi))
            starts = wanted.start[here] - block.start
            self._filled += copy_spans(block.data, starts, wanted.length[here], self._buffer[self._filled :])
            self._line = here.stop
            if here.stop == hi:
                full.append(Group(self._number, lo, hi, functools.partial(_itself, self._buffer[: self._filled])))
                self._group += 1
        return full


def _itself(lines: Array) -> Array:
    return lines
