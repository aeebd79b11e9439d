"""The spool: dedupe and write read what measure leaves in scratch, or the shards; never other bytes."""

import errno
import gzip
import json
import os
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.identity import HashedFile
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import DataError
from gpu_pile.run import spool
from gpu_pile.run.context import Context
from gpu_pile.run.directory import RunDir
from gpu_pile.run.rereading import Wanted
from gpu_pile.run.spool import SpooledLines, SpoolWriter
from gpu_pile.run.tables import MeasuredRange
from tests.conftest import results, run, settings

RANGES = {"range_bytes": 400}


def corpus(folder, n=150) -> None:
    """A shard of one frame, one of many, one compressed with gzip, one plain; bad lines, duplicates, no last feed."""
    rng = random.Random(3)
    words = [f"word{i}" for i in range(200)]
    texts = [" ".join(rng.choices(words, k=rng.randrange(1, 40))) for _ in range(n)]
    texts += [t + " end" for t in texts[::3]] + texts[::4]
    rng.shuffle(texts)
    lines = [json.dumps({"text": t}).encode() for t in texts]
    lines[5:5] = [b"", b"{", b'"a string"']
    parts = [b"\n".join(lines[i::4]) for i in range(4)]
    (folder / "in").mkdir()
    folder = folder / "in"
    (folder / "one.jsonl.zst").write_bytes(zstandard.compress(parts[0]))
    frames = (zstandard.compress(parts[1][i : i + 700]) for i in range(0, len(parts[1]), 700))
    (folder / "many.jsonl.zst").write_bytes(b"".join(frames))
    (folder / "zipped.jsonl.gz").write_bytes(gzip.compress(parts[2]))
    (folder / "plain.jsonl").write_bytes(parts[3])


def chosen(folder, name, **more):
    return settings(
        [folder / "in"], folder / name, **{"input": RANGES, "write": {"removed": True}, "workers": 2, **more}
    )


def test_dedupe_and_write_read_no_shard(tmp_path, monkeypatch):
    corpus(tmp_path)
    run(chosen(tmp_path, "read", spool_bytes=0))
    read = []
    real = HashedFile.read_at
    monkeypatch.setattr(HashedFile, "read_at", lambda self, start, n: read.append((start, n)) or real(self, start, n))
    run(chosen(tmp_path, "measured"), "measure")
    once = sorted(read)
    assert once
    read.clear()
    run(chosen(tmp_path, "spooled"), "write")
    assert sorted(read) == once
    run(chosen(tmp_path, "spooled"))
    assert results(tmp_path / "spooled") == results(tmp_path / "read")
    assert not (tmp_path / "spooled" / "scratch").exists()


@pytest.mark.parametrize("spool_bytes", [1, 5000, 40_000, "1GiB"])
def test_any_share_gives_the_same_bytes(tmp_path, spool_bytes):
    corpus(tmp_path)
    run(chosen(tmp_path, "read", spool_bytes=0))
    run(chosen(tmp_path, "spooled", spool_bytes=spool_bytes, batch_bytes=1000))
    assert results(tmp_path / "spooled") == results(tmp_path / "read")


def test_a_full_disk_costs_the_spool_only(tmp_path, monkeypatch):
    corpus(tmp_path)
    run(chosen(tmp_path, "read", spool_bytes=0))
    calls, real = [], os.pwrite

    def full(descriptor, data, position):
        if "/lines/" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            calls.append(1)
            if len(calls) > 4:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data, position)

    monkeypatch.setattr(os, "pwrite", full)
    run(chosen(tmp_path, "spooled"))
    assert len(calls) > 4
    assert results(tmp_path / "spooled") == results(tmp_path / "read")


