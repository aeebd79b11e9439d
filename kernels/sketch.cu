// sketch: K numbers a document, of its shingles. Contract and reference: gpu_pile/ops/sketch.py
//
// Shingling and sketching are one: a shingle's hash never leaves the registers (fss) or the warp's 512 bytes (affine32).
//
// Work for each shingle and thread. fss: 2 64-bit multiplications for rolling and 2 for mixing, one shared atomic minimum,
// about 40 instructions; at a word in 5.7 bytes the floor on an H200 is above 500 GB/s of text. Few different shingles
// need many rounds, some 125 for 6 of them and 254 for one: up to 32 are made different once, and a warp then takes as
// many rounds at a time as it has lanes for. affine32: K times one 32-bit multiplication, addition and minimum; with
// K = 128 and byte shingles the multiplications bound it (64 per clock on a multiprocessor): 115 GB/s.
#include "shingles.cuh"

constexpr u32 EMPTY = 0xffffffffu;
constexpr u32 MOST = EMPTY - 1;

__device__ __forceinline__ u32 low_value(u64 g)
{
    const u32 value = (u32)g;
    return value < MOST ? value : MOST;
}

// The bin of a hash in round r.
__device__ __forceinline__ u32 bin_of(u64 g, i64 r, i64 k) { return r < k ? (u32)((g >> 32) * (u64)k >> 32) : (u32)(r - k); }

// Throws shingles lo .. hi into bins by round r (FSS); `wanted` has a bit for each bin that takes part, null for all.
__device__ __forceinline__ void throw_shingles(
    const Shingles& shingles, i64 lo, i64 hi, i64 r, u64 seed, i64 k, u32* bins, const u32* wanted)
{
    u64 h[Shingles::GROUP];
    for (i64 i = lo + Shingles::GROUP * lane_index(); i < hi; i += Shingles::STEP) {
        const int n = shingles.group(i, hi, h);
#pragma unroll
        for (int j = 0; j < Shingles::GROUP; ++j)
            if (j < n) {
                const u64 g = r == 0 ? h[j] : mix64(h[j] ^ seed);
                const u32 bin = bin_of(g, r, k);
                if (!wanted || (wanted[bin >> 5] >> (bin & 31) & 1)) atomicMin(&bins[bin], low_value(g));
            }
    }
    __syncwarp();
}

// A bit for each empty bin; how many there are.
__device__ __forceinline__ u32 find_empty(const u32* bins, i64 k, u32* empty)
{
    u32 n = 0;
    for (i64 j = 0; j < k; j += 32) {
        const u32 bits = __ballot_sync(FULL, j + lane_index() < k && bins[j + lane_index()] == EMPTY);
        if (lane_index() == 0) empty[j >> 5] = bits;
        n += __popc(bits);
    }
    __syncwarp();
    return n;
}

// Shared memory of a warp: k bins, then a bit for each.
struct Bins {
    u32 *bins, *empty;
    __device__ __forceinline__ Bins(u32* shared, i64 k)
    {
        bins = shared + (threadIdx.x >> 5) * (k + (k + 31) / 32);
        empty = bins + k;
        for (i64 j = lane_index(); j < k; j += 32) bins[j] = EMPTY;
        __syncwarp();
    }
};

// A document of few different shingles needs many rounds: they are made different once, and each lane takes one.
struct Few {
    static constexpr int MOST_OF_THEM = 32;
    u64 own = 0;  // the shingle of this lane
    int n = 0;    // one more than MOST_OF_THEM if there are too many

    // The different ones of shingles 0 .. all.
    __device__ __forceinline__ Few(const Shingles& shingles, i64 all)
    {
        const int lane = (int)lane_index();
        u64 h[Shingles::GROUP];
        for (i64 base = 0; base < all; base += Shingles::STEP) {
            const int mine = shingles.group(base + Shingles::GROUP * lane, all, h);
#pragma unroll
            for (int j = 0; j < Shingles::GROUP; ++j) {
                bool is_new = j < mine;
                for (int i = 0; i < n; ++i) is_new &= __shfl_sync(FULL, own, i) != h[j];
                for (u32 left = __ballot_sync(FULL, is_new); left; left = __ballot_sync(FULL, is_new)) {
                    if (++n > MOST_OF_THEM) return;
                    const u64 next = __shfl_sync(FULL, h[j], lowest(left));
                    if (lane == n - 1) own = next;
                    is_new &= h[j] != next;
                }
            }
        }
    }

