"""Decoders: each fills a view with the next bytes of a shard's decompressed stream, or says what is damaged."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import zstandard

from gpu_pile.corpus.identity import FileRange, HashedFile
from gpu_pile.corpus.lines import after_first_newline
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.seek_points import PointSearch, SeekPoint, frame_head
from gpu_pile.corpus.zstd_frames import (
    CHUNK,
    MAGIC,
    Frame,
    block_at,
    find_frame,
    first_block,
    is_skippable,
    walk_frame,
)

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
STEPS = (CHUNK, 1024, 1)
"""Bytes asked of a zstd frame at a time. An error loses what its call had decoded: a damaged frame is decoded again in
smaller steps, up to the byte before the damage."""


class Problem(NamedTuple):
    """What is wrong at a byte of the file."""

    offset: int
    reason: str


class Chunk(NamedTuple):
    """What one call of a decoder brought: n_bytes in the view, or a problem.

    frame_start: byte of the file where a zstd frame begins whose first bytes these are; None for all others
    passed_over: bytes of the stream before these that are not delivered
    """

    n_bytes: int = 0
    problem: Problem | None = None
    frame_start: int | None = None
    passed_over: int = 0


class Decoder(Protocol):
    def read(self, view: memoryview) -> Chunk | None:
        """Put up to CHUNK bytes into the view; None at the end. Reading can go on after a problem."""


def decoder_of(source: HashedFile, window_bytes_max: int) -> Decoder:
    """Return the decoder of a whole file, recognised by its first bytes."""
    head = source.pread(64, 0)
    if head[:4] == MAGIC or is_skippable(head):
        return ZstdDecoder(source, window_bytes_max)
    for members in MEMBERS:
        if head.startswith(members.magic):
            return MembersDecoder(source, members, window_bytes_max)
    if head.removeprefix(BYTE_ORDER_MARK).lstrip()[:1] in (b"{", b"[", b'"', b""):
        return PlainDecoder(source)
    return UnknownDecoder(source, window_bytes_max, head)


def format_of(source: HashedFile) -> str:
    """Return the name of a file's format by its first bytes: zstd, gzip, bzip2, xz, or plain for all others."""
    head = source.pread(64, 0)
    if head[:4] == MAGIC or is_skippable(head):
        return "zstd"
    return next((members.name for members in MEMBERS if head.startswith(members.magic)), "plain")


class PlainDecoder:
    """The bytes of the file as they are."""

    def __init__(self, source: HashedFile) -> None:
        self._source = source

    def read(self, view: memoryview) -> Chunk | None:
        n = self._source.readinto(view)
        return Chunk(n) if n else None


class UnknownDecoder:
    """A file of no known format: says so, then goes on at the first zstd frame in it, if there is one."""

    def __init__(self, source: HashedFile, window_bytes_max: int, head: bytes) -> None:
        reason = f"is neither JSON lines nor compressed by zstd, gzip, bzip2 or xz: it begins with {head[:8].hex(' ')}"
        begin = 1
        if head.startswith((b"PAR1", b"ARROW1")):
            begin, kind = source.size, "Parquet" if head.startswith(b"PAR1") else "Arrow"
            reason = f"is {kind}, which is recognised by the file's name: call it *.{kind.lower()}"
        self._problem: Problem | None = Problem(0, reason)
        self._frames = ZstdDecoder(source, window_bytes_max, find_frame(source, begin))

    def read(self, view: memoryview) -> Chunk | None:
        if self._problem is not None:
            problem, self._problem = self._problem, None
            return Chunk(problem=problem)
        return self._frames.read(view)


