import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from itertools import takewhile

import pytest
import yaml
import zstandard
from rich.console import Console
from typer.testing import CliRunner

import gpu_pile as gp
from gpu_pile import cli
from gpu_pile.cli import catalogue
from gpu_pile.errors import GpuPileError
from gpu_pile.present.tables import human_bytes
from gpu_pile.run.events import Events, line_of
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


def test_run_without_a_file_prints_the_configuration_which_decides_the_same(tmp_path):
    given = ("--use", "gopher", "--use", "gopher_repetition", "--threshold", "0.75", "--workers", "1")
    code, _, printed = invoke("decide", DEMO, "-o", tmp_path / "a", *given)
    assert code == 0
    text = "".join(takewhile(lambda line: "shard(s)" not in line, printed.splitlines(keepends=True)))
    (tmp_path / "c.yaml").write_text(text)
    shown = yaml.safe_load(text)
    assert (shown["workers"], shown["thresholds"]) == (1, {"use": ["gopher", "gopher_repetition"]})
    assert invoke("decide", tmp_path / "c.yaml", "--output", tmp_path / "b")[0] == 0
    rows = decisions(tmp_path / "a")
    assert rows == decisions(tmp_path / "b")
    assert any("dup_line_fraction.max" in r["reasons"] for r in rows)


def test_data_may_stand_beside_a_configuration(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [("some words", "x")])
    (tmp_path / "c.yml").write_text("input: none/*.zst\noutput: nowhere\n")
    shard, run = tmp_path / "a.jsonl.zst", tmp_path / "run"
    for source in ([tmp_path / "c.yml"], ["--config", "pile"], ["--config", tmp_path / "c.yml"]):
        code, output, _ = invoke("run", *source, shard, "-o", run, "--dry-run", "--workers", "3")
        assert code == 0
        assert "1 shard(s)" in output
        assert "workers: 3" in output
        assert str(run) in output
    assert "-o FOLDER" in invoke("run", shard)[2]
    for wrong, said in [
        ([], "there is nothing to read"),
        (["--config", "plie"], "no configuration named 'plie'; there are: pile, quickstart"),
        ([tmp_path / "c.yml", "--config", "pile"], "one configuration is expected, not 2"),
        ([shard, "-o", run, "--threshold", "0"], "--threshold 0.0: dedupe.fuzzy.threshold: Input should be greater"),
        ([tmp_path / "none", "-o", run], "none"),
    ]:
        code, _, error = invoke("run", *wrong)
        assert code == 2
        assert said in error
    assert not run.exists()


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


def test_dry_run_expects_more_than_the_input_where_that_is_compressed_harder(tmp_path):
    line = json.dumps({"text": " ".join(str(i * i) for i in range(60_000))}).encode() + b"\n"
    (tmp_path / "hard.jsonl.zst").write_bytes(zstandard.ZstdCompressor(19).compress(line))
    (tmp_path / "plain.jsonl").write_bytes(line)
    hard, plain = (
        invoke("run", tmp_path / name, "-o", tmp_path / "r", "--dry-run")[1]
        for name in ("hard.jsonl.zst", "plain.jsonl")
    )
    size = human_bytes(len(zstandard.ZstdCompressor(3).compress(line)))
    assert f"kept at most about {size}, as the input is compressed harder than at write.level 3" in hard
    assert f"kept at most about {human_bytes(len(line))}; " in plain


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
    for name in ("a.jsonl", "a.jsonl.zst"):
        write_shard(tmp_path / "sub" / name, [("other words", "x")])
    config = tmp_path / "c.yaml"

    def error_of(text, *more):
        config.write_text(text)
        code, _, error = invoke("run", config, *more)
        assert code == 2, error
        assert not (tmp_path / "run").exists()
        return error

    out = f"output: {tmp_path}/run\n"
    assert "names no file" in error_of(f"input: {{shards: ['{tmp_path}/none-*.zst']}}\n{out}")
    assert "no file named" in error_of(f"input: {{shards: ['{HERE}/emulator']}}\n{out}")
    assert "two inputs have the name 'a'" in error_of(f"input: {{shards: ['{tmp_path}/sub/a.jsonl*']}}\n{out}")
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


