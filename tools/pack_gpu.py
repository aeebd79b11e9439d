"""Pack cuDF, and what gpu_pile needs beside it, into one small archive for a GPU machine that reaches no registry.

    python tools/pack_gpu.py --sm 90 --out build/gpu/pack.tar.xz
    python tools/pack_gpu.py --small

With --small neither cuDF nor what a machine may have already: enough for runs and for steps 1, 2 and 4 of check-gpu.
Nine tenths of RAPIDS's wheels are machine code for GPUs of other architectures. The archive has the code for one, and
none of the headers, tests and debugging information. tools/unpack_gpu.py unpacks it:

    site/          packages that come before the machine's own
    spare/         packages that come after the machine's own: for what a machine may or may not have
    manifest.json  sm, python, the wheels and their SHA-256, the files and theirs, what is expected of the machine

A fat binary (the CUDA runtime's container of code for several architectures; the layout is not documented by NVIDIA,
`cuobjdump` reads it) is a header {u32 magic, u16 version, u16 size of this header, u64 size of all entries} and entries
{u16 kind, u16 version, u32 size of this header, u64 size of the payload, 12 bytes, u32 architecture, 8 bytes, u64
flags, ...}, each followed by its payload. A library's section .nv_fatbin has fat binaries one after the other, and the
code points at each: so the entries to keep are moved to the front of their fat binary, its size becomes theirs, and
zeros fill what they leave. No address changes.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import io
import json
import lzma
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

RAPIDS = [
    "libcudf-cu13==26.10.2", "pylibcudf-cu13==26.10.2", "cudf-cu13==26.10.2",
    "dask-cuda==26.10.0", "librmm-cu13==26.10.0", "rmm-cu13==26.10.0", "libkvikio-cu13==26.10.0",
    "nvidia-libnvcomp-cu13==5.3.0.16", "rapids-logger==0.3.0", "rapids-dask-dependency==26.10.0", "dask==2026.7.1",
    "distributed==2026.7.1", "cachetools==8.0.0", "locket==1.0.0", "partd==1.4.2", "tblib==3.2.2", "tornado==6.6.1",
    "zict==3.0.0",
]  # fmt: skip

SITE = [
    "nvtx==0.2.17", "pydantic==2.14.3", "pydantic-core==2.50.4", "annotated-types==0.8.0", "typing-inspection==0.4.5",
    "typing-extensions==4.16.0", "zstandard==0.25.0",
]  # fmt: skip

SPARE = [
    "annotated-doc==0.0.7", "cffi==2.1.1", "click==8.5.1", "cloudpickle==3.1.2", "cryptography==50.0.2",
    "fsspec==2026.9.0", "hypothesis==6.170.15", "iniconfig==2.3.1", "jinja2==3.1.6", "markdown-it-py==4.3.0",
    "markupsafe==3.0.4", "mdurl==0.1.2", "msgpack==1.2.4", "nvidia-ml-py==13.615.71", "packaging==26.3",
    "pluggy==1.7.0", "psutil==7.2.2", "pycparser==3.12", "pygments==2.21.0", "pytest==9.2.0", "pyyaml==6.0.3",
    "rich==15.0.0", "shellingham==1.5.4", "sortedcontainers==2.4.0", "toolz==1.2.0", "typer==0.29.2",
]  # fmt: skip

# What an image with CUDA 13, CuPy, numba, pandas and pyarrow has, and what only parts of RAPIDS need that gpu_pile does
# not use (bokeh: dask's dashboard; numba-cuda-mlir: functions over rolling windows).
MACHINE = {
    "cuda-bindings", "cuda-core", "cuda-pathfinder", "cuda-toolkit", "cupy-cuda13x", "numba", "numba-cuda", "numpy",
    "nvidia-nvjitlink", "pandas", "pyarrow",
    "bokeh", "numba-cuda-mlir",
}  # fmt: skip

# As fnmatch matches paths inside wheels, where * also matches /.
DROPPED = (
    "*/include/*", "*/cmake/*", "*/tests/*", "*.a", "*.c", "*.cmake", "*.cpp", "*.cu", "*.cuh", "*.h", "*.hpp", "*.pxd",
    "*.pyi", "*.pyx", "*.js.map",
    "*.dist-info/RECORD",  # no longer true
    "cudf/pandas/scripts/*", "distributed/http/static/*", "libkvikio/share/*", "nvidia/*/bin/*", "shared-actions/*",
    "tornado/test/*", "pygments/lexers/_*_builtins.py",  # lists of names of languages like Lasso
    "zstandard/_cffi.*", "zstandard/backend_cffi.py",  # another interpreter's way to the same library
)  # fmt: skip

# manylinux tags that glibc 2.28, the oldest that RAPIDS supports, satisfies; pip takes each by its exact name
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]

MAGIC_BYTES = bytes.fromhex("50ed55ba")
FAT_SECTIONS = (".nv_fatbin", "__nv_relfatbin")
PTX, SASS = 1, 2  # kinds of entries
THIS_ARCHITECTURE, THIS_FAMILY = 0x100000, 0x200000  # flags: sm_90a runs on 9.0 alone, sm_100f on 10.x alone

_ELF_SECTIONS = struct.Struct("<40xQ10xHHH")  # in the file's header: position, size of each, count, which has the names
_SECTION = struct.Struct("<II8x8xQQ24x")  # name, type, position, size
_NO_BITS = 8
_FAT = struct.Struct("<6xHQ")
_ENTRY = struct.Struct("<H2xIQ12xI8xQ16x")


class PackError(Exception):
    """The pack cannot be made; says why and what to do."""


@dataclass(frozen=True)
class Section:
    """name; header: where its header is in the file; start, end: where its bytes are."""

    name: str
    header: int
    start: int
    end: int


@dataclass(frozen=True)
class Entry:
    """Code for one architecture (90: compute capability 9.0); start, end: header and payload in the file."""

    kind: int
    arch: int
    flags: int
    start: int
    end: int

    def runs_on(self, sm: int) -> bool:
        """Whether a GPU of this compute capability can run it, PTX after the driver has compiled it."""
        if self.flags & THIS_ARCHITECTURE:
            return self.arch == sm
        if self.kind == SASS or self.flags & THIS_FAMILY:
            return self.arch // 10 == sm // 10 and self.arch <= sm
        return self.arch <= sm


@dataclass(frozen=True)
class FatBinary:
    """start: of the header; body: of the first entry; end: of the last."""

    start: int
    body: int
    end: int
    entries: tuple[Entry, ...]


def sections(data: bytes | bytearray) -> list[Section]:
    """The sections of an ELF file that have bytes in it.

    Raises:
        PackError: the file is damaged or not a 64-bit little-endian one.
    """
    if data[4:6] != b"\x02\x01":
        raise PackError(f"expected a 64-bit little-endian ELF file, its class and order are {bytes(data[4:6])!r}")
    try:
        position, size, count, names = _ELF_SECTIONS.unpack_from(data)
        headers = [position + i * size for i in range(count)]
        found = [(_SECTION.unpack_from(data, header), header) for header in headers]
    except (struct.error, OverflowError) as error:  # the latter for places that no file can have
        raise PackError(f"ELF file of {len(data)} bytes is cut off: {error}") from None
    if not found:
        return []
    if names >= count:
        raise PackError(f"ELF file says section {names} of {count} has the names")
    out = []
    for (name, kind, start, length), header in found:
        at = found[names][0][2] + name
        terminator = data.find(b"\0", at)
        if kind == _NO_BITS or not length:
            continue
        if start + length > len(data) or terminator < 0:
            raise PackError(f"ELF section at {start:#x} of {length} bytes runs past the file's {len(data)} bytes")
        out.append(Section(bytes(data[at:terminator]).decode(errors="replace"), header, start, start + length))
    return out


def fat_binaries(data: bytes | bytearray, start: int, end: int) -> Iterator[FatBinary]:
    """The fat binaries between two places of a file; between them nothing but zeros.

    Raises:
        PackError: something else is there, or sizes do not add up.
    """
    while something := re.compile(rb"[^\0]").search(data, start, end):
        start = something.start()
        if end - start < _FAT.size or not data.startswith(MAGIC_BYTES, start):
            got = bytes(data[start : start + 4]).hex()
            raise PackError(f"expected a fat binary at {start:#x}, which begins {MAGIC_BYTES.hex()}, got {got}")
        header_size, size = _FAT.unpack_from(data, start)
        body = at = start + header_size
        stop = body + size
        if header_size < _FAT.size or stop > end:
            raise PackError(f"fat binary at {start:#x} of {header_size} + {size} bytes runs past its section, {end:#x}")
        entries = []
        while at < stop:
            if stop - at < _ENTRY.size:
                raise PackError(f"fat binary at {start:#x}: {stop - at} bytes after its last entry")
            kind, entry_header, payload, arch, flags = _ENTRY.unpack_from(data, at)
            after = at + entry_header + payload
            if entry_header < _ENTRY.size or after > stop:
                raise PackError(
                    f"fat binary at {start:#x}: entry at {at:#x} of {entry_header} + {payload} bytes does not fit its "
                    f"{stop - at}"
                )
            entries.append(Entry(kind, arch, flags, at, after))
            at = after
        yield FatBinary(start, body, stop, tuple(entries))
        start = stop


def wanted(entries: Iterable[Entry], sm: int) -> list[Entry]:
    """What a GPU of this compute capability needs of a fat binary, in order; [] where nothing runs on it.

    The machine code of the nearest architecture or else the newest PTX; of each other kind (code for the linker of the
    CUDA toolkit, say) the newest that suits, or all of it.
    """
    entries = list(entries)

    def nearest(kind: int) -> list[Entry]:
        usable = [e for e in entries if e.kind == kind and e.runs_on(sm)]
        return [e for e in usable if e.arch == max(e.arch for e in usable)]

    keep = nearest(SASS) or nearest(PTX)
    if not keep:
        return []
    for kind in {e.kind for e in entries} - {SASS, PTX}:
        keep += nearest(kind) or [e for e in entries if e.kind == kind]
    return sorted(keep, key=lambda e: e.start)


def shrink(data: bytearray, sm: int) -> Counter[str]:
    """Remove, in place, code for other GPUs and debugging information from an ELF file, whose length stays, or code for
    other GPUs from a file that is a fat binary, which becomes shorter.

    A fat binary with nothing for this GPU stays as it is: what it does on the GPU, an error, stays so too.

    Returns:
        fat_binaries, kept and removed (bytes of entries), unusable (fat binaries with nothing for this GPU), debug
        (bytes).
    Raises:
        PackError: the file is damaged, or has GPU code but none for this GPU.
    """
    count: Counter[str] = Counter()
    if data.startswith(MAGIC_BYTES):
        for fat in list(fat_binaries(data, 0, len(data)))[::-1]:  # the last first: places before it stay true
            del data[_compact(data, fat, sm, count) : fat.end]
    else:
        for section in sections(data):
            if section.name.startswith(".debug_"):
                data[section.start : section.end] = bytes(section.end - section.start)
                data[section.header : section.header + _SECTION.size] = bytes(_SECTION.size)  # an inactive section
                count["debug"] += section.end - section.start
            elif section.name in FAT_SECTIONS:
                for fat in list(fat_binaries(data, section.start, section.end)):
                    end = _compact(data, fat, sm, count)
                    data[end : fat.end] = bytes(fat.end - end)
    if count["fat_binaries"] and count["unusable"] == count["fat_binaries"]:
        raise PackError(f"none of its {count['fat_binaries']} fat binaries has code that sm_{sm} runs")
    return count


def _compact(data: bytearray, fat: FatBinary, sm: int, count: Counter[str]) -> int:
    """Move the wanted entries to the front of their fat binary and make its size theirs; returns where they end."""
    count["fat_binaries"] += 1
    keep = wanted(fat.entries, sm)
    if not keep:
        count["unusable"] += 1
        return fat.end
    body = b"".join(data[e.start : e.end] for e in keep)
    data[fat.body : fat.body + len(body)] = body
    struct.pack_into("<Q", data, fat.start + 8, len(body))
    count["kept"] += len(body)
    count["removed"] += fat.end - fat.body - len(body)
    return fat.body + len(body)


def find(pin: str, folder: Path) -> Path | None:
    """The wheel of a pin (name==version) in a folder."""
    requirement = Requirement(pin)
    for wheel in sorted(folder.glob("*.whl")):
        name, version, _, _ = parse_wheel_filename(wheel.name)
        if name == canonicalize_name(requirement.name) and version in requirement.specifier:
            return wheel
    return None


def download(pins: Iterable[str], folder: Path, python: str) -> list[Path]:
    """The wheels of the pins, in their order; pip brings those that are not in the folder yet.

    Raises:
        PackError: pip fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pins = list(pins)
    missing = [pin for pin in pins if find(pin, folder) is None]
    if missing:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--implementation", "cp", "--python-version", python, "--dest", str(folder)]
        command += [f"--platform={platform}" for platform in PLATFORMS]
        if subprocess.run([*command, *missing]).returncode:
            raise PackError(f"pip (above) could not download all of: {' '.join(missing)}")
    wheels = [find(pin, folder) for pin in pins]
    if None in wheels:
        raise PackError(f"pip downloaded no wheel of {pins[wheels.index(None)]}")
    return [wheel for wheel in wheels if wheel]


