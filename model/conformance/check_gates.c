/* swiglu, geglu and geglu_tanh. Tolerance: 1e-6 of |a b|, a few roundings of the function's value, plus 1e-7 absolute. */
#include "model/conformance/conform.h"

#include <math.h>

struct gate {
    const char *name;
    int (*op)(struct ops *o, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y);
    void (*ref)(const float *x, uint32_t n, size_t f, float *y);
    uint32_t width; /* in a model, for the time of one call */
};

struct call {
    const struct gate *gate;
    struct ops_buf *x, *y;
    uint32_t n, f;
};

static int call(struct ops *o, void *arg)
{
    struct call *c = arg;
    return c->gate->op(o, c->x, c->n, c->f, c->y);
}

static void one(struct conform *k, const struct gate *gate, uint32_t n, uint32_t f, enum fill fill)
{
    struct conform_batch b;
    conform_case(k, "%s n %u f %u fill %d", gate->name, n, f, fill);
    float *x = conform_fill(k, (size_t)n * 2 * f, fill), *y = conform_fill(k, (size_t)n * f, FILL_ZERO);
    float *size = conform_fill(k, (size_t)n * f, FILL_ZERO);
    for (size_t i = 0; fill == FILL_NORMAL && i < (size_t)n * 2 * f; i++)
        x[i] *= 5; /* out to where the function is flat */
    for (size_t t = 0; t < n; t++)
        for (size_t i = 0; i < f; i++)
            size[t * f + i] = fabsf(x[t * 2 * f + i] * x[(t * 2 + 1) * f + i]);
    struct call c = {gate, conform_buf(k, x, n, 2 * (size_t)f), conform_buf(k, NULL, n, f), n, f};
    conform_begin(k, &b, n, 20, 0);
    conform_ok(k, call(k->o, &c), gate->name);
    conform_end(k, &b);
    conform_forget(&b);
    gate->ref(x, n, f, y);
    conform_compare(k, c.y, y, n, f, 1e-7, 1e-6, size);
    conform_drop(k, c.x);
    conform_drop(k, c.y);
    free(x);
    free(y);
    free(size);
}

static void check(struct conform *k, const struct gate *gate)
{
    static const uint32_t rows[] = {1, 2, 7, 33, 129, 300}, widths[] = {1, 3, 15, 16, 17, 63, 64, 65, 1000, 1536};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof widths / sizeof *widths; j++)
            one(k, gate, rows[i], widths[j], (i + j) % 3 ? FILL_NORMAL : (enum fill)((i + j) / 3 % FILL_N));
    for (int f = 0; f < FILL_N; f++)
        one(k, gate, 5, 1024, (enum fill)f);
    const uint32_t w = gate->width;
    char what[32];
    float *x = conform_fill(k, (size_t)1024 * 2 * w, FILL_NORMAL);
    struct call c = {gate, conform_buf(k, x, 1024, 2 * (size_t)w), conform_buf(k, NULL, 1024, w), 1024, w};
    snprintf(what, sizeof what, "%s %u", gate->name, w);
    conform_bench(k, what, 1024, call, &c, 0);
    conform_drop(k, c.x);
    conform_drop(k, c.y);
    free(x);
}

void check_swiglu(struct conform *k)
{
    check(k, &(struct gate){"swiglu", k->o->v->swiglu, ref_swiglu, 1024});
}

void check_geglu(struct conform *k)
{
    check(k, &(struct gate){"geglu", k->o->v->geglu, ref_geglu, 1536});
}

void check_geglu_tanh(struct conform *k)
{
    check(k, &(struct gate){"geglu_tanh", k->o->v->geglu_tanh, ref_geglu_tanh, 1024});
}
