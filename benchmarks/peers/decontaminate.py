"""Decontamination beside decon (package decontaminate, Python 3.12 or later): speed, and how much of what was inserted
is found, on the same files.

    python benchmarks/peers/decontaminate.py SHARDS FOLDER --mb 100 --decon /path/to/python3.12

Evaluation items are drawn word by word from the vocabulary of the corpus, by frequency: 30 words of question, 3 of
answer. Every 200th document gets an item: as it is, wrapped at 40 columns, in capitals, with commas or with dashes.
FOLDER gets the changed corpus, the items and the results. CPU seconds are those of the whole process, the indexing of
the items included; so are the wall seconds.
"""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import textwrap
import time

import numpy as np
import yaml
import zstandard

EVERY = 200
WAYS = {
    "as it is": lambda q: q,
    "wrapped": lambda q: "\n".join(textwrap.wrap(q, 40)),
    "capitals": str.upper,
    "commas": lambda q: re.sub(" ", ", ", q),
    "dashes": lambda q: re.sub(" ", " - ", q),
}

DECON = """
import sys, decon
decon.detect(decon.Config(training_dir=sys.argv[1], evals_dir=sys.argv[2], report_output_dir=sys.argv[3]))
"""


def documents(shards: list[pathlib.Path]):
    for path in shards:
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield path, json.loads(line)


def make_items(shards: list[pathlib.Path], megabytes: float) -> list[dict[str, str]]:
    counts: collections.Counter[str] = collections.Counter()
    for n, (_, value) in enumerate(documents(shards)):
        counts.update(re.findall("[a-z]+", value["text"].lower()))
        if n == 3000:
            break
    words = np.array(list(counts))
    shares = np.array(list(counts.values()), float)
    rng, items, total = np.random.default_rng(5), [], 0
    while total < megabytes * 1e6:
        for row in rng.choice(words, (1000, 33), p=shares / shares.sum()):
            items.append({"id": str(len(items)), "question": " ".join(row[:30]), "answer": " ".join(row[30:])})
            total += sum(map(len, row)) + 32
    return items


def make_corpus(shards: list[pathlib.Path], items: list[dict[str, str]], folder: pathlib.Path) -> dict[str, tuple]:
    """Write the shards with items in them. Return where each is: (way, shard, line) by id."""
    inserted, sinks, lines = {}, {}, collections.Counter()
    for n, (path, value) in enumerate(documents(shards)):
        name = path.name.split(".")[0]
        if name not in sinks:
            sinks[name] = zstandard.open(folder / f"{name}.jsonl.zst", "wt", encoding="utf-8")
        lines[name] += 1
        if n % EVERY == 0:
            number = n // EVERY
            way = list(WAYS)[number % len(WAYS)]
            value["text"] += "\n" + WAYS[way](items[number]["question"]) + "\n" + items[number]["answer"] + "\n"
            inserted[items[number]["id"]] = (way, name, lines[name])
        sinks[name].write(json.dumps(value, ensure_ascii=False) + "\n")
    for sink in sinks.values():
        sink.close()
    return inserted


def timed(command: list[str]) -> tuple[float, float]:
    """(wall, CPU) seconds of a process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, cpu


def own_run(folder: pathlib.Path) -> tuple[tuple[float, float], set[tuple[str, str, int]]]:
    sets = [{"name": "e", "files": str(folder / "items" / "*.jsonl"), "answers": "answer", "id": "id"}]
    settings = {"input": str(folder / "corpus"), "output": str(folder / "own"), "decontaminate": {"against": sets}}
    (folder / "own.yaml").write_text(yaml.safe_dump(settings))
    shutil.rmtree(folder / "own", ignore_errors=True)
    seconds = timed([sys.executable, "-m", "gpu_pile.cli", "decontaminate", str(folder / "own.yaml"), "--quiet"])
    rows = map(json.loads, (folder / "own" / "contamination" / "matches.jsonl").open(encoding="utf-8"))
    return seconds, {(r["item"], r["shard"], r["line"]) for r in rows if r["contaminated"]}


def decon_run(folder: pathlib.Path, python: str) -> tuple[tuple[float, float], set[tuple[str, str, int]]]:
    shutil.rmtree(folder / "decon", ignore_errors=True)
    seconds = timed([python, "-c", DECON, *(str(folder / name) for name in ("corpus", "items", "decon"))])
    found = set()
    for path in (folder / "decon").rglob("*.jsonl"):
        for row in map(json.loads, path.open(encoding="utf-8")):
            name = str(row["training_file"]).split("/")[-1].split(".")[0]
            found.add((str(row["eval_instance_index"]), name, int(row["training_line"]) + 1))
    return seconds, found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("shards", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--mb", type=float, default=100)
    parser.add_argument("--decon", metavar="PYTHON")
    given = parser.parse_args()
    shards = sorted(given.shards.glob("*.jsonl.zst"))
    shutil.rmtree(given.folder, ignore_errors=True)
    for name in ("corpus", "items"):
        (given.folder / name).mkdir(parents=True)
    items = make_items(shards, given.mb)
    with (given.folder / "items" / "e.jsonl").open("w", encoding="utf-8") as out:
        for i, item in enumerate(items):
            row = {"eval_key": "e", "eval_instance_index": i, "split": "test", "doc_id": i, "fingerprint": str(i)}
            out.write(json.dumps({**row, "is_correct": True, "passage": "", **item}) + "\n")
    inserted = make_corpus(shards, items, given.folder / "corpus")
    text = sum(len(value["text"].encode()) for _, value in documents(shards)) / 1e6
    runs = {"gpu-pile": own_run(given.folder)}
    if given.decon:
        runs["decon"] = decon_run(given.folder, given.decon)
    print(f"| program | wall | CPU | text per CPU second | found of {len(inserted)} | others | {' | '.join(WAYS)} |")
    print(f"|---|{'---:|' * (5 + len(WAYS))}")
    places = {(i, name, line): way for i, (way, name, line) in inserted.items()}
    for program, ((wall, cpu), found) in runs.items():
        by_way = collections.Counter(places[key] for key in found & set(places))
        ways = " | ".join(f"{by_way[way]}/{list(places.values()).count(way)}" for way in WAYS)
        hits, others = len(found & set(places)), len(found - set(places))
        print(f"| {program} | {wall:.1f} s | {cpu:.1f} s | {text / cpu:.0f} MB | {hits} | {others} | {ways} |")


if __name__ == "__main__":
    main()
