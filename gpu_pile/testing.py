"""For tests, here and in packages that add operations: documents that break things, and equality to the last bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gpu_pile.ops.op import Op
from gpu_pile.text.column import TextColumn

SEAMS = " \n\r\t\x0b\x1c\x00\x7f\x85\u00a0\u2028\u3000"
"""Characters at which something ends in one definition and not in another."""

MARKS = ".,;:!?#-…•\"\\{}[]/_'`"

LETTERS = "aAbZz09éÉßİıǅΣς\u212a\u0345e\u0301漢かй한😀²Ⅻ１"

ALPHABET = SEAMS + MARKS + LETTERS
"""Few characters, so that random texts repeat and collide."""


def arrays(result: Any) -> list[np.ndarray[Any, Any]]:
    """An operation's result as a list of NumPy arrays."""
    if isinstance(result, np.ndarray):
        return [result]
    if hasattr(result, "get"):  # CuPy
        return [result.get()]
    return [array for item in result for array in arrays(item)]


def _on_gpu(argument: Any) -> Any:
    import cupy

    if isinstance(argument, TextColumn):
        return TextColumn(cupy.asarray(argument.data), cupy.asarray(argument.offsets))
    return cupy.asarray(argument) if isinstance(argument, np.ndarray) else argument


def assert_same_bits(op: Op, backend: str, documents: Iterable[str | bytes], params: Mapping[str, Any]) -> None:
    """One implementation equals the reference on these documents: number, dtype, shape and bytes of all arrays.

    Raises:
        AssertionError: names operation, implementation, parameters and the first difference.
    """
    text = documents if isinstance(documents, TextColumn) else TextColumn.from_documents(documents)
    inputs = op.inputs(text, params)
    want = arrays(op.run("reference", *inputs, **params))
    got = arrays(op.run(backend, *(_on_gpu(x) for x in inputs) if backend == "cuda" else inputs, **params))
    where = f"{op.name}, {backend}, {dict(params)}"
    assert len(got) == len(want), f"{where}: {len(got)} arrays, expected {len(want)}"
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        assert (g.dtype, g.shape) == (w.dtype, w.shape), (
            f"{where}, array {i}: {g.dtype}{g.shape}, not {w.dtype}{w.shape}"
        )
        if g.tobytes() != w.tobytes():
            at = tuple(int(x[0]) for x in np.nonzero(np.atleast_1d(g != w)))
            raise AssertionError(f"{where}, array {i} at {at}: {np.atleast_1d(g)[at]}, not {np.atleast_1d(w)[at]}")
