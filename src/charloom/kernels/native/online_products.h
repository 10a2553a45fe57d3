/* The online trainer's products of matrices and vectors.
 *
 *     out_i += Σ_k w_ik x_k                      (1)
 *     w_ik  += p_i u_k, then (1)                 (2)  in one pass over w
 *     out_k += Σ_i w_ik d_i                      (3)
 *     out_ti += Σ_k w_ik x_tk                    (4)  (1) of T vectors while four rows of w stay in the first-level cache
 *     out_rk = Σ_j a_rj b_jk                     (5)  a in any order: a_rj is at a[r · row + j · column]
 *
 * Rows of w, x, u, b and `out` in (3), (5) are padded with zeros to whole vectors (N' numbers), so no loop has a
 * remainder in k. A matrix larger than the first-level cache is read upwards and downwards by turns: what was read
 * last is still in the cache. The order of rows changes no bit of (1) and (2), and
 * that of (3) follows from t alone.
 */
#ifndef ONLINE_PRODUCTS_H
#define ONLINE_PRODUCTS_H

typedef number fours_v __attribute__((vector_size(4 * sizeof(number)), aligned(sizeof(number))));
typedef number eights_v __attribute__((vector_size(8 * sizeof(number)), aligned(sizeof(number))));

enum { LINE = 64 / sizeof(number) }; /* numbers in a cache line, the unit of these loops */
typedef number line_v __attribute__((vector_size(64), aligned(sizeof(number))));

enum { TILE_ROWS = 6 }; /* rows of a tile in (5): twelve sums fit the registers of AVX2 */

/* n rounded up to whole vectors: n'. */
static inline int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

static inline line_v load(const number *x) { return *(const line_v *)x; }

static inline void store(number *x, line_v value) { *(line_v *)x = value; }

/* Add the upper half to the lower half, down to eight lanes. */
static inline eights_v folded(line_v x)
{
#ifdef DOUBLE
    return x;
#else
    return __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7) +
           __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
}

/* The sum of the lanes of each of four vectors, as trees; shuffles stay within 128 bits, where they are cheap. */
static inline fours_v lane_sums(line_v a, line_v b, line_v c, line_v d)
{
    eights_v a8 = folded(a), b8 = folded(b), c8 = folded(c), d8 = folded(d);
    eights_v ab = __builtin_shufflevector(a8, b8, 0, 8, 1, 9, 4, 12, 5, 13) +
                  __builtin_shufflevector(a8, b8, 2, 10, 3, 11, 6, 14, 7, 15);
    eights_v cd = __builtin_shufflevector(c8, d8, 0, 8, 1, 9, 4, 12, 5, 13) +
                  __builtin_shufflevector(c8, d8, 2, 10, 3, 11, 6, 14, 7, 15);
    eights_v abcd = __builtin_shufflevector(ab, cd, 0, 1, 8, 9, 4, 5, 12, 13) +
                    __builtin_shufflevector(ab, cd, 2, 3, 10, 11, 6, 7, 14, 15);
    return __builtin_shufflevector(abcd, abcd, 0, 1, 2, 3) + __builtin_shufflevector(abcd, abcd, 4, 5, 6, 7);
}

static inline number lane_sum(line_v a) { return lane_sums(a, a, a, a)[0]; }

/* (1) of up to four rows. */
static inline __attribute__((always_inline)) void product_of_rows(
    const int rows, const number *w, int64_t N, const number *x, number *out)
{
    line_v sums[4] = {0};
    for (int64_t k = 0; k < N; k += LINE)
        for (int r = 0; r < rows; r++)
            sums[r] += load(w + r * N + k) * load(x + k);
    fours_v found = lane_sums(sums[0], sums[1], sums[2], sums[3]);
    for (int r = 0; r < rows; r++)
        out[r] += found[r];
}

/* (1): w (M, N'), x (N'), out (M). */
EXPORT void FN(add_matrix_product)(const number *w, int64_t M, int64_t N, const number *x, number *out, int64_t downwards)
{
    int64_t groups = M / 4;
    for (int64_t g = 0; g < groups; g++) {
        int64_t i = 4 * (downwards ? groups - 1 - g : g);
        product_of_rows(4, w + i * N, N, x, out + i);
    }
    for (int64_t i = 4 * groups; i < M; i++)
        product_of_rows(1, w + i * N, N, x, out + i);
}

/* (2) of two rows; return the sums of both. */
typedef struct {
    line_v first;
    line_v second;
} Sums;

static inline __attribute__((always_inline)) Sums update_two_rows(
    number *restrict w, int64_t N, const number *restrict p, const number *restrict u, const number *restrict x)
{
    Sums sums = {{0}, {0}};
    for (int64_t k = 0; k < N; k += LINE) {
        line_v first = load(w + k) + p[0] * load(u + k), second = load(w + N + k) + p[1] * load(u + k);
        store(w + k, first);
        store(w + N + k, second);
        sums.first += first * load(x + k);
        sums.second += second * load(x + k);
    }
    return sums;
}

/* (2): w (M, N'), p (M'), u, x (N'), out (M'). */
EXPORT void FN(update_and_add_product)(
    number *restrict w, int64_t M, int64_t N, const number *restrict p, const number *restrict u,
    const number *restrict x, number *restrict out, int64_t downwards)
{
    int64_t groups = M / 4;
    for (int64_t g = 0; g < groups; g++) {
        int64_t i = 4 * (downwards ? groups - 1 - g : g);
        Sums upper = update_two_rows(w + i * N, N, p + i, u, x);
        Sums lower = update_two_rows(w + (i + 2) * N, N, p + i + 2, u, x);
        *(fours_v *)(out + i) += lane_sums(upper.first, upper.second, lower.first, lower.second);
    }
    for (int64_t i = 4 * groups; i < M; i++) {
        line_v sum = {0};
        for (int64_t k = 0; k < N; k += LINE) {
            line_v w_k = load(w + i * N + k) + p[i] * load(u + k);
            store(w + i * N + k, w_k);
            sum += w_k * load(x + k);
        }
        out[i] += lane_sum(sum);
    }
}

