"""The part of dedupe that finds who shares a hash or a band, as tasks for threads and workers.

    spread    measured rows, a piece each      -> hashes or band keys, in one file, grouped by ranges of their value
    sort      ranges of the value, some each   -> equal documents; or candidate pairs, in one file, grouped by row
    distinct  ranges of rows, some each        -> candidates/<number>: each pair once, ascending by (b, a)

The number of pieces, ranges and tasks follows from the number of documents and memory_bytes; the pairs do not depend
on it. A task holds four buffers (gpu_pile.dedup.partition.Layout), which together take no more than memory_bytes
divided by the tasks that a process does at a time, and a row group.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.dedup.buckets import candidate_pairs, distinct_pairs, equal_hashes
from gpu_pile.dedup.partition import BUFFERS, Layout, Reader, Writer
from gpu_pile.ops.band_keys import band_keys
from gpu_pile.run.config import Config
from gpu_pile.run.context import Context
from gpu_pile.run.tables import Rows, row_groups, subset_codes
from gpu_pile.run.tasks import Task
from gpu_pile.types import Array

PIECE_ROWS = 1 << 20
"""Rows that a task spreads; more where there would be more than PIECES_MAX tasks of so many."""

PIECES_MAX = 1024

PAIRS_A_ROW = 4
"""Candidate pairs to expect of a row, each counted as often as they share a band; more are no harm."""

HASHES, KEYS, PAIRS, EQUAL = "hashes", "keys", "pairs", "equal"

RowRange = tuple[Shard, int, int, int]
"""A shard, the dense row of its first document, and rows start .. stop of it."""


def memory_per_task(config: Config) -> int:
    """Bytes that a task may take; a worker of a cluster does one at a time."""
    return config.memory_bytes // (1 if config.cluster.where else config.n_workers)


def pieces(context: Context, rows: Rows) -> list[list[RowRange]]:
    """All rows, cut between row groups into pieces of about PIECE_ROWS."""
    most = max(PIECE_ROWS, rows.total // PIECES_MAX)
    out: list[list[RowRange]] = []
    room = 0
    for i, shard in enumerate(context.shards):
        first, n, start = int(rows.first[i]), int(rows.first[i + 1] - rows.first[i]), 0
        while start < n:
            if room <= 0:
                out.append([])
                room = most
            stop = min(n, start + room)
            out[-1].append((shard, first, start, stop))
            room -= stop - start
            start = stop
    return out


def scratch_file(context: Context, kind: str, number: int) -> Path:
    return context.directory.scratch / kind / f"{number:05d}"


def copies_path(context: Context) -> Path:
    """int64, ascending: rows that are equal to a smaller one."""
    return context.directory.scratch / "copies.npy"


def candidates_path(context: Context, number: int) -> Path:
    """uint64[n, 2], without a header: distinct candidate pairs (b, a), ascending."""
    return context.directory.scratch / "candidates" / f"{number:05d}"


def equal_documents(context: Context, rows: Rows) -> tuple[Array, Array]:
    """(rows, representatives): int64 each, ascending by row; every document that has an equal one."""
    layout = Layout.of(3, rows.total, memory_per_task(context.config))
    n = _spread(context, rows, HASHES, layout, ())
    tasks = [
        Task(Equal, (number, layout, n, *parts), 1, f"equal hashes {number}", (scratch_file(context, EQUAL, number),))
        for number, parts in enumerate(layout.ranges())
    ]
    context.do("dedupe", tasks)
    found = [np.fromfile(scratch_file(context, EQUAL, i), np.int64).reshape(-1, 2) for i in range(len(tasks))]
    members = np.concatenate(found) if found else np.empty((0, 2), np.int64)
    BUFFERS.clear()
    members = members[np.argsort(members[:, 0])]
    return np.ascontiguousarray(members[:, 0]), np.ascontiguousarray(members[:, 1])


def candidates(context: Context, rows: Rows, bands: int, band_rows: int, copies: Array) -> list[Path]:
    """Files of the distinct pairs that share a band, by ascending ranges of b (see candidates_path).

    copies: int64, ascending: rows that take no part because they are equal to a smaller one.
    """
    save(copies_path(context), copies)
    memory = memory_per_task(context.config)
    keys = Layout.of(2, rows.total * bands, memory)
    pairs = Layout.of(2, rows.total * PAIRS_A_ROW, memory, max(1, rows.total))
    n = _spread(context, rows, KEYS, keys, (bands, band_rows))
    sorts = [
        Task(Sort, (number, keys, n, *parts, pairs), 1, f"band keys {number}", (scratch_file(context, PAIRS, number),))
        for number, parts in enumerate(keys.ranges())
    ]
    context.do("dedupe", sorts)
    _remove(context, KEYS, n)
    distinct = [
        Task(Distinct, (number, pairs, len(sorts), *parts), 1, f"pairs of rows {number}", (path,))
        for number, parts in enumerate(pairs.ranges())
        for path in [candidates_path(context, number)]
    ]
    context.do("dedupe", distinct)
    _remove(context, PAIRS, len(sorts))
    BUFFERS.clear()
    return [candidates_path(context, number) for number in range(len(distinct))]


def _spread(context: Context, rows: Rows, kind: str, layout: Layout, banding: tuple[int, ...]) -> int:
    """Leave a file a piece; returns how many."""
    make = SpreadHashes if kind == HASHES else SpreadKeys
    tasks = [
        Task(make, (number, layout, parts, *banding), sum(stop - start for *_, start, stop in parts), what, (path,))
        for number, parts in enumerate(pieces(context, rows))
        for what, path in [(f"{kind} of piece {number}", scratch_file(context, kind, number))]
    ]
    context.do("dedupe", tasks)
    return len(tasks)


def save(path: Path, array: Array) -> None:
    """A scratch file of one array, as np.load reads it."""
    with files.atomic(path, durable=False) as partial, partial.open("wb") as f:
        np.save(f, array, allow_pickle=False)


def _remove(context: Context, kind: str, n: int) -> None:
    for number in range(n):
        scratch_file(context, kind, number).unlink(missing_ok=True)


class _File:
    """What the jobs here share: one file, which is there when they are done (see parallel.Job)."""

    def __init__(self, context: Context, path: Path, cost: int) -> None:
        self.context, self.path, self.cost = context, path, cost
        self._stack = contextlib.ExitStack()
        self._writer: Writer | None = None

    def create(self, layout: Layout | None = None) -> BinaryIO:
        """The file under its temporary name, with a writer of that layout."""
        partial = self._stack.enter_context(files.atomic(self.path, durable=False))
        file = self._stack.enter_context(partial.open("wb"))
        if layout is not None:
            self._writer = Writer(file, layout)
        return file

    @property
    def writer(self) -> Writer:
        assert self._writer is not None
        return self._writer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None
        self._stack.close()

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()
        self._writer = None
        given_up = RuntimeError("given up")
        with contextlib.suppress(RuntimeError):
            self._stack.__exit__(RuntimeError, given_up, None)


class _Spread(_File, abc.ABC):
    """The job of a piece of the measured rows."""

    columns: tuple[str, ...]

    def __init__(self, context: Context, kind: str, number: int, layout: Layout, parts: Sequence[RowRange]) -> None:
        super().__init__(context, scratch_file(context, kind, number), sum(p[3] - p[2] for p in parts))
        self.layout, self.parts = layout, parts

    def open(self) -> Iterator[tuple[int, pa.Table]]:
        self.create(self.layout)
        for shard, first, start, stop in self.parts:
            tables = row_groups(self.context, shard, self.columns, start, stop)
            while True:
                with self.context.reporter.span("dedupe", "read measured"):
                    table = next(tables, None)
                if table is None:
                    break
                yield first + start, table
                start += len(table)

    def process(self, block: tuple[int, pa.Table]) -> Array:
        with self.context.reporter.span("dedupe", "spread"):
            return self.records(*block)

    @abc.abstractmethod
    def records(self, first: int, table: pa.Table) -> Array:
        """uint64[n, layout.width] of the rows of a table, which is of the dense rows from first on."""

    def consume(self, result: Array) -> bool:
        with self.context.reporter.span("dedupe", "spread"):
            self.writer.add(result)
        return True

    def scope(self, table: pa.Table, skip: list[str]) -> tuple[Array, Array]:
        """(uint64 mixed into keys so that only documents of one scope meet, rows that take no part)."""
        names, codes = subset_codes(table)
        salt = np.zeros(len(names), np.uint64)
        if self.context.config.dedupe.scope == "subset":
            salt = np.array(
                [int.from_bytes(hashlib.blake2b(n.encode(), digest_size=8).digest(), "little") for n in names],
                np.uint64,
            )
        skipped = np.array([n in set(skip) for n in names], bool)
        return salt[codes], skipped[codes]


class SpreadHashes(_Spread):
    columns = ("subset", "hash_hi", "hash_lo")

    def __init__(self, context: Context, number: int, layout: Layout, parts: Sequence[RowRange]) -> None:
        super().__init__(context, HASHES, number, layout, parts)

    def records(self, first: int, table: pa.Table) -> Array:
        scope, skipped = self.scope(table, self.context.config.dedupe.exact.skip_subsets)
        found = np.empty((len(table), 3), np.uint64)
        found[:, 0] = table.column("hash_hi").to_numpy() ^ scope
        found[:, 1] = table.column("hash_lo").to_numpy()
        found[:, 2] = np.arange(first, first + len(table))
        return found[~skipped]


class SpreadKeys(_Spread):
    columns = ("subset", "shingles", "sketch")

    def __init__(
        self, context: Context, number: int, layout: Layout, parts: Sequence[RowRange], bands: int, band_rows: int
    ) -> None:
        super().__init__(context, KEYS, number, layout, parts)
        self.bands, self.band_rows = bands, band_rows

    def open(self) -> Iterator[tuple[int, pa.Table]]:
        self.copies = files.load_array(copies_path(self.context), mapped=True)
        return super().open()

    def records(self, first: int, table: pa.Table) -> Array:
        fuzzy, device = self.context.config.dedupe.fuzzy, self.context.device
        scope, skipped = self.scope(table, fuzzy.skip_subsets)
        skipped |= table.column("shingles").to_numpy() == 0
        lo, hi = np.searchsorted(self.copies, [first, first + len(table)])
        skipped[self.copies[lo:hi] - first] = True
        with device.session():
            sketches = device.upload(sketch_array(table, fuzzy.size))
            keys = device.download(band_keys(sketches, bands=self.bands, rows=self.band_rows))
        if skipped.any():  # keys are less to copy than sketches
            keys, scope = keys[~skipped], scope[~skipped]
        found = np.empty((*keys.shape, 2), np.uint64)
        np.bitwise_xor(keys, scope[:, None], out=found[..., 0])
        found[..., 1] = (first + np.flatnonzero(~skipped))[:, None]
        return found.reshape(-1, 2)


def sketch_array(table: pa.Table, size: int) -> Array:
    """uint32[rows, size]: the sketch column, without a copy."""
    column = table.column("sketch")
    column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values = np.frombuffer(column.buffers()[1] or b"", np.uint32)
    return values.reshape(-1, size)[column.offset : column.offset + len(column)]


class _Ranges(_File, abc.ABC):
    """The job of some ranges of what was spread: batch by batch within the buffers."""

    span = "sort"

    def __init__(
        self,
        context: Context,
        number: int,
        layout: Layout,
        kinds: tuple[str, str],
        sources: int,
        start: int,
        stop: int,
    ) -> None:
        super().__init__(context, scratch_file(context, kinds[1], number), stop - start)
        self.layout, self.start, self.stop = layout, start, stop
        self.sources = [scratch_file(context, kinds[0], i) for i in range(sources)]

    def open(self) -> Iterator[tuple[int, int]]:
        yield self.start, self.stop

    def process(self, block: tuple[int, int]) -> None:
        with (
            self.context.reporter.span("dedupe", self.span),
            Reader(self.sources, self.layout, *block) as reader,
        ):
            most = int(min(self.layout.buffer, reader.sizes.sum()))
            buffer, spare = BUFFERS.take(most, self.layout.width), BUFFERS.take(most, self.layout.width)
            try:
                self.work(
                    (batch, spare if len(batch) <= len(spare) else np.empty_like(batch))
                    for batch in reader.batches(buffer)
                )
            finally:
                BUFFERS.give(buffer, spare)

    @abc.abstractmethod
    def work(self, batches: Iterator[tuple[Array, Array]]) -> None:
        """Write the file from batches of records, each with a spare buffer as large."""

    def consume(self, result: None) -> bool:
        return True


class Equal(_Ranges):
    """Leaves int64[n, 2], without a header: documents that have an equal one, and their representatives."""

    def __init__(self, context: Context, number: int, layout: Layout, sources: int, start: int, stop: int) -> None:
        super().__init__(context, number, layout, (HASHES, EQUAL), sources, start, stop)

    def work(self, batches: Iterator[tuple[Array, Array]]) -> None:
        file = self.create()
        for records, spare in batches:
            file.write(equal_hashes(records, spare).tobytes())


class Sort(_Ranges):
    """Leaves candidate pairs (b, a), some of them several times, grouped by ranges of b."""

    def __init__(
        self, context: Context, number: int, keys: Layout, sources: int, start: int, stop: int, pairs: Layout
    ) -> None:
        super().__init__(context, number, keys, (KEYS, PAIRS), sources, start, stop)
        self.pairs = pairs

    def work(self, batches: Iterator[tuple[Array, Array]]) -> None:
        self.create(self.pairs)
        device, most = self.context.device, self.context.config.dedupe.fuzzy.bucket_neighbours_max
        argsort: Callable[[Array], Array] | None = None if device.backend == "cpu" else device.argsort
        out = np.empty((max(most, 1 << 14), 2), np.uint64)
        for records, spare in batches:
            for pairs in candidate_pairs(records, most, out, spare, argsort):
                self.writer.add(pairs)


class Distinct(_Ranges):
    """Leaves distinct candidate pairs (see candidates_path)."""

    span = "distinct"

    def __init__(self, context: Context, number: int, pairs: Layout, sources: int, start: int, stop: int) -> None:
        super().__init__(context, number, pairs, (PAIRS, "candidates"), sources, start, stop)

    def work(self, batches: Iterator[tuple[Array, Array]]) -> None:
        file = self.create()
        for records, spare in batches:
            pairs = distinct_pairs(records, spare)
            if len(pairs):
                file.write(pairs.data.cast("B"))
