"""What every stage works with: configuration, run directory, shards, progress, time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpu_pile import files
from gpu_pile.config import Config
from gpu_pile.device import Place
from gpu_pile.rundir import RunDir
from gpu_pile.shards import Block, Limits, Shard, ShardReader


class Progress:
    """Told how far a stage is, in compressed bytes read; silent by itself. Called from any thread."""

    def begin(self, stage: str, total: int) -> None:
        """A stage begins; total bytes to come, 0 where unknown."""

    def advance(self, stage: str, done: int) -> None:
        """More bytes are done."""

    def end(self, stage: str) -> None:
        """The stage is done."""


class Stopwatch:
    """Wall and CPU seconds of a stage and of its parts, summed over threads."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        entry: dict[str, Any] = {"seconds": 0.0, "cpu_seconds": 0.0, "text_bytes": 0, "parts": {}}
        wall, cpu = time.perf_counter(), time.process_time()
        self.stages[name] = entry
        try:
            yield entry
        finally:
            entry["seconds"] = round(time.perf_counter() - wall, 4)
            entry["cpu_seconds"] = round(time.process_time() - cpu, 4)
            entry["parts"] = {k: round(v, 4) for k, v in entry["parts"].items()}

    @contextlib.contextmanager
    def part(self, stage: str, name: str) -> Iterator[None]:
        """CPU seconds of this thread, added to a part of a stage."""
        start = time.thread_time()
        try:
            yield
        finally:
            used = time.thread_time() - start
            with self._lock:
                parts = self.stages.setdefault(stage, {"parts": {}})["parts"]
                parts[name] = parts.get(name, 0.0) + used


@dataclass
class Context:
    config: Config
    run: RunDir
    shards: Sequence[Shard]
    place: Place = field(default_factory=Place)
    progress: Progress = field(default_factory=Progress)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    notes: list[str] = field(default_factory=list)
    """What a person should know about this run beyond its numbers."""

    @property
    def batch_bytes(self) -> int:
        """Decompressed bytes that a worker takes at a time."""
        return self.config.batch_bytes or self.place.batch_bytes

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

    def reader(self, shard: Shard, start: tuple[int, int] = (0, 0)) -> ShardReader:
        i = self.config.input
        limits = Limits(
            window_bytes_max=i.window_bytes_max, line_bytes_max=i.line_bytes_max, expansion_max=i.expansion_max
        )
        return ShardReader(shard, block_bytes=self.batch_bytes, limits=limits, start=start)

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
