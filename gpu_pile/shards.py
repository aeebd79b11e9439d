"""Shards: finding them, reading them block by block whatever state they are in, writing the kept ones.

A shard is a file of JSON lines, compressed with zstd (one frame or many, cut anywhere, skippable frames between) or
gzip, or plain; its format is told by its content. It is decompressed in bounded memory into blocks of whole lines.

Damage (a corrupt or truncated frame, garbage, a wrong checksum, a window beyond the limit) is recorded and costs what
cannot be decompressed, no more: everything before it is delivered up to the last whole line, and reading goes on at
the next sound frame. What is delivered does not depend on the size of the blocks.

A shard of several zstd frames is cut into parts, which are read side by side (docs/decisions/0011-parts-of-shards.md).
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import hashlib
import os
import re
import struct
import threading
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zstandard

from gpu_pile import files
from gpu_pile.compiled import compiled
from gpu_pile.errors import DataError, UsageError
from gpu_pile.files import AnyPath
from gpu_pile.native import SLACK, count_newlines
from gpu_pile.remote import RemotePath

Array = np.ndarray[Any, Any]

SUFFIXES = (".jsonl", ".jsonl.zst", ".jsonl.zstd", ".jsonl.gz")
_NAME = re.compile(r"(.+?)\.jsonl(\.zst|\.zstd|\.gz)?")

SEEK_SPACING = 4 * 2**20
"""Places where reading can begin are remembered this many decompressed bytes apart, at least."""

SEEK_POINTS_MAX = 20_000

IDENTITY_STEP = 2**20
"""Bytes of a file that are hashed together for its identity."""

CHUNK = 128 * 1024
"""Bytes asked of a decoder at a time, always: so what comes before an error does not depend on the block size."""


@dataclass(frozen=True)
class Shard:
    """One input file. index is its position among all shards, sorted by name."""

    index: int
    name: str
    path: AnyPath
    n_bytes: int


def find_shards(inputs: Sequence[str | AnyPath], base: Path) -> list[Shard]:
    """The files that globs, folders, paths and URLs name, sorted by name; relative ones start at base.

    A folder stands for the files with one of SUFFIXES in it. A file named twice counts once.

    Raises:
        UsageError: an input names nothing, or two files have the same name. DataError: a file cannot be read.
    """
    problems: list[str] = []
    found: set[AnyPath] = set()
    for given in inputs:
        location = files.path_of(given)
        if isinstance(location, RemotePath):
            far = _at_url(location)
            if not far:
                problems.append(f"{given} names no file, or cannot be reached")
            found.update(far)
            continue
        text = os.fspath(base / location.expanduser())
        paths: list[Path]
        if Path(text).is_dir():
            paths = [p for p in Path(text).iterdir() if p.name.endswith(SUFFIXES) and p.is_file()]
            if not paths:
                problems.append(f"the folder {given} holds no file named *{', *'.join(SUFFIXES)}")
        elif Path(text).is_file():
            paths = [Path(text)]
        else:
            paths = [p for p in map(Path, glob.glob(text, recursive=True)) if p.is_file()]  # noqa: PTH207
            if not paths:
                problems.append(f"{given} names no file (looked in {base})")
        found.update(p.resolve() for p in paths)
    by_name: dict[str, list[AnyPath]] = {}
    for path in sorted(found, key=str):
        match = _NAME.fullmatch(path.name)
        by_name.setdefault(match[1] if match else path.stem, []).append(path)
    for name, same in by_name.items():
        if len(same) > 1:
            problems.append(
                f"two inputs have the name {name!r}: {same[0]} and {same[1]}; "
                "results are named by shard, so rename one or run them separately"
            )
    if problems:
        raise UsageError("input.shards: " + "; ".join(problems))
    unreadable = [str(p[0]) for p in by_name.values() if isinstance(p[0], Path) and not os.access(p[0], os.R_OK)]
    if unreadable:
        raise DataError(f"this user may not read {', '.join(unreadable[:5])}")
    shards = sorted(by_name)
    with files.read_errors():
        return [Shard(i, name, by_name[name][0], by_name[name][0].stat().st_size) for i, name in enumerate(shards)]


def _at_url(location: RemotePath) -> list[RemotePath]:
    with files.read_errors():
        if location.is_glob():
            return location.matches()
        if location.is_dir():
            return [p for p in location.iterdir() if p.name.endswith(SUFFIXES)]
        return [location] if location.is_file() else []


@dataclass(frozen=True)
class Part:
    """A range of a shard's file between two beginnings of zstd frames, which one job reads.

    Its lines are those that begin behind the first line feed in it, and the last of them may end behind it: it is read
    on to the first line feed of the next part. The first part's lines begin with the shard; a part without a line feed
    has none, and the part before it reads on.

    index, of:  its number from 0, and how many parts the shard has
    first, end: bytes of the file
    start:      where `first` is in the decompressed stream; 0 as long as that is not known
    """

    index: int
    of: int
    first: int
    end: int
    start: int = 0

    @property
    def n_bytes(self) -> int:
        return self.end - self.first

    def said(self, shard: Shard) -> str:
        """For people."""
        return shard.name if self.of == 1 else f"{shard.name}, part {self.index + 1} of {self.of}"


def cut(shard: Shard, part_bytes: int) -> list[Part]:
    """The parts of a shard, of at least part_bytes each: what they are depends on the file and on part_bytes alone.

    Frames are found by their headers. gzip, plain text, a shard of one frame, and one whose frames cannot be walked are
    one part; and one at a URL: a header stands every 128 KiB of text at most, to walk over them is to fetch the file.
    """
    places, size = [0], shard.n_bytes
    if size >= 2 * part_bytes and isinstance(shard.path, Path):
        try:
            with files.opened(shard.path) as opened:
                source = _Hashed(opened)
                size, position = source.size, 0
                while position < size:
                    if min(position - places[-1], size - position) >= part_bytes:
                        places.append(position)
                    frame = _walk(source, position)
                    if frame.problem:
                        places = [0]
                        break
                    position = frame.end
        except OSError as error:
            raise DataError(f"cannot read {shard.path}: {error.strerror or error}") from error
    ends = [*places[1:], size]
    return [Part(i, len(places), first, end) for i, (first, end) in enumerate(zip(places, ends, strict=True))]


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
        """What a file, or a part of one, may come to."""
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
    digests:      of the file's bytes, a digest for every IDENTITY_STEP; of a part, those that begin in it
    identity:     what identity_of makes of them; of a whole shard only
    n_lines, stream_bytes: lines and bytes delivered
    seek_points:  (byte of the file, byte of the decompressed stream) where a zstd frame begins, SEEK_SPACING apart
    compressed_bytes_read: of the file, or of the part's range, also valid while reading

    Args:
        start: one of the seek points of the same file: reading begins there. Block.start counts as if from the
            beginning; lines are numbered from there, the first one may be a part of a line, and there is no identity.
        part: read the lines of this part alone. Lines are numbered from its own, bytes of the stream from part.start.
            Reading ends where something is damaged: what that costs the shard is known only to who reads all of it.
            Afterwards own_bytes is what the part's own frames came to.
    """

    def __init__(
        self,
        shard: Shard | AnyPath,
        *,
        block_bytes: int = 16 * 2**20,
        limits: Limits | None = None,
        start: tuple[int, int] = (0, 0),
        part: Part | None = None,
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
        self.part = part if part is not None and part.of > 1 else None
        self.start, self.stream_bytes = start if self.part is None else (self.part.first, self.part.start)
        self.own_bytes = 0
        self.seek_points: list[tuple[int, int]] = []
        self._frame: int | None = None
        self.compressed_bytes_read = 0

    def __iter__(self) -> Iterator[Block]:
        try:
            with files.opened(self.path) as source:
                hashed = self.part or (None if self.start else Part(0, 1, 0, source.size))
                self._file = _Hashed(source, hashed, self.start)
                self._end = self.part.end if self.part else self._file.size
                yield from self._blocks()
                self.compressed_bytes_read = self._end - self.start
                if hashed is not None:
                    self.digests = self._file.all_digests()
                    self.identity = "" if self.part else identity_of(self.digests)
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}") from error

    def _blocks(self) -> Iterator[Block]:
        standard = self.block_bytes + CHUNK + SLACK
        decoder = self._decoder()
        next(decoder)  # runs to where it waits for room
        buffer, used = _BUFFERS.take(standard), 0
        whole = 0  # bytes of whole lines in it
        skipping = False  # inside a line over the limit
        if self.part is None:
            most = self.limits.stream_bytes_max(self._file.size)
        else:
            most = self.part.start + self.limits.stream_bytes_max(self.part.n_bytes)
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
        head = self._file.peek(0, 64)
        if self.part is not None:
            yield from self._lines_of(self.part)
        elif self.start:
            yield from self._zstd(self.start)
        elif head[:4] == _MAGIC or _is_skippable(head):
            yield from self._zstd()
        elif head[:2] == b"\x1f\x8b":
            yield from self._gzip()
        elif not head or head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[", b'"', b""):
            yield from self._plain()
        else:
            frame = _find_frame(self._file, 1)
            reason = f"is neither zstd, gzip nor JSON lines: it begins with {head[:8].hex(' ')}"
            view = yield 0
            view = yield _Problem(0, reason)
            if frame < self._file.size:
                yield from self._zstd(frame, view)

    def _lines_of(self, part: Part) -> _Decoder:
        """What the part's lines are in, and nothing else: up to the first problem."""
        self.seek_points.append((part.first, part.start))
        decoder = self._zstd(part.first)
        next(decoder)
        view = yield 0
        inside = part.index == 0  # behind the line feed that the part's lines begin behind
        ended = False
        while not ended:
            try:
                got = decoder.send(view)
            except StopIteration:
                return
            if isinstance(got, _Problem):
                yield got
                return
            beyond = self._frame_at >= part.end
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
            frame = _walk(source, position)
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
                end = _find_frame(source, position + 4) if frame.problem else frame.end
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
                position = _find_frame(source, position + 4) if frame.problem else frame.end
            else:
                position = frame.end

    def _frame_reader(self, start: int, end: int) -> Any:
        decompressor = zstandard.ZstdDecompressor(max_window_size=max(self.limits.window_bytes_max, 1024))
        source: Any = _Range(self._file, start, end)
        return decompressor.stream_reader(source, read_size=CHUNK)


def _skip(reader: Any, n: int) -> None:
    while n:
        n -= len(reader.read(min(n, CHUNK)))


class _Hashed:
    """A file of which a part's bytes are hashed in order as they are read, each once: where `part` is given.

    A part hashes the steps of IDENTITY_STEP bytes that begin in it, so that the digests of a file's parts, one behind
    the other, are those of the file.
    """

    def __init__(self, source: files.Source, part: Part | None = None, start: int = 0) -> None:
        self._source = source
        self.size = source.size
        self.position = start
        first, end = (part.first, part.end) if part else (self.size, self.size)
        self._hashed = -(-first // IDENTITY_STEP) * IDENTITY_STEP
        self._end = min(self.size, -(-end // IDENTITY_STEP) * IDENTITY_STEP)
        self._digest = hashlib.blake2b(digest_size=32)
        self._digests: list[bytes] = []

    def peek(self, start: int, n: int) -> bytes:
        """Bytes at a place, without hashing."""
        return self._source.pread(n, start)

    def read_at(self, start: int, n: int) -> bytes:
        self._hash_to(start)
        data = self.peek(start, n)
        self._hash(data, start)
        self.position = start + len(data)
        return data

    def read(self, n: int) -> bytes:
        return self.read_at(self.position, n)

    def readinto(self, view: memoryview) -> int:
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def all_digests(self) -> list[bytes]:
        """After hashing what was passed over."""
        self._hash_to(self._end)
        if self._hashed % IDENTITY_STEP and self._hashed == self._end:  # the file's last step is a short one
            self._digests.append(self._digest.digest())
            self._hashed = self._end + IDENTITY_STEP
        return self._digests

    def _hash_to(self, end: int) -> None:
        while self._hashed < min(end, self._end):
            data = self.peek(self._hashed, min(IDENTITY_STEP, self._end - self._hashed))
            if not data:
                return
            self._hash(data, self._hashed)

    def _hash(self, data: bytes, start: int) -> None:
        """Hash what of this has not been hashed yet; nothing before it is missing."""
        piece = memoryview(data)[max(0, self._hashed - start) : max(0, self._end - start)]
        while piece:
            n = IDENTITY_STEP - self._hashed % IDENTITY_STEP
            self._digest.update(piece[:n])
            self._hashed += len(piece[:n])
            if not self._hashed % IDENTITY_STEP:
                self._digests.append(self._digest.digest())
                self._digest = hashlib.blake2b(digest_size=32)
            piece = piece[n:]


def identity_of(digests: Sequence[bytes]) -> str:
    """A file's identity: BLAKE2b-256 of the BLAKE2b-256 of each IDENTITY_STEP of its bytes, which parts hash alone."""
    return hashlib.blake2b(b"".join(digests), digest_size=32).hexdigest()


def file_identity(path: AnyPath) -> str:
    """ShardReader.identity without reading what is in the file."""
    with files.opened(path) as source:
        return identity_of(_Hashed(source, Part(0, 1, 0, source.size)).all_digests())


class _Range:
    """A range of a file as something to read from."""

    def __init__(self, file: _Hashed, start: int, end: int) -> None:
        self._file, self._at, self._end = file, start, end

    def read(self, n: int = -1) -> bytes:
        left = self._end - self._at
        data = self._file.read_at(self._at, left if n < 0 else min(n, left)) if left else b""
        self._at += len(data)
        return data


# zstd frames: RFC 8878, section 3.1

_MAGIC = b"\x28\xb5\x2f\xfd"


def _is_skippable(head: bytes) -> bool:
    return len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5


@dataclass(frozen=True)
class _Frame:
    """What a walk over a frame's block headers found; data: there is something to decompress."""

    end: int
    problem: str = ""
    skippable: bool = False
    data: bool = False
    window: int = 0
    dictionary: int = 0


def _walk(source: _Hashed, start: int) -> _Frame:
    """The frame at a position, by its headers alone: nothing is decompressed."""
    size = source.size
    head = source.peek(start, 18)
    cut = "the frame is cut off: the file is truncated"
    if _is_skippable(head):
        if len(head) < 8:
            return _Frame(size, cut)
        end = start + 8 + struct.unpack_from("<I", head, 4)[0]
        return _Frame(end, skippable=True) if end <= size else _Frame(size, cut, skippable=True)
    if head[:4] != _MAGIC:
        if _MAGIC.startswith(head[:4]):
            return _Frame(size, cut)
        return _Frame(size, f"garbage instead of a zstd frame: {head[:8].hex(' ')}")
    if len(head) < 6:
        return _Frame(size, cut)
    descriptor = head[4]
    single, checksum = descriptor >> 5 & 1, descriptor >> 2 & 1
    if descriptor & 8:
        return _Frame(size, "not a valid zstd frame header")
    at = 5
    window = 0
    if not single:
        exponent, mantissa = head[5] >> 3, head[5] & 7
        window = (1 << (10 + exponent)) + ((1 << (10 + exponent)) >> 3) * mantissa
        at = 6
    id_bytes = (0, 1, 2, 4)[descriptor & 3]
    dictionary = int.from_bytes(head[at : at + id_bytes], "little")
    at += id_bytes
    content_bytes = (single, 2, 4, 8)[descriptor >> 6]
    if single:
        window = int.from_bytes(head[at : at + content_bytes], "little") + (256 if content_bytes == 2 else 0)
    at += content_bytes
    if at > len(head):
        return _Frame(size, cut)
    position = start + at
    while True:
        raw = source.peek(position, 3)
        if len(raw) < 3:
            return _Frame(size, cut, data=True, window=window, dictionary=dictionary)
        header = int.from_bytes(raw, "little")
        kind, length = header >> 1 & 3, header >> 3
        if kind == 3 or (kind == 2 and length > CHUNK):
            return _Frame(
                size, "corrupt zstd frame (bad block header)", data=True, window=window, dictionary=dictionary
            )
        position += 3 + (1 if kind == 1 else length)
        if header & 1:
            break
    position += 4 * checksum
    problem = "" if position <= size else cut
    return _Frame(min(position, size), problem, data=True, window=window, dictionary=dictionary)


def _find_frame(source: _Hashed, start: int) -> int:
    """Where the next frame begins that can be walked to its end; the file's size if there is none."""
    step = 1 << 20
    while start < source.size:
        piece = source.peek(start, step + 3)
        for match in re.finditer(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", piece):
            if not _walk(source, start + match.start()).problem:
                return start + match.start()
        start += step
    return source.size


@compiled
def _last_newline(data, start, end):
    """The place behind the last line feed of data[start:end], 0 if there is none."""
    while end > start:
        if data[end - 1] == 10:
            return end
        end -= 1
    return 0


@compiled
def _first_newline(data, n):
    """The place behind the first line feed of data[:n], -1 if there is none."""
    for i in range(n):
        if data[i] == 10:
            return i + 1
    return -1


@compiled
def copy_spans(data, starts, lengths, target):
    """Copy data[starts[i]:starts[i] + lengths[i]] to target, one after the other, a line feed behind each.

    Returns the number of bytes written.
    """
    o = 0
    for i in range(len(starts)):
        n = lengths[i]
        target[o : o + n] = data[starts[i] : starts[i] + n]
        target[o + n] = 10
        o += n + 1
    return o


class ShardWriter:
    """Writes one zstd frame; the file appears under its name when the `with` block ends without an error."""

    def __init__(self, path: AnyPath, *, level: int = 3, threads: int = 0, checksum: bool = True) -> None:
        self.path = path
        self._compressor = zstandard.ZstdCompressor(
            level=level, threads=threads, write_checksum=checksum, write_content_size=False
        )
        self._atomic = files.atomic(path)

    def __enter__(self) -> ShardWriter:
        partial = self._atomic.__enter__()
        with files.disk_errors(self.path):
            self._file = partial.open("wb")
        self._writer = self._compressor.stream_writer(self._file, closefd=False)
        return self

    def write(self, data: Any) -> None:
        with files.disk_errors(self.path):
            self._writer.write(data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                with files.disk_errors(self.path):
                    self._writer.close()
                    self._file.close()
        except BaseException as late:
            self._abandon(late)
            raise
        if error is None:
            self._atomic.__exit__(None, None, None)
        else:
            self._abandon(error)

    def _abandon(self, error: BaseException) -> None:
        with contextlib.suppress(OSError):
            self._file.close()
        try:
            self._atomic.__exit__(type(error), error, error.__traceback__)
        except BaseException as same:
            if same is not error:
                raise
