"""What a shard costs besides its documents: runs of many shards of two documents each, per stage and in all.

    python benchmarks/small_shards.py [--shards 250,500,1000] [--workers 2] [--repeats 3] [--out FOLDER]

The corpus is generated. Each run is a process of its own. Prints Markdown: medians of CPU milliseconds per shard by
stage, of wall milliseconds per shard, of the process's peak memory, of the most files that were open at once, and of
the number of waits for the disk (fsync and syncfs).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import zstandard

STAGES = ("measure", "dedupe", "decide", "write", "report")
WARM_SHARDS = 8


def generate(folder: Path, n_shards: int) -> None:
    """Write shards of two documents of 20 to 200 words; every tenth document repeats another one's text."""
    rng = random.Random(n_shards)
    folder.mkdir(parents=True)
    vocabulary = [f"w{i:x}" for i in range(5000)]
    texts: list[str] = []
    for shard in range(n_shards):
        lines = []
        for _ in range(2):
            repeated = texts and rng.random() < 0.1
            text = rng.choice(texts) if repeated else " ".join(rng.choices(vocabulary, k=rng.randrange(20, 200)))
            texts.append(text)
            lines.append(json.dumps({"text": text, "meta": {"pile_set_name": rng.choice(("Web", "Books"))}}))
        (folder / f"{shard:06d}.jsonl.zst").write_bytes(zstandard.compress("\n".join(lines).encode(), 3))


class OpenFiles:
    """The most files that this process had open at once, looked at every few milliseconds."""

    def __init__(self) -> None:
        self.peak = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        pause = threading.Event()
        while True:
            self.peak = max(self.peak, len(os.listdir("/proc/self/fd")))  # noqa: PTH208
            pause.wait(0.02)


def run_once(shards: Path, output: Path, workers: int) -> dict[str, float]:
    """Run in this process; return seconds per stage, and what the process used."""
    from gpu_pile.corpus import files
    from gpu_pile.run import config, pipeline

    settings = config.parse({"input": {"shards": [str(shards)]}, "output": str(output), "workers": workers})
    open_files = OpenFiles()
    fsyncs = 0
    real = os.fsync

    def counted(descriptor: int) -> None:
        nonlocal fsyncs
        fsyncs += 1
        real(descriptor)

    os.fsync = counted
    syncfs = files._syncfs()

    def counted_all(descriptor: int) -> int:
        nonlocal fsyncs
        fsyncs += 1
        return syncfs(descriptor) if syncfs is not None else 0

    if syncfs is not None:
        files._syncfs = lambda: counted_all
    with pipeline.prepared(settings) as context:
        pipeline.run_until(context, "report")
    timings = json.loads((output / "timings.json").read_text())
    return {
        **{stage: timings[stage]["cpu_seconds"] for stage in STAGES},
        "wall": sum(timings[stage]["seconds"] for stage in STAGES),
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "open files": open_files.peak,
        "fsyncs": fsyncs,
    }


def run_apart(shards: Path, output: Path, workers: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--once", str(shards), str(output), "--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", default="250,500,1000", help="numbers of shards")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="folder for small_shards.json")
    parser.add_argument("--once", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        print(json.dumps(run_once(*given.once, given.workers)))
        return
    figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        generate(folder / "warm", WARM_SHARDS)
        run_apart(folder / "warm", folder / "warm-run", given.workers)  # kernels are compiled once per machine
        print("| shards | " + " | ".join(STAGES) + " | wall | peak MiB | open files | disk waits |")
        print("|---:|" + "---:|" * (len(STAGES) + 4))
        for n in map(int, given.shards.split(",")):
            generate(folder / str(n), n)
            runs = [run_apart(folder / str(n), folder / f"{n}-run-{i}", given.workers) for i in range(given.repeats)]
            median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            figures[n] = {"median": median, "runs": runs}
            stages = [f"{1000 * median[stage] / n:.2f}" for stage in (*STAGES, "wall")]
            rest = [f"{median[key]:.0f}" for key in ("peak MiB", "open files", "fsyncs")]
            print("| " + " | ".join([f"{n:,}", *stages, *rest]) + " |", flush=True)
    if given.out:
        (given.out / "small_shards.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
