"""parse_lines against json.loads: on random objects, and on random damage to them against its own reference."""

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.ops import parse_lines as module
from gpu_pile.ops.parse_lines import explain, parse_lines
from gpu_pile.testing import ALPHABET, arrays, assert_same_bits
from gpu_pile.text.column import TextColumn
from tests import emulator

strings = st.text(st.sampled_from(ALPHABET + "\x01\x1f") | st.characters(exclude_categories=["Cs"]), max_size=70)
keys = st.sampled_from(["text", "meta", "pile_set_name", "t", "s", "é", "te\\xt", ""]) | strings
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)
objects = st.dictionaries(keys, values, max_size=5)


def block(lines):
    return np.frombuffer(b"\n".join(lines), np.uint8)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(objects, st.booleans(), st.sampled_from([None, 0, 1])), max_size=5))
def test_random_objects_as_json_loads_reads_them(rows):
    lines = [json.dumps(o, ensure_ascii=a).encode() for o, a, _ in rows]
    got = parse_lines(block(lines))
    want = [(i, json.loads(x)) for i, x in enumerate(lines)]
    good = [(i, o) for i, o in want if isinstance(o.get("text"), str)]
    assert got.line.tolist() == [i for i, _ in good]
    assert [d.decode() for d in got.text.documents()] == [o["text"] for _, o in good]
    subsets = [o["meta"].get("pile_set_name") if isinstance(o.get("meta"), dict) else None for _, o in good]
    assert [s.decode() for s in got.subset.documents()] == [s if isinstance(s, str) else "" for s in subsets]
    assert sorted([*got.line.tolist(), *got.bad_line.tolist()]) == list(range(len(rows)))
    for line, start, length in zip(got.line, got.start, got.length, strict=True):
        assert block(lines)[start : start + length].tobytes() == lines[line]


@st.composite
def damaged(draw):
    """A line of JSON with a few bytes replaced, or cut off."""
    line = json.dumps({"text": "a text", **draw(objects)}, ensure_ascii=draw(st.booleans())).encode()
    at, drop = draw(st.integers(0, len(line))), draw(st.integers(0, 3))
    inserted = draw(
        st.sampled_from(
            [
                b"",
                b'"',
                b"\\",
                b"{",
                b"}",
                b",",
                b":",
                b"\xff",
                b"\xe9",
                b"0",
                b"\x00",
                b" ",
                b"\\ud800",
                b"\\u12",
                b"e",
            ]
        )
    )
    rest = line[at + drop :] if draw(st.booleans()) else b""
    return line[:at] + inserted + rest


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(damaged(), st.sampled_from(parse_lines.samples))
def test_random_damage_is_judged_as_by_the_reference(line, params):
    """Good or bad, and if bad, why and at which byte."""
    assert_same_bits(parse_lines, "cpu", [line], params)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(damaged())
def test_the_reference_takes_what_json_loads_takes(line):
    def refuse(constant):
        raise ValueError(constant)

    got = parse_lines.run("reference", block([line]))
    is_json = got.bad_reason.size == 0 or got.bad_reason[0] >= module.NOT_OBJECT
    try:
        value = json.loads(line.decode(), parse_constant=refuse)
    except ValueError:
        assert not is_json or not line.strip()
    else:
        assert is_json
        text = value.get("text") if isinstance(value, dict) else None
        assert (got.line.size == 1) == isinstance(text, str)
        if isinstance(text, str):
            assert got.text.documents() == TextColumn.from_documents([text]).documents()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"text": "x",}', "unexpected character at byte 13"),
        (b'{"text": "x"', "ends in the middle"),
        (b'{"text": "a\x01"}', "control character inside a string at byte 11"),
        (b'{"text": "\\q"}', "bad escape at byte 10"),
        (b'{"text": "\xff"}', "not valid UTF-8 at byte 10"),
        (b'{"text": "x"} {}', "more than one JSON value on the line, the second at byte 14"),
        (b"[1]", "not a JSON object"),
        (b'{"content": "x"}', "no field 'text'"),
        (b'{"text": 5}', "field 'text' is not a string"),
        (b"[" * 513 + b"]" * 513, "nested deeper than 512 levels at byte 512"),
    ],
)
def test_reasons_say_what_and_where(line, said):
    got = parse_lines(block([b'{"text": "good"}', line]))
    assert got.line.tolist() == [0]
    assert said in explain(int(got.bad_reason[0]), int(got.bad_position[0]), "text")


def test_every_reason_has_a_sentence():
    codes = [
        v for k, v in vars(module).items() if k.isupper() and isinstance(v, int) and k not in ("MAX_DEPTH", "SLACK")
    ]
    for code in codes:
        if code in range(1, 11):
            assert explain(code, 3, "text")
    assert set(module.REASONS) == set(range(1, 11))


def test_given_buffers_change_nothing():
    lines = [json.dumps({"text": "x" * n + "é\n"}).encode() for n in range(100)]
    data = np.concatenate([block(lines), np.full(64, 0x22, np.uint8)])
    n = len(block(lines))
    out = np.zeros(n + 64, np.uint8)
    for a, b in zip(
        arrays(parse_lines(block(lines))), arrays(parse_lines(data[:n], padded=True, out=out)), strict=True
    ):
        assert a.tobytes() == b.tobytes()


def test_a_column_of_documents_goes_through_unchanged():
    texts = ["", "a", "é" * 33, '\\"\n', "x" * 31 + "\n" + "y" * 31]
    got = parse_lines(block([json.dumps({"text": t}).encode() for t in texts]))
    assert got.text.documents() == TextColumn.from_documents(texts).documents()


PIECES = (
    *(b"a" * n for n in (1, 2, 3, 5, 13, 15, 16, 17, 31, 100)),
    *(b"\\n", b"\\/", b'\\"', b"\\\\", b"\\\\" * 8, b"\\\\" * 7 + b"\\n", b"\\\\" * 20, b" ", b"u", b"{}[],:"),
    *(b"\\u00e9", b"\\u0041", b"\\ud83d\\ude00", b"\\ud83d", b"\\ude00", b"\\\\ude00", b"\\ud83d\\\\ude00"),
    *("é".encode(), "漢".encode(), "😀".encode(), "漢".encode() * 6),
)
WRONG = (
    *(b"\\q", b"\\u12g4", b"\\ud83d\\u12", b"\\", b'"', b"\x01", b"\t"),
    *(b"\xff", b"\x80", b"\xe6\xbc", b"\xf0\x9f\x98", b"\xed\xa0\x80"),
)


def long_line(choose):
    """A line with a long string, whose pieces go over the seams of what a lane and a warp decode at once."""
    pieces = []
    for _ in range(choose.choice((5, 30, 60, 100))):
        pieces.append(choose.choice(PIECES))
    if choose.random() < 0.5:
        pieces.insert(choose.randrange(len(pieces)), choose.choice(WRONG))
    text = b"".join(pieces)
    end = choose.choice((b'"}', b'"}', b'"', b"", b'", "meta": {"pile_set_name": "' + text[:100] + b'"}}'))
    return b" " * choose.randrange(16) + b'{"text": "' + text + end


@pytest.mark.slow
@pytest.mark.parametrize("order", emulator.ORDERS)
def test_long_strings_on_a_gpu_as_on_the_cpu(order):
    choose = random.Random(order)
    data = block([long_line(choose) for _ in range(300)])
    want = arrays(parse_lines(data))
    with emulator.installed(order=order):
        got = arrays(parse_lines.run("cuda-emulated", data))
    for a, b in zip(got, want, strict=True):
        assert a.tobytes() == b.tobytes()
