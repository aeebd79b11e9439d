"""Backend cuda on this machine's GPU: operation by operation, and from files to a keep list.

    python benchmarks/gpu.py kernels FOLDER [--megabytes 256] [--out FOLDER]
    python benchmarks/gpu.py minhash FOLDER [--megabytes 256] [--out FOLDER]
    python benchmarks/gpu.py run FOLDER [--backend cuda] [--workers 16 32] [--verify exact] [--out FOLDER]

kernels: each operation on text that is on the device, by CUDA events, medians after a warm-up, beside what a copy of
memory on the device takes. Three texts: the lines of FOLDER, these with a line of 4 MB, and lines of ten words.
minhash: nvtext.minhash of cuDF on the same documents, beside the sketch with as many hashes.
run: the command itself, once after a short warm-up; beside it how fast as many threads only decompress the shards.
FOLDER can be made by benchmarks/big_corpus.py.
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
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gpu_pile.corpus.reader import ShardReader
from gpu_pile.gpu.device import device_for
from gpu_pile.gpu.segments import to_host
from gpu_pile.ops import op
from gpu_pile.ops.parse_lines import parse_lines
from gpu_pile.text.column import TextColumn

TARGETS = {  # GB/s of text on an H200
    "sketch(method=affine32, kind=byte)": 60,
    "sketch()": 100,
    "text_counts()": 50,
}

LONG_BYTES = 4_000_000


def lines_of(folder: Path, n_bytes: int) -> np.ndarray:
    """Decompressed lines of the shards, over and over, up to about n_bytes."""
    blocks = []
    for path in sorted(folder.glob("*.jsonl.zst")):
        for block in ShardReader(path):
            blocks.append(block.data[: block.n_bytes].copy())
            block.release()
        if sum(map(len, blocks)) > n_bytes:
            break
    once = np.concatenate(blocks)
    whole = np.tile(once, max(1, -(-n_bytes // len(once))))
    return whole[: whole[:n_bytes].tobytes().rfind(b"\n") + 1]


def inputs(folder: Path, n_bytes: int) -> dict[str, np.ndarray]:
    """Blocks of lines by what is in them."""
    lines = lines_of(folder, n_bytes)
    words = " ".join(json.loads(line)["text"] for line in lines.tobytes().splitlines()[:100]).split()
    words *= 1 + min(LONG_BYTES, n_bytes) // len(" ".join(words))
    long = json.dumps({"text": " ".join(words)}).encode() + b"\n"
    ten = b"".join(json.dumps({"text": " ".join(words[i : i + 10])}).encode() + b"\n" for i in range(0, 10_000, 10))
    return {
        "natural": lines,
        "with a line of 4 MB": np.concatenate([np.frombuffer(long, np.uint8), lines]),
        "lines of ten words": np.frombuffer(ten * max(1, n_bytes // len(ten) // 4), np.uint8),
    }


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


class Table:
    """Rows of figures, printed and kept."""

    def __init__(self, repeat: int, n_bytes: int) -> None:
        import cupy

        self.repeat, self.rows = repeat, list[dict[str, Any]]()
        memory = cupy.zeros(n_bytes, np.uint8)
        self.bandwidth = 2 * n_bytes / seconds_on_device(memory.copy, repeat)
        self.device = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        print(f"{self.device}: a copy reads and writes {self.bandwidth / 1e9:.0f} GB/s\n")

    def head(self, text: TextColumn, of: str) -> None:
        self.of = of
        print(f"{of}: {len(text)} documents, {text.n_bytes / 1e6:.0f} MB of text\n")
        print("| operation | GB/s of text | of what memory allows |\n|---|---:|---:|")

    def measure(self, name: str, size: int, function: Any) -> None:
        try:
            seconds = seconds_on_device(function, self.repeat)
        except Exception as error:  # the other figures are worth having
            self.rows.append({"name": name, "input": self.of, "error": f"{type(error).__name__}: {error}"})
            print(f"| {name} | {self.rows[-1]['error']} | |", flush=True)
            return
        row = {"name": name, "input": self.of, "gb_per_s": size / seconds / 1e9, "ms": seconds * 1e3}
        self.rows.append({**row, "of_memory": size / self.bandwidth / seconds})
        wanted = f" (to reach: {TARGETS[name]})" if name in TARGETS else ""
        print(f"| {name} | {row['gb_per_s']:.2f}{wanted} | {self.rows[-1]['of_memory']:.1%} |", flush=True)

    def result(self) -> dict[str, Any]:
        """Everything measured."""
        return {"device": self.device, "bandwidth": self.bandwidth, "figures": self.rows}


def kernels(folder: Path, n_bytes: int, repeat: int) -> dict[str, Any]:
    import cupy

    operations = op.load_all()
    device_for("cuda")
    table = Table(repeat, n_bytes)
    for of, lines in inputs(folder, n_bytes).items():
        block = cupy.asarray(lines)
        text: TextColumn = parse_lines(block).text
        on_host = TextColumn(to_host(text.data), to_host(text.offsets))
        table.head(text, of)
        table.measure("parse_lines()", len(block), lambda block=block: parse_lines(block))
        for name, operation in operations.items():
            some = operation.inputs(TextColumn.from_documents(["a b"]), operation.samples[0])
            if not isinstance(some[0], TextColumn):
                continue
            samples = list(operation.samples if of == "natural" else operation.samples[:1])
            if name == "sketch":
                samples.append({"method": "affine32", "kind": "byte"})
            for params in samples:
                given = ", ".join(f"{k}={'...' if isinstance(v, tuple) else v}" for k, v in params.items())
                others = operation.inputs(on_host, params)[1:]
                call = partial(operation, text, *map(cupy.asarray, others), **params)
                table.measure(f"{name}({given})", text.n_bytes, call)
    return table.result()


def minhash(folder: Path, n_bytes: int, repeat: int) -> dict[str, Any]:
    import cudf
    import cupy

    from gpu_pile.gpu import cudf as columns

    device_for("cuda")
    table = Table(repeat, n_bytes)
    text: TextColumn = parse_lines(cupy.asarray(lines_of(folder, n_bytes))).text
    table.head(text, "natural")
    a, b = (cudf.Series(x) for x in (np.arange(1, 257, 2, dtype=np.uint32), np.arange(128, dtype=np.uint32)))
    series = columns.series(text)
    table.measure("cuDF nvtext.minhash, 5 bytes, 128", text.n_bytes, lambda: series.str.minhash(0, a, b, 5))
    for params in ({"method": "affine32", "kind": "byte"}, {}):
        table.measure(f"sketch({params})", text.n_bytes, partial(op.OPS["sketch"], text, **params))
    return table.result()


def run(folder: Path, scratch: Path, backend: str, workers: list[int], verify: str) -> dict[str, Any]:
    out: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "runs": []}
    paths = sorted(folder.glob("*.jsonl.zst"))
    one_run(paths[:1], scratch, backend, workers[0], verify)  # what is compiled, and the driver's start
    print("| backend | workers | file to decisions | only decompressing | share | measure | dedupe | decide | run |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for n in workers:
        result = one_run(paths, scratch, backend, n, verify)
        with ThreadPoolExecutor(n) as pool:
            start = time.perf_counter()
            stream = sum(pool.map(decompress, paths))
            floor = time.perf_counter() - start
        stages = {name: result["timings"][name]["seconds"] for name in ("measure", "dedupe", "decide")}
        speed, limit = (result["text_bytes"] / s / 1e9 for s in (sum(stages.values()), floor))
        row = {"backend": backend, "workers": n, "verify": verify, "gb_per_s": speed, "decompress_gb_per_s": limit}
        out["runs"].append({**row, "stream_bytes": stream, **result})
        seconds = " | ".join(f"{s:.2f} s" for s in (*stages.values(), result["wall"]))
        print(
            f"| {backend} | {n} | {speed:.2f} GB/s | {limit:.2f} GB/s | {speed / limit:.0%} | {seconds} |", flush=True
        )
    return out


def decompress(path: Path) -> int:
    reader = ShardReader(path, block_bytes=16 << 20)
    for block in reader:
        block.release()
    return reader.stream_bytes


def one_run(paths: list[Path], scratch: Path, backend: str, workers: int, verify: str) -> dict[str, Any]:
    folder = scratch / "run"
    shutil.rmtree(folder, ignore_errors=True)
    config = scratch / "config.yaml"
    settings = {"input": {"shards": [str(p) for p in paths]}, "output": str(folder), "backend": backend}
    more = {"workers": workers, "thresholds": {"use": ["gopher"]}, "dedupe": {"fuzzy": {"verify": verify}}}
    config.write_text(json.dumps({**settings, **more}))
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "gpu_pile.cli", "run", str(config)], check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    timings = json.loads((folder / "timings.json").read_text())
    shutil.rmtree(folder)
    return {"wall": wall, "text_bytes": timings["measure"]["text_bytes"], "timings": timings}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["kernels", "minhash", "run"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=256)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--backend", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--workers", type=int, nargs="+", default=[len(os.sched_getaffinity(0))])
    parser.add_argument("--verify", choices=["exact", "sketch"], default="exact")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()), help="folder for the run")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    if a.what == "run":
        result = run(a.folder, a.scratch, a.backend, a.workers, a.verify)
    else:
        result = (kernels if a.what == "kernels" else minhash)(a.folder, int(a.megabytes * 1e6), a.repeat)
    if a.out:
        a.out.mkdir(parents=True, exist_ok=True)
        name = f"gpu_run_{a.backend}_{a.verify}" if a.what == "run" else f"gpu_{a.what}"
        (a.out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    if failed := [row["name"] for row in result.get("figures", ()) if "error" in row]:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
