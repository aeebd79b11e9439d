"""Words in the pass over a text on the CPU: where they begin and end in a block, what they are made of, how long."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gpu_pile.ops.text_counts.contract import C, text_counts
from gpu_pile.ops.text_counts.scan import characters_before
from gpu_pile.text import unicode
from gpu_pile.text.blocks import below, last_bit, lowest, runs_of, runs_with
from gpu_pile.text.jit import inlined, jit
from gpu_pile.text.simd import count_ones, count_trailing_zeros, highest_bit, load_u64, swap_bytes

LENGTHS = 256
"""Words of fewer characters are counted by length, to find the median; the lengths of longer ones are listed."""

SYMBOL_BYTES = 7
"""Listed words of punctuation have no more bytes."""

_0, _1, _2, _3, _4 = (np.uint64(n) for n in range(5))
_60, _61, _62 = (np.uint64(n) for n in (60, 61, 62))
_CASE_BITS = np.uint64(int.from_bytes(4 * bytes([unicode.CASE_BIT]), "big"))
"""The bit of each of four ASCII letters that makes it small."""
_N_COLUMNS = len(text_counts.columns)


class OpenWord(NamedTuple):
    """What goes on from one block to the next."""

    inks: Any
    """of the block before: bytes that are not white space"""
    starts: Any
    """of the block before: where words begin"""
    has_plain: Any
    """carries of runs_with"""
    has_letter: Any
    has_symbol: Any
    start: Any
    """where the last word begins: its byte, and its character"""
    character: Any


@inlined
def no_word(begin):
    """The state before the first block."""
    return OpenWord(_0, _0, _0, _0, _0, np.int64(begin), np.int64(0))


class WordScratch(NamedTuple):
    """Memory that a thread uses again for each document; all zero between documents, but for `long`."""

    lengths: Any
    """int64[LENGTHS + 1]: words of each length; the last number is that of all longer ones"""
    long: Any
    """int64[]: the lengths of those"""
    listed: Any
    """int64[2, slots]: how often each listed word occurs, in its own spelling and in any case"""


@inlined
def count_words(data, block, word, marks, scratch, row):
    """Count the words that end in a block. Returns the OpenWord for the next one."""
    runs = runs_of(block.inks, last_bit(word.inks))
    plain_ends, has_plain = runs_with(block.inks, block.plain, word.has_plain)
    letter_ends, has_letter = runs_with(block.inks, block.letters, word.has_letter)
    symbol_ends = has_symbol = _0
    if block.symbols | word.has_symbol:
        symbol_ends, has_symbol = runs_with(block.inks, block.symbols, word.has_symbol)
        row[C.symbol_words] += count_ones(symbol_ends)
    characters = count_ones(block.inks & ~block.tails)
    row[C.words] += count_ones(runs.ends)
    row[C.word_chars] += characters
    row[C.plain_word_chars] += characters
    row[C.plain_words] += count_ones(plain_ends)
    row[C.alpha_words] += count_ones(letter_ends)
    rare = runs.ends & ~plain_ends | symbol_ends
    while rare:
        bit = lowest(rare)
        rare ^= bit
        ended = _word_before(block, bit, runs.starts & below(bit), word)
        if plain_ends & bit == _0:
            row[C.plain_word_chars] -= ended.characters
            _count_symbol(data, ended, marks, scratch.listed)
        row[C.hash_words] += 2 * _hash_runs(data, ended.start, ended.end) > ended.characters
    _count_short_words(data, block, runs, word, marks, scratch.listed)
    start, character = _count_lengths(block, runs, word, scratch)
    return OpenWord(block.inks, runs.starts, has_plain, has_letter, has_symbol, start, character)


class EndedWord(NamedTuple):
    """The word data[start:end]."""

    start: Any
    end: Any
    characters: Any


@inlined
def _word_before(block, bit, starts, word):
    """The word that ends before a bit. starts: where words begin before it; word: the last one of the block before."""
    start, first = word.start, word.character
    if starts:
        k = highest_bit(starts)
        start, first = block.base + k, characters_before(block, _1 << np.uint64(k))
    return EndedWord(start, block.base + count_trailing_zeros(bit), characters_before(block, bit) - first)


@inlined
def _count_symbol(data, ended, words, listed):
    """Look up a word of punctuation alone."""
    n = ended.end - ended.start
    if n <= SYMBOL_BYTES:
        key = _key(data, ended.start, ended.end) | np.uint64(n) << np.uint64(56)
        _count_listed(key, key, words, listed)


@jit
def _hash_runs(data, start, end):
    """Runs of # in data[start:end]."""
    runs = 0
    for i in range(start, end):
        runs += data[i] == ord("#") and (i == start or data[i - 1] != ord("#"))
    return runs


