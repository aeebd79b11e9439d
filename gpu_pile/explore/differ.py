"""Two runs over the same shards: the documents about which they disagree, by subset and by reason, with examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.errors import UsageError
from gpu_pile.explore import documents
from gpu_pile.explore.tables import RunTables
from gpu_pile.explore.trials import Comparison, Decisions
from gpu_pile.present.tables import Result
from gpu_pile.run.documents import beginning
from gpu_pile.run.stages.measure.columns import ROW_GROUP
from gpu_pile.run.tables import table_rows

SIDES = ("only_first", "only_second")
"""Which run keeps a document that the other one removes; as in Comparison."""

REASONS = pa.schema(
    [
        ("kept_by", pa.string()),
        ("subset", pa.string()),
        ("reason", pa.string()),
        ("documents", pa.int64()),
        ("text_bytes", pa.int64()),
    ]
)

SHARDS_NAMED = 3


class RunDifference(Comparison):
    """Documents and bytes by subset, as in Comparison; why the other run removes what one keeps; and the settings.

    reasons:  kept_by (only_first or only_second), subset, reason, documents, text_bytes; a document with several
        reasons counts for each of them
    other_reasons: how many documents both remove, for different reasons
    settings: one (name, value in the first, value in the second) per setting that differs; None where one has none

    Raises:
        UsageError: the runs are not of the same documents.
    """

    def __init__(self, first: RunTables, second: RunTables) -> None:
        self.runs = {"only_first": first, "only_second": second}
        _check_shards(first, second)
        decided = Decisions(first), Decisions(second)
        for decisions, run in zip(decided, self.runs.values(), strict=True):
            decisions.name = str(run.directory.path)
        super().__init__(*decided)
        self.shown = self.shown.drop_columns(["both_bytes", "neither_bytes"])
        self.settings = _settings(first, second)
        tables, self.other_reasons = [REASONS.empty_table()], 0
        for a, b in _side_by_side(first, second):
            tables += [_counted(a, b, "only_first"), _counted(b, a, "only_second")]
            self.other_reasons += _other_reasons(a, b)
        self.reasons = _by_reason(pa.concat_tables(tables))

    def counts(self) -> dict[str, int]:
        """Documents by which run keeps them: both, only_first, only_second, neither."""
        return {name: sum(self.table.column(name).to_pylist()) for name in ("both", *SIDES, "neither")}

    def examples(self, n: int = 3, seed: int = 0) -> list[dict[str, Any]]:
        """Documents about which the runs disagree, at random, n that each of them keeps; texts are cut.

        Returns:
            one dict per document: kept_by, doc_id, shard, line, subset, reasons of the other run, text
        """
        found = []
        for kept_by, removing in zip(SIDES, reversed(self.runs.values()), strict=True):
            ids = self.ids(kept_by)
            chosen = np.random.default_rng(seed).choice(len(ids), min(n, len(ids)), replace=False)
            for doc_id in ids[np.sort(chosen)].tolist():
                whole = documents.document(removing, doc_id)
                place = {name: whole[name] for name in ("doc_id", "shard", "line", "subset", "reasons")}
                found.append({"kept_by": kept_by, **place, "text": beginning(whole["text"])})
        return found

    def to_dict(self, examples: int = 3, seed: int = 0) -> dict[str, Any]:
        """Everything as data for JSON."""
        return {
            "runs": [str(run.directory.path) for run in self.runs.values()],
            "documents": self.counts(),
            "other_reasons": self.other_reasons,
            "settings": [dict(zip(("setting", "first", "second"), s, strict=True)) for s in self.settings],
            "subsets": self.to_pylist(),
            "reasons": self.reasons.to_pylist(),
            "examples": self.examples(examples, seed),
        }


def _check_shards(first: RunTables, second: RunTables) -> None:
    """Raise a UsageError unless two runs have the same documents."""
    names = [str(run.directory.path) for run in (first, second)]
    a, b = ({shard["name"]: shard for shard in run.info["shards"]} for run in (first, second))
    problems = []
    for run, own, other in ((names[0], a, b), (names[1], b, a)):
        only = sorted(own.keys() - other.keys())
        if only:
            more = f" and {len(only) - SHARDS_NAMED} more" if len(only) > SHARDS_NAMED else ""
            problems.append(f"only {run} has {', '.join(only[:SHARDS_NAMED])}{more}")
    for name in sorted(a.keys() & b.keys()):
        if a[name]["identity"] != b[name]["identity"]:
            problems.append(f"{name} has other content")
        elif a[name]["documents"] != b[name]["documents"]:
            n = [shard[name]["documents"] for shard in (a, b)]
            problems.append(f"{name} has {n[0]:,} and {n[1]:,} documents, so the settings of input differ")
    if problems:
        more = f"; and {len(problems) - SHARDS_NAMED} more" if len(problems) > SHARDS_NAMED else ""
        found = "; ".join(problems[:SHARDS_NAMED])
        raise UsageError(
            f"{names[0]} and {names[1]} are not runs of the same documents: {found}{more}; "
            "compare runs of the same shards"
        )


def _side_by_side(first: RunTables, second: RunTables) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The decisions of both runs about the same documents, a group of rows at a time, with subsets of the first.

    Raises:
        UsageError: the documents are on other lines.
    """
    for shard in first.info["shards"]:
        name, n = shard["name"], shard["documents"]
        for lo in range(0, n, ROW_GROUP):
            hi = min(n, lo + ROW_GROUP)
            columns = ["line", "subset", "keep", "reasons"]
            a, b = (table_rows(run.directory.decisions(name), lo, hi, columns) for run in (first, second))
            if not a.column("line").equals(b.column("line")):
                raise UsageError(f"{name} has documents on other lines in the two runs: the settings of input differ")
            sizes = table_rows(first.directory.measured(name), lo, hi, ["text_bytes"]).column("text_bytes")
            b = b.set_column(b.column_names.index("subset"), "subset", a.column("subset"))
            yield a.append_column("text_bytes", sizes), b.append_column("text_bytes", sizes)


