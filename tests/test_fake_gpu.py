"""Backend cuda on a GPU that is not there (tests/fake_gpu): what the emulator alone does not run, and what it costs."""

import json

import numpy as np
import pytest

import gpu_pile as gp
from gpu_pile.ops import op
from gpu_pile.run import pipeline
from gpu_pile.run.stages.measure.read import LineMeasurer
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
    own = {"input": {"id_field": "meta.pile_set_name", "fields": {"name": "meta.pile_set_name", "meta_": "meta"}}}
    own["dedupe"] = {"copies_max": 2}
    run(settings([tmp_path / "in"], tmp_path / "cpu", backend="cpu", **own))
    context = run(settings([tmp_path / "in"], tmp_path / "cuda", backend="cuda", **own))
    assert context.device.backend == "cuda"
    assert results(tmp_path / "cuda") == results(tmp_path / "cpu")


def test_a_block_of_default_signals_keeps_to_its_budget(cupy, tmp_path):
    """What a thread asks of the device for a block; docs/decisions/0027 says why these numbers matter."""
    write_shard(tmp_path / "in" / "a.jsonl.zst", documents := [(words(60 + i, i % 9), "Pile-CC") for i in range(60)])
    lines = [json.dumps({"text": t, "meta": {"pile_set_name": s}}).encode() + b"\n" for t, s in documents]
    block = np.frombuffer(b"".join(lines), np.uint8)
    with pipeline.prepared(settings([tmp_path / "in"], tmp_path / "run", backend="cuda")) as context:
        measurer = LineMeasurer(context, context.shards[0])
        measurer.measure(block, 0, 0)  # uploads what is the same for every block
        cupy.counts.clear()
        measured = measurer.measure(block, 0, 0)
    assert len(measured.table) == 60
    assert cupy.counts["calls"] <= 83
    assert cupy.counts["waits"] <= 13
    assert cupy.counts["up"] <= 1.01 * len(block) + 100
    assert cupy.counts["down"] <= 60 * 1500


def test_numpy_and_device_arrays_do_not_mix(cupy):
    with pytest.raises(TypeError, match="Unsupported type"):
        cupy.arange(3) + np.arange(3)
    with pytest.raises(TypeError, match="Implicit conversion"):
        np.asarray(cupy.arange(3))
    assert cupy.empty(2, np.uint8).tolist() == [cupy.FRESH] * 2
