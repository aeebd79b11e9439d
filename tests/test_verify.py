"""verify finds nothing in sound runs, and finds each kind of wrong that is put into one."""

import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from gpu_pile.explore.verify import exact, near, near_left, signals, verify
from tests.conftest import HERE, decisions, run, settings, write_shard
from tests.test_cli import invoke
from tests.test_run import words


@pytest.fixture(autouse=True)
def few_signals(monkeypatch):
    """The references are plain Python; what they find is tested on a small corpus."""
    monkeypatch.setattr(signals, "SIGNALS_SAMPLE", 30)


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


@pytest.mark.slow
def test_a_sound_run(demo_run):
    """The numbers are those of the report."""
    checks = {c.name: c for c in verify(demo_run)}
    assert not any(c.failed for c in checks.values())
    report = json.loads((demo_run / "report.json").read_text())
    reasons = {r["reason"]: r["documents"] for r in report["reasons"]}
    assert checks["lines"].checked == report["documents"]
    assert checks["kept lines"].checked == report["kept_documents"]
    assert checks["exact"].checked == reasons["exact_duplicate"]
    assert checks["exact left"].checked == checks["near left"].checked == report["kept_documents"]
    assert checks["near"].checked == reasons["near_duplicate"]
    assert checks["signals"].numbers == f"30 of {report['documents']:,}"
    code, output, _ = invoke("verify", demo_run)
    assert (code, output.count(" ok,")) == (0, len(checks))


def test_each_check_is_told_as_it_ends(demo_run):
    order, read = [], []
    checks = verify(demo_run, done=lambda check: order.append((check, len(read))), progress=read.append)
    assert [check for check, _ in order] == checks
    assert [n for _, n in order] == [0, *[len(read)] * (len(checks) - 1)]


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_kept_lines_that_are_not_the_inputs(demo_copy):
    kept = demo_copy / "kept" / "01.jsonl.zst"
    rewrite_kept(kept, lambda lines: [lines[0], lines[1].replace(b"e", b"E", 1), *lines[2:]])
    (example,) = failures(demo_copy)["kept lines"]
    assert example.startswith("01 line ")
    code, output, _ = invoke("verify", demo_copy)
    assert code == 1
    assert example[:60] in output


@pytest.mark.slow
@pytest.mark.parametrize(
    "function", [lambda lines: lines[:-1], lambda lines: [*lines, b"{}"], lambda lines: lines[::-1]]
)
def test_kept_lines_that_lack_or_are_too_many(demo_copy, function):
    rewrite_kept(demo_copy / "kept" / "00.jsonl.zst", function)
    assert set(failures(demo_copy)) == {"kept lines"}


