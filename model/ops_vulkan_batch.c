/* A batch's beginning and end: its description goes up and its result comes down in the one submission. */
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "model/ops_vulkan_impl.h"

#define ROPE_MIN_POSITIONS 512

/* Room for len bytes of the batch's description, copied to the device within the batch. */
static int meta_add(struct ops_vulkan *v, uint64_t len, struct meta_part *part, void **host, struct err_msg *em)
{
    uint64_t align = gpu_limits(v->g)->offset_align;
    uint64_t offset = (v->meta_used + align - 1) / align * align;
    if (offset + len > gpu_buf_len(v->meta))
        return err_set(em, LT_ELIMIT, "the batch's description is too long");
    *part = (struct meta_part){offset, len};
    *host = (uint8_t *)gpu_buf_host(v->meta_host) + offset;
    v->meta_used = offset + len;
    return 0;
}

static int check_batch(const struct ops_vulkan *v, const struct ops_batch *b, struct err_msg *em)
{
    uint32_t max = v->base.info.max_batch_tokens;
    if (b->n_tokens > max || b->n_seqs > b->n_tokens)
        return err_set(em, LT_ELIMIT, "%u tokens in %u texts, at most %u fit a batch", b->n_tokens,
                       b->n_seqs, max);
    if (!b->n_seqs || b->seq_offset[0] != 0 || b->seq_offset[b->n_seqs] != b->n_tokens)
        return err_set(em, LT_EINVAL, "batch offsets do not cover the batch");
    for (uint32_t s = 0; s < b->n_seqs; s++) {
        if (b->seq_offset[s] >= b->seq_offset[s + 1] ||
            b->pool_skip[s] >= b->seq_offset[s + 1] - b->seq_offset[s])
            return err_set(em, LT_EINVAL, "text %u of the batch has no pooled rows", s);
    }
    return 0;
}

static int fill_meta(struct ops_vulkan *v, const struct ops_batch *b, struct err_msg *em)
{
    void *ids, *pos, *rows, *offset;
    uint64_t n = b->n_tokens;
    int r;
    v->meta_used = 0;
    if ((r = meta_add(v, 4 * n, &v->ids, &ids, em)) < 0)
        return r;
    if ((r = meta_add(v, 4 * n, &v->pos, &pos, em)) < 0)
        return r;
    if ((r = meta_add(v, 4 * n, &v->pooled_rows, &rows, em)) < 0)
        return r;
    if ((r = meta_add(v, 4 * ((uint64_t)b->n_seqs + 1), &v->pooled_offset, &offset, em)) < 0)
        return r;
    memcpy(ids, b->ids, 4 * n);
    memcpy(v->seq_offset, b->seq_offset, 4 * ((size_t)b->n_seqs + 1));
    uint32_t n_pooled = 0;
    v->max_len = 0;
    for (uint32_t s = 0; s < b->n_seqs; s++) {
        uint32_t start = b->seq_offset[s], end = b->seq_offset[s + 1];
        ((uint32_t *)offset)[s] = n_pooled;
        for (uint32_t row = start; row < end; row++) {
            ((uint32_t *)pos)[row] = row - start;
            if (row - start >= b->pool_skip[s])
                ((uint32_t *)rows)[n_pooled++] = row;
        }
        if (end - start > v->max_len)
            v->max_len = end - start;
    }
    ((uint32_t *)offset)[b->n_seqs] = n_pooled;
    for (uint64_t i = n_pooled; i < n; i++)
        ((uint32_t *)rows)[i] = 0;
    v->n_tokens = b->n_tokens;
    v->n_seqs = b->n_seqs;
    v->n_pooled = n_pooled;
    v->blocks_bq = 0;
    return gpu_copy(v->g, v->meta, 0, v->meta_host, 0, v->meta_used, em);
}

/* Drops the tables of freq, or all. */
static void forget_ropes(struct ops_vulkan *v, const struct ops_vec *freq)
{
    for (int i = 0; i < ROPE_TABLES; i++) {
        if (freq && v->ropes[i].freq != freq)
            continue;
        gpu_buf_retire(v->g, &v->ropes[i].b);
        v->ropes[i] = (struct rope_table){0};
    }
}

int ops_vulkan_begin(struct ops *o, const struct ops_batch *b, struct err_msg *em)
{
    struct ops_vulkan *v = ops_vulkan(o);
    int r;
    v->in_batch = false;
    v->failed = 0;
    o->info.failed.text[0] = 0;
    ops_vulkan_forget_late(v);
    if ((r = check_batch(v, b, em)) < 0)
        return r;
    if (v->ropes_pending) /* of a batch that was dropped: their contents never reached the device */
        forget_ropes(v, NULL);
    v->ropes_pending = false;
    if ((r = gpu_begin(v->g, em)) < 0)
        return r;
    v->submits_at_begin = gpu_counts(v->g)->submits;
    if ((r = fill_meta(v, b, em)) < 0)
        return r;
    v->in_batch = true;
    return 0;
}

