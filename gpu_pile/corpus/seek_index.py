"""The index of a shard's seek points: a file, and a decoder that reads by it (docs/seek-points.md).

The file is Parquet, one row and one row group per point; the first row is the beginning of the shard. The hash of a MiB
of the stream is in the row of the last point that is not after it.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.decoders import Chunk, Decoder, Problem, ZstdDecoder
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.identity import HashedFile, step_digest
from gpu_pile.corpus.seek_points import SeekPoint
from gpu_pile.corpus.zstd_frames import CHUNK
from gpu_pile.errors import DataError
from gpu_pile.types import Array

STEP = 2**20
"""Bytes of the stream that are hashed together."""

DIGEST_BYTES = 16
FORMAT = b"gpu_pile seek points 1"
SCHEMA = pa.schema(
    {
        "offset": pa.int64(),
        "position": pa.int64(),
        "frame_end": pa.int64(),
        "window": pa.int64(),
        "before": pa.binary(),
        "digests": pa.binary(),
    }
)
COLUMNS = ("offset", "position", "frame_end", "window")
DIFFERS = "the text read from a seek point is not the one that was read first: the file has changed"


class StreamHash:
    """Hashes each MiB of a stream that is delivered in pieces; the last one may be shorter."""

    def __init__(self) -> None:
        self._step = bytearray()
        self._digests: list[bytes] = []

    def add(self, data: memoryview) -> None:
        while data:
            n = min(len(data), STEP - len(self._step))
            self._step += data[:n]
            data = data[n:]
            if len(self._step) == STEP:
                self._end_step()

    def digests(self) -> list[bytes]:
        """Return the hash of each MiB, at the end of the stream."""
        if self._step:
            self._end_step()
        return self._digests

    def _end_step(self) -> None:
        self._digests.append(step_digest(self._step))
        self._step = bytearray()


def first_step(position: int) -> int:
    """Return the first MiB of the stream that can be compared when reading begins at a position."""
    return -(-position // STEP)


def write_index(target: Any, points: Sequence[SeekPoint], digests: Sequence[bytes], n_bytes: int) -> None:
    """Write an index to a Parquet file; n_bytes: of the shard's file."""
    rows = [SeekPoint(0, 0, 0, 0, b""), *points]
    steps = [*(first_step(point.position) for point in rows), len(digests)]
    metadata = {b"format": FORMAT, b"bytes": b"%d" % n_bytes}
    with pq.ParquetWriter(target, SCHEMA.with_metadata(metadata), compression="zstd", use_dictionary=False) as writer:
        for i, point in enumerate(rows):
            hashes = b"".join(digests[steps[i] : steps[i + 1]])
            row = [getattr(point, name) for name in (*COLUMNS, "before")]
            writer.write_table(pa.table([[value] for value in (*row, hashes)], schema=SCHEMA))


@dataclass(frozen=True)
class SeekIndex:
    """The seek points of a shard.

    path: of the index. n_bytes: of the shard's file.
    points: int64[n, 4], ascending, COLUMNS of each point; point 0 is the beginning of the shard
    """

    path: AnyPath
    n_bytes: int
    points: Array

    @classmethod
    def read(cls, path: AnyPath) -> SeekIndex:
        """Read an index.

        Raises:
            DataError: it is damaged, or of another version.
        """
        with _opened(path) as file:
            metadata = file.schema_arrow.metadata or {}
            if metadata.get(b"format") != FORMAT or not set(SCHEMA.names) <= set(file.schema_arrow.names):
                raise DataError(f"{path} is no index of seek points of this version: make it again")
            table = file.read(columns=list(COLUMNS))
            points = np.stack([table.column(name).to_numpy() for name in COLUMNS], axis=1)
            n_bytes = int(metadata.get(b"bytes", b"-1"))
        if len(points) != file.num_row_groups or points[:1].any() or (np.diff(points[:, 1]) <= 0).any():
            raise DataError(f"{path} is damaged: make it again")
        return cls(path, n_bytes, points)

    def point_before(self, step: int) -> int:
        """Return the number of the last point from which a MiB of the stream can be read."""
        return int(np.searchsorted(self.points[:, 1], step * STEP, "right")) - 1

    @functools.lru_cache(maxsize=4)  # noqa: B019
    def row(self, number: int) -> tuple[SeekPoint, bytes]:
        """Return (a point, the hashes of the MiBs up to the next one)."""
        with _opened(self.path) as file:
            row = file.read_row_group(number).to_pylist()[0]
        return SeekPoint(*(row[name] for name in (*COLUMNS, "before"))), row["digests"]
