"""--dry-run: the resolved configuration, and what the run would read, hold, and write."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml
import zstandard

from gpu_pile.corpus.shards import Shard, find_shards
from gpu_pile.dedup.banding import choose
from gpu_pile.dedup.contained import sampled_of
from gpu_pile.dedup.partition import Layout
from gpu_pile.gpu import detect
from gpu_pile.gpu.device import device_for
from gpu_pile.present.tables import human_bytes
from gpu_pile.run import dask, directory, removals
from gpu_pile.run.config import Config
from gpu_pile.run.context import Context
from gpu_pile.run.index.build import against_line
from gpu_pile.run.joining import with_joined_columns
from gpu_pile.run.layouts import look
from gpu_pile.run.own_fields import with_types
from gpu_pile.run.reading import open_shard, parse, shard_ranges
from gpu_pile.run.spool import spool_share
from gpu_pile.run.stages.dedupe.candidates import memory_per_task
from gpu_pile.run.stages.dedupe.contained import SHINGLES_PER_BYTE, expected_samples
from gpu_pile.run.stages.measure.columns import ROW_GROUP
from gpu_pile.run.stages.substrings.windows import windows_of
from gpu_pile.run.tasks import Threads

SAMPLED_SHARDS = 3
RESIDENT = 320 << 20
"""Bytes of Python, NumPy, Arrow, and the compiled kernels before any data, measured."""

BLOCK_COPIES = 8
"""A block in progress exists as decompressed bytes, as text, as word and shingle hashes, and as measured columns."""

LONG_DOCUMENT = 12
"""Working memory per byte of a document; it matters for documents larger than a batch."""

CLIENT = 4 << 26
"""Bytes of the buffers in which the process that starts the tasks groups pairs by cluster."""

OWN_STRING = 40
"""Bytes of a field of input.fields, compressed; that of a web address, for example."""

MB_PER_CPU_SECOND = 60
"""MB of text per second and core from file to decisions, measured; see benchmarks/README.md."""

RECORD_BYTES, WINDOWS_PER_BYTE, SUBSTRINGS_MB_PER_CPU_SECOND = 24, 0.04, 25
"""Of the search for repeated substrings: bytes of a record, windows that are looked at per byte of text, and its speed,
measured."""


@dataclass(frozen=True)
class Sample:
    """Ratios of the first block of the first shards.

    expansion:      decompressed bytes per byte of a file
    text_share:     text bytes per decompressed byte
    document_bytes: mean text bytes of a document
    growth:         bytes of a file when its lines are compressed at write.level, per byte of it now
    """

    expansion: float
    text_share: float
    document_bytes: float
    growth: float


def sample(context: Context) -> Sample:
    """Read the first block of the first shards."""
    file_bytes = stream_bytes = text_bytes = documents = written_bytes = 0
    compressor = zstandard.ZstdCompressor(context.config.write.level)
    for shard in context.shards[:SAMPLED_SHARDS]:
        reader = open_shard(context, shard)
        for block in itertools.islice(reader, 1):
            parsed = parse(context, shard, block.data[: block.n_bytes], skip_bom=True)
            stream_bytes += block.n_bytes
            text_bytes += parsed.text.n_bytes
            documents += len(parsed.text)
            read = min(reader.compressed_bytes_read, shard.n_bytes)
            file_bytes += read
            lines = block.data[: block.n_bytes].data
            written_bytes += read if shard.is_table else len(compressor.compress(lines))
    return Sample(
        stream_bytes / max(1, file_bytes),
        text_bytes / max(1, stream_bytes),
        text_bytes / max(1, documents),
        written_bytes / max(1, file_bytes),
    )


class Sizes:
    """What a run reads, holds, and writes, in bytes unless another unit is named; estimated from a sample."""

    def __init__(self, context: Context) -> None:
        config, fuzzy, ratios = context.config, context.config.dedupe.fuzzy, sample(context)
        self.file = sum(s.n_bytes for s in context.shards)
        self.stream = self.file * ratios.expansion
        self.text = self.stream * ratios.text_share
        self.documents = self.text / max(1.0, ratios.document_bytes)
        self.kept = self.documents / 8 if config.write.keep == "bitmap" else self.file * max(1.0, ratios.growth)
        row = 4 * fuzzy.size + 8 * len(config.measured_signals) + OWN_STRING * len(config.input.fields) + 60
        self.measured = self.documents * row
        self.rows = int(min(ROW_GROUP, self.documents) * row * 2)  # of a row group, and its copy while it is written
        bands = fuzzy.banding().bands
        self.band_keys = self.documents * bands * 16 if fuzzy.enabled else 0
        shingles = self.text * SHINGLES_PER_BYTE.get(fuzzy.shingle, 1.0)
        self.shingles = shingles * 8 if fuzzy.enabled and fuzzy.verify == "exact" else 0
        samples = expected_samples(config, self.text) if config.dedupe.contained is not None else 0
        self.samples = samples * (16 + 24)  # at most: every sampled shingle is shared
        self.sorting = self._sorting(config, bands)
        self.row_sets = int(self.documents * 9 / 32)  # two of them
        self.by_shard = shard_ranges(context, context.shards)
        self.ranges = [r.n_bytes for ranges in self.by_shard for r in ranges]
        self.largest_range = max(self.ranges, default=0)
        split = sum(s.n_bytes for s, ranges in zip(context.shards, self.by_shard, strict=True) if len(ranges) > 1)
        self.spool = int(min(self.stream, spool_share(context, context.shards) * self.file))
        self.measured_ranges = self.measured * split / max(1, self.file)
        self.seconds_per_byte = self.text / self.file / 1e6 / MB_PER_CPU_SECOND if self.file else 0.0  # of a file

    def _sorting(self, config: Config, bands: int) -> int:
        """Four buffers of a task of dedupe, and the sketches and keys of a row group that fill them."""
        keys = Layout.of(2, int(self.documents) * bands, memory_per_task(config))
        buffers = int(min(4 * 16 * keys.buffer, self.documents * bands * 64))
        return buffers + int(min(ROW_GROUP, self.documents) * (4 * config.dedupe.fuzzy.size + 24 * bands))


def describe(config: Config) -> str:
    """The text of --dry-run."""
    shards = find_shards(config.input.shards, Path.cwd())
    device = device_for("cpu" if config.cluster.where else detect.choose(config.backend))
    context = Context(config, directory.of(config, shards), shards, Threads(device))
    look(context)
    with_types(context)
    context.config = with_joined_columns(context.config)
    config = context.config
    sizes = Sizes(context)
    executor = _on_cluster(context, sizes) if config.cluster.where else _on_threads(context, sizes)
    lines = [
        "# configuration",
        yaml.safe_dump(config.shown(), sort_keys=False, allow_unicode=True).rstrip(),
        "",
        "# plan (sizes other than those of the input files are estimated from the first block of the first shards)",
        f"backend    {dask.backend_of(config) or device.backend}, {executor.workers}",
        f"input      {len(shards)} shard(s), {human_bytes(sizes.file)}: {_names(shards)}",
        f"ranges     {len(sizes.ranges)} that are processed in parallel, the largest "
        f"{human_bytes(sizes.largest_range)}; a local file of several zstd frames has several (input.range_bytes)",
        f"text       about {human_bytes(sizes.text)} in {sizes.documents:,.0f} documents "
        f"({human_bytes(sizes.stream)} decompressed, about {sizes.stream / context.batch_bytes:,.0f} batches)",
        f"memory     {executor.memory}; in addition 81 bytes per document that has a duplicate, 112 bytes per pair of "
        f"the largest cluster, and {LONG_DOCUMENT} times the size of a document that is larger than a batch",
        f"disk       measured about {human_bytes(sizes.measured)}; kept at most about {human_bytes(sizes.kept)}"
        f"{_harder(sizes, config)}; "
        f"scratch while measuring: ranges of shards about {human_bytes(sizes.measured_ranges)}, and until the end of "
        f"the run decompressed lines about {human_bytes(sizes.spool)}; "
        f"scratch while deduplicating: band keys {human_bytes(sizes.band_keys)}, shingles at most "
        f"{human_bytes(sizes.shingles)} (only of documents in candidate pairs)",
        f"time       {executor.time}",
    ]
    return "\n".join([*lines, *_options(config, shards, sizes)])


def _options(config: Config, shards: list[Shard], sizes: Sizes) -> Iterator[str]:
    """The lines about what is not part of every run."""
    for path, join in config.measure.join.items():
        yield f"join       {path} on {' and '.join(join.on)}: {', '.join(join.columns or ())}"
    if config.dedupe.contained is not None:
        yield (
            f"contained  all texts are read once more in dedupe; scratch at most {human_bytes(sizes.samples)}, one of "
            f"{sampled_of(config.dedupe.contained.min_shingles)} shingles is sampled"
        )
    if config.dedupe.fuzzy.enabled:
        yield f"banding    {_banding(config)}"
    if config.input.against:
        yield f"against    {against_line(config, directory.of(config, shards))}"
    if config.dedupe.substrings.enabled:
        yield f"substrings {_substrings(sizes, config)}"
    choice = config.input.subsets
    for what, names in (("only", choice.include), ("without", choice.exclude)):
        if names:
            yield f"subsets    {what} {', '.join(names)}"
    if config.decide.remove:
        named = removals.read(config.decide.remove, shards)
        yield f"remove     {len(named.table):,} rows of removal lists ({', '.join(named.reasons)})"


def _substrings(sizes: Sizes, config: Config) -> str:
    """What the search for repeated substrings adds."""
    windows = windows_of(config.dedupe.substrings)
    expected = sizes.text * (windows.contexts_per_byte + WINDOWS_PER_BYTE)
    seconds = sizes.text / 1e6 / SUBSTRINGS_MB_PER_CPU_SECOND / (config.cluster.workers or config.n_workers)
    return (
        f"scratch about {human_bytes(RECORD_BYTES * expected)}, at most {human_bytes((RECORD_BYTES + 1) * sizes.text)} "
        f"where all text is repeated; sorting takes no more than memory_bytes, {human_bytes(config.memory_bytes)} a "
        f"process; the text is read three times, about {_duration(seconds)} more"
    )


def _harder(sizes: Sizes, config: Config) -> str:
    """Why the kept lines may need more room than all lines do now."""
    if sizes.kept <= sizes.file:
        return ""
    return f", as the input is compressed harder than at write.level {config.write.level}"


class Executing(NamedTuple):
    """Sentences about what does the work: how many workers, their memory, and the time."""

    workers: str
    memory: str
    time: str


def _on_threads(context: Context, sizes: Sizes) -> Executing:
    n = context.config.n_workers
    batches = n * (context.batch_bytes * BLOCK_COPIES + sizes.rows)
    dedupe = n * sizes.sorting + sizes.row_sets
    return Executing(
        f"{n} worker(s)",
        f"about {human_bytes(RESIDENT + batches + dedupe)} at most: {human_bytes(RESIDENT)} for the program, "
        f"{human_bytes(batches)} for batches while measuring, {human_bytes(dedupe)} for dedupe",
        _time(sizes.seconds_per_byte * sizes.file / n),
    )


def _on_cluster(context: Context, sizes: Sizes) -> Executing:
    n, threads = dask.size(context.config, len(sizes.ranges))
    number = str(n) if n else "the scheduler's"
    batches = sizes.rows + threads * context.batch_bytes * BLOCK_COPIES
    least = sizes.seconds_per_byte * sizes.largest_range / threads  # one worker reads a range
    seconds = max(sizes.seconds_per_byte * sizes.file / ((n or 1) * threads), least)
    return Executing(
        f"{number} worker process(es) of {threads} thread(s), {context.config.cluster.where}",
        f"about {human_bytes(RESIDENT + batches + sizes.sorting)} per worker: {human_bytes(RESIDENT)} for the program, "
        f"{human_bytes(batches)} for batches while measuring, {human_bytes(sizes.sorting)} for sorting band keys; "
        f"about {human_bytes(RESIDENT + sizes.row_sets + CLIENT)} for this process",
        f"{_time(seconds)}; no less than {_duration(least)} for the largest range" + ("" if n else ", with one worker"),
    )


def _time(seconds: float) -> str:
    return f"about {_duration(seconds)} at {MB_PER_CPU_SECOND} MB of text per second and core"


def headline(context: Context) -> list[str]:
    """The lines shown before a run begins."""
    config = context.config
    workers = f"cluster {config.cluster.where}" if config.cluster.where else f"{config.n_workers} worker(s)"
    lines = [
        f"{len(context.shards)} shard(s), {human_bytes(sum(s.n_bytes for s in context.shards))}, "
        f"backend {dask.backend_of(config) or context.device.backend}, {workers}, into {config.output}"
    ]
    if config.dedupe.fuzzy.enabled:
        lines.append(_banding(config))
    return lines


def _banding(config: Config) -> str:
    fuzzy = config.dedupe.fuzzy
    banding = fuzzy.banding()
    line = banding.describe(fuzzy.threshold)
    probability = banding.probability(fuzzy.threshold)
    if probability < 0.9:
        better = choose(fuzzy.threshold, fuzzy.size)
        line += f"; only {probability:.0%} of the pairs at the threshold are found, "
        line += f"{better.bands} x {better.rows} finds more"
    return line


def _names(shards: list[Shard]) -> str:
    names = [s.name for s in shards]
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:3])} ... {names[-1]}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(int(np.ceil(seconds)), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"
