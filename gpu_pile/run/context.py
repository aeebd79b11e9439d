"""What every stage works with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.gpu.device import Device
from gpu_pile.run.config import Config
from gpu_pile.run.directory import RunDir
from gpu_pile.run.progress import Reporter
from gpu_pile.run.tasks import Executor, Task, Threads
from gpu_pile.text.jit import compilation


@dataclass
class Context:
    """A run: its configuration, its directory, its inputs, what does its tasks, and what tells of its progress."""

    config: Config
    directory: RunDir
    shards: Sequence[Shard]
    executor: Executor = field(default_factory=lambda: Threads(Device()))
    reporter: Reporter = field(default_factory=Reporter)

    @property
    def device(self) -> Device:
        return self.executor.device

    @property
    def batch_bytes(self) -> int:
        """Decompressed bytes of a block."""
        return self.config.batch_bytes or self.device.batch_bytes

    def do(self, stage: str, tasks: Sequence[Task]) -> None:
        """Do tasks of a stage, most expensive first."""
        if tasks:
            self.executor.do(self, stage, tasks)

    @contextlib.contextmanager
    def stage(self, name: str, shards: Sequence[Shard] = ()) -> Iterator[dict[str, Any]]:
        """Time a stage and show its progress over the bytes of these shards."""
        before = compilation.seconds
        with self.reporter.stage(name, sum(s.n_bytes for s in shards)) as entry:
            yield entry
            entry["compile_seconds"] = round(compilation.seconds - before, 4)

    def timings(self) -> dict[str, Any]:
        """What the stages took, the last time that they did something."""
        earlier = files.read_json(self.directory.path / "timings.json") or {}
        return {**earlier, **{name: entry for name, entry in self.reporter.stages.items() if entry.get("text_bytes")}}