def test_what_a_killed_run_has_left_is_not_used(tmp_path, monkeypatch):
    """After a power failure such a file may have the right name and other bytes."""
    corpus(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(spool, "clear", lambda directory: None)
        run(chosen(tmp_path, "run"), "measure")
    left = list((tmp_path / "run" / "scratch" / "lines").iterdir())
    assert len(left) > 4
    for path in left:
        path.write_bytes(bytes(path.stat().st_size))
    run(chosen(tmp_path, "run"))
    run(chosen(tmp_path, "whole"))
    assert results(tmp_path / "run") == results(tmp_path / "whole")


def test_a_shard_written_again_with_its_former_time_is_noticed(tmp_path, monkeypatch):
    """The same size and mtime: only ctime differs."""
    path = tmp_path / "in" / "x.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"".join(b'{"text": "a document %03d"}\n' % i for i in range(100)))
    configuration = chosen(tmp_path, "run")
    run(configuration, "decide")
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b"document 0", b"document 9"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    context = run(configuration)
    assert any("has changed since it was measured" in note for note in context.reporter.notes)
    run(chosen(tmp_path, "fresh"))
    assert results(tmp_path / "run") == results(tmp_path / "fresh")


def a_context(folder) -> Context:
    return Context(settings(["x"], folder / "run"), RunDir(folder / "run"), [])


lengths = st.lists(st.sampled_from([0, 1, 7, 300, 20_000, 1_100_000]), min_size=1, max_size=12)


@examples(max_examples=60, deadline=None)
@given(lengths, st.randoms(use_true_random=False), st.integers(1, 60_000), st.integers(0, 1 << 40))
def test_lines_come_back_in_groups(tmp_path_factory, sizes, rng, group_bytes, begin):
    folder = tmp_path_factory.mktemp("spool")
    lines = [bytes([65 + i]) * n for i, n in enumerate(sizes)]
    stream = b"".join(line + b"\n" for line in lines)
    (folder / "x").write_bytes(zlib.compress(stream) + b"some bytes")
    shard = Shard(0, "x", folder / "x", (folder / "x").stat().st_size)
    context, part = a_context(folder), ShardRange(1, 3, 100, 200)
    cuts = sorted(rng.sample(range(1, len(stream) + 1), min(len(stream), 3)))
    blocks = list(zip([0, *cuts], [*cuts, len(stream)], strict=True))
    rng.shuffle(blocks)
    chosen_rows = np.flatnonzero([rng.random() < 0.6 for _ in sizes])
    writer = SpoolWriter(context, shard, part, 1e9)
    writer.open()
    for a, b in blocks:
        writer.write(Block(np.frombuffer(stream[a:b] + bytes(32), np.uint8), b - a, 0, a))
    writer.commit()
    starts = begin + np.cumsum([0, *(n + 1 for n in sizes[:-1])])
    start, length = starts[chosen_rows].astype(np.int64), np.array(sizes, np.int64)[chosen_rows]
    wanted = Wanted.of(start, length, group_bytes)
    assert wanted.bounds[0] == 0
    assert wanted.bounds[-1] == len(start)
    found = SpooledLines.of(context, shard, ShardRange(1, 3, 100, 200, begin))
    assert found is not None
    for lo, hi in zip(wanted.bounds[:-1], wanted.bounds[1:], strict=True):
        got = found.read(start[lo:hi], length[lo:hi]).tobytes()
        assert got == b"".join(lines[i] + b"\n" for i in chosen_rows[lo:hi])
        assert len(got) >= group_bytes or hi == len(start)
        assert len(got) - (length[hi - 1] + 1) < group_bytes
    assert SpooledLines.of(context, shard, ShardRange(0, 3, 100, 200, begin)) is None
    spool.release(context, MeasuredRange(shard, ShardRange(1, 3, 100, 200, begin), 0, len(sizes)))
    assert SpooledLines.of(context, shard, ShardRange(1, 3, 100, 200, begin)) is None


def test_a_file_that_was_cut_off_ends_the_run(tmp_path):
    (tmp_path / "x").write_bytes(b"x" * 10)
    shard, whole = Shard(0, "x", tmp_path / "x", 10), ShardRange(0, 1, 0, 10)
    writer = SpoolWriter(a_context(tmp_path), shard, whole, 10.0)
    writer.open()
    writer.write(Block(np.zeros(50, np.uint8), 10, 0, 0))
    writer.commit()
    found = SpooledLines.of(a_context(tmp_path), shard, whole)
    with pytest.raises(DataError, match="was cut off while the run was going on"):
        found.read(np.array([5]), np.array([20]))
