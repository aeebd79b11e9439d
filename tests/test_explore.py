"""What the exploring functions answer, against the tables and texts themselves."""

import itertools
import json
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import gpu_pile as gp
from gpu_pile.errors import ConfigError, DataError, UsageError
from gpu_pile.present import charts, diff
from gpu_pile.present.tables import Result
from gpu_pile.run import config, pipeline
from gpu_pile.summaries import histograms, reason_counts, samples
from tests.conftest import DEMO, decisions, results, run, settings, write_shard
from tests.test_cli import invoke
from tests.test_run import QUICK, shard_lines, words


@pytest.fixture(scope="module")
def opened(demo_run):
    return gp.open_run(demo_run)


@pytest.fixture(scope="module")
def frame(opened):
    """Signals and decisions of every document, as one pandas table."""
    table = opened.signals.to_pandas()
    decided = opened.decisions.to_pandas(columns=["doc_id", "keep", "reasons"])
    return table.merge(decided, on="doc_id")


# the grid


def test_edges_are_the_decimals_people_write():
    for text in ("0", "0.1", "0.3", "0.8", "0.95", "0.001", "3", "10", "50", "99", "100", "110", "100000", "-0.25"):
        assert histograms.is_edge(float(text)), text
    for value in (0.805, 101, 1e20, float("nan"), float("inf")):
        assert not histograms.is_edge(value)
    assert (np.diff(histograms.EDGES) > 0).all()
    assert (-histograms.EDGES[::-1] == histograms.EDGES).all()


