"""The rules of DCLM's RefinedWeb pipeline (Li et al. 2024), on the text as it is.

DCLM splits words at white space for word length, symbols and letters, as fastText does for the length of the document,
and by Unicode's word boundaries for n-grams, both without what begins with punctuation. URLs are removed there before
all this, with a list of all top-level domains, and more than two line feeds in a row become two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.dclm_line_removal import dclm_line_removal
from gpu_pile.ops.dclm_repetition import dclm_repetition
from gpu_pile.ops.dclm_words import LONG, TOP, dclm_words
from gpu_pile.ops.line_repetition import line_repetition
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio


def _compute(counts: Counts) -> Mapping[str, Any]:
    t = counts(text_counts)
    filled = t["nonblank_lines"]
    again = counts(line_repetition)
    pieces = counts(dclm_repetition)
    grams = counts(dclm_words)
    removal = counts(dclm_line_removal)
    return {
        "dclm_word_count": removal["words"],
        "dclm_unicode_word_count": grams["words"],
        "dclm_symbol_per_word": ratio(t["hashes"] + t["ellipses"] + pieces["spaced_ellipses"], t["words"]),
        "dclm_stop_word_count": t["stop_words_lower"],
        "dclm_bullet_line_fraction": ratio(t["dclm_bullet_lines"], filled),
        "dclm_ellipsis_line_fraction": ratio(t["dclm_ellipsis_lines"], filled),
        "repeated_line_fraction": ratio(again["repeated_lines"], again["filled_lines"]),
        **{
            name: value
            for piece in ("line", "paragraph")
            for name, value in (
                (f"dclm_repeated_{piece}_fraction", ratio(pieces[f"repeated_{piece}s"], pieces[f"{piece}s"])),
                (
                    f"dclm_repeated_{piece}_char_fraction",
                    ratio(pieces[f"repeated_{piece}_chars"], pieces[f"{piece}_chars"]),
                ),
            )
        },
        **{f"dclm_top_{n}gram_char_fraction": ratio(grams[f"top_{n}_chars"], grams["chars"]) for n in TOP},
        **{f"dclm_dup_{n}gram_char_fraction": ratio(grams[f"covered_{n}_chars"], grams["chars"]) for n in LONG},
        "dclm_removed_word_fraction": ratio(removal["words"] - removal["kept_words"], removal["words"]),
    }


def _fraction(name: str, definition: str) -> Signal:
    return Signal(name, "fraction", "float64", definition)


FAMILY = Family(
    "dclm",
    2,
    "Li et al. 2024 (DCLM), dclm_baseline_refinedweb.yaml; words as uniseg 0.10.1 finds them",
    ops=(text_counts, line_repetition, dclm_repetition, dclm_words, dclm_line_removal),
    signals=(
        Signal("dclm_word_count", "words", "int64", "fastText's words, those that begin with a letter or digit"),
        Signal(
            "dclm_unicode_word_count",
            "words",
            "int64",
            "pieces between word boundaries that begin with a letter or digit",
        ),
        Signal("dclm_symbol_per_word", "per word", "float64", "#, ..., . . . and … without overlaps / words"),
        Signal(
            "dclm_stop_word_count", "words", "int64", "words that are one of Gopher's eight in any case, all of them"
        ),
        _fraction("dclm_bullet_line_fraction", "lines that begin with ● • * or - / nonblank lines"),
        _fraction("dclm_ellipsis_line_fraction", "lines that end with ..., . . . or … / nonblank lines"),
        _fraction(
            "repeated_line_fraction",
            "lines that occur more than once, the first time included / lines that are not empty",
        ),
        *(
            signal
            for piece, pieces in (("line", "stripped nonblank lines"), ("paragraph", 'such pieces between "\\n\\n"'))
            for signal in (
                _fraction(
                    f"dclm_repeated_{piece}_fraction",
                    f"{pieces} that occur more than once, the first time included / all of them",
                ),
                _fraction(f"dclm_repeated_{piece}_char_fraction", "characters of these / characters of all of them"),
            )
        ),
        *(
            _fraction(
                f"dclm_top_{n}gram_char_fraction",
                f"the most frequent {n} of these words in a row, the longest such, if they occur twice: "
                "characters times occurrences / characters of all; words as in dclm_unicode_word_count",
            )
            for n in TOP
        ),
        *(
            _fraction(
                f"dclm_dup_{n}gram_char_fraction",
                f"characters of such words that lie in {n} in a row that occur more than once / characters of all",
            )
            for n in LONG
        ),
        _fraction(
            "dclm_removed_word_fraction",
            "words that are lost when lines of capitals, digits, counters or one word and shop and sign-in texts are "
            "removed / words, both as in dclm_word_count",
        ),
    ),
    compute=_compute,
)
