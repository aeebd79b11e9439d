"""Which passages of a removed text its witness has, by the run's own shingles: for people to read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from gpu_pile.present.diff import Segment
from gpu_pile.text import unicode_reference
from gpu_pile.text.shingles import word_classes
from gpu_pile.text.unicode import MARK, UNSPACED, WORD

MOVED = "moved"
"""The kind of a segment that only this text has at its place, while the other text has it at another place."""


class Unit(NamedTuple):
    """A word, byte or character of a text, and the characters start .. end that it stands for."""

    value: str | int
    start: int
    end: int


def units(text: str, kind: str) -> list[Unit]:
    """Return what shingles of this kind are made of (see gpu_pile.text.shingles)."""
    if kind == "char":
        return [Unit(c, i, i + 1) for i, c in enumerate(text)]
    if kind == "byte":
        return [Unit(byte, i, i + 1) for i, c in enumerate(text) for byte in c.encode()]
    return list(_words(text, word_classes(kind)))


def _words(text: str, classes: int) -> Iterator[Unit]:
    word, start, alone = "", 0, False  # alone: the word is a character of a script without spaces
    for i, c in enumerate(text):
        for low in unicode_reference.lower(c):
            found = unicode_reference.flags(low) & classes
            goes_on = found & MARK or (found & WORD and not alone and not found & UNSPACED)
            if word and goes_on:
                word += low
                continue
            if word:
                yield Unit(word, start, max(i, start + 1))
            word, start, alone = low if found & WORD else "", i, found & UNSPACED > 0
    if word:
        yield Unit(word, start, len(text))


def shared(text: str, other: str, kind: str, width: int) -> list[bool]:
    """Return of each character whether it is in a shingle that the other text has."""
    own, marks = units(text, kind), [False] * len(text)
    known, done = set(_shingles(units(other, kind), width)), 0
    for i, shingle in enumerate(_shingles(own, width)):
        if shingle in known:
            start, end = max(done, own[i].start), own[i + len(shingle) - 1].end
            marks[start:end] = [True] * (end - start)
            done = end
    return marks


def _shingles(own: Sequence[Unit], width: int) -> Iterator[tuple[str | int, ...]]:
    n = min(width, len(own))
    for i in range(len(own) - n + 1 if n else 0):
        yield tuple(unit.value for unit in own[i : i + n])


def with_moved(segments: Sequence[Segment], marks: Sequence[bool]) -> list[Segment]:
    """Cut the segments that only the first text has: what is marked in it, as shared() does, becomes MOVED."""
    out: list[Segment] = []
    at = 0
    for kind, part in segments:
        if kind == "removed":
            marked = zip(part, marks[at : at + len(part)], strict=True)
            for moved, characters in itertools.groupby(marked, key=lambda pair: pair[1]):
                out.append((MOVED if moved else kind, "".join(c for c, _ in characters)))
        else:
            out.append((kind, part))
        at += len(part) if kind != "added" else 0
    return out
