/* Products of factors rounded to bfloat16, summed in float32, in tiles: Intel's AMX, or the same sums in C.
 *
 *     out_mn (+)= Σ_k round(a_mk) round(w_kn)                     (1)
 *
 * A tile holds 16 rows of 64 bytes: 16 × 32 factors of bfloat16, or 16 × 16 sums. The right factor is laid out once,
 * in panels of 32 columns: for each stretch of 32 k two tiles side by side, each with pairs of k interleaved:
 *
 *     panels[n / 32][k / 32][n % 32 / 16][k % 32 / 2][n % 16][k % 2] = w_kn, padded with zeros      (2)
 *
 * A block of (1) has 2 × 2 tiles of sums: each tile that is loaded takes part in two products. Sums over even and odd k
 * are kept apart within a tile, then added: so does the processor.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18; TDPBF16PS in volume 2.
 */
#ifndef TILES_H
#define TILES_H

#ifndef DOUBLE

enum {
    TILE = 16,               /* rows, and sums in a row */
    DEPTH = 32,              /* factors in a row */
    BLOCK = 2 * TILE,        /* rows and columns of a block of sums */
    TILE_SIZE = TILE * DEPTH, /* factors in a tile */
    IN_AMX = 2               /* a value of Window.tiles */
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

/* Write (2): w (K, N) with any strides. */
EXPORT void FN(lay_out_tiles)(
    const number *w, int64_t K, int64_t N, int64_t k_stride, int64_t n_stride, uint16_t *panels)
{
    int64_t depth = in_blocks(K, DEPTH);
    memset(panels, 0, (size_t)(in_blocks(N, BLOCK) * depth * 2 * TILE_SIZE) * sizeof(uint16_t));
    for (int64_t n = 0; n < N; n++)
        for (int64_t k = 0; k < K; k++) {
            int64_t tile = (n / BLOCK * depth + k / DEPTH) * 2 + n % BLOCK / TILE;
            panels[tile * TILE_SIZE + k % DEPTH / 2 * DEPTH + n % TILE * 2 + k % 2] =
                rounded(w[k * k_stride + n * n_stride]);
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

/* What TDPBF16PS does: add to `sums` (16, 16) the product of two tiles; rows of `left` are `stride` factors apart. */
static void add_tile(const uint16_t *left, int64_t stride, const uint16_t *right, float *sums, int64_t sums_stride)
{
    for (int m = 0; m < TILE; m++) {
        float even[TILE] = {0}, odd[TILE] = {0};
        for (int k = 0; k < DEPTH / 2; k++) {
            float a_even = widened(left[m * stride + 2 * k]), a_odd = widened(left[m * stride + 2 * k + 1]);
            const uint16_t *row = right + k * DEPTH;
            for (int n = 0; n < TILE; n++) {
                even[n] += a_even * widened(row[2 * n]);
                odd[n] += a_odd * widened(row[2 * n + 1]);
            }
        }
        for (int n = 0; n < TILE; n++)
            sums[m * sums_stride + n] += even[n] + odd[n];
    }
}

/* Add a block to `sums`, rows `sums_stride` apart: one or two tiles of rows by two of columns. */
static void add_block(
    const uint16_t *left, int64_t stride, const uint16_t *panel, int64_t depth, int both, float *sums,
    int64_t sums_stride)
{
    for (int64_t d = 0; d < depth; d++)
        for (int i = 0; i <= both; i++)
            for (int j = 0; j < 2; j++)
                add_tile(
                    left + i * TILE * stride + d * DEPTH, stride, panel + (2 * d + j) * TILE_SIZE,
                    sums + i * TILE * sums_stride + j * TILE, sums_stride);
}

#ifdef HAS_AMX

#define IN_TILES __attribute__((target("amx-tile,amx-bf16")))

/* The layout of the registers of this thread: eight tiles of 16 rows of 64 bytes. */
IN_TILES static void begin_tiles(void)
{
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes_in_row[16];
        uint8_t rows[16];
    } layout = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        layout.bytes_in_row[i] = 64;
        layout.rows[i] = TILE;
    }
    _tile_loadconfig(&layout);
}

/* Give the registers back, before another library's kernel sets a layout of its own. */
IN_TILES static void end_tiles(void) { _tile_release(); }

/* `add_block` in AMX: sums in tiles 0 to 3, the left factor in 4 and 5, the right in 6 and 7. */
IN_TILES static void add_block_amx(
    const uint16_t *left, int64_t stride, const uint16_t *panel, int64_t depth, int both, float *sums,
    int64_t sums_stride)
{
    float *below = sums + TILE * sums_stride;
    int64_t line = stride * (int64_t)sizeof(uint16_t), sums_line = sums_stride * (int64_t)sizeof(float);
    _tile_loadd(0, sums, sums_line);
    _tile_loadd(1, sums + TILE, sums_line);
    if (both) {
        _tile_loadd(2, below, sums_line);
        _tile_loadd(3, below + TILE, sums_line);
    }
    for (int64_t d = 0; d < depth; d++, left += DEPTH, panel += 2 * TILE_SIZE) {
        _tile_loadd(4, left, line);
        _tile_loadd(6, panel, 64);
        _tile_loadd(7, panel + TILE_SIZE, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (both) {
            _tile_loadd(5, left + TILE * stride, line);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums, sums_line);
    _tile_stored(1, sums + TILE, sums_line);
    if (both) {
        _tile_stored(2, below, sums_line);
        _tile_stored(3, below + TILE, sums_line);
    }
}

#else

static void begin_tiles(void) {}

static void end_tiles(void) {}

static void add_block_amx(
    const uint16_t *left, int64_t stride, const uint16_t *panel, int64_t depth, int both, float *sums,
    int64_t sums_stride)
{
    add_block(left, stride, panel, depth, both, sums, sums_stride);
}

#endif

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

/* Write (1) to `out` (M, N) with rows `out_stride` apart, or add it if `adds`.
 *
 * a (M, K); `left` is scratch space, M and K padded to whole tiles. Blocks at the edges are computed in memory of their own.
 */
EXPORT void FN(multiply_in_tiles)(
    const number *a, const uint16_t *panels, uint16_t *left, number *out, int64_t M, int64_t K, int64_t N,
    int64_t out_stride, int64_t adds, int64_t amx)
{
    int64_t depth = in_blocks(K, DEPTH), stride = depth * DEPTH;
    float edge[BLOCK * BLOCK];
    round_left(a, M, K, left);
    if (amx)
        begin_tiles();
    for (int64_t n = 0; n < N; n += BLOCK)
        for (int64_t m = 0; m < M; m += BLOCK) {
            int64_t rows = M - m < BLOCK ? M - m : BLOCK, columns = N - n < BLOCK ? N - n : BLOCK;
            int whole = columns == BLOCK && rows % TILE == 0;
            number *place = out + m * out_stride + n, *sums = whole ? place : edge;
            int64_t sums_stride = whole ? out_stride : BLOCK;
            if (!whole)
                memset(edge, 0, sizeof edge);
            else if (!adds)
                clear_rows(place, rows, out_stride);
            (amx ? add_block_amx : add_block)(
                left + m * stride, stride, panels + n / BLOCK * depth * 2 * TILE_SIZE, depth, rows > TILE, sums,
                sums_stride);
            if (!whole)
                copy_edge(edge, place, rows, columns, out_stride, adds != 0);
        }
    if (amx)
        end_tiles();
}

#endif

#endif
