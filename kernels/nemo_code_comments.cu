// nemo_code_comments: comments of source code in six readings. Contract and reference: gpu_pile/ops/nemo_code_comments.py
//
// Each reading is a finite automaton over classes of bytes. What state it is in where a segment begins is not known, so
// a warp runs a segment from every state of every automaton, two such runs per lane, and one thread per document and automaton
// puts the runs of its segments together. A quote's class depends on whether another one follows in its line: a warp
// looks ahead for the last one of a window of 32 bytes.
//
// Work: about 20 instructions per byte and warp. Floor on an H200: about 40 GB/s of text.
#include "common.cuh"
#include "nemo_code_comments.columns"

static_assert(C::c_unterminated == 6, "six automata, a column of characters each");

constexpr u32 NEWLINE = 11, DOUBLE = 12, SINGLE = 13, LAST = 2;  // a last quote's class is its kind's + LAST

// Whether the next byte of data[i .. end) that is a quote or a line feed is the quote.
__device__ __forceinline__ bool quote_follows(const u8* data, i64 i, i64 end, u32 quote)
{
    for (; i < end; i += 32) {
        const i64 at = i + lane_index();
        const u32 b = at < end ? data[at] : 0;
        const u32 quotes = __ballot_sync(FULL, b == quote), feeds = __ballot_sync(FULL, b == '\n');
        if (quotes | feeds) return quotes && (!feeds || lowest(quotes) < lowest(feeds));
    }
    return false;
}

// Run r of segment s begins in runs[r] = 256 * automaton + 16 * state: ends[s, r] is the state it ends in, times 16;
// chars[s, r] what it counts. steps[256 * automaton + 16 * state + class]: 16 * next state + what is counted.
WARP_KERNEL code_comments_segments(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u8* classes, const u8* steps, const i64* runs, i64 n_runs, u8* ends, u32* chars)
{
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const i64 end = segment.end, hi = segment.hi;
    const u32 lane = lane_index();
    const i64 a = lane, b = lane + 32;
    const u8* of_a = steps + (a < n_runs ? runs[a] & ~255 : 0);
    const u8* of_b = steps + (b < n_runs ? runs[b] & ~255 : 0);
    u32 state_a = a < n_runs ? runs[a] & 255 : 0, state_b = b < n_runs ? runs[b] & 255 : 0;
    u32 chars_a = 0, chars_b = 0;
    for (i64 base = segment.lo; base < hi; base += 32) {
        const i64 i = base + lane, behind = smaller(base + 32, hi);
        u32 own = i < hi ? classes[data[i]] : 0;
        const u32 feeds = __ballot_sync(FULL, own == NEWLINE);
        for (u32 kind = DOUBLE; kind <= SINGLE; ++kind) {
            const u32 quotes = __ballot_sync(FULL, own == kind);
            if (!quotes) continue;
            const bool more = quote_follows(data, behind, end, kind == DOUBLE ? '"' : '\'');
            if (own != kind) continue;
            const u32 above = ~lanes_below() & ~(1u << lane);
            const u32 next_quotes = quotes & above, next_feeds = feeds & above;
            const bool followed = next_feeds ? next_quotes && lowest(next_quotes) < lowest(next_feeds)
                                             : next_quotes || more;
            if (!followed) own += LAST;
        }
        __syncwarp();
        u32 bits[4];
        for (int k = 0; k < 4; ++k) bits[k] = __ballot_sync(FULL, own >> k & 1);
        const int n = (int)(behind - base);
        for (int j = 0; j < n; ++j) {
            u32 of = 0;
            for (int k = 0; k < 4; ++k) of |= (bits[k] >> j & 1) << k;
            state_a = of_a[(state_a & 0xF0) + of];
            state_b = of_b[(state_b & 0xF0) + of];
            chars_a += state_a & 3;
            chars_b += state_b & 3;
        }
    }
    if (a < n_runs) {
        ends[segment.index * n_runs + a] = (u8)(state_a & 0xF0);
        chars[segment.index * n_runs + a] = chars_a;
    }
    if (b < n_runs) {
        ends[segment.index * n_runs + b] = (u8)(state_b & 0xF0);
        chars[segment.index * n_runs + b] = chars_b;
    }
}

// out[d, C::c_chars + m]: what automaton m counts in document d; out[d, C::c_unterminated + m], for the automata that have
// this column: whether it ends inside of a comment. Document d has segments first[d] .. first[d + 1], automaton m the runs
// first_runs[m] .. first_runs[m + 1], one a state. A thread a document and automaton.
WARP_KERNEL code_comments_join(
    const i64* first, i64 n_docs, const i64* first_runs, i64 n_machines, i64 n_runs, const u8* ends, const u32* chars,
    const u8* is_open, i64* out)
{
    const i64 thread = thread_index();
    if (thread >= n_docs * n_machines) return;
    const i64 d = thread / n_machines, m = thread % n_machines;
    u32 state = 0;
    i64 sum = 0;
    for (i64 s = first[d]; s < first[d + 1]; ++s) {
        const i64 run = s * n_runs + first_runs[m] + (state >> 4);
        sum += chars[run];
        state = ends[run];
    }
    i64* const row = out + d * C::N_COLUMNS;
    row[C::c_chars + m] = sum;
    if (C::c_unterminated + m < C::N_COLUMNS) row[C::c_unterminated + m] = is_open[256 * m + state];
}
