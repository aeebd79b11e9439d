"""Write docs/api.md from the docstrings of what gpu_pile exports: python tools/make_api_md.py"""

from __future__ import annotations

import functools
import importlib
import inspect
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import gpu_pile
from gpu_pile.explore.documents import Difference
from gpu_pile.explore.sweeps import Histogram
from gpu_pile.explore.tables import LazyTable
from gpu_pile.explore.trials import Comparison, Decided, Decisions, Trial
from gpu_pile.present.tables import Result

TARGET = pathlib.Path(__file__).parents[1] / "docs" / "api.md"

HEAD = """# Python reference

`tools/make_api_md.py` makes this page from the docstrings; `help(gpu_pile.dedupe)` shows them too. [Python](python.md)
is the page to begin with.

```python
import gpu_pile as gp
```
"""

ANSWERS = (Result, Histogram, Difference, Decided, Decisions, Trial, Comparison, LazyTable)
"""Classes that are not exported, but that functions and methods of exported ones return."""

WIDTH = 100
"""A signature longer than this has one line per parameter."""


def signature_of(name: str, function: Any) -> str:
    """How a function is called, as it would be written in a stub."""
    parameters, star = [], False
    signature = inspect.signature(function)
    for p in signature.parameters.values():
        if p.name in ("self", "cls"):
            continue
        if p.kind is p.KEYWORD_ONLY and not star:
            parameters.append("*")
            star = True
        mark = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        default = "" if p.default is p.empty else f" = {p.default!r}".replace("'", '"')
        parameters.append(f"{mark}{p.name}: {p.annotation}{default}")
    returns = f" -> {signature.return_annotation}"
    line = f"{name}({', '.join(parameters)}){returns}"
    return line if len(line) <= WIDTH else "\n".join([f"{name}(", *(f"    {p}," for p in parameters), f"){returns}"])


def prose(doc: str) -> Iterator[str]:
    """The paragraphs of a docstring as Markdown: sections and named things as lists, examples as code."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(doc)) if doc else ():
        lines = paragraph.splitlines()
        if lines[0].startswith(">>>"):
            yield f"```python\n{paragraph}\n```"
        elif re.fullmatch(r"[A-Z]\w+:", lines[0]):
            inside = inspect.cleandoc("\n" + "\n".join(lines[1:]))
            yield f"**{lines[0]}**"
            yield listed(inside) or " ".join(inside.split())
        else:
            yield (listed(paragraph) if len(lines) > 1 else "") or " ".join(paragraph.split())


def listed(text: str) -> str:
    """`name: what it is`, one after the other, as a list; nothing if the text is something else."""
    if not re.match(r"\w+(, \w+)*:\s", text):
        return ""
    items = re.sub(r"\n?[ ]{2,}", " ", text).splitlines()
    return "\n".join(re.sub(r"^(\w+(?:, \w+)*):\s+", r"- `\1`: ", item) for item in items)


def section(level: int, title: str, call: str, doc: str | None) -> Iterator[str]:
    """A heading, how it is called, and what its docstring says."""
    yield f"{'#' * level} `{title}`"
    yield f"```python\n{call}\n```"
    yield from prose(doc or "")


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class, and those of bases that have no section of their own."""
    seen = set()
    for base in (b for b in cls.__mro__ if b is cls or b not in ANSWERS):
        for name, member in vars(base).items():
            if base.__module__.startswith("gpu_pile") and not name.startswith("_") and name not in seen:
                seen.add(name)
                if isinstance(member, classmethod | staticmethod):
                    member = member.__func__
                if inspect.isfunction(member) or isinstance(member, property | functools.cached_property):
                    yield name, member


def describe(cls: type) -> Iterator[str]:
    """The section of a class, with one list entry or subsection for each member."""
    yield f"## `{cls.__name__}`"
    yield from prose(cls.__doc__ or "")
    for name, member in members(cls):
        if inspect.isfunction(member):
            yield from section(3, f"{cls.__name__}.{name}", signature_of(name, member), member.__doc__)
        else:
            getter = member.fget if isinstance(member, property) else member.func
            annotation = inspect.signature(getter).return_annotation
            yield from section(3, f"{cls.__name__}.{name}", f"{name}: {annotation}", getter.__doc__)


def stub_of(name: str) -> str:
    """The line that defines a type alias."""
    source = inspect.getsource(importlib.import_module(f"gpu_pile.{gpu_pile._WHERE[name]}"))
    return next(line for line in source.splitlines() if line.startswith(f"{name}: "))


def render() -> str:
    """The page."""
    names = [name for name in gpu_pile.__all__ if name != "Texts"]
    exported = {name: getattr(importlib.import_module(f"gpu_pile.{gpu_pile._WHERE[name]}"), name) for name in names}
    parts = [HEAD.rstrip()]
    for name, thing in exported.items():
        if inspect.isfunction(thing):
            parts += section(2, f"gp.{name}", signature_of(f"gp.{name}", thing), thing.__doc__)
    parts += ["## `gp.Texts`", f"```python\n{stub_of('Texts')}\n```", "What these functions take as texts."]
    for thing in [*(t for t in exported.values() if inspect.isclass(t)), *ANSWERS]:
        parts += describe(thing)
    return "\n\n".join(part for part in parts if part) + "\n"


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
