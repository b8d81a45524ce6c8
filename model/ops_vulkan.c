#include "model/ops_vulkan.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "gpu/tuning.h"
#include "model/ops_vulkan_op.h"

#define DEFAULT_BATCH_TOKENS 8192
#define FREQ_MAX 256 /* vectors up to this length keep a host copy */

static void destroy(struct ops *o)
{
    struct ops_vulkan *v = ops_vulkan(o);
    if (v->g) {
        for (int i = 0; i < ROPE_TABLES; i++)
            gpu_buf_destroy(v->g, &v->ropes[i].b);
        gpu_buf_destroy(v->g, &v->dummy);
        gpu_buf_destroy(v->g, &v->meta);
        gpu_buf_destroy(v->g, &v->meta_host);
        gpu_buf_destroy(v->g, &v->readback);
        gpu_buf_destroy(v->g, &v->pack);
        gpu_buf_destroy(v->g, &v->parts);
        gpu_buf_destroy(v->g, &v->kv);
        gpu_buf_destroy(v->g, &v->fragments_x);
        gpu_buf_destroy(v->g, &v->fragments_w);
        gpu_destroy(&v->g);
    }
    free(v->seq_offset);
    free(v);
}

static void room_destroy(struct ops *o, struct ops_room **room)
{
    if (*room)
        gpu_buf_destroy(ops_vulkan(o)->g, &(*room)->b);
    free(*room);
    *room = NULL;
}

static int room_create(struct ops *o, size_t n_floats, struct ops_room **out, struct err_msg *em)
{
    const uint64_t most = gpu_limits(ops_vulkan(o)->g)->max_range;
    if (n_floats > most / 4)
        return err_set(em, LT_ELIMIT, "%s: a buffer of %zu floats, one binding holds %llu bytes", o->info.name, n_floats,
                       (unsigned long long)most);
    struct ops_room *room = calloc(1, sizeof *room);
    if (!room)
        return err_set(em, LT_ENOMEM, "no memory for a buffer");
    const int r = gpu_buf_create(ops_vulkan(o)->g, 4 * (uint64_t)n_floats, GPU_MEM_DEVICE, &room->b, em);
    if (r < 0)
        room_destroy(o, &room);
    else
        *out = room;
    return r;
}

static void buf_destroy(struct ops *o, struct ops_buf **b)
{
    if (*b) {
        ops_vulkan_forget_buf(ops_vulkan(o), *b);
        room_destroy(o, &(*b)->own);
        free(*b);
        *b = NULL;
    }
}

static int buf_create_in(struct ops *o, struct ops_room *room, size_t max_rows, size_t cols, struct ops_buf **out, struct err_msg *em)
{
    size_t n;
    if (!size_mul(max_rows, cols, &n) || n > gpu_buf_len(room->b) / 4)
        return err_set(em, LT_ELIMIT, "a buffer of %zu x %zu in a room of %llu bytes", max_rows, cols,
                       (unsigned long long)gpu_buf_len(room->b));
    struct ops_buf *b = calloc(1, sizeof *b);
    if (!b)
        return err_set(em, LT_ENOMEM, "no memory for a buffer");
    *b = (struct ops_buf){.b = room->b, .max_rows = max_rows, .cols = cols, .rows = &room->rows};
    *out = b;
    return 0;
}

static int buf_create(struct ops *o, size_t max_rows, size_t cols, struct ops_buf **out, struct err_msg *em)
{
    struct ops_room *room = NULL;
    size_t n;
    int r;
    if (!size_mul(max_rows, cols, &n))
        return err_set(em, LT_ELIMIT, "a buffer of %zu x %zu is too large", max_rows, cols);
    if ((r = room_create(o, n, &room, em)) < 0)
        return r;
    if ((r = buf_create_in(o, room, max_rows, cols, out, em)) < 0) {
        room_destroy(o, &room);
        return r;
    }
    (*out)->own = room;
    room->rows.b = *out;
    return 0;
}

