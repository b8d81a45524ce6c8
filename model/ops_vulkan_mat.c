/* Weights on the device: stored as they are in the file (types without a kernel of their own as f16), rows padded with zeros to whole blocks of PARAMS_K_PAD values,
 * q8_0 split into a plane of values and a plane of scales, long matrices split by rows into bindings. */
#include <stdlib.h>
#include <string.h>

#include "model/ops_vulkan_impl.h"
#include "shaders/params.h"

#define CHUNK_BYTES (4u << 20)
#define Q8_BLOCK 32
#define Q8_BYTES 34

/* Bytes of one padded row in the data plane. */
static uint64_t row_bytes(enum tensor_type type, uint32_t kp)
{
    switch (type) {
    case TENSOR_F32:
        return (uint64_t)kp * 4;
    case TENSOR_F16:
    case TENSOR_BF16:
        return (uint64_t)kp * 2;
    case TENSOR_Q8_0:
        return kp;
    default:
        return 0;
    }
}

/* The type in which the device holds a type of the file. */
static enum tensor_type held_type(enum tensor_type type)
{
    return row_bytes(type, 1) ? type : TENSOR_F16;
}

/* The part that holds row *row of all, which becomes its row there. */
static const struct tensor *part_of(const struct tensor *const *parts, uint64_t *row)
{
    while (*row >= (*parts)->rows)
        *row -= (*parts++)->rows;
    return *parts;
}

static const uint8_t *part_row(const struct tensor *const *parts, uint64_t row)
{
    const struct tensor *t = part_of(parts, &row);
    return (const uint8_t *)t->data + row * tensor_row_bytes(t->type, t->cols);
}

/* One row as it is held; the padding is already zero, wide has room for its values. */
static void pack_row(const struct tensor *t, uint64_t row, float *wide, uint8_t *out)
{
    const uint8_t *in = (const uint8_t *)t->data + row * tensor_row_bytes(t->type, t->cols);
    if (held_type(t->type) != t->type) {
        tensor_row_f32(t, row, wide);
        for (uint64_t i = 0; i < t->cols; i++, out += 2)
            memcpy(out, &(uint16_t){f32_to_f16(wide[i])}, 2);
    } else if (t->type != TENSOR_Q8_0) {
        memcpy(out, in, tensor_row_bytes(t->type, t->cols));
    } else {
        for (uint64_t i = 0; i < t->cols; i += Q8_BLOCK, in += Q8_BYTES, out += Q8_BLOCK)
            memcpy(out, in + 2, Q8_BLOCK);
    }
}

static int upload_data(struct ops_vulkan *v, const struct ops_mat *w, struct mat_slice *s,
                       const struct tensor *const *parts, struct err_msg *em)
{
    uint64_t bytes = row_bytes(s->type, w->kp);
    uint32_t step = (uint32_t)(CHUNK_BYTES / bytes) ? (uint32_t)(CHUNK_BYTES / bytes) : 1;
    if (step > s->n_rows)
        step = s->n_rows;
    uint8_t *chunk = calloc(step, bytes);
    float *wide = calloc(w->cols, sizeof *wide);
    int r = chunk && wide ? 0 : err_set(em, LT_ENOMEM, "no memory for a weight's rows");
    for (uint32_t row = 0; row < s->n_rows && r == 0; row += step) {
        uint32_t n = s->n_rows - row < step ? s->n_rows - row : step;
        for (uint32_t i = 0; i < n; i++) {
            uint64_t at = (uint64_t)s->row0 + row + i;
            const struct tensor *t = part_of(parts, &at);
            pack_row(t, at, wide, chunk + i * bytes);
        }
        r = gpu_upload(v->g, s->data, row * bytes, chunk, n * bytes, em);
    }
    free(chunk);
    free(wide);
    return r;
}

static int upload_scale(struct ops_vulkan *v, const struct ops_mat *w, struct mat_slice *s,
                        const struct tensor *const *parts, struct err_msg *em)
{
    uint32_t per_row = w->kp / Q8_BLOCK;
    uint64_t len = ((uint64_t)s->n_rows * per_row * 2 + 3) / 4 * 4;
    uint8_t *plane = calloc(1, len), *out = plane;
    int r;
    if (!plane)
        return err_set(em, LT_ENOMEM, "no memory for a weight's scales");
    for (uint32_t row = 0; row < s->n_rows; row++) {
        const uint8_t *in = part_row(parts, (uint64_t)s->row0 + row);
        for (uint32_t b = 0; b < per_row; b++, in += Q8_BYTES, out += 2)
            memcpy(out, in, 2);
    }
    if ((r = gpu_buf_create(v->g, len, GPU_MEM_DEVICE, &s->scale, em)) == 0)
        r = gpu_upload(v->g, s->scale, 0, plane, len, em);
    free(plane);
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
        const enum tensor_type type = held_type(parts[i]->type);
        uint64_t bytes = row_bytes(type, w->kp);
        uint64_t most = bytes ? room / bytes : 0;
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
        if (t->cols != cols || !tensor_row_bytes(t->type, cols) || t->rows > UINT32_MAX)
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
        r = gpu_buf_create(v->g, s->n_rows * row_bytes(s->type, w->kp), GPU_MEM_DEVICE, &s->data, em);
        if (r < 0 || (r = upload_data(v, w, s, parts, em)) < 0)
            goto out;
        if (s->type == TENSOR_Q8_0 && (r = upload_scale(v, w, s, parts, em)) < 0)
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
    const enum tensor_type type = held_type(t->type);
    const uint64_t kp = (t->cols + PARAMS_K_PAD - 1) / PARAMS_K_PAD * PARAMS_K_PAD;
    (void)o;
    return t->rows * (row_bytes(type, (uint32_t)kp) + (type == TENSOR_Q8_0 ? kp / Q8_BLOCK * 2 : 0));
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
        gpu_buf_destroy(ops_vulkan(o)->g, &w->slices[i].scale);
    }
    free(w->slices);
    free(w);
}
