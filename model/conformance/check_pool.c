/* gather_pooled, mean_pool and pick_pooled over texts of many lengths, some with an instruction to skip.
 * Gathering and picking copy: no tolerance. Means: 1e-6 of the values' size. */
#include "model/conformance/conform.h"

static void one(struct conform *k, uint32_t n, uint32_t text, uint32_t skip, size_t d, enum fill fill)
{
    struct conform_batch b;
    conform_case(k, "pool n %u texts of %u skip %u d %zu fill %d", n, text, skip, d, fill);
    const struct ops_vtbl *v = k->o->v;
    float *x = conform_fill(k, n * d, fill), *want = conform_fill(k, n * d, FILL_ZERO), *pooled;
    struct ops_buf *bx = conform_buf(k, x, n, d);
    conform_layout(k, &b, n, text, skip);
    struct ops_buf *gathered = conform_buf(k, NULL, b.n_pooled, d), *mean = conform_buf(k, NULL, b.n_seqs, d);
    struct ops_buf *first = conform_buf(k, NULL, b.n_seqs, d), *last = conform_buf(k, NULL, b.n_seqs, d);
    pooled = conform_fill(k, b.n_pooled * d, FILL_ZERO);
    ref_gather_pooled(x, b.seq_offset, b.pool_skip, b.n_seqs, d, pooled);
    conform_start(k, &b); /* alone: what other ops of its batch read is not left for us */
    conform_ok(k, v->gather_pooled(k->o, bx, gathered), "gather_pooled");
    conform_end(k, &b);
    conform_compare(k, gathered, pooled, b.n_pooled, d, 0, 0, NULL);
    conform_start(k, &b);
    conform_ok(k, v->gather_pooled(k->o, bx, gathered), "gather_pooled");
    conform_ok(k, v->mean_pool(k->o, gathered, mean), "mean_pool");
    conform_ok(k, v->pick_pooled(k->o, gathered, false, first), "pick_pooled first");
    conform_ok(k, v->pick_pooled(k->o, gathered, true, last), "pick_pooled last");
    conform_end(k, &b);
    ref_mean_pool(pooled, b.seq_offset, b.pool_skip, b.n_seqs, d, want);
    conform_compare(k, mean, want, b.n_seqs, d, fill == FILL_HUGE ? 1 : 1e-6, 1e-6, NULL);
    ref_pick_pooled(pooled, b.seq_offset, b.pool_skip, b.n_seqs, false, d, want);
    conform_compare(k, first, want, b.n_seqs, d, 0, 0, NULL);
    ref_pick_pooled(pooled, b.seq_offset, b.pool_skip, b.n_seqs, true, d, want);
    conform_compare(k, last, want, b.n_seqs, d, 0, 0, NULL);
    conform_forget(&b);
    conform_drop(k, bx);
    conform_drop(k, gathered);
    conform_drop(k, mean);
    conform_drop(k, first);
    conform_drop(k, last);
    free(x);
    free(want);
    free(pooled);
}

void check_pool(struct conform *k)
{
    static const uint32_t rows[] = {1, 2, 16, 65, 300}, texts[] = {1, 2, 17, 128, 1000};
    static const size_t widths[] = {1, 17, 64, 384};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof texts / sizeof *texts; j++)
            for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
                one(k, rows[i], texts[j], (uint32_t)(i + j) % 4, widths[w], (enum fill)((i + j + w) % FILL_N));
    const uint32_t many = k->o->info.max_batch_tokens < 3000 ? k->o->info.max_batch_tokens : 3000;
    one(k, many, many, 5, 384, FILL_NORMAL);
}
