"""Texts put together from the pieces that dclm_words, dclm_repetition and dclm_line_removal are about."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.ops import op
from gpu_pile.testing import assert_same_bits
from tests import emulator

OPS = op.load_all()
PIECES = {
    "dclm_words": [
        *(
            "a",
            "Z",
            "0",
            "_",
            " ",
            ".",
            ",",
            ":",
            ";",
            "'",
            '"',
            "\n",
            "\r",
            "א",
            "״",
            "カ",
            "ー",
            "٣",
            "²",
            "漢",
            "é",
            "😀",
        ),
        *(
            "™",
            "Ⓜ",
            "ℹ",
            "\u200d",
            "\u0308",
            "\u00ad",
            "\uff9e",
            "\U0001f1e6",
            "\u2028",
            "‿",
            "a b ",
            "can't ",
            "x y z ",
            "x" * 61,
            "y9_" * 21,
            " " * 62,
            "it's 3.5 " * 7,
        ),
    ],
    "dclm_repetition": ["a", "b", " ", "\n", "\n\n", "\n\n\n", "\u3000", "\x1c", ". ", ".", " .", ". . .", "é"],
    "dclm_line_removal": [
        *(" ", "\n", "\n", "\n", " \n", "\u00a0", "\u3000", "\x1c", "\x00", "a", "b c", "word two", "SHOUT", "12", "3"),
        *(" likes", "3.2K views", "(", "items in cart", " items in cart", "\u0130tems in cart", "\u2130tems in cart"),
        *("read more", "Read more...", "...", "sign-in", "Sign-in ", " \u017fign-in", "é", "²", "_", "x", "li\u212aes"),
    ],
}


def texts(name):
    return st.lists(st.lists(st.sampled_from(PIECES[name]), max_size=30).map("".join), max_size=4)


@pytest.mark.slow
@pytest.mark.parametrize("name", PIECES)
def test_texts_of_pieces(name):
    @settings(max_examples=300, deadline=None)
    @given(texts(name))
    def check(documents):
        assert_same_bits(OPS[name], "cpu", documents, {})

    check()


@pytest.mark.slow
@pytest.mark.parametrize("name", PIECES)
def test_kernels(name):
    @settings(max_examples=40, deadline=None)
    @given(texts(name), st.sampled_from([None, 8, 40]), st.sampled_from(emulator.ORDERS))
    def check(documents, segment, order):
        with emulator.installed(segment=segment, order=order):
            assert_same_bits(OPS[name], "cuda-emulated", documents, {})

    check()
