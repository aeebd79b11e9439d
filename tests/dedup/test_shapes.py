"""Shapes that make naive searches quadratic: the work is counted, and is in proportion to the documents."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

import gpu_pile as gp
from gpu_pile.dedup import survivors
from gpu_pile.dedup.buckets import candidate_pairs, equal_hashes, hash_records
from gpu_pile.dedup.survivors import Rule, Standing, resolve
from gpu_pile.ops import components


def shape(name: str, n: int) -> tuple[pa.Table, pa.Table, int]:
    """(clusters, pairs, how many stay) of n documents."""
    ids, none = np.arange(n, dtype=np.uint64), np.empty(0, np.uint64)
    zeros = np.zeros(n, np.uint64)
    cluster, representative, a, b, stay = {
        "equal": (zeros, zeros, none, none, 1),
        "sets of ten": (ids // 10 * 10, ids // 10 * 10, none, none, n // 10),
        "chain": (zeros, ids, ids[:-1], ids[1:], n // 2),
        "star": (zeros, ids, zeros[1:], ids[1:], 1),
        "two and two": (ids // 2 * 2, ids, ids[::2], ids[1::2], n // 2),
    }[name]
    clusters = pa.table({"doc_id": ids, "cluster": cluster, "representative": representative})
    counts = {"common": 9, "shingles_a": 10, "shingles_b": 9}
    shared = {name: np.full(len(a), count) for name, count in counts.items()}
    return clusters, pa.table({"a": a, "b": b, "similarity": np.full(len(a), 0.9), **shared}), stay


@pytest.mark.parametrize("name", ["equal", "sets of ten", "chain", "star", "two and two"])
def test_each_document_and_each_pair_is_resolved_once(monkeypatch, name):
    n, pairs_at_a_time = 20_000, 500
    clusters, pairs, stay = shape(name, n)
    handed = []
    real = survivors.choose_survivors

    def counted(graph, *more):
        handed.append((len(graph.representative), len(graph.pairs.a)))
        return real(graph, *more)

    monkeypatch.setattr(survivors, "choose_survivors", counted)
    monkeypatch.setattr(survivors, "DOCUMENTS_AT_A_TIME", 1000)
    standing = Standing(np.ones(n, bool), np.zeros(n, bool), [np.zeros(n, np.uint8), np.zeros(n, np.int64)])
    parts = (pairs.slice(at, pairs_at_a_time) for at in range(0, len(pairs), pairs_at_a_time))
    found = resolve(clusters, parts, standing, Rule())
    assert n - int((found.exact | found.near).sum()) == stay
    assert np.sum(handed, axis=0).tolist() == [n, len(pairs)]
    largest = n if name in ("equal", "chain", "star") else 1010
    assert max(documents for documents, _ in handed) <= largest
    assert len(handed) <= 2 + n // 1000 + len(pairs) // pairs_at_a_time


def test_memory_for_small_clusters_is_that_of_the_columns(monkeypatch):
    monkeypatch.setattr(survivors, "DOCUMENTS_AT_A_TIME", 1000)
    n = 200_000
    clusters, pairs, _ = shape("sets of ten", n)
    standing = Standing(np.ones(n, bool), np.zeros(n, bool), [np.zeros(n, np.uint8)])
    tracemalloc.start()
    try:
        resolve(clusters, [pairs], standing, Rule())
        assert tracemalloc.get_traced_memory()[1] < 60 * n, "witness, similarity, three marks, three counts, two orders"
    finally:
        tracemalloc.stop()


def test_one_bucket_of_all_documents():
    n, neighbours_max = 200_000, 4
    records = np.full((n, 2), 7, np.uint64)
    records[:, 1] = np.arange(n)
    batches = [len(x) for x in candidate_pairs(records, neighbours_max, np.empty((10_000, 2), np.uint64))]
    assert sum(batches) == sum(min(i, neighbours_max) for i in range(n))
    assert len(batches) <= 1 + sum(batches) // (10_000 - neighbours_max)


def test_one_hash_of_all_documents():
    n = 100_000
    found = equal_hashes(hash_records(np.full((n, 2), 3, np.uint64), np.arange(n)))
    assert sorted(found[:, 0].tolist()) == list(range(n))
    assert not found[:, 1].any()


def test_equal_documents_are_compared_with_none():
    result = gp.dedupe(["one text that all documents have, word for word"] * 20_000)
    assert len(result.pairs) == 0
    assert int(np.sum(result.keep)) == 1


@pytest.mark.parametrize("order", ["up", "down", "ends", "star"])
def test_paths_in_the_forest_stay_short(order):
    """A find halves the path that it goes, so joining n nodes in any of these orders takes few steps for each."""
    n = 3000
    a = {"up": range(n - 1), "down": range(n - 2, -1, -1), "ends": [*range(0, n - 1, 2), *range(1, n - 1, 2)]}
    first = np.array(list(a.get(order, [0] * (n - 1))))
    second = np.array([*range(1, n)]) if order == "star" else first + 1
    steps = 0

    class Counted(np.ndarray):
        def __getitem__(self, i):
            nonlocal steps
            steps += 1
            return super().__getitem__(i)

    forest = np.arange(n).view(Counted)
    plain_find = components._find.py_func
    for x, y in zip(first.tolist(), second.tolist(), strict=True):
        x, y = plain_find(forest, x), plain_find(forest, y)
        if x != y:
            forest[max(x, y)] = min(x, y)
    assert {plain_find(forest, x) for x in range(n)} == {0}
    assert steps < 40 * n
