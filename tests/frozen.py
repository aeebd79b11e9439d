"""Frozen values of every signal and verdicts of every named set, for 112 documents.

`python -m tests.frozen` writes them again after a change that is meant. It refuses where the values of a signal changed
while the versions of its family and of the family's operations stayed the same.

expected/signals.json      versions of each family; by signal, the values of the documents
expected/thresholds.json   by named set, its rules, and by rule the documents that fail it

The documents are the 91 of data/conformance, whose values under the published code are tested elsewhere, the first
three of each shard of the demo corpus, and MADE, so that every rule of every named set is failed by some document.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import zstandard

HERE = Path(__file__).parent
SIGNALS = HERE / "expected" / "signals.json"
THRESHOLDS = HERE / "expected" / "thresholds.json"

PLAIN = "The quick brown fox was not seen by that dog, and it ran to the other end of the wood with a stick. "

MADE = [
    PLAIN * 2 + "In 1984 2,048 of 65,536 fell by 3.1415926 to 271,828 from 1,618,033 or 57721566. " * 4,
    PLAIN * 5 + " ".join(f"https://example.com/porn/{i}/a-long-path-of-an-address" for i in range(6)),
    PLAIN * 3 + "(a) [b] {c} (d) [e] {f} ((g)) " * 4,
    PLAIN * 2 + "x" * 1001,
    "\n".join(f"• {PLAIN}{i}" for i in range(20)),
    "\n".join(f"* point {i}" for i in range(20)),
    '<?xml version="1.0"?>\n<!-- ' + PLAIN * 3 + "-->\n<a>b</a>\n" * 3,
    "x = 1\n" * 20_001,
    "/* " + PLAIN * 3 + "*/\n# " + PLAIN + "\n" + "if (a == b) { c(); }\n" * 12,
    "<!-- a remark on the page\n" + PLAIN * 3 + "\n" * 12 + "-->\n",
    "<!-- a remark on the page -->\n" + "<p>a line of the text</p>\n" * 12,
    "the end of and to that " * 16_667,
]
"""Documents that fail rules which the others pass."""


@cache
def documents() -> list[str]:
    def lines(path: Path) -> list[bytes]:
        return zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read().splitlines()

    conformance = lines(HERE / "data" / "conformance" / "filters.jsonl.zst")
    demo = [line for path in sorted((HERE / "data" / "corpus").glob("*.zst")) for line in lines(path)[:3]]
    return [json.loads(line)["text"] for line in [*conformance, *demo]] + MADE


@cache
def measured() -> Any:
    """All signals of all documents."""
    import gpu_pile
    from gpu_pile import signals

    return gpu_pile.measure(documents(), [f.name for f in signals.families()], workers=1)


def versions() -> dict[str, dict[str, int]]:
    """By family, its version and those of its operations."""
    from gpu_pile import signals

    return {f.name: {"family": f.version, **{op.name: op.version for op in f.ops}} for f in signals.families()}


def values() -> dict[str, list[Any]]:
    """By signal, the values of all documents."""
    return {name: measured().column(name).to_pylist() for name in measured().column_names}


def verdicts() -> dict[str, Any]:
    """By named set, its rules, and by rule the positions of the documents that fail it."""
    import numpy as np

    from gpu_pile.policy import thresholds

    out = {}
    for name, _, _ in thresholds.named_sets():
        policy = thresholds.Policy(use=[name], word_rules="always")  # as published
        rules = thresholds.policy_data(thresholds.Policy(default=policy.rules_of("")))["default"]
        failed, marks, _ = policy.evaluate(measured(), [""], np.zeros(len(documents()), np.int64))
        fails = {rule: np.flatnonzero(marks[:, i]).tolist() for i, rule in enumerate(failed)}
        out[name] = {"rules": rules, "fails": fails, "passing": int((~marks.any(axis=1)).sum())}
    return out


def unchanged_versions(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Signals whose values changed while the versions of their family did not."""
    from gpu_pile import signals

    family = {s.name: f.name for f in signals.families() for s in f.signals}
    return [
        name
        for name, now in new["values"].items()
        if name in old["values"]
        and now != old["values"][name]
        and new["versions"][family[name]] == old["versions"].get(family[name])
    ]


def written(content: dict[str, Any]) -> str:
    """JSON with one line per innermost entry, so that a change is one changed line."""
    lines = []
    for key, inner in content.items():
        rows = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in inner.items()]
        lines.append(f"{json.dumps(key)}: {{\n" + ",\n".join(rows) + "\n}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> None:
    new = {"versions": versions(), "values": values()}
    if SIGNALS.exists():
        wrong = unchanged_versions(json.loads(SIGNALS.read_text()), new)
        if wrong:
            sys.exit(f"raise the version of the family or operation first; these values changed: {', '.join(wrong)}")
    SIGNALS.write_text(written(new), encoding="utf-8")
    THRESHOLDS.write_text(written(verdicts()), encoding="utf-8")


if __name__ == "__main__":
    main()
