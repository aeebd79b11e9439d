"""Inputs and run directories at URLs: the same bytes as on a file system, whole objects only, whatever fails.

S3 is a server of moto's in this process, reached over its socket by this process, its children and Dask workers.
"""

from __future__ import annotations

import dataclasses
import http.server
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import hypothesis.strategies as st
import pytest
import zstandard
from hypothesis import given

import gpu_pile as gp
from gpu_pile.cli import app
from gpu_pile.corpus import files, remote
from gpu_pile.corpus.remote import RemoteFile, RemotePath
from gpu_pile.corpus.shards import find_shards
from gpu_pile.corpus.sinks import Compression, ZstdFrames
from gpu_pile.errors import ConfigError, DataError, UsageError
from gpu_pile.explore import export
from gpu_pile.explore.verify import verify
from gpu_pile.run import config, dask, directory
from gpu_pile.run.reading import count_ranges
from gpu_pile.run.tasks import Task
from tests.conftest import DEMO, HERE, results, run, settings, write_shard
from tests.test_cluster import KillOnce, with_fault  # noqa: F401

s3fs = pytest.importorskip("s3fs")
moto_server = pytest.importorskip("moto.server")

QUICK = HERE.parent / "configs" / "quickstart.yaml"
DENIED = b"<Error><Code>AccessDenied</Code><Message>not today</Message></Error>"


class Store:
    """A server that speaks S3; .asked lists requests as (method, path with query), .fail says which are refused."""

    def __init__(self):
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.moto = moto_server.DomainDispatcherApplication(moto_server.create_backend_app)
        self.asked, self.fail = [], lambda method, path: False
        self.server = make_server("127.0.0.1", 0, self.answer, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.fs = None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, environ, start_response):
        path = environ["PATH_INFO"] + (f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else "")
        self.asked.append((environ["REQUEST_METHOD"], path))
        if self.fail(environ["REQUEST_METHOD"], path):
            length = int(environ.get("CONTENT_LENGTH") or 0)
            environ["wsgi.input"].read(length)
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [DENIED] if environ["REQUEST_METHOD"] != "HEAD" else []
        return self.moto(environ, start_response)

    def names(self, folder: str) -> list[str]:
        return sorted(self.fs.find(folder))


