"""Values and verdicts of the published heuristics, one row per document, named as in the reference implementations.

    python benchmarks/conformance.py DOCS.jsonl OUT.jsonl [--backend cpu|cuda]

DOCS has one JSON object per line with "id" and "text". A row of OUT is {"id", "gopher_quality": {"pass", "reason",
"values"}, "gopher_repetition", "c4", "fineweb": likewise, "rps": {signal: value}}: what datatrove 0.10.1 gives when
words are split at white space, and what RedPajama-Data v2 gives.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import gpu_pile as gp
from gpu_pile.policy.thresholds import Policy

Row = dict[str, Any]

GOPHER_QUALITY = {
    "n_words": "word_count",
    "n_non_symbol_words": "plain_word_count",
    "sum_len_non_symbol_words": "plain_word_chars",
    "avg_word_length": "mean_plain_word_length",
    "n_hash": "hash_count",
    "n_ellipsis": "ellipsis_count",
    "hash_word_ratio": "hash_per_word",
    "ellipsis_word_ratio": "ellipsis_per_word",
    "n_lines_splitlines": "line_count",
    "n_bullet_lines": "bullet_line_count",
    "n_ellipsis_end_lines": "ellipsis_line_count",
    "n_alpha_words": "alpha_word_count",
    "n_distinct_stop_words": "stop_word_distinct",
    "bullet_lines_ratio": "bullet_line_fraction",
    "ellipsis_lines_ratio": "ellipsis_line_fraction",
    "alpha_words_ratio": "alpha_word_fraction",
}
GOPHER_QUALITY_REASONS = {
    "plain_word_count.min": "gopher_short_doc",
    "plain_word_count.max": "gopher_long_doc",
    "mean_plain_word_length.min": "gopher_below_avg_threshold",
    "mean_plain_word_length.max": "gopher_above_avg_threshold",
    "hash_per_word.max": "gopher_too_many_hashes",
    "ellipsis_per_word.max": "gopher_too_many_ellipsis",
    "bullet_line_fraction.max": "gopher_too_many_bullets",
    "ellipsis_line_fraction.max": "gopher_too_many_end_ellipsis",
    "alpha_word_fraction.min": "gopher_below_alpha_threshold",
    "stop_word_distinct.min": "gopher_enough_stop_words",
}

TOP, LONG = (2, 3, 4), (5, 6, 7, 8, 9, 10)
GOPHER_REPETITION = {
    "len_text": "char_count",
    "n_paragraphs": "paragraph_count",
    "dup_paragraphs": "dup_paragraph_count",
    "dup_paragraph_chars": "dup_paragraph_chars",
    "n_lines": "line_run_count",
    "dup_lines": "dup_line_count",
    "dup_line_chars": "dup_line_chars",
    "dup_para_frac": "dup_paragraph_fraction",
    "dup_para_char_frac": "dup_paragraph_char_fraction",
    "dup_line_frac": "dup_line_fraction",
    "dup_line_char_frac": "dup_line_char_fraction",
    **{f"top_{n}_gram_chars": f"top_{n}gram_chars" for n in TOP},
    **{f"top_{n}_gram": f"top_{n}gram_char_fraction" for n in TOP},
    **{f"duplicated_{n}_n_grams_chars": f"dup_{n}gram_chars" for n in LONG},
    **{f"duplicated_{n}_n_grams": f"dup_{n}gram_char_fraction" for n in LONG},
}
GOPHER_REPETITION_REASONS = {
    "char_count.min": "empty",
    "dup_paragraph_fraction.max": "dup_para_frac",
    "dup_paragraph_char_fraction.max": "dup_para_char_frac",
    "dup_line_fraction.max": "dup_line_frac",
    "dup_line_char_fraction.max": "dup_line_char_frac",
    **{f"top_{n}gram_char_fraction.max": f"top_{n}_gram" for n in TOP},
    **{f"dup_{n}gram_char_fraction.max": f"duplicated_{n}_n_grams" for n in LONG},
}

FINEWEB = {
    "n_nonblank_lines": "nonblank_line_count",
    "n_words": "word_count",
    "n_newlines": "newline_count",
    "n_lines_end_punct": "terminal_line_count",
    "n_short_lines": "short_line_count",
    "dup_line_chars": "dup_nonblank_line_chars",
    "chars_without_newline": "chars_without_newlines",
    "line_punct_ratio": "terminal_line_fraction",
    "short_line_ratio": "short_line_fraction",
    "char_dup_ratio": "dup_nonblank_line_char_fraction",
    "list_ratio": "newline_per_word",
}
FINEWEB_REASONS = {
    "nonblank_line_count.min": "empty",
    "terminal_line_fraction.min": "line_punct_ratio",
    "short_line_fraction.max": "short_line_ratio",
    "dup_nonblank_line_char_fraction.max": "char_dup_ratio",
    "newline_per_word.max": "list_ratio",
}
C4_LINES = {
    "line-total": "c4_line_count",
    "line-filter-too_long_word": "c4_too_long_word_lines",
    "line-filter-no_terminal_punc": "c4_no_terminal_lines",
    "line-filter-too_few_words": "c4_too_few_words_lines",
    "line-filter-javascript": "c4_javascript_lines",
    "line-filter-policy": "c4_policy_lines",
    "line-kept": "c4_kept_lines",
}
C4_REASONS = {
    "c4_lorem_ipsum.max": "lorem_ipsum",
    "c4_curly_bracket.max": "curly_bracket",
    "c4_sentence_count.min": "too_few_sentences",
}
SENTENCES_MIN = 5


def reasons(table: pa.Table, thresholds: str) -> list[str | None]:
    """The first rule of a named set that each document fails; None where it fails none."""
    names, marks, _ = Policy(use=[thresholds], word_rules="always").evaluate(
        table, [""], np.zeros(len(table), np.int64)
    )
    return [names[int(row.argmax())] if row.any() else None for row in marks]


def verdict(reason: str | None, names: dict[str, str], values: Row) -> Row:
    return {"pass": reason is None, "reason": None if reason is None else names[reason], "values": values}


def repetition_values(r: Row) -> Row:
    values = {theirs: r[ours] for theirs, ours in GOPHER_REPETITION.items()}
    for n in TOP:  # no n-gram at all: datatrove has no value, here there are 0 characters
        if r[f"top_{n}gram_chars"] == 0:
            values[f"top_{n}_gram_chars"] = None
    return values


def fineweb_values(r: Row) -> Row:
    known = ("n_nonblank_lines", "n_words", "n_newlines")  # all that datatrove has for a text without lines
    return {theirs: r[ours] for theirs, ours in FINEWEB.items() if r["nonblank_line_count"] or theirs in known}


def c4(r: Row, text: str, kept: str, reason: str | None, long_paragraphs: bool) -> Row:
    """datatrove counts sentences with a tokenizer of the language, this project by a rule of its own: the number, and a
    verdict that hangs on it, are left out. A kept line has a sentence at least."""
    values: Row = {
        "line_stats": {theirs: r[ours] for theirs, ours in C4_LINES.items() if r[ours]},
        "c4_paragraph_filter": {
            "pass": long_paragraphs,
            "reason": None if long_paragraphs else "< 3 paragraphs",
        },
    }
    row: Row = {"values": values}
    if r["c4_lorem_ipsum"] or r["c4_curly_bracket"]:
        return {**verdict(reason, C4_REASONS, values)}
    values["kept_text"] = True if kept == text else kept
    values["kept_text_if_no_sentence_min"] = kept
    if r["c4_kept_lines"] == 0:
        values["num_sentences"] = 0
    if r["c4_kept_lines"] == 0 or r["c4_kept_lines"] >= SENTENCES_MIN:
        row = verdict(reason, C4_REASONS, values)
    return row


RPS_ROUND = 8
RPS_LINES = (
    "ending_with_terminal_punctution_mark",
    "javascript_counts",
    "num_words",
    "numerical_chars_fraction",
    "start_with_bulletpoint",
    "uppercase_letter_fraction",
)


def rps(r: Row, lines: list[Row]) -> Row:
    def rounded(value: float | None) -> float | None:
        return None if value is None else round(value, RPS_ROUND)

    row: Row = {name: rounded(value) for name, value in r.items() if name.startswith("rps_doc_")}
    for name in RPS_LINES:
        row[f"rps_lines_{name}"] = [[x["start"], x["end"], rounded(x[name])] for x in lines]
    if not lines:
        row["rps_lines_start_with_bulletpoint"] = [[0, 0, None]]
    return row


def rows(documents: Iterable[Row], backend: str = "auto") -> Iterator[Row]:
    """One row a document of {"id", "text"}."""
    documents = list(documents)
    texts = [d["text"] for d in documents]
    table = gp.measure(texts, backend=backend)
    quality, repetition = reasons(table, "gopher"), reasons(table, "gopher_repetition")
    fineweb, c4_reasons, short = (reasons(table, name) for name in ("fineweb", "c4", "c4_paragraphs"))
    lines: list[list[Row]] = [[] for _ in texts]
    for line in gp.measure_lines(texts, backend=backend).to_pylist():
        lines[line["text"]].append(line)
    kept = gp.keep_c4_lines(texts, backend=backend).to_pylist()
    for i, (document, r) in enumerate(zip(documents, table.to_pylist(), strict=True)):
        yield {
            "id": document["id"],
            "gopher_quality": verdict(
                quality[i], GOPHER_QUALITY_REASONS, {theirs: r[ours] for theirs, ours in GOPHER_QUALITY.items()}
            ),
            "gopher_repetition": verdict(repetition[i], GOPHER_REPETITION_REASONS, repetition_values(r)),
            "fineweb": verdict(fineweb[i], FINEWEB_REASONS, fineweb_values(r)),
            "c4": c4(r, document["text"], kept[i], c4_reasons[i], short[i] is None),
            "rps": rps(r, lines[i]),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--backend", choices=["auto", "cpu", "cuda"], default="auto")
    given = parser.parse_args()
    documents = [json.loads(line) for line in given.documents.read_bytes().split(b"\n") if line]
    with given.out.open("w", encoding="utf-8") as out:
        for row in rows(documents, given.backend):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
