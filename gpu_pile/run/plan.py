"""--dry-run: the resolved configuration, and what the run would read, hold and write."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from gpu_pile import signals
from gpu_pile.corpus.shards import Shard, find_shards
from gpu_pile.dedup.banding import choose
from gpu_pile.dedup.partition import Layout
from gpu_pile.gpu import detect
from gpu_pile.gpu.device import device_for
from gpu_pile.present.tables import human_bytes
from gpu_pile.run import dask, directory
from gpu_pile.run.config import Config
from gpu_pile.run.context import Context
from gpu_pile.run.reading import open_shard, shard_ranges
from gpu_pile.run.stages.dedupe.candidates import memory_per_task
from gpu_pile.run.stages.measure.columns import ROW_GROUP
from gpu_pile.run.tasks import Threads

SAMPLED_SHARDS = 3
RESIDENT = 320 << 20
"""What Python, NumPy, Arrow and the compiled kernels take by themselves, measured."""

BLOCK_COPIES = 8
"""A block under way exists as decompressed bytes, as text, as word and shingle hashes, and as measured columns."""

LONG_DOCUMENT = 12
"""Scratch of a document, in times its size: matters for documents larger than a batch."""

CLIENT = 4 << 26
"""Buffers of the process that asks workers, for pairs by cluster."""

MB_PER_CPU_SECOND = 60
"""Text from file to decisions, measured; see benchmarks/README.md."""


@dataclass(frozen=True)
class Estimate:
    """From the first block of the first shards."""

    expansion: float
    """decompressed bytes / file bytes"""
    text_share: float
    """text bytes / decompressed bytes"""
    document_bytes: float
    """mean text bytes a document"""
    shingles: float
    """shingles / text byte"""


def estimate(context: Context) -> Estimate:
    file_bytes = stream_bytes = text_bytes = documents = 0
    for shard in context.shards[:SAMPLED_SHARDS]:
        reader = open_shard(context, shard)
        for block in itertools.islice(reader, 1):
            parsed = context.config.input.line_format.parse(block.data[: block.n_bytes], skip_bom=True)
            stream_bytes += block.n_bytes
            text_bytes += parsed.text.n_bytes
            documents += len(parsed.text)
            file_bytes += min(reader.compressed_bytes_read, shard.n_bytes)
    return Estimate(
        stream_bytes / max(1, file_bytes),
        text_bytes / max(1, stream_bytes),
        text_bytes / max(1, documents),
        {"word": 0.17}.get(context.config.dedupe.fuzzy.shingle, 1.0),
    )


def describe(config: Config) -> str:
    """The text of --dry-run."""
    shards = find_shards(config.input.shards, Path.cwd())
    where = config.cluster.where
    here = device_for("cpu" if where else detect.choose(config.backend))
    context = Context(config, directory.of(config), shards, Threads(here))
    e = estimate(context)
    file_bytes = sum(s.n_bytes for s in shards)
    stream_bytes = file_bytes * e.expansion
    text_bytes = stream_bytes * e.text_share
    documents = text_bytes / max(1.0, e.document_bytes)
    fuzzy = config.dedupe.fuzzy
    n_signals = len(signals.names(config.measure.signals))
    row_bytes = 4 * fuzzy.size + 8 * n_signals + 60
    measured = documents * row_bytes
    bands = fuzzy.banding().bands
    spill = documents * bands * 16 if fuzzy.enabled else 0
    again = text_bytes * e.shingles * 8 if fuzzy.enabled and fuzzy.verify == "exact" else 0
    # besides the blocks, a worker collects rows for a row group, and copies them once to write it
    rows = int(min(ROW_GROUP, documents) * row_bytes * 2)
    # a task of dedupe holds four buffers of band keys, and while it fills them sketches and keys of a row group
    keys = Layout.of(2, int(documents) * bands, memory_per_task(config))
    buffers = int(min(4 * 16 * keys.buffer, documents * bands * 64))
    buffers += int(min(ROW_GROUP, documents) * (4 * fuzzy.size + 24 * bands))
    tables = int(documents * 9 / 32)  # two sets of rows
    rate = text_bytes / file_bytes / 1e6 / MB_PER_CPU_SECOND if file_bytes else 0.0  # CPU seconds a byte of a file
    by_shard = shard_ranges(context, shards)
    ranges = [p for of_shard in by_shard for p in of_shard]
    largest = max((p.n_bytes for p in ranges), default=0)
    if where:
        processes, threads = dask.size(config, len(ranges))
        workers = processes or 1
        blocks = rows + threads * context.batch_bytes * BLOCK_COPIES
        # a range has one worker: the largest one is the least that a stage takes
        seconds = rate * max(file_bytes / (workers * threads), largest / threads)
        memory = (
            f"memory     about {human_bytes(RESIDENT + blocks + buffers)} a worker: "
            f"{human_bytes(RESIDENT)} for the program, {human_bytes(blocks)} for batches while measuring, "
            f"{human_bytes(buffers)} for sorting band keys; about {human_bytes(RESIDENT + tables + CLIENT)} for the "
            "process that asks them; besides, there, "
        )
        number = processes or "the scheduler's"
        workers_said = f"{number} worker process(es) of {threads} thread(s), {where}"
    else:
        blocks = config.n_workers * (context.batch_bytes * BLOCK_COPIES + rows)
        seconds = rate * file_bytes / config.n_workers
        dedupe = config.n_workers * buffers + tables
        memory = (
            f"memory     about {human_bytes(RESIDENT + blocks + dedupe)} at most: "
            f"{human_bytes(RESIDENT)} for the program, "
            f"{human_bytes(blocks)} for batches while measuring, {human_bytes(dedupe)} for dedupe; besides "
        )
        workers_said = f"{config.n_workers} worker(s)"
    in_ranges = sum(s.n_bytes for s, p in zip(shards, by_shard, strict=True) if len(p) > 1)
    twice = measured * in_ranges / max(1, file_bytes)
    lines = [
        "# configuration",
        yaml.safe_dump(config.model_dump(), sort_keys=False, allow_unicode=True).rstrip(),
        "",
        "# plan (sizes beyond the files' own are estimated from the first block of the first shards)",
        f"backend    {dask.backend_of(config) or context.device.backend}, {workers_said}",
        f"input      {len(shards)} shard(s), {human_bytes(file_bytes)}: {_names(shards)}",
        f"ranges     {len(ranges)} that are worked on side by side, the largest {human_bytes(largest)}; a shard has "
        "several where it has several zstd frames, in a file here (input.range_bytes)",
        f"text       about {human_bytes(text_bytes)} in {documents:,.0f} documents "
        f"({human_bytes(stream_bytes)} decompressed, about {stream_bytes / context.batch_bytes:,.0f} batches)",
        f"{memory}90 bytes a document that has a duplicate, 64 bytes a pair of the largest cluster, "
        f"and {LONG_DOCUMENT} times the size of a document that is larger than a batch",
        f"disk       measured about {human_bytes(measured)}; kept at most about {human_bytes(file_bytes)}; "
        f"scratch while measuring: ranges of shards about {human_bytes(twice)}; "
        f"while deduplicating: band keys {human_bytes(spill)}, shingles at most {human_bytes(again)} "
        "(of documents in candidate pairs only)",
        f"time       about {_duration(seconds)} at {MB_PER_CPU_SECOND} MB of text a second and core"
        + (f"; no less than {_duration(rate * largest / threads)} for the largest range" if where else "")
        + (", with one worker" if where and not processes else ""),
    ]
    if fuzzy.enabled:
        lines.append(f"banding    {_banding(config)}")
    return "\n".join(lines)


def headline(context: Context) -> list[str]:
    """What a person should see before a run begins."""
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
