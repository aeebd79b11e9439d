"""What the counts of a run say: the way of the documents, what each reason means, what deserves a look."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from gpu_pile import signals
from gpu_pile.dedup.survivors import CONTAINED, EXACT, NEAR, OF_OTHERS, REPEATED
from gpu_pile.policy.thresholds import Policy, bounds_of
from gpu_pile.present.tables import human_bytes, visible
from gpu_pile.run.config import Config
from gpu_pile.run.removals import LEFT_OUT, is_of_list

UNKNOWN = "(unknown)"
"""How a document's missing subset is called in the report."""

THRESHOLDS = "thresholds"
LISTS = "removal_lists"
STEPS = (LEFT_OUT, LISTS, THRESHOLDS, *OF_OTHERS)
"""The ways out of a run, in this order; those in OPTIONAL only where there are any."""

OPTIONAL = (LEFT_OUT, LISTS, CONTAINED, REPEATED)

SHARE_OF_SUBSET = 0.2
"""A rule that removes more of a subset than this deserves a look."""

DOCUMENTS_MIN = 100
"""Shares of fewer documents say little."""

ENOUGH = SHARE_OF_SUBSET * DOCUMENTS_MIN

SHARE_OF_TWO = 0.8
"""Two rules that account for more of what the thresholds remove than this deserve a look, among RULES_MIN or more."""

RULES_MIN = 5
NOTES_MAX = 8
NAMES_SHOWN = 5
NAME_MAX = 80

Bounds = tuple[tuple[str, float], ...]
"""("min" or "max", value) of the bounds of one rule."""


def named(subset: str) -> str:
    """A subset's name as the report says it."""
    return subset or UNKNOWN


def share(part: int, whole: int) -> str:
    """In percent; a part that would be rounded to nothing is still seen."""
    if not whole:
        return "-"
    return "<0.1%" if 0 < part < 0.0005 * whole else f"{part / whole:.1%}"


def cut_name(name: str) -> str:
    """A name of any length and content, fit to be shown."""
    shown = visible(name)
    return shown if len(shown) <= NAME_MAX else f"{shown[:NAME_MAX]}… ({len(shown):,} characters)"


def some(names: Sequence[str], most: int = NAMES_SHOWN) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def flow(combinations: pa.Table) -> list[dict[str, Any]]:
    """Documents and bytes that each step removes, each document at the first one that removes it; what is left."""
    rows = combinations.to_pylist()
    removed = {step: [0, 0] for step in STEPS}
    left = [0, 0]
    for row in rows:
        step = _first_step(row["reasons"])
        for i, key in enumerate(("documents", "text_bytes")):
            left[i] += row[key]
            if step is not None:
                removed[step][i] += row[key]
    out = []
    for step in STEPS:
        if step in OPTIONAL and not any(removed[step]):
            continue
        left = [left[i] - removed[step][i] for i in range(2)]
        out.append(
            {
                "step": step,
                "removed_documents": removed[step][0],
                "removed_text_bytes": removed[step][1],
                "left_documents": left[0],
                "left_text_bytes": left[1],
            }
        )
    return out


def _first_step(reasons: Sequence[str]) -> str | None:
    if LEFT_OUT in reasons:
        return LEFT_OUT
    if any(is_of_list(reason) for reason in reasons):
        return LISTS
    if any(reason not in OF_OTHERS for reason in reasons):
        return THRESHOLDS
    return next((reason for reason in OF_OTHERS if reason in reasons), None)


# reasons


def rules_by_bounds(policy: Policy, signal: str, subsets: Iterable[str]) -> dict[Bounds, list[str]]:
    """Which of some subsets have which bounds for a signal; those without a rule are left out."""
    out: dict[Bounds, list[str]] = {}
    for subset in subsets:
        bounds = tuple(bounds_of(policy.rules_of(subset).get(signal)))
        if bounds:
            out.setdefault(bounds, []).append(subset)
    return out


