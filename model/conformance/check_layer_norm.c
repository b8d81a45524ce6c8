/* Tolerance: 2e-6 relative, and 2e-6 of the row's largest deviation where subtracting the mean cancels:
 * with two or three columns that may be most of the digits. */
#include "model/conformance/conform.h"

#include <math.h>

struct call {
    struct ops_buf *x, *y;
    struct ops_vec *g, *b;
    uint32_t n;
};

static int call(struct ops *o, void *arg)
{
    struct call *c = arg;
    return o->v->layer_norm(o, c->x, c->g, c->b, 1e-5f, c->n, c->y);
}

static void one(struct conform *k, uint32_t n, size_t d, enum fill fill, int form)
{
    struct conform_batch batch;
    conform_case(k, "layer_norm n %u d %zu fill %d form %d", n, d, fill, form);
    float *x = conform_fill(k, n * d, fill), *g = conform_fill(k, d, FILL_NORMAL), *b = conform_fill(k, d, FILL_NORMAL);
    const bool with_g = form & 1, with_b = form & 2, in_place = form & 4;
    struct call c = {conform_buf(k, x, n, d), NULL, conform_vec(k, g, d), conform_vec(k, b, d), n};
    struct ops_vec *vg = c.g, *vb = c.b;
    c.g = with_g ? vg : NULL;
    c.b = with_b ? vb : NULL;
    c.y = in_place ? c.x : conform_buf(k, NULL, n, d);
    conform_begin(k, &batch, n, 20, 0);
    conform_ok(k, call(k->o, &c), "layer_norm");
    conform_end(k, &batch);
    conform_forget(&batch);
    ref_layer_norm(x, with_g ? g : NULL, with_b ? b : NULL, 1e-5f, n, d, x);
    conform_compare(k, c.y, x, n, d, d < 8 ? 1e-4 : 4e-6, 2e-6, NULL);
    if (!in_place)
        conform_drop(k, c.y);
    conform_drop(k, c.x);
    conform_drop_vec(k, vg);
    conform_drop_vec(k, vb);
    free(x);
    free(g);
    free(b);
}

void check_layer_norm(struct conform *k)
{
    static const uint32_t rows[] = {1, 2, 7, 33, 129, 300};
    static const size_t widths[] = {2, 3, 15, 16, 17, 63, 64, 65, 384, 1000, 4096};
    int form = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof widths / sizeof *widths; j++)
            one(k, rows[i], widths[j], (enum fill)((i + j) % FILL_N), form++ % 8);
    for (int f = 0; f < FILL_N; f++)
        one(k, 5, 384, (enum fill)f, 3);
    float *x = conform_fill(k, 1024 * 384, FILL_NORMAL);
    struct call c = {conform_buf(k, x, 1024, 384), conform_buf(k, NULL, 1024, 384), conform_vec(k, x, 384),
                     conform_vec(k, x, 384), 1024};
    conform_bench(k, "layer_norm 384", 1024, call, &c, 0);
    conform_drop(k, c.x);
    conform_drop(k, c.y);
    conform_drop_vec(k, c.g);
    conform_drop_vec(k, c.b);
    free(x);
}
