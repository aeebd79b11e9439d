"""write: the kept lines of each shard, byte for byte as they came, into kept/<shard>.jsonl.zst, one zstd frame each.

With write.removed, the lines of all other documents go to removed/<shard>.jsonl.zst in the same way, and their rows of
the decisions to removed/<shard>.parquet.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gpu_pile import files
from gpu_pile.errors import DataError
from gpu_pile.parallel import run_jobs
from gpu_pile.shards import Block, Shard, ShardWriter, copy_spans
from gpu_pile.stages.context import Context

VERSION = 1

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
        }
    )


def outputs(context: Context, shard: Shard) -> list[Path]:
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
        shutil.rmtree(run.path / "removed")  # of a run with other settings: it would no longer be kept in step
    with context.stage("write", todo) as entry:
        run_jobs([_Shard(context, s) for s in todo], context.config.n_workers)
        entry["text_bytes"] = sum(run.state("measure", s.name)["text_bytes"] for s in todo)


class _Shard:
    """The job of one shard (see parallel.Job)."""

    def __init__(self, context: Context, shard: Shard) -> None:
        self.context, self.shard = context, shard
        self.cost = shard.n_bytes

    def open(self) -> Iterator[Block]:
        context, name = self.context, self.shard.name
        context.run.forget("write", name)
        decided = pq.read_table(context.run.decisions(name), columns=["keep"])
        keep = decided.column("keep").to_numpy()
        spans = pq.read_table(context.run.measured(name), columns=["start", "length"])
        start, length = spans.column("start").to_numpy(), spans.column("length").to_numpy()
        self.targets = [_Target(context, context.run.kept(name), start[keep], length[keep])]
        if context.config.write.removed:
            self.targets.append(_Target(context, context.run.removed(name), start[~keep], length[~keep]))
        for target in self.targets:
            target.writer.__enter__()
        self.reader = context.reader(self.shard)
        yield from context.blocks("write", self.reader)

    def process(self, block: Block) -> list[Array]:
        with self.context.stopwatch.part("write", "copy"):
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
            decided = pq.read_table(run.decisions(name), filters=[("keep", "==", False)])
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
    """One output shard, and which lines it gets: int64[n] of their places in the decompressed shard, ascending."""

    def __init__(self, context: Context, path: Path, start: Array, length: Array) -> None:
        settings = context.config.write
        self.start, self.length = start, length
        self.writer = ShardWriter(path, level=settings.level, threads=settings.threads, checksum=settings.checksum)

    def lines_of(self, block: Block) -> Array:
        lo, hi = np.searchsorted(self.start, [block.start, block.start + block.n_bytes])
        packed = np.empty(int(self.length[lo:hi].sum()) + int(hi - lo) + 64, np.uint8)
        n = copy_spans(block.data, self.start[lo:hi] - block.start, self.length[lo:hi], packed)
        return packed[:n]
