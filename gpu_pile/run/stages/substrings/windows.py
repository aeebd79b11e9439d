"""Windows of bytes or of tokens: what has to be equal for a text to count as repeated, and its hashes.

A window is `size` units in a row of one document, bytes or tokens. It has the anchor (gpu_pile.ops.anchors) of the
first bytes of it, as many as every window has. Neighbouring windows with one anchor make a group; the context of a
group is what its windows cover together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from gpu_pile.gpu.device import Device
from gpu_pile.gpu.segments import spans
from gpu_pile.ops.anchors import anchors
from gpu_pile.ops.doc_hash import doc_hash, hash_spans
from gpu_pile.run.config import Substrings
from gpu_pile.text.column import TextColumn, text_pieces
from gpu_pile.text.single_spaces import Tokens, tokens_of
from gpu_pile.types import Array

HASHED_BYTES = 32 * 2**20
"""Bytes of windows that are copied together and hashed at a time."""


class Groups(NamedTuple):
    """Groups of windows of some documents, int64[m] and uint64[m].

    document: which document; start, length: the context, in the bytes of all documents; gram: the anchor's hash
    """

    document: Array
    start: Array
    length: Array
    gram: Array


@dataclass(frozen=True)
class Windows:
    """Windows of `size` bytes."""

    size: int

    @property
    def gram(self) -> int:
        """Return how many bytes of a window its anchor is the hash of."""
        return max(1, self.size // GRAM_PART)

    @property
    def contexts_per_byte(self) -> float:
        """Return how many groups to expect per byte of text."""
        return 2 / (self.size - self.gram + 2)

    def prepared(self, text: TextColumn, device: Device) -> tuple[TextColumn, Tokens | None]:
        """Return the text in which windows are looked for, on the device, and its tokens if they are the units."""
        return text, None

    def groups(self, text: TextColumn, tokens: Tokens | None, device: Device) -> Groups:
        """Return the groups of documents that are in the memory of this device."""
        found = anchors(text, window=self.size, gram=self.gram)
        first, start, gram = (device.download(array) for array in found)
        document = np.repeat(np.arange(len(text)), np.diff(first))
        end = np.empty_like(start)
        end[:-1] = start[1:]
        ends = device.download(text.offsets)[1:] - (self.size - 1)
        last = first[1:][np.diff(first) > 0] - 1
        end[last] = ends[np.diff(first) > 0]
        return Groups(document, start, end - start + (self.size - 1), gram)

    def inside(self, start: Array, length: Array, tokens: Tokens | None) -> tuple[Array, Array]:
        """Return (start, length) of all windows of the groups with these contexts."""
        counts = length - (self.size - 1)
        before = np.cumsum(counts) - counts
        starts = np.arange(int(counts.sum())) + np.repeat(start - before, counts)
        return starts, np.full(len(starts), self.size)


@dataclass(frozen=True)
class TokenWindows(Windows):
    """Windows of `count` tokens, in texts with single spaces; size: the bytes that so many tokens have at least."""

    count: int

    @classmethod
    def of(cls, count: int) -> TokenWindows:
        return cls(2 * count - 1, count)

    def prepared(self, text: TextColumn, device: Device) -> tuple[TextColumn, Tokens | None]:
        normal, tokens = tokens_of(Device().text(text))
        return device.text(normal), tokens

    def _bounds(self, tokens: Tokens | None) -> tuple[Array, Array]:
        """Return where the windows begin and where they end."""
        assert tokens is not None, "prepared() gave them"
        first = np.flatnonzero(np.arange(len(tokens.last)) + self.count - 1 <= tokens.last)
        return tokens.start[first], tokens.end[first + self.count - 1]

    def groups(self, text: TextColumn, tokens: Tokens | None, device: Device) -> Groups:
        found, (begin, end) = super().groups(text, tokens, device), self._bounds(tokens)
        lo = np.searchsorted(begin, found.start)
        hi = np.searchsorted(begin, found.start + found.length - (self.size - 1))
        some = hi > lo
        start = begin[lo[some]]
        return Groups(found.document[some], start, end[hi[some] - 1] - start, found.gram[some])

    def inside(self, start: Array, length: Array, tokens: Tokens | None) -> tuple[Array, Array]:
        begin, end = self._bounds(tokens)
        lo, hi = np.searchsorted(begin, start), np.searchsorted(end, start + length, "right")
        before = np.cumsum(hi - lo) - (hi - lo)
        which = np.arange(int((hi - lo).sum())) + np.repeat(lo - before, hi - lo)
        return begin[which], end[which] - begin[which]


def windows_of(settings: Substrings) -> Windows:
    """Return the windows of a configuration that looks for repeated substrings."""
    if settings.min_tokens is not None:
        return TokenWindows.of(settings.min_tokens)
    assert settings.min_bytes is not None, "one of the two is given"
    return Windows(settings.min_bytes)


GRAM_PART = 2
"""A window is this many times as long as what its anchor is the hash of."""


def span_hashes(text: TextColumn, start: Array, length: Array, device: Device) -> Array:
    """Return uint64[n, 2], the 128-bit hashes of spans of documents that are in the memory of this device."""
    if text.backend == "cpu":
        out = np.empty((len(start), 2), np.uint64)
        hash_spans(text.data, start, start + length, out)
        return out
    out, offsets = np.empty((len(start), 2), np.uint64), np.concatenate(([0], np.cumsum(length)))
    for lo, hi in text_pieces(offsets, HASHED_BYTES):
        out[lo:hi] = device.download(doc_hash(spans(text, start[lo:hi], length[lo:hi])))
    return out
