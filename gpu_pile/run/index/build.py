"""Make indexes: of a finished run, and of several indexes together; and the indexes that a run is compared with.

Hashes and band keys of a run are partitioned and sorted by the tasks of dedupe (run.stages.dedupe.candidates), within
its memory_bytes. Indexes are put together range of values by range of values: nothing that is sorted is sorted again as
a whole.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.dedup.radix import sort
from gpu_pile.errors import UsageError
from gpu_pile.present.tables import human_bytes
from gpu_pile.run import directory
from gpu_pile.run.config import Config
from gpu_pile.run.context import Context
from gpu_pile.run.index.runs import decided_key, finished
from gpu_pile.run.index.sorting import sorted_records
from gpu_pile.run.index.store import (
    DOCUMENT,
    HEAD,
    ROWS_MAX,
    Index,
    IndexedRun,
    IndexShard,
    Writer,
    check_definitions,
    definitions,
)
from gpu_pile.run.stages.dedupe.candidates import sketch_array
from gpu_pile.run.tables import Rows, row_groups, subset_codes
from gpu_pile.types import Array

PARTIAL = ".partial"
RECORDS_AT_A_TIME = 1 << 20
INDEX_BYTES = 250
"""Of an index per document, besides its sketch: measured with 16 bands."""

COLUMNS = ["line", "subset", "text_bytes", "shingles", "sketch"]


def is_index(path: str) -> bool:
    """Return whether there is an index at a path, not a run."""
    return (Path(path) / HEAD).is_file()


def make(sources: Sequence[str], target: Path, config: Config | None = None) -> Index:
    """Make the index of runs and indexes.

    config: gives memory_bytes and workers in the place of those that the runs were made with.

    Raises:
        UsageError: a source is neither a finished run nor an index, a run comes twice, definitions differ, or there is
            something at the target.
    """
    if target.exists():
        raise UsageError(f"{target} exists; name a new folder for the index, or remove that one first")
    work = target.with_name(target.name + PARTIAL)
    shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
    with files.disk_errors(work), contextlib.ExitStack() as stack:
        work.mkdir(parents=True)
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        parts = []
        for i, source in enumerate(sources):
            if not is_index(source):
                _of_run(source, work / f"{i:04d}", work / "scratch", config)
            parts.append(Index(Path(source) if is_index(source) else work / f"{i:04d}"))
            check_definitions(parts[-1].definitions, parts[0].definitions, f"{source}, unlike {sources[0]},")
        _check_runs([run.path for part in parts for run in part.runs])
        made = work / "0000" if len(parts) == 1 and not is_index(sources[0]) else work / "merged"
        if made.name == "merged":
            _merge(parts, made)
        made.replace(target)
    return Index(target)


def _check_runs(paths: Sequence[str]) -> None:
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise UsageError(f"the run {twice[0]} comes twice; give each run, or an index that has it, once")


def indexes_of(context: Context, folder: Path) -> tuple[str, ...]:
    """Return the paths of indexes of everything in input.against; those of runs are made in a folder."""
    found = []
    for given in context.config.input.against:
        path = str(files.path_of(given).resolve())
        if not is_index(path):
            target = folder / f"index-{files.key_of(path)}"
            target.parent.mkdir(parents=True, exist_ok=True)
            with context.reporter.span("dedupe", "index"):
                make([path], target, context.config)
            path = str(target)
        found.append(path)
    return tuple(found)


def keys_of(against: Sequence[str]) -> list[list[str]]:
    """Return the runs that runs and indexes stand for, each with the key of what it decided."""
    return [[run.path, run.decided] for given in against for run in _runs(given)[0]]


def check_against(config: Config, output: str) -> None:
    """Check that a configuration can be compared with the runs and indexes in input.against.

    Raises:
        UsageError: one of them is missing or unfinished, was made by other definitions or has changed since; a run
            comes twice, or is this one.
    """
    if not config.input.against:
        return
    ours, paths = definitions(config), []
    for given in config.input.against:
        runs, theirs = _runs(given)
        check_definitions(theirs, ours, given)
        paths += [run.path for run in runs]
        for run in runs:
            now = decided_key(directory.RunDir(files.path_of(run.path)))
            if now and now != run.decided:
                raise UsageError(
                    f"the run {run.path} has changed since the index {given} was made of it; make the index again "
                    f"with: gpu-pile index {run.path} {given}"
                )
    _check_runs(paths)
    if output in paths:
        raise UsageError(f"input.against: {output} is this run itself, which cannot be compared with itself")


def against_line(config: Config, run_directory: directory.RunDir) -> str:
    """Return a line of --dry-run about input.against, after check_against."""
    check_against(config, str(run_directory.path.resolve()))
    parts, documents = [], 0
    for given in config.input.against:
        if is_index(given):
            index = Index(Path(given))
            documents += index.documents_total
            parts.append(f"{given} ({index.documents_total:,} documents)")
        else:
            total = Rows.of(finished(given)).total
            documents += total
            size = human_bytes(total * (4 * config.dedupe.fuzzy.size + INDEX_BYTES))
            parts.append(f"{given} ({total:,} documents; its index, about {size}, is made in scratch)")
    texts = (
        "old texts are read where a pair is verified"
        if config.dedupe.fuzzy.verify == "exact"
        else "no old text is read"
    )
    return f"{', '.join(parts)}; {texts}, memory 1 byte per old document: {human_bytes(documents)}"


def _runs(given: str) -> tuple[list[IndexedRun], dict[str, Any]]:
    """The runs that a run or an index stands for, and its definitions."""
    if is_index(given):
        index = Index(Path(given))
        return index.runs, index.definitions
    context = finished(given)
    path = str(context.directory.path.resolve())
    return [IndexedRun(path, decided_key(context.directory))], definitions(context.config)


def _of_run(run: str, target: Path, scratch: Path, config: Config | None) -> None:
    """Write the index of a run; its tables are read once for each of hashes, band keys and documents."""
    context = _for_index(finished(run), scratch, config)
    rows = Rows.of(context)
    if rows.total >= ROWS_MAX:
        raise UsageError(f"{run} has {rows.total:,} documents, an index may have {ROWS_MAX - 1:,}; index parts of it")
    run_directory, sizes = context.directory, np.diff(rows.first).tolist()
    with Writer(target) as writer:
        subsets = _add_documents(context, writer)
        for records in sorted_records(context, rows, "hashes"):
            writer.add("hash_keys.bin", records[:, :2])
            writer.add("hash_rows.bin", records[:, 2].astype(np.uint32))
        for records in sorted_records(context, rows, "keys"):
            writer.add("band_keys.bin", records[:, 0])
            writer.add("band_rows.bin", records[:, 1].astype(np.uint32))
        writer.head(
            {
                "definitions": definitions(context.config),
                "documents": rows.total,
                "subsets": subsets,
                "runs": [{"path": str(run_directory.path.resolve()), "decided": decided_key(run_directory)}],
                "shards": [
                    {"run": 0, "name": shard.name, "first": first, "end": first + size}
                    for shard, first, size in zip(context.shards, rows.first.tolist(), sizes, strict=False)
                ],
            }
        )
    shutil.rmtree(scratch, ignore_errors=True)


def _for_index(context: Context, scratch: Path, config: Config | None) -> Context:
    """A finished run, to be indexed: all subsets take part, and scratch files are elsewhere."""
    given = config or context.config
    dedupe = context.config.dedupe
    everything = dedupe.model_copy(
        update={
            "exact": dedupe.exact.model_copy(update={"skip_subsets": []}),
            "fuzzy": dedupe.fuzzy.model_copy(update={"skip_subsets": []}),
        }
    )
    update = {"dedupe": everything, "memory_bytes": given.memory_bytes, "workers": given.workers}
    context.config = context.config.model_copy(update={**update, "cluster": type(given.cluster)()})
    context.directory = directory.RunDir(context.directory.path, scratch)
    return context


def _add_documents(context: Context, writer: Writer) -> list[str]:
    """Write the row of each document; return the names of the subsets."""
    subsets: dict[str, int] = {}
    for number, shard in enumerate(context.shards):
        decided = files.table(directory.need(context.directory.decisions(shard.name)))
        writer.add("keep.bin", pq.read_table(decided, columns=["keep"]).column("keep").to_numpy().astype(np.uint8))
        for table in row_groups(context, shard, COLUMNS):
            names, codes = subset_codes(table)
            rows = np.zeros(len(table), DOCUMENT)
            rows["shard"] = number
            rows["subset"] = np.array([subsets.setdefault(name, len(subsets)) for name in names], np.uint32)[codes]
            for column in ("line", "text_bytes", "shingles"):
                rows[column] = table.column(column).to_numpy()
            writer.add("documents.bin", rows)
            writer.add("sketches.bin", sketch_array(table, context.config.dedupe.fuzzy.size))
    return list(subsets)


def _merge(parts: Sequence[Index], target: Path) -> None:
    """Write the index of several indexes."""
    first = np.cumsum([0, *(part.documents_total for part in parts)])
    if first[-1] >= ROWS_MAX:
        raise UsageError(f"{first[-1]:,} documents are too many for one index, which may have {ROWS_MAX - 1:,}")
    subsets: dict[str, int] = {}
    shards: list[IndexShard] = []
    runs: list[IndexedRun] = []
    with Writer(target) as writer:
        for part, row in zip(parts, first.tolist(), strict=False):
            part.check()
            codes = np.array([subsets.setdefault(name, len(subsets)) for name in part.subsets], np.uint32)
            _copy_documents(part, writer, len(shards), codes)
            shards += [IndexShard(len(runs) + s.run, s.name, row + s.first, row + s.end) for s in part.shards]
            runs += part.runs
        _merge_sorted([(p.hash_keys, p.hash_rows) for p in parts], first, writer, "hash")
        _merge_sorted([(p.band_keys.reshape(-1, 1), p.band_rows) for p in parts], first, writer, "band")
        writer.head(
            {
                "definitions": parts[0].definitions,
                "documents": int(first[-1]),
                "subsets": list(subsets),
                "runs": [run._asdict() for run in runs],
                "shards": [shard._asdict() for shard in shards],
            }
        )


def _copy_documents(part: Index, writer: Writer, first_shard: int, codes: Array) -> None:
    """Write the rows of an index to another one; codes: what the other one calls the subsets."""
    for start in range(0, part.documents_total, RECORDS_AT_A_TIME):
        documents = np.array(part.documents[start : start + RECORDS_AT_A_TIME])
        documents["shard"] = documents["shard"] + np.uint32(first_shard)
        documents["subset"] = codes[documents["subset"]]
        writer.add("documents.bin", documents)
        writer.add("sketches.bin", part.sketches[start : start + RECORDS_AT_A_TIME])
    writer.add("keep.bin", part.keep)


def _merge_sorted(parts: Sequence[tuple[Array, Array]], first: Array, writer: Writer, kind: str) -> None:
    for records in _merged_records(parts, first):
        writer.add(f"{kind}_keys.bin", records[:, :-1])
        writer.add(f"{kind}_rows.bin", records[:, -1].astype(np.uint32))


def _merged_records(parts: Sequence[tuple[Array, Array]], first: Array) -> Iterator[Array]:
    """Yield the sorted records of several sorted arrays, a range of the first column at a time."""
    total = sum(len(keys) for keys, _ in parts)
    bits = max(0, (total // RECORDS_AT_A_TIME).bit_length())
    cuts = np.arange(1, 1 << bits, dtype=np.uint64) << np.uint64(64 - bits) if bits else np.empty(0, np.uint64)
    bounds = [np.concatenate(([0], np.searchsorted(keys[:, 0], cuts), [len(keys)])) for keys, _ in parts]
    for i in range(len(cuts) + 1):
        slices = []
        for (keys, rows), bound, row in zip(parts, bounds, first.tolist(), strict=False):
            here = slice(int(bound[i]), int(bound[i + 1]))
            moved = rows[here].astype(np.uint64) + np.uint64(row)
            slices.append(np.concatenate([keys[here], moved[:, None]], axis=1))
        records = np.concatenate(slices)
        yield sort(records, np.empty_like(records))
