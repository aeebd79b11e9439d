"""What a run tells while it works, as events: dictionaries for programs, and lines for people."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from gpu_pile.run.progress import Reporter, rate

Event = dict[str, Any]

EVERY = 30.0
"""Seconds between two events about a stage that is still at work."""


class Events(Reporter):
    """Hand each event to the functions in `shown`.

    begin:    stage, bytes (compressed, 0 if unknown)
    progress: stage, bytes_done, bytes, share, bytes_per_second, seconds_left; the last four only where bytes is known
    end:      stage, and its entry of timings.json
    message:  text
    """

    def __init__(self, *shown: Callable[[Event], None], every: float = EVERY) -> None:
        super().__init__()
        self.shown, self.every = shown, every
        self._open: dict[str, tuple[float, int, int]] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def tell(self, event: str, **facts: Any) -> None:
        told = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **facts}
        for show in self.shown:
            show(told)

    def begin(self, stage: str, total: int) -> None:
        self._open[stage] = time.monotonic(), 0, total
        self.tell("begin", stage=stage, bytes=total)
        if not self._thread.is_alive() and not self._closed.is_set():
            self._thread.start()

    def advance(self, stage: str, n_bytes: int) -> None:
        with self._lock:
            if stage in self._open:
                began, done, total = self._open[stage]
                self._open[stage] = began, done + n_bytes, total

    def end(self, stage: str) -> None:
        self._open.pop(stage, None)
        self.tell("end", stage=stage, **self.stages[stage])

    def say(self, line: str) -> None:
        self.tell("message", text=line)

    def close(self) -> None:
        self._closed.set()

    def _tell(self) -> None:
        while not self._closed.wait(self.every):
            for stage, (began, done, total) in list(self._open.items()):
                facts: Event = {"stage": stage, "bytes_done": done}
                if total and done:
                    speed = done / (time.monotonic() - began)
                    share, left = done / total, max(0.0, (total - done) / speed)
                    facts |= {"bytes": total, "share": round(share, 4), "bytes_per_second": round(speed)}
                    facts["seconds_left"] = round(left)
                self.tell("progress", **facts)


def line_of(event: Event) -> str | None:
    """The event in words; None for one that deserves no line."""
    kind, stage = event["event"], event.get("stage", "")
    if kind == "message":
        return str(event["text"])
    if kind == "progress":
        if "share" not in event:
            return f"{stage:>8}: at work"
        left = event["seconds_left"]
        return (
            f"{stage:>8}: {event['share']:.0%} read, {event['bytes_per_second'] / 1e6:.1f} MB/s of compressed bytes, "
            f"{left // 60}:{left % 60:02} left"
        )
    if kind == "end":
        speed = f", {rate(event) / 1e6:.0f} MB/s of text" if rate(event) else ""
        compiled = event.get("compile_seconds", 0.0)
        without = f" after {compiled:.1f} s of compiling" if compiled >= 0.05 else ""
        return f"{stage:>8}: {event['seconds']:.1f} s{speed}{without}"
    return None


def stamped(event: Event) -> str | None:
    """The event in words, with the local time before them, for logs."""
    line = line_of(event)
    return line and f"{datetime.fromisoformat(event['time']).astimezone():%H:%M:%S} {line}"
