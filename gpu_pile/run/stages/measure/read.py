"""Read and measure: the job of a shard, and the job of a range of a shard."""

from __future__ import annotations

import abc
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.files import AtomicFile
from gpu_pile.corpus.identity import file_identity
from gpu_pile.corpus.ranges import ShardRange, split_at_points
from gpu_pile.corpus.reader import ShardReader
from gpu_pile.corpus.records import middle_record
from gpu_pile.corpus.rows import RowReader
from gpu_pile.corpus.seek_index import write_index
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import DataError
from gpu_pile.run.context import Context
from gpu_pile.run.reading import changed, explain, extras_of, open_shard, parse, read_blocks
from gpu_pile.run.spool import SpoolWriter
from gpu_pile.run.stages.by_shard import Finished, is_small, write_parquet
from gpu_pile.run.stages.measure.columns import (
    INCOMPRESSIBLE,
    RowGroups,
    empty_table,
    text_arrays,
    text_columns,
    with_extras,
    with_ids,
)
from gpu_pile.summaries import histograms, samples
from gpu_pile.text.column import TextColumn
from gpu_pile.text.simd import SLACK
from gpu_pile.types import Array

SEARCHED_BYTES_MIN = 8 * 2**20
"""A smaller file is soon read from its beginning; seek points are not looked for."""

BadLines = list[tuple[int, str]]
"""(1-based line, reason)"""


PARSED = ("line", "start", "length", "bad_line", "bad_reason", "bad_position")
"""What is needed of a parsed block, besides its text and subsets."""


class MeasuredLines(NamedTuple):
    """What came from whole lines: their documents with excerpts, cells int16[signals, documents], bad lines."""

    table: pa.Table
    cells: Array
    bad_lines: BadLines
    last_line: int


class LineMeasurer:
    """Measures lines of a shard. Any thread may call it."""

    def __init__(self, context: Context, shard: Shard) -> None:
        self.context, self.shard = context, shard
        self.signals = context.config.measured_signals

    def measure(self, data: Array, first_line: int, start: int) -> MeasuredLines:
        """Measure whole lines; in halves if they do not fit the device's memory together."""
        try:
            with self.context.device.session():
                return self._measure_at_once(data, first_line, start)
        except MemoryError as error:
            middle = middle_record(data) if self.shard.is_table else _middle_line(data)
            if middle == 0:
                raise DataError(
                    f"{self.shard.path}, line {first_line + 1}: its {len(data)} bytes do not fit the memory of backend "
                    f"{self.context.device.backend}; lower input.line_bytes_max to pass it over, or use --backend cpu"
                ) from error
        first = self.measure(data[:middle], first_line, start)
        second = self.measure(data[middle:], first.last_line, start + middle)
        return MeasuredLines(
            pa.concat_tables([first.table, second.table]),
            np.concatenate([first.cells, second.cells], axis=1),
            [*first.bad_lines, *second.bad_lines],
            second.last_line,
        )

    def _measure_at_once(self, data: Array, first_line: int, start: int) -> MeasuredLines:
        config, device = self.context.config, self.context.device
        buffers = {"padded": True, "out": text_buffer(len(data))} if device.backend == "cpu" else {}
        with self._span("parse"):
            parsed = parse(self.context, self.shard, data, skip_bom=start == 0, **buffers)
        arrays = {name: getattr(parsed, name) for name in PARSED}
        beginnings = samples.beginnings(parsed.text)
        for name, column in (("subset", parsed.subset), ("beginning", beginnings)):
            arrays |= {f"{name} data": column.data, f"{name} offsets": column.offsets}
        arrays |= text_arrays(parsed.text, config, self._span)
        with self._span("download"):
            here = {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}
            here |= device.download_all({name: array for name, array in arrays.items() if name not in here})
        subset, beginnings = (TextColumn(here[f"{n} data"], here[f"{n} offsets"]) for n in ("subset", "beginning"))
        table = pa.table(
            {
                "line": here["line"] + first_line + 1,
                "start": here["start"] + start,
                "length": here["length"],
                "subset": subset.to_arrow().cast(pa.string()),
                **text_columns(here, parsed.text, config, self._span),
            }
        )
        if config.input.line_format.extras:
            with self._span("parse"):
                found = extras_of(self.context, self.shard, data, (here["start"], here["length"]))
            table = with_extras(table, found)
        with self._span("summarize"):
            table = table.append_column("excerpt", samples.excerpts_of(beginnings))
            cells = histograms.cells_of_columns(table, self.signals)
        bad_lines = [
            (int(number) + first_line + 1, explain(self.context, self.shard, int(reason), int(position)))
            for number, reason, position in zip(*(here[name] for name in PARSED[3:]), strict=True)
        ]
        return MeasuredLines(table, cells, bad_lines, first_line + parsed.n_lines)

    def _span(self, name: str) -> Any:
        return self.context.reporter.span("measure", name)


