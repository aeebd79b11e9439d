"""The archive for GPU machines: what stays of fat binaries, what is packed, what comes out. Nothing is downloaded."""

import importlib.util
import json
import lzma
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools import pack_gpu, unpack_gpu
from tools.pack_gpu import PTX, SASS, THIS_ARCHITECTURE, THIS_FAMILY, PackError
from tools.unpack_gpu import UnpackError

ROOT = Path(__file__).parents[1]
LTO = 8
PYTHON = "{}.{}".format(*sys.version_info)


def entry(kind, arch, payload, flags=0x11, extra=b""):
    """An entry of a fat binary; extra: what some versions put after the header's fixed part."""
    header = struct.pack(
        "<HHIQIIHHIIIQQQ", kind, 0x101, 64 + len(extra), len(payload), 0, 64, 1, 8, arch, 0, 0, flags, 0, 0
    )
    return header + extra + payload


def fat(*entries):
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def elf(**sections):
    """A 64-bit ELF file of these sections ("nv_fatbin" is .nv_fatbin) and nothing else."""
    names = b"\0" + b"".join(b"." + name.encode() + b"\0" for name in [*sections, "shstrtab"])
    blocks, headers = b"", bytes(64)
    for name, content in [*sections.items(), ("shstrtab", names)]:
        blocks += bytes(-len(blocks) % 16)
        at = names.index(b"." + name.encode() + b"\0")
        headers += struct.pack("<IIQQQQIIQQ", at, 1, 0, 0, 64 + len(blocks), len(content), 0, 0, 16, 0)
        blocks += content
    blocks += bytes(-len(blocks) % 8)
    count = len(sections) + 2
    start = b"\x7fELF\x02\x01\x01" + bytes(9)
    start += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, 64 + len(blocks), 0, 64, 56, 0, 64, count, count - 1)
    return bytearray(start + blocks + headers)


def section(data, name):
    (found,) = (s for s in pack_gpu.sections(data) if s.name == name)
    return bytes(data[found.start : found.end])


def shrunk(*binaries, sm=90):
    """The fat binaries after shrinking a library of them; statistics."""
    data = elf(text=b"code", nv_fatbin=b"".join(binaries), data=b"more")
    before = bytes(data)
    count = pack_gpu.shrink(data, sm)
    after = section(data, ".nv_fatbin")
    at = before.index(b"".join(binaries))
    assert bytes(data) == before[:at] + after + before[at + len(after) :]
    return after, count


def test_the_entries_of_one_architecture_stay_byte_for_byte():
    ours = entry(SASS, 90, b"ninety" * 4, extra=b"extended")
    one = fat(entry(SASS, 80, b"eighty" * 4), ours, entry(PTX, 120, b"assembly"))
    two = fat(entry(SASS, 90, b"only ours"))
    after, count = shrunk(one, bytes(24), two)
    assert after == fat(ours).ljust(len(one), b"\0") + bytes(24) + two
    assert b"eighty" not in after
    assert b"assembly" not in after
    assert count["fat_binaries"] == 2
    assert count["kept"] == len(ours) + len(two) - 16
    assert count["removed"] == len(one) - len(fat(ours))


RULES = [
    (90, [(SASS, 80, 0), (SASS, 90, 0), (PTX, 90, 0)], [1]),
    (90, [(SASS, 90, 0), (SASS, 90, THIS_ARCHITECTURE)], [0, 1]),  # the runtime chooses, as it did
    (89, [(SASS, 80, 0), (SASS, 86, 0), (SASS, 90, 0)], [1]),  # machine code runs on later minor versions of its major
    (80, [(SASS, 75, 0), (SASS, 86, 0), (PTX, 70, 0), (PTX, 75, 0), (PTX, 90, 0)], [3]),
    (90, [(SASS, 100, 0), (PTX, 80, 0)], [1]),
    (103, [(SASS, 100, THIS_ARCHITECTURE), (SASS, 100, THIS_FAMILY), (PTX, 90, 0)], [1]),
    (100, [(SASS, 103, THIS_FAMILY), (PTX, 90, THIS_ARCHITECTURE), (PTX, 80, 0)], [2]),
    (120, [(PTX, 100, THIS_FAMILY), (PTX, 90, 0)], [1]),
    (90, [(SASS, 80, 0), (LTO, 70, 0), (LTO, 80, 0), (SASS, 90, 0), (LTO, 100, 0)], [2, 3]),
    (80, [(SASS, 80, 0), (LTO, 90, 0), (LTO, 100, 0)], [0, 1, 2]),  # of other kinds all, where none is known to suit
    (75, [(SASS, 80, 0), (LTO, 75, 0), (PTX, 80, 0)], []),
    (90, [], []),
]


