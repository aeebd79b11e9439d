"""shingle_set: the distinct shingle hashes of each document, sorted.

    shingle_set(text, kind="word", width=5) = (values uint64[total], offsets int64[n_docs + 1])

Document i has the hashes values[offsets[i]:offsets[i + 1]], ascending and distinct (gpu_pile.text.shingles). Jaccard
similarity is computed exactly on these sets; two different shingles have the same 64-bit hash with probability 2^-64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.segments import Segments, exclusive_sum
from gpu_pile.gpu.shingles import device_units, shingle_counts
from gpu_pile.ops.op import Op
from gpu_pile.text.blocks import padded
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import leaf
from gpu_pile.text.lower_words import longest
from gpu_pile.text.shingles import DOCUMENTS, SCRIPTS, reference_shingles, shingle_document, shingling_of, word_classes
from gpu_pile.text.simd import item, set_item
from gpu_pile.types import Array

shingle_set = Op(
    "shingle_set",
    version=1,
    samples=(
        {},
        {"width": 1},
        {"width": 2},
        {"kind": "byte"},
        {"kind": "byte", "width": 8},
        {"kind": "char", "width": 24},
        {"kind": "auto"},
        {"kind": "auto", "width": 2},
    ),
    documents=(*DOCUMENTS, *SCRIPTS, " ".join(str(i * i % 1000) for i in range(1500))),
)


@shingle_set.reference
def _reference(text: TextColumn, kind: str = "word", width: int = 5) -> tuple[Array, Array]:
    sets = [sorted(set(reference_shingles(d, kind, width))) for d in text.documents()]
    offsets = np.cumsum([0, *map(len, sets)], dtype=np.int64)
    return np.array([h for s in sets for h in s], np.uint64), offsets


_BYTE = np.uint64(255)


@leaf
def _sort_by_bytes(first, last, values, n, spare, counts):
    """Sort values[:n] by bytes first to last, 0 the lowest; an even number of them. spare: as long as values."""
    source, target = values, spare
    for b in range(first, last + 1):
        shift = np.uint64(8 * b)
        for x in range(256):
            counts[x] = 0
        for i in range(n):
            x = np.int64((item(source, i) >> shift) & _BYTE)
            set_item(counts, x, item(counts, x) + 1)
        total = 0
        for x in range(256):
            count = counts[x]
            counts[x] = total
            total += count
        for i in range(n):
            v = item(source, i)
            x = np.int64((v >> shift) & _BYTE)
            set_item(target, item(counts, x), v)
            set_item(counts, x, item(counts, x) + 1)
        source, target = target, source


@leaf
def _insert_each(values, n, steps):
    """Sort values[:n], which are nearly sorted, by insertion. Return False where this takes more than so many steps."""
    for i in range(1, n):
        v = item(values, i)
        j = i
        while j > 0 and item(values, j - 1) > v:
            set_item(values, j, item(values, j - 1))
            j -= 1
        set_item(values, j, v)
        steps -= i - j
        if steps < 0:
            return False
    return True


@leaf
def sort_u64(values, n, spare, counts):
    """Sort values[:n]. spare: as long as values. counts: scratch, int64[256].

    Hashes differ in their highest bytes, so values are sorted by those, and insertion moves the few that are not in
    order then. Where that takes long, for values that were made for it, all bytes are used.
    """
    if n > 32:
        _sort_by_bytes(6 if n < 1 << 18 else 4, 7, values, n, spare, counts)
    if not _insert_each(values, n, 16 * n + 512):
        _sort_by_bytes(0, 7, values, n, spare, counts)


@leaf
def _sets(shingling, data, offsets, counts, out, bounds):
    o = 0
    for d in range(len(offsets) - 1):
        n = shingle_document(shingling, data, offsets[d], offsets[d + 1])
        sort_u64(shingling.shingles, n, shingling.units, counts)
        before = ~item(shingling.shingles, 0)
        for i in range(n):
            v = item(shingling.shingles, i)
            set_item(out, o, v)
            o += v != before
            before = v
        bounds[d + 1] = o
    return o


@shingle_set.cpu
def _cpu(text: TextColumn, kind: str = "word", width: int = 5) -> tuple[Array, Array]:
    # a word takes at least one byte, and the gap after it another
    room = text.n_bytes // 2 + len(text) + 1 if word_classes(kind) else text.n_bytes
    out = np.empty(room + 1, np.uint64)
    offsets = np.zeros(len(text) + 1, np.int64)
    shingling = shingling_of(kind, width, longest(text.offsets))
    n = _sets(shingling, padded(text.data), text.offsets, np.empty(256, np.int64), out, offsets)
    return out[:n].copy(), offsets


@shingle_set.cuda
def _cuda(xp: Any, text: TextColumn, kind: str = "word", width: int = 5) -> tuple[Array, Array]:
    shingling_of(kind, width)
    units, starts, unit = device_units(xp, text, kind)
    counts = shingle_counts(xp, starts, width)
    bounds = exclusive_sum(xp, counts)
    values, owners = (xp.empty(int(bounds[-1]), dtype) for dtype in (np.uint64, np.uint32))
    segments = Segments.of(xp, counts, 8192)
    launch_warps(
        "shingle_set", "write_shingles", segments.count, units, starts, *segments.args, width, bounds, values, owners,
        UNIT=unit,
    )  # fmt: skip
    for by_owner in (False, True):  # two sorts of one key each are radix sorts; one of two keys compares
        order = xp.argsort(owners if by_owner else values, kind="stable")
        values, owners = values[order], owners[order]
    first = xp.ones(len(values), bool)
    first[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
    kept = exclusive_sum(xp, first.astype(np.int64))
    return values[first], kept[bounds]
