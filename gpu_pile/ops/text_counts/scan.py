"""Characters in the pass over a text on the CPU: a block of 64 bytes is classified once for all that is counted."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gpu_pile.ops.text_counts.contract import C
from gpu_pile.text.blocks import BLOCK, below, beyond_ascii, last_bit
from gpu_pile.text.jit import inlined, jit
from gpu_pile.text.simd import count_ones, count_trailing_zeros

_0, _1 = np.uint64(0), np.uint64(1)


class Block(NamedTuple):
    """A block of a document, as words and lines are counted from it. Masks have first bytes, if not said otherwise."""

    begin: Any
    """where the document begins"""
    base: Any
    """where the block begins"""
    characters: Any
    """characters of the document before the block"""
    tails: Any
    """bytes of characters but their first"""
    inks: Any
    """all bytes of what is not white space"""
    plain: Any
    """neither punctuation nor white space"""
    letters: Any
    symbols: Any
    """# and …"""
    line_feeds: Any
    line_breaks: Any


@inlined
def characters_before(block, bit):
    """Characters of the document before the byte of this bit; for 0, all up to the end of the block."""
    return block.characters + count_trailing_zeros(bit) - count_ones(block.tails & below(bit))


@inlined
def count_block(data, base, masks, spaces_carry, place, tables, row):
    """Count the characters of a block. place: (where the document begins, characters before the block).

    Returns (Block, white space that goes on in the next block).
    """
    letters, plain, symbols = masks.letters, masks.letters | masks.digits, masks.hashes
    spaces, line_breaks, spaces_after = masks.spaces | spaces_carry, masks.line_breaks, _0
    _count_ascii(masks, row)
    if masks.beyond:
        far = beyond_ascii(data, base, masks.beyond & ~masks.tails, tables.stage, tables.leaves)
        _count_beyond(far, row)
        letters |= far.letters
        plain |= far.plain
        symbols |= far.ellipses
        line_breaks |= far.line_breaks
        spaces |= far.spaces
        spaces_after = far.spaces_after
    row[C.chars] += count_ones(masks.valid & ~masks.tails)
    row[C.alpha_chars] += count_ones(letters)
    inks = masks.valid & ~spaces
    begin, characters = place
    return (
        Block(
            begin, base, characters, masks.tails, inks, plain, letters, symbols, masks.line_feeds, line_breaks
        ),
        spaces_after,
    )  # fmt: skip


@inlined
def _count_ascii(masks, row):
    plain = masks.letters | masks.digits
    blanks = masks.blanks | masks.line_feeds | masks.tabs
    digits = count_ones(masks.digits)
    row[C.numeric_chars] += digits
    row[C.ascii_digit_chars] += digits
    row[C.upper_chars] += count_ones(masks.capitals)
    row[C.space_chars] += count_ones(masks.spaces)
    row[C.punctuation_chars] += count_ones(masks.valid & ~(masks.beyond | plain | blanks))
    row[C.bracket_chars] += count_ones(masks.brackets)
    row[C.ascii_prose_chars] += count_ones(plain | masks.prose_marks | masks.dots | masks.line_feeds)
    row[C.ascii_blank_chars] += count_ones(blanks | masks.backspaces | masks.returns)
    row[C.newlines] += count_ones(masks.line_feeds)
    row[C.hashes] += count_ones(masks.hashes)


@inlined
def _count_beyond(far, row):
    row[C.ellipses] += count_ones(far.ellipses)
    row[C.numeric_chars] += far.n_numeric
    row[C.upper_chars] += far.n_upper
    row[C.space_chars] += far.n_spaces
    row[C.punctuation_chars] += far.n_punctuation
    row[C.unspaced_letters] += far.n_unspaced
    row[C.bracket_chars] += far.n_brackets


@inlined
def count_ellipses(dots, run, row):
    """Count "..." without overlaps. Returns the dots at the end of the block that none has taken, 0 to 2.

    run: those just before the block.
    """
    two = dots & (dots << _1 | np.uint64(run > 0))
    if two & (two << _1 | np.uint64(run > 1)):
        found, run = _take_threes(dots, run)
        row[C.ellipses] += found
        return run
    return np.int64(last_bit(dots)) + np.int64(last_bit(two))


@jit
def _take_threes(dots, run):
    """(how many times three dots in a row, dots left at the end) of a block with `run` dots before it."""
    threes = 0
    for _ in range(BLOCK):
        run = run + 1 if dots & _1 else 0
        dots >>= _1
        if run == 3:
            threes += 1
            run = 0
    return threes, run
