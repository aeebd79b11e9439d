"""Output shards. A format is a class with the methods of Sink and one line in FORMATS."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, ClassVar, NamedTuple, Protocol

import zstandard

from gpu_pile.corpus import tables
from gpu_pile.corpus.files import AnyPath, AtomicFile
from gpu_pile.errors import DataError, UsageError


class Compression(NamedTuple):
    """How output is compressed; a format that does not compress ignores it.

    level:    of zstd
    threads:  zstd threads for one shard; 0: the thread that writes
    checksum: add a checksum of the content
    frames:   each group of lines is a frame of its own; otherwise there is one frame
    """

    level: int = 3
    threads: int = 0
    checksum: bool = True
    frames: bool = False


class Sink(Protocol):
    """An output shard in the making. No file has its name before commit().

    The bytes of the file must depend on the lines alone; only with compression.frames may they depend on how the lines
    were divided into groups. The files of consecutive ranges of a shard, joined byte by byte, must be a file of the
    same format.

    name:   of the format, for the configuration
    suffix: of the file names
    copies: whether the format is that of compressed shards, so that whole frames of a shard can be copied
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    copies: ClassVar[bool]

    def __init__(self, path: AnyPath, compression: Compression) -> None: ...

    def open(self) -> None:
        """Begin the partial file; called once, first."""

    def encode(self, lines: Any) -> Any:
        """Return what write() takes for a group of whole lines, each with its line feed; any thread calls it."""

    def write(self, encoded: Any) -> None:
        """Append a group of lines."""

    def copy(self, frames: Any) -> None:
        """Append bytes of whole frames as they are; called only if `copies`."""

    def finish(self) -> AtomicFile:
        """Complete the partial file and return it: what is left is its commit, alone or with others."""

    def commit(self) -> None:
        """Complete the file and give it its name."""

    def discard(self) -> None:
        """Leave nothing; allowed at any time before commit(), and twice."""

    @classmethod
    def lines(cls, path: AnyPath) -> Iterator[bytes]:
        """Return each line of a finished file without its line feed. verify reads by this; write does not.

        Raises:
            DataError: the file is damaged.
        """


class LineSink:
    """What sinks of lines have in common: an atomic file, to which `writer` writes and from which `reader` reads."""

    copies: ClassVar[bool] = False

    def __init__(self, path: AnyPath, compression: Compression) -> None:
        self.path = path
        self.compression = compression
        self._atomic: AtomicFile | None = None
        self._file: BinaryIO | None = None

    def writer(self, file: Any) -> Any:
        """Return the object that takes the lines and writes to a binary file: it has write() and close()."""
        return file

    @staticmethod
    def reader(file: BinaryIO) -> Iterable[bytes]:
        """Return the lines in a binary file."""
        return file

    @classmethod
    def lines(cls, path: AnyPath) -> Iterator[bytes]:
        with path.open("rb") as file:
            try:
                for line in cls.reader(file):
                    yield line.removesuffix(b"\n")
            except (OSError, EOFError, zstandard.ZstdError) as error:
                raise DataError(f"{path} is damaged: {error}") from error

    def open(self) -> None:
        self._atomic = AtomicFile(self.path)
        with self._atomic.errors():
            self._file = self._atomic.partial.open("wb")
        self._writer = self.writer(self._file)

    def encode(self, lines: Any) -> Any:
        return lines

    def write(self, encoded: Any) -> None:
        assert self._atomic is not None, "open() comes first"
        with self._atomic.errors():
            self._writer.write(encoded)

    def copy(self, frames: Any) -> None:
        raise NotImplementedError("this format does not copy frames")

    def finish(self) -> AtomicFile:
        assert self._atomic is not None, "open() comes first"
        assert self._file is not None, "open() comes first"
        try:
            with self._atomic.errors():
                self._writer.close()
                self._file.close()
        except BaseException:
            self.discard()
            raise
        return self._atomic

    def commit(self) -> None:
        self.finish().commit()

    def discard(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what cannot be written is removed anyway
                self._file.close()
        if self._atomic is not None:
            self._atomic.discard()


class ZstdFrames(LineSink):
    """zstd frames: one for the lines between frames that are copied, or one for each group of lines.

    One frame has no content size, because that is not known when it begins.
    """

    name: ClassVar[str] = "zstd"
    suffix: ClassVar[str] = ".jsonl.zst"
    copies: ClassVar[bool] = True

    def encode(self, lines: Any) -> Any:
        level, _, checksum, frames = self.compression
        if not frames:
            return lines
        return zstandard.ZstdCompressor(level=level, write_checksum=checksum).compress(lines)

    def writer(self, file: Any) -> Any:
        return _Frames(file, self.compression)

    def copy(self, frames: Any) -> None:
        assert self._atomic is not None, "open() comes first"
        with self._atomic.errors():
            self._writer.copy(frames)

    @staticmethod
    def reader(file: BinaryIO) -> Iterable[bytes]:
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True), 2**20)


class _Frames:
    """Writes lines as one frame, and whole frames as they are; the file has at least one frame in the end."""

    def __init__(self, file: Any, compression: Compression) -> None:
        self._file, self._compression = file, compression
        self._stream: Any = None  # the frame under way
        self._is_empty = True

    def write(self, lines: Any) -> None:
        if self._compression.frames:
            self.copy(lines)
            return
        if self._stream is None:
            self._begin()
        self._stream.write(lines)

    def copy(self, frames: Any) -> None:
        self._end()
        self._file.write(frames)
        self._is_empty = False

    def close(self) -> None:
        if self._is_empty and self._stream is None:
            self._begin()
        self._end()

    def _begin(self) -> None:
        level, threads, checksum, _ = self._compression
        compressor = zstandard.ZstdCompressor(
            level=level, threads=threads, write_checksum=checksum, write_content_size=False
        )
        self._stream = compressor.stream_writer(self._file, closefd=False)

    def _end(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream, self._is_empty = None, False


FORMATS: list[type[Sink]] = [ZstdFrames]
"""The output formats of lines; the first one is the default."""

SAME = "same"
"""The format that shards come in: JSON lines in the first of FORMATS; Parquet and Arrow in their own."""

PARQUET = "parquet"
"""The format of rows, also for shards that come as JSON lines or as Arrow (gpu_pile.corpus.row_sinks)."""


def check_format(name: str) -> None:
    """Raise a UsageError unless there is an output format of this name."""
    if name != PARQUET:
        sink_of(name)


def sink_of(name: str) -> type[Sink]:
    """Return the sink of a format of lines.

    Raises:
        UsageError: there is no such format.
    """
    if name == SAME:
        return FORMATS[0]
    for sink in FORMATS:
        if sink.name == name:
            return sink
    known = ", ".join([SAME, *(sink.name for sink in FORMATS), PARQUET])
    raise UsageError(f"there is no output format {name!r}; expected {known}")


def suffix_of(name: str, inputs: Iterable[str]) -> str:
    """Return the suffix of output shards of a format; inputs: the names of the files that are read."""
    first = next(iter(inputs), "")
    if name == PARQUET or (name == SAME and first.endswith(tables.PARQUET)):
        return ".parquet"
    return ".arrow" if name == SAME and first.endswith(tables.ARROW) else sink_of(name).suffix
