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
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Flags flags{flag_stage, flag_leaves};
    const Lower lower{lower_stage, lower_leaves};
    u32 n_bytes = 0, n_words = 0;
    for_each(segment, [&](i64 i) {
        if (!is_lead(data[i])) return;
        const u32 c = decode(data + i);
        if (!(flags(c) & WORD)) return;
        n_bytes += encoded_length(lower(c));
        n_words += !inside_word(data, segment.start, i, flags);
    });
    n_bytes = warp_sum(n_bytes);
    n_words = warp_sum(n_words);
    if (lane_index() == 0) {
        bytes[segment.index] = n_bytes;
        words[segment.index] = n_words;
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
    const Segment segment = document_segment(offsets, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Flags flags{flag_stage, flag_leaves};
    const Lower lower{lower_stage, lower_leaves};
    const i64 d = segment.owner, start = segment.start;
    i64 bytes = out_offsets[d] + bytes_before[segment.index] - bytes_before[first[d]];
    i64 words = words_before[segment.index] - words_before[first[d]];
    for (i64 i = segment.lo; i < segment.hi; i += 32) {
        const i64 p = i + lane_index();
        const bool lead = p < segment.hi && is_lead(data[p]);
        const u32 c = lead ? decode(data + p) : 0;
        const bool mine = lead && (flags(c) & WORD);
        const bool starts = mine && !inside_word(data, start, p, flags);
        const u32 folded = mine ? lower(c) : 0;
        const u32 length = mine ? encoded_length(folded) : 0;
        const u32 sum = warp_prefix_sum(length);
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
