"""Which backends this machine has. A GPU is there if the driver says so; nothing heavier is imported to find out."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from dataclasses import dataclass

from gpu_pile.errors import BackendError

BACKENDS = ("cpu", "cuda")

_COMPUTE_MAJOR, _COMPUTE_MINOR = 75, 76  # CUdevice_attribute


@dataclass(frozen=True)
class DeviceInfo:
    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int


@functools.cache
def cuda_devices() -> tuple[DeviceInfo, ...]:
    """What the driver reports; () without driver or device, or where CUDA_VISIBLE_DEVICES hides them.

    No CUDA context is made.
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
        name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
        driver.cuDeviceGet(ctypes.byref(device), i)
        driver.cuDeviceGetName(name, 256, device)
        driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
        driver.cuDeviceGetAttribute(ctypes.byref(major), _COMPUTE_MAJOR, device)
        driver.cuDeviceGetAttribute(ctypes.byref(minor), _COMPUTE_MINOR, device)
        devices.append(DeviceInfo(name.value.decode(), (major.value, minor.value), memory.value))
    return tuple(devices)


def choose(wanted: str = "auto") -> str:
    """The backend to use: "cpu" or "cuda".

    auto takes the GPU where there is one and its operations and libraries are here, else the cpu.

    Raises:
        BackendError: cuda was asked for and is not to be had; says what is missing.
    """
    if wanted not in ("auto", *BACKENDS):
        raise BackendError(f"unknown backend {wanted!r}; there are: auto, {', '.join(BACKENDS)}")
    if wanted == "cpu":
        return "cpu"
    missing = cuda_missing()
    if not missing:
        return "cuda"
    if wanted == "auto":
        return "cpu"
    raise BackendError(
        f"backend cuda: {'; '.join(missing)}. `gpu-pile doctor` says more; --backend cpu gives the same bits"
    )


def cuda_missing() -> list[str]:
    """What the cuda backend lacks here, as sentences; [] where it is ready."""
    missing = []
    if not cuda_devices():
        missing.append("the CUDA driver reports no device")
    for library in ("cupy", "cudf", "nvtx"):
        if importlib.util.find_spec(library) is None:
            missing.append(f"{library} is not installed (pip install 'gpu-pile[cu12]' or 'gpu-pile[cu13]')")
    return missing
