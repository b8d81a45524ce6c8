/* Matrix products in panels of columns.
 *
 * A weight matrix is cut into panels that fit the second-level cache together with a block of sums. Up to DNNL_ROWS rows at a time are
 * multiplied by a block of a panel's columns into a scratch tile, and a kernel scales it, adds bias and residual and writes the result.
 * In f32 that is done as in ops_cpu_float.h, in int8 as in ops_cpu_vnni.h, 64 columns at a time: their sums are still in the first-level cache
 * when they are read. Where the CPU lacks what these need, oneDNN multiplies, by a whole panel.
 * int8: rows are quantised once per call, before the first panel; u8 with 128 as zero, since the CPU multiplies unsigned by
 * signed bytes; what the 128 adds is known per column and taken off. Rows and weights first go
 * through a Walsh-Hadamard transform in blocks, which leaves products as they are but shares out the few large values that
 * would cost all others their bits (as in QuaRot, arXiv 2404.00456, but at run time, where it costs a few additions a value).
 * Weights in blocks that do not become int8 are multiplied as in ops_cpu_fine.h where the CPU can. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "model/ops_cpu_internal.h"
#include "model/tensor_blocks.h"
#include "model/tensor_split.h"

#define PANEL_COLS 512            /* 64 rows of sums then take 128 KiB */
#define PANEL_BYTES (512u * 1024) /* of weights */
#define MANY_ROWS CPU_MATMUL_MOST_ROWS
#define PACK_ALONE (1u << 18)     /* weights that are packed before a second thread is awake */
#define LARGE_PAGE (2u << 20)
#define INT8_MAX_K 65536 /* 255 · 127 · k stays below 2^31 */
#define INT8_MIN_K 256   /* shorter rows lose too much to rounding, and cost little in f32 */

/* The types of few bits that large models come in: rounding them again costs little beside what they lost. */
static bool becomes_int8(const struct cpu_ops *o, const struct tensor *t)
{
    return o->int8 && t->cols >= INT8_MIN_K && t->cols <= INT8_MAX_K && (t->type == TENSOR_Q8_0 || tensor_block_len(t->type) == BLOCK_K_LEN);
}

/* What a row is multiplied as if not in whole numbers: F16 and BF16 stay as they are, others become F32. */
static enum tensor_type float_of(enum tensor_type type)
{
    return type == TENSOR_F16 || type == TENSOR_BF16 ? type : TENSOR_F32;
}

static size_t panel_cols(size_t m, size_t k, size_t value_bytes)
{
    size_t most = PANEL_BYTES / (k * value_bytes) / 64 * 64;
    most = most < 64 ? 64 : most > PANEL_COLS ? PANEL_COLS : most;
    const size_t n = (m + most - 1) / most;
    return ((m + n - 1) / n + 63) / 64 * 64;
}

/* The part in which the row lies that is `row` of all of them together, which becomes that of the part */
static const struct tensor *part_of(const struct tensor *const *parts, size_t *row)
{
    while (*row >= parts[0]->rows)
        *row -= parts++[0]->rows;
    return *parts;
}

static void row_f32(const struct cpu_ops *o, const struct tensor *t, size_t row, float *out)
{
    const void *p = (const uint8_t *)t->data + row * tensor_row_bytes(t->type, t->cols);
    if (t->type == TENSOR_Q8_0)
        o->kernels->row_q8_0(p, t->cols, out);
    else if (t->type == TENSOR_Q4_K)
        o->kernels->row_q4_k(p, t->cols, out);
    else
        tensor_row_f32(t, row, out);
}

/* Room for the largest matrix so far, in every worker */
static int grow_scratch(struct cpu_ops *o, size_t k, size_t panel, struct err_msg *em)
{
    const size_t max_k = k > o->max_k ? k : o->max_k, max_panel = panel > o->max_panel ? panel : o->max_panel;
    if (max_k == o->max_k && max_panel == o->max_panel)
        return 0;
    for (unsigned i = 0; i < o->n_threads; i++) {
        struct cpu_worker *w = &o->workers[i];
        uint8_t *q = cpu_alloc(max_k, MANY_ROWS);
        float *row = cpu_alloc(max_k, sizeof *row);
        void *sums = cpu_alloc(max_panel, 2 * DNNL_ROWS * sizeof(float));
        if (!q || !row || !sums) {
            free(q);
            free(row);
            free(sums);
            return err_set(em, LT_ENOMEM, "no memory for a %zu by %zu product", panel, k);
        }
        free(w->q);
        free(w->row);
        free(w->sums);
        w->q = q;
        w->row = row;
        w->sums = sums;
    }
    o->max_k = max_k;
    o->max_panel = max_panel;
    return 0;
}