def requirements(wheel: Path, python: str) -> Iterator[Requirement]:
    """What a wheel needs on the GPU machine, extras left out."""
    machine = {
        "extra": "",
        "implementation_name": "cpython",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
    }
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
        message = BytesParser().parsebytes(archive.read(metadata))
    for line in message.get_all("Requires-Dist", []):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(machine):
            yield requirement


def expected(wheels: Iterable[Path], python: str) -> dict[str, dict[str, str]]:
    """What the machine must have: {its package: {packed package: extras and versions of it that this needs}}.

    Raises:
        PackError: a packed package does not suit another, or something is neither packed nor in MACHINE.
    """
    wheels = list(wheels)
    packed = {name: version for name, version, _, _ in (parse_wheel_filename(w.name) for w in wheels)}
    out: dict[str, dict[str, str]] = {}
    for wheel in wheels:
        who = parse_wheel_filename(wheel.name)[0]
        for requirement in requirements(wheel, python):
            name = canonicalize_name(requirement.name)
            if name in packed:
                if not requirement.specifier.contains(packed[name], prereleases=True):
                    raise PackError(f"{who} needs {requirement}, packed is {packed[name]}: change the pin")
            elif name in MACHINE:
                extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
                out.setdefault(name, {})[who] = f"{extras}{requirement.specifier}"
            else:
                raise PackError(f"{who} needs {requirement}: pin it in SITE or SPARE, or expect it in MACHINE")
    return dict(sorted(out.items()))


