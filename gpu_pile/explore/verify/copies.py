"""copies: no more documents stay as copies of one than dedupe.copies_max allows, and that one stays too."""

from __future__ import annotations

import numpy as np

from gpu_pile.explore.verify.check import Check
from gpu_pile.explore.verify.documents import Document, ShardDecisions, TextCheck, among, survivors_of
from gpu_pile.run.config import Config
from gpu_pile.types import Array


class Copies(TextCheck):
    """Documents that stay beside the document that they duplicate."""

    def __init__(self, config: Config) -> None:
        self.check = Check("copies", "documents with kept copies, no more of them than dedupe.copies_max")
        self.most = config.dedupe.copies_max
        self._found: list[Array] = [np.empty(0, np.uint64)]

    def plan(self, decided: ShardDecisions) -> None:
        copies = decided.keep & ~survivors_of(decided.table)
        self._found.append(decided.table.column("witness").fill_null(0).to_numpy()[copies])

    def choose(self) -> None:
        self.witness, self.count = np.unique(np.concatenate(self._found), return_counts=True)
        self.stays = np.zeros(len(self.witness), bool)

    def wants(self, decided: ShardDecisions) -> Array:
        rows = among(decided.doc_id, self.witness)
        at = np.searchsorted(self.witness, decided.doc_id[rows])
        self.stays[at] = survivors_of(decided.table)[rows]
        return np.zeros(len(decided.keep), bool)

    def look(self, document: Document) -> None:
        raise AssertionError("asks for no text itself")

    def finish(self) -> None:
        for witness, count, stays in zip(self.witness, self.count, self.stays, strict=True):
            self.check.expect(bool(stays), f"doc_id {witness}: has {count:,} kept copies and does not stay itself")
            if count >= self.most:
                self.check.fail(f"doc_id {witness}: stays with {count:,} copies; dedupe.copies_max is {self.most}")
