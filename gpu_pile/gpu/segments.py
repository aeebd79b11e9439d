"""What the cuda functions of several operations share: segments, prefix sums, Unicode tables, gathering, splitting."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_threads, launch_warps
from gpu_pile.text import unicode
from gpu_pile.text.column import TextColumn
from gpu_pile.types import DeviceArray

SEGMENT_BYTES = 16_384
"""Bytes of text that a warp takes at a time, where an operation has no other need."""

GATHER_BYTES = 4096
"""Bytes that a warp copies."""


@dataclass(frozen=True)
class Segments:
    """The items of several owners (the bytes of documents, say) in segments of `size`, at least one per owner.

    first:  int64[n_owners + 1]  owner i has the segments first[i] .. first[i + 1]
    owners: int64[count]         the owner of each segment

    Segment s has up to `size` items of its owner, from item (s - first[owner]) * size on.
    """

    first: DeviceArray
    owners: DeviceArray
    count: int
    size: int

    @classmethod
    def of(cls, xp: Any, sizes: DeviceArray, size: int = SEGMENT_BYTES) -> Segments:
        """sizes: int64[n_owners], the items of each owner."""
        n = len(sizes)
        counts = xp.empty(n, np.int64)
        launch_threads("segments", "count_segments", n, sizes, n, size, counts)
        first = exclusive_sum(xp, counts)
        owners = xp.empty(int(first[-1]), np.int64)
        launch_threads("segments", "find_owners", len(owners), first, n, len(owners), owners)
        return cls(first, owners, len(owners), size)

    @classmethod
    def of_text(cls, xp: Any, text: TextColumn, size: int = SEGMENT_BYTES) -> Segments:
        """Return the bytes of documents in segments: made once for a text, whichever operations ask for them."""
        if (cls, size) not in text.derived:
            text.derived[cls, size] = cls.of(xp, xp.diff(text.offsets), size)
        segments: Segments = text.derived[cls, size]
        return segments

    @classmethod
    def of_one(cls, xp: Any, n: int, size: int = SEGMENT_BYTES) -> Segments:
        """Return the n items of a single owner in segments."""
        count = max(1, -(-n // size))
        return cls(xp.asarray(np.array([0, count])), xp.zeros(count, np.int64), count, size)

    @property
    def args(self) -> tuple[DeviceArray, DeviceArray, int, int]:
        """What kernels take: first, owners, n_segments, size."""
        return self.first, self.owners, self.count, self.size


def exclusive_sum(xp: Any, counts: DeviceArray) -> DeviceArray:
    """Return int64[n + 1]: the sum of the entries before each, and of all."""
    out = xp.zeros(len(counts) + 1, np.int64)
    xp.cumsum(counts, out=out[1:])
    return out


_CONSTANTS: dict[tuple[int, int], tuple[np.ndarray[Any, Any], Any]] = {}
_LOCK = threading.Lock()


def constant(xp: Any, array: np.ndarray[Any, Any]) -> DeviceArray:
    """Return a host array that never changes as an array of the current device, where it is copied once."""
    if xp is np:
        return array
    key = (id(array), int(xp.cuda.Device().id))
    with _LOCK:
        if key not in _CONSTANTS:
            _CONSTANTS[key] = (array, xp.asarray(array))  # the host array stays, so that its id does
            xp.cuda.get_current_stream().synchronize()  # other threads use it on streams of their own
        return _CONSTANTS[key][1]


def constants(xp: Any, arrays: Iterable[np.ndarray[Any, Any]]) -> tuple[DeviceArray, ...]:
    """Return several host arrays as `constant` does."""
    return tuple(constant(xp, array) for array in arrays)


def flag_tables(xp: Any) -> tuple[DeviceArray, ...]:
    """Return the tables of character classes: Flags of kernels/unicode.cuh."""
    return constants(xp, (unicode.FLAG_STAGE, unicode.FLAG_LEAVES))


def word_tables(xp: Any) -> tuple[DeviceArray, ...]:
    """Return the tables of character classes and of lower case: Flags and Lower of kernels/unicode.cuh."""
    return (*flag_tables(xp), *constants(xp, (unicode.LOWER_STAGE, unicode.LOWER_LEAVES)))


def gather(
    xp: Any, source: DeviceArray, starts: DeviceArray, lengths: DeviceArray, n_bytes: int | None = None
) -> tuple[DeviceArray, DeviceArray]:
    """Return (data, offsets): the spans source[starts[i]:starts[i] + lengths[i]] back to back.

    n_bytes: of all spans together, or more, which the data then has at its end; None waits until that is known.
    """
    offsets = exclusive_sum(xp, lengths)
    data = xp.empty(int(offsets[-1]) if n_bytes is None else n_bytes, np.uint8)
    warps = -(-len(data) // GATHER_BYTES)
    launch_warps("gather", "gather", warps, source, starts, offsets, len(lengths), GATHER_BYTES, data)
    return data, offsets


def take(text: TextColumn, rows: Any) -> TextColumn:
    """Return the documents of these rows (int64, ascending, in host memory), copied to where the text is."""
    if text.backend == "cpu" or len(rows) == len(text):
        return text.take(rows)
    import cupy

    rows = cupy.asarray(rows)
    starts = text.offsets[rows]
    return TextColumn(*gather(cupy, text.data, starts, text.offsets[rows + 1] - starts))


def spans(text: TextColumn, starts: Any, lengths: Any) -> TextColumn:
    """Return spans of a text on the device (int64, in host memory, they may overlap), copied."""
    import cupy

    return TextColumn(*gather(cupy, text.data, cupy.asarray(starts), cupy.asarray(lengths)))


def count_then_write(
    xp: Any,
    file: str,
    kernels: tuple[str, str],
    segments: Segments,
    inputs: tuple[Any, ...],
    *dtypes: Any,
    write_inputs: tuple[Any, ...] = (),
) -> tuple[DeviceArray, ...]:
    """Launch the two kernels of kernels/<file>.cu that find items in segments, as kernels/compact.cuh describes.

    Args:
        kernels: (count, write). The first takes (inputs, counts), the second (inputs, write_inputs, before, outputs).
        dtypes: of the outputs, which have one entry per item.

    Returns:
        (first, outputs ...): owner i has the items first[i] .. first[i + 1].
    """
    count, write = kernels
    counts = xp.empty(segments.count, np.int64)
    launch_warps(file, count, segments.count, *inputs, counts)
    before = exclusive_sum(xp, counts)
    outputs = tuple(xp.empty(int(before[-1]), dtype) for dtype in dtypes)
    launch_warps(file, write, segments.count, *inputs, *write_inputs, before, *outputs)
    return before[segments.first], *outputs


def line_feeds(xp: Any, data: DeviceArray) -> DeviceArray:
    """Return int64[n]: where the line feeds of text on the device are."""
    offsets = xp.asarray(np.array([0, len(data)], np.int64))
    segments = Segments.of_one(xp, len(data), 4096)
    kernels = "count_line_feeds", "find_line_feeds"
    _, feeds = count_then_write(xp, "line_feeds", kernels, segments, (data, offsets, *segments.args), np.int64)
    return feeds


def split_at(
    xp: Any, starts: DeviceArray, stops: DeviceArray, owners: DeviceArray, ends: DeviceArray, begins: DeviceArray
) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
    """Split documents on the device at separators.

    Args:
        starts, stops: int64[n_docs], where each document begins and ends.
        owners, ends, begins: int64[n], of each separator, in order: its document, where the piece before it ends and
            where the piece after it begins.

    Returns:
        (bounds, first, owners): piece k goes from bounds[k, 0] to bounds[k, 1] and belongs to document owners[k];
        document d has the pieces first[d] .. first[d + 1], one more than separators.
    """
    n = len(starts)
    first = xp.arange(n + 1, dtype=np.int64) + xp.searchsorted(owners, xp.arange(n + 1, dtype=np.int64))
    bounds = xp.empty((len(owners) + n, 2), np.int64)
    bounds[first[:-1], 0] = starts
    bounds[first[1:] - 1, 1] = stops
    before = xp.arange(len(owners), dtype=np.int64) + owners
    bounds[before, 1] = ends
    bounds[before + 1, 0] = begins
    pieces = xp.arange(len(bounds), dtype=np.int64)
    return bounds, first, xp.searchsorted(first[1:], pieces, side="right").astype(np.int64)


@dataclass(frozen=True)
class FeedRuns:
    """Runs of line feeds on the device, each in one document; int64[n] all.

    starts, lengths: where each run begins and how many bytes it has; owners: its document.
    """

    starts: DeviceArray
    lengths: DeviceArray
    owners: DeviceArray

    @classmethod
    def of(cls, xp: Any, text: TextColumn) -> FeedRuns:
        feeds = line_feeds(xp, text.data)
        n = len(feeds)
        owners = xp.searchsorted(text.offsets[1:], feeds, side="right").astype(np.int64)
        begins = xp.ones(n, bool)
        begins[1:] = (feeds[1:] != feeds[:-1] + 1) | (owners[1:] != owners[:-1])
        first = xp.flatnonzero(begins)
        lengths = xp.diff(xp.concatenate((first, xp.full(1, n, np.int64))))
        return cls(feeds[first], lengths, owners[first])

    def pairs(self, xp: Any) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
        """Return (owners, starts, stops) of the separators of split("\\n\\n"): pairs from each run's beginning on."""
        before = exclusive_sum(xp, self.lengths // 2)
        run = xp.searchsorted(before[1:], xp.arange(int(before[-1]), dtype=np.int64), side="right")
        starts = self.starts[run] + 2 * (xp.arange(len(run), dtype=np.int64) - before[run])
        return self.owners[run], starts, starts + 2


def lines(xp: Any, text: TextColumn) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
    """Return the pieces of split("\\n") of all documents on the device, as `split_at` does."""
    feeds = line_feeds(xp, text.data)
    starts, stops = text.offsets[:-1], text.offsets[1:]
    owners = xp.searchsorted(stops, feeds, side="right").astype(np.int64)
    return split_at(xp, starts, stops, owners, feeds, feeds + 1)


def paragraphs(xp: Any, text: TextColumn) -> tuple[DeviceArray, DeviceArray, DeviceArray]:
    """Return the pieces of split("\\n\\n") of all documents on the device, as `split_at` does."""
    return split_at(xp, text.offsets[:-1], text.offsets[1:], *FeedRuns.of(xp, text).pairs(xp))


def prefixes(text: TextColumn, n_bytes: int) -> TextColumn:
    """Return the first n_bytes of each document on a GPU, and unused bytes; documents in host memory as they are."""
    if text.backend == "cpu":
        return text
    import cupy

    lengths = cupy.minimum(cupy.diff(text.offsets), n_bytes)
    most = min(len(text) * n_bytes, text.n_bytes)
    return TextColumn(*gather(cupy, text.data, text.offsets[:-1], lengths, most))


def to_host(array: Any) -> np.ndarray[Any, Any]:
    """Return an array that may be on a GPU as a NumPy array."""
    return array if isinstance(array, np.ndarray) else array.get()
