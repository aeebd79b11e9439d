"""write.format: parquet: kept JSON lines as rows, nothing lost, the same bytes for any workers and any blocks."""

import errno
import json
import signal
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from gpu_pile.corpus import row_sinks
from gpu_pile.corpus.rewrite import emptied_line
from gpu_pile.corpus.row_sinks import LinesAsRows
from gpu_pile.corpus.sinks import Compression
from gpu_pile.errors import ConfigError, DataError
from gpu_pile.explore.verify import verify
from gpu_pile.run import directory
from tests.conftest import HERE, run, settings

ODD = [
    b'\xef\xbb\xbf{"text": "after a mark, \\u00e9 and \\"quotes\\"", "id": 7, "n": 1.5}',
    b' {"meta": {"pile_set_name": "W", "text": "x"}, "text" : "first", "text":"the last one counts"} \r',
    b'{"text": ["a list", "of strings"], "n": "no number", "meta": {"a": [{}, {"b": null}]}}',
    b'{"text": "half of a pair \\ud800 stays", "n": 12345678901234567890}',
    b'"a bare string"',
    b'{"text": "", "id": "b"}',
    '{"text": "多い \U0001f600", "id": "é", "meta": {"pile_set_name": "W"}}'.encode(),
]
FIELDS = {"id_field": "id", "fields": {"n": {"path": "n", "type": "number"}}, "bare_strings": True, "text_lists": True}


def corpus(folder) -> None:
    """A shard of odd lines and a shard of many ranges, with duplicates."""
    (folder / "odd.jsonl").write_bytes(b"\n".join(ODD))
    documents = [{"text": f"text number {i % 50} of several words", "id": str(i), "n": i} for i in range(60)]
    frames = ["".join(json.dumps(d) + "\n" for d in documents[i : i + 6]).encode() for i in range(0, 60, 6)]
    (folder / "many.jsonl.zst").write_bytes(b"".join(map(zstandard.compress, frames)))


def chosen(folder, name, **more):
    reading = {"range_bytes": 200, **FIELDS}
    written = {"format": "parquet", "removed": True}
    return settings([folder / "*.jsonl*"], folder / name, input=reading, write=written, **more)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("convert")
    corpus(folder)
    run(chosen(folder, "run"))
    return folder


def files_of(run_folder) -> dict[str, bytes]:
    return {f"{f}/{p.name}": p.read_bytes() for f in ("kept", "removed") for p in (run_folder / f).iterdir()}


def test_the_columns_of_kept_lines(finished):
    odd, many = (pq.read_table(finished / "run/kept" / f"{name}.parquet") for name in ("odd", "many"))
    assert odd.schema == many.schema
    assert odd.schema.names == ["text", "subset", "id", "n", "json"]
    assert odd["text"].to_pylist() == [
        *('after a mark, é and "quotes"', "the last one counts", "a list\n\nof strings"),
        *("half of a pair \ufffd stays", "a bare string", "", "多い \U0001f600"),
    ]
    assert odd["subset"].to_pylist() == ["", "W", "", "", "", "", "W"]
    assert odd["id"].to_pylist() == ["7", None, None, None, None, "b", "é"]
    assert odd["n"].to_pylist() == [1.5, None, None, 12345678901234567890.0, None, None, None]
    assert odd["json"].to_pylist() == [
        *('{"text": "", "id": 7, "n": 1.5}', ODD[1].decode().replace("the last one counts", "")),
        *(ODD[2].decode(), ODD[3].decode(), '""', ODD[5].decode()),
        '{"text": "", "id": "é", "meta": {"pile_set_name": "W"}}',
    ]
    assert many["n"].to_pylist() == list(range(50))
    assert pq.read_table(finished / "run/removed/many.parquet")["n"].to_pylist() == list(range(50, 60))
    assert directory.open_dir(finished / "run").kept("many").is_file()


def test_verify_puts_the_texts_back(finished, tmp_path):
    checks = {c.name: c for c in verify(finished / "run")}
    assert checks["kept lines"].checked == 57
    assert "by value" in checks["kept lines"].what
    assert not any(c.failed for c in checks.values())
    path = finished / "run/kept/many.parquet"
    before, table = path.read_bytes(), pq.read_table(path)
    for name in ("text", "json"):
        changed = [value.replace("number 7", "number 8").replace('"7"', '"8"') for value in table[name].to_pylist()]
        column = table.schema.get_field_index(name)
        pq.write_table(table.set_column(column, name, pa.array(changed)), path)
        assert [c.name for c in verify(finished / "run") if c.failed] == ["kept lines"]
    path.write_bytes(before)


@pytest.mark.slow
def test_the_same_bytes_for_any_workers_and_blocks(finished):
    run(chosen(finished, "other", cluster={"where": "local", "workers": 2}, batch_bytes=70_000))
    assert files_of(finished / "other") == files_of(finished / "run")


