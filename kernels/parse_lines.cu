// parse_lines: a block of JSON lines -> documents, and why the other lines are none.
// Contract and reference: gpu_pile/ops/parse_lines.py, whose cpu function finds the same reasons at the same places.
//
// A warp takes a line. Between strings all its lanes walk the same bytes; a string, which is nearly all of a line, is
// decoded 32 bytes a step, a lane a byte: escapes, quotes and UTF-8 are judged side by side. Text is decoded to where
// its line lies in the block (decoding never lengthens it), then gathered without gaps.
//
// Work: about 90 instructions a step of 32 bytes and warp, 150 where there are escapes. Floor on an H200: about 250 GB/s
// of lines; a single line goes at the latency of its steps, some 100 MB/s.
#include "common.cuh"

// As in the Python file.
enum { GOOD, NOT_JSON, UNFINISHED, CONTROL, BAD_ESCAPE, NOT_UTF8, TOO_DEEP, EXTRA, NOT_OBJECT, NO_TEXT, NOT_STRING };
constexpr int BLANK = -1;
constexpr int MAX_DEPTH = 512;

// counts[s]: line feeds in the bytes s * size ...
WARP_KERNEL count_line_feeds(const u8* data, i64 n, i64 n_segments, i64 size, i64* counts)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    u32 found = 0;
    for (i64 i = s * size + lane_index(); i < smaller(n, (s + 1) * size); i += 32) found += data[i] == '\n';
    found = warp_sum(found);
    if (lane_index() == 0) counts[s] = found;
}

// ends[before[s]] ...: where they are.
WARP_KERNEL find_line_feeds(const u8* data, i64 n, i64 n_segments, i64 size, const i64* before, i64* ends)
{
    const i64 s = warp_index();
    if (s >= n_segments) return;
    const i64 hi = smaller(n, (s + 1) * size);
    i64 out = before[s];
    for (i64 base = s * size; base < hi; base += 32) {
        const i64 i = base + lane_index();
        const bool is = i < hi && data[i] == '\n';
        const u32 all = __ballot_sync(FULL, is);
        if (is) ends[out + __popc(all & lanes_below())] = i;
        out += __popc(all);
    }
}

