"""gpu-pile decontaminate: what is inserted is found, what is found is there, and nothing is found twice or lost."""

import json
import random
import re
import signal
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.errors import ConfigError, DataError, UsageError
from gpu_pile.ops.ngram_hits import ngram_hits
from gpu_pile.run import config, pipeline
from gpu_pile.run.decontaminate import index as indexing
from gpu_pile.run.decontaminate import plan, scan, stage
from gpu_pile.run.decontaminate.items import read_items
from gpu_pile.text import tokens
from gpu_pile.text.blocks import padded
from gpu_pile.text.column import TextColumn
from gpu_pile.text.token_spans import find_spans
from tests import fake_gpu
from tests.conftest import HERE, write_shard
from tests.test_report import CHROMIUM, cut_off

WORDS = [a + b for a in ("ba", "co", "dü", "fi", "go", "Lé") for b in ("rn", "st", "ll", "mp", "ß", "ng")]
SEPARATORS = (" ", "\n", "  \t", ", ", " -- ", "\r\n\r\n", ".\n> ", "\u00a0", "\u3000", " (")


def sentence(rng, n):
    """Words that are rarely in the same order twice."""
    return [f"{rng.choice(WORDS)}{rng.randrange(50)}" for _ in range(n)]


def distorted(rng, text):
    """The same tokens in another case, with other white space and punctuation between them."""
    words = re.findall(r"[^\W_]+", text)
    change = rng.choice([str.upper, str.lower, str.title, str.swapcase, str])
    return "".join(change(w) + rng.choice(SEPARATORS) for w in words)


def write_lines(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values).encode()
    path.write_bytes(zstandard.compress(data) if path.suffix == ".zst" else data)


