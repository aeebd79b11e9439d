"""Find the shards that paths, folders, globs and URLs name."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from gpu_pile.corpus import files, tables
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.remote import RemotePath
from gpu_pile.errors import DataError, UsageError

TABLES = (*tables.PARQUET, *tables.ARROW)
COMPRESSED = (".zst", ".zstd", ".gz", ".bz2", ".xz")
SUFFIXES = tuple(f"{kind}{packed}" for kind in (".jsonl", ".json", ".ndjson") for packed in ("", *COMPRESSED))
_NAME = re.compile(r"(.+?)\.(jsonl|json|ndjson)(\.(zst|zstd|gz|bz2|xz))?")
PLAIN_JSON = ".json"
"""Beside other shards, such files describe them: dataset_info.json, statistics."""
RUN_MARK = ".claim.json"
"""The file that marks a run directory. What is in it is passed over when a folder that holds it is an input."""


@dataclass(frozen=True)
class Shard:
    """One input file. index is its position among all shards, sorted by name."""

    index: int
    name: str
    path: AnyPath
    n_bytes: int

    @property
    def is_table(self) -> bool:
        """Whether it holds rows (Parquet, Arrow), not lines; by its name."""
        return self.path.name.endswith(TABLES)


def find_shards(inputs: Sequence[str | AnyPath], base: Path) -> list[Shard]:
    """Return the files that globs, folders, paths and URLs name, sorted by name; relative paths start at base.

    A folder stands for the files with one of SUFFIXES in it and in the folders below, without those whose names, or
    whose folders' names, begin with "." or "_", and without run directories. Plain `.json` files count only if there
    are no others. A file named twice counts once.

    Raises:
        UsageError: an input names nothing, or two files have the same name. DataError: a file cannot be read.
    """
    problems: list[str] = []
    paths: set[AnyPath] = set()
    for given in inputs:
        location = files.path_of(given)
        if isinstance(location, RemotePath):
            named = _at_url(location)
            paths.update(named)
            problem = "" if named else f"{location} names no file, or cannot be reached"
        else:
            local, problem = _at_path(location, base)
            paths.update(p.resolve() for p in local)
        if problem:
            problems.append(problem)
    by_name, same = _named(paths)
    for name, clash in same.items():
        problems.append(
            f"two inputs have the name {name!r}: {clash[0]} and {clash[1]}; "
            "results are named by shard, so rename one or run them separately"
        )
    problems += _mixed(list(by_name.values()))
    if problems:
        raise UsageError("input.shards: " + "; ".join(problems))
    unreadable = [str(p) for p in by_name.values() if isinstance(p, Path) and not os.access(p, os.R_OK)]
    if unreadable:
        raise DataError(f"this user may not read {', '.join(unreadable[:5])}")
    names = sorted(by_name)
    with files.read_errors():
        return [Shard(i, name, by_name[name], by_name[name].stat().st_size) for i, name in enumerate(names)]


def _mixed(paths: Sequence[AnyPath]) -> list[str]:
    """Return a problem if the files are of several kinds: kept shards have the format of their input."""
    kinds: dict[str, AnyPath] = {}
    for path in paths:
        kind = "Parquet" if path.name.endswith(tables.PARQUET) else "Arrow" if path.name.endswith(tables.ARROW) else ""
        kinds.setdefault(kind or "JSON lines", path)
    if len(kinds) < 2:
        return []
    found = ", ".join(f"{kind} ({path})" for kind, path in kinds.items())
    return [
        f"the inputs have several formats: {found}; a run reads one of them, which a glob such as **/*.parquet names"
    ]


def _named(paths: Iterable[AnyPath]) -> tuple[dict[str, AnyPath], dict[str, list[AnyPath]]]:
    """Return (file by name, files that have the same name in the same folder).

    A shard is called as its file, without the suffixes. Files of one name in several folders are called by as many of
    their folders as tell them apart, such as train-00 and test-00.
    """
    groups: list[tuple[int, list[AnyPath]]] = [(1, sorted(paths, key=str))]
    named: dict[str, AnyPath] = {}
    same: dict[str, list[AnyPath]] = {}
    while groups:
        n_parts, group = groups.pop()
        by_name: dict[str, list[AnyPath]] = {}
        for path in group:
            by_name.setdefault(_name(path, n_parts), []).append(path)
        for name, found in by_name.items():
            if len(found) == 1 and name not in named:
                named[name] = found[0]
            elif len({str(path.parent) for path in found}) < len(found) or name in named:
                same[name] = [*found, *([named[name]] if name in named else ())]
            else:
                groups.append((n_parts + 1, found))
    return named, same


def _name(path: AnyPath, n_parts: int) -> str:
    folders, folder = [], path
    for _ in range(n_parts - 1):
        folder = folder.parent
        folders.append(folder.name)
    match = _NAME.fullmatch(path.name)
    return "-".join([*reversed(folders), match[1] if match else path.stem])


P = TypeVar("P", Path, RemotePath)


def _shards_in(found: Iterable[P], folder: str) -> list[P]:
    """Return the shards among everything found in a folder: no hidden files, no results of a run.

    Files that end with PLAIN_JSON count only where there is nothing else.
    """
    listed = list(found)
    runs = {str(p.parent) for p in listed if p.name == RUN_MARK}

    def is_shard(path: P) -> bool:
        parts = str(path).removeprefix(folder).strip("/").split("/")
        if not parts[-1].endswith((*SUFFIXES, *TABLES)):
            return False
        above = {folder + "".join(f"/{part}" for part in parts[:i]) for i in range(len(parts))}
        return not any(part[0] in "._" for part in parts) and not above & runs

    shards = sorted(filter(is_shard, listed), key=str)
    return [p for p in shards if not p.name.endswith(PLAIN_JSON)] or shards


def _at_path(location: Path, base: Path) -> tuple[list[Path], str]:
    """Return (the files that a local path, folder or glob names, "" or why there are none)."""
    text = os.fspath(base / location.expanduser())
    if Path(text).is_dir():
        paths = [p for p in _shards_in(Path(text).rglob("*"), str(Path(text))) if p.is_file()]
        named = "*.jsonl or *.json, also with .zst, .gz, .bz2, .xz; *.parquet or *.arrow"
        return paths, "" if paths else f"the folder {location} holds no file named {named}"
    if Path(text).is_file():
        return [Path(text)], ""
    paths = [p for p in map(Path, glob.glob(text, recursive=True)) if p.is_file()]  # noqa: PTH207
    return paths, "" if paths else f"{location} names no file (looked in {base})"


def _at_url(location: RemotePath) -> list[RemotePath]:
    with files.read_errors():
        if location.is_glob():
            return location.matches()
        if location.is_dir():
            return _shards_in(location.rglob("*"), str(location).rstrip("/"))
        return [location] if location.is_file() else []
