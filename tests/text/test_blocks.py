"""Blocks of 64 bytes: what the classes of ASCII take for granted, and every mask at every place of a block."""

import numpy as np
import pytest
from numba import njit

from gpu_pile.text import blocks, unicode, unicode_reference

ASCII = [chr(c) for c in range(128)]
CLASSES = {
    "letters": blocks.LETTERS,
    "capitals": blocks.CAPITALS,
    "digits": blocks.DIGITS,
    "spaces": blocks.SPACES,
    "blanks": " ",
    "tabs": "\t",
    "backspaces": "\b",
    "line_feeds": "\n",
    "returns": "\r",
    "line_breaks": blocks.LINE_BREAKS,
    "fasttext_spaces": blocks.FASTTEXT_SPACES,
    "dots": ".",
    "hashes": "#",
    "colons": ":",
    "less_signs": "<",
    "brackets": blocks.BRACKETS,
    "prose_marks": blocks.PROSE_MARKS,
    "sentence_marks": blocks.SENTENCE_MARKS,
    "beyond": blocks.BEYOND,
    "tails": blocks.TAILS,
}


@njit
def masks_of(data, i, end):
    return blocks.classify(data, i, end)


@njit
def characters_of(data, leads, stage, leaves):
    return blocks.beyond_ascii(data, 0, leads, stage, leaves)


def having(flag):
    return "".join(c for c in ASCII if unicode_reference.flags(c) & flag)


def test_classes_of_ascii_are_those_of_unicode():
    assert sorted(blocks.LETTERS) == sorted(having(unicode.ALPHA))
    assert sorted(blocks.CAPITALS) == sorted(having(unicode.UPPER))
    for flag in (unicode.NUMERIC, unicode.DECIMAL, unicode.DIGIT):
        assert having(flag) == blocks.DIGITS
    assert having(unicode.SPACE) == blocks.SPACES
    assert having(unicode.LINE_BREAK) == blocks.LINE_BREAKS
    assert set(blocks.PROSE_MARKS + blocks.BRACKETS + blocks.SENTENCE_MARKS) <= set(having(unicode.PUNCTUATION))


def test_every_line_break_begins_with_one_of_the_bytes_looked_for():
    breaks = [chr(c) for c in range(0x110000) if unicode_reference.flags(chr(c)) & unicode.LINE_BREAK]
    assert {chr(c.encode()[0]) for c in breaks} == set(blocks.LINE_BREAK_STARTS)


@pytest.mark.parametrize("shift", [0, 1, 63, 64, 200])
@pytest.mark.parametrize("size", [0, 1, 37, 63, 64])
def test_masks_are_what_bytes_say(shift, size):
    """A block at the end of a buffer is read from further ahead; bytes beyond `end` are in no class."""
    data = np.random.default_rng(size).permutation(np.tile(np.arange(256, dtype=np.uint8), 2))[: max(64, shift + size)]
    masks = masks_of(data, shift, min(shift + size, len(data)))
    text = data[shift : min(shift + size, len(data))]
    assert set(CLASSES) == set(masks._fields) - {"valid"}
    assert int(masks.valid) == (1 << len(text)) - 1
    for name, characters in CLASSES.items():
        expected = sum(1 << k for k, byte in enumerate(text) if chr(byte) in characters)
        assert int(getattr(masks, name)) == expected, name


def test_characters_beyond_ascii_are_looked_up():
    text = "aé…\u2028\u3000٣⟨２Ä。漢๑"
    data = blocks.padded(np.frombuffer(text.encode(), np.uint8))
    position = {c: len(text[: text.index(c)].encode()) for c in text}
    leads = sum(1 << position[c] for c in text[1:])
    found = characters_of(data, np.uint64(leads), unicode.FLAG_STAGE, unicode.FLAG_LEAVES)

    def bits(characters, length=1):
        return sum(((1 << length) - 1) << position[c] for c in characters)

    assert int(found.letters) == bits("éÄ漢")
    assert int(found.plain) == bits("é٣⟨２Ä漢๑")
    assert int(found.ellipses) == bits("…")
    assert int(found.line_breaks) == bits("\u2028")
    assert int(found.spaces) == bits("\u2028\u3000", 3)
    assert (found.n_numeric, found.n_upper, found.n_spaces, found.n_punctuation) == (3, 1, 2, 2)
    assert (found.n_unspaced, found.n_brackets, int(found.spaces_after)) == (1, 1, 0)


def test_white_space_may_lie_in_two_blocks():
    data = np.frombuffer(("x" * 62 + "\u3000" + "x" * 64).encode(), np.uint8)
    found = characters_of(data, np.uint64(1 << 62), unicode.FLAG_STAGE, unicode.FLAG_LEAVES)
    assert (int(found.spaces), int(found.spaces_after)) == (3 << 62, 1)
