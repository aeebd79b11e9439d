"""Removal lists: documents that decide removes because a file names them (decide.remove).

A list is YAML (a list of mappings), JSON lines, compressed by zstd or not, or Parquet, with a row per document:

    shard   string  the shard's name, as in decisions/
    line    int     1-based
    reason  string  optional; "takedown" if nothing is said
    note    string  optional; shown beside the reason

A row that names no document of the run is an error: a document that somebody wants removed must not stay by a slip.
What was applied is stored in removals.parquet of the run directory, so that trials of thresholds need no other file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from gpu_pile.corpus import files
from gpu_pile.corpus.decoders import PlainDecoder, decoder_of
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.identity import HashedFile, file_identity
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.zstd_frames import CHUNK
from gpu_pile.dedup.survivors import OF_OTHERS
from gpu_pile.errors import UsageError
from gpu_pile.run.context import Context
from gpu_pile.run.tables import row_groups
from gpu_pile.types import Array

TAKEDOWN = "takedown"

LEFT_OUT = "subset_left_out"
"""The reason of documents whose subset is not chosen (input.subsets)."""

OWN_NAMES = (*OF_OTHERS, LEFT_OUT)
"""Reasons without a dot that no list may give."""

SCHEMA = pa.schema([("shard", pa.string()), ("line", pa.int64()), ("reason", pa.string()), ("note", pa.string())])

ROWS_AT_A_TIME = 1 << 16
LINE_BYTES_MAX = 1 << 26
YAML_BYTES_MAX = 1 << 24
WINDOW_BYTES_MAX = 128 << 20
REASONS_MAX = 64
REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")

ENDINGS = (".yaml", ".yml", ".jsonl", ".jsonl.zst", ".parquet")

Row = tuple[str, int, str, str | None]


def is_of_list(reason: str) -> bool:
    """Return whether a reason in decisions comes from a removal list; names of rules of thresholds have a dot."""
    return "." not in reason and reason not in OWN_NAMES


class Removals:
    """Rows of removal lists, distinct and ascending by shard, line and reason.

    table: SCHEMA. reasons: their distinct reasons, ascending.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        names = table.column("shard").combine_chunks().dictionary_encode()
        shards = np.asarray(names.indices.to_numpy(zero_copy_only=False), np.int64)
        self._lines = table.column("line").to_numpy()
        reasons = table.column("reason").to_numpy(zero_copy_only=False).astype(str)
        self.reasons: list[str] = sorted(set(reasons.tolist()))
        self._codes = np.searchsorted(np.array(self.reasons, str), reasons)
        bounds = np.searchsorted(shards, np.arange(len(names.dictionary) + 1))
        self._bounds = dict(
            zip(names.dictionary.to_pylist(), zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True), strict=True)
        )

    @classmethod
    def none(cls) -> Removals:
        return cls(SCHEMA.empty_table())

    def lines(self, shard: str) -> Array:
        """Return int64, ascending: the lines of a shard that are named, once for each reason."""
        lo, hi = self._bounds.get(shard, (0, 0))
        return np.asarray(self._lines[lo:hi])

    def marks(self, shard: str, lines: Array) -> Array:
        """Return bool[n, reasons]: for which reasons documents are named; lines: int64[n], ascending."""
        marks = np.zeros((len(lines), len(self.reasons)), bool)
        first = self._bounds.get(shard, (0, 0))[0]
        named = self.lines(shard)
        if len(lines) and len(named):
            lo, hi = np.searchsorted(named, [lines[0], lines[-1] + 1])
            at = np.searchsorted(lines, named[lo:hi])
            here = lines[at] == named[lo:hi]
            marks[at[here], self._codes[first + lo : first + hi][here]] = True
        return marks

    def note(self, shard: str, line: int, reason: str) -> str | None:
        """Return what the list says about a document that it names."""
        lo, hi = self._bounds.get(shard, (0, 0))
        for i in range(lo + int(np.searchsorted(self._lines[lo:hi], line)), hi):
            row = self.table.slice(i, 1).to_pylist()[0]
            if row["line"] != line:
                break
            if row["reason"] == reason:
                note: str | None = row["note"]
                return note
        return None


