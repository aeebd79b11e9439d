"""write.keep: bitmap marks the lines that write.keep: lines writes."""

import gzip
import hashlib
import io
import itertools
import json

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import gpu_pile as gp
from gpu_pile.corpus.bitmap import kept_lines, read_bitmap, write_bitmap
from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.sinks import ZstdFrames
from gpu_pile.errors import ConfigError, DataError, UsageError
from gpu_pile.explore.verify import verify
from tests.conftest import run, settings


def corpus(folder) -> None:
    texts = [" ".join(hashlib.sha1(b"%d" % (10 * i + k)).hexdigest()[:5] for k in range(9)) for i in range(120)]
    lines, *others = [[json.dumps({"text": t}).encode() for t in texts[i : i + 40]] for i in (0, 40, 80)]
    lines[7:7] = [b"", b"{", lines[3], lines[4], b"  "]
    (folder / "in").mkdir()
    (folder / "in" / "a.jsonl.zst").write_bytes(zstandard.compress(b"\n".join(lines)))
    (folder / "in" / "b.jsonl.gz").write_bytes(
        gzip.compress(b"\xef\xbb\xbf" + b"\n".join([*others[0], lines[0]]) + b"\n")
    )
    cut = [b"\n".join(others[1][i : i + 9]) + b"\n" for i in range(0, 40, 9)]
    (folder / "in" / "c.jsonl.zst").write_bytes(b"".join(map(zstandard.compress, cut)))


def chosen(folder, name, **more):
    return settings([folder / "in"], folder / name, input={"range_bytes": 100}, **more)


def test_the_lines_of_a_bitmap_are_those_that_would_be_written(tmp_path):
    corpus(tmp_path)
    run(chosen(tmp_path, "lines"))
    run(chosen(tmp_path, "bits", write={"keep": "bitmap"}, batch_bytes=300))
    assert sorted(p.name for p in (tmp_path / "bits" / "kept").iterdir()) == ["a.npy", "b.npy", "c.npy"]
    opened = gp.open_run(tmp_path / "bits")
    for name in "abc":
        kept = list(ZstdFrames.lines(tmp_path / "lines" / "kept" / f"{name}.jsonl.zst"))
        assert kept
        assert [line.removeprefix(b"\xef\xbb\xbf") for line in opened.kept_lines(name)] == kept
    keep = np.unpackbits(np.load(tmp_path / "bits" / "kept" / "a.npy"), bitorder="little")
    raw = zstandard.ZstdDecompressor().stream_reader((tmp_path / "in" / "a.jsonl.zst").read_bytes())
    plain = [line.rstrip(b"\n") for line in itertools.compress(io.BufferedReader(raw), keep)]
    assert plain == list(opened.kept_lines("a"))
    assert all(not check.failed for check in verify(tmp_path / "bits"))
    with pytest.raises(UsageError, match="the run has no shard 'd'; its shards are a, b, c"):
        opened.kept_lines("d")


def test_the_other_form_is_removed(tmp_path):
    corpus(tmp_path)
    for keep, suffix in (("lines", ".zst"), ("bitmap", ".npy"), ("lines", ".zst")):
        run(chosen(tmp_path, "run", write={"keep": keep}))
        assert {p.suffix for p in (tmp_path / "run" / "kept").iterdir()} == {suffix}


def test_a_bitmap_that_is_wrong_is_noticed(tmp_path):
    corpus(tmp_path)
    run(chosen(tmp_path, "run", write={"keep": "bitmap"}))
    path = tmp_path / "run" / "kept" / "a.npy"
    bits = np.load(path)
    bits[1] ^= 4
    np.save(path, bits)
    assert [c.name for c in verify(tmp_path / "run") if c.failed] == ["kept lines"]
    path.write_bytes(b"not an array")
    with pytest.raises(DataError, match=r"cannot read .*a\.npy: .*run: gpu-pile write"):
        gp.open_run(tmp_path / "run").kept_lines("a")
    (tmp_path / "in" / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "another shard"}\n'))
    with pytest.raises(DataError, match="changed"):
        gp.open_run(tmp_path / "run").kept_lines("b")


def test_what_a_bitmap_cannot_hold(tmp_path):
    with pytest.raises(ConfigError, match="removed needs keep: lines"):
        settings(["x"], tmp_path, write={"keep": "bitmap", "removed": True})
    with pytest.raises(ConfigError, match=r"edit\.c4_lines changes lines"):
        settings(["x"], tmp_path, write={"keep": "bitmap"}, edit={"c4_lines": ["all"]}, measure={"signals": ["c4"]})


@given(st.lists(st.tuples(st.binary(max_size=5), st.booleans()), max_size=40), st.integers(1, 9))
def test_any_lines(tmp_path_factory, rows, per_block):
    folder = tmp_path_factory.mktemp("bitmap")
    lines = [line.replace(b"\n", b"?") for line, _ in rows]
    kept = np.array([i + 1 for i, (_, stays) in enumerate(rows) if stays], np.int64)
    write_bitmap(folder / "x.npy", kept, len(rows)).commit()
    keep = read_bitmap(folder / "x.npy")
    assert np.flatnonzero(keep).tolist() == (kept - 1).tolist()
    blocks = []
    for first in range(0, len(lines), per_block):
        data = b"".join(line + b"\n" for line in lines[first : first + per_block])
        blocks.append(Block(np.frombuffer(data + bytes(32), np.uint8), len(data), first, 0))
    assert list(kept_lines(blocks, keep)) == [lines[i - 1] for i in kept]
    if len(kept):
        with pytest.raises(DataError, match="it has changed since the run"):
            list(kept_lines(blocks[: (kept[-1] - 1) // per_block], keep))
