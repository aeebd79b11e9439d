"""measure.join: columns of tables elsewhere as columns and signals of documents."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import gpu_pile as gp
from gpu_pile.errors import ConfigError
from gpu_pile.explore.export import export
from gpu_pile.explore.verify import verify
from gpu_pile.run import config, plan
from gpu_pile.run.join_index import JoinIndex
from tests.conftest import decisions, results, run, settings

IDS = ["a", "b", None, "d", "a", "é" * 9, "7"]
SCORES = {
    "id": ["é" * 9, "zzz", "a", None, "b"],
    "score": [0.5, 9.0, 0.25, 1.0, None],
    "label": ["x", "y", "A", "n", None],
}


def write_shards(folder):
    for name, ids in (("s", IDS[:4]), ("t", IDS[4:])):
        lines = [{"text": f"text {name} {i}", "doc": {"id": own}} for i, own in enumerate(ids)]
        (folder / f"{name}.jsonl").write_text("{}\n" + "".join(json.dumps(line) + "\n" for line in lines))


def joined(folder, join, **more):
    data = {"input": {"id_field": "doc.id"}, "measure": {"join": join}, **more}
    return settings([folder / "s.jsonl", folder / "t.jsonl"], folder / "run", **data)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two shards and three tables; a run that joins two of them."""
    folder = tmp_path_factory.mktemp("join")
    write_shards(folder)
    pq.write_table(pa.table(SCORES), folder / "scores.parquet", row_group_size=2)
    places = pa.table(
        {
            "shard": pa.array(["t", "gone", "s"]).dictionary_encode(),
            "line": [2, 2, 3],
            "rank": pa.array([7, 8, 9], pa.int16()),
        }
    )
    with pa.ipc.new_file(folder / "places.arrow", places.schema) as writer:
        writer.write_table(places)
    join = {f"{folder}/scores.parquet": {"on": "id"}, f"{folder}/places.arrow": {"on": ["shard", "line"]}}
    policy = {"default": {"score": {"min": 0.5}}, "subsets": {}}
    run(joined(folder, join, thresholds=policy))
    return folder, join, policy


def test_joined_columns_are_signals(corpus):
    folder, _, _ = corpus
    opened = gp.open_run(folder / "run")
    table = opened.joined.to_table().to_pydict()
    assert table["doc_id"] == opened.decisions.to_table(["doc_id"]).column("doc_id").to_pylist()
    assert table["score"] == [0.25, None, None, None, 0.25, 0.5, None]
    assert table["label"] == ["A", None, None, None, "A", "x", None]
    assert table["rank"] == [None, 9, None, None, 7, None, None]
    assert [row["keep"] for row in decisions(folder / "run")] == [False, True, True, True, False, True, True]
    assert opened.sweep("score", min=[0.25, 0.5]).table.to_pydict()["kept_documents"] == [7, 5]
    assert opened.sweep("rank", max=[7.5]).table.to_pydict()["kept_documents"] == [6]
    assert opened.around("score", 0.5, exact=True).table.column("score").to_pylist() == [0.25, 0.25, 0.5]
    assert opened.histogram("rank").table.to_pydict()["documents"] == [1, 1]
    assert opened.decide({"default": {"rank": {"min": 8, "required": True}}}).keep.sum() == 1
    document = opened.document(opened.doc_id("s:2"))
    assert (document["signals"]["score"], document["fields"]) == (0.25, {"id": "a", "label": "A"})
    assert all(not check.failed for check in verify(folder / "run", everything=True))
    found = opened.sql("SELECT id, score, label FROM documents WHERE rank IS NULL ORDER BY doc_id").to_pylist()
    assert [row["score"] for row in found] == [0.25, None, None, 0.5, None]
    assert [row["id"] for row in found] == [IDS[i] for i in (0, 2, 3, 5, 6)]
    export(folder / "run", folder / "kept.jsonl", "documents")
    assert [json.loads(line)["label"] for line in (folder / "kept.jsonl").read_text().splitlines()] == table["label"]


