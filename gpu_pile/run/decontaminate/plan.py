"""--dry-run of gpu-pile decontaminate."""

from __future__ import annotations

from pathlib import Path

import yaml

from gpu_pile.corpus.shards import find_shards
from gpu_pile.gpu import detect
from gpu_pile.gpu.device import device_for
from gpu_pile.present.tables import human_bytes
from gpu_pile.run import directory
from gpu_pile.run.config import Config
from gpu_pile.run.context import Context
from gpu_pile.run.decontaminate.items import files_of
from gpu_pile.run.decontaminate.stage import check
from gpu_pile.run.layouts import look
from gpu_pile.run.plan import BLOCK_COPIES, RESIDENT, sample
from gpu_pile.run.tasks import Threads

INDEX_BYTES = 24
"""Memory per byte of text of the evaluation sets, at most: texts, tokens, n-grams and where they are; measured."""
TEXT_SHARE = {True: 1.0, False: 4.0}
"""Bytes of text per byte of a file of a set, about: plain, and compressed or of rows."""
MB_PER_CPU_SECOND = 72
"""MB of text per second and core, with the n-grams of 100 MB of evaluation text; measured."""


def describe(config: Config) -> str:
    """The text of --dry-run. Reads no more than the first block of the first shards."""
    shards = find_shards(config.input.shards, Path.cwd())
    device = device_for("cpu" if config.cluster.where else detect.choose(config.backend))
    context = Context(config, directory.of(config, shards), shards, Threads(device))
    check(context)
    look(context)
    ratios, n_bytes = sample(context), sum(s.n_bytes for s in shards)
    text = n_bytes * ratios.expansion * ratios.text_share
    lines = [
        "# configuration",
        yaml.safe_dump(context.config.shown(), sort_keys=False, allow_unicode=True).rstrip(),
        "",
        "# plan (the size of the text is estimated from the first block of the first shards)",
        f"backend    {device.backend}, {config.n_workers} worker(s)",
        f"input      {len(shards)} shard(s), {human_bytes(n_bytes)}, about {human_bytes(text)} of text",
    ]
    against = 0.0
    for spec in config.decontaminate.against:
        found = files_of(spec)
        own = sum(s.n_bytes * TEXT_SHARE[s.path.name.endswith((".jsonl", ".json", ".ndjson"))] for s in found)
        against += own
        lines.append(f"against    {spec.name}: {len(found)} file(s), at most about {human_bytes(own)} of text")
    batches = config.n_workers * context.batch_bytes * BLOCK_COPIES
    seconds = text / 1e6 / MB_PER_CPU_SECOND / config.n_workers
    lines += [
        f"memory     about {human_bytes(RESIDENT + INDEX_BYTES * against + batches)} at most: {human_bytes(RESIDENT)} "
        f"for the program, {human_bytes(INDEX_BYTES * against)} for the evaluation sets, {human_bytes(batches)} for "
        "batches",
        "disk       contamination/: about 200 bytes for each span that a document has in common with an item",
        f"time       about {max(1, round(seconds))} s on this machine, and {max(1, round(against / 5e6))} s to index "
        "the evaluation sets",
    ]
    return "\n".join(lines)
