"""Who shares a hash or a band: tasks over partitioned files.

    partition  measured rows, a range per task  -> hashes or band keys, one file per task, by ranges of their value
    sort       ranges of the value              -> equal documents; or candidate pairs, one file per task, by row
    distinct   ranges of rows                   -> candidates/<number>: each pair once, ascending by (b, a)

The number of row ranges, partitions and tasks follows from the number of documents and memory_bytes; the pairs do not
depend on it. A task holds four buffers (gpu_pile.dedup.partition.Layout) and a row group. The buffers together take no
more than memory_bytes divided by the number of tasks that a process does at a time.
"""

from __future__ import annotations

import abc
import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.dedup.banding import Banding
from gpu_pile.dedup.buckets import (
    by_key,
    distinct_pairs,
    hash_records,
    key_records,
    pairs_of_sorted,
    sets_of_sorted,
)
from gpu_pile.dedup.equal_sets import EqualSets, mark_apart
from gpu_pile.dedup.joins import merged
from gpu_pile.dedup.partition import BUFFERS, Layout, Reader, Writer
from gpu_pile.dedup.radix import sort
from gpu_pile.ops.band_keys import band_keys
from gpu_pile.run.config import Config, Dedupe
from gpu_pile.run.context import Context
from gpu_pile.run.index.old import OldDocuments, opened
from gpu_pile.run.tables import Rows, row_groups, subset_codes
from gpu_pile.run.tasks import Task
from gpu_pile.run.threads import Job
from gpu_pile.types import Array

ROWS_PER_TASK = 1 << 20
"""Rows that a task partitions; more if there would be more than TASKS_MAX tasks."""

TASKS_MAX = 1024

PAIRS_PER_ROW = 4
"""Candidate pairs to expect per row, each counted once per band that it shares; a wrong guess only costs time."""

OUT_PAIRS = 1 << 14
"""Candidate pairs that a sorting task finds before it writes them."""


class RowRange(NamedTuple):
    """Rows start .. stop of a shard, whose first row is `first_row` of all."""

    shard: Shard
    first_row: int
    start: int
    stop: int


class Spill(NamedTuple):
    """Partitioned files of one kind, in a folder of the stage's scratch folder; small, sent to workers."""

    folder: str
    layout: Layout
    files: int

    def path(self, context: Context, number: int) -> Path:
        return numbered(context, self.folder, number)

    def remove(self, context: Context) -> None:
        for number in range(self.files):
            self.path(context, number).unlink(missing_ok=True)


def scratch_folder(context: Context) -> Path:
    return context.directory.scratch / "dedupe"


def numbered(context: Context, folder: str, number: int) -> Path:
    """Return the path of a file of a folder of the stage's scratch folder."""
    return scratch_folder(context) / folder / f"{number:05d}"


def copies_path(context: Context, search: str) -> Path:
    """Return the path of the rows that take no part in a search, int64, ascending."""
    return scratch_folder(context) / search / "copies.npy"


def candidates_folder(search: str) -> str:
    """Return the folder of files of distinct candidate pairs: int64[n, 2] without a header, (b, a), ascending.

    Those of one b with documents of old runs come after the others.
    """
    return f"{search}/candidates"


def memory_per_task(config: Config) -> int:
    """Return the bytes that a task may take; a worker of a cluster does one task at a time."""
    return config.memory_bytes // (1 if config.cluster.where else config.n_workers)


