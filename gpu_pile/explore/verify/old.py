"""old: each duplicate of a document of an old run (input.against) has a witness that the old run keeps.

The decisions of the old run say whether it keeps the witness. Texts of old runs come from the project's own reader.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.dedup import survivors
from gpu_pile.errors import GpuPileError
from gpu_pile.explore.documents import doc_id_of, texts_of
from gpu_pile.explore.tables import RunTables
from gpu_pile.explore.verify.check import Check
from gpu_pile.explore.verify.documents import Document, ShardDecisions, TextCheck, among
from gpu_pile.explore.verify.exact import compared
from gpu_pile.explore.verify.near import STANDARD_ERRORS
from gpu_pile.run import directory
from gpu_pile.text.shingles import reference_shingles
from gpu_pile.types import Array

SAMPLE = 200
"""Duplicates whose texts are compared with those of their witnesses, also where everything is checked."""

COLUMNS = ["doc_id", "reasons", "similarity", "witness_run", "witness_shard", "witness_line"]


class OldRemoved(TextCheck):
    """Documents that were removed as duplicates of documents of old runs."""

    def __init__(self, run: RunTables, rng: np.random.Generator) -> None:
        self.check = Check("old", "removed duplicates of documents that old runs keep")
        self.config, self.rng = run.config, rng
        self.found: list[pa.Table] = []
        self.texts: dict[int, str] = {}
        self.old: dict[str, RunTables | None] = {}
        self.kept: dict[tuple[str, str], set[int]] = {}

    def plan(self, decided: ShardDecisions) -> None:
        table = decided.table.select(COLUMNS)
        self.found.append(table.filter(pc.is_valid(table.column("witness_run"))))

    def choose(self) -> None:
        self.pairs = pa.concat_tables(self.found)
        n = min(SAMPLE, len(self.pairs))
        self.sample = np.sort(self.rng.choice(len(self.pairs), n, replace=False))
        self.ids = self.pairs.column("doc_id").to_numpy()[self.sample]

    def wants(self, decided: ShardDecisions) -> Array:
        return among(decided.doc_id, self.ids)

    def look(self, document: Document) -> None:
        self.texts[document.doc_id] = document.text

    def finish(self) -> None:
        sampled = set(self.sample.tolist())
        self.check.total = len(self.pairs)
        for i, row in enumerate(self.pairs.to_pylist()):
            old = self._run(row["witness_run"])
            if old is None:
                continue
            place = f"{row['witness_shard']}:{row['witness_line']} of {row['witness_run']}"
            wrong = "is not kept there" if row["witness_line"] not in self._kept(old, row) else ""
            if not wrong and i in sampled and row["doc_id"] in self.texts:
                wrong = self._wrong(old, row)
            self.check.expect(not wrong, f"doc_id {row['doc_id']}: its witness {place} {wrong}")

    def _run(self, path: str) -> RunTables | None:
        if path not in self.old:
            try:
                self.old[path] = RunTables(directory.open_dir(path))
            except GpuPileError as error:
                self.old[path] = None
                self.check.notes.append(f"duplicates of documents of {path} were not checked: {error}")
        return self.old[path]

    def _kept(self, old: RunTables, row: dict[str, Any]) -> set[int]:
        """The lines of the witness's shard that the old run keeps."""
        key = row["witness_run"], row["witness_shard"]
        if key not in self.kept:
            table = pq.read_table(files.table(old.directory.decisions(key[1])), columns=["line", "keep"])
            self.kept[key] = set(table.column("line").to_numpy()[table.column("keep").to_numpy()].tolist())
        return self.kept[key]

    def _wrong(self, old: RunTables, row: dict[str, Any]) -> str:
        """What is wrong with a pair, "" if nothing is."""
        name = f"{row['witness_shard']}:{row['witness_line']}"
        try:
            witness = next(iter(texts_of(old, [doc_id_of(old, name)]).values()))
        except GpuPileError as error:
            self.check.notes.append(f"the text of {name} of {row['witness_run']} cannot be read: {error}")
            return ""
        text, normalize = self.texts[row["doc_id"]], self.config.dedupe.exact.normalize
        if survivors.EXACT in row["reasons"]:
            return "" if compared(text, normalize) == compared(witness, normalize) else "has another text"
        fuzzy, margin = self.config.dedupe.fuzzy, 0.0
        first, second = (set(reference_shingles(t.encode(), fuzzy.shingle, fuzzy.width)) for t in (text, witness))
        similarity = len(first & second) / max(1, len(first | second))
        if fuzzy.verify == "sketch":
            margin = STANDARD_ERRORS * (max(0.01, similarity * (1 - similarity)) / fuzzy.size) ** 0.5
        right = abs(similarity - row["similarity"]) <= margin and row["similarity"] >= fuzzy.threshold
        return "" if right else f"has similarity {similarity:.6f}, recorded is {row['similarity']:.6f}"
