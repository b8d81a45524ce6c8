/* A CPU with AMX made of any: linked into a test, with --wrap=cpu_features. Its tiles' instructions raise SIGILL where the CPU does not know them
 * and are done here, by their description; anything else that is unknown ends the program as ever. Of AVX-512 the test is told, too, and may
 * not get there. Tiles belong to one thread. */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "tests/tools/vex.h"

unsigned __wrap_cpu_features(void);

enum { TILES = 8, MOST_ROWS = 16, ROW_BYTES = 64, CONFIG_BYTES = 64 };

static struct {
    bool set_up;
    struct {
        unsigned rows, row_bytes;
        uint8_t row[MOST_ROWS][ROW_BYTES];
    } tile[TILES];
} amx;

/* What the CPU would refuse ends the program. */
static void demand(bool what)
{
    if (!what)
        abort();
}

static void load_config(const uint8_t *config)
{
    memset(&amx, 0, sizeof amx);
    demand(config[0] == 1 && config[1] == 0);
    for (unsigned i = 2; i < CONFIG_BYTES; i++)
        demand((i >= 16 && i < 32) || (i >= 48 && i < 56) || config[i] == 0);
    for (unsigned i = 0; i < TILES; i++) {
        const unsigned rows = config[48 + i], row_bytes = config[16 + 2 * i] | (unsigned)config[17 + 2 * i] << 8;
        demand(rows <= MOST_ROWS && row_bytes <= ROW_BYTES && !rows == !row_bytes);
        amx.tile[i].rows = rows;
        amx.tile[i].row_bytes = row_bytes;
    }
    amx.set_up = true;
}

static void move(const struct vex *v, bool store)
{
    demand(amx.set_up && v->reg < TILES && amx.tile[v->reg].rows);
    for (unsigned r = 0; r < MOST_ROWS; r++) {
        uint8_t *row = amx.tile[v->reg].row[r], *memory = (uint8_t *)(uintptr_t)(v->base + (uint64_t)v->index * r);
        const size_t n = r < amx.tile[v->reg].rows ? amx.tile[v->reg].row_bytes : 0;
        if (store) {
            memcpy(memory, row, n);
            continue;
        }
        memset(row, 0, ROW_BYTES);
        memcpy(row, memory, n);
    }
}

/* TDPBUSD: bytes without sign of the second, with one of the third */
static void multiply(unsigned sums, unsigned u, unsigned s)
{
    demand(amx.set_up && sums != u && sums != s && u != s && sums < TILES && u < TILES && s < TILES);
    demand(amx.tile[u].row_bytes % 4 == 0 && amx.tile[sums].row_bytes % 4 == 0 && amx.tile[sums].rows == amx.tile[u].rows &&
           amx.tile[sums].row_bytes == amx.tile[s].row_bytes && amx.tile[u].row_bytes / 4 == amx.tile[s].rows && amx.tile[s].rows);
    for (unsigned m = 0; m < amx.tile[sums].rows; m++) {
        for (unsigned n = 0; n < amx.tile[sums].row_bytes; n += 4) {
            uint32_t sum;
            memcpy(&sum, amx.tile[sums].row[m] + n, sizeof sum);
            for (unsigned k = 0; k < amx.tile[u].row_bytes; k++)
                sum += (uint32_t)(amx.tile[u].row[m][k] * (int8_t)amx.tile[s].row[k / 4][n + k % 4]);
            memcpy(amx.tile[sums].row[m] + n, &sum, sizeof sum);
        }
    }
}

/* Bytes of the instruction at p, which has been done; 0: it is another. */
static size_t run(const uint8_t *p, const greg_t *regs)
{
    struct vex v;
    if (!vex_take_apart(p, regs, &v) || v.map != 2 || v.wide)
        return 0;
    if (v.opcode == 0x49 && v.prefix == VEX_NONE && v.in_memory)
        load_config((const uint8_t *)(uintptr_t)(v.base + (uint64_t)v.index));
    else if (v.opcode == 0x49 && v.prefix == VEX_NONE)
        memset(&amx, 0, sizeof amx);
    else if (v.opcode == 0x49 && v.prefix == VEX_F2 && !v.in_memory)
        memset(amx.tile[v.reg % TILES].row, 0, sizeof amx.tile[0].row);
    else if (v.opcode == 0x4B && v.prefix == VEX_F2)
        move(&v, false);
    else if (v.opcode == 0x4B && v.prefix == VEX_F3)
        move(&v, true);
    else if (v.opcode == 0x5E && v.prefix == VEX_66 && !v.in_memory)
        multiply(v.reg, v.rm, v.second);
    else
        return 0;
    return v.len_bytes;
}

static void on_illegal(int number, siginfo_t *info, void *context)
{
    (void)info;
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    size_t n = run((const uint8_t *)regs[REG_RIP], regs);
    if (!n)
        signal(number, SIG_DFL);
    for (; n; n = run((const uint8_t *)regs[REG_RIP], regs)) /* several follow each other */
        regs[REG_RIP] += (greg_t)n;
}

unsigned __wrap_cpu_features(void)
{
    /* Each time anew: cmocka has a handler of its own, which it puts in front of each test. */
    sigaction(SIGILL, &(struct sigaction){.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO}, NULL);
    return CPU_AVX2 | CPU_AVX512 | CPU_AVX512_VNNI | CPU_AMX_INT8;
}
