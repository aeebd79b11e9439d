"""Signals against Python's own str."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile import signals
from gpu_pile.testing import ALPHABET
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.column import TextColumn


def values(text, *wanted):
    return signals.compute(TextColumn.from_documents([text]), list(wanted)).to_pylist()[0]


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(ALPHABET), max_size=60))
def test_lengths_are_those_of_python(text):
    got = values(text, "lengths")
    assert got["char_count"] == len(text)
    assert got["word_count"] == len(text.split())
    assert got["line_count"] == len(text.splitlines())
    w = text.split()
    assert got["mean_word_length"] == (sum(map(len, w)) / len(w) if w else None)


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(ALPHABET), max_size=60))
def test_gopher_quality_as_defined(text):
    got = values(text, "gopher_quality")
    words, lines = text.split(), text.splitlines()
    plain = [w for w in words if any(not unicode_reference.flags(c) & unicode.PUNCTUATION for c in w)]
    n = len(words)
    stops = {"the", "be", "to", "of", "and", "that", "have", "with"}
    assert got == {
        "plain_word_count": len(plain),
        "plain_word_chars": sum(map(len, plain)),
        "hash_count": text.count("#"),
        "ellipsis_count": text.count("...") + text.count("…"),
        "bullet_line_count": sum(s.lstrip().startswith(("•", "-")) for s in lines),
        "ellipsis_line_count": sum(s.rstrip().endswith(("...", "…")) for s in lines),
        "alpha_word_count": sum(any(c.isalpha() for c in w) for w in words),
        "mean_plain_word_length": sum(map(len, plain)) / len(plain) if plain else None,
        "hash_per_word": text.count("#") / n if n else None,
        "ellipsis_per_word": (text.count("...") + text.count("…")) / n if n else None,
        "bullet_line_fraction": sum(s.lstrip().startswith(("•", "-")) for s in lines) / len(lines) if lines else None,
        "ellipsis_line_fraction": sum(s.rstrip().endswith(("...", "…")) for s in lines) / len(lines) if lines else None,
        "alpha_word_fraction": sum(any(c.isalpha() for c in w) for w in words) / n if n else None,
        "stop_word_distinct": len(stops & set(words)),
    }


def test_every_signal_says_what_it_is():
    seen = set()
    for family in signals.families():
        assert family.version >= 1
        assert family.source
        for s in family.signals:
            assert s.name not in seen
            seen.add(s.name)
            assert s.dtype in ("int64", "float64")
            assert s.unit
            assert s.definition
    table = signals.compute(TextColumn.from_documents(["a b"]))
    assert set(table.column_names) == seen
    for family in signals.families():
        for s in family.signals:
            want = {"int64": "int64", "float64": "double"}[s.dtype]
            assert str(table.schema.field(s.name).type) == want, s.name


def test_only_what_is_wanted_is_given():
    text = TextColumn.from_documents(["a", "b c"])
    assert signals.compute(text, ["word_count"]).column_names == ["word_count"]
    assert len(signals.compute(text, [])) == 2
    assert signals.names(["symbols", "word_count"])[-1] == "word_count"
    first, second = (signals.definition_versions([n]) for n in ("lengths", "symbols"))
    assert first != second


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 1000])
def test_long_runs(n):
    assert values("a" * n + " " + "é" * n, "char_count")["char_count"] == 2 * n + 1
