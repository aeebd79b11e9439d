"""Inputs and run directories in object stores: URLs such as s3://bucket/pile/00.jsonl.zst, through fsspec.

The only file that knows fsspec, which local runs never import. It handles whatever differs from a file system:

- An object appears whole, by one put of a finished file (`RemotePath.put`).
- Folders exist only in the names of the objects in them.
- There is no lock; `locked` keeps an object that names the process that works on a run, and is renewed while it does.
- An object's version is its ETag, or another property that the store has.
- Reading fetches blocks ahead of the reader, each once, into a temporary file without a name (`RemoteFile`).

Errors of the libraries that fsspec uses become OSErrors, as a file system raises them.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import functools
import importlib
import io
import json
import os
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from gpu_pile.errors import DataError, UsageError

PACKAGES = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "hf": "huggingface_hub",
    "http": "aiohttp",
    "https": "aiohttp",
    "memory": "fsspec",
}
"""The supported protocols, and the package that each needs. fsspec has others that read local files, execute what they
fetch, or chain protocols: a configuration from somebody else could use them to do harm, and none is needed here."""

WEB = {"http", "https"}
READ_ONLY = {"hf", *WEB}

OPTIONS = {"s3": {"max_concurrency": 2}}
"""Options of the file systems. s3fs holds max_concurrency blocks of 50 MB in memory per upload; its default is ten."""

BLOCK = 8 * 2**20
"""Bytes of a shard that are fetched at a time."""

AHEAD = 2
"""Read-ahead for sequential readers, in blocks."""

TABLE_BLOCK = 2**20
"""Bytes of a Parquet file that are fetched at a time: only some columns are read."""

BEAT = 10.0
"""Seconds between two signs of life of the holder of a lock."""

MISSED = 3
"""Signs of life that a holder may miss before it counts as dead."""

_URL = re.compile(r"([a-z0-9+]+)://(.*)", re.DOTALL)

_VERSIONS = (
    *("ETag", "etag", "md5Hash", "content_md5", "crc32c", "generation", "xet_hash", "blob_id"),
    *("Content-MD5", "Digest", "Last-Modified", "LastModified", "last_modified", "updated", "mtime", "created"),
)
"""Names that stores have for a property that changes with an object's content, most reliable first."""


_BEGIN = rf"(?:\b(?:{'|'.join(PACKAGES)}):/*|://)"
_USER = re.compile(rf"(\bhttps?:/*)[^/@\s]*@|({_BEGIN})[^/@:\s]*:[^/@\s]*@", re.IGNORECASE)
"""What a URL holds before its host: a name, a password. In abfs://container@account it is neither."""

_QUERY = re.compile(r"""(\bhttps?:[^\s?'"]*\?|\?(?=[\w.%~-]+=))[^\s'"]*?(?=[]:;,.)>]*(?:[\s'"]|$))""", re.IGNORECASE)
"""The query of a URL. Presigned URLs have a credential there, under names of their store's choice."""

HIDDEN = "..."


def is_url(text: str) -> bool:
    """Whether a text is meant as a URL, mistyped ones such as https:/host and s3:bucket included."""
    return "://" in text or text.partition(":")[0].lower() in PACKAGES


def without_secrets(text: str) -> str:
    """Return a text whose URLs show neither name, password nor query. Whatever is shown or stored passes here."""
    return _QUERY.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1\2{HIDDEN}@", text))


def check(url: str, *, written: bool = False) -> None:
    """Raise a UsageError if a URL cannot be read (or written)."""
    match = _URL.fullmatch(url)
    known = [p for p in PACKAGES if not (written and p in READ_ONLY)]
    shown = without_secrets(url)
    if match is None or match[1] not in PACKAGES or "::" in url:
        raise UsageError(f"{shown}: expected a path, or a URL that begins with {', '.join(f'{p}://' for p in known)}")
    if match[1] not in known:
        raise UsageError(f"{shown}: {match[1]}:// can only be read; expected a path, or one of {', '.join(known)}")
    if re.match(r"[^/@]*@" if match[1] in WEB else r"[^/@]*:[^/@]*@", match[2]):
        raise UsageError(
            f"{shown}: names and passwords do not belong in a URL, which "
            "run.json and reports show; the packages that fsspec uses take them from the environment (docs/cluster.md)"
        )
    if not match[2].strip("/"):
        raise UsageError(f"{shown} names no bucket or host")


