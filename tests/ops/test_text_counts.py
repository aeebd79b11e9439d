"""Texts put together from the pieces that text_counts is about, of which some go over the seams of its blocks."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.ops.text_counts import text_counts
from gpu_pile.ops.text_counts.documents import MARKS
from gpu_pile.testing import assert_same_bits
from gpu_pile.text.column import TextColumn
from tests import emulator

PIECES = st.sampled_from(
    [
        *("a", "B", "7", "٣", "é", "漢", "h", "p", "s", "http", "https", ":", "//", "://", "http://", "https://x"),
        *("porn", "http://porn", "httphttp://a", "http:://", "hhttp://a.b", "#", "##", "…", ".", "..", "..."),
        *("[…]", "(...)", "[...]", "-»", " ", "  ", "\n", "\r\n", "\r", "\t", "\b", "\u3000", "\x1c", "\x00", "\x85"),
        *("the", "The", "BE", " of ", "@f", "`the", "wit", "with ", "{", "⟨", "<", "<?xml version=", "\u2028"),
        *("• ", "- ", "* ", "● ", "read more", "READ MORE..", ". . .", "”", '"', "。", "é" * 86, "x" * 85, "y" * 255),
        *("a" * 60, " " * 61, "." * 62, "#" * 63),
    ]
)
TEXTS = st.lists(st.lists(PIECES, max_size=25).map("".join), max_size=4)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(TEXTS)
def test_texts_of_pieces(documents):
    assert_same_bits(text_counts, "cpu", documents, {"marks": MARKS})


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(TEXTS, st.sampled_from((None, 8, 40)))
def test_texts_of_pieces_by_kernels(documents, segment):
    with emulator.installed(segment=segment):
        assert_same_bits(text_counts, "cuda-emulated", documents, {"marks": MARKS})


@pytest.mark.parametrize("piece", ["a1{\t", "A#", "é", "http://a.b ", "\u3000", "-\r\n", "…", "the "])
def test_every_place_in_a_block(piece):
    documents = [" " * n + piece * 70 + "." * n for n in range(66)]
    assert_same_bits(text_counts, "cpu", documents, {"marks": MARKS})


def test_bytes_around_a_text_do_not_count():
    text = TextColumn.from_documents(["the # ..." * 9, "", "a", "the\n" * 40, "…"])
    for i in range(5):
        alone = TextColumn.from_documents([list(text.documents())[i]])
        assert (text_counts(text)[i] == text_counts(alone)[0]).all()
    assert text_counts(text).shape == (5, len(text_counts.columns))
