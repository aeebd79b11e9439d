"""repeated text: what is cut stands, byte for byte, at its source, which comes before it in a document that passed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.dedup import survivors
from gpu_pile.explore.tables import RunTables
from gpu_pile.explore.verify.check import Check
from gpu_pile.explore.verify.documents import Document, ShardDecisions, TextCheck, among
from gpu_pile.types import Array

SAMPLE = 1000
"""Documents whose repeated text is checked unless all are."""

COLUMNS = ("doc_id", "text_bytes", "cut_bytes", "starts", "lengths", "sources", "source_starts")


class Span(NamedTuple):
    """Bytes of the text of a document, and which of the two sides of which pair they are."""

    start: int
    length: int
    pair: int
    side: int


def with_single_spaces(text: bytes) -> bytes:
    """Return a text with one space for every run of white space, and none at its end."""
    return b" " * (text[:1].isspace()) + b" ".join(text.split())


class RepeatedText(TextCheck):
    """Documents with repeated text, and the documents that it was first in."""

    def __init__(self, run: RunTables, everything: bool, rng: np.random.Generator) -> None:
        self.check = Check("repeated text", "documents whose repeated text stands at its source, before it")
        self.run, self.rng = run, rng
        self.sample = None if everything else SAMPLE
        self.ids = [np.empty(0, np.uint64)]
        self.spans: dict[int, list[Span]] = defaultdict(list)
        self.pairs: list[tuple[int, int]] = []
        self.digests: dict[tuple[int, int], bytes] = {}
        self.wanted = np.empty(0, np.uint64)
        self.chosen: list[int] = []

    def plan(self, decided: ShardDecisions) -> None:
        path = files.table(self.run.directory.substrings(decided.shard.name))
        self.ids.append(pq.read_table(path, columns=["doc_id"]).column("doc_id").to_numpy())

    def choose(self) -> None:
        ids = np.concatenate(self.ids)
        self.check.total = len(ids)
        n = len(ids) if self.sample is None else min(self.sample, len(ids))
        chosen = set(self.rng.choice(ids, n, replace=False).tolist())
        for shard in self.run.shards:
            with pq.ParquetFile(files.table(self.run.directory.substrings(shard.name))) as file:
                for batch in file.iter_batches(columns=list(COLUMNS)):
                    for row in batch.to_pylist():
                        if row["doc_id"] in chosen:
                            self._plan_document(row)
        self.chosen = sorted(chosen)
        self.wanted = np.array(sorted(self.spans), np.uint64)

    def _plan_document(self, row: dict[str, Any]) -> None:
        own, end, problem = row["doc_id"], 0, ""
        spans = zip(row["starts"], row["lengths"], row["sources"], row["source_starts"], strict=True)
        for start, length, source, source_start in spans:
            if start < end or length <= 0 or start + length > row["text_bytes"]:
                problem = f"bytes {start} to {start + length} overlap others, or are outside of its text"
            if (source, source_start) >= (own, start):
                problem = f"the source of bytes {start} to {start + length} does not come before them"
            end = start + length
            pair = len(self.pairs)
            self.pairs.append((own, source))
            self.spans[own].append(Span(start, length, pair, 0))
            self.spans[source].append(Span(source_start, length, pair, 1))
        if sum(row["lengths"]) != row["cut_bytes"]:
            problem = f"{sum(row['lengths'])} bytes are repeated, recorded are {row['cut_bytes']}"
        self.check.expect(not problem, f"doc_id {own}: {problem}")

    def wants(self, decided: ShardDecisions) -> Array:
        here = among(decided.doc_id, self.wanted)
        reasons = decided.table.column("reasons")
        for row in np.flatnonzero(here & ~decided.keep).tolist():
            if reasons[row].as_py() != [survivors.REPEATED]:
                self.check.fail(f"doc_id {decided.doc_id[row]}: has a part in repeated text, but did not pass")
        return here

    def look(self, document: Document) -> None:
        in_tokens = self.run.config.dedupe.substrings.min_tokens is not None
        text = document.text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
        spaced = b" ".join(text.split())
        for start, length, pair, side in self.spans[document.doc_id]:
            if not in_tokens:
                self.digests[pair, side] = hashlib.sha256(text[start : start + length]).digest()
            elif side:
                self.digests[pair, side] = spaced[start : start + length]
            else:
                self.digests[pair, side] = with_single_spaces(text[start : start + length])

    def finish(self) -> None:
        for number, (own, source) in enumerate(self.pairs):
            one, other = (self.digests.get((number, side)) for side in (0, 1))
            if one is None or other is None or one != other[: len(one)]:
                self.check.fail(f"doc_id {own}: a repeated run of bytes is not the one in {source}")
