"""Shards: finding them, reading them block by block whatever state they are in, writing the kept ones.

A shard is a file of JSON lines, compressed with zstd (one frame or many, cut anywhere, skippable frames between) or
gzip, or plain; its format is told by its content. It is decompressed in bounded memory into blocks of whole lines.

Damage (a corrupt or truncated frame, garbage, a wrong checksum, a window beyond the limit) is recorded and costs what
cannot be decompressed, no more: everything before it is delivered up to the last whole line, and reading goes on at
the next sound frame. What is delivered does not depend on the size of the blocks.

A shard of several zstd frames is split into ranges that are read in parallel (docs/decisions/0011-ranges-of-shards.md).
"""

from __future__ import annotations

import dataclasses
import os
import threading
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import zstandard

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.identity import FileRange, HashedFile, identity_of
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.zstd_frames import CHUNK, MAGIC, find_frame, is_skippable, walk_frame
from gpu_pile.errors import DataError, UsageError
from gpu_pile.text.jit import jit
from gpu_pile.text.simd import SLACK, count_newlines
from gpu_pile.types import Array

SEEK_SPACING = 4 * 2**20
"""Places where reading can begin are remembered this many decompressed bytes apart, at least."""

SEEK_POINTS_MAX = 20_000


@dataclass(frozen=True)
class Limits:
    """What hostile input may cost.

    window_bytes_max: the largest zstd window: the decoder's memory.
    line_bytes_max:   a longer line is a bad line and is not kept in memory; at least a block and CHUNK.
    expansion_max:    a shard may expand to this many times its size, or to 1 GiB if that is more.
    """

    window_bytes_max: int = 128 * 2**20
    line_bytes_max: int = 2**30
    expansion_max: int = 1000

    def stream_bytes_max(self, file_bytes: int) -> int:
        """What a file, or a range of one, may come to."""
        return max(2**30, self.expansion_max * file_bytes)


@dataclass(frozen=True)
class Damage:
    """Where a shard is damaged: byte of the file, lines delivered before, and what is wrong.

    Lines after it are numbered as if those that were lost had not been there.
    """

    offset: int
    line: int
    reason: str


@dataclass
class Block:
    """Whole lines: data[:n_bytes], with SLACK more bytes that can be read behind them.

    first_line: 0-based number of the first line; start: where it is in the decompressed stream. The shard's last line
    may lack its line feed. data is reused after release().
    """

    data: Array
    n_bytes: int
    first_line: int
    start: int

    def release(self) -> None:
        """Hand the buffer back; the block must not be used any more."""
        _BUFFERS.give(self.data)
        self.data = self.data[:0]


class _Buffers:
    """Buffers for reuse: touching fresh memory costs more than decompressing into it."""

    def __init__(self, most: int) -> None:
        self._free: list[Array] = []
        self._most = most
        self._lock = threading.Lock()
        self.allocate: Callable[[int], Array] = lambda n: np.empty(n, np.uint8)

    def take(self, size: int) -> Array:
        with self._lock:
            for i, buffer in enumerate(self._free):
                if len(buffer) == size:
                    return self._free.pop(i)
        return self.allocate(size)

    def give(self, buffer: Array) -> None:
        with self._lock:
            self._free.append(buffer)
            if len(self._free) > self._most:
                self._free.pop(0)


_BUFFERS = _Buffers(most=2 * (os.cpu_count() or 1) + 2)


def use_allocator(allocate: Callable[[int], Array]) -> None:
    """Take memory for blocks from here: a GPU is fed from pinned memory."""
    _BUFFERS.allocate = allocate


@dataclass(frozen=True)
class _Problem:
    """What a decoder met at a byte of the file."""

    offset: int
    reason: str


_Decoder = Generator[int | _Problem, memoryview, None]
"""Told where to put the next CHUNK bytes, yields how many came, or the problem met there."""


