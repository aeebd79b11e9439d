"""Read a shard, or a range of one, and write its lines to the output shards."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath, AtomicFile
from gpu_pile.corpus.rewrite import edited_lines
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.sinks import sink_of
from gpu_pile.run import spool
from gpu_pile.run.context import Context
from gpu_pile.run.reading import check_unchanged
from gpu_pile.run.rereading import Group, Wanted, read_again
from gpu_pile.run.stages.by_shard import Finished, write_parquet
from gpu_pile.run.tables import MeasuredRange, measured_ranges, table_rows
from gpu_pile.types import Array


class OutputShard:
    """A sink, and the lines that go into it.

    edited_bytes: int64[n], the bytes that editing takes from the text of each line
    """

    def __init__(self, context: Context, path: AnyPath, wanted: Wanted, edited_bytes: Array) -> None:
        self.context, self.wanted, self.edited_bytes = context, wanted, edited_bytes
        settings = context.config.write
        self.sink = sink_of(settings.format)(path, settings.compression)

    def lines_of(self, group: Group) -> Array:
        """Return the lines of a group, one after the other, as they are written."""
        lines = group.lines()
        edited_bytes = self.edited_bytes[group.lo : group.hi]
        edited = np.flatnonzero(edited_bytes)
        if not len(edited):
            return lines
        with self.context.reporter.span("write", "edit"):
            length = self.wanted.length[group.lo : group.hi]
            ends = np.cumsum(length + 1)
            begins, stops = (ends - length - 1)[edited].tolist(), ends[edited].tolist()
            raw = [lines[a : b - 1].tobytes() for a, b in zip(begins, stops, strict=True)]
            new = edited_lines(raw, self.context.config.input.line_format.text_path, edited_bytes[edited])
            between = [lines[a:b].tobytes() for a, b in zip([0, *stops], [*begins, len(lines)], strict=True)]
            joined = [b"".join((as_it_was, line, b"\n")) for as_it_was, line in zip(between, new, strict=False)]
            return np.frombuffer(b"".join((*joined, between[-1])), np.uint8)


class Writer(abc.ABC):
    """What writing a shard and writing a range have in common: reading, copying, compressing."""

    def __init__(self, context: Context, measured: MeasuredRange) -> None:
        self.context, self.measured, self.shard = context, measured, measured.shard
        self.outputs: list[OutputShard] = []

    @abc.abstractmethod
    def paths(self) -> Sequence[AnyPath]:
        """Where the kept lines go, and with write.removed the others."""

    def open(self) -> Iterator[Group]:
        directory, name = self.context.directory, self.shard.name
        keep, edited_bytes = self._rows(directory.decisions(name), "keep", "edited_bytes")
        start, length = self._rows(directory.measured(name), "start", "length")
        for path, chosen in zip(self.paths(), (keep, ~keep), strict=False):
            wanted = Wanted.of(start[chosen], length[chosen], self.context.batch_bytes)
            self.outputs.append(OutputShard(self.context, path, wanted, edited_bytes[chosen]))
            self.outputs[-1].sink.open()
        yield from read_again(self.context, "write", self.measured, [output.wanted for output in self.outputs])

    def _rows(self, path: AnyPath, *columns: str) -> list[Array]:
        table = table_rows(path, self.measured.first, self.measured.end, columns)
        return [table.column(c).to_numpy() for c in columns]

    def process(self, group: Group) -> tuple[int, Array]:
        return group.request, self.outputs[group.request].lines_of(group)

    def consume(self, result: tuple[int, Array]) -> bool:
        request, lines = result
        with self.context.reporter.span("write", "compress"):
            self.outputs[request].sink.write(lines)
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
        state = self.context.directory.state("measure", self.shard.name)
        check_unchanged(self.shard, state["file"], state["identity"])
        made = [output.sink.finish() for output in self.outputs]
        spool.release(self.context, self.measured)
        return finished_shard(self.context, self.shard, self.key, made)


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
        files.write_json(range_file(self.context, self.measured, self.key, "json"), {})
        spool.release(self.context, self.measured)


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
