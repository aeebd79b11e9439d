"""Some removed texts for each reason.

Those that fail a threshold come from the samples that were taken while measuring, so no shard is read. Duplicates are
found in the first row groups of the decisions, and their texts and those of their witnesses are read from the shards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.dedup.survivors import CONTAINED, DUPLICATES, EXACT, NEAR
from gpu_pile.policy.thresholds import bounds_of
from gpu_pile.present import diff
from gpu_pile.run import directory
from gpu_pile.run.context import Context
from gpu_pile.run.documents import readable_texts
from gpu_pile.run.index.witnesses import WITNESS, Place
from gpu_pile.run.joining import with_joined
from gpu_pile.run.stages.decide import failures
from gpu_pile.run.tables import subset_codes

PER_REASON = 3
CHARACTERS = 600
"""Of a text that is shown."""

DIFFERENCE_MAX = 100_000
"""Characters up to which two texts are compared word by word."""

SHARDS_READ = 64
"""Samples that are looked at, those of shards spread over the corpus."""

GROUPS_READ = 8
"""Row groups of decisions that are looked at for duplicates."""

CANDIDATES = 30
"""Near duplicates to choose from: those that are quickest to read."""

READ_BYTES = 5e8
"""Decompressed bytes of shards to read for the texts of duplicates."""

Example = dict[str, Any]
"""doc_id, shard, line, subset, why; a text's excerpt, or a list of segments as of gpu_pile.present.diff; or neither."""


def examples(context: Context) -> dict[str, list[Example]]:
    """Up to PER_REASON removed documents by reason."""
    return {**failing(context), **duplicates(context)}