/* Of VNNI_COLS columns */
static size_t block_bytes(const struct ops_mat *w)
{
    return w->floats ? w->k * VNNI_COLS * w->value_bytes : (w->k + 63) / 64 * 64 * VNNI_COLS;
}

/* Packing of a matrix, its panels shared out among threads */
struct packing {
    struct cpu_ops *o;
    struct ops_mat *w;
    const struct tensor *const *parts;
    atomic_size_t next;
    atomic_int error;
    struct err_msg *em; /* of the thread that set the error */
};

/* Row j of the matrix: as whole numbers, as its file has it, or as f32 */
static void pack_row(const struct packing *p, size_t j, float *row, void *out)
{
    struct ops_mat *w = p->w;
    size_t at = j;
    const struct tensor *t = part_of(p->parts, &at);
    int32_t sum;
    if (w->int8) {
        row_f32(p->o, t, at, row);
        w->col_scale[j] = p->o->kernels->quantise_weights(row, w->k, out, &sum);
        w->col_bias[j] = 128 * sum;
    } else if (w->fine)
        cpu_fine_pack(w, j, t, at, out, row);
    else if (w->type == TENSOR_F32)
        row_f32(p->o, t, at, out);
    else
        memcpy(out, (const uint8_t *)t->data + at * w->k * w->value_bytes, w->k * w->value_bytes);
}

/* The rows of a block, the last of them filled up with zeros */
static void pack_block(const struct packing *p, void *plain, size_t n, void *block)
{
    const struct ops_mat *w = p->w;
    memset((uint8_t *)plain + n * w->k * w->value_bytes, 0, (VNNI_COLS - n) * w->k * w->value_bytes);
    if (w->floats)
        float_pack(w->type, plain, w->k, block);
    else
        (w->fine ? p->o->pack_fine : p->o->pack_block)(plain, w->k, block);
}

static int pack_panel(struct packing *p, unsigned thread, size_t i, float *row, void *plain, struct err_msg *em)
{
    struct ops_mat *w = p->w;
    const size_t first = i * w->panel, n = w->m - first < w->panel ? w->m - first : w->panel;
    const size_t row_bytes = w->k * w->value_bytes;
    int8_t *room = (int8_t *)w->room + i * w->panel_bytes;
    for (size_t j = 0; j < n; j++) {
        const size_t at = w->in_blocks ? j % VNNI_COLS : j;
        pack_row(p, first + j, row, (char *)plain + at * row_bytes);
        if (w->in_blocks && (at == VNNI_COLS - 1 || j == n - 1))
            pack_block(p, plain, at + 1, room + j / VNNI_COLS * block_bytes(w));
    }
    return w->in_blocks ? 0 : cpu_panel_create(p->o->dnnl, thread, &w->panels[i], w->k, n, w->int8, plain, room, em);
}

static void pack_some(void *arg, unsigned thread)
{
    struct packing *p = arg;
    const struct ops_mat *w = p->w;
    struct err_msg em = {{0}};
    float *row = cpu_alloc(w->k, sizeof *row);
    void *plain = cpu_alloc((w->in_blocks ? VNNI_COLS : w->panel) * w->k, w->value_bytes);
    int r = row && plain ? 0 : err_set(&em, LT_ENOMEM, "no memory for a %zu by %zu matrix", w->m, w->k), none = 0;
    for (size_t i; !r && !atomic_load(&p->error) && (i = atomic_fetch_add(&p->next, 1)) < w->n_panels;)
        r = pack_panel(p, thread, i, row, plain, &em);
    if (r && atomic_compare_exchange_strong(&p->error, &none, r) && p->em)
        *p->em = em;
    free(row);
    free(plain);
}

/* Large rooms that streamed layers leave are kept for the layers that follow: clearing fresh pages takes as long as filling them. */
static void *take_spare(struct cpu_ops *o, size_t bytes)
{
    for (size_t i = 0; i < CPU_SPARES; i++) {
        void *room = o->spares[i].room;
        if (room && o->spares[i].bytes == bytes) {
            o->spares[i].room = NULL;
            return room;
        }
    }
    return NULL;
}

