"""examples/: the scripts are executed; images, manifests and jobs are checked as far as files alone allow."""

import re
import runpy
import shlex
import subprocess
import sys
import zipfile

import pytest
import typer
import yaml

from gpu_pile.cli import app
from gpu_pile.run import config
from tests.conftest import HERE

ROOT = HERE.parent
EXAMPLES = ROOT / "examples"
DOCKERFILE = (EXAMPLES / "Dockerfile").read_text().replace("\\\n", " ")


def executed(name, monkeypatch, capsys, *arguments):
    """What a script prints."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


def test_texts_in_memory(monkeypatch, capsys):
    printed = executed("dedupe_texts.py", monkeypatch, capsys)
    assert "1 goes, as it is like 2 (similarity 0.77)" in printed
    assert printed.count("stays") == 3


@pytest.mark.slow
def test_a_whole_run(monkeypatch, capsys, tmp_path):
    printed = executed("run_and_read.py", monkeypatch, capsys, "examples/my.yaml", tmp_path / "out")
    assert "kept by subset: {'Github': " in printed
    assert "was removed: {'plain_word_count.min': 48.0}" in printed
    assert re.search(r"^\d+ duplicates \d+: ", printed, re.MULTILINE)


def test_choosing_thresholds(monkeypatch, capsys, tmp_path, demo_run):
    printed = executed("choose_thresholds.py", monkeypatch, capsys, demo_run, tmp_path / "new.yaml")
    assert "Pile-CC: at least 5 of the stop words" in printed
    assert "documents would go" in printed
    saved = config.load(tmp_path / "new.yaml")
    assert saved.thresholds.subsets["Pile-CC"].rules["stop_word_distinct"].min == 5


def test_the_readme_names_every_file():
    page = (EXAMPLES / "README.md").read_text()
    for path in EXAMPLES.rglob("*.*"):
        parts = path.relative_to(EXAMPLES).parts
        assert parts[0] in ("README.md", "ascii_share") or "__pycache__" in parts or f"({'/'.join(parts)})" in page


def commands():
    """Every call of gpu-pile in the files that nothing here can execute: (file, words)."""
    for line in re.findall(r"gpu-pile (run .*|compile)\b", DOCKERFILE.replace("gpu-pile:0.1 ", "gpu-pile ")):
        yield "Dockerfile", shlex.split(line)
    for line in re.findall(r"^gpu-pile (.*)$", (EXAMPLES / "slurm" / "run.sh").read_text(), re.MULTILINE):
        yield "run.sh", shlex.split(line)
    for name, container in containers():
        words = [*container.get("command", ["gpu-pile"]), *container.get("args", [])]
        if words[0] == "gpu-pile":
            yield name, words[1:]


def documents():
    for file in sorted((EXAMPLES / "kubernetes").glob("*.yaml")):
        yield from ((file.name, document) for document in yaml.safe_load_all(file.read_text()))


def pods():
    return [(name, d["spec"]["template"]["spec"]) for name, d in documents() if "template" in d["spec"]]


def containers():
    return [(name, container) for name, pod in pods() for container in pod["containers"]]


def test_commands_are_commands_of_this_version():
    verbs = typer.main.get_command(app).commands
    seen = list(commands())
    assert {name for name, _ in seen} == {"Dockerfile", "run.sh", "gpus.yaml", "job.yaml"}
    for _, (verb, *arguments) in seen:
        verbs[verb].make_context(verb, arguments)  # raises for an option that there is not


def test_manifests_agree_with_themselves():
    for _, document in documents():
        assert {"apiVersion", "kind", "metadata", "spec"} <= document.keys()
        if document["kind"] == "Deployment":
            labels = document["spec"]["template"]["metadata"]["labels"]
            assert document["spec"]["selector"]["matchLabels"] == labels
    for _, pod in pods():
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        assert volumes == {m["name"] for c in pod["containers"] for m in c.get("volumeMounts", [])}


def test_the_jobs_of_slurm_are_valid():
    subprocess.run(["bash", "-n", EXAMPLES / "slurm" / "run.sh"], check=True)
    compile((EXAMPLES / "slurm" / "jobqueue.py").read_text(), "jobqueue.py", "exec")


def test_the_image_has_what_the_package_is_made_from(tmp_path):
    for line in re.findall(r"^COPY (.*)$", DOCKERFILE, re.MULTILINE):
        *sources, target = line.split()
        folder = tmp_path / target.removeprefix("/src/")
        for source in sources:
            link = folder / source if target.endswith("/") else folder
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(ROOT / source)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    names = zipfile.ZipFile(wheel).namelist()
    for needed in ("cli/commands.py", "configs/thresholds/gopher.yaml", "kernels/jaccard.cu", "text/unicode_table.npz"):
        assert f"gpu_pile/{needed}" in names
    extras = re.findall(r"/src\[([\w,]+)\]", DOCKERFILE)[0].split(",")
    assert all(f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text() for extra in extras)
