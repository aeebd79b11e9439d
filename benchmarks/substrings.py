"""dedupe.substrings: its speed and memory on shards, and whether it finds what an exhaustive search finds.

python -m benchmarks.substrings 'data/*.jsonl.zst' --workers 1 2
python -m benchmarks.substrings 'data/*.jsonl.zst' --check 5     # on the first 5 MB of text, one window after the other
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import zstandard

from gpu_pile.corpus.shards import find_shards
from gpu_pile.run import config, pipeline
from gpu_pile.run.context import Context
from gpu_pile.run.documents import locate, read_texts


def settings(shards: list[str], folder: str, workers: int, least: dict[str, int], duplicates: bool) -> config.Config:
    off = {} if duplicates else {"exact": {"enabled": False}, "fuzzy": {"enabled": False}}
    return config.parse(
        {
            "input": {"shards": shards},
            "output": f"{folder}/run",
            "workers": workers,
            "measure": {"signals": ["lengths"]},
            "dedupe": {**off, "substrings": least},
        }
    )


def measure(shards: list[str], workers: int, least: dict[str, int]) -> None:
    """Time the stage after a run up to dedupe."""
    with (
        tempfile.TemporaryDirectory() as folder,
        pipeline.prepared(settings(shards, folder, workers, least, True)) as context,
    ):
        pipeline.run_until(context, "dedupe")
        wall, cpu = time.perf_counter(), time.process_time()
        pipeline.run_until(context, "substrings")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        facts = context.directory.state("substrings")
        text = context.reporter.stages["substrings"]["text_bytes"]
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        speeds = f"{text / wall / 1e6:.0f} MB/s; {cpu:.1f} CPU s, {text / cpu / 1e6:.0f} MB per CPU s"
        print(f"{workers} workers: {wall:.1f} s, {speeds}; peak {memory:,.0f} MiB; {json.dumps(facts)}")


def first_lines(shards: list[str], n_bytes: float, target: Path) -> None:
    """The first lines of shards, some megabytes of them."""
    lines, left = [], n_bytes
    for path in (shard.path for shard in find_shards(shards, Path.cwd())):
        with path.open("rb") as file:
            for line in zstandard.ZstdDecompressor().stream_reader(file).read().splitlines():
                if left > 0:
                    lines.append(line)
                    left -= len(line)
    target.write_bytes(zstandard.compress(b"\n".join(lines)))


def exhaustive(texts: list[bytes], size: int) -> list[int]:
    """Bytes of each text that copies cover, by looking up every window."""
    seen: dict[bytes, tuple[int, int]] = {}
    repeated = []
    for d, text in enumerate(texts):
        mask = np.zeros(len(text), bool)
        for i in range(len(text) - size + 1):
            document, at = seen.setdefault(text[i : i + size], (d, i))
            if document < d or at + size <= i:
                mask[i : i + size] = True
        lead = (np.frombuffer(text, np.uint8) & 0xC0) != 0x80
        for start, end in np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2).tolist():
            while start < end and not lead[start]:
                mask[start], start = False, start + 1
            while end > start and end < len(text) and not lead[end]:
                end -= 1
                mask[end] = False
        repeated.append(int(mask.sum()))
    return repeated


def check(shards: list[str], megabytes: float, size: int) -> None:
    """Compare the bytes repeated in every document with those that an exhaustive search finds."""
    with tempfile.TemporaryDirectory() as folder:
        first_lines(shards, megabytes * 1e6, Path(folder, "first.jsonl.zst"))
        found = settings([f"{folder}/first.jsonl.zst"], folder, 2, {"min_bytes": size}, False)
        with pipeline.prepared(found) as context:
            pipeline.run_until(context, "decide")
            table = pq.read_table(Path(folder, "run", "decisions", "first.parquet"))
            texts = _texts(context, table.column("doc_id").to_pylist())
        right = exhaustive(texts, size)
        got = table.column("repeated_bytes").to_pylist()
        different = sum(a != b for a, b in zip(right, got, strict=True))
        print(json.dumps({"documents": len(texts), "repeated_bytes": sum(right), "different_documents": different}))


def _texts(context: Context, ids: list[int]) -> list[bytes]:
    texts = read_texts(context, [place for place in locate(context, ids).values() if place is not None])
    return [texts[i].encode() for i in ids]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", nargs="+")
    parser.add_argument("--workers", type=int, nargs="+", default=[2])
    parser.add_argument("--min-bytes", type=int, default=200)
    parser.add_argument("--min-tokens", type=int, default=0, help="tokens instead of bytes")
    parser.add_argument("--check", type=float, default=0, help="megabytes to search exhaustively")
    given = parser.parse_args()
    if given.check:
        check(given.shards, given.check, given.min_bytes)
    else:
        least = {"min_tokens": given.min_tokens} if given.min_tokens else {"min_bytes": given.min_bytes}
        for n in given.workers:
            measure(given.shards, n, least)