@jit
def _key(data, start, end):
    """The bytes data[start:end], one to eight, as a number: the first one highest."""
    if end >= 8:
        shift = np.uint64(64 - 8 * (end - start))
        return (swap_bytes(load_u64(data, end - 8)) << shift) >> shift
    key = np.uint64(0)
    for k in range(start, end):
        key = (key << np.uint64(8)) | np.uint64(data[k])
    return key


@inlined
def _count_listed(key, small, words, listed):
    """Count a word if it is listed; small: its key with small letters."""
    slot = small * words.factor >> words.shift
    if words.keys[slot] == small:
        listed[0, slot] += key == small
        listed[1, slot] += 1


@inlined
def _count_short_words(data, block, runs, word, words, listed):
    """Look up the words of 2 to 4 bytes that end in a block."""
    inks, starts = block.inks, runs.starts
    second = inks << _2 | word.inks >> _62  # whether the second byte before belongs to a word
    third = second & (inks << _3 | word.inks >> _61)
    of_two = runs.ends & (starts << _2 | word.starts >> _62)
    of_three = runs.ends & second & (starts << _3 | word.starts >> _61)
    of_four = runs.ends & third & (starts << _4 | word.starts >> _60)
    short = of_two | of_three | of_four
    while short:
        bit = lowest(short)
        short ^= bit
        end = block.base + count_trailing_zeros(bit)
        n = 2 + np.int64(of_three & bit != _0) + 2 * np.int64(of_four & bit != _0)
        key = _key(data, end - n, end)
        # listed words are letters: what becomes one of them by this bit is the letter or its capital
        _count_listed(key, key | _CASE_BITS >> np.uint64(8 * (4 - n)), words, listed)


@inlined
def _count_lengths(block, runs, word, scratch):
    """Count the words that end in a block by length. Returns where the last one begins: (byte, character)."""
    starts, ends = runs.starts, runs.ends
    start, first = word.start, word.character
    if last_bit(word.inks) == _0:
        bit = lowest(starts)
        starts ^= bit
        start, first = block.base + count_trailing_zeros(bit), characters_before(block, bit)
    while ends:
        bit = lowest(ends)
        ends ^= bit
        length = characters_before(block, bit) - first
        if length < LENGTHS:
            scratch.lengths[np.uint64(length)] += 1
        else:
            scratch.long[scratch.lengths[LENGTHS]] = length
            scratch.lengths[LENGTHS] += 1
        bit = lowest(starts)
        starts ^= bit
        start, first = block.base + count_trailing_zeros(bit), characters_before(block, bit)
    return start, first


@jit
def finish_words(words, scratch, row):
    """Write the columns that need all words of a document; the scratch is all zero afterwards."""
    _write_lengths(scratch.lengths, scratch.long, row)
    different = np.uint32(0)
    for case in range(2):
        for slot in range(len(words.keys)):
            n = scratch.listed[case, slot]
            if n:
                scratch.listed[case, slot] = 0
                different |= words.distinct[case, slot]
                columns = words.columns[case, slot]
                while columns:
                    row[_N_COLUMNS + count_trailing_zeros(columns)] += n
                    columns &= columns - _1
    if different:
        for k in range(len(words.distinct_rows)):
            row[_N_COLUMNS + k] += count_ones(np.uint64(different & words.distinct_rows[k]))


@jit
def _write_lengths(lengths, long, row):
    """Twice the median and the longest of the words' lengths."""
    low, high = (row[C.words] - 1) // 2, row[C.words] // 2  # positions of the two middle words in order of length
    n_long = lengths[LENGTHS]
    n_short = row[C.words] - n_long
    shorter = twice = longest = 0
    for length in range(LENGTHS):
        if shorter == n_short:
            break
        n = lengths[length]
        if n:
            twice += length * (np.int64(shorter <= low < shorter + n) + np.int64(shorter <= high < shorter + n))
            shorter += n
            longest = length
            lengths[length] = 0
    if n_long:
        lengths[LENGTHS] = 0
        _sort(long, n_long)
        longest = long[n_long - 1]
        if low >= n_short:
            twice += long[low - n_short]
        if high >= n_short:
            twice += long[high - n_short]
    row[C.twice_median_word], row[C.longest_word] = twice, longest


@jit
def _sort(values, n):
    """Sort values[:n] in place (Shell's method; numba's own sort allocates, and takes seconds to compile)."""
    gap = n // 2
    while gap:
        for i in range(gap, n):
            value = values[i]
            j = i
            while j >= gap and values[j - gap] > value:
                values[j] = values[j - gap]
                j -= gap
            values[j] = value
        gap //= 2