@hypothesis_settings(deadline=None)
@given(st.lists(st.one_of(st.floats(), st.sampled_from([*histograms.EDGES[::97].tolist(), 0.0, -0.0, 0.1, 0.3]))))
def test_cells(values):
    cells = histograms.cells_of(np.array(values, np.float64))
    for value, cell in zip(values, cells.tolist(), strict=True):
        if np.isnan(value):
            assert cell == -1
            continue
        low, high = histograms.bounds_of(cell)
        assert low == value == high if low == high else low < value < high or (value in (low, high) and np.isinf(value))
        middle = histograms.midpoints()[cell]
        near = histograms.EDGES[max(0, cell // 2 - 2) : cell // 2 + 2]
        assert ((near < value) == (near < middle)).all()
        assert ((near > value) == (near > middle)).all()


def test_cells_of_all_edges_and_their_neighbours():
    edges = histograms.EDGES
    values = np.concatenate([edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf), edges * 1.003])
    below, at_most = np.searchsorted(edges, values, "left"), np.searchsorted(edges, values, "right")
    assert (histograms.cells_of(values) == below + at_most).all()
    assert np.diff(histograms.EDGES_BELOW).max() == 1, "one comparison is enough"


@pytest.mark.parametrize("signal", ["plain_word_count", "alpha_word_fraction", "mean_line_length", "hash_per_word"])
def test_histograms_count_every_document(opened, frame, signal):
    table = opened.histogram(signal).table.to_pandas()
    expected = frame.groupby("subset").agg(documents=("line", "size"), text_bytes=("text_bytes", "sum"))
    found = table.groupby("subset")[["documents", "text_bytes"]].sum()
    defined = frame[frame[signal].notna()].groupby("subset").size()
    assert found.documents.to_dict() == defined.to_dict()
    assert (found.text_bytes <= expected.text_bytes).all()
    for row in table.sample(30, random_state=1).itertuples():
        inside = frame[(frame.subset == row.subset) & (frame[signal] >= row.low) & (frame[signal] <= row.high)]
        if row.low < row.high:
            inside = inside[(inside[signal] > row.low) & (inside[signal] < row.high)]
        assert (row.documents, row.text_bytes) == (len(inside), inside.text_bytes.sum())
    whole = opened.histogram(signal, by=None)
    assert whole.table.column("documents").to_numpy().sum() == defined.sum()
    assert whole._repr_html_().count("<svg") == 1
    shown = opened.histogram(signal)._repr_html_()
    titles = re.findall(r"<figcaption>(.*?) <small>", shown)
    sizes = sorted(defined.items(), key=lambda item: (-item[1], item[0]))
    assert titles == ["all subsets", *(name for name, _ in sizes)]
    ticks = [re.findall(r'y="105.0"[^>]*>([^<]*)', chart) for chart in shown.split("<svg")[1:]]
    assert all(t == ticks[0] for t in ticks), "one scale"


@given(
    st.dictionaries(st.integers(0, histograms.CELLS - 1), st.integers(1, 10**9), min_size=1, max_size=40),
    st.lists(st.floats(-1e6, 1e6), max_size=2),
)
@hypothesis_settings(deadline=None)
def test_a_picture_holds_all_documents_and_bounds(counts, bounds):
    cells, documents = np.array(sorted(counts)), np.array([counts[c] for c in sorted(counts)])
    limits, logarithmic = histograms.limits_of(cells, documents, bounds)
    bars = histograms.bars_of(cells, documents, limits)
    assert np.isclose(bars.sum(), documents.sum(), rtol=1e-9)
    assert (np.diff(limits) > 0).all()
    assert (bars > -1e-6 * documents.sum()).all()
    for bound in bounds:
        assert limits[-1] >= bound
        assert limits[0] <= bound or (logarithmic and bound < 1)


def test_histograms_do_not_grow_with_the_names_of_subsets(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [("some words here", f"s{i}") for i in range(3 * histograms.SUBSETS_MAX)])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    table = gp.open_run(tmp_path / "run").histogram("word_count").table
    assert len(pc.unique(table.column("subset"))) == histograms.SUBSETS_MAX + 1
    assert pc.sum(table.column("documents")).as_py() == 3 * histograms.SUBSETS_MAX
    assert histograms.OTHERS in table.column("subset").to_pylist()


# sweeps


def swept(frame, bounds):
    """Documents and bytes that pass, by subset, with pandas."""
    passing = np.ones(len(frame), bool)
    for key, bound in bounds.items():
        signal, _, kind = key.rpartition(".")
        value = frame[signal]
        passing &= (value >= bound if kind == "min" else value <= bound) | value.isna()
    return frame[passing].groupby("subset").text_bytes.agg(["size", "sum"])


@pytest.mark.parametrize(
    "given_",
    [
        {"plain_word_count": {"min": [20, 50, 100]}},
        {"plain_word_count": {"max": [50, 1000]}},
        {"plain_word_count": {"min": [51.5, 1234]}},
        {"alpha_word_fraction": {"min": [0.7, 0.8, 1]}},
        {"hash_per_word": {"max": [0, 0.1]}},
        {"alpha_word_fraction": {"min": [0.7, 0.8]}, "plain_word_count": {"min": [50], "max": [500, 333]}},
    ],
)
def test_sweeps_are_exact(opened, frame, given_):
    table = opened.sweep(given_).table.to_pandas()
    keys = [f"{signal}.{kind}" for signal, b in given_.items() for kind in b]
    combinations = list(itertools.product(*(sorted(v) for b in given_.values() for v in b.values())))
    assert len(table) == len(combinations) * frame.subset.nunique()
    for values in combinations:
        bounds = dict(zip(keys, values, strict=True))
        expected = swept(frame, bounds)
        rows = table
        for key, value in bounds.items():
            rows = rows[rows[key] == value]
        for row in rows.itertuples():
            want = expected.loc[row.subset] if row.subset in expected.index else {"size": 0, "sum": 0}
            assert (row.kept_documents, row.kept_text_bytes) == (want["size"], want["sum"])
            assert row.documents == (frame.subset == row.subset).sum()


def test_a_sweep_shows_one_row_per_subset(opened, frame):
    found = opened.sweep("plain_word_count", min=[50, 200])
    shown = found.shown.to_pylist()
    text = frame.groupby("subset").text_bytes.sum()
    assert [r["subset"] for r in shown] == ["all", *sorted(text.index, key=lambda name: -text[name])]
    for row in shown:
        own = frame if row["subset"] == "all" else frame[frame.subset == row["subset"]]
        for bound in (50, 200):
            passing = own[own.plain_word_count >= bound].text_bytes.sum()
            assert row[str(bound)] == pytest.approx(passing / own.text_bytes.sum())


def test_sweep_and_histogram_say_what_is_wrong(opened):
    with pytest.raises(UsageError, match="did you mean 'word_count'"):
        opened.histogram("word_cuont")
    with pytest.raises(UsageError, match="needs bounds"):
        opened.sweep("word_count")
    with pytest.raises(UsageError, match="needs bounds"):
        opened.sweep("word_count", min=[])
    with pytest.raises(UsageError, match="'subset' or None"):
        opened.histogram("word_count", by="shard")


# samples and texts


def test_samples_reach_everywhere_and_depend_on_the_texts_alone(tmp_path):
    texts = [words(1 + i * 7 % 900, i) for i in range(700)]
    write_shard(tmp_path / "a.jsonl.zst", [(t, "x") for t in texts])
    tables = []
    for name, batch_bytes in (("one", 1 << 22), ("two", 3000)):
        run(settings([tmp_path / "a.jsonl.zst"], tmp_path / name, batch_bytes=batch_bytes))
        tables.append(gp.open_run(tmp_path / name).sample)
    assert tables[0].equals(tables[1])
    rows = tables[0].to_pylist()
    counts = [r["word_count"] for r in rows]
    for low, high in [(1, 1), (2, 2), (10, 19), (100, 199), (800, 899)]:
        there = sum(low <= len(t.split()) <= high for t in texts)
        assert sum(low <= c <= high for c in counts) >= min(samples.PER_RANGE, there) > 0, (low, high)
    assert len(rows) < len(texts)
    for r in rows:
        assert texts[r["doc_id"]].startswith(r["excerpt"])
        assert len(r["excerpt"]) == min(len(texts[r["doc_id"]]), samples.EXCERPT_BYTES)


@hypothesis_settings(deadline=None)
@given(st.lists(st.text(alphabet="aé漢😀", max_size=700), max_size=5))
def test_excerpts_are_cut_between_characters(texts):
    from gpu_pile.text.column import TextColumn

    found = samples.excerpts_of(TextColumn.from_documents(texts)).to_pylist()
    assert found == [t.encode()[: samples.EXCERPT_BYTES].decode("utf-8", "ignore") for t in texts]


def test_equal_texts_are_sampled_once(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [(words(50, i % 3), "x") for i in range(60)])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    sample = gp.open_run(tmp_path / "run").sample
    assert len(sample) == len(set(sample.column("excerpt").to_pylist()))


@pytest.mark.parametrize("subset", [None, "Pile-CC"])
def test_around(opened, frame, subset):
    found = opened.around("plain_word_count", 50, n=4, subset=subset, exact=True)
    rows = found.to_pylist()
    own = frame if subset is None else frame[frame.subset == subset]
    below, above = own[own.plain_word_count < 50], own[own.plain_word_count >= 50]
    n = min(4, len(below))
    assert [r["side"] for r in rows] == ["below"] * n + ["from here"] * 4
    values = [r["plain_word_count"] for r in rows]
    assert values[:n] == sorted(below.plain_word_count)[-n:]
    assert values[n:] == sorted(above.plain_word_count)[:4]
    for r in rows:
        assert r["excerpt"].split()[:20] == opened.document(r["doc_id"])["text"].split()[:20]
    first = opened.around("plain_word_count", 50, n=4, subset=subset)
    assert {r["side"] for r in first.to_pylist()} == {"below", "from here"}
    assert "exact=True" in first.note


def test_reading_begins_at_the_nearest_frame(tmp_path, monkeypatch):
    from gpu_pile.corpus import identity, reader

    monkeypatch.setattr(reader, "SEEK_SPACING", 2000)
    texts = [words(30, i) for i in range(300)]
    lines = [json.dumps({"text": t}).encode() + b"\n" for t in texts]
    compress = zstandard.ZstdCompressor().compress
    # frames that end within lines
    whole = b"".join(lines)
    (tmp_path / "many.jsonl.zst").write_bytes(
        b"".join(compress(whole[i : i + 1500]) for i in range(0, len(whole), 1500))
    )
    (tmp_path / "one.jsonl.zst").write_bytes(compress(whole))
    run(
        settings(
            [tmp_path / "*.zst"],
            tmp_path / "run",
            batch_bytes=1000,
            dedupe={"exact": {"enabled": False}, "fuzzy": {"enabled": False}},
        ),
        "decide",
    )
    opened = gp.open_run(tmp_path / "run")
    points = opened.directory.state("measure", "many")["seek_points"]
    assert len(points) > 20
    assert len(opened.directory.state("measure", "one")["seek_points"]) == 1
    read = []
    real = identity.HashedFile.read_at
    monkeypatch.setattr(identity.HashedFile, "read_at", lambda self, start, n: read.append(n) or real(self, start, n))
    for i in (0, 7, 150, 299):
        place = opened.locate([i])[i]
        assert place.distance < 2000 + 1500 + 1000
        read.clear()
        assert opened.document(i)["text"] == texts[i]
        assert sum(read) <= 7000
        assert opened.document((1 << 40) + i)["text"] == texts[i]
    ids = [299, 3, (1 << 40) + 5, 150]
    assert opened.texts(ids).table.column("text").to_pylist() == [texts[i % (1 << 40)] for i in ids]


@pytest.mark.slow
def test_texts_of_shards_in_every_state(tmp_path):
    """Also after damage, where lines and bytes are counted as if the lost ones had not been there."""
    from tests.conftest import HERE

    run(settings([HERE / "data" / "nasty" / "*.jsonl*"], tmp_path / "run", batch_bytes=50_000), "decide")
    opened = gp.open_run(tmp_path / "run")
    table = opened.decisions.to_table(columns=["doc_id"]).column("doc_id").to_pylist()
    counts = opened.signals.to_table(columns=["char_count"]).column("char_count").to_pylist()
    texts = opened.texts(table).table.column("text").to_pylist()
    assert [len(t) for t in texts] == counts


def test_a_changed_shard_is_noticed(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [(words(30, i), "x") for i in range(9)])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    opened = gp.open_run(tmp_path / "run")
    write_shard(tmp_path / "a.jsonl.zst", [("short", "x")])
    with pytest.raises(DataError, match="has changed since the run"):
        opened.document(5)
    with pytest.raises(UsageError, match="line 10 of shard a is not a document"):
        opened.document(9)
    with pytest.raises(UsageError, match="there is no shard 1"):
        opened.document(1 << 40)


# trials


TRIALS = [
    {},
    {"use": ["gopher"]},
    {"default": {"plain_word_count": {"min": 200, "max": 3000}, "mean_line_length": {"max": 300, "required": True}}},
    {"use": ["gopher"], "subsets": {"Github": {"use": []}, "Pile-CC": {"rules": {"plain_word_count": None}}}},
]


@pytest.mark.parametrize("thresholds", TRIALS)
def test_a_trial_decides_as_the_verb_does(opened, demo_copy, thresholds):
    trial = opened.decide(thresholds)
    text = json.dumps(thresholds)
    run(config.load(QUICK, [f"input.shards=['{DEMO}']", f"output={demo_copy}", f"thresholds={text}"]), "decide")
    other = gp.open_run(demo_copy)
    assert trial.keep.tolist() == [r["keep"] for r in decisions(demo_copy)]
    assert trial.combinations.equals(other.decisions.combinations)
    assert trial.reasons().table.equals(other.reasons().table)


def test_the_runs_own_thresholds_give_its_own_decisions(opened):
    before = results(opened.directory.path)
    trial = opened.decide(opened.config.thresholds)
    assert (trial.keep == opened.decisions.keep).all()
    assert trial.combinations.equals(opened.decisions.combinations)
    assert results(opened.directory.path) == before
    with pytest.raises(ConfigError, match=r"thresholds: 1 problem"):
        opened.decide({"default": {"plain_word_count": {"mni": 3}}})


@pytest.mark.parametrize("thresholds", TRIALS)
def test_a_saved_trial_is_a_configuration(demo_copy, tmp_path, thresholds):
    opened = gp.open_run(demo_copy)
    trial = opened.decide(thresholds)
    trial.save(tmp_path / "trial.yaml")
    assert yaml.safe_load((tmp_path / "trial.yaml").read_text())["output"] == str(demo_copy.resolve())
    code, _, error = invoke("run", tmp_path / "trial.yaml")
    assert code == 0, error
    assert (gp.open_run(demo_copy).decisions.keep == trial.keep).all()
    assert "measure: 0" in error or "measure" not in error or "MB/s" not in error.split("measure")[-1].split("\n")[0]


def test_reasons_and_overlaps(opened, frame):
    for row in opened.reasons().to_pylist():
        mine = frame[[row["reason"] in r for r in frame.reasons]]
        alone = mine[[len(r) == 1 for r in mine.reasons]]
        assert (row["documents"], row["text_bytes"]) == (len(mine), mine.text_bytes.sum())
        assert (row["documents_only_this"], row["text_bytes_only_this"]) == (len(alone), alone.text_bytes.sum())
    table = opened.decisions.overlaps().table.to_pandas().set_index("reason")
    for a, b in itertools.product(table.index, table.columns):
        assert table.loc[a, b] == sum(a in r and b in r for r in frame.reasons)
    kept = {r["subset"]: r["kept_documents"] for r in opened.decisions.subsets().to_pylist()}
    assert kept == frame.groupby("subset").keep.sum().to_dict()


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.lists(st.booleans(), min_size=11, max_size=11), st.integers(0, 2**40))
    ),
    st.integers(0, 30),
)
@hypothesis_settings(deadline=None)
def test_tallies_add_up(rows, cut):
    import pyarrow as pa

    rules = [f"r{i}" for i in range(11)]
    halves = []
    for part in (rows[:cut], rows[cut:]):
        tallied = reason_counts.Tally()
        marks = np.array([m for _, m, _ in part], bool).reshape(-1, 11)
        names = pa.chunked_array([pa.array([s for s, _, _ in part], pa.string())])
        tallied.add(names, rules, marks, ~marks.any(axis=1), np.array([b for _, _, b in part], np.int64))
        halves.append(tallied.table())
    expected: dict = {}
    for subset, marks, text_bytes in rows:
        key = subset, tuple(r for r, m in zip(rules, marks, strict=True) if m)
        before = expected.get(key, (0, 0))
        expected[key] = before[0] + 1, before[1] + text_bytes
    found = {
        (r["subset"], tuple(r["reasons"])): (r["documents"], r["text_bytes"])
        for r in reason_counts.merged(halves).to_pylist()
    }
    assert found == expected


