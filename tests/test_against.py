"""Runs against finished runs: as one run over everything in which the old documents come first."""

import json
import random
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gpu_pile.errors import ConfigError, DataError, UsageError
from gpu_pile.explore.run import open_run
from gpu_pile.explore.verify import verify
from gpu_pile.run import plan
from gpu_pile.run.index import build, runs
from gpu_pile.run.index.store import Index
from gpu_pile.run.stages.dedupe import stage
from tests.conftest import decisions, results, run, settings, write_shard
from tests.test_cli import invoke

WORDS = [f"w{i}" for i in range(400)]
DECIDED = ("subset", "keep", "reasons", "values", "similarity", "containment", "lost_shingles", "id")

CONFIGURATIONS = {
    "plain": {},
    "sketch": {"dedupe": {"fuzzy": {"verify": "sketch", "size": 256}}},
    "thresholds": {"thresholds": {"default": {"plain_word_count": {"min": 40}}}},
    "skipped": {"dedupe": {"exact": {"skip_subsets": ["y"]}}},
    "by subset": {"dedupe": {"scope": "subset"}},
    "no exact": {"dedupe": {"exact": {"enabled": False}}},
    "no fuzzy": {"dedupe": {"fuzzy": {"enabled": False}}},
    "containment": {"dedupe": {"fuzzy": {"threshold": 0.7, "accept": {"containment": 0.9}}}},
    "words": {"dedupe": {"exact": {"normalize": "words"}, "fuzzy": {"verify": "sketch"}}},
}


