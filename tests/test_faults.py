"""The n-th read or write fails: a clear error, only whole results, and the same command finishes afterwards."""

import contextlib
import errno
import itertools
import json
import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard

from gpu_pile.corpus import files
from gpu_pile.corpus.sinks import ZstdFrames
from gpu_pile.errors import DataError
from tests.conftest import HERE, results, run, settings

pytestmark = pytest.mark.slow  # each test is several runs

CALLS = {
    "a read of a shard": (files.os, "pread", errno.EIO),
    "a rename": (Path, "replace", errno.EIO),
    "a wait for the disk": (files.os, "fsync", errno.ENOSPC),
    "a whole table": (pq, "write_table", errno.ENOSPC),
    "a group of rows": (pq.ParquetWriter, "write_table", errno.ENOSPC),
    "the end of a table": (pq.ParquetWriter, "close", errno.ENOSPC),
    "kept lines": (ZstdFrames, "writer", errno.EMFILE),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """One shard of many ranges, and two of one range; some documents are repeated."""
    folder, rng = tmp_path_factory.mktemp("corpus"), random.Random(1)
    texts = [
        " ".join(rng.choices(["a", "few", "words", "of", "a", "small", "set", "in", "any", "order"], k=40))
        for _ in range(60)
    ]
    for name, frames in (("a", 6), ("b", 1), ("c", 1)):
        lines = [json.dumps({"text": rng.choice(texts), "meta": {"pile_set_name": "W"}}).encode() for _ in range(48)]
        n = 48 // frames
        raw = (b"".join(line + b"\n" for line in lines[i : i + n]) for i in range(0, 48, n))
        (folder / f"{name}.jsonl.zst").write_bytes(b"".join(map(zstandard.compress, raw)))
    return folder


def configured(corpus, output):
    small = {"range_bytes": 100}
    return settings([corpus], output, input=small, write={"removed": True}, workers=2)


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    output = tmp_path_factory.mktemp("whole") / "run"
    run(configured(corpus, output))
    return results(output)


def failing(patch, owner, name, number, at):
    """Make the call that is counted as `at` fail; returns the counter."""
    real, count = getattr(owner, name), itertools.count(1)
    seen = []

    def call(*args, **kwargs):
        n = next(count)
        seen.append(n)
        if n == at:
            raise OSError(number, os.strerror(number), "said by the system")
        return real(*args, **kwargs)

    patch.setattr(owner, name, call)
    return seen


@pytest.mark.parametrize("what", CALLS)
def test_the_nth_call_fails(tmp_path, monkeypatch, corpus, whole, what):
    owner, name, number = CALLS[what]
    with monkeypatch.context() as patch:
        seen = failing(patch, owner, name, number, at=0)
        run(configured(corpus, tmp_path / "counted"))
    assert seen, "the call is made at all"
    for at in sorted({1, 2, len(seen) // 3, len(seen) // 2, len(seen) - 1, len(seen)} - {0}):
        output = tmp_path / f"run-{at}"
        with monkeypatch.context() as patch:
            reached = failing(patch, owner, name, number, at)
            with pytest.raises(DataError) if at < len(seen) - 1 else contextlib.suppress(DataError) as caught:
                run(configured(corpus, output))
            assert caught is None or at in reached
        for path, raw in results(output).items():
            if path.split("/")[0] in ("measured", "histograms", "samples", "decisions", "kept", "removed"):
                assert raw == whole[path], (at, path)
        run(configured(corpus, output))
        assert results(output) == whole, at


LIMITED = """
import pathlib, resource, sys
from tests import test_faults

kind, limit = getattr(resource, sys.argv[1]), int(sys.argv[2])
test_faults.run(test_faults.configured(pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4]) / "warm"))
resource.setrlimit(kind, (limit, limit))
try:
    test_faults.run(test_faults.configured(pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4]) / "run"))
except test_faults.DataError as error:
    print("DataError", error)
"""


@pytest.mark.parametrize(
    ("kind", "limit", "works"),
    [("RLIMIT_NOFILE", 64, True), ("RLIMIT_NOFILE", 12, False), ("RLIMIT_FSIZE", 3000, False)],
)
def test_limits_of_the_operating_system(tmp_path, corpus, whole, kind, limit, works):
    command = [sys.executable, "-c", LIMITED, kind, str(limit), str(corpus), str(tmp_path)]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert ("DataError" in done.stdout) != works, done.stdout
    assert hasattr(resource, kind)
    run(configured(corpus, tmp_path / "run"))
    assert results(tmp_path / "run") == whole
