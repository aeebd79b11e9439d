"""What every stage works with: configuration, run directory, shards, progress, time."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpu_pile.corpus import files
from gpu_pile.corpus.ranges import ShardRange, split_at_frames
from gpu_pile.corpus.reader import Block, Limits, ShardReader
from gpu_pile.corpus.shards import Shard
from gpu_pile.gpu.device import Device
from gpu_pile.run.config import Config
from gpu_pile.run.directory import RunDir
from gpu_pile.run.progress import Progress, Stopwatch
from gpu_pile.run.tasks import Work, Workers
from gpu_pile.run.threads import run_jobs, run_tasks


@dataclass
class Context:
    config: Config
    run: RunDir
    shards: Sequence[Shard]
    device: Device = field(default_factory=Device)
    progress: Progress = field(default_factory=Progress)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    notes: list[str] = field(default_factory=list)
    """What a person should know about this run beyond its numbers."""
    workers: Workers | None = None
    _parts: dict[str, list[ShardRange]] = field(default_factory=dict)

    def parts(self, shards: Sequence[Shard]) -> list[list[ShardRange]]:
        """The parts of each of these shards (see corpus.ranges). Looked for once, several shards at a time."""

        def look(shard: Shard) -> None:
            self._parts[shard.name] = split_at_frames(shard, self.config.input.part_bytes)

        new = [s for s in shards if s.name not in self._parts]
        run_tasks([functools.partial(look, s) for s in new], self.config.n_workers)
        return [self._parts[s.name] for s in shards]

    @property
    def n_parts(self) -> int:
        """Of all shards: how many workers can be busy at once."""
        return sum(map(len, self.parts(self.shards)))

    def do(self, stage: str, works: Sequence[Work]) -> None:
        """Do works of a stage here or on the cluster; the files that they make are the same."""
        if self.workers is not None and works:
            self.workers.do(self, stage, works)
        else:
            run_jobs([w.make(self, *w.args) for w in works], self.config.n_workers)

    @property
    def batch_bytes(self) -> int:
        """Decompressed bytes that a worker takes at a time."""
        return self.config.batch_bytes or self.device.batch_bytes

    @contextlib.contextmanager
    def stage(self, name: str, shards: Sequence[Shard] = ()) -> Iterator[dict[str, Any]]:
        """Time a stage and show its progress over the bytes of these shards."""
        self.progress.begin(name, sum(s.n_bytes for s in shards))
        with self.stopwatch.stage(name) as entry:
            yield entry
        self.progress.end(name)

    def timings(self) -> dict[str, Any]:
        """What the stages took, the last time that they did something."""
        before = files.read_json(self.run.path / "timings.json") or {}
        now = {name: entry for name, entry in self.stopwatch.stages.items() if entry.get("text_bytes")}
        return {**before, **now}

    def reader(self, shard: Shard, start: tuple[int, int] = (0, 0), part: ShardRange | None = None) -> ShardReader:
        i = self.config.input
        limits = Limits(
            window_bytes_max=i.window_bytes_max, line_bytes_max=i.line_bytes_max, expansion_max=i.expansion_max
        )
        return ShardReader(shard, block_bytes=self.batch_bytes, limits=limits, start=start, part=part)

    def blocks(self, stage: str, reader: ShardReader) -> Iterator[Block]:
        """The reader's blocks, timed as the stage's part "read", with progress."""
        blocks, seen = iter(reader), 0
        while True:
            with self.stopwatch.part(stage, "read"):
                block = next(blocks, None)
            self.progress.advance(stage, reader.compressed_bytes_read - seen)
            seen = reader.compressed_bytes_read
            if block is None:
                return
            yield block
