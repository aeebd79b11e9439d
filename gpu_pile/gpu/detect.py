"""Find the backends of this machine. The driver library is asked for GPUs; no heavier library is imported."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from dataclasses import dataclass

from gpu_pile.errors import BackendError

BACKENDS = ("cpu", "cuda")

_COMPUTE_MAJOR, _COMPUTE_MINOR = 75, 76
"""CUdevice_attribute: COMPUTE_CAPABILITY_MAJOR and _MINOR."""

_NAME_BYTES = 256


@dataclass(frozen=True)
class DeviceInfo:
    """A CUDA device, as its driver describes it."""

    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int


@functools.cache
def cuda_devices() -> tuple[DeviceInfo, ...]:
    """The devices that the driver reports: none without a driver, or if CUDA_VISIBLE_DEVICES hides them.

    No CUDA context is created.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return ()
    devices = []
    for i in range(count.value):
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        name, memory = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
        driver.cuDeviceGet(ctypes.byref(device), i)
        driver.cuDeviceGetName(name, _NAME_BYTES, device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_MAJOR, device)
        driver.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_MINOR, device)
        devices.append(DeviceInfo(name.value.decode(), (major.value, minor.value), memory.value))
    return tuple(devices)


def choose(wanted: str = "auto") -> str:
    """Choose the backend to use: "cpu" or "cuda".

    auto chooses the GPU if there is one and the libraries that it needs are installed, else the CPU.

    Raises:
        BackendError: cuda was asked for and cannot be used; the message says what is missing.
    """
    if wanted not in ("auto", *BACKENDS):
        raise BackendError(f"unknown backend {wanted!r}; choose one of: auto, {', '.join(BACKENDS)}")
    if wanted == "cpu":
        return "cpu"
    missing = cuda_missing()
    if not missing:
        return "cuda"
    if wanted == "auto":
        return "cpu"
    raise BackendError(
        f"backend cuda: {'; '.join(missing)}. gpu-pile doctor says more; --backend cpu gives the same results"
    )


def cuda_missing() -> list[str]:
    """What the cuda backend lacks on this machine, as sentences; [] if it is ready."""
    missing = []
    if not cuda_devices():
        missing.append("the CUDA driver reports no device")
    if importlib.util.find_spec("cupy") is None:
        missing.append("cupy is not installed (pip install 'gpu-pile[cu12]' or 'gpu-pile[cu13]')")
    return missing
