// What the kernels of text_counts.cu share: what a warp counts, words and lines, the summary of a segment.
#pragma once
#include "blocks.cuh"
#include "marks.cuh"
#include "text_counts.columns"

constexpr u32 SHORT_CHARS = 30, XML_CHARS = 100, LENGTHS = 256;
constexpr u32 ELLIPSIS_SIGN = 0x2026, LEFT_ANGLE = 0x27E8, RIGHT_ANGLE = 0x27E9;

static_assert(C::N_COLUMNS <= 32, "a lane of a warp adds one column to the row, and a column is a bit of 32");

// What a warp adds up in shared memory.
struct Tally {
    u32 columns[32];
    u32 marks[64];
    u32 lengths[32];  // words of fewer characters, by their number

    __device__ __forceinline__ void clear()
    {
        const u32 lane = lane_index();
        columns[lane] = marks[lane] = marks[32 + lane] = lengths[lane] = 0;
        __syncwarp();
    }

    __device__ __forceinline__ void add_marks(u64 found)
    {
        for (u32 low = (u32)found; low; low &= low - 1) atomicAdd(&marks[lowest(low)], 1u);
        for (u32 high = (u32)(found >> 32); high; high &= high - 1) atomicAdd(&marks[32 + lowest(high)], 1u);
    }

    // Adds everything to the row of the document and to the number of words of each length.
    __device__ __forceinline__ void add_to(u64* row, u32* all_lengths) const
    {
        const u32 lane = lane_index();
        if (columns[lane]) atomicAdd(&row[lane], (u64)columns[lane]);
        if (marks[lane]) atomicAdd(&row[C::N_COLUMNS + lane], (u64)marks[lane]);
        if (marks[32 + lane]) atomicAdd(&row[C::N_COLUMNS + 32 + lane], (u64)marks[32 + lane]);
        if (lengths[lane]) atomicAdd(&all_lengths[lane], lengths[lane]);
    }
};

__device__ __forceinline__ bool is_letter(u32 b) { return (b | 0x20) >= 'a' && (b | 0x20) <= 'z'; }

// What a URL may go on with: [a-zA-Z], [$-_], ! and what these include.
__device__ __forceinline__ bool in_url(u32 b) { return is_letter(b) || b == '!' || (b >= '$' && b <= '_'); }

// Whether a URL fits at data[i]: http, s or not, ://, and a character more.
__device__ __forceinline__ bool url_fits(const u8* data, i64 i, i64 end)
{
    if (!starts_with(data, i, end, "http")) return false;
    i += 4;
    if (i < end && data[i] == 's') ++i;
    return starts_with(data, i, end, "://") && i + 3 < end && in_url(data[i + 3]);
}

// A document, and where that goes which is not counted by a lane.
struct Document {
    const u8* data;
    i64 number, start, end;
    Marks marks;
    u32* lengths;     // words of each length below LENGTHS
    i64* long_words;  // the others: document and length
    u64* n_long;
    u64* row;         // of the result

    // Adds a word to those of its length.
    __device__ __forceinline__ void add_length(u32 chars) const
    {
        if (chars < LENGTHS) {
            atomicAdd(&lengths[chars], 1u);
            return;
        }
        const u64 k = atomicAdd(n_long, 1ull);
        long_words[2 * k] = number;
        long_words[2 * k + 1] = chars;
    }

    // A URL lies inside a word and goes to the end of the run of characters that it may have, so a run has one at most,
    // from the first place on where one fits.
    __device__ __forceinline__ void find_urls(i64 from, i64 to) const
    {
        for (i64 i = from; i < to;) {
            if (data[i] != 'h' || !url_fits(data, i, to)) {
                ++i;
                continue;
            }
            const i64 first = i;
            bool porn = false;
            for (; i < to && in_url(data[i]); ++i) porn |= i - first >= 3 && starts_with(data, i - 3, to, "porn");
            atomicAdd(&row[C::url_chars], (u64)(i - first));
            if (porn) atomicAdd(&row[C::porn_urls], 1ull);
        }
    }
};

// What a word has.
constexpr u32 HAS_ALPHA = 1, HAS_PLAIN = 2, HAS_SYMBOL = 4, MAYBE_URL = 8;

// A word, as far as it has been read.
struct Word {
    i64 start;
    u32 chars, hashes, has;  // characters, runs of #, HAS_ALPHA and so on
};

