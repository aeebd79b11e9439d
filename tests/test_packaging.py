"""pyproject.toml, environment.yml, the documents and what is shipped agree with each other."""

import re
import shlex
import subprocess
import sys
import tomllib
import zipfile

import pyarrow.parquet as pq
import pytest
import typer
import yaml
from typer.testing import CliRunner

import gpu_pile
from gpu_pile import signals
from gpu_pile.cli import app
from gpu_pile.run import directory
from gpu_pile.run.stages.report import stage
from tests.conftest import HERE
from tools import make_api_md, make_commands_md, make_configuration_md

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
    for extra in ("cluster", "remote", "sql"):
        assert dict(map(split, EXTRAS[extra])).items() <= pip.items(), f"dev lists what {extra} lists"
    named = {re.sub(r"-cu12$|-cuda12x$", "", name): specifier for name, specifier in pip.items()}
    named["python-duckdb"] = named.pop("duckdb")
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


PAGES = sorted(
    p.relative_to(ROOT).as_posix()
    for folder in (".", "docs", "docs/commands", "docs/decisions", "benchmarks", "examples", "kernels")
    for p in (ROOT / folder).glob("*.md")
)


@pytest.mark.parametrize("name", PAGES)
def test_files_that_documents_name_exist(name):
    folders = "configs|docs|examples|tests|benchmarks|tools|notebooks|kernels|gpu_pile"
    for path in re.findall(rf"`((?:{folders})/[\w./-]+)`", (ROOT / name).read_text()):
        shown_in_contributing = name == "CONTRIBUTING.md" and f"`{path}`:\n\n```" in (ROOT / name).read_text()
        assert shown_in_contributing or (ROOT / path.rstrip("/")).exists(), path


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / name).read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        page = (ROOT / name).parent / path if path else ROOT / name
        assert page.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}, target


def test_every_page_is_in_the_index_once():
    index = (ROOT / "docs" / "index.md").read_text()
    for page in PAGES:
        if page.startswith("docs/") and page != "docs/index.md" and "/commands/" not in page:
            assert index.count(f"({page.removeprefix('docs/')})") == 1, page


def test_the_architecture_names_every_package():
    page = (ROOT / "ARCHITECTURE.md").read_text()
    assert len(page.splitlines()) <= 120
    for folder in {p.parent.relative_to(ROOT).as_posix() for p in (ROOT / "gpu_pile").glob("*/*.py")}:
        assert f"`{folder}/`" in page, folder


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().split()) <= 600


def test_the_readme_shows_a_session(demo_run, tmp_path, monkeypatch):
    """The end of what the run prints, and the beginning of what show prints."""
    session = re.search(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    (run, printed), (show, shown) = re.findall(r"^\$ gpu-pile (.*)\n((?:(?!\$).*\n)+)", session, re.MULTILINE)
    assert run == "run configs/quickstart.yaml"
    assert printed == stage.summary(directory.open_dir(demo_run)).replace(str(demo_run), "demo") + "\n"
    (tmp_path / "demo").symlink_to(demo_run)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(app, show.split()).output.startswith(shown)


def test_the_picture_of_the_readme_is_small():
    assert 20_000 < (ROOT / "docs" / "images" / "report.png").stat().st_size < 250_000


def test_the_configuration_page_is_up_to_date():
    assert make_configuration_md.TARGET.read_text(encoding="utf-8") == make_configuration_md.render(), (
        "docs/configuration.md is not what the models say: run python tools/make_configuration_md.py"
    )


def test_the_python_reference_is_up_to_date():
    assert make_api_md.TARGET.read_text(encoding="utf-8") == make_api_md.render(), (
        "docs/api.md is not what the docstrings say: run python tools/make_api_md.py"
    )


def test_the_pages_of_the_verbs_are_up_to_date():
    there = {file.name: file.read_text(encoding="utf-8") for file in make_commands_md.TARGET.iterdir()}
    assert there == make_commands_md.render(), (
        "docs/commands is not what the command line says: run python tools/make_commands_md.py"
    )


def test_the_examples_of_the_verbs_are_commands():
    known = dict(make_commands_md.verbs(typer.main.get_command(app)))
    assert make_commands_md.EXAMPLES.keys() | make_commands_md.EXPLAINED.keys() <= known.keys()
    for verb, examples in make_commands_md.EXAMPLES.items():
        for line, _ in examples:
            words = shlex.split(line)
            n = 1 + len(verb.split())
            assert words[:n] == ["gpu-pile", *verb.split()]
            known[verb].make_context(verb, words[n:])  # raises for an option that there is not


def test_the_page_of_the_run_directory_names_every_file_and_column(demo_run):
    page = (ROOT / "docs" / "run-directory.md").read_text()
    for entry in demo_run.iterdir():
        assert re.search(rf"`{re.escape(entry.name)}[`/]", page), entry.name
    known = set(signals.names())
    for file in demo_run.rglob("*.parquet"):
        for column in set(pq.read_schema(file).names) - known:
            assert f"`{column}`" in page, (file, column)


def test_the_wheel_holds_what_the_package_reads(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, check=True
    )
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    needed = [
        "configs/thresholds/gopher.yaml",
        "configs/pile.yaml",
        "text/unicode_table.npz",
        "text/token_table.npz",
        "run/stages/report/page.html.j2",
        "run/stages/report/page.css",
        "run/decontaminate/report.html.j2",
        "py.typed",
        "__init__.pyi",
    ]
    needed += ["text/word_lists/stop_words_en.txt", "text/word_lists/ldnoobw_en.txt", "text/word_lists/SOURCES.md"]
    assert {f"gpu_pile/{name}" for name in needed} <= set(names)
