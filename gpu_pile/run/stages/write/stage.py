"""Which shards are written, and in which tasks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import Any

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.shards import Shard
from gpu_pile.corpus.sinks import FORMATS, PARQUET
from gpu_pile.ops.c4_lines import c4_lines
from gpu_pile.run.context import Context
from gpu_pile.run.stages.by_shard import ShardsJob, group_label, group_small
from gpu_pile.run.stages.write.bits import BitmapWriter
from gpu_pile.run.stages.write.convert import ConvertingWriter
from gpu_pile.run.stages.write.copy import RangeWriter, ShardWriter, line_outputs, range_file
from gpu_pile.run.stages.write.join import RangeJoiner
from gpu_pile.run.stages.write.rows import RowsWriter
from gpu_pile.run.tables import MeasuredRange, measured_ranges, measured_whole
from gpu_pile.run.tasks import Task

VERSION = 4


def settings_key(context: Context) -> str:
    """What all written shards depend on."""
    c = context.config
    cuts = {"cuts": context.directory.state("substrings")["key"]} if c.dedupe.cuts else {}
    return files.key_of(
        {
            **cuts,
            "version": VERSION,
            "write": c.write.model_dump(),
            # the reasons of removed documents can change while the kept ones stay
            "decided": context.directory.state("decide")["key"] if c.write.removed else None,
            "edit": [c.edit.model_dump(), c4_lines.version] if c.edit.c4_lines else None,
        }
    )


def write_keys(context: Context) -> dict[str, str]:
    """Return what each written shard depends on, by the shard's name."""
    settings, decided = settings_key(context), context.directory.state("decide")["shards"]
    keys = {}
    for shard in context.shards:
        measured = context.directory.state("measure", shard.name)
        depends_on = [settings, measured["identity"], measured["definition"], decided[shard.name]["kept_lines"]]
        keys[shard.name] = files.key_of(depends_on)
    return keys


def possible_outputs() -> list[str]:
    """Return the outputs of every configuration, {shard} for the name of a shard."""
    lines = [f"{folder}/{{shard}}{suffix}" for suffix in _suffixes() for folder in ("kept", "removed")]
    return [*lines, "removed_reasons/{shard}.parquet", "kept/{shard}.npy"]


def _suffixes() -> list[str]:
    return [*(sink.suffix for sink in FORMATS), ".parquet", ".arrow"]


def outputs(context: Context, shard: Shard) -> list[AnyPath]:
    """Return the files that write makes of a shard."""
    if context.config.write.keep == "bitmap":
        return [context.directory.bitmap(shard.name)]
    reasons = [context.directory.removed_reasons(shard.name)] if context.config.write.removed else []
    return [*line_outputs(context, shard), *reasons]


def write(context: Context) -> None:
    """Write every shard whose kept lines or settings have changed."""
    directory = context.directory
    keys = write_keys(context)
    todo = [s for s in context.shards if not _is_done(context, s, keys[s.name])]
    _remove_outdated(context, todo)
    with context.stage("write", todo) as entry:
        if context.config.write.keep == "bitmap":
            context.do("write", [_shards_task(bitmap_job, context, group, keys) for group in group_small(todo)])
        else:
            _write_lines(context, todo, keys)
        entry["text_bytes"] = sum(directory.state("measure", s.name)["text_bytes"] for s in todo)
    directory.clear_scratch("write")


def _write_lines(context: Context, todo: Sequence[Shard], keys: dict[str, str]) -> None:
    # the row groups of a shard are written one after the other: Parquet cannot be joined byte by byte
    ranges = {s.name: _ranges(context, s) for s in todo}
    whole = [shard for shard in todo if len(ranges[shard.name]) == 1]
    tasks = [_shards_task(copy_job, context, group, keys) for group in group_small(whole)]
    joins = []
    for shard in todo:
        if len(ranges[shard.name]) > 1:
            key = keys[shard.name]
            tasks += _range_tasks(context, ranges[shard.name], key)
            joins.append(Task(join_job, (shard, key), shard.n_bytes, shard.name, _made(context, shard)))
    context.do("write", tasks)
    context.do("write", joins)
    for shard in todo:
        if len(ranges[shard.name]) > 1:
            shutil.rmtree(context.directory.scratch / "write" / shard.name, ignore_errors=True)