// What words count for: columns and marks as bits, and what is kept over words.
struct Words {
    u32 columns = 0;
    u64 marks = 0;
    u32 distinct = 0;  // a bit for each listed word of which it only counts whether it occurs
    u32 longest = 0;
    u32 plain_chars = 0;

    // The word that ends before data[end]; columns and marks are of this word alone. Its length is left to the caller.
    __device__ __forceinline__ void take(const Document& document, const Word& word, i64 end)
    {
        columns = 1u << C::words | (u32)((word.has & HAS_PLAIN) != 0) << C::plain_words |
            (u32)((word.has & HAS_ALPHA) != 0) << C::alpha_words |
            (u32)((word.has & HAS_SYMBOL) != 0) << C::symbol_words | (u32)(2 * word.hashes > word.chars) << C::hash_words;
        longest = longest > word.chars ? longest : word.chars;
        if (word.has & HAS_PLAIN) plain_chars += word.chars;
        marks = listed(document, word, end);
        if (word.has & MAYBE_URL) document.find_urls(word.start, end);
    }

    // The marks of a word of 2 to 4 letters, or of at most 7 bytes of punctuation.
    __device__ __forceinline__ u64 listed(const Document& document, const Word& word, i64 end)
    {
        const i64 n = end - word.start;
        const u8* const bytes = document.data + word.start;
        if (word.has & HAS_PLAIN) {
            if (n < 2 || n > 4) return 0;
            u32 key = 0;
            bool letters = true;
#pragma unroll
            for (int k = 0; k < 4; ++k)
                if (k < n) {
                    key = key << 8 | bytes[k];
                    letters &= is_letter(bytes[k]);
                }
            return letters ? document.marks.of_word(key, key | 0x20202020u >> (u32)(8 * (4 - n)), distinct) : 0;
        }
        if (n > 7) return 0;
        u64 key = 0;
        for (i64 k = 0; k < n; ++k) key = key << 8 | bytes[k];
        key |= (u64)n << 56;
        return document.marks.of_word(key, key, distinct);
    }
};

// The three largest of some numbers.
struct Largest {
    u32 first = 0, second = 0, third = 0;

    __device__ __forceinline__ void take(u32 n)
    {
        if (n <= third) return;
        third = n;
        if (third > second) {
            third = second;
            second = n;
        }
        if (second > first) {
            second = first;
            first = n;
        }
    }
};

// The columns that a line which is not blank counts for, as bits; its marks are another matter.
__device__ __forceinline__ u32 line_columns(const u8* data, const Line& line, u32 chars, const Flags& flags)
{
    const u32 last = flags(decode(data + previous_character(data, line.end)));
    return 1u << C::nonblank_lines | (u32)((last & TERMINAL) != 0) << C::terminal_lines |
        (u32)(chars <= SHORT_CHARS) << C::short_lines;
}

// What a segment leaves to the kernel that joins them; places are bytes of the segment.

// A line or piece that begins before the segment and ends in it, and one that begins in it and ends after it. If it has no
// separator, the head is all that it has.
struct OpenEnds {
    i32 head_end;  // the first separator; -1: none
    u32 head_chars;
    i32 head_first, head_last;  // before it, the first and the last character that is not white space; -1: none
    i32 tail_start;             // after the last separator
    u32 tail_chars;
    i32 tail_first, tail_last;
};

enum { NO_HEAD, ENDS, THROUGH };

struct Summary {
    u32 distinct;  // Words::distinct
    u32 head;      // the word that goes on into the segment: NO_HEAD, ENDS in it or goes THROUGH it
    u32 head_chars, head_hashes, head_has;
    i32 head_end;
    u32 tail;  // 1: a word begins in the segment and goes on after it
    u32 tail_chars, tail_hashes, tail_has;
    i32 tail_start;
    u32 dots_only;             // 1: the segment is nothing but dots
    u32 head_dots, tail_dots;  // dots at its beginning and at its end
    OpenEnds lines, pieces;
    u32 longest[3];  // characters of the three longest lines that begin and end in it
};

constexpr int SUMMARY = 33;
static_assert(sizeof(Summary) == SUMMARY * sizeof(i32), "as SUMMARY in gpu_pile/ops/text_counts/cuda.py");
