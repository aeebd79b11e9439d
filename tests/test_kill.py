"""kill -9 at every moment that matters, then the same command: the same bytes as a run that was left alone.

What a run does to the disk are renames and removals. A process that imports everything once forks a child for each of
them; the child is killed just before it, or just after the next one, and another child finishes the run.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import DEMO, HERE, results, write_shard

KILLER = r"""
import os, pathlib, shutil, signal, sys, threading
from gpu_pile.run import config, pipeline

OTHER = ("timings.json", "run.json", ".lock", ".claim.json", "report.json", "report.html")  # they name the place
root, demo, quick = (pathlib.Path(a) for a in sys.argv[1:4])
run = root / "run"
shards = [str(demo / name) for name in ("00.jsonl.zst", "01.jsonl.zst")]
settings = config.load(quick, [f"output={run}", f"input.shards={shards}", "batch_bytes=60000", "memory_bytes=200000"])
if len(sys.argv) > 6:
    dedupe = {"substrings": {"min_bytes": int(sys.argv[6])}}
    settings = config.parse({**settings.model_dump(), "thresholds": {}, "dedupe": dedupe})


def go():
    with pipeline.prepared(settings) as context:
        pipeline.run_until(context, "report")


def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def killed_at(n, after):
    seen, lock = 0, threading.Lock()

    def counted(real):
        def call(self, *args, **kwargs):
            nonlocal seen
            with lock:
                seen += 1
                mine = seen
            if mine == n and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(self, *args, **kwargs)
            if mine == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return call

    for name in ("replace", "unlink", "mkdir"):
        setattr(pathlib.Path, name, counted(getattr(pathlib.Path, name)))
    go()


assert child(go) == 0
run.rename(root / "whole")
n, step = int(sys.argv[4]), int(sys.argv[5])
n -= step
while True:
    n += step
    status = child(lambda: killed_at(n, after=n % 2 == 0))
    if os.WIFSIGNALED(status):
        for name in ("kept", "decisions", "substrings", "measured"):  # what has its final name is whole
            for file in (run / name).glob("*"):
                if not file.name.endswith(".partial"):
                    assert file.read_bytes() == (root / "whole" / name / file.name).read_bytes(), (n, file)
        assert child(go) == 0, n
        print("killed", n, flush=True)
        for file in (root / "whole").rglob("*"):
            if file.is_file() and "state" not in file.parts and file.name not in OTHER:
                assert (run / file.relative_to(root / "whole")).read_bytes() == file.read_bytes(), (n, file)
        assert not list(run.rglob("*.partial")), n
        shutil.rmtree(run)
    else:
        assert status == 0, status
        break
print("ended")
"""


@pytest.mark.slow
@pytest.mark.parametrize("first", [1, 2], ids=["before", "after"])
def test_kill_9_anywhere_then_the_same_command(tmp_path, first):
    assert killed(tmp_path, first, 2) > 30


@pytest.mark.slow
def test_kill_9_while_repeated_substrings_are_searched(tmp_path):
    words = [f"word{i * i % 89}" for i in range(300)]
    for name, step in (("00", 31), ("01", 17)):
        documents = [(" ".join(words[i : i + 60]), "x") for i in range(0, 240, step)]
        write_shard(tmp_path / "in" / f"{name}.jsonl.zst", documents)
    assert killed(tmp_path, 45, 41, 100, shards=tmp_path / "in") > 1


def killed(folder, first, step, *min_bytes, shards=DEMO):
    """Kill runs at the moments first, first + step and so on, before and after in turn; return how often."""
    quick = HERE.parent / "configs" / "quickstart.yaml"
    given = [folder, shards, quick, first, step, *min_bytes]
    done = subprocess.run(
        [sys.executable, "-c", KILLER, *map(str, given)],
        capture_output=True,
        text=True,
        cwd=HERE.parent,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    assert done.stdout.split()[-1] == "ended"
    return done.stdout.count("killed")


def test_results_name_no_place_outside_the_run(demo_run):
    assert results(demo_run).keys() >= {"clusters.parquet", "pairs.parquet", "bad_lines.jsonl", "kept/00.jsonl.zst"}
    assert not (Path(demo_run) / "scratch").exists()
