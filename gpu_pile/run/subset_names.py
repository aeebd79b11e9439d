"""The names of subsets in a configuration, matched with those that documents have.

A name stands for the subset that is called exactly so. If no document has it, it stands for the subsets whose names
differ from it only in case, or are other names of the same subset of The Pile (gpu_pile.policy.pile).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator

import pyarrow.parquet as pq

from gpu_pile.corpus import files
from gpu_pile.errors import ConfigError
from gpu_pile.policy import pile
from gpu_pile.policy.thresholds import SubsetPolicy
from gpu_pile.run.config import ALL_SUBSETS, Config
from gpu_pile.run.context import Context

NAMES_SHOWN = 8


def resolve_subsets(context: Context) -> None:
    """Put the names that documents have in the place of those configured; warn of names that no document has.

    Raises:
        ConfigError: two keys of thresholds.subsets are the same subset; or a name fits no subset, with strict.
    """
    config = context.config
    if not any(names for _, names in _lists(config)):
        return
    present = _present(context)
    warnings = [w for field, names in _lists(config) for w in _warnings(config, field, names, present)]
    if warnings and config.strict:
        raise ConfigError("; ".join(warnings))
    for warning in warnings:
        context.reporter.warn(warning)
    context.config = with_names(config, present)


def _lists(config: Config) -> Iterator[tuple[str, Collection[str]]]:
    """Yield (field, the names of subsets in it) for each field that has names of subsets."""
    yield "thresholds.subsets", config.thresholds.subsets
    yield "dedupe.exact.skip_subsets", config.dedupe.exact.skip_subsets
    yield "dedupe.fuzzy.skip_subsets", config.dedupe.fuzzy.skip_subsets
    yield "dedupe.survivor.subsets", config.dedupe.survivor.subsets
    for part, names in (("include", config.input.subsets.include), ("exclude", config.input.subsets.exclude)):
        yield f"input.subsets.{part}", names
    yield "edit.c4_lines", [name for name in config.edit.c4_lines if name != ALL_SUBSETS]


def _present(context: Context) -> set[str]:
    """Return the names of all subsets of the measured documents; "" for none."""
    names: set[str] = set()
    for shard in context.shards:
        path = files.table(context.directory.measured(shard.name))
        column = pq.read_table(path, columns=["subset"], read_dictionary=["subset"]).column("subset")
        names.update(column.unique().to_pylist())
    return names


def matches(name: str, present: Collection[str]) -> list[str]:
    """Return the subsets that a configured name stands for, sorted; none if there is none."""
    if name in present:
        return [name]
    return sorted(other for other in present if other and _same(name) == _same(other))


def chosen(name: str, present: Collection[str]) -> list[str]:
    """Return the subsets that a name in input.subsets stands for: those called so, or of a group of The Pile's."""
    members = pile.GROUPS.get(name.casefold(), ())
    return matches(name, present) or sorted({found for member in members for found in matches(member, present)})


def _same(name: str) -> str:
    """Return a text that is equal for all names of one subset."""
    published = pile.find(name)
    return (published.name if published else name).casefold()


def _warnings(config: Config, field: str, names: Collection[str], present: Collection[str]) -> list[str]:
    """Return a sentence for each name that no document has, but none for the other subsets of a part of The Pile."""
    find = chosen if field.startswith("input.subsets") else matches
    absent = [name for name in names if not find(name, present)]
    nothing = field == "input.subsets.include" and len(absent) == len(names)  # no document would be kept
    if any(map(pile.find, present)) and not nothing:
        absent = [name for name in absent if not pile.find(name) and (find is matches or name not in pile.GROUPS)]
    there = sorted(name for name in present if name)
    if not there:
        advice = f"no document has any: set input.subset_field (now {config.input.subset_field!r})"
    else:
        advice = f"there are: {', '.join(there[:NAMES_SHOWN])}"
        advice += f" and {len(there) - NAMES_SHOWN} more" if len(there) > NAMES_SHOWN else ""
    sentences = []
    for name in absent:
        near = difflib.get_close_matches(name, [*there, *(pile.GROUPS if find is chosen else ())], 1)
        hint = f"did you mean {near[0]!r}?" if near else advice
        sentences.append(f"{field} names the subset {name!r}, which no document has; {hint}")
    return sentences


def with_names(config: Config, present: Collection[str]) -> Config:
    """Return the configuration with each name replaced by those that it stands for; a name without any stays."""

    def replaced(names: Collection[str], find: Callable[[str, Collection[str]], list[str]] = matches) -> list[str]:
        return list(dict.fromkeys(found for name in names for found in find(name, present) or [name]))

    subsets: dict[str, SubsetPolicy] = {}
    given: dict[str, str] = {}
    for name, own in config.thresholds.subsets.items():
        for found in replaced([name]):
            if found in subsets:
                raise ConfigError(
                    f"thresholds.subsets has {given[found]!r} and {name!r}, which both stand for the subset {found!r}; "
                    "keep one of them"
                )
            subsets[found], given[found] = own, name
    dedupe = config.dedupe
    exact, fuzzy = (
        part.model_copy(update={"skip_subsets": replaced(part.skip_subsets)}) for part in (dedupe.exact, dedupe.fuzzy)
    )
    survivor = dedupe.survivor.model_copy(update={"subsets": replaced(dedupe.survivor.subsets)})
    choice = config.input.subsets
    parts = {part: replaced(getattr(choice, part), chosen) for part in ("include", "exclude")}
    return config.model_copy(
        update={
            "input": config.input.model_copy(update={"subsets": choice.model_copy(update=parts)}),
            "thresholds": config.thresholds.model_copy(update={"subsets": subsets}),
            "dedupe": dedupe.model_copy(update={"exact": exact, "fuzzy": fuzzy, "survivor": survivor}),
            "edit": config.edit.model_copy(update={"c4_lines": replaced(config.edit.c4_lines)}),
        }
    )
