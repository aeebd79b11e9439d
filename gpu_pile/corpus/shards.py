"""Find the shards that paths, folders, globs and URLs name."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.remote import RemotePath
from gpu_pile.errors import DataError, UsageError

SUFFIXES = (".jsonl", ".jsonl.zst", ".jsonl.zstd", ".jsonl.gz")
_NAME = re.compile(r"(.+?)\.jsonl(\.zst|\.zstd|\.gz)?")


@dataclass(frozen=True)
class Shard:
    """One input file. index is its position among all shards, sorted by name."""

    index: int
    name: str
    path: AnyPath
    n_bytes: int


def find_shards(inputs: Sequence[str | AnyPath], base: Path) -> list[Shard]:
    """Return the files that globs, folders, paths and URLs name, sorted by name; relative paths start at base.

    A folder stands for the files with one of SUFFIXES in it. A file named twice counts once.

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
    by_name: dict[str, list[AnyPath]] = {}
    for path in sorted(paths, key=str):
        match = _NAME.fullmatch(path.name)
        by_name.setdefault(match[1] if match else path.stem, []).append(path)
    for name, same in by_name.items():
        if len(same) > 1:
            problems.append(
                f"two inputs have the name {name!r}: {same[0]} and {same[1]}; "
                "results are named by shard, so rename one or run them separately"
            )
    if problems:
        raise UsageError("input.shards: " + "; ".join(problems))
    unreadable = [str(p[0]) for p in by_name.values() if isinstance(p[0], Path) and not os.access(p[0], os.R_OK)]
    if unreadable:
        raise DataError(f"this user may not read {', '.join(unreadable[:5])}")
    names = sorted(by_name)
    with files.read_errors():
        return [Shard(i, name, by_name[name][0], by_name[name][0].stat().st_size) for i, name in enumerate(names)]


def _at_path(location: Path, base: Path) -> tuple[list[Path], str]:
    """Return (the files that a local path, folder or glob names, "" or why there are none)."""
    text = os.fspath(base / location.expanduser())
    if Path(text).is_dir():
        paths = [p for p in Path(text).iterdir() if p.name.endswith(SUFFIXES) and p.is_file()]
        return paths, "" if paths else f"the folder {location} holds no file named *{', *'.join(SUFFIXES)}"
    if Path(text).is_file():
        return [Path(text)], ""
    paths = [p for p in map(Path, glob.glob(text, recursive=True)) if p.is_file()]  # noqa: PTH207
    return paths, "" if paths else f"{location} names no file (looked in {base})"


def _at_url(location: RemotePath) -> list[RemotePath]:
    with files.read_errors():
        if location.is_glob():
            return location.matches()
        if location.is_dir():
            return [p for p in location.iterdir() if p.name.endswith(SUFFIXES)]
        return [location] if location.is_file() else []
