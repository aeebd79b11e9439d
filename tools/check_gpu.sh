#!/usr/bin/env bash
# Everything that only a machine with a GPU can show; called by `make check-gpu`. Every step runs; the exit code says
# whether all of them passed. Logs and figures go to benchmarks/runs/<date>-<gpu>/, or to $OUT.
#
#   PYTHON=python3 CORPUS=folder-of-shards bash tools/check_gpu.sh
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.venv/bin/python}
CORPUS=${CORPUS:-tests/data/corpus}
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr 'A-Z ' 'a-z-')
OUT=${OUT:-benchmarks/runs/$(date +%F)-${gpu:-no-gpu}}
mkdir -p "$OUT"
failed=0

step() {  # name, command...
    local name=$1
    shift
    echo "== $name"
    if "$@" >"$OUT/$name.log" 2>&1; then
        tail -n 3 "$OUT/$name.log"
    else
        echo "FAILED with $?:"
        tail -n 40 "$OUT/$name.log"
        failed=1
    fi
}

nvidia-smi >"$OUT/machine.log" 2>&1
step doctor "$PYTHON" -m gpu_pile.cli doctor
step conformance "$PYTHON" -m pytest -q -p no:cacheprovider tests/test_conformance.py -k "cuda and not emulated"
step runs "$PYTHON" -m pytest -q -p no:cacheprovider tests/test_gpu.py -k "not emulated"
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
        step "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 "$PYTHON" -m tests.gpu_small
    done
else
    echo "== memcheck, racecheck: compute-sanitizer is not on the path; not run" | tee "$OUT/sanitizer.log"
fi
step kernels "$PYTHON" benchmarks/gpu.py kernels "$CORPUS" --out "$OUT"
step run "$PYTHON" benchmarks/gpu.py run "$CORPUS" --out "$OUT"
echo "logs and figures: $OUT"
exit $failed