class _GzipMember:
    """A member of a gzip file, with the methods of the decompressors of bz2 and lzma."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._waiting = b""

    @property
    def eof(self) -> bool:
        return self._member.eof

    @property
    def needs_input(self) -> bool:
        return not self._waiting

    @property
    def unused_data(self) -> bytes:
        return self._member.unused_data

    def decompress(self, data: bytes, n: int) -> bytes:
        decoded = self._member.decompress(self._waiting + data, n)
        self._waiting = self._member.unconsumed_tail
        return decoded


class Members(NamedTuple):
    """A format whose files are members one after the other, each compressed separately.

    begin: begin(bytes of memory that it may take) returns the decompressor of a member
    """

    name: str
    magic: bytes
    begin: Callable[[int], Any]


XZ_STATE = 2**20
"""Bytes that a decompressor of xz takes besides its dictionary."""

MEMBERS = (
    Members("gzip", b"\x1f\x8b", lambda memory: _GzipMember()),
    Members("bzip2", b"BZh", lambda memory: bz2.BZ2Decompressor()),
    Members("xz", b"\xfd7zXZ\x00", lambda memory: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory + XZ_STATE)),
)


class MembersDecoder:
    """The members of a file; zero bytes between and after them are padding. Ends at the first problem."""

    def __init__(self, source: HashedFile, members: Members, window_bytes_max: int) -> None:
        self._source, self._members, self._window_bytes_max = source, members, window_bytes_max
        self._waiting = b""  # compressed bytes that were read and not yet handed to a decompressor
        self._ended = False
        self._begin_member()

    def read(self, view: memoryview) -> Chunk | None:
        while not self._ended:
            decoded, problem = b"", self._next_member() if self._member.eof else self._fill()
            if problem is None and not self._member.eof:
                decoded, problem = self._decompress()
            if problem is not None:
                self._ended = True
                return Chunk(problem=problem)
            if decoded:
                view[: len(decoded)] = decoded
                return Chunk(len(decoded))
        return None

    def _explained(self, error: Exception) -> str:
        if "limit exceeded" in str(error):
            return (
                f"the {self._members.name} data asks for more memory than input.window_bytes_max = "
                f"{self._window_bytes_max}; reading stops here. Raise the limit if memory allows"
            )
        return f"corrupt {self._members.name} data ({error})"

    def _begin_member(self) -> None:
        self._member = self._members.begin(self._window_bytes_max)
        self._start = self._source.position - len(self._waiting)

    def _fill(self) -> Problem | None:
        """Have compressed bytes at hand, if the decompressor needs some."""
        if self._waiting or not self._member.needs_input:
            return None
        self._waiting = self._source.read(CHUNK)
        if self._waiting:
            return None
        return Problem(self._source.size, f"the {self._members.name} data is cut off: the file is truncated")

    def _decompress(self) -> tuple[bytes, Problem | None]:
        member, data = self._member, self._waiting
        self._waiting = b""
        try:
            decoded = member.decompress(data, CHUNK)
        except (zlib.error, lzma.LZMAError, OSError) as error:
            return b"", Problem(self._start, self._explained(error))
        if member.eof:
            self._waiting = member.unused_data
        return decoded, None

    def _next_member(self) -> Problem | None:
        """Begin the next member, or end."""
        source, magic = self._source, self._members.magic
        self._waiting = (self._waiting or source.read(CHUNK)).lstrip(b"\0")
        if not self._waiting:
            self._ended = source.position == source.size
            return None
        if self._waiting[: len(magic)] != magic[: len(self._waiting)]:
            return Problem(source.position - len(self._waiting), f"garbage after the {self._members.name} data")
        self._begin_member()
        return None


class BlockFeed(FileRange):
    """A zstd frame as a readable object: pieces of any size, or where `by_block` is set, up to the end of a block.

    Args:
        first_block: where the header of a block begins.
        head: see FileRange.
    """

    def __init__(self, file: HashedFile, start: int, end: int, first_block: int, head: bytes = b"") -> None:
        super().__init__(file, start, end, head)
        self._block_end = first_block
        self.by_block = False

    def read(self, n: int = -1) -> bytes:
        if not self.by_block:
            return super().read(n)
        while self._block_end <= self.position < self._end:
            is_last, end = block_at(self._file, self._block_end)
            self._block_end = self._end if is_last or end < 0 else end
        return super().read(self._block_end - self.position)


class ZstdDecoder:
    """The zstd frames of a file from a position on. After a problem it goes on at the next sound frame.

    Args:
        position: where a frame begins.
        range_end: where the file's ranges were split; a frame that goes over it shows that the file has changed.
        search: finds seek points in the frames, on the way.
    """

    def __init__(
        self,
        source: HashedFile,
        window_bytes_max: int,
        position: int = 0,
        range_end: int | None = None,
        search: PointSearch | None = None,
    ) -> None:
        self._source = source
        self._window_bytes_max = window_bytes_max
        self._range_end = source.size if range_end is None else range_end
        self._position = position  # of the frame that is read, or of the next one
        self._frame: Frame | None = None
        self._point: SeekPoint | None = None  # where the frame's reading began, if not at its beginning
        self._search = search
        self._waiting = b""  # decompressed for the search, and not delivered yet
        self._stream_position = 0
        self.frame_start = position
        """Where the frame begins that was read last."""

    @classmethod
    def from_point(cls, source: HashedFile, window_bytes_max: int, point: SeekPoint) -> ZstdDecoder:
        """Return a decoder whose stream begins at a seek point."""
        decoder = cls(source, window_bytes_max, point.offset)
        decoder._point, decoder._frame_end, decoder._delivered = point, point.frame_end - point.checksum, 0
        decoder._frame = Frame(point.frame_end, data=True, window=point.window)
        decoder._begin_attempt(0)
        return decoder

    @property
    def is_beyond(self) -> bool:
        """Whether the last chunk is of a frame after the range."""
        return self.frame_start >= self._range_end

    def read(self, view: memoryview) -> Chunk | None:
        while self._position < self._source.size:
            if self._frame is None:
                problem = self._begin_frame()
                if problem is not None:
                    return Chunk(problem=problem)
            else:
                chunk = self._read_frame(view)
                if chunk is not None:
                    return chunk
        return None

    def _begin_frame(self) -> Problem | None:
        """Walk the frame at the position: skip it, refuse it, or begin to read it."""
        self.frame_start = self._position
        frame = walk_frame(self._source, self._position)
        if self._position < self._range_end < frame.end:
            frame = frame._replace(problem="the file changed while it was read", data=False)
        if frame.skippable and not frame.problem:
            self._position = frame.end
            return None
        refused = self._refused(frame)
        if refused:
            return self._leave(frame, refused)
        self._frame, self._point = frame, None
        self._frame_end = find_frame(self._source, self._position + 4) if frame.problem else frame.end
        self._delivered = 0
        if self._search is not None and not frame.problem:
            self._search.begin_frame(frame, self._stream_position)
        self._begin_attempt(0)
        return None

    def _refused(self, frame: Frame) -> str:
        """Why a frame is not decompressed at all; "" if it is."""
        if frame.window > self._window_bytes_max:
            return (
                f"the frame asks for a window of {frame.window} bytes, more than input.window_bytes_max = "
                f"{self._window_bytes_max}; it is left out. Raise the limit if memory allows"
            )
        if frame.dictionary:
            return f"the frame needs the dictionary {frame.dictionary}, which is not supported; it is left out"
        return "" if frame.data else frame.problem

    def _begin_attempt(self, attempt: int) -> None:
        """Decompress the frame from its beginning, up to where the attempt before had come."""
        self._attempt = attempt
        point = self._point
        head = b"" if point is None else frame_head(point.window, point.before)
        begin = first_block(self._source, self._position) if point is None else self._position
        decompressor = zstandard.ZstdDecompressor(max_window_size=max(self._window_bytes_max, 1024))
        self._feed = BlockFeed(self._source, self._position, self._frame_end, begin, head)
        self._reader = decompressor.stream_reader(cast(Any, self._feed), read_size=CHUNK)
        self._waiting = b""
        left = self._delivered + (len(point.before) if point is not None else 0)
        while left:
            passed_over = len(self._reader.read(min(left, CHUNK)))
            if not passed_over:
                raise zstandard.ZstdError("the frame has ended")
            left -= passed_over

    def _read_frame(self, view: memoryview) -> Chunk | None:
        """Return the frame's next chunk or its problem; None at its end or when it has to be read again."""
        assert self._frame is not None
        try:
            n = self._decompress(view[: STEPS[self._attempt]])
        except zstandard.ZstdError as error:
            self._end_search()
            if self._attempt + 1 < len(STEPS):
                self._begin_attempt(self._attempt + 1)
                return None
            what = str(error).removeprefix("zstd decompress error: ")
            return Chunk(problem=self._leave(self._frame, self._frame.problem or f"corrupt zstd frame ({what})"))
        if n:
            first = self._delivered == 0
            self._delivered += n
            self._stream_position += n
            return Chunk(n, frame_start=self._position if first else None)
        self._end_search()
        if self._frame.problem:
            return Chunk(problem=self._leave(self._frame, self._frame.problem))
        self._position, self._frame = self._frame.end, None
        return None

    def _decompress(self, view: memoryview) -> int:
        """Fill the view with the frame's next bytes; near a place for a seek point, with those of a block."""
        if self._search is None or not (self._waiting or self._search.is_near(self._stream_position)):
            self._feed.by_block = False
            return self._reader.readinto(view)
        if not self._waiting:
            self._feed.by_block, before = True, self._feed.position
            self._waiting = self._reader.read1(2 * CHUNK)
            known = self._feed.position > before and len(self._waiting) < 2 * CHUNK
            self._search.add(self._waiting, self._stream_position, self._feed.position if known else None)
        n = min(len(view), len(self._waiting))
        view[:n], self._waiting = self._waiting[:n], self._waiting[n:]
        return n

    def _end_search(self) -> None:
        if self._search is not None:
            self._search.end_frame()

    def _leave(self, frame: Frame, reason: str) -> Problem:
        """Go on after a damaged or refused frame."""
        problem = Problem(self._position, reason)
        self._position = find_frame(self._source, self._position + 4) if frame.problem else frame.end
        self._frame = None
        return problem


