"""Files that are whole or absent: atomic writes, stable keys, one process per run directory.

A path is a pathlib.Path, or for URLs a RemotePath, which has what is used of one (gpu_pile.corpus.remote). What the two do in
different ways is here; nobody else asks which it is.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from gpu_pile.corpus import remote
from gpu_pile.corpus.remote import RemotePath
from gpu_pile.errors import DataError

PARTIAL = ".partial"

AnyPath = Path | RemotePath


def path_of(given: str | AnyPath) -> AnyPath:
    """A path, or the RemotePath of a URL; file:///x is the path /x.

    Raises:
        UsageError: a URL of a kind that is not read.
    """
    if isinstance(given, Path | RemotePath):
        return given
    if given.startswith("file:///"):
        return Path(given.removeprefix("file://"))
    return RemotePath(given) if remote.is_url(given) else Path(given)


def check_output(given: str) -> None:
    """Raise a UsageError where `given` is a URL to which nothing can be written."""
    if isinstance(path_of(given), RemotePath):
        remote.check(given, written=True)


def canonical_json(value: Any) -> str:
    """The same text for the same value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def key_of(value: Any) -> str:
    """A short stable key of a JSON-able value (BLAKE2b, 128 bits)."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def disk_errors(path: AnyPath) -> Iterator[None]:
    """Turn what the operating system says about `path` into an error that says what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, remote.StoreError) and error.filename != str(path):
            raise  # it is about another file, and says so
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        if full and isinstance(path, RemotePath):
            advice = f"{tempfile.gettempdir()} is full, where files are made before they are uploaded; set TMPDIR"
        elif full:
            advice = "the disk is full; free space there and run the same command again, it goes on where it stopped"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = "this user may not write there; choose another output folder"
        else:
            who = "the store" if isinstance(path, RemotePath) else "the operating system"
            advice = f"{who} says: {error.strerror or error}; run the same command again to go on"
        raise DataError(f"cannot write {path}: {advice}") from error


@contextlib.contextmanager
def atomic(path: AnyPath, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` at the end, remove it on any error.

    No two calls give the same name: two processes that make the same file (a worker of a cluster that was given up for
    dead goes on) do not write into each other's.

    A remote file is made in the machine's folder for temporary files and uploaded at the end. It has no name there but
    that of its open descriptor, so that a killed process leaves nothing.

    Args:
        durable: have it on the disk before it has its name. Scratch files need not be: no run goes on from them.
    """
    if isinstance(path, RemotePath):
        remote.check(str(path), written=True)
        with disk_errors(path), tempfile.TemporaryFile() as unnamed:
            local = Path(f"/proc/self/fd/{unnamed.fileno()}")
            yield local
            path.put(local)
        return
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            if durable:
                with partial.open("rb+") as f:
                    os.fsync(f.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def write_text(path: AnyPath, text: str) -> None:
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: AnyPath, value: Any) -> None:
    """Indented, in the order given, with a final newline."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: AnyPath) -> Any:
    """The parsed file, or None where there is none or it does not parse (it is then made again)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None


_HEADERS = threading.Lock()


def load_array(path: Path, *, mapped: bool = False) -> np.ndarray[Any, Any]:
    """An array that np.save wrote; mapped: read as it is used, and not to be changed.

    One thread at a time: NumPy parses the header with `ast`, which in CPython 3.11 fails now and then where two threads
    parse at once (python/cpython#106905).
    """
    with _HEADERS:
        found: np.ndarray[Any, Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return found


@contextlib.contextmanager
def locked(folder: AnyPath) -> Iterator[None]:
    """Hold the run directory for this process; a second process gets an error instead of a race."""
    if isinstance(folder, RemotePath):
        with disk_errors(folder), remote.locked(folder):
            yield
        return
    with disk_errors(folder), (folder / ".lock").open("w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{folder} is in use by another gpu-pile process; wait for it or choose another output"
            ) from None
        yield


# reading


@contextlib.contextmanager
def read_errors() -> Iterator[None]:
    """Turn what the operating system or a store says about an input into an error that names it."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror or error}") from error


class Source(Protocol):
    """A file whose bytes are read by their place."""

    size: int

    def pread(self, n: int, start: int) -> bytes:
        """Up to n bytes at a place."""


class _Local:
    def __init__(self, file: BinaryIO) -> None:
        self._descriptor = file.fileno()
        self.size = os.fstat(self._descriptor).st_size

    def pread(self, n: int, start: int) -> bytes:
        return os.pread(self._descriptor, n, start)


@contextlib.contextmanager
def opened(path: AnyPath) -> Iterator[Source]:
    if isinstance(path, RemotePath):
        with remote.RemoteFile(path) as far:
            yield far
    else:
        with path.open("rb") as near:
            yield _Local(near)


def table(path: AnyPath) -> Any:
    """What pyarrow.parquet reads: the path, or the open remote file, of which only what is asked for is fetched."""
    if isinstance(path, RemotePath):
        return remote.RemoteFile(path, remote.TABLE_BLOCK, 0)
    return path


def dataset(paths: Sequence[AnyPath]) -> Any:
    """A pyarrow dataset over Parquet files of one run."""
    import pyarrow.dataset as ds

    if paths and isinstance(paths[0], RemotePath):
        return ds.dataset([p.key for p in paths if isinstance(p, RemotePath)], filesystem=paths[0].fs)
    return ds.dataset([str(p) for p in paths])


def fingerprint(path: AnyPath) -> dict[str, Any]:
    """What tells without reading it whether a file has changed; version is None where a store does not tell."""
    if isinstance(path, RemotePath):
        return {"bytes": path.stat().st_size, "version": path.version()}
    stat = path.stat()
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def remove_tree(path: AnyPath) -> None:
    """Remove a folder and what is in it, if it is there."""
    if isinstance(path, RemotePath):
        path.remove_tree()
    elif path.is_dir():
        shutil.rmtree(path)
