"""gpu-pile decontaminate: look through the shards, judge, and write contamination/ in the run directory.

found/          what is stored of each range (scan.py); a changed rule reads nothing else
matches.parquet, matches.jsonl   a row for each item and document that have something in common
removals.jsonl  the contaminated documents, as decide.remove takes them
cuts.parquet    the spans of their items: shard, line, start, end
summary.json    what each set and each subset has
report.html     the same for people, with examples
cut/            with decontaminate.cut, the shards without these spans (cut.py)

Everything but found/ and cut/ is written together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.ranges import ShardRange
from gpu_pile.corpus.shards import Shard
from gpu_pile.errors import ConfigError
from gpu_pile.run.context import Context
from gpu_pile.run.decontaminate import cut as cutting
from gpu_pile.run.decontaminate.judge import Rule
from gpu_pile.run.decontaminate.matches import SCHEMA, Judge, Part
from gpu_pile.run.decontaminate.report import render
from gpu_pile.run.decontaminate.scan import STAGE, PartFiles, RangeScanner, Wanted, definition_key, wanted
from gpu_pile.run.reading import changed, shard_ranges
from gpu_pile.run.tasks import Task
from gpu_pile.text.tokens import WIDTH

ROWS = 1 << 14
EXAMPLES = 20
REASON = "contaminated"


def folder_of(context: Context) -> AnyPath:
    return context.directory.path / "contamination"


def decontaminate(context: Context) -> dict[str, Any]:
    """Do everything that is not done. Return the summary."""
    settings = context.config.decontaminate
    check(context)
    definition = definition_key(context)
    looked_for = wanted(context, definition)
    with context.stage(STAGE, context.shards) as entry:
        parts = find_parts(context, definition)
        entry["text_bytes"] = sum(p.facts["text_bytes"] for p in parts)
    rule = Rule.of(settings.rule, settings.documents_max, sum(p.facts["documents"] for p in parts))
    judge = Judge(looked_for.items, looked_for.index, rule, parts, [s.name for s in settings.against])
    summary = _write(context, looked_for, judge, parts)
    cutting.cut(context, cutting.merged(judge.cuts))
    return summary


def check(context: Context) -> None:
    """Raise a ConfigError if there is nothing to compare with."""
    if not context.config.decontaminate.against:
        raise ConfigError(
            "decontaminate.against is empty: name evaluation sets, such as "
            "{name: quiz, files: quiz.jsonl, question: question, answers: answer}"
        )
    cutting.check(context)


# looking


def find_parts(context: Context, definition: str) -> list[Part]:
    """Look through the ranges that have not been looked through, and remove what is stored of others."""
    ranges = list(zip(context.shards, shard_ranges(context, context.shards), strict=True))
    todo = [(s, r) for s, own in ranges for r in own]
    known = {(s.name, r): PartFiles(context, s, r, definition).read(s) for s, r in todo}
    for (_, r), facts in known.items():
        if facts:
            context.reporter.advance(STAGE, r.n_bytes)
    context.do(STAGE, [_task(context, s, r, definition) for s, r in todo if not known[s.name, r]])
    whole = [(s, ShardRange(0, 1, 0, s.n_bytes)) for s, own in ranges if not _stands_alone(context, s, own, definition)]
    again = [(s, r) for s, r in whole if not PartFiles(context, s, r, definition).read(s)]
    context.do(STAGE, [_task(context, s, r, definition) for s, r in again])
    chosen = {s.name: [r] for s, r in whole}
    parts = []
    for shard, own in ranges:
        line = 0
        for r in chosen.get(shard.name, own):
            stored = PartFiles(context, shard, r, definition)
            facts = stored.read(shard)
            if not facts:
                raise changed(shard)
            parts.append(Part(shard, stored, facts, line))
            line += facts["lines"]
    _remove_others(context, parts, [PartFiles(context, s, r, definition) for s, r in todo])
    return parts


def _stands_alone(context: Context, shard: Shard, ranges: Sequence[ShardRange], definition: str) -> bool:
    """Whether the ranges together are what looking through the whole shard would give; see measure's merge."""
    if len(ranges) == 1:
        return True
    facts = [PartFiles(context, shard, r, definition).read(shard) for r in ranges]
    few = sum(f.get("bad_lines", 0) for f in facts) <= context.config.input.bad_lines_max
    return few and all(f.get("alone", True) for f in facts)


def _task(context: Context, shard: Shard, shard_range: ShardRange, definition: str) -> Task:
    facts = PartFiles(context, shard, shard_range, definition).facts
    n_bytes = shard_range.n_bytes
    args = (shard, shard_range, definition)
    return Task(RangeScanner, args, n_bytes, shard_range.label(shard), (facts,), n_bytes)


def _remove_others(context: Context, parts: Sequence[Part], kept: Sequence[PartFiles]) -> None:
    """Remove what is stored of former inputs and of ranges that were split in another way."""
    names = {f.name for p in [*(part.files for part in parts), *kept] for f in (p.facts, *p.tables.values())}
    found: list[AnyPath] = [*(folder_of(context) / "found").glob("*")]
    for path in found:
        if path.name not in names:
            path.unlink(missing_ok=True)