def make(folder):
    """A corpus of three shards, one with frames and one with a bad line, two sets, and where each item was inserted."""
    rng = random.Random(7)
    quiz = [
        {
            "id": i,
            "question": " ".join(sentence(rng, rng.randint(13, 30))) + "?",
            "answer": [" ".join(sentence(rng, 2))],
        }
        for i in range(40)
    ]
    quiz += [{"id": "short", "question": "Who wrote Hamlet?", "answer": ["Shakespeare"]}]
    quiz += [{"id": "boiler", "question": " ".join(sentence(rng, 20)), "answer": []}]
    exam = [
        {"q": {"stem": " ".join(sentence(rng, 15))}, "choices": ["a", None], "context": " ".join(sentence(rng, 40))}
    ]
    exam += [{"q": {"stem": "a few words only"}, "choices": ["b"], "context": " ".join(sentence(rng, 30))}]
    exam += [{"q": {"stem": ""}, "choices": [], "context": ""}]
    write_lines(folder / "sets" / "quiz.jsonl.zst", [*quiz, quiz[0], quiz[0]])
    pq.write_table(pa.Table.from_pylist(exam), folder / "sets" / "exam.parquet")
    documents = [" ".join(sentence(rng, rng.randint(30, 200))) + ". " + quiz[41]["question"] for _ in range(90)]
    inserted = {}
    for place, item in zip(rng.sample(range(2, 90), 36), quiz[:36], strict=True):
        halves = documents[place].split(" ", 9)
        documents[place] = " ".join([*halves[:9], distorted(rng, item["question"]), *halves[9:]])
        inserted["quiz", str(item["id"])] = place
    documents[0] += " " + distorted(rng, f"who wrote hamlet {'x ' * 20} shakespeare")
    documents[1] += " who wrote hamlet"
    inserted["quiz", "short"] = 0
    documents[70] += "\n" + distorted(rng, exam[0]["q"]["stem"])
    documents[71] += "\n" + distorted(rng, exam[0]["context"])  # a passage alone: its item has a question
    documents[72] += "\n" + distorted(rng, exam[1]["context"])
    inserted |= {("exam", "1"): 70, ("exam", "2"): 72}
    rows = [(t, f"subset {i % 3}") for i, t in enumerate(documents)]
    write_shard(folder / "in" / "a.jsonl.zst", [*rows[:5], b"not JSON", *rows[5:30]])
    frames = [rows[i : i + 6] for i in range(30, 60, 6)]
    for frame in frames:
        write_shard(folder / "frame.jsonl.zst", frame)
        with (folder / "in" / "b.jsonl.zst").open("ab") as out:
            out.write((folder / "frame.jsonl.zst").read_bytes())
    write_shard(folder / "in" / "c.jsonl.zst", rows[60:])
    places = {i: ("abc"[i // 30], i % 30 + 1 + (5 <= i < 30)) for i in range(90)}
    return {key: places[i] for key, i in inserted.items()}


def configuration(folder, out, **changes):
    data = {
        "input": {"shards": [str(folder / "in" / "*")], "range_bytes": 1},
        "output": str(folder / out),
        "workers": 2,
        "decontaminate": {
            "against": [
                {"name": "quiz", "files": str(folder / "sets" / "quiz.jsonl.zst"), "answers": "answer", "id": "id"},
                {
                    "name": "exam",
                    "files": str(folder / "sets" / "exam.parquet"),
                    **{"question": "q.stem", "passage": "context", "answers": "choices"},
                },
            ]
        },
    }
    data["decontaminate"] |= changes.pop("decontaminate", {})
    return config.parse({**data, **changes})


def decontaminate(settings):
    with pipeline.prepared(settings) as context:
        return stage.decontaminate(context)


def written(folder, out):
    """The bytes of every file that a run leaves, but for where the shards were."""
    root = folder / out / "contamination"
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file() and p.suffix != ".json"} | {
        "summary": (root / "summary.json").read_bytes()
    }


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decontaminate")
    inserted = make(folder)
    summary = decontaminate(configuration(folder, "out"))
    return folder, inserted, summary, pq.read_table(folder / "out" / "contamination" / "matches.parquet").to_pylist()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [375, 1280])
def test_the_report_is_not_cut_off(done, tmp_path, width):
    page = (done[0] / "out" / "contamination" / "report.html").read_text()
    assert cut_off(page, width, tmp_path) == "cut: []"


def test_every_inserted_item_is_found_and_nothing_else(done):
    _, inserted, summary, rows = done
    found = {(r["set"], r["item"]): (r["shard"], r["line"]) for r in rows if r["contaminated"]}
    assert found == inserted
    for row in rows:
        if row["contaminated"] and row["set"] == "quiz" and row["item"] != "short":
            assert row["question_share"] == row["score"] == 1
    assert summary["contaminated_documents"] == len(set(inserted.values()))
    assert sum(s["contaminated"] for s in summary["subsets"]) == summary["contaminated_documents"]


def test_spans_are_where_the_row_says(done):
    folder, _, _, rows = done
    texts = {}
    for shard in "abc":
        data = (folder / "in" / f"{shard}.jsonl.zst").read_bytes()
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as lines:
            content = lines.read()
        for n, line in enumerate(content.split(b"\n"), 1):
            if line.startswith(b"{"):
                texts[shard, n] = json.loads(line)["text"].encode()
    for row in rows:
        own = [
            len(tokens.reference_tokens(texts[row["shard"], row["line"]][s["start"] : s["end"]])) for s in row["spans"]
        ]
        assert own == [s["tokens"] for s in row["spans"]]
        assert row["longest"] == own[0]
        first = row["spans"][0]
        assert row["text"] == texts[row["shard"], row["line"]][first["start"] : first["end"]].decode()


def test_what_is_in_every_document_is_boilerplate(done):
    _, _, summary, rows = done
    boiler = [r for r in rows if r["item"] == "boiler"]
    assert len(boiler) == 90
    assert all(r["boilerplate"] and not r["contaminated"] and r["documents"] == 90 for r in boiler)
    quiz, exam = summary["sets"]
    assert (quiz["items"], quiz["distinct"], quiz["contaminated"], quiz["boilerplate"]) == (44, 42, 39, 1)
    assert (quiz["short"], exam["items"], exam["not_searched"], exam["matched"]) == (1, 3, 1, 0)
    assert summary["bad_lines"] == 1
    assert quiz["share"] == 39 / 44


def test_a_question_of_few_words_needs_its_answer(done):
    rows = [r for r in done[3] if r["item"] == "short"]
    assert [(r["line"], r["contaminated"], r["answer_share"]) for r in rows] == [(1, True, 1.0), (2, False, None)]


def test_other_rules_read_no_shard_again(done):
    folder, inserted, _, _ = done
    stamps = {p: p.stat().st_mtime_ns for p in (folder / "out" / "contamination" / "found").iterdir()}
    for rule, boiler in (("gpt3", False), ("pile", True)):
        summary = decontaminate(configuration(folder, "out", decontaminate={"rule": rule}))
        assert summary["sets"][0]["contaminated"] == 38 + boiler  # all but the short one
        rows = pq.read_table(folder / "out" / "contamination" / "matches.parquet").to_pylist()
        assert {("a", 1), ("a", 2)}.isdisjoint(
            {(r["shard"], r["line"]) for r in rows if r["item"] == "short" and r["contaminated"]}
        )
        assert (len([r for r in rows if r["contaminated"]]) > 90) == boiler
    assert stamps == {p: p.stat().st_mtime_ns for p in (folder / "out" / "contamination" / "found").iterdir()}
    decontaminate(configuration(folder, "out"))
    assert inserted


@pytest.mark.slow
def test_workers_blocks_and_an_interruption_change_no_byte(done, monkeypatch):
    folder, *_ = done
    decontaminate(configuration(folder, "out"))
    decontaminate(configuration(folder, "other", workers=1, batch_bytes=4096))
    expected = written(folder, "out")
    assert written(folder, "other") == expected
    look, calls = scan._look, []

    def failing(*args):
        calls.append(args)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return look(*args)

    monkeypatch.setattr(scan, "_look", failing)
    with pytest.raises(KeyboardInterrupt):
        decontaminate(configuration(folder, "again", workers=1))
    assert not (folder / "again" / "contamination" / "summary.json").exists()
    n = len(calls)
    decontaminate(configuration(folder, "again"))
    assert len(calls) - n < 7  # ranges that were done are not looked through again
    assert written(folder, "again") == expected


@pytest.mark.slow
def test_a_killed_process_goes_on_to_the_same_bytes(done):
    folder, *_ = done
    decontaminate(configuration(folder, "out"))
    code = (
        "import os, signal, sys\n"
        "from gpu_pile.run.decontaminate import scan\n"
        "close, n = scan.RangeScanner.close, [0]\n"
        "def closing(self):\n"
        "    n[0] += 1\n"
        "    close(self)\n"
        "    if n[0] >= 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "scan.RangeScanner.close = closing\n"
        "from pathlib import Path\n"
        "from tests.test_decontaminate import configuration, decontaminate\n"
        "decontaminate(configuration(Path(sys.argv[1]), 'killed'))\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(folder)], cwd=HERE.parent)
    assert killed.returncode == -signal.SIGKILL
    decontaminate(configuration(folder, "killed"))
    assert written(folder, "killed") == written(folder, "out")


@pytest.mark.slow
def test_backend_cuda_gives_the_same_bytes(done, monkeypatch):
    folder, *_ = done
    decontaminate(configuration(folder, "out"))
    fake_gpu.importable(monkeypatch)
    with pipeline.prepared(configuration(folder, "cuda", backend="cuda")) as context:
        stage.decontaminate(context)
        assert context.device.backend == "cuda"
    assert written(folder, "cuda") == written(folder, "out")


def test_contaminated_documents_are_removed(done):
    folder, inserted, _, _ = done
    decontaminate(configuration(folder, "out"))
    removals = folder / "out" / "contamination" / "removals.jsonl"
    settings = configuration(folder, "out", decide={"remove": [str(removals)]}, measure={"signals": ["lengths"]})
    with pipeline.prepared(settings) as context:
        pipeline.run_until(context, "decide")
    rows = [r for s in "abc" for r in pq.read_table(folder / "out" / "decisions" / f"{s}.parquet").to_pylist()]
    gone = {(r["shard"], r["line"]) for r in rows if "contaminated" in r["reasons"]}
    assert gone == set(inserted.values())


def read_lines(path):
    with zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True) as lines:
        return lines.read().split(b"\n")


def test_spans_are_cut_out_and_every_other_byte_stays(done):
    folder, inserted, _, rows = done
    decontaminate(configuration(folder, "cut", decontaminate={"cut": True}))
    assert all(not r["contaminated"] for r in matches(folder, "cut/contamination/cut", "clean"))
    spans = {}
    for row in rows:
        if row["contaminated"]:
            spans.setdefault((row["shard"], row["line"]), []).extend((s["start"], s["end"]) for s in row["spans"])
    for shard in "abc":
        was, now = (read_lines(folder / f / f"{shard}.jsonl.zst") for f in ("in", "cut/contamination/cut"))
        for n, (before, after) in enumerate(zip(was, now, strict=True), 1):
            if (shard, n) not in spans:
                assert after == before
                continue
            text = json.loads(before)["text"].encode()
            for start, end in sorted(set(spans[shard, n]), reverse=True):
                text = text[:start] + text[end:]
            assert json.loads(after) == {**json.loads(before), "text": text.decode()}
    stamps = {p: p.stat().st_mtime_ns for p in (folder / "cut" / "contamination" / "cut").iterdir()}
    decontaminate(configuration(folder, "cut", decontaminate={"cut": True}))
    decontaminate(configuration(folder, "cut"))  # what is there is not stale
    assert stamps == {p: p.stat().st_mtime_ns for p in (folder / "cut" / "contamination" / "cut").iterdir()}
    decontaminate(configuration(folder, "cut", decontaminate={"rule": "pile"}))
    assert not list((folder / "cut" / "contamination" / "cut").iterdir())
    assert inserted


def test_rows_are_not_cut(tmp_path):
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"text": ["a b c"]}), tmp_path / "in" / "a.parquet")
    write_lines(tmp_path / "sets.jsonl", [{"question": "a b c"}])
    sets = {"against": [{"name": "x", "files": str(tmp_path / "sets.jsonl")}], "cut": True}
    data = {"input": {"shards": str(tmp_path / "in"), "subset_field": "x"}, "output": str(tmp_path / "out")}
    with pytest.raises(UsageError, match=r"decontaminate\.cut edits the texts of JSON lines"):
        decontaminate(config.parse({**data, "decontaminate": sets}))
    decontaminate(config.parse({**data, "decontaminate": {**sets, "cut": False}}))
    assert [r["line"] for r in pq.read_table(tmp_path / "out" / "contamination" / "matches.parquet").to_pylist()] == [1]


