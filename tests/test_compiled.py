"""Compiled code is never older than the sources that went into it."""

import subprocess
import sys

CODE = """
import sys
sys.path.insert(0, sys.argv[1])
from gpu_pile import compiled
compiled._PACKAGE = __import__("pathlib").Path(sys.argv[1])
compiled._FOLDER = compiled._folder()
import outer
print(outer.twice(3))
"""

OUTER = """
# numba
from gpu_pile.text.jit import compiled
from inner import inner

@compiled
def twice(x):
    return inner(x)
"""


def test_a_change_in_another_file_is_noticed(tmp_path):
    """outer.py stays as it is, inner.py, which is compiled into it, changes."""
    (tmp_path / "outer.py").write_text(OUTER)

    def result(body):
        (tmp_path / "inner.py").write_text(f"import numba\n\n@numba.njit\ndef inner(x):\n    return {body}\n")
        # without -B, Python's own cache would miss a change within one second
        command = [sys.executable, "-B", "-c", CODE, str(tmp_path)]
        environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": "/usr/bin", "HOME": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return int(done.stdout)

    assert result("2 * x") == 6
    assert result("3 * x") == 9
    assert result("2 * x") == 6
    folders = [p for p in (tmp_path / "cache" / "gpu_pile").iterdir() if any(p.rglob("*.nbi"))]
    assert len(folders) == 2
