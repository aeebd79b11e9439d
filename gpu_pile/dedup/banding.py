"""Banding: which candidate pairs a sketch of K values gives when it is cut into b bands of r rows.

Two documents of Jaccard similarity s share a band with probability s^r, hence become a candidate pair with
P(s) = 1 - (1 - s^r)^b (Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4.2).
"""

from __future__ import annotations

from typing import NamedTuple

from gpu_pile.errors import ConfigError

RECALL_AT_THRESHOLD = 0.94
"""Share of the pairs exactly at the threshold that the chosen banding finds; it finds more of those above."""


class Banding(NamedTuple):
    """A sketch cut into `bands` bands of `rows` values each."""

    bands: int
    rows: int

    def probability(self, similarity: float) -> float:
        """Return the probability that two documents of this Jaccard similarity become a candidate pair."""
        return candidate_probability(similarity, self.bands, self.rows)

    def describe(self, threshold: float) -> str:
        """Return one line for people: the probability of a candidate pair at several similarities."""
        similarities = sorted({0.5, 0.6, 0.7, 0.8, 0.9, round(threshold, 3)})
        curve = ", ".join(f"{self.probability(s):.2f} at {s:g}" for s in similarities)
        return f"{self.bands} bands x {self.rows} rows: a pair becomes a candidate with probability {curve}"


def candidate_probability(similarity: float, bands: int, rows: int) -> float:
    """Return the probability of a candidate pair, P(similarity)."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def choose(threshold: float, size: int) -> Banding:
    """Return the banding with the most rows, hence the fewest false candidates, that has P(threshold) >= 0.94.

    128 values and threshold 0.8 give 16 x 8; 0.7 gives 25 x 5.

    Raises:
        ConfigError: even bands of one row find too few pairs.
    """
    for rows in range(size, 0, -1):
        banding = Banding(size // rows, rows)
        if banding.probability(threshold) >= RECALL_AT_THRESHOLD:
            return banding
    raise ConfigError(
        f"dedupe.fuzzy: no banding of a sketch of {size} values finds {RECALL_AT_THRESHOLD:.0%} of the pairs "
        f"at similarity {threshold}; raise dedupe.fuzzy.size or dedupe.fuzzy.threshold"
    )
