"""Compiling beforehand, and beside a run."""

import json
import os
import subprocess
import sys

import pytest

from gpu_pile.run import compiling
from gpu_pile.run.config import parse
from gpu_pile.run.progress import Reporter
from tests.conftest import HERE

QUICK = HERE.parent / "configs" / "quickstart.yaml"


def settings(**more):
    return parse({"input": {"shards": ["-"], "text_field": "a.text"}, "output": "-", **more})


def test_every_stage_runs_on_texts_with_duplicates_and_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compiling.tempfile, "tempdir", str(tmp_path))
    reporter = Reporter()
    compiling.compile_for(settings(), reporter)
    assert list(reporter.stages) == ["measure", "dedupe", "decide", "write", "report"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command(tmp_path):
    command = [sys.executable, "-m", "gpu_pile.cli", "compile", str(QUICK)]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("compiled ")


def test_the_process_beside_starts_once_and_ends_with_its_object(monkeypatch):
    monkeypatch.setattr(compiling.os, "sched_getaffinity", lambda _: {0, 1})
    with compiling.Beside(settings()) as beside:
        beside.start()
        process = beside._process
        beside.start()
        assert beside._process is process
    assert process.returncode is not None, "it was waited for"
    beside.start()
    assert beside._process is process, "it does not start again"


@pytest.mark.parametrize("without", ["a core", "near duplicates", "threads"])
def test_no_process_beside(monkeypatch, without):
    monkeypatch.setattr(compiling.os, "sched_getaffinity", lambda _: {0} if without == "a core" else {0, 1})
    fuzzy = {"enabled": without != "near duplicates"}
    cluster = {"where": "tcp://h:1"} if without == "threads" else {}
    with compiling.Beside(settings(dedupe={"fuzzy": fuzzy}, cluster=cluster)) as beside:
        beside.start()
        assert beside._process is None


@pytest.mark.slow
def test_what_the_process_beside_does_is_valid():
    """Its errors are seen nowhere."""
    fuzzy = settings().dedupe.fuzzy.model_dump(mode="json")
    options = {"texts": compiling._few_texts(), "backend": "cpu", "workers": 1, **fuzzy}
    command = [sys.executable, "-P", "-c", compiling._BESIDE]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    subprocess.run(command, input=json.dumps(options), text=True, check=True, env=environment)
