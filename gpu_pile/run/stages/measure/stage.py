"""Which shards are measured, and in which tasks.

Besides measured/<shard>.parquet, two small files per shard are made for later questions about the run:
histograms/<shard>.parquet (gpu_pile.summaries.histograms) and samples/<shard>.parquet (gpu_pile.summaries.samples).
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from typing import Any

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.identity import file_identity
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import ConfigError, DataError, UsageError
from gpu_pile.run.context import Context
from gpu_pile.run.joining import join
from gpu_pile.run.reading import open_shard, shard_ranges
from gpu_pile.run.spool import spool_share
from gpu_pile.run.stages.by_shard import ShardsJob, group_label, group_small
from gpu_pile.run.stages.measure.columns import definition_key
from gpu_pile.run.stages.measure.merge import RangeMerger, remove_ranges
from gpu_pile.run.stages.measure.read import RangeFiles, RangeMeasurer, ShardMeasurer
from gpu_pile.run.stages.measure.renumber import Renumberer
from gpu_pile.run.tasks import Task

FIELDS_SHOWN = 12
"""Fields of a line that an error names at most."""


def measure(context: Context) -> None:
    """Measure every shard that is not done; then check that there are documents at all."""
    definition = definition_key(context)
    todo = [s for s in context.shards if not is_done(context, s, definition)]
    with context.stage("measure", todo) as entry:
        split = list(zip(todo, shard_ranges(context, todo), strict=True))
        whole = [shard for shard, ranges in split if len(ranges) == 1]
        share = spool_share(context, todo)
        tasks = [measure_task(context, group, definition, share) for group in group_small(whole)]
        merges = []
        for shard, ranges in split:
            if len(ranges) > 1:
                tasks += _range_tasks(context, shard, ranges, definition, share)
                args = (shard, ranges, definition, share)
                merges.append(Task(merge_job, args, shard.n_bytes, shard.name, _outputs(context, shard)))
        moved = [s for s in context.shards if s not in todo and _index(context, s) != s.index]
        tasks += [renumber_task(context, group, definition) for group in group_small(moved)]
        context.do("measure", tasks)
        context.do("measure", merges)
        remove_ranges(context, [shard for shard, ranges in split if len(ranges) > 1])
        states = {s.name: _summary(context, s) for s in context.shards}
        entry["text_bytes"] = sum(states[s.name]["text_bytes"] for s in todo)
    context.directory.clear_scratch("measure")
    write_bad_lines(context, states)
    check_documents(context, states)
    join(context)


def is_done(context: Context, shard: Shard, definition: str) -> bool:
    """Whether the measured file is there and was made from this shard's bytes by these definitions."""
    directory = context.directory
    state = directory.state("measure", shard.name)
    if state.get("definition") != definition or not all(p.is_file() for p in _outputs(context, shard)):
        return False
    fingerprint = files.fingerprint(shard.path)
    if state["file"] != fingerprint or None in fingerprint.values():
        if state["file"]["bytes"] != fingerprint["bytes"] or file_identity(shard.path) != state["identity"]:
            context.reporter.note(f"{shard.path} has changed since it was measured: it is measured again")
            return False
        directory.set_state({**state, "file": fingerprint}, "measure", shard.name)  # touched, not changed
    return True


def _index(context: Context, shard: Shard) -> int:
    """Return the index that the doc_ids of a measured shard were made with."""
    return int(context.directory.state("measure", shard.name)["index"])


def renumber_task(context: Context, shards: Sequence[Shard], definition: str) -> Task:
    """Return the task that renews the doc_ids of measured shards; its progress is not counted."""
    outputs = tuple(path for shard in shards for path in _outputs(context, shard))
    return Task(renumber_job, (tuple(shards), definition), 0, f"doc_ids of {group_label(shards)}", outputs)


def renumber_job(context: Context, shards: Sequence[Shard], definition: str) -> ShardsJob[Any, Any]:
    _check(context, definition)
    return ShardsJob(context, "measure", shards, lambda shard: Renumberer(context, shard, definition))


def measure_task(context: Context, shards: Sequence[Shard], definition: str, share: float = 0.0) -> Task:
    """Return the task that measures shards as a whole; share: of the spool, see spool_share()."""
    n_bytes = sum(shard.n_bytes for shard in shards)
    outputs = tuple(path for shard in shards for path in _outputs(context, shard))
    return Task(measure_job, (tuple(shards), definition, share), n_bytes, group_label(shards), outputs, n_bytes)


def measure_job(context: Context, shards: Sequence[Shard], definition: str, share: float) -> ShardsJob[Any, Any]:
    _check(context, definition)
    return ShardsJob(context, "measure", shards, lambda shard: ShardMeasurer(context, shard, definition, share))


