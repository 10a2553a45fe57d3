/* CRC-32 of whole blocks of 16 bytes by carry-less products: see crc32.py. */

#if defined(__x86_64__)
#include <cpuid.h>

/* Powers of x modulo the polynomial, bits reversed, from the paper: two for 64 bytes ahead, two for 16. */
#define CRC_FAR _mm_set_epi64x(0x1c6e41596, 0x154442bd4)
#define CRC_NEAR _mm_set_epi64x(0x0ccaa009e, 0x1751997d0)
#define CRC_LAST _mm_set_epi64x(0, 0x163cd6124)
#define CRC_POLYNOMIAL _mm_set_epi64x(0x1f7011641, 0x1db710641) /* its quotient of x^64, and itself */

/* The remainder `ahead` bits on, with the next 16 bytes. */
__attribute__((target("pclmul,sse4.1"))) static inline __m128i crc_folded(__m128i x, __m128i ahead, __m128i next)
{
    __m128i low = _mm_clmulepi64_si128(x, ahead, 0x00), high = _mm_clmulepi64_si128(x, ahead, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

/* `n` is a multiple of 16 and at least 64. */
__attribute__((target("pclmul,sse4.1"))) static uint32_t crc_fast(uint32_t crc, const uint8_t *data, int64_t n)
{
    const __m128i *p = (const __m128i *)data, *end = (const __m128i *)(data + n);
    const __m128i halves = _mm_set_epi32(0, -1, 0, -1);
    __m128i x[4];
    for (int i = 0; i < 4; i++)
        x[i] = _mm_loadu_si128(p++);
    x[0] = _mm_xor_si128(x[0], _mm_cvtsi32_si128((int)~crc));
    for (; end - p >= 4; p += 4)
        for (int i = 0; i < 4; i++)
            x[i] = crc_folded(x[i], CRC_FAR, _mm_loadu_si128(p + i));
    __m128i all = x[0];
    for (int i = 1; i < 4; i++)
        all = crc_folded(all, CRC_NEAR, x[i]);
    while (p < end)
        all = crc_folded(all, CRC_NEAR, _mm_loadu_si128(p++));
    all = _mm_xor_si128(_mm_srli_si128(all, 8), _mm_clmulepi64_si128(all, CRC_NEAR, 0x10)); /* 128 bits to 96 */
    __m128i rest = _mm_srli_si128(all, 4);
    all = _mm_xor_si128(rest, _mm_clmulepi64_si128(_mm_and_si128(all, halves), CRC_LAST, 0x00)); /* to 64 */
    __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(all, halves), CRC_POLYNOMIAL, 0x10);
    __m128i product = _mm_clmulepi64_si128(_mm_and_si128(quotient, halves), CRC_POLYNOMIAL, 0x00);
    return ~(uint32_t)_mm_extract_epi32(_mm_xor_si128(all, product), 1);
}

static int has_carryless(void)
{
    static int known = -1;
    if (known < 0) {
        uint32_t a, b, c, d;
        known = __get_cpuid(1, &a, &b, &c, &d) && (c >> 1 & 1) && (c >> 19 & 1);
    }
    return known;
}
#endif

/* The CRC-32 of n bytes after bytes of CRC-32 `crc`; n is a multiple of 16 and at least 64. −1: not on this processor. */
EXPORT int64_t FN(crc32_blocks)(int64_t crc, const uint8_t *data, int64_t n)
{
#if defined(__x86_64__)
    if (has_carryless())
        return crc_fast((uint32_t)crc, data, n);
#endif
    (void)crc, (void)data, (void)n;
    return -1;
}
