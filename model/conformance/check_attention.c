/* Tolerance: 2e-6 absolute and relative of values of size 1: scores of size s are off by s · 1e-7, and so are their exponentials,
 * relatively; scores here are below 20. Huge inputs make one key win: their values, times 1e-5, must come out. */
#include "model/conformance/conform.h"

#include <math.h>

struct call {
    struct ops_buf *qkv, *y;
    struct ops_attention a;
};

static int call(struct ops *o, void *arg)
{
    struct call *c = arg;
    return o->v->attention(o, c->qkv, &c->a, c->y);
}

static void one(struct conform *k, uint32_t n, uint32_t text, struct ops_attention a, enum fill fill)
{
    struct conform_batch b;
    conform_case(k, "attention n %u texts of %u heads %u/%u dim %u%s window %u fill %d", n, text, a.n_heads, a.n_kv_heads,
                 a.head_dim, a.causal ? " causal" : "", a.window, fill);
    const size_t cols = (size_t)(a.n_heads + 2 * a.n_kv_heads) * a.head_dim, out = (size_t)a.n_heads * a.head_dim;
    float *x = conform_fill(k, n * cols, fill), *y = conform_fill(k, n * out, FILL_ZERO);
    struct call c = {conform_buf(k, x, n, cols), conform_buf(k, NULL, n, out), a};
    conform_begin(k, &b, n, text, 0);
    conform_ok(k, call(k->o, &c), "attention");
    conform_end(k, &b);
    if (!ref_attention(x, b.seq_offset, b.n_seqs, &a, y))
        exit(1);
    conform_forget(&b);
    conform_compare(k, c.y, y, n, out, fill == FILL_HUGE ? 10 : 2e-6, 2e-6, NULL);
    conform_drop(k, c.qkv);
    conform_drop(k, c.y);
    free(x);
    free(y);
}

void check_attention(struct conform *k)
{
    static const uint32_t rows[] = {1, 2, 15, 16, 17, 31, 32, 33, 65, 200}, texts[] = {1, 3, 33, 200};
    static const struct ops_attention shapes[] = {
        {1, 1, 2, false, 0.7f},    {6, 6, 64, false, 0.125f}, {4, 2, 16, true, 0.25f},    {4, 1, 18, false, 0.2f},
        {2, 1, 128, true, 0.088f}, {3, 3, 34, true, 0.17f},   {2, 2, 80, false, 0.1118f},
    };
    int i = 0;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
            for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
                one(k, rows[r], texts[t], shapes[s], i++ % 5 == 4 ? (enum fill)(i / 5 % FILL_N) : FILL_NORMAL);
    for (int causal = 0; causal < 2; causal++) { /* around the steps of an online softmax */
        static const uint32_t lengths[] = {127, 128, 129, 255, 256, 257, 300, 600};
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            one(k, lengths[l] + 40, lengths[l], (struct ops_attention){1, 1, 32, causal, 0.3f}, FILL_NORMAL);
    }
    static const uint32_t dims[] = {160, 192, 254, 256}; /* the largest that a kernel takes in one piece */
    for (size_t d = 0; d < sizeof dims / sizeof *dims; d++) {
        static const uint32_t lengths[] = {1, 3, 33, 129};
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            one(k, lengths[l] + 7, lengths[l], (struct ops_attention){2, 1, dims[d], (d + l) % 2, 0.0625f, 0},
                l == 2 ? (enum fill)d : FILL_NORMAL);
    }
    static const uint32_t windows[] = {1, 2, 15, 16, 17, 127, 128, 129, 250, 1u << 30};
    for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) { /* a row's keys start and end anywhere in a step */
        static const uint32_t lengths[] = {1, 3, 33, 129, 300, 600};
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            one(k, lengths[l] + 7, lengths[l],
                (struct ops_attention){2, 1, 24, (w + l) % 2, 0.3f, windows[w]}, l == 2 ? (enum fill)(w % FILL_N) : FILL_NORMAL);
    }
    float *x = conform_fill(k, 1024 * 1152, FILL_NORMAL);
    struct call c = {conform_buf(k, x, 1024, 1152), conform_buf(k, NULL, 1024, 384), {6, 6, 64, false, 0.125f}};
    conform_bench(k, "attention 6 of 64, 128 keys", 1024, call, &c, 4.0 * 1024 * 128 * 384);
    conform_drop(k, c.qkv);
    conform_drop(k, c.y);
    free(x);
}
