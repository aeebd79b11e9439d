"""A finished run, opened for looking at: tables, single documents, clusters."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from gpu_pile import config as configuration
from gpu_pile import decisions, files, rundir
from gpu_pile.errors import DataError, UsageError
from gpu_pile.shards import Shard
from gpu_pile.stages.context import Context
from gpu_pile.stages.measure import FIXED
from gpu_pile.stages.tables import parse_spans


def open_run(path: str | Path) -> Run:
    """Open a run directory.

    Raises:
        UsageError: there is no run at this path.
    """
    return Run(rundir.open_dir(path))


class Run:
    """A run directory. Tables are pyarrow tables or datasets: .to_pandas(), polars.from_arrow(...)."""

    def __init__(self, directory: rundir.RunDir) -> None:
        self.directory = directory
        self.info: dict[str, Any] = files.read_json(directory.path / "run.json")
        self.config = configuration.parse(self.info["config"], str(directory.path / "run.json"))
        self.shards = [Shard(s["index"], s["name"], Path(s["path"]), s["bytes"]) for s in self.info["shards"]]
        self._context = Context(self.config, directory, self.shards)

    def __repr__(self) -> str:
        documents = sum(s["documents"] for s in self.info["shards"])
        return f"<Run {self.directory.path}: {len(self.shards)} shards, {documents:,} documents>"

    @cached_property
    def signals(self) -> ds.Dataset:
        """All measured signals, read lazily: .to_table(columns=[...], filter=...), .head(10)."""
        return ds.dataset([self.directory.measured(s.name) for s in self.shards])

    @cached_property
    def decisions(self) -> ds.Dataset:
        """All decisions, read lazily; see gpu_pile.stages.decide for the columns."""
        return ds.dataset([self.directory.decisions(s.name) for s in self.shards])

    @cached_property
    def clusters(self) -> pa.Table:
        """doc_id, cluster, representative of every document that has a duplicate."""
        return pq.read_table(self.directory.clusters)

    @cached_property
    def pairs(self) -> pa.Table:
        """a, b, similarity: verified pairs between representatives of equal texts."""
        return pq.read_table(self.directory.pairs)

    @property
    def report(self) -> dict[str, Any]:
        """report.json."""
        report: dict[str, Any] = files.read_json(self.directory.path / "report.json")
        return report

    def cluster_of(self, doc_id: int) -> list[int]:
        """The doc_ids of a document's cluster, ascending; only itself where it has no duplicate."""
        row = self.clusters.filter(pc.field("doc_id") == pa.scalar(doc_id, pa.uint64()))
        if not len(row):
            return [doc_id]
        members = self.clusters.filter(pc.field("cluster") == row.column("cluster")[0])
        ids: list[int] = members.column("doc_id").to_pylist()
        return ids

    def document(self, doc_id: int) -> dict[str, Any]:
        """Everything about one document: text, signals, verdict, reasons with values and bounds, cluster, witness.

        Raises:
            UsageError: there is no such document. DataError: its shard has changed since the run.
        """
        index, line = rundir.split_doc_id(doc_id)
        if index >= len(self.shards):
            raise UsageError(f"doc_id {doc_id}: there is no shard {index}, this run has {len(self.shards)}")
        shard = self.shards[index]
        decided = pq.read_table(
            self.directory.decisions(shard.name), filters=[("doc_id", "==", pa.scalar(doc_id, pa.uint64()))]
        ).to_pylist()
        if not decided:
            raise UsageError(
                f"doc_id {doc_id}: line {line} of shard {shard.name} is no document (blank, bad or not there)"
            )
        measured = pq.read_table(self.directory.measured(shard.name), filters=[("line", "==", line)]).to_pylist()[0]
        row = decided[0]
        return {
            **{k: row[k] for k in ("doc_id", "shard", "line", "subset", "keep", "witness", "similarity", "cluster")},
            "reasons": [
                {"rule": rule, "value": value, "explanation": self._explain(rule, value, row)}
                for rule, value in zip(row["reasons"], row["values"], strict=True)
            ],
            "signals": {name: value for name, value in measured.items() if name not in FIXED},
            "text": self.text(shard, measured["start"], measured["length"]),
        }

    def _explain(self, rule: str, value: float, row: dict[str, Any]) -> str:
        if rule in (decisions.EXACT, decisions.NEAR):
            return f"of {row['witness']}"
        return self.config.thresholds.explain(rule, value, row["subset"])

    def text(self, shard: Shard, start: int, length: int) -> str:
        """The text of the line at this position of the decompressed shard; reads the shard up to there."""
        for block in self._context.reader(shard):
            if block.start <= start < block.start + block.n_bytes:
                text = parse_spans(self._context, block, np.array([start - block.start]), np.array([length]))
                if len(text) == 1:
                    return text.documents()[0].decode()
                break
            block.release()
        raise DataError(f"{shard.path} has changed since the run: no document at byte {start}")
