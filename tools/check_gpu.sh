#!/usr/bin/env bash
# What only a machine with a GPU can show, in four steps of less than nine minutes each; `make check-gpu STEP=1` is one.
#
#   1  what is there; every operation once beside its reference; how fast each is
#   2  whole runs over a corpus that is made there: cuda with as many workers as cores and twice as many, cpu
#   3  whole runs and the API give the bytes of the CPU; columns and minhash of cuDF, if it is installed
#   4  compute-sanitizer; where that is missing, the conformance tests that step 1 leaves out
#
#   PYTHON=python3 OUT=folder bash tools/check_gpu.sh 1
#
# A part that takes too long is stopped, those after it run. OUT gets the figures, one archive of logs for each step, and
# caches.tar.gz: kernels and CPU functions that were compiled. Put it into build/gpu/, and the next call begins with it.
# The exit code says whether every part passed. SECONDS_MAX, GIGABYTES, SHARDS, MEGABYTES, REPEAT, ONLY (an
# expression of pytest) and OPERATIONS (those that compute-sanitizer sees) make a step shorter.
set -uo pipefail
cd "$(dirname "$0")/.."
STEP=${1:?which step: 1, 2, 3 or 4}
if [ -z "${PYTHON:-}" ]; then PYTHON=$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3); fi
SECONDS_MAX=${SECONDS_MAX:-530}
GIGABYTES=${GIGABYTES:-16}
MEGABYTES=${MEGABYTES:-256}
ONLY=${ONLY:+ and ($ONLY)}
read -ra OPERATIONS <<<"${OPERATIONS:-}"
CORPUS=${CORPUS:-tests/data/corpus}
gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1 | tr 'A-Z ' 'a-z-')
OUT=${OUT:-benchmarks/runs/$(date +%F)-${gpu:-no-gpu}}
export NUMBA_CACHE_DIR=${NUMBA_CACHE_DIR:-$HOME/.cache} CUPY_CACHE_DIR=${CUPY_CACHE_DIR:-$HOME/.cupy/kernel_cache}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
mkdir -p "$OUT" "$CUPY_CACHE_DIR" "$NUMBA_CACHE_DIR/gpu_pile"
logs=$(mktemp -d)
failed=0

part() {  # name, seconds at most, command...
    local name=$1 most=$2 left=$((SECONDS_MAX - SECONDS)) code
    shift 2
    echo "== $name ($SECONDS s)"
    if [ "$left" -lt 5 ]; then
        echo "NOT RUN: no time is left"
        failed=1
        return
    fi
    timeout --kill-after=5 "$((most < left ? most : left))" "$@" >"$logs/$name.log" 2>&1
    code=$?
    case $code in
        0) tail -n 30 "$logs/$name.log" ;;
        124 | 137) echo "STOPPED, it takes too long:"; tail -n 30 "$logs/$name.log"; failed=1 ;;
        *) echo "FAILED with $code:"; tail -n 60 "$logs/$name.log"; failed=1 ;;
    esac
}

has() { "$PYTHON" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)"; }

TESTS=("$PYTHON" -m pytest -q -W default -p no:cacheprovider)

unpack_caches() {
    touch "$logs/begin"
    if [ -f build/gpu/caches.tar.gz ]; then
        tar -xmzf build/gpu/caches.tar.gz -C "$CUPY_CACHE_DIR" --strip-components=2 ./cupy
        tar -xmzf build/gpu/caches.tar.gz -C "$NUMBA_CACHE_DIR/gpu_pile" --strip-components=2 ./gpu_pile
        echo "== compiled before: $(find "$CUPY_CACHE_DIR" -type f | wc -l) modules of CuPy"
    fi
}

