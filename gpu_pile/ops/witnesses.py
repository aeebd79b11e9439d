"""witnesses: which nodes of a graph of near duplicates are kept, and a witness for each of the others.

    witnesses(order int64[n], eligible bool[n], rank int64[n], a int64[m], b int64[m], similarity float64[m])
        = (kept bool[n], witness int64[n], witness_similarity float64[n])

Edge i says that nodes a[i] and b[i] have similarity[i] >= 0; no pair of nodes occurs twice. Nodes are visited in order,
the most preferred node order[0] first, and an eligible node is kept unless a neighbour has been kept. This greedy
maximal independent set is unique for a given order. The witness of a node that is not kept is its kept neighbour of
highest similarity, on ties the one of smallest rank (ranks of eligible nodes differ). Kept nodes, and nodes without a
kept neighbour, have the witness -1 and the similarity 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_threads
from gpu_pile.ops.components import GRAPHS, NODES, graph
from gpu_pile.ops.op import Op
from gpu_pile.text.blocks import read_only
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import leaf
from gpu_pile.types import Array


def _inputs(text: TextColumn, params: Mapping[str, Any]) -> tuple[Any, ...]:
    rng = np.random.default_rng(text.n_bytes)
    a, b = graph(text)
    edges = np.unique(np.stack([np.minimum(a, b), np.maximum(a, b)]), axis=1)
    a, b = (np.ascontiguousarray(x) for x in edges[:, edges[0] < edges[1]])
    order = rng.permutation(NODES)
    similarity = rng.choice([0.0, 0.8, 0.85, 0.9, 1.0], len(a))
    return order, rng.random(NODES) < 0.9, np.argsort(order), a, b, similarity


witnesses = Op("witnesses", version=1, documents=GRAPHS, inputs=_inputs)


@witnesses.reference
def _reference(
    order: Array, eligible: Array, rank: Array, a: Array, b: Array, similarity: Array
) -> tuple[Array, Array, Array]:
    n = len(order)
    near: list[dict[int, float]] = [{} for _ in range(n)]
    for x, y, s in zip(a.tolist(), b.tolist(), similarity.tolist(), strict=True):
        near[x][y] = near[y][x] = s
    kept: set[int] = set()
    for x in order.tolist():
        if eligible[x] and not near[x].keys() & kept:
            kept.add(x)
    witness, highest = [-1] * n, [0.0] * n
    for x in set(range(n)) - kept:
        choices = [(-s, int(rank[y]), y) for y, s in near[x].items() if y in kept]
        if choices:
            s, _, witness[x] = min(choices)
            highest[x] = -s + 0.0  # never -0.0
    return np.array([x in kept for x in range(n)]), np.array(witness, np.int64), np.array(highest)


@leaf
def _adjacency(a, b, start, neighbour, edge, fill):
    """Node x has neighbours neighbour[start[x]:start[x + 1]], by those edges. start: zeros before; fill: scratch."""
    for i in range(len(a)):
        start[a[i] + 1] += 1
        start[b[i] + 1] += 1
    for x in range(len(fill)):
        fill[x] = start[x]
        start[x + 1] += start[x]
    for i in range(len(a)):
        neighbour[fill[a[i]]], edge[fill[a[i]]] = b[i], i
        fill[a[i]] += 1
        neighbour[fill[b[i]]], edge[fill[b[i]]] = a[i], i
        fill[b[i]] += 1


@leaf
def _choose(order, eligible, start, neighbour, kept):
    """Keep, in the order, each eligible node without a kept neighbour."""
    for x in order:
        if eligible[x]:
            free = True
            for i in range(start[x], start[x + 1]):
                if kept[neighbour[i]]:
                    free = False
                    break
            kept[x] = free


@leaf
def _explain(rank, similarity, tables, kept, witness, highest):
    """Find the most similar kept neighbour of each node that is not kept; of equal ones that of the lowest rank."""
    start, neighbour, edge = tables
    for x in range(len(kept)):
        if not kept[x]:
            for i in range(start[x], start[x + 1]):
                y, s = neighbour[i], similarity[edge[i]]
                if kept[y] and (s > highest[x] or (s == highest[x] and (witness[x] < 0 or rank[y] < rank[witness[x]]))):
                    witness[x], highest[x] = y, s


@witnesses.cpu
def _cpu(
    order: Array, eligible: Array, rank: Array, a: Array, b: Array, similarity: Array
) -> tuple[Array, Array, Array]:
    n = len(order)
    order, eligible, rank, a, b, similarity = map(read_only, (order, eligible, rank, a, b, similarity))
    start, fill = np.zeros(n + 1, np.int64), np.empty(n, np.int64)
    neighbour, edge = np.empty(2 * len(a), np.int64), np.empty(2 * len(a), np.int64)
    _adjacency(a, b, start, neighbour, edge, fill)
    kept, witness, highest = np.zeros(n, bool), np.full(n, -1, np.int64), np.zeros(n, np.float64)
    _choose(order, eligible, start, neighbour, kept)
    _explain(rank, similarity, (start, neighbour, edge), kept, witness, highest)
    return kept, witness, highest


_OPEN, _KEPT, _REMOVED = 0, 1, 2


@witnesses.cuda
def _cuda(
    xp: Any, order: Array, eligible: Array, rank: Array, a: Array, b: Array, similarity: Array
) -> tuple[Array, Array, Array]:
    """Work in rounds: keep each open node that is preferred to all its open neighbours, then remove its neighbours.

    A round settles at least the most preferred open node of each component; a random order takes about log n rounds.
    """
    n, m = len(order), len(a)
    place = xp.empty(n, np.int64)
    place[order] = xp.arange(n)
    state = xp.where(eligible, _OPEN, _REMOVED).astype(np.uint32)
    while int((state == _OPEN).sum()):
        blocked = xp.zeros(n, np.uint32)
        launch_threads("witnesses", "witnesses_block", m, a, b, m, place, state, blocked)
        state = xp.where((state == _OPEN) & (blocked == 0), _KEPT, state).astype(np.uint32)
        launch_threads("witnesses", "witnesses_remove", m, a, b, m, state)
    bits = similarity.view(np.uint64)  # ordered like the numbers, since no number is negative
    best = xp.zeros(n, np.uint64)
    first = xp.full(n, np.uint64(2**64 - 1), np.uint64)
    witness = xp.full(n, -1, np.int64)
    launch_threads("witnesses", "witnesses_best", m, a, b, m, state, bits, best)
    launch_threads("witnesses", "witnesses_first", m, a, b, m, state, bits, rank, best, first)
    launch_threads("witnesses", "witnesses_choose", m, a, b, m, state, bits, rank, best, first, witness)
    highest = xp.where(best == 0, best, best - np.uint64(1)).view(np.float64)
    return state == _KEPT, witness, highest
