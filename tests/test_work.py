"""A guard on work, not on time: what stages and operations do is counted, and has a budget.

The counts are the same on every machine, whatever else it does. A commit that raises a budget says why; one that makes
something cheaper lowers it.
"""

import json
import re
import tracemalloc
from collections import Counter

import numba
import numpy as np
import pytest
import zstandard
from numba.core.dispatcher import Dispatcher
from numba.core.runtime import _nrt_python, rtsys

from gpu_pile.corpus import decoders, files, lines, sinks
from gpu_pile.ops import op
from gpu_pile.run import config, pipeline, spool
from gpu_pile.run.progress import Reporter
from gpu_pile.text.column import TextColumn
from tests.conftest import DEMO, HERE

OPS = op.load_all()

# stages: how often bytes are read, decompressed, copied, compressed, and passed over by an operation

STAGES = {
    "measure": {
        "read": 1.01,  # the headers of zstd frames are read before the frames
        "decompressed": 1.0,
        "parse_lines": 1.0,
        "doc_hash": 1.3,  # the files, too, for their identity
        "sketch": 1.0,
        "text_counts": 1.0,
    },
    # candidates only, which are half of the demo corpus
    "dedupe": {"copied": 0.5, "parse_lines": 0.5, "shingle_set": 0.3},
    "decide": {},
    "write": {"copied": 0.71, "compressed": 0.71},
    # texts that are shown: with a bound, which this corpus does not reach
    "report": {"read": 1.01, "decompressed": 1.0, "copied": 0.05, "parse_lines": 0.05},
}
"""Passes of each stage over the demo corpus: over its compressed bytes (read), its decompressed ones, or its text."""


class Work(Reporter):
    """Counts bytes by the stage that is going on."""

    def __init__(self) -> None:
        super().__init__()
        self.stage_name, self.counts = "", Counter()

    def begin(self, stage, total):
        self.stage_name = stage

    def end(self, stage):
        self.stage_name = ""

    def watch(self, monkeypatch, owner, name, what, size):
        """Have calls of a function counted: size(result, *arguments) bytes of what(*arguments)."""
        function = getattr(owner, name)

        def counted(*arguments, **options):
            result = function(*arguments, **options)
            self.counts[self.stage_name, what(*arguments)] += size(result, *arguments)
            return result

        monkeypatch.setattr(owner, name, counted)


def text_or_lines(data) -> int:
    """The bytes of text or of lines that an operation is given; 0 for tables."""
    if isinstance(data, TextColumn):
        return data.n_bytes
    return data.nbytes if isinstance(data, np.ndarray) and data.dtype == np.uint8 else 0


@pytest.fixture
def passes(monkeypatch, tmp_path):
    """{(stage, what): how often}, of a run on the demo corpus."""
    work = Work()
    for owner, name, what, size in (
        (files._Local, "pread", "read", lambda data, *_: len(data)),
        (decoders.PlainDecoder, "read", "decompressed", lambda chunk, *_: chunk.n_bytes if chunk else 0),
        (decoders.MembersDecoder, "read", "decompressed", lambda chunk, *_: chunk.n_bytes if chunk else 0),
        (decoders.ZstdDecoder, "read", "decompressed", lambda chunk, *_: chunk.n_bytes if chunk else 0),
        (lines, "copy_spans", "copied", lambda n_bytes, *_: n_bytes),
        (spool, "copy_spans", "copied", lambda n_bytes, *_: n_bytes),
        (sinks.LineSink, "write", "compressed", lambda _, sink, data: len(data)),
    ):
        work.watch(monkeypatch, owner, name, lambda *_, what=what: what, size)
    work.watch(monkeypatch, op.Op, "run", lambda o, *_: o.name, lambda _, o, backend, data, *more: text_or_lines(data))
    overrides = [f"output={tmp_path}", f"input.shards=['{DEMO}']"]
    with pipeline.prepared(config.load(HERE.parent / "configs" / "quickstart.yaml", overrides), work) as context:
        pipeline.run_until(context, "report")
    states = [context.directory.state("measure", shard.name) for shard in context.shards]
    units = dict.fromkeys(OPS, sum(state["text_bytes"] for state in states))
    units |= dict.fromkeys(
        ("decompressed", "copied", "compressed", "parse_lines"), sum(state["stream_bytes"] for state in states)
    )
    units["read"] = sum(shard.n_bytes for shard in context.shards)
    return {(stage, what): n / units[what] for (stage, what), n in work.counts.items() if stage and n}


