/* Ways and tiles for devices of every kind; no driver is needed. */
#include "tests/unit.h"

#include "gpu/tuning.h"
#include "gpu/vk.h"

enum { VARIANTS = 8 };

/* The table for g's kind of device, as it is, with the least of each number, with the most, or with any. */
static void fill_table(struct gpu *g, int variant)
{
    struct err_msg em = {0};
    assert_int_equal(tuning_table_fill(&g->table, g->vendor, g->info.software, "", &em), 0);
    struct tuning_table *t = &g->table;
    uint32_t any = 1 + (uint32_t)variant;
#define VARY(name, others, nvidia, amd, intel, software, least, most)                              \
    if (variant == 1 || variant == 2)                                                              \
        t->name = variant == 1 ? least : most;                                                     \
    else if (variant)                                                                              \
        for (t->name = least; t->name < most && (any = any * 1664525u + 1013904223u) >> 30;)       \
            t->name *= 2;
    TUNING_NUMBERS(VARY)
#undef VARY
}

static void numbers_can_be_changed(void **state)
{
    static const char *const wrong[] = {"few_row=1", "few_rows", "few_rows=", "few_rows=3", "few_rows=0", "few_rows=512", "few_rows=-4", "few_rows= 4",
                                        "few_rows=4x", "few_rows=4 ", "few_rows=4,,row_group=8", ",", "=", "few_rows=99999999999999999999",
                                        "few_rows=4294967304", "row_group=4"};
    struct err_msg em = {0};
    struct tuning_table t, plain;
    assert_int_equal(tuning_table_fill(&plain, 0x10DE, false, "", &em), 0);
    assert_int_equal(plain.coop_sums, 128);
    assert_int_equal(tuning_table_fill(&t, 0x10DE, true, "", &em), 0);
    assert_int_equal(t.coop_sums, 16);
    assert_int_equal(tuning_table_fill(&t, 0x8086, false, "", &em), 0);
    assert_int_equal(t.coop_columns, 16);
    assert_int_equal(tuning_table_fill(&t, 0x1002, false, "", &em), 0);
    assert_int_equal(t.coop_columns, 8);
    assert_int_equal(tuning_table_fill(&t, 0x10DE, false, "few_rows=8,row_group=64", &em), 0);
    assert_int_equal(t.few_rows, 8);
    assert_int_equal(t.row_group, 64);
    t.few_rows = plain.few_rows, t.row_group = plain.row_group;
    assert_memory_equal(&t, &plain, sizeof t);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        em.text[0] = 0;
        assert_int_equal(tuning_table_fill(&t, 0x1002, false, wrong[i], &em), LT_EINVAL);
        assert_non_null(strstr(em.text, "LATENTD_VULKAN_TUNING: "));
    }
    setenv("LATENTD_VULKAN_TUNING", "few_rows=2", 1);
    assert_int_equal(tuning_table_fill(&t, 0x1002, false, NULL, &em), 0);
    assert_int_equal(t.few_rows, 2);
    unsetenv("LATENTD_VULKAN_TUNING");
}

