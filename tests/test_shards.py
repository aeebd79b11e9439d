"""Reading shards in any state, and writing them. tests/data/nasty holds broken and odd shards with a manifest."""

import bz2
import errno
import gzip
import hashlib
import itertools
import json
import lzma
import os
import random
import resource
import struct

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.corpus.identity import step_digest
from gpu_pile.corpus.lines import copy_spans
from gpu_pile.corpus.reader import Limits, ShardReader
from gpu_pile.corpus.shards import find_shards
from gpu_pile.corpus.sinks import FORMATS, Compression, ZstdFrames
from gpu_pile.corpus.zstd_frames import CHUNK
from gpu_pile.errors import DataError, UsageError
from gpu_pile.ops.parse_lines import parse_lines
from tests.conftest import HERE

NASTY = HERE / "data" / "nasty"
MANIFEST = json.loads((NASTY / "MANIFEST.json").read_text())["files"]


def identity(raw):
    """What shards.identity_of is, by plain Python."""
    steps = (step_digest(bytearray(raw[i : i + 2**20])) for i in range(0, len(raw), 2**20))
    return hashlib.blake2b(b"".join(steps), digest_size=32).hexdigest()


def read(path, block_bytes=1 << 20, limits=None):
    """What a reader delivers: documents, bad lines, damages; checks what must hold of any block."""
    reader = ShardReader(path, block_bytes=block_bytes, limits=limits or Limits(), identify=True)
    good, bad, position, line = [], [], 0, 0
    for block in reader:
        assert block.n_bytes
        assert (block.start, block.first_line) >= (position, line)
        parsed = parse_lines(block.data[: block.n_bytes], padded=True, skip_bom=block.start == 0)
        rows = zip(
            parsed.line, parsed.start, parsed.length, parsed.text.documents(), parsed.subset.documents(), strict=True
        )
        for number, start, length, text, subset in rows:
            raw = bytes(block.data[start : start + length])
            good.append((int(number) + block.first_line + 1, int(start) + block.start, raw, text, subset))
        bad += [int(n) + block.first_line + 1 for n in parsed.bad_line]
        position, line = block.start + block.n_bytes, block.first_line + parsed.n_lines
        block.release()
    assert reader.identity == identity(path.read_bytes())
    bad = sorted(bad + [n for n, _ in reader.bad_lines])
    return {
        "good": good,
        "bad": bad,
        "damage": [(d.offset, d.line, d.reason) for d in reader.damages],
        "lines": reader.n_lines,
        "stream": reader.stream_bytes,
    }


@pytest.mark.parametrize("name", sorted(MANIFEST))
def test_nasty_shards_are_read_as_the_manifest_says(name):
    entry = MANIFEST[name]
    got = read(NASTY / name)
    either = {e["line"] for e in entry["either_lines"]}
    delivered = [
        (n, hashlib.sha1(t).hexdigest(), s.decode() or None) for n, _, _, t, s in got["good"] if n not in either
    ]
    must = [(g["line"], g["text_sha1"], g["pile_set_name"]) for g in entry["good"]]
    recoverable = [o["text_sha1"] for o in entry.get("recoverable_good", [])]
    optional = {o["text_sha1"] for o in entry.get("optional_good", [])} | set(recoverable)
    if entry["container"] == "ok":
        assert delivered == must
        assert [n for n in got["bad"] if n not in either] == [b["line"] for b in entry["bad_lines"]]
        assert got["damage"] == []
    elif entry["container"] == "damaged":
        assert got["damage"]
        assert all(reason for _, _, reason in got["damage"])
        hashes = [h for _, h, _ in delivered]
        assert hashes[: len(must)] == [h for _, h, _ in must]
        assert set(hashes[len(must) :]) <= optional
        assert [h for h in hashes if h in set(recoverable)] == recoverable, "a sound later frame is read"
    else:
        assert got["damage"] or len(delivered) == len(entry["optional_good"])


