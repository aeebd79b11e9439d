"""Find line feeds, and copy lines out of a block."""

from __future__ import annotations

import numpy as np

from gpu_pile.text.jit import jit
from gpu_pile.text.simd import SLACK, copy_items
from gpu_pile.types import Array

LINE_FEED = ord("\n")


@jit
def copy_spans(data, starts, lengths, target):
    """Copy data[starts[i]:starts[i] + lengths[i]] to target, one after the other, each followed by a line feed.

    Returns the number of bytes written.
    """
    o = 0
    for i in range(len(starts)):
        n = lengths[i]
        copy_items(data, starts[i], n, target, o)
        target[o + n] = LINE_FEED
        o += n + 1
    return o


def packed_lines(data: Array, starts: Array, lengths: Array) -> Array:
    """Return the lines at these positions of a block, one after the other, each followed by a line feed.

    SLACK more bytes can be read after them.
    """
    target = np.empty(int(lengths.sum()) + len(lengths) + SLACK, np.uint8)
    return target[: copy_spans(data, starts, lengths, target)]


@jit
def after_last_newline(data, start, end):
    """Return the position just past the last line feed of data[start:end], 0 if there is none."""
    while end > start:
        if data[end - 1] == LINE_FEED:
            return end
        end -= 1
    return 0


@jit
def after_first_newline(data, n):
    """Return the position just past the first line feed of data[:n], -1 if there is none."""
    for i in range(n):
        if data[i] == LINE_FEED:
            return i + 1
    return -1
