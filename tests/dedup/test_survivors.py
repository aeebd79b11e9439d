import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.dedup.similarity import SimilarPairs
from gpu_pile.dedup.survivors import Graph, Rule, Standing, choose_survivors, connected_survivors
from gpu_pile.gpu.device import Device
from gpu_pile.ops.components import components
from gpu_pile.ops.witnesses import witnesses


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 12))
    edges = draw(
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)).filter(lambda e: e[0] < e[1]), unique=True)
    )
    similarity = [draw(st.sampled_from([0.8, 0.85, 0.9, 1.0])) for _ in edges]
    order = draw(st.permutations(range(n)))
    eligible = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return n, edges, similarity, np.array(order), np.array(eligible)


def arrays(edges, similarity):
    a = np.array([e[0] for e in edges], np.int64)
    b = np.array([e[1] for e in edges], np.int64)
    return a, b, np.array(similarity, np.float64)


def counted(a, b, similarity):
    """Pairs with counts that differ from pair to pair and from side to side."""
    i = np.arange(len(a))
    return SimilarPairs(a, b, similarity, 100 + i, 101 + 7 * i % 11, 101 + 5 * i % 13)


def sizes(edges, i, node):
    """(shingles that both nodes of edge i have, those of this node), as counted() has them."""
    return 100 + i, 101 + (7 * i % 11 if node == edges[i][0] else 5 * i % 13)


def plain_components(n, edges):
    label = list(range(n))
    for _ in range(n):
        for x, y in edges:
            label[x] = label[y] = min(label[x], label[y])
    return label


@settings(max_examples=300, deadline=None)
@given(graphs())
def test_witnesses_equal_the_plain_definition(graph):
    n, edges, similarity, order, eligible = graph
    a, b, s = arrays(edges, similarity)
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    kept, witness, at = witnesses(order, eligible, rank, a, b, s)
    near = {x: {} for x in range(n)}
    for (x, y), value in zip(edges, similarity, strict=True):
        near[x][y] = near[y][x] = value
    want_kept = set()
    for x in order.tolist():
        if eligible[x] and not near[x].keys() & want_kept:
            want_kept.add(x)
    assert set(np.flatnonzero(kept).tolist()) == want_kept
    for x in range(n):
        choices = [] if x in want_kept else [(-value, rank[y], y) for y, value in near[x].items() if y in want_kept]
        assert witness[x] == (min(choices)[2] if choices else -1)
        assert at[x] == (-min(choices)[0] if choices else 0)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(graphs())
def test_the_witness_rule(graph):
    """Every eligible node is kept or has a kept direct neighbour, and no two kept nodes are neighbours."""
    n, edges, similarity, order, eligible = graph
    a, b, s = arrays(edges, similarity)
    kept, witness, _ = witnesses(order, eligible, np.argsort(order), a, b, s)
    neighbours = {frozenset(e) for e in edges}
    for x in range(n):
        assert not kept[x] or eligible[x]
        if eligible[x] and not kept[x]:
            assert kept[witness[x]]
            assert frozenset((x, int(witness[x]))) in neighbours
    assert not any(kept[x] and kept[y] for x, y in edges)


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_connected_keeps_one_a_component(graph):
    n, edges, similarity, order, eligible = graph
    a, b, s = arrays(edges, similarity)
    component = components(a, b, n=n)
    assert component.tolist() == plain_components(n, edges)
    kept, witness, at = connected_survivors(order, eligible, component, a, b, s)
    known = {frozenset(e): v for e, v in zip(edges, similarity, strict=True)}
    for c in set(component.tolist()):
        members = [x for x in order.tolist() if component[x] == c]
        choices = [x for x in members if eligible[x]]
        survivor = choices[0] if choices else -1
        for x in members:
            assert kept[x] == (x == survivor)
            assert witness[x] == (-1 if x == survivor else survivor)
            assert at[x] == known.get(frozenset((x, survivor)), 0)


def test_a_chain_is_not_closed():
    """1 - 2 - 3: the ends are not neighbours, so both stay when the middle one is less preferred than one of them."""
    a, b, s = np.array([0, 1]), np.array([1, 2]), np.array([0.9, 0.9])
    order = np.array([0, 1, 2])
    kept, witness, _ = witnesses(order, np.ones(3, bool), order, a, b, s)
    assert kept.tolist() == [True, False, True]
    assert witness.tolist() == [-1, 0, -1]


