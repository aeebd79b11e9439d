"""The search for duplicates: one order of steps, for texts in memory and for runs over files.

    rows with equal hashes      -> sets of equal documents, each with a representative
    sketches of representatives -> band keys -> buckets -> candidate pairs
    texts, where they decide    -> digests of the sets' members, shingle sets of the candidates
    digests                     -> sets whose texts differ after all are split, and the search is done again
    candidate pairs             -> verified pairs

Nothing is removed because of a hash: it is not cryptographic, and two texts of one hash can be constructed.

Which document of several duplicates stays is not decided here, see gpu_pile.dedup.survivors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple, Protocol

from gpu_pile.dedup.equal_sets import EqualSets
from gpu_pile.dedup.rowset import RowSet
from gpu_pile.dedup.similarity import SimilarPairs
from gpu_pile.types import Array


class Source(Protocol):
    """The documents to search: texts in memory, or the tables and shards of a run."""

    total: int
    """How many documents there are: rows 0 .. total - 1."""

    def equal_hashes(self) -> EqualSets:
        """Return the rows that share a hash with another row."""

    def candidates(self, copies: Array) -> Iterable[Array]:
        """Return batches of the distinct pairs of rows that share a band, int64[n, 2] each, (b, a) with a < b.

        copies: int64, ascending, the rows that take no part because their representative does.
        """

    def read_texts(self, involved: RowSet, members: Array) -> Array:
        """Return digests of what was hashed of these members (int64, ascending), uint8[n, 16].

        In the same pass, keep what the comparison of the involved rows needs.
        """

    def compare(self, involved: RowSet) -> Collection[SimilarPairs]:
        """Return batches of the candidate pairs at or above the threshold, ascending by (b, a) over all batches."""


class Duplicates(NamedTuple):
    """What was found: sets of equal documents, verified pairs of representatives.

    collisions: documents that share a hash with a different text.
    """

    sets: EqualSets
    pairs: Collection[SimilarPairs]
    collisions: int


def find_duplicates(source: Source) -> Duplicates:
    """Search a source for exact and near duplicates."""
    sets, collisions = source.equal_hashes(), 0
    while True:
        involved = RowSet.empty(source.total)
        for pairs in source.candidates(sets.copies):
            involved.add(pairs[:, 0])
            involved.add(pairs[:, 1])
        confirmed = sets.split_by(source.read_texts(involved, sets.members))
        if confirmed.equals(sets):
            return Duplicates(sets, source.compare(involved), collisions)
        collisions += sets.duplicates - confirmed.duplicates
        sets = confirmed
