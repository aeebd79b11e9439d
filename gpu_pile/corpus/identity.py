"""The identity of a file: a hash of its bytes that ranges compute separately.

It shows whether a file that was touched, moved or fetched again is the one that was measured. It is not cryptographic:
nothing is removed because two identities are equal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.ops.doc_hash import doc_hash
from gpu_pile.text.column import TextColumn

IDENTITY_STEP = 2**20
"""Bytes of a file that are hashed together for its identity."""


class HashedFile:
    """A file whose bytes are hashed in order as they are read, each byte once.

    Only the steps of IDENTITY_STEP bytes that begin inside `hashed` are hashed, so that the digests of a file's ranges,
    concatenated, are the digests of the file.

    Args:
        hashed: (first, end), the range of bytes to hash; None hashes nothing.
        start: position of the first read.
    """

    def __init__(self, source: files.Source, hashed: tuple[int, int] | None = None, start: int = 0) -> None:
        self._source = source
        self.size = source.size
        self.position = start
        first, end = hashed or (self.size, self.size)
        self._hashed = -(-first // IDENTITY_STEP) * IDENTITY_STEP
        self._end = min(self.size, -(-end // IDENTITY_STEP) * IDENTITY_STEP)
        self._step = bytearray()  # of the step under way, what was hashed of it
        self._digests: list[bytes] = []

    def pread(self, n: int, start: int) -> bytes:
        """Up to n bytes at a position, without hashing them."""
        return self._source.pread(n, start)

    def read_at(self, start: int, n: int) -> bytes:
        """Up to n bytes at a position; they are hashed, and so is what was passed over before them."""
        self._hash_to(start)
        data = self.pread(n, start)
        self._hash(data, start)
        self.position = start + len(data)
        return data

    def read(self, n: int) -> bytes:
        """The next n bytes."""
        return self.read_at(self.position, n)

    def readinto(self, view: memoryview) -> int:
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def all_digests(self) -> list[bytes]:
        """Hash what was passed over, and return the digest of every step."""
        self._hash_to(self._end)
        if self._hashed % IDENTITY_STEP and self._hashed == self._end:  # the file's last step is a short one
            self._digests.append(step_digest(self._step))
            self._hashed = self._end + IDENTITY_STEP
        return self._digests

    def _hash_to(self, end: int) -> None:
        while self._hashed < min(end, self._end):
            data = self.pread(min(IDENTITY_STEP, self._end - self._hashed), self._hashed)
            if not data:
                return
            self._hash(data, self._hashed)

    def _hash(self, data: bytes, start: int) -> None:
        """Hash the bytes of data that have not been hashed yet; all bytes before them have been."""
        new = memoryview(data)[max(0, self._hashed - start) : max(0, self._end - start)]
        while new:
            n = min(len(new), IDENTITY_STEP - self._hashed % IDENTITY_STEP)
            self._step += new[:n]
            self._hashed += n
            if not self._hashed % IDENTITY_STEP:
                self._digests.append(step_digest(self._step))
                self._step = bytearray()
            new = new[n:]


def step_digest(step: bytearray) -> bytes:
    """Return the 128-bit hash of a step of a file."""
    column = TextColumn(np.frombuffer(step, np.uint8), np.array([0, len(step)], np.int64))
    return np.asarray(doc_hash(column)).tobytes()


def identity_of(digests: Sequence[bytes]) -> str:
    """Return a file's identity: BLAKE2b-256 of the 128-bit hashes of its steps, which ranges hash separately."""
    return hashlib.blake2b(b"".join(digests), digest_size=32).hexdigest()


def file_identity(path: AnyPath) -> str:
    """Return the identity that a ShardReader of the file would have, without decompressing anything."""
    with files.opened(path) as source:
        return identity_of(HashedFile(source, (0, source.size)).all_digests())


class FileRange:
    """A range of bytes of a file, as a readable object.

    head: bytes that are read before those of the file
    position: of the next byte of the file that is read
    """

    def __init__(self, file: HashedFile, start: int, end: int, head: bytes = b"") -> None:
        self._file, self.position, self._end, self._head = file, start, end, head

    def read(self, n: int = -1) -> bytes:
        if self._head:
            data, self._head = (self._head, b"") if n < 0 else (self._head[:n], self._head[n:])
            return data
        left = self._end - self.position
        data = self._file.read_at(self.position, left if n < 0 else min(n, left)) if left else b""
        self.position += len(data)
        return data
