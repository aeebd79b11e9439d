"""Shards of rows: Parquet and Arrow give what the same documents as JSON lines give, and are kept as they are."""

from __future__ import annotations

import dataclasses
import json
import random

import datasets
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import gpu_pile as gp
from gpu_pile.corpus import records, tables
from gpu_pile.corpus.line_format import LineFormat
from gpu_pile.corpus.ranges import split_at_row_groups
from gpu_pile.corpus.reader import Limits
from gpu_pile.corpus.rows import RowReader
from gpu_pile.corpus.shards import Shard, find_shards
from gpu_pile.errors import DataError, UsageError
from gpu_pile.explore.verify import verify
from gpu_pile.run import pipeline
from gpu_pile.run.tasks import Threads
from tests.conftest import decisions, results, run, settings

FORMAT = LineFormat("text", "meta.pile_set_name")


def rows(n: int, seed: int = 0) -> list[dict]:
    """Rows with near and exact duplicates, subsets that are missing, and columns that nobody asked for."""
    rng = random.Random(seed)
    words = [f"wörd{i}" for i in range(300)]
    texts: list[str] = []
    for i in range(n):
        text = " ".join(rng.choices(words, k=rng.randrange(80))) if i % 3 or not texts else rng.choice(texts)
        texts.append(text + rng.choice(["", "", " tail"]))
    return [
        {
            "id": f"id-{i}",
            "text": text,
            "meta": rng.choice([None, {"pile_set_name": None, "n": 1}, {"pile_set_name": f"S{i % 3}", "n": i}]),
            "score": i / 7,
            "blob": b"\xff\x00",
        }
        for i, text in enumerate(texts)
    ]


def table_of(found: list[dict], kind: pa.DataType | None = None) -> pa.Table:
    table = pa.Table.from_pylist(found).replace_schema_metadata({"origin": "a test"})
    if kind is not None:
        table = table.set_column(1, "text", table.column("text").cast(kind))
    return table


def write_arrow(table: pa.Table, path, new=pa.ipc.new_stream, **options) -> None:
    with new(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=70)


WRITERS = {
    "small row groups": lambda t, p: pq.write_table(t, p / "x.parquet", row_group_size=41),
    "no compression": lambda t, p: pq.write_table(t, p / "x.parquet", compression="none", use_dictionary=False),
    "gzip, pages of version 2": lambda t, p: pq.write_table(
        t, p / "x.pq", compression="gzip", data_page_version="2.0", data_page_size=500
    ),
    "stream": lambda t, p: write_arrow(t, p / "x.arrow"),
    "file": lambda t, p: write_arrow(t, p / "x.arrow", pa.ipc.new_file),
    "feather": lambda t, p: write_arrow(t, p / "x.feather", pa.ipc.new_file, compression="lz4"),
    "stream of zstd": lambda t, p: write_arrow(t, p / "x.ipc", compression="zstd"),
}


def read(path, block_bytes=1 << 20, limits=None, **more):
    """(documents as (row, text, subset), bad rows, damages) of a file; checks what must hold of any block."""
    shard = Shard(0, "x", path, path.stat().st_size)
    reader = RowReader(shard, FORMAT, block_bytes=block_bytes, limits=limits or Limits(), **more)
    good, bad, position = [], [], reader.stream_bytes
    for block in reader:
        assert block.start == position
        position += block.n_bytes
        parsed = records.parse_records(block.data[: block.n_bytes])
        texts, subsets = parsed.text.documents(), parsed.subset.documents()
        good += [(r + block.first_line, t, s) for r, t, s in zip(parsed.line.tolist(), texts, subsets, strict=True)]
        bad += [(r + block.first_line, reason) for r, reason in zip(parsed.bad_line, parsed.bad_reason, strict=True)]
        again = [block.data[s : s + n + 1] for s, n in zip(parsed.start, parsed.length, strict=True)]
        assert records.parse_records(np.concatenate([*again, np.empty(0, np.uint8)])).text.documents() == texts
        block.release()
    assert position == reader.stream_bytes
    return good, bad, reader


def expected(found):
    return [
        (i, row["text"].encode(), ((row["meta"] or {}).get("pile_set_name") or "").encode())
        for i, row in enumerate(found)
        if row["text"] is not None
    ]


