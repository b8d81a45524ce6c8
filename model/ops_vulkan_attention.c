/* Attention: the way from gpu/tuning.h, and its dispatches. */
#include <string.h>

#include "gpu/tuning.h"
#include "model/ops_vulkan_op.h"
#include "shaders/params.h"

/* Scores and sums of all tiles. */
static double attention_work(const struct ops_vulkan *v, const struct ops_attention *a, uint32_t bq, uint32_t bk)
{
    double pairs = 0;
    for (uint32_t s = 0; s < v->n_seqs; s++) {
        const double len = v->seq_offset[s + 1] - v->seq_offset[s];
        const double seen = a->window && 2.0 * a->window < len ? 2.0 * a->window : len;
        pairs += (len + bq) * (seen + bk) / (a->causal ? 2 : 1);
    }
    return pairs * a->n_heads * (4.0 * a->head_dim + WORK_PER_VALUE);
}

static uint32_t window_of(const struct ops_attention *a)
{
    return a->window ? a->window : PARAMS_NO_WINDOW;
}

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* Keys and values as f16, and what their blocks are to be multiplied by: parts of v->kv. */
struct packed_kv {
    struct gpu_arg values, scales;
};

static int pack_kv(struct ops_vulkan *v, const struct ops_buf *qkv, const struct ops_attention *a, const struct tuning_attention_coop *t,
                   struct packed_kv *kv)
{
    struct err_msg em = {0};
    const uint64_t heads = 2 * (uint64_t)a->n_kv_heads, align = gpu_limits(v->g)->offset_align;
    const uint64_t len = heads * v->n_tokens * t->d8 * 16, at = (len + align - 1) / align * align;
    int r = ops_vulkan_grow(v, &v->kv, at + heads * v->n_blocks * 4, v->expected.kv, &em);
    if (r < 0)
        return finish(v, r, &em);
    *kv = (struct packed_kv){{v->kv, 0, len}, {v->kv, at, heads * v->n_blocks * 4}};
    const struct push_pack_kv push = {a->n_heads, a->n_kv_heads, v->n_tokens, v->n_blocks};
    const uint32_t spec[] = {tuning_row_group(v->g, t->bq * t->d8), a->head_dim, t->d8, t->bq};
    struct gpu_arg args[] = {arg(qkv->b), meta_arg(v, &v->blocks), kv->values, kv->scales};
    struct gpu_dispatch d = {
        .kernel = GPU_KERNEL_PACK_KV,
        .spec = spec,
        .push = &push,
        .args = args,
        .groups = {v->n_blocks, a->n_kv_heads, 2},
        .work = WORK_PER_VALUE * (double)heads * v->n_tokens * a->head_dim,
    };
    return finish(v, gpu_dispatch(v->g, &d, &em), &em);
}

static int run_coop(struct ops_vulkan *v, const struct ops_buf *qkv, const struct ops_attention *a, const struct tuning_attention_coop *t,
                    struct ops_buf *y)
{
    struct err_msg em = {0};
    struct packed_kv kv;
    int r = ops_vulkan_blocks(v, t->bq, &em);
    if (r < 0)
        return finish(v, r, &em);
    if ((r = pack_kv(v, qkv, a, t, &kv)) < 0)
        return r;
    const uint32_t spec[] = {t->group, t->subgroups, a->head_dim, t->d8, t->bk, t->pass, t->tm, t->tn, t->tk, a->causal, t->split,
                             bits_of(a->cap * 1.44269504f)};
    const struct push_attention_coop push = {a->n_heads, a->n_kv_heads, a->scale, window_of(a), v->n_tokens, v->n_blocks};
    struct gpu_arg args[] = {arg(qkv->b), meta_arg(v, &v->blocks), kv.values, kv.scales, arg(y->b)};
    struct gpu_dispatch d = {
        .kernel = GPU_KERNEL_ATTENTION_COOP,
        .spec = spec,
        .push = &push,
        .args = args,
        .groups = {v->n_blocks, a->n_heads, 1},
        .work = attention_work(v, a, t->bq, t->bk),
    };
    return finish(v, gpu_dispatch(v->g, &d, &em), &em);
}

static int run_f32(struct ops_vulkan *v, const struct ops_buf *qkv, const struct ops_attention *a, struct ops_buf *y)
{
    struct err_msg em = {0};
    const struct tuning_attention t = tuning_attention(v->g, a->head_dim, a->n_heads / a->n_kv_heads);
    const uint32_t tokens = t.bq / t.share;
    int r = ops_vulkan_blocks(v, tokens, &em);
    if (r < 0)
        return finish(v, r, &em);
    const uint32_t spec[] = {t.group, a->head_dim, t.tx, t.rq, t.rk, t.c4, t.vk, t.share, a->causal, bits_of(a->cap), t.run};
    const struct push_attention push = {a->n_heads, a->n_kv_heads, a->scale, window_of(a)};
    struct gpu_arg args[] = {arg(qkv->b), meta_arg(v, &v->blocks), arg(y->b)};
    struct gpu_dispatch d = {
        .kernel = GPU_KERNEL_ATTENTION,
        .spec = spec,
        .push = &push,
        .args = args,
        .groups = {v->n_blocks, a->n_heads / t.share, 1},
        .work = attention_work(v, a, tokens, t.bk),
    };
    return finish(v, gpu_dispatch(v->g, &d, &em), &em);
}

int ops_vulkan_attention(struct ops *o, const struct ops_buf *qkv, const struct ops_attention *a,
                         struct ops_buf *y)
{
    struct ops_vulkan *v = ops_vulkan(o);
    struct err_msg em;
    int r = ready(v, &em);
    if (r < 0 || (r = check_attention(a, &em)) < 0 ||
        (r = check(qkv, "attention input", v->n_tokens, qkv_cols(a), &em)) < 0 ||
        (r = check(y, "attention output", v->n_tokens, (uint64_t)a->n_heads * a->head_dim, &em)) < 0 ||
        (r = settle(v, qkv, y, &em)) < 0)
        return finish(v, r, &em);
    const struct tuning_attention_coop t = a->half ? tuning_attention_coop(v->g, a->head_dim) : (struct tuning_attention_coop){0};
    return t.bq ? run_coop(v, qkv, a, &t, y) : run_f32(v, qkv, a, y);
}