def matches(folder, source, out):
    """The rows of another run, over the shards in this folder."""
    own = configuration(folder, out)
    decontaminate(config.parse({**own.model_dump(), "input": {"shards": [str(folder / source)]}}))
    return pq.read_table(folder / out / "contamination" / "matches.parquet").to_pylist()


def test_the_plan_reads_no_set(done):
    text = plan.describe(configuration(done[0], "plan"))
    assert "against    quiz: 1 file(s)" in text
    assert "memory     about" in text
    assert not (done[0] / "plan").exists()


@pytest.mark.slow
def test_the_page_shows_what_the_demo_prints(tmp_path):
    """docs/decontamination.md: its configuration is the one that is shipped, and its output that of the command."""
    page = (HERE.parent / "docs" / "decontamination.md").read_text()
    shipped = HERE / "data" / "evaluation" / "decontaminate.yaml"
    shown = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    assert shown == yaml.safe_load(shipped.read_text())
    command = [
        sys.executable,
        "-m",
        "gpu_pile.cli",
        "decontaminate",
        str(shipped),
        "--set",
        f"output={tmp_path / 'demo'}",
    ]
    done = subprocess.run([*command, "--quiet"], cwd=HERE.parent, capture_output=True, text=True, check=True)
    lines = [line.rstrip() for line in done.stdout.replace(str(tmp_path / "demo"), "demo").splitlines()]
    assert "\n".join(lines) in page


