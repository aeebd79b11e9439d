"""Texts that repeat themselves in ways that random ones do not."""

import random

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpu_pile.ops.line_repetition import line_repetition
from gpu_pile.ops.word_repetition import word_repetition
from gpu_pile.testing import assert_same_bits
from gpu_pile.text import hash_table, ngrams, split, unicode
from gpu_pile.text.blocks import padded

TABLES = (unicode.FLAG_STAGE, unicode.FLAG_LEAVES)

# words that are equal when joined, though they are not one by one, and words that differ late
WORDS = [
    "a",
    "b",
    "ab",
    "ba",
    "aab",
    "aba",
    "漢",
    "漢字",
    "seven77",
    "eight888",
    "x" * 15 + "1",
    "x" * 15 + "2",
    "x" * 50,
]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=80), st.sampled_from([" ", "\n", "\n\n"]))
def test_few_words(words, separator):
    assert_same_bits(word_repetition, "cpu", [separator.join(words)], {})


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=20, max_size=60))
def test_one_run_of_letters_cut_in_all_ways(lengths):
    """Every n-gram is a run of the same letter: nearly all joined ones are equal, nearly no tuples of words are."""
    assert_same_bits(word_repetition, "cpu", [" ".join("a" * n for n in lengths)], {})


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["", " ", "\t", "x", "y", " x", "\u2028"]), max_size=30))
def test_lines(lines):
    assert_same_bits(line_repetition, "cpu", ["\n".join(lines), "\n\n".join(lines), "\n\n\n".join(lines)], {})


SPACES = " \n\x1c\x1f\x85\u00a0\u1680\u2003\u2028\u202f\u205f\u3000"
LOOK_ALIKES = "\u00c2\u1234\u200b\u2026\u2060\u3001\u30a2\x00\x08\x1b!"  # bytes like those of white space


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.sampled_from([*SPACES, *LOOK_ALIKES, "x", "x" * 31, "x" * 64, "ab " * 21, "é😀"]), max_size=60),
    st.integers(0, 32),
)
def test_words_wherever_blocks_end(parts, shift):
    """Equal counts whether nothing may be read past the text, or much."""
    text = "y" * shift + "".join(parts)
    expected = text.split()
    for behind in (0, 80):
        raw = text.encode()
        data = padded(np.frombuffer(raw + b"z" * behind, np.uint8))
        packed = np.empty(len(raw) + 32, np.uint8)
        bounds, chars = np.empty(len(raw) + 1, np.int64), np.empty(len(raw) + 1, np.int64)
        n = split.split_words(data, 0, len(raw), TABLES, split.Words(packed, bounds, chars))
        assert [bytes(packed[bounds[i] : bounds[i + 1]]).decode() for i in range(n)] == expected
        assert np.diff(chars[: n + 1]).tolist() == [len(word) for word in expected]


@example(["a" * 300, "b", "cd", "e" * 70_000, "f", "g", "h" * 255])
@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="".join(SPACES)), min_size=1), max_size=40))
def test_hashes_of_joined_words_do_not_show_where_they_were_cut(words):
    raw = "".join(words).encode()
    packed = np.frombuffer(raw + bytes(16), np.uint8)
    bounds = np.cumsum([0, *(len(word.encode()) for word in words)])
    whole = np.array([0, len(raw)])
    powers, hashes, one = ngrams.hash_powers(), np.empty(len(words) + 1, np.uint64), np.empty(2, np.uint64)
    ngrams.hash_prefixes(len(words), packed, bounds, powers, hashes)
    for i in range(len(words) - 5):
        part = np.array([0, bounds[i + 5] - bounds[i]])
        ngrams.hash_prefixes(1, packed[bounds[i] :], part, powers, one)
        assert ngrams.joined_hash(i, 5, bounds, hashes, powers) == one[1]
    if words:
        ngrams.hash_prefixes(1, packed, whole, powers, one)
        assert hashes[-1] == one[1]


@pytest.mark.slow
def test_tables_grow_and_are_used_again():
    rng = random.Random(3)
    many = [f"w{rng.randrange(30_000)}" for _ in range(40_000)]
    text = " ".join(many) + "\n" + "\n".join(many[:9000]) + "\n" + " ".join(many[5000:9000])
    for operation in (line_repetition, word_repetition):
        assert_same_bits(operation, "cpu", ["a b a b", text, "a b a b", "", text[::-1]], {})


def test_one_word_over_and_over_needs_little_memory():
    table = hash_table.new_table()
    n = 200_000
    packed = np.frombuffer(b"word" * n + bytes(16), np.uint8)
    bounds = np.arange(n + 1) * 4
    grams = ngrams.new_grams(n)
    distinct, after = ngrams.number_words(n, split.Words(packed, bounds, bounds), grams, table)
    assert distinct == 1
    assert grams.counts[0] == n
    assert len(after.slots) == len(table.slots)


def test_pieces_of_equal_hash_are_compared():
    """find_span with one key for everything, as if all hashes collided."""
    table = hash_table.new_table()
    data = np.frombuffer(b"onetwoonetwo2", np.uint8)
    bounds = np.array([0, 3, 6, 9, 13])
    hash_table.clear(table, 4)
    slots = []
    for item in range(4):
        s = hash_table.find_span(table, np.uint64(7), data, bounds, 1, 1, item)
        slots.append(s)
        if not hash_table.is_filled(table, s):
            hash_table.put(table, s, np.uint64(7), item)
    assert slots[2] == slots[0]
    assert len(set(slots)) == 3


def test_what_the_columns_say_of_one_text():
    text = "p q\n\np q\n\n\nr\nr"
    row = dict(zip(line_repetition.columns, line_repetition.run("reference", _column(text))[0].tolist(), strict=True))
    row |= dict(zip(word_repetition.columns, word_repetition.run("reference", _column(text))[0].tolist(), strict=True))
    assert (row["paragraphs"], row["dup_paragraphs"], row["dup_paragraph_chars"]) == (3, 1, 3)
    assert (row["lines"], row["dup_lines"], row["dup_line_chars"]) == (4, 2, 4)
    assert (row["repeated_lines"], row["repeated_line_chars"]) == (4, 8)
    assert (row["top_2_count"], row["top_2_chars"]) == (2, 2)


def _column(text):
    from gpu_pile.text.column import TextColumn

    return TextColumn.from_documents([text])
