"""The Unicode table against Python's own data, code point by code point.

Fast code, references and verify all read this one table, so nothing else can see a mistake in it. Where Python has
another version of Unicode, only code points are compared that are assigned in both.
"""

import hashlib
import unicodedata

import numpy as np
import pytest

from gpu_pile.text import unicode

CODE_POINTS = [chr(c) for c in range(0x110000)]
CIRCLED_LETTERS = [(0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189)]


def is_uts18_word(c):
    """\\w of Unicode's UTS #18: alphabetic characters, marks, decimal digits, connectors and joiners."""
    category = unicodedata.category(c)
    return (
        (c.isalnum() and category != "No")
        or category in ("Mn", "Mc", "Me", "Pc")
        or c in "\u200c\u200d"
        or any(first <= ord(c) <= last for first, last in CIRCLED_LETTERS)
    )


def is_ignorable(c):
    """A final sigma stays final with c between it and its word, and c alone is not a word."""
    return f"A{c}\u03a3".lower()[-1] == "\u03c2" and f"{c}\u03a3".lower()[-1] == "\u03c3"


FLAGS = {
    "ALPHA": str.isalpha,
    "NUMERIC": str.isnumeric,
    "WORD": lambda c: c.isalnum() or c == "_",
    "SPACE": str.isspace,
    "LINE_BREAK": lambda c: len(f"a{c}b".splitlines()) == 2,
    "UPPER": str.isupper,
    "CASED": lambda c: c.isupper() or c.islower() or c.istitle(),
    "IGNORABLE": is_ignorable,
    "DECIMAL": str.isdecimal,
    "UTS18_WORD": is_uts18_word,
    "DIGIT": str.isdigit,
    "MARK": lambda c: unicodedata.category(c).startswith("M"),
}

FROZEN = {
    "PUNCTUATION": "7705d05a28b5dd8f3b2beac23f962a313cfb796bbe939f59396b51f0cca6c2af",
    "UNSPACED": "b43627cc898eaa17f242438303f736f6ff8da623eeb5399df30921ae66d7e93f",
    "TERMINAL": "ef891fb275cc11b92c31324b87f8e7bc873be5307d9a4154b403bf3cc9592260",
}
"""Sets that Python does not know: SHA-256 of their code points. UNSPACED by the scripts of Unicode 18.0.0, as regex
2026.11.15 has them; the others as datatrove 0.10.1 has them."""

FROZEN_BREAKS = "4033679c75f44a89acd5b6d1d18a042514497430b8fd39a99425dc2cc1e7370f"
"""SHA-256 of the classes of word boundaries of all code points, as uniseg 0.10.1 has them."""


def expanded(stage, leaves):
    """The value of every code point in a two-stage table."""
    return leaves.reshape(-1, 128)[stage].reshape(-1)


def comparable():
    """bool of each code point: whether Python and the table mean the same version of it."""
    if unicodedata.unidata_version == unicode.VERSION:
        return np.ones(0x110000, bool)
    assigned = np.array([unicodedata.category(c) != "Cn" for c in CODE_POINTS])
    early = np.array([unicodedata.ucd_3_2_0.category(c) != "Cn" for c in CODE_POINTS])
    return assigned & (early | (expanded(unicode.FLAG_STAGE, unicode.FLAG_LEAVES) != 0))


@pytest.fixture(scope="module")
def flags():
    return expanded(unicode.FLAG_STAGE, unicode.FLAG_LEAVES)


def differing(flags, name):
    """The code points whose flag of this name is not what Python says."""
    python = np.fromiter(map(FLAGS[name], CODE_POINTS), bool, 0x110000)
    table = (flags & getattr(unicode, name)) != 0
    return np.flatnonzero((table != python) & comparable()).tolist()


@pytest.mark.parametrize("name", FLAGS)
def test_flags(flags, name):
    assert differing(flags, name) == []


def test_every_flag_is_tested(flags):
    tested = sum(getattr(unicode, name) for name in [*FLAGS, *FROZEN])
    assert int(np.bitwise_or.reduce(flags)) == tested


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_sets(flags, name):
    codes = np.flatnonzero(flags & getattr(unicode, name)).astype("<u4")
    assert hashlib.sha256(codes.tobytes()).hexdigest() == FROZEN[name]


def test_planted_mistakes_are_found(flags):
    """Han characters that are not word characters, a digit that is white space, a letter without a case."""
    planted = flags.copy()
    planted[0x4E00:0x4E80] &= ~np.uint16(unicode.WORD)
    planted[0x0660] |= unicode.SPACE
    planted[ord("Q")] &= ~np.uint16(unicode.UPPER)
    assert differing(planted, "WORD") == list(range(0x4E00, 0x4E80))
    assert differing(planted, "SPACE") == [0x0660]
    assert differing(planted, "UPPER") == [ord("Q")]


def test_lower_case():
    lower = np.arange(0x110000) + expanded(unicode.LOWER_STAGE, unicode.LOWER_LEAVES)
    python = np.array([ord(c.lower()[0]) for c in CODE_POINTS])
    assert np.flatnonzero((lower != python) & comparable()).tolist() == []
    assert [ord(c) for c in CODE_POINTS if len(c.lower()) > 1] == [unicode.DOTTED_CAPITAL_I]
    assert chr(unicode.DOTTED_CAPITAL_I).lower() == "i\u0307"


def test_decomposition_and_combining_classes():
    at = expanded(unicode.DECOMPOSITION_STAGE, unicode.DECOMPOSITION_LEAVES)
    parts = unicode.DECOMPOSITION_PARTS.tolist()
    classes = expanded(unicode.COMBINING_STAGE, unicode.COMBINING_LEAVES)
    python = np.array([unicodedata.combining(c) for c in CODE_POINTS])
    assert np.flatnonzero((classes != python) & comparable()).tolist() == []
    wrong = []
    for c, start, same in zip(CODE_POINTS, at.tolist(), comparable().tolist(), strict=True):
        if not 0xAC00 <= ord(c) < 0xD7A4:  # Hangul syllables are decomposed by arithmetic
            form = "".join(map(chr, parts[start + 1 : start + 1 + parts[start]])) if start else c
            if same and form != unicodedata.normalize("NFD", c):
                wrong.append(ord(c))
    assert wrong == []


def test_word_boundaries():
    breaks = expanded(unicode.BREAK_STAGE, unicode.BREAK_LEAVES)
    assert hashlib.sha256(breaks.astype("u1").tobytes()).hexdigest() == FROZEN_BREAKS
    alnum = np.fromiter(map(str.isalnum, CODE_POINTS), bool, 0x110000)
    assert np.flatnonzero(((breaks & unicode.LETTER_OR_DIGIT != 0) != alnum) & comparable()).tolist() == []
