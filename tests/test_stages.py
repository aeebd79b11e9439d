"""What is done again after a change, for every field of the configuration; and what a new stage takes."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pydantic
import pytest
from typer.testing import CliRunner

from gpu_pile import signals
from gpu_pile.corpus import files, sinks
from gpu_pile.corpus.sinks import LineSink
from gpu_pile.ops import op
from gpu_pile.policy.thresholds import Policy
from gpu_pile.run import config, pipeline
from gpu_pile.run.directory import RunDir
from gpu_pile.run.stages import STAGES, Stage
from tests.conftest import results, run, write_shard

NAMES = [stage.name for stage in STAGES]

FIRST_REDONE = {
    "input.shards": ("measure", ["{folder}/a.jsonl.zst", "{folder}/b.jsonl.zst", "{folder}/c.jsonl.zst"]),
    "input.preset": ("measure", "dolma"),
    "input.text_field": ("measure", "meta.pile_set_name"),
    "input.subset_field": ("measure", "title"),
    "input.id_field": ("measure", "title"),
    "input.fields": ("measure", {"name": "title"}),
    "input.subsets.include": ("decide", ["x"]),
    "input.subsets.exclude": ("decide", ["x"]),
    "input.against": ("dedupe", ["{folder}/old"]),
    "input.bare_strings": ("measure", True),
    "input.text_lists": ("measure", True),
    "input.range_bytes": ("measure", 1),
    "input.seek_points": (None, False),
    "input.bad_lines_max": ("measure", 0),
    "input.window_bytes_max": ("measure", 2**20),
    "input.line_bytes_max": ("measure", 2**29),
    "input.expansion_max": ("measure", 999),
    "output": (None, "{folder}/run/."),
    "scratch": (None, "{folder}/scratch"),
    "backend": (None, "cpu"),
    "workers": (None, 3),
    "batch_bytes": (None, 1000),
    "memory_bytes": (None, 10**6),
    "spool_bytes": (None, 0),
    "strict": (None, True),
    "cluster.where": (None, "local"),
    "cluster.workers": (None, 1),
    "cluster.threads": (None, 2),
    "cluster.memory_bytes": (None, 2**30),
    "cluster.dashboard": (None, False),
    "measure.signals": ("measure", ["lengths", "symbols", "gopher_quality", "c4"]),
    "measure.join": ("measure", {"{folder}/scores.parquet": ["shard", "line"]}),
    "dedupe.exact.enabled": ("dedupe", False),
    "dedupe.exact.normalize": ("measure", "words"),
    "dedupe.exact.skip_subsets": ("dedupe", ["x"]),
    "dedupe.fuzzy.enabled": ("dedupe", False),
    "dedupe.fuzzy.shingle": ("measure", "byte"),
    "dedupe.fuzzy.width": ("measure", 2),
    "dedupe.fuzzy.sketch": ("measure", "affine32"),
    "dedupe.fuzzy.size": ("measure", 256),
    "dedupe.fuzzy.seed": ("measure", 1),
    "dedupe.fuzzy.threshold": ("dedupe", 0.5),
    "dedupe.fuzzy.bands": ("dedupe", 8),
    "dedupe.fuzzy.rows": ("dedupe", 4),
    "dedupe.fuzzy.verify": ("dedupe", "sketch"),
    "dedupe.fuzzy.resolve": ("decide", "connected"),
    "dedupe.fuzzy.accept.jaccard": ("decide", 0.9),
    "dedupe.fuzzy.accept.containment": ("decide", 0.9),
    "dedupe.fuzzy.bucket_neighbours_max": ("dedupe", 1),
    "dedupe.fuzzy.skip_subsets": ("dedupe", ["x"]),
    "dedupe.contained": ("dedupe", {"threshold": 0.9}),
    "dedupe.substrings.min_bytes": ("substrings", 50),
    "dedupe.substrings.min_tokens": ("substrings", 8),
    "dedupe.substrings.keep": (None, "first"),
    "dedupe.substrings.cut": (None, False),  # test_substrings has what they do where min_bytes is given
    "dedupe.substrings.left_min_bytes": (None, 10),
    "dedupe.substrings.max_share": (None, 0.5),
    "dedupe.scope": ("dedupe", "subset"),
    "dedupe.copies_max": ("decide", 2),
    "dedupe.survivor.subsets": ("decide", ["y"]),
    "dedupe.survivor.prefer": ("decide", "first"),
    "thresholds.use": ("decide", ["c4_paragraphs"]),
    "thresholds.default": ("decide", {"plain_word_count": {"min": 20}}),
    "thresholds.word_rules": ("decide", "always"),
    "thresholds.subsets": ("decide", {"x": {"rules": {"plain_word_count": {"min": 30}}}}),
    "decontaminate.against": (None, [{"name": "quiz", "files": "quiz.jsonl"}]),
    "decontaminate.rule": (None, "gpt3"),
    "decontaminate.documents_max": (None, 5),
    "decontaminate.cut": (None, True),
    "decide.remove": ("decide", ["{folder}/removals.yaml"]),
    "edit.c4_lines": ("decide", ["all"]),
    "write.keep": ("write", "bitmap"),
    "write.format": ("write", "plain"),
    "write.level": ("write", 5),
    "write.threads": ("write", 2),
    "write.checksum": ("write", False),
    "write.frame_bytes": ("write", 2000),
    "write.copy_frames": ("write", False),
    "write.removed": ("write", True),
}
"""By field of the configuration: the first stage that a change of it redoes, None for none; and another value."""


class Plain(LineSink):
    """Lines as they are: another format, so that there are two."""

    name = "plain"
    suffix = ".jsonl"

    def writer(self, file):
        return file


BESIDE = {
    "dedupe.fuzzy.bands": {"dedupe.fuzzy.rows": 4},
    "dedupe.fuzzy.rows": {"dedupe.fuzzy.bands": 8},
    "edit.c4_lines": {"measure.signals": ["lengths", "symbols", "gopher_quality", "c4"]},
    "thresholds.word_rules": {"thresholds.default": {"word_count": {"min": 1}}},
    "thresholds.use": {"measure.signals": ["lengths", "symbols", "gopher_quality", "c4"]},
}
"""Fields that a field needs, set in the first run, too, where that is valid without it."""

ALWAYS = {"report"}
"""Stages that every run does."""


def leaves(model: type[pydantic.BaseModel], prefix: str = "") -> list[str]:
    """Every field of a configuration, its sections joined by dots."""
    found = []
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, pydantic.BaseModel) and section is not Policy:
            found += leaves(section, f"{prefix}{name}.")
        elif section is Policy:
            found += [f"{prefix}{name}.{key}" for key in section.model_fields]
        else:
            found.append(f"{prefix}{name}")
    return found


def configuration(folder: Path, **fields) -> config.Config:
    data: dict = {}
    given = {"input.shards": [f"{folder}/a.jsonl.zst", f"{folder}/b.jsonl.zst"], "output": f"{folder}/run"}
    for path, value in {**given, **fields}.items():
        *sections, key = path.split(".")
        at = data
        for section in sections:
            at = at.setdefault(section, {})
        at[key] = value
    return config.parse(data)


def stamps(folder: Path, stage: Stage) -> dict[str, int]:
    """When each output of a stage was made."""
    outputs = [
        o for pattern in (*stage.outputs, *stage.optional()) for o in folder.glob(pattern.replace("{shard}", "*"))
    ]
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in outputs}


def redone(before: dict[str, dict[str, int]], folder: Path) -> list[str]:
    return [stage.name for stage in STAGES if stamps(folder, stage) != before[stage.name]]


@pytest.fixture
def two_formats():
    sinks.FORMATS.append(Plain)
    yield
    sinks.FORMATS.remove(Plain)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run of three small shards, of which two are used."""
    folder, rng = tmp_path_factory.mktemp("finished"), random.Random(7)
    words = [f"word{i}" for i in range(300)]
    texts = [" ".join(rng.choices(words, k=rng.randrange(10, 60))) for _ in range(12)]
    texts += [texts[0], texts[1].upper(), f"{texts[2]} more", f"{texts[3]} one more end", f"{texts[4]}."]
    for name in "abc":
        rng.shuffle(texts)
        write_shard(folder / f"{name}.jsonl.zst", [(text, rng.choice("xy")) for text in texts])
    pq.write_table(pa.table({"shard": ["a"], "line": [1], "score": [0.5]}), folder / "scores.parquet")
    (folder / "removals.yaml").write_text("[{shard: a, line: 1}]")
    run(configuration(folder))
    run(configuration(folder, **{"input.shards": [f"{folder}/c.jsonl.zst"], "output": f"{folder}/old"}))
    return folder


