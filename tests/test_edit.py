"""Editing texts: what changes, what must not, and that it is off by default."""

import json

import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import gpu_pile
from gpu_pile.corpus.rewrite import edited_lines, find_text
from gpu_pile.errors import ConfigError, DataError
from tests.conftest import run, settings, write_shard

WEB = "Menu | Home\nThis is a whole sentence that stays.[3]\nread on\nSo does this one, of course.\n"
KEPT = "This is a whole sentence that stays.\nSo does this one, of course."
ODD = [
    '{"text": %s, "meta": {"pile_set_name": "W", "n": 1.50e0, "deep": [[{"text": "no"}]]}}',
    ' { "meta" : {"pile_set_name":"W","x":null,"text":"no"} ,"text":%s , "z": "\\u00e9\\"" } ',
    '{"text": "first", "meta": {"pile_set_name": "W"}, "text": %s}',
]


def kept_lines(folder):
    (file,) = (folder / "kept").glob("*.zst")
    raw = zstandard.ZstdDecompressor().stream_reader(file.read_bytes(), read_across_frames=True).read()
    return raw.split(b"\n")[:-1]


def test_chosen_subsets_lose_lines_and_all_else_stays(tmp_path):
    lines = [form % json.dumps(WEB) for form in ODD]
    others = [
        json.dumps({"text": WEB, "meta": {"pile_set_name": "code"}}),
        json.dumps({"text": "One is { rejected } by C4.\nno end", "meta": {"pile_set_name": "W"}}),
        json.dumps({"text": KEPT, "meta": {"pile_set_name": "W"}}),
        json.dumps({"text": "A line of Lorem Ipsum, rejected by C4.\nno end", "meta": {"pile_set_name": "W"}}),
    ]
    raw = [lines[0], others[0], lines[1], lines[2], *others[1:]]
    write_shard(tmp_path / "a.jsonl.zst", [x.encode() for x in raw])
    dedupe = {"exact": {"enabled": False}, "fuzzy": {"enabled": False}}
    more = {"measure": {"signals": ["c4"]}, "dedupe": dedupe, "edit": {"c4_lines": ["W"]}}
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", **more))
    got = kept_lines(tmp_path / "run")
    assert len(got) == len(raw)
    for before, after in zip(raw, got, strict=True):
        if before in lines:
            assert after == before.replace(json.dumps(WEB), json.dumps(KEPT)).encode()
        else:
            assert after == before.encode()
    (file,) = (tmp_path / "run" / "decisions").glob("*.parquet")
    gone = len(WEB) - len(KEPT)
    assert pq.read_table(file).column("edited_bytes").to_pylist() == [gone, 0, gone, gone, 0, 0, 0]

    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", **{**more, "edit": {}}))  # off again: verbatim again
    assert kept_lines(tmp_path / "run") == [x.encode() for x in raw]


def test_it_needs_the_signals_of_c4(tmp_path):
    with pytest.raises(ConfigError, match="add c4 to measure"):
        settings(["x"], tmp_path, edit={"c4_lines": ["all"]}, measure={"signals": ["lengths"]})


def test_a_text_that_was_measured_otherwise_is_an_error():
    with pytest.raises(DataError, match="were measured"):
        edited_lines([json.dumps({"text": WEB}).encode()], ["text"], [1])


@pytest.mark.parametrize("line", [b"", b"{", b'{"text": "cut', b'{"other": "x"}', b'{"text": "a" "text', b"[" * 50])
def test_a_line_that_is_no_longer_there_is_an_error(line):
    with pytest.raises(DataError, match="has changed since it was measured"):
        edited_lines([line], ["text"], [1])


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab\\"{', max_size=2), inner, max_size=3),
)


@hypothesis_settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "text ", "meta", "\\"]), json_values), max_size=3),
    st.text(max_size=60),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_the_text_is_found_wherever_it_is(around, text, ascii, indent):
    document = {**dict(around), "body": {"text": text, "more": {}}}
    line = json.dumps(document, ensure_ascii=ascii, indent=indent)
    value, start, end = find_text(line, ["body", "text"])
    assert value == text
    assert json.loads(line[start:end]) == text
    raw = line.encode("utf-8", "surrogatepass")
    kept = gpu_pile.keep_c4_lines([text])[0].as_py()
    removed = len(text.encode("utf-8", "surrogatepass")) - len(kept.encode())
    (after,) = edited_lines([raw], ["body", "text"], [removed])
    document["body"]["text"] = kept
    assert json.loads(after) == document


def test_strings_lists_and_depth():
    assert find_text('\ufeff "abc"', ["text"])[0] == "abc"
    assert find_text('{"text": ["a", "b"]}', ["text"])[0] == "a\n\nb"
    deep = "[" * 100_000 + "]" * 100_000
    assert find_text(f'{{"meta": {deep}, "text": "x"}}', ["text"])[0] == "x"
