"""Devices: the memory in which a backend keeps its arrays.

Operations run where their arguments are. A stage therefore uploads its arrays to a device, calls operations and
downloads the results that it needs.
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
    """The memory of the backend cpu: host memory. CudaDevice is that of the backend cuda.

    batch_bytes: the best size of a batch, in decompressed bytes.
    """

    backend = "cpu"
    batch_bytes = 4 * 2**20

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Enclose the uploads, operations and downloads of a thread.

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


BATCH_BYTES_MIN, BATCH_BYTES_MAX = 2**20, 64 * 2**20
"""Sizes of a batch on a GPU."""

_MEMORY_ALLOCATION = 2
"""cudaErrorMemoryAllocation."""


class CudaDevice(Device):
    """The memory of the current CUDA device, through CuPy and the pool of RAPIDS; each thread has its own stream."""

    backend = "cuda"

    def __init__(self) -> None:
        import cupy

        from gpu_pile.gpu import cudf

        cudf.share_memory()
        self.cupy = cupy
        self._threads = threading.local()
        free, _ = cupy.cuda.runtime.memGetInfo()
        # A batch takes about 16 times its bytes on the device, 65 times with the signals of repetition, and several
        # threads have one each. A batch that does not fit is halved.
        self.batch_bytes = int(min(BATCH_BYTES_MAX, max(BATCH_BYTES_MIN, free // 1024)))

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
        """Copy an array to the device.

        From pinned memory the copy is asynchronous: the array must not change before the session has synchronized.
        """
        out = self.cupy.empty(array.shape, array.dtype)
        out.set(np.ascontiguousarray(array))
        return out

    def argsort(self, keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with self.session():
            return self.download(self.cupy.argsort(self.upload(keys)))  # CuPy's only kind of sort is stable

    def empty(self, n: int) -> np.ndarray[Any, Any]:
        import cupyx

        return cupyx.empty_pinned(n, np.uint8)


def _failed(error: BaseException) -> str:
    return (
        f"the GPU failed: {error}. Finished work is not lost: run the same command again to continue, either once "
        "nvidia-smi shows that the device works again, or with --backend cpu"
    )


def device_for(backend: str) -> Device:
    """The device of a backend (see gpu_pile.gpu.detect.choose)."""
    return CudaDevice() if backend == "cuda" else Device()
