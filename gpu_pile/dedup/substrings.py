"""Repeated substrings: which windows of the corpus occurred before, and few matches that cover them all.

Text is at positions: those of a document follow each other, and between two documents one position is left free, so
that no match crosses it. Records (gpu_pile.dedup.radix), all uint64:

    contexts  (content, gram, place)    the windows that share an anchor (gpu_pile.ops.anchors): the hash of all that
                                        they cover, the hash of the anchor, where they begin and how long they are
    grams     (gram, position)          contexts that may share a window with another one
    windows   (high, low, place)        the 128-bit hash of a window
    matches   (target, source, length)  equal text at two positions, the source before the target
    digests   (source, length, number, two halves of a digest)  of the target of match number - 1, or of a source: 0

docs/decisions/0041-repeated-substrings.md proves that this finds every copy.
"""

from __future__ import annotations

import numpy as np

from gpu_pile.dedup.radix import sort
from gpu_pile.text.jit import jit
from gpu_pile.types import Array

LENGTH_BITS = 16
"""Of a place: its lower bits are the length, the others the position."""

POSITIONS = 1 << (64 - LENGTH_BITS)


def places(positions: Array, lengths: Array) -> Array:
    """Return uint64[n], places of texts at these positions, of less than 2^LENGTH_BITS bytes each."""
    packed: Array = (positions.astype(np.uint64) << np.uint64(LENGTH_BITS)) | lengths.astype(np.uint64)
    return packed


_BITS, _LENGTHS = np.uint64(LENGTH_BITS), np.uint64((1 << LENGTH_BITS) - 1)


@jit
def _copies(records, carried, matches, rest):
    """Write matches of equal records with the first of them, and the others to rest; return how many of each.

    carried: (column 0, column 1, first position, 0 or 1), the last run of the records before, if 1; overwritten.
    """
    m = r = 0
    for i in range(len(records)):
        position, length = records[i, 2] >> _BITS, records[i, 2] & _LENGTHS
        same = carried[3] == 1 and records[i, 0] == carried[0] and records[i, 1] == carried[1]
        if not same:
            carried[0], carried[1], carried[2], carried[3] = records[i, 0], records[i, 1], position, 1
        if same and position - carried[2] >= length:
            matches[m, 0], matches[m, 1], matches[m, 2] = position, carried[2], length
            m += 1
        else:
            rest[r, 0], rest[r, 1] = records[i, 1], position
            r += 1
    return m, r


class Copies:
    """Finds, batch by batch, records that are equal in columns 0 and 1 to one that came before them.

    A batch has all records of a value of column 0, or a part of those of a single one; the next batches have the rest
    of it, in the order of their positions.
    """

    def __init__(self) -> None:
        self._carried = np.zeros(4, np.uint64)

    def find(self, records: Array, spare: Array) -> tuple[Array, Array]:
        """Return (matches uint64[m, 3], uint64[r, 2], column 1 and position of all others). Overwrites its arguments.

        A record that overlaps the first one that it is equal to is not a match.
        """
        records = sort(records, spare[: len(records)])
        matches, rest = np.empty((len(records), 3), np.uint64), np.empty((len(records), 2), np.uint64)
        m, r = _copies(records, self._carried, matches, rest)
        return matches[:m], rest[:r]


@jit
def _shared(records, carried, out):
    """Write the positions of records whose gram another record has; return how many.

    carried: (gram, 0 or 1), of the last record before, if 1; overwritten.
    """
    n = 0
    for i in range(len(records)):
        gram = records[i, 0]
        before = (i > 0 and records[i - 1, 0] == gram) or (i == 0 and carried[1] == 1 and carried[0] == gram)
        if before or (i + 1 < len(records) and records[i + 1, 0] == gram):
            out[n, 0] = records[i, 1]
            n += 1
    if len(records):
        carried[0], carried[1] = records[len(records) - 1, 0], 1
    return n


class SharedGrams:
    """Finds, batch by batch, the records whose column 0 another record has; batches as Copies takes them."""

    def __init__(self) -> None:
        self._carried = np.zeros(2, np.uint64)

    def find(self, records: Array, spare: Array) -> Array:
        """Return uint64[n, 1], the positions of these records. Overwrites its arguments."""
        records = sort(records, spare[: len(records)])
        out = np.empty((len(records), 1), np.uint64)
        return out[: _shared(records, self._carried, out)]


@jit
def _take(match, records, i):
    for c in range(3):
        match[c] = records[i, c]


