"""Read a shard block by block, whatever state it is in.

A shard is a file of JSON lines, plain or compressed by zstd (one frame or many, split anywhere, skippable frames in
between), gzip, bzip2 or xz; its format is recognised by its content. It is decompressed in bounded memory into blocks
of whole lines.

Damage (a corrupt or truncated frame, garbage, a wrong checksum, a window over the limit) is recorded and costs only
what cannot be decompressed: everything before it is delivered up to the last whole line, and reading goes on at the
next sound frame. What is delivered does not depend on the size of the blocks.

A shard of several zstd frames is split into ranges, which are read in parallel (gpu_pile.corpus.ranges).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gpu_pile.corpus import files
from gpu_pile.corpus.blocks import Block, BlockAssembler
from gpu_pile.corpus.decoders import Chunk, Decoder, RangeDecoder, ZstdDecoder, decoder_of, format_of
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.identity import HashedFile, identity_of
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.seek_index import IndexedDecoder, SeekIndex, StreamHash
from gpu_pile.corpus.seek_points import PointSearch, SeekPoint
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.zstd_frames import CHUNK
from gpu_pile.errors import UsageError

SEEK_SPACING = 4 * 2**20
"""Positions where reading can begin are recorded at least this many decompressed bytes apart."""

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
        """Return the most bytes that a file, or a range of one, may decompress to."""
        return max(2**30, self.expansion_max * file_bytes)

    def exceeded(self, stream_bytes: int) -> str:
        """The sentence for a stream that is longer than `stream_bytes`."""
        return (
            f"expands to more than {stream_bytes} bytes, {self.expansion_max} times its size; reading stops here. "
            "If the shard is to be trusted, raise input.expansion_max"
        )


@dataclass(frozen=True)
class Damage:
    """Where a shard is damaged: byte of the file, lines delivered before, and what is wrong.

    Lines after the damage are numbered as if the lost lines had not been there.
    """

    offset: int
    line: int
    reason: str


class ShardReader:
    """Iterates over a shard's blocks. After the last one:

    damages:      what was damaged
    bad_lines:    (1-based line, reason) of lines over line_bytes_max
    digests:      with identify: one per IDENTITY_STEP bytes of the file; of a range, those that begin in it
    identity:     identity_of(digests); of a whole shard only, else ""
    n_lines, stream_bytes: lines and bytes delivered
    own_bytes:    of a range: decompressed bytes of the range's own frames
    seek_points:  (byte of the file, byte of the decompressed stream) where a zstd frame begins, SEEK_SPACING apart
    compressed_bytes_read: of the file, or of the range, also valid while reading

    Args:
        start: one of the seek points of the same file: reading begins there. Block.start counts as if from the
            beginning; lines are numbered from there, the first one may be the end of a line.
        shard_range: read only the lines of this range. Lines are numbered from the range's first, bytes of the stream
            from shard_range.start. Reading ends at damage: only a reader of the whole shard knows what that costs.
        identify: hash the bytes of the file, or of the range, for its identity.
        index: the shard's seek points, by which it is read from `start`, or from where the range begins.
        search: find seek points in the shard; see points().
    """

    def __init__(
        self,
        shard: Shard | AnyPath,
        *,
        block_bytes: int = 16 * 2**20,
        limits: Limits | None = None,
        start: tuple[int, int] = (0, 0),
        shard_range: ShardRange | None = None,
        identify: bool = False,
        index: SeekIndex | None = None,
        search: bool = False,
    ) -> None:
        self.identify = identify
        self._index, self._searches = index, search
        self._search: PointSearch | None = None
        self._stream_hash = StreamHash()
        self._at_end = False
        self.path = shard.path if isinstance(shard, Shard) else files.path_of(shard)
        self.limits = limits or Limits()
        self.block_bytes = block_bytes
        if self.limits.line_bytes_max < block_bytes + CHUNK:
            raise UsageError(
                f"input.line_bytes_max = {self.limits.line_bytes_max} is too small for batch_bytes = {block_bytes}: "
                f"it must be at least {block_bytes + CHUNK}"
            )
        self.shard_range = shard_range if shard_range is not None and shard_range.of > 1 else None
        self.start, self._stream_start = (self.shard_range.first, self.shard_range.start) if self.shard_range else start
        self.damages: list[Damage] = []
        self.bad_lines: list[tuple[int, str]] = []
        self.digests: list[bytes] = []
        self.identity = ""
        self.n_lines = self.own_bytes = self.compressed_bytes_read = 0
        self.stream_bytes = self._stream_start
        self.seek_points = [(self.start, self.stream_bytes)] if self.shard_range else []

    def __iter__(self) -> Iterator[Block]:
        with files.read_errors(self.path), files.opened(self.path) as source:
            end = self.shard_range.end if self.shard_range else source.size
            file = HashedFile(source, (self.start, end) if self.identify else None, self.start)
            yield from self._blocks(file, end)
            self.compressed_bytes_read = end - self.start
            if self.identify:
                self.digests = file.all_digests()
                self.identity = "" if self.shard_range else identity_of(self.digests)

    def _decoder(self, file: HashedFile) -> Decoder:
        window, own = self.limits.window_bytes_max, self.shard_range
        if self._index is not None:
            stop = own.stop if own is not None else -1
            indexed = IndexedDecoder(file, window, self._index, self._stream_start, stop if stop >= 0 else None)
            return indexed if own is None else RangeDecoder(indexed, own)
        if own is not None:
            return RangeDecoder(ZstdDecoder(file, window, own.first, own.end), own)
        if self._searches and format_of(file) == "zstd":
            self._search = PointSearch(file)
            return ZstdDecoder(file, window, search=self._search)
        return ZstdDecoder(file, window, self.start) if self.start else decoder_of(file, window)

    def points(self) -> tuple[list[SeekPoint], list[bytes]]:
        """Return (the seek points that were found, the hash of each MiB of the stream).

        There are none in a damaged shard, nor in one that was not read to its end.
        """
        if self._search is None or not self._search.points or self.damages or not self._at_end:
            return [], []
        return self._search.points, self._stream_hash.digests()

    def _blocks(self, file: HashedFile, end: int) -> Iterator[Block]:
        decoder = self._decoder(file)
        lines = BlockAssembler(self.block_bytes, self.limits.line_bytes_max, self._stream_start)
        self.bad_lines = lines.bad_lines
        stream_end = self._stream_bytes_max(file.size)
        while (chunk := decoder.read(room := lines.room())) is not None:
            self.compressed_bytes_read = min(file.position, end) - self.start
            if chunk.problem is not None:
                yield from self._counted(lines, lines.cut_off())
                self.damages.append(Damage(chunk.problem.offset, lines.n_lines, chunk.problem.reason))
                continue
            if self._search is not None:
                self._stream_hash.add(room[: chunk.n_bytes])
            self._record_seek_point(lines, chunk)
            lines.pass_over(chunk.passed_over)
            lines.add(chunk.n_bytes)
            if lines.position > stream_end:
                yield from self._counted(lines, lines.cut_off())
                self.damages.append(Damage(file.position, lines.n_lines, self.limits.exceeded(stream_end)))
                break
            yield from self._counted(lines, lines.ready())
        yield from self._counted(lines, lines.finish())
        self.own_bytes = decoder.own_bytes if isinstance(decoder, RangeDecoder) else 0
        self.n_lines, self.stream_bytes = lines.n_lines, lines.stream_bytes
        lines.close()
        self._at_end = True

    def _stream_bytes_max(self, file_bytes: int) -> int:
        """Return the position of the stream that is not to be exceeded."""
        if self.shard_range is None or self._index is not None:
            return self.limits.stream_bytes_max(file_bytes)
        return self.shard_range.start + self.limits.stream_bytes_max(self.shard_range.n_bytes)

    def _counted(self, lines: BlockAssembler, blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            self.n_lines, self.stream_bytes = lines.n_lines, lines.stream_bytes
            yield block

    def _record_seek_point(self, lines: BlockAssembler, chunk: Chunk) -> None:
        if chunk.frame_start is None or len(self.seek_points) >= SEEK_POINTS_MAX:
            return
        if not self.seek_points or lines.position - self.seek_points[-1][1] >= SEEK_SPACING:
            self.seek_points.append((chunk.frame_start, lines.position))
