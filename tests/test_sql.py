"""gpu-pile sql: answers equal those of the tables, and a query reaches nothing but the views."""

import csv
import io
import json
import signal
import subprocess
import sys
import time

import pyarrow.compute as pc
import pytest

import gpu_pile as gp
from gpu_pile.errors import UsageError
from tests.conftest import decisions, results
from tests.test_cli import invoke


@pytest.fixture(scope="module")
def opened(demo_run):
    return gp.open_run(demo_run)


def test_views_are_the_tables(opened, demo_run):
    rows = decisions(demo_run)
    assert opened.sql("SELECT * FROM decisions ORDER BY doc_id").to_pylist() == rows
    measured = opened.signals.to_table().drop_columns(["sketch"])
    found = opened.sql("FROM signals ORDER BY doc_id").table
    assert found.column_names == measured.column_names
    assert found.to_pylist() == measured.to_pylist()
    for name, table in (("pairs", opened.pairs), ("clusters", opened.clusters)):
        assert sorted(map(str, opened.sql(f"FROM {name}").to_pylist())) == sorted(map(str, table.to_pylist()))
    signals = measured.drop_columns(["shard", "line", "subset"]).to_pylist()
    both = [{**r, **s} for r, s in zip(rows, signals, strict=True)]
    assert opened.sql("FROM documents ORDER BY doc_id").to_pylist() == both


def test_conditions(opened, demo_run):
    rows = decisions(demo_run)
    gone = [r for r in rows if "near_duplicate" in r["reasons"]]
    for condition, expected in [
        ("list_contains(reasons, 'near_duplicate')", gone),
        ("witness IS NOT NULL AND similarity < 0.9", [r for r in rows if (r["similarity"] or 1) < 0.9]),
        (f"doc_id IN ({gone[0]['doc_id']}, {gone[-1]['doc_id']})", [gone[0], gone[-1]]),
        ("shard = '01' AND NOT keep", [r for r in rows if r["shard"] == "01" and not r["keep"]]),
    ]:
        assert opened.sql(f"FROM decisions WHERE {condition} ORDER BY doc_id").to_pylist() == expected
    words = pc.sum(opened.signals.to_table(["word_count"]).column("word_count")).as_py()
    found = opened.sql("SELECT count(*) AS n, sum(word_count) AS words FROM documents WHERE shard >= '00'")
    assert found.to_pylist() == [{"n": len(rows), "words": words}]


def test_nothing_else_can_be_reached(opened, demo_run, tmp_path):
    before = results(demo_run)
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    for query in [
        f"FROM '{secret}'",
        f"SELECT * FROM read_csv('{secret}')",
        f"COPY decisions TO '{tmp_path / 'out.csv'}'",
        f"ATTACH '{tmp_path / 'x.db'}'",
        f"EXPORT DATABASE '{tmp_path / 'all'}'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
        "FROM before",
        "SELEC 1",
        "",
    ]:
        with pytest.raises(UsageError):
            opened.sql(query)
    assert [p.name for p in tmp_path.iterdir()] == ["secret.csv"]
    assert results(demo_run) == before


def test_the_command(demo_run):
    rows = decisions(demo_run)
    query = "SELECT doc_id, reasons, similarity, subset FROM decisions ORDER BY 1 DESC"
    code, output, _ = invoke("sql", demo_run, query, "--json")
    assert code == 0
    keys = ("doc_id", "reasons", "similarity", "subset")
    assert [json.loads(line) for line in output.splitlines()] == [{k: r[k] for k in keys} for r in reversed(rows)]
    code, output, _ = invoke("sql", demo_run, query, "--csv")
    found = list(csv.DictReader(io.StringIO(output)))
    assert [(int(r["doc_id"]), json.loads(r["reasons"])) for r in found] == [
        (r["doc_id"], r["reasons"]) for r in reversed(rows)
    ]
    code, output, _ = invoke("sql", demo_run, query)
    assert output.startswith("the first 60 rows; --csv and --json give all\n")
    assert str(rows[-1]["doc_id"]) in output
    one = "SELECT sum(1) AS n, DATE '2020-01-02' AS day, 1.5::DECIMAL(3, 1) AS x, 'a'::BLOB AS b, 'e\x1b' AS e"
    row = {"n": 1, "day": "2020-01-02", "x": 1.5, "b": "YQ==", "e": "e\x1b"}
    assert json.loads(invoke("sql", demo_run, one, "--json")[1]) == row
    assert invoke("sql", demo_run, one)[1].startswith("1 row\n")
    for wrong, said in [(["SELEC 1"], "sql: Parser Error"), ([query, "--json", "--csv"], "give one of them")]:
        code, _, error = invoke("sql", demo_run, *wrong)
        assert code == 2
        assert said in error


ENDLESS = """
import sys
import duckdb
import gpu_pile as gp
run = gp.open_run(sys.argv[1])
run.sql("SELECT 1")
print("ready", flush=True)
try:
    run.sql("SELECT count(*) FROM range(10000000) a, range(100000) b WHERE a.range * b.range % 7 = 3")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
def test_ctrl_c_ends_a_query(demo_run):
    command = [sys.executable, "-c", ENDLESS, str(demo_run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert said == "interrupted\n"


def test_without_duckdb(opened, monkeypatch):
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(UsageError, match=r"pip install 'gpu-pile\[sql\]'"):
        opened.sql("SELECT 1")
