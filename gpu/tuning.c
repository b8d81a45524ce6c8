#include "gpu/tuning.h"

#include <stdlib.h>
#include <string.h>

#include "gpu/vk.h"

#define ROUNDING_F32 0x1p-24
#define ROUNDING_HALF 0x1p-11
#define FRAGMENT_BYTES (256u << 20) /* of w's fragments, */
#define FRAGMENT_SHARE 64           /* and no more than this part of the memory */
#define ROWS_MOST 8 /* rows of x at which reading w is what counts */

static uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static uint32_t ceil_div(uint32_t a, uint32_t b)
{
    return (a + b - 1) / b;
}

const char *tuning_path_name(enum tuning_path path)
{
    static const char *const names[TUNING_PATHS] = {"f32", "rows", "dot", "coop"};
    return names[path];
}

static bool offered(const struct gpu *g, enum tuning_path path)
{
    return path == TUNING_COOP ? g->limits.coop.m > 0 : path == TUNING_DOT ? g->limits.dot : true;
}

const char *tuning_asked(void)
{
    const char *name = getenv("LATENTD_VULKAN_MATMUL");
    return name && *name ? name : NULL;
}

int tuning_force(struct gpu *g, const char *name, struct err_msg *em)
{
    if (!name)
        name = tuning_asked();
    g->forced_path = -1;
    if (!name || !*name)
        return 0;
    for (int i = 0; i < TUNING_PATHS; i++)
        if (strcmp(name, tuning_path_name((enum tuning_path)i)) == 0)
            g->forced_path = i;
    if (g->forced_path < 0)
        return err_set(em, LT_EINVAL, "LATENTD_VULKAN_MATMUL: no way is called \"%.40s\"", name);
    if (!offered(g, (enum tuning_path)g->forced_path))
        return err_set(em, LT_ENOTFOUND, "%s does not offer what products in the way \"%s\" take", g->info.name, name);
    return 0;
}

enum tuning_path tuning_path(const struct gpu *g, uint32_t n, unsigned as)
{
    if (g->forced_path == TUNING_ROWS)
        return n <= ROWS_MOST ? TUNING_ROWS : TUNING_F32;
    if (g->forced_path == TUNING_COOP)
        return as & TUNING_AS_HALF ? TUNING_COOP : TUNING_F32;
    if (g->forced_path == TUNING_DOT)
        return as & TUNING_AS_INT8 ? TUNING_DOT : TUNING_F32;
    if (g->forced_path >= 0)
        return TUNING_F32;
    /* a software device has no memory to wait for, and shares what it loads better in tiles; its matrices are made of the same products */
    if (g->info.software)
        return n == 1 ? TUNING_ROWS : TUNING_F32;
    /* where matrices are filled by hand, for any number of rows: they are as fast, and a text alone is rounded as it is among others */
    if (g->limits.coop.m && as & TUNING_AS_HALF && (n > ROWS_MOST / 2 || g->limits.coop.sharing))
        return TUNING_COOP;
    /* matrices are faster; and for any number of rows, since a text alone is to be rounded as it is among others */
    if (g->limits.dot_fast && !g->limits.coop.m && as & TUNING_AS_INT8)
        return TUNING_DOT;
    return n <= ROWS_MOST ? TUNING_ROWS : TUNING_F32;
}

double tuning_rounding(const struct gpu *g)
{
    for (uint32_t n = 1; n <= 2 * ROWS_MOST; n++)
        if (tuning_path(g, n, TUNING_AS_HALF) == TUNING_COOP)
            return ROUNDING_HALF;
    return ROUNDING_F32;
}

bool tuning_rounds_to_int8(const struct gpu *g)
{
    return tuning_path(g, 1, TUNING_AS_HALF | TUNING_AS_INT8) == TUNING_DOT;
}

static uint32_t tiles_shared(const struct tuning_tiles *t)
{
    return (t->bm + t->bn) * (t->bk4 + 1) * 16;
}

