"""Compile what a configuration needs, before a run or beside it. text/jit.py keeps the machine code for later runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from gpu_pile.policy.thresholds import Policy
from gpu_pile.run import pipeline
from gpu_pile.run.config import Config
from gpu_pile.run.progress import Reporter

_BESIDE = "import json, sys, gpu_pile; gpu_pile.dedupe(**json.load(sys.stdin))"


def _few_texts() -> list[str]:
    """Texts with duplicates and near duplicates, so that every part of a run has something to do."""
    words = [f"word{i * i % 89}" for i in range(120)]
    texts = [" ".join([*words[:n], "ends.\nhere", *words[n:]]) for n in (30, 30, 31, 60, 61, 118)]
    return [*texts, "Some text, short.", "Ein Text – mit Größe über ASCII.", ""]


def compile_for(config: Config, reporter: Reporter) -> None:
    """Run every stage on a few texts in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="gpu_pile-") as folder:
        shard = Path(folder) / "few.jsonl"
        shard.write_text("".join(f"{json.dumps(_line(config, text))}\n" for text in _few_texts()), encoding="utf-8")
        few = config.model_copy(
            update={
                "input": config.input.model_copy(update={"shards": [str(shard)]}),
                "output": f"{folder}/run",
                "scratch": None,
                "cluster": config.cluster.model_copy(update={"where": None}),
                "strict": False,
            }
        )
        if config.measure.join:  # its tables know nothing of these texts
            own = {"measure": config.measure.model_copy(update={"join": {}}), "thresholds": Policy()}
            few = few.model_copy(update=own)
        with pipeline.prepared(few, reporter) as context:
            pipeline.run_until(context, "report")


def _line(config: Config, text: str) -> dict[str, Any]:
    line: dict[str, Any] = {}
    settings = config.input
    own = [(field.path, 1) for field in settings.line_format.extras]
    for path, value in (*own, (settings.text_field, text), (settings.subset_field, "few")):
        *outer, last = path.split(".")
        inside = line
        for key in outer:
            if not isinstance(inside.get(key), dict):
                inside[key] = {}
            inside = inside[key]
        inside[last] = value
    return line


class Beside:
    """Another process that compiles the search for duplicates while this one compiles and does what comes before it.

    numba compiles in one thread of a process at a time. Locks in the cache keep two processes from compiling the same
    function; what the other process has compiled is loaded here. It uses the Python API on a few texts, and ends with
    this object.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._over = False

    def __enter__(self) -> Beside:
        return self

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._over = True
            if self._process is not None:
                self._process.terminate()
                self._process.wait()

    def start(self) -> None:
        """Start it, if there is a core for it and near duplicates are searched for."""
        fuzzy = self.config.dedupe.fuzzy
        wanted = self.config.cluster.where is None and fuzzy.enabled and len(os.sched_getaffinity(0)) > 1
        with self._lock:
            if not wanted or self._over or self._process is not None:
                return
            # -P: modules in the working directory are not imported
            command = [sys.executable, "-P", "-c", _BESIDE]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            options = {"texts": _few_texts(), "backend": "cpu", "workers": 1, **fuzzy.model_dump(mode="json")}
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps(options).encode())
                self._process.stdin.close()
            except BrokenPipeError:  # it could not start: everything is compiled here
                pass
