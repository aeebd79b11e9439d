"""gpu-pile init: a configuration for some shards, from a look at their first documents.

The file that comes out is a valid configuration with comments: which fields the documents have, which subsets, in which
scripts they are written, what the proposed rules would keep of what was looked at, and the plan of the run.
"""

from __future__ import annotations

import itertools
import json
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from yaml.reader import Reader

from gpu_pile import signals
from gpu_pile.corpus.shards import Shard, find_shards
from gpu_pile.corpus.tables import ERRORS, open_table
from gpu_pile.errors import DataError, UsageError
from gpu_pile.policy.thresholds import Policy
from gpu_pile.present.tables import human_bytes, visible
from gpu_pile.run import directory, plan
from gpu_pile.run.config import Config, parse
from gpu_pile.run.context import Context
from gpu_pile.run.presets import PRESETS
from gpu_pile.run.reading import open_shard
from gpu_pile.text.column import TextColumn
from gpu_pile.types import Array

SHARDS_LOOKED_AT = 8
DOCUMENTS_LOOKED_AT = 250
"""In each of these shards, from its beginning."""

LETTERS_LOOKED_AT = 4000
"""Of each of these documents, for its script."""

RULES = "gopher"
"""The named thresholds that are proposed."""

ENOUGH = 20
"""Documents of a subset from which on it is said what the rules keep of them."""

IDS = ("id", "doc_id", "docid", "document_id", "uuid", "guid", "warc_record_id", "sha1", "url")
"""Names of fields with which documents are identified, the best first."""

DEPTH_MAX = 8
NAMES_SHOWN = 8
FIELDS_SHOWN = 40
WIDTH = 118


@dataclass
class Seen:
    """What a field is in the documents that were looked at.

    present: documents that have it. strings, numbers, lists: documents in which it is such a value
    n_bytes: of all its strings. values: short strings and numbers, and how many documents have each
    """

    present: int = 0
    strings: int = 0
    numbers: int = 0
    lists: int = 0
    n_bytes: int = 0
    values: Counter[str] = field(default_factory=Counter)

    def add(self, value: Any) -> None:
        self.present += value is not None
        if isinstance(value, str):
            self.strings += 1
            self.n_bytes += len(value.encode("utf-8", "replace"))
        elif isinstance(value, bool | int | float):
            self.numbers += 1
        elif isinstance(value, list):
            self.lists += 1
        if isinstance(value, str | int | float) and len(str(value)) <= 200:
            self.values[str(value)] += 1

    @property
    def is_unique(self) -> bool:
        return len(self.values) == self.present and self.strings in (0, self.present) and self.lists == 0

    @property
    def kind(self) -> str:
        kinds = [k for k, n in (("string", self.strings), ("number", self.numbers), ("list", self.lists)) if n]
        return " or ".join(kinds) or ("other" if self.present else "null")


@dataclass(frozen=True)
class Look:
    """The first documents of some shards, as Python values."""

    shards: Sequence[Shard]
    documents: list[Any]
    fields: dict[str, Seen]


def draft(inputs: Sequence[str], output: str = "out") -> str:
    """The text of a configuration for these shards.

    Raises:
        UsageError: an input names nothing, or no document has a text. DataError: a shard cannot be read.
    """
    shards = find_shards(inputs, Path.cwd())
    unset = parse({"input": {"shards": list(inputs)}, "output": output})
    found = look_at(Context(unset, directory.of(unset, shards), shards))
    lines = [*_heading(found), "", *_input(found, inputs), f"output: {_scalar(output)}", ""]
    read = parse(yaml.safe_load("\n".join(lines)))
    lines += [*_thresholds(found, read), "", "dedupe:", "  fuzzy:"]
    lines.append(
        f"    threshold: {read.dedupe.fuzzy.threshold}  # similarity at which two documents are near duplicates"
    )
    config = parse(yaml.safe_load("\n".join(lines)))
    lines += ["", f"# plan{plan.describe(config).partition(chr(10) + '# plan')[2]}".replace("\n", "\n# ")]
    return "\n".join(itertools.chain.from_iterable(map(_wrapped, "\n".join(lines).split("\n")))) + "\n"


def _wrapped(line: str) -> list[str]:
    """A long comment as several lines; any other line as it is."""
    if len(line) <= WIDTH or not line.startswith("#"):
        return [line]
    return textwrap.wrap(line, WIDTH, subsequent_indent="#   ", break_long_words=False, break_on_hyphens=False)


# looking


def look_at(context: Context) -> Look:
    """Read the first documents of shards from everywhere among them."""
    shards = context.shards
    chosen = sorted({round(i) for i in np.linspace(0, len(shards) - 1, min(len(shards), SHARDS_LOOKED_AT))})
    documents: list[Any] = []
    for i in chosen:
        documents += itertools.islice(_documents(context, shards[i]), DOCUMENTS_LOOKED_AT)
    fields: dict[str, Seen] = {}
    for document in documents:
        if isinstance(document, dict):
            for path, value in _leaves(document):
                fields.setdefault(path, Seen()).add(value)
    return Look(shards, documents, fields)


