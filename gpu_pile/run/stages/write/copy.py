"""Read a shard, or a range of one, and write its lines to the output shards."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath, AtomicFile
from gpu_pile.corpus.rewrite import c4_edited, edited_lines
from gpu_pile.corpus.row_sinks import LinesAsRows
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.sinks import Sink, sink_of
from gpu_pile.run import spool
from gpu_pile.run.context import Context
from gpu_pile.run.cuts import Cuts
from gpu_pile.run.reading import check_unchanged
from gpu_pile.run.rereading import Group, Wanted, read_again
from gpu_pile.run.stages.by_shard import Finished, write_parquet
from gpu_pile.run.stages.write.parts import Part, parts_of
from gpu_pile.run.tables import MeasuredRange, measured_whole, table_rows
from gpu_pile.text.column import TextColumn
from gpu_pile.types import Array

COPY_BYTES = 4 * 2**20
"""Compressed bytes that are copied at a time."""


class Piece(NamedTuple):
    """What one call writes: any thread calls content().

    copied: content() is bytes of whole frames, and not what the output's sink has encoded
    """

    output: int
    copied: bool
    content: Callable[[], Any]


class Edited(NamedTuple):
    """Documents: int64[n], how many bytes of its text each loses; uint64[n], its doc_id."""

    n_bytes: Array
    documents: Array


class Writer(abc.ABC):
    """What writing a shard and writing a range have in common: reading, copying, compressing."""

    def __init__(self, context: Context, measured: MeasuredRange) -> None:
        self.context, self.measured, self.shard = context, measured, measured.shard
        self.sinks: list[Sink | LinesAsRows] = []

    @abc.abstractmethod
    def paths(self) -> Sequence[AnyPath]:
        """Where the kept lines go, and with write.removed the others."""

    def sink(self, path: AnyPath) -> Sink | LinesAsRows:
        """Return what writes a file; it is not open yet."""
        settings = self.context.config.write
        return sink_of(settings.format)(path, settings.compression)

    def open(self) -> Iterator[Piece]:
        for path in self.paths():
            self.sinks.append(self.sink(path))
            self.sinks[-1].open()
        self.cuts = Cuts.of(self.context, self.shard) if self.context.config.dedupe.cuts else None
        yield from self.pieces()

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces of the range."""
        directory, name, settings = self.context.directory, self.shard.name, self.context.config.write
        keep, edited_bytes, documents = self._rows(directory.decisions(name), "keep", "edited_bytes", "doc_id")
        start, length = self._rows(directory.measured(name), "start", "length")
        output = np.where(keep, 0, len(self.sinks) - 1 or -1)
        copied = settings.copy_frames and self.sinks[0].copies
        whole = np.where((edited_bytes == 0) & copied, output, -1)
        for part in parts_of(self.measured, directory.state("measure", name), start, length, whole):
            here = slice(part.lo, part.hi)
            if part.output >= 0:
                yield from self._frames(part)
            else:
                yield from self._lines(
                    part, start[here], length[here], output[here], Edited(edited_bytes[here], documents[here])
                )

    def _rows(self, path: AnyPath, *columns: str) -> list[Array]:
        table = table_rows(path, self.measured.first, self.measured.end, columns)
        return [table.column(c).to_numpy() for c in columns]

    def _frames(self, part: Part) -> Iterator[Piece]:
        """Yield the pieces of a stretch that is copied."""

        def read(first: int, end: int) -> bytes:
            with files.read_errors(self.shard.path), files.opened(self.shard.path) as source:
                return source.pread(end - first, first)

        first, end, _ = part.stretch
        for begin in range(first, end, COPY_BYTES):
            stop = min(end, begin + COPY_BYTES)
            yield Piece(part.output, True, functools.partial(read, begin, stop))
            self.context.reporter.advance("write", stop - begin)

    def _lines(self, part: Part, start: Array, length: Array, output: Array, edited: Edited) -> Iterator[Piece]:
        """Yield the pieces of lines that are read again."""
        group_bytes = self.context.config.write.frame_bytes or self.context.batch_bytes
        chosen = [output == number for number in range(len(self.sinks))]
        requests = [Wanted.of(start[rows], length[rows], group_bytes) for rows in chosen]
        for group in read_again(self.context, "write", self.measured, requests, part.stretch):
            here = slice(group.lo, group.hi)
            changes = Edited(*(values[chosen[group.request]][here] for values in edited))
            content = functools.partial(self._encoded, group, requests[group.request].length[here], changes)
            yield Piece(group.request, False, content)

    def _encoded(self, group: Group, length: Array, changes: Edited) -> Any:
        lines = self._edited(group.lines(), length, changes)
        with self.context.reporter.span("write", "compress"):
            return self.sinks[group.request].encode(lines)

    def _edited(self, lines: Array, length: Array, changes: Edited) -> Array:
        """Return lines of these lengths with another text where editing takes bytes away."""
        edited = np.flatnonzero(changes.n_bytes)
        if not len(edited):
            return lines
        with self.context.reporter.span("write", "edit"):
            ends = np.cumsum(length + 1)
            begins, stops = (ends - length - 1)[edited].tolist(), ends[edited].tolist()
            raw = [lines[a : b - 1].tobytes() for a, b in zip(begins, stops, strict=True)]
            path, removed = self.context.config.input.line_format.text_path, changes.n_bytes[edited]
            new = edited_lines(raw, path, removed, self._edit(changes.documents[edited].tolist()))
            between = [lines[a:b].tobytes() for a, b in zip([0, *stops], [*begins, len(lines)], strict=True)]
            joined = [b"".join((as_it_was, line, b"\n")) for as_it_was, line in zip(between, new, strict=False)]
            return np.frombuffer(b"".join((*joined, between[-1])), np.uint8)

    def _edit(self, documents: Sequence[int]) -> Callable[[TextColumn], TextColumn]:
        """Return what changes the texts of these documents."""
        return c4_edited if self.cuts is None else functools.partial(self.cuts.left, doc_ids=documents)

    def process(self, piece: Piece) -> tuple[Piece, Any]:
        return piece, piece.content()

    def consume(self, result: tuple[Piece, Any]) -> bool:
        piece, content = result
        sink = self.sinks[piece.output]
        with self.context.reporter.span("write", "compress"):
            (sink.copy if piece.copied else sink.write)(content)
        return True

    def abandon(self) -> None:
        for sink in self.sinks:
            sink.discard()


class ShardWriter(Writer):
    """The job of a shard of one range (see by_shard.ShardJob); key: what the written shard depends on."""

    def __init__(self, context: Context, shard: Shard, key: str) -> None:
        super().__init__(context, measured_whole(context, shard))
        self.key = key

    def paths(self) -> Sequence[AnyPath]:
        return line_outputs(self.context, self.shard)

    def finish(self) -> Finished:
        state = self.context.directory.state("measure", self.shard.name)
        check_unchanged(self.shard, state["file"], state["identity"])
        made = [sink.finish() for sink in self.sinks]
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
        files.commit_together([sink.finish() for sink in self.sinks])
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
