"""Thresholds: bounds on signals, by subset, as data; and their evaluation over a table of signals.

A rule is {min: x, max: y}, either or both. Bounds are inclusive: a value equal to a bound passes. A signal that is
null (a ratio of nothing) passes, unless the rule says required: true.

The rules of a subset are put together in this order, a later rule for the same signal replacing an earlier one:

    the named sets of `use` (files of configs/thresholds), or of the subset's own `use` if it has one
    `default`
    the subset's own `rules`; null switches a rule off
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pydantic
import yaml

from gpu_pile import signals
from gpu_pile.errors import ConfigError
from gpu_pile.types import Array


def configs_folder() -> Path:
    """configs/ of a checkout, or as installed."""
    installed = Path(str(files("gpu_pile") / "configs"))
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "configs"


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class Rule(_Model):
    """Inclusive bounds of one signal."""

    min: float | None = pydantic.Field(None, allow_inf_nan=False)
    max: float | None = pydantic.Field(None, allow_inf_nan=False)
    required: bool = pydantic.Field(False, description="a document for which the signal is undefined fails")

    @pydantic.model_validator(mode="after")
    def _bounds_something(self) -> Rule:
        if self.min is None and self.max is None:
            raise ValueError("a rule needs min, max or both; to switch a rule off, give null instead of the rule")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: no document could pass")
        return self


def bounds_of(rule: Rule | None) -> list[tuple[str, float]]:
    """("min" or "max", value) of each bound that a rule sets."""
    pairs = [] if rule is None else [("min", rule.min), ("max", rule.max)]
    return [(kind, value) for kind, value in pairs if value is not None]


Rules = dict[str, Rule]


class NamedSet(_Model):
    """A file of configs/thresholds."""

    description: str
    source: str
    rules: Rules


class SubsetPolicy(_Model):
    """What differs for one subset."""

    use: list[str] | None = pydantic.Field(None, description="named sets instead of those of all")
    rules: dict[str, Rule | None] = {}


class Policy(_Model):
    """The configuration's section `thresholds`."""

    use: list[str] = pydantic.Field([], description="named sets: gpu-pile list thresholds")
    default: Rules = pydantic.Field({}, description="rules for every subset")
    subsets: dict[str, SubsetPolicy] = pydantic.Field({}, description="what differs, by pile_set_name")

    @pydantic.model_validator(mode="after")
    def _names_are_known(self) -> Policy:
        try:
            for name in [*self.use, *(n for s in self.subsets.values() for n in s.use or ())]:
                named_set(name)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        known = signals.names()
        given = [*self.default, *(n for s in self.subsets.values() for n in s.rules)]
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else "gpu-pile list signals names all"
                raise ValueError(f"there is no signal {name!r}; {hint}")
        return self

    def rules_of(self, subset: str) -> Rules:
        """The rules for documents of a subset."""
        own = self.subsets.get(subset, SubsetPolicy())
        rules: dict[str, Rule | None] = {}
        for name in self.use if own.use is None else own.use:
            rules.update(named_set(name).rules)
        rules.update(self.default)
        rules.update(own.rules)
        return {signal: rule for signal, rule in rules.items() if rule is not None}

    def _every_rules(self) -> Iterator[Rules]:
        yield self.rules_of("")
        for subset in self.subsets:
            yield self.rules_of(subset)

    def signals(self) -> list[str]:
        """Every signal that some rule is about, in a fixed order."""
        return list(dict.fromkeys(signal for rules in self._every_rules() for signal in rules))

    def key(self) -> Any:
        """What decisions depend on, to be hashed."""
        resolved = {subset: self.rules_of(subset) for subset in ["", *sorted(self.subsets)]}
        return {s: {signal: rule.model_dump() for signal, rule in rules.items()} for s, rules in resolved.items()}

    def evaluate(self, table: pa.Table, subsets: Sequence[str], codes: Array) -> tuple[list[str], Array, Array]:
        """Which rules each document fails.

        Args:
            table: n rows with the signals of self.signals().
            subsets, codes: names, and for each row the position of its subset among them.

        Returns:
            (names of m rules such as "word_count.min", bool[n, m], float64[n, m] the signals' values); the rules are
            those that some of these subsets have
        """
        by_subset = [self.rules_of(name) for name in subsets]
        names, marks, values = [], [], []
        for signal in self.signals():
            value = table.column(signal).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
            for bound in ("min", "max"):
                limits = np.array([_limit(rules.get(signal), bound) for rules in by_subset], np.float64)
                required = np.array([bound == "min" and signal in r and r[signal].required for r in by_subset], bool)
                if np.isnan(limits).all() and not required.any():
                    continue
                with np.errstate(invalid="ignore"):  # NaN, of a limit or of a value, compares as false: no failure
                    fails = value < limits[codes] if bound == "min" else value > limits[codes]
                if required.any():
                    fails |= required[codes] & np.isnan(value)
                names.append(f"{signal}.{bound}")
                marks.append(fails)
                values.append(value)
        n = len(codes)
        if not names:
            return [], np.zeros((n, 0), bool), np.zeros((n, 0))
        return names, np.stack(marks, axis=1), np.stack(values, axis=1)

    def explain(self, name: str, value: float, subset: str) -> str:
        """Why a document of a subset failed a rule: "12 < 50"."""
        signal, _, bound = name.rpartition(".")
        rule = self.rules_of(subset).get(signal)
        limit = _limit(rule, bound)
        if np.isnan(value):
            return "undefined, and required"
        return f"{value:g} {'<' if bound == 'min' else '>'} {limit:g}"


def _limit(rule: Rule | None, bound: str) -> float:
    limit = None if rule is None else rule.min if bound == "min" else rule.max
    return float("nan") if limit is None else limit


def policy_data(policy: Policy) -> dict[str, Any]:
    """The configuration's section `thresholds` as plain data, without what is not set."""

    def rule(r: Rule | None) -> Any:
        return None if r is None else {k: v for k, v in r.model_dump().items() if v is not None and v is not False}

    subsets = {}
    for name, own in policy.subsets.items():
        subsets[name] = {
            **({} if own.use is None else {"use": list(own.use)}),
            "rules": {signal: rule(r) for signal, r in own.rules.items()},
        }
    return {"use": list(policy.use), "default": {s: rule(r) for s, r in policy.default.items()}, "subsets": subsets}


@cache
def named_set(name: str) -> NamedSet:
    """A file of configs/thresholds by its name.

    Raises:
        ConfigError: there is none of that name, or it is not valid.
    """
    folder = configs_folder() / "thresholds"
    known = {p.stem: p for p in sorted(folder.glob("*.yaml"))}
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
        raise ConfigError(f"there are no thresholds named {name!r}; {hint}")
    data: Mapping[str, Any] = yaml.safe_load(known[name].read_text(encoding="utf-8"))
    try:
        return NamedSet.model_validate(data)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{known[name]}: {error}") from error


def named_sets() -> list[tuple[str, int, str]]:
    """(name, number of rules, file) of each."""
    paths = sorted((configs_folder() / "thresholds").glob("*.yaml"))
    return [(p.stem, len(named_set(p.stem).rules), str(p)) for p in paths]
