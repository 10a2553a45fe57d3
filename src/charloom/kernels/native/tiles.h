/* Products of factors rounded to bfloat16, summed in float32: in tiles of Intel's AMX, by AVX-512's dot products of pairs,
 * or in C (amx.h, dots.h).
 *
 *     out_mn (+)= Σ_k round(a_mk) round(w_kn)                     (1)
 *
 * A tile holds 16 rows of 64 bytes: 16 × 32 factors of bfloat16, or 16 × 16 sums. The right factor is laid out once,
 * in panels of 32 columns: for each stretch of 32 k two tiles side by side, each with pairs of k interleaved:
 *
 *     panels[n / 32][k / 32][n % 32 / 16][k % 32 / 2][n % 16][k % 2] = w_kn, padded with zeros      (2)
 *
 * A product with a transposed left factor transposes nothing: its left factor is laid out as (2) too, its columns being
 * the rows of the product.
 */
#ifndef TILES_H
#define TILES_H

#ifndef DOUBLE

enum {
    TILE = 16,               /* rows, and sums in a row */
    DEPTH = 32,              /* factors in a row */
    BLOCK = 2 * TILE,        /* rows and columns of a block of sums */
    TILE_SIZE = TILE * DEPTH, /* factors in a tile */
    IN_AMX = 2,              /* values of Window.tiles */
    IN_DOTS = 3
};

#if defined(__AVX512F__) && defined(__linux__)
#define HAS_AMX 1
#endif

static int64_t in_blocks(int64_t n, int64_t size) { return (n + size - 1) / size; }

/* Round to nearest, ties to even; NaN stays NaN. */
static uint16_t rounded(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t up = bits + 0x7FFF + (bits >> 16 & 1);
    return (bits & 0x7FFFFFFF) > 0x7F800000 ? 0x7FC0 : (uint16_t)(up >> 16);
}

