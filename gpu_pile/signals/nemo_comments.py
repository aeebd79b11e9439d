"""NeMo Curator's share of comments in source code, in six readings: which one holds, the language says.

Left out: Python's, which is counted there by the tokenizer and the parser of the Python that happens to run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpu_pile.ops.nemo_code_comments import LANGUAGES, WITH_END, nemo_code_comments
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio

UNTERMINATED = 9999
"""NeMo Curator's score of what its parser refuses."""

NAMES = {
    "c": "C, C++, Java",
    "go": "Go",
    "javascript": "JavaScript",
    "markup": "HTML, XML",
    "ruby": "Ruby",
    "shell": "shell",
}


def _compute(counts: Counts) -> Mapping[str, Any]:
    found, chars = counts(nemo_code_comments), counts(text_counts)["chars"]

    def comments(name: str) -> Any:
        if name not in WITH_END:
            return found[f"{name}_chars"]
        return np.where(found[f"{name}_unterminated"] > 0, UNTERMINATED * chars, found[f"{name}_chars"])

    return {f"nemo_{name}_comment_fraction": ratio(comments(name), chars) for name in LANGUAGES}


FAMILY = Family(
    "nemo_comments",
    1,
    "NeMo Curator 0.7.1, filters/code.py, GeneralCommentToCodeFilter, with comment_parser 1.2.4",
    ops=(nemo_code_comments, text_counts),
    signals=tuple(
        Signal(
            f"nemo_{name}_comment_fraction",
            "fraction",
            "float64",
            f"characters of comments, read as {NAMES[name]} / characters"
            + (f"; {UNTERMINATED} where one lacks its end" if name in WITH_END else ""),
        )
        for name in LANGUAGES
    ),
    compute=_compute,
)
