import json
import math

import numpy as np
import pyarrow as pa
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_pile import signals
from gpu_pile.dedup import survivors
from gpu_pile.errors import ConfigError
from gpu_pile.policy import thresholds
from gpu_pile.policy.thresholds import Policy, Rule
from tests import frozen

GOPHER = thresholds.named_set("gopher").rules


def table(**columns):
    return pa.table({name: pa.array(values, pa.float64()) for name, values in columns.items()})


def failing(policy, columns, subsets=("x",), codes=None):
    n = len(next(iter(columns.values())))
    codes = np.zeros(n, np.int64) if codes is None else np.array(codes)
    columns = {"unspaced_letter_fraction": [0.0] * n, **columns}
    names, marks, values = policy.evaluate(table(**columns), list(subsets), codes)
    assert marks.shape == values.shape == (n, len(names))
    return [[name for name, mark in zip(names, row, strict=True) if mark] for row in marks]


def policy(**data):
    return Policy.model_validate(data)


def test_bounds_are_inclusive():
    below, above = math.nextafter(0.1, 0), math.nextafter(0.1, 1)
    p = policy(default={"hash_per_word": {"min": 0.1, "max": 0.1}})
    got = failing(p, {"hash_per_word": [below, 0.1, above]})
    assert got == [["hash_per_word.min"], [], ["hash_per_word.max"]]


def test_a_bound_of_zero_is_a_bound():
    p = policy(default={"hash_per_word": {"max": 0}, "word_count": {"min": 0.0}})
    assert failing(p, {"hash_per_word": [0, 0.01], "word_count": [0, 0]}) == [[], ["hash_per_word.max"]]


def test_undefined_passes_unless_required():
    columns = {"hash_per_word": [None, 0.5]}
    assert failing(policy(default={"hash_per_word": {"max": 0.1}}), columns) == [[], ["hash_per_word.max"]]
    required = policy(default={"hash_per_word": {"max": 0.6, "required": True}})
    assert failing(required, columns) == [["hash_per_word.min"], []]
    assert required.explain("hash_per_word.min", math.nan, "x") == "undefined, but required"


def test_null_switches_a_rule_of_a_named_set_off():
    p = policy(use=["gopher"], default={"bullet_line_fraction": None})
    assert p.rules_of("x").keys() == GOPHER.keys() - {"bullet_line_fraction"}
    assert thresholds.policy_data(p)["default"] == {"bullet_line_fraction": None}


def test_rules_are_put_together_by_subset():
    p = policy(
        use=["gopher"],
        default={"word_count": {"min": 7}},
        subsets={
            "A": {"rules": {"word_count": {"max": 9}, "hash_per_word": None}},
            "B": {"use": []},
            "C": {"use": [], "rules": {"word_count": None}},
        },
    )
    assert p.rules_of("other") == {**GOPHER, "word_count": Rule(min=7)}
    assert p.rules_of("A") == {**{k: v for k, v in GOPHER.items() if k != "hash_per_word"}, "word_count": Rule(max=9)}
    assert p.rules_of("B") == {"word_count": Rule(min=7)}
    assert p.rules_of("C") == {}
    q = policy(default={"word_count": {"min": 7}}, subsets={"A": {"rules": {"word_count": {"max": 9}}}})
    got = failing(q, {"word_count": [5, 10, 5, 10]}, ["x", "A"], [0, 0, 1, 1])
    assert got == [["word_count.min"], [], [], ["word_count.max"]]
    assert q.explain("word_count.max", 10, "A") == "10 > 9"


def test_the_key_changes_with_every_rule_and_with_nothing_else():
    one = policy(default={"word_count": {"min": 7}})
    assert one.key() == policy(default={"word_count": {"min": 7.0}}, use=[]).key()
    assert one.key() != policy(default={"word_count": {"min": 8}}).key()
    assert one.key() != policy(default={"word_count": {"min": 7}}, subsets={"A": {"rules": {"word_count": None}}}).key()


@given(
    st.lists(st.one_of(st.none(), st.floats(-5, 5)), min_size=1, max_size=20),
    st.one_of(st.none(), st.floats(-5, 0)),
    st.floats(0, 5),
)
def test_evaluation_equals_the_plain_definition(values, low, high):
    rule = {"max": high} if low is None else {"min": low, "max": high}
    got = failing(policy(default={"hash_per_word": rule}), {"hash_per_word": values})
    for value, fails in zip(values, got, strict=True):
        want = []
        if value is not None and low is not None and value < low:
            want.append("hash_per_word.min")
        if value is not None and value > high:
            want.append("hash_per_word.max")
        assert fails == want


