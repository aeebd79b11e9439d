"""The heuristic and code rules of NeMo Curator, where they are not another family's.

Words are str.split(), lines those of split("\\n") that are not white space alone, paragraphs split("\\n\\n"). Left out:
the most frequent n-grams (there chosen at random among equally frequent ones; Gopher's take their place in the
thresholds), the text of HTML (a parser's) and fertility (a tokenizer's). Boilerplate and comments are families of their
own: nemo_boilerplate, nemo_comments.
Fractions of nothing are undefined; there they divide by zero or give 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.line_repetition import line_repetition
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.ops.word_repetition import LONG, word_repetition
from gpu_pile.signals import Counts, Family, Signal, ratio


def _compute(counts: Counts) -> Mapping[str, Any]:
    t = counts(text_counts)
    again = counts(line_repetition)
    grams = counts(word_repetition)
    chars, nonblank = t["chars"], t["nonblank_lines"]
    block_chars = chars - 2 * (again["blocks"] - 1)
    line_chars = again["nonblank_line_chars"]
    return {
        "nemo_non_alnum_fraction": ratio(chars - t["nemo_alnum_chars"], chars),
        "nemo_symbol_word_fraction": ratio(t["nemo_symbol_words"], t["words"]),
        "nemo_digit_fraction": ratio(t["decimal_chars"], chars),
        "nemo_url_char_fraction": ratio(t["url_chars"], chars),
        "nemo_bullet_line_fraction": ratio(t["nemo_bullet_lines"], nonblank),
        "nemo_white_space_fraction": ratio(t["nemo_space_chars"], chars),
        "nemo_parenthesis_fraction": ratio(t["paren_chars"], chars),
        "longest_word_chars": t["longest_word"],
        "nemo_no_end_mark_line_fraction": ratio(nonblank - t["nemo_end_mark_lines"], nonblank),
        "nemo_ellipsis_line_fraction": ratio(t["nemo_ellipsis_lines"], nonblank),
        "nemo_common_word_count": t["stop_words"],
        "nemo_porn_url_count": t["porn_urls"],
        "nemo_unique_line_fraction": ratio(nonblank - again["dup_nonblank_lines"], nonblank),
        "nemo_unique_line_char_fraction": ratio(line_chars - again["dup_nonblank_line_chars"], line_chars),
        "nemo_unique_paragraph_fraction": ratio(again["blocks"] - again["dup_blocks"], again["blocks"]),
        "nemo_unique_paragraph_char_fraction": ratio(block_chars - again["dup_block_chars"], block_chars),
        **{
            f"nemo_dup_{n}gram_char_fraction": ratio(grams[f"again_{n}_chars"], chars * (grams["words"] >= n))
            for n in LONG
        },
        "code_line_count": t["newlines"] + 1,
        "code_xml_header": t["xml_header"],
    }


def _fraction(name: str, definition: str) -> Signal:
    return Signal(name, "fraction", "float64", definition)


FAMILY = Family(
    "nemo",
    1,
    "NeMo Curator, filters/heuristic_filter.py and filters/code.py",
    ops=(text_counts, line_repetition, word_repetition),
    signals=(
        _fraction("nemo_non_alnum_fraction", r"characters not in [a-zA-Z0-9\n?!,.] / characters"),
        _fraction("nemo_symbol_word_fraction", "words that are # or an ellipsis / words"),
        _fraction("nemo_digit_fraction", "decimal digits / characters"),
        _fraction("nemo_url_char_fraction", "characters of URLs / characters"),
        _fraction("nemo_bullet_line_fraction", "lines that begin with a bullet point / lines"),
        _fraction("nemo_white_space_fraction", "tabs, line feeds, carriage returns, backspaces, spaces / characters"),
        _fraction("nemo_parenthesis_fraction", "{ } ⟨ ⟩ [ ] ( ) / characters"),
        Signal("longest_word_chars", "characters", "int64", "length of the longest word"),
        _fraction("nemo_no_end_mark_line_fraction", "lines that do not end with . ? ! \" or ' / lines"),
        _fraction("nemo_ellipsis_line_fraction", 'lines that end with ..., … or "read more" / lines'),
        Signal("nemo_common_word_count", "words", "int64", "words that are one of Gopher's eight, all occurrences"),
        Signal("nemo_porn_url_count", "URLs", "int64", 'URLs with "porn"'),
        _fraction("nemo_unique_line_fraction", "different lines / lines"),
        _fraction("nemo_unique_line_char_fraction", "characters of different lines / characters of lines"),
        _fraction("nemo_unique_paragraph_fraction", "different paragraphs / paragraphs"),
        _fraction("nemo_unique_paragraph_char_fraction", "characters of different paragraphs / characters of all"),
        *(
            _fraction(
                f"nemo_dup_{n}gram_char_fraction",
                f"characters, with spaces, of words in {n} in a row that have occurred before / characters",
            )
            for n in LONG
        ),
        Signal("code_line_count", "lines", "int64", "line feeds + 1"),
        Signal("code_xml_header", "0 or 1", "int64", '"<?xml version=" in the first 100 characters'),
    ),
    compute=_compute,
)
