"""report.html: what it says; that hostile texts stay texts, its size is bounded, and a browser has no complaints."""

import html.parser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gpu_pile.run.stages import report
from tests.conftest import decisions, run, settings, write_shard
from tests.test_run import words

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
def page(demo_run):
    return (demo_run / "report.html").read_text(encoding="utf-8")


def test_it_stands_by_itself(page):
    parsed = Page(page)
    assert parsed.loads == []
    assert not {"script", "link", "iframe", "img", "object"} & set(parsed.tags)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert "default-src 'none'" in page
    assert len(page.encode()) < MOST_BYTES
    for anchor in re.findall(r'href="#(\w+)"', page):
        assert anchor in parsed.ids


def test_it_says_what_was_done(page, demo_run):
    rows = decisions(demo_run)
    content = json.loads((demo_run / "report.json").read_text())
    text = Page(page).text
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
    for bound in ("min 50", "max 100000", "min 0.8"):
        assert bound in text
    both = sum("exact_duplicate" not in r["reasons"] and len(r["reasons"]) > 1 for r in rows)
    assert sum(o["documents"] for o in content["overlaps"]) >= both > 0
    largest = max(content["clusters"]["sizes"], key=lambda s: s["size"])["size"]
    assert f"{largest} documents" in text
    assert "MB/s of text" in text
    assert all(stage in text for stage in ("measure", "dedupe", "decide", "write"))


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
    page = hostile.read_text(encoding="utf-8")
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert "img" not in parsed.tags
    assert "<script>document.title = 'owned'</script>" in parsed.text
    assert "{{ 7 * 191 }}" in parsed.text
    assert "\x1b" not in page
    assert "\x00" not in page
    assert "\u202e" not in page
    assert len(page.encode()) < MOST_BYTES
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


def test_an_empty_corpus(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    assert "Nothing was removed" in Page((tmp_path / "run" / "report.html").read_text()).text


def test_the_size_is_bounded(demo_copy, monkeypatch):
    """As many of everything as a large corpus may bring."""
    context = run(settings_of(demo_copy), "write")
    content = report.build(context)
    shard = {**content["shards"][0], "damage": [{"offset": 1, "line": 2, "reason": "r" * 150}] * 200}
    content["shards"] = [{**shard, "name": f"s{i}" * 30} for i in range(3000)]
    content["subsets"] = [{**content["subsets"][0], "subset": f"subset {i} " * 20} for i in range(5000)]
    content["reasons"] = [{**content["reasons"][0], "reason": f"signal_number_{i}.min"} for i in range(200)]
    content["overlaps"] = [
        {"reasons": [f"signal_number_{i}.min", f"signal_number_{j}.min"], "documents": 7}
        for i in range(50)
        for j in range(i)
    ]
    content["bad_lines"]["first"] = [{"shard": "s" * 500, "line": 1, "reason": "r" * 200}] * 20
    content["clusters"]["sizes"] = [{"size": i + 2, "clusters": 3} for i in range(100_000)]
    content["config"]["input"]["shards"] = ["x" * 100] * 20_000
    page = report.render(content, report.pictures(context, content))
    Page(page)
    assert len(page.encode()) < MOST_BYTES
    assert "more shards are damaged" in page


def settings_of(folder):
    from gpu_pile.run import config

    content = json.loads((folder / "run.json").read_text())
    return config.parse({**content["config"], "output": str(folder)})


def test_shards_that_are_gone(demo_copy, monkeypatch):
    """A run directory without its shards can be reported, without the texts of the largest clusters."""
    context = run(settings_of(demo_copy), "write")
    monkeypatch.setattr(Path, "is_file", lambda self: False)
    page = report.render(content := report.build(context), report.pictures(context, content))
    assert "the shard is not there" in page


def chromium(page: Path, tmp_path: Path, *options: str) -> subprocess.CompletedProcess:
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
        page.as_uri(),
    ]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "HOME": str(tmp_path)}
    )


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("which", ["demo", "hostile"])
def test_a_browser_has_no_complaints(which, demo_run, hostile, tmp_path):
    page = demo_run / "report.html" if which == "demo" else hostile
    done = chromium(page, tmp_path, "--dump-dom")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "CONSOLE" not in done.stderr
    assert "<title>gpu_pile report</title>" in done.stdout
    assert done.stdout.count("<h2") == 7
    assert done.stdout.count("<svg") == page.read_text().count("<svg")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_would_have_complained(tmp_path):
    """The check above sees what it looks for."""
    page = tmp_path / "bad.html"
    page.write_text("<title>x</title><script>console.error('seen'); nothing.here()</script>")
    assert "CONSOLE" in chromium(page, tmp_path, "--dump-dom").stderr


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