def test_named_sets_are_valid_and_about_known_signals():
    sets = thresholds.named_sets()
    assert "gopher" in [name for name, _, _ in sets]
    for name, n, _ in sets:
        rules = thresholds.named_set(name).rules
        assert len(rules) == n > 0
        assert set(rules) <= set(signals.names())
    with pytest.raises(ConfigError, match="did you mean 'gopher'"):
        thresholds.named_set("gofer")
    with pytest.raises(ConfigError, match="no thresholds named"):
        thresholds.named_set("../../etc/passwd")


@pytest.mark.parametrize("bad", [{"min": math.nan}, {"max": math.inf}, {"min": "5"}, {"minimum": 3}, {}])
def test_rules_that_are_none(bad):
    with pytest.raises(pydantic.ValidationError):
        policy(default={"word_count": bad})


def test_reasons_as_lists():
    marks = np.array([[True, False, True], [False, False, False], [False, True, False]])
    values = np.arange(9.0).reshape(3, 3)
    names, numbers = survivors.lists(["a", "b", "c"], marks, values)
    assert names.to_pylist() == [["a", "c"], [], ["b"]]
    assert numbers.to_pylist() == [[0.0, 2.0], [], [7.0]]
    names, numbers = survivors.lists([], np.zeros((2, 0), bool), np.zeros((2, 0)))
    assert names.to_pylist() == numbers.to_pylist() == [[], []]
    assert names.type == pa.list_(pa.string())


# frozen values and verdicts (tests/frozen.py)


@pytest.fixture(scope="module")
def expected():
    return {path.stem: json.loads(path.read_text()) for path in (frozen.SIGNALS, frozen.THRESHOLDS)}


@pytest.mark.parametrize("family", [f.name for f in signals.families()])
def test_frozen_values_of_signals(family, expected):
    """Where a change is meant: raise the version of the family or operation, then run python -m tests.frozen."""
    for name in signals.names([family]):
        assert frozen.values()[name] == expected["signals"]["values"][name], name


def test_frozen_versions_are_current(expected):
    assert frozen.versions() == expected["signals"]["versions"], "run: python -m tests.frozen"


@pytest.mark.parametrize("name", [name for name, _, _ in thresholds.named_sets()])
def test_frozen_rules_and_verdicts_of_named_sets(name, expected):
    assert frozen.verdicts()[name] == expected["thresholds"][name]


def test_every_rule_is_failed_by_some_documents_and_passed_by_others(expected):
    for name, content in expected["thresholds"].items():
        for rule, fails in content["fails"].items():
            assert 0 < len(fails) < len(frozen.documents()), (name, rule)
        assert content["passing"] > 0, name
        bounds = {f"{s}.{kind}" for s, r in content["rules"].items() for kind in ("min", "max") if kind in r}
        assert bounds <= set(content["fails"]), name


@pytest.mark.parametrize(
    ("name", "signal", "rule"),
    [
        ("nemo", "nemo_digit_fraction", {"max": 0.5}),
        ("nemo", "nemo_url_char_fraction", {"max": 0.5}),
        ("gopher", "plain_word_count", {"min": 40, "max": 100000}),
        ("dclm", "dclm_removed_word_fraction", {"max": 0.05}),
    ],
)
def test_a_planted_bound_changes_verdicts(name, signal, rule, expected, monkeypatch):
    planted = thresholds.named_set(name).model_copy(
        update={"rules": {**thresholds.named_set(name).rules, signal: Rule(**rule)}}
    )
    real = thresholds.named_set
    monkeypatch.setattr(thresholds, "named_set", lambda n: planted if n == name else real(n))
    assert frozen.verdicts()[name]["fails"] != expected["thresholds"][name]["fails"]


def test_values_are_not_frozen_again_without_another_version():
    old = {"versions": frozen.versions(), "values": {"word_count": [1], "char_count": [2]}}
    new = {"versions": frozen.versions(), "values": {"word_count": [3], "char_count": [2]}}
    assert frozen.unchanged_versions(old, new) == ["word_count"]
    new["versions"] = {name: {**v, "family": v["family"] + 1} for name, v in new["versions"].items()}
    assert frozen.unchanged_versions(old, new) == []
