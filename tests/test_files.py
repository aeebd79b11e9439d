import errno

import pytest

from gpu_pile.corpus import files
from gpu_pile.errors import DataError


def test_an_atomic_file_is_whole_or_absent(tmp_path):
    target = tmp_path / "deep" / "x.json"
    with files.atomic(target) as partial:
        partial.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"
    with pytest.raises(ZeroDivisionError), files.atomic(target) as partial:
        partial.write_text(f"half {1 / 0}")
    assert target.read_text() == "one"
    assert [p.name for p in target.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize(
    ("number", "advice"),
    [(errno.ENOSPC, "disk is full"), (errno.EACCES, "choose another output"), (errno.EIO, "go on")],
)
def test_disk_errors_say_what_to_do(tmp_path, number, advice):
    with pytest.raises(DataError, match=advice) as caught, files.disk_errors(tmp_path / "x"):
        raise OSError(number, "said by the system")
    assert str(tmp_path / "x") in str(caught.value)
    assert caught.value.exit_code == 1


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(DataError, match="disk is full"):
        files.write_json(tmp_path / "a.json", {"a": 1})
    assert list(tmp_path.iterdir()) == []


def test_keys_are_stable_and_differ():
    assert files.key_of({"b": 1, "a": [1, "é"]}) == files.key_of({"a": [1, "é"], "b": 1})
    assert files.key_of({"a": 1}) != files.key_of({"a": 2})
    assert files.canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'


def test_unreadable_state_counts_as_none(tmp_path):
    assert files.read_json(tmp_path / "none.json") is None
    (tmp_path / "cut.json").write_text('{"a": ')
    assert files.read_json(tmp_path / "cut.json") is None


def test_a_second_process_gets_an_error(tmp_path):
    with files.locked(tmp_path), pytest.raises(DataError, match="another gpu-pile process"), files.locked(tmp_path):
        pass
    with files.locked(tmp_path):
        pass


def test_two_processes_that_make_one_file_do_not_meet(tmp_path):
    path = tmp_path / "a"
    with files.atomic(path) as first, files.atomic(path) as second:
        assert first != second
        first.write_text("one")
        second.write_text("two")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]
