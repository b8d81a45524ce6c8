/* Matrix products in panels of columns.
 *
 * A weight matrix is cut into panels that fit the second-level cache together with a block of sums. For each panel,
 * oneDNN multiplies up to DNNL_ROWS rows into a scratch tile, and a kernel of ours scales it, adds bias and residual and writes
 * the result. int8: rows are quantised once per call, before the first panel; u8 with 128 as zero, since the
 * CPU multiplies unsigned by signed bytes; what the 128 adds is known per column and taken off. Rows and weights first go
 * through a Walsh-Hadamard transform in blocks, which leaves products as they are but shares out the few large values that
 * would cost all others their bits (as in QuaRot, arXiv 2404.00456, but at run time, where it costs a few additions a value). */
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "model/ops_cpu_internal.h"

#define PANEL_COLS 512            /* 64 rows of sums then take 128 KiB */
#define PANEL_BYTES (512u * 1024) /* of weights */
#define MANY_ROWS CPU_MATMUL_MOST_ROWS
#define PACK_ALONE (1u << 18)     /* weights that are packed before a second thread is awake */
#define LARGE_PAGE (2u << 20)
#define INT8_MAX_K 65536 /* 255 · 127 · k stays below 2^31 */
#define INT8_MIN_K 256   /* shorter rows lose too much to rounding, and cost little in f32 */

static size_t panel_cols(size_t m, size_t k, size_t value_bytes)
{
    size_t most = PANEL_BYTES / (k * value_bytes) / 64 * 64;
    most = most < 64 ? 64 : most > PANEL_COLS ? PANEL_COLS : most;
    const size_t n = (m + most - 1) / most;
    return ((m + n - 1) / n + 63) / 64 * 64;
}

/* The row of parts, taken as one matrix */
static void row_f32(const struct tensor *const *parts, size_t row, float *out)
{
    while (row >= parts[0]->rows)
        row -= parts++[0]->rows;
    tensor_row_f32(*parts, row, out);
}

/* The transform of cpu_kernels' quantise, undivided */
static void mix_weights(float *w, size_t k)
{
    for (; k >= MIX_BLOCK; w += MIX_BLOCK, k -= MIX_BLOCK) {
        for (size_t h = MIX_LANES; h < MIX_BLOCK; h *= 2) {
            for (size_t i = 0; i < MIX_BLOCK; i++) {
                if (i & h)
                    continue;
                const float a = w[i], b = w[i + h];
                w[i] = a + b;
                w[i + h] = a - b;
            }
        }
    }
}

static int32_t quantise_column(float *w, size_t k, int8_t *q, float *scale)
{
    mix_weights(w, k);
    float largest = 0;
    int32_t sum = 0;
    for (size_t i = 0; i < k; i++)
        largest = fmaxf(largest, fabsf(w[i]));
    const float inv = largest > 1e-30f ? 127 / largest : 0;
    *scale = largest / 127;
    for (size_t i = 0; i < k; i++) {
        q[i] = (int8_t)lrintf(w[i] * inv);
        sum += q[i];
    }
    return sum;
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
        void *sums = cpu_alloc(max_panel, 2 * DNNL_ROWS * sizeof(float));
        if (!q || !sums) {
            free(q);
            free(sums);
            return err_set(em, LT_ENOMEM, "no memory for a %zu by %zu product", panel, k);
        }
        free(w->q);
        free(w->sums);
        w->q = q;
        w->sums = sums;
    }
    o->max_k = max_k;
    o->max_panel = max_panel;
    return 0;
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

static int pack_panel(struct packing *p, unsigned thread, size_t i, float *row, void *plain, struct err_msg *em)
{
    struct ops_mat *w = p->w;
    const size_t first = i * w->panel, n = w->m - first < w->panel ? w->m - first : w->panel;
    for (size_t j = 0; j < n; j++) {
        if (!w->int8) {
            row_f32(p->parts, first + j, (float *)plain + j * w->k);
            continue;
        }
        row_f32(p->parts, first + j, row);
        int32_t sum = quantise_column(row, w->k, (int8_t *)plain + j * w->k, &w->col_scale[first + j]);
        w->col_bias[first + j] = 128 * sum;
    }
    return cpu_panel_create(p->o->dnnl, thread, &w->panels[i], w->k, n, w->int8, plain, (char *)w->room + i * w->panel_bytes, em);
}