struct tuning_tiles tuning_tiles(const struct gpu *g, uint32_t n, uint32_t m, uint32_t k)
{
    const struct gpu_limits *l = gpu_limits(g);
    struct tuning_tiles t = {.group = 64, .tx = 8, .rm = 4, .rn = 4, .bk4 = 4};
    bool large = n >= 64 && m >= 256;
    if (n <= 8) {
        t.rn = 1;
    } else if (gpu_info(g)->software) {
        /* loads are the cost there, one lane at a time: more sums per load, measured on llvmpipe and SwiftShader */
        t.rm = 8;
    } else if (large && l->max_invocations >= 256) {
        t.group = 256;
        t.tx = 16;
        /* four multiply-adds per value read from shared memory, where registers are plenty */
        t.rm = t.rn = gpu_info(g)->kind == GPU_DISCRETE && n >= 256 && m >= 1024 ? g->table.f32_sums : 4;
    }
    while (t.group > l->max_invocations)
        t.group /= 2;
    t.tx = min_u32(t.tx, t.group);
    for (;;) {
        t.bm = t.tx * t.rm;
        t.bn = t.group / t.tx * t.rn;
        if (tiles_shared(&t) <= l->max_shared || (t.rm == 1 && t.rn == 1))
            return t;
        if (t.rn > 1)
            t.rn /= 2;
        else
            t.rm /= 2;
    }
}

struct tuning_rows tuning_rows(const struct gpu *g, uint32_t n)
{
    const struct gpu_limits *l = gpu_limits(g);
    struct tuning_rows t = {.group = 128, .lanes = 32};
    if (gpu_info(g)->software)
        t.group = t.lanes = 16;
    while (t.group > l->max_invocations)
        t.group /= 2;
    t.lanes = min_u32(t.lanes, t.group);
    for (t.nx = 1; t.nx < n && t.nx < ROWS_MOST;)
        t.nx *= 2;
    /* enough loads under way to hide memory's latency, and not so many registers that few groups fit */
    t.rm = t.nx <= 2 ? 4 : 2;
    while (t.rm > 1 && 4 * t.nx * t.rm * t.group > l->max_shared)
        t.rm /= 2;
    while (t.nx > 1 && 4 * t.nx * t.rm * t.group > l->max_shared)
        t.nx /= 2;
    t.bm = t.group / t.lanes * t.rm;
    return t;
}

/* Divides k so that enough groups have work; whole tiles each, bk8 deep: how many parts, and their depth. */
static uint32_t divide_k(const struct tuning_table *t, uint32_t groups, uint32_t n, uint32_t n_rows, uint32_t kp, uint32_t bk8, uint32_t *part8)
{
    const uint64_t bytes = 4 * (uint64_t)n * n_rows;
    const uint32_t tiles = (kp / 8 + bk8 - 1) / bk8;
    uint32_t parts = n > t->few_rows ? 1 : min_u32(t->groups_wanted / groups, kp / t->part_least);
    parts = min_u32(parts, (uint32_t)(((uint64_t)t->parts_mib << 20) / bytes));
    const uint32_t each = parts > 1 ? (tiles + parts - 1) / parts : tiles;
    *part8 = each * bk8;
    return (tiles + each - 1) / each;
}

uint32_t tuning_few_rows(const struct gpu *g)
{
    return g->table.few_rows;
}

uint64_t tuning_parts_bytes(const struct gpu *g, uint32_t n, uint32_t n_rows, uint32_t kp)
{
    const struct tuning_table *t = &g->table;
    const uint32_t rows = min_u32(n, t->few_rows), tile = g->limits.coop.sharing ? g->limits.coop.n : 1; /* tuning_few's parts are whole matrices */
    const uint64_t parts = kp / t->part_least, all = parts * 4 * ceil_div(rows, tile) * tile * n_rows, most = (uint64_t)t->parts_mib << 20;
    return parts < 2 ? 0 : all < most ? all : most;
}

