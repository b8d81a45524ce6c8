/* Weights on the device: in the bits they have in the file, rows padded with zeros to whole blocks of PARAMS_K_PAD values, long
 * matrices split by rows into bindings. A type with blocks has two planes, see ops_vulkan_pack.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/ops_vulkan_impl.h"
#include "shaders/params.h"

#define CHUNK_BYTES (4u << 20)
#define HALF_END 65504.0f    /* f16's largest */
#define BF16_HALF_END 0x4780 /* 65536 */

static uint64_t data_bytes(const struct held *h, uint32_t kp)
{
    return (uint64_t)(kp / h->block) * h->data;
}

static uint64_t shared_bytes(const struct held *h, uint32_t kp)
{
    return (uint64_t)(kp / h->block) * h->shared;
}

/* The part that holds row *row of all, which becomes its row there. */
static const struct tensor *part_of(const struct tensor *const *parts, uint64_t *row)
{
    while (*row >= (*parts)->rows)
        *row -= (*parts++)->rows;
    return *parts;
}

/* Whether a value of the row is, or might be, beyond what f16 holds. */
static bool beyond_half(const struct held *h, const uint8_t *data, const uint8_t *shared, uint64_t cols)
{
    uint16_t v;
    for (uint64_t i = 0; h->type == TENSOR_BF16 && i < cols; i++) {
        memcpy(&v, data + 2 * i, 2);
        if ((v & 0x7FFF) >= BF16_HALF_END)
            return true;
    }
    for (uint64_t i = 0; h->block > 1 && i < cols; i += h->block, shared += h->shared) {
        uint16_t m = 0;
        memcpy(&v, shared, 2);
        if (h->m_most > 0)
            memcpy(&m, shared + 2, 2);
        if (!(fabsf(f16_to_f32(v)) * h->d_most + fabsf(f16_to_f32(m)) * h->m_most < HALF_END))
            return true;
    }
    return false;
}

/* One row as it is held; the planes are zero before, padding stays so. */
static void pack_row(const struct tensor *t, uint64_t row, uint8_t *data, uint8_t *shared)
{
    const struct held *h = held_as(t->type);
    const uint8_t *in = (const uint8_t *)t->data + row * tensor_row_bytes(t->type, t->cols);
    if (h->block == 1) {
        memcpy(data, in, t->cols * h->data);
        return;
    }
    const uint32_t bytes = tensor_block_bytes(t->type);
    for (uint64_t i = 0; i < t->cols; i += h->block, in += bytes, data += h->data, shared += h->shared)
        h->pack(in, data, shared);
}

/* Packs and uploads a slice: the values in chunks, the rest, which need not be whole words a row, at once. */
static int upload_slice(struct ops_vulkan *v, const struct ops_mat *w, struct mat_slice *s,
                        const struct tensor *const *parts, struct err_msg *em)
{
    const struct held *h = held_as(s->type);
    const uint64_t bytes = data_bytes(h, w->kp), with = shared_bytes(h, w->kp), len = (s->n_rows * with + 3) / 4 * 4;
    uint32_t step = (uint32_t)(CHUNK_BYTES / bytes) ? (uint32_t)(CHUNK_BYTES / bytes) : 1;
    if (step > s->n_rows)
        step = s->n_rows;
    uint8_t *chunk = malloc(step * bytes), *shared = calloc(1, len + 1);
    int r = chunk && shared ? 0 : err_set(em, LT_ENOMEM, "no memory for a weight's rows");
    for (uint32_t row = 0; row < s->n_rows && r == 0; row += step) {
        uint32_t n = s->n_rows - row < step ? s->n_rows - row : step;
        memset(chunk, 0, n * bytes);
        for (uint32_t i = 0; i < n; i++) {
            uint64_t at = (uint64_t)s->row0 + row + i;
            const struct tensor *t = part_of(parts, &at);
            pack_row(t, at, chunk + i * bytes, shared + (row + i) * with);
            s->beyond_half |= beyond_half(h, chunk + i * bytes, shared + (row + i) * with, t->cols);
        }
        r = gpu_upload(v->g, s->data, row * bytes, chunk, n * bytes, em);
    }
    if (r == 0 && len && (r = gpu_buf_create(v->g, len, GPU_MEM_DEVICE, &s->shared, em)) == 0)
        r = gpu_upload(v->g, s->shared, 0, shared, len, em);
    free(chunk);
    free(shared);
    return r;
}

