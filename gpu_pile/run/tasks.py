"""Tasks: pieces of a stage's work that any process can do that sees the inputs and the run directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gpu_pile.corpus.files import AnyPath
from gpu_pile.gpu.device import Device
from gpu_pile.run.threads import Job, run_jobs


@dataclass(frozen=True)
class Task:
    """A job, described so that it can be sent to another process. Its results are files of the run directory.

    make:    function or class of a module; make(context, *args) returns the job, in the process that does it
    args:    few and small
    cost:    compressed bytes to read, or another number by which tasks of one kind are ordered
    label:   name of the task for messages, e.g. of the shard; unique among the tasks of a stage
    outputs: files that exist once the task is done
    n_bytes: what the task adds to the stage's progress
    """

    make: Callable[..., Job[Any, Any]]
    args: tuple[Any, ...]
    cost: int
    label: str
    outputs: tuple[AnyPath, ...]
    n_bytes: int = 0


class Executor(Protocol):
    """What does tasks: threads of this process, or workers of a cluster. The files made are the same."""

    device: Device
    """Where this process computes."""

    def do(self, context: Any, stage: str, tasks: Sequence[Task]) -> None:
        """Do all tasks, most expensive first. The first error stops the others and is raised."""


class Threads:
    """An executor on threads of this process."""

    def __init__(self, device: Device) -> None:
        self.device = device

    def do(self, context: Any, stage: str, tasks: Sequence[Task]) -> None:
        run_jobs([task.make(context, *task.args) for task in tasks], context.config.n_workers)
