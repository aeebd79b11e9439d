"""What a removal loses: counted, reported, shown, checked."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_pile.explore import passages
from gpu_pile.explore.run import open_run
from gpu_pile.text import unicode_reference
from gpu_pile.text.shingles import reference_shingles
from tests.conftest import decisions, run, settings, write_shard
from tests.test_cli import invoke
from tests.test_run import words
from tests.test_verify import change, failures


def shingles(text, kind="word", width=5):
    return set(reference_shingles(text.encode(), kind, width))


def texts_of(folder):
    opened = open_run(folder)
    ids = [row["doc_id"] for row in decisions(folder)]
    return dict(zip(ids, opened.texts(ids).table.column("text").to_pylist(), strict=True))


@pytest.fixture(scope="module")
def lossy(tmp_path_factory):
    """Families of a long text, a shorter one that lacks its end, one with other words, and one in another order."""
    folder, documents = tmp_path_factory.mktemp("lossy"), []
    for family in range(6):
        text = words(300, family).split()
        changed = [*text[:100], f"only{family}", f"here{family}", *text[101:290]]
        moved = [*text[150:295], *text[:150]]
        for variant in (text, text[:280], changed, moved, text):
            documents.append((" ".join(variant), "xyz"[family % 3]))
    write_shard(folder / "a.jsonl.zst", documents)
    run(settings([folder / "a.jsonl.zst"], folder / "run"))
    return folder / "run"


def test_losses_are_those_of_the_plain_sets(lossy):
    texts, seen = texts_of(lossy), 0
    for row in decisions(lossy):
        if row["keep"]:
            assert row["containment"] is row["lost_shingles"] is None
            continue
        own, theirs = shingles(texts[row["doc_id"]]), shingles(texts[row["witness"]])
        assert row["containment"] == len(own & theirs) / len(own)
        assert row["lost_shingles"] == len(own - theirs)
        seen += row["reasons"] == ["near_duplicate"]
    assert seen == 18


def test_the_report_sums_the_losses(lossy):
    lost = json.loads((lossy / "report.json").read_text())["lost_text"]
    near = [row for row in decisions(lossy) if row["reasons"] == ["near_duplicate"]]
    assert lost["documents"] == len(near)
    assert lost["losing"] == sum(row["lost_shingles"] > 0 for row in near)
    assert lost["lost_shingles"] == sum(row["lost_shingles"] for row in near) > 0
    for subset in lost["subsets"]:
        own = [row["lost_shingles"] for row in near if row["subset"] == subset["subset"]]
        assert (subset["documents"], subset["lost_shingles"]) == (len(own), sum(own))
    losses = [row["lost_shingles"] for row in lost["largest"]]
    assert losses == sorted((row["lost_shingles"] for row in near if row["lost_shingles"]), reverse=True)
    page = (lossy / "report.html").read_text()
    assert f"{lost['lost_shingles']:,} in all" in page


def test_show_marks_what_is_lost(lossy):
    code, output, _ = invoke("show", lossy, "a:3", "a:4")
    assert code == 0
    flat = output.replace("\n", " ")
    assert "[-only0 here0-]" in flat.replace(" -]", "-]")
    assert "shingles of this text are not in its witness" in flat
    assert "[~" in flat


def test_verify_counts_the_losses_again(lossy, tmp_path):
    assert failures(lossy, everything=True) == {}
    path = lossy / "decisions" / "a.parquet"
    before = path.read_bytes()
    row = next(i for i, r in enumerate(decisions(lossy)) if r["lost_shingles"])
    change(path, "lost_shingles", row, 1_000)
    found = failures(lossy, everything=True)
    path.write_bytes(before)
    assert "recorded is a loss of 1000" in found["near"][0]


def test_estimates_know_no_losses(lossy, tmp_path):
    shard = Path(lossy).parent / "a.jsonl.zst"
    run(settings([shard], tmp_path / "run", dedupe={"fuzzy": {"verify": "sketch"}}))
    near = [row for row in decisions(tmp_path / "run") if row["reasons"] == ["near_duplicate"]]
    assert near
    assert {row["containment"] for row in near} == {row["lost_shingles"] for row in near} == {None}
    assert json.loads((tmp_path / "run" / "report.json").read_text())["lost_text"] is None
    assert "near" not in failures(tmp_path / "run", everything=True)


TEXTS = st.text(st.sampled_from("ab \nİA.é漢ーก\u0e31\u0301_"), max_size=30)


@given(TEXTS, TEXTS, st.sampled_from(["auto", "word", "char", "byte"]), st.integers(1, 4))
def test_shared_passages_by_the_reference_shingles(text, other, kind, width):
    own = passages.units(text, kind)
    if kind == "word":
        assert [unit.value for unit in own] == unicode_reference.words(text)
    if kind == "auto":
        assert [unit.value for unit in own] == unicode_reference.words_of_any_script(text)
    marks = passages.shared(text, other, kind, width)
    known, want = shingles(other, kind, width), np.zeros(len(text), bool)
    for i, shingle in enumerate(reference_shingles(text.encode(), kind, width)):
        if shingle in known:
            want[own[i].start : own[min(i + width, len(own)) - 1].end] = True
    assert marks == want.tolist()
