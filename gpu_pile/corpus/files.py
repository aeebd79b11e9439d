"""Files that are whole or absent: atomic writes, stable keys, one process per run directory.

A path is a pathlib.Path, or a RemotePath for a URL, which has the methods of Path that are used here. Whatever differs
between the two is in this file and in gpu_pile.corpus.remote; no other file asks which one it has.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

import numpy as np

from gpu_pile.corpus import remote
from gpu_pile.corpus.remote import RemotePath
from gpu_pile.errors import DataError
from gpu_pile.types import Array

PARTIAL = ".partial"

AnyPath = Path | RemotePath


def path_of(given: str | AnyPath) -> AnyPath:
    """Return a Path, or the RemotePath of a URL; file:///x is the path /x.

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
    """Return JSON with sorted keys and no spaces: the same text for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def key_of(value: Any) -> str:
    """Return a short stable key of a JSON-able value (BLAKE2b, 128 bits)."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def disk_errors(path: AnyPath) -> Iterator[None]:
    """Turn an OSError about writing `path` into a DataError that says what to do."""
    try:
        yield
    except OSError as error:
        if isinstance(error, remote.StoreError) and error.filename != str(path):
            raise  # it is about another file, and says so
        raise DataError(f"cannot write {path}: {_advice(path, error)}") from error


def _advice(path: AnyPath, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        if isinstance(path, RemotePath):
            return f"{tempfile.gettempdir()} is full, where files are made before they are uploaded; set TMPDIR"
        return "the disk is full; free space there and run the same command again, it goes on where it stopped"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "this user may not write there; choose another output folder"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many files are open; raise the limit (ulimit -n) or lower workers, and run the same command again"
    reporter = "the store" if isinstance(path, RemotePath) else "the operating system"
    return f"{reporter} says: {error.strerror or error}; run the same command again to go on"


class AtomicFile:
    """A file in the making. It has its own name only once commit() has returned; discard() leaves nothing.

    Write it under `partial`. No two AtomicFiles have the same partial name: two processes that make the same file (a
    cluster's worker that was given up for dead goes on) do not write into each other's.

    A remote file is made in the machine's folder for temporary files and uploaded by commit(). Its only name there is
    that of its open descriptor, so a killed process leaves nothing.

    Args:
        durable: commit() has the file on the disk before it gives the name. Scratch files need not be durable: no run
            goes on from them after a power failure.
    """

    def __init__(self, path: AnyPath, *, durable: bool = True) -> None:
        self.path = path
        self.durable = durable
        self._unnamed: IO[bytes] | None = None
        if isinstance(path, RemotePath):
            remote.check(str(path), written=True)
            with disk_errors(path):
                self._unnamed = tempfile.TemporaryFile()  # noqa: SIM115
            self.partial = Path(f"/proc/self/fd/{self._unnamed.fileno()}")
        else:
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            self.partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")

    def errors(self) -> contextlib.AbstractContextManager[None]:
        """Errors of writing, as disk_errors turns them."""
        return disk_errors(self.path)

    def commit(self) -> None:
        commit_together([self])

    def discard(self) -> None:
        """Remove what was written; nothing happens after commit(), or the second time."""
        if self._unnamed is not None:
            self._unnamed.close()
        else:
            self.partial.unlink(missing_ok=True)

    def publish(self) -> None:
        """Give the file its name. Only for commit_together, which has it on the disk before."""
        if isinstance(self.path, RemotePath):
            self.path.put(self.partial)
            self.discard()
        else:
            self.partial.replace(self.path)


class AtomicFiles:
    """Files that are committed together at the end of a `with` block, and discarded on any error. Thread-safe."""

    def __init__(self) -> None:
        self._made: list[AtomicFile] = []

    def add(self, path: AnyPath) -> AtomicFile:
        file = AtomicFile(path)
        self._made.append(file)
        return file

    def __enter__(self) -> AtomicFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            commit_together(self._made)
        else:
            discard_together(self._made)


SYNC_ALL_FROM = 4
"""From this many files on, one call for the whole file system costs less than one per file. That call also waits for
files that need not be on the disk, such as those of the spool, so the three files of one large shard are not enough."""


def commit_together(made: Sequence[AtomicFile]) -> None:
    """Have all files on the disk, then name them one after the other. After an error, those without a name are gone.

    A disk is waited for once, not once per file: that wait is most of what a small file costs.
    """
    try:
        _sync([file for file in made if file.durable and isinstance(file.path, Path)])
        for file in made:
            with file.errors():
                file.publish()
    except BaseException:
        discard_together(made)
        raise


def discard_together(made: Sequence[AtomicFile]) -> None:
    """Discard all files, even if some cannot be removed."""
    for file in made:
        with contextlib.suppress(OSError):
            file.discard()


def _sync(made: Sequence[AtomicFile]) -> None:
    if len(made) >= SYNC_ALL_FROM and (syncfs := _syncfs()) is not None:
        by_device = {file.partial.stat().st_dev: file for file in made}
        for file in by_device.values():
            with file.errors(), file.partial.open("rb") as f:
                if syncfs(f.fileno()):
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), str(file.partial))
        return
    for file in made:
        with file.errors(), file.partial.open("rb+") as f:
            os.fsync(f.fileno())


