"""input.fields: other fields of the documents as columns and signals, from lines and from rows."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import gpu_pile as gp
from gpu_pile.cli import app
from gpu_pile.corpus.fields import Field, fields_of_lines, packed, unpacked
from gpu_pile.errors import ConfigError, UsageError
from gpu_pile.explore.export import export
from gpu_pile.explore.verify import verify
from gpu_pile.ops.parse_lines import parse_lines
from gpu_pile.run import config, plan
from tests.conftest import decisions, results, run, settings
from tests.test_own_ids import write

PATHS = ["a", "b", "a.b", "a.a", 'q".é', "b.c.d"]
FIELDS = [Field(path, number) for path in PATHS for number in (False, True)]


class Raw(str):
    """A number as it is written."""


def by_json(line, field):
    value = json.loads(line.decode(), parse_float=Raw, parse_int=Raw)
    for key in field.path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if field.number:
        found = float(value) if isinstance(value, bool | Raw) else float("nan")
        return found if np.isfinite(found) else None
    if isinstance(value, bool):
        return json.dumps(value)
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace") if isinstance(value, str) else None


def found_in(lines, fields=FIELDS):
    data = np.frombuffer(b"\n".join(lines), np.uint8)
    parsed = parse_lines(data)
    assert not len(parsed.bad_line), [parsed.bad_line, parsed.bad_reason]
    return [column.to_pylist() for column in fields_of_lines(data, parsed.start, parsed.length, fields)]


keys = st.sampled_from(["a", "b", "c", "d", 'q"', "é", "text"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=90)
    | st.sampled_from(['"', '\\"', "\\\\", "}{][,:", "\n\t\x00", "😀é", "0.5", "true", "x" * 200])
)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=4), max_leaves=12)


@hypothesis_settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.dictionaries(keys, values, max_size=6), st.booleans(), st.booleans()), max_size=4))
def test_fields_are_those_that_python_finds(documents):
    lines = []
    for document, ascii, wide in documents:
        separators = (" ,", "\t: ") if wide else None
        line = json.dumps({**document, "text": "t"}, ensure_ascii=ascii, separators=separators)
        lines.append(line.encode())
    assert found_in(lines) == [[by_json(line, field) for line in lines] for field in FIELDS]


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": 1, "text": "", "a": {"b": 2}}',
        b'{"a": {"b": 2}, "text": "", "a": 3}',
        b'{"a": {"b": 2, "b": 4}, "text": "", "a": {"a": 1}}',
        b'{"\\u0061": {"\\u0062": "esc\\u00e9\\ud83d\\ude00\\ud83d\\n\\/"}, "text": ""}',
        b' { "a" : [ { "b" : 1 } , "]}" ] , "text" : "\\\\" , "b" : -0.0e+5 } \r',
        b'{"text": "", "a": 1e999, "b": -1E-400}',
        b'{"text": "", "a": "' + b"\\" * 130 + b'", "b": 5}',
        b'{"text": "", "a": 123456789012345678901234567890.5, "b": 9007199254740993}',
    ],
)
def test_lines_that_break_naive_readers(line):
    assert found_in([line, b'{"text": "next", "a": "x"}']) == [
        [by_json(line, field), by_json(b'{"text": "next", "a": "x"}', field)] for field in FIELDS
    ]


@given(st.lists(st.tuples(*[st.none() | st.text(max_size=9)] * 3), max_size=6))
def test_packed_strings_come_back(rows):
    columns = [pa.array([row[i] for row in rows], pa.large_string()) for i in range(3)]
    fields = [Field(name) for name in "abc"]
    assert [c.to_pylist() for c in unpacked(packed(columns), fields)] == [c.to_pylist() for c in columns]


URLS = ["https://a.org/é", None, 'q"', "x" * 5000, "", "five", "six"]
SCORES = [0.1, 0.9, None, 1, 0.65, 0.7, -1e-5]
THRESHOLDS = {"default": {"score": {"min": 0.65}}}


def documents():
    return [
        {"text": f"text number {i}", "meta": {"url": url, "pile_set_name": "AB"[i % 2]}, "score": score, "flag": i > 3}
        for i, (url, score) in enumerate(zip(URLS, SCORES, strict=True))
    ]


def own(folder, shard, **more):
    section = {"fields": {"url": "meta.url", "score": "score", "flag": "flag"}, "range_bytes": 1, **more}
    return settings([shard], folder, input=section, batch_bytes=300, thresholds=THRESHOLDS)


@pytest.fixture(scope="module")
def fielded(tmp_path_factory):
    """A run by kind of shard."""
    found = {}
    for kind in ("lines", "parquet", "arrow"):
        folder = tmp_path_factory.mktemp(kind)
        run(own(folder / "run", write(folder, documents(), kind)))
        found[kind] = folder / "run"
    return found


@pytest.mark.parametrize("kind", ["lines", "parquet", "arrow"])
def test_fields_are_columns_and_numbers_are_signals(fielded, kind):
    opened = gp.open_run(fielded[kind])
    table = opened.signals.to_table(["url", "score", "flag"]).to_pydict()
    assert table["url"] == [None if u is None else u[:4096] for u in URLS]
    assert table["score"] == SCORES
    assert table["flag"] == [0.0] * 4 + [1.0] * 3
    assert opened.info["config"]["input"]["fields"]["url"] == {"path": "meta.url", "type": "string"}
    rows = decisions(fielded[kind])
    assert [row["keep"] for row in rows] == [False, True, True, True, True, True, False]  # null passes, a bound does
    assert (rows[0]["reasons"], rows[0]["values"]) == (["score.min"], [0.1])
    assert opened.sweep("score", min=[0.65]).table.to_pydict()["kept_documents"] == [2, 3]
    assert opened.decide({"default": {"score": {"min": 0.65, "required": True}}}).keep.sum() == 4
    assert all(not check.failed for check in verify(fielded[kind], everything=True))


def test_lines_and_rows_give_the_same_values(fielded):
    tables = [gp.open_run(folder).signals.to_table(["url", "score", "flag"]).to_pydict() for folder in fielded.values()]
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.parametrize("kind", ["lines", "parquet"])
def test_fields_are_exported_with_the_texts(fielded, tmp_path, kind):
    assert export(fielded[kind], tmp_path / "kept.parquet", "kept") == 5
    rows = pq.read_table(tmp_path / "kept.parquet").to_pylist()
    assert [(row["text"][-1], row["score"]) for row in rows] == [(str(i), SCORES[i]) for i in (1, 2, 3, 4, 5)]
    assert [row["url"] for row in rows] == [None, 'q"', "x" * 4096, "", "five"]


def test_fields_are_shown_and_reported(fielded):
    opened = gp.open_run(fielded["lines"])
    assert opened.document(0)["fields"] == {"url": "https://a.org/é"}
    assert opened.document(0)["signals"]["score"] == 0.1
    assert "url: https://a.org/é" in CliRunner().invoke(app, ["show", str(fielded["lines"]), "0"]).output
    score = {"field": "score", "path": "score", "documents": 6, "by_subset": {"A": 3, "B": 3}}
    assert score in opened.report["fields"]
    assert "the number that the document has in its field score" in opened.report["reasons"][0]["definition"]
    page = (fielded["lines"] / "report.html").read_text()
    assert "Fields of the documents" in page


def test_workers_batches_and_ranges_change_nothing(fielded, tmp_path):
    shard = fielded["lines"].parent / "x.jsonl"
    other = own(tmp_path / "run", shard, range_bytes=2**20)
    run(other.model_copy(update={"workers": 3, "batch_bytes": 2**20}))
    assert results(tmp_path / "run") == results(fielded["lines"])


def test_without_a_type_the_first_documents_decide(tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    lines = [{"text": f"t{i}", "n": i, "s": "1", "mixed": [i, "x"][i], "none": None, "list": [1]} for i in range(2)]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    names = ["n", "s", "mixed", "none", "list"]
    given = settings([tmp_path], tmp_path / "run", input={"fields": {f"own_{name}": name for name in names}})
    assert "type: number" in plan.describe(given)
    context = run(given, "measure")
    types = {name: field.type for name, field in context.config.input.fields.items()}
    assert types == {f"own_{name}": "number" if name == "n" else "string" for name in names}
    table = gp.open_run(tmp_path / "run").signals.to_table([f"own_{name}" for name in names]).to_pydict()
    assert (table["own_mixed"], table["own_n"], table["own_list"]) == (["0", "x"], [0, 1], [None, None])
    said = " ".join(context.reporter.warnings)
    assert "input.fields.own_none is 'none', and no document has a string or number there" in said
    assert (
        "input.fields.own_list is 'list', and no document has a string or number there; the first documents have a "
        in said
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"url": "meta.ulr"}, r"input.fields.url is 'meta.ulr', and no document has .* there; did you mean 'meta.url'"),
        ({"url": "url"}, "did you mean 'meta.url'"),
        (
            {"n": {"path": "meta.url", "type": "number"}},
            "no document has a number there; the first documents have a stri",
        ),
    ],
)
def test_a_field_that_no_document_has(tmp_path, fields, said):
    shard = write(tmp_path, documents(), "lines")
    with pytest.raises(ConfigError, match=said):
        run(settings([shard], tmp_path / "run", input={"fields": fields}, strict=True), "measure")


@pytest.mark.parametrize(
    ("section", "thresholds", "said"),
    [
        ({"word_count": "n"}, {}, "'word_count' is the name of a signal that is computed from the text"),
        ({"lengths": "n"}, {}, "'lengths' is the name of a family"),
        ({"keep": "n"}, {}, "'keep' is a column that every run has"),
        ({"id": "n"}, {}, "the column id is that of input.id_field"),
        ({"a.b": "n"}, {}, "'a.b' cannot be the name of a column"),
        ({"a": {"path": "n", "kind": "x"}}, {}, "input.fields.a.kind: unknown key; known here: path, type"),
        ({"a": 5}, {}, "input.fields.a"),
        (
            {"a": {"path": "n", "type": "string"}},
            {"a": {"max": 1}},
            "thresholds use a, and input.fields.a.type is string",
        ),
        ({"score": "n"}, {"scor": {"max": 1}}, "there is no signal 'scor'; did you mean 'score'?"),
    ],
)
def test_names_and_types_are_checked_first(section, thresholds, said):
    data = {"input": {"shards": "x", "fields": section}, "output": "o", "thresholds": {"default": thresholds}}
    with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
        config.parse(data)


@pytest.mark.parametrize(
    ("columns", "field", "said"),
    [
        ({"f": [[1.0]]}, {"path": "f"}, "input.fields.own names a column of the type list<"),
        ({"f": ["x"]}, {"path": "f", "type": "number"}, "a column of the type string, which is not a number"),
        ({"f": [b"x"]}, {"path": "f", "type": "string"}, "a column of the type binary; it can be a string"),
    ],
)
def test_columns_of_wrong_types(tmp_path, columns, field, said):
    pq.write_table(pa.table({"text": ["a"], **columns}), tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=said):
        run(settings([tmp_path / "x.parquet"], tmp_path / "run", input={"fields": {"own": field}}), "measure")


def test_two_columns_of_one_name(tmp_path):
    table = pa.table([["a"], [1], [2]], names=["text", "n", "n"])
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=r"input.fields.own names 'n', and the file has two such columns"):
        run(settings([tmp_path / "x.parquet"], tmp_path / "run", input={"fields": {"own": "n"}}), "measure")


def test_without_fields_nothing_is_read_for_them(tmp_path):
    plain = settings([write(tmp_path, documents(), "lines")], tmp_path / "run")
    assert plain.input.line_format.extras == ()
    run(plain, "measure")
    assert "fields" not in gp.open_run(tmp_path / "run").info
