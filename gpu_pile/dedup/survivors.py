"""Survivors: which of several duplicates stays, and a witness for each of the others. Sees arrays and tables, no text.

Survivors are chosen among the documents that pass their thresholds, so nothing is removed as the duplicate of a
document that is removed itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gpu_pile.dedup.similarity import SimilarPairs
from gpu_pile.errors import DataError
from gpu_pile.gpu.device import Device
from gpu_pile.ops.witnesses import witnesses
from gpu_pile.text.jit import jit
from gpu_pile.types import Array

DOCUMENTS_AT_A_TIME = 1 << 20
"""Documents of whole clusters that are resolved at a time; more if one cluster has more."""

EXACT = "exact_duplicate"
NEAR = "near_duplicate"
CONTAINED = "contained"
DUPLICATES = (EXACT, NEAR, CONTAINED)
"""The reasons for which a document goes because of another one."""

REPEATED = "repeated_text"
OF_OTHERS = (*DUPLICATES, REPEATED)
"""With those of documents that are removed for text which many others have."""

PAIRS = pa.schema(
    [
        ("a", pa.uint64()),
        ("b", pa.uint64()),
        ("similarity", pa.float64()),
        ("common", pa.int64()),
        ("shingles_a", pa.int64()),
        ("shingles_b", pa.int64()),
    ]
)
"""The columns of pairs.parquet: SimilarPairs of doc_ids; the counts are null where the similarity is an estimate."""


@dataclass(frozen=True)
class Clustered:
    """The documents that have a duplicate, ascending by doc_id: arrays of n.

    doc_id, cluster: uint64, as in clusters.parquet
    copies:     int64, documents of its cluster
    witness:    uint64, the kept document that this one duplicates; its own id for a document that duplicates none
    similarity: float64, to the witness; 0 where unknown
    exact, near, contained: bool, whether it is removed as an exact or near duplicate, or because it is contained; for
        a contained document the similarity is the containment
    common, shingles: int64, of its shingles those that the witness has, and all; 0 for exact duplicates and where
        unknown
    """

    doc_id: Array
    cluster: Array
    copies: Array
    witness: Array
    similarity: Array
    exact: Array
    near: Array
    contained: Array
    common: Array
    shingles: Array

    def between(self, start: int, stop: int) -> Clustered:
        """Return the documents of rows start .. stop."""
        return Clustered(*(getattr(self, field.name)[start:stop] for field in fields(self)))


class Graph(NamedTuple):
    """Documents 0 .. n - 1 and what they duplicate.

    representative: int64[n], of the set of equal documents; a document without an equal one is its own
    component:      int64[n], the smallest document of the connected component
    pairs:          near duplicates: representatives of their sets
    """

    representative: Array
    component: Array
    pairs: SimilarPairs


class Standing(NamedTuple):
    """What documents bring to the choice: arrays of n.

    passing: bool, whether the document fails no threshold: only these can stay
    apart:   bool, whether it takes no part in the search for near duplicates (dedupe.fuzzy.skip_subsets)
    preference: int64 arrays, smaller is better; the first one decides, then the next, then the smaller document
    """

    passing: Array
    apart: Array
    preference: Sequence[Array]

    def take(self, rows: Array) -> Standing:
        return Standing(self.passing[rows], self.apart[rows], [values[rows] for values in self.preference])


class Rule(NamedTuple):
    """Which verified pairs let a document go, and how documents are chosen by them.

    how:         "witness" or "connected" (dedupe.fuzzy.resolve)
    jaccard:     the similarity that near duplicates need
    containment: the share of its shingles that a document's witness needs to have. Unless it is 0, a pair may let one
                 of its documents go and not the other
    copies:      how many documents stay, at most, of a survivor and the documents that duplicate it
    """

    how: str = "witness"
    jaccard: float = 0.0
    containment: float = 0.0
    contained_at: float | None = None
    shingles_min: int = 0
    copies: int = 1

    @property
    def is_plain(self) -> bool:
        """Whether every verified pair counts, for both of its documents."""
        return self.jaccard == self.containment == 0.0 and self.contained_at is None

    def near(self, pairs: SimilarPairs) -> Array:
        """Return bool[2, n]: whether a may go where b stays, and b where a stays, as near duplicates."""
        return (pairs.similarity >= self.jaccard) & (pairs.containment() >= self.containment)

    def contained(self, pairs: SimilarPairs) -> Array:
        """Return bool[2, n], the same for contained documents."""
        if self.contained_at is None:
            return np.zeros((2, len(pairs.a)), bool)
        large = np.stack([pairs.shingles_a, pairs.shingles_b]) >= self.shingles_min
        return large & (pairs.containment() >= self.contained_at)


class Choice(NamedTuple):
    """What is removed as a duplicate, and of which document: arrays of n.

    witness: int64, -1 for documents that duplicate none; the others as in Clustered
    """

    witness: Array
    similarity: Array
    exact: Array
    near: Array
    contained: Array
    common: Array
    shingles: Array


def choose_survivors(graph: Graph, standing: Standing, rule: Rule, device: Device) -> Choice:
    """Choose which documents stay, and a witness for each of the others.

    A set of equal documents is one node of the graph of near duplicates. The best passing member stands for it, among
    equal documents; among near duplicates, the best passing member that is not apart decides the node's rank. If the
    node is kept, its best passing member stays. If not, the node's members are near duplicates of a kept node, but
    for those that are apart: the best passing one of these stays, and every other member equals it.

    With rule.copies, the best passing ones of the documents that have one witness stay beside it.
    """
    representative, n = graph.representative, len(graph.representative)
    rows = np.arange(n)
    order = np.lexsort((rows, *reversed(standing.preference)))
    rank = np.empty(n, np.int64)
    rank[order] = rows
    best, best_apart, best_near = (
        _best_rank(representative, rank, standing.passing & members)
        for members in (np.ones(n, bool), standing.apart, ~standing.apart)
    )
    eligible = (best_near < n) & (representative == rows)
    kept, witness, similarity, contained = _resolve_nodes(graph, best_near, eligible, rule, device)
    survivor_rank = np.where(kept, best, best_apart)
    survivor = np.where(survivor_rank < n, np.append(order, -1)[survivor_rank], -1)[representative]
    exact = (survivor >= 0) & (survivor != rows)
    node_witness = witness[representative]
    near = (survivor < 0) & (node_witness >= 0) & ~standing.apart
    of_near = np.append(order, -1)[best[node_witness]] if n else node_witness
    common, shingles = (np.where(near, counts[representative], 0) for counts in _shared(graph.pairs, witness))
    contained = near & contained[representative]
    choice = Choice(
        np.where(exact, survivor, np.where(near, of_near, -1)),
        np.where(exact, 1.0, np.where(near, similarity[representative], 0.0)),
        exact,
        near & ~contained,
        contained,
        common,
        shingles,
    )
    return choice if rule.copies == 1 else _with_copies(choice, standing.passing, rank, rule.copies)


def _with_copies(choice: Choice, passing: Array, rank: Array, copies: int) -> Choice:
    """Let the passing documents of smallest rank that have one witness stay beside it, as many as `copies` allows."""
    candidates = np.flatnonzero((choice.exact | choice.near) & passing)
    candidates = candidates[np.lexsort((rank[candidates], choice.witness[candidates]))]
    witness = choice.witness[candidates]
    before = np.arange(len(candidates)) - np.searchsorted(witness, witness)  # candidates of the same witness
    goes = np.ones(len(rank), bool)
    goes[candidates[before < copies - 1]] = False
    return choice._replace(
        exact=choice.exact & goes,
        near=choice.near & goes,
        common=np.where(goes, choice.common, 0),
        shingles=np.where(goes, choice.shingles, 0),
    )


def _shared(pairs: SimilarPairs, witness: Array) -> tuple[Array, Array]:
    """Return int64[n] each: of a node's shingles those that its witness has, and all; 0 without a verified pair."""
    common, shingles = (np.zeros(len(witness), np.int64) for _ in range(2))
    for node, other, size in ((pairs.a, pairs.b, pairs.shingles_a), (pairs.b, pairs.a, pairs.shingles_b)):
        chosen = witness[node] == other
        common[node[chosen]], shingles[node[chosen]] = pairs.common[chosen], size[chosen]
    return common, shingles


