// normal_words: the lower-cased words of each document, joined by one space. Contract: gpu_pile/ops/normal_words.py
//
// Two passes: bytes and words of each segment, then the text, where their sums say. Work: about 60 instructions per step
// of 32 bytes and warp in each pass. Floor on an H200: instructions, about 280 GB/s of text.
#include "common.cuh"

// bytes[s], words[s]: bytes of the lower-cased word characters and words that begin in segment s.
WARP_KERNEL normal_words_count(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const u16* lower_stage, const i32* lower_leaves, i64* bytes,
    i64* words)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Lower lower{lower_stage, lower_leaves};
    const Segment segment(s, first, owners, size);
    const i64 start = offsets[segment.owner], end = offsets[segment.owner + 1];
    u32 n = 0, m = 0;
    for (i64 i = start + segment.lo + lane_index(); i < smaller(end, start + segment.hi); i += 32)
        if (is_lead(data[i])) {
            const u32 c = decode(data + i);
            if (flags(c) & WORD) {
                n += encoded_length(lower(c));
                m += !inside_word(data, start, i, flags);
            }
        }
    n = warp_sum(n);
    m = warp_sum(m);
    if (lane_index() == 0) {
        bytes[s] = n;
        words[s] = m;
    }
}

// bytes_before, words_before: sums over the segments before s, of all documents. A separator goes before each word but
// a document's first, so a document begins at out_offsets[d] and a character lies after it by the document's bytes
// before it and its words up to it, less one.
WARP_KERNEL normal_words_write(
    const u8* data, const i64* offsets, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, const u16* lower_stage, const i32* lower_leaves,
    const i64* bytes_before, const i64* words_before, const i64* out_offsets, u8* out)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Lower lower{lower_stage, lower_leaves};
    const Segment segment(s, first, owners, size);
    const i64 d = segment.owner, start = offsets[d], hi = smaller(offsets[d + 1], start + segment.hi);
    i64 bytes = out_offsets[d] + bytes_before[s] - bytes_before[first[d]];
    i64 words = words_before[s] - words_before[first[d]];
    for (i64 i = start + segment.lo; i < hi; i += 32) {
        const i64 p = i + lane_index();
        const bool lead = p < hi && is_lead(data[p]);
        const u32 c = lead ? decode(data + p) : 0;
        const bool mine = lead && (flags(c) & WORD);
        const bool starts = mine && !inside_word(data, start, p, flags);
        const u32 folded = mine ? lower(c) : 0;
        const u32 length = mine ? encoded_length(folded) : 0;
        u32 sum = length;  // of the lanes up to this one
        for (int n = 1; n < 32; n <<= 1) {
            const u32 below = __shfl_up_sync(FULL, sum, n);
            if ((int)lane_index() >= n) sum += below;
        }
        const u32 all = __ballot_sync(FULL, starts);
        if (mine) {
            const i64 word = words + __popc(all & (lanes_below() << 1 | 1));  // this character's, from 1
            i64 o = bytes + sum - length + word - 1;
            if (starts && word > 1) out[o - 1] = ' ';
            encode(folded, [&](u32 byte) { out[o++] = (u8)byte; });
        }
        bytes += __shfl_sync(FULL, sum, 31);
        words += __popc(all);
    }
}