def test_compare(opened, frame):
    trial = opened.decide({"use": ["gopher"], "default": {"plain_word_count": {"min": 300}}})
    found = opened.compare(opened.decisions, trial)
    for row in found.to_pylist():
        own = (frame.subset == row["subset"]).to_numpy()
        keep, other = frame.keep.to_numpy(), trial.keep
        for kind, mask in (
            ("both", keep & other),
            ("only_first", keep & ~other),
            ("only_second", ~keep & other),
            ("neither", ~keep & ~other),
        ):
            assert row[kind] == (mask & own).sum()
            assert row[f"{kind}_bytes"] == frame.text_bytes[mask & own].sum()
    assert found.ids("only_first").tolist() == frame.doc_id[frame.keep & ~trial.keep].tolist()
    assert len(found.texts(n=3)) == 3
    assert trial.compare(opened.decisions).to_pylist()[0]["both"] >= 0
    with pytest.raises(UsageError):
        found.ids("first")


# clusters


def test_largest_clusters(opened):
    rows = opened.largest_clusters(4).to_pylist()
    sizes = opened.clusters.to_pandas().groupby("cluster").size().sort_values(ascending=False)
    assert [r["documents"] for r in rows] == sizes.tolist()[:4]
    for r in rows:
        assert r["documents"] == sizes[r["cluster"]]
        assert r["doc_id"] in opened.cluster_of(r["cluster"])
        assert opened.document(r["doc_id"])["text"].startswith(r["excerpt"].rstrip("…"))
    assert [r["excerpt"] for r in opened.largest_clusters(4, read_bytes=0).to_pylist()] == [None] * 4


