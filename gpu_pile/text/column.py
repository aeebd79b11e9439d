"""TextColumn: documents as two Arrow buffers. The seam between files, Arrow, cuDF and the operations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gpu_pile.types import Array


@dataclass(frozen=True)
class TextColumn:
    """UTF-8 documents in Arrow's layout, no nulls.

    data:    uint8[n_bytes]      all documents back to back
    offsets: int64[n_docs + 1]   document i is data[offsets[i]:offsets[i + 1]]; offsets[0] == 0

    Both arrays are NumPy arrays (backend cpu) or CuPy arrays (backend cuda).
    derived: what several operations need of the documents and the first of them has made
    """

    data: Any
    offsets: Any
    derived: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.data.dtype != np.uint8 or self.offsets.dtype != np.int64 or not len(self.offsets):
            raise TypeError(
                f"TextColumn needs uint8 data and at least one int64 offset, "
                f"got {self.data.dtype} and {len(self.offsets)} of {self.offsets.dtype}"
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def backend(self) -> str:
        """ "cpu" or "cuda": where the buffers are."""
        return "cpu" if isinstance(self.data, np.ndarray) else "cuda"

    @property
    def n_bytes(self) -> int:
        return len(self.data)

    @classmethod
    def empty(cls) -> TextColumn:
        return cls(np.empty(0, np.uint8), np.zeros(1, np.int64))

    @classmethod
    def from_documents(cls, documents: Iterable[str | bytes]) -> TextColumn:
        """From Python strings (lone surrogates become U+FFFD) or UTF-8 bytes."""
        raw = [d if isinstance(d, bytes) else _encode(d) for d in documents]
        offsets = np.zeros(len(raw) + 1, np.int64)
        np.cumsum([len(r) for r in raw], out=offsets[1:])
        return cls(np.frombuffer(b"".join(raw), np.uint8), offsets)

    @classmethod
    def from_arrow(cls, array: pa.Array | pa.ChunkedArray) -> TextColumn:
        """No copy of the text; offsets are widened to int64. Slices are rebased.

        Raises:
            TypeError: the array is not of strings, nor a dictionary of them. ValueError: it has nulls.
        """
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
        if isinstance(array, pa.ChunkedArray):  # zero chunks stay chunked
            return cls.empty()
        array = plain(array)
        if array.null_count:
            position = pc.index(pc.is_null(array), True).as_py()
            raise ValueError(f"texts[{position}] is null, one of {array.null_count:,}; drop or fill the nulls first")
        width = {pa.string(): np.int32, pa.large_string(): np.int64}.get(array.type)
        if width is None:
            raise TypeError(f"expected an Arrow array of strings, got {array.type}")
        if len(array) == 0:
            return cls.empty()
        _, offset_buffer, data_buffer = array.buffers()
        offsets = np.frombuffer(offset_buffer, width)[array.offset : array.offset + len(array) + 1].astype(np.int64)
        data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None else np.empty(0, np.uint8)
        return cls(data[offsets[0] : offsets[-1]], offsets - offsets[0])

    def to_arrow(self) -> pa.Array:
        """A large_string array over the same buffers (cpu only)."""
        return pa.LargeStringArray.from_buffers(len(self), pa.py_buffer(self.offsets), pa.py_buffer(self.data))

    def documents(self) -> list[bytes]:
        """The documents as Python bytes: for tests and the reference, never on a hot path."""
        raw = self.data.tobytes()
        return [raw[a:b] for a, b in zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True)]

    def slice(self, start: int, stop: int) -> TextColumn:
        """Documents start to stop (exclusive), no copy of the text."""
        offsets = self.offsets[start : stop + 1]
        return TextColumn(self.data[int(offsets[0]) : int(offsets[-1])], offsets - offsets[0])

    def take(self, rows: Any) -> TextColumn:
        """The documents of these rows (int64, ascending), copied (cpu only; gpu_pile.gpu.segments.take for both)."""
        return self if len(rows) == len(self) else TextColumn.from_arrow(self.to_arrow().take(pa.array(rows)))

    def pieces(self, n_bytes: int) -> Iterator[TextColumn]:
        """Consecutive slices of about n_bytes each, at least one document in each (cpu only)."""
        return (self.slice(start, stop) for start, stop in text_pieces(self.offsets, n_bytes))


def text_pieces(offsets: Array, n_bytes: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of consecutive ranges of documents of about n_bytes each, at least one document in each."""
    start, n = 0, len(offsets) - 1
    while start < n:
        bound = int(offsets[start]) + n_bytes
        stop = min(n, max(start + 1, int(np.searchsorted(offsets, bound, "right")) - 1))
        yield start, stop
        start = stop


def plain(array: pa.Array) -> pa.Array:
    """Return an array of string views, or a dictionary of strings, as strings; every other array as it is."""
    if pa.types.is_null(array.type):
        return array.cast(pa.string())
    if pa.types.is_dictionary(array.type):
        return plain(array.dictionary).take(array.indices)
    return array.cast(pa.large_string()) if pa.types.is_string_view(array.type) else array


def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # lone surrogates: what the shard reader does with them too
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()
