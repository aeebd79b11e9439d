"""text_counts in plain Python: the definition, as readable as can be."""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence

import numpy as np

from gpu_pile.ops.text_counts.contract import PORN, SHORT_CHARS, URL, XML_CHARS, XML_HEADER, text_counts
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.column import TextColumn
from gpu_pile.text.marks import LineMarks, Mark, ascii_lower
from gpu_pile.types import Array


@text_counts.reference
def reference(text: TextColumn, marks: Sequence[Mark] = ()) -> Array:
    rows = []
    for document in text.documents():
        t = document.decode()
        counts = {**count_characters(t), **count_words(t), **count_lines(t)}
        rows.append([counts[name] for name in text_counts.columns] + [count_mark(t, mark) for mark in marks])
    return np.array(rows, np.int64).reshape(-1, len(text_counts.columns) + len(marks))


def has(c: str, flag: int) -> bool:
    return bool(unicode_reference.flags(c) & flag)


def count_characters(t: str) -> dict[str, int]:
    classes = ("alpha", "numeric", "upper", "space", "punctuation")
    urls = re.findall(URL, t)
    return {
        "chars": len(t),
        **{f"{name}_chars": sum(has(c, getattr(unicode, name.upper())) for c in t) for name in classes},
        "ascii_digit_chars": len(re.findall("[0-9]", t)),
        "ascii_prose_chars": len(re.findall("[a-zA-Z0-9\n?!,.]", t)),
        "ascii_blank_chars": sum(c in "\t\n\r\b " for c in t),
        "bracket_chars": len(re.findall(r"{|}|⟨|⟩|\[|\]|\(|\)", t)),
        "hashes": t.count("#"),
        "ellipses": t.count("...") + t.count("…"),
        "newlines": t.count("\n"),
        "url_chars": sum(map(len, urls)),
        "porn_urls": sum(PORN in url for url in urls),
        "xml_header": int(XML_HEADER in t[:XML_CHARS]),
        "unspaced_letters": sum(has(c, unicode.ALPHA) and has(c, unicode.UNSPACED) for c in t),
    }


def count_words(t: str) -> dict[str, int]:
    words = unicode_reference.split(t)
    plain = [w for w in words if not all(has(c, unicode.PUNCTUATION) for c in w)]
    lengths = list(map(len, words))
    return {
        "words": len(words),
        "word_chars": sum(lengths),
        "plain_words": len(plain),
        "plain_word_chars": sum(map(len, plain)),
        "alpha_words": sum(any(has(c, unicode.ALPHA) for c in w) for w in words),
        "symbol_words": sum("#" in w or "…" in w for w in words),
        "hash_words": sum(2 * len(re.findall("#+", w)) > len(w) for w in words),
        "twice_median_word": int(2 * statistics.median(lengths)) if lengths else 0,
        "longest_word": max(lengths, default=0),
    }


def count_lines(t: str) -> dict[str, int]:
    lines = t.split("\n")
    nonblank = [line for line in lines if unicode_reference.strip(line)]
    lengths = sorted(map(len, lines), reverse=True)
    return {
        "pieces": len(unicode_reference.split_lines(t)),
        "newline_lines": len(lines) - (lines[-1] == ""),
        "nonblank_lines": len(nonblank),
        "terminal_lines": sum(has(line[-1], unicode.TERMINAL) for line in nonblank),
        "short_lines": sum(len(line) <= SHORT_CHARS for line in nonblank),
        "third_line_chars": lengths[2] if len(lengths) > 2 else 0,
    }


def count_mark(t: str, mark: Mark) -> int:
    """The column of one row of marks."""
    if isinstance(mark, LineMarks):
        lines = unicode_reference.split_lines(t) if mark.splitlines else t.split("\n")
        if mark.stripped:
            lines = [unicode_reference.strip(line) for line in lines]
        if mark.any_case:
            lines = [ascii_lower(line) for line in lines]
        marks = tuple(mark.marks)
        return sum(line.endswith(marks) if mark.at_end else line.startswith(marks) for line in lines)
    words = unicode_reference.split(ascii_lower(t) if mark.any_case else t)
    return len(set(mark.words) & set(words)) if mark.distinct else sum(word in mark.words for word in words)
