"""Decisions: which documents stay, and every reason why the others do not. Sees tables, never text.

A document stays when it fails no threshold and is the survivor of its duplicates. Survivors are chosen among the
documents that pass their thresholds, so nothing is removed as the duplicate of something that is removed itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gpu_pile.errors import DataError
from gpu_pile.ops.witnesses import witnesses
from gpu_pile.text.jit import jit
from gpu_pile.types import Array

EXACT = "exact_duplicate"
NEAR = "near_duplicate"


@dataclass(frozen=True)
class Clustered:
    """The documents that have a duplicate, ascending by doc_id: arrays of n.

    doc_id, cluster, representative: uint64, as in clusters.parquet
    witness:    uint64, the kept document this one duplicates; its own id where there is none
    similarity: float64, to the witness; 0 where unknown
    exact, near: bool, whether it is removed as an exact or as a near duplicate
    """

    doc_id: Array
    cluster: Array
    witness: Array
    similarity: Array
    exact: Array
    near: Array


def resolve(
    clusters: pa.Table,
    pairs: Iterable[pa.Table],
    passing: Array,
    preference: Sequence[Array],
    how: str,
) -> Clustered:
    """Choose survivors and witnesses, some whole clusters at a time.

    Args:
        clusters: as dedupe wrote them. pairs: the rows of the pairs that it wrote, in their order, some at a time.
        passing: bool[n], for each row of clusters whether the document fails no threshold.
        preference: arrays of n, smaller is better, the first one decides, then the next; then the smallest doc_id.
        how: "witness" or "connected" (dedupe.fuzzy.resolve).

    Raises:
        DataError: the pairs are not in the order of their clusters.
    """
    doc_id, cluster = (clusters.column(name).to_numpy() for name in ("doc_id", "cluster"))
    n = len(doc_id)
    found = Clustered(
        doc_id, cluster, doc_id.copy(), np.zeros(n, np.float64), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    )
    by_cluster = np.argsort(cluster, kind="stable")
    cluster = cluster[by_cluster]
    done = 0
    for last, part in _whole_clusters(found, pairs):
        stop = n if last is None else int(np.searchsorted(cluster, last, side="right"))
        rows = np.sort(by_cluster[done:stop])
        done = stop
        some = _resolve(
            clusters.take(pa.array(rows)), part, passing[rows], [values[rows] for values in preference], how
        )
        for name in ("witness", "similarity", "exact", "near"):
            getattr(found, name)[rows] = getattr(some, name)
    return found


def _whole_clusters(found: Clustered, pairs: Iterable[pa.Table]) -> Iterator[tuple[np.uint64 | None, pa.Table]]:
    """(a cluster, all pairs of the clusters up to it that did not come before); None for the cluster at the end."""
    held = [pa.table({"a": np.empty(0, np.uint64), "b": np.empty(0, np.uint64), "similarity": np.empty(0)})]
    last: np.uint64 | None = None  # the cluster of what is held
    for table in pairs:
        if not len(table):
            continue
        cluster = found.cluster[np.searchsorted(found.doc_id, table.column("a").to_numpy())]
        if (cluster[1:] < cluster[:-1]).any() or (last is not None and cluster[0] < last):
            raise DataError("pairs.parquet is of another version of gpu-pile; run the same command again")
        cut = int(np.searchsorted(cluster, cluster[-1]))  # of the last cluster more may come
        if cut or (last is not None and last != cluster[-1]):
            yield cluster[cut - 1] if cut else last, pa.concat_tables([*held, table.slice(0, cut)])
            held = []
        held.append(table.slice(cut))
        last = cluster[-1]
    yield None, pa.concat_tables(held)


def _resolve(clusters: pa.Table, pairs: pa.Table, passing: Array, preference: Sequence[Array], how: str) -> Clustered:
    """As resolve, for all that is given at once."""
    doc_id = clusters.column("doc_id").to_numpy()
    n = len(doc_id)
    order = np.lexsort((doc_id, *reversed(preference)))
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    # a node is a set of equal documents, named by its representative; its best passing member stands for it
    representative = np.searchsorted(doc_id, clusters.column("representative").to_numpy())
    is_node = representative == np.arange(n)
    best = np.full(n, n, np.int64)
    np.minimum.at(best, representative[passing], rank[passing])
    eligible = best < n
    survivor = np.where(eligible, order[np.minimum(best, n - 1)], -1) if n else best
    a = np.searchsorted(doc_id, pairs.column("a").to_numpy())
    b = np.searchsorted(doc_id, pairs.column("b").to_numpy())
    similarity = pairs.column("similarity").to_numpy()
    node_order = np.argsort(best, kind="stable")
    eligible &= is_node
    if how == "connected":
        component = np.searchsorted(doc_id, clusters.column("cluster").to_numpy())
        kept, witness, at = connected_survivors(node_order, eligible, component, a, b, similarity)
    else:
        kept, witness, at = witnesses(node_order, eligible, best, a, b, similarity)
    rows = np.arange(n)
    node_kept, node_witness = kept[representative], witness[representative]
    exact = node_kept & (survivor[representative] != rows)
    near = ~node_kept & (node_witness >= 0)
    chosen = np.where(exact, survivor[representative], np.where(near, survivor[node_witness], rows))
    return Clustered(
        doc_id,
        clusters.column("cluster").to_numpy(),
        doc_id[chosen],
        np.where(exact, 1.0, np.where(near, at[representative], 0.0)),
        exact,
        near,
    )


def lists(names: Sequence[str], marks: Array, values: Array) -> tuple[pa.Array, pa.Array]:
    """Per row, the names whose mark is set and their values.

    Args:
        names: m names. marks: bool[n, m]. values: float64[n, m].

    Returns:
        list<string>[n], list<double>[n]
    """
    row, column = np.nonzero(marks)
    offsets = np.concatenate(([0], np.cumsum(np.bincount(row, minlength=len(marks))))).astype(np.int32)
    dictionary = pa.DictionaryArray.from_arrays(pa.array(column.astype(np.int32)), pa.array(list(names), pa.string()))
    return (
        pa.ListArray.from_arrays(offsets, dictionary.cast(pa.string())),
        pa.ListArray.from_arrays(offsets, pa.array(values[row, column])),
    )


@jit
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
