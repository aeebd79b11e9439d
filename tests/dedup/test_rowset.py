import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.dedup.rowset import RowSet


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 2000), st.data())
def test_a_set_of_rows(total, data):
    rows = data.draw(st.lists(st.integers(0, total - 1), max_size=80))
    found = RowSet.empty(total)
    cut = len(rows) // 2
    found.add(np.array(rows[:cut], np.int64))
    assert len(found) == len(set(rows[:cut]))
    found.add(np.array(rows[cut:], np.int64))  # after a question
    want = sorted(set(rows))
    assert len(found) == len(want)
    lo, hi = sorted(data.draw(st.lists(st.integers(0, total), min_size=2, max_size=2)))
    assert found.rows(lo, hi).tolist() == [r for r in want if lo <= r < hi]
    asked = data.draw(st.lists(st.integers(0, total - 1), max_size=20))
    assert found.rank(np.array(asked, np.int64)).tolist() == [sum(r < a for r in want) for a in asked]
    again = RowSet(found.bits, found.before)
    assert again.rank(found.rows(0, total)).tolist() == list(range(len(want)))


@pytest.mark.parametrize("total", [1, 63, 64, 65, 511, 512, 513])
def test_all_rows(total):
    found = RowSet.empty(total)
    found.add(np.arange(total))
    assert found.rank(np.arange(total)).tolist() == list(range(total))
    assert found.bits.nbytes + found.before.nbytes <= (total + 512) * 9 / 64 + 16
