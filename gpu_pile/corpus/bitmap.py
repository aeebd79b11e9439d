"""Kept lines as a bitmap: one bit per line of a shard, to be applied to the shard when it is read.

A file is a NumPy array (.npy) of uint8; the lowest bit of the first byte is line 1. Bits after the last line are 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.files import AnyPath, AtomicFile
from gpu_pile.errors import DataError
from gpu_pile.types import Array


def write_bitmap(path: AnyPath, kept: Array, n_lines: int) -> AtomicFile:
    """Write the bitmap of a shard of n lines to a file that is still to be committed.

    kept: int64, the 1-based numbers of the lines that stay.
    """
    bits = np.zeros(n_lines, bool)
    bits[kept - 1] = True
    file = AtomicFile(path)
    try:
        with file.errors(), file.partial.open("wb") as f:
            np.save(f, np.packbits(bits, bitorder="little"), allow_pickle=False)
    except BaseException:
        file.discard()
        raise
    return file


def read_bitmap(path: AnyPath) -> Array:
    """Return bool[n], n at least the number of lines: whether line i + 1 stays.

    Raises:
        DataError: the file is missing, or is not a bitmap.
    """
    try:
        with path.open("rb") as f:
            packed = np.load(f, allow_pickle=False)
        return np.unpackbits(packed, bitorder="little").astype(bool)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(f"cannot read {path}: {error}; run: gpu-pile write") from error


def kept_lines(blocks: Iterable[Block], keep: Array) -> Iterator[bytes]:
    """Yield each line that stays, without its line feed, from the blocks of a shard.

    Raises:
        DataError: the shard has fewer lines than the bitmap keeps.
    """
    left = int(keep.sum())
    for block in blocks:
        lines = block.data[: block.n_bytes].tobytes().removesuffix(b"\n").split(b"\n")
        block.release()
        here = keep[block.first_line : block.first_line + len(lines)]
        left -= int(here.sum())
        yield from (lines[i] for i in np.flatnonzero(here).tolist())
        if not left:
            return
    if left:
        raise DataError(f"{left} lines that are kept are not in the shard: it has changed since the run")
