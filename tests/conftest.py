"""Shared by all tests: the demo corpus, small corpora made on the spot, runs."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import settings as hypothesis_settings

from gpu_pile.run import config, pipeline
from gpu_pile.text.jit import cache_folder

HERE = Path(__file__).parent
DEMO = HERE / "data" / "corpus"

# The same examples in every run, so that a change alone decides whether the suite passes; `make fuzz` draws new ones.
hypothesis_settings.register_profile("fixed", derandomize=True)
hypothesis_settings.register_profile("random", derandomize=False, print_blob=True)
hypothesis_settings.load_profile("fixed")

SLOW_SECONDS = 2.0
"""CPU time, that of its child processes included, from which on a test must be marked slow."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help=f"leave out the tests marked slow; a test without the mark fails if it takes {SLOW_SECONDS:.0f} s of CPU",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that takes too long for --quick, unless something was compiled meanwhile."""
    before, compiled = _cpu_seconds(), _last_compiled()
    outcome = yield
    seconds = _cpu_seconds() - before
    judged = item.config.getoption("--quick") and outcome.excinfo is None and compiled == _last_compiled()
    if judged and seconds > SLOW_SECONDS:
        outcome.force_exception(
            pytest.fail.Exception(
                f"{item.nodeid} took {seconds:.1f} s of CPU time, more than the {SLOW_SECONDS:.0f} s of a quick test; "
                "make it faster, or mark it with @pytest.mark.slow",
                pytrace=False,
            )
        )


def _cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _last_compiled() -> list[int]:
    """When machine code was last stored: numba's, and the kernels' that the emulator executes."""
    folders = [cache_folder(), cache_folder() / "emulator"]
    return [folder.stat().st_mtime_ns for folder in folders if folder.is_dir()]


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
    quick = config.load(
        HERE.parent / "configs" / "quickstart.yaml", [f"output={folder}", f"input.shards=['{DEMO}']", "backend=cpu"]
    )
    run(quick)
    return folder


@pytest.fixture
def demo_copy(demo_run, tmp_path) -> Path:
    """A finished run of the demo corpus that a test may change."""
    return Path(shutil.copytree(demo_run, tmp_path / "run"))
