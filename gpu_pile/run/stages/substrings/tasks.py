"""Spills of records, and the jobs that sort and compare them (gpu_pile.dedup.substrings)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from gpu_pile.corpus import files
from gpu_pile.dedup.partition import BUFFERS, Layout, Reader, Writer
from gpu_pile.dedup.radix import sort
from gpu_pile.dedup.substrings import Copies, DifferentDigests, SharedGrams
from gpu_pile.run.context import Context
from gpu_pile.run.tasks import Task
from gpu_pile.run.threads import Job
from gpu_pile.types import Array

STAGE = "substrings"

MEMORY_PARTS = 3
"""A job holds the buffers of a reader and of two writers, and what it finds: three times the memory of a Layout."""


class Spill(NamedTuple):
    """Partitioned files of one kind, in a folder of the stage's scratch folder; small, sent to workers."""

    folder: str
    layout: Layout
    files: int

    def path(self, context: Context, number: int) -> Path:
        return numbered(context, self.folder, number)

    def paths(self, context: Context) -> list[Path]:
        return [self.path(context, number) for number in range(self.files)]

    def remove(self, context: Context) -> None:
        for path in self.paths(context):
            path.unlink(missing_ok=True)


def scratch_folder(context: Context) -> Path:
    return context.directory.scratch / STAGE


def numbered(context: Context, folder: str, number: int) -> Path:
    """Return the path of a file of a folder of the stage's scratch folder."""
    return scratch_folder(context) / folder / f"{number:05d}"


class FilesJob:
    """What jobs have in common that leave files, complete once they have their names (see gpu_pile.run.threads.Job)."""

    def __init__(self, context: Context, cost: int) -> None:
        self.context, self.cost = context, cost
        self._stack = contextlib.ExitStack()
        self._writers: list[Writer] = []

    def create(self, path: Path) -> BinaryIO:
        """Open a file under a temporary name."""
        partial = self._stack.enter_context(files.atomic(path, durable=False))
        return self._stack.enter_context(partial.open("wb"))

    def writer(self, spill: Spill, number: int) -> Writer:
        """Open a file of a spill."""
        self._writers.append(Writer(self.create(spill.path(self.context, number)), spill.layout))
        return self._writers[-1]

    def consume(self, result: Any) -> bool:
        return True

    def close(self) -> None:
        while self._writers:
            self._writers.pop().close()
        self._stack.close()

    def abandon(self) -> None:
        while self._writers:
            self._writers.pop().abandon()
        given_up = RuntimeError("given up")
        with contextlib.suppress(RuntimeError):
            self._stack.__exit__(RuntimeError, given_up, None)


class RecordsJob(FilesJob):
    """Reads some partitions of spills of one layout, batch by batch within the buffers."""

    def __init__(self, context: Context, sources: Sequence[Spill], number: int) -> None:
        self.layout, self.number = sources[0].layout, number
        self.start, self.stop = self.layout.ranges()[number]
        super().__init__(context, self.stop - self.start)
        self.sources = [path for source in sources for path in source.paths(context)]

    def open(self) -> Iterator[tuple[int, int]]:
        yield self.start, self.stop

    def process(self, block: tuple[int, int]) -> None:
        with (
            self.context.reporter.span(STAGE, "sort"),
            Reader(self.sources, self.layout, *block) as reader,
        ):
            room = int(min(self.layout.buffer, reader.sizes.sum()))
            buffer, spare = BUFFERS.take(room, self.layout.width), BUFFERS.take(room, self.layout.width)
            try:
                self.write(
                    (batch, spare if len(batch) <= len(spare) else np.empty_like(batch))
                    for batch in reader.batches(buffer, together=False)
                )
            finally:
                BUFFERS.give(buffer, spare)

    def write(self, batches: Iterator[tuple[Array, Array]]) -> None:
        """Write the files from batches of records, each with a spare buffer of at least its size."""
        raise NotImplementedError


