"""Progress and timing of stages."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any


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