@st.composite
def documents(draw):
    """Sets of equal documents with near duplicates among their representatives, and what the documents bring."""
    n_sets, edges, similarity, _, _ = draw(graphs())
    owner = [*range(n_sets), *draw(st.lists(st.integers(0, n_sets - 1), max_size=10))]
    flags = st.lists(st.booleans(), min_size=len(owner), max_size=len(owner))
    preference = [draw(st.lists(st.integers(0, 2), min_size=len(owner), max_size=len(owner))) for _ in range(2)]
    return n_sets, edges, similarity, owner, draw(flags), draw(flags), preference


RULES = st.tuples(
    st.just("witness"),
    st.sampled_from([0.0, 0.85]),
    st.sampled_from([0.0, 0.92, 0.95, 1.0]),
    st.sampled_from([None, 0.93, 1.0]),
    st.sampled_from([0, 104]),
    st.sampled_from([1, 2, 3]),
).map(lambda values: Rule(*values))


def plain_choice(rule, n_sets, edges, similarity, owner, passing, apart, preference):
    """{document: (reason, witness, similarity)} of the removed ones, by the words of choose_survivors."""
    members = [[d for d in range(len(owner)) if owner[d] == s] for s in range(n_sets)]

    def key(d):
        return (preference[0][d], preference[1][d], d)

    def best(chosen):
        return min((d for d in chosen if passing[d]), key=key, default=None)

    near, inside = ({s: {} for s in range(n_sets)} for _ in range(2))  # for which others a set may go
    for i, ((a, b), value) in enumerate(zip(edges, similarity, strict=True)):
        for one, other in ((a, b), (b, a)):
            common, size = sizes(edges, i, one)
            if value >= rule.jaccard and common / size >= rule.containment:
                near[one][other] = value
            if rule.contained_at is not None and size >= rule.shingles_min and common / size >= rule.contained_at:
                inside[one][other] = common / size
    rank = {s: best(d for d in members[s] if not apart[d]) for s in range(n_sets)}
    kept = set()
    for s in sorted((s for s in rank if rank[s] is not None), key=lambda s: key(rank[s])):
        if not (near[s].keys() | inside[s].keys()) & kept:
            kept.add(s)
    removed = {}
    for s in range(n_sets):
        survivor = best(members[s]) if s in kept else best(d for d in members[s] if apart[d])
        reason = "near" if near[s].keys() & kept else "contained"
        some = near[s] if reason == "near" else inside[s]
        choices = [(-value, key(rank[t]), t) for t, value in some.items() if t in kept]
        for d in members[s]:
            if survivor is not None and d != survivor:
                removed[d] = ("exact", survivor, 1.0)
            elif survivor is None and choices and not apart[d]:
                value, _, t = min(choices)
                removed[d] = (reason, best(members[t]), -value)
    stays = {}
    for d in sorted((d for d in removed if passing[d] and removed[d][0] != "contained"), key=key):
        _, witness, value = removed[d]
        if stays.setdefault(witness, 1) < rule.copies:
            stays[witness] += 1
            removed[d] = (None, witness, value)
    return removed


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(documents(), RULES)
def test_survivors_among_sets_equal_the_plain_definition(drawn, rule):
    _, edges, similarity, owner, passing, apart, preference = drawn
    a, b, s = arrays(edges, similarity)
    representative = np.array(owner)
    rows = np.arange(len(owner))
    component = components(np.concatenate([a, rows]), np.concatenate([b, representative]), n=len(owner))
    standing = Standing(np.array(passing), np.array(apart), [np.array(x) for x in preference])
    choice = choose_survivors(Graph(representative, component, counted(a, b, s)), standing, rule, Device())
    want = plain_choice(rule, *drawn)
    for d in range(len(owner)):
        reason, witness, value = want.get(d, (None, -1, 0.0))
        marks = {"exact": choice.exact[d], "near": choice.near[d], "contained": choice.contained[d]}
        assert [name for name, mark in marks.items() if mark] == ([reason] if reason else [])
        assert (choice.witness[d], choice.similarity[d]) == (witness, value)
        assert not ((choice.near[d] or choice.contained[d]) and apart[d])
        if reason in ("near", "contained"):
            i = edges.index(tuple(sorted((owner[d], owner[witness]))))
            assert (choice.common[d], choice.shingles[d]) == sizes(edges, i, owner[d])
        else:
            assert choice.common[d] == choice.shingles[d] == 0
        if witness >= 0:
            assert passing[witness]
            assert not choice.exact[witness]
            assert not choice.near[witness]
            assert not choice.contained[witness]
