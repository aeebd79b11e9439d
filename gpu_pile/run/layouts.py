"""Where published corpora have their texts and subsets: input.preset, and what is found by looking at a document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpu_pile.corpus.tables import ERRORS, find_column, open_table
from gpu_pile.run.context import Context
from gpu_pile.run.presets import PRESETS
from gpu_pile.run.reading import open_shard

LINES_LOOKED_AT = 100


def look(context: Context) -> None:
    """Take the fields of a known corpus where the configuration names none and the defaults are not in a document.

    The first document of the first shard decides; the run says so. A shard at a URL is not fetched for this.
    """
    settings = context.config.input
    open_fields = [name for name in ("text_field", "subset_field") if name not in settings.model_fields_set]
    if not open_fields or not context.shards or not isinstance(context.shards[0].path, Path):
        return
    there = _fields(context)
    found = {}
    for name in open_fields:
        if there and getattr(settings, name) not in there:
            known = [getattr(preset, name) for preset in PRESETS.values()]
            candidate = next((field for field in known if field in there), None)
            if candidate is not None:
                found[name] = candidate
    if found:
        taken = " and ".join(f"input.{name}: {field}" for name, field in found.items())
        context.reporter.warn(
            f"the first document of {context.shards[0].name} has no field of the default name, but one of a known "
            f"corpus: {taken} is used. Set it, or input.preset, to have this sentence gone"
        )
        context.config = context.config.model_copy(update={"input": settings.model_copy(update=found)})


def _fields(context: Context) -> set[str]:
    """Return the paths of the fields that are strings in the first document of the first shard."""
    shard = context.shards[0]
    if shard.is_table:
        try:
            with open_table(shard.path) as table:
                known = {f for preset in PRESETS.values() for f in (preset.text_field, preset.subset_field)}
                return {path for path in known if find_column(table.schema, path)}
        except ERRORS:
            return set()
    for block in open_shard(context, shard):
        for line in block.data[: block.n_bytes].tobytes().split(b"\n", LINES_LOOKED_AT)[:LINES_LOOKED_AT]:
            try:
                document = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(document, dict):
                return set(_paths(document))
        break
    return set()


def _paths(document: Mapping[str, Any], before: str = "") -> list[str]:
    paths = []
    for key, value in document.items():
        if isinstance(value, dict):
            paths += _paths(value, f"{before}{key}.")
        elif isinstance(value, str):
            paths.append(f"{before}{key}")
    return paths