@functools.cache
def _syncfs() -> Callable[[int], int] | None:
    """syncfs of the C library, where it reports failed writes (Linux 5.8 and later)."""
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if version is None or (int(version[1]), int(version[2])) < (5, 8):
        return None
    with contextlib.suppress(OSError, AttributeError):
        syncfs: Callable[[int], int] = ctypes.CDLL("libc.so.6", use_errno=True).syncfs
        return syncfs
    return None


@contextlib.contextmanager
def atomic(path: AnyPath, *, durable: bool = True) -> Iterator[Path]:
    """Give the partial name of an AtomicFile; commit it at the end, discard it on any error."""
    file = AtomicFile(path, durable=durable)
    try:
        with file.errors():
            yield file.partial
    except BaseException:
        file.discard()
        raise
    file.commit()


def write_text(path: AnyPath, text: str, *, durable: bool = True) -> None:
    with atomic(path, durable=durable) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: AnyPath, value: Any, *, durable: bool = True) -> None:
    """Write JSON, indented, in the order given, with a final newline."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n", durable=durable)


def read_json(path: AnyPath) -> Any:
    """Return the parsed file, or None where it is missing or does not parse (it is then made again)."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None


_HEADERS = threading.Lock()


def load_array(path: Path, *, mapped: bool = False) -> Array:
    """Return an array that np.save wrote; mapped: pages are read when they are used, and must not be changed.

    Headers are parsed by one thread at a time: NumPy parses them with `ast`, which in CPython 3.11 fails now and then
    in two threads at once (python/cpython#106905).
    """
    with _HEADERS:
        array: Array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    return array


@contextlib.contextmanager
def locked(folder: AnyPath) -> Iterator[None]:
    """Hold a run directory for this process; a second process gets an error instead of a race."""
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
def read_errors(path: AnyPath | None = None) -> Iterator[None]:
    """Turn an OSError about an input into a DataError that names the file; path: where the error does not."""
    try:
        yield
    except OSError as error:
        raise DataError(f"cannot read {path or error.filename}: {error.strerror or error}") from error


class Source(Protocol):
    """A file whose bytes are read by position."""

    size: int

    def pread(self, n: int, start: int) -> bytes:
        """Return n bytes from a position on; fewer only at the end of the file."""


class _Local:
    def __init__(self, file: BinaryIO) -> None:
        self._descriptor = file.fileno()
        self.size = os.fstat(self._descriptor).st_size

    def pread(self, n: int, start: int) -> bytes:
        data = os.pread(self._descriptor, n, start)
        while len(data) < n and (more := os.pread(self._descriptor, n - len(data), start + len(data))):
            data += more  # a file system may give less than was asked for
        return data


@contextlib.contextmanager
def opened(path: AnyPath) -> Iterator[Source]:
    """Open a file for reading by position."""
    if isinstance(path, RemotePath):
        with remote.RemoteFile(path) as remote_file:
            yield remote_file
    else:
        with path.open("rb") as local_file:
            yield _Local(local_file)


def table(path: AnyPath) -> Any:
    """Return what pyarrow.parquet reads: the path, or the open remote file, which fetches only the blocks in use."""
    if isinstance(path, RemotePath):
        return remote.RemoteFile(path, remote.TABLE_BLOCK, 0)
    return path


def dataset(paths: Sequence[AnyPath]) -> Any:
    """Return a pyarrow dataset of Parquet files of one run."""
    import pyarrow.dataset as ds

    if paths and isinstance(paths[0], RemotePath):
        return ds.dataset([p.key for p in paths if isinstance(p, RemotePath)], filesystem=paths[0].fs)
    return ds.dataset([str(p) for p in paths])


def fingerprint(path: AnyPath) -> dict[str, Any]:
    """Return what shows, without reading a file, that it has changed; version is None if a store has none.

    Nobody can set ctime_ns: a file that was written and given its former mtime has another one.
    """
    if isinstance(path, RemotePath):
        return {"bytes": path.stat().st_size, "version": path.version()}
    stat = path.stat()
    return {"bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns, "ctime_ns": stat.st_ctime_ns}


def remove_tree(path: AnyPath) -> None:
    """Remove a folder with its content, if it exists."""
    if isinstance(path, RemotePath):
        path.remove_tree()
    elif path.is_dir():
        shutil.rmtree(path)