// The number of four hexadecimal digits at data[i], or -1.
__device__ __forceinline__ int hex4(const u8* data, i64 i, i64 end)
{
    if (i + 4 > end) return -1;
    int value = 0;
    for (int k = 0; k < 4; ++k) {
        const int c = data[i + k];
        const int digit = c >= '0' && c <= '9' ? c - '0'
            : c >= 'a' && c <= 'f'             ? c - 'a' + 10
            : c >= 'A' && c <= 'F'             ? c - 'A' + 10
                                               : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

__device__ __forceinline__ bool is_high(int c) { return c >= 0xD800 && c < 0xDC00; }
__device__ __forceinline__ bool is_low(int c) { return c >= 0xDC00 && c < 0xE000; }

// Bytes of the UTF-8 sequence beyond ASCII at data[i], 0 if it is not valid (Unicode 14, table 3-7).
__device__ __forceinline__ int valid_sequence(const u8* data, i64 i, i64 end)
{
    const u32 b = data[i];
    if (b < 0xC2 || b > 0xF4) return 0;
    const int n = sequence_length(b);
    if (i + n > end) return 0;
    const u32 low = b == 0xE0 ? 0xA0 : b == 0xF0 ? 0x90 : 0x80;
    const u32 high = b == 0xED ? 0x9F : b == 0xF4 ? 0x8F : 0xBF;
    if (data[i + 1] < low || data[i + 1] > high) return 0;
    for (int k = 2; k < n; ++k)
        if (is_lead(data[i + k])) return 0;
    return n;
}

// Whether the byte beyond ASCII at data[i] is part of a valid sequence that begins at `first` or later.
__device__ __forceinline__ bool is_valid(const u8* data, i64 first, i64 i, i64 end)
{
    if (is_lead(data[i])) return valid_sequence(data, i, end) != 0;
    for (int k = 1; k <= 3 && i - k >= first; ++k)
        if (is_lead(data[i - k])) return data[i - k] >= 0x80 && valid_sequence(data, i - k, end) > k;
    return false;
}

// What a simple escape stands for, 0 if it is none.
__device__ __forceinline__ u32 simple_escape(u32 e)
{
    switch (e) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'r': return '\r';
    case 'b': return '\b';
    case 'f': return '\f';
    case '"':
    case '\\':
    case '/': return e;
    default: return 0;
    }
}

// Where a warp stands in a line.
struct Place {
    i64 i;       // the next byte
    int reason;  // why the line is bad, or GOOD; i is then where that was noticed
};

// Decodes the string whose opening quote is at data[i - 1] to out + o, which is moved behind it. Returns the place
// behind the closing quote. Called by the whole warp; what it wrote is visible to all lanes.
__device__ __forceinline__ Place read_string(const u8* data, const i64 first, const i64 end, u8* out, i64& o)
{
    const u32 lane = lane_index(), below = lanes_below();
    u32 before = 0;        // escapes of the step before
    u32 body_before = 0;   // bytes of this step that belong to them
    for (i64 base = first; base < end; base += 32) {
        const i64 i = base + lane;
        const bool here = i < end;
        const u32 b = here ? data[i] : ' ';
        const u32 backslashes = __ballot_sync(FULL, b == '\\');
        u32 escapes = 0, body = body_before;
        u32 produced = here, value = b;  // bytes of output, and the code point or byte
        bool is_escape = false;
        int reason = b < 0x20 ? CONTROL : b >= 0x80 && !is_valid(data, first, i, end) ? NOT_UTF8 : GOOD;
        if (backslashes | body_before) {
            // in a row of backslashes every second one begins an escape, the first if it is not escaped itself
            const u32 others = ~backslashes & below;
            const int row = (int)lane - (others ? highest(others) + 1 : 0) + (others ? 0 : (int)(before >> 31));
            is_escape = b == '\\' && row % 2 == 0;
            escapes = __ballot_sync(FULL, is_escape);
            const u32 e = is_escape && i + 1 < end ? data[i + 1] : 0;
            const u32 unicode = __ballot_sync(FULL, e == 'u');
            const u64 long_body = (u64)unicode << 2 | (u64)unicode << 3 | (u64)unicode << 4 | (u64)unicode << 5;
            const u64 bodies = (u64)escapes << 1 | long_body;
            body |= (u32)bodies;
            if (is_escape && i + 1 < end) {
                value = simple_escape(e);
                if (e == 'u') {
                    int c = hex4(data, i + 2, end);
                    if (c < 0) {
                        reason = i + 6 > end ? UNFINISHED : BAD_ESCAPE;
                    } else if (is_high(c)) {
                        const bool more = i + 7 < end && data[i + 6] == '\\' && data[i + 7] == 'u';
                        const int low = more ? hex4(data, i + 8, end) : -1;
                        c = is_low(low) ? 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00) : 0xFFFD;
                        produced = is_low(low) ? 4 : 3;
                    } else if (is_low(c)) {  // nothing if it is the second half of a pair
                        const bool pair = i - 6 >= first && ((((u64)escapes << 32 | before) >> (lane + 26)) & 1) &&
                            data[i - 5] == 'u' && is_high(hex4(data, i - 4, end));
                        c = 0xFFFD;
                        produced = pair ? 0 : 3;
                    } else {
                        produced = encoded_length((u32)c);
                    }
                    value = (u32)c;
                } else if (value == 0) {
                    reason = BAD_ESCAPE;
                }
            } else if (body >> lane & 1) {
                produced = 0;
            }
            body_before = (u32)(bodies >> 32);
        }
        before = escapes;
        const u32 quotes = __ballot_sync(FULL, b == '"' && !(body >> lane & 1));
        const u32 errors = __ballot_sync(FULL, reason != GOOD);
        const u32 stops = quotes | errors;
        const int last = stops ? lowest(stops) : 32;  // the lane that ends the string
        if ((int)lane >= last) produced = 0;
        u32 sum = produced;  // of the lanes up to this one
        if (escapes | body) {
            for (int d = 1; d < 32; d <<= 1) {
                const u32 other = __shfl_up_sync(FULL, sum, d);
                if ((int)lane >= d) sum += other;
            }
        } else {
            const int n = (int)smaller(last, end - base);
            sum = (int)lane < n ? lane + 1 : n;
        }
        if (produced) {
            u8* target = out + o + sum - produced;
            if (is_escape)
                encode(value, [&](u32 byte) { *target++ = (u8)byte; });
            else
                *target = (u8)value;
        }
        o += __shfl_sync(FULL, sum, 31);
        if (stops) {
            __syncwarp();
            const int found = __shfl_sync(FULL, reason, last);
            return {base + last + (found == GOOD), found};
        }
    }
    __syncwarp();
    return {end, UNFINISHED};
}

