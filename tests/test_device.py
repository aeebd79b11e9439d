"""Places and cuDF's columns, as far as they can be exercised without a device."""

import contextlib
import ctypes
import gc
import sys
import threading
import time
import weakref
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from gpu_pile.errors import BackendError, DataError
from gpu_pile.gpu import cudf, detect, device, launch, memory
from gpu_pile.ops import op
from gpu_pile.run import in_memory
from gpu_pile.run.stages.dedupe.verify_pairs import ShardReReader
from gpu_pile.text.column import TextColumn
from tests import emulator
from tests.conftest import results, run, settings, write_shard
from tests.test_run import words


@pytest.fixture
def shards(tmp_path):
    documents = [(words(60, i % 9) + f" {i % 5}", "Pile-CC") for i in range(60)]
    write_shard(tmp_path / "in" / "a.jsonl.zst", [*documents[:40], b"not JSON", *documents[40:]])
    return tmp_path / "in"


@pytest.fixture
def expected(shards, tmp_path):
    run(settings([shards], tmp_path / "cpu"))
    return results(tmp_path / "cpu")


def limited(monkeypatch, most):
    """No text of more than `most` bytes fits the device."""

    def upload(self, array):
        if array.dtype == np.uint8 and array.nbytes > most:
            raise MemoryError(f"{array.nbytes} bytes")
        return np.array(array)

    monkeypatch.setattr(emulator.Emulated, "upload", upload)


def test_a_batch_that_does_not_fit_is_measured_in_halves(shards, expected, tmp_path, monkeypatch):
    limited(monkeypatch, 5000)
    with emulator.everywhere():
        run(settings([shards], tmp_path / "run", backend="cuda"))
    assert results(tmp_path / "run") == expected


def test_a_line_that_does_not_fit_is_an_error_that_names_it(shards, tmp_path, monkeypatch):
    limited(monkeypatch, 200)
    with emulator.everywhere(), pytest.raises(DataError, match=r"a\.jsonl\.zst, line 1: its \d+ bytes do not fit"):
        run(settings([shards], tmp_path / "run", backend="cuda"))


def test_after_a_device_error_the_same_command_goes_on(shards, expected, tmp_path, monkeypatch):
    write_shard(shards / "b.jsonl.zst", [("another shard", "Pile-CC")])
    run(settings([shards], tmp_path / "cpu2"))
    uploads = []

    def upload(self, array):
        uploads.append(array.nbytes)
        if len(uploads) == 2:
            with device.device_errors():
                raise RuntimeError("CUDA error at: x.cu:1: cudaErrorIllegalAddress")
        return np.array(array)

    configuration = settings([shards], tmp_path / "run", backend="cuda", workers=1)
    with emulator.everywhere():
        with monkeypatch.context() as patch:
            patch.setattr(emulator.Emulated, "upload", upload)
            with pytest.raises(BackendError, match=r"cudaErrorIllegalAddress.*run the same command again"):
                run(configuration)
        assert len(list((tmp_path / "run" / "measured").glob("*.parquet"))) == 1
        run(configuration)
    assert results(tmp_path / "run") == results(tmp_path / "cpu2")


class Stream:
    """A stream that records what it is asked to do."""

    current = threading.local()

    def __init__(self, non_blocking=False):
        self.asked = []

    def __enter__(self):
        self.before, Stream.current.stream = current_stream(), self
        return self

    def __exit__(self, *error):
        Stream.current.stream = self.before

    def synchronize(self):
        self.asked.append("synchronize")

    def wait_event(self, event):
        self.asked.append(event)


Stream.null = Stream()


def current_stream():
    return getattr(Stream.current, "stream", Stream.null)


class Event:
    def __init__(self, disable_timing):
        self.stream = None

    def record(self, stream):
        self.stream = stream


class DeviceArray(np.ndarray):
    def get(self):
        return np.asarray(self)

    def set(self, array):
        uploaded.append(weakref.ref(array))


uploaded = []
PRELOAD = launch.preload


class Failure(RuntimeError):
    """As CuPy's error of the CUDA runtime."""

    __module__ = "cupy_backends.cuda.api.runtime"


