"""The kinds of characters in a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.text_counts import text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio

_CLASSES = {
    "alpha": "letters (str.isalpha())",
    "numeric": "numeric characters (str.isnumeric())",
    "upper": "upper-case characters (str.isupper())",
    "space": "white space characters (str.isspace())",
    "punctuation": "characters in datatrove's punctuation set",
}


def _compute(counts: Counts) -> Mapping[str, Any]:
    t = counts(text_counts)
    fractions = {f"{name}_char_fraction": ratio(t[f"{name}_chars"], t["chars"]) for name in _CLASSES}
    return {**fractions, "unspaced_letter_fraction": ratio(t["unspaced_letters"], t["alpha_chars"])}


FAMILY = Family(
    "symbols",
    2,
    "Python's str",
    ops=(text_counts,),
    signals=(
        *(Signal.fraction(f"{name}_char_fraction", f"{text} / characters") for name, text in _CLASSES.items()),
        Signal.fraction(
            "unspaced_letter_fraction",
            "letters of scripts without spaces between words (Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar, "
            "Tibetan) / letters",
        ),
    ),
    compute=_compute,
)
