"""Where operations run, and what the cuda functions of several operations share.

A Place is where a backend keeps its arrays: operations run where their arguments are, so a stage uploads what it has,
calls them, and downloads what it needs.

`xp` is CuPy on a GPU and NumPy where tests execute the kernels on the CPU; only what both have is used.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_pile import unicode
from gpu_pile.columns import TextColumn
from gpu_pile.errors import BackendError
from gpu_pile.kernel import launch_warps

Array = Any


@dataclass(frozen=True)
class Segments:
    """Items of several owners (bytes of documents, say) cut into segments of `size`, at least one an owner.

    first:  int64[n_owners + 1]  owner i has segments first[i] .. first[i + 1]
    owners: int64[count]         the owner of each segment

    Segment s covers items (s - first[owner]) * size and on, up to size of them.
    """

    first: Array
    owners: Array
    count: int
    size: int

    @classmethod
    def of(cls, xp: Any, sizes: Array, size: int) -> Segments:
        """sizes: int64[n_owners], items of each."""
        first = xp.zeros(len(sizes) + 1, np.int64)
        xp.cumsum(xp.maximum((sizes + size - 1) // size, 1), out=first[1:])
        count = int(first[-1])
        owners = xp.searchsorted(first[1:], xp.arange(count, dtype=np.int64), side="right").astype(np.int64)
        return cls(first, owners, count, size)

    @property
    def args(self) -> tuple[Array, Array, int, int]:
        """As kernels take them: first, owners, n_segments, size."""
        return self.first, self.owners, self.count, self.size


def sums_before(xp: Any, counts: Array) -> Array:
    """int64[n + 1]: the sum of the entries before each, and of all."""
    out = xp.zeros(len(counts) + 1, np.int64)
    xp.cumsum(counts, out=out[1:])
    return out


_CONSTANTS: dict[tuple[int, int], tuple[np.ndarray[Any, Any], Any]] = {}
_LOCK = threading.Lock()


def constant(xp: Any, array: np.ndarray[Any, Any]) -> Array:
    """A host array that never changes, on the current device; copied there once."""
    if xp is np:
        return array
    key = (id(array), int(xp.cuda.Device().id))
    with _LOCK:
        if key not in _CONSTANTS:
            _CONSTANTS[key] = (array, xp.asarray(array))  # the host array stays, so that its id does
            xp.cuda.get_current_stream().synchronize()  # other threads use it on streams of their own
        return _CONSTANTS[key][1]


def flag_tables(xp: Any) -> tuple[Array, Array]:
    """The tables of character classes."""
    return constant(xp, unicode.FLAG_STAGE), constant(xp, unicode.FLAG_LEAVES)


def word_tables(xp: Any) -> tuple[Array, Array, Array, Array]:
    """The tables of character classes and of lower case."""
    return (*flag_tables(xp), constant(xp, unicode.LOWER_STAGE), constant(xp, unicode.LOWER_LEAVES))


def gather(xp: Any, source: Array, starts: Array, lengths: Array) -> tuple[Array, Array]:
    """(data, offsets): the spans source[starts[i]:starts[i] + lengths[i]], one behind the other."""
    offsets = sums_before(xp, lengths)
    data = xp.empty(int(offsets[-1]), np.uint8)
    segments = Segments.of(xp, lengths, 16_384)
    launch_warps("gather", "gather", segments.count, source, starts, offsets, *segments.args, data)
    return data, offsets


def line_feeds(xp: Any, data: Array) -> Array:
    """int64[n]: where the line feeds of device text are."""
    n, size = len(data), 4096
    segments = -(-n // size)
    counts = xp.empty(segments, np.int64)
    launch_warps("parse_lines", "count_line_feeds", segments, data, n, segments, size, counts)
    before = sums_before(xp, counts)
    feeds = xp.empty(int(before[-1]), np.int64)
    launch_warps("parse_lines", "find_line_feeds", segments, data, n, segments, size, before, feeds)
    return feeds


def cut(xp: Any, starts: Array, stops: Array, owners: Array, ends: Array, begins: Array) -> tuple[Array, Array, Array]:
    """Pieces of documents between separators, on the device.

    Args:
        starts, stops: int64[n_docs], where each document begins and ends.
        owners, ends, begins: int64[n], of each separator, in order: its document, where the piece before it ends and
            the one behind it begins.

    Returns:
        (bounds, first, owners): piece k goes from bounds[k, 0] to bounds[k, 1] and is of document owners[k]; document d
        has the pieces first[d] .. first[d + 1], one more than separators.
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

    starts, lengths: their bytes; owners: their documents
    """

    starts: Array
    lengths: Array
    owners: Array

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

    def pairs(self, xp: Any) -> tuple[Array, Array, Array]:
        """(owners, starts, stops) of the separators of split("\\n\\n"): two and two of each run, from its beginning."""
        before = sums_before(xp, self.lengths // 2)
        run = xp.searchsorted(before[1:], xp.arange(int(before[-1]), dtype=np.int64), side="right")
        starts = self.starts[run] + 2 * (xp.arange(len(run), dtype=np.int64) - before[run])
        return self.owners[run], starts, starts + 2


def paragraphs(xp: Any, text: TextColumn) -> tuple[Array, Array, Array]:
    """The pieces of split("\\n\\n") of all documents on the device: (bounds, first, owners) of `cut`."""
    return cut(xp, text.offsets[:-1], text.offsets[1:], *FeedRuns.of(xp, text).pairs(xp))


def heads(text: TextColumn, n_bytes: int) -> TextColumn:
    """In host memory, the first n_bytes of each document on a GPU; documents that are in host memory as they are."""
    if text.backend == "cpu":
        return text
    import cupy

    data, offsets = gather(cupy, text.data, text.offsets[:-1], cupy.minimum(cupy.diff(text.offsets), n_bytes))
    return TextColumn(to_host(data), to_host(offsets))


def to_host(array: Any) -> np.ndarray[Any, Any]:
    """A NumPy array of what may be on a GPU."""
    return array if isinstance(array, np.ndarray) else array.get()


class Place:
    """Where the arrays of a backend are. This one is host memory, of the backend cpu; Gpu is the other.

    batch_bytes: decompressed bytes that a worker best takes at a time.
    """

    backend = "cpu"
    batch_bytes = 4 * 2**20

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Around uploads, operations and downloads of a thread.

        Raises:
            MemoryError: the batch does not fit. BackendError: the device failed.
        """
        yield

    def upload(self, array: np.ndarray[Any, Any]) -> Array:
        """The array in this place."""
        return array

    def download(self, array: Array) -> np.ndarray[Any, Any]:
        """The array in host memory."""
        return to_host(array)

    def text(self, text: TextColumn) -> TextColumn:
        """The documents in this place."""
        if text.backend == self.backend:
            return text
        move: Callable[[Any], Any] = self.upload if text.backend == "cpu" else self.download
        return TextColumn(move(text.data), move(text.offsets))

    def argsort(self, keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """An order that sorts the keys, in host memory; equal keys stay in theirs."""
        return np.argsort(keys, kind="stable")

    def empty(self, n: int) -> np.ndarray[Any, Any]:
        """uint8[n] in host memory, to be filled and uploaded."""
        return np.empty(n, np.uint8)


class Gpu(Place):
    """The current device's memory, through CuPy and the pool of RAPIDS; a thread has a stream of its own."""

    backend = "cuda"

    def __init__(self) -> None:
        import cupy

        from gpu_pile import frames

        frames.share_memory()
        self.cupy = cupy
        self._threads = threading.local()
        free, _ = cupy.cuda.runtime.memGetInfo()
        # A batch takes about 16 times its bytes on the device, 65 with the signals of repetition, and several threads
        # have one at a time; one that does not fit all the same is halved.
        self.batch_bytes = int(min(64 * 2**20, max(2**20, free // 1024)))

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        cuda = self.cupy.cuda
        if not hasattr(self._threads, "stream"):
            self._threads.stream = cuda.Stream(non_blocking=True)
        try:
            with self._threads.stream as stream:
                yield
                stream.synchronize()
        except cuda.runtime.CUDARuntimeError as error:
            if error.status == _MEMORY_ALLOCATION:
                raise MemoryError(str(error)) from error
            raise BackendError(_failed(error)) from error
        except cuda.driver.CUDADriverError as error:
            raise BackendError(_failed(error)) from error

    def upload(self, array: np.ndarray[Any, Any]) -> Array:
        """Asynchronous from pinned memory: the array must stay as it is until the session has waited for something."""
        out = self.cupy.empty(array.shape, array.dtype)
        out.set(np.ascontiguousarray(array))
        return out

    def argsort(self, keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with self.session():
            return self.download(self.cupy.argsort(self.upload(keys)))  # stable, the only kind that CuPy has

    def empty(self, n: int) -> np.ndarray[Any, Any]:
        import cupyx

        return cupyx.empty_pinned(n, np.uint8)


_MEMORY_ALLOCATION = 2  # cudaErrorMemoryAllocation


def _failed(error: BaseException) -> str:
    return (
        f"the GPU failed: {error}. Nothing that was finished is lost: the same command goes on from there, "
        "on this machine once the device is well again (nvidia-smi), or anywhere with --backend cpu"
    )


def place(backend: str) -> Place:
    """The place of a backend that gpu_pile.backend.choose gave."""
    return Gpu() if backend == "cuda" else Place()
