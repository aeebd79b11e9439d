"""The signals of Dolma's taggers gopher_v1 and gopher_v2 where they differ from Gopher's as datatrove has them.

Words are str.split(); shares of characters are shares of the words' characters. An n-gram or a line that occurs more
than once counts with every occurrence, the first included. Fractions of nothing are 0, as they are there; those of
n-grams of a text that has none are undefined, there they are missing.
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
from gpu_pile.types import Array


def _compute(counts: Counts) -> Mapping[str, Any]:
    t = counts(text_counts)
    again = counts(line_repetition)
    grams = counts(word_repetition)
    words, chars = np.maximum(t["words"], 1), np.maximum(t["word_chars"], 1)
    some = t["chars"] > 0
    all_lines = t["newlines"] + 1
    out: dict[str, Any] = {
        "dolma_median_word_length": t["twice_median_word"] / 2,
        "dolma_symbol_to_word_ratio": t["symbol_words"] / words,
        "dolma_required_word_count": t["stop_words"],
    }
    for version, n_lines in (("v1", all_lines), ("v2", again["lines"])):
        out[f"dolma_bullet_line_fraction_{version}"] = t["dolma_bullet_lines"] / n_lines
        out[f"dolma_ellipsis_line_fraction_{version}"] = t["dolma_ellipsis_lines"] / n_lines
        empty = n_lines - again["filled_lines"]
        repeated = again["repeated_lines"] + np.where(empty > 1, empty, 0)
        out[f"dolma_dup_line_fraction_{version}"] = repeated * some / n_lines
    out["dolma_dup_line_char_fraction"] = again["repeated_line_chars"] / chars
    for n in TOP:
        out[f"dolma_top_{n}gram_char_fraction"] = _where_any(
            grams[f"top_{n}_count"] * grams[f"top_{n}_chars"], chars, grams[f"top_{n}_count"]
        )
    for n in LONG:
        out[f"dolma_dup_{n}gram_char_fraction"] = ratio(grams[f"repeated_{n}_chars"], grams[f"gram_{n}_chars"])
    return out


def _where_any(numerator: Array, denominator: Array, count: Array) -> pa.Array:
    return pa.array(numerator / denominator, mask=count == 0)


FAMILY = Family(
    "dolma",
    1,
    "Soldaini et al. 2024; Dolma toolkit, taggers gopher_v1 and gopher_v2",
    ops=(text_counts, line_repetition, word_repetition),
    signals=(
        Signal("dolma_median_word_length", "characters", "float64", "median of the words' lengths"),
        Signal("dolma_symbol_to_word_ratio", "fraction", "float64", "words with # or … / words"),
        Signal("dolma_required_word_count", "words", "int64", "words that are one of Gopher's eight, all occurrences"),
        *(
            Signal(f"dolma_{name}_line_fraction_{version}", "fraction", "float64", f"{definition} / lines of {lines}")
            for version, lines in (("v1", r'split("\n")'), ("v2", r're.split("\n+")'))
            for name, definition in (
                ("bullet", "lines that begin with * or -"),
                ("ellipsis", "lines that end with …"),
                ("dup", "lines that occur more than once"),
            )
        ),
        Signal(
            "dolma_dup_line_char_fraction",
            "fraction",
            "float64",
            "characters of lines that occur more than once / characters of words",
        ),
        *(
            Signal(
                f"dolma_top_{n}gram_char_fraction",
                "fraction",
                "float64",
                f"the most frequent {n} words in a row: their characters times occurrences / characters of words",
            )
            for n in TOP
        ),
        *(
            Signal(
                f"dolma_dup_{n}gram_char_fraction",
                "fraction",
                "float64",
                f"characters of {n} words in a row that occur more than once / characters of all {n} words in a row",
            )
            for n in LONG
        ),
    ),
    compute=_compute,
)