def corpus(rng, n):
    """Texts with copies and near copies of each other."""
    texts = [" ".join(rng.choices(WORDS, k=rng.randrange(20, 80))) for _ in range(max(1, n // 4))]
    while len(texts) < n:
        words = rng.choice(texts).split()
        for _ in range(rng.choice([0, 0, 1, 1, 2, 4])):
            words[rng.randrange(len(words))] = rng.choice(WORDS)
        if rng.random() < 0.3:
            words += rng.choices(WORDS, k=rng.randrange(4))
        texts.append(rng.choice([str, str.upper])(" ".join(words)))
    rng.shuffle(texts)
    return [(text, rng.choice("xyz")) for text in texts]


def placed(folder, shards):
    """What was decided about each document of shards, by its place; a witness by its place too."""
    names = sorted(path.stem for path in (folder / "decisions").glob("*.parquet"))
    found = {}
    for row in decisions(folder):
        witness = row["witness"] if row["witness"] is None else (names[row["witness"] >> 40 & 255], row["witness"])
        if row["witness"] is not None:
            line = (row["witness"] & (2**40 - 1)) + 1
            theirs = row.get("witness_run") is not None
            witness = (row["witness_shard"], row["witness_line"]) if theirs else (names[row["witness"] >> 40], line)
        if row["shard"] in shards:
            found[row["shard"], row["line"]] = [witness, *(row.get(name) for name in DECIDED)]
    return found


OFF = {"enabled": False}


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def three_runs(request, tmp_path_factory):
    """Old shards alone; new ones against them; all in one run that prefers the order of the shards."""
    folder, rng = tmp_path_factory.mktemp("against"), random.Random(len(request.param))
    documents = corpus(rng, 240)
    for name, first in (("a0", 0), ("a1", 80), ("b0", 160), ("b1", 200)):
        write_shard(folder / f"{name}.jsonl.zst", documents[first : first + (80 if name < "b" else 40)])
    more = CONFIGURATIONS[request.param]
    dedupe = {**more.get("dedupe", {}), "survivor": {"prefer": "first"}}
    return folder, {**more, "dedupe": dedupe}


def new_run(folder, name, against, more, shards=("b0", "b1"), **others):
    given = [folder / f"{shard}.jsonl.zst" for shard in shards]
    run(settings(given, folder / name, **{**more, **others}, input={"against": [str(path) for path in against]}))
    return folder / name


@pytest.mark.slow
def test_as_one_run_in_which_old_documents_come_first(three_runs):
    folder, more = three_runs
    run(settings([folder / "a0.jsonl.zst", folder / "a1.jsonl.zst"], folder / "old", **more))
    run(settings([folder / f"{s}.jsonl.zst" for s in ("a0", "a1", "b0", "b1")], folder / "both", **more))
    new = new_run(folder, "new", [folder / "old"], more)
    before, together = (placed(folder / name, ["a0", "a1"]) for name in ("old", "both"))
    assert {place: row[2] for place, row in before.items()} == {place: row[2] for place, row in together.items()}
    assert placed(new, ["b0", "b1"]) == placed(folder / "both", ["b0", "b1"])
    if more["dedupe"].get("exact", {}).get("enabled", True):
        assert any(row["witness_run"] for row in decisions(new))
    build.make([str(folder / "old")], folder / "index").check()
    assert results(new_run(folder, "indexed", [folder / "index"], more, workers=3, memory_bytes=10**5)) == results(new)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An old run, its index, and a run against it; do not change it."""
    folder, rng = tmp_path_factory.mktemp("finished"), random.Random(5)
    documents = corpus(rng, 120)
    write_shard(folder / "a0.jsonl.zst", documents[:60])
    write_shard(folder / "a1.jsonl.zst", documents[60:90])
    write_shard(folder / "b0.jsonl.zst", documents[90:])
    run(settings([folder / "a0.jsonl.zst"], folder / "old"))
    run(settings([folder / "a1.jsonl.zst"], folder / "old1"))
    build.make([str(folder / "old")], folder / "index")
    new_run(folder, "new", [folder / "index"], {}, ["b0"])
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """Copies of the shards, the old run made again, its index."""
    for name in ("a0", "b0"):
        shutil.copy2(finished / f"{name}.jsonl.zst", tmp_path)
    run(settings([tmp_path / "a0.jsonl.zst"], tmp_path / "old"))
    build.make([str(tmp_path / "old")], tmp_path / "index")
    return tmp_path


def test_indexes_put_together_are_the_runs_together(finished, tmp_path):
    build.make([str(finished / "index"), str(finished / "old1")], tmp_path / "both")
    made = Index(tmp_path / "both")
    made.check()
    assert [run.path for run in made.runs] == [str(finished / "old"), str(finished / "old1")]
    assert (np.lexsort(made.hash_keys.T[::-1]) == np.arange(90)).all()
    assert (np.diff(made.band_keys.astype(object)) >= 0).all()
    assert sorted(made.hash_rows.tolist()) == list(range(90))
    names = [made.shards[i].name for i in made.documents["shard"].tolist()]
    assert names == ["a0"] * 60 + ["a1"] * 30
    apart = new_run(finished, tmp_path / "apart", [finished / "old", finished / "old1"], {}, ["b0"])
    together = new_run(finished, tmp_path / "together", [tmp_path / "both"], {}, ["b0"])
    assert results(apart) == results(together)
    build.make([str(finished / "old"), str(finished / "old1")], tmp_path / "again")
    assert results(tmp_path / "again") == results(tmp_path / "both")


def test_the_run_is_shown_reported_verified_and_planned(finished):
    folder = finished / "new"
    opened = open_run(folder)
    removed = [row for row in decisions(folder) if row["witness_run"]]
    near = next(row for row in removed if row["reasons"] == ["near_duplicate"])
    story = opened.story(near["doc_id"])
    place = f"{near['witness_shard']}:{near['witness_line']} of {finished / 'old'}"
    assert story["reasons"][0]["explanation"] == f"of {place}"
    assert "difference" in story
    assert place in invoke("show", folder, near["doc_id"])[1]
    assert opened.report["against"][0]["documents"] == len(removed)
    assert "Duplicates of documents of old runs" in (folder / "report.html").read_text()
    checks = {check.name: check for check in verify(folder, everything=True)}
    assert not any(check.failed for check in checks.values())
    assert checks["old"].checked == len(removed)
    configuration = settings([finished / "b0.jsonl.zst"], folder, input={"against": [str(finished / "index")]})
    assert "(60 documents); old texts are read where a pair is verified" in plan.describe(configuration)
    assert opened.largest_clusters(3).table.num_rows == 3
    assert place in opened.difference(near["doc_id"], near["witness"]).titles[1]
    assert opened.decide({}).keep.tolist() == [row["keep"] for row in decisions(folder)]


def test_verify_finds_a_witness_that_the_old_run_does_not_keep(folder):
    new = new_run(folder, "new", [folder / "old"], {}, ["b0"])
    witness = next(row["witness_line"] for row in decisions(new) if row["witness_run"])
    path = folder / "old" / "decisions" / "a0.parquet"
    table = pq.read_table(path)
    keep = table.column("keep").to_numpy() & (table.column("line").to_numpy() != witness)
    pq.write_table(table.set_column(table.schema.get_field_index("keep"), "keep", pa.array(keep)), path)
    assert [check.name for check in verify(new) if check.failed] == ["old"]


def test_a_changed_old_run_decides_again_and_makes_its_index_stale(folder):
    new = new_run(folder, "new", [folder / "old"], {}, ["b0"])
    witness = next(row for row in decisions(new) if row["witness_run"])
    (folder / "takedown.yaml").write_text(f"[{{shard: a0, line: {witness['witness_line']}}}]")
    remove = {"remove": [str(folder / "takedown.yaml")]}
    run(settings([folder / "a0.jsonl.zst"], folder / "old", decide=remove))
    new_run(folder, "new", [folder / "old"], {}, ["b0"])
    places = {(row["witness_shard"], row["witness_line"]) for row in decisions(new)}
    assert ("a0", witness["witness_line"]) not in places
    with pytest.raises(UsageError, match="has changed since the index"):
        new_run(folder, "other", [folder / "index"], {}, ["b0"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"dedupe": {"fuzzy": {"width": 4}}}, "dedupe.fuzzy.width is 5 there and 4 here"),
        ({"dedupe": {"fuzzy": {"threshold": 0.5}}}, "dedupe.fuzzy.bands is 16 there"),
        ({"dedupe": {"exact": {"normalize": "words"}}}, "dedupe.exact.normalize"),
        ({"dedupe": {"scope": "subset"}}, "dedupe.scope"),
    ],
)
def test_other_definitions_are_an_error(finished, tmp_path, more, message):
    for against in ("old", "index"):
        with pytest.raises(UsageError, match=message):
            new_run(finished, tmp_path / "new", [finished / against], more, ["b0"])


def test_what_cannot_be_compared_is_an_error(finished, tmp_path):
    old = finished / "old"
    with pytest.raises(UsageError, match="is this run itself"):
        run(settings([finished / "a0.jsonl.zst"], old, input={"against": [str(old)]}))
    with pytest.raises(UsageError, match="comes twice"):
        new_run(finished, tmp_path / "new", [old, finished / "index"], {}, ["b0"])
    with pytest.raises(UsageError, match="no run directory"):
        new_run(finished, tmp_path / "new", [tmp_path / "gone"], {}, ["b0"])
    with pytest.raises(ConfigError, match=r"needs dedupe\.fuzzy\.resolve: witness"):
        new_run(finished, tmp_path / "new", [old], {"dedupe": {"fuzzy": {"resolve": "connected"}}}, ["b0"])
    for more, message in (({"contained": {}}, r"dedupe\.contained"), ({"copies_max": 2}, r"dedupe\.copies_max: 1")):
        with pytest.raises(ConfigError, match=message):
            new_run(finished, tmp_path / "new", [old], {"dedupe": more}, ["b0"])
    with pytest.raises(UsageError, match="exists; name a new folder"):
        build.make([str(old)], finished / "index")
    assert not (tmp_path / "new").exists()


def test_a_damaged_index_is_an_error(finished, tmp_path):
    index = tmp_path / "index"
    shutil.copytree(finished / "index", index)
    sketches, head = index / "sketches.bin", index / "index.json"
    content = sketches.read_bytes()
    sketches.write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"sketches.bin has .* bytes, expected"):
        new_run(finished, tmp_path / "new", [index], {}, ["b0"])
    sketches.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match="other bytes than were written"):
        build.make([str(index), str(finished / "old1")], tmp_path / "both")
    assert invoke("index", index, "--check")[0] == 1
    written = json.loads(head.read_text())
    for change, message in (({"documents": 7}, "is damaged"), ({"version": 2}, "has version 2")):
        head.write_text(json.dumps({**written, **change}))
        with pytest.raises((DataError, UsageError), match=message):
            new_run(finished, tmp_path / "new", [index], {}, ["b0"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]


def test_old_texts_are_needed_only_where_they_decide(folder):
    estimated = {"dedupe": {"fuzzy": {"verify": "sketch"}}}
    expected = decisions(new_run(folder, "estimated", [folder / "index"], estimated, ["b0"]))
    shard = folder / "a0.jsonl.zst"
    write_shard(shard, [("something else", "x")])
    with pytest.raises(DataError, match=r"a0.jsonl.zst has changed since it was measured.*verify to sketch"):
        new_run(folder, "new", [folder / "index"], {}, ["b0"])
    shard.unlink()
    with pytest.raises(DataError, match=r"cannot read .*a0.jsonl.zst"):
        new_run(folder, "new", [folder / "index"], {}, ["b0"])
    shutil.rmtree(folder / "old")
    runs._opened.cache_clear()
    with pytest.raises(DataError, match="are needed, and it is not there"):
        new_run(folder, "new", [folder / "index"], {}, ["b0"])
    shutil.rmtree(folder / "estimated")
    assert decisions(new_run(folder, "estimated", [folder / "index"], estimated, ["b0"])) == expected


def test_many_identical_documents_are_compared_once(tmp_path):
    text = " ".join(WORDS[:50])
    write_shard(tmp_path / "a0.jsonl.zst", [(text, "x")] * 2000)
    write_shard(tmp_path / "b0.jsonl.zst", [(text, "x")] * 2000 + [(f"{text} end", "x")])
    run(settings([tmp_path / "a0.jsonl.zst"], tmp_path / "old", dedupe={"exact": {"enabled": False}, "fuzzy": OFF}))
    new = new_run(tmp_path, "new", [tmp_path / "old"], {}, ["b0"])
    assert {row["witness_line"] for row in decisions(new)} == {1}
    assert pq.read_table(new / "pairs.parquet").num_rows == 1
    assert pq.read_table(new / "against.parquet").num_rows == 128


def test_an_index_that_is_not_finished_leaves_nothing(finished, tmp_path, monkeypatch):
    (tmp_path / "index.partial" / "0000").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(build.Writer, "head", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build.make([str(finished / "old")], tmp_path / "index")
    assert not list(tmp_path.iterdir())
    assert invoke("index", finished / "old", tmp_path / "index")[0] == 0
    assert results(tmp_path / "index") == results(finished / "index")


@pytest.mark.slow
def test_workers_of_a_cluster_and_a_run_that_was_stopped_leave_the_same_bytes(finished, tmp_path, monkeypatch):
    where = {"cluster": {"where": "local", "workers": 1, "threads": 1, "dashboard": False}}
    expected = results(finished / "new")
    assert results(new_run(finished, tmp_path / "cluster", [finished / "old"], where, ["b0"])) == expected
    with monkeypatch.context() as patch:
        patch.setattr(stage, "find_duplicates", lambda source: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            new_run(finished, tmp_path / "stopped", [finished / "old"], {}, ["b0"])
    assert results(new_run(finished, tmp_path / "stopped", [finished / "old"], {}, ["b0"])) == expected
