import ast
import doctest
import inspect

import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest

import gpu_pile as gp
from gpu_pile.api import FuzzyOptions
from gpu_pile.errors import ConfigError
from gpu_pile.gpu import device
from gpu_pile.run.config import Fuzzy
from tests.conftest import HERE
from tests.test_run import jaccard, words

TEXTS = [words(80, 1), words(80, 1) + " tail", words(80, 2), words(80, 1), "", "", "short"]


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        pa.array,
        lambda t: pa.chunked_array([t[:3], t[3:]]),
        pandas.Series,
        polars.Series,
        lambda t: iter(t),
    ],
)
def test_dedupe_takes_every_kind_of_column(make):
    found = gp.dedupe(make(TEXTS), threshold=0.8)
    assert found.keep.tolist() == [False, True, True, False, True, False, True]
    assert found.witness.tolist() == [1, -1, -1, 1, -1, 4, -1]
    assert found.cluster.tolist() == [0, 0, 2, 0, 4, 4, 6]
    assert found.similarity[0] == found.similarity[3] == jaccard(TEXTS[0], TEXTS[1])
    assert found.similarity[5] == 1
    assert np.isnan(found.similarity[[1, 2, 4, 6]]).all()
    assert found.pairs.to_pylist() == [{"a": 0, "b": 1, "similarity": jaccard(TEXTS[0], TEXTS[1])}]


def test_dedupe_options_and_errors():
    assert gp.dedupe(TEXTS, threshold=1.0).keep.sum() == 5
    assert gp.dedupe(TEXTS, threshold=0.7, verify="sketch", sketch="affine32", workers=1).keep.sum() == 4
    assert len(gp.dedupe([])) == 0
    with pytest.raises(ValueError, match=r"^threshold: .* \(got 0\)$"):
        gp.dedupe(TEXTS, threshold=0)
    with pytest.raises(ValueError, match="shingel: unknown key; did you mean 'shingle'"):
        gp.dedupe(TEXTS, shingel="word")


def test_lone_surrogates_are_replaced():
    assert gp.measure(["a\ud800b"], ["char_count"]).column("char_count").to_pylist() == [3]


def test_dedupe_does_not_depend_on_workers(monkeypatch):
    texts = [words(50, i % 40) + f" {i}" * (i % 7) for i in range(200)]
    one = gp.dedupe(texts, threshold=0.7, workers=1)
    monkeypatch.setattr(device.Device, "batch_bytes", 3000)
    many = gp.dedupe(texts, threshold=0.7, workers=3)
    for name in ("keep", "witness", "similarity", "cluster"):
        assert np.array_equal(getattr(one, name), getattr(many, name), equal_nan=name == "similarity")
    assert one.pairs.equals(many.pairs)
    assert 0 < one.keep.sum() < 60


def test_measure():
    table = gp.measure(["Hello world.\nBye", "", "# #"], ["lengths", "hash_per_word"])
    assert table.column("word_count").to_pylist() == [3, 0, 2]
    assert table.column("mean_word_length").to_pylist() == [14 / 3, None, 1.0]
    assert table.column("hash_per_word").to_pylist() == [0.0, None, 1.0]
    assert set(gp.measure(["x"]).column_names) > set(table.column_names)
    with pytest.raises(ConfigError, match="did you mean 'word_count'"):
        gp.measure(["x"], ["word_cuont"])
    assert len(gp.measure([], ["lengths"])) == 0


def test_open_run(demo_run):
    run = gp.open_run(demo_run)
    assert "3 shards" in repr(run)
    table = run.signals.to_table(columns=["word_count"])
    assert len(table) == run.report["documents"] == run.decisions.count_rows()
    pair = run.pairs.to_pylist()[0]
    assert {pair["a"], pair["b"]} <= set(run.cluster_of(pair["a"]))
    single = next(i for i in range(99) if i not in run.clusters.column("doc_id").to_pylist())
    assert run.cluster_of(single) == [single]
    story = run.document(pair["a"])
    assert story["signals"]["word_count"] == len(story["text"].split())


@pytest.mark.parametrize("name", [n for n in gp.__all__ if inspect.isfunction(getattr(gp, n))])
def test_the_example_of_each_public_function(name, demo_run, tmp_path, monkeypatch):
    (tmp_path / "demo").symlink_to(demo_run)
    monkeypatch.chdir(tmp_path)
    (test,) = doctest.DocTestFinder(recurse=False).find(getattr(gp, name), name)
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def test_type_checkers_see_what_is_there():
    stub = ast.parse((HERE.parent / "gpu_pile" / "__init__.pyi").read_text())
    imported = {
        alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert imported == {name: f"gpu_pile.{module}" for name, module in gp._WHERE.items()}
    assert sorted(imported) == sorted(gp.__all__)
    assert set(FuzzyOptions.__annotations__) == set(Fuzzy.model_fields) - {"enabled", "threshold", "skip_subsets"}
    assert all(option in gp.dedupe.__doc__ for option in FuzzyOptions.__annotations__)
    assert (HERE.parent / "gpu_pile" / "py.typed").exists()
    assert dir(gp) == sorted([*gp.__all__, "__version__"])


def test_import_is_light():
    import subprocess
    import sys

    code = "import sys, gpu_pile; print(sorted({'numba', 'cupy', 'cudf', 'pyarrow', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert set(gp.__all__) <= set(dir(gp))
    for name in gp.__all__:
        assert getattr(gp, name) is not None
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = gp.nothing_here
