/* Text to numbers: see utf8.py, which has the plain versions. */

enum { NUMBER_BITS = 16, SURROGATES_TOO = 1, BYTES = 2 };
enum { ALL_READ = 0, STOPPED = 1, NOT_UTF8 = 2, CUT_SHORT = 3 };

/* The length of a sequence that begins with this byte, 0 if none does. */
static inline int64_t sequence_length(uint8_t first)
{
    return first < 0x80 ? 1 : first < 0xC2 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 0;
}

/* The code point of a sequence of `length` bytes, −1 if it is not one (overlong, surrogate, above U+10FFFF). */
static inline int32_t code_point(const uint8_t *at, int64_t length, int surrogates)
{
    int32_t code = length == 2 ? at[0] & 0x1F : length == 3 ? at[0] & 0x0F : at[0] & 0x07;
    for (int64_t i = 1; i < length; i++) {
        if ((at[i] & 0xC0) != 0x80)
            return -1;
        code = code << 6 | (at[i] & 0x3F);
    }
    if (length == 3 && (code < 0x800 || (!surrogates && code >= 0xD800 && code < 0xE000)))
        return -1;
    if (length == 4 && (code < 0x10000 || code > 0x10FFFF))
        return -1;
    return code;
}

/* Whether the bytes from `at` to `end`, fewer than a sequence needs, can begin one. */
static inline int may_go_on(const uint8_t *at, const uint8_t *end, int surrogates)
{
    if (end - at > 1) {
        uint8_t first = at[0], second = at[1];
        if ((second & 0xC0) != 0x80 || (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90) ||
            (first == 0xF4 && second >= 0x90) || (first == 0xED && second >= 0xA0 && !surrogates))
            return 0;
    }
    return end - at < 3 || (at[2] & 0xC0) == 0x80;
}

/* Number the code points of n bytes, or the bytes themselves, from at[0] on; stop at one whose slot has a bit of `stops`.
 *
 * Writes the numbers from at[1] on, and updates at: (bytes read, numbers written, code of the stop).
 */
EXPORT int64_t FN(utf8_numbers)(
    const uint8_t *data, int64_t n, int64_t kind, const int32_t *slots, int32_t stops, uint16_t *numbers, int64_t *at)
{
    const uint8_t *p = data + at[0], *end = data + n;
    uint16_t *out = numbers + at[1];
    int64_t result = ALL_READ;
    while (p < end) {
        while (end - p >= 8) { /* eight bytes of ASCII at a time, or any eight bytes */
            uint64_t word;
            memcpy(&word, p, 8);
            if (kind != BYTES && (word & 0x8080808080808080u))
                break;
            int32_t found[8], all = 0;
            for (int i = 0; i < 8; i++) {
                found[i] = slots[p[i]];
                all |= found[i];
            }
            if (all & stops)
                break;
            for (int i = 0; i < 8; i++)
                out[i] = (uint16_t)found[i];
            p += 8, out += 8;
        }
        if (p == end)
            break;
        int64_t length = kind == BYTES ? 1 : sequence_length(*p);
        int32_t code = *p;
        if (length > end - p) {
            result = may_go_on(p, end, kind == SURROGATES_TOO) ? CUT_SHORT : NOT_UTF8;
            break;
        }
        if (length > 1)
            code = code_point(p, length, kind == SURROGATES_TOO);
        if (length == 0 || code < 0) {
            result = NOT_UTF8;
            break;
        }
        int32_t slot = slots[code];
        if (slot & stops) {
            at[2] = code;
            result = STOPPED;
            break;
        }
        *out++ = (uint16_t)slot;
        p += length;
    }
    at[0] = p - data;
    at[1] = out - numbers;
    return result;
}

/* Begin each line of n numbers with a boundary and leave the newlines out; lines without a number are dropped.
 *
 * Writes up to n + 1 numbers and returns how many; updates counts: (whether a line has begun, lines begun in this piece,
 * empty lines, newlines).
 */
EXPORT int64_t FN(mark_lines)(
    const uint16_t *numbers, int64_t n, int64_t newline, int64_t boundary, uint16_t *marked, int64_t *counts)
{
    enum { AT_ONCE = 16 }; /* copied at a time, where no newline is */
    const uint16_t *p = numbers, *end = numbers + n;
    uint16_t *out = marked;
    int64_t inside = counts[0], begun = 0, empty = 0, newlines = 0;
    while (p < end) {
        if (*p == newline) {
            newlines++;
            empty += !inside;
            inside = 0;
            p++;
            continue;
        }
        if (!inside) {
            *out++ = (uint16_t)boundary;
            begun++;
            inside = 1;
        }
        for (; end - p >= AT_ONCE; p += AT_ONCE, out += AT_ONCE) {
            int any = 0;
            for (int i = 0; i < AT_ONCE; i++)
                any |= p[i] == newline;
            if (any)
                break;
            memcpy(out, p, AT_ONCE * sizeof *p);
        }
        while (p < end && *p != newline)
            *out++ = *p++;
    }
    counts[0] = inside, counts[1] = begun, counts[2] = empty, counts[3] = newlines;
    return out - marked;
}

/* Add to counts how often each of n numbers occurs; four tables, so that a repeated number does not wait for itself. */
EXPORT void FN(count_numbers)(const uint16_t *numbers, int64_t n, int64_t *counts, int64_t size)
{
    enum { LOW = 256 };
    int64_t low[4][LOW] = {{0}};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int k = 0; k < 4; k++) {
            uint16_t number = numbers[i + k];
            if (number < LOW)
                low[k][number]++;
            else
                counts[number]++;
        }
    for (; i < n; i++)
        counts[numbers[i]]++;
    for (int64_t j = 0; j < LOW && j < size; j++)
        for (int k = 0; k < 4; k++)
            counts[j] += low[k][j];
}

/* The ids of n numbers, each of `width` bytes (1, 2 or 4), little-endian; table has the id of each number. */
EXPORT void FN(ids_of_numbers)(const uint16_t *numbers, int64_t n, const uint32_t *table, int64_t width, void *ids)
{
    if (width == 1)
        for (int64_t i = 0; i < n; i++)
            ((uint8_t *)ids)[i] = (uint8_t)table[numbers[i]];
    else if (width == 2)
        for (int64_t i = 0; i < n; i++)
            ((uint16_t *)ids)[i] = (uint16_t)table[numbers[i]];
    else
        for (int64_t i = 0; i < n; i++)
            ((uint32_t *)ids)[i] = table[numbers[i]];
}
