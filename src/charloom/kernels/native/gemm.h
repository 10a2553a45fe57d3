/* Products of a packed matrix with rows of numbers; each thread adds its own panels.
 *
 *     out[r, 16 p + j] += Σ_k w[p, k, j] x[r, k]                       (1)  float: in the order of k
 *     q = round(x / s),  s = max |x| / 127                             (2)  int8: each row of inputs
 *     out[r, 16 p + j] += s_w[16 p + j] s_x[r] Σ_k w[p, k, j] q[r, k]  (3)  the sum is exact, in int32
 *
 * A matrix (M, N) is packed in panels of 16 rows: the 16 weights of a column are adjacent, column after column; int8
 * in groups of four columns, (N/4, 16, 4). A tile reads each panel once, from first byte to last, at the speed of the
 * cache that holds it, and each element of `out` has its own sum. Nothing is added across lanes, so every bit of a sum
 * is independent of the number of rows in the tile and of the threads that compute other panels.
 */
#ifndef GEMM_H
#define GEMM_H

/* A tile: `rows` rows of x, stride apart, times `panels` panels; both are constants where it is called. */
static inline __attribute__((always_inline)) void tile(
    const int rows, const int panels, const number *w, int64_t columns, const number *x, int64_t x_stride, number *out,
    int64_t out_stride)
{
    numbers_v sums[rows][panels];
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < panels; p++)
            sums[r][p] = *(const numbers_v *)(out + r * out_stride + p * LANES);
    for (int64_t k = 0; k < columns; k++) {
        numbers_v w_k[panels];
        for (int p = 0; p < panels; p++)
            w_k[p] = *(const numbers_v *)(w + (p * columns + k) * LANES);
        for (int r = 0; r < rows; r++)
            for (int p = 0; p < panels; p++)
                sums[r][p] += w_k[p] * x[r * x_stride + k]; /* (1) */
    }
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < panels; p++)
            *(numbers_v *)(out + r * out_stride + p * LANES) = sums[r][p];
}

/* The panels of a tile for one row: their sums must fit the registers. */
#ifdef __wasm__
enum { ROW_PANELS = 3 };
#else
enum { ROW_PANELS = 4 };
#endif

static void add_floats_to_row(
    const Network *net, const Matrix *m, int64_t low, int64_t high, const number *x, number *out)
{
    int64_t N = m->columns, panel = low;
    const number *w = net->numbers + m->at;
    for (; panel + ROW_PANELS <= high; panel += ROW_PANELS)
        tile(1, ROW_PANELS, w + panel * N * LANES, N, x, 0, out + panel * LANES, 0);
    for (; panel < high; panel++)
        tile(1, 1, w + panel * N * LANES, N, x, 0, out + panel * LANES, 0);
}

/* The tile for many rows: twelve sums hide the latency of a multiply-add and fit the registers. */
enum { WIDE_ROWS = 6 };
#ifdef __AVX512F__
enum { WIDE_PANELS = 2 };
#else
enum { WIDE_PANELS = 1 };
#endif

/* Add products with many rows: each panel stays in the first-level cache during the loop over rows. */
static void add_floats(
    const Network *net, const Matrix *m, int64_t low, int64_t high, const number *x, int64_t x_stride, int64_t rows,
    number *out)
{
    int64_t N = m->columns, stride = net->max_output_size;
    for (int64_t panel = low; panel < high;) {
        int64_t panels = panel + WIDE_PANELS <= high ? WIDE_PANELS : 1, r = 0;
        const number *w = net->numbers + m->at + panel * N * LANES;
        number *o = out + panel * LANES;
        if (panels == WIDE_PANELS)
            for (; r + WIDE_ROWS <= rows && rows - r != 8; r += WIDE_ROWS) /* eight rows are two tiles of four */
                tile(WIDE_ROWS, WIDE_PANELS, w, N, x + r * x_stride, x_stride, o + r * stride, stride);
        for (int64_t p = 0; p < panels; p++) {
            const number *w_p = w + p * N * LANES, *x_r = x + r * x_stride;
            number *o_r = o + r * stride + p * LANES;
            int64_t left = rows - r;
            for (; left >= 4; left -= 4, x_r += 4 * x_stride, o_r += 4 * stride)
                tile(4, 1, w_p, N, x_r, x_stride, o_r, stride);
            if (left == 3)
                tile(3, 1, w_p, N, x_r, x_stride, o_r, stride);
            else if (left == 2)
                tile(2, 1, w_p, N, x_r, x_stride, o_r, stride);
            else if (left == 1)
                tile(1, 1, w_p, N, x_r, x_stride, o_r, stride);
        }
        panel += panels;
    }
}