static void keep_spare(struct cpu_ops *o, void *room, size_t bytes)
{
    for (size_t i = 0; bytes >= 2 * LARGE_PAGE && i < CPU_SPARES; i++) {
        if (!o->spares[i].room) {
            o->spares[i].room = room;
            o->spares[i].bytes = bytes;
            return;
        }
    }
    free(room);
}

void cpu_free_spares(struct cpu_ops *o)
{
    for (size_t i = 0; i < CPU_SPARES; i++) {
        free(o->spares[i].room);
        o->spares[i].room = NULL;
    }
}

static void *large_room(struct cpu_ops *o, size_t bytes)
{
    void *room = take_spare(o, bytes);
    if (room)
        return room;
    room = aligned_alloc(LARGE_PAGE, bytes);
    if (!room) {
        cpu_free_spares(o);
        room = aligned_alloc(LARGE_PAGE, bytes);
    }
    if (room)
        madvise(room, bytes, MADV_HUGEPAGE); /* a hint */
    return room;
}

/* Memory for all panels as one: large pages make a streamed layer's cheap to come by, and products need fewer of them. */
static int make_room(struct cpu_ops *o, struct ops_mat *w, struct err_msg *em)
{
    const size_t last_cols = w->m - (w->n_panels - 1) * w->panel;
    size_t last = 0, bytes;
    int r = 0;
    w->in_blocks = w->fine || w->floats || (o->pack_block && w->int8);
    if (w->in_blocks) {
        w->panel_bytes = w->panel / VNNI_COLS * block_bytes(w);
        last = (last_cols + VNNI_COLS - 1) / VNNI_COLS * block_bytes(w);
    } else if (!(r = cpu_panel_size(o->dnnl, w->k, w->panel < w->m ? w->panel : w->m, w->int8, &w->panel_bytes, em)))
        r = cpu_panel_size(o->dnnl, w->k, last_cols, w->int8, &last, em);
    if (r)
        return r;
    bytes = (w->n_panels - 1) * w->panel_bytes + last;
    if (bytes >= 2 * LARGE_PAGE)
        bytes = (bytes + LARGE_PAGE - 1) & ~(size_t)(LARGE_PAGE - 1);
    w->room_bytes = bytes;
    w->room = bytes < 2 * LARGE_PAGE ? cpu_alloc(bytes, 1) : large_room(o, bytes);
    return w->room ? 0 : err_set(em, LT_ENOMEM, "no memory for a %zu by %zu matrix", w->m, w->k);
}

static int pack(struct cpu_ops *o, struct ops_mat *w, const struct tensor *const *parts, struct err_msg *em)
{
    struct packing p = {.o = o, .w = w, .parts = parts, .em = em};
    const size_t most = w->m * w->k < PACK_ALONE ? 1 : w->n_panels;
    team_help(o->team, most < o->n_threads ? (unsigned)most : o->n_threads, pack_some, &p);
    return atomic_load(&p.error);
}

int cpu_mat_create(struct cpu_ops *o, const struct tensor *const *parts, size_t n_parts, struct ops_mat **out,
                   struct err_msg *em)
{
    int r = LT_ENOMEM;
    struct ops_mat *w = calloc(1, sizeof *w);
    if (!w)
        return err_set(em, LT_ENOMEM, "no memory for a matrix");
    w->k = parts[0]->cols;
    w->type = float_of(parts[0]->type);
    w->int8 = w->fine = true;
    for (size_t i = 0; i < n_parts; i++) {
        w->m += parts[i]->rows;
        w->int8 = w->int8 && becomes_int8(o, parts[i]);
        w->fine = w->fine && cpu_becomes_fine(o, parts[i]);
        w->type = float_of(parts[i]->type) == w->type ? w->type : TENSOR_F32;
        if (parts[i]->cols != w->k || !parts[i]->rows || !w->k) {
            r = err_set(em, LT_EINVAL, "%s: parts of a matrix differ in width", parts[i]->name);
            goto out;
        }
    }
    w->fine = w->fine && !w->int8;
    w->floats = !w->fine && !w->int8 && (w->type != TENSOR_F32 || o->own_f32);
    w->value_bytes = w->int8 || w->fine ? 1 : tensor_row_bytes(w->type, 1);
    w->panel = panel_cols(w->m, w->k, w->value_bytes);
    const size_t padded = (w->m + VNNI_COLS - 1) / VNNI_COLS * VNNI_COLS;
    w->n_panels = (w->m + w->panel - 1) / w->panel;
    w->panels = calloc(w->n_panels, sizeof(struct cpu_panel *));
    w->col_scale = cpu_alloc(w->m, sizeof(float));
    w->col_bias = cpu_alloc(padded, sizeof(int32_t)); /* for whole blocks, too */
    if (!w->panels || !w->col_scale || !w->col_bias) {
        err_set(em, LT_ENOMEM, "no memory for a %zu by %zu matrix", w->m, w->k);
        goto out;
    }
    memset(w->col_bias + w->m, 0, (padded - w->m) * sizeof *w->col_bias);
    r = grow_scratch(o, w->k, w->panel, em);
    if (!r && w->fine)
        r = cpu_fine_room(o, w, parts, n_parts, em);
    if (!r && !(r = make_room(o, w, em)))
        r = pack(o, w, parts, em);
    if (!r) {
        w->weight_bytes = w->fine ? cpu_fine_bytes(w->m, w->k, w->unit, w->part_min) : w->m * w->k * w->value_bytes;
        o->weight_bytes += w->weight_bytes;
        *out = w;
        w = NULL;
    }
out:
    cpu_mat_destroy(o, &w);
    return r;
}

