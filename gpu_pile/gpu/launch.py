"""Launch kernels/<file>.cu through CuPy, with arguments checked against the kernel's own signature.

CuPy looks at neither the number nor the types of a kernel's arguments; a mistake there is silent corruption. So the
signature is read from the source: each pointer parameter wants an array of its type, a parameter without `const` one
that may be written, each number parameter an integer in its range.

A file is compiled once for a device, by NVRTC, before its first launch, and kept by CuPy under ~/.cupy. Its includes
are put in place here, so that what is compiled, and what the cache is keyed by, is one text.

Tests execute the same sources on the CPU: launched on NumPy arrays, a kernel goes to `on_cpu`, which they set.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from gpu_pile.errors import BackendError

OPTIONS = ("--std=c++17", "--fmad=false")
THREADS = 128
"""Threads of a block, as in WARP_KERNEL of common.cuh."""

Defines = tuple[tuple[str, str], ...]

on_cpu: Callable[[str, str, Defines, int, int, list[Any], int], None] | None = None
"""(file, kernel, defines, blocks, threads, arguments, bytes of shared memory); set by tests."""

_TYPES = {
    "u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "u64": np.uint64, "i32": np.int32, "i64": np.int64,
}  # fmt: skip


def kernels_folder() -> Path:
    """kernels/ of a checkout, or as installed."""
    installed = Path(str(files("gpu_pile") / "kernels"))
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "kernels"


def kernel_files() -> list[str]:
    """The names of all kernel files."""
    return sorted(p.stem for p in kernels_folder().glob("*.cu"))


_INCLUDE = re.compile(r'#include "(\w+)\.(cuh|columns)"')
_COLUMNS: dict[str, tuple[str, ...]] = {}


def declare_columns(op: str, columns: tuple[str, ...]) -> None:
    """Let kernels include "<op>.columns": the number of each column of this operation's result, by name."""
    _COLUMNS[op] = columns


def _column_numbers(op: str) -> str:
    """What #include "<op>.columns" stands for."""
    if not _COLUMNS.get(op):
        raise ValueError(f"kernels include {op}.columns, but no operation {op} with columns has been imported")
    return f"namespace C {{ enum : int {{ {', '.join(_COLUMNS[op])}, N_COLUMNS }}; }}"


def _operations_of(name: str) -> set[str]:
    """The operations whose columns a kernel file includes, itself or through other files."""
    found: set[str] = set()
    for line in (kernels_folder() / name).read_text(encoding="utf-8").splitlines():
        if match := _INCLUDE.fullmatch(line):
            found |= {match[1]} if match[2] == "columns" else _operations_of(f"{match[1]}.cuh")
    return found


