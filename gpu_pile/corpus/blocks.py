"""Blocks of whole lines, put together from decoded chunks in bounded memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from gpu_pile.corpus.lines import LINE_FEED, after_first_newline, after_last_newline
from gpu_pile.corpus.zstd_frames import CHUNK
from gpu_pile.text.simd import SLACK, count_newlines
from gpu_pile.types import Array


@dataclass
class Block:
    """Whole lines: data[:n_bytes], followed by SLACK bytes that can be read.

    first_line: 0-based number of the first line. start: its position in the decompressed stream. The last line of the
    shard may lack its line feed. data is reused after release().
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
    """Buffers for reuse: page faults on new memory cost more than decompressing into it."""

    def __init__(self, limit: int) -> None:
        self._free: list[Array] = []
        self._limit = limit
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
            if len(self._free) > self._limit:
                self._free.pop(0)


_BUFFERS = _Buffers(limit=2 * (os.cpu_count() or 1) + 2)


def take_buffer(size: int) -> Array:
    """Return uint8[size] for a block, whose release() hands it back."""
    return _BUFFERS.take(size)


def use_allocator(allocate: Callable[[int], Array]) -> None:
    """Allocate the memory of blocks with this function: copies to a GPU are fastest from pinned memory."""
    _BUFFERS.allocate = allocate


class BlockAssembler:
    """Cuts a stream that arrives in chunks into blocks of whole lines.

    For each chunk: decode it into room(), then call add() or cut_off(), and yield from ready(); at the end finish().

    The buffer holds `used` bytes, of which the first `whole` are whole lines. A line over line_bytes_max becomes a bad
    line: as soon as it fills the buffer, the assembler is `skipping` and keeps nothing until the line's end.

    n_lines, stream_bytes: lines and bytes of the stream that were delivered or passed over
    bad_lines:             (1-based line, reason) of lines over line_bytes_max
    """

    def __init__(self, block_bytes: int, line_bytes_max: int, stream_start: int) -> None:
        self._block_bytes = block_bytes
        self._line_bytes_max = line_bytes_max
        self._standard = block_bytes + CHUNK + SLACK
        self._buffer = _BUFFERS.take(self._standard)
        self._used = self._whole = 0
        self._skipping = False
        self.n_lines = 0
        self.stream_bytes = stream_start
        self.bad_lines: list[tuple[int, str]] = []

    @property
    def position(self) -> int:
        """The position in the stream of the next byte to be decoded."""
        return self.stream_bytes + self._used

    def pass_over(self, n: int) -> None:
        """Count n bytes of the stream that are not decoded into the room."""
        self.stream_bytes += n

    def room(self) -> memoryview:
        """Return CHUNK bytes for the decoder."""
        if self._used + CHUNK + SLACK > len(self._buffer):  # one line fills the buffer
            if self._used > self._line_bytes_max:
                self._skipping = True
                self.stream_bytes += self._used
                self._used = 0
            else:
                grown = np.empty(2 * len(self._buffer), np.uint8)
                grown[: self._used] = self._buffer[: self._used]
                self._buffer = grown
        return self._buffer[self._used : self._used + CHUNK].data

    def add(self, n: int) -> None:
        """Take n more bytes of the stream, which are in the room."""
        if self._skipping:
            self._skip(n)
            return
        last = after_last_newline(self._buffer, self._used, self._used + n)
        self._whole = last or self._whole
        self._used += n
        if last and self._used > self._line_bytes_max:
            first = after_first_newline(self._buffer, self._whole)
            if first - 1 > self._line_bytes_max:
                self._too_long(first)
                self._drop(first)

    def ready(self) -> Iterator[Block]:
        """Yield the whole lines, if they fill a block."""
        if self._whole and self._used >= self._block_bytes:
            yield self._deliver(self._whole)

    def cut_off(self) -> Iterator[Block]:
        """Yield the whole lines; the rest of the line that was cut off is lost."""
        self._skipping = False
        self._used = self._whole
        if self._whole:
            yield self._deliver(self._whole)

    def finish(self) -> Iterator[Block]:
        """The stream has ended: yield what is left, the last line with or without its line feed."""
        if self._skipping:
            self._skipping = False
            self._too_long(0)
        last_is_too_long = self._used - self._whole > self._line_bytes_max
        n = self._whole if last_is_too_long else self._used
        if n:
            yield self._deliver(n)
        if last_is_too_long:
            self._too_long(self._used)
            self._used = 0

    def close(self) -> None:
        """Hand the buffer back."""
        _BUFFERS.give(self._buffer)

    def _skip(self, n: int) -> None:
        """Pass over the n bytes in the room up to the end of the line that is too long."""
        end = after_first_newline(self._buffer, n)
        if end < 0:
            self.stream_bytes += n
            return
        self._skipping = False
        self._too_long(end)
        self._used = n
        self._drop(end)
        self._whole = after_last_newline(self._buffer, 0, self._used)

    def _drop(self, n: int) -> None:
        """Drop the first n bytes of the buffer."""
        self._used -= n
        self._whole = max(0, self._whole - n)
        self._buffer[: self._used] = self._buffer[n : n + self._used].copy()

    def _deliver(self, n: int) -> Block:
        """Return the first n bytes as a block, and go on with the others in another buffer."""
        buffer, rest = self._buffer, self._buffer[n : self._used]
        fits = len(rest) + CHUNK + SLACK <= self._standard
        self._buffer = _BUFFERS.take(self._standard) if fits else np.empty_like(buffer)
        self._buffer[: len(rest)] = rest
        self._used, self._whole = len(rest), 0
        buffer[n : n + SLACK] = 0
        block = Block(buffer, n, self.n_lines, self.stream_bytes)
        self.n_lines += count_newlines(buffer, n) + int(buffer[n - 1] != LINE_FEED)
        self.stream_bytes += n
        return block

    def _too_long(self, n: int) -> None:
        """Count the line that ends after n more bytes of the stream, which is over the limit."""
        self.n_lines += 1
        self.stream_bytes += n
        reason = f"longer than input.line_bytes_max = {self._line_bytes_max} bytes"
        self.bad_lines.append((self.n_lines, reason))
