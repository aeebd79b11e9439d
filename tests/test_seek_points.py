"""Seek points: a shard of one zstd frame is read from the middle, and what is read is what was read first."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.corpus import ranges, seek_index, seek_points
from gpu_pile.corpus.identity import HashedFile
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.reader import ShardReader
from gpu_pile.corpus.seek_index import IndexedDecoder, SeekIndex, write_index
from gpu_pile.errors import DataError
from gpu_pile.explore.run import open_run
from gpu_pile.run import documents
from gpu_pile.run.directory import RunDir
from gpu_pile.run.stages.measure import read as measuring
from tests.conftest import DEMO, results, run
from tests.conftest import settings as configuration

SPACING, STEP = 2**20, 2**16
SHORT = {"window_log": 18}
ENCODERS = {
    "one thread": {"level": 3},
    "threads": {"compression_params": zstandard.ZstdCompressionParameters.from_level(3, threads=2, job_size=2**20)},
    "level 1": {"level": 1},
    "level 5": {"compression_params": zstandard.ZstdCompressionParameters.from_level(5, **SHORT)},
    "checksum": {"compression_params": zstandard.ZstdCompressionParameters.from_level(3, write_checksum=1, **SHORT)},
}


def natural(n_bytes, seed=0):
    """The lines of the demo corpus again and again, less some of their words."""
    rng = np.random.default_rng(seed)
    decompress = zstandard.ZstdDecompressor().stream_reader
    lines = b"".join(decompress(path.read_bytes()).read() for path in sorted(DEMO.glob("*.zst"))).splitlines()
    out, n = [], 0
    while n < n_bytes:
        line = json.loads(lines[rng.integers(len(lines))])
        words = np.array(line["text"].split(" "))
        out.append(json.dumps({**line, "text": " ".join(words[rng.random(len(words)) < 0.9])}).encode())
        n += len(out[-1]) + 1
    return b"\n".join(out) + b"\n"


TEXT = natural(9 * 2**20)


def compressed(path, text=TEXT, **options):
    encoder = zstandard.ZstdCompressor(**options).compressobj()
    path.write_bytes(encoder.compress(text) + encoder.flush())
    return path


def joined(reader):
    return b"".join(block.data[: block.n_bytes].tobytes() for block in reader)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(seek_points, "SPACING", SPACING)
    monkeypatch.setattr(seek_points, "JOB", SPACING)
    monkeypatch.setattr(seek_points, "TRIED_BYTES", SPACING // 4)
    monkeypatch.setattr(seek_points, "TRIES", 4)
    for module in (seek_index, seek_points, ranges, documents):
        monkeypatch.setattr(module, "STEP", STEP)


def indexed(path, text=TEXT):
    """Read a shard from its beginning; return its index."""
    reader = ShardReader(path, block_bytes=2**20)
    reader.search()
    assert joined(reader) == text
    assert not reader.damages
    points, digests = reader.points()
    index = path.with_name(path.name + ".seek.parquet")
    write_index(index, points, digests, path.stat().st_size)
    return SeekIndex.read(index)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seek")
    return {name: compressed(folder / f"{name}.jsonl.zst", **options) for name, options in ENCODERS.items()}


BEGIN = IndexedDecoder._begin


def only_at(expected):
    """IndexedDecoder._begin, which may begin at one point only."""

    def checked(decoder, number):
        assert number == expected, "what is read from a point is right"
        BEGIN(decoder, number)

    return checked


@pytest.mark.parametrize("name", ENCODERS)
def test_every_part_of_a_frame_is_read_from_a_point(shards, name, monkeypatch):
    index = indexed(shards[name])
    assert len(index.points) >= 3
    starts = [seek_points.first_step(p) * STEP for p in index.points[:, 1].tolist()]
    for start in [*starts, len(TEXT) - 1, len(TEXT)]:
        monkeypatch.setattr(IndexedDecoder, "_begin", only_at(index.point_before(start // STEP)))
        reader = ShardReader(shards[name], block_bytes=2**20, index=index, start=(0, start))
        assert joined(reader) == TEXT[start:]
        assert not reader.damages


def tampered(index, **changes):
    """The index with other values in the columns of its last point."""
    table = pq.read_table(index.path)
    rows = table.to_pylist()
    rows[-1] |= changes
    with pq.ParquetWriter(index.path, table.schema) as writer:
        for row in rows:
            writer.write_table(pa.Table.from_pylist([row], schema=table.schema))
    return SeekIndex.read(index.path)


def wrong_text(index):
    return {"before": index.row(len(index.points) - 1)[0].before[::-1]}


@pytest.mark.parametrize(
    "change",
    [
        wrong_text,
        lambda index: {"before": b""},
        lambda index: {"offset": int(index.points[-1][0]) + 1},
        lambda index: {"frame_end": int(index.points[-1][0]) + 1000},
        lambda index: {"window": 1024},
    ],
)
def test_a_point_that_is_wrong_costs_time_and_nothing_else(shards, change):
    index = indexed(shards["threads"])
    start = seek_points.first_step(int(index.points[-1][1])) * STEP + 5
    wrong = tampered(index, **change(index))
    reader = ShardReader(shards["threads"], block_bytes=2**20, index=wrong, start=(0, start))
    assert joined(reader) == TEXT[start:]
    assert not reader.damages


def test_a_file_that_has_changed_is_never_read_as_if_it_had_not(tmp_path):
    path = compressed(tmp_path / "a.jsonl.zst", **ENCODERS["checksum"])
    index = indexed(path)
    other = bytearray(TEXT)
    other[8 * 2**20] ^= 1
    compressed(path, bytes(other), **ENCODERS["checksum"])
    reader = ShardReader(path, block_bytes=2**20, index=index)
    assert TEXT.startswith(joined(reader))
    assert [d.reason for d in reader.damages] == [seek_index.DIFFERS]


def test_frames_after_one_that_is_read_from_a_point(tmp_path):
    path = tmp_path / "a.jsonl.zst"
    head, middle = TEXT[: 2**20], TEXT[2**20 : 6 * 2**20]
    frames = [compressed(tmp_path / "x", part, **ENCODERS["checksum"]).read_bytes() for part in (head, middle, head)]
    path.write_bytes(b"".join(frames))
    index = indexed(path, head + middle + head)
    assert len(index.points) >= 3
    for position in index.points[1:, 1].tolist():
        start = seek_points.first_step(position) * STEP
        assert (
            joined(ShardReader(path, block_bytes=2**20, index=index, start=(0, start)))
            == (head + middle + head)[start:]
        )


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(TEXT) // STEP), max_size=4, unique=True))
def test_ranges_at_points_have_each_line_once(shards, cuts):
    path = shards["level 1"]
    index = indexed(path)
    starts = [0, *(cut * STEP for cut in sorted(cuts) if cut)]
    ends, found = [*starts[1:], len(TEXT)], []
    for i, (start, stop) in enumerate(zip(starts, ends, strict=True)):
        own = ShardRange(i, len(starts), 0, path.stat().st_size, start, stop)
        if len(starts) > 1:
            reader = ShardReader(path, block_bytes=2**20, index=index, shard_range=own)
            found.append(joined(reader))
            assert not reader.damages
    assert b"".join(found) == (TEXT if found else b"")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not an index at all", None])
def test_a_file_that_is_no_index(tmp_path, content):
    path = tmp_path / "index.parquet"
    if content is None:
        pq.write_table(pa.table({"offset": [0]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match="index"):
        SeekIndex.read(path)


# in a run


LINES = TEXT.splitlines(keepends=True)


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Two shards of one frame each, which share a part; with a bad line, and a point in every MiB or so."""
    monkeypatch.setattr(measuring, "SEARCHED_BYTES_MIN", 0)
    half = len(LINES) // 2
    (tmp_path / "in").mkdir()
    compressed(tmp_path / "in" / "a.jsonl.zst", b"".join(LINES), **ENCODERS["level 1"])
    compressed(tmp_path / "in" / "b.jsonl.zst", b"{}\n" + b"".join(LINES[half:]), **ENCODERS["checksum"])
    return tmp_path