def test_show_takes_places_and_reasons(demo_run):
    rows = decisions(demo_run)
    one = next(r for r in rows if r["reasons"] == ["plain_word_count.min"])
    by_place = invoke("show", demo_run, f"{one['shard']}:{one['line']}")
    assert by_place == invoke("show", demo_run, one["doc_id"])
    assert "passes" in by_place[1]
    assert "hash_per_word" in invoke("show", demo_run, one["doc_id"], "--all")[1]
    story = json.loads(invoke("show", demo_run, one["doc_id"], "--json")[1])
    unbounded = set(story["signals"]) - set(story["thresholds"])
    lines = by_place[1].split("signal", 1)[1].splitlines()
    assert not unbounded & {line.split()[0] for line in lines if line.split()}
    for reason in ("near_duplicate", "plain_word_count.min"):
        shown = invoke("show", demo_run, "--reason", reason, "-n", "3", "--json")[1].splitlines()
        expected = [r["doc_id"] for r in rows if reason in r["reasons"]][:3]
        assert [json.loads(line)["doc_id"] for line in shown] == expected
    for wrong, said in [
        (["--reason", "near_duplicat"], "no document was removed for 'near_duplicat'; there are: "),
        (["00:x"], "expected a doc_id or SHARD:LINE"),
        (["00:0"], "expected a doc_id or SHARD:LINE"),
        (["no:1"], "the run has no shard 'no'"),
        ([f"00:{10**12}"], "expected a doc_id or SHARD:LINE"),
        (["00:999999"], "line 999999 of shard 00 is not a document"),
        ([], "which documents?"),
        (["--random", "--reason", "near_duplicate"], "--reason and --random choose different documents"),
        (["--cluster", next(r["doc_id"] for r in rows if r["cluster"] is None)], "has no duplicates"),
        (["--cluster", f"00:{10**11}"], "is not a document"),
    ]:
        code, _, error = invoke("show", demo_run, *wrong)
        assert code == 2
        assert said in error


def test_show_takes_clusters_and_documents_at_random(demo_run):
    def shown(*arguments):
        code, output, said = invoke("show", demo_run, "--json", *arguments)
        assert code == 0
        return [json.loads(line)["doc_id"] for line in output.splitlines() if line[0] == "{"], output + said

    rows = decisions(demo_run)
    removed = next(r for r in rows if r["reasons"] == ["near_duplicate"])
    members = [r for r in rows if r["cluster"] == removed["cluster"]]
    expected = [r["doc_id"] for r in sorted(members, key=lambda r: (not r["keep"], r["doc_id"]))]
    kept = sum(r["keep"] for r in members)
    for name in (removed["cluster"], removed["doc_id"], f"{removed['shard']}:{removed['line']}"):
        found, said = shown("--cluster", name, "-n", 1000)
        assert found == expected
        assert f"{len(members)} documents in the cluster of {name}, {kept} kept\n" in said
    found, said = shown("--cluster", removed["doc_id"], "-n", "1")
    assert found == expected[:1]
    assert f"-n {len(members)} shows all" in said
    found, _ = shown("--random", "-n", "7")
    assert len(set(found)) == 7
    assert found == sorted(found) == shown("--random", "-n", "7", "--seed", "0")[0]
    assert found != shown("--random", "-n", "7", "--seed", "1")[0]
    assert gp.open_run(demo_run).at_random(10**6) == [r["doc_id"] for r in rows]


def test_sweep(demo_run):
    code, output, _ = invoke("sweep", demo_run, "plain_word_count", "--min", "20", "--min", "200")
    assert code == 0
    assert output.splitlines()[1].split() == ["subset", "documents", "text,", "KiB", "20", "200"]
    assert output.splitlines()[2].split() == ["all", "512", "1,060.1", "99.7%", "85.5%"]
    code, output, _ = invoke("sweep", demo_run, "plain_word_count", "--min", "50", "--max", "1000", "--json")
    rows = {row["subset"]: row for row in map(json.loads, output.splitlines())}
    assert rows["Github"]["kept_documents"] == 180
    for wrong, said in [
        ((), "--min 50"),
        (("--min", "nan"), "needs bounds"),
        (("--min", "x"), "Invalid value for '--min'"),
    ]:
        code, output, error = invoke("sweep", demo_run, "plain_word_count", *wrong)
        assert code == 2
        assert said in output + error
    assert "did you mean 'word_count'" in invoke("sweep", demo_run, "word_cont", "--min", "5")[2]


LISTS = [
    ("signals", "alpha_word_fraction"),
    ("ops", "text_counts"),
    ("backends", "cpu"),
    ("thresholds", "gopher"),
    ("subsets", "Wikipedia (en)"),
]


LISTS_SHOW = {
    "signals": ("characters",),
    "thresholds": ("gopher_repetition", "Gopher repetition rules"),
    "subsets": ("PubMed Abstracts",),
}


@pytest.mark.parametrize(("what", "there"), LISTS)
def test_list(what, there):
    code, output, _ = invoke("list", what)
    assert code == 0
    assert there in output


@pytest.mark.parametrize("columns", [80, 120])
def test_lists_fit_a_terminal(columns, monkeypatch):
    wide = Console(width=columns, force_terminal=True, color_system=None, highlight=False, soft_wrap=True)
    monkeypatch.setattr(catalogue, "out", wide)
    for what, _ in LISTS:
        with wide.capture() as shown:
            catalogue.list_(what)
        lines = shown.get().splitlines()
        assert max(map(len, lines)) <= columns
        assert len(lines) < 600, "definitions are not narrow columns"
        for words in LISTS_SHOW.get(what, ()):
            assert words in shown.get(), "no word is broken"


