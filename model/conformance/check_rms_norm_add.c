/* Tolerance: 1e-6 of the sum and 5e-6 absolute: normed values are at most sqrt(d) times a gain of about 3. */
#include "model/conformance/conform.h"

struct call {
    struct ops_buf *x, *y;
    struct ops_vec *g;
    uint32_t n;
};

static int call(struct ops *o, void *arg)
{
    struct call *c = arg;
    return o->v->rms_norm_add(o, c->x, c->g, 1e-5f, c->n, c->y);
}

static void one(struct conform *k, uint32_t n, size_t d, enum fill fill)
{
    struct conform_batch b;
    conform_case(k, "rms_norm_add n %u d %zu fill %d", n, d, fill);
    float *x = conform_fill(k, n * d, fill), *y = conform_fill(k, n * d, FILL_NORMAL), *g = conform_fill(k, d, FILL_NORMAL);
    struct call c = {conform_buf(k, x, n, d), conform_buf(k, y, n, d), conform_vec(k, g, d), n};
    conform_begin(k, &b, n, 20, 0);
    conform_ok(k, call(k->o, &c), "rms_norm_add");
    conform_end(k, &b);
    conform_forget(&b);
    ref_rms_norm_add(x, g, 1e-5f, n, d, y);
    conform_compare(k, c.y, y, n, d, 5e-6, 1e-6, NULL); /* what is added may be larger than the sum */
    conform_drop(k, c.y);
    conform_drop(k, c.x);
    conform_drop_vec(k, c.g);
    free(x);
    free(y);
    free(g);
}

void check_rms_norm_add(struct conform *k)
{
    static const uint32_t rows[] = {1, 2, 7, 33, 129, 300};
    static const size_t widths[] = {1, 3, 15, 16, 17, 63, 64, 65, 384, 1000, 4096};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof widths / sizeof *widths; j++)
            one(k, rows[i], widths[j], (enum fill)((i + j) % FILL_N));
    for (int f = 0; f < FILL_N; f++)
        one(k, 5, 384, (enum fill)f);
    float *x = conform_fill(k, 1024 * 384, FILL_NORMAL);
    struct call c = {conform_buf(k, x, 1024, 384), conform_buf(k, NULL, 1024, 384), conform_vec(k, x, 384), 1024};
    conform_bench(k, "rms_norm_add 384", 1024, call, &c, 0);
    conform_drop(k, c.x);
    conform_drop(k, c.y);
    conform_drop_vec(k, c.g);
    free(x);
}
