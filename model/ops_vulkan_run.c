/* The operations: each checks its sizes and records its dispatches. */
#include <string.h>

#include "gpu/tuning.h"
#include "model/ops_vulkan_op.h"
#include "shaders/params.h"

/* A kernel over so many values. */
static int run(struct ops_vulkan *v, enum gpu_kernel kernel, uint32_t group, const struct gpu_arg *args,
               const void *push, uint32_t gx, uint32_t gy, uint64_t n_values)
{
    struct err_msg em = {0};
    struct gpu_dispatch d = {.kernel = kernel, .spec = &group, .push = push, .args = args, .groups = {gx, gy, 1},
                             .work = WORK_PER_VALUE * (double)n_values};
    return finish(v, gpu_dispatch(v->g, &d, &em), &em);
}

/* A kernel with an invocation per element of y[rows, cols]. */
static int run_elements(struct ops_vulkan *v, enum gpu_kernel kernel, const struct gpu_arg *args,
                        const void *push, uint32_t rows, uint32_t cols)
{
    uint32_t group = tuning_element_group(v->g);
    return run(v, kernel, group, args, push, ceil_div(cols, group), rows, (uint64_t)rows * cols);
}

int ops_vulkan_embed_rows(struct ops *o, const struct ops_mat *table, struct ops_buf *y)
{
    struct ops_vulkan *v = ops_vulkan(o);
    struct err_msg em;
    int r = ready(v, &em);
    if (r < 0 || (r = check(y, "embed_rows", v->n_tokens, table->cols, &em)) < 0 || (r = settle(v, NULL, y, &em)) < 0)
        return finish(v, r, &em);
    for (size_t i = 0; i < table->n_slices && r == 0; i++) {
        const struct mat_slice *s = &table->slices[i];
        struct push_embed push = {table->cols, table->kp, s->row0, s->n_rows};
        struct gpu_arg args[] = {meta_arg(v, &v->ids), arg(s->data), arg(s->shared ? s->shared : v->dummy),
                                 arg(y->b)};
        r = run_elements(v, typed(v, GPU_KERNEL_EMBED_ROWS_F32, s->type), args, &push, v->n_tokens,
                         ceil_div(table->cols, 4));
    }
    return r;
}

int ops_vulkan_rms_norm(struct ops *o, const struct ops_buf *x, const struct ops_vec *g, float eps, uint32_t n,
                        struct ops_buf *y)
{
    struct ops_vulkan *v = ops_vulkan(o);
    struct err_msg em;
    uint32_t d = (uint32_t)g->n;
    int r = ready(v, &em);
    if (r < 0 || (r = check(x, "rms_norm", n, d, &em)) < 0 || (r = check(y, "rms_norm", n, d, &em)) < 0)
        return finish(v, r, &em);
    if (ops_vulkan_defers(v, n)) {
        const struct rows how = {.from = ROWS_NORM, .cols = d, .g = g, .eps = eps};
        return finish(v, ops_vulkan_defer(v, x, n, y, &how, &em), &em);
    }
    if ((r = settle(v, x, y, &em)) < 0)
        return finish(v, r, &em);
    struct push_norm push = {d, 0, eps};
    struct gpu_arg args[] = {arg(x->b), arg(g->b), arg(y->b)};
    return run(v, GPU_KERNEL_RMS_NORM, tuning_row_group(v->g, d), args, &push, n, 1, (uint64_t)n * d);
}

int ops_vulkan_rms_norm_add(struct ops *o, const struct ops_buf *x, const struct ops_vec *g, float eps, uint32_t n,
                            struct ops_buf *y)
{
    struct ops_vulkan *v = ops_vulkan(o);
    struct err_msg em;
    uint32_t d = (uint32_t)g->n;
    int r = ready(v, &em);
    if (r < 0 || (r = check(x, "rms_norm_add", n, d, &em)) < 0 || (r = check(y, "rms_norm_add", n, d, &em)) < 0 ||
        (r = settle(v, x, NULL, &em)) < 0 || (r = settle(v, y, y, &em)) < 0)
        return finish(v, r, &em);
    struct push_norm push = {d, 0, eps};
    struct gpu_arg args[] = {arg(x->b), arg(g->b), arg(y->b)};
    return run(v, GPU_KERNEL_RMS_NORM_ADD, tuning_row_group(v->g, d), args, &push, n, 1, (uint64_t)n * d);
}

int ops_vulkan_scale(struct ops *o, struct ops_buf *x, float s, uint32_t n)
{
    struct ops_vulkan *v = ops_vulkan(o);
    struct err_msg em;
    int r = ready(v, &em);
    if (r < 0 || (r = check(x, "scale", n, x->cols, &em)) < 0 || (r = settle(v, x, x, &em)) < 0)
        return finish(v, r, &em);
    struct push_scale push = {(uint32_t)x->cols, s};
    struct gpu_arg args[] = {arg(x->b)};
    return run_elements(v, GPU_KERNEL_SCALE, args, &push, n, (uint32_t)x->cols);
}

