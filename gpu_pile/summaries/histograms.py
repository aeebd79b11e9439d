"""Histograms that add up: counts of documents and bytes by subset over one fixed grid, the same for every signal.

The grid's edges are the numbers of two significant decimal digits, from 0.0001 to 99,000,000,000,000, their negatives
and 0: the numbers that people give as bounds. An edge is a cell of its own, and so is what lies between two edges. So
histograms of any shards add cell by cell, and for a bound that is an edge the counts of what passes, inclusive as
bounds are, are exact. Memory and file size depend on the grid, not on the documents.

A table of cells has the columns

    signal     string
    subset     string
    cell       int16    number of the cell, ascending with the value; null for documents where the signal is undefined
    documents  int64
    text_bytes int64

with only the cells that hold a document, in the order of signals, subsets and cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.text.blocks import read_only
from gpu_pile.text.jit import leaf
from gpu_pile.types import Array

DECADES = range(-5, 13)
_POSITIVE = [m * 10.0**k if k >= 0 else m / 10.0**-k for k in DECADES for m in range(10, 100)]
EDGES = np.array([*(-x for x in reversed(_POSITIVE)), 0.0, *_POSITIVE])
"""float64, ascending. Each is the double nearest to its decimal: one correctly rounded operation on exact numbers."""

CELLS = 2 * len(EDGES) + 1
"""Cell 0 is below the first edge, cell 2 i + 1 is edge i itself, cell 2 i + 2 is what lies above it."""

SUBSETS_MAX = 256
OTHERS = "(other subsets)"
"""The subset under which documents are counted whose subset is not among the first SUBSETS_MAX of a shard."""

SCHEMA = pa.schema(
    [
        ("signal", pa.string()),
        ("subset", pa.string()),
        ("cell", pa.int16()),
        ("documents", pa.int64()),
        ("text_bytes", pa.int64()),
    ]
)


_LEADING_BITS = 44
"""The bits of a double above these, its exponent and 8 bits of its fraction, tell numbers apart that differ by 0.4 %;
edges differ by 1 %, so at most one lies between two numbers with equal ones."""


def _edges_below() -> tuple[int, Array]:
    """Return (first, int64[]): entry i - first is how many positive edges the least double with leading bits i has."""
    leading = np.array(_POSITIVE).view(np.int64) >> _LEADING_BITS
    first = int(leading[0]) - 1
    least = (np.arange(first, int(leading[-1]) + 2) << _LEADING_BITS).view(np.float64)
    return first, np.searchsorted(np.array(_POSITIVE), least, "right")


_FIRST_LEADING, EDGES_BELOW = _edges_below()
_N_POSITIVE = len(_POSITIVE)
_NOT_SIGN = (1 << 63) - 1


@leaf
def _cells(values, bits, edges, edges_below, out):
    """Write the cell of each of the values; see CELLS. bits: the same doubles as int64."""
    for i in range(len(values)):
        value = abs(values[i])
        leading = ((bits[i] & _NOT_SIGN) >> _LEADING_BITS) - _FIRST_LEADING
        n = edges_below[min(max(leading, 0), len(edges_below) - 1)]
        n += n < _N_POSITIVE and edges[_N_POSITIVE + 1 + n] <= value  # positive edges up to the value's distance from 0
        is_edge = value == 0 or (n > 0 and edges[_N_POSITIVE + n] == value)
        above = 2 * n - is_edge  # cells between that of 0 and this one, and itself: 0 itself is an edge
        if np.isnan(value):
            out[i] = -1
        elif value == 0:
            out[i] = CELLS // 2
        elif values[i] > 0:
            out[i] = CELLS // 2 + 1 + above
        else:
            out[i] = CELLS // 2 - 1 - above


@leaf
def _count(cells, subset, text_bytes, sums, filled):
    """Add rows to sums[:, subset, cell]; write the places of the cells that are filled to `filled`, return how many."""
    documents, weights = sums
    n = 0
    for i in range(len(cells)):
        cell = cells[i] if cells[i] >= 0 else CELLS
        if documents[subset[i], cell] == 0:
            filled[n] = subset[i] * (CELLS + 1) + cell
            n += 1
        documents[subset[i], cell] += 1
        weights[subset[i], cell] += text_bytes[i]
    return n


def cells_of(values: Array) -> Array:
    """Return int16[n], the cell of each of float64[n]; -1 for NaN."""
    out = np.empty(len(values), np.int16)
    values = read_only(np.ascontiguousarray(values))
    _cells(values, values.view(np.int64), EDGES, EDGES_BELOW, out)
    return out


def numbers(column: pa.Array | pa.ChunkedArray) -> Array:
    """Return float64[n] of a column of a table of signals; NaN for null."""
    return column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)


def cells_of_columns(table: pa.Table, names: Sequence[str]) -> Array:
    """Return int16[len(names), n]: the cells of each of these columns of a table."""
    out = np.empty((len(names), len(table)), np.int16)
    for name, row in zip(names, out, strict=True):
        row[:] = cells_of(numbers(table.column(name)))
    return out


class Names:
    """Codes of subsets in the order of their first appearance, at most SUBSETS_MAX and one for all others."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.exceeded = False
        """Whether there were more than SUBSETS_MAX subsets."""

    def of(self, column: pa.ChunkedArray) -> Array:
        """Return int64[n], the code of each row."""
        encoded = column.combine_chunks().dictionary_encode()
        local = np.empty(max(1, len(encoded.dictionary)), np.int64)
        for i, name in enumerate(encoded.dictionary.to_pylist()):
            if name not in self.codes and len(self.codes) < SUBSETS_MAX:
                self.codes[name] = len(self.codes)
            local[i] = self.codes.get(name, SUBSETS_MAX)
            self.exceeded |= name not in self.codes
        return local[encoded.indices.to_numpy(zero_copy_only=False)]

    def name(self, code: int) -> str:
        return OTHERS if code == SUBSETS_MAX else list(self.codes)[code]