def key_of(paths: Iterable[str]) -> list[str]:
    """Return what changes whenever the content of one of these lists does."""
    return [file_identity(_there(path)) for path in paths]


def applied(context: Context) -> Removals:
    """Return what the decisions of a run were made with.

    Raises:
        UsageError: the run has not come to deciding.
    """
    if not context.config.decide.remove:
        return Removals.none()
    path = context.directory.removals
    if not path.is_file():
        raise UsageError(f"{path} is missing: this run is not finished; go on with: gpu-pile run CONFIG")
    return Removals(pq.read_table(files.table(path)))


def read(paths: Sequence[str], shards: Sequence[Shard]) -> Removals:
    """Read removal lists.

    Raises:
        UsageError: a file is missing or has a row that is not understood; names the file and the row.
    """
    known = {shard.name for shard in shards}
    tables = [SCHEMA.empty_table()]
    for given in paths:
        path, number = _there(given), 0
        for rows in _batches(_rows(path), ROWS_AT_A_TIME):
            checked = [_checked(f"{path}, row {number + i}", row, known) for i, row in enumerate(rows, 1)]
            number += len(rows)
            tables.append(
                pa.table(
                    [pa.array(c, f.type) for c, f in zip(zip(*checked, strict=True), SCHEMA, strict=True)],
                    schema=SCHEMA,
                )
            )
    table = pa.concat_tables(tables).combine_chunks()
    order = pc.sort_indices(table, [(name, "ascending") for name in ("shard", "line", "reason", "note")])
    table = table.take(order).combine_chunks()
    removals = Removals(table.filter(_first_of_each(table)).combine_chunks())
    if len(removals.reasons) > REASONS_MAX:
        raise UsageError(
            f"decide.remove: {len(removals.reasons):,} different reasons, expected at most {REASONS_MAX}; put what is "
            "particular to a document into its note"
        )
    return removals


def check(context: Context, removals: Removals) -> None:
    """Check that removal lists name documents.

    Raises:
        UsageError: a shard has no document on a line that is named.
    """
    for shard in context.shards:
        named = removals.lines(shard.name)
        if not len(named):
            continue
        tables = [np.empty(0, np.int64)]
        tables += [table.column("line").to_numpy() for table in row_groups(context, shard, ["line"])]
        missing = np.setdiff1d(named, np.concatenate(tables))
        if len(missing):
            more = f" and {len(missing) - 1:,} more lines" if len(missing) > 1 else ""
            raise UsageError(
                f"decide.remove: line {missing[0]}{more} of shard {shard.name} is not a document (blank, bad or beyond "
                "the end); lines are counted from 1. Correct the list, or take the row out of it"
            )


def _first_of_each(table: pa.Table) -> pa.Array:
    """Whether each row of a sorted table is another document or another reason than the row before."""
    keep = np.zeros(len(table), bool)
    keep[:1] = True
    for name in ("shard", "line", "reason"):
        column = table.column(name)
        keep[1:] |= pc.not_equal(column.slice(1), column.slice(0, max(0, len(table) - 1))).to_numpy()
    return pa.array(keep)


def _there(given: str) -> AnyPath:
    path = files.path_of(given)
    if not path.is_file():
        raise UsageError(f"decide.remove: there is no file {path}")
    if not path.name.endswith(ENDINGS):
        raise UsageError(f"decide.remove: {path} ends in none of {', '.join(ENDINGS)}")
    return path


def _batches(rows: Iterator[Any], n: int) -> Iterator[list[Any]]:
    held = []
    for row in rows:
        held.append(row)
        if len(held) == n:
            yield held
            held = []
    if held:
        yield held


def _rows(path: AnyPath) -> Iterator[Any]:
    """The rows of a list, as they are in the file."""
    with files.read_errors(path):
        if path.name.endswith(".parquet"):
            yield from _parquet_rows(path)
        elif path.name.endswith((".yaml", ".yml")):
            yield from _yaml_rows(path)
        else:
            yield from _json_rows(path)