    // The rounds from 1 on. Lanes compute several of them at a time, and fill bins one round after the other, because only
    // bins that the rounds before have left empty take part. empty: how many there are.
    __device__ __forceinline__ void throw_rounds(const u64* seeds, i64 k, u32* bins, u32 empty) const
    {
        const int together = MOST_OF_THEM / n, ahead = (int)lane_index() / n;
        const u64 h = __shfl_sync(FULL, own, (int)lane_index() % n);
        for (i64 from = 1; from < 2 * k && empty; from += together) {
            const i64 r = from + ahead;
            const bool takes_part = ahead < together && r < 2 * k;
            const u64 g = mix64(h ^ (takes_part ? seeds[r] : 0));
            const u32 bin = takes_part ? bin_of(g, r, k) : 0;
            for (int i = 0; i < together; ++i) {
                const bool is_empty = takes_part && ahead == i && bins[bin] == EMPTY;
                __syncwarp();
                const bool fills = is_empty && atomicMin(&bins[bin], low_value(g)) == EMPTY;
                empty -= __popc(__ballot_sync(FULL, fills));
                __syncwarp();
            }
        }
    }
};

// The kernels. starts: where each document's units begin, int64[n_docs + 1]; out: uint32[n_docs, k], EMPTY before.

WARP_KERNEL fss(
    const UNIT* units, const i64* starts, const i64* first, const i64* owners, i64 n_segments, i64 size, i64 width,
    const u64* seeds, i64 k, u32* out)
{
    extern __shared__ u32 shared[];
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Segment segment(s, first, owners, size);
    const i64 start = starts[segment.owner], n_units = starts[segment.owner + 1] - start;
    const i64 n = shingle_count(n_units, width);
    const Shingles shingles(units + start, smaller(width, n_units));
    const Bins own(shared, k);
    u32* row = out + segment.owner * k;
    throw_shingles(shingles, segment.lo, smaller(segment.hi, n), 0, 0, k, own.bins, nullptr);
    if (!segment.only) {  // later rounds need what the other segments found
        for (i64 j = lane_index(); j < k; j += 32)
            if (own.bins[j] != EMPTY) atomicMin(&row[j], own.bins[j]);
        return;
    }
    const u32 empty = n ? find_empty(own.bins, k, own.empty) : 0;
    if (empty) {
        const Few few(shingles, n);
        if (few.n <= Few::MOST_OF_THEM)
            few.throw_rounds(seeds, k, own.bins, empty);
        else
            for (i64 r = 1; r < 2 * k && find_empty(own.bins, k, own.empty); ++r)
                throw_shingles(shingles, 0, n, r, seeds[r], k, own.bins, own.empty);
    }
    for (i64 j = lane_index(); j < k; j += 32) row[j] = own.bins[j];
}

// All further rounds for those documents[] of several segments that have few different shingles: their rows of out become
// complete. A warp per document.
WARP_KERNEL fss_few(
    const UNIT* units, const i64* starts, i64 width, const i64* documents, i64 n_documents, const u64* seeds, i64 k, u32* out)
{
    extern __shared__ u32 shared[];
    if (warp_index() >= n_documents) return;
    const i64 d = documents[warp_index()], start = starts[d], n_units = starts[d + 1] - start;
    const Few few(Shingles(units + start, smaller(width, n_units)), shingle_count(n_units, width));
    if (few.n > Few::MOST_OF_THEM) return;
    const Bins own(shared, k);
    u32* row = out + d * k;
    for (i64 j = lane_index(); j < k; j += 32) own.bins[j] = row[j];
    __syncwarp();
    few.throw_rounds(seeds, k, own.bins, find_empty(own.bins, k, own.empty));
    for (i64 j = lane_index(); j < k; j += 32) row[j] = own.bins[j];
}

