"""Texts in memory as a TextColumn: every verb of the Python API takes its texts through text_column."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, NoReturn, Protocol, TypeAlias

import pyarrow as pa

from gpu_pile.gpu import cudf
from gpu_pile.text.column import TextColumn

STRINGS = "a list of strings, or a column of strings of pyarrow, pandas, polars, cuDF or Hugging Face datasets"


class Column(Protocol):
    """A column of another library, as type checkers see it."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...


Texts: TypeAlias = Iterable[str] | Iterable[bytes] | Column | TextColumn
"""What every verb of the Python API takes, see text_column."""


def text_column(texts: Texts) -> TextColumn:
    """Return texts as a TextColumn: any iterable of str or of UTF-8 bytes, or a column of strings of another library.

    A column of cuDF stays on the GPU, without a copy. One of Arrow or polars is not copied.

    Raises:
        TypeError: it is one text, a table, or something else without texts in order; or an element is not a string.
        ValueError: a text is missing (None, NaN, null), or its bytes are not UTF-8.
    """
    if isinstance(texts, TextColumn):
        return texts
    _refuse_what_is_no_column(texts)
    if cudf.is_cudf(texts):
        return cudf.text_column(texts)
    if not isinstance(texts, pa.Array | pa.ChunkedArray):
        texts = _arrow(texts)
        if isinstance(texts, TextColumn):
            return texts
    return TextColumn.from_arrow(texts)


def _refuse_what_is_no_column(texts: Any) -> None:
    """Raise a TypeError for what would be iterated over without being a column of texts."""
    kind = type(texts).__name__
    if isinstance(texts, str | bytes | bytearray | memoryview):
        raise TypeError(f"texts is one {kind}; pass a list of texts: [text]")
    if isinstance(texts, Mapping):
        keys = ", ".join(map(repr, list(texts)[:5]))
        raise TypeError(f"texts is a {kind} with the keys {keys}; pass one of its columns, such as texts['text']")
    names = _column_names(texts)
    if names is not None:
        shown = ", ".join(repr(str(name)) for name in list(names)[:8])
        raise TypeError(f"texts is a table ({kind}) with the columns {shown}; pass one column, such as texts['text']")
    if isinstance(texts, Set):
        raise TypeError(f"texts is a {kind}, which has no order; pass {STRINGS}")
    if getattr(texts, "ndim", 1) != 1:
        raise TypeError(f"texts has {texts.ndim} dimensions ({kind}); pass {STRINGS}")
    if not hasattr(texts, "__iter__") and not hasattr(texts, "__getitem__"):
        raise TypeError(f"texts is of type {kind}; pass {STRINGS}")


def _column_names(texts: Any) -> Any:
    """Return the names of a table's columns, of whatever library; None for what is not a table."""
    if hasattr(texts, "collect_schema"):  # polars; asking a lazy table for its columns is a warning
        return texts.collect_schema().names()
    names = getattr(texts, "column_names", None)
    return getattr(texts, "columns", None) if names is None else names


def _arrow(texts: Any) -> pa.Array | pa.ChunkedArray | TextColumn:
    """Return the column as Arrow's; where Arrow cannot hold a string of Python, as a TextColumn."""
    if hasattr(texts, "__arrow_c_stream__"):
        return pa.chunked_array(texts)
    if hasattr(texts, "__arrow_c_array__"):
        return pa.array(texts)
    documents = list(texts)
    try:
        column = pa.array(documents, pa.large_string())
    except (UnicodeEncodeError, pa.ArrowInvalid, pa.ArrowTypeError):
        column = None
    if column is not None and not column.null_count:
        return column
    for position, text in enumerate(documents):
        if isinstance(text, bytes):
            _check_utf8(position, text)
        elif not isinstance(text, str):
            _refuse_element(position, text)
    return TextColumn.from_documents(documents)  # lone surrogates, which Arrow cannot hold


def _check_utf8(position: int, text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"texts[{position}] is not UTF-8 at byte {error.start}; decode it first, for example by "
            f"text.decode(encoding)"
        ) from None


def _refuse_element(position: int, text: Any) -> NoReturn:
    is_missing = text is None or (text != text) is True or type(text).__name__ in ("NAType", "NaTType")
    if is_missing:
        raise ValueError(f"texts[{position}] is {text!r}; drop or fill the missing texts first")
    shown = f"{text!r:.60}"
    raise TypeError(f"texts[{position}] is not a string but of type {type(text).__name__} ({shown}); pass {STRINGS}")
