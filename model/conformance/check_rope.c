/* Tolerance: 4e-7 of the pair's size (two products, and a cosine right to an f32 rounding). Vulkan's own
 * cosine is good to 2^-11 only, so a device must do better than its built-in. */
#include "model/conformance/conform.h"

#include <math.h>

struct call {
    struct ops_buf *qkv;
    struct ops_vec *freq;
    struct ops_attention a;
};

static int call(struct ops *o, void *arg)
{
    struct call *c = arg;
    return o->v->rope(o, c->qkv, c->freq, &c->a);
}

static struct ops_vec *frequencies(struct conform *k, uint32_t half, float *f)
{
    for (uint32_t i = 0; i < half; i++)
        f[i] = (float)pow(10000, -(double)i / half);
    return conform_vec(k, f, half);
}

static void one(struct conform *k, uint32_t n, uint32_t text, struct ops_attention a, enum fill fill)
{
    struct conform_batch b;
    conform_case(k, "rope n %u texts of %u heads %u/%u dim %u fill %d", n, text, a.n_heads, a.n_kv_heads, a.head_dim, fill);
    const size_t cols = (size_t)(a.n_heads + 2 * a.n_kv_heads) * a.head_dim, half = a.head_dim / 2;
    float *x = conform_fill(k, n * cols, fill), *size = conform_fill(k, n * cols, FILL_ZERO);
    float *f = conform_fill(k, half, FILL_ZERO);
    struct call c = {conform_buf(k, x, n, cols), frequencies(k, (uint32_t)half, f), a};
    for (size_t i = 0; i < n * cols; i++)
        size[i] = fabsf(x[i]) + fabsf(x[i % a.head_dim < half ? i + half : i - half]);
    conform_begin(k, &b, n, text, 0);
    conform_ok(k, call(k->o, &c), "rope");
    conform_end(k, &b);
    ref_rope(x, b.seq_offset, b.n_seqs, f, &a);
    conform_forget(&b);
    conform_compare(k, c.qkv, x, n, cols, 1e-7, 4e-7, size);
    conform_drop(k, c.qkv);
    conform_drop_vec(k, c.freq);
    free(x);
    free(size);
    free(f);
}

void check_rope(struct conform *k)
{
    static const uint32_t rows[] = {1, 2, 17, 130}, dims[] = {2, 6, 16, 32, 34, 64, 128}, kv[] = {1, 2, 6};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof dims / sizeof *dims; j++)
            for (size_t h = 0; h < sizeof kv / sizeof *kv; h++)
                one(k, rows[i], (uint32_t)(5 + 40 * h), (struct ops_attention){6, kv[h], dims[j], false, 1},
                    (enum fill)((i + j + h) % FILL_N));
    const uint32_t most = k->o->info.max_batch_tokens < 32768 ? k->o->info.max_batch_tokens : 32768;
    const uint32_t many = most < 4000 ? most : 4000;
    one(k, many, many, (struct ops_attention){1, 1, 64, false, 1}, FILL_NORMAL);
    one(k, most, most, (struct ops_attention){1, 1, 8, false, 1}, FILL_NORMAL); /* the last positions of the longest texts */
    float f[32], *x = conform_fill(k, 1024 * 1152, FILL_NORMAL);
    struct call c = {conform_buf(k, x, 1024, 1152), frequencies(k, 32, f), {6, 6, 64, false, 1}};
    conform_bench(k, "rope 6+6 of 64", 1024, call, &c, 0);
    conform_drop(k, c.qkv);
    conform_drop_vec(k, c.freq);
    free(x);
}
