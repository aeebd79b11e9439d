"""Fields of published corpora: by input.preset, or found by looking at the first document."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpu_pile.errors import ConfigError
from gpu_pile.run import config, plan
from tests.conftest import decisions, run, settings

LAYOUTS = {
    "pile": {"text": "a b c", "meta": {"pile_set_name": "S"}},
    "slimpajama": {"text": "a b c", "meta": {"redpajama_set_name": "S"}},
    "redpajama": {"text": "a b c", "meta": "{}", "red_pajama_subset": "S"},
    "dolma": {"id": "1", "text": "a b c", "added": "2024", "created": "2023", "metadata": {}, "source": "S"},
    "common-pile": {"id": "1", "text": "a b c", "source": "S", "metadata": {"license": "CC0"}},
    "fineweb": {"text": "a b c", "id": "1", "dump": "S", "url": "https://x", "language_score": 0.9},
    "c4": {"text": "a b c", "timestamp": "2019", "url": "https://x", "subset": "S"},
    "redpajama2": {"raw_content": "a b c", "doc_id": "1", "meta": "{}", "source": "S"},
    "stack": {"content": "a b c", "lang": "S"},
}


def write(folder, document, suffix):
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([document]), folder / "x.parquet")
    else:
        (folder / "x.json.gz").write_bytes(gzip.compress(json.dumps(document).encode()))
    return folder


@pytest.mark.parametrize("suffix", [".json.gz", ".parquet"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_fields_of_a_corpus(tmp_path, name, suffix):
    if suffix == ".parquet":
        document = {k: v for k, v in LAYOUTS[name].items() if v != {}}
    else:
        document = LAYOUTS[name]
    shards = [write(tmp_path, document, suffix)]
    given = run(settings(shards, tmp_path / "given", input={"preset": name}))
    looked = run(settings(shards, tmp_path / "looked"))
    for folder in ("given", "looked"):
        assert [row["subset"] for row in decisions(tmp_path / folder)] == ["S"]
    assert given.reporter.warnings == []
    assert bool(looked.reporter.warnings) == (name != "pile")
    if name == "redpajama2":
        (warning,) = looked.reporter.warnings
        assert "input.text_field: raw_content and input.subset_field: source is used" in warning
        assert json.loads((tmp_path / "looked/report.json").read_text())["warnings"] == [warning]
        assert "text_field: raw_content" in plan.describe(settings(shards, tmp_path / "plan"))


def test_what_is_given_is_taken(tmp_path):
    shards = [write(tmp_path, {"text": "a b c", "content": "d e", "source": "S", "lang": "L"}, ".json.gz")]
    context = run(settings(shards, tmp_path / "one", input={"preset": "stack", "text_field": "text"}))
    assert context.config.input.text_field == "text"
    assert context.config.input.subset_field == "lang"
    context = run(settings(shards, tmp_path / "two", input={"text_field": "text", "subset_field": "nothing"}))
    assert context.config.input.subset_field == "nothing"
    assert context.reporter.warnings == []


def test_an_unknown_preset_is_an_error():
    with pytest.raises(ConfigError, match=r"input\.preset: .*'dolma'"):
        config.parse({"input": {"shards": ["x"], "preset": "dolmaa"}, "output": "run"})
