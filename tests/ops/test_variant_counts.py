"""Texts put together from the pieces that variant_counts is about, and texts longer than one sum of its counts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.ops.variant_counts import _FIELD, variant_counts
from gpu_pile.testing import assert_same_bits

PIECES = st.sampled_from(
    [
        *("a", "B", "7", "٣", "é", "漢", "h", "p", "s", "http", "https", ":", "//", "://", "http://", "https://x"),
        *(
            "porn",
            "http://porn",
            "httphttp://a",
            "http:://",
            "hhttp://a.b",
            "#",
            "##",
            "…",
            "...",
            "[…]",
            "(...)",
            "-»",
        ),
        *(" ", "  ", "\n", "\t", "\b", "\u3000", "\x1c", "\x00", "the", "The", "BE", "@f", "`the", "wit", "with "),
        *("{", "⟨", "<", "<?xml version=", "é" * 86, "x" * 85, "y" * 255),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=25).map("".join), max_size=4))
def test_texts_of_pieces(documents):
    assert_same_bits(variant_counts, "cpu", documents, {})


@pytest.mark.parametrize("piece", ["a1{\t", "A#", "é", "http://a.b ", "\u3000", "x"])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_texts_longer_than_one_sum(piece, shift):
    long = "#" * shift + piece * ((1 << _FIELD) // len(piece) + 20)
    assert_same_bits(
        variant_counts, "cpu", [long, long[: (1 << _FIELD) - 1], long[: 1 << _FIELD], " " + long + " "], {}
    )
