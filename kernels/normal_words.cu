// normal_words: the lower-cased words of each document, joined by one space. Contract: gpu_pile/ops/normal_words.py
//
// Two passes: bytes and words of each segment, then the text, where their sums say. Work: about 60 instructions per step
// of 32 bytes and warp in each pass. Floor on an H200: instructions, about 280 GB/s of text.
#include "common.cuh"

// The character of a lane in a step of 32 bytes.
struct Letter {
    u32 c;       // its code point
    bool mine;   // it begins at this lane's byte and is part of a word
    bool begins; // it is the first of a word
    u32 length;  // bytes of its lower case, 0 if it is not part of a word

    // open: whether the character before the step is part of a word; then the same of the next step.
    __device__ __forceinline__ Letter(const u8* data, i64 p, i64 hi, const Flags& flags, const Lower& lower, bool& open)
    {
        const bool lead = p < hi && is_lead(data[p]);
        c = lead ? decode(data + p) : 0;
        const u32 kind = lead ? flags(c) : 0;
        const u32 words = __ballot_sync(FULL, kind & WORD), others = __ballot_sync(FULL, lead && !(kind & MARK));
        const u32 before = others & lanes_below();
        const bool inside = before ? words >> highest(before) & 1 : open;
        mine = (kind & WORD) || ((kind & MARK) && inside);
        begins = (kind & WORD) && !inside;
        length = mine ? encoded_length(lower(c)) + (c == DOTTED_CAPITAL_I ? encoded_length(DOT_ABOVE) : 0) : 0;
        if (others) open = words >> highest(others) & 1;
    }
};

// Whether the character before a segment is part of a word: that depends on the last one that is not a mark.
__device__ __forceinline__ bool open_before(const u8* data, const Segment& segment, const Flags& flags)
{
    for (i64 i = segment.lo; i > segment.start; i -= 32) {
        const i64 p = i - 1 - lane_index();
        const bool lead = p >= segment.start && is_lead(data[p]);
        const u32 kind = lead ? flags(decode(data + p)) : 0;
        const u32 words = __ballot_sync(FULL, kind & WORD), others = __ballot_sync(FULL, lead && !(kind & MARK));
        if (others) return words >> lowest(others) & 1;
    }
    return false;
}

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
    bool open = open_before(data, segment, flags);
    u32 n_bytes = 0, n_words = 0;
    for (i64 i = segment.lo; i < segment.hi; i += 32) {
        const Letter letter(data, i + lane_index(), segment.hi, flags, lower, open);
        n_bytes += letter.length;
        n_words += letter.begins;
    }
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
    const i64 d = segment.owner;
    bool open = open_before(data, segment, flags);
    i64 bytes = out_offsets[d] + bytes_before[segment.index] - bytes_before[first[d]];
    i64 words = words_before[segment.index] - words_before[first[d]];
    for (i64 i = segment.lo; i < segment.hi; i += 32) {
        const Letter letter(data, i + lane_index(), segment.hi, flags, lower, open);
        const u32 sum = warp_prefix_sum(letter.length);
        const u32 all = __ballot_sync(FULL, letter.begins);
        if (letter.mine) {
            const i64 word = words + __popc(all & (lanes_below() << 1 | 1));  // this character's, from 1
            i64 o = bytes + sum - letter.length + word - 1;
            const auto put = [&](u32 byte) { out[o++] = (u8)byte; };
            if (letter.begins && word > 1) out[o - 1] = ' ';
            encode(lower(letter.c), put);
            if (letter.c == DOTTED_CAPITAL_I) encode(DOT_ABOVE, put);
        }
        bytes += __shfl_sync(FULL, sum, 31);
        words += __popc(all);
    }
}
