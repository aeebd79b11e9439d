import pytest

from gpu_pile.policy.pile import SUBSETS, find


def effective_gib(subset):
    """Size in the mixture, all copies together."""
    return subset.raw_gib * subset.epochs


def test_the_published_totals():
    """Table 1 of the paper: 825.18 GiB raw, 1254.20 GiB effective, 100 %."""
    assert len(SUBSETS) == 22
    assert sum(s.raw_gib for s in SUBSETS) == pytest.approx(825.18, abs=0.1)
    assert sum(effective_gib(s) for s in SUBSETS) == pytest.approx(1254.20, abs=0.3)
    assert sum(s.weight for s in SUBSETS) == pytest.approx(100, abs=0.1)


def test_weights_follow_from_sizes_and_epochs():
    total = sum(map(effective_gib, SUBSETS))
    for s in SUBSETS:
        assert s.weight == pytest.approx(100 * effective_gib(s) / total, abs=0.02), s.name


def test_names_and_aliases():
    assert find("wikipedia (EN)") is find("Wikipedia") is not None
    assert find("Stack Exchange").name == "StackExchange"
    assert find("My crawl") is None
    names = [n.casefold() for s in SUBSETS for n in (s.name, *s.aliases)]
    assert len(set(names)) == len(names)