def _best_rank(representative: Array, rank: Array, chosen: Array) -> Array:
    """Return int64[n], for each representative the smallest rank of the chosen members of its set; n without one."""
    best = np.full(len(rank), len(rank), np.int64)
    np.minimum.at(best, representative[chosen], rank[chosen])
    return best


def _resolve_nodes(
    graph: Graph, rank: Array, eligible: Array, rule: Rule, device: Device
) -> tuple[Array, Array, Array, Array]:
    """Return (kept, witness, similarity to it, whether it is contained in it) of every node.

    Kept are a maximal independent set, or one per component.
    """
    order, pairs, none = np.argsort(rank, kind="stable"), graph.pairs, np.zeros(len(rank), bool)
    if rule.how == "connected":
        return *connected_survivors(order, eligible, graph.component, *pairs[:3]), none
    if rule.is_plain:
        return *_witnesses(order, eligible, rank, pairs, device), none
    # the less preferred document of a pair may go, if the rule says so; which stay is settled by these pairs alone
    near, contained = rule.near(pairs), rule.contained(pairs)
    live = _toward(near | contained, rank[pairs.a] > rank[pairs.b])
    kept, _, _ = _witnesses(order, eligible, rank, pairs.take(live), device)
    # a witness may be any kept document for which the rule lets this one go
    a_goes, one_kept = kept[pairs.b], kept[pairs.a] != kept[pairs.b]
    _, witness, similarity = _witnesses(order, kept, rank, pairs.take(_toward(near, a_goes) & one_kept), device)
    by_containment = pairs._replace(similarity=_toward(pairs.containment(), a_goes))
    chosen = by_containment.take(_toward(contained, a_goes) & one_kept)
    _, container, containment = _witnesses(order, kept, rank, chosen, device)
    only = (witness < 0) & (container >= 0)
    return kept, np.where(only, container, witness), np.where(only, containment, similarity), only


