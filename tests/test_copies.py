"""dedupe.copies_max: copies that stay; decisions.copies; weights for a trainer."""

from __future__ import annotations

import random
from collections import Counter

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import gpu_pile as gp
from gpu_pile.cli import app
from gpu_pile.errors import ConfigError
from gpu_pile.explore.export import export
from gpu_pile.explore.verify import verify
from gpu_pile.run import config
from tests.conftest import decisions, run, settings, write_shard

BOUND = {"default": {"plain_word_count": {"min": 6}}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A corpus of equal and like texts, decided with 1, 2 and 3 copies: {copies_max: folder}."""
    folder, rng = tmp_path_factory.mktemp("copies"), random.Random(3)
    words = [f"word{i}" for i in range(400)]
    texts = []
    for length in (60, 80, 100, 5):
        text = rng.choices(words, k=length)
        texts += [" ".join(text)] * 4
        texts += (
            [" ".join([*text[:i], f"other{i}", *text[i + 1 :]]) for i in (0, 1, len(text) - 1)] if length > 5 else []
        )
    texts += [" ".join(rng.choices(words, k=50)) for _ in range(3)]
    rng.shuffle(texts)
    for name, part in (("a", texts[:14]), ("b", texts[14:])):
        write_shard(folder / f"{name}.jsonl.zst", [(text, rng.choice("xyz")) for text in part])
    found = {}
    for most in (1, 2, 3):
        shards = [folder / "a.jsonl.zst", folder / "b.jsonl.zst"]
        own = {"copies_max": most, "fuzzy": {"skip_subsets": ["z"]}}
        found[most] = folder / f"run{most}"
        run(settings(shards, found[most], dedupe=own, thresholds=BOUND))
    return found


def test_copies_are_added_to_what_stays_without_them(runs):
    rows = {most: decisions(folder) for most, folder in runs.items()}
    kept = {most: {r["doc_id"] for r in found if r["keep"]} for most, found in rows.items()}
    assert kept[1] < kept[2] < kept[3]
    witness = {r["doc_id"]: (r["witness"], r["similarity"]) for r in rows[1]}
    for most in (2, 3):
        assert {r["doc_id"]: (r["witness"], r["similarity"]) for r in rows[most]} == witness
        groups = Counter(r["doc_id"] if r["witness"] is None else r["witness"] for r in rows[most] if r["keep"])
        assert max(groups.values()) == most
        gone = {r["witness"] for r in rows[most] if r["reasons"] in (["exact_duplicate"], ["near_duplicate"])}
        assert all(groups[w] == most for w in gone), "a place is left, and somebody goes"


def test_copies_count_the_cluster(runs):
    rows = decisions(runs[2])
    sizes = Counter(r["cluster"] for r in rows)
    assert [r["copies"] for r in rows] == [sizes[r["cluster"]] if r["cluster"] is not None else 1 for r in rows]
    assert max(sizes[c] for c in sizes if c is not None) == 7


@pytest.mark.slow
def test_verify_agrees(runs):
    for most, folder in runs.items():
        checks = {check.name: check for check in verify(folder, everything=True)}
        assert not [check for check in checks.values() if check.failed]
        assert ("copies" in checks) == (most > 1)


@pytest.mark.slow
def test_verify_notices_one_copy_too_many(runs, tmp_path):
    folder = runs[3]
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"copies_max": 3', '"copies_max": 2'))
    try:
        checks = {check.name: check for check in verify(folder, everything=True)}
    finally:
        (folder / "run.json").write_text(text)
    assert checks["copies"].failed
    assert checks["exact left"].failed


def test_weights_add_up(runs, tmp_path):
    for folder in runs.values():
        rows = decisions(folder)
        n = export(folder, tmp_path / "weights.parquet", "weights")
        table = pq.read_table(tmp_path / "weights.parquet").to_pylist()
        assert [t["doc_id"] for t in table] == [r["doc_id"] for r in rows if r["keep"]]
        assert n == len(table)
        only = [r for r in rows if all(reason.endswith("_duplicate") for reason in r["reasons"])]
        assert sum(t["weight"] for t in table) == pytest.approx(len(only))
        groups = Counter(r["witness"] if r["witness"] is not None else r["doc_id"] for r in only)
        shares = Counter(r["witness"] if r["witness"] is not None else r["doc_id"] for r in only if r["keep"])
        of = {r["doc_id"]: r["witness"] if r["witness"] is not None else r["doc_id"] for r in only}
        assert [t["weight"] for t in table] == [groups[of[t["doc_id"]]] / shares[of[t["doc_id"]]] for t in table]


def test_copies_are_shown_and_reported(runs):
    copies = [r for r in decisions(runs[2]) if r["keep"] and r["witness"] is not None]
    report = gp.open_run(runs[2]).report["copies"]
    by_subset = dict(sorted(Counter(r["subset"] for r in copies).items()))
    assert report == {"most": 2, "documents": len(copies), "by_subset": by_subset}
    assert "Up to 2 copies of a document stay" in (runs[2] / "report.html").read_text()
    shown = CliRunner().invoke(app, ["show", str(runs[2]), str(copies[0]["doc_id"])]).output
    assert f"stays as a copy of {copies[0]['witness']}" in shown
    assert gp.open_run(runs[1]).report["copies"] == {"most": 1, "documents": 0, "by_subset": {}}


def test_bad_numbers():
    data = {"input": {"shards": "x", "against": ["old"]}, "output": "y", "dedupe": {"copies_max": 2}}
    with pytest.raises(ConfigError, match=r"input\.against needs dedupe\.copies_max: 1"):
        config.parse(data)
    both = {"copies_max": 2, "substrings": {"min_bytes": 200}}
    with pytest.raises(ConfigError, match="copies_max lets copies stay, whose text substrings would take away"):
        config.parse({"input": "x", "output": "y", "dedupe": both})
    with pytest.raises(ConfigError, match=r"dedupe\.copies_max: Input should be greater than or equal to 1"):
        config.parse({"input": "x", "output": "y", "dedupe": {"copies_max": 0}})
