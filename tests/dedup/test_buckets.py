import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.dedup.buckets import (
    HASH_RECORD,
    KEY_RECORD,
    PAIR_RECORD,
    Partitions,
    candidate_pairs,
    distinct_pairs,
    equal_hashes,
    spread,
)

ONE, SMALL = 1 << 40, 256  # memory budgets: all in one partition, many partitions in files


def filled(dtype, memory, folder, numbers, cut=3, **columns):
    records = np.empty(len(numbers), dtype)
    for name, values in columns.items():
        records[name] = values
    partitions = Partitions(dtype, len(records), memory, folder)
    for start in range(0, max(1, len(records)), cut):
        partitions.add(numbers[start : start + cut], records[start : start + cut])
    return partitions


# few distinct values, spread over the whole range, so that keys repeat and partitions are all used
keys = st.lists(st.integers(0, 9).map(lambda x: (x * 0x1C71C71C71C71C71) % 2**64), max_size=60).map(
    lambda x: np.array(x, np.uint64)
)


@settings(max_examples=60, deadline=None)
@given(keys, st.sampled_from([ONE, SMALL]))
def test_partitions_give_back_every_record_in_order(tmp_path_factory, numbers, memory):
    folder = tmp_path_factory.mktemp("partitions") / "spill"
    rows = np.arange(len(numbers))
    partitions = filled(KEY_RECORD, memory, folder, numbers, key=numbers, row=rows)
    read = list(partitions)
    assert len(read) == partitions.count
    got = np.concatenate(read)
    order = np.argsort(
        numbers >> np.uint64(65 - partitions.count.bit_length()) if partitions.count > 1 else rows, kind="stable"
    )
    assert np.array_equal(got["row"], rows[order])
    assert np.array_equal(got["key"], numbers[order])
    assert not folder.exists(), "files are removed once read"


def test_partitions_stay_within_the_memory_budget(tmp_path):
    for n in (1, 10, 1000, 12345):
        p = Partitions(PAIR_RECORD, n, 1 << 12, tmp_path / str(n))
        assert n * PAIR_RECORD.itemsize * 4 / p.count <= 1 << 12


@settings(max_examples=100, deadline=None)
@given(keys, keys, st.sampled_from([ONE, SMALL]))
def test_equal_hashes_equals_a_dictionary(tmp_path_factory, hi, lo, memory):
    n = min(len(hi), len(lo))
    hi, lo = hi[:n], lo[:n]
    partitions = filled(HASH_RECORD, memory, tmp_path_factory.mktemp("h") / "h", hi, hi=hi, lo=lo, row=np.arange(n))
    rows, representatives = equal_hashes(partitions)
    first: dict[tuple[int, int], int] = {}
    sets: dict[tuple[int, int], list[int]] = {}
    for row, pair in enumerate(zip(hi.tolist(), lo.tolist(), strict=True)):
        first.setdefault(pair, row)
        sets.setdefault(pair, []).append(row)
    want = sorted((row, first[pair]) for pair, members in sets.items() if len(members) > 1 for row in members)
    assert list(zip(rows.tolist(), representatives.tolist(), strict=True)) == want


@settings(max_examples=100, deadline=None)
@given(keys, st.integers(1, 4), st.sampled_from([ONE, SMALL]))
def test_candidate_pairs_equal_the_plain_definition(tmp_path_factory, key, neighbours_max, memory):
    folder = tmp_path_factory.mktemp("pairs")
    rows = np.arange(len(key)) // 2  # a row has several keys
    pairs = Partitions(PAIR_RECORD, 2 * len(key), memory, folder / "p")
    partitions = filled(KEY_RECORD, memory, folder / "k", key, key=key, row=rows)
    candidate_pairs(partitions, neighbours_max, pairs, len(rows))
    got = [(int(a), int(b)) for x, y in distinct_pairs(pairs) for a, b in zip(x, y, strict=True)]
    want = set()
    for value in set(key.tolist()):
        bucket = sorted(rows[key == np.uint64(value)].tolist())
        want |= {(a, b) for j, b in enumerate(bucket) for a in bucket[: min(j, neighbours_max)]}
    assert got == sorted(want, key=lambda pair: (pair[1], pair[0]))


def test_a_bucket_of_many_rows_gives_linearly_many_pairs(tmp_path):
    n = 5000
    pairs = Partitions(PAIR_RECORD, n, ONE, tmp_path)
    records = filled(KEY_RECORD, ONE, tmp_path, np.zeros(n, np.uint64), cut=n, key=7, row=np.arange(n)[::-1])
    assert candidate_pairs(records, 8, pairs, n) == sum(min(i, 8) for i in range(n))


@pytest.mark.parametrize("total", [1, 7, 2**20, 2**33 + 5])
def test_spread_ascends_over_the_whole_range(total):
    rows = np.unique(np.linspace(0, total - 1, 50).astype(np.int64))
    numbers = spread(rows, total)
    assert all(x < y for x, y in itertools.pairwise(numbers.tolist()))
    if total > 100:
        assert int(numbers[-1]) > 0.9 * 2**64
