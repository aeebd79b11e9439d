"""As much of CuPy as gpu_pile uses, over NumPy and the emulator of tests/emulator.

As in CuPy, an array becomes a NumPy array only where that is asked for, and a NumPy array is never taken for one;
memory that was not written is not zero; results of reductions are arrays; every read by the host waits for the device.
Functions that are not in FUNCTIONS do not exist: those are what NumPy and CuPy both have with the same meaning.
"""

import contextlib
import hashlib
import os
import re
import threading
import time
import weakref
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np

FUNCTIONS = (
    "arange", "bincount", "concatenate", "cumsum", "diff", "exp", "flatnonzero", "isnan", "lexsort",
    "logical_and", "maximum", "minimum", "nonzero", "ones", "repeat", "searchsorted", "sort", "stack", "sum", "take",
    "unique", "where",
)  # fmt: skip
WAITING = {"flatnonzero", "nonzero", "unique", "repeat"}
"""The size of their result is not known before the device has worked."""

FRESH = 0xA5
"""Every byte of memory that was not written."""

counts = Counter()
"""calls: kernels and array functions; waits: of the host; up, down: bytes copied."""

uint8, int64, uint64 = np.uint8, np.int64, np.uint64
_lock = threading.Lock()


def count(**more):
    with _lock:
        counts.update(more)


class _Pinned:
    """Arrays of pinned memory, and which of their views are."""

    def __init__(self):
        self._arrays = weakref.WeakValueDictionary()

    def add(self, array):
        self._arrays[array.ctypes.data] = array

    def has(self, array):
        return any(np.shares_memory(array, a) for a in list(self._arrays.values()))


pinned = _Pinned()


def _host(value):
    """What a device function takes: device arrays and numbers, no NumPy arrays."""
    if isinstance(value, ndarray):
        return value.host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    if isinstance(value, list | tuple):
        return type(value)(_host(v) for v in value)
    return value


def _device(value):
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(np.asarray(value))
    return tuple(map(_device, value)) if isinstance(value, tuple) else value


def _called(function, *arguments, **options):
    count(calls=1)
    return _device(function(*_host(arguments), **{name: _host(value) for name, value in options.items()}))


