"""An executor on Dask workers: processes of this machine, one per GPU, or workers on the machines of a cluster.

The only file that knows Dask. Dask starts the processes, carries calls and answers, restarts processes that died, and
bounds retries and memory. This file says what a call does and what an answer means.

A worker writes files into the run directory, which all machines share; a call carries the configuration and a Task, an
answer carries seconds. No more calls are submitted than the workers have threads, the most expensive task first: a
worker that dies takes only its current task with it, and a shard that kills workers is known by name.

A task can be done twice: by a worker that was given up for dead and by its successor, or by a worker that outlives the
process that submitted the task. Both make the same bytes under temporary names of their own (corpus.files), and
state/lease.json names the call of a stage that counts: a worker of another call stops at its next block and publishes
nothing.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import logging
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_pile import __version__
from gpu_pile.corpus import files
from gpu_pile.corpus.blocks import use_allocator
from gpu_pile.corpus.files import AnyPath
from gpu_pile.errors import BackendError, DataError, GpuPileError, UsageError
from gpu_pile.gpu import detect, device
from gpu_pile.gpu.profile import marked
from gpu_pile.run.config import THREADS_PER_CORE, Config
from gpu_pile.run.context import Context
from gpu_pile.run.directory import RunDir
from gpu_pile.run.progress import Reporter
from gpu_pile.run.reading import count_ranges
from gpu_pile.run.tasks import Task, Threads
from gpu_pile.run.threads import Job, keep_freed_memory, run_jobs, worker_count
from gpu_pile.text.jit import compilation

ATTEMPTS = 3
"""Workers that may die during one task before the run stops, if this process started the scheduler."""

PATIENCE = 60.0
"""Seconds to wait for a worker if there is none, and for a worker's file to appear here: network file systems may cache
for that long that a file does not exist."""

REPORT_SECONDS = 0.5

MEMORY = {f"distributed.worker.memory.{what}": False for what in ("target", "spill", "pause")}
"""Dask holds no data of a run that it could spill, and it would pause a worker for ever that keeps freed memory for the
next block. It still kills a worker that exceeds its limit (terminate)."""


def check(config: Config) -> None:
    """Check that everything a cluster needs is installed.

    Raises:
        UsageError: Dask or cryptography is not installed. BackendError: there is no GPU for cluster.where: cuda.
    """
    if importlib.util.find_spec("distributed") is None:
        raise UsageError("cluster.where needs Dask: pip install 'gpu-pile[cluster]' (cu12 and cu13 have it)")
    if config.cluster.where in ("local", "cuda") and importlib.util.find_spec("cryptography") is None:
        raise UsageError(
            f"cluster.where: {config.cluster.where} needs cryptography, for connections that no other user of this "
            "machine can make: pip install 'gpu-pile[cluster]'"
        )
    if config.cluster.where == "cuda":
        missing = detect.cuda_missing()
        if importlib.util.find_spec("dask_cuda") is None:
            missing.append("dask_cuda is not installed (pip install 'gpu-pile[cu12]' or 'gpu-pile[cu13]')")
        if missing:
            raise BackendError(f"cluster.where: cuda: {'; '.join(missing)}; cluster.where: local uses the CPU")


def backend_of(config: Config) -> str | None:
    """The backend of the workers, as far as this process knows it; None without a cluster."""
    if config.cluster.where is None:
        return None
    return "cuda" if config.cluster.where == "cuda" else "cpu" if config.cluster.where == "local" else config.backend


def processes(config: Config, n_ranges: int) -> tuple[int, int]:
    """(worker processes, threads of each) of a cluster on this machine, for this many ranges of shards."""
    cores = config.workers or worker_count(None) * (THREADS_PER_CORE if config.cluster.where == "cuda" else 1)
    most = len(detect.cuda_devices()) if config.cluster.where == "cuda" else min(cores, max(1, n_ranges))
    n = config.cluster.workers or max(1, most)
    return n, config.cluster.threads or max(1, cores // n)


def size(config: Config, n_ranges: int) -> tuple[int, int]:
    """(worker processes, threads of each); 0 processes if only a scheduler knows how many."""
    if config.cluster.where in ("local", "cuda"):
        return processes(config, n_ranges)
    return 0, config.cluster.threads or 1


class Cluster:
    """An executor on the workers of a cluster; nothing is started or connected before there is work.

    client: one that is connected already, and stays so
    """

    def __init__(self, config: Config, client: Any = None) -> None:
        self.config, self.device = config, device.Device()
        self._client: Any = client
        self._is_given = client is not None
        self._own: Any = None
        self._settings = contextlib.ExitStack()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        with _not_logged():
            for part in (None if self._is_given else self._client, self._own):
                if part is not None:
                    with contextlib.suppress(OSError, TimeoutError):
                        part.close(timeout=10)
        self._client = self._own = None
        self._settings.close()

    def client(self, context: Context) -> Any:
        """The client of the scheduler, started if it was not yet, with its cluster."""
        if self._client is not None:
            return self._client
        from distributed import Client

        where = self.config.cluster.where or ""
        if where in ("local", "cuda"):
            import dask

            # By default, LocalCluster kills a worker that has not reconnected after 15 s, in the middle of its start or
            # of a task, and starts no other: a busy machine lost all workers that way.
            self._settings.enter_context(dask.config.set({"distributed.deploy.lost-worker-timeout": f"{PATIENCE} s"}))
            self._own = _on_this_machine(self.config, count_ranges(context))
            self._client = Client(self._own, set_as_default=False)
        else:
            try:
                if where.startswith("scheduler-file="):
                    path = Path(where.removeprefix("scheduler-file="))
                    if not path.is_file():
                        raise DataError(f"there is no scheduler file {path}: dask scheduler --scheduler-file {path}")
                    self._client = Client(scheduler_file=str(path), set_as_default=False)
                else:
                    self._client = Client(where, set_as_default=False)
            except (OSError, TimeoutError, ValueError) as error:
                raise DataError(
                    f"no scheduler answers at {where} ({error}); start one (docs/cluster.md) and run the same command"
                ) from error
        info = self._client.scheduler_info(n_workers=0)
        line = f"scheduler {info['address']}"
        if self.config.cluster.dashboard and importlib.util.find_spec("bokeh") and self._client.dashboard_link:
            line += f", dashboard {self._client.dashboard_link}"
        context.reporter.say(line)
        return self._client

    def do(self, context: Context, stage: str, tasks: Sequence[Task]) -> None:
        client = self.client(context)
        lease = secrets.token_hex(8)
        for path in context.directory.leases:
            files.write_json(path, {"lease": lease})
        _, threads = size(self.config, count_ranges(context))
        orders = [
            _Order(__version__, context.config, context.directory.resolve(), lease, stage, threads, t)
            for t in sorted(tasks, key=lambda t: t.cost)  # the most expensive is popped first
        ]
        bar = _Bar(context.reporter, stage)
        client.subscribe_topic(lease, bar.update)
        try:
            with client.as_current():
                self._answers(context, client, orders, bar)
        finally:
            for path in context.directory.leases:
                path.unlink(missing_ok=True)  # workers that still do a task of this call stop
            with contextlib.suppress(Exception):  # the scheduler may be gone
                client.unsubscribe_topic(lease)

    def _answers(self, context: Context, client: Any, orders: list[_Order], bar: _Bar) -> None:
        """Submit the orders, the last one first, and wait until all are done."""
        from distributed import CancelledError, wait

        calls: dict[Any, _Order] = {}
        idle_since: float | None = None
        failure: BaseException | None = None
        try:
            while failure is None and (orders or calls):
                n_threads = sum(client.nthreads().values())
                idle_since = None if n_threads else idle_since or time.monotonic()
                if idle_since and time.monotonic() - idle_since > PATIENCE:
                    raise DataError(
                        f"the scheduler has had no worker for {PATIENCE:.0f} s; start some (docs/cluster.md) and run "
                        "the same command again, it goes on where it stopped"
                    )
                while orders and len(calls) < n_threads:
                    order = orders.pop()
                    key = key_of(order.stage, len(orders), order.lease)
                    calls[client.submit(_do, order, key=key, pure=False, retries=0)] = order
                if not calls:
                    time.sleep(0.2)
                    continue
                with contextlib.suppress(TimeoutError):
                    wait(list(calls), timeout=5, return_when="FIRST_COMPLETED")
                for call in [c for c in calls if c.done()]:
                    failure = _finish(context, call, calls.pop(call), bar) or failure
        except (CancelledError, OSError, TimeoutError) as error:
            raise DataError(
                f"the scheduler ({self.config.cluster.where}) was lost; what was finished is kept: "
                "once it is there again, the same command goes on"
            ) from error
        finally:
            with contextlib.suppress(Exception):
                client.cancel(list(calls), force=True)
        if failure is not None:
            raise failure


def _finish(context: Context, call: Any, order: _Order, bar: _Bar) -> BaseException | None:
    """Take the answer of a call that is done, or return the error of one that failed."""
    if call.status == "error":
        return _meaning(order, call.exception())
    answer = call.result()
    context.reporter.add_task(order.stage, answer["spans"], answer["seconds"])
    bar.add_compiled(answer["worker"], *answer["compiled"])
    _wait_for_files(order, answer["host"])
    bar.done(order.task)
    return None


@contextlib.contextmanager
def _not_logged() -> Iterator[None]:
    """Keep Dask from logging: it has tracebacks for workers that Ctrl-C ended and that it was about to start again."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _on_this_machine(config: Config, n_ranges: int) -> Any:
    """A cluster of processes of this machine, with TLS credentials that exist in their memory alone."""
    import dask
    from distributed import Security

    n, _ = processes(config, n_ranges)
    common: dict[str, Any] = {
        "n_workers": n,
        "threads_per_worker": 1,
        "host": "127.0.0.1",
        "protocol": "tls",
        "security": Security.temporary(),  # else any user of this machine could have the scheduler run code as this one
        "dashboard_address": "127.0.0.1:0",
        "scheduler_kwargs": {"allowed_failures": ATTEMPTS - 1, "dashboard": config.cluster.dashboard},
    }
    with dask.config.set(MEMORY):
        if config.cluster.where == "local":
            from distributed import LocalCluster

            return LocalCluster(memory_limit=config.cluster.memory_bytes or "auto", **common)
        from dask_cuda import LocalCUDACluster

        # Each worker sees one GPU and makes its own pool of device memory (gpu.memory). Only calls travel between
        # processes, so UCX would gain nothing.
        return LocalCUDACluster(memory_limit=config.cluster.memory_bytes or "auto", **common)


