"""Shards that change while a run is going on: an error that says so, never a traceback, never another result."""

import json

import pytest
import zstandard

from gpu_pile.errors import DataError
from gpu_pile.run.stages.measure import read
from gpu_pile.run.stages.write import copy
from tests.conftest import results, run, settings, write_shard

pytestmark = pytest.mark.slow  # each test is a run or two


CHANGED = "changed while the run was going on; run the same command again"
SHORT = [(f"short {i}", "W") for i in range(300)]
LONG = [(f"a text that is longer than the other one, number {i} " * 4, "W") for i in range(300)]
MANY = {"frames": 12, "range_bytes": 200}
ONE = {"frames": 1, "range_bytes": 1 << 30}


def replace(path, documents, frames):
    lines = [json.dumps({"text": t, "meta": {"pile_set_name": s}}).encode() + b"\n" for t, s in documents]
    n = -(-len(lines) // frames)
    path.write_bytes(b"".join(zstandard.compress(b"".join(lines[i : i + n])) for i in range(0, len(lines), n)))


def in_place(path, documents, frames):
    """The same inode with other bytes."""
    beside = path.with_suffix(".new")
    replace(beside, documents, frames)
    with path.open("rb+") as f:
        f.truncate()
        f.write(beside.read_bytes())
    beside.unlink()


def at_another_inode(path, documents, frames):
    beside = path.with_suffix(".new")
    replace(beside, documents, frames)
    beside.replace(path)


def appended(path, documents, frames):
    with path.open("ab") as f:
        f.write(zstandard.compress(b'{"text": "one more"}\n'))


def once(monkeypatch, owner, name, action):
    """Do something before the first call of a method."""
    real, calls = getattr(owner, name), []

    def wrapped(*args, **kwargs):
        if not calls:
            calls.append(1)
            action()
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, wrapped)


@pytest.mark.parametrize("edit", [False, True])
@pytest.mark.parametrize("shape", [ONE, MANY], ids=["one range", "many ranges"])
@pytest.mark.parametrize("documents", [SHORT, LONG, SHORT[:20]], ids=["shorter", "longer", "fewer"])
@pytest.mark.parametrize("how", [in_place, at_another_inode])
def test_rewritten_before_it_is_read_again(tmp_path, monkeypatch, how, documents, shape, edit):
    before = LONG if documents is not LONG else SHORT
    path = tmp_path / "x.jsonl.zst"
    replace(path, before, shape["frames"])
    more = {"edit": {"c4_lines": ["all"]}, "measure": {"signals": ["c4"]}} if edit else {}
    dedupe = {"exact": {"enabled": False}, "fuzzy": {"enabled": False}}
    configuration = settings(
        [path], tmp_path / "run", input={"range_bytes": shape["range_bytes"]}, dedupe=dedupe, workers=1, **more
    )
    with monkeypatch.context() as patch:
        once(patch, copy.Writer, "open", lambda: how(path, documents, shape["frames"]))
        with pytest.raises(DataError, match=f"({CHANGED}|has changed since it was measured)"):
            run(configuration, "write")
    kept = tmp_path / "run" / "kept"
    assert not kept.exists() or not list(kept.iterdir())
    run(configuration, "write")
    run(configuration.model_copy(update={"output": str(tmp_path / "fresh")}), "write")
    assert results(tmp_path / "run") == results(tmp_path / "fresh")


@pytest.mark.parametrize("shape", [ONE, MANY], ids=["one range", "many ranges"])
@pytest.mark.parametrize("how", [at_another_inode, appended])
def test_replaced_or_appended_while_it_is_read(tmp_path, monkeypatch, how, shape):
    """The bytes that were read are those that were measured; those of the file are not."""
    path = tmp_path / "x.jsonl.zst"
    replace(path, LONG, shape["frames"])
    configuration = settings([path], tmp_path / "run", input={"range_bytes": shape["range_bytes"]}, workers=1)
    last = copy.ShardWriter if shape is ONE else copy.RangeWriter
    with monkeypatch.context() as patch:
        once(patch, last, "consume", lambda: how(path, SHORT, shape["frames"]))
        with pytest.raises(DataError, match=CHANGED):
            run(configuration, "write")
    kept = tmp_path / "run" / "kept"
    assert not kept.exists() or not list(kept.iterdir())


@pytest.mark.parametrize("how", [at_another_inode, appended])
def test_replaced_or_appended_while_it_is_measured(tmp_path, monkeypatch, how):
    path = tmp_path / "x.jsonl.zst"
    replace(path, LONG, 1)
    configuration = settings([path], tmp_path / "run", workers=1)
    with monkeypatch.context() as patch:
        once(patch, read.ShardMeasurer, "consume", lambda: how(path, SHORT, 1))
        with pytest.raises(DataError, match=CHANGED):
            run(configuration, "measure")
    run(configuration, "write")


def test_a_shard_that_is_only_touched_is_no_change(tmp_path, monkeypatch):
    write_shard(tmp_path / "x.jsonl.zst", LONG)
    configuration = settings([tmp_path / "x.jsonl.zst"], tmp_path / "run", workers=1)
    with monkeypatch.context() as patch:
        once(patch, copy.ShardWriter, "consume", lambda: (tmp_path / "x.jsonl.zst").touch())
        run(configuration, "write")
    assert (tmp_path / "run" / "kept" / "x.jsonl.zst").is_file()