@pytest.mark.parametrize("block_bytes", [64, 1000, 50_000])
@pytest.mark.parametrize("name", sorted(set(MANIFEST) - {"blank_bomb.jsonl.zst"}))
def test_the_size_of_blocks_changes_nothing(name, block_bytes):
    assert read(NASTY / name, block_bytes) == read(NASTY / name)


def frame(data, **options):
    return zstandard.ZstdCompressor(**options).compress(data)


def skippable(n):
    return struct.pack("<II", 0x184D2A50 + n % 16, n) + b"x" * n


lines = st.lists(st.sampled_from([b"{}", b"", b"  ", "é漢😀".encode(), b"x" * 50, b"\r"]), max_size=30)


@settings(max_examples=60, deadline=None)
@given(lines, st.booleans(), st.lists(st.integers(0, 400), max_size=6), st.integers(1, 500), st.randoms())
def test_any_cut_into_frames_gives_the_same_stream(tmp_path_factory, rows, final, cuts, block_bytes, rng):
    whole = b"\n".join(rows) + (b"\n" if final and rows else b"")
    places = [0, *sorted(min(c, len(whole)) for c in cuts), len(whole)]
    raw = b""
    for a, b in itertools.pairwise(places):
        raw += frame(whole[a:b], write_checksum=rng.random() < 0.5, write_content_size=rng.random() < 0.5)
        if rng.random() < 0.3:
            raw += skippable(rng.randrange(20))
    path = tmp_path_factory.mktemp("frames") / "x.zst"
    path.write_bytes(raw)
    reader = ShardReader(path, block_bytes=block_bytes)
    got = b""
    for block in reader:
        assert block.start == len(got)
        assert block.first_line == got.count(b"\n")
        got += bytes(block.data[: block.n_bytes])
        block.release()
    assert got == whole
    assert reader.damages == []
    assert reader.n_lines == (whole.count(b"\n") + 1) - (whole.endswith(b"\n") or not whole)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["flip", "cut", "insert", "drop"]))
def test_random_damage_never_crashes_and_is_never_silent(tmp_path_factory, seed, how):
    """Whatever happens to a file of checked frames: only whole original lines come out, and a loss is reported."""
    rng = random.Random(seed)
    rows = [b"%d:" % i + bytes(rng.choices(b"abcdefgh ", k=rng.randrange(200))) for i in range(300)]
    parts = [b"".join(r + b"\n" for r in rows[i : i + 60]) for i in range(0, 300, 60)]
    raw = bytearray(b"".join(frame(p, write_checksum=True) for p in parts))
    at = rng.randrange(len(raw))
    if how == "flip":
        raw[at] ^= 1 << rng.randrange(8)
    elif how == "cut":
        del raw[at:]
    elif how == "insert":
        raw[at:at] = rng.randbytes(rng.randrange(1, 30))
    else:
        del raw[at : at + rng.randrange(1, 30)]
    path = tmp_path_factory.mktemp("damage") / "x.zst"
    path.write_bytes(raw)
    reader = ShardReader(path, block_bytes=500)
    got = []
    for block in reader:
        got += bytes(block.data[: block.n_bytes]).split(b"\n")[:-1]
        block.release()
    lost = len(rows) - len(got)
    if lost:
        assert reader.damages or how == "cut", "a loss must be reported"
        frame_ends = {len(b"".join(frame(p, write_checksum=True) for p in parts[:i])) for i in range(6)}
        assert reader.damages or at in frame_ends, "only a cut between frames cannot be seen"
    if not reader.damages:
        assert got == rows[: len(got)]
    for i in range(5):  # what comes out of undamaged frames is original
        before = len(b"".join(frame(p, write_checksum=True) for p in parts[: i + 1]))
        if before <= at:
            assert got[60 * i : 60 * i + 60] == rows[60 * i : 60 * i + 60]


MEMBERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "compress"), MEMBERS.items())
def test_files_of_members_in_every_state(tmp_path, name, compress):
    rng = random.Random(5)
    data = b"".join(b'{"text": "%d %s"}\n' % (i, rng.randbytes(20).hex().encode()) for i in range(20_000))
    path = tmp_path / "x.jsonl"
    padding = b"\0" * 4 * (1 << 16)
    path.write_bytes(compress(data[:1000]) + padding + compress(b"") + compress(data[1000:]) + padding)
    got = read(path)
    assert len(got["good"]) == 20_000
    assert got["damage"] == []
    path.write_bytes(compress(data)[:-20_00])
    got = read(path)
    assert f"the {name} data is cut off: the file is truncated" in got["damage"][0][2]
    assert 100 < len(got["good"]) < 20_000
    path.write_bytes(compress(data) + b"garbage")
    got = read(path)
    assert len(got["good"]) == 20_000
    assert f"garbage after the {name} data" in got["damage"][0][2]
    raw = bytearray(compress(data))
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    got = read(path)
    assert got == read(path, 1000)
    assert f"corrupt {name} data" in got["damage"][0][2]
    assert len(got["good"]) < 20_000


@pytest.mark.parametrize("compress", MEMBERS.values(), ids=MEMBERS)
def test_expansion_of_members_is_limited(tmp_path, monkeypatch, compress):
    monkeypatch.setattr(Limits, "stream_bytes_max", lambda self, n: self.expansion_max * n)
    path = tmp_path / "bomb"
    path.write_bytes(compress(b'{"text": "good"}\n' + b"x" * 20_000_000))
    got = read(path, 1000, Limits(expansion_max=20, line_bytes_max=200_000))
    assert len(got["good"]) == 1
    assert "input.expansion_max" in got["damage"][0][2]
    assert got["stream"] <= 20 * path.stat().st_size + CHUNK


def test_the_dictionary_of_xz_is_limited(tmp_path):
    path = tmp_path / "x.jsonl.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**26}]
    path.write_bytes(lzma.compress(b'{"text": "a"}\n', filters=filters))
    got = read(path, limits=Limits(window_bytes_max=2**20))
    assert got["good"] == []
    assert "more memory than input.window_bytes_max = 1048576" in got["damage"][0][2]
    assert len(read(path, limits=Limits(window_bytes_max=2**26))["good"]) == 1


def test_a_window_over_the_limit_says_what_to_raise():
    got = read(NASTY / "long31.jsonl.zst")
    assert got["good"] == []
    assert "input.window_bytes_max" in got["damage"][0][2]
    assert len(read(NASTY / "long31.jsonl.zst", limits=Limits(window_bytes_max=2**31))["good"]) == 6


def test_expansion_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(Limits, "stream_bytes_max", lambda self, n: self.expansion_max * n)
    path = tmp_path / "bomb.zst"
    path.write_bytes(frame(b'{"text": "a"}\n' * 100_000))
    got = read(path, limits=Limits(expansion_max=10))
    assert "input.expansion_max" in got["damage"][0][2]
    assert got["stream"] <= 10 * path.stat().st_size + CHUNK
    assert read(path, limits=Limits(expansion_max=10**6))["damage"] == []


def test_expansion_is_limited_inside_a_line_that_is_too_long(tmp_path, monkeypatch):
    monkeypatch.setattr(Limits, "stream_bytes_max", lambda self, n: self.expansion_max * n)
    path = tmp_path / "bomb.zst"
    path.write_bytes(frame(b'{"text": "good"}\n' + b"x" * 20_000_000))
    got = read(path, 1000, Limits(expansion_max=1000, line_bytes_max=200_000))
    assert len(got["good"]) == 1
    assert "input.expansion_max" in got["damage"][0][2]
    assert got["stream"] <= 1000 * path.stat().st_size + CHUNK