static void pack_some(void *arg, unsigned thread)
{
    struct packing *p = arg;
    const struct ops_mat *w = p->w;
    struct err_msg em = {{0}};
    float *row = cpu_alloc(w->k, sizeof *row);
    void *plain = cpu_alloc(w->panel * w->k, w->int8 ? 1 : sizeof(float));
    int r = row && plain ? 0 : err_set(&em, LT_ENOMEM, "no memory for a %zu by %zu matrix", w->m, w->k), none = 0;
    for (size_t i; !r && !atomic_load(&p->error) && (i = atomic_fetch_add(&p->next, 1)) < w->n_panels;)
        r = pack_panel(p, thread, i, row, plain, &em);
    if (r && atomic_compare_exchange_strong(&p->error, &none, r) && p->em)
        *p->em = em;
    free(row);
    free(plain);
}

/* Memory for all panels as one: large pages make a streamed layer's cheap to come by, and products need fewer of them. */
static int make_room(struct cpu_ops *o, struct ops_mat *w, struct err_msg *em)
{
    size_t last, bytes;
    int r = cpu_panel_size(o->dnnl, w->k, w->panel < w->m ? w->panel : w->m, w->int8, &w->panel_bytes, em);
    if (!r)
        r = cpu_panel_size(o->dnnl, w->k, w->m - (w->n_panels - 1) * w->panel, w->int8, &last, em);
    if (r)
        return r;
    bytes = (w->n_panels - 1) * w->panel_bytes + last;
    if (bytes < 2 * LARGE_PAGE) {
        w->room = cpu_alloc(bytes, 1);
    } else {
        bytes = (bytes + LARGE_PAGE - 1) & ~(size_t)(LARGE_PAGE - 1);
        w->room = aligned_alloc(LARGE_PAGE, bytes);
        if (w->room)
            madvise(w->room, bytes, MADV_HUGEPAGE); /* a hint */
    }
    return w->room ? 0 : err_set(em, LT_ENOMEM, "no memory for a %zu by %zu matrix", w->m, w->k);
}

static int pack(struct cpu_ops *o, struct ops_mat *w, const struct tensor *const *parts, struct err_msg *em)
{
    struct packing p = {.o = o, .w = w, .parts = parts, .em = em};
    const size_t most = w->m * w->k < PACK_ALONE ? 1 : w->n_panels;
    team_run(o->team, most < o->n_threads ? (unsigned)most : o->n_threads, pack_some, &p);
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
    w->int8 = o->int8 && w->k >= INT8_MIN_K && w->k <= INT8_MAX_K;
    for (size_t i = 0; i < n_parts; i++) {
        w->m += parts[i]->rows;
        w->int8 = w->int8 && parts[i]->type == TENSOR_Q8_0;
        if (parts[i]->cols != w->k || !parts[i]->rows || !w->k) {
            r = err_set(em, LT_EINVAL, "%s: parts of a matrix differ in width", parts[i]->name);
            goto out;
        }
    }
    const size_t value_bytes = w->int8 ? 1 : sizeof(float);
    w->panel = panel_cols(w->m, w->k, value_bytes);
    w->n_panels = (w->m + w->panel - 1) / w->panel;
    w->panels = calloc(w->n_panels, sizeof(struct cpu_panel *));
    w->col_scale = cpu_alloc(w->m, sizeof(float));
    w->col_bias = cpu_alloc(w->m, sizeof(int32_t));
    if (!w->panels || !w->col_scale || !w->col_bias) {
        err_set(em, LT_ENOMEM, "no memory for a %zu by %zu matrix", w->m, w->k);
        goto out;
    }
    r = grow_scratch(o, w->k, w->panel, em);
    if (!r && !(r = make_room(o, w, em)))
        r = pack(o, w, parts, em);
    if (!r) {
        o->weight_bytes += w->m * w->k * value_bytes;
        *out = w;
        w = NULL;
    }
out:
    cpu_mat_destroy(&w);
    return r;
}

uint64_t cpu_mat_bytes(const struct cpu_ops *o, const struct tensor *t)
{
    const bool int8 = o->int8 && t->cols <= INT8_MAX_K && t->type == TENSOR_Q8_0;
    return t->rows * (t->cols * (int8 ? 1 : sizeof(float)) + sizeof(float) + sizeof(int32_t));
}

