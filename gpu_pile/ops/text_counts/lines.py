"""Lines in the pass over a text on the CPU: where they end, how long they are, and the marks at their ends.

Two kinds of lines are followed at once: those of split("\\n"), called lines, and those of str.splitlines(), called
pieces, of which a line has one or more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gpu_pile.ops.text_counts.contract import SHORT_CHARS, C, text_counts
from gpu_pile.ops.text_counts.scan import characters_before
from gpu_pile.text import unicode
from gpu_pile.text.blocks import below, lowest
from gpu_pile.text.jit import inlined, jit
from gpu_pile.text.marks import AT_END, SPLITLINES, Line, marks_at, may_have_marks
from gpu_pile.text.simd import byte_at, count_trailing_zeros, highest_bit

_0, _1 = np.uint64(0), np.uint64(1)
_N_COLUMNS = len(text_counts.columns)
_TERMINAL = unicode.TERMINAL
_NONE = np.int64(-1)


class OpenLine(NamedTuple):
    """What goes on from one block to the next; -1 for what there is not yet."""

    start: Any
    """of the line: its byte, and its character"""
    character: Any
    first: Any
    """of the line, but for its last piece: the first and the last character that is not white space"""
    last: Any
    piece: Any
    """where its last piece begins, and the first and the last character of that which is not white space"""
    piece_first: Any
    piece_last: Any


class Longest(NamedTuple):
    """The lengths of the three longest lines."""

    first: Any
    second: Any
    third: Any


@inlined
def first_line(begin):
    """The state before the first block."""
    begin = np.int64(begin)
    return OpenLine(begin, np.int64(0), _NONE, _NONE, begin, _NONE, _NONE)


@inlined
def with_length(longest, length):
    """The three longest lines, with one more line."""
    if length <= longest.third:
        return longest
    if length > longest.first:
        return Longest(length, longest.first, longest.second)
    if length > longest.second:
        return Longest(longest.first, length, longest.second)
    return Longest(longest.first, longest.second, length)


@inlined
def count_lines(data, block, line, longest, tables, classes, row):
    """Count the lines and pieces that end in a block. Returns (OpenLine, Longest) for the next one.

    classes: int64[2, 256], lines and pieces by the class of their last byte (gpu_pile.text.marks.LineTable).
    """
    inks, breaks = block.inks & ~block.tails, block.line_breaks
    while breaks:
        bit = lowest(breaks)
        breaks ^= bit
        i = block.base + count_trailing_zeros(bit)
        line = _with_inks(line, block.base, inks & below(bit))
        inks &= ~below(bit)
        line = _end_piece(data, line, i, tables.marks, classes, row)
        if block.line_feeds & bit:
            row[C.pieces] += i == block.begin or byte_at(data, i - 1) != ord("\r")
            character = characters_before(block, bit)
            longest = with_length(longest, character - line.character)
            if line.first >= 0:
                _count_line(data, line, i, character, tables, classes, row)
            line = OpenLine(i + 1, character + 1, _NONE, _NONE, i + 1, _NONE, _NONE)
        else:
            row[C.pieces] += 1
            after = i + unicode.sequence_length(byte_at(data, i))
            line = OpenLine(line.start, line.character, line.first, line.last, after, _NONE, _NONE)
    return _with_inks(line, block.base, inks), longest


@inlined
def finish_lines(data, end, line, longest, tables, classes, row):
    """Count the last line and piece of a document, and write the columns that need all lines."""
    line = _end_piece(data, line, end, tables.marks, classes, row)
    if line.first >= 0:
        _count_line(data, line, end, row[C.chars], tables, classes, row)
    longest = with_length(longest, row[C.chars] - line.character)
    row[C.pieces] += line.piece < end
    row[C.third_line_chars] = longest.third if row[C.newlines] > 1 else 0
    row[C.newline_lines] = row[C.newlines] + (line.start < end)
    _add_classes(tables.marks.lines.class_columns, classes[0], row)
    _add_classes(tables.marks.pieces.class_columns, classes[1], row)


@inlined
def _with_inks(line, base, inks):
    """An open line with further characters that are not white space, whose first bytes are bits of a block."""
    first, last = line.piece_first, line.piece_last
    if inks:
        if first < 0:
            first = base + count_trailing_zeros(inks)
        last = base + highest_bit(inks)
    return OpenLine(line.start, line.character, line.first, line.last, line.piece, first, last)


@inlined
def _end_piece(data, line, end, marks, classes, row):
    """Count a piece that ends at data[end]. Returns the line with that piece."""
    if line.piece_first < 0:
        return line
    piece = Line(line.piece, end, line.piece_first, line.piece_last)
    if may_have_marks(data, piece, marks.pieces):
        _add_marks(data, piece, SPLITLINES, marks.marks, row)
    else:
        classes[1, marks.pieces.classes[byte_at(data, piece.last)]] += 1
    first = line.piece_first if line.first < 0 else line.first
    return OpenLine(line.start, line.character, first, line.piece_last, line.piece, line.piece_first, line.piece_last)


@inlined
def _count_line(data, line, end, character, tables, classes, row):
    """Count a line that is not blank and ends at data[end], before this character."""
    row[C.nonblank_lines] += 1
    row[C.short_lines] += character - line.character <= SHORT_CHARS
    row[C.terminal_lines] += _ends_terminal(data, end, tables)
    whole = Line(line.start, end, line.first, line.last)
    if may_have_marks(data, whole, tables.marks.lines):
        _add_marks(data, whole, 0, tables.marks.marks, row)
    else:
        classes[0, tables.marks.lines.classes[byte_at(data, whole.last)]] += 1


@inlined
def _ends_terminal(data, end, tables):
    """Whether the character before data[end] is TERMINAL; in ASCII, those are . ! ?"""
    b = byte_at(data, end - 1)
    if b >= unicode.BEYOND_ASCII:
        return _is_terminal(data, end, tables)
    return b in (ord("."), ord("!"), ord("?"))


@jit
def _is_terminal(data, end, tables):
    """Whether the character before data[end], which is beyond ASCII, is TERMINAL."""
    c, _ = unicode.decode_at(data, unicode.character_start(data, end - 1))
    return unicode.table_value(tables.stage, tables.leaves, c) & _TERMINAL != 0


@jit
def _add_marks(data, line, kind, marks, row):
    """Count the marks at both ends of a line. kind: SPLITLINES for pieces, 0 for lines."""
    columns = marks_at(data, line, kind, marks) | marks_at(data, line, kind | AT_END, marks)
    while columns:
        row[_N_COLUMNS + count_trailing_zeros(columns)] += 1
        columns &= columns - _1


@jit
def _add_classes(class_columns, counts, row):
    """Add the lines that were counted by the class of their last byte; the counts are 0 afterwards."""
    for k in range(len(class_columns)):
        columns = class_columns[k]
        while columns:
            row[_N_COLUMNS + count_trailing_zeros(columns)] += counts[k]
            columns &= columns - _1
        counts[k] = 0