@pytest.mark.parametrize(("sm", "entries", "expected"), RULES)
def test_what_a_gpu_needs_of_a_fat_binary(sm, entries, expected):
    made = [pack_gpu.Entry(kind, arch, 0x11 | flags, i, i + 1) for i, (kind, arch, flags) in enumerate(entries)]
    assert [e.start for e in pack_gpu.wanted(made, sm)] == expected


def test_without_machine_code_the_newest_ptx_stays():
    ptx = entry(PTX, 80, b".target sm_80")
    one = fat(entry(SASS, 100, b"foreign"), entry(PTX, 70, b".target sm_70"), ptx, entry(PTX, 120, b".target sm_120"))
    after, _ = shrunk(one)
    assert after == fat(ptx).ljust(len(one), b"\0")


def test_a_fat_binary_with_nothing_for_the_gpu_stays_as_it_is():
    foreign, ours = fat(entry(SASS, 100, b"foreign"), entry(PTX, 100, b"x")), fat(entry(SASS, 90, b"ours"))
    after, count = shrunk(foreign, ours)
    assert after == foreign + ours
    assert (count["fat_binaries"], count["unusable"], count["removed"]) == (2, 1, 0)
    with pytest.raises(PackError, match="none of its 1 fat binaries has code that sm_90 runs"):
        shrunk(foreign)


def test_a_file_that_is_a_fat_binary_becomes_shorter():
    ours = entry(PTX, 90, b"assembly"), entry(LTO, 90, b"code to link")
    data = bytearray(fat(entry(PTX, 80, b"old"), ours[0], entry(LTO, 80, b"old"), ours[1], entry(PTX, 100, b"new")))
    count = pack_gpu.shrink(data, 90)
    assert data == fat(*ours)
    assert count["fat_binaries"] == 1
    with pytest.raises(PackError, match="none of its 1 fat binaries"):
        pack_gpu.shrink(bytearray(fat(entry(PTX, 100, b"new"))), 90)


ENTRIES = st.tuples(
    st.sampled_from([PTX, SASS, LTO]),
    st.sampled_from([75, 80, 86, 90, 100, 120]),
    st.binary(max_size=40),
    st.sampled_from([0x11, 0x11 | THIS_ARCHITECTURE, 0x11 | THIS_FAMILY]),
    st.sampled_from([b"", b"sixteen bytes   "]),
)


@given(
    binaries=st.lists(st.lists(ENTRIES, max_size=5), max_size=4), gap=st.integers(0, 9), sm=st.sampled_from([80, 90])
)
def test_shrinking_keeps_places_and_the_wanted_entries(binaries, gap, sm):
    made = [[entry(*e) for e in entries] for entries in binaries]
    kept = []
    for entries, described in zip(made, binaries, strict=True):
        parts = [pack_gpu.Entry(e[0], e[1], e[3], i, i) for i, e in enumerate(described)]
        kept.append([entries[e.start] for e in pack_gpu.wanted(parts, sm)] or entries)
    data = elf(nv_fatbin=b"".join(fat(*entries) + bytes(gap) for entries in made), debug_info=b"names")
    usable = any(pack_gpu.wanted([pack_gpu.Entry(e[0], e[1], e[3], 0, 0) for e in d], sm) for d in binaries)
    if binaries and not usable:
        with pytest.raises(PackError):
            pack_gpu.shrink(data, sm)
        return
    count = pack_gpu.shrink(data, sm)
    expected = b"".join(
        fat(*some).ljust(len(fat(*entries)), b"\0") + bytes(gap) for some, entries in zip(kept, made, strict=True)
    )
    assert (section(data, ".nv_fatbin") if expected else b"") == expected
    assert count["fat_binaries"] == len(binaries)
    again = bytearray(data)
    pack_gpu.shrink(again, sm)
    assert again == data


