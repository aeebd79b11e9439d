"""The configuration: every option with its default, its unit and its reason; strict, all errors at once."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pydantic
import yaml
from pydantic import BaseModel, BeforeValidator, Field

from gpu_pile import signals
from gpu_pile.corpus import files
from gpu_pile.corpus.fields import Field as DocumentField
from gpu_pile.corpus.line_format import LineFormat
from gpu_pile.corpus.remote import is_url, without_secrets
from gpu_pile.corpus.sinks import PARQUET, SAME, Compression, check_format
from gpu_pile.dedup.banding import Banding, choose
from gpu_pile.dedup.survivors import Rule
from gpu_pile.errors import ConfigError, UsageError
from gpu_pile.gpu import detect
from gpu_pile.policy import pile
from gpu_pile.policy.thresholds import WITHOUT_SPACES, Names, Policy, configs_folder
from gpu_pile.run.own_columns import ID, check_name, described, given_names
from gpu_pile.run.presets import PRESETS
from gpu_pile.run.threads import worker_count

THREADS_PER_CORE = 2
"""Workers for each core on a GPU: while one waits for the device, another one decompresses."""

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def _parse_bytes(value: Any) -> Any:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value)
        if match is None or match[2].lower() not in _UNITS:
            raise ValueError(f"expected a number of bytes such as 64MiB, got {value!r}")
        return int(float(match[1]) * _UNITS[match[2].lower()])
    return value


Bytes = Annotated[int, BeforeValidator(_parse_bytes), Field(gt=0)]
BytesOrNone = Annotated[int, BeforeValidator(_parse_bytes), Field(ge=0)]


class Section(BaseModel):
    """A section of the configuration: unknown keys are errors, values keep their types, nothing changes later."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, validate_default=True)


def _checked(check: Callable[[str], Any], *values: str) -> None:
    """Raise the UsageError of a check as a ValueError, which pydantic collects."""
    for value in values:
        try:
            check(value)
        except UsageError as error:
            raise ValueError(str(error)) from None


def _without_query(given: str) -> str:
    return str(files.path_of(given)) if is_url(given) else given


def _input_section(data: Any) -> Any:
    """`input: data/*.zst` and `input: [a, b]` stand for a section with nothing but shards."""
    return {"shards": data} if isinstance(data, str | list) else data


def _with_preset(data: Any) -> Any:
    """The section input with the fields of its preset, where it does not give them."""
    preset = PRESETS.get(str(data.get("preset"))) if isinstance(data, Mapping) else None
    return data if preset is None else {**preset._asdict(), **data}


class OwnField(Section):
    """A field of a document that is carried along."""

    path: str = Field(min_length=1)
    type: Literal["number", "string"] | None = None