@pytest.fixture(scope="session")
def server():
    with pytest.MonkeyPatch.context() as patch:
        store = Store()
        patch.setenv("AWS_ENDPOINT_URL", store.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        store.fs = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
        for bucket in ("pile", "runs"):
            store.fs.mkdir(bucket)
        for file in sorted(DEMO.glob("*.zst")):
            store.fs.put_file(str(file), f"pile/demo/{file.name}", ACL="public-read")
        yield store
        store.server.shutdown()


@pytest.fixture
def s3(server):
    server.asked.clear()
    yield server
    server.fail = lambda method, path: False


def demo(output, *overrides, shards="s3://pile/demo/*.jsonl.zst"):
    return config.load(QUICK, [f"output={output}", f"input.shards=['{shards}']", *overrides])


def fetched(url: str, folder: Path) -> dict[str, bytes]:
    """The results of a run at a URL."""
    path = RemotePath(url)
    for file in path.rglob("*"):
        local = folder / file.url.removeprefix(f"{path.url}/")
        local.parent.mkdir(parents=True, exist_ok=True)
        local.write_bytes(file.read_bytes())
    return results(folder)


# the same bytes


@pytest.mark.slow
def test_a_run_in_memory_and_what_looks_at_it(demo_run, tmp_path):
    for file in DEMO.glob("*.zst"):
        RemotePath(f"memory://pile/{file.name}").put(file)
    run(demo("memory://runs/a", shards="memory://pile"))
    assert fetched("memory://runs/a", tmp_path) == results(demo_run)
    assert not list(RemotePath("memory://runs").rglob("*.partial"))
    there, here = gp.open_run("memory://runs/a"), gp.open_run(demo_run)
    assert there.decisions.to_table().equals(here.decisions.to_table())
    assert there.signals.schema == here.signals.schema
    near = int(here.pairs.column("a")[0].as_py())
    assert there.story(near)["text"] == here.story(near)["text"]
    assert there.histogram("word_count").table.equals(here.histogram("word_count").table)
    assert not [c for c in verify("memory://runs/a") if c.failed]
    n = export.export("memory://runs/a", "memory://lists/kept.txt")
    assert n == export.export(demo_run, tmp_path / "kept.txt")
    assert RemotePath("memory://lists/kept.txt").read_bytes() == (tmp_path / "kept.txt").read_bytes()
    export.export("memory://runs/a", "memory://lists/kept.jsonl", "kept")
    export.export(demo_run, tmp_path / "kept.jsonl", "kept")
    assert RemotePath("memory://lists/kept.jsonl").read_bytes() == (tmp_path / "kept.jsonl").read_bytes()
    assert there.sql("FROM documents ORDER BY doc_id").table.equals(here.sql("FROM documents ORDER BY doc_id").table)
    assert there.diff(here).counts() == {**here.diff(here).counts(), "only_first": 0, "only_second": 0}
    assert there.at_random(3) == here.at_random(3)


@pytest.mark.slow
def test_s3_and_a_second_run_that_has_nothing_to_do(demo_run, tmp_path, s3):
    run(demo("s3://runs/a"))
    assert fetched("s3://runs/a", tmp_path) == results(demo_run)
    s3.asked.clear()
    run(demo("s3://runs/a"), "write")
    assert not [path for method, path in s3.asked if method == "GET" and path.startswith("/pile/demo/")]
    written = {path.removeprefix("/runs/a/") for method, path in s3.asked if method == "PUT"}
    every = {".claim.json", ".lock", "bad_lines.jsonl", "run.json", "timings.json"}
    assert written == every


@pytest.mark.slow
def test_a_shard_of_several_frames_at_a_url_is_one_range(tmp_path, s3):
    """Nobody fetches it to see where its frames begin. One that was measured in ranges elsewhere is written in them."""
    lines = [b'{"text": "document %d has some words in it"}\n' % (i // 2) for i in range(600)]
    shard = tmp_path / "x.jsonl.zst"
    shard.write_bytes(b"".join(zstandard.compress(b"".join(lines[i : i + 50])) for i in range(0, 600, 50)))
    far = RemotePath("s3://pile/frames/x.jsonl.zst")
    far.put(shard)
    whole, ranges = {"range_bytes": 1 << 40}, {"range_bytes": shard.stat().st_size // 5}
    run(settings([shard], tmp_path / "whole", input=whole))
    s3.asked.clear()
    context = run(settings([str(far)], tmp_path / "far", input=ranges), "measure")
    assert count_ranges(context) == 1
    assert [path for method, path in s3.asked if method == "GET" and "x.jsonl" in path] == ["/pile/frames/x.jsonl.zst"]
    run(settings([str(far)], tmp_path / "far", input=ranges))
    assert results(tmp_path / "far") == results(tmp_path / "whole")

    assert count_ranges(run(settings([shard], tmp_path / "near", input=ranges))) == 4
    before = results(tmp_path / "near")
    for name in ("decisions", "kept"):
        shutil.rmtree(tmp_path / "near" / name)
    s3.asked.clear()
    run(settings([str(far)], tmp_path / "near", input=ranges))
    assert results(tmp_path / "near") == before
    assert [method for method, path in s3.asked if "x.jsonl" in path].count("GET") > 4, "read to see, then in ranges"


@pytest.mark.slow
def test_a_changed_shard_is_measured_again_and_no_other(tmp_path, s3):
    for name in ("a", "b"):
        write_shard(tmp_path / f"{name}.jsonl.zst", [(f"this is text {name}", "x")])
        RemotePath(f"s3://pile/two/{name}.jsonl.zst").put(tmp_path / f"{name}.jsonl.zst")
    wanted = settings(["s3://pile/two/"], "s3://runs/two")
    run(wanted, "measure")
    write_shard(tmp_path / "b.jsonl.zst", [("this is text c", "x")])
    assert (tmp_path / "b.jsonl.zst").stat().st_size == (tmp_path / "a.jsonl.zst").stat().st_size
    RemotePath("s3://pile/two/b.jsonl.zst").put(tmp_path / "b.jsonl.zst")
    s3.asked.clear()
    context = run(wanted, "measure")
    assert ["b.jsonl.zst has changed" in note for note in context.reporter.notes] == [True]
    assert {p for m, p in s3.asked if m == "GET" and ".zst" in p} == {"/pile/two/b.jsonl.zst"}


def test_shards_over_http(demo_run, tmp_path, s3):
    urls = [f"{s3.url}/pile/demo/{file.name}?x=1" for file in sorted(DEMO.glob("*.zst"))]
    run(config.load(QUICK, [f"output={tmp_path / 'run'}", f"input.shards={json.dumps(urls)}"]))
    assert results(tmp_path / "run") == results(demo_run)


@pytest.mark.slow
def test_damaged_shards_are_read_alike(tmp_path, s3):
    nasty = sorted(p for p in (HERE / "data" / "nasty").iterdir() if p.suffix == ".zst")
    for file in nasty:
        s3.fs.put_file(str(file), f"pile/nasty/{file.name}")
    run(settings(nasty, tmp_path / "near"), "measure")
    run(settings(["s3://pile/nasty/*.zst"], tmp_path / "far"), "measure")
    assert results(tmp_path / "near") == results(tmp_path / "far")
    near, far = (directory.RunDir(tmp_path / name) for name in ("near", "far"))
    for file in (tmp_path / "near" / "state" / "measure").iterdir():
        states = [d.state("measure", file.stem) for d in (near, far)]
        assert len({s.pop("file")["bytes"] for s in states}) == 1
        assert states[0] == states[1], file.stem


@pytest.mark.slow
def test_workers_write_at_the_url_themselves_also_those_that_are_killed(demo_run, tmp_path, s3, with_fault):  # noqa: F811
    with_fault(lambda stage, task: KillOnce(tmp_path / "killed", "close") if stage == "write" else None)
    cluster = [
        f"cluster.{k}={v}" for k, v in {"where": "local", "workers": 2, "threads": 1, "dashboard": "false"}.items()
    ]
    run(demo("s3://runs/cluster", *cluster, f"scratch={tmp_path / 'scratch'}"))
    assert fetched("s3://runs/cluster", tmp_path / "run") == results(demo_run)
    assert (tmp_path / "killed").exists()
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.slow
def test_the_command_line(demo_run, tmp_path, s3):
    from typer.testing import CliRunner

    run(demo("s3://runs/cli"))
    report = CliRunner().invoke(app, ["export", "s3://runs/cli", str(tmp_path / "ids.tsv")])
    assert report.exit_code == 0, report.output
    shown = CliRunner().invoke(app, ["show", "s3://runs/cli", "0", "--json"])
    assert json.loads(shown.output)["shard"] == "00"


# whole objects only


@pytest.mark.slow
def test_an_upload_that_fails_leaves_nothing_and_the_next_run_goes_on(demo_run, tmp_path, s3):
    for part in ("measured/02", "kept/01"):
        url = f"s3://runs/fail-{part.replace('/', '-')}"
        s3.fail = lambda method, path, part=part: method == "PUT" and part in path
        with pytest.raises(DataError, match=rf"cannot write {url}.*this user may not write there"):
            run(demo(url))
        assert not [name for name in s3.names(url) if part in name or name.endswith((".partial", ".lock"))]
        s3.fail = lambda method, path: False
        run(demo(url))
        assert fetched(url, tmp_path / part) == results(demo_run)


def test_an_upload_in_parts_that_fails_midway(tmp_path, s3, monkeypatch):
    monkeypatch.setattr(s3fs.core, "calculate_chunksize", lambda size, chunksize=None: 5 << 20)
    path = RemotePath("s3://runs/parts/x.jsonl.zst")
    s3.fail = lambda method, path: method == "PUT" and "partNumber=3" in path
    shard = ZstdFrames(path, Compression())
    shard.open()
    shard.write(os.urandom(14 << 20))
    with pytest.raises(DataError, match="cannot write"):
        shard.commit()
    assert ("PUT", "/runs/parts/x.jsonl.zst?uploadId=") not in s3.asked
    assert any("partNumber=2" in path for _, path in s3.asked), "part of it had been uploaded"
    assert any(method == "DELETE" and "uploadId" in path for method, path in s3.asked), "and was taken back"
    assert not path.exists()
    s3.fail = lambda method, path: False
    data = os.urandom(14 << 20)
    with files.atomic(path) as local:
        local.write_bytes(data)
        assert not path.exists()
    assert path.read_bytes() == data


def test_what_is_no_object_store_gets_a_name_beside_it_first(tmp_path, monkeypatch):
    from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

    path = RemotePath("memory://beside/x")
    seen, real = [], MemoryFile.write

    def torn(self, data):
        seen.append([name for name in MemoryFileSystem.store if name.startswith("/beside/")])
        real(self, data[: len(data) // 2])
        raise OSError(5, "torn")

    monkeypatch.setattr(MemoryFile, "write", torn)
    with pytest.raises(DataError, match="torn"), files.atomic(path) as local:
        local.write_bytes(b"whole")
    assert len(seen[0]) == 1
    assert seen[0][0].startswith("/beside/x.")
    assert list(path.parent.glob("*")) == []


def test_a_full_folder_for_temporary_files(monkeypatch):
    path = RemotePath("memory://full/x")
    with pytest.raises(DataError, match=r"cannot write memory://.* is full, .* set TMPDIR"), files.atomic(path):
        raise OSError(28, "No space left on device")


def test_an_error_while_reading_names_the_shard(tmp_path, s3):
    s3.fail = lambda method, path: method == "GET" and path.endswith("02.jsonl.zst")
    with pytest.raises(DataError, match=r"cannot read s3://pile/demo/02\.jsonl\.zst: no permission"):
        run(demo(tmp_path / "run"), "measure")


@pytest.mark.slow
def test_a_store_that_refuses_a_state_is_no_state_that_is_missing(s3):
    run(demo("s3://runs/away"), "measure")
    for what in ("state/measure/01", "measured/01"):
        s3.fail = lambda method, path, what=what: what in path
        with pytest.raises(DataError, match=rf"s3://runs/away/{what}.*: no permission .*run the same command again"):
            run(demo("s3://runs/away"), "measure")


KILLER = r"""
import os, pathlib, signal, sys
import s3fs
from gpu_pile.corpus import remote
from gpu_pile.run import config, pipeline

quick, url, scratch, near, step = pathlib.Path(sys.argv[1]), *sys.argv[2:5], int(sys.argv[5])


def go(output, shards="s3://pile/small"):
    settings = config.load(quick, [f"output={output}", f"input.shards=['{shards}']", f"scratch={scratch}"])
    with pipeline.prepared(settings) as context:
        pipeline.run_until(context, "report")


def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def killed_at(n, output):
    seen = 0

    def counted(real):
        def call(*args, **kwargs):
            nonlocal seen
            seen += 1
            if seen == n:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)
        return call

    for name in ("put", "unlink", "create"):
        setattr(remote.RemotePath, name, counted(getattr(remote.RemotePath, name)))
    go(output)


go(f"{near}/whole", near)  # compiled code is loaded once, here
for n in range(4, 10_000, step):
    status = child(lambda: killed_at(n, f"{url}/{n}"))
    if not os.WIFSIGNALED(status):
        assert status == 0, status
        break
    assert child(lambda: go(f"{url}/{n}")) == 0, n
    print(n, flush=True)
"""


@pytest.mark.slow
def test_kill_9_then_the_same_command(tmp_path, s3):
    for i in range(2):
        documents = [(f"document {i} {j // 2} has some words in it, which are these {j // 2}", "x") for j in range(20)]
        write_shard(tmp_path / f"{i}.jsonl.zst", documents)
        RemotePath(f"s3://pile/small/{i}.jsonl.zst").put(tmp_path / f"{i}.jsonl.zst")
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(QUICK), "s3://runs/kill", str(tmp_path / "scratch"), str(tmp_path), "19"],
        capture_output=True,
        text=True,
        cwd=HERE.parent,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    killed = done.stdout.split()
    assert len(killed) > 1
    whole = results(tmp_path / "whole")
    assert "kept/1.jsonl.zst" in whole
    for n in killed:
        assert fetched(f"s3://runs/kill/{n}", tmp_path / n) == whole, n


# reading


@pytest.fixture(scope="module")
def noise():
    data = os.urandom(5000)
    RemotePath("memory://noise/x").overwrite(data)
    return data


@pytest.mark.slow
@given(
    places=st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 5200)), max_size=12),
    block=st.integers(1, 2000),
    ahead=st.integers(0, 3),
)
def test_any_bytes_in_any_order_each_fetched_once(noise, places, block, ahead):
    path = RemotePath("memory://noise/x")
    ranges = []

    class Counted(RemotePath):
        def read_range(self, start, end, size):
            ranges.append((start, end))
            return super().read_range(start, end, size)

    with RemoteFile(Counted(path.url), block, ahead) as f:
        for n, start in places:
            assert f.pread(n, start) == noise[start : start + n]
    assert len(ranges) == len(set(ranges))
    assert all(start % block == 0 and end - start <= block for start, end in ranges)


@given(st.lists(st.tuples(st.integers(0, 5100), st.integers(0, 700)), max_size=8))
def test_as_a_file(noise, reads):
    with RemotePath("memory://noise/x").open() as f:
        for place, n in reads:
            f.seek(place)
            assert f.read(n) == noise[place : place + n]
        assert f.seek(-3, os.SEEK_END) == 4997
        assert f.read() == noise[-3:]


def test_blocks_are_fetched_ahead_of_who_reads_in_order(noise):
    with RemoteFile(RemotePath("memory://noise/x"), 1000, 2) as f:
        f.pread(10, 0)
        assert sorted(f._asked) == [0]
        f.pread(10, 1000)
        assert sorted(f._asked) == [0, 1, 2, 3]
        f.pread(10, 4990)
        assert sorted(f._asked) == [0, 1, 2, 3, 4]


def test_an_object_that_shrinks_while_it_is_read(tmp_path):
    path = RemotePath("memory://shrinks/x")
    path.overwrite(b"a" * 3000)
    with RemoteFile(path, 1000) as f:
        path.overwrite(b"b" * 1500)
        with pytest.raises(OSError, match="the object may have changed"):
            f.pread(1000, 1000)


def test_a_server_without_ranges_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "x.jsonl").write_bytes(b'{"text": "a"}\n' * 5000)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as plain:
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        path = RemotePath(f"http://127.0.0.1:{plain.server_port}/x.jsonl")
        with RemoteFile(path, 1000) as f, pytest.raises(OSError, match="range requests"):
            f.pread(100, 2000)
        plain.shutdown()


# one process a run


@pytest.fixture
def quick_beats(monkeypatch):
    monkeypatch.setattr(remote, "BEAT", 0.1)


def lock_of(folder: RemotePath) -> dict:
    return json.loads((folder / ".lock").read_bytes())


def test_a_second_process_gets_an_error(s3, quick_beats):
    folder = RemotePath("s3://runs/locked")
    with files.locked(folder):
        first = lock_of(folder)["owner"]
        said = f"in use by another gpu-pile process, number {os.getpid()} on"
        with pytest.raises(DataError, match=said), files.locked(folder):
            pass
        assert lock_of(folder)["owner"] == first
    assert not (folder / ".lock").exists()
    with files.locked(folder):
        assert lock_of(folder)["owner"] != first


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["here", "elsewhere"])
def test_a_lock_of_the_dead(s3, monkeypatch, machine):
    monkeypatch.setattr(remote, "BEAT", 0.7)  # a busy machine takes half a second to see a dead process
    folder = RemotePath(f"s3://runs/dead-{machine}")
    dead = subprocess.Popen(["true"])
    dead.wait()
    held = {"owner": "x", "pid": dead.pid, "host": "h", "machine": remote._machine() if machine == "here" else "far"}
    assert (folder / ".lock").create(json.dumps(held).encode())
    start = time.monotonic()
    with files.locked(folder):
        assert lock_of(folder)["owner"] != "x"
        waited = time.monotonic() - start
    assert (waited > remote.MISSED * remote.BEAT) == (machine == "elsewhere")


