"""write: the kept lines of each shard, byte for byte as they came, into kept/<shard>.jsonl.zst.

A shard is written as one zstd frame per range (corpus.ranges): several ranges are compressed one by one, into
scratch/write/, and their frames are then concatenated.

Documents that decisions mark as edited leave with another text, and everything else in their lines as it came. With
write.removed, the lines of all other documents go to removed/<shard>.jsonl.zst byte for byte, and their rows of the
decisions to removed/<shard>.parquet.
"""

from __future__ import annotations

import abc
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.identity import identity_of
from gpu_pile.corpus.lines import packed_lines
from gpu_pile.corpus.rewrite import edited_lines
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.sinks import Compression, ZstdFrame
from gpu_pile.errors import DataError
from gpu_pile.ops.c4_lines import c4_lines
from gpu_pile.run.context import Context
from gpu_pile.run.reading import open_shard, read_blocks
from gpu_pile.run.tables import MeasuredRange, measured_ranges, table_rows
from gpu_pile.run.tasks import Task
from gpu_pile.types import Array

VERSION = 3


def settings_key(context: Context) -> str:
    """What all written shards depend on."""
    c = context.config
    return files.key_of(
        {
            "version": VERSION,
            "write": c.write.model_dump(),
            # the reasons of removed documents can change while the kept ones stay
            "decided": context.directory.state("decide")["key"] if c.write.removed else None,
            "edit": [c.edit.model_dump(), c4_lines.version] if c.edit.c4_lines else None,
        }
    )


def write_key(context: Context, shard: Shard) -> str:
    """What one written shard depends on."""
    measured = context.directory.state("measure", shard.name)
    kept = context.directory.state("decide")["shards"][shard.name]["kept_lines"]
    return files.key_of([settings_key(context), measured["identity"], measured["definition"], kept])


def outputs(context: Context, shard: Shard) -> list[AnyPath]:
    run, name = context.directory, shard.name
    removed = [run.removed(name), run.removed_reasons(name)] if context.config.write.removed else []
    return [run.kept(name), *removed]


def write(context: Context) -> None:
    """Write every shard whose kept lines or settings have changed."""
    run = context.directory
    todo = [
        s
        for s in context.shards
        if run.state("write", s.name).get("key") != write_key(context, s)
        or not all(p.is_file() for p in outputs(context, s))
    ]
    if not context.config.write.removed and (run.path / "removed").is_dir():
        files.remove_tree(run.path / "removed")  # of a run with other settings: it would no longer be kept in step
    with context.stage("write", todo) as entry:
        first, then = [], []
        for shard in todo:
            ranges = measured_ranges(context, shard)
            made = (*outputs(context, shard), run.state_path("write", shard.name))
            if len(ranges) == 1:
                first.append(Task(_Shard, (ranges[0],), shard.n_bytes, shard.name, made, shard.n_bytes))
                continue
            key = write_key(context, shard)
            then.append(Task(_Join, (shard, key), shard.n_bytes, shard.name, made))
            for p in ranges:
                done = _range_file(context, p, key, "json")
                if done.is_file():  # by a run that was stopped
                    context.reporter.advance("write", p.shard_range.n_bytes)
                    continue
                first.append(Task(_Range, (p, key), p.shard_range.n_bytes, p.label, (done,), p.shard_range.n_bytes))
        context.do("write", first)
        context.do("write", then)
        entry["text_bytes"] = sum(run.state("measure", s.name)["text_bytes"] for s in todo)
    run.clear_scratch("write")


def _range_file(context: Context, measured: MeasuredRange, key: str, what: str) -> Path:
    """A file of a range that waits for the others; its name says what it depends on."""
    return context.directory.scratch / "write" / measured.shard.name / key / f"{measured.shard_range.index:06d}.{what}"


class _Reading(abc.ABC):
    """What the jobs of a whole shard and of a range share: reading, copying, compressing (see threads.Job)."""

    def __init__(self, context: Context, mine: MeasuredRange) -> None:
        self.context, self.mine, self.shard = context, mine, mine.shard
        self.cost = mine.shard_range.n_bytes
        self.targets: list[_Target] = []

    @abc.abstractmethod
    def paths(self) -> Sequence[AnyPath]:
        """Where kept lines go, and with write.removed the others."""

    def open(self) -> Iterator[Block]:
        context, name, mine = self.context, self.shard.name, self.mine

        def rows(path: AnyPath, *columns: str) -> list[Array]:
            table = table_rows(path, mine.first, mine.end, columns)
            return [table.column(c).to_numpy() for c in columns]

        keep, edited = rows(context.directory.decisions(name), "keep", "edited_bytes")
        start, length = rows(context.directory.measured(name), "start", "length")
        for path, chosen in zip(self.paths(), (keep, ~keep), strict=False):
            self.targets.append(_Target(context, path, start[chosen], length[chosen], edited[chosen]))
        for target in self.targets:
            target.writer.open()
        self.reader = open_shard(context, self.shard, shard_range=mine.shard_range)
        yield from read_blocks(context, "write", self.reader)

    def process(self, block: Block) -> list[Array]:
        lines = [target.lines_of(block) for target in self.targets]
        block.release()
        return lines

    def consume(self, lines: list[Array]) -> bool:
        with self.context.reporter.span("write", "compress"):
            for target, mine in zip(self.targets, lines, strict=True):
                target.writer.write(mine)
        return True

    def abandon(self) -> None:
        for target in self.targets:
            target.writer.discard()