// The first place from i on where `other(byte)` does not hold.
template <class Test>
__device__ __forceinline__ i64 skip(const u8* data, i64 i, i64 end, Test test)
{
    while (i < end && test(data[i])) {
        const i64 p = i + lane_index();
        const u32 stops = __ballot_sync(FULL, p >= end || !test(data[p]));
        if (stops) return i + lowest(stops);
        i += 32;
    }
    return i;
}

__device__ __forceinline__ i64 skip_space(const u8* data, i64 i, i64 end)
{
    return skip(data, i, end, [](u32 b) { return b == ' ' || b == '\t' || b == '\r'; });
}

__device__ __forceinline__ i64 skip_digits(const u8* data, i64 i, i64 end)
{
    return skip(data, i, end, [](u32 b) { return b >= '0' && b <= '9'; });
}

__device__ __forceinline__ Place read_number(const u8* data, i64 i, i64 end)
{
    if (data[i] == '-') ++i;
    if (i >= end) return {end, UNFINISHED};
    if (data[i] == '0')
        ++i;
    else if (data[i] >= '1' && data[i] <= '9')
        i = skip_digits(data, i, end);
    else
        return {i, NOT_JSON};
    if (i < end && data[i] == '.') {
        const i64 digits = i + 1;
        i = skip_digits(data, digits, end);
        if (i == digits) return {i, i < end ? NOT_JSON : UNFINISHED};
    }
    if (i < end && (data[i] | 0x20) == 'e') {
        ++i;
        if (i < end && (data[i] == '+' || data[i] == '-')) ++i;
        const i64 digits = i;
        i = skip_digits(data, digits, end);
        if (i == digits) return {i, i < end ? NOT_JSON : UNFINISHED};
    }
    return {i, GOOD};
}

__device__ __forceinline__ Place read_literal(const u8* data, i64 i, i64 end, const char* word, int n)
{
    for (int k = 0; k < n; ++k) {
        if (i + k >= end) return {end, UNFINISHED};
        if (data[i + k] != (u8)word[k]) return {i, NOT_JSON};
    }
    return {i + n, GOOD};
}

// A path of keys: key j is bytes[bounds[2j] .. bounds[2j + 1]).
struct Path {
    const u8* bytes;
    const i64* bounds;
    i64 n;

    __device__ __forceinline__ bool same(i64 j, const u8* key, i64 length) const
    {
        if (bounds[2 * j + 1] - bounds[2 * j] != length) return false;
        bool equal = true;
        for (i64 k = lane_index(); k < length; k += 32) equal &= key[k] == bytes[bounds[2 * j] + k];
        return __all_sync(FULL, equal);
    }
};

