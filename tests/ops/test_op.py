"""What an operation declares: the columns of its result, numbered in Python, numba and CUDA, and its limits."""

import shutil

import numpy as np
import pytest

from gpu_pile.gpu import launch
from gpu_pile.ops import op
from gpu_pile.ops.dclm_words import dclm_words
from gpu_pile.text.column import TextColumn
from gpu_pile.text.jit import jit
from tests import emulator

KERNEL = """#include "common.cuh"
#include "example.columns"

static_assert(C::N_COLUMNS == 3, "a row of three");

extern "C" __global__ void example(i64* out, i64 n)
{
    if (threadIdx.x < n) out[threadIdx.x * C::N_COLUMNS + C::words] = threadIdx.x + 1;
}
"""


@pytest.fixture
def example(monkeypatch, tmp_path):
    monkeypatch.setattr(op, "OPS", dict(op.OPS))
    monkeypatch.setattr(launch, "_COLUMNS", dict(launch._COLUMNS))
    (tmp_path / "example.cu").write_text(KERNEL)
    for header in launch.kernels_folder().glob("*.cuh"):
        shutil.copy(header, tmp_path)
    monkeypatch.setattr(launch, "kernels_folder", lambda: tmp_path)
    for cached in (launch.source, launch.signatures):
        monkeypatch.setattr(launch, cached.__name__, cached.__wrapped__)
    return op.Op("example", version=1, columns=("chars", "words", "lines"))


def test_an_index_has_the_number_of_each_column(example):
    assert example.columns == ("chars", "words", "lines")
    assert (example.index.chars, example.index.words, example.index.lines) == (0, 1, 2)
    assert len(example.index) == 3


def test_numba_takes_the_numbers_as_constants(example):
    C = example.index

    @jit
    def fill(out):
        for row in out:
            row[C.words] = len(C)

    out = np.zeros((2, 3), np.int64)
    fill(out)
    assert out.tolist() == [[0, 3, 0], [0, 3, 0]]


@pytest.mark.slow
def test_a_kernel_includes_the_numbers(example):
    out = np.zeros((2, 3), np.int64)
    with emulator.installed():
        launch.launch("example", "example", 1, out, 2)
    assert out.tolist() == [[0, 1, 0], [0, 2, 0]]


def test_a_kernel_cannot_include_the_columns_of_an_unknown_operation(example):
    del launch._COLUMNS["example"]
    with pytest.raises(ValueError, match="no operation example with columns has been imported"):
        launch.source("example")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cpu", "cuda-emulated"])
def test_a_document_that_is_too_large_is_refused(backend, monkeypatch):
    small, large = TextColumn.from_documents(["12345678"] * 3), TextColumn.from_documents(["a", "123456789"])
    monkeypatch.setattr(dclm_words, "document_bytes_max", 8)
    with emulator.installed():
        assert dclm_words.run(backend, small).shape == (3, len(dclm_words.columns))
        with pytest.raises(ValueError, match="'dclm_words' takes documents of up to 8 bytes, and one has 9; set input"):
            dclm_words.run(backend, large)
