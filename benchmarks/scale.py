"""How the cost of a run grows with workers, documents, and band keys beyond those of any corpus at hand.

    python benchmarks/scale.py FOLDER [--workers 1,2] [--copies 1,2,4] [--keys 1,2,4] [--range 100] [--out FOLDER]

--copies repeats the shards of FOLDER. The letters of a copy are shifted in the alphabet, those of each copy by another
number, so its words are new and its near duplicates remain near duplicates. --keys partitions, sorts and pairs the band
keys of millions of generated documents. --range joins the shards into one of many frames, processes it in ranges of
that many MB, and reports separately what tasks cost beside their work (calls, answers, waiting). Each run is a process
of its own. The exponent of each stage's growth is printed: 1 is in proportion. Prints Markdown, writes scale.json.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import resource
import shutil
import string
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from gpu_pile.corpus.shards import Shard
from gpu_pile.dedup.rowset import RowSet
from gpu_pile.run import config, pipeline, threads
from gpu_pile.run.context import Context
from gpu_pile.run.dask import Cluster
from gpu_pile.run.directory import RunDir
from gpu_pile.run.exact_text import DIGEST_BYTES
from gpu_pile.run.reading import count_ranges
from gpu_pile.run.stages.dedupe.stage import RunSource, dedupe
from gpu_pile.run.stages.dedupe.verify_pairs import gather_sketches
from gpu_pile.run.stages.measure.columns import ROW_GROUP

BANDS, SIZE = 16, 128
SHARD_ROWS = 2_000_000
WARM_ROWS = 10_000
STAGES = ("measure", "dedupe", "decide", "write")
SPANS = ("read measured", "partition", "sort", "distinct", "compare", "clusters")


def copied(folder: Path, copies: int, target: Path, first: int = 0) -> Path:
    """The shards of a folder this many times, each time with other words; first: the number of the first copy."""
    target.mkdir(parents=True, exist_ok=True)
    lower, upper = string.ascii_lowercase, string.ascii_uppercase
    for path in sorted(folder.glob("*.jsonl.zst")):
        raw = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
        documents = [json.loads(line) for line in raw.split(b"\n") if line.strip()]
        for copy in range(first, first + copies):
            shift = str.maketrans(lower + upper, lower[copy:] + lower[:copy] + upper[copy:] + upper[:copy])
            lines = (json.dumps({**d, "text": d["text"].translate(shift)}).encode() + b"\n" for d in documents)
            name = path.name.removesuffix(".jsonl.zst")
            (target / f"{name}-{copy:02d}.jsonl.zst").write_bytes(zstandard.compress(b"".join(lines), 3))
    return target


def joined(folder: Path, size: int, target: Path) -> Path:
    """Join the shards of a folder, repeated up to `size` bytes, into one shard with frames of 4 MiB of text."""
    target.mkdir(parents=True, exist_ok=True)
    path = target / "one.jsonl.zst"
    with path.open("wb") as f:
        for copy in itertools.count():
            shifted = copied(folder, 1, target / "copy", first=copy)
            for shard in sorted(shifted.iterdir()):
                raw = zstandard.ZstdDecompressor().stream_reader(shard.read_bytes(), read_across_frames=True).read()
                for at in range(0, len(raw), 4 << 20):
                    f.write(zstandard.compress(raw[at : at + (4 << 20)], 3))
            shutil.rmtree(shifted)
            if f.tell() >= size:
                break
    return target


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def one_run(folder: str, cluster: str, workers: int, range_bytes: int = 128 << 20) -> dict[str, Any]:
    """In this process: stages' seconds, peak memory of each worker and of this process, bytes of intermediates."""
    with tempfile.TemporaryDirectory() as scratch:
        settings = config.parse(
            {
                "input": {"shards": [folder], "range_bytes": range_bytes},
                "output": f"{scratch}/run",
                "workers": workers,
                "cluster": {"where": cluster or None, "workers": workers, "threads": 1, "dashboard": False},
            }
        )
        largest, stop = 0, threading.Event()

        def watch() -> None:
            nonlocal largest
            while not stop.wait(0.1):
                with contextlib.suppress(FileNotFoundError):  # a file or folder that went while it was looked at
                    files = (Path(scratch) / "run" / "scratch").rglob("*")
                    largest = max(largest, sum(f.stat().st_blocks * 512 for f in files))

        threading.Thread(target=watch, daemon=True).start()
        peaks: list[int] = []
        with pipeline.prepared(settings) as context:
            if isinstance(context.executor, Cluster):  # the cluster's start is not a stage's time
                client = context.executor.client(context)
                client.wait_for_workers(workers)
                client.run(_warm)
            _warm()
            pipeline.run_until(context, "write")
            if isinstance(context.executor, Cluster):
                peaks = list(client.run(_peak).values())
        stop.set()
        states = [context.directory.state("measure", s.name) for s in context.shards]
        documents = sum(s["documents"] for s in states)
        measured = sum(f.stat().st_size for f in (Path(scratch) / "run" / "measured").iterdir())
        return {
            "cluster": cluster,
            "workers": workers,
            "documents": documents,
            "text_bytes": sum(s["text_bytes"] for s in states),
            "shards": len(states),
            "ranges": count_ranges(context),
            "tasks": {k: [v["tasks"], v["task_seconds"]] for k, v in context.reporter.stages.items() if "tasks" in v},
            "stages": {k: v["seconds"] for k, v in context.reporter.stages.items()},
            "cpu": {k: v["cpu_seconds"] for k, v in context.reporter.stages.items()},
            "peak_worker_bytes": max(peaks, default=0),
            "peak_client_bytes": _peak(),
            "measured_bytes_a_document": measured / documents,
            "scratch_bytes_a_document": largest / documents,
        }


