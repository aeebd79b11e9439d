"""Read the shards of a run: their ranges, and their blocks with progress."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gpu_pile.corpus import files
from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.identity import file_identity
from gpu_pile.corpus.ranges import ShardRange, split_at_frames
from gpu_pile.corpus.reader import Limits, ShardReader
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import DataError
from gpu_pile.run.context import Context
from gpu_pile.run.threads import map_threads


def shard_ranges(context: Context, shards: Sequence[Shard]) -> list[list[ShardRange]]:
    """The ranges of each of these shards (see corpus.ranges), several shards at a time."""

    def split(shard: Shard) -> list[ShardRange]:
        seen = tuple(files.fingerprint(shard.path).values()) if isinstance(shard.path, Path) else ()
        return _ranges(shard, seen, context.config.input.range_bytes)

    return map_threads(split, shards, context.config.n_workers)


@functools.lru_cache(1 << 16)
def _ranges(shard: Shard, fingerprint: tuple[object, ...], range_bytes: int) -> list[ShardRange]:
    """The ranges of a shard, found once per content: plan, executor, and measure all ask for them."""
    return split_at_frames(shard, range_bytes)


def count_ranges(context: Context) -> int:
    """The number of ranges of all shards: how many workers can be busy at the same time."""
    return sum(map(len, shard_ranges(context, context.shards)))


def open_shard(
    context: Context,
    shard: Shard,
    start: tuple[int, int] = (0, 0),
    shard_range: ShardRange | None = None,
    *,
    identify: bool = False,
) -> ShardReader:
    """A reader of a shard, or of a range of it, with the limits that the configuration sets; see ShardReader."""
    settings = context.config.input
    limits = Limits(
        window_bytes_max=settings.window_bytes_max,
        line_bytes_max=settings.line_bytes_max,
        expansion_max=settings.expansion_max,
    )
    return ShardReader(
        shard,
        block_bytes=context.batch_bytes,
        limits=limits,
        start=start,
        shard_range=shard_range,
        identify=identify,
    )


def read_blocks(context: Context, stage: str, reader: ShardReader) -> Iterator[Block]:
    """The reader's blocks. Reading is timed as the stage's span "read" and shown as progress."""
    blocks, shown = iter(reader), 0
    while True:
        with context.reporter.span(stage, "read"):
            block = next(blocks, None)
        context.reporter.advance(stage, reader.compressed_bytes_read - shown)
        shown = reader.compressed_bytes_read
        if block is None:
            return
        yield block


def changed(shard: Shard) -> DataError:
    """Return the error for a shard that was changed between or during the reads of a run."""
    return DataError(f"{shard.path} changed while the run was going on; run the same command again to measure it again")


def check_unchanged(shard: Shard, fingerprint: dict[str, Any], identity: str) -> None:
    """Raise unless the file, as it is now, has the bytes that were measured; it may have been touched.

    Args:
        fingerprint, identity: of the file that was measured.
    """
    with files.read_errors(shard.path):
        now = files.fingerprint(shard.path)
        if (now != fingerprint or None in now.values()) and file_identity(shard.path) != identity:
            raise changed(shard)
