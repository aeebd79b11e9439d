"""@compiled: a function for numba to compile once a machine, without the interpreter lock.

numba's cache on disk looks at the file of the function alone: when another file changes, whose functions are compiled
into it, the stale code would be used. So the cache lies in a folder named by the content of all compiled sources.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

_config: Any = numba.config
_PACKAGE = Path(__file__).parents[1]
_WEEK = 7 * 24 * 3600


def _sources() -> list[Path]:
    """The files of the package that hold compiled functions or what is compiled into them."""
    return [p for p in sorted(_PACKAGE.rglob("*.py")) if b"numba" in (raw := p.read_bytes()) or b"@compiled" in raw]


def _folder() -> str:
    if os.environ.get("NUMBA_CACHE_DIR"):
        return str(_config.CACHE_DIR)
    digest = hashlib.blake2b(digest_size=8)
    for path in _sources():
        digest.update(path.read_bytes())
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gpu_pile"
    folder = root / f"compiled-{digest.hexdigest()}"
    with contextlib.suppress(OSError):  # a cache that cannot be written is no error: numba looks for another place
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        for other in root.glob("compiled-*"):  # of versions not used for a week
            if time.time() - other.stat().st_mtime > _WEEK:
                shutil.rmtree(other, ignore_errors=True)
    return str(folder)


_FOLDER = _folder()


def compiled(function: Callable[..., Any]) -> Any:
    """Decorator: numba.njit, without the interpreter lock, cached as the module says."""
    before = _config.CACHE_DIR
    _config.CACHE_DIR = _FOLDER  # read when the decorator is applied
    try:
        return numba.njit(nogil=True, cache=True)(function)
    finally:
        _config.CACHE_DIR = before
