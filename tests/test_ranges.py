"""Ranges of shards: together they are the shard, wherever frames are cut, and no file shows how many there were."""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from gpu_pile.corpus import reader as reader_module
from gpu_pile.corpus.identity import file_identity, identity_of
from gpu_pile.corpus.ranges import split_at_frames
from gpu_pile.corpus.reader import SEEK_SPACING, Limits, ShardReader
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import DataError
from gpu_pile.explore.verify import verify
from gpu_pile.run import pipeline, tables
from gpu_pile.run.stages.measure import columns, merge
from gpu_pile.run.stages.measure import stage as measure
from gpu_pile.run.stages.write import stage as write
from tests.conftest import DEMO, HERE, results, run, settings
from tests.test_shards import NASTY, frame, identity, skippable

WHOLE = 1 << 40
"""range_bytes with which no shard is cut."""


def shard_of(path: Path) -> Shard:
    return Shard(0, path.name, path, path.stat().st_size)


def frames(data: bytes, cuts, rng: random.Random, *, odd=True) -> bytes:
    """data in frames cut at these places, some empty, some without content size, skippable ones between."""
    raw = b""
    for a, b in itertools.pairwise([0, *sorted(min(c, len(data)) for c in cuts), len(data)]):
        raw += frame(data[a:b], write_checksum=rng.random() < 0.5, write_content_size=rng.random() < 0.5)
        if odd and rng.random() < 0.2:
            raw += rng.choice([skippable(rng.randrange(20)), frame(b"")])
    return raw


# reading


def read_ranges(path: Path, range_bytes: int, block_bytes: int, limits: Limits | None = None):
    """(delivered stretches of the stream by their beginning, lines, bytes, bad lines, identity) of all ranges."""
    lines, start, bad, digests, got = 0, 0, [], [], []
    ranges = split_at_frames(shard_of(path), range_bytes)
    assert [ranges[0].first, *(p.end for p in ranges)] == [*(p.first for p in ranges), path.stat().st_size]
    assert all(p.n_bytes >= range_bytes for p in ranges if len(ranges) > 1)
    for shard_range in ranges:
        reader = ShardReader(path, shard_range=shard_range, block_bytes=block_bytes, limits=limits, identify=True)
        n = 0
        for block in reader:
            assert block.n_bytes
            data = bytes(block.data[: block.n_bytes])
            assert block.first_line >= n
            n = block.first_line + data.count(b"\n")
            got.append((start + block.start, lines + block.first_line, data))
            block.release()
        assert reader.damages == []
        assert reader.compressed_bytes_read == shard_range.n_bytes
        bad += [lines + line for line, _ in reader.bad_lines]
        lines += reader.n_lines
        start += reader.own_bytes if shard_range.of > 1 else reader.stream_bytes
        digests += reader.digests
    return got, lines, start, bad, identity_of(digests), len(ranges)


pieces = st.lists(st.sampled_from([b"{}", b"", b"  ", "é漢😀".encode(), b"x" * 50, b"\r", b"y" * 300]), max_size=30)


