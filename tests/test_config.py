import pytest
import yaml

from gpu_pile.errors import ConfigError
from gpu_pile.run import config
from tests.conftest import HERE

MINIMAL = {"input": {"shards": ["a.jsonl.zst"]}, "output": "run"}


def problems(data) -> str:
    with pytest.raises(ConfigError) as caught:
        config.parse(data)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_all_problems_at_once_each_with_its_path_and_a_suggestion():
    said = problems(
        {
            "input": {"shards": [], "text_feild": "x"},
            "dedupe": {"fuzzy": {"threshold": 2, "shingel": "word", "size": "big"}},
            "thresholds": {"use": ["goffer"], "default": {"word_count": {"min": "few"}}},
            "writ": {},
        }
    )
    for part in (
        "input.shards: List should have at least 1 item",
        "input.text_feild: unknown key; did you mean 'text_field'?",
        "dedupe.fuzzy.threshold: Input should be less than or equal to 1",
        "dedupe.fuzzy.shingel: unknown key; did you mean 'shingle'?",
        "dedupe.fuzzy.size:",
        "thresholds.default.word_count.min:",
        "writ: unknown key; did you mean 'write'?",
        "output: required, and not given",
    ):
        assert part in said, said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"thresholds": {"use": ["goffer"]}}, "did you mean 'gopher'"),
        ({"thresholds": {"default": {"word_cont": {"min": 1}}}}, "did you mean 'word_count'"),
        ({"thresholds": {"default": {"word_count": {}}}}, "needs min or max or both"),
        ({"thresholds": {"default": {"word_count": {"min": 5, "max": 4}}}}, "no document could pass"),
        (
            {"measure": {"signals": ["lengths"]}, "thresholds": {"use": ["gopher"]}},
            "add gopher_quality to measure.signals",
        ),
        ({"dedupe": {"fuzzy": {"bands": 16}}}, "give both, or neither"),
        ({"dedupe": {"fuzzy": {"bands": 20, "rows": 13}}}, "needs a sketch of that size"),
        (
            {"thresholds": {"subsets": {"Pile-CC": {"word_count": {"min": 100}}}}},
            "rules of a subset are given as rules: {word_count: {min: ..., max: ...}}",
        ),
        ({"thresholds": {"subsets": {"Pile-CC": {"minimum": 1}}}}, "unknown key; known here: rules, use"),
        (
            {"thresholds": {"subsets": {"a.b": {"rules": {"word_count": {"minimum": 1}}}}}},
            "unknown key; did you mean 'min'",
        ),
        ({"thresholds": {"default": {"word_count": {"mim": 1}}}}, "did you mean 'min'"),
        ({"workers": 0}, "workers"),
        ({"workers": "two"}, "workers"),
        ({"batch_bytes": "many"}, "expected a number of bytes such as 64MiB"),
        ({"batch_bytes": True}, "batch_bytes"),
        ({"backend": "gpu"}, "'auto', 'cpu' or 'cuda'"),
    ],
)
def test_one_problem_each(change, said):
    assert said in problems({**MINIMAL, **change})


@pytest.mark.parametrize(
    ("given", "n"), [("64MiB", 2**26), ("1.5 GB", 1_500_000_000), (1000, 1000), ("1000", 1000), ("2kib", 2048)]
)
def test_sizes(given, n):
    assert config.parse({**MINIMAL, "batch_bytes": given}).batch_bytes == n


def test_a_string_stands_for_a_list_of_one():
    whole = {
        "input": {"shards": ["data"]},
        "thresholds": {"use": ["gopher"], "subsets": {"Github": {"use": ["nemo_code"]}}},
        "dedupe": {"exact": {"skip_subsets": ["Github"]}, "survivor": {"subsets": ["Books3"]}},
    }
    short = {
        "input": "data",
        "thresholds": {"use": "gopher", "subsets": {"Github": {"use": "nemo_code"}}},
        "dedupe": {"exact": {"skip_subsets": "Github"}, "survivor": {"subsets": "Books3"}},
    }
    assert config.parse({**MINIMAL, **short}) == config.parse({**MINIMAL, **whole})
    assert config.parse({**MINIMAL, "input": ["a", "b"]}).input.shards == ["a", "b"]
    assert config.parse({**MINIMAL, "input": {"shards": "a"}}).input.shards == ["a"]
    assert config.parse({**MINIMAL, "measure": {"signals": "symbols"}}).measure.signals == ["symbols"]


def test_what_thresholds_need_is_measured_unless_signals_are_chosen():
    default = config.parse(MINIMAL).measure.signals
    assert config.parse({**MINIMAL, "thresholds": {"use": ["gopher"]}}).measure.signals == default
    more = config.parse({**MINIMAL, "thresholds": {"use": ["gopher_repetition"]}, "edit": {"c4_lines": "all"}})
    assert more.measure.signals == [*default, "c4", "gopher_repetition"]
    chosen = {"measure": {"signals": ["lengths"]}, "thresholds": {"use": ["gopher_repetition"]}}
    assert "add gopher_repetition to measure.signals" in problems({**MINIMAL, **chosen})


def test_files_that_are_no_configuration(tmp_path):
    for text, said in [
        ("input: [", "not valid YAML"),
        ("- a\n- b\n", "expected a mapping"),
        ("", "input: required"),
        ("output: a\noutput: b\n", "key 'output' is given twice"),
        ("output: !!python/object/apply:os.system ['echo hi']\n", "not valid YAML"),
    ]:
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(ConfigError, match="(?s).*" + said.replace("(", r"\(")):
            config.load(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match=r"there is no configuration file .*quickstart\.yaml"):
        config.load(tmp_path / "none.yaml")


def test_overrides(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(MINIMAL))
    loaded = config.load(
        path,
        [
            "dedupe.fuzzy.threshold=0.7",
            "output=elsewhere",
            "input.shards=[x, y]",
            "thresholds.subsets.Github.use=[]",
            "workers=3",
        ],
    )
    assert loaded.dedupe.fuzzy.threshold == 0.7
    assert (loaded.output, loaded.input.shards, loaded.n_workers) == ("elsewhere", ["x", "y"], 3)
    assert loaded.thresholds.subsets["Github"].use == []
    for wrong, said in [("novalue", "key.path=value"), ("output.x=1", "is a value"), ("a..b=1", "key.path=value")]:
        with pytest.raises(ConfigError, match=said):
            config.load(path, [wrong])


def test_the_file_with_every_option_holds_the_defaults():
    """configs/pile.yaml is the documentation of the options: every one is there, with its default."""
    data = yaml.safe_load((HERE.parent / "configs" / "pile.yaml").read_text())
    own = {"input", "output", "thresholds", "measure"}  # measure: what its thresholds need
    defaults = config.parse(MINIMAL).model_dump()
    assert data.keys() == defaults.keys()
    for section in data.keys() - own:
        assert config.parse({**MINIMAL, section: data[section]}).model_dump()[section] == defaults[section], section
        if isinstance(defaults[section], dict):
            assert data[section].keys() == defaults[section].keys(), section
    assert data["input"].keys() == defaults["input"].keys()
    for key in data["input"].keys() - {"shards"}:
        assert (
            config.parse({**MINIMAL, "input": {**MINIMAL["input"], key: data["input"][key]}}).input.model_dump()[key]
            == (defaults["input"][key])
        )
    assert data["measure"].keys() == defaults["measure"].keys()
    config.load(HERE.parent / "configs" / "pile.yaml")