def moved(finished: Path, folder: Path) -> Path:
    """A copy of the finished run and its inputs; the run was made from inputs at the new place."""
    shutil.copytree(finished, folder, dirs_exist_ok=True, copy_function=shutil.copy2)
    return folder


def test_every_field_of_the_configuration_is_in_the_table():
    assert sorted(leaves(config.Config)) == sorted(FIRST_REDONE)


@pytest.mark.slow
@pytest.mark.parametrize("field", FIRST_REDONE)
def test_a_changed_field_redoes_the_stages_that_depend_on_it(finished, tmp_path, two_formats, field):
    first, value = FIRST_REDONE[field]
    if isinstance(value, list):
        value = [v.format(folder=tmp_path) if isinstance(v, str) else v for v in value]
    value = value.format(folder=tmp_path) if isinstance(value, str) else value
    value = {k.format(folder=tmp_path): v for k, v in value.items()} if isinstance(value, dict) else value
    changed = {**BESIDE.get(field, {}), field: value}
    moved(finished, tmp_path)
    common = {k: v for k, v in changed.items() if k == "measure.signals" and k != field}
    if common:
        run(configuration(tmp_path, **common))
    before = {stage.name: stamps(tmp_path / "run", stage) for stage in STAGES}
    run(configuration(tmp_path, **changed))
    again = [name for name in redone(before, tmp_path / "run") if name not in ALWAYS]
    assert again[:1] == ([] if first is None else [first])
    if first is not None:
        kept = results(tmp_path / "run")
        shutil.rmtree(tmp_path / "run")
        run(configuration(tmp_path, **changed))
        assert results(tmp_path / "run") == kept