int ops_vulkan_blocks(struct ops_vulkan *v, uint32_t bq, struct err_msg *em)
{
    void *host;
    uint32_t n = 0;
    int r;
    if (v->blocks_bq == bq)
        return 0;
    for (uint32_t s = 0; s < v->n_seqs; s++)
        n += (v->seq_offset[s + 1] - v->seq_offset[s] + bq - 1) / bq;
    if ((r = meta_add(v, 16 * (uint64_t)n, &v->blocks, &host, em)) < 0)
        return r;
    uint32_t *block = host;
    for (uint32_t s = 0; s < v->n_seqs; s++) {
        const uint32_t first = (uint32_t)(block - (uint32_t *)host) / 4;
        for (uint32_t row = v->seq_offset[s]; row < v->seq_offset[s + 1]; row += bq, block += 4) {
            block[0] = v->seq_offset[s];
            block[1] = v->seq_offset[s + 1];
            block[2] = row;
            block[3] = first;
        }
    }
    v->blocks_bq = bq;
    v->n_blocks = n;
    return gpu_copy(v->g, v->meta, v->blocks.offset, v->meta_host, v->blocks.offset, v->blocks.len, em);
}

/* Angles as Hugging Face makes them: an f32 product of an f32 position and an f32 frequency. */
static void fill_rope(const struct ops_vec *freq, uint32_t positions, float *out)
{
    for (uint32_t p = 0; p < positions; p++) {
        for (size_t i = 0; i < freq->n; i++, out += 2) {
            float angle = (float)p * freq->host[i];
            out[0] = (float)cos((double)angle);
            out[1] = (float)sin((double)angle);
        }
    }
}

static uint32_t rope_positions(uint32_t longest)
{
    uint32_t n = ROPE_MIN_POSITIONS;
    while (n < longest)
        n *= 2;
    return n;
}

uint64_t ops_vulkan_rope_bytes(uint32_t longest, size_t n_freqs)
{
    return (uint64_t)rope_positions(longest) * n_freqs * 8;
}

int ops_vulkan_rope_table(struct ops_vulkan *v, const struct ops_vec *freq, struct gpu_buf **table,
                          struct err_msg *em)
{
    struct rope_table *t = NULL;
    struct gpu_buf *host = NULL;
    const uint32_t positions = rope_positions(v->max_len);
    int r;
    for (int i = 0; i < ROPE_TABLES; i++) {
        if (v->ropes[i].freq == freq)
            t = &v->ropes[i];
    }
    if (t && t->positions >= v->max_len) {
        *table = t->b;
        return 0;
    }
    if (!t) {
        t = &v->ropes[v->rope_next];
        v->rope_next = (v->rope_next + 1) % ROPE_TABLES;
    }
    const uint64_t len = ops_vulkan_rope_bytes(v->max_len, freq->n);
    gpu_buf_retire(v->g, &t->b);
    *t = (struct rope_table){0};
    if ((r = gpu_buf_create(v->g, len, GPU_MEM_UPLOAD, &host, em)) < 0)
        return r;
    fill_rope(freq, positions, gpu_buf_host(host));
    if ((r = gpu_buf_create(v->g, len, GPU_MEM_DEVICE, &t->b, em)) < 0)
        goto out;
    if ((r = gpu_copy(v->g, t->b, 0, host, 0, len, em)) < 0)
        goto out;
    v->ropes_pending = true;
    t->freq = freq;
    t->positions = positions;
    *table = t->b;
out:
    gpu_buf_retire(v->g, &host);
    return r;
}

void ops_vulkan_rope_forget(struct ops_vulkan *v, const struct ops_vec *freq)
{
    forget_ropes(v, freq);
}

int ops_vulkan_end(struct ops *o, const struct ops_buf *src, uint32_t rows, float *out, struct err_msg *em)
{
    struct ops_vulkan *v = ops_vulkan(o);
    int r;
    if (!v->in_batch || v->failed)
        return err_set(em, v->failed ? v->failed : LT_EINVAL, "the batch failed or was not begun");
    v->in_batch = false;
    uint64_t len = src ? (uint64_t)rows * src->cols * 4 : 0;
    if (src && rows > src->max_rows)
        return err_set(em, LT_ELIMIT, "%u rows of a buffer that has %zu", rows, src->max_rows);
    if ((src && (r = ops_vulkan_reads(v, src, em)) < 0) || (r = ops_vulkan_settle(v, em)) < 0)
        return r;
    if (len && (!v->readback || gpu_buf_len(v->readback) < len)) {
        gpu_buf_retire(v->g, &v->readback);
        if ((r = gpu_buf_create(v->g, len, GPU_MEM_READBACK, &v->readback, em)) < 0)
            return r;
    }
    if (len && (r = gpu_copy(v->g, v->readback, 0, src->b, 0, len, em)) < 0)
        return r;
    r = gpu_submit(v->g, em);
    o->info.n_submits += gpu_counts(v->g)->submits - v->submits_at_begin;
    o->info.allocated_bytes = gpu_counts(v->g)->memory_bytes;
    if (r < 0)
        return r;
    v->ropes_pending = false;
    if (len) {
        memcpy(out, gpu_buf_host(v->readback), len);
        o->info.n_readbacks++;
    }
    return 0;
}
