"""gpu_pile.text.lower_words against the definition: every place of a block, and buffers that hold something else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.text import unicode_reference
from gpu_pile.text.blocks import BLOCK, padded
from gpu_pile.text.lower_words import ANY_SCRIPT, MARKED, RUNS, TABLES, find_lower_words, room_for_words
from gpu_pile.text.shingles import reference_shingles, shingle_document, shingling_of

PIECES = (
    "a",
    "Z",
    "_",
    "9",
    " ",
    "-",
    "İ",
    "Ⱥ",
    "ß",
    "é",
    "漢",
    "ー",
    "ก",
    "😀",
    "\u0307",
    "\u0e31",
    "\u212a",
    "x" * 63,
    "Y" * 64,
    " " * 64,
)
DOCUMENTS = st.lists(st.sampled_from(PIECES), max_size=90).map("".join)


def surrounded(document, before, after):
    """(data, start, end): a document between others."""
    raw = document.encode()
    data = np.frombuffer(b"q" * before + raw + b"q" * after, np.uint8)
    return padded(data), before, before + len(raw)


@settings(deadline=None)
@given(document=DOCUMENTS, before=st.integers(0, 3), after=st.sampled_from([0, 1, BLOCK]), fill=st.integers(0, 255))
@pytest.mark.parametrize(
    ("classes", "definition"),
    [
        (RUNS, unicode_reference.words),
        (MARKED, unicode_reference.marked_words),
        (ANY_SCRIPT, unicode_reference.words_of_any_script),
    ],
)
def test_words(classes, definition, document, before, after, fill):
    data, start, end = surrounded(document, before, after)
    words = room_for_words(end - start)
    words.text[:], words.edges[:] = fill, -1
    n = find_lower_words(data, start, end, TABLES, words, classes)
    edges = words.edges[: 2 * n].reshape(-1, 2)
    assert [words.text[a:b].tobytes().decode() for a, b in edges] == definition(document)


@settings(deadline=None)
@given(kind=st.sampled_from(["auto", "word"]), document=DOCUMENTS, width=st.integers(1, 7), fill=st.integers(0, 255))
def test_shingles(kind, document, width, fill):
    data, start, end = surrounded(document, 1, 0)
    shingling = shingling_of(kind, width, end - start)
    shingling.words.text[:] = fill
    n = shingle_document(shingling, data, start, end)
    assert shingling.shingles[:n].tolist() == reference_shingles(document.encode(), kind, width)