def test_debugging_information_goes_and_its_section_is_inactive():
    data = elf(text=b"code", debug_info=b"secret names", debug_line=b"lines")
    count = pack_gpu.shrink(data, 90)
    assert [s.name for s in pack_gpu.sections(data)] == [".text", ".shstrtab"]
    assert section(data, ".text") == b"code"
    assert b"secret" not in data
    assert count["debug"] == 17
    assert not count["fat_binaries"]


def test_a_library_without_its_debugging_information_works(tmp_path):
    shutil.copytree(Path(importlib.util.find_spec("zstandard").origin).parent, tmp_path / "zstandard")
    for library in (tmp_path / "zstandard").glob("*.so"):
        data = bytearray(library.read_bytes())
        if data[:4] != b"\x7fELF":
            pytest.skip("no ELF machine")
        pack_gpu.shrink(data, 90)
        library.write_bytes(data)
    code = "import zstandard as z; print(z.__file__); print(z.decompress(z.compress(b'text' * 99)) == b'text' * 99)"
    where, works = subprocess.check_output(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path)}, text=True
    ).split()
    assert Path(where).is_relative_to(tmp_path)
    assert works == "True"


GOOD = fat(entry(SASS, 80, b"eighty"), entry(SASS, 90, b"ninety"))
DAMAGED = {
    "no magic": (b"\x51" + GOOD[1:], "expected a fat binary"),
    "something between": (GOOD + b"\0\0text" + GOOD, "expected a fat binary"),
    "header cut off": (GOOD + GOOD[:10], "expected a fat binary"),
    "runs past the section": (GOOD[:8] + struct.pack("<Q", len(GOOD)) + GOOD[16:], "runs past its section"),
    "header too small": (GOOD[:6] + b"\x08\0" + GOOD[8:], "runs past its section"),
    "bytes after the entries": (fat(entry(SASS, 90, b"x"), b"\1" * 9), "9 bytes after its last entry"),
    "entry too long": (fat(entry(SASS, 90, b"x")[:8] + struct.pack("<Q", 1 << 60) + bytes(64)), "does not fit"),
    "entry's header too small": (fat(b"\2\0\1\1" + bytes(60)), "does not fit"),
}


@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_a_damaged_fat_binary_is_an_error(name):
    content, message = DAMAGED[name]
    with pytest.raises(PackError, match=message):
        pack_gpu.shrink(elf(nv_fatbin=content), 90)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[:40], "cut off"),
        (lambda d: d[:-1], "cut off"),
        (lambda d: d[:4] + b"\x01" + d[5:], "64-bit little-endian"),
        (lambda d: d[:62] + b"\xff\0" + d[64:], "says section 255 of 4 has the names"),
        (lambda d: d[:-40] + struct.pack("<Q", 1 << 40) + d[-32:], "runs past the file"),
        (lambda d: d[:-32] + struct.pack("<Q", 1 << 40) + d[-24:], "runs past the file"),
    ],
)
def test_a_damaged_elf_file_is_an_error(change, message):
    with pytest.raises(PackError, match=message):
        pack_gpu.shrink(bytearray(change(elf(text=b"code", nv_fatbin=GOOD))), 90)


