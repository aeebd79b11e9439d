"""What a removal loses: counted, reported, shown, checked."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as settings_
from hypothesis import strategies as st

import gpu_pile
from gpu_pile.errors import ConfigError
from gpu_pile.explore import passages
from gpu_pile.explore.run import open_run
from gpu_pile.explore.verify import signals
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


@pytest.fixture(autouse=True)
def few_signals(monkeypatch):
    """What loses text is tested here, not signals."""
    monkeypatch.setattr(signals, "SIGNALS_SAMPLE", 3)


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
    assert failures(lossy) == {}
    path = lossy / "decisions" / "a.parquet"
    before = path.read_bytes()
    row = next(i for i, r in enumerate(decisions(lossy)) if r["lost_shingles"])
    change(path, "lost_shingles", row, 1_000)
    found = failures(lossy)
    path.write_bytes(before)
    assert "recorded is a loss of 1000" in found["near"][0]


def test_estimates_know_no_losses(lossy, tmp_path):
    shard = Path(lossy).parent / "a.jsonl.zst"
    run(settings([shard], tmp_path / "run", dedupe={"fuzzy": {"verify": "sketch"}}))
    near = [row for row in decisions(tmp_path / "run") if row["reasons"] == ["near_duplicate"]]
    assert near
    assert {row["containment"] for row in near} == {row["lost_shingles"] for row in near} == {None}
    assert json.loads((tmp_path / "run" / "report.json").read_text())["lost_text"] is None
    assert "near" not in failures(tmp_path / "run")


# what is accepted


def plain_directed(texts, threshold, containment):
    """Who stays, by the words of decision 35, and for whom each of the others goes."""
    sets = [shingles(text) for text in texts]
    kept = []
    for i in sorted(range(len(texts)), key=lambda i: (-len(texts[i].encode()), i)):
        if not any(may_go(sets[i], sets[j], threshold, containment) or texts[i] == texts[j] for j in kept):
            kept.append(i)
    return sorted(kept)


def may_go(own, other, threshold, containment):
    if not own or len(own & other) / len(own | other) < threshold:
        return False
    return len(own & other) / len(own) >= containment


@settings_(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=14), max_size=7), st.sampled_from([1.0, 0.8]))
def test_a_containment_of_1_loses_nothing(drawn, containment):
    texts = [" ".join(letters) for letters in drawn]
    found = gpu_pile.dedupe(
        texts, 0.3, bands=128, rows=1, backend="cpu", workers=1, accept={"jaccard": 0.5, "containment": containment}
    )
    assert np.flatnonzero(found.keep).tolist() == plain_directed(texts, 0.5, containment)
    for i in np.flatnonzero(~found.keep):
        own, theirs = shingles(texts[i]), shingles(texts[found.witness[i]])
        assert found.keep[found.witness[i]]
        assert len(own & theirs) >= containment * len(own)


RECIPE = """Heat the oven to {} degrees. Mix {} grams of flour with {} eggs and a pinch of salt, and let the dough rest
for half an hour in a cool place. Roll it out on a board with some flour, cut it into strips, and bake them on paper
until they are brown at the edges. Serve them with {} while they are warm, and keep the rest in a tin for some days."""
COURT = """In the matter of {} against {}, the court, having heard the parties on day {} of the session, finds that the
claim of {} is founded, orders the defendant to pay the sum within thirty days of this decision, with interest from the
day on which the claim was brought, and leaves each party to bear its own costs. This decision may be appealed."""
WEATHER = """At {} in the morning the station measured {} degrees and a wind of {} knots from the west. The sky was
cloudy and the pressure fell slowly during the night. For the next day the service expects showers in the hills, a dry
evening on the coast, and temperatures of up to {} degrees in the valleys, a little above the mean of thirty years."""


def test_templates_stay_apart(tmp_path):
    """Documents of one skeleton differ in a few fields; a copy that lacks its end goes all the same."""
    rng, documents = np.random.default_rng(1), []
    for kind, skeleton in (("recipe", RECIPE), ("court", COURT), ("weather", WEATHER)):
        for _ in range(12):
            documents.append((skeleton.format(*(f"v{x}" for x in rng.integers(0, 10**9, 4))), kind))
    documents += [(text.rsplit(" ", 3)[0], kind) for text, kind in documents[::12]]
    write_shard(tmp_path / "a.jsonl.zst", documents)
    fuzzy = {"threshold": 0.4, "accept": {"containment": 1.0}}
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", dedupe={"fuzzy": fuzzy}))
    assert [row["keep"] for row in decisions(tmp_path / "run")] == [True] * 36 + [False] * 3
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["lost_text"]["documents"], report["lost_text"]["lost_shingles"]) == (3, 0)
    assert "containment" in report["reasons"][0]["rule"]
    assert failures(tmp_path / "run") == {}
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", dedupe={"fuzzy": {"threshold": 0.4}}))
    assert sum(row["keep"] for row in decisions(tmp_path / "run")) < 10
    claimed = json.loads((tmp_path / "run" / "run.json").read_text())
    claimed["config"]["dedupe"]["fuzzy"]["accept"] = {"jaccard": 0.9, "containment": 0.9}
    (tmp_path / "run" / "run.json").write_text(json.dumps(claimed))
    found = failures(tmp_path / "run")["near"]
    assert "below the accepted" in found[0]


@pytest.mark.parametrize(
    ("fuzzy", "wrong"),
    [
        ({"accept": {"jaccard": 0.5}}, "accept.jaccard is 0.5, below the threshold 0.8"),
        ({"accept": {"containment": 0.5}, "verify": "sketch"}, "accept.containment needs verify: exact"),
        ({"accept": {"containment": 0.5}, "resolve": "connected"}, "accept needs resolve: witness"),
        ({"accept": {"containment": 1.5}}, "dedupe.fuzzy.accept.containment: "),
    ],
)
def test_what_cannot_be_accepted(fuzzy, wrong):
    with pytest.raises(ConfigError, match=re.escape(wrong)):
        settings(["a.jsonl.zst"], Path("run"), dedupe={"fuzzy": fuzzy})


# what show marks


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
