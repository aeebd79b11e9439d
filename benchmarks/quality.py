"""How much of what is there does a run find? Against labelled pairs, with every witness checked by plain Python.

    python benchmarks/quality.py FOLDER --pairs PAIRS.tsv[.zst] [--threshold 0.7] [--out pairs.tsv] [--set KEY=VALUE]
                                 [--labels LABELS.tsv] [--kept kept.txt]

FOLDER holds shards. PAIRS has a head line and then two documents and their exact word-5-gram Jaccard similarity a
line, separated by tabs; a document is SHARD:LINE or the meta.id of its line. Prints recall of the listed pairs at or
above the threshold and precision among all that were found. --out writes the pairs found, --kept the documents that
stay, one a line. LABELS has a head line with the columns id and cluster; documents of one cluster are versions of one
text. A document that is removed for one of another cluster is unrelated to it, unless one of the two is of the group
concat (several texts glued together, which have no cluster of their own).
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import zstandard

import gpu_pile
from gpu_pile.run import config, pipeline
from gpu_pile.text import unicode_reference


def lines_of(path: Path) -> list[str]:
    raw = path.read_bytes()
    if path.suffix == ".zst":
        raw = zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True).read()
    return raw.decode().split("\n")


def shingles(text: str) -> set[tuple[str, ...]]:
    w = unicode_reference.words_of_any_script(text)
    return {tuple(w[i : i + 5]) for i in range(len(w) - 4)} if len(w) >= 5 else {tuple(w)} if w else set()


def found_pairs(run: gpu_pile.Run) -> dict[tuple[int, int], float]:
    """Every pair of documents with equal or near-equal texts: verified pairs, spread over equal documents."""
    members: dict[int, list[int]] = {}
    for row in run.clusters.to_pylist():
        members.setdefault(row["representative"], []).append(row["doc_id"])
    pairs = {(a, b): 1.0 for m in members.values() for a, b in itertools.combinations(sorted(m), 2)}
    for row in run.pairs.to_pylist():
        for a, b in itertools.product(members[row["a"]], members[row["b"]]):
            if row["similarity"] < run.config.dedupe.fuzzy.threshold:
                continue  # one contains the other
            pairs[min(a, b), max(a, b)] = row["similarity"]
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--threshold", type=float, default=0.7)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--kept", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "config.yaml"
        shards = [str(p) for p in sorted(a.folder.glob("*.jsonl.zst"))]
        path.write_text(json.dumps({"input": {"shards": shards}, "output": f"{scratch}/run"}))
        settings = config.load(path, [f"dedupe.fuzzy.threshold={a.threshold}", *a.overrides])
        with pipeline.prepared(settings) as context:
            pipeline.run_until(context, "decide")
        check(a, gpu_pile.open_run(f"{scratch}/run"))


def check(a: argparse.Namespace, run: gpu_pile.Run) -> None:
    names: dict[int, str] = {}
    texts: dict[int, str] = {}
    for shard in run.shards:
        for number, line in enumerate(lines_of(shard.path)):
            if line.strip():
                document = json.loads(line)
                identifier = (shard.index << 40) + number
                names[identifier] = document.get("meta", {}).get("id", f"{shard.name}:{number + 1}")
                texts[identifier] = document["text"]
    found = {tuple(sorted((names[x], names[y]))) for x, y in found_pairs(run)}
    rows = [line.split("\t") for line in lines_of(a.pairs)[1:] if line]
    listed = {tuple(sorted(r[:2])) for r in rows if float(r[2]) >= a.threshold and {*r[:2]} <= set(names.values())}
    print(f"pairs listed at or above {a.threshold}: {len(listed):,}; found: {len(found):,}")
    print(f"recall {len(found & listed) / len(listed):.4f}  precision {len(found & listed) / max(1, len(found)):.4f}")
    decisions = [r for shard in run.shards for r in pq.read_table(run.directory.decisions(shard.name)).to_pylist()]
    removed = [r for r in decisions if r["witness"] is not None]
    wrong = sum(not confirmed(r, texts[r["doc_id"]], texts[r["witness"]], run.config.dedupe) for r in removed)
    print(f"witnesses checked by plain Python: {len(removed):,}, wrong: {wrong}")
    if a.labels:
        print(f"removed for a document of another label: {unrelated(a.labels, removed, names):,}")
    if a.kept:
        a.kept.write_text("".join(f"{names[r['doc_id']]}\n" for r in decisions if r["keep"]))
    if a.out:
        a.out.write_text("".join(f"{x}\t{y}\n" for x, y in sorted(found)))


def confirmed(row: dict[str, Any], text: str, witness: str, options: config.Dedupe) -> bool:
    """Whether a document was rightly removed for its witness, at the recorded similarity."""
    x, y = shingles(text), shingles(witness)
    if "exact_duplicate" in row["reasons"]:
        return text == witness
    if "contained" in row["reasons"]:
        return options.contained is not None and len(x & y) / len(x) == row["similarity"] >= options.contained.threshold
    return len(x & y) / len(x | y) == row["similarity"] >= options.fuzzy.threshold


def unrelated(path: Path, removed: list[dict[str, Any]], names: dict[int, str]) -> int:
    """How many documents were removed for one of another label."""
    head, *rows = [line.split("\t") for line in lines_of(path) if line]
    labels = {row[head.index("id")]: dict(zip(head, row, strict=True)) for row in rows}
    both = [(labels[names[r["doc_id"]]], labels[names[r["witness"]]]) for r in removed]
    glued = [any(label.get("group") == "concat" for label in pair) for pair in both]
    return sum(x["cluster"] != y["cluster"] and not skip for (x, y), skip in zip(both, glued, strict=True))


if __name__ == "__main__":
    main()
