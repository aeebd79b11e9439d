"""measure: each shard's text is read once; everything that later stages need becomes a row of measured/<shard>.parquet.

Columns, a row a good document in the order of the lines:

    line          int64    1-based line of the decompressed shard
    start, length int64    the line's bytes in the decompressed stream, without the line feed
    subset        string   "" where the document names none
    text_bytes    int64    UTF-8 bytes of the text
    hash_hi, hash_lo  uint64   the exact hash (of the normalised text, if dedupe.exact.normalize says so)
    shingles      int64    shingles in the text, repetitions counted
    sketch        binary   uint32[K], little-endian
    ...           int64 or float64, a column a signal

A file's bytes do not depend on workers or batch_bytes: row groups have a fixed number of rows.

On the way, two small files a shard are made for whoever looks at the run later: histograms/<shard>.parquet (see
gpu_pile.histograms) and samples/<shard>.parquet (see gpu_pile.samples).
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile import files, histograms, op, samples, signals
from gpu_pile.columns import TextColumn
from gpu_pile.device import Place, to_host
from gpu_pile.errors import DataError, UsageError
from gpu_pile.files import AnyPath
from gpu_pile.native import SLACK
from gpu_pile.ops.doc_hash import doc_hash
from gpu_pile.ops.parse_lines import explain, parse_lines
from gpu_pile.ops.sketch import sketch
from gpu_pile.shards import Block, Shard
from gpu_pile.stages.context import Context, Work

ROW_GROUP = 65_536
FORMAT = 2
"""Raised when the meaning of a measured file, a histogram or a sample changes."""

FIXED = ("line", "start", "length", "subset", "text_bytes", "hash_hi", "hash_lo", "shingles", "sketch")


def definition_key(context: Context) -> str:
    """What measured files depend on besides the shard itself."""
    c = context.config
    fuzzy = c.dedupe.fuzzy
    return files.key_of(
        {
            "format": FORMAT,
            "input": c.input.model_dump(exclude={"shards"}),
            "normalize": c.dedupe.exact.normalize,
            "sketch": [fuzzy.shingle, fuzzy.width, fuzzy.sketch, fuzzy.size, fuzzy.seed],
            "signals": signals.definition_versions(c.measure.signals),
            "ops": {name: o.version for name, o in op.load_all().items()},
        }
    )


def measure_text(text: TextColumn, config: Any, part: Any = None) -> dict[str, Any]:
    """The columns that come from the text alone (see the module), as arrays."""
    part = part or (lambda name: contextlib.nullcontext())
    fuzzy = config.dedupe.fuzzy
    with part("hash"):
        hashed = text
        if config.dedupe.exact.normalize == "words":
            from gpu_pile.ops.normal_words import normal_words

            hashed = TextColumn(*normal_words(text))
        hashes = to_host(doc_hash(hashed))
    with part("sketch"):
        values, shingles = map(
            to_host,
            sketch(text, kind=fuzzy.shingle, width=fuzzy.width, method=fuzzy.sketch, k=fuzzy.size, seed=fuzzy.seed),
        )
    with part("signals"):
        table = signals.compute(text, config.measure.signals)
    return {
        "text_bytes": np.diff(to_host(text.offsets)),
        "hash_hi": np.ascontiguousarray(hashes[:, 0]),
        "hash_lo": np.ascontiguousarray(hashes[:, 1]),
        "shingles": shingles,
        "sketch": pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(4 * fuzzy.size), len(text), [None, pa.py_buffer(values)]
        ),
        **{name: table.column(name) for name in table.column_names},
    }


Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Measured:
    """What came from whole lines: their documents with excerpts, cells int16[signals, documents], bad lines."""

    table: pa.Table
    cells: Array
    bad: list[tuple[int, str]]
    last_line: int


class _Shard:
    """The job of one shard (see parallel.Job)."""

    def __init__(self, context: Context, shard: Shard, definition: str) -> None:
        self.context, self.shard, self.definition = context, shard, definition
        self.cost = shard.n_bytes
        self.documents = self.text_bytes = 0
        self.bad: list[tuple[int, str]] = []
        self.stopped: str | None = None
        self.rows: list[pa.Table] = []
        self.cells: list[np.ndarray[Any, Any]] = []
        self.n_rows = 0
        self.signals = signals.names(context.config.measure.signals)
        self.subsets = histograms.Names()
        self.histogram: list[pa.Table] = []
        self.sample = samples.Sample(self.signals)
        self.writer: pq.ParquetWriter | None = None

    def open(self) -> Iterator[Block]:
        run = self.context.run
        run.forget("measure", self.shard.name)
        self.target = run.measured(self.shard.name)
        self.atomic = files.atomic(self.target)
        self.partial = self.atomic.__enter__()
        self.reader = self.context.reader(self.shard)
        yield from self.context.blocks("measure", self.reader)

    def process(self, block: Block) -> _Measured:
        measured = self._measured(block.data[: block.n_bytes], block.first_line, block.start)
        block.release()
        return measured

    def _measured(self, data: Array, first_line: int, start: int) -> _Measured:
        """Measure whole lines; those that do not fit the place's memory together are measured in halves."""
        try:
            with self.context.place.session():
                return self._measured_at_once(data, first_line, start)
        except MemoryError as error:
            cut = _middle_line(data)
            if cut == 0:
                raise DataError(
                    f"{self.shard.path}, line {first_line + 1}: its {len(data)} bytes do not fit the memory of backend "
                    f"{self.context.place.backend}; lower input.line_bytes_max to pass it over, or use --backend cpu"
                ) from error
        first = self._measured(data[:cut], first_line, start)
        second = self._measured(data[cut:], first.last_line, start + cut)
        return _Measured(
            pa.concat_tables([first.table, second.table]),
            np.concatenate([first.cells, second.cells], axis=1),
            [*first.bad, *second.bad],
            second.last_line,
        )

    def _measured_at_once(self, data: Array, first_line: int, start: int) -> _Measured:
        config, watch, place = self.context.config, self.context.stopwatch, self.context.place
        reused = {"padded": True, "out": _scratch(len(data))} if place.backend == "cpu" else {}
        with watch.part("measure", "parse"):
            parsed = parse_lines(
                place.upload(data),
                text_path=tuple(config.input.text_field.split(".")),
                subset_path=tuple(config.input.subset_field.split(".")),
                skip_bom=start == 0,
                bare_strings=config.input.bare_strings,
                text_lists=config.input.text_lists,
                **reused,
            )
            line, begin, length = (place.download(x) for x in (parsed.line, parsed.start, parsed.length))
            bad_lines = (place.download(x) for x in (parsed.bad_line, parsed.bad_reason, parsed.bad_position))
        columns = {
            "line": line + first_line + 1,
            "start": begin + start,
            "length": length,
            "subset": Place().text(parsed.subset).to_arrow().cast(pa.string()),
            **measure_text(parsed.text, config, lambda name: watch.part("measure", name)),
        }
        table = pa.table(columns)
        with watch.part("measure", "summarize"):
            table = table.append_column("excerpt", samples.excerpts_of(parsed.text))
            cells = [histograms.cells_of(histograms.numbers(table.column(name))) for name in self.signals]
        bad = [
            (int(line) + first_line + 1, explain(int(code), int(at), config.input.text_field))
            for line, code, at in zip(*bad_lines, strict=True)
        ]
        last_line = first_line + parsed.n_lines
        return _Measured(table, np.array(cells, np.int16).reshape(len(cells), len(table)), bad, last_line)

    def consume(self, result: _Measured) -> bool:
        table, cells = result.table, result.cells
        long_lines = [b for b in self.reader.bad_lines if b[0] <= result.last_line and b not in self.bad]
        self.bad = sorted([*self.bad, *result.bad, *long_lines])
        most = self.context.config.input.bad_lines_max
        if len(self.bad) > most:
            self._stop()
            line = self.bad[-1][0]
            table = table.slice(0, int(np.searchsorted(table.column("line").to_numpy(), line)))
            cells = cells[:, : len(table)]
        self.documents += len(table)
        self.text_bytes += int(np.sum(table.column("text_bytes").to_numpy()))
        with self.context.stopwatch.part("measure", "summarize"):
            self.sample.offer(table, list(cells))
        with self.context.stopwatch.part("measure", "store"):
            self._store(table.drop_columns(["excerpt"]), cells)
        return self.stopped is None

    def _stop(self) -> None:
        most = self.context.config.input.bad_lines_max
        self.bad = self.bad[: most + 1]
        line, reason = self.bad[-1]
        self.stopped = (
            f"more than input.bad_lines_max = {most} bad lines, the last at line {line} ({reason}); "
            f"documents from line {line} on were not read"
        )

    def _store(self, table: pa.Table, cells: np.ndarray[Any, Any]) -> None:
        self.rows.append(table)
        self.cells.append(cells)
        self.n_rows += len(table)
        while self.n_rows >= ROW_GROUP:
            whole, all_cells = pa.concat_tables(self.rows), np.concatenate(self.cells, axis=1)
            self._write(whole.slice(0, ROW_GROUP), all_cells[:, :ROW_GROUP])
            self.rows, self.cells = [whole.slice(ROW_GROUP)], [all_cells[:, ROW_GROUP:]]
            self.n_rows = len(self.rows[0])

    def _write(self, table: pa.Table, cells: np.ndarray[Any, Any]) -> None:
        self.histogram = [
            histograms.merged([*self.histogram, histograms.count(self.signals, table, list(cells), self.subsets)])
        ]
        if self.writer is None:
            self.writer = pq.ParquetWriter(
                self.partial,
                table.schema,
                compression={
                    n: "none" if n in ("sketch", "hash_hi", "hash_lo") else "zstd" for n in table.column_names
                },
                use_dictionary=["subset"],
                write_statistics=False,
            )
        self.writer.write_table(table.combine_chunks(), row_group_size=ROW_GROUP)

    def close(self) -> None:
        context, name = self.context, self.shard.name
        if self.stopped is None:
            self.bad = sorted({*self.bad, *self.reader.bad_lines})
            if len(self.bad) > context.config.input.bad_lines_max:
                self._stop()
        identity = self.reader.identity if self.stopped is None else file_identity(self.shard)
        if self.n_rows or self.writer is None:
            nothing = np.empty((len(self.signals), 0), np.int16)
            rows = pa.concat_tables(self.rows) if self.rows else empty_table(context)
            self._write(rows, np.concatenate([nothing, *self.cells], axis=1))
        assert self.writer is not None
        self.writer.close()
        sample = self.sample.table()
        if sample is None:
            sample = empty_table(context).select(["line", "subset", "text_bytes", *self.signals])
            sample = sample.append_column("excerpt", pa.array([], pa.string()))
        for path, table in ((context.run.histogram(name), self.histogram[0]), (context.run.sample(name), sample)):
            with files.atomic(path) as partial:
                pq.write_table(table, partial, compression="zstd")
        self.atomic.__exit__(None, None, None)
        context.run.set_state(
            {
                "definition": self.definition,
                "identity": identity,
                "file": files.fingerprint(self.shard.path),
                "documents": self.documents,
                "text_bytes": self.text_bytes,
                "lines": self.reader.n_lines,
                "stream_bytes": self.reader.stream_bytes,
                "seek_points": self.reader.seek_points,
                "bad_lines": [{"line": line, "reason": reason} for line, reason in self.bad],
                "stopped": self.stopped,
                "damage": [asdict(d) for d in self.reader.damages],
            },
            "measure",
            name,
        )

    def abandon(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.atomic.__exit__(DataError, DataError("abandoned"), None)


def _middle_line(data: Array) -> int:
    """Where a line begins near the middle of the data; 0 if it is one line."""
    middle = len(data) // 2
    cut = data[middle:].tobytes().find(b"\n") + middle + 1
    if cut in (middle, len(data)):
        cut = data[:middle].tobytes().rfind(b"\n") + 1
    return cut


_THREAD = threading.local()


def _scratch(n: int) -> np.ndarray[Any, Any]:
    """A buffer of this thread for the text of a block of n bytes, reused: fresh memory is dear."""
    if len(getattr(_THREAD, "buffer", ())) < n + 2 * SLACK:
        _THREAD.buffer = np.empty(n + 2 * SLACK, np.uint8)
    buffer: np.ndarray[Any, Any] = _THREAD.buffer
    return buffer


def empty_table(context: Context) -> pa.Table:
    """A measured table of no documents."""
    nothing = np.empty(0, np.int64)
    return pa.table(
        {
            "line": nothing,
            "start": nothing,
            "length": nothing,
            "subset": pa.array([], pa.string()),
            **measure_text(TextColumn.empty(), context.config),
        }
    )


def file_identity(shard: Shard) -> str:
    """BLAKE2b-256 of the file's bytes, as ShardReader.identity."""
    with shard.path.open("rb") as f:
        digest = hashlib.blake2b(digest_size=32)
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _outputs(context: Context, shard: Shard) -> tuple[AnyPath, AnyPath, AnyPath]:
    run, name = context.run, shard.name
    return run.measured(name), run.histogram(name), run.sample(name)


def is_done(context: Context, shard: Shard, definition: str) -> bool:
    """Whether the measured file is there and was made from this shard's bytes by these definitions."""
    run = context.run
    state = run.state("measure", shard.name)
    if state.get("definition") != definition or not all(p.is_file() for p in _outputs(context, shard)):
        return False
    seen = files.fingerprint(shard.path)
    if state["file"] != seen or None in seen.values():
        if state["file"]["bytes"] != seen["bytes"] or file_identity(shard) != state["identity"]:
            context.notes.append(f"{shard.path} has changed since it was measured: it is measured again")
            return False
        run.set_state({**state, "file": seen}, "measure", shard.name)  # touched, not changed
    return True


def measure(context: Context) -> None:
    """Measure every shard that is not done; then check that there are documents at all."""
    definition = definition_key(context)
    todo = [s for s in context.shards if not is_done(context, s, definition)]
    with context.stage("measure", todo) as entry:
        context.do("measure", [_work(context, s, definition) for s in todo])
        entry["text_bytes"] = sum(context.run.state("measure", s.name)["text_bytes"] for s in todo)
    write_bad_lines(context)
    check_documents(context)


def _work(context: Context, shard: Shard, definition: str) -> Work:
    state = context.run.state_path("measure", shard.name)
    made = (*_outputs(context, shard), state)
    return Work(_job, (shard, definition), shard.n_bytes, shard.name, made, shard.n_bytes)


def _job(context: Context, shard: Shard, definition: str) -> _Shard:
    if definition_key(context) != definition:
        raise UsageError(
            "this worker has other versions of operations or signals than the process that asks it: "
            "install the same gpu_pile, and the same plug-ins, on all machines"
        )
    return _Shard(context, shard, definition)


def write_bad_lines(context: Context) -> None:
    lines = []
    for shard in context.shards:
        for bad in context.run.state("measure", shard.name)["bad_lines"]:
            lines.append(files.canonical_json({"shard": shard.name, **bad}) + "\n")
    files.write_text(context.run.path / "bad_lines.jsonl", "".join(lines))


def check_documents(context: Context) -> None:
    """A corpus without any document is a mistake in the configuration or the data, said before anything else is done.

    Raises:
        DataError: no shard has a document; says what the first bad lines and damages are.
    """
    states = {s.name: context.run.state("measure", s.name) for s in context.shards}
    if any(s["documents"] for s in states.values()):
        return
    said = [
        f"{n}, line {s['bad_lines'][0]['line']}: {s['bad_lines'][0]['reason']}"
        for n, s in states.items()
        if s["bad_lines"]
    ]
    said += [f"{n}: {d['reason']}" for n, s in states.items() for d in s["damage"][:1]]
    if said:
        raise DataError(
            f"no document in {len(states)} shard(s): {'; '.join(said[:3])}. "
            f"If the texts are elsewhere, set input.text_field (now {context.config.input.text_field!r})"
        )
