"""The quality signals of RedPajama-Data v2 that come from the text, under their published names.

Values are not rounded (RedPajama rounds to 8 digits). A fraction with the denominator 0 is undefined, or 0 where
RedPajama gives 0. Raw words are runs of word characters, or of characters that are neither word characters nor white
space. Normal words are the words of the normal form: lower case, without ASCII punctuation (gpu_pile.text.normal_form).
The signals of single lines are summed over the lines here; gpu_pile.measure_lines gives them line by line. Signals that
need a model, a URL or a list of URLs are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_pile.ops.redpajama_lines import BULLETS
from gpu_pile.ops.redpajama_words import LONG, TOP, redpajama_words
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio
from gpu_pile.text.marks import LineEnds, LineStarts
from gpu_pile.text.normal_form import FRACTION
from gpu_pile.types import Array


def _or_zero(numerator: Array, denominator: Array) -> Array:
    """float64: one division, 0 where the denominator is 0."""
    return np.asarray(numerator / np.maximum(denominator, 1) * (denominator > 0))


MARKS = (
    LineStarts("redpajama_bullet_lines", BULLETS),
    LineEnds("redpajama_ellipsis_lines", ("...", "…")),
    LineEnds("redpajama_end_mark_lines", ".!?”"),
)


def _compute(counts: Counts) -> Mapping[str, Any]:
    c = counts(redpajama_words)
    t = counts(text_counts)
    raw, words, chars, lines = c["raw_words"], c["words"], c["chars"], t["newline_lines"]
    normal_chars = chars + np.maximum(words - 1, 0)
    line_chars = chars + words - c["lines"]  # of the normal forms of the lines, one space between words
    out: dict[str, Any] = {
        "rps_raw_word_count": raw,
        "rps_doc_word_count": words,
        "rps_doc_mean_word_length": ratio(chars, words),
        "rps_doc_num_sentences": c["sentences"],
        "rps_doc_symbol_to_word_ratio": ratio(t["hashes"] + t["ellipses"], raw),
        "rps_doc_frac_lines_end_with_ellipsis": ratio(t["redpajama_ellipsis_lines"], lines),
        "rps_doc_frac_no_alph_words": ratio(raw - c["ascii_alpha_words"], raw),
        "rps_doc_frac_unique_words": ratio(c["unique_words"], words),
        "rps_doc_unigram_entropy": pa.array(c["entropy"] / 2.0**FRACTION, mask=words == 0),
        "rps_doc_frac_all_caps_words": ratio(c["caps_words"], raw),
        "rps_doc_stop_word_fraction": _or_zero(c["stop_words"] * (words > 0), raw),
        "rps_doc_curly_bracket": _or_zero(c["curly"], t["chars"]),
        "rps_doc_lorem_ipsum": _or_zero(c["lorem"], normal_chars),
        "rps_doc_ldnoobw_words": c["bad_phrases"],
        "rps_lines_count": lines,
        "rps_lines_ending_with_terminal_punctution_mark_fraction": ratio(t["redpajama_end_mark_lines"], lines),
        "rps_lines_start_with_bulletpoint_fraction": ratio(t["redpajama_bullet_lines"], lines),
        "rps_lines_num_words_mean": ratio(words, lines),
        "rps_lines_javascript_counts_sum": c["javascript"],
        "rps_lines_uppercase_letter_fraction_all": ratio(t["upper_chars"], t["chars"]),
        "rps_lines_numerical_chars_fraction_all": _or_zero(c["numeric"], line_chars),
    }
    for n in TOP:
        out[f"rps_doc_frac_chars_top_{n}gram"] = _or_zero(c[f"top_{n}_chars"], chars)
    for n in LONG:
        out[f"rps_doc_frac_chars_dupe_{n}grams"] = _or_zero(c[f"covered_{n}_chars"], chars)
    return out


_RAW = "raw words (runs of word characters, or of characters that are neither word characters nor white space)"
_NORMAL = "normal words (lower case, without ASCII punctuation)"
_NORMAL_TEXT = "normal text (lower case, without ASCII punctuation)"
_BULLETS = " ".join(BULLETS)

FAMILY = Family(
    "redpajama2",
    1,
    "RedPajama-Data v2, app/src/core/quality_signals",
    ops=(redpajama_words, text_counts),
    signals=(
        Signal.count("rps_raw_word_count", "words", _RAW),
        Signal.count("rps_doc_word_count", "words", _NORMAL),
        Signal("rps_doc_mean_word_length", "characters", "float64", f"mean length of {_NORMAL}"),
        Signal.count("rps_doc_num_sentences", "sentences", r"matches of the regular expression \b[^.!?]+[.!?]*"),
        Signal("rps_doc_symbol_to_word_ratio", "per word", "float64", f"occurrences of #, ... and … / {_RAW}"),
        Signal.fraction(
            "rps_doc_frac_lines_end_with_ellipsis",
            "lines that end with ... or …, ignoring trailing white space / lines",
        ),
        Signal.fraction("rps_doc_frac_no_alph_words", f"raw words without a letter a-z or A-Z / {_RAW}"),
        Signal.fraction("rps_doc_frac_unique_words", f"distinct normal words / {_NORMAL}"),
        Signal("rps_doc_unigram_entropy", "nats", "float64", f"entropy of the distribution of {_NORMAL}"),
        Signal.fraction("rps_doc_frac_all_caps_words", f"raw words in capitals, str.isupper() / {_RAW}"),
        Signal.fraction(
            "rps_doc_stop_word_fraction", f"raw words in the list of English stop words, in lower case / {_RAW}"
        ),
        Signal.fraction("rps_doc_curly_bracket", "occurrences of { and } / characters"),
        Signal.fraction(
            "rps_doc_lorem_ipsum",
            f'occurrences of "lorem ipsum" in the {_NORMAL_TEXT} / characters in the normal text',
        ),
        Signal.count(
            "rps_doc_ldnoobw_words",
            "entries",
            f"occurrences of entries of the English LDNOOBW list of bad words in the {_NORMAL_TEXT}",
        ),
        Signal.count("rps_lines_count", "lines", "lines, each ending with a line feed or at the end of the text"),
        Signal.fraction(
            "rps_lines_ending_with_terminal_punctution_mark_fraction",
            "lines that end with . ! ? or ”, ignoring trailing white space / lines",
        ),
        Signal.fraction(
            "rps_lines_start_with_bulletpoint_fraction",
            f"lines whose first character after white space is one of {_BULLETS} / lines",
        ),
        Signal("rps_lines_num_words_mean", "words", "float64", f"{_NORMAL} / lines"),
        Signal.count("rps_lines_javascript_counts_sum", "words", f'{_NORMAL} that are "javascript"'),
        Signal.fraction("rps_lines_uppercase_letter_fraction_all", "upper-case characters / characters"),
        Signal.fraction(
            "rps_lines_numerical_chars_fraction_all",
            f"numeric characters in {_NORMAL} / characters in normal words and in the spaces between words of a line",
        ),
        *(
            Signal.fraction(
                f"rps_doc_frac_chars_top_{n}gram",
                f"characters in the most frequent {n}-gram of {_NORMAL}, the first on ties, times its count "
                f"/ characters in normal words; 0 if no {n}-gram occurs twice",
            )
            for n in TOP
        ),
        *(
            Signal.fraction(
                f"rps_doc_frac_chars_dupe_{n}grams",
                f"characters in {_NORMAL} inside {n}-grams that occur more than once, each word counted once "
                "/ characters in normal words",
            )
            for n in LONG
        ),
    ),
    compute=_compute,
    marks=MARKS,
    about_words=(
        "rps_raw_word_count",
        "rps_doc_word_count",
        "rps_doc_mean_word_length",
        "rps_doc_symbol_to_word_ratio",
        "rps_doc_frac_no_alph_words",
        "rps_doc_frac_unique_words",
        "rps_doc_unigram_entropy",
        "rps_doc_stop_word_fraction",
        "rps_lines_num_words_mean",
    ),
)