// Whether each open container is an object: 512 levels, 32 in each of 16 lanes.
struct Stack {
    u32 mine = 0;
    __device__ __forceinline__ void push(int depth, bool object)
    {
        const u32 bit = 1u << (depth & 31);
        if ((int)lane_index() == depth >> 5) mine = object ? mine | bit : mine & ~bit;
    }
    __device__ __forceinline__ bool is_object(int depth) const
    {
        return __shfl_sync(FULL, mine, depth >> 5) >> (depth & 31) & 1;
    }
};

enum { MISSING, FOUND_OTHER, FOUND };

// One line, data[i .. end), by the whole warp. Its text is left in out, its subset in side. The same steps, in the same
// order, as _line of gpu_pile/ops/parse_lines.py.
__device__ __forceinline__ Place read_line(
    const u8* data, i64 i, i64 end, const Path& text_path, const Path& subset_path, bool bare, bool lists, u8* out,
    u8* side, i64& text_bytes, i64& subset_bytes)
{
    int text_found = MISSING;
    int text_depth = 0, subset_depth = 0;  // keys of the path that lead to the container we are in
    int depth = 0, list_depth = -1;        // depth inside the list that is the text
    bool list_begun = false;
    bool is_text = false, is_subset = false;  // whether the value that comes is the text, the subset
    bool expect_key = false, after_value = false;
    const bool line_is_object = data[i] == '{';
    Stack stack;
    text_bytes = subset_bytes = 0;
    for (;;) {
        i = skip_space(data, i, end);
        if (i >= end) break;
        const u32 b = data[i];
        if (after_value) {
            if (depth == 0) return {i, EXTRA};
            const bool object = stack.is_object(depth - 1);
            if (b == ',') {
                ++i;
                after_value = false;
                expect_key = object;
                if (expect_key) continue;
                i = skip_space(data, i, end);
                if (i < end && data[i] == ']') return {i, NOT_JSON};
                continue;
            }
            if (b != (object ? '}' : ']')) return {i, NOT_JSON};
            --depth;
            ++i;
            const int most = depth > 1 ? depth - 1 : 0;
            text_depth = text_depth < most ? text_depth : most;
            subset_depth = subset_depth < most ? subset_depth : most;
            if (list_depth == depth + 1) list_depth = -1;
            continue;
        }
        const bool whole_text = !expect_key && is_text && text_depth == text_path.n - 1;
        const bool whole_subset = !expect_key && is_subset && subset_depth == subset_path.n - 1;
        const bool in_list = !expect_key && list_depth >= 0 && depth == list_depth;
        if (b == '"') {
            // the text goes to out, the subset to side; a key and any other string behind the text, to be forgotten
            const bool is_value = !expect_key && (whole_text || depth == 0);
            const bool listed = !is_value && in_list && text_found == FOUND;
            const bool subset_alone = !is_value && !listed && whole_subset;
            const i64 from = is_value || subset_alone ? 0 : text_bytes + (listed && list_begun ? 2 : 0);
            i64 o = from;
            const Place place = read_string(data, i + 1, end, subset_alone ? side : out, o);
            if (place.reason) return place;
            i = place.i;
            if (expect_key) {
                const u8* key = out + from;
                is_text =
                    text_depth == depth - 1 && text_depth < text_path.n && text_path.same(text_depth, key, o - from);
                is_subset = subset_depth == depth - 1 && subset_depth < subset_path.n &&
                    subset_path.same(subset_depth, key, o - from);
                __syncwarp();  // the key was read, its place may be written again
                if (is_text) {  // of equal keys the last counts
                    text_found = MISSING;
                    text_bytes = 0;
                }
                if (is_subset) subset_bytes = 0;
                i = skip_space(data, i, end);
                if (i >= end) return {end, UNFINISHED};
                if (data[i] != ':') return {i, NOT_JSON};
                ++i;
                expect_key = false;
                continue;
            }
            if (is_value) text_found = depth == 0 && !bare ? MISSING : FOUND;
            if (is_value || listed) text_bytes = o;
            if (listed) {
                if (list_begun && lane_index() < 2) out[from - 1 - lane_index()] = '\n';
                list_begun = true;
            }
            if (subset_alone) subset_bytes = o;
            if (whole_text && whole_subset) {
                subset_bytes = text_bytes;
                for (i64 k = lane_index(); k < subset_bytes; k += 32) side[k] = out[k];
            }
            __syncwarp();
        } else if (expect_key) {
            return {i, NOT_JSON};
        } else {
            if (whole_text || in_list) text_found = FOUND_OTHER;
            if (b == '{' || b == '[') {
                const bool object = b == '{';
                if (depth >= MAX_DEPTH) return {i, TOO_DEEP};
                stack.push(depth, object);
                ++depth;
                ++i;
                if (object && is_text && !whole_text) ++text_depth;
                if (object && is_subset && !whole_subset) ++subset_depth;
                if (!object && whole_text && lists) {
                    list_depth = depth;
                    text_found = FOUND;
                    text_bytes = 0;
                    list_begun = false;
                }
                is_text = is_subset = false;
                i = skip_space(data, i, end);
                if (i < end && data[i] == (object ? '}' : ']'))
                    after_value = true;  // the loop closes it
                else
                    expect_key = object;
                continue;
            }
            Place place;
            if (b == '-' || (b >= '0' && b <= '9'))
                place = read_number(data, i, end);
            else if (b == 't')
                place = read_literal(data, i, end, "true", 4);
            else if (b == 'f')
                place = read_literal(data, i, end, "false", 5);
            else if (b == 'n')
                place = read_literal(data, i, end, "null", 4);
            else
                return {i, b < 0x80 || valid_sequence(data, i, end) ? NOT_JSON : NOT_UTF8};
            if (place.reason) return place;
            i = place.i;
            if (i < end && depth == 0 && !(data[i] == ' ' || data[i] == '\t' || data[i] == '\r')) return {i, NOT_JSON};
        }
        is_text = is_subset = false;
        after_value = true;
    }
    if (depth || !after_value) return {end, UNFINISHED};
    if (text_found == FOUND) return {i, GOOD};
    return {-1, !line_is_object ? NOT_OBJECT : text_found == FOUND_OTHER ? NOT_STRING : NO_TEXT};
}

