"""Checks of a finished run from its files alone, by other code than made them.

Shards are read line by line with the zstandard and gzip libraries and parsed by Python's json; texts are hashed with
BLAKE2b, shingles and signals come from the plain references of the operations, rules are applied value by value.
Only a damaged shard is read by the project's own recovering reader, and the check says so.

    counts       run.json, measured, decisions, reasons.parquet and report.json agree; every line of the input is a
                 document, a bad line or blank
    kept lines   kept/<shard> is exactly the kept lines of the input, byte for byte, in order
    exact        each exact duplicate has a kept document with an equal text
    near         each near duplicate has a kept witness; its Jaccard similarity is as recorded, not below the threshold
    signals      stored signals and hashes are those of the plain reference; the reasons follow from them
"""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
import pyarrow.parquet as pq
import zstandard

from gpu_pile import signals
from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.shards import Shard
from gpu_pile.dedup import survivors
from gpu_pile.explore.run import Run, open_run
from gpu_pile.ops import op
from gpu_pile.ops.parse_lines import TEXT_JOINER
from gpu_pile.run import directory as rundir
from gpu_pile.run.exact_text import digests, exact_text
from gpu_pile.run.reading import open_shard
from gpu_pile.text.column import TextColumn
from gpu_pile.text.shingles import reference_shingles
from gpu_pile.types import Array

NEAR_SAMPLE = 1000
"""Near duplicates that are checked by default."""

SIGNALS_SAMPLE = 200
"""Documents whose signals are recomputed."""

SIGNALS_BYTES_MAX = 1 << 20
"""Longer texts are not recomputed: the reference is plain Python."""

EXAMPLES_MAX = 5


@dataclass
class Check:
    """One check: how many things were looked at, and the first that are wrong."""

    name: str
    what: str
    checked: int = 0
    failed: int = 0
    examples: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fail(self, said: str) -> None:
        self.failed += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(said)

    def expect(self, right: bool, said: str) -> None:
        self.checked += 1
        if not right:
            self.fail(said)


def verify(
    path: str | AnyPath, *, everything: bool = False, seed: int = 0, progress: Callable[[int], None] | None = None
) -> list[Check]:
    """Check a finished run; nothing is written to it.

    Args:
        everything: all near duplicates, not a sample of NEAR_SAMPLE.
        seed: of the samples. progress: told the bytes of each shard that is done.

    Raises:
        UsageError: there is no finished run. DataError: a shard cannot be read at all.
    """
    return _Verification(open_run(path), everything, seed, progress or (lambda n: None)).run()


