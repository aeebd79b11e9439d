import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.dedup.buckets import candidate_pairs, distinct_pairs, equal_hashes
from gpu_pile.gpu.device import Device

# few distinct values, spread over the whole range, so that keys repeat
keys = st.lists(st.integers(0, 9).map(lambda x: (x * 0x1C71C71C71C71C71) % 2**64), max_size=60).map(
    lambda x: np.array(x, np.uint64)
)


@settings(max_examples=100, deadline=None)
@given(keys, keys)
def test_equal_hashes_equals_a_dictionary(hi, lo):
    n = min(len(hi), len(lo))
    found = equal_hashes(np.stack([hi[:n], lo[:n], np.arange(n, dtype=np.uint64)], axis=1))
    sets: dict[tuple[int, int], list[int]] = {}
    for row, pair in enumerate(zip(hi[:n].tolist(), lo[:n].tolist(), strict=True)):
        sets.setdefault(pair, []).append(row)
    want = sorted((row, min(members)) for members in sets.values() if len(members) > 1 for row in members)
    assert sorted(map(tuple, found.tolist())) == want


@settings(max_examples=100, deadline=None)
@given(keys, st.integers(1, 4), st.integers(0, 9), st.sampled_from([None, Device().argsort]))
def test_candidate_pairs_equal_the_plain_definition(key, neighbours_max, more, argsort):
    rows = np.arange(len(key)) // 2  # a row has several keys
    records = np.stack([key, rows.astype(np.uint64)], axis=1)
    out = np.zeros((neighbours_max + more, 2), np.uint64)  # the pairs of one row at least
    found = [x.copy() for x in candidate_pairs(records, neighbours_max, out, argsort=argsort)]
    assert all(len(x) for x in found[:-1])
    got = distinct_pairs(np.concatenate([np.empty((0, 2), np.uint64), *found]))
    want = set()
    for value in set(key.tolist()):
        bucket = sorted(rows[key == np.uint64(value)].tolist())
        want |= {(b, a) for j, b in enumerate(bucket) for a in bucket[: min(j, neighbours_max)] if a != b}
    assert list(map(tuple, got.tolist())) == sorted(want)


@pytest.mark.parametrize("argsort", [None, Device().argsort])
def test_a_bucket_of_many_rows_gives_linearly_many_pairs(argsort):
    n = 5000
    records = np.full((n, 2), 7, np.uint64)
    records[:, 1] = np.arange(n)
    pairs = candidate_pairs(records, 8, np.empty((100, 2), np.uint64), argsort=argsort)
    assert sum(len(x) for x in pairs) == sum(min(i, 8) for i in range(n))