def rule_of(config: Config, reason: str, subsets: Sequence[str]) -> str:
    """What a document must satisfy to stay, and in which subsets: "code_line_count ≥ 10 in Github"."""
    fuzzy = config.dedupe.fuzzy
    if reason == EXACT:
        return "one document of equal texts stays"
    if reason == NEAR and fuzzy.resolve == "connected":
        return f"one document of all that pairs with similarity ≥ {fuzzy.threshold:g} connect stays"
    if reason == NEAR:
        least = fuzzy.accept.jaccard or fuzzy.threshold
        apart = f", or containment < {fuzzy.accept.containment:g} in it" if fuzzy.accept.containment else ""
        return f"similarity < {least:g} with every document that stays{apart}"
    if reason == CONTAINED and config.dedupe.contained is not None:
        contained = config.dedupe.contained
        return f"containment < {contained.threshold:g} in every document that stays"
    if reason == LEFT_OUT:
        return "input.subsets has its subset"
    if is_of_list(reason):
        return "no removal list names it for this reason"
    if reason == REPEATED:
        return _repeated_rule(config)
    signal, _, kind = reason.rpartition(".")
    limits: dict[str, list[str]] = {}
    for subset in subsets:
        rule = config.thresholds.rules_of(subset).get(signal)
        value = dict(bounds_of(rule)).get(kind)
        if value is not None:
            limits.setdefault(f"{'≥' if kind == 'min' else '≤'} {value:g}", []).append(named(subset))
        elif kind == "min" and rule is not None and rule.required:
            limits.setdefault("defined", []).append(named(subset))
    return "; ".join(f"{signal} {limit}{_where(names, subsets)}" for limit, names in limits.items())


def _repeated_rule(config: Config) -> str:
    """What a document must satisfy to stay in spite of what it repeats."""
    settings, rules = config.dedupe.substrings, []
    if settings.cut:
        rules.append(f"{settings.left_min_bytes:,} bytes or more are left after cutting")
    if settings.max_share is not None:
        rules.append(f"repeated bytes / bytes ≤ {settings.max_share:g}")
    return ", and ".join(rules)


def _where(names: Sequence[str], subsets: Sequence[str]) -> str:
    if len(names) == len(subsets):
        return " in every subset" if len(subsets) > 1 else ""
    return f" in {some(names)}"


def definition_of(config: Config, reason: str) -> str:
    """A sentence on what a rule is about, so that no other definition has to be read."""
    fuzzy = config.dedupe.fuzzy
    if reason == EXACT:
        how = "the same text" if config.dedupe.exact.normalize == "none" else "the same words in lower case"
        return f"The document has {how} as a document that stays"
    unit = {"char": "characters", "byte": "bytes"}.get(fuzzy.shingle, "words")
    if reason == NEAR:
        pairs = "" if fuzzy.resolve == "witness" else ", or is linked to it by a chain of such pairs"
        least, share_of_it = fuzzy.accept.jaccard or fuzzy.threshold, ""
        if fuzzy.accept.containment:
            share_of_it = f". At least {fuzzy.accept.containment:g} of those of the document are in the one that stays"
        return (
            f"The Jaccard similarity with a document that stays is {least:g} or more{pairs}; it is the "
            f"share that two documents have in common of all their runs of {fuzzy.width} {unit}{share_of_it}"
        )
    if reason == CONTAINED and config.dedupe.contained is not None:
        contained = config.dedupe.contained
        return (
            f"The document has {contained.min_shingles:,} or more different runs of {fuzzy.width} {unit}, and one that "
            f"stays has at least {contained.threshold:g} of them; as a whole they are less alike than near duplicates"
        )
    if reason == LEFT_OUT:
        return "The document is of a subset that input.subsets does not choose"
    if is_of_list(reason):
        return "A removal list of decide.remove names the document"
    if reason == REPEATED:
        return (
            f"Runs of {config.dedupe.substrings.least} or more of the document stand in a kept document "
            "before it, or earlier in itself; the value is their share of its bytes"
        )
    about = config.signal_definitions
    signal = reason.rpartition(".")[0]
    return f"{signal}: {defined(about, signal)}"


