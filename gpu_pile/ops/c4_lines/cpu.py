"""c4_lines on the CPU: lines one after the other, each looked at in blocks of 64 bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gpu_pile.ops.c4_lines.contract import WORD_CHARS_MAX, WORDS_MIN, C, c4_lines
from gpu_pile.ops.c4_lines.phrases import NEEDS_CLEANING, verdict_on
from gpu_pile.ops.c4_lines.sentences import SLOTS, count_sentences
from gpu_pile.text import unicode
from gpu_pile.text.blocks import BLOCK, LINE_BREAK_STARTS, block, lowest, padded, read_only
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import inlined, jit, leaf
from gpu_pile.text.simd import byte_at, bytes_of_64, count_trailing_zeros, starts_with
from gpu_pile.text.unicode import BEYOND_ASCII

_SPACE, _DECIMAL, _LINE_BREAK = unicode.SPACE, unicode.DECIMAL, unicode.LINE_BREAK
_0 = np.uint64(0)
_EDIT, _NEEDED = (np.frombuffer(text, np.uint8).copy() for text in (b"edit]", b"citation needed]"))
_MAY_END = np.isin(np.arange(256), list(b".?!\"']"))
"""Whether a line that ends in a byte may be kept; it ends in ] if a citation is there."""


class Tables(NamedTuple):
    """What is looked up: classes of characters, and the keys of abbreviations."""

    stage: Any
    leaves: Any
    abbreviations: Any


class Kept(NamedTuple):
    """Where kept lines go."""

    text: Any
    """uint8[]; a line without its citations is put together here in any case"""
    written: Any
    """the same memory, to be read from; see read_only"""
    wanted: Any
    """bool: the text is part of the result"""


class Breaks(NamedTuple):
    """Places in a block at which a line break may begin, and that are still to be looked at."""

    base: Any
    places: Any


class Judged(NamedTuple):
    """What becomes of a line."""

    verdict: Any
    cleaned: Any
    """its text without citations is kept.text[start:stop]; otherwise it had none"""
    start: Any
    """where its text goes in kept.text"""
    stop: Any


@inlined
def _is_ink(b):
    """Whether a byte is certain to be no white space: a character of ASCII that can be seen."""
    return ord("!") <= b <= ord("~")


@inlined
def _breaks_at(data, base, end):
    """The Breaks of the block at data[base]."""
    at, shift, valid = block(data, base, end)
    return Breaks(base, bytes_of_64(data, at, LINE_BREAK_STARTS) >> shift & valid)


@jit
def _break_length(data, i, end, tables):
    """Bytes of the line break at data[i], a byte of LINE_BREAK_STARTS; 0 if there is none."""
    b = byte_at(data, i)
    if b < BEYOND_ASCII:
        return 2 if b == ord("\r") and i + 1 < end and data[i + 1] == ord("\n") else 1
    c, n = unicode.decode_at(data, i)
    return n if unicode.table_value(tables.stage, tables.leaves, c) & _LINE_BREAK else 0


@inlined
def _next_break(data, i, end, breaks, tables):
    """(where the line that begins at data[i] ends, where the next one begins, the Breaks after that)."""
    base, places = breaks
    while base < end:
        if places == _0:
            base, places = _breaks_at(data, min(base + BLOCK, end), end)
            continue
        bit = lowest(places)
        places ^= bit
        p = base + count_trailing_zeros(bit)
        n = _break_length(data, p, end, tables)
        if n and p >= i:  # before i is the line feed of \r\n
            return p, p + n, Breaks(base, places)
    return end, end, Breaks(base, places)


@jit
def _strip(data, i, end, tables):
    """Where data[i:end] begins and ends without white space around it."""
    while i < end:
        c, n = unicode.decode_at(data, i)
        if unicode.table_value(tables.stage, tables.leaves, c) & _SPACE == 0:
            break
        i += n
    while end > i:
        last = unicode.character_start(data, end - 1)
        c, _ = unicode.decode_at(data, last)
        if unicode.table_value(tables.stage, tables.leaves, c) & _SPACE == 0:
            break
        end = last
    return i, end


@jit
def _count_words(line, i, end, enough, tables):
    """(words of line[i:end] but no more than `enough`, whether one of those is longer than WORD_CHARS_MAX)."""
    words = length = 0
    while i < end and words + (length == 0) <= enough:
        c, n = unicode.decode_at(line, i)
        i += n
        if unicode.table_value(tables.stage, tables.leaves, c) & _SPACE:
            length = 0
        else:
            words += length == 0
            length += 1
            if length > WORD_CHARS_MAX:
                return words, True
    return words, False


@jit
def _citation_end(data, i, end, tables):
    """Where the citation ends whose bracket is data[i]; i if it is not one."""
    if i + 5 < end and data[i + 1] == ord("e") and starts_with(data, i + 1, end, _EDIT):
        return i + 1 + len(_EDIT)
    if data[min(i + 1, end - 1)] == ord("c") and starts_with(data, i + 1, end, _NEEDED):
        return i + 1 + len(_NEEDED)
    j = i + 1
    while j < end:
        c, n = unicode.decode_at(data, j)
        if unicode.table_value(tables.stage, tables.leaves, c) & _DECIMAL == 0:
            break
        j += n
    return j + 1 if j < end and data[j] == ord("]") else i


@jit
def _clean(data, i, end, tables, out, o):
    """Copy data[i:end] to out[o:] without citations; returns where the copy ends."""
    while i < end:
        b = data[i]
        after = _citation_end(data, i, end, tables) if b == ord("[") else i
        if after > i:
            i = after
            continue
        out[o] = b
        o += 1
        i += 1
    return o


@jit
def _judge(data, first, last, start, tables, kept):
    """What becomes of the stripped line data[first:last]. start: where in kept.text its text goes."""
    if last - first > WORD_CHARS_MAX and _count_words(data, first, last, last - first, tables)[1]:
        return Judged(C.too_long_word, False, start, start)
    verdict, cleaned, stop = C.no_terminal, False, start
    if first < last and _MAY_END[byte_at(data, last - 1)]:
        verdict = verdict_on(data, first, last, False)
    if verdict == NEEDS_CLEANING:
        cleaned = True
        stop = _clean(data, first, last, tables, kept.text, start)
        verdict = verdict_on(kept.written, start, stop, True)
    if verdict > C.too_few_words and _count_words(data, first, last, WORDS_MIN, tables)[0] < WORDS_MIN:
        verdict = C.too_few_words
    return Judged(verdict, cleaned, start, stop)


@jit
def _keep(data, first, last, judged, tables, kept, row):
    """Count a kept line, and put its text at judged.start. Returns where it ends there."""
    is_first = row[C.kept] == 1
    start, stop = judged.start, judged.stop
    if judged.cleaned:
        row[C.sentences] += count_sentences(kept.written, start, stop, tables)
        if is_first:
            # the joined text is stripped: a citation may have stood before a space
            skipped = _strip(kept.written, start, stop, tables)[0] - start
            stop -= skipped
            if skipped:
                for k in range(start, stop):
                    kept.text[k] = kept.text[k + skipped]
    else:
        row[C.sentences] += count_sentences(data, first, last, tables)
        stop = start + last - first
        if kept.wanted:
            for k in range(last - first):
                kept.text[start + k] = data[first + k]
    row[C.kept_bytes] += stop - start + (not is_first)
    if kept.wanted and not is_first:
        kept.text[start - 1] = ord("\n")
    return stop


@jit
def _read_document(data, i, end, total, tables, kept, row):
    """Count the lines of a document. Returns where its kept text ends, which begins at kept.text[total]."""
    breaks = _breaks_at(data, i, end)
    while i < end:
        first, (last, i, breaks) = i, _next_break(data, i, end, breaks, tables)
        if first < last and not (_is_ink(byte_at(data, first)) and _is_ink(byte_at(data, last - 1))):
            first, last = _strip(data, first, last, tables)
        row[C.lines] += 1
        # a line feed before it, if it is not the first kept line
        judged = _judge(data, first, last, total + (row[C.kept] > 0), tables, kept)
        row[judged.verdict] += 1
        if judged.verdict == C.kept:
            stop = _keep(data, first, last, judged, tables, kept, row)
            total = stop if kept.wanted else total
        elif judged.verdict in (C.lorem, C.curly):
            break
    return total


@leaf
def _read_lines(data, offsets, tables, kept, counts, bounds):
    total = 0
    for d in range(len(offsets) - 1):
        counts[d, :] = 0
        total = _read_document(data, offsets[d], offsets[d + 1], total, tables, kept, counts[d])
        bounds[d + 1] = total


@c4_lines.cpu
def cpu(text: TextColumn, kept_text: bool = False) -> Any:
    counts = np.empty((len(text), len(c4_lines.columns)), np.int64)
    longest = int(np.diff(text.offsets).max(initial=0))
    # a kept line is never longer than it was, and each needs one byte more, which its line break had
    room = np.empty((text.n_bytes if kept_text else longest + 1) + BLOCK, np.uint8)
    kept = Kept(room, read_only(room), kept_text)
    bounds = np.zeros(len(text) + 1, np.int64)
    tables = Tables(unicode.FLAG_STAGE, unicode.FLAG_LEAVES, SLOTS)
    _read_lines(read_only(padded(text.data)), read_only(text.offsets), tables, kept, counts, bounds)
    return (counts, kept.text[: bounds[-1]].copy(), bounds) if kept_text else counts
