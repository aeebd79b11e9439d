"""Ranges for Nsight Systems."""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import Any


def marked(name: str) -> contextlib.AbstractContextManager[Any]:
    """An NVTX range of the domain gpu_pile if this process uses a GPU and nvtx is installed, else nothing."""
    nvtx = _nvtx() if "cupy" in sys.modules else None
    return contextlib.nullcontext() if nvtx is None else nvtx.annotate(name, domain="gpu_pile")


@functools.cache
def _nvtx() -> Any:
    try:
        import nvtx
    except ImportError:
        return None
    return nvtx
