import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.dedup import radix
from gpu_pile.dedup.radix import DIGIT, SHORT, group, sort

# values that agree in many or few of their bits, so that runs of every kind come up
VALUES = st.sampled_from([0, 1, 2, 7, 2**11, 2**22 + 1, 2**33, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1])


def rows_of(width):
    return st.lists(st.tuples(*[VALUES] * width), max_size=80).map(lambda x: np.array(x, np.uint64).reshape(-1, width))


def test_of_one_record_and_of_none():
    for n in (0, 1):
        assert sort(np.full((n, 2), 5, np.uint64), np.zeros((n, 2), np.uint64)).tolist() == [[5, 5]] * n


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([2, 3, 4]).flatmap(rows_of), st.integers(0, 3))
def test_sort_is_by_all_columns_from_the_left(array, more):
    want = sorted(map(tuple, array.tolist()))
    spare = np.zeros((len(array) + more, array.shape[1]), np.uint64)
    assert list(map(tuple, sort(array.copy(), spare).tolist())) == want


@pytest.mark.parametrize("n", [SHORT, SHORT + 1, (1 << DIGIT) + 1, 1 << 13])
@pytest.mark.parametrize("kind", ["random", "one high value", "descending", "few"])
def test_sort_of_many(n, kind):
    random = np.random.default_rng(n)
    array = random.integers(0, 2**64, (n, 2), np.uint64)
    if kind == "one high value":  # all in one run after the radix passes
        array[:, 0] >>= np.uint64(50)
        array[0, 0] = 2**64 - 1
    elif kind == "descending":
        array[:, 0] = np.arange(n)[::-1]
    elif kind == "few":
        array[:, 0] %= np.uint64(3)
    want = array[np.lexsort((array[:, 1], array[:, 0]))]
    assert np.array_equal(sort(array, np.empty_like(array)), want)


@settings(max_examples=100, deadline=None)
@given(rows_of(2), st.integers(58, 63))
def test_group_keeps_the_order_within_a_partition(array, shift):
    partitions = 1 << (64 - shift)
    out = np.zeros_like(array)
    bounds = group(array, np.uint64(shift), partitions, out)
    part = (array[:, 0] >> np.uint64(shift)).astype(np.int64)
    assert np.array_equal(out, array[np.argsort(part, kind="stable")])
    assert np.array_equal(np.diff(bounds), np.bincount(part, minlength=partitions))


def test_the_fallback_for_long_runs_is_reached(monkeypatch):
    """What the tests above compare covers all ways to finish a run: longer ones than SHORT, out of order."""
    array = np.zeros((SHORT + 1, 2), np.uint64)
    array[:, 1] = np.arange(SHORT + 1)[::-1]
    radix._finish(array, np.uint64(0), np.empty_like(array))
    assert array[:, 1].tolist() == list(range(SHORT + 1))