def test_a_lock_that_was_taken_over_is_noticed(s3, quick_beats):
    folder = RemotePath("s3://runs/stolen")
    held = files.locked(folder)
    held.__enter__()
    (folder / ".lock").overwrite(b'{"owner": "thief"}')
    time.sleep(0.5)
    with pytest.raises(DataError, match="was taken over"):
        held.__exit__(None, None, None)
    assert lock_of(folder)["owner"] == "thief"


# what is asked for, and what is missing


@pytest.mark.parametrize(
    "url",
    [
        "simplecache::s3://bucket/x",
        "reference://x",
        "zip://a.jsonl::s3://bucket/a.zip",
        "s3://bucket/a::memory://x",
        "ftp://host/x",
        "dask://x",
        "local:///etc/passwd",
        "s3://",
        "https://user:secret@host/x.jsonl",
        "S3://bucket/x",
        "https:/user:secret@host/x",
        "https:user:secret@host/x",
        "s3:/key:secret@bucket/x",
        "ftp://user:secret@host/x",
        "https://secret@host/x",
    ],
)
def test_urls_that_are_refused(tmp_path, monkeypatch, url):
    """Without repeating a password, and before anything is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"input\.shards.*\n?") as caught:
        settings([url], "out")
    with pytest.raises(ConfigError, match="output") as output:
        settings(["x"], url)
    with pytest.raises(UsageError) as opened:
        gp.open_run(url)
    with pytest.raises(ConfigError, match="output") as by_option:
        config.load(QUICK, [f"output={url}"])
    assert "secret" not in f"{caught.value} {by_option.value} {output.value} {opened.value}"
    assert list(tmp_path.iterdir()) == []


SECRETS = [
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20261121%2Fs3&X-Amz-Signature=5ec2e7&X-Amz-Expires=60",
    "AWSAccessKeyId=AKIA&Signature=5ec2e7%3D&Expires=1",
    "sv=2024-01-01&se=2027-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=5ec2e7%2F%3D",
    "Expires=1&Policy=5ec2e7_&Signature=5ec2e7~&Key-Pair-Id=AKIA",
    "token=5ec2e7",
    "5ec2e7",
]
"""Queries of presigned URLs of S3, of S3's first version, Azure, CloudFront, and others."""


