"""Gopher quality, Gopher repetition, C4 and FineWeb, signals and verdicts, beside datatrove's four filters, in one run.

    python benchmarks/peers/filters.py FOLDER [--megabytes 20] [--repeat 3] [--out FILE]

FOLDER holds shards (*.jsonl.zst); every k-th document is taken, about `--megabytes` of text. datatrove is
installed into an environment of its own (~/.cache/gpu_pile/peers) and splits words at white space (`str.split`), which
is much faster than its own tokenizer; C4's sentences are counted by its own splitter, which it cannot do without.
Texts are lists of strings in memory on both sides. Here all signals of the four families are computed and the four
sets of thresholds evaluated. Also printed: the cost of each family of signals alone, and of all families.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ENVIRONMENT = Path.home() / ".cache" / "gpu_pile" / "peers"
PACKAGES = ["datatrove[processing]==0.10.1", "spacy", "numpy"]
FOUR = {"gopher_quality": "gopher", "gopher_repetition": "gopher_repetition", "c4": "c4", "fineweb": "fineweb"}


def seconds_of(work: Callable[[], Any], repeat: int) -> float:
    work()  # compiles, and touches what is touched once a process
    measured = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        measured.append(time.perf_counter() - start)
    return statistics.median(measured)


def ours(texts: list[str], repeat: int) -> dict[str, float]:
    import numpy as np

    import gpu_pile
    from gpu_pile import signals
    from gpu_pile.api import text_column
    from gpu_pile.policy.thresholds import Policy

    policies = [Policy(use=[name], word_rules="always") for name in FOUR.values()]
    families = ["lengths", *FOUR]
    codes = np.zeros(len(texts), np.int64)

    def four(workers: int) -> None:
        table = gpu_pile.measure(texts, families, workers=workers)
        for policy in policies:
            policy.evaluate(table, [""], codes)

    found = {f"four filters, {n} thread{'s' * (n > 1)}": seconds_of(lambda n=n: four(n), repeat) for n in (1, 2)}
    text = text_column(texts)
    for family in signals.families():
        found[family.name] = seconds_of(lambda f=family: gpu_pile.measure(text, [f.name], workers=1), repeat)
    repeating = {"word_repetition", "redpajama_words", "dclm_words"}
    counting = [f.name for f in signals.families() if not repeating & {op.name for op in f.ops}]
    for name, wanted in (("counting families", counting), ("all families", None)):
        for n in (1, 2):
            label = f"{name}, {n} thread{'s' * (n > 1)}"
            found[label] = seconds_of(lambda w=wanted, n=n: gpu_pile.measure(text, w, workers=n), repeat)
    return found


def datatrove(texts: list[str], repeat: int) -> dict[str, float]:
    from datatrove.data import Document
    from datatrove.pipeline.filters import c4_filters, fineweb_quality_filter
    from datatrove.pipeline.filters import gopher_quality_filter as quality
    from datatrove.pipeline.filters import gopher_repetition_filter as repetition

    def split(text: str, language: str | None = None) -> list[str]:
        return text.split()

    for module in (quality, repetition, fineweb_quality_filter):
        module.split_into_words = split
    filters = [
        quality.GopherQualityFilter(),
        repetition.GopherRepetitionFilter(),
        c4_filters.C4QualityFilter(),
        fineweb_quality_filter.FineWebQualityFilter(),
    ]

    def four() -> None:
        for one in filters:
            for text in texts:
                one.filter(Document(text=text, id=""))

    return {"datatrove, four filters": seconds_of(four, 1)}


def worker(name: str, path: str, repeat: int) -> None:
    with open(path, encoding="utf-8") as f:  # noqa: PTH123
        texts = [json.loads(line) for line in f]
    print(json.dumps((datatrove if name == "datatrove" else ours)(texts, repeat)))


def main() -> None:
    from benchmarks.peers.compare import sample

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    texts = sample(a.folder, a.megabytes)
    megabytes = sum(len(t.encode()) for t in texts) / 1e6
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.jsonl"
        path.write_text("".join(json.dumps(t) + "\n" for t in texts))
        for name, interpreter in (("gpu_pile", sys.executable), ("datatrove", str(python))):
            command = [interpreter, __file__, "--worker", name, str(path), str(a.repeat)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            found |= json.loads(done.stdout.splitlines()[-1])
    print(f"{len(texts):,} documents, {megabytes:.1f} MB of text, median of {a.repeat}\n")
    print("| what | MB/s |\n|---|---:|")
    for name, seconds in found.items():
        print(f"| {name} | {megabytes / seconds:.1f} |")
    for n in ("1 thread", "2 threads"):
        print(f"\n{n}: {found['datatrove, four filters'] / found[f'four filters, {n}']:.0f} times datatrove")
    if a.out:
        result = {"documents": len(texts), "megabytes": megabytes, "seconds": found}
        a.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        sys.path.insert(0, str(Path(__file__).parents[2]))
        main()
