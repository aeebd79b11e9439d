"""Places and cuDF's columns, as far as they can be exercised without a device."""

import ctypes
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from gpu_pile.errors import BackendError, DataError
from gpu_pile.gpu import cudf, detect, device
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
            raise BackendError(device._failed(RuntimeError("cudaErrorIllegalAddress")))
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


class FakeCuda:
    """As much of CuPy as a CudaDevice's session needs."""

    class Stream:
        def __init__(self, non_blocking):
            self.synchronized = 0

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def synchronize(self):
            self.synchronized += 1

    class Failure(RuntimeError):
        def __init__(self, status):
            super().__init__(f"status {status}")
            self.status = status

    def __init__(self):
        self.runtime = SimpleNamespace(CUDARuntimeError=self.Failure, memGetInfo=lambda: (8 << 30, 16 << 30))
        self.driver = SimpleNamespace(CUDADriverError=ZeroDivisionError)


@pytest.fixture
def gpu(monkeypatch):
    cupy = ModuleType("cupy")
    cupy.cuda = FakeCuda()
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(cudf, "share_memory", lambda: None)
    return device.CudaDevice()


def test_errors_of_the_device_are_told_apart(gpu):
    with gpu.session():
        pass
    with pytest.raises(MemoryError), gpu.session():
        raise FakeCuda.Failure(2)
    with pytest.raises(BackendError, match="the GPU failed: status 700"), gpu.session():
        raise FakeCuda.Failure(700)
    with pytest.raises(BackendError, match="the GPU failed"), gpu.session():
        raise ZeroDivisionError
    with pytest.raises(ValueError, match="other"), gpu.session():
        raise ValueError("other")


def test_batches_are_chosen_from_free_memory(gpu):
    assert gpu.batch_bytes == 8 << 20


def test_what_is_missing_is_said():
    if not detect.cuda_devices():
        with pytest.raises(BackendError, match=r"reports no device.*gpu-pile doctor.*--backend cpu"):
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
        return SimpleNamespace(ptr=self.bytes.ctypes.data)

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
    cupy.cuda = SimpleNamespace(
        UnownedMemory=lambda address, n_bytes, owner: (address, n_bytes), MemoryPointer=lambda memory, at: memory
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
def test_a_cudf_column_of_nulls_or_numbers_is_refused():
    with pytest.raises(ValueError, match="2 nulls"):
        cudf.text_column(series(Column(["a"], np.int32, nulls=2)))
    with pytest.raises(TypeError, match="of strings"):
        cudf.text_column(series(Column(["a"], np.int32, kind="INT64")))
