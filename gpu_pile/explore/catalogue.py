"""The tables of gpu-pile list and the findings of gpu-pile doctor."""

from __future__ import annotations

import difflib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gpu_pile
from gpu_pile import signals as _signals
from gpu_pile.errors import UsageError
from gpu_pile.gpu import detect
from gpu_pile.ops import op
from gpu_pile.policy import pile as _subsets
from gpu_pile.policy import thresholds as _thresholds
from gpu_pile.present.tables import human_bytes

Listing = tuple[list[str], list[list[Any]]]
"""(column names, rows)"""

COMPUTE_CAPABILITY_MIN = (7, 5)
"""RAPIDS needs this."""

GPU_LIBRARIES = {"cupy": "kernels", "cudf": "tables on the GPU", "dask_cuda": "several GPUs", "nvtx": "profiler ranges"}
"""What each is used for."""

OPTIONAL_LIBRARIES = {
    "distributed": ("workers in other processes", "cluster"),
    "duckdb": ("gpu-pile sql", "sql"),
    "ipywidgets": ("sliders in notebooks", "notebook"),
    "pandas": ("tables in notebooks", "notebook"),
}
"""What each is used for, and the extra of gpu-pile that installs it."""


class Finding(NamedTuple):
    """Whether something is there and good enough, and a sentence about it."""

    ok: bool
    sentence: str


def signals() -> Listing:
    """One row per signal."""
    rows = [
        [s.name, family.name, s.unit, s.dtype, ", ".join(on), s.definition, s.source or family.source]
        for family, on in ((f, _signals.backends(f)) for f in _signals.families())
        for s in family.signals
    ]
    return ["signal", "family", "unit", "type", "backends", "definition", "source"], rows


def ops() -> Listing:
    """One row per operation."""
    hidden = {"reference", "cuda-emulated"}
    return ["operation", "version", "backends"], [
        [name, o.version, ", ".join(sorted(set(o.implementations) - hidden))] for name, o in op.load_all().items()
    ]


def backends() -> Listing:
    """One row per backend, with what it lacks on this machine."""
    missing = detect.cuda_missing()
    return ["backend", "state"], [["cpu", "ready"], ["cuda", "; ".join(missing) if missing else "ready"]]


def thresholds() -> Listing:
    """One row per named set."""
    return ["thresholds", "rules", "what they are", "file"], [
        [name, n, _thresholds.named_set(name).description, path] for name, n, path in _thresholds.named_sets()
    ]


def rules(names: Sequence[str]) -> Listing:
    """One row per rule of some named sets.

    Raises:
        ConfigError: there is no set of one of these names.
    """
    return ["thresholds", "signal", "min", "max"], [
        [name, signal, _bound(rule.min), _bound(rule.max)]
        for name in names
        for signal, rule in _thresholds.named_set(name).rules.items()
    ]


def _bound(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def named(listing: Listing, names: Sequence[str], by: Sequence[str]) -> Listing:
    """The rows that have one of the names in one of the columns `by`; an error lists the values of the last of them.

    Raises:
        UsageError: no row has one of these names.
    """
    columns, rows = listing
    at = [columns.index(column) for column in by]
    known = {row[i] for row in rows for i in at}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            values = sorted({row[at[-1]] for row in rows})
            hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(values)}"
            raise UsageError(f"there is nothing named {name!r} in this list; {hint}")
    return columns, [row for row in rows if any(row[i] in names for i in at)]


def subsets() -> Listing:
    """One row per subset of The Pile."""
    return ["subset", "raw size, GiB", "weight, %", "epochs", "aliases"], [
        [s.name, s.raw_gib, s.weight, s.epochs, ", ".join(s.aliases)] for s in _subsets.SUBSETS
    ]


def doctor() -> Iterator[Finding]:
    """Everything on this machine that gpu-pile needs or can use."""
    yield Finding(True, f"gpu_pile {gpu_pile.__version__}, Python {platform.python_version()}, {platform.machine()}")
    free = human_bytes(shutil.disk_usage(Path.cwd()).free)
    yield Finding(True, f"{len(os.sched_getaffinity(0))} cores; {free} free on this disk")
    for name in ("numba", "numpy", "pyarrow", "zstandard"):
        yield Finding(True, f"{name} {importlib.metadata.version(name)}")
    yield from _devices()
    for library, use in GPU_LIBRARIES.items():
        if importlib.util.find_spec(library) is not None:
            yield Finding(True, f"{library} is installed ({use})")
        else:
            yield Finding(False, _missing(library, use, "'gpu-pile[cu12]' or 'gpu-pile[cu13]', or use environment.yml"))
    without = [name for name, o in op.load_all().items() if "cuda" not in o.implementations]
    if without:
        yield Finding(False, f"operations without a cuda implementation in this version: {', '.join(without)}")
    for library, (use, extra) in OPTIONAL_LIBRARIES.items():
        if importlib.util.find_spec(library) is None:
            yield Finding(False, _missing(library, use, f"'gpu-pile[{extra}]'"))


def _devices() -> Iterator[Finding]:
    devices = detect.cuda_devices()
    for device in devices:
        enough = device.compute_capability >= COMPUTE_CAPABILITY_MIN
        version = ".".join(map(str, device.compute_capability))
        sentence = f"{device.name}, compute capability {version}, {human_bytes(device.memory_bytes)}"
        needed = ".".join(map(str, COMPUTE_CAPABILITY_MIN))
        yield Finding(enough, sentence if enough else f"{sentence}: RAPIDS needs {needed} or more")
    if not devices:
        yield Finding(
            False,
            "no CUDA device: the driver library is missing or reports none. The cpu backend gives the same results",
        )


def _missing(library: str, use: str, install: str) -> str:
    return f"{library} is not installed ({use}): pip install {install}"
