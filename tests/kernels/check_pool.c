/* gather_pooled, mean_pool and pick_pooled over texts of many lengths, some with an instruction to skip.
 * Gathering and picking copy: no tolerance. Means: 1e-6 of the values' size. */
#include "tests/kernels/kernels.h"

static void one(struct kernels *k, uint32_t n, uint32_t text, uint32_t skip, size_t d, enum fill fill)
{
    struct kernel_batch b;
    kernels_case(k, "pool n %u texts of %u skip %u d %zu fill %d", n, text, skip, d, fill);
    const struct ops_vtbl *v = k->o->v;
    float *x = kernels_fill(k, n * d, fill), *want = kernels_fill(k, n * d, FILL_ZERO), *pooled;
    struct ops_buf *bx = kernels_buf(k, x, n, d);
    kernels_layout(k, &b, n, text, skip);
    struct ops_buf *gathered = kernels_buf(k, NULL, b.n_pooled, d), *mean = kernels_buf(k, NULL, b.n_seqs, d);
    struct ops_buf *first = kernels_buf(k, NULL, b.n_seqs, d), *last = kernels_buf(k, NULL, b.n_seqs, d);
    kernels_start(k, &b);
    kernels_ok(k, v->gather_pooled(k->o, bx, gathered), "gather_pooled");
    kernels_ok(k, v->mean_pool(k->o, gathered, mean), "mean_pool");
    kernels_ok(k, v->pick_pooled(k->o, gathered, false, first), "pick_pooled first");
    kernels_ok(k, v->pick_pooled(k->o, gathered, true, last), "pick_pooled last");
    kernels_end(k, &b);
    pooled = kernels_fill(k, b.n_pooled * d, FILL_ZERO);
    ref_gather_pooled(x, b.seq_offset, b.pool_skip, b.n_seqs, d, pooled);
    kernels_compare(k, gathered, pooled, b.n_pooled, d, 0, 0, NULL);
    ref_mean_pool(pooled, b.seq_offset, b.pool_skip, b.n_seqs, d, want);
    kernels_compare(k, mean, want, b.n_seqs, d, fill == FILL_HUGE ? 1 : 1e-6, 1e-6, NULL);
    ref_pick_pooled(pooled, b.seq_offset, b.pool_skip, b.n_seqs, false, d, want);
    kernels_compare(k, first, want, b.n_seqs, d, 0, 0, NULL);
    ref_pick_pooled(pooled, b.seq_offset, b.pool_skip, b.n_seqs, true, d, want);
    kernels_compare(k, last, want, b.n_seqs, d, 0, 0, NULL);
    kernels_forget(&b);
    kernels_drop(k, bx);
    kernels_drop(k, gathered);
    kernels_drop(k, mean);
    kernels_drop(k, first);
    kernels_drop(k, last);
    free(x);
    free(want);
    free(pooled);
}

void check_pool(struct kernels *k)
{
    static const uint32_t rows[] = {1, 2, 16, 65, 300}, texts[] = {1, 2, 17, 128, 1000};
    static const size_t widths[] = {1, 17, 64, 384};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof texts / sizeof *texts; j++)
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
                one(k, rows[i], texts[j], (uint32_t)(i + j) % 4, widths[w], (enum fill)((i + j + w) % FILL_N));
    one(k, 3000, 3000, 5, 384, FILL_NORMAL);
}
