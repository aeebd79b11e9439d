"""One pool of device memory for CuPy, and for cuDF where it is installed.

cuDF takes its memory from RMM. Where RMM is installed, CuPy takes its memory from there too, so that what one of them
frees the other can use. Elsewhere CuPy has a pool of its own.
"""

from __future__ import annotations

import importlib.util
import threading

_LOCK = threading.Lock()
_prepared: set[int] = set()


def share_pool() -> None:
    """Let CuPy and cuDF share a pool on the current device, once per process; nothing without RMM.

    Memory that is in use stays valid, and what somebody has chosen stays: a pool of RMM (that of a Dask-CUDA worker
    with --rmm-pool-size, say), an allocator of CuPy.
    """
    if importlib.util.find_spec("rmm") is None:
        return
    import cupy
    import rmm

    with _LOCK:
        device = int(cupy.cuda.Device().id)
        if device in _prepared:
            return
        current = rmm.mr.get_current_device_resource()
        if type(current) is rmm.mr.CudaMemoryResource:  # no pool; the new one keeps it, which frees what it has given
            rmm.mr.set_current_device_resource(rmm.mr.PoolMemoryResource(current))
        if cupy.cuda.get_allocator() == cupy.get_default_memory_pool().malloc:
            from rmm.allocators.cupy import rmm_cupy_allocator

            cupy.cuda.set_allocator(rmm_cupy_allocator)
        _prepared.add(device)
