"""Choose bounds by the figures of a finished run, and save them: python examples/choose_thresholds.py RUN NEW.yaml

Each subset gets the strictest bound on its stop words that costs it at most 5 % of its documents.
"""

from __future__ import annotations

import sys

import gpu_pile as gp

SIGNAL = "stop_word_distinct"
BOUNDS = [1, 2, 3, 4, 5, 6]
COST = 0.05
WITHOUT_RULES = {"Github": {"use": []}, "DM Mathematics": {"use": []}}  # source code and exercises are not prose


def main(folder: str, target: str) -> None:
    run = gp.open_run(folder)

    # How many documents of each subset pass each bound: exact counts, and no text is read.
    rules = {}
    for row in run.sweep(SIGNAL, min=BOUNDS).to_pylist():
        if row["subset"] not in WITHOUT_RULES and row["kept_documents"] >= (1 - COST) * row["documents"]:
            rules[row["subset"]] = {SIGNAL: {"min": row[f"{SIGNAL}.min"]}}  # bounds come in ascending order
    for subset, rule in rules.items():
        print(f"{subset}: at least {rule[SIGNAL]['min']:g} of the stop words")

    # Decide by them, with the code of gpu-pile decide. Nothing is written, and nothing is measured again.
    own = {subset: {"rules": rule} for subset, rule in rules.items()}
    trial = run.decide({"use": ["gopher"], "subsets": {**WITHOUT_RULES, **own}})
    change = run.decisions.compare(trial)
    for row in change.to_pylist():
        if row["only_first"] or row["only_second"]:
            print(f"{row['subset']}: {row['only_first']} documents would go, {row['only_second']} would come back")

    # Look at texts that would go, before anything goes.
    for row in change.texts("only_first", n=2).to_pylist():
        print(f"document {row['doc_id']}: {row['text'][:100]!r} ...")

    trial.save(target)
    print(f"to apply them: gpu-pile run {target}")


if __name__ == "__main__":
    main(*sys.argv[1:])
