"""Files that are whole or absent: atomic writes, stable keys, one process per run directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from gpu_pile.errors import DataError, GpuPileError

PARTIAL = ".partial"


def canonical_json(value: Any) -> str:
    """The same text for the same value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def key_of(value: Any) -> str:
    """A short stable key of a JSON-able value (BLAKE2b, 128 bits)."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about `path` into an error that says what to do."""
    try:
        yield
    except GpuPileError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "the disk is full; free space there and run the same command again, it goes on where it stopped"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            advice = "this user may not write there; choose another output folder"
        else:
            advice = f"the operating system says: {error.strerror or error}; run the same command again to go on"
        raise DataError(f"cannot write {path}: {advice}") from error


@contextlib.contextmanager
def atomic(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` at the end, remove it on any error.

    No two calls give the same name: two processes that make the same file (a worker of a cluster that was given up for
    dead goes on) do not write into each other's.

    Args:
        durable: have it on the disk before it has its name. Scratch files need not be: no run goes on from them.
    """
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


def write_text(path: Path, text: str) -> None:
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Indented, in the order given, with a final newline."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
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
def locked(folder: Path) -> Iterator[None]:
    """Hold the run directory for this process; a second process gets an error instead of a race."""
    with disk_errors(folder), (folder / ".lock").open("w") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{folder} is in use by another gpu-pile process; wait for it or choose another output"
            ) from None
        yield