@given(*[st.one_of(st.text(alphabet="ab \n.", max_size=60), st.text(max_size=30))] * 2)
@hypothesis_settings(deadline=None)
@pytest.mark.parametrize("most", [diff.MATCHES_MAX, 3])
def test_differences_give_both_texts(most, a, b):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diff, "MATCHES_MAX", most)
        check_difference(a, b)


def check_difference(a, b):
    segments = diff.difference(a, b)
    assert "".join(t for k, t in segments if k != "added") == a
    assert "".join(t for k, t in segments if k != "removed") == b
    assert all(t for _, t in segments)
    if a == b:
        assert [k for k, _ in segments] == ["equal"] * bool(a)
    short = diff.shortened(segments, 3)
    assert [(k, t) for k, t in short if k in ("added", "removed")] == [s for s in segments if s[0] != "equal"]


def test_differences_of_long_texts_are_short_to_look_at():
    a = words(30_000, 1)
    segments = diff.difference(a, a.replace("w1x15000 ", "changed "))
    assert [k for k, _ in segments] == ["equal", "removed", "added", "equal"]
    assert sum(len(t) for _, t in diff.shortened(segments)) < 1000
    both = diff.difference("x " + a, a + "y " * 20_000)  # too much to compare: no less true
    assert "".join(t for k, t in both if k != "added") == "x " + a
    assert (
        diff.side_by_side([("equal", "<b>"), ("removed", "<i>"), ("added", "<u>")], ("<1>", "<2>")).count("&lt;") == 6
    )