@pytest.mark.parametrize("query", SECRETS)
@pytest.mark.parametrize("text", ["{}", "cannot read {}: no", "[{}], ({}).", '{{"path": "{}"}}', "url='{}'", "{}\n{}"])
def test_queries_are_not_shown(query, text):
    url = f"https://host/a/00.jsonl.zst?{query}"
    assert remote.without_secrets(text.format(url, url)) == text.format(*2 * ["https://host/a/00.jsonl.zst?..."])


def test_what_is_no_secret_is_shown():
    for text in (
        "abfs://container@account.dfs.core.windows.net/x",
        "s3://bucket/part-?.jsonl.zst",
        "hf://datasets/a/b@main/x.jsonl",
        "did you mean 'x'? expected a=1",
        "data/*/0?.jsonl",
    ):
        assert remote.without_secrets(text) == text
    relative = "Max retries exceeded with url: /a/00.jsonl?X-Amz-Signature=5ec2e7 (Caused by nothing)"
    assert "5ec2e7" not in remote.without_secrets(relative)


@pytest.mark.slow
def test_a_presigned_url_is_in_no_file_and_no_message(tmp_path, s3):
    """A run that succeeds, what looks at it afterwards, and one whose credential has expired."""
    from typer.testing import CliRunner

    presigned = s3.fs.sign("pile/demo/00.jsonl.zst", expiration=600)
    signature = re.search(r"Signature=([^&]+)", presigned)[1]
    chosen = [f"output={tmp_path / 'run'}", f"input.shards={json.dumps([presigned])}"]
    arguments = [str(QUICK), *(word for option in chosen for word in ("--set", option))]
    planned = CliRunner().invoke(app, ["run", *arguments, "--dry-run"])
    done = CliRunner().invoke(app, ["run", *arguments])
    assert (planned.exit_code, done.exit_code) == (0, 0), (planned.output, done.output)
    stored = b"".join(p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file())
    with pytest.raises(UsageError, match="copy of the file") as reading:
        verify(tmp_path / "run")
    s3.fail = lambda method, path: "00.jsonl" in path
    failed = CliRunner().invoke(app, ["run", *arguments])
    assert failed.exit_code
    order = dask._Order("1", config.load(QUICK, chosen), None, "", "measure", 1, Task(run, (), 1, "00", ()))
    seen = f"{planned.output}{done.output}{reading.value}{failed.output}{failed.exception!r}{order!r}"
    seen += "".join(traceback.format_exception(failed.exception))
    assert signature not in seen
    assert signature.encode() not in stored
    assert "?..." in seen
    assert b"?..." in stored
    s3.fail = lambda method, path: False
    copy = tmp_path / "00.jsonl.zst"
    copy.write_bytes(s3.fs.cat_file("pile/demo/00.jsonl.zst"))
    again = run(config.load(QUICK, [chosen[0], f"input.shards={json.dumps([str(copy)])}"]))
    assert again.reporter.stages["measure"]["text_bytes"] == 0
    assert not any(check.failed for check in verify(tmp_path / "run"))


