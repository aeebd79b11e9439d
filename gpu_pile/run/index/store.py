"""The files of an index, a folder:

    index.json        version, definitions, runs with their shards, sizes and checksums of the other files
    documents.bin     DOCUMENT[n]       a row per document, in the order of runs, shards and lines
    keep.bin          uint8[n]          1 for the documents that the runs keep
    sketches.bin      uint32[n, size]
    hash_keys.bin     uint64[n, 2]      128-bit hashes, ascending; with dedupe.scope: subset mixed with the subset
    hash_rows.bin     uint32[n]         their rows; ascending among equal hashes
    band_keys.bin     uint64[m]         band keys of the documents that have shingles, ascending
    band_rows.bin     uint32[m]         their rows; ascending among equal keys

All numbers are little-endian. The files are mapped into memory, so that a lookup reads only what it touches.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpu_pile.corpus import files
from gpu_pile.dedup.banding import Banding
from gpu_pile.errors import DataError, UsageError
from gpu_pile.ops import op
from gpu_pile.run.config import Config
from gpu_pile.types import Array

VERSION = 1
HEAD = "index.json"

DOCUMENT = np.dtype([("shard", "<u4"), ("subset", "<u4"), ("line", "<i8"), ("text_bytes", "<i8"), ("shingles", "<i8")])
"""shard and subset are positions in the lists of index.json; line is 1-based."""

ROWS_MAX = 2**32

assert sys.byteorder == "little", "files of an index are mapped as they are"


class IndexShard(NamedTuple):
    """A shard of an indexed run: its name, and its first row in the index; run: which of the index's runs."""

    run: int
    name: str
    first: int
    end: int


class IndexedRun(NamedTuple):
    """A run that was indexed: its directory, and the key of what it decided."""

    path: str
    decided: str


def definitions(config: Config) -> dict[str, Any]:
    """Return what hashes, sketches and band keys of a run depend on: an index is of use where all of it is equal."""
    fuzzy, dedupe, ops = config.dedupe.fuzzy, config.dedupe, op.load_all()
    banding = fuzzy.banding()
    used = ["doc_hash", "sketch", "band_keys", "shingle_set", *(["normal_words"] * (dedupe.exact.normalize == "words"))]
    return {
        "dedupe.exact.normalize": dedupe.exact.normalize,
        "dedupe.fuzzy.shingle": fuzzy.shingle,
        "dedupe.fuzzy.width": fuzzy.width,
        "dedupe.fuzzy.sketch": fuzzy.sketch,
        "dedupe.fuzzy.size": fuzzy.size,
        "dedupe.fuzzy.seed": fuzzy.seed,
        "dedupe.fuzzy.bands": banding.bands,
        "dedupe.fuzzy.rows": banding.rows,
        "dedupe.scope": dedupe.scope,
        **{f"version of {name}": ops[name].version for name in used},
    }


def check_definitions(theirs: Mapping[str, Any], ours: Mapping[str, Any], what: str) -> None:
    """Check that an index, or a run, was made by these definitions.

    Raises:
        UsageError: names every definition that differs, with both values.
    """
    different = [
        f"{name} is {theirs.get(name)!r} there and {ours.get(name)!r} here"
        for name in dict.fromkeys([*theirs, *ours])
        if theirs.get(name) != ours.get(name)
    ]
    if different:
        raise UsageError(
            f"{what} was made by other definitions, so nothing in it can be compared: {'; '.join(different)}. Give "
            "this run the same settings, or run the old data with the new ones"
        )