static uint32_t dot_shared(const struct tuning_dot *t)
{
    return t->bm * ((2 * t->blocks + 1) * 16 + t->blocks * 8) + t->bn * ((4 * t->blocks + 1) * 16 + t->blocks * 8);
}

struct tuning_dot tuning_dot(const struct gpu *g, uint32_t n, uint32_t n_rows, uint32_t kp)
{
    const struct gpu_limits *l = &g->limits;
    struct tuning_dot t = {.group = 64, .tx = 8, .rm = 4, .rn = 4, .blocks = 1};
    if (n <= ROWS_MOST) { /* an invocation to each row of w, with all of x's: reading w is what counts */
        t.tx = t.group;
        t.rm = 1;
        t.blocks = 2;
        for (t.rn = 1; t.rn < n && t.rn < g->table.dot_rows;)
            t.rn *= 2;
    } else if (n >= 64 && n_rows >= 256 && l->max_invocations >= 256 && !g->info.software) {
        t.group = 256;
        t.tx = 16;
    }
    while (t.group > l->max_invocations)
        t.group /= 2;
    t.tx = min_u32(t.tx, t.group);
    for (;;) {
        t.bm = t.tx * t.rm;
        t.bn = t.group / t.tx * t.rn;
        if (dot_shared(&t) <= l->max_shared || (t.rm == 1 && t.rn == 1 && t.blocks == 1))
            break;
        if (t.blocks > 1)
            t.blocks /= 2;
        else if (t.rn > 1)
            t.rn /= 2;
        else
            t.rm /= 2;
    }
    t.parts = divide_k(&g->table, ceil_div(n_rows, t.bm) * ceil_div(n, t.bn), n, n_rows, kp, 4 * t.blocks, &t.part8);
    return t;
}

static uint32_t coop_shared(const struct tuning_coop *t)
{
    return (t->bm + t->bn) * (t->bk8 + 1) * 16 + t->subgroups * t->rm * t->tm * t->tn * 4;
}

/* Matrices of sums of a subgroup, so many of each invocation. */
static uint32_t coop_matrices(const struct gpu_coop *c, uint32_t sums)
{
    const uint32_t some = c->subgroup * sums / (c->m * c->n);
    return some ? some : 1;
}

/* Subgroups' matrices as near to a square as it gets: at most `most` of them, 64 rows and columns a subgroup. */
static void square(const struct gpu_coop *c, uint32_t most, uint32_t *rm, uint32_t *rn)
{
    *rm = *rn = 1;
    while (2 * *rm * *rn <= most && (*rm * c->n < 64 || *rn * c->m < 64)) {
        if (*rm * c->n <= *rn * c->m)
            *rm *= 2;
        else
            *rn *= 2;
    }
}

struct tuning_coop tuning_coop(const struct gpu *g, uint32_t n, uint32_t n_rows, uint32_t kp)
{
    const struct gpu_limits *l = &g->limits;
    const struct gpu_coop *c = &l->coop;
    struct tuning_coop t = {.subgroups = g->table.coop_subgroups, .sgm = 2, .tm = c->m, .tn = c->n, .tk = c->k, .bk8 = 4};
    while (t.subgroups > 1 && t.subgroups * c->subgroup > l->max_invocations)
        t.subgroups /= 2;
    if (n <= g->table.few_rows) { /* all of x's rows in one tile, the subgroups side by side over w, and deep */
        t.sgm = t.subgroups;
        t.bk8 = g->table.coop_few_depth;
        const uint32_t most = coop_matrices(c, g->table.coop_few_sums);
        for (t.rn = min_u32(g->table.coop_few_least, most); t.rn * c->m < n && 2 * t.rn <= most; t.rn *= 2)
            ;
        for (t.rm = 1; t.rm * c->n < 32 && 2 * t.rm * t.rn <= most; t.rm *= 2)
            ;
    } else { /* as near to a square as it gets */
        t.sgm = min_u32(t.sgm, t.subgroups);
        square(c, coop_matrices(c, g->table.coop_sums), &t.rm, &t.rn);
    }
    for (;;) {
        t.bm = t.sgm * t.rm * t.tn;
        t.bn = t.subgroups / t.sgm * t.rn * t.tm;
        if (coop_shared(&t) <= l->max_shared || (t.rm == 1 && t.rn == 1 && t.subgroups == 1))
            break;
        if (8 * t.bk8 > 32)
            t.bk8 /= 2;
        else if (t.rm == 1 && t.rn == 1)
            t.sgm = min_u32(t.sgm, t.subgroups /= 2);
        else if (t.rm >= t.rn)
            t.rm /= 2;
        else
            t.rn /= 2;
    }
    t.group = t.subgroups * c->subgroup;
    t.parts = divide_k(&g->table, ceil_div(n_rows, t.bm) * ceil_div(n, t.bn), n, n_rows, kp, t.bk8, &t.part8);
    return t;
}

