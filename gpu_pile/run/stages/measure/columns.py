"""The columns of a measured file: one row per good document, in the order of the lines.

    doc_id        uint64   shard index * 2^40 + 0-based line; renewed when other inputs change the shard's index
    shard         string   the shard's name, as a dictionary
    id            string   with input.id_field: the document's id in its source
    line          int64    1-based line of the decompressed shard
    start, length int64    bytes of the line in the decompressed stream, without the line feed
    subset        string   "" if the document names none
    text_bytes    int64    UTF-8 bytes of the text
    hash_hi, hash_lo  uint64   the exact hash (of the normalised text, if dedupe.exact.normalize says so)
    shingles      int64    shingles in the text, repetitions counted
    sketch        binary   uint32[K], little-endian
    ...           int64 or float64, one column per signal
    ...           float64 or string, one column per field of input.fields

A file's bytes do not depend on workers, batch_bytes, or range_bytes: row groups have a fixed number of rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_pile import signals
from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.ops.doc_hash import doc_hash
from gpu_pile.ops.normal_words import normal_words
from gpu_pile.ops.op import Op
from gpu_pile.ops.parse_lines import parse_lines
from gpu_pile.ops.sketch import sketch
from gpu_pile.run import directory
from gpu_pile.run.config import Config
from gpu_pile.run.context import Context
from gpu_pile.run.exact_text import exact_text
from gpu_pile.run.own_columns import ID
from gpu_pile.text.column import TextColumn
from gpu_pile.types import Array, DeviceArray

Span = Callable[[str], contextlib.AbstractContextManager[Any]]

ROW_GROUP = 65_536
FORMAT = 4
"""Raised when the meaning of a measured file, a histogram, or a sample changes."""

EXTRAS = 1
"""Raised when another value is read for a field besides text and subset."""

NOT_READ = ("shards", "preset", "against", "seek_points", "subsets")
"""Options of the section input that change nothing in what is read."""

INCOMPRESSIBLE = ("sketch", "hash_hi", "hash_lo")


def definition_key(context: Context) -> str:
    """What measured files depend on besides the shard itself."""
    c = context.config
    fuzzy = c.dedupe.fuzzy
    return files.key_of(
        {
            "format": FORMAT,
            "input": c.input.model_dump(
                exclude={
                    "shards",
                    "preset",
                    "against",
                    "seek_points",
                    "subsets",
                    *(() if c.input.fields else ("fields",)),
                }
            ),
            **({"extras": EXTRAS} if c.input.line_format.extras else {}),
            "normalize": c.dedupe.exact.normalize,
            "sketch": [fuzzy.shingle, fuzzy.width, fuzzy.sketch, fuzzy.size, fuzzy.seed],
            "signals": signals.definition_versions(c.measure.signals),
            "ops": {o.name: o.version for o in _ops(c)},
        }
    )


def _ops(config: Config) -> Iterator[Op]:
    """The operations that measuring by this configuration uses, besides those of its signals."""
    yield from (parse_lines, doc_hash, sketch)
    if config.dedupe.exact.normalize == "words":
        yield normal_words


def text_arrays(text: TextColumn, config: Config, span: Span = contextlib.nullcontext) -> dict[str, DeviceArray]:
    """Return what is computed from the text alone, where the text is; results of operations for signals by their names.

    span(name) times what it encloses.
    """
    fuzzy = config.dedupe.fuzzy
    with span("hash"):
        hashes = doc_hash(exact_text(text, config.dedupe.exact.normalize))
    with span("sketch"):
        values, shingles = sketch(
            text, kind=fuzzy.shingle, width=fuzzy.width, method=fuzzy.sketch, k=fuzzy.size, seed=fuzzy.seed
        )
    with span("signals"):
        counts = signals.count(text, config.measure.signals)
    return {"offsets": text.offsets, "hashes": hashes, "sketches": values, "shingles": shingles, **counts}


def text_columns(
    arrays: Mapping[str, Array], text: TextColumn, config: Config, span: Span = contextlib.nullcontext
) -> dict[str, Any]:
    """Return the columns that come from the text alone. arrays: what text_arrays gave, in host memory."""
    hashes = arrays["hashes"]
    with span("signals"):
        table = signals.compute(text, config.measure.signals, results=arrays)
    return {
        "text_bytes": np.diff(arrays["offsets"]),
        "hash_hi": np.ascontiguousarray(hashes[:, 0]),
        "hash_lo": np.ascontiguousarray(hashes[:, 1]),
        "shingles": arrays["shingles"],
        "sketch": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(4 * config.dedupe.fuzzy.size), len(text), [None, pa.py_buffer(arrays["sketches"])]
        ),
        **{name: table.column(name) for name in table.column_names},
    }


def empty_table(config: Config) -> pa.Table:
    """Return a measured table of no documents."""
    nothing, text = np.empty(0, np.int64), TextColumn.empty()
    table = pa.table(
        {
            "line": nothing,
            "start": nothing,
            "length": nothing,
            "subset": pa.array([], pa.string()),
            **text_columns(text_arrays(text, config), text, config),
        }
    )
    settings = config.input
    types = (pa.float64() if name in settings.own_signals else pa.string() for name in settings.extra_columns)
    return with_extras(table, {n: pa.array([], t) for n, t in zip(settings.extra_columns, types, strict=True)})


def with_extras(table: pa.Table, columns: Mapping[str, pa.Array]) -> pa.Table:
    """Return a measured table with the other fields of its documents: the id as the first column, others at the end."""
    for name, column in columns.items():
        table = table.add_column(0, ID, column) if name == ID else table.append_column(name, column)
    return table


def with_ids(table: pa.Table, shard: Shard) -> pa.Table:
    """Return a measured table of a shard with doc_id and shard as its first columns, in the place of any before."""
    line = table.column("line").to_numpy().astype(np.uint64)
    name = pa.DictionaryArray.from_arrays(np.zeros(len(table), np.int32), pa.array([shard.name], pa.string()))
    others = table.drop_columns([n for n in ("doc_id", "shard") if n in table.column_names])
    ids = pa.array(directory.doc_id(np.uint64(shard.index), line), pa.uint64())
    return others.add_column(0, "doc_id", ids).add_column(1, "shard", name)


class RowGroups:
    """Rows and their cells in groups of ROW_GROUP, each handed to a function as soon as it is full.

    Args:
        write: called as write(table, cells int16[signals, rows]).
    """

    def __init__(self, write: Callable[[pa.Table, Array], None]) -> None:
        self._write = write
        self._rows: list[pa.Table] = []
        self._cells: list[Array] = []
        self._n_rows = self._n_groups = 0

    def add(self, table: pa.Table, cells: Array) -> None:
        self._rows.append(table)
        self._cells.append(cells)
        self._n_rows += len(table)
        while self._n_rows >= ROW_GROUP:
            rows, all_cells = pa.concat_tables(self._rows), np.concatenate(self._cells, axis=1)
            self._hand_on(rows.slice(0, ROW_GROUP), all_cells[:, :ROW_GROUP])
            self._rows, self._cells = [rows.slice(ROW_GROUP)], [all_cells[:, ROW_GROUP:]]
            self._n_rows = len(self._rows[0])

    def finish(self, empty: Callable[[], pa.Table], n_cells: int) -> None:
        """Hand on the last group; an empty one if there are no rows at all."""
        if self._n_rows or not self._n_groups:
            rows = pa.concat_tables(self._rows) if self._rows else empty()
            self._hand_on(rows, np.concatenate([np.empty((n_cells, 0), np.int16), *self._cells], axis=1))

    def _hand_on(self, table: pa.Table, cells: Array) -> None:
        self._write(table.combine_chunks(), cells)
        self._n_groups += 1
