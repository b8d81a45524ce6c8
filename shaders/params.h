/* Push constants of every kernel, read by GLSL and by C. Fields are 4 bytes each, so both lay them out alike. */
#ifndef SHADERS_PARAMS_H
#define SHADERS_PARAMS_H

#include "params_attention.h"
#include "params_matmul.h"

/* flags of push_norm, beside those of push_matmul */
#define PARAMS_HAS_GAIN 4

/* The rows row0 … row0 + n_rows - 1 of a table. */
struct push_embed {
    PARAMS_UINT cols, kp, row0, n_rows;
};
PARAMS_CHECK(push_embed, 4)

struct push_norm {
    PARAMS_UINT d, flags;
    float eps;
};
PARAMS_CHECK(push_norm, 3)

struct push_rope {
    PARAMS_UINT n_heads, stride, head_dim; /* heads that are rotated; floats of a row */
    PARAMS_UINT part_rows, parts, flags;   /* rows of a part, of so many; flags as push_matmul's */
};
PARAMS_CHECK(push_rope, 6)

struct push_qk_norm {
    PARAMS_UINT n_heads, stride, head_dim; /* query heads; floats of a row */
    float eps;
};
PARAMS_CHECK(push_qk_norm, 4)

struct push_scale {
    PARAMS_UINT cols;
    float s;
};
PARAMS_CHECK(push_scale, 2)

struct push_glu {
    PARAMS_UINT f;
};
PARAMS_CHECK(push_glu, 1)

struct push_softmax {
    PARAMS_UINT groups, r;
};
PARAMS_CHECK(push_softmax, 2)

struct push_rows {
    PARAMS_UINT d;
};
PARAMS_CHECK(push_rows, 1)

/* A row of x packed as int8: words of values for each plane, and two of f32 for each 32 values, their scale and their sum as rounded;
 * rows begin at 16 bytes. */
#define PARAMS_INT8_WORDS(kp, planes) ((planes) * ((kp) / 4) + ((kp) / 32 * 2 + 3) / 4 * 4)

/* finish_rows: its operation, and what it writes in f32 */
#define PARAMS_FINISH_NOTHING 0
#define PARAMS_FINISH_NORM 1
#define PARAMS_FINISH_SWIGLU 2 /* from here on: gates, whose source is twice as wide as their result */
#define PARAMS_FINISH_GEGLU_TANH 3
#define PARAMS_ROWS_NONE 0
#define PARAMS_ROWS_SOURCE 1
#define PARAMS_ROWS_RESULT 2
/* and how it packs rows: not, one behind the other, or as matmul_few's right matrix */
#define PARAMS_PACK_NONE 0
#define PARAMS_PACK_ROWS 1
#define PARAMS_PACK_FRAGMENTS 2

/* Rows of k values, packed in kp; rows of a part, n or more; flags as push_matmul's; of fragments, n_blocks and scales as push_fragments' */
struct push_finish {
    PARAMS_UINT n, k, kp, parts, part_rows, flags;
    float eps;
    PARAMS_UINT n_blocks, scales;
};
PARAMS_CHECK(push_finish, 9)

/* Rows of x[n, k] packed for products in int8 */
struct push_pack {
    PARAMS_UINT k, kp;
};
PARAMS_CHECK(push_pack, 2)

/* The sum of parts of y[n, m], of part_rows rows each, n or more */
struct push_sum {
    PARAMS_UINT part_rows, m, parts, flags;
};
PARAMS_CHECK(push_sum, 4)

struct push_pick {
    PARAMS_UINT d, last;
};
PARAMS_CHECK(push_pick, 2)

#endif
