"""The rules of C4 (Raffel et al. 2020, section 2.2), as datatrove 0.10.1 applies them line by line.

Lines are counted by what happens to them: the first rule that applies to a line decides (gpu_pile.ops.c4_lines has the
order). A document is rejected by the first line with "lorem ipsum" or { that no earlier rule has dropped, and the lines
after that line are not looked at. Sentences are counted by a rule of this project; datatrove uses a tokenizer of the
language.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.c4_lines import c4_lines
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio

_LINES = {
    "too_long_word": "lines dropped because a word has more than 1,000 characters",
    "no_terminal": "lines dropped because they end with ... or do not end with . ? ! \" or '",
    "too_few_words": "lines dropped because they have fewer than 3 words",
    "javascript": 'lines dropped because they contain "javascript"',
    "policy": "lines dropped because they mention terms of use, a privacy policy or cookies",
    "kept": "lines that no rule drops",
}


def _compute(counts: Counts) -> Mapping[str, Any]:
    c = counts(c4_lines)
    return {
        "c4_line_count": c["lines"],
        **{f"c4_{name}_lines": c[name] for name in _LINES},
        "c4_kept_line_fraction": ratio(c["kept"], c["lines"]),
        "c4_lorem_ipsum": c["lorem"],
        "c4_curly_bracket": c["curly"],
        "c4_sentence_count": c["sentences"],
        "c4_kept_bytes": c["kept_bytes"],
        "third_longest_line_chars": counts(text_counts)["third_line_chars"],
    }


FAMILY = Family(
    "c4",
    1,
    "Raffel et al. 2020, section 2.2; datatrove 0.10.1, C4QualityFilter, C4ParagraphFilter",
    ops=(c4_lines, text_counts),
    signals=(
        Signal.count(
            "c4_line_count",
            "lines",
            "lines of text.splitlines(), up to and including the line that rejects the document",
        ),
        *(Signal.count(f"c4_{name}_lines", "lines", definition) for name, definition in _LINES.items()),
        Signal.fraction("c4_kept_line_fraction", "lines that no rule drops / lines as in c4_line_count"),
        Signal.count(
            "c4_lorem_ipsum",
            "0 or 1",
            '1 if a line that all earlier rules keep contains "lorem ipsum", which rejects the document',
        ),
        Signal.count(
            "c4_curly_bracket",
            "0 or 1",
            "1 if a line that all earlier rules keep contains {, which rejects the document",
        ),
        Signal.count("c4_sentence_count", "sentences", "sentences in the lines that no rule drops"),
        Signal.count("c4_kept_bytes", "bytes", "UTF-8 bytes of the lines that no rule drops, joined by line feeds"),
        Signal.count(
            "third_longest_line_chars",
            "characters",
            r'length of the third-longest line of text.split("\n"); 0 if there are fewer than three',
        ),
    ),
    compute=_compute,
    about_words=("c4_kept_line_fraction", "c4_sentence_count", "c4_kept_bytes"),
)