def _path_alone(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


OwnFields = dict[str, Annotated[OwnField, BeforeValidator(_path_alone)]]


class SubsetChoice(Section):
    """The subsets whose documents may be kept."""

    include: Names = Field(
        [],
        description="only documents of these subsets are kept; empty: of all. The names "
        f"{', '.join(pile.GROUPS)} stand for several subsets of The Pile (docs/subsets.md)",
    )
    exclude: Names = Field([], description="documents of these subsets are removed, also if they are in include")

    @property
    def given(self) -> bool:
        return bool(self.include or self.exclude)

    def has(self, subset: str) -> bool:
        """Whether documents of a subset may be kept, by its very name."""
        return (not self.include or subset in self.include) and subset not in self.exclude


class Input(Section):
    """What is read, and how."""

    shards: Names = Field(
        min_length=1, description="files, folders or globs, relative to the working directory; or URLs of them"
    )
    preset: Literal[tuple(PRESETS)] | None = Field(  # type: ignore[valid-type]
        None, description="a published corpus, whose text_field and subset_field are used unless they are given too"
    )
    text_field: str = Field("text", min_length=1, description="path of the text in a document, keys joined by dots")
    subset_field: str = Field("meta.pile_set_name", min_length=1, description="path of the subset's name")
    id_field: str | None = Field(
        None,
        min_length=1,
        description="path of a document's id in its source, a string or a number, which measured tables, decisions and "
        "exports then have as the column id; null: no such column",
    )
    fields: OwnFields = Field(
        {},
        description="other fields of a document by the name that their column gets: a path, or {path: ..., type: "
        "number} (or string). Numbers are signals, which thresholds may use. Without a type, a field is a number if "
        "thresholds use it, or if the first documents have numbers there (docs/fields.md)",
    )
    against: Names = Field(
        [],
        description="finished runs, or indexes of them: documents that these keep are not kept again "
        "(docs/incremental.md)",
    )
    bare_strings: bool = Field(False, description="a line that is a JSON string is a document (lm_dataformat)")
    text_lists: bool = Field(
        False, description="a text may be a list of strings, joined by a blank line (lm_dataformat)"
    )
    range_bytes: Bytes = Field(
        128 * 2**20,
        description="a file of several zstd frames is split between frames into ranges of at least this many bytes, "
        "which are processed in parallel and written as one frame each; a file of one frame, or at a URL, is one range "
        "until it is measured, and may be split at seek points afterwards",
    )
    seek_points: bool = Field(
        True,
        description="find places inside long zstd frames from which reading can begin, about 64 MiB of text apart, "
        "and store them in the run directory (docs/seek-points.md): documents are shown at once, and after measuring a "
        "file of one frame is split, too",
    )
    bad_lines_max: int = Field(100, ge=0, description="bad lines a shard may have before reading it stops")
    window_bytes_max: Bytes = Field(128 * 2**20, description="largest zstd window accepted: the decoder's memory")
    line_bytes_max: Bytes = Field(2**30, description="a longer line is a bad line and is never held in memory")
    expansion_max: int = Field(
        1000, gt=0, description="a shard may expand this many times, or to 1 GiB if that is more"
    )

    subsets: SubsetChoice = SubsetChoice()

    @pydantic.model_validator(mode="before")
    @classmethod
    def _may_be_shards(cls, data: Any) -> Any:
        return _with_preset(_input_section(data))

    @property
    def line_format(self) -> LineFormat:
        return LineFormat(self.text_field, self.subset_field, self.bare_strings, self.text_lists, self._extras)

    @property
    def _extras(self) -> tuple[DocumentField, ...]:
        ids = [] if self.id_field is None else [DocumentField(self.id_field)]
        own = (DocumentField(f.path, f.type == "number", f"input.fields.{name}") for name, f in self.fields.items())
        return (*ids, *own)

    @property
    def extra_columns(self) -> list[str]:
        """The columns of line_format.extras."""
        return [*([] if self.id_field is None else [ID]), *self.fields]

    @property
    def own_signals(self) -> dict[str, signals.Signal]:
        """The fields that are numbers, as signals are described."""
        return {
            name: described(name, f"the number that the document has in its field {field.path}")
            for name, field in self.fields.items()
            if field.type == "number"
        }

    @pydantic.field_validator("fields")
    @classmethod
    def _can_be_columns(cls, fields: dict[str, OwnField]) -> dict[str, OwnField]:
        for name in fields:
            check_name(name)
        return fields

    @pydantic.field_validator("shards", "against")
    @classmethod
    def _can_be_read(cls, shards: list[str]) -> list[str]:
        _checked(files.path_of, *shards)
        return shards


class Join(Section):
    """Columns of a table elsewhere, by document."""

    on: Names
    columns: dict[str, Literal["number", "string"] | None] | None = None

    @property
    def by_place(self) -> bool:
        """Whether documents are found by shard and line, not by their ids."""
        return len(self.on) == 2

    @pydantic.field_validator("on")
    @classmethod
    def _is_a_key(cls, on: list[str]) -> list[str]:
        if len(on) != 1 and on != ["shard", "line"]:
            raise ValueError("expected the name of the column with the documents' ids, or [shard, line]")
        return on

    @pydantic.field_validator("columns", mode="before")
    @classmethod
    def _may_be_names(cls, columns: Any) -> Any:
        names = [columns] if isinstance(columns, str) else columns
        return dict.fromkeys(names) if isinstance(names, list) else names


def _key_alone(value: Any) -> Any:
    return {"on": value} if isinstance(value, str | list) else value


Joins = dict[str, Annotated[Join, BeforeValidator(_key_alone)]]


class Measure(Section):
    """What is computed from the text, once."""

    signals: Names = Field(
        ["lengths", "symbols", "gopher_quality"],
        description="families or signals: gpu-pile list signals; when not given, those that thresholds and edit need "
        "are added",
    )
    join: Joins = Field(
        {},
        description="tables (Parquet, Arrow) whose columns documents get, by file: {on: NAME}, the column that has the "
        "documents' ids (input.id_field), or {on: [shard, line]}. columns: some of them; not given: all numbers and "
        "strings. Numbers are signals (docs/fields.md)",
    )


class Exact(Section):
    """Exact duplicates: documents with equal texts, by hash, confirmed by a cryptographic digest."""

    enabled: bool = True
    normalize: Literal["none", "words"] = Field(
        "none",
        description="none: texts are equal if their bytes are; words: if their lower-cased words are, in order (a text "
        "without words by its bytes). Words are runs of \\w with their combining marks",
    )
    skip_subsets: Names = Field([], description="subsets whose documents are never exact duplicates")


class Accept(Section):
    """What a pair of near duplicates needs besides dedupe.fuzzy.threshold to let one of its documents go."""

    jaccard: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Jaccard similarity, at least the threshold; null: the threshold. A change compares no pair again",
    )
    containment: float = Field(
        0.0,
        ge=0,
        le=1,
        description="the least share of a document's shingles that the document which stays for it has; with 1 nothing "
        "is lost but repetitions. Documents of one template, which differ in few words, stay apart",
    )