# reading

TEXTS = st.lists(st.none() | st.text(max_size=40) | st.sampled_from(["", "x" * 500, "é" * 99]), max_size=30)
KINDS = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int8(), pa.string()),
    pa.dictionary(pa.int32(), pa.large_string()),
]


@pytest.mark.slow
@hypothesis_settings(max_examples=30, deadline=None)
@given(TEXTS, st.sampled_from(KINDS), st.sampled_from(["x.parquet", "x.arrow"]), st.integers(20, 3000), st.data())
def test_every_layout_of_strings_is_read_in_blocks_of_any_size(tmp_path_factory, texts, kind, name, block_bytes, data):
    path = tmp_path_factory.mktemp("rows") / name
    found = [{"text": text, "meta": {"pile_set_name": data.draw(st.sampled_from([None, "A", "Bé"]))}} for text in texts]
    column = pa.array([row["text"] for row in found], pa.string())
    meta = pa.array([row["meta"] for row in found], pa.struct([("pile_set_name", pa.string())]))
    table = pa.table({"text": column.cast(kind), "meta": meta})
    if name == "x.parquet":
        pq.write_table(table, path, row_group_size=data.draw(st.integers(1, 40)))
    else:
        write_arrow(table, path)
    good, bad, reader = read(path, block_bytes)
    assert good == expected(found)
    assert bad == [(i, records.NULL) for i, text in enumerate(texts) if text is None]
    assert (reader.n_lines, reader.damages) == (len(texts), [])


def test_a_sliced_struct_with_nulls_keeps_its_rows(tmp_path):
    found = [{"text": str(i), "meta": None if i % 2 else {"pile_set_name": f"{i}"}} for i in range(100)]
    batch = pa.RecordBatch.from_pylist(found).slice(7, 50)
    with pa.ipc.new_stream(tmp_path / "x.arrow", batch.schema) as writer:
        writer.write_batch(batch)
    assert read(tmp_path / "x.arrow")[0] == [(i, t, s) for i, (_, t, s) in enumerate(expected(found)[7:57])]


