"""gp.run: the run of the command line, from Python."""

import doctest
import inspect
import re
import types

import pytest
import yaml

import gpu_pile as gp
from gpu_pile.errors import ConfigError
from gpu_pile.explore import start
from tests.conftest import DEMO, results, write_shard
from tests.test_run import QUICK


def write(tmp_path, **more):
    write_shard(tmp_path / "a.jsonl.zst", [("some words here", "x"), ("some words here", "y"), (b"not JSON")])
    return {"input": str(tmp_path / "a.jsonl.zst"), "output": str(tmp_path / "run"), **more}


def test_every_kind_of_configuration_gives_the_same_run(tmp_path, capfd):
    given = write(tmp_path)
    opened = gp.run(given)
    printed = capfd.readouterr()
    assert re.search(r"^\d\d:\d\d:\d\d +measure: ", printed.err, re.MULTILINE)
    assert printed.out == ""
    assert isinstance(opened, gp.Run)
    assert opened.report["documents"] == 2
    assert given["input"] == str(tmp_path / "a.jsonl.zst")
    before = results(tmp_path / "run")
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(given))
    for other in (str(tmp_path / "my.yaml"), opened.config):
        again = gp.run(other, {"output": str(tmp_path / "other")}, progress=False)
        assert {k: v for k, v in results(tmp_path / "other").items() if k != "run.json"} == before
        assert again.diff(opened).counts() == {"both": 1, "only_first": 0, "only_second": 0, "neither": 1}
    with pytest.warns(UserWarning, match="which no document has"):
        bundled = gp.run("quickstart", {"input.shards": given["input"], "output": given["output"]}, progress=False)
    assert bundled.config.thresholds.use == ["gopher"]
    assert capfd.readouterr().err == ""


def test_what_is_wrong(tmp_path):
    given = write(tmp_path)
    for wrong, changes, said in [
        ({"input": "x", "output": "y", "workerss": 1}, {}, "configuration: 1 problem:\n  workerss: unknown key"),
        (given, {"dedupe.fuzzy.threshold": 2}, "changes['dedupe.fuzzy.threshold']: dedupe.fuzzy.threshold: Input"),
        ("nothing", {}, "no configuration named 'nothing'"),
        (tmp_path / "no.yaml", {}, "there is no configuration file"),
    ]:
        with pytest.raises(ConfigError, match=re.escape(said)):
            gp.run(wrong, changes)
    with pytest.raises(TypeError, match="config is of type list; pass a YAML file"):
        gp.run(["a.jsonl", "b.jsonl"])
    client = types.SimpleNamespace(asynchronous=True)
    with pytest.raises(TypeError, match="asynchronous"):
        gp.run(given, client=client)
    client = types.SimpleNamespace(scheduler=types.SimpleNamespace(address="inproc://10.0.0.1/7/1"))
    with pytest.raises(ConfigError, match=r"client: cluster\.where: expected"):
        gp.run(given, client=client)
    assert not (tmp_path / "run").exists()
    with pytest.warns(UserWarning, match="more than input.bad_lines_max = 0"):
        gp.run({**given, "input": {"shards": given["input"], "bad_lines_max": 0}}, progress=False)


def test_the_package_is_callable_and_still_a_package(demo_run, tmp_path, monkeypatch):
    import gpu_pile.run.config as module

    assert gp.run.config is module
    assert isinstance(gp.run, types.ModuleType)
    assert [*inspect.signature(start.run).parameters] == ["config", "changes", "client", "progress"]
    (tmp_path / "demo").symlink_to(demo_run)
    monkeypatch.chdir(tmp_path)
    (test,) = doctest.DocTestFinder(recurse=False).find(start.run, "run")
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def test_bars_in_a_notebook(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(start, "_notebook", lambda: shown.append)
    gp.run(write(tmp_path))
    last = shown[-1]
    assert last.count("<progress") == 5
    assert last.count('value="1"') == 5
    picture = start.Picture(shown.append)
    facts = {"bytes_done": 1, "bytes": 4, "share": 0.25, "bytes_per_second": 2000000, "seconds_left": 65}
    picture.show({"event": "progress", "stage": "measure", **facts})
    picture.show({"event": "message", "text": "<b>"})
    assert 'value="0.25"' in shown[-1]
    assert "1:05 left" in shown[-1]
    assert "&lt;b&gt;" in shown[-1]


def test_no_notebook_no_bars():
    assert start._notebook() is None


@pytest.mark.slow
def test_a_client_does_the_work_and_stays_open(demo_run, tmp_path):
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1")
    with cluster, distributed.Client(cluster) as client:
        changes = {"input.shards": [str(DEMO)], "output": str(tmp_path / "run"), "cluster.dashboard": False}
        gp.run(QUICK, changes, client=client, progress=False)
        assert client.submit(int, "7").result() == 7
    assert results(tmp_path / "run") == results(demo_run)
