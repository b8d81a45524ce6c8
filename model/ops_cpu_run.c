/* Runs a recorded batch.
 *
 * Most ops work row by row. Those between two that look across rows form a stretch, and a stretch is run block by block: all its ops on
 * some rows, then on the next, so that activations stay in a thread's own cache. Threads share the work in one of three ways:
 * - by text, where there are enough texts: each takes groups of whole texts through the entire batch and never waits for another. Rows that only
 *   the batch itself reads lie in the same places of a buffer for each of a thread's groups, and so in its cache;
 * - by column, where there are few rows and many weights: see ops_cpu_column.c;
 * - by row: each takes a fixed share of the rows of every op, and all meet before and after the ops that look across rows.
 * A row's arithmetic is the same in all, and in any grouping. */
#include <assert.h>
#include <string.h>

#include "model/ops_cpu_internal.h"

#define GROUP_ROWS 128     /* a group of texts has at least these many rows */
#define ROWS_PER_THREAD 24 /* fewer rows are not worth waking another thread for */
#define COLUMN_LEAST 16    /* rows that take as long to multiply by weights as these take to come from memory */
#define COLUMN_MOST 64
#define COLUMN_GAIN (24u << 20)
#define COLUMN_GAIN_OF_TWO (3u << 20)

/* A group's or a thread's rows in each domain */
struct share {
    struct cpu_range rows[4];
};

size_t cpu_domain_rows(const struct cpu_ops *o, enum cpu_domain d)
{
    return d == CPU_TOKENS ? o->batch.n_tokens : d == CPU_POOLED ? o->n_pooled : o->batch.n_seqs;
}

/* ---- single ops on some rows ---- */

static float *at(const struct cpu_ops *o, unsigned thread, const struct ops_buf *b, enum cpu_domain domain, size_t row)
{
    const ptrdiff_t shift = b->passing ? o->workers[thread].shift[domain] : 0;
    return b->v + (size_t)((ptrdiff_t)row - shift) * b->cols;
}

static void run_embed(const struct cpu_ops *o, const struct cpu_command *c, struct cpu_range rows, float *y)
{
    const struct tensor *t = &c->w->tensor;
    const size_t row_bytes = tensor_row_bytes(t->type, t->cols);
    for (size_t i = rows.begin; i < rows.end; i++, y += t->cols) {
        const uint8_t *row = (const uint8_t *)t->data + (size_t)o->ids[i] * row_bytes;
        /* Rows lie anywhere in a table larger than the cache; the second next one is asked for by now. */
        const uint8_t *ahead = (const uint8_t *)t->data + (size_t)o->ids[i + 2 < rows.end ? i + 2 : i] * row_bytes;
        for (size_t at = 0; at < row_bytes; at += 64)
            __builtin_prefetch(ahead + at);
        if (t->type == TENSOR_Q8_0)
            o->kernels->row_q8_0(row, t->cols, y);
        else if (t->type == TENSOR_F16)
            o->kernels->row_f16(row, t->cols, y);
        else
            tensor_row_f32(t, (uint64_t)o->ids[i], y);
    }
}

/* Of the heads that the three below run on: those of keys and values; the queries' are as many times as many. */
static struct cpu_range all_heads(const struct cpu_command *c)
{
    return (struct cpu_range){0, c->attention.n_kv_heads};
}

static void run_rope(const struct cpu_ops *o, const struct cpu_command *c, struct cpu_range rows, float *y, struct cpu_range heads)
{
    const struct ops_attention *a = &c->attention;
    const size_t half = a->head_dim / 2, n = heads.end - heads.begin, share = a->n_heads / a->n_kv_heads;
    float *q = y + heads.begin * share * a->head_dim, *k = y + (a->n_heads + heads.begin) * a->head_dim;
    for (size_t t = rows.begin; t < rows.end; t++, q += c->y->cols, k += c->y->cols) {
        const float *turn = c->g->turns + o->position[t] * 2 * half;
        o->kernels->rope(q, n * share, a->head_dim, turn, turn + half);
        o->kernels->rope(k, n, a->head_dim, turn, turn + half);
    }
}

static void run_qk_norm(const struct cpu_ops *o, const struct cpu_command *c, size_t n_rows, float *y, struct cpu_range heads)
{
    const struct ops_attention *a = &c->attention;
    const size_t n = heads.end - heads.begin, share = a->n_heads / a->n_kv_heads;
    float *q = y + heads.begin * share * a->head_dim, *k = y + (a->n_heads + heads.begin) * a->head_dim;
    for (; n_rows; n_rows--, q += c->y->cols, k += c->y->cols) {
        o->kernels->rms_norm(q, c->g->v, c->eps, n * share, a->head_dim, q);
        o->kernels->rms_norm(k, c->b->v, c->eps, n, a->head_dim, k);
    }
}