class Fuzzy(Section):
    """Near duplicates: documents whose shingle sets have a Jaccard similarity at the threshold or above."""

    enabled: bool = True
    shingle: Literal["auto", "word", "byte", "char"] = Field(
        "auto",
        description="auto: lower-cased words with their combining marks; where a script puts no spaces between words "
        "(Chinese, Japanese, Thai, Lao, Khmer, Burmese, Tibetan) each character is a word. word: lower-cased runs of "
        "\\w, a whole clause in those scripts, without marks such as Indic vowel signs; equal to auto where there is "
        "neither. char: characters. byte: bytes",
    )
    width: int = Field(5, ge=1, le=1024, description="words, characters or bytes per shingle")
    sketch: Literal["fss", "affine32"] = Field("fss", description="Fast Similarity Sketching, or affine permutations")
    size: int = Field(128, ge=8, le=1024, description="values per sketch (K)")
    seed: int = Field(0, ge=0, lt=2**63, description="of the sketch's hash functions")
    threshold: float = Field(
        0.8, gt=0, le=1, description="Jaccard similarity at which two documents are near duplicates"
    )
    bands: int | None = Field(None, ge=1, description="null: chosen from the threshold (16 x 8 at 0.8)")
    rows: int | None = Field(None, ge=1, description="values per band; null: chosen from the threshold")
    verify: Literal["exact", "sketch"] = Field(
        "exact",
        description="exact: the Jaccard similarity of the texts; sketch: estimated from the sketches. "
        "Exact duplicates are compared by their texts either way",
    )
    resolve: Literal["witness", "connected"] = Field(
        "witness",
        description="witness: a removed document is a direct neighbour of a kept one; connected: one document per "
        "connected component is kept",
    )
    accept: Accept = Accept()
    bucket_neighbours_max: int = Field(
        128, ge=1, description="in a bucket, a document is compared with at most this many earlier ones"
    )
    skip_subsets: Names = Field(
        [],
        description="subsets whose documents are never near duplicates. A set of equal texts takes part if one of its "
        "documents does; if the set duplicates a kept document, its document in a skipped subset stays",
    )

    @pydantic.model_validator(mode="after")
    def _banding_fits(self) -> Fuzzy:
        if (self.bands is None) != (self.rows is None):
            raise ValueError("bands and rows go together: give both, or neither to have them chosen from the threshold")
        if self.bands and self.rows and self.bands * self.rows > self.size:
            raise ValueError(
                f"bands x rows = {self.bands * self.rows} needs a sketch of that size, size is {self.size}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _acceptance_fits(self) -> Fuzzy:
        accept = self.accept
        if accept.jaccard is not None and accept.jaccard < self.threshold:
            raise ValueError(
                f"accept.jaccard is {accept.jaccard:g}, below the threshold {self.threshold:g}, at which pairs are "
                "found; lower the threshold"
            )
        if accept.containment and self.verify != "exact":
            raise ValueError("accept.containment needs verify: exact; sketches do not tell which shingles are shared")
        if self.resolve != "witness" and (accept.containment or accept.jaccard is not None):
            raise ValueError(f"accept needs resolve: witness; {self.resolve} removes documents without such a pair")
        return self

    def banding(self) -> Banding:
        """Return the banding given, or the one chosen for the threshold.

        Raises:
            ConfigError: none is given, and no banding of this size finds enough pairs at the threshold.
        """
        if self.bands is not None and self.rows is not None:
            return Banding(self.bands, self.rows)
        return choose(self.threshold, self.size)


class Contained(Section):
    """Contained documents: those of which nearly everything stands in one longer document."""

    threshold: float = Field(0.95, gt=0, le=1)
    min_shingles: int = Field(50, ge=1)


class Survivor(Section):
    """Which of several duplicates stays: the first difference in this order decides, then the smallest doc_id."""

    subsets: Names = Field([], description="subsets in order of preference; those not listed come last")
    prefer: Literal["longest", "first"] = Field(
        "longest",
        description="longest: the text with the most UTF-8 bytes, not characters (a Chinese character has three bytes, "
        "a Latin letter one); first: the first in the order of shards and lines",
    )


class Substrings(Section):
    """Repeated substrings: text of kept documents that stands in an earlier kept document, or earlier in the same one.

    Off unless min_bytes or min_tokens is given.
    """

    min_bytes: int | None = Field(
        None,
        ge=16,
        le=16_384,
        description="bytes in a row that have to be repeated; null: no substrings are looked for. 200 is usual",
    )
    min_tokens: int | None = Field(
        None,
        ge=8,
        le=400,
        description="instead: tokens in a row, runs without ASCII white space, whatever white space is between them; a "
        "run of more than 64 bytes is several tokens. 50 is usual",
    )
    keep: Literal["first"] = Field(
        "first", description="the copy that stays: first, by shard, line and place in the text"
    )
    cut: bool = Field(
        True,
        description="true: the other copies are cut out of the texts; false: texts stay as they are, and decisions say "
        "how much of each is repeated",
    )
    left_min_bytes: int = Field(
        1,
        ge=1,
        description="a document of whose text fewer bytes are left after cutting is removed, unless text of others was "
        "cut because it stands there; one of which nothing is left is always removed",
    )
    max_share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="a document of which more than this share of bytes is repeated is removed, unless text of others "
        "was cut because it stands there; null: none is",
    )

    @property
    def enabled(self) -> bool:
        return self.min_bytes is not None or self.min_tokens is not None

    @property
    def least(self) -> str:
        """How long a repeated run is at least, in words."""
        return f"{self.min_tokens:,} tokens" if self.min_tokens is not None else f"{self.min_bytes or 0:,} bytes"

    @pydantic.model_validator(mode="after")
    def _one_unit(self) -> Substrings:
        if self.min_bytes is not None and self.min_tokens is not None:
            raise ValueError("min_bytes and min_tokens are two units of one length: give one of them")
        return self


