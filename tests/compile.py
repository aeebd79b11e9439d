"""Compile kernels/*.cu for many GPU architectures with NVRTC, the compiler CuPy uses; no GPU or driver is needed.

python -m tests.compile                # record what every kernel takes on Hopper in tests/data/kernels.json
python -m tests.compile text_counts    # those of one file, after a change
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from cuda.bindings import nvrtc

from gpu_pile.gpu import launch
from tests import sass

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
HOPPER = 90
RECORD = Path(__file__).parent / "data" / "kernels.json"


class CompilationError(AssertionError):
    """What the compiler says, with file and line."""


@dataclass(frozen=True)
class Resources:
    """What a kernel takes on an architecture; spills and stack in bytes per thread.

    loop: instructions in its main loop, counted on Hopper alone.
    """

    registers: int
    stack: int
    spills: int
    shared: int
    loop: int = 0


def compiler() -> str:
    """The version of NVRTC."""
    _, major, minor = nvrtc.nvrtcVersion()
    return f"{major}.{minor}"


def recorded() -> tuple[str, dict[str, dict[str, dict[str, int]]]]:
    """What RECORD holds: the compiler, and for each file and kernel the registers and instructions of the main loop."""
    record = json.loads(RECORD.read_text())
    return record["nvrtc"], record["files"]


def taken(file: str) -> dict[str, dict[str, int]]:
    """The same of a file as it is now; the larger figures where it has variants."""
    found: dict[str, dict[str, int]] = {}
    for defines in launch.variants(file):
        for name, r in compile_source(launch.source(file), HOPPER, defines).items():
            before = found.get(name, {})
            found[name] = {k: max(getattr(r, k), before.get(k, 0)) for k in ("loop", "registers")}
    return found


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
        cubin = b""
        if result == nvrtc.nvrtcResult.NVRTC_SUCCESS and architecture == HOPPER:
            cubin = b" " * _checked(nvrtc.nvrtcGetCUBINSize(program))
            _checked(nvrtc.nvrtcGetCUBIN(program, cubin))
    finally:
        nvrtc.nvrtcDestroyProgram(program)
    text = log.rstrip(b"\0 ").decode()
    if result != nvrtc.nvrtcResult.NVRTC_SUCCESS or re.search(r"\bwarning\b", text):
        raise CompilationError(f"sm_{architecture}: {text}")
    return _resources(text, {name: sass.main_loop(code) for name, code in sass.code_of(cubin).items()})


def _resources(log: str, loops: dict[str, int]) -> dict[str, Resources]:
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
    return {name: Resources(**values, loop=loops.get(name, 0)) for name, values in found.items()}


def main(files: list[str]) -> None:
    """Record what the kernels of these files take."""
    now = {**(recorded()[1] if files else {}), **{file: taken(file) for file in files or launch.kernel_files()}}
    RECORD.write_text(json.dumps({"nvrtc": compiler(), "files": now}, indent=1, sort_keys=True) + "\n")
    for file in files:
        print(file, json.dumps(now[file]))


if __name__ == "__main__":
    from gpu_pile.ops import op

    op.load_all()
    main(sys.argv[1:])