static void run_attention(const struct cpu_ops *o, const struct cpu_command *c, struct cpu_range rows, struct cpu_range heads, unsigned thread)
{
    const uint32_t share = c->attention.n_heads / c->attention.n_kv_heads;
    for (size_t t = rows.begin, end; t < rows.end; t = end) {
        const uint32_t *text = o->seq_offset + o->text[t];
        end = text[1] < rows.end ? text[1] : rows.end;
        const struct cpu_attention a = {
            .qkv = at(o, thread, c->x, c->domain, text[0]),
            .y = at(o, thread, c->y, c->domain, text[0]),
            .first = 0,
            .last = text[1] - text[0],
            .begin = t - text[0],
            .end = end - text[0],
            .n_heads = c->attention.n_heads,
            .n_kv_heads = c->attention.n_kv_heads,
            .head_dim = c->attention.head_dim,
            .first_head = (uint32_t)heads.begin * share,
            .end_head = (uint32_t)heads.end * share,
            .causal = c->attention.causal,
            .scale = c->attention.scale,
            .window = c->attention.window,
            .cap = c->attention.cap,
            .scratch = o->workers[thread].attention,
        };
        (c->attention.half ? o->half : o->kernels->attention)(&a);
    }
}

/* Text by text, so that each pooled row is found without a search. */
static void run_gather(const struct cpu_ops *o, const struct cpu_command *c, struct cpu_range rows, unsigned thread)
{
    const size_t d = c->x->cols;
    for (uint32_t s = 0; s < o->batch.n_seqs; s++) {
        size_t begin = o->pooled_offset[s], end = o->pooled_offset[s + 1];
        if (end <= rows.begin || begin >= rows.end)
            continue;
        const size_t from = o->seq_offset[s] + o->pool_skip[s] - begin; /* of pooled row 0, as it were */
        begin = begin > rows.begin ? begin : rows.begin;
        end = end < rows.end ? end : rows.end;
        memcpy(at(o, thread, c->y, c->domain, begin), at(o, thread, c->x, CPU_TOKENS, from + begin), (end - begin) * d * sizeof(float));
    }
}

static void run_pool(const struct cpu_ops *o, const struct cpu_command *c, struct cpu_range texts, unsigned thread)
{
    const size_t d = c->x->cols;
    for (size_t s = texts.begin; s < texts.end; s++) {
        const size_t begin = o->pooled_offset[s], end = o->pooled_offset[s + 1];
        float *y = at(o, thread, c->y, c->domain, s);
        if (c->op == OP_MEAN)
            o->kernels->mean_rows(at(o, thread, c->x, CPU_POOLED, begin), end - begin, d, y);
        else
            memcpy(y, at(o, thread, c->x, CPU_POOLED, c->last ? end - 1 : begin), d * sizeof(float));
    }
}

/* The first of a block's rows in a buffer, or in the arena */
static float *row_at(const struct cpu_ops *o, unsigned thread, const struct ops_buf *b, int32_t place, enum cpu_domain domain,
                     struct cpu_range rows)
{
    if (!b)
        return NULL;
    return place < 0 ? at(o, thread, b, domain, rows.begin) : o->workers[thread].arena + (size_t)place * cpu_matmul_rows(o);
}

int cpu_run_matmul(struct cpu_ops *o, const struct cpu_command *c, struct cpu_range rows, struct cpu_part part, unsigned thread)
{
    const size_t n = rows.end - rows.begin;
    const struct cpu_command *norm = cpu_inner_norm(o, c), *in = norm ? norm : c;
    const float *x = row_at(o, thread, in->x, in->x_place, c->domain, rows);
    if (c->gate)
        return cpu_matmul_gate(o, thread, c, part.cols, n, x, row_at(o, thread, c[1].y, c[1].y_place, c->domain, rows));
    return cpu_matmul(o, thread, c, part, n, x, row_at(o, thread, c->residual, c->residual_place, c->domain, rows),
                      row_at(o, thread, c->y, c->y_place, c->domain, rows));
}

void cpu_run_heads(struct cpu_ops *o, const struct cpu_command *c, struct cpu_range heads, unsigned thread)
{
    const struct cpu_range rows = {0, c->n};
    if (c->op == OP_ROPE)
        run_rope(o, c, rows, at(o, thread, c->y, c->domain, 0), heads);
    else if (c->op == OP_QK_NORM)
        run_qk_norm(o, c, c->n, at(o, thread, c->y, c->domain, 0), heads);
    else
        run_attention(o, c, rows, heads, thread);
}

