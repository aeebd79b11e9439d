"""Make tests/data/corpus, the small real corpus that ships with the project.

    python tools/make_demo_corpus.py CORPUS GROUND_TRUTH

CORPUS is a folder of shards with index.tsv.zst (shard, line, pile_set_name, text_bytes, sha1_text, source) and
jaccard_pairs_ge_0.7.tsv.zst; GROUND_TRUTH one with docs.jsonl.zst (meta.id) and labels.tsv (id, cluster, group, ...,
source). Only sources of SOURCES are taken, whose licences SOURCES.md of the result states.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import random
import sys
from pathlib import Path

import zstandard

from gpu_pile.text import unicode_reference

TARGET = Path(__file__).parents[1] / "tests" / "data" / "corpus"

# source -> licence; what is not listed is not taken
SOURCES = {
    "github:stacks/stacks-project": "GNU FDL 1.2 or later",
    "generated:mathematics_dataset": "Apache-2.0 (the generator), generated text",
    "github:ufal/europarlmin": "European Parliament text, reuse authorised with the source acknowledged",
    "github:containers/podman": "Apache-2.0 and the licences of vendored packages (Apache-2.0, BSD, MIT, ISC, MPL-2.0)",
    "github:moby/moby": "Apache-2.0 and the licences of vendored packages (Apache-2.0, BSD, MIT, ISC, MPL-2.0)",
    "github:pallets/flask": "BSD-3-Clause",
    "github:pypa/pip": "MIT and the licences of vendored packages (Apache-2.0, BSD, MIT, MPL-2.0)",
    "github:GSA/digitalgov.gov": "public domain / CC0 (US government)",
    "github:python/peps": "public domain or CC0",
    "github:pubmedqa/pubmedqa": "MIT (data set); abstracts as in PubMed",
    "github:PLOS/allofplos": "CC BY / CC0",
    "github:kevswanberg/beer_tentrr": "CC BY-SA (Stack Exchange data dump)",
    "github:GonzaloHirsch/TP-XML": "CC BY-SA (Stack Exchange data dump)",
    "github:USPTO/PatentPublicData": "public domain (US patents)",
    "github:testock/SMAA2020_team_1": "public domain (US court opinions)",
}
LONGEST = 6000
SINGLES = {
    "Github": 70, "Pile-CC": 55, "StackExchange": 45, "EuroParl": 4, "ArXiv": 5, "DM Mathematics": 8,
    "PubMed Abstracts": 40, "PubMed Central": 3, "USPTO Backgrounds": 4, "FreeLaw": 2,
}  # fmt: skip
DUPLICATE_SETS, LABELLED_CLUSTERS, SHORT = 45, 40, 30


def text_of(path: Path) -> str:
    return zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read().decode()


def origin(source: str) -> str:
    return ":".join(source.split(":")[:2])


def choose(corpus: Path, truth: Path) -> list[dict[str, str]]:
    """Documents as {text, subset, source, cluster}: cluster "" where nothing is known."""
    rng = random.Random(20)
    lines = {p.name[:2]: text_of(p).split("\n") for p in sorted(corpus.glob("[0-9]*.jsonl.zst"))}
    index = list(csv.DictReader(io.StringIO(text_of(corpus / "index.tsv.zst")), delimiter="\t", quoting=csv.QUOTE_NONE))
    usable = {
        f"{r['shard']}:{r['line']}": r
        for r in index
        if origin(r["source"]) in SOURCES and 0 < int(r["text_bytes"]) <= LONGEST
    }

    def document(key: str, cluster: str) -> dict[str, str]:
        shard, line = key.split(":")
        text = json.loads(lines[shard][int(line) - 1])["text"]
        r = usable[key]
        return {"text": text, "subset": r["pile_set_name"], "source": origin(r["source"]), "cluster": cluster}

    neighbours: dict[str, set[str]] = {}
    for r in csv.DictReader(io.StringIO(text_of(corpus / "jaccard_pairs_ge_0.7.tsv.zst")), delimiter="\t"):
        if r["doc_a"] in usable and r["doc_b"] in usable:
            neighbours.setdefault(r["doc_a"], set()).add(r["doc_b"])
            neighbours.setdefault(r["doc_b"], set()).add(r["doc_a"])
    chosen = []
    taken: set[str] = set()
    heads = sorted(neighbours)
    rng.shuffle(heads)
    for head in heads:
        members = [head, *sorted(neighbours[head])[:3]]
        if len(chosen) < 3 * DUPLICATE_SETS and not taken & set(members):
            taken |= set(members) | neighbours[head]
            chosen += [document(m, f"natural-{head}") for m in members]
    for subset, count in SINGLES.items():
        keys = [k for k, r in usable.items() if r["pile_set_name"] == subset and k not in taken and k not in neighbours]
        if not keys:  # books and debates are longer: their beginnings
            continue
        chosen += [document(k, "") for k in rng.sample(keys, min(count, len(keys)))]
    short = [k for k, r in usable.items() if r["pile_set_name"] != "Github" and k not in taken and k not in neighbours]
    short = [k for k in short if int(usable[k]["text_bytes"]) < 300]
    chosen += [document(k, "") for k in rng.sample(short, min(SHORT, len(short)))]
    with (truth / "labels.tsv").open(encoding="utf-8") as f:
        labels = {r["id"]: r for r in csv.DictReader(f, delimiter="\t")}
    by_cluster: dict[str, list[dict[str, str]]] = {}
    for line in text_of(truth / "docs.jsonl.zst").splitlines():
        d = json.loads(line)
        label = labels[d["meta"]["id"]]
        if (
            origin(label["source"]) in SOURCES
            and len(d["text"].encode()) <= LONGEST
            and label["group"] in ("edit", "revision")
        ):
            row = {"text": d["text"], "subset": d["meta"]["pile_set_name"], "source": origin(label["source"])}
            by_cluster.setdefault(label["cluster"], []).append({**row, "cluster": label["cluster"]})
    several = sorted(c for c, members in by_cluster.items() if len(members) > 1)
    for cluster in rng.sample(several, LABELLED_CLUSTERS):
        chosen += by_cluster[cluster][:4]
    rng.shuffle(chosen)
    return chosen


def shingles(text: str) -> set[tuple[str, ...]]:
    w = unicode_reference.words(text)
    return {tuple(w[i : i + 5]) for i in range(len(w) - 4)} if len(w) >= 5 else {tuple(w)} if w else set()


def write(documents: list[dict[str, str]]) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    third = -(-len(documents) // 3)
    names, labels = [], []
    for i, shard in enumerate(documents[s : s + third] for s in range(0, len(documents), third)):
        name = f"{i:02d}"
        rows = [{"text": d["text"], "meta": {"pile_set_name": d["subset"]}} for d in shard]
        raw = [json.dumps(r, ensure_ascii=i != 1).encode() + b"\n" for r in rows]
        names += [f"{name}:{n + 1}" for n in range(len(raw))]
        labels += [(name, n + 1, d["cluster"], d["source"]) for n, d in enumerate(shard)]
        compressor = zstandard.ZstdCompressor(level=19, write_content_size=False)
        if i == 2:  # several frames, cut inside lines
            whole = b"".join(raw)
            parts = [whole[k : k + 100_003] for k in range(0, len(whole), 100_003)]
        else:
            parts = [b"".join(raw)]
        (TARGET / f"{name}.jsonl.zst").write_bytes(b"".join(compressor.compress(p) for p in parts))
    with (TARGET / "labels.tsv").open("w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, delimiter="\t", lineterminator="\n")
        writer.writerow(["shard", "line", "cluster", "source"])
        writer.writerows(labels)
    sets = [shingles(d["text"]) for d in documents]
    with (TARGET / "jaccard_pairs.tsv").open("w", encoding="utf-8", newline="") as f:
        writer = csv.writer(f, delimiter="\t", lineterminator="\n")
        writer.writerow(["doc_a", "doc_b", "jaccard_word5"])
        for a, b in itertools.combinations(range(len(sets)), 2):
            union = len(sets[a] | sets[b])
            if union and len(sets[a] & sets[b]) / union >= 0.5:
                writer.writerow([names[a], names[b], repr(len(sets[a] & sets[b]) / union)])
    n_bytes = sum(len(d["text"].encode()) for d in documents)
    used = sorted({d["source"] for d in documents})
    rows = "\n".join(f"| {s} | {SOURCES[s]} | {sum(d['source'] == s for d in documents)} |" for s in used)
    (TARGET / "SOURCES.md").write_text(
        f"""# The demo corpus

{len(documents)} real documents in the form of The Pile, {n_bytes:,} bytes of text, made by
tools/make_demo_corpus.py. Subset names say which kind of text a document is; nothing here comes from The Pile itself.
It holds exact duplicates and near duplicates as they occur in these sources, and labelled ones (revisions of one
document, controlled edits). 00 is one frame, escaped to ASCII; 01 one frame of raw UTF-8; 02 several frames cut
inside lines. None states its content size, as in The Pile.

- labels.tsv: shard, line, cluster (documents known to be versions of one; empty where nothing is known), source.
- jaccard_pairs.tsv: every pair with an exact Jaccard similarity of word 5-grams of 0.5 or more.

Each text stays under the licence of its source:

| source | licence | documents |
|---|---|---:|
{rows}
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write(choose(Path(sys.argv[1]), Path(sys.argv[2])))
