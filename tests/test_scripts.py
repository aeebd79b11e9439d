"""Near duplicates in scripts without spaces, and combining marks. benchmarks/scripts.py measures more of it."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpu_pile as gp
from benchmarks import scripts
from gpu_pile.explore.bounds import SubsetBounds
from gpu_pile.ops.normal_words import normal_words
from gpu_pile.present import diff
from gpu_pile.text import unicode
from gpu_pile.text.column import TextColumn
from gpu_pile.text.shingles import reference_shingles
from gpu_pile.text.unicode_reference import flags, words_of_any_script
from tests.conftest import decisions, run, settings, write_shard
from tests.test_verify import failures

UNSPACED = ("Chinese", "Japanese", "Thai")
PAIRS = 20


@pytest.fixture(scope="module")
def planted():
    """Texts in several scripts without punctuation, and copies in which one unit in a hundred is another."""
    rng = random.Random(0)
    made = [(name, text) for name in (*UNSPACED, "English") for text in scripts.made_texts(name, PAIRS, rng, 150)]
    return [text for _, text in made] + [scripts.with_units_replaced(text, name, rng) for name, text in made]


@pytest.mark.parametrize(("shingle", "found"), [("auto", 1.0), ("word", 0.0)])
def test_planted_near_duplicates(planted, shingle, found):
    pairs = gp.dedupe(planted, shingle=shingle, backend="cpu").pairs.to_pylist()
    half = len(planted) // 2
    assert all(p["b"] == p["a"] + half for p in pairs)
    by_language = [sum(p["a"] // PAIRS == i for p in pairs) / PAIRS for i in range(len(UNSPACED) + 1)]
    assert by_language[-1] == 1.0
    assert [round(share) for share in by_language[:-1]] == [found] * len(UNSPACED)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("राम की गाय", "राम का गाया"),
        ("கி மு ரா", "கா மி ரு"),
        ("كِتَاب", "كُتُب"),
        ("e\u0301te", "e te"),
        ("ไก่ ไข่", "ไก ไข"),
        ("か\u3099", "か"),
    ],
)
def test_marks_are_part_of_words(one, other):
    assert words_of_any_script(one) != words_of_any_script(other)
    assert gp.dedupe([one, other], backend="cpu").keep.all()


def test_marks_are_part_of_normal_words():
    found = normal_words(TextColumn.from_documents(["राम की गाय", "राम  का गाया!", "中文 字", "中 文字"]))
    assert [d.decode() for d in TextColumn(*found).documents()] == ["राम की गाय", "राम का गाया", "中文 字", "中 文字"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("中文ABC 12字x", ["中", "文", "abc", "12", "字", "x"]),
        ("タイトルー、ﾊﾟ", ["タ", "イ", "ト", "ル", "ー", "ﾊ", "ﾟ"]),
        ("กำไก่", ["ก", "ำ", "ไ", "ก่"]),
        ("ཡིག་ཆ", ["ཡི", "ག", "ཆ"]),
        ("한국어 각", ["한국어", "각"]),
        ("\u0301 \u0301a\u0301b 👩\u200d👧 ❤\ufe0f", ["a\u0301b"]),
        ("İx", ["i\u0307x"]),
        ("字\u0301a\u0301", ["字\u0301", "a\u0301"]),
    ],
)
def test_words_of_any_script(text, expected):
    assert words_of_any_script(text) == expected


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A run by Gopher's rules: five texts each of Chinese, Thai, English of 5 words, and a mixture mostly English."""
    folder, rng = tmp_path_factory.mktemp("judged"), random.Random(1)
    chinese, thai = (scripts.made_texts(name, 5, rng) for name in ("Chinese", "Thai"))
    short = [f"only five words of {i}" for i in range(5)]
    mixed = [f"{text[:20]} is a name of that and of the other {i}" for i, text in enumerate(chinese)]
    texts = [*((t, "zh") for t in chinese), *((t, "th") for t in thai), *((t, "en") for t in [*short, *mixed])]
    write_shard(folder / "a.jsonl.zst", texts)
    run(settings([folder / "a.jsonl.zst"], folder / "run", thresholds={"use": ["gopher"]}))
    return folder / "run"


def test_rules_about_words_pass_texts_without_spaces(judged):
    rows = decisions(judged)
    assert [row["keep"] for row in rows] == [True] * 10 + [False] * 10
    report = json.loads((judged / "report.json").read_text())
    assert report["without_spaces"]["by_subset"] == {"th": 5, "zh": 5}
    assert "plain_word_count" in report["without_spaces"]["signals"]
    assert any(note.startswith("10 documents have no spaces between words") for note in report["notes"])
    assert failures(judged, everything=True) == {}


def test_word_rules_may_be_applied_to_all(judged):
    opened = gp.open_run(judged)
    assert opened.decide({"use": ["gopher"]}).keep.sum() == 10
    assert opened.decide({"use": ["gopher"], "word_rules": "always"}).keep.sum() == 0


def test_sweeps_and_sliders_count_what_rules_would_remove(judged):
    opened = gp.open_run(judged)
    for values in ([50], [50.5]):  # one is counted by the histograms, the other from every value
        swept = opened.sweep("plain_word_count", min=values).table.to_pylist()
        assert sum(row["kept_documents"] for row in swept) == 10
    counts = SubsetBounds(opened, ["plain_word_count"]).counts()
    assert sum(row["then_documents"] for row in counts) == 10


def test_show_says_that_a_rule_is_not_applied(judged):
    assert gp.open_run(judged).document(0)["not_applied"] == gp.open_run(judged).document(7)["not_applied"] != []
    assert gp.open_run(judged).document(12)["not_applied"] == []


def test_differences_are_characters_where_there_are_no_spaces():
    first, second = "今日は良い天気ですね、散歩 do it 行きました", "今日は悪い天気ですね、散歩 do that 行きました"
    changed = [(kind, text) for kind, text in diff.difference(first, second) if kind != "equal"]
    assert changed == [("removed", "良"), ("added", "悪"), ("removed", "it"), ("added", "that")]


@given(st.text(st.characters(max_codepoint=0x2FFF, exclude_characters="İ", exclude_categories=["Cs"])))
def test_other_texts_have_the_shingles_they_had(text):
    text = "".join(c for c in text if not flags(c) & (unicode.MARK | unicode.UNSPACED))
    assert reference_shingles(text.encode(), "auto", 3) == reference_shingles(text.encode(), "word", 3)
