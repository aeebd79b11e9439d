"""The repetition rules of Gopher (Rae et al. 2021, appendix A1), as datatrove 0.10.1 computes them.

Words are split at white space (datatrove's own default is a tokenizer of the language). Where datatrove and the paper
differ, datatrove is followed: first occurrences are not counted; an n-gram that occurs once can be the most frequent
one; duplicate n-grams of 5 to 10 words are found from left to right without overlaps, and two n-grams are equal if
their words are equal when joined without spaces. Every fraction of characters is a fraction of the whole text, white
space included.
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


def _top(n: int) -> tuple[Signal, Signal]:
    chars = f"length of the most frequent {n}-gram, words joined by spaces (the first on ties), times its count"
    return (
        Signal.count(f"top_{n}gram_chars", "characters", chars),
        Signal.fraction(f"top_{n}gram_char_fraction", f"{chars} / characters; undefined with fewer than {n} words"),
    )


def _duplicate(n: int) -> tuple[Signal, Signal]:
    chars = f"characters in the words of {n}-grams that repeat an earlier {n}-gram, without overlaps"
    return (
        Signal.count(f"dup_{n}gram_chars", "characters", chars),
        Signal.fraction(f"dup_{n}gram_char_fraction", f"{chars} / characters"),
    )


_PARAGRAPHS = "paragraphs that repeat an earlier paragraph"
_LINES = "lines (split at runs of line feeds) that repeat an earlier line"

FAMILY = Family(
    "gopher_repetition",
    1,
    "Rae et al. 2021, appendix A1; datatrove 0.10.1, GopherRepetitionFilter",
    ops=(line_repetition, word_repetition, text_counts),
    signals=(
        Signal.count(
            "paragraph_count", "paragraphs", "paragraphs: the stripped text, split at runs of two or more line feeds"
        ),
        Signal.count("dup_paragraph_count", "paragraphs", _PARAGRAPHS),
        Signal.count("dup_paragraph_chars", "characters", f"characters in {_PARAGRAPHS}"),
        Signal.fraction("dup_paragraph_fraction", f"{_PARAGRAPHS} / paragraphs"),
        Signal.fraction("dup_paragraph_char_fraction", f"characters in {_PARAGRAPHS} / characters"),
        Signal.count("line_run_count", "lines", "lines: the text, split at runs of line feeds"),
        Signal.count("dup_line_count", "lines", _LINES),
        Signal.count("dup_line_chars", "characters", f"characters in {_LINES}"),
        Signal.fraction("dup_line_fraction", f"{_LINES} / lines as in line_run_count"),
        Signal.fraction("dup_line_char_fraction", f"characters in {_LINES} / characters"),
        *(signal for n in TOP for signal in _top(n)),
        *(signal for n in LONG for signal in _duplicate(n)),
    ),
    compute=_compute,
)
