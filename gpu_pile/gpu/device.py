"""Where operations run, and what the cuda functions of several operations share.

A Device is where a backend keeps its arrays: operations run where their arguments are, so a stage uploads what it has,
calls them, and downloads what it needs.

`xp` is CuPy on a GPU and NumPy where tests execute the kernels on the CPU; only what both have is used.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gpu_pile.errors import BackendError
from gpu_pile.gpu.segments import to_host
from gpu_pile.text.column import TextColumn
from gpu_pile.types import DeviceArray


class Device:
    """Where the arrays of a backend are. This one is host memory, of the backend cpu; CudaDevice is the other.

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

    def upload(self, array: np.ndarray[Any, Any]) -> DeviceArray:
        """The array in this place."""
        return array

    def download(self, array: DeviceArray) -> np.ndarray[Any, Any]:
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


class CudaDevice(Device):
    """The current device's memory, through CuPy and the pool of RAPIDS; a thread has a stream of its own."""

    backend = "cuda"

    def __init__(self) -> None:
        import cupy

        from gpu_pile.gpu import cudf

        cudf.share_memory()
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

    def upload(self, array: np.ndarray[Any, Any]) -> DeviceArray:
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


def device_for(backend: str) -> Device:
    """The place of a backend that gpu_pile.gpu.detect.choose gave."""
    return CudaDevice() if backend == "cuda" else Device()
