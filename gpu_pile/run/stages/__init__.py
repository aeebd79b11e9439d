"""The stages of a run, in order. A new stage is one file and one entry of STAGES.

The verbs of the command line, what is skipped because it is done, and the removal of files of former inputs all follow
from the list. Importing it is cheap: the stages' modules are loaded when they are used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

SHARD = "{shard}"
"""Stands for the name of a shard in a stage's outputs."""


@dataclass(frozen=True)
class Stage:
    """One step of a run, and a verb of the command line.

    name:     of the verb, of the recorded state, and in timings.json
    help:     for `gpu-pile --help`
    run:      run(context) makes the outputs; it returns facts to record beside the key, or None
    key:      key(context) is a string that changes whenever the outputs may, or None if this configuration leaves the
              stage out; without it the stage is done every time
    outputs:  files of the run directory, those with {shard} once per shard, in a folder
    optional: optional() gives the outputs that only some configurations have
    by_shard: run skips the shards that are done, each with a state of its own; otherwise all outputs are made together
    """

    name: str
    help: str
    run: Callable[[Any], dict[str, Any] | None]
    key: Callable[[Any], str | None] | None = None
    outputs: tuple[str, ...] = ()
    optional: Callable[[], Sequence[str]] = tuple
    by_shard: bool = False

    def files(self, shards: Iterable[str]) -> Iterator[str]:
        """The outputs of a run on shards of these names, relative to the run directory."""
        names = list(shards)
        for output in self.outputs:
            yield from (output.replace(SHARD, name) for name in names) if SHARD in output else (output,)


def _lazy(location: str) -> Callable[..., Any]:
    """The function at module:name, imported when it is called."""
    module, name = location.split(":")

    def call(*args: Any) -> Any:
        return getattr(importlib.import_module(f"gpu_pile.run.stages.{module}"), name)(*args)

    return call


def versions() -> dict[str, int]:
    """The version of each stage that makes tables: it is raised when their columns or their meaning change."""
    named = {"measure": "measure.columns:FORMAT", "dedupe": "dedupe.stage:VERSION", "decide": "decide:VERSION"}
    found = {}
    for stage, location in named.items():
        module, name = location.split(":")
        found[stage] = getattr(importlib.import_module(f"gpu_pile.run.stages.{module}"), name)
    return found


STAGES = [
    Stage(
        "measure",
        help="Read the shards once; store positions, hashes, sketches, and signals.",
        run=_lazy("measure.stage:measure"),
        key=_lazy("measure.columns:definition_key"),
        outputs=("measured/{shard}.parquet", "histograms/{shard}.parquet", "samples/{shard}.parquet"),
        optional=lambda: ("seek/{shard}.parquet", "joined/{shard}.parquet", "joined_histograms/{shard}.parquet"),
        by_shard=True,
    ),
    Stage(
        "dedupe",
        help="Find exact and near duplicates.",
        run=_lazy("dedupe.stage:dedupe"),
        key=_lazy("dedupe.stage:dedupe_key"),
        outputs=("pairs.parquet", "clusters.parquet"),
    ),
    Stage(
        "substrings",
        help="Find text that kept documents repeat (dedupe.substrings; off by default).",
        run=_lazy("substrings.stage:substrings"),
        key=_lazy("substrings.stage:substrings_key"),
        outputs=("substrings/{shard}.parquet",),
    ),
    Stage(
        "decide",
        help="Apply the thresholds and choose the survivors among duplicates.",
        run=_lazy("decide:decide"),
        key=_lazy("decide:decide_key"),
        outputs=("reasons.parquet", "decisions/{shard}.parquet"),
    ),
    Stage(
        "write",
        help="Write the kept lines.",
        run=_lazy("write.stage:write"),
        key=_lazy("write.stage:settings_key"),
        optional=_lazy("write.stage:possible_outputs"),
        by_shard=True,
    ),
    Stage(
        "report",
        help="Write report.json and report.html.",
        run=_lazy("report.stage:report"),
        outputs=("report.json", "report.html"),
    ),
]
