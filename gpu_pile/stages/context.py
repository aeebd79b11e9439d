"""What every stage works with: configuration, run directory, shards, progress, time."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gpu_pile import files
from gpu_pile.config import Config
from gpu_pile.device import Place
from gpu_pile.files import AnyPath
from gpu_pile.parallel import Job, run_jobs, run_tasks
from gpu_pile.rundir import RunDir
from gpu_pile.shards import Block, Limits, Part, Shard, ShardReader, cut


class Progress:
    """Told how far a stage is, in compressed bytes read; silent by itself. Called from any thread."""

    def begin(self, stage: str, total: int) -> None:
        """A stage begins; total bytes to come, 0 where unknown."""

    def advance(self, stage: str, done: int) -> None:
        """More bytes are done."""

    def end(self, stage: str) -> None:
        """The stage is done."""

    def say(self, line: str) -> None:
        """Something that whoever watches wants to know now."""


def marked(name: str) -> contextlib.AbstractContextManager[Any]:
    """An NVTX range, for Nsight Systems, where this process uses a GPU; nothing elsewhere."""
    if "cupy" not in sys.modules:
        return contextlib.nullcontext()
    import nvtx

    span: contextlib.AbstractContextManager[Any] = nvtx.annotate(name, domain="gpu_pile")
    return span


class Stopwatch:
    """Wall and CPU seconds of a stage and of its parts, summed over threads; each is an NVTX range, too."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[dict[str, Any]]:
        entry: dict[str, Any] = {"seconds": 0.0, "cpu_seconds": 0.0, "text_bytes": 0, "parts": {}}
        wall, cpu = time.perf_counter(), time.process_time()
        self.stages[name] = entry
        try:
            with marked(name):
                yield entry
        finally:
            entry["seconds"] = round(time.perf_counter() - wall, 4)
            entry["cpu_seconds"] = round(time.process_time() - cpu + entry.pop("elsewhere", 0.0), 4)
            entry["parts"] = {k: round(v, 4) for k, v in entry["parts"].items()}

    @contextlib.contextmanager
    def part(self, stage: str, name: str) -> Iterator[None]:
        """CPU seconds of this thread, added to a part of a stage."""
        start = time.thread_time()
        try:
            with marked(f"{stage}: {name}"):
                yield
        finally:
            used = time.thread_time() - start
            with self._lock:
                parts = self.stages.setdefault(stage, {"parts": {}})["parts"]
                parts[name] = parts.get(name, 0.0) + used

    def add(self, stage: str, parts: dict[str, float], seconds: float) -> None:
        """A work that another process did for a stage that is timed here: CPU seconds by part, wall seconds in all."""
        with self._lock:
            entry = self.stages[stage]
            entry["works"] = entry.get("works", 0) + 1
            entry["work_seconds"] = round(entry.get("work_seconds", 0.0) + seconds, 4)
            entry["elsewhere"] = entry.get("elsewhere", 0.0) + sum(parts.values())
            for name, seconds in parts.items():
                entry["parts"][name] = entry["parts"].get(name, 0.0) + seconds


@dataclass(frozen=True)
class Work:
    """A job that any process can do that sees the inputs and the run directory, where it leaves what it finds.

    make:    function of a module, called as make(context, *args) in the process that does the job
    args:    what can be sent to it: few and small
    cost:    compressed bytes to read, or another number that orders works of one kind
    what:    for people: the shard, or which part of it; works of a stage have different ones
    outputs: files that are there when it is done
    n_bytes: what it adds to the stage's progress
    """

    make: Callable[..., Job[Any, Any]]
    args: tuple[Any, ...]
    cost: int
    what: str
    outputs: tuple[AnyPath, ...]
    n_bytes: int = 0


class Workers(Protocol):
    """Those who do works: threads of this process where there are no others."""

    def do(self, context: Context, stage: str, works: Sequence[Work]) -> None:
        """Do all of them, the dearest first; the first error stops the others and is raised."""


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
    workers: Workers | None = None
    _parts: dict[str, list[Part]] = field(default_factory=dict)

    def parts(self, shards: Sequence[Shard]) -> list[list[Part]]:
        """The parts of each of these shards (see shards.cut). Looked for once, several shards at a time."""

        def look(shard: Shard) -> None:
            self._parts[shard.name] = cut(shard, self.config.input.part_bytes)

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

    def reader(self, shard: Shard, start: tuple[int, int] = (0, 0), part: Part | None = None) -> ShardReader:
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
