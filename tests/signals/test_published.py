"""Values and verdicts of the published heuristics, against what their reference implementations gave."""

import json
import math

import pytest
import zstandard

import gpu_pile
from benchmarks import conformance
from tests.conftest import HERE

FILE = HERE / "data" / "conformance" / "filters.jsonl.zst"
ROWS = [json.loads(line) for line in zstandard.decompress(FILE.read_bytes(), 1 << 24).split(b"\n") if line]
FILTERS = ("gopher_quality", "gopher_repetition", "fineweb")


@pytest.fixture(scope="module")
def got():
    return {row["id"]: row for row in conformance.rows(ROWS)}


def same(x, y, tolerance):
    if isinstance(x, bool) or isinstance(y, bool) or x is None or y is None:
        return type(x) is type(y) and x == y
    if isinstance(x, int | float) and isinstance(y, int | float):
        return math.isclose(x, y, rel_tol=0, abs_tol=tolerance)
    if isinstance(x, list) and isinstance(y, list):
        return len(x) == len(y) and all(same(p, q, tolerance) for p, q in zip(x, y, strict=True))
    return x == y


@pytest.mark.parametrize("name", FILTERS)
def test_datatrove(name, got):
    assert len(ROWS) > 80
    for row in ROWS:
        want, have = row[name], got[row["id"]][name]
        for key in ("pass", "reason"):
            assert same(want[key], have[key], 0), (row["id"], row["tag"], key)
        assert want["values"].keys() == have["values"].keys()
        for key, value in want["values"].items():
            assert same(value, have["values"][key], 1e-12), (row["id"], row["tag"], key, value, have["values"][key])


def test_c4(got):
    """What does not depend on how sentences are counted; then the count itself."""
    verdicts = 0
    for row in ROWS:
        want, have = row["c4"], got[row["id"]]["c4"]
        for key in ("line_stats", "c4_paragraph_filter"):
            assert want["values"][key] == have["values"][key], (row["id"], row["tag"], key)
        for key in {"kept_text", "kept_text_if_no_sentence_min"} & want["values"].keys():
            assert want["values"][key] == have["values"][key], (row["id"], row["tag"], key)
        if "pass" in have:
            verdicts += 1
            assert (want["pass"], want["reason"]) == (have["pass"], have["reason"]), (row["id"], row["tag"])
    assert verdicts > 60
    table = gpu_pile.measure([r["text"] for r in ROWS], ["c4_sentence_count"])
    for row, count in zip(ROWS, table.column(0).to_pylist(), strict=True):
        if "num_sentences" in row["c4"]["values"]:
            assert row["c4"]["values"]["num_sentences"] == count, (row["id"], row["tag"])


def test_redpajama2(got):
    """Values there are rounded to eight digits."""
    for row in ROWS:
        have = got[row["id"]]["rps"]
        assert row["rps"].keys() <= have.keys()
        for name, value in row["rps"].items():
            assert same(value, have[name], 1.0000001e-8), (row["id"], row["tag"], name, value, have[name])


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_dolma(version):
    names = {
        "character_count": "char_count",
        "word_count": "word_count",
        "median_word_length": "dolma_median_word_length",
        "symbol_to_word_ratio": "dolma_symbol_to_word_ratio",
        "required_word_count": "dolma_required_word_count",
        "fraction_of_lines_starting_with_bullet_point": f"dolma_bullet_line_fraction_{version}",
        "fraction_of_lines_ending_with_ellipsis": f"dolma_ellipsis_line_fraction_{version}",
        "fraction_of_duplicate_lines": f"dolma_dup_line_fraction_{version}",
        "fraction_of_characters_in_duplicate_lines": "dolma_dup_line_char_fraction",
    }
    table = gpu_pile.measure([r["text"] for r in ROWS], ["lengths", "dolma", "alpha_word_fraction"])
    for row, have in zip(ROWS, table.to_pylist(), strict=True):
        want = row["dolma"][f"gopher_{version}"]
        where = row["id"], row["tag"]
        for theirs, ours in names.items():
            assert same(want[theirs], have[ours], 1e-12), (*where, theirs)
        assert same(want["fraction_of_words_with_alpha_character"], have["alpha_word_fraction"] or 0.0, 1e-12), where
        for what, ours in (("most_common_ngram", "top"), ("duplicate_ngrams", "dup")):
            grams = want[f"fraction_of_characters_in_{what}"]
            for n in (2, 3, 4) if ours == "top" else range(5, 11):
                assert same(grams.get(str(n)), have[f"dolma_{ours}_{n}gram_char_fraction"], 1e-12), (*where, n, ours)