class Measurer(abc.ABC):
    """What measuring a shard and measuring a range have in common: reading, and adding up what blocks give."""

    searches = False
    """Whether seek points are looked for."""

    def __init__(self, context: Context, shard: Shard, shard_range: ShardRange, spool_share: float) -> None:
        self.context, self.shard, self.shard_range = context, shard, shard_range
        self.lines = LineMeasurer(context, shard)
        self.signals = self.lines.signals
        self.documents = self.text_bytes = 0
        self.bad_lines: BadLines = []
        self.stopped: str | None = None
        self.subsets = histograms.Names()
        self.histogram: pa.Table | None = None
        self.sample = samples.Sample(self.signals)
        self.spool = SpoolWriter(context, shard, shard_range, spool_share)
        self.groups = RowGroups(self._add_group)

    def open(self) -> Iterator[Block]:
        with files.read_errors(self.shard.path):
            self.fingerprint = files.fingerprint(self.shard.path)
        self.spool.open()
        self.reader = open_shard(self.context, self.shard, shard_range=self.shard_range, identify=True)
        if self.searches and isinstance(self.reader, ShardReader):
            self.reader.search()
        yield from read_blocks(self.context, "measure", self.reader)

    def process(self, block: Block) -> MeasuredLines:
        with self.context.reporter.span("measure", "spool"):
            self.spool.write(block)
        measured = self.lines.measure(block.data[: block.n_bytes], block.first_line, block.start)
        block.release()
        return measured

    def consume(self, result: MeasuredLines) -> bool:
        table, cells = result.table, result.cells
        too_long = [b for b in self.reader.bad_lines if b[0] <= result.last_line and b not in self.bad_lines]
        self.bad_lines = sorted([*self.bad_lines, *result.bad_lines, *too_long])
        if len(self.bad_lines) > self.context.config.input.bad_lines_max:
            self._stop()
            table = table.slice(0, int(np.searchsorted(table.column("line").to_numpy(), self.bad_lines[-1][0])))
            cells = cells[:, : len(table)]
        self.documents += len(table)
        self.text_bytes += int(np.sum(table.column("text_bytes").to_numpy()))
        with self.context.reporter.span("measure", "summarize"):
            self.sample.offer(table, cells)
        with self.context.reporter.span("measure", "store"):
            self.groups.add(table.drop_columns(["excerpt"]), cells)
        return self.stopped is None

    def complete(self) -> None:
        """After the last block: take the bad lines and rows that are left."""
        if self.stopped is None:
            self.bad_lines = sorted({*self.bad_lines, *self.reader.bad_lines})
            if len(self.bad_lines) > self.context.config.input.bad_lines_max:
                self._stop()
        self.groups.finish(lambda: empty_table(self.context.config), len(self.signals))

    def all_cells(self) -> pa.Table:
        """Return the histogram of all rows."""
        assert self.histogram is not None, "there is a group of rows, if only an empty one"
        return histograms.merged([self.histogram])

    def _stop(self) -> None:
        limit = self.context.config.input.bad_lines_max
        self.bad_lines = self.bad_lines[: limit + 1]
        line, reason = self.bad_lines[-1]
        self.stopped = (
            f"more than input.bad_lines_max = {limit} bad lines, the last at line {line} ({reason}); "
            f"documents from line {line} on were not read"
        )

    def _add_group(self, table: pa.Table, cells: Array) -> None:
        counted = histograms.count(self.signals, table, cells, self.subsets)
        self.histogram = counted if self.histogram is None else histograms.merged([self.histogram, counted])
        self.store(table)

    @abc.abstractmethod
    def store(self, table: pa.Table) -> None:
        """Write a group of rows."""