// Line k is data[ends[k - 1] + 1 .. ends[k]). Of each: start, length, reason (BLANK, GOOD or why it is bad), place (the
// byte of the line where that was noticed), text_bytes and subset_bytes, left in out and side at the line's start.
// keys: text path, then subset path; bounds: int64[n_text + n_subset, 2].
WARP_KERNEL parse_lines(
    const u8* data, const i64* ends, i64 n_lines, const u8* keys, const i64* bounds, i64 n_text, i64 n_subset,
    i64 skip_bom, i64 bare_strings, i64 text_lists, i64* starts, i64* lengths, i64* reasons, i64* places,
    i64* text_bytes, i64* subset_bytes, u8* out, u8* side)
{
    const i64 k = warp_index();
    if (k >= n_lines) return;
    const i64 end = ends[k];
    i64 start = k ? ends[k - 1] + 1 : 0;
    if (k == 0 && skip_bom && end >= 3 && data[0] == 0xEF && data[1] == 0xBB && data[2] == 0xBF) start = 3;
    const Path text_path{keys, bounds, n_text}, subset_path{keys, bounds + 2 * n_text, n_subset};
    const i64 first = skip_space(data, start, end);
    i64 text = 0, subset = 0;
    Place place{-1, BLANK};
    if (first < end)
        place = read_line(
            data, first, end, text_path, subset_path, bare_strings, text_lists, out + start, side + start, text, subset);
    if (lane_index()) return;
    starts[k] = start;
    lengths[k] = end - start;
    reasons[k] = place.reason;
    places[k] = place.i < 0 ? 0 : place.i - start;
    text_bytes[k] = place.reason == GOOD ? text : 0;
    subset_bytes[k] = place.reason == GOOD ? subset : 0;
}
