"""Split a shard at its zstd frames or row groups into ranges that are read in parallel (docs/decisions/0011)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_pile.corpus import files, tables
from gpu_pile.corpus.seek_points import STEP, SeekPoint, first_step
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.zstd_frames import walk_frame


@dataclass(frozen=True)
class ShardRange:
    """A range of a shard that begins and ends where a zstd frame begins, or inside one; one task reads it.

    A range owns the lines that begin after its first line feed. Its last line may end in the next range: the task reads
    on to that range's first line feed. The first range owns the shard's first line, too. A range without a line feed
    owns no line; the task of the range before it reads through it.

    index, of:  number of the range, from 0, and the number of ranges of the shard
    first, end: bytes of the file
    start:      where the range begins in the decompressed stream; 0 while that is unknown
    stop:       where it ends there, if the shard was split at seek points; -1 if at frames. Then first and end say
                about where the range is in the file
    """

    index: int
    of: int
    first: int
    end: int
    start: int = 0
    stop: int = -1

    @property
    def n_bytes(self) -> int:
        return self.end - self.first

    def label(self, shard: Shard) -> str:
        """Return the name of the range for messages."""
        return shard.name if self.of == 1 else f"{shard.name}, range {self.index + 1} of {self.of}"


def split_at_frames(shard: Shard, range_bytes: int) -> list[ShardRange]:
    """Split a shard into ranges of at least range_bytes each, a function of the file and of range_bytes alone.

    Frames are found by their headers. Gzip, plain text, a shard of one frame, a shard whose frames cannot be walked,
    and a shard at a URL are one range: there is a header per 128 KiB of text, so walking over the headers would fetch
    the whole file.
    """
    starts, size = [0], shard.n_bytes
    if size >= 2 * range_bytes and isinstance(shard.path, Path):
        with files.read_errors(shard.path), files.opened(shard.path) as source:
            size, position = source.size, 0
            while position < size:
                if min(position - starts[-1], size - position) >= range_bytes:
                    starts.append(position)
                frame = walk_frame(source, position)
                if frame.problem:
                    starts = [0]
                    break
                position = frame.end
    return _ranges(starts, size)


def split_at_points(n_bytes: int, stream_bytes: int, points: Sequence[SeekPoint], range_bytes: int) -> list[ShardRange]:
    """Split a shard of n_bytes at its seek points into ranges of at least range_bytes each.

    A range begins where the first MiB does that can be read from its point alone (gpu_pile.corpus.seek_index).
    """
    chosen = [(0, 0)]
    for point in points:
        start = first_step(point.position) * STEP
        if min(point.offset - chosen[-1][0], n_bytes - point.offset) >= range_bytes and start < stream_bytes:
            chosen.append((point.offset, start))
    ends = [*chosen[1:], (n_bytes, stream_bytes)]
    return [
        ShardRange(i, len(chosen), first, end, start, stop)
        for i, ((first, start), (end, stop)) in enumerate(zip(chosen, ends, strict=True))
    ]


def _ranges(starts: list[int], size: int) -> list[ShardRange]:
    ends = [*starts[1:], size]
    return [ShardRange(i, len(starts), first, end) for i, (first, end) in enumerate(zip(starts, ends, strict=True))]


def split_at_row_groups(shard: Shard, range_bytes: int) -> list[ShardRange]:
    """Split a Parquet file into ranges of at least range_bytes each, where row groups begin.

    The footer says where that is. Arrow, a file whose footer is damaged, and a file at a URL are one range.
    """
    starts = [0]
    if shard.n_bytes >= 2 * range_bytes and isinstance(shard.path, Path) and shard.path.name.endswith(tables.PARQUET):
        with contextlib.suppress(*tables.ERRORS), tables.open_table(shard.path) as table:
            offsets = [part.offset for part in table.parts([], 1)]
            if offsets == sorted(offsets):
                for offset in offsets:
                    if min(offset - starts[-1], shard.n_bytes - offset) >= range_bytes:
                        starts.append(offset)
    return _ranges(starts, shard.n_bytes)