class CopyFinder(RecordsJob):
    """Leaves matches of equal records, and the other records, if anybody wants them, as (gram, position)."""

    def __init__(self, context: Context, source: Spill, matches: Spill, rest: Spill | None, number: int) -> None:
        super().__init__(context, [source], number)
        self.matches, self.rest = matches, rest

    def write(self, batches: Iterator[tuple[Array, Array]]) -> None:
        matches = self.writer(self.matches, self.number)
        others = self.writer(self.rest, self.number) if self.rest is not None else None
        copies = Copies()
        for records, spare in batches:
            found, rest = copies.find(records, spare)
            matches.add(found)
            if others is not None:
                others.add(rest)


class GramFinder(RecordsJob):
    """Leaves the positions of contexts that share a gram with another one."""

    def __init__(self, context: Context, source: Spill, positions: Spill, number: int) -> None:
        super().__init__(context, [source], number)
        self.positions = positions

    def write(self, batches: Iterator[tuple[Array, Array]]) -> None:
        positions, shared = self.writer(self.positions, self.number), SharedGrams()
        for records, spare in batches:
            positions.add(shared.find(records, spare))


class Sorter(RecordsJob):
    """Leaves the distinct records of its partitions in one file without a header, ascending.

    Where a value of column 0 is in more records than fit in memory, some of them may come several times, out of order.
    """

    def __init__(self, context: Context, sources: Sequence[Spill], folder: str, number: int) -> None:
        super().__init__(context, sources, number)
        self.path = numbered(context, folder, number)

    def write(self, batches: Iterator[tuple[Array, Array]]) -> None:
        file = self.create(self.path)
        for records, spare in batches:
            ordered = sort(records, spare[: len(records)])
            new = np.ones(len(ordered), bool)
            new[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
            file.write(ordered[new].tobytes())


class DigestComparer(RecordsJob):
    """Leaves the numbers of the matches whose target has another digest than its source, uint64 without a header.

    The spill of the sources comes first, then that of the targets.
    """

    def __init__(self, context: Context, sources: Spill, targets: Spill, number: int) -> None:
        super().__init__(context, [sources, targets], number)
        self.path = numbered(context, DIFFERENT, number)

    def write(self, batches: Iterator[tuple[Array, Array]]) -> None:
        file, different = self.create(self.path), DifferentDigests()
        for records, spare in batches:
            file.write(different.find(records, spare).tobytes())


DIFFERENT = "different"


class Sorted:
    """Records that Sorters have left: ascending through all files."""

    def __init__(self, context: Context, folder: str, layout: Layout) -> None:
        self.layout = layout
        self.paths = [numbered(context, folder, number) for number in range(len(layout.ranges()))]

    def between(self, low: int, high: int) -> Iterator[Array]:
        """Yield the records with low <= column 0 < high, a file at a time, as read-only arrays."""
        for (first, end), path in zip(self.layout.ranges(), self.paths, strict=True):
            if first << self.layout.shift < high and end << self.layout.shift > low and path.stat().st_size:
                records = np.memmap(path, np.uint64, "r").reshape(-1, self.layout.width)
                lo, hi = np.searchsorted(records[:, 0], np.array([low, high], np.uint64))
                if hi > lo:
                    yield records[lo:hi]

    def gathered(self, low: int, high: int) -> Array:
        """Return the same records in one array."""
        return np.concatenate([np.empty((0, self.layout.width), np.uint64), *self.between(low, high)])


def do(
    context: Context, label: str, jobs: Sequence[tuple[Callable[..., Job[Any, Any]], tuple[Any, ...], Path]]
) -> None:
    """Do jobs as tasks: (class, arguments after the context, a file that it writes)."""
    context.do(STAGE, [Task(job, args, 1, f"{label} {i}", (path,)) for i, (job, args, path) in enumerate(jobs)])


def copies(context: Context, source: Spill, matches: Spill, rest: Spill | None, label: str) -> None:
    """Do what finds the equal records of a spill, and remove it."""
    n = range(len(source.layout.ranges()))
    do(context, label, [(CopyFinder, (source, matches, rest, i), matches.path(context, i)) for i in n])
    source.remove(context)


def sorted_records(context: Context, sources: Sequence[Spill], folder: str) -> Sorted:
    """Sort the records of spills of one layout, and remove those."""
    found = Sorted(context, folder, sources[0].layout)
    do(context, folder, [(Sorter, (sources, folder, i), path) for i, path in enumerate(found.paths)])
    for source in sources:
        source.remove(context)
    BUFFERS.clear()
    return found