/* Products by fragments and of few rows: whole matrices that fit, whatever the device has, and one row rounded as it is among others. */
static void fragments_fit_every_kind_of_device(void **state)
{
    static const struct gpu_coop kinds[] = {{16, 16, 16, 32, true, 4}, {16, 16, 16, 64, true, 0}, {8, 8, 16, 8, true, 0}, {8, 8, 8, 8, true, 1},
                                            {16, 16, 16, 32, false, 0}};
    for (size_t j = 0; j < 2 * VARIANTS * sizeof kinds / sizeof *kinds; j++) {
        const size_t i = j / VARIANTS;
        struct gpu g = {.vendor = i % 2 ? 0x10DE : 0x1002, .forced_path = -1, .info.kind = GPU_DISCRETE,
                        .info.memory_bytes = 8ull << (i % 3 * 10 + 10),
                        .limits = {.max_shared = i % 4 < 2 ? 49152 : 32768, .max_invocations = 1024, .max_groups = {65535, 65535, 65535},
                                   .max_range = 128u << 20, .coop = kinds[i / 2]}};
        const struct gpu_coop *c = &g.limits.coop;
        assert_int_equal(tuning_path(&g, 1, TUNING_AS_HALF), c->sharing ? TUNING_COOP : TUNING_ROWS);
        fill_table(&g, (int)(j % VARIANTS));
        for (uint32_t n = 1; n < 9000; n += 1 + n / 3)
            for (uint32_t k = 32; k < 20000; k = k * 3 / 64 * 32 + 32) {
                const struct tuning_fragments t = tuning_fragments(&g, n, 4096, k);
                const struct tuning_few f = tuning_few(&g, n, 4096, k);
                assert_true(!t.bm || (c->fragments && n > g.table.few_rows && t.group == t.subgroups * c->subgroup && t.subgroups % t.sgm == 0));
                assert_true(!t.bm || (t.bm == t.sgm * t.rm * c->n && t.bn == t.subgroups / t.sgm * t.rn * c->m && t.rows % t.bm == 0 && t.rows));
                assert_true(!t.bm || 2ull * t.rows * (k + c->k) <= tuning_fragment_bytes(&g));
                assert_true(!f.rn || (c->sharing && f.rn * c->n >= n && f.bm == f.subgroups * f.rm * c->m));
                const uint32_t turns8 = f.eights * f.sharing * f.sets; /* that follow each other without a question, in eights */
                assert_true(!f.rn || (k / 8 % turns8 == 0 && f.part8 % turns8 == 0 && f.pack_bk8 % (f.eights * f.sharing) == 0));
                assert_true(!f.rn || (f.parts && (f.parts - 1) * f.part8 < k / 8 && f.parts * f.part8 >= k / 8));
                assert_true(!f.rn || f.subgroups * f.rn * c->m * c->n * 4 <= g.limits.max_shared);
                assert_true(!f.rn || !t.bm);
            }
    }
}

/* Sizes that drivers report: NVIDIA's, AMD's, Intel's and lavapipe's; no such device is needed to choose tiles for it. */
static void matrices_fit_every_kind_of_device(void **state)
{
    static const struct gpu_coop kinds[] = {{16, 16, 16, 32}, {16, 8, 16, 32}, {16, 16, 16, 64}, {8, 16, 16, 16}, {8, 8, 16, 8}, {8, 8, 8, 8}};
    for (size_t j = 0; j < 2 * VARIANTS * sizeof kinds / sizeof *kinds; j++) {
        const size_t i = j / VARIANTS;
        struct gpu g = {.vendor = i % 2 ? 0x10DE : 0x1002, .forced_path = -1, .info.kind = GPU_DISCRETE,
                        .limits = {.max_shared = i % 4 < 2 ? 49152 : 32768, .max_invocations = 1024, .coop = kinds[i / 2]}};
        const struct gpu_coop *c = &g.limits.coop;
        assert_int_equal(tuning_path(&g, 1, TUNING_AS_HALF), TUNING_ROWS);
        assert_int_equal(tuning_path(&g, 32, TUNING_AS_HALF), TUNING_COOP);
        assert_int_equal(tuning_path(&g, 32, 0), TUNING_F32);
        assert_true(tuning_rounding(&g) > 1e-4);
        fill_table(&g, (int)(j % VARIANTS));
        for (uint32_t n = 1; n < 5000; n += 1 + n / 3)
            for (uint32_t k = 32; k < 20000; k = k * 3 / 64 * 32 + 32) {
                const struct tuning_coop t = tuning_coop(&g, n, 4096, k);
                assert_true(t.tm == c->m && t.tn == c->n && t.tk == c->k && t.group == t.subgroups * c->subgroup);
                assert_true(t.subgroups % t.sgm == 0 && t.bm == t.sgm * t.rm * t.tn && t.bn == t.subgroups / t.sgm * t.rn * t.tm);
                assert_true(8 * t.bk8 % t.tk == 0 && t.part8 % t.bk8 == 0);
                assert_true((t.bm + t.bn) * (t.bk8 + 1) * 16 + t.subgroups * t.tm * t.tn * 4 <= g.limits.max_shared);
                const uint32_t sums = n <= g.table.few_rows ? g.table.coop_few_sums : g.table.coop_sums;
                assert_true(t.rm * t.rn == 1 || t.rm * t.rn * t.tm * t.tn <= sums * c->subgroup);
                /* all of k, and no part without any */
                assert_true(t.parts >= 1 && t.parts * t.part8 >= k / 8 && (t.parts - 1) * t.part8 < k / 8);
                assert_true(t.parts == 1 || n <= g.table.few_rows);
            }
    }
}

