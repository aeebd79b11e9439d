"""anchors: positions chosen by content alone, so that equal stretches of text have them at equal places (winnowing).

    anchors(text, window=200, gram=100) = (first int64[n_docs + 1], starts int64[m], grams uint64[m])

With n = window and k = gram, 1 <= k <= n: a window is n bytes in a row of one document. The anchor of a window is, of
the k-grams inside it (k bytes in a row), the one with the smallest hash; of equal ones, the last. The hash is that of a
byte shingle (gpu_pile.text.shingles).
The anchors of windows that begin one after the other never go back, so the windows of a document fall into groups of
neighbours that share an anchor. Group i has the windows that begin at data[starts[i]] up to where the next group
begins, or up to the last window of its document, and its anchor has the hash grams[i]; document d has the groups
first[d] to first[d + 1]. A document of fewer than n bytes has no window.

Which k-gram of a window is its anchor depends on the bytes of the window and on nothing else. So two equal windows have
equal anchors, equally far from where they begin. Of random text every (n - k + 2) / 2 bytes are an anchor.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_threads, launch_warps
from gpu_pile.gpu.segments import Segments, count_then_write
from gpu_pile.ops.op import Op
from gpu_pile.text.column import TextColumn
from gpu_pile.text.hashing import mix64
from gpu_pile.text.jit import leaf
from gpu_pile.text.shingles import Q, R, reference_shingles
from gpu_pile.text.simd import item, set_item
from gpu_pile.types import Array

anchors = Op(
    "anchors",
    version=1,
    samples=({"window": 8, "gram": 3}, {"window": 5, "gram": 5}, {"window": 90, "gram": 23}),
    documents=(
        "a",
        "abcdefg",
        "abcdefgh",
        "abcdefghi",
        "a" * 300,
        "ab" * 150,
        "abcdefg" * 40,
        "x" * 89 + "y" * 90,
        " ".join(str(i * i % 1000) for i in range(120)),
        "é漢😀" * 30,
    ),
)


@anchors.reference
def _reference(text: TextColumn, window: int = 200, gram: int = 100) -> tuple[Array, Array, Array]:
    first, starts, grams = [0], [], []
    for document, offset in zip(text.documents(), text.offsets.tolist(), strict=False):
        hashes = reference_shingles(document, "byte", gram) if len(document) >= window else []
        before = -1
        for i in range(len(document) - window + 1):
            inside = range(i, i + window - gram + 1)
            anchor = min(inside, key=lambda p: (hashes[p], -p))
            if anchor != before:
                starts.append(offset + i)
                grams.append(hashes[anchor])
            before = anchor
        first.append(len(starts))
    return np.array(first, np.int64), np.array(starts, np.int64), np.array(grams, np.uint64)


_Q, _R, _1 = np.uint64(Q), np.uint64(R), np.uint64(1)


@leaf
def _roll(data, at, gram, out_of, rolling):
    """Return the polynomial of the k-gram at `at` from that of the one before; out_of: Q^gram."""
    leaves, enters = np.uint64(item(data, at - 1)) + _1, np.uint64(item(data, at + gram - 1)) + _1
    return rolling * _Q + (enters - leaves * out_of)


@leaf
def _last_smallest(ring, first, last):
    """Return which of the k-grams first .. last has the smallest hash, of equal ones the last."""
    mask = len(ring) - 1
    best = last
    for p in range(last - 1, first - 1, -1):
        if item(ring, p & mask) < item(ring, best & mask):
            best = p
    return best


@leaf
def _anchors(data, offsets, window, gram, ring, out):
    """Write the groups of all documents to out (first, starts, grams) and return how many.

    ring: hashes of the last k-grams; a power of two of them, at least window - gram + 1.
    """
    first, starts, grams = out
    mask, add = len(ring) - 1, np.uint64(gram) * _R
    out_of = _1
    for _ in range(gram):
        out_of *= _Q
    n = 0
    for d in range(len(offsets) - 1):
        start, end = offsets[d], offsets[d + 1]
        first[d] = n
        if end - start < window:
            continue
        rolling = np.uint64(0)
        for i in range(start, start + gram):
            rolling = rolling * _Q + np.uint64(item(data, i)) + _1
        best, before = start, -1
        for p in range(start, end - gram + 1):
            if p > start:
                rolling = _roll(data, p, gram, out_of, rolling)
            set_item(ring, p & mask, mix64(rolling + add))
            i = p - (window - gram)
            if item(ring, p & mask) <= item(ring, best & mask):
                best = p
            elif best < i:
                best = _last_smallest(ring, i, p)
            if i >= start and best != before:
                set_item(starts, n, i)
                set_item(grams, n, item(ring, best & mask))
                n += 1
                before = best
    first[len(offsets) - 1] = n
    return n


@anchors.cpu
def _cpu(text: TextColumn, window: int = 200, gram: int = 100) -> tuple[Array, Array, Array]:
    ring = np.zeros(1 << (window - gram).bit_length(), np.uint64)
    first = np.zeros(len(text) + 1, np.int64)
    starts, grams = np.empty(text.n_bytes, np.int64), np.empty(text.n_bytes, np.uint64)
    n = _anchors(text.data, text.offsets, window, gram, ring, (first, starts, grams))
    return first, starts[:n].copy(), grams[:n].copy()


@anchors.cuda
def _cuda(xp: Any, text: TextColumn, window: int = 200, gram: int = 100) -> tuple[Array, Array, Array]:
    n = max(0, text.n_bytes - gram + 1)
    hashes, best = xp.empty(n, np.uint64), xp.arange(n, dtype=np.int64)
    whole = Segments.of_one(xp, n)
    launch_warps("anchors", "anchor_hashes", whole.count, text.data, *whole.args, gram, n, hashes, UNIT="u8")
    grams, reach = window - gram + 1, 1
    while reach < grams:  # best[i]: of the k-grams i .. i + reach - 1
        step = min(reach, grams - reach)
        wider = xp.empty(n, np.int64)
        launch_threads("anchors", "anchor_minima", n, hashes, best, step, n, wider)
        best, reach = wider, reach + step
    segments = Segments.of_text(xp, text)
    kernels = ("count_anchors", "write_anchors")
    inputs = (text.offsets, *segments.args, best, window)
    return count_then_write(xp, "anchors", kernels, segments, inputs, np.int64, np.uint64, write_inputs=(hashes,))
