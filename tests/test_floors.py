"""Floors: what a stage cannot avoid, timed on a sample of the shards."""

import bz2
import gzip
import json

import pytest
import zstandard

from gpu_pile.corpus.line_format import LineFormat
from gpu_pile.corpus.shards import find_shards
from gpu_pile.errors import DataError
from gpu_pile.run import floors
from tests.conftest import run, settings
from tests.test_cli import invoke

FORMAT = LineFormat("text", "meta.pile_set_name")


def lines(n: int) -> bytes:
    return b"".join(json.dumps({"text": f"line {i} of some text", "meta": {}}).encode() + b"\n" for i in range(n))


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(lines(500))
    (folder / "b.jsonl.zst").write_bytes(zstandard.compress(lines(2000)))
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(lines(1000)))
    (folder / "d.jsonl.bz2").write_bytes(bz2.compress(lines(1000)))
    return folder


def test_each_format_and_level_of_the_users_own_shards(shards):
    samples = floors.take_samples(find_shards([shards], shards), 10**6)
    assert [s.format for s in samples] == ["plain", "zstd", "gzip", "bzip2"]
    assert b"".join(block.tobytes() for block in samples[1].blocks()) == lines(2000)
    found = floors.measure_floors(samples, FORMAT, [1, 3])
    decompressed = {f.how: f for f in found if f.what == "decompress"}
    assert {how: f.n_bytes for how, f in decompressed.items()} == {
        "bzip2": len(lines(1000)),
        "gzip": len(lines(1000)),
        "plain": len(lines(500)),
        "zstd": len(lines(2000)),
    }
    assert decompressed["plain"].ratio == 1
    assert decompressed["zstd"].ratio == len(lines(2000)) / (shards / "b.jsonl.zst").stat().st_size
    others = [(f.what, f.how) for f in found if f.what != "decompress"]
    assert others == [("line feeds", ""), ("fields", ""), ("copy", ""), ("compress", "zstd 1"), ("compress", "zstd 3")]
    assert all(f.seconds > 0 for f in found)


def test_a_sample_is_bounded_and_of_whole_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(floors, "CHUNK", 1000)
    monkeypatch.setattr(floors, "BLOCK_BYTES", 500)
    for i in range(20):
        (tmp_path / f"{i:02}.jsonl").write_bytes(lines(1000))
    samples = floors.take_samples(find_shards([tmp_path], tmp_path), 20_000)
    assert 4 <= len(samples) <= floors.SHARDS_MAX
    assert 20_000 <= sum(s.n_bytes for s in samples) < 20_000 + 1000 * len(samples)
    for sample in samples:
        blocks = sample.blocks()
        assert len(blocks) > 3
        whole = b"".join(block.tobytes() for block in blocks)
        assert lines(1000).startswith(whole)
        assert all(block.tobytes().endswith(b"\n") for block in blocks)


def test_shards_without_anything_to_time(shards, tmp_path):
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "damaged.jsonl.zst").write_bytes(zstandard.compress(lines(9))[:9])
    assert floors.take_samples(find_shards([tmp_path / "*.jsonl*"], tmp_path), 1000) == []
    assert floors.take_samples([], 1000) == []
    with pytest.raises(DataError, match="no line of it has the field 'body'"):
        floors.measure_floors(
            floors.take_samples(find_shards([shards], shards), 1000), FORMAT._replace(text_field="body"), [3]
        )
    with pytest.raises(DataError, match="the sample has no text"):
        floors.measure_floors([], FORMAT, [3])


def test_the_command(shards):
    code, output, _ = invoke("bench", "floors", shards, "--mb", 1)
    assert code == 0
    assert [line.split()[:2] for line in output.splitlines() if "decompress" in line] == [
        ["decompress", name] for name in ("bzip2", "gzip", "plain", "zstd")
    ]
    code, output, _ = invoke("bench", "floors", shards, "--json")
    assert {"what", "how", "n_bytes", "seconds", "ratio", "bytes_per_second"} == set(json.loads(output.splitlines()[0]))


def test_stages_are_compared_with_their_floors(shards, tmp_path, monkeypatch):
    """With times that are made up; half of the first block was compressed."""

    def fixed(samples, line_format, levels):
        n = sum(len(block) for sample in samples for block in sample.blocks())
        whole = (("decompress", 1.0), ("line feeds", 0.5), ("fields", 0.25), ("copy", 9.0))
        return [
            *(floors.Floor(what, "", n, seconds) for what, seconds in whole),
            floors.Floor("compress", "", n // 2, 2.0),
        ]

    monkeypatch.setattr(floors, "STAGE_BYTES_MIN", 1)
    monkeypatch.setattr(floors, "measure_floors", fixed)
    configuration = settings([shards], tmp_path / "run", thresholds={"default": {"word_count": {"min": 3}}})
    run(configuration)
    timings = json.loads((tmp_path / "run" / "timings.json").read_text())
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    kept = report["kept_documents"] / report["documents"]
    assert 0 < kept < 1
    assert timings["measure"]["floor_seconds"] == pytest.approx(1.75, abs=0.001)
    assert timings["write"]["floor_seconds"] == pytest.approx(4 * kept, abs=0.01)
    for stage in ("measure", "write"):
        entry = timings[stage]
        own = entry["cpu_seconds"] - entry["compile_seconds"]
        assert entry["of_floor"] == pytest.approx(entry["floor_seconds"] / own, rel=0.01)
    shown = f"{100 * timings['measure']['of_floor']:.0f} %"
    assert shown in (tmp_path / "run" / "report.html").read_text()
    assert "of_floor" not in timings["decide"]
    assert "of_floor" not in run(configuration).reporter.stages["measure"], "nothing was done"


def test_a_run_does_not_fail_by_its_floors(shards, tmp_path, monkeypatch):
    def gone(*_):
        raise OSError("the shard is gone")

    monkeypatch.setattr(floors, "STAGE_BYTES_MIN", 1)
    monkeypatch.setattr(floors, "take_samples", gone)
    run(settings([shards], tmp_path / "run"))
    assert "of_floor" not in json.loads((tmp_path / "run" / "timings.json").read_text())["measure"]