@functools.cache
def source(file: str) -> str:
    """The text of kernels/<file>.cu, its includes in place; #line directives keep files and lines true."""
    included: set[str] = set()

    def expanded(name: str) -> str:
        path = kernels_folder() / name
        lines = [f'#line 1 "{path}"']
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = _INCLUDE.fullmatch(line)
            if match is None:
                lines.append("" if line == "#pragma once" else line)
            elif match[2] == "columns":
                lines.append(_column_numbers(match[1]))
            elif match[1] not in included:
                included.add(match[1])
                lines += [expanded(f"{match[1]}.cuh"), f'#line {number + 1} "{path}"']
            else:
                lines.append("")
        return "\n".join(lines)

    return expanded(f"{file}.cu") + "\n"


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel."""

    name: str
    type: str
    pointer: bool
    writes: bool


@functools.cache
def signatures(file: str) -> Mapping[str, tuple[Parameter, ...]]:
    """The kernels of a file and their parameters, as the source declares them."""
    text = re.sub(r"//[^\n]*", "", source(file))
    found = {}
    for name, inside in re.findall(r'(?:WARP_KERNEL|\nextern "C" __global__ void)\s+(\w+)\(([^)]*)\)\s*\{', text):
        parameters = []
        for declaration in inside.split(","):
            match = re.fullmatch(r"\s*(const )?(\w+)(\*?) ?(\w+)\s*", declaration)
            if match is None:
                raise ValueError(f"kernels/{file}.cu, {name}: cannot read the parameter {declaration.strip()!r}")
            constant, type_, star, parameter = match.groups()
            parameters.append(Parameter(parameter, type_, bool(star), bool(star) and not constant))
        found[name] = tuple(parameters)
    return found


def arguments(file: str, kernel: str, defines: Defines, given: tuple[Any, ...]) -> list[Any]:
    """The arguments in the form in which a kernel takes them.

    Raises:
        TypeError: a wrong number of arguments, or one of a wrong type, layout or place.
    """
    where = f"kernel {kernel} of kernels/{file}.cu"
    parameters = signatures(file).get(kernel)
    if parameters is None:
        raise TypeError(f"{where}: there is no such kernel; there are: {', '.join(signatures(file))}")
    if len(given) != len(parameters):
        names = ", ".join(p.name for p in parameters)
        raise TypeError(f"{where}: {len(given)} arguments given, it takes {len(parameters)}: {names}")
    types = {**_TYPES, **{name: _TYPES[type_] for name, type_ in defines if type_ in _TYPES}}
    out: list[Any] = []
    place: type | None = None
    for parameter, value in zip(parameters, given, strict=True):
        want = np.dtype(types[parameter.type])
        if not parameter.pointer:
            limits: Any = np.iinfo(want.type)
            if isinstance(value, bool | int | np.integer) and limits.min <= int(value) <= limits.max:
                out.append(want.type(int(value)))
                continue
            raise TypeError(f"{where}, {parameter.name}: expected an integer of {want}, got {value!r}")
        if not hasattr(value, "dtype") or not hasattr(value, "flags"):
            raise TypeError(f"{where}, {parameter.name}: expected an array of {want}, got {type(value).__name__}")
        if value.dtype != want:
            raise TypeError(f"{where}, {parameter.name}: expected an array of {want}, got {value.dtype}")
        if not value.flags.c_contiguous:
            raise TypeError(f"{where}, {parameter.name}: the array of shape {value.shape} is not contiguous")
        if place is not None and type(value) is not place:
            raise TypeError(f"{where}, {parameter.name}: {type(value)} among arguments of {place}")
        place = type(value)
        if isinstance(value, np.ndarray):
            if parameter.writes and not value.flags.writeable:
                raise TypeError(f"{where}, {parameter.name}: the array is read-only and the kernel writes to it")
        elif value.device.id != _current_device():
            raise TypeError(f"{where}, {parameter.name}: the array is on device {value.device.id}, not the current one")
        out.append(value)
    return out


def launch(
    file: str, kernel: str, blocks: int, *given: Any, threads: int = THREADS, shared: int = 0, **defines: Any
) -> None:
    """Start a kernel on the current stream; nothing is done for 0 blocks.

    Args:
        file, kernel: kernels/<file>.cu and the function in it.
        blocks, threads: of the grid and of a block.
        given: one argument for each of the kernel's parameters.
        shared: bytes of dynamic shared memory a block.
        defines: macros of the source, e.g. UNIT="u8".

    Raises:
        TypeError: the arguments do not fit the signature. BackendError: the source does not compile.
    """
    key = tuple(sorted(defines.items()))
    checked = arguments(file, kernel, key, given)
    if blocks == 0:
        return
    if any(isinstance(a, np.ndarray) for a in checked):
        if on_cpu is None:
            raise TypeError(f"kernel {kernel} of kernels/{file}.cu: the arrays are in host memory, not on a GPU")
        on_cpu(file, kernel, key, blocks, threads, checked, shared)
        return
    function = _Module.of(file, key, _current_device()).function(kernel)
    function((blocks,), (threads,), tuple(checked), shared_mem=shared)


def launch_warps(file: str, kernel: str, n_warps: int, *given: Any, shared: int = 0, **defines: Any) -> None:
    """Start a kernel with one warp per item, n_warps in all. shared: bytes of shared memory per warp."""
    warps = THREADS // 32
    launch(file, kernel, -(-n_warps // warps), *given, shared=shared * warps, **defines)


def launch_threads(file: str, kernel: str, n: int, *given: Any, **defines: Any) -> None:
    """Start a kernel with a thread for each of n items."""
    launch(file, kernel, -(-n // THREADS), *given, **defines)


def _current_device() -> int:
    import cupy

    return int(cupy.cuda.Device().id)


_modules: dict[tuple[str, Defines, int], _Module] = {}
_modules_lock = threading.Lock()


class _Module:
    """A kernel file on a device: compiled once, by the first of the threads that need it."""

    def __init__(self, file: str, defines: Defines) -> None:
        self.file, self.defines = file, defines
        self._lock = threading.Lock()
        self._functions: dict[str, Any] = {}

    @classmethod
    def of(cls, file: str, defines: Defines, device: int) -> _Module:
        with _modules_lock:
            return _modules.setdefault((file, defines, device), cls(file, defines))

    def function(self, kernel: str) -> Any:
        """The compiled kernel."""
        if not self._functions:
            with self._lock:
                self._functions = self._functions or self._compiled()
        return self._functions[kernel]

    def _compiled(self) -> dict[str, Any]:
        import cupy

        options = (*OPTIONS, *(f"-D{name}={value}" for name, value in self.defines))
        try:
            module = cupy.RawModule(code=source(self.file), options=options)
            return {kernel: module.get_function(kernel) for kernel in signatures(self.file)}
        except cupy.cuda.compiler.CompileException as error:
            raise BackendError(f"kernels/{self.file}.cu does not compile on this machine:\n{error}") from error


def variants(file: str) -> list[Defines]:
    """The macros with which a kernel file is compiled: one entry for each way."""
    return [(("UNIT", unit),) for unit in ("u64", "u8")] if re.search(r"\bUNIT\b", source(file)) else [()]


def preload() -> None:
    """Compile every kernel file for the current device, or load what was compiled before, several at a time.

    Raises:
        BackendError: a source does not compile.
    """
    import cupy

    device = _current_device()

    def load(file: str) -> None:
        with cupy.cuda.Device(device):
            for defines in variants(file):
                _Module.of(file, defines, device).function(next(iter(signatures(file))))

    files = [f for f in kernel_files() if _operations_of(f"{f}.cu") <= _COLUMNS.keys()]  # what can be launched
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(load, files))