def _ranges(context: Context, shard: Shard) -> list[MeasuredRange]:
    """Return the ranges of a shard that are written separately."""
    ranges = measured_ranges(context, shard)
    if ranges[0].shard_range.stop >= 0:  # one frame was split: if all of it is kept, it leaves as it came
        kept = context.directory.state("decide")["shards"][shard.name]["kept"]
        if kept == ranges[-1].end and context.config.write.copy_frames:
            return [measured_whole(context, shard)]
    return ranges[:1] if shard.is_table or context.config.write.format == PARQUET else ranges


def copy_job(context: Context, shards: Sequence[Shard], keys: Sequence[str]) -> ShardsJob[Any, Any]:
    key_of = {shard.name: key for shard, key in zip(shards, keys, strict=True)}

    def begin(shard: Shard) -> RowsWriter | ShardWriter:
        of_lines = ConvertingWriter if context.config.write.format == PARQUET else ShardWriter
        return (RowsWriter if shard.is_table else of_lines)(context, shard, key_of[shard.name])

    return ShardsJob(context, "write", shards, begin)


def bitmap_job(context: Context, shards: Sequence[Shard], keys: Sequence[str]) -> ShardsJob[Any, Any]:
    key_of = {shard.name: key for shard, key in zip(shards, keys, strict=True)}
    return ShardsJob(context, "write", shards, lambda shard: BitmapWriter(context, shard, key_of[shard.name]))


def join_job(context: Context, shard: Shard, key: str) -> ShardsJob[Any, Any]:
    return ShardsJob(context, "write", (shard,), lambda shard: RangeJoiner(context, shard, key))


def _is_done(context: Context, shard: Shard, key: str) -> bool:
    recorded = context.directory.state("write", shard.name).get("key")
    return recorded == key and all(path.is_file() for path in outputs(context, shard))


def _made(context: Context, shard: Shard) -> tuple[AnyPath, ...]:
    return (*outputs(context, shard), context.directory.state_path("write", shard.name))


def _shards_task(
    make: Callable[..., ShardsJob[Any, Any]], context: Context, shards: Sequence[Shard], keys: dict[str, str]
) -> Task:
    """Return the task that writes shards as wholes."""
    n_bytes = sum(shard.n_bytes for shard in shards)
    made = tuple(path for shard in shards for path in _made(context, shard))
    args = (tuple(shards), tuple(keys[shard.name] for shard in shards))
    return Task(make, args, n_bytes, group_label(shards), made, n_bytes)


def _range_tasks(context: Context, ranges: Sequence[MeasuredRange], key: str) -> list[Task]:
    """Return the tasks that write the ranges of a shard, without those that a stopped run has finished."""
    tasks = []
    for measured in ranges:
        n_bytes, facts = measured.shard_range.n_bytes, range_file(context, measured, key, "json")
        if facts.is_file():
            context.reporter.advance("write", n_bytes)
        else:
            tasks.append(Task(RangeWriter, (measured, key), n_bytes, measured.label, (facts,), n_bytes))
    return tasks


def _remove_outdated(context: Context, shards: Sequence[Shard]) -> None:
    """Remove what was written with other settings and would no longer be kept in step."""
    directory, settings = context.directory, context.config.write
    for folder in ("removed", "removed_reasons"):
        if not settings.removed and (directory.path / folder).is_dir():
            files.remove_tree(directory.path / folder)
    for shard in shards if settings.keep != "bitmap" else ():
        directory.bitmap(shard.name).unlink(missing_ok=True)
    for suffix in _suffixes():
        if suffix != directory.line_suffix or settings.keep == "bitmap":
            for shard in shards:
                for folder in ("kept", "removed"):
                    (directory.path / folder / f"{shard.name}{suffix}").unlink(missing_ok=True)
