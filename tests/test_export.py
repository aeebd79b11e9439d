"""gpu-pile export: every part of a run in every format says what the run's own files say."""

import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import gpu_pile as gp
from gpu_pile.errors import DataError, UsageError
from gpu_pile.explore import export as module
from gpu_pile.explore.export import WHAT, export
from tests.conftest import decisions, run, settings, write_shard
from tests.test_cli import invoke

DOCUMENTS = [
    ("One line, a comma.\r\nA second one.", "a"),
    ('quotes " and \ttabs', "b"),
    ("a b c d", "a"),
    ("漢字 \U0001f600 \x1b[31m\x00 null and escape", ""),
    ("a b c d", "b"),
    ("too short", "a"),
    (" ", "b"),
    ("one two three four = SUM(1)", "b"),
]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run over two shards of lines, one of them in several blocks, whose texts c4_lines edits."""
    folder = tmp_path_factory.mktemp("export")
    documents = ({"text": t, "meta": {"pile_set_name": s, "url": f"u{i}"}} for i, (t, s) in enumerate(DOCUMENTS))
    lines = [b"not JSON", b"", *documents]
    raw = [x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines]
    write_shard(folder / "a.jsonl.zst", raw)
    write_shard(
        folder / "b.jsonl.zst", [(f"Home | About\nA whole sentence number {i} of the text.", "e") for i in range(9)]
    )
    write_shard(folder / "c.jsonl.zst", [])
    ranks = {"shard": ["a", "b", "b"], "line": [3, 1, 2], "rank": [0.5, 1.5, 2.5]}
    pq.write_table(pa.table(ranks), folder / "ranks.pq")
    rules = {"default": {"word_count": {"min": 3}, "mean_word_length": {"max": 99, "required": True}}}
    run(
        settings(
            [folder / "*.zst"],
            folder / "run",
            batch_bytes=200,
            thresholds=rules,
            edit={"c4_lines": ["e"]},
            input={"id_field": "meta.url", "fields": {"address": "meta.url", "missing": "no"}},
            measure={
                "signals": ["lengths", "symbols", "c4"],
                "join": {str(folder / "ranks.pq"): {"on": ["shard", "line"]}},
            },
        )
    )
    return folder / "run"


def comparable(rows):
    """Rows with None in the place of NaN, which is not equal to itself."""
    return [{k: [None if x != x else x for x in v] if isinstance(v, list) else v for k, v in r.items()} for r in rows]


OWN = ("address", "missing", "rank")


def decided(folder):
    """The decisions of a run, with the columns that its configuration adds."""
    opened = gp.open_run(folder)
    measured, joined = opened.signals.to_table(), opened.joined.to_table()
    own = [measured.select(["address", "missing"]).to_pylist(), joined.select(["rank"]).to_pylist()]
    return comparable([{**a, **b, **c} for a, b, c in zip(decisions(folder), *own, strict=True)])


def kept_texts(folder):
    lines = []
    for path in sorted((folder / "kept").iterdir()):
        raw = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
        lines += [json.loads(line)["text"] for line in raw.splitlines()]
    return lines


def rows_of(path):
    """The rows of an exported file as dicts; of CSV every value is a string."""
    if path.name.endswith(".parquet"):
        return pq.read_table(path).to_pylist()
    raw = path.read_bytes()
    if path.suffix == ".zst":
        raw = zstandard.ZstdDecompressor().stream_reader(raw).read()
    if ".jsonl" in path.name:
        return [json.loads(line) for line in raw.decode().splitlines() if line]
    return list(csv.DictReader(io.StringIO(raw.decode(), newline="")))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv", "jsonl.zst"])
def test_texts_and_decisions(small, tmp_path, suffix):
    rows = decided(small)
    assert any(None in r["values"] for r in rows)
    assert [r["rank"] for r in rows if r["rank"]] == [0.5, 1.5, 2.5]
    assert [r["address"] for r in rows[:2]] == [r["id"] for r in rows[:2]] == ["u0", "u1"]
    for what, chosen in [("kept", [True]), ("removed", [False]), ("documents", [True, False])]:
        target = tmp_path / f"{what}.{suffix}"
        expected = [r for r in rows if r["keep"] in chosen]
        assert export(small, target, what) == len(expected)
        found = rows_of(target)
        assert [str(r["doc_id"]) for r in found] == [str(r["doc_id"]) for r in expected]
        if suffix != "csv":
            assert [{k: v for k, v in r.items() if k != "text"} for r in comparable(found)] == expected
        else:
            assert [json.loads(r["reasons"]) for r in found] == [r["reasons"] for r in expected]
            assert [r["keep"] for r in found] == [str(r["keep"]).lower() for r in expected]
        if what == "kept":
            assert [r["text"] for r in found] == kept_texts(small)
            assert not any("Home" in r["text"] for r in found)
    texts = {(r["shard"], int(r["line"])): r["text"] for r in rows_of(tmp_path / f"documents.{suffix}")}
    assert [texts["a", i + 3] for i in range(len(DOCUMENTS))] == [text for text, _ in DOCUMENTS]


def test_tables(small, tmp_path):
    opened = gp.open_run(small)
    tables = {
        "decisions": opened.decisions.to_table(),
        "signals": opened.signals.to_table()
        .drop_columns(["sketch"])
        .append_column("rank", opened.joined.to_table(["rank"]).column("rank")),
        "pairs": opened.pairs,
        "clusters": opened.clusters,
        "reasons": opened.reason_counts,
    }
    assert {*tables, "keep", "drop", "kept", "removed", "documents", "weights"} == set(WHAT)
    for what, table in tables.items():
        for suffix in ("parquet", "jsonl", "csv"):
            target = tmp_path / f"{what}.{suffix}"
            assert export(small, target, what) == len(table)
            rows = rows_of(target)
            if suffix != "csv":
                assert comparable(rows) == comparable(table.to_pylist())
            elif rows:
                assert list(rows[0]) == table.column_names
    assert export(small, tmp_path / "x", "pairs", "jsonl") == len(opened.pairs)
    assert rows_of(tmp_path / "pairs.jsonl") == [json.loads(x) for x in (tmp_path / "x").read_text().splitlines()]


def test_sql_has_the_same_columns(small):
    opened = gp.open_run(small)
    found = opened.sql("FROM documents ORDER BY doc_id").table
    assert [*decided(small)[0]] == [
        name for name in found.column_names if name in (*OWN, *opened.decisions.schema.names)
    ]
    assert len(set(found.column_names)) == len(found.column_names)
    assert found.column("rank").to_pylist() == [row["rank"] for row in decided(small)]


def test_rows_of_parquet_and_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GROUP_BYTES", 1)
    texts = [f"document number {i} {'x' * i}" for i in range(50)]
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"text": texts, "n": range(50)}), tmp_path / "data" / "a.parquet", row_group_size=7)
    rules = {"default": {"word_count": {"min": 3}}}
    run(settings([tmp_path / "data"], tmp_path / "run", thresholds=rules, batch_bytes=300, input={"range_bytes": 1}))
    export(tmp_path / "run", tmp_path / "x.parquet", "documents")
    found = pq.ParquetFile(tmp_path / "x.parquet")
    assert found.read().column("text").to_pylist() == texts
    assert found.num_row_groups > 3


def test_what_is_wrong(small, tmp_path):
    for wrong, said in [
        (("x.jsonl", "both"), "--what is one of keep, drop, kept"),
        (("x.tsv", "kept"), "for kept write csv"),
        (("x", "kept"), "cannot tell the format"),
        (("x.csv", "kept", "xml"), "--format is 'xml'"),
        (("x.parquet.zst", "kept"), "Parquet is compressed inside"),
    ]:
        with pytest.raises(UsageError, match=said):
            export(small, tmp_path / wrong[0], *wrong[1:])
    assert invoke("export", small, tmp_path / "x.csv", "--what", "none")[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_a_changed_shard_leaves_nothing(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [("some words", "a")])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    write_shard(tmp_path / "a.jsonl.zst", [("other words", "a")])
    with pytest.raises(DataError, match="changed"):
        export(tmp_path / "run", tmp_path / "out" / "x.jsonl", "kept")
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "a.jsonl.zst").unlink()
    with pytest.raises(DataError, match=r"cannot read .*a\.jsonl\.zst"):
        export(tmp_path / "run", tmp_path / "out" / "x.jsonl", "kept")


def test_the_command(small, tmp_path):
    code, output, _ = invoke("export", small, tmp_path / "kept.jsonl", "--what", "kept")
    assert (code, output) == (0, f"{len(kept_texts(small))} rows: {tmp_path / 'kept.jsonl'}\n")
