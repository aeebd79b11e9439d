"""gpu-pile stats: figures equal those counted document by document, for shards and for runs."""

import json
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import gpu_pile as gp
from gpu_pile.explore.composition import Composition
from gpu_pile.policy import pile
from gpu_pile.summaries.histograms import OTHERS, SUBSETS_MAX
from tests.conftest import DEMO, decisions, write_shard
from tests.test_cli import invoke


def of(*arguments):
    code, output, _ = invoke("stats", *arguments, "--json")
    found = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    return code, found, {row["subset"]: row for row in found["subsets"]}


def counted(documents):
    """(documents, bytes) by subset of (text, subset) documents, one after the other."""
    n, size = Counter(), Counter()
    for text, subset in documents:
        n[subset] += 1
        size[subset] += len(text.encode())
    return {subset: (n[subset], size[subset]) for subset in n}


def figures(rows, documents="documents", text_bytes="text_bytes"):
    return {subset: (row[documents], row[text_bytes]) for subset, row in rows.items()}


def test_a_run_and_its_shards_have_the_same_documents(demo_run, tmp_path):
    code, _, rows = of(demo_run, "--parquet", tmp_path / "s.parquet")
    assert code == 0
    decided = decisions(demo_run)
    sizes = gp.open_run(demo_run).signals.to_table(["text_bytes"]).column(0).to_pylist()
    for columns, in_it in ((("documents", "text_bytes"), True), (("kept_documents", "kept_bytes"), False)):
        n, size = Counter(), Counter()
        for row, n_bytes in zip(decided, sizes, strict=True):
            n[row["subset"]] += in_it or row["keep"]
            size[row["subset"]] += n_bytes * (in_it or row["keep"])
        assert figures(rows, *columns) == {subset: (n[subset], size[subset]) for subset in n}
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.to_pylist() == gp.open_run(demo_run).composition().to_pylist()
    code, shards, own = of(DEMO)
    assert (code, shards["bad_lines"], shards["damage"]) == (0, 0, [])
    assert figures(own) == figures(rows)
    assert "kept_bytes" not in own["Github"]


def test_shares_and_epochs():
    there = {"Wikipedia (en)": (2, 300), "mine": (1, 100), "OWT2": (4, 600)}
    found = Composition(there, {"Wikipedia (en)": (1, 100), "mine": (1, 100), "OWT2": (1, 300)})
    rows = {row["subset"]: row for row in found.to_pylist()}
    assert list(rows) == ["OWT2", "Wikipedia (en)", "mine"]
    assert [row["share"] for row in rows.values()] == [0.6, 0.3, 0.1]
    assert [row["kept_share"] for row in rows.values()] == [0.6, 0.2, 0.2]
    assert [row["effective_share"] for row in rows.values()] == [0.6, 0.3, 0.1]  # 2 * 300, 3 * 100, 100
    assert [row["pile_epochs"] for row in rows.values()] == [2.0, 3.0, None]
    assert rows["OWT2"]["mean_bytes"] == 150
    assert len(found.absent) == len(pile.SUBSETS) - 2
    assert "OpenWebText2" not in found.absent
    assert Composition({"mine": (1, 1)}).absent == []
    empty = Composition({"mine": (0, 0)})
    assert empty.to_pylist()[0]["share"] is None
    assert "0 documents" in repr(empty)
    assert "no subset" in repr(Composition({"": (1, 1)}))


@pytest.mark.parametrize("damaged", [False, True])
def test_ranges_bad_lines_and_damage(tmp_path, damaged):
    """A shard of many frames counts as it does whole, for any number of workers; what is lost is said."""
    documents = [("word " * (i % 50), f"s{i % 3}") for i in range(600)]
    lines = [json.dumps({"text": t, "meta": {"pile_set_name": s}}) for t, s in documents]
    lines[10] = "not a document"
    lines[400:400] = ["{"]
    frames = [
        zstandard.compress("".join(f"{line}\n" for line in lines[i : i + 50]).encode()) for i in range(0, 601, 50)
    ]
    if damaged:
        frames[6] = frames[6][:30] + bytes(b ^ 255 for b in frames[6][30:])
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(frames))
    lost = range(300, 350) if damaged else ()
    left = [d for i, d in enumerate(documents) if i != 10 and i not in lost]
    for more in (["--workers", 1], ["--set", "input.range_bytes=1KiB", "--workers", 3]):
        code, found, rows = of(tmp_path, *more)
        assert figures(rows) == counted(left)
        assert (code, found["bad_lines"], len(found["damage"])) == (int(damaged), 2, int(damaged))
    _, _, error = invoke("stats", tmp_path)
    assert "2 bad lines" in error
    assert "a.jsonl.zst, line 11: not valid JSON" in error
    assert ("damage:" in error) == damaged


def test_other_layouts(tmp_path):
    """Parquet; fields of another corpus; more subsets than have rows of their own; control characters in names."""
    table = pa.table({"text": ["one", "zwei", "trois"], "source": ["a", "b", "a"]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert figures(of(tmp_path)[2]) == {"a": (2, 8), "b": (1, 4)}
    assert "input.subset_field: source is used" in invoke("stats", tmp_path)[2]
    many = [("x", f"s{i:03}") for i in range(SUBSETS_MAX + 5)]
    write_shard(tmp_path / "many" / "m.jsonl.zst", [*many, ("yy", "\x1b[31mred")])
    rows = of(tmp_path / "many")[2]
    assert len(rows) == SUBSETS_MAX + 1
    assert figures(rows)[OTHERS] == (6, 7)
    write_shard(tmp_path / "one" / "m.jsonl.zst", [("yy", "\x1b[31mred")])
    assert "\x1b" not in invoke("stats", tmp_path / "one")[1]


def test_nothing_to_count(tmp_path):
    assert "there is nothing to read" in invoke("stats")[2]
    code, _, error = invoke("stats", tmp_path / "none")
    assert code == 2
    assert "none" in error
    write_shard(tmp_path / "e.jsonl.zst", [])
    nothing = {"documents": 0, "text_bytes": 0, "subsets": [], "absent": [], "bad_lines": 0, "damage": []}
    assert of(tmp_path)[1] == nothing
    assert invoke("stats", tmp_path)[1].startswith("0 documents")
    assert [p.name for p in tmp_path.iterdir()] == ["e.jsonl.zst"]