int ops_vulkan_layer_norm(struct ops *o, const struct ops_buf *x, const struct ops_vec *g,
                          const struct ops_vec *b, float eps, uint32_t n, struct ops_buf *y)
{
    struct ops_vulkan *v = ops_vulkan(o);
    struct err_msg em;
    uint32_t d = (uint32_t)(g ? g->n : b ? b->n : x->cols);
    int r = ready(v, &em);
    if (r < 0 || (r = check(x, "layer_norm", n, d, &em)) < 0 ||
        (r = check(y, "layer_norm", n, d, &em)) < 0 || (r = settle(v, x, y, &em)) < 0)
        return finish(v, r, &em);
    struct push_norm push = {d, (g ? PARAMS_HAS_GAIN : 0) | (b ? PARAMS_HAS_BIAS : 0), eps};
    struct gpu_arg args[] = {arg(x->b), vec_arg(v, g), vec_arg(v, b), arg(y->b)};
    return run(v, GPU_KERNEL_LAYER_NORM, tuning_row_group(v->g, d), args, &push, n, 1, (uint64_t)n * d);
}

int ops_vulkan_rope(struct ops *o, struct ops_buf *qkv, const struct ops_vec *inv_freq,
                    const struct ops_attention *a)
{
    struct ops_vulkan *v = ops_vulkan(o);
    const struct rows *sum;
    struct gpu_buf *table;
    struct err_msg em;
    int r = ready(v, &em);
    if (r < 0 || (r = check_attention(a, &em)) < 0 ||
        (r = check(qkv, "rope", v->n_tokens, qkv_cols(a), &em)) < 0)
        return finish(v, r, &em);
    if (a->head_dim % 2 || inv_freq->n != a->head_dim / 2)
        return finish(v, err_set(&em, LT_EINVAL, "rope: %zu frequencies for heads of %u", inv_freq->n, a->head_dim),
                      &em);
    if ((r = ops_vulkan_rope_table(v, inv_freq, &table, &em)) < 0 ||
        (r = ops_vulkan_take_sum(v, qkv, v->n_tokens, qkv_cols(a), &sum, &em)) < 0)
        return finish(v, r, &em);
    const uint32_t group = tuning_element_group(v->g), fours = a->head_dim % 8 == 0, rotated = a->n_heads + a->n_kv_heads;
    const uint32_t pairs = (sum ? rotated + a->n_kv_heads : rotated) * (a->head_dim / 2);
    const uint32_t spec[] = {group, fours, sum != NULL};
    const struct push_rope push = {rotated, qkv_cols(a), a->head_dim, sum ? sum->parts.rows : 0, sum ? sum->parts.n : 1,
                                   sum && sum->sum.bias ? PARAMS_HAS_BIAS : 0};
    const struct gpu_arg args[] = {arg(qkv->b), meta_arg(v, &v->pos), arg(table), arg(sum ? v->parts : v->dummy),
                                   vec_arg(v, sum ? sum->sum.bias : NULL)};
    const struct gpu_dispatch d = {
        .kernel = GPU_KERNEL_ROPE,
        .spec = spec,
        .push = &push,
        .args = args,
        .groups = {ceil_div(pairs, group * (fours ? 4 : 1)), v->n_tokens, 1},
        .work = WORK_PER_VALUE * (double)v->n_tokens * pairs * push.parts,
    };
    return finish(v, gpu_dispatch(v->g, &d, &em), &em);
}

int ops_vulkan_qk_norm(struct ops *o, struct ops_buf *qkv, const struct ops_vec *gq, const struct ops_vec *gk, float eps,
                       const struct ops_attention *a)
{
    struct ops_vulkan *v = ops_vulkan(o);
    struct err_msg em;
    int r = ready(v, &em);
    if (r < 0 || (r = check_attention(a, &em)) < 0 ||
        (r = check(qkv, "qk_norm", v->n_tokens, qkv_cols(a), &em)) < 0 || (r = settle(v, qkv, qkv, &em)) < 0)
        return finish(v, r, &em);
    if (gq->n != a->head_dim || gk->n != a->head_dim)
        return finish(v, err_set(&em, LT_EINVAL, "qk_norm: %zu and %zu gains for heads of %u", gq->n, gk->n, a->head_dim), &em);
    struct push_qk_norm push = {a->n_heads, qkv_cols(a), a->head_dim, eps};
    struct gpu_arg args[] = {arg(qkv->b), arg(gq->b), arg(gk->b)};
    return run(v, GPU_KERNEL_QK_NORM, tuning_row_group(v->g, a->head_dim), args, &push, a->n_heads + a->n_kv_heads,
               v->n_tokens, (uint64_t)v->n_tokens * qkv_cols(a));
}

