"""sketch: k numbers per document, from which the Jaccard similarity of the shingle sets of two documents is estimated.

    sketch(text, kind="word", width=5, method="fss", k=128, seed=0) = (uint32[n_docs, k], int64[n_docs])

The second array counts the shingles, repetitions included; a document with 0 can have no near duplicate. The fraction
of equal positions of two sketches estimates the Jaccard similarity. h runs over the shingle hashes
(gpu_pile.text.shingles), and S[r] = gpu_pile.text.hashing.seed_int(seed, r). In the sketch of a document without
shingles every value is EMPTY = 2^32 - 1, which no shingle gives.

fss: Fast Similarity Sketching (Dahlgaard, Knudsen, Thorup: Fast Similarity Sketching, FOCS 2017, section 2). Round r,
for r = 0, 1, ... 2k - 1, throws every shingle into one of k bins:

    g = h in round 0, mix(h ^ S[r]) in later ones
    bin = ((g >> 32) * k) >> 32 in rounds r < k, bin = r - k in rounds r >= k
    value = min(g mod 2^32, 2^32 - 2)

A bin keeps the smallest value of the first round that reaches it; rounds end when no bin is empty. A document of n
shingles needs more than one round only if n is below about k ln k, so the work is O(n + k log k). The segments of a
long document are merged by minimum after round 0; later rounds see all shingles, and run only if bins are still empty.

affine32: classic minwise hashing with k affine permutations (Broder 1997):

    value[j] = min over h of min((a[j] * (h >> 32) + b[j]) mod 2^32, 2^32 - 2)
    a[j] = S[2j] >> 32 | 1,  b[j] = S[2j + 1] >> 32

Segments are merged by minimum.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_warps
from gpu_pile.gpu.segments import Segments, constant
from gpu_pile.gpu.shingles import device_units, shingle_counts
from gpu_pile.ops.op import Op
from gpu_pile.text.blocks import padded
from gpu_pile.text.column import TextColumn
from gpu_pile.text.hashing import M32, mix64, mix64_int, seed_int
from gpu_pile.text.jit import leaf
from gpu_pile.text.lower_words import longest
from gpu_pile.text.shingles import DOCUMENTS, SCRIPTS, reference_shingles, shingle_document, shingling_of
from gpu_pile.text.simd import item, set_item
from gpu_pile.types import Array

METHODS = ("fss", "affine32")
EMPTY = 2**32 - 1

sketch = Op(
    "sketch",
    version=1,
    samples=(
        {},
        {"method": "affine32"},
        {"kind": "byte"},
        {"kind": "byte", "width": 9, "method": "affine32", "k": 40},
        {"kind": "char", "width": 24, "k": 64},
        {"kind": "auto"},
        {"width": 1, "k": 8, "seed": 7},
        {"width": 3, "k": 100, "seed": 2**63 - 1},
    ),
    documents=(*DOCUMENTS, *SCRIPTS, " ".join(map(str, range(60)))),
)


@sketch.reference
def _reference(
    text: TextColumn, kind: str = "word", width: int = 5, method: str = "fss", k: int = 128, seed: int = 0
) -> tuple[Array, Array]:
    rows, counts = [], []
    for document in text.documents():
        shingles = reference_shingles(document, kind, width)
        counts.append(len(shingles))
        rows.append(_reference_fss(shingles, k, seed) if method == "fss" else _reference_affine(shingles, k, seed))
    return np.array(rows, np.uint32).reshape(-1, k), np.array(counts, np.int64)


def _reference_fss(shingles: list[int], k: int, seed: int) -> list[int]:
    bins = [EMPTY] * k
    for r in range(2 * k) if shingles else ():
        reached: dict[int, int] = {}
        for h in shingles:
            g = h if r == 0 else mix64_int(h ^ seed_int(seed, r))
            j = (g >> 32) * k >> 32 if r < k else r - k
            reached[j] = min(reached.get(j, EMPTY), g & M32, EMPTY - 1)
        for j, value in reached.items():
            if bins[j] == EMPTY:
                bins[j] = value
        if EMPTY not in bins:
            break
    return bins


def _reference_affine(shingles: list[int], k: int, seed: int) -> list[int]:
    out = []
    for j in range(k):
        a, b = seed_int(seed, 2 * j) >> 32 | 1, seed_int(seed, 2 * j + 1) >> 32
        out.append(min([min((a * (h >> 32) + b) & M32, EMPTY - 1) for h in shingles], default=EMPTY))
    return out


@cache
def seeds(k: int, seed: int) -> Array:
    """Return S[0] .. S[2k - 1] as uint64."""
    return np.array([seed_int(seed, r) for r in range(2 * k)], np.uint64)


@cache
def affine_parameters(k: int, seed: int) -> tuple[Array, Array]:
    """Return (a, b), uint32[k] each."""
    s = (seeds(k, seed) >> np.uint64(32)).astype(np.uint32)
    return s[0::2] | np.uint32(1), s[1::2].copy()


_NONE = np.uint32(EMPTY)
_MOST, _0 = np.uint32(EMPTY - 1), np.uint32(0)
_LOW, _HALF = np.uint64(M32), np.uint64(32)


@leaf
def _fss(shingles, n, bins, s, taken):
    """Fill the bins. taken: scratch, all bits set where a bin has a value of an earlier round, else 0."""
    k = len(bins)
    k64 = np.uint64(k)
    bins[:] = _NONE
    for i in range(n):  # without a branch: whether a value is the least so far cannot be predicted
        h = shingles[i]
        j = np.int64(((h >> _HALF) * k64) >> _HALF)
        set_item(bins, j, min(item(bins, j), min(np.uint32(h & _LOW), _MOST)))
    left = _take(bins, taken) if n else 0
    r = 1
    while left and r < 2 * k:
        for i in range(n):
            g = mix64(shingles[i] ^ s[r])
            j = np.int64(((g >> _HALF) * k64) >> _HALF) if r < k else r - k
            set_item(bins, j, min(item(bins, j), min(np.uint32(g & _LOW), _MOST) | item(taken, j)))
        left = _take(bins, taken)
        r += 1


@leaf
def _take(bins, taken):
    """Mark the bins that have a value. Return how many have none."""
    left = 0
    for j in range(len(bins)):
        left += bins[j] == _NONE
        taken[j] = _0 if bins[j] == _NONE else _NONE
    return left


@leaf
def _least(a, b, high):
    m = _MOST
    for i in range(len(high)):
        m = min(m, np.uint32(np.uint32(a * high[i]) + b))
    return m


@leaf
def _affine(shingles, n, out, a, b, high):
    out[:] = _NONE
    for start in range(0, n, len(high)):
        size = min(len(high), n - start)
        for i in range(size):
            high[i] = np.uint32(shingles[start + i] >> _HALF)
        for j in range(len(out)):
            out[j] = min(out[j], _least(a[j], b[j], high[:size]))


@leaf
def _sketch_fss(data, offsets, shingling, s, taken, out, counts):
    for d in range(len(offsets) - 1):
        counts[d] = shingle_document(shingling, data, offsets[d], offsets[d + 1])
        _fss(shingling.shingles, counts[d], out[d], s, taken)


@leaf
def _sketch_affine(data, offsets, shingling, permutations, high, out, counts):
    a, b = permutations
    for d in range(len(offsets) - 1):
        counts[d] = shingle_document(shingling, data, offsets[d], offsets[d + 1])
        _affine(shingling.shingles, counts[d], out[d], a, b, high)


@sketch.cpu
def _cpu(
    text: TextColumn, kind: str = "word", width: int = 5, method: str = "fss", k: int = 128, seed: int = 0
) -> tuple[Array, Array]:
    out = np.empty((len(text), k), np.uint32)
    counts = np.empty(len(text), np.int64)
    documents = padded(text.data), text.offsets, shingling_of(kind, width, longest(text.offsets))
    if METHODS.index(method) == 0:
        _sketch_fss(*documents, seeds(k, seed), np.empty(k, np.uint32), out, counts)
    else:
        _sketch_affine(*documents, affine_parameters(k, seed), np.empty(2048, np.uint32), out, counts)
    return out, counts


@sketch.cuda
def _cuda(
    xp: Any, text: TextColumn, kind: str = "word", width: int = 5, method: str = "fss", k: int = 128, seed: int = 0
) -> tuple[Array, Array]:
    shingling_of(kind, width)
    how = METHODS[METHODS.index(method)]
    units, starts, unit = device_units(xp, text, kind)
    counts = shingle_counts(xp, starts, width)
    out = xp.full((len(text), k), _NONE, np.uint32)
    segments = Segments.of(xp, counts, 8192)
    documents = (units, starts, *segments.args, width)
    if how == "affine32":
        a, b = (constant(xp, x) for x in affine_parameters(k, seed))
        launch_warps("sketch", "affine32", segments.count, *documents, a, b, k, out, UNIT=unit)
        return out, counts
    s = seeds(k, seed)
    shared = 4 * (k + -(-k // 32))
    launch_warps("sketch", "fss", segments.count, *documents, constant(xp, s), k, out, shared=shared, UNIT=unit)
    left = xp.flatnonzero((xp.diff(segments.first) > 1) & (out == _NONE).any(axis=1))
    if len(left):
        _finish(xp, (units, starts, width), counts, left, s, out, unit)
    return out, counts


def _finish(xp: Any, shingles: tuple[Any, ...], counts: Array, left: Array, s: Array, out: Array, unit: str) -> None:
    """Fill the bins that round 0 has left empty in the documents `left`, which have several segments.

    shingles: units, where those of each document begin, and the width; counts: of the shingles; s: the seeds.
    """
    k = out.shape[1]
    shared = 4 * (k + -(-k // 32))
    few = (*shingles, left, len(left), constant(xp, s), k, out)
    launch_warps("sketch", "fss_few", len(left), *few, shared=shared, UNIT=unit)
    for r in range(1, 2 * k):
        left = left[(out[left] == _NONE).any(axis=1)]
        if not len(left):
            break
        segments = Segments.of(xp, counts[left], 8192)
        values = xp.full((len(left), k), _NONE, np.uint32)
        units, starts, width = shingles
        launch_warps(
            "sketch", "fss_round", segments.count, units, starts, *segments.args, width, left, r, int(s[r]), k, out,
            values, shared=shared, UNIT=unit,
        )  # fmt: skip
        out[left] = xp.where(out[left] == _NONE, values, out[left])
