"""Every operation in this checkout and in another one, in turn: what a change costs.

    python benchmarks/before_after.py FOLDER --against CHECKOUT [--rounds 3] [--repeat 7] [--mb 60] [--only NAME,...]

CHECKOUT is another working tree of the project, for instance of `git worktree add`. Each round starts one process per
checkout; each takes the least thread CPU time of `repeat` calls per operation, which other work on the machine hardly
touches. The ratio is new / old of one round. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import zstandard

PIECE_BYTES = 4 * 2**20
OTHER_INPUTS = {"band_keys", "components", "jaccard", "parse_lines", "sketch_matches", "witnesses"}
"""Operations whose input is not text; benchmarks/bench.py times them."""


def texts(folder: Path, n_bytes: float) -> list[str]:
    """Every third document of the shards, up to about n_bytes."""
    out: list[str] = []
    total = 0
    for path in sorted(folder.glob("*.jsonl.zst")):
        raw = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True).read()
        for line in raw.splitlines()[::3]:
            if total < n_bytes:
                out.append(json.loads(line)["text"])
                total += len(out[-1].encode())
    return out


def seconds(folder: Path, n_bytes: float, repeat: int, only: list[str]) -> dict[str, float]:
    """The least thread CPU time of each operation of the checkout that is imported."""
    from gpu_pile.ops import op
    from gpu_pile.text.column import TextColumn

    text = TextColumn.from_documents(texts(folder, n_bytes))
    pieces = list(text.pieces(PIECE_BYTES))
    out = {"bytes": float(text.n_bytes)}
    for name, operation in op.load_all().items():
        if name in OTHER_INPUTS or (only and name not in only):
            continue
        arguments = [operation.inputs(piece, {}) for piece in pieces]
        operation(*arguments[0])  # compiles
        times = []
        for _ in range(repeat):
            start = time.thread_time()
            for inputs in arguments:
                operation(*inputs)
            times.append(time.thread_time() - start)
        out[name] = min(times)
    return out


def in_checkout(checkout: Path, arguments: list[str]) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).resolve()), *arguments, "--worker"]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{checkout}:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--mb", type=float, default=60)
    parser.add_argument("--only", default="")
    parser.add_argument("--worker", action="store_true")
    a = parser.parse_args()
    if a.worker:
        print(json.dumps(seconds(a.folder, a.mb * 1e6, a.repeat, [n for n in a.only.split(",") if n])))
        return
    if a.against is None:
        parser.error("--against CHECKOUT is needed: the working tree to compare with")
    given = [str(a.folder.resolve()), "--repeat", str(a.repeat), "--mb", str(a.mb), "--only", a.only]
    here = Path(__file__).resolve().parents[1]
    rounds = [(in_checkout(a.against.resolve(), given), in_checkout(here, given)) for _ in range(a.rounds)]
    print("| operation | MB/s | new / old, median | all rounds |\n|---|---:|---:|---|")
    for name in sorted(set(rounds[0][0]) & set(rounds[0][1]) - {"bytes"}):
        ratios = [new[name] / old[name] for old, new in rounds]
        speed = rounds[0][1]["bytes"] / 1e6 / min(new[name] for _, new in rounds)
        print(f"| {name} | {speed:.0f} | {statistics.median(ratios):.3f} | {', '.join(f'{r:.3f}' for r in ratios)} |")


if __name__ == "__main__":
    main()