@example(at=1599, value=128, cut=0)  # a place beyond what a machine can address
@given(at=st.integers(0, 1 << 20), value=st.integers(0, 255), cut=st.integers(0, 1 << 20))
@settings(max_examples=300)
def test_any_damage_gives_an_error_or_a_library_of_the_same_size(at, value, cut):
    data = elf(text=b"code", nv_fatbin=GOOD + GOOD, debug_info=b"names")
    data[at % len(data)] = value
    if cut % 2:
        del data[cut % len(data) :]
    size = len(data)
    try:
        pack_gpu.shrink(data, 90)
    except PackError:
        return
    assert len(data) == size


def wheel(folder, name, files, needs=()):
    """A wheel name-version-... of these files."""
    distribution = "-".join(name.split("-")[:2])
    metadata = f"Metadata-Version: 2.1\nName: {distribution.split('-')[0]}\nVersion: {distribution.split('-')[1]}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in needs)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, content in files.items():
            archive.writestr(inside, content)
        archive.writestr(f"{distribution}.dist-info/METADATA", metadata)
        archive.writestr(f"{distribution}.dist-info/RECORD", "hashes")
    return path


FAT_ELF = bytes(elf(text=b"\1" * 99, nv_fatbin=fat(entry(SASS, 80, b"foreign" * 9), entry(SASS, 90, b"native" * 9))))


@pytest.fixture
def parts(tmp_path):
    """A set of wheels with all that packing knows of."""
    rapids = {library: bytes(elf(text=library.encode())) for library in unpack_gpu.LIBRARIES}
    rapids |= {
        "libcudf/lib64/libcudf.so": FAT_ELF,
        "libcudf/__init__.py": "name = 'packed'",
        "libcudf/include/cudf/types.hpp": "header",
        "libcudf/tests/test_it.py": "test",
        "libcudf_cu13-26.10.2.data/platlib/beside.py": "beside = True",
        "libcudf_cu13-26.10.2.data/scripts/tool": "script",
        "hook.pth": "import hooked",
        "hooked.py": "import sys; sys.hooked = True",
    }
    needs = [
        "numpy[fast,big]<3,>=2",
        "helper==1.*",
        "bokeh; extra == 'diagnostics'",
        "colorama; sys_platform == 'win32'",
    ]
    return {
        "site": [wheel(tmp_path / "wheels", "libcudf_cu13-26.10.2-py3-none-manylinux_2_28_x86_64", rapids, needs)],
        "spare": [
            wheel(tmp_path / "wheels", "helper-1.2-py3-none-any", {"helper.py": "here = 'spare'"}),
            wheel(tmp_path / "wheels", "shadow-1-py3-none-any", {"wave.py": "here = 'spare'"}),
        ],
    }


@pytest.fixture
def archive(parts, tmp_path):
    pack_gpu.write(tmp_path / "pack.tar.xz", parts, 90, PYTHON)
    return tmp_path / "pack.tar.xz"


def test_what_is_packed_comes_out(archive, tmp_path):
    target = tmp_path / "there"
    manifest = unpack_gpu.unpack(archive, target)
    files = {str(p.relative_to(target)) for p in target.rglob("*") if p.is_file() and not p.is_symlink()}
    metadata = {"site/libcudf_cu13-26.10.2", "spare/helper-1.2", "spare/shadow-1"}
    made = {"manifest.json", "archive.sha256", "site/sitecustomize.py"}
    packed = {"site/libcudf/__init__.py", "site/libcudf/lib64/libcudf.so", "site/beside.py", "site/hook.pth"}
    packed |= {"site/hooked.py", "spare/helper.py", "spare/wave.py"} | {f"site/{name}" for name in unpack_gpu.LIBRARIES}
    packed |= {f"{name}.dist-info/METADATA" for name in metadata}
    assert files == made | packed
    assert set(manifest["files"]) == packed
    assert (manifest["sm"], manifest["python"]) == (90, PYTHON)
    library = target / "site/libcudf/lib64/libcudf.so"
    assert section(library.read_bytes(), ".nv_fatbin").rstrip(b"\0") == fat(entry(SASS, 90, b"native" * 9))
    assert library.stat().st_mode & 0o111
    for name in unpack_gpu.LIBRARIES:
        link = library.parent / Path(name).name
        assert link.is_symlink()
        assert link.resolve() == (target / "site" / name).resolve()
    assert manifest["expected"] == {"numpy": {"libcudf-cu13": "[big,fast]<3,>=2"}}
    assert manifest["shrunk"].keys() == {"site/libcudf/lib64/libcudf.so"}
    assert not list(tmp_path.glob("*.partial"))


