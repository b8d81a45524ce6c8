/* What batches need beside their buffers: how much of it there will be, so that a plan can count it, and how it is kept.
 *
 * Each piece is made when an op first needs it, for the largest batch that is expected, so that it need not grow within a batch, where the
 * smaller one could not be given back. */
#include "gpu/tuning.h"
#include "model/ops_vulkan_op.h"
#include "shaders/params.h"

#define META_BUFFERS 2 /* the device's and the host's */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Attention's keys and values as f16, a scale for each block. */
static uint64_t kv_bytes(const struct ops_vulkan *v, const struct ops_use *u)
{
    const struct tuning_attention_coop t = tuning_attention_coop(v->g, u->head_dim);
    const uint64_t heads = 2 * (uint64_t)u->n_kv_heads, align = gpu_limits(v->g)->offset_align;
    if (!t.bq)
        return 0;
    return heads * u->rows * t.d8 * 16 + align + heads * (u->rows / t.bq + u->texts) * 4;
}

/* Of products whose rows are packed first, as whole numbers or as f16. */
static void product_bytes(const struct ops_vulkan *v, const struct ops_use *u, struct scratch *s)
{
    const uint32_t kp = ceil_div(u->product_cols, PARAMS_K_PAD) * PARAMS_K_PAD, few = (uint32_t)least(u->rows, tuning_few_rows(v->g));
    const bool half = tuning_path(v->g, u->rows, TUNING_AS_HALF) == TUNING_COOP;
    const bool whole = tuning_path(v->g, u->rows, TUNING_AS_HALF | TUNING_AS_INT8) == TUNING_DOT;
    if (!half && !whole)
        return;
    s->pack = 4 * (uint64_t)u->rows * (half ? PARAMS_HALF_WORDS(kp) : PARAMS_INT8_WORDS(kp, 2));
    s->parts = tuning_parts_bytes(v->g, few, u->product_rows, kp);
    if (!half)
        return;
    const struct gpu_coop *c = &gpu_limits(v->g)->coop;
    const struct tuning_few f = tuning_few(v->g, few, u->product_rows, kp);
    const struct tuning_fragments t = tuning_fragments(v->g, u->rows, u->product_rows, kp);
    if (f.rn)
        s->fragments_x = ops_vulkan_few_x_bytes(&f, kp);
    if (t.bm) {
        const uint64_t x = ops_vulkan_fragments_x_bytes(&t, u->rows, kp);
        s->fragments_x = x > s->fragments_x ? x : s->fragments_x;
        s->fragments_w = least(tuning_fragment_bytes(v->g), (uint64_t)ceil_div(u->product_rows, t.bm) * t.bm * 2 * (uint64_t)(kp + t.ahead * c->k));
    }
}

static struct scratch scratch_of(const struct ops_vulkan *v, const struct ops_use *u)
{
    struct scratch s = {.kv = kv_bytes(v, u), .readback = 4 * (uint64_t)u->texts * u->out_cols};
    product_bytes(v, u, &s);
    s.ropes = u->n_freqs * ops_vulkan_rope_bytes(u->longest, u->head_dim / 2);
    return s;
}

uint64_t ops_vulkan_scratch_bytes(struct ops *o, const struct ops_use *u)
{
    const struct ops_vulkan *v = ops_vulkan(o);
    const struct scratch s = scratch_of(v, u);
    return s.pack + s.parts + s.kv + s.fragments_x + s.fragments_w + s.ropes + s.readback + gpu_staging_bytes(v->g) +
           META_BUFFERS * ops_vulkan_meta_bytes(o->info.max_batch_tokens);
}

static void trim(struct ops_vulkan *v, struct gpu_buf **b, uint64_t expected)
{
    if (*b && gpu_buf_len(*b) > (expected + 15) / 16 * 16)
        gpu_buf_destroy(v->g, b);
}

void ops_vulkan_expect(struct ops *o, const struct ops_use *u)
{
    struct ops_vulkan *v = ops_vulkan(o);
    v->expected = scratch_of(v, u);
    v->packed.x = v->spread.x = NULL;
    trim(v, &v->pack, v->expected.pack);
    trim(v, &v->parts, v->expected.parts);
    trim(v, &v->kv, v->expected.kv);
    trim(v, &v->fragments_x, v->expected.fragments_x);
    trim(v, &v->fragments_w, v->expected.fragments_w);
    trim(v, &v->readback, v->expected.readback);
    for (int i = 0; i < ROPE_TABLES; i++)
        if (v->ropes[i].b && gpu_buf_len(v->ropes[i].b) > ops_vulkan_rope_bytes(u->longest, v->ropes[i].freq->n))
            ops_vulkan_rope_forget(v, v->ropes[i].freq);
}

int ops_vulkan_grow(struct ops_vulkan *v, struct gpu_buf **b, uint64_t len, uint64_t expected, struct err_msg *em)
{
    if (*b && gpu_buf_len(*b) >= len)
        return 0;
    gpu_buf_retire(v->g, b);
    return gpu_buf_create(v->g, len > expected ? len : expected, GPU_MEM_DEVICE, b, em);
}