USED = {"parse_lines", "doc_hash", "sketch", "text_counts", "components", "band_keys", "shingle_set", "jaccard"}


@pytest.mark.parametrize(
    ("operation", "first"),
    [
        ("text_counts", "measure"),
        ("parse_lines", "measure"),
        ("sketch", "measure"),
        ("jaccard", "dedupe"),
        ("band_keys", "dedupe"),
        ("witnesses", "decide"),
        ("redpajama_words", None),
        ("normal_words", None),
        ("sketch_matches", None),
        ("c4_lines", None),
    ],
)
def test_a_new_version_of_an_operation_redoes_what_uses_it(finished, tmp_path, monkeypatch, operation, first):
    """F2 of the operations that no signal of the run uses: nothing."""
    moved(finished, tmp_path)
    before = {stage.name: stamps(tmp_path / "run", stage) for stage in STAGES}
    changed = op.load_all()[operation]
    monkeypatch.setattr(changed, "version", changed.version + 1)
    run(configuration(tmp_path))
    again = [name for name in redone(before, tmp_path / "run") if name not in ALWAYS]
    assert again[:1] == ([] if first is None else [first])


def test_a_new_operation_redoes_nothing(finished, tmp_path, monkeypatch):
    moved(finished, tmp_path)
    before = {stage.name: stamps(tmp_path / "run", stage) for stage in STAGES}
    monkeypatch.setattr(op, "OPS", {**op.load_all()})
    op.Op("new_operation", version=1)
    run(configuration(tmp_path))
    assert set(redone(before, tmp_path / "run")) <= ALWAYS


