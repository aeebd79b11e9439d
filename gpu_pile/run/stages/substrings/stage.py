"""substrings: what documents that pass repeat of earlier text -> substrings/<shard>.parquet; off by default.

A document passes if it fails no threshold and duplicates no other document. A window, a run of as many bytes or tokens
as dedupe.substrings.min_bytes or min_tokens says, is a copy if an equal one ended before it began: in the same
document, or in one that passes and comes before. What copies cover is cut. docs/substrings.md says it with examples,
decision 41 proves that nothing is missed.

Columns, one row per document that has something to cut, ascending:

    doc_id, subset, text_bytes      as in decisions/
    cut_bytes      int64            how many bytes of its text are cut
    referred       bool             whether the text of others is cut because it stands here
    starts, lengths    list<int64>  what is cut, in the bytes of its text: ascending, without overlaps
    sources        list<uint64>     the doc_id of an earlier document, or of the same one, that has the same bytes
    source_starts  list<int64>      where in its text; with min_tokens in its text with single spaces

Steps, as tasks (substrings.texts, substrings.tasks):

    contexts   read texts: anchors, each with all its windows
    copies     sort: contexts that are whole copies; others may share windows if they share an anchor
    windows    read texts of those again; sort: windows that are copies
    cover      matches by position, the fewest that cover all
    cut        read texts of both sides: digests that must be equal, whole characters

Memory: sorting stays within memory_bytes; a task that reads texts holds the matches of a range of a shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.dedup.partition import BUFFERS, Layout, Writer
from gpu_pile.dedup.substrings import POSITIONS, Cover
from gpu_pile.errors import DataError
from gpu_pile.ops.anchors import anchors
from gpu_pile.ops.doc_hash import doc_hash
from gpu_pile.run import directory
from gpu_pile.run import removals as removal_lists
from gpu_pile.run.context import Context
from gpu_pile.run.stages import decide
from gpu_pile.run.stages.dedupe.candidates import memory_per_task, save
from gpu_pile.run.stages.substrings.tasks import (
    DIFFERENT,
    MEMORY_PARTS,
    STAGE,
    DigestComparer,
    GramFinder,
    Sorted,
    Spill,
    copies,
    do,
    numbered,
    scratch_folder,
    sorted_records,
)
from gpu_pile.run.stages.substrings.texts import (
    Chosen,
    ContextJob,
    Cut,
    CutJob,
    Part,
    WindowJob,
    chosen_path,
    cut_path,
    passing_path,
)
from gpu_pile.run.stages.substrings.windows import windows_of
from gpu_pile.run.tables import measured_ranges, table_rows
from gpu_pile.run.tasks import Task
from gpu_pile.run.threads import map_threads
from gpu_pile.types import Array

VERSION = 1

PART_BYTES = 4 * 2**20
"""Bytes of the shards that a task reads at least, if there are so many."""

TASKS_MAX = 1024

SCHEMA = pa.schema(
    [
        ("doc_id", pa.uint64()),
        ("subset", pa.string()),
        ("text_bytes", pa.int64()),
        ("cut_bytes", pa.int64()),
        ("referred", pa.bool_()),
        ("starts", pa.list_(pa.int64())),
        ("lengths", pa.list_(pa.int64())),
        ("sources", pa.list_(pa.uint64())),
        ("source_starts", pa.list_(pa.int64())),
    ]
)


def substrings_key(context: Context) -> str | None:
    """Return the key of everything that substrings/ depends on; None if there is nothing to do."""
    settings = context.config.dedupe.substrings
    if not settings.enabled:
        return None
    return files.key_of(
        {
            "version": VERSION,
            "ops": {o.name: o.version for o in (anchors, doc_hash)},
            "passing": decide.passing_key(context),
            "scope": context.config.dedupe.scope,
            "min": [settings.min_bytes, settings.min_tokens],
        }
    )


def substrings(context: Context) -> dict[str, Any]:
    """Write substrings/<shard>.parquet. Return what the report says of them."""
    run = context.directory
    run.clear_scratch(STAGE)
    with context.stage(STAGE, [*context.shards] * 3) as entry, files.disk_errors(run.scratch):
        search = Search(context)
        facts = search.run()
        entry["text_bytes"] = sum(run.state("measure", s.name)["text_bytes"] for s in context.shards)
    run.clear_scratch(STAGE)
    return facts


class Search:
    """The search of a run."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.windows = windows_of(context.config.dedupe.substrings)
        states = [context.directory.state("measure", s.name) for s in context.shards]
        sizes = [s["text_bytes"] + s["documents"] for s in states]
        self.begins = np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
        if self.begins[-1] >= POSITIONS:
            raise DataError(
                f"dedupe.substrings can tell {POSITIONS:,} bytes of text apart, these shards have "
                f"{int(self.begins[-1]):,}; make several runs"
            )
        self.text_bytes = 0
        self.parts: list[Part] = []

    def layout(self, width: int, expected: float, values: int = 1 << 64) -> Layout:
        memory = memory_per_task(self.context.config) // MEMORY_PARTS
        return Layout.of(width, int(expected) + 1, memory, values)

    def by_position(self, width: int, expected: float) -> Layout:
        return self.layout(width, expected, max(2, int(self.begins[-1])))

    def run(self) -> dict[str, Any]:
        """Do all steps."""
        with self.context.reporter.span(STAGE, "passing"):
            self.look_up()
        n_chosen = self.choose(*self.find())
        different = self.verify(n_chosen)
        if len(different):
            self.context.reporter.note(
                f"{len(different)} repeated substrings share a 128-bit hash with a different text; the documents that "
                "have them are left whole"
            )
        with self.context.reporter.span(STAGE, "tables"):
            counts = map_threads(
                lambda shard: self.write_table(shard, different), self.context.shards, self.context.config.n_workers
            )
        documents, cut_bytes = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
        return {
            "documents": documents,
            "cut_bytes": cut_bytes,
            "matches": n_chosen,
            "searched_bytes": self.text_bytes,
            "collisions": len(different),
        }

    def look_up(self) -> None:
        """Find the documents that pass, and where each document begins."""
        removals = removal_lists.read(self.context.config.decide.remove, self.context.shards)
        removal_lists.check(self.context, removals)
        clustered = decide.survivors(self.context, removals)

        def look(i: int) -> tuple[int, list[tuple[int, int]]]:
            shard = self.context.shards[i]
            found = [
                (v.keep, v.table.column("text_bytes").to_numpy(), v.table.column("line").to_numpy())
                for v in decide.verdicts(self.context, shard, clustered, removals, substrings=False)
            ]
            empty = (np.empty(0, bool), np.empty(0, np.int64), np.empty(0, np.int64))
            keep, sizes, line = (np.concatenate(c) for c in zip(empty, *found, strict=True))
            ends = int(self.begins[i]) + np.cumsum(sizes + 1)
            save(passing_path(self.context, shard.name), keep)
            save(self._places(shard), np.stack([ends - sizes - 1, line]))
            bounds = np.concatenate(([self.begins[i]], ends)).tolist()
            ranges = measured_ranges(self.context, shard)
            return int(sizes[keep].sum()), [(bounds[r.first], bounds[r.end]) for r in ranges]

        found = map_threads(look, range(len(self.context.shards)), self.context.config.n_workers)
        for shard, (n_bytes, bounds) in zip(self.context.shards, found, strict=True):
            self.text_bytes += n_bytes
            for measured, (low, high) in zip(measured_ranges(self.context, shard), bounds, strict=True):
                self.parts.append(Part(measured, len(self.parts), low, high))

    def _places(self, shard: Shard) -> Path:
        """Return the path of where each document of a shard begins, and its line: int64[2, n]."""
        return scratch_folder(self.context) / "places" / f"{shard.name}.npy"

    def groups_of_parts(self) -> list[tuple[Part, ...]]:
        """Divide the parts among tasks."""
        total = sum(part.measured.shard_range.n_bytes for part in self.parts)
        least = max(PART_BYTES, total // TASKS_MAX)
        groups: list[list[Part]] = [[]]
        n_bytes = 0
        for part in self.parts:
            if n_bytes >= least:
                groups.append([])
                n_bytes = 0
            groups[-1].append(part)
            n_bytes += part.measured.shard_range.n_bytes
        return [tuple(group) for group in groups if group]

    def read(self, make: Any, output: Spill, args: tuple[Any, ...], label: str, spills: Any = None) -> None:
        """Do a job that reads texts, for all parts."""
        tasks = []
        for number, parts in enumerate(self.groups_of_parts()):
            n_bytes = sum(part.measured.shard_range.n_bytes for part in parts)
            made = (output.path(self.context, number),)
            given = (spills or output, number, parts, self.windows, *args)
            tasks.append(Task(make, given, n_bytes, f"{label} of {parts[0].measured.label}", made, n_bytes))
        self.context.do(STAGE, tasks)

    def find(self) -> tuple[Sorted, float]:
        """Return all matches, sorted, and how many contexts there are about."""
        context, n = self.context, len(self.groups_of_parts())
        expected = self.text_bytes * self.windows.contexts_per_byte
        contexts = Spill("contexts", self.layout(3, expected), n)
        self.read(ContextJob, contexts, (), "contexts")
        n_sorted = len(contexts.layout.ranges())
        whole = Spill("matches", self.by_position(3, expected / 2), n_sorted)
        grams = Spill("grams", self.layout(2, expected), n_sorted)
        copies(context, contexts, whole, grams, "equal contexts")
        positions = Spill("positions", self.by_position(1, expected / 4), len(grams.layout.ranges()))
        jobs = range(len(grams.layout.ranges()))
        do(context, "shared grams", [(GramFinder, (grams, positions, i), positions.path(context, i)) for i in jobs])
        grams.remove(context)
        shared = sorted_records(context, [positions], "shared")
        n_shared = sum(path.stat().st_size for path in shared.paths) // 8
        windows = Spill("windows", self.layout(3, n_shared / self.windows.contexts_per_byte), n)
        self.read(WindowJob, windows, (shared,), "windows")
        parted = Spill("more-matches", whole.layout, len(windows.layout.ranges()))
        copies(context, windows, parted, None, "equal windows")
        return sorted_records(context, [whole, parted], "sorted-matches"), expected

    def choose(self, matches: Sorted, expected: float) -> int:
        """Leave the matches of a cover (texts.Chosen), and their sources; return how many."""
        n = 0
        layout = self.by_position(2, expected / 4)
        sources = Spill("sources", layout, 1)
        paths = [chosen_path(self.context, name) for name in Chosen._fields]
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        sources.path(self.context, 0).parent.mkdir(parents=True, exist_ok=True)
        with (
            self.context.reporter.span(STAGE, "cover"),
            sources.path(self.context, 0).open("wb") as file,
            paths[0].open("wb") as targets,
            paths[1].open("wb") as origins,
            paths[2].open("wb") as lengths,
        ):
            writer = Writer(file, layout)
            for chosen in _covering(matches):
                for column, out in zip(chosen.T, (targets, origins, lengths), strict=True):
                    column.tofile(out)
                writer.add(np.ascontiguousarray(chosen[:, 1:]))
                n += len(chosen)
            writer.close()
        for path in matches.paths:
            path.unlink()
        self.sources = sorted_records(self.context, [sources], "sorted-sources")
        return n

    def verify(self, n_chosen: int) -> Array:
        """Leave what is cut of each part; return the matches of texts that are not equal after all."""
        layout = self.by_position(5, 2 * n_chosen)
        n = len(self.groups_of_parts())
        spills = Spill("source-digests", layout, n), Spill("target-digests", layout, n)
        self.read(CutJob, spills[1], (self.sources,), "cuts", spills)
        paths = [numbered(self.context, DIFFERENT, i) for i in range(len(layout.ranges()))]
        do(self.context, "digests", [(DigestComparer, (*spills, i), path) for i, path in enumerate(paths)])
        for spill in spills:
            spill.remove(self.context)
        BUFFERS.clear()
        return np.sort(np.concatenate([np.fromfile(path, np.uint64) for path in paths])).astype(np.int64)

    def write_table(self, shard: Shard, different: Array) -> tuple[int, int]:
        """Write substrings/<shard>.parquet; return how many documents and bytes it cuts."""
        context = self.context
        chosen = Chosen.mapped(context)
        documents = n_bytes = 0
        path = context.directory.substrings(shard.name)
        with files.atomic(path) as partial, pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
            for part in self.parts:
                if part.measured.shard == shard:
                    with np.load(cut_path(context, part.number), allow_pickle=False) as arrays:
                        cut = Cut(**arrays)
                    table = self.table_of(part, cut, different, chosen)
                    documents += len(table)
                    n_bytes += int(table.column("cut_bytes").to_numpy().sum())
                    writer.write_table(table)
        return documents, n_bytes

    def table_of(self, part: Part, cut: Cut, different: Array, chosen: Chosen) -> pa.Table:
        """Return the rows of a part."""
        measured = part.measured
        whole = np.unique(cut.row[np.isin(cut.number, different)])
        left = ~np.isin(cut.row, whole)
        row, start, length, number, offset = (values[left] for values in cut[:5])
        source, source_start = self.documents_at(chosen.source[number].astype(np.int64) + offset)
        rows, first = np.unique(row, return_index=True)
        bounds = pa.array([*first.tolist(), len(row)], pa.int32())
        columns = ("line", "subset", "text_bytes")
        table = table_rows(self.context.directory.measured(measured.shard.name), measured.first, measured.end, columns)
        table = table.take(pa.array(rows))
        line = table.column("line").to_numpy().astype(np.uint64)
        lists = [pa.ListArray.from_arrays(bounds, pa.array(values)) for values in (start, length, source, source_start)]
        cut_bytes = np.add.reduceat(length, first) if len(first) else np.empty(0, np.int64)
        return pa.table(
            [
                pa.array(directory.doc_id(np.uint64(measured.shard.index), line)),
                table.column("subset"),
                table.column("text_bytes"),
                pa.array(cut_bytes),
                pa.array(np.isin(rows, cut.referred)),
                *lists,
            ],
            schema=SCHEMA,
        )

    def documents_at(self, positions: Array) -> tuple[Array, Array]:
        """Return (uint64 doc_id, int64 byte of its text) of positions."""
        documents, starts = np.empty(len(positions), np.uint64), np.empty(len(positions), np.int64)
        shards = np.searchsorted(self.begins, positions, "right") - 1
        for i in np.unique(shards).tolist():
            here = shards == i
            shard = self.context.shards[i]
            begin, line = files.load_array(self._places(shard), mapped=True)
            rows = np.searchsorted(begin, positions[here], "right") - 1
            documents[here] = directory.doc_id(np.uint64(shard.index), line[rows].astype(np.uint64))
            starts[here] = positions[here] - begin[rows]
        return documents, starts


def _covering(matches: Sorted) -> Iterator[Array]:
    cover = Cover()
    for records in matches.between(0, POSITIONS):
        for start in range(0, len(records), 1 << 20):
            yield cover.add(np.ascontiguousarray(records[start : start + (1 << 20)]))
    yield cover.end()