def test_the_machine_finds_the_packages(archive, tmp_path):
    unpack_gpu.unpack(archive, tmp_path / "there")
    code = (
        "import sys, libcudf, helper, wave, beside, numpy; print(libcudf.name, sys.hooked, helper.here, wave.__file__)"
    )
    printed = subprocess.check_output(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(tmp_path / "there/site")}, text=True
    ).split()
    assert printed[:3] == ["packed", "True", "spare"]
    assert not Path(printed[3]).is_relative_to(tmp_path)  # what the machine has comes before spare/


def test_numpy_has_row_stack_for_numba_cuda(tmp_path):
    """numba-cuda 0.30 looks it up when it is imported; NumPy 2.5 has it no more."""
    (tmp_path / "sitecustomize.py").write_text(unpack_gpu.SITECUSTOMIZE)
    for package in ("numba", "numba/cuda"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "numba/cuda/__init__.py").write_text("import numpy; stack = numpy.row_stack")
    (tmp_path / "numpy.py").write_text("def vstack(arrays): return 'stacked'")
    printed = subprocess.check_output(
        [sys.executable, "-c", "import numba.cuda; print(numba.cuda.stack([]))"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        text=True,
    )
    assert printed == "stacked\n"


def test_the_same_wheels_give_the_same_bytes(archive, parts, tmp_path):
    pack_gpu.write(tmp_path / "again.tar.xz", parts, 90, PYTHON)
    assert (tmp_path / "again.tar.xz").read_bytes() == archive.read_bytes()


def test_unpacking_twice_does_nothing_and_other_folders_are_left_alone(archive, tmp_path):
    first = unpack_gpu.unpack(archive, tmp_path / "there")
    (tmp_path / "there/site/beside.py").unlink()
    assert unpack_gpu.unpack(archive, tmp_path / "there") == first
    assert not (tmp_path / "there/site/beside.py").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/mine").touch()
    with pytest.raises(UnpackError, match="holds something other"):
        unpack_gpu.unpack(archive, tmp_path / "other")
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["mine"]


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_damaged_archive_is_an_error_and_leaves_no_folder(archive, tmp_path, part):
    whole = archive.read_bytes()
    at = int(len(whole) * part)
    for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
        archive.write_bytes(damaged)
        with pytest.raises(UnpackError, match=r"damaged|no manifest\.json"):
            unpack_gpu.unpack(archive, tmp_path / "there")
        assert not (tmp_path / "there").exists()


def repacked(archive, change):
    """The archive again, made of what change(folder) leaves of its files."""
    folder = archive.parent / "repacked"
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    change(folder)
    with lzma.open(archive, "wb") as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(folder, ".")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "site/beside.py").write_text("beside = False"), "1 files are not what .* first site/beside.py"),
        (lambda f: (f / "site/beside.py").unlink(), "1 files are not what .* first site/beside.py"),
        (lambda f: (f / "site/extra.py").touch(), "1 files are not what .* first site/extra.py"),
        (lambda f: (f / "manifest.json").unlink(), r"no manifest\.json"),
    ],
)
def test_an_archive_that_is_not_what_its_manifest_says_is_an_error(archive, tmp_path, change, message):
    repacked(archive, change)
    with pytest.raises(UnpackError, match=message):
        unpack_gpu.unpack(archive, tmp_path / "there")
    assert not (tmp_path / "there").exists()


def test_an_archive_cannot_write_elsewhere(tmp_path):
    with lzma.open(tmp_path / "bad.tar.xz", "wb") as stream, tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(UnpackError, match="outside"):
        unpack_gpu.unpack(tmp_path / "bad.tar.xz", tmp_path / "in/there")
    assert not (tmp_path / "in/outside").exists()


