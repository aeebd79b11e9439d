"""Read a shard, or a range of one, and write its lines to the output shards."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.files import AnyPath, AtomicFile
from gpu_pile.corpus.lines import packed_lines
from gpu_pile.corpus.rewrite import edited_lines
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.sinks import sink_of
from gpu_pile.run.context import Context
from gpu_pile.run.reading import open_shard, read_blocks
from gpu_pile.run.stages.by_shard import Finished, changed, check_unchanged, write_parquet
from gpu_pile.run.tables import MeasuredRange, measured_ranges, table_rows
from gpu_pile.types import Array


class Lines(NamedTuple):
    """Lines of a shard: start and length in the decompressed stream, and the bytes that editing takes from each text.

    int64[n] each, start ascending.
    """

    start: Array
    length: Array
    edited_bytes: Array


class OutputShard:
    """A sink, and the lines that go into it."""

    def __init__(self, context: Context, shard: Shard, path: AnyPath, lines: Lines) -> None:
        self.context, self.shard, self.lines = context, shard, lines
        settings = context.config.write
        self.sink = sink_of(settings.format)(path, settings.compression)

    def lines_of(self, block: Block) -> Array:
        """Return the lines from this block, one after the other.

        Raises:
            DataError: they are not in the block; the shard has changed since it was measured.
        """
        end = block.start + block.n_bytes
        first, last = np.searchsorted(self.lines.start, [block.start, end])
        lines = Lines(*(values[first:last] for values in self.lines))
        if np.any(lines.start + lines.length > end):
            raise changed(self.shard)
        edited = np.flatnonzero(lines.edited_bytes)
        if not len(edited):
            return self._copy(block, lines)
        bounds = zip([0, *(edited + 1)], [*edited, len(lines.start)], strict=True)
        unchanged = [self._copy(block, Lines(*(values[a:b] for values in lines))) for a, b in bounds]
        with self.context.reporter.span("write", "edit"):
            starts, lengths = (lines.start[edited] - block.start).tolist(), lines.length[edited].tolist()
            raw = [block.data[s : s + n].tobytes() for s, n in zip(starts, lengths, strict=True)]
            text_path = self.context.config.input.line_format.text_path
            new = edited_lines(raw, text_path, lines.edited_bytes[edited])
            joined = [b"".join((copied.tobytes(), line, b"\n")) for copied, line in zip(unchanged, new, strict=False)]
            return np.frombuffer(b"".join((*joined, unchanged[-1].tobytes())), np.uint8)

    def _copy(self, block: Block, lines: Lines) -> Array:
        with self.context.reporter.span("write", "copy"):
            return packed_lines(block.data, lines.start - block.start, lines.length)


class Writer(abc.ABC):
    """What writing a shard and writing a range have in common: reading, copying, compressing."""

    def __init__(self, context: Context, measured: MeasuredRange) -> None:
        self.context, self.measured, self.shard = context, measured, measured.shard
        self.outputs: list[OutputShard] = []

    @abc.abstractmethod
    def paths(self) -> Sequence[AnyPath]:
        """Where the kept lines go, and with write.removed the others."""

    def open(self) -> Iterator[Block]:
        directory, name = self.context.directory, self.shard.name
        keep, edited_bytes = self._rows(directory.decisions(name), "keep", "edited_bytes")
        start, length = self._rows(directory.measured(name), "start", "length")
        lines = Lines(start, length, edited_bytes)
        for path, chosen in zip(self.paths(), (keep, ~keep), strict=False):
            output = OutputShard(self.context, self.shard, path, Lines(*(values[chosen] for values in lines)))
            self.outputs.append(output)
            output.sink.open()
        self.reader = open_shard(self.context, self.shard, shard_range=self.measured.shard_range)
        yield from read_blocks(self.context, "write", self.reader)

    def _rows(self, path: AnyPath, *columns: str) -> list[Array]:
        table = table_rows(path, self.measured.first, self.measured.end, columns)
        return [table.column(c).to_numpy() for c in columns]

    def process(self, block: Block) -> list[Array]:
        lines = [output.lines_of(block) for output in self.outputs]
        block.release()
        return lines

    def consume(self, lines: list[Array]) -> bool:
        with self.context.reporter.span("write", "compress"):
            for output, chosen in zip(self.outputs, lines, strict=True):
                output.sink.write(chosen)
        return True

    def abandon(self) -> None:
        for output in self.outputs:
            output.sink.discard()


class ShardWriter(Writer):
    """The job of a shard of one range (see by_shard.ShardJob); key: what the written shard depends on."""

    def __init__(self, context: Context, shard: Shard, key: str) -> None:
        super().__init__(context, measured_ranges(context, shard)[0])
        self.key = key

    def paths(self) -> Sequence[AnyPath]:
        return line_outputs(self.context, self.shard)

    def finish(self) -> Finished:
        check_unchanged(self.shard, self.reader.identity, self.context.directory.state("measure", self.shard.name))
        return finished_shard(self.context, self.shard, self.key, [output.sink.finish() for output in self.outputs])


class RangeWriter(Writer):
    """The job of one of several ranges (see run.threads.Job)."""

    def __init__(self, context: Context, measured: MeasuredRange, key: str) -> None:
        super().__init__(context, measured)
        self.cost = measured.shard_range.n_bytes
        self.key = key

    def paths(self) -> list[Path]:
        return [range_file(self.context, self.measured, self.key, what) for what in kinds_of_lines(self.context)]

    def close(self) -> None:
        files.commit_together([output.sink.finish() for output in self.outputs])
        digests = [d.hex() for d in self.reader.digests]
        files.write_json(range_file(self.context, self.measured, self.key, "json"), {"digests": digests})


def kinds_of_lines(context: Context) -> Sequence[str]:
    return ("kept", "removed") if context.config.write.removed else ("kept",)


def line_outputs(context: Context, shard: Shard) -> list[AnyPath]:
    """Return the files of lines of a shard, one per kind."""
    directory, name = context.directory, shard.name
    return [directory.kept(name), directory.removed(name)][: len(kinds_of_lines(context))]


def range_file(context: Context, measured: MeasuredRange, key: str, what: str) -> Path:
    """Return the path of a file of a range that waits for the other ranges; its name says what it depends on."""
    return context.directory.scratch / "write" / measured.shard.name / key / f"{measured.shard_range.index:06d}.{what}"


def finished_shard(context: Context, shard: Shard, key: str, lines: list[AtomicFile]) -> Finished:
    """Return what is published of a shard whose files of lines are complete."""
    directory, made = context.directory, list(lines)
    try:
        state: dict[str, Any] = {"key": key, "bytes": lines[0].partial.stat().st_size}
        if context.config.write.removed:
            decided = pq.read_table(files.table(directory.decisions(shard.name)), filters=[("keep", "==", False)])
            made.append(write_parquet(directory.removed_reasons(shard.name), decided.drop_columns(["keep"])))
    except BaseException:
        for file in made:
            file.discard()
        raise
    return Finished(shard, made, state)
