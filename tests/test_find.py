"""gpu-pile find: where given documents are, and removal lists of them; what stays after a takedown."""

import json
import random
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from gpu_pile.dedup.joins import join
from gpu_pile.run.index import build
from tests.conftest import decisions, run, settings, write_shard
from tests.test_cli import invoke

RNG = random.Random(3)
WORDS = [f"w{i}" for i in range(500)]
LONG = " ".join(RNG.choices(WORDS, k=80))
OTHER = " ".join(RNG.choices(WORDS, k=60))
TEXTS = [LONG, f"{LONG} end", LONG, OTHER, f"start {LONG}", "apart from all others"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Lines 1 and 3 are equal, 2 and 5 are near them; 2 is the longest but for 5. A run and its index."""
    folder = tmp_path_factory.mktemp("find")
    lines = [json.dumps({"text": t, "id": f"doc:{i}", "meta": {"pile_set_name": "x"}}) for i, t in enumerate(TEXTS, 1)]
    write_shard(folder / "00.jsonl.zst", [line.encode() for line in lines])
    run(settings([folder / "00.jsonl.zst"], folder / "run", input={"id_field": "id"}))
    build.make([str(folder / "run")], folder / "index")
    return folder


def found(*arguments):
    code, output, error = invoke("find", *arguments, "--json")
    assert code == 0, error
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def lines(matches):
    return [(m["query"], m["kind"], m["line"]) for m in matches]


EXPECTED = [("a", "exact", 1), ("a", "exact", 3), ("a", "near", 2), ("a", "near", 5)]


def test_texts_hashes_and_ids_find_the_same_documents(finished, tmp_path):
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": "a", "text": LONG}) + '\n\n"nothing like it in there at all"\n')
    by_text = found(finished / "index", "--texts", tmp_path / "t.jsonl")
    assert sorted(lines(by_text)) == EXPECTED
    assert [(m["similarity"], m["estimated"]) for m in by_text[:2]] == [(1.0, False)] * 2
    assert by_text[2]["estimated"] and by_text[2]["similarity"] > 0.9  # noqa: PT018
    assert {m["run"] for m in by_text} == {str(finished / "run")}
    (tmp_path / "t.txt").write_text(LONG)
    assert [m["line"] for m in found(finished / "run", "--texts", tmp_path / "t.txt")] == [m["line"] for m in by_text]
    row = pq.read_table(finished / "run" / "measured" / "00.parquet").slice(0, 1).to_pylist()[0]
    (tmp_path / "h.txt").write_text(f"{row['hash_hi']:016x}{row['hash_lo']:016x}\n{0:032x}\n")
    assert [m["line"] for m in found(finished / "index", "--hashes", tmp_path / "h.txt")] == [1, 3]
    (tmp_path / "i.txt").write_text("00:1\n0\ndoc:1\n")
    by_id = found(finished / "index", "--ids", tmp_path / "i.txt")
    for name in ("00:1", "0", "doc:1"):
        assert sorted(("a", kind, line) for query, kind, line in lines(by_id) if query == name) == EXPECTED


def test_texts_are_read_for_exact_figures(finished, tmp_path):
    passage = " ".join(LONG.split()[:75])
    (tmp_path / "t.jsonl").write_text(json.dumps({"id": "a", "text": f"before {passage}"}))
    matches = found(finished / "index", "--texts", tmp_path / "t.jsonl", "--read")
    first = next(m for m in matches if m["line"] == 1)
    assert (first["similarity"], first["containment"], first["estimated"]) == (71 / 77, 71 / 72, False)
    assert first["span"] == [7, 7 + len(passage)]
    stricter = found(finished / "index", "--texts", tmp_path / "t.jsonl", "--read", "--threshold", "0.915")
    assert {m["line"] for m in stricter} == {1, 3}
    output = invoke("find", finished / "index", "--texts", tmp_path / "t.jsonl", "--read")[1]
    assert "4 matches of 1 documents; 0 have none" in output


def test_a_takedown_is_applied_without_measuring_and_survivors_are_chosen_again(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True, copy_function=shutil.copy2)
    config = {"input": {"id_field": "id"}}
    run(settings([tmp_path / "00.jsonl.zst"], tmp_path / "run", **config))
    kept = [row["line"] for row in decisions(tmp_path / "run") if row["keep"]]
    assert kept == [4, 5, 6]
    measured = (tmp_path / "run" / "measured" / "00.parquet").stat().st_mtime_ns
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": LONG}))
    for name, threshold, stays in (("a.yaml", 1.0, [4, 5, 6]), ("b.jsonl", 0.7, [4, 6])):
        arguments = ("--texts", tmp_path / "t.jsonl", "--threshold", threshold, "--remove", tmp_path / name)
        assert invoke("find", tmp_path / "run", *arguments)[0] == 0
        run(
            settings([tmp_path / "00.jsonl.zst"], tmp_path / "run", decide={"remove": [str(tmp_path / name)]}, **config)
        )
        assert [row["line"] for row in decisions(tmp_path / "run") if row["keep"]] == stays
    (tmp_path / "i.txt").write_text("00:5\n")
    assert invoke(
        "find", tmp_path / "run", "--ids", tmp_path / "i.txt", "--threshold", 1, "--remove", tmp_path / "c.yaml"
    )
    removed = {"decide": {"remove": [str(tmp_path / "c.yaml")]}}
    run(settings([tmp_path / "00.jsonl.zst"], tmp_path / "run", **removed, **config))
    rows = decisions(tmp_path / "run")
    assert [row["line"] for row in rows if row["keep"]] == [2, 4, 6]
    assert rows[4]["reasons"] == ["takedown", "near_duplicate"]
    assert [rows[i]["witness"] for i in (0, 2, 4)] == [1, 1, 1]  # the survivor before was line 5
    assert measured == (tmp_path / "run" / "measured" / "00.parquet").stat().st_mtime_ns


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("texts", '{"txet": ""}', 'line 1: expected an object with "text"'),
        ("texts", '"a"\n{', "line 2: not valid JSON"),
        ("texts", '{"id": 1, "text": "a"}\n{"id": 1, "text": "b"}', "two texts have the id '1'"),
        ("hashes", "12", "line 1: expected 32 hexadecimal digits"),
        ("ids", "00:99", "line 1: the index has no document '00:99'"),
        ("ids", "01:1", "no document '01:1'"),
    ],
)
def test_a_wrong_query_is_an_error_that_names_the_line(finished, tmp_path, kind, content, message):
    (tmp_path / "q").write_text(content)
    code, _, error = invoke("find", finished / "index", f"--{kind}", tmp_path / "q")
    assert code == 2
    assert message in error


def test_what_cannot_be_asked_is_an_error(finished, tmp_path):
    (tmp_path / "t.txt").write_text(LONG)
    texts = ("--texts", tmp_path / "t.txt")
    for arguments, message in (
        ((), "Give one of --texts"),
        ((*texts, "--ids", "x"), "Give one of --texts"),
        (("--texts", tmp_path / "gone"), "there is no file"),
        (("--hashes", tmp_path / "t.txt", "--read"), "--read compares texts"),
        ((*texts, "--remove", tmp_path / "x.csv"), "ends in .yaml or .jsonl"),
        ((*texts, "-n", "2", "--remove", tmp_path / "x.yaml"), "has more than -n matches"),
    ):
        code, _, error = invoke("find", finished / "index", *arguments)
        assert code == 2
        assert message in error
    assert not (tmp_path / "x.yaml").exists()


def test_keys_are_joined_as_sets_are():
    """Against a plain loop; keys of few values, rows that do not count, a bound on the rows of a key."""
    rng = np.random.default_rng(5)
    for values, most in ((3, 2), (50, 100), (10**6, 3)):
        keys = np.sort(rng.integers(0, values, 400).astype(np.uint64))
        rows, usable = np.arange(400, dtype=np.uint32), rng.random(400) < 0.7
        new = np.sort(rng.integers(0, values, 60).astype(np.uint64))
        records = np.stack([new, np.arange(60, dtype=np.uint64)], axis=1)
        got = join(records, keys.reshape(-1, 1), rows, usable, most)
        expected = []
        for key in np.unique(new):
            expected += [(key, row) for row in rows[(keys == key) & usable][:most].tolist()]
        assert got.tolist() == [list(pair) for pair in expected]
