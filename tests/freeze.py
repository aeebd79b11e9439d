"""Frozen results of the operations, tests/vectors/<operation>.json: see tests/vectors/README.md.

    python -m tests.freeze NAME ...     write the files of these operations; `make vectors OP=NAME` does it for one

Refuses if a result changed and the operation's version was not raised.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpu_pile.ops import op
from gpu_pile.ops.op import Op
from gpu_pile.testing import arrays
from gpu_pile.text.column import TextColumn

FOLDER = Path(__file__).parent / "vectors"
EXAMPLES = 5
"""Documents of which inputs and results are written in full."""
EXAMPLE_BYTES = 48
"""They are the longest documents of at most this many bytes."""


class ResultChanged(Exception):
    """A result differs from the frozen one of the same version."""


def frozen(name: str, folder: Path = FOLDER) -> Any:
    """Return the file of an operation.

    Raises:
        FileNotFoundError: the file is missing; says how to make it.
    """
    path = folder / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"operation {name} has no frozen results: run `make vectors OP={name}`")
    return json.loads(path.read_text(encoding="utf-8"))


def vectors(operation: Op) -> dict[str, Any]:
    """Return the contents of an operation's file, as its cpu implementation gives them."""
    return {
        "operation": operation.name,
        "version": operation.version,
        "columns": list(operation.columns),
        "samples": [_sample(operation, params) for params in operation.samples],
    }


def _sample(operation: Op, params: Mapping[str, Any]) -> dict[str, Any]:
    def results(documents: Any) -> tuple[tuple[Any, ...], list[np.ndarray]]:
        inputs = operation.inputs(TextColumn.from_documents(documents), params)
        return inputs, arrays(operation.run("cpu", *inputs, **params))

    raw = [d if isinstance(d, bytes) else d.encode() for d in operation.documents]
    short = [d for d in raw if len(d) <= EXAMPLE_BYTES]
    inputs, outputs = results(sorted(short, key=len)[-EXAMPLES:])
    return {
        "params": json.loads(json.dumps(dict(params), default=_row)),
        "example": {"inputs": [_written(x) for x in inputs], "results": [_written(x) for x in outputs]},
        "together": [[str(a.dtype), list(a.shape), _digest(a)] for a in results(raw)[1]],
        "documents": {hashlib.blake2b(d, digest_size=8).hexdigest(): _digest(*results([d])[1]) for d in raw},
    }


def _row(row: Any) -> dict[str, Any]:
    """A row of gpu_pile.text.marks in JSON."""
    return {"kind": type(row).__name__, **dataclasses.asdict(row)}


def _digest(*outputs: np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in outputs:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _written(value: Any) -> dict[str, Any]:
    """An array or a column of documents in JSON; numbers of 64 bits as strings, which every reader keeps exactly."""
    if isinstance(value, TextColumn):
        return {"documents": [_document(d) for d in value.documents()]}
    array = np.asarray(value)
    values = array.astype(np.uint8) if array.dtype == bool else array
    as_text = array.dtype in (np.uint64, np.int64) and bool(array.size) and int(np.abs(array).max()) >= 2**53
    return {"dtype": str(array.dtype), "values": (values.astype(str) if as_text else values).tolist()}


def _document(document: bytes) -> Any:
    try:
        return document.decode()
    except UnicodeDecodeError:
        return {"hex": document.hex()}


def differences(old: Mapping[str, Any], operation: Op) -> list[str]:
    """Say which results of an operation differ from its frozen ones; documents and parameters that are new do not."""
    out = []
    now = {json.dumps(s["params"]): s for s in vectors(operation)["samples"]}
    names = {
        hashlib.blake2b(d if isinstance(d, bytes) else d.encode(), digest_size=8).hexdigest(): d
        for d in operation.documents
    }
    for before in old["samples"]:
        after = now.get(json.dumps(before["params"]))
        if after is None:
            continue
        if before["example"]["inputs"] == after["example"]["inputs"]:
            pairs = zip(before["example"]["results"], after["example"]["results"], strict=True)
            out += [f"{before['params']}, array {i}: {a}, frozen {b}" for i, (b, a) in enumerate(pairs) if a != b]
        for key in before["documents"].keys() & after["documents"].keys():
            if before["documents"][key] != after["documents"][key]:
                out.append(f"{before['params']}, document {names[key]!r}")
    return out


def freeze(name: str, folder: Path = FOLDER) -> None:
    """Write the file of an operation.

    Raises:
        ResultChanged: a result differs from the frozen one, and the version is the same.
    """
    operation = op.load_all()[name]
    path = folder / f"{name}.json"
    if path.exists():
        old = frozen(name, folder)
        changed = differences(old, operation) if old["version"] >= operation.version else []
        if changed:
            raise ResultChanged(
                f"{name}: {len(changed)} results differ from the frozen ones of version {old['version']}; if that is "
                f"meant, raise the version in gpu_pile/ops/{name}.py. The first: {changed[0][:300]}"
            )
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(_lines(vectors(operation)), encoding="utf-8")


def _lines(contents: dict[str, Any]) -> str:
    """JSON with one line per array and per document."""

    def indented(value: Any, depth: int) -> str:
        is_leaf = not isinstance(value, dict | list) or depth > 5 or not value
        if is_leaf or (isinstance(value, list) and not isinstance(value[0], dict | list)):
            return json.dumps(value)
        pad = " " * depth
        if isinstance(value, dict):
            items = [f"{json.dumps(k)}: {indented(v, depth + 1)}" for k, v in value.items()]
            return "{\n" + ",\n".join(f"{pad} {item}" for item in items) + f"\n{pad}}}"
        return "[\n" + ",\n".join(f"{pad} {indented(item, depth + 1)}" for item in value) + f"\n{pad}]"

    return indented(contents, 0) + "\n"


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("name an operation: make vectors OP=text_counts")
    for chosen in sys.argv[1:]:
        if chosen not in op.load_all():
            sys.exit(f"there is no operation {chosen!r}; there are: {', '.join(op.load_all())}")
        try:
            freeze(chosen)
        except ResultChanged as error:
            sys.exit(str(error))
