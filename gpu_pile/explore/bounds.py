"""Bounds of some signals that can be moved subset by subset, and what passes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.errors import UsageError
from gpu_pile.explore.sweeps import exempt_documents
from gpu_pile.explore.tables import RunTables
from gpu_pile.policy.thresholds import bounds_of, policy_data
from gpu_pile.run.tables import row_groups
from gpu_pile.summaries import histograms
from gpu_pile.types import Array

SIGNALS_MAX = 4

Pair = tuple[float, float]
"""(smallest, largest) value that passes; infinite where there is no bound."""

NO_BOUNDS = (-np.inf, np.inf)


class JointCells(NamedTuple):
    """Documents counted by subset and by the cells of some signals: k different combinations.

    subsets: names. codes: int64[k], the subset of each combination. cells: int64[k, signals]; -1: undefined.
    documents, text_bytes: int64[k].
    """

    subsets: list[str]
    codes: Array
    cells: Array
    documents: Array
    text_bytes: Array


class SubsetBounds:
    """The bounds of some signals by subset: at first those of the run's rules, later those that were moved.

    Bounds stand on edges of the histograms (numbers of two digits), so every count is exact, over all documents. A rule
    of the run with another bound begins at the nearest edge.

    subsets: names, those with most documents first. edges: by signal, float64 ascending, the bounds that make a
    difference.
    """

    def __init__(self, run: RunTables, names: Sequence[str]) -> None:
        self.run, self.names = run, list(names)
        self.joint = joint_cells(run, names)
        sizes = np.bincount(self.joint.codes, self.joint.documents, len(self.joint.subsets))
        largest = sorted(zip((-sizes).tolist(), self.joint.subsets, strict=True))
        self.subsets = [subset for _, subset in largest]
        rules = {subset: run.config.thresholds.rules_of(subset) for subset in self.subsets}
        self._required = {(s, name) for s in rules for name in names if name in rules[s] and rules[s][name].required}
        limits = {name: [v for s in rules for _, v in bounds_of(rules[s].get(name))] for name in names}
        self.edges = {name: self._edges(i, limits[name]) for i, name in enumerate(names)}
        self.before = {
            (s, name): self._nearest(name, dict(bounds_of(rules[s].get(name)))) for s in rules for name in names
        }
        self.after = dict(self.before)

    def _edges(self, i: int, limits: Iterable[float]) -> Array:
        """From below the smallest value to above the largest, and all bounds."""
        cells = self.joint.cells[:, i]
        used = cells[cells >= 0]
        low, high = int(used.min(initial=histograms.CELLS)), int(used.max(initial=0))
        edges = histograms.EDGES[max(0, (low - 1) // 2) : (high + 1) // 2 + 1]
        if pa.types.is_integer(self.run.sample.schema.field(self.names[i]).type):
            edges = edges[edges == np.floor(edges)]
        return np.unique(np.concatenate([edges, [b for b in limits if histograms.is_edge(b)]]))

    def _nearest(self, name: str, bounds: dict[str, float]) -> Pair:
        edges = self.edges[name]

        def on_edge(value: float) -> float:
            return float(edges[np.abs(edges - value).argmin()]) if len(edges) else value

        low, high = (on_edge(bounds[kind]) if kind in bounds else None for kind in ("min", "max"))
        return (-np.inf if low is None else low, np.inf if high is None else high)

    def move(self, subsets: Iterable[str], name: str, pair: Pair) -> None:
        """Give some subsets these bounds for a signal."""
        for subset in subsets:
            self.after[subset, name] = pair

    def together(self) -> list[str]:
        """The subsets to begin with: those that share the bounds that most documents have."""
        groups: dict[tuple[Pair, ...], list[str]] = {}
        for subset in self.subsets:
            groups.setdefault(tuple(self.before[subset, name] for name in self.names), []).append(subset)
        groups.pop((NO_BOUNDS,) * len(self.names), None)
        return next(iter(groups.values())) if groups else list(self.subsets)

    def _passing(self, bounds: dict[tuple[str, str], Pair]) -> Array:
        """bool per combination of the joint cells. Where a signal is undefined, a document passes, unless required."""
        joint = self.joint
        passing = np.ones(len(joint.documents), bool)
        for i, name in enumerate(self.names):
            low, high = np.array([bounds[s, name] for s in joint.subsets]).reshape(-1, 2).T
            required = np.array([(s, name) in self._required for s in joint.subsets], bool)[joint.codes]
            cell = joint.cells[:, i]
            inside = (cell >= _cells(low)[joint.codes]) & (cell <= _cells(high)[joint.codes])
            passing &= np.where(cell < 0, ~required, inside)
        return passing

    def counts(self) -> list[dict[str, Any]]:
        """One row per subset, most documents first: how much there is, passes now, and passes with the moved bounds."""
        joint, n = self.joint, len(self.joint.subsets)
        before, after = self._passing(self.before), self._passing(self.after)
        sums = {}
        for prefix, rows in (("", np.ones(len(before), bool)), ("now_", before), ("then_", after)):
            for key, weights in (("documents", joint.documents), ("text_bytes", joint.text_bytes)):
                sums[f"{prefix}{key}"] = np.bincount(joint.codes[rows], weights[rows], n)
        place = {subset: i for i, subset in enumerate(joint.subsets)}
        return [{"subset": s, **{key: int(v[place[s]]) for key, v in sums.items()}} for s in self.subsets]

    def documents_by_cell(self, name: str, subsets: Sequence[str]) -> pa.Table:
        """The histogram of a signal in some subsets: cell, documents."""
        joint = self.joint
        chosen = np.isin(np.array(joint.subsets, object), subsets)[joint.codes] if joint.subsets else np.empty(0, bool)
        cell = joint.cells[:, self.names.index(name)]
        chosen &= cell >= 0
        documents = np.bincount(cell[chosen], joint.documents[chosen], histograms.CELLS).astype(np.int64)
        used = np.flatnonzero(documents)
        return pa.table({"cell": used, "documents": documents[used]})

    def thresholds(self) -> dict[str, Any]:
        """The run's thresholds with the moved bounds: a default rule if all subsets share it, else rules by subset."""
        data = policy_data(self.run.config.thresholds)
        for name in self.names:
            moved = [s for s in self.subsets if self.after[s, name] != self.before[s, name]]
            rules = {s: self._rule(s, name) for s in self.subsets}
            shared = rules[moved[0]] if moved and all(r == rules[moved[0]] for r in rules.values()) else None
            if shared:
                data["default"][name] = shared
                for own in data["subsets"].values():
                    own["rules"].pop(name, None)
                continue
            for subset in moved:
                data["subsets"].setdefault(subset, {"rules": {}})["rules"][name] = rules[subset]
        return data

    def _rule(self, subset: str, name: str) -> dict[str, Any] | None:
        low, high = self.after[subset, name]
        rule: dict[str, Any] = {kind: v for kind, v in (("min", low), ("max", high)) if np.isfinite(v)}
        if rule and (subset, name) in self._required:
            rule["required"] = True
        return rule or None