def spread(items: Sequence[Any], n: int) -> list[Any]:
    """The first, the last and some in between, n in all."""
    n = min(n, len(items))
    return [items[i * (len(items) - 1) // max(1, n - 1)] for i in range(n)]


def cut(text: str) -> str:
    """The beginning of a text."""
    return text if len(text) <= CHARACTERS else f"{text[:CHARACTERS]}…"


def _place(shard: Shard, line: int, subset: str) -> Example:
    return {"doc_id": directory.doc_id(shard.index, line), "shard": shard.name, "line": line, "subset": subset}


# thresholds


def failing(context: Context) -> dict[str, list[Example]]:
    """Texts of the samples by rule: from the nearest to the bound to the farthest."""
    found: dict[str, list[tuple[float, Example]]] = {}
    for shard in spread(context.shards, SHARDS_READ):
        for rule, examples in _failing_in(context, shard).items():
            found.setdefault(rule, []).extend(examples)
    chosen = {rule: [e for _, e in _nearest_to_farthest(examples)] for rule, examples in found.items()}
    _add_excerpts(context, [e for examples in chosen.values() for e in examples])
    return chosen


def _nearest_to_farthest(examples: Iterable[tuple[float, Example]]) -> list[tuple[float, Example]]:
    return spread(sorted(examples, key=lambda found: (found[0], found[1]["doc_id"])), PER_REASON)


def _failing_in(context: Context, shard: Shard) -> dict[str, list[tuple[float, Example]]]:
    """By rule some documents of a shard's sample that fail it, each with its distance from the bound."""
    policy = context.config.thresholds
    columns = ["line", "subset", *(n for n in policy.columns() if n not in context.config.joined_columns)]
    table = pq.read_table(files.table(context.directory.sample(shard.name)), columns=columns)
    table = with_joined(context, shard, table)
    rules, marks, values = failures(table, context.config)
    subsets, codes = subset_codes(table)
    lines = table.column("line").to_numpy()
    found = {}
    for j, rule in enumerate(rules):
        signal, _, kind = rule.rpartition(".")
        limits = np.array([dict(bounds_of(policy.rules_of(s).get(signal))).get(kind, np.nan) for s in subsets])
        rows = np.flatnonzero(marks[:, j])
        distance = np.nan_to_num(np.abs(values[rows, j] - limits[codes[rows]]))
        here = []
        for i in spread(rows[np.lexsort((rows, distance))].tolist(), PER_REASON):
            subset, value = subsets[codes[i]], float(values[i, j])
            example = {**_place(shard, int(lines[i]), subset), "why": policy.explain(rule, value, subset)}
            here.append((float(distance[rows == i][0]), example))
        if here:
            found[rule] = here
    return found


def _add_excerpts(context: Context, examples: Sequence[Example]) -> None:
    """Take the texts from the samples."""
    wanted: dict[str, set[int]] = {}
    for example in examples:
        wanted.setdefault(example["shard"], set()).add(example["line"])
    texts = {}
    for name, lines in wanted.items():
        table = pq.read_table(files.table(context.directory.sample(name)), columns=["line", "excerpt"])
        table = table.filter(pc.is_in(table.column("line"), pa.array(sorted(lines), pa.int64())))
        texts.update({(name, row["line"]): row["excerpt"] for row in table.to_pylist()})
    for example in examples:
        example["excerpt"] = cut(texts[example["shard"], example["line"]])


# duplicates


def duplicates(context: Context) -> dict[str, list[Example]]:
    """Some exact duplicates, and near duplicates from the least similar to the most similar."""
    wanted = DUPLICATES if context.config.dedupe.contained is not None else (EXACT, NEAR)
    found: dict[str, list[dict[str, Any]]] = {reason: [] for reason in DUPLICATES}
    for table in _decisions(context):
        removed = table.filter(pc.is_valid(table.column("witness")))
        for row in removed.slice(0, 10_000).to_pylist():
            for reason in set(DUPLICATES) & set(row["reasons"]):  # none of a copy that stays
                found[reason].append(row)
        if all(len(found[reason]) >= PER_REASON for reason in wanted):
            break
    chosen = {EXACT: found[EXACT][:PER_REASON]}
    for reason in (NEAR, CONTAINED):
        rows = sorted(found[reason], key=_lines_before)[:CANDIDATES]
        rows.sort(key=lambda row: (row["similarity"] or 0.0, row["doc_id"]))
        chosen[reason] = spread(rows, PER_REASON)
    ids = [row["doc_id"] for rows in chosen.values() for row in rows]
    ids += [row["witness"] for reason in (NEAR, CONTAINED) for row in chosen[reason]]
    texts = readable_texts(context, list(dict.fromkeys(ids)), READ_BYTES)
    return {reason: [_duplicate(row, texts) for row in rows] for reason, rows in chosen.items() if rows}


def _lines_before(row: dict[str, Any]) -> int:
    """How far a shard must be read for a document and its witness."""
    return max(int(directory.split_doc_id(row[key])[1]) for key in ("doc_id", "witness"))


def _decisions(context: Context) -> Iterator[pa.Table]:
    """The first row groups of decisions."""
    columns = ["doc_id", "shard", "line", "subset", "reasons", "witness", "similarity"]
    columns += [field.name for field in WITNESS] if context.config.input.against else []
    left = GROUPS_READ
    for shard in context.shards:
        with pq.ParquetFile(files.table(context.directory.decisions(shard.name))) as file:
            for group in range(min(left, file.num_row_groups)):
                yield file.read_row_group(group, columns=columns)
            left -= min(left, file.num_row_groups)


def _duplicate(row: dict[str, Any], texts: dict[int, str]) -> Example:
    place = {key: row[key] for key in ("doc_id", "shard", "line", "subset")}
    witness = row["witness"]
    if row.get("witness_run") is not None:
        named = str(Place(row["witness_run"], row["witness_shard"], row["witness_line"]))
    else:
        named = str(witness)
    known = row["doc_id"] in texts
    if EXACT in row["reasons"]:
        equal = {"excerpt": cut(texts[row["doc_id"]])} if known else {}
        return {**place, "why": f"the text of {named}, which stays", **equal}
    similarity = f", similarity {row['similarity']:.3f}" if row["similarity"] is not None else ""
    why = f"like {named}, which stays{similarity}"
    if CONTAINED in row["reasons"]:
        why = f"{row['similarity']:.1%} of it are in {named}, which stays"
    if not known or witness not in texts:
        return {**place, "why": why, **({"excerpt": cut(texts[row["doc_id"]])} if known else {})}
    return {**place, "why": why, "difference": _difference(texts[row["doc_id"]], texts[witness])}


def _difference(first: str, second: str) -> list[diff.Segment]:
    """The beginning of what differs, with some of what is equal around it."""
    segments, left = [], 2 * CHARACTERS
    whole = diff.difference(first[:DIFFERENCE_MAX], second[:DIFFERENCE_MAX])
    for kind, text in diff.shortened(whole, around=CHARACTERS // 6):
        segments.append((kind, text if len(text) <= left else f"{text[:left]}…"))
        left -= len(text)
        if left <= 0:
            break
    return segments
