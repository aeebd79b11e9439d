import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpu_pile.dedup import partition
from gpu_pile.dedup.partition import Layout, Reader, Writer
from gpu_pile.errors import DataError

NUMBERS = st.lists(
    st.integers(0, 9).map(lambda x: (x * 0x1C71C71C71C71C71) % 2**64) | st.integers(2**63, 2**63 + 5), max_size=60
)


def write(folder, layout, files):
    """A file for each list of arrays."""
    paths = []
    for number, arrays in enumerate(files):
        paths.append(folder / str(number))
        with paths[-1].open("wb") as f:
            writer = Writer(f, layout)
            for array in arrays:
                writer.add(array)
            writer.close()
    return paths


def batches(paths, layout, start, stop, room):
    with Reader(paths, layout, start, stop) as reader:
        yield from reader.batches(np.zeros((room, layout.width), np.uint64))


def records(numbers, first=0):
    return np.stack([np.array(numbers, np.uint64), first + np.arange(len(numbers), dtype=np.uint64)], axis=1)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(NUMBERS, max_size=3), max_size=3), st.integers(55, 63), st.integers(1, 9), st.integers(1, 70))
def test_every_record_comes_back_once_in_order(tmp_path_factory, numbers, shift, buffer, room):
    layout = Layout(2, shift, 1 << (64 - shift), buffer, 3)
    files, n = [], 0
    for one in numbers:
        files.append([records(x, n := n + len(x)) for x in one])
    paths = write(tmp_path_factory.mktemp("spill"), layout, files)
    whole = np.concatenate([np.empty((0, 2), np.uint64), *(a for one in files for a in one)])
    seen, last = [], -1
    for start, stop in layout.ranges():
        for batch in batches(paths, layout, start, stop, room):
            values = batch[:, 0].tolist()
            assert len(batch) <= room or len(set(values)) == 1, "more than the buffer only of one value"
            assert min(values) > last, "ranges ascend, and no value is in two batches"
            last = max(values)
            for value in set(values):
                want = whole[whole[:, 0] == value]
                assert np.array_equal(batch[batch[:, 0] == value], want), "in the order of files and within them"
            seen += values
    assert sorted(seen) == sorted(whole[:, 0].tolist())


def test_a_value_in_more_records_than_fit_is_found_in_a_partition_with_others(tmp_path):
    random = np.random.default_rng(0)
    numbers = random.integers(0, 2**40, 5000, np.uint64)
    numbers[1000:3000] = 12345678901
    layout = Layout(2, 63, 2, 256, 1)
    paths = write(tmp_path, layout, [[records(numbers)]])
    sizes = [len(b) for b in batches(paths, layout, 0, 2, 300)]
    assert sum(sizes) == 5000
    assert sorted(sizes)[-2:] == [max(s for s in sizes if s <= 300), 2000]


@pytest.mark.parametrize("memory", [1, 1 << 16, 1 << 22, 1 << 31, 1 << 36])
@pytest.mark.parametrize("expected", [0, 1, 1000, 16_000_000, 3_376_000_000, 1_600_000_000_000])
@pytest.mark.parametrize("values", [1, 1000, 211_000_000, 10**11, 1 << 64])
def test_layouts(memory, expected, values):
    layout = Layout.of(2, expected, memory, values)
    assert 4 * layout.buffer * 16 <= max(memory, 4 * 1024 * 16)
    assert (values - 1) >> layout.shift == layout.partitions - 1
    assert 0 <= layout.shift <= 63
    cuts = layout.ranges()
    assert cuts[0][0] == 0
    assert cuts[-1][1] == layout.partitions
    assert all(a[1] == b[0] for a, b in itertools.pairwise(cuts))
    assert all(a < b for a, b in cuts)
    if values == 1 << 64:  # spread evenly, a partition fits
        assert expected / layout.partitions <= layout.buffer


def test_the_sizes_that_the_documentation_names():
    """The Pile and 10^11 documents of 16 bands, as docs/decisions/0010-dask-workers.md says."""
    pile = Layout.of(2, 211_000_000 * 16, 2 << 30)
    assert (pile.partitions, pile.tasks) == (2048, 805)
    large = Layout.of(2, 10**11 * 16, 64 << 30)
    assert (large.partitions, large.tasks) == (4096, 2048)


def test_a_file_of_another_layout_and_one_that_ends_early(tmp_path):
    layout = Layout(2, 63, 2, 10, 1)
    (path,) = write(tmp_path, layout, [[records(range(30))]])
    with pytest.raises(DataError, match="run the same command again"):
        Reader([path], Layout(2, 62, 4, 10, 1), 0, 4)
    with Reader([path], layout, 0, 2) as reader:
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(DataError, match="ends before its record"):
            list(reader.batches(np.empty((100, 2), np.uint64)))


def test_buffers_are_used_again():
    buffers = partition.Buffers()
    one = buffers.take(100, 2)
    one[:] = 7
    buffers.give(one)
    two = buffers.take(60, 3)
    assert np.shares_memory(one, two)
    assert not np.shares_memory(two, buffers.take(10, 3))
    buffers.give(two)
    assert buffers.take(1000, 2).shape == (1000, 2)
    buffers.clear()
