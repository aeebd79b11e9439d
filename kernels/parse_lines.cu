// parse_lines: a block of JSON lines -> documents, and why each other line is not one.
// Contract and reference: gpu_pile/ops/parse_lines.py, whose cpu functions find the same reasons at the same positions.
//
// One warp parses one line. Between strings all its lanes walk the same bytes; a string, which is nearly all of a line, is
// decoded in steps of 512 bytes (json_strings.cuh): escapes, quotes and UTF-8 are judged side by side. Text is decoded to
// where its line lies in the block (decoding never lengthens it), and array code gathers it without gaps.
//
// Work: a step of 512 bytes takes about 900 instructions by estimate, of those in the machine code: 1.8 for each byte, which
// puts the floor on an H200 above 400 GB/s of lines. A single line goes at the latency of its steps; they are 16 times
// as long as with a byte per lane.
#include "json_strings.cuh"

constexpr int BLANK = -1;
constexpr int MAX_DEPTH = 512;

// The first position from i on where test(byte) does not hold.
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

__device__ __forceinline__ bool is_space(u32 b) { return b == ' ' || b == '\t' || b == '\r'; }

__device__ __forceinline__ i64 skip_space(const u8* data, i64 i, i64 end)
{
    return skip(data, i, end, [](u32 b) { return is_space(b); });
}

__device__ __forceinline__ bool is_digit(u32 b) { return b >= '0' && b <= '9'; }

__device__ __forceinline__ i64 skip_digits(const u8* data, i64 i, i64 end)
{
    return skip(data, i, end, [](u32 b) { return is_digit(b); });
}