def _documents(context: Context, shard: Shard) -> Iterator[Any]:
    """The documents of the first block of a shard, or of the first batch of its rows."""
    if shard.is_table:
        try:
            with open_table(shard.path) as table:
                for part in table.parts(None, context.batch_bytes):
                    for batch in part.batches:
                        yield from _rows(batch.slice(0, DOCUMENTS_LOOKED_AT))
        except ERRORS as error:
            raise DataError(f"{shard.path} cannot be read: {' '.join(str(error).split()):.200}") from error
        return
    for block in itertools.islice(open_shard(context, shard), 1):
        for line in block.data[: block.n_bytes].tobytes().split(b"\n"):
            try:
                yield json.loads(line.removeprefix(b"\xef\xbb\xbf"))
            except (ValueError, RecursionError):
                continue


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as Python values; a column that Python has no values for, such as one of far dates, is null."""
    columns = []
    for column in batch.columns:
        try:
            columns.append(column.to_pylist())
        except (ValueError, OverflowError):
            columns.append([None] * len(batch))
    return [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*columns, strict=True)]


def _leaves(document: Mapping[str, Any], before: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The values of a document by path; those of objects that are deep inside others are left out."""
    for key, value in document.items():
        if not isinstance(value, dict):
            yield f"{before}{key}", value
        elif depth < DEPTH_MAX:
            yield from _leaves(value, f"{before}{key}.", depth + 1)


def text_field(found: Look) -> str:
    """The path of the text: the field of a published corpus, or else the one with most text.

    Raises:
        UsageError: no document has a string, or a list of them.
    """
    has_text = {path: seen for path, seen in found.fields.items() if seen.strings or seen.lists}
    if not has_text and any(isinstance(document, str) for document in found.documents):
        return "text"
    if not has_text:
        there = ", ".join(f"{path} ({seen.kind})" for path, seen in list(found.fields.items())[:NAMES_SHOWN])
        what = f"have no text; their fields are {there}" if there else "are not objects of JSON"
        if not found.documents:
            raise UsageError("there is no document at the beginning of any of these shards")
        raise UsageError(f"the first {len(found.documents):,} documents {what}")
    for preset in PRESETS.values():
        if preset.text_field in has_text:
            return preset.text_field
    return max(has_text, key=lambda path: (has_text[path].n_bytes, has_text[path].lists))


def subset_field(found: Look) -> str | None:
    """The path of the subset's name as published corpora have it; None where no document has them."""
    known = dict.fromkeys(preset.subset_field for preset in PRESETS.values())
    return next((path for path in known if path in found.fields and found.fields[path].strings), None)


def id_field(found: Look) -> str | None:
    """The path of a field that identifies documents by its name and by its values; None if there is none."""
    for name in IDS:
        for path, seen in found.fields.items():
            whole = seen.present == len(found.documents) and seen.is_unique
            if whole and path.rpartition(".")[2].casefold() == name:
                return path
    return None


def _value(document: Any, path: str) -> Any:
    for key in path.split("."):
        document = document.get(key) if isinstance(document, dict) else None
    return document


# writing


def _scalar(value: str) -> str:
    """A string as YAML has it, in any place."""
    text: str = yaml.safe_dump([value], default_flow_style=True, allow_unicode=True, width=10**9)
    return text.strip()[1:-1]


def _comment(text: str) -> str:
    """Text from the corpus on one line of a comment."""
    shown: str = Reader.NON_PRINTABLE.sub("\N{REPLACEMENT CHARACTER}", visible(" ".join(text.split())))
    return shown[:100]


def _heading(found: Look) -> list[str]:
    size = human_bytes(sum(shard.n_bytes for shard in found.shards))
    number = f"{len(found.shards):,} shard{'' if len(found.shards) == 1 else 's'}"
    lines = [
        f"# A configuration for {number}, {size}, drafted from the first documents of some of them.",
        "# Every option: docs/configuration.md. The plan at the end is that of gpu-pile run FILE --dry-run.",
        "#",
        f"# {len(found.documents):,} documents were looked at. Their fields:",
    ]
    shown = sorted(found.fields.items(), key=lambda item: -item[1].present)[:FIELDS_SHOWN]
    width = min(40, max((len(_comment(path)) for path, _ in shown), default=0))
    for path, seen in shown:
        share = f"in {seen.present / len(found.documents):.0%}"
        size = f", {human_bytes(seen.n_bytes / seen.strings)} on average" if seen.strings else ""
        few = len(seen.values) <= NAMES_SHOWN < seen.present
        values = ": " + ", ".join(_comment(value) for value, _ in seen.values.most_common()) if few else ""
        lines.append(f"#   {_comment(path):<{width}}  {seen.kind}, {share}{size}{values}")
    if len(found.fields) > len(shown):
        lines.append(f"#   and {len(found.fields) - len(shown):,} more")
    return lines