class _Shard(_Reading):
    """The job of a shard of one range."""

    def paths(self) -> Sequence[AnyPath]:
        return outputs(self.context, self.shard)[:2]

    def open(self) -> Iterator[Block]:
        self.context.directory.forget("write", self.shard.name)
        yield from super().open()

    def close(self) -> None:
        _check_identity(self.context, self.shard, self.reader.identity)
        for target in self.targets:
            target.writer.commit()
        _finish(self.context, self.shard)


class _Range(_Reading):
    """The job of one of several ranges."""

    def __init__(self, context: Context, mine: MeasuredRange, key: str) -> None:
        super().__init__(context, mine)
        self.key = key

    def paths(self) -> list[Path]:
        return [_range_file(self.context, self.mine, self.key, what) for what in _frames(self.context)]

    def close(self) -> None:
        for target in self.targets:
            target.writer.commit()
        digests = [d.hex() for d in self.reader.digests]
        files.write_json(_range_file(self.context, self.mine, self.key, "json"), {"digests": digests})


class _Join:
    """The job of a shard whose ranges are compressed: puts their frames one behind the other (see parallel.Job)."""

    def __init__(self, context: Context, shard: Shard, key: str) -> None:
        self.context, self.shard, self.key, self.cost = context, shard, key, shard.n_bytes
        self.ranges = measured_ranges(context, shard)

    def open(self) -> Iterator[None]:
        found = [files.read_json(_range_file(self.context, p, self.key, "json")) or {} for p in self.ranges]
        digests = [bytes.fromhex(d) for f in found for d in f.get("digests", ())]
        _check_identity(self.context, self.shard, identity_of(digests))
        self.context.directory.forget("write", self.shard.name)
        with self.context.reporter.span("write", "join"):
            for path, what in zip(outputs(self.context, self.shard), _frames(self.context), strict=False):
                with files.atomic(path) as partial, partial.open("wb") as whole:
                    for p in self.ranges:
                        with _range_file(self.context, p, self.key, what).open("rb") as frame:
                            shutil.copyfileobj(frame, whole, 1 << 20)
        yield from ()

    def process(self, block: None) -> None:
        pass

    def consume(self, result: None) -> bool:
        return True

    def close(self) -> None:
        _finish(self.context, self.shard)
        shutil.rmtree(self.context.directory.scratch / "write" / self.shard.name, ignore_errors=True)

    def abandon(self) -> None:
        pass


def _frames(context: Context) -> Sequence[str]:
    return ("kept", "removed") if context.config.write.removed else ("kept",)


def _check_identity(context: Context, shard: Shard, identity: str) -> None:
    if identity != context.directory.state("measure", shard.name)["identity"]:
        raise DataError(
            f"{shard.path} changed while the run was going on; run the same command again to measure it anew"
        )


def _finish(context: Context, shard: Shard) -> None:
    """The shards are there: what goes with them."""
    run, name = context.directory, shard.name
    if context.config.write.removed:
        decided = pq.read_table(files.table(run.decisions(name)), filters=[("keep", "==", False)])
        with files.atomic(run.removed_reasons(name)) as partial:
            pq.write_table(decided.drop_columns(["keep"]), partial, compression="zstd")
    run.set_state({"key": write_key(context, shard), "bytes": run.kept(name).stat().st_size}, "write", name)


class _Target:
    """One output shard, and which lines it gets.

    start, length: int64[n], their places in the decompressed shard, ascending
    edited_bytes:  int64[n], what editing takes away from the text of each
    """

    def __init__(self, context: Context, path: AnyPath, start: Array, length: Array, edited_bytes: Array) -> None:
        self.context = context
        settings = context.config.write
        self.start, self.length, self.edited_bytes = start, length, edited_bytes
        self.writer = ZstdFrame(path, Compression(settings.level, settings.threads, settings.checksum))

    def lines_of(self, block: Block) -> Array:
        """The lines from this block, one behind the other."""
        span = self.context.reporter.span
        lo, hi = np.searchsorted(self.start, [block.start, block.start + block.n_bytes])
        edited = lo + np.flatnonzero(self.edited_bytes[lo:hi])
        runs = []
        for first, last in zip([lo, *(edited + 1)], [*edited, hi], strict=True):  # between edited lines
            with span("write", "copy"):
                runs.append(self._copied(block, first, last))
        if not len(edited):
            return runs[0]
        with span("write", "edit"):
            starts = (self.start[edited] - block.start).tolist()
            lines = [block.data[s : s + n].tobytes() for s, n in zip(starts, self.length[edited].tolist(), strict=True)]
            path = self.context.config.input.text_field.split(".")
            changed = edited_lines(lines, path, self.edited_bytes[edited])
            both = [b"".join((run.tobytes(), line, b"\n")) for run, line in zip(runs, changed, strict=False)]
            return np.frombuffer(b"".join((*both, runs[-1].tobytes())), np.uint8)

    def _copied(self, block: Block, first: int, last: int) -> Array:
        start, length = self.start[first:last], self.length[first:last]
        return packed_lines(block.data, start - block.start, length)
