"""The normal form of RedPajama-Data v2 against Python's own str, and its operations on hard characters."""

import math
import string
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.ops.redpajama_lines import _FIELD, redpajama_lines
from gpu_pile.ops.redpajama_words import redpajama_words
from gpu_pile.testing import assert_same_bits
from gpu_pile.text import normal_form, unicode, unicode_reference
from gpu_pile.text.column import TextColumn

HARD = [
    *(
        "Σ",
        "ς",
        "σ",
        "Α",
        "α",
        "\u0301",
        "\u0323",
        "\u0302",
        "\u0345",
        "\u0315",
        "\u00ad",
        "ʰ",
        "'",
        ".",
        "-",
        " ",
        "\n",
    ),
    *(
        "İ",
        "ı",
        "i",
        "é",
        "ế",
        "가",
        "각",
        "\u1100",
        "\u1161",
        "\u11a8",
        "\u0344",
        "\u0f73",
        "\U0001d160",
        "\uf900",
        "\u212a",
    ),
    *("²", "½", "٣", "ǅ", "Ⓐ", "\u200d", "\x1c", "\x1f", "\u2028", "\u037e", "a", "B", "_", "!", "{"),
    *("the", "ass", "lorem ipsum", "javascript", "one guy one jar"),
]
texts = st.lists(st.sampled_from(HARD), max_size=60).map("".join)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.lists(texts, max_size=3))
def test_hard_characters(documents):
    assert_same_bits(redpajama_words, "cpu", documents, {})
    assert_same_bits(redpajama_lines, "cpu", documents, {})


@pytest.mark.slow
@pytest.mark.skipif(
    unicodedata.unidata_version != unicode.VERSION, reason=f"Python {sys.version_info[:2]} has another Unicode version"
)
@settings(max_examples=400, deadline=None)
@given(texts | st.text(max_size=40))
def test_the_normal_form_is_that_of_python(text):
    kept = text.translate(str.maketrans("", "", string.punctuation))
    assert unicode_reference.lower_in_context(text) == text.lower()
    assert unicode_reference.decomposed(text) == unicodedata.normalize("NFD", text)
    assert normal_form.normal_words(text) == unicodedata.normalize("NFD", kept.lower()).split()


def test_many_marks_on_one_letter():
    marks = "".join(chr(0x300 + i % 80) for i in range(5000))
    assert_same_bits(redpajama_words, "cpu", [f"a{marks} b", marks, f"Σ{marks}Σ"], {})


@pytest.mark.parametrize("count", [1, 2, 3, 100, 4095, 4096, 4097, 5000, 123_456, 2**20, 2**31 - 1])
def test_logarithms(count):
    got = normal_form.logarithm_int(count)
    assert normal_form.logarithm(normal_form.LOGARITHMS, count) == got
    assert math.isclose(got / 2**32, math.log(count), rel_tol=0, abs_tol=2**-30)


def test_lines_cover_the_text():
    documents = ["a\nb", "", "\n\n", "x\r\ny \u2028 z\n"]
    rows, offsets = redpajama_lines(TextColumn.from_documents(documents))
    assert offsets.tolist() == [0, 2, 2, 4, 6]
    start, end = (rows[:, redpajama_lines.columns.index(name)] for name in ("start", "end"))
    for text, a, b in zip(documents, offsets[:-1], offsets[1:], strict=True):
        assert "".join(text[s:e] for s, e in zip(start[a:b], end[a:b], strict=True)) == text


@pytest.mark.slow
@pytest.mark.parametrize("piece", ["A1.", "1", "é2B", "javascript ", "x\n", "\u3000"])
@pytest.mark.parametrize("shift", [0, 1, 2])
def test_lines_longer_than_one_sum(piece, shift):
    long = "a" * shift + piece * ((1 << _FIELD) // len(piece) + 20)
    assert_same_bits(redpajama_lines, "cpu", [long, long[: (1 << _FIELD) - 1], long[: 1 << _FIELD], f"• {long}.\n"], {})


WORD_PIECES = st.sampled_from(
    [
        *("javascript", "Java", "script", "java.script", "JAVASCRİPT", "the", "The", "of", "themselves", "x" * 16, "-"),
        *(
            "_",
            "A",
            "É",
            "1",
            "²",
            "٣",
            "\u0301",
            "\u200d",
            "Ⓐ",
            "\x1c",
            "\x1f",
            ".",
            "!",
            "{",
            "}",
            "'",
            "”",
            "•",
            "–",
        ),
        *(" ", "  ", "\n", "\r\n", "\u2028", "\u3000", "\x00", "Σ", "lorem", " ipsum", "ass", "\u212a"),
        *("x" * 62, "a-b\n" * 16, " " * 64, "It's 1.\n" * 8),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(WORD_PIECES, max_size=20).map("".join), max_size=4))
def test_texts_of_pieces(documents):
    assert_same_bits(redpajama_lines, "cpu", documents, {})
    assert_same_bits(redpajama_words, "cpu", documents, {})