def _cells(bounds: Array) -> Array:
    """The cells of bounds that are edges, or infinite."""
    cells = 2 * np.searchsorted(histograms.EDGES, bounds) + 1
    return np.where(np.isfinite(bounds), cells, np.where(bounds < 0, 0, histograms.CELLS))


def joint_cells(run: RunTables, names: Sequence[str]) -> JointCells:
    """Documents counted by subset and by the cells of up to SIGNALS_MAX signals.

    Raises:
        UsageError: there are more signals.
    """
    policy = run.config.thresholds
    if len(names) == 1 and not exempt_documents(run, names[0]):
        return _stored_cells(run, names[0])
    if len(names) > SIGNALS_MAX:
        raise UsageError(f"explore takes up to {SIGNALS_MAX} signals at a time, not {len(names)}")
    named = histograms.Names()
    size = histograms.CELLS + 1
    sums = [_summed(*(np.empty(0, np.int64) for _ in range(3)))]
    for shard in run.shards:
        for table in row_groups(run.context, shard, sorted({"subset", "text_bytes", *policy.columns(names)})):
            key = named.of(table.column("subset"))
            for name in names:
                key = key * size + histograms.cells_of(policy.values(table, name)) + 1
            sums.append(_summed(key, np.ones(len(key), np.int64), table.column("text_bytes").to_numpy()))
            if len(sums) == 16:
                sums = [_merged(sums)]
    keys, documents, text_bytes = _merged(sums)
    cells = np.empty((len(keys), len(names)), np.int64)
    for i in reversed(range(len(names))):
        keys, cells[:, i] = np.divmod(keys, size)
    subsets = [named.name(c) for c in range(int(keys.max(initial=-1)) + 1)]
    return JointCells(subsets, keys, cells - 1, documents, text_bytes)


def _stored_cells(run: RunTables, name: str) -> JointCells:
    """The stored histograms of one signal."""
    table = run.cells.filter(pc.field("signal") == name)
    subset = table.column("subset").combine_chunks().dictionary_encode()
    cells = table.column("cell").fill_null(-1).to_numpy().astype(np.int64)[:, None]
    documents, text_bytes = (table.column(c).to_numpy() for c in ("documents", "text_bytes"))
    codes = subset.indices.to_numpy().astype(np.int64)
    return JointCells(subset.dictionary.to_pylist(), codes, cells, documents, text_bytes)


Sums = tuple[Array, Array, Array]
"""(distinct keys, documents of each, text_bytes of each)"""


def _merged(sums: Sequence[Sums]) -> Sums:
    keys, documents, text_bytes = (np.concatenate(arrays) for arrays in zip(*sums, strict=True))
    return _summed(keys, documents, text_bytes)


def _summed(keys: Array, documents: Array, text_bytes: Array) -> Sums:
    """Sum documents and bytes of equal keys."""
    if not len(keys):
        return keys, documents, text_bytes
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[starts], np.add.reduceat(documents[order], starts), np.add.reduceat(text_bytes[order], starts)
