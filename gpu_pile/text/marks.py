"""Marks: what published rule sets look for at the ends of lines and among words, as data.

A rule set declares rows, and text_counts counts one column for each, all in its one pass over the text:

    LineStarts("my_bullet_lines", "•-")                            lines that begin with one of these marks
    LineEnds("my_ellipsis_lines", ("...", "…"))                    lines that end with one of these marks
    WordSet("my_stop_words", ("the", "of"), any_case=True)         words that are one of a set

`mark_tables` compiles rows to the tables that the CPU and the CUDA kernels read. Marks of lines are found by the one
character of theirs that a line can be asked for at once: the first of a start, the last of an end. Listed words are
found by their bytes. Both in a table without collisions, so that a further row costs nothing but what it finds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.jit import inlined, jit
from gpu_pile.text.simd import byte_at, slot_table
from gpu_pile.types import Array

MARKS_MAX = 64
"""Rows of one call: a row is a bit of 64."""

DISTINCT_MAX = 32
"""Words of all rows that count how many different words occur: a word is a bit of 32."""


@dataclass(frozen=True)
class LineMarks:
    r"""Lines that have one of some marks at one end.

    Args:
        name: of the column.
        marks: what the line has there; each without white space at its ends and without line breaks.
        splitlines: lines are those of str.splitlines(); otherwise those of split("\n").
        stripped: white space around the line is left out first.
        any_case: ASCII letters of the line may be capitals where the mark has small ones.
    """

    name: str
    marks: tuple[str, ...] | str
    splitlines: bool = False
    stripped: bool = True
    any_case: bool = False
    at_end: ClassVar[bool]

    def __post_init__(self) -> None:
        object.__setattr__(self, "marks", tuple(self.marks))
        for mark in self.marks:
            breaks = any(unicode_reference.flags(c) & unicode.LINE_BREAK for c in mark)
            if not mark or breaks or mark != unicode_reference.strip(mark):
                raise ValueError(f"{self.name}: mark {mark!r} is empty, or has a line break or white space at its ends")
            if self.any_case and mark != ascii_lower(mark):
                raise ValueError(f"{self.name}: mark {mark!r} has capitals, but any_case compares with small letters")


class LineStarts(LineMarks):
    """Lines that begin with one of some marks."""

    at_end = False


class LineEnds(LineMarks):
    """Lines that end with one of some marks."""

    at_end = True


@dataclass(frozen=True)
class WordSet:
    """Words, which are runs without white space, that are one of some words.

    Args:
        name: of the column.
        words: each of 2 to 4 small ASCII letters, or of 1 to 7 bytes of punctuation. Those are the words that the pass
            over a text can see without reading every word (docs/decisions/0016-marks-as-data.md).
        any_case: ASCII letters may be capitals.
        distinct: count how many of the words occur, rather than all occurrences.
    """

    name: str
    words: tuple[str, ...]
    any_case: bool = False
    distinct: bool = False

    def __post_init__(self) -> None:
        for word in self.words:
            letters = word.isascii() and word.isalpha() and word.islower() and 2 <= len(word) <= 4
            marks = all(unicode_reference.flags(c) & unicode.PUNCTUATION for c in word) and 1 <= len(word.encode()) <= 7
            if not (letters or (marks and unicode_reference.split(word) == [word])):
                raise ValueError(
                    f"{self.name}: word {word!r} is neither 2 to 4 small ASCII letters nor 1 to 7 bytes of punctuation"
                )


Mark = LineMarks | WordSet


def ascii_lower(text: str) -> str:
    """The text with the capitals A to Z as small letters."""
    return "".join(c.lower() if c.isascii() else c for c in text)


# tables


class LineTable(NamedTuple):
    """Whether a line may have a mark, by its first and last bytes that are not white space.

    The line must be looked at if first[its first byte] or last[b] & before[the byte before b], where b begins its last
    character. If it need not be, its last byte alone says what it counts for: class_columns[classes[b]].
    """

    first: Any  # uint8[256]
    last: Any  # uint8[256]
    before: Any  # uint8[256]
    classes: Any  # uint8[256]
    class_columns: Any  # uint64[n], a bit per column; class 0 is for nothing


class Marks(NamedTuple):
    """The marks of lines by their first or last character: those in slot s are bounds[s] up to bounds[s + 1]."""

    keys: Any  # uint64[slots], code point | kind << KIND_SHIFT
    factor: Any  # uint64
    shift: Any  # uint64
    bounds: Any  # int64[slots + 1]
    bytes: Any  # uint8[n], of all marks
    offsets: Any  # int64[n_marks + 1]
    columns: Any  # uint64[n_marks], one bit
    flags: Any  # uint8[n_marks], RAW and ANY_CASE


class Words(NamedTuple):
    """The listed words in a table without collisions."""

    keys: Any  # uint64[slots], see word_key
    factor: Any  # uint64
    shift: Any  # uint64
    columns: Any  # uint64[2, slots], a bit per column: for the word in this spelling, in any case
    distinct: Any  # uint32[2, slots], a bit per word of a row that counts different words
    distinct_rows: Any  # uint32[n_columns], those bits of a column


class MarkTables(NamedTuple):
    """What the passes over a text read about marks. Column k of a table is bit k of a mask."""

    lines: LineTable
    pieces: LineTable
    marks: Marks
    words: Words


AT_END, SPLITLINES = 1, 2
"""The kind of a mark: bits of its key above the code point."""
KIND_SHIFT = 24
RAW, ANY_CASE = 1, 2


@cache
def mark_tables(rows: tuple[Mark, ...]) -> MarkTables:
    """Compile rows. Column k is for rows[k].

    Raises:
        ValueError: too many rows or words, or a name twice.
    """
    if len(rows) > MARKS_MAX or len({r.name for r in rows}) < len(rows):
        raise ValueError(f"expected at most {MARKS_MAX} rows of different names, got {len(rows)}")
    lines = [(1 << i, row) for i, row in enumerate(rows) if isinstance(row, LineMarks)]
    words = [(1 << i, row) for i, row in enumerate(rows) if isinstance(row, WordSet)]
    return MarkTables(
        _line_table([(bit, row) for bit, row in lines if not row.splitlines]),
        _line_table([(bit, row) for bit, row in lines if row.splitlines]),
        _marks(lines),
        _words(words, len(rows)),
    )


def _cases(mark: LineMarks, character: str) -> Iterable[str]:
    return {character, character.upper()} if mark.any_case and character.isascii() else {character}


def _line_table(rows: list[tuple[int, LineMarks]]) -> LineTable:
    first, last, before, classes = (np.zeros(256, np.uint8) for _ in range(4))
    columns: dict[int, int] = {}  # of lines by their last byte alone
    kinds: dict[int, int] = {}  # the byte that begins the last character -> the bit that stands for it
    for bit, row in rows:
        for mark in row.marks:
            for c in _cases(row, mark[-1] if row.at_end else mark[0]):
                byte = c.encode()[0]
                if not row.at_end:
                    first[byte] = 1
                elif len(mark) == 1 and c.isascii() and row.stripped:
                    columns[byte] = columns.get(byte, 0) | bit
                else:
                    kind = 1 << kinds.setdefault(byte, len(kinds) % 8)
                    last[byte] |= kind
                    for other in _bytes_before(row, mark):
                        before[other] |= kind
    sets = [0, *dict.fromkeys(columns.values())]
    for byte, bits in columns.items():
        classes[byte] = sets.index(bits)
    return LineTable(first, last, before, classes, np.array(sets, np.uint64))


def _bytes_before(row: LineMarks, mark: str) -> Iterable[int]:
    """The bytes that may stand before the last character of a mark."""
    return [c.encode()[-1] for c in _cases(row, mark[-2])] if len(mark) > 1 else range(256)


def _marks(rows: list[tuple[int, LineMarks]]) -> Marks:
    groups: dict[int, list[tuple[bytes, int, int]]] = {}
    for bit, row in rows:
        kind = AT_END * row.at_end | SPLITLINES * row.splitlines
        flags = RAW * (not row.stripped) | ANY_CASE * row.any_case
        for mark in row.marks:
            for c in _cases(row, mark[-1] if row.at_end else mark[0]):
                groups.setdefault(ord(c) | kind << KIND_SHIFT, []).append((mark.encode(), bit, flags))
    keys, factor, shift = _slots(groups)
    ordered = [groups.get(int(key), []) for key in keys]
    marks = [mark for group in ordered for mark in group]
    return Marks(
        keys,
        factor,
        shift,
        _sums(map(len, ordered)),
        np.frombuffer(b"".join(m for m, _, _ in marks) or b"\0", np.uint8).copy(),
        _sums(len(m) for m, _, _ in marks),
        np.array([bit for _, bit, _ in marks], np.uint64),
        np.array([flags for _, _, flags in marks], np.uint8),
    )


def _words(rows: list[tuple[int, WordSet]], n_columns: int) -> Words:
    keys, factor, shift = _slots({word_key(w.encode()) for _, row in rows for w in row.words})
    slot = {int(key): i for i, key in enumerate(keys)}
    columns = np.zeros((2, len(keys)), np.uint64)
    distinct = np.zeros((2, len(keys)), np.uint32)
    distinct_rows = np.zeros(n_columns, np.uint32)
    numbers: dict[tuple[int, int], int] = {}
    for bit, row in rows:
        for place in {(int(row.any_case), slot[word_key(w.encode())]) for w in row.words}:
            if not row.distinct:
                columns[place] |= np.uint64(bit)
                continue
            number = numbers.setdefault(place, len(numbers))
            if number == DISTINCT_MAX:
                raise ValueError(f"{row.name}: rows that count different words have more than {DISTINCT_MAX} in all")
            distinct[place] = 1 << number
            distinct_rows[bit.bit_length() - 1] |= np.uint32(1 << number)
    return Words(keys, factor, shift, columns, distinct, distinct_rows)


def _slots(keys: Iterable[int]) -> tuple[Array, np.uint64, np.uint64]:
    """(uint64[slots], factor, shift): each key alone in slot key * factor >> shift."""
    keys = set(keys)
    bits = max(4, (len(keys) ** 2 // 4).bit_length())
    return (*slot_table(keys, bits), np.uint64(64 - bits))


def _sums(lengths: Iterable[int]) -> Array:
    return np.cumsum([0, *lengths], dtype=np.int64)


def word_key(word: bytes) -> int:
    """A word as a number: its bytes, the first one highest; of other words than 2 to 4 letters the length on top."""
    number = int.from_bytes(word, "big")
    return number if word.isalpha() else number | len(word) << 56


# what the passes ask


class Line(NamedTuple):
    """A line data[start:end]; its first and last characters that are not white space begin at first and last."""

    start: Any
    end: Any
    first: Any
    last: Any


@inlined
def may_have_marks(data, line, table):
    """Whether a line must be looked at to know its marks."""
    before = table.before[byte_at(data, max(line.last - 1, 0))]
    return table.first[byte_at(data, line.first)] | table.last[byte_at(data, line.last)] & before


@jit
def _is_at(data, i, marks, k):
    """Whether mark k is at data[i]."""
    start = marks.offsets[k]
    fold = marks.flags[k] & ANY_CASE
    for j in range(marks.offsets[k + 1] - start):
        b = unicode.ascii_lower(data[i + j]) if fold else np.int64(data[i + j])
        if b != marks.bytes[start + j]:
            return False
    return True


@jit
def marks_at(data, line, kind, marks):
    """The columns of the marks at one end of a line, as bits. kind: AT_END or not, SPLITLINES or not."""
    at = line.last if kind & AT_END else line.first
    c, n = unicode.decode_at(data, at)
    key = np.uint64(c | kind << KIND_SHIFT)
    slot = np.int64(key * marks.factor >> marks.shift)
    columns = np.uint64(0)
    if marks.keys[slot] != key:
        return columns
    for k in range(marks.bounds[slot], marks.bounds[slot + 1]):
        length = marks.offsets[k + 1] - marks.offsets[k]
        i = at + n - length if kind & AT_END else at
        if i < line.start or i + length > line.end:
            continue
        if marks.flags[k] & RAW and (i + length != line.end if kind & AT_END else i != line.start):
            continue
        if _is_at(data, i, marks, k):
            columns |= marks.columns[k]
    return columns


# for kernels


@cache
def packed(rows: tuple[Mark, ...]) -> Array:
    """mark_tables(rows) as one uint64 array, for kernels/marks.cuh: numbers and places of arrays, then the arrays."""
    _, _, marks, words = mark_tables(rows)
    header: list[Any] = [
        marks.keys, int(marks.factor), int(marks.shift), marks.bounds, marks.bytes, marks.offsets, marks.columns,
        marks.flags, words.keys, int(words.factor), int(words.shift), len(words.keys), words.columns, words.distinct,
        words.distinct_rows, len(rows),
    ]  # fmt: skip
    numbers, arrays, place = [], [], len(header)
    for item in header:
        numbers.append(item if isinstance(item, int) else place)
        if not isinstance(item, int):
            arrays.append(item.astype(np.uint64).reshape(-1))
            place += item.size
    return np.concatenate([np.array(numbers, np.uint64), *arrays])
