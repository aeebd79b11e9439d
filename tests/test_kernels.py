"""kernels/*.cu: they compile everywhere without spills, the launcher refuses what does not fit, the emulator is strict,
a bug planted in any kernel is found, and sanitizers find nothing.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from gpu_pile.gpu import launch
from gpu_pile.ops import op
from gpu_pile.testing import assert_same_bits
from gpu_pile.text.column import TextColumn
from tests import emulator
from tests.compile import (
    ARCHITECTURES,
    HOPPER,
    CompilationError,
    Resources,
    compile_source,
    compiler,
    recorded,
)
from tests.conftest import HERE
from tests.emulator.races import between_lanes
from tests.test_conformance import SEAMS

OPS = op.load_all()
FILES = launch.kernel_files()
KERNELS = [(file, name) for file in FILES for name in launch.signatures(file)]

# compilation


def test_every_operation_has_kernels():
    """An operation without a file of its own is put together from kernels of the shared files."""
    assert OPS.keys() == {o.name for file in FILES for o in users(file)}


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_kernels_compile_without_spills(file, capsys):
    def compiled(job):
        return (*job, compile_source(launch.source(file), *job))

    jobs = [(architecture, defines) for architecture in ARCHITECTURES for defines in launch.variants(file)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(compiled, jobs))
    for architecture, defines, kernels in found:
        assert kernels.keys() == launch.signatures(file).keys()
        for name, r in kernels.items():
            print(f"sm_{architecture} {name} {dict(defines)}: {r.registers} registers, {r.shared} bytes shared")
            assert r.spills == 0, (name, architecture, r)
            assert r.registers <= 128, (name, architecture, r)
            if architecture == HOPPER:
                assert_in_budget(file, name, r)


def assert_in_budget(file, name, r):
    """At most what was recorded, and a little; another version of the compiler makes other code."""
    version, files = recorded()
    if version != compiler():
        return
    budget = files[file][name]
    for what, got in (("registers", r.registers), ("loop", r.loop)):
        assert got <= 1.05 * budget[what] + 2, (
            f"{name}: {what} {got}, recorded {budget[what]}; if it is worth that, run `python -m tests.compile {file}`"
        )


def test_the_record_has_every_kernel_and_no_other():
    assert {(file, name) for file, kernels in recorded()[1].items() for name in kernels} == set(KERNELS)


def test_a_kernel_that_takes_more_is_noticed():
    version, files = recorded()
    if version != compiler():
        pytest.skip(f"{compiler()} is installed, the record is of NVRTC {version}: run `python -m tests.compile`")
    used = files["band_keys"]["band_keys"]
    with pytest.raises(AssertionError, match="run `python -m tests"):
        assert_in_budget("band_keys", "band_keys", Resources(used["registers"], 0, 0, 0, 2 * used["loop"]))


def test_the_main_loop_is_counted_in_the_machine_code():
    source = """
    extern "C" __global__ void loop(const unsigned* x, unsigned n, unsigned* y)
    {
        unsigned sum = threadIdx.x;
    #pragma unroll 1
        for (unsigned i = 0; i < n; ++i) sum = sum * x[i] + (x[i] ^ i);
        y[threadIdx.x] = sum;
    }
    extern "C" __global__ void straight(unsigned* y) { y[threadIdx.x] = threadIdx.x; }
    """
    once, twice = (compile_source(source.replace("sum *", change), HOPPER) for change in ("sum *", "(sum * sum + i) *"))
    assert 5 < once["loop"].loop < twice["loop"].loop < 20
    assert once["straight"].loop == 0


def test_a_mistake_is_reported_with_file_and_line():
    broken = launch.source("doc_hash").replace("a = warp_sum(a);", "a = warp_summ(a);")
    with pytest.raises(CompilationError, match=r"doc_hash\.cu\(\d+\): error: .*warp_summ"):
        compile_source(broken, 90)


# the launcher


def test_signatures_are_read_from_the_sources():
    assert len(KERNELS) >= 20
    (units, *_, out) = launch.signatures("sketch")["fss"]
    assert (units.name, units.type, units.pointer, units.writes) == ("units", "UNIT", True, False)
    assert (out.name, out.type, out.pointer, out.writes) == ("out", "u32", True, True)


TEXT = TextColumn.from_documents(["some text"])
GOOD = (TEXT.offsets, 1, np.zeros(2, np.uint64))


def frozen():
    out = np.zeros(2, np.uint64)
    out.setflags(write=False)
    return out


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((), r"0 arguments given, it takes 3: offsets, n_docs, out"),
        ((TEXT.offsets, 1), "2 arguments given"),
        ((TEXT.offsets.astype(np.int32), 1, GOOD[2]), "offsets: expected an array of int64, got int32"),
        ((np.zeros((4, 2), np.int64)[:, 0], 1, GOOD[2]), "offsets: the array of shape .* is not contiguous"),
        ((TEXT.offsets, 1.0, GOOD[2]), "n_docs: expected an integer of int64, got 1.0"),
        ((TEXT.offsets, 2**63, GOOD[2]), "n_docs: expected an integer"),
        ((TEXT.offsets, 1, [0, 0]), "out: expected an array of uint64, got list"),
        ((TEXT.offsets, 1, frozen()), "out: the array is read-only and the kernel writes to it"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(given, says):
    with emulator.installed(), pytest.raises(TypeError, match=f"kernel doc_hash_finish of kernels/doc_hash.cu.*{says}"):
        launch.launch("doc_hash", "doc_hash_finish", 1, *given)


def test_an_unknown_kernel_is_refused():
    with pytest.raises(TypeError, match="no such kernel; there are: doc_hash_segments, doc_hash_finish"):
        launch.launch("doc_hash", "doc_hash_finnish", 1)


def test_host_arrays_are_refused_where_nothing_emulates():
    with pytest.raises(TypeError, match="host memory"):
        launch.launch("doc_hash", "doc_hash_finish", 1, *GOOD)


# the emulator itself


def test_cuda_functions_call_what_numpy_and_cupy_share():
    xp = emulator.Arrays(fresh=0xA5)
    assert xp.zeros(2, np.int64).tolist() == [0, 0]
    assert xp.empty((2, 1), np.uint16).tolist() == [[0xA5A5], [0xA5A5]]
    assert xp.argsort(np.array([2, 1]), kind="stable").tolist() == [1, 0]
    with pytest.raises(emulator.EmulationError, match="unique is not among"):
        xp.unique(np.zeros(2))
    with pytest.raises(emulator.EmulationError, match="stable"):
        xp.argsort(np.zeros(2), kind="quicksort")


STRICT = """
extern "C" __global__ void behind(int* x, long long n) { if (threadIdx.x == 0) x[n] = 1; }
extern "C" __global__ void divergent(int* x) { if (threadIdx.x & 1) __syncwarp(); else x[0] = __ballot_sync(~0u, 1); }
extern "C" __global__ void half(int* x) { if (threadIdx.x < 16) x[0] = __ballot_sync(~0u, 1); }
extern "C" __global__ void two(int* x) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}
extern "C" __global__ void outside(int* x) { if (threadIdx.x < 16) x[threadIdx.x] = __shfl_sync(0xffffu, 1, 20); }
extern "C" __global__ void race(int* x) { int v = x[0]; atomicAdd(x + 1, 0); x[0] = v + 1; }
extern "C" __global__ void sums(int* x, long long n)
{
    extern __shared__ int shared[];
    shared[threadIdx.x] = threadIdx.x < n ? x[threadIdx.x] : 0;
    __syncthreads();
    for (int d = blockDim.x / 2; d; d >>= 1) {
        if (threadIdx.x < d) shared[threadIdx.x] += shared[threadIdx.x + d];
        __syncthreads();
    }
    if (threadIdx.x == 0) x[blockIdx.x] = shared[0];
}
"""
NAMES = ["behind", "divergent", "half", "two", "outside", "race", "sums"]


def execute(name, *arguments, blocks=1, threads=64, **settings):
    emulator.execute(
        STRICT, NAMES, name, blocks, threads, list(arguments), 4 * threads, settings=emulator.Settings(**settings)
    )


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("behind", (np.int64(61),), "writes past the end of an argument of 244 bytes"),
        ("divergent", (), "different collectives"),
        ("half", (), "returns while|names a lane that has returned"),
        ("two", (), "__syncthreads of line 10 meets the one of line 8|of line 8 meets the one of line 10"),
        ("outside", (), "reads a lane outside its mask"),
    ],
)
def test_what_a_gpu_does_not_define_is_an_error(name, arguments, says):
    with pytest.raises(emulator.EmulationError, match=says):
        execute(name, np.zeros(61, np.int32), *arguments)


def test_a_race_shows_in_some_order():
    seen = set()
    for order in emulator.ORDERS:
        x = np.zeros(2, np.int32)
        execute("race", x, order=order, switch_at_atomics=True)
        seen.add(int(x[0]))
    assert seen != {64}


def test_barriers_and_shared_memory():
    for order in emulator.ORDERS:
        x = np.arange(50, dtype=np.int32)
        execute("sums", x, np.int64(50), order=order)
        assert x[0] == np.arange(50).sum()


# planted bugs: the tests of the operations would notice them

BUGS = {
    ("anchors", "anchor_hashes"): ("rolling * Q + unit_hash(units[i + j])", "rolling + unit_hash(units[i + j])"),
    ("anchors", "anchor_minima"): ("hashes[other] <= hashes[mine]", "hashes[other] < hashes[mine]"),
    ("anchors", "count_anchors"): ("i + window <= segment.end", "i + window < segment.end"),
    ("anchors", "write_anchors"): ("i == segment.start || best", "best"),
    ("band_keys", "band_keys"): ("mix64((u64)band + 1)", "mix64((u64)band)"),
    ("nemo_boilerplate", "boilerplate_segments"): ("i += 3;", "i += 1;"),
    ("c4_lines", "count_breaks"): ("(flags(decode(data + i)) & LINE_BREAK)", "(flags(data[i]) & LINE_BREAK)"),
    ("c4_lines", "find_breaks"): ("i + 1 < segment.end && data[i + 1]", "i + 1 < segment.hi && data[i + 1]"),
    ("c4_lines", "c4_lines"): ("if (close > open) skip = close;", ""),
    ("nemo_code_comments", "code_comments_segments"): ("next_quotes || more", "next_quotes"),
    ("nemo_code_comments", "code_comments_join"): ("+ (state >> 4)", ""),
    ("components", "components_link"): ("high = x < y ? y : x, low = x < y ? x : y;", "high = x, low = y;"),
    ("components", "components_name"): ("(i64)root(up, (u64)x)", "(i64)up[x]"),
    ("doc_hash", "doc_hash_segments"): ("(i - segment.start) / 8 + 1", "(i - segment.lo) / 8 + 1"),
    ("doc_hash", "doc_hash_finish"): ("n * LENGTH1", "n * LENGTH0"),
    ("gather", "gather"): ("starts[k] - offsets[k]", "starts[k] - i"),
    ("segments", "count_segments"): ("(sizes[i] + size - 1) / size", "sizes[i] / size"),
    ("segments", "find_owners"): ("last_up_to(first, n_owners, s)", "last_up_to(first, n_owners, s + 1)"),
    ("jaccard", "jaccard_segments"): ("lo < m && large[lo] == value", "lo < m"),
    ("jaccard", "jaccard_unions"): ("- out[2 * p]", "- 2 * out[2 * p]"),
    ("dclm_line_removal", "read_lines"): ("(before & SPACE)", "true"),
    ("dclm_line_removal", "settle_documents"): ("tail -= 31 - highest(left);", ""),
    ("line_repetition", "mark_inked"): ("i < segment.hi && is_lead(data[i])", "i < segment.hi && data[i] < 0x80"),
    ("ngram_hits", "count_tokens"): ("return before == SEPARATOR || before == ALONE;", "return before == SEPARATOR;"),
    ("ngram_hits", "hash_tokens"): ("kind == ALONE || before == ALONE", "kind == ALONE"),
    ("ngram_hits", "look_up_ngrams"): ("low < at[1] && keys[low] == key", "low < at[1]"),
    ("normal_words", "normal_words_count"): ("n_words += letter.begins", "n_words += letter.mine"),
    ("normal_words", "normal_words_write"): ("if (letter.begins && word > 1)", "if (letter.begins && i > segment.lo)"),
    ("line_feeds", "count_line_feeds"): ("return data[i] == '\\n';", "return i && data[i] == '\\n';"),
    ("line_feeds", "find_line_feeds"): ("{ feeds[k] = i; }", "{ feeds[k] = segment.lo; }"),
    ("parse_lines", "parse_lines"): ("row % 2 == 0", "row == 0"),
    ("ngrams", "hash_spans"): ("atomicAdd((u64*)&chars[k], (u64)n);", "chars[k] = n;"),
    ("ngrams", "join_hashes"): ("* power(P, bounds[k + 1] - bounds[k])", "* power(P, 1)"),
    ("ngrams", "match_spans"): ("== lane) same = equal;", "== lane) same = !equal;"),
    ("ngrams", "strip_spans"): ("while (!(ink = inks(base))) base -= 32;", "ink = inks(base);"),
    ("ngrams", "number_items"): ("atomicAdd(&counts[numbers[i]], 1u);", "counts[numbers[i]] = 1;"),
    ("normal_form", "count_normal"): ("n_chars += own.n;", "n_chars += 1;"),
    ("normal_form", "write_normal"): ("if (mark_class > written && mark_class < least)", "if (mark_class > written)"),
    ("redpajama_lines", "read_lines"): ("if (first_ink < 0) first_ink =", "first_ink ="),
    ("redpajama_lines", "judge_lines"): ("is_bullet |= bullets[j] == c;", "is_bullet = bullets[j] == c;"),
    ("redpajama_lines", "find_javascript"): ("- bounds[w] == 10 &&", "- bounds[w] >= 10 &&"),
    ("redpajama_words", "count_raw_words"): ("n_sentences += (flags(decode(data + i)) & WORD) && ", "n_sentences += "),
    ("redpajama_words", "find_raw_words"): ("starts[run] = i;", "starts[run] = base;"),
    ("redpajama_words", "classify_raw_words"): ("f & CASED ? SMALL : 0", "0"),
    ("redpajama_words", "find_stop_words"): ("(u64)data[i] << 8 * (j - 8)", "(u64)data[i] << 8 * (j - 7)"),
    ("redpajama_words", "find_lorem"): ("end - bounds[w] >= 5", "end - bounds[w] == 5"),
    ("redpajama_words", "weigh_words"): ("shift * table[2] + x", "shift * table[2]"),
    ("redpajama_words", "look_up_words"): ("lo = k + 1;", "lo = k + 2;"),
    ("redpajama_words", "count_entries"): ("|| owners[w + length - 1] != owners[w]", ""),
    ("redpajama_words", "cover_words"): ("i > w - width", "i > w - 5"),
    ("shingle_set", "write_shingles"): ("values[bounds[d] + i + j] = h[j];", "values[bounds[d] + i + j] = h[0];"),
    ("shingles", "count_words"): ("return (before & (WORD | UNSPACED)) != WORD", "return !(before & WORD)"),
    ("shingles", "count_characters"): ("return is_lead(data[i]); });", "return data[i] < 0x80; });"),
    ("shingles", "hash_words"): ("if (ends) return finished(h);", "if (in_this_word != FULL) return finished(h);"),
    ("shingles", "write_characters"): ("decode(data + i) + 1ull", "data[i] + 1ull"),
    ("sketch", "fss"): ("mix64(h ^ (takes_part", "mix64(h + (takes_part"),
    ("sketch", "fss_few"): ("own.bins[j] = row[j];", ""),
    ("sketch", "fss_round"): ("find_empty(out + d * k,", "if (r == 2) return; find_empty(out + d * k,"),
    ("sketch", "affine32"): ("                    atomicMin(&out[segment.owner * k + at], least[j]);", ""),
    ("sketch_matches", "sketch_matches"): ("a[j] == b[j]", "a[j] <= b[j]"),
    ("text_counts", "text_counts_segments"): ("last & 1 : (u32)open << first", "last & 1 : (u32)open"),
    ("text_counts", "text_counts_join"): ("dots += segment.head_dots;", "dots = segment.head_dots;"),
    ("dclm_words", "count_pieces"): ("return is_lead(data[i]) && breaks", "return data[i] < 0x80 && breaks"),
    ("dclm_words", "find_pieces"): ("starts[piece] = i;", "starts[piece] = segment.lo;"),
    ("witnesses", "witnesses_block"): ("place[x] < place[y] ? y : x", "y"),
    ("witnesses", "witnesses_remove"): ("relaxed_store(&state[x], (u32)REMOVED)", "(void)0"),
    ("witnesses", "witnesses_best"): ("atomicMax(&best[b[i]]", "atomicMin(&best[b[i]]"),
    ("witnesses", "witnesses_first"): ("atomicMin(&first[y], (u64)rank[x])", "atomicMin(&first[y], (u64)x)"),
    ("witnesses", "witnesses_choose"): ("&& first[x] == (u64)rank[y]", ""),
    ("word_repetition", "count_split_words"): ("return flags(c) & SPACE ? 0 : 1;", "return c == ' ' ? 0 : 1;"),
    ("word_repetition", "find_split_words"): ("starts[run] = i;", "starts[run] = base;"),
    ("word_repetition", "match_grams"): ("words[other + width - 1] == tail", "words[other + width - 2] == tail"),
    ("word_repetition", "top_grams"): ("(NONE - (u32)i)", "(u32)i"),
    ("word_repetition", "longest_top_grams"): ("|| counts[i] != best[d] >> 32", ""),
    ("word_repetition", "measure_grams"): ("counted = width - back;", "counted = back;"),
    ("word_repetition", "walk_grams"): ("known || (equals & (visited | open))", "known"),
}  # fmt: skip


def test_there_is_a_planted_bug_for_every_kernel():
    assert set(BUGS) == set(KERNELS)


def users(file):
    """Operations that launch kernels of a file."""
    return {
        "gather": [OPS["parse_lines"]],
        "segments": [OPS["doc_hash"]],
        "line_feeds": [OPS["parse_lines"]],
        "normal_form": [OPS["redpajama_lines"], OPS["redpajama_words"]],
        "ngrams": [OPS["line_repetition"], OPS["dclm_repetition"], OPS["word_repetition"]],
        "shingles": [OPS["shingle_set"]],
    }.get(file) or [OPS[file]]


@pytest.mark.slow
@pytest.mark.parametrize(("file", "name"), BUGS, ids=lambda x: x)
def test_a_planted_bug_is_found(file, name):
    old, new = BUGS[file, name]

    def change(source):
        return source.replace(old, new, 1) if f" {name}(" in source else source

    assert change(launch.source(file)) != launch.source(file)
    with pytest.raises((AssertionError, ValueError, IndexError)):
        check_all(users(file), change)


def check_all(operations, change):
    for operation in operations:
        for params in operation.samples:
            for segment in (None, 32):
                with emulator.installed(change, segment=segment, optimize="-O0"):
                    assert_same_bits(operation, "cuda-emulated", [*operation.documents, *SEAMS], params)


COLLISIONS = (
    ("mix64(hash + (u64)owner * P) & (u64)mask", "3"),
    ("hashes[other] == hash", "true"),
    ("mix64((u64)head << 32 | tail) & (u64)mask", "3"),
)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["line_repetition", "redpajama_words", "dclm_words", "word_repetition"])
def test_repetition_is_exact_when_all_hashes_are_equal(name):
    used = set()

    def change(source):
        for old, new in COLLISIONS:
            if old in source:
                used.add(old)
                source = source.replace(old, new)
        return source

    with emulator.installed(change):
        assert_same_bits(OPS[name], "cuda-emulated", OPS[name].documents, {})
    assert used


# sanitizers


def races(*arguments):
    """What the thread sanitizer reports between lanes, in a process of its own, whose addresses must not be random."""
    library = subprocess.run(["g++", "-print-file-name=libtsan.so"], capture_output=True, text=True).stdout.strip()
    if shutil.which("setarch") is None or not Path(library).is_absolute():
        pytest.skip("the thread sanitizer of g++ (libtsan) or setarch is missing")
    environment = {**os.environ, "LD_PRELOAD": str(Path(library).resolve()), "TSAN_OPTIONS": "exitcode=0"}
    done = subprocess.run(
        ["setarch", "-R", sys.executable, "-m", "tests.emulator.races", *arguments],
        env=environment,
        cwd=HERE.parent,
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["done"], done.stderr[-3000:]
    return between_lanes(done.stderr)


@pytest.mark.slow
def test_lanes_of_kernels_with_shared_memory_wait_for_each_other():
    assert races("text_counts", "sketch", "shingle_set") == []


@pytest.mark.slow
def test_a_missing_barrier_is_found():
    assert races("text_counts", "--without", "1")


@pytest.mark.slow
def test_sanitizers_find_nothing():
    """In a process of its own, which the address sanitizer must be loaded into before Python."""
    library = subprocess.run(["g++", "-print-file-name=libasan.so"], capture_output=True, text=True).stdout.strip()
    environment = {**os.environ, "LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.emulator.sanitized"],
        env=environment,
        cwd=HERE.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == str(sum(len(o.samples) for o in OPS.values()))
