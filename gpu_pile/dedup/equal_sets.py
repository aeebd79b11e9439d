"""Sets of equal documents: rows that share a hash, confirmed by digests of what was hashed.

In records, a row that takes no part in the search for near duplicates has the bit APART set. Such rows sort after the
others, so the representative of a set is the smallest row that takes part, if there is one: a set takes part exactly
when its representative does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpu_pile.types import Array

APART = np.uint64(1 << 63)
"""The bit of a row, in records, that takes no part in the search for near duplicates."""


def mark_apart(rows: Array, apart: Array) -> Array:
    """Return rows as uint64, with the bit APART where the bool array says so."""
    return np.where(apart, rows.astype(np.uint64) | APART, rows.astype(np.uint64))


@dataclass(frozen=True)
class EqualSets:
    """The rows that have an equal one, ascending, each with the representative of its set.

    members, representatives: int64[n]
    apart: bool[n], whether the member takes no part in the search for near duplicates
    """

    members: Array
    representatives: Array
    apart: Array

    @classmethod
    def of(cls, pairs: Array) -> EqualSets:
        """From uint64[n, 2], (row, representative) as buckets.equal_hashes returns them, in any order."""
        row, representative = (pairs[:, i] & ~APART for i in (0, 1))
        order = np.argsort(row)
        return cls(
            row[order].astype(np.int64), representative[order].astype(np.int64), (pairs[order, 0] & APART).astype(bool)
        )

    @classmethod
    def empty(cls) -> EqualSets:
        return cls.of(np.empty((0, 2), np.uint64))

    @property
    def copies(self) -> Array:
        """int64, ascending: the members that are not the representative of their set."""
        return self.members[self.members != self.representatives]

    @property
    def duplicates(self) -> int:
        """How many documents the sets have beyond one per set."""
        return len(self.copies)

    def split_by(self, digests: Array) -> EqualSets:
        """Return the sets of members whose digests are equal, too; a member alone with its digest is in no set.

        digests: uint8[n, 16], of each member.
        """
        if (digests == digests[np.searchsorted(self.members, self.representatives)]).all():
            return self
        numbers = np.ascontiguousarray(digests).view(np.uint64)
        order = np.lexsort((self.members, self.apart, *numbers.T, self.representatives))
        same = (numbers[order[1:]] == numbers[order[:-1]]).all(axis=1)
        same &= self.representatives[order[1:]] == self.representatives[order[:-1]]
        first = np.ones(len(order), bool)
        first[1:] = ~same
        group = np.cumsum(first) - 1
        representatives = np.empty_like(self.representatives)
        representatives[order] = self.members[order[first]][group]
        several = np.empty(len(order), bool)
        several[order] = np.bincount(group)[group] > 1
        return EqualSets(self.members[several], representatives[several], self.apart[several])

    def equals(self, other: EqualSets) -> bool:
        """Return whether these are the same sets, with the same representatives."""
        return np.array_equal(self.members, other.members) and np.array_equal(
            self.representatives, other.representatives
        )
