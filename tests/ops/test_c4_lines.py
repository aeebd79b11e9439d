"""Lines put together from the pieces that the rules of C4 are about."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.ops.c4_lines import c4_lines
from gpu_pile.testing import assert_same_bits

PIECES = st.sampled_from(
    [
        *("a", "B", "one", "Two", "é", "漢", " ", "  ", "\u3000", "\t", "\n", "\r\n", "\r", "\x85", "\u2028"),
        *(". ", ".", "...", "…", "!", "? ", '"', "'", "”", "{", "}", "[1]", "[", "]", "[edit]", "[citation needed]"),
        *("[٣]", "[ 1]", "lorem ipsum", "Lorem", " Ipsum", "javascript", "JavaScript", "terms of use", "Mr. ", "U.S. "),
        *("use ", "s ", "of ", "cookies", "coo\u212aies", "cookie policy", "privacy policy", "\u0130", "x" * 999, "xy"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=25).map("".join), max_size=3))
def test_lines_of_pieces(documents):
    assert_same_bits(c4_lines, "cpu", documents, {})
    assert_same_bits(c4_lines, "cpu", documents, {"kept_text": True})
