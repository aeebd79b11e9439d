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

A file's bytes do not depend on workers, batch_bytes or range_bytes: row groups have a fixed number of rows.

On the way, two small files a shard are made for whoever looks at the run later: histograms/<shard>.parquet (see
gpu_pile.summaries.histograms) and samples/<shard>.parquet (see gpu_pile.summaries.samples).

The ranges of a shard (corpus.ranges) are measured one by one, into scratch/measure/, with lines and bytes counted
from the beginning of the range; once all are there, they are merged. What a range alone cannot judge (damage, too
many bad lines, more subsets than are told apart) makes the shard one range: it is measured as a whole instead.
"""

from __future__ import annotations

import abc
import contextlib
import itertools
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile import signals
from gpu_pile.corpus import files
from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.identity import file_identity, identity_of
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.reader import SEEK_POINTS_MAX, SEEK_SPACING, Limits
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import DataError, UsageError
from gpu_pile.gpu.device import Device
from gpu_pile.gpu.segments import to_host
from gpu_pile.ops.doc_hash import doc_hash
from gpu_pile.ops.normal_words import normal_words
from gpu_pile.ops.op import Op
from gpu_pile.ops.parse_lines import explain, parse_lines
from gpu_pile.ops.sketch import sketch
from gpu_pile.run.config import Config
from gpu_pile.run.context import Context
from gpu_pile.run.exact_text import exact_text
from gpu_pile.run.reading import open_shard, read_blocks, shard_ranges
from gpu_pile.run.tasks import Task
from gpu_pile.run.threads import Job
from gpu_pile.summaries import histograms, samples
from gpu_pile.text.column import TextColumn
from gpu_pile.text.simd import SLACK
from gpu_pile.types import Array

ROW_GROUP = 65_536
FORMAT = 3
"""Raised when the meaning of a measured file, a histogram or a sample changes."""

DOCUMENT_COLUMNS = ("line", "start", "length", "subset", "text_bytes", "hash_hi", "hash_lo", "shingles", "sketch")


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
            "ops": {o.name: o.version for o in _ops(c)},
        }
    )


def _ops(config: Config) -> Iterator[Op]:
    """The operations that measuring by this configuration uses, besides those of its signals."""
    yield from (parse_lines, doc_hash, sketch)
    if config.dedupe.exact.normalize == "words":
        yield normal_words


def measure_text(text: TextColumn, config: Any, span: Any = None) -> dict[str, Any]:
    """The columns that come from the text alone (see the module), as arrays."""
    span = span or (lambda name: contextlib.nullcontext())
    fuzzy = config.dedupe.fuzzy
    with span("hash"):
        hashes = to_host(doc_hash(exact_text(text, config.dedupe.exact.normalize)))
    with span("sketch"):
        values, shingles = map(
            to_host,
            sketch(text, kind=fuzzy.shingle, width=fuzzy.width, method=fuzzy.sketch, k=fuzzy.size, seed=fuzzy.seed),
        )
    with span("signals"):
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


@dataclass(frozen=True)
class _Measured:
    """What came from whole lines: their documents with excerpts, cells int16[signals, documents], bad lines."""

    table: pa.Table
    cells: Array
    bad: list[tuple[int, str]]
    last_line: int


class _Groups:
    """Rows and their cells, handed on in groups of ROW_GROUP."""

    def __init__(self, write: Callable[[pa.Table, Array], None]) -> None:
        self.write = write
        self.rows: list[pa.Table] = []
        self.cells: list[Array] = []
        self.held = self.written = 0

    def add(self, table: pa.Table, cells: Array) -> None:
        self.rows.append(table)
        self.cells.append(cells)
        self.held += len(table)
        while self.held >= ROW_GROUP:
            whole, all_cells = pa.concat_tables(self.rows), np.concatenate(self.cells, axis=1)
            self._hand_on(whole.slice(0, ROW_GROUP), all_cells[:, :ROW_GROUP])
            self.rows, self.cells = [whole.slice(ROW_GROUP)], [all_cells[:, ROW_GROUP:]]
            self.held = len(self.rows[0])

    def finish(self, empty: Callable[[], pa.Table], n_cells: int) -> None:
        """The last group; an empty one where there was none."""
        if self.held or not self.written:
            rows = pa.concat_tables(self.rows) if self.rows else empty()
            self._hand_on(rows, np.concatenate([np.empty((n_cells, 0), np.int16), *self.cells], axis=1))

    def _hand_on(self, table: pa.Table, cells: Array) -> None:
        self.write(table.combine_chunks(), cells)
        self.written += 1


class _Reading(abc.ABC):
    """What the jobs of a whole shard and of a range have in common: reading and measuring (see parallel.Job)."""

    def __init__(self, context: Context, shard: Shard, shard_range: ShardRange) -> None:
        self.context, self.shard, self.shard_range = context, shard, shard_range
        self.cost = shard_range.n_bytes
        self.documents = self.text_bytes = 0
        self.bad: list[tuple[int, str]] = []
        self.stopped: str | None = None
        self.signals = signals.names(context.config.measure.signals)
        self.subsets = histograms.Names()
        self.histogram = histograms.merged([])
        self.sample = samples.Sample(self.signals)
        self.groups = _Groups(self._write)

    def open(self) -> Iterator[Block]:
        self.reader = open_shard(self.context, self.shard, shard_range=self.shard_range)
        yield from read_blocks(self.context, "measure", self.reader)

    def process(self, block: Block) -> _Measured:
        measured = self._measured(block.data[: block.n_bytes], block.first_line, block.start)
        block.release()
        return measured

    def _measured(self, data: Array, first_line: int, start: int) -> _Measured:
        """Measure whole lines; those that do not fit the place's memory together are measured in halves."""
        try:
            with self.context.device.session():
                return self._measured_at_once(data, first_line, start)
        except MemoryError as error:
            cut = _middle_line(data)
            if cut == 0:
                raise DataError(
                    f"{self.shard.path}, line {first_line + 1}: its {len(data)} bytes do not fit the memory of backend "
                    f"{self.context.device.backend}; lower input.line_bytes_max to pass it over, or use --backend cpu"
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
        config, watch, device = self.context.config, self.context.reporter, self.context.device
        reused = {"padded": True, "out": _scratch(len(data))} if device.backend == "cpu" else {}
        with watch.span("measure", "parse"):
            parsed = parse_lines(
                device.upload(data),
                text_path=tuple(config.input.text_field.split(".")),
                subset_path=tuple(config.input.subset_field.split(".")),
                skip_bom=start == 0,
                bare_strings=config.input.bare_strings,
                text_lists=config.input.text_lists,
                **reused,
            )
            line, begin, length = (device.download(x) for x in (parsed.line, parsed.start, parsed.length))
            bad_lines = (device.download(x) for x in (parsed.bad_line, parsed.bad_reason, parsed.bad_position))
        columns = {
            "line": line + first_line + 1,
            "start": begin + start,
            "length": length,
            "subset": Device().text(parsed.subset).to_arrow().cast(pa.string()),
            **measure_text(parsed.text, config, lambda name: watch.span("measure", name)),
        }
        table = pa.table(columns)
        with watch.span("measure", "summarize"):
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
        with self.context.reporter.span("measure", "summarize"):
            self.sample.offer(table, list(cells))
        with self.context.reporter.span("measure", "store"):
            self.groups.add(table.drop_columns(["excerpt"]), cells)
        return self.stopped is None

    def _stop(self) -> None:
        most = self.context.config.input.bad_lines_max
        self.bad = self.bad[: most + 1]
        line, reason = self.bad[-1]
        self.stopped = (
            f"more than input.bad_lines_max = {most} bad lines, the last at line {line} ({reason}); "
            f"documents from line {line} on were not read"
        )

    def _write(self, table: pa.Table, cells: Array) -> None:
        counted = histograms.count(self.signals, table, list(cells), self.subsets)
        self.histogram = histograms.merged([self.histogram, counted])
        self.store(table)

    @abc.abstractmethod
    def store(self, table: pa.Table) -> None:
        """Write a group of rows."""

    def finish(self) -> None:
        """All blocks were consumed: the bad lines and rows that are left."""
        if self.stopped is None:
            self.bad = sorted({*self.bad, *self.reader.bad_lines})
            if len(self.bad) > self.context.config.input.bad_lines_max:
                self._stop()
        self.groups.finish(lambda: empty_table(self.context), len(self.signals))


class _Whole(_Reading):
    """The job of a shard of one range.

    again: it was read in ranges before, in vain.
    """

    def __init__(self, context: Context, shard: Shard, definition: str, again: bool = False) -> None:
        super().__init__(context, shard, ShardRange(0, 1, 0, shard.n_bytes))
        self.output = _Output(context, shard, definition)
        self.again = again

    def open(self) -> Iterator[Block]:
        self.output.begin()
        if self.again:
            self.context.reporter.advance("measure", -self.shard.n_bytes)
        yield from super().open()

    def store(self, table: pa.Table) -> None:
        self.output.write(table)

    def close(self) -> None:
        self.finish()
        reader = self.reader
        self.output.finish(
            self.histogram,
            self.sample,
            {
                "identity": reader.identity if self.stopped is None else file_identity(self.shard.path),
                "documents": self.documents,
                "text_bytes": self.text_bytes,
                "lines": reader.n_lines,
                "stream_bytes": reader.stream_bytes,
                "ranges": [{"first": 0, "end": self.shard.n_bytes, "start": 0, "documents": self.documents}],
                "seek_points": reader.seek_points,
                "bad_lines": [{"line": line, "reason": reason} for line, reason in self.bad],
                "stopped": self.stopped,
                "damage": [asdict(d) for d in reader.damages],
            },
        )

    def abandon(self) -> None:
        self.output.abandon()


class _Output:
    """The files of a shard. Nothing is there under its name before finish()."""

    def __init__(self, context: Context, shard: Shard, definition: str) -> None:
        self.context, self.shard, self.definition = context, shard, definition
        self.writer: pq.ParquetWriter | None = None

    def begin(self) -> None:
        run, name = self.context.directory, self.shard.name
        run.forget("measure", name)
        self.atomic = files.AtomicFile(run.measured(name))

    def write(self, table: pa.Table) -> None:
        if self.writer is None:
            self.writer = pq.ParquetWriter(
                self.atomic.partial,
                table.schema,
                compression={
                    n: "none" if n in ("sketch", "hash_hi", "hash_lo") else "zstd" for n in table.column_names
                },
                use_dictionary=["subset"],
                write_statistics=False,
            )
        self.writer.write_table(table, row_group_size=ROW_GROUP)

    def finish(self, histogram: pa.Table, sample: samples.Sample, facts: dict[str, Any]) -> None:
        """facts: what is recorded of the shard, see rundir."""
        context, name = self.context, self.shard.name
        assert self.writer is not None
        self.writer.close()
        chosen = sample.table()
        if chosen is None:
            chosen = empty_table(context).select(["line", "subset", "text_bytes", *sample.signals])
            chosen = chosen.append_column("excerpt", pa.array([], pa.string()))
        for path, table in ((context.directory.histogram(name), histogram), (context.directory.sample(name), chosen)):
            _write_parquet(path, table)
        self.atomic.commit()
        file = files.fingerprint(self.shard.path)
        context.directory.set_state({"definition": self.definition, "file": file, **facts}, "measure", name)
        shutil.rmtree(_folder(context, self.shard), ignore_errors=True)

    def abandon(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.atomic.discard()


def _write_parquet(path: AnyPath, table: pa.Table) -> None:
    with files.atomic(path) as partial:
        pq.write_table(table, partial, compression="zstd")


# ranges


def _folder(context: Context, shard: Shard) -> Path:
    return context.directory.scratch / "measure" / shard.name


class _Files:
    """What is left of a range until the shard's are merged. Names say what made them, so none is taken for another's.

    Rows as in the measured file, with line and start counted from the range's own; facts is written last.
    """

    def __init__(self, context: Context, shard: Shard, shard_range: ShardRange, definition: str) -> None:
        key = files.key_of([definition, files.fingerprint(shard.path), asdict(shard_range)])
        folder = _folder(context, shard)
        self.rows, self.histogram, self.sample, self.facts = (
            folder / f"{shard_range.index:06d}-{key}.{what}"
            for what in ("arrow", "histogram.parquet", "sample.parquet", "json")
        )


class _OfRange(_Reading):
    """The job of one of several ranges of a shard."""

    def __init__(self, context: Context, shard: Shard, shard_range: ShardRange, definition: str) -> None:
        super().__init__(context, shard, shard_range)
        self.files = _Files(context, shard, shard_range, definition)
        self.writer: Any = None

    def open(self) -> Iterator[Block]:
        self.atomic = files.AtomicFile(self.files.rows)
        yield from super().open()

    def consume(self, result: _Measured) -> bool:
        return super().consume(result) and not self.sample.names.exceeded

    def store(self, table: pa.Table) -> None:
        if self.writer is None:
            self.writer = pa.ipc.new_file(self.atomic.partial, table.schema)
        self.writer.write_table(table)

    def close(self) -> None:
        self.finish()
        self.writer.close()
        reader, mine = self.reader, self.files
        alone = not reader.damages and self.stopped is None and not self.sample.names.exceeded
        if alone:
            _write_parquet(mine.histogram, self.histogram)
            if (sample := self.sample.candidates()) is not None:
                _write_parquet(mine.sample, sample)
            self.atomic.commit()
        else:
            self.atomic.discard()
        facts = {
            "alone": alone,
            "documents": self.documents,
            "text_bytes": self.text_bytes,
            "lines": reader.n_lines,
            "own_bytes": reader.own_bytes,
            "bad_lines": self.bad,
            "seek_points": reader.seek_points,
            "sample": alone and mine.sample.is_file(),
            "digests": [d.hex() for d in reader.digests],
        }
        files.write_json(mine.facts, facts)
        self.context.reporter.advance("measure", self.shard_range.n_bytes - reader.compressed_bytes_read)

    def abandon(self) -> None:
        if self.writer is not None:
            self.writer.close()
        self.atomic.discard()


class _Merge:
    """The job of a shard of which all ranges were measured: their rows, one behind the other, renumbered."""

    def __init__(
        self, context: Context, shard: Shard, ranges: Sequence[ShardRange], definition: str, facts: list[dict[str, Any]]
    ) -> None:
        self.context, self.shard, self.ranges, self.facts = context, shard, ranges, facts
        self.cost = shard.n_bytes
        self.files = [_Files(context, shard, p, definition) for p in ranges]
        self.lines, self.starts = (
            [0, *itertools.accumulate(int(f[what]) for f in facts)] for what in ("lines", "own_bytes")
        )
        self.output = _Output(context, shard, definition)
        self.groups = _Groups(lambda table, _: self.output.write(table))

    def open(self) -> Iterator[tuple[int, int]]:
        self.output.begin()
        for number, mine in enumerate(self.files):
            with pa.memory_map(str(mine.rows)) as source:
                n = pa.ipc.open_file(source).num_record_batches
            yield from ((number, i) for i in range(n))

    def process(self, block: tuple[int, int]) -> pa.Table:
        number, batch = block
        with self.context.reporter.span("measure", "merge"):
            rows = pa.ipc.open_file(pa.memory_map(str(self.files[number].rows))).get_batch(batch)
            return self._renumbered(pa.Table.from_batches([rows]), number)

    def _renumbered(self, rows: pa.Table, number: int) -> pa.Table:
        for name, offset in (("line", self.lines[number]), ("start", self.starts[number])):
            if name in rows.column_names:
                i = rows.column_names.index(name)
                rows = rows.set_column(i, name, pa.array(rows.column(name).to_numpy() + offset))
        return rows

    def consume(self, rows: pa.Table) -> bool:
        with self.context.reporter.span("measure", "store"):
            self.groups.add(rows, np.empty((0, len(rows)), np.int16))
        return True

    def close(self) -> None:
        with self.context.reporter.span("measure", "store"):
            self.groups.finish(lambda: empty_table(self.context), 0)
        with self.context.reporter.span("measure", "merge"):
            histogram = histograms.merged([pq.read_table(f.histogram) for f in self.files])
            sample = samples.Sample(signals.names(self.context.config.measure.signals))
            for number, facts in enumerate(self.facts):
                if facts["sample"]:
                    table = self._renumbered(pq.read_table(self.files[number].sample), number)
                    cells = [histograms.cells_of(histograms.numbers(table.column(n))) for n in sample.signals]
                    sample.offer(table, cells)
        digests = [bytes.fromhex(d) for f in self.facts for d in f["digests"]]
        offsets = list(zip(self.facts, self.ranges, self.lines, self.starts, strict=False))
        self.output.finish(
            histogram,
            sample,
            {
                "identity": identity_of(digests),
                "documents": sum(f["documents"] for f in self.facts),
                "text_bytes": sum(f["text_bytes"] for f in self.facts),
                "lines": self.lines[-1],
                "stream_bytes": self.starts[-1],
                "ranges": [
                    {
                        "first": shard_range.first,
                        "end": shard_range.end,
                        "start": start,
                        "documents": facts["documents"],
                    }
                    for facts, shard_range, _, start in offsets
                ],
                "seek_points": _thinned(
                    (byte, start + at) for facts, _, _, start in offsets for byte, at in facts["seek_points"]
                ),
                "bad_lines": [
                    {"line": first + line, "reason": reason}
                    for facts, _, first, _ in offsets
                    for line, reason in facts["bad_lines"]
                ],
                "stopped": None,
                "damage": [],
            },
        )

    def abandon(self) -> None:
        self.output.abandon()


def _thinned(points: Iterator[tuple[int, int]]) -> list[tuple[int, int]]:
    """Seek points as far apart as a reader of the whole shard leaves them."""
    kept: list[tuple[int, int]] = []
    for point in points:
        if not kept or point[1] - kept[-1][1] >= SEEK_SPACING:
            kept.append(point)
    return kept[:SEEK_POINTS_MAX]


def _can_merge(context: Context, shard: Shard, found: list[_Files], facts: list[dict[str, Any]]) -> bool:
    """Whether the ranges come to what measuring the shard as a whole would."""
    i = context.config.input
    if not all(f["alone"] for f in facts) or sum(len(f["bad_lines"]) for f in facts) > i.bad_lines_max:
        return False
    most = Limits(expansion_max=i.expansion_max).stream_bytes_max(shard.n_bytes)
    subsets = set().union(*(pq.read_table(f.histogram).column("subset").unique().to_pylist() for f in found))
    return sum(f["own_bytes"] for f in facts) <= most and len(subsets) <= histograms.SUBSETS_MAX


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


def _outputs(context: Context, shard: Shard) -> tuple[AnyPath, AnyPath, AnyPath]:
    run, name = context.directory, shard.name
    return run.measured(name), run.histogram(name), run.sample(name)


def is_done(context: Context, shard: Shard, definition: str) -> bool:
    """Whether the measured file is there and was made from this shard's bytes by these definitions."""
    run = context.directory
    state = run.state("measure", shard.name)
    if state.get("definition") != definition or not all(p.is_file() for p in _outputs(context, shard)):
        return False
    seen = files.fingerprint(shard.path)
    if state["file"] != seen or None in seen.values():
        if state["file"]["bytes"] != seen["bytes"] or file_identity(shard.path) != state["identity"]:
            context.reporter.note(f"{shard.path} has changed since it was measured: it is measured again")
            return False
        run.set_state({**state, "file": seen}, "measure", shard.name)  # touched, not changed
    return True


def measure(context: Context) -> None:
    """Measure every shard that is not done; then check that there are documents at all."""
    definition = definition_key(context)
    todo = [s for s in context.shards if not is_done(context, s, definition)]
    with context.stage("measure", todo) as entry:
        cut = list(zip(todo, shard_ranges(context, todo), strict=True))
        several = [(s, ranges) for s, ranges in cut if len(ranges) > 1]
        first = [_task(context, s, definition) for s, ranges in cut if len(ranges) == 1]
        for shard, ranges in several:
            for shard_range in ranges:
                made = _Files(context, shard, shard_range, definition).facts
                if made.is_file():  # by a run that was stopped
                    context.reporter.advance("measure", shard_range.n_bytes)
                    continue
                what = shard_range.label(shard)
                first.append(
                    Task(
                        _range_job,
                        (shard, shard_range, definition),
                        shard_range.n_bytes,
                        what,
                        (made,),
                        shard_range.n_bytes,
                    )
                )
        context.do("measure", first)
        context.do(
            "measure",
            [Task(_merge_job, (s, p, definition), s.n_bytes, s.name, _made(context, s)) for s, p in several],
        )
        entry["text_bytes"] = sum(context.directory.state("measure", s.name)["text_bytes"] for s in todo)
    context.directory.clear_scratch("measure")
    write_bad_lines(context)
    check_documents(context)


def _made(context: Context, shard: Shard) -> tuple[AnyPath, ...]:
    return (*_outputs(context, shard), context.directory.state_path("measure", shard.name))


def _task(context: Context, shard: Shard, definition: str) -> Task:
    return Task(_job, (shard, definition), shard.n_bytes, shard.name, _made(context, shard), shard.n_bytes)


def _job(context: Context, shard: Shard, definition: str) -> _Whole:
    _check(context, definition)
    return _Whole(context, shard, definition)


def _range_job(context: Context, shard: Shard, shard_range: ShardRange, definition: str) -> _OfRange:
    _check(context, definition)
    return _OfRange(context, shard, shard_range, definition)


def _merge_job(context: Context, shard: Shard, ranges: Sequence[ShardRange], definition: str) -> Job[Any, Any]:
    """Merge the ranges, or measure the shard as a whole where one of them says so."""
    _check(context, definition)
    found = [_Files(context, shard, p, definition) for p in ranges]
    facts = [files.read_json(f.facts) for f in found]
    if not all(facts):
        raise DataError(
            f"{shard.path} or its ranges in {_folder(context, shard)} changed while the run was going on; "
            "run the same command again to measure it anew"
        )
    if _can_merge(context, shard, found, facts):
        return _Merge(context, shard, ranges, definition, facts)
    return _Whole(context, shard, definition, again=True)


def _check(context: Context, definition: str) -> None:
    if definition_key(context) != definition:
        raise UsageError(
            "this worker has other versions of operations or signals than the process that asks it: "
            "install the same gpu_pile, and the same plug-ins, on all machines"
        )


def write_bad_lines(context: Context) -> None:
    lines = []
    for shard in context.shards:
        for bad in context.directory.state("measure", shard.name)["bad_lines"]:
            lines.append(files.canonical_json({"shard": shard.name, **bad}) + "\n")
    files.write_text(context.directory.path / "bad_lines.jsonl", "".join(lines))


def check_documents(context: Context) -> None:
    """A corpus without any document is a mistake in the configuration or the data, said before anything else is done.

    Raises:
        DataError: no shard has a document; says what the first bad lines and damages are.
    """
    states = {s.name: context.directory.state("measure", s.name) for s in context.shards}
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
