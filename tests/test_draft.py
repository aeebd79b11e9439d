"""gpu-pile init: what it prints is a configuration that runs unchanged, whatever the documents are."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.errors import UsageError
from gpu_pile.run import config
from gpu_pile.run.draft import draft
from tests.conftest import DEMO, decisions, write_shard
from tests.test_cli import invoke

PROSE = (
    "The people of the town have said that they will be there with all of their friends, and to have some food. " * 6
)


def write_lines(path, documents):
    write_shard(path, [json.dumps(document).encode() for document in documents])
    return str(path)


def drafted(*inputs):
    """(what init prints, the section of it by name)"""
    text = draft(list(inputs))
    return text, yaml.safe_load(text)


def test_the_demo_corpus(tmp_path):
    code, text, _ = invoke("init", DEMO, "-o", tmp_path / "run")
    assert code == 0
    (tmp_path / "my.yaml").write_text(text)
    given_ = config.load(tmp_path / "my.yaml")
    assert given_.input.subset_field == "meta.pile_set_name"
    assert given_.thresholds.use == ["gopher"]
    assert given_.dedupe == config.Dedupe()
    assert given_.thresholds.subsets["Github"].use == []
    assert invoke("decide", tmp_path / "my.yaml", "--quiet")[0] == 0
    assert len(decisions(tmp_path / "run")) == 512
    for said in (
        "# scripts, by letters: Latin ",
        "# plan (",
        "# memory ",
        "# time ",
        "#   meta.pile_set_name  string",
    ):
        assert said in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_fields_of_lines_and_of_parquet(tmp_path):
    rows = [{"id": f"x{i}", "url": "u", "content": f"{PROSE} {i}", "lang": "en", "n": {"score": i}} for i in range(30)]
    for shard in (write_lines(tmp_path / "a.jsonl.zst", rows), str(tmp_path / "b.parquet")):
        if shard.endswith("parquet"):
            pq.write_table(pa.Table.from_pylist(rows), shard)
        text, found = drafted(shard)
        assert found["input"] == {"shards": [shard], "text_field": "content", "subset_field": "lang", "id_field": "id"}
        assert found["thresholds"] == {"use": ["gopher"]}
        assert "as in stack" in text
        assert "#   n.score  number, in 100%" in text
    rows = [{"headline": "short", "article": PROSE, "n": i} for i in range(3)]
    text, found = drafted(write_lines(tmp_path / "c.jsonl.zst", rows))
    assert found["input"] == {"shards": [str(tmp_path / "c.jsonl.zst")], "text_field": "article"}


def test_other_scripts_and_old_formats(tmp_path):
    for i, (sentence, script, use) in enumerate(
        [("Съешь ещё этих мягких булок. ", "Cyrillic 100", []), ("漢字とひらがなの文章です。", "Hiragana", ["gopher"])]
    ):
        rows = [{"text": sentence * 20, "n": n} for n in range(30)]
        text, found = drafted(write_lines(tmp_path / f"s{i}.jsonl.zst", rows))
        assert found["thresholds"] == {"use": use}
        assert script in text
    shard = write_lines(tmp_path / "d.jsonl.zst", [{"text": f"too short {i}"} for i in range(30)])
    assert drafted(shard)[1]["thresholds"] == {"use": []}
    shard = write_lines(tmp_path / "b.jsonl.zst", [PROSE, {"text": [PROSE, "more"]}])
    _, found = drafted(shard)
    assert found["input"]["bare_strings"] is True
    assert found["input"]["text_lists"] is True
    assert drafted(write_lines(tmp_path / "c.jsonl.zst", [PROSE]))[1]["input"]["bare_strings"] is True


def test_deep_objects_and_values_without_a_python_value(tmp_path):
    deep = b'{"text": "x", "a": ' + b'{"a": ' * 800 + b"1" + b"}" * 800 + b"}"
    write_shard(tmp_path / "a.jsonl.zst", [deep])
    assert drafted(str(tmp_path / "a.jsonl.zst"))[1]["input"]["text_field"] == "text"
    far = pa.array([-(2**50), 2**50], pa.timestamp("ms"))
    pq.write_table(pa.table({"text": ["x", "y"], "when": far}), tmp_path / "b.parquet")
    assert "when  null" in drafted(str(tmp_path / "b.parquet"))[0]


def test_what_is_wrong(tmp_path):
    for name, documents, said in [
        ("none", [], "there is no document"),
        (
            "numbers",
            [{"n": 1, "m": {"k": None}}],
            r"first 1 documents have no text; their fields are n \(number\), m.k",
        ),
        ("no objects", [1, None], "first 2 documents are not objects of JSON"),
    ]:
        shard = write_lines(tmp_path / f"{name}.jsonl.zst", documents)
        with pytest.raises(UsageError, match=said):
            draft([shard])
    assert invoke("init", tmp_path / "nothing")[0] == 2
    drafted(write_lines(tmp_path / "empty texts.jsonl.zst", [{"text": ""}, {"text": None}]))


names = st.text(st.characters(exclude_categories=()), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | names,
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(names, inside, max_size=3),
    max_leaves=5,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.dictionaries(names, values, max_size=4), max_size=4), st.lists(names, min_size=1, max_size=4))
def test_any_documents_give_a_valid_configuration(tmp_path_factory, documents, subsets):
    folder = tmp_path_factory.mktemp("draft")
    documents = [{**d, "text": "x", "meta": {"pile_set_name": s}} for s in subsets for d in [{}] * 20 + documents]
    shard = write_lines(folder / "a # b: 'c.jsonl.zst", documents)
    text, found = drafted(shard)
    assert found["input"]["shards"] == [shard]
    assert config.parse(found).input.text_field == "text"
    assert all(len(line) < 400 for line in text.split("\n"))
