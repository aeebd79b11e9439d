"""Compile kernels/*.cu for many GPU architectures with NVRTC, the compiler CuPy uses; no GPU or driver is needed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cuda.bindings import nvrtc

from gpu_pile.gpu import launch

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)


class CompilationError(AssertionError):
    """What the compiler says, with file and line."""


@dataclass(frozen=True)
class Resources:
    """What a kernel takes on an architecture; spills and stack in bytes per thread."""

    registers: int
    stack: int
    spills: int
    shared: int


def _checked(result: tuple) -> object:
    if result[0] != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise CompilationError(str(result[0]))
    return result[1] if len(result) > 1 else None


def compile_source(source: str, architecture: int, defines: launch.Defines = ()) -> dict[str, Resources]:
    """Compile with the launcher's options. Returns the resources of each kernel.

    Raises:
        CompilationError: it does not compile, or with warnings.
    """
    options = [
        *launch.OPTIONS,
        f"--gpu-architecture=sm_{architecture}",
        "--ptxas-options=-v",
        *(f"-D{name}={value}" for name, value in defines),
    ]
    program = _checked(nvrtc.nvrtcCreateProgram(source.encode(), b"kernel.cu", 0, [], []))
    try:
        (result,) = nvrtc.nvrtcCompileProgram(program, len(options), [o.encode() for o in options])
        log = b" " * _checked(nvrtc.nvrtcGetProgramLogSize(program))
        _checked(nvrtc.nvrtcGetProgramLog(program, log))
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    text = log.rstrip(b"\0 ").decode()
    if result != nvrtc.nvrtcResult.NVRTC_SUCCESS or re.search(r"\bwarning\b", text):
        raise CompilationError(f"sm_{architecture}: {text}")
    return _resources(text)


def _resources(log: str) -> dict[str, Resources]:
    """From the report of ptxas."""
    found: dict[str, dict[str, int]] = {}
    now: dict[str, int] = {}
    for line in log.splitlines():
        if m := re.search(r"Compiling entry function '(\w+)'", line):
            now = found.setdefault(m[1], {})
        elif m := re.search(r"Function properties for (\w+)", line):
            now = found.get(m[1], {})
        elif m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            now["stack"], now["spills"] = int(m[1]), int(m[2]) + int(m[3])
        elif m := re.search(r"Used (\d+) registers", line):
            now["registers"] = int(m[1])
            shared = re.search(r"(\d+) bytes smem", line)
            now["shared"] = int(shared[1]) if shared else 0
    return {name: Resources(**values) for name, values in found.items()}
