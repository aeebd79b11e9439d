"""@jit: compile a function with numba once per machine and processor, without the interpreter lock.

numba's own cache looks at the file of a function alone: when another file changes whose functions are compiled into
it, the stale code is used. Here the machine code is stored under a digest of what is compiled: the byte code of the
function and of everything it calls, and the values of the globals that are frozen into it. A comment, a docstring or
the path of the checkout changes nothing; a changed function recompiles itself and its callers, nothing else.
Processes that need the same function at the same time wait for the one that compiles it, and load what it stored.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import gc
import hashlib
import os
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import caching
from numba.core.dispatcher import Dispatcher
from numba.core.extending import _Intrinsic

from gpu_pile.text.callees import callee, without_literals

UNUSED_DAYS = 30
"""Machine code that no process has loaded for this long is removed when something new is stored."""

WAIT_SECONDS = 120.0
"""How long to wait for another process that compiles the same function, before compiling it here as well."""


def jit(function: Callable[..., Any]) -> Any:
    """Decorator: numba.njit without the interpreter lock, cached as the module describes."""
    return _cached(function, nogil=True)


def leaf(function: Callable[..., Any]) -> Any:
    """Decorator: jit for a function that allocates no array and returns none.

    It borrows its caller's arrays without counting references to them. With reference counts, a call with many arrays,
    and each access to an array in a named tuple, would cost atomic increments and decrements, which take longer than
    the work on a short line or document. All that a leaf calls is compiled in the same way, and inlining into it costs
    nothing. numba refuses to compile a leaf that allocates an array.
    """
    return _cached(function, nogil=True, _nrt=False)


def inlined(function: Callable[..., Any]) -> Any:
    """Decorator: leaf for a function whose machine code is always put into that of its caller."""
    return _cached(function, nogil=True, forceinline=True, _nrt=False)


def _cached(function: Callable[..., Any], **options: bool) -> Any:
    dispatcher: Any = numba.njit(**options)(function)  # type: ignore[call-overload]
    dispatcher._cache = _Cache(function, options)

    @functools.cache
    def called() -> Any:
        return callee(function, options)

    dispatcher.called_by_functions = called

    compile_ = dispatcher.compile

    def compile_without_collecting(signature: Any) -> Any:
        with _no_collection:
            return compile_(signature)

    dispatcher.compile = compile_without_collecting
    # numba asks for these where a compiled function calls this one
    dispatcher.get_call_template = lambda args, kws: called().get_call_template(*without_literals(args, kws))
    dispatcher.get_overload = lambda signature: called().get_overload(signature)
    return dispatcher


class _NoCollection:
    """While a thread is inside, Python looks for no cycles: numba makes many objects, and few of them die early."""

    def __init__(self) -> None:
        self._inside = 0
        self._was_enabled = False
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._was_enabled:
                gc.enable()


_no_collection = _NoCollection()


# compilation, as the user waits for it


class Compilation:
    """What this process and its workers have compiled so far: functions and wall seconds, callees in their caller's."""

    def __init__(self) -> None:
        self.functions = 0
        self.seconds = 0.0
        self.on_first: Callable[[], None] = lambda: None
        """Called once, when the first function is about to be compiled, here or in a worker."""
        self._announced = False
        self._lock = threading.Lock()
        self._thread = threading.local()

    def begin(self) -> None:
        self.announce()
        stack = self._thread.__dict__.setdefault("begun", [])
        stack.append(time.perf_counter())
        with self._lock:
            self.functions += 1

    def announce(self) -> None:
        with self._lock:
            first, self._announced = not self._announced, True
        if first:
            self.on_first()

    def add(self, functions: int, seconds: float) -> None:
        """Add what a worker has compiled."""
        with self._lock:
            self.functions += functions
            self.seconds += seconds

    def end(self) -> None:
        stack = self._thread.__dict__.get("begun", [])
        begun = stack.pop() if stack else time.perf_counter()
        if not stack:  # a callee's time is part of its caller's
            with self._lock:
                self.seconds += time.perf_counter() - begun


compilation = Compilation()


# the cache on disk


def cache_folder() -> Path:
    """Where machine code is stored: below NUMBA_CACHE_DIR, XDG_CACHE_HOME or ~/.cache."""
    given = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME")
    return Path(given or Path.home() / ".cache") / "gpu_pile"


