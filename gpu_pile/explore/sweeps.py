"""Histograms of signals with the run's bounds, and counts of documents that pass each of several bounds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import UsageError
from gpu_pile.explore.tables import RunTables
from gpu_pile.policy.thresholds import NO_SPACES_ABOVE, WITHOUT_SPACES, Policy, bounds_of
from gpu_pile.present import charts
from gpu_pile.present.histogram import Scale, documents_in, figure
from gpu_pile.present.tables import Result, Unit, html_text, side_by_side
from gpu_pile.run.tables import row_groups, subset_codes
from gpu_pile.run.threads import map_threads
from gpu_pile.summaries import histograms
from gpu_pile.types import Array

COUNTS = ("documents", "text_bytes", "kept_documents", "kept_text_bytes")


class Axis(NamedTuple):
    """Bounds to try for one signal: kind is "min" or "max", values are ascending."""

    signal: str
    kind: str
    values: Array

    @property
    def name(self) -> str:
        return f"{self.signal}.{self.kind}"

    def interval(self, value: Array) -> Array:
        """How many bounds each value has passed: bounds not above it for a min, bounds below it for a max.

        An undefined value (NaN) passes every bound.
        """
        if self.kind == "min":
            return np.where(np.isnan(value), len(self.values), np.searchsorted(self.values, value, "right"))
        return np.where(np.isnan(value), 0, np.searchsorted(self.values, value, "left"))


class Counted(NamedTuple):
    """Counts by subset and interval.

    names: subsets. cube: int64[2, subsets, bounds + 1, ...], documents and bytes of text; the later dimensions are the
    intervals of each axis (see Axis.interval).
    """

    names: list[str]
    cube: Array


class Histogram(Result):
    """Counts of all documents by value of a signal.

    .table has one row per subset and cell (see gpu_pile.summaries.histograms): low, high, documents, text_bytes.

    Args:
        cells: the cells of this signal.
        by_subset: one histogram per subset, or one of all documents.
        policy: its bounds are drawn.
    """

    def __init__(self, signal: str, cells: pa.Table, by_subset: bool, policy: Policy) -> None:
        self.signal = signal
        names = pc.unique(cells.column("subset")).to_pylist()
        if not by_subset:
            all_subsets = pa.array([""] * len(cells), pa.string())
            cells, names = histograms.merged([cells.set_column(1, "subset", all_subsets)]), [""]
        defined = cells.filter(pc.is_valid(cells.column("cell")))
        undefined = documents_in(cells) - documents_in(defined)
        low, high = (np.array(x) for x in zip(*map(histograms.bounds_of, range(histograms.CELLS)), strict=True))
        cell = defined.column("cell").to_numpy().astype(np.int64)
        columns = {"low": low[cell], "high": high[cell]}
        if by_subset:
            columns = {"subset": defined.column("subset"), **columns}
        counts = {name: defined.column(name) for name in ("documents", "text_bytes")}
        drawn = _figures(signal, defined, names if by_subset else [], policy)
        note = f"{documents_in(cells):,} documents"
        note += f"; the signal is undefined for {undefined:,} of them" if undefined else ""
        note += ". Heights are square roots of the counts, so that rare values show; all charts have one scale."
        super().__init__(pa.table({**columns, **counts}), signal, note=note, charts=drawn)

    def _repr_html_(self) -> str:
        charts = side_by_side(self.charts)
        return f"<div><p><strong>{html_text(self.title)}</strong></p>{charts}<p>{html_text(self.note)}</p></div>"


def _figures(signal: str, cells: pa.Table, subsets: Sequence[str], policy: Policy) -> list[str]:
    """All documents first, then the subsets, those with most documents first: all on one scale, with their bounds."""
    if not len(cells):
        return []
    whole = histograms.merged([cells.set_column(1, "subset", pa.array([""] * len(cells), pa.string()))])
    bounds = {name: bounds_of(policy.rules_of(name).get(signal)) for name in ("", *subsets)}
    scale = Scale.of(whole, [bound for of_subset in bounds.values() for bound in of_subset])
    everywhere = bounds[""] if all(b == bounds[""] for b in bounds.values()) else []
    drawn = [figure(whole, "all subsets", everywhere, scale)]
    parts = [(name, cells.filter(pc.equal(cells.column("subset"), name))) for name in subsets]
    for name, rows in sorted(parts, key=lambda part: (-documents_in(part[1]), part[0])):
        if len(rows):
            drawn.append(figure(rows, name or "(no subset)", bounds[name], scale))
    return drawn


def histogram(run: RunTables, signal: str, by: str | None) -> Histogram:
    """Counts of all documents by value, with the run's bounds; by subset, or over all documents (by=None).

    Raises:
        UsageError: the run did not measure the signal, or `by` is something else.
    """
    run.measured_signal(signal)
    if by not in ("subset", None):
        raise UsageError(f"by is 'subset' or None, not {by!r}")
    cells = run.cells.filter(pc.field("signal") == signal)
    return Histogram(signal, cells, by == "subset", run.config.thresholds)


def sweep(run: RunTables, bounds: Mapping[str, Mapping[str, Sequence[float]]]) -> Result:
    """Documents and bytes that pass each combination of bounds, by subset: exact counts of all documents.

    Args:
        bounds: {signal: {"min": [...], "max": [...]}}.
    """
    axes = [
        Axis(run.measured_signal(name), kind, np.unique(np.asarray(list(values), np.float64)))
        for name, kinds in bounds.items()
        for kind, values in kinds.items()
    ]
    if not axes or any(a.kind not in ("min", "max") or not len(a.values) or np.isnan(a.values).any() for a in axes):
        raise UsageError("sweep needs bounds to try, such as sweep('word_count', min=[20, 50, 100])")
    one = len(axes) == 1 and all(histograms.is_edge(v) for v in axes[0].values)
    if one and not exempt_documents(run, axes[0].signal):
        return _result(axes, _count_cells(run, axes[0]))
    return _result(axes, _count_values(run, axes))


def exempt_documents(run: RunTables, signal: str) -> bool:
    """Whether there are documents to which rules about a signal are not applied: histograms do not tell them apart."""
    if not run.config.thresholds.about_words([signal]):
        return False
    cells = run.cells.filter(pc.field("signal") == WITHOUT_SPACES).column("cell").drop_null().to_numpy()
    return bool((histograms.midpoints()[cells] > NO_SPACES_ABOVE).any())


def _count_cells(run: RunTables, axis: Axis) -> Counted:
    """Counts from the stored histograms, for bounds that are edges of their cells."""
    cells = run.cells.filter(pc.field("signal") == axis.signal)
    names, codes = subset_codes(cells)
    cell = cells.column("cell").fill_null(-1).to_numpy().astype(np.int64)
    value = np.where(cell < 0, np.nan, histograms.midpoints()[cell])
    cube = np.zeros((2, len(names), len(axis.values) + 1), np.int64)
    for i, column in enumerate(("documents", "text_bytes")):
        np.add.at(cube[i], (codes, axis.interval(value)), cells.column(column).to_numpy())
    return Counted(names, cube)


def _count_values(run: RunTables, axes: Sequence[Axis]) -> Counted:
    """Counts from the signals of every document."""
    shape = tuple(len(axis.values) + 1 for axis in axes)
    policy = run.config.thresholds
    columns = sorted({"subset", "text_bytes", *policy.columns(axis.signal for axis in axes)})

    def count_shard(shard: Shard) -> dict[str, Array]:
        sums: dict[str, Array] = {}
        for table in row_groups(run.context, shard, columns):
            names, key = subset_codes(table)
            n = len(names) * int(np.prod(shape))
            for axis, size in zip(axes, shape, strict=True):
                key = key * size + axis.interval(policy.values(table, axis.signal))
            weights = table.column("text_bytes").to_numpy()
            counts = np.stack([np.bincount(key, minlength=n), np.bincount(key, weights, n).astype(np.int64)])
            for name, counted in zip(names, counts.reshape(2, len(names), *shape).swapaxes(0, 1), strict=True):
                sums[name] = sums[name] + counted if name in sums else counted
        return sums

    by_shard = map_threads(count_shard, run.shards, run.config.n_workers)
    names = sorted({name for sums in by_shard for name in sums})
    zero = np.zeros((2, *shape), np.int64)
    cubes = [sum((sums.get(name, zero) for sums in by_shard), zero) for name in names] or [zero]
    return Counted(names, np.stack(cubes, axis=1))


def _result(axes: Sequence[Axis], counted: Counted) -> Result:
    """The table of a sweep, with a chart where one bound varies."""
    whole = counted.cube.sum(axis=tuple(range(2, counted.cube.ndim)))
    passing = _passing(axes, counted.cube)
    rows: list[dict[str, Any]] = []
    for chosen in itertools.product(*(range(len(axis.values)) for axis in axes)):
        bounds = {axis.name: float(axis.values[i]) for axis, i in zip(axes, chosen, strict=True)}
        for s, subset in enumerate(counted.names):
            counts = [int(x) for x in (*whole[:, s], *(cube[(s, *chosen)] for cube in passing))]
            share = counts[3] / max(1, counts[1])
            rows.append({**bounds, "subset": subset, **dict(zip(COUNTS, counts, strict=True)), "share_of_text": share})
    schema = pa.schema(
        [
            *((axis.name, pa.float64()) for axis in axes),
            ("subset", pa.string()),
            *((name, pa.int64()) for name in COUNTS),
            ("share_of_text", pa.float64()),
        ]
    )
    title = f"What passes {' and '.join(axis.name for axis in axes)}"
    table = pa.Table.from_pylist(rows, schema=schema)
    if len(axes) > 1 or not rows:
        return Result(table, title, shares=["share_of_text"])
    shown = _by_subset(axes[0], rows)
    series = [(r["subset"], [(float(v), r[f"{v:g}"]) for v in axes[0].values]) for r in shown]
    chart = charts.lines(series, title=f"share of text that passes by {axes[0].name}, one line per subset")
    note = "The share of the text that passes each bound; .table has the documents and bytes."
    values = [f"{v:g}" for v in axes[0].values]
    tenths = [name for name in shown[0] if name.startswith("text, ")]
    arranged = pa.Table.from_pylist(shown)
    return Result(table, title, note=note, shares=values, tenths=tenths, charts=[chart], shown=arranged)


def _by_subset(axis: Axis, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per subset, all documents first, then those with most text: the share of text that passes each bound."""
    sums: dict[str, dict[str, Any]] = {}
    for row in rows:
        for subset in ("all", row["subset"] or "(no subset)"):
            mine = sums.setdefault(subset, {"subset": subset, "documents": 0, "text_bytes": 0, "kept": {}})
            if row[axis.name] == axis.values[0]:
                mine["documents"] += row["documents"]
                mine["text_bytes"] += row["text_bytes"]
            mine["kept"][row[axis.name]] = mine["kept"].get(row[axis.name], 0) + row["kept_text_bytes"]
    unit = Unit.of(r["text_bytes"] for r in sums.values() if r["subset"] != "all")
    ordered = sorted(sums.values(), key=lambda r: (r["subset"] != "all", -r["text_bytes"], r["subset"]))
    return [
        {
            "subset": r["subset"],
            "documents": r["documents"],
            f"text, {unit.name}": r["text_bytes"] / unit.size,
            **{f"{v:g}": r["kept"][v] / max(1, r["text_bytes"]) for v in axis.values.tolist()},
        }
        for r in ordered
    ]


def _passing(axes: Sequence[Axis], cube: Array) -> Array:
    """int64[2, subsets, bounds, ...]: what passes each combination of bounds."""
    passing = cube
    for i, axis in enumerate(axes, 2):
        n = len(axis.values)
        if axis.kind == "min":
            passing = np.flip(np.cumsum(np.flip(passing, i), i), i).take(range(1, n + 1), i)
        else:
            passing = np.cumsum(passing, i).take(range(n), i)
    return passing
