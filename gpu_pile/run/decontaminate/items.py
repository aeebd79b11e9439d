"""The items of evaluation sets: read once, equal texts and equal items put together.

An item has a passage, a question and answers, each of them optional. Equality is that of tokens (gpu_pile.text.tokens).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpu_pile.corpus import tables
from gpu_pile.corpus.blocks import Block
from gpu_pile.corpus.reader import Limits, ShardReader
from gpu_pile.corpus.shards import Shard, find_shards
from gpu_pile.errors import ConfigError, DataError, UsageError
from gpu_pile.run.config import EvaluationSet
from gpu_pile.text.blocks import padded
from gpu_pile.text.column import TextColumn
from gpu_pile.text.tokens import TABLES, WIDTH, Tokens, split_tokens
from gpu_pile.types import Array

PASSAGE, QUESTION, ANSWER = range(3)
PARTS = ("passage", "question", "answer")

FIELDS_SHOWN = 12
BOM = "\ufeff"
BLOCK_BYTES = 4 * 2**20
BATCH_BYTES = 16 * 2**20
NO_TEXT = -1
SHORTEST = 3
"""Tokens of an item that is searched, at least: fewer are everywhere."""


class Item(NamedTuple):
    """One of several equal items of a set, the first.

    number:  of the set, from 0
    id:      as the set gives it, or the line or row
    copies:  equal items of the set, this one included
    passage, question: texts by number, or NO_TEXT
    answers: texts by number, distinct
    """

    number: int
    id: str
    copies: int
    passage: int
    question: int
    answers: tuple[int, ...]


@dataclass
class Items:
    """The distinct items of all sets, and the distinct texts that they consist of.

    items:    ascending by set and place in it
    tokens:   of the texts, by number
    searched: bool[n_texts], whether the n-grams of the text are looked for
    users:    items by the number of a text that is searched for them
    lengths:  int64[n_items], tokens of the longest text that is searched for the item; 0 if there is none
    read:     items of each set as they were read, equal ones included
    """

    items: list[Item]
    tokens: Tokens
    searched: Array
    users: dict[int, list[int]] = field(default_factory=dict)
    lengths: Array = field(default_factory=lambda: np.empty(0, np.int64))
    read: list[int] = field(default_factory=list)

    def n_tokens(self, text: int) -> int:
        return int(self.tokens.first[text + 1] - self.tokens.first[text]) if text >= 0 else 0

    def words(self, text: int) -> bytes:
        """The tokens of a text, with a space before and after each."""
        tokens = self.tokens
        first, end = tokens.bounds[tokens.first[text]], tokens.bounds[tokens.first[text + 1]]
        return b" " + tokens.letters[first:end].tobytes()

    def parts(self, item: Item) -> list[tuple[int, int]]:
        """(part, text) of the texts of an item that are searched."""
        texts = [(PASSAGE, item.passage), (QUESTION, item.question), *((ANSWER, a) for a in item.answers)]
        return [(part, text) for part, text in texts if text >= 0 and self.searched[text]]


class _Texts:
    """Texts by number, equal ones once."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self.numbers.setdefault(text, len(self.numbers)) if text else NO_TEXT


def read_items(sets: Sequence[EvaluationSet]) -> Items:
    """Read evaluation sets.

    Raises:
        ConfigError: a set has no field of a name that is configured. DataError: a set has no items, or a line that
            cannot be read; an item that is passed over would be an item that is not looked for.
    """
    texts, read = _Texts(), []
    found: dict[tuple[Any, ...], list[Any]] = {}
    for number, spec in enumerate(sets):
        before = dict.fromkeys(("question", "passage"), False)
        n = 0
        for where, value in _objects(spec):
            n += 1
            question, passage = (" ".join(_values(value, getattr(spec, name))) for name in ("question", "passage"))
            answers = tuple(texts.number(a) for a in _values(value, spec.answers))
            before["question"] |= bool(question)
            before["passage"] |= bool(passage)
            key = (number, texts.number(passage), texts.number(question), answers)
            if key in found:
                found[key][1] += 1
            else:
                identifier = (_values(value, [spec.id]) if spec.id else None) or [str(n)]
                found[key] = [identifier[0], 1]
            if n == 1:
                first = (where, value)
        if n == 0:
            raise DataError(f"evaluation set {spec.name!r} has no items in {', '.join(spec.files)}")
        _check_fields(spec, before, *first)
        read.append(n)
    return _distinct(texts, found, read)


def _check_fields(spec: EvaluationSet, has: Mapping[str, bool], where: str, value: Mapping[str, Any]) -> None:
    missing = [name for name, there in has.items() if getattr(spec, name) and not there]
    if missing:
        asked = ", ".join(f"{name}: {', '.join(getattr(spec, name))}" for name in missing)
        fields = ", ".join(map(repr, list(value)[:FIELDS_SHOWN]))
        raise ConfigError(
            f"evaluation set {spec.name!r}: no item has a text there ({asked}); {where} has the fields {fields}"
        )