static int buf_write(struct ops *o, struct ops_buf *b, const float *x, size_t n)
{
    if (n > b->max_rows * b->cols)
        return LT_ELIMIT;
    ops_vulkan_forget_buf(ops_vulkan(o), b->rows->b);
    b->rows->b = b;
    return gpu_upload(ops_vulkan(o)->g, b->b, 0, x, n * 4, NULL);
}

static int buf_read(struct ops *o, const struct ops_buf *b, float *x, size_t n)
{
    if (n > b->max_rows * b->cols)
        return LT_ELIMIT;
    if (b->rows->b != b || b->rows->from != ROWS_THERE)
        return LT_EINVAL;
    o->info.n_readbacks++;
    return gpu_download(ops_vulkan(o)->g, b->b, 0, x, n * 4, NULL);
}

static void vec_destroy(struct ops *o, struct ops_vec **vec)
{
    if (*vec) {
        ops_vulkan_rope_forget(ops_vulkan(o), *vec);
        gpu_buf_destroy(ops_vulkan(o)->g, &(*vec)->b);
        free((*vec)->host);
        free(*vec);
        *vec = NULL;
    }
}

static int vec_create(struct ops *o, const float *x, size_t n, struct ops_vec **out, struct err_msg *em)
{
    struct ops_vulkan *v = ops_vulkan(o);
    int r = err_set(em, LT_ENOMEM, "no memory for a vector of %zu", n);
    struct ops_vec *vec = calloc(1, sizeof *vec);
    if (!vec)
        goto out;
    vec->n = n;
    if (n <= FREQ_MAX) {
        if (!(vec->host = malloc(n * 4 + 4)))
            goto out;
        memcpy(vec->host, x, n * 4);
    }
    if ((r = gpu_buf_create(v->g, n * 4, GPU_MEM_DEVICE, &vec->b, em)) < 0)
        goto out;
    if ((r = gpu_upload(v->g, vec->b, 0, x, n * 4, em)) < 0)
        goto out;
    *out = vec;
    vec = NULL;
out:
    vec_destroy(o, &vec);
    return r;
}

static int profile_start(struct ops *o, struct err_msg *em)
{
    return gpu_profile_start(ops_vulkan(o)->g, em);
}

static size_t profile(struct ops *o, struct ops_time *times, size_t max)
{
    const struct gpu_profile_row *rows = gpu_profile(ops_vulkan(o)->g);
    size_t n = 0;
    for (int i = 0; rows && i < GPU_KERNEL_COUNT && n < max; i++)
        if (rows[i].n)
            times[n++] = (struct ops_time){rows[i].kernel, rows[i].n, rows[i].ns * 1e-6, rows[i].work};
    return n;
}

static const struct ops_vtbl vtbl = {
    .destroy = destroy,
    .buf_create = buf_create,
    .buf_destroy = buf_destroy,
    .room_create = room_create,
    .room_destroy = room_destroy,
    .buf_create_in = buf_create_in,
    .mat_create = ops_vulkan_mat_create,
    .mat_bytes = ops_vulkan_mat_bytes,
    .table_create = ops_vulkan_table_create,
    .mat_destroy = ops_vulkan_mat_destroy,
    .vec_create = vec_create,
    .vec_destroy = vec_destroy,
    .scratch_bytes = ops_vulkan_scratch_bytes,
    .expect = ops_vulkan_expect,
    .begin = ops_vulkan_begin,
    .embed_rows = ops_vulkan_embed_rows,
    .rms_norm = ops_vulkan_rms_norm,
    .rms_norm_add = ops_vulkan_rms_norm_add,
    .scale = ops_vulkan_scale,
    .layer_norm = ops_vulkan_layer_norm,
    .matmul = ops_vulkan_matmul,
    .qk_norm = ops_vulkan_qk_norm,
    .rope = ops_vulkan_rope,
    .attention = ops_vulkan_attention,
    .swiglu = ops_vulkan_swiglu,
    .geglu = ops_vulkan_geglu,
    .geglu_tanh = ops_vulkan_geglu_tanh,
    .softmax_groups = ops_vulkan_softmax_groups,
    .gather_pooled = ops_vulkan_gather_pooled,
    .mean_pool = ops_vulkan_mean_pool,
    .pick_pooled = ops_vulkan_pick_pooled,
    .l2_normalize = ops_vulkan_l2_normalize,
    .end = ops_vulkan_end,
    .buf_write = buf_write,
    .buf_read = buf_read,
    .profile_start = profile_start,
    .profile = profile,
};

