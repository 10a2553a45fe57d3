/* Products of bfloat16 in tiles of Intel's AMX: equation (1) of tiles.h.
 *
 * A block of sums has 2 × 2 tiles: each tile that is loaded takes part in two products. Sums over even and odd k are kept
 * apart within a tile, then added: so does the processor.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18; TDPBF16PS in volume 2.
 */
#ifndef AMX_H
#define AMX_H

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
    const Left rows = {left, BLOCK * stride, TILE * stride, stride, 2, DEPTH};
    add_block_dots(0, 2, left, &rows, panel, depth, both ? BLOCK : TILE, sums, sums_stride);
}

#endif

/* Compute (1) in AMX, from rows `stride` factors apart. */
static void multiply_amx(
    const uint16_t *left, int64_t stride, const uint16_t *panels, float *out, int64_t M, int64_t N, int64_t out_stride,
    int64_t adds)
{
    int64_t depth = stride / DEPTH;
    float edge[BLOCK * BLOCK];
    begin_tiles();
    for (int64_t n = 0; n < N; n += BLOCK)
        for (int64_t m = 0; m < M; m += BLOCK) {
            int64_t rows = M - m < BLOCK ? M - m : BLOCK, columns = N - n < BLOCK ? N - n : BLOCK;
            int whole = columns == BLOCK && rows % TILE == 0;
            float *place = out + m * out_stride + n, *sums = whole ? place : edge;
            int64_t sums_stride = whole ? out_stride : BLOCK;
            if (!whole)
                memset(edge, 0, sizeof edge);
            else if (!adds)
                clear_rows(place, rows, out_stride);
            add_block_amx(
                left + m * stride, stride, panels + n / BLOCK * depth * 2 * TILE_SIZE, depth, rows > TILE, sums,
                sums_stride);
            if (!whole)
                copy_edge(edge, place, rows, columns, out_stride, adds != 0);
        }
    end_tiles();
}

#endif