@pytest.mark.slow
def test_a_damaged_kept_shard(demo_copy):
    kept = demo_copy / "kept" / "00.jsonl.zst"
    raw = bytearray(kept.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    kept.write_bytes(raw)
    assert any("00.jsonl.zst is damaged" in e or "kept is" in e for e in failures(demo_copy)["kept lines"])
    kept.write_bytes(b"nonsense")
    assert f"{kept} is damaged" in failures(demo_copy)["kept lines"][0]


def rows_with(folder, reason):
    for path in sorted((folder / "decisions").iterdir()):
        for i, row in enumerate(pq.read_table(path).to_pylist()):
            if reason in row["reasons"]:
                yield path, i, row


@pytest.mark.slow
def test_an_exact_duplicate_of_another_text(demo_copy):
    path, i, row = next(rows_with(demo_copy, "exact_duplicate"))
    kept = pq.read_table(demo_copy / "decisions" / "02.parquet", filters=[("keep", "==", True)])
    other = next(d for d in kept.column("doc_id").to_pylist() if d != row["witness"])
    change(path, "witness", i, other)
    (example,) = failures(demo_copy)["exact"]
    assert str(row["doc_id"]) in example
    assert "another text" in example


@pytest.mark.slow
def test_a_witness_that_is_not_kept(demo_copy):
    path, i, row = next(rows_with(demo_copy, "near_duplicate"))
    change(path, "witness", i, row["doc_id"])
    (example,) = failures(demo_copy)["near"]
    assert "is not kept" in example


@pytest.mark.slow
def test_a_similarity_that_is_made_up(demo_copy):
    path, i, row = next(r for r in rows_with(demo_copy, "near_duplicate") if r[2]["similarity"] < 0.95)
    change(path, "similarity", i, row["similarity"] + 0.01)
    (example,) = failures(demo_copy)["near"]
    assert f"{row['similarity']:.6f}" in example


@pytest.mark.slow
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
    monkeypatch.setattr(near, "NEAR_SAMPLE", 4)
    monkeypatch.setattr(signals, "SIGNALS_SAMPLE", 7)
    write_shard(tmp_path / "a.jsonl.zst", [(words(80, 1) + f" {i}", "x") for i in range(20)])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    numbers = {c.name: c.numbers for c in verify(tmp_path / "run")}
    assert (numbers["near"], numbers["signals"]) == ("4 of 19", "7 of 20")
    numbers = {c.name: c.numbers for c in verify(tmp_path / "run", everything=True)}
    assert (numbers["near"], numbers["signals"]) == ("19", "20")


# duplicates that were left


@pytest.fixture
def families(tmp_path):
    """A run of 12 families: a text, a copy of it, and five near duplicates at 0.84 or more."""
    texts = []
    for family in range(12):
        text = words(200, family)
        texts += [text, text, *(f"{text} tail number {i} of family {family}" for i in range(5))]
    write_shard(tmp_path / "a.jsonl.zst", [(text, "x") for text in texts])
    survivor = {"prefer": "first"}
    configuration = settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", dedupe={"survivor": survivor})
    run(configuration)
    assert failures(tmp_path / "run", everything=True) == {}
    return configuration


def decide_again(configuration):
    folder = Path(configuration.output)
    (folder / "state" / "decide.json").unlink()
    run(configuration)
    return folder


@pytest.mark.slow
def test_every_exact_set_lost(families):
    """The equal documents are there, and nothing else says so: each is its own representative."""
    path = Path(families.output) / "clusters.parquet"
    clusters = pq.read_table(path)
    at = clusters.schema.get_field_index("representative")
    pq.write_table(clusters.set_column(at, "representative", clusters.column("doc_id")), path)
    found = failures(decide_again(families), everything=True)
    assert set(found) == {"exact left", "near left"}
    for sentence in found["exact left"]:
        copy, first = map(int, re.findall(r"doc_id (\d+)", sentence))
        assert copy == first + 1
        assert first % 7 == 0


@pytest.mark.slow
@pytest.mark.parametrize("everything", [False, True])
def test_every_second_verified_pair_lost(families, everything):
    path = Path(families.output) / "pairs.parquet"
    pairs = pq.read_table(path)
    pq.write_table(pairs.take(list(range(0, len(pairs), 2))), path)
    found = failures(decide_again(families), everything=everything)
    assert set(found) == {"near left"}
    assert "are both kept; their similarity is 0." in found["near left"][0]


@pytest.mark.parametrize("how", ["exact", "sketch"])
def test_near_duplicates_left_by_a_run_that_looked_for_none(tmp_path, how):
    write_shard(tmp_path / "a.jsonl.zst", [(words(200, i // 2) + f" tail {i % 2}", "x") for i in range(12)])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", dedupe={"fuzzy": {"enabled": False, "verify": how}}))
    assert failures(tmp_path / "run", everything=True) == {}
    claim(tmp_path / "run", "fuzzy", enabled=True)
    assert set(failures(tmp_path / "run")) == {"near left"}


def claim(folder, section, **values):
    """Make run.json say that another configuration made the run."""
    state = json.loads((folder / "run.json").read_text())
    state["config"]["dedupe"][section] |= values
    (folder / "run.json").write_text(json.dumps(state))


def test_duplicates_that_may_stay(tmp_path):
    """Within other subsets, of subsets that are left out, and where deduplication is off."""
    text = words(200, 1)
    documents = [(text, "x"), (text, "y"), (text + " tail", "z"), (text + " other tail", "z"), (text + " tail", "z")]
    write_shard(tmp_path / "a.jsonl.zst", documents)
    skip = {"skip_subsets": ["z"]}
    for i, dedupe in enumerate(
        (
            {"scope": "subset", "exact": skip, "fuzzy": skip},
            {"scope": "subset", "fuzzy": {"enabled": False}, "exact": {"enabled": False}},
        )
    ):
        run(settings([tmp_path / "a.jsonl.zst"], tmp_path / str(i), dedupe=dedupe))
        assert sum(r["keep"] for r in decisions(tmp_path / str(i))) == 5
        assert failures(tmp_path / str(i), everything=True) == {}


@pytest.mark.parametrize(("threshold", "rows"), [(0.3, 1), (0.5, 2), (0.6, 3), (0.7, 4), (0.8, 4), (0.95, 4)])
def test_the_other_banding_finds_pairs_at_any_threshold(threshold, rows):
    assert near_left.other_rows(threshold, 128) == rows
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 1 << 32, (2, 500, 128), dtype=np.uint32)
    other = np.where(rng.random(other.shape) < threshold, one, other)
    bands = np.arange(128 // rows)
    shared = near_left.band_keys(one, bands, rows) == near_left.band_keys(other, bands, rows)
    assert shared.any(axis=1).mean() > 0.99
    equal = [(one == other)[:, j :: 128 // rows][:, :rows].all(axis=1) for j in bands.tolist()]
    assert np.array_equal(shared, np.stack(equal, axis=1))


@pytest.mark.slow
def test_pairs_that_a_bucket_is_too_large_for(tmp_path):
    """Where a bucket holds more than bucket_neighbours_max documents, not all of its pairs are compared."""
    texts = [f"{words(300, i)} {tail}" for i in range(12) for tail in (words(40, 99), "one tail", "another tail")]
    write_shard(tmp_path / "a.jsonl.zst", [(text, "x") for text in texts])
    fuzzy = {"bucket_neighbours_max": 1, "threshold": 0.9, "bands": 1, "rows": 1}
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", dedupe={"fuzzy": fuzzy}))
    assert failures(tmp_path / "run", everything=True) == {}
    claim(tmp_path / "run", "fuzzy", bucket_neighbours_max=128)
    assert set(failures(tmp_path / "run", everything=True)) == {"near left"}


@pytest.mark.slow
def test_many_passes_find_the_same(families, monkeypatch):
    """Keys and pairs beyond what is held in memory, digests beyond the buffer."""
    path = Path(families.output) / "pairs.parquet"
    pairs = pq.read_table(path)
    pq.write_table(pairs.slice(0, 0), path)
    folder = decide_again(families)
    once = {c.name: c for c in verify(folder, everything=True)}
    monkeypatch.setattr(near_left, "KEYS_AT_A_TIME", 300)
    monkeypatch.setattr(near_left, "PAIRS_AT_A_TIME", 7)
    again = {c.name: c for c in verify(folder, everything=True)}
    assert again == once
    assert once["near left"].failed > 12 * 10
    monkeypatch.setattr(near_left, "LEFT_SAMPLE", 20)
    monkeypatch.setattr(near_left, "KEYS_AT_A_TIME", 30)
    few = {c.name: c for c in verify(folder)}["near left"]
    assert 0 < few.failed <= 20
    assert few.checked < few.total


def test_digests_are_sorted_in_runs(monkeypatch):
    monkeypatch.setattr(exact, "DIGESTS_AT_A_TIME", 50)
    values = [exact.digest(bytes([i % 97])) for i in range(500)]
    with tempfile.TemporaryFile() as store:
        digests = exact.Digests(store)
        for i, value in enumerate(values):
            digests.add(value, 1000 - i)
        copies = sorted(digests.copies())
    first = {v: min(1000 - i for i, w in enumerate(values) if w == v) for v in set(values)}
    assert copies == sorted((first[v], 1000 - i) for i, v in enumerate(values) if 1000 - i != first[v])


def test_edited_lines(tmp_path):
    text = "A sentence stands here and it ends.\nNo end mark on this line\n" * 3
    write_shard(tmp_path / "a.jsonl.zst", [(words(30, i) + ".\n" + text, "x") for i in range(5)])
    more = {"measure": {"signals": ["c4"]}, "edit": {"c4_lines": ["all"]}, "dedupe": {"fuzzy": {"enabled": False}}}
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", **more))
    assert all(r["edited_bytes"] for r in decisions(tmp_path / "run"))
    assert failures(tmp_path / "run", everything=True) == {}
    kept = tmp_path / "run" / "kept" / "a.jsonl.zst"
    rewrite_kept(kept, lambda lines: [lines[0].replace(b'"x"', b'"y"'), lines[1].replace(b"here", b"her"), *lines[2:]])
    first, second = failures(tmp_path / "run")["kept lines"]
    assert "more than the text differs" in first
    assert "bytes of text are gone" in second