/* Divides the rows into slices: a new one where the type changes or the binding is full. */
static int make_slices(struct ops_vulkan *v, struct ops_mat *w, const struct tensor *const *parts, size_t n_parts,
                       struct err_msg *em)
{
    const struct gpu_limits *l = gpu_limits(v->g);
    uint64_t room = l->max_range < l->max_buffer ? l->max_range : l->max_buffer;
    uint32_t row = 0;
    size_t cap = 0;
    for (size_t i = 0; i < n_parts; i++) {
        const struct held *h = held_as(parts[i]->type);
        const enum tensor_type type = h->type;
        const uint64_t most = room / data_bytes(h, w->kp);
        if (!most)
            return err_set(em, LT_ELIMIT, "%s: a row of %s does not fit one binding", v->base.info.name,
                           parts[i]->name);
        for (uint32_t left = (uint32_t)parts[i]->rows; left;) {
            struct mat_slice *s = w->n_slices ? &w->slices[w->n_slices - 1] : NULL;
            if (!s || s->type != type || s->n_rows >= most) {
                if (w->n_slices == cap) {
                    cap = cap ? 2 * cap : 4;
                    struct mat_slice *more = realloc(w->slices, cap * sizeof *more);
                    if (!more)
                        return err_set(em, LT_ENOMEM, "no memory for a matrix");
                    w->slices = more;
                }
                s = &w->slices[w->n_slices++];
                *s = (struct mat_slice){.type = type, .row0 = row};
            }
            uint32_t n = left < most - s->n_rows ? left : (uint32_t)(most - s->n_rows);
            s->n_rows += n;
            row += n;
            left -= n;
        }
    }
    return 0;
}

int ops_vulkan_mat_create(struct ops *o, const struct tensor *const *parts, size_t n_parts, struct ops_mat **out,
                          struct err_msg *em)
{
    struct ops_vulkan *v = ops_vulkan(o);
    uint64_t rows = 0, cols = parts[0]->cols;
    int r = 0;
    for (size_t i = 0; i < n_parts; i++) {
        const struct tensor *t = parts[i];
        if (t->cols != cols || !held_as(t->type) || !tensor_row_bytes(t->type, cols) || t->rows > UINT32_MAX)
            return err_set(em, LT_EINVAL, "%s: shape does not fit its neighbours", t->name);
        if (!t->rows || t->len_bytes / t->rows < tensor_row_bytes(t->type, cols))
            return err_set(em, LT_EFORMAT, "%s: too few bytes", t->name);
        rows += t->rows;
    }
    if (rows > INT32_MAX || cols > INT32_MAX - PARAMS_K_PAD)
        return err_set(em, LT_ELIMIT, "%s: too large", parts[0]->name);
    struct ops_mat *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(em, LT_ENOMEM, "no memory for a matrix");
    w->rows = (uint32_t)rows;
    w->cols = (uint32_t)cols;
    w->kp = (w->cols + PARAMS_K_PAD - 1) / PARAMS_K_PAD * PARAMS_K_PAD;
    if ((r = make_slices(v, w, parts, n_parts, em)) < 0)
        goto out;
    for (size_t i = 0; i < w->n_slices; i++) {
        struct mat_slice *s = &w->slices[i];
        r = gpu_buf_create(v->g, s->n_rows * data_bytes(held_as(s->type), w->kp), GPU_MEM_DEVICE, &s->data, em);
        if (r < 0 || (r = upload_slice(v, w, s, parts, em)) < 0)
            goto out;
    }
    *out = w;
    w = NULL;
out:
    ops_vulkan_mat_destroy(o, &w);
    return r;
}

uint64_t ops_vulkan_mat_bytes(struct ops *o, const struct tensor *t)
{
    const struct held *h = held_as(t->type);
    const uint32_t kp = (uint32_t)((t->cols + PARAMS_K_PAD - 1) / PARAMS_K_PAD * PARAMS_K_PAD);
    (void)o;
    return h ? t->rows * (data_bytes(h, kp) + shared_bytes(h, kp)) : 0;
}

int ops_vulkan_table_create(struct ops *o, const struct tensor *t, struct ops_mat **w, struct err_msg *em)
{
    return ops_vulkan_mat_create(o, &t, 1, w, em);
}

void ops_vulkan_mat_destroy(struct ops *o, struct ops_mat **wp)
{
    struct ops_mat *w = *wp;
    *wp = NULL;
    if (!w)
        return;
    for (size_t i = 0; i < w->n_slices; i++) {
        gpu_buf_destroy(ops_vulkan(o)->g, &w->slices[i].data);
        gpu_buf_destroy(ops_vulkan(o)->g, &w->slices[i].shared);
    }
    free(w->slices);
    free(w);
}