def _toward(of_both: Array, a_goes: Array) -> Array:
    """Return [n]: of each pair the value of the document that goes. of_both: [2, n], of a and b. a_goes: a, not b."""
    return np.where(a_goes, of_both[0], of_both[1])


def _witnesses(
    order: Array, eligible: Array, rank: Array, pairs: SimilarPairs, device: Device
) -> tuple[Array, Array, Array]:
    with device.session():
        arguments = map(device.upload, (order, eligible, rank, *pairs[:3]))
        kept, witness, similarity = map(device.download, witnesses(*arguments))
        return kept, witness, similarity


def resolve(clusters: pa.Table, pairs: Iterable[pa.Table], standing: Standing, rule: Rule) -> Clustered:
    """Choose survivors and witnesses in a run's tables, some whole clusters at a time.

    Args:
        clusters: as dedupe wrote them. pairs: the rows of the pairs that dedupe wrote, in their order, in batches.
        standing: of each row of clusters.

    Raises:
        DataError: the pairs are not in the order of their clusters.
    """
    doc_id, cluster = (clusters.column(name).to_numpy() for name in ("doc_id", "cluster"))
    n = len(doc_id)
    exact, near, contained = (np.zeros(n, bool) for _ in range(3))
    common, shingles = (np.zeros(n, np.int64) for _ in range(2))
    copies = np.ones(n, np.int64)
    clustered = Clustered(doc_id, cluster, copies, doc_id.copy(), np.zeros(n), exact, near, contained, common, shingles)
    by_cluster = np.argsort(cluster, kind="stable")
    for rows, batch in _portions(clustered, by_cluster, pairs):
        choice = choose_survivors(_graph(clusters.take(pa.array(rows)), batch), standing.take(rows), rule, Device())
        duplicates = choice.witness >= 0
        clustered.witness[rows[duplicates]] = doc_id[rows[choice.witness[duplicates]]]
        _, which, sizes = np.unique(cluster[rows], return_inverse=True, return_counts=True)
        copies[rows] = sizes[which]
        for name in Choice._fields[1:]:
            getattr(clustered, name)[rows] = getattr(choice, name)
    return clustered


