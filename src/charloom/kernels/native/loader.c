/* What Python asks before anything else: which files the library was built from, and which level this processor has.
 *
 * A level is a set of instructions that the same C files were compiled for. LEVELS lists those in this library, lowest
 * first, as the build passed them.
 */
#define _GNU_SOURCE /* syscall */
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

EXPORT const char *charloom_header(void) { return HEADER_HASH; }

EXPORT const char *charloom_sources(void) { return SOURCE_HASH; }

EXPORT const char *charloom_levels(void) { return LEVELS; }

#if defined(__x86_64__)

#include <cpuid.h>

/* The registers whose state the system saves at a switch of threads: without it, their instructions must not be used. */
static uint64_t saved_registers(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

static int has(uint32_t word, int bit) { return (int)(word >> bit & 1); }

/* 0 base · 1 v3: AVX2, FMA · 2 v4: AVX-512 F, BW, DQ, VL · 3 vnni: v4 and AVX-512 VNNI */
EXPORT int64_t charloom_level(void)
{
    uint32_t a, b, c, d, b7, c7, d7;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, 27)) /* XSAVE in use */
        return 0;
    uint64_t saved = saved_registers();
    uint32_t of_7;
    if (!__get_cpuid_count(7, 0, &of_7, &b7, &c7, &d7))
        return 0;
    int avx2 = has(c, 12) && has(c, 28) && has(b7, 5) && has(b7, 3) && has(b7, 8) && (saved & 6) == 6;
    if (!avx2)
        return 0;
    int avx512 = has(b7, 16) && has(b7, 17) && has(b7, 30) && has(b7, 31) && (saved & 0xE6) == 0xE6;
    if (!avx512)
        return 1;
    return has(c7, 11) ? 3 : 2;
}

#if defined(__linux__)

#include <sys/syscall.h>
#include <unistd.h>

/* Whether this process may use AMX: the processor multiplies tiles of bfloat16, and the system grants their registers.
 *
 * Source: the Linux kernel's documentation, "Using XSTATE features in user space applications".
 */
static int grants_tiles(void)
{
    const long request = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM, its number in XCR0 */
    uint32_t a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !has(d, 22) || !has(d, 24))
        return 0;
    return (saved_registers() >> 17 & 3) == 3 && syscall(SYS_arch_prctl, request, tile_data) == 0;
}

#else

static int grants_tiles(void) { return 0; }

#endif

/* How products of bfloat16 are fast here, as in Window.tiles: 2 in AMX, 3 in AVX-512's dot products, 0 not. */
EXPORT int64_t charloom_tiles(void)
{
    uint32_t a, b, c, d;
    if (charloom_level() < 2)
        return 0;
    if (grants_tiles())
        return 2;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && has(a, 5) ? 3 : 0;
}

#elif defined(__aarch64__) && defined(__linux__)

#include <sys/auxv.h>

/* 0 base: NEON · 1 dotprod */
EXPORT int64_t charloom_level(void) { return getauxval(AT_HWCAP) >> 20 & 1; }

EXPORT int64_t charloom_tiles(void) { return 0; }

#elif defined(__aarch64__)

EXPORT int64_t charloom_level(void) { return 1; } /* every Apple processor has dot products */

EXPORT int64_t charloom_tiles(void) { return 0; }

#else

EXPORT int64_t charloom_level(void) { return 0; }

EXPORT int64_t charloom_tiles(void) { return 0; }

#endif
