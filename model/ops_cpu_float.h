/* Products in f32 of weights of F16 and BF16, which stay as they are, and F32.
 *
 * A chunk of k of a block of columns is unpacked to f32 in the first-level cache, exactly, and multiplied by all rows from there; weights come
 * from memory once for all of them. A value's products of a chunk are added from the first of k to the last, then the chunks' sums: a row's
 * result does not depend on the rows beside it.
 *
 * Weights lie in blocks of VNNI_COLS columns: [m / VNNI_COLS][k][VNNI_COLS], the last filled with zeros. */
#ifndef MODEL_OPS_CPU_FLOAT_H
#define MODEL_OPS_CPU_FLOAT_H

#include <stdbool.h>
#include <stddef.h>

#include "model/ops_cpu_vnni.h"
#include "model/tensor.h"

#define FLOAT_CHUNK 64 /* of k at a time: 16 KiB of f32 */

/* Some rows times VNNI_COLS columns */
struct float_block {
    const float *x; /* [n_rows, k] */
    size_t n_rows, k;
    const void *w; /* k · VNNI_COLS values */
    enum tensor_type type;
    const void *next; /* weights that are read next, asked for meanwhile; or NULL */
    float *sums;      /* [n_rows, VNNI_COLS] */
};

/* sums = x wᵀ. Thread-safety: safe. */
typedef void float_multiply(const struct float_block *b);

/* F32, F16, BF16 */
bool float_type(enum tensor_type type);

/* A block of weights rows w[VNNI_COLS, k] of a float_type, packed: as many values */
void float_pack(enum tensor_type type, const void *w, size_t k, void *block);

#endif
