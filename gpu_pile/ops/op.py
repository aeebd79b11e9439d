"""Op: one named operation with one contract and several implementations that agree bit for bit.

A file in gpu_pile/ops/ declares one operation:

    word_lengths = Op("word_lengths", version=1, columns=("words", "chars"), documents=("a b", ...))
    C = word_lengths.index

    @word_lengths.reference    plain Python and integers, the truth, as readable as can be
    @word_lengths.cpu          numba over the buffers: row[C.words] = n
    @word_lengths.cuda         CuPy allocates, kernels/<op>.cu is launched; the first argument is the array module

Every implementation takes the same arguments and returns one array, or a tuple or dataclass of arrays. The first
argument decides the backend: NumPy buffers run on the cpu, CuPy buffers on the GPU. No operation falls back to another
backend.

The tests find every operation here, call it on `documents` and on random text, with each of `samples` as parameters,
and compare each implementation with the reference. If the input of an operation is not a TextColumn, `inputs` makes
its arguments from one.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from gpu_pile.errors import BackendError
from gpu_pile.gpu import launch
from gpu_pile.gpu.profile import marked
from gpu_pile.text.column import TextColumn

F = TypeVar("F", bound=Callable[..., Any])
Result = Any

OPS: dict[str, Op] = {}


class Op:
    """One operation of the registry.

    Args:
        name: the name of the operation, of its file and of its kernel file.
        version: raised whenever a bit of a result may change; files measured with another version are stale.
        columns: the names of the columns, in order, of a result int64[n, len(columns)]; empty for other results.
            `index` is the named tuple of their numbers: `row[C.words]` with `C = op.index`, in plain Python, NumPy and
            numba. In kernels/<op>.cu, #include "<op>.columns" declares them: `row[C::words]`, `C::N_COLUMNS`.
        document_bytes_max: the size of the largest document that cpu and cuda can count; None if there is no limit.
        samples: the parameter sets that the tests run.
        documents: hand-picked inputs that break naive implementations; "" is always added.
        inputs: (TextColumn, params) -> the positional arguments of the operation; by default the column itself.
    """

    def __init__(
        self,
        name: str,
        *,
        version: int,
        columns: Sequence[str] = (),
        document_bytes_max: int | None = None,
        samples: Sequence[Mapping[str, Any]] = ({},),
        documents: Sequence[str | bytes] = (),
        inputs: Callable[[TextColumn, Mapping[str, Any]], tuple[Any, ...]] | None = None,
    ) -> None:
        if name in OPS:
            raise ValueError(f"operation {name!r} is declared twice")
        self.name = name
        self.version = version
        self.columns = tuple(columns)
        self.document_bytes_max = document_bytes_max
        self.index: Any = namedtuple("Columns", self.columns)(*range(len(self.columns)))
        launch.declare_columns(name, self.columns)
        self.samples = tuple(samples)
        self.documents = ("", *documents)
        self.inputs = inputs or (lambda text, params: (text,))
        self.implementations: dict[str, Callable[..., Result]] = {}
        OPS[name] = self

    def __repr__(self) -> str:
        return f"<Op {self.name} v{self.version}: {', '.join(sorted(self.implementations))}>"

    def reference(self, function: F) -> F:
        self.implementations["reference"] = function
        return function

    def cpu(self, function: F) -> F:
        self.implementations["cpu"] = function
        return function

    def cuda(self, function: F) -> F:
        """`function(xp, *args, **params)`: xp is CuPy on a GPU, NumPy where tests execute the kernels on the CPU."""

        def on_device(*args: Any, **params: Any) -> Result:
            import cupy

            with marked(self.name):
                return function(cupy, *args, **params)

        def emulated(*args: Any, **params: Any) -> Result:
            return function(np, *args, **params)

        self.implementations["cuda"] = on_device
        self.implementations["cuda-emulated"] = emulated
        return function

    def __call__(self, *args: Any, **params: Any) -> Result:
        first = args[0]
        backend = first.backend if isinstance(first, TextColumn) else "cpu" if isinstance(first, np.ndarray) else "cuda"
        return self.run(backend, *args, **params)

    def run(self, backend: str, *args: Any, **params: Any) -> Result:
        """Run one implementation by name: reference, cpu, cuda (cuda-emulated in tests).

        Raises:
            BackendError: the operation has no such implementation. ValueError: a document is too large.
        """
        implementation = self.implementations.get(backend)
        if implementation is None:
            raise BackendError(
                f"operation {self.name!r} has no {backend} implementation; it has: "
                f"{', '.join(sorted(self.implementations))}"
            )
        if self.document_bytes_max is not None:
            self._check_documents(args[0], self.document_bytes_max)
        return implementation(*args, **params)

    def _check_documents(self, text: TextColumn, limit: int) -> None:
        if len(text) and text.n_bytes > limit:  # the lengths are on the device, and most batches are smaller
            largest = int((text.offsets[1:] - text.offsets[:-1]).max())
            if largest > limit:
                raise ValueError(
                    f"operation {self.name!r} takes documents of up to {limit} bytes, and one has {largest}; set "
                    f"input.line_bytes_max to at most {limit}, so that this line is reported as a bad line instead"
                )


def columns_by_width(index: Any, pattern: str, widths: Sequence[int]) -> np.ndarray[Any, Any]:
    """Return int64[max(widths) + 1]: at each width the number of the column pattern.format(width); elsewhere -1."""
    numbers = np.full(max(widths) + 1, -1, np.int64)
    for width in widths:
        numbers[width] = getattr(index, pattern.format(width))
    return numbers


def load_all() -> dict[str, Op]:
    """Import every file of gpu_pile/ops. Return the registry, sorted by name."""
    import gpu_pile.ops

    for module in pkgutil.iter_modules(gpu_pile.ops.__path__):
        importlib.import_module(f"gpu_pile.ops.{module.name}")
    return dict(sorted(OPS.items()))
