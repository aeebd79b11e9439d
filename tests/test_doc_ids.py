"""Measured tables name their documents, also after other inputs were added or removed."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

import gpu_pile as gp
from gpu_pile.explore.verify import verify
from gpu_pile.run.stages.measure.read import ShardMeasurer
from tests.conftest import results, run, settings, write_shard


@pytest.fixture
def shards(tmp_path):
    for name in "abc":
        write_shard(tmp_path / f"{name}.jsonl.zst", [(f"{name} {i} {'word ' * i}", "S") for i in range(20)])
    return [tmp_path / f"{name}.jsonl.zst" for name in "abc"]


def test_a_join_by_doc_id_or_by_shard_and_line_is_right(tmp_path, shards):
    run(settings(shards, tmp_path / "run"))
    opened = gp.open_run(tmp_path / "run")
    measured = opened.signals.to_table()
    assert measured.column_names[:3] == ["doc_id", "shard", "line"]
    assert pq.read_schema(tmp_path / "run/measured/b.parquet").field("shard").type.value_type == "string"
    decided = opened.decisions.to_table(columns=["doc_id", "shard", "line", "keep"])
    for keys in (["doc_id"], ["shard", "line"]):
        columns = [*keys, "word_count"]
        measured_keys = measured.select(columns).set_column(
            0, keys[0], measured.column(keys[0]).cast(decided.schema.field(keys[0]).type)
        )
        assert len(decided.join(measured_keys, keys)) == 60


@pytest.mark.parametrize(("before", "after"), [([1, 2], [0, 1, 2]), ([0, 1, 2], [1, 2]), ([0, 2], [0, 1])])
def test_other_inputs_renew_the_ids_without_measuring_again(tmp_path, shards, monkeypatch, before, after):
    run(settings([shards[i] for i in before], tmp_path / "run"))
    measured = []
    opened = ShardMeasurer.open
    monkeypatch.setattr(ShardMeasurer, "open", lambda self: measured.append(self.shard.name) or opened(self))
    run(settings([shards[i] for i in after], tmp_path / "run"))
    assert measured == ["abc"[i] for i in after if i not in before]
    run(settings([shards[i] for i in after], tmp_path / "fresh"))
    assert results(tmp_path / "run") == results(tmp_path / "fresh")
    assert all(not check.failed for check in verify(tmp_path / "run"))
