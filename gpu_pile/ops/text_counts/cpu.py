"""text_counts on the CPU: one pass over a document, in blocks of 64 bytes.

Classes of characters are masks (gpu_pile.text.blocks), and counting characters is counting bits. What is looked at one
by one is the end of a word, the end of a line and a colon. The passes are in scan, words, lines and urls.py; counts go
straight into the document's row, what goes on from block to block is in named tuples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gpu_pile.ops.text_counts.contract import XML_CHARS, C, text_counts
from gpu_pile.ops.text_counts.lines import Longest, count_lines, finish_lines, first_line
from gpu_pile.ops.text_counts.scan import count_block, count_ellipses
from gpu_pile.ops.text_counts.urls import count_urls, find_xml_header
from gpu_pile.ops.text_counts.words import LENGTHS, WordScratch, count_words, finish_words, no_word
from gpu_pile.text import unicode
from gpu_pile.text.blocks import BLOCK, classify, padded, read_only
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit, leaf
from gpu_pile.text.marks import Mark, MarkTables, mark_tables
from gpu_pile.types import Array


class Tables(NamedTuple):
    """What is looked up: classes of characters, and marks."""

    stage: Any
    leaves: Any
    marks: MarkTables


class Scratch(NamedTuple):
    """Memory that a thread uses again for each document; all zero between documents."""

    words: WordScratch
    classes: Any
    """int64[2, 256]: lines and pieces by the class of their last byte"""


@jit
def _count_document(data, begin, end, tables, scratch, row):
    row[:] = 0
    word, line = no_word(begin), first_line(begin)
    zero = np.int64(0)
    longest = Longest(zero, zero, zero)
    spaces = np.uint64(0)
    dots = zero
    counted_urls = np.int64(begin)
    # The end closes the last word: there is always a block in which it lies.
    for base in range(begin, end + 1, BLOCK):
        masks = classify(data, base, end)
        block, spaces = count_block(data, base, masks, spaces, (begin, row[C.chars]), tables, row)
        dots = count_ellipses(masks.dots, dots, row)
        word = count_words(data, block, word, tables.marks.words, scratch.words, row)
        line, longest = count_lines(data, block, line, longest, tables, scratch.classes, row)
        counted_urls = count_urls(data, masks.colons, base, counted_urls, end, row)
        if block.characters < XML_CHARS and masks.less_signs:
            find_xml_header(data, masks.less_signs, block, end, row)
    finish_words(tables.marks.words, scratch.words, row)
    finish_lines(data, end, line, longest, tables, scratch.classes, row)


@leaf
def _count(data, offsets, tables, scratch, out):
    for d in range(len(offsets) - 1):
        _count_document(data, offsets[d], offsets[d + 1], tables, scratch, out[d])


@text_counts.cpu
def cpu(text: TextColumn, marks: Sequence[Mark] = ()) -> Array:
    tables = Tables(unicode.FLAG_STAGE, unicode.FLAG_LEAVES, mark_tables(tuple(marks)))
    n_long = int(np.diff(text.offsets).max(initial=0)) // (LENGTHS + 1) + 1
    words = WordScratch(
        np.zeros(LENGTHS + 1, np.int64),
        np.empty(n_long, np.int64),
        np.zeros(tables.marks.words.columns.shape, np.int64),
    )
    out = np.empty((len(text), len(text_counts.columns) + len(marks)), np.int64)
    _count(
        read_only(padded(text.data)), read_only(text.offsets), tables, Scratch(words, np.zeros((2, 256), np.int64)), out
    )
    return out
