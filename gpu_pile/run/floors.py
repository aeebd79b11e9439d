"""Floors: what a stage cannot avoid, timed on a sample of the user's own shards.

    decompress, line feeds, fields     measure does all three before it can compute anything
    compress                           write, at write.level: the kept share of the lines, if they came from the spool;
                                       where it copies compressed bytes as they are, it is faster

A floor is CPU time of one core, the least of REPEATS, with the file in the page cache.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import zstandard

from gpu_pile.corpus import files
from gpu_pile.corpus.decoders import decoder_of, format_of
from gpu_pile.corpus.identity import HashedFile
from gpu_pile.corpus.line_format import LineFormat
from gpu_pile.corpus.lines import after_last_newline
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.zstd_frames import CHUNK
from gpu_pile.errors import DataError
from gpu_pile.run.context import Context
from gpu_pile.text.simd import SLACK, count_newlines
from gpu_pile.types import Array

REPEATS = 3
SHARDS_MAX = 8
"""Shards that a sample is taken from, evenly spread."""

BLOCK_BYTES = 4 * 2**20
COMPRESSED_BLOCKS = 2
"""Blocks that are compressed: high levels are slow."""

LEVELS = (1, 3, 6, 9, 12)

RUN_BYTES = 8 * 2**20
"""Bytes of the sample of a run: it costs about 0.1 s."""

STAGE_BYTES_MIN = 64 * 2**20
"""Bytes of text from which on a stage is compared with its floor: before, other things take longer."""


class Floor(NamedTuple):
    """One thing timed.

    what:    decompress, line feeds, fields, copy or compress
    how:     a format or a level; "" where there is no choice
    n_bytes: decompressed bytes
    ratio:   decompressed bytes for each compressed one; None where nothing is compressed
    """

    what: str
    how: str
    n_bytes: int
    seconds: float
    ratio: float | None = None

    @property
    def bytes_per_second(self) -> float:
        return self.n_bytes / max(self.seconds, 1e-9)


class Sample(NamedTuple):
    """The beginning of a shard. stream: whole lines, followed by SLACK bytes; n_bytes: of the stream, as decoded."""

    shard: Shard
    format: str
    stream: Array
    n_bytes: int
    compressed: int

    def blocks(self) -> list[Array]:
        """Return about BLOCK_BYTES of whole lines each."""
        out, end = [], len(self.stream) - SLACK
        start = 0
        while start < end:
            stop = after_last_newline(self.stream, start, min(start + BLOCK_BYTES, end)) or end
            stop = end if stop <= start else stop
            out.append(self.stream[start:stop])
            start = stop
        return out


def take_samples(shards: Sequence[Shard], n_bytes: int) -> list[Sample]:
    """Return samples of about n_bytes in all; a shard that cannot be decompressed is left out."""
    chosen = shards[:: max(1, -(-len(shards) // SHARDS_MAX))]
    samples = []
    for shard in chosen:
        stream = np.zeros(n_bytes // len(chosen) + CHUNK + SLACK, np.uint8)
        n, compressed, name = _decode(shard, stream, n_bytes // len(chosen))
        end = after_last_newline(stream, 0, n)
        if end:
            samples.append(Sample(shard, name, stream[: end + SLACK], n, compressed))
    return samples


def _decode(shard: Shard, target: Array, n_bytes: int) -> tuple[int, int, str]:
    """Decompress the beginning of a shard. Return (decompressed bytes, compressed bytes, format)."""
    n = 0
    with files.read_errors(shard.path), files.opened(shard.path) as source:
        file = HashedFile(source)
        name, decoder = format_of(file), decoder_of(file, 2**27)
        file.position = 0
        while n < n_bytes:
            chunk = decoder.read(target[n % max(1, len(target) - CHUNK) :][:CHUNK].data)
            if chunk is None or chunk.problem is not None:
                break
            n += chunk.n_bytes
        return n, file.position, name


def measure_floors(samples: Sequence[Sample], line_format: LineFormat, levels: Sequence[int]) -> list[Floor]:
    """Time everything on the samples.

    Raises:
        DataError: there is no document in them.
    """
    blocks = [block for sample in samples for block in sample.blocks()]
    n_bytes = sum(map(len, blocks))
    if not text_bytes(blocks, line_format):
        raise DataError(f"the sample has no text: no line of it has the field {line_format.text_field!r}")
    scratch = np.empty(max(map(len, blocks)) + 2 * SLACK, np.uint8)

    def parse() -> None:
        for block in blocks:
            line_format.parse(block, skip_bom=True, padded=True, out=scratch)

    def copy() -> None:
        for block in blocks:
            scratch[: len(block)] = block

    floors = [_decompression(name, samples) for name in sorted({sample.format for sample in samples})]
    floors.append(Floor("line feeds", "", n_bytes, least(lambda: [count_newlines(b, len(b)) for b in blocks])))
    floors.append(Floor("fields", "", n_bytes, least(parse)))
    floors.append(Floor("copy", "", n_bytes, least(copy)))
    return floors + [_compression(level, blocks[:COMPRESSED_BLOCKS]) for level in levels]


def text_bytes(blocks: Sequence[Array], line_format: LineFormat) -> int:
    return sum(line_format.parse(block, skip_bom=True).text.n_bytes for block in blocks)


def _decompression(name: str, samples: Sequence[Sample]) -> Floor:
    mine = [sample for sample in samples if sample.format == name]
    scratch = np.empty(2 * CHUNK, np.uint8)
    seconds = least(lambda: [_decode(sample.shard, scratch, sample.n_bytes) for sample in mine])
    n_bytes = sum(sample.n_bytes for sample in mine)
    return Floor("decompress", name, n_bytes, seconds, n_bytes / sum(sample.compressed for sample in mine))


def _compression(level: int, blocks: Sequence[Array]) -> Floor:
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True)
    compressed = 0

    def compress() -> None:
        nonlocal compressed
        compressed = sum(len(compressor.compress(block.data)) for block in blocks)

    n_bytes, seconds = sum(map(len, blocks)), least(compress)
    return Floor("compress", f"zstd {level}", n_bytes, seconds, n_bytes / compressed)


def least(function: Callable[[], Any]) -> float:
    """Return the least CPU seconds of REPEATS calls."""
    times = []
    for _ in range(REPEATS):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return min(times)


class StageFloors:
    """Adds to what is known of a run's stages how far they are from their floors.

    floor_seconds: CPU seconds that the floor takes. of_floor: these, divided by the CPU seconds of the stage.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self._seconds: dict[str, float] | None = None  # per byte of text, by Floor.what

    def add(self, stage: str) -> None:
        """Add to a stage that is done; nothing for a stage without a floor, or one that had little to do."""
        entry = self.context.reporter.stages.get(stage)
        timed = stage in ("measure", "write") and not any(shard.is_table for shard in self.context.shards)
        if not timed or not entry or entry["text_bytes"] < STAGE_BYTES_MIN:
            return
        if stage == "write" and self.context.config.write.keep != "lines":
            return
        if self._seconds is None:
            self._seconds = {}
            with contextlib.suppress(DataError, OSError):  # a run does not fail by a look at its speed
                self._seconds = self._measure()
        if self._seconds:
            own = entry["cpu_seconds"] - entry.get("compile_seconds", 0.0)
            entry["floor_seconds"] = round(entry["text_bytes"] * self._floor(stage), 4)
            entry["of_floor"] = round(entry["floor_seconds"] / own, 4) if own > 0 else 1.0

    def _measure(self) -> dict[str, float]:
        config = self.context.config
        samples = take_samples(self.context.shards, RUN_BYTES)
        line_format, level = config.input.line_format, config.write.compression.level
        blocks = [block for sample in samples for block in sample.blocks()]
        text, stream = text_bytes(blocks, line_format), sum(map(len, blocks))
        seconds: dict[str, float] = {}
        for floor in measure_floors(samples, line_format, [level]):
            part = floor.seconds if floor.what == "decompress" else stream / floor.bytes_per_second
            seconds[floor.what] = seconds.get(floor.what, 0.0) + part / text
        return seconds

    def _floor(self, stage: str) -> float:
        """CPU seconds per byte of text."""
        seconds = self._seconds or {}
        if stage == "measure":
            return seconds["decompress"] + seconds["line feeds"] + seconds["fields"]
        return seconds["compress"] * self._kept_share()

    def _kept_share(self) -> float:
        directory = self.context.directory
        decided = directory.state("decide").get("shards", {}).values()
        documents = sum(directory.state("measure", s.name).get("documents", 0) for s in self.context.shards)
        return sum(d["kept"] for d in decided) / max(1, documents)