class Dedupe(Section):
    """Duplicates: how they are found, and which of them stays."""

    exact: Exact = Exact()
    fuzzy: Fuzzy = Fuzzy()
    contained: Contained | None = Field(
        None,
        description="`{threshold: 0.95, min_shingles: 50}`: a document goes if at least this share of its distinct "
        "shingles is in one document that stays, and it has at least min_shingles: excerpts, truncated copies, or "
        "pages that are part of longer ones. All texts are read once more. null: such documents stay",
    )
    substrings: Substrings = Substrings()
    scope: Literal["corpus", "subset"] = Field("corpus", description="compare across the corpus, or within each subset")
    survivor: Survivor = Survivor()
    copies_max: int = Field(
        1,
        ge=1,
        description="how many documents stay, at most, of a document that stays and the exact and near duplicates that "
        "would go because of it: the most preferred ones (docs/copies.md)",
    )

    @pydantic.model_validator(mode="after")
    def _copies_are_not_cut(self) -> Dedupe:
        if self.copies_max > 1 and self.substrings.enabled:
            raise ValueError("copies_max lets copies stay, whose text substrings would take away; use one of them")
        return self

    @pydantic.model_validator(mode="after")
    def _contained_fits(self) -> Dedupe:
        fuzzy = self.fuzzy
        if self.contained is None:
            return self
        for needed in (("enabled", True), ("verify", "exact"), ("resolve", "witness")):
            name, value = needed
            if getattr(fuzzy, name) != value:
                raise ValueError(f"contained needs fuzzy.{name}: {str(value).lower()}, got {getattr(fuzzy, name)}")
        return self

    def rule(self) -> Rule:
        """Return which verified pairs let a document go."""
        fuzzy, contained = self.fuzzy, self.contained
        rule = Rule(fuzzy.resolve, fuzzy.accept.jaccard or 0.0, fuzzy.accept.containment, copies=self.copies_max)
        if contained is None:
            return rule
        least = fuzzy.accept.jaccard or fuzzy.threshold
        return rule._replace(jaccard=least, contained_at=contained.threshold, shingles_min=contained.min_shingles)

    @property
    def cuts(self) -> bool:
        """Whether texts of kept documents are changed."""
        return self.substrings.enabled and self.substrings.cut


class Decide(Section):
    """What is removed beside what thresholds and duplicates remove."""

    remove: Names = Field(
        [],
        description="removal lists, which name documents by shard and line (docs/removals.md): YAML, JSON lines or "
        "Parquet",
    )

    @pydantic.field_validator("remove")
    @classmethod
    def _can_be_read(cls, remove: list[str]) -> list[str]:
        _checked(files.path_of, *remove)
        return remove


ALL_SUBSETS = "all"
"""Stands for every subset in edit.c4_lines."""


class Edit(Section):
    """Changes of kept texts. Off by default: every kept line is written byte for byte as it was read."""

    c4_lines: Names = Field(
        [],
        description="subsets whose kept documents lose the lines that C4 drops, and citation marks; [all] for all",
    )

    def applies_to(self, subset: str) -> bool:
        return ALL_SUBSETS in self.c4_lines or subset in self.c4_lines


EDIT_SIGNALS = ("c4_kept_bytes", "c4_lorem_ipsum", "c4_curly_bracket")
"""The signals that deciding needs of a document that is edited."""


PARQUET_LINE_MAX = 2**30
"""Bytes of a line that can be written as a row."""