def _graph(clusters: pa.Table, pairs: pa.Table) -> Graph:
    """Replace the ids of some clusters and their pairs by positions among them."""
    doc_id = clusters.column("doc_id").to_numpy()
    representative, component = (
        np.searchsorted(doc_id, clusters.column(name).to_numpy()) for name in ("representative", "cluster")
    )
    a, b = (np.searchsorted(doc_id, pairs.column(name).to_numpy()) for name in ("a", "b"))
    similarity = pairs.column("similarity").to_numpy()
    counts = (pairs.column(name).fill_null(0).to_numpy() for name in ("common", "shingles_a", "shingles_b"))
    return Graph(representative, component, SimilarPairs(a, b, similarity, *counts))


def _portions(clustered: Clustered, by_cluster: Array, pairs: Iterable[pa.Table]) -> Iterator[tuple[Array, pa.Table]]:
    """Yield (rows of some whole clusters, ascending, and their pairs), about DOCUMENTS_AT_A_TIME rows each.

    by_cluster: the rows in the order of their clusters.
    """
    cluster, done = clustered.cluster, 0
    for last, batch in _whole_clusters(clustered, pairs):
        of_pair = cluster[np.searchsorted(clustered.doc_id, batch.column("a").to_numpy())]
        stop = len(cluster) if last is None else int(np.searchsorted(cluster, last, "right", by_cluster))
        first = 0
        while done < stop or first < len(batch):
            end = min(stop, done + DOCUMENTS_AT_A_TIME)
            through = cluster[by_cluster[end - 1]]
            end = int(np.searchsorted(cluster, through, "right", by_cluster))
            after = int(np.searchsorted(of_pair, through, "right"))
            yield np.sort(by_cluster[done:end]), batch.slice(first, after - first)
            done, first = end, after


def _whole_clusters(clustered: Clustered, pairs: Iterable[pa.Table]) -> Iterator[tuple[np.uint64 | None, pa.Table]]:
    """Yield (a cluster, the pairs of all clusters up to it that were not yielded yet); None for the last cluster."""
    held = [PAIRS.empty_table()]
    last: np.uint64 | None = None  # the cluster of the pairs held
    for table in pairs:
        if not len(table):
            continue
        cluster = clustered.cluster[np.searchsorted(clustered.doc_id, table.column("a").to_numpy())]
        if (cluster[1:] < cluster[:-1]).any() or (last is not None and cluster[0] < last):
            raise DataError(
                "pairs.parquet is not in the order of its clusters: another version of gpu-pile wrote it; "
                "run the same command again"
            )
        whole = int(np.searchsorted(cluster, cluster[-1]))  # more pairs of the last cluster may follow
        if whole or (last is not None and last != cluster[-1]):
            yield cluster[whole - 1] if whole else last, pa.concat_tables([*held, table.slice(0, whole)])
            held = []
        held.append(table.slice(whole))
        last = cluster[-1]
    yield None, pa.concat_tables(held)


def lists(names: Sequence[str], marks: Array, values: Array) -> tuple[pa.Array, pa.Array]:
    """Return, per row, the names whose mark is set, and their values.

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
    """Return what the operation witnesses returns, but with one kept node per component.

    The similarity is 0 if survivor and node are not a verified pair.
    """
    n = len(order)
    survivor = np.full(n, -1, np.int64)  # of the component, at its smallest node
    kept = np.zeros(n, np.bool_)
    for x in order:
        if eligible[x] and survivor[component[x]] < 0:
            survivor[component[x]] = x
            kept[x] = True
    witness = np.full(n, -1, np.int64)
    to_witness = np.zeros(n, np.float64)
    for x in range(n):
        if not kept[x]:
            witness[x] = survivor[component[x]]
    for i in range(len(a)):
        if witness[a[i]] == b[i]:
            to_witness[a[i]] = similarity[i]
        if witness[b[i]] == a[i]:
            to_witness[b[i]] = similarity[i]
    return kept, witness, to_witness
