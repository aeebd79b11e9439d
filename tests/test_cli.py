import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from gpu_pile import cli
from gpu_pile.errors import GpuPileError
from tests.conftest import DEMO, HERE, decisions, write_shard

QUICK = str(HERE.parent / "configs" / "quickstart.yaml")


def invoke(*arguments):
    """(exit code, output, error): as the shell sees it, without starting a process."""
    result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
    if isinstance(result.exception, GpuPileError):
        return result.exception.exit_code, result.output, str(result.exception)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output, result.stderr


def test_run_prints_what_it_did(tmp_path):
    code, output, _ = invoke("run", QUICK, "--set", f"output={tmp_path / 'r'}", "--set", f"input.shards=['{DEMO}']")
    assert code == 0
    rows = decisions(tmp_path / "r")
    assert f"{len(rows):,} documents" in output
    assert f"kept {sum(r['keep'] for r in rows):,}" in output
    assert str(tmp_path / "r" / "report.html") in output


@pytest.mark.parametrize(
    ("verb", "there", "not_there"),
    [
        ("measure", "measured", "clusters.parquet"),
        ("dedupe", "clusters.parquet", "decisions"),
        ("decide", "decisions", "kept"),
        ("write", "kept", "report.json"),
        ("report", "report.html", "nothing"),
    ],
)
def test_each_verb_does_what_it_needs_and_no_more(tmp_path, verb, there, not_there):
    write_shard(tmp_path / "a.jsonl.zst", [("some words", "x")])
    (tmp_path / "c.yaml").write_text(f"input: {{shards: ['{tmp_path}/a.jsonl.zst']}}\noutput: {tmp_path}/run\n")
    assert invoke(verb, tmp_path / "c.yaml")[0] == 0
    assert (tmp_path / "run" / there).exists()
    assert not (tmp_path / "run" / not_there).exists()


def test_dry_run_reads_little_and_writes_nothing(tmp_path):
    code, output, _ = invoke(
        "run", QUICK, "--dry-run", "--set", f"output={tmp_path / 'r'}", "--set", f"input.shards=['{DEMO}']"
    )
    assert code == 0
    assert list(tmp_path.iterdir()) == []
    for part in ("# configuration", "threshold: 0.8", "3 shard(s)", "memory ", "disk ", "16 bands x 8 rows"):
        assert part in output


@pytest.mark.parametrize(
    ("where", "said"),
    [("local", "3 worker process(es) of 2 thread(s), local"), ("tcp://h:1", "the scheduler's worker process(es) of 1")],
)
def test_dry_run_of_a_cluster_starts_none(tmp_path, where, said):
    more = ("--set", f"output={tmp_path / 'r'}", "--set", f"input.shards=['{DEMO}']", "--set", "workers=6")
    code, output, _ = invoke("run", QUICK, "--dry-run", "--cluster", where, *more)
    assert code == 0
    assert list(tmp_path.iterdir()) == []
    for part in (said, "a worker: ", "for the process that asks them", "for the largest range", "threshold: 0.8"):
        assert part in output


def test_exit_1_for_damage_with_everything_else_done(tmp_path):
    good = HERE / "data" / "nasty" / "no_content_size.jsonl.zst"
    bad = HERE / "data" / "nasty" / "truncated_frame.jsonl.zst"
    (tmp_path / "c.yaml").write_text(f"input: {{shards: ['{good}', '{bad}']}}\noutput: {tmp_path}/run\n")
    code, output, error = invoke("run", tmp_path / "c.yaml")
    assert code == 1
    assert "truncated_frame.jsonl.zst" in error
    assert "truncated" in error
    assert "kept lines" in output
    assert {r["shard"] for r in decisions(tmp_path / "run")} == {"no_content_size", "truncated_frame"}


def test_exit_2_for_wrong_usage(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [("some words", "x")])
    (tmp_path / "sub").mkdir()
    write_shard(tmp_path / "sub" / "a.jsonl", [("other words", "x")])
    config = tmp_path / "c.yaml"

    def error_of(text, *more):
        config.write_text(text)
        code, _, error = invoke("run", config, *more)
        assert code == 2, error
        assert not (tmp_path / "run").exists()
        return error

    out = f"output: {tmp_path}/run\n"
    assert "names no file" in error_of(f"input: {{shards: ['{tmp_path}/none-*.zst']}}\n{out}")
    assert "holds no file" in error_of(f"input: {{shards: ['{HERE}/expected']}}\n{out}")
    assert "two inputs have the name 'a'" in error_of(f"input: {{shards: ['{tmp_path}/**/a.jsonl*']}}\n{out}")
    one = f"input: {{shards: ['{tmp_path}/a.jsonl.zst']}}\n{out}"
    assert "did you mean 'output'" in error_of(one + "outptu: x\n")
    assert "unknown signals or families" in error_of(one + "measure: {signals: [lenghts]}\n")
    assert "key.path=value" in error_of(one, "--set", "nonsense")
    from gpu_pile.gpu import detect

    if detect.cuda_missing():
        assert "backend cuda:" in error_of(one, "--backend", "cuda")
    assert "no configuration file" in invoke("run", tmp_path / "none.yaml")[2]


def test_show_tells_the_story_of_a_document(demo_run):
    removed = next(r for r in decisions(demo_run) if "near_duplicate" in r["reasons"])
    code, output, _ = invoke("show", demo_run, removed["doc_id"])
    assert code == 0
    assert "near_duplicate" in output
    assert str(removed["witness"]) in output
    assert "plain_word_count" in output
    code, output, _ = invoke("show", demo_run, "--json", removed["doc_id"])
    story = json.loads(output)
    assert story["reasons"][0]["value"] == removed["similarity"]
    assert story["text"]
    assert invoke("show", demo_run, 99 << 40)[0] == 2
    assert invoke("show", demo_run / "measured", 1)[0] == 2


@pytest.mark.parametrize(
    ("what", "there"),
    [
        ("signals", "alpha_word_fraction"),
        ("ops", "text_counts"),
        ("backends", "cpu"),
        ("thresholds", "gopher"),
        ("subsets", "Wikipedia (en)"),
    ],
)
def test_list(what, there):
    code, output, _ = invoke("list", what)
    assert code == 0
    assert there in output


def test_list_and_doctor():
    assert invoke("list", "nothing")[0] == 2
    code, output, _ = invoke("doctor")
    assert code == 0
    assert "numba" in output
    assert "CUDA" in output or "compute capability" in output


def test_the_installed_command_exits_as_promised(tmp_path):
    command = [sys.executable, "-m", "gpu_pile.cli"]
    done = subprocess.run([*command, "run", str(tmp_path / "x.yaml")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no configuration file")
    assert "Traceback" not in done.stderr
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()[0]) == (0, "gpu-pile")


def test_two_processes_do_not_share_a_run(demo_copy):
    from gpu_pile.corpus import files

    with files.locked(demo_copy):
        code, _, error = invoke("run", QUICK, "--set", f"output={demo_copy}", "--set", f"input.shards=['{DEMO}']")
    assert code == 1
    assert "another gpu-pile process" in error
