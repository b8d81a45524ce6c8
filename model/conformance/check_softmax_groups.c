/* Tolerance: 1e-6 relative (of an exponential and a sum), and 1e-7: a probability that small may be any. */
#include "model/conformance/conform.h"

struct call {
    struct ops_buf *x;
    uint32_t n, groups, r;
};

static int call(struct ops *o, void *arg)
{
    struct call *c = arg;
    return o->v->softmax_groups(o, c->x, c->n, c->groups, c->r);
}

static void one(struct conform *k, uint32_t n, uint32_t groups, uint32_t r, enum fill fill)
{
    struct conform_batch b;
    conform_case(k, "softmax_groups n %u groups %u of %u fill %d", n, groups, r, fill);
    const size_t cols = (size_t)groups * r;
    float *x = conform_fill(k, n * cols, fill);
    struct call c = {conform_buf(k, x, n, cols), n, groups, r};
    conform_begin(k, &b, n, 20, 0);
    conform_ok(k, call(k->o, &c), "softmax_groups");
    conform_end(k, &b);
    conform_forget(&b);
    ref_softmax_groups(x, n, groups, r);
    conform_compare(k, c.x, x, n, cols, 1e-7, 2e-6, NULL);
    conform_drop(k, c.x);
    free(x);
}

void check_softmax_groups(struct conform *k)
{
    static const uint32_t rows[] = {1, 2, 33, 130}, groups[] = {1, 3, 6}, sizes[] = {1, 3, 15, 16, 17, 64, 65, 512};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
            for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++)
                one(k, rows[i], groups[g], sizes[j], (enum fill)((i + g + j) % FILL_N));
    float *x = conform_fill(k, 1024 * 384, FILL_NORMAL);
    struct call c = {conform_buf(k, x, 1024, 384), 1024, 6, 64};
    conform_bench(k, "softmax_groups 6 of 64", 1024, call, &c, 0);
    conform_drop(k, c.x);
    free(x);
}
