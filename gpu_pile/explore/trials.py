"""Decisions about all documents: a run's own, those of a trial of other thresholds, and how two decisions differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import UsageError
from gpu_pile.explore.documents import texts
from gpu_pile.explore.tables import LazyTable, RunTables
from gpu_pile.policy.thresholds import Policy, policy_data
from gpu_pile.present.tables import Result
from gpu_pile.run import config as configuration
from gpu_pile.run import directory
from gpu_pile.run.config import Config
from gpu_pile.run.removals import applied
from gpu_pile.run.stages.decide import count, survivors, verdicts
from gpu_pile.run.tables import Rows, doc_ids
from gpu_pile.run.threads import map_threads
from gpu_pile.summaries import reason_counts
from gpu_pile.types import Array

REASONS = pa.schema(
    [
        ("reason", pa.string()),
        ("documents", pa.int64()),
        ("text_bytes", pa.int64()),
        ("documents_only_this", pa.int64()),
        ("text_bytes_only_this", pa.int64()),
        ("overlaps", pa.string()),
    ]
)


class Decided:
    """The decisions about all documents of a run: its own, or those of a trial of other thresholds.

    keep: bool[n], all documents in the order of shards and lines. combinations: see gpu_pile.summaries.reason_counts.
    """

    name: str
    keep: Array
    combinations: pa.Table

    def __init__(self, run: RunTables, config: Config) -> None:
        self.run, self.config = run, config

    @property
    def thresholds(self) -> Policy:
        return self.config.thresholds

    def subsets(self) -> Result:
        """Documents and bytes of text, of all documents and of the kept ones, by subset."""
        rows = [
            {
                "subset": name,
                **counts,
                "share_of_documents": counts["kept_documents"] / counts["documents"],
                "share_of_text": counts["kept_text_bytes"] / max(1, counts["text_bytes"]),
            }
            for name, counts in reason_counts.by_subset(self.combinations).items()
        ]
        schema = pa.schema([("subset", pa.string())])
        table = pa.Table.from_pylist(rows) if rows else schema.empty_table()
        return Result(table, f"Kept by subset ({self.name})", shares=["share_of_documents", "share_of_text"])

    def reasons(self) -> Result:
        """Documents that each rule removes, those only it removes, and the rules it shares most documents with."""
        shared = reason_counts.overlaps(self.combinations)
        rows = []
        for counts in reason_counts.by_reason(self.combinations):
            reason = counts["reason"]
            others = sorted(((n, b) for (a, b), n in shared.items() if a == reason != b), reverse=True)
            overlaps = ", ".join(f"{b} {n:,}" for n, b in others[:3])
            rows.append({**{name: counts[name] for name in REASONS.names[:-1]}, "overlaps": overlaps})
        table = pa.Table.from_pylist(rows, schema=REASONS)
        note = "A document can fail several rules; *_only_this counts documents that no other rule removes."
        return Result(table, f"Why documents are removed ({self.name})", note=note)

    def overlaps(self) -> Result:
        """Documents that fail both of two rules, for every pair of rules."""
        shared = reason_counts.overlaps(self.combinations)
        names = [r["reason"] for r in reason_counts.by_reason(self.combinations)]
        table = pa.table(
            {
                "reason": pa.array(names, pa.string()),
                **{b: pa.array([shared.get((a, b), 0) for a in names], pa.int64()) for b in names},
            }
        )
        return Result(table, f"Documents that fail both rules ({self.name})")

    def compare(self, other: Decided) -> Comparison:
        """What these decisions keep and the others do not, and the reverse."""
        return Comparison(self, other)


class Decisions(Decided, LazyTable):
    """The run's own decisions; as a lazy table, see gpu_pile.run.stages.decide for its columns."""

    name = "this run"

    def __init__(self, run: RunTables) -> None:
        Decided.__init__(self, run, run.config)
        LazyTable.__init__(self, [run.directory.decisions(s.name) for s in run.shards])

    @cached_property
    def keep(self) -> Array:  # type: ignore[override]
        tables = (pq.read_table(directory.table(files.path_of(p)), columns=["keep"]) for p in self.paths)
        return np.concatenate([np.empty(0, bool), *(t.column("keep").to_numpy() for t in tables)])

    @cached_property
    def combinations(self) -> pa.Table:
        return self.run.reason_counts


class Trial(Decided):
    """Decisions by other thresholds, in memory: nothing in the run directory changes."""

    name = "trial"

    def __init__(self, run: RunTables, config: Config, keep: Array, combinations: pa.Table) -> None:
        super().__init__(run, config)
        self.keep, self.combinations = keep, combinations

    def __repr__(self) -> str:
        return f"<Trial: keeps {int(self.keep.sum()):,} of {len(self.keep):,} documents>"

    def _repr_html_(self) -> str:
        return self.subsets()._repr_html_()

    def save(self, path: str | AnyPath) -> None:
        """Write the run's configuration with these thresholds as YAML.

        `gpu-pile run PATH` then applies them to the run; it decides and writes again, and measures nothing.
        """
        save_configuration(self.run, policy_data(self.config.thresholds), path)


