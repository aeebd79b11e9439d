"""Deduplicate texts in memory: python examples/dedupe_texts.py"""

from __future__ import annotations

import gpu_pile as gp

NOTICE = "Redistribution and use in source and binary forms, with or without modification, are permitted"
TEXTS = [
    "The quick brown fox jumps over the lazy dog while the cat looks on from the window sill.",
    f"{NOTICE} provided that the following conditions are met.",
    f"{NOTICE} provided that the following two conditions are met:",
    "The quick brown fox jumps over the lazy dog while the cat looks on from the window sill.",
    "Nothing else here is like this sentence about the weather in the north.",
]


def main() -> None:
    # Near duplicates share at least 60 % of their runs of 3 words. The defaults, 80 % of runs of 5 words, suit texts
    # longer than a sentence.
    found = gp.dedupe(TEXTS, threshold=0.6, width=3)
    for row, text in enumerate(TEXTS):
        if found.keep[row]:
            print(f"{row} stays: {text}")
        else:
            print(f"{row} goes, as it is like {found.witness[row]} (similarity {found.similarity[row]:.2f}): {text}")

    kept = [text for text, keep in zip(TEXTS, found.keep, strict=True) if keep]
    signals = gp.measure(kept, ["word_count", "mean_word_length"])
    print(signals.to_pylist())


if __name__ == "__main__":
    main()
