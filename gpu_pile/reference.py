"""The arithmetic of the operations in plain Python integers: what references are written with."""

from __future__ import annotations

M32 = 2**32 - 1
M64 = 2**64 - 1


def mix64_int(x: int) -> int:
    """gpu_pile.native.mix64."""
    x ^= x >> 32
    x = x * 0xD6E8FEB86659FD93 & M64
    x ^= x >> 32
    x = x * 0xD6E8FEB86659FD93 & M64
    return x ^ x >> 32


def seed_int(seed: int, i: int) -> int:
    """The i-th 64-bit number of a seed: mix64(mix64(seed + GOLDEN) + (i + 1) * GOLDEN)."""
    golden = 0x9E3779B97F4A7C15
    return mix64_int((mix64_int((seed + golden) & M64) + (i + 1) * golden) & M64)
