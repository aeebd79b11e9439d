// redpajama_lines: what is counted for each line. Contract and reference: gpu_pile/ops/redpajama_lines.py
//
// Where the lines are is known, and the words of their normal form (normal_form.cu). A warp reads a segment of a line.
//
// Work: about 30 instructions a step of 32 bytes and warp. Floor on an H200: about 500 GB/s of text.
#include "common.cuh"

// Line k is data[bounds[2k] .. bounds[2k + 1]). chars[k], uppers[k]: its characters and UPPER ones, 0 before.
// inks[2k], inks[2k + 1]: where the first and the last character begin that is no white space; before, more and less
// than any place.
WARP_KERNEL read_lines(
    const u8* data, const i64* bounds, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64* chars, i64* uppers, i64* inks)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 k = segment.owner, start = bounds[2 * k];
    const i64 hi = smaller(bounds[2 * k + 1], start + segment.hi);
    i64 first_ink = -1, last_ink = -1;
    u32 n = 0, upper = 0;
    for (i64 base = start + segment.lo; base < hi; base += 32) {
        const i64 i = base + lane_index();
        const bool lead = i < hi && is_lead(data[i]);
        const u32 f = lead ? flags(decode(data + i)) : SPACE;
        n += __popc(__ballot_sync(FULL, lead));
        upper += __popc(__ballot_sync(FULL, f & UPPER));
        const u32 found = __ballot_sync(FULL, !(f & SPACE));
        if (!found) continue;
        if (first_ink < 0) first_ink = base + lowest(found);
        last_ink = base + highest(found);
    }
    if (lane_index() || !n) return;
    atomicAdd((u64*)&chars[k], (u64)n);
    atomicAdd((u64*)&uppers[k], (u64)upper);
    if (first_ink < 0) return;
    atomicMin(&inks[2 * k], first_ink);
    atomicMax(&inks[2 * k + 1], last_ink);
}

// terminal[k], bullet[k]: 1 where a line ends, begins so, else 0. A thread a line.
WARP_KERNEL judge_lines(
    const u8* data, const i64* inks, i64 n_lines, const u32* bullets, i64 n_bullets, i64* terminal, i64* bullet)
{
    const i64 k = thread_index();
    if (k >= n_lines) return;
    const bool blank = inks[2 * k + 1] < 0;
    const u32 c = blank ? 0 : decode(data + inks[2 * k]), last = blank ? 0 : decode(data + inks[2 * k + 1]);
    bool is = false;
    for (int j = 0; j < (int)n_bullets; ++j) is |= bullets[j] == c;
    terminal[k] = last == '.' || last == '!' || last == '?' || last == 0x201D;
    bullet[k] = is;
}

// found[w]: 1 where word w, data[bounds[w] .. bounds[w + 1]), is "javascript", else 0. A thread a word.
WARP_KERNEL find_javascript(const u8* data, const i64* bounds, i64 n_words, i64* found)
{
    const i64 w = thread_index();
    if (w >= n_words) return;
    const char* const wanted = "javascript";
    bool same = bounds[w + 1] - bounds[w] == 10;
    for (int j = 0; same && j < 10; ++j) same = data[bounds[w] + j] == (u8)wanted[j];
    found[w] = same;
}
