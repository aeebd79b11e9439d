"""exact: each exact duplicate has a kept document of equal text. exact left: no two kept documents have equal texts.

Texts are compared by BLAKE2b digests of 128 bits, which nobody can make equal on purpose.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from gpu_pile.dedup import survivors
from gpu_pile.explore.verify.check import Check
from gpu_pile.explore.verify.documents import Document, ShardDecisions, TextCheck, among
from gpu_pile.explore.verify.pairs import RemovedPairs
from gpu_pile.run.config import Config
from gpu_pile.text import unicode_reference
from gpu_pile.types import Array

DIGESTS_AT_A_TIME = 1 << 21
"""Digests that are held in memory, 24 bytes each; more are sorted in a temporary file."""

PARTITIONS = 256
_DIGEST = np.dtype([("high", "<u8"), ("low", "<u8"), ("doc_id", "<u8")])


def compared(text: str, normalize: str) -> bytes:
    """The bytes whose equality makes two documents exact duplicates (dedupe.exact.normalize)."""
    if normalize == "words":  # a text without words is compared as it is
        text = " ".join(unicode_reference.marked_words(text)) or text
    return text.encode("utf-8", "replace")


def digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


class ExactRemoved(TextCheck):
    """Documents that were removed as exact duplicates."""

    def __init__(self, config: Config) -> None:
        self.check = Check("exact", "removed exact duplicates with an equal kept text")
        self.normalize = config.dedupe.exact.normalize
        self.pairs = RemovedPairs(survivors.EXACT)

    def plan(self, decided: ShardDecisions) -> None:
        self.pairs.add(decided)

    def choose(self) -> None:
        self.pairs.choose(None, np.random.default_rng(0))
        self.ids = self.pairs.ids
        self.digests = np.zeros((len(self.ids), 16), np.uint8)

    def wants(self, decided: ShardDecisions) -> Array:
        self.pairs.note_kept(decided)
        return among(decided.doc_id, self.ids)

    def look(self, document: Document) -> None:
        row = np.searchsorted(self.ids, np.uint64(document.doc_id))
        self.digests[row] = np.frombuffer(digest(compared(document.text, self.normalize)), np.uint8)

    def finish(self) -> None:
        pairs = self.pairs.chosen
        own, other = (self.digests[np.searchsorted(self.ids, pairs[n])] for n in ("doc_id", "witness"))
        equal = (own == other).all(axis=1) & own.any(axis=1)
        for pair, kept, same in zip(pairs, self.pairs.witness_kept(), equal, strict=True):
            what = "has another text" if kept else "is not kept"
            self.check.expect(bool(kept and same), f"doc_id {pair['doc_id']}: its witness {pair['witness']} {what}")


class ExactLeft(TextCheck):
    """Kept documents: no two of them are exact duplicates of each other."""

    def __init__(self, config: Config, everything: bool, store: Any) -> None:
        self.check = Check("exact left", "kept documents without a kept exact duplicate")
        exact, self.scope, self.copies_max = config.dedupe.exact, config.dedupe.scope, config.dedupe.copies_max
        self.enabled, self.skip_subsets, self.normalize = exact.enabled, exact.skip_subsets, exact.normalize
        self.digests = Digests(store)
        self.kept = 0
        if not self.enabled:
            self.check.notes.append("dedupe.exact is off: exact duplicates stay")
        elif self.normalize == "words" and not everything:
            self.normalize = "none"
            self.check.notes.append("texts are compared byte for byte; --all compares their words")

    def wants(self, decided: ShardDecisions) -> Array:
        if not self.enabled:
            return np.zeros(len(decided.keep), bool)
        self.kept += int(decided.keep.sum())
        self.subsets = decided.table.column("subset").to_pylist() if self.scope == "subset" else None
        return np.asarray(decided.keep & decided.rows_outside(self.skip_subsets))

    def look(self, document: Document) -> None:
        self.check.checked += 1
        content = compared(document.text, self.normalize)
        if self.subsets is not None:  # duplicates are looked for within each subset
            content += b"\0" + digest(self.subsets[document.row].encode())
        self.digests.add(digest(content), document.doc_id)

    def finish(self) -> None:
        if self.enabled:
            self.check.total = self.kept
        for first, found in itertools.groupby(self.digests.copies(), lambda pair: pair[0]):
            for _, copy in itertools.islice(found, self.copies_max - 1, None):
                self.check.fail(f"doc_id {copy}: is kept with the text of doc_id {first}, which is kept too")


class Digests:
    """Digests with doc_ids, in bounded memory: sorted runs in a temporary file, merged a partition at a time."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.buffer = np.empty(DIGESTS_AT_A_TIME, _DIGEST)
        self.n = 0
        self.runs: list[Array] = []

    def add(self, value: bytes, doc_id: int) -> None:
        if self.n == len(self.buffer):
            self._flush()
        self.buffer[self.n] = int.from_bytes(value[:8], "big"), int.from_bytes(value[8:], "big"), doc_id
        self.n += 1

    def _flush(self) -> None:
        """Write what is held as one sorted run; remember where each partition of it begins in the file."""
        run = _sorted(self.buffer[: self.n])
        firsts = np.arange(PARTITIONS, dtype=np.uint64) << np.uint64(56)
        bounds = [*np.searchsorted(run["high"], firsts), len(run)]
        self.store.seek(0, 2)
        self.runs.append(self.store.tell() + np.array(bounds, np.int64) * _DIGEST.itemsize)
        self.store.write(run.tobytes())
        self.n = 0

    def copies(self) -> Iterator[tuple[int, int]]:
        """(smallest doc_id of this digest, another doc_id) for each doc_id that is not the smallest."""
        if self.runs and self.n:
            self._flush()
        for partition in range(PARTITIONS) if self.runs else [0]:
            records = self._partition(partition) if self.runs else _sorted(self.buffer[: self.n])
            repeated = (records["high"][1:] == records["high"][:-1]) & (records["low"][1:] == records["low"][:-1])
            first = 0
            for i in np.flatnonzero(repeated).tolist():
                if i == 0 or not repeated[i - 1]:
                    first = i
                yield int(records["doc_id"][first]), int(records["doc_id"][i + 1])

    def _partition(self, partition: int) -> Array:
        pieces = []
        for bounds in self.runs:
            start, stop = (int(b) for b in bounds[partition : partition + 2])
            self.store.seek(start)
            pieces.append(np.frombuffer(self.store.read(stop - start), _DIGEST))
        return _sorted(np.concatenate(pieces))


def _sorted(records: Array) -> Array:
    return np.asarray(records[np.lexsort((records["doc_id"], records["low"], records["high"]))])
