"""gp.decide: the decisions about texts in memory equal those of a run over files."""

import tempfile
from pathlib import Path

import numpy as np
import pandas
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import gpu_pile as gp
from gpu_pile.errors import ConfigError
from gpu_pile.run import config
from tests.conftest import decisions, run, write_shard
from tests.test_run import words

SUBSETS = st.sampled_from(["a", "b", ""])
LINES = st.sampled_from(
    ["the one and only line of words that be here", "to be, or not", "漢字の文", "- point", "{}", ""]
)
TEXTS = st.lists(LINES, max_size=6).map("\n".join) | st.sampled_from(
    [words(40, 1), words(40, 1) + " tail", words(40, 2)]
)
SECTIONS = st.fixed_dictionaries(
    {
        "thresholds": st.sampled_from(
            [
                {},
                {"use": ["gopher"], "subsets": {"b": {"use": []}}},
                {"default": {"word_count": {"min": 5}, "mean_word_length": {"max": 9, "required": True}}},
            ]
        ),
        "dedupe": st.sampled_from(
            [
                {},
                {"fuzzy": {"threshold": 0.5}, "scope": "subset"},
                {"exact": {"normalize": "words"}, "survivor": {"subsets": ["b"], "prefer": "first"}},
                {"fuzzy": {"enabled": False}, "exact": {"skip_subsets": ["a"]}},
            ]
        ),
    }
)


def of_a_run(documents, sections):
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Path(folder) / "x.jsonl.zst", documents)
        given_ = {"input": {"shards": [f"{folder}/x.jsonl.zst"]}, "output": f"{folder}/run", **sections}
        run(config.parse(given_), "decide")
        return decisions(Path(folder) / "run")


@pytest.mark.slow
@hypothesis_settings(deadline=None, max_examples=12)
@given(st.lists(st.tuples(TEXTS, SUBSETS), min_size=1, max_size=12), SECTIONS)
@pytest.mark.filterwarnings("ignore:.*which no document has")
def test_as_a_run_decides(documents, sections):
    expected = of_a_run(documents, sections)
    table = gp.decide([text for text, _ in documents], subset=[s for _, s in documents], **sections)
    for name in table.column_names:
        found = table.column(name).to_pylist()
        assert str(found) == str([row[name] for row in expected]), name


def test_arguments(tmp_path, monkeypatch):
    texts = ["some words here", "some words here", "other words"]
    plain = gp.decide(texts)
    assert plain.column("keep").to_pylist() == gp.dedupe(texts).keep.tolist() == [True, False, True]
    assert plain.column("witness").to_pylist() == [None, 0, None]
    for subset in (["a", None, "b"], pandas.Series(["a", None, "b"]), pa.array(["a", None, "b"])):
        rules = {"subsets": {"a": {"rules": {"word_count": {"min": 9}}}}}
        found = gp.decide(pa.array(texts), subset=subset, thresholds=rules)
        assert found.column("keep").to_pylist() == [False, True, True]
    many = np.array([f"text number {i}" for i in range(300)])
    monkeypatch.setattr("gpu_pile.run.decided_texts.BATCH_BYTES", 100)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert gp.decide(many, "gopher", thresholds={"default": {"plain_word_count": {"min": 1}}}).num_rows == 300
    assert list(tmp_path.iterdir()) == []
    assert gp.decide([]).num_rows == 0
    assert gp.decide([""]).column("keep").to_pylist() == [True]


def test_what_is_wrong():
    with pytest.raises(ValueError, match="2 names for 1 texts"):
        gp.decide(["a"], subset=["x", "y"])
    with pytest.raises(ValueError, match="use is given twice"):
        gp.decide(["a"], "gopher", thresholds={"use": "c4"})
    with pytest.raises(ConfigError, match="no thresholds named 'gophr'; did you mean 'gopher'"):
        gp.decide(["a"], "gophr")
    with pytest.raises(ConfigError, match=r"dedupe\.fuzy: unknown key"):
        gp.decide(["a"], dedupe={"fuzy": {}})
    with pytest.raises(TypeError, match="texts is one str"):
        gp.decide("a")
    with pytest.warns(UserWarning, match="subset 'z', which no document has"):
        gp.decide(["a"], thresholds={"subsets": {"z": {"use": []}}}, subset=["x"])