def row_ranges(context: Context, rows: Rows) -> list[list[RowRange]]:
    """Divide all rows among tasks, about ROWS_PER_TASK for each."""
    rows_per_task = max(ROWS_PER_TASK, rows.own // TASKS_MAX)
    tasks: list[list[RowRange]] = []
    room = 0
    for i, shard in enumerate(context.shards):
        first, n, start = int(rows.first[i]), int(rows.first[i + 1] - rows.first[i]), 0
        while start < n:
            if room <= 0:
                tasks.append([])
                room = rows_per_task
            stop = min(n, start + room)
            tasks[-1].append(RowRange(shard, first, start, stop))
            room -= stop - start
            start = stop
    return tasks


def equal_documents(context: Context, rows: Rows, old: Sequence[str] = ()) -> EqualSets:
    """Return the rows that share a hash with another row.

    old: paths of indexes, whose documents are the rows before those of the run.
    """
    layout = Layout.of(3, rows.own, memory_per_task(context.config))
    tasks = row_ranges(context, rows)
    spill = Spill("hashes", layout, len(tasks))
    do(
        context,
        [(HashPartitioner, (spill, i, ranges), spill.path(context, i)) for i, ranges in enumerate(tasks)],
        "hashes",
    )
    found = [numbered(context, "equal", i) for i in range(len(layout.ranges()))]
    do(
        context,
        [(EqualHashFinder, (spill, i, *r, old), found[i]) for i, r in enumerate(layout.ranges())],
        "equal hashes",
    )
    pairs = [np.fromfile(path, np.uint64).reshape(-1, 2) for path in found]
    spill.remove(context)
    BUFFERS.clear()
    return EqualSets.of(np.concatenate(pairs)) if pairs else EqualSets.empty()


def candidates(
    context: Context,
    rows: Rows,
    banding: Banding,
    copies: Array,
    search: str,
    old: Sequence[str] = (),
    others: Callable[[Spill], Spill] | None = None,
) -> list[Path]:
    """Return the files of the distinct pairs that share a band, by ascending ranges of b (see candidates_folder).

    copies: int64, ascending: rows that take no part because their representative does.
    search: the name of a folder that no other search uses.
    old:    paths of indexes, whose documents are the rows before those of the run.
    others: adds files to those of the candidate pairs.
    """
    save(copies_path(context, search), copies)
    memory = memory_per_task(context.config)
    tasks = row_ranges(context, rows)
    keys = Spill(f"{search}/keys", Layout.of(2, rows.own * banding.bands, memory), len(tasks))
    do(
        context,
        [(KeyPartitioner, (keys, i, r, banding, search), keys.path(context, i)) for i, r in enumerate(tasks)],
        "band keys",
    )
    ranges = keys.layout.ranges()
    layout = Layout.of(2, rows.own * PAIRS_PER_ROW, memory, max(1, rows.own))
    pairs = Spill(f"{search}/pairs", layout, len(ranges))
    do(
        context,
        [(PairFinder, ((keys, pairs), i, r, search, old), pairs.path(context, i)) for i, r in enumerate(ranges)],
        "sorted band keys",
    )
    keys.remove(context)
    if others is not None:
        pairs = others(pairs)
    distinct = [numbered(context, candidates_folder(search), i) for i in range(len(layout.ranges()))]
    do(
        context,
        [(DistinctPairFinder, (pairs, search, i, *r, rows.old), distinct[i]) for i, r in enumerate(layout.ranges())],
        "pairs of rows",
    )
    pairs.remove(context)
    BUFFERS.clear()
    return distinct


Jobs = Sequence[tuple[Callable[..., Job[Any, Any]], tuple[Any, ...], Path]]
"""(class, arguments after the context, the file that it writes) of each."""


def do(context: Context, jobs: Jobs, label: str) -> None:
    """Do jobs as tasks."""
    context.do(
        "dedupe",
        [Task(job, arguments, 1, f"{label} {number}", (path,)) for number, (job, arguments, path) in enumerate(jobs)],
    )


def save(path: Path, array: Array) -> None:
    """Write a scratch file of one array, as np.load reads it."""
    with files.atomic(path, durable=False) as partial, partial.open("wb") as f:
        np.save(f, array, allow_pickle=False)


def mapped(path: Path, dtype: Any) -> Array:
    """Return a file as a read-only array."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype)
    return np.memmap(path, dtype, "r")


class FileJob:
    """A job that leaves one file, which is complete once it has its name (see gpu_pile.run.threads.Job)."""

    def __init__(self, context: Context, path: Path, cost: int) -> None:
        self.context, self.path, self.cost = context, path, cost
        self._stack = contextlib.ExitStack()
        self._writer: Writer | None = None

    def create(self, layout: Layout | None = None) -> BinaryIO:
        """Open the file under a temporary name; with a layout, make its writer."""
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


class _RowPartitioner(FileJob, abc.ABC):
    """Partitions records of some ranges of the measured rows."""

    columns: tuple[str, ...]

    def __init__(self, context: Context, spill: Spill, number: int, ranges: Sequence[RowRange]) -> None:
        super().__init__(context, spill.path(context, number), sum(r.stop - r.start for r in ranges))
        self.layout, self.ranges = spill.layout, ranges

    def open(self) -> Iterator[tuple[int, pa.Table]]:
        self.create(self.layout)
        for shard, first_row, start, stop in self.ranges:
            row = first_row + start
            tables = row_groups(self.context, shard, self.columns, start, stop)
            while True:
                with self.context.reporter.span("dedupe", "read measured"):
                    table = next(tables, None)
                if table is None:
                    break
                yield row, table
                row += len(table)

    def process(self, block: tuple[int, pa.Table]) -> Array:
        with self.context.reporter.span("dedupe", "partition"):
            return self.records(*block)

    @abc.abstractmethod
    def records(self, first: int, table: pa.Table) -> Array:
        """Return uint64[n, layout.width], records of a table whose rows are the dense rows from `first` on."""

    def consume(self, result: Array) -> bool:
        with self.context.reporter.span("dedupe", "partition"):
            self.writer.add(result)
        return True


def salts_of(config: Dedupe, table: pa.Table) -> Array | None:
    """Return uint64[n], a number per subset if only documents of one subset are compared, else None."""
    if config.scope == "corpus":
        return None
    names, codes = subset_codes(table)
    return np.array([scope_salt(name) for name in names], np.uint64)[codes]


def scope_salt(subset: str) -> int:
    """Return the number of 64 bits that is mixed into the keys of a subset's documents."""
    return int.from_bytes(hashlib.blake2b(subset.encode(), digest_size=8).digest(), "little")


def in_subsets(table: pa.Table, chosen: Sequence[str]) -> Array:
    """Return bool[n], which rows of a measured table are of these subsets."""
    names, codes = subset_codes(table)
    return np.array([name in chosen for name in names], bool)[codes]


class HashPartitioner(_RowPartitioner):
    """Partitions the hashes of documents."""

    columns = ("subset", "hash_hi", "hash_lo")

    def records(self, first: int, table: pa.Table) -> Array:
        config = self.context.config.dedupe
        hashes = np.stack([table.column(name).to_numpy() for name in ("hash_hi", "hash_lo")], axis=1)
        apart = in_subsets(table, config.fuzzy.skip_subsets)
        rows = mark_apart(np.arange(first, first + len(table)), apart)
        return hash_records(hashes, rows, salts_of(config, table))[~in_subsets(table, config.exact.skip_subsets)]


class KeyPartitioner(_RowPartitioner):
    """Partitions the band keys of documents that take part in a search."""

    columns = ("subset", "shingles", "sketch")

    def __init__(
        self, context: Context, spill: Spill, number: int, ranges: Sequence[RowRange], banding: Banding, search: str
    ) -> None:
        super().__init__(context, spill, number, ranges)
        self.banding, self.search = banding, search

    def open(self) -> Iterator[tuple[int, pa.Table]]:
        self.copies = files.load_array(copies_path(self.context, self.search), mapped=True)
        return super().open()

    def records(self, first: int, table: pa.Table) -> Array:
        fuzzy, device = self.context.config.dedupe.fuzzy, self.context.device
        chosen = ~in_subsets(table, fuzzy.skip_subsets) & (table.column("shingles").to_numpy() > 0)
        lo, hi = np.searchsorted(self.copies, [first, first + len(table)])
        chosen[self.copies[lo:hi] - first] = False
        with device.session():
            sketches = device.upload(sketch_array(table, fuzzy.size))
            keys = device.download(band_keys(sketches, bands=self.banding.bands, rows=self.banding.rows))
        scope = salts_of(self.context.config.dedupe, table)
        if not chosen.all():  # copying keys costs less than copying sketches
            keys, scope = keys[chosen], scope if scope is None else scope[chosen]
        return key_records(keys, first + np.flatnonzero(chosen), scope)


def sketch_array(table: pa.Table, size: int) -> Array:
    """Return the sketch column, uint32[rows, size], without a copy."""
    column = table.column("sketch")
    column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values = np.frombuffer(column.buffers()[1] or b"", np.uint32)
    return values.reshape(-1, size)[column.offset : column.offset + len(column)]


class PartitionJob(FileJob, abc.ABC):
    """Reads some partitions, batch by batch within the buffers, and leaves a file of what it finds."""

    span = "sort"

    def __init__(self, context: Context, path: Path, source: Spill, start: int, stop: int) -> None:
        super().__init__(context, path, stop - start)
        self.layout, self.start, self.stop = source.layout, start, stop
        self.sources = [source.path(context, i) for i in range(source.files)]

    def open(self) -> Iterator[tuple[int, int]]:
        yield self.start, self.stop

    def process(self, block: tuple[int, int]) -> None:
        with (
            self.context.reporter.span("dedupe", self.span),
            Reader(self.sources, self.layout, *block) as reader,
        ):
            room = int(min(self.layout.buffer, reader.sizes.sum()))
            buffer, spare = BUFFERS.take(room, self.layout.width), BUFFERS.take(room, self.layout.width)
            try:
                self.write(
                    (batch, spare if len(batch) <= len(spare) else np.empty_like(batch))
                    for batch in reader.batches(buffer)
                )
            finally:
                BUFFERS.give(buffer, spare)

    @abc.abstractmethod
    def write(self, batches: Iterator[tuple[Array, Array]]) -> None:
        """Write the file from batches of records, each with a spare buffer of at least its size."""

    def consume(self, result: None) -> bool:
        return True


class EqualHashFinder(PartitionJob):
    """Leaves uint64[n, 2] without a header, what gpu_pile.dedup.buckets.equal_hashes returns."""

    def __init__(
        self, context: Context, hashes: Spill, number: int, start: int, stop: int, old: Sequence[str] = ()
    ) -> None:
        super().__init__(context, numbered(context, "equal", number), hashes, start, stop)
        self.old = old

    def write(self, batches: Iterator[tuple[Array, Array]]) -> None:
        file = self.create()
        for records, spare in batches:
            ordered = sort(records, spare)
            if self.old:
                ordered = merged(opened(self.old).sharing_hashes(ordered, self.context.config.dedupe), ordered)
            file.write(sets_of_sorted(ordered).tobytes())


class PairFinder(PartitionJob):
    """Leaves candidate pairs (b, a), some of them several times, partitioned by ranges of b."""

    def __init__(
        self,
        context: Context,
        spills: tuple[Spill, Spill],
        number: int,
        partitions: tuple[int, int],
        search: str,
        old: Sequence[str] = (),
    ) -> None:
        keys, pairs = spills
        super().__init__(context, pairs.path(context, number), keys, *partitions)
        self.target, self.search, self.old = pairs.layout, search, old

    def write(self, batches: Iterator[tuple[Array, Array]]) -> None:
        self.create(self.target)
        device, neighbours_max = self.context.device, self.context.config.dedupe.fuzzy.bucket_neighbours_max
        argsort: Callable[[Array], Array] | None = None if device.backend == "cpu" else device.argsort
        out = np.empty((max(neighbours_max, OUT_PAIRS), 2), np.uint64)
        for records, spare in batches:
            ordered = by_key(records, spare, argsort)
            if not self.old:
                for pairs in pairs_of_sorted(ordered, neighbours_max, out):
                    self.writer.add(pairs)
                continue
            old = opened(self.old)
            both = merged(self.sharing(old, ordered), ordered)
            for pairs in pairs_of_sorted(both, neighbours_max, out):
                own = pairs[pairs[:, 0] >= old.total]  # what old runs keep stays, whatever else they keep
                self.writer.add(own - np.uint64(old.total))  # modulo 2^64: own rows begin at 0, as the layout expects

    def sharing(self, old: OldDocuments, ordered: Array) -> Array:
        """Return the key records of old documents that share a band, without those whose representatives take part."""
        found = old.sharing_keys(ordered, self.context.config.dedupe)
        copies = files.load_array(copies_path(self.context, self.search), mapped=True)
        return found[~np.isin(found[:, 1], copies[: np.searchsorted(copies, old.total)].astype(np.uint64))]


class DistinctPairFinder(PartitionJob):
    """Leaves distinct candidate pairs (see candidates_folder); old: how many rows are before those of the run."""

    span = "distinct"

    def __init__(
        self, context: Context, pairs: Spill, search: str, number: int, start: int, stop: int, old: int = 0
    ) -> None:
        self.old = np.uint64(old)
        super().__init__(context, numbered(context, candidates_folder(search), number), pairs, start, stop)

    def write(self, batches: Iterator[tuple[Array, Array]]) -> None:
        file = self.create()
        for records, spare in batches:
            pairs = distinct_pairs(records, spare)
            pairs += self.old
            if len(pairs):
                file.write(pairs.data.cast("B"))
