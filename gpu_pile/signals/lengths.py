"""How long a document is, in every unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.text_counts import text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio


def _compute(counts: Counts) -> Mapping[str, Any]:
    t = counts(text_counts)
    return {
        "char_count": t["chars"],
        "word_count": t["words"],
        "line_count": t["pieces"],
        "mean_word_length": ratio(t["word_chars"], t["words"]),
        "mean_line_length": ratio(t["chars"], t["pieces"]),
    }


FAMILY = Family(
    "lengths",
    1,
    "Python's str",
    ops=(text_counts,),
    signals=(
        Signal.count("char_count", "characters", "code points of the text: len(text)"),
        Signal.count("word_count", "words", "words, separated by white space: len(text.split())"),
        Signal.count("line_count", "lines", "lines: len(text.splitlines())"),
        Signal("mean_word_length", "characters", "float64", "characters in words / words"),
        Signal("mean_line_length", "characters", "float64", "characters, line breaks included / lines"),
    ),
    compute=_compute,
    about_words=("word_count", "mean_word_length"),
)
