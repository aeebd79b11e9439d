"""The rules of DCLM's RefinedWeb pipeline (Li et al. 2024) that can be measured with words split at white space.

DCLM splits words at white space for word length, symbols and letters, and by Unicode's word boundaries, without
punctuation, for the length of the document and for n-grams. Left out is what needs these boundaries: n-grams and the
length, for which Gopher's bounds stand in the thresholds, and the rules that change lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.line_repetition import COLUMNS as LINE_REPETITION_COLUMNS
from gpu_pile.ops.line_repetition import line_repetition
from gpu_pile.ops.text_counts import COLUMNS as TEXT_COLUMNS
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio


def _compute(counts: Counts) -> Mapping[str, Any]:
    t = counts(text_counts, TEXT_COLUMNS)
    filled = t["nonblank_lines"]
    again = counts(line_repetition, LINE_REPETITION_COLUMNS)
    return {
        "dclm_stop_word_count": t["stop_words_lower"],
        "dclm_bullet_line_fraction": ratio(t["dclm_bullet_lines"], filled),
        "dclm_ellipsis_line_fraction": ratio(t["dclm_ellipsis_lines"], filled),
        "repeated_line_fraction": ratio(again["repeated_lines"], again["filled_lines"]),
    }


FAMILY = Family(
    "dclm",
    1,
    "Li et al. 2024 (DCLM), dclm_baseline_refinedweb.yaml",
    (
        Signal(
            "dclm_stop_word_count", "words", "int64", "words that are one of Gopher's eight in any case, all of them"
        ),
        Signal("dclm_bullet_line_fraction", "fraction", "float64", "lines that begin with ● • * or - / nonblank lines"),
        Signal(
            "dclm_ellipsis_line_fraction", "fraction", "float64", "lines that end with ..., . . . or … / nonblank lines"
        ),
        Signal(
            "repeated_line_fraction",
            "fraction",
            "float64",
            "lines that occur more than once, the first time included / lines that are not empty",
        ),
    ),
    _compute,
)
