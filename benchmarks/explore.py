"""How long it takes to look at, re-decide and report a large run: generated signals of many documents, no texts.

    python benchmarks/explore.py [--documents 10000000] [--workers 2] [--keep FOLDER] [--out FOLDER]

Makes a run directory with signals of The Pile's subsets, a fifth of the documents in clusters of duplicates; then each
task runs in a process of its own. Medians of the slider's steps count. Prints a table in Markdown, writes explore.json.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import gpu_pile as gp
from gpu_pile import signals
from gpu_pile.corpus import files
from gpu_pile.policy import pile
from gpu_pile.run import config, directory
from gpu_pile.run.stages import decide
from gpu_pile.run.stages.measure.columns import ROW_GROUP, definition_key
from gpu_pile.run.stages.report import stage
from gpu_pile.summaries import histograms, samples

SHARDS = 10
SETTINGS = {
    "measure": {"signals": ["lengths", "symbols", "gopher_quality"]},
    "dedupe": {"fuzzy": {"size": 8, "bands": 2, "rows": 4}},
    "thresholds": {"use": ["gopher"], "subsets": {"Github": {"use": []}, "DM Mathematics": {"use": []}}},
}
TRIAL = {"use": ["gopher"], "default": {"plain_word_count": {"min": 100}, "alpha_word_fraction": {"min": 0.7}}}


def generate(folder: Path, documents: int) -> None:
    """A finished run up to dedupe; the shards that it names do not exist."""
    rng = np.random.default_rng(6)
    names = [f"{i:02d}" for i in range(SHARDS)]
    inputs = {"shards": [f"generated/{n}.jsonl.zst" for n in names]}
    settings = config.parse({"input": inputs, "output": str(folder), **SETTINGS})
    run = directory.RunDir(folder)
    listed = []
    for index, name in enumerate(names):
        text_bytes = _measure(run, name, documents // SHARDS, rng, settings)
        state = {
            "identity": name,
            "documents": documents // SHARDS,
            "lines": documents // SHARDS,
            "text_bytes": text_bytes,
            "stream_bytes": text_bytes,
            "seek_points": [],
            "bad_lines": [],
            "stopped": None,
            "damage": [],
        }
        run.set_state(state, "measure", name)
        run.set_state({"bytes": 0}, "write", name)
        listed.append({"name": name, "index": index, "path": f"generated/{name}.jsonl.zst", "bytes": 0, **state})
    _clusters(run, documents, rng)
    dedupe = {"key": "generated", "documents": documents, "exact_duplicates": 0, "bands": 2, "rows": 4}
    dedupe |= {"threshold": 0.8, "verify": "exact", "candidate_pairs": 0, "verified_pairs": 0}
    run.set_state(dedupe, "dedupe")
    for item in listed:
        item["bad_lines"] = 0
    content = {
        "gpu_pile": gp.__version__,
        "backend": "cpu",
        "config": settings.model_dump(),
        "warnings": [],
        "shards": listed,
    }
    files.write_json(folder / "run.json", content)
    context = gp.open_run(folder).context
    for name in names:
        run.set_state({**run.state("measure", name), "definition": definition_key(context)}, "measure", name)


def _measure(run: directory.RunDir, name: str, n: int, rng: np.random.Generator, settings: config.Config) -> int:
    weights = np.array([s.raw_gib * s.epochs / s.mean_document_kib for s in pile.SUBSETS])
    wanted = signals.names(settings.measure.signals)
    kinds = {s.name: s for f in signals.families() for s in f.signals}
    subset_names = pa.array([s.name for s in pile.SUBSETS])
    sample, seen = samples.Sample(wanted), histograms.Names()
    counted: list[pa.Table] = []
    total = 0
    run.measured(name).parent.mkdir(parents=True, exist_ok=True)
    writer = None
    for first in range(0, n, ROW_GROUP):
        rows = min(ROW_GROUP, n - first)
        subset = rng.choice(len(subset_names), rows, p=weights / weights.sum())
        text_bytes = rng.lognormal(7.5, 1.2, rows).astype(np.int64) + 1
        columns: dict[str, Any] = {
            "line": np.arange(first + 1, first + rows + 1),
            "start": np.arange(first, first + rows) * 100,
            "length": np.full(rows, 99),
            "subset": subset_names.take(pa.array(subset)),
            "text_bytes": text_bytes,
            "hash_hi": rng.integers(0, 2**63, rows).astype(np.uint64),
            "hash_lo": rng.integers(0, 2**63, rows).astype(np.uint64),
            "shingles": text_bytes // 6,
            "sketch": pa.FixedSizeBinaryArray.from_buffers(pa.binary(32), rows, [None, pa.py_buffer(bytes(32 * rows))]),
        }
        for signal in wanted:
            if kinds[signal].dtype == "int64":
                columns[signal] = np.maximum(0, text_bytes // 6 + rng.integers(-50, 50, rows))
            elif kinds[signal].unit == "characters":
                columns[signal] = rng.normal(5, 1, rows)
            else:
                columns[signal] = rng.beta(18, 1.5, rows) if "alpha" in signal else rng.beta(1, 40, rows)
        table = pa.table(columns)
        cells = histograms.cells_of_columns(table, wanted)
        counted = [histograms.merged([*counted, histograms.count(wanted, table, cells, seen)])]
        excerpt = pa.array(["the beginning of a generated text " * 20]).take(pa.array(np.zeros(rows, np.int64)))
        sample.offer(table.append_column("excerpt", excerpt), cells)
        total += int(text_bytes.sum())
        if writer is None:
            plain = ("sketch", "hash_hi", "hash_lo")
            compression = {c: "none" if c in plain else "zstd" for c in table.column_names}
            writer = pq.ParquetWriter(
                run.measured(name),
                table.schema,
                compression=compression,
                use_dictionary=["subset"],
                write_statistics=False,
            )
        writer.write_table(table, row_group_size=ROW_GROUP)
    assert writer is not None
    writer.close()
    chosen = sample.table()
    for path, table in ((run.histogram(name), counted[0]), (run.sample(name), chosen)):
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd")
    return total


def _clusters(run: directory.RunDir, documents: int, rng: np.random.Generator) -> None:
    """A fifth of the documents in clusters, sizes from 2 to thousands; every member is paired with the first one."""
    members = np.sort(rng.choice(documents, documents // 5, replace=False))
    per_shard = documents // SHARDS
    doc_id = directory.doc_id((members // per_shard).astype(np.uint64), (members % per_shard + 1).astype(np.uint64))
    sizes = np.minimum(rng.zipf(2.2, len(members)) + 1, 5000)
    sizes = sizes[: np.searchsorted(np.cumsum(sizes), len(members))]
    label = np.repeat(np.arange(len(sizes)), sizes)
    label = np.concatenate([label, np.full(len(members) - len(label), len(sizes))])
    shuffled = rng.permutation(label)
    _, first, inverse = np.unique(shuffled, return_index=True, return_inverse=True)
    leader = first[inverse]
    cluster = doc_id[leader]
    pq.write_table(
        pa.table({"doc_id": doc_id, "cluster": cluster, "representative": doc_id}), run.clusters, compression="zstd"
    )
    follower = np.flatnonzero(leader != np.arange(len(members)))
    follower = follower[np.argsort(leader[follower], kind="stable")]  # as dedupe writes them: by cluster
    similarity = rng.uniform(0.8, 1.0, len(follower))
    pq.write_table(
        pa.table({"a": cluster[follower], "b": doc_id[follower], "similarity": similarity}),
        run.pairs,
        compression="zstd",
    )


def opened(folder: Path, workers: int) -> gp.Run:
    run = gp.open_run(folder)
    run.config = run.config.model_copy(update={"workers": workers})
    run.context.config = run.config
    return run


def time_trial(folder: Path, workers: int) -> dict[str, Any]:
    run = opened(folder, workers)
    start = time.perf_counter()
    trial = run.decide(TRIAL)
    reasons = trial.reasons()
    return {"seconds": time.perf_counter() - start, "kept": int(trial.keep.sum()), "rules": len(reasons)}


def time_decide(folder: Path, workers: int) -> dict[str, Any]:
    run = opened(folder, workers)
    run.directory.forget("decide")
    start = time.perf_counter()
    decide.decide(run.context)
    return {"seconds": time.perf_counter() - start}


def time_report(folder: Path, workers: int) -> dict[str, Any]:
    run = opened(folder, workers)
    start = time.perf_counter()
    stage.report(run.context)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "html_bytes": (folder / "report.html").stat().st_size}


def _slide(folder: Path, workers: int, names: list[str]) -> dict[str, Any]:
    run = opened(folder, workers)
    start = time.perf_counter()
    explorer = run.explore(*names)
    ready = time.perf_counter() - start
    steps = []
    for step in range(20):
        slider = explorer.sliders[names[step % len(names)]]
        low, high = slider.index
        start = time.perf_counter()
        slider.index = (min(low + 1, high), high)
        steps.append(time.perf_counter() - start)
    return {"seconds": statistics.median(steps), "worst": max(steps), "ready_seconds": ready}


def time_slider(folder: Path, workers: int) -> dict[str, Any]:
    return _slide(folder, workers, ["plain_word_count"])


def time_two_sliders(folder: Path, workers: int) -> dict[str, Any]:
    return _slide(folder, workers, ["plain_word_count", "alpha_word_fraction"])


def time_sweep(folder: Path, workers: int) -> dict[str, Any]:
    run = opened(folder, workers)
    start = time.perf_counter()
    run.sweep("plain_word_count", min=[20, 50.5, 100])
    one = time.perf_counter() - start
    start = time.perf_counter()
    run.sweep({"plain_word_count": {"min": [20, 50, 100]}, "alpha_word_fraction": {"min": [0.6, 0.7, 0.8]}})
    return {"seconds": one, "two_signals_seconds": time.perf_counter() - start}


TASKS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "run.decide(thresholds), with reasons": time_trial,
    "gpu-pile decide, written": time_decide,
    "gpu-pile report": time_report,
    "slider, one signal, a step": time_slider,
    "sliders, two signals, a step": time_two_sliders,
    "run.sweep, bounds between edges, one signal": time_sweep,
}


def measured(task: str, folder: Path, workers: int) -> dict[str, Any]:
    """One task in a process of its own."""
    command = [sys.executable, __file__, "--task", task, "--keep", str(folder), "--workers", str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{task} failed")
    return {**json.loads(said), "peak_bytes": usage.ru_maxrss * 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=10_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="make the run here and leave it, or use the one that is there")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.task:
        print(json.dumps(TASKS[a.task](a.keep, a.workers)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = a.keep or Path(scratch) / "run"
        if not (folder / "run.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            generate(folder, a.documents)
        results = {task: measured(task, folder, a.workers) for task in TASKS}
    print(f"| {a.documents:,} documents, {a.workers} workers | seconds | peak memory | |\n|---|---:|---:|---|")
    for task, r in results.items():
        more = {k: v for k, v in r.items() if k not in ("seconds", "peak_bytes")}
        said = ", ".join(f"{k} {v:,.3f}" if isinstance(v, float) else f"{k} {v:,}" for k, v in more.items())
        print(f"| {task} | {r['seconds']:.3f} | {r['peak_bytes'] / 2**20:,.0f} MiB | {said} |")
    if a.out:
        a.out.mkdir(parents=True, exist_ok=True)
        machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        files.write_json(a.out / "explore.json", {"machine": machine, "documents": a.documents, "tasks": results})


if __name__ == "__main__":
    main()
