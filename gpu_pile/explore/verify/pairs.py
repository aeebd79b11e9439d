"""Removed documents with their witnesses, and the shingles of texts on which their similarity is counted."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile.explore.verify.documents import Document, ShardDecisions, TextReader, among
from gpu_pile.text.shingles import reference_shingles
from gpu_pile.types import Array

_NUMBERS = ("similarity", "containment", "lost_shingles")
_PAIR = np.dtype([("doc_id", "<u8"), ("witness", "<u8"), *((name, "<f8") for name in _NUMBERS)])
NO_WITNESS = 2**64 - 1


class RemovedPairs:
    """What is recorded of the documents that were removed for one reason, or of a sample of them; unknown numbers are
    NaN."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self._found: list[Array] = []
        self.total = 0

    def add(self, decided: ShardDecisions) -> None:
        rows = decided.rows_with(self.reason)
        if "witness_run" in decided.table.column_names:  # the check "old" is about the others
            own = decided.table.column("witness_run").is_null().to_numpy()
            rows = rows[own[rows]]
        table = decided.table.select(_PAIR.names).take(rows)
        pairs = np.empty(len(rows), _PAIR)
        pairs["doc_id"] = table.column("doc_id").to_numpy()
        pairs["witness"] = table.column("witness").fill_null(NO_WITNESS).to_numpy()
        for name in _NUMBERS:
            pairs[name] = table.column(name).to_numpy(zero_copy_only=False)
        self._found.append(pairs)

    def choose(self, sample: int | None, rng: np.random.Generator) -> None:
        """Choose all pairs (None), or a sample of this many."""
        pairs = np.concatenate([np.empty(0, _PAIR), *self._found])
        self.total = len(pairs)
        if sample is not None and len(pairs) > sample:
            pairs = pairs[np.sort(rng.choice(len(pairs), sample, replace=False))]
        self.chosen = pairs
        self._witnesses = np.unique(pairs["witness"])
        self._kept = np.zeros(len(self._witnesses), bool)

    @property
    def ids(self) -> Array:
        """Every document of the chosen pairs, ascending."""
        return np.unique(np.concatenate([self.chosen["doc_id"], self.chosen["witness"]]))

    def note_kept(self, decided: ShardDecisions) -> None:
        """Remember which witnesses of this shard are kept."""
        rows = among(decided.doc_id, self._witnesses)
        self._kept[np.searchsorted(self._witnesses, decided.doc_id[rows])] = decided.keep[rows]

    def witness_kept(self) -> Array:
        """bool of each chosen pair."""
        return np.asarray(self._kept[np.searchsorted(self._witnesses, self.chosen["witness"])])


class Shingles(TextReader):
    """Distinct shingles of texts by the plain reference, in a temporary file."""

    def __init__(self, kind: str, width: int, store: Any) -> None:
        self.kind, self.width, self.store = kind, width, store
        self.ids = np.empty(0, np.uint64)

    def request(self, ids: Array) -> None:
        """Ask for the texts of more documents."""
        self.ids = np.union1d(self.ids, ids)
        self.spans = np.full((len(self.ids), 2), -1, np.int64)

    def wants(self, decided: ShardDecisions) -> Array:
        return among(decided.doc_id, self.ids)

    def look(self, document: Document) -> None:
        shingles = np.unique(np.array(reference_shingles(document.text.encode(), self.kind, self.width), np.uint64))
        self.store.seek(0, 2)
        row = np.searchsorted(self.ids, np.uint64(document.doc_id))
        self.spans[row] = self.store.tell(), shingles.nbytes
        self.store.write(shingles.tobytes())

    def similarity(self, a: int, b: int) -> float:
        """The Jaccard similarity of two documents; 0 where a text was not found."""
        common, first, second = self.counts(a, b)
        return common / max(1, first + second - common)

    def counts(self, a: int, b: int) -> tuple[int, int, int]:
        """How many distinct shingles two documents have in common, and how many each has."""
        first, second = self._of(a), self._of(b)
        return len(np.intersect1d(first, second, assume_unique=True)), len(first), len(second)

    def _of(self, doc_id: int) -> Array:
        row = int(np.searchsorted(self.ids, np.uint64(doc_id)))
        if row == len(self.ids) or self.ids[row] != doc_id or self.spans[row, 0] < 0:
            return np.empty(0, np.uint64)
        start, size = (int(x) for x in self.spans[row])
        self.store.seek(start)
        return np.frombuffer(self.store.read(size), np.uint64)
