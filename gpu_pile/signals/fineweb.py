"""The rules that FineWeb adds (Penedo et al. 2024, section 3.6), as datatrove 0.10.1 computes them.

Lines are text.split("\\n") without blank ones; the last character of a line is taken as it is, so lines that end with
a carriage return end with no punctuation.
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
        Signal("nonblank_line_count", "lines", "int64", "lines that are not white space alone"),
        Signal("terminal_line_count", "lines", "int64", "of these, those that end with terminal punctuation"),
        Signal("short_line_count", "lines", "int64", "of these, those of at most 30 characters"),
        Signal("newline_count", "characters", "int64", "line feeds"),
        Signal("chars_without_newlines", "characters", "int64", "characters that are no line feeds"),
        Signal("dup_nonblank_line_chars", "characters", "int64", "characters of nonblank lines that occurred before"),
        Signal("terminal_line_fraction", "fraction", "float64", "terminal lines / nonblank lines"),
        Signal("short_line_fraction", "fraction", "float64", "short lines / nonblank lines"),
        Signal(
            "dup_nonblank_line_char_fraction",
            "fraction",
            "float64",
            "characters of nonblank lines that occurred before / characters that are no line feeds",
        ),
        Signal("newline_per_word", "per word", "float64", "line feeds / words"),
    ),
    compute=_compute,
)
