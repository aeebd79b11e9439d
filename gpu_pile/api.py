"""The Python API over texts in memory: measure, dedupe and decide. gpu_pile.explore.run opens runs over files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, Unpack

import numpy as np
import pyarrow as pa
import pydantic

from gpu_pile import signals as _signals
from gpu_pile.dedup.engine import find_duplicates
from gpu_pile.dedup.survivors import Graph, Standing, choose_survivors
from gpu_pile.gpu.detect import choose
from gpu_pile.gpu.device import device_for
from gpu_pile.gpu.segments import to_host
from gpu_pile.ops.c4_lines import c4_lines
from gpu_pile.ops.components import components
from gpu_pile.ops.redpajama_lines import redpajama_lines
from gpu_pile.run.config import Dedupe, Fuzzy, describe_problems
from gpu_pile.run.decided_texts import decide_texts
from gpu_pile.run.in_memory import TextSource, over_pieces
from gpu_pile.run.texts import Texts, text_column
from gpu_pile.run.threads import keep_freed_memory
from gpu_pile.text.column import TextColumn
from gpu_pile.types import Array


def measure(
    texts: Texts, signals: str | Sequence[str] | None = None, *, backend: str = "auto", workers: int | None = None
) -> pa.Table:
    """Return the signals of each text: one row per text, one column per signal (int64, or float64 with nulls).

    Args:
        texts: list[str] or any iterable of strings; a column of pyarrow, pandas, polars, cuDF or Hugging Face datasets;
            or a TextColumn.
        signals: names of signals or of families; None for all. See `gpu-pile list signals`.
        backend: auto, cpu or cuda.
        workers: threads; None for one per core.

    >>> import gpu_pile as gp
    >>> gp.measure(["Hello world.", ""], ["word_count", "mean_word_length"]).to_pydict()
    {'word_count': [2, 0], 'mean_word_length': [5.5, None]}
    """
    device = device_for(choose(backend))
    text, wanted = text_column(texts), [signals] if isinstance(signals, str) else signals
    results = over_pieces(text, workers, device, lambda piece: _signals.compute(piece, wanted))
    return pa.concat_tables(results).combine_chunks()


def measure_lines(texts: Texts, *, backend: str = "auto", workers: int | None = None) -> pa.Table:
    """Return RedPajama-Data v2's signals of single lines (gpu_pile.ops.redpajama_lines): one row per line.

    Args: see measure().

    Returns:
        text (int64, the row of the line's text), start and end (in code points, line feed included), and by their
        published names without rps_lines_: ending_with_terminal_punctution_mark, start_with_bulletpoint (0 or 1),
        num_words, javascript_counts (int64), uppercase_letter_fraction, numerical_chars_fraction (float64, 0 for an
        empty line).

    >>> import gpu_pile as gp
    >>> lines = gp.measure_lines(["one\\ntwo words", "three"])
    >>> lines.select(["text", "start", "end", "num_words"]).to_pydict()
    {'text': [0, 0, 1], 'start': [0, 4, 0], 'end': [4, 13, 5], 'num_words': [1, 2, 1]}
    """
    device = device_for(choose(backend))
    results = over_pieces(
        text_column(texts), workers, device, lambda piece: tuple(map(to_host, redpajama_lines(piece)))
    )
    lengths = np.concatenate([np.diff(offsets) for _, offsets in results])
    rows = np.concatenate([counts for counts, _ in results])
    c = dict(zip(redpajama_lines.columns, rows.T, strict=True))
    return pa.table(
        {
            "text": np.repeat(np.arange(len(lengths)), lengths),
            "start": c["start"],
            "end": c["end"],
            "ending_with_terminal_punctution_mark": c["terminal"],
            "start_with_bulletpoint": c["bullet"],
            "num_words": c["words"],
            "javascript_counts": c["javascript"],
            "uppercase_letter_fraction": c["upper"] / (c["end"] - c["start"]),
            "numerical_chars_fraction": c["numeric"] / np.maximum(c["normal_chars"], 1),
        }
    )


def keep_c4_lines(texts: Texts, *, backend: str = "auto", workers: int | None = None) -> pa.Array:
    """Return each text with the lines that the rules of C4 keep, without citation marks (gpu_pile.ops.c4_lines).

    Args: see measure().

    Returns:
        large_string[n]; for a text that the rules reject, the lines kept before they did.

    >>> import gpu_pile as gp
    >>> gp.keep_c4_lines(["Home | About\\nA whole sentence has at least five words."]).to_pylist()
    ['A whole sentence has at least five words.']
    """
    device = device_for(choose(backend))

    def kept(piece: TextColumn) -> pa.Array:
        _, data, offsets = c4_lines(piece, kept_text=True)
        return TextColumn(to_host(data), to_host(offsets)).to_arrow()

    return pa.concat_arrays(over_pieces(text_column(texts), workers, device, kept))


@dataclass(frozen=True)
class Deduplicated:
    """The result of dedupe(). Rows are positions in the texts given.

    keep:       bool[n], the documents that stay
    witness:    int64[n], the kept document that a removed one duplicates; -1 for kept documents
    similarity: float64[n], to the witness: 1 for equal texts; NaN for kept documents, and where resolve="connected"
                names a witness that was not compared
    cluster:    int64[n], the smallest row of the document's cluster; its own row if it has no duplicate
    pairs:      table of a, b, similarity: verified pairs of distinct texts, a < b
    """

    keep: Array
    witness: Array
    similarity: Array
    cluster: Array
    pairs: pa.Table = field(repr=False)

    def __len__(self) -> int:
        return len(self.keep)


class FuzzyOptions(TypedDict, total=False):
    """What else dedupe() takes: the options of the configuration's section dedupe.fuzzy."""

    shingle: Literal["auto", "word", "byte", "char"]
    width: int
    sketch: Literal["fss", "affine32"]
    size: int
    seed: int
    bands: int | None
    rows: int | None
    verify: Literal["exact", "sketch"]
    resolve: Literal["witness", "connected"]
    accept: Mapping[str, float]
    bucket_neighbours_max: int


def dedupe(
    texts: Texts,
    threshold: float = 0.8,
    *,
    backend: str = "auto",
    workers: int | None = None,
    **options: Unpack[FuzzyOptions],
) -> Deduplicated:
    """Find exact and near duplicates among texts in memory; the longest (in UTF-8 bytes) stays, on ties the first.

    A run over files (gpu-pile run) with the same settings decides the same: the search is the same code.

    Args:
        texts: list[str] or any iterable of strings; a column of pyarrow, pandas, polars, cuDF or Hugging Face datasets;
            or a TextColumn.
        threshold: Jaccard similarity of shingles at which two texts are near duplicates.
        backend: auto, cpu or cuda.
        workers: threads; None for one per core.
        shingle: "auto" (words, or characters in scripts without spaces), "word", "char" or "byte": what two texts are
            compared by. width: how many in a row, 5.
        sketch: "fss" or "affine32". size: values per sketch, 128. seed: of its hash functions, 0.
        bands, rows: the banding, both or neither; None chooses one for the threshold.
        verify: "exact" compares the texts themselves, "sketch" estimates.
        resolve: "witness" removes only neighbours of a kept text, "connected" keeps one text per component.
        accept: {"jaccard": at least the threshold, "containment": 0 to 1}: what else a pair needs to let a text go.
        bucket_neighbours_max: the earlier texts of a bucket that a text is compared with, 128.

    >>> import gpu_pile as gp
    >>> text = "the quick brown fox jumps over the lazy dog and runs away"
    >>> found = gp.dedupe([text, text + " again", "something else", text], threshold=0.8)
    >>> found.keep.tolist()
    [False, True, True, False]
    >>> found.witness.tolist()
    [1, -1, -1, 1]
    """
    keep_freed_memory()
    text, device = text_column(texts), device_for(choose(backend))
    try:
        fuzzy = Fuzzy.model_validate({"threshold": threshold, **options})
    except pydantic.ValidationError as error:
        raise ValueError("; ".join(describe_problems(error, Fuzzy))) from None
    duplicates = find_duplicates(TextSource(text, fuzzy, workers, device))
    sets, (pairs,) = duplicates.sets, duplicates.pairs
    n = len(text)
    representative = np.arange(n)
    representative[sets.members] = sets.representatives
    with device.session():
        edges = (device.upload(np.concatenate(x)) for x in ((pairs.a, np.arange(n)), (pairs.b, representative)))
        component = device.download(components(*edges, n=n))
    graph = Graph(representative, component, pairs)
    longest = -np.diff(to_host(text.offsets))
    standing = Standing(np.ones(n, bool), np.zeros(n, bool), [longest])
    choice = choose_survivors(graph, standing, Dedupe(fuzzy=fuzzy).rule(), device)
    removed = choice.witness >= 0
    known = np.where(choice.similarity > 0, choice.similarity, np.nan)
    table = pa.table({name: getattr(pairs, name) for name in ("a", "b", "similarity")})
    return Deduplicated(~removed, choice.witness, known, component, table)


def decide(
    texts: Texts,
    use: str | Sequence[str] = (),
    *,
    subset: Iterable[str | None] | None = None,
    thresholds: Mapping[str, Any] | None = None,
    dedupe: Mapping[str, Any] | None = None,
    backend: str = "auto",
    workers: int | None = None,
) -> pa.Table:
    """Decide which texts stay, and why the others do not: thresholds and duplicates, as `gpu-pile run` decides them.

    The stages of a run do it, in a temporary folder that takes about the space of the texts (TMPDIR names another one).

    Args:
        texts: list[str] or any iterable of strings; a column of pyarrow, pandas, polars, cuDF or Hugging Face datasets;
            or a TextColumn.
        use: named thresholds, such as "gopher". See `gpu-pile list thresholds`.
        subset: the name of each text's subset, for rules and preferences by subset.
        thresholds: the configuration's section of this name: {"default": {...}, "subsets": {...}}.
        dedupe: the configuration's section of this name: {"fuzzy": {"threshold": 0.7}, "scope": "subset"}.
        backend: auto, cpu or cuda.
        workers: threads; None for one per core.

    Returns:
        one row per text: keep; reasons, each rule that the text fails, and values, those that failed; witness, the row
        of the kept text that a removed one duplicates; similarity to it; cluster, the smallest row of its cluster; and
        the other columns of decisions (docs/run-directory.md)

    Raises:
        ConfigError: a section is not valid; names every problem.

    >>> import gpu_pile as gp
    >>> text = "All of the work that we have done is for the people who will be here after us. " * 8
    >>> decided = gp.decide([text, "Buy now!", text + "Indeed."], use="gopher")
    >>> decided["keep"].to_pylist()
    [False, False, True]
    >>> decided["reasons"].to_pylist()
    [['near_duplicate'], ['plain_word_count.min', 'stop_word_distinct.min'], []]
    """
    text, names = text_column(texts), None
    if subset is not None:
        column = subset if isinstance(subset, pa.Array | pa.ChunkedArray) else pa.array(list(subset), from_pandas=True)
        names = column.cast(pa.string()).to_pylist()
        if len(names) != len(text):
            raise ValueError(f"subset has {len(names):,} names for {len(text):,} texts; give one for each text")
    rules = dict(thresholds or {})
    if use:
        if "use" in rules:
            raise ValueError("use is given twice: as an argument and in thresholds; keep one of them")
        rules["use"] = use if isinstance(use, str) else list(use)
    sections = {"thresholds": rules, "dedupe": dict(dedupe or {}), "backend": backend, "workers": workers}
    return decide_texts(text, names, sections)
