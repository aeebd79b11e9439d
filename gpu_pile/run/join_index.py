"""A table elsewhere, prepared for looking up documents: its values in plain files, and an index sorted by key.

The key of a row is the 128-bit hash of its id, or its shard and line as a doc_id; ids that are found are compared once
more. Everything is in scratch files, which are mapped, not held: memory_bytes for sorting, and a batch of rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.corpus import files
from gpu_pile.corpus.fields import numbers_of, taken
from gpu_pile.corpus.rows import is_string
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.tables import ERRORS, open_table
from gpu_pile.dedup.partition import BUFFERS, Layout, Reader, Writer
from gpu_pile.dedup.radix import sort
from gpu_pile.errors import ConfigError
from gpu_pile.ops.doc_hash import doc_hash
from gpu_pile.run import directory
from gpu_pile.run.config import Join
from gpu_pile.run.context import Context
from gpu_pile.run.own_columns import ID, STRING_MAX
from gpu_pile.text.column import TextColumn, plain
from gpu_pile.types import Array

BATCH_BYTES = 16 << 20
EXAMPLES = 3
NUMBER, STRING = "number", "string"


def column_type(kind: Any) -> str | None:
    """Return what a column of a type is joined as; None if it cannot be."""
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return NUMBER
    return STRING if is_string(kind) or pa.types.is_temporal(kind) or pa.types.is_decimal(kind) else None


class Strings:
    """Strings in files, null where the size is -1."""

    def __init__(self, stem: Path) -> None:
        self.paths = [stem.with_name(f"{stem.name}.{what}") for what in ("bytes", "starts", "sizes")]
        self._files: list[BinaryIO] = [path.open("wb") for path in self.paths]
        self._n_bytes = 0

    def add(self, column: pa.Array) -> None:
        sizes = pc.fill_null(pc.binary_length(column), -1).to_numpy(zero_copy_only=False).astype(np.int64)
        text = TextColumn.from_arrow(pc.fill_null(column, ""))
        for file, array in zip(self._files, (text.data, text.offsets[:-1] + self._n_bytes, sizes), strict=True):
            file.write(np.ascontiguousarray(array).data)
        self._n_bytes += text.n_bytes

    def close(self) -> None:
        for file in self._files:
            file.close()

    def map(self) -> None:
        self.data, self.starts, self.sizes = (
            mapped(path, kind) for path, kind in zip(self.paths, (np.uint8, np.int64, np.int64), strict=True)
        )

    def take(self, rows: Array) -> pa.Array:
        """Return the strings of rows, null where the row is -1."""
        sizes = np.where(rows >= 0, self.sizes[rows], -1) if len(self.sizes) else np.full(len(rows), -1)
        starts = self.starts[rows] if len(self.starts) else rows
        strings = taken(self.data, starts, np.maximum(sizes, 0)).to_arrow()
        return pc.if_else(pa.array(sizes >= 0), strings, pa.scalar(None, strings.type)).cast(pa.string())


class Numbers:
    """float64 in a file, NaN for null."""

    def __init__(self, stem: Path) -> None:
        self.path = stem
        self._file = stem.open("wb")

    def add(self, column: pa.Array) -> None:
        values = numbers_of(column.cast(pa.large_string()))
        self._file.write(pc.fill_null(values, float("nan")).to_numpy(zero_copy_only=False).data)

    def close(self) -> None:
        self._file.close()

    def map(self) -> None:
        self.values = mapped(self.path, np.float64)

    def take(self, rows: Array) -> pa.Array:
        """Return the numbers of rows, null where the row is -1."""
        values = np.where(rows >= 0, self.values[rows], np.nan) if len(self.values) else np.full(len(rows), np.nan)
        return pa.array(values, mask=np.isnan(values))


def mapped(path: Path, kind: Any) -> Array:
    """Return the content of a file as a mapped array; an empty file cannot be mapped."""
    return np.asarray(np.memmap(path, kind, "r")) if path.stat().st_size else np.empty(0, kind)


class JoinIndex:
    """A table in scratch files (see the module).

    n_rows: its rows; first: its first keys, to be shown; seen: bool[n_rows], the rows that documents have
    """

    def __init__(self, context: Context, path: str, join: Join, folder: Path) -> None:
        self.context, self.path, self.join, self.folder = context, path, join, folder
        self.indices = {shard.name: shard.index for shard in context.shards}
        self.n_rows = 0
        self.first: list[str] = []
        self.seen: Array = np.zeros(0, bool)
        folder.mkdir(parents=True)
        self.ids = Strings(folder / "ids")
        self.columns: dict[str, Strings | Numbers] = {
            name: Numbers(folder / f"{i}") if kind == NUMBER else Strings(folder / f"{i}")
            for i, (name, kind) in enumerate((join.columns or {}).items())
        }

    @classmethod
    def build(cls, context: Context, path: str, join: Join, folder: Path) -> JoinIndex:
        """Read a table.

        Raises:
            ConfigError: it has two rows of one key, or cannot be read to its end.
        """
        index = cls(context, path, join, folder)
        stores = [index.ids, *index.columns.values()]
        with contextlib.ExitStack() as stack, (folder / "keys").open("wb") as file:
            for store in stores:
                stack.callback(store.close)
            for keys in index._read():
                file.write(keys.data)
        for store in stores:
            store.map()
        index._sort(mapped(folder / "keys", np.uint64).reshape(-1, 3))
        index._check_unique()
        index.seen = np.memmap(folder / "seen", np.bool_, "w+", shape=(max(1, index.n_rows),))
        return index

    def _read(self) -> Iterator[Array]:
        """Store values; yield uint64[n, 3], the keys and the numbers of their rows, without rows that have none."""
        wanted = [*self.join.on, *self.columns]
        try:
            with open_table(files.path_of(self.path)) as table:
                for part in table.parts(wanted, BATCH_BYTES):
                    for batch in part.batches:
                        yield self._take(batch)
        except ERRORS as error:
            said = " ".join(str(error).split())
            raise ConfigError(f"measure.join: {self.path} is damaged ({said:.200}); nothing of it was used") from error

    def _take(self, batch: pa.RecordBatch) -> Array:
        batch.validate(full=True)
        for name, column in self.columns.items():
            values = plain(batch.column(name))
            if isinstance(column, Strings):
                values = values.cast(pa.large_string())
                if (pc.max(pc.binary_length(values)).as_py() or 0) > STRING_MAX:
                    values = pc.utf8_slice_codeunits(values, 0, STRING_MAX)
            column.add(values)
        keys, known = self._places(batch) if self.join.by_place else self._hashes(batch)
        rows = np.arange(self.n_rows, self.n_rows + len(batch), dtype=np.uint64)
        self.n_rows += len(batch)
        return np.ascontiguousarray(np.column_stack([keys, rows])[known])

    def _hashes(self, batch: pa.RecordBatch) -> tuple[Array, Array]:
        (name,) = self.join.on
        ids = plain(batch.column(name)).cast(pa.large_string())
        self.ids.add(ids)
        if not self.first:
            self.first = [repr(key) for key in ids[:EXAMPLES].to_pylist()]
        return hashes_of(ids), ids.is_valid().to_numpy(zero_copy_only=False)

    def _places(self, batch: pa.RecordBatch) -> tuple[Array, Array]:
        shard, line = (plain(batch.column(name)) for name in self.join.on)
        if not is_string(shard.type) or not pa.types.is_integer(line.type):
            raise ConfigError(
                f"measure.join: {self.path}: shard has the type {shard.type} and line {line.type}; expected a string "
                "and a whole number, the 1-based line"
            )
        names = pc.dictionary_encode(shard.cast(pa.string()).fill_null(""))
        codes = np.array([self.indices.get(name, -1) for name in names.dictionary.to_pylist()] or [-1], np.int64)
        code = codes[names.indices.to_numpy(zero_copy_only=False)]
        number = pc.fill_null(line.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
        if not self.first:
            pairs = zip(shard[:EXAMPLES].to_pylist(), number[:EXAMPLES].tolist(), strict=True)
            self.first = [f"{name}:{n}" for name, n in pairs]
        known = (code >= 0) & (number > 0) & (number < 1 << 40)
        places = directory.doc_id(
            np.where(known, code, 0).astype(np.uint64), np.where(known, number, 1).astype(np.uint64)
        )
        return np.column_stack([places, np.zeros(len(places), np.uint64)]), known

    def _sort(self, keys: Array) -> None:
        """Write the columns of the sorted keys, each to a file of its own, and map them."""
        memory = self.context.config.memory_bytes
        values = max(1, len(self.indices)) << 40 if self.join.by_place else 1 << 64
        layout = Layout.of(3, len(keys), memory, values)
        partitioned = self.folder / "partitioned"
        with partitioned.open("wb") as file:
            writer = Writer(file, layout)
            for start in range(0, len(keys), layout.buffer):
                writer.add(keys[start : start + layout.buffer])
            writer.close()
        room = int(min(layout.buffer, len(keys)))
        buffer, spare = BUFFERS.take(room, 3), BUFFERS.take(room, 3)
        paths = [self.folder / name for name in ("high", "low", "row")]
        outs = [path.open("wb") for path in paths]
        with Reader([partitioned], layout, 0, layout.partitions) as reader:
            for batch in reader.batches(buffer):
                records = sort(batch, spare if len(batch) <= room else np.empty_like(batch))
                for column, out in zip(records.T, outs, strict=True):
                    out.write(np.ascontiguousarray(column).data)
        for out in outs:
            out.close()
        BUFFERS.clear()
        self.high, self.low, self.row = (mapped(path, np.uint64) for path in paths)

    def _check_unique(self) -> None:
        """Raise a ConfigError that names the first keys that several rows have."""
        twice: list[int] = []
        for start in range(0, len(self.high), 1 << 20):
            stop = start + (1 << 20) + 1  # one more, so that neighbours meet
            high, low = self.high[start:stop], self.low[start:stop]
            twice += (start + np.flatnonzero((high[1:] == high[:-1]) & (low[1:] == low[:-1]))).tolist()
        same = [(int(self.row[i]), int(self.row[i + 1])) for i in twice]
        if not self.join.by_place:
            a, b = (self.ids.take(np.array([pair[k] for pair in same], np.int64)).to_pylist() for k in (0, 1))
            same = [pair for pair, x, y in zip(same, a, b, strict=True) if x == y]
        if same:
            names = [self._name(row) for row, _ in same]
            said = ", ".join(f"{name} (rows {x} and {y})" for name, (x, y) in zip(names[:EXAMPLES], same, strict=False))
            raise ConfigError(
                f"measure.join: {self.path} has {len(same):,} keys twice: {said}; a document can have one row"
            )

    def _name(self, row: int) -> str:
        if not self.join.by_place:
            return repr(self.ids.take(np.array([row]))[0].as_py())
        index, line = directory.split_doc_id(int(self.high[np.flatnonzero(self.row == row)[0]]))
        return f"{self.context.shards[index].name}:{line}"

    def find(self, shard: Shard, measured: pa.Table) -> Array:
        """Return int64[n], the row of each document of a measured table, -1 for none."""
        if self.join.by_place:
            high = directory.doc_id(np.uint64(shard.index), measured.column("line").to_numpy().astype(np.uint64))
            rows = self._search(high, np.zeros(len(high), np.uint64))
        else:
            ids = measured.column(ID).combine_chunks().cast(pa.large_string())
            hashes = hashes_of(ids)
            rows = self._search(hashes[:, 0], hashes[:, 1])
            same = pc.equal(self.ids.take(rows), ids.cast(pa.string()))
            rows[~pc.fill_null(same, False).to_numpy(zero_copy_only=False)] = -1
        self.seen[rows[rows >= 0]] = True
        return rows

    def _search(self, high: Array, low: Array) -> Array:
        at = np.searchsorted(self.high, high)
        rows = np.full(len(high), -1, np.int64)
        waiting = np.flatnonzero(at < len(self.high))
        while len(waiting):  # twice, if 64 bits of two hashes are equal
            here = at[waiting]
            waiting, here = (x[self.high[here] == high[waiting]] for x in (waiting, here))
            equal = self.low[here] == low[waiting]
            rows[waiting[equal]] = self.row[here[equal]].astype(np.int64)
            waiting = waiting[~equal]
            at[waiting] += 1
            waiting = waiting[at[waiting] < len(self.high)]
        return rows

    def take(self, rows: Array) -> dict[str, pa.Array]:
        """Return the columns of rows, null where the row is -1."""
        return {name: column.take(rows) for name, column in self.columns.items()}

    def used(self) -> int:
        """Return how many rows were found."""
        return int(np.count_nonzero(self.seen[: self.n_rows]))


def hashes_of(ids: pa.Array) -> Array:
    """Return uint64[n, 2] of strings; those of "" for null."""
    return np.ascontiguousarray(doc_hash(TextColumn.from_arrow(pc.fill_null(ids, ""))))