static void attention_fits_every_kind_of_device(void **state)
{
    static const struct gpu_coop kinds[] = {{16, 16, 16, 32}, {16, 8, 16, 32}, {16, 16, 16, 64}, {8, 16, 16, 16}, {8, 8, 16, 8}, {32, 8, 8, 8},
                                            {8, 32, 32, 64}, {0}};
    unsigned n_taken = 0;
    for (size_t j = 0; j < 4 * VARIANTS * sizeof kinds / sizeof *kinds; j++) {
        const size_t i = j / VARIANTS;
        struct gpu g = {.vendor = 0x10DE, .forced_path = -1, .info = {.kind = GPU_DISCRETE},
                        .limits = {.max_shared = i & 1 ? 49152 : 32768, .max_invocations = i & 2 ? 128 : 1024, .shuffles = true,
                                   .coop = kinds[i / 4]}};
        const struct gpu_coop *c = &g.limits.coop;
        fill_table(&g, (int)(j % VARIANTS));
        for (uint32_t d = 1; d <= 256; d++) {
            const struct tuning_attention_coop t = tuning_attention_coop(&g, d);
            if (!t.bq)
                continue;
            const uint32_t lanes = c->subgroup > c->m ? c->subgroup / c->m : 1; /* of a row */
            assert_true(t.tm == c->m && t.tn == c->n && t.tk == c->k && t.group == t.subgroups * c->subgroup);
            assert_true(t.bq == t.subgroups * t.tm && t.bq % t.bk == 0 && t.bk % t.pass == 0 && 2 * t.pass >= t.bk);
            assert_true(t.bk % t.tk == 0 && t.pass % t.tn == 0 && t.pass % (8 * lanes) == 0);
            assert_true(8 * t.d8 >= d && 8 * t.d8 % t.tk == 0 && 8 * t.d8 % t.tn == 0 && 8 * t.d8 <= 2 * d);
            const uint32_t rows = 2 * t.bk > t.bq ? 2 * t.bk : t.bq;
            assert_true(16 * (rows * (t.d8 + 1) + t.bq * (t.pass / 4 + 1)) + 4 * t.bq <= g.limits.max_shared);
            assert_true(t.group <= g.limits.max_invocations);
            assert_true(t.tm * 8 * t.d8 <= g.table.attention_sums * c->subgroup);
            n_taken++;
        }
        if (c->m == 16 && c->subgroup == 32 && j % VARIANTS == 0)
            assert_true(tuning_attention_coop(&g, 128).bq == 64 && tuning_attention_coop(&g, 256).bq >= 32);
        /* where products are not in half, or subgroups do not shuffle, attention is not either */
        g.forced_path = TUNING_F32;
        assert_int_equal(tuning_attention_coop(&g, 128).bq, 0);
        g.forced_path = -1;
        g.limits.shuffles = false;
        assert_int_equal(tuning_attention_coop(&g, 128).bq, 0);
    }
    assert_true(n_taken > 4000);
}

/* Attention in f32: what its shader takes for granted, in the memory that Vulkan guarantees too, and its row's sums do not depend on who shares. */
static void attention_in_f32_fits(void **state)
{
    static const uint32_t shared[] = {16384, 32768, 49152}, vendors[] = {0x10DE, 0x1002, 0x8086, 1};
    for (int i = 0; i < 8 * VARIANTS * 3; i++) {
        struct gpu g = {.vendor = vendors[i & 3], .info.software = (i & 7) == 7,
                        .limits = {.max_shared = shared[i / 8 % 3], .max_invocations = i & 4 ? 1024 : 128, .max_group_size = {i % 3 ? 1024 : 128}}};
        fill_table(&g, i / 24);
        for (uint32_t d = 1; d <= 256; d++) {
            const struct tuning_attention alone = tuning_attention(&g, d, 1);
            for (uint32_t sharing = 1; sharing <= 12; sharing++) {
                const struct tuning_attention t = tuning_attention(&g, d, sharing);
                const uint32_t d4 = (d + 3) / 4, row = t.c4 | 1, keys = (t.bq + t.bk) * row;
                const uint32_t tile = keys > t.vk * d4 ? keys : t.vk * d4;
                assert_true(t.group && t.group <= g.limits.max_invocations && t.group <= g.limits.max_group_size[0]);
                assert_true(t.group % t.tx == 0 && t.tx % 4 == 0 && t.vk % 4 == 0 && t.bk % t.vk == 0);
                assert_true(t.rq && t.rk && t.c4 && t.c4 <= 8 && t.bq == t.group / t.tx * t.rq && t.bk == t.tx * t.rk);
                assert_true(16 * (tile + t.bq * (t.bk / 4 | 1) + t.bq * t.tx / 4) <= g.limits.max_shared);
                assert_true(t.share && t.bq % t.share == 0 && sharing % t.share == 0 && t.share <= g.table.attention_share);
                assert_true(t.bk == alone.bk && t.tx == alone.tx && t.c4 == alone.c4 && t.group == alone.group);
                assert_true(t.rq == 1 || 4 * t.rq * ((d4 + t.tx - 1) / t.tx) <= g.table.attention_values);
            }
        }
    }
}

