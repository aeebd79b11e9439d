"""Tokens: what makes no difference, and the compiled functions against plain Python."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.testing import ALPHABET
from gpu_pile.text import tokens
from gpu_pile.text.blocks import padded
from gpu_pile.text.column import TextColumn
from gpu_pile.text.hashing import M64, mix64_int
from gpu_pile.text.ngram_table import NgramTable

texts = st.text(st.sampled_from(ALPHABET) | st.characters(exclude_categories=["Cs"]), max_size=60)
texts |= st.text("ab C1. é漢\n", max_size=300)  # blocks of 64 bytes with and without characters beyond ASCII


def letters(text):
    return [t.letters for t in tokens.reference_tokens(text.encode())]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's 3.14, she_said!", ["it", "s", "3", "14", "she", "said"]),
        ("STRASSE Straße \ufb01ne FINE", ["strasse", "strasse", "fine", "fine"]),
        ("café cafe\u0301 CAFÉ exam\u00adple", ["cafe", "cafe", "cafe", "example"]),
        ("漢字かな ABC語", ["漢", "字", "か", "な", "abc", "語"]),
        ("ภาษา", ["ภ", "า", "ษ", "า"]),
        ("한국어", [unicodedata.normalize("NFD", "한국어")]),
        ("ΟΔΟΣ οδος οδός ᾳ ΑΙ", ["οδοσ", "οδοσ", "οδοσ", "αι", "αι"]),
        ("\u0301 . \u00ad", []),
    ],
)
def test_examples(text, expected):
    assert letters(text) == expected


@pytest.mark.slow
def test_case_and_composition_make_no_difference_for_any_character():
    """Python has another Unicode in other versions: of each character, only forms that the table knows are compared."""
    if unicodedata.unidata_version != "14.0.0":
        pytest.skip("the table is of Unicode 14.0.0")
    for n in (*range(0xD800), *range(0xE000, 0x110000)):
        c = chr(n)
        own = tokens.folded(c)[1]
        forms = {c.upper(), c.lower(), c.title(), unicodedata.normalize("NFD", c), unicodedata.normalize("NFC", c)}
        for form in forms - {c}:
            assert "".join(tokens.folded(x)[1] for x in form) == own, hex(n)
        if c.isalnum():
            assert own
        if c.isspace():
            assert tokens.folded(c)[0] == tokens.SEPARATOR


@given(texts)
def test_canonically_equal_texts_have_equal_tokens(text):
    if unicodedata.unidata_version == "14.0.0":
        assert letters(unicodedata.normalize("NFD", text)) == letters(unicodedata.normalize("NFC", text))


words = st.text(st.sampled_from("abzAÉßñ19ǅΣ漢かйﬁ"), min_size=1, max_size=6)
gaps = st.text(st.sampled_from(" \n\t\r\u00a0\u2028\u3000.,;:!?-—()[]\"'*_/|·…😀"), min_size=1, max_size=4)


@given(st.lists(st.tuples(words, gaps, gaps, st.sampled_from([str.upper, str.lower, str.title, str.swapcase]))))
def test_white_space_punctuation_and_case_make_no_difference(parts):
    one = "".join(word + gap for word, gap, _, _ in parts)
    other = "".join(gap + change(word) for word, _, gap, change in parts)
    assert letters(one) == letters(other)


@settings(deadline=None)
@given(st.lists(texts, max_size=4), st.sampled_from([1, 2, 8]))
def test_compiled_tokens_are_those_of_the_reference(documents, width):
    column = TextColumn.from_documents(documents)
    found = tokens.Tokens(*tokens.split_tokens(padded(column.data), column.offsets, tokens.TABLES))
    for d, document in enumerate(column.documents()):
        first, end, base = int(found.first[d]), int(found.first[d + 1]), int(column.offsets[d])
        own = [
            tokens.Token(
                bytes(found.letters[found.bounds[t] : found.bounds[t + 1] - 1]).decode(),
                int(found.starts[t]) - base,
                int(found.ends[t]) - base,
            )
            for t in range(first, end)
        ]
        expected = tokens.reference_tokens(document)
        assert own == expected
        sums = [int(s) for s in found.sums[first : end + 1]]
        power = pow(tokens.Q, width)
        keys = [
            mix64_int((sums[i + width] - sums[i] * power + width * tokens.R) & M64) or 1
            for i in range(len(own) - width + 1)
        ]
        assert keys == tokens.reference_keys(expected, width)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 1000])
def test_a_table_holds_its_keys(n):
    keys = np.sort(np.random.default_rng(n).integers(1, 2**64 - 1, n, np.uint64)) if n else []
    table = NgramTable.of(np.array(keys, np.uint64))
    assert table.starts[-1] == n
    bits = (len(table.starts) - 1).bit_length() - 1
    for entry, key in enumerate(map(int, table.keys)):
        place = key >> (64 - bits)
        assert table.starts[place] <= entry < table.starts[place + 1]