class ShardReader:
    """Iterates over a shard's blocks. After the last one:

    damages:      what was damaged
    bad_lines:    (1-based line, reason) of lines over line_bytes_max
    digests:      of the file's bytes, a digest for every IDENTITY_STEP; of a range, those that begin in it
    identity:     what identity_of makes of them; of a whole shard only
    n_lines, stream_bytes: lines and bytes delivered
    seek_points:  (byte of the file, byte of the decompressed stream) where a zstd frame begins, SEEK_SPACING apart
    compressed_bytes_read: of the file, or of the range, also valid while reading

    Args:
        start: one of the seek points of the same file: reading begins there. Block.start counts as if from the
            beginning; lines are numbered from there, the first one may be a part of a line, and there is no identity.
        shard_range: read the lines of this range alone. Lines are numbered from its own, bytes of the stream from its
            start. Reading ends where something is damaged: what that costs the shard is known only to a reader of all
            of it. Afterwards own_bytes is what the range's own frames came to.
    """

    def __init__(
        self,
        shard: Shard | AnyPath,
        *,
        block_bytes: int = 16 * 2**20,
        limits: Limits | None = None,
        start: tuple[int, int] = (0, 0),
        shard_range: ShardRange | None = None,
    ) -> None:
        self.path = shard.path if isinstance(shard, Shard) else files.path_of(shard)
        self.limits = limits or Limits()
        self.block_bytes = block_bytes
        if self.limits.line_bytes_max < block_bytes + CHUNK:
            raise UsageError(
                f"input.line_bytes_max = {self.limits.line_bytes_max} is too small for batch_bytes = {block_bytes}: "
                f"it must be at least {block_bytes + CHUNK}"
            )
        self.damages: list[Damage] = []
        self.bad_lines: list[tuple[int, str]] = []
        self.digests: list[bytes] = []
        self.identity = ""
        self.n_lines = 0
        self.shard_range = shard_range if shard_range is not None and shard_range.of > 1 else None
        self.start, self.stream_bytes = start
        if self.shard_range is not None:
            self.start, self.stream_bytes = self.shard_range.first, self.shard_range.start
        self.own_bytes = 0
        self.seek_points: list[tuple[int, int]] = []
        self._frame: int | None = None
        self.compressed_bytes_read = 0

    def __iter__(self) -> Iterator[Block]:
        try:
            with files.opened(self.path) as source:
                end = self.shard_range.end if self.shard_range else source.size
                hashed = None if self.start and not self.shard_range else (self.start, end)
                self._file = HashedFile(source, hashed, self.start)
                self._end = end
                yield from self._blocks()
                self.compressed_bytes_read = self._end - self.start
                if hashed is not None:
                    self.digests = self._file.all_digests()
                    self.identity = "" if self.shard_range else identity_of(self.digests)
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}") from error

    def _blocks(self) -> Iterator[Block]:
        standard = self.block_bytes + CHUNK + SLACK
        decoder = self._decoder()
        next(decoder)  # runs to where it waits for room
        buffer, used = _BUFFERS.take(standard), 0
        whole = 0  # bytes of whole lines in it
        skipping = False  # inside a line over the limit
        if self.shard_range is None:
            most = self.limits.stream_bytes_max(self._file.size)
        else:
            most = self.shard_range.start + self.limits.stream_bytes_max(self.shard_range.n_bytes)
        ended = False
        while not ended:
            if used + CHUNK + SLACK > len(buffer):  # one line fills it
                if used > self.limits.line_bytes_max:
                    skipping = True
                    self.stream_bytes += used
                    used = 0
                else:
                    grown = np.empty(2 * len(buffer), np.uint8)
                    grown[:used] = buffer[:used]
                    buffer = grown
            try:
                got = decoder.send(buffer[used : used + CHUNK].data)
            except StopIteration:
                got, ended = 0, True
            self.compressed_bytes_read = min(self._file.position, self._end) - self.start
            if self._frame is not None and not isinstance(got, _Problem):
                place = (self._frame, self.stream_bytes + used)
                far = not self.seek_points or place[1] - self.seek_points[-1][1] >= SEEK_SPACING
                if far and len(self.seek_points) < SEEK_POINTS_MAX:
                    self.seek_points.append(place)
                self._frame = None
            if isinstance(got, _Problem):
                skipping = False
                if whole:  # the cut line behind them is lost
                    yield self._block(buffer, whole)
                    buffer = _BUFFERS.take(standard)
                used = whole = 0
                self.damages.append(Damage(got.offset, self.n_lines, got.reason))
                continue
            if skipping:
                end = _first_newline(buffer, got)
                if end < 0 and not ended:
                    self.stream_bytes += got
                    continue
                self._too_long(end if end >= 0 else got)
                skipping = False
                used = got - max(end, 0) if end >= 0 else 0
                buffer[:used] = buffer[got - used : got].copy()
                whole = _last_newline(buffer, 0, used)
            else:
                last = _last_newline(buffer, used, used + got)
                whole = last or whole
                used += got
                if last and used > self.limits.line_bytes_max:
                    first = _first_newline(buffer, whole)
                    if first - 1 > self.limits.line_bytes_max:
                        self._too_long(first)
                        used -= first
                        whole -= first
                        buffer[:used] = buffer[first : first + used].copy()
            if self.stream_bytes + used > most:
                self.damages.append(
                    Damage(
                        self._file.position,
                        self.n_lines,
                        f"expands to more than {most} bytes, {self.limits.expansion_max} times its size; reading stops "
                        "here. If the shard is to be trusted, raise input.expansion_max",
                    )
                )
                used, ended = whole, True
            last_too_long = ended and used - whole > self.limits.line_bytes_max
            cut = used if ended and not last_too_long else whole
            if cut and (used >= self.block_bytes or ended):
                rest = buffer[cut:used]
                following = _BUFFERS.take(standard) if len(rest) + CHUNK + SLACK <= standard else np.empty_like(buffer)
                following[: len(rest)] = rest
                yield self._block(buffer, cut)
                buffer, used, whole = following, len(rest), 0
            if last_too_long:
                self._too_long(used)
        _BUFFERS.give(buffer)

    def _block(self, buffer: Array, n: int) -> Block:
        buffer[n : n + SLACK] = 0
        block = Block(buffer, n, self.n_lines, self.stream_bytes)
        self.n_lines += count_newlines(buffer, n) + int(buffer[n - 1] != 10)
        self.stream_bytes += n
        return block

    def _too_long(self, n: int) -> None:
        """The line that ends after n more bytes of the stream is over the limit and is passed over."""
        self.n_lines += 1
        self.stream_bytes += n
        reason = f"longer than input.line_bytes_max = {self.limits.line_bytes_max} bytes"
        self.bad_lines.append((self.n_lines, reason))

    # decoders

    def _decoder(self) -> _Decoder:
        head = self._file.pread(64, 0)
        if self.shard_range is not None:
            yield from self._lines_of(self.shard_range)
        elif self.start:
            yield from self._zstd(self.start)
        elif head[:4] == MAGIC or is_skippable(head):
            yield from self._zstd()
        elif head[:2] == b"\x1f\x8b":
            yield from self._gzip()
        elif not head or head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[", b'"', b""):
            yield from self._plain()
        else:
            frame = find_frame(self._file, 1)
            reason = f"is neither zstd, gzip nor JSON lines: it begins with {head[:8].hex(' ')}"
            view = yield 0
            view = yield _Problem(0, reason)
            if frame < self._file.size:
                yield from self._zstd(frame, view)

    def _lines_of(self, shard_range: ShardRange) -> _Decoder:
        """What the range's lines are in, and nothing else: up to the first problem."""
        self.seek_points.append((shard_range.first, shard_range.start))
        decoder = self._zstd(shard_range.first)
        next(decoder)
        view = yield 0
        inside = shard_range.index == 0  # behind the line feed that the range's lines begin behind
        ended = False
        while not ended:
            try:
                got = decoder.send(view)
            except StopIteration:
                return
            if isinstance(got, _Problem):
                yield got
                return
            beyond = self._frame_at >= shard_range.end
            self.own_bytes += 0 if beyond else got
            chunk = np.frombuffer(view, np.uint8)
            begin, end = 0, got
            if not inside:
                behind = -1 if beyond else _first_newline(chunk, got)
                ended, inside = beyond, behind >= 0
                begin = behind if inside else got
                self.stream_bytes += 0 if beyond else begin
            elif beyond and (behind := _first_newline(chunk, got)) >= 0:
                ended, end = True, behind
            if begin or beyond:
                self._frame = None  # where it begins is no place in what is delivered
            if begin:
                chunk[: end - begin] = chunk[begin:end].copy()
            view = yield end - begin

    def _plain(self) -> _Decoder:
        view = yield 0
        while n := self._file.readinto(view):
            view = yield n

    def _gzip(self) -> _Decoder:
        view = yield 0
        source = self._file
        waiting = b""
        while True:  # member by member
            member = zlib.decompressobj(wbits=31)
            start = source.position - len(waiting)
            try:
                while not member.eof:
                    if not waiting:
                        waiting = source.read(CHUNK)
                        if not waiting:
                            yield _Problem(source.size, "the gzip data is cut off: the file is truncated")
                            return
                    out = member.decompress(waiting, CHUNK)
                    waiting = member.unconsumed_tail
                    if out:
                        view[: len(out)] = out
                        view = yield len(out)
            except zlib.error as error:
                yield _Problem(start, f"corrupt gzip data ({error})")
                return
            waiting = (member.unused_data or source.read(CHUNK)).lstrip(b"\0")
            if not waiting and source.position == source.size:
                return
            if waiting[:2] != b"\x1f\x8b"[: len(waiting)]:
                yield _Problem(source.position - len(waiting), "garbage behind the gzip data")
                return

    def _zstd(self, position: int = 0, view: memoryview | None = None) -> _Decoder:
        source = self._file
        if view is None:
            view = yield 0
        while position < source.size:
            frame = walk_frame(source, position)
            self._frame_at = position
            if position < self._end < frame.end:
                frame = dataclasses.replace(frame, problem="the file changed while it was read", data=False)
            if frame.skippable and not frame.problem:
                position = frame.end
                continue
            if frame.window > self.limits.window_bytes_max:
                reason = (
                    f"the frame asks for a window of {frame.window} bytes, more than input.window_bytes_max = "
                    f"{self.limits.window_bytes_max}; it is left out. Raise the limit if memory allows"
                )
            elif frame.dictionary:
                reason = f"the frame needs the dictionary {frame.dictionary}, which is not supported; it is left out"
            elif not frame.data:
                reason = frame.problem
            else:
                end = find_frame(source, position + 4) if frame.problem else frame.end
                reason = ""
                delivered = 0
                for step in (CHUNK, 1024, 1):
                    # an error loses what its call had decoded: go there again in smaller steps
                    reader = self._frame_reader(position, end)
                    _skip(reader, delivered)
                    self._frame = None if delivered else position
                    try:
                        while n := reader.readinto(view[:step]):
                            delivered += n
                            view = yield n
                        reason = ""
                        break
                    except zstandard.ZstdError as error:
                        reason = f"corrupt zstd frame ({str(error).removeprefix('zstd decompress error: ')})"
                reason = frame.problem or reason
            if reason:
                view = yield _Problem(position, reason)
                position = find_frame(source, position + 4) if frame.problem else frame.end
            else:
                position = frame.end

    def _frame_reader(self, start: int, end: int) -> Any:
        decompressor = zstandard.ZstdDecompressor(max_window_size=max(self.limits.window_bytes_max, 1024))
        source: Any = FileRange(self._file, start, end)
        return decompressor.stream_reader(source, read_size=CHUNK)


def _skip(reader: Any, n: int) -> None:
    while n:
        n -= len(reader.read(min(n, CHUNK)))


@jit
def _last_newline(data, start, end):
    """The place behind the last line feed of data[start:end], 0 if there is none."""
    while end > start:
        if data[end - 1] == 10:
            return end
        end -= 1
    return 0


@jit
def _first_newline(data, n):
    """The place behind the first line feed of data[:n], -1 if there is none."""
    for i in range(n):
        if data[i] == 10:
            return i + 1
    return -1
