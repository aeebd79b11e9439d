"""The rules of DCLM's RefinedWeb pipeline (Li et al. 2024), on the text as it is.

DCLM splits words in three ways: at white space for word length, symbols and letters; as fastText does for the length of
the document; at Unicode's word boundaries for n-grams. The last two leave out what begins with punctuation. DCLM itself
first removes URLs, with a list of all top-level domains, and shortens runs of more than two line feeds to two.
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
from gpu_pile.signals.gopher_quality import STOP_WORDS
from gpu_pile.text.marks import LineEnds, LineStarts, WordSet

MARKS = (
    LineStarts("dclm_bullet_lines", "●•*-"),
    LineEnds("dclm_ellipsis_lines", ("...", ". . .", "…")),
    WordSet("dclm_stop_words", STOP_WORDS, any_case=True),
)


def _compute(counts: Counts) -> Mapping[str, Any]:
    t = counts(text_counts)
    nonblank = t["nonblank_lines"]
    repeats = counts(line_repetition)
    pieces = counts(dclm_repetition)
    grams = counts(dclm_words)
    removal = counts(dclm_line_removal)
    out: dict[str, Any] = {
        "dclm_word_count": removal["words"],
        "dclm_unicode_word_count": grams["words"],
        "dclm_symbol_per_word": ratio(t["hashes"] + t["ellipses"] + pieces["spaced_ellipses"], t["words"]),
        "dclm_stop_word_count": t["dclm_stop_words"],
        "dclm_bullet_line_fraction": ratio(t["dclm_bullet_lines"], nonblank),
        "dclm_ellipsis_line_fraction": ratio(t["dclm_ellipsis_lines"], nonblank),
        "repeated_line_fraction": ratio(repeats["repeated_lines"], repeats["filled_lines"]),
        "dclm_removed_word_fraction": ratio(removal["words"] - removal["kept_words"], removal["words"]),
    }
    for piece in ("line", "paragraph"):
        for name, unit in (("fraction", "s"), ("char_fraction", "_chars")):
            repeated = ratio(pieces[f"repeated_{piece}{unit}"], pieces[f"{piece}{unit}"])
            out[f"dclm_repeated_{piece}_{name}"] = repeated
    for n in TOP:
        out[f"dclm_top_{n}gram_char_fraction"] = ratio(grams[f"top_{n}_chars"], grams["chars"])
    for n in LONG:
        out[f"dclm_dup_{n}gram_char_fraction"] = ratio(grams[f"covered_{n}_chars"], grams["chars"])
    return out


_LINES = "stripped nonblank lines"
_PARAGRAPHS = r'stripped nonblank paragraphs of text.split("\n\n")'


def _repeated(piece: str, pieces: str) -> tuple[Signal, Signal]:
    repeated = f"{pieces} that occur more than once, every occurrence counted"
    return (
        Signal.fraction(f"dclm_repeated_{piece}_fraction", f"{repeated} / {pieces}"),
        Signal.fraction(f"dclm_repeated_{piece}_char_fraction", f"characters in {repeated} / characters in {pieces}"),
    )


FAMILY = Family(
    "dclm",
    2,
    "Li et al. 2024 (DCLM), dclm_baseline_refinedweb.yaml; words as uniseg 0.10.1 finds them",
    ops=(text_counts, line_repetition, dclm_repetition, dclm_words, dclm_line_removal),
    signals=(
        Signal.count(
            "dclm_word_count",
            "words",
            "words as fastText splits them (at ASCII white space and NUL) that begin with a letter or digit",
        ),
        Signal.count(
            "dclm_unicode_word_count",
            "words",
            "pieces between Unicode word boundaries (UAX #29) that begin with a letter or digit",
        ),
        Signal(
            "dclm_symbol_per_word", "per word", "float64", "occurrences of #, ..., . . . and … without overlaps / words"
        ),
        Signal.count(
            "dclm_stop_word_count", "words", f"all occurrences of the words {', '.join(STOP_WORDS)} in any case"
        ),
        Signal.fraction(
            "dclm_bullet_line_fraction",
            "lines whose first character after white space is ●, •, * or - / nonblank lines",
        ),
        Signal.fraction(
            "dclm_ellipsis_line_fraction",
            "lines that end with ..., . . . or …, ignoring trailing white space / nonblank lines",
        ),
        Signal.fraction(
            "repeated_line_fraction",
            "nonempty lines that occur more than once, every occurrence counted / nonempty lines",
        ),
        *_repeated("line", _LINES),
        *_repeated("paragraph", _PARAGRAPHS),
        *(
            Signal.fraction(
                f"dclm_top_{n}gram_char_fraction",
                f"characters in the words of the most frequent {n}-gram (the longest on ties) times its count "
                f"/ characters in words; 0 if no {n}-gram occurs twice; words as in "
                "dclm_unicode_word_count",
            )
            for n in TOP
        ),
        *(
            Signal.fraction(
                f"dclm_dup_{n}gram_char_fraction",
                f"characters in words inside {n}-grams that occur more than once, each word counted once "
                "/ characters in words; words as in dclm_unicode_word_count",
            )
            for n in LONG
        ),
        Signal.fraction(
            "dclm_removed_word_fraction",
            "words lost when DCLM removes lines of capitals, digits, counters or one word, and the texts of shopping "
            "carts, sign-in links and read-more links / words; words as in dclm_word_count",
        ),
    ),
    compute=_compute,
    marks=MARKS,
    about_words=("dclm_word_count", "dclm_symbol_per_word", "dclm_stop_word_count", "dclm_removed_word_fraction"),
)