@functools.cache
def _filesystem_of(protocol: str, process: int) -> Any:
    try:
        import fsspec

        importlib.import_module(PACKAGES[protocol])
    except ImportError as error:
        package = PACKAGES[protocol]
        raise UsageError(
            f"{protocol}:// needs fsspec and {package}, and {error.name} is not installed: "
            f"pip install 'gpu-pile[remote]' {package}"
        ) from None
    # cached listings would hide what other processes write
    options = OPTIONS.get(protocol, {})
    return fsspec.filesystem(protocol, use_listings_cache=False, skip_instance_cache=True, **options)


def _filesystem(protocol: str) -> Any:
    """Return the one instance for all threads of this process: connections do not outlive a fork."""
    return _filesystem_of(protocol, os.getpid())


_ONE_AT_A_TIME = threading.Lock()


class StoreError(DataError, OSError):
    """A store refuses, or cannot be reached: an OSError with a message that says what to do."""

    def __str__(self) -> str:
        if self.filename is None:
            return super().__str__()
        return f"{self.filename}: {self.strerror}; run the same command again to go on"


@contextlib.contextmanager
def _calling(path: RemotePath) -> Iterator[None]:
    """Raise errors as a file system does; make one call at a time if the file system is not thread-safe.

    The errors of libraries are left out of tracebacks, because they repeat URLs.
    """
    fs, url = path.fs, str(path)
    try:
        with contextlib.nullcontext() if fs.async_impl else _ONE_AT_A_TIME:
            yield
    except FileExistsError:
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, without_secrets(f"there is no such object ({error})"), url) from None
    except PermissionError as error:
        raise StoreError(errno.EACCES, without_secrets(f"no permission ({error})"), url) from None
    except Exception as error:
        raise StoreError(errno.EIO, without_secrets(f"{type(error).__name__}: {error}"), url) from None


@dataclass(frozen=True)
class Stat:
    st_size: int