# the command line


def test_show_marks_what_differs(tmp_path):
    base = words(300, 1)
    hostile = "\x1b[31m[bold]red[/bold]\x9b0m "
    write_shard(
        tmp_path / "a.jsonl.zst",
        [(hostile + base + " tail of its own", "x"), (hostile + base.replace("w1x7 ", "other "), "[x]")],
    )
    run(
        settings(
            [tmp_path / "a.jsonl.zst"],
            tmp_path / "run",
            thresholds={"default": {"word_count": {"min": 20, "max": 9000}}},
        )
    )
    code, output, _ = invoke("show", tmp_path / "run", 1)
    assert code == 0
    assert "[-other-]{+w1x7+}" in output
    assert "equal characters]" in output
    assert "[bold]red[/bold]" in output
    assert "\x1b" not in output
    assert "\x9b" not in output
    assert [line.split() for line in output.splitlines() if line.startswith("  word_count")] == [
        ["word_count", "301", "20", "9000", "passes"]
    ]
    code, output, _ = invoke("show", tmp_path / "run", "--json", 1)
    story = json.loads(output)
    assert "".join(s["text"] for s in story["difference"] if s["kind"] != "added") == story["text"]
    assert story["thresholds"] == {"word_count": {"min": 20, "max": 9000}}
    assert "\x9b" not in output


@pytest.mark.parametrize("suffix", ["parquet", "txt", "tsv"])
@pytest.mark.parametrize("what", ["keep", "drop"])
def test_export(demo_run, tmp_path, suffix, what):
    target = tmp_path / f"ids.{suffix}"
    assert invoke("export", demo_run, target, "--what", what)[0] == 0
    if suffix == "parquet":
        found = [tuple(r.values()) for r in pq.read_table(target).to_pylist()]
    else:
        found = [(int(a), b, int(c)) for a, b, c in (line.split("\t") for line in target.read_text().splitlines())]
    assert found == [(r["doc_id"], r["shard"], r["line"]) for r in decisions(demo_run) if r["keep"] == (what == "keep")]


def test_export_says_what_is_wrong(demo_run, tmp_path):
    assert "one of keep, drop" in invoke("export", demo_run, tmp_path / "x.txt", "--what", "both")[2]
    assert "cannot tell the format" in invoke("export", demo_run, tmp_path / "x.xml")[2]
    assert list(tmp_path.iterdir()) == []


