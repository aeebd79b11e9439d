// dclm_line_removal: words left when DCLM has removed page furniture. Contract and reference:
// gpu_pile/ops/dclm_line_removal.py
//
// Array code splits the lines. A warp reads a segment of a line and counts; then a warp takes a document, each lane every
// 32nd line, step by step, because what one step leaves decides which lines are the first and the last in the next. Lines
// of at most ten words are copied, since they may change.
//
// Work: about 50 instructions per step of 32 bytes and warp to read; short lines by one lane, ten instructions per byte.
#include "common.cuh"

constexpr i64 SHORT = 10;  // words of the longest lines that steps 5 to 7 change

// Columns of what is read of a line: characters, UPPER and DIGIT ones, words of str.split(), words of fastText. _READ of
// the Python file.
enum { CHARS, UPPERS, DIGITS, SPLIT, WORDS, N_READ };

// Whether a byte lies between two words of fastText.
__device__ __forceinline__ bool is_separator(u32 b) { return b == 0 || b == ' ' || (b >= '\t' && b <= '\r'); }

// Adds to read[k, :], 0 before, the counts of line k, data[lines[2k] .. lines[2k + 1]). A warp takes a segment of a line.
WARP_KERNEL read_lines(
    const u8* data, const i64* lines, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, u64* read)
{
    const Segment segment = span_segment(lines, first, owners, n_segments, size);
    if (!segment.exists) return;
    const Flags flags{flag_stage, flag_leaves};
    const i64 start = segment.start;
    u32 n[N_READ] = {};
    for_each(segment, [&](i64 i) {
        if (!is_lead(data[i])) return;
        const u32 f = flags(decode(data + i));
        const u32 before = i > start ? flags(decode(data + previous_character(data, i))) : SPACE;
        n[CHARS] += 1;
        n[UPPERS] += (f & UPPER) != 0;
        n[DIGITS] += (f & DIGIT) != 0;
        n[SPLIT] += !(f & SPACE) && (before & SPACE);
        n[WORDS] += (f & (ALPHA | NUMERIC)) && (i == start || is_separator(data[i - 1]));
    });
    for (int c = 0; c < N_READ; ++c) n[c] = warp_sum(n[c]);
    if (lane_index()) return;
    for (int c = 0; c < N_READ; ++c)
        if (n[c]) atomicAdd(&read[segment.owner * N_READ + c], (u64)n[c]);
}

constexpr int MORE_LENGTH = 9, MORE_CHARS = 3;  // of "read more", and characters after it

// A line, data[start .. stop) in the text or in the copy, and what the steps look for in it.
struct Line {
    const u8* data;
    i64 start, stop;
    Flags flags;

    __device__ __forceinline__ u32 flags_at(i64 i) const { return flags(decode(data + i)); }

    // Removes the white space at the beginning. Returns how many characters.
    __device__ i64 lstrip()
    {
        i64 n = 0;
        for (; start < stop && (flags_at(start) & SPACE); ++n) start += sequence_length(data[start]);
        return n;
    }

    // The same at the end.
    __device__ i64 rstrip()
    {
        for (i64 n = 0;; ++n) {
            if (stop == start) return n;
            const i64 last = previous_character(data, stop);
            if (!(flags_at(last) & SPACE)) return n;
            stop = last;
        }
    }

    // Step 3: whether this is a number and a counted noun. Noun j is counted[bounds[j] .. bounds[j + 1]).
    __device__ bool is_counter(const u8* counted, const i64* bounds, i64 n_counted) const
    {
        i64 i = start;
        const auto next = [&] { i += sequence_length(data[i]); };
        while (i < stop && !(flags_at(i) & WORD)) next();
        if (i == stop || !(flags_at(i) & DECIMAL)) return false;
        while (i < stop && ((flags_at(i) & DECIMAL) || data[i] == ',' || data[i] == '.')) next();
        const u32 c = i < stop ? decode(data + i) : 0;
        if ((c | 0x20) == 'k' || (c | 0x20) == 'm' || (c | 0x20) == 'b' || c == KELVIN_SIGN) next();
        const i64 spaces = i;
        while (i < stop && (flags_at(i) & SPACE)) next();
        if (i == spaces) return false;
        for (i64 j = 0; j < n_counted; ++j) {
            if (!begins_with(data, i, stop, counted, bounds[j], bounds[j + 1])) continue;
            for (i64 letter = bounds[j]; letter < bounds[j + 1]; ++letter) next();
            while (i < stop && !(flags_at(i) & WORD)) next();
            return i == stop;
        }
        return false;
    }

    // Where the pattern that begins at i ends, in any case as re.IGNORECASE has it; -1 if it does not begin there.
    template <int N>
    __device__ i64 match(i64 i, const char (&pattern)[N]) const
    {
        for (int k = 0; k < N - 1; ++k) {
            if (i >= stop) return -1;
            const u32 c = decode(data + i), letter = (u8)pattern[k];
            const bool same = c == letter || (letter >= 'a' && letter <= 'z' && (c | 0x20) == letter) ||
                              (letter == 'i' && (c == DOTTED_CAPITAL_I || c == DOTLESS_I)) || (letter == 's' && c == LONG_S);
            if (!same) return -1;
            i += sequence_length(data[i]);
        }
        return i;
    }