@dataclass(frozen=True, order=True)
class RemotePath:
    """The methods of pathlib.Path that gpu_pile uses, for a URL. Sent to other processes as the URL alone.

    str() is for people and files: it does not have the URL's query.
    """

    url: str

    def __post_init__(self) -> None:
        check(self.url)
        protocol, _, rest = self.url.partition("://")
        object.__setattr__(self, "url", f"{protocol}://{rest.strip('/')}")

    def __str__(self) -> str:
        return without_secrets(self.url)

    __repr__ = __str__

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.url}/{name}")

    @property
    def protocol(self) -> str:
        return self.url.partition("://")[0]

    @property
    def fs(self) -> Any:
        return _filesystem(self.protocol)

    @property
    def key(self) -> str:
        """The name that fsspec's file system uses."""
        return str(self.fs._strip_protocol(self.url))

    @property
    def name(self) -> str:
        path = self.url.partition("://")[2]
        if self.protocol in WEB:
            path = re.split(r"[?#]", path, maxsplit=1)[0]
        return path.rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def stem(self) -> str:
        return Path(self.name).stem

    @property
    def parent(self) -> RemotePath:
        return RemotePath(self.url.rpartition("/")[0])

    def resolve(self) -> RemotePath:
        return self

    def _info(self) -> dict[str, Any] | None:
        fs = self.fs
        try:
            with _calling(self):
                info: dict[str, Any] = fs.info(self.key)
                return info
        except FileNotFoundError:
            return None

    def exists(self) -> bool:
        return self._info() is not None

    def is_file(self) -> bool:
        return (self._info() or {}).get("type") == "file"

    def is_dir(self) -> bool:
        return (self._info() or {}).get("type") == "directory"

    def _existing(self) -> dict[str, Any]:
        if self.url.endswith(f"?{HIDDEN}"):
            raise UsageError(
                f"{self}: run.json does not have the query of this URL, which may be a credential; run the same "
                "command again with input.shards naming a copy of the file, which is recognised by its content"
            )
        info = self._info()
        if info is None or info["type"] != "file":
            raise FileNotFoundError(errno.ENOENT, "there is no such object", str(self))
        return info

    def stat(self) -> Stat:
        size = self._existing().get("size")
        if size is None:
            reason = "the server sends no Content-Length; download the file and give its local path"
            raise StoreError(errno.EINVAL, reason, str(self))
        return Stat(size)

    def version(self) -> str | None:
        """Return a property that changes with the content; None if the store has none."""
        info = self._existing()
        return next((f"{name}: {info[name]}" for name in _VERSIONS if info.get(name)), None)

    def _named(self, name: str) -> RemotePath:
        return RemotePath(name if is_url(name) else f"{self.protocol}://{name}")

    def iterdir(self) -> Iterator[RemotePath]:
        fs = self.fs
        with _calling(self):
            names = [str(entry["name"]) for entry in fs.ls(self.key, detail=True)]
        return (self._named(name) for name in names)

    def glob(self, pattern: str) -> Iterator[RemotePath]:
        """Yield the paths in this folder whose name matches; none if there is no such folder."""
        with contextlib.suppress(FileNotFoundError):
            yield from (p for p in self.iterdir() if fnmatch.fnmatchcase(p.name, pattern))

    def rglob(self, pattern: str) -> Iterator[RemotePath]:
        """Yield the paths in this folder and below whose name matches."""
        fs = self.fs
        with _calling(self):
            names = fs.find(self.key)
        return (p for p in map(self._named, names) if fnmatch.fnmatchcase(p.name, pattern))

    def is_glob(self) -> bool:
        """Whether the URL has wildcards and no file has it as its name; "?" begins the query of a web address."""
        wildcards = "*[" if self.protocol in WEB else "*?["
        return any(c in self.url for c in wildcards) and not self.is_file()

    def matches(self) -> list[RemotePath]:
        """Return the files that this URL names as a glob."""
        fs = self.fs
        with _calling(self):
            entries = fs.glob(self.key, detail=True)
        return [self._named(str(entry["name"])) for entry in entries.values() if entry["type"] == "file"]

    def read_range(self, start: int, end: int, size: int) -> bytes:
        """Return the bytes from start to end of a file of this size; raise if there are fewer or more."""
        fs = self.fs
        with _calling(self):
            if self.protocol in WEB:  # its cat_file would take a whole file from a server without ranges
                with fs.open(self.key, "rb", block_size=end - start, cache_type="none", size=size) as f:
                    f.seek(start)
                    data: bytes = f.read(end - start)
            else:
                data = fs.cat_file(self.key, start=start, end=end)
        if len(data) != end - start:
            reason = f"the store sent {len(data)} bytes instead of {end - start}: the object may have changed"
            raise StoreError(errno.EIO, reason, str(self))
        return data

    def open(self, mode: str = "rb") -> BinaryIO:
        assert mode == "rb", "written by put, whole"
        return io.BufferedReader(RemoteFile(self), 2**20)

    def read_bytes(self) -> bytes:
        fs = self.fs
        with _calling(self):
            data: bytes = fs.cat_file(self.key)
            return data

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def put(self, local: Path) -> None:
        """Make a finished local file appear under this name, whole, or not at all.

        Object stores show an object when its upload is complete. Elsewhere the file is uploaded under another name.
        """
        fs = self.fs
        if fs.async_impl:
            with _calling(self):
                fs.put_file(str(local), self.key)
            return
        partial = f"{self.key}.{secrets.token_hex(4)}.partial"
        with _calling(self):
            try:
                fs.put_file(str(local), partial)
                fs.mv(partial, self.key)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    fs.rm_file(partial)
                raise

    def create(self, data: bytes) -> bool:
        """Write a small object unless it exists. Return whether it was written; reliable on S3 and GCS."""
        fs = self.fs
        try:
            with _calling(self):
                fs.pipe_file(self.key, data, mode="create")
        except FileExistsError:
            return False
        return True

    def overwrite(self, data: bytes) -> None:
        fs = self.fs
        with _calling(self):
            fs.pipe_file(self.key, data)

    def unlink(self, missing_ok: bool = False) -> None:
        fs = self.fs
        try:
            with _calling(self):
                fs.rm_file(self.key)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Do nothing: a folder exists when something is in it, and buckets are made by their owners."""

    def remove_tree(self) -> None:
        fs = self.fs
        with contextlib.suppress(FileNotFoundError), _calling(self):
            fs.rm(self.key, recursive=True)


class RemoteFile(io.RawIOBase):
    """A remote file opened for reading. Blocks are fetched on demand or ahead, and kept until the file is closed.

    Each byte of a shard is needed twice within a short time (frames are walked before they are decompressed). Blocks
    are kept in a temporary file without a name: a killed process leaves nothing.
    """

    def __init__(self, path: RemotePath, block: int = BLOCK, ahead: int = AHEAD) -> None:
        self.path, self.block, self.ahead = path, block, ahead
        self._at = 0
        self._asked: dict[int, Future[None]] = {}
        self._store = tempfile.TemporaryFile()  # noqa: SIM115
        self._pool = ThreadPoolExecutor(8, "fetch")
        self.size = path.stat().st_size

    def _fetch(self, block: int) -> None:
        start = block * self.block
        data = memoryview(self.path.read_range(start, min(start + self.block, self.size), self.size))
        try:
            while data:
                n = os.pwrite(self._store.fileno(), data, start)
                data, start = data[n:], start + n
        except OSError as error:
            reason = f"{error.strerror} in {tempfile.gettempdir()}, where fetched blocks are kept; set TMPDIR"
            raise StoreError(error.errno, reason, str(self.path)) from error

    def pread(self, n: int, start: int) -> bytes:
        """Return n bytes from a position on; fewer only at the end of the file."""
        end = min(start + n, self.size)
        if start >= end:
            return b""
        first, last = start // self.block, (end - 1) // self.block
        ahead = self.ahead if first - 1 in self._asked else 0
        for block in range(first, min(last + ahead, (self.size - 1) // self.block) + 1):
            if block not in self._asked:
                self._asked[block] = self._pool.submit(self._fetch, block)
        for block in range(first, last + 1):
            self._asked[block].result()
        return os.pread(self._store.fileno(), end - start, start)

    def close(self) -> None:
        if not self.closed:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._store.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self.pread(len(buffer), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


# one process per run directory


def _machine() -> str:
    """Return what identifies the range of process numbers: this boot of this machine, this container."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{boot.read_text().strip() if boot.exists() else ''}-{Path('/proc/self/ns/pid').stat().st_ino}"


