"""Lines put together from the pieces that the rules of C4 are about."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpu_pile
from gpu_pile.ops.c4_lines import c4_lines
from gpu_pile.testing import assert_same_bits
from gpu_pile.text import unicode, unicode_reference

PIECES = st.sampled_from(
    [
        *("a", "B", "one", "Two", "é", "漢", " ", "  ", "\u3000", "\t", "\n", "\r\n", "\r", "\x85", "\u2028"),
        *(". ", ".", "...", "…", "!", "? ", '"', "'", "”", "{", "}", "[1]", "[", "]", "[edit]", "[citation needed]"),
        *("[٣]", "[ 1]", "lorem ipsum", "Lorem", " Ipsum", "javascript", "JavaScript", "terms of use", "Mr. ", "U.S. "),
        *("use ", "s ", "of ", "cookies", "coo\u212aies", "cookie policy", "privacy policy", "\u0130", "x" * 999, "xy"),
        *("y" * 61, "- " * 30, " " * 62, "é" * 31, "e. " * 20),
    ]
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(PIECES, max_size=25).map("".join), max_size=3))
def test_lines_of_pieces(documents):
    assert_same_bits(c4_lines, "cpu", documents, {})
    assert_same_bits(c4_lines, "cpu", documents, {"kept_text": True})


def test_every_place_in_a_block():
    lines = (
        "Enable JavaScript. Our privacy policy.\u2028Use cookies! Terms of use? Mr. A. Go.\u2028Lorem ipsum.\u0085A {."
    )
    documents = [
        "x " * (n // 2) + "y" * (n % 2) + lines.replace("\u2028", b) for n in range(66) for b in ("\u2028", " ")
    ]
    assert_same_bits(c4_lines, "cpu", documents, {"kept_text": True})


def test_line_breaks_are_those_that_are_looked_for():
    breaks = [c for c in range(0x110000) if unicode_reference.flags(chr(c)) & unicode.LINE_BREAK]
    assert breaks == [*range(0x0A, 0x0E), *range(0x1C, 0x1F), 0x85, 0x2028, 0x2029]


@pytest.mark.parametrize(
    ("line", "sentences"),
    [
        # as the sentencizer of spaCy 3.8 finds them
        ("Rates were high (P < 0.05). Others were low (P < 0.05). A third one was seen. A fourth one. A fifth one.", 5),
        ("It fell to 3.5. It rose to 4.5. Then it fell to 3.5. And so on to 2.5. The end.", 5),
        ("See section 4.2. It is version 1.2.3. Then 5.a. And a.5. So it is.", 5),
        # a full stop between letters makes an abbreviation
        ("The U.S. Senate met at 9 a.m. in Washington, i.e. here, with a Ph.D. student.", 1),
        ("Доклад и т.п. был хорош.", 1),
    ],
)
def test_full_stops_inside_words(line, sentences):
    assert gpu_pile.measure([line], ["c4_sentence_count"])["c4_sentence_count"].to_pylist() == [sentences]
