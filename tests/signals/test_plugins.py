"""Signals of other packages: installed, used, and what is said when one does not work. docs/signals.md."""

import importlib.metadata
import json
import os
import subprocess
import sys
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest

from gpu_pile import signals
from gpu_pile.errors import ConfigError
from gpu_pile.text.column import TextColumn
from tests.conftest import HERE, write_shard
from tools import make_signals_md

EXAMPLE = HERE.parent / "examples" / "ascii_share"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The environment of a process for which the example package is installed."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    copy = tmp_path_factory.mktemp("example")
    for file in EXAMPLE.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    subprocess.run([*command, "--target", str(folder), str(copy)], check=True)
    return {**os.environ, "PYTHONPATH": str(folder)}


def python(code, environment):
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow
def test_an_installed_package_adds_a_signal(installed):
    code = "import gpu_pile, json; print(json.dumps(gpu_pile.measure(['aé', '', 'abc'], ['ascii_share']).to_pydict()))"
    assert json.loads(python(code, installed)) == {"ascii_share": [1 / 3, 1.0, 1.0]}
    listed = python("import sys; from gpu_pile.cli import main; sys.argv[1:] = ['list', 'signals']; main()", installed)
    assert "ascii_share" in listed


@pytest.mark.slow
def test_it_can_be_bounded_in_a_run(installed, tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [("plain", "x"), ("é" * 9, "x")])
    config = {
        "input": {"shards": [str(tmp_path / "a.jsonl.zst")]},
        "output": str(tmp_path / "run"),
        "measure": {"signals": ["ascii_share"]},
        "thresholds": {"default": {"ascii_share": {"min": 0.5}}},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    python(
        f"import sys; from gpu_pile.cli import main; sys.argv[1:] = ['run', {str(tmp_path / 'c.yaml')!r}]; main()",
        installed,
    )
    import pyarrow.parquet as pq

    (file,) = (tmp_path / "run" / "decisions").glob("*.parquet")
    rows = pq.read_table(file).to_pylist()
    assert [(r["keep"], r["reasons"], r["values"]) for r in rows] == [
        (True, [], []),
        (False, ["ascii_share.min"], [0.0]),
    ]


def one(function, **more):
    return signals.from_function("x", unit="u", definition="d", source="s", version=1, function=function, **more)


def test_what_a_function_may_give():
    text = signals.Counts(TextColumn.from_documents(["a", "b"]))
    assert one(lambda t: [1, 2]).compute(text)["x"].to_pylist() == [1.0, 2.0]
    assert one(lambda t: pa.chunked_array([[1, None]]), dtype="int64").compute(text)["x"].to_pylist() == [1, None]
    assert signals.backends(one(lambda t: np.zeros(len(t)))) == ["cpu"]
    with pytest.raises(ValueError, match="gave 1 values for 2 documents"):
        one(lambda t: [1]).compute(text)
    with pytest.raises(ValueError, match="expected int64 or float64"):
        one(lambda t: [1], dtype="float32")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:F", "cannot be loaded .ModuleNotFoundError"),
        ("gpu_pile.signals.lengths:_compute", "is a function, expected a gpu_pile.signals.Family"),
        ("gpu_pile.signals.lengths:FAMILY", "adds char_count, .* but that name is taken"),
    ],
)
def test_a_package_that_does_not_work(value, message):
    entry = importlib.metadata.EntryPoint("broken", value, signals.PLUGINS)
    registry = signals._registry.__wrapped__
    with (
        mock.patch.object(importlib.metadata, "entry_points", return_value=[entry]),
        pytest.raises(ConfigError, match=message),
    ):
        registry()


def test_the_page_of_signals_is_that_of_the_registry():
    assert make_signals_md.TARGET.read_text(encoding="utf-8") == make_signals_md.render(), (
        "docs/signals.md is not what the registry says: run python tools/make_signals_md.py"
    )