uint64_t tuning_fragment_bytes(const struct gpu *g)
{
    const uint64_t all = g->allowed_bytes && g->allowed_bytes < g->info.memory_bytes ? g->allowed_bytes : g->info.memory_bytes;
    const uint64_t share = all / FRAGMENT_SHARE < FRAGMENT_BYTES ? all / FRAGMENT_SHARE : FRAGMENT_BYTES;
    return !g->limits.coop.fragments ? 0 : share < g->limits.max_range ? share : g->limits.max_range;
}

struct tuning_fragments tuning_fragments(const struct gpu *g, uint32_t n, uint32_t n_rows, uint32_t kp)
{
    const struct gpu_limits *l = &g->limits;
    const struct gpu_coop *c = &l->coop;
    const struct tuning_fragments none = {0};
    struct tuning_fragments t = {.subgroups = g->table.fragment_subgroups, .sgm = 2, .tm = c->m, .tn = c->n, .tk = c->k,
                                 .ahead = g->table.fragment_ahead, .panel = g->table.fragment_panel, .pack_bk8 = 16};
    if (!c->fragments || n <= g->table.few_rows)
        return none;
    while (t.subgroups > 1 && t.subgroups * c->subgroup > l->max_invocations)
        t.subgroups /= 2;
    t.sgm = min_u32(t.sgm, t.subgroups);
    square(c, coop_matrices(c, g->table.coop_sums), &t.rm, &t.rn);
    t.group = t.subgroups * c->subgroup;
    t.bm = t.sgm * t.rm * t.tn;
    t.bn = t.subgroups / t.sgm * t.rn * t.tm;
    while (t.pack_bk8 > c->k / 8 && t.subgroups * (c->m > c->n ? c->m : c->n) * (t.pack_bk8 + 1) * 16 > l->max_shared)
        t.pack_bk8 /= 2;
    const uint64_t row = 2 * (uint64_t)(kp + t.ahead * c->k), step = (uint64_t)t.bm * t.panel;
    const uint64_t rows = tuning_fragment_bytes(g) / row;
    if (rows < t.bm)
        return none;
    t.rows = (uint32_t)(rows < step ? rows / t.bm * t.bm : rows / step * step);
    t.rows = min_u32(t.rows, ceil_div(n_rows, t.bm) * t.bm);
    const uint64_t tiles = (uint64_t)(t.rows / t.bm) * ceil_div(n, t.bn), x_bytes = (uint64_t)ceil_div(n, t.bn) * t.bn * row;
    return tiles > l->max_groups[0] || x_bytes > l->max_range ? none : t;
}

/* Whether rows, and what is laid out of x at once, are whole turns. */
static bool whole_turns(const struct tuning_few *t, uint32_t kp)
{
    return kp % (8 * t->eights * t->sharing) == 0 && t->pack_bk8 % (t->eights * t->sharing) == 0;
}