class _Verification:
    def __init__(self, run: Run, everything: bool, seed: int, progress: Callable[[int], None]) -> None:
        self.opened, self.config, self.progress = run, run.config, progress
        self.everything = everything
        self.rng = np.random.default_rng(seed)
        self.counts = Check("counts", "tables, reports and lines agree")
        self.kept = Check("kept lines", "lines of the input, byte for byte, and no others")
        self.exact = Check("exact", "removed exact duplicates with an equal kept text")
        self.near = Check("near", "removed near duplicates with a kept witness at the recorded similarity")
        self.signals = Check("signals", "documents whose signals, hashes and reasons are recomputed")

    def run(self) -> list[Check]:
        shards, directory = self.opened.shards, self.opened.directory
        for shard in shards:
            for path in (directory.measured(shard.name), directory.decisions(shard.name), directory.kept(shard.name)):
                rundir.need(path)
        self.choose()
        with tempfile.TemporaryFile() as store:
            self.store: Any = store
            for shard in shards:
                self.read(shard, self.decided(shard))
                self.progress(shard.n_bytes)
            self.check_exact()
            self.check_near()
        return [self.counts, self.kept, self.exact, self.near, self.signals]

    def decided(self, shard: Shard, *columns: str) -> Any:
        return pq.read_table(files.table(self.opened.directory.decisions(shard.name)), columns=list(columns) or None)

    # what to look at

    def choose(self) -> None:
        """Check the tables, and choose whose texts are needed."""
        shards = self.opened.shards
        pairs: dict[str, list[Array]] = {survivors.EXACT: [], survivors.NEAR: []}
        sampled: list[Array] = []
        total = sum(s["documents"] for s in self.opened.info["shards"])
        rows = np.sort(self.rng.choice(total, min(total, SIGNALS_SAMPLE), replace=False)) if total else np.empty(0, int)
        first = kept = 0
        for shard in shards:
            decided = self.decided(shard)
            self.check_shard(shard, decided)
            reasons = decided.column("reasons").combine_chunks()
            flat = reasons.flatten().to_numpy(zero_copy_only=False)
            row = np.repeat(np.arange(len(reasons)), np.diff(reasons.offsets.to_numpy()))
            for kind, found in pairs.items():
                found.append(_pairs(decided, row[flat == kind]))
            here = rows[(rows >= first) & (rows < first + len(decided))] - first
            sampled.append(decided.column("doc_id").to_numpy()[here])
            first += len(decided)
            kept += int(decided.column("keep").to_numpy().sum())
        self.check_totals(first, kept)
        self.exact_pairs, near = (np.concatenate(found) for found in pairs.values())
        self.all_near = len(near)
        if not self.everything and len(near) > NEAR_SAMPLE:
            near = near[np.sort(self.rng.choice(len(near), NEAR_SAMPLE, replace=False))]
        self.near_pairs = near
        self.sampled = np.concatenate(sampled)
        self.hashed = np.unique(np.concatenate([self.exact_pairs[n] for n in ("doc_id", "witness")]))
        self.digests = np.zeros((len(self.hashed), 16), np.uint8)
        self.shingled = np.unique(np.concatenate([near[n] for n in ("doc_id", "witness")]))
        self.spans = np.full((len(self.shingled), 2), -1, np.int64)
        self.witnesses = np.unique(np.concatenate([self.exact_pairs["witness"], near["witness"]]))
        self.witness_kept = np.zeros(len(self.witnesses), bool)

    # counts

    def check_shard(self, shard: Shard, decided: Any) -> None:
        said = {s["name"]: s["documents"] for s in self.opened.info["shards"]}[shard.name]
        lines = decided.column("line").to_numpy()
        measured = pq.read_table(files.table(self.opened.directory.measured(shard.name)), columns=["line", "subset"])
        identifiers = rundir.doc_id(np.uint64(shard.index), lines.astype(np.uint64))
        reasons = np.diff(decided.column("reasons").combine_chunks().offsets.to_numpy())
        keep = decided.column("keep").to_numpy()
        for right, wrong in (
            (len(lines) == said, f"{len(lines):,} documents are decided, run.json says {said:,}"),
            (decided.select(["line", "subset"]).equals(measured), "decisions and measured have different documents"),
            (
                np.array_equal(decided.column("doc_id").to_numpy(), identifiers),
                "a doc_id is not index * 2^40 + line - 1",
            ),
            (np.array_equal(keep, reasons == 0), "a kept document has reasons, or a removed one has none"),
        ):
            self.counts.expect(right, f"{shard.name}: {wrong}")

    def check_totals(self, documents: int, kept: int) -> None:
        counted = self.opened.decisions.combinations.to_pylist()
        report = files.read_json(self.opened.directory.path / "report.json") or {}
        for name, number, summed in (
            ("documents", documents, sum(r["documents"] for r in counted)),
            ("kept_documents", kept, sum(r["documents"] for r in counted if not r["reasons"])),
        ):
            for where, said in (("reasons.parquet", summed), ("report.json", report.get(name))):
                self.counts.expect(number == said, f"{where}: {name} is {said}, the decisions have {number:,}")

    # one pass over the shards

    def read(self, shard: Shard, decided: Any) -> None:
        name, state = shard.name, self.opened.directory.state("measure", shard.name)
        bad = {b["line"] for b in state["bad_lines"]}
        lines, keep = decided.column("line").to_numpy(), decided.column("keep").to_numpy()
        self.find_witnesses(decided.column("doc_id").to_numpy(), keep)
        kept, wanted = _kept(self.opened.directory.kept(name)), self.wanted(shard)
        measured = _Measured(self.opened.directory.measured(name))
        row = number = 0
        stopped = max(bad) if state["stopped"] else None
        if state["damage"]:
            self.kept.notes.append(f"{name} is damaged: its lines come from the recovering reader")
        for number, line in enumerate(self.recovered_lines(shard) if state["damage"] else self.plain_lines(shard), 1):
            if stopped is not None and number >= stopped:
                break
            if row == len(lines) or number < lines[row]:
                if number not in bad and line is not None and line.strip(b" \t\r\n"):
                    self.counts.fail(f"{name} line {number}: neither a document nor a bad line nor blank")
                continue
            if line is None:
                self.counts.fail(f"{name} line {number}: is over the limit and yet a document")
            else:
                if number == 1:  # a byte order mark belongs to no line
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if keep[row]:
                    self.kept.checked += 1
                    found = next(kept, None)
                    if found != line:
                        self.kept.fail(f"{name} line {number}: kept is {_short(found)}, the input has {_short(line)}")
                if number in wanted:
                    self.look(shard, number, line, decided.slice(row, 1), measured.row(row))
            row += 1
        self.counts.expect(row == len(lines), f"{name}: {len(lines) - row:,} documents are beyond the shard's end")
        if stopped is None:
            self.counts.expect(number == state["lines"], f"{name}: {number:,} lines, measured were {state['lines']:,}")
        extra = next(kept, None)
        self.kept.expect(extra is None, f"{name}: kept has more lines than were decided: {_short(extra)}")

    def find_witnesses(self, ids: Array, keep: Array) -> None:
        at = np.searchsorted(self.witnesses, ids)
        at[at == len(self.witnesses)] = 0
        found = self.witnesses[at] == ids if len(self.witnesses) else np.zeros(len(ids), bool)
        self.witness_kept[at[found]] = keep[found]

    def wanted(self, shard: Shard) -> set[int]:
        """Lines of the shard whose text is needed."""
        out: set[int] = set()
        for ids in (self.hashed, self.shingled, self.sampled):
            lo, hi = np.searchsorted(ids, [rundir.doc_id(np.uint64(shard.index + k), np.uint64(1)) for k in (0, 1)])
            out.update(rundir.split_doc_id(ids[lo:hi])[1].tolist())
        return out

    def plain_lines(self, shard: Shard) -> Iterator[bytes | None]:
        """Each line without its line feed; None for one over the limit."""
        limit = self.config.input.line_bytes_max
        with shard.path.open("rb") as raw, _decompressed(raw, self.config.input.window_bytes_max) as stream:
            while line := stream.readline(limit + 2):
                if len(line) > limit + 1 or (len(line) == limit + 1 and not line.endswith(b"\n")):
                    while not line.endswith(b"\n") and (line := stream.readline(1 << 20)):
                        pass
                    yield None
                else:
                    yield line.removesuffix(b"\n")

    def recovered_lines(self, shard: Shard) -> Iterator[bytes | None]:
        reader = open_shard(self.opened.context, shard)
        next_number = 0
        for block in reader:
            while next_number < block.first_line:  # lines over the limit are counted and not delivered
                next_number += 1
                yield None
            text = block.data[: block.n_bytes].tobytes()
            block.release()
            for line in text.removesuffix(b"\n").split(b"\n"):
                next_number += 1
                yield line
        for _ in range(next_number, reader.n_lines):
            yield None

    def look(self, shard: Shard, number: int, line: bytes, decided: Any, stored: dict[str, Any]) -> None:
        """Take from a document's text what the checks need."""
        identifier = np.uint64(rundir.doc_id(shard.index, number))
        try:
            text = self.text(line)
        except (ValueError, KeyError, TypeError) as error:
            self.counts.fail(f"{shard.name} line {number}: is a document, but json says {error!r}")
            return
        if (at := _find(self.hashed, identifier)) >= 0:
            column = TextColumn.from_documents([text])
            self.digests[at] = digests(column, self.config.dedupe.exact.normalize, "reference")[0]
        if (at := _find(self.shingled, identifier)) >= 0:
            fuzzy = self.config.dedupe.fuzzy
            found = np.unique(np.array(reference_shingles(text.encode(), fuzzy.shingle, fuzzy.width), np.uint64))
            self.spans[at] = self.store.tell() // 8, len(found)
            self.store.write(found.tobytes())
        if _find(self.sampled, identifier) >= 0:
            self.check_signals(f"{shard.name} line {number}", text, decided.to_pylist()[0], stored)

    def text(self, line: bytes) -> str:
        given = self.config.input
        value = json.loads(line)
        if not isinstance(value, str):
            for key in given.text_field.split("."):
                value = value[key]
        if isinstance(value, list):
            value = TEXT_JOINER.join(value)
        # an escaped lone surrogate becomes U+FFFD, as when it was measured
        return str(value).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

    # documents

    def check_signals(self, where: str, text: str, decided: dict[str, Any], stored: dict[str, Any]) -> None:
        if len(text) > SIGNALS_BYTES_MAX:
            return
        column = TextColumn.from_documents([text])
        wanted = self.config.measure.signals
        computed = signals.compute(column, wanted, backend="reference").to_pylist()[0]
        hashed = exact_text(column, self.config.dedupe.exact.normalize, "reference")
        high, low = op.load_all()["doc_hash"].run("reference", hashed)[0]
        computed |= {"text_bytes": len(text.encode()), "hash_hi": int(high), "hash_lo": int(low)}
        fuzzy = self.config.dedupe.fuzzy
        given = {
            "kind": fuzzy.shingle,
            "width": fuzzy.width,
            "method": fuzzy.sketch,
            "k": fuzzy.size,
            "seed": fuzzy.seed,
        }
        sketch, shingles = op.load_all()["sketch"].run("reference", column, **given)
        computed |= {"sketch": sketch.tobytes(), "shingles": int(shingles[0])}
        self.signals.checked += 1
        wrong = [k for k, v in computed.items() if stored[k] != v]
        if wrong:
            said = ", ".join(
                f"{k} is {_short(stored[k])}, the reference gives {_short(computed[k])}" for k in wrong[:3]
            )
            self.signals.fail(f"{where}: {said}")
            return
        failing = []
        for name, rule in self.config.thresholds.rules_of(decided["subset"]).items():
            value = computed[name]
            if (value is None and rule.required) or (value is not None and rule.min is not None and value < rule.min):
                failing.append(f"{name}.min")
            if value is not None and rule.max is not None and value > rule.max:
                failing.append(f"{name}.max")
        recorded = [r for r in decided["reasons"] if r not in (survivors.EXACT, survivors.NEAR)]
        if sorted(recorded) != sorted(failing):
            self.signals.fail(f"{where}: fails {failing}, recorded is {recorded}")

    def check_exact(self) -> None:
        pairs = self.exact_pairs
        kept = self.witness_kept[np.searchsorted(self.witnesses, pairs["witness"])]
        mine, theirs = (self.digests[np.searchsorted(self.hashed, pairs[n])] for n in ("doc_id", "witness"))
        equal = (mine == theirs).all(axis=1) & mine.any(axis=1)
        self.exact.checked = len(pairs)
        for i in np.flatnonzero(~kept | ~equal):
            what = "is not kept" if not kept[i] else "has another text"
            self.exact.fail(f"doc_id {pairs['doc_id'][i]}: its witness {pairs['witness'][i]} {what}")

    def check_near(self) -> None:
        check, pairs, fuzzy = self.near, self.near_pairs, self.config.dedupe.fuzzy
        if len(pairs) < self.all_near:
            check.notes.append(f"a sample of {len(pairs):,} of {self.all_near:,}; all with --all")
        exact = fuzzy.verify == "exact"
        if not exact:
            check.notes.append(
                "dedupe.fuzzy.verify is sketch: similarities are estimates, within 5 standard errors here"
            )
        kept = self.witness_kept[np.searchsorted(self.witnesses, pairs["witness"])]
        self.store.flush()
        spans = [self.spans[np.searchsorted(self.shingled, pairs[n])] for n in ("doc_id", "witness")]
        for i, pair in enumerate(pairs):
            check.checked += 1
            who = f"doc_id {pair['doc_id']}: its witness {pair['witness']}"
            if not kept[i]:
                check.fail(f"{who} is not kept")
                continue
            recorded = float(pair["similarity"])
            if np.isnan(recorded) and fuzzy.resolve == "connected":
                continue  # survivor of its component, of which no similarity is promised
            a, b = (self.shingles(s[i]) for s in spans)
            common = len(np.intersect1d(a, b, assume_unique=True))
            similarity = common / max(1, len(a) + len(b) - common)
            # an estimate from K values has a standard error of sqrt(s (1 - s) / K)
            margin = 0.0 if exact else 5 * (max(0.01, similarity * (1 - similarity)) / fuzzy.size) ** 0.5
            if recorded < fuzzy.threshold:
                check.fail(f"{who} is recorded at {recorded:.6f}, below the threshold {fuzzy.threshold:g}")
            elif abs(similarity - recorded) > margin:
                check.fail(f"{who} has similarity {similarity:.6f}, recorded is {recorded:.6f}")

    def shingles(self, span: Array) -> Array:
        if span[0] < 0:
            return np.empty(0, np.uint64)
        self.store.seek(int(span[0]) * 8)
        return np.frombuffer(self.store.read(int(span[1]) * 8), np.uint64)


