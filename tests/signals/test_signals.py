"""Signals against Python's own str, and what a family declares."""

import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile import signals
from gpu_pile.testing import ALPHABET
from gpu_pile.text import unicode, unicode_reference
from gpu_pile.text.column import TextColumn
from tests.conftest import HERE


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


SIGNALS = [(family, signal) for family in signals.families() for signal in family.signals]


def test_every_signal_has_a_name_of_its_own():
    signal_names = [signal.name for _, signal in SIGNALS]
    assert len(set(signal_names)) == len(signal_names)


@pytest.mark.parametrize(("family", "signal"), SIGNALS, ids=lambda x: x.name)
def test_every_signal_says_what_it_is(family, signal):
    assert family.version >= 1
    assert signal.dtype in ("int64", "float64")
    assert signal.unit
    assert signal.source or family.source
    assert signal.definition
    assert (signal.unit == "fraction") <= ("/" in signal.definition), "a fraction names numerator and denominator"


REFERRING = ("these", "those", "such", "of all", "of them", "the same", "the others", "as above")
"""A definition is read alone: it refers to no other row of a table."""


@pytest.mark.parametrize(("family", "signal"), SIGNALS, ids=lambda x: x.name)
def test_every_definition_can_be_understood_alone(family, signal):
    text = f" {signal.definition} ".replace(",", " ").replace(";", " ")
    assert not [words for words in REFERRING if f" {words} " in text]


def test_columns_have_the_declared_types():
    table = signals.compute(TextColumn.from_documents(["a b"]))
    assert table.column_names == signals.names()
    types = {"int64": "int64", "float64": "double"}
    assert [str(t) for t in table.schema.types] == [types[signal.dtype] for _, signal in SIGNALS]


@pytest.mark.parametrize("family", signals.families(), ids=lambda x: x.name)
def test_a_family_declares_the_operations_that_it_uses(family):
    counts = signals.Counts(TextColumn.from_documents(["a b"]), "reference")
    values = family.compute(counts)
    assert counts.results.keys() == {op.name for op in family.ops}
    assert values.keys() == {signal.name for signal in family.signals}


LISTING = """
from gpu_pile.explore import catalogue
from gpu_pile.gpu import launch
from gpu_pile.ops.op import Op
from gpu_pile.text.jit import compilation
from tools import make_signals_md

def forbidden(*args, **params):
    raise AssertionError("an operation ran")

launch.launch = Op.run = Op.__call__ = forbidden
_, rows = catalogue.signals()
assert len(rows) >= 176 and all("cpu, cuda" in row for row in rows), rows
make_signals_md.render()
assert compilation.functions == 0, compilation.functions
"""


def test_listing_signals_runs_and_compiles_nothing(tmp_path):
    """In a process of its own, without machine code from earlier."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(HERE.parent)}
    done = subprocess.run([sys.executable, "-c", LISTING], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


def test_versions_name_the_operations_in_use_only():
    versions = signals.definition_versions(["word_count", "nemo_boilerplate"])
    assert versions["families"].keys() == {"lengths", "nemo_boilerplate"}
    assert versions["ops"].keys() == {"text_counts", "nemo_boilerplate"}
    assert versions["columns"] == ["word_count", "nemo_boilerplate_paragraph_fraction"]
    assert signals.definition_versions([])["ops"] == {}


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