def _warm() -> None:
    """Load the compiled kernels: a long run does so once."""
    import gpu_pile

    gpu_pile.dedupe(["one two three four five six"] * 2)
    gpu_pile.measure(["one two three"])


class GeneratedRows(RunSource):
    """Measured rows without texts: equal hashes are equal texts."""

    def read_texts(self, involved: RowSet, members: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.store = gather_sketches(self.context, self.search, involved)
        return np.zeros((len(members), DIGEST_BYTES), np.uint8)


def keys(millions: float) -> dict[str, Any]:
    """dedupe of measured rows that were generated, on one thread, pairs verified by their sketches."""
    n = int(millions * 1e6)
    if n > WARM_ROWS:
        keys(WARM_ROWS / 1e6)  # compiled code is loaded
    with tempfile.TemporaryDirectory() as scratch:
        settings = config.parse(
            {
                "input": {"shards": [scratch]},
                "output": scratch,
                "workers": 1,
                "dedupe": {"fuzzy": {"verify": "sketch", "bands": BANDS, "rows": SIZE // BANDS}},
            }
        )
        run = RunDir(Path(scratch))
        firsts = range(0, n, SHARD_ROWS)
        shards = [Shard(i, f"{i:03d}", Path(scratch) / "none", 0) for i in range(len(firsts))]
        for shard, first in zip(shards, firsts, strict=True):
            _measured(run, shard, first, min(n, first + SHARD_ROWS))
        context = Context(settings, run, shards)
        threads.keep_freed_memory()
        facts = dedupe(context, GeneratedRows)
        took = context.reporter.stages["dedupe"]
        pairs = pq.read_metadata(run.pairs).num_rows
        return {
            "documents": n,
            "seconds": took["seconds"],
            "cpu_seconds": took["cpu_seconds"],
            "spans": took["spans"],
            "exact_duplicates": facts["exact_duplicates"],
            "candidate_pairs": facts["candidate_pairs"],
            "verified_pairs": pairs,
            "peak_bytes": _peak(),
        }


def _measured(run: RunDir, shard: Shard, first: int, stop: int) -> None:
    """The measured rows of a shard: a hundredth equal an earlier row, of a tenth 14 or 15 of 16 bands are an earlier
    row's."""
    path = run.measured(shard.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(first)
    writer = None
    for start in range(first, stop, ROW_GROUP):
        rows = np.arange(start, min(stop, start + ROW_GROUP), dtype=np.uint64)
        other = (random.random(len(rows)) * rows).astype(np.uint64)
        kind = random.random(len(rows))
        source = np.where(kind < 0.11, other, rows)
        sketch = _mix(source[:, None] * np.uint64(SIZE // 2) + np.arange(SIZE // 2, dtype=np.uint64)).view(np.uint32)
        near = np.flatnonzero((kind >= 0.01) & (kind < 0.11))
        differ = random.integers(1, 3, len(near)) * (SIZE // BANDS)
        own = _mix(rows[near, None] * np.uint64(SIZE) + np.arange(2 * SIZE // BANDS, dtype=np.uint64))
        beginning = np.arange(2 * SIZE // BANDS) < differ[:, None]
        sketch[near, : 2 * SIZE // BANDS] = np.where(
            beginning, own.astype(np.uint32), sketch[near, : 2 * SIZE // BANDS]
        )
        equal = np.where(kind < 0.01, other, rows)
        table = pa.table(
            {
                "line": np.arange(start - first, start - first + len(rows)) + 1,
                "subset": pa.array(["generated"] * len(rows)),
                "hash_hi": _mix(equal),
                "hash_lo": _mix(equal + np.uint64(1 << 40)),
                "shingles": np.full(len(rows), 1000),
                "sketch": pa.FixedSizeBinaryArray.from_buffers(
                    pa.binary(4 * SIZE), len(rows), [None, pa.py_buffer(np.ascontiguousarray(sketch))]
                ),
            }
        )
        if writer is None:
            writer = pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=["subset"])
        writer.write_table(table, row_group_size=ROW_GROUP)
    assert writer is not None
    writer.close()
    state = {"documents": stop - first, "text_bytes": 0, "identity": "", "definition": "", "stopped": None}
    run.set_state(state, "measure", shard.name)


def _mix(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """splitmix64's finalizer."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def apart(*arguments: str) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--one", *arguments], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.split(b"\n")[-2])


def ranges_of_one_shard(folder: Path, range_bytes: int, workers: list[str], kept: list[dict[str, Any]]) -> None:
    """One shard of at least five ranges, by threads and by processes."""
    print("| one shard | ranges | by | measure | to the first | write | to the first | a measure task | besides it |")
    print("|---:|---:|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as scratch:
        one = joined(folder, 6 * range_bytes, Path(scratch))
        size = sum(f.stat().st_size for f in one.iterdir())
        first: dict[str, dict[str, Any]] = {}
        for cluster in ("", "local"):
            for n in workers:
                r = {"load": os.getloadavg()[0], **apart("run", str(one), cluster, n, str(range_bytes))}
                kept.append({"file_bytes": size, "range_bytes": range_bytes, **r})
                base = first.setdefault(cluster, r)["stages"]
                seconds = (f"{r['stages'][s]:.2f} s | {base[s] / r['stages'][s]:.2f}" for s in ("measure", "write"))
                tasks, inside = r["tasks"].get("measure", (0, 0.0))
                outside = int(n) * r["stages"]["measure"] - inside
                each = f"{inside / tasks:.2f} s | {outside / inside:.2%}" if tasks and n == "1" else "|"
                print(
                    f"| {size / 1e6:.0f} MB | {r['ranges']} | {n} {'processes' if cluster else 'threads'} | "
                    f"{' | '.join(seconds)} | {each} |",
                    flush=True,
                )
    print()


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """The e of seconds = c * sizes^e that fits best: 1 for a stage that grows in proportion."""
    usable = [(n, s) for n, s in zip(sizes, seconds, strict=True) if s > 0]
    if len({n for n, _ in usable}) < 2:
        return float("nan")
    return float(np.polyfit(*np.log(np.array(usable)).T, 1)[0])


def exponents(runs: list[dict[str, Any]]) -> None:
    """Print how the CPU time of each stage grows with the text, for each way of running."""
    print("\n| growth of CPU time with the text, exponent | " + " | ".join(STAGES) + " |")
    print("|---" + "|---:" * len(STAGES) + "|")
    for by in dict.fromkeys(r["by"] for r in runs):
        mine = [r for r in runs if r["by"] == by]
        sizes = [r["text_bytes"] for r in mine]
        each = (f"{exponent(sizes, [r['cpu'][stage] for r in mine]):.2f}" for stage in STAGES)
        print(f"| {by} | {' | '.join(each)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--copies", default="1,2,4")
    parser.add_argument("--keys", default="1,2,4")
    parser.add_argument("--range", type=float, default=100, help="MB; 0: leave it out")
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        what, *rest = given.one
        result = keys(float(rest[0])) if what == "keys" else one_run(rest[0], rest[1], *map(int, rest[2:]))
        print(json.dumps(result))
        return
    machine = {"processor": platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0))}
    kept: dict[str, Any] = {"machine": machine, "runs": [], "keys": [], "ranges": []}
    if given.range:
        ranges_of_one_shard(given.folder, int(given.range * 1e6), given.workers.split(","), kept["ranges"])
    print("| copies | documents | text | by | measure | its CPU | dedupe | decide | write | worker's peak | client's |")
    print("|---:|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as scratch:
        for copies in map(int, filter(None, given.copies.split(","))):
            folder = copied(given.folder, copies, Path(scratch) / str(copies))
            for n in given.workers.split(","):
                for cluster in ("", "local"):
                    by = f"{n} {'processes' if cluster else 'threads'}"
                    r = {
                        "copies": copies,
                        "by": by,
                        "load": os.getloadavg()[0],
                        **apart("run", str(folder), cluster, n),
                    }
                    kept["runs"].append(r)
                    measure, *others = (f"{r['stages'][s]:.2f} s" for s in ("measure", "dedupe", "decide", "write"))
                    seconds = " | ".join([measure, f"{r['cpu']['measure']:.2f} s", *others])
                    print(
                        f"| {copies} | {r['documents']:,} | {r['text_bytes'] / 1e6:.0f} MB | {by} | {seconds} | "
                        f"{r['peak_worker_bytes'] >> 20} MiB | {r['peak_client_bytes'] >> 20} MiB |",
                        flush=True,
                    )
    if kept["runs"]:
        exponents(kept["runs"])
    print(
        "\n| documents | dedupe | its CPU | CPU a million documents | of it " + " | ".join(SPANS) + " | pairs | peak |"
    )
    print("|---:" * (6 + len(SPANS)) + "|")
    for millions in given.keys.split(",") if given.keys else ():
        r = {"load": os.getloadavg()[0], **apart("keys", millions)}
        kept["keys"].append(r)
        each = [f"{r['spans'].get(p, 0.0) / r['documents'] * 1e6:.2f} s" for p in SPANS]
        print(
            f"| {r['documents']:,} | {r['seconds']:.1f} s | {r['cpu_seconds']:.1f} s | "
            f"{r['cpu_seconds'] / r['documents'] * 1e6:.2f} s | {' | '.join(each)} | {r['verified_pairs']:,} | "
            f"{r['peak_bytes'] >> 20} MiB |",
            flush=True,
        )
    if len(kept["keys"]) > 1:
        sizes, seconds = ([r[what] for r in kept["keys"]] for what in ("documents", "cpu_seconds"))
        print(f"\nexponent of dedupe's CPU time by documents: {exponent(sizes, seconds):.2f}")
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "scale.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