# against an exhaustive search


def common_runs(a, b, least):
    """(place in a, place in b, length) of all longest runs of equal tokens."""
    found = set()
    for i in range(len(a)):
        for j in range(len(b)):
            if a[i] == b[j] and not (i and j and a[i - 1] == b[j - 1]):
                n = 0
                while i + n < len(a) and j + n < len(b) and a[i + n] == b[j + n]:
                    n += 1
                if n >= min(least, len(b)):
                    found.add((i, j, n))
    return found


few_words = st.lists(st.sampled_from(["a", "b", "c", "é", "漢"]), max_size=40).map(" ".join)


@settings(deadline=None, max_examples=60)
@given(documents=st.lists(few_words, max_size=4), questions=st.lists(few_words, min_size=1, max_size=3))
def test_spans_are_those_of_an_exhaustive_search(tmp_path_factory, documents, questions):
    path = tmp_path_factory.getbasetemp() / "few.jsonl"
    write_lines(path, [{"question": f"{q} x"} for q in questions])
    items = read_items([config.EvaluationSet(name="few", files=[str(path)])])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexing, "SHARED_MAX", 10**6)
        patch.setattr(indexing, "CANDIDATES_MAX", 10**6)
        index = indexing.build_index(items)
    column = TextColumn.from_documents([f"{d} x {d}" for d in documents])
    hits = ngram_hits(column, *index.table, widths=index.widths)
    split = tokens.Tokens(*tokens.split_tokens(padded(column.data), column.offsets, tokens.TABLES))
    spans = find_spans(split, hits, items.tokens, index.starts)
    found = {(int(d), int(t), int(p - split.first[d]), int(a), int(n)) for d, t, a, p, n in zip(*spans, strict=True)}
    expected = set()
    for d, document in enumerate(column.documents()):
        own = [t.letters for t in tokens.reference_tokens(document)]
        for text in np.flatnonzero(items.searched).tolist():
            words = items.words(text).decode().split()
            expected |= {(d, text, i, j, n) for i, j, n in common_runs(own, words, tokens.WIDTH)}
    assert found == expected