def _range_tasks(
    context: Context, shard: Shard, ranges: Sequence[ShardRange], definition: str, share: float
) -> list[Task]:
    """Return the tasks that measure the ranges of a shard, without those that a stopped run has finished."""
    tasks = []
    for shard_range in ranges:
        facts = RangeFiles(context, shard, shard_range, definition).facts
        if facts.is_file():
            context.reporter.advance("measure", shard_range.n_bytes)
            continue
        n_bytes, args = shard_range.n_bytes, (shard, shard_range, definition, share)
        tasks.append(Task(range_job, args, n_bytes, shard_range.label(shard), (facts,), n_bytes))
    return tasks


def range_job(context: Context, shard: Shard, shard_range: ShardRange, definition: str, share: float) -> RangeMeasurer:
    _check(context, definition)
    return RangeMeasurer(context, shard, shard_range, definition, share)


def merge_job(
    context: Context, shard: Shard, ranges: Sequence[ShardRange], definition: str, share: float
) -> ShardsJob[Any, Any]:
    """Merge the ranges; measure the shard as a whole if they cannot be merged."""
    _check(context, definition)

    def begin(shard: Shard) -> RangeMerger | ShardMeasurer:
        merger = RangeMerger(context, shard, ranges, definition)
        return merger if merger.is_possible() else ShardMeasurer(context, shard, definition, share, again=True)

    return ShardsJob(context, "measure", (shard,), begin)


def _summary(context: Context, shard: Shard) -> dict[str, Any]:
    """What is recorded of a shard, less its seek points, which are many."""
    state = context.directory.state("measure", shard.name)
    return {name: state[name] for name in ("documents", "text_bytes", "bad_lines", "damage")}


def _outputs(context: Context, shard: Shard) -> tuple[AnyPath, ...]:
    directory, name = context.directory, shard.name
    made = directory.measured(name), directory.histogram(name), directory.sample(name)
    return (*made, directory.state_path("measure", name))


def _check(context: Context, definition: str) -> None:
    if definition_key(context) != definition:
        raise UsageError(
            "this worker has other versions of operations or signals than the process that asks it: "
            "install the same gpu_pile, and the same plug-ins, on all machines"
        )


def write_bad_lines(context: Context, states: dict[str, dict[str, Any]]) -> None:
    """Write bad_lines.jsonl, the bad lines of all shards; states: what is recorded of each shard by name."""
    lines = [
        files.canonical_json({"shard": name, **bad}) + "\n"
        for name, state in states.items()
        for bad in state["bad_lines"]
    ]
    files.write_text(context.directory.path / "bad_lines.jsonl", "".join(lines))


def check_documents(context: Context, states: dict[str, dict[str, Any]]) -> None:
    """A corpus without any document is a mistake in the configuration or the data: say so before anything else is done.

    Raises:
        ConfigError: no shard has a document, and a line has other fields than input.text_field; names them.
        DataError: no shard has a document; names the first bad lines and damages.
    """
    if any(s["documents"] for s in states.values()):
        return
    _check_text_field(context, states)
    reasons = [
        f"{name}, line {s['bad_lines'][0]['line']}: {s['bad_lines'][0]['reason']}"
        for name, s in states.items()
        if s["bad_lines"]
    ]
    reasons += [f"{name}: {d['reason']}" for name, s in states.items() for d in s["damage"][:1]]
    if reasons:
        raise DataError(f"no document in {len(states)} shard(s): {'; '.join(reasons[:3])}")


def _check_text_field(context: Context, states: dict[str, dict[str, Any]]) -> None:
    """Raise a ConfigError that names the fields of the first bad line, if it is an object without the text field."""
    text_field = context.config.input.text_field
    for shard in context.shards:
        numbers = [bad["line"] for bad in states[shard.name]["bad_lines"]]
        block = next(iter(open_shard(context, shard)), None) if numbers else None
        if block is None:
            continue
        lines = block.data[: block.n_bytes].tobytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
        try:
            value = json.loads(lines[numbers[0] - 1 - block.first_line])
        except (ValueError, IndexError, RecursionError):  # not JSON, or in a later block
            return
        if isinstance(value, dict) and text_field.split(".")[0] not in value:
            raise ConfigError(
                f"no document in {len(states)} shard(s): input.text_field is {text_field!r}, and line {numbers[0]} of "
                f"{shard.name} has the fields {', '.join(map(repr, list(value)[:FIELDS_SHOWN]))}; set input.text_field"
            )
        return