def defined(about: Mapping[str, signals.Signal], name: str) -> str:
    """A signal's definition, with the definitions that it refers to."""
    signal = about[name]
    others = [o for o in dict.fromkeys(re.findall(r"\bas in (\w+)", signal.definition)) if o in about and o != name]
    more = "".join(f"; {other}: {about[other].definition}" for other in others)
    return f"{signal.definition} ({signal.unit}){more}"


def in_words(content: Mapping[str, Any]) -> str:
    """What the reason with most documents did, in plain words."""
    if not content["reasons"]:
        return ""
    reason = content["reasons"][0]
    n, alone = reason["documents"], reason["documents_only_this"]
    sizes = {s["subset"]: s["documents"] for s in content["subsets"]}
    subset, lost = next(iter(reason["by_subset"].items()))
    of_all = f"{share(n, content['documents'])} of all, {human_bytes(reason['text_bytes'])} of text"
    where = ""
    if len(sizes) > 1:
        of_subset = share(lost, sizes[named(subset)])
        where = f"; {lost:,} of them are in {named(subset)}, which loses {of_subset} of its documents to it"
    others = "none of them fails" if alone == n else f"{n - alone:,} of them fail"
    return (
        f"{reason['reason']} removes the most documents: {n:,} ({of_all}){where}. "
        f"{reason['definition']}. Apart from this, {others} another rule."
    )


# notes


def notes(content: Mapping[str, Any], combinations: pa.Table) -> list[str]:
    """Sentences about what deserves a look, because it may not be wanted."""
    found = [*_two_rules(combinations), *_hit_subsets(content), *_without_spaces(content)]
    read = sum(shard["bytes"] for shard in content["shards"])
    if content["kept_file_bytes"] > read:
        found.append(
            f"The kept shards take {human_bytes(content['kept_file_bytes'])}, more than the {human_bytes(read)} that "
            "came in: the input is compressed harder; raise write.level"
        )
    return found


def _without_spaces(content: Mapping[str, Any]) -> list[str]:
    found = content["without_spaces"]
    if not found or not found["documents"]:
        return []
    where = some([f"{subset} ({n:,})" for subset, n in found["by_subset"].items()])
    return [
        f"{found['documents']:,} documents have no spaces between words, by their script, so the rules about words "
        f"({some(found['signals'])}) were not applied to them: {where}. thresholds.word_rules: always applies them"
    ]


def _hit_subsets(content: Mapping[str, Any]) -> list[str]:
    sizes = {s["subset"]: s["documents"] for s in content["subsets"]}
    rules = [r for r in content["reasons"] if r["reason"] != LEFT_OUT]
    counts = [(n, r["reason"], named(subset)) for r in rules for subset, n in r["by_subset"].items()]
    hit = [(n, rule, subset) for n, rule, subset in counts if n > SHARE_OF_SUBSET * sizes[subset] >= ENOUGH]
    hit.sort(key=lambda found: (-found[0], found[1:]))
    said = [f"{subset} loses {n / sizes[subset]:.0%} of its documents to {rule}" for n, rule, subset in hit]
    if len(said) > NOTES_MAX:
        said[NOTES_MAX:] = [f"{len(said) - NOTES_MAX:,} more rules take over a fifth of a subset"]
    return said


def _two_rules(combinations: pa.Table) -> list[str]:
    """Whether two of many rules account for most of what the thresholds remove."""
    counts: dict[str, int] = {}
    failing = []
    for row in combinations.to_pylist():
        rules = [reason for reason in row["reasons"] if reason not in (*OF_OTHERS, LEFT_OUT) and not is_of_list(reason)]
        if rules:
            failing.append((set(rules), row["documents"]))
        for rule in rules:
            counts[rule] = counts.get(rule, 0) + row["documents"]
    total = sum(n for _, n in failing)
    two = sorted(counts, key=lambda rule: (-counts[rule], rule))[:2]
    if len(counts) < RULES_MIN or total < DOCUMENTS_MIN:
        return []
    covered = sum(n for rules, n in failing if rules & set(two)) / total
    if covered < SHARE_OF_TWO:
        return []
    return [f"{two[0]} and {two[1]} account for {covered:.0%} of the {total:,} documents that fail a threshold"]