static float widened(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The pairs of a tile, and the 16 of one line: the first factor of a pair is its lower half. */
typedef uint32_t pairs_v __attribute__((vector_size(TILE * 4), aligned(4)));

/* Write line i to column i, for 16 lines of 16 pairs: four times, the lines of both halves are interleaved. */
static void transpose_pairs(pairs_v lines[TILE])
{
    for (int step = 0; step < 4; step++) {
        pairs_v mixed[TILE];
        for (int i = 0; i < TILE / 2; i++) {
            pairs_v a = lines[i], b = lines[i + TILE / 2];
            mixed[2 * i] = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            mixed[2 * i + 1] =
                __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        }
        memcpy(lines, mixed, sizeof mixed);
    }
}

/* Write a whole tile of (2) whose columns are contiguous: pairs of rows of w. */
static void lay_out_columns(const number *w, int64_t k_stride, uint16_t *tile)
{
    for (int k = 0; k < DEPTH; k += 2) {
        const number *even = w + k * k_stride, *odd = even + k_stride;
        uint32_t line[TILE];
        for (int n = 0; n < TILE; n++)
            line[n] = rounded(even[n]) | (uint32_t)rounded(odd[n]) << 16;
        memcpy(tile + k * TILE, line, sizeof line);
    }
}

/* Write a whole tile of (2) whose factors of one column are contiguous. */
static void lay_out_rows(const number *w, int64_t n_stride, uint16_t *tile)
{
    pairs_v lines[TILE];
    for (int n = 0; n < TILE; n++) {
        uint16_t line[DEPTH];
        for (int k = 0; k < DEPTH; k++)
            line[k] = rounded(w[n * n_stride + k]);
        memcpy(lines + n, line, sizeof line);
    }
    transpose_pairs(lines);
    memcpy(tile, lines, sizeof lines);
}

/* Write (2): w (K, N) with any strides. */
EXPORT void FN(lay_out_tiles)(
    const number *w, int64_t K, int64_t N, int64_t k_stride, int64_t n_stride, uint16_t *panels)
{
    int64_t depth = in_blocks(K, DEPTH), tiles = in_blocks(N, BLOCK) * 2;
    for (int64_t j = 0; j < tiles; j++)
        for (int64_t d = 0; d < depth; d++) {
            uint16_t *tile = panels + (j / 2 * depth * 2 + 2 * d + j % 2) * TILE_SIZE;
            const number *first = w + d * DEPTH * k_stride + j * TILE * n_stride;
            int64_t columns = N - j * TILE, rows = K - d * DEPTH;
            int whole = columns >= TILE && rows >= DEPTH;
            if (whole && n_stride == 1)
                lay_out_columns(first, k_stride, tile);
            else if (whole && k_stride == 1)
                lay_out_rows(first, n_stride, tile);
            else {
                memset(tile, 0, TILE_SIZE * sizeof(uint16_t));
                for (int64_t n = 0; n < TILE && n < columns; n++)
                    for (int64_t k = 0; k < DEPTH && k < rows; k++)
                        tile[k / 2 * DEPTH + n * 2 + k % 2] = rounded(first[k * k_stride + n * n_stride]);
            }
        }
}

/* Round a (M, K) into `left`: rows padded to whole tiles; its last rows, up to a whole tile, are zeros. */
static void round_left(const float *restrict a, int64_t M, int64_t K, uint16_t *restrict left)
{
    int64_t stride = in_blocks(K, DEPTH) * DEPTH, padded = in_blocks(M, TILE) * TILE;
    for (int64_t m = 0; m < M; m++) {
        for (int64_t k = 0; k < K; k++)
            left[m * stride + k] = rounded(a[m * K + k]);
        memset(left + m * stride + K, 0, (size_t)(stride - K) * sizeof(uint16_t));
    }
    memset(left + M * stride, 0, (size_t)((padded - M) * stride) * sizeof(uint16_t));
}

/* Begin a block's sums in `out` with zeros. */
static void clear_rows(float *out, int64_t rows, int64_t out_stride)
{
    for (int64_t i = 0; i < rows; i++)
        memset(out + i * out_stride, 0, BLOCK * sizeof(float));
}

/* Write or add the part of a block that lies in `out`. */
static void copy_edge(
    const float *edge, float *out, int64_t rows, int64_t columns, int64_t out_stride, int adds)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            out[i * out_stride + j] = (adds ? out[i * out_stride + j] : 0) + edge[i * BLOCK + j];
}

#include "dots.h"

#include "amx.h"

/* Write (1) to `out` (M, N) with rows `out_stride` apart, or add it if `adds`, in one of the three ways.
 *
 * a (M, K); `left` is scratch space, M and K padded to whole tiles. Blocks at the edges are computed in memory of their own.
 */
EXPORT void FN(multiply_in_tiles)(
    const number *a, const uint16_t *panels, uint16_t *left, number *out, int64_t M, int64_t K, int64_t N,
    int64_t out_stride, int64_t adds, int64_t way)
{
    int64_t stride = in_blocks(K, DEPTH) * DEPTH;
    const Left rows = {left, BLOCK * stride, TILE * stride, stride, 2, DEPTH};
    round_left(a, M, K, left);
    if (way == IN_AMX)
        multiply_amx(left, stride, panels, out, M, N, out_stride, adds);
    else if (way == IN_DOTS)
        multiply_dots(1, &rows, panels, out, M, K, N, out_stride, adds);
    else
        multiply_dots(0, &rows, panels, out, M, K, N, out_stride, adds);
}

/* The same of a left factor that is laid out as (2), its columns being the rows of the product; not in AMX. */
EXPORT void FN(multiply_laid_out_tiles)(
    const uint16_t *left, const uint16_t *panels, number *out, int64_t M, int64_t K, int64_t N, int64_t out_stride,
    int64_t adds, int64_t way)
{
    const Left rows = {left, in_blocks(K, DEPTH) * 2 * TILE_SIZE, TILE_SIZE, 2, DEPTH, 2 * TILE_SIZE};
    if (way == IN_DOTS)
        multiply_dots(1, &rows, panels, out, M, K, N, out_stride, adds);
    else
        multiply_dots(0, &rows, panels, out, M, K, N, out_stride, adds);
}

#endif

#endif