/* Most rows of inputs that share each load of int8 weights, as many as their sums fit the registers; and the bits that
 * flip in each input: vpdpbusd multiplies an unsigned by a signed byte, so there x + 128 is kept instead of x. */
#if defined(__AVX512VNNI__) && defined(__AVX512F__)
enum { SMALL_ROWS = 8, FLIPPED = 0x80 };
#elif defined(__AVX2__)
enum { SMALL_ROWS = 3, FLIPPED = 0 };
#elif defined(__ARM_FEATURE_DOTPROD)
enum { SMALL_ROWS = 4, FLIPPED = 0 };
#else
enum { SMALL_ROWS = 1, FLIPPED = 0 };
#endif

/* Write (2) of the first `used` numbers to `out`, then zeros up to `columns`, all with bits FLIPPED; return s. */
static number quantise_row(const number *x, int8_t *out, int64_t used, int64_t columns)
{
    number largest = 0;
    numbers_v most = {0};
    int64_t whole = used - used % LANES;
    for (int64_t k = 0; k < whole; k += LANES) /* the largest of each lane; a maximum has no order */
        for (int j = 0; j < LANES; j++) {
            number size = fabs_n(x[k + j]);
            most[j] = size > most[j] ? size : most[j];
        }
    for (int j = 0; j < LANES; j++)
        largest = most[j] > largest ? most[j] : largest;
    for (int64_t k = whole; k < used; k++) {
        number size = fabs_n(x[k]);
        largest = size > largest ? size : largest;
    }
    memset(out, FLIPPED, (size_t)columns);
    if (!(largest > 0))
        return 0;
    number inverse = 127 / largest;
    for (int64_t k = 0; k < used; k++)
        out[k] = (int8_t)((int)rint_n(x[k] * inverse) ^ FLIPPED);
    return largest / 127;
}

/* Write Σ_k w q of a panel's 16 rows, exactly, for each of `rows` rows of x; `rows` is a constant where it is called. */
static inline __attribute__((always_inline)) void whole_sums(
    const int rows, const int8_t *w, int64_t groups, const int8_t *x, int64_t x_stride, const int32_t *sums,
    ints_v *whole)
{
#if defined(__AVX512VNNI__) && defined(__AVX512F__)
    /* x + 128 is multiplied, and 128 Σ_k w subtracted */
    __m512i running[rows];
    for (int r = 0; r < rows; r++)
        running[r] = _mm512_setzero_si512();
    for (int64_t g = 0; g < groups; g++) {
        __m512i w_k = _mm512_loadu_si512(w + g * 4 * LANES);
        for (int r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, x + r * x_stride + 4 * g, 4);
            running[r] = _mm512_dpbusd_epi32(running[r], _mm512_set1_epi32(four), w_k);
        }
    }
    for (int r = 0; r < rows; r++)
        whole[r] = (ints_v)running[r] - 128 * *(const ints_v *)sums;
#elif defined(__AVX2__)
    /* vpmaddwd adds the products of neighbouring 16-bit numbers in pairs */
    (void)sums;
    __m256i running[rows][4];
    for (int r = 0; r < rows; r++)
        for (int q = 0; q < 4; q++)
            running[r][q] = _mm256_setzero_si256();
    for (int64_t g = 0; g < groups; g++) {
        __m256i x_k[rows];
        for (int r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, x + r * x_stride + 4 * g, 4);
            x_k[r] = _mm256_set1_epi64x(_mm_cvtsi128_si64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(four))));
        }
        for (int q = 0; q < 4; q++) {
            __m256i w_k = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(w + g * 4 * LANES + 16 * q)));
            for (int r = 0; r < rows; r++)
                running[r][q] = _mm256_add_epi32(running[r][q], _mm256_madd_epi16(w_k, x_k[r]));
        }
    }
    for (int r = 0; r < rows; r++) {
        int32_t pairs[2 * LANES];
        for (int q = 0; q < 4; q++)
            _mm256_storeu_si256((__m256i *)(pairs + 8 * q), running[r][q]);
        for (int j = 0; j < LANES; j++)
            whole[r][j] = pairs[2 * j] + pairs[2 * j + 1];
    }
