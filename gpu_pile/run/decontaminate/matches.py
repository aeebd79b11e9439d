"""From what is stored of the ranges to matches: one row for each item and document that have something in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.shards import Shard
from gpu_pile.dedup.ngram_weights import entry_weights, measure_pairs
from gpu_pile.run.decontaminate.cut import Span
from gpu_pile.run.decontaminate.index import Index
from gpu_pile.run.decontaminate.items import ANSWER, PARTS, PASSAGE, QUESTION, Items
from gpu_pile.run.decontaminate.judge import Match, Rule, judge, text_weights
from gpu_pile.run.decontaminate.scan import USERS_MAX, PartFiles
from gpu_pile.types import Array

SPANS_MAX = 16
"""Spans of a match that its row lists, the longest first."""

SPAN = pa.struct(
    [("part", pa.string()), ("at", pa.int32()), ("tokens", pa.int32()), ("start", pa.int64()), ("end", pa.int64())]
)
SCHEMA = pa.schema(
    [
        *[("set", pa.string()), ("item", pa.string()), ("copies", pa.int64())],
        *[("shard", pa.string()), ("line", pa.int64()), ("subset", pa.string())],
        *[("contaminated", pa.bool_()), ("boilerplate", pa.bool_()), ("score", pa.float64())],
        *[(f"{part}_share", pa.float64()) for part in ("question", "answer", "passage")],
        *[("longest", pa.int64()), ("documents", pa.int64()), ("n_spans", pa.int64())],
        *[("spans", pa.list_(SPAN)), ("text", pa.string())],
    ]
)


class Part(NamedTuple):
    """What is stored of a range; first_line: lines of the shard before it."""

    shard: Shard
    files: PartFiles
    facts: dict[str, Any]
    first_line: int

    def table(self, name: str) -> pa.Table | None:
        return pq.read_table(files.table(self.files.tables[name])) if name in self.facts["tables"] else None


class Judge:
    """Judges the matches of parts, in order, and counts.

    flags: int64[items], of each distinct item: bits of CONTAMINATED, BOILERPLATE and MATCHED
    documents: contaminated documents of each set, by number; of all sets together under ALL
    subsets: contaminated documents by subset
    cuts: the spans of contaminated items: shard, line, start, end
    """

    CONTAMINATED, BOILERPLATE, MATCHED = 1, 2, 4
    ALL = -1

    def __init__(self, items: Items, index: Index, rule: Rule, parts: Sequence[Part], names: Sequence[str]) -> None:
        self.items, self.index, self.rule, self.names = items, index, rule, names
        documents = np.zeros(len(index.table.keys), np.int64)
        for part in parts:
            counts = part.table("counts")
            if counts is not None:
                documents[counts.column("entry").to_numpy()] += counts.column("documents").to_numpy()
        weights = entry_weights(documents, max(1, sum(p.facts["documents"] for p in parts)))
        self.totals = text_weights(index, weights)
        self._numbers = index.windows, index.entries, documents, weights
        self.flags = np.zeros(len(items.items), np.int64)
        self.documents: Counter[int] = Counter()
        self.subsets: Counter[str] = Counter()
        self.cuts: list[Span] = []
        self._spread: set[tuple[int, int]] = set()

    def rows(self, part: Part) -> Iterator[list[dict[str, Any]]]:
        """The rows of each document of a part, in order."""
        spans = part.table("spans")
        if spans is None:
            return
        columns = {name: spans.column(name).to_numpy() for name in ("line", "text", "at", "length", "start", "end")}
        answers = part.table("answers")
        beside = (
            set()
            if answers is None
            else set(zip(*(answers.column(n).to_pylist() for n in ("line", "item")), strict=True))
        )
        bounds = _changes(columns["line"], columns["text"])
        measured = measure_pairs(bounds, columns["text"], columns["at"], columns["length"], self._numbers)
        lines = columns["line"][bounds[:-1]]
        starts = _changes(lines, lines)
        for lo, hi in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            matches = [
                Match(*map(int, (columns["text"][bounds[i]], *measured[i], bounds[i], bounds[i + 1])))
                for i in range(lo, hi)
            ]
            yield self._document(part, spans, columns, matches, beside)

    def _document(
        self, part: Part, spans: pa.Table, columns: dict[str, Array], matches: list[Match], beside: set[tuple[int, int]]
    ) -> list[dict[str, Any]]:
        line = int(columns["line"][matches[0].first])
        by_text = {m.text: m for m in matches}
        subset = spans.column("subset")[matches[0].first].as_py()
        users = dict.fromkeys(n for m in matches for n in self.items.users[m.text][:USERS_MAX])
        rows, sets = [], set()
        for n in sorted(users):
            item = self.items.items[n]
            own: dict[int, list[Match]] = {}
            for kind, text in self.items.parts(item):
                if text in by_text:
                    own.setdefault(kind, []).append(by_text[text])
            verdict = judge(self.rule, self.items, item, own, (line, n) in beside, self.totals)
            flag = (
                self.CONTAMINATED if verdict.contaminated else self.BOILERPLATE if verdict.boilerplate else self.MATCHED
            )
            self.flags[n] |= flag
            self._share(own, flag)
            if verdict.contaminated:
                sets.add(item.number)
                self.cuts += _cuts((part.shard.name, line + part.first_line), columns, own)
            rows.append(
                {
                    **{"set": self.names[item.number], "item": item.id, "copies": item.copies},
                    **{"shard": part.shard.name, "line": line + part.first_line, "subset": subset},
                    "contaminated": verdict.contaminated,
                    "boilerplate": verdict.boilerplate,
                    "score": verdict.score,
                    "question_share": verdict.shares[QUESTION],
                    "answer_share": verdict.shares[ANSWER],
                    "passage_share": verdict.shares[PASSAGE],
                    "longest": verdict.longest,
                    "documents": verdict.documents,
                    **_spans(spans, columns, own),
                }
            )
        if sets:
            self.documents.update({*sets, self.ALL})
            self.subsets[rows[0]["subset"]] += 1
        return rows

    def _share(self, own: dict[int, list[Match]], flag: int) -> None:
        """The items beyond USERS_MAX that have a text are what the one before them is, without a look at answers."""
        for matches in own.values():
            for m in matches:
                users = self.items.users[m.text]
                if len(users) > USERS_MAX and (m.text, flag) not in self._spread:
                    self._spread.add((m.text, flag))
                    self.flags[users[USERS_MAX:]] |= flag


def _cuts(place: tuple[str, int], columns: dict[str, Array], own: dict[int, list[Match]]) -> list[Span]:
    """The spans of an item in the document at a place."""
    rows = [i for matches in own.values() for m in matches for i in range(m.first, m.end)]
    return [(*place, int(columns["start"][i]), int(columns["end"][i])) for i in rows]


def _changes(*columns: Array) -> Array:
    """int64: where a value differs from the one before, and the length."""
    n = len(columns[0])
    new = np.ones(n, bool)
    if n:
        new[1:] = np.logical_or.reduce([c[1:] != c[:-1] for c in columns])
    return np.append(np.flatnonzero(new), n)


def _spans(spans: pa.Table, columns: dict[str, Array], own: dict[int, list[Match]]) -> dict[str, Any]:
    """The columns about spans: the longest of them, and the text of the longest."""
    found = [
        (int(columns["length"][i]), kind, i) for kind, ms in own.items() for m in ms for i in range(m.first, m.end)
    ]
    found.sort(key=lambda s: (-s[0], columns["start"][s[2]], s[1], s[2]))
    listed = [
        {
            "part": PARTS[kind],
            "at": int(columns["at"][i]),
            "tokens": n,
            "start": int(columns["start"][i]),
            "end": int(columns["end"][i]),
        }
        for n, kind, i in found[:SPANS_MAX]
    ]
    texts = (spans.column("excerpt")[i].as_py() for _, _, i in found)
    return {"n_spans": len(found), "spans": listed, "text": next((t for t in texts if t is not None), "")}
