import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.dedup.rowset import scatter_sets
from gpu_pile.run.stages.dedupe.verify_pairs import PAGE, places

SETS = st.lists(st.tuples(st.lists(st.integers(0, 2**64 - 1), max_size=5), st.integers(0, 3)), max_size=8)


@settings(deadline=None)  # the first call may compile
@given(SETS, st.data())
def test_sets_lie_where_they_were_given_room(sets, data):
    values = np.array([v for s, _ in sets for v in s], np.uint64)
    sizes = np.array([len(s) for s, _ in sets], np.int64)
    room = sizes + np.array([more for _, more in sets], np.int64)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sets)), max_size=3)))
    starts = np.array([0, *cuts, len(sets)])
    begins, n = np.zeros(len(sets), np.int64), 0
    for lo, hi in itertools.pairwise(starts):  # of each range of a shard
        assert n % PAGE == 0
        begins[lo:hi], n = places(room[lo:hi], n)
    assert (np.diff(begins) >= room[:-1]).all()
    assert n >= (begins + room).max(initial=0)
    target = np.full(n, 7, np.uint64)
    scatter_sets(values, np.concatenate(([0], np.cumsum(sizes))), begins, target)
    expected = np.full(n, 7, np.uint64)
    for (s, _), place in zip(sets, begins, strict=True):
        expected[place : place + len(s)] = s
    assert (target == expected).all()
