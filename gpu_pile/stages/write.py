"""write: the kept lines of each shard, byte for byte as they came, into kept/<shard>.jsonl.zst, one zstd frame each.

Documents that decisions mark as edited leave with another text, and everything else in their lines as it came. With
write.removed, the lines of all other documents go to removed/<shard>.jsonl.zst byte for byte, and their rows of the
decisions to removed/<shard>.parquet.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gpu_pile import files, op
from gpu_pile.edit import edited_lines
from gpu_pile.errors import DataError
from gpu_pile.files import AnyPath
from gpu_pile.shards import Block, Shard, ShardWriter, copy_spans
from gpu_pile.stages.context import Context, Work

VERSION = 2

Array = np.ndarray[Any, Any]


def write_key(context: Context, shard: Shard) -> str:
    measured = context.run.state("measure", shard.name)
    return files.key_of(
        {
            "version": VERSION,
            "identity": measured["identity"],
            "definition": measured["definition"],
            "kept": context.run.state("decide")["shards"][shard.name]["kept_lines"],
            "write": context.config.write.model_dump(),
            # the reasons of removed documents can change while the kept ones stay
            "decided": context.run.state("decide")["key"] if context.config.write.removed else None,
            "edit": [context.config.edit.model_dump(), op.load_all()["c4_lines"].version],
        }
    )


def outputs(context: Context, shard: Shard) -> list[AnyPath]:
    run, name = context.run, shard.name
    removed = [run.removed(name), run.removed_reasons(name)] if context.config.write.removed else []
    return [run.kept(name), *removed]


def write(context: Context) -> None:
    """Write every shard whose kept lines or settings have changed."""
    run = context.run
    todo = [
        s
        for s in context.shards
        if run.state("write", s.name).get("key") != write_key(context, s)
        or not all(p.is_file() for p in outputs(context, s))
    ]
    if not context.config.write.removed and (run.path / "removed").is_dir():
        files.remove_tree(run.path / "removed")  # of a run with other settings: it would no longer be kept in step
    with context.stage("write", todo) as entry:
        context.do("write", [_work(context, s) for s in todo])
        entry["text_bytes"] = sum(run.state("measure", s.name)["text_bytes"] for s in todo)


def _work(context: Context, shard: Shard) -> Work:
    state = context.run.state_path("write", shard.name)
    return Work(_Shard, (shard,), shard.n_bytes, shard.name, (*outputs(context, shard), state), shard.n_bytes)


class _Shard:
    """The job of one shard (see parallel.Job)."""

    def __init__(self, context: Context, shard: Shard) -> None:
        self.context, self.shard = context, shard
        self.cost = shard.n_bytes

    def open(self) -> Iterator[Block]:
        context, name = self.context, self.shard.name
        context.run.forget("write", name)
        decided = pq.read_table(files.table(context.run.decisions(name)), columns=["keep", "edited_bytes"])
        keep, edited = (decided.column(column).to_numpy() for column in ("keep", "edited_bytes"))
        spans = pq.read_table(files.table(context.run.measured(name)), columns=["start", "length"])
        start, length = spans.column("start").to_numpy(), spans.column("length").to_numpy()
        self.targets = [_Target(context, context.run.kept(name), start[keep], length[keep], edited[keep])]
        if context.config.write.removed:
            self.targets.append(_Target(context, context.run.removed(name), start[~keep], length[~keep], edited[~keep]))
        for target in self.targets:
            target.writer.__enter__()
        self.reader = context.reader(self.shard)
        yield from context.blocks("write", self.reader)

    def process(self, block: Block) -> list[Array]:
        lines = [target.lines_of(block) for target in self.targets]
        block.release()
        return lines

    def consume(self, lines: list[Array]) -> bool:
        with self.context.stopwatch.part("write", "compress"):
            for target, mine in zip(self.targets, lines, strict=True):
                target.writer.write(mine)
        return True

    def close(self) -> None:
        run, name = self.context.run, self.shard.name
        measured = run.state("measure", name)
        if self.reader.identity != measured["identity"]:
            self.abandon()
            raise DataError(
                f"{self.shard.path} changed while the run was going on; run the same command again to measure it anew"
            )
        for target in self.targets:
            target.writer.__exit__(None, None, None)
        if self.context.config.write.removed:
            decided = pq.read_table(files.table(run.decisions(name)), filters=[("keep", "==", False)])
            with files.atomic(run.removed_reasons(name)) as partial:
                pq.write_table(decided.drop_columns(["keep"]), partial, compression="zstd")
        run.set_state(
            {"key": write_key(self.context, self.shard), "bytes": run.kept(name).stat().st_size}, "write", name
        )

    def abandon(self) -> None:
        error = DataError("abandoned")
        for target in self.targets:
            target.writer.__exit__(DataError, error, None)


class _Target:
    """One output shard, and which lines it gets.

    start, length: int64[n], their places in the decompressed shard, ascending
    edited_bytes:  int64[n], what editing takes away from the text of each
    """

    def __init__(self, context: Context, path: AnyPath, start: Array, length: Array, edited_bytes: Array) -> None:
        self.context = context
        settings = context.config.write
        self.start, self.length, self.edited_bytes = start, length, edited_bytes
        self.writer = ShardWriter(path, level=settings.level, threads=settings.threads, checksum=settings.checksum)

    def lines_of(self, block: Block) -> Array:
        """The lines from this block, one behind the other."""
        part = self.context.stopwatch.part
        lo, hi = np.searchsorted(self.start, [block.start, block.start + block.n_bytes])
        edited = lo + np.flatnonzero(self.edited_bytes[lo:hi])
        runs = []
        for first, last in zip([lo, *(edited + 1)], [*edited, hi], strict=True):  # between edited lines
            with part("write", "copy"):
                runs.append(self._copied(block, first, last))
        if not len(edited):
            return runs[0]
        with part("write", "edit"):
            starts = (self.start[edited] - block.start).tolist()
            lines = [block.data[s : s + n].tobytes() for s, n in zip(starts, self.length[edited].tolist(), strict=True)]
            path = self.context.config.input.text_field.split(".")
            changed = edited_lines(lines, path, self.edited_bytes[edited])
            both = [b"".join((run.tobytes(), line, b"\n")) for run, line in zip(runs, changed, strict=False)]
            return np.frombuffer(b"".join((*both, runs[-1].tobytes())), np.uint8)

    def _copied(self, block: Block, first: int, last: int) -> Array:
        start, length = self.start[first:last], self.length[first:last]
        packed = np.empty(int(length.sum()) + (last - first) + 64, np.uint8)
        n = copy_spans(block.data, start - block.start, length, packed)
        return packed[:n]