int cpu_run_command(struct cpu_ops *o, const struct cpu_command *c, struct cpu_range rows, unsigned thread)
{
    const struct cpu_kernels *k = o->kernels;
    const size_t n = rows.end - rows.begin, d = c->y->cols;
    const float *x = row_at(o, thread, c->x, c->x_place, c->domain, rows);
    float *y = row_at(o, thread, c->y, c->y_place, c->domain, rows);
    if (n == 0)
        return 0;
    switch (c->op) {
    case OP_EMBED:
        run_embed(o, c, rows, y);
        return 0;
    case OP_RMS_NORM:
        k->rms_norm(x, c->g->v, c->eps, n, d, y);
        return 0;
    case OP_RMS_NORM_ADD:
        k->rms_norm_add(x, c->g->v, c->eps, n, d, y);
        return 0;
    case OP_SCALE:
        k->scale(y, c->eps, n * d);
        return 0;
    case OP_LAYER_NORM:
        k->layer_norm(x, c->g ? c->g->v : NULL, c->b ? c->b->v : NULL, c->eps, n, d, y);
        return 0;
    case OP_MATMUL:
        return cpu_run_matmul(o, c, rows, (struct cpu_part){{0, cpu_matmul_width(c)}, CPU_NO_COLUMN}, thread);
    case OP_ROPE:
        run_rope(o, c, rows, y, all_heads(c));
        return 0;
    case OP_QK_NORM:
        run_qk_norm(o, c, n, y, all_heads(c));
        return 0;
    case OP_ATTENTION:
        run_attention(o, c, rows, all_heads(c), thread);
        return 0;
    case OP_SWIGLU:
        k->swiglu(x, n, c->r, y);
        return 0;
    case OP_GEGLU:
        k->geglu(x, n, c->r, y);
        return 0;
    case OP_GEGLU_TANH:
        k->geglu_tanh(x, n, c->r, y);
        return 0;
    case OP_SOFTMAX:
        k->softmax(y, n * c->groups, c->r);
        return 0;
    case OP_GATHER:
        run_gather(o, c, rows, thread);
        return 0;
    case OP_MEAN:
    case OP_PICK:
        run_pool(o, c, rows, thread);
        return 0;
    case OP_L2:
        k->l2_normalize(y, n, d);
        return 0;
    }
    return LT_EINTERNAL;
}

/* ---- stretches ---- */

static void meet(struct cpu_ops *o)
{
    if (!o->by_text)
        team_barrier(o->team);
}

/* All commands on one share. An error stops the work of this share, but not the meetings. */
static void run_share(struct cpu_ops *o, const struct share *share, unsigned thread)
{
    const size_t most = cpu_matmul_rows(o);
    int r = 0;
    for (size_t i = 0, end; i < o->n_commands; i = end) {
        const struct cpu_command *c = &o->commands[i];
        end = cpu_stretch_end(o, i);
        if (i)
            meet(o);
        struct cpu_range rows = share->rows[c->domain];
        if (c->domain == CPU_LOOSE)
            rows = (struct cpu_range){0, c->n};
        const size_t step = cpu_across_rows(c->op) || c->domain == CPU_LOOSE ? rows.end - rows.begin : most;
        for (size_t t = rows.begin; !r && t < rows.end; t += step) {
            const struct cpu_range block = {t, rows.end - t < step ? rows.end : t + step};
            for (size_t j = i; !r && j < end; j += o->commands[j].gate ? 2 : 1)
                if (!o->commands[j].inner)
                    r = cpu_run_command(o, &o->commands[j], block, thread);
        }
    }
    if (r)
        atomic_store(&o->run_error, r);
}

static void run_by_text(void *arg, unsigned thread)
{
    struct cpu_ops *o = arg;
    unsigned g;
    while ((g = atomic_fetch_add(&o->next_group, 1)) < o->n_groups) {
        const uint32_t first = o->group[g], end = o->group[g + 1];
        ptrdiff_t *shift = o->workers[thread].shift;
        shift[CPU_TOKENS] = (ptrdiff_t)o->seq_offset[first] - (ptrdiff_t)thread * o->largest_group;
        shift[CPU_POOLED] = (ptrdiff_t)o->pooled_offset[first] - (ptrdiff_t)thread * o->largest_pooled;
        const struct share share = {{
            [CPU_TOKENS] = {o->seq_offset[first], o->seq_offset[end]},
            [CPU_POOLED] = {o->pooled_offset[first], o->pooled_offset[end]},
            [CPU_TEXTS] = {first, end},
        }};
        run_share(o, &share, thread);
    }
}

