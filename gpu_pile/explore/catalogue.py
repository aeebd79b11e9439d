"""What gpu-pile list and gpu-pile doctor say."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpu_pile
from gpu_pile import signals as _signals
from gpu_pile.gpu import detect
from gpu_pile.ops import op
from gpu_pile.policy import pile as _subsets
from gpu_pile.policy import thresholds as _thresholds
from gpu_pile.run.stages.report import human_bytes

Listing = tuple[list[str], list[list[Any]]]


def signals() -> Listing:
    rows = [
        [s.name, family.name, s.unit, s.dtype, ", ".join(on), s.definition, s.source or family.source]
        for family, on in ((f, _signals.backends(f)) for f in _signals.families())
        for s in family.signals
    ]
    return ["signal", "family", "unit", "type", "backends", "definition", "source"], rows


def ops() -> Listing:
    hidden = {"reference", "cuda-emulated"}
    return ["operation", "version", "backends"], [
        [name, o.version, ", ".join(sorted(set(o.implementations) - hidden))] for name, o in op.load_all().items()
    ]


def backends() -> Listing:
    missing = detect.cuda_missing()
    return ["backend", "state"], [["cpu", "ready"], ["cuda", "; ".join(missing) if missing else "ready"]]


def thresholds() -> Listing:
    return ["thresholds", "rules", "file"], [[name, n, path] for name, n, path in _thresholds.named_sets()]


def subsets() -> Listing:
    return ["subset", "raw size, GiB", "weight, %", "epochs", "aliases"], [
        [s.name, s.raw_gib, s.weight, s.epochs, ", ".join(s.aliases)] for s in _subsets.SUBSETS
    ]


def doctor() -> Iterator[tuple[str, str]]:
    """("ok" or "no", sentence) for each thing that matters."""
    yield "ok", f"gpu_pile {gpu_pile.__version__}, Python {platform.python_version()}, {platform.machine()}"
    yield (
        "ok",
        f"{len(os.sched_getaffinity(0))} cores; {human_bytes(shutil.disk_usage(Path.cwd()).free)} free on this disk",
    )
    for name in ("numba", "numpy", "pyarrow", "zstandard"):
        yield "ok", f"{name} {importlib.metadata.version(name)}"
    devices = detect.cuda_devices()
    for d in devices:
        major, minor = d.compute_capability
        enough = (major, minor) >= (7, 5)
        yield (
            ("ok" if enough else "no"),
            f"{d.name}, compute capability {major}.{minor}, {human_bytes(d.memory_bytes)}"
            + ("" if enough else ": RAPIDS needs 7.5 or more"),
        )
    if not devices:
        yield (
            "no",
            "no CUDA device: the driver library is missing or reports none. The cpu backend gives the same results",
        )
    for library, use in (
        ("cupy", "kernels"),
        ("cudf", "tables on the GPU"),
        ("dask_cuda", "several GPUs"),
        ("nvtx", "profiler ranges"),
    ):
        if importlib.util.find_spec(library) is not None:
            yield "ok", f"{library} is installed ({use})"
        else:
            yield (
                "no",
                f"{library} is not installed ({use}): pip install 'gpu-pile[cu12]' (or [cu13]), or environment.yml",
            )
    without = [name for name, o in op.load_all().items() if "cuda" not in o.implementations]
    if without:
        yield "no", f"operations without a cuda implementation in this version: {', '.join(without)}"
    if importlib.util.find_spec("distributed") is None:
        yield "no", "distributed is not installed (workers in other processes): pip install 'gpu-pile[cluster]'"
    for library, use in (("ipywidgets", "sliders in notebooks"), ("pandas", "tables in notebooks")):
        if importlib.util.find_spec(library) is None:
            yield "no", f"{library} is not installed ({use}): pip install 'gpu-pile[notebook]'"
