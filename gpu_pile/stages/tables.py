"""Reading the run directory's tables: measured rows by row group, dense rows and doc_ids, documents by position."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile import files, rundir
from gpu_pile.columns import TextColumn
from gpu_pile.errors import DataError
from gpu_pile.files import AnyPath
from gpu_pile.ops.parse_lines import parse_lines
from gpu_pile.shards import Block, Part, Shard, copy_spans
from gpu_pile.stages.context import Context

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Rows:
    """Dense numbering of all good documents, in the order of (shard, line): row first[i] is shard i's first."""

    names: tuple[str, ...]
    first: Array

    @classmethod
    def of(cls, context: Context) -> Rows:
        counts = [context.run.state("measure", s.name)["documents"] for s in context.shards]
        return cls(tuple(s.name for s in context.shards), np.concatenate(([0], np.cumsum(counts, dtype=np.int64))))

    @property
    def total(self) -> int:
        return int(self.first[-1])


def row_groups(
    context: Context, shard: Shard, columns: Sequence[str], start: int = 0, stop: int | None = None
) -> Iterator[pa.Table]:
    """The measured table of a shard, or its rows start .. stop, a row group at a time."""
    with pq.ParquetFile(files.table(context.run.measured(shard.name))) as file:
        end = 0
        for i in range(file.num_row_groups):
            first, end = end, end + file.metadata.row_group(i).num_rows
            if end > start and (stop is None or first < stop):
                table = file.read_row_group(i, columns=list(columns))
                lo, hi = max(0, start - first), end - first if stop is None else min(stop, end) - first
                yield table.slice(lo, hi - lo)


def table_rows(path: AnyPath, first: int, end: int, columns: Sequence[str]) -> pa.Table:
    """Rows first .. end of a table; only the row groups that hold them are read."""
    with pq.ParquetFile(files.table(path)) as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        begins = np.concatenate(([0], np.cumsum(sizes)))
        lo = max(0, int(np.searchsorted(begins, first, "right")) - 1)
        hi = int(np.searchsorted(begins[:-1], end))
        table = file.read_row_groups(list(range(lo, max(lo, hi))), columns=list(columns))
    return table.slice(first - int(begins[lo]), end - first)


@dataclass(frozen=True)
class MeasuredPart:
    """A part of a measured shard: its documents are rows first .. end of the shard's tables."""

    shard: Shard
    part: Part
    first: int
    end: int

    @property
    def what(self) -> str:
        return self.part.said(self.shard)


def measured_parts(context: Context, shard: Shard) -> list[MeasuredPart]:
    """The parts in which a shard was measured, each with where it begins in the decompressed stream."""
    recorded = context.run.state("measure", shard.name)["parts"]
    first, found = 0, []
    for i, p in enumerate(recorded):
        part = Part(i, len(recorded), p["first"], p["end"], p["start"])
        found.append(MeasuredPart(shard, part, first, first + p["documents"]))
        first += p["documents"]
    return found