def test_text_that_is_not_utf8_or_too_long_is_a_bad_row(tmp_path):
    raw = pa.array([b"good", b"\xff\xfe", None, b"x" * 300_000, b"\xed\xa0\x80"])
    strings = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    names = pa.Array.from_buffers(pa.string(), 5, pa.array([b"A", b"A", b"A", b"A", b"A"]).buffers())
    table = pa.table({"text": strings, "meta": pa.StructArray.from_arrays([names], ["pile_set_name"])})
    for path in (tmp_path / "x.parquet", tmp_path / "x.arrow"):
        if path.suffix == ".parquet":
            pq.write_table(table, path)
        else:
            write_arrow(table, path)
        good, bad, _ = read(path, 1000, Limits(line_bytes_max=200_000))
        assert good == [(0, b"good", b"A")]
        assert bad == [(1, records.NOT_UTF8), (2, records.NULL), (3, records.TOO_LONG), (4, records.NOT_UTF8)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small row groups", "gzip, pages of version 2"])
def test_damage_costs_the_rest_of_its_row_group(tmp_path, name):
    """What is delivered does not depend on the size of the blocks, is original, and keeps its row numbers."""
    found = rows(400)
    WRITERS[name](table_of(found), tmp_path)
    (path,) = tmp_path.iterdir()
    original, wanted = path.read_bytes(), expected(found)
    end = len(original) - 8 - pq.read_metadata(path).serialized_size
    rng, damaged = random.Random(8), 0
    for _ in range(20):
        broken = bytearray(original)
        at = rng.randrange(4, end - 40)
        broken[at : at + 40] = rng.randbytes(40)
        path.write_bytes(broken)
        good, bad, reader = read(path)
        if not reader.damages:
            continue
        damaged += 1
        assert "Parquet data that cannot be read" in reader.damages[0].reason
        assert good == read(path, 700)[0]
        assert {row for row, _, _ in good} | {row for row, _ in bad} <= set(range(400))
        if name == "small row groups":
            lost = {row // 41 for row, _, _ in wanted} - {row // 41 for row, _, _ in good}
            assert len(lost) <= 2
    assert damaged > 3


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_cut_off_is_damage(tmp_path, name):
    found = rows(300)
    WRITERS[name](table_of(found), tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for share in (0.0, 0.01, 0.5, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        good, _, reader = read(path)
        assert good == expected(found)[: len(good)]
        assert len(good) < 300
        assert reader.damages or (share and path.suffix != ".pq" and path.suffix != ".parquet")


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ({"body": ["a"]}, "'text', which is no such column; the file has the columns body \\(string\\)"),
        ({"text": [1]}, "which is of the type int64, not a string"),
        ({"text": [["a"]]}, "which is of the type list<"),
        ({"text": [{"en": "a"}]}, "which is of the type struct<"),
    ],
)
def test_a_column_that_is_missing_or_no_string_is_named(tmp_path, column, said):
    pq.write_table(pa.table(column), tmp_path / "x.parquet")
    with pytest.raises(UsageError, match=said) as caught:
        run(settings([tmp_path / "x.parquet"], tmp_path / "run"))
    assert str(tmp_path / "x.parquet") in str(caught.value)


def test_a_bomb_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(Limits, "stream_bytes_max", lambda self, n: self.expansion_max * n)
    text = pa.DictionaryArray.from_arrays(np.zeros(20_000, np.int32), ["x" * 10_000])
    pq.write_table(pa.table({"text": text}), tmp_path / "x.parquet")
    good, _, reader = read(tmp_path / "x.parquet", limits=Limits(expansion_max=1000))
    assert "input.expansion_max" in reader.damages[0].reason
    assert 0 < len(good) < 20_000


@pytest.mark.slow
@pytest.mark.parametrize("size", [0, 1, 63, 64, 8191, 8192, 500_000])
def test_rows_decoded_together_are_fewer_where_a_dictionary_is_large(tmp_path, monkeypatch, size):
    """A dictionary of one long text stands for many rows in a few bytes: 4,096 of them must not be decoded at once."""
    text = pa.DictionaryArray.from_arrays(np.zeros(5000, np.int32), ["x" * size])
    pq.write_table(pa.table({"text": text, "n": range(5000)}), tmp_path / "x.parquet")
    monkeypatch.setattr(tables, "BATCH_MAX", 1_000_000)
    with tables.open_table(tmp_path / "x.parquet") as table:
        (part,) = table.parts(["text"], 2**30)
        rows = len(next(part.batches))
    assert rows == min(4096, 1_000_000 // (size + 4))
    assert len(read(tmp_path / "x.parquet")[0]) == 5000 or size * 5000 > 2**30


def test_ranges_of_a_parquet_file_are_its_rows(tmp_path):
    found = rows(500)
    pq.write_table(table_of(found), tmp_path / "x.parquet", row_group_size=33)
    shard = Shard(0, "x", tmp_path / "x.parquet", (tmp_path / "x.parquet").stat().st_size)
    ranges = split_at_row_groups(shard, shard.n_bytes // 8)
    assert len(ranges) > 3
    assert split_at_row_groups(shard, shard.n_bytes) != ranges
    first, good = 0, []
    for shard_range in ranges:
        part, _, reader = read(shard.path, 900, shard_range=shard_range)
        good += [(first + row, text, subset) for row, text, subset in part]
        first += reader.n_lines
    assert good == expected(found)


# runs


def without_names(folder):
    return [{k: v for k, v in row.items() if k != "shard"} for row in decisions(folder)]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """(rows, table, the run of the same documents as JSON lines)"""
    folder = tmp_path_factory.mktemp("reference")
    found = rows(230)
    found[5]["text"] = found[150]["text"] = None
    lines = "".join(json.dumps({"text": row["text"], "meta": row["meta"]}) + "\n" for row in found)
    (folder / "x.jsonl").write_text(lines)
    run(settings([folder / "x.jsonl"], folder / "run"))
    return found, table_of(found), folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_decided_like_lines_and_kept_as_they_are(tmp_path, reference, name):
    found, table, expected_run = reference
    (tmp_path / "data").mkdir()
    WRITERS[name](table, tmp_path / "data")
    run(settings([tmp_path / "data"], tmp_path / "run", batch_bytes=3000, write={"removed": True}))
    assert without_names(tmp_path / "run") == without_names(expected_run)
    bad = [json.loads(line) for line in (tmp_path / "run/bad_lines.jsonl").read_text().splitlines()]
    assert [(b["line"], b["reason"]) for b in bad] == [(i, "the text (column 'text') is null") for i in (6, 151)]
    keep = {row["line"] - 1: row["keep"] for row in decisions(tmp_path / "run")}
    for folder, wanted in (("kept", True), ("removed", False)):
        (path,) = (tmp_path / "run" / folder).iterdir()
        written = read_table(path)
        assert written.schema.equals(table.schema, check_metadata=True)
        assert written.equals(table.filter(pa.array([keep.get(i) is wanted for i in range(len(found))])))
    if name in ("small row groups", "stream"):
        assert all(not check.failed for check in verify(tmp_path / "run", everything=True))


def read_table(path):
    if path.suffix == ".parquet":
        return pq.read_table(path)
    with path.open("rb") as file:
        is_file = file.read(6) == b"ARROW1"
        file.seek(0)
        return (pa.ipc.open_file if is_file else pa.ipc.open_stream)(file).read_all()


@pytest.mark.slow
def test_workers_ranges_and_batches_change_no_byte(tmp_path, reference):
    _, table, _ = reference
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=30)
    small = {"workers": 3, "batch_bytes": 500, "input": {"range_bytes": 1}}
    first = run(settings([tmp_path / "x.parquet"], tmp_path / "one", workers=1))
    second = run(settings([tmp_path / "x.parquet"], tmp_path / "many", **small))
    assert results(tmp_path / "one") == results(tmp_path / "many")
    ranges = [len(c.directory.state("measure", "x")["ranges"]) for c in (first, second)]
    assert ranges[0] == 1 < ranges[1]


class LikeAWorker(Threads):
    """Does tasks as a worker of a cluster does, which knows no shard but that of its task."""

    def do(self, context, stage, tasks):
        super().do(dataclasses.replace(context, shards=()), stage, tasks)


@pytest.mark.parametrize("name", ["small row groups", "feather"])
def test_workers_and_urls_change_no_byte(tmp_path, reference, monkeypatch, name):
    _, table, _ = reference
    (tmp_path / "data").mkdir()
    WRITERS[name](table, tmp_path / "data")
    run(settings([tmp_path / "data"], tmp_path / "here"))
    monkeypatch.setattr(pipeline, "Threads", LikeAWorker)
    (path,) = (tmp_path / "data").iterdir()
    store = fsspec.filesystem("memory")
    store.pipe(f"/rows/{name}/{path.name}", path.read_bytes())
    run(settings([f"memory://rows/{name}"], tmp_path / "there"))
    assert results(tmp_path / "here") == results(tmp_path / "there")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["small row groups", "stream"])
def test_a_bitmap_of_rows(tmp_path, reference, name):
    _, table, _ = reference
    (tmp_path / "data").mkdir()
    WRITERS[name](table, tmp_path / "data")
    run(settings([tmp_path / "data"], tmp_path / "lines"))
    run(settings([tmp_path / "data"], tmp_path / "bits", write={"keep": "bitmap"}))
    (path,) = (tmp_path / "lines/kept").iterdir()
    keep = np.unpackbits(np.load(tmp_path / "bits/kept/x.npy"), bitorder="little")[: len(table)].astype(bool)
    assert table.filter(keep).equals(read_table(path))
    assert all(not check.failed for check in verify(tmp_path / "bits"))
    with pytest.raises(UsageError, match="holds rows, not lines"):
        gp.open_run(tmp_path / "bits").kept_lines("x")


def test_a_folder_of_hugging_face_datasets(tmp_path, reference):
    found, _, expected_run = reference
    kept = [{"text": row["text"], "meta": row["meta"]} for row in found]
    datasets.Dataset.from_list(kept).save_to_disk(tmp_path / "data", num_shards=2)
    run(settings([tmp_path / "data"], tmp_path / "run"))
    ours, theirs = ([row["keep"] for row in decisions(folder)] for folder in (tmp_path / "run", expected_run))
    assert ours == theirs
    written = sorted(str(path) for path in (tmp_path / "run/kept").iterdir())
    assert len(written) == 2
    loaded = datasets.load_dataset("arrow", data_files=written, cache_dir=str(tmp_path / "cache"))["train"]
    texts = [row["text"] for row in found if row["text"] is not None]
    assert loaded["text"][:] == [text for text, keep in zip(texts, theirs, strict=True) if keep]


@pytest.mark.slow
def test_rows_are_written_as_json_lines_on_request(tmp_path, reference):
    found, table, _ = reference
    pq.write_table(table.drop_columns(["blob"]), tmp_path / "x.parquet")
    run(settings([tmp_path / "x.parquet"], tmp_path / "run", write={"format": "zstd"}))
    raw = zstandard.ZstdDecompressor().decompressobj().decompress((tmp_path / "run/kept/x.jsonl.zst").read_bytes())
    keep = [row["line"] - 1 for row in decisions(tmp_path / "run") if row["keep"]]
    wanted = [{k: v for k, v in found[i].items() if k != "blob"} for i in keep]
    assert [json.loads(line) for line in raw.splitlines()] == wanted
    assert all(not check.failed for check in verify(tmp_path / "run", everything=True))
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="bytes is not JSON serializable"):
        run(settings([tmp_path / "x.parquet"], tmp_path / "run", write={"format": "zstd"}))


def test_a_damaged_column_that_is_not_read_before_writing_ends_the_run(tmp_path):
    found = [{"text": f"text {i} of many words", "other": "y" * 5000 + str(i)} for i in range(50)]
    pq.write_table(pa.Table.from_pylist(found), tmp_path / "x.parquet", use_dictionary=False, compression="zstd")
    raw = bytearray((tmp_path / "x.parquet").read_bytes())
    column = pq.ParquetFile(tmp_path / "x.parquet").metadata.row_group(0).column(1)
    raw[column.data_page_offset : column.data_page_offset + 60] = bytes(60)
    (tmp_path / "x.parquet").write_bytes(raw)
    with pytest.raises(DataError, match=r"cannot copy the rows of .*a column other than the text is damaged"):
        run(settings([tmp_path / "x.parquet"], tmp_path / "run"))
    assert not list((tmp_path / "run").glob("kept/*"))


@pytest.mark.slow
def test_documents_before_damage_are_kept(tmp_path):
    found = rows(400)
    pq.write_table(table_of(found), tmp_path / "x.parquet", row_group_size=41)
    column = pq.ParquetFile(tmp_path / "x.parquet").metadata.row_group(4).column(1)
    raw = bytearray((tmp_path / "x.parquet").read_bytes())
    raw[column.data_page_offset : column.data_page_offset + 30] = bytes(30)
    (tmp_path / "x.parquet").write_bytes(raw)
    context = run(settings([tmp_path / "x.parquet"], tmp_path / "run"))
    (sentence,) = pipeline.damages(context)
    assert "Parquet data that cannot be read" in sentence
    lines = [row["line"] for row in decisions(tmp_path / "run")]
    assert lines[0] == 1
    assert lines[-1] == 400
    assert len(lines) == 400 - 41
    assert all(not check.failed for check in verify(tmp_path / "run", everything=True))


@pytest.mark.parametrize(("name", "kind"), [("small row groups", "Parquet"), ("file", "Arrow")])
def test_a_file_of_rows_by_another_name_is_recognised(tmp_path, name, kind):
    WRITERS[name](table_of(rows(3)), tmp_path)
    (path,) = tmp_path.iterdir()
    with pytest.raises(DataError, match=f"is {kind}, which is recognised by the file's name: call it"):
        run(settings([path.rename(tmp_path / "x.bin")], tmp_path / "run"))


def test_mixed_formats_and_editing_are_refused(tmp_path):
    pq.write_table(table_of(rows(3)), tmp_path / "x.parquet")
    (tmp_path / "y.jsonl").write_text("{}")
    with pytest.raises(UsageError, match=r"several formats: .*Parquet \(.*x\.parquet\).*glob such as"):
        find_shards([tmp_path], tmp_path)
    more = {"measure": {"signals": ["c4"]}, "edit": {"c4_lines": ["all"]}}
    with pytest.raises(UsageError, match="rows of Parquet and Arrow are kept as they are"):
        run(settings([tmp_path / "x.parquet"], tmp_path / "run", **more))
