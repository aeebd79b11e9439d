"""tools/check_gpu.sh rehearsed: every step on a GPU that is not there and with very little data, so that no line of it
runs for the first time on a machine that is lent for minutes.
"""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks import big_corpus
from gpu_pile.corpus.reader import ShardReader
from gpu_pile.gpu import launch
from tests import fake_gpu
from tests.conftest import DEMO, HERE, write_shard
from tests.test_run import words

ROOT = HERE.parent


@pytest.fixture
def machine(tmp_path):
    """A copy of what travels to such a machine, and the environment there."""
    tree, corpus = tmp_path / "tree", tmp_path / "corpus"
    tree.mkdir()
    for name in ("gpu_pile", "kernels", "configs", "tests", "tools", "benchmarks", "pyproject.toml"):
        (tree / name).symlink_to(ROOT / name)
    write_shard(corpus / "a.jsonl.zst", [(f"{words(12, i)}. The end of number {i}.\n", "Pile-CC") for i in range(30)])
    little = {"MEGABYTES": "0.002", "GIGABYTES": "0.00005", "SHARDS": "2", "REPEAT": "1", "OPERATIONS": "doc_hash"}
    places = {"CORPUS": str(corpus), "OUT": str(tmp_path / "out")}
    return tree, {**fake_gpu.environment(tmp_path), **little, **places}


def check(machine, step, **more):
    """Run a step; returns (whether every part passed, what it prints, its logs by name)."""
    tree, environment = machine
    command = ["bash", str(tree / "tools" / "check_gpu.sh"), str(step)]
    done = subprocess.run(command, cwd=tree, env={**environment, **more}, capture_output=True, text=True)
    with tarfile.open(f"{environment['OUT']}/step{step}.tar.gz") as archive:
        logs = {m.name.removeprefix("./"): archive.extractfile(m).read().decode() for m in archive if m.isfile()}
    return done.returncode == 0, done.stdout + done.stderr, logs


def figures(machine, name):
    return json.loads((Path(machine[1]["OUT"]) / f"{name}.json").read_text())


@pytest.mark.slow
def test_step_1_and_its_caches(machine):
    passed, output, logs = check(machine, 1, ONLY="doc_hash or parse_lines")
    assert passed, output
    assert logs.keys() == {f"{name}.log" for name in ("machine", "doctor", "conformance", "kernels")}
    assert "4 passed" in logs["conformance.log"]  # two operations: all documents at once, and each alone
    rows = figures(machine, "gpu_kernels")["figures"]
    assert {row["input"] for row in rows} == {"natural", "with a line of 4 MB", "lines of ten words"}
    assert all(row["gb_per_s"] > 0 for row in rows)
    tree, environment = machine
    (tree / "build" / "gpu").mkdir(parents=True)
    shutil.move(f"{environment['OUT']}/caches.tar.gz", tree / "build" / "gpu")
    shutil.rmtree(environment["CUPY_CACHE_DIR"])
    passed, output, _ = check(machine, 4)
    assert passed, output
    assert f"compiled before: {len(launch.kernel_files())} modules of CuPy" in output


@pytest.mark.slow
def test_step_2(machine):
    passed, output, _ = check(machine, 2)
    assert passed, output
    workers = [row["workers"] for row in figures(machine, "gpu_run_cuda_exact")["runs"]]
    assert workers[1] == 2 * workers[0]
    for name, verify in (("gpu_run_cpu_exact", "exact"), ("gpu_run_cuda_sketch", "sketch")):
        (row,) = figures(machine, name)["runs"]
        assert row["verify"] == verify
        assert row["gb_per_s"] > 0


@pytest.mark.slow
def test_step_3(machine):
    passed, output, logs = check(machine, 3, ONLY="api and device")
    assert passed, output
    assert "1 passed" in logs["runs.log"]
    assert "cuDF is not installed; not run" in output


@pytest.mark.slow
def test_step_4_without_compute_sanitizer(machine, tmp_path):
    (tmp_path / "compute-sanitizer").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "compute-sanitizer").chmod(0o755)
    passed, output, logs = check(
        machine, 4, PATH=f"{tmp_path}:{machine[1]['PATH']}", ONLY="doc_hash and not random and not segments"
    )
    assert passed, output
    assert "2 passed" in logs["conformance-rest.log"]


@pytest.mark.slow
def test_a_part_that_takes_too_long_is_stopped_and_one_that_fails_is_shown(machine):
    passed, output, _ = check(machine, 4, SECONDS_MAX="6", OPERATIONS="no_such_operation")
    assert not passed
    assert "FAILED with 1" in output or "STOPPED" in output
    assert "NOT every part passed" in output


def test_the_large_corpus_is_what_it_says(tmp_path, monkeypatch):
    monkeypatch.setattr(big_corpus, "ONE_LONG_IN", 50)
    monkeypatch.setattr(big_corpus, "LONG_BYTES", 100_000)
    written, size = big_corpus.write_shard(DEMO, tmp_path / "0.jsonl.zst", 0, 2_000_000)
    again = big_corpus.write_shard(DEMO, tmp_path / "1.jsonl.zst", 0, 2_000_000)
    assert (written, size) == again
    assert (tmp_path / "0.jsonl.zst").read_bytes() == (tmp_path / "1.jsonl.zst").read_bytes()
    (lines,) = [
        b.data[: b.n_bytes].tobytes().splitlines() for b in ShardReader(tmp_path / "0.jsonl.zst", block_bytes=1 << 22)
    ]
    texts = [json.loads(line)["text"] for line in lines]
    short = sum(len(text.split()) <= big_corpus.SHORT_WORDS for text in texts)
    assert 0.05 < short / len(texts) < 0.3
    assert max(map(len, texts)) > 50_000
    assert 0 < len(texts) - len(set(texts)) < 0.2 * len(texts)
    assert 200 < np.median([len(text) for text in texts]) < 5000
