"""jaccard: the sizes of the intersection and of the union of pairs of sets.

    jaccard(values uint64[total], offsets int64[n_sets + 1], pairs int64[n_pairs, 2]) = int64[n_pairs, 2]

Set i is values[offsets[i]:offsets[i + 1]], ascending and distinct, as shingle_set gives it. Row p of the result is
(size of the intersection, size of the union) of the sets pairs[p, 0] and pairs[p, 1]. Their ratio is the Jaccard
similarity; the caller divides once, in float64. Two empty sets give (0, 0).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_threads, launch_warps
from gpu_pile.gpu.segments import Segments
from gpu_pile.ops.op import Op
from gpu_pile.ops.shingle_set import shingle_set
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit
from gpu_pile.text.shingles import DOCUMENTS
from gpu_pile.types import Array


def _inputs(text: TextColumn, params: Mapping[str, Any]) -> tuple[Any, ...]:
    """Pair every document with the next one, with the first one and with itself."""
    i = np.arange(len(text))
    pairs = np.concatenate([np.stack([i, j], axis=1) for j in (i, np.zeros_like(i), np.minimum(i + 1, len(text) - 1))])
    return (*shingle_set.run("cpu", text, width=2), pairs)


jaccard = Op("jaccard", version=1, documents=(*DOCUMENTS, "a b a b a c", "a b a b", "c d " * 3), inputs=_inputs)


@jaccard.reference
def _reference(values: Array, offsets: Array, pairs: Array) -> Array:
    sets = [set(values[a:b].tolist()) for a, b in itertools.pairwise(offsets)]
    return np.array([(len(sets[a] & sets[b]), len(sets[a] | sets[b])) for a, b in pairs], np.int64).reshape(-1, 2)


@jit
def _count(values, offsets, pairs, out):
    for p in range(len(pairs)):
        x, x_end = offsets[pairs[p, 0]], offsets[pairs[p, 0] + 1]
        y, y_end = offsets[pairs[p, 1]], offsets[pairs[p, 1] + 1]
        total = (x_end - x) + (y_end - y)
        common = 0
        while x < x_end and y < y_end:  # without branches that could be mispredicted
            u, v = values[x], values[y]
            common += u == v
            x += u <= v
            y += v <= u
        out[p, 0] = common
        out[p, 1] = total - common


@jaccard.cpu
def _cpu(values: Array, offsets: Array, pairs: Array) -> Array:
    out = np.empty((len(pairs), 2), np.int64)
    _count(np.asarray(values), offsets, pairs, out)
    return out


@jaccard.cuda
def _cuda(xp: Any, values: Array, offsets: Array, pairs: Array) -> Array:
    out = xp.zeros((len(pairs), 2), np.uint64)
    pairs = xp.ascontiguousarray(pairs)
    sizes = xp.diff(offsets)
    smaller = xp.minimum(sizes[pairs[:, 0]], sizes[pairs[:, 1]])
    segments = Segments.of(xp, smaller, 4096)
    launch_warps("jaccard", "jaccard_segments", segments.count, values, offsets, pairs, *segments.args, out)
    launch_threads("jaccard", "jaccard_unions", len(pairs), offsets, pairs, len(pairs), out)
    return out.view(np.int64)
