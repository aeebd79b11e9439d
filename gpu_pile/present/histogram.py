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

    @classmethod
    def of(cls, rows: pa.Table, bounds: Bounds = (), bins: int = 48) -> Scale:
        """The scale that suits some cells, at least one, and bounds."""
        return cls(*histograms.limits_of(_cells(rows), _documents(rows), [v for _, v in bounds], bins))


def documents_in(cells: pa.Table) -> int:
    """The number of documents that cells count."""
    return int(pc.sum(cells.column("documents")).as_py() or 0)


def figure(
    rows: pa.Table, title: str, bounds: Bounds = (), scale: Scale | None = None, said: str = "", **size: int
) -> str:
    """HTML: the histogram of one signal, with a caption.

    Args:
        rows: the cells to draw. scale: None for the one that suits them.
        said: what the caption says beside the title; the number of documents if nothing is given.
        size: width and height of the chart.
    """
    limits, logarithmic = scale or Scale.of(rows, bounds)
    bars = histograms.bars_of(_cells(rows), _documents(rows), limits)
    chart = charts.histogram(
        limits.tolist(), bars.tolist(), logarithmic=logarithmic, title=title, bounds=bounds, **size
    )
    caption = f"{html_text(title)} <small>{html_text(said or f'{documents_in(rows):,}')}</small>"
    return f'<figure style="margin:0;min-width:0"><figcaption>{caption}</figcaption>{chart}</figure>'


def _cells(rows: pa.Table) -> Array:
    return rows.column("cell").to_numpy().astype(np.int64)


def _documents(rows: pa.Table) -> Array:
    return rows.column("documents").to_numpy()
