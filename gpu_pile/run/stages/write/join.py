"""Join the ranges of a shard, which were written separately."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from gpu_pile.corpus.files import AtomicFile
from gpu_pile.corpus.shards import Shard
from gpu_pile.run.context import Context
from gpu_pile.run.reading import check_unchanged
from gpu_pile.run.stages.by_shard import Finished, WithoutBlocks
from gpu_pile.run.stages.write.copy import finished_shard, kinds_of_lines, line_outputs, range_file
from gpu_pile.run.tables import measured_ranges

COPY_BYTES = 2**20


class RangeJoiner(WithoutBlocks):
    """The job of a shard whose ranges are written: their files, joined byte by byte (see by_shard.ShardJob)."""

    def __init__(self, context: Context, shard: Shard, key: str) -> None:
        self.context, self.shard, self.key = context, shard, key
        self.ranges = measured_ranges(context, shard)
        self.files: list[AtomicFile] = []

    def open(self) -> Iterator[None]:
        state = self.context.directory.state("measure", self.shard.name)
        check_unchanged(self.shard, state["file"], state["identity"])
        for path, what in zip(line_outputs(self.context, self.shard), kinds_of_lines(self.context), strict=True):
            self.files.append(AtomicFile(path))
            with self.context.reporter.span("write", "join"):
                self._join(self.files[-1], what)
        return super().open()

    def finish(self) -> Finished:
        return finished_shard(self.context, self.shard, self.key, self.files)

    def abandon(self) -> None:
        for file in self.files:
            file.discard()

    def _join(self, joined: AtomicFile, what: str) -> None:
        with joined.errors(), joined.partial.open("wb") as target:
            for measured in self.ranges:
                with range_file(self.context, measured, self.key, what).open("rb") as source:
                    shutil.copyfileobj(source, target, COPY_BYTES)