#elif defined(__ARM_FEATURE_DOTPROD)
    (void)sums;
    int32x4_t running[rows][4];
    for (int r = 0; r < rows; r++)
        for (int q = 0; q < 4; q++)
            running[r][q] = vdupq_n_s32(0);
    for (int64_t g = 0; g < groups; g++)
        for (int q = 0; q < 4; q++) {
            int8x16_t w_k = vld1q_s8(w + g * 4 * LANES + 16 * q);
            for (int r = 0; r < rows; r++) {
                int32_t four;
                memcpy(&four, x + r * x_stride + 4 * g, 4);
                running[r][q] = vdotq_s32(running[r][q], w_k, vreinterpretq_s8_s32(vdupq_n_s32(four)));
            }
        }
    for (int r = 0; r < rows; r++)
        for (int q = 0; q < 4; q++)
            vst1q_s32((int32_t *)(whole + r) + 4 * q, running[r][q]);
#elif defined(__wasm_simd128__)
    /* as with AVX2: a dot product adds the products of neighbouring 16-bit numbers in pairs */
    (void)sums;
    for (int r = 0; r < rows; r++) {
        v128_t running[8];
        for (int q = 0; q < 8; q++)
            running[q] = wasm_i32x4_splat(0);
        for (int64_t g = 0; g < groups; g++) {
            v128_t x_k = wasm_i16x8_extend_low_i8x16(wasm_v128_load32_splat(x + r * x_stride + 4 * g));
            for (int q = 0; q < 8; q++) {
                v128_t w_k = wasm_i16x8_load8x8(w + g * 4 * LANES + 8 * q);
                running[q] = wasm_i32x4_add(running[q], wasm_i32x4_dot_i16x8(w_k, x_k));
            }
        }
        int32_t pairs[2 * LANES];
        for (int q = 0; q < 8; q++)
            wasm_v128_store(pairs + 4 * q, running[q]);
        for (int j = 0; j < LANES; j++)
            whole[r][j] = pairs[2 * j] + pairs[2 * j + 1];
    }
#else
    (void)sums;
    for (int r = 0; r < rows; r++) {
        whole[r] = (ints_v){0};
        for (int64_t g = 0; g < groups; g++)
            for (int q = 0; q < 4; q++) {
                ints_v w_k;
                for (int j = 0; j < LANES; j++)
                    w_k[j] = w[(g * LANES + j) * 4 + q];
                whole[r] += w_k * x[r * x_stride + 4 * g + q];
            }
    }
#endif
}

/* A tile of int8 products: `rows` rows of inputs, from row r on, times one panel. */
static inline __attribute__((always_inline)) void small_tile(
    const int rows, const Network *net, const Workspace *work, const Matrix *m, int64_t panel, int64_t r, number *out)
{
    const int8_t *w = net->small + m->at + panel * m->columns * LANES;
    const numbers_v *scales = (const numbers_v *)(net->numbers + m->scales + panel * LANES);
    int64_t x_stride = net->max_int8_size;
    ints_v whole[rows];
    whole_sums(
        rows, w, m->columns / 4, work->small + r * x_stride, x_stride, net->sums + m->sums + panel * LANES, whole);
    for (int i = 0; i < rows; i++) {
        numbers_v scale = *scales * work->scales[r + i];
        number *o = out + (r + i) * net->max_output_size + panel * LANES;
        *(numbers_v *)o += __builtin_convertvector(whole[i], numbers_v) * scale; /* (3) */
    }
}

static void add_small(
    const Network *net, const Workspace *work, const Matrix *m, int64_t low, int64_t high, int64_t rows, number *out)
{
    for (int64_t panel = low; panel < high; panel++) {
        int64_t r = 0;
        for (; r + SMALL_ROWS <= rows; r += SMALL_ROWS)
            small_tile(SMALL_ROWS, net, work, m, panel, r, out);
        for (; r < rows; r++)
            small_tile(1, net, work, m, panel, r, out);
    }
}

/* Add W x_r to row r of `out`, for this thread's panels; rows of x are `x_stride` apart. */
EXPORT void FN(add_product)(
    const Network *net, const Workspace *work, const ThreadContext *context, const Matrix *m, const number *x,
    int64_t x_stride, int64_t rows, number *out)
{
    int64_t low = m->panels * context->part / context->parts, high = m->panels * (context->part + 1) / context->parts;
    if (m->scales < 0) {
        if (rows == 1)
            add_floats_to_row(net, m, low, high, x, out);
        else
            add_floats(net, m, low, high, x, x_stride, rows, out);
        return;
    }
    for (int64_t r = 0; r < rows; r++)
        work->scales[r] =
            quantise_row(x + r * x_stride, work->small + r * net->max_int8_size, m->used, m->columns);
    add_small(net, work, m, low, high, rows, out);
}

#endif
