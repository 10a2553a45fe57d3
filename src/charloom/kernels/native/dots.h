/* Products of bfloat16 by AVX-512's dot products of pairs, or the same sums in C: equation (1) of tiles.h.
 *
 * The instruction adds two products to each of 16 sums. 8 rows × 32 columns of sums stay in registers, and each pair of a
 * row takes part in 32 of them: eight broadcasts and two loads for sixteen instructions.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: VDPBF16PS.
 */
#ifndef DOTS_H
#define DOTS_H

/* A left factor: where its row 0 begins, and how far apart, in factors, are its blocks of 32 rows, its halves of 16, its
 * rows, the pairs of a row, and the stretches of DEPTH.
 */
typedef struct {
    const uint16_t *first;
    int64_t block, half, row, pair, stretch;
} Left;

#ifdef __AVX512F__
#define HAS_DOTS 1
#endif

/* Add to 16 sums the products of a pair of the left factor and 16 pairs of the right one.
 *
 * The instruction is written in assembly: it needs no level of its own, and runs only where loader.c has found it.
 */
static inline __attribute__((always_inline)) numbers_v add_pairs(
    const int native, numbers_v sums, uint32_t left, pairs_v right)
{
#ifdef HAS_DOTS
    if (native) {
        pairs_v pair = (pairs_v){0} + left;
        __asm__("vdpbf16ps %2, %1, %0" : "+v"(sums) : "v"(pair), "v"(right));
        return sums;
    }
#endif
    (void)native;
    pairs_v low = right << 16, high = right & 0xFFFF0000;
    numbers_v even, odd;
    memcpy(&even, &low, sizeof even);
    memcpy(&odd, &high, sizeof odd);
    return sums + widened((uint16_t)left) * even + widened((uint16_t)(left >> 16)) * odd;
}

#define UNROLLED _Pragma("clang loop unroll(full)")

/* Add `depth` stretches to `rows` × 16 `tiles` sums; native, rows and tiles are constants where it is called. */
static inline __attribute__((always_inline)) void add_row_sums(
    const int native, const int rows, const int tiles, const uint16_t *first, const Left *left, const uint16_t *panel,
    int64_t depth, float *sums, int64_t stride)
{
    numbers_v kept[8][2];
    int64_t row = left->row, pair = left->pair;
    UNROLLED for (int r = 0; r < rows; r++)
        UNROLLED for (int j = 0; j < tiles; j++)
            kept[r][j] = *(const numbers_v *)(sums + r * stride + j * TILE);
    for (int64_t d = 0; d < depth; d++, first += left->stretch, panel += 2 * TILE_SIZE)
        for (int p = 0; p < DEPTH / 2; p++) {
            pairs_v right[2];
            UNROLLED for (int j = 0; j < tiles; j++)
                right[j] = *(const pairs_v *)(panel + j * TILE_SIZE + p * DEPTH);
            UNROLLED for (int r = 0; r < rows; r++) {
                uint32_t both;
                memcpy(&both, first + r * row + p * pair, sizeof both);
                UNROLLED for (int j = 0; j < tiles; j++)
                    kept[r][j] = add_pairs(native, kept[r][j], both, right[j]);
            }
        }
    UNROLLED for (int r = 0; r < rows; r++)
        UNROLLED for (int j = 0; j < tiles; j++)
            *(numbers_v *)(sums + r * stride + j * TILE) = kept[r][j];
}

/* Add `depth` stretches to the sums of up to 32 rows × 16 `tiles` columns. */
static inline __attribute__((always_inline)) void add_block_dots(
    const int native, const int tiles, const uint16_t *first, const Left *left, const uint16_t *panel, int64_t depth,
    int64_t rows, float *sums, int64_t stride)
{
    for (int64_t m = 0; m < rows;) {
        const uint16_t *here = first + m / TILE * left->half + m % TILE * left->row;
        float *place = sums + m * stride;
        if (rows - m >= 8) {
            add_row_sums(native, 8, tiles, here, left, panel, depth, place, stride);
            m += 8;
        } else if (rows - m >= 4) {
            add_row_sums(native, 4, tiles, here, left, panel, depth, place, stride);
            m += 4;
        } else {
            add_row_sums(native, 1, tiles, here, left, panel, depth, place, stride);
            m++;
        }
    }
}

enum { STRETCHES = 8 }; /* multiplied at once: a panel of them, 16 kB, stays in the first cache */

/* Compute (1) by dot products of pairs; `native` is a constant where it is called. */
static inline __attribute__((always_inline)) void multiply_dots(
    const int native, const Left *left, const uint16_t *panels, float *out, int64_t M, int64_t K, int64_t N,
    int64_t out_stride, int64_t adds)
{
    int64_t depth = in_blocks(K, DEPTH);
    float edge[BLOCK * BLOCK];
    for (int64_t d = 0; d < depth; d += STRETCHES) {
        int64_t some = depth - d < STRETCHES ? depth - d : STRETCHES;
        int later = adds || d > 0;
        for (int64_t n = 0; n < N; n += BLOCK)
            for (int64_t m = 0; m < M; m += BLOCK) {
                int64_t rows = M - m < BLOCK ? M - m : BLOCK, columns = N - n < BLOCK ? N - n : BLOCK;
                const uint16_t *panel = panels + (n / BLOCK * depth + d) * 2 * TILE_SIZE;
                const uint16_t *first = left->first + m / BLOCK * left->block + d * left->stretch;
                float *place = out + m * out_stride + n, *sums = columns == BLOCK ? place : edge;
                int64_t stride = columns == BLOCK ? out_stride : BLOCK;
                if (columns < BLOCK)
                    memset(edge, 0, sizeof edge);
                else if (!later)
                    clear_rows(place, rows, out_stride);
                if (columns > TILE)
                    add_block_dots(native, 2, first, left, panel, some, rows, sums, stride);
                else
                    add_block_dots(native, 1, first, left, panel, some, rows, sums, stride);
                if (columns < BLOCK)
                    copy_edge(edge, place, rows, columns, out_stride, later);
            }
    }
}

#endif
