// dclm_line_removal: lines of web pages that are no text. Contract and reference: gpu_pile/ops/dclm_line_removal.py
//
// Lines are cut at line feeds with array operations. A warp reads a segment of a line and counts; then a warp takes a
// document, each lane every 32nd line, step by step, as what one step leaves says which lines are the first and the last
// ones in the next. Lines of at most ten words are copied, since they may change.
//
// Work: about 50 instructions a step of 32 bytes and warp to read; short lines by one lane, ten instructions a byte.
#include "common.cuh"

constexpr i64 SHORT = 10;

// Columns of what is read of a line.
enum { CHARS, UPPERS, DIGITS, SPLIT, WORDS, COLUMNS };

// Whether a byte is between two words of fastText.
__device__ __forceinline__ bool is_separator(u32 b) { return b == 0 || b == ' ' || (b >= '\t' && b <= '\r'); }

// read[k, :], 0 before: what line k, data[lines[2k] .. lines[2k + 1]), has. A warp takes a segment of it.
WARP_KERNEL read_lines(
    const u8* data, const i64* lines, const i64* first, const i64* owners, i64 n_segments, i64 size,
    const u16* flag_stage, const u16* flag_leaves, u64* read)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const Flags flags{flag_stage, flag_leaves};
    const Segment segment(s, first, owners, size);
    const i64 k = segment.owner, start = lines[2 * k], hi = smaller(lines[2 * k + 1], start + segment.hi);
    u32 n[COLUMNS] = {};
    for (i64 i = start + segment.lo + lane_index(); i < hi; i += 32) {
        if (!is_lead(data[i])) continue;
        const u32 f = flags(decode(data + i));
        const u32 before = i > start ? flags(decode(data + character_start(data, i - 1))) : SPACE;
        n[CHARS] += 1;
        n[UPPERS] += (f & UPPER) != 0;
        n[DIGITS] += (f & DIGIT) != 0;
        n[SPLIT] += !(f & SPACE) && (before & SPACE);
        n[WORDS] += (f & (ALPHA | NUMERIC)) && (i == start || is_separator(data[i - 1]));
    }
    for (int c = 0; c < COLUMNS; ++c) n[c] = warp_sum(n[c]);
    if (lane_index()) return;
    for (int c = 0; c < COLUMNS; ++c)
        if (n[c]) atomicAdd(&read[k * COLUMNS + c], (u64)n[c]);
}

// A line, in the text or in the copy, and what the steps look for in it.
struct Line {
    const u8* data;
    i64 start, stop;
    Flags flags;

    __device__ __forceinline__ u32 flags_at(i64 i) const { return flags(decode(data + i)); }

    // Characters of white space before the line, which become no part of it.
    __device__ i64 lstrip()
    {
        i64 n = 0;
        for (; start < stop && (flags_at(start) & SPACE); ++n) start += sequence_length(data[start]);
        return n;
    }

    __device__ i64 rstrip()
    {
        for (i64 n = 0;; ++n) {
            if (stop == start) return n;
            const i64 last = character_start(data, stop - 1);
            if (!(flags_at(last) & SPACE)) return n;
            stop = last;
        }
    }

    // Step 3. Word j is counted[bounds[j] .. bounds[j + 1]).
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

    // Where the pattern ends that begins at i, in the cases of re.IGNORECASE; -1 if it does not.
    template <int N>
    __device__ i64 match(i64 i, const char (&pattern)[N]) const
    {
        for (int k = 0; k < N - 1; ++k) {
            if (i >= stop) return -1;
            const u32 c = decode(data + i), letter = (u8)pattern[k];
            const bool same = c == letter || (letter >= 'a' && letter <= 'z' && (c | 0x20) == letter) ||
                              (letter == 'i' && (c == DOTTED_CAPITAL_I || c == 0x131)) || (letter == 's' && c == 0x17F);
            if (!same) return -1;
            i += sequence_length(data[i]);
        }
        return i;
    }

    // Step 5, in place; own is data.
    __device__ void remove_cart(u8* own)
    {
        i64 o = start, floor = start;
        for (i64 i = start; i < stop;) {
            const i64 behind = is_lead(data[i]) ? match(i, "items in cart") : -1;
            if (behind < 0) {
                own[o++] = own[i++];
                continue;
            }
            if (o > floor) {
                const i64 last = character_start(data, o - 1);
                if (flags_at(last) & SPACE) o = last;
            }
            floor = o;
            i = behind;
        }
        stop = o;
    }

    // Step 6.
    __device__ void remove_more()
    {
        i64 i = stop;
        for (int k = 0; k < 12; ++k) {
            if (i == start) return;
            i = character_start(data, i - 1);
        }
        if (match(i, "read more") < 0) return;
        if (i > start) {
            const i64 last = character_start(data, i - 1);
            if (flags_at(last) & SPACE) i = last;
        }
        stop = i;
    }

    // Step 7.
    __device__ void remove_sign_in()
    {
        const i64 behind = match(start, "sign-in");
        if (behind < 0) return;
        start = behind;
        if (behind < stop && (flags_at(behind) & SPACE)) start += sequence_length(data[behind]);
    }

    __device__ i64 words() const
    {
        i64 n = 0;
        for (i64 i = start; i < stop; i += sequence_length(data[i]))
            n += (flags_at(i) & (ALPHA | NUMERIC)) && (i == start || is_separator(data[i - 1]));
        return n;
    }
};

// kept[d]: words that steps 2 to 7 leave of document d, of which step 1 has left lines first[d] .. first[d + 1], none of
// them white space alone. alive, 1 before: lines that are left; edited, 0 before: those in `copy`, at the same places.
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
                alive[k] = read[k * COLUMNS + DIGITS] * 1000000 <= read[k * COLUMNS + CHARS] * 999999;
            } else if (step == 3) {
                alive[k] = !line(k).is_counter(counted, counted_bounds, n_counted);
            } else if (step == 4) {
                alive[k] = read[k * COLUMNS + SPLIT] > 1;
                edited[k] = alive[k] && read[k * COLUMNS + SPLIT] <= SHORT;
                if (edited[k])
                    for (i64 i = lines[2 * k]; i < lines[2 * k + 1]; ++i) copy[i] = data[i];
            } else if (edited[k]) {
                Line it = line(k);
                if (step == 5) it.remove_cart(copy);
                if (step == 6) it.remove_more();
                if (step == 7) it.remove_sign_in();
                lines[2 * k] = it.start;
                lines[2 * k + 1] = it.stop;
                it.lstrip();
                alive[k] = it.start < it.stop;
            }
        }
        __syncwarp();
        u32 found = 0;
        for (; head < tail; head += 32) {
            found = __ballot_sync(FULL, head + lane < tail && alive[head + lane]);
            if (found) break;
        }
        if (!found) break;
        head += lowest(found);
        for (;; tail -= 32) {
            const i64 k = tail - 32 + lane;
            found = __ballot_sync(FULL, k >= head && alive[k]);
            if (found) break;
        }
        tail -= 31 - highest(found);
        if (lane == 0 && step != 4) {
            Line it = line(head);
            read[head * COLUMNS + CHARS] -= it.lstrip();
            lines[2 * head] = it.start;
            it = line(tail - 1);
            read[(tail - 1) * COLUMNS + CHARS] -= it.rstrip();
            lines[2 * tail - 1] = it.stop;
        }
        __syncwarp();
    }
    for (i64 k = head + lane; k < tail; k += 32)
        if (alive[k]) words += line(k).words();
    words = warp_sum(words);
    if (lane == 0) kept[d] = words;
}
