"""Write which lines of a shard are kept, and no lines (write.keep: bitmap)."""

from __future__ import annotations

import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.bitmap import write_bitmap
from gpu_pile.corpus.shards import Shard
from gpu_pile.run.context import Context
from gpu_pile.run.reading import check_unchanged
from gpu_pile.run.stages.by_shard import Finished, WithoutBlocks


class BitmapWriter(WithoutBlocks):
    """The job of a shard (see by_shard.ShardJob); key: what its bitmap depends on. No shard is read."""

    def __init__(self, context: Context, shard: Shard, key: str) -> None:
        self.context, self.shard, self.key = context, shard, key

    def finish(self) -> Finished:
        run, name = self.context.directory, self.shard.name
        state = run.state("measure", name)
        check_unchanged(self.shard, state["file"], state["identity"])
        kept = pq.read_table(files.table(run.decisions(name)), columns=["line"], filters=[("keep", "==", True)])
        file = write_bitmap(run.bitmap(name), kept.column("line").to_numpy(), state["lines"])
        return Finished(self.shard, [file], {"key": self.key, "bytes": file.partial.stat().st_size})

    def abandon(self) -> None:
        """Nothing is open between calls."""
