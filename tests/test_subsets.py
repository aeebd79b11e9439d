import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import gpu_pile as gp
from gpu_pile import cli
from gpu_pile.errors import ConfigError
from gpu_pile.explore.verify import verify
from gpu_pile.policy.pile import SUBSETS, find
from gpu_pile.run import pipeline
from gpu_pile.run.removals import LEFT_OUT
from tests.conftest import decisions, results, run, settings, write_shard


def effective_gib(subset):
    """Size in the mixture, all copies together."""
    return subset.raw_gib * subset.epochs


def test_the_published_totals():
    """Table 1 of the paper: 825.18 GiB raw, 1254.20 GiB effective, 100 %."""
    assert len(SUBSETS) == 22
    assert sum(s.raw_gib for s in SUBSETS) == pytest.approx(825.18, abs=0.1)
    assert sum(effective_gib(s) for s in SUBSETS) == pytest.approx(1254.20, abs=0.3)
    assert sum(s.weight for s in SUBSETS) == pytest.approx(100, abs=0.1)


def test_weights_follow_from_sizes_and_epochs():
    total = sum(map(effective_gib, SUBSETS))
    for s in SUBSETS:
        assert s.weight == pytest.approx(100 * effective_gib(s) / total, abs=0.02), s.name


def test_names_and_aliases():
    assert find("wikipedia (EN)") is find("Wikipedia") is not None
    assert find("Stack Exchange").name == "StackExchange"
    assert find("My crawl") is None
    names = [n.casefold() for s in SUBSETS for n in (s.name, *s.aliases)]
    assert len(set(names)) == len(names)


# names in a configuration

SHORT = {"char_count": {"min": 10}}


@pytest.fixture
def shards(tmp_path):
    """One short document in each of three subsets, and a long one."""
    named = [("wiki", "Wikipedia (en)"), ("web", "Pile-CC"), ("code", "my code"), ("long enough", "Pile-CC")]
    write_shard(tmp_path / "a.jsonl.zst", named)
    return [tmp_path / "a.jsonl.zst"]


def removed(folder):
    return {row["subset"] for row in decisions(folder) if not row["keep"]}


def of_subset(name, **more):
    return {"measure": {"signals": ["lengths"]}, "thresholds": {"subsets": {name: {"rules": SHORT}}}, **more}


@pytest.mark.parametrize(
    ("name", "subset"),
    [
        ("Wikipedia", "Wikipedia (en)"),
        ("wikipedia (EN)", "Wikipedia (en)"),
        ("CommonCrawl", "Pile-CC"),
        ("My Code", "my code"),
        ("my code", "my code"),
    ],
)
def test_a_subset_may_be_named_in_any_case_and_by_another_name(tmp_path, shards, name, subset):
    context = run(settings(shards, tmp_path / "run", **of_subset(name)))
    assert removed(tmp_path / "run") == {subset}
    assert context.reporter.warnings == []
    assert list(json.loads((tmp_path / "run/run.json").read_text())["config"]["thresholds"]["subsets"]) == [subset]


def test_every_list_of_subsets_is_resolved(tmp_path, shards):
    context = run(
        settings(
            shards,
            tmp_path / "run",
            measure={"signals": ["lengths", "c4"]},
            dedupe={
                "exact": {"skip_subsets": ["wikipedia"]},
                "fuzzy": {"skip_subsets": ["pile-cc"]},
                "survivor": {"subsets": ["MY CODE", "Pile CC"]},
            },
            edit={"c4_lines": ["pile-cc", "all"]},
        )
    )
    dedupe = context.config.dedupe
    assert dedupe.exact.skip_subsets == ["Wikipedia (en)"]
    assert dedupe.fuzzy.skip_subsets == ["Pile-CC"]
    assert dedupe.survivor.subsets == ["my code", "Pile-CC"]
    assert context.config.edit.c4_lines == ["Pile-CC", "all"]


def test_an_exact_name_stands_for_itself_alone(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [("one", "Github"), ("two", "github")])
    run(settings([tmp_path], tmp_path / "run", **of_subset("github")))
    assert removed(tmp_path / "run") == {"github"}
    run(settings([tmp_path], tmp_path / "both", **of_subset("GitHub")))
    assert removed(tmp_path / "both") == {"Github", "github"}


def test_a_name_that_no_document_has_is_a_warning_on_top(tmp_path, shards):
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps({"input": {"shards": [str(shards[0])]}, "output": str(tmp_path / "run")}))
    skipped = ["dedupe.fuzzy.skip_subsets=[Pile_CC]", "dedupe.exact.skip_subsets=[Books]"]
    command = ["run", str(path), "--set", skipped[0], "--set", skipped[1]]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0
    first = "dedupe.fuzzy.skip_subsets names the subset 'Pile_CC', which no document has; did you mean 'Pile-CC'?"
    second = "which no document has; there are: Pile-CC, Wikipedia (en), my code"
    assert first in done.stderr
    assert second in done.stderr
    html = (tmp_path / "run/report.html").read_text()
    assert html.index("did you mean &#39;Pile-CC&#39;?") < html.index("<main>")
    warnings = json.loads((tmp_path / "run/report.json").read_text())["warnings"]
    assert sum("skip_subsets" in warning for warning in warnings) == 2
    strict = CliRunner().invoke(cli.app, [*command, "--strict"])
    assert isinstance(strict.exception, ConfigError)
    assert first in str(strict.exception)


def test_other_subsets_of_the_pile_need_no_warning(tmp_path, shards):
    context = run(settings(shards, tmp_path / "run", **of_subset("Books3")))
    assert context.reporter.warnings == []


