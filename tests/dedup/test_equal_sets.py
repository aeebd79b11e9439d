import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.dedup.buckets import equal_hashes, hash_records
from gpu_pile.dedup.equal_sets import EqualSets, mark_apart

DOCUMENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans()), max_size=20)
"""(hash, text, whether it is apart) of each document; texts are numbered per hash."""


def sets_of(hashes, apart):
    both = np.array(hashes, np.uint64).repeat(2).reshape(-1, 2)
    rows = mark_apart(np.arange(len(hashes)), np.array(apart, bool))
    return EqualSets.of(equal_hashes(hash_records(both, rows)))


def plain(keys, apart):
    """{row: representative} of the rows that share their key: the smallest row that is not apart, else the smallest."""
    out = {}
    for key in set(keys):
        members = [row for row, k in enumerate(keys) if k == key]
        if len(members) > 1:
            out |= dict.fromkeys(members, min(members, key=lambda row: (apart[row], row)))
    return out


def as_dict(sets):
    assert (np.diff(sets.members) > 0).all()
    return dict(zip(sets.members.tolist(), sets.representatives.tolist(), strict=True))


@settings(max_examples=200, deadline=None)
@given(DOCUMENTS)
def test_sets_and_their_split_equal_the_plain_definition(documents):
    hashes, texts, apart = ([d[i] for d in documents] for i in range(3))
    sets = sets_of(hashes, apart)
    assert as_dict(sets) == plain(hashes, apart)
    assert sets.apart.tolist() == [apart[row] for row in sets.members]
    assert sets.copies.tolist() == [row for row, first in sorted(as_dict(sets).items()) if row != first]
    digests = np.array([[texts[row]] * 16 for row in sets.members], np.uint8).reshape(-1, 16)
    split = sets.split_by(digests)
    assert as_dict(split) == plain(list(zip(hashes, texts, strict=True)), apart)
    assert split.apart.tolist() == [apart[row] for row in split.members]
    assert sets.equals(split) == (as_dict(sets) == as_dict(split))
    digests = np.array([[texts[row]] * 16 for row in split.members], np.uint8).reshape(-1, 16)
    assert split.split_by(digests).equals(split), "a second search ends"


def test_every_byte_of_a_digest_counts():
    sets = sets_of([7, 7], [False, False])
    for byte in range(16):
        digests = np.zeros((2, 16), np.uint8)
        digests[1, byte] = 1
        assert sets.split_by(digests).equals(EqualSets.empty())
    assert sets.split_by(np.zeros((2, 16), np.uint8)).equals(sets)