/* (3) of some rows. */
static inline __attribute__((always_inline)) void pull_back_rows(
    const int rows, const number *restrict w, int64_t N, const number *restrict d, number *restrict out)
{
    for (int64_t k = 0; k < N; k += LINE) {
        line_v sum = load(out + k);
        for (int r = 0; r < rows; r++)
            sum += load(w + r * N + k) * d[r];
        store(out + k, sum);
    }
}

/* (3): w (M, N'), d (M), out (N'). */
EXPORT void FN(add_pulled_back)(const number *w, int64_t M, int64_t N, const number *d, number *out, int64_t downwards)
{
    int64_t groups = M / 8, i = 8 * groups;
    for (int64_t g = 0; g < groups; g++) {
        int64_t first = 8 * (downwards ? groups - 1 - g : g);
        pull_back_rows(8, w + first * N, N, d + first, out);
    }
    for (; i + 4 <= M; i += 4)
        pull_back_rows(4, w + i * N, N, d + i, out);
    for (; i < M; i++)
        pull_back_rows(1, w + i * N, N, d + i, out);
}

/* (4): w (M, N'), x (T, N'), out (T, M'). */
EXPORT void FN(add_products_over_time)(const number *w, int64_t M, int64_t N, const number *x, int64_t T, number *out)
{
    int64_t stride = padded(M), i = 0;
    for (; i + 4 <= M; i += 4)
        for (int64_t t = 0; t < T; t++)
            product_of_rows(4, w + i * N, N, x + t * N, out + t * stride + i);
    for (; i < M; i++)
        for (int64_t t = 0; t < T; t++)
            product_of_rows(1, w + i * N, N, x + t * N, out + t * stride + i);
}

/* (5) of up to TILE_ROWS rows: b (J, N'), out (rows, N'). */
static inline __attribute__((always_inline)) void write_tile(
    const int rows, const number *a, int64_t row, int64_t column, const number *b, int64_t J, int64_t N, number *out)
{
    for (int64_t k = 0; k < N; k += LINE) {
        line_v sums[TILE_ROWS] = {0};
        for (int64_t j = 0; j < J; j++)
            for (int r = 0; r < rows; r++)
                sums[r] += a[r * row + j * column] * load(b + j * N + k);
        for (int r = 0; r < rows; r++)
            store(out + r * N + k, sums[r]);
    }
}

/* (5): R rows, in tiles of nearly equal heights. */
static void write_product(
    const number *a, int64_t row, int64_t column, int64_t R, const number *b, int64_t J, int64_t N, number *out)
{
    int64_t tiles = (R + TILE_ROWS - 1) / TILE_ROWS;
    for (int64_t i = 0; i < tiles; i++) {
        int64_t r = R * i / tiles, rows = R * (i + 1) / tiles - r;
        const number *a_r = a + r * row;
        number *out_r = out + r * N;
        if (rows == TILE_ROWS)
            write_tile(TILE_ROWS, a_r, row, column, b, J, N, out_r);
        else if (rows == 5)
            write_tile(5, a_r, row, column, b, J, N, out_r);
        else if (rows == 4)
            write_tile(4, a_r, row, column, b, J, N, out_r);
        else if (rows == 3)
            write_tile(3, a_r, row, column, b, J, N, out_r);
        else if (rows == 2)
            write_tile(2, a_r, row, column, b, J, N, out_r);
        else
            write_tile(1, a_r, row, column, b, J, N, out_r);
    }
}

/* Σ_t d_t x_tᵀ: (5) with a = dᵀ, for d (T, M'), x (T, N'), out (M, N'). */
EXPORT void FN(write_outer_products)(const number *d, int64_t M, const number *x, int64_t N, int64_t T, number *out)
{
    write_product(d, 1, padded(M), M, x, T, N, out);
}

/* wᵀ d_t of every time step: d (T, M'), w (M, N'), out (T, N'). */
EXPORT void FN(write_pulled_back)(const number *d, int64_t M, const number *w, int64_t N, int64_t T, number *out)
{
    if (T > 2) {
        write_product(d, padded(M), 1, T, w, M, N, out);
        return;
    }
    for (int64_t t = 0; t < T; t++) { /* a tile of one or two rows has too few sums to run at full speed */
        memset(out + t * N, 0, (size_t)N * sizeof(number));
        FN(add_pulled_back)(w, M, N, d + t * padded(M), out + t * N, 1);
    }
}

/* ‖x‖² of n numbers, n a multiple of LANES: blocks of 256 in the array's precision, summed in float64. */
EXPORT double FN(square_sum)(const number *x, int64_t n)
{
    double total = 0;
    for (int64_t begin = 0; begin < n; begin += 256) {
        int64_t end = begin + 256 < n ? begin + 256 : n;
        line_v even = {0}, odd = {0};
        int64_t k = begin;
        for (; k + 2 * LINE <= end; k += 2 * LINE) {
            even += load(x + k) * load(x + k);
            odd += load(x + k + LINE) * load(x + k + LINE);
        }
        if (k < end)
            even += load(x + k) * load(x + k);
        total += (double)lane_sum(even + odd);
    }
    return total;
}

#endif