def test_no_stage_passes_over_the_corpus_more_often(passes):
    beyond = {
        f"{stage}: {what}": f"{n:.4f}, {STAGES[stage].get(what, 'and no budget')}"
        for (stage, what), n in passes.items()
        if n > STAGES[stage].get(what, 0)
    }
    assert not beyond
    assert passes["measure", "sketch"] == passes["measure", "decompressed"] == 1, "the counters count"


# operations: memory that they allocate, and references that they count

TEXT_OPS = sorted(set(OPS) - {"band_keys", "components", "jaccard", "parse_lines", "sketch_matches", "witnesses"})

MEMORY = {"anchors": 16.5, "ngram_hits": 3.1, "normal_words": 2.6, "redpajama_lines": 2.0, "shingle_set": 5.9}
"""Bytes that NumPy allocates at once for each byte of a block of text. shingle_set makes eight for each word, and
ngram_hits for each token; anchors leaves room for one at each byte, and touches what it fills."""

MEMORY_OF_OTHERS = 0.5

REFERENCES = {
    "dclm_line_removal": 16,
    "dclm_repetition": 54,
    "dclm_words": 59,
    "line_repetition": 57,
    "redpajama_words": 84,
    "word_repetition": 86,
}
"""Places in the machine code of an operation where references to arrays are counted; 0 for all others. A place inside a
loop costs two atomic instructions each time."""


def allocations(function) -> tuple[int, int]:
    """(arrays that compiled code allocates, most bytes that NumPy holds)."""
    _nrt_python.memsys_enable_stats()
    tracemalloc.start()
    try:
        before = rtsys.get_allocation_stats().alloc
        function()
        return rtsys.get_allocation_stats().alloc - before, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        _nrt_python.memsys_disable_stats()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    raw = (
        zstandard.ZstdDecompressor().stream_reader((DEMO / "00.jsonl.zst").read_bytes(), read_across_frames=True).read()
    )
    return [json.loads(line)["text"] for line in raw.splitlines()[:128]]


@pytest.mark.parametrize("name", TEXT_OPS)
def test_an_operation_allocates_per_block_and_not_per_document(name, texts):
    block, larger = TextColumn.from_documents(texts), TextColumn.from_documents(texts * 4)
    _, *others = OPS[name].inputs(block, {})
    OPS[name].run("cpu", block, *others)  # compiles
    arrays, _ = allocations(lambda: OPS[name].run("cpu", block, *others))
    arrays_of_larger, most = allocations(lambda: OPS[name].run("cpu", larger, *others))
    assert arrays_of_larger == arrays, "the same documents four times need no more room"
    assert most <= MEMORY.get(name, MEMORY_OF_OTHERS) * larger.n_bytes, f"{most / larger.n_bytes:.2f} bytes a byte"


def entries(name: str) -> list[Dispatcher]:
    """The compiled functions that an operation calls, less leaves, which cannot count references."""
    function = OPS[name].implementations["cpu"]
    called = [function.__globals__.get(n) for n in function.__code__.co_names]
    return [d for d in called if isinstance(d, Dispatcher) and d.targetoptions.get("_nrt", True)]


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXT_OPS)
def test_references_are_not_counted_in_more_places(name):
    OPS[name].run("cpu", *OPS[name].inputs(TextColumn.from_documents(["some text"]), {}))
    for entry in entries(name):
        again = numba.njit(nogil=True)(entry.py_func)  # what is loaded from the cache cannot be looked at
        for signature in entry.signatures:
            again.compile(signature)
            places = len(re.findall(r"call[^\n]*@NRT_incref", again.inspect_llvm(signature)))
            assert places <= REFERENCES.get(name, 0)
