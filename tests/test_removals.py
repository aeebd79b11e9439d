"""Removal lists: what they name is removed with its reason, survivors are chosen among the others, slips are errors."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from gpu_pile.errors import UsageError
from gpu_pile.explore.run import open_run
from gpu_pile.explore.verify import verify
from gpu_pile.run import plan
from tests.conftest import decisions, results, run, settings, write_shard
from tests.test_cli import invoke

LONG = " ".join(f"word{i}" for i in range(60))
TEXTS = [LONG, f"{LONG} end", LONG, "another text", "a third text"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Lines 1 and 3 are equal, 2 is near them and the longest; 4 and 5 stand alone."""
    folder = tmp_path_factory.mktemp("removals")
    write_shard(folder / "00.jsonl.zst", [(text, "x") for text in TEXTS])
    run(configured(folder))
    return folder


def configured(folder, *lists):
    remove = {"decide": {"remove": [str(path) for path in lists]}} if lists else {}
    return settings([folder / "00.jsonl.zst"], folder / "run", thresholds={"use": []}, **remove)


@pytest.fixture
def folder(finished, tmp_path):
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True, copy_function=shutil.copy2)
    return tmp_path


def why(folder):
    return [(row["reasons"], row["witness"]) for row in decisions(folder / "run")]


def test_a_removed_survivor_is_replaced_and_nothing_is_measured_again(folder):
    before = why(folder)
    assert before == [(["near_duplicate"], 1), ([], None), (["near_duplicate"], 1), ([], None), ([], None)]
    undone = results(folder / "run")
    measured = (folder / "run" / "measured" / "00.parquet").stat().st_mtime_ns
    lists = folder / "a.yaml", folder / "b.jsonl"
    lists[0].write_text("- {shard: '00', line: 2, note: asked for}\n- {shard: '00', line: 2, note: asked again}\n")
    lists[1].write_text('{"shard": "00", "line": 4, "reason": "contaminated"}\n\n{"shard": "00", "line": 4}')
    run(configured(folder, *lists))
    assert why(folder) == [
        ([], None),
        (["takedown", "near_duplicate"], 0),
        (["exact_duplicate"], 0),
        (["contaminated", "takedown"], None),
        ([], None),
    ]
    assert measured == (folder / "run" / "measured" / "00.parquet").stat().st_mtime_ns
    opened = open_run(folder / "run")
    assert opened.story(1)["reasons"][0] == {
        "rule": "takedown",
        "value": None,
        "explanation": "in a removal list: asked again",
    }
    assert opened.decide({}).keep.tolist() == [True, False, False, False, True]
    assert opened.report["flow"][0]["step"] == "removal_lists"
    assert not any(check.failed for check in verify(folder / "run", everything=True))
    assert "takedown in a removal list: asked again" in invoke("show", str(folder / "run"), "00:2")[1]
    assert "3 rows of removal lists (contaminated, takedown)" in plan.describe(configured(folder, *lists))
    table = folder / "run" / "removals.parquet"
    pq.write_table(pq.read_table(table).slice(1), table)
    assert [check.name for check in verify(folder / "run") if check.failed] == ["counts"]
    run(configured(folder))
    assert results(folder / "run") == undone


def test_every_format_gives_the_same_decisions(folder):
    rows = [{"shard": "00", "line": 2}, {"shard": "00", "line": 5, "reason": "own", "note": "said so"}]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    (folder / "l.yaml").write_text(json.dumps(rows))
    (folder / "l.jsonl").write_bytes(lines)
    (folder / "l.jsonl.zst").write_bytes(zstandard.compress(lines))
    pq.write_table(pa.Table.from_pylist(rows[::-1] + rows), folder / "l.parquet")
    found = []
    for name in ("l.yaml", "l.jsonl", "l.jsonl.zst", "l.parquet"):
        run(configured(folder, folder / name))
        found.append(results(folder / "run"))
    assert all(result == found[0] for result in found)


def test_another_content_decides_again(folder):
    path = folder / "l.yaml"
    path.write_text("[{shard: '00', line: 4}]")
    run(configured(folder, path))
    path.write_text("[{shard: '00', line: 5}]")
    run(configured(folder, path))
    assert [row["line"] for row in decisions(folder / "run") if "takedown" in row["reasons"]] == [5]
    path.write_text("")
    run(configured(folder, path))
    assert not any("takedown" in row["reasons"] for row in decisions(folder / "run"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("l.yaml", "{shard: '00', line: 1}", "expected a list"),
        ("l.yaml", "[{shard: 00, line: 1}]", "row 1: shard is 0, expected the shard's name"),
        ("l.yaml", "[{shard: '01', line: 1}]", "no shard '01'; its shards are 00"),
        ("l.yaml", "[{shard: '00', line: 1}, {shard: '00', line: 0}]", "row 2: line is 0"),
        ("l.yaml", "[{shard: '00', line: true}]", "line is True"),
        ("l.yaml", "[{shard: '00', line: 6}, {shard: '00', line: 7}]", "line 6 and 1 more lines of shard 00 is not"),
        ("l.yaml", "[{shard: '00', line: 1, reason: near_duplicate}]", "reason is 'near_duplicate'"),
        ("l.yaml", "[{shard: '00', line: 1, reason: a.b}]", "reason is 'a.b'"),
        ("l.yaml", "[{shard: '00', line: 1, resaon: x}]", "unknown key 'resaon'"),
        ("l.yaml", "[{shard: '00', line: 1, note: 1}]", "note is 1"),
        ("l.yaml", "[", "not valid YAML"),
        ("l.jsonl", '{"shard": "00", "line": 1}\n{"shard"', "line 2: not valid JSON"),
        ("l.jsonl", '["00", 7]', "expected shard and line, got "),
        ("l.jsonl.zst", zstandard.compress(b'{"shard": "00", "line": 1}\n')[:-9], "damaged"),
        ("l.parquet", b"PAR1", "not a Parquet file"),
        ("l.csv", "00,1", "ends in none of"),
        ("l.jsonl", "".join(f'{{"shard": "00", "line": 1, "reason": "r{i}"}}\n' for i in range(65)), "65 different"),
    ],
)
def test_a_wrong_list_is_an_error_that_names_the_place(folder, name, content, message):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = results(folder / "run")
    with pytest.raises(UsageError, match=message.replace("(", r"\(").replace("[", r"\[")):
        run(configured(folder, folder / name))
    assert results(folder / "run") == before


def test_a_missing_list_is_an_error(folder):
    with pytest.raises(UsageError, match="there is no file"):
        run(configured(folder, folder / "gone.yaml"))
