"""dedupe.substrings: what is cut equals an exhaustive search; resume, workers, memory; what else must hold."""

import json
import random
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gpu_pile.errors import ConfigError, UsageError
from gpu_pile.explore.run import open_run
from gpu_pile.explore.verify import verify
from gpu_pile.run import plan
from tests import fake_gpu
from tests.conftest import decisions, results, run, settings, write_shard

OFF = {"exact": {"enabled": False}, "fuzzy": {"enabled": False}}


def search(folder, documents, size=16, shards=1, last="report", **more):
    """A run over texts, nothing but substrings looked for; returns the context."""
    per_shard = -(-len(documents) // shards)
    for i in range(shards):
        part = documents[i * per_shard : (i + 1) * per_shard]
        write_shard(folder / f"{i:02d}.jsonl.zst", [(text, "x") for text in part])
    substrings = more.pop("substrings", {})
    substrings = substrings if "min_tokens" in substrings else {"min_bytes": size, **substrings}
    dedupe = {**OFF, "substrings": substrings, **more.pop("dedupe", {})}
    rest = {"backend": "cpu", "measure": {"signals": ["lengths"]}, **more}
    return run(settings([folder / "*.zst"], folder / "run", dedupe=dedupe, **rest), last)


def exhaustive(documents, size):
    """Every byte that a copy covers, by the definition: per document, True where it is cut."""
    seen, repeated = {}, []
    for d, text in enumerate(t.encode() for t in documents):
        mask = np.zeros(len(text), bool)
        for i in range(len(text) - size + 1):
            first = seen.setdefault(text[i : i + size], (d, i))
            if first[0] < d or first[1] + size <= i:
                mask[i : i + size] = True
        i = 0
        while i < len(text):  # whole characters
            j = i
            while j < len(text) and mask[j] == mask[i]:
                j += 1
            if mask[i]:
                while i < j and text[i] & 0xC0 == 0x80:
                    mask[i] = False
                    i += 1
                end = j
                while end > i and end < len(text) and text[end] & 0xC0 == 0x80:
                    end -= 1
                    mask[end] = False
            i = j
        repeated.append(mask)
    return repeated


def found(folder, documents):
    """The same, as the run has it, after checking that the sources have the same bytes and come before."""
    ids = [row["doc_id"] for row in decisions(folder / "run")]
    raw = {i: documents[k].encode() for k, i in enumerate(ids)}
    masks = {i: np.zeros(len(text), bool) for i, text in raw.items()}
    for file in sorted((folder / "run" / "substrings").glob("*")):
        for row in pq.read_table(file).to_pylist():
            own, end = row["doc_id"], 0
            assert row["cut_bytes"] == sum(row["lengths"])
            for start, length, source, at in zip(
                row["starts"], row["lengths"], row["sources"], row["source_starts"], strict=True
            ):
                assert start >= end
                end = start + length
                assert raw[own][start:end] == raw[source][at : at + length]
                assert (source, at) < (own, start)
                masks[own][start:end] = True
    assert len(ids) == len(documents)
    return [masks[i] for i in ids]


def same(folder, documents, size):
    wanted, got = exhaustive(documents, size), found(folder, documents)
    for i, (a, b) in enumerate(zip(wanted, got, strict=True)):
        assert np.array_equal(a, b), (i, documents[i][:100])


def generated(seed, n, words=400, phrases=30):
    """Documents that share phrases, among them runs, periods and characters of several bytes."""
    rng = random.Random(seed)
    shared = ["".join(rng.choice("abc é漢\n") for _ in range(rng.randrange(5, 90))) for _ in range(phrases)]
    shared += ["a" * 200, "ab" * 60, "-" * 47, "漢" * 40]
    out = []
    for _ in range(n):
        parts = []
        for _ in range(rng.randrange(1, 12)):
            if rng.random() < 0.5:
                text = rng.choice(shared)
                lo = rng.randrange(len(text))
                parts.append(text[lo : lo + rng.randrange(1, 80)])
            else:
                parts.append(str(rng.random()))
        out.append("".join(parts))
    return out


def test_what_is_cut_equals_an_exhaustive_search(tmp_path):
    documents = generated(1, 300)
    search(tmp_path, documents, 16, shards=3, last="write")
    same(tmp_path, documents, 16)


texts = st.lists(
    st.lists(st.sampled_from(["a" * 9, "ab" * 5, "é漢", "x", "\n", "0123456789", "word ", "😀" * 3]), max_size=14).map(
        "".join
    ),
    max_size=7,
)


@pytest.mark.slow
@hypothesis_settings(max_examples=20, deadline=None)
@given(documents=texts, size=st.sampled_from([16, 17, 40]))
def test_any_texts(tmp_path_factory, documents, size):
    folder = tmp_path_factory.mktemp("any")
    search(folder, documents, size, last="decide")
    same(folder, documents, size)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """(folder, documents) of a finished run."""
    folder, documents = tmp_path_factory.mktemp("searched"), generated(2, 240)
    documents += ["q" * 39 + "漢" * 30, "漢" * 30 + "r" * 5, "short", documents[7][:400] + "tail", documents[7] * 3]
    documents += [f"{i * i} the same sentence in every document {i}" for i in range(1100)]
    search(folder, documents, 16, shards=2)
    return folder, documents


def test_kept_lines_are_the_texts_without_what_is_cut(searched):
    folder, documents = searched
    masks = exhaustive(documents, 16)
    left = [bytes(np.frombuffer(t.encode(), np.uint8)[~m]).decode() for t, m in zip(documents, masks, strict=True)]
    rows = decisions(folder / "run")
    assert [row["keep"] for row in rows] == [bool(t) or not d for t, d in zip(left, documents, strict=True)]
    assert {tuple(row["reasons"]) for row in rows if not row["keep"]} == {("repeated_text",)}
    assert [row["repeated_bytes"] for row in rows] == [int(m.sum()) for m in masks]
    assert all(row["edited_bytes"] == row["repeated_bytes"] * row["keep"] for row in rows)
    kept = [
        json.loads(line)["text"]
        for file in sorted((folder / "run" / "kept").glob("*"))
        for line in zstandard.ZstdDecompressor().stream_reader(file.read_bytes()).read().splitlines()
    ]
    assert kept == [t for t, row in zip(left, rows, strict=True) if row["keep"]]


def test_neither_memory_nor_workers_nor_blocks_change_a_byte(searched, tmp_path):
    """So little memory that a value is in more records than a buffer holds; and a scope of one subset."""
    folder, _ = searched
    for file in folder.glob("*.zst"):
        shutil.copy(file, tmp_path)
    rest = {"workers": 3, "memory_bytes": 1, "batch_bytes": 2000, "spool_bytes": 0, "scratch": str(tmp_path / "s")}
    dedupe = {**OFF, "scope": "subset", "substrings": {"min_bytes": 16}}
    signals = {"signals": ["lengths"]}
    run(settings([tmp_path / "*.zst"], tmp_path / "run", backend="cpu", measure=signals, dedupe=dedupe, **rest))
    assert results(tmp_path / "run") == results(folder / "run")


def test_what_is_wrong_is_refused_with_what_to_do(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [("text", "x")])
    cut = {"dedupe": {"substrings": {"min_bytes": 200}}}
    for more, message in (
        ({"write": {"keep": "bitmap"}}, "use keep: lines, or dedupe.substrings.cut: false"),
        ({"edit": {"c4_lines": ["all"]}}, "both change texts"),
        ({"dedupe": {"substrings": {"min_bytes": 15}}}, "dedupe.substrings.min_bytes: .*16"),
        ({"dedupe": {"substrings": {"min_bytes": 200, "min_tokens": 50}}}, "give one of them"),
        ({"dedupe": {"substrings": {"max_share": 0}}}, "dedupe.substrings.max_share: .*0"),
        ({"dedupe": {"substrings": {"min_byte": 200}}}, "did you mean 'min_bytes'"),
    ):
        with pytest.raises(ConfigError, match=message):
            settings([tmp_path / "*.zst"], tmp_path / "run", **{**cut, **more})
    pq.write_table(pa.table({"text": ["a"], "meta": [{"pile_set_name": "x"}]}), tmp_path / "b.parquet")
    with pytest.raises(UsageError, match="JSON lines; rows of Parquet and Arrow are kept as they are"):
        run(settings([tmp_path / "b.parquet"], tmp_path / "run", **cut))
    assert not (tmp_path / "run").exists()


def test_what_is_left_and_how_much_is_repeated_decide_what_stays(tmp_path):
    first, second = "0123456789abcdefghij", "the other sentence, as long"
    documents = [first, first + "XY", first + "XY" + second, second + "Z", first + second, first * 2 + "!" * 40]
    search(tmp_path, documents, last="write")  # nothing is left of the fifth
    kept = {i for i, row in enumerate(decisions(tmp_path / "run")) if row["keep"]}
    assert kept == {0, 1, 2, 3, 5}
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "substrings").iterdir()}
    # "XY" is the source of what the third loses, "Z" of nothing
    search(tmp_path, documents, last="write", substrings={"left_min_bytes": 3})
    assert {i for i, row in enumerate(decisions(tmp_path / "run")) if not row["keep"]} == {3, 4}
    search(tmp_path, documents, last="write", substrings={"cut": False, "max_share": 0.5})
    rows = decisions(tmp_path / "run")
    shares = [row["repeated_bytes"] / len(text) for row, text in zip(rows, documents, strict=True)]
    assert [row["keep"] for row in rows] == [share <= 0.5 for share in shares]
    assert not any(row["edited_bytes"] for row in rows)
    assert rows[1]["values"] == [shares[1]]
    # all of it without another search
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "run" / "substrings").iterdir()}


