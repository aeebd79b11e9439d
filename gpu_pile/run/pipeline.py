"""A run: the stages in order, each redone only when something it depends on has changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gpu_pile
from gpu_pile import signals
from gpu_pile.corpus import files
from gpu_pile.corpus.blocks import use_allocator
from gpu_pile.corpus.shards import find_shards
from gpu_pile.errors import UsageError
from gpu_pile.gpu import detect
from gpu_pile.gpu.device import device_for
from gpu_pile.ops import op
from gpu_pile.run import dask, directory, removals, spool
from gpu_pile.run.config import Config
from gpu_pile.run.context import Context
from gpu_pile.run.floors import StageFloors
from gpu_pile.run.index.build import check_against
from gpu_pile.run.joining import with_joined_columns
from gpu_pile.run.layouts import look
from gpu_pile.run.own_fields import count_fields, with_types
from gpu_pile.run.progress import Reporter
from gpu_pile.run.stages import STAGES, Stage, versions
from gpu_pile.run.subset_names import resolve_subsets
from gpu_pile.run.tasks import Threads
from gpu_pile.run.threads import keep_freed_memory
from gpu_pile.text import unicode


@contextlib.contextmanager
def prepared(config: Config, reporter: Reporter | None = None, client: Any = None) -> Iterator[Context]:
    """Find the shards, check the backend, claim and lock the run directory.

    Args:
        client: a distributed.Client of the cluster that the configuration names, if there is one already.

    Raises:
        UsageError: an input is missing, names clash, or the output belongs to another run; nothing is written then.
    """
    keep_freed_memory()
    on_cluster = config.cluster.where is not None
    if on_cluster:
        dask.check(config)
    backend = "cpu" if on_cluster else detect.choose(config.backend)
    signals.check(config.measure.signals)
    if config.dedupe.fuzzy.enabled:
        config.dedupe.fuzzy.banding()  # or an error before anything is written
    shards = find_shards(config.input.shards, Path.cwd())
    if config.edit.c4_lines and any(shard.is_table for shard in shards):
        raise UsageError("edit.c4_lines edits the texts of JSON lines; rows of Parquet and Arrow are kept as they are")
    removals.read(config.decide.remove, shards)  # or an error before anything is written
    if config.dedupe.cuts and any(shard.is_table for shard in shards):
        raise UsageError(
            "dedupe.substrings cuts texts out of JSON lines; rows of Parquet and Arrow are kept as they are: use "
            "dedupe.substrings.cut: false, or JSON lines"
        )
    run_directory = directory.of(config, shards)
    check_against(config, str(run_directory.path.resolve()))
    run_directory.claim([s.name for s in shards])
    with files.locked(run_directory.path):
        device = device_for(backend)
        use_allocator(device.empty)
        context = Context(config, run_directory, shards, Threads(device), reporter or Reporter())
        run_directory.lease.unlink(missing_ok=True)  # of a process that was killed: its workers stop
        _remove_strays(context)
        look(context)
        with_types(context)
        context.config = with_joined_columns(context.config)
        spool.clear(run_directory)
        try:
            if on_cluster:
                with dask.Cluster(config, client) as context.executor:
                    yield context
                run_directory.remove_partials()
            else:
                yield context
        finally:
            spool.clear(run_directory)


def _remove_strays(context: Context) -> None:
    """Remove what former inputs and killed processes left in the run directory."""
    run_directory, names = context.directory, {s.name for s in context.shards}
    run_directory.remove_partials()
    strays = run_directory.remove_strays(names, [o for stage in STAGES for o in (*stage.outputs, *stage.optional())])
    for name in strays:
        for stage in STAGES:
            run_directory.forget(stage.name, name)
    if strays:
        context.reporter.note(f"no longer among the inputs, removed from the run: {', '.join(strays)}")


def run_until(context: Context, last: str) -> None:
    """Run the stages up to and including `last`."""
    floors = StageFloors(context)
    for stage in STAGES:
        run_stage(context, stage)
        floors.add(stage.name)
        if stage is STAGES[0]:  # everything that run.json says of the inputs is known
            resolve_subsets(context)
            fields = count_fields(context)
            files.write_json(context.directory.path / "run.json", describe(context, fields))
        if stage.name == last:
            break
    files.write_json(context.directory.path / "timings.json", {**context.timings(), **context.reporter.stages})


def run_stage(context: Context, stage: Stage) -> None:
    """Run a stage, unless its outputs exist and were made under the key that it has now."""
    if stage.by_shard or stage.key is None:
        stage.run(context)
        return
    run_directory, key = context.directory, stage.key(context)
    outputs = (run_directory.path / name for name in stage.files(s.name for s in context.shards))
    if key is None:
        if run_directory.state(stage.name):  # a former configuration did not leave it out
            for path in outputs:
                path.unlink(missing_ok=True)
            run_directory.forget(stage.name)
        return
    if run_directory.state(stage.name).get("key") == key and all(path.is_file() for path in outputs):
        return
    run_directory.forget(stage.name)
    facts = stage.run(context)
    run_directory.set_state({"key": key, **(facts or {})}, stage.name)


def describe(context: Context, fields: Mapping[str, Any]) -> dict[str, Any]:
    """run.json: everything that decides the result, and what was read.

    fields: what count_fields() gives
    """
    return {
        "gpu_pile": gpu_pile.__version__,
        "backend": dask.backend_of(context.config) or context.device.backend,
        "config": context.config.shown(),
        "warnings": context.reporter.warnings,
        "versions": {
            "stages": versions(),
            "ops": {name: o.version for name, o in op.load_all().items()},
            "signals": signals.definition_versions(context.config.measure.signals),
            "unicode": unicode.VERSION,
        },
        **({"fields": fields} if fields else {}),
        "shards": [
            {
                "name": shard.name,
                "index": shard.index,
                "path": str(shard.path),
                "identity": state["identity"],
                "documents": state["documents"],
                "lines": state["lines"],
                "bytes": state["file"]["bytes"],
                "text_bytes": state["text_bytes"],
                "stream_bytes": state["stream_bytes"],
                "bad_lines": len(state["bad_lines"]),
                "stopped": state["stopped"],
                "damage": state["damage"],
            }
            for shard in context.shards
            for state in [context.directory.state("measure", shard.name)]
        ],
    }


def damages(context: Context) -> list[str]:
    """One sentence for each thing that makes a finished run end with exit code 1."""
    sentences = []
    for shard in context.shards:
        state = context.directory.state("measure", shard.name)
        if state.get("stopped"):
            sentences.append(f"{shard.path}: {state['stopped']}")
        sentences += [f"{shard.path}: {d['reason']} (after line {d['line']})" for d in state.get("damage", ())]
    return sentences
