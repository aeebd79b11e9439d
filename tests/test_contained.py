"""Contained documents: found like by comparing everything, whatever the workers, the memory and the backend."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from gpu_pile.dedup import contained
from gpu_pile.errors import ConfigError
from gpu_pile.explore.verify import signals
from gpu_pile.run.stages.dedupe import contained as stage
from tests import emulator
from tests.conftest import decisions, results, run, settings, write_shard
from tests.test_cli import invoke
from tests.test_lost import shingles, texts_of
from tests.test_verify import change, failures

OPTIONS = {"threshold": 0.9, "min_shingles": 20}


# samples and questions


def all_pairs(sets, shingles_min, threshold, neighbours_max=1000):
    """What the steps of gpu_pile.dedup.contained propose for these sets: {(smaller row, larger row)}."""
    values = np.array([h for s in sets for h in sorted(s)], np.uint64)
    offsets = np.cumsum([0, *map(len, sets)])
    samples, sampled = contained.sample_records(
        (values, offsets), contained.sampled_of(shingles_min), np.arange(len(sets)), None
    )
    sampled = sampled.astype(np.int32)
    least = contained.least_shared(sampled, threshold)
    shared = contained.shared_records(samples.copy(), np.empty_like(samples))
    asked = contained.rare_records(shared, np.empty_like(shared), least)
    both = np.concatenate([samples, asked])
    out = np.empty((max(neighbours_max, 64), 2), np.uint64)
    found = contained.answered_pairs(both, np.empty_like(both), sampled, least, neighbours_max, out)
    pairs = np.concatenate([np.empty((0, 2), np.uint64), *(batch.copy() for batch in found)])
    assert (pairs[:, 0] > pairs[:, 1]).all()
    return {(int(a), int(b)) for b, a in pairs}, pairs


@given_settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sets(st.integers(0, 40), min_size=1, max_size=30), min_size=1, max_size=8),
    st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0]),
    st.randoms(),
)
def test_where_every_shingle_is_sampled_every_contained_set_is_found(drawn, threshold, random):
    hashes = [random.getrandbits(64) for _ in range(41)]
    sets = [{hashes[i] for i in s} for s in drawn]
    found, _ = all_pairs(sets, 1, threshold)
    for i, own in enumerate(sets):
        for j, other in enumerate(sets):
            if i != j and len(own & other) >= threshold * len(own):
                assert (min(i, j), max(i, j)) in found


def test_a_sample_finds_nearly_every_contained_set():
    """At the threshold itself, with six sampled shingles each on average; others are proposed rarely."""
    rng = np.random.default_rng(1)
    sets, wanted = [], set()
    for i in range(400):
        large = rng.integers(0, 2**64, 150, np.uint64).tolist()
        missing = rng.integers(0, 2**64, 3, np.uint64).tolist()
        sets += [set(large), {*large[:47], *missing}]
        wanted.add((2 * i, 2 * i + 1))
    found, _ = all_pairs(sets, 50, 0.94)
    assert len(wanted & found) >= 0.98 * len(wanted)
    assert not found - wanted


def test_one_boilerplate_in_every_document_is_not_quadratic():
    """Documents of a boilerplate and little else ask for it, and are answered by a bounded number of documents."""
    rng, boilerplate = np.random.default_rng(2), np.random.default_rng(3).integers(0, 2**64, 100, np.uint64).tolist()
    for own in (1, 4, 100):  # only boilerplate, mostly, and half
        sets = [{*boilerplate, *rng.integers(0, 2**64, own, np.uint64).tolist()} for _ in range(600)]
        _, pairs = all_pairs(sets, 50, 0.95, neighbours_max=8)
        assert len(pairs) <= 600 * 8 * 8
        assert own < 100 or len(pairs) <= 8


# runs


@pytest.fixture(autouse=True)
def few_signals(monkeypatch):
    """What is contained is tested here, not signals."""
    monkeypatch.setattr(signals, "SIGNALS_SAMPLE", 3)


def corpus():
    """Texts with excerpts of them, excerpts of excerpts, two texts glued together, noise; boilerplate in all."""
    rng, texts = np.random.default_rng(4), []
    boilerplate = " ".join(f"boiler{i}" for i in range(12))

    def text(n):
        return [f"w{x}" for x in rng.integers(0, 400, n)]

    for i in range(14):
        whole = text(int(rng.integers(60, 220)))
        middle = whole[len(whole) // 4 : len(whole) // 4 + 40]
        noisy = [*whole[:45], "here", *whole[46:70], f"noise{i}"]
        texts += [whole, whole[: len(whole) // 2], middle, noisy, middle[4:34]][: int(rng.integers(2, 6))]
        texts.append([*whole, *text(30)])
    texts += [[*texts[0], *texts[7], *text(10)], [*texts[3], *texts[12]], texts[5]]
    joined = [" ".join([boilerplate, *words] if i % 2 else [*words, boilerplate]) for i, words in enumerate(texts)]
    return [(joined[i], "xy"[i % 2]) for i in rng.permutation(len(joined))]


def plain_removals(documents, preferred):
    """{row: (reason, witness, value)} by comparing every two documents; preferred: all rows, the best one first."""
    sets, removed, kept = [shingles(text) for text, _ in documents], {}, []

    def near(i, j):
        return len(sets[i] & sets[j]) / len(sets[i] | sets[j])

    def inside(i, j):
        large = len(sets[i]) >= OPTIONS["min_shingles"]
        share = len(sets[i] & sets[j]) / len(sets[i])
        return share if large and share >= OPTIONS["threshold"] else 0.0

    for i in preferred:
        if not any(documents[i][0] == documents[j][0] or near(i, j) >= 0.8 or inside(i, j) for j in kept):
            kept.append(i)
    for i in set(preferred) - set(kept):
        equal = [j for j in kept if documents[i][0] == documents[j][0]]
        choices = [(-near(i, j), preferred.index(j), j) for j in kept if near(i, j) >= 0.8]
        others = [(-inside(i, j), preferred.index(j), j) for j in kept if inside(i, j)]
        reason = "exact_duplicate" if equal else "near_duplicate" if choices else "contained"
        removed[i] = (
            (reason, equal[0], 1.0) if equal else (reason, min(choices or others)[2], -min(choices or others)[0])
        )
    return removed


def configured(shard, output, **more):
    fuzzy = {"size": 64, "bands": 64, "rows": 1, **more.pop("fuzzy", {})}
    dedupe = {"fuzzy": fuzzy, "contained": OPTIONS, **more.pop("dedupe", {})}
    return settings([shard], output, dedupe=dedupe, measure={"signals": ["lengths"]}, **more)


@pytest.fixture(scope="module")
def documents():
    return corpus()


@pytest.fixture(scope="module")
def whole(documents, tmp_path_factory):
    folder = tmp_path_factory.mktemp("contained")
    write_shard(folder / "a.jsonl.zst", documents)
    run(configured(folder / "a.jsonl.zst", folder / "run"))
    return folder


def test_a_run_removes_what_comparing_everything_does(whole, documents):
    preferred = sorted(range(len(documents)), key=lambda i: (-len(documents[i][0].encode()), i))
    want = plain_removals(documents, preferred)
    rows = decisions(whole / "run")
    found = {i: (*r["reasons"], r["witness"], r["similarity"]) for i, r in enumerate(rows) if not r["keep"]}
    assert found == want
    assert sum(reason == "contained" for reason, *_ in want.values()) >= 15
    for row in rows:
        if row["reasons"] == ["contained"]:
            own, other = (shingles(documents[row[name]][0]) for name in ("doc_id", "witness"))
            assert row["containment"] == row["similarity"] == len(own & other) / len(own)
            assert row["lost_shingles"] == len(own - other)


def test_what_is_lost_and_kept_of_two_texts_glued_together(whole, documents):
    """Every removed text stands in a kept one; with `prefer: first` the whole texts are kept beside their excerpts."""
    rows, texts = decisions(whole / "run"), texts_of(whole / "run")
    kept = [shingles(texts[r["doc_id"]]) for r in rows if r["keep"]]
    for row in rows:
        own = shingles(texts[row["doc_id"]])
        assert max(len(own & other) for other in kept) >= 0.8 * len(own)
    glued = max(rows, key=lambda r: len(texts[r["doc_id"]]))
    assert glued["keep"]
    assert sum(r["witness"] == glued["doc_id"] for r in rows) >= 2
    again = whole / "first"
    shutil.copytree(whole / "run", again)
    run(configured(whole / "a.jsonl.zst", again, dedupe={"survivor": {"prefer": "first"}}))
    want = plain_removals(documents, list(range(len(documents))))
    found = {i: (*r["reasons"], r["witness"], r["similarity"]) for i, r in enumerate(decisions(again)) if not r["keep"]}
    assert found == want


@pytest.mark.parametrize("how", ["workers", "memory", "halves"])
def test_the_same_bytes(whole, tmp_path, how, monkeypatch):
    more = {"workers": 3, "input": {"range_bytes": 1}} if how == "workers" else {}
    if how == "memory":
        more = {"memory_bytes": 20_000, "workers": 1}
    if how == "halves":
        right = stage.Sampler._sample_at_once

        def sample(self, lines, lo, hi):
            if hi - lo > 5:
                raise MemoryError
            return right(self, lines, lo, hi)

        monkeypatch.setattr(stage.Sampler, "_sample_at_once", sample)
    run(configured(whole / "a.jsonl.zst", tmp_path / "run", **more))
    assert results(tmp_path / "run") == results(whole / "run")


@pytest.mark.slow
def test_the_same_bytes_on_the_other_backend(documents, tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", documents[:12])
    small = {"size": 16, "bands": 16}
    for backend in ("cpu", "cuda"):
        with emulator.everywhere():
            run(configured(tmp_path / "a.jsonl.zst", tmp_path / backend, backend=backend, fuzzy=small))
    assert results(tmp_path / "cuda") == results(tmp_path / "cpu")
    assert any(row["reasons"] == ["contained"] for row in decisions(tmp_path / "cpu"))


@pytest.mark.parametrize("job", [stage.Sampler, stage.Sharer, stage.Asker, stage.Answerer])
def test_a_run_that_fails_in_any_step_finishes_afterwards(whole, tmp_path, job, monkeypatch):
    configuration = configured(whole / "a.jsonl.zst", tmp_path / "run", workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(job, "consume", lambda self, result: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(configuration)
    run(configuration)
    assert results(tmp_path / "run") == results(whole / "run")


def test_subsets_that_are_compared_apart_or_not_at_all(whole, documents, tmp_path):
    for i, more in enumerate(({"dedupe": {"scope": "subset"}}, {"fuzzy": {"skip_subsets": ["x"]}})):
        run(configured(whole / "a.jsonl.zst", tmp_path / str(i), **more))
        rows = decisions(tmp_path / str(i))
        inside = [r for r in rows if r["reasons"] == ["contained"]]
        assert inside
        for row in inside:
            assert row["subset"] == documents[row["witness"]][1]
            assert i == 0 or row["subset"] == "y"


def test_the_report_and_show_say_it(whole):
    report = json.loads((whole / "run" / "report.json").read_text())
    rows = [r for r in decisions(whole / "run") if r["reasons"] == ["contained"]]
    step = next(s for s in report["flow"] if s["step"] == "contained")
    reason = next(r for r in report["reasons"] if r["reason"] == "contained")
    assert step["removed_documents"] == reason["documents"] == len(rows)
    assert "20 or more different runs of 5 words" in reason["definition"]
    assert reason["rule"] == "containment < 0.9 in every document that stays"
    near = [r for r in decisions(whole / "run") if r["reasons"] == ["near_duplicate"]]
    assert report["lost_text"]["documents"] == len(near) + len(rows)
    assert "contained documents" in (whole / "run" / "report.html").read_text()
    code, output, _ = invoke("show", whole / "run", "--reason", "contained", "-n", "1")
    assert code == 0
    assert f"of {rows[0]['witness']}" in output
    assert "{+" in output


def test_verify_counts_containment_again(whole):
    folder = whole / "run"
    assert failures(folder) == {}
    path = folder / "decisions" / "a.parquet"
    before = path.read_bytes()
    row = next(i for i, r in enumerate(decisions(folder)) if r["reasons"] == ["contained"])
    for column, value, wrong in (
        ("similarity", 0.5, "is recorded at 0.500000 with a containment"),
        ("lost_shingles", 999, "recorded is a loss of 999"),
        ("witness", row, "is not kept"),
    ):
        change(path, column, row, value)
        assert wrong in failures(folder)["contained"][0]
        path.write_bytes(before)


def test_the_plan_and_what_cannot_be(whole):
    source = ("run", whole / "a.jsonl.zst", "-o", whole / "none", "--dry-run")
    assert "contained " not in invoke(*source)[1].split("# plan")[1]
    code, output, _ = invoke(*source, "--set", "dedupe.contained={threshold: 0.9}")
    assert code == 0
    assert re.search(r"contained  all texts are read once more in dedupe; scratch at most .*, one of 8", output)
    for fuzzy, wrong in (
        ({"verify": "sketch"}, "contained needs fuzzy.verify: exact, got sketch"),
        ({"resolve": "connected"}, "contained needs fuzzy.resolve: witness, got connected"),
        ({"enabled": False}, "contained needs fuzzy.enabled: true, got False"),
    ):
        with pytest.raises(ConfigError, match=re.escape(wrong)):
            configured("a.jsonl.zst", Path("run"), fuzzy=fuzzy)
    with pytest.raises(ConfigError, match="does not go with"):
        configured("a.jsonl.zst", Path("run"), input={"against": ["old"]})
    for value in ({"threshold": 0}, {"threshold": 1.5}, {"min_shingles": 0}, {"min": 3}):
        with pytest.raises(ConfigError, match=re.escape("dedupe.contained.")):
            settings(["a.jsonl.zst"], Path("run"), dedupe={"contained": value})


def test_a_corpus_without_documents_that_are_large_enough(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [("a few words", "x"), ("", "x"), ("a few other words", "x")])
    run(configured(tmp_path / "a.jsonl.zst", tmp_path / "run"))
    assert all(row["keep"] for row in decisions(tmp_path / "run"))