static void run_by_row(void *arg, unsigned thread)
{
    struct cpu_ops *o = arg;
    struct share share = {0};
    for (int d = CPU_TOKENS; d <= CPU_TEXTS; d++) {
        const size_t n = cpu_domain_rows(o, (enum cpu_domain)d), part = (n + o->n_active - 1) / o->n_active;
        const size_t begin = part * thread < n ? part * thread : n;
        share.rows[d] = (struct cpu_range){begin, n - begin < part ? n : begin + part};
    }
    run_share(o, &share, thread);
}

/* ---- who does what ---- */

/* Groups of at least GROUP_ROWS rows */
static void make_groups(struct cpu_ops *o)
{
    o->largest_group = o->largest_pooled = 0;
    o->n_groups = 0;
    for (uint32_t s = 0, begin = 0; s < o->batch.n_seqs; s++) {
        const uint32_t rows = o->seq_offset[s + 1] - o->seq_offset[begin];
        if (rows < GROUP_ROWS && s + 1 < o->batch.n_seqs)
            continue;
        o->group[o->n_groups++] = begin;
        const uint32_t pooled = o->pooled_offset[s + 1] - o->pooled_offset[begin];
        o->largest_group = rows > o->largest_group ? rows : o->largest_group;
        o->largest_pooled = pooled > o->largest_pooled ? pooled : o->largest_pooled;
        begin = s + 1;
    }
    o->group[o->n_groups] = o->batch.n_seqs;
}

/* Rows of the thread with the most, each taking the next group when it has done its last */
static uint64_t most_rows(const struct cpu_ops *o, unsigned n_threads)
{
    uint64_t rows[CPU_MAX_THREADS] = {0}, most = 0;
    for (uint32_t g = 0; g < o->n_groups; g++) {
        unsigned least = 0;
        for (unsigned t = 1; t < n_threads; t++)
            least = rows[t] < rows[least] ? t : least;
        rows[least] += o->seq_offset[o->group[g + 1]] - o->seq_offset[o->group[g]];
        most = rows[least] > most ? rows[least] : most;
    }
    return most;
}

/* How many threads share out columns, where there are too few rows for all; 0: it doesn't pay. They meet at each product and read what the others
 * wrote, which takes two some 2 µs a time, more threads 15: only where products are large do these gain more. Measured with products of 0.5
 * and 2 MB. */
static unsigned column_threads(const struct cpu_ops *o)
{
    const size_t n = o->batch.n_tokens;
    size_t weights = 0, products = 0;
    for (const struct cpu_command *c = o->commands; c < o->commands + o->n_commands; c++) {
        products += c->op == OP_MATMUL;
        weights += c->op == OP_MATMUL ? c->w->m * c->w->k : 0;
    }
    if (o->loose || n > COLUMN_MOST || n / ROWS_PER_THREAD >= o->n_threads || o->n_threads == 1)
        return 0;
    const size_t work = weights * (n < COLUMN_LEAST ? COLUMN_LEAST : n);
    return work > products * COLUMN_GAIN ? o->n_threads : work > products * COLUMN_GAIN_OF_TWO ? 2 : 0;
}

int cpu_run(struct cpu_ops *o, const struct ops_buf *src)
{
    const int placed = cpu_place(o, src);
    if (placed)
        return placed;
    cpu_find_passing(o, src, false);
    const unsigned sharing = column_threads(o);
    o->by_column = sharing > 0;
    if (o->by_column)
        return cpu_run_by_column(o, src, sharing);
    make_groups(o);
    const uint32_t n = o->batch.n_tokens;
    unsigned active = n / ROWS_PER_THREAD;
    active = active < 1 ? 1 : active > o->n_threads ? o->n_threads : active;
    /* By text, unless one thread would take an eighth longer than its fair share. */
    o->by_text = !o->loose && (active == 1 || most_rows(o, active) * active <= n + n / 8);
    if (o->loose)
        active = 1;
    o->n_active = active;
    atomic_store(&o->next_group, 0);
    atomic_store(&o->run_error, 0);
    if (o->by_text) {
        /* Threads' places are apart, and there are no more rows than the batch has. */
        cpu_find_passing(o, src, active * (uint64_t)o->largest_group <= n && active * (uint64_t)o->largest_pooled <= o->n_pooled);
        team_help(o->team, active, run_by_text, o);
    } else
        team_run(o->team, active, run_by_row, o);
    return atomic_load(&o->run_error);
}