def _is_dead(holder: dict[str, Any]) -> bool:
    if holder.get("machine") != _machine():
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _holder(lock: RemotePath) -> dict[str, Any]:
    try:
        value = json.loads(lock.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _take(lock: RemotePath, me: dict[str, Any]) -> None:
    seen: dict[str, Any] = {}
    since = time.monotonic()
    while not (lock.create(json.dumps(me).encode()) and _holder(lock) == me):
        now = _holder(lock)
        if seen.get("owner") == now.get("owner") and seen != now:
            raise DataError(
                f"{lock.parent} is in use by another gpu-pile process, number {now.get('pid')} on {now.get('host')}; "
                "wait for it or choose another output"
            )
        if now != seen:
            seen, since = now, time.monotonic()
        if _is_dead(now) or time.monotonic() - since > MISSED * BEAT:
            lock.unlink(missing_ok=True)
        else:
            time.sleep(BEAT / 10)


@contextlib.contextmanager
def locked(folder: RemotePath) -> Iterator[None]:
    """Hold a run directory by an object that is written again every BEAT seconds.

    A holder that was killed is known by its process number on the same machine at once, elsewhere by MISSED beats.

    Raises:
        DataError: another process holds it, or took it over because ours gave no sign for too long.
    """
    lock = folder / ".lock"
    host, machine = os.uname().nodename, _machine()
    me = {"owner": secrets.token_hex(8), "host": host, "machine": machine, "pid": os.getpid()}
    _take(lock, me)
    done, lost = threading.Event(), threading.Event()

    def beat() -> None:
        n = 0
        while not done.wait(BEAT):
            n += 1
            with contextlib.suppress(OSError):  # the store may be away for a moment
                if _holder(lock).get("owner") != me["owner"]:
                    lost.set()
                    return
                lock.overwrite(json.dumps({**me, "beat": n}).encode())

    thread = threading.Thread(target=beat, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with contextlib.suppress(OSError):
            if _holder(lock).get("owner") == me["owner"]:
                lock.unlink(missing_ok=True)
    if lost.is_set():
        raise DataError(
            f"{folder} was taken over by another gpu-pile process, because this one had given no sign for "
            f"{MISSED * BEAT:.0f} s; run the same command again when that one is done"
        )
