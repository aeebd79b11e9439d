"""Number equal spans of documents on a device: the device half of gpu_pile.text.ngrams."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_threads, launch_warps
from gpu_pile.gpu.segments import Segments, flag_tables
from gpu_pile.types import Array

NONE = 2**32 - 1
"""On the device, the number that stands for "not an item": NONE of kernels/hash_table.cuh."""

ITEMS_MAX = 2**30
"""Items of one device table: slots and items are numbered in 32 bits."""


def device_table(xp: Any, items: int) -> tuple[int, Array]:
    """(mask, table): an empty table of kernels/hash_table.cuh with room for this many items.

    Raises:
        ValueError: more than ITEMS_MAX.
    """
    if items > ITEMS_MAX:
        raise ValueError(
            f"one call on a GPU compares up to {ITEMS_MAX} words or lines, these texts have {items}; "
            "call it on fewer documents at a time"
        )
    size = 1 << max(4, (2 * items - 1).bit_length())
    return size - 1, xp.full(size, NONE, np.uint32)


def device_numbers(xp: Any, slots: Array, table: Array) -> tuple[Array, Array]:
    """(numbers, counts), uint32[n] both: the first item that equals each, and at that how many do; NONE of no item."""
    n = len(slots)
    counts = xp.zeros(n, np.uint32)
    launch_threads("ngrams", "number_items", n, table, n, slots, counts)
    return slots, counts


def hash_spans(xp: Any, data: Array, bounds: Array, step: int, lengths: Array) -> tuple[Array, Array]:
    """(hashes uint64[n], characters int64[n]) of device spans data[bounds[k * step]:bounds[k * step + 1]]."""
    n = len(lengths)
    segments = Segments.of(xp, lengths)
    hashes, chars = xp.zeros(n, np.uint64), xp.zeros(n, np.int64)
    launch_warps("ngrams", "hash_spans", segments.count, data, bounds, step, *segments.args, hashes, chars)
    return hashes, chars


def strip_spans(xp: Any, data: Array, bounds: Array) -> Array:
    """int64[n, 2]: what str.strip() leaves of the device spans data[bounds[k, 0]:bounds[k, 1]]; (_, -1) for nothing."""
    segments = Segments.of(xp, bounds[:, 1] - bounds[:, 0])
    stripped = xp.empty(bounds.shape, np.int64)
    stripped[:, 0], stripped[:, 1] = len(data), -1
    flags = flag_tables(xp)
    launch_warps("ngrams", "strip_spans", segments.count, data, bounds, *segments.args, *flags, stripped)
    return stripped


def number_spans(
    xp: Any, data: Array, bounds: Array, step: int, width: int, owners: Array, hashes: Array
) -> tuple[Array, Array]:
    """device_numbers of the spans data[bounds[k * step]:bounds[k * step + width]], each among those of its document."""
    n = len(owners)
    mask, table = device_table(xp, n)
    slots = xp.empty(n, np.uint32)
    launch_threads("ngrams", "match_spans", n, data, bounds, step, width, owners, hashes, n, mask, table, slots)
    return device_numbers(xp, slots, table)
