"""Texts put together from the pieces that nemo_boilerplate and nemo_code_comments are about."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpu_pile
from gpu_pile.ops.nemo_boilerplate import LOREM, POLICY, nemo_boilerplate
from gpu_pile.ops.nemo_code_comments import nemo_code_comments
from gpu_pile.testing import assert_same_bits
from tests import emulator

SIGNS = [
    "/",
    "*",
    "//",
    "/*",
    "*/",
    "#",
    "\\",
    '"',
    "'",
    "`",
    "<!--",
    "-->",
    "<",
    "!",
    "-",
    "--",
    ">",
    "\n",
    "a",
    "é",
    " ",
]
WORDS = [
    *(
        "terms of ",
        "use",
        "uses ",
        "cookie",
        "coo\u212aies",
        " cookies",
        "s",
        " policy",
        "privacy",
        " & ",
        " and ",
        "of ",
    ),
    *("\n", "\n\n", "Lorem", " ipsum", "\u212a", "\u2122", "é", "x", POLICY[-1], POLICY[-1][:-1], "overview"),
]


def texts(pieces):
    return st.lists(st.lists(st.sampled_from(pieces), max_size=30).map("".join), max_size=4)


@settings(max_examples=300, deadline=None)
@given(texts(SIGNS))
def test_comments(documents):
    assert_same_bits(nemo_code_comments, "cpu", documents, {})


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(texts(WORDS))
def test_boilerplate(documents):
    assert_same_bits(nemo_boilerplate, "cpu", documents, {})


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(texts(SIGNS), texts(WORDS), st.sampled_from([None, 8, 40]))
def test_kernels(comments, paragraphs, segment):
    with emulator.installed(segment=segment):
        assert_same_bits(nemo_code_comments, "cuda-emulated", comments, {})
        assert_same_bits(nemo_boilerplate, "cuda-emulated", paragraphs, {})


def test_signals():
    def measured(text):
        got = gpu_pile.measure([text], ["nemo_boilerplate", "nemo_comments"], workers=1).to_pylist()[0]
        return [*got.values()]

    assert measured("") == [0.0, *[None] * 6]
    assert measured(f"a\n\n{POLICY[0]}\n\nb\n\nc") == [0.25, *[0.0] * 6]
    assert measured(f"a\n\n{LOREM.upper()}\n\nb")[0] == 1
    assert measured("x // abc") == [0.0, 0.5, 0.5, 0.5, 0, 0, 0]
    assert measured("x/*\n1*/ # y\n\n\n\n") == pytest.approx([0.0, 2 / 15, 2 / 15, 2 / 15, 0, 2 / 15, 2 / 15])
    assert measured("<!-- a") == [0.0, 0, 0, 0, 9999, 0, 0]
    assert measured("/* a")[1:5] == [9999, 9999, 9999, 0]
