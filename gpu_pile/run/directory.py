"""The run directory: where everything is, what is done, and what made it.

run.json                     resolved configuration, versions, every shard with its documents, bad lines, damage
measured/<shard>.parquet     one row per document: position, subset, exact hash, sketch, signals
histograms/<shard>.parquet   documents and bytes by signal, subset and cell of a fixed grid
samples/<shard>.parquet      beginnings of some texts, from everywhere in each signal's range
pairs.parquet                verified pairs of near duplicates (doc_ids, similarity), by cluster
clusters.parquet             documents with a duplicate: cluster, representative
against.parquet              with input.against: those of them that are documents of old runs
substrings/<shard>.parquet   with dedupe.substrings: what kept documents repeat of earlier text, and where that stands
decisions/<shard>.parquet    one row per document: keep, reasons with values, witness, similarity, cluster
reasons.parquet              documents and bytes by subset and by all reasons that they fail together
removals.parquet             with decide.remove: what removal lists name
kept/<shard>.jsonl.zst       the kept lines, byte for byte; one zstd frame per range of the shard, or more. Of Parquet
                             and Arrow kept/<shard>.parquet and .arrow, the kept rows with all their columns
kept/<shard>.npy             with write.keep: bitmap, instead: one bit per line of the shard
removed/<shard>.jsonl.zst    the other documents' lines, with write.removed; row for row with these:
removed_reasons/<shard>.parquet  their decisions
contamination/               what gpu-pile decontaminate has found (gpu_pile.run.decontaminate)
bad_lines.jsonl  report.json  report.html
timings.json                 how long each stage took (the only file that differs between equal runs)
state/                       what made each file: a step is done when its file is there and its key matches
state/lease.json             while a cluster does tasks: the call that counts
scratch/                     spilled intermediates and finished ranges of shards, removed at the end of a stage, and
                             decompressed lines, removed at the end of the run; elsewhere, if the configuration says
                             so, or the run directory is at a URL
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpu_pile.corpus import files
from gpu_pile.corpus.files import AnyPath
from gpu_pile.corpus.shards import RUN_MARK, Shard
from gpu_pile.corpus.sinks import FORMATS, SAME, suffix_of
from gpu_pile.errors import DataError, UsageError
from gpu_pile.run.config import Config

DOC_ID_LINE_BITS = 40
CLAIM = RUN_MARK
"""Written first, so that a run that was killed early is known as ours."""


def doc_id(shard_index: Any, line: Any) -> Any:
    """Return the id of a document: shard index * 2^40 + 0-based line index; line is 1-based. Ints, or uint64 arrays."""
    return (shard_index << DOC_ID_LINE_BITS) + (line - 1)


def split_doc_id(identifier: Any) -> tuple[Any, Any]:
    """Return (shard index, 1-based line), the inverse of doc_id. Ints, or uint64 arrays."""
    return identifier >> DOC_ID_LINE_BITS, (identifier & ((1 << DOC_ID_LINE_BITS) - 1)) + 1


@dataclass(frozen=True)
class RunDir:
    """Paths and states of one run directory.

    scratch_in:  the folder, on a file system, in which this run's scratch folder is made; None: the run directory
    line_suffix: of the files of kept and of removed lines
    """

    path: AnyPath
    scratch_in: Path | None = None
    line_suffix: str = FORMATS[0].suffix

    def measured(self, shard: str) -> AnyPath:
        return self.path / "measured" / f"{shard}.parquet"

    def histogram(self, shard: str) -> AnyPath:
        return self.path / "histograms" / f"{shard}.parquet"

    def joined(self, shard: str) -> AnyPath:
        return self.path / "joined" / f"{shard}.parquet"

    def joined_histogram(self, shard: str) -> AnyPath:
        return self.path / "joined_histograms" / f"{shard}.parquet"

    def seek_points(self, shard: str) -> AnyPath:
        return self.path / "seek" / f"{shard}.parquet"

    def sample(self, shard: str) -> AnyPath:
        return self.path / "samples" / f"{shard}.parquet"

    def substrings(self, shard: str) -> AnyPath:
        return self.path / "substrings" / f"{shard}.parquet"

    def decisions(self, shard: str) -> AnyPath:
        return self.path / "decisions" / f"{shard}.parquet"

    def kept(self, shard: str) -> AnyPath:
        return self.path / "kept" / f"{shard}{self.line_suffix}"

    def bitmap(self, shard: str) -> AnyPath:
        return self.path / "kept" / f"{shard}.npy"

    def removed(self, shard: str) -> AnyPath:
        return self.path / "removed" / f"{shard}{self.line_suffix}"

    def removed_reasons(self, shard: str) -> AnyPath:
        return self.path / "removed_reasons" / f"{shard}.parquet"

    @property
    def pairs(self) -> AnyPath:
        return self.path / "pairs.parquet"

    @property
    def clusters(self) -> AnyPath:
        return self.path / "clusters.parquet"

    @property
    def against(self) -> AnyPath:
        return self.path / "against.parquet"

    @property
    def reasons(self) -> AnyPath:
        return self.path / "reasons.parquet"

    @property
    def removals(self) -> AnyPath:
        return self.path / "removals.parquet"

    @property
    def scratch(self) -> Path:
        if self.scratch_in is not None:
            return self.scratch_in / f"scratch-{files.key_of(str(self.path.resolve()))}"
        assert isinstance(self.path, Path), "of() gives every other run directory a place for it"
        return self.path / "scratch"

    def state_path(self, stage: str, shard: str | None = None) -> AnyPath:
        return self.path / "state" / (f"{stage}.json" if shard is None else f"{stage}/{shard}.json")

    def state(self, stage: str, shard: str | None = None) -> dict[str, Any]:
        """What is recorded of a finished step; {} if it is not finished."""
        value = files.read_json(self.state_path(stage, shard))
        return value if isinstance(value, dict) else {}

    def set_state(self, value: dict[str, Any], stage: str, shard: str | None = None, *, durable: bool = True) -> None:
        files.write_json(self.state_path(stage, shard), value, durable=durable)

    def forget(self, stage: str, shard: str | None = None) -> None:
        """A step's outputs are about to change: it is not done until set_state."""
        self.state_path(stage, shard).unlink(missing_ok=True)

    @property
    def lease(self) -> AnyPath:
        return self.state_path("lease")

    @property
    def leases(self) -> list[AnyPath]:
        """The lease files: one in the run directory and, if scratch is elsewhere, one there too.

        A worker that reads the same lease in both uses the folders of this run.
        """
        return [self.lease] if self.scratch_in is None else [self.lease, self.scratch / "lease.json"]

    def clear_scratch(self, stage: str | None = None) -> None:
        """Remove the scratch folder, or a stage's files in it."""
        shutil.rmtree(self.scratch if stage is None else self.scratch / stage, ignore_errors=True)
        with contextlib.suppress(OSError):  # it holds something else, or is not there
            self.scratch.rmdir()

    def resolve(self) -> RunDir:
        """The same, for processes with another working directory."""
        return replace(self, path=self.path.resolve(), scratch_in=self.scratch_in and self.scratch_in.resolve())

    def claim(self, shard_names: list[str]) -> None:
        """Make the folder, or check that it belongs to this run.

        Raises:
            UsageError: it holds something else: another run, or files that gpu-pile did not write; or the folder for
                temporary files has something of another user where scratch would be.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"output {self.path} is a file; name a folder that gpu-pile may make")
        previous = files.read_json(self.path / "run.json") or files.read_json(self.path / CLAIM)
        if previous is None:
            names = {p.name for p in self.path.iterdir()} if self.path.is_dir() else set()
            partial = {n for n in names if n.startswith(CLAIM) and n.endswith(files.PARTIAL)}
            strangers = sorted(names - {".lock", CLAIM} - partial)
            if strangers:
                raise UsageError(
                    f"output {self.path} holds files that do not belong to a run of gpu-pile "
                    f"({', '.join(strangers[:5])}); choose an empty or a new folder"
                )
        else:
            theirs = [s["name"] for s in previous["shards"]]
            if not set(theirs) & set(shard_names):
                raise UsageError(
                    f"output {self.path} belongs to another run: its shards are {_some(theirs)}, "
                    f"this configuration's are {_some(shard_names)}; choose another output, or remove that folder"
                )
        with files.disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        if self.scratch_in == _temporary_folder():  # where everybody can make something of that name
            with files.disk_errors(self.scratch_in):
                self.scratch_in.mkdir(mode=0o700, exist_ok=True)
                if self.scratch_in.is_symlink() or self.scratch_in.stat().st_uid != os.getuid():
                    raise UsageError(f"{self.scratch_in} is somebody else's; set scratch to a folder for this run")
        files.write_json(self.path / CLAIM, {"shards": [{"name": name} for name in shard_names]})

    def remove_partials(self) -> None:
        """Remove the half-written files of killed processes."""
        found: list[AnyPath] = [*self.path.rglob(f"*{files.PARTIAL}")]
        if self.scratch_in is not None:
            found += self.scratch.rglob(f"*{files.PARTIAL}")
        for file in found:
            file.unlink(missing_ok=True)

    def remove_strays(self, shard_names: set[str], outputs: Sequence[str]) -> list[str]:
        """Remove the files of shards that are no longer among the inputs. Return the names of those shards.

        outputs: paths of files in which {shard} stands for a shard's name; others belong to the whole run.
        """
        strays: set[str] = set()
        for output in outputs:
            before, shard, after = output.partition("{shard}")
            if not shard:
                continue
            folder = self.path / before.rstrip("/")
            found: list[AnyPath] = [*folder.glob(f"*{after}")]
            for file in found:
                name = file.name.removesuffix(after)
                if name not in shard_names:
                    strays.add(name)
                    file.unlink()
        return sorted(strays)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def of(config: Config, shards: Sequence[Shard] = ()) -> RunDir:
    """The run directory of a configuration, whether it is there or not; shards: its inputs."""
    path = files.path_of(config.output)
    suffix = suffix_of(config.write.format, (shard.path.name for shard in shards))
    if config.scratch is not None:
        scratch = files.path_of(config.scratch)
        assert isinstance(scratch, Path), "the configuration checks that"
        return RunDir(path, scratch, suffix)
    return RunDir(path, None if isinstance(path, Path) else _temporary_folder(), suffix)


def _temporary_folder() -> Path:
    """This user's, in the folder for temporary files."""
    return Path(tempfile.gettempdir()) / f"gpu-pile-{os.getuid()}"


