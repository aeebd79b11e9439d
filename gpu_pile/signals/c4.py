"""The rules of C4 (Raffel et al. 2020, section 2.2), as datatrove 0.10.1 applies them line by line.

Lines are counted by what becomes of them; the first test that applies to a line decides (gpu_pile.ops.c4_lines has the
order). A document with "lorem ipsum" or { in a line that comes so far is rejected, and its later lines are not looked
at. Sentences are counted by a rule of this project; datatrove asks a tokenizer of the language.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpu_pile.ops.c4_lines import c4_lines
from gpu_pile.ops.text_counts import text_counts
from gpu_pile.signals import Counts, Family, Signal, ratio

_LINES = {
    "too_long_word": "lines with a word of more than 1,000 characters",
    "no_terminal": "lines that do not end with . ? ! \" or ', or end with ...",
    "too_few_words": "lines of fewer than 3 words",
    "javascript": 'lines with "javascript"',
    "policy": "lines that speak of terms of use, privacy or cookies",
    "kept": "lines that no test drops",
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
        Signal("c4_line_count", "lines", "int64", "str.splitlines(), up to the one that rejects the document"),
        *(Signal(f"c4_{name}_lines", "lines", "int64", definition) for name, definition in _LINES.items()),
        Signal("c4_kept_line_fraction", "fraction", "float64", "kept lines / lines"),
        Signal("c4_lorem_ipsum", "0 or 1", "int64", '"lorem ipsum" in a line that no earlier test drops'),
        Signal("c4_curly_bracket", "0 or 1", "int64", "{ in a line that no earlier test drops"),
        Signal("c4_sentence_count", "sentences", "int64", "sentences of the kept lines"),
        Signal("c4_kept_bytes", "bytes", "int64", "UTF-8 bytes of the kept lines, one line feed between them"),
        Signal("third_longest_line_chars", "characters", "int64", r'third-longest of text.split("\n"); 0 if fewer'),
    ),
    compute=_compute,
)