def test_another_python_is_an_error(parts, tmp_path):
    pack_gpu.write(tmp_path / "pack.tar.xz", parts, 90, "3.9")
    with pytest.raises(UnpackError, match=r"packed for Python 3\.9, this is"):
        unpack_gpu.unpack(tmp_path / "pack.tar.xz", tmp_path / "there")


def test_a_library_that_cannot_be_linked_is_an_error(parts, tmp_path):
    parts["site"] = [
        wheel(tmp_path / "few", "libcudf_cu13-26.10.2-py3-none-any", {"libcudf/lib64/libcudf.so": FAT_ELF})
    ]
    pack_gpu.write(tmp_path / "pack.tar.xz", parts, 90, PYTHON)
    with pytest.raises(UnpackError, match=r"has no libkvikio/lib64/libkvikio\.so"):
        unpack_gpu.unpack(tmp_path / "pack.tar.xz", tmp_path / "there")


@pytest.mark.parametrize(
    ("wheels", "message"),
    [
        ({"a-1": ["b<2"], "b-2": []}, r"a needs b<2, packed is 2: change the pin"),
        ({"a-1": ["unknown"]}, r"a needs unknown: pin it in SITE or SPARE, or expect it in MACHINE"),
        ({"a-1": ["NumPy>=2"], "b-2": ["numpy<3", "a"]}, {"numpy": {"a": ">=2", "b": "<3"}}),
    ],
)
def test_packages_must_suit_each_other(tmp_path, wheels, message):
    made = [wheel(tmp_path, f"{name}-py3-none-any", {}, needs) for name, needs in wheels.items()]
    if isinstance(message, dict):
        assert pack_gpu.expected(made, "3.12") == message
        return
    with pytest.raises(PackError, match=message):
        pack_gpu.expected(made, "3.12")


def test_a_library_that_cannot_be_shrunk_is_named_and_no_archive_is_left(parts, tmp_path):
    bad = wheel(tmp_path / "bad", "bad-1-py3-none-any", {"bad/lib.so": bytes(elf(nv_fatbin=GOOD))[:-1]})
    with pytest.raises(PackError, match=r"bad-1-py3-none-any\.whl, bad/lib\.so: ELF file of \d+ bytes is cut off"):
        pack_gpu.write(tmp_path / "pack.tar.xz", {**parts, "more": [bad]}, 90, PYTHON)
    assert not (tmp_path / "pack.tar.xz").exists()


def test_a_file_of_two_wheels_is_an_error(parts, tmp_path):
    parts["spare"].append(wheel(tmp_path / "twice", "twice-1-py3-none-any", {"helper.py": ""}))
    with pytest.raises(PackError, match=r"first spare/helper\.py"):
        pack_gpu.write(tmp_path / "pack.tar.xz", parts, 90, PYTHON)


def test_pip_brings_only_what_is_not_there(tmp_path, monkeypatch):
    calls = []

    def run(command):
        calls.append(command)
        wheel(tmp_path, "new_one-2-cp312-cp312-manylinux_2_28_x86_64", {})
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    wheel(tmp_path, "old-1.0-py3-none-any", {})
    for _ in range(2):
        wheels = pack_gpu.download(["new.one==2", "old==1"], tmp_path, "3.12")
        assert [w.name.split("-")[0] for w in wheels] == ["new_one", "old"]
    (command,) = calls
    assert command[1:4] == ["-m", "pip", "download"]
    assert "new.one==2" in command
    assert "old==1" not in command
    assert command[command.index("--python-version") + 1] == "3.12"
    assert "--no-deps" in command
    monkeypatch.setattr(subprocess, "run", lambda command: subprocess.CompletedProcess(command, 1))
    with pytest.raises(PackError, match="could not download all of: absent==3"):
        pack_gpu.download(["old==1", "absent==3"], tmp_path, "3.12")