void cpu_mat_destroy(struct ops_mat **wp)
{
    struct ops_mat *w = *wp;
    *wp = NULL;
    if (!w)
        return;
    for (size_t i = 0; w->panels && i < w->n_panels; i++)
        cpu_panel_destroy(&w->panels[i]);
    free(w->panels);
    free(w->room);
    free(w->col_scale);
    free(w->col_bias);
    free(w);
}

/* Weights that stay in the shared cache may be read again for every 64 rows, whose activations then stay in the
 * thread's own; others are better read once for many rows. */
size_t cpu_matmul_rows(const struct cpu_ops *o)
{
    return o->weight_bytes <= 16u << 20 ? DNNL_ROWS : MANY_ROWS;
}

/* Panel i times rows first … of a step; the sums go to `sums`. */
static int multiply(struct cpu_ops *o, unsigned thread, const struct ops_mat *w, size_t i, size_t first, size_t n,
                    const float *x, void *sums)
{
    const uint8_t *q = o->workers[thread].q + first * w->k;
    return cpu_panel_run(w->panels[i], thread, n, w->int8 ? (const void *)q : (const void *)(x + first * w->k), sums);
}

static struct cpu_tile tile_of(const struct cpu_worker *me, const struct cpu_command *c, size_t i, size_t first, size_t n,
                               const void *sums)
{
    const struct ops_mat *w = c->w;
    const size_t col = i * w->panel;
    return (struct cpu_tile){
        .sums = sums,
        .n_rows = n,
        .n_cols = w->m - col < w->panel ? w->m - col : w->panel,
        .row_scale = me->row_scale + first,
        .col_scale = w->col_scale + col,
        .col_bias = w->col_bias + col,
        .bias = c->b ? c->b->v + col : NULL,
    };
}

int cpu_matmul(struct cpu_ops *o, unsigned thread, const struct cpu_command *c, size_t n, const float *x,
               const float *residual, float *y)
{
    const struct ops_mat *w = c->w;
    struct cpu_worker *me = &o->workers[thread];
    for (size_t step; n; n -= step, x += step * w->k, y += step * w->m) {
        step = n < MANY_ROWS ? n : MANY_ROWS;
        if (w->int8)
            o->kernels->quantise(x, step, w->k, me->q, me->row_scale);
        for (size_t i = 0; i < w->n_panels; i++) {
            for (size_t first = 0; first < step; first += DNNL_ROWS) {
                const size_t rows = step - first < DNNL_ROWS ? step - first : DNNL_ROWS;
                const int r = multiply(o, thread, w, i, first, rows, x, me->sums);
                if (r)
                    return r;
                struct cpu_tile t = tile_of(me, c, i, first, rows, me->sums);
                const size_t at = first * w->m + i * w->panel;
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

int cpu_matmul_gate(struct cpu_ops *o, unsigned thread, const struct cpu_command *c, size_t n, const float *x, float *y)
{
    const struct ops_mat *w = c->w;
    struct cpu_worker *me = &o->workers[thread];
    const size_t half = w->n_panels / 2, f = c[1].r;
    void *sums[2] = {me->sums, (int32_t *)me->sums + DNNL_ROWS * w->panel};
    for (size_t step; n; n -= step, x += step * w->k, y += step * f) {
        step = n < MANY_ROWS ? n : MANY_ROWS;
        o->kernels->quantise(x, step, w->k, me->q, me->row_scale);
        for (size_t i = 0; i < half; i++) {
            for (size_t first = 0; first < step; first += DNNL_ROWS) {
                const size_t rows = step - first < DNNL_ROWS ? step - first : DNNL_ROWS;
                int r = multiply(o, thread, w, i, first, rows, x, sums[0]);
                if (!r)
                    r = multiply(o, thread, w, half + i, first, rows, x, sums[1]);
                if (r)
                    return r;
                struct cpu_tile a = tile_of(me, c, i, first, rows, sums[0]);
                const struct cpu_tile b = tile_of(me, c, half + i, first, rows, sums[1]);
                a.y = y + first * f + i * w->panel;
                a.ld = f;
                o->kernels->finish_gate(&a, &b, c->gate);
            }
        }
    }
    return 0;
}
