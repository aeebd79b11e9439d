"""From verified pairs to clusters, survivors and witnesses.

Nodes are the distinct texts (a set of equal documents is one node), edges the pairs verified at or above the
threshold. Nodes are visited in order of preference: a node is removed when a neighbour was kept before it, else it is
kept. So every removed node has a kept direct neighbour, its witness, and no two kept nodes are neighbours: the greedy
maximal independent set, which for a fixed order is unique. Chains of similar documents are not closed transitively.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_pile.compiled import compiled

Array = np.ndarray[Any, Any]


@compiled
def _find(up, x):
    while up[x] != x:
        up[x] = up[up[x]]
        x = up[x]
    return x


@compiled
def components(n, a, b):
    """int64[n]: the smallest node of each node's connected component; edges a[i] - b[i]."""
    up = np.arange(n)
    for i in range(len(a)):
        x, y = _find(up, a[i]), _find(up, b[i])
        if x != y:  # the smaller becomes the root
            up[max(x, y)] = min(x, y)
    for x in range(n):
        up[x] = _find(up, x)
    return up


@compiled
def _adjacency(n, a, b):
    """Neighbours of node x: neighbour[start[x]:start[x + 1]], over edge numbers edge[...]."""
    start = np.zeros(n + 1, np.int64)
    for i in range(len(a)):
        start[a[i] + 1] += 1
        start[b[i] + 1] += 1
    for x in range(n):
        start[x + 1] += start[x]
    neighbour = np.empty(2 * len(a), np.int64)
    edge = np.empty(2 * len(a), np.int64)
    fill = start[:n].copy()
    for i in range(len(a)):
        neighbour[fill[a[i]]], edge[fill[a[i]]] = b[i], i
        fill[a[i]] += 1
        neighbour[fill[b[i]]], edge[fill[b[i]]] = a[i], i
        fill[b[i]] += 1
    return start, neighbour, edge


@compiled
def witnesses(order, eligible, rank, a, b, similarity):
    """Which nodes are kept, and the witness of each that is not.

    Args:
        order: int64[n], the nodes from most to least preferred.
        eligible: bool[n], whether the node may be kept at all.
        rank: int64[n], breaks ties between equally similar witnesses: the smallest wins.
        a, b, similarity: int64, int64, float64 [n_edges], the verified pairs.

    Returns:
        kept: bool[n]; witness: int64[n], the kept neighbour of highest similarity, -1 for a node that has none or is
        kept itself; at: float64[n], the similarity to it, 0 where there is none.
    """
    n = len(order)
    start, neighbour, edge = _adjacency(n, a, b)
    kept = np.zeros(n, np.bool_)
    for x in order:
        if eligible[x]:
            free = True
            for i in range(start[x], start[x + 1]):
                if kept[neighbour[i]]:
                    free = False
                    break
            kept[x] = free
    witness = np.full(n, -1, np.int64)
    at = np.zeros(n, np.float64)
    for x in range(n):
        if not kept[x]:
            for i in range(start[x], start[x + 1]):
                y, s = neighbour[i], similarity[edge[i]]
                if kept[y] and (s > at[x] or (s == at[x] and (witness[x] < 0 or rank[y] < rank[witness[x]]))):
                    witness[x], at[x] = y, s
    return kept, witness, at


@compiled
def connected_survivors(order, eligible, component, a, b, similarity):
    """As witnesses(), but one kept node a component: similarity is 0 where survivor and node are no verified pair."""
    n = len(order)
    survivor = np.full(n, -1, np.int64)  # of the component, at its smallest node
    kept = np.zeros(n, np.bool_)
    for x in order:
        if eligible[x] and survivor[component[x]] < 0:
            survivor[component[x]] = x
            kept[x] = True
    witness = np.full(n, -1, np.int64)
    at = np.zeros(n, np.float64)
    for x in range(n):
        if not kept[x]:
            witness[x] = survivor[component[x]]
    for i in range(len(a)):
        if witness[a[i]] == b[i]:
            at[a[i]] = similarity[i]
        if witness[b[i]] == a[i]:
            at[b[i]] = similarity[i]
    return kept, witness, at
