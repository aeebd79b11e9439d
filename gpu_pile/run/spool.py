"""The spool: decompressed lines that measure leaves in scratch, so that later stages need not decompress them again.

One file per range of a shard holds the lines of the range at their positions in its stream. Its name contains what
shows that the shard is still the one that was measured; a shard that has changed since has no file, and is read. The
files serve the run that made them: a run removes what a killed one has left, and its own when it ends.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gpu_pile.corpus import files
from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.files import AtomicFile
from gpu_pile.corpus.lines import copy_spans
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import DataError
from gpu_pile.run.context import Context
from gpu_pile.run.directory import RunDir
from gpu_pile.run.tables import MeasuredRange
from gpu_pile.text.simd import SLACK
from gpu_pile.types import Array

FOLDER = "lines"
"""The folder of the scratch folder."""

FREE_PART = 4
"""The spool takes at most one part in this many of the free space where scratch is."""

EXTENT_BYTES = 1 << 20
"""Lines are read in extents of about this many bytes, or of one line."""

GAP_BYTES = 1 << 14
"""A gap between two wanted lines that is read with them: a call costs more than these bytes."""


def clear(directory: RunDir) -> None:
    """Remove what a run has left in the spool."""
    directory.clear_scratch(FOLDER)


def spool_share(context: Context, shards: Sequence[Shard]) -> float:
    """Return how many decompressed bytes may be kept per byte of these shards' files."""
    budget, n_bytes = context.config.spool_bytes, sum(s.n_bytes for s in shards)
    if not budget or not n_bytes:
        return 0.0
    folder = context.directory.scratch.absolute()
    while not folder.exists():
        folder = folder.parent
    return min(budget, shutil.disk_usage(folder).free // FREE_PART) / n_bytes


def _path(context: Context, shard: Shard, shard_range: ShardRange) -> Path | None:
    """Return the path of a range's lines; None if nothing but reading shows whether the shard has changed."""
    fingerprint = files.fingerprint(shard.path)
    if None in fingerprint.values():
        return None
    if shard_range.stop >= 0:  # split after it was measured
        shard_range = ShardRange(0, 1, 0, shard.n_bytes)
    key = files.key_of([fingerprint, str(shard.path), shard_range.first, shard_range.end, shard_range.of])
    return context.directory.scratch / FOLDER / f"{shard.name}-{shard_range.index:06d}-{key}"


class SpoolWriter:
    """Writes the blocks of a range while they are measured, in any order, by any thread.

    There will be no file if the blocks take more than the share of the range, or cannot be written.
    """

    def __init__(self, context: Context, shard: Shard, shard_range: ShardRange, share: float) -> None:
        self._place = context, shard, shard_range
        self._bytes_max = int(shard_range.n_bytes * share)
        self._atomic: AtomicFile | None = None
        self._given_up = False

    def open(self) -> None:
        """Begin the file, unless the share is too small for it; called before the shard is read."""
        path = _path(*self._place) if self._bytes_max >= self._place[2].n_bytes > 0 else None
        if path is not None:
            with contextlib.suppress(OSError, DataError):
                atomic = AtomicFile(path, durable=False)
                self._file = atomic.partial.open("wb", buffering=0)
                self._atomic = atomic

    def write(self, block: Block) -> None:
        """Write a block whose start counts from the beginning of the range."""
        if self._atomic is None or self._given_up:
            return
        data, position = block.data[: block.n_bytes].data, block.start
        try:
            while data and position + len(data) <= self._bytes_max:
                n = os.pwrite(self._file.fileno(), data, position)
                data, position = data[n:], position + n
            if data:
                self._given_up = True
                self._file.truncate(0)
        except OSError:  # the disk is full, for instance
            self._given_up = True

    def commit(self) -> None:
        """All blocks are written: give the file its name."""
        if self._atomic is None or self._given_up:
            self.discard()
        else:
            self._file.close()
            self._atomic.commit()

    def discard(self) -> None:
        """Leave nothing; allowed at any time before commit(), and twice. No thread may be writing."""
        if self._atomic is not None:
            self._file.close()
            self._atomic.discard()


def release(context: Context, measured: MeasuredRange) -> None:
    """Remove the lines of a range that no later stage needs. Of a shard that was split after measuring they stay."""
    path = _path(context, measured.shard, measured.shard_range)
    if path is not None and measured.shard_range.stop < 0:
        path.unlink(missing_ok=True)


class SpooledLines:
    """The lines of a range that are in the spool. Any thread may read them."""

    def __init__(self, path: Path, start: int) -> None:
        self._path, self._start = path, start

    @classmethod
    def of(cls, context: Context, shard: Shard, shard_range: ShardRange) -> SpooledLines | None:
        """Return the lines of a range; None if they are not in the spool."""
        path = _path(context, shard, shard_range)
        if path is None or not path.is_file():
            return None
        return cls(path, shard_range.start if shard_range.stop < 0 else 0)

    def read(self, start: Array, length: Array) -> Array:
        """Return the lines at these positions of the stream, ascending, one after the other, each with a line feed.

        SLACK more bytes can be read after them.
        """
        target = np.empty(int(length.sum()) + len(length) + SLACK, np.uint8)
        firsts, n = _extents(start, length), 0
        buffer = np.empty(0, np.uint8)
        with self._path.open("rb", buffering=0) as file:
            for lo, hi in itertools.pairwise([*firsts, len(start)]):
                begin, end = int(start[lo]), int(start[hi - 1] + length[hi - 1])
                if end - begin > len(buffer):
                    buffer = np.empty(max(end - begin, EXTENT_BYTES), np.uint8)
                self._fill(file.fileno(), buffer[: end - begin], begin - self._start)
                n += copy_spans(buffer, start[lo:hi] - begin, length[lo:hi], target[n:])
        return target[:n]

    def _fill(self, descriptor: int, buffer: Array, position: int) -> None:
        view = buffer.data
        while view:
            n = os.preadv(descriptor, [view], position)
            if not n:
                raise DataError(f"{self._path} was cut off while the run was going on; run the same command again")
            view, position = view[n:], position + n


def _extents(start: Array, length: Array) -> list[int]:
    """Return the first lines of extents that are read at once."""
    far = start[1:] - start[:-1] - length[:-1] > GAP_BYTES
    other = start[1:] // EXTENT_BYTES != start[:-1] // EXTENT_BYTES
    return [0, *(np.flatnonzero(far | other) + 1).tolist()] if len(start) else []