    // Step 5, in place: removes each "items in cart" and a character of white space before it. own is data.
    __device__ void remove_cart(u8* own)
    {
        i64 o = start, floor = start;  // nothing before `floor` is removed any more
        for (i64 i = start; i < stop;) {
            const i64 after = is_lead(data[i]) ? match(i, "items in cart") : -1;
            if (after < 0) {
                own[o++] = own[i++];
                continue;
            }
            if (o > floor) {
                const i64 last = previous_character(data, o);
                if (flags_at(last) & SPACE) o = last;
            }
            floor = o;
            i = after;
        }
        stop = o;
    }

    // Step 6: removes "read more" and MORE_CHARS characters at the end, and a character of white space before them.
    __device__ void remove_more()
    {
        i64 i = stop;
        for (int k = 0; k < MORE_LENGTH + MORE_CHARS; ++k) {
            if (i == start) return;
            i = previous_character(data, i);
        }
        if (match(i, "read more") < 0) return;
        if (i > start) {
            const i64 last = previous_character(data, i);
            if (flags_at(last) & SPACE) i = last;
        }
        stop = i;
    }

    // Step 7: removes "sign-in" at the beginning and a character of white space after it.
    __device__ void remove_sign_in()
    {
        const i64 after = match(start, "sign-in");
        if (after < 0) return;
        start = after;
        if (after < stop && (flags_at(after) & SPACE)) start += sequence_length(data[after]);
    }

    // How many words of fastText it has.
    __device__ i64 words() const
    {
        i64 n = 0;
        for (i64 i = start; i < stop; i += sequence_length(data[i]))
            n += (flags_at(i) & (ALPHA | NUMERIC)) && (i == start || is_separator(data[i - 1]));
        return n;
    }
};

// kept[d]: words that steps 2 to 7 leave of document d, of which step 1 has left the lines first[d] .. first[d + 1], none
// of them only white space. A warp per document.
//
// lines, read: bounds and counts of the lines that are left, which the steps change. counted, counted_bounds: the nouns of
// step 3. alive, 1 before: whether a line is left; edited, 0 before: whether it is in `copy`, at the same position as in
// data.
WARP_KERNEL settle_documents(
    const u8* data, u8* copy, const i64* first, i64 n_docs, i64* lines, i64* read, const u16* flag_stage,
    const u16* flag_leaves, const u8* counted, const i64* counted_bounds, i64 n_counted, u8* alive, u8* edited,
    i64* kept)
{
    const i64 d = warp_index();
    if (d >= n_docs) return;
    const Flags flags{flag_stage, flag_leaves};
    const u32 lane = lane_index();
    const i64 lo = first[d], hi = first[d + 1];
    i64 head = lo, tail = hi;  // the lines that are left are among head .. tail
    const auto line = [&](i64 k) { return Line{edited[k] ? copy : data, lines[2 * k], lines[2 * k + 1], flags}; };
    i64 words = 0;
    for (int step = 1; step <= 7; ++step) {
        for (i64 k = head + lane; k < tail && step > 1; k += 32) {
            if (!alive[k]) continue;
            if (step == 2) {
                alive[k] = read[k * N_READ + DIGITS] * 1000000 <= read[k * N_READ + CHARS] * 999999;
            } else if (step == 3) {
                alive[k] = !line(k).is_counter(counted, counted_bounds, n_counted);
            } else if (step == 4) {
                alive[k] = read[k * N_READ + SPLIT] > 1;
                edited[k] = alive[k] && read[k * N_READ + SPLIT] <= SHORT;
                if (edited[k])
                    for (i64 i = lines[2 * k]; i < lines[2 * k + 1]; ++i) copy[i] = data[i];
            } else if (edited[k]) {
                Line changed = line(k);
                if (step == 5) changed.remove_cart(copy);
                if (step == 6) changed.remove_more();
                if (step == 7) changed.remove_sign_in();
                lines[2 * k] = changed.start;
                lines[2 * k + 1] = changed.stop;
                changed.lstrip();
                alive[k] = changed.start < changed.stop;
            }
        }
        __syncwarp();
        u32 left = 0;  // of 32 lines
        for (; head < tail; head += 32) {
            left = __ballot_sync(FULL, head + lane < tail && alive[head + lane]);
            if (left) break;
        }
        if (!left) break;
        head += lowest(left);
        for (;; tail -= 32) {
            const i64 k = tail - 32 + lane;
            left = __ballot_sync(FULL, k >= head && alive[k]);
            if (left) break;
        }
        tail -= 31 - highest(left);
        if (lane == 0 && step != 4) {  // strip
            Line outer = line(head);
            read[head * N_READ + CHARS] -= outer.lstrip();
            lines[2 * head] = outer.start;
            outer = line(tail - 1);
            read[(tail - 1) * N_READ + CHARS] -= outer.rstrip();
            lines[2 * tail - 1] = outer.stop;
        }
        __syncwarp();
    }
    for (i64 k = head + lane; k < tail; k += 32)
        if (alive[k]) words += line(k).words();
    words = warp_sum(words);
    if (lane == 0) kept[d] = words;
}