def test_removed_documents_on_request(demo_copy, demo_run):
    command = [f"input.shards=['{DEMO}']", f"output={demo_copy}"]
    run(config.load(QUICK, [*command, "write.removed=true"]))
    rows = decisions(demo_copy)
    for path in sorted(DEMO.glob("*.zst")):
        name = path.name.removesuffix(".jsonl.zst")
        source = shard_lines(path)
        gone = [r for r in rows if r["shard"] == name and not r["keep"]]
        raw = zstandard.ZstdDecompressor().stream_reader((demo_copy / "removed" / path.name).read_bytes()).read()
        assert raw == b"".join(source[r["line"] - 1] + b"\n" for r in gone)
        reasons = pq.read_table(demo_copy / "removed_reasons" / f"{name}.parquet").to_pylist()
        assert reasons == [{k: v for k, v in r.items() if k != "keep"} for r in gone]
    kept = {k: v for k, v in results(demo_copy).items() if not k.startswith("removed")}
    assert kept == results(demo_run)
    stricter = "thresholds.default={mean_word_length: {max: 4.5}}"
    run(config.load(QUICK, [*command, "write.removed=true", stricter]))
    removed = sum(len(pq.read_table(p)) for p in (demo_copy / "removed_reasons").glob("*.parquet"))
    assert removed == sum(not r["keep"] for r in decisions(demo_copy)) > len(rows) - sum(r["keep"] for r in rows)
    (demo_copy / "removed" / "00.jsonl.zst").unlink()
    run(config.load(QUICK, [*command, "write.removed=true", stricter]))
    assert (demo_copy / "removed" / "00.jsonl.zst").is_file()
    run(config.load(QUICK, command))
    assert results(demo_copy) == results(demo_run)


# in a notebook


def test_cells_are_shown_as_what_they_are():
    table = pa.table(
        {"keep": [True], "n": [12345], "share": [0.25], "size": [129.0], "doc_id": [12345], "none": [None]}
    )
    shown = repr(Result(table, "title", shares=["share"], tenths=["size"]))
    assert shown.splitlines()[2].split() == ["true", "12,345", "25.0%", "129.0", "12345", "-"]


def test_every_result_shows_itself(opened, demo_run):
    shown = [
        opened,
        opened.reasons(),
        opened.decisions.overlaps(),
        opened.decisions.subsets(),
        opened.sweep("word_count", min=[10, 100]),
        opened.around("word_count", 50),
        opened.largest_clusters(3),
        opened.difference(0, 1),
        opened.compare(opened.decisions, opened.decide({})),
    ]
    from tests.test_report import Page

    for result in shown:
        page = Page(result._repr_html_())
        assert page.loads == []
        assert "script" not in page.tags
        assert repr(result)


def test_lazy_tables(opened):
    assert opened.signals.count_rows() == opened.decisions.count_rows() == len(opened.decisions.keep)
    assert opened.signals.head(3, ["word_count"]).column_names == ["word_count"]
    few = opened.signals.to_polars(["word_count"], pc.field("word_count") < 20)
    assert few.columns == ["word_count"]
    assert 0 < len(few) < 100
    assert few["word_count"].max() < 20
    assert "word_count" in repr(opened.signals)


def pressed(slider, low, high):
    """Move a slider away and to a place, so that it has moved."""
    slider.index = (0, 0) if slider.index != (0, 0) else (0, 1)
    slider.index = (low, high)


@pytest.mark.parametrize("names", [["plain_word_count"], ["alpha_word_fraction", "plain_word_count"]])
def test_sliders_count_exactly(opened, frame, names):
    pytest.importorskip("ipywidgets")
    explorer = opened.explore(*names)
    begin = {"plain_word_count": (50, 100_000), "alpha_word_fraction": (0.8, None)}
    assert explorer.bounds == {name: begin[name] for name in names}, "they begin with the run's rules"
    assert set(explorer.subsets.value) == set(frame.subset) - {"Github", "DM Mathematics"}, "of the subsets with rules"
    assert all(slider.index[0] < slider.index[1] for slider in explorer.sliders.values())
    explorer.subsets.value = tuple(frame.subset.unique())
    rng = np.random.default_rng(1)
    for _ in range(10):
        for slider in explorer.sliders.values():
            low = int(rng.integers(0, len(slider.options) - 1))
            pressed(slider, low, int(rng.integers(low, len(slider.options))))
        bounds = {
            f"{n}.{k}": b
            for n, pair in explorer.bounds.items()
            for k, b in zip(("min", "max"), pair, strict=True)
            if b is not None
        }
        expected = swept(frame, bounds)
        for row in explorer.counts():
            want = expected.loc[row["subset"]] if row["subset"] in expected.index else {"size": 0, "sum": 0}
            assert (row["then_documents"], row["then_text_bytes"]) == (want["size"], want["sum"])
        assert explorer.text() in explorer.widget.children[-1].value
    assert set(explorer.trial().config.thresholds.default) >= {k.rpartition(".")[0] for k in bounds}
    bundle = explorer._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert explorer.text() in bundle["text/html"]
    with pytest.raises(UsageError, match="needs the name of a signal"):
        opened.explore()