static int glu(struct ops *o, enum gpu_kernel kernel, const struct ops_buf *x, uint32_t n, uint32_t f,
               struct ops_buf *y)
{
    struct ops_vulkan *v = ops_vulkan(o);
    struct err_msg em;
    int r = ready(v, &em);
    if (r < 0 || (r = check(x, "gated unit", n, 2 * (uint64_t)f, &em)) < 0 ||
        (r = check(y, "gated unit", n, f, &em)) < 0)
        return finish(v, r, &em);
    if (kernel != GPU_KERNEL_GEGLU && ops_vulkan_defers(v, n)) {
        const struct rows how = {.from = kernel == GPU_KERNEL_SWIGLU ? ROWS_SWIGLU : ROWS_GEGLU_TANH, .cols = f};
        return finish(v, ops_vulkan_defer(v, x, n, y, &how, &em), &em);
    }
    if ((r = settle(v, x, y, &em)) < 0)
        return finish(v, r, &em);
    struct push_glu push = {f};
    struct gpu_arg args[] = {arg(x->b), arg(y->b)};
    return run_elements(v, kernel, args, &push, n, f);
}

int ops_vulkan_swiglu(struct ops *o, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y)
{
    return glu(o, GPU_KERNEL_SWIGLU, x, n, f, y);
}

int ops_vulkan_geglu(struct ops *o, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y)
{
    return glu(o, GPU_KERNEL_GEGLU, x, n, f, y);
}

int ops_vulkan_geglu_tanh(struct ops *o, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y)
{
    return glu(o, GPU_KERNEL_GEGLU_TANH, x, n, f, y);
}

int ops_vulkan_softmax_groups(struct ops *o, struct ops_buf *x, uint32_t n, uint32_t groups, uint32_t r_len)
{
    struct ops_vulkan *v = ops_vulkan(o);
    struct err_msg em;
    int r = ready(v, &em);
    if (r < 0 || (r = check(x, "softmax_groups", n, (uint64_t)groups * r_len, &em)) < 0 || (r = settle(v, x, x, &em)) < 0)
        return finish(v, r, &em);
    struct push_softmax push = {groups, r_len};
    struct gpu_arg args[] = {arg(x->b)};
    return run(v, GPU_KERNEL_SOFTMAX_GROUPS, tuning_row_group(v->g, r_len), args, &push, groups, n, (uint64_t)n * groups * r_len);
}

/* From x[n_in, d] to y[n_out, d] through one part of the batch's description. */
static int pool(struct ops_vulkan *v, enum gpu_kernel kernel, const struct ops_buf *x, uint32_t n_in,
                const struct meta_part *part, const void *push, struct ops_buf *y, uint32_t n_out)
{
    struct err_msg em;
    uint32_t d = (uint32_t)x->cols;
    int r = ready(v, &em);
    if (r < 0 || (r = check(x, "pool input", n_in, d, &em)) < 0 ||
        (r = check(y, "pool output", n_out, d, &em)) < 0 || (r = settle(v, x, y, &em)) < 0)
        return finish(v, r, &em);
    struct gpu_arg args[] = {arg(x->b), meta_arg(v, part), arg(y->b)};
    return run_elements(v, kernel, args, push, n_out, d);
}

int ops_vulkan_gather_pooled(struct ops *o, const struct ops_buf *x, struct ops_buf *y)
{
    struct ops_vulkan *v = ops_vulkan(o);
    struct push_rows push = {(uint32_t)x->cols};
    return pool(v, GPU_KERNEL_GATHER_POOLED, x, v->n_tokens, &v->pooled_rows, &push, y, v->n_pooled);
}

int ops_vulkan_mean_pool(struct ops *o, const struct ops_buf *x, struct ops_buf *y)
{
    struct ops_vulkan *v = ops_vulkan(o);
    struct push_rows push = {(uint32_t)x->cols};
    return pool(v, GPU_KERNEL_MEAN_POOL, x, v->n_pooled, &v->pooled_offset, &push, y, v->n_seqs);
}

int ops_vulkan_pick_pooled(struct ops *o, const struct ops_buf *x, bool last, struct ops_buf *y)
{
    struct ops_vulkan *v = ops_vulkan(o);
    struct push_pick push = {(uint32_t)x->cols, last};
    return pool(v, GPU_KERNEL_PICK_POOLED, x, v->n_pooled, &v->pooled_offset, &push, y, v->n_seqs);
}

int ops_vulkan_l2_normalize(struct ops *o, struct ops_buf *x, uint32_t n)
{
    struct ops_vulkan *v = ops_vulkan(o);
    struct err_msg em;
    uint32_t d = (uint32_t)x->cols;
    int r = ready(v, &em);
    if (r < 0 || (r = check(x, "l2_normalize", n, d, &em)) < 0 || (r = settle(v, x, x, &em)) < 0)
        return finish(v, r, &em);
    struct push_rows push = {d};
    struct gpu_arg args[] = {arg(x->b)};
    return run(v, GPU_KERNEL_L2_NORMALIZE, tuning_row_group(v->g, d), args, &push, n, 1, (uint64_t)n * d);
}
