"""How long a document is, in every unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.quality_counts import COLUMNS, quality_counts
from gpu_pile.signals import Counts, Family, Signal, ratio


def _compute(counts: Counts) -> Mapping[str, Any]:
    c = counts(quality_counts, COLUMNS)
    return {
        "char_count": c["chars"],
        "word_count": c["words"],
        "line_count": c["lines"],
        "mean_word_length": ratio(c["word_chars"], c["words"]),
        "mean_line_length": ratio(c["chars"], c["lines"]),
    }


FAMILY = Family(
    "lengths",
    1,
    "Python's str",
    (
        Signal("char_count", "characters", "int64", "code points of the text"),
        Signal("word_count", "words", "int64", "runs without white space: len(text.split())"),
        Signal("line_count", "lines", "int64", "len(text.splitlines())"),
        Signal("mean_word_length", "characters", "float64", "characters of all words / words"),
        Signal("mean_line_length", "characters", "float64", "characters / lines"),
    ),
    _compute,
)
