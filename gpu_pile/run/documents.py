"""Find single documents of a run and read their texts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.lines import packed_lines
from gpu_pile.corpus.seek_points import STEP, first_step
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import DataError
from gpu_pile.run import directory
from gpu_pile.run.context import Context
from gpu_pile.run.index.old import OLD
from gpu_pile.run.reading import open_shard, seek_index
from gpu_pile.run.tables import parse_again
from gpu_pile.types import Array


@dataclass(frozen=True)
class DocumentLocation:
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
        return int(directory.doc_id(self.shard.index, self.line))

    @property
    def distance(self) -> int:
        return self.start + self.length - self.seek[1]


def locate(context: Context, wanted: Sequence[int]) -> dict[int, DocumentLocation | None]:
    """Return the location of each document by doc_id, None for an id that no document has."""
    found: dict[int, DocumentLocation | None] = dict.fromkeys(wanted)
    by_shard: dict[int, list[int]] = {}
    for identifier in wanted:
        by_shard.setdefault(directory.split_doc_id(identifier)[0], []).append(directory.split_doc_id(identifier)[1])
    for index, lines in by_shard.items():
        if index >= len(context.shards):
            continue
        shard = context.shards[index]
        seek = _seek_points(context, shard)
        with pq.ParquetFile(files.table(context.directory.measured(shard.name))) as file:
            groups = _Groups(file)
            for line in sorted(set(lines)):
                group, row = groups.find(line)
                if group >= 0:
                    start, length = (int(groups.columns(group)[k][row]) for k in ("start", "length"))
                    near = max((p for p in seek if p[1] <= start), key=lambda p: p[1], default=(0, 0))
                    location = DocumentLocation(shard, line, group, row, start, length, (near[0], near[1]))
                    found[location.doc_id] = location
    return found


def _seek_points(context: Context, shard: Shard) -> Sequence[tuple[int, int]]:
    """Return where reading may begin: (byte of the file, byte of the stream)."""
    index = seek_index(context, shard)
    if index is not None:
        return [(int(offset), first_step(position) * STEP) for offset, position, *_ in index.points.tolist()]
    return context.directory.state("measure", shard.name)["seek_points"] or [(0, 0)]


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
        """Return (row group, row in the group) of a line; (-1, -1) if the line is not a document."""
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


def read_texts(context: Context, wanted: Sequence[DocumentLocation]) -> dict[int, str]:
    """The texts at these places by doc_id. Each shard is read from the nearest location where a frame begins, forward.

    Raises:
        DataError: a shard has changed since the run.
    """
    texts: dict[int, str] = {}
    order = sorted(wanted, key=lambda p: (p.shard.index, p.seek, p.start))
    for (_, seek), group in itertools.groupby(order, key=lambda p: (p.shard.index, p.seek)):
        waiting = list(group)
        shard = waiting[0].shard
        for block in open_shard(context, shard, seek):
            here = [p for p in waiting if block.start <= p.start < block.start + block.n_bytes]
            if here:
                starts, lengths = (
                    np.array(x) for x in zip(*((p.start - block.start, p.length) for p in here), strict=True)
                )
                inside = starts[-1] + lengths[-1] <= block.n_bytes
                lines = packed_lines(block.data, starts, lengths) if inside else None
                text = [] if lines is None else parse_again(context, shard, lines).documents()
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
                "run the same gpu-pile command again to measure it again"
            )
    return texts


EXCERPT = 1000


def beginning(text: str) -> str:
    """The first EXCERPT characters."""
    return text if len(text) <= EXCERPT else text[:EXCERPT] + "…"


def readable_texts(context: Context, wanted: Sequence[int], read_bytes: float) -> dict[int, str]:
    """The texts of some documents by doc_id, without those that are out of reach.

    Args:
        read_bytes: decompressed bytes to read at most. Nor can a shard be read that is gone or has changed.
    """
    readable, left = [], read_bytes
    for location in locate(context, wanted).values():
        if location is not None and location.distance <= left and location.shard.path.is_file():
            left -= location.distance
            readable.append(location)
    try:
        return read_texts(context, readable)
    except DataError:  # what is known without the texts is worth showing all the same
        return {}


def largest_clusters(context: Context, n: int, read_bytes: float) -> pa.Table:
    """The clusters with most documents: cluster, documents, the doc_id and excerpt of one member.

    The member is one near the beginning of a shard, because a shard of one zstd frame must be read up to it.

    Args:
        read_bytes: decompressed bytes to read at most; an excerpt is null where that, or the shard, is not enough.
    """
    table = pq.read_table(files.table(context.directory.clusters), columns=["doc_id", "cluster"])
    cluster, doc_id = table.column("cluster").to_numpy(), table.column("doc_id").to_numpy()
    names, inverse, sizes = np.unique(cluster, return_inverse=True, return_counts=True)
    chosen = np.lexsort((names, -sizes))[:n]
    own = doc_id < np.uint64(OLD)
    members = (doc_id[(inverse == c) & own] for c in chosen)
    easiest = [int(m[np.argmin(directory.split_doc_id(m)[1])]) for m in members]
    texts = readable_texts(context, easiest, read_bytes)
    return pa.table(
        {
            "cluster": pa.array(names[chosen], pa.uint64()),
            "documents": pa.array(sizes[chosen], pa.int64()),
            "doc_id": pa.array(easiest, pa.uint64()),
            "excerpt": pa.array([beginning(texts[i]) if i in texts else None for i in easiest], pa.string()),
        }
    )
