/* A product and the gate behind it, in one batch and in two.
 *
 * A device may run the two as one where nothing else reads the product; values must be those of two steps. Bit for bit on the CPU;
 * elsewhere 1e-6 of the value, since a fused kernel may round otherwise. The row buffers between are rewritten within the batch, as a decoder does. */
#include "model/conformance/conform.h"

#include <math.h>

struct gated {
    struct ops_buf *x, *norm, *wide, *act, *y;
    struct ops_vec *g, *bias;
    struct ops_mat *up, *down;
    uint32_t n, f;
    int kind;
};

static int gate(struct ops *o, const struct gated *c)
{
    return (c->kind == 0 ? o->v->swiglu : c->kind == 1 ? o->v->geglu : o->v->geglu_tanh)(o, c->wide, c->n, c->f, c->act);
}

static struct ops_mat *weights(struct conform *k, enum tensor_type type, size_t m, size_t d)
{
    struct err_msg em = {""};
    struct ops_mat *w = NULL;
    const size_t row_bytes = tensor_row_bytes(type, d);
    float *v = conform_fill(k, m * d, FILL_NORMAL);
    uint8_t *data = malloc(m * row_bytes);
    if (!data)
        exit(1);
    conform_encode(type, v, m * d, data);
    const struct tensor t = {"w", type, m, d, data, m * row_bytes}, *const parts[1] = {&t};
    if (k->o->v->mat_create(k->o, parts, 1, &w, &em)) {
        conform_fail(k, "mat_create: %s", em.text);
        exit(1);
    }
    free(v);
    free(data);
    return w;
}

/* All in one batch, or each op in its own; the result to out. */
static void run(struct conform *k, struct gated *c, bool each, float *out)
{
    const struct ops_vtbl *v = k->o->v;
    struct conform_batch b;
    conform_layout(k, &b, c->n, 40, 0);
    for (int step = 0; step < 5; step++) {
        if (each || step == 0)
            conform_start(k, &b);
        const int r = step == 0   ? v->rms_norm(k->o, c->x, c->g, 1e-5f, c->n, c->norm)
                      : step == 1 ? v->matmul(k->o, c->norm, c->up, c->bias, NULL, c->n, c->wide)
                      : step == 2 ? gate(k->o, c)
                      : step == 3 ? v->rms_norm(k->o, c->x, c->g, 1e-3f, c->n, c->norm)
                                  : v->matmul(k->o, c->act, c->down, NULL, c->norm, c->n, c->y);
        conform_ok(k, r, "op");
        if (each || step == 4)
            conform_end(k, &b);
    }
    conform_forget(&b);
    conform_ok(k, v->buf_read(k->o, c->y, out, (size_t)c->n * 256), "buf_read");
}

static void one(struct conform *k, enum tensor_type type, uint32_t n, uint32_t f, int kind, bool bias)
{
    const size_t d = 256;
    conform_case(k, "gated %s n %u f %u kind %d bias %d", tensor_type_name(type), n, f, kind, bias);
    float *x = conform_fill(k, n * d, FILL_NORMAL), *v = conform_fill(k, 2 * (size_t)f, FILL_NORMAL);
    float *want = conform_fill(k, n * d, FILL_ZERO);
    struct gated c = {.x = conform_buf(k, x, n, d), .norm = conform_buf(k, NULL, n, d), .y = conform_buf(k, NULL, n, d),
                      .wide = conform_buf(k, NULL, n, 2 * (size_t)f), .act = conform_buf(k, NULL, n, f), .n = n, .f = f, .kind = kind};
    c.g = conform_vec(k, x, d);
    c.bias = bias ? conform_vec(k, v, 2 * (size_t)f) : NULL;
    c.up = weights(k, type, 2 * (size_t)f, d);
    c.down = weights(k, type, d, f);
    run(k, &c, true, want);
    float *got = conform_fill(k, n * d, FILL_ZERO);
    run(k, &c, false, got);
    double norm = 0;
    for (size_t i = 0; i < n * d; i++)
        norm = fmax(norm, fabs(want[i]));
    const double may = strcmp(k->o->info.kind, "cpu") ? 1e-6 * norm : 0;
    conform_compare(k, c.y, want, n, d, may, 0, NULL);
    if (!(norm > 0))
        conform_fail(k, "nothing was computed");
    struct ops_buf *bufs[] = {c.x, c.norm, c.wide, c.act, c.y};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        conform_drop(k, bufs[i]);
    conform_drop_vec(k, c.g);
    if (bias)
        conform_drop_vec(k, c.bias);
    k->o->v->mat_destroy(k->o, &c.up);
    k->o->v->mat_destroy(k->o, &c.down);
    free(x);
    free(v);
    free(want);
    free(got);
}

void check_gated(struct conform *k)
{
    static const enum tensor_type types[] = {TENSOR_Q8_0, TENSOR_F32};
    /* halves of whole panels, which may be fused, and others */
    static const uint32_t rows[] = {1, 3, 64, 65, 200, 600}, halves[] = {64, 256, 512, 1024, 1536, 96, 320};
    const bool few = conform_few_kernels(k);
    const uint32_t most = few ? 70 : k->brief ? 130 : 600, wide = few ? 512 : 1536;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        if (k->only_blocks && types[t] != TENSOR_Q8_0)
            continue;
        for (size_t i = 0; i < sizeof halves / sizeof *halves; i++)
            for (size_t j = t; j < sizeof rows / sizeof *rows; j += 2)
                if (rows[j] < 10 || halves[i] <= wide)
                    one(k, types[t], rows[j] < most ? rows[j] : most, halves[i], (int)((i + j) % 3), (i + j / 2) % 2);
    }
}
