"""The repetition rules of Gopher (Rae et al. 2021, appendix A1), as datatrove 0.10.1 computes them.

Words are split at white space (datatrove's own default is a tokenizer of the language). Where datatrove and the paper
differ, this is datatrove: first occurrences are not counted, one n-gram that occurs once can be the most frequent one,
duplicate n-grams of 5 to 10 words are found on a walk that steps over what it has found, with the words joined.
Every fraction of characters is one of the whole text, white space included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.line_repetition import line_repetition
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.ops.word_repetition import LONG, TOP, word_repetition
from gpu_pile.signals import Counts, Family, Signal, ratio


def _compute(counts: Counts) -> Mapping[str, Any]:
    c = {**counts(line_repetition), **counts(word_repetition)}
    chars = counts(text_counts)["chars"]
    out: dict[str, Any] = {
        "paragraph_count": c["paragraphs"],
        "dup_paragraph_count": c["dup_paragraphs"],
        "dup_paragraph_chars": c["dup_paragraph_chars"],
        "dup_paragraph_fraction": ratio(c["dup_paragraphs"], c["paragraphs"]),
        "dup_paragraph_char_fraction": ratio(c["dup_paragraph_chars"], chars),
        "line_run_count": c["lines"],
        "dup_line_count": c["dup_lines"],
        "dup_line_chars": c["dup_line_chars"],
        "dup_line_fraction": ratio(c["dup_lines"], c["lines"]),
        "dup_line_char_fraction": ratio(c["dup_line_chars"], chars),
    }
    for n in TOP:
        joined = (c[f"top_{n}_chars"] + n - 1) * c[f"top_{n}_count"]
        out[f"top_{n}gram_chars"] = joined
        # undefined where the text has fewer words than the n-gram
        out[f"top_{n}gram_char_fraction"] = ratio(joined, chars * (c[f"top_{n}_count"] > 0))
    for n in LONG:
        out[f"dup_{n}gram_chars"] = c[f"dup_{n}_chars"]
        out[f"dup_{n}gram_char_fraction"] = ratio(c[f"dup_{n}_chars"], chars)
    return out


FAMILY = Family(
    "gopher_repetition",
    1,
    "Rae et al. 2021, appendix A1; datatrove 0.10.1, GopherRepetitionFilter",
    ops=(line_repetition, word_repetition, text_counts),
    signals=(
        Signal("paragraph_count", "paragraphs", "int64", r'pieces of the stripped text between "\n\n" or more'),
        Signal("dup_paragraph_count", "paragraphs", "int64", "paragraphs that have occurred before"),
        Signal("dup_paragraph_chars", "characters", "int64", "characters of these"),
        Signal("dup_paragraph_fraction", "fraction", "float64", "such paragraphs / paragraphs"),
        Signal("dup_paragraph_char_fraction", "fraction", "float64", "characters of these / characters"),
        Signal("line_run_count", "lines", "int64", r'pieces of the text between "\n" or more'),
        Signal("dup_line_count", "lines", "int64", "such lines that have occurred before"),
        Signal("dup_line_chars", "characters", "int64", "characters of these"),
        Signal("dup_line_fraction", "fraction", "float64", "lines that have occurred before / lines"),
        Signal("dup_line_char_fraction", "fraction", "float64", "characters of these / characters"),
        *(
            signal
            for n in TOP
            for signal in (
                Signal(
                    f"top_{n}gram_chars",
                    "characters",
                    "int64",
                    f"the most frequent {n} words in a row, joined by spaces: length times occurrences",
                ),
                Signal(f"top_{n}gram_char_fraction", "fraction", "float64", "these characters / characters"),
            )
        ),
        *(
            signal
            for n in LONG
            for signal in (
                Signal(
                    f"dup_{n}gram_chars",
                    "characters",
                    "int64",
                    f"characters of {n} words in a row that have occurred before, not overlapping",
                ),
                Signal(f"dup_{n}gram_char_fraction", "fraction", "float64", "these characters / characters"),
            )
        ),
    ),
    compute=_compute,
)
