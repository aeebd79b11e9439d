"""input.id_field: the ids that documents have in their source, in measured tables, decisions and exports."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gpu_pile as gp
from gpu_pile.errors import UsageError
from gpu_pile.explore.export import export
from gpu_pile.explore.verify import verify
from tests.conftest import run, settings

IDS = ["a-1", 'q"é', "", None, "x" * 70]
VALUES = [7, -3, 2**53, None, 12]


def documents(values):
    return [
        {"text": f"text {i}", "meta": {"id": value, "pile_set_name": "S"}} if i != 2 else {"text": "two", "meta": None}
        for i, value in enumerate(values)
    ]


def write(folder, found, kind):
    if kind == "lines":
        lines = "".join(json.dumps(document) + "\n" for document in found)
        (folder / "x.jsonl").write_text(f"\ufeff{lines[:-1]}\nnot JSON\n", encoding="utf-8")
        return folder / "x.jsonl"
    table = pa.Table.from_pylist(found)
    if kind == "parquet":
        pq.write_table(table, folder / "x.parquet", row_group_size=2)
        return folder / "x.parquet"
    with pa.ipc.new_stream(folder / "x.arrow", table.schema) as writer:
        writer.write_table(table)
    return folder / "x.arrow"


@pytest.mark.parametrize("kind", ["lines", "parquet", "arrow"])
@pytest.mark.parametrize("values", [IDS, VALUES], ids=["strings", "numbers"])
def test_ids_are_carried(tmp_path, kind, values):
    shard = write(tmp_path, documents(values), kind)
    run(settings([shard], tmp_path / "run", input={"id_field": "meta.id", "range_bytes": 1}, batch_bytes=100))
    wanted = [None if v in (None, "") or i == 2 else str(v) for i, v in enumerate(values)]
    opened = gp.open_run(tmp_path / "run")
    assert opened.signals.to_table(["id"]).column("id").to_pylist() == wanted
    assert opened.decisions.to_table(["id"]).column("id").to_pylist() == wanted
    assert export(tmp_path / "run", tmp_path / "keep.parquet") == 5
    assert pq.read_table(tmp_path / "keep.parquet").to_pydict()["id"] == wanted
    assert all(not check.failed for check in verify(tmp_path / "run", everything=True))


def test_a_shard_without_documents_has_the_column_too(tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    (tmp_path / "b.jsonl").write_text('{"text": "one", "id": true}\n"bare"\n')
    run(
        settings(
            [tmp_path / "a.jsonl", tmp_path / "b.jsonl"],
            tmp_path / "run",
            input={"id_field": "id", "bare_strings": True},
        )
    )
    assert gp.open_run(tmp_path / "run").decisions.to_table(["id"]).column("id").to_pylist() == ["true", None]


def test_without_the_option_there_is_no_column(demo_run):
    opened = gp.open_run(demo_run)
    assert "id" not in {*opened.signals.schema.names, *opened.decisions.schema.names}


def test_a_column_that_is_no_id_is_named(tmp_path):
    pq.write_table(pa.table({"text": ["a"], "id": [[1]]}), tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=r"input\.id_field names a column of the type list<"):
        run(settings([tmp_path / "x.parquet"], tmp_path / "run", input={"id_field": "id"}))
