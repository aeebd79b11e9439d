// Strings of JSON, decoded by a warp. Definition: gpu_pile/ops/parse_lines.py
//
// The first 32 bytes of a string are read one per lane, which is enough for keys; what follows 16 per lane, 512 at a time.
#pragma once
#include "blocks.cuh"

// Why a line is bad, as in the Python file.
enum { GOOD, NOT_JSON, UNFINISHED, CONTROL, BAD_ESCAPE, NOT_UTF8, TOO_DEEP, EXTRA, NOT_OBJECT, NO_TEXT, NOT_STRING };

// The number of four hexadecimal digits at data[i], or -1.
__device__ __forceinline__ int hex4(const u8* data, i64 i, i64 end)
{
    if (i + 4 > end) return -1;
    int value = 0;
#pragma unroll 1
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

constexpr int HIGH_SURROGATES = 0xD800, LOW_SURROGATES = 0xDC00, AFTER_SURROGATES = 0xE000, REPLACEMENT = 0xFFFD;

__device__ __forceinline__ bool is_high(int c) { return c >= HIGH_SURROGATES && c < LOW_SURROGATES; }
__device__ __forceinline__ bool is_low(int c) { return c >= LOW_SURROGATES && c < AFTER_SURROGATES; }

// Bytes of the UTF-8 sequence beyond ASCII at data[i], 0 if it is not valid (Unicode 14, table 3-7).
__device__ __forceinline__ int valid_sequence(const u8* data, i64 i, i64 end)
{
    const u32 b = data[i];
    if (b < 0xC2 || b > 0xF4) return 0;
    const int n = sequence_length(b);
    if (i + n > end) return 0;
    const u32 low = b == 0xE0 ? 0xA0 : b == 0xF0 ? 0x90 : 0x80;  // what the second byte may be
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

// What a simple escape stands for, 0 if it is not one.
__device__ __forceinline__ u32 simple_escape(u32 letter)
{
    switch (letter) {
    case 'n': return '\n';
    case 't': return '\t';
    case 'r': return '\r';
    case 'b': return '\b';
    case 'f': return '\f';
    case '"':
    case '\\':
    case '/': return letter;
    default: return 0;
    }
}

// Where a warp is in a line.
struct Place {
    i64 i;       // the next byte
    int reason;  // why the line is bad, or GOOD; i is then where that was noticed
};

// What a lane adds to the output: `bytes` bytes of the UTF-8 of `value`, or why the string is bad.
struct Decoded {
    u32 value, bytes;
    int reason;
};

// The escape \\uXXXX whose backslash is data[i]. recent: the backslashes that begin an escape among the 32 bytes up to
// data[i], which is bit 31.
__device__ __forceinline__ Decoded decode_unicode(const u8* data, i64 first, i64 i, i64 end, u32 recent)
{
    int c = hex4(data, i + 2, end);
    if (c < 0) return {0, 1, i + 6 > end ? UNFINISHED : BAD_ESCAPE};
    if (is_high(c)) {
        const bool more = i + 7 < end && data[i + 6] == '\\' && data[i + 7] == 'u';
        const int low = more ? hex4(data, i + 8, end) : -1;
        if (!is_low(low)) return {REPLACEMENT, 3, GOOD};
        return {0x10000u + ((c - HIGH_SURROGATES) << 10) + (low - LOW_SURROGATES), 4, GOOD};
    }
    if (is_low(c)) {  // nothing if it is the second half of a pair, whose first half writes both
        const bool pair =
            i - 6 >= first && (recent >> (31 - 6) & 1) && data[i - 5] == 'u' && is_high(hex4(data, i - 4, end));
        return {REPLACEMENT, pair ? 0u : 3u, GOOD};
    }
    return {(u32)c, (u32)encoded_length((u32)c), GOOD};
}

__device__ __forceinline__ Decoded decode_escape(const u8* data, i64 first, i64 i, i64 end, u32 recent)
{
    if (i + 1 >= end) return {'\\', 1, GOOD};  // the string is unfinished in any case
    const u32 letter = data[i + 1], simple = simple_escape(letter);
    if (letter == 'u') return decode_unicode(data, first, i, end, recent);
    return {simple, 1, simple ? GOOD : BAD_ESCAPE};
}

// What goes on from one step to the next: bytes that belong to an escape, and where escapes begin in the last 16.
struct Carry {
    u32 body, begins;
};

// The first 32 bytes of a string, one per lane.
struct NarrowStep {
    u32 begins;     // backslashes that begin an escape, a bit per byte
    u32 body;       // the bytes that belong to these
    u32 body_next;  // the bytes of the next step that do

    // b: the byte of each lane, data[i].
    __device__ __forceinline__ NarrowStep(const u8* data, i64 i, i64 end, u32 b) : begins(0), body(0), body_next(0)
    {
        const u32 lane = lane_index(), backslashes = __ballot_sync(FULL, b == '\\');
        if (!backslashes) return;
        // in a row of backslashes every second one begins an escape
        const u32 others = ~backslashes & lanes_below();
        const int row = (int)lane - (others ? highest(others) + 1 : 0);
        const bool is_escape = b == '\\' && row % 2 == 0;
        begins = __ballot_sync(FULL, is_escape);
        const u64 unicode = __ballot_sync(FULL, is_escape && i + 1 < end && data[i + 1] == 'u');
        const u64 bodies = (u64)begins << 1 | unicode << 2 | unicode << 3 | unicode << 4 | unicode << 5;
        body = (u32)bodies;
        body_next = (u32)(bodies >> 32);
    }
};

// Decodes up to 32 bytes of the string that begins at data[first] to out + o, and moves o to the end of the output. Whether
// the string ends there, at `place`.
__device__ __forceinline__ bool read_narrow(
    const u8* data, const i64 first, const i64 end, u8* out, i64& o, Carry& carry, Place& place)
{
    const u32 lane = lane_index();
    const i64 i = first + lane;
    const u32 b = i < end ? data[i] : ' ';
    const NarrowStep step(data, i, end, b);
    const bool is_escape = step.begins >> lane & 1, in_body = step.body >> lane & 1;
    Decoded decoded{b, i < end && !in_body, GOOD};
    if (is_escape)
        decoded = decode_escape(data, first, i, end, step.begins << (31 - lane));
    else if (b < ' ' || b >= 0x80)
        decoded.reason = b < ' ' ? CONTROL : is_valid(data, first, i, end) ? GOOD : NOT_UTF8;
    const u32 quotes = __ballot_sync(FULL, b == '"' && !in_body);
    const u32 stops = quotes | __ballot_sync(FULL, decoded.reason != GOOD);
    const int last = stops ? lowest(stops) : 32;  // the lane that ends the string
    if ((int)lane >= last) decoded.bytes = 0;
    const u32 sum = warp_prefix_sum(decoded.bytes);
    if (decoded.bytes) {
        u8* target = out + o + sum - decoded.bytes;
        if (is_escape)
            encode(decoded.value, [&](u32 byte) { *target++ = (u8)byte; });
        else
            *target = (u8)b;
    }
    o += __shfl_sync(FULL, sum, 31);
    __syncwarp();
    carry = {step.body_next, step.begins >> LANE_BYTES};
    if (!stops) return false;
    const int reason = __shfl_sync(FULL, decoded.reason, last);
    place = {first + last + (reason == GOOD), reason};
    return true;
}

// The highest bits of the bytes of a word, as four bits.
__device__ __forceinline__ u32 sign_bits(u32 word) { return (word >> 7 & 0x01010101) * 0x01020408 >> 24; }

// Which bytes of a word equal a byte, as four bits.
__device__ __forceinline__ u32 equal_bytes(u32 word, u32 byte)
{
    const u32 other = word ^ byte * 0x01010101;
    return sign_bits(~(((other & 0x7F7F7F7F) + 0x7F7F7F7F) | other));
}

// 512 bytes of a string, 16 per lane, as bits.
struct WideStep {
    i64 i;  // the first byte of this lane
    u32 words[4];
    u32 valid, quotes, backslashes, controls, beyond;
    u32 begins, body;  // backslashes that begin an escape; the bytes that belong to escapes but these
    u32 recent;        // where escapes begin, from 16 bytes before the lane on

    // The string goes on at data[from], in this or an earlier step.
    __device__ __forceinline__ WideStep(const u8* data, i64 base, i64 from, i64 end, Carry& carry)
        : i(base + LANE_BYTES * lane_index()), valid(0), quotes(0), backslashes(0), controls(0), beyond(0), begins(0), body(0),
          recent(0)
    {
        const int first = i < from ? (int)(from - i) : 0;
        if (i < end) valid = bits(LANE_BITS, first, (int)smaller(LANE_BYTES, end - i));
        load_lane(data, i, from, end, words);
#pragma unroll
        for (int k = 0; k < 4; ++k) {
            quotes |= equal_bytes(words[k], '"') << 4 * k;
            backslashes |= equal_bytes(words[k], '\\') << 4 * k;
            controls |= sign_bits(~(((words[k] & 0x7F7F7F7F) + 0x60606060) | words[k])) << 4 * k;
            beyond |= sign_bits(words[k]) << 4 * k;
        }
        beyond &= valid;
        if (__any_sync(FULL, backslashes) || carry.body)
            find_escapes(data, end, first, carry);
        else
            carry.begins = 0;
    }

    // The bytes that a backslash before them escapes, up to bit 16. is_escaped: whether byte `first` is one.
    __device__ __forceinline__ u32 escaped(u32 is_escaped, int first) const
    {
        // in a row of backslashes every second byte is escaped, up to the one after the row; adding its first bit to a row
        // tells those that begin at an odd place from the others
        constexpr u32 EVEN = 0x55555555;
        const u32 before = is_escaped << first, rows = backslashes & ~before, follows = rows << 1;
        const u32 odd_starts = rows & ~EVEN & ~follows;
        return ((EVEN ^ (odd_starts + rows) << 1) & follows) | before;
    }

    __device__ __forceinline__ void find_escapes(const u8* data, i64 end, int first, Carry& carry)
    {
        const u32 lane = lane_index(), known = lane ? 0 : carry.body & 1;
        // a lane that is all backslashes hands on what it gets, every other one what it has alone
        const u32 hands_on = __ballot_sync(FULL, lane && backslashes == LANE_BITS);
        const u32 out = __ballot_sync(FULL, escaped(known, first) >> LANE_BYTES & 1);
        const u32 sources = ~hands_on & lanes_below();
        body = escaped(lane ? out >> highest(sources | 1) & 1 : known, first);
        begins = backslashes & ~body;
        u32 unicode = 0;
        for (u32 left = begins; left; left &= left - 1) {
            const int j = lowest(left);
            unicode |= (u32)(i + j + 1 < end && data[i + j + 1] == 'u') << j;
        }
        body |= unicode << 2 | unicode << 3 | unicode << 4 | unicode << 5;
        // the first byte after a lane is in `body` of the next one already, if it is escaped
        if (lane == 0) body |= carry.body << first;
        const u32 after = (body | begins << 1) >> LANE_BYTES, before = __shfl_up_sync(FULL, after, 1);
        if (lane) body |= before;
        body &= LANE_BITS;
        carry.body = __shfl_sync(FULL, after, 31);
        recent = begins << LANE_BYTES | (lane ? 0 : carry.begins << first);
        const u32 recent_before = __shfl_up_sync(FULL, recent >> LANE_BYTES, 1);
        if (lane) recent |= recent_before;
        carry.begins = __shfl_sync(FULL, begins, 31);
    }
};

// What the bytes of a lane give: the lengths of what each writes, as binary digits in three masks, and where it ends.
struct WideOutput {
    u32 ones, twos, fours;
    int stop;  // the byte that ends the string or is wrong; 16 if there is none
    int reason;

    __device__ __forceinline__ WideOutput(const WideStep& s, const u8* data, i64 string, i64 end)
        : ones(s.valid & ~(s.body | s.begins)), twos(0), fours(0), reason(GOOD)
    {
        const u32 quotes = s.quotes & ~s.body, wrong = wrong_sequence(s, data, string, end);
        u32 stops = quotes | s.controls | wrong;
        for (u32 left = s.begins; left; left &= left - 1) {
            const int j = lowest(left);
            const Decoded escape = decode_escape(data, string, s.i + j, end, s.recent << (15 - j));
            if (escape.reason) {
                stops |= 1u << j;
                reason = escape.reason;
                break;
            }
            ones |= (escape.bytes & 1) << j;
            twos |= (escape.bytes >> 1 & 1) << j;
            fours |= escape.bytes >> 2 << j;
        }
        stop = stops ? lowest(stops) : LANE_BYTES;
        const u32 at = stops & (0 - stops);
        if (at & ~s.begins) reason = at & quotes ? GOOD : at & wrong ? NOT_UTF8 : CONTROL;
        keep((1u << stop) - 1);
    }

    // The first byte beyond ASCII that is not part of a valid sequence, as a bit.
    __device__ __forceinline__ static u32 wrong_sequence(const WideStep& s, const u8* data, i64 string, i64 end)
    {
        for (u32 left = s.beyond; left;) {
            const int j = lowest(left);
            const int n = is_lead(data[s.i + j]) ? valid_sequence(data, s.i + j, end)
                                                 : is_valid(data, string, s.i + j, end);
            if (!n) return 1u << j;
            left &= ~((1u << (j + n)) - 1);
        }
        return 0;
    }

    __device__ __forceinline__ void keep(u32 mask)
    {
        ones &= mask;
        twos &= mask;
        fours &= mask;
    }

    // Bytes written for the bytes of a mask.
    __device__ __forceinline__ u32 length(u32 mask) const
    {
        return __popc(ones & mask) + 2 * __popc(twos & mask) + 4 * __popc(fours & mask);
    }

    __device__ __forceinline__ void write(const WideStep& s, const u8* data, i64 string, i64 end, u8* target) const
    {
        if (!(twos | fours)) {
#pragma unroll
            for (int j = 0, at = 0; j < LANE_BYTES; ++j) {
                if ((ones & ~s.begins) >> j & 1) target[at] = (u8)(s.words[j / 4] >> 8 * (j % 4));
                at += ones >> j & 1;
            }
        } else {
            for (u32 left = ones & ~s.begins; left; left &= left - 1)
                target[length((left & (0 - left)) - 1)] = data[s.i + lowest(left)];
        }
        for (u32 left = s.begins & (ones | twos | fours); left; left &= left - 1) {
            const int j = lowest(left);
            u8* at = target + length((1u << j) - 1);
            encode(decode_escape(data, string, s.i + j, end, s.recent << (15 - j)).value, [&](u32 byte) {
                *at++ = (u8)byte;
            });
        }
    }
};

// Room for what a step writes: an escape may begin in its last byte.
constexpr int ROOM = BLOCK_BYTES + 8;

// Decodes the string whose opening quote is at data[first - 1] to out + o, and moves o to the end of the output. Returns
// the place after the closing quote. Called by the whole warp, with ROOM bytes of shared memory; what it wrote is visible
// to all lanes.
__device__ __forceinline__ Place read_string(const u8* data, const i64 first, const i64 end, u8* out, i64& o, u8* room)
{
    Carry carry;
    Place place;
    if (read_narrow(data, first, end, out, o, carry, place)) return place;
    const i64 from = first + 32;
    if (from >= end) return {end, UNFINISHED};
    for (i64 base = from - (i64)((u64)(data + from) % LANE_BYTES); base < end; base += BLOCK_BYTES) {
        const WideStep step(data, base, from, end, carry);
        WideOutput output(step, data, first, end);
        const u32 stops = __ballot_sync(FULL, output.stop < LANE_BYTES);
        const int last = stops ? lowest(stops) : 32;  // the lane that ends the string
        if ((int)lane_index() > last) output.keep(0);
        u32 n;
        const u32 at = warp_sum_below(output.length(LANE_BITS), n);
        output.write(step, data, first, end, room + at);
        __syncwarp();
        for (u32 k = lane_index(); k < n; k += 32) out[o + k] = room[k];
        o += n;
        __syncwarp();
        if (stops) {
            const int stop = __shfl_sync(FULL, output.stop, last), reason = __shfl_sync(FULL, output.reason, last);
            return {base + LANE_BYTES * last + stop + (reason == GOOD), reason};
        }
    }
    return {end, UNFINISHED};
}