def open_dir(path: str | AnyPath) -> RunDir:
    """An existing run directory.

    Raises:
        UsageError: there is none.
        DataError: it is damaged.
    """
    folder = files.path_of(path)
    if not folder.is_dir():
        raise UsageError(f"there is no run directory {folder}; make one with: gpu-pile run CONFIG")
    run = files.read_json(folder / "run.json")
    if run is None:
        raise UsageError(f"{folder} is not a (finished) run directory: it has no run.json; run: gpu-pile run CONFIG")
    if not isinstance(run, dict) or "shards" not in run:
        raise DataError(f"{folder / 'run.json'} is damaged: run the same gpu-pile command again")
    written = run.get("config", {}).get("write", {}).get("format", SAME)
    return RunDir(folder, line_suffix=suffix_of(written, (files.path_of(s["path"]).name for s in run["shards"])))


def need(path: AnyPath) -> AnyPath:
    """A file of a finished run.

    Raises:
        UsageError: it is not there: the run stopped before, or was made by a version that did not write it.
    """
    if not path.is_file():
        raise UsageError(f"{path} is missing: this run is not finished; go on with: gpu-pile run CONFIG")
    return path


def table(path: AnyPath) -> Any:
    """A Parquet file of a finished run, for pyarrow; see need()."""
    return files.table(need(path))
