"""What becomes of the stream of a range, part by part: lines that are read again, or whole frames that are copied.

A stretch of whole zstd frames whose lines all go to one output needs no decompressing and no compressing: its bytes are
copied. Stretches begin at the seek points that measure has recorded, so they are as long as those are apart. The first
stretch of a range is copied in the shard's first range only: the line that begins where a range does belongs to the
range before (gpu_pile.corpus.ranges).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from gpu_pile.corpus import files
from gpu_pile.corpus.zstd_frames import walk_frame
from gpu_pile.run.rereading import Stretch
from gpu_pile.run.tables import MeasuredRange
from gpu_pile.types import Array

WINDOW_MAX = 128 * 2**20
"""The largest window of frames that are copied: what decoders accept unless they are asked to accept more."""


class Part(NamedTuple):
    """Documents lo .. hi of a range, which are all in a stretch of it.

    output: the output to which the stretch is copied; -1 where its lines are read again
    """

    lo: int
    hi: int
    output: int
    stretch: Stretch


def parts_of(measured: MeasuredRange, state: dict[str, Any], start: Array, length: Array, targets: Array) -> list[Part]:
    """Divide a range into parts, in the order of the stream; neighbours that are read again are one part.

    Args:
        state: what measuring has recorded of the shard.
        start, length: int64[n], of the range's documents in the stream, without their line feeds.
        targets: int64[n], the output to which each line goes as it is, -1 if it goes nowhere or is edited.
    """
    whole = measured.shard_range
    parts, done, at = [], 0, (whole.first, whole.start)
    for stretch, stop in [] if state["damage"] else _stretches(measured, state):
        lo, hi = np.searchsorted(start, [stretch.start, stop]).tolist()
        output = _only_output(length[lo:hi], targets[lo:hi], stop - stretch.start)
        if output < 0 or start[lo] != stretch.start or not _can_be_copied(measured, stretch):
            continue
        parts.append(Part(done, lo, -1, Stretch(at[0], stretch.first, at[1])))
        parts.append(Part(lo, hi, output, stretch))
        done, at = hi, (stretch.end, stop)
    parts.append(Part(done, len(start), -1, Stretch(at[0], whole.end, at[1])))
    return [part for part in parts if part.hi > part.lo]


def _stretches(measured: MeasuredRange, state: dict[str, Any]) -> Iterator[tuple[Stretch, int]]:
    """Yield stretches of whole frames, each with where it ends in the decompressed stream."""
    whole = measured.shard_range
    points = [(first, begin) for first, begin in state["seek_points"] if whole.first <= first < whole.end]
    following = [p["start"] for p in state["ranges"] if p["first"] == whole.end]
    stop = following[0] if following else state["stream_bytes"]
    for (first, begin), (end, until) in itertools.pairwise([*points, (whole.end, stop)]):
        yield Stretch(first, end, begin), until


def _only_output(length: Array, targets: Array, n_bytes: int) -> int:
    """Return the output to which all lines go, if there is nothing else in these n_bytes of the stream, else -1."""
    if not len(length) or int(length.sum()) + len(length) != n_bytes:
        return -1
    return int(targets[0]) if (targets == targets[0]).all() else -1


def _can_be_copied(measured: MeasuredRange, stretch: Stretch) -> bool:
    """Whether the bytes of a stretch are frames that any decoder accepts."""
    first, end, _ = stretch
    with files.read_errors(measured.shard.path), files.opened(measured.shard.path) as source:
        while first < end:
            frame = walk_frame(source, first)
            if frame.problem or frame.window > WINDOW_MAX or frame.dictionary:
                return False
            first = frame.end
    return first == end
