"""dedupe's tasks over measured rows made on the spot: what they find is what the plain definition finds, whatever the
memory, the number of workers, the order in which tasks are done, and how often."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from gpu_pile.corpus.shards import Shard
from gpu_pile.dedup import partition, survivors
from gpu_pile.dedup.banding import Banding
from gpu_pile.errors import DataError
from gpu_pile.gpu.device import Device
from gpu_pile.ops.band_keys import band_keys
from gpu_pile.run.context import Context
from gpu_pile.run.directory import RunDir, split_doc_id
from gpu_pile.run.exact_text import DIGEST_BYTES
from gpu_pile.run.stages import decide
from gpu_pile.run.stages.dedupe import candidates, clusters, stage, verify_pairs
from gpu_pile.run.tables import Rows
from gpu_pile.run.threads import run_jobs
from tests.conftest import results, settings, write_shard

BANDING, SIZE = Banding(4, 2), 8


class Disorder:
    """An executor (see gpu_pile.run.tasks) that does tasks one by one in a random order, some of them twice."""

    def __init__(self, seed):
        self.random, self.device = random.Random(seed), Device()

    def do(self, context, stage, tasks):
        tasks = [t for t in tasks for _ in range(self.random.choice([1, 1, 2]))]
        self.random.shuffle(tasks)
        for task in tasks:
            run_jobs([task.make(context, *task.args)], 1)
            assert all(p.is_file() for p in task.outputs)


def measured(folder: Path, sketches, hashes, sizes, shingles=None, subsets=None, group=3) -> Context:
    """A run whose shards, of these sizes, have these measured rows."""
    run = RunDir(folder)
    shards, first = [], 0
    for i, n in enumerate(sizes):
        name = f"{i:02d}"
        part = slice(first, first + n)
        first += n
        table = pa.table(
            {
                "line": np.arange(n) + 1,
                "subset": pa.array(subsets[part] if subsets else [""] * n, pa.string()),
                "hash_hi": hashes[part, 0],
                "hash_lo": hashes[part, 1],
                "shingles": np.full(n, 9) if shingles is None else shingles[part],
                "sketch": pa.array([s.tobytes() for s in sketches[part]], pa.binary(4 * SIZE)),
            }
        )
        run.measured(name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, run.measured(name), row_group_size=group)
        run.set_state({"documents": n, "text_bytes": 0}, "measure", name)
        shards.append(Shard(i, name, folder / name, 0))
    fuzzy = {"size": SIZE, "bands": BANDING.bands, "rows": BANDING.rows, "verify": "sketch", "bucket_neighbours_max": 3}
    config = settings([folder], folder, workers=2, dedupe={"fuzzy": fuzzy})
    return Context(config, run, shards)


def tiny(monkeypatch):
    """Buffers of few records, tasks of few rows: many files, partitions, tasks and batches."""

    def of(cls, width, expected, memory_bytes, values=1 << 64):
        shift = max(0, min(63, (values - 1).bit_length()) - 4)
        partitions = ((values - 1) >> shift) + 1
        return cls(width, shift, partitions, 5, min(3, partitions))

    monkeypatch.setattr(partition.Layout, "of", classmethod(of))
    monkeypatch.setattr(candidates, "ROWS_PER_TASK", 4)
    monkeypatch.setattr(clusters, "ROW_GROUP", 4)
    monkeypatch.setattr(decide, "PAIRS_AT_A_TIME", 2)


@st.composite
def corpora(draw):
    """Few values, so that hashes and bands are shared, many of them by many."""
    n = draw(st.integers(1, 24))
    values = st.lists(st.integers(0, 2), min_size=SIZE, max_size=SIZE)
    sketches = np.array([draw(values) for _ in range(n)], np.uint32)
    pairs = st.tuples(st.sampled_from([1, 2**63, 2**64 - 1]), st.integers(0, 3))
    hashes = np.array([draw(pairs) for _ in range(n)], np.uint64)
    shingles = np.array([draw(st.sampled_from([0, 9, 9, 9])) for _ in range(n)], np.int64)
    cut = draw(st.integers(0, n))
    return sketches, hashes, shingles, [cut, n - cut], draw(st.integers(0, 10**6))


def plain(sketches, hashes, shingles, most=3):
    """(representative of each row, distinct candidate pairs (b, a))."""
    n = len(sketches)
    representative = [min(i for i in range(n) if (hashes[i] == hashes[row]).all()) for row in range(n)]
    keys = band_keys.run("reference", sketches, bands=BANDING.bands, rows=BANDING.rows)
    found = set()
    for value in set(keys.reshape(-1).tolist()):
        bucket = [r for r in range(n) if representative[r] == r and shingles[r] and value in keys[r].tolist()]
        found |= {(b, a) for j, b in enumerate(bucket) for a in bucket[: min(j, most)]}
    return representative, sorted(found)


@pytest.mark.slow
@given_settings(max_examples=40, deadline=None)
@given(corpora())
def test_tasks_find_what_the_definition_finds(tmp_path_factory, corpus):
    sketches, hashes, shingles, sizes, seed = corpus
    representative, want = plain(sketches, hashes, shingles)
    with pytest.MonkeyPatch.context() as patched:
        tiny(patched)
        context = measured(tmp_path_factory.mktemp("run"), sketches, hashes, sizes, shingles)
        context.executor = Disorder(seed)
        rows = Rows.of(context)
        sets = candidates.equal_documents(context, rows)
        every = [r for r in range(len(sketches)) if representative.count(representative[r]) > 1]
        assert sets.members.tolist() == every
        assert sets.representatives.tolist() == [representative[r] for r in every]
        paths = candidates.candidates(context, rows, BANDING, sets.copies, "search")
        got = [tuple(pair) for p in paths for pair in np.fromfile(p, np.int64).reshape(-1, 2).tolist()]
        assert got == want


def corpus_of(n, seed):
    random = np.random.default_rng(seed)
    sketches = random.integers(0, 4, (n, SIZE), np.uint32)
    near = np.flatnonzero(random.random(n) < 0.7)
    sketches[near] = sketches[(random.random(len(near)) * near).astype(np.int64)]
    changed = near[random.random(len(near)) < 0.7]
    sketches[changed, random.integers(0, SIZE, len(changed))] = 77
    hashes = np.stack([np.arange(n), np.arange(n)], axis=1).astype(np.uint64) << np.uint64(50)
    copies = random.integers(0, n, n // 4)
    hashes[copies] = hashes[copies // 2]
    return sketches, hashes


class RowsWithoutTexts(stage.RunSource):
    """Measured rows that no shard belongs to: equal hashes are equal texts."""

    def read_texts(self, involved, members):
        self.store = verify_pairs.gather_sketches(self.context, self.search, involved)
        return np.zeros((len(members), DIGEST_BYTES), np.uint8)


def whole(folder, order=None, memory=None, workers=2):
    """dedupe of 300 rows: the bytes that it leaves."""
    sketches, hashes = corpus_of(300, 5)
    context = measured(folder, sketches, hashes, [150, 0, 150], group=64)
    fuzzy = context.config.dedupe.fuzzy.model_copy(update={"threshold": 0.8})
    update = {"dedupe": context.config.dedupe.model_copy(update={"fuzzy": fuzzy}), "workers": workers}
    context.config = context.config.model_copy(update=update | ({"memory_bytes": memory} if memory else {}))
    if order is not None:
        context.executor = Disorder(order)
    for shard in context.shards:
        state = context.directory.state("measure", shard.name)
        context.directory.set_state({**state, "identity": "", "definition": "", "stopped": None}, "measure", shard.name)
    stage.dedupe(context, RowsWithoutTexts)
    assert not context.directory.scratch.exists()
    return results(folder)


@pytest.mark.slow
def test_the_same_bytes_in_any_order_of_completion(tmp_path, monkeypatch):
    want = whole(tmp_path / "plain", workers=1)
    pairs = pq.read_table(tmp_path / "plain" / "pairs.parquet")
    assert len(pairs) > 50
    assert whole(tmp_path / "spilled", memory=1) == want
    monkeypatch.setattr(candidates, "ROWS_PER_TASK", 4)
    for order in range(3):
        assert whole(tmp_path / str(order), order, memory=1) == want


def test_pairs_lie_by_cluster(tmp_path, monkeypatch):
    """Whatever the buffers: by cluster, then b, then a; row groups of a fixed number of rows."""
    whole(tmp_path / "plain")
    plain_table = pq.read_table(tmp_path / "plain" / "pairs.parquet")
    plain_clusters = pq.read_table(tmp_path / "plain" / "clusters.parquet")
    monkeypatch.setattr(clusters, "ROW_GROUP", 16)
    layout = partition.Layout.of.__func__
    monkeypatch.setattr(  # the largest cluster does not fit
        partition.Layout,
        "of",
        classmethod(lambda cls, width, *a: partition.Layout(4, 3, 38, 5, 1) if width == 4 else layout(cls, width, *a)),
    )
    whole(tmp_path / "run")
    table = pq.read_table(tmp_path / "run" / "pairs.parquet")
    assert table.equals(plain_table)
    names = pq.read_table(tmp_path / "run" / "clusters.parquet")
    assert len(names) > 2 * 16
    assert names.equals(plain_clusters), "row groups change nothing, beyond the first one neither"
    hashes = corpus_of(300, 5)[1].tolist()
    rows = [line + 75 * index for index, line in map(split_doc_id, names["doc_id"].to_pylist())]
    first = {tuple(h): row for row, h in reversed(list(enumerate(hashes)))}
    representative = [line + 75 * index for index, line in map(split_doc_id, names["representative"].to_pylist())]
    assert representative == [first[tuple(hashes[row - 1])] + 1 for row in rows]
    names = names.to_pydict()
    cluster = dict(zip(names["doc_id"], names["cluster"], strict=True))
    order = [(cluster[a], b, a) for a, b in zip(table["a"].to_pylist(), table["b"].to_pylist(), strict=True)]
    assert order == sorted(order)
    metadata = pq.read_metadata(tmp_path / "run" / "pairs.parquet")
    groups = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert set(groups[:-1]) == {16}
    assert sum(groups) == len(table)


@pytest.mark.parametrize("how", ["witness", "connected"])
def test_clusters_are_resolved_alike_some_or_all_at_a_time(tmp_path, monkeypatch, how):
    whole(tmp_path / "run")
    names = pq.read_table(tmp_path / "run" / "clusters.parquet")
    pairs = pq.read_table(tmp_path / "run" / "pairs.parquet")
    random = np.random.default_rng(1)
    passing = random.random(len(names)) < 0.8
    preference = [random.integers(0, 3, len(names)), random.integers(0, 3, len(names))]
    standing = survivors.Standing(passing, random.random(len(names)) < 0.1, preference)
    want = survivors.resolve(names, [pairs], standing, survivors.Rule(how))
    assert want.near.any()
    assert want.exact.any()
    for size in (1, 7, 50):
        monkeypatch.setattr(survivors, "DOCUMENTS_AT_A_TIME", size)
        parts = (pairs.slice(at, size) for at in range(0, len(pairs), size))
        got = survivors.resolve(names, parts, standing, survivors.Rule(how))
        for field in ("doc_id", "cluster", "witness", "similarity", "exact", "near"):
            assert np.array_equal(getattr(got, field), getattr(want, field)), field
    upside_down = pairs.take(pa.array(np.arange(len(pairs))[::-1]))
    with pytest.raises(DataError, match="run the same command again"):
        survivors.resolve(names, [upside_down], standing, survivors.Rule(how))


def test_a_document_that_shares_all_bands_with_all(tmp_path):
    """A bucket of all rows, larger than the buffers: linearly many pairs, each once."""
    n = 3000
    sketches = np.zeros((n, SIZE), np.uint32)
    hashes = np.stack([np.arange(n), np.arange(n)], axis=1).astype(np.uint64)
    context = measured(tmp_path, sketches, hashes, [n], group=1000)
    context.config = context.config.model_copy(update={"memory_bytes": 1})
    paths = candidates.candidates(context, Rows.of(context), BANDING, np.empty(0, np.int64), "search")
    pairs = np.concatenate([np.fromfile(p, np.int64).reshape(-1, 2) for p in paths])
    assert len(pairs) == sum(min(i, 3) for i in range(n))
    assert pairs.tolist() == [[b, a] for b in range(n) for a in range(min(b, 3))]


def test_no_pairs_and_no_clusters(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [("one document only", "x")])
    from tests.conftest import run

    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    assert pq.read_table(tmp_path / "run" / "pairs.parquet").schema.equals(clusters.PAIRS)
    assert len(pq.read_table(tmp_path / "run" / "clusters.parquet")) == 0
