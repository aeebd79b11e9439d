"""The shards without the spans of contaminated items: contamination/cut/, for a run of its own.

Every line is copied byte for byte but those of contaminated documents, which lose the spans and nothing else. A span is
what cuts.parquet lists: shard, line, start, end (bytes of the text), ascending, overlaps put together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_pile.corpus import files
from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.lines import LINE_FEED
from gpu_pile.corpus.rewrite import cut_line
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.sinks import sink_of
from gpu_pile.errors import UsageError
from gpu_pile.run.context import Context
from gpu_pile.run.reading import check_unchanged, open_shard, read_blocks
from gpu_pile.run.stages.by_shard import Finished, ShardsJob, group_label, group_small
from gpu_pile.run.tasks import Task

STAGE = "cut"
SCHEMA = pa.schema([("shard", pa.string()), ("line", pa.int64()), ("start", pa.int64()), ("end", pa.int64())])

Span = tuple[str, int, int, int]
"""Shard, line, start, end."""


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return spans in order; those of a line that overlap are one."""
    out: list[Span] = []
    for shard, line, start, end in sorted(set(spans)):
        if out and out[-1][:2] == (shard, line) and start <= out[-1][3]:
            out[-1] = (shard, line, out[-1][2], max(end, out[-1][3]))
        else:
            out.append((shard, line, start, end))
    return out


def check(context: Context) -> None:
    """Raise a UsageError if spans cannot be cut out of these inputs."""
    if context.config.decontaminate.cut and any(shard.is_table for shard in context.shards):
        raise UsageError(
            "decontaminate.cut edits the texts of JSON lines; rows of Parquet and Arrow are kept as they are: remove "
            "the documents (decide.remove) instead"
        )


def path_of(context: Context, shard: Shard) -> AnyPath:
    suffix = context.directory.line_suffix
    return context.directory.path / "contamination" / "cut" / f"{shard.name}{suffix}"


def cut(context: Context, spans: Sequence[Span]) -> None:
    """Remove what was written with other spans; if decontaminate.cut asks for it, write the shards that are missing."""
    by_shard: dict[str, dict[int, list[tuple[int, int]]]] = {shard.name: {} for shard in context.shards}
    for name, line, start, end in spans:
        by_shard[name].setdefault(line, []).append((start, end))
    todo = [shard for shard in context.shards if not _is_done(context, shard, by_shard[shard.name])]
    names = {path_of(context, shard).name for shard in context.shards if shard not in todo}
    found: list[AnyPath] = [*(context.directory.path / "contamination" / "cut").glob("*")]
    for path in found:
        if path.name not in names:
            path.unlink()
    if context.config.decontaminate.cut:
        with context.stage(STAGE, todo):
            context.do(STAGE, [_task(context, group, by_shard) for group in group_small(todo)])


def _is_done(context: Context, shard: Shard, spans: dict[int, list[tuple[int, int]]]) -> bool:
    state = context.directory.state(STAGE, shard.name)
    made = state.get("key") == _key(context, spans) and state["file"] == files.fingerprint(shard.path)
    return made and path_of(context, shard).is_file()


def _key(context: Context, spans: dict[int, list[tuple[int, int]]]) -> str:
    c = context.config
    reading = c.input.model_dump(exclude={"shards", "preset", "range_bytes", "id_field", "subsets"})
    return files.key_of([1, sorted(spans.items()), c.write.format, c.write.compression, reading])


def _task(context: Context, shards: Sequence[Shard], spans: dict[str, dict[int, list[tuple[int, int]]]]) -> Task:
    own = {shard.name: spans[shard.name] for shard in shards}
    n_bytes = sum(shard.n_bytes for shard in shards)
    outputs = tuple(path_of(context, shard) for shard in shards)
    return Task(cut_job, (tuple(shards), own), n_bytes, group_label(shards), outputs, n_bytes)


def cut_job(
    context: Context, shards: Sequence[Shard], spans: dict[str, dict[int, list[tuple[int, int]]]]
) -> ShardsJob[Any, Any]:
    return ShardsJob(context, STAGE, shards, lambda shard: ShardCutter(context, shard, spans[shard.name]))


class ShardCutter:
    """The job of a shard (see by_shard.ShardJob)."""

    def __init__(self, context: Context, shard: Shard, spans: dict[int, list[tuple[int, int]]]) -> None:
        self.context, self.shard, self.spans = context, shard, spans
        settings = context.config.write
        self.sink = sink_of(settings.format)(path_of(context, shard), settings.compression)

    def open(self) -> Iterator[Block]:
        with files.read_errors(self.shard.path):
            self.fingerprint = files.fingerprint(self.shard.path)
        self.sink.open()
        self.reader = open_shard(self.context, self.shard, identify=True)
        yield from read_blocks(self.context, STAGE, self.reader)

    def process(self, block: Block) -> Any:
        data = block.data[: block.n_bytes]
        ends = np.flatnonzero(data == LINE_FEED)
        first, last = block.first_line + 1, block.first_line + len(ends) + int(data[-1] != LINE_FEED)
        here = [line for line in self.spans if first <= line <= last]
        path, pieces, done = self.context.config.input.line_format.text_path, [], 0
        for line in sorted(here):
            i = line - first
            begin = int(ends[i - 1]) + 1 if i else 0
            end = int(ends[i]) if i < len(ends) else len(data)
            pieces += [data[done:begin].tobytes(), cut_line(data[begin:end].tobytes(), path, self.spans[line])]
            done = end
        content = np.frombuffer(b"".join([*pieces, data[done:].tobytes()]), np.uint8)
        if data[-1] != LINE_FEED:
            content = np.append(content, np.uint8(LINE_FEED))
        block.release()
        with self.context.reporter.span(STAGE, "compress"):
            return self.sink.encode(content)

    def consume(self, encoded: Any) -> bool:
        with self.context.reporter.span(STAGE, "compress"):
            self.sink.write(encoded)
        return True

    def finish(self) -> Finished:
        check_unchanged(self.shard, self.fingerprint, self.reader.identity)
        state = {"key": _key(self.context, self.spans), "file": self.fingerprint}
        return Finished(self.shard, [self.sink.finish()], state)

    def abandon(self) -> None:
        self.sink.discard()
