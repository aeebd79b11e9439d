"""Write docs/configuration.md from the models of the configuration: python tools/make_configuration_md.py"""

from __future__ import annotations

import pathlib
import types
import typing

import pydantic
from pydantic.fields import FieldInfo

from gpu_pile.policy import thresholds
from gpu_pile.run import config

TARGET = pathlib.Path(__file__).parents[1] / "docs" / "configuration.md"

HEAD = """# Configuration

`tools/make_configuration_md.py` writes this page from the models that check a configuration.

A configuration is a YAML file, see [configs/quickstart.yaml](../configs/quickstart.yaml) and, for The Pile with the
reason for each choice, [configs/pile.yaml](../configs/pile.yaml). Only `input.shards` and `output` are required:

```yaml
input:
  shards: [data/*.jsonl.zst]
output: out
```

Where a list is expected, a single string stands for a list of one, and `input: data/*.jsonl.zst` for the whole section.
Unknown keys, keys given twice and values of the wrong type are errors, and all errors of a file are shown at once.
`--set KEY=VALUE` changes one value for one run, such as `--set dedupe.fuzzy.threshold=0.7`. A size is a number of
bytes or a number with a unit: `64MiB`, `2GB`. `--dry-run` prints the resolved configuration and what the run would
need, and writes nothing.
"""

TAIL = """
## Rules

A rule bounds one signal: `word_count: {min: 50, max: 100000}`. Bounds are inclusive: a value equal to a bound passes. A
document for which the signal is undefined passes, unless the rule says `required: true`. Rules of a subset are put
together in this order; a later rule for a signal replaces an earlier one, and `null` switches a rule off:

1. the named sets of `thresholds.use`, or of the subset's own `use`;
2. `thresholds.default`;
3. the subset's own `rules`.

```yaml
thresholds:
  use: [gopher]
  subsets:
    Github: {use: []}                                  # source code: no rules
    Pile-CC: {rules: {word_count: {min: 100}}}         # web pages: Gopher's rules and one more
```

`gpu-pile list signals` shows what can be bounded, `gpu-pile list thresholds` the named sets.
"""


KEYS = {thresholds.SubsetPolicy: "subset", config.OwnFields.__args__[1]: "name", config.Joins.__args__[1]: "file"}
"""What the keys of a mapping are, by what its values are."""


def type_in_words(annotation: object) -> str:
    """What values an option takes, in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated and isinstance(arguments[0], type) and issubclass(arguments[0], pydantic.BaseModel):
        return type_in_words(arguments[0])
    if origin is typing.Annotated:
        return type_in_words(arguments[0]) if annotation is thresholds.Names else "size in bytes"
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_in_words(a) for a in arguments)
    if origin is list:
        return f"list of {type_in_words(arguments[0])}s"
    if origin is dict:
        return f"{type_in_words(arguments[1])} by {KEYS.get(arguments[1], 'signal')}"
    names = {str: "string", bool: "`true` or `false`", int: "whole number", float: "number", type(None): "`null`"}
    names |= {config.Contained: "`{threshold: ..., min_shingles: ...}`"}
    names |= {thresholds.Rule: "rule", thresholds.SubsetPolicy: "`{use: ..., rules: ...}`"}
    names |= {config.OwnField: "path or `{path: ..., type: ...}`", config.Join: "`{on: ..., columns: ...}`"}
    return names.get(annotation) or str(getattr(annotation, "__name__", annotation))  # type: ignore[call-overload]


def type_of(field: FieldInfo) -> str:
    if field.annotation is int and any(isinstance(m, pydantic.BeforeValidator) for m in field.metadata):
        return "size in bytes"
    return type_in_words(field.annotation)


def shown(value: object) -> str:
    """A default as YAML writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):
        return "{}"
    for power, unit in ((30, "GiB"), (20, "MiB")):
        if isinstance(value, int) and value and value % 2**power == 0:
            return f"{value >> power}{unit}"
    return str(value)


def sections(model: type[pydantic.BaseModel], path: str = "") -> list[str]:
    """A heading with a table for a model, then the same for each section inside it."""
    rows, inside = [], []
    for name, field in model.model_fields.items():
        key = f"{path}{name}"
        if isinstance(field.annotation, type) and issubclass(field.annotation, pydantic.BaseModel):
            inside += sections(field.annotation, f"{key}.")
            continue
        default = "required" if field.is_required() else f"`{shown(field.get_default())}`"
        description = (field.description or "").replace("|", "\\|")
        rows.append(f"| `{key}` | {type_of(field)} | {default} | {description} |\n")
    if not rows:
        return inside
    title = f"`{path.rstrip('.')}`" if path else "The whole run"
    purpose = (model.__doc__ or "").strip().split("\n\n")[0] if path else ""
    head = f"\n## {title}\n\n" + (f"{purpose}\n\n" if purpose else "")
    return [head + "| key | value | default | meaning |\n|---|---|---|---|\n" + "".join(rows), *inside]


def render() -> str:
    return HEAD + "".join(sections(config.Config)) + TAIL


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
