"""What a check that needs texts is given: the decisions of a shard, then the texts that it asked for, in order."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gpu_pile.corpus.shards import Shard
from gpu_pile.explore.verify.check import Check
from gpu_pile.types import Array


class ShardDecisions(NamedTuple):
    """The decisions about the n documents of one shard, row by row: the table, and some of its columns as arrays."""

    shard: Shard
    table: pa.Table
    doc_id: Array
    line: Array
    keep: Array

    @classmethod
    def of(cls, shard: Shard, table: pa.Table) -> ShardDecisions:
        return cls(shard, table, *(table.column(name).to_numpy() for name in ("doc_id", "line", "keep")))

    def rows_with(self, reason: str) -> Array:
        """The rows of documents that were removed for a reason."""
        reasons = self.table.column("reasons").combine_chunks()
        flat = reasons.flatten().to_numpy(zero_copy_only=False)
        row = np.repeat(np.arange(len(reasons)), np.diff(reasons.offsets.to_numpy()))
        return np.asarray(row[flat == reason])

    def rows_outside(self, subsets: list[str]) -> Array:
        """bool[n]: documents that are not of these subsets."""
        if not subsets:
            return np.ones(len(self.line), bool)
        return np.array([name not in subsets for name in self.table.column("subset").to_pylist()], bool)


class Document(NamedTuple):
    """A document with its text; row is its row in the decisions of its shard.

    fields: the other fields that the configuration names, as far as the line shows their values
    """

    row: int
    doc_id: int
    place: str
    text: str
    fields: Mapping[str, str | float | None]


class TextReader(abc.ABC):
    """Asks for texts of documents and looks at each."""

    @abc.abstractmethod
    def wants(self, decided: ShardDecisions) -> Array:
        """bool[n]: the documents of a shard whose texts it needs. Their texts come next, in the order of rows."""

    @abc.abstractmethod
    def look(self, document: Document) -> None:
        """Look at one text that was asked for."""


class TextCheck(TextReader):
    """A check in three steps: plan, shard by shard, what to look at; look at texts; finish."""

    check: Check

    def plan(self, decided: ShardDecisions) -> None:
        """Take from the decisions of one shard what decides which texts are needed."""

    def choose(self) -> None:
        """All shards were planned: choose the texts."""

    @abc.abstractmethod
    def finish(self) -> None:
        """All texts were looked at: judge."""


def survivors_of(decisions: pa.Table) -> Array:
    """bool[n]: documents that are kept, without the copies of dedupe.copies_max."""
    return np.asarray(decisions.column("keep").to_numpy() & decisions.column("witness").is_null().to_numpy())


def among(ids: Array, sorted_ids: Array) -> Array:
    """bool[n]: which of some ids are among ascending ids."""
    if not len(sorted_ids):
        return np.zeros(len(ids), bool)
    at = np.minimum(np.searchsorted(sorted_ids, ids), len(sorted_ids) - 1)
    return np.asarray(sorted_ids[at] == ids)
