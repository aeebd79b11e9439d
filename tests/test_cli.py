import json
import os
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from gpu_pile import cli
from gpu_pile.errors import GpuPileError
from gpu_pile.run.progress import rate
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
    for words in (said, "per worker: ", "for this process", "for the largest range", "threshold: 0.8"):
        assert words in output


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
    assert "holds no file" in error_of(f"input: {{shards: ['{HERE}/emulator']}}\n{out}")
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


# starting, stopping


def test_starting_loads_neither_numba_nor_pyarrow():
    code = "import gpu_pile.cli, sys; print(sorted({'numba', 'pyarrow', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_option_of_the_command_line_is_named_by_its_error(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(f"input: {{shards: [x]}}\noutput: {tmp_path}/run\n")
    error = invoke("run", config, "--backend", "gpu")[2]
    assert f"{config} with --backend gpu: 1 problem:\n  --backend gpu: backend: Input should be" in error
    error = invoke("run", config, "--cluster", "locl")[2]
    assert "  --cluster locl: cluster.where: expected local, cuda" in error
    error = invoke("run", config, "--set", "write.level=99", "--set", "dedupe.fuzzy.treshold=0.7")[2]
    assert "2 problems" in error
    assert "  --set write.level=99: write.level: Input should be less than or equal to 22" in error
    assert "  --set dedupe.fuzzy.treshold=0.7: dedupe.fuzzy.treshold: unknown key; did you mean 'threshold'?" in error
    error = invoke("run", config, "--cluster", "cuda", "--backend", "cpu")[2]
    assert "cluster.where: cuda needs backend auto or cuda" in error
    assert "'input':" not in error, "no dump of the configuration"


def test_the_first_compilation_is_announced_once_and_not_counted_as_speed(tmp_path, monkeypatch):
    from gpu_pile.text.jit import compilation

    write_shard(tmp_path / "a.jsonl.zst", [("some words", "x")])
    (tmp_path / "c.yaml").write_text(f"input: {{shards: ['{tmp_path}/a.jsonl.zst']}}\noutput: {tmp_path}/run\n")
    monkeypatch.setattr(compilation, "functions", 0)
    monkeypatch.setattr(compilation, "seconds", 0.0)
    monkeypatch.setattr(compilation, "_announced", False)
    from gpu_pile.run.stages.measure import read

    real = read.text_arrays

    def compiling(*arguments):
        for _ in range(2):
            compilation.begin()
            time.sleep(0.06)
            compilation.end()
        return real(*arguments)

    monkeypatch.setattr(read, "text_arrays", compiling)
    code, _, error = invoke("measure", tmp_path / "c.yaml")
    assert code == 0
    assert error.count("compiling kernels for this processor, once per machine") == 1
    assert "after 0.1 s of compiling" in error
    assert "kernels in 0.1 s" in error
    entry = json.loads((tmp_path / "run" / "timings.json").read_text())["measure"]
    assert entry["compile_seconds"] >= 0.12
    assert rate({**entry, "text_bytes": 10**6}) > 10**6 / entry["seconds"]


INTERRUPTED = """
import sys, time
from gpu_pile import cli
from gpu_pile.run.stages.measure import read, stage

class Slow(read.ShardMeasurer):
    def process(self, block):
        print("measuring", flush=True)
        time.sleep(5)

stage.ShardMeasurer = Slow  # in the processes of a cluster, too: they import this file
if __name__ == "__main__":
    sys.argv = ["gpu-pile", *sys.argv[1:]]
    cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--cluster", "local", "--set", "cluster.workers=1"]], ids=["threads", "cluster"])
def test_ctrl_c_ends_with_a_sentence(tmp_path, more):
    """As a terminal does it: the signal goes to all processes of the command."""
    write_shard(tmp_path / "a.jsonl.zst", [("some words", "x")] * 40)
    (tmp_path / "c.yaml").write_text(f"input: {{shards: ['{tmp_path}/a.jsonl.zst']}}\noutput: {tmp_path}/run\n")
    (tmp_path / "slow.py").write_text(INTERRUPTED)
    command = [sys.executable, tmp_path / "slow.py", "run", tmp_path / "c.yaml", *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, start_new_session=True, **pipes)
    assert process.stdout.readline() == "measuring\n"
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert "interrupted; run the same command again to go on" in error
    assert process.returncode == 130
    assert "Traceback" not in error
