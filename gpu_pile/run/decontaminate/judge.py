"""Which matches are contamination: weights of n-grams by the corpus, shares, and the rules.

The weight of an n-gram is ln((N + 1) / n), for n of N documents that have it: little for boilerplate, which is
everywhere. Logarithms are whole numbers (gpu_pile.text.normal_form.logarithm), so sums are exact.

    score           weight of the n-grams of the question that are in spans / of all its n-grams; of the passage if the
                    question is not searched, of the answers if there is neither
    *_share         tokens in spans / tokens
    boilerplate     the rarest n-gram of the match is in more documents than documents_max

    decon   score >= 0.8, and 13 tokens in a row, or an answer of which 0.8 is found, or, if the item has no answer, the
            whole text; an item of fewer than 8 tokens: all of it, and an answer
    gpt3    13 tokens in a row, or all of a part that has 8 to 12
    pile    the same, however many documents have them
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gpu_pile.run.decontaminate.index import Index
from gpu_pile.run.decontaminate.items import ANSWER, PASSAGE, QUESTION, Item, Items
from gpu_pile.text.tokens import WIDTH
from gpu_pile.types import Array

SCORE_MIN = 0.8
ANSWER_MIN = 0.8
ROW_TOKENS = 13


class Rule(NamedTuple):
    """A rule by name, and its limit for boilerplate: documents, or None."""

    name: str
    documents_max: int | None

    @classmethod
    def of(cls, name: str, documents_max: int | None, n_documents: int) -> Rule:
        by_default = {"decon": max(10, n_documents // 1000), "gpt3": 10, "pile": None}
        return cls(name, by_default[name] if documents_max is None else documents_max)


class Match(NamedTuple):
    """What a document and a text have in common: tokens and weights in spans, the longest span, and the number of
    documents that have its rarest n-gram. first, end: its spans, among those of the range."""

    text: int
    tokens: int
    weight: int
    longest: int
    documents: int
    first: int
    end: int


def text_weights(index: Index, weights: Array) -> Array:
    """int64[n_texts]: the weights of all n-grams of each text."""
    sums = np.concatenate(([0], np.cumsum(weights[index.entries])))
    return np.asarray(sums[index.windows[1:]] - sums[index.windows[:-1]])


class Verdict(NamedTuple):
    contaminated: bool
    boilerplate: bool
    score: float
    shares: dict[int, float | None]
    longest: int
    documents: int


def judge(
    rule: Rule, items: Items, item: Item, matches: dict[int, list[Match]], answered: bool, totals: Array
) -> Verdict:
    """Judge an item in a document. matches: by part. answered: a short answer stands beside the match."""
    shares = {part: _share(items, own) for part, own in matches.items() if own}
    if answered:
        shares[ANSWER] = 1.0
    part = next((p for p in (QUESTION, PASSAGE, ANSWER) if _is_searched(items, item, p)), ANSWER)
    main = max(matches.get(part, ()), key=lambda m: (m.weight / int(totals[m.text]), -m.text), default=None)
    every = [m for own in matches.values() for m in own]
    best = max(every, key=lambda m: (m.longest, -m.documents))
    score = main.weight / int(totals[main.text]) if main is not None else 0.0
    rare = [m for m in every if rule.documents_max is None or m.documents <= rule.documents_max]
    if rule.name == "decon":
        found = main is not None and main in rare and score >= SCORE_MIN
        found = found and main is not None and _is_enough(items, item, main, shares.get(ANSWER))
    else:
        found = any(items.n_tokens(m.text) >= WIDTH and m.longest >= _needed(items, m) for m in rare)
    return Verdict(found, not rare, score, {p: shares.get(p) for p in (PASSAGE, QUESTION, ANSWER)}, *best[3:5])


def _is_searched(items: Items, item: Item, part: int) -> bool:
    return any(p == part for p, _ in items.parts(item))


def _share(items: Items, matches: list[Match]) -> float:
    return max(m.tokens / items.n_tokens(m.text) for m in matches)


def _needed(items: Items, match: Match) -> int:
    return min(ROW_TOKENS, items.n_tokens(match.text))


def _is_enough(items: Items, item: Item, match: Match, answer: float | None) -> bool:
    """The second feature of decon."""
    if answer is not None and answer >= ANSWER_MIN:
        return True
    if items.n_tokens(match.text) < WIDTH:
        return False
    return match.longest >= (_needed(items, match) if not item.answers else ROW_TOKENS)
