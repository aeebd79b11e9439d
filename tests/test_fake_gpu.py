"""Backend cuda on a GPU that is not there (tests/fake_gpu): what the emulator alone does not run, and what it costs."""

import numpy as np
import pytest

import gpu_pile as gp
from gpu_pile.ops import op
from gpu_pile.testing import assert_same_bits
from tests import fake_gpu
from tests.conftest import results, run, settings, write_shard
from tests.test_run import words

OPS = op.load_all()
TEXTS = [words(50, i % 40) + f" {i}" * (i % 7) for i in range(60)] + ["", "…", "one two three"]


@pytest.fixture
def cupy(monkeypatch):
    return fake_gpu.importable(monkeypatch)


@pytest.mark.usefixtures("cupy")
@pytest.mark.parametrize(("name", "params"), [(o.name, params) for o in OPS.values() for params in o.samples])
def test_operations_use_only_what_cupy_has(name, params):
    assert_same_bits(OPS[name], "cuda", OPS[name].documents, params)


@pytest.mark.usefixtures("cupy")
def test_the_api_gives_the_same():
    assert gp.measure(TEXTS, backend="cuda", workers=2).equals(gp.measure(TEXTS, backend="cpu"))
    got, want = (gp.dedupe(TEXTS, threshold=0.7, backend=b, workers=2) for b in ("cuda", "cpu"))
    assert got.keep.tolist() == want.keep.tolist()
    assert got.pairs.equals(want.pairs)


@pytest.mark.usefixtures("cupy")
def test_a_run_has_the_same_bytes(tmp_path):
    documents = [(words(60, i % 9) + f" {i % 5}", f"subset {i % 3}") for i in range(60)]
    write_shard(tmp_path / "in" / "a.jsonl.zst", [*documents[:40], b"not JSON", *documents[40:]])
    run(settings([tmp_path / "in"], tmp_path / "cpu", backend="cpu"))
    context = run(settings([tmp_path / "in"], tmp_path / "cuda", backend="cuda"))
    assert context.device.backend == "cuda"
    assert results(tmp_path / "cuda") == results(tmp_path / "cpu")


def test_numpy_and_device_arrays_do_not_mix(cupy):
    with pytest.raises(TypeError, match="Unsupported type"):
        cupy.arange(3) + np.arange(3)
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(cupy.arange(3))
    assert cupy.empty(2, np.uint8).tolist() == [cupy.FRESH] * 2
