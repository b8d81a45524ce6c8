/* Tolerance: 1e-6 relative, the rounding of a sum of d squares, a root and a division. */
#include "model/conformance/conform.h"

void check_l2_normalize(struct conform *k)
{
    static const uint32_t rows[] = {1, 2, 7, 33, 130};
    static const size_t widths[] = {1, 3, 15, 16, 17, 64, 65, 384, 1000, 4096};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t j = 0; j < sizeof widths / sizeof *widths; j++) {
            const uint32_t n = rows[i];
            const size_t d = widths[j];
            const enum fill fill = (enum fill)((i + j) % FILL_N);
            struct conform_batch b;
            conform_case(k, "l2_normalize n %u d %zu fill %d", n, d, fill);
            float *x = conform_fill(k, n * d, fill);
            struct ops_buf *buf = conform_buf(k, x, n, d);
            conform_begin(k, &b, n, 20, 0);
            conform_ok(k, k->o->v->l2_normalize(k->o, buf, n), "l2_normalize");
            conform_end(k, &b);
            conform_forget(&b);
            ref_l2_normalize(x, n, d);
            conform_compare(k, buf, x, n, d, 1e-9, 1e-6, NULL);
            conform_drop(k, buf);
            free(x);
        }
    }
}