pack_caches() {  # what this step has made, loaded or brought along
    local kept=$logs/caches
    mkdir -p "$kept/cupy" "$kept/gpu_pile"
    find "$CUPY_CACHE_DIR" -maxdepth 1 -type f -exec cp -t "$kept/cupy" {} +
    find "$NUMBA_CACHE_DIR/gpu_pile" -maxdepth 1 -name "*.nbi" -newer "$logs/begin" -printf "%f\n" | while read -r index; do
        cp -t "$kept/gpu_pile" "$NUMBA_CACHE_DIR/gpu_pile/${index%.nbi}".*
    done
    tar -czf "$OUT/caches.tar.gz" -C "$kept" ./cupy ./gpu_pile
    rm -r "$kept" "$logs/begin"
}

step_1() {
    part machine 20 nvidia-smi
    part doctor 60 "$PYTHON" -m gpu_pile.cli doctor
    part conformance 150 "${TESTS[@]}" tests/test_conformance.py -k "test_declared_documents and cuda-0$ONLY"
    part kernels 200 "$PYTHON" benchmarks/gpu.py kernels "$CORPUS" --megabytes "$MEGABYTES" --repeat "${REPEAT:-3}" \
        --out "$OUT"
}

step_2() {
    local cores room scratch
    cores=$(nproc)
    room=$(df --output=avail -BG /dev/shm 2>/dev/null | tail -1 | tr -dc 0-9)
    scratch=$(mktemp -d -p "$([ "${room:-0}" -ge $((2 * ${GIGABYTES%.*})) ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")")
    part corpus 120 "$PYTHON" benchmarks/big_corpus.py "$CORPUS" "$scratch/corpus" --gigabytes "$GIGABYTES" \
        --shards "${SHARDS:-64}"
    part run-cuda 220 "$PYTHON" benchmarks/gpu.py run "$scratch/corpus" --workers "$cores" "$((2 * cores))" \
        --scratch "$scratch" --out "$OUT"
    part run-cpu 150 "$PYTHON" benchmarks/gpu.py run "$scratch/corpus" --backend cpu --workers "$cores" \
        --scratch "$scratch" --out "$OUT"
    part run-cuda-sketch 100 "$PYTHON" benchmarks/gpu.py run "$scratch/corpus" --workers "$((2 * cores))" --verify sketch \
        --scratch "$scratch" --out "$OUT"
    rm -rf "$scratch"
}

step_3() {
    part runs 300 "${TESTS[@]}" tests/test_gpu.py -k "not emulated$ONLY"
    if has cudf; then
        part minhash 100 "$PYTHON" benchmarks/gpu.py minhash "$CORPUS" --megabytes "$MEGABYTES" --out "$OUT"
    else
        echo "== minhash: cuDF is not installed; not run"
    fi
}

step_4() {
    local own=()
    if ! compute-sanitizer --help >"$logs/sanitizer.log" 2>&1; then
        echo "== compute-sanitizer is not here; the rest of the conformance tests"
        part conformance-rest 520 "${TESTS[@]}" tests/test_conformance.py -k "cuda and not emulated$ONLY"
        return
    fi
    if grep -q kernel-name-exclude "$logs/sanitizer.log"; then own=(--kernel-name-exclude kernel_substring=cupy); fi
    local sanitizer=(compute-sanitizer --error-exitcode 9 "${own[@]}" --tool) raced=("${OPERATIONS[@]}")
    if [ ${#raced[@]} = 0 ]; then raced=(sketch shingle_set); fi
    part memcheck 180 "${sanitizer[@]}" memcheck "$PYTHON" -m tests.gpu_small "${OPERATIONS[@]}"
    part initcheck 180 "${sanitizer[@]}" initcheck "$PYTHON" -m tests.gpu_small "${OPERATIONS[@]}"
    part racecheck 150 "${sanitizer[@]}" racecheck "$PYTHON" -m tests.gpu_small "${raced[@]}"
}

unpack_caches
"step_$STEP"
pack_caches
tar -czf "$OUT/step$STEP.tar.gz" -C "$logs" .
rm -r "$logs"
echo "== step $STEP: $SECONDS s, $([ $failed = 0 ] && echo "every part passed" || echo "NOT every part passed"); in $OUT:"
ls -l "$OUT"
exit $failed
