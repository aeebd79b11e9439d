"""Sentences of a kept line on the CPU."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gpu_pile.ops.c4_lines.contract import ABBREVIATIONS, CLOSING
from gpu_pile.text import unicode
from gpu_pile.text.blocks import BLOCK, below, beyond_ascii, classify, last_bit, lowest, runs_of, runs_with
from gpu_pile.text.jit import inlined, jit
from gpu_pile.text.simd import count_trailing_zeros, highest_bit, slot_table
from gpu_pile.text.unicode import BEYOND_ASCII
from gpu_pile.types import Array

_0, _1 = np.uint64(0), np.uint64(1)
_ALL = ~_0
_ALPHA, _UPPER = unicode.ALPHA, unicode.UPPER
_SENTENCE_ENDS = tuple(ord(c) for c in "!?。！？")
_CLOSING_ASCII = tuple(ord(c) for c in CLOSING if c.isascii())
_CLOSING_BEYOND = tuple(ord(c) for c in CLOSING if not c.isascii())
KEY_BYTES = 7
"""Abbreviations have no more bytes: with their length on top they are numbers of 64 bits."""


def abbreviation_keys() -> Array:
    """uint64: the abbreviations as numbers, the last byte lowest, the highest byte their length."""
    return np.array([int.from_bytes(a.encode(), "big") | len(a) << 56 for a in ABBREVIATIONS], np.uint64)


SLOTS, _FACTOR = slot_table(map(int, abbreviation_keys()), 8)
"""The keys, each in slot key * _FACTOR >> 56."""


class _Text(NamedTuple):
    """A block of a line as sentences are found in it."""

    inks: Any
    """bytes that are not white space"""
    plain: Any
    """first bytes of what is neither white space nor punctuation"""
    marks: Any
    """bytes that a word may end a sentence with"""
    spaces_after: Any
    """bytes in the next block of white space that begins in this one"""


@inlined
def _read(line, base, end, spaces, tables):
    """The _Text of line[base:base + 64]; spaces: spaces_after of the block before."""
    masks = classify(line, base, end)
    plain, marks, spaces, spaces_after = masks.letters | masks.digits, masks.sentence_marks, spaces | masks.spaces, _0
    if masks.beyond:
        far = beyond_ascii(line, base, masks.beyond & ~masks.tails, tables.stage, tables.leaves)
        letters = far.letters  # and all their bytes
        for _ in range(3):
            letters |= letters << _1 & masks.tails
        marks |= masks.beyond & ~letters
        plain |= far.plain
        spaces |= far.spaces
        spaces_after = far.spaces_after
    return _Text(masks.valid & ~spaces, plain, marks, spaces_after)


@jit
def count_sentences(line, start, end, tables):
    """Sentences of line[start:end], which has one at least."""
    sentences = 1
    ended = False  # a word ended a sentence, if a plain one follows
    word = start  # where the word begins that goes on from block to block
    has_ink = has_plain = after_mark = spaces = _0
    for base in range(start, end + 1, BLOCK):
        text = _read(line, base, end, spaces, tables)
        spaces = text.spaces_after
        runs = runs_of(text.inks, has_ink)
        has_ink = last_bit(text.inks)
        plain_ends, has_plain = runs_with(text.inks, text.plain, has_plain)
        marked_ends = runs.ends & (text.marks << _1 | after_mark)
        after_mark = last_bit(text.marks)
        rest = _ALL
        while True:
            ends = (plain_ends if ended else marked_ends) & rest
            if ends == _0:
                break
            bit = lowest(ends)
            rest = _0 - bit  # from this word on
            if ended:
                sentences += 1
                ended = False
            else:
                own = runs.starts & below(bit)
                first = base + highest_bit(own) if own else word
                ended = _ends_sentence(line, first, base + count_trailing_zeros(bit), tables)
                rest ^= bit
        if runs.starts:
            word = base + highest_bit(runs.starts)
    return sentences


@jit
def _without_closing_marks(line, start, end):
    """(i, c): the last character of line[start:end] that is not a closing mark, at line[i]; (start, 0) if all are."""
    while end > start:
        end = unicode.character_start(line, end - 1)
        c, _ = unicode.decode_at(line, end)
        if not (c in _CLOSING_ASCII or c in _CLOSING_BEYOND):
            return end, c
    return start, 0


@jit
def _ends_sentence(line, start, end, tables):
    """Whether the word line[start:end] ends a sentence if another one follows."""
    end, c = _without_closing_marks(line, start, end)
    if c in _SENTENCE_ENDS:
        return True
    return c == ord(".") and not _is_abbreviation(line, start, end, tables)


@jit
def _has_flag(line, i, flag, tables):
    """Whether the character that holds the byte line[i] is of a class."""
    c, _ = unicode.decode_at(line, unicode.character_start(line, i))
    return unicode.table_value(tables.stage, tables.leaves, c) & flag != 0


@jit
def _is_between_letters(line, start, k, tables):
    """Whether the characters before and after the byte line[k] of a word are letters; line[k] is not its last byte."""
    return k > start and _has_flag(line, k - 1, _ALPHA, tables) and _has_flag(line, k + 1, _ALPHA, tables)


@jit
def _is_abbreviation(line, start, end, tables):
    """Whether the full stop at line[end], after the word line[start:end], does not end a sentence."""
    if end == start:
        return False
    if line[end - 1] == ord("."):
        return True
    key = np.uint64(0)
    ascii = True
    for k in range(start, end):
        b = line[k]
        if b == ord(".") and _is_between_letters(line, start, k, tables):
            return True
        ascii &= b < BEYOND_ASCII
        key = (key << np.uint64(8)) | np.uint64(unicode.ascii_lower(b))
    if unicode.character_start(line, end - 1) == start and _has_flag(line, start, _UPPER, tables):
        return True
    if not ascii or end - start > KEY_BYTES:
        return False
    key |= np.uint64(end - start) << np.uint64(56)
    return tables.abbreviations[key * _FACTOR >> np.uint64(56)] == key
