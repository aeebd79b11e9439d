"""Who may import whom: ARCHITECTURE.md's invariants, read from the sources."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gpu_pile"
SOURCES = {p.relative_to(PACKAGE).as_posix(): ast.parse(p.read_text()) for p in PACKAGE.rglob("*.py")}


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{a.name}" for a in node.names)


def below(*folders):
    return sorted(name for name in SOURCES if name.startswith(folders))


IO = {"config", "rundir", "files", "shards", "stages", "pipeline", "cli", "explore", "api", "thresholds", "decisions"}


@pytest.mark.parametrize(
    "name", below("ops/", "signals/", "columns.py", "native.py", "blocks.py", "unicode.py", "op.py")
)
def test_operations_and_signals_know_no_files_and_no_thresholds(name):
    assert not [m for m in imports(SOURCES[name]) if m.startswith("gpu_pile.") and m.split(".")[1] in IO]


SUMMARIES = below("histograms.py", "samples.py", "tally.py", "charts.py", "display.py", "difference.py")


@pytest.mark.parametrize("name", SUMMARIES)
def test_summaries_and_pictures_know_no_files_and_no_thresholds(name):
    assert not [m for m in imports(SOURCES[name]) if m.startswith("gpu_pile.") and m.split(".")[1] in IO]


@pytest.mark.parametrize("name", below("verify.py"))
def test_verification_uses_no_compiled_code(name):
    """What it checks was made by compiled kernels: it names none, and runs operations by their references."""
    seen = {m for m in imports(SOURCES[name]) if m.startswith("gpu_pile.")}
    assert not [
        m
        for m in seen
        if m.split(".")[1] in {"native", "blocks", "compiled", "samples", "histograms", "tally", "dedup"}
    ]
    runs = [n for n in ast.walk(SOURCES[name]) if isinstance(n, ast.Attribute) and n.attr == "run"]
    assert all(
        "reference" in ast.unparse(call)
        for call in ast.walk(SOURCES[name])
        if isinstance(call, ast.Call) and call.func in runs and call.args
    )


@pytest.mark.parametrize("name", below("dedup/", "decisions.py", "thresholds.py"))
def test_decisions_never_see_text(name):
    seen = set(imports(SOURCES[name]))
    assert not [m for m in seen if m.split(".")[-1] in {"columns", "TextColumn", "shards", "ShardReader"}]


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"cli.py"}))
def test_only_the_command_line_prints(name):
    calls = [n for n in ast.walk(SOURCES[name]) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    assert not [c.lineno for c in calls if c.func.id == "print"]
    assert not [m for m in imports(SOURCES[name]) if m.split(".")[0] in {"rich", "typer"}]


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_gpu_libraries_are_imported_inside_functions_only(name):
    top = [n for n in SOURCES[name].body if isinstance(n, ast.Import | ast.ImportFrom)]
    seen = [m.split(".")[0] for n in top for m in imports(ast.Module([n], []))]
    assert not {"cupy", "cudf", "pylibcudf", "rmm", "nvtx", "dask", "dask_cuda", "distributed", "fsspec"} & set(seen)


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"distributed.py"}))
def test_only_one_file_knows_dask(name):
    assert not {"dask", "dask_cuda", "distributed"} & {m.split(".")[0] for m in imports(SOURCES[name])}


@pytest.mark.parametrize("name", sorted(set(SOURCES) - {"remote.py"}))
def test_only_one_file_knows_fsspec(name):
    assert not {"fsspec", "s3fs", "gcsfs", "adlfs", "aiohttp"} & {m.split(".")[0] for m in imports(SOURCES[name])}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_nothing_unsafe(name):
    names = {n.func.id for n in ast.walk(SOURCES[name]) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    assert not names & {"eval", "exec", "__import__"}
    assert "pickle" not in {m.split(".")[0] for m in imports(SOURCES[name])}