@pytest.mark.parametrize("url", ["https://host/run", "hf://datasets/a/b"])
def test_what_can_only_be_read(url):
    assert settings([url], "out").input.shards == [url]
    with pytest.raises(ConfigError, match="can only be read"):
        settings(["x"], url)


def test_file_urls_are_paths(demo_run, tmp_path):
    run(demo(f"file://{tmp_path}/run", shards=f"file://{DEMO}/*.zst"))
    assert results(tmp_path / "run") == results(demo_run)
    assert len(gp.open_run(f"file://{tmp_path}/run").shards) == 3


def test_scratch_that_workers_elsewhere_share():
    there = {"where": "tcp://10.0.0.1:8786"}
    with pytest.raises(ConfigError, match="set scratch to a folder that all of them share"):
        settings(["x"], "s3://runs/x", cluster=there)
    assert settings(["x"], "s3://runs/x", cluster=there, scratch="/shared").scratch == "/shared"
    with pytest.raises(ConfigError, match="expected a folder on a file system"):
        settings(["x"], "out", scratch="s3://runs/scratch")


@pytest.mark.parametrize("stage", ["measure", "dedupe", "write"])
def test_a_worker_that_sees_another_scratch(tmp_path, monkeypatch, stage):
    """Also one of the same name, of its own machine's."""
    monkeypatch.setattr("distributed.get_worker", lambda: None)
    monkeypatch.setattr(dask, "PATIENCE", 0.2)
    wanted = settings([DEMO], tmp_path / "run", scratch=str(tmp_path / "here"))
    here = directory.of(wanted)
    for path in here.leases:
        files.write_json(path, {"lease": "x"})
    there = dataclasses.replace(here, scratch_in=tmp_path / "there")
    there.scratch.mkdir(parents=True)
    order = dask._Order(gp.__version__, wanted, there, "x", stage, 1, Task(print, (), 0, "", ()))
    with pytest.raises(UsageError, match=r"does not see .*there.*scratch must be a folder that all machines share"):
        dask._do(order)


