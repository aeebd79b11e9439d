"""Columns of a run that the configuration names: fields of the documents, and what is joined from other files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gpu_pile import signals
from gpu_pile.signals import Signal

ID = "id"
"""The column of input.id_field."""

MEASURED = (
    *("doc_id", "shard", ID, "line", "start", "length", "subset", "text_bytes"),
    *("hash_hi", "hash_lo", "shingles", "sketch"),
)
"""The columns of a measured table besides signals and what the configuration names."""

DECIDED = ("keep", "reasons", "values", "witness", "similarity", "cluster", "copies", "edited_bytes", "repeated_bytes")
"""The columns of a table of decisions that a measured one has not."""

ANY = "*"
"""Stands for names that are not known yet."""

NAME_MAX = 100
STRING_MAX = 4096
"""Characters of a string that are kept: rows are held in memory by the ten thousand."""


def check_name(name: str) -> None:
    """Raise a ValueError unless a column may have this name."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or len(name) > NAME_MAX:
        raise ValueError(
            f"{name!r} cannot be the name of a column: letters of ASCII, digits and _, beginning with no digit, and "
            f"at most {NAME_MAX} of them"
        )
    if name == ID:
        raise ValueError("the column id is that of input.id_field; give the path there")
    if name in (*MEASURED, *DECIDED, "text", "excerpt"):
        raise ValueError(f"{name!r} is a column that every run has; choose another name")
    if name in signals.names():
        raise ValueError(f"{name!r} is the name of a signal that is computed from the text; choose another name")
    if name in {family.name for family in signals.families()}:
        raise ValueError(f"{name!r} is the name of a family of signals; choose another name")


def given_names(data: Mapping[str, Any]) -> set[str]:
    """The names of columns that a configuration adds, before it is checked; ANY if a joined table has to be read."""
    names = set(map(str, _mapping(_mapping(data, "input"), "fields")))
    for join in _mapping(_mapping(data, "measure"), "join").values():
        columns = join.get("columns") if isinstance(join, Mapping) else None
        names |= {ANY} if columns is None else set(map(str, [columns] if isinstance(columns, str) else columns))
    return names


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inside = data.get(key)
    return inside if isinstance(inside, Mapping) else {}


def described(name: str, definition: str) -> Signal:
    """A number that the configuration names, as signals are described."""
    return Signal(name, "number", "float64", definition)
