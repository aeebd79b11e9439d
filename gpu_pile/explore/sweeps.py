"""Histograms with their bounds drawn in, and tables of what passes several bounds."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.policy.thresholds import Policy, bounds_of
from gpu_pile.present import charts
from gpu_pile.present.histogram import documents_in, figure
from gpu_pile.present.tables import Result, html_text
from gpu_pile.summaries import histograms
from gpu_pile.types import Array

Axis = tuple[str, str, Array]
"""(signal, "min" or "max", float64[n] ascending bounds to try)"""


class Histogram(Result):
    """Counts of all documents by value of a signal.

    .table has a row a subset and cell (see gpu_pile.summaries.histograms): low, high, documents, text_bytes.

    Args:
        cells: the cells of this signal. by_subset: one histogram a subset, or one of all. policy: whose bounds to draw.
    """

    def __init__(self, signal: str, cells: pa.Table, by_subset: bool, policy: Policy) -> None:
        self.signal = signal
        names = pc.unique(cells.column("subset")).to_pylist()
        if not by_subset:
            nowhere = pa.array([""] * len(cells), pa.string())
            cells, names = histograms.merged([cells.set_column(1, "subset", nowhere)]), [""]
        defined = cells.filter(pc.is_valid(cells.column("cell")))
        undefined = documents_in(cells) - documents_in(defined)
        low, high = (np.array(x) for x in zip(*map(histograms.bounds_of, range(histograms.CELLS)), strict=True))
        cell = defined.column("cell").to_numpy().astype(np.int64)
        columns = {"low": low[cell], "high": high[cell]}
        if by_subset:
            columns = {"subset": defined.column("subset"), **columns}
        counts = {name: defined.column(name) for name in ("documents", "text_bytes")}
        drawn = []
        for name in names:
            rows = defined.filter(pc.equal(defined.column("subset"), name))
            if len(rows):
                bounds = bounds_of(policy.rules_of(name).get(signal))
                drawn.append(figure(rows, name or ("(no subset)" if by_subset else "all subsets"), bounds))
        note = f"{documents_in(cells):,} documents"
        note += f", for {undefined:,} of which it is undefined" if undefined else ""
        note += ". Heights are square roots of the counts, so that rare values show."
        super().__init__(pa.table({**columns, **counts}), signal, note=note, charts=drawn)

    def _repr_html_(self) -> str:
        drawn = f'<div style="display:flex;flex-wrap:wrap;gap:1em">{"".join(self.charts)}</div>'
        return f"<div><p><strong>{html_text(self.title)}</strong></p>{drawn}<p>{html_text(self.note)}</p></div>"


def interval(value: Array, axis: Axis) -> Array:
    """How many of the ascending bounds a value has passed: values at or above a min, values above a max."""
    _, kind, bounds = axis
    if kind == "min":
        return np.where(np.isnan(value), len(bounds), np.searchsorted(bounds, value, "right"))
    return np.where(np.isnan(value), 0, np.searchsorted(bounds, value, "left"))


def swept(axes: Sequence[Axis], names: Sequence[str], cube: Array) -> Result:
    """The table of a sweep from counts by intervals."""
    whole = cube.sum(axis=tuple(range(2, cube.ndim)))
    passing = cube
    for i, (_, kind, bounds) in enumerate(axes, 2):
        if kind == "min":
            passing = np.flip(np.cumsum(np.flip(passing, i), i), i).take(range(1, len(bounds) + 1), i)
        else:
            passing = np.cumsum(passing, i).take(range(len(bounds)), i)
    rows: list[dict[str, Any]] = []
    for place in itertools.product(*(range(len(b)) for _, _, b in axes)):
        given = {f"{name}.{kind}": float(b[p]) for (name, kind, b), p in zip(axes, place, strict=True)}
        for s, subset in enumerate(names):
            documents, text_bytes = (int(passing[(k, s, *place)]) for k in (0, 1))
            counts = {"documents": int(whole[0, s]), "text_bytes": int(whole[1, s])}
            share = text_bytes / max(1, counts["text_bytes"])
            rows.append(
                {
                    **given,
                    "subset": subset,
                    **counts,
                    "kept_documents": documents,
                    "kept_text_bytes": text_bytes,
                    "share_of_text": share,
                }
            )
    drawn = []
    if len(axes) == 1:
        key = f"{axes[0][0]}.{axes[0][1]}"
        series = [(s, [(r[key], r["share_of_text"]) for r in rows if r["subset"] == s]) for s in names]
        drawn = [charts.lines(series, title=f"share of text kept by {key}, a line a subset")]
    said = " and ".join(f"{name}.{kind}" for name, kind, _ in axes)
    COUNTS = ("documents", "text_bytes", "kept_documents", "kept_text_bytes")
    schema = pa.schema(
        [
            *((f"{name}.{kind}", pa.float64()) for name, kind, _ in axes),
            ("subset", pa.string()),
            *((c, pa.int64()) for c in COUNTS),
            ("share_of_text", pa.float64()),
        ]
    )
    return Result(
        pa.Table.from_pylist(rows, schema=schema), f"What passes {said}", shares=["share_of_text"], charts=drawn
    )