def test_what_a_table_lacks_is_said(corpus):
    folder, _, _ = corpus
    report = gp.open_run(folder / "run").report
    fields = {field["field"]: field["documents"] for field in report["fields"]}
    assert fields == {"id": 6, "score": 3, "label": 3, "rank": 2}
    (reason,) = report["reasons"]
    assert reason["definition"].startswith("score: the number that scores.parquet has for the document")
    assert "text s 0" in (folder / "run" / "report.html").read_text()  # an example of the reason
    state = json.loads((folder / "run" / "state" / "join.json").read_text())["tables"]
    assert [(t["rows"], t["used"], t["documents"]) for t in state.values()] == [(5, 3, 4), (3, 2, 2)]


def test_another_table_redoes_what_depends_on_it(corpus, tmp_path):
    folder, join, policy = corpus
    before = results(folder / "run")
    measured = {p: p.stat().st_mtime_ns for p in (folder / "run" / "measured").iterdir()}
    scores = folder / "scores.parquet"
    kept = scores.read_bytes()
    try:
        pq.write_table(pa.table({**SCORES, "score": [0.1] * 5}), scores)
        run(joined(folder, join, thresholds=policy))
        assert [row["keep"] for row in decisions(folder / "run")] == [False, False, True, True, False, False, True]
        assert {p: p.stat().st_mtime_ns for p in (folder / "run" / "measured").iterdir()} == measured
    finally:
        scores.write_bytes(kept)
        run(joined(folder, join, thresholds=policy, workers=3, memory_bytes=10**6))
    assert results(folder / "run") == before
    alone = {**joined(folder, {}).model_dump(), "output": str(tmp_path / "run")}
    run(config.parse({**alone, "measure": {"join": join}}), "decide")
    run(config.parse(alone), "decide")
    assert not list((tmp_path / "run" / "joined").iterdir())


def test_a_join_that_fails_leaves_nothing_and_is_done_again(corpus, tmp_path, monkeypatch):
    folder, join, policy = corpus
    data = {**joined(folder, join, thresholds=policy).model_dump(), "output": str(tmp_path / "run")}
    asked = []

    def fail(self, rows):
        asked.append(rows)
        if len(asked) == 3:  # in the second shard
            raise KeyboardInterrupt
        return take(self, rows)

    take = JoinIndex.take
    with monkeypatch.context() as patch:
        patch.setattr(JoinIndex, "take", fail)
        with pytest.raises(KeyboardInterrupt):
            run(config.parse(data))
    assert not [path for path in (tmp_path / "run").rglob("*") if "joined" in path.parts[-2] and path.is_file()]
    run(config.parse(data))
    assert results(tmp_path / "run") == results(folder / "run")


def test_the_plan_names_the_table(corpus):
    folder, join, _ = corpus
    assert f"join       {folder}/scores.parquet on id: score, label" in plan.describe(joined(folder, join))