def _distinct(texts: _Texts, found: Mapping[tuple[Any, ...], list[Any]], read: list[int]) -> Items:
    """Put texts with equal tokens together, then items with equal texts."""
    column = TextColumn.from_documents(texts.numbers)
    tokens = Tokens(*split_tokens(padded(column.data), column.offsets, TABLES))
    nowhere = np.empty(0, np.int64)  # where they were in the column, nobody asks
    tokens = tokens._replace(starts=nowhere, ends=nowhere)
    by_tokens: dict[bytes, int] = {}
    letters, bounds = tokens.letters.tobytes(), tokens.bounds[tokens.first].tolist()
    same = [
        by_tokens.setdefault(letters[begin:end], text) if end > begin else NO_TEXT
        for text, (begin, end) in enumerate(itertools.pairwise(bounds))
    ]
    merged: dict[tuple[Any, ...], Item] = {}
    for (number, passage, question, answers), (identifier, copies) in found.items():
        chosen = tuple(dict.fromkeys(same[a] for a in answers if a >= 0 and same[a] >= 0))
        own = (number, same[passage] if passage >= 0 else NO_TEXT, same[question] if question >= 0 else NO_TEXT, chosen)
        before = merged.get(own)
        merged[own] = (
            Item(number, identifier, copies, *own[1:])
            if before is None
            else before._replace(copies=before.copies + copies)
        )
    out = Items(list(merged.values()), tokens, np.zeros(len(same), bool), read=read)
    _choose(out)
    return out


def _choose(items: Items) -> None:
    """Mark the texts that are searched: those of WIDTH tokens or more; of an item that has none, its question, or else
    its passage, as a whole, if that has SHORTEST."""
    lengths = []
    sizes = [*np.diff(items.tokens.first).tolist(), 0]  # of NO_TEXT, which is -1, 0
    for number, item in enumerate(items.items):
        texts = {item.passage, item.question, *item.answers}
        chosen = [t for t in texts if sizes[t] >= WIDTH]
        chosen = chosen or [t for t in (item.question, item.passage) if sizes[t] >= SHORTEST][:1]
        lengths.append(max((sizes[t] for t in chosen), default=0))
        for text in chosen:
            items.searched[text] = True
            items.users.setdefault(text, []).append(number)
    items.lengths = np.array(lengths, np.int64)


# reading


def files_of(spec: EvaluationSet) -> list[Shard]:
    """The files of a set.

    Raises:
        UsageError: a path names nothing, or two files have the same name.
    """
    try:
        return find_shards(spec.files, Path.cwd())
    except UsageError as error:
        problem = str(error).removeprefix("input.shards: ")
        raise UsageError(f"evaluation set {spec.name!r}, files: {problem}") from None


def _objects(spec: EvaluationSet) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(place for messages, fields) of every item of a set."""
    for shard in files_of(spec):
        yield from _rows(spec, shard) if shard.is_table else _lines(spec, shard)


def _rows(spec: EvaluationSet, shard: Shard) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        with tables.open_table(shard.path) as table:
            for part in table.parts(None, BATCH_BYTES):
                n = part.first_row
                for batch in part.batches:
                    for row in batch.to_pylist():
                        n += 1
                        yield f"{shard.path}, row {n}", row
    except tables.ERRORS as error:
        raise DataError(f"evaluation set {spec.name!r}: {shard.path} cannot be read: {error}") from error


def _lines(spec: EvaluationSet, shard: Shard) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = ShardReader(shard, block_bytes=BLOCK_BYTES, limits=Limits(line_bytes_max=256 * 2**20))
    for block in reader:
        yield from _of_block(spec, shard, block)
        block.release()
    problems = [f"line {line}: {reason}" for line, reason in reader.bad_lines]
    problems += [f"after line {d.line}: {d.reason}" for d in reader.damages]
    if problems:
        raise DataError(f"evaluation set {spec.name!r}: {shard.path}, {problems[0]}")


def _of_block(spec: EvaluationSet, shard: Shard, block: Block) -> Iterator[tuple[str, Mapping[str, Any]]]:
    lines = block.data[: block.n_bytes].tobytes().split(b"\n")
    for i, line in enumerate(lines, block.first_line + 1):
        if not line.strip():
            continue
        where = f"{shard.path}, line {i}"
        try:
            value = json.loads(line.decode().removeprefix(BOM))
        except (ValueError, RecursionError) as error:
            raise DataError(f"evaluation set {spec.name!r}: {where} is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise DataError(f"evaluation set {spec.name!r}: {where} is not a JSON object: got {type(value).__name__}")
        yield where, value


def _values(value: Mapping[str, Any], paths: Sequence[str]) -> list[str]:
    """The texts under paths of keys; a list has a text for each element, a number is a text, and null is not."""
    found: list[str] = []
    for path in paths:
        own = value.get(path)
        found += [own] if type(own) is str else _at(value, path)
    return found


def _at(value: Any, path: str) -> list[str]:
    if isinstance(value, list):
        return [text for element in value for text in _at(element, path)]
    if path == "":
        if isinstance(value, Mapping) or value is None:
            return []
        return [value if isinstance(value, str) else json.dumps(value, default=str)]
    if not isinstance(value, Mapping):
        return []
    if path in value:
        return _at(value[path], "")
    key, _, rest = path.partition(".")
    return _at(value.get(key), rest) if key in value else []
