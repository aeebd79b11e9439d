"""Thresholds: bounds on signals, by subset, as data, and which documents fail them.

A rule is {min: x, max: y}, or one of the two. Bounds are inclusive: a value equal to a bound passes. A document whose
signal is undefined (null, for example a fraction with denominator 0) passes, unless the rule says required: true.

The rules of a subset come from three places; a later rule for the same signal replaces an earlier one:

    the named sets of `use` (files of configs/thresholds), or of the subset's own `use` if it has one
    `default`
    the subset's own `rules`, where null switches a rule off

Rules about words, those of the signals gpu_pile.signals.about_words(), are not applied to a document of which most
letters are of scripts without spaces between words, unless word_rules says so: what str.split() calls a word is a
clause or a paragraph there, and no bound was meant for it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pydantic
import yaml

from gpu_pile import signals
from gpu_pile.errors import ConfigError
from gpu_pile.types import Array


def configs_folder() -> Path:
    """The folder configs/ of the installed package, or of the checkout."""
    installed = Path(str(files("gpu_pile") / "configs"))
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "configs"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], pydantic.BeforeValidator(_listed)]
"""A list of strings; a single string stands for a list of one."""


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class Rule(_Model):
    """Inclusive bounds of one signal."""

    min: float | None = pydantic.Field(None, allow_inf_nan=False)
    max: float | None = pydantic.Field(None, allow_inf_nan=False)
    required: bool = pydantic.Field(False, description="a document whose signal is undefined fails")

    @pydantic.model_validator(mode="after")
    def _has_a_bound(self) -> Rule:
        if self.min is None and self.max is None:
            raise ValueError("a rule needs min or max or both; to switch a rule off, give null in its place")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}, so no document could pass")
        return self


def bounds_of(rule: Rule | None) -> list[tuple[str, float]]:
    """("min" or "max", value) of each bound of a rule."""
    pairs = [] if rule is None else [("min", rule.min), ("max", rule.max)]
    return [(kind, value) for kind, value in pairs if value is not None]


Rules = dict[str, Rule]

WITHOUT_SPACES = "unspaced_letter_fraction"
NO_SPACES_ABOVE = 0.5
"""The signal that says which documents have no spaces between words: those above this value."""


class NamedSet(_Model):
    """A file of configs/thresholds: rules with their source."""

    description: str
    source: str
    rules: Rules


class SubsetPolicy(_Model):
    """The thresholds of one subset where they differ from those of the others."""

    use: Names | None = pydantic.Field(None, description="named sets for this subset, in place of the general ones")
    rules: dict[str, Rule | None] = {}


class Policy(_Model):
    """The configuration's section `thresholds`."""

    use: Names = pydantic.Field([], description="named sets; gpu-pile list thresholds names them")
    default: dict[str, Rule | None] = pydantic.Field({}, description="rules for every subset; null switches one off")
    subsets: dict[str, SubsetPolicy] = pydantic.Field(
        {}, description="by subset, what differs for it; case and other names of The Pile's subsets do not matter"
    )

    word_rules: Literal["spaced", "always"] = pydantic.Field(
        "spaced",
        description="spaced: rules about words (counts, lengths, stop words) pass a document of which more than half "
        "of the letters are of scripts without spaces between words, such as Chinese, Japanese and Thai; always: "
        "they are applied there too, as the published code does. Measured values are the same",
    )

    @pydantic.model_validator(mode="after")
    def _names_are_known(self, info: pydantic.ValidationInfo) -> Policy:
        own = (info.context or {}).get("own", ())  # columns that the configuration adds; "*": some are not known yet
        try:
            for name in [*self.use, *(n for s in self.subsets.values() for n in s.use or ())]:
                named_set(name)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        known = [*signals.names(), *sorted(own)]
        given = [*self.default, *(n for s in self.subsets.values() for n in s.rules)]
        for name in given:
            if name not in known and "*" not in own:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]!r}?" if near else "gpu-pile list signals names them all"
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

    def signals(self) -> list[str]:
        """Every signal that has a rule for some subset, in a fixed order."""
        return list(dict.fromkeys(signal for subset in ["", *self.subsets] for signal in self.rules_of(subset)))

    def about_words(self, names: Iterable[str]) -> list[str]:
        """Those of some signals whose rules are not applied to documents without spaces between words."""
        return [name for name in names if name in signals.about_words()] if self.word_rules == "spaced" else []

    def columns(self, names: Iterable[str] | None = None) -> list[str]:
        """What tables need for the rules about some signals, None for all that have one: see `evaluate`."""
        chosen = self.signals() if names is None else list(names)
        return list(dict.fromkeys([*chosen, *([WITHOUT_SPACES] if self.about_words(chosen) else [])]))

    def exempt(self, table: pa.Table, names: Iterable[str]) -> Array:
        """bool[n]: the documents to which rules about words are not applied. table: has self.columns(names)."""
        if not self.about_words(names):
            return np.zeros(len(table), bool)
        share = table.column(WITHOUT_SPACES).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
        return np.asarray(share > NO_SPACES_ABOVE)  # NaN, a document without letters, is not above it

    def values(self, table: pa.Table, name: str) -> Array:
        """float64[n] of a signal; NaN where it is undefined or rules about it are not applied."""
        value = table.column(name).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
        return np.where(self.exempt(table, [name]), np.nan, value)

    def key(self) -> Any:
        """The rules that decisions depend on, as data to be hashed."""
        resolved = {subset: self.rules_of(subset) for subset in ["", *sorted(self.subsets)]}
        rules = {s: {signal: rule.model_dump() for signal, rule in own.items()} for s, own in resolved.items()}
        return {"rules": rules, "about_words": sorted(self.about_words(self.signals()))}

    def evaluate(self, table: pa.Table, subsets: Sequence[str], codes: Array) -> tuple[list[str], Array, Array]:
        """Find the rules that each document fails.

        Args:
            table: n rows with the columns of self.columns().
            subsets: names of subsets. codes: for each row, the position of its subset among the names.

        Returns:
            names of m rules such as "word_count.min" (the rules of any of the subsets), bool[n, m] whether a document
            fails a rule, float64[n, m] the value of the rule's signal
        """
        by_subset = [self.rules_of(name) for name in subsets]
        names, marks, values = [], [], []
        about_words = self.about_words(self.signals())
        applied = ~self.exempt(table, self.signals())
        for signal in self.signals():
            value = table.column(signal).to_numpy(zero_copy_only=False).astype(np.float64, copy=False)
            for bound in ("min", "max"):
                limits = np.array([_limit(rules.get(signal), bound) for rules in by_subset], np.float64)
                required = np.array([bound == "min" and signal in r and r[signal].required for r in by_subset], bool)
                if np.isnan(limits).all() and not required.any():
                    continue
                with np.errstate(
                    invalid="ignore"
                ):  # NaN (no bound, or an undefined value) compares as false: it passes
                    fails = value < limits[codes] if bound == "min" else value > limits[codes]
                if required.any():
                    fails |= required[codes] & np.isnan(value)
                if signal in about_words:
                    fails &= applied
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
            return "undefined, but required"
        return f"{value:g} {'<' if bound == 'min' else '>'} {limit:g}"


def _limit(rule: Rule | None, bound: str) -> float:
    """The value of a bound ("min" or "max"); NaN where the rule has none."""
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
    default = {s: rule(r) for s, r in policy.default.items()}
    always = {} if policy.word_rules == "spaced" else {"word_rules": policy.word_rules}
    return {"use": list(policy.use), "default": default, "subsets": subsets, **always}


@cache
def named_set(name: str) -> NamedSet:
    """A named set: the file of this name in configs/thresholds.

    Raises:
        ConfigError: no file has this name, or its content is not valid.
    """
    folder = configs_folder() / "thresholds"
    known = {p.stem: p for p in sorted(folder.glob("*.yaml"))}
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known)}"
        raise ConfigError(f"there are no thresholds named {name!r}; {hint}")
    data: Mapping[str, Any] = yaml.safe_load(known[name].read_text(encoding="utf-8"))
    try:
        return NamedSet.model_validate(data)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{known[name]}: {error}") from error


def named_sets() -> list[tuple[str, int, str]]:
    """(name, number of rules, file) of each named set."""
    paths = sorted((configs_folder() / "thresholds").glob("*.yaml"))
    return [(p.stem, len(named_set(p.stem).rules), str(p)) for p in paths]