/* Most rows a batch may have: one work-group per row in x or y, and the widest buffer in one binding. */
static uint32_t batch_tokens(const struct gpu_limits *l, const struct ops_vulkan_params *p)
{
    uint64_t n = p->max_batch_tokens ? p->max_batch_tokens : DEFAULT_BATCH_TOKENS;
    if (n > l->max_groups[0])
        n = l->max_groups[0];
    if (n > l->max_groups[1])
        n = l->max_groups[1];
    if (p->max_cols) { /* with the rows that a room has behind the last */
        const uint64_t most = l->max_range / 4 / p->max_cols / OPS_ROWS_STEP * OPS_ROWS_STEP;
        n = n > most ? most : n;
    }
    return (uint32_t)n;
}

int ops_vulkan_create(struct ops **out, const struct ops_vulkan_params *p, struct err_msg *em)
{
    struct gpu_params params = {
        .device = p->device,
        .cache_dir = p->cache_dir,
        .path = p->path,
        .memory_bytes = p->memory_bytes,
        .host_bytes = p->host_bytes,
        .validate = p->validate,
        .words_only = p->words_only,
        .fake_max_range = p->fake_max_range,
        .timeout_ms = p->timeout_ms,
        .submit_work = p->submit_work,
    };
    uint32_t zero[4] = {0};
    int r;
    struct ops_vulkan *v = calloc(1, sizeof *v);
    if (!v)
        return err_set(em, LT_ENOMEM, "no memory for a device");
    struct ops *o = &v->base;
    o->v = &vtbl;
    if ((r = gpu_create(&v->g, &params, em)) < 0)
        goto out;
    const struct gpu_device_info *info = gpu_info(v->g);
    memcpy(o->info.name, info->name, sizeof o->info.name);
    memcpy(o->info.uuid, info->uuid, sizeof o->info.uuid);
    strcpy(o->info.kind, "vulkan");
    o->info.software = info->software;
    o->info.shared = info->unified;
    o->info.memory_bytes = info->memory_bytes;
    o->info.free_bytes = gpu_memory_free(v->g);
    o->info.max_head_dim = ATTENTION_MAX_DIM;
    o->info.rooms = true;
    o->info.rounding = o->info.attention_rounding = tuning_rounding(v->g);
    o->info.int8_blocks = tuning_rounds_to_int8(v->g);
    o->info.max_batch_tokens = batch_tokens(gpu_limits(v->g), p);
    if (!o->info.max_batch_tokens) {
        r = err_set(em, LT_ELIMIT, "%s: %d rows of %u floats do not fit one binding", info->name, OPS_ROWS_STEP, p->max_cols);
        goto out;
    }
    if ((r = gpu_buf_create(v->g, sizeof zero, GPU_MEM_DEVICE, &v->dummy, em)) < 0)
        goto out;
    if ((r = gpu_upload(v->g, v->dummy, 0, zero, sizeof zero, em)) < 0)
        goto out;
    const uint64_t meta = ops_vulkan_meta_bytes(o->info.max_batch_tokens);
    if ((r = gpu_buf_create(v->g, meta, GPU_MEM_DEVICE, &v->meta, em)) < 0)
        goto out;
    if ((r = gpu_buf_create(v->g, meta, GPU_MEM_UPLOAD, &v->meta_host, em)) < 0)
        goto out;
    if (!(v->seq_offset = malloc(4 * ((size_t)o->info.max_batch_tokens + 1)))) {
        r = err_set(em, LT_ENOMEM, "no memory for a batch");
        goto out;
    }
    *out = o;
    o = NULL;
out:
    ops_destroy(&o);
    return r;
}