struct tuning_few tuning_few(const struct gpu *g, uint32_t n, uint32_t n_rows, uint32_t kp)
{
    const struct gpu_limits *l = &g->limits;
    const struct gpu_coop *c = &l->coop;
    const struct tuning_few none = {0};
    struct tuning_few t = {.subgroups = g->table.few_subgroups, .rm = g->table.few_matrices, .tm = c->m, .tn = c->n, .tk = c->k,
                           .sharing = c->sharing, .placed = c->placed, .eights = g->table.few_eights, .sets = g->table.few_sets, .pack_bk8 = 16};
    /* an eight of those that share a row is whole steps */
    if (!c->sharing || 8 * c->sharing % c->k || n > g->table.few_rows)
        return none;
    while (t.eights > 2 && !whole_turns(&t, kp))
        t.eights /= 2;
    while (t.sets > 1 && (kp % (8 * t.eights * t.sharing * t.sets) || g->table.part_least % (8 * t.eights * t.sharing * t.sets)))
        t.sets /= 2;
    if (!whole_turns(&t, kp))
        return none;
    while (t.subgroups > 1 && t.subgroups * c->subgroup > l->max_invocations)
        t.subgroups /= 2;
    t.rn = ceil_div(n, c->n);
    if (t.rn > coop_matrices(c, g->table.coop_sums))
        return none;
    while (t.rm > 1 && t.rm * t.rn > coop_matrices(c, g->table.coop_sums))
        t.rm /= 2;
    if (t.subgroups * t.rn * c->m * c->n * 4 > l->max_shared || t.subgroups * c->n * (t.pack_bk8 + 1) * 16 > l->max_shared)
        return none;
    t.group = t.subgroups * c->subgroup;
    t.bm = t.subgroups * t.rm * t.tm;
    t.parts = divide_k(&g->table, ceil_div(n_rows, t.bm), t.rn * t.tn, n_rows, kp, g->table.part_least / 8, &t.part8);
    return t;
}

/* Bytes of the tile, of weights and of what a row's invocations tell each other. */
static uint32_t attention_f32_shared(const struct tuning_attention *t, uint32_t d4)
{
    const uint32_t keys = (t->bq + t->bk) * (t->c4 | 1), values = t->vk * d4;
    return 16 * ((keys > values ? keys : values) + t->bq * (t->bk / 4 | 1) + t->bq * t->tx / 4);
}

/* Vectors of the output that are made of d4, those beyond it included. */
static uint32_t attention_vectors(uint32_t d4, uint32_t tx)
{
    return ceil_div(d4, tx) * tx;
}

struct tuning_attention tuning_attention(const struct gpu *g, uint32_t head_dim, uint32_t sharing)
{
    const struct tuning_table *n = &g->table;
    const uint32_t d4 = ceil_div(head_dim, 4), allowed = min_u32(g->limits.max_invocations, g->limits.max_group_size[0]);
    struct tuning_attention t = {.group = n->attention_group, .tx = n->attention_across, .rq = n->attention_rows, .rk = n->attention_row_keys,
                                 .share = 1};
    while (t.group > allowed)
        t.group /= 2;
    t.tx = min_u32(t.tx, t.group);
    /* a head that leaves invocations without work: as large a tile of fewer along keys */
    while (t.tx > 4 && t.rq > 1 && 4 * attention_vectors(d4, t.tx / 2) <= 3 * attention_vectors(d4, t.tx)) {
        t.tx /= 2;
        t.rq /= 2;
        t.rk *= 2;
    }
    while (t.rq > 1 && 4 * t.rq * ceil_div(d4, t.tx) > n->attention_values)
        t.rq /= 2;
    t.c4 = ceil_div(d4, ceil_div(d4, 8));
    t.run = g->info.software ? 1 : t.c4; /* a processor's compiler takes seconds for long code, which is no faster then */
    for (;;) {
        t.bq = t.group / t.tx * t.rq;
        t.bk = t.tx * t.rk;
        for (t.vk = t.bk; t.vk > 4 && t.vk * d4 > (t.bq + t.bk) * (t.c4 | 1); t.vk /= 2)
            ;
        if (attention_f32_shared(&t, d4) <= g->limits.max_shared || (t.rk == 1 && t.rq == 1 && t.group == t.tx && t.tx == 4))
            break;
        if (t.rk > 1 && t.bk >= t.bq)
            t.rk /= 2;
        else if (t.rq > 1)
            t.rq /= 2;
        else if (t.group > t.tx)
            t.group /= 2;
        else if (t.rk > 1)
            t.rk /= 2;
        else
            t.tx /= 2;
    }
    while (t.share < n->attention_share && t.share < t.bq && sharing % (2 * t.share) == 0)
        t.share *= 2;
    return t;
}

