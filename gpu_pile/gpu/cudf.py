"""Columns of strings of cuDF as TextColumns, and TextColumns as columns of cuDF.

A cuDF column of strings holds UTF-8 bytes and, as its first child, offsets of 32 bits (64 bits beyond 2 GiB); a slice
of a column uses some of its offsets. The bytes are viewed, not copied. 64-bit offsets that begin at 0 are viewed too;
other offsets are converted to 64 bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile.text.column import TextColumn


def is_cudf(texts: Any) -> bool:
    """Whether an object is cuDF's, without importing cuDF."""
    return type(texts).__module__.split(".")[0] == "cudf"


def text_column(series: Any) -> TextColumn:
    """View a cuDF Series of strings as a TextColumn on the device, without copying the text.

    Raises:
        TypeError: the Series does not hold strings. ValueError: it has nulls.
    """
    import cupy
    import pylibcudf

    column, _ = series.to_pylibcudf()
    if column.type().id() != pylibcudf.TypeId.STRING:
        raise TypeError(f"expected a cuDF Series of strings, got {series.dtype}")
    if column.null_count():
        raise ValueError(f"text column has {column.null_count()} nulls; drop or fill them first")
    if column.size() == 0:
        return TextColumn(cupy.empty(0, np.uint8), cupy.zeros(1, np.int64))
    child = column.child(0)
    width = np.int64 if child.type().id() == pylibcudf.TypeId.INT64 else np.int32
    start, n = column.offset(), column.size()
    with cupy.cuda.Stream.null:  # where cuDF works, so that this comes after what it still does
        offsets = _view(cupy, child.data(), start + n + 1, width, series)[start:]
        first, last = int(offsets[0]), int(offsets[n])
        data = _view(cupy, column.data(), last, np.uint8, series)[first:]
        return TextColumn(data, offsets if width is np.int64 and first == 0 else offsets.astype(np.int64) - first)


def _view(cupy: Any, span: Any, count: int, dtype: Any, owner: Any) -> Any:
    """View the first `count` items of a device buffer; the view keeps the owner alive."""
    if count == 0:  # the buffer may have no memory at all
        return cupy.empty(0, dtype)
    memory = cupy.cuda.UnownedMemory(span.ptr, count * np.dtype(dtype).itemsize, owner)
    return cupy.ndarray((count,), dtype, cupy.cuda.MemoryPointer(memory, 0))


def series(text: TextColumn) -> Any:
    """View a TextColumn on the device as a cuDF Series, without copying the text."""
    import cudf
    import pylibcudf

    n = len(text)
    types = pylibcudf.types
    column = pylibcudf.Column(
        types.DataType(types.TypeId.STRING),
        n,
        pylibcudf.gpumemoryview(text.data),
        None,
        0,
        0,
        [pylibcudf.Column.from_cuda_array_interface(text.offsets)],
    )
    return cudf.Series.from_pylibcudf(column)
