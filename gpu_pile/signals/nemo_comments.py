"""NeMo Curator's fraction of comments in source code, in six readings: thresholds choose the reading of their language.

Python is left out: NeMo Curator counts its comments with the tokenizer and the parser of the running Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpu_pile.ops.nemo_code_comments import LANGUAGES, WITH_END, nemo_code_comments
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio

UNTERMINATED = 9999
"""NeMo Curator's score for a text that its parser refuses."""

NAMES = {
    "c": "C, C++ or Java",
    "go": "Go",
    "javascript": "JavaScript",
    "markup": "HTML or XML",
    "ruby": "Ruby",
    "shell": "a shell script",
}


def _compute(counts: Counts) -> Mapping[str, Any]:
    columns, chars = counts(nemo_code_comments), counts(text_counts)["chars"]

    def comments(name: str) -> Any:
        if name not in WITH_END:
            return columns[f"{name}_chars"]
        return np.where(columns[f"{name}_unterminated"] > 0, UNTERMINATED * chars, columns[f"{name}_chars"])

    return {f"nemo_{name}_comment_fraction": ratio(comments(name), chars) for name in LANGUAGES}


FAMILY = Family(
    "nemo_comments",
    1,
    "NeMo Curator 0.7.1, filters/code.py, GeneralCommentToCodeFilter, with comment_parser 1.2.4",
    ops=(nemo_code_comments, text_counts),
    signals=tuple(
        Signal.fraction(
            f"nemo_{name}_comment_fraction",
            f"characters in comments, with the text read as {NAMES[name]} / characters"
            + (f"; {UNTERMINATED} if a comment is not closed" if name in WITH_END else ""),
        )
        for name in LANGUAGES
    ),
    compute=_compute,
)
