"""What a run against old documents costs beside the run alone, and how long a lookup takes.

    python benchmarks/incremental.py FOLDER [--times 10] [--repeats 3] [--find 10] [--out FOLDER]

The shards of FOLDER are run alone, and against an index of --times as many documents. The index is generated: its
documents have random hashes and sketches, but for those that have the hash and the sketch of a tenth of the new
documents. Similarities are those of sketches, so no old text is read. CPU time from file to decisions; each run is a
process of its own, alone and against in turns.

--find: 100 texts of FOLDER are looked for in an index of so many million documents, as a command; wall and CPU time,
with the index in the file cache and not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gpu_pile.ops.band_keys import band_keys
from gpu_pile.run import config, pipeline
from gpu_pile.run.index.store import DOCUMENT, Writer, definitions
from gpu_pile.run.stages.dedupe.candidates import sketch_array

PORTION = 1 << 17
TEXTS = 100


def settings(folder: str, output: str, against: list[str]) -> config.Config:
    return config.parse(
        {
            "input": {"shards": [folder], "against": against},
            "output": output,
            "workers": 1,
            "dedupe": {"fuzzy": {"verify": "sketch"}},
        }
    )


def one_run(folder: str, output: str, against: list[str]) -> dict[str, float]:
    """In this process: CPU seconds of each stage."""
    with pipeline.prepared(settings(folder, output, against)) as context:
        pipeline.run_until(context, "decide")
        return {name: entry["cpu_seconds"] for name, entry in context.reporter.stages.items()}


def known(paths: Sequence[Path], step: int, n: int | None = None) -> list[np.ndarray[Any, Any]]:
    """Of every step-th document of measured tables, n at most: hashes, sketches, and bytes of text with shingles."""
    parts = []
    for path in paths:
        table = pq.read_table(path, columns=["hash_hi", "hash_lo", "text_bytes", "shingles", "sketch"])
        columns = [table.column(name).to_numpy() for name in table.column_names[:4]]
        hashes, sizes = np.stack(columns[:2], axis=1), np.stack(columns[2:], axis=1)
        parts.append([x[::step][:n] for x in (hashes, sketch_array(table, 128), sizes)])
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def generate(target: Path, n: int, folder: str, planted: list[np.ndarray[Any, Any]]) -> None:
    """An index of n documents; the last ones are those that are given, see known()."""
    how, rng = definitions(settings(folder, "-", [])), np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, (n, 2), np.uint64)
    hashes[n - len(planted[0]) :] = planted[0]
    bands, rows = how["dedupe.fuzzy.bands"], how["dedupe.fuzzy.rows"]
    keys = np.empty((n, bands), np.uint64)
    with Writer(target) as writer:
        for start in range(0, n, PORTION):
            stop = min(n, start + PORTION)
            sketches = rng.integers(0, 2**32, (stop - start, 128), np.uint32)
            documents = np.zeros(stop - start, DOCUMENT)
            documents["line"], documents["shingles"] = np.arange(start + 1, stop + 1), 100
            before = n - len(planted[0])
            first = max(start, before)
            if first < stop:
                sketches[first - start :] = planted[1][first - before : stop - before]
                sizes = planted[2][first - before : stop - before]
                documents["text_bytes"][first - start :], documents["shingles"][first - start :] = sizes.T
            keys[start:stop] = band_keys(sketches, bands=bands, rows=rows)
            writer.add("documents.bin", documents)
            writer.add("sketches.bin", sketches)
        writer.add("keep.bin", np.ones(n, np.uint8))
        order = np.argsort(hashes[:, 0])
        writer.add("hash_keys.bin", hashes[order])
        writer.add("hash_rows.bin", order.astype(np.uint32))
        _add_keys(writer, keys)
        writer.head(
            {
                "definitions": how,
                "documents": n,
                "subsets": [""],
                "runs": [{"path": "/generated", "decided": "generated"}],
                "shards": [{"run": 0, "name": "generated", "first": 0, "end": n}],
            }
        )


def _add_keys(writer: Writer, keys: np.ndarray[Any, Any]) -> None:
    """Write the sorted keys, a sixteenth of their values at a time."""
    flat, bands = keys.reshape(-1), keys.shape[1]
    for part in range(16):
        at = np.flatnonzero(flat >> np.uint64(60) == part)
        at = at[np.argsort(flat[at], kind="stable")]
        writer.add("band_keys.bin", flat[at])
        writer.add("band_rows.bin", (at // bands).astype(np.uint32))


def incremental(folder: str, times: int, repeats: int, scratch: Path) -> dict[str, Any]:
    _process("run", folder, str(scratch / "first"))
    measured = sorted((scratch / "first" / "measured").glob("*.parquet"))
    documents = sum(pq.read_metadata(path).num_rows for path in measured)
    generate(scratch / "index", times * documents, folder, known(measured, 10))
    _process("run", folder, str(scratch / "warm"), str(scratch / "index"))
    alone, against = [], []
    for i in range(repeats):
        alone.append(_process("run", folder, str(scratch / f"alone{i}")))
        against.append(_process("run", folder, str(scratch / f"against{i}"), str(scratch / "index")))
    total = statistics.median(sum(run.values()) for run in alone)
    more = _beside_measure(against) - _beside_measure(alone)
    size = sum(f.stat().st_size for f in (scratch / "index").iterdir())
    return {
        "documents": documents,
        "old_documents": times * documents,
        "index_bytes_a_document": size / (times * documents),
        "alone": alone,
        "against": against,
        "ratio": 1 + more / total,  # measure does the same work in both
    }


def _beside_measure(runs: Sequence[dict[str, float]]) -> float:
    return statistics.median(sum(run.values()) - run["measure"] for run in runs)


def find(folder: str, millions: float, scratch: Path) -> dict[str, Any]:
    n = int(millions * 1e6)
    _process("run", folder, str(scratch / "run"))
    first = sorted((scratch / "run" / "measured").glob("*.parquet"))[0]
    texts = itertools.islice(_texts(folder), TEXTS)
    (scratch / "texts.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    generate(scratch / "large", n, folder, known([first], 1, TEXTS))
    command = [sys.executable, "-m", "gpu_pile.cli", "find", str(scratch / "large"), "--texts"]
    command += [str(scratch / "texts.jsonl"), "--json"]
    seconds = {}
    for name in ("compiling", "in the file cache", "not in the file cache"):
        if name.startswith("not"):
            for file in (scratch / "large").iterdir():
                with file.open("rb") as f:
                    os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        begin, before = time.perf_counter(), os.times()
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        seconds[name] = {"wall": time.perf_counter() - begin, "cpu": cpu}
    return {"documents": n, "texts": TEXTS, "matches": len(output.splitlines()), "seconds": seconds}


def _texts(folder: str) -> Any:
    from gpu_pile.corpus.shards import find_shards
    from gpu_pile.run.context import Context
    from gpu_pile.run.directory import RunDir
    from gpu_pile.run.reading import open_shard, parse

    shards = find_shards([folder], Path.cwd())
    context = Context(settings(folder, "-", []), RunDir(Path("-")), shards)
    for block in open_shard(context, shards[0]):
        text = parse(context, shards[0], block.data[: block.n_bytes], skip_bom=True).text
        yield from (document.decode() for document in text.documents())


def _process(*arguments: str) -> Any:
    command = [sys.executable, __file__, "--child", *arguments]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        _, folder, output, *against = sys.argv[2:]
        print(json.dumps(one_run(folder, output, against)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--find", type=float, default=0)
    parser.add_argument("--out", type=Path, default=None)
    a = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=a.out) as scratch:
        if a.find:
            found["find"] = find(a.folder, a.find, Path(scratch))
            print(json.dumps(found["find"], indent=1))
        if a.times:
            found["incremental"] = incremental(a.folder, a.times, a.repeats, Path(scratch))
            print(json.dumps(found["incremental"], indent=1))
    if a.out:
        (a.out / "incremental.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