def test_without_any_subset_the_field_is_named(tmp_path):
    write_shard(tmp_path / "a.jsonl.zst", [("one two three", "")])
    context = run(settings([tmp_path], tmp_path / "run", **of_subset("Pile-CC")))
    (warning,) = context.reporter.warnings
    assert warning.endswith("no document has any: set input.subset_field (now 'meta.pile_set_name')")


def test_two_names_of_one_subset_are_an_error(tmp_path, shards):
    subsets = {"Wikipedia": {"rules": SHORT}, "Wikipedia (en)": {"use": []}}
    more = {"measure": {"signals": ["lengths"]}, "thresholds": {"subsets": subsets}}
    with (
        pipeline.prepared(settings(shards, tmp_path / "run", **more)) as context,
        pytest.raises(ConfigError, match=r"'Wikipedia' and 'Wikipedia \(en\)', which both stand for"),
    ):
        pipeline.run_until(context, "report")


# the choice of subsets


TEXT = " ".join(f"word{i}" for i in range(60))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Shards in which a text that is in several subsets stands first in one that may be left out."""
    folder = tmp_path_factory.mktemp("mixed")
    rows = [(TEXT, "Books3"), (TEXT, "Pile-CC"), (f"{TEXT} more", "Github"), ("alone", "Books3"), ("no subset", "")]
    write_shard(folder / "a.jsonl.zst", [*rows[:3], b"not a document"])
    write_shard(folder / "b.jsonl.zst", [*rows[3:], ("abstract", "PubMed Abstracts")])
    return folder


def choose(shards, folder, **choice):
    """Return (context, subsets of the kept documents, reasons of all documents) of a run with this choice."""
    more = {"measure": {"signals": ["lengths"]}, "dedupe": {"survivor": {"prefer": "first"}}}
    context = run(settings([shards], folder, input={"subsets": choice}, **more))
    rows = decisions(folder)
    return context, [row["subset"] for row in rows if row["keep"]], [row["reasons"] for row in rows]


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        ({}, ["Books3", "Books3", "", "PubMed Abstracts"]),
        ({"include": ["pile-uncopyrighted"]}, ["Pile-CC", "PubMed Abstracts"]),
        ({"exclude": ["books", "pubmed abstracts"]}, ["Pile-CC", ""]),
        ({"include": ["CODE", "Bibliotik"], "exclude": ["books"]}, ["Github"]),
        ({"include": ["pile"]}, ["Books3", "Books3", "PubMed Abstracts"]),
    ],
)
def test_what_is_left_out_is_no_witness_and_is_counted(tmp_path, mixed, choice, kept):
    context, found, reasons = choose(mixed, tmp_path / "run", **choice)
    assert found == kept
    assert context.reporter.warnings == []
    left = [row["subset"] for row in decisions(tmp_path / "run") if LEFT_OUT in row["reasons"]]
    assert len(left) == sum(LEFT_OUT in own for own in reasons)
    report = json.loads((tmp_path / "run/report.json").read_text())
    assert [s["removed_documents"] for s in report["flow"] if s["step"] == LEFT_OUT] == ([len(left)] if left else [])
    counted = {row["reason"]: row["by_subset"] for row in report["reasons"]}
    assert sum(counted.get(LEFT_OUT, {}).values()) == len(left)
    assert not [check for check in verify(tmp_path / "run", everything=True) if check.failed]


def test_another_choice_measures_nothing_and_ends_in_the_same_bytes(tmp_path, mixed):
    choose(mixed, tmp_path / "run")
    before = (tmp_path / "run/measured/a.parquet").stat().st_mtime_ns
    choose(mixed, tmp_path / "run", exclude=["books"])
    assert (tmp_path / "run/measured/a.parquet").stat().st_mtime_ns == before
    choose(mixed, tmp_path / "fresh", exclude=["Books3"])
    assert results(tmp_path / "run") == results(tmp_path / "fresh")
    shown = CliRunner().invoke(cli.app, ["show", str(tmp_path / "run"), "--reason", LEFT_OUT, "-n", "1"]).output
    assert "input.subsets does not have its subset" in shown
    writing = tmp_path / "run/decisions/a.parquet"
    rows = pq.read_table(writing)
    column = rows.schema.get_field_index("subset")
    pq.write_table(rows.set_column(column, "subset", pa.array(["Github"] * len(rows))), writing)
    assert any("input.subsets" in str(c.examples) for c in verify(tmp_path / "run") if c.failed)
    pq.write_table(rows, writing)
    trial = gp.open_run(tmp_path / "run").decide({})
    assert trial.keep.tolist() == [row["keep"] for row in decisions(tmp_path / "run")]
    plan = CliRunner().invoke(
        cli.app, ["run", str(mixed), "-o", str(tmp_path / "x"), "--dry-run", "--set", "input.subsets.exclude=[books]"]
    )
    assert "without books" in plan.output


def test_a_choice_that_no_document_fits(tmp_path, mixed):
    context, kept, _ = choose(mixed, tmp_path / "run", include=["Gihub", "dialoge"])
    assert kept == []
    first, second = context.reporter.warnings
    assert first.startswith(
        "input.subsets.include names the subset 'Gihub', which no document has; did you mean 'Github'"
    )
    assert second.endswith("did you mean 'dialogue'?")
    with pytest.raises(ConfigError, match="did you mean 'Github'"):
        run(settings([mixed], tmp_path / "run", input={"subsets": {"exclude": ["Githb"]}}, strict=True))
    (warning,) = choose(mixed, tmp_path / "run", include=["dialogue"])[0].reporter.warnings
    assert "names the subset 'dialogue', which no document has" in warning
    with pytest.raises(ConfigError, match="includ"):
        settings([mixed], tmp_path / "run", input={"subsets": {"includ": ["x"]}})
