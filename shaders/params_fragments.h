/* What the kernels that lay matrices out as fragments share with C; beside params_matmul.h, as the compiled ones are in the tree. */
#ifndef SHADERS_PARAMS_FRAGMENTS_H
#define SHADERS_PARAMS_FRAGMENTS_H

#include "params_matmul.h"

/* Rows row0 … row0 + n_rows - 1 of a matrix of rows kp values long, and zeros up to n_blocks blocks of rows;
 * scales: where those of x go, in floats. */
struct push_fragments {
    PARAMS_UINT row0, n_rows, kp, n_blocks, scales;
};
PARAMS_CHECK(push_fragments, 5)

/* Another flag of push_few: w has whole matrices of rows, and y, or each part of it, rows for whole matrices, up to behind the last. */
#define PARAMS_WHOLE 16

/* As push_matmul; where the scales of x's rows lie behind its fragments, in floats; the address at which x begins. */
struct push_few {
    PARAMS_UINT n, m, k, kp, row0, n_rows, flags, part8, scales, x_low, x_high;
};
PARAMS_CHECK(push_few, 11)

struct push_none {
    PARAMS_UINT unused;
};
PARAMS_CHECK(push_none, 1)

#endif
