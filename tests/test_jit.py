"""Machine code on disk is never older than what went into it, and never compiled again without need."""

import fcntl
import gc
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

from gpu_pile.text.jit import inlined, jit, leaf

CODE = """
import sys, json
sys.path.insert(0, sys.argv[1])
import outer
from gpu_pile.text.jit import compilation
print(json.dumps([outer.twice(3), compilation.functions]))
"""

OUTER = """
from gpu_pile.text.jit import jit
import inner

@jit
def twice(x):
    return inner.inner(x)
"""

INNER = """
import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from llvmlite import ir

FACTOR = 2
TABLE = np.array([2, 5])
WIDTH = ir.IntType(64)

def _constant():
    return ir.Constant(WIDTH, 2)

@intrinsic
def two(typing, x):
    def codegen(context, builder, signature, args):
        return _constant()
    return types.int64(x), codegen

@njit
def inner(x):
    "A docstring."
    return BODY
"""

OPTIONS = """
from gpu_pile.text.jit import {decorator} as decorator

@decorator
def twice(x):
    return 2 * x
"""

BODIES = ["2 * x", "FACTOR * x", "TABLE[0] * x", "two(x) * x"]


def run(folder, cache, inner, outer=OUTER):
    folder.mkdir(exist_ok=True)
    (folder / "outer.py").write_text(outer)
    (folder / "inner.py").write_text(inner)
    # without -B, Python's own cache would miss a change within one second
    command = [sys.executable, "-B", "-c", CODE, str(folder)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "HOME": str(cache)}
    environment.pop("NUMBA_CACHE_DIR", None)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "old", "new"),
    [
        (BODIES[0], "2 * x", "3 * x"),
        (BODIES[1], "FACTOR = 2", "FACTOR = 3"),
        (BODIES[2], "[2, 5]", "[3, 5]"),
        (BODIES[3], "Constant(WIDTH, 2)", "Constant(WIDTH, 3)"),
    ],
    ids=["body", "constant", "table", "intrinsic"],
)
def test_a_change_in_what_is_called_is_noticed_and_no_other(tmp_path, body, old, new):
    """outer.py stays as it is; what inner.py gives it changes."""
    inner = INNER.replace("BODY", body)
    cache = tmp_path / "cache"
    assert run(tmp_path / "a", cache, inner) == [6, 1]
    assert run(tmp_path / "a", cache, inner) == [6, 0]
    assert run(tmp_path / "a", cache, inner.replace(old, new)) == [9, 1]
    assert run(tmp_path / "a", cache, inner) == [6, 0], "the first version is still there"
    commented = "# a comment" + inner.replace("A docstring", "Another docstring")
    assert run(tmp_path / "elsewhere", cache, commented) == [6, 0], "comments, docstrings and paths do not count"


@pytest.mark.slow
def test_processes_that_need_the_same_function_compile_it_once(tmp_path):
    """The second process starts while the first one compiles; it waits, and loads what the first one stored."""
    cache, source = tmp_path / "cache", INNER.replace("BODY", BODIES[0])
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda i: run(tmp_path / f"copy{i}", cache, source), range(4)))
    assert [twice for twice, _ in results] == [6] * 4
    assert sum(compiled for _, compiled in results) == 1


@pytest.mark.slow
def test_a_function_that_another_process_compiles_is_waited_for(tmp_path):
    source = INNER.replace("BODY", BODIES[0])
    run(tmp_path / "a", tmp_path / "cache", source)
    (lock,) = (tmp_path / "cache" / "gpu_pile").glob("twice-*.lock")
    for path in lock.parent.glob("twice-*.nb[ic]"):
        path.unlink()
    with lock.open() as held, ThreadPoolExecutor(1) as threads:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threads.submit(run, tmp_path / "a", tmp_path / "cache", source)
        time.sleep(10)
        assert not waiting.done()
        held.close()  # as the end of a process does, however it ended
        assert waiting.result(timeout=60) == [6, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("nbi", lambda content: content.replace(b"Integer", b"Gone000")),
        ("nbi", lambda content: content[: len(content) // 2]),
        ("nbc", lambda content: content[: len(content) // 2]),
    ],
    ids=["a type that this version does not have", "half of the index", "half of the code"],
)
def test_what_cannot_be_read_is_compiled_again(tmp_path, kind, damage):
    source, cache = INNER.replace("BODY", BODIES[0]), tmp_path / "cache"
    run(tmp_path / "a", cache, source)
    for path in (cache / "gpu_pile").glob(f"twice-*.{kind}"):
        before = path.read_bytes()
        path.write_bytes(damage(before))
        assert path.read_bytes() != before
    assert run(tmp_path / "a", cache, source) == [6, 1]
    assert run(tmp_path / "a", cache, source) == [6, 0]


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert run(tmp_path / "a", tmp_path / "cache", INNER.replace("BODY", "2 * x")) == [6, 1]


@pytest.mark.slow
def test_options_of_the_compiler_are_part_of_what_is_compiled(tmp_path):
    for decorator, functions in (("jit", 1), ("leaf", 1), ("jit", 0)):
        outer = OPTIONS.format(decorator=decorator)
        assert run(tmp_path / "a", tmp_path / "cache", INNER, outer) == [6, functions], decorator


@jit
def at(data, i):
    if i >= len(data):
        raise IndexError("past the end")
    return data[i]


@inlined
def three_times(x):
    return 3 * x


@leaf
def ends(data):
    return three_times(at(data, 0)) + at(data, len(data) - 1)


@leaf
def third(data):
    return at(data, 2) + at(data, 0)


def test_a_function_is_called_by_python_and_by_compiled_functions():
    data = np.array([1, 10])
    assert [ends(data), at(data, 1), ends.py_func(data)] == [13, 10, 13]
    with pytest.raises(IndexError, match="past the end"):
        third(data)
    assert [third(np.arange(3)), three_times(5)] == [2, 15]


def test_constants_and_callers_share_what_is_compiled_of_a_function():
    array = numba.typeof(np.arange(1))
    for index in (numba.types.literal(0), numba.types.literal(2), numba.int64):
        at.get_call_template((array, index), {})
    callee = at.called_by_functions()
    assert callee.signatures == [(array, numba.int64)]
    (compiled,) = callee.overloads.values()
    assert "wrapper" not in compiled.library.get_llvm_str()


def test_python_collects_cycles_again_after_a_compilation_even_a_failed_one():
    @jit
    def cannot_be_typed(x):
        return x.no_such_attribute

    with pytest.raises(numba.TypingError):
        cannot_be_typed(1)
    assert gc.isenabled()