@pytest.fixture
def cupy(monkeypatch):
    """As much of CuPy as a CudaDevice needs."""
    module = ModuleType("cupy")
    module.empty = lambda shape, dtype: np.empty(shape, dtype).view(DeviceArray)
    module.cuda = SimpleNamespace(
        runtime=SimpleNamespace(memGetInfo=lambda: (8 << 30, 16 << 30)),
        Stream=Stream,
        Event=Event,
        get_current_stream=current_stream,
        Device=lambda *number: SimpleNamespace(id=0),
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setattr(launch, "preload", lambda: None)
    uploaded.clear()
    return module


@pytest.fixture
def gpu(cupy):
    return device.CudaDevice()


@pytest.mark.parametrize(
    ("error", "expected", "says"),
    [
        (Failure("cudaErrorMemoryAllocation: out of memory"), MemoryError, "out of memory"),
        (Failure("CUDA_ERROR_OUT_OF_MEMORY: out of memory"), MemoryError, "out of memory"),
        (RuntimeError("merge_sort: failed: cudaErrorMemoryAllocation: out of memory"), MemoryError, "merge_sort"),
        (MemoryError("std::bad_alloc: out_of_memory: RMM failure at: pool"), MemoryError, "RMM failure"),
        (Failure("cudaErrorIllegalAddress"), BackendError, "the GPU failed: cudaErrorIllegalAddress.*same command"),
        (RuntimeError("parallel_for failed: cudaErrorLaunchFailure"), BackendError, "the GPU failed: parallel_for"),
        (RuntimeError("CUDA error at: x.hpp:12: cudaErrorUnknown"), BackendError, "the GPU failed: CUDA error at"),
        (RuntimeError("set changed size during iteration"), RuntimeError, "set changed"),
        (ValueError("other"), ValueError, "other"),
    ],
)
def test_errors_of_the_device_are_told_apart(gpu, error, expected, says):
    with pytest.raises(expected, match=says) as raised, gpu.session():
        raise error
    assert type(raised.value) is expected
    with gpu.session():  # a session that follows is not affected
        pass


def test_a_device_that_cannot_be_used_is_an_error_that_says_so(cupy):
    def fail():
        raise Failure("cudaErrorInsufficientDriver: CUDA driver version is insufficient")

    cupy.cuda.runtime.memGetInfo = fail
    with pytest.raises(BackendError, match="driver version is insufficient"):
        device.CudaDevice()


@pytest.mark.slow
def test_uploaded_arrays_are_kept_until_the_session_has_waited(gpu):
    with contextlib.suppress(ValueError), gpu.session():
        gpu.upload(np.arange(10)[::2])  # a contiguous copy, which nobody else holds
        gc.collect()
        assert uploaded[0]() is not None
        raise ValueError
    gc.collect()
    assert uploaded[0]() is None


def test_sessions_of_other_threads_come_after_what_was_asked_before(gpu, monkeypatch):
    """gp.measure of text on the device: its pieces are cut in the sessions, which wait for the caller's streams."""
    monkeypatch.setattr(gpu, "batch_bytes", 4)
    text = TextColumn.from_documents(["abc", "def", "ghi"])
    on_device = TextColumn(text.data.view(DeviceArray), text.offsets.view(DeviceArray))
    seen = []

    def function(piece):
        stream = current_stream()
        seen.append((stream, [event.stream for event in stream.asked if isinstance(event, Event)]))
        return piece.data.tobytes()

    monkeypatch.setattr(TextColumn, "slice", lambda text, *piece: seen.append(current_stream()) or text)
    with Stream() as mine:
        in_memory.over_pieces(on_device, 1, gpu, function)
    streams, pieces = seen[::2], seen[1::2]
    assert len(pieces) == 3
    assert all(stream is not mine and stream is not Stream.null for stream in streams)
    assert all(waited[-2:] == [Stream.null, mine] for _, waited in pieces)


def test_what_did_not_fit_is_freed_before_a_smaller_part_is_tried(tmp_path, monkeypatch):
    """The texts that dedupe reads again, half of them each time that the device has too little memory."""
    write_shard(tmp_path / "in" / "a.jsonl.zst", [(words(60, i % 9) + f" {i % 5}", "Pile-CC") for i in range(60)])
    run(settings([tmp_path / "in"], tmp_path / "cpu"))
    arrays, tries, right = [], [], ShardReReader.keep_shingles

    def upload(self, array):
        arrays.append(weakref.ref(out := np.array(array)))
        return out

    def keep_shingles(self, text, chosen, first):
        assert text.data is not None
        tries.append(len(text))
        if len(text) > 20:
            raise MemoryError
        alive = [a for a in arrays[:-1] if a() is not None]
        assert not alive
        right(self, text, chosen, first)

    monkeypatch.setattr(emulator.Emulated, "upload", upload)
    monkeypatch.setattr(ShardReReader, "keep_shingles", keep_shingles)
    with emulator.everywhere():
        run(settings([tmp_path / "in"], tmp_path / "run", backend="cuda", workers=1))
    assert max(tries) > 20
    assert results(tmp_path / "run") == results(tmp_path / "cpu")


# memory


class Pools:
    """As much of RMM as sharing a pool needs."""

    class CudaMemoryResource:
        pass

    class PoolMemoryResource:
        def __init__(self, upstream):
            self.upstream = upstream

    def __init__(self, current):
        self.current = current
        self.mr = SimpleNamespace(
            CudaMemoryResource=self.CudaMemoryResource,
            PoolMemoryResource=self.PoolMemoryResource,
            get_current_device_resource=lambda: self.current,
            set_current_device_resource=lambda new: setattr(self, "current", new),
        )


@pytest.fixture
def allocators(cupy, monkeypatch):
    """CuPy's allocator, which can be set; RMM is installed."""
    own = SimpleNamespace(malloc="CuPy's own")
    state = SimpleNamespace(now=own.malloc)
    cupy.get_default_memory_pool = lambda: own
    cupy.cuda.get_allocator = lambda: state.now
    cupy.cuda.set_allocator = lambda new: setattr(state, "now", new)
    monkeypatch.setattr(memory.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(memory, "_prepared", set())
    monkeypatch.setitem(sys.modules, "rmm.allocators", ModuleType("rmm.allocators"))
    monkeypatch.setitem(sys.modules, "rmm.allocators.cupy", SimpleNamespace(rmm_cupy_allocator="RMM's"))
    return state


def test_cupy_and_cudf_share_one_pool(allocators, monkeypatch):
    plain = Pools.CudaMemoryResource()
    monkeypatch.setitem(sys.modules, "rmm", pools := Pools(plain))
    memory.share_pool()
    pool = pools.current
    assert type(pool) is Pools.PoolMemoryResource
    assert pool.upstream is plain  # memory that was given before is freed there
    assert allocators.now == "RMM's"
    memory.share_pool()
    assert pools.current is pool


def test_a_pool_and_an_allocator_that_somebody_has_chosen_stay(allocators, monkeypatch):
    theirs = Pools.PoolMemoryResource(None)
    monkeypatch.setitem(sys.modules, "rmm", pools := Pools(theirs))
    allocators.now = "managed"
    memory.share_pool()
    assert pools.current is theirs
    assert allocators.now == "managed"


def test_without_rmm_cupy_has_its_own_pool(allocators, monkeypatch):
    monkeypatch.setattr(memory.importlib.util, "find_spec", lambda name: None)
    memory.share_pool()
    assert allocators.now == "CuPy's own"


# modules


@pytest.fixture
def modules(cupy, monkeypatch):
    """The modules that are compiled; each has a barrier's worth of time for others to ask for it too."""
    made = []

    class RawModule:
        def __init__(self, code, options):
            made.append((code, options))
            time.sleep(0.05)
            self.options = options

        def get_function(self, name):
            return lambda *arguments, **more: ran.append(name)

    class CompileException(Exception):
        pass

    class Device(SimpleNamespace):
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

    ran = []
    cupy.RawModule = RawModule
    cupy.cuda.Device = lambda number=0: Device(id=number)
    cupy.cuda.compiler = SimpleNamespace(CompileException=CompileException)
    monkeypatch.setattr(launch, "_modules", {})
    return SimpleNamespace(made=made, ran=ran, CompileException=CompileException)


def test_threads_that_need_a_kernel_at_the_same_time_compile_its_file_once(modules, monkeypatch):
    monkeypatch.setattr(launch, "arguments", lambda file, kernel, defines, given: [0])
    kernels = ["doc_hash_segments", "doc_hash_finish"] * 8
    threads = [threading.Thread(target=launch.launch, args=("doc_hash", kernel, 1)) for kernel in kernels]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(modules.made) == 1
    assert sorted(modules.ran) == sorted(kernels)


def test_all_kernels_are_compiled_beforehand(modules):
    op.load_all()
    PRELOAD()
    assert sorted(modules.made) == sorted(
        (launch.source(file), (*launch.OPTIONS, *(f"-D{name}={value}" for name, value in defines)))
        for file in launch.kernel_files()
        for defines in launch.variants(file)
    )
    before = len(modules.made)
    PRELOAD()
    assert len(modules.made) == before


def test_a_kernel_that_does_not_compile_is_named(modules, cupy):
    def fail(code, options):
        raise modules.CompileException("kernel.cu(3): error")

    cupy.RawModule = fail
    with pytest.raises(BackendError, match=r"kernels/\w+\.cu does not compile on this machine:\n.*error"):
        PRELOAD()


# what is missing


def test_batches_are_chosen_from_free_memory(gpu):
    assert gpu.batch_bytes == 8 << 20


def test_what_is_missing_is_said():
    if not detect.cuda_devices():
        with pytest.raises(BackendError, match=r"reports no device.*gpu-pile doctor.*--backend cpu"):
            detect.choose("cuda")


def test_cudf_and_nvtx_may_be_missing(monkeypatch):
    monkeypatch.setattr(detect, "cuda_devices", lambda: (detect.DeviceInfo("H200", (9, 0), 1 << 37),))
    monkeypatch.setattr(detect.importlib.util, "find_spec", lambda name: name if name == "cupy" else None)
    assert detect.cuda_missing() == []
    assert detect.choose("auto") == detect.choose("cuda") == "cuda"
    monkeypatch.setattr(detect.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match="cupy is not installed"):
        detect.choose("cuda")


# cuDF


class Column:
    """A pylibcudf column of strings over host memory."""

    def __init__(self, documents, width, start=0, stop=None, nulls=0, kind="STRING"):
        text = TextColumn.from_documents(documents)
        self.bytes, self.offsets = text.data.copy(), text.offsets.astype(width)
        self.first, self.n = start, len(text) - start if stop is None else stop - start
        self.nulls, self.kind = nulls, kind

    def type(self):
        return SimpleNamespace(id=lambda: self.kind)

    def null_count(self):
        return self.nulls

    def size(self):
        return self.n

    def offset(self):
        return self.first

    def data(self):
        return SimpleNamespace(ptr=self.bytes.ctypes.data if self.bytes.size else 0)

    def child(self, i):
        assert i == 0
        kind = "INT64" if self.offsets.dtype == np.int64 else "INT32"
        return SimpleNamespace(
            data=lambda: SimpleNamespace(ptr=self.offsets.ctypes.data), type=lambda: SimpleNamespace(id=lambda: kind)
        )


class Array(np.ndarray):
    def get(self):
        return np.asarray(self)


@pytest.fixture
def fakes(monkeypatch):
    """CuPy's view of foreign memory, made of host memory."""

    def view(shape, dtype, pointer):
        address, n_bytes = pointer
        raw = (ctypes.c_uint8 * n_bytes).from_address(address) if n_bytes else b""
        return np.frombuffer(raw, dtype)[: shape[0]].view(Array)

    cupy = ModuleType("cupy")
    cupy.ndarray, cupy.empty, cupy.zeros = view, np.empty, np.zeros

    def unowned(address, n_bytes, owner):
        if not address:
            raise RuntimeError("UnownedMemory requires explicit device ID for a null pointer.")
        return address, n_bytes

    cupy.cuda = SimpleNamespace(
        UnownedMemory=unowned,
        MemoryPointer=lambda memory, at: memory,
        Stream=SimpleNamespace(null=contextlib.nullcontext()),
    )
    plc = ModuleType("pylibcudf")
    plc.TypeId = SimpleNamespace(STRING="STRING", INT32="INT32", INT64="INT64")
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "pylibcudf", plc)


def series(column):
    return SimpleNamespace(to_pylibcudf=lambda: (column, {}), dtype="object")


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("width", [np.int32, np.int64])
@pytest.mark.parametrize(("start", "stop"), [(0, None), (1, None), (1, 3), (2, 2), (0, 1)])
def test_a_cudf_column_becomes_a_text_column(width, start, stop):
    documents = ["é", "", "two words", "last"]
    column = Column(documents, width, start, stop)
    text = cudf.text_column(series(column))
    assert [d.decode() for d in text.documents()] == documents[start:stop]
    if len(text) and start == 0:
        assert text.data.ctypes.data == column.bytes.ctypes.data  # no copy


@pytest.mark.usefixtures("fakes")
def test_a_cudf_column_of_empty_texts_has_no_bytes():
    text = cudf.text_column(series(Column(["", "", ""], np.int32)))
    assert text.documents() == [b"", b"", b""]


@pytest.mark.usefixtures("fakes")
def test_a_cudf_column_of_nulls_or_numbers_is_refused():
    with pytest.raises(ValueError, match="2 nulls"):
        cudf.text_column(series(Column(["a"], np.int32, nulls=2)))
    with pytest.raises(TypeError, match="of strings"):
        cudf.text_column(series(Column(["a"], np.int32, kind="INT64")))
