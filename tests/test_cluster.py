"""Runs on Dask workers: the same bytes as in one process, whatever fails on the way. Real processes throughout."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import zstandard

from gpu_pile.corpus import files
from gpu_pile.errors import BackendError, ConfigError, DataError, UsageError
from gpu_pile.run import config, pipeline
from gpu_pile.run import dask as distributed
from gpu_pile.run.progress import Reporter
from gpu_pile.run.reading import count_ranges
from gpu_pile.text.jit import compilation
from tests.conftest import DEMO, HERE, results, run, settings, write_shard

pytest.importorskip("distributed")

QUICK = HERE.parent / "configs" / "quickstart.yaml"


def on_workers(folder: Path, *overrides: str, where: str = "local", workers: int | None = 2) -> config.Config:
    cluster = [f"cluster.where={where}", "cluster.dashboard=false", "cluster.threads=1"]
    if workers:
        cluster.append(f"cluster.workers={workers}")
    return config.load(QUICK, [f"output={folder}", f"input.shards=['{DEMO}']", *cluster, *overrides])


# what goes wrong in a worker: made there, around a job


class Around:
    """A job with something happening in it: `fault` is called in the worker, before blocks and before the end."""

    def __init__(self, job, fault):
        self.job, self.fault, self.cost = job, fault, job.cost
        self.process, self.consume, self.abandon = job.process, job.consume, job.abandon

    def open(self):
        self.fault("open")
        yield from self.job.open()
        self.fault("read")

    def close(self):
        self.fault("close")
        self.job.close()


@dataclasses.dataclass(frozen=True)
class Making:
    """Makes the job of a task with the fault around it."""

    make: object
    fault: object

    def __call__(self, context, *args):
        return Around(self.make(context, *args), self.fault)


@dataclasses.dataclass(frozen=True)
class Delay:
    seconds: float

    def __call__(self, moment):
        if moment == "open":
            time.sleep(self.seconds)


@dataclasses.dataclass(frozen=True)
class KillOnce:
    marker: Path
    moment: str

    def __call__(self, moment):
        if moment == self.moment and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def kill_always(moment):
    os.kill(os.getpid(), signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class EatMemory:
    marker: Path

    def __call__(self, moment):
        if not self.marker.exists():
            self.marker.touch()
            held = []
            for _ in range(200):
                held.append(b"x" * (20 << 20))
                time.sleep(0.05)


def poison(moment):
    if moment == "read":
        raise ZeroDivisionError("poisoned")


@pytest.fixture
def with_fault(monkeypatch):
    """Call with a function (stage, task) -> fault or None."""

    def use(choose):
        real = distributed.Cluster.do

        def do(self, context, stage, tasks):
            chosen = [(t, choose(stage, t)) for t in tasks]
            changed = [dataclasses.replace(w, make=Making(w.make, f)) if f else w for w, f in chosen]
            return real(self, context, stage, changed)

        monkeypatch.setattr(distributed.Cluster, "do", do)

    return use


class Told(Reporter):
    def __init__(self):
        super().__init__()
        self.said, self.read, self.totals = [], {}, {}

    def begin(self, stage, total):
        self.totals[stage] = total

    def advance(self, stage, n_bytes):
        self.read[stage] = self.read.get(stage, 0) + n_bytes

    def say(self, line):
        self.said.append(line)


# the same bytes


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_same_bytes_for_any_number_of_workers_in_any_order(demo_run, tmp_path, with_fault, workers):
    order = random.Random(workers)
    with_fault(lambda stage, task: Delay(order.random() / 2))
    run(on_workers(tmp_path / "run", workers=workers))
    assert results(tmp_path / "run") == results(demo_run)
    assert not list((tmp_path / "run").rglob("*.partial"))
    assert not (tmp_path / "run" / "state" / "lease.json").exists()


@pytest.mark.slow
def test_damaged_shards_and_several_threads_a_worker(tmp_path):
    shards = [
        HERE / "data" / "nasty" / f"{n}.jsonl.zst" for n in ("corrupt_middle_frame", "bad_types", "no_such_magic")
    ]
    shards[2] = HERE / "data" / "nasty" / "frame_per_line.jsonl.zst"
    whole, cluster = tmp_path / "whole", {"where": "local", "workers": 1, "threads": 3, "dashboard": False}
    run(settings(shards, whole))
    context = run(settings(shards, tmp_path / "run", cluster=cluster, batch_bytes=5000))
    assert results(tmp_path / "run") == results(whole)
    assert pipeline.damages(context)


@pytest.fixture(scope="module")
def one_shard_in_ranges(tmp_path_factory):
    """A shard of many frames, and the result of a run of one process."""
    folder, rng = tmp_path_factory.mktemp("ranges"), random.Random(1)
    lines = [json.dumps({"text": f"{' '.join(f'w{rng.randrange(50)}' for _ in range(40))}"}) for _ in range(600)]
    lines[::5] = lines[:480:4]  # duplicates
    frames = ["".join(f"{line}\n" for line in lines[i : i + 50]).encode() for i in range(0, 600, 50)]
    (folder / "x.jsonl.zst").write_bytes(b"".join(zstandard.compress(f) for f in frames))
    run(settings([folder / "x.jsonl.zst"], folder / "run", input={"range_bytes": 3000}))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_one_shard_keeps_several_workers_busy(one_shard_in_ranges, tmp_path, with_fault, workers):
    """And where there are two, some die, of ranges and of what puts ranges together."""
    seen = set()

    def choose(stage, task):
        seen.add(f"{task.make.__name__} {task.label}")
        chosen = workers == 2 and (task.label.endswith("range 2 of 6") or task.label == "x")
        return KillOnce(tmp_path / f"{stage}-{task.label[-6:]}", "close") if chosen else None

    with_fault(choose)
    cluster = {"where": "local", "workers": workers, "threads": 1, "dashboard": False}
    shard = one_shard_in_ranges / "x.jsonl.zst"
    told = Told()
    with pipeline.prepared(
        settings([shard], tmp_path / "run", input={"range_bytes": 3000}, cluster=cluster), told
    ) as c:
        pipeline.run_until(c, "report")
        assert count_ranges(c) == 6
    assert results(tmp_path / "run") == results(one_shard_in_ranges / "run")
    assert {"range_job x, range 6 of 6", "RangeWriter x, range 1 of 6", "merge_job x", "join_job x"} <= seen
    if workers == 2:
        assert len(list(tmp_path.glob("*-x"))) == 2
        assert len(list(tmp_path.glob("*-2 of 6"))) == 3, "dedupe reads ranges, too"
    for stage in ("measure", "write"):
        assert told.read[stage] == told.totals[stage] > 0


@pytest.mark.slow
def test_progress_and_time_come_from_the_workers(tmp_path):
    told = Told()
    with pipeline.prepared(on_workers(tmp_path / "run"), told) as context:
        pipeline.run_until(context, "write")
    assert any("scheduler tls://127.0.0.1:" in line for line in told.said)
    for stage in ("measure", "dedupe", "write"):
        assert told.read[stage] == told.totals[stage] > 0
        assert context.reporter.stages[stage]["spans"]["read"] > 0
        assert context.reporter.stages[stage]["cpu_seconds"] > 0


def compile_something(moment):
    if moment == "read":
        compilation.begin()
        time.sleep(0.2)
        compilation.end()


@pytest.mark.slow
def test_what_workers_compile_is_counted_and_announced_once(tmp_path, with_fault, monkeypatch):
    begun = []
    monkeypatch.setattr(compilation, "on_first", lambda: begun.append(time.monotonic()))
    monkeypatch.setattr(compilation, "_announced", False)
    monkeypatch.setattr(compilation, "functions", 0)
    with_fault(lambda stage, task: compile_something if stage == "measure" else None)
    with pipeline.prepared(on_workers(tmp_path / "run", "input.range_bytes=1000")) as context:
        pipeline.run_until(context, "measure")
    assert len(begun) == 1
    n, entry = compilation.functions, context.reporter.stages["measure"]
    assert n >= 4, "one per task"
    assert 0.1 * n <= entry["compile_seconds"] < entry["seconds"], "two workers compile at the same time"


def _fractions(dask_worker):
    memory = dask_worker.memory_manager
    return memory.memory_target_fraction, memory.memory_spill_fraction, memory.memory_pause_fraction


@pytest.mark.slow
def test_workers_are_never_paused(tmp_path):
    with pipeline.prepared(on_workers(tmp_path / "run", workers=1)) as context:
        assert list(context.executor.client(context).run(_fractions).values()) == [(False, False, False)]


def test_a_finished_run_starts_no_cluster(demo_copy, monkeypatch):
    monkeypatch.setattr(distributed, "_on_this_machine", lambda *a: pytest.fail("a cluster was started"))
    run(on_workers(demo_copy))


# failures


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["open", "read", "close"])
def test_kill_9_of_workers_in_every_stage(demo_run, tmp_path, with_fault, moment):
    stages = set()

    def choose(stage, task):
        stages.add(stage)
        return KillOnce(tmp_path / f"{stage}-{task.make.__qualname__}", moment)

    import dask

    with_fault(choose)
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "100ms"}):  # too short for any worker: not heeded
        run(on_workers(tmp_path / "run"))
        assert dask.config.get("distributed.deploy.lost-worker-timeout") == "100ms"
    assert results(tmp_path / "run") == results(demo_run)
    assert stages == {"measure", "dedupe", "write"}
    assert len(list(tmp_path.glob("*-*"))) >= len(stages), "workers were killed in each"
    assert not list((tmp_path / "run").rglob("*.partial*"))


@pytest.mark.slow
def test_a_shard_that_kills_workers_is_named_and_the_same_command_goes_on(demo_run, tmp_path, with_fault, monkeypatch):
    with_fault(lambda stage, task: kill_always if task.label == "01" else None)
    with pytest.raises(DataError, match=r"measure of 01: 3 workers died one after the other"):
        run(on_workers(tmp_path / "run"))
    monkeypatch.undo()
    run(on_workers(tmp_path / "run"))
    assert results(tmp_path / "run") == results(demo_run)


@pytest.mark.slow
def test_a_worker_out_of_memory_is_ended_and_its_work_done_again(demo_run, tmp_path, with_fault):
    with_fault(lambda stage, task: EatMemory(tmp_path / "eaten") if task.label == "02" else None)
    run(on_workers(tmp_path / "run", "cluster.memory_bytes=1200MiB"))
    assert (tmp_path / "eaten").exists()
    assert results(tmp_path / "run") == results(demo_run)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["measure", "write"])
def test_a_poisoned_shard_stops_the_run_and_is_named(demo_run, tmp_path, with_fault, monkeypatch, stage):
    with_fault(lambda s, task: poison if s == stage and task.label == "02" else None)
    with pytest.raises(ZeroDivisionError, match="poisoned") as caught:
        run(on_workers(tmp_path / "run"))
    assert f"while a worker did {stage} of 02" in caught.value.__notes__
    monkeypatch.undo()
    run(on_workers(tmp_path / "run"))
    assert results(tmp_path / "run") == results(demo_run)


@pytest.mark.slow
def test_errors_of_a_worker_keep_their_kind(tmp_path):
    shard = tmp_path / "a.jsonl.zst"
    write_shard(shard, [("some text", "x")])
    wanted = settings([shard], tmp_path / "run", cluster={"where": "local", "workers": 1, "dashboard": False})
    with pipeline.prepared(wanted) as context:
        shard.unlink()
        shard.mkdir()
        with pytest.raises(DataError, match=r"a\.jsonl\.zst.*\(on "):
            pipeline.run_until(context, "measure")


@contextlib.contextmanager
def scheduler_and_worker(folder: Path):
    """As a person starts them: a scheduler with its file, and a worker; both are ended."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": HERE.parent}
    env = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    serve = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    scheduler = subprocess.Popen([*dask, *serve], env=env, **quiet)
    work = ["worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    worker = None
    try:
        until = time.monotonic() + 60
        while not file.is_file() and time.monotonic() < until:
            time.sleep(0.1)
        worker = subprocess.Popen([*dask, *work, "--local-directory", str(folder)], env=env, **quiet)
        yield file, scheduler
    finally:
        for process in (worker, scheduler):
            if process is not None:
                process.kill()
                process.wait()


@dataclasses.dataclass(frozen=True)
class KillOther:
    pid: int

    def __call__(self, moment):
        os.kill(self.pid, signal.SIGKILL)
        time.sleep(1)


@pytest.mark.slow
def test_a_scheduler_that_dies_and_the_same_command(demo_run, tmp_path, with_fault, monkeypatch):
    with scheduler_and_worker(tmp_path) as (file, scheduler):
        with_fault(lambda stage, task: KillOther(scheduler.pid) if task.label == "01" else None)
        with pytest.raises(DataError, match=r"the scheduler .* was lost.* the same command goes on"):
            run(on_workers(tmp_path / "run", where=f"scheduler-file={file}", workers=None))
    monkeypatch.undo()
    with scheduler_and_worker(tmp_path) as (file, _):
        run(on_workers(tmp_path / "run", where=f"scheduler-file={file}", workers=None))
    assert results(tmp_path / "run") == results(demo_run)


@pytest.mark.slow
def test_what_a_run_left_behind_publishes_nothing(demo_run, tmp_path):
    """A worker that still works on a run that was given up: its lease no longer counts."""
    folder = Path(shutil.copytree(demo_run, tmp_path / "run"))
    before = results(folder)
    wanted = on_workers(folder, "measure.signals=[lengths, symbols, gopher_quality, c4]")
    with pipeline.prepared(wanted) as context:
        from gpu_pile.run.stages.measure import stage as measure

        task = measure.measure_task(context, context.shards[:1], measure.definition_key(context))
        order = distributed._Order("0", wanted, context.directory, "old", "measure", 1, task)
        watch = distributed._Watch(order, None)
        files.write_json(context.directory.lease, {"lease": "new"})
        job = distributed._Fenced(task.make(context, *task.args), watch)
        with pytest.raises(distributed._Superseded):
            distributed.run_jobs([job], 1)
    assert results(folder) == before


# what is asked for, and what is missing


@pytest.mark.parametrize("where", ["local", "cuda", "tcp://10.0.0.1:8786", "ucx://h:1", "scheduler-file=/a b/c.json"])
def test_places_that_are_known(where):
    assert settings(["x"], Path("out"), cluster={"where": where}).cluster.where == where


@pytest.mark.parametrize("where", ["here", "", "scheduler-file=", "host:8786", "tcp://a b"])
def test_places_that_are_not(where):
    with pytest.raises(ConfigError, match=r"cluster\.where"):
        settings(["x"], Path("out"), cluster={"where": where})


def test_no_scheduler(tmp_path, monkeypatch):
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        for where in (f"scheduler-file={tmp_path / 'none.json'}", "tcp://127.0.0.1:1"):
            with pytest.raises(DataError, match=r"scheduler"):
                run(on_workers(tmp_path / "run", where=where, workers=None))


def test_dask_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'gpu-pile\[cluster\]'"):
        run(on_workers(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_cuda_without_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(distributed.detect, "cuda_missing", lambda: ["the CUDA driver reports no device"])
    with pytest.raises(BackendError, match="no device"):
        run(on_workers(tmp_path / "run", where="cuda"))
    with pytest.raises(ConfigError, match=r"cluster\.where"):
        settings(["x"], tmp_path, cluster={"where": "cuda"}, backend="cpu")


def test_what_a_cluster_of_gpus_is_asked_for(monkeypatch):
    """No GPU here: only that LocalCUDACluster is called with what it takes."""
    asked = {}
    fake = types.ModuleType("dask_cuda")
    fake.LocalCUDACluster = lambda **kwargs: asked.update(kwargs)
    monkeypatch.setitem(sys.modules, "dask_cuda", fake)
    monkeypatch.setattr(distributed.detect, "cuda_devices", lambda: (None,) * 8)
    wanted = settings(["x"], Path("out"), cluster={"where": "cuda"}, workers=64)
    assert distributed.processes(wanted, 2) == (8, 8)
    distributed._on_this_machine(wanted, 2)
    assert asked["n_workers"] == 8
    assert asked["threads_per_worker"] == 1
    assert asked["scheduler_kwargs"] == {"allowed_failures": 2, "dashboard": True}
    assert asked["host"] == "127.0.0.1"


@pytest.mark.parametrize(("shards", "workers", "cores", "expected"), [(30, None, 8, (8, 1)), (1, None, 8, (1, 8))])
def test_few_shards_have_workers_with_several_threads(shards, workers, cores, expected):
    wanted = settings(["x"], Path("out"), cluster={"where": "local", "workers": workers}, workers=cores)
    assert distributed.processes(wanted, shards) == expected


@pytest.mark.parametrize("lease", ["0123456789abcdef", "abcdefab", "cafe"])
def test_the_dashboard_shows_one_row_per_stage(lease):
    from distributed.utils import key_split

    assert key_split(distributed.key_of("measure", 12, lease)) == "measure"


def test_a_cluster_of_this_machine_answers_nobody_else(tmp_path):
    """Its scheduler listens where every user of the machine can connect: without the run's credentials they cannot."""
    from distributed import Client

    with pipeline.prepared(on_workers(tmp_path / "run", workers=1)) as context:
        address = context.executor.client(context).scheduler_info(n_workers=0)["address"]
        assert address.startswith("tls://127.0.0.1:")
        for stranger in (address.replace("tls", "tcp"), address):
            with pytest.raises((OSError, TimeoutError, TypeError)), Client(stranger, timeout=3, set_as_default=False):
                pass
        assert context.executor.client(context).submit(sum, [1, 2]).result(timeout=30) == 3
