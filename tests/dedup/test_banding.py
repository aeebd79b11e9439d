import pytest

from gpu_pile.dedup import banding
from gpu_pile.errors import ConfigError


def test_the_defaults_of_the_design():
    assert banding.choose(0.8, 128) == (16, 8)
    assert banding.choose(0.7, 128) == (25, 5)
    assert [round(banding.Banding(16, 8).probability(s), 2) for s in (0.6, 0.7, 0.8, 0.9)] == [0.24, 0.61, 0.95, 1.0]
    assert round(banding.candidate_probability(0.8, 20, 13), 2) == 0.68


@pytest.mark.parametrize("size", [8, 64, 128, 256])
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.95, 1.0])
def test_the_choice_finds_enough_with_the_most_rows(size, threshold):
    b, r = banding.choose(threshold, size)
    assert b * r <= size
    assert banding.candidate_probability(threshold, b, r) >= banding.RECALL_AT_THRESHOLD
    for more in range(r + 1, size + 1):
        assert banding.candidate_probability(threshold, size // more, more) < banding.RECALL_AT_THRESHOLD


def test_a_threshold_out_of_reach_says_what_to_do():
    with pytest.raises(ConfigError, match=r"raise dedupe\.fuzzy\.size or dedupe\.fuzzy\.threshold"):
        banding.choose(0.05, 8)


def test_description_holds_the_threshold():
    assert "0.95 at 0.8" in banding.Banding(16, 8).describe(0.8)
    assert "at 0.75" in banding.Banding(16, 8).describe(0.75)
