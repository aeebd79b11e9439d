"""The result of one check of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

EXAMPLES_MAX = 5


@dataclass
class Check:
    """What one check looked at, and the first things that are wrong.

    checked: how many things were looked at. total: how many there are, where only a sample was looked at.
    failed:  how many are wrong. examples: sentences about the first EXAMPLES_MAX wrong ones.
    notes:   what a reader should know about the check itself.
    """

    name: str
    what: str
    checked: int = 0
    total: int | None = None
    failed: int = 0
    examples: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def numbers(self) -> str:
        """For example "23,558", or "200 of 23,558" where a sample was checked."""
        sample = self.total is not None and self.total != self.checked
        return f"{self.checked:,} of {self.total:,}" if sample else f"{self.checked:,}"

    def fail(self, sentence: str) -> None:
        self.failed += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(sentence)

    def expect(self, right: bool, sentence: str) -> None:
        """Count one thing that was looked at; it fails with this sentence unless it is right."""
        self.checked += 1
        if not right:
            self.fail(sentence)


def shortened(value: Any) -> str:
    """A value for an example: at most about 80 characters."""
    if value is None:
        return "nothing"
    text = repr(value)
    if len(text) <= 80:
        return text
    return f"{text[:60]}... ({len(value):,} long)" if hasattr(value, "__len__") else text[:80]
