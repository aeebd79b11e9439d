"""The 64-bit mixer, compiled and in plain Python integers, and the arithmetic that references use."""

from __future__ import annotations

import numpy as np

from gpu_pile.text.jit import inlined


@inlined
def mix64(x: np.uint64) -> np.uint64:
    """A bijection of 64 bits that spreads every input bit (Degski's variant of the splitmix64 finaliser)."""
    x ^= x >> np.uint64(32)
    x *= np.uint64(0xD6E8FEB86659FD93)
    x ^= x >> np.uint64(32)
    x *= np.uint64(0xD6E8FEB86659FD93)
    x ^= x >> np.uint64(32)
    return x


M32 = 2**32 - 1
M64 = 2**64 - 1


def mix64_int(x: int) -> int:
    """gpu_pile.text.hashing.mix64."""
    x ^= x >> 32
    x = x * 0xD6E8FEB86659FD93 & M64
    x ^= x >> 32
    x = x * 0xD6E8FEB86659FD93 & M64
    return x ^ x >> 32


def seed_int(seed: int, i: int) -> int:
    """The i-th 64-bit number of a seed: mix64(mix64(seed + GOLDEN) + (i + 1) * GOLDEN)."""
    golden = 0x9E3779B97F4A7C15
    return mix64_int((mix64_int((seed + golden) & M64) + (i + 1) * golden) & M64)
