"""What a run tells while it works, and how long its stages take."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from gpu_pile.gpu.profile import marked


def rate(entry: Mapping[str, Any]) -> float:
    """Bytes of text per second of a stage, compiling not counted; 0 if it read no text or did nothing else."""
    seconds = entry.get("seconds", 0.0) - entry.get("compile_seconds", 0.0)
    return entry["text_bytes"] / seconds if entry.get("text_bytes") and seconds > 0 else 0.0


class Reporter:
    """Time the stages of a run, collect its warnings and notes. Silent: a subclass shows begin, advance, end, and say.

    Any thread may call every method.

    stages: per stage, wall and CPU seconds, bytes of text, and CPU seconds of each of its spans
    warnings: what is probably a mistake and may have changed the result
    notes:  what a person should know about the run beyond its numbers
    command, date: how and when the run was asked for, as the report shows it; "" for what is not known
    """

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, Any]] = {}
        self.warnings: list[str] = []
        self.notes: list[str] = []
        self.command = self.date = ""
        self._lock = threading.Lock()

    # what a subclass may show

    def begin(self, stage: str, total: int) -> None:
        """A stage begins; `total` compressed bytes are to be read, 0 if that is unknown."""

    def advance(self, stage: str, n_bytes: int) -> None:
        """A stage has read n_bytes more."""

    def end(self, stage: str) -> None:
        """A stage is done."""

    def say(self, line: str) -> None:
        """Show a line now."""

    # what every run records

    def note(self, line: str) -> None:
        """Keep a line for the end of the run."""
        with self._lock:
            self.notes.append(line)

    def warn(self, line: str) -> None:
        """Keep a line for the top of the report, and show it now."""
        with self._lock:
            self.warnings.append(line)
        self.say(f"warning: {line}")

    @contextlib.contextmanager
    def stage(self, name: str, total: int = 0) -> Iterator[dict[str, Any]]:
        """Time a stage and show its progress over `total` compressed bytes. Yield its entry of `stages`."""
        entry: dict[str, Any] = {"seconds": 0.0, "cpu_seconds": 0.0, "text_bytes": 0, "spans": {}}
        self.begin(name, total)
        wall, cpu = time.perf_counter(), time.process_time()
        self.stages[name] = entry
        try:
            with marked(name):
                yield entry
        finally:
            entry["seconds"] = round(time.perf_counter() - wall, 4)
            entry["cpu_seconds"] = round(time.process_time() - cpu + entry.pop("worker_cpu_seconds", 0.0), 4)
            entry["spans"] = {span: round(seconds, 4) for span, seconds in entry["spans"].items()}
        self.end(name)

    @contextlib.contextmanager
    def span(self, stage: str, name: str) -> Iterator[None]:
        """Add this thread's CPU seconds to a span of a stage."""
        start = time.thread_time()
        try:
            with marked(f"{stage}: {name}"):
                yield
        finally:
            used = time.thread_time() - start
            with self._lock:
                spans = self.stages.setdefault(stage, {"spans": {}})["spans"]
                spans[name] = spans.get(name, 0.0) + used

    def add_task(self, stage: str, spans: dict[str, float], seconds: float) -> None:
        """Add a task that another process did for a stage: CPU seconds of its spans, wall seconds of the task."""
        with self._lock:
            entry = self.stages[stage]
            entry["tasks"] = entry.get("tasks", 0) + 1
            entry["task_seconds"] = round(entry.get("task_seconds", 0.0) + seconds, 4)
            entry["worker_cpu_seconds"] = entry.get("worker_cpu_seconds", 0.0) + sum(spans.values())
            for span, used in spans.items():
                entry["spans"][span] = entry["spans"].get(span, 0.0) + used
