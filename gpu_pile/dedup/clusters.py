"""From verified pairs to clusters, survivors and witnesses.

Nodes are the distinct texts (a set of equal documents is one node), edges the pairs verified at or above the
threshold. gpu_pile.ops.witnesses keeps the greedy maximal independent set: every removed node has a kept direct
neighbour, its witness, and no two kept nodes are neighbours; chains of similar documents are not closed transitively.
Here is the other way, one survivor a connected component (gpu_pile.ops.components).
"""

from __future__ import annotations

import numpy as np

from gpu_pile.compiled import compiled


@compiled
def connected_survivors(order, eligible, component, a, b, similarity):
    """As the operation witnesses, but one kept node a component.

    `at` is 0 where survivor and node are no verified pair.
    """
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
