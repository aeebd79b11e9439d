"""Output formats: a new one is a class and a line in a list, and has all guarantees of the one there is."""

import bz2
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import zstandard

from gpu_pile.corpus import sinks
from gpu_pile.corpus.sinks import Compression, LineSink, ZstdFrames, sink_of
from gpu_pile.errors import ConfigError, DataError, UsageError
from gpu_pile.explore.verify import verify
from gpu_pile.run import directory
from gpu_pile.run.stages.write import stage
from tests.conftest import HERE, run, settings, write_shard


class Plain(LineSink):
    """The lines as they are."""

    name: ClassVar[str] = "plain"
    suffix: ClassVar[str] = ".jsonl"


class Bzip2(LineSink):
    """A format that nothing outside of this class can read."""

    name: ClassVar[str] = "bzip2"
    suffix: ClassVar[str] = ".jsonl.bz2"

    def writer(self, file):
        return bz2.BZ2File(file, "wb")

    @staticmethod
    def reader(file):
        return bz2.BZ2File(file)


@pytest.fixture
def plain(monkeypatch):
    for module in (sinks, directory, stage):
        monkeypatch.setattr(module, "FORMATS", [ZstdFrames, Plain, Bzip2])


def lines(path) -> list[bytes]:
    raw = path.read_bytes()
    if path.suffix == ".zst":
        raw = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True).read()
    return raw.splitlines(keepends=True)


def corpus(folder) -> None:
    """A shard of one range and a shard of many."""
    texts = [(f"text number {i}, of several words " * (1 + i % 7), "W") for i in range(60)]
    write_shard(folder / "one.jsonl.zst", [*texts, texts[0], texts[1]])
    frames = []
    for i in range(0, 60, 6):
        frame = "".join(
            json.dumps({"text": t + " more", "meta": {"pile_set_name": s}}) + "\n" for t, s in texts[i : i + 6]
        )
        frames.append(zstandard.compress(frame.encode()))
    (folder / "many.jsonl.zst").write_bytes(b"".join(frames))


def chosen(folder, format, name="run"):
    return settings(
        [folder / "*.zst"], folder / name, input={"range_bytes": 200}, write={"format": format, "removed": True}
    )


def test_a_format_that_does_not_exist():
    with pytest.raises(UsageError, match="no output format 'orc'; expected same, zstd, parquet"):
        sink_of("orc")
    with pytest.raises(ConfigError, match="no output format 'xz'"):
        settings(["x"], HERE, write={"format": "xz"})


def test_another_format_has_the_same_lines(tmp_path, plain):
    corpus(tmp_path)
    run(chosen(tmp_path, "zstd", "zstd"))
    run(chosen(tmp_path, "plain"))
    for folder in ("kept", "removed"):
        names = sorted(p.name for p in (tmp_path / "run" / folder).iterdir() if p.suffix != ".parquet")
        assert names == ["many.jsonl", "one.jsonl"]
        for name in names:
            assert lines(tmp_path / "run" / folder / name) == lines(tmp_path / "zstd" / folder / f"{name}.zst")
    assert len(lines(tmp_path / "run" / "kept" / "many.jsonl")) > 20
    opened = directory.open_dir(tmp_path / "run")
    assert opened.kept("one").is_file()


@pytest.mark.slow
def test_verify_reads_any_format(tmp_path, plain):
    corpus(tmp_path)
    run(chosen(tmp_path, "bzip2"))
    checks = {c.name: c for c in verify(tmp_path / "run")}
    assert checks["kept lines"].checked > 60
    assert not any(c.failed for c in checks.values())
    kept = tmp_path / "run" / "kept" / "many.jsonl.bz2"
    kept.write_bytes(bz2.compress(bz2.decompress(kept.read_bytes()).replace(b"several", b"many")))
    assert [c.name for c in verify(tmp_path / "run") if c.failed] == ["kept lines"]


def test_a_run_that_changes_its_format_leaves_nothing_of_the_other(tmp_path, plain):
    corpus(tmp_path)
    run(chosen(tmp_path, "zstd"))
    first = {p.name: lines(p) for p in (tmp_path / "run" / "kept").iterdir()}
    run(chosen(tmp_path, "plain"))
    second = {p.name + ".zst": lines(p) for p in (tmp_path / "run" / "kept").iterdir()}
    assert first == second


@pytest.mark.parametrize("moment", ["write", "finish"])
def test_an_error_in_the_middle_leaves_nothing(tmp_path, plain, monkeypatch, moment):
    corpus(tmp_path)

    def full(*_):
        raise DataError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Plain, moment, full)
        with pytest.raises(DataError, match="the disk is full"):
            run(chosen(tmp_path, "plain"))
    left = [p.name for f in ("kept", "removed") for p in (tmp_path / "run" / f).glob("*")]
    assert left == []
    run(chosen(tmp_path, "plain"))
    run(chosen(tmp_path, "plain", "whole"))
    for path in (tmp_path / "whole" / "kept").iterdir():
        assert (tmp_path / "run" / "kept" / path.name).read_bytes() == path.read_bytes()


KILLED = """
import os, pathlib, signal, sys
from gpu_pile.corpus import sinks
from gpu_pile.explore.verify import verify
from gpu_pile.run import directory
from gpu_pile.run.stages.write import stage
from tests import test_sinks

for module in (sinks, directory, stage):
    module.FORMATS = [sinks.ZstdFrames, test_sinks.Plain]
at, seen = int(sys.argv[2]), 0
real = pathlib.Path.replace
def counted(self, target):
    global seen
    if pathlib.Path(target).parent.name in ("kept", "removed"):
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)
pathlib.Path.replace = counted
test_sinks.run(test_sinks.chosen(pathlib.Path(sys.argv[1]), "plain"))
"""


@pytest.mark.slow
def test_kill_9_between_two_files(tmp_path, plain):
    corpus(tmp_path)
    run(chosen(tmp_path, "plain", "whole"))
    command = [sys.executable, "-c", KILLED, str(tmp_path), "2"]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == -signal.SIGKILL, done.stderr
    whole = {p.name: p.read_bytes() for f in ("kept", "removed") for p in (tmp_path / "whole" / f).iterdir()}
    left = [p for f in ("kept", "removed") for p in (tmp_path / "run" / f).glob("*") if not p.name.endswith(".partial")]
    assert len(left) == 1
    run(chosen(tmp_path, "plain"))
    for folder in ("kept", "removed"):
        for path in (tmp_path / "run" / folder).iterdir():
            assert path.read_bytes() == (tmp_path / "whole" / folder / path.name).read_bytes()
    assert whole


def test_the_compression_of_a_configuration():
    options = settings(["x"], HERE, write={"level": 7, "checksum": False, "frame_bytes": "4MiB"}).write
    assert sink_of(options.format) is ZstdFrames
    assert options.compression == Compression(7, 0, False, True)
    assert settings(["x"], HERE).write.compression == Compression()


def test_a_file_that_cannot_be_opened_leaves_nothing_and_says_why(tmp_path, monkeypatch):
    sink = ZstdFrames(tmp_path / "kept" / "a.jsonl.zst", Compression(3, 0, False, False))

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(DataError, match="the disk is full"):
            sink.open()
        sink.discard()
        sink.discard()
    assert not list((tmp_path / "kept").iterdir())