def _meaning(order: _Order, error: Any) -> BaseException:
    """Return the error to raise in this process when a worker has raised an error."""
    from distributed import KilledWorker

    about = f"{order.stage} of {order.task.label}"
    if isinstance(error, KilledWorker):
        return DataError(
            f"{about}: {error.allowed_failures + 1} workers died one after the other while they did it, the last at "
            f"{error.last_worker.address}. They crashed, were killed, or took more memory than a worker may have "
            "(cluster.memory_bytes; a smaller batch_bytes or line_bytes_max needs less). What was finished is kept: "
            "the same command goes on; without this shard, if input.shards leaves it out"
        )
    if isinstance(error, MemoryError):
        return DataError(f"{about}: the worker has too little memory ({error}); see cluster.memory_bytes, batch_bytes")
    if isinstance(error, ModuleNotFoundError):
        return UsageError(f"{about}: a worker lacks {error.name!r}; install the same gpu_pile on all machines")
    if isinstance(error, BaseException):
        if not isinstance(error, GpuPileError):
            error.add_note(f"while a worker did {about}")
        return error
    return DataError(f"{about} failed: {error}")


def _wait_for_files(order: _Order, host: str) -> None:
    """Wait until the files of a task are visible on this machine."""
    for path in order.task.outputs:
        if not _appears(path, lambda p: p.is_file()):
            raise UsageError(
                f"{order.stage} of {order.task.label}: {host} wrote {path}, which this machine does not see; the run "
                "directory must be on a file system that all machines share, under the same path"
            )


