"""Whole frames of which all lines are kept are copied; everything else is compressed; the lines are always the same."""

import itertools
import json
import random

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from gpu_pile.corpus import reader
from gpu_pile.corpus.sinks import ZstdFrames
from gpu_pile.run.stages.measure import merge
from tests.conftest import run, settings
from tests.test_shards import frame, skippable

NO_DUPLICATES = {"exact": {"enabled": False}, "fuzzy": {"enabled": False}}
KEPT, REMOVED = "one two three four five", "no"
"""Texts, by the threshold below."""


@pytest.fixture(autouse=True)
def seek_points_everywhere(monkeypatch):
    for module in (reader, merge):
        monkeypatch.setattr(module, "SEEK_SPACING", 1)


def line(text: str, n: int) -> bytes:
    return json.dumps({"text": text, "n": n}).encode() + b"\n"


def chosen(folder, name, range_bytes=1 << 30, **write):
    return settings(
        [folder / "in"],
        folder / name,
        measure={"signals": ["lengths", "gopher_quality"]},
        dedupe=NO_DUPLICATES,
        thresholds={"default": {"plain_word_count": {"min": 3}}},
        write={"removed": True, **write},
        input={"range_bytes": range_bytes},
        workers=1,
        spool_bytes=0 if name.endswith("read") else 2**20,
    )


def frames_of(raw: bytes) -> list[bytes]:
    """The frames of a file that have content, each as it is."""
    found = []
    while raw:
        decompressor = zstandard.ZstdDecompressor().decompressobj()
        content = decompressor.decompress(raw)
        rest = decompressor.unused_data
        found += [raw[: len(raw) - len(rest)]] if content else []
        raw = rest
    return found


def lines_of(path) -> list[bytes]:
    return list(ZstdFrames.lines(path))


def write_in(folder, raw: bytes) -> None:
    (folder / "in").mkdir()
    (folder / "in" / "x.jsonl.zst").write_bytes(raw)


def test_frames_of_kept_lines_leave_as_they_came(tmp_path):
    texts = [KEPT] * 20 + [REMOVED] * 20 + [KEPT] * 9 + [REMOVED] + [KEPT] * 30
    lines = [line(text, i) for i, text in enumerate(texts)]
    frames = [frame(b"".join(lines[i : i + 10]), level=19) for i in range(0, 80, 10)]
    write_in(tmp_path, b"".join(frames))
    for name in ("spooled", "read"):
        run(chosen(tmp_path, name))
        kept = frames_of((tmp_path / name / "kept" / "x.jsonl.zst").read_bytes())
        assert kept[:2] == frames[:2]
        assert kept[-3:] == frames[-3:]
        assert len(kept) == 6
        removed = frames_of((tmp_path / name / "removed" / "x.jsonl.zst").read_bytes())
        assert frames[2] in removed
        assert frames[3] in removed
    run(chosen(tmp_path, "again", copy_frames=False))
    for folder in ("kept", "removed"):
        written = [lines_of(tmp_path / name / folder / "x.jsonl.zst") for name in ("spooled", "read", "again")]
        assert written[0] == written[1] == written[2]
    assert not set(frames) & set(frames_of((tmp_path / "again" / "kept" / "x.jsonl.zst").read_bytes()))


def test_a_shard_of_one_frame_is_copied_if_all_is_kept(tmp_path):
    raw = frame(b"".join(line(KEPT, i) for i in range(200)), level=19)
    write_in(tmp_path, raw)
    run(chosen(tmp_path, "read"))
    assert (tmp_path / "read" / "kept" / "x.jsonl.zst").read_bytes() == raw
    assert lines_of(tmp_path / "read" / "removed" / "x.jsonl.zst") == []


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (frame(line(KEPT, 1) + b"{\n"), "a bad line is not kept"),
        (frame(line(KEPT, 1) + b"\n"), "nor is a blank one"),
        (frame(line(KEPT, 1)[:-1]), "each kept line has its line feed"),
        (frame(b"\xef\xbb\xbf" + line(KEPT, 1)), "a byte order mark is not part of a line"),
        (frame(line(KEPT, 1)) + b"garbage", "what a damaged file has is not known"),
    ],
)
def test_frames_that_are_more_than_kept_lines_are_not_copied(tmp_path, raw, why):
    write_in(tmp_path, raw)
    run(chosen(tmp_path, "read"))
    kept = tmp_path / "read" / "kept" / "x.jsonl.zst"
    assert lines_of(kept) == [line(KEPT, 1)[:-1]], why
    assert kept.read_bytes() != raw


def test_a_window_that_decoders_refuse_is_not_copied(tmp_path):
    parameters = zstandard.ZstdCompressionParameters(window_log=28)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    raw = compressor.compress(line(KEPT, 1)) + compressor.flush()
    write_in(tmp_path, raw)
    configuration = chosen(tmp_path, "read")
    large = configuration.input.model_copy(update={"window_bytes_max": 2**28})
    run(configuration.model_copy(update={"input": large}))
    assert lines_of(tmp_path / "read" / "kept" / "x.jsonl.zst") == [line(KEPT, 1)[:-1]]


def test_frame_bytes_cuts_the_lines_into_frames(tmp_path):
    lines = [line(KEPT if i % 3 else REMOVED, i) for i in range(300)]
    write_in(tmp_path, frame(b"".join(lines)))
    found = []
    for name, batch_bytes in (("spooled", 1000), ("read", 3000)):
        configuration = chosen(tmp_path, name, frame_bytes=500, level=1)
        run(configuration.model_copy(update={"batch_bytes": batch_bytes}))
        found.append((tmp_path / name / "kept" / "x.jsonl.zst").read_bytes())
    assert found[0] == found[1]
    contents = [zstandard.decompress(f) for f in frames_of(found[0])]
    assert b"".join(contents) == b"".join(one for i, one in enumerate(lines) if i % 3)
    assert all(500 <= len(c) < 600 for c in contents[:-1])


@pytest.mark.slow
@examples(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_any_frames_give_the_same_lines(tmp_path_factory, seed, aligned):
    """Frames cut anywhere or between lines, empty ones and skippable ones, in ranges or not."""
    folder, rng = tmp_path_factory.mktemp("frames"), random.Random(seed)
    runs = [(rng.choice([KEPT, KEPT, REMOVED]), rng.randrange(1, 12)) for _ in range(rng.randrange(1, 12))]
    texts = [text for text, n in runs for _ in range(n)]
    lines = [line(text, i) for i, text in enumerate(texts)]
    stream = b"".join(lines)
    ends = np.cumsum([len(x) for x in lines]).tolist() if aligned else range(len(stream))
    cuts = sorted(rng.choices(ends, k=rng.randrange(8)))
    raw = b"".join(
        frame(stream[a:b], write_checksum=rng.random() < 0.5) + rng.choice([b"", b"", skippable(5), frame(b"")])
        for a, b in itertools.pairwise([0, *cuts, len(stream)])
    )
    write_in(folder, raw)
    for name in ("spooled", "read"):
        run(chosen(folder, name, range_bytes=300), "write")
        kept = [x[:-1] for x, text in zip(lines, texts, strict=True) if text is KEPT]
        removed = [x[:-1] for x, text in zip(lines, texts, strict=True) if text is REMOVED]
        assert lines_of(folder / name / "kept" / "x.jsonl.zst") == kept
        assert lines_of(folder / name / "removed" / "x.jsonl.zst") == removed