def scan(context: Context, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """(first row, table) of every row group of every shard, in order."""
    row = 0
    for shard in context.shards:
        for table in row_groups(context, shard, columns):
            yield row, table
            row += len(table)


def doc_ids(context: Context, rows: Rows, wanted: Array) -> Array:
    """uint64 doc_ids of dense rows (ascending)."""
    out = np.empty(len(wanted), np.uint64)
    for i, shard in enumerate(context.shards):
        lo, hi = np.searchsorted(wanted, [rows.first[i], rows.first[i + 1]])
        if hi > lo:
            lines = (
                pq.read_table(files.table(context.run.measured(shard.name)), columns=["line"]).column("line").to_numpy()
            )
            out[lo:hi] = rundir.doc_id(np.uint64(shard.index), lines[wanted[lo:hi] - rows.first[i]].astype(np.uint64))
    return out


def subset_codes(table: pa.Table) -> tuple[list[str], Array]:
    """(names, int64 code of each row) of a table's subset column."""
    encoded = table.column("subset").combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def parse_spans(context: Context, block: Block, starts: Array, lengths: Array) -> TextColumn:
    """The texts of good lines of a block, given by their position in the block."""
    packed = np.empty(int(lengths.sum()) + len(lengths) + 64, np.uint8)
    n = copy_spans(block.data, starts, lengths, packed)
    config = context.config.input
    return parse_lines(
        context.place.upload(packed[:n]),
        text_path=tuple(config.text_field.split(".")),
        subset_path=tuple(config.subset_field.split(".")),
        skip_bom=True,  # only a stream's first line can be good and begin with one
        bare_strings=config.bare_strings,
        text_lists=config.text_lists,
    ).text


@dataclass(frozen=True)
class Place:
    """Where a document is: its row in the shard's tables, its line's bytes in the decompressed stream.

    seek:     where reading may begin, (byte of the file, byte of the stream).
    distance: decompressed bytes from there to the document: what must be read to see its text.
    """

    shard: Shard
    line: int
    group: int
    row: int
    start: int
    length: int
    seek: tuple[int, int]

    @property
    def doc_id(self) -> int:
        return int(rundir.doc_id(self.shard.index, self.line))

    @property
    def distance(self) -> int:
        return self.start + self.length - self.seek[1]


def places(context: Context, wanted: Sequence[int]) -> dict[int, Place | None]:
    """Where documents are, by doc_id; None for an id that is no document's. Reads the row groups they are in."""
    found: dict[int, Place | None] = dict.fromkeys(wanted)
    by_shard: dict[int, list[int]] = {}
    for identifier in wanted:
        by_shard.setdefault(rundir.split_doc_id(identifier)[0], []).append(rundir.split_doc_id(identifier)[1])
    for index, lines in by_shard.items():
        if index >= len(context.shards):
            continue
        shard = context.shards[index]
        seek = context.run.state("measure", shard.name)["seek_points"] or [(0, 0)]
        with pq.ParquetFile(files.table(context.run.measured(shard.name))) as file:
            groups = _Groups(file)
            for line in sorted(set(lines)):
                group, row = groups.find(line)
                if group >= 0:
                    start, length = (int(groups.columns(group)[k][row]) for k in ("start", "length"))
                    near = max((p for p in seek if p[1] <= start), key=lambda p: p[1], default=(0, 0))
                    place = Place(shard, line, group, row, start, length, (near[0], near[1]))
                    found[place.doc_id] = place
    return found


class _Groups:
    """Lines ascend, so the row group of a line is found by bisection."""

    def __init__(self, file: pq.ParquetFile) -> None:
        self._file = file
        self._held: dict[int, dict[str, Array]] = {}

    def columns(self, group: int) -> dict[str, Array]:
        if group not in self._held:
            table = self._file.read_row_group(group, columns=["line", "start", "length"])
            self._held[group] = {name: table.column(name).to_numpy() for name in table.column_names}
        return self._held[group]

    def find(self, line: int) -> tuple[int, int]:
        """(row group, row in it) of a line, (-1, -1) where it is no document."""
        low, high = 0, self._file.num_row_groups - 1
        while low <= high:
            middle = (low + high) // 2
            lines = self.columns(middle)["line"]
            if not len(lines) or line < lines[0]:
                high = middle - 1
            elif line > lines[-1]:
                low = middle + 1
            else:
                row = int(np.searchsorted(lines, line))
                return (middle, row) if lines[row] == line else (-1, -1)
        return -1, -1


def read_texts(context: Context, wanted: Sequence[Place]) -> dict[int, str]:
    """The texts at these places by doc_id. Each shard is read from the nearest place where a frame begins, forward.

    Raises:
        DataError: a shard has changed since the run.
    """
    texts: dict[int, str] = {}
    order = sorted(wanted, key=lambda p: (p.shard.index, p.seek, p.start))
    for (_, seek), group in itertools.groupby(order, key=lambda p: (p.shard.index, p.seek)):
        waiting = list(group)
        shard = waiting[0].shard
        for block in context.reader(shard, seek):
            here = [p for p in waiting if block.start <= p.start < block.start + block.n_bytes]
            if here:
                starts, lengths = (
                    np.array(x) for x in zip(*((p.start - block.start, p.length) for p in here), strict=True)
                )
                inside = starts[-1] + lengths[-1] <= block.n_bytes
                text = parse_spans(context, block, starts, lengths).documents() if inside else []
                if len(text) != len(here):
                    break
                texts.update({p.doc_id: t.decode() for p, t in zip(here, text, strict=True)})
                waiting = waiting[len(here) :]
            block.release()
            if not waiting:
                break
        if waiting:
            raise DataError(
                f"{shard.path} has changed since the run: no document at byte {waiting[0].start}; "
                "run the same gpu-pile command again to measure it anew"
            )
    return texts


EXCERPT = 1000


def beginning(text: str) -> str:
    """The first EXCERPT characters."""
    return text if len(text) <= EXCERPT else text[:EXCERPT] + "…"


def largest_clusters(context: Context, n: int, read_bytes: float) -> pa.Table:
    """The clusters with most documents: cluster, documents, the doc_id and excerpt of one member.

    The member is one near the beginning of a shard, because a shard of one zstd frame must be read up to it.

    Args:
        read_bytes: decompressed bytes to read at most; an excerpt is null where that, or the shard, is not enough.
    """
    table = pq.read_table(files.table(context.run.clusters), columns=["doc_id", "cluster"])
    cluster, doc_id = table.column("cluster").to_numpy(), table.column("doc_id").to_numpy()
    names, inverse, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    chosen = np.lexsort((names, -sizes))[:n]
    line_bits = np.uint64((1 << rundir.DOC_ID_LINE_BITS) - 1)
    members = (doc_id[inverse == c] for c in chosen)
    easiest = [int(m[np.argmin(m & line_bits)]) for m in members]
    readable, left = [], read_bytes
    for place in places(context, easiest).values():
        if place is not None and place.distance <= left and place.shard.path.is_file():
            left -= place.distance
            readable.append(place)
    try:
        texts = read_texts(context, readable)
    except DataError:  # the shards have changed since: the sizes are worth showing all the same
        texts = {}
    return pa.table(
        {
            "cluster": pa.array(names[chosen], pa.uint64()),
            "documents": pa.array(sizes[chosen], pa.int64()),
            "doc_id": pa.array(easiest, pa.uint64()),
            "excerpt": pa.array([beginning(texts[i]) if i in texts else None for i in easiest], pa.string()),
        }
    )
