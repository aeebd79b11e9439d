// line_counts: the lines of documents, looked at from both ends. Contract and reference: gpu_pile/ops/line_counts.py
//
// Where the lines are is known. A warp reads a segment of a line, 32 bytes a step, for its characters and for the first
// and the last one that is no white space; then a thread a line judges by the few bytes there.
//
// Work: about 30 instructions a step of 32 bytes and warp, and 100 a line. Floor on an H200: about 400 GB/s of text in
// lines of 100 bytes.
#include "common.cuh"

constexpr u32 TERMINAL = 128;
constexpr int SHORT_CHARS = 30;

// The columns of the operation.
enum {
    NONBLANK, TERMINAL_LINES, SHORT, THIRD, LONGEST, ELLIPSIS, RPS_LINES, RPS_TERMINAL, RPS_BULLET, DOLMA_BULLET,
    DOLMA_ELLIPSIS, DCLM_BULLET, DCLM_ELLIPSIS, NEMO_BULLET, NEMO_END_MARK, NEMO_ELLIPSIS, COLUMNS
};

// Line k is data[bounds[2k] .. bounds[2k + 1]). chars[k]: its characters, 0 before. inks[2k], inks[2k + 1]: where the
// first and the last character begin that is no white space; before, more and less than any place.
WARP_KERNEL line_counts_lines(
    const u8* data, const i64* bounds, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, i64* chars, i64* inks)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 k = segment.owner, start = bounds[2 * k];
    const i64 hi = smaller(bounds[2 * k + 1], start + segment.hi);
    i64 first_ink = -1, last_ink = -1;
    u32 n = 0;
    for (i64 base = start + segment.lo; base < hi; base += 32) {
        const i64 i = base + lane_index();
        const bool lead = i < hi && is_lead(data[i]);
        n += __popc(__ballot_sync(FULL, lead));
        const u32 found = __ballot_sync(FULL, lead && !(flags(decode(data + i)) & SPACE));
        if (!found) continue;
        if (first_ink < 0) first_ink = base + lowest(found);
        last_ink = base + highest(found);
    }
    if (lane_index() || !n) return;
    atomicAdd((u64*)&chars[k], (u64)n);
    if (first_ink < 0) return;
    atomicMin(&inks[2 * k], first_ink);
    atomicMax(&inks[2 * k + 1], last_ink);
}

// Whether data[start .. end) ends with "read more" in either case.
__device__ __forceinline__ bool reads_more(const u8* data, i64 start, i64 end)
{
    const char* const words = "read more";
    if (end - start < 9) return false;
    for (int j = 0; j < 9; ++j) {
        const u32 b = data[end - 9 + j];
        if ((b >= 'A' && b <= 'Z' ? b | 0x20 : b) != (u32)words[j]) return false;
    }
    return true;
}

// What a line counts for, a bit a column. Its characters that are no white space begin at data[i] and end before
// data[after], the last of them at data[j]. marks: code point | bits of RPS, DCLM, NEMO << 24, of the bullets.
__device__ __forceinline__ u32 judged(
    const u8* data, i64 start, i64 end, i64 i, i64 j, i64 chars, const Flags& flags, const u32* marks, int n_marks)
{
    const u32 c = decode(data + i), last = decode(data + j);
    const i64 after = j + sequence_length(data[j]), n = after - i;
    const auto byte = [&](int back) { return (u32)data[after - back]; };
    u32 bits = 1u << NONBLANK;
    const auto count = [&](int column, bool is) { bits |= (u32)is << column; };

    count(TERMINAL_LINES, flags(decode(data + character_start(data, end - 1))) & TERMINAL);
    count(SHORT, chars <= SHORT_CHARS);
    count(RPS_TERMINAL, last == '.' || last == '!' || last == '?' || last == 0x201D);
    count(DOLMA_BULLET, i == start && (c == '*' || c == '-'));
    if (c >= 0x2000 || c == '*' || c == '-')
        for (int m = 0; m < n_marks; ++m)
            if ((marks[m] & 0xffffff) == c) {
                count(RPS_BULLET, marks[m] >> 24 & 1);
                count(DCLM_BULLET, marks[m] >> 25 & 1);
                count(NEMO_BULLET, marks[m] >> 26 & 1);
            }

    const bool two = n >= 2 && last == '.' && byte(2) == '.';
    const bool ellipsis = last == 0x2026 || (two && n >= 3 && byte(3) == '.');
    count(ELLIPSIS, ellipsis);
    count(DOLMA_ELLIPSIS, last == 0x2026 && after == end);
    count(
        DCLM_ELLIPSIS,
        ellipsis ||
            (n >= 5 && last == '.' && byte(2) == ' ' && byte(3) == '.' && byte(4) == ' ' && byte(5) == '.'));
    count(NEMO_END_MARK, last == '.' || last == '?' || last == '!' || last == '"' || last == '\'');
    bool ends = ellipsis;
    if ((last == ']' || last == ')') && n >= 5) {  // [...] […] (...); … has three bytes too
        const bool dots = byte(2) == '.' && byte(3) == '.' && byte(4) == '.';
        const bool sign = byte(2) == 0xA6 && byte(3) == 0x80 && byte(4) == 0xE2;
        ends = last == ')' ? dots && byte(5) == '(' : (dots || sign) && byte(5) == '[';
    } else if (last == 0xBB) {
        ends = n >= 3 && byte(3) == '-';
    } else if (two && !ends) {
        ends = reads_more(data, i, after - 2);
    } else if (last == 'e' || last == 'E') {
        ends = reads_more(data, i, after);
    }
    count(NEMO_ELLIPSIS, ends);
    return bits;
}

// Adds to out[line_owners[k]], int64[n_docs, COLUMNS]; not to THIRD, LONGEST and RPS_LINES. A thread a line.
WARP_KERNEL line_counts_judge(
    const u8* data, const i64* bounds, const i64* line_owners, i64 n_lines, const u16* flag_stage,
    const u16* flag_leaves, const u32* marks, i64 n_marks, const i64* chars, const i64* inks, i64* out)
{
    const i64 k = thread_index();
    const i64 d = k < n_lines ? line_owners[k] : -1;
    u32 bits = 0;
    if (d >= 0 && inks[2 * k + 1] >= 0)
        bits = judged(
            data, bounds[2 * k], bounds[2 * k + 1], inks[2 * k], inks[2 * k + 1], chars[k],
            Flags{flag_stage, flag_leaves}, marks, (int)n_marks);
    if (__all_sync(FULL, d == __shfl_sync(FULL, d, 0))) {  // one document's: added up first
        for (int j = 0; j < COLUMNS; ++j) {
            const u32 all = __ballot_sync(FULL, bits >> j & 1);
            if (all && lane_index() == 0) atomicAdd((u64*)&out[d * COLUMNS + j], (u64)__popc(all));
        }
    } else {
        for (; bits; bits &= bits - 1) atomicAdd((u64*)&out[d * COLUMNS + lowest(bits)], 1ull);
    }
}
