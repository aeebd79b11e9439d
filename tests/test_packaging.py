"""pyproject.toml, environment.yml, the documents and what is shipped agree with each other."""

import re
import subprocess
import sys
import tomllib
import zipfile

import pytest
import yaml

import gpu_pile
from tests.conftest import HERE

ROOT = HERE.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def split(requirement):
    """(name, specifier), with == of pip and = of conda made alike."""
    name, specifier = re.fullmatch(r"([A-Za-z0-9_.-]+?)(?:\[.*\])?\s*([<>=!~].*)?", requirement).groups()
    return name, (specifier or "").replace("==", "=").replace(" ", "")


def test_the_conda_environment_is_in_step():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    only_pip = next(d for d in listed if isinstance(d, dict))["pip"]  # on no conda channel
    conda = dict(split(d) for d in [*(d for d in listed if isinstance(d, str)), *only_pip])
    pip = dict(split(d) for d in [*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["notebook"], *EXTRAS["cu12"]])
    for extra in ("cluster", "remote"):
        assert dict(map(split, EXTRAS[extra])).items() <= pip.items(), f"dev lists what {extra} lists"
    named = {re.sub(r"-cu12$|-cuda12x$", "", name): specifier for name, specifier in pip.items()}
    assert conda.pop("python") == PROJECT["requires-python"]
    for only_conda in ("pip", "cuda-version"):
        conda.pop(only_conda)
    assert conda == named


def test_both_cuda_extras_are_the_same_but_for_the_version():
    def neutral(extra, number):
        return sorted(d.replace(f"cu{number}", "cu").replace(f"cuda{number}x", "cuda") for d in EXTRAS[extra])

    assert neutral("cu12", 12) == neutral("cu13", 13)


def test_there_is_one_version():
    assert PROJECT["version"] == gpu_pile.__version__
    assert f"## {gpu_pile.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize(
    "name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "Makefile"]
)
def test_documents_are_there(name):
    assert (ROOT / name).stat().st_size > 500


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "benchmarks/README.md"])
def test_files_that_documents_name_exist(name):
    for path in re.findall(
        r"`((?:configs|docs|tests|benchmarks|tools|notebooks|gpu_pile)/[\w./-]+)`", (ROOT / name).read_text()
    ):
        assert (ROOT / path.rstrip("/")).exists(), path


def test_the_wheel_holds_what_the_package_reads(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, check=True
    )
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    needed = [
        "configs/thresholds/gopher.yaml",
        "configs/pile.yaml",
        "text/unicode_table.npz",
        "run/stages/report.html.j2",
    ]
    needed += ["text/word_lists/stop_words_en.txt", "text/word_lists/ldnoobw_en.txt", "text/word_lists/SOURCES.md"]
    assert {f"gpu_pile/{name}" for name in needed} <= set(names)
