"""Finished runs that an index was made of: their tables and, where texts are needed, their shards."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from gpu_pile.corpus import files
from gpu_pile.corpus.identity import file_identity
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import DataError, UsageError
from gpu_pile.run import config as configuration
from gpu_pile.run import directory
from gpu_pile.run.config import Config
from gpu_pile.run.context import Context
from gpu_pile.run.tables import MeasuredRange, measured_ranges


def finished(path: str) -> Context:
    """Open a run that has been decided, with the shards that it was made of.

    Raises:
        UsageError: there is no such run, or it was not decided.
    """
    run = directory.open_dir(path)
    info: dict[str, Any] = files.read_json(run.path / "run.json")
    config = configuration.parse(info["config"], str(run.path / "run.json"))
    shards = [Shard(s["index"], s["name"], files.path_of(s["path"]), s["bytes"]) for s in info["shards"]]
    if not decided_key(run):
        raise UsageError(f"the run {path} is not finished; go on with: gpu-pile run CONFIG")
    return Context(config, run, shards)


def decided_key(run: directory.RunDir) -> str:
    """Return the key of what a run decided; "" if it did not."""
    return str(run.state("decide").get("key", ""))


def source_of(context: Context, run: str) -> Context:
    """Return what reads the shards of an old run in the place of those of this one: its input, its tables."""
    old = _opened(run)
    return replace(context, config=_with_input(context.config, old.config), directory=old.directory, shards=old.shards)


def _with_input(config: Config, old: Config) -> Config:
    return config.model_copy(update={"input": old.input})


@functools.lru_cache(64)
def _opened(run: str) -> Context:
    try:
        return finished(run)
    except UsageError as error:
        raise DataError(
            f"texts of the old run {run} are needed, and it is not there ({error}); bring it back, or set "
            "dedupe.fuzzy.verify to sketch, which reads no old text"
        ) from error


def check_shard(context: Context, shard: Shard, run: str) -> None:
    """Check that a shard of an old run has the bytes that were measured.

    Raises:
        DataError: it is gone or has changed.
    """
    state = context.directory.state("measure", shard.name)
    advice = f"texts of the old run {run} are needed; bring the shard back, or set dedupe.fuzzy.verify to sketch"
    try:
        now = files.fingerprint(shard.path)
        if (now != state["file"] or None in now.values()) and file_identity(shard.path) != state["identity"]:
            raise DataError(f"{shard.path} has changed since it was measured: {advice}")
    except OSError as error:
        raise DataError(f"cannot read {shard.path} ({error.strerror or error}): {advice}") from error


def old_ranges(context: Context, run: str, name: str) -> Iterator[MeasuredRange]:
    """Yield the measured ranges of a shard of an old run."""
    source = source_of(context, run)
    shard = next(shard for shard in source.shards if shard.name == name)
    yield from measured_ranges(source, shard)
