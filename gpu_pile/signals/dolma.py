"""The signals of Dolma's taggers gopher_v1 and gopher_v2 where they differ from Gopher's as datatrove has them.

Words are text.split(); fractions of characters are fractions of the characters in words. An n-gram or a line that
occurs more than once counts with every occurrence, the first included. A fraction with the denominator 0 is 0, as in
Dolma. The n-gram fractions of a text that has no n-gram are null; Dolma leaves them out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_pile.ops.line_repetition import line_repetition
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.ops.word_repetition import LONG, TOP, word_repetition
from gpu_pile.signals import Counts, Family, Signal, ratio
from gpu_pile.signals.gopher_quality import STOP_WORDS
from gpu_pile.text.marks import LineEnds, LineStarts, WordSet
from gpu_pile.types import Array

MARKS = (
    LineStarts("dolma_bullet_lines", "*-", stripped=False),
    LineEnds("dolma_ellipsis_lines", "…", stripped=False),
    WordSet("all_stop_words", STOP_WORDS),
)


def _compute(counts: Counts) -> Mapping[str, Any]:
    t = counts(text_counts)
    repeats = counts(line_repetition)
    grams = counts(word_repetition)
    words, chars = np.maximum(t["words"], 1), np.maximum(t["word_chars"], 1)
    out: dict[str, Any] = {
        "dolma_median_word_length": t["twice_median_word"] / 2,
        "dolma_symbol_to_word_ratio": t["symbol_words"] / words,
        "dolma_required_word_count": t["all_stop_words"],
    }
    for version, n_lines in (("v1", t["newlines"] + 1), ("v2", repeats["lines"])):
        out[f"dolma_bullet_line_fraction_{version}"] = t["dolma_bullet_lines"] / n_lines
        out[f"dolma_ellipsis_line_fraction_{version}"] = t["dolma_ellipsis_lines"] / n_lines
        empty = n_lines - repeats["filled_lines"]
        repeated = repeats["repeated_lines"] + np.where(empty > 1, empty, 0)
        out[f"dolma_dup_line_fraction_{version}"] = repeated * (t["chars"] > 0) / n_lines
    out["dolma_dup_line_char_fraction"] = repeats["repeated_line_chars"] / chars
    for n in TOP:
        count = grams[f"top_{n}_count"]
        out[f"dolma_top_{n}gram_char_fraction"] = _null_without(count, count * grams[f"top_{n}_chars"], chars)
    for n in LONG:
        out[f"dolma_dup_{n}gram_char_fraction"] = ratio(grams[f"repeated_{n}_chars"], grams[f"gram_{n}_chars"])
    return out


def _null_without(count: Array, numerator: Array, denominator: Array) -> pa.Array:
    """numerator / denominator as float64, null where the count is 0."""
    return pa.array(numerator / denominator, mask=count == 0)


_STOP_WORDS = ", ".join(STOP_WORDS)


def _line_fractions(version: str, split: str) -> tuple[Signal, ...]:
    lines = f"lines of {split}"
    return (
        Signal.fraction(f"dolma_bullet_line_fraction_{version}", f"lines that begin with * or - / {lines}"),
        Signal.fraction(f"dolma_ellipsis_line_fraction_{version}", f"lines that end with … / {lines}"),
        Signal.fraction(
            f"dolma_dup_line_fraction_{version}",
            f"lines that occur more than once, every occurrence counted / {lines}",
        ),
    )


FAMILY = Family(
    "dolma",
    1,
    "Soldaini et al. 2024; Dolma toolkit, taggers gopher_v1 and gopher_v2",
    ops=(text_counts, line_repetition, word_repetition),
    signals=(
        Signal("dolma_median_word_length", "characters", "float64", "median length of the words; 0 without words"),
        Signal.fraction("dolma_symbol_to_word_ratio", "words that contain # or … / words; 0 without words"),
        Signal.count("dolma_required_word_count", "words", f"all occurrences of the words {_STOP_WORDS}"),
        *_line_fractions("v1", r'text.split("\n")'),
        *_line_fractions("v2", r're.split("\n+", text)'),
        Signal.fraction(
            "dolma_dup_line_char_fraction",
            "characters in lines that occur more than once, every occurrence counted / characters in words",
        ),
        *(
            Signal.fraction(
                f"dolma_top_{n}gram_char_fraction",
                f"characters in the words of the most frequent {n}-gram (the first on ties) times its count "
                "/ characters in words",
            )
            for n in TOP
        ),
        *(
            Signal.fraction(
                f"dolma_dup_{n}gram_char_fraction",
                f"characters in {n}-grams that occur more than once / characters in {n}-grams; every occurrence "
                "counted, overlaps included",
            )
            for n in LONG
        ),
    ),
    compute=_compute,
    marks=MARKS,
    about_words=("dolma_median_word_length", "dolma_symbol_to_word_ratio", "dolma_required_word_count"),
)
