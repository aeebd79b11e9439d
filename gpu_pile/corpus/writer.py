"""Write a shard of zstandard-compressed lines."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any

import zstandard

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.text.jit import jit


@jit
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
