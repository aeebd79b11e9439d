"""NeMo Curator's and DCLM's values and verdicts, frozen from their own code (tests/data/conformance/README.md)."""

import json

import numpy as np
import pytest
import zstandard

import gpu_pile
from gpu_pile.ops import op
from gpu_pile.ops.nemo_code_comments import LANGUAGES
from gpu_pile.policy.thresholds import Policy
from gpu_pile.signals.nemo_comments import UNTERMINATED
from gpu_pile.text.column import TextColumn
from tests.conftest import HERE
from tests.signals.test_published import ROWS

FILE = HERE / "data" / "conformance" / "variants.jsonl.zst"
PEERS = [json.loads(line) for line in zstandard.decompress(FILE.read_bytes(), 1 << 20).splitlines()]
TEXTS = [row["text"] for row in ROWS]


def test_the_rows_belong_together():
    assert [row["id"] for row in PEERS] == [row["id"] for row in ROWS]


def test_nemo_curator():
    got = gpu_pile.measure(TEXTS, ["nemo_boilerplate", "nemo_comments"], workers=1).to_pylist()
    for text, peer, row in zip(TEXTS, PEERS, got, strict=True):
        assert row["nemo_boilerplate_paragraph_fraction"] == peer["boilerplate"]
        for name, chars in zip(LANGUAGES, peer["comments"], strict=True):
            want = None if not text else UNTERMINATED if chars is None else chars / len(text)
            assert row[f"nemo_{name}_comment_fraction"] == want, (peer["id"], name)


def test_dclm():
    column, ops = TextColumn.from_documents(TEXTS), op.load_all()
    words, lines = (ops[name].run("cpu", column) for name in ("dclm_words", "dclm_line_removal"))
    assert np.concatenate((words, lines), axis=1).tolist() == [peer["dclm"] for peer in PEERS]
    table = gpu_pile.measure(TEXTS, ["dclm", "lengths", "gopher_quality"], workers=1).to_pylist()
    rules = Policy(use=["dclm"]).rules_of("")

    def passes(value, rule):
        if value is None:
            return not rule.required
        return (rule.min is None or value >= rule.min) and (rule.max is None or value <= rule.max)

    have = [all(passes(row[name], rule) for name, rule in rules.items()) for row in table]
    assert have == [peer["dclm_pass"] for peer in PEERS]
    assert {True, False} == set(have)


@pytest.mark.parametrize("key", ["comments", "boilerplate", "dclm"])
def test_the_peers_found_something(key):
    values = [peer[key] for peer in PEERS]
    assert any(values != [v] * len(values) for v in values)