@examples(max_examples=150, deadline=None)
@given(
    pieces, st.booleans(), st.lists(st.integers(0, 1500), max_size=12), st.integers(1, 200), st.integers(1, 500),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_the_ranges_of_any_shard_are_the_shard(tmp_path_factory, rows, final, cuts, range_bytes, block_bytes, rng):
    whole = b"\n".join(rows) + (b"\n" if final and rows else b"")
    path = tmp_path_factory.mktemp("ranges") / "x.zst"
    path.write_bytes(frames(whole, cuts, rng))
    got, lines, n_bytes, bad, found, _ = read_ranges(path, range_bytes, block_bytes)
    assert b"".join(data for _, _, data in got) == whole
    at = 0
    for start, first_line, data in got:
        assert (start, first_line) == (at, whole[:at].count(b"\n"))
        assert data.endswith(b"\n") or start + len(data) == len(whole)
        at += len(data)
    assert (n_bytes, bad) == (len(whole), [])
    assert lines == (whole.count(b"\n") + 1) - (whole.endswith(b"\n") or not whole)
    assert found == identity(path.read_bytes()) == file_identity(path)


def test_identity_is_of_steps_that_ranges_share(tmp_path):
    rng = random.Random(5)
    data = b"".join(b"%d %s\n" % (i, rng.randbytes(40).hex().encode()) for i in range(80_000))
    path = tmp_path / "x.zst"
    path.write_bytes(frames(data, sorted(rng.sample(range(len(data)), 40)), rng))
    assert path.stat().st_size > 3 << 20
    for range_bytes in (50_000, 700_000, 1_600_000):
        got, *_, found, n = read_ranges(path, range_bytes, 1 << 16)
        assert n > 1
        assert b"".join(d for _, _, d in got) == data
        assert found == identity(path.read_bytes())


@pytest.mark.parametrize("block_bytes", [100, 60_000])
def test_lines_over_the_limit_that_cross_ranges(tmp_path, block_bytes):
    rng = random.Random(block_bytes)
    for _ in range(20):
        sizes = [rng.choice([1, 10, 150_000, 190_000, 200_000, 300_000, 400_000]) for _ in range(rng.randrange(1, 9))]
        rows = [b'{"text": "%s"}' % (b"x" * n) for n in sizes]
        whole = b"\n".join(rows) + b"\n" * rng.randrange(2)
        path = tmp_path / "x.zst"
        path.write_bytes(frames(whole, [rng.randrange(len(whole)) for _ in range(6)], rng))
        got, lines, n_bytes, bad, _, _ = read_ranges(path, 1, block_bytes, Limits(line_bytes_max=200_000))
        assert bad == [i + 1 for i, r in enumerate(rows) if len(r) > 200_000]
        assert (lines, n_bytes) == (len(rows), len(whole))
        delivered = [line for _, _, data in got for line in data.removesuffix(b"\n").split(b"\n")]
        assert delivered == [r for r in rows if len(r) <= 200_000]
        assert all(whole[start:].startswith(data) for start, _, data in got)


def test_what_is_one_range(tmp_path):
    rng = random.Random(1)
    data = b"".join(b'{"text": "%d"}\n' % rng.randrange(10**9) for _ in range(2000))
    sound = frames(data, range(0, len(data), 1000), rng)
    n = len(sound)
    for name, raw, ranges in [
        ("sound", sound, 10),
        ("one frame", frame(data), 1),
        ("plain", data, 1),
        ("truncated", sound[:-5], 1),
        ("garbage between", sound[:n] + b"garbage" + sound, 1),
        ("nothing", b"", 1),
    ]:
        path = tmp_path / name
        path.write_bytes(raw)
        found = split_at_frames(shard_of(path), n // 12)
        assert len(found) >= ranges if ranges > 1 else [(p.first, p.end) for p in found] == [(0, len(raw))], name
    (tmp_path / "small").write_bytes(sound)
    assert len(split_at_frames(shard_of(tmp_path / "small"), n // 2 + 1)) == 1, "ranges have at least so many bytes"


def test_a_file_that_changed_between_is_damage(tmp_path):
    rng = random.Random(2)
    data = b"".join(b"%d\n" % rng.randrange(10**9) for _ in range(3000))
    path = tmp_path / "x"
    path.write_bytes(frames(data, range(0, len(data), 2000), rng, odd=False))
    ranges = split_at_frames(shard_of(path), 2000)
    assert len(ranges) > 3
    path.write_bytes(frame(data) + b"\0" * 20_000)
    reader = ShardReader(path, shard_range=ranges[0])
    for block in reader:
        block.release()
    assert ["changed" in d.reason for d in reader.damages] == [True]


# whole runs


def words(n: int, seed: int) -> str:
    return " ".join(f"w{seed}x{i}é漢"[: 3 + i % 7] + str(seed * 31 + i) for i in range(n))


def documents(rng: random.Random, n: int) -> list[bytes]:
    """Lines, good, bad and blank, some with the same text, subsets of several kinds."""
    lines = []
    for i in range(n):
        kind = rng.random()
        if kind < 0.04:
            lines.append(rng.choice([b"", b"  ", b"\r"]))
        elif kind < 0.12:
            lines.append(rng.choice([b"{broken", b'{"text": 5}', b"[]", b"\xff"]))
        else:
            text = words(rng.randrange(1, 60), rng.randrange(i + 1) if rng.random() < 0.2 else i)
            line = {"text": text, "meta": {"pile_set_name": rng.choice(["A", "B", "Ü", ""])}}
            lines.append(json.dumps(line, ensure_ascii=rng.random() < 0.5).encode())
    return lines


def same_results(tmp_path: Path, inputs, range_bytes: int, several: bool = True, last: str = "write", **more):
    """Run with ranges and without, compare every file and what is recorded; returns the run with ranges.

    Frames are not copied, so that every kept range is one frame; tests/test_frames.py has ranges with copied frames.
    """
    given = more.pop("input", {})
    more["write"] = {"copy_frames": False, **more.get("write", {})}
    ways = {}
    for name, size in (("whole", WHOLE), ("ranges", range_bytes)):
        ways[name] = run(settings(inputs, tmp_path / name, input={**given, "range_bytes": size}, **more), last)
    whole, ranges = (results(tmp_path / name) for name in ways)
    assert whole.keys() == ranges.keys()
    for name in whole:
        if name.startswith(("kept/", "removed/")) and name.endswith(".zst"):
            a, b = (
                zstandard.ZstdDecompressor().stream_reader(r[name], read_across_frames=True).read()
                for r in (whole, ranges)
            )
            assert a == b, name
            assert count_frames(whole[name]) == 1
        else:
            assert whole[name] == ranges[name], name
    cuts = 0
    for shard in ways["ranges"].shards:
        a, b = (ways[name].directory.state("measure", shard.name) for name in ("whole", "ranges"))
        assert {**a, "definition": 0, "ranges": 0, "seek_points": 0} == {
            **b, "definition": 0, "ranges": 0, "seek_points": 0,
        }  # fmt: skip
        assert list(b["seek_points"][1:]) == [
            q for p, q in itertools.pairwise(b["seek_points"]) if q[1] - p[1] >= SEEK_SPACING
        ]
        cuts += len(b["ranges"]) > 1
        if last != "measure":
            name = f"kept/{shard.name}.jsonl.zst"
            assert count_frames(ranges[name]) == len(b["ranges"])
    assert bool(cuts) == several
    assert not (tmp_path / "ranges" / "scratch").exists()
    return ways["ranges"]


def test_seek_points_of_ranges(tmp_path, monkeypatch):
    for module in (merge, reader_module):
        monkeypatch.setattr(module, "SEEK_SPACING", 300)
    rng = random.Random(9)
    data = b"\n".join(documents(rng, 200))
    path = tmp_path / "x.jsonl.zst"
    path.write_bytes(frames(data, range(0, len(data), 700), rng))
    context = run(settings([path], tmp_path / "run", input={"range_bytes": 1000}), "measure")
    state = context.directory.state("measure", "x")
    assert len(state["ranges"]) > 3
    assert len(state["seek_points"]) > 2 * len(state["ranges"])
    for point in state["seek_points"]:
        blocks = ShardReader(path, start=tuple(point), block_bytes=100)
        got = [(b.start, bytes(b.data[: b.n_bytes])) for b in blocks]
        assert got[0][0] == point[1]
        assert b"".join(x for _, x in got) == data[point[1] :]


def count_frames(raw: bytes) -> int:
    n = 0
    while raw:
        one = zstandard.ZstdDecompressor().decompressobj()
        one.decompress(raw)
        assert one.eof
        n, raw = n + 1, one.unused_data
    return n


@pytest.mark.slow
@pytest.mark.parametrize("row_group", [100, 65_536])
def test_files_do_not_show_ranges(tmp_path, monkeypatch, row_group):
    monkeypatch.setattr(columns, "ROW_GROUP", row_group)
    rng = random.Random(row_group)
    for name in "ab":
        data = b"\xef\xbb\xbf" + b"\n".join(documents(rng, 300))  # a BOM; the last line has no line feed
        cuts = [rng.randrange(len(data)) for _ in range(25)]
        (tmp_path / f"{name}.jsonl.zst").write_bytes(frames(data, cuts, rng))
    (tmp_path / "c.jsonl.zst").write_bytes(frame(b"\n".join(documents(rng, 50))))
    context = same_results(tmp_path, [tmp_path / "*.zst"], 1500, write={"removed": True}, batch_bytes=3000)
    assert [len(context.directory.state("measure", n)["ranges"]) > 4 for n in "abc"] == [True, True, False]
    assert sum(r.endswith(".zst") for r in results(tmp_path / "ranges") if r.startswith("removed")) == 3


@pytest.mark.slow
@examples(max_examples=12, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 2000), st.integers(1, 5))
def test_any_shard_in_any_ranges(tmp_path_factory, seed, range_bytes, n_lines):
    """Few lines, many frames: documents over many ranges, ranges without a line feed, ranges of nothing."""
    folder, rng = tmp_path_factory.mktemp("any"), random.Random(seed)
    data = b"\n".join([*documents(rng, n_lines), json.dumps({"text": words(50, seed)}).encode()])
    data += b"\n" * rng.randrange(2)
    raw = frames(data, [rng.randrange(len(data)) for _ in range(rng.randrange(2, 20))], rng)
    (folder / "x.jsonl.zst").write_bytes(raw)
    several = len(split_at_frames(shard_of(folder / "x.jsonl.zst"), range_bytes)) > 1
    same_results(folder, [folder / "x.jsonl.zst"], range_bytes, several)


@pytest.mark.slow
def test_the_demo_corpus_in_ranges(tmp_path):
    rng = random.Random(3)
    for path in sorted(DEMO.glob("*.zst")):
        data = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
        (tmp_path / path.name).write_bytes(frames(data, range(0, len(data), len(data) // 9), rng))
    context = same_results(tmp_path, [tmp_path / "*.zst"], 20_000, batch_bytes=30_000, last="report")
    assert all(len(context.directory.state("measure", s.name)["ranges"]) >= 2 for s in context.shards)
    assert not any(check.failed for check in verify(tmp_path / "ranges"))


@pytest.mark.slow
def test_the_nasty_shards_a_frame_a_range(tmp_path):
    """Damaged ones are measured whole; every file is what it is without ranges."""
    context = same_results(tmp_path, [NASTY / "*.jsonl*"], 1)
    n_ranges = {s.name: len(context.directory.state("measure", s.name)["ranges"]) for s in context.shards}
    assert n_ranges["frame_per_line"] > 5
    assert n_ranges["multi_frame_line_cuts"] > 1
    assert n_ranges["multi_frame_mid_char"] > 1
    assert n_ranges["skippable_frames"] > 1
    assert n_ranges["corrupt_middle_frame"] == n_ranges["truncated_second_frame"] == n_ranges["trailing_garbage"] == 1


def cut_shard(path: Path, lines: list[bytes], lines_a_frame: int = 20) -> list[bytes]:
    """A shard of frames of whole lines; returns the frames."""
    raws = [
        frame(b"".join(line + b"\n" for line in lines[i : i + lines_a_frame]), write_checksum=True)
        for i in range(0, len(lines), lines_a_frame)
    ]
    path.write_bytes(b"".join(raws))
    return raws


@pytest.mark.parametrize("damaged", [0, 3, 6])
def test_damage_in_one_range(tmp_path, damaged):
    path = tmp_path / "x.jsonl.zst"
    raws = cut_shard(path, documents(random.Random(1), 140))
    raw = bytearray(raws[damaged])
    raw[-2] ^= 1  # the checksum: to be found by decompressing only
    raws[damaged] = bytes(raw)
    path.write_bytes(b"".join(raws))
    assert len(split_at_frames(shard_of(path), 1000)) > 1
    context = same_results(tmp_path, [path], 1000, several=False)
    assert len(pipeline.damages(context)) == 1


@pytest.mark.parametrize("most", [0, 3, 12])
def test_too_many_bad_lines_in_a_range_or_over_ranges(tmp_path, most):
    lines = documents(random.Random(1), 140)
    bad = [i for i in range(140) if i % 9 == 4]
    for i in bad:
        lines[i] = b"junk"
    path = tmp_path / "x.jsonl.zst"
    cut_shard(path, lines)
    context = same_results(tmp_path, [path], 500, several=False, input={"bad_lines_max": most}, workers=1)
    assert f"bad_lines_max = {most}" in pipeline.damages(context)[0]


def test_as_many_bad_lines_as_there_may_be(tmp_path):
    lines = documents(random.Random(1), 140)
    path = tmp_path / "x.jsonl.zst"
    cut_shard(path, lines)
    run(settings([path], tmp_path / "first"), "measure")
    n = len((tmp_path / "first" / "bad_lines.jsonl").read_text().splitlines())
    assert n > 3
    same_results(tmp_path, [path], 500, input={"bad_lines_max": n})


@pytest.mark.parametrize("each", [1, 100])
def test_more_subsets_than_are_told_apart(tmp_path, each):
    """In one range, or only in all of them together."""
    lines = [
        json.dumps({"text": words(5, i), "meta": {"pile_set_name": f"s{i // each if each == 1 else i % 300}"}}).encode()
        for i in range(600)
    ]
    path = tmp_path / "x.jsonl.zst"
    cut_shard(path, lines, 300 if each == 1 else 100)
    assert len(split_at_frames(shard_of(path), 500)) > 1
    same_results(tmp_path, [path], 500, several=False, last="measure")


def test_expansion_is_limited_for_the_shard_and_for_ranges(tmp_path, monkeypatch):
    monkeypatch.setattr(Limits, "stream_bytes_max", lambda self, n: self.expansion_max * n)
    bombs = b"".join(frame(b'{"text": "a"}\n' * 100_000) for _ in range(3))
    path = tmp_path / "x.jsonl.zst"
    path.write_bytes(bombs + frame(random.Random(1).randbytes(2000).hex().encode() + b"\n"))
    context = same_results(
        tmp_path, [path], 100, several=False, input={"expansion_max": 50}, last="measure", batch_bytes=1 << 16
    )
    assert "input.expansion_max" in pipeline.damages(context)[0]


# resuming


class Stop(Exception):
    pass


def interrupted(configuration, monkeypatch, module, name: str, last: str = "write"):
    """Run until the named kind of job begins."""
    with monkeypatch.context() as patch:
        patch.setattr(module, name, lambda *a, **k: (_ for _ in ()).throw(Stop()))
        with pytest.raises(Stop):
            run(configuration, last)


@pytest.fixture
def shard_in_ranges(tmp_path) -> Path:
    path = tmp_path / "x.jsonl.zst"
    cut_shard(path, documents(random.Random(1), 140))
    return path


def counted(monkeypatch, module, name: str) -> list:
    made, real = [], getattr(module, name)

    def make(*args, **kwargs):
        made.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(module, name, make)
    return made


def test_finished_ranges_are_not_done_again(tmp_path, monkeypatch, shard_in_ranges):
    configuration = settings([shard_in_ranges], tmp_path / "run", input={"range_bytes": 1000})
    interrupted(configuration, monkeypatch, measure, "RangeMerger")
    lost = sorted((tmp_path / "run" / "scratch" / "measure" / "x").glob("*.json"))
    assert len(lost) > 3
    lost[1].unlink()
    with monkeypatch.context() as patch:
        made = counted(patch, measure, "RangeMeasurer")
        interrupted(configuration, monkeypatch, write, "RangeJoiner")
        assert [args[2].index for args in made] == [1]
    with monkeypatch.context() as patch:
        made = counted(patch, write, "RangeWriter")
        run(configuration)
        assert made == []
    same_results(tmp_path, [shard_in_ranges], 1000)
    for name in ("kept/x.jsonl.zst", "measured/x.parquet"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "ranges" / name).read_bytes()
    assert not (tmp_path / "run" / "scratch").exists()


KILLER = """
import os, signal, sys
from gpu_pile.run.stages.measure import columns, merge
from gpu_pile.run.stages.measure import stage as measure
from gpu_pile.run.stages.write import stage as write
from tests.conftest import run, settings

module, job, shard, folder = sys.argv[1:]
def killed(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
setattr({"measure": measure, "write": write}[module], job, killed)
run(settings([shard], __import__("pathlib").Path(folder), input={"range_bytes": 1000}, workers=1), "write")
"""


@pytest.mark.slow
def test_kill_9_between_ranges_and_merge_then_the_same_command(tmp_path, shard_in_ranges):
    for module, job in (("measure", "RangeMerger"), ("write", "RangeJoiner")):
        command = [sys.executable, "-c", KILLER, module, job, str(shard_in_ranges), str(tmp_path / "run")]
        done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert len(list((tmp_path / "run" / "scratch" / module).rglob("*.json"))) > 3
    run(settings([shard_in_ranges], tmp_path / "run", input={"range_bytes": 1000}), "write")
    same_results(tmp_path, [shard_in_ranges], 1000)
    assert results(tmp_path / "run") == results(tmp_path / "ranges")
    assert not (tmp_path / "run" / "scratch").exists()


def test_ranges_of_a_shard_that_changed_are_done_again(tmp_path, monkeypatch, shard_in_ranges):
    configuration = settings([shard_in_ranges], tmp_path / "run", input={"range_bytes": 1000})
    interrupted(configuration, monkeypatch, measure, "RangeMerger")
    cut_shard(shard_in_ranges, documents(random.Random(2), 140))
    run(configuration, "write")
    same_results(tmp_path, [shard_in_ranges], 1000)
    assert results(tmp_path / "run") == results(tmp_path / "ranges")


def test_a_shard_that_changes_before_it_is_written(tmp_path, monkeypatch, shard_in_ranges):
    configuration = settings([shard_in_ranges], tmp_path / "run", input={"range_bytes": 1000})
    interrupted(configuration, monkeypatch, write, "RangeWriter")
    raw = bytearray(shard_in_ranges.read_bytes())
    raw[len(raw) // 2] ^= 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "is_done", lambda *a: True)
        shard_in_ranges.write_bytes(raw)
        with pytest.raises(DataError, match="changed while the run was going on"):
            run(configuration)
    assert not (tmp_path / "run" / "kept").exists() or not list((tmp_path / "run" / "kept").iterdir())


def test_rows_of_a_table(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    for n in (0, 1, 10, 25):
        pq.write_table(pa.table({"x": list(range(n)), "y": [0] * n}), tmp_path / "t", row_group_size=10)
        for first in range(n + 1):
            for end in range(first, n + 1):
                table = tables.table_rows(tmp_path / "t", first, end, ["x"])
                assert table.column("x").to_pylist() == list(range(first, end))


def test_progress_is_the_bytes_of_the_shards(tmp_path, shard_in_ranges):
    from tests.test_cluster import Told

    raws = cut_shard(tmp_path / "damaged.jsonl.zst", documents(random.Random(3), 140))
    broken = bytearray(raws[2])
    broken[-2] ^= 1
    (tmp_path / "damaged.jsonl.zst").write_bytes(b"".join([*raws[:2], bytes(broken), *raws[3:]]))
    told = Told()
    wanted = settings([tmp_path / "*.zst"], tmp_path / "run", input={"range_bytes": 1000})
    with pipeline.prepared(wanted, told) as context:
        pipeline.run_until(context, "write")
    for stage in ("measure", "write"):
        assert told.read[stage] == told.totals[stage] > 0