def test_equal_items_and_a_line_in_every_document_cost_what_they_weigh(tmp_path, monkeypatch):
    """5,000 equal items, 2,000 items that share a beginning, 300 documents with that beginning: few comparisons."""
    rng = random.Random(1)
    line = " ".join(sentence(rng, 12))
    same = [{"question": f"{line} and nothing else"}] * 5000
    near = [{"question": f"{line} {' '.join(sentence(rng, 8))}"} for _ in range(2000)]
    write_lines(tmp_path / "sets.jsonl", [*same, *near])
    write_shard(
        tmp_path / "in" / "a.jsonl.zst", [(f"{line} {i} " + near[0]["question"] * (i == 9), "s") for i in range(300)]
    )
    seeds, count = [], scan.find_spans

    def counting(documents, hits, texts, starts):
        seeds.append(int((starts.first[hits[2] + 1] - starts.first[hits[2]]).sum()))
        return count(documents, hits, texts, starts)

    monkeypatch.setattr(scan, "find_spans", counting)
    sets = [{"name": "all", "files": str(tmp_path / "sets.jsonl")}]
    settings = config.parse(
        {"input": str(tmp_path / "in"), "output": str(tmp_path / "out"), "decontaminate": {"against": sets}}
    )
    summary = decontaminate(settings)
    assert sum(seeds) <= 300 * indexing.SHARED_MAX
    assert (summary["sets"][0]["items"], summary["sets"][0]["distinct"]) == (7000, 2001)
    assert summary["sets"][0]["contaminated"] == 1
    assert summary["contaminated_documents"] == 1


