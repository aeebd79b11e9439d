"""Near duplicates in scripts without spaces, and combining marks. benchmarks/scripts.py measures more of it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpu_pile as gp
from benchmarks import scripts
from gpu_pile.text import unicode
from gpu_pile.text.shingles import reference_shingles
from gpu_pile.text.unicode_reference import flags, words_of_any_script

UNSPACED = ("Chinese", "Japanese", "Thai")
PAIRS = 20


@pytest.fixture(scope="module")
def planted():
    """Texts in several scripts without punctuation, and copies in which one unit in a hundred is another."""
    rng = random.Random(0)
    made = [(name, text) for name in (*UNSPACED, "English") for text in scripts.made_texts(name, PAIRS, rng, 150)]
    return [text for _, text in made] + [scripts.with_units_replaced(text, name, rng) for name, text in made]


@pytest.mark.parametrize(("shingle", "found"), [("auto", 1.0), ("word", 0.0)])
def test_planted_near_duplicates(planted, shingle, found):
    pairs = gp.dedupe(planted, shingle=shingle, backend="cpu").pairs.to_pylist()
    half = len(planted) // 2
    assert all(p["b"] == p["a"] + half for p in pairs)
    by_language = [sum(p["a"] // PAIRS == i for p in pairs) / PAIRS for i in range(len(UNSPACED) + 1)]
    assert by_language[-1] == 1.0
    assert [round(share) for share in by_language[:-1]] == [found] * len(UNSPACED)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("राम की गाय", "राम का गाया"),
        ("கி மு ரா", "கா மி ரு"),
        ("كِتَاب", "كُتُب"),
        ("e\u0301te", "e te"),
        ("ไก่ ไข่", "ไก ไข"),
        ("か\u3099", "か"),
    ],
)
def test_marks_are_part_of_words(one, other):
    assert words_of_any_script(one) != words_of_any_script(other)
    assert gp.dedupe([one, other], backend="cpu").keep.all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("中文ABC 12字x", ["中", "文", "abc", "12", "字", "x"]),
        ("タイトルー、ﾊﾟ", ["タ", "イ", "ト", "ル", "ー", "ﾊ", "ﾟ"]),
        ("กำไก่", ["ก", "ำ", "ไ", "ก่"]),
        ("ཡིག་ཆ", ["ཡི", "ག", "ཆ"]),
        ("한국어 각", ["한국어", "각"]),
        ("\u0301 \u0301a\u0301b 👩\u200d👧 ❤\ufe0f", ["a\u0301b"]),
        ("İx", ["i\u0307x"]),
        ("字\u0301a\u0301", ["字\u0301", "a\u0301"]),
    ],
)
def test_words_of_any_script(text, expected):
    assert words_of_any_script(text) == expected


@given(st.text(st.characters(max_codepoint=0x2FFF, exclude_characters="İ", exclude_categories=["Cs"])))
def test_other_texts_have_the_shingles_they_had(text):
    text = "".join(c for c in text if not flags(c) & (unicode.MARK | unicode.UNSPACED))
    assert reference_shingles(text.encode(), "auto", 3) == reference_shingles(text.encode(), "word", 3)
