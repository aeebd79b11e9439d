"""A sample of texts that is taken while measuring, so that a first look at any bound needs no reading of shards.

For each subset and signal, and each range of values between two numbers of one significant digit, the PER_RANGE
documents with the smallest exact hash are kept, each text once: a random choice that depends on the texts alone, not on
blocks or workers, and that has documents from everywhere a bound may come to lie, the rare ends included. A document
serves all its signals; of its text the first EXCERPT_BYTES are stored. The size of a sample depends on the number of
subsets and signals, not on the number of documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gpu_pile.gpu.segments import prefixes
from gpu_pile.summaries.histograms import CELLS, EDGES, SUBSETS_MAX, Names
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import leaf
from gpu_pile.text.simd import copy_items
from gpu_pile.types import Array

PER_RANGE = 2
EXCERPT_BYTES = 1000
VERSION = 1


def _ranges() -> tuple[Array, int]:
    """Return (range of each cell of the histograms and, last, of an undefined value; number of ranges)."""
    digits = np.array([f"{abs(x):e}" for x in EDGES])
    one_digit = np.array([d[2:].startswith("000000e") for d in digits])
    of_edge = np.cumsum(one_digit)
    ranges = np.zeros(CELLS + 1, np.int64)
    ranges[1:CELLS:2] = of_edge
    ranges[2:CELLS:2] = of_edge
    ranges[CELLS] = of_edge[-1] + 1
    return ranges, int(of_edge[-1]) + 2


RANGES, RANGE_COUNT = _ranges()


@leaf
def excerpts(data, offsets, limit, out, bounds):
    """Copy the first `limit` bytes of each document, less a character that would be cut; return the bytes written."""
    n = 0
    for i in range(len(offsets) - 1):
        start, end = offsets[i], offsets[i + 1]
        if end - start > limit:
            end = start + limit
            while end > start and data[end] & 0xC0 == 0x80:  # not the first byte of a character
                end -= 1
        copy_items(data, start, end - start, out, n)
        n += end - start
        bounds[i + 1] = n
    return n


def beginnings(text: TextColumn) -> TextColumn:
    """Return what excerpts_of needs of documents, where they are: at least their beginnings."""
    return prefixes(text, EXCERPT_BYTES + 1)  # one byte more, to see whether a character is cut


def excerpts_of(text: TextColumn) -> pa.Array:
    """Return string[n]: the first EXCERPT_BYTES of each document in host memory, split between characters."""
    lengths = np.minimum(np.diff(text.offsets), EXCERPT_BYTES)
    out = np.empty(int(lengths.sum()), np.uint8)
    bounds = np.zeros(len(text) + 1, np.int64)
    n = excerpts(text.data, text.offsets, EXCERPT_BYTES, out, bounds)
    return TextColumn(out[:n], bounds).to_arrow().cast(pa.string())


class _Rows(NamedTuple):
    """Documents that are offered; entered: which of them are chosen by a signal."""

    subset: Array
    key: Array
    line: Array
    entered: Array


class _Chosen(NamedTuple):
    """[subset, signal, range, PER_RANGE]: the smallest keys, ascending, and their lines; 0 where there is none."""

    key: Array
    line: Array


@leaf
def _offer(cells, ranges, rows, chosen):
    """Insert rows where they are among the smallest of their range; equal keys are equal texts, the first one stays.

    cells: int16[signals, rows]. Returns how many places are filled that were empty.
    """
    subset, key, line, entered = rows
    width = chosen.key.shape[3]
    filled = 0
    for signal in range(len(cells)):
        for i in range(len(key)):
            cell = np.int64(cells[signal, i])
            which = subset[i], signal, ranges[cell]
            keys, lines = chosen.key[which], chosen.line[which]
            if lines[width - 1] and key[i] >= keys[width - 1]:
                continue
            place, known = width, False
            for j in range(width):
                if lines[j] == 0 or key[i] < keys[j]:
                    place = j
                    break
                if key[i] == keys[j]:
                    known = True
                    break
            if known or place == width:
                continue
            filled += lines[width - 1] == 0
            for j in range(width - 1, place, -1):
                keys[j], lines[j] = keys[j - 1], lines[j - 1]
            keys[place], lines[place] = key[i], line[i]
            entered[i] = True
    return filled


class Sample:
    """The sample of one shard. Tables are offered in the order of the lines.

    The candidates of a shard's ranges, offered in the order of the ranges, give the sample of the shard, if neither a
    range nor the shard has more than SUBSETS_MAX subsets.
    """

    def __init__(self, signals: Sequence[str]) -> None:
        self.signals = list(signals)
        self.names = Names()
        self._chosen = self._none(0)
        self._rows: list[pa.Table] = []
        self._held = self._filled = 0

    def offer(self, table: pa.Table, cells: Array) -> None:
        """Offer more documents: a measured table with a column `excerpt`, and cells int16[signals, documents]."""
        subset = self.names.of(table.column("subset"))
        self._grow(int(subset.max(initial=-1)) + 1)
        key, line = table.column("hash_lo").to_numpy(), table.column("line").to_numpy()
        entered = np.zeros(len(table), bool)
        rows = _Rows(subset, key, line, entered)
        self._filled += _offer(np.ascontiguousarray(cells), RANGES, rows, self._chosen)
        if entered.any():
            columns = ["line", "subset", "text_bytes", "hash_lo", *self.signals, "excerpt"]
            self._rows.append(table.select(columns).filter(pa.array(entered)).combine_chunks())
            self._held += int(entered.sum())
            if self._held > 1000 and self._held > 4 * self._filled + 1000:
                self._prune()

    def _grow(self, subsets: int) -> None:
        before = len(self._chosen.key)
        if subsets > before:
            larger = self._none(min(SUBSETS_MAX + 1, max(subsets, 2 * before)))
            larger.key[:before], larger.line[:before] = self._chosen
            self._chosen = larger

    def _none(self, subsets: int) -> _Chosen:
        shape = (subsets, len(self.signals), RANGE_COUNT, PER_RANGE)
        return _Chosen(np.zeros(shape, np.uint64), np.zeros(shape, np.int64))  # no page is touched before it is used

    def _prune(self) -> None:
        whole = pa.concat_tables(self._rows)
        chosen = np.isin(whole.column("line").to_numpy(), self._chosen.line[self._chosen.line > 0])
        self._rows = [whole.filter(pa.array(chosen)).combine_chunks()]
        self._held = len(self._rows[0])

    def candidates(self) -> pa.Table | None:
        """Return line, subset, text_bytes, hash_lo, signals, excerpt of the chosen documents by line; None if empty."""
        if not self._rows:
            return None
        self._prune()
        return self._rows[0]

    def table(self) -> pa.Table | None:
        """Return line, subset, text_bytes, the signals, excerpt of the chosen documents by line; None if empty."""
        candidates = self.candidates()
        return None if candidates is None else candidates.drop_columns(["hash_lo"])
