// redpajama_lines: what is counted for each line. Contract and reference: gpu_pile/ops/redpajama_lines.py
//
// Array code has split the lines and normal_form.cu has found the words of their normal form. Here a warp reads a segment
// of a line, and a thread judges how a line begins and ends, or whether a word is "javascript".
//
// Work: about 30 instructions per step of 32 bytes and warp. Floor on an H200: about 500 GB/s of text.
#include "common.cuh"

// Line k is data[bounds[2k] .. bounds[2k + 1]). Adds to chars[k] and uppers[k], 0 before, its characters and the UPPER
// ones. inks[2k], inks[2k + 1]: where its first and its last character begin that are not white space; before, more and
// less than any position.
WARP_KERNEL read_lines(
    const u8* data, const i64* bounds, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64* chars, i64* uppers, i64* inks)
{
    const Segment segment = span_segment(bounds, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Flags flags{flag_stage, flag_leaves};
    const i64 k = segment.owner;
    i64 first_ink = -1, last_ink = -1;
    u32 n = 0, upper = 0;
    for (i64 base = segment.lo; base < segment.hi; base += 32) {
        const i64 i = base + lane_index();
        const bool lead = i < segment.hi && is_lead(data[i]);
        const u32 f = lead ? flags(decode(data + i)) : SPACE;
        n += __popc(__ballot_sync(FULL, lead));
        upper += __popc(__ballot_sync(FULL, f & UPPER));
        const u32 ink = __ballot_sync(FULL, !(f & SPACE));
        if (!ink) continue;
        if (first_ink < 0) first_ink = base + lowest(ink);
        last_ink = base + highest(ink);
    }
    if (lane_index() || !n) return;
    atomicAdd((u64*)&chars[k], (u64)n);
    atomicAdd((u64*)&uppers[k], (u64)upper);
    if (first_ink < 0) return;
    atomicMin(&inks[2 * k], first_ink);
    atomicMax(&inks[2 * k + 1], last_ink);
}

constexpr u32 RIGHT_DOUBLE_QUOTE = 0x201D;

// terminal[k], bullet[k]: 1 where line k ends with one of . ! ? ”, where it begins with one of the bullets, else 0. inks: of
// read_lines. A thread per line.
WARP_KERNEL judge_lines(
    const u8* data, const i64* inks, i64 n_lines, const u32* bullets, i64 n_bullets, i64* terminal, i64* bullet)
{
    const i64 k = thread_index();
    if (k >= n_lines) return;
    const bool blank = inks[2 * k + 1] < 0;
    const u32 c = blank ? 0 : decode(data + inks[2 * k]), last = blank ? 0 : decode(data + inks[2 * k + 1]);
    bool is_bullet = false;
    for (int j = 0; j < (int)n_bullets; ++j) is_bullet |= bullets[j] == c;
    terminal[k] = last == '.' || last == '!' || last == '?' || last == RIGHT_DOUBLE_QUOTE;
    bullet[k] = is_bullet;
}

// is_javascript[w]: 1 where word w, data[bounds[w] .. bounds[w + 1]), is "javascript", else 0. A thread per word.
WARP_KERNEL find_javascript(const u8* data, const i64* bounds, i64 n_words, i64* is_javascript)
{
    const i64 w = thread_index();
    if (w >= n_words) return;
    is_javascript[w] = bounds[w + 1] - bounds[w] == 10 && starts_with(data, bounds[w], bounds[w + 1], "javascript");
}
