"""What is looked for: documents given by their texts, by their hashes, or by their names in an indexed run.

texts    JSON lines, each an object with "text" (and "id", if it has one) or a string; or *.txt, one text
hashes   a line per document: 32 hexadecimal digits, hash_hi and hash_lo of a measured table
ids      a line per document: SHARD:LINE, a doc_id of decisions/, or with input.id_field its id in its source
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.errors import DataError, UsageError
from gpu_pile.ops.doc_hash import doc_hash
from gpu_pile.ops.sketch import sketch
from gpu_pile.run import directory
from gpu_pile.run.exact_text import exact_text
from gpu_pile.run.index.runs import finished
from gpu_pile.run.index.store import Index
from gpu_pile.run.removals import lines_of
from gpu_pile.text.column import TextColumn
from gpu_pile.types import Array

HASH = re.compile(r"[0-9a-fA-F]{32}")
TEXTS_MAX = 1 << 30
"""Bytes of texts that are looked for at a time."""


@dataclass(frozen=True)
class Queries:
    """n documents that are looked for.

    names: what each is called in results
    hashes: uint64[n, 2]. sketches: uint32[n, size]; None where only equal documents are looked for
    shingles: int64[n], of each text. texts: those that were given, else None
    """

    names: list[str]
    hashes: Array
    sketches: Array | None = None
    shingles: Array | None = None
    texts: list[str] | None = None

    def __len__(self) -> int:
        return len(self.names)


def of_texts(path: AnyPath, index: Index) -> Queries:
    """Read texts, and hash and sketch them as the index does.

    Raises:
        UsageError: a line is not a text; names the line.
    """
    names, texts = [], []
    for name, text in _texts(path):
        names.append(name)
        texts.append(text)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"{path}: two texts have the id {twice!r:.80}; give each its own, or none")
    how, column = index.definitions, TextColumn.from_documents(texts)
    if column.n_bytes > TEXTS_MAX:
        raise UsageError(f"{path} has {column.n_bytes:,} bytes of text, expected at most {TEXTS_MAX:,}; split it")
    sketches, shingles = sketch(
        column,
        kind=how["dedupe.fuzzy.shingle"],
        width=how["dedupe.fuzzy.width"],
        method=how["dedupe.fuzzy.sketch"],
        k=how["dedupe.fuzzy.size"],
        seed=how["dedupe.fuzzy.seed"],
    )
    hashes = doc_hash(exact_text(column, how["dedupe.exact.normalize"]))
    return Queries(names, np.asarray(hashes), np.asarray(sketches), np.asarray(shingles), texts)


def _texts(path: AnyPath) -> Iterator[tuple[str, str]]:
    """(name, text) of each document of a file."""
    if path.name.endswith(".txt"):
        with files.opened(path) as source:
            yield path.name, source.pread(source.size, 0).decode("utf-8", "replace")
        return
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise UsageError(f"{path}, line {number}: not valid JSON: {error}") from error
        text = value.get("text") if isinstance(value, dict) else value
        if not isinstance(text, str):
            raise UsageError(f'{path}, line {number}: expected an object with "text", or a string, got {value!r:.80}')
        name = value.get("id") if isinstance(value, dict) else None
        yield (str(number) if name is None else str(name)), text


def of_hashes(path: AnyPath) -> Queries:
    """Read hashes.

    Raises:
        UsageError: a line is not a hash; names the line.
    """
    names = [name for _, name in _words(path)]
    for number, name in _words(path):
        if not HASH.fullmatch(name):
            raise UsageError(
                f"{path}, line {number}: expected 32 hexadecimal digits, hash_hi and hash_lo of a measured table, got "
                f"{name!r:.80}"
            )
    numbers = [(int(name[:16], 16), int(name[16:], 16)) for name in names]
    return Queries(names, np.array(numbers, np.uint64).reshape(-1, 2))


def of_ids(path: AnyPath, index: Index) -> Queries:
    """Read names of documents of the indexed runs; their hashes come from the runs' tables, sketches from the index.

    Raises:
        UsageError: a line names no document; names the line.
    """
    named = list(_words(path))
    rows = _rows_of([name for _, name in named], index)
    for (number, name), row in zip(named, rows, strict=True):
        if row < 0:
            raise UsageError(
                f"{path}, line {number}: the index has no document {name!r:.80}; expected SHARD:LINE, a doc_id, or "
                "an id that input.id_field gave a document"
            )
    chosen = np.array(rows, np.int64)
    documents = index.documents[chosen]
    hashes = np.array([_hash(index, row) for row in rows], np.uint64).reshape(-1, 2)
    return Queries([name for _, name in named], hashes, index.sketches[chosen], documents["shingles"].astype(np.int64))


def _words(path: AnyPath) -> Iterator[tuple[int, str]]:
    """(number, content) of each line that is not blank."""
    for number, line in enumerate(lines_of(path, plain=True), 1):
        if line.strip():
            yield number, line.decode("utf-8", "replace").strip()


def _rows_of(names: Sequence[str], index: Index) -> list[int]:
    """The row of each named document, -1 where there is none."""
    shards = {shard.name: shard for shard in reversed(index.shards)}
    by_index = [shard for shard in index.shards if shard.run == 0]
    rows = []
    for name in names:
        shard_name, _, line = name.rpartition(":")
        shard = shards.get(shard_name)
        number = int(line) if line.isdecimal() and len(line) < 14 else 0
        if name.isdecimal() and len(name) < 20 and len(index.runs) == 1:
            at, number = directory.split_doc_id(int(name))
            shard = by_index[at] if at < len(by_index) else None
        rows.append(-1 if shard is None else _row_of_line(index, shard.first, shard.end, number))
    missing = [name for name, row in zip(names, rows, strict=True) if row < 0]
    own = _own_ids(missing, index) if missing else {}
    return [own.get(name, -1) if row < 0 else row for name, row in zip(names, rows, strict=True)]


def _row_of_line(index: Index, first: int, end: int, line: int) -> int:
    lines = index.documents["line"][first:end]
    at = int(np.searchsorted(lines, line))
    return first + at if at < len(lines) and lines[at] == line else -1


def _own_ids(names: Sequence[str], index: Index) -> dict[str, int]:
    """The rows of documents by the ids that they have in their source."""
    found: dict[str, int] = {}
    for shard in index.shards:
        path = finished(index.runs[shard.run].path).directory.measured(shard.name)
        with pq.ParquetFile(files.table(path)) as file:
            if "id" not in file.schema_arrow.names:
                continue
            column = file.read(["id"]).column("id")
        for row in np.flatnonzero(pc.is_in(column, pa.array(names, pa.string())).to_numpy()).tolist():
            found.setdefault(column[row].as_py(), shard.first + row)
    return found


def _hash(index: Index, row: int) -> tuple[int, int]:
    """The hash of a document, from the measured table of its run."""
    shard = index.shards[int(index.documents["shard"][row])]
    run = finished(index.runs[shard.run].path).directory
    first = row - shard.first
    with pq.ParquetFile(files.table(run.measured(shard.name))) as file:
        for group in range(file.num_row_groups):
            n = file.metadata.row_group(group).num_rows
            if first < n:
                table = file.read_row_group(group, ["hash_hi", "hash_lo"]).slice(first, 1)
                high, low = (column[0].as_py() for column in table.columns)
                return high, low
            first -= n
    raise DataError(f"{run.measured(shard.name)} has fewer rows than when it was indexed; make the index again")
