/* What the files of the Vulkan operations share: checks before an op, its first error, arguments of its kernels. */
#ifndef MODEL_OPS_VULKAN_OP_H
#define MODEL_OPS_VULKAN_OP_H

#include "base/log.h"
#include "model/ops_vulkan_impl.h"
#include "shaders/params.h"

/* Operations of a kernel that touches each value once or twice, and of one that makes an exponential or a root of it. */
#define WORK_PER_VALUE 16

/* Remembers the batch's first error: the op's caller gets the code only. */
static inline int finish(struct ops_vulkan *v, int r, const struct err_msg *em)
{
    if (r < 0 && !v->failed) {
        v->failed = r;
        v->base.info.failed = *em;
        log_debug("model", "%s", em->text);
    }
    return r;
}

static inline int ready(const struct ops_vulkan *v, struct err_msg *em)
{
    if (!v->in_batch && !v->failed)
        return err_set(em, LT_EINVAL, "an op outside of a batch");
    return v->failed;
}

/* Whether b has room for rows x cols. */
static inline int check(const struct ops_buf *b, const char *what, uint64_t rows, uint64_t cols, struct err_msg *em)
{
    if (rows * cols > (uint64_t)b->max_rows * b->cols)
        return err_set(em, LT_ELIMIT, "%s: %llu x %llu in a buffer of %zu x %zu", what,
                       (unsigned long long)rows, (unsigned long long)cols, b->max_rows, b->cols);
    return 0;
}

/* x is read where y is written: which only may be where they are one. */
static inline int apart(const struct ops_buf *x, const struct ops_buf *y, struct err_msg *em)
{
    return x && x != y && x->rows == y->rows ? err_set(em, LT_EINVAL, "an op from one buffer of a room into another") : 0;
}

/* Before an op that reads x and writes y, either of which may be NULL. */
static inline int settle(struct ops_vulkan *v, const struct ops_buf *x, struct ops_buf *y, struct err_msg *em)
{
    int r = y ? apart(x, y, em) : 0;
    if (r == 0 && x)
        r = ops_vulkan_reads(v, x, em);
    return r < 0 || !y ? r : ops_vulkan_writes(v, y, em);
}

static inline uint32_t ceil_div(uint32_t a, uint32_t b)
{
    return (a + b - 1) / b;
}

static inline uint32_t qkv_cols(const struct ops_attention *a)
{
    return (a->n_heads + 2 * a->n_kv_heads) * a->head_dim;
}

#define ATTENTION_MAX_DIM 256 /* of a head */

static inline int check_attention(const struct ops_attention *a, struct err_msg *em)
{
    if (!a->n_kv_heads || a->n_heads % a->n_kv_heads || !a->head_dim || a->head_dim > ATTENTION_MAX_DIM ||
        a->n_heads > 4096)
        return err_set(em, LT_EINVAL, "attention of %u heads, %u for keys, of size %u", a->n_heads,
                       a->n_kv_heads, a->head_dim);
    return 0;
}

static inline struct gpu_arg arg(struct gpu_buf *b)
{
    return (struct gpu_arg){b, 0, 0};
}

static inline struct gpu_arg meta_arg(const struct ops_vulkan *v, const struct meta_part *part)
{
    return (struct gpu_arg){v->meta, part->offset, part->len};
}

static inline struct gpu_arg vec_arg(const struct ops_vulkan *v, const struct ops_vec *vec)
{
    return arg(vec ? vec->b : v->dummy);
}

/* The kernel of a family for a storage type; families list theirs in the order of lib/weights.glsl, 8 and 16 bits twice. */
static inline enum gpu_kernel typed(const struct ops_vulkan *v, enum gpu_kernel f32, enum tensor_type type)
{
    const struct gpu_limits *l = gpu_limits(v->g);
    switch (type) {
    case TENSOR_F32:
        return f32;
    case TENSOR_F16:
        return f32 + 1 + l->storage16;
    case TENSOR_BF16:
        return f32 + 3 + l->storage16;
    case TENSOR_Q8_0:
        return f32 + 5 + l->storage8;
    case TENSOR_Q4_1:
        return f32 + 7;
    case TENSOR_Q5_1:
        return f32 + 8;
    case TENSOR_Q4_K:
        return f32 + 9;
    case TENSOR_Q5_K:
        return f32 + 10;
    case TENSOR_Q6_K:
        return f32 + 11;
    default: /* nothing else is held */
        return f32;
    }
}

/* The kernel of a family that reads words, in the order of lib/weights8.glsl; f32: where that stands or would stand. */
static inline enum gpu_kernel typed_words(enum gpu_kernel f32, enum tensor_type type)
{
    static const int at[TENSOR_N_TYPES] = {[TENSOR_F32] = 0,  [TENSOR_F16] = 1,  [TENSOR_BF16] = 2, [TENSOR_Q8_0] = 3, [TENSOR_Q4_1] = 4,
                                           [TENSOR_Q5_1] = 5, [TENSOR_Q4_K] = 6, [TENSOR_Q5_K] = 7, [TENSOR_Q6_K] = 8};
    return f32 + at[type];
}

static inline struct push_matmul push_of(const struct product *p, const struct mat_slice *s)
{
    return (struct push_matmul){
        .n = p->n,
        .m = p->w->rows,
        .k = p->w->cols,
        .kp = p->w->kp,
        .row0 = s->row0,
        .n_rows = s->n_rows,
        .flags = (p->bias ? PARAMS_HAS_BIAS : 0) | (p->residual ? PARAMS_HAS_RESIDUAL : 0),
        .part8 = p->w->kp / 8,
    };
}

#endif
