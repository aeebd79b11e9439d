"""Devices: the memory in which a backend keeps its arrays.

Operations run where their arguments are. A stage therefore uploads its arrays to a device, calls operations and
downloads the results that it needs.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from gpu_pile.errors import BackendError
from gpu_pile.gpu import launch, memory
from gpu_pile.gpu.segments import to_host
from gpu_pile.text.column import TextColumn
from gpu_pile.types import DeviceArray


class Device:
    """The memory of the backend cpu: host memory. CudaDevice is that of the backend cuda.

    batch_bytes: the best size of a batch, in decompressed bytes.
    """

    backend = "cpu"
    batch_bytes = 4 * 2**20

    def asked(self) -> tuple[Any, ...]:
        """What this thread, and cuDF, have asked of the device so far: sessions of other threads can wait for it."""
        return ()

    @contextlib.contextmanager
    def session(self, after: tuple[Any, ...] = ()) -> Iterator[None]:
        """Enclose the uploads, operations and downloads of a thread.

        Args:
            after: what must have been done before, as asked() returned it in the thread that asked for it.

        Raises:
            MemoryError: the batch does not fit into the device's memory. BackendError: the device failed.
        """
        yield

    def upload(self, array: np.ndarray[Any, Any]) -> DeviceArray:
        """Copy an array from host memory to this device."""
        return array

    def download(self, array: DeviceArray) -> np.ndarray[Any, Any]:
        """Copy an array from this device to host memory."""
        return to_host(array)

    def download_all(self, arrays: Mapping[str, DeviceArray]) -> dict[str, np.ndarray[Any, Any]]:
        """Copy arrays to host memory, together: the thread waits once."""
        return {name: self.download(array) for name, array in arrays.items()}

    def text(self, text: TextColumn) -> TextColumn:
        """Copy documents to this device, unless they are there."""
        if text.backend == self.backend:
            return text
        move: Callable[[Any], Any] = self.upload if text.backend == "cpu" else self.download
        return TextColumn(move(text.data), move(text.offsets))

    def argsort(self, keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The positions, in host memory, that sort keys; the sort is stable."""
        return np.argsort(keys, kind="stable")

    def empty(self, n: int) -> np.ndarray[Any, Any]:
        """Allocate uint8[n] in host memory, to be filled and uploaded."""
        return np.empty(n, np.uint8)


BATCH_BYTES_MIN, BATCH_BYTES_MAX = 2**20, 63 * 2**20
"""Sizes of a batch on a GPU. A block is a little more, and CuPy rounds pinned memory up to a power of two."""

ALIGNMENT = 64
"""Where each of several arrays begins that are downloaded together: at a multiple of this."""

_NO_MEMORY = re.compile(r"MemoryAllocation|OUT_OF_MEMORY|out of memory|bad_alloc")
_FAILURE = re.compile(r"cuda_?error|CUDA_ERROR|RMM failure", re.IGNORECASE)
"""In the messages of errors for which RMM and Thrust have no class of their own."""


@contextlib.contextmanager
def device_errors() -> Iterator[None]:
    """Raise a MemoryError where the device has too little memory, a BackendError where it fails otherwise."""
    try:
        yield
    except Exception as error:
        of_cupy = type(error).__module__.startswith(("cupy.", "cupy_backends.")) and not isinstance(error, MemoryError)
        if not of_cupy and not (isinstance(error, RuntimeError) and _FAILURE.search(str(error))):
            raise
        if _NO_MEMORY.search(str(error)):
            raise MemoryError(str(error)) from error
        raise BackendError(
            f"the GPU failed: {error}. Finished work is not lost: run the same command again to continue, either once "
            "nvidia-smi shows that the device works again, or with --backend cpu"
        ) from error


class _Thread(threading.local):
    """What a thread has of a device: its stream, host arrays that copies under way read, and memory that they write."""

    stream: Any = None

    def __init__(self) -> None:
        self.uploads: list[np.ndarray[Any, Any]] = []
        self.staging = np.empty(0, np.uint8)


class CudaDevice(Device):
    """The memory of the current CUDA device, through CuPy; each thread has its own stream.

    Raises:
        BackendError: the device, its driver, or the compiler of the kernels fails.
    """

    backend = "cuda"

    def __init__(self) -> None:
        import cupy

        self.cupy = cupy
        self._thread = _Thread()
        with device_errors():
            memory.share_pool()
            launch.preload()
            free, _ = cupy.cuda.runtime.memGetInfo()
        # A batch takes about 16 times its bytes on the device, 65 times with the signals of repetition, and several
        # threads have one each. A batch that does not fit is halved.
        self.batch_bytes = int(min(BATCH_BYTES_MAX, max(BATCH_BYTES_MIN, free // 1024)))

    def asked(self) -> tuple[Any, ...]:
        cuda = self.cupy.cuda
        events = []
        with device_errors():
            for stream in (cuda.Stream.null, cuda.get_current_stream()):  # cuDF works on the first
                events.append(cuda.Event(disable_timing=True))
                events[-1].record(stream)
        return tuple(events)

    @contextlib.contextmanager
    def session(self, after: tuple[Any, ...] = ()) -> Iterator[None]:
        with device_errors():
            if self._thread.stream is None:
                self._thread.stream = self.cupy.cuda.Stream(non_blocking=True)
            with self._thread.stream as stream:
                for event in after:
                    stream.wait_event(event)
                try:
                    yield
                finally:
                    try:
                        stream.synchronize()
                    finally:
                        self._thread.uploads.clear()

    def upload(self, array: np.ndarray[Any, Any]) -> DeviceArray:
        """Copy an array to the device.

        The copy may be under way until the session has ended: the array must not change before.
        """
        out = self.cupy.empty(array.shape, array.dtype)
        self._thread.uploads.append(np.ascontiguousarray(array))
        out.set(self._thread.uploads[-1])
        return out

    def download_all(self, arrays: Mapping[str, DeviceArray]) -> dict[str, np.ndarray[Any, Any]]:
        places, end = {}, 0
        for name, array in arrays.items():
            places[name] = slice(end, end + array.nbytes)
            end += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        staging, copies = self._staging(end), {}
        for name, array in arrays.items():
            copies[name] = staging[places[name]].view(array.dtype).reshape(array.shape)
            array.get(out=copies[name], blocking=False)
        self.cupy.cuda.get_current_stream().synchronize()
        return {name: copy.copy() for name, copy in copies.items()}

    def _staging(self, n: int) -> np.ndarray[Any, Any]:
        """Pinned memory of this thread, of at least n bytes."""
        if len(self._thread.staging) < n:
            self._thread.staging = self.empty(n)
        return self._thread.staging

    def argsort(self, keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with self.session():
            return self.download(self.cupy.argsort(self.upload(keys)))  # CuPy's only kind of sort is stable

    def empty(self, n: int) -> np.ndarray[Any, Any]:
        """Allocate pinned memory, from which copies are fastest; other memory where no more can be pinned."""
        import cupyx

        try:
            with device_errors():
                return cupyx.empty_pinned(n, np.uint8)
        except MemoryError:
            return super().empty(n)


def device_for(backend: str) -> Device:
    """The device of a backend (see gpu_pile.gpu.detect.choose)."""
    return CudaDevice() if backend == "cuda" else Device()
