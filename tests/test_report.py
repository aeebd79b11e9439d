"""report.html: what it says; that hostile texts stay texts, its size is bounded, and a browser has no complaints."""

import html.parser
import json
import os
import re
import shlex
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gpu_pile.present.tables import Unit
from gpu_pile.run import config
from gpu_pile.run.stages.report import examples, findings, page, stage
from gpu_pile.summaries import reason_counts
from tests.conftest import DEMO, decisions, run, settings, write_shard
from tests.test_cli import invoke
from tests.test_run import QUICK, words

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MOST_BYTES = 2_000_000

HOSTILE = [
    "<script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "</pre></title></svg><script>document.title='owned'</script>",
    "'\" onload=\"document.title='owned'\"",
    "{{ 7 * 191 }}{% raw %}",
    "\x1b[2J\x07\u202egnp.exe\x00",
    "&lt;b&gt; &amp; ]]>",
]


class Page(html.parser.HTMLParser):
    """Tags, ids, attributes that load something, and text."""

    VOID = ("meta", "br", "path", "wbr")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.loads, self.text = [], [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.loads += [
            v for k, v in attributes if k in ("src", "srcset", "data") or (k == "href" and not v.startswith("#"))
        ]
        assert not [k for k in given if k.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def demo_page(demo_run):
    return (demo_run / "report.html").read_text(encoding="utf-8")


def test_it_stands_by_itself(demo_page):
    parsed = Page(demo_page)
    assert parsed.loads == []
    assert not {"script", "link", "iframe", "img", "object"} & set(parsed.tags)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert "default-src 'none'" in demo_page
    assert len(demo_page.encode()) < MOST_BYTES
    assert "print-color-adjust: exact" in demo_page, "bars are printed"
    assert re.search(r"<title>[\d.,]+ to [\d.,]+: \d+ documents</title>", demo_page), "a bar says its count"
    for anchor in re.findall(r'href="#(\w+)"', demo_page):
        assert anchor in parsed.ids


def test_it_says_what_was_done(demo_page, demo_run):
    rows = decisions(demo_run)
    content = json.loads((demo_run / "report.json").read_text())
    text = Page(demo_page).text
    for said in (
        f"{len(rows):,}",
        f"{sum(r['keep'] for r in rows):,}",
        "16 bands of 8 rows",
        "by the epochs in this table",
    ):
        assert said in text
    for subset in {r["subset"] for r in rows}:
        assert subset in text
    for reason in content["reasons"]:
        assert reason["reason"] in text
    for bound in ("min 50", "max 100,000", "min 0.8"):
        assert bound in text
    both = sum("exact_duplicate" not in r["reasons"] and len(r["reasons"]) > 1 for r in rows)
    assert sum(o["documents"] for o in content["overlaps"]) >= both > 0
    largest = max(content["clusters"]["sizes"], key=lambda s: s["size"])["size"]
    assert f"{largest} documents" in text
    assert "MB/s of text" in text
    assert all(stage in text for stage in ("measure", "dedupe", "decide", "write"))


def test_the_flow_is_that_of_the_decisions(demo_run):
    rows = decisions(demo_run)
    duplicates = {"exact_duplicate", "near_duplicate"}
    content = json.loads((demo_run / "report.json").read_text())
    steps = {s["step"]: s for s in content["flow"]}
    failing = [r for r in rows if set(r["reasons"]) - duplicates]
    exact = [r for r in rows if not set(r["reasons"]) - duplicates and "exact_duplicate" in r["reasons"]]
    near = [r for r in rows if r["reasons"] == ["near_duplicate"]]
    assert [steps[s]["removed_documents"] for s in steps] == [len(failing), len(exact), len(near)]
    assert steps["near_duplicate"]["left_documents"] == content["kept_documents"]
    assert steps["near_duplicate"]["left_text_bytes"] == content["kept_text_bytes"]


def test_examples_are_removed_for_their_reason(demo_run):
    by_id = {r["doc_id"]: r for r in decisions(demo_run)}
    content = json.loads((demo_run / "report.json").read_text())
    found = examples.examples(run(settings_of(demo_run), "decide"))
    assert set(found) == {r["reason"] for r in content["reasons"]}
    for reason, shown in found.items():
        assert len(shown) == min(examples.PER_REASON, len([r for r in by_id.values() if reason in r["reasons"]]))
        for example in shown:
            row = by_id[example["doc_id"]]
            assert reason in row["reasons"]
            assert (row["shard"], row["line"], row["subset"]) == tuple(example[k] for k in ("shard", "line", "subset"))
            assert example.get("excerpt") or example["difference"]


def test_every_reason_is_explained(demo_page, demo_run):
    content = json.loads((demo_run / "report.json").read_text())
    reasons = {r["reason"]: r for r in content["reasons"]}
    rule = reasons["plain_word_count.min"]["rule"]
    assert rule.startswith("plain_word_count ≥ 50 in ")
    assert "Github" not in rule
    assert "similarity < 0.8" in reasons["near_duplicate"]["rule"]
    text = Page(demo_page).text
    for reason in reasons.values():
        assert reason["rule"] in text
        assert reason["definition"] in text
    assert "gpu-pile show" in text
    assert re.search(r"about \S+ tokens", text)


def test_near_duplicates_are_explained_as_they_are_resolved():
    said = {}
    for how in ("witness", "connected"):
        chosen = settings(["x"], Path("y"), dedupe={"fuzzy": {"resolve": how, "threshold": 0.7}})
        said[how] = findings.rule_of(chosen, "near_duplicate", [""]), findings.definition_of(chosen, "near_duplicate")
    assert said["witness"][0] == "similarity < 0.7 with every document that stays"
    assert said["connected"][0] == "one document of all that pairs with similarity ≥ 0.7 connect stays"
    assert ["chain" in definition for _, definition in said.values()] == [False, True]


def test_definitions_bring_those_they_refer_to():
    said = findings.definition_of(settings(["x"], Path("y")), "dup_line_fraction.max")
    assert "lines as in line_run_count" in said
    assert "line_run_count: lines: the text, split at runs of line feeds" in said


def test_notes_on_what_deserves_a_look(tmp_path):
    many = [(words(60, i), "web") for i in range(100)]
    write_shard(tmp_path / "a.jsonl.zst", [*many, *((words(3, i), "web") for i in range(50))])
    bounds = {"default": {"word_count": {"min": 10}}, "subsets": {"books": {"use": []}}}
    done = run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", thresholds=bounds))
    content = json.loads((tmp_path / "run" / "report.json").read_text())
    assert "web loses 33% of its documents to word_count.min" in content["notes"]
    assert done.reporter.notes == content["notes"]
    (warning,) = content["warnings"]
    assert "names the subset 'books'" in warning
    text = Page((tmp_path / "run" / "report.html").read_text()).text
    assert all(sentence in text for sentence in (warning, *content["notes"]))


def test_two_rules_that_do_most_of_the_work():
    rows = [("x", [f"s{i}.min"], n) for i, n in enumerate((500, 300, 20, 10, 5))] + [("x", ["near_duplicate"], 9000)]
    table = reason_counts.SCHEMA.empty_table().from_pylist(
        [{"subset": s, "reasons": r, "documents": n, "text_bytes": n} for s, r, n in rows], reason_counts.SCHEMA
    )
    (said,) = findings._two_rules(table)
    assert said == "s0.min and s1.min account for 96% of the 835 documents that fail a threshold"
    assert findings._two_rules(table.slice(1)) == []


def test_the_same_run_and_date_give_the_same_bytes(demo_copy):
    shown = []
    for date in ("2026-11-21", "2026-11-21", "2026-11-22"):
        context = run(settings_of(demo_copy), "write")
        context.reporter.command = "gpu-pile run 'my file.yaml' --set 'input.shards=[https://host/a?Signature=key]'"
        context.reporter.date = date
        stage.report(context)
        shown.append((demo_copy / "report.html").read_bytes())
    assert shown[0] == shown[1] != shown[2]
    assert b"2026-11-22" in shown[2]
    assert "gpu-pile run 'my file.yaml' --set 'input.shards=[https://host/a?...]'" in Page(shown[2].decode()).text


def test_the_command_line_passes_what_was_asked_and_when(demo_copy, monkeypatch):
    command = ["report", str(QUICK), "--set", f"input.shards=['{DEMO}']", "--set", f"output={demo_copy}"]
    monkeypatch.setattr("sys.argv", ["/somewhere/gpu-pile", *command])
    before = datetime.now(UTC).date().isoformat()
    assert invoke(*command)[0] == 0
    text = Page((demo_copy / "report.html").read_text()).text
    assert shlex.join(["gpu-pile", *command]) in text
    assert before in text or datetime.now(UTC).date().isoformat() in text


def test_damage_says_what_is_missing(tmp_path):
    write_shard(tmp_path / "whole.jsonl.zst", [(words(60, i), "") for i in range(2000)])
    whole = (tmp_path / "whole.jsonl.zst").read_bytes()
    (tmp_path / "whole.jsonl.zst").unlink()
    (tmp_path / "end.jsonl.zst").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "middle.jsonl.zst").write_bytes(whole[: len(whole) // 2] + whole)
    run(settings([tmp_path / "*.zst"], tmp_path / "run"))
    text = Page((tmp_path / "run" / "report.html").read_text()).text
    end, middle = text.index("end"), text.index("middle")
    assert "The rest of the shard is not in the output." in text[end:middle]
    assert "reading went on" in text[middle:]


def test_units_are_the_same_in_a_column():
    unit = Unit.of([3, 5_000_000])
    assert (unit.name, unit(5_000_000), unit(3), unit(0)) == ("MiB", "4.8", "<0.1", "0.0")
    assert (Unit.of([3]).name, Unit.of([])(0)) == ("B", "0")


def test_counts_by_reason_are_those_of_the_decisions(demo_run):
    rows = decisions(demo_run)
    for reason in json.loads((demo_run / "report.json").read_text())["reasons"]:
        having = [r for r in rows if reason["reason"] in r["reasons"]]
        assert reason["documents"] == len(having)
        assert reason["documents_only_this"] == sum(len(r["reasons"]) == 1 for r in having)
        assert sum(reason["by_subset"].values()) == len(having)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Hostile texts, subset names, bad lines, a field name and many subsets, in clusters so that excerpts are shown."""
    folder = tmp_path_factory.mktemp("hostile")
    documents = [(f"{text} {words(60, i)}", text) for i, text in enumerate(HOSTILE) for _ in range(3)]
    documents += [(words(8, i) + " #" * (i % 5), f"subset {i} " + "x" * 5000) for i in range(400)]
    bad = [b'{"<script>": 1}', b"<script>document.title='owned'</script>"]
    write_shard(folder / "a.jsonl.zst", [*documents, *bad])
    bounds = {
        "use": ["gopher"],
        "subsets": {HOSTILE[0]: {"use": []}, HOSTILE[1]: {"rules": {"word_count": {"min": 3}}}},
    }
    run(settings([folder / "a.jsonl.zst"], folder / "run", thresholds=bounds))
    return folder / "run" / "report.html"


def test_hostile_texts_stay_texts(hostile):
    shown = hostile.read_text(encoding="utf-8")
    parsed = Page(shown)
    assert "script" not in parsed.tags
    assert "img" not in parsed.tags
    assert "<script>document.title = 'owned'</script>" in parsed.text
    assert "{{ 7 * 191 }}" in parsed.text
    assert "\x1b" not in shown
    assert "\x00" not in shown
    assert "\u202e" not in shown
    assert len(shown.encode()) < MOST_BYTES
    assert "more" in parsed.text


@pytest.mark.parametrize(
    "options",
    [
        {"dedupe": {"fuzzy": {"enabled": False}}},
        {"dedupe": {"fuzzy": {"enabled": False}, "exact": {"enabled": False}}},
        {"dedupe": {"fuzzy": {"resolve": "connected", "verify": "sketch"}}},
        {"measure": {"signals": []}},
        {"write": {"removed": True}},
    ],
)
def test_reports_of_other_settings(tmp_path, options):
    write_shard(tmp_path / "a.jsonl.zst", [(words(60, i % 4) + " tail" * (i % 2), "") for i in range(9)])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", **options))
    parsed = Page((tmp_path / "run" / "report.html").read_text())
    assert "(unknown)" in parsed.text
    assert ("What the banding finds" in parsed.text) == options.get("dedupe", {}).get("fuzzy", {}).get("enabled", True)
    assert ("char_count" in parsed.text) == ("measure" not in options)
    assert "Pile weight" not in parsed.text, "a column of dashes"
    assert "Most in" not in parsed.text, "there is one subset"


def test_an_empty_corpus(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    assert "Nothing was removed" in Page((tmp_path / "run" / "report.html").read_text()).text


@pytest.mark.slow
def test_the_size_is_bounded(demo_copy, monkeypatch):
    """As many of everything as a large corpus may bring."""
    context = run(settings_of(demo_copy), "write")
    content = stage.build(context)
    shard = {**content["shards"][0], "damage": [{"offset": 1, "line": 2, "reason": "r" * 150}] * 200}
    content["shards"] = [{**shard, "name": f"s{i}" * 30} for i in range(3000)]
    content["subsets"] += [{**content["subsets"][0], "subset": f"subset {i} " * 20} for i in range(5000)]
    content["reasons"] = [{**content["reasons"][0], "reason": f"signal_number_{i}.min"} for i in range(200)]
    content["overlaps"] = [
        {"reasons": [f"signal_number_{i}.min", f"signal_number_{j}.min"], "documents": 7}
        for i in range(50)
        for j in range(i)
    ]
    content["bad_lines"]["first"] = [{"shard": "s" * 500, "line": 1, "reason": "r" * 200}] * 20
    content["clusters"]["sizes"] = [{"size": i + 2, "clusters": 3} for i in range(100_000)]
    content["config"]["input"]["shards"] = ["x" * 100] * 20_000
    shown = page.render(context, content)
    Page(shown)
    assert len(shown.encode()) < MOST_BYTES
    assert "more shards are damaged" in shown


def settings_of(folder):
    content = json.loads((folder / "run.json").read_text())
    return config.parse({**content["config"], "output": str(folder)})


def test_shards_that_are_gone(demo_copy, monkeypatch):
    """A run directory without its shards can be reported, without the texts of the largest clusters."""
    context = run(settings_of(demo_copy), "write")
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    shown = page.render(context, stage.build(context))
    assert "the shard is not there" in shown
    assert "The text is out of reach" in shown


def chromium(file: Path, tmp_path: Path, *options: str) -> subprocess.CompletedProcess:
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}/profile",
        "--enable-logging=stderr",
        "--v=0",
        "--virtual-time-budget=2000",
        *options,
        file.as_uri(),
    ]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "HOME": str(tmp_path)}
    )


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("which", ["demo", "hostile"])
def test_a_browser_has_no_complaints(which, demo_run, hostile, tmp_path):
    file = demo_run / "report.html" if which == "demo" else hostile
    done = chromium(file, tmp_path, "--dump-dom")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    assert "<title>run: gpu_pile report</title>" in done.stdout
    assert done.stdout.count("<h2") == 7
    assert done.stdout.count("<svg") == file.read_text().count("<svg")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_would_have_complained(tmp_path):
    """The check above sees what it looks for."""
    file = tmp_path / "bad.html"
    file.write_text("<title>x</title><script>console.error('seen'); nothing.here()</script>")
    assert "CONSOLE" in chromium(file, tmp_path, "--dump-dom").stderr


CUT = """
<iframe style="border: 0; width: WIDTHpx; height: 900px"></iframe>
<script>
  const frame = document.querySelector("iframe");
  frame.onload = () => {
    const inside = frame.contentDocument, width = frame.contentWindow.innerWidth;
    inside.querySelectorAll("details").forEach(e => { e.open = true });
    const cut = [...inside.querySelectorAll("body *")].filter(e => !e.closest("svg") && !e.closest("pre"))
      .filter(e => e.getBoundingClientRect().right > width + 1 || e.scrollWidth > e.clientWidth + 1 && e.clientWidth);
    document.title = "cut: " + JSON.stringify(cut.map(e => e.tagName + " " + e.textContent.slice(0, 40)));
  };
  frame.srcdoc = PAGE;
</script>
"""


def cut_off(page: str, width: int, tmp_path: Path) -> str:
    """What is cut off at a width in pixels, as Chromium shows it with every fold open: "cut: []" is nothing."""
    inside = json.dumps(page).replace("<", "\\u003c")
    (tmp_path / "around.html").write_text(CUT.replace("WIDTH", str(width)).replace("PAGE", inside))
    done = chromium(tmp_path / "around.html", tmp_path, "--dump-dom", "--window-size=1400,1000")
    return re.findall("<title>(.*?)</title>", done.stdout)[0]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(("width", "media"), [(375, "screen"), (1280, "screen"), (700, "print")])
@pytest.mark.parametrize("which", ["demo", "hostile"])
def test_nothing_is_cut_off(which, width, media, demo_run, hostile, tmp_path):
    """Neither on a phone nor on a screen nor on paper, with every fold open."""
    shown = (demo_run / "report.html" if which == "demo" else hostile).read_text()
    shown = shown.replace(">512<", ">210,607,728<")  # as many documents as The Pile has
    if media == "print":
        shown = shown.replace("@media print", "@media all").replace("@media screen", "@media not all")
    assert cut_off(shown, width, tmp_path) == "cut: []"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(demo_run, tmp_path, scheme):
    target = tmp_path / "page.png"
    dark = ["--force-dark-mode"] if scheme == "dark" else []
    done = chromium(demo_run / "report.html", tmp_path, *dark, "--window-size=800,600", f"--screenshot={target}")
    assert done.returncode == 0, done.stderr[-2000:]
    assert sum(first_pixel(target)) < 150 if scheme == "dark" else first_pixel(target) == (255, 255, 255)


def first_pixel(path: Path) -> tuple[int, ...]:
    """Red, green, blue of a PNG's upper left corner: no filter changes it, nothing is left of or above it."""
    import zlib

    raw = path.read_bytes()
    at, data = 8, b""
    while at < len(raw):
        size, kind = int.from_bytes(raw[at : at + 4], "big"), raw[at + 4 : at + 8]
        data += raw[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += 12 + size
    return tuple(zlib.decompress(data)[1:4])
