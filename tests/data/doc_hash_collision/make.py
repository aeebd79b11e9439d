"""Make two different texts with equal doc_hash: `python tests/data/doc_hash_collision/make.py`, about ten seconds.

doc_hash adds up mixed 8-byte words in two 64-bit lanes under fixed keys, so the sum of one text can be met by another
one, word by word: Wagner's generalised birthday attack (A Generalized Birthday Problem, CRYPTO 2002). Every text is
1,024 blocks of 8 bytes, each one of 4,096 spellings: four syllables' letters, three fixed ones and a space. The first
text is given. For the second, 1,024 lists of 4,096 sums are merged two by two, ten times; each merge keeps the pairs
whose sums agree with what is wanted in twelve more bits, about 4,096 of them. After ten merges 120 bits agree, and of
the 4,096 sums that are left about sixteen agree in the other 8 bits, too.

Leaves texts.jsonl.zst, a shard of the two texts. tests/test_api.py and tests/test_dedupe.py read it.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import zstandard

from gpu_pile.ops.doc_hash import KEY, STEP, doc_hash
from gpu_pile.text.column import TextColumn
from gpu_pile.text.hashing import mix64

HERE = Path(__file__).parent
BLOCKS, BITS = 1024, 12
MASK = np.uint64((1 << BITS) - 1)


def spellings(consonants: str) -> list[bytes]:
    """4,096 blocks of 8 bytes over 8 consonants and 8 vowels and signs: two syllables, as a word and a space."""
    letters = itertools.product(consonants, "aeiouyhw", consonants, "aeiouyhw")
    return ["".join(four).encode() + consonants[:3].encode() + b" " for four in letters]


def sums(block: int, words: np.ndarray) -> np.ndarray:
    """uint64[n, 2]: what each word adds to the two lanes, as block number `block` of a text."""
    lanes = [
        mix64((words + np.uint64((block + 1) * step % 2**64)) ^ np.uint64(key))
        for step, key in zip(STEP, KEY, strict=True)
    ]
    return np.stack(lanes, axis=1)


def bits_of(lanes: np.ndarray, level: int) -> np.ndarray:
    """The 12 bits that a merge at this level compares: from the lowest of lane 0 to the highest of lane 1."""
    shift = level * BITS
    if shift >= 64:
        return lanes[:, 1] >> np.uint64(shift - 64) & MASK
    low = lanes[:, 0] >> np.uint64(shift)
    return (low | lanes[:, 1] << np.uint64(64 - shift) if shift > 64 - BITS else low) & MASK


def merge(a: np.ndarray, b: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray]:
    """(sums, pairs of positions in a and b) of the pairs whose sum is zero in the bits of this level."""
    order = np.argsort(bits_of(b, level), kind="stable")
    keys = bits_of(b, level)[order]
    wanted = (np.uint64(1 << BITS) - bits_of(a, level)) & MASK
    if level * BITS + BITS > 64 > level * BITS:  # the bits are of two lanes, which carry apart
        split = np.uint64(64 - level * BITS)
        low = np.uint64((1 << int(split)) - 1)
        x = bits_of(a, level)
        high = np.uint64((1 << (BITS - int(split))) - 1)
        wanted = ((low + np.uint64(1) - (x & low)) & low) | (((high + np.uint64(1) - (x >> split)) & high) << split)
    first, last = np.searchsorted(keys, wanted), np.searchsorted(keys, wanted, "right")
    i = np.repeat(np.arange(len(a)), last - first)
    j = order[np.arange(len(i)) - np.repeat(np.cumsum(last - first) - (last - first), last - first) + first[i]]
    return a[i] + b[j], np.stack([i, j], axis=1)


def second_text(words: np.ndarray, target: np.ndarray) -> list[int]:
    """The spelling of each block whose sums add up to the target."""
    lists = [sums(block, words) for block in range(BLOCKS)]
    lists[-1] = lists[-1] - target
    trail = []
    for level in range(10):
        merged = [merge(a, b, level) for a, b in zip(lists[::2], lists[1::2], strict=True)]
        lists = [found for found, _ in merged]
        trail.append([pairs for _, pairs in merged])
    chosen = [int(np.flatnonzero((lists[0] == 0).all(axis=1))[0])]
    for pairs in reversed(trail):
        chosen = [int(p) for of_two, k in zip(pairs, chosen, strict=True) for p in of_two[k]]
    return chosen


def main() -> None:
    rng = np.random.default_rng(1)
    first, second = spellings("bcdfgjkl"), spellings("mnpqrstv")
    given = [first[i] for i in rng.integers(0, len(first), BLOCKS)]
    target = np.zeros(2, np.uint64)
    for block, word in enumerate(given):
        target += sums(block, np.frombuffer(word, np.uint64))[0]
    found = second_text(np.frombuffer(b"".join(second), np.uint64), target)
    texts = [b"".join(given), b"".join(second[i] for i in found)]
    hashes = doc_hash.run("reference", TextColumn.from_documents(texts))
    assert texts[0] != texts[1]
    assert (hashes[0] == hashes[1]).all()
    lines = b"".join(json.dumps({"text": t.decode()}).encode() + b"\n" for t in texts)
    (HERE / "texts.jsonl.zst").write_bytes(zstandard.ZstdCompressor(19).compress(lines))


if __name__ == "__main__":
    main()
