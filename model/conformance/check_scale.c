/* Tolerance: one product's rounding. */
#include "model/conformance/conform.h"

static void one(struct conform *k, uint32_t n, size_t d, enum fill fill, float s)
{
    struct conform_batch b;
    conform_case(k, "scale n %u d %zu fill %d by %g", n, d, fill, (double)s);
    float *x = conform_fill(k, n * d, fill);
    struct ops_buf *buf = conform_buf(k, x, n, d);
    conform_begin(k, &b, n, 20, 0);
    conform_ok(k, k->o->v->scale(k->o, buf, s, n), "scale");
    conform_end(k, &b);
    conform_forget(&b);
    ref_scale(x, s, n, d);
    conform_compare(k, buf, x, n, d, 0, 1e-7, NULL);
    conform_drop(k, buf);
    free(x);
}

void check_scale(struct conform *k)
{
    static const uint32_t rows[] = {1, 2, 7, 33, 129};
    static const size_t widths[] = {1, 3, 15, 16, 17, 64, 65, 1000};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof widths / sizeof *widths; j++)
            one(k, rows[i], widths[j], (enum fill)((i + j) % FILL_N), j % 2 ? 27.712813f : -0.3f);
}