class Index:
    """An index that is there: its files, mapped into memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        head = files.read_json(path / HEAD) if path.is_dir() else None
        if not isinstance(head, dict) or "sections" not in head:
            raise UsageError(f"{path} is not an index: it has no {HEAD}; make one with: gpu-pile index RUN {path}")
        if head["version"] != VERSION:
            raise UsageError(
                f"the index {path} has version {head['version']}, this gpu-pile reads version {VERSION}; make it again "
                f"with: gpu-pile index RUN {path}"
            )
        if head["key"] != files.key_of({k: v for k, v in head.items() if k != "key"}):
            raise DataError(f"{path / HEAD} is damaged; make the index again with: gpu-pile index RUN {path}")
        self.key: str = head["key"]
        self.definitions: dict[str, Any] = head["definitions"]
        self.documents_total: int = head["documents"]
        self.subsets: list[str] = head["subsets"]
        self.runs = [IndexedRun(**run) for run in head["runs"]]
        self.shards = [IndexShard(**shard) for shard in head["shards"]]
        self.sections: dict[str, dict[str, Any]] = head["sections"]
        for name, section in self.sections.items():
            file = path / name
            size = file.stat().st_size if file.is_file() else None
            if size != section["bytes"]:
                found = "is missing" if size is None else f"has {size:,} bytes"
                raise DataError(
                    f"the index {path} is damaged: {name} {found}, expected {section['bytes']:,}; copy it again, or "
                    f"make it again with: gpu-pile index RUN {path}"
                )

    @property
    def banding(self) -> Banding:
        return Banding(self.definitions["dedupe.fuzzy.bands"], self.definitions["dedupe.fuzzy.rows"])

    @property
    def sketch_size(self) -> int:
        return int(self.definitions["dedupe.fuzzy.size"])

    def _mapped(self, name: str, dtype: Any) -> Array:
        """Return a file as a read-only array."""
        if not self.sections[name]["bytes"]:
            return np.empty(0, dtype)
        return np.memmap(self.path / name, dtype, "r")

    @cached_property
    def documents(self) -> Array:
        return self._mapped("documents.bin", DOCUMENT)

    @cached_property
    def keep(self) -> Array:
        return self._mapped("keep.bin", np.uint8)

    @cached_property
    def sketches(self) -> Array:
        return self._mapped("sketches.bin", np.uint32).reshape(-1, self.sketch_size)

    @cached_property
    def hash_keys(self) -> Array:
        return self._mapped("hash_keys.bin", np.uint64).reshape(-1, 2)

    @cached_property
    def hash_rows(self) -> Array:
        return self._mapped("hash_rows.bin", np.uint32)

    @cached_property
    def band_keys(self) -> Array:
        return self._mapped("band_keys.bin", np.uint64)

    @cached_property
    def band_rows(self) -> Array:
        return self._mapped("band_rows.bin", np.uint32)

    def check(self) -> None:
        """Read all files and compare their checksums.

        Raises:
            DataError: a file has changed.
        """
        for name, section in self.sections.items():
            if checksum(self.path / name) != section["checksum"]:
                raise DataError(
                    f"the index {self.path} is damaged: {name} has other bytes than were written; copy it again, or "
                    f"make it again with: gpu-pile index RUN {self.path}"
                )


def checksum(path: Path) -> str:
    """Return BLAKE2b of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class Writer:
    """Writes the files of an index into a folder, within a with statement; head() makes it one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self._files = {name: (folder / name).open("wb") for name in SECTIONS}
        self._digests = {name: hashlib.blake2b(digest_size=16) for name in SECTIONS}

    def add(self, name: str, array: Array) -> None:
        data = np.ascontiguousarray(array).view(np.uint8).data if array.size else b""
        self._files[name].write(data)
        self._digests[name].update(data)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.close()

    def head(self, content: Mapping[str, Any]) -> None:
        """Write index.json; content: definitions, documents, subsets, runs, shards."""
        sections = {
            name: {"bytes": file.tell(), "checksum": self._digests[name].hexdigest()}
            for name, file in self._files.items()
        }
        head = {"version": VERSION, **content, "sections": sections}
        files.write_json(self.folder / HEAD, {**head, "key": files.key_of(head)})


SECTIONS = (
    "documents.bin",
    "keep.bin",
    "sketches.bin",
    "hash_keys.bin",
    "hash_rows.bin",
    "band_keys.bin",
    "band_rows.bin",
)
