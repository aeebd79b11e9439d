"""counts: run.json, the measured tables, the decisions, reasons.parquet and report.json agree."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.dedup import survivors
from gpu_pile.explore.tables import RunTables
from gpu_pile.explore.verify.check import Check
from gpu_pile.explore.verify.documents import ShardDecisions
from gpu_pile.run import directory
from gpu_pile.run.removals import LEFT_OUT


class Counts:
    def __init__(self, run: RunTables) -> None:
        self.run = run
        self.check = Check("counts", "tables and reports that agree")
        self.documents = self.kept = 0
        self._recorded = {s["name"]: s["documents"] for s in run.info["shards"]}
        self._named = _named(run)

    def look(self, decided: ShardDecisions) -> None:
        """Check the tables of one shard."""
        name = decided.shard.name
        measured = pq.read_table(files.table(self.run.directory.measured(name)), columns=["doc_id", "line", "subset"])
        identifiers = directory.doc_id(np.uint64(decided.shard.index), decided.line.astype(np.uint64))
        reasons = np.diff(decided.table.column("reasons").combine_chunks().offsets.to_numpy())
        n = len(decided.line)
        for right, wrong in (
            (n == self._recorded[name], f"{n:,} documents are decided, run.json says {self._recorded[name]:,}"),
            (
                decided.table.select(["doc_id", "line", "subset"]).equals(measured),
                "the decisions and the measured table have different documents",
            ),
            (np.array_equal(decided.doc_id, identifiers), "a doc_id is not shard index * 2^40 + line - 1"),
            (np.array_equal(decided.keep, reasons == 0), "a kept document has reasons, or a removed one has none"),
            (_listed(decided) == self._named.get(name, set()), "the decisions and removals.parquet differ"),
            (_chosen(self.run, decided), "documents are left out by other subsets than input.subsets says"),
        ):
            self.check.expect(right, f"{name}: {wrong}")
        self.documents += n
        self.kept += int(decided.keep.sum())

    def finish(self) -> None:
        """Compare the totals with those of the reports."""
        combinations = self.run.reason_counts.to_pylist()
        report = files.read_json(self.run.directory.path / "report.json") or {}
        for name, decided, counted in (
            ("documents", self.documents, sum(r["documents"] for r in combinations)),
            ("kept_documents", self.kept, sum(r["documents"] for r in combinations if not r["reasons"])),
        ):
            for file, number in (("reasons.parquet", counted), ("report.json", report.get(name))):
                self.check.expect(number == decided, f"{file}: {name} is {number}, the decisions have {decided:,}")


def _named(run: RunTables) -> dict[str, set[tuple[int, str]]]:
    """By shard the lines that removal lists name, each with the reason."""
    named: dict[str, set[tuple[int, str]]] = {}
    if run.config.decide.remove:
        for row in pq.read_table(directory.table(run.directory.removals)).to_pylist():
            named.setdefault(row["shard"], set()).add((row["line"], row["reason"]))
    return named


def _chosen(run: RunTables, decided: ShardDecisions) -> bool:
    """Whether just the documents of subsets that are not chosen are left out."""
    choice = run.config.input.subsets
    subset = decided.table.column("subset")
    others = [name for name in pc.unique(subset).to_pylist() if not choice.has(name)]
    expected = np.flatnonzero(pc.is_in(subset, pa.array(others, pa.string())).to_numpy())
    return np.array_equal(expected, decided.rows_with(LEFT_OUT))


def _listed(decided: ShardDecisions) -> set[tuple[int, str]]:
    """The lines of a shard that were removed because a list names them, each with the reason."""
    reasons = decided.table.column("reasons").combine_chunks()
    names = pc.unique(reasons.flatten()).to_pylist()
    listed = [name for name in names if "." not in name and name not in (*survivors.OF_OTHERS, LEFT_OUT)]
    return {(int(decided.line[row]), name) for name in listed for row in decided.rows_with(name)}
