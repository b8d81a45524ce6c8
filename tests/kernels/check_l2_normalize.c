/* Tolerance: 1e-6 relative, the rounding of a sum of d squares, a root and a division. */
#include "tests/kernels/kernels.h"

void check_l2_normalize(struct kernels *k)
{
    static const uint32_t rows[] = {1, 2, 7, 33, 130};
    static const size_t widths[] = {1, 3, 15, 16, 17, 64, 65, 384, 1000, 4096};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t j = 0; j < sizeof widths / sizeof *widths; j++) {
            const uint32_t n = rows[i];
            const size_t d = widths[j];
            const enum fill fill = (enum fill)((i + j) % FILL_N);
            struct kernel_batch b;
            kernels_case(k, "l2_normalize n %u d %zu fill %d", n, d, fill);
            float *x = kernels_fill(k, n * d, fill);
            struct ops_buf *buf = kernels_buf(k, x, n, d);
            kernels_begin(k, &b, n, 20, 0);
            kernels_ok(k, k->o->v->l2_normalize(k->o, buf, n), "l2_normalize");
            kernels_end(k, &b);
            kernels_forget(&b);
            ref_l2_normalize(x, n, d);
            kernels_compare(k, buf, x, n, d, 1e-9, 1e-6, NULL);
            kernels_drop(k, buf);
            free(x);
        }
    }
}
