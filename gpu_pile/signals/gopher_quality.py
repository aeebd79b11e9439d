"""The quality rules of Gopher (Rae et al. 2021, appendix A1), as datatrove 0.10.1 computes them.

Words are split at white space (datatrove's own default is a tokenizer of the language). A plain word has a character
that is no punctuation. Where datatrove and the paper differ, this is datatrove: stop words count once each, hashes and
ellipses are two ratios, an ellipsis is "..." or "…".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.text_counts import STOP_WORDS, text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio


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
        "bullet_line_fraction": ratio(t["gopher_bullet_lines"], t["lines"]),
        "ellipsis_line_fraction": ratio(t["gopher_ellipsis_lines"], t["lines"]),
        "alpha_word_fraction": ratio(t["alpha_words"], t["words"]),
        "stop_word_distinct": t["different_stop_words"],
    }


FAMILY = Family(
    "gopher_quality",
    2,
    "Rae et al. 2021, appendix A1; datatrove 0.10.1, GopherQualityFilter",
    ops=(text_counts,),
    signals=(
        Signal("plain_word_count", "words", "int64", "words with at least one character that is no punctuation"),
        Signal("plain_word_chars", "characters", "int64", "characters of these"),
        Signal("hash_count", "signs", "int64", "# signs"),
        Signal("ellipsis_count", "signs", "int64", "... and … without overlaps"),
        Signal("bullet_line_count", "lines", "int64", "lines that begin with • or - after white space"),
        Signal("ellipsis_line_count", "lines", "int64", "lines that end in ... or … before white space"),
        Signal("alpha_word_count", "words", "int64", "words with at least one letter"),
        Signal("mean_plain_word_length", "characters", "float64", "characters of plain words / plain words"),
        Signal("hash_per_word", "per word", "float64", "# signs / words"),
        Signal("ellipsis_per_word", "per word", "float64", "... and … without overlaps / words"),
        Signal("bullet_line_fraction", "fraction", "float64", "lines that begin with • or - after white space / lines"),
        Signal(
            "ellipsis_line_fraction", "fraction", "float64", "lines that end in ... or … before white space / lines"
        ),
        Signal("alpha_word_fraction", "fraction", "float64", "words with at least one letter / words"),
        Signal("stop_word_distinct", "words", "int64", f"how many of {', '.join(STOP_WORDS)} occur as a word"),
    ),
    compute=_compute,
)
