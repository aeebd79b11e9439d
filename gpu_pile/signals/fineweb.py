"""The rules that FineWeb adds (Penedo et al. 2024, section 3.6), as datatrove 0.10.1 computes them.

Lines are text.split("\\n") without the blank ones. The last character of a line is judged without stripping white
space, so a line that ends with a carriage return does not end with punctuation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.line_repetition import line_repetition
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio


def _compute(counts: Counts) -> Mapping[str, Any]:
    t = counts(text_counts)
    dup_chars = counts(line_repetition)["dup_nonblank_line_chars"]
    chars = t["chars"] - t["newlines"]
    return {
        "nonblank_line_count": t["nonblank_lines"],
        "terminal_line_count": t["terminal_lines"],
        "short_line_count": t["short_lines"],
        "newline_count": t["newlines"],
        "chars_without_newlines": chars,
        "dup_nonblank_line_chars": dup_chars,
        "terminal_line_fraction": ratio(t["terminal_lines"], t["nonblank_lines"]),
        "short_line_fraction": ratio(t["short_lines"], t["nonblank_lines"]),
        "dup_nonblank_line_char_fraction": ratio(dup_chars, chars),
        "newline_per_word": ratio(t["newlines"], t["words"]),
    }


FAMILY = Family(
    "fineweb",
    1,
    "Penedo et al. 2024, section 3.6; datatrove 0.10.1, FineWebQualityFilter",
    ops=(text_counts, line_repetition),
    signals=(
        Signal.count("nonblank_line_count", "lines", r'lines of text.split("\n") with more than white space'),
        Signal.count("terminal_line_count", "lines", "nonblank lines whose last character is terminal punctuation"),
        Signal.count("short_line_count", "lines", "nonblank lines of at most 30 characters"),
        Signal.count("newline_count", "characters", "line feeds"),
        Signal.count("chars_without_newlines", "characters", "characters other than line feeds"),
        Signal.count(
            "dup_nonblank_line_chars", "characters", "characters in nonblank lines that repeat an earlier line"
        ),
        Signal.fraction(
            "terminal_line_fraction", "nonblank lines whose last character is terminal punctuation / nonblank lines"
        ),
        Signal.fraction("short_line_fraction", "nonblank lines of at most 30 characters / nonblank lines"),
        Signal.fraction(
            "dup_nonblank_line_char_fraction",
            "characters in nonblank lines that repeat an earlier line / characters other than line feeds",
        ),
        Signal("newline_per_word", "per word", "float64", "line feeds / words"),
    ),
    compute=_compute,
    about_words=("newline_per_word",),
)
