"""Tasks: work that any process that sees the inputs and the run directory can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gpu_pile.corpus.files import AnyPath
from gpu_pile.run.threads import Job


@dataclass(frozen=True)
class Work:
    """A job that any process can do that sees the inputs and the run directory, where it leaves what it finds.

    make:    function of a module, called as make(context, *args) in the process that does the job
    args:    what can be sent to it: few and small
    cost:    compressed bytes to read, or another number that orders works of one kind
    what:    for people: the shard, or which part of it; works of a stage have different ones
    outputs: files that are there when it is done
    n_bytes: what it adds to the stage's progress
    """

    make: Callable[..., Job[Any, Any]]
    args: tuple[Any, ...]
    cost: int
    what: str
    outputs: tuple[AnyPath, ...]
    n_bytes: int = 0


class Workers(Protocol):
    """Those who do works: threads of this process where there are no others."""

    def do(self, context: Any, stage: str, works: Sequence[Work]) -> None:
        """Do all of them, the dearest first; the first error stops the others and is raised."""