uint64_t cpu_mat_bytes(const struct cpu_ops *o, const struct tensor *t)
{
    const uint64_t bytes = becomes_int8(o, t)       ? t->rows * t->cols
                           : cpu_becomes_fine(o, t) ? cpu_fine_bytes(t->rows, t->cols, tensor_split_unit(t->type), tensor_split_has_min(t->type))
                                                    : t->rows * tensor_row_bytes(float_of(t->type), t->cols);
    return bytes + t->rows * (sizeof(float) + sizeof(int32_t));
}

void cpu_mat_destroy(struct cpu_ops *o, struct ops_mat **wp)
{
    struct ops_mat *w = *wp;
    *wp = NULL;
    if (!w)
        return;
    for (size_t i = 0; w->panels && i < w->n_panels; i++)
        cpu_panel_destroy(&w->panels[i]);
    free(w->panels);
    if (w->room)
        keep_spare(o, w->room, w->room_bytes);
    o->weight_bytes -= w->weight_bytes;
    free(w->col_scale);
    free(w->col_bias);
    free(w->part_scale);
    free(w->part_min);
    free(w);
}

bool cpu_far_weights(const struct cpu_ops *o)
{
    return o->weight_bytes > 16u << 20;
}

/* Weights that stay in the shared cache may be read again for every 64 rows, whose activations then stay in the
 * thread's own; others are better read once for many rows. */
size_t cpu_matmul_rows(const struct cpu_ops *o)
{
    return cpu_far_weights(o) ? MANY_ROWS : DNNL_ROWS;
}

static const int8_t *block_at(const struct ops_mat *w, size_t col)
{
    const size_t at = col / w->panel * w->panel_bytes + col % w->panel / VNNI_COLS * block_bytes(w);
    return w->in_blocks ? (const int8_t *)w->room + at : NULL;
}

size_t cpu_matmul_width(const struct cpu_command *c)
{
    return c->gate ? c[1].r : c->w->m;
}

struct cpu_range cpu_matmul_slice(const struct cpu_ops *o, const struct cpu_command *c, unsigned slice)
{
    if (c->heads_end) {
        const struct ops_attention *a = &c->heads_end[-1].attention;
        const size_t head = (size_t)a->n_heads / a->n_kv_heads * a->head_dim;
        return (struct cpu_range){a->n_kv_heads * slice / o->n_active * head, a->n_kv_heads * (slice + 1) / o->n_active * head};
    }
    const size_t all = cpu_matmul_width(c), unit = c->w->in_blocks ? VNNI_COLS : c->w->panel;
    const size_t units = (all + unit - 1) / unit, end = units * (slice + 1) / o->n_active * unit;
    return (struct cpu_range){units * slice / o->n_active * unit, end < all ? end : all};
}

/* What this thread reads first of the next product, or NULL */
static const int8_t *weights_after(const struct cpu_ops *o, const struct cpu_command *c, unsigned thread)
{
    do
        c++;
    while (c < o->commands + o->n_commands && c->op != OP_MATMUL);
    if (c == o->commands + o->n_commands || !c->w->in_blocks)
        return NULL;
    const struct cpu_range own = o->by_column ? cpu_matmul_slice(o, c, thread) : (struct cpu_range){0, 1};
    return own.begin < own.end ? block_at(c->w, own.begin) : NULL;
}

