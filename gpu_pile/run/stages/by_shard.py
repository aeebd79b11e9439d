"""Jobs of stages that make files per shard: many small shards in one task, published together.

What a small shard costs is not its documents but a task, and waiting for the disk. So a task takes several small
shards: they are done one after the other, and all their files are committed with one wait for the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath, AtomicFile
from gpu_pile.corpus.shards import Shard
from gpu_pile.run.context import Context
from gpu_pile.run.directory import RunDir

B = TypeVar("B")
R = TypeVar("R")

SHARDS_MAX = 64
"""Shards per task, at most."""

BYTES_MAX = 8 * 2**20
"""Compressed bytes of a task of several shards, at most: a larger shard is a task of its own."""

TASKS_MIN = 64
"""Shards are only put together as long as there are this many tasks: enough to keep all workers busy."""


SMALL_TABLE = 16 * 2**10
"""Bytes of a table that is stored as it is, at most."""


def group_small(shards: Sequence[Shard]) -> list[tuple[Shard, ...]]:
    """Group consecutive shards, each group for one task."""
    limit = min(SHARDS_MAX, max(1, len(shards) // TASKS_MIN))
    groups: list[list[Shard]] = []
    n_bytes = 0
    for shard in shards:
        if groups and len(groups[-1]) < limit and n_bytes + shard.n_bytes <= BYTES_MAX:
            groups[-1].append(shard)
            n_bytes += shard.n_bytes
        else:
            groups.append([shard])
            n_bytes = shard.n_bytes
    return [tuple(group) for group in groups]


def group_label(shards: Sequence[Shard]) -> str:
    """Return the name of a group for messages."""
    return shards[0].name if len(shards) == 1 else f"{shards[0].name} to {shards[-1].name}"


@dataclass(frozen=True)
class Finished:
    """What a stage has made of a shard: files that lack only their names, and what is recorded of the shard."""

    shard: Shard
    files: Sequence[AtomicFile]
    state: dict[str, Any]


def publish(directory: RunDir, stage: str, finished: Sequence[Finished]) -> None:
    """Name all files of these shards, then record that the shards are done.

    A state needs no wait for the disk: the files that it vouches for are on it. A power failure may cost a state, and
    then the shard is done again.
    """
    for shard in finished:
        directory.forget(stage, shard.shard.name)
    files.commit_together([file for shard in finished for file in shard.files])
    for shard in finished:
        directory.set_state(shard.state, stage, shard.shard.name, durable=False)


def is_small(table: pa.Table) -> bool:
    """Whether compressing a table would cost more than all else about its file: a compressor is made per column."""
    return table.nbytes <= SMALL_TABLE


def write_parquet(path: AnyPath, table: pa.Table) -> AtomicFile:
    """Write a table to a file that is still to be committed."""
    file = AtomicFile(path)
    try:
        with file.errors():
            compression = "none" if is_small(table) else "zstd"
            pq.write_table(table, file.partial, compression=compression, use_dictionary=False, write_statistics=False)
    except BaseException:
        file.discard()
        raise
    return file


class ShardJob(Protocol[B, R]):
    """The work on one shard; see run.threads.Job."""

    def open(self) -> Iterator[B]:
        """Begin; the iterator is advanced by one thread at a time."""

    def process(self, block: B) -> R:
        """Called from several threads at once."""

    def consume(self, result: R) -> bool:
        """Called in order; False: no more results of this shard are wanted."""

    def finish(self) -> Finished:
        """All results were consumed: complete the files."""

    def abandon(self) -> None:
        """Something failed: leave nothing half-done. Also called after finish, if publishing failed."""


class WithoutBlocks:
    """What the jobs of shards have in common that need no blocks of them."""

    def open(self) -> Iterator[None]:
        return iter(())

    def process(self, block: None) -> None:
        """Never called."""

    def consume(self, result: None) -> bool:
        return True


class ShardsJob(Generic[B, R]):
    """The job of a group of shards, one after the other (see run.threads.Job).

    Args:
        begin: makes the job of a shard, when its turn has come.
    """

    def __init__(
        self, context: Context, stage: str, shards: Sequence[Shard], begin: Callable[[Shard], ShardJob[B, R]]
    ) -> None:
        self.cost = sum(shard.n_bytes for shard in shards)
        self._context, self._stage, self._shards, self._begin = context, stage, shards, begin
        self._jobs: list[ShardJob[B, R]] = []  # begun and not finished, in order
        self._stopped: ShardJob[B, R] | None = None
        self._finished: list[Finished] = []

    def open(self) -> Iterator[tuple[ShardJob[B, R], B]]:
        for shard in self._shards:
            job = self._begin(shard)
            self._jobs.append(job)
            for block in job.open():
                yield job, block
                if self._stopped is job:
                    break

    def process(self, block: tuple[ShardJob[B, R], B]) -> tuple[ShardJob[B, R], R]:
        job, shard_block = block
        return job, job.process(shard_block)

    def consume(self, result: tuple[ShardJob[B, R], R]) -> bool:
        job, shard_result = result
        while self._jobs[0] is not job:
            self._finish_first()
        if self._stopped is not job and not job.consume(shard_result):
            self._stopped = job
        return True

    def close(self) -> None:
        while self._jobs:
            self._finish_first()
        publish(self._context.directory, self._stage, self._finished)

    def abandon(self) -> None:
        for job in self._jobs:
            job.abandon()
        files.discard_together([file for shard in self._finished for file in shard.files])

    def _finish_first(self) -> None:
        self._finished.append(self._jobs[0].finish())
        self._jobs.pop(0)
