"""The main job end to end, on the demo corpus and on small corpora made for one question each."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from gpu_pile.errors import ConfigError, DataError, UsageError
from gpu_pile.gpu import profile
from gpu_pile.run import config, pipeline
from gpu_pile.run.progress import Reporter
from gpu_pile.text import unicode_reference
from tests.conftest import DEMO, HERE, decisions, results, run, settings, write_shard

ROOT = HERE.parent
QUICK = ROOT / "configs" / "quickstart.yaml"


def shard_lines(path: Path) -> list[bytes]:
    raw = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
    return raw.split(b"\n")


def words(n: int, seed: int) -> str:
    """n words that no other seed has."""
    return " ".join(f"w{seed}x{i}" for i in range(n))


def shingles(text: str) -> set[tuple[str, ...]]:
    w = unicode_reference.words_of_any_script(text)
    return {tuple(w[i : i + 5]) for i in range(len(w) - 4)} if len(w) >= 5 else {tuple(w)} if w else set()


def jaccard(x: str, y: str) -> float:
    a, b = shingles(x), shingles(y)
    return len(a & b) / len(a | b)


# the demo corpus


@pytest.fixture(scope="module")
def demo_texts() -> dict[int, dict]:
    """doc_id -> line and text, by plain Python."""
    out = {}
    for index, path in enumerate(sorted(DEMO.glob("*.jsonl.zst"))):
        for number, line in enumerate(shard_lines(path)):
            if line.strip():
                document = json.loads(line)
                out[(index << 40) + number] = {"line": line, "shard": path.name.removesuffix(".jsonl.zst"), **document}
    return out


def test_decisions_have_the_promised_columns(demo_run, demo_texts):
    for file in (demo_run / "decisions").glob("*.parquet"):
        schema = pq.read_schema(file)
        assert {name: schema.field(name).type for name in schema.names} == {
            "doc_id": pa.uint64(),
            "shard": pa.string(),
            "line": pa.int64(),
            "subset": pa.string(),
            "keep": pa.bool_(),
            "reasons": pa.list_(pa.string()),
            "values": pa.list_(pa.float64()),
            "witness": pa.uint64(),
            "similarity": pa.float64(),
            "containment": pa.float64(),
            "lost_shingles": pa.int64(),
            "cluster": pa.uint64(),
            "copies": pa.int64(),
            "edited_bytes": pa.int64(),
        }
    rows = decisions(demo_run)
    assert [r["doc_id"] for r in rows] == sorted(demo_texts)
    for r in rows:
        source = demo_texts[r["doc_id"]]
        assert (r["shard"], r["line"]) == (source["shard"], (r["doc_id"] & (2**40 - 1)) + 1)
        assert r["subset"] == source["meta"]["pile_set_name"]
        assert r["keep"] == (not r["reasons"])
        assert len(r["values"]) == len(r["reasons"])
    assert 0 < sum(r["keep"] for r in rows) < len(rows)


def test_every_removal_has_a_kept_witness(demo_run, demo_texts):
    rows = {r["doc_id"]: r for r in decisions(demo_run)}
    checked = {"exact_duplicate": 0, "near_duplicate": 0}
    for r in rows.values():
        kinds = set(r["reasons"]) & checked.keys()
        assert len(kinds) == (r["witness"] is not None)
        for kind in kinds:
            checked[kind] += 1
            witness = rows[r["witness"]]
            assert witness["keep"]
            assert witness["cluster"] == r["cluster"]
            mine, theirs = demo_texts[r["doc_id"]]["text"], demo_texts[r["witness"]]["text"]
            if kind == "exact_duplicate":
                assert mine == theirs
                assert r["similarity"] == 1.0
            else:
                assert r["similarity"] == jaccard(mine, theirs) >= 0.8
    assert min(checked.values()) > 5


def test_no_two_kept_documents_are_known_near_duplicates(demo_run, demo_texts):
    kept = {(r["shard"], r["line"]) for r in decisions(demo_run) if r["keep"]}
    found = missed = 0
    for row in (DEMO / "jaccard_pairs.tsv").read_text().splitlines()[1:]:
        a, b, value = row.split("\t")[:3]
        if float(value) >= 0.8:
            a, b = ((s, int(n)) for s, n in (x.split(":") for x in (a, b)))
            both = a in kept and b in kept
            missed += both
            found += not both
    assert found > 20
    assert missed / (found + missed) <= 0.03


def test_kept_shards_are_the_kept_lines_byte_for_byte(demo_run, demo_texts):
    by_shard: dict[str, list[bytes]] = {}
    for r in decisions(demo_run):
        if r["keep"]:
            by_shard.setdefault(r["shard"], []).append(demo_texts[r["doc_id"]]["line"] + b"\n")
    for path in sorted(DEMO.glob("*.jsonl.zst")):
        kept = demo_run / "kept" / path.name
        raw = kept.read_bytes()
        one = zstandard.ZstdDecompressor().decompressobj()
        assert one.decompress(raw) == b"".join(by_shard[path.name.removesuffix(".jsonl.zst")])
        assert one.eof
        assert one.unused_data == b"", "more than one frame"


def test_kept_shards_are_read_by_pandas_and_polars(demo_run):
    import pandas
    import polars

    path = sorted((demo_run / "kept").glob("*"))[0]
    n = sum(r["keep"] for r in decisions(demo_run) if f"{r['shard']}.jsonl.zst" == path.name)
    assert len(pandas.read_json(path, lines=True, compression="zstd")) == n
    raw = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read()
    assert len(polars.read_ndjson(raw)) == n


READERS = {
    "datasets": (
        "import datasets\nn = len(datasets.load_dataset('json', data_files=paths, split='train', cache_dir=scratch))"
    ),
    "lm_dataformat": "import lm_dataformat; n = sum(1 for p in paths for _ in lm_dataformat.Reader(p).stream_data())",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_kept_shards_are_read_by_the_usual_readers(demo_run, tmp_path, name):
    """In a process of their own: these packages warn and print as they like."""
    pytest.importorskip(name)
    paths = [str(p) for p in sorted((demo_run / "kept").glob("*"))]
    code = f"paths, scratch = {paths!r}, {str(tmp_path)!r}\n{READERS[name]}\nprint(n)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) == sum(r["keep"] for r in decisions(demo_run))


def test_golden_decisions(demo_run):
    """What the demo corpus comes to, down to every reason. Changed knowingly: python -m tests.golden"""
    from tests.golden import EXPECTED, rows

    assert rows(demo_run) == EXPECTED.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize(
    "change",
    [
        ["workers=1"],
        ["workers=3", "batch_bytes=5000"],
        ["workers=2", "batch_bytes=70000", "memory_bytes=4096"],
        [f"input.shards=['{DEMO}/0[12]*', '{DEMO}/*.zst']"],
    ],
    ids=["one worker", "tiny batches", "spilling", "other globs"],
)
def test_results_do_not_depend_on_how_it_is_run(demo_run, tmp_path, change):
    if any("shards" in c for c in change):
        assert len(list(DEMO.glob("0[12]*"))) == 2
    overrides = [f"input.shards=['{DEMO}']", f"output={tmp_path / 'run'}", *change]
    run(config.load(QUICK, overrides))
    assert results(tmp_path / "run") == results(demo_run)


@pytest.mark.slow
def test_results_do_not_depend_on_the_hash_seed(demo_run, tmp_path):
    command = [sys.executable, "-m", "gpu_pile.cli", "run", str(QUICK), "--set", f"output={tmp_path / 'run'}"]
    done = subprocess.run(
        [*command, "--set", f"input.shards=['{DEMO}']"],
        env={"PYTHONHASHSEED": "4711", "PATH": "/usr/bin"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert results(tmp_path / "run") == results(demo_run)


# resuming


def stamps(folder: Path) -> dict[str, int]:
    return {p.relative_to(folder).as_posix(): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    names = {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)}
    return {n.split("/")[0] for n in names if "." not in n.split("/")[0] or n.endswith(".parquet")} - {
        "state",
        ".lock",
        ".claim.json",
    }


def again(folder: Path, *overrides: str):
    return run(config.load(QUICK, [f"input.shards=['{DEMO}']", f"output={folder}", *overrides]))


def test_the_same_command_again_does_nothing(demo_copy):
    before = stamps(demo_copy)
    again(demo_copy)
    assert changed(before, stamps(demo_copy)) == set()


def test_a_changed_threshold_redoes_only_decide_and_write(demo_copy):
    before = stamps(demo_copy)
    again(demo_copy, "thresholds.default={word_count: {min: 300}}")
    assert changed(before, stamps(demo_copy)) == {"decisions", "kept", "reasons.parquet"}


def test_a_changed_similarity_redoes_dedupe_but_not_measure(demo_copy):
    before = stamps(demo_copy)
    again(demo_copy, "dedupe.fuzzy.threshold=0.9")
    assert {"clusters.parquet", "pairs.parquet", "decisions"} <= changed(before, stamps(demo_copy))
    assert "measured" not in changed(before, stamps(demo_copy))


def test_a_lost_file_is_made_again(demo_copy, demo_run):
    (demo_copy / "kept" / "00.jsonl.zst").unlink(missing_ok=True)
    next((demo_copy / "measured").iterdir()).unlink()
    next((demo_copy / "decisions").iterdir()).unlink()
    again(demo_copy)
    assert results(demo_copy) == results(demo_run)


@pytest.mark.parametrize("name", ["histograms/01.parquet", "samples/02.parquet", "reasons.parquet"])
def test_a_lost_summary_is_made_again(demo_copy, demo_run, name):
    (demo_copy / name).unlink()
    again(demo_copy)
    assert results(demo_copy) == results(demo_run)


def test_changed_inputs_are_noticed(tmp_path):
    shard = tmp_path / "in" / "a.jsonl.zst"
    write_shard(shard, [(words(60, i), "Pile-CC") for i in range(5)])
    configuration = settings([shard], tmp_path / "run")
    run(configuration)
    before = stamps(tmp_path / "run")
    shard.touch()  # another time, the same bytes
    run(configuration)
    assert changed(before, stamps(tmp_path / "run")) == set()
    write_shard(shard, [(words(60, i), "Pile-CC") for i in range(4)])
    context = run(configuration)
    assert any("has changed" in note for note in context.reporter.notes)
    assert len(decisions(tmp_path / "run")) == 4


def test_shards_can_come_and_go(tmp_path):
    for name in "abc":
        write_shard(tmp_path / "in" / f"{name}.jsonl.zst", [(words(60, ord(name) * 10 + i), "x") for i in range(3)])
    out = tmp_path / "run"
    run(settings([tmp_path / "in"], out))
    write_shard(tmp_path / "in" / "aa.jsonl.zst", [(words(60, 1), "x")])  # moves the others' indexes
    (tmp_path / "in" / "c.jsonl.zst").unlink()
    before = (out / "histograms" / "b.parquet").stat().st_mtime_ns
    context = run(settings([tmp_path / "in"], out))
    assert any("removed from the run: c" in note for note in context.reporter.notes)
    assert sorted(p.name for p in (out / "kept").iterdir()) == ["a.jsonl.zst", "aa.jsonl.zst", "b.jsonl.zst"]
    assert (out / "histograms" / "b.parquet").stat().st_mtime_ns == before, "an unchanged shard is not measured again"
    fresh = tmp_path / "fresh"
    run(settings([tmp_path / "in"], fresh))
    assert results(out) == results(fresh)


# thresholds and duplicates together


def test_a_survivor_is_chosen_among_the_documents_that_pass(tmp_path):
    """The longer near duplicate fails a threshold: the shorter one must stay, not fall as its duplicate."""
    base = words(200, 1)
    longer, shorter = base + " " + "# " * 60, base
    write_shard(tmp_path / "a.jsonl.zst", [(longer, "x"), (shorter, "x")])
    rules = {"default": {"hash_per_word": {"max": 0.1}}}
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", thresholds=rules))
    first, second = decisions(tmp_path / "run")
    assert second["keep"]
    assert first["reasons"] == ["hash_per_word.max", "near_duplicate"], "every reason is recorded"
    assert first["witness"] == second["doc_id"]
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "other"))
    first, second = decisions(tmp_path / "other")
    assert first["keep"]
    assert second["reasons"] == ["near_duplicate"]


def test_survivor_policy(tmp_path):
    text = words(100, 1)
    write_shard(tmp_path / "a.jsonl.zst", [(text, "Pile-CC"), (text + " tail", "Pile-CC"), (text, "Wikipedia (en)")])

    def kept(**survivor):
        folder = tmp_path / json.dumps(survivor).replace("/", "")
        run(settings([tmp_path / "a.jsonl.zst"], folder, dedupe={"survivor": survivor}))
        return [r["line"] for r in decisions(folder) if r["keep"]]

    assert kept() == [2]
    assert kept(prefer="first") == [1]
    assert kept(subsets=["Wikipedia (en)"]) == [3]
    assert kept(subsets=["Wikipedia (en)", "Pile-CC"], prefer="first") == [3]


def test_scope_and_skipped_subsets(tmp_path):
    text = words(100, 1)
    write_shard(tmp_path / "a.jsonl.zst", [(text, "A"), (text, "B"), (text + " more", "A"), (text + " more", "B")])

    def kept(name, dedupe):
        run(settings([tmp_path / "a.jsonl.zst"], tmp_path / name, dedupe=dedupe))
        return [r["line"] for r in decisions(tmp_path / name) if r["keep"]]

    assert kept("corpus", {}) == [3]
    assert kept("subset", {"scope": "subset"}) == [3, 4]
    skip = ["B"]
    assert kept("skip", {"exact": {"skip_subsets": skip}, "fuzzy": {"skip_subsets": skip}}) == [2, 3, 4]
    assert kept("exact only", {"fuzzy": {"enabled": False}}) == [1, 3]
    assert kept("nothing", {"fuzzy": {"enabled": False}, "exact": {"enabled": False}}) == [1, 2, 3, 4]
    assert kept("fuzzy only", {"exact": {"enabled": False}}) == [3]


def test_normalised_exact_duplicates(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [("Some Words, here!", "x"), ("some words   HERE", "x"), ("some words", "x")])
    only_exact = {"fuzzy": {"enabled": False}}
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "bytes", dedupe=only_exact))
    assert [r["keep"] for r in decisions(tmp_path / "bytes")] == [True, True, True]
    run(
        settings([tmp_path / "a.jsonl.zst"], tmp_path / "words", dedupe={**only_exact, "exact": {"normalize": "words"}})
    )
    assert [r["reasons"] for r in decisions(tmp_path / "words")] == [[], ["exact_duplicate"], []]


def test_short_empty_and_wordless_documents(tmp_path):
    texts = ["", "", "...", "...", "!!!", "one two", "one two", "One two", "one two three four five"]
    write_shard(tmp_path / "a.jsonl.zst", [(t, "x") for t in texts])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    reasons = [r["reasons"] for r in decisions(tmp_path / "run")]
    # no words, no shingles: equal bytes alone make them duplicates; a text of 1 to 4 words is one shingle
    assert reasons == [
        [],
        ["exact_duplicate"],
        [],
        ["exact_duplicate"],
        [],
        [],
        ["exact_duplicate"],
        ["near_duplicate"],
        [],
    ]


@pytest.mark.parametrize("how", ["witness", "connected"])
def test_chains(tmp_path, how):
    """Each text is similar to the next one only. The witness rule keeps the ends, connected components one of all."""
    all_words = [f"w{i}" for i in range(400)]
    texts = [" ".join(all_words[i * 30 : i * 30 + 200 + i]) for i in range(5)]
    assert jaccard(texts[0], texts[1]) > 0.7 > jaccard(texts[0], texts[2])
    write_shard(tmp_path / "a.jsonl.zst", [(t, "x") for t in texts])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", dedupe={"fuzzy": {"threshold": 0.7, "resolve": how}}))
    rows = decisions(tmp_path / "run")
    kept = [r["line"] - 1 for r in rows if r["keep"]]
    assert len({r["cluster"] for r in rows}) == 1
    if how == "connected":
        assert kept == [4]
        assert [r["witness"] for r in rows] == [4, 4, 4, 4, None]
        assert [r["similarity"] is None for r in rows] == [True, True, True, False, True]
    else:
        assert kept == [0, 2, 4]
        assert all(r["similarity"] >= 0.7 for r in rows if not r["keep"])


@pytest.mark.parametrize("shingle", ["auto", "byte", "char"])
@pytest.mark.parametrize("sketch", ["fss", "affine32"])
@pytest.mark.parametrize("verify", ["exact", "sketch"])
def test_every_way_to_find_near_duplicates(tmp_path, shingle, sketch, verify):
    texts = [words(150, 1), words(150, 1) + " x y", words(150, 2)]
    write_shard(tmp_path / "a.jsonl.zst", [(t, "x") for t in texts])
    fuzzy = {"shingle": shingle, "width": 5 if shingle == "auto" else 20, "sketch": sketch, "verify": verify}
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", dedupe={"fuzzy": fuzzy}))
    assert [r["keep"] for r in decisions(tmp_path / "run")] == [False, True, True]


def test_a_hash_collision_removes_nothing(tmp_path, monkeypatch):
    """Equal hashes of different texts are noticed, equal texts among them are found (here: every hash is the same)."""
    import numpy as np

    from gpu_pile.ops.doc_hash import doc_hash

    write_shard(tmp_path / "a.jsonl.zst", [(words(30, i // 2), "x") for i in range(6)])
    monkeypatch.setitem(doc_hash.implementations, "cpu", lambda text: np.zeros((len(text), 2), np.uint64))
    context = run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    assert [r["keep"] for r in decisions(tmp_path / "run")] == [True, False, True, False, True, False]
    assert any("share a 128-bit hash" in note for note in context.reporter.notes)


def test_lm_dataformat_variants(tmp_path):
    lines = [b'"a bare string"', b'{"text": ["part one", "part two"]}', b'{"text": "plain"}', b'{"text": [1]}']
    write_shard(tmp_path / "a.jsonl.zst", lines)
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "strict"))
    assert [r["line"] for r in decisions(tmp_path / "strict")] == [3]
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "lm", input={"bare_strings": True, "text_lists": True}))
    assert [r["line"] for r in decisions(tmp_path / "lm")] == [1, 2, 3]
    from gpu_pile import open_run

    assert open_run(tmp_path / "lm").document(1)["text"] == "part one\n\npart two"


# bad input


def test_bad_lines_are_listed_and_the_rest_is_done(tmp_path):
    good = [(words(60, i), "x") for i in range(3)]
    write_shard(tmp_path / "a.jsonl.zst", [good[0], b"{broken", good[1], b"", b'{"text": 5}', good[2]])
    context = run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    assert [r["line"] for r in decisions(tmp_path / "run")] == [1, 3, 6]
    bad = [json.loads(line) for line in (tmp_path / "run" / "bad_lines.jsonl").read_text().splitlines()]
    assert [(b["shard"], b["line"]) for b in bad] == [("a", 2), ("a", 5)]
    assert all(b["reason"] for b in bad)
    assert pipeline.damages(context) == []


@pytest.mark.parametrize("batch_bytes", [200, 16 << 20])
def test_too_many_bad_lines_stop_that_shard_alone(tmp_path, batch_bytes):
    lines = [b"junk" if i % 2 else (words(20, i), "x") for i in range(20)]
    write_shard(tmp_path / "bad.jsonl.zst", lines)
    write_shard(tmp_path / "good.jsonl.zst", [(words(20, 100 + i), "x") for i in range(3)])
    context = run(settings([tmp_path], tmp_path / "run", input={"bad_lines_max": 3}, batch_bytes=batch_bytes))
    (said,) = pipeline.damages(context)
    assert "bad.jsonl.zst" in said
    assert "bad_lines_max = 3" in said
    rows = decisions(tmp_path / "run")
    assert [r["line"] for r in rows if r["shard"] == "bad"] == [1, 3, 5, 7]
    assert len([r for r in rows if r["shard"] == "good"]) == 3


def test_a_text_field_that_is_nowhere(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [b'{"body": "hello"}'] * 5)
    with pytest.raises(ConfigError, match=r"text_field is 'text', and line 1 of a has the fields 'body'; set"):
        run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    assert not (tmp_path / "run" / "kept").exists()
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", input={"text_field": "body"}))
    assert len(decisions(tmp_path / "run")) == 5


def test_no_documents_at_all_is_a_run_of_nothing(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    assert decisions(tmp_path / "run") == []
    assert zstandard.ZstdDecompressor().stream_reader((tmp_path / "run/kept/a.jsonl.zst").read_bytes()).read() == b""


@pytest.mark.slow
def test_the_nasty_shards_in_one_run(tmp_path):
    """Damage in some shards costs nothing in the others, and each is named."""
    nasty = HERE / "data" / "nasty"
    manifest = json.loads((nasty / "MANIFEST.json").read_text())["files"]
    context = run(settings([nasty / "*.jsonl*"], tmp_path / "run"))
    said = pipeline.damages(context)
    for name, entry in manifest.items():
        if entry["container"] == "damaged":
            assert any(f"/{name}:" in s for s in said), name
        elif entry["container"] == "ok":
            assert not any(f"/{name}:" in s for s in said), name
            got = {r["line"] for r in decisions(tmp_path / "run") if r["shard"] == name.split(".jsonl")[0]}
            assert {g["line"] for g in entry["good"]} <= got


def test_an_output_that_is_something_else(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [(words(60, 1), "x")])
    write_shard(tmp_path / "b.jsonl.zst", [(words(60, 2), "x")])
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "thesis.tex").write_text("dear to me")
    with pytest.raises(UsageError, match=r"thesis\.tex"):
        run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "files"))
    assert [p.name for p in (tmp_path / "files").iterdir()] == ["thesis.tex"]
    with pytest.raises(UsageError, match="is a file"):
        run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "files" / "thesis.tex"))
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    before = results(tmp_path / "run")
    with pytest.raises(UsageError, match="belongs to another run"):
        run(settings([tmp_path / "b.jsonl.zst"], tmp_path / "run"))
    assert results(tmp_path / "run") == before


def test_a_failing_stage_leaves_nothing_half_written(tmp_path, monkeypatch):
    import errno

    import pyarrow.parquet

    shutil.copytree(DEMO, tmp_path / "in")
    written = 0
    real = pyarrow.parquet.ParquetWriter.write_table

    def sometimes_full(self, *args, **kwargs):
        nonlocal written
        written += 1
        if written > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, *args, **kwargs)

    configuration = settings([tmp_path / "in"], tmp_path / "run")
    monkeypatch.setattr(pyarrow.parquet.ParquetWriter, "write_table", sometimes_full)
    with pytest.raises(DataError, match="disk is full"):
        run(configuration)
    assert not list((tmp_path / "run").rglob("*.partial"))
    monkeypatch.setattr(pyarrow.parquet.ParquetWriter, "write_table", real)
    run(configuration)
    run(settings([tmp_path / "in"], tmp_path / "fresh"))
    assert results(tmp_path / "run") == results(tmp_path / "fresh")


@pytest.mark.slow
def test_huge_documents(tmp_path):
    """Documents of 50 MB, far larger than a batch, among small ones."""
    sentence = "the quick brown fox number {} jumps over the lazy dog of this very long document. "
    huge = "".join(sentence.format(i) for i in range(620_000))
    assert len(huge) > 50_000_000
    texts = [words(60, 1), huge, words(60, 2), "a beginning of its own. " + huge, "x" * 50_000_000]
    write_shard(tmp_path / "a.jsonl.zst", [(t, "x") for t in texts])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    rows = decisions(tmp_path / "run")
    assert [r["reasons"] for r in rows] == [[], ["near_duplicate"], [], [], []]
    assert rows[1]["witness"] == 3
    assert rows[1]["similarity"] > 0.99999


def test_stages_and_their_parts_are_profiler_ranges_on_a_gpu(monkeypatch):
    """Nested as they are; and nothing is imported where no GPU is used."""
    seen = []

    @contextlib.contextmanager
    def annotate(name, domain):
        seen.append((f"begin {name}", domain))
        yield
        seen.append((f"end {name}", domain))

    def once():
        reporter = Reporter()
        with reporter.stage("measure"), reporter.span("measure", "parse"):
            pass
        return [name for name, domain in seen if domain == "gpu_pile"]

    monkeypatch.setitem(sys.modules, "nvtx", None)  # importing it fails
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert once() == []
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace())
    profile._nvtx.cache_clear()
    assert once() == []  # nvtx may be missing
    monkeypatch.setitem(sys.modules, "nvtx", types.SimpleNamespace(annotate=annotate))
    profile._nvtx.cache_clear()
    assert once() == ["begin measure", "begin measure: parse", "end measure: parse", "end measure"]
    profile._nvtx.cache_clear()