class Write(Section):
    keep: Literal["lines", "bitmap"] = Field(
        "lines",
        description="lines: the kept lines, as new shards; bitmap: one bit per line of each shard, no second corpus "
        "(docs/run-directory.md has the few lines of Python that apply it)",
    )
    format: str = Field(
        SAME,
        description="of the kept shards; same: JSON lines as zstd, rows of Parquet and Arrow as they came, with their "
        "schema; zstd: JSON lines in zstd frames, of rows too; parquet: Parquet, of JSON lines too "
        "(docs/run-directory.md)",
    )
    level: int = Field(3, ge=-7, le=22, description="zstd level")
    threads: int = Field(0, ge=0, description="zstd threads per shard; shards are written in parallel in any case")
    checksum: bool = Field(True, description="add zstd's content checksum")
    frame_bytes: Bytes | None = Field(
        None,
        description="null: one zstd frame per range of a shard, which every program can read; 4MiB, for example: a "
        "frame for every 4 MiB of lines, compressed in parallel and with an eighth to a fifth less CPU time, for "
        "programs that read all frames of a file",
    )
    copy_frames: bool = Field(
        True,
        description="whole zstd frames of a shard of which every line is kept are copied as they are, whatever level "
        "and checksum say; false: all lines are compressed again",
    )
    removed: bool = Field(
        False, description="write the removed documents too, with their reasons, beside the kept ones"
    )

    @property
    def compression(self) -> Compression:
        return Compression(self.level, self.threads, self.checksum, self.frame_bytes is not None)

    @pydantic.model_validator(mode="after")
    def _bitmaps_have_no_lines(self) -> Write:
        if self.keep == "bitmap" and self.removed:
            raise ValueError("removed needs keep: lines; a bitmap says which lines are removed, and decisions/ why")
        if self.keep == "bitmap" and self.format == PARQUET:
            raise ValueError("format: parquet writes rows, and keep: bitmap writes none; take one of them out")
        return self

    @pydantic.field_validator("format")
    @classmethod
    def _exists(cls, format: str) -> str:
        _checked(check_format, format)
        return format


class EvaluationSet(Section):
    """Items that must not be in the corpus."""

    name: str = Field(min_length=1, max_length=100, description="for reports; no two sets have the same")
    files: Names = Field(
        min_length=1, description="JSON lines, compressed or not, or Parquet or Arrow: files, folders, globs or URLs"
    )
    question: Names = Field(["question"], description="paths of the question's parts, keys joined by dots")
    answers: Names = Field([], description="paths of answers; a list under a path has several")
    passage: Names = Field([], description="paths of the passage that the question is about")
    id: str | None = Field(None, min_length=1, description="path of the item's id; null: its line or row, from 1")

    @pydantic.model_validator(mode="after")
    def _has_fields(self) -> EvaluationSet:
        if not self.question and not self.passage:
            raise ValueError("give the paths of question, of passage, or of both")
        return self


class Decontaminate(Section):
    """What `gpu-pile decontaminate` looks for in the corpus; the other verbs take no notice of it."""

    against: list[EvaluationSet] = Field([], description="evaluation sets")
    rule: Literal["decon", "gpt3", "pile"] = Field(
        "decon",
        description="which matches are contamination. decon: most of the question, by the weight of its rare parts, "
        "and 13 tokens in a row or the answer beside it; gpt3: 13 tokens in a row that are in few documents; pile: 13 "
        "tokens in a row",
    )
    documents_max: int | None = Field(
        None,
        ge=1,
        description="a match of which every 8 tokens are in more documents than this is boilerplate; null: with decon "
        "one document in 1,000, at least 10; with gpt3 10; with pile there is no limit",
    )

    cut: bool = Field(
        False,
        description="also write all shards to contamination/cut/, where contaminated documents lack the spans; JSON "
        "lines only",
    )

    @pydantic.field_validator("against")
    @classmethod
    def _names_differ(cls, against: list[EvaluationSet]) -> list[EvaluationSet]:
        names = [s.name for s in against]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two sets are named {', '.join(map(repr, twice))}")
        return against


class Cluster(Section):
    """Processes, here or on other machines, that do the tasks; null: threads of this process."""

    where: str | None = Field(
        None,
        description="null, local (processes here), cuda (one process per GPU here), a scheduler's address such as "
        "tcp://host:8786, or scheduler-file=PATH",
    )
    workers: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="processes of local and cuda; null: one per core (no more than ranges), or per GPU",
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="threads of each worker; null: cores / workers, with GPUs twice that; elsewhere 1",
    )
    memory_bytes: Bytes | None = Field(
        None,
        description="memory limit of each local worker; one that exceeds it is killed and restarted; "
        "null: memory / workers",
    )
    dashboard: bool = Field(
        True, description="local and cuda: serve Dask's dashboard on this machine's loopback address"
    )

    @pydantic.field_validator("where")
    @classmethod
    def _known(cls, where: str | None) -> str | None:
        if where in (None, "local", "cuda") or re.fullmatch(r"[a-z]+://[^\s/]+", where):
            return where
        if where.startswith("scheduler-file=") and where != "scheduler-file=":
            return where
        raise ValueError("expected local, cuda, a scheduler's address such as tcp://host:8786, or scheduler-file=PATH")