def test_from_command_to_command(parts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pack_gpu, "RAPIDS", ["libcudf-cu13==26.10.2"])
    monkeypatch.setattr(pack_gpu, "SITE", [])
    monkeypatch.setattr(pack_gpu, "SPARE", ["helper==1.2", "shadow==1"])
    cache = tmp_path / "cache"
    shutil.copytree(tmp_path / "wheels", cache / PYTHON)
    wheel(cache / PYTHON, "helper-1.3-py3-none-any", {"helper.py": "here = 'added'"})
    out = tmp_path / "build" / "pack.tar.xz"
    command = ["--cache", str(cache), "--out", str(out), "--python", PYTHON, "--add", "Helper==1.3"]
    pack_gpu.main(command)
    printed = capsys.readouterr().out
    assert "site/libcudf/lib64/libcudf.so: 1 fat binaries" in printed
    beside = json.loads(out.with_name("pack.tar.xz.json").read_text())
    assert beside["bytes"] == out.stat().st_size
    assert beside["sha256"] == unpack_gpu.digest(out)
    assert beside["sha256"] in printed
    assert beside["wheels"].keys() == {
        "libcudf_cu13-26.10.2-py3-none-manylinux_2_28_x86_64.whl",
        "shadow-1-py3-none-any.whl",
        "helper-1.3-py3-none-any.whl",
    }

    target = tmp_path / "folder with a space"
    unpack_gpu.main([str(out), str(target)])
    captured = capsys.readouterr()
    assert "numpy: 2." in captured.err
    assert "(wanted: libcudf-cu13 [big,fast]<3,>=2)" in captured.err
    script = f"{captured.out}\n{sys.executable} -c 'import helper; print(helper.here)'"
    assert subprocess.check_output(["sh", "-c", script], text=True) == "added\n"

    for wrong, message in ((["--most-mib", "0.0001"], "larger than"), (["--add", "numpy>=2"], "name==version")):
        with pytest.raises(SystemExit, match=message):
            pack_gpu.main([*command, *wrong])
    with pytest.raises(SystemExit, match="holds something other"):
        unpack_gpu.main([str(out), str(tmp_path)])


def test_a_small_pack_has_no_cudf(parts, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pack_gpu, "SITE", ["helper==1.2"])
    cache = tmp_path / "cache"
    shutil.copytree(tmp_path / "wheels", cache / PYTHON)
    out = tmp_path / "small.tar.xz"
    pack_gpu.main(["--cache", str(cache), "--out", str(out), "--python", PYTHON, "--small"])
    unpack_gpu.main([str(out), str(tmp_path / "there")])
    script = f"{capsys.readouterr().out.splitlines()[-1]}\n{sys.executable} -c 'import helper'"
    subprocess.run(["sh", "-c", script], check=True)
    assert not (tmp_path / "there" / "site" / unpack_gpu.BESIDE).exists()


def test_a_package_that_is_not_there_is_said_to_be():
    assert unpack_gpu.machine({"no-such-package": {"cudf": ">=1", "other": ""}}) == [
        "no-such-package: not here (wanted: cudf >=1)"
    ]


def test_what_the_project_needs_is_packed_or_on_the_machine():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    tests = [r for r in extras["dev"] if Requirement(r).name in ("hypothesis", "pytest")]
    packed = {
        canonicalize_name(r.name): Version(next(iter(r.specifier)).version)
        for r in map(Requirement, [*pack_gpu.RAPIDS, *pack_gpu.SITE, *pack_gpu.SPARE])
    }
    assert len(packed) == len(pack_gpu.RAPIDS) + len(pack_gpu.SITE) + len(pack_gpu.SPARE)
    assert not packed.keys() & pack_gpu.MACHINE
    for line in [*project["dependencies"], *extras["cu13"], *tests]:
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        assert name in packed or name in pack_gpu.MACHINE, line
        assert name not in packed or packed[name] in requirement.specifier, line


def test_unpacking_needs_the_standard_library_alone():
    source = (ROOT / "tools/unpack_gpu.py").read_text()
    imported = set(re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE))
    assert imported <= set(sys.stdlib_module_names)
