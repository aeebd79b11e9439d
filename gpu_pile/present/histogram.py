"""The chart of a signal's histogram, with the bounds of its rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.present import charts
from gpu_pile.present.tables import html_text
from gpu_pile.summaries import histograms


def documents_in(cells: pa.Table) -> int:
    """The number of documents that cells count."""
    return int(pc.sum(cells.column("documents")).as_py() or 0)


def figure(rows: pa.Table, title: str, bounds: Sequence[tuple[str, float]] = (), **size: int) -> str:
    """HTML: the histogram of one signal and subset, with a caption.

    Args:
        rows: the cells of this signal and subset. bounds: ("min" or "max", value) of each bound to draw.
        size: width and height of the chart.
    """
    limits, bars, logarithmic = histograms.drawn(
        rows.column("cell").to_numpy().astype(np.int64), rows.column("documents").to_numpy(), [v for _, v in bounds]
    )
    chart = charts.histogram(
        limits.tolist(), bars.tolist(), logarithmic=logarithmic, title=title, bounds=bounds, **size
    )
    caption = f"<figcaption>{html_text(title)} <small>{documents_in(rows):,}</small></figcaption>"
    return f'<figure style="margin:0">{caption}{chart}</figure>'