class ndarray:
    """An array on the device."""

    __hash__ = None

    def __init__(self, host):
        self.host = host

    shape = property(lambda self: self.host.shape)
    dtype = property(lambda self: self.host.dtype)
    size = property(lambda self: self.host.size)
    ndim = property(lambda self: self.host.ndim)
    nbytes = property(lambda self: self.host.nbytes)
    device = property(lambda self: SimpleNamespace(id=0))
    T = property(lambda self: ndarray(self.host.T))

    @property
    def flags(self):
        return SimpleNamespace(c_contiguous=self.host.flags.c_contiguous)

    def __array__(self, *arguments, **options):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, function, method, *inputs, **options):
        if method != "__call__":
            return NotImplemented
        return _called(function, *inputs, **options)

    def __array_function__(self, function, types, arguments, options):
        return globals()[function.__name__](*arguments, **options)

    def __len__(self):
        return len(self.host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        keys = key if isinstance(key, tuple) else (key,)
        if any(isinstance(k, ndarray) and k.dtype == bool for k in keys):
            count(waits=1)
        if any(isinstance(k, ndarray) for k in keys):
            return _called(np.ndarray.__getitem__, self, key)
        return _device(self.host[key])

    def __setitem__(self, key, value):
        _called(np.ndarray.__setitem__, self, key, value)

    def get(self, stream=None, order="C", out=None, blocking=True):
        if self.size == 0 or (not blocking and out is not None and pinned.has(out)):
            count(down=self.nbytes)
        else:
            count(waits=1, down=self.nbytes)
        if out is None:
            return self.host.copy()
        out[...] = self.host
        return out

    def set(self, array, stream=None):
        count(up=array.nbytes)
        self.host[...] = array

    def item(self):
        count(waits=1)
        return self.host.item()

    def __int__(self):
        return int(self.item())

    def __bool__(self):
        return bool(self.item())

    __index__ = __int__

    def tolist(self):
        return self.get().tolist()

    def tobytes(self):
        return self.get().tobytes()

    def view(self, dtype):
        return ndarray(self.host.view(dtype))

    def reshape(self, *shape):
        return ndarray(self.host.reshape(*shape))

    def ravel(self):
        return ndarray(self.host.ravel())


def _method(name):
    return lambda self, *arguments, **options: _called(getattr(np.ndarray, name), self, *arguments, **options)


for _name in ("astype", "copy", "sum", "any", "all", "max", "min", "cumsum", "fill", "nonzero"):
    setattr(ndarray, _name, _method(_name))
_OPERATORS = (
    "add", "sub", "mul", "floordiv", "truediv", "mod", "and", "or", "xor", "lshift", "rshift", "radd", "rsub", "rmul",
    "rfloordiv", "rtruediv", "rand", "ror", "eq", "ne", "lt", "le", "gt", "ge", "invert", "neg",
)  # fmt: skip
for _name in _OPERATORS:
    setattr(ndarray, f"__{_name}__", _method(f"__{_name}__"))
for _name in ("add", "sub", "mul", "floordiv", "and", "or", "xor", "lshift", "rshift"):

    def _in_place(self, other, _name=_name):
        _called(getattr(np.ndarray, f"__i{_name}__"), self, other)
        return self

    setattr(ndarray, f"__i{_name}__", _in_place)


def _function(name):
    def function(*arguments, **options):
        if name in WAITING:
            count(waits=1)
        return _called(getattr(np, name), *arguments, **options)

    return function


for _name in FUNCTIONS:
    globals()[_name] = _function(_name)


def argsort(array, kind=None):
    assert kind in (None, "stable"), "CuPy has no other kind"
    return _called(np.argsort, array, kind="stable")


def empty(shape, dtype=float):
    array = np.empty(shape, dtype)
    if array.size:
        array.reshape(-1).view(np.uint8)[:] = FRESH
    return ndarray(array)


def zeros(shape, dtype=float):
    count(calls=1)
    return ndarray(np.zeros(shape, dtype))


def full(shape, value, dtype=None):
    count(calls=1)
    return ndarray(np.full(shape, value, dtype))


def asarray(array, dtype=None):
    if isinstance(array, ndarray):
        return array if dtype in (None, array.dtype) else array.astype(dtype)
    array = np.array(array, dtype)
    count(up=array.nbytes)
    return ndarray(array)


array = asarray


def ascontiguousarray(array):
    return array if array.flags.c_contiguous else _called(np.ascontiguousarray, array)


class CompileException(Exception):
    __module__ = "cupy.cuda.compiler"


class CUDARuntimeError(RuntimeError):
    __module__ = "cupy_backends.cuda.api.runtime"


class RawModule:
    """Kernels of a source, executed by the emulator; a file in CuPy's cache says that they were compiled."""

    def __init__(self, code, options=()):
        self.code = code
        self.names = re.findall(r'(?:\nWARP_KERNEL|\nextern "C" __global__ void)\s+(\w+)\(', code)
        self.defines = tuple(tuple(o[2:].split("=", 1)) for o in options if o.startswith("-D"))
        cache = os.environ.get("CUPY_CACHE_DIR")
        if cache:
            Path(cache).mkdir(parents=True, exist_ok=True)
            (Path(cache) / f"{hashlib.sha256(code.encode()).hexdigest()}.cubin").write_bytes(b"")

    def get_function(self, name):
        from tests import emulator

        def kernel(grid, block, arguments, shared_mem=0):
            count(calls=1)
            settings = emulator.Settings(guard=False)
            given = list(_host(arguments))
            emulator.execute(self.code, self.names, name, *grid, *block, given, shared_mem, self.defines, settings)

        return kernel


class Stream:
    _current = threading.local()

    def __init__(self, null=False, non_blocking=False, ptds=False):
        self._before = []

    def __enter__(self):
        self._before.append(get_current_stream())
        Stream._current.stream = self
        return self

    def __exit__(self, *error):
        Stream._current.stream = self._before.pop()

    def synchronize(self):
        count(waits=1)

    def wait_event(self, event):
        assert event.recorded, "an event that was never recorded"


Stream.null = Stream()


def get_current_stream():
    return getattr(Stream._current, "stream", Stream.null)


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.recorded = 0.0

    def record(self, stream=None):
        self.recorded = time.perf_counter()

    def synchronize(self):
        count(waits=1)


class Device:
    def __init__(self, number=0):
        self.id = number

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


class _Pool:
    def malloc(self, size):
        raise AssertionError("the fake has no pool of its own")


_pool = _Pool()


def get_default_memory_pool():
    return _pool


cuda = SimpleNamespace(
    Device=Device,
    Event=Event,
    Stream=Stream,
    compiler=SimpleNamespace(CompileException=CompileException),
    get_allocator=lambda: _pool.malloc,
    get_current_stream=get_current_stream,
    get_elapsed_time=lambda begin, end: max(1e-3, (end.recorded - begin.recorded) * 1e3),
    runtime=SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        deviceGetAttribute=lambda attribute, device: {36: 2_619_000, 37: 6144}[attribute],
        getDeviceProperties=lambda device: {"name": b"Fake GPU"},
        memGetInfo=lambda: (8 << 30, 8 << 30),
    ),
    set_allocator=lambda allocator: None,
    using_allocator=lambda allocator=None: contextlib.nullcontext(),
)