__device__ __forceinline__ Place read_number(const u8* data, i64 i, i64 end)
{
    if (data[i] == '-') ++i;
    if (i >= end) return {end, UNFINISHED};
    if (data[i] == '0')
        ++i;
    else if (is_digit(data[i]))
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

// The number, true, false or null at data[i].
__device__ __forceinline__ Place read_scalar(const u8* data, i64 i, i64 end)
{
    const u32 b = data[i];
    if (b == '-' || is_digit(b)) return read_number(data, i, end);
    if (b == 't') return read_literal(data, i, end, "true", 4);
    if (b == 'f') return read_literal(data, i, end, "false", 5);
    if (b == 'n') return read_literal(data, i, end, "null", 4);
    return {i, b < 0x80 || valid_sequence(data, i, end) ? NOT_JSON : NOT_UTF8};
}

// The keys that lead to a value: key j is keys[bounds[j] .. bounds[j + 1]).
struct Path {
    const u8* keys;
    const i64* bounds;
    i64 n;

    __device__ __forceinline__ bool same(i64 j, const u8* key, i64 length) const
    {
        if (bounds[j + 1] - bounds[j] != length) return false;
        bool equal = true;
        for (i64 k = lane_index(); k < length; k += 32) equal &= key[k] == keys[bounds[j] + k];
        return __all_sync(FULL, equal);
    }
};

// Whether each open container is an object: MAX_DEPTH bits, 32 in each of 16 lanes.
struct Stack {
    u32 levels = 0;  // of this lane
    __device__ __forceinline__ void push(int depth, bool object)
    {
        const u32 bit = 1u << (depth & 31);
        if ((int)lane_index() == depth >> 5) levels = object ? levels | bit : levels & ~bit;
    }
    __device__ __forceinline__ bool is_object(int depth) const
    {
        return __shfl_sync(FULL, levels, depth >> 5) >> (depth & 31) & 1;
    }
};

enum { MISSING, OTHER, FOUND };

// One line, read by the whole warp: the same steps, in the same order, as the functions of gpu_pile/ops/parse_lines.py.
struct Line {
    const u8* data;
    i64 end;
    const Path &text_path, &subset_path;
    bool text_lists;
    u8 *out, *side;  // where the text and the subset are left
    u8* room;        // for read_string

    i64 text_bytes = 0, subset_bytes = 0;
    int text = MISSING;
    int text_depth = 0, subset_depth = 0;     // keys of each path that lead to the innermost open container
    int depth = 0, list_depth = -1;           // open containers; depth inside the list that is the text
    bool list_begun = false;                  // whether that list has a string already
    bool is_text = false, is_subset = false;  // whether the next value belongs to the next key of each path
    bool expect_key = false, after_value = false;
    Stack stack;

    // Whether the next value is what a path leads to.
    __device__ __forceinline__ bool is_whole_text() const { return is_text && text_depth == text_path.n - 1; }
    __device__ __forceinline__ bool is_whole_subset() const { return is_subset && subset_depth == subset_path.n - 1; }
    __device__ __forceinline__ bool is_in_list() const { return list_depth >= 0 && depth == list_depth; }

    // The comma or the end of a container at data[i].
    __device__ __forceinline__ Place separator(i64 i)
    {
        if (depth == 0) return {i, EXTRA};
        const bool in_object = stack.is_object(depth - 1);
        const u32 b = data[i];
        if (b == ',') {
            after_value = false;
            expect_key = in_object;
            ++i;
            if (!in_object) i = skip_space(data, i, end);
            return {i, !in_object && i < end && data[i] == ']' ? NOT_JSON : GOOD};
        }
        if (b != (in_object ? '}' : ']')) return {i, NOT_JSON};
        if (list_depth == depth) list_depth = -1;
        --depth;
        const int keys = depth > 1 ? depth - 1 : 0;
        text_depth = text_depth < keys ? text_depth : keys;
        subset_depth = subset_depth < keys ? subset_depth : keys;
        return {i + 1, GOOD};
    }

    // The rest of a key that is decoded in out[from .. to): the colon at data[i] or after white space.
    __device__ __forceinline__ Place key(i64 i, i64 from, i64 to)
    {
        is_text = text_depth == depth - 1 && text_depth < text_path.n &&
            text_path.same(text_depth, out + from, to - from);
        is_subset = subset_depth == depth - 1 && subset_depth < subset_path.n &&
            subset_path.same(subset_depth, out + from, to - from);
        __syncwarp();  // all lanes have read the key, the next string may overwrite it
        if (is_text) {  // of equal keys the last counts
            text = MISSING;
            text_bytes = 0;
        }
        if (is_subset) subset_bytes = 0;
        i = skip_space(data, i, end);
        if (i >= end) return {end, UNFINISHED};
        if (data[i] != ':') return {i, NOT_JSON};
        expect_key = false;
        return {i + 1, GOOD};
    }

    // The string at data[i], a key or a value. The text goes to out, the subset to side; a key and any other string go
    // after the text, where the next one will overwrite it.
    __device__ __forceinline__ Place string(i64 i)
    {
        const bool whole_text = !expect_key && (is_whole_text() || depth == 0);
        const bool listed = !expect_key && !whole_text && is_in_list() && text == FOUND;
        const bool whole_subset = !expect_key && !listed && is_whole_subset(), beside = whole_subset && !whole_text;
        const i64 from = whole_text || beside ? 0 : text_bytes + (listed && list_begun ? 2 : 0);
        i64 to = from;
        const Place place = read_string(data, i + 1, end, beside ? side : out, to, room);
        if (place.reason) return place;
        if (expect_key) return key(place.i, from, to);
        if (whole_text) text = FOUND;
        if (whole_text || listed) text_bytes = to;
        if (listed && list_begun && lane_index() < 2) out[from - 1 - lane_index()] = '\n';
        list_begun |= listed;
        if (whole_subset) subset_bytes = to;
        if (whole_subset && !beside)
            for (i64 k = lane_index(); k < to; k += 32) side[k] = out[k];
        __syncwarp();
        end_value();
        return place;
    }

    // A value that is not a string stands where the text, or a string of the list that is, should be.
    __device__ __forceinline__ void replace_text()
    {
        if (is_whole_text() || is_in_list()) text = OTHER;
    }

    __device__ __forceinline__ void end_value()
    {
        is_text = is_subset = false;
        after_value = true;
    }

    // The beginning of the object or list at data[i].
    __device__ __forceinline__ Place container(i64 i)
    {
        replace_text();
        const bool object = data[i] == '{', whole_text = is_whole_text();
        if (depth >= MAX_DEPTH) return {i, TOO_DEEP};
        stack.push(depth, object);
        ++depth;
        if (object) {
            text_depth += is_text && !whole_text;
            subset_depth += is_subset && !is_whole_subset();
        } else if (whole_text && text_lists) {
            list_depth = depth;
            text = FOUND;
            text_bytes = 0;
            list_begun = false;
        }
        is_text = is_subset = false;
        i = skip_space(data, i + 1, end);
        after_value = i < end && data[i] == (object ? '}' : ']');  // separator() reads the end
        expect_key = object && !after_value;
        return {i, GOOD};
    }

    __device__ __forceinline__ Place scalar(i64 i)
    {
        replace_text();
        const Place place = read_scalar(data, i, end);
        if (place.reason) return place;
        if (depth == 0 && place.i < end && !is_space(data[place.i])) return {place.i, NOT_JSON};
        end_value();
        return place;
    }

    // The line data[i .. end), which begins without white space.
    __device__ __forceinline__ Place read(i64 i, bool bare_strings)
    {
        const bool line_is_object = data[i] == '{';
        while (i < end) {
            const u32 b = data[i];
            Place place;
            if (after_value)
                place = separator(i);
            else if (b == '"')
                place = string(i);
            else if (expect_key)
                place = {i, NOT_JSON};
            else if (b == '{' || b == '[')
                place = container(i);
            else
                place = scalar(i);
            if (place.reason) return place;
            i = skip_space(data, place.i, end);
        }
        if (depth || !after_value) return {end, UNFINISHED};
        if (text == FOUND && (line_is_object || bare_strings)) return {i, GOOD};
        return {-1, !line_is_object ? NOT_OBJECT : text == OTHER ? NOT_STRING : NO_TEXT};
    }
};

// Parses line k, data[ends[k - 1] + 1 .. ends[k]). One warp per line.
//
// keys, bounds: the keys of the path to the text, then of that to the subset, n_text and n_subset of them; key j is
//     keys[bounds[j] .. bounds[j + 1]).
// skip_bom, bare_strings, text_lists: options of the contract.
// starts, lengths: of each line. reasons: BLANK, GOOD or why it is bad; places: the byte of the line where that was
//     noticed. text_bytes, subset_bytes: of the text and subset, which are left in out and side at the line's start.
WARP_KERNEL parse_lines(
    const u8* data, const i64* ends, i64 n_lines, const u8* keys, const i64* bounds, i64 n_text, i64 n_subset,
    i64 skip_bom, i64 bare_strings, i64 text_lists, i64* starts, i64* lengths, i64* reasons, i64* places,
    i64* text_bytes, i64* subset_bytes, u8* out, u8* side)
{
    __shared__ u8 rooms[4][ROOM];
    const i64 k = warp_index();
    if (k >= n_lines) return;
    const i64 end = ends[k];
    i64 start = k ? ends[k - 1] + 1 : 0;
    if (k == 0 && skip_bom && starts_with(data, 0, end, "\xEF\xBB\xBF")) start = 3;
    const Path text_path{keys, bounds, n_text}, subset_path{keys, bounds + n_text, n_subset};
    const i64 first = skip_space(data, start, end);
    Line line{data, end, text_path, subset_path, text_lists != 0, out + start, side + start, rooms[threadIdx.x >> 5]};
    const Place place = first < end ? line.read(first, bare_strings) : Place{-1, BLANK};
    if (lane_index()) return;
    starts[k] = start;
    lengths[k] = end - start;
    reasons[k] = place.reason;
    places[k] = place.i < 0 ? 0 : place.i - start;
    text_bytes[k] = place.reason == GOOD ? line.text_bytes : 0;
    subset_bytes[k] = place.reason == GOOD ? line.subset_bytes : 0;
}