def count(signals: Sequence[str], table: pa.Table, cells: Array, names: Names) -> pa.Table:
    """Return the cells of one table of documents.

    Args:
        signals: m names. table: n rows with subset and text_bytes. cells: int16[m, n], of cells_of_columns.
        names: the codes of the subsets, which grow from table to table.
    """
    subset, text_bytes = names.of(table.column("subset")), table.column("text_bytes").to_numpy()
    present, local = np.unique(subset, return_inverse=True)
    sums = np.zeros((2, len(present), CELLS + 1), np.int64)
    filled = np.empty(min(len(table), sums[0].size), np.int64)
    counted = [np.empty((5, 0), np.int64)]
    for i, signal_cells in enumerate(cells):
        n = _count(signal_cells, local, text_bytes, sums, filled)
        row, cell = np.divmod(np.sort(filled[:n]), CELLS + 1)
        counted.append(np.array([np.full(n, i), row, cell, *sums[:, row, cell]]))
        sums[:, row, cell] = 0
    signal, row, cell, documents, weights = np.concatenate(counted, axis=1)
    subsets = pa.array([names.name(int(c)) for c in present], pa.string())
    return pa.table(
        [
            pa.array(signals, pa.string()).take(pa.array(signal)),
            subsets.take(pa.array(row)),
            pa.array(cell.astype(np.int16), mask=cell == CELLS),
            documents,
            weights,
        ],
        schema=SCHEMA,
    )


def merged(tables: Sequence[pa.Table]) -> pa.Table:
    """Return one table of cells with the sums of several, sorted."""
    keys = ["signal", "subset", "cell"]
    if len(tables) == 1:
        (summed,) = tables
    else:
        whole = pa.concat_tables([SCHEMA.empty_table(), *tables])
        summed = whole.group_by(keys, use_threads=False).aggregate([("documents", "sum"), ("text_bytes", "sum")])
        summed = summed.rename_columns([*keys, "documents", "text_bytes"]).cast(SCHEMA)
    return summed.take(pc.sort_indices(summed, [(k, "ascending") for k in keys]))


def bounds_of(cell: int) -> tuple[float, float]:
    """Return (lowest, highest) value of a cell; the two are equal if the cell is an edge."""
    if cell % 2:
        return float(EDGES[cell // 2]), float(EDGES[cell // 2])
    low = float(EDGES[cell // 2 - 1]) if cell else float("-inf")
    high = float(EDGES[cell // 2]) if cell // 2 < len(EDGES) else float("inf")
    return low, high


def is_edge(value: float) -> bool:
    """Return whether counts for this bound are exact."""
    i = int(np.searchsorted(EDGES, value))
    return i < len(EDGES) and float(EDGES[i]) == value


def midpoints() -> Array:
    """Return float64[CELLS]: a value inside each cell, which compares with every edge as all values of the cell do."""
    inner = np.concatenate([[-np.inf], (EDGES[:-1] + EDGES[1:]) / 2, [np.inf]])
    out = np.empty(CELLS)
    out[::2], out[1::2] = inner, EDGES
    return out


def limits_of(cell: Array, documents: Array, bounds: Sequence[float] = (), bins: int = 48) -> tuple[Array, bool]:
    """Choose limits of bars that cover the 0.1 to 99.9 percentile and every bound.

    Args:
        cell: int64[k], cells that hold documents (without documents whose signal is undefined). documents: int64[k].
        bounds: values that must be in the picture.

    Returns:
        (float64[bins + 1] limits of the bars, whether the axis is logarithmic)
    """
    total = np.cumsum(np.bincount(cell, documents, minlength=CELLS))
    low, high = (int(np.searchsorted(total, total[-1] * share)) for share in (0.001, 0.999))
    inside = [x for x in (*bounds, bounds_of(low)[0], bounds_of(high)[1]) if np.isfinite(x)] or [0.0]
    start, end = min(inside), max(inside)
    logarithmic = start >= 0 and end >= 50
    if logarithmic:
        return np.geomspace(max(start, 1.0), end * 1.05, bins + 1), True
    margin = (end - start) * 0.02 or 0.5
    return np.linspace(start if start == 0 else start - margin, end + margin, bins + 1), False


def bars_of(cell: Array, documents: Array, limits: Array) -> Array:
    """Return float64[bars], the documents between limits; those outside are counted in the first and the last bar.

    Documents of a cell are taken to be spread evenly.
    """
    bins = len(limits) - 1
    counts = np.bincount(cell, documents, minlength=CELLS).astype(np.float64)
    at_edges, between = counts[1::2], counts[2:-2:2]
    up_to = np.interp(limits, EDGES, np.concatenate([[0.0], np.cumsum(between)]))
    place = np.clip(np.searchsorted(limits, EDGES, "right") - 1, 0, bins - 1)
    bars = np.diff(up_to) + np.bincount(place, at_edges, minlength=bins)
    bars[0] += up_to[0] + counts[0]
    bars[-1] += between.sum() - up_to[-1] + counts[-1]
    return bars
