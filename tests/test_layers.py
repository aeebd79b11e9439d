"""Who may import whom: ARCHITECTURE.md's floors, read from the sources. Whatever ALLOWED does not name is an error."""

import ast
import dataclasses
from pathlib import Path

import pytest

from gpu_pile.run.context import Context

PACKAGE = Path(__file__).parents[1] / "gpu_pile"
SOURCES = {p.relative_to(PACKAGE).as_posix(): ast.parse(p.read_text()) for p in PACKAGE.rglob("*.py")}

FLOORS = [
    "base",
    "text",
    "gpu",
    "ops",
    "summaries",
    "present",
    "signals",
    "dedup",
    "corpus",
    "policy",
    "run",
    "explore",
]
"""From the lowest up; "base" is errors.py and types.py. An arrow up is never allowed, see ALLOWED for those down."""

ALLOWED = {
    "base": set(),
    "text": {"base"},
    "gpu": {"base", "text"},
    "ops": {"base", "text", "gpu"},
    "summaries": {"base", "text", "gpu"},
    "present": {"base", "summaries"},
    "signals": {"base", "text", "gpu", "ops"},
    "dedup": {"base", "text", "gpu", "ops"},
    "corpus": {"base", "text", "ops"},
    "policy": {"base", "signals"},
    "run": set(FLOORS) - {"run", "explore"},
    "explore": set(FLOORS) - {"explore"},
    "top": set(FLOORS),  # cli, api.py, testing.py: nobody imports these
}

ONLY_IN = {
    "dask": {"run/dask.py"},
    "dask_cuda": {"run/dask.py"},
    "distributed": {"run/dask.py"},
    "duckdb": {"explore/sql.py"},
    "fsspec": {"corpus/remote.py"},
    "s3fs": {"corpus/remote.py"},
    "aiohttp": {"corpus/remote.py"},
    "rich": {n for n in SOURCES if n.startswith("cli/")},
    "typer": {n for n in SOURCES if n.startswith("cli/")},
    "pickle": set(),
}
"""Libraries that one file or package knows, or none."""

INSIDE_FUNCTIONS = {
    "cupy",
    "cupyx",
    "cudf",
    "pylibcudf",
    "rmm",
    "nvtx",
    "dask",
    "dask_cuda",
    "distributed",
    "duckdb",
    "fsspec",
}


def imported(tree):
    """Every module that a tree imports, dotted."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{a.name}" for a in node.names)


def package_of(name):
    """The package of a file of gpu_pile ("ops/sketch.py") or of a module inside it ("ops.sketch.sketch")."""
    first = name.replace("/", ".").removesuffix(".py").split(".")[0]
    if first in ("gpu_pile", "errors", "types", "__init__", "__version__"):
        return "base"
    return "top" if first in ("cli", "api", "testing") else first


def test_every_package_has_a_floor():
    assert {package_of(name) for name in SOURCES} == {*FLOORS, "top"}
    for package, below in ALLOWED.items():
        assert package == "top" or all(FLOORS.index(b) < FLOORS.index(package) for b in below), package


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_imports_point_downwards(name):
    own = package_of(name)
    inside = {m.removeprefix("gpu_pile.") for m in imported(SOURCES[name]) if m.split(".")[0] == "gpu_pile"}
    wrong = {m for m in inside if package_of(m) not in {own, *ALLOWED[own]}}
    assert not wrong, f"{own} may import {sorted(ALLOWED[own])}"


def test_no_cycles_between_files():
    graph = {}
    for name, tree in SOURCES.items():
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        graph[module] = {m.removeprefix("gpu_pile.") for m in imported(tree) if m.startswith("gpu_pile.")}
    known = set(graph)
    edges = {
        m: {x if x in known else x.rpartition(".")[0] for x in to} & known - {m, "__init__"} for m, to in graph.items()
    }
    while edges:
        free = [m for m, to in edges.items() if not to & set(edges)]
        assert free, f"these import each other: {sorted(edges)}"
        for m in free:
            del edges[m]


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_libraries_are_known_to_one_file_and_loaded_when_needed(name):
    libraries = {m.split(".")[0] for m in imported(SOURCES[name])}
    assert not {lib for lib in libraries if name not in ONLY_IN.get(lib, {name})}
    top = [n for n in SOURCES[name].body if isinstance(n, ast.Import | ast.ImportFrom)]
    assert not INSIDE_FUNCTIONS & {m.split(".")[0] for m in imported(ast.Module(top, []))}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_nothing_unsafe_and_only_the_command_line_prints(name):
    calls = {n.func.id for n in ast.walk(SOURCES[name]) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert not calls & {"eval", "exec", "__import__"}
    assert "print" not in calls, "the consoles are in cli/console.py"


@pytest.mark.parametrize("name", sorted(n for n in SOURCES if n.startswith("explore/verify/")))
def test_verification_uses_no_compiled_code(name):
    """Compiled kernels made what verify checks: it names none, and runs operations by their references."""
    tree = SOURCES[name]
    compiled = {"text.simd", "text.blocks", "text.jit", "text.hash_table", "text.ngrams", "summaries", "dedup.buckets"}
    modules = {m.removeprefix("gpu_pile.") for m in imported(tree) if m.startswith("gpu_pile.")}
    assert not {m for m in modules for c in compiled if m == c or m.startswith(f"{c}.")}
    runs = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "run"]
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and n.func in runs and n.args]
    assert all("reference" in ast.unparse(call) for call in calls)


@pytest.mark.parametrize("name", sorted(n for n in SOURCES if n.startswith(("dedup/", "policy/"))))
def test_decisions_never_see_text(name):
    assert "gpu_pile.text.column.TextColumn" not in set(imported(SOURCES[name]))


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_functions_are_short_and_take_few_parameters(name):
    """40 lines after the docstring, 70 in compiled functions; 7 parameters, not counting self."""
    for f in ast.walk(SOURCES[name]):
        if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef):
            code = f.body[bool(ast.get_docstring(f)) :]
            lines = f.end_lineno - code[0].lineno + 1 if code else 0
            compiled = any(ast.unparse(d).split("(")[0] in ("inlined", "jit", "leaf") for d in f.decorator_list)
            assert lines <= (70 if compiled else 40), f"{f.name} has {lines} lines"
            a = f.args
            parameters = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, (a.vararg, a.kwarg))]
            taken = [p.arg for p in parameters if p.arg not in ("self", "cls")]
            assert len(taken) <= 7, f"{f.name} takes {', '.join(taken)}"


def test_the_context_of_a_run_stays_small():
    assert len(dataclasses.fields(Context)) <= 5
