"""near: each near duplicate has a kept witness, at the recorded similarity, not below the threshold."""

from __future__ import annotations

import numpy as np

from gpu_pile.dedup import survivors
from gpu_pile.explore.verify.check import Check
from gpu_pile.explore.verify.documents import Document, ShardDecisions, TextCheck
from gpu_pile.explore.verify.pairs import RemovedPairs, Shingles
from gpu_pile.run.config import Config
from gpu_pile.types import Array

NEAR_SAMPLE = 1000
"""Near duplicates that are checked unless all are."""

STANDARD_ERRORS = 5
"""How far an estimate from K values of a sketch may be from the similarity s; its standard error is
sqrt(s (1 - s) / K)."""


class NearRemoved(TextCheck):
    """Documents that were removed as near duplicates."""

    def __init__(
        self, config: Config, everything: bool, rng: np.random.Generator, shingles: Shingles, trigrams: Shingles
    ) -> None:
        self.check = Check("near", "removed near duplicates with a kept witness at the recorded similarity")
        self.fuzzy = config.dedupe.fuzzy
        self.sample = None if everything else NEAR_SAMPLE
        self.rng, self.shingles, self.trigrams = rng, shingles, trigrams
        self.pairs = RemovedPairs(survivors.NEAR)
        self.estimated = self.fuzzy.verify == "sketch"
        if self.estimated:
            self.check.notes.append(
                f"dedupe.fuzzy.verify is sketch: similarities are estimates, here within {STANDARD_ERRORS} "
                "standard errors"
            )

    def plan(self, decided: ShardDecisions) -> None:
        self.pairs.add(decided)

    def choose(self) -> None:
        self.pairs.choose(self.sample, self.rng)
        self.shingles.request(self.pairs.ids)
        self.trigrams.request(self.pairs.ids)

    def wants(self, decided: ShardDecisions) -> Array:
        self.pairs.note_kept(decided)
        return np.zeros(len(decided.keep), bool)  # self.shingles asks for the texts

    def look(self, document: Document) -> None:
        raise AssertionError("asks for no text itself")

    def finish(self) -> None:
        self.check.total = self.pairs.total
        whole = 0
        for pair, kept in zip(self.pairs.chosen, self.pairs.witness_kept(), strict=True):
            wrong = self._wrong(pair) if kept else "is not kept"
            self.check.expect(not wrong, f"doc_id {pair['doc_id']}: its witness {pair['witness']} {wrong}")
            common, size, _ = self.trigrams.counts(int(pair["doc_id"]), int(pair["witness"]))
            whole += common == size
        if len(self.pairs.chosen):
            self.check.notes.append(f"the witness has every three words in a row of {whole:,} of them")

    def _wrong(self, pair: Array) -> str:
        """What is wrong with a pair, "" if nothing is."""
        recorded, threshold = float(pair["similarity"]), self.fuzzy.threshold
        if np.isnan(recorded) and self.fuzzy.resolve == "connected":
            return ""  # the survivor of its component: no similarity to it is promised
        if recorded < threshold:
            return f"is recorded at {recorded:.6f}, below the threshold {threshold:g}"
        for name, least in self.fuzzy.accept.model_dump().items():
            value = float(pair["similarity" if name == "jaccard" else name])
            if least and not value >= least:
                return f"is recorded with a {name} of {value:.6f}, below the accepted {least:g}"
        similarity = self.shingles.similarity(int(pair["doc_id"]), int(pair["witness"]))
        margin = 0.0
        if self.estimated:
            margin = STANDARD_ERRORS * (max(0.01, similarity * (1 - similarity)) / self.fuzzy.size) ** 0.5
        if not abs(similarity - recorded) <= margin:
            return f"has similarity {similarity:.6f}, recorded is {recorded:.6f}"
        return self._wrong_loss(pair)

    def _wrong_loss(self, pair: Array) -> str:
        """What is wrong with the recorded loss; there is none where similarities are estimates."""
        recorded = float(pair["containment"]), float(pair["lost_shingles"])
        if self.estimated:
            return "" if np.isnan(recorded).all() else "has a recorded containment, though similarities are estimates"
        common, size, _ = self.shingles.counts(int(pair["doc_id"]), int(pair["witness"]))
        if recorded != (common / max(1, size), size - common):
            return f"has {common:,} of {size:,} shingles, recorded is a loss of {recorded[1]:.0f} ({recorded[0]:.6f})"
        return ""


class ContainedRemoved(NearRemoved):
    """Documents that were removed because another one contains them."""

    def __init__(
        self, config: Config, everything: bool, rng: np.random.Generator, shingles: Shingles, trigrams: Shingles
    ) -> None:
        super().__init__(config, everything, rng, shingles, trigrams)
        self.check = Check("contained", "removed documents that a kept one contains as recorded")
        self.contained = config.dedupe.contained
        self.pairs = RemovedPairs(survivors.CONTAINED)

    def _wrong(self, pair: Array) -> str:
        if self.contained is None:
            return "is recorded, though dedupe.contained is off"
        if pair["similarity"] != pair["containment"]:
            return f"is recorded at {pair['similarity']:.6f} with a containment of {pair['containment']:.6f}"
        if not pair["containment"] >= self.contained.threshold:
            return f"is recorded at {pair['containment']:.6f}, below the threshold {self.contained.threshold:g}"
        _, size, _ = self.shingles.counts(int(pair["doc_id"]), int(pair["witness"]))
        if size < self.contained.min_shingles:
            return f"contains it, but it has {size:,} shingles, fewer than {self.contained.min_shingles:,}"
        return self._wrong_loss(pair)
