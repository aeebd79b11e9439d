"""Execute kernels/*.cu on the CPU: compiled with g++ against cuda.h, called on NumPy arrays.

    with emulator.installed(order=7):      # gpu_pile.gpu.launch.launch on NumPy arrays comes here
        op.run("cuda-emulated", text)

Each argument is copied to memory that ends at an inaccessible page, so that reading or writing past its end is an
error; within 16 bytes of its end, writes are found afterwards and reads are left to the address sanitizer. Compiled
modules are kept under ~/.cache/gpu_pile/emulator, named by their content.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import mmap
import os
import re
import shutil
import subprocess
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from gpu_pile import api
from gpu_pile.gpu import detect, device, segments
from gpu_pile.gpu import launch as kernel
from gpu_pile.ops import op
from gpu_pile.run import pipeline
from gpu_pile.text.jit import cache_folder

HEADER = Path(__file__).parent / "cuda.h"
FLAGS = ("-std=c++20", "-g", "-fPIC", "-shared", "-fwrapv", "-fno-strict-aliasing", "-ffp-contract=off", "-w")
ORDERS = (0, 1, 7)


class EmulationError(AssertionError):
    """A kernel did what a GPU does not define."""


class _Launch(ctypes.Structure):
    _fields_ = (
        ("blocks", ctypes.c_uint),
        ("threads", ctypes.c_uint),
        ("shared_bytes", ctypes.c_size_t),
        ("order", ctypes.c_uint),
        ("switch_at_atomics", ctypes.c_int),
    )


_ONE_AT_A_TIME = threading.Lock()
_libc = ctypes.CDLL(None, use_errno=True)


class _Guarded:
    """A copy of an array between inaccessible pages, its last byte within 16 bytes of the second."""

    def __init__(self, array: np.ndarray) -> None:
        n, page = array.nbytes, mmap.PAGESIZE
        body = max(1, -(-n // page)) * page
        self.array = array
        self._memory = mmap.mmap(-1, body + 2 * page)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        for at in (0, body + page):
            _libc.mprotect(ctypes.c_void_p(base + at), ctypes.c_size_t(page), 0)
        self.address = base + page + ((body - n) & ~15)
        self._slack = base + page + body - (self.address + n)
        ctypes.memmove(self.address, array.ctypes.data, n)
        ctypes.memset(self.address + n, 0xC9, self._slack)

    def copy_back(self, where: str) -> None:
        n = self.array.nbytes
        if ctypes.string_at(self.address + n, self._slack) != b"\xc9" * self._slack:
            raise EmulationError(f"{where} writes past the end of an argument of {n} bytes")
        if self.array.flags.writeable:
            ctypes.memmove(self.array.ctypes.data, self.address, n)


def translated(source: str, names: list[str]) -> str:
    """C++ of a CUDA source, with an entry for each kernel."""
    dynamic = r"\1* const \2 = (\1*)::emulator::block->shared;"
    source = re.sub(r"extern\s+__shared__\s+(\w+)\s+(\w+)\[\];", dynamic, source)
    entries = [
        f'extern "C" int emulate_{name}(const emulator::Launch* launch, void** arguments, char* message, size_t size)\n'
        f"{{ return emulator::start({name}, *launch, arguments, message, size); }}"
        for name in names
    ]
    return "\n".join([f'#include "{HEADER.name}"', source, *entries, ""])


@dataclass(frozen=True)
class Settings:
    """How kernels run: order of threads and blocks, switching at atomics, sanitizers (as -fsanitize names them)."""

    order: int = 0
    switch_at_atomics: bool = False
    sanitize: str = ""
    guard: bool = True
    optimize: str = "-O2"


@functools.cache
def _library(source: str, names: tuple[str, ...], defines: kernel.Defines, sanitize: str, optimize: str) -> ctypes.CDLL:
    text = translated(source, list(names))
    flags = [*FLAGS, *(f"-D{name}={value}" for name, value in defines)]
    # blocks run one after the other, and have the same shared memory
    flags.append(f"-DEMULATOR_IN_ORDER={int('__shared__' in source)}")
    flags += [f"-fsanitize={sanitize}"] if sanitize else []
    flags += ["-fno-sanitize-recover=all"] if sanitize and sanitize != "thread" else []
    flags.append(optimize)
    key = hashlib.sha256(repr((text, flags, HEADER.read_text())).encode()).hexdigest()[:24]
    folder = cache_folder() / "emulator"
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"{key}.so"
    with (folder / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # processes that need the same library wait for the one that builds it
        if not library.exists():
            _build(text, flags, library)
    return ctypes.CDLL(str(library))


def _build(text: str, flags: list[str], library: Path) -> None:
    """Compile C++ into a shared library, which appears under its name when it is finished."""
    if shutil.which("g++") is None:
        raise EmulationError("kernels are compiled for the CPU by g++, which is missing; install it (Debian: g++)")
    cpp, partial = library.with_suffix(f".{os.getpid()}.cpp"), library.with_suffix(f".{os.getpid()}.so")
    cpp.write_text(text)
    command = ["g++", *flags, f"-I{HEADER.parent}", str(cpp), "-o", str(partial)]
    done = subprocess.run(command, capture_output=True, text=True)
    cpp.unlink()
    if done.returncode:
        raise EmulationError(f"g++ does not compile it:\n{done.stderr}")
    partial.replace(library)


def execute(
    source: str,
    names: list[str],
    name: str,
    blocks: int,
    threads: int,
    arguments: list[Any],
    shared: int = 0,
    defines: kernel.Defines = (),
    settings: Settings = Settings(),
) -> None:
    """Run one kernel of a source; arrays are changed in place.

    Raises:
        EmulationError: what it does is undefined on a GPU; names the line.
    """
    if not 0 < threads <= 1024 or shared > 48 * 1024:
        raise EmulationError(f"{name}: a block has 1 to 1024 threads and 48 KiB of shared memory at most")
    with _ONE_AT_A_TIME:  # a library is built once, and has one block that runs
        library = _library(source, tuple(names), defines, settings.sanitize, settings.optimize)
    guarded: dict[tuple[int, int], _Guarded] = {}
    values = []
    for argument in arguments:
        if not isinstance(argument, np.ndarray):
            values.append(np.array([argument]))
            continue
        address = argument.ctypes.data
        if settings.guard and argument.nbytes:
            key = (address, argument.nbytes)
            if key not in guarded:
                guarded[key] = _Guarded(argument)
            address = guarded[key].address
        values.append(np.array([address], np.uint64))
    pointers = (ctypes.c_void_p * max(1, len(values)))(*(v.ctypes.data for v in values))
    message = ctypes.create_string_buffer(1024)
    launch = _Launch(blocks, threads, shared, settings.order, settings.switch_at_atomics)
    with _ONE_AT_A_TIME:
        failed = getattr(library, f"emulate_{name}")(ctypes.byref(launch), pointers, message, ctypes.c_size_t(1024))
    for g in guarded.values():
        g.copy_back(f"kernel {name}")
    if failed:
        raise EmulationError(f"kernel {name}: {message.value.decode()}")


@contextlib.contextmanager
def installed(change: Any = None, segment: int | None = None, **settings: Any) -> Iterator[None]:
    """gpu_pile.gpu.launch.launch executes here while the block runs.

    Args:
        change: source -> source, to plant a bug.
        segment: cut documents into segments of this size instead of the operations' own; a multiple of 8.
        settings: of Settings.
    """
    chosen = Settings(**settings)

    def on_cpu(
        file: str, name: str, defines: kernel.Defines, blocks: int, threads: int, arguments: list[Any], shared: int
    ) -> None:
        source = kernel.source(file)
        source = change(source) if change else source
        names = list(kernel.signatures(file))
        execute(source, names, name, blocks, threads, arguments, shared, defines, chosen)

    def cut(usual: Any) -> Any:
        def of(cls: type, xp: Any, what: Any, size: int = segments.SEGMENT_BYTES) -> Any:
            return usual.__func__(cls, xp, what, segment or size)

        return classmethod(of)

    with (
        mock.patch.object(kernel, "on_cpu", on_cpu),
        mock.patch.object(segments.Segments, "of", cut(segments.Segments.of)),
        mock.patch.object(segments.Segments, "of_one", cut(segments.Segments.of_one)),
        mock.patch.object(segments, "GATHER_BYTES", segment or segments.GATHER_BYTES),
        mock.patch.object(op, "np", Arrays(FRESH.get(chosen.order, 0xA5))),
    ):
        yield


SHARED = (
    "arange", "asarray", "ascontiguousarray", "concatenate", "cumsum", "diff", "flatnonzero", "full", "lexsort",
    "maximum", "minimum", "ones", "searchsorted", "stack", "where", "zeros",
)  # fmt: skip
"""What cuda functions may call of an array module: NumPy and CuPy have it, and mean the same."""

FRESH = {0: 0xA5, 1: 0xFF, 7: 0}
"""By order of threads: what is in memory that nothing was written to, as on a GPU where others used it before."""


class Arrays(types.ModuleType):
    """NumPy as cuda functions may use it: SHARED, stable sorts, and new memory that is full of `fresh`."""

    def __init__(self, fresh: int = 0) -> None:
        super().__init__("arrays")
        self.ndarray = np.ndarray
        self.cuda = mock.MagicMock()  # where constants ask for the device and the stream
        self.cuda.Device.return_value.id = -1
        self._fresh = fresh

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in SHARED:
            raise EmulationError(f"xp.{name} is not among the functions that NumPy and CuPy share (SHARED)")
        return getattr(np, name)

    def empty(self, shape: Any, dtype: Any) -> np.ndarray:
        out = np.empty(shape, dtype)
        out.reshape(-1).view(np.uint8)[:] = self._fresh
        return out

    def argsort(self, array: np.ndarray, kind: str) -> np.ndarray:
        if kind != "stable" or array.ndim != 1:
            raise EmulationError('CuPy sorts one row by radix, and its sorts are stable: say kind="stable"')
        return np.argsort(array, kind="stable")


class Emulated(device.Device):
    """In place of the GPU, for whole runs: copies in host memory; in its sessions operations are emulated."""

    backend = "cuda"
    _open = threading.local()

    @contextlib.contextmanager
    def session(self, after: tuple[Any, ...] = ()) -> Iterator[None]:
        before, self._open.yes = self.is_open(), True
        try:
            yield
        finally:
            self._open.yes = before

    @classmethod
    def is_open(cls) -> bool:
        """Whether this thread is in a session."""
        return getattr(cls._open, "yes", False)

    def upload(self, array: np.ndarray) -> np.ndarray:
        return np.array(array)


@contextlib.contextmanager
def everywhere(**settings: Any) -> Iterator[None]:
    """Backend cuda exists while the block runs: every operation that a stage or the API calls on it is emulated."""

    def device_for(name: str) -> device.Device:
        return Emulated() if name == "cuda" else device.Device()

    def call(operation: op.Op, *args: Any, **params: Any) -> Any:
        return operation.run("cuda-emulated" if Emulated.is_open() else "cpu", *args, **params)

    with (
        installed(**settings),
        mock.patch.object(op.Op, "__call__", call),
        mock.patch.object(device, "device_for", device_for),
        mock.patch.object(pipeline, "device_for", device_for),
        mock.patch.object(api, "device_for", device_for),
        mock.patch.object(detect, "cuda_missing", list),
    ):
        yield