def save_configuration(run: RunTables, thresholds: Mapping[str, Any], path: str | AnyPath) -> None:
    """Write a run's configuration with other thresholds as YAML."""
    content = run.config.shown()
    content["input"]["shards"] = [str(s.path) for s in run.shards]
    content["output"] = str(run.directory.path.resolve())
    content["thresholds"] = thresholds
    head = "# Thresholds tried in a notebook; everything else as in the run. Bounds are inclusive.\n"
    files.write_text(files.path_of(path), head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def decide(run: RunTables, thresholds: Mapping[str, Any] | Policy) -> Trial:
    """Decide by other thresholds, with the code of `gpu-pile decide`, without writing anything.

    Args:
        thresholds: as the configuration's section: {"use": [...], "default": {...}, "subsets": {...}}.

    Raises:
        ConfigError: the thresholds are not valid; names every problem.
    """
    given = policy_data(thresholds) if isinstance(thresholds, Policy) else dict(thresholds)
    for path in (run.directory.clusters, run.directory.pairs):
        directory.need(path)
    config = configuration.parse({**run.config.model_dump(), "thresholds": given}, "thresholds")
    context = replace(run.context, config=config)
    removals = applied(context)
    clustered = survivors(context, removals)

    def decide_shard(shard: Shard) -> tuple[Array, reason_counts.Tally]:
        kept, tally = [np.empty(0, bool)], reason_counts.Tally()
        for decided in verdicts(context, shard, clustered, removals):
            kept.append(decided.keep)
            count(decided, tally)
        return np.concatenate(kept), tally

    decided = map_threads(decide_shard, run.shards, config.n_workers)
    keep = np.concatenate([np.empty(0, bool), *(kept for kept, _ in decided)])
    return Trial(run, config, keep, reason_counts.merged(tally.table() for _, tally in decided))


KINDS = ("neither", "only_second", "only_first", "both")
"""Who keeps a document; the position is 2 if the first does, plus 1 if the second does."""


class Comparison(Result):
    """Documents and bytes by subset: kept by both, by the first alone, by the second alone, by neither."""

    def __init__(self, first: Decided, second: Decided) -> None:
        if len(first.keep) != len(second.keep):
            raise UsageError(
                f"cannot compare decisions about {len(first.keep):,} documents with decisions about "
                f"{len(second.keep):,}: they are of different runs"
            )
        self.run, self.first, self.second = first.run, first, second
        names, codes, text_bytes = self.run.subsets()
        key = codes * len(KINDS) + first.keep * 2 + second.keep
        shape = (len(names), len(KINDS))
        documents = np.bincount(key, minlength=shape[0] * shape[1]).reshape(shape)
        weights = np.zeros(shape, np.int64)
        np.add.at(weights.reshape(-1), key, text_bytes)
        shown = list(reversed(list(enumerate(KINDS))))
        rows = []
        for i, name in enumerate(names):
            row: dict[str, Any] = {"subset": name}
            for k, kind in shown:
                row |= {kind: int(documents[i, k]), f"{kind}_bytes": int(weights[i, k])}
            rows.append(row)
        rows.sort(key=lambda r: -(r["only_first"] + r["only_second"]))
        schema = pa.schema([("subset", pa.string()), *((c, pa.int64()) for _, k in shown for c in (k, f"{k}_bytes"))])
        title = f"Kept by the first ({first.name}) and the second ({second.name})"
        changed = [row for row in rows if row["only_first"] or row["only_second"]]
        note = f"{len(rows) - len(changed):,} of {len(rows):,} subsets, about which both agree, are in .table only."
        super().__init__(
            pa.Table.from_pylist(rows, schema=schema),
            title,
            note=note if len(changed) < len(rows) else "",
            shown=pa.Table.from_pylist(changed, schema=schema),
        )

    def ids(self, kind: str = "only_first") -> Array:
        """uint64: doc_ids of the documents that only_first or only_second keeps."""
        if kind not in ("only_first", "only_second"):
            raise UsageError(f"kind is only_first or only_second, not {kind!r}")
        keeping, removing = (self.first, self.second) if kind == "only_first" else (self.second, self.first)
        context = self.run.context
        return doc_ids(context, Rows.of(context), np.flatnonzero(keeping.keep & ~removing.keep))

    def texts(self, kind: str = "only_first", n: int = 5, seed: int = 0) -> Result:
        """Some of the documents that only_first or only_second keeps, chosen at random, with their texts."""
        ids = self.ids(kind)
        chosen = np.sort(np.random.default_rng(seed).choice(ids, min(n, len(ids)), replace=False))
        return texts(self.run, chosen.tolist())