@jit
def _extends(match, records, i):
    """Take record i into a match that it continues, equally far from its source; return whether it does."""
    begin, end = match[0], match[0] + match[2]
    if match[2] == 0 or records[i, 0] > end or records[i, 0] - records[i, 1] != begin - match[1]:
        return False
    match[2] = max(end, records[i, 0] + records[i, 2]) - begin
    return True


@jit
def _cover(records, now, following, out):
    """Write the matches of a cover that are complete and return how many; now, following: a match each, length 0: none.

    following is the match that reaches furthest of those that begin no later than `now` ends.
    """
    n = 0
    for i in range(len(records)):
        target, end = records[i, 0], records[i, 0] + records[i, 2]
        while now[2] > 0 and target > now[0] + now[2]:
            for c in range(3):
                out[n, c] = now[c]
                now[c] = following[c]
                following[c] = 0
            n += 1
        if now[2] == 0:
            _take(now, records, i)
        elif _extends(now, records, i) or _extends(following, records, i):
            pass
        elif end > max(now[0] + now[2], following[0] + following[2]):
            _take(following, records, i)
        if following[0] + following[2] <= now[0] + now[2]:
            following[2] = 0
    return n


class Cover:
    """Chooses, from all matches in ascending order, few that cover the same targets."""

    def __init__(self) -> None:
        self._now, self._following = np.zeros(3, np.uint64), np.zeros(3, np.uint64)

    def add(self, matches: Array) -> Array:
        """Return the chosen matches that are known to be complete, ascending; matches: the next ones."""
        out = np.empty((len(matches) + 1, 3), np.uint64)
        return out[: _cover(matches, self._now, self._following, out)]

    def end(self) -> Array:
        """Return the last ones."""
        last = np.stack([self._now, self._following])
        return last[last[:, 2] > 0]


@jit
def _pieces(data, ends, targets, lengths, out):
    """Write (start, end, match) of the pieces; return how many. ends: of the document that each match is in."""
    n, i, m = 0, 0, len(targets)
    while i < m:
        start, stop, j = targets[i], targets[i] + lengths[i], i + 1
        while j < m and targets[j] <= stop and ends[j] == ends[i]:
            stop = max(stop, targets[j] + lengths[j])
            j += 1
        while start < stop and data[start] & 0xC0 == 0x80:
            start += 1
        while stop > start and stop < ends[i] and data[stop] & 0xC0 == 0x80:
            stop -= 1
        at = start
        for k in range(i, j):
            end = min(stop, targets[k] + lengths[k])
            if end > at:
                out[n, 0], out[n, 1], out[n, 2] = at, end, k
                n += 1
                at = end
        i = j
    return n


def pieces(data: Array, ends: Array, targets: Array, lengths: Array) -> Array:
    """Return int64[p, 3], (start, end, match): what is cut, without overlaps, whole characters of UTF-8.

    Args:
        data: the text; targets, lengths: int64[m], of a cover, where in the text; ascending.
        ends: int64[m], where the document of each match ends.
    """
    out = np.empty((len(targets), 3), np.int64)
    return out[: _pieces(data, ends, targets, lengths, out)]


class DifferentDigests:
    """Finds, batch by batch, targets whose digest is not that of their source; batches as Copies takes them.

    The record of a source comes no later than those of its targets.
    """

    def __init__(self) -> None:
        self._value = -1
        self._known: dict[int, tuple[int, int]] = {}  # digests of sources at this value of column 0, by length

    def find(self, records: Array, spare: Array) -> Array:
        """Return uint64[n], the matches whose target is not equal to its source. Overwrites its arguments."""
        records = sort(records, spare[: len(records)])
        if not len(records):
            return np.empty(0, np.uint64)
        is_source = records[:, 2] == 0
        source = np.maximum.accumulate(np.where(is_source, np.arange(len(records)), 0))
        found = is_source[source] & (records[source, :2] == records[:, :2]).all(axis=1)
        equal = found & (records[source, 3:] == records[:, 3:]).all(axis=1)
        for i in np.flatnonzero(~found):  # a part of the records of one value: the source was in an earlier one
            known = self._known.get(int(records[i, 1])) if int(records[i, 0]) == self._value else None
            equal[i] = known == tuple(records[i, 3:].tolist())
        last = int(records[-1, 0])
        if last != self._value:
            self._value, self._known = last, {}
        here = records[is_source & (records[:, 0] == records[-1, 0])].tolist()
        self._known.update({length: (high, low) for _, length, _, high, low in here})
        return records[~equal, 2] - np.uint64(1)