def test_a_new_version_of_a_family_that_is_not_used_redoes_nothing(finished, tmp_path, monkeypatch):
    moved(finished, tmp_path)
    before = {stage.name: stamps(tmp_path / "run", stage) for stage in STAGES}
    real = signals._registry()
    newer = {n: f if n != "c4" else f.__class__(**{**vars(f), "version": f.version + 1}) for n, f in real.items()}
    monkeypatch.setattr(signals, "_registry", lambda: newer)
    run(configuration(tmp_path))
    assert set(redone(before, tmp_path / "run")) <= ALWAYS


# a new stage


def toy_key(context) -> str:
    return files.key_of(["toy", 1, context.directory.state("decide")["key"]])


def toy(context) -> dict:
    (context.directory.path / "toy").mkdir(exist_ok=True)
    for shard in context.shards:
        (context.directory.path / "toy" / f"{shard.name}.txt").write_text(f"{shard.name}\n")
    return {"shards": len(context.shards)}


@pytest.fixture
def toy_stage(monkeypatch):
    stage = Stage("toy", "Write a line per shard.", toy, toy_key, ("toy/{shard}.txt",))
    STAGES.append(stage)
    yield stage
    STAGES.remove(stage)


def test_a_new_stage_has_a_verb_a_key_and_its_strays_removed(finished, tmp_path, toy_stage):
    from gpu_pile.cli import commands

    moved(finished, tmp_path)
    all_three = [f"{tmp_path}/{name}.jsonl.zst" for name in "abc"]
    (tmp_path / "c.yaml").write_text(f"input: {{shards: {all_three}}}\noutput: {tmp_path}/run\n")
    app = commands.make_app()
    shown = CliRunner().invoke(app, ["--help"]).output
    assert "toy" in shown
    assert "Write a line per shard." in shown
    assert CliRunner().invoke(app, ["toy", f"{tmp_path}/c.yaml"]).exit_code == 0
    assert sorted(p.name for p in (tmp_path / "run" / "toy").iterdir()) == ["a.txt", "b.txt", "c.txt"]
    assert RunDir(tmp_path / "run").state("toy")["shards"] == 3

    before = stamps(tmp_path / "run", toy_stage)
    assert CliRunner().invoke(app, ["run", f"{tmp_path}/c.yaml"]).exit_code == 0
    assert stamps(tmp_path / "run", toy_stage) == before, "it is fresh"

    (tmp_path / "run" / "toy" / "a.txt").unlink()
    assert CliRunner().invoke(app, ["toy", f"{tmp_path}/c.yaml"]).exit_code == 0
    assert len(stamps(tmp_path / "run", toy_stage)) == 3, "a lost output is made again"

    run(configuration(tmp_path), "toy")
    assert sorted(stamps(tmp_path / "run", toy_stage)) == ["toy/a.txt", "toy/b.txt"], "c is no longer an input"


def test_the_paths_of_the_run_directory_are_the_outputs_of_the_stages():
    here = RunDir(Path("run"))
    known = {p for stage in STAGES for p in (*stage.outputs, *stage.optional())}
    rows = [RunDir(Path("run"), line_suffix=suffix) for suffix in (".parquet", ".arrow")]
    by_shard = [here.measured, here.histogram, here.sample, here.seek_points, here.joined, here.joined_histogram]
    by_shard += [here.substrings, here.decisions, here.removed_reasons, here.bitmap]
    by_shard += [path for run in (here, *rows) for path in (run.kept, run.removed)]
    paths = [path("{shard}") for path in by_shard] + [here.pairs, here.clusters, here.reasons]
    assert {p.relative_to("run").as_posix() for p in paths} | {"report.json", "report.html"} == known


def test_the_stages_load():
    for stage in STAGES:
        with pytest.raises(AttributeError):  # of the None, not of the module
            stage.run(None)
    assert pipeline.STAGES is STAGES