def _decompressed(raw: BinaryIO, window: int) -> Any:
    """The stream of a whole file, by the libraries alone."""
    head = raw.read(4)
    raw.seek(0)
    if head[:2] == b"\x1f\x8b":
        return gzip.open(raw, "rb")
    if head == b"\x28\xb5\x2f\xfd" or head[1:4] == b"\x2a\x4d\x18":
        decompressor = zstandard.ZstdDecompressor(max_window_size=max(window, 1024))
        return io.BufferedReader(decompressor.stream_reader(raw, read_across_frames=True), 1 << 20)
    return raw


def _kept(path: AnyPath) -> Iterator[bytes]:
    """The lines of a kept shard, which must end in a line feed each."""
    with path.open("rb") as raw, _decompressed(raw, 1 << 27) as stream:
        for line in stream:
            yield line.removesuffix(b"\n")


class _Measured:
    """Rows of a measured file, asked for in ascending order: one row group is held."""

    def __init__(self, path: AnyPath) -> None:
        self.path = path
        self.group, self.first = -1, 0
        self.table: Any = None

    def row(self, row: int) -> dict[str, Any]:
        while self.table is None or row >= self.first + len(self.table):
            self.first += 0 if self.table is None else len(self.table)
            self.group += 1
            with pq.ParquetFile(files.table(self.path)) as file:
                self.table = file.read_row_group(self.group)
        found: dict[str, Any] = self.table.slice(row - self.first, 1).to_pylist()[0]
        return found


_PAIR = np.dtype([("doc_id", "<u8"), ("witness", "<u8"), ("similarity", "<f8")])


def _pairs(decided: Any, rows: Array) -> Array:
    out = np.empty(len(rows), _PAIR)
    taken = decided.select(["doc_id", "witness", "similarity"]).take(rows)
    out["doc_id"] = taken.column("doc_id").to_numpy()
    out["witness"] = taken.column("witness").fill_null(2**64 - 1).to_numpy()
    out["similarity"] = taken.column("similarity").to_numpy(zero_copy_only=False)
    return out


def _find(ids: Array, identifier: Any) -> int:
    """Where an id is among ascending ids, -1 if it is not."""
    at = int(np.searchsorted(ids, identifier))
    return at if at < len(ids) and ids[at] == identifier else -1


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return (
        text if len(text) <= 80 else f"{text[:60]}... ({len(value):,} long)" if hasattr(value, "__len__") else text[:80]
    )
