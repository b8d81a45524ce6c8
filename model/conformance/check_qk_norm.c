/* Tolerance: as rms_norm's, 1e-6 relative; values are not touched. */
#include "model/conformance/conform.h"

static void one(struct conform *k, uint32_t n, uint32_t text, struct ops_attention a, enum fill fill)
{
    struct conform_batch b;
    conform_case(k, "qk_norm n %u heads %u/%u dim %u fill %d", n, a.n_heads, a.n_kv_heads, a.head_dim, fill);
    const size_t d = a.head_dim, cols = (size_t)(a.n_heads + 2 * a.n_kv_heads) * d;
    float *x = conform_fill(k, n * cols, fill), *gq = conform_fill(k, d, FILL_NORMAL), *gk = conform_fill(k, d, FILL_NORMAL);
    struct ops_buf *qkv = conform_buf(k, x, n, cols);
    struct ops_vec *q = conform_vec(k, gq, d), *key = conform_vec(k, gk, d);
    conform_begin(k, &b, n, text, 0);
    conform_ok(k, k->o->v->qk_norm(k->o, qkv, q, key, 1e-6f, &a), "qk_norm");
    conform_end(k, &b);
    conform_forget(&b);
    ref_qk_norm(x, gq, gk, 1e-6f, n, &a);
    conform_compare(k, qkv, x, n, cols, 1e-7, 1e-6, NULL);
    conform_drop(k, qkv);
    conform_drop_vec(k, q);
    conform_drop_vec(k, key);
    free(x);
    free(gq);
    free(gk);
}

void check_qk_norm(struct conform *k)
{
    static const uint32_t rows[] = {1, 2, 7, 33, 200};
    static const struct ops_attention shapes[] = {
        {1, 1, 2, false, 1, 0},  {6, 6, 64, false, 1, 0}, {4, 2, 16, false, 1, 0},  {4, 1, 18, false, 1, 0},
        {2, 1, 128, true, 1, 0}, {3, 1, 256, true, 1, 0}, {2, 2, 34, false, 1, 0},
    };
    int i = 0;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            one(k, rows[r], 20, shapes[s], (enum fill)(i++ % FILL_N));
}
