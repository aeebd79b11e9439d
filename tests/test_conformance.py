"""Every operation on every backend here equals its reference bit for bit. A new operation needs no edit here."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.gpu import detect
from gpu_pile.ops import op
from gpu_pile.testing import ALPHABET, arrays, assert_same_bits
from gpu_pile.text.column import TextColumn
from tests import emulator, freeze

OPS = op.load_all()
BACKENDS = ["cpu", "cuda-emulated", *(["cuda"] if detect.cuda_devices() else [])]
CASES = [
    pytest.param(o, name, params, id=f"{o.name}-{name}-{i}")
    for o in OPS.values()
    for name in BACKENDS
    if name in o.implementations
    for i, params in enumerate(o.samples)
]
SEGMENTS = {0: None, 1: 8, 7: 40}  # by order of threads; documents are cut here, so that kernels must join them

texts = st.lists(st.text(st.sampled_from(ALPHABET) | st.characters(exclude_categories=["Cs"]), max_size=40), max_size=6)


def test_the_registry_is_complete():
    assert {"doc_hash", "parse_lines", "text_counts", "shingle_set", "sketch", "band_keys", "jaccard"} <= OPS.keys()
    for o in OPS.values():
        assert {"reference", "cpu", "cuda"} <= o.implementations.keys(), o


@pytest.mark.parametrize(("operation", "name", "params"), CASES)
def test_declared_documents(operation, name, params):
    with emulator.installed():
        assert_same_bits(operation, name, operation.documents, params)
        assert_same_bits(operation, name, [], params)


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "name", "params"), CASES)
def test_declared_documents_alone(operation, name, params):
    """A document's result must not depend on its neighbours."""
    with emulator.installed():
        for document in operation.documents:
            assert_same_bits(operation, name, [document], params)


@pytest.mark.parametrize(("operation", "name", "params"), CASES)
@settings(max_examples=40, deadline=None)
@given(documents=texts, cut=st.integers(0, 3), wide=st.booleans(), order=st.sampled_from(emulator.ORDERS))
def test_random_documents(operation, name, params, documents, cut, wide, order):
    array = pa.array(documents, pa.large_string() if wide else pa.string())[cut:]
    column = TextColumn.from_arrow(array)
    assert [d.decode() for d in column.documents()] == documents[cut:]
    with emulator.installed(order=order, segment=SEGMENTS[order]):
        assert_same_bits(operation, name, column, params)


@pytest.mark.parametrize("name", OPS)
def test_frozen_vectors(name):
    """Bits that were once written to disk must not change without a new version."""
    was = freeze.frozen(name)
    changed = freeze.differences(was, OPS[name])
    assert not changed, f"{name}: if that is meant, raise its version and run `make vectors OP={name}`: {changed[:3]}"
    assert was == freeze.vectors(OPS[name]), f"{name}: run `make vectors OP={name}`"


def test_results_are_frozen_again_only_with_a_new_version(tmp_path, monkeypatch):
    operation = OPS["doc_hash"]
    with pytest.raises(FileNotFoundError, match="run `make vectors OP=doc_hash`"):
        freeze.frozen("doc_hash", tmp_path)
    freeze.freeze("doc_hash", tmp_path)
    assert freeze.frozen("doc_hash", tmp_path) == freeze.frozen("doc_hash")

    monkeypatch.setattr(operation, "documents", (*operation.documents, "one more"))
    freeze.freeze("doc_hash", tmp_path)  # a new document changes no result
    with_document = freeze.frozen("doc_hash", tmp_path)

    right = operation.implementations["cpu"]
    monkeypatch.setitem(operation.implementations, "cpu", lambda text: right(text) ^ np.uint64(1))
    with pytest.raises(freeze.ResultChanged, match=r"doc_hash: .* results differ .* raise the version"):
        freeze.freeze("doc_hash", tmp_path)
    assert freeze.frozen("doc_hash", tmp_path) == with_document

    monkeypatch.setattr(operation, "version", operation.version + 1)
    freeze.freeze("doc_hash", tmp_path)
    assert freeze.frozen("doc_hash", tmp_path) != with_document


def test_every_operation_has_frozen_results_and_no_others_have():
    assert {path.stem for path in freeze.FOLDER.glob("*.json")} == set(OPS)


SEAMS = ("x" * 159 + "İ" + "y", "." * 100 + "a…\r\n" * 30, " the " * 50, "é" * 200, "- a\n" * 40, "b c " * 300)
"""Longer than a segment, with something to be joined at every seam."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "name", "params", "order"),
    [
        pytest.param(*case.values, order, id=f"{order}-{case.id}")
        for case in CASES
        if case.values[1] != "cpu"
        for order in (emulator.ORDERS if case.values[1] == "cuda-emulated" else emulator.ORDERS[:1])
    ],
)
def test_documents_of_several_segments(operation, name, params, order):
    for segment in (8, 32, 104):
        with emulator.installed(order=order, segment=segment, switch_at_atomics=True):
            assert_same_bits(operation, name, [*operation.documents, *SEAMS], params)


@pytest.mark.parametrize("name", OPS)
def test_a_wrong_implementation_is_caught(name, monkeypatch):
    operation = OPS[name]
    right = operation.implementations["cpu"]

    def wrong(*args, **params):
        result = right(*args, **params)
        first = arrays(result)[0]
        if first.size:
            first.setflags(write=True)
            first.reshape(-1)[-1] ^= 1
        return result

    monkeypatch.setitem(operation.implementations, "cpu", wrong)
    with pytest.raises(AssertionError):
        assert_same_bits(operation, "cpu", operation.documents, operation.samples[0])


def test_estimates_of_the_sketches_are_as_good_as_theory_says():
    """Root mean square error over pairs of known similarity, against sqrt(s (1 - s) / K), with a tenth of slack."""
    from gpu_pile.ops.sketch import sketch

    rng = np.random.default_rng(5)
    k, n, pairs = 128, 400, 300
    for method in ("fss", "affine32"):
        for similarity in (0.3, 0.8):
            common = round(2 * n * similarity / (1 + similarity))
            documents = []
            for _ in range(pairs):
                w = [f"x{i}" for i in rng.integers(0, 10**9, 2 * n - common)]
                documents += [" ".join(w[:n]), " ".join(w[n - common :])]
            sketches, _ = sketch(TextColumn.from_documents(documents), width=1, method=method, k=k)
            estimate = (sketches[0::2] == sketches[1::2]).mean(axis=1)
            true = common / (2 * n - common)
            error = np.sqrt(((estimate - true) ** 2).mean())
            assert error < 1.1 * np.sqrt(true * (1 - true) / k), (method, similarity, error)
