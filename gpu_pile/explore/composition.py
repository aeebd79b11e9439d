"""Composition: how many documents and bytes each subset has, beside The Pile's published table (gpu_pile.policy.pile).

Rows of .table, the largest subset first:

    subset           string
    documents        int64
    text_bytes       int64    bytes of text
    mean_bytes       double   bytes per document
    share            double   of all bytes of text
    kept_documents, kept_bytes, kept_share   of a run: the same of what it keeps, as the texts were measured
    pile_epochs      double   how often a text of the subset is in The Pile's training mixture; null for other subsets
    effective_share  double   share, of a run kept_share, if every subset is sampled by its epochs; others once
    pile_share       double   the subset's published share of the mixture, null for other subsets
    pile_mean_bytes  double   the published mean size of its documents
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.explore.tables import RunTables
from gpu_pile.policy import pile
from gpu_pile.present.tables import Result, Unit, human_bytes
from gpu_pile.run.counting import Counts

NO_SUBSET = "(no subset)"
SHARES = ("share", "kept share", "effective share", "Pile share")

Sizes = Mapping[str, tuple[int, int]]
"""Documents and bytes of text by subset."""


class Composition(Result):
    """The table of a corpus, or of a run.

    absent: The Pile's subsets that are not there, if any is
    """

    def __init__(self, there: Sizes, kept: Sizes | None = None) -> None:
        rows = _rows(there, kept)
        names = [*COLUMNS[:5], *(KEPT if kept is not None else ()), *COLUMNS[5:]]
        found = {published.name for name in there if (published := pile.find(name))}
        self.absent = [s.name for s in pile.SUBSETS if s.name not in found] if found else []
        self.documents, self.text_bytes = (sum(row[column] for row in rows) for column in ("documents", "text_bytes"))
        title = f"{self.documents:,} documents, {human_bytes(self.text_bytes)} of text"
        if kept is not None:
            kept_bytes = sum(row["kept_bytes"] for row in rows)
            title += f"; kept: {sum(row['kept_documents'] for row in rows):,}, {human_bytes(kept_bytes)}"
        note = f"subsets of The Pile that are not there: {', '.join(self.absent)}" if self.absent else ""
        schema = pa.schema([(name, TYPES.get(name, pa.float64())) for name in names])
        table = pa.Table.from_pylist(rows, schema)
        super().__init__(table, title, note=note, shares=SHARES, shown=_shown(rows, bool(found)))

    def to_dict(self) -> dict[str, Any]:
        """The figures as values for JSON."""
        totals = {"documents": self.documents, "text_bytes": self.text_bytes}
        return {**totals, "subsets": self.to_pylist(), "absent": self.absent}


COLUMNS = (
    *("subset", "documents", "text_bytes", "mean_bytes", "share"),
    *("pile_epochs", "effective_share", "pile_share", "pile_mean_bytes"),
)
KEPT = ("kept_documents", "kept_bytes", "kept_share")
TYPES = {"subset": pa.string(), **dict.fromkeys((*COLUMNS[1:3], *KEPT[:2]), pa.int64())}


def of_run(run: RunTables) -> Composition:
    """The composition of what a run read and of what it keeps, from its counts of reasons."""
    there, kept = Counts(), Counts()
    table = run.reason_counts
    stays = pc.equal(pc.list_value_length(table.column("reasons")), 0).to_pylist()
    columns = (table.column(name).to_pylist() for name in ("subset", "documents", "text_bytes"))
    for subset, documents, text_bytes, stay in zip(*columns, stays, strict=True):
        there.add(subset, documents, text_bytes)
        kept.add(subset, documents * stay, text_bytes * stay)
    return Composition(there.by_subset, kept.by_subset)


def _rows(there: Sizes, kept: Sizes | None) -> list[dict[str, Any]]:
    total = sum(size for _, size in there.values())
    of = there if kept is None else kept
    published = {name: pile.find(name) for name in there}
    epochs = {name: found.epochs if found else 1.0 for name, found in published.items()}
    kept_total = sum(size for _, size in of.values())
    effective_total = sum(of[name][1] * epochs[name] for name in there)
    rows = []
    for name in sorted(there, key=lambda name: (-there[name][1], name)):
        (documents, size), (kept_documents, kept_bytes) = there[name], of[name]
        found = published[name]
        row = {
            "subset": name,
            "documents": documents,
            "text_bytes": size,
            "mean_bytes": _ratio(size, documents),
            "share": _ratio(size, total),
            "pile_epochs": found.epochs if found else None,
            "effective_share": _ratio(kept_bytes * epochs[name], effective_total),
            "pile_share": found.weight / 100 if found else None,
            "pile_mean_bytes": found.mean_document_kib * 1024 if found else None,
        }
        if kept is not None:
            share = _ratio(kept_bytes, kept_total)
            row |= {"kept_documents": kept_documents, "kept_bytes": kept_bytes, "kept_share": share}
        rows.append(row)
    return rows


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _shown(rows: list[dict[str, Any]], published: bool) -> pa.Table:
    """The table for people: sizes in units, The Pile's columns only where there is a subset of it."""
    unit = Unit.of(row["text_bytes"] for row in rows)
    columns: dict[str, Any] = {
        "subset": [row["subset"] or NO_SUBSET for row in rows],
        "documents": pa.array([row["documents"] for row in rows], pa.int64()),
        unit.name: [unit(row["text_bytes"]) for row in rows],
        "mean KiB": [_kib(row["mean_bytes"]) for row in rows],
        "share": _column(rows, "share"),
    }
    if rows and "kept_bytes" in rows[0]:
        columns["kept"] = pa.array([row["kept_documents"] for row in rows], pa.int64())
        columns[f"kept {unit.name}"] = [unit(row["kept_bytes"]) for row in rows]
        columns["kept share"] = _column(rows, "kept_share")
    if published:
        columns["epochs"] = _column(rows, "pile_epochs")
        columns["effective share"] = _column(rows, "effective_share")
        columns["Pile share"] = _column(rows, "pile_share")
        columns["Pile mean KiB"] = [_kib(row["pile_mean_bytes"]) for row in rows]
    return pa.table(columns)


def _column(rows: list[dict[str, Any]], name: str) -> pa.Array:
    return pa.array([row[name] for row in rows], pa.float64())


def _kib(n_bytes: float | None) -> str:
    return "-" if n_bytes is None else f"{n_bytes / 1024:,.2f}"
