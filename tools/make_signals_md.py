"""Write docs/signals.md from the registry: python tools/make_signals_md.py"""

from __future__ import annotations

import pathlib

from gpu_pile import signals
from gpu_pile.policy import thresholds

TARGET = pathlib.Path(__file__).parents[1] / "docs" / "signals.md"

HEAD = """# Signals

A signal is a number about a document, without an opinion. A signal of type int64 is a count. A definition of the form
`a / b` is one division of two counts; the signal is undefined where b is 0, unless its definition gives a value. Words
are `text.split()` and lengths are in code points, unless a definition says otherwise. Bounds are in
`configs/thresholds/`. Rules about the signals listed as "about words" are not applied to texts in scripts without
spaces between words, unless `thresholds.word_rules` is `always`.

`tools/make_signals_md.py` makes this page; `gpu-pile list signals --json` has the same list, with the
backends of signals.
"""


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def row(signal: signals.Signal) -> str:
    definition = f"{signal.definition} ({signal.source})" if signal.source else signal.definition
    return f"| `{signal.name}` | {cell(signal.unit)} | {signal.dtype} | {cell(definition)} |\n"


def render() -> str:
    sections = [HEAD]
    for family in signals.families():
        if not family.compute.__module__.startswith("gpu_pile.signals."):
            continue  # another package that happens to be installed
        names = {s.name for s in family.signals}
        policies = [name for name, _, _ in thresholds.named_sets() if names & thresholds.named_set(name).rules.keys()]
        sections.append(
            f"\n## {family.name}\n\nSource: {family.source}. Version {family.version}. "
            f"Operations: {', '.join(f'`{op.name}`' for op in signals.operations([family.name]))}. "
            f"Thresholds: {', '.join(f'`{name}`' for name in policies) or 'none'}.\n\n"
            + (
                f"About words: {', '.join(f'`{name}`' for name in family.about_words)}.\n\n"
                if family.about_words
                else ""
            )
            + "| signal | unit | type | definition |\n|---|---|---|---|\n"
        )
        sections += [row(signal) for signal in family.signals]
    return "".join(sections)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