/* A row of any length has a group that is allowed and holds it, with no vector of an invocation's left over. */
static void rows_between_products_fit(void **state)
{
    static const uint32_t most[] = {32, 100, 128, 256, 1024};
    for (int i = 0; i < 20; i++) {
        struct gpu g = {.info.software = i & 1, .limits = {.max_invocations = i & 2 ? 1024 : most[i / 4]}};
        g.limits.max_group_size[0] = i & 2 ? most[i / 4] : 1024;
        fill_table(&g, i % VARIANTS);
        for (uint32_t kp = 32; kp < 100000; kp = kp * 9 / 8 / 32 * 32 + 32) {
            const struct tuning_finish t = tuning_finish(&g, kp);
            assert_true(t.group >= 16 && t.group <= most[i / 4] && (t.group & (t.group - 1)) == 0);
            assert_true(t.group * t.vectors * 4 >= kp && (t.vectors == 1 || t.group * (t.vectors - 1) * 4 < kp));
        }
    }
}

/* Without matrices, where the device says it is fast; for any number of rows, weights in blocks only. */
static void dot_products_are_chosen_where_they_are_fast(void **state)
{
    const unsigned both = TUNING_AS_HALF | TUNING_AS_INT8;
    for (int i = 0; i < 16; i++) {
        struct gpu g = {.forced_path = -1, .info = {.kind = GPU_INTEGRATED, .software = i & 8},
                        .limits = {.dot = i & 1, .dot_fast = (i & 3) == 3, .coop = {i & 4 ? 16 : 0, 16, 16, 32}}};
        const bool chosen = (i & 15) == 3;
        assert_int_equal(tuning_rounds_to_int8(&g), chosen);
        for (uint32_t n = 1; n < 3000; n += 1 + n / 2) {
            assert_int_equal(tuning_path(&g, n, both) == TUNING_DOT, chosen);
            assert_int_equal(tuning_path(&g, n, TUNING_AS_INT8) == TUNING_DOT, chosen); /* a scale beyond f16 */
            assert_int_not_equal(tuning_path(&g, n, TUNING_AS_HALF), TUNING_DOT);
            assert_int_not_equal(tuning_path(&g, n, 0), TUNING_DOT);
        }
    }
}

/* The limits that Vulkan guarantees, and larger ones. */
static void tiles_of_dot_products_fit(void **state)
{
    for (int i = 0; i < 8; i++) {
        struct gpu g = {.forced_path = -1, .info = {.kind = GPU_INTEGRATED, .software = i & 1},
                        .limits = {.max_shared = i & 2 ? 16384 : 49152, .max_invocations = i & 4 ? 128 : 1024, .dot = true}};
        fill_table(&g, i);
        for (uint32_t n = 1; n < 5000; n += 1 + n / 3)
            for (uint32_t k = 32; k < 20000; k = k * 3 / 64 * 32 + 32) {
                const struct tuning_dot t = tuning_dot(&g, n, 4096, k);
                assert_true(t.group % t.tx == 0 && t.bm == t.tx * t.rm && t.bn == t.group / t.tx * t.rn);
                assert_true(16 * (t.bm * (2 * t.blocks + 1) + t.bn * (4 * t.blocks + 1)) + 8 * t.blocks * (t.bm + t.bn) <= g.limits.max_shared);
                assert_true(t.group <= g.limits.max_invocations && t.part8 % (4 * t.blocks) == 0);
                assert_true(t.parts >= 1 && t.parts * t.part8 >= k / 8 && (t.parts - 1) * t.part8 < k / 8);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices_fit_every_kind_of_device),
        cmocka_unit_test(numbers_can_be_changed),
        cmocka_unit_test(fragments_fit_every_kind_of_device),
        cmocka_unit_test(attention_fits_every_kind_of_device),
        cmocka_unit_test(attention_in_f32_fits),
        cmocka_unit_test(rows_between_products_fit),
        cmocka_unit_test(dot_products_are_chosen_where_they_are_fast),
        cmocka_unit_test(tiles_of_dot_products_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
