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
    return {f"{name}_char_fraction": ratio(t[f"{name}_chars"], t["chars"]) for name in _CLASSES}


FAMILY = Family(
    "symbols",
    1,
    "Python's str",
    ops=(text_counts,),
    signals=tuple(
        Signal.fraction(f"{name}_char_fraction", f"{definition} / characters") for name, definition in _CLASSES.items()
    ),
    compute=_compute,
)
