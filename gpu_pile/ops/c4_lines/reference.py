"""c4_lines in plain Python: the definition."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import numpy as np

from gpu_pile.ops.c4_lines.contract import ABBREVIATIONS, CLOSING, ENDS, POLICY, WORD_CHARS_MAX, WORDS_MIN, c4_lines
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.column import TextColumn


@c4_lines.reference
def reference(text: TextColumn, kept_text: bool = False) -> Any:
    counts, kept = [], []
    for d in text.documents():
        count, lines = judge_lines(d.decode())
        kept.append(unicode_reference.strip("\n".join(lines)))
        counts.append([(count | {"kept_bytes": len(kept[-1].encode())})[name] for name in c4_lines.columns])
    out = np.array(counts, np.int64).reshape(-1, len(c4_lines.columns))
    if not kept_text:
        return out
    column = TextColumn.from_documents(kept)
    return out, column.data, column.offsets


@cache
def _citation() -> re.Pattern[str]:
    digits = "".join(chr(c) for c in range(0x110000) if unicode_reference.flags(chr(c)) & unicode.DECIMAL)
    return re.compile(rf"\[[{digits}]*]|\[edit]|\[citation needed]")


def judge_lines(t: str) -> tuple[dict[str, int], list[str]]:
    """(the columns of a document, its kept lines without citations)."""
    count = dict.fromkeys(c4_lines.columns, 0)
    kept = []
    for raw in unicode_reference.split_lines(t):
        count["lines"] += 1
        line = unicode_reference.strip(raw)
        words = unicode_reference.split(line)
        if any(len(w) > WORD_CHARS_MAX for w in words):
            count["too_long_word"] += 1
            continue
        line = _citation().sub("", line)
        low = unicode_reference.lower(line)
        if not line.endswith((".", "?", "!", '"', "'")) or line.endswith("..."):
            verdict = "no_terminal"
        elif len(words) < WORDS_MIN:
            verdict = "too_few_words"
        elif "lorem ipsum" in low:
            verdict = "lorem"
        elif "javascript" in low:
            verdict = "javascript"
        elif "{" in line:
            verdict = "curly"
        elif any(p in low for p in POLICY):
            verdict = "policy"
        else:
            verdict = "kept"
            kept.append(line)
            count["sentences"] += count_sentences(line)
        count[verdict] += 1
        if verdict in ("lorem", "curly"):
            break
    return count, kept


def count_sentences(line: str) -> int:
    ended, n = False, 1
    for word in unicode_reference.split(line):
        if all(unicode_reference.flags(c) & unicode.PUNCTUATION for c in word):
            ended = ended or ends_sentence(word)
            continue
        n += ended
        ended = ends_sentence(word)
    return n


def ends_sentence(word: str) -> bool:
    word = word.rstrip(CLOSING)
    if not word.endswith(tuple(ENDS)) or word.endswith(".."):
        return False
    if not word.endswith("."):
        return True
    before = word[:-1]
    if has_stop_between_letters(before) or (len(before) == 1 and unicode_reference.flags(before) & unicode.UPPER):
        return False
    return before.lower() not in ABBREVIATIONS if before.isascii() else True


def has_stop_between_letters(word: str) -> bool:
    def is_letter(c: str) -> bool:
        return bool(unicode_reference.flags(c) & unicode.ALPHA)

    return any(b == "." and is_letter(a) and is_letter(c) for a, b, c in zip(word, word[1:], word[2:], strict=False))