def test_a_row_group_depends_on_the_rows_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(row_sinks, "GROUP_BYTES", 100)
    monkeypatch.setattr(row_sinks, "GROUP_ROWS", 5)
    schema = pa.schema([("text", pa.string())])
    texts = ["x" * n for n in (0, 10, 250, 99, 1, 1, 1, 1, 1, 1, 1, 1, 40, 60, 3)]
    written = set()
    for size in (1, 2, 4, 15):
        sink = LinesAsRows(tmp_path / "x.parquet", schema, ("text",), lambda lines: lines, Compression())
        sink.open()
        for i in range(0, len(texts), size):
            sink.write(pa.table([texts[i : i + size]], schema))
        sink.finish().commit()
        written.add((tmp_path / "x.parquet").read_bytes())
    assert len(written) == 1
    metadata = pq.read_metadata(tmp_path / "x.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [3, 2, 5, 4, 1]


def test_an_error_in_the_middle_leaves_nothing(finished, tmp_path, monkeypatch):
    corpus(tmp_path)

    def full(*_):
        raise DataError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(LinesAsRows, "write", full)
        with pytest.raises(DataError, match="the disk is full"):
            run(chosen(tmp_path, "run"))
    assert not [p for f in ("kept", "removed") for p in (tmp_path / "run" / f).glob("*")]
    run(chosen(tmp_path, "run"))
    assert files_of(tmp_path / "run") == files_of(finished / "run")


def test_a_disk_that_is_full_at_the_beginning(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(row_sinks.pq, "ParquetWriter", full)
    sink = LinesAsRows(tmp_path / "x.parquet", pa.schema([]), (), lambda lines: lines, Compression())
    with pytest.raises(DataError, match="the disk is full"):
        sink.open()
    sink.discard()
    assert not list(tmp_path.iterdir())


KILLED = """
import os, pathlib, signal, sys
from gpu_pile.corpus.row_sinks import LinesAsRows
from tests import test_convert

LinesAsRows._write_group = lambda self: os.kill(os.getpid(), signal.SIGKILL)
test_convert.run(test_convert.chosen(pathlib.Path(sys.argv[1]), "run"))
"""


@pytest.mark.slow
def test_kill_9_in_the_middle_of_a_file(finished, tmp_path):
    corpus(tmp_path)
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not list((tmp_path / "run" / "kept").glob("*.parquet"))
    run(chosen(tmp_path, "run"))
    assert files_of(tmp_path / "run") == files_of(finished / "run")


def test_edited_texts_and_another_format(tmp_path):
    texts = [f"This line number {i} stays as it is.\nno end mark {i}\nAnother line that stays." for i in range(8)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps({"text": text, "n": 1}) + "\n" for text in texts))
    for format in ("zstd", "parquet"):
        run(settings([tmp_path / "x.jsonl"], tmp_path / "run", edit={"c4_lines": ["all"]}, write={"format": format}))
        assert not any(c.failed for c in verify(tmp_path / "run"))
    assert [p.name for p in (tmp_path / "run/kept").iterdir()] == ["x.parquet"]
    rows = pq.read_table(tmp_path / "run/kept/x.parquet").to_pylist()
    assert [row["text"] for row in rows] == [text.replace(f"\nno end mark {i}", "") for i, text in enumerate(texts)]
    assert {row["json"] for row in rows} == {'{"text": "", "n": 1}'}


def test_arrow_becomes_parquet_and_parquet_stays(tmp_path):
    table = pa.table({"text": [f"text {i % 9}" for i in range(12)], "n": range(12)}).replace_schema_metadata({"a": "b"})
    with pa.ipc.new_stream(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table)
    pq.write_table(table, tmp_path / "x.parquet")
    for name in ("x.arrow", "x.parquet"):
        out = tmp_path / f"run-{name}"
        run(settings([tmp_path / name], out, write={"format": "parquet"}))
        assert pq.read_table(out / "kept/x.parquet").equals(table.slice(0, 9), check_metadata=True)
        assert not any(c.failed for c in verify(out))


@pytest.mark.parametrize(
    ("line", "emptied"),
    [
        ('{"a": {"text": "x\\n"}, "text": "y"}', '{"a": {"text": ""}, "text": "y"}'),
        ('{"a": {"text": "\\ud83d\\ude00"}}', '{"a": {"text": ""}}'),
        ('{"a": {"text": "\\ud83d"}}', '{"a": {"text": "\\ud83d"}}'),
        ('{"a": {"text": ["x"]}}', '{"a": {"text": ["x"]}}'),
    ],
)
def test_lines_without_their_texts(line, emptied):
    assert emptied_line(line.encode(), ("a", "text")) == emptied.encode()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"write": {"keep": "bitmap"}}, "keep: bitmap writes none"),
        ({"decontaminate": {"cut": True}}, "decontaminate.cut writes JSON lines"),
        ({"input": {"fields": {"json": "a"}}}, "have a column json"),
        ({"input": {"line_bytes_max": "2GiB"}}, "at most 1073741824"),
    ],
)
def test_what_does_not_go_with_rows(sections, message):
    sections = {**sections, "write": {"format": "parquet", **sections.get("write", {})}}
    with pytest.raises(ConfigError, match=message):
        settings(["x"], HERE, **sections)