struct tuning_finish tuning_finish(const struct gpu *g, uint32_t kp)
{
    const uint32_t vectors = ceil_div(kp, 4), allowed = min_u32(g->limits.max_invocations, g->limits.max_group_size[0]);
    const uint32_t most = min_u32(g->table.finish_group, allowed);
    struct tuning_finish t = {.group = g->info.software ? 16 : 32};
    /* two vectors or more for each, so that several loads are under way and few invocations wait for each other */
    while (2 * t.group <= most && 4 * t.group <= vectors)
        t.group *= 2;
    while (t.group > most)
        t.group /= 2;
    t.vectors = ceil_div(vectors, t.group);
    return t;
}

static uint32_t max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* Half of a tile's columns at once where they make whole matrices and whole eights for each invocation, and the patch is a row's then. */
static uint32_t attention_pass(const struct gpu_coop *c, uint32_t bk)
{
    const uint32_t half = bk / 2, unit = c->subgroup > c->m ? 8 * (c->subgroup / c->m) : 8;
    return half && half % c->n == 0 && half % unit == 0 ? half : bk % c->n == 0 && bk % unit == 0 ? bk : 0;
}

static uint32_t attention_shared(const struct tuning_attention_coop *t)
{
    return 16 * (max_u32(2 * t->bk, t->bq) * (t->d8 + 1) + t->bq * (t->pass / 4 + 1)) + 4 * t->bq;
}

struct tuning_attention_coop tuning_attention_coop(const struct gpu *g, uint32_t head_dim)
{
    const struct gpu_limits *l = &g->limits;
    const struct gpu_coop *c = &l->coop;
    const struct tuning_attention_coop none = {0};
    const bool chosen = g->forced_path == TUNING_COOP || (g->forced_path < 0 && !g->info.software);
    if (!chosen || !c->m || !l->shuffles)
        return none;
    const uint32_t unit = max_u32(max_u32(c->n, c->k), 8);
    struct tuning_attention_coop t = {.subgroups = g->table.attention_subgroups, .split = true, .d8 = ceil_div(head_dim, unit) * unit / 8,
                                       .tm = c->m, .tn = c->n, .tk = c->k};
    if (8 * t.d8 > 2 * head_dim || t.tm * 8 * t.d8 > g->table.attention_sums * c->subgroup)
        return none;
    for (; t.subgroups; t.subgroups /= 2) {
        t.group = t.subgroups * c->subgroup;
        t.bq = t.subgroups * t.tm;
        for (t.bk = min_u32(g->table.attention_keys, t.bq); t.bk >= c->k; t.bk /= 2) {
            t.pass = attention_pass(c, t.bk);
            if (t.pass && attention_shared(&t) <= l->max_shared && t.group <= l->max_invocations)
                return t;
        }
    }
    return none;
}

uint32_t tuning_row_group(const struct gpu *g, uint32_t d)
{
    uint32_t group = g->table.row_group;
    while (group > gpu_limits(g)->max_invocations || (group > 8 && group >= 2 * d))
        group /= 2;
    return group;
}

uint32_t tuning_element_group(const struct gpu *g)
{
    return min_u32(64, gpu_limits(g)->max_invocations);
}
