"""The worked examples of CONTRIBUTING.md are true: their files are added to a copy of the tree, their commands run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import HERE

ROOT = HERE.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
SIGNAL, OPERATION = (
    re.search(rf"^## {title}.*?(?=^## )", PAGE, re.MULTILINE | re.DOTALL)[0]
    for title in ("A signal: one file", "An operation with a kernel: two files")
)


def files(section):
    """The files that a section shows: {path: text}."""
    return dict(re.findall(r"^`([\w/.]+)`:\n\n```\w+\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))


def commands(section):
    return re.findall(r"^\$ (.+)$", section, re.MULTILINE)


def copy_of_the_tree(folder):
    for name in ("gpu_pile", "kernels", "configs", "tests", "tools", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".hypothesis"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run(command, tree):
    """The output of a command of the page, run in a copy of the tree."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(tree), "PATH": path, "COLUMNS": "240"}
    done = subprocess.run(command, shell=True, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_code_is_formatted(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for path, text in {**files(SIGNAL), **files(OPERATION)}.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    for arguments in (["check"], ["format", "--check"]):
        subprocess.run([sys.executable, "-m", "ruff", *arguments, "--no-cache", tmp_path], check=True)


@pytest.mark.slow
def test_a_signal(tmp_path):
    tree = copy_of_the_tree(tmp_path)
    added = files(SIGNAL)
    assert list(added) == ["gpu_pile/signals/questions.py"]
    for path, text in added.items():
        (tree / path).write_text(text)
    listed, measured, _ = (run(command, tree) for command in commands(SIGNAL))
    assert "lines that end with ?" in listed
    assert measured.strip() == "[{'question_line_fraction': 0.5}, {'question_line_fraction': None}]"
    assert "question_line_fraction" in (tree / "docs" / "signals.md").read_text()


@pytest.mark.slow
def test_an_operation_with_a_kernel(tmp_path):
    tree = copy_of_the_tree(tmp_path)
    added = files(OPERATION)
    assert list(added) == ["gpu_pile/ops/question_marks.py", "kernels/question_marks.cu"]
    for path, text in added.items():
        (tree / path).write_text(text)
    (bug,) = re.findall(r"^In `BUGS` of `tests/test_kernels.py`:\n\n```python\n(.*?)```$", OPERATION, re.M | re.S)
    kernel_tests = tree / "tests" / "test_kernels.py"
    kernel_tests.write_text(kernel_tests.read_text().replace("BUGS = {\n", "BUGS = {\n" + bug))
    conformance, planted, recorded, _, frozen = (run(command, tree) for command in commands(OPERATION))
    for output, tests in ((conformance, 10), (planted, 1), (frozen, 1)):
        assert re.search(rf"^{tests} passed", output, re.MULTILINE), output
    assert recorded.startswith("question_marks {")
    assert (tree / "tests" / "vectors" / "question_marks.json").exists()
    with_a_bug = added["kernels/question_marks.cu"].replace("i == segment.start || ", "")
    (tree / "kernels" / "question_marks.cu").write_text(with_a_bug)
    with pytest.raises(AssertionError, match="cuda-emulated"):
        run(commands(OPERATION)[0], tree)
