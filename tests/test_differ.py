"""gpu-pile diff: two runs over the same documents, against their decisions."""

import json
import shutil
from collections import Counter

import pytest

import gpu_pile as gp
from gpu_pile.errors import UsageError
from gpu_pile.run import config
from tests.conftest import DEMO, decisions, run, settings, write_shard
from tests.test_cli import invoke
from tests.test_run import QUICK


@pytest.fixture(scope="module")
def other(demo_run, tmp_path_factory):
    """The demo corpus with another threshold, other rules, and one rule that is required."""
    folder = shutil.copytree(demo_run, tmp_path_factory.mktemp("other") / "run")
    rules = "{use: [gopher], default: {plain_word_count: {min: 30}, mean_line_length: {max: 300, required: true}}}"
    changes = [f"output={folder}", f"input.shards=['{DEMO}']", f"thresholds={rules}", "dedupe.fuzzy.threshold=0.9"]
    run(config.load(QUICK, [*changes, "backend=cpu"]))
    return folder


def test_counts_and_reasons(demo_run, other):
    found = gp.open_run(demo_run).diff(other)
    pairs = list(zip(decisions(demo_run), decisions(other), strict=True))
    kinds = Counter((a["keep"], b["keep"]) for a, b in pairs)
    assert found.counts() == {
        "both": kinds[True, True],
        "only_first": kinds[True, False],
        "only_second": kinds[False, True],
        "neither": kinds[False, False],
    }
    assert min(found.counts().values()) > 0
    expected = Counter()
    for a, b in pairs:
        if a["keep"] != b["keep"]:
            kept_by, removed = ("only_first", b) if a["keep"] else ("only_second", a)
            expected.update((kept_by, a["subset"], reason) for reason in removed["reasons"])
    rows = found.reasons.to_pylist()
    assert {(r["kept_by"], r["subset"], r["reason"]): r["documents"] for r in rows} == expected
    assert all(r["text_bytes"] > 0 for r in rows)
    both_remove = [(a["reasons"], b["reasons"]) for a, b in pairs if not a["keep"] and not b["keep"]]
    assert found.other_reasons == sum(first != second for first, second in both_remove) > 0
    back = gp.open_run(other).diff(gp.open_run(demo_run))
    assert back.counts()["only_first"] == found.counts()["only_second"]
    assert ("dedupe.fuzzy.threshold", 0.8, 0.9) in found.settings
    assert all(first != second for _, first, second in found.settings)
    assert not {"output", "input.shards"} & {name for name, _, _ in found.settings}


def test_examples(demo_run, other):
    found = gp.open_run(demo_run).diff(other)
    examples = found.examples(2, seed=3)
    assert [e["kept_by"] for e in examples] == ["only_first"] * 2 + ["only_second"] * 2
    assert examples == found.examples(2, seed=3) != found.examples(2, seed=4)
    rows = {r["doc_id"]: (a, r) for a, r in zip(decisions(demo_run), decisions(other), strict=True)}
    for example in examples:
        first, second = rows[example["doc_id"]]
        keeping, removing = (first, second) if example["kept_by"] == "only_first" else (second, first)
        assert keeping["keep"]
        assert [r["rule"] for r in example["reasons"]] == removing["reasons"]
        assert example["text"]


def test_the_command(demo_run, other):
    code, output, _ = invoke("diff", demo_run, other, "--json")
    told = json.loads(output)
    assert code == 0
    assert told == gp.open_run(demo_run).diff(other).to_dict()
    code, output, _ = invoke("diff", demo_run, other, "-n", "1")
    assert code == 0
    assert f"{told['documents']['only_second']:,} of them alone" in output
    assert f"{told['other_reasons']} documents are removed by both, for different reasons" in output
    assert "dedupe.fuzzy.threshold" in output
    assert all(reason["reason"] in output for reason in told["reasons"])
    code, output, _ = invoke("diff", demo_run, demo_run)
    assert code == 0
    assert "0 of them alone" in output
    assert "Kept by" not in output
    assert gp.open_run(demo_run).diff(demo_run).to_dict()["examples"] == []


def test_runs_of_other_documents_are_an_error(demo_run, tmp_path):
    def made(name, shards, **more):
        for shard, documents in shards.items():
            write_shard(tmp_path / name / f"{shard}.jsonl.zst", documents)
        run(settings([tmp_path / name], tmp_path / f"run-{name}", **more))
        return gp.open_run(tmp_path / f"run-{name}")

    one, two = [("some words", "x"), (b'{"other": "words here"}')], [("more words", "y")]
    first = made("first", {"a": one, "b": two})
    assert len(first.diff(first).reasons.table) == 0
    for name, shards, more, said in [
        ("more", {"a": one, "b": two, "c": two}, {}, "only .*run-more has c; compare runs of the same shards"),
        ("content", {"a": two, "b": two}, {}, "a has other content"),
        ("field", {"a": one, "b": two}, {"input": {"text_field": "other"}}, "b has 1 and 0 documents"),
    ]:
        with pytest.raises(UsageError, match=said):
            first.diff(made(name, shards, **more))
    lines = made("lines", {"a": one}, input={"text_field": "other"})
    with pytest.raises(UsageError, match="a has documents on other lines"):
        made("same", {"a": one}).diff(lines)
    assert invoke("diff", demo_run, tmp_path / "run-first")[0] == 2
    assert invoke("diff", demo_run, tmp_path / "none")[0] == 2
