"""write: the kept lines of each shard, byte for byte as they came, into kept/<shard>.jsonl.zst, one zstd frame each.

Documents that decisions mark as edited leave with another text, and everything else in their lines as it came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gpu_pile import files, op
from gpu_pile.edit import edited_lines
from gpu_pile.errors import DataError
from gpu_pile.parallel import run_jobs
from gpu_pile.shards import Block, Shard, ShardWriter, copy_spans
from gpu_pile.stages.context import Context

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
            "edit": [context.config.edit.model_dump(), op.load_all()["c4_lines"].version],
        }
    )


def write(context: Context) -> None:
    """Write every shard whose kept lines or settings have changed."""
    run = context.run
    todo = [
        s
        for s in context.shards
        if run.state("write", s.name).get("key") != write_key(context, s) or not run.kept(s.name).is_file()
    ]
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
        decided = pq.read_table(context.run.decisions(name), columns=["keep", "edited_bytes"])
        keep = decided.column("keep").to_numpy()
        self.edited_bytes = decided.column("edited_bytes").to_numpy()[keep]
        spans = pq.read_table(context.run.measured(name), columns=["start", "length"])
        self.start = spans.column("start").to_numpy()[keep]
        self.length = spans.column("length").to_numpy()[keep]
        settings = context.config.write
        self.writer = ShardWriter(
            context.run.kept(name), level=settings.level, threads=settings.threads, checksum=settings.checksum
        )
        self.writer.__enter__()
        self.reader = context.reader(self.shard)
        yield from context.blocks("write", self.reader)

    def process(self, block: Block) -> Array:
        lo, hi = np.searchsorted(self.start, [block.start, block.start + block.n_bytes])
        edited = lo + np.flatnonzero(self.edited_bytes[lo:hi])
        parts = []
        for first, last in zip([lo, *(edited + 1)], [*edited, hi], strict=True):  # the runs between edited ones
            with self.context.stopwatch.part("write", "copy"):
                parts.append(self._copied(block, first, last))
        if len(edited):
            with self.context.stopwatch.part("write", "edit"):
                starts = (self.start[edited] - block.start).tolist()
                lines = [
                    block.data[s : s + n].tobytes() for s, n in zip(starts, self.length[edited].tolist(), strict=True)
                ]
                path = self.context.config.input.text_field.split(".")
                changed = edited_lines(lines, path, self.edited_bytes[edited])
                both = [b"".join((run.tobytes(), line, b"\n")) for run, line in zip(parts, changed, strict=False)]
                parts = [np.frombuffer(b"".join((*both, parts[-1].tobytes())), np.uint8)]
        block.release()
        return parts[0]

    def _copied(self, block: Block, first: int, last: int) -> Array:
        start, length = self.start[first:last], self.length[first:last]
        packed = np.empty(int(length.sum()) + (last - first) + 64, np.uint8)
        n = copy_spans(block.data, start - block.start, length, packed)
        return packed[:n]

    def consume(self, lines: Array) -> bool:
        with self.context.stopwatch.part("write", "compress"):
            self.writer.write(lines)
        return True

    def close(self) -> None:
        run, name = self.context.run, self.shard.name
        measured = run.state("measure", name)
        if self.reader.identity != measured["identity"]:
            self.abandon()
            raise DataError(
                f"{self.shard.path} changed while the run was going on; run the same command again to measure it anew"
            )
        self.writer.__exit__(None, None, None)
        run.set_state(
            {"key": write_key(self.context, self.shard), "bytes": run.kept(name).stat().st_size}, "write", name
        )

    def abandon(self) -> None:
        error = DataError("abandoned")
        self.writer.__exit__(DataError, error, None)
