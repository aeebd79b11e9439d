"""Threads over ranges of shards and over their blocks.

A worker takes a range of a shard of its own while there are any, largest first; then it helps where blocks are left.
A range is read under its lock, one block at a time; blocks are processed in parallel; results are consumed in order.
So N workers are N threads, one huge shard keeps all of them busy, and the result does not depend on N.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from gpu_pile.errors import UsageError

B = TypeVar("B")
R = TypeVar("R")
T = TypeVar("T")


class Job(Protocol[B, R]):
    """The work on one shard, or on a range of one."""

    cost: int

    def open(self) -> Iterator[B]:
        """Begin; the iterator is advanced by one thread at a time."""

    def process(self, block: B) -> R:
        """Called from several threads at once."""

    def consume(self, result: R) -> bool:
        """Called in order, one at a time; False stops reading (blocks under way are dropped)."""

    def close(self) -> None:
        """All results were consumed."""

    def abandon(self) -> None:
        """Something failed, here or elsewhere: leave nothing half-done. Called instead of close."""


class _Running(Generic[B, R]):
    def __init__(self, job: Job[B, R]) -> None:
        self.job = job
        self.blocks: Iterator[B] | None = None
        self.read_lock = threading.Lock()
        self.consume_lock = threading.Lock()
        self.read = 0
        self.consumed = 0
        self.waiting: dict[int, R] = {}
        self.exhausted = False
        self.stopped = False
        self.helpers = 0

    def step(self) -> None:
        """Read, process and consume one block."""
        with self.read_lock:
            if self.exhausted:
                return
            if self.blocks is None:
                self.blocks = iter(self.job.open())
            block = next(self.blocks, None) if not self.stopped else None
            if block is None:
                self.exhausted = True
                return
            number, self.read = self.read, self.read + 1
        result = self.job.process(block)
        with self.consume_lock:
            self.waiting[number] = result
            while self.consumed in self.waiting:
                ready = self.waiting.pop(self.consumed)
                self.consumed += 1
                if not self.stopped and not self.job.consume(ready):
                    self.stopped = True


class _Pool(Generic[B, R]):
    def __init__(self, jobs: Sequence[Job[B, R]]) -> None:
        self.fresh = [_Running(j) for j in sorted(jobs, key=lambda j: j.cost)]  # the largest is popped first
        self.active: list[_Running[B, R]] = []
        self.lock = threading.Lock()
        self.error: BaseException | None = None

    def work(self) -> None:
        mine: _Running[B, R] | None = None
        while True:
            with self.lock:
                if self.error is not None:
                    return
                if mine is None:
                    mine = self._choose()
                if mine is None:
                    return
            try:
                mine.step()
                if mine.exhausted:
                    with self.lock:
                        mine.helpers -= 1
                        last = mine.helpers == 0
                    if last:  # every block was consumed: each helper leaves after its own last one
                        mine.job.close()
                    mine = None
            except BaseException as error:
                with self.lock:
                    self.error = self.error or error
                return

    def _choose(self) -> _Running[B, R] | None:
        if self.fresh:
            chosen = self.fresh.pop()
            self.active.append(chosen)
        else:
            open_ones = [r for r in self.active if not r.exhausted]
            if not open_ones:
                return None
            chosen = min(open_ones, key=lambda r: r.helpers)
        chosen.helpers += 1
        return chosen


def run_jobs(jobs: Iterable[Job[B, R]], workers: int) -> None:
    """Do all jobs with this many threads; the first error stops the others and is raised.

    A thread cannot be interrupted inside a kernel: Ctrl-C is noticed at the end of the blocks under way.
    """
    pool = _Pool(list(jobs))
    started = list(pool.fresh)
    threads = [threading.Thread(target=pool.work, name=f"worker-{i}", daemon=True) for i in range(workers)]
    for t in threads:
        t.start()
    try:
        for t in threads:
            while t.is_alive():
                t.join(0.2)
    except BaseException as error:
        with pool.lock:
            pool.error = pool.error or error
        for t in threads:
            t.join()
    if pool.error is not None:
        for running in started:
            if running.blocks is not None:
                running.job.abandon()
        raise pool.error


def map_threads(function: Callable[[T], R], items: Iterable[T], workers: int) -> list[R]:
    """The function's results, in the order of the items, on this many threads; the first error stops and is raised."""
    waiting = list(items)
    results: list[Any] = [None] * len(waiting)
    numbers = iter(range(len(waiting)))
    lock = threading.Lock()
    errors: list[BaseException] = []

    def work() -> None:
        while True:
            with lock:
                i = None if errors else next(numbers, None)
            if i is None:
                return
            try:
                results[i] = function(waiting[i])
            except BaseException as error:
                with lock:
                    errors.append(error)
                return

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(workers, len(waiting)))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return results


def worker_count(workers: int | None) -> int:
    """The number given, or one for each core this process may use."""
    if workers is not None and workers < 1:
        raise UsageError(f"workers is {workers}; give 1 or more, or None for one per core")
    return workers or len(os.sched_getaffinity(0))


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, for this process: buffers of some MiB are needed again for the next block.

    By default such a block goes back to the system when it is freed, and touching its pages again costs more than the
    work done in them (measured: a seventh of the CPU time of measure). Elsewhere than on glibc nothing changes.
    """
    mmap_threshold, trim_threshold = -3, -1  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD of malloc.h
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, 1 << 30)
    except (OSError, AttributeError):
        return
