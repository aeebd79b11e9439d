"""Backend cuda on this machine's GPU: kernel by kernel, and from files to a keep list.

    python benchmarks/gpu.py kernels FOLDER [--megabytes 256] [--out FOLDER]
    python benchmarks/gpu.py run FOLDER [--repeat 3] [--copies 8] [--out FOLDER]

kernels: each operation on text that is on the device, by CUDA events, medians after a warm-up; the share of the floor
that memory sets (one read of the text), and cuDF's nvtext.minhash on the same documents with as many hashes.
run: the command itself at 1, 4, ... workers over the shards, each given several times under other names; beside it, in
the same run, how fast the same number of threads only decompress them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from gpu_pile.corpus.reader import ShardReader
from gpu_pile.ops import op
from gpu_pile.ops.parse_lines import parse_lines
from gpu_pile.text.column import TextColumn

TARGETS = {  # GB/s of text on an H200
    "sketch(method=affine32, kind=byte)": 60,
    "sketch()": 100,
    "text_counts()": 50,
}


def lines_of(folder: Path, n_bytes: int) -> np.ndarray:
    """Decompressed lines of the shards, over and over, up to about n_bytes."""
    blocks = []
    for path in sorted(folder.glob("*.jsonl.zst")):
        for block in ShardReader(path):
            blocks.append(block.data[: block.n_bytes].copy())
            block.release()
    once = np.concatenate(blocks)
    whole = np.tile(once, max(1, -(-n_bytes // len(once))))
    return whole[: whole[:n_bytes].tobytes().rfind(b"\n") + 1]


def seconds_on_device(function: Any, repeat: int) -> float:
    """The median time of a call, between CUDA events."""
    import cupy

    function()
    times = []
    for _ in range(repeat):
        begin, end = cupy.cuda.Event(), cupy.cuda.Event()
        begin.record()
        function()
        end.record()
        end.synchronize()
        times.append(cupy.cuda.get_elapsed_time(begin, end) / 1e3)
    return statistics.median(times)


def kernels(folder: Path, n_bytes: int, repeat: int) -> dict[str, Any]:
    import cupy

    from gpu_pile.gpu import cudf as frames

    frames.share_memory()
    runtime = cupy.cuda.runtime
    device = runtime.getDeviceProperties(0)["name"].decode()
    clock_khz, bus_bits = (runtime.deviceGetAttribute(attribute, 0) for attribute in (36, 37))  # of the memory
    bandwidth = 2 * clock_khz * 1e3 * bus_bits / 8  # bytes per second
    block = cupy.asarray(lines_of(folder, n_bytes))
    parsed = parse_lines(block)
    text: TextColumn = parsed.text
    rows: list[dict[str, Any]] = []

    def measure(name: str, size: int, function: Any) -> None:
        seconds = seconds_on_device(function, repeat)
        rows.append({"name": name, "gb_per_s": size / seconds / 1e9, "of_memory_floor": size / bandwidth / seconds})
        wanted = f" (to reach: {TARGETS[name]})" if name in TARGETS else ""
        print(f"| {name} | {rows[-1]['gb_per_s']:.1f}{wanted} | {rows[-1]['of_memory_floor']:.1%} |")

    print(f"{device}, {len(text)} documents, {text.n_bytes / 1e6:.0f} MB of text\n")
    print("| operation | GB/s of text | of the memory floor |\n|---|---:|---:|")
    measure("parse_lines()", len(block), lambda: parse_lines(block))
    for name, operation in op.load_all().items():
        some = operation.inputs(TextColumn.from_documents(["a b"]), operation.samples[0])
        if not isinstance(some[0], TextColumn) or "cuda" not in operation.implementations:
            continue
        samples = list(operation.samples)
        if name == "sketch":
            samples.append({"method": "affine32", "kind": "byte"})
        for params in samples:
            given = ", ".join(f"{k}={v}" for k, v in params.items())
            measure(f"{name}({given})", text.n_bytes, lambda o=operation, p=params: o(text, **p))
    series = frames.series(text)
    a, b = (np.arange(1, 257, 2, dtype=np.uint32), np.arange(128, dtype=np.uint32))
    try:
        import cudf

        factors, summands = cudf.Series(a), cudf.Series(b)
        measure("cuDF nvtext.minhash, 5 bytes, 128", text.n_bytes, lambda: series.str.minhash(0, factors, summands, 5))
    except Exception as error:  # another version of cuDF: the rest is worth having
        print(f"| cuDF nvtext.minhash: {error} | | |")
    return {"device": device, "text_bytes": text.n_bytes, "kernels": rows}


def run(folder: Path, repeat: int, copies: int) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0))
    out: dict[str, Any] = {"cores": cores, "runs": []}
    print("| backend | workers | file to decisions | only decompressing | share | whole run |")
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as scratch:
        shards = Path(scratch) / "shards"
        shards.mkdir()
        for path in sorted(folder.glob("*.jsonl.zst")):
            for i in range(copies):
                shutil.copy(path, shards / f"{path.name.split('.')[0]}-{i:03d}.jsonl.zst")
        paths = sorted(shards.iterdir())
        for backend, workers in [("cuda", w) for w in (1, 4, 16, 32) if w <= 2 * cores] + [("cpu", cores)]:
            results = [one_run(paths, Path(scratch), backend, workers) for _ in range(repeat + 1)][1:]
            decided = statistics.median(r["decided"] for r in results)
            wall = statistics.median(r["wall"] for r in results)
            with ThreadPoolExecutor(workers) as pool:
                start = time.perf_counter()
                stream = sum(pool.map(decompress, paths))
                floor = time.perf_counter() - start
            speed, limit = results[0]["text_bytes"] / decided / 1e9, results[0]["text_bytes"] / floor / 1e9
            row = {
                "backend": backend,
                "workers": workers,
                "gb_per_s": speed,
                "decompress_gb_per_s": limit,
                "wall": wall,
            }
            out["runs"].append({**row, "stream_bytes": stream, "all": results})
            cells = f"{speed:.2f} GB/s | {limit:.2f} GB/s | {speed / limit:.0%} | {wall:.2f} s"
            print(f"| {backend} | {workers} | {cells} |", flush=True)
    return out


def decompress(path: Path) -> int:
    reader = ShardReader(path, block_bytes=16 << 20)
    for block in reader:
        block.release()
    return reader.stream_bytes


def one_run(paths: list[Path], scratch: Path, backend: str, workers: int) -> dict[str, Any]:
    folder = scratch / "run"
    shutil.rmtree(folder, ignore_errors=True)
    config = scratch / "config.yaml"
    settings = {"input": {"shards": [str(p) for p in paths]}, "output": str(folder), "backend": backend}
    config.write_text(json.dumps({**settings, "workers": workers, "thresholds": {"use": ["gopher"]}}))
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "gpu_pile.cli", "run", str(config)], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    timings = json.loads((folder / "timings.json").read_text())
    decided = sum(timings[s]["seconds"] for s in ("measure", "dedupe", "decide"))
    return {"wall": wall, "decided": decided, "text_bytes": timings["measure"]["text_bytes"], "timings": timings}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kernels", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--copies", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    result = (
        kernels(a.folder, a.megabytes << 20, a.repeat) if a.what == "kernels" else run(a.folder, a.repeat, a.copies)
    )
    if a.out:
        a.out.mkdir(parents=True, exist_ok=True)
        (a.out / f"gpu_{a.what}.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