def test_documents_end_where_measure_stops(tmp_path):
    """After too many bad lines; whatever the size of a block."""
    rng = random.Random(2)
    questions = [" ".join(sentence(rng, 20)) for _ in range(4)]
    write_lines(tmp_path / "sets.jsonl", [{"question": q} for q in questions])
    bad = [b"bad"] * 2
    texts = [(f"{questions[i % 4]} {' '.join(sentence(rng, 300))}", "s") for i in range(12)]
    write_shard(tmp_path / "in" / "a.jsonl.zst", [*texts[:5], *bad, *texts[5:9], b"bad", *texts[9:]])
    found = []
    for n_bytes in (4096, 2**20):
        sets = [{"name": "all", "files": str(tmp_path / "sets.jsonl")}]
        out = tmp_path / str(n_bytes)
        data = {"input": {"shards": str(tmp_path / "in"), "bad_lines_max": 2}, "output": str(out)}
        decontaminate(config.parse({**data, "batch_bytes": n_bytes, "decontaminate": {"against": sets}}))
        found.append(written(tmp_path, str(n_bytes)))
        summary = json.loads(found[-1]["summary"])
        assert (summary["documents"], summary["contaminated_documents"], summary["bad_lines"]) == (9, 9, 3)
    assert found[0] == found[1]


# what cannot be done


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        ([], DataError, r"evaluation set 'quiz' has no items in .*x\.jsonl"),
        (
            [{"prompt": "a b"}],
            ConfigError,
            r"no item has a text there \(question: question\); .* line 1 has the fields 'prompt'",
        ),
        (["text"], DataError, r"x\.jsonl, line 1 is not a JSON object: got str"),
    ],
)
def test_sets_that_cannot_be_used(tmp_path, lines, error, message):
    write_lines(tmp_path / "x.jsonl", lines)
    with pytest.raises(error, match=message):
        read_items([config.EvaluationSet(name="quiz", files=[str(tmp_path / "x.jsonl")])])


def test_a_line_that_is_not_json_is_an_error(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"question": "a"}\n{"question": \n')
    with pytest.raises(DataError, match=r"x\.jsonl, line 2 is not JSON"):
        read_items([config.EvaluationSet(name="quiz", files=[str(tmp_path / "x.jsonl")])])
    (tmp_path / "y.jsonl.zst").write_bytes(zstandard.compress(b'{"question": "a"}\n')[:-3])
    with pytest.raises(DataError, match=r"y\.jsonl\.zst, after line"):
        read_items([config.EvaluationSet(name="quiz", files=[str(tmp_path / "y.jsonl.zst")])])


def test_configurations_that_say_too_little(tmp_path):
    write_shard(tmp_path / "in" / "a.jsonl.zst", [("a", "s")])
    base = {"input": str(tmp_path / "in"), "output": str(tmp_path / "out")}
    with pytest.raises(ConfigError, match=r"decontaminate\.against is empty: name evaluation sets"):
        decontaminate(config.parse(base))
    one = {"name": "x", "files": "x.jsonl"}
    with pytest.raises(UsageError, match=r"^evaluation set 'x', files: x\.jsonl names no file"):
        decontaminate(config.parse({**base, "decontaminate": {"against": [one]}}))
    with pytest.raises(ConfigError, match="two sets are named 'x'"):
        config.parse({**base, "decontaminate": {"against": [one, one]}})
    with pytest.raises(ConfigError, match="give the paths of question, of passage, or of both"):
        config.parse({**base, "decontaminate": {"against": [{**one, "question": []}]}})