def _input(found: Look, inputs: Sequence[str]) -> list[str]:
    """The section input."""
    text, subset, own = text_field(found), subset_field(found), id_field(found)
    lines = ["input:", "  shards:", *(f"    - {_scalar(given)}" for given in inputs), f"  text_field: {_scalar(text)}"]
    if subset is not None:
        presets = [name for name, p in PRESETS.items() if (p.text_field, p.subset_field) == (text, subset)]
        like = f"  # as in {', '.join(presets)}" if presets else ""
        lines.append(f"  subset_field: {_scalar(subset)}{like}")
    else:
        lines.append(
            "  # subset_field: no field of a known name; thresholds and the report can go by any field of few values"
        )
    if own is not None:
        lines.append(f"  id_field: {_scalar(own)}  # another value in each document that was looked at")
    if any(isinstance(document, str) for document in found.documents):
        lines.append("  bare_strings: true  # some lines are strings")
    if text in found.fields and found.fields[text].lists:
        lines.append("  text_lists: true  # some texts are lists of strings")
    return lines


def _thresholds(found: Look, read: Config) -> list[str]:
    """The proposed rules, with what they keep of the documents that were looked at."""
    settings = read.input
    texts = [_value(d, settings.text_field) if isinstance(d, dict) else d for d in found.documents]
    joined = ["\n\n".join(map(str, text)) if isinstance(text, list) else text for text in texts]
    good = [i for i, text in enumerate(joined) if isinstance(text, str) and text]
    texts = [joined[i] for i in good]
    named = [_value(found.documents[i], settings.subset_field) for i in good]
    subsets = [name if isinstance(name, str) else "" for name in named]
    passing = _passing(texts)
    sizes = np.array([len(text.encode("utf-8", "replace")) for text in texts])
    lines = [
        f"# {_scripts(texts)}" if texts else "# no document has a text",
        "# subset: share of the documents and of the text",
    ]
    lines[-1] += f", and of its documents what the rules of {RULES} keep"
    left_out = []
    for name, n in Counter(subsets).most_common():
        rows = np.array([subset == name for subset in subsets])
        kept = passing[rows].mean()
        share = f"{n / len(texts):.0%}, {sizes[rows].sum() / max(1, sizes.sum()):.0%}"
        lines.append(f"#   {_comment(name) or '(none)'}: {share}; {kept:.0%} of {n:,} are kept")
        if n >= ENOUGH and kept < 0.5:
            left_out.append(name)
    return [*lines, *_proposal(left_out, set(subsets))]


def _proposal(left_out: Sequence[str], subsets: set[str]) -> list[str]:
    """The section thresholds: the rules, except for subsets of which they would keep less than half."""
    lines = [
        f"thresholds:  # gpu-pile list thresholds {RULES} has the rules; gpu-pile list thresholds names other sets"
    ]
    if subsets == set(left_out):
        return [
            *lines,
            "  use: []",
            f"  # use: [{RULES}]  # would keep less than half, as may be right for web pages in English",
        ]
    lines.append(f"  use: [{RULES}]")
    if "" in left_out:
        lines.append(
            "  # documents without a subset lose more than half; a rule of default replaces that of a named set"
        )
    named = [name for name in left_out if name]
    if named:
        lines += ["  subsets:", "    # these would lose more than half: rules for prose say little about them"]
        lines += [f"    {_scalar(name)}: {{use: []}}" for name in named]
    return lines


def _passing(texts: Sequence[str]) -> Array:
    """bool[n]: which texts pass the proposed rules."""
    policy = Policy(use=[RULES])
    table = signals.compute(TextColumn.from_documents(texts), policy.columns())
    _, marks, _ = policy.evaluate(table, [""], np.zeros(len(texts), np.int64))
    passing: Array = np.logical_not(marks.any(axis=1))
    return passing


def _scripts(texts: Sequence[str]) -> str:
    """In which scripts texts are written: the shares of their letters, by the names that Unicode gives them."""
    letters: Counter[str] = Counter()
    for text in texts:
        letters.update(text[:LETTERS_LOOKED_AT])
    scripts: Counter[str] = Counter()
    for letter, n in letters.items():
        if letter.isalpha():
            name = unicodedata.name(letter, "other").split()[0].title()
            scripts["Han" if name == "Cjk" else name] += n
    total = max(1, scripts.total())
    shown = [f"{name} {n / total:.1%}" for name, n in scripts.most_common(NAMES_SHOWN) if n / total >= 0.001]
    return f"scripts, by letters: {', '.join(shown) or 'no letters'}"