// Round r for documents of several segments that still have empty bins: found (uint32[n_rows, k], EMPTY before) gets
// the smallest values of the round. Segment owners count these documents; documents[] says which ones they are.
WARP_KERNEL fss_round(
    const UNIT* units, const i64* starts, const i64* first, const i64* owners, i64 n_segments, i64 size, i64 width,
    const i64* documents, i64 r, u64 seed, i64 k, const u32* out, u32* found)
{
    extern __shared__ u32 shared[];
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Segment segment(s, first, owners, size);
    const i64 d = documents[segment.owner], start = starts[d], n_units = starts[d + 1] - start;
    const Shingles shingles(units + start, smaller(width, n_units));
    const Bins own(shared, k);
    find_empty(out + d * k, k, own.empty);
    const i64 hi = smaller(segment.hi, shingle_count(n_units, width));
    throw_shingles(shingles, segment.lo, hi, r, seed, k, own.bins, own.empty);
    for (i64 j = lane_index(); j < k; j += 32)
        if (own.bins[j] != EMPTY) atomicMin(&found[segment.owner * k + j], own.bins[j]);
}

// 128 permutations at a time, 4 a lane; the warp walks the same hashes.
WARP_KERNEL affine32(
    const UNIT* units, const i64* starts, const i64* first, const i64* owners, i64 n_segments, i64 size, i64 width,
    const u32* a, const u32* b, i64 k, u32* out)
{
    constexpr int EACH = 4;
    __shared__ uint4 buffers[4][Shingles::STEP / 4];
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Segment segment(s, first, owners, size);
    const i64 start = starts[segment.owner], n_units = starts[segment.owner + 1] - start;
    const i64 n = shingle_count(n_units, width), hi = smaller(segment.hi, n);
    const Shingles shingles(units + start, smaller(width, n_units));
    const uint4* fours = buffers[threadIdx.x >> 5];
    u32* hashes = (u32*)fours;
    for (i64 from = 0; from < k; from += 32 * EACH) {
        u32 factor[EACH], summand[EACH], least[EACH];
#pragma unroll
        for (int j = 0; j < EACH; ++j) {
            const i64 at = from + 32 * j + lane_index();
            factor[j] = at < k ? a[at] : 0;
            summand[j] = at < k ? b[at] : 0;
            least[j] = n ? MOST : EMPTY;
        }
        for (i64 base = segment.lo; base < hi; base += Shingles::STEP) {
            u64 h[Shingles::GROUP];
            const int mine = shingles.group(base + Shingles::GROUP * lane_index(), hi, h);
#pragma unroll
            for (int j = 0; j < Shingles::GROUP; ++j)
                if (j < mine) hashes[Shingles::GROUP * lane_index() + j] = (u32)(h[j] >> 32);
            __syncwarp();
            const int count = (int)smaller(Shingles::STEP, hi - base);
            int i = 0;
            for (; i + 4 <= count; i += 4) {
                const uint4 four = fours[i >> 2];
#pragma unroll
                for (int j = 0; j < EACH; ++j) {
                    const u32 x = factor[j] * four.x + summand[j], y = factor[j] * four.y + summand[j];
                    const u32 z = factor[j] * four.z + summand[j], w = factor[j] * four.w + summand[j];
                    least[j] = min(least[j], min(min(x, y), min(z, w)));
                }
            }
            for (; i < count; ++i)
#pragma unroll
                for (int j = 0; j < EACH; ++j) least[j] = min(least[j], factor[j] * hashes[i] + summand[j]);
            __syncwarp();
        }
#pragma unroll
        for (int j = 0; j < EACH; ++j) {
            const i64 at = from + 32 * j + lane_index();
            if (at < k) {
                if (segment.only)
                    out[segment.owner * k + at] = least[j];
                else
                    atomicMin(&out[segment.owner * k + at], least[j]);
            }
        }
    }
}