def _other_reasons(a: pa.Table, b: pa.Table) -> int:
    """How many documents both runs remove, for different reasons."""
    removed = pc.invert(pc.or_(a.column("keep"), b.column("keep")))
    first, second = (pc.binary_join(table.column("reasons").filter(removed), "\n") for table in (a, b))
    return int(pc.sum(pc.not_equal(first, second)).as_py() or 0)


def _counted(keeping: pa.Table, removing: pa.Table, kept_by: str) -> pa.Table:
    """The rows of REASONS for documents that one run keeps and the other one removes."""
    apart = pc.and_(keeping.column("keep"), pc.invert(removing.column("keep")))
    removed = removing.filter(apart).combine_chunks()
    reasons = pa.chunked_array(removed.column("reasons")).combine_chunks()
    parents = reasons.value_parent_indices()
    table = pa.table(
        {
            "kept_by": pa.array([kept_by]).take(pa.array(np.zeros(len(parents), np.int64))),
            "subset": removed.column("subset").take(parents),
            "reason": reasons.flatten(),
            "documents": pa.array(np.ones(len(parents), np.int64)),
            "text_bytes": removed.column("text_bytes").take(parents),
        }
    )
    return _summed(table)


def _summed(table: pa.Table) -> pa.Table:
    keys, sums = REASONS.names[:3], REASONS.names[3:]
    grouped = table.group_by(keys, use_threads=False).aggregate([(name, "sum") for name in sums])
    return grouped.rename_columns([name.removesuffix("_sum") for name in grouped.column_names]).select(REASONS.names)


def _by_reason(table: pa.Table) -> Result:
    order = [("kept_by", "ascending"), ("documents", "descending"), ("subset", "ascending"), ("reason", "ascending")]
    return Result(
        _summed(table).sort_by(order),
        "Kept by one run alone: why the other one removes it",
        note="A document with several reasons counts for each of them.",
    )


def _settings(first: RunTables, second: RunTables) -> list[tuple[str, Any, Any]]:
    """The settings that differ, but for where the runs are."""
    a, b = (dict(_leaves(run.config.shown())) for run in (first, second))
    names = [name for name in dict.fromkeys([*a, *b]) if name not in ("output", "scratch", "input.shards")]
    return [(name, a.get(name), b.get(name)) for name in names if (a.get(name) or None) != (b.get(name) or None)]


def _leaves(section: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