def test_the_views_need_no_extension_but_that_of_ipywidgets(opened):
    """Front ends that show ipywidgets, such as VS Code and Colab, have its own controls without installing anything."""
    pytest.importorskip("ipywidgets")
    left = [opened.explore("plain_word_count").widget, opened.duplicates(2).widget]
    modules = set()
    while left:
        widget = left.pop()
        modules.add(widget._view_module)
        left.extend(getattr(widget, "children", ()))
    assert modules == {"@jupyter-widgets/controls"}


def test_numbers_of_an_axis_do_not_overlap():
    axis = charts._Axis(1, 1e5, 30, 150, logarithmic=True)
    elements = "".join(charts._baseline(axis, 90))
    drawn = re.findall(r'<text x="([\d.]+)" .*?text-anchor="(\w+)".*?>([\d,]+)</text>', elements)
    before = {"start": 0.0, "middle": 0.5, "end": 1.0}
    begins = [float(x) - before[anchor] * charts.DIGIT * len(shown) for x, anchor, shown in drawn]
    for i, (begin, following) in enumerate(itertools.pairwise(begins)):
        assert begin + charts.DIGIT * len(drawn[i][2]) < following
    assert 4 <= len(drawn) < elements.count("v3"), "every tick has a line, and most of them a number"


def test_a_slider_moves_the_bounds_of_the_chosen_subsets(opened, frame):
    pytest.importorskip("ipywidgets")
    explorer = opened.explore("plain_word_count")
    ruled = ~frame.subset.isin(["Github", "DM Mathematics"])
    now = (~ruled | frame.plain_word_count.between(50, 100_000)).groupby(frame.subset).sum()
    explorer.subsets.value = ("Github",)
    assert explorer.bounds == {"plain_word_count": (None, None)}
    explorer.subsets.value = ("Pile-CC",)
    assert explorer.bounds == {"plain_word_count": (50, 100_000)}
    explorer.sliders["plain_word_count"].value = (200.0, np.inf)
    then = {r["subset"]: r["then_documents"] for r in explorer.counts()}
    assert {r["subset"]: r["now_documents"] for r in explorer.counts()} == now.to_dict()
    assert then["Pile-CC"] == (frame.plain_word_count[frame.subset == "Pile-CC"] >= 200).sum()
    assert {s: n for s, n in then.items() if s != "Pile-CC"} == now.drop("Pile-CC").to_dict()
    before = explorer.run.config.thresholds
    assert explorer.thresholds()["default"] == {}
    assert explorer.thresholds()["subsets"]["Pile-CC"] == {"rules": {"plain_word_count": {"min": 200.0}}}
    decided = explorer.trial().thresholds
    for subset in frame.subset.unique():
        assert (decided.rules_of(subset) == before.rules_of(subset)) == (subset != "Pile-CC")
    explorer.decide_button.click()
    assert f"these bounds keep {int(explorer.trial().keep.sum()):,}" in explorer.widget.children[-2].value
    shown = explorer.examples()
    assert "just removed" in shown
    assert "<p>Pile-CC, " in shown
    assert not [s for s in set(frame.subset) - {"Pile-CC"} if f"<p>{s}, " in shown]
    explorer.subsets.value = ("Pile-CC", "StackExchange", "Github")
    assert "different bounds" in explorer.html()
    explorer.subsets.value = ()
    assert explorer.bounds == {"plain_word_count": (None, None)}
    assert {r["subset"]: r["then_documents"] for r in explorer.counts()} == then


def test_a_required_signal_stays_required(tmp_path):
    pytest.importorskip("ipywidgets")
    write_shard(tmp_path / "a.jsonl.zst", [*((words(9, i), "x") for i in range(5)), ("", "x"), ("", "y")])
    bounds = {"subsets": {"x": {"rules": {"hash_per_word": {"max": 0.5, "required": True}}}}}
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run", thresholds=bounds))
    explorer = gp.open_run(tmp_path / "run").explore("hash_per_word")
    assert [(r["subset"], r["now_documents"]) for r in explorer.counts()] == [("x", 5), ("y", 1)]
    pressed(explorer.sliders["hash_per_word"], 1, len(explorer.sliders["hash_per_word"].options) - 1)
    assert explorer.thresholds()["subsets"]["x"]["rules"]["hash_per_word"]["required"]


def test_the_explorer_saves_a_configuration(demo_copy, tmp_path):
    pytest.importorskip("ipywidgets")
    explorer = gp.open_run(demo_copy).explore("plain_word_count")
    explorer.sliders["plain_word_count"].value = (200.0, 100_000.0)
    (tmp_path / "mine.yaml").write_text("precious")
    explorer.path.value = str(tmp_path / "mine.yaml")
    explorer.save_button.click()
    assert "exists already" in explorer.widget.children[-2].value
    assert (tmp_path / "mine.yaml").read_text() == "precious"
    explorer.path.value = str(tmp_path / "new.yaml")
    for _ in range(2):
        explorer.save_button.click()
        assert "Saved" in explorer.widget.children[-2].value
    run(config.load(tmp_path / "new.yaml"))
    assert (gp.open_run(demo_copy).decisions.keep == explorer.trial().keep).all()


