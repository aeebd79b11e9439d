"""All checks of a finished run: a pass over the decisions, a pass over the lines of the input, then the verdicts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.shards import Shard
from gpu_pile.explore.tables import RunTables
from gpu_pile.explore.verify.check import Check
from gpu_pile.explore.verify.copies import Copies
from gpu_pile.explore.verify.counts import Counts
from gpu_pile.explore.verify.documents import Document, ShardDecisions, TextCheck, TextReader
from gpu_pile.explore.verify.exact import ExactLeft, ExactRemoved
from gpu_pile.explore.verify.kept import Lines
from gpu_pile.explore.verify.near import ContainedRemoved, NearRemoved
from gpu_pile.explore.verify.near_left import NearLeft
from gpu_pile.explore.verify.old import OldRemoved
from gpu_pile.explore.verify.pairs import Shingles
from gpu_pile.explore.verify.signals import Signals
from gpu_pile.explore.verify.substrings import RepeatedText
from gpu_pile.run import directory


def verify(
    path: str | AnyPath,
    *,
    everything: bool = False,
    seed: int = 0,
    progress: Callable[[int], None] = lambda n: None,
    done: Callable[[Check], None] = lambda check: None,
) -> list[Check]:
    """Check a finished run; nothing is written to it.

    Args:
        everything: look at everything that each check is about, not at samples of it.
        seed: of the samples.
        progress: called with the bytes of each shard that was read. done: called with each check as it ends.

    Raises:
        UsageError: there is no finished run. DataError: a shard cannot be read at all.
    """
    run = RunTables(directory.open_dir(path))
    for shard in run.shards:
        kept = run.directory.bitmap if run.config.write.keep == "bitmap" else run.directory.kept
        for file in (run.directory.measured, run.directory.decisions, kept):
            directory.need(file(shard.name))
    checks = []
    with tempfile.TemporaryFile() as store:
        for check in _checks(run, everything, seed, progress, store):
            checks.append(check)
            done(check)
    return checks


def _checks(
    run: RunTables, everything: bool, seed: int, progress: Callable[[int], None], store: Any
) -> Iterator[Check]:
    """Each check as it ends."""
    rng = np.random.default_rng(seed)
    fuzzy = run.config.dedupe.fuzzy
    shingles, trigrams = Shingles(fuzzy.shingle, fuzzy.width, store), Shingles("auto", 3, store)
    text_checks: list[TextCheck] = [
        Signals(run, everything, rng),
        ExactRemoved(run.config),
        ExactLeft(run.config, everything, store),
        NearRemoved(run.config, everything, rng, shingles, trigrams),
        NearLeft(run, everything, rng, shingles),
        *([OldRemoved(run, rng)] if run.config.input.against else []),
        *([Copies(run.config)] if run.config.dedupe.copies_max > 1 else []),
    ]
    if run.config.dedupe.contained is not None:
        text_checks.append(ContainedRemoved(run.config, everything, rng, shingles, trigrams))
    if run.config.dedupe.substrings.enabled:
        text_checks.append(RepeatedText(run, everything, rng))
    counts, lines = Counts(run), Lines(run)
    for shard in run.shards:
        decided = _decisions(run, shard)
        counts.look(decided)
        for check in text_checks:
            check.plan(decided)
    counts.finish()
    yield counts.check
    for check in text_checks:
        check.choose()
    for shard in run.shards:
        _read(lines, _decisions(run, shard), [*text_checks, shingles, trigrams])
        progress(shard.n_bytes)
    yield lines.lines
    yield lines.kept
    for check in text_checks:
        check.finish()
        yield check.check


def _decisions(run: RunTables, shard: Shard) -> ShardDecisions:
    return ShardDecisions.of(shard, pq.read_table(files.table(run.directory.decisions(shard.name))))


def _read(lines: Lines, decided: ShardDecisions, readers: list[TextReader]) -> None:
    """Read one shard's lines and hand each text to the readers that asked for it."""
    wanted = np.array([reader.wants(decided) for reader in readers])
    needed = np.logical_or.reduce(wanted).tolist()

    def look(document: Document) -> None:
        for i in np.flatnonzero(wanted[:, document.row]).tolist():
            readers[i].look(document)

    lines.read(decided, lambda row: needed[row], look)