class Config(Section):
    """A whole run."""

    input: Input
    output: str = Field(
        min_length=1, description="the run directory, or its URL; everything that is written is written there"
    )
    scratch: str | None = Field(
        None,
        min_length=1,
        description="a folder on a file system for intermediate files; null: the run directory, and for one at a URL "
        "this machine's folder for temporary files",
    )
    backend: Literal["auto", "cpu", "cuda"] = "auto"
    workers: int | None = Field(
        None, ge=1, le=1024, description="threads; null: one for each core this process may use, two on a GPU"
    )
    batch_bytes: Bytes | None = Field(
        None, description="decompressed bytes per block; null: 4 MiB, on a GPU up to 64 MiB"
    )
    memory_bytes: Bytes = Field(
        2 * 2**30, description="memory for sorting in dedupe: of this process, or of each worker"
    )
    spool_bytes: BytesOrNone = Field(
        4 * 2**30,
        description="decompressed lines that measure leaves in scratch, so that dedupe and write need not decompress "
        "them again; at most a quarter of the free space there. Each range of a shard has a share by the size of the "
        "file, and what takes more than its share is read again. 0: everything is read again",
    )
    strict: bool = Field(False, description="a name of a subset that no document has is an error, not a warning")
    cluster: Cluster = Cluster()
    measure: Measure = Measure()
    dedupe: Dedupe = Dedupe()
    thresholds: Policy = Policy()
    decide: Decide = Decide()
    edit: Edit = Edit()
    write: Write = Write()
    decontaminate: Decontaminate = Decontaminate()

    def shown(self, given_only: bool = False) -> dict[str, Any]:
        """Return the configuration as it is stored and printed: without the queries of URLs.

        given_only: without the values that are defaults because nothing was said
        """
        content = self.model_dump(exclude_unset=given_only)
        content["input"]["shards"] = [_without_query(s) for s in self.input.shards]
        if self.input.against:
            content["input"]["against"] = [_without_query(s) for s in self.input.against]
        if self.decide.remove:
            content["decide"]["remove"] = [_without_query(path) for path in self.decide.remove]
        return content

    @pydantic.field_validator("output")
    @classmethod
    def _can_be_written(cls, output: str) -> str:
        _checked(files.check_output, output)
        return output

    @pydantic.field_validator("scratch")
    @classmethod
    def _is_a_folder(cls, scratch: str | None) -> str | None:
        if scratch is not None and not isinstance(files.path_of(scratch), Path):
            raise ValueError("expected a folder on a file system: intermediate files are written at places inside")
        return scratch

    @pydantic.model_validator(mode="after")
    def _workers_share_scratch(self) -> Config:
        there = self.cluster.where not in (None, "local", "cuda")
        if there and self.scratch is None and not isinstance(files.path_of(self.output), Path):
            raise ValueError(
                "output is a URL and the workers are on other machines: set scratch to a folder that all of them "
                "share, under the same path, for intermediate files"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _old_runs_have_no_chains(self) -> Config:
        if self.input.against and self.dedupe.contained is not None:
            raise ValueError(
                "dedupe.contained does not go with input.against: the index of an old run has no samples of its texts"
            )
        if self.input.against and self.dedupe.fuzzy.resolve != "witness":
            raise ValueError(
                "input.against needs dedupe.fuzzy.resolve: witness; a chain may go through documents that an old run "
                "removed, and these have no part in this one"
            )
        if self.input.against and self.dedupe.contained is not None:
            raise ValueError(
                "input.against does not go with dedupe.contained: documents that are contained in old ones are not "
                "looked for; take one of them out"
            )
        if self.input.against and self.dedupe.copies_max > 1:
            raise ValueError("input.against needs dedupe.copies_max: 1; what an old run keeps is not counted as copies")
        return self

    @pydantic.model_validator(mode="after")
    def _devices_are_wanted(self) -> Config:
        if self.cluster.where == "cuda" and self.backend == "cpu":
            raise ValueError("cluster.where: cuda needs backend auto or cuda; on the CPU it is cluster.where: local")
        return self

    @pydantic.model_validator(mode="after")
    def _what_is_needed_is_measured(self) -> Config:
        used = {*self.thresholds.signals(), *(EDIT_SIGNALS if self.edit.c4_lines else ())}
        missing = self._from_the_text(used) - set(signals.names(self.measure.signals))
        given = "signals" in self.measure.model_fields_set
        added = [] if given else [f.name for f in signals.families() if missing & {s.name for s in f.signals}]
        measured = [*self.measure.signals, *added]
        names = set(signals.names(measured))
        if names & signals.about_words() and WITHOUT_SPACES not in names:  # whichever rules a trial has
            measured.append(WITHOUT_SPACES)
        if measured == self.measure.signals:
            return self
        return self.model_copy(update={"measure": self.measure.model_copy(update={"signals": measured})})

    def _from_the_text(self, names: Iterable[str]) -> set[str]:
        """Those of some signals that are not columns which the configuration adds."""
        unknown = any(join.columns is None for join in self.measure.join.values())
        known = set(signals.names()) if unknown else set(names)
        return (set(names) & known) - set(self.input.fields) - set(self.joined_columns)

    @property
    def joined_columns(self) -> dict[str, str | None]:
        """The columns of joined tables with their types, as far as they are known."""
        return {name: kind for join in self.measure.join.values() for name, kind in (join.columns or {}).items()}

    @property
    def joined_signals(self) -> dict[str, signals.Signal]:
        """The joined columns that are numbers, as signals are described."""
        return {
            name: described(name, f"the number that {Path(path).name} has for the document")
            for path, join in self.measure.join.items()
            for name, kind in (join.columns or {}).items()
            if kind == "number"
        }

    @pydantic.model_validator(mode="after")
    def _joined_columns_fit(self) -> Config:
        taken = dict.fromkeys(self.input.fields, "input.fields")
        for path, join in self.measure.join.items():
            if not join.by_place and self.input.id_field is None:
                raise ValueError(f"measure.join: {path} is joined by ids; set input.id_field, or join on [shard, line]")
            for name in join.columns or ():
                try:
                    check_name(name)
                except ValueError as error:
                    raise ValueError(f"measure.join: {path}: {error}; choose with columns: [...]") from None
                if taken.setdefault(name, path) != path:
                    raise ValueError(f"measure.join: {path} has a column {name!r}, and so has {taken[name]}")
        return self

    @pydantic.model_validator(mode="after")
    def _rules_are_about_numbers(self) -> Config:
        for name in self.thresholds.signals():
            if self.joined_columns.get(name) == "string":
                raise ValueError(f"thresholds use {name}, a joined column of strings; only numbers have bounds")
        for name in self.thresholds.signals():
            if name in self.input.fields and self.input.fields[name].type == "string":
                raise ValueError(
                    f"thresholds use {name}, and input.fields.{name}.type is string; only numbers have bounds"
                )
        return self

    @property
    def measured_signals(self) -> list[str]:
        """The columns of measured tables that thresholds may use."""
        return [*signals.names(self.measure.signals), *self.input.own_signals]

    @property
    def signal_names(self) -> list[str]:
        """The columns that thresholds may use."""
        return [*self.measured_signals, *self.joined_signals]

    @property
    def signal_definitions(self) -> dict[str, signals.Signal]:
        """What is known of every signal by name."""
        return {s.name: s for family in signals.families() for s in family.signals} | (
            self.input.own_signals | self.joined_signals
        )

    @pydantic.model_validator(mode="after")
    def _lines_can_be_rows(self) -> Config:
        if self.write.format != PARQUET:
            return self
        if self.decontaminate.cut:
            raise ValueError("decontaminate.cut writes JSON lines; it needs another write.format than parquet")
        if "json" in self.input.fields:
            raise ValueError("with write.format: parquet, kept rows have a column json; give input.fields.json a name")
        if self.input.line_bytes_max > PARQUET_LINE_MAX:
            raise ValueError(
                f"a value of Parquet has less than 2 GiB: with write.format: parquet, input.line_bytes_max is at most "
                f"{PARQUET_LINE_MAX} (1 GiB), not {self.input.line_bytes_max}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _rules_are_about_what_is_measured(self) -> Config:
        missing = self._from_the_text(self.thresholds.signals()) - set(signals.names(self.measure.signals))
        if missing:
            needed = [f.name for f in signals.families() if missing & {s.name for s in f.signals}]
            raise ValueError(
                f"thresholds use {', '.join(sorted(missing))}, which measure.signals does not list; "
                f"add {', '.join(needed)} to measure.signals"
            )
        if self.edit.c4_lines and self.write.keep == "bitmap":
            raise ValueError("edit.c4_lines changes lines, which write.keep: bitmap does not write; use keep: lines")
        if self.dedupe.cuts and self.write.keep == "bitmap":
            raise ValueError(
                "dedupe.substrings changes lines, which write.keep: bitmap does not write; use keep: lines, or "
                "dedupe.substrings.cut: false"
            )
        if self.dedupe.cuts and self.edit.c4_lines:
            raise ValueError(
                "edit.c4_lines and dedupe.substrings both change texts; use one here and the other in a run over the "
                "lines that this one keeps, or dedupe.substrings.cut: false"
            )
        missing = set(EDIT_SIGNALS) - set(signals.names(self.measure.signals))
        if self.edit.c4_lines and missing:
            raise ValueError("edit.c4_lines needs the signals of c4; add c4 to measure.signals")
        return self

    @property
    def n_workers(self) -> int:
        return self.workers or worker_count(None) * (THREADS_PER_CORE if self._is_on_gpu() else 1)

    def _is_on_gpu(self) -> bool:
        return self.backend == "cuda" or (self.backend == "auto" and not detect.cuda_missing())


def load(
    source: Path | Mapping[str, Any] | None,
    overrides: Sequence[str] = (),
    options: Mapping[str, tuple[str, Any]] | None = None,
) -> Config:
    """Read a YAML file, if one is given and not its content, and apply `key.path=value` overrides.

    options: (key.path, value) by the option of the command line that sets it, which errors name; after the overrides

    Raises:
        ConfigError: lists every problem with its path, and the nearest known key for an unknown one.
    """
    data = _read(source) if isinstance(source, Path) else copy.deepcopy(dict(source or {}))
    if "input" in data:
        data["input"] = _input_section(data["input"])
    values = {f"--set {text}": _override(f"--set {text}", text) for text in overrides}
    values |= {option: (key.split("."), value) for option, (key, value) in (options or {}).items()}
    for option, (keys, value) in values.items():
        _set(data, option, keys, value)
    where = "" if source is None else str(source) if isinstance(source, Path) else "configuration"
    return parse(data, where, {tuple(keys): o for o, (keys, _) in values.items()})


def bundled(name: str) -> Path:
    """The file of a configuration that comes with the package, such as "pile".

    Raises:
        ConfigError: there is none of this name.
    """
    known = {p.stem: p for p in sorted(configs_folder().glob("*.yaml"))}
    if name not in known:
        raise ConfigError(
            f"there is no configuration named {name!r}; there are: {', '.join(known)}; a file ends in .yaml"
        )
    return known[name]


def _read(path: Path) -> dict[Any, Any]:
    """The mapping in a YAML file."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration file {path}; an example to start from: {example_path()}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping of sections such as 'input:', got {type(data).__name__}")
    return data


def parse(
    data: Mapping[str, Any], where: str = "configuration", options: Mapping[tuple[str, ...], str] | None = None
) -> Config:
    """Check a mapping; see load().

    where:   what the mapping is, for errors
    options: the option of the command line that set a value, by the path of the value
    """
    try:
        return Config.model_validate(data, context={"own": given_names(data)})
    except pydantic.ValidationError as error:
        problems = describe_problems(error, Config, options or {})
        n = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        heading = " with ".join(filter(None, [where, " ".join(dict.fromkeys((options or {}).values()))]))
        lines = [f"{heading}: {n}:", *(f"  {problem}" for problem in problems)]
        raise ConfigError(without_secrets("\n".join(lines))) from None


def describe_problems(
    error: pydantic.ValidationError, model: type[BaseModel], options: Mapping[tuple[str, ...], str] | None = None
) -> list[str]:
    """One line per problem, each with its path; one caused by an option of the command line begins with the option."""
    lines = []
    for e in error.errors(include_url=False):
        keys = tuple(str(key) for key in e["loc"])
        option = next((o for path, o in (options or {}).items() if keys and path[: len(keys)] == keys[: len(path)]), "")
        start = f"{option}: " if option else ""
        path = f"{start}{'.'.join(keys)}: " if keys else start
        if e["type"] == "extra_forbidden":
            known = _keys_at(model, e["loc"][:-1])
            hint = _hint(keys[-1], known)
            lines.append(f"{path}unknown key; {hint}")
        elif e["type"] == "missing":
            lines.append(f"{path}required, and not given")
        else:
            given = "" if isinstance(e["input"], Mapping | BaseModel) else f" (got {e['input']!r:.80})"
            lines.append(f"{path}{e['msg'].removeprefix('Value error, ')}{given}")
    return lines


def _hint(key: str, known: list[str]) -> str:
    """What to write in the place of an unknown key."""
    near = difflib.get_close_matches(key, known, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    if "rules" in known and key in signals.names():
        return f"rules of a subset are given as rules: {{{key}: {{min: ..., max: ...}}}}"
    return f"known here: {', '.join(sorted(known))}"


def _keys_at(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """The known keys of the section at a path; none where there is no section."""
    inside: Any = model
    for key in path:
        if _is_model(inside):
            field = inside.model_fields.get(str(key))
            inside = field.annotation if field else None
        else:  # of a mapping, the section that its values are
            inside = next((part for part in get_args(inside) if _is_model(part) or get_origin(part) is not None), None)
        if get_origin(inside) is Annotated:
            inside = get_args(inside)[0]
        if get_origin(inside) in (Union, UnionType):
            inside = next((part for part in get_args(inside) if part is not type(None)), None)
    return list(inside.model_fields) if _is_model(inside) else []


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice: YAML would silently take the last."""


def _mapping(loader: _Loader, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=deep)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is given twice", key_node.start_mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _override(option: str, text: str) -> tuple[list[str], Any]:
    """The path and the value of key.path=value."""
    path, separator, value = text.partition("=")
    keys = path.strip().split(".")
    if not separator or not all(keys):
        raise ConfigError(f"{option}: expected key.path=value, such as --set dedupe.fuzzy.threshold=0.7")
    try:
        return keys, yaml.load(value, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{option}: the value is not valid YAML: {error}") from error


def _set(data: dict[Any, Any], option: str, keys: list[str], value: Any) -> None:
    """Set the value at a path."""
    for key in keys[:-1]:
        section = data.setdefault(key, {})
        if not isinstance(section, dict):
            raise ConfigError(f"{option}: {key!r} is a value ({section!r}), not a section")
        data = section
    data[keys[-1]] = value


def example_path() -> Path:
    """configs/quickstart.yaml in a checkout or in the installed package."""
    return configs_folder() / "quickstart.yaml"
