"""Write docs/signals.md from the registry: python tools/make_signals_md.py"""

from __future__ import annotations

import pathlib

from gpu_pile import signals
from gpu_pile.policy import thresholds

TARGET = pathlib.Path(__file__).parents[1] / "docs" / "signals.md"

HEAD = """# Signals

Made by `tools/make_signals_md.py` from the registry; `gpu-pile list signals` says the same, and which backends have
them. A signal is a number about a document, without an opinion. Integers are counts; a fraction is one division of two
of them, and undefined where it would be one by 0, unless it says otherwise. Words are `str.split()` and lengths are in
code points, if nothing else is said. Bounds are in `configs/thresholds/`.
"""


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def render() -> str:
    parts = [HEAD]
    for family in signals.families():
        if not family.compute.__module__.startswith("gpu_pile.signals."):
            continue  # of another package that is installed here
        names = {s.name for s in family.signals}
        used = [name for name, _, _ in thresholds.named_sets() if names & thresholds.named_set(name).rules.keys()]
        parts.append(
            f"\n## {family.name}\n\nSource: {family.source}. Version {family.version}. "
            f"Operations: {', '.join(f'`{op.name}`' for op in signals.operations([family.name]))}. "
            f"Thresholds: {', '.join(f'`{name}`' for name in used) or 'none'}.\n\n"
            "| signal | unit | type | definition |\n|---|---|---|---|\n"
        )
        parts += [f"| `{s.name}` | {cell(s.unit)} | {s.dtype} | {cell(s.definition)} |\n" for s in family.signals]
    return "".join(parts)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