void cpu_matmul_quantise(struct cpu_ops *o, const struct cpu_command *c, struct cpu_range rows)
{
    struct cpu_worker *w = &o->workers[0];
    const size_t k = c->w->k;
    if (c->w->fine)
        cpu_fine_prepare(o, 0, c->w, c->x->v + rows.begin * k, rows);
    else
        o->kernels->quantise(c->x->v + rows.begin * k, rows.end - rows.begin, k, w->q + rows.begin * k, w->row_scale + rows.begin);
}

const struct cpu_command *cpu_inner_norm(const struct cpu_ops *o, const struct cpu_command *c)
{
    return c > o->commands && c[-1].inner ? c - 1 : NULL;
}

void cpu_matmul_prepare(struct cpu_ops *o, unsigned thread, const struct cpu_command *c, const float *x, size_t n)
{
    struct cpu_worker *me = &o->workers[thread];
    const struct cpu_command *norm = cpu_inner_norm(o, c);
    const struct cpu_kernels *kernels = o->kernels;
    const size_t k = c->w->k;
    me->bytes = me;
    if (c->w->fine)
        cpu_fine_prepare(o, thread, c->w, x, (struct cpu_range){0, n});
    if (c->w->int8 && !norm)
        kernels->quantise(x, n, k, me->q, me->row_scale);
    for (size_t r = 0; norm && r < n; r++, x += k) {
        if (norm->op == OP_RMS_NORM)
            kernels->rms_norm(x, norm->g->v, norm->eps, 1, k, me->row);
        else
            kernels->layer_norm(x, norm->g ? norm->g->v : NULL, norm->b ? norm->b->v : NULL, norm->eps, 1, k, me->row);
        kernels->quantise(me->row, 1, k, me->q + r * k, me->row_scale + r);
    }
}

/* Of whole blocks' sums, the first columns */
static void keep_columns(void *sums, size_t n, size_t n_cols)
{
    int32_t *s = sums; /* or as many bytes of a float */
    for (size_t r = 1; n_cols < VNNI_COLS && r < n; r++)
        memmove(s + r * n_cols, s + r * VNNI_COLS, n_cols * sizeof *s);
}

/* Columns `cols` of one panel or block, times n rows of a step from `first` on; the sums go to `sums`, whole rows of cols.
 * next: the block that is read after these, or NULL. */
static int multiply(struct cpu_ops *o, unsigned thread, const struct ops_mat *w, struct cpu_range cols, const int8_t *next, size_t first,
                    size_t n, const float *x, void *sums)
{
    const uint8_t *q = o->workers[thread].bytes->q + first * w->k;
    if (w->fine) {
        cpu_fine_multiply(o, thread, w, cols, block_at(w, cols.begin), next, first, n, sums);
        keep_columns(sums, n, cols.end - cols.begin);
        return 0;
    }
    if (w->floats) {
        o->kernels->multiply_float(&(struct float_block){
            .x = x + first * w->k,
            .n_rows = n,
            .k = w->k,
            .w = block_at(w, cols.begin),
            .type = w->type,
            .next = next,
            .sums = sums,
        });
        keep_columns(sums, n, cols.end - cols.begin);
        return 0;
    }
    if (!w->in_blocks)
        return cpu_panel_run(w->panels[cols.begin / w->panel], thread, n, w->int8 ? (const void *)q : x + first * w->k, sums);
    o->multiply(&(struct vnni_block){
        .x = q,
        .n_rows = n,
        .k = w->k,
        .w = block_at(w, cols.begin),
        .next = next,
        .col_bias = w->col_bias + cols.begin,
        .sums = sums,
        .ld = VNNI_COLS,
    });
    keep_columns(sums, n, cols.end - cols.begin);
    return 0;
}

static struct cpu_tile tile_of(const struct cpu_worker *rows, const struct cpu_command *c, struct cpu_range cols, size_t first, size_t n,
                               const void *sums)
{
    const struct ops_mat *w = c->w;
    return (struct cpu_tile){
        .sums = sums,
        .n_rows = n,
        .n_cols = cols.end - cols.begin,
        .row_scale = rows->row_scale + first,
        .col_scale = w->col_scale + cols.begin,
        .col_bias = w->col_bias + cols.begin,
        .bias = c->b ? c->b->v + cols.begin : NULL,
    };
}

/* The columns from `col` on that are made at once: a block, or those in one panel, at most to end */
static struct cpu_range part_at(const struct ops_mat *w, size_t col, size_t end)
{
    const size_t unit = w->in_blocks ? VNNI_COLS : w->panel, next = (col / unit + 1) * unit;
    return (struct cpu_range){col, next < end ? next : end};
}

