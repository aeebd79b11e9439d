"""Banding: which candidate pairs a sketch of K values gives when it is cut into b bands of r rows.

Two documents of Jaccard similarity s share a band with probability s^r, hence become a candidate pair with
P(s) = 1 - (1 - s^r)^b (Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4.2).
"""

from __future__ import annotations

from gpu_pile.errors import ConfigError

RECALL_AT_THRESHOLD = 0.94
"""What the chosen banding finds of the pairs that lie exactly at the threshold; above it, more."""


def candidate_probability(similarity: float, bands: int, rows: int) -> float:
    """P(candidate pair) of two documents of this Jaccard similarity."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def choose(threshold: float, size: int) -> tuple[int, int]:
    """(bands, rows): the most rows, hence the fewest false candidates, that keep P(threshold) at 0.94 or more.

    128 values and threshold 0.8 give 16 x 8; 0.7 gives 25 x 5.

    Raises:
        ConfigError: even single rows find too little.
    """
    for rows in range(size, 0, -1):
        if candidate_probability(threshold, size // rows, rows) >= RECALL_AT_THRESHOLD:
            return size // rows, rows
    raise ConfigError(
        f"dedupe.fuzzy: no banding of a sketch of {size} values finds {RECALL_AT_THRESHOLD:.0%} of the pairs "
        f"at similarity {threshold}; raise dedupe.fuzzy.size or dedupe.fuzzy.threshold"
    )


def describe(bands: int, rows: int, threshold: float) -> str:
    """One line for people: what this banding means."""
    at = sorted({0.5, 0.6, 0.7, 0.8, 0.9, round(threshold, 3)})
    curve = ", ".join(f"{candidate_probability(s, bands, rows):.2f} at {s:g}" for s in at)
    return f"{bands} bands x {rows} rows: a pair becomes a candidate with probability {curve}"
