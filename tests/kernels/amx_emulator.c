/* AMX on a processor that lacks it: a handler of SIGILL that computes what the refused instruction would have.
 *
 * It knows the six instructions that tiles.h compiles to, and stops the process at anything that the manual forbids: a
 * tile that no layout configured, another palette, too many rows or bytes. Single precision as in the processor, but
 * denormal numbers are kept.
 *
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2: LDTILECFG, TILELOADD, TILESTORED,
 * TILERELEASE, TDPBF16PS, and the VEX prefix.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

static struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_in_row[16];
    uint8_t rows[16];
} layout;

static uint8_t tiles[8][16][64];
static int64_t executed;

__attribute__((visibility("default"))) int64_t emulated_instructions(void) { return executed; }

static void refuse(const char *why)
{
    fprintf(stderr, "AMX emulator: %s\n", why);
    abort();
}

static void check_tile(int tile)
{
    if (layout.palette != 1)
        refuse("no layout of tiles");
    if (tile > 7 || layout.rows[tile] == 0 || layout.rows[tile] > 16 || layout.bytes_in_row[tile] > 64)
        refuse("a tile outside the layout");
}

static int64_t register_of(const ucontext_t *context, int number)
{
    static const int places[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                   REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return context->uc_mcontext.gregs[places[number]];
}

/* A memory operand: its address without the index, the index (the stride of a tile), and where the instruction ends. */
typedef struct {
    int64_t address, index;
    const uint8_t *end;
} Operand;

static Operand operand(const ucontext_t *context, const uint8_t *modrm, int x, int b)
{
    int mode = *modrm >> 6, base = *modrm & 7;
    Operand found = {0, 0, modrm + 1};
    int32_t displacement = 0;
    if (base == 4) {
        uint8_t sib = *found.end++;
        int index = (sib >> 3 & 7) | x << 3;
        base = sib & 7;
        found.index = index == 4 ? 0 : register_of(context, index) << (sib >> 6);
    } else if (base == 5 && mode == 0)
        refuse("an address relative to the instruction");
    int without_base = base == 5 && mode == 0;
    if (mode == 1)
        displacement = (int8_t)*found.end++;
    else if (mode == 2 || without_base) {
        memcpy(&displacement, found.end, 4);
        found.end += 4;
    }
    found.address = (without_base ? 0 : register_of(context, base | b << 3)) + displacement;
    return found;
}

static float widen(const uint8_t *half)
{
    uint8_t bytes[4] = {0, 0, half[0], half[1]};
    float x;
    memcpy(&x, bytes, 4);
    return x;
}

static void multiply_tiles(int out, int left, int right)
{
    check_tile(out), check_tile(left), check_tile(right);
    if (layout.bytes_in_row[left] / 4 != layout.rows[right] || layout.rows[out] != layout.rows[left])
        refuse("tiles whose sizes do not fit");
    for (int m = 0; m < layout.rows[out]; m++)
        for (int n = 0; n < layout.bytes_in_row[out] / 4; n++) {
            float even = 0, odd = 0, sum;
            for (int k = 0; k < layout.rows[right]; k++) {
                even += widen(tiles[left][m] + 4 * k) * widen(tiles[right][k] + 4 * n);
                odd += widen(tiles[left][m] + 4 * k + 2) * widen(tiles[right][k] + 4 * n + 2);
            }
            memcpy(&sum, tiles[out][m] + 4 * n, 4);
            sum += even + odd;
            memcpy(tiles[out][m] + 4 * n, &sum, 4);
        }
}

static void move_tile(int tile, Operand memory, int stores)
{
    check_tile(tile);
    for (int m = 0; m < layout.rows[tile]; m++) {
        uint8_t *row = (uint8_t *)(memory.address + m * memory.index);
        if (stores)
            memcpy(row, tiles[tile][m], layout.bytes_in_row[tile]);
        else
            memcpy(tiles[tile][m], row, layout.bytes_in_row[tile]);
    }
}

static void on_illegal(int signal, siginfo_t *info, void *given)
{
    (void)signal, (void)info;
    ucontext_t *context = given;
    const uint8_t *code = (const uint8_t *)context->uc_mcontext.gregs[REG_RIP], *modrm = code + 4;
    if (code[0] != 0xC4 || (code[1] & 31) != 2)
        refuse("an instruction that is not AMX");
    int x = !(code[1] & 0x40), b = !(code[1] & 0x20), prefix = code[2] & 3, third = ~code[2] >> 3 & 15;
    int in_memory = *modrm >> 6 != 3, tile = *modrm >> 3 & 7;
    const uint8_t *end = modrm + 1;
    if (code[3] == 0x49 && prefix == 0 && in_memory) {
        Operand memory = operand(context, modrm, x, b);
        memcpy(&layout, (const void *)memory.address, sizeof layout);
        memset(tiles, 0, sizeof tiles);
        end = memory.end;
    } else if (code[3] == 0x49 && prefix == 0)
        memset(&layout, 0, sizeof layout);
    else if (code[3] == 0x4B && in_memory && (prefix == 3 || prefix == 2)) {
        Operand memory = operand(context, modrm, x, b);
        move_tile(tile, memory, prefix == 2);
        end = memory.end;
    } else if (code[3] == 0x5C && prefix == 2 && !in_memory)
        multiply_tiles(tile, *modrm & 7, third);
    else
        refuse("an AMX instruction that it does not know");
    executed++;
    context->uc_mcontext.gregs[REG_RIP] = (int64_t)end;
}

__attribute__((visibility("default"))) void emulate_amx(void)
{
    struct sigaction action = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO};
    sigaction(SIGILL, &action, 0);
}
