"""The heuristic and code rules of NeMo Curator that no other family has.

Words are text.split(), lines are the lines of text.split("\\n") with more than white space, and paragraphs are
text.split("\\n\\n"). Three rules are left out: the most frequent n-grams (NeMo Curator chooses at random among equally
frequent ones; the thresholds use Gopher's), the text of HTML (it needs a parser) and fertility (it needs a tokenizer).
Boilerplate and comments are families of their own: nemo_boilerplate, nemo_comments.
A fraction with the denominator 0 is undefined; NeMo Curator divides by zero or gives 1.
Digits are those of ASCII, as in NeMo Curator 2023.12 to 2026.11. URLs are those of version 0.7.1, whose pattern runs on
over < > ( ) ; and the like; version 1.4.0 stops there. The shares of letters are not signals of this family: the
thresholds take Gopher's, whose letters are str.isalpha(), where NeMo Curator asks for Unicode's Alphabetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.line_repetition import line_repetition
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.ops.word_repetition import LONG, word_repetition
from gpu_pile.signals import Counts, Family, Signal, ratio
from gpu_pile.signals.gopher_quality import STOP_WORDS
from gpu_pile.text.marks import LineEnds, LineStarts, WordSet

BULLETS = "•‣⁃⁌⁍∙○●◘◦⦾⦿"
ELLIPSES = ("...", "[...]", "…", "(...)", "[…]", "-»")
MARKS = (
    LineStarts("nemo_bullet_lines", BULLETS),
    LineEnds("nemo_end_mark_lines", ".?!\"'"),
    LineEnds("nemo_ellipsis_lines", (*ELLIPSES, "read more..", "read more"), any_case=True),
    WordSet("nemo_ellipsis_words", ELLIPSES),
    WordSet("all_stop_words", STOP_WORDS),
)


def _compute(counts: Counts) -> Mapping[str, Any]:
    t = counts(text_counts)
    repeats = counts(line_repetition)
    grams = counts(word_repetition)
    chars, nonblank = t["chars"], t["nonblank_lines"]
    block_chars = chars - 2 * (repeats["blocks"] - 1)
    line_chars = repeats["nonblank_line_chars"]
    return {
        "nemo_non_alnum_fraction": ratio(chars - t["ascii_prose_chars"], chars),
        "nemo_symbol_word_fraction": ratio(t["nemo_ellipsis_words"] + t["hash_words"], t["words"]),
        "nemo_digit_fraction": ratio(t["ascii_digit_chars"], chars),
        "nemo_url_char_fraction": ratio(t["url_chars"], chars),
        "nemo_bullet_line_fraction": ratio(t["nemo_bullet_lines"], nonblank),
        "nemo_white_space_fraction": ratio(t["ascii_blank_chars"], chars),
        "nemo_parenthesis_fraction": ratio(t["bracket_chars"], chars),
        "longest_word_chars": t["longest_word"],
        "nemo_no_end_mark_line_fraction": ratio(nonblank - t["nemo_end_mark_lines"], nonblank),
        "nemo_ellipsis_line_fraction": ratio(t["nemo_ellipsis_lines"], nonblank),
        "nemo_common_word_count": t["all_stop_words"],
        "nemo_porn_url_count": t["porn_urls"],
        "nemo_unique_line_fraction": ratio(nonblank - repeats["dup_nonblank_lines"], nonblank),
        "nemo_unique_line_char_fraction": ratio(line_chars - repeats["dup_nonblank_line_chars"], line_chars),
        "nemo_unique_paragraph_fraction": ratio(repeats["blocks"] - repeats["dup_blocks"], repeats["blocks"]),
        "nemo_unique_paragraph_char_fraction": ratio(block_chars - repeats["dup_block_chars"], block_chars),
        **{
            f"nemo_dup_{n}gram_char_fraction": ratio(grams[f"again_{n}_chars"], chars * (grams["words"] >= n))
            for n in LONG
        },
        "code_line_count": t["newlines"] + 1,
        "code_xml_header": t["xml_header"],
    }


_BULLETS = " ".join(BULLETS)
_ELLIPSES = " ".join(ELLIPSES)
_STOP_WORDS = ", ".join(STOP_WORDS)
_CODE = "NeMo Curator, filters/code.py"

FAMILY = Family(
    "nemo",
    2,
    "NeMo Curator, filters/heuristic_filter.py and filters/code.py",
    ops=(text_counts, line_repetition, word_repetition),
    signals=(
        Signal.fraction("nemo_non_alnum_fraction", r"characters not in [a-zA-Z0-9\n?!,.] / characters"),
        Signal.fraction(
            "nemo_symbol_word_fraction",
            f"words that are an ellipsis ({_ELLIPSES}), or whose runs of # number more than half of their characters "
            "/ words",
        ),
        Signal.fraction("nemo_digit_fraction", "ASCII digits / characters"),
        Signal.fraction(
            "nemo_url_char_fraction",
            "characters in http and https URLs, as NeMo Curator 0.7.1 finds them, / characters",
        ),
        Signal.fraction(
            "nemo_bullet_line_fraction",
            f"lines whose first character after white space is one of {_BULLETS} / nonblank lines",
        ),
        Signal.fraction(
            "nemo_white_space_fraction", "tabs, line feeds, carriage returns, backspaces and spaces / characters"
        ),
        Signal.fraction("nemo_parenthesis_fraction", "characters among ( ) [ ] { } ⟨ ⟩ / characters"),
        Signal.count("longest_word_chars", "characters", "length of the longest word; 0 without words"),
        Signal.fraction(
            "nemo_no_end_mark_line_fraction",
            "nonblank lines that do not end with . ? ! \" or ', ignoring trailing white space / nonblank lines",
        ),
        Signal.fraction(
            "nemo_ellipsis_line_fraction",
            f'lines that end with an ellipsis ({_ELLIPSES}) or "read more" in any case, ignoring trailing white space '
            "/ nonblank lines",
        ),
        Signal.count("nemo_common_word_count", "words", f"all occurrences of the words {_STOP_WORDS}"),
        Signal.count("nemo_porn_url_count", "URLs", 'http and https URLs that contain "porn"'),
        Signal.fraction("nemo_unique_line_fraction", "distinct nonblank lines / nonblank lines"),
        Signal.fraction(
            "nemo_unique_line_char_fraction", "characters in distinct nonblank lines / characters in nonblank lines"
        ),
        Signal.fraction("nemo_unique_paragraph_fraction", r'distinct paragraphs of text.split("\n\n") / paragraphs'),
        Signal.fraction(
            "nemo_unique_paragraph_char_fraction",
            r'characters in distinct paragraphs of text.split("\n\n") / characters in paragraphs',
        ),
        *(
            Signal.fraction(
                f"nemo_dup_{n}gram_char_fraction",
                f"characters in the words of {n}-grams that repeat an earlier {n}-gram, each word counted once, spaces "
                f"between words included / characters; undefined with fewer than {n} words",
            )
            for n in LONG
        ),
        Signal.count("code_line_count", "lines", "line feeds + 1", _CODE),
        Signal.count("code_xml_header", "0 or 1", '1 if the first 100 characters contain "<?xml version="', _CODE),
    ),
    compute=_compute,
    marks=MARKS,
    about_words=("nemo_symbol_word_fraction", "longest_word_chars", "nemo_common_word_count"),
)
