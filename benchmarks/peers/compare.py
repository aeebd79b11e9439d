"""Texts to clusters, beside peers, in one run on the same documents.

    python benchmarks/peers/compare.py FOLDER [--megabytes 8] [--repeat 3] [--without datatrove]

FOLDER holds shards (*.jsonl.zst); every k-th document is taken until there are so many megabytes. The peers are
installed into an environment of their own (~/.cache/gpu_pile/peers), never into the project's. Each measurement is a
process of its own that reads the documents into a list of strings (timed apart), runs once to warm up, then CALLS times
to be timed; medians count.

    gpu_pile    gpu_pile.dedupe(texts, threshold=0.8): hash, word-5 sketches, banding, exact verification, witnesses
    rensa       RMinHash(128) over the same word-5 shingles made in Python, RMinHashLSH of 16 bands, estimates verified
    rensa-words the same over single words, as in its own examples: no shingles to make
    datatrove   MinhashDedupSignature with its defaults: the signature stage alone
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
from pathlib import Path
from typing import Any

ENVIRONMENT = Path.home() / ".cache" / "gpu_pile" / "peers"
PACKAGES = ["rensa==0.5.*", "datatrove[processing]==0.10.1", "spacy", "numpy"]
THRESHOLD, K, BANDS = 0.8, 128, 16
CALLS = 3


def ours(texts: list[str], workers: int) -> int:
    import gpu_pile

    return int((~gpu_pile.dedupe(texts, threshold=THRESHOLD, workers=workers).keep).sum())


def rensa(texts: list[str], width: int) -> int:
    import re

    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(THRESHOLD, K, BANDS)
    sketches, removed = [], 0
    for i, text in enumerate(texts):
        w = re.findall(r"\w+", text.lower())
        tokens = w if width == 1 or len(w) < width else [" ".join(w[j : j + width]) for j in range(len(w) - width + 1)]
        sketch = RMinHash(K, 42)
        sketch.update(tokens)
        sketches.append(sketch)
        removed += any(sketch.jaccard(sketches[j]) >= THRESHOLD for j in index.query(sketch))
        index.insert(i, sketch)
    return removed


def datatrove(texts: list[str]) -> int:
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig

    with tempfile.TemporaryDirectory() as folder:
        step = MinhashDedupSignature(folder, MinhashConfig())
        step.run((Document(text=t, id=str(i)) for i, t in enumerate(texts)), 0, 1)
    return 0


WORKERS = {
    "gpu_pile, 1 thread": lambda t: ours(t, 1),
    "gpu_pile, 2 threads": lambda t: ours(t, 2),
    "rensa": lambda t: rensa(t, 5),
    "rensa-words": lambda t: rensa(t, 1),
    "datatrove": datatrove,
}


def worker(name: str, path: str) -> None:
    start = time.perf_counter()
    with open(path, encoding="utf-8") as f:  # noqa: PTH123
        texts = [json.loads(line) for line in f]
    read = time.perf_counter() - start
    WORKERS[name](texts)  # compiles, loads and touches what is compiled, loaded and touched once a process
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        removed = WORKERS[name](texts)
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"read": read, "seconds": statistics.median(seconds), "removed": removed}))


def sample(folder: Path, megabytes: float) -> list[str]:
    import zstandard

    documents = []
    for path in sorted(folder.glob("*.jsonl.zst")):
        raw = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
        documents += [json.loads(line)["text"] for line in raw.split(b"\n") if line.strip()]
    step = max(1, int(sum(map(len, documents)) / (megabytes * 1e6)))
    return documents[::step]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--without", default="", help="peers to leave out, separated by commas")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    texts = sample(a.folder, a.megabytes)
    n_bytes = sum(len(t.encode()) for t in texts)
    names = [name for name in WORKERS if name not in a.without.split(",")]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.jsonl"
        path.write_text("".join(json.dumps(t) + "\n" for t in texts))
        for _ in range(a.repeat):
            for name in names:  # in turn, so that a change of the machine's pace meets all
                interpreter = sys.executable if name.startswith("gpu_pile") else str(python)
                command = [interpreter, __file__, "--worker", name, str(path)]
                environment = {**os.environ, "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
                done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
    median = {name: statistics.median(r["seconds"] for r in runs) for name, runs in found.items()}
    print(f"{len(texts):,} documents, {n_bytes / 1e6:.1f} MB of text, median of {a.repeat}\n")
    print("| what | MB/s | seconds | removed | gpu_pile on 1 thread is faster | on 2 |\n|---|---:|---:|---:|---:|---:|")
    one, two = median["gpu_pile, 1 thread"], median["gpu_pile, 2 threads"]
    for name, seconds in median.items():
        print(
            f"| {name} | {n_bytes / 1e6 / seconds:.2f} | {seconds:.3f} | {found[name][0]['removed']} "
            f"| {seconds / one:.1f} x | {seconds / two:.1f} x |"
        )
    read = statistics.median(r["read"] for runs in found.values() for r in runs)
    print(f"\nreading the documents into a list of strings, not counted above: {read:.3f} s")
    if a.out:
        result = {"documents": len(texts), "text_bytes": n_bytes, "runs": found, "median_seconds": median}
        a.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(sys.argv[2], sys.argv[3])
    else:
        main()
