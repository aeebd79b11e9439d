"""gp.dedupe and runs search for duplicates in the same way: the same decisions for the same documents."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

import gpu_pile as gp
from gpu_pile.explore.verify import verify
from gpu_pile.ops.doc_hash import doc_hash
from gpu_pile.ops.sketch import sketch
from gpu_pile.run.directory import split_doc_id
from gpu_pile.text.column import TextColumn
from tests.conftest import HERE, decisions, run, settings, write_shard
from tests.test_run import words

COLLISION = HERE / "data" / "doc_hash_collision" / "texts.jsonl.zst"


def decided(folder: Path, texts, cut=None, **dedupe):
    """The decisions of a run over texts, in one shard or in two: rows as of gp.dedupe."""
    cut = len(texts) if cut is None else cut
    shards = [folder / "0.jsonl.zst", folder / "1.jsonl.zst"]
    for path, some in zip(shards, (texts[:cut], texts[cut:]), strict=True):
        write_shard(path, [(text, "x") for text in some])
    run(settings(shards, folder / "run", measure={"signals": ["lengths"]}, dedupe=dedupe), "decide")

    def row(doc_id):
        index, line = split_doc_id(doc_id)
        return index * cut + line - 1

    rows = decisions(folder / "run")
    return [
        (
            r["keep"],
            -1 if r["witness"] is None else row(r["witness"]),
            r["similarity"],
            i if r["cluster"] is None else row(r["cluster"]),
        )
        for i, r in enumerate(rows)
    ]


def in_memory(texts, **fuzzy):
    found = gp.dedupe(texts, **fuzzy)
    similarity = [None if math.isnan(s) else s for s in found.similarity.tolist()]
    return list(zip(found.keep.tolist(), found.witness.tolist(), similarity, found.cluster.tolist(), strict=True))


# few short texts over few words, so that equal and similar ones are frequent, and similarities are simple fractions
TEXTS = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "dd", "E", "é"]), max_size=6).map(" ".join), min_size=1, max_size=10
)
FUZZY = st.fixed_dictionaries(
    {
        "threshold": st.sampled_from([0.5, 0.6, 2 / 3, 0.75, 0.8, 1.0]),
        "shingle": st.sampled_from(["auto", "word", "char", "byte"]),
        "width": st.integers(1, 3),
        "sketch": st.sampled_from(["fss", "affine32"]),
        "verify": st.sampled_from(["exact", "sketch"]),
        "resolve": st.sampled_from(["witness", "connected"]),
        "bucket_neighbours_max": st.sampled_from([2, 128]),
    }
)


@pytest.mark.slow
@given_settings(max_examples=25, deadline=None)
@given(TEXTS, FUZZY, st.integers(1, 10))
def test_memory_and_runs_decide_the_same(tmp_path_factory, texts, fuzzy, cut):
    fuzzy |= {"size": 16, "bands": 16, "rows": 1}
    want = in_memory(texts, **fuzzy)
    assert decided(tmp_path_factory.mktemp("run"), texts, min(cut, len(texts)), fuzzy=fuzzy) == want


@pytest.mark.parametrize("verify", ["exact", "sketch"])
def test_a_pair_exactly_at_the_threshold_is_one(tmp_path, verify):
    texts = ["a b c d e", "a b c d"]
    fuzzy = {"width": 1, "verify": verify, "size": 64, "bands": 64, "rows": 1}
    sketches, _ = sketch(TextColumn.from_documents(texts), width=1, k=64)
    similarity = 0.8 if verify == "exact" else float((sketches[0] == sketches[1]).mean())
    for threshold, keep in ((similarity, [True, False]), (np.nextafter(similarity, 1), [True, True])):
        want = in_memory(texts, threshold=float(threshold), **fuzzy)
        assert [w[0] for w in want] == keep
        folder = tmp_path / str(keep)
        assert decided(folder, texts, fuzzy={"threshold": float(threshold), **fuzzy}) == want


# equal hashes of different texts


def collision():
    lines = zstandard.ZstdDecompressor().stream_reader(COLLISION.read_bytes()).read().splitlines()
    return [json.loads(line)["text"] for line in lines]


def test_two_texts_with_equal_hashes_were_made():
    texts = collision()
    assert texts[0] != texts[1]
    hashes = doc_hash(TextColumn.from_documents(texts))
    assert (hashes[0] == hashes[1]).all()


@pytest.mark.parametrize("verify", ["exact", "sketch"])
def test_a_made_collision_removes_nothing(tmp_path, verify):
    texts = collision()
    want = [(True, -1, None, 0), (True, -1, None, 1)]
    assert in_memory(texts, verify=verify) == want
    assert decided(tmp_path, texts, fuzzy={"verify": verify}) == want


@pytest.mark.parametrize("verify", ["exact", "sketch"])
def test_a_collision_hides_no_duplicate(tmp_path, monkeypatch, verify):
    """All hashes equal: sets are those of the texts, near duplicates among all of them are still found."""
    texts = [words(30, 1), words(40, 2), words(30, 1), words(40, 2) + " tail", words(40, 2), "", ""]
    fuzzy = {"verify": verify, "size": 64, "threshold": 0.7}
    want = in_memory(texts, **fuzzy)
    assert [w[:2] for w in want] == [(True, -1), (False, 3), (False, 0), (True, -1), (False, 3), (True, -1), (False, 5)]

    def constant(text):
        return np.zeros((len(text), 2), np.uint64)

    monkeypatch.setitem(doc_hash.implementations, "cpu", constant)
    assert in_memory(texts, **fuzzy) == want
    assert decided(tmp_path, texts, fuzzy=fuzzy) == want


# subsets that take no part, and texts without words

X, Y = words(100, 1), words(100, 1) + " a longer tail"


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]])
def test_skipped_subsets_do_not_depend_on_the_order(tmp_path, order):
    """X of A and of B, Y of A is longer; B takes no part. B's X stays, A's equals it, whatever comes first."""
    documents = [(X, "A"), (X, "B"), (Y, "A")]
    write_shard(tmp_path / "a.jsonl.zst", [documents[i] for i in order])
    config = settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", dedupe={"fuzzy": {"skip_subsets": ["B"]}})
    run(config)
    rows = dict(zip(order, decisions(tmp_path / "run"), strict=True))
    assert {i: r["keep"] for i, r in rows.items()} == {0: False, 1: True, 2: True}
    assert rows[0]["reasons"] == ["exact_duplicate"]
    assert rows[0]["witness"] == rows[1]["doc_id"]
    assert not any(check.failed for check in verify(tmp_path / "run", everything=True))


def test_documents_of_skipped_subsets_are_never_near_duplicates(tmp_path):
    """Many sets of equal texts over subsets: no reason near_duplicate in B, and every order gives the same texts."""
    rng = np.random.default_rng(3)
    documents = [(words(40, int(t)) + " tail" * int(n), "ABC"[s]) for t, n, s in rng.integers(0, 3, (40, 3))]
    kept = []
    for i in range(3):
        shuffled = [documents[j] for j in rng.permutation(len(documents))]
        write_shard(tmp_path / f"{i}.jsonl.zst", shuffled)
        dedupe = {"fuzzy": {"skip_subsets": ["B"], "threshold": 0.7}, "survivor": {"subsets": ["C", "A"]}}
        run(settings([tmp_path / f"{i}.jsonl.zst"], tmp_path / str(i), dedupe=dedupe), "decide")
        rows = decisions(tmp_path / str(i))
        assert not any("near_duplicate" in r["reasons"] for r in rows if r["subset"] == "B")
        assert any("near_duplicate" in r["reasons"] for r in rows if r["subset"] != "B")
        kept.append(sorted(d for d, r in zip(shuffled, rows, strict=True) if r["keep"]))
    assert kept[0] == kept[1] == kept[2]


def test_texts_without_words_are_equal_only_if_their_bytes_are(tmp_path):
    texts = ["😀😀😀", "*** !!! ***", "→ ∑ ∫ ≠", "", "*** !!! ***", "Some words!", "some... WORDS"]
    write_shard(tmp_path / "a.jsonl.zst", [(text, "x") for text in texts])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", dedupe={"exact": {"normalize": "words"}}))
    rows = decisions(tmp_path / "run")
    assert [r["witness"] for r in rows] == [None, None, None, None, 1, 6, None]
    assert not any(check.failed for check in verify(tmp_path / "run", everything=True))


def test_the_facts_of_a_run(tmp_path):
    decided(tmp_path, [X, X, Y, "other"], fuzzy={"size": 64})
    clusters = pq.read_table(tmp_path / "run" / "clusters.parquet").to_pydict()
    assert clusters["doc_id"] == [0, 1, 2]
    assert clusters["cluster"] == [0, 0, 0]
    assert clusters["representative"] == [0, 0, 2]
