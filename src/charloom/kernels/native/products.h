/* Float products of the torch engine's windows: the BLAS that the caller hands over, or sums of our own.
 *
 *     out_bn (+)= Σ_k a_bk w_kn          (1)
 *
 * The BLAS's function is ``sgemm_`` or ``dgemm_`` of the reference BLAS. It is column-major, so (1) is computed as
 * outᵀ = wᵀ aᵀ.
 */
#ifndef PRODUCTS_H
#define PRODUCTS_H

typedef void Gemm(
    const char *, const char *, const int64_t *, const int64_t *, const int64_t *, const number *, const number *,
    const int64_t *, const number *, const int64_t *, const number *, number *, const int64_t *);

enum { ROWS = 4 }; /* rows of a that share each load of w */

/* Compute (1) of `rows` rows, at most ROWS, in columns n to n + LANES. */
static void multiply_lanes(
    const number *a, const number *w, int64_t w_stride, int64_t K, int64_t N, int64_t rows, number *out, int adds)
{
    numbers_v sums[ROWS] = {0};
    for (int64_t k = 0; k < K; k++) {
        numbers_v w_k = *(const numbers_v *)(w + k * w_stride);
        for (int64_t b = 0; b < rows; b++)
            sums[b] += a[b * K + k] * w_k;
    }
    for (int64_t b = 0; b < rows; b++) {
        numbers_v *place = (numbers_v *)(out + b * N);
        *place = adds ? *place + sums[b] : sums[b];
    }
}

/* Compute (1): a (B, K), w (K, N) with rows `w_stride` apart, out (B, N). */
EXPORT void FN(multiply)(
    const number *a, const number *w, int64_t w_stride, number *out, int64_t B, int64_t K, int64_t N, int64_t adds)
{
    int64_t whole = N - N % LANES;
    for (int64_t b = 0; b < B; b += ROWS) {
        int64_t rows = B - b < ROWS ? B - b : ROWS;
        for (int64_t n = 0; n < whole; n += LANES)
            if (rows == ROWS) /* a constant number of rows keeps the sums in registers */
                multiply_lanes(a + b * K, w + n, w_stride, K, N, ROWS, out + b * N + n, adds != 0);
            else
                multiply_lanes(a + b * K, w + n, w_stride, K, N, rows, out + b * N + n, adds != 0);
        for (int64_t i = b; i < b + rows; i++)
            for (int64_t n = whole; n < N; n++) {
                number sum = adds ? out[i * N + n] : 0;
                for (int64_t k = 0; k < K; k++)
                    sum += a[i * K + k] * w[k * w_stride + n];
                out[i * N + n] = sum;
            }
    }
}

/* Write the transpose of x (R, C) to `out`, rows `out_stride` apart, in square blocks whose lines stay in the cache. */
EXPORT void FN(transpose)(const number *x, int64_t R, int64_t C, number *out, int64_t out_stride)
{
    const int64_t side = 16;
    for (int64_t i = 0; i < R; i += side)
        for (int64_t j = 0; j < C; j += side)
            for (int64_t n = j; n < C && n < j + side; n++)
                for (int64_t k = i; k < R && k < i + side; k++)
                    out[n * out_stride + k] = x[k * C + n];
}

#endif