def test_the_histogram_has_the_scale_of_its_slider():
    values = [*range(1, 10), *range(10, 100, 10)]
    axis = charts._Steps(values, 0, len(values) + 1)
    assert [axis(v) for v in values] == list(range(1, len(values) + 1))
    assert axis(15) == 10.5
    assert (axis(0), axis(1000)) == (0, len(values))
    assert {1, 10} <= set(charts._Steps(values, 0, 640).ticks())


def test_duplicates_side_by_side(opened, frame):
    pytest.importorskip("ipywidgets")
    viewer = opened.duplicates(5)
    assert [p["similarity"] for p in viewer.pairs] == sorted(opened.pairs.column("similarity").to_pylist())[:5]
    for i in range(5):
        viewer.choice.value = i
        assert str(viewer.pairs[i]["a"]) in viewer.html()
        assert "<del" in viewer.html() or "<ins" in viewer.html()
        assert f"Pair {i + 1} of 5" in viewer.html()
    viewer.choice.value = 0
    assert viewer.previous.disabled
    for _ in range(9):
        viewer.next.click()
    assert viewer.choice.value == 4
    assert viewer.next.disabled
    viewer.previous.click()
    assert viewer.choice.value == 3
    for row in frame.itertuples():
        if row.doc_id in (viewer.pairs[3]["a"], viewer.pairs[3]["b"]):
            said = f"{'kept' if row.keep else 'removed'}, {row.subset}, "
            assert re.search(rf"{re.escape(said)}\d\d:{row.line}, doc_id {row.doc_id}", viewer.html())


@pytest.mark.slow
def test_exploring_needs_no_notebook():
    code = (
        "import sys, gpu_pile as gp; gp.open_run; print(sorted({'ipywidgets', 'polars', 'IPython'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_of_nothing_can_be_looked_at(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"))
    opened = gp.open_run(tmp_path / "run")
    for result in (
        opened.reasons(),
        opened.decisions.subsets(),
        opened.sweep("word_count", min=[1]),
        opened.around("word_count", 5),
        opened.around("word_count", 5, exact=True),
        opened.largest_clusters(),
        opened.histogram("word_count"),
        opened.compare(opened.decisions, opened.decide({})),
    ):
        assert len(result) == 0
        assert result._repr_html_()
    assert opened.at_random() == []
    assert "the run has no documents" in invoke("show", tmp_path / "run", "--random")[2]
    pytest.importorskip("ipywidgets")
    assert "now 0, then 0 of 0 documents" in opened.explore("word_count").html()
    assert "no near duplicates" in opened.duplicates().html()
    assert pipeline.damages(opened.context) == []


def test_one_shard_may_have_no_documents(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [])
    write_shard(tmp_path / "b.jsonl.zst", [("some words", "x"), ("more words here", "y")])
    run(settings([tmp_path / "a.jsonl.zst", tmp_path / "b.jsonl.zst"], tmp_path / "run"))
    found = gp.open_run(tmp_path / "run").around("word_count", 3, exact=True).to_pylist()
    assert [row["excerpt"] for row in found] == ["some words", "more words here"]


def test_a_run_of_another_version_says_so(demo_copy):
    info = json.loads((demo_copy / "run.json").read_text())
    info["versions"]["stages"]["decide"] -= 1
    (demo_copy / "run.json").write_text(json.dumps(info))
    with pytest.raises(UsageError, match=r"was made by another version of gpu_pile.* brings it up to date"):
        gp.open_run(demo_copy)
    code, _, error = invoke("show", demo_copy, "00:14")
    assert code == 2
    assert "another version" in error
    run(config.load(QUICK, [f"output={demo_copy}", f"input.shards=['{DEMO}']", "backend=cpu"]))
    assert gp.open_run(demo_copy).decisions.count_rows() == 512


def test_an_unfinished_run_says_so(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [(words(30, i), "x") for i in range(3)])
    run(settings([tmp_path / "a.jsonl.zst"], tmp_path / "run"), "measure")
    opened = gp.open_run(tmp_path / "run")
    assert opened.histogram("word_count").table.num_rows == 1
    for ask in (
        lambda: opened.reasons(),
        lambda: opened.decisions.keep,
        lambda: opened.decisions.count_rows(),
        lambda: opened.clusters,
        lambda: opened.report,
        lambda: opened.decide({}),
        lambda: opened.document(0),
    ):
        with pytest.raises(UsageError, match="not finished; go on with: gpu-pile run"):
            ask()
    assert "not finished" in invoke("verify", tmp_path / "run")[2]