class ShardMeasurer(Measurer):
    """The job of a shard that is read as a whole (see by_shard.ShardJob).

    again: its ranges were measured before, and cannot be merged.
    """

    def __init__(
        self, context: Context, shard: Shard, definition: str, spool_share: float, again: bool = False
    ) -> None:
        super().__init__(context, shard, ShardRange(0, 1, 0, shard.n_bytes), spool_share)
        self.output = MeasuredFile(context, shard, definition)
        self.searches = context.config.input.seek_points and shard.n_bytes >= SEARCHED_BYTES_MIN
        self.again = again

    def open(self) -> Iterator[Block]:
        self.output.open()
        if self.again:
            self.context.reporter.advance("measure", -self.shard.n_bytes)
        yield from super().open()

    def store(self, table: pa.Table) -> None:
        self.output.write(table)

    def finish(self) -> Finished:
        self.complete()
        reader = self.reader
        self.spool.commit()
        ranges = self.output.write_seek_points(reader, self.documents, self.context.config.input.range_bytes)
        return self.output.finish(
            self.all_cells(),
            self.sample,
            self.fingerprint,
            {
                "identity": reader.identity if self.stopped is None else file_identity(self.shard.path),
                "documents": self.documents,
                "text_bytes": self.text_bytes,
                "lines": reader.n_lines,
                "stream_bytes": reader.stream_bytes,
                "ranges": ranges,
                "seek_points": reader.seek_points,
                "bad_lines": [{"line": line, "reason": reason} for line, reason in self.bad_lines],
                "stopped": self.stopped,
                "damage": [asdict(d) for d in reader.damages],
            },
        )

    def abandon(self) -> None:
        self.output.discard()
        self.spool.discard()


class RangeFiles:
    """What is left of a range until the ranges of the shard are merged. The names say what made them.

    The rows are those of the measured file, with line and start counted from the range's own. `facts` is written last.
    """

    def __init__(self, context: Context, shard: Shard, shard_range: ShardRange, definition: str) -> None:
        key = files.key_of([definition, files.fingerprint(shard.path), asdict(shard_range)])
        folder = scratch_folder(context, shard)
        self.rows, self.histogram, self.sample, self.facts = (
            folder / f"{shard_range.index:06d}-{key}.{what}"
            for what in ("arrow", "histogram.parquet", "sample.parquet", "json")
        )


class RangeMeasurer(Measurer):
    """The job of one of several ranges of a shard (see run.threads.Job)."""

    def __init__(
        self, context: Context, shard: Shard, shard_range: ShardRange, definition: str, spool_share: float
    ) -> None:
        super().__init__(context, shard, shard_range, spool_share)
        self.cost = shard_range.n_bytes
        self.range_bytes = shard_range.n_bytes
        self.files = RangeFiles(context, shard, shard_range, definition)
        self.writer: Any = None
        self.rows: AtomicFile | None = None

    def open(self) -> Iterator[Block]:
        self.rows = AtomicFile(self.files.rows)
        yield from super().open()

    def consume(self, result: MeasuredLines) -> bool:
        return super().consume(result) and not self.sample.names.exceeded

    def store(self, table: pa.Table) -> None:
        assert self.rows is not None, "open() comes first"
        with self.rows.errors():
            if self.writer is None:
                self.writer = pa.ipc.new_file(self.rows.partial, table.schema)
            self.writer.write_table(table)

    def close(self) -> None:
        self.complete()
        assert self.rows is not None
        with self.rows.errors():
            self.writer.close()
        reader, sample = self.reader, None
        stands_alone = not reader.damages and self.stopped is None and not self.sample.names.exceeded
        if stands_alone:
            self.spool.commit()
            write_parquet(self.files.histogram, self.all_cells()).commit()
            sample = self.sample.candidates()
            if sample is not None:
                write_parquet(self.files.sample, sample).commit()
            self.rows.commit()
        else:
            self.rows.discard()
            self.spool.discard()
        facts = {
            "alone": stands_alone,
            "documents": self.documents,
            "text_bytes": self.text_bytes,
            "lines": reader.n_lines,
            "own_bytes": reader.own_bytes,
            "bad_lines": self.bad_lines,
            "seek_points": reader.seek_points,
            "sample": sample is not None,
            "digests": [d.hex() for d in reader.digests],
        }
        files.write_json(self.files.facts, facts)
        self.context.reporter.advance("measure", self.range_bytes - reader.compressed_bytes_read)

    def abandon(self) -> None:
        _close_quietly(self.writer)
        if self.rows is not None:
            self.rows.discard()
        self.spool.discard()