def members(wheel: Path) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    """(path after installation, file) of what is worth packing."""
    with zipfile.ZipFile(wheel) as archive:
        files = [info for info in archive.infolist() if not info.is_dir()]
    for info in files:
        path = info.filename
        if data := re.fullmatch(r"[^/]+\.data/(\w+)/(.+)", path):
            if data[1] not in ("purelib", "platlib"):
                continue
            path = data[2]
        if not any(fnmatch.fnmatchcase(path, pattern) for pattern in DROPPED):
            yield path, info


def write(out: Path, parts: Mapping[str, list[Path]], sm: int, python: str) -> dict[str, Any]:
    """Write the archive, from {folder in it: wheels}; the same wheels give the same bytes.

    Returns:
        Its manifest, which is the archive's last member.
    Raises:
        PackError: packages do not suit each other, two bring the same file, or a file of one cannot be shrunk.
    """
    every = [wheel for wheels in parts.values() for wheel in wheels]
    needs = expected(every, python)
    archives = {wheel: zipfile.ZipFile(wheel) for wheel in every}
    todo = []
    for folder, wheels in parts.items():
        for wheel in wheels:
            for path, info in members(wheel):
                with archives[wheel].open(info) as file:
                    library = file.read(4) == b"\x7fELF"
                # like beside like compresses best
                todo.append((library, Path(path).suffix, f"{folder}/{path}", wheel, info))
    todo.sort(key=lambda item: item[:3])
    twice = [path for path, n in Counter(item[2] for item in todo).items() if n > 1]
    if twice:
        raise PackError(f"{len(twice)} files are in more than one wheel, first {twice[0]}")

    hashes: dict[str, str] = {}
    shrunk: dict[str, dict[str, int]] = {}
    partial = out.with_name(out.name + ".partial")
    window = max(4096, min(sum(info.file_size for *_, info in todo), 128 * 2**20))
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 9, "nice_len": 273, "dict_size": window}]
    with (
        lzma.open(partial, "wb", format=lzma.FORMAT_XZ, filters=filters) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):

        def add(path: str, data: bytes | bytearray, mode: int) -> None:
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), mode
            tar.addfile(member, io.BytesIO(data))

        for library, _, path, wheel, info in todo:
            data = bytearray(archives[wheel].read(info))
            if library or data.startswith(MAGIC_BYTES):
                try:
                    count = shrink(data, sm)
                except PackError as error:
                    raise PackError(f"{wheel.name}, {info.filename}: {error}") from None
                if count["fat_binaries"]:
                    shrunk[path] = dict(count)
            hashes[path] = hashlib.sha256(data).hexdigest()
            add(path, data, 0o755 if library else 0o644)
        manifest: dict[str, Any] = {
            "sm": sm,
            "python": python,
            "wheels": {wheel.name: hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in every},
            "expected": needs,
            "shrunk": shrunk,
            "files": hashes,
        }
        add("manifest.json", json.dumps(manifest, indent=1).encode(), 0o644)
    for archive in archives.values():
        archive.close()
    partial.replace(out)
    return manifest