# judging and writing


def _write(context: Context, looked_for: Wanted, judge: Judge, parts: Sequence[Part]) -> dict[str, Any]:
    folder, examples = folder_of(context), _Examples()
    with files.AtomicFiles() as made, context.reporter.span(STAGE, "judge"):
        _write_rows(made, folder, (examples.seen(row) for part in parts for row in judge.rows(part)))
        summary = summarize(looked_for, judge, parts)
        made.add(folder / "summary.json").partial.write_text(
            json.dumps(summary, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        columns = list(zip(*cutting.merged(judge.cuts), strict=True)) or [()] * len(cutting.SCHEMA)
        spans = pa.table([pa.array(c, f.type) for c, f in zip(columns, cutting.SCHEMA, strict=True)], cutting.SCHEMA)
        pq.write_table(spans, made.add(folder / "cuts.parquet").partial)
        page = render(summary, examples.rows)
        made.add(folder / "report.html").partial.write_text(page, encoding="utf-8")
    return summary


class _Examples:
    """The first rows of each kind, for the report."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {"contaminated": [], "matched": [], "boilerplate": []}

    def seen(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for row in rows:
            kind = "contaminated" if row["contaminated"] else "boilerplate" if row["boilerplate"] else "matched"
            if len(self.rows[kind]) < EXAMPLES:
                self.rows[kind].append(row)
        return rows


def _write_rows(made: files.AtomicFiles, folder: AnyPath, documents: Iterator[list[dict[str, Any]]]) -> None:
    table, lines, removals = (made.add(folder / n) for n in ("matches.parquet", "matches.jsonl", "removals.jsonl"))
    with (
        table.errors(),
        pq.ParquetWriter(table.partial, SCHEMA, compression="zstd") as writer,
        lines.partial.open("w", encoding="utf-8") as out,
        removals.partial.open("w", encoding="utf-8") as removed,
    ):
        waiting: list[dict[str, Any]] = []
        for rows in documents:
            for row in rows:
                out.write(json.dumps(row, ensure_ascii=False) + "\n")
            worst = [row for row in rows if row["contaminated"]]
            if worst:
                removed.write(json.dumps(_removal(worst), ensure_ascii=False) + "\n")
            waiting += rows
            if len(waiting) >= ROWS:
                writer.write_table(pa.Table.from_pylist(waiting, SCHEMA))
                waiting = []
        writer.write_table(pa.Table.from_pylist(waiting, SCHEMA))


def _removal(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The row of decide.remove for a document with these contaminated items."""
    worst = max(rows, key=lambda row: (row["score"], row["longest"]))
    more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
    note = f"{worst['set']}, item {worst['item']}{more}: {worst['longest']} tokens in a row"
    return {"shard": worst["shard"], "line": worst["line"], "reason": REASON, "note": note}


def summarize(looked_for: Wanted, judge: Judge, parts: Sequence[Part]) -> dict[str, Any]:
    subsets: dict[str, int] = {}
    for part in parts:
        for name, n in part.facts["subsets"].items():
            subsets[name] = subsets.get(name, 0) + n
    return {
        "rule": judge.rule.name,
        "documents_max": judge.rule.documents_max,
        "documents": sum(p.facts["documents"] for p in parts),
        "text_bytes": sum(p.facts["text_bytes"] for p in parts),
        "contaminated_documents": judge.documents[Judge.ALL],
        "bad_lines": sum(p.facts["bad_lines"] for p in parts),
        "damage": [f"{p.shard.name}: {d}" for p in parts for d in p.facts["damage"]],
        "passed_over": looked_for.index.passed_over,
        "sets": [_of_set(looked_for, judge, number) for number in range(len(judge.names))],
        "subsets": [
            {"name": name, "documents": n, "contaminated": judge.subsets[name]} for name, n in sorted(subsets.items())
        ],
    }


def _of_set(looked_for: Wanted, judge: Judge, number: int) -> dict[str, Any]:
    """What a set has; figures count equal items as often as they are in the set."""
    items = looked_for.items
    own = np.array([n for n, item in enumerate(items.items) if item.number == number], np.int64)
    copies = np.array([items.items[n].copies for n in own.tolist()], np.int64)
    flags, lengths = judge.flags[own], items.lengths[own]

    def count(chosen: Any) -> int:
        return int(copies[chosen].sum())

    contaminated = count(flags & Judge.CONTAMINATED > 0)
    return {
        "name": judge.names[number],
        "items": items.read[number],
        "distinct": len(own),
        "not_searched": count(lengths == 0),
        "short": count((lengths > 0) & (lengths < WIDTH)),
        "contaminated": contaminated,
        "share": contaminated / items.read[number],
        "matched": count(flags & (Judge.CONTAMINATED | Judge.MATCHED) == Judge.MATCHED),
        "boilerplate": count(flags == Judge.BOILERPLATE),
        "documents": judge.documents[number],
    }