def _appears(path: AnyPath, seen: Any) -> bool:
    until = time.monotonic() + PATIENCE
    while not seen(path):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
        with contextlib.suppress(OSError):
            next(path.parent.iterdir(), None)  # asks the file server again
    return True


class _Bar:
    """The progress of all workers, added up as that of one stage; called by the client's thread and by this one."""

    def __init__(self, reporter: Reporter, stage: str) -> None:
        self.reporter, self.stage = reporter, stage
        self._bytes: dict[str, int] = {}
        self._compiling: dict[str, float] = {}
        self._lock = threading.Lock()

    def update(self, event: tuple[Any, Any]) -> None:
        what, done = event[1]
        if done is None:
            compilation.announce()
        else:
            self._set(what, done)

    def add_compiled(self, worker: str, functions: int, seconds: float) -> None:
        """Count what a worker has compiled; workers do it at the same time, so the longest of them counts."""
        longest = max(self._compiling.values(), default=0.0)
        self._compiling[worker] = self._compiling.get(worker, 0.0) + seconds
        compilation.add(functions, max(0.0, self._compiling[worker] - longest))

    def done(self, task: Task) -> None:
        self._set(task.label, task.n_bytes, last=True)

    def _set(self, what: str, done: int, last: bool = False) -> None:
        with self._lock:
            before = self._bytes.get(what, 0)
            if before == -1:  # a late message: the task is done
                return
            self._bytes[what] = -1 if last else done
        self.reporter.advance(self.stage, done - before)  # negative if a task starts again


