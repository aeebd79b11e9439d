"""components: the connected components of a graph, each named by its smallest node.

    components(a int64[m], b int64[m], n=n) = int64[n]

Nodes are 0 .. n - 1, and edge i joins a[i] and b[i]; an edge may occur twice or join a node to itself. Entry x of the
result is the smallest node that x is connected to, x itself if it has no edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpu_pile.gpu.launch import launch_threads
from gpu_pile.ops.op import Op
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit
from gpu_pile.types import Array

NODES = 40


def graph(text: TextColumn) -> tuple[Array, Array]:
    """Return (a, b) for tests: every two bytes of a text are an edge between two of NODES nodes."""
    nodes = text.data.astype(np.int64) % NODES
    return nodes[: len(nodes) // 2 * 2 : 2].copy(), nodes[1::2].copy()


def _inputs(text: TextColumn, params: Mapping[str, Any]) -> tuple[Any, ...]:
    return graph(text)


GRAPHS = (
    "aa",
    "ab",
    "abbccddeeffgghhiijjkkllmm",  # a path
    "mllkkjjiihhggffeeddccbba",  # and back
    "abacadaeafagahaiajak",  # a star
    "zyzxzwzvzuztzszrzqzp",
    "abcdefgh",
    "ab" * 50,
    bytes(range(256)),
    bytes(range(0, 256, 7)) * 3,
)

components = Op("components", version=1, samples=({"n": NODES}, {"n": 1000}), documents=GRAPHS, inputs=_inputs)


@components.reference
def _reference(a: Array, b: Array, n: int) -> Array:
    name = list(range(n))
    changed = True
    while changed:
        changed = False
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            if name[x] != name[y]:
                name[x] = name[y] = min(name[x], name[y])
                changed = True
    return np.array(name, np.int64)


@jit
def _find(up, x):
    while up[x] != x:
        up[x] = up[up[x]]
        x = up[x]
    return x


@jit
def link(up, a, b):
    """Join nodes a[i] and b[i] in a forest with up[x] <= x, and up[x] == x for a root."""
    for i in range(len(a)):
        x, y = _find(up, a[i]), _find(up, b[i])
        if x != y:  # the smaller becomes the root
            up[max(x, y)] = min(x, y)


@jit
def name(up):
    """Set up[x] to the root of x, the smallest node of its component."""
    for x in range(len(up)):
        up[x] = up[up[x]]  # smaller nodes are done


@components.cpu
def _cpu(a: Array, b: Array, n: int) -> Array:
    up = np.arange(n)
    link(up, a, b)
    name(up)
    return up


@components.cuda
def _cuda(xp: Any, a: Array, b: Array, n: int) -> Array:
    up = xp.arange(n, dtype=np.uint64)
    out = xp.empty(n, np.int64)
    launch_threads("components", "components_link", len(a), a, b, len(a), up)
    launch_threads("components", "components_name", n, up, n, out)
    return out
