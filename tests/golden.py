"""The golden decisions of the demo corpus. `python -m tests.golden` writes them again, after a change that is meant."""

from __future__ import annotations

import tempfile
from pathlib import Path

EXPECTED = Path(__file__).parent / "expected" / "demo_decisions.tsv"


def rows(folder: Path) -> list[str]:
    """One line a document: what a person compares."""
    from tests.conftest import decisions

    out = []
    for r in decisions(folder):
        reasons = [f"{name}={value!r}" for name, value in zip(r["reasons"], r["values"], strict=True)]
        cells = [r["doc_id"], r["shard"], r["line"], r["subset"], int(r["keep"]), ",".join(reasons)]
        cells += [r["witness"], r["similarity"], r["cluster"]]
        out.append("\t".join("" if c is None else str(c) for c in cells))
    return out


def main() -> None:
    from gpu_pile.run import config
    from tests.conftest import DEMO, run

    with tempfile.TemporaryDirectory() as folder:
        quick = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
        run(config.load(quick, [f"output={folder}/run", f"input.shards=['{DEMO}']"]))
        EXPECTED.parent.mkdir(exist_ok=True)
        EXPECTED.write_text("\n".join(rows(Path(folder) / "run")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