def test_without_the_option_nothing_of_it_is_there(tmp_path):
    search(tmp_path, ["a" * 60, "a" * 60], last="write")
    assert (tmp_path / "run" / "substrings").is_dir()
    signals = {"signals": ["lengths"]}
    run(settings([tmp_path / "*.zst"], tmp_path / "run", backend="cpu", measure=signals, dedupe=OFF), "write")
    assert not [*(tmp_path / "run" / "substrings").iterdir()]
    assert all(row["keep"] and "repeated_bytes" not in row for row in decisions(tmp_path / "run"))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The same with few documents."""
    folder, documents = tmp_path_factory.mktemp("small"), generated(3, 24)
    documents.append("Before. " + documents[7][:400] + " Between. " + documents[3][:300])
    search(folder, documents, 16, shards=2)
    return folder, documents


def test_show_verify_report_and_plan_know_it(small):
    folder, documents = small
    story = open_run(folder / "run").story(decisions(folder / "run")[-1]["doc_id"])
    marked = "".join(p["text"] for p in story["passages"] if p["kind"] == "repeated")
    assert "".join(p["text"] for p in story["passages"]) == documents[-1]
    assert sum(r["bytes"] for r in story["repeated"]) == len(marked.encode()) > 0
    checks = {check.name: check for check in verify(folder / "run", everything=True)}
    assert [(check.name, check.examples) for check in checks.values() if check.failed] == []
    report = json.loads((folder / "run" / "report.json").read_text())["repeated_text"]
    assert report["documents"] == checks["repeated text"].checked == sum(s["documents"] for s in report["subsets"])
    assert "Repeated text" in (folder / "run" / "report.html").read_text()
    assert "substrings scratch about" in plan.describe(open_run(folder / "run").config)


@pytest.mark.parametrize("column", ["sources", "starts", "cut_bytes"])
def test_verify_notices_a_wrong_span(small, tmp_path, column):
    folder, _ = small
    shutil.copytree(folder / "run", tmp_path / "run")
    file = tmp_path / "run" / "substrings" / "01.parquet"
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[0][column] = rows[0][column] + 1 if column == "cut_bytes" else [x + 1 for x in rows[0][column]]
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), file)
    failed = {check.name for check in verify(tmp_path / "run") if check.failed}
    assert "repeated text" in failed


def test_the_backend_changes_no_byte(small, tmp_path, monkeypatch):
    """The search on a GPU that is not there, after measuring on the CPU."""
    folder, _ = small
    dedupe = {**OFF, "substrings": {"min_bytes": 16}}
    more = {"measure": {"signals": ["lengths"]}, "dedupe": dedupe}
    run(settings([folder / "*.zst"], tmp_path / "run", backend="cpu", **more), "dedupe")
    fake_gpu.importable(monkeypatch)
    context = run(settings([folder / "*.zst"], tmp_path / "run", backend="cuda", **more), "write")
    assert context.device.backend == "cuda"
    assert results(tmp_path / "run") == results(folder / "run")


@pytest.mark.slow
def test_processes_change_no_byte(small, tmp_path):
    folder, _ = small
    dedupe = {**OFF, "substrings": {"min_bytes": 16}}
    more = {"measure": {"signals": ["lengths"]}, "dedupe": dedupe, "backend": "cpu"}
    cluster = {"where": "local", "workers": 2, "dashboard": False}
    run(settings([folder / "*.zst"], tmp_path / "run", cluster=cluster, **more))
    assert results(tmp_path / "run") == results(folder / "run")


def test_what_is_everywhere_costs_a_record_each_time(tmp_path):
    """One boilerplate in every document, one line again and again, one character."""
    boilerplate = "All rights reserved. " * 4
    documents = [f"{i * i} {boilerplate}{i}" for i in range(1500)]
    documents += ["one and the same line, in each place, of this document\n" * 3000, "a" * 100_000]
    context = search(tmp_path, documents, 48, last="decide")
    facts = context.directory.state("substrings")
    text_bytes = sum(map(len, documents))
    assert facts["matches"] < 2 * 1500 + 3 * text_bytes / 48
    left = [len(t) - row["repeated_bytes"] for t, row in zip(documents, decisions(tmp_path / "run"), strict=True)]
    assert left[-1] == 48
    assert left[-2] < 2 * 55 + 48
    assert max(left[1:1500]) < 20


def tokens_of(text):
    """(start, end) of the tokens of a text, in bytes."""
    runs = [m.span() for m in re.finditer(rb"[^ \t\n\x0b\f\r]+", text)]
    return [(i, min(i + 64, end)) for start, end in runs for i in range(start, end, 64)]


def exhaustive_tokens(documents, count):
    """Every byte that a copy covers, white space between its tokens included."""
    seen, repeated = {}, []
    for d, text in enumerate(t.encode() for t in documents):
        mask, tokens = np.zeros(len(text), bool), tokens_of(text)
        for i in range(len(tokens) - count + 1):
            key = tuple(text[a:b] for a, b in tokens[i : i + count])
            first = seen.setdefault(key, (d, i))
            if first[0] < d or first[1] + count <= i:
                mask[tokens[i][0] : tokens[i + count - 1][1]] = True
        repeated.append(mask)
    return repeated


def with_shared_phrases(seed, n):
    """Documents of words, with phrases that several have, in any white space."""
    rng = random.Random(seed)
    words = [*"abcdefgh", "é", "漢字", "x" * 64, "y" * 150, "word", "and"]
    shared = [[rng.choice(words) for _ in range(40)] for _ in range(8)] + [["a"] * 60, ["a", "b"] * 30]
    for i in range(n):
        parts = [f"{i}.{rng.random()}"]
        for _ in range(rng.randrange(5)):
            lo = rng.randrange(30)
            parts += [*rng.choice(shared)[lo : lo + rng.randrange(4, 40)], *[str(rng.random())] * rng.randrange(2)]
        yield "".join(word + rng.choice([" ", "\n", "  ", " \t\r\n"]) for word in parts)


@pytest.mark.slow
def test_tokens_are_found_whatever_white_space_is_between_them(tmp_path):
    documents = ["  leading", *with_shared_phrases(5, 160)]
    search(tmp_path, documents, shards=2, substrings={"min_tokens": 8})
    masks = [np.zeros(len(t.encode()), bool) for t in documents]
    number = {row["doc_id"]: i for i, row in enumerate(decisions(tmp_path / "run"))}
    for file in sorted((tmp_path / "run" / "substrings").glob("*")):
        for row in pq.read_table(file).to_pylist():
            for start, length in zip(row["starts"], row["lengths"], strict=True):
                masks[number[row["doc_id"]]][start : start + length] = True
    wanted = exhaustive_tokens(documents, 8)
    for i, (a, b) in enumerate(zip(wanted, masks, strict=True)):
        assert np.array_equal(a, b), (i, documents[i])
    assert sum(m.sum() for m in masks) > 1000
    assert [(check.name, check.examples) for check in verify(tmp_path / "run") if check.failed] == []
