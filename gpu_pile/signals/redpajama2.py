"""The quality signals of RedPajama-Data v2 that come from the text, under their published names.

Values are not rounded (there they are, to 8 digits). A fraction of nothing is undefined, or 0 where it is 0 there. Raw
words are runs of word characters or of other ones that are no white space; words are those of the normal form: lower
case, without ASCII punctuation (gpu_pile.text.normal_form). The signals of single lines are counts over all lines here;
gpu_pile.measure_lines gives them line by line. Signals that need a model, a URL or a list of URLs are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from gpu_pile.ops.redpajama_words import LONG, TOP, redpajama_words
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio
from gpu_pile.text.normal_form import FRACTION
from gpu_pile.types import Array


def _or_zero(numerator: Array, denominator: Array) -> Array:
    """float64: one division, 0 where the denominator is 0."""
    return np.asarray(numerator / np.maximum(denominator, 1) * (denominator > 0))


def _compute(counts: Counts) -> Mapping[str, Any]:
    c = counts(redpajama_words)
    t = counts(text_counts)
    raw, words, chars = c["raw_words"], c["words"], c["chars"]
    normal_chars = chars + np.maximum(words - 1, 0)
    line_chars = chars + words - c["lines"]  # of the normal forms of the lines, one space between words
    out: dict[str, Any] = {
        "rps_raw_word_count": raw,
        "rps_doc_word_count": words,
        "rps_doc_mean_word_length": ratio(chars, words),
        "rps_doc_num_sentences": c["sentences"],
        "rps_doc_symbol_to_word_ratio": ratio(t["hashes"] + t["ellipses"], raw),
        "rps_doc_frac_lines_end_with_ellipsis": ratio(t["rps_ellipsis_lines"], t["redpajama_lines"]),
        "rps_doc_frac_no_alph_words": ratio(raw - c["ascii_alpha_words"], raw),
        "rps_doc_frac_unique_words": ratio(c["unique_words"], words),
        "rps_doc_unigram_entropy": pa.array(c["entropy"] / 2.0**FRACTION, mask=words == 0),
        "rps_doc_frac_all_caps_words": ratio(c["caps_words"], raw),
        "rps_doc_stop_word_fraction": _or_zero(c["stop_words"] * (words > 0), raw),
        "rps_doc_curly_bracket": _or_zero(c["curly"], t["chars"]),
        "rps_doc_lorem_ipsum": _or_zero(c["lorem"], normal_chars),
        "rps_doc_ldnoobw_words": c["bad_phrases"],
        "rps_lines_count": t["redpajama_lines"],
        "rps_lines_ending_with_terminal_punctution_mark_fraction": ratio(t["rps_terminal_lines"], t["redpajama_lines"]),
        "rps_lines_start_with_bulletpoint_fraction": ratio(t["rps_bullet_lines"], t["redpajama_lines"]),
        "rps_lines_num_words_mean": ratio(words, t["redpajama_lines"]),
        "rps_lines_javascript_counts_sum": c["javascript"],
        "rps_lines_uppercase_letter_fraction_all": ratio(t["upper_chars"], t["chars"]),
        "rps_lines_numerical_chars_fraction_all": _or_zero(c["numeric"], line_chars),
    }
    for n in TOP:
        out[f"rps_doc_frac_chars_top_{n}gram"] = _or_zero(c[f"top_{n}_chars"], chars)
    for n in LONG:
        out[f"rps_doc_frac_chars_dupe_{n}grams"] = _or_zero(c[f"covered_{n}_chars"], chars)
    return out


def _fraction(name: str, definition: str) -> Signal:
    return Signal(name, "fraction", "float64", definition)


FAMILY = Family(
    "redpajama2",
    1,
    "RedPajama-Data v2, app/src/core/quality_signals",
    ops=(redpajama_words, text_counts),
    signals=(
        Signal("rps_raw_word_count", "words", "int64", "raw words"),
        Signal("rps_doc_word_count", "words", "int64", "words"),
        Signal("rps_doc_mean_word_length", "characters", "float64", "characters of the words / words"),
        Signal("rps_doc_num_sentences", "sentences", "int64", r"matches of \b[^.!?]+[.!?]*"),
        Signal("rps_doc_symbol_to_word_ratio", "per word", "float64", "#, ... and … / raw words"),
        _fraction("rps_doc_frac_lines_end_with_ellipsis", "lines that end with ... or … / lines"),
        _fraction("rps_doc_frac_no_alph_words", "raw words without a letter of a-z, A-Z / raw words"),
        _fraction("rps_doc_frac_unique_words", "different words / words"),
        Signal("rps_doc_unigram_entropy", "nats", "float64", "entropy of the words' frequencies"),
        _fraction("rps_doc_frac_all_caps_words", "raw words that are str.isupper() / raw words"),
        _fraction("rps_doc_stop_word_fraction", "raw words that are stop words, in lower case / raw words"),
        _fraction("rps_doc_curly_bracket", "{ and } / characters"),
        _fraction("rps_doc_lorem_ipsum", '"lorem ipsum" in the normal form / its characters'),
        Signal("rps_doc_ldnoobw_words", "entries", "int64", "entries of the English LDNOOBW list"),
        Signal("rps_lines_count", "lines", "int64", "lines, each with its line feed"),
        _fraction("rps_lines_ending_with_terminal_punctution_mark_fraction", "lines that end with . ! ? or ” / lines"),
        _fraction("rps_lines_start_with_bulletpoint_fraction", "lines that begin with a bullet point / lines"),
        Signal("rps_lines_num_words_mean", "words", "float64", "words / lines"),
        Signal("rps_lines_javascript_counts_sum", "words", "int64", 'words that are "javascript"'),
        _fraction("rps_lines_uppercase_letter_fraction_all", "capital letters / characters"),
        _fraction(
            "rps_lines_numerical_chars_fraction_all", "numeric characters / characters, in normal forms of lines"
        ),
        *(
            _fraction(
                f"rps_doc_frac_chars_top_{n}gram",
                f"the most frequent {n} words in a row, if they occur twice: characters times occurrences / characters",
            )
            for n in TOP
        ),
        *(
            _fraction(
                f"rps_doc_frac_chars_dupe_{n}grams",
                f"characters of words in {n} in a row that occur more than once / characters of the words",
            )
            for n in LONG
        ),
    ),
    compute=_compute,
)