class _Cache(caching.FunctionCache):
    """numba's cache of one function, in files named by content. The digest is computed at the first call."""

    def __init__(self, function: Callable[..., Any], options: dict[str, bool]) -> None:
        self._py_func = function
        self._options = options
        self._name = repr(function)
        self._lock: int | None = None
        self.enable()

    @functools.cached_property
    def _impl(self) -> Any:
        return _Storage(self._py_func)

    @functools.cached_property
    def _cache_path(self) -> str:
        return str(cache_folder())

    @functools.cached_property
    def _cache_file(self) -> Any:  # type: ignore[override]
        name = f"{self._py_func.__name__}-{digest(self._py_func, self._options)}"
        return caching.IndexDataCacheFile(self._cache_path, name, "")

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        stored = self._load(sig, target_context)
        if stored is None:
            self._acquire()
            stored = self._load(sig, target_context)
            if stored is None:
                compilation.begin()  # and save_overload() ends it
            else:
                self._release()
        return stored

    def _load(self, sig: Any, target_context: Any) -> Any:
        """Return what is stored for a signature, or None; what cannot be read is removed."""
        stored = None
        with contextlib.suppress(OSError):
            try:
                stored = super().load_overload(sig, target_context)
            except OSError:
                raise
            except Exception:  # any error of unpickling: cut short, or with types that this version does not have
                Path(self._cache_file._index_path).unlink(missing_ok=True)
            if stored is not None:
                os.utime(self._cache_file._index_path)
        return stored

    def save_overload(self, sig: Any, data: Any) -> None:
        compilation.end()
        for environment in data._find_referenced_environments():  # those of the callees
            data.library.codegen.set_env(environment.env_name, environment)
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
            _remove_unused(Path(self._cache_path))
            super().save_overload(sig, data)
        self._release()

    def _acquire(self) -> None:
        """Wait until no other process compiles this function. Without a lock, it may be compiled twice: no harm."""
        if self._lock is not None:  # an earlier compilation failed
            return
        with contextlib.suppress(OSError):
            self._impl.ensure_cache_path()
            index = Path(self._cache_path) / self._cache_file._index_name
            self._lock = os.open(index.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            deadline = time.monotonic() + WAIT_SECONDS
            while not _locked(self._lock) and time.monotonic() < deadline:
                time.sleep(0.02)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _locked(descriptor: int) -> bool:
    """Try to lock an open file for this process."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class _Storage(caching.CompileResultCacheImpl):
    """How numba turns machine code into bytes; _Cache decides where these go."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._lineno = function.__code__.co_firstlineno
        self._py_file = function.__code__.co_filename
        self._locator = self

    def ensure_cache_path(self) -> None:
        cache_folder().mkdir(parents=True, exist_ok=True)


@functools.cache
def _remove_unused(folder: Path) -> None:
    oldest = time.time() - UNUSED_DAYS * 24 * 3600
    for index in folder.glob("*.nbi"):
        with contextlib.suppress(OSError):
            if index.stat().st_mtime < oldest:
                for path in (*folder.glob(f"{index.stem}.*.nbc"), index.with_suffix(".lock"), index):
                    path.unlink(missing_ok=True)


# what is compiled


_VERSIONS = ("1", numba.__version__, llvmlite.__version__, np.__version__)
_BY_VERSION = ("numba", "llvmlite", "numpy", "math")
"""Modules of which the version says enough."""


def digest(function: Callable[..., Any], options: Mapping[str, bool] = MappingProxyType({})) -> str:
    """A digest of everything that goes into the machine code of a function but the types of its arguments."""
    content = hashlib.blake2b(repr((_VERSIONS, sorted(options.items()))).encode(), digest_size=16)
    for piece in _function(function, set()):
        content.update(piece)
    return content.hexdigest()


def _function(function: Any, seen: set[int]) -> Iterator[bytes]:
    """The byte code of a function, its constants, and what its global names stand for; each function once."""
    if id(function) in seen:
        return
    seen.add(id(function))
    code = function.__code__
    documented = function.__doc__ is not None and code.co_consts[:1] == (function.__doc__,)
    yield from _code(code, code.co_consts[1:] if documented else code.co_consts)
    yield repr(function.__defaults__).encode()
    for cell in function.__closure__ or ():
        yield from _value(cell.cell_contents, (), seen)
    names = _names(code)
    for name in names:
        if name in function.__globals__:
            yield name.encode()
            yield from _value(function.__globals__[name], names, seen)


def _names(code: types.CodeType) -> tuple[str, ...]:
    """The global names and attributes that a code object and those inside it use."""
    inside = [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return tuple(dict.fromkeys([*code.co_names, *(name for c in inside for name in _names(c))]))


def _code(code: types.CodeType, constants: tuple[Any, ...]) -> Iterator[bytes]:
    yield code.co_code
    yield repr((code.co_names, code.co_varnames, code.co_freevars)).encode()
    for constant in constants:
        if isinstance(constant, types.CodeType):
            yield from _code(constant, constant.co_consts)
        elif isinstance(constant, frozenset):
            yield repr(sorted(constant, key=repr)).encode()
        else:
            yield repr(constant).encode()


def _value(value: Any, names: tuple[str, ...], seen: set[int]) -> Iterator[bytes]:
    """What a global stands for. names: of a module, the attributes that may be used."""
    if isinstance(value, Dispatcher):
        yield repr(sorted(value.targetoptions.items(), key=lambda item: item[0])).encode()
        yield from _function(value.py_func, seen)
    elif isinstance(value, _Intrinsic):
        yield from _function(value._defn, seen)
    elif isinstance(value, types.FunctionType):
        yield from _function(value, seen)
    elif isinstance(value, np.ndarray):
        yield repr((value.dtype, value.shape)).encode()
        yield np.ascontiguousarray(value).tobytes()
    elif isinstance(value, types.ModuleType):
        yield value.__name__.encode()
        if value.__name__.split(".")[0] not in _BY_VERSION:
            for name in names:
                if name in vars(value):
                    yield name.encode()
                    yield from _value(vars(value)[name], names, seen)
    elif isinstance(value, tuple):
        for item in value:
            yield from _value(item, names, seen)
        yield repr((type(value).__qualname__, getattr(value, "_fields", len(value)))).encode()
    elif isinstance(value, type):
        yield repr((value.__qualname__, getattr(value, "_fields", None))).encode()
    elif isinstance(value, (int, float, str, bytes, bool, np.generic, type(None))):
        yield repr((type(value).__name__, value)).encode()
    else:  # LLVM and numba types say what they are; of other objects the type must do
        shown = str(value) if type(value).__module__.split(".")[0] in ("llvmlite", "numba") else ""
        yield f"{type(value).__qualname__} {shown}".encode()