def pins(added: Iterable[str], small: bool = False) -> dict[str, list[str]]:
    """{folder: pins}, with those added to site/ in place of any of the same package; small: without cuDF and SPARE.

    Raises:
        PackError: an added one is not name==version.
    """
    added = list(added)
    for pin in added:
        if not re.fullmatch(r"[\w.-]+==[\w.+!-]+", pin):
            raise PackError(f"--add takes name==version, got {pin!r}")
    names = {canonicalize_name(Requirement(pin).name) for pin in added}

    def others(group: list[str]) -> list[str]:
        return [pin for pin in group if canonicalize_name(Requirement(pin).name) not in names]

    if small:
        return {"site": [*others(SITE), *added], "spare": []}
    return {"site": [*others([*RAPIDS, *SITE]), *added], "spare": others(SPARE)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Pack cuDF for a GPU machine that reaches no package registry.")
    parser.add_argument("--out", type=Path, default=Path("build/gpu/pack.tar.xz"), help="the archive [%(default)s]")
    parser.add_argument("--cache", type=Path, default=Path("build/wheels"), help="wheels go here [%(default)s]")
    parser.add_argument("--sm", type=int, default=90, help="compute capability of the GPU, times 10 [%(default)s]")
    parser.add_argument("--python", default="3.12", help="the GPU machine's Python [%(default)s]")
    parser.add_argument("--add", action="append", default=[], metavar="NAME==VERSION", help="also pack this one")
    parser.add_argument("--small", action="store_true", help="without cuDF: 3 MiB")
    parser.add_argument("--most-mib", type=float, default=60, help="a larger archive is an error [%(default)s]")
    given = parser.parse_args(arguments)
    try:
        cache = given.cache / given.python
        parts = {folder: download(group, cache, given.python) for folder, group in pins(given.add, given.small).items()}
        given.out.parent.mkdir(parents=True, exist_ok=True)
        manifest = write(given.out, parts, given.sm, given.python)
    except PackError as error:
        sys.exit(str(error))
    size = given.out.stat().st_size
    summary = {"bytes": size, "sha256": hashlib.sha256(given.out.read_bytes()).hexdigest()}
    given.out.with_name(given.out.name + ".json").write_text(json.dumps({**summary, **manifest}, indent=1))
    for path, count in manifest["shrunk"].items():
        kept, removed = count["kept"] / 2**20, count["removed"] / 2**20
        print(f"{path}: {count['fat_binaries']} fat binaries, {kept:.1f} MiB kept, {removed:.1f} MiB removed")
    print(f"{given.out}: {size / 2**20:.1f} MiB, sha256 {summary['sha256']}")
    if size > given.most_mib * 2**20:
        sys.exit(f"larger than --most-mib {given.most_mib:g}: pack less, or allow more if the way to the machine does")


if __name__ == "__main__":
    main()
