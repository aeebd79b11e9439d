"""What the Python API takes as texts, and what it says about everything else."""

from __future__ import annotations

import datasets
import numpy as np
import pandas
import polars
import pyarrow as pa
import pytest

import gpu_pile as gp
from gpu_pile.errors import UsageError
from gpu_pile.run.texts import text_column

AB = ["a", "bé"]
ARROW = pa.array(AB)

COLUMNS = {
    "list": AB,
    "tuple": tuple(AB),
    "generator": (text for text in AB),
    "values of a dict": {1: "a", 2: "bé"}.values(),
    "bytes": [text.encode() for text in AB],
    "numpy": np.array(AB),
    "numpy objects": np.array(AB, object),
    "pandas": pandas.Series(AB),
    "pandas objects": pandas.Series(AB, dtype=object),
    "pandas category": pandas.Series(AB, dtype="category"),
    "pandas arrow": pandas.Series(AB, dtype="string[pyarrow]"),
    "pandas index": pandas.Index(AB),
    "polars": polars.Series(AB),
    "polars slice": polars.Series(["x", *AB])[1:],
    "polars categorical": polars.Series(AB, dtype=polars.Categorical),
    "arrow": ARROW,
    "arrow slice": pa.array(["x", *AB, "y"]).slice(1, 2),
    "arrow large": ARROW.cast(pa.large_string()),
    "arrow view": ARROW.cast(pa.string_view()),
    "arrow dictionary": ARROW.dictionary_encode(),
    "arrow chunks": pa.chunked_array([AB[:1], AB[1:]]),
    "arrow dictionary chunks": pa.chunked_array([AB[:1], AB[1:]]).dictionary_encode(),
    "hugging face": datasets.Dataset.from_dict({"text": AB})["text"],
}

EMPTY = [[], pa.array([]), pa.array([], pa.string()), pa.chunked_array([], pa.string()), polars.Series([], dtype=str)]

FRAME = {"id": [1], "text": ["a"]}
TABLE = "a table .* with the columns 'id', 'text'; pass one column, such as texts\\['text'\\]"

REFUSED = {
    "a string": ("text", TypeError, r"texts is one str; pass a list of texts: \[text\]"),
    "bytes": (b"text", TypeError, "texts is one bytes; pass a list"),
    "a dict": (FRAME, TypeError, r"a dict with the keys 'id', 'text'; pass one of its columns"),
    "splits": (datasets.DatasetDict({"train": datasets.Dataset.from_dict(FRAME)}), TypeError, "the keys 'train'"),
    "pandas": (pandas.DataFrame(FRAME), TypeError, TABLE),
    "polars": (polars.DataFrame(FRAME), TypeError, TABLE),
    "polars lazy": (polars.DataFrame(FRAME).lazy(), TypeError, TABLE),
    "arrow": (pa.table(FRAME), TypeError, TABLE),
    "hugging face": (datasets.Dataset.from_dict(FRAME), TypeError, TABLE),
    "a set": ({"a"}, TypeError, "a set, which has no order"),
    "two dimensions": (np.array([["a"]]), TypeError, "2 dimensions"),
    "a number": (5, TypeError, "texts is of type int; pass a list of strings"),
    "None": (None, TypeError, "texts is of type NoneType; pass"),
    "a list with None": (["a", None], ValueError, r"texts\[1\] is None; drop or fill"),
    "a list with NaN": (["a", float("nan")], ValueError, r"texts\[1\] is nan; drop or fill"),
    "a list with NA": ([pandas.NA], ValueError, r"texts\[0\] is <NA>; drop or fill"),
    "a list with a number": (["a", 5], TypeError, r"texts\[1\] is not a string but of type int \(5\); pass"),
    "a list of lists": ([["a"]], TypeError, r"texts\[0\] is not a string but of type list"),
    "bytes in Latin-1": ([b"a", b"\xe9"], ValueError, r"texts\[1\] is not UTF-8 at byte 0; decode it"),
    "pandas with a null": (pandas.Series(["a", None]), ValueError, r"texts\[1\] is null, one of 1"),
    "polars with nulls": (polars.Series([None, None, "a"]), ValueError, r"texts\[0\] is null, one of 2"),
    "arrow with a null": (pa.array(["a", "b", None]), ValueError, r"texts\[2\] is null, one of 1"),
    "a null in a dictionary": (
        pa.DictionaryArray.from_arrays([0, 1], pa.array(["a", None])),
        ValueError,
        r"texts\[1\] is null",
    ),
    "arrow numbers": (pa.array([1, 2]), TypeError, "expected an Arrow array of strings, got int64"),
    "arrow bytes": (pa.array([b"a"]), TypeError, "expected an Arrow array of strings, got binary"),
}


@pytest.mark.parametrize("texts", COLUMNS.values(), ids=COLUMNS)
def test_every_column_of_texts_is_taken_as_it_is(texts):
    assert text_column(texts).documents() == [b"a", "bé".encode()]


@pytest.mark.parametrize("texts", EMPTY, ids=lambda texts: type(texts).__name__)
def test_a_column_may_be_empty(texts):
    assert len(text_column(texts)) == 0


@pytest.mark.parametrize(("texts", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_column_of_texts_is_an_error_with_advice(texts, error, message):
    with pytest.raises(error, match=message):
        text_column(texts)


@pytest.mark.parametrize("verb", [gp.measure, gp.measure_lines, gp.keep_c4_lines, gp.dedupe])
def test_every_verb_takes_its_texts_the_same_way(verb):
    with pytest.raises(TypeError, match=r"pass a list of texts: \[text\]"):
        verb("one text")
    with pytest.raises(ValueError, match=r"texts\[1\] is None"):
        verb(["a", None])


def test_no_workers():
    with pytest.raises(UsageError, match="workers is 0; give 1 or more"):
        gp.measure(["a"], "word_count", workers=0)


def test_one_signal_may_be_named_without_a_list():
    assert gp.measure(["one two"], "word_count").column_names == ["word_count"]