/* What a block's result is to be written to, asked for before it is made: much of it lies in the shared cache, or where another thread has read it. */
static void claim_lines(float *y, size_t n_rows, size_t ld)
{
    for (size_t r = 0; r < n_rows; r++, y += ld)
        for (size_t i = 0; i < VNNI_COLS; i += 16)
            cpu_claim_line(y + i);
}

int cpu_matmul(struct cpu_ops *o, unsigned thread, const struct cpu_command *c, struct cpu_part part, size_t n, const float *x,
               const float *residual, float *y)
{
    const struct ops_mat *w = c->w;
    const struct cpu_range cols = part.cols;
    struct cpu_worker *me = &o->workers[thread];
    const int8_t *after = part.then == CPU_NO_COLUMN ? weights_after(o, c, thread) : block_at(w, part.then);
    const size_t tile = w->floats ? 2 * DNNL_ROWS : DNNL_ROWS;
    for (size_t step; n && cols.begin < cols.end; n -= step, x += step * w->k, y += step * w->m) {
        const size_t most = w->fine ? CPU_FINE_ROWS : MANY_ROWS;
        step = n < most ? n : most;
        if (!o->by_column)
            cpu_matmul_prepare(o, thread, c, x, step);
        for (struct cpu_range p = part_at(w, cols.begin, cols.end); p.begin < cols.end; p = part_at(w, p.end, cols.end)) {
            const int8_t *next = p.end < cols.end ? block_at(w, p.end) : after;
            for (size_t first = 0; first < step; first += tile, next = NULL) {
                const size_t rows = step - first < tile ? step - first : tile, at = first * w->m + p.begin;
                if (c->y_place < 0 && w->in_blocks)
                    claim_lines(y + at, rows, w->m);
                const int r = multiply(o, thread, w, p, next, first, rows, x, me->sums);
                if (r)
                    return r;
                struct cpu_tile t = tile_of(me->bytes, c, p, first, rows, me->sums);
                t.residual = residual ? residual + at : NULL;
                t.y = y + at;
                t.ld = t.ld_residual = w->m;
                (w->int8 ? o->kernels->finish_int8 : o->kernels->finish_f32)(&t);
            }
        }
        residual = residual ? residual + step * w->m : NULL;
    }
    return 0;
}

bool cpu_matmul_can_gate(const struct cpu_command *c)
{
    return c[0].w->int8 && !c[0].residual && c[0].w->n_panels % 2 == 0 && c[0].w->n_panels / 2 * c[0].w->panel == c[1].r;
}

int cpu_matmul_gate(struct cpu_ops *o, unsigned thread, const struct cpu_command *c, struct cpu_range cols, size_t n, const float *x,
                    float *y)
{
    const struct ops_mat *w = c->w;
    struct cpu_worker *me = &o->workers[thread];
    const int8_t *after = weights_after(o, c, thread);
    const size_t f = c[1].r;
    void *sums[2] = {me->sums, (int32_t *)me->sums + DNNL_ROWS * w->panel};
    for (size_t step; n && cols.begin < cols.end; n -= step, x += step * w->k, y += step * f) {
        step = n < MANY_ROWS ? n : MANY_ROWS;
        if (!o->by_column)
            cpu_matmul_prepare(o, thread, c, x, step);
        for (struct cpu_range p = part_at(w, cols.begin, cols.end); p.begin < cols.end; p = part_at(w, p.end, cols.end)) {
            const struct cpu_range q = {f + p.begin, f + p.end};
            const int8_t *other = block_at(w, q.begin), *next = p.end < cols.end ? block_at(w, p.end) : after;
            for (size_t first = 0; first < step; first += DNNL_ROWS, other = next = NULL) {
                const size_t rows = step - first < DNNL_ROWS ? step - first : DNNL_ROWS;
                int r = multiply(o, thread, w, p, other, first, rows, x, sums[0]);
                if (!r)
                    r = multiply(o, thread, w, q, next, first, rows, x, sums[1]);
                if (r)
                    return r;
                struct cpu_tile a = tile_of(me->bytes, c, p, first, rows, sums[0]);
                const struct cpu_tile b = tile_of(me->bytes, c, q, first, rows, sums[1]);
                a.y = y + first * f + p.begin;
                a.ld = f;
                o->kernels->finish_gate(&a, &b, c->gate);
            }
        }
    }
    return 0;
}