class MeasuredFile:
    """The files of a measured shard: rows, histogram, sample. None has its name before they are committed."""

    def __init__(self, context: Context, shard: Shard, definition: str) -> None:
        self.context, self.shard, self.definition = context, shard, definition
        self.writer: pq.ParquetWriter | None = None
        self.files: list[AtomicFile] = []

    def open(self) -> None:
        self.files.append(AtomicFile(self.context.directory.measured(self.shard.name)))

    def write(self, rows: pa.Table) -> None:
        table = with_ids(rows, self.shard)
        with self.files[0].errors():
            if self.writer is None:
                small = is_small(table)  # no other table follows a small one
                self.writer = pq.ParquetWriter(
                    self.files[0].partial,
                    table.schema,
                    compression={n: "none" if small or n in INCOMPRESSIBLE else "zstd" for n in table.column_names},
                    use_dictionary=["shard", "subset"],
                    column_encoding={"doc_id": "DELTA_BINARY_PACKED"},
                    write_statistics=False,
                )
            self.writer.write_table(table, row_group_size=max(1, len(table)))

    def finish(
        self, histogram: pa.Table, sample: samples.Sample, fingerprint: dict[str, Any], facts: dict[str, Any]
    ) -> Finished:
        """Complete the files.

        Args:
            fingerprint: of the shard, from before it was read. facts: what is recorded of the shard besides.
        """
        directory, name = self.context.directory, self.shard.name
        self.close()
        with files.read_errors(self.shard.path):
            now = files.fingerprint(self.shard.path)
            if now != fingerprint and file_identity(self.shard.path) != facts["identity"]:
                raise changed(self.shard)
        chosen = sample.table()
        if chosen is None:
            chosen = empty_table(self.context.config).select(["line", "subset", "text_bytes", *sample.signals])
            chosen = chosen.append_column("excerpt", pa.array([], pa.string()))
        for path, table in ((directory.histogram(name), histogram), (directory.sample(name), chosen)):
            self.files.append(write_parquet(path, table))
        state = {"definition": self.definition, "index": self.shard.index, "file": fingerprint, **facts}
        return Finished(self.shard, self.files, state)

    def write_seek_points(
        self, reader: ShardReader | RowReader, documents: int, range_bytes: int
    ) -> list[dict[str, int]]:
        """Write the seek points that were found; return the ranges into which later stages split the shard."""
        path = self.context.directory.seek_points(self.shard.name)
        points, digests = reader.points() if isinstance(reader, ShardReader) else ([], [])
        whole = {"first": 0, "end": self.shard.n_bytes, "start": 0, "documents": documents}
        if not points:
            path.unlink(missing_ok=True)
            return [whole]
        self.files.append(AtomicFile(path))
        with self.files[-1].errors():
            write_index(self.files[-1].partial, points, digests, self.shard.n_bytes)
        ranges = split_at_points(self.shard.n_bytes, reader.stream_bytes, points, range_bytes)
        if len(ranges) == 1:
            return [whole]
        self.close()
        starts = pq.read_table(self.files[0].partial, columns=["start"]).column("start").to_numpy()
        # the line that begins where a range does belongs to the range before
        counts = np.diff([0, *np.searchsorted(starts, [r.start for r in ranges[1:]], "right"), len(starts)]).tolist()
        return [
            {"first": r.first, "end": r.end, "start": r.start, "stop": r.stop, "documents": n}
            for r, n in zip(ranges, counts, strict=True)
        ]

    def close(self) -> None:
        """Complete the table; it has no name yet."""
        assert self.writer is not None
        with self.files[0].errors():
            self.writer.close()

    def discard(self) -> None:
        _close_quietly(self.writer)
        for file in self.files:
            file.discard()


def scratch_folder(context: Context, shard: Shard) -> Path:
    return context.directory.scratch / "measure" / shard.name


def _close_quietly(writer: Any) -> None:
    """Close a writer whose file is discarded."""
    with contextlib.suppress(OSError):  # the disk may be full, and the file goes anyway
        if writer is not None:
            writer.close()


def _middle_line(data: Array) -> int:
    """Where a line begins near the middle of the data; 0 if the data is one line."""
    middle = len(data) // 2
    begin = data[middle:].tobytes().find(b"\n") + middle + 1
    if begin in (middle, len(data)):
        begin = data[:middle].tobytes().rfind(b"\n") + 1
    return begin


_THREAD = threading.local()


def text_buffer(n: int) -> Array:
    """This thread's buffer for the text of a block of n bytes, reused: page faults cost more than parsing."""
    if len(getattr(_THREAD, "buffer", ())) < n + 2 * SLACK:
        _THREAD.buffer = np.empty(n + 2 * SLACK, np.uint8)
    buffer: Array = _THREAD.buffer
    return buffer
