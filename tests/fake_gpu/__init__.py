"""A GPU that is not there, so that every line that talks to one runs in tests.

cupy/ and cupyx/ stand for CuPy: arrays that become NumPy arrays only where that is asked for, streams, errors, and
modules whose kernels tests/emulator executes. cupy.counts says how many device calls, waits and bytes a piece of code
takes. bin/ has nvidia-smi and compute-sanitizer; sitecustomize.py stands for the driver in other processes.

    fake_gpu.importable(monkeypatch)    # in this process
    fake_gpu.environment(folder)        # for another process
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gpu_pile.corpus import blocks
from gpu_pile.gpu import detect, launch, segments

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
MEMORY = 8 << 30
NAMES = ("cupy", "cupyx")


def importable(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Let this process have a GPU until the test ends; returns its cupy."""
    for name, module in _modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(detect, "cuda_devices", lambda: (detect.DeviceInfo("Fake GPU", (9, 0), MEMORY),))
    monkeypatch.setattr(launch, "_modules", {})
    monkeypatch.setattr(segments, "_CONSTANTS", {})
    monkeypatch.setattr(blocks, "_BUFFERS", blocks._Buffers(limit=4))  # a run would leave it with pinned memory
    return sys.modules["cupy"]


@functools.cache
def _modules() -> dict[str, ModuleType]:
    """cupy and cupyx, which are the fake ones while this imports them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.delitem(sys.modules, name, raising=False)
        patch.syspath_prepend(str(HERE))
        modules = {name: importlib.import_module(name) for name in NAMES}
        for name in NAMES:
            del sys.modules[name]
    return modules


def environment(folder: Path) -> dict[str, str]:
    """The environment of a process on a machine with this GPU; what CuPy would compile is noted in the folder."""
    paths = [str(HERE), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PATH": f"{HERE / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHON": sys.executable,
        "CUPY_CACHE_DIR": str(folder / "cupy"),
    }