BAD = {
    "twice.parquet": (
        {"id": ["a", "q", "a"], "n": [1, 2, 3]},
        "has 1 keys twice: 'a' (rows 0 and 2); a document can",
    ),
    "list.parquet": ({"id": ["a"], "n": [[1]]}, "no column is left to join"),
    "other.parquet": ({"key": ["a"], "n": [1]}, "the table has no column 'id'; it has key, n"),
    "signal.parquet": ({"id": ["a"], "word_count": [1]}, "'word_count' is the name of a signal"),
    "name.parquet": ({"id": ["a"], "a score": [1]}, "'a score' cannot be the name of a column"),
    "number.parquet": (
        {"id": [1], "n": [1]},
        "has no row for any of the 7 documents; its first are '1', ",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables(corpus, tmp_path, name):
    folder, _, _ = corpus
    columns, said = BAD[name]
    pq.write_table(pa.table(columns), tmp_path / name)
    data = {
        **joined(folder, {str(tmp_path / name): "id"}).model_dump(),
        "output": str(tmp_path / "run"),
        "strict": True,
    }
    with pytest.raises(ConfigError) as error:
        run(config.parse(data), "measure")
    assert said in str(error.value)
    assert not (tmp_path / "run" / "scratch").exists()


def test_bad_places_and_files(corpus, tmp_path):
    folder, _, _ = corpus
    (tmp_path / "damaged.parquet").write_bytes((folder / "scores.parquet").read_bytes()[:-30])
    pq.write_table(pa.table({"shard": ["s", "s"], "line": [2, 2], "n": [1, 2]}), tmp_path / "twice.parquet")
    pq.write_table(pa.table({"shard": ["s"], "line": ["2"], "n": [1]}), tmp_path / "strings.parquet")
    pq.write_table(pa.table([["a"], [1], [2]], names=["id", "n", "n"]), tmp_path / "columns.parquet")
    for name, on, said in (
        ("damaged.parquet", "id", "cannot be read"),
        ("gone.parquet", "id", "there is no such file"),
        ("scores.csv", "id", r"expected a table, named \*.parquet"),
        ("columns.parquet", "id", "two columns named 'n'"),
        ("twice.parquet", ["shard", "line"], r"1 keys twice: s:2 \(rows 0 and 1\)"),
        ("strings.parquet", ["shard", "line"], "line string; expected a string and a whole number"),
    ):
        data = {**joined(folder, {str(tmp_path / name): on}).model_dump(), "output": str(tmp_path / "run")}
        with pytest.raises(ConfigError, match=said):
            run(config.parse(data), "measure")


@pytest.mark.parametrize(
    ("join", "thresholds", "said"),
    [
        ({"on": ["line", "shard"]}, {}, r"expected the name of the column with the documents' ids, or \[shard, line\]"),
        ({"on": "id", "columns": ["n"]}, {"nn": {"min": 1}}, "there is no signal 'nn'; did you mean 'n'"),
        ({"on": "id", "columns": {"n": "string"}}, {"n": {"min": 1}}, "thresholds use n, a joined column of strings"),
        ({"on": "id", "columns": "score"}, {}, "has a column 'score', and so has input.fields"),
        ({"on": "id"}, {}, "set input.id_field, or join on"),
    ],
)
def test_the_configuration_is_checked_first(join, thresholds, said):
    ids = {} if join == {"on": "id"} else {"id_field": "id"}
    data = {
        "input": {"shards": "x", "fields": {"score": "s"}, **ids},
        "output": "o",
        "measure": {"join": {"f.parquet": join}},
    }
    with pytest.raises(ConfigError, match=said):
        config.parse({**data, "thresholds": {"default": thresholds}})


def test_a_threshold_on_what_no_table_has(corpus):
    folder, join, _ = corpus
    with pytest.raises(ConfigError, match="there is no signal 'scor'; did you mean 'score'"):
        run(joined(folder, join, thresholds={"default": {"scor": {"min": 1}}}), "measure")


@pytest.mark.slow
@hypothesis_settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.text(max_size=3), st.floats(allow_nan=False)), max_size=30, unique_by=lambda row: row[0]))
def test_values_are_those_of_a_dictionary(corpus, rows):
    folder, _, _ = corpus
    path = folder / "any.parquet"
    wanted = dict(rows) | {"a": 4.5}
    pq.write_table(pa.table({"id": list(wanted), "n": list(wanted.values())}), path, row_group_size=3)
    data = joined(folder, {str(path): {"on": "id"}}).model_dump()
    run(config.parse({**data, "output": str(folder / "any")}), "measure")
    found = gp.open_run(folder / "any").joined.to_table(["n"]).column("n").to_pylist()
    finite = {key: value if abs(value) < float("inf") else None for key, value in wanted.items()}
    assert found == [finite.get(own) for own in IDS]
