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
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit
from gpu_pile.text.shingles import DOCUMENTS, longest, reference_shingles, shingle_document, shingling_of
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
    ),
    documents=(*DOCUMENTS, " ".join(str(i * i % 1000) for i in range(1500))),
)


@shingle_set.reference
def _reference(text: TextColumn, kind: str = "word", width: int = 5) -> tuple[Array, Array]:
    sets = [sorted(set(reference_shingles(d, kind, width))) for d in text.documents()]
    offsets = np.cumsum([0, *map(len, sets)], dtype=np.int64)
    return np.array([h for s in sets for h in s], np.uint64), offsets


@jit
def sort_u64(values, n, spare):
    """Sort values[:n]; spare has the same length. Many values are sorted by bytes, skipping equal bytes."""
    if n < 64:
        for i in range(1, n):
            v = values[i]
            j = i - 1
            while j >= 0 and values[j] > v:
                values[j + 1] = values[j]
                j -= 1
            values[j + 1] = v
        return
    if n < 2048:
        values[:n].sort()
        return
    counts = np.zeros((8, 256), np.int64)
    for i in range(n):
        v = values[i]
        for b in range(8):
            counts[b, (v >> np.uint64(8 * b)) & np.uint64(255)] += 1
    source, target = values, spare
    swapped = False
    for b in range(8):
        shift = np.uint64(8 * b)
        count = counts[b]
        if count[(source[0] >> shift) & np.uint64(255)] == n:
            continue
        total = 0
        for x in range(256):
            c = count[x]
            count[x] = total
            total += c
        for i in range(n):
            v = source[i]
            x = (v >> shift) & np.uint64(255)
            target[count[x]] = v
            count[x] += 1
        source, target = target, source
        swapped = not swapped
    if swapped:
        for i in range(n):
            values[i] = spare[i]


@jit
def _sets(shingling, data, offsets, out, bounds):
    room = longest(offsets) + 1
    units = np.empty(room, np.uint64)
    shingles = np.empty(room, np.uint64)
    o = 0
    for d in range(len(offsets) - 1):
        n = shingle_document(shingling, data, offsets[d], offsets[d + 1], units, shingles)
        sort_u64(shingles, n, units)
        for i in range(n):
            if i == 0 or shingles[i] != shingles[i - 1]:
                out[o] = shingles[i]
                o += 1
        bounds[d + 1] = o
    return o


@shingle_set.cpu
def _cpu(text: TextColumn, kind: str = "word", width: int = 5) -> tuple[Array, Array]:
    shingling = shingling_of(kind, width)
    # a word takes at least one byte, and the gap after it another
    room = text.n_bytes // 2 + len(text) + 1 if kind == "word" else text.n_bytes
    out = np.empty(room, np.uint64)
    offsets = np.zeros(len(text) + 1, np.int64)
    n = _sets(shingling, text.data, text.offsets, out, offsets)
    return out[:n].copy(), offsets


@shingle_set.cuda
def _cuda(xp: Any, text: TextColumn, kind: str = "word", width: int = 5) -> tuple[Array, Array]:
    shingling_of(kind, width)
    units, starts, unit = device_units(xp, text, kind)
    counts = shingle_counts(xp, starts, width)
    bounds = exclusive_sum(xp, counts)
    values, owners = (xp.empty(int(bounds[-1]), np.uint64) for _ in range(2))
    segments = Segments.of(xp, counts, 8192)
    launch_warps(
        "shingle_set", "write_shingles", segments.count, units, starts, *segments.args, width, bounds, values, owners,
        UNIT=unit,
    )  # fmt: skip
    if len(values):
        order = xp.lexsort(xp.stack([values, owners]))
        values, owners = values[order], owners[order]
    first = xp.ones(len(values), bool)
    first[1:] = (values[1:] != values[:-1]) | (owners[1:] != owners[:-1])
    kept = exclusive_sum(xp, first.astype(np.int64))
    return values[first], kept[bounds]
