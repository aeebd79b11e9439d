"""verify finds nothing in sound runs, and finds each kind of wrong that is put into one."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from gpu_pile.explore import verify as module
from gpu_pile.explore.verify import NEAR_SAMPLE, verify
from tests.conftest import HERE, run, settings, write_shard
from tests.test_cli import invoke
from tests.test_run import words


@pytest.fixture(autouse=True)
def few_signals(monkeypatch):
    """The references are plain Python; what they find is tested on a small corpus."""
    monkeypatch.setattr(module, "SIGNALS_SAMPLE", 30)


def failures(folder, **options):
    return {c.name: c.examples for c in verify(folder, **options) if c.failed}


def change(path, column, row, value):
    """Replace one value of a Parquet file."""
    table = pq.read_table(path)
    values = table.column(column).to_pylist()
    assert values[row] != value
    values[row] = value
    at = table.schema.get_field_index(column)
    pq.write_table(
        table.set_column(at, table.schema.field(column), pa.array(values, table.schema.field(column).type)), path
    )


def rewrite_kept(path, function):
    lines = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read().split(b"\n")[:-1]
    path.write_bytes(zstandard.ZstdCompressor().compress(b"".join(line + b"\n" for line in function(lines))))


def test_a_sound_run(demo_run):
    checks = {c.name: c for c in verify(demo_run, everything=True)}
    assert not any(c.failed for c in checks.values())
    reasons = pq.read_table(demo_run / "reasons.parquet").to_pylist()
    kept = sum(r["documents"] for r in reasons if not r["reasons"])
    exact = sum(r["documents"] for r in reasons if "exact_duplicate" in r["reasons"])
    near = sum(r["documents"] for r in reasons if "near_duplicate" in r["reasons"])
    assert checks["kept lines"].checked == kept + 3  # and that each of 3 shards has no more
    assert (checks["exact"].checked, checks["near"].checked) == (exact, near)
    assert checks["signals"].checked == 30
    code, output, _ = invoke("verify", demo_run)
    assert (code, output.count(" ok,")) == (0, 5)


@pytest.mark.parametrize(
    "options",
    [
        {"dedupe": {"fuzzy": {"verify": "sketch"}}},
        {"dedupe": {"fuzzy": {"resolve": "connected", "threshold": 0.6}}},
        {"dedupe": {"exact": {"normalize": "words"}}},
        {"dedupe": {"fuzzy": {"shingle": "char", "width": 12, "sketch": "affine32"}}},
        {"thresholds": {"use": ["gopher"], "default": {"mean_word_length": {"min": 4, "required": True}}}},
        {"input": {"bare_strings": True, "text_lists": True}},
    ],
)
def test_sound_runs_of_other_settings(tmp_path, options):
    texts = [words(60, i % 9) + f" {i} tail" * (i % 3) for i in range(40)]
    documents = [(t, "x") for t in [*texts, "", "Some  Words", "some words", "lone \ud800 surrogate"]]
    odd = [b'"bare"', b'{"text": ["a", "b"]}', b"\r", b"broken", b'{"text": "caf\\u00e9 \\ud83d\\ude00"}']
    write_shard(tmp_path / "a.jsonl.zst", [*documents, *odd])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", **options))
    assert failures(tmp_path / "run", everything=True) == {}


def test_shards_in_every_state(tmp_path):
    """The nasty shards: gzip, plain, many frames, byte order marks, bad lines, damage."""
    run(settings([HERE / "data" / "nasty" / "*.jsonl*"], tmp_path / "run"))
    assert failures(tmp_path / "run") == {}
    run(
        settings(
            [HERE / "data" / "nasty" / "*.jsonl*"],
            tmp_path / "few",
            input={"bad_lines_max": 1, "line_bytes_max": 6_000_000},
        )
    )
    assert failures(tmp_path / "few") == {}


def test_kept_lines_that_are_not_the_inputs(demo_copy):
    kept = demo_copy / "kept" / "01.jsonl.zst"
    rewrite_kept(kept, lambda lines: [lines[0], lines[1].replace(b"e", b"E", 1), *lines[2:]])
    (example,) = failures(demo_copy)["kept lines"]
    assert example.startswith("01 line ")
    code, output, _ = invoke("verify", demo_copy)
    assert code == 1
    assert example[:60] in output


@pytest.mark.parametrize(
    "function", [lambda lines: lines[:-1], lambda lines: [*lines, b"{}"], lambda lines: lines[::-1]]
)
def test_kept_lines_that_lack_or_are_too_many(demo_copy, function):
    rewrite_kept(demo_copy / "kept" / "00.jsonl.zst", function)
    assert set(failures(demo_copy)) == {"kept lines"}


def rows_with(folder, reason):
    for path in sorted((folder / "decisions").iterdir()):
        for i, row in enumerate(pq.read_table(path).to_pylist()):
            if reason in row["reasons"]:
                yield path, i, row


def test_an_exact_duplicate_of_another_text(demo_copy):
    path, i, row = next(rows_with(demo_copy, "exact_duplicate"))
    kept = pq.read_table(demo_copy / "decisions" / "02.parquet", filters=[("keep", "==", True)])
    other = next(d for d in kept.column("doc_id").to_pylist() if d != row["witness"])
    change(path, "witness", i, other)
    (example,) = failures(demo_copy)["exact"]
    assert str(row["doc_id"]) in example
    assert "another text" in example


def test_a_witness_that_is_not_kept(demo_copy):
    path, i, row = next(rows_with(demo_copy, "near_duplicate"))
    change(path, "witness", i, row["doc_id"])
    (example,) = failures(demo_copy)["near"]
    assert "is not kept" in example


def test_a_similarity_that_is_made_up(demo_copy):
    path, i, row = next(r for r in rows_with(demo_copy, "near_duplicate") if r[2]["similarity"] < 0.95)
    change(path, "similarity", i, row["similarity"] + 0.01)
    (example,) = failures(demo_copy)["near"]
    assert f"{row['similarity']:.6f}" in example


def test_a_similarity_below_the_threshold(demo_copy):
    state = json.loads((demo_copy / "run.json").read_text())
    state["config"]["dedupe"]["fuzzy"]["threshold"] = 0.9
    (demo_copy / "run.json").write_text(json.dumps(state))
    assert "below the threshold 0.9" in failures(demo_copy)["near"][0]


def test_signals_and_reasons_that_are_wrong(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [(words(20 + i, i), "x") for i in range(30)])
    bounds = {"default": {"word_count": {"min": 25}}}
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", thresholds=bounds))
    change(tmp_path / "run" / "measured" / "a.parquet", "word_count", 7, 1)
    path, i, row = next(rows_with(tmp_path / "run", "word_count.min"))
    change(path, "reasons", i, ["hash_per_word.max"])
    said = failures(tmp_path / "run")["signals"]
    assert any(f"line {row['line']}: fails ['word_count.min'], recorded is ['hash_per_word.max']" in s for s in said)
    assert any("line 8: word_count is 1, the reference gives 27" in s for s in said)


def test_counts_that_do_not_add_up(demo_copy):
    change(demo_copy / "reasons.parquet", "documents", 0, 12345)
    report = json.loads((demo_copy / "report.json").read_text())
    report["kept_documents"] += 1
    (demo_copy / "report.json").write_text(json.dumps(report))
    said = failures(demo_copy)["counts"]
    assert any("reasons.parquet: documents" in s for s in said)
    assert any("report.json: kept_documents" in s for s in said)


def test_a_sample_is_a_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "NEAR_SAMPLE", 4)
    write_shard(tmp_path / "a.jsonl.zst", [(words(80, 1) + f" {i}", "x") for i in range(20)])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    near = verify(tmp_path / "run")[3]
    assert (near.checked, near.notes) == (4, ["a sample of 4 of 19; all with --all"])
    assert verify(tmp_path / "run", everything=True)[3].checked == 19
    assert NEAR_SAMPLE == 1000
