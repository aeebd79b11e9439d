"""The chart of a signal's histogram, with the bounds of its rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.present import charts
from gpu_pile.present.tables import html_text
from gpu_pile.summaries import histograms
from gpu_pile.types import Array

Bounds = Sequence[tuple[str, float]]
"""("min" or "max", value) of each bound to draw."""


class Scale(NamedTuple):
    """The limits of a histogram's bars; charts that share a scale can be compared."""

    limits: Array
    logarithmic: bool
    steps: tuple[float, ...] = ()
    """The values of a slider, if the chart is to be drawn below it."""

    @classmethod
    def of(cls, rows: pa.Table, bounds: Bounds = (), bins: int = 48) -> Scale:
        """The scale that suits some cells, at least one, and bounds."""
        return cls(*histograms.limits_of(_cells(rows), _documents(rows), [v for _, v in bounds], bins))

    @classmethod
    def on_slider(cls, values: Array, bins: int = 64) -> Scale:
        """The scale of a slider with these values, ascending."""
        limits = np.unique(np.append(values[:: max(1, len(values) // bins)], values[-1:]))
        if len(limits) < 2:
            limits = np.append(limits, limits[-1:] + 1)
        return cls(limits, False, tuple(values.tolist()))


def documents_in(cells: pa.Table) -> int:
    """The number of documents that cells count."""
    return int(pc.sum(cells.column("documents")).as_py() or 0)


def figure(
    rows: pa.Table,
    title: str,
    bounds: Bounds = (),
    scale: Scale | None = None,
    said: str = "",
    size: charts.Size = (320, 110),
) -> str:
    """HTML: the histogram of one signal, with a caption.

    Args:
        rows: the cells to draw. scale: None for the one that suits them.
        said: what the caption says beside the title; the number of documents if nothing is given.
    """
    caption = f"{html_text(title)} <small>{html_text(said or f'{documents_in(rows):,}')}</small>"
    drawn = chart(rows, title, bounds, scale, size)
    return f'<figure style="margin:0;min-width:0"><figcaption>{caption}</figcaption>{drawn}</figure>'


def chart(
    rows: pa.Table, title: str, bounds: Bounds = (), scale: Scale | None = None, size: charts.Size = (320, 110)
) -> str:
    """As figure, but the SVG alone."""
    limits, logarithmic, steps = scale or Scale.of(rows, bounds)
    bars = histograms.bars_of(_cells(rows), _documents(rows), limits)
    return charts.histogram(
        limits.tolist(), bars.tolist(), logarithmic=logarithmic, title=title, bounds=bounds, steps=steps, size=size
    )


def _cells(rows: pa.Table) -> Array:
    return rows.column("cell").to_numpy().astype(np.int64)


def _documents(rows: pa.Table) -> Array:
    return rows.column("documents").to_numpy()