class RangeStream(Decoder, Protocol):
    """A decoder that tells whether what it read last is after a range."""

    @property
    def is_beyond(self) -> bool:
        """Whether the last chunk begins where the range ends, or later; no chunk is on both sides."""


class RangeDecoder:
    """What the lines of a range are in, and nothing else. Ends at the first problem.

    A range's lines begin after its first line feed (the first range's at its beginning), and the last one ends at the
    first line feed after the range: the frames after the range are read up to there.

    own_bytes: bytes of the stream that are the range's own

    Args:
        stream: the stream from the beginning of the range on.
    """

    def __init__(self, stream: RangeStream, shard_range: ShardRange) -> None:
        self._stream = stream
        self._inside = shard_range.index == 0  # after the line feed that the range's lines begin after
        self._ended = False
        self.own_bytes = 0

    def read(self, view: memoryview) -> Chunk | None:
        chunk = None if self._ended else self._stream.read(view)
        if chunk is None or chunk.problem is not None:
            self._ended = True
            return chunk
        return self._beyond(view, chunk) if self._stream.is_beyond else self._own(view, chunk)

    def _own(self, view: memoryview, chunk: Chunk) -> Chunk:
        """Leave out what comes before the first line of the range."""
        self.own_bytes += chunk.n_bytes
        if self._inside:
            return chunk
        data = np.frombuffer(view, np.uint8)
        begin = after_first_newline(data, chunk.n_bytes)
        self._inside = begin >= 0
        if not self._inside:
            begin = chunk.n_bytes
        if not begin:
            return chunk
        n = chunk.n_bytes - begin
        data[:n] = data[begin : chunk.n_bytes].copy()
        return Chunk(n, passed_over=begin)

    def _beyond(self, view: memoryview, chunk: Chunk) -> Chunk:
        """Take the rest of the last line."""
        if not self._inside:
            self._ended = True
            return Chunk()
        end = after_first_newline(np.frombuffer(view, np.uint8), chunk.n_bytes)
        self._ended = end >= 0
        return Chunk(end if self._ended else chunk.n_bytes)