def _parquet_rows(path: AnyPath) -> Iterator[Any]:
    try:
        with pq.ParquetFile(files.table(path)) as file:
            missing = {"shard", "line"} - set(file.schema_arrow.names)
            if missing:
                raise UsageError(
                    f"{path} has no column {sorted(missing)[0]}; it has {', '.join(file.schema_arrow.names)}"
                )
            for batch in file.iter_batches(ROWS_AT_A_TIME):
                yield from batch.to_pylist()
    except pa.ArrowInvalid as error:
        raise UsageError(f"{path} is not a Parquet file, or is damaged: {error}") from error


def _yaml_rows(path: AnyPath) -> Iterator[Any]:
    with files.opened(path) as source:
        if source.size > YAML_BYTES_MAX:
            raise UsageError(
                f"{path} has {source.size:,} bytes, a YAML list may have {YAML_BYTES_MAX:,}; longer lists are JSON "
                "lines or Parquet"
            )
        content = source.pread(source.size, 0)
    try:
        rows = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from error
    if rows is not None and not isinstance(rows, list):
        raise UsageError(f"{path}: expected a list of mappings with shard and line, got {type(rows).__name__}")
    yield from rows or []


def _json_rows(path: AnyPath) -> Iterator[Any]:
    for number, line in enumerate(lines_of(path), 1):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except ValueError as error:
            raise UsageError(f"{path}, line {number}: not valid JSON: {error}") from error


def lines_of(path: AnyPath, plain: bool = False) -> Iterator[bytes]:
    """Yield the lines of a file of JSON lines, compressed or not, or with `plain` of any text.

    Raises:
        UsageError: the file is damaged, or has a line of more than LINE_BYTES_MAX.
    """
    with files.opened(path) as source:
        file = HashedFile(source)
        decoder = PlainDecoder(file) if plain else decoder_of(file, WINDOW_BYTES_MAX)
        view, rest = memoryview(bytearray(CHUNK)), b""
        while (chunk := decoder.read(view)) is not None:
            if chunk.problem is not None:
                raise UsageError(f"{path} is damaged at byte {chunk.problem.offset:,}: {chunk.problem.reason}")
            *lines, rest = (rest + view[: chunk.n_bytes]).split(b"\n")
            yield from lines
            if len(rest) > LINE_BYTES_MAX:
                raise UsageError(f"{path} has a line of more than {LINE_BYTES_MAX:,} bytes")
        yield rest


def _checked(where: str, row: Any, known: set[str]) -> Row:
    """A row of a list, checked; where: the file and the row, for errors."""
    if not isinstance(row, Mapping):
        raise UsageError(f"{where}: expected shard and line, got {row!r:.80}")
    unknown = [str(key) for key in row if key not in SCHEMA.names]
    if unknown:
        raise UsageError(f"{where}: unknown key {unknown[0]!r}; known here: {', '.join(SCHEMA.names)}")
    shard, line, reason, note = (row.get(name) for name in SCHEMA.names)
    if not isinstance(shard, str):
        raise UsageError(
            f"{where}: shard is {shard!r:.80}, expected the shard's name; in YAML put 00 into quotation marks"
        )
    if shard not in known:
        raise UsageError(f"{where}: the run has no shard {shard!r:.80}; its shards are {_some(known)}")
    if not isinstance(line, int) or isinstance(line, bool) or not 0 < line < 1 << 40:
        raise UsageError(f"{where}: line is {line!r:.80}, expected a number from 1 on")
    reason = TAKEDOWN if reason is None else reason
    if not isinstance(reason, str) or not REASON.fullmatch(reason) or reason in OWN_NAMES:
        raise UsageError(
            f"{where}: reason is {reason!r:.80}, expected a name of your own such as {TAKEDOWN}: lower-case letters, "
            "digits and underscores"
        )
    if note is not None and not isinstance(note, str):
        raise UsageError(f"{where}: note is {note!r:.80}, expected text")
    return shard, line, reason, note


def _some(names: Iterable[str]) -> str:
    first = sorted(names)
    return ", ".join(first[:5]) + (f" and {len(first) - 5:,} more" if len(first) > 5 else "")