def chosen(folder, name, *, points=True, **more):
    given = {"input": {"range_bytes": 2**18, "seek_points": points}, "workers": 2, "write": {"removed": True}}
    return configuration([folder / "in"], folder / name, **{**given, **more})


def lines_of(folder):
    """The kept and the removed lines of each shard."""
    shards = sorted([*folder.glob("kept/*.zst"), *folder.glob("removed/*.zst")])
    return {p.relative_to(folder).as_posix(): joined(ShardReader(p)) for p in shards}


def tables(folder):
    found = results(folder)
    return {name: found[name] for name in found if not name.startswith(("kept/", "removed/", "seek/"))}


@pytest.mark.slow
def test_a_run_splits_shards_of_one_frame_at_seek_points(corpus, monkeypatch):
    run(chosen(corpus, "plain", points=False, spool_bytes=0))
    assert not (corpus / "plain" / "seek").exists()
    run(chosen(corpus, "split", spool_bytes=0))
    state = RunDir(corpus / "split").state("measure", "a")
    assert len(state["ranges"]) > 2
    assert sum(r["documents"] for r in state["ranges"]) == state["documents"]
    assert tables(corpus / "split") == tables(corpus / "plain")
    assert lines_of(corpus / "split") == lines_of(corpus / "plain")
    everything = {"spooled": {}, "one worker": {"workers": 1, "spool_bytes": 0, "batch_bytes": 300_000}}
    for name, more in everything.items():
        run(chosen(corpus, name, **more))
        assert results(corpus / name) == results(corpus / "split")

    opened = open_run(corpus / "split")
    last = opened.doc_id(f"b:{RunDir(corpus / 'split').state('measure', 'b')['lines']}")
    read = []
    real = HashedFile.read_at
    monkeypatch.setattr(HashedFile, "read_at", lambda self, start, n: read.append(real(self, start, n)) or read[-1])
    place = documents.locate(opened.context, [last])[last]
    assert documents.read_texts(opened.context, [place]) == {last: json.loads(LINES[-1])["text"]}
    assert sum(map(len, read)) < (corpus / "in" / "b.jsonl.zst").stat().st_size / 2


@pytest.mark.slow
def test_a_lost_index_costs_time_and_nothing_else(corpus):
    run(chosen(corpus, "split", spool_bytes=0))
    want = results(corpus / "split")
    for path in (corpus / "split" / "seek").glob("*"):
        path.unlink()
    for folder in ("kept", "removed"):
        shutil.rmtree(corpus / "split" / folder)
    run(chosen(corpus, "split", spool_bytes=0))
    assert results(corpus / "split") == {name: want[name] for name in want if not name.startswith("seek/")}


def test_a_shard_of_which_all_is_kept_leaves_as_it_came(corpus):
    off = {"exact": {"enabled": False}, "fuzzy": {"enabled": False}}
    run(chosen(corpus, "all", dedupe=off, write={}))
    assert (corpus / "all" / "kept" / "a.jsonl.zst").read_bytes() == (corpus / "in" / "a.jsonl.zst").read_bytes()