def test_a_file_system_that_gives_less_than_was_asked_for(tmp_path, monkeypatch):
    """A short read is not the end of the file."""
    rows = b"".join(b'{"text": "%d"}\n' % i for i in range(3000))
    shards = {
        "x.zst": frame(rows[:20_000]) + skippable(9) + frame(rows[20_000:]),
        "x.gz": gzip.compress(rows),
        "x.bz2": bz2.compress(rows),
        "x.xz": lzma.compress(rows),
        "x": rows,
    }
    real = os.pread
    for name, raw in shards.items():
        (tmp_path / name).write_bytes(raw)
        whole = read(tmp_path / name)
        with monkeypatch.context() as patch:
            patch.setattr("gpu_pile.corpus.files.os.pread", lambda f, n, at: real(f, min(n, 1 + n // 3), at))
            assert read(tmp_path / name) == whole
        assert len(whole["good"]) == 3000


@pytest.mark.parametrize("block_bytes", [100, 1000, 60_000])
def test_lines_over_the_limit_are_bad_lines_wherever_they_are(tmp_path, block_bytes):
    rng = random.Random(1)
    for _ in range(25):
        sizes = [rng.choice([1, 10, 150_000, 190_000, 200_000, 300_000, 400_000]) for _ in range(rng.randrange(1, 9))]
        rows = [b'{"text": "%s"}' % (b"x" * n) for n in sizes]
        path = tmp_path / "x.zst"
        whole = b"\n".join(rows) + b"\n" * rng.randrange(2)
        path.write_bytes(frame(whole, level=1))
        got = read(path, block_bytes, Limits(line_bytes_max=200_000))
        assert [g[0] for g in got["good"]] == [i + 1 for i, r in enumerate(rows) if len(r) <= 200_000]
        assert [g[2] for g in got["good"]] == [r for r in rows if len(r) <= 200_000]
        assert all(whole[start:].startswith(raw) for _, start, raw, _, _ in got["good"])
        assert got["bad"] == [i + 1 for i, r in enumerate(rows) if len(r) > 200_000]
        assert (got["lines"], got["stream"]) == (len(rows), len(whole))


def test_memory_is_bounded_without_any_newline(tmp_path):
    path = tmp_path / "x.zst"
    with path.open("wb") as f, zstandard.ZstdCompressor(level=1).stream_writer(f) as w:
        for _ in range(300):
            w.write(b"x" * (1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    got = read(path, 1 << 20, Limits(line_bytes_max=4 << 20))
    assert (got["good"], got["bad"], got["stream"]) == ([], [1], 300 << 20)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_a_limit_below_the_block_is_a_usage_error():
    with pytest.raises(UsageError, match="too small for batch_bytes"):
        ShardReader(NASTY / "plain.jsonl", block_bytes=1 << 20, limits=Limits(line_bytes_max=1 << 20))


def test_finding_shards(tmp_path):
    names = ["b.jsonl.zst", "a.jsonl", "sub/c.jsonl.gz", "sub/deep/d.jsonl.zstd", "notes.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    everything = find_shards(["."], tmp_path)
    assert [(s.index, s.name) for s in everything] == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]
    assert find_shards(["**/*.jsonl*"], tmp_path) == everything
    assert find_shards(["sub/deep", "sub/*.gz", tmp_path / "a.jsonl", ".", "b.*"], tmp_path) == everything
    assert [s.name for s in find_shards(["notes.txt"], tmp_path)] == ["notes"]
    (tmp_path / "b.jsonl").write_text("{}")
    with pytest.raises(UsageError) as caught:
        find_shards(["**/b.*", "nothing*", "sub/deep/none"], tmp_path)
    for part in ("two inputs have the name 'b'", "nothing* names no file", "sub/deep/none names no file"):
        assert part in str(caught.value)


def test_files_of_one_name_in_several_folders(tmp_path):
    names = ["train/en/00.json.gz", "train/de/00.json.gz", "test/en/00.json.gz", "train/01.ndjson.xz", "00.json.bz2"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = {s.name: s.path.relative_to(tmp_path).as_posix() for s in find_shards([tmp_path], tmp_path)}
    assert found == {
        "01": "train/01.ndjson.xz",
        "de-00": "train/de/00.json.gz",
        "train-en-00": "train/en/00.json.gz",
        "test-en-00": "test/en/00.json.gz",
        f"{tmp_path.name}-00": "00.json.bz2",
    }


def test_a_folder_holds_more_than_shards(tmp_path):
    for name in [
        "a.jsonl",
        "b.json.gz",
        "STATS.json",
        "dataset_info.json",
        "_SUCCESS.jsonl",
        ".hidden.jsonl",
        ".cache/b.jsonl",
        "c.txt",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert [s.name for s in find_shards([tmp_path], tmp_path)] == ["a", "b"]
    for name in ("a.jsonl", "b.json.gz"):
        (tmp_path / name).unlink()
    assert [s.name for s in find_shards([tmp_path], tmp_path)] == ["STATS", "dataset_info"], "there is nothing else"
    for name in ("STATS.json", "dataset_info.json"):
        (tmp_path / name).unlink()
    with pytest.raises(UsageError, match=r"holds no file named \*\.jsonl or \*\.json"):
        find_shards([tmp_path], tmp_path)


def test_the_results_of_a_run_are_no_input(tmp_path):
    for name in ["data/a.jsonl", "data/out/kept/a.jsonl.zst", "data/out/.claim.json", "data/outer/b.jsonl"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert [s.name for s in find_shards([tmp_path / "data"], tmp_path)] == ["a", "b"]
    assert [s.name for s in find_shards([tmp_path / "data/out/kept"], tmp_path)] == ["a"]


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text("{}")
    monkeypatch.setattr("gpu_pile.corpus.shards.os.access", lambda *_: False)
    with pytest.raises(DataError, match=r"may not read .*a\.jsonl"):
        find_shards(["a.jsonl"], tmp_path)


# writing


def write_lines(path, chunks):
    sink = ZstdFrames(path, Compression())
    sink.open()
    try:
        for chunk in chunks:
            sink.write(chunk)
        sink.commit()
    except BaseException:
        sink.discard()
        raise


def test_a_written_shard_is_one_frame(tmp_path):
    for chunks in ([], [b"a\n"], [b"x" * 300_000, b"\n", b"y\n"] * 3):
        write_lines(tmp_path / "k.zst", chunks)
        one = zstandard.ZstdDecompressor().decompressobj()
        raw = (tmp_path / "k.zst").read_bytes()
        assert one.decompress(raw) == b"".join(chunks)
        assert one.eof
        assert not one.unused_data
        assert zstandard.get_frame_parameters(raw).has_checksum


@pytest.mark.parametrize("sink", FORMATS)
def test_writing_in_other_portions_gives_the_same_bytes(tmp_path, sink):
    data = random.Random(3).randbytes(50_000) * 8
    for name, step in (("a", 1 << 20), ("b", 777), ("c", 131_073)):
        shard = sink(tmp_path / name, Compression())
        shard.open()
        for i in range(0, len(data), step):
            shard.write(data[i : i + step])
        assert not (tmp_path / name).exists()
        shard.commit()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("where", ["write", "close"])
def test_a_full_disk_leaves_nothing(tmp_path, where, monkeypatch):
    class Full:
        def write(self, _):
            if where == "write":
                raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ZstdFrames, "writer", lambda self, file: Full())
    with pytest.raises(DataError, match="disk is full"):
        write_lines(tmp_path / "k.zst", [b"x"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sink", FORMATS)
def test_a_discarded_shard_leaves_nothing(tmp_path, sink):
    shard = sink(tmp_path / "deep" / "k", Compression())
    shard.discard()
    shard.open()
    shard.write(b"x\n")
    shard.discard()
    shard.discard()
    assert list((tmp_path / "deep").iterdir()) == []


def test_copy_spans():
    data = np.frombuffer(b"one\ntwo\r\nthree", np.uint8)
    target = np.zeros(100, np.uint8)
    n = copy_spans(data, np.array([0, 4, 9]), np.array([3, 4, 5]), target)
    assert bytes(target[:n]) == b"one\ntwo\r\nthree\n"
