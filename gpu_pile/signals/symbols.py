"""What kinds of characters a document is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.text_counts import text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio

_CLASSES = {
    "alpha": "str.isalpha()",
    "numeric": "str.isnumeric()",
    "upper": "str.isupper()",
    "space": "str.isspace()",
    "punctuation": "in the punctuation set of datatrove",
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
        Signal(f"{name}_char_fraction", "fraction", "float64", f"share of characters that are {definition}")
        for name, definition in _CLASSES.items()
    ),
    compute=_compute,
)
