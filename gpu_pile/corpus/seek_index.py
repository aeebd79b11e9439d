"""The index of a shard's seek points: a file, and a decoder that reads by it (docs/seek-points.md).

The file is Parquet, one row and one row group per point; the first row is the beginning of the shard. The hash of a MiB
of the stream is in the row of the last point that is not after it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from gpu_pile.corpus import files
from gpu_pile.corpus.decoders import Chunk, Problem, ZstdDecoder
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.identity import HashedFile, step_digest
from gpu_pile.corpus.seek_points import STEP, SeekPoint, first_step
from gpu_pile.corpus.zstd_frames import CHUNK
from gpu_pile.errors import DataError
from gpu_pile.types import Array

DIGEST_BYTES = 16
FORMAT = b"gpu_pile seek points 1"
SCHEMA = pa.schema(
    {
        "offset": pa.int64(),
        "position": pa.int64(),
        "frame_end": pa.int64(),
        "checksum": pa.int64(),
        "window": pa.int64(),
        "before": pa.binary(),
        "digests": pa.binary(),
    }
)
COLUMNS = ("offset", "position", "frame_end", "checksum", "window")
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


def write_index(target: Any, points: Sequence[SeekPoint], digests: Sequence[bytes], n_bytes: int) -> None:
    """Write an index to a Parquet file; n_bytes: of the shard's file."""
    rows = [SeekPoint(0, 0, 0, 0, 0, b""), *points]
    steps = [*(first_step(point.position) for point in rows), len(digests)]
    metadata = {b"format": FORMAT, b"bytes": b"%d" % n_bytes}
    with pq.ParquetWriter(target, SCHEMA.with_metadata(metadata), compression="zstd", use_dictionary=False) as writer:
        for i, point in enumerate(rows):
            hashes = b"".join(digests[steps[i] : steps[i + 1]])
            row = [getattr(point, name) for name in (*COLUMNS, "before")]
            writer.write_table(pa.table([[value] for value in (*row, hashes)], schema=SCHEMA))


@dataclass(frozen=True, eq=False)
class SeekIndex:
    """The seek points of a shard.

    path: of the index; None if there is none: then everything is read from the beginning and nothing is compared
    n_bytes: of the shard's file
    points: int64[n, 5], ascending, COLUMNS of each point; point 0 is the beginning of the shard
    """

    path: AnyPath | None
    n_bytes: int
    points: Array

    @classmethod
    def missing(cls, n_bytes: int) -> SeekIndex:
        """Return what stands in for an index that is lost."""
        return cls(None, n_bytes, np.zeros((1, len(COLUMNS)), np.int64))

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
        if self.path is None:
            return SeekPoint(0, 0, 0, 0, 0, b""), b""
        with _opened(self.path) as file:
            row = file.read_row_group(number).to_pylist()[0]
        return SeekPoint(*(row[name] for name in (*COLUMNS, "before"))), row["digests"]

    def hash_of(self, step: int) -> bytes | None:
        """Return the hash of a MiB of the stream, nothing if the stream ends before it; None if it is not known."""
        if self.path is None:
            return None
        number = self.point_before(step)
        point, digests = self.row(number)
        first = DIGEST_BYTES * (step - first_step(point.position))
        return digests[first : first + DIGEST_BYTES]


@contextlib.contextmanager
def _opened(path: AnyPath) -> Iterator[pq.ParquetFile]:
    try:
        with files.read_errors(path), pq.ParquetFile(files.table(path)) as file:
            yield file
    except pa.ArrowException as error:
        raise DataError(f"{path} is no index of seek points, or is damaged ({error}): make it again") from None


class IndexedDecoder:
    """The stream of a shard from a position on, by the shard's index.

    Each MiB is compared with its hash before it is delivered. Where it differs it is read from an earlier point, at
    last from the beginning of the shard; if it differs then too, the file has changed, and that is the last chunk.

    is_beyond: whether what was read last begins at `stop` or later

    Args:
        start, stop: positions of the stream; no chunk goes over stop.
    """

    def __init__(
        self, source: HashedFile, window_bytes_max: int, index: SeekIndex, start: int = 0, stop: int | None = None
    ) -> None:
        self._source, self._window_bytes_max, self._index = source, window_bytes_max, index
        self._position, self._stop = start, stop
        self._step = start // STEP
        self._ready = memoryview(b"")
        self._ended = self.is_beyond = False
        self._begin(index.point_before(self._step))

    def read(self, view: memoryview) -> Chunk | None:
        if not self._ready and not self._ended:
            problem = self._read_step()
            if problem is not None:
                return Chunk(problem=problem)
        if self._ended:
            return None
        self.is_beyond = self._stop is not None and self._position >= self._stop
        n = min(len(view), len(self._ready))
        if self._stop is not None and not self.is_beyond:
            n = min(n, self._stop - self._position)
        view[:n], self._ready = self._ready[:n], self._ready[n:]
        self._position += n
        return Chunk(n)

    def _read_step(self) -> Problem | None:
        """Have the next MiB ready, from where the position is in it."""
        expected = self._index.hash_of(self._step)
        step = self._decompress_step()
        while step is None or expected not in (None, step_digest(step) if step else b""):
            if self._number == 0:
                self._ended = True
                return Problem(0, DIFFERS)
            self._begin(self._number - 1)
            step = self._decompress_step()
        self._ended = not step
        self._ready = memoryview(step)[self._position - self._step * STEP :]
        self._step += 1
        return None

    def _begin(self, number: int) -> None:
        """Go on decompressing from a point."""
        self._number = number
        point, _ = self._index.row(number)
        self._passed_over = self._step * STEP - point.position
        self._decoder: ZstdDecoder | None = None
        if number == 0:
            self._decoder = ZstdDecoder(self._source, self._window_bytes_max)
            return
        with contextlib.suppress(zstandard.ZstdError):  # a point whose own text cannot be decompressed
            self._decoder = ZstdDecoder.from_point(self._source, self._window_bytes_max, point)

    def _decompress_step(self) -> bytearray | None:
        """Return the bytes of the next MiB, fewer at the end of the stream; None where they cannot be decompressed."""
        if self._decoder is None:
            return None
        step = bytearray(STEP)
        view, filled = memoryview(step), 0
        while filled < STEP:
            n = min(CHUNK, self._passed_over or STEP - filled)
            chunk = self._decoder.read(view[filled : filled + n])
            if chunk is None:
                break
            if chunk.problem is not None:
                return None
            passed_over = min(self._passed_over, chunk.n_bytes)
            self._passed_over -= passed_over
            filled += chunk.n_bytes - passed_over
        view.release()
        del step[filled:]
        return step