def test_scratch_is_a_folder_of_ours(tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("keep")
    one, two = (directory.of(settings(["x"], tmp_path / name, scratch=str(tmp_path))) for name in "ab")
    assert one.scratch != two.scratch
    left = [run.scratch / "measure" / name for run in (one, two) for name in ("x.partial", "x.json")]
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")
    one.remove_partials()
    assert [file.exists() for file in left] == [False, True, True, True]
    one.clear_scratch("measure")
    assert not one.scratch.exists()
    two.clear_scratch()
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    monkeypatch.setattr(directory.tempfile, "gettempdir", lambda: str(tmp_path))
    far = directory.of(settings(["x"], "memory://runs/x"))
    assert far.scratch.parent == tmp_path / f"gpu-pile-{os.getuid()}"
    assert not far.scratch.parent.exists()
    far.claim(["x"])
    assert far.scratch.parent.stat().st_mode & 0o077 == 0
    far.scratch.parent.rmdir()
    far.scratch.parent.symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is somebody else's"):
        far.claim(["x"])


def test_a_package_that_is_not_installed(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(remote.importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"gs:// needs fsspec and gcsfs.*pip install 'gpu-pile\[remote\]' gcsfs"):
        find_shards(["gs://bucket/x.jsonl"], Path())


def test_what_is_not_there(s3, tmp_path):
    for url in (
        "s3://pile/none.jsonl",
        "s3://nobucket/*.jsonl",
        "s3://pile/none/*/x.jsonl",
        "http://127.0.0.1:1/x.jsonl",
    ):
        with pytest.raises(UsageError, match="names no file, or cannot be reached"):
            find_shards([url], Path())
    with pytest.raises(UsageError, match="there is no run directory s3://runs/none"):
        gp.open_run("s3://runs/none")
    with pytest.raises(DataError, match=r"cannot write s3://nobucket/run.*bucket does not exist"):
        run(settings([DEMO], "s3://nobucket/run"))


def test_a_run_of_others_is_left_alone(s3):
    RemotePath("s3://runs/full/thesis.txt").overwrite(b"x")
    with pytest.raises(UsageError, match=r"holds files that do not belong to a run of gpu-pile \(thesis\.txt\)"):
        run(settings([DEMO], "s3://runs/full"))
    assert s3.names("runs/full") == ["runs/full/thesis.txt"]


@pytest.mark.slow
def test_local_runs_import_no_fsspec(tmp_path):
    code = (
        "import sys; from pathlib import Path; from tests.conftest import *; here = Path(sys.argv[1]); "
        "write_shard(here / 'a.jsonl.zst', [('some text', 'x')]); run(settings([here], here / 'run')); "
        "import gpu_pile; gpu_pile.open_run(here / 'run').decisions.to_table(); print('fsspec' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=HERE.parent, check=True
    )
    assert done.stdout.split() == ["False"]
