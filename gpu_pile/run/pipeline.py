"""A run: the stages in order, each redone only when something it depends on has changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gpu_pile
from gpu_pile import signals
from gpu_pile.corpus import files
from gpu_pile.corpus.blocks import use_allocator
from gpu_pile.corpus.shards import find_shards
from gpu_pile.gpu import detect
from gpu_pile.gpu.device import device_for
from gpu_pile.ops import op
from gpu_pile.run import dask, directory
from gpu_pile.run.config import Config
from gpu_pile.run.context import Context
from gpu_pile.run.progress import Reporter
from gpu_pile.run.stages.decide import decide
from gpu_pile.run.stages.dedupe import dedupe
from gpu_pile.run.stages.measure import measure
from gpu_pile.run.stages.report import report
from gpu_pile.run.stages.write import write
from gpu_pile.run.tasks import Threads
from gpu_pile.run.threads import keep_freed_memory
from gpu_pile.text import unicode

STAGES = {"measure": measure, "dedupe": dedupe, "decide": decide, "write": write, "report": report}


@contextlib.contextmanager
def prepared(config: Config, reporter: Reporter | None = None) -> Iterator[Context]:
    """Find the shards, check the backend, claim and lock the run directory.

    Raises:
        UsageError: an input is missing, names clash, or the output belongs to another run; nothing is written then.
    """
    keep_freed_memory()
    where = config.cluster.where
    if where:
        dask.check(config)
    chosen = "cpu" if where else detect.choose(config.backend)
    signals.check(config.measure.signals)
    if config.dedupe.fuzzy.enabled:
        config.dedupe.fuzzy.banding()  # or an error before anything is written
    shards = find_shards(config.input.shards, Path.cwd())
    run = directory.of(config)
    names = [s.name for s in shards]
    run.claim(names)
    with files.locked(run.path):
        here = device_for(chosen)
        use_allocator(here.empty)
        context = Context(config, run, shards, Threads(here), reporter or Reporter())
        run.lease.unlink(missing_ok=True)  # of a process that was killed: its workers stop
        gone = run.remove_strays(names)
        if gone:
            context.reporter.note(f"no longer among the inputs, removed from the run: {', '.join(gone)}")
        if not where:
            yield context
            return
        with dask.Cluster(config) as context.executor:
            yield context
        run.remove_partials()


def run_until(context: Context, last: str) -> None:
    """Run the stages up to and including `last`."""
    for name, stage in STAGES.items():
        stage(context)
        if name == "measure":
            files.write_json(context.directory.path / "run.json", describe(context))
        if name == last:
            break
    files.write_json(context.directory.path / "timings.json", {**context.timings(), **context.reporter.stages})


def describe(context: Context) -> dict[str, Any]:
    """run.json: everything that decides the result, and what was read."""
    shards = []
    for shard in context.shards:
        state = context.directory.state("measure", shard.name)
        shards.append(
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
        )
    return {
        "gpu_pile": gpu_pile.__version__,
        "backend": dask.backend_of(context.config) or context.device.backend,
        "config": context.config.model_dump(),
        "versions": {
            "ops": {name: o.version for name, o in op.load_all().items()},
            "signals": signals.definition_versions(context.config.measure.signals),
            "unicode": unicode.VERSION,
        },
        "shards": shards,
    }


def damages(context: Context) -> list[str]:
    """One sentence for each thing that makes a finished run end with exit code 1."""
    said = []
    for shard in context.shards:
        state = context.directory.state("measure", shard.name)
        if state.get("stopped"):
            said.append(f"{shard.path}: {state['stopped']}")
        said += [f"{shard.path}: {d['reason']} (after line {d['line']})" for d in state.get("damage", ())]
    return said