# in a worker


@dataclass(frozen=True, repr=False)
class _Order:
    """A call: everything that a worker needs to do a task. Dask writes its repr into logs, so that has no URL."""

    version: str
    config: Config
    run: RunDir
    lease: str
    stage: str
    threads: int
    task: Task

    def __repr__(self) -> str:
        return f"<{self.stage} of {self.task.label}>"


def key_of(stage: str, number: int, lease: str) -> str:
    """Dask's name of a call; its dashboard groups calls by what is before the number, so a stage is one row."""
    return f"{stage}-{number}-{lease}"


class _Superseded(GpuPileError):
    """The task was given up, or another call of the stage does it."""


class _Watch(Reporter):
    """Reports the progress of a task to the client, and stops the task once its call no longer counts."""

    def __init__(self, order: _Order, worker: Any) -> None:
        super().__init__()
        self.order, self.worker = order, worker
        self.run = order.run
        self._done, self._reported = 0, time.monotonic()

    def advance(self, stage: str, n_bytes: int) -> None:
        self._done += n_bytes
        if time.monotonic() - self._reported >= REPORT_SECONDS:
            self._reported = time.monotonic()
            self.check()
            self.worker.log_event(self.order.lease, [self.order.task.label, self._done])

    def announce_compilation(self) -> None:
        self.worker.log_event(self.order.lease, [self.order.task.label, None])

    def counts(self, path: AnyPath) -> bool:
        return (files.read_json(path) or {}).get("lease") == self.order.lease

    def check(self) -> None:
        if not self.counts(self.run.lease):
            raise _Superseded(f"{self.order.stage} of {self.order.task.label} was given up, or is done by another run")


class _Fenced:
    """A job (see threads.Job) that publishes nothing once its call no longer counts."""

    def __init__(self, job: Job[Any, Any], watch: _Watch) -> None:
        self.job, self.watch, self.cost = job, watch, job.cost
        self.process, self.consume, self.abandon = job.process, job.consume, job.abandon

    def open(self) -> Iterator[Any]:
        return self.job.open()

    def close(self) -> None:
        self.watch.check()
        self.job.close()


@functools.cache
def _device(wanted: str) -> device.Device:
    keep_freed_memory()
    here = device.device_for(detect.choose(wanted))
    use_allocator(here.empty)
    return here


def _do(order: _Order) -> dict[str, Any]:
    """Do a task in a worker.

    Return its host, its address, CPU seconds by span, wall seconds, and how many functions were compiled in how long.
    """
    from distributed import get_worker

    begin = time.perf_counter()
    host = socket.gethostname()
    if order.version != __version__:
        raise UsageError(f"{host} has gpu_pile {__version__}, the process that asks it {order.version}")
    watch = _Watch(order, get_worker())
    compilation.on_first = watch.announce_compilation
    compiled = compilation.functions, compilation.seconds
    if not all(_appears(path, watch.counts) for path in order.run.leases):
        if not order.run.path.is_dir():
            raise UsageError(
                f"{host} does not see the run directory {order.run.path}; "
                "it must be on a file system that all machines share, or at a URL"
            )
        watch.check()
        raise UsageError(f"{host} does not see {order.run.scratch}; scratch must be a folder that all machines share")
    context = Context(order.config, watch.run, [], Threads(_device(order.config.backend)), watch)
    try:
        with marked(f"{order.stage} of {order.task.label}"):
            job = order.task.make(context, *order.task.args)
            run_jobs([_Fenced(job, watch)], order.threads)
    except GpuPileError as error:
        raise type(error)(f"{error} (on {host})") from None
    spans = context.reporter.stages.get(order.stage, {}).get("spans", {})
    newly = compilation.functions - compiled[0], compilation.seconds - compiled[1]
    seconds = time.perf_counter() - begin
    return {"host": host, "worker": watch.worker.address, "spans": spans, "seconds": seconds, "compiled": newly}
