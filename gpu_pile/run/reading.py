"""Read the shards of a run: their ranges, and their blocks with progress."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.corpus import files
from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.fields import fields_of_lines, unpacked
from gpu_pile.corpus.identity import file_identity
from gpu_pile.corpus.ranges import ShardRange, split_at_frames, split_at_row_groups
from gpu_pile.corpus.reader import Limits, ShardReader
from gpu_pile.corpus.records import explain as explain_row
from gpu_pile.corpus.records import extras_of_records, parse_records
from gpu_pile.corpus.rows import RowReader
from gpu_pile.corpus.seek_index import SeekIndex
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import DataError
from gpu_pile.ops.parse_lines import Parsed
from gpu_pile.ops.parse_lines import explain as explain_line
from gpu_pile.run.context import Context
from gpu_pile.run.own_columns import ID, STRING_MAX
from gpu_pile.run.threads import map_threads
from gpu_pile.types import Array


def shard_ranges(context: Context, shards: Sequence[Shard]) -> list[list[ShardRange]]:
    """The ranges of each of these shards (see corpus.ranges), several shards at a time."""

    def split(shard: Shard) -> list[ShardRange]:
        seen = tuple(files.fingerprint(shard.path).values()) if isinstance(shard.path, Path) else ()
        return _ranges(shard, seen, context.config.input.range_bytes)

    return map_threads(split, shards, context.config.n_workers)


@functools.lru_cache(1 << 16)
def _ranges(shard: Shard, fingerprint: tuple[object, ...], range_bytes: int) -> list[ShardRange]:
    """The ranges of a shard, found once per content: plan, executor, and measure all ask for them."""
    return split_at_row_groups(shard, range_bytes) if shard.is_table else split_at_frames(shard, range_bytes)


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
    search: bool = False,
) -> ShardReader | RowReader:
    """A reader of a shard, or of a range of it, with the limits that the configuration sets; see ShardReader."""
    settings = context.config.input
    limits = Limits(
        window_bytes_max=settings.window_bytes_max,
        line_bytes_max=settings.line_bytes_max,
        expansion_max=settings.expansion_max,
    )
    where: dict[str, Any] = {"start": start, "shard_range": shard_range, "identify": identify}
    if shard.is_table:
        return RowReader(shard, settings.line_format, block_bytes=context.batch_bytes, limits=limits, **where)
    index = None
    if start != (0, 0) if shard_range is None else shard_range.stop >= 0:
        index = seek_index(context, shard)
        if index is None and shard_range is not None:
            index = SeekIndex.missing(shard.n_bytes)
    return ShardReader(shard, block_bytes=context.batch_bytes, limits=limits, index=index, search=search, **where)


def seek_index(context: Context, shard: Shard) -> SeekIndex | None:
    """Return the seek points that measuring the shard has found; None if there are none."""
    path = context.directory.seek_points(shard.name)
    index = SeekIndex.read(path) if path.is_file() else None
    return index if index is not None and index.n_bytes == shard.n_bytes else None


def read_blocks(context: Context, stage: str, reader: ShardReader | RowReader) -> Iterator[Block]:
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


def parse(context: Context, shard: Shard, data: Array, *, skip_bom: bool, **buffers: Any) -> Parsed:
    """The documents of whole lines or records of a shard, in the memory of the run's device; see LineFormat.parse."""
    if shard.is_table:
        parsed = parse_records(data, buffers.get("out"))
        return replace(parsed, text=context.device.text(parsed.text))
    return context.config.input.line_format.parse(context.device.upload(data), skip_bom=skip_bom, **buffers)


def explain(context: Context, shard: Shard, reason: int, position: int) -> str:
    """A sentence for bad_lines.jsonl; reason and position as parse() gives them."""
    text_field = context.config.input.text_field
    return explain_row(reason, text_field) if shard.is_table else explain_line(reason, position, text_field)


def extras_of(context: Context, shard: Shard, data: Array, lines: tuple[Array, Array]) -> dict[str, pa.Array]:
    """The other fields that the configuration names, of the documents of whole lines or records in host memory.

    lines: (start, length) of the documents' lines in data.
    """
    settings = context.config.input
    fields = settings.line_format.extras
    found = unpacked(extras_of_records(data), fields) if shard.is_table else fields_of_lines(data, *lines, fields)
    columns = dict(zip(settings.extra_columns, found, strict=True))
    if settings.id_field is not None:
        ids = columns[ID]
        columns[ID] = pc.if_else(pc.equal(ids, ""), None, ids)
    for name in settings.fields:
        longest = 0 if name in settings.own_signals else pc.max(pc.binary_length(columns[name])).as_py() or 0
        if longest > STRING_MAX:
            columns[name] = pc.utf8_slice_codeunits(columns[name], 0, STRING_MAX)
    return columns
