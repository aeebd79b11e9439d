"""Shared by all tests: the demo corpus, small corpora made on the spot, runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard

from gpu_pile.run import config, pipeline

HERE = Path(__file__).parent
DEMO = HERE / "data" / "corpus"


def write_shard(path: Path, documents: list[tuple[str, str] | bytes]) -> None:
    """A shard of (text, subset) documents, or of raw lines."""
    lines = [
        d if isinstance(d, bytes) else json.dumps({"text": d[0], "meta": {"pile_set_name": d[1]}}).encode()
        for d in documents
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(zstandard.ZstdCompressor().compress(b"".join(line + b"\n" for line in lines)))


def settings(shards: list[str | Path], output: Path, **more) -> config.Config:
    """A configuration; more: sections, merged over these two."""
    data = {"input": {"shards": [str(s) for s in shards]}, "output": str(output)}
    for key, value in more.items():
        data[key] = {**data.get(key, {}), **value} if isinstance(value, dict) else value
    return config.parse(data)


def run(configuration: config.Config, last: str = "report"):
    """Run up to a stage; returns the context."""
    with pipeline.prepared(configuration) as context:
        pipeline.run_until(context, last)
    return context


def decisions(folder: Path) -> list[dict]:
    """All decisions of a run, in order."""
    return [row for file in sorted((folder / "decisions").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def results(folder: Path) -> dict[str, bytes]:
    """Every result of a run by relative path: what must not depend on how the run went."""
    skip = {"run.json", "timings.json", "report.json", "report.html", ".lock", ".claim.json"}
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in skip and "state" not in p.relative_to(folder).parts
    }


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory) -> Path:
    """The demo corpus, run with the quickstart's settings. Do not change it."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    quick = config.load(HERE.parent / "configs" / "quickstart.yaml", [f"output={folder}", f"input.shards=['{DEMO}']"])
    run(quick)
    return folder


@pytest.fixture
def demo_copy(demo_run, tmp_path) -> Path:
    """A finished run of the demo corpus that a test may change."""
    return Path(shutil.copytree(demo_run, tmp_path / "run"))