def test_list_some():
    def signals(*names):
        return [json.loads(line) for line in invoke("list", "signals", *names, "--json")[1].splitlines()]

    every = signals()
    assert signals("nemo") == [s for s in every if s["family"] == "nemo"]
    chosen = signals("gopher_quality", "word_count")
    assert chosen == [s for s in every if s["family"] == "gopher_quality" or s["signal"] == "word_count"]
    code, output, _ = invoke("list", "thresholds", "gopher")
    assert code == 0
    assert any(line.split() == ["gopher", "plain_word_count", "50", "100000"] for line in output.splitlines())
    assert len(invoke("list", "backends", "cpu")[1].splitlines()) == 2
    for wrong, said in [
        (["signals", "gopher_qualty"], "did you mean 'gopher_quality'?"),
        (["thresholds", "gohper"], "did you mean 'gopher'?"),
        (["backends", "x"], "known are: cpu, cuda"),
    ]:
        code, _, error = invoke("list", *wrong)
        assert code == 2
        assert said in error


def test_list_and_doctor():
    code, output, _ = invoke("list")
    assert code == 0
    assert [line.split()[0] for line in output.splitlines()] == ["list", *(what for what, _ in LISTS)]
    assert invoke("list", "nothing")[0] == 2
    code, _, error = invoke("list", "signals", "nothing")
    assert code == 2
    assert len(error) < 400, "families, not every signal"
    code, output, _ = invoke("doctor")
    assert code == 0
    assert "numba" in output
    assert "CUDA" in output or "compute capability" in output


@pytest.mark.slow
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
    entry = json.loads((tmp_path / "run" / "timings.json").read_text())["measure"]
    assert f"after {entry['compile_seconds']:.1f} s of compiling" in error  # a sleep may take longer
    assert re.search(r"kernels in \d\.\d s", error)
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


def words_config(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [("some words", "x")] * 2)
    (tmp_path / "c.yaml").write_text(f"input: {{shards: ['{tmp_path}/a.jsonl.zst']}}\noutput: {tmp_path}/run\n")
    return tmp_path / "c.yaml"


def test_each_stage_has_a_line_with_its_time_and_the_end_names_what_to_do_next(tmp_path):
    log = tmp_path / "log"
    code, output, error = invoke("run", words_config(tmp_path), "--log-file", log)
    assert code == 0
    assert "2 documents" in output
    for stage in ("measure", "dedupe", "decide", "write", "report"):
        assert len(re.findall(rf"^\d\d:\d\d:\d\d +{stage}: \d+\.\d s", error, re.MULTILINE)) == 1
    steps = [line.split("  ")[-1].strip() for line in error.partition("next:\n")[2].splitlines()[:3]]
    assert steps == [
        f"xdg-open {tmp_path}/run/report.html",
        f"gpu-pile show {tmp_path}/run --reason exact_duplicate -n 1",
        f"python: datasets.load_dataset(\"json\", data_files='{tmp_path}/run/kept/*.jsonl.zst', "
        'split="train", streaming=True)',
    ]
    assert "exact_duplicate" in invoke(*shlex.split(steps[1])[1:])[1]
    lines = log.read_text().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    assert {line.split()[1] for line in lines} >= {"measure:", "report:"}


def test_quiet_and_json(tmp_path):
    code, output, error = invoke("run", words_config(tmp_path), "--quiet")
    assert (code, error) == (0, "")
    assert "2 documents" in output
    code, output, _ = invoke("decide", words_config(tmp_path), "--json", "--set", f"output={tmp_path}/again")
    events = [json.loads(line) for line in output.splitlines()]
    ends = [event for event in events if event["event"] == "end"]
    assert [event["stage"] for event in ends] == ["measure", "dedupe", "decide"]
    assert all({"time", "seconds", "cpu_seconds"} <= set(event) for event in ends)


def test_a_log_file_that_cannot_be_written(tmp_path):
    code, _, error = invoke("run", words_config(tmp_path), "--log-file", tmp_path)
    assert code == 2
    assert f"--log-file {tmp_path}: Is a directory" in error
    assert not (tmp_path / "run").exists()


def test_a_stage_at_work_is_told_about_every_few_seconds():
    told = []
    reporter = Events(told.append, every=0.02)
    with reporter.stage("measure", 1000):
        reporter.advance("measure", 250)
        until = time.monotonic() + 30
        while len(told) < 3 and time.monotonic() < until:
            time.sleep(0.01)
    reporter.close()
    assert [event["event"] for event in told[:2]] == ["begin", "progress"]
    assert (told[1]["share"], told[1]["bytes_done"], told[-1]["event"]) == (0.25, 250, "end")
    assert re.fullmatch(r" measure: 25% read, .* MB/s of compressed bytes, \d+:\d\d left", line_of(told[1]))


def test_help_groups_the_commands():
    shown = invoke("--help")[1]
    order = ("─ Running ─", "│ run ", "─ Finished runs ─", "│ show ", "─ This installation ─", "│ list ")
    places = [shown.index(words) for words in order]
    assert places == sorted(places)


def test_the_shell_completes_commands():
    environment = {**os.environ, "_GPU_PILE_COMPLETE": "complete_bash", "COMP_WORDS": "gpu-pile ver", "COMP_CWORD": "1"}
    code = "import sys; from gpu_pile import cli; cli.app(prog_name='gpu-pile')"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["verify"]
