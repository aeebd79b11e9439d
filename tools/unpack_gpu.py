"""Unpack what tools/pack_gpu.py packed, on the GPU machine. Needs Python 3.12's standard library and nothing else.

    eval "$(python3 tools/unpack_gpu.py build/gpu/pack.tar.xz ~/gpu-pack)"

Prints the line to be evaluated, which puts the packages before the machine's own, and on stderr what they expect of
those. An archive that is unpacked already is left as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import lzma
import os
import shlex
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

# libcudf looks for these beside itself (its RUNPATH is $ORIGIN), where nothing has loaded them before.
BESIDE = "libcudf/lib64"
LIBRARIES = (
    "libkvikio/lib64/libkvikio.so",
    "librmm/lib64/librmm.so",
    "nvidia/libnvcomp/lib64/libnvcomp.so.5",
    "rapids_logger/lib64/librapids_logger.so",
)

SITECUSTOMIZE = '''\
"""Written by tools/unpack_gpu.py; Python imports it at its start."""

import importlib.abc
import site
import sys
from pathlib import Path


class RowStack(importlib.abc.MetaPathFinder):
    """numba-cuda 0.30 uses numpy.row_stack, which NumPy 2.5 has no more."""

    def find_spec(self, name, path=None, target=None):
        if name == "numba.cuda":
            import numpy

            if not hasattr(numpy, "row_stack"):
                numpy.row_stack = numpy.vstack
        return None  # numba-cuda's own finder, behind this one, finds the module


sys.meta_path.insert(0, RowStack())
here = Path(__file__).parent
site.addsitedir(str(here))  # for its .pth files: Python reads none in the folders of PYTHONPATH
site.addsitedir(str(here.parent / "spare"))
'''


class UnpackError(Exception):
    """The archive cannot be used here; says why and what to do."""


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(folder: Path) -> dict[str, Any]:
    """The manifest of an unpacked archive whose files are those it names.

    Raises:
        UnpackError: a file is missing, changed or too many, or the packages are for another Python.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    except FileNotFoundError:
        raise UnpackError("the archive has no manifest.json: it is not one of tools/pack_gpu.py, or cut off") from None
    here = "{}.{}".format(*sys.version_info)
    if manifest["python"] != here:
        raise UnpackError(f"packed for Python {manifest['python']}, this is {here}: pack it with --python {here}")
    there = {str(path.relative_to(folder)): digest(path) for path in folder.rglob("*") if path.is_file()}
    del there["manifest.json"]
    wrong = sorted({path for path, _ in there.items() ^ manifest["files"].items()})
    if wrong:
        raise UnpackError(f"{len(wrong)} files are not what the manifest says, first {wrong[0]}: pack or copy it again")
    return manifest


def unpack(archive: Path, target: Path) -> dict[str, Any]:
    """Unpack into a new folder, which is there complete or not at all; returns the manifest.

    Raises:
        UnpackError: the archive is damaged or not for this Python, or the folder holds something else.
    """
    key, mark = digest(archive), target / "archive.sha256"
    if target.exists():
        if not mark.exists() or mark.read_text() != key:
            raise UnpackError(f"{target} holds something other than {archive}: remove it, or name another folder")
        manifest: dict[str, Any] = json.loads((target / "manifest.json").read_text())
        return manifest
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with lzma.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            tar.extractall(partial, filter="data")
    except (lzma.LZMAError, EOFError, tarfile.TarError) as error:
        raise UnpackError(f"{archive} is damaged ({error}): pack or copy it again") from None
    manifest = check(partial)
    site = partial / "site"
    for library in LIBRARIES if (site / BESIDE).is_dir() else ():
        if not (site / library).exists():
            raise UnpackError(f"{archive} has no {library}, which libcudf needs: LIBRARIES no longer suits the pins")
        link = site / BESIDE / Path(library).name
        link.symlink_to(os.path.relpath(site / library, link.parent))
    (site / "sitecustomize.py").write_text(SITECUSTOMIZE)
    (partial / mark.name).write_text(key)
    partial.rename(target)
    return manifest


def machine(expected: dict[str, dict[str, str]]) -> list[str]:
    """A line for each package that the machine itself must have: its version here, and the versions that are taken."""
    lines = []
    for name, takers in expected.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "not here"
        taken = ", ".join(f"{who} {versions}" for who, versions in takers.items() if versions)
        lines.append(f"{name}: {version}" + (f" (wanted: {taken})" if taken else ""))
    return lines


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Unpack an archive of tools/pack_gpu.py.")
    parser.add_argument("archive", type=Path)
    parser.add_argument("target", type=Path, nargs="?", default=Path.home() / "gpu-pack", help="folder [%(default)s]")
    given = parser.parse_args(arguments)
    target = given.target.absolute()
    try:
        manifest = unpack(given.archive, target)
    except UnpackError as error:
        sys.exit(str(error))
    sys.stderr.write(f"{target}: for sm_{manifest['sm']}; of the machine itself:\n")
    sys.stderr.writelines(f"    {line}\n" for line in machine(manifest["expected"]))
    print(f"export PYTHONPATH={shlex.quote(str(target / 'site'))}${{PYTHONPATH:+:$PYTHONPATH}}")


if __name__ == "__main__":
    main()
