"""For tests, here and in packages that add operations: hostile characters, and equality to the last bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gpu_pile.ops.op import Op
from gpu_pile.text.column import TextColumn

SEAMS = " \n\r\t\x0b\x1c\x00\x7f\x85\u00a0\u2028\u3000"
"""Characters that end a word or a line by some definitions and not by others."""

MARKS = ".,;:!?#-…•\"\\{}[]/_'`"

LETTERS = "aAbZz09éÉßİıǅΣς\u212a\u0345e\u0301漢かй한😀²Ⅻ１"

ALPHABET = SEAMS + MARKS + LETTERS
"""Few characters, so that random texts repeat and collide."""


def arrays(result: Any) -> list[np.ndarray[Any, Any]]:
    """Return an operation's result, an array or any nesting of tuples and dataclasses, as a list of NumPy arrays."""
    if isinstance(result, np.ndarray):
        return [result]
    if isinstance(result, int):
        return [np.array(result)]
    if hasattr(result, "get"):  # CuPy
        return [result.get()]
    if dataclasses.is_dataclass(result):
        result = [getattr(result, field.name) for field in dataclasses.fields(result) if field.init]
    return [array for item in result for array in arrays(item)]


def _on_gpu(argument: Any) -> Any:
    import cupy

    if isinstance(argument, TextColumn):
        return TextColumn(cupy.asarray(argument.data), cupy.asarray(argument.offsets))
    return cupy.asarray(argument) if isinstance(argument, np.ndarray) else argument


def assert_same_bits(op: Op, backend: str, documents: Iterable[str | bytes], params: Mapping[str, Any]) -> None:
    """Assert that an implementation equals the reference on documents: number, dtype, shape and bytes of all arrays.

    Raises:
        AssertionError: names operation, implementation, parameters and the first difference.
    """
    text = documents if isinstance(documents, TextColumn) else TextColumn.from_documents(documents)
    inputs = op.inputs(text, params)
    expected = arrays(op.run("reference", *inputs, **params))
    results = arrays(op.run(backend, *(_on_gpu(x) for x in inputs) if backend == "cuda" else inputs, **params))
    where = f"{op.name}, {backend}, {dict(params)}"
    assert len(results) == len(expected), f"{where}: {len(results)} arrays, expected {len(expected)}"
    for i, (result, right) in enumerate(zip(results, expected, strict=True)):
        assert (result.dtype, result.shape) == (right.dtype, right.shape), (
            f"{where}, array {i}: {result.dtype}{result.shape}, expected {right.dtype}{right.shape}"
        )
        if result.tobytes() != right.tobytes():
            at = tuple(int(x[0]) for x in np.nonzero(np.atleast_1d(result != right)))
            values = np.atleast_1d(result)[at], np.atleast_1d(right)[at]
            raise AssertionError(f"{where}, array {i} at {at}: {values[0]}, expected {values[1]}")
