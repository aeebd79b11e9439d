"""Sorting of shingle hashes: values that are not spread as hashes are."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_pile.ops.shingle_set import sort_u64


@pytest.mark.parametrize("n", [0, 1, 2, 31, 32, 33, 100, 5000, 1 << 18, 300_000])
@pytest.mark.parametrize("low_bits", [1, 20, 48, 64], ids=lambda bits: f"{bits} low bits differ")
def test_sort(n, low_bits):
    values = np.random.default_rng(n).integers(0, 2**low_bits - 1, n, np.uint64, endpoint=True)
    values |= np.uint64(0xABCD << 48) if low_bits < 48 else np.uint64(0)
    for order in (values, np.sort(values)[::-1].copy()):
        expected = np.sort(order)
        sort_u64(order, n, np.empty(n, np.uint64), np.empty(256, np.int64))
        assert (order == expected).all()
