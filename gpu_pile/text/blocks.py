"""Text in blocks of 64 bytes, each class of characters as a mask of 64 bits: bit k stands for byte k. For numba.

`classify` compares all bytes of a block with the classes of ASCII at once. Characters beyond ASCII are looked up one by
one (`beyond_ascii`), and their bits are added to the masks. Whatever goes on from one block to the next (a word, white
space of several bytes) is carried in a variable of the caller.

A buffer has BLOCK bytes or more: `padded` sees to it.
"""

from __future__ import annotations

import string
from typing import Any, NamedTuple

import numpy as np

from gpu_pile.text import unicode
from gpu_pile.text.jit import inlined, jit
from gpu_pile.text.simd import bytes_of_64, count_trailing_zeros

BLOCK = 64

_0, _1, _63, _ALL = np.uint64(0), np.uint64(1), np.uint64(63), np.uint64(2**64 - 1)
_ALPHA, _NUMERIC, _SPACE, _LINE_BREAK = unicode.ALPHA, unicode.NUMERIC, unicode.SPACE, unicode.LINE_BREAK
_UPPER, _PUNCTUATION = unicode.UPPER, unicode.PUNCTUATION
_UNSPACED_LETTER = unicode.ALPHA | unicode.UNSPACED

# Classes of bytes. What a class is in Unicode terms holds within ASCII: tests/text/test_blocks.py asks the table.
LETTERS, CAPITALS, DIGITS = string.ascii_letters, string.ascii_uppercase, string.digits
SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f "
LINE_BREAKS = "\n\v\f\r\x1c\x1d\x1e"
FASTTEXT_SPACES = "\0\t\n\v\f\r "
BRACKETS = "()[]{}"
PROSE_MARKS = "!,?"
SENTENCE_MARKS = "!?.\"')]}"
TAILS = "".join(map(chr, range(0x80, 0xC0)))
LEADS = "".join(map(chr, range(0xC0, 0x100)))
BEYOND = TAILS + LEADS
LINE_BREAK_STARTS = LINE_BREAKS + "".join(chr(c.encode()[0]) for c in "\x85\u2028")
"""What a line break of str.splitlines() may begin with: others beyond ASCII begin with the same bytes."""
ELLIPSIS, LEFT_ANGLE, RIGHT_ANGLE = ord("…"), ord("⟨"), ord("⟩")


