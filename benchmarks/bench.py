"""A whole run, stage by stage, and every operation alone, on the shards of a folder.

    python benchmarks/bench.py FOLDER [--workers 1,2] [--repeat 3] [--out FOLDER]

Each run is a process of its own in a fresh run directory; medians count. Prints tables in Markdown, writes bench.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from gpu_pile.ops import op
from gpu_pile.ops.parse_lines import parse_lines
from gpu_pile.run.stages import STAGES
from gpu_pile.text.column import TextColumn

STAGE_NAMES = [stage.name for stage in STAGES]


def whole_run(folder: Path, workers: int) -> dict[str, Any]:
    """Timings of one run, and the peak memory of its process in bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "config.yaml"
        shards = [str(p) for p in sorted(folder.glob("*.jsonl.zst"))]
        use = {"use": ["gopher"], "subsets": {"Github": {"use": []}, "DM Mathematics": {"use": []}}}
        path.write_text(json.dumps({"input": {"shards": shards}, "output": f"{scratch}/run", "thresholds": use}))
        command = [sys.executable, "-m", "gpu_pile.cli", "run", str(path), "--set", f"workers={workers}"]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, _, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        timings = json.loads((Path(scratch) / "run" / "timings.json").read_text())
        return {
            "wall": wall,
            "cpu": usage.ru_utime + usage.ru_stime,
            "peak_bytes": usage.ru_maxrss * 1024,
            "stages": timings,
        }


def operations(folder: Path, repeat: int) -> dict[str, float]:
    """MB of text a second of each operation that works on text, on one thread, in pieces of 4 MB, warm."""
    path = next(iter(sorted(folder.glob("*.jsonl.zst"))))
    raw = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
    text = TextColumn.from_documents([json.loads(line)["text"] for line in raw.split(b"\n") if line.strip()])
    pieces = list(text.pieces(4 << 20))
    out = {}
    for name, operation in op.load_all().items():
        for params in operation.samples:
            if not isinstance(operation.inputs(pieces[0].slice(0, 1), params)[0], TextColumn):
                continue  # not on text
            seconds, arguments = [], [operation.inputs(piece, params) for piece in pieces]
            for _ in range(repeat + 1):
                start = time.perf_counter()
                for inputs in arguments:
                    operation(*inputs, **params)
                seconds.append(time.perf_counter() - start)
            given = ", ".join(f"{k}={v}" for k, v in params.items())
            out[f"{name}({given})"] = text.n_bytes / 1e6 / statistics.median(seconds[1:])
    block = np.concatenate([np.frombuffer(raw, np.uint8), np.zeros(64, np.uint8)])
    scratch = np.empty(len(block), np.uint8)
    seconds = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        parse_lines(block[: len(raw)], padded=True, out=scratch)
        seconds.append(time.perf_counter() - start)
    out["parse_lines()"] = len(raw) / 1e6 / statistics.median(seconds[1:])
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    counts = [int(w) for w in a.workers.split(",")]
    whole_run(a.folder, counts[0])  # compiles what is not compiled yet
    runs = {w: [whole_run(a.folder, w) for _ in range(a.repeat)] for w in counts}
    median = statistics.median
    names = ["workers", *STAGE_NAMES, "file to decisions", "file to decisions", "whole run", "peak"]
    print(f"| {' | '.join(names)} |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for w, results in runs.items():
        seconds = {s: median(r["stages"][s]["seconds"] for r in results) for s in STAGE_NAMES}
        text = results[0]["stages"]["measure"]["text_bytes"] / 1e6
        decided = sum(seconds[s] for s in ("measure", "dedupe", "decide"))
        cpu = median(sum(r["stages"][s]["cpu_seconds"] for s in ("measure", "dedupe", "decide")) for r in results)
        peak = median(r["peak_bytes"] for r in results)
        cells = " | ".join(f"{seconds[s]:.2f} s" for s in STAGE_NAMES)
        print(
            f"| {w} | {cells} | {text / decided:.0f} MB/s | {text / cpu:.0f} MB a CPU second "
            f"| {median(r['wall'] for r in results):.2f} s | {peak / 2**20:.0f} MiB |"
        )
    speeds = operations(a.folder, a.repeat)
    print("\n| operation, one thread | MB/s of text |\n|---|---:|")
    for name, speed in speeds.items():
        print(f"| {name} | {speed:.0f} |")
    if a.out:
        a.out.mkdir(parents=True, exist_ok=True)
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        result = {"machine": machine, "runs": runs, "operations_mb_per_s": speeds}
        (a.out / "bench.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
