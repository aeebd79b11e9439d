"""Whole runs and the API on backend cuda: on the emulator, and on a device where there is one.

On a device this is part of `make check-gpu`, with the conformance tests, compute-sanitizer and the benchmarks.
"""

import contextlib

import numpy as np
import pytest

import gpu_pile as gp
from gpu_pile.gpu import detect
from gpu_pile.run import config
from tests import emulator
from tests.conftest import DEMO, HERE, results, run, settings
from tests.test_run import words

DEVICE = bool(detect.cuda_devices())
only_with_a_device = pytest.mark.skipif(not DEVICE, reason="no CUDA device")
TEXTS = [words(50, i % 40) + f" {i}" * (i % 7) for i in range(120)] + ["", "…", "one two three"]


@pytest.fixture(params=["emulated", pytest.param("device", marks=only_with_a_device)])
def cuda(request):
    """Where backend cuda is: with this, a run may ask for it."""
    with emulator.everywhere() if request.param == "emulated" else contextlib.nullcontext():
        yield request.param


@pytest.mark.slow
@pytest.mark.usefixtures("cuda")
def test_the_demo_run_has_the_same_bytes(demo_run, tmp_path):
    quick = HERE.parent / "configs" / "quickstart.yaml"
    wanted = [f"output={tmp_path / 'run'}", f"input.shards=['{DEMO}']", "backend=cuda", "workers=2"]
    context = run(config.load(quick, wanted))
    assert context.device.backend == "cuda"
    assert results(tmp_path / "run") == results(demo_run)


@pytest.mark.slow
def test_the_nasty_shards_have_the_same_bytes_and_bad_lines(cuda, tmp_path):
    def bad_lines(context):
        return {s.name: context.directory.state("measure", s.name)["bad_lines"] for s in context.shards}

    more = {"dedupe": {"exact": {"normalize": "words"}, "fuzzy": {"verify": "sketch"}}, "batch_bytes": 300_000}
    shards = sorted((HERE / "data" / "nasty").glob("*.jsonl*"))
    if cuda == "emulated":
        shards = [s for s in shards if not s.name.startswith("blank_bomb")]  # 64 MiB: two minutes
    here = run(settings(shards, tmp_path / "cpu", backend="cpu", **more))
    there = run(settings(shards, tmp_path / "cuda", backend="cuda", **more))
    assert there.device.backend == "cuda"
    assert bad_lines(there) == bad_lines(here)
    assert sum(map(len, bad_lines(there).values())) > 20
    assert results(tmp_path / "cuda") == results(tmp_path / "cpu")


@pytest.mark.slow
@pytest.mark.usefixtures("cuda")
def test_the_api_gives_the_same():
    assert gp.measure(TEXTS, backend="cuda").equals(gp.measure(TEXTS, backend="cpu"))
    for how in ("exact", "sketch"):
        got = gp.dedupe(TEXTS, threshold=0.7, backend="cuda", verify=how)
        want = gp.dedupe(TEXTS, threshold=0.7, backend="cpu", verify=how)
        assert got.keep.tolist() == want.keep.tolist()
        assert got.witness.tolist() == want.witness.tolist()
        assert got.pairs.equals(want.pairs)


@only_with_a_device
def test_cudf_columns_are_viewed_where_they_are():
    import cudf

    from gpu_pile.gpu import cudf as frames

    series = cudf.Series(TEXTS)
    for column, want in ((series, TEXTS), (series[3:50], TEXTS[3:50]), (series[:0], [])):
        text = frames.text_column(column)
        assert text.backend == "cuda"
        assert [d.decode() for d in text.documents()] == want
        assert frames.series(text).to_arrow().to_pylist() == want
    assert gp.measure(series, backend="cuda").equals(gp.measure(TEXTS, backend="cpu"))
    assert np.array_equal(gp.dedupe(series, backend="cuda").keep, gp.dedupe(TEXTS, backend="cpu").keep)
