"""Fields of the documents that the configuration names: their types, found by looking, and whether they are there."""

from __future__ import annotations

import difflib
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.tables import ERRORS, open_table
from gpu_pile.errors import ConfigError, DataError
from gpu_pile.run.context import Context
from gpu_pile.run.own_columns import ID
from gpu_pile.run.reading import open_shard
from gpu_pile.run.tables import row_groups

SHARDS_LOOKED_AT = 3
DOCUMENTS_LOOKED_AT = 100
NAMES_SHOWN = 12

STATE = ("identity", "definition", "stopped")
"""What the content of a measured table depends on, of what is recorded of it."""

NUMBER, STRING, OTHER = "number", "string", "list or object"
Kinds = dict[str, set[str]]
"""What the first documents have by path: NUMBER, STRING or OTHER."""


def with_types(context: Context) -> None:
    """Give each field of the configuration a type: that of a number if a threshold uses it, or by looking."""
    settings, ruled = context.config.input, context.config.thresholds.signals()
    unknown = [name for name, field in settings.fields.items() if field.type is None]
    if not unknown:
        return
    seen = _seen(context) if set(unknown) - set(ruled) else {}
    own = dict(settings.fields)
    for name in unknown:
        is_number = name in ruled or seen.get(own[name].path) == {NUMBER}
        own[name] = own[name].model_copy(update={"type": NUMBER if is_number else STRING})
    context.config = context.config.model_copy(update={"input": settings.model_copy(update={"fields": own})})


def _seen(context: Context) -> Kinds:
    """What the documents at the beginning of the first shards have, null left out."""
    seen: Kinds = {}
    for shard in context.shards[:SHARDS_LOOKED_AT]:
        try:
            pairs = _columns(shard) if shard.is_table else _fields(context, shard)
            for path, kind in pairs:
                seen.setdefault(path, set()).add(kind)
        except (*ERRORS, DataError):  # the stage that reads the shard says what is wrong with it
            continue
    return seen


def _columns(shard: Shard) -> Iterator[tuple[str, str]]:
    with open_table(shard.path) as table:
        yield from _of_schema(table.schema, "")


def _of_schema(inside: Any, before: str) -> Iterator[tuple[str, str]]:
    for field in inside:
        path, kind = f"{before}{field.name}", field.type
        if pa.types.is_struct(kind):
            yield path, OTHER
            yield from _of_schema(kind, f"{path}.")
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            yield path, NUMBER
        elif not pa.types.is_null(kind):
            yield path, OTHER if pa.types.is_nested(kind) else STRING


def _fields(context: Context, shard: Shard) -> Iterator[tuple[str, str]]:
    for block in itertools.islice(open_shard(context, shard), 1):
        lines = block.data[: block.n_bytes].tobytes().split(b"\n", DOCUMENTS_LOOKED_AT)[:DOCUMENTS_LOOKED_AT]
        for line in lines:
            try:
                document = json.loads(line.decode("utf-8-sig"))
            except (ValueError, RecursionError):  # a bad line, or the rest of the block
                continue
            if isinstance(document, dict):
                yield from _of_document(document)


def _of_document(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    waiting = [("", document)]
    while waiting:
        before, inside = waiting.pop()
        for key, value in inside.items():
            if isinstance(value, dict):
                waiting.append((f"{before}{key}.", value))
            if value is not None:
                number = isinstance(value, int | float)
                yield f"{before}{key}", NUMBER if number else STRING if isinstance(value, str) else OTHER


def count_fields(context: Context) -> dict[str, dict[str, Any]]:
    """How many documents have each field that the configuration names, in all and by subset.

    Raises:
        ConfigError: no document has one of them, with strict; without it, that is a warning.
    """
    settings, joins = context.config.input, context.config.measure.join
    paths = {name: path for path, join in joins.items() for name in join.columns or ()}
    paths |= {name: field.path for name, field in settings.fields.items()}
    paths |= {} if settings.id_field is None else {ID: settings.id_field}
    if not paths:
        return {}
    counts = _counts(context, list(paths))
    documents = sum(context.directory.state("measure", s.name)["documents"] for s in context.shards)
    absent = [name for name in settings.extra_columns if documents and not sum(counts[name].values())]
    if absent:
        seen = _seen(context)
        warnings = [_warning(context, name, seen) for name in absent]
        if context.config.strict:
            raise ConfigError("; ".join(warnings))
        for warning in warnings:
            context.reporter.warn(warning)
    return {
        name: {"path": paths[name], "documents": sum(by_subset.values()), "by_subset": dict(sorted(by_subset.items()))}
        for name, by_subset in counts.items()
    }


def _counts(context: Context, names: list[str]) -> dict[str, dict[str, int]]:
    """How many documents of each subset have each column: counted once, which reads all of these columns."""
    run = context.directory
    measured = [[s.name, *map(run.state("measure", s.name).get, STATE)] for s in context.shards]
    key = files.key_of({"columns": names, "measured": measured, "joined": run.state("join").get("key")})
    known = run.state("fields")
    if known.get("key") == key:
        counts: dict[str, dict[str, int]] = known["counts"]
        return counts
    counts = {name: {} for name in names}
    for shard in context.shards:
        for table in row_groups(context, shard, ["subset", *names]):
            for row in table.group_by("subset").aggregate([(name, "count") for name in names]).to_pylist():
                for name, by_subset in counts.items():
                    by_subset[row["subset"]] = by_subset.get(row["subset"], 0) + row[f"{name}_count"]
    run.set_state({"key": key, "counts": counts}, "fields")
    return counts


def _warning(context: Context, name: str, seen: Kinds) -> str:
    """A sentence on a field that no document has, with what the first documents have in its place."""
    settings = context.config.input
    own = settings.fields.get(name)
    option = "input.id_field" if name == ID else f"input.fields.{name}"
    path = own.path if own else settings.id_field or ""
    what = "number" if own and own.type == NUMBER else "string or number"
    if path in seen:
        there = " or ".join(sorted(seen[path]))
        hint = f"the first documents have a {there} there"
        hint += f"; set {option} to {{path: {path}, type: string}} to keep it" if seen[path] == {STRING} else ""
    else:
        near = difflib.get_close_matches(path, seen, 1) or [p for p in seen if p.split(".")[-1] == path.split(".")[-1]]
        first = ", ".join(itertools.islice(seen, NAMES_SHOWN))
        hint = f"did you mean {near[0]!r}?" if near else f"the first documents have {first or 'no fields'}"
    return f"{option} is {path!r}, and no document has a {what} there; {hint}"
