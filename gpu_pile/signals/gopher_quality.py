"""The quality rules of Gopher (Rae et al. 2021, appendix A1), as datatrove 0.10.1 computes them.

Words are split at white space (datatrove's own default is a tokenizer of the language). A plain word has at least one
character that is not punctuation. Where datatrove and the paper differ, datatrove is followed: each stop word counts
once, hashes and ellipses are two ratios, and an ellipsis is "..." or "…".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.text_counts import text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio
from gpu_pile.text.marks import LineEnds, LineStarts, WordSet

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
"""Rae et al. 2021, appendix A1."""
MARKS = (
    LineStarts("gopher_bullet_lines", "•-", splitlines=True),
    LineEnds("gopher_ellipsis_lines", ("...", "…"), splitlines=True),
    WordSet("gopher_distinct_stop_words", STOP_WORDS, distinct=True),
)


def _compute(counts: Counts) -> Mapping[str, Any]:
    t = counts(text_counts)
    return {
        "plain_word_count": t["plain_words"],
        "plain_word_chars": t["plain_word_chars"],
        "hash_count": t["hashes"],
        "ellipsis_count": t["ellipses"],
        "bullet_line_count": t["gopher_bullet_lines"],
        "ellipsis_line_count": t["gopher_ellipsis_lines"],
        "alpha_word_count": t["alpha_words"],
        "mean_plain_word_length": ratio(t["plain_word_chars"], t["plain_words"]),
        "hash_per_word": ratio(t["hashes"], t["words"]),
        "ellipsis_per_word": ratio(t["ellipses"], t["words"]),
        "bullet_line_fraction": ratio(t["gopher_bullet_lines"], t["pieces"]),
        "ellipsis_line_fraction": ratio(t["gopher_ellipsis_lines"], t["pieces"]),
        "alpha_word_fraction": ratio(t["alpha_words"], t["words"]),
        "stop_word_distinct": t["gopher_distinct_stop_words"],
    }


_PLAIN = "words with at least one character that is not punctuation"
_BULLETS = "lines whose first character after white space is • or -"
_ELLIPSES = "lines that end with ... or …, ignoring trailing white space"

FAMILY = Family(
    "gopher_quality",
    2,
    "Rae et al. 2021, appendix A1; datatrove 0.10.1, GopherQualityFilter",
    ops=(text_counts,),
    signals=(
        Signal.count("plain_word_count", "words", _PLAIN),
        Signal.count("plain_word_chars", "characters", f"characters in {_PLAIN}"),
        Signal.count("hash_count", "symbols", "# symbols"),
        Signal.count("ellipsis_count", "symbols", "occurrences of ... and … without overlaps"),
        Signal.count("bullet_line_count", "lines", _BULLETS),
        Signal.count("ellipsis_line_count", "lines", _ELLIPSES),
        Signal.count("alpha_word_count", "words", "words with at least one letter"),
        Signal(
            "mean_plain_word_length",
            "characters",
            "float64",
            "mean length of the words with at least one character that is not punctuation",
        ),
        Signal("hash_per_word", "per word", "float64", "# symbols / words"),
        Signal("ellipsis_per_word", "per word", "float64", "occurrences of ... and … without overlaps / words"),
        Signal.fraction("bullet_line_fraction", f"{_BULLETS} / lines"),
        Signal.fraction("ellipsis_line_fraction", f"{_ELLIPSES} / lines"),
        Signal.fraction("alpha_word_fraction", "words with at least one letter / words"),
        Signal.count("stop_word_distinct", "words", f"how many of the words {', '.join(STOP_WORDS)} occur"),
    ),
    compute=_compute,
    marks=MARKS,
    about_words=(
        "plain_word_count",
        "hash_per_word",
        "ellipsis_per_word",
        "alpha_word_count",
        "alpha_word_fraction",
        "mean_plain_word_length",
        "stop_word_distinct",
    ),
)