def padded(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the buffer itself, or a copy with zeros after it if it has fewer than BLOCK bytes."""
    return data if len(data) >= BLOCK else np.concatenate([data, np.zeros(BLOCK, np.uint8)])


def read_only(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A view that cannot be written through: numba compiles a function again for arrays that can."""
    view = array.view()
    view.setflags(write=False)
    return view


class Masks(NamedTuple):
    """The bytes of a block by class. A class that a caller does not use costs nothing: the compiler leaves it out."""

    valid: Any
    """bytes that are in the text: the others are after its end"""
    letters: Any
    capitals: Any
    digits: Any
    spaces: Any
    """white space of str.split()"""
    blanks: Any
    """the space character"""
    tabs: Any
    backspaces: Any
    line_feeds: Any
    returns: Any
    line_breaks: Any
    """the characters that str.splitlines() ends a line at"""
    fasttext_spaces: Any
    """what separates words for fastText"""
    dots: Any
    hashes: Any
    colons: Any
    less_signs: Any
    brackets: Any
    prose_marks: Any
    """! , ?"""
    sentence_marks: Any
    """what an ASCII sentence ends with: its mark, or what closes a quotation or bracket after the mark"""
    beyond: Any
    """all bytes of characters beyond ASCII"""
    tails: Any
    """bytes of characters beyond ASCII but their first"""


@inlined
def block(data, i, end):
    """(at, shift, valid): bytes_of_64(data, at, ...) >> shift & valid is a mask of data[i:i + 64], cut off at end.

    i may be end: then the block is empty.
    """
    at = min(i, len(data) - BLOCK)
    valid = _ALL if end - i >= BLOCK else (_1 << np.uint64(end - i)) - _1
    return at, np.uint64(min(i - at, 63)), valid


@inlined
def classify(data, i, end):
    """The Masks of data[i:i + 64], cut off at end. i may be end: then all masks are empty."""
    at, shift, valid = block(data, i, end)
    return Masks(
        valid,
        bytes_of_64(data, at, LETTERS) >> shift & valid,
        bytes_of_64(data, at, CAPITALS) >> shift & valid,
        bytes_of_64(data, at, DIGITS) >> shift & valid,
        bytes_of_64(data, at, SPACES) >> shift & valid,
        bytes_of_64(data, at, " ") >> shift & valid,
        bytes_of_64(data, at, "\t") >> shift & valid,
        bytes_of_64(data, at, "\b") >> shift & valid,
        bytes_of_64(data, at, "\n") >> shift & valid,
        bytes_of_64(data, at, "\r") >> shift & valid,
        bytes_of_64(data, at, LINE_BREAKS) >> shift & valid,
        bytes_of_64(data, at, FASTTEXT_SPACES) >> shift & valid,
        bytes_of_64(data, at, ".") >> shift & valid,
        bytes_of_64(data, at, "#") >> shift & valid,
        bytes_of_64(data, at, ":") >> shift & valid,
        bytes_of_64(data, at, "<") >> shift & valid,
        bytes_of_64(data, at, BRACKETS) >> shift & valid,
        bytes_of_64(data, at, PROSE_MARKS) >> shift & valid,
        bytes_of_64(data, at, SENTENCE_MARKS) >> shift & valid,
        bytes_of_64(data, at, BEYOND) >> shift & valid,
        bytes_of_64(data, at, TAILS) >> shift & valid,
    )


# Runs of bits, such as words: they may begin in one block and end in another.


class Runs(NamedTuple):
    """Where runs begin and end: bits of their first bytes, and of the bytes just after their last ones.

    A run that ends with its block has its end at bit 0 of the next one.
    """

    starts: Any
    ends: Any


@inlined
def runs_of(bits, carry):
    """The Runs of set bits. carry: 1 if the block before ends with a set bit, which is `last_bit` of that block."""
    after = bits << _1 | carry
    return Runs(bits & ~after, after & ~bits)


@inlined
def last_bit(bits):
    """Bit 63 of a block as the carry into the next block."""
    return bits >> _63


@inlined
def runs_with(runs, seeds, carry):
    """Find the runs of set bits that contain a seed, which is itself a bit of a run.

    Returns (the bit just past each such run that ends here, the carry into the next block). The carry is 1 if a run
    with a seed goes on into the block, or ended with the block before.
    """
    # a seed added to its run carries to the bit just past the run
    once = runs + seeds
    twice = once + carry
    return twice & ~runs, np.uint64((once < runs) | (twice < once))


@inlined
def lowest(bits):
    """The lowest set bit, as a mask; 0 for 0."""
    return bits & (_0 - bits)


@inlined
def below(bit):
    """The bits below a single bit; all of them for 0."""
    return bit - _1


# Characters beyond ASCII


class Beyond(NamedTuple):
    """Characters beyond ASCII that begin in a block: masks of classes, then numbers of characters."""

    letters: Any
    plain: Any
    """neither punctuation nor white space"""
    ellipses: Any
    line_breaks: Any
    spaces: Any
    """all bytes of white space"""
    spaces_after: Any
    """bytes in the next block of white space that begins in this one"""
    n_numeric: Any
    n_upper: Any
    n_spaces: Any
    n_punctuation: Any
    n_unspaced: Any
    """letters of scripts without spaces between words"""
    n_brackets: Any


_COUNTED = (_NUMERIC, _UPPER, _SPACE, _PUNCTUATION)
_SETS = 1 << max(_COUNTED).bit_length()
_COUNTS = np.zeros(_SETS, np.uint64)
"""For each set of class bits, one byte per class of _COUNTED: 1 if the class is in the set."""
for _i, _class in enumerate(_COUNTED):
    _COUNTS |= np.where(np.arange(_SETS) & _class, np.uint64(1 << 8 * _i), _0)


@inlined
def _byte(sums, i):
    return np.int64(sums >> np.uint64(8 * i) & np.uint64(0xFF))


@jit
def beyond_ascii(data, base, leads, stage, leaves):
    """Look up the characters whose first bytes are the bits `leads` of the block at data[base], none of them ASCII.

    stage, leaves: the table of character classes.
    """
    letters = plain = ellipses = line_breaks = spaces = spaces_after = sums = _0
    brackets = unspaced = 0
    while leads:
        k = count_trailing_zeros(leads)
        bit = lowest(leads)
        leads ^= bit
        c, n = unicode.decode_at(data, base + k)
        flags = np.int64(unicode.table_value(stage, leaves, c))
        sums += _COUNTS[np.uint64(flags & (_SETS - 1))]
        unspaced += flags & _UNSPACED_LETTER == _UNSPACED_LETTER
        if flags & _SPACE:
            own = (_1 << np.uint64(n)) - _1
            spaces |= own << np.uint64(k)
            if k + n > BLOCK:
                spaces_after = own >> np.uint64(BLOCK - k)
            if flags & _LINE_BREAK:
                line_breaks |= bit
        else:
            if flags & _ALPHA:
                letters |= bit
            if flags & _PUNCTUATION == 0:
                plain |= bit
            elif c == ELLIPSIS:
                ellipses |= bit
        brackets += c in (LEFT_ANGLE, RIGHT_ANGLE)
    return Beyond(
        letters, plain, ellipses, line_breaks, spaces, spaces_after,
        _byte(sums, 0), _byte(sums, 1), _byte(sums, 2), _byte(sums, 3), unspaced, brackets,
    )  # fmt: skip
