/* The calls between begin and end: each checks its shapes and appends a command. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/ops_cpu_internal.h"

static int fail(struct cpu_ops *o, int code)
{
    if (!o->error)
        o->error = code;
    return code;
}

/* Which rows n are; where two domains fit, they are the same rows. */
static enum cpu_domain domain_of(const struct cpu_ops *o, uint32_t n)
{
    return n == o->batch.n_tokens ? CPU_TOKENS
           : n == o->n_pooled     ? CPU_POOLED
           : n == o->batch.n_seqs ? CPU_TEXTS
                                  : CPU_LOOSE;
}

static uint32_t rows_of(const struct cpu_ops *o, enum cpu_domain d)
{
    return d == CPU_TOKENS ? o->batch.n_tokens : d == CPU_POOLED ? o->n_pooled : o->batch.n_seqs;
}

/* Rows that this batch wrote by another cut are not where a thread expects them. */
static void use(struct cpu_ops *o, const struct ops_buf *b, enum cpu_domain d)
{
    if (b && b->batch == o->batch_number && rows_of(o, b->domain) != rows_of(o, d))
        o->loose = true;
}

/* c->n rows; x is read as rows of x_domain. Checks capacities, widths are the caller's. */
static int record(struct cpu_ops *o, struct cpu_command c, enum cpu_domain x_domain)
{
    if (!o->recording)
        return LT_EINVAL;
    c.domain = domain_of(o, c.n);
    if (c.domain == CPU_LOOSE || x_domain == CPU_LOOSE)
        o->loose = true;
    else {
        use(o, c.x, x_domain);
        use(o, c.residual, c.domain);
    }
    const uint32_t x_rows = x_domain == c.domain || x_domain == CPU_LOOSE ? c.n : rows_of(o, x_domain);
    if (!c.n || c.n > c.y->max_rows || (c.x && x_rows > c.x->max_rows) ||
        (c.residual && (c.n > c.residual->max_rows || c.residual->cols != c.y->cols)))
        return fail(o, LT_EINVAL);
    if (o->n_commands == o->cap_commands) {
        const size_t cap = o->cap_commands ? 2 * o->cap_commands : 256;
        struct cpu_command *v = realloc(o->commands, cap * sizeof *v);
        if (!v)
            return fail(o, LT_ENOMEM);
        o->commands = v;
        o->cap_commands = cap;
    }
    o->commands[o->n_commands++] = c;
    c.y->batch = o->batch_number;
    c.y->domain = c.domain;
    return 0;
}

static int embed_rows(struct ops *op, const struct ops_mat *table, struct ops_buf *y)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    if (!table->table || table->k != y->cols)
        return fail(o, LT_EINVAL);
    return record(o, (struct cpu_command){.op = OP_EMBED, .n = o->batch.n_tokens, .w = table, .y = y}, CPU_TOKENS);
}

static int rms_norm(struct ops *op, const struct ops_buf *x, const struct ops_vec *g, float eps, uint32_t n,
                    struct ops_buf *y)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    if (x->cols != y->cols || g->n != y->cols)
        return fail(o, LT_EINVAL);
    return record(o, (struct cpu_command){.op = OP_RMS_NORM, .n = n, .x = x, .y = y, .g = g, .eps = eps},
                  domain_of(o, n));
}

static int rms_norm_add(struct ops *op, const struct ops_buf *x, const struct ops_vec *g, float eps, uint32_t n,
                        struct ops_buf *y)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    if (x == y || x->cols != y->cols || g->n != y->cols)
        return fail(o, LT_EINVAL);
    return record(o, (struct cpu_command){.op = OP_RMS_NORM_ADD, .n = n, .x = x, .residual = y, .y = y, .g = g, .eps = eps},
                  domain_of(o, n));
}

static int scale(struct ops *op, struct ops_buf *x, float s, uint32_t n)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    return record(o, (struct cpu_command){.op = OP_SCALE, .n = n, .x = x, .y = x, .eps = s}, domain_of(o, n));
}

static int layer_norm(struct ops *op, const struct ops_buf *x, const struct ops_vec *g, const struct ops_vec *b,
                      float eps, uint32_t n, struct ops_buf *y)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    if (x->cols != y->cols || (g && g->n != y->cols) || (b && b->n != y->cols))
        return fail(o, LT_EINVAL);
    return record(o, (struct cpu_command){.op = OP_LAYER_NORM, .n = n, .x = x, .y = y, .g = g, .b = b, .eps = eps},
                  domain_of(o, n));
}

static int matmul(struct ops *op, const struct ops_buf *x, const struct ops_mat *w, const struct ops_vec *bias,
                  const struct ops_buf *residual, uint32_t n, struct ops_buf *y)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    if (w->table || x == y || x->cols != w->k || y->cols != w->m || (bias && bias->n != w->m))
        return fail(o, LT_EINVAL);
    return record(o, (struct cpu_command){.op = OP_MATMUL, .n = n, .x = x, .residual = residual, .y = y, .w = w, .b = bias},
                  domain_of(o, n));
}

/* Angles are f32 products, as Hugging Face makes them; their cosines are right to the last bit or so. */
static int grow_turns(struct cpu_ops *o, struct ops_vec *v)
{
    size_t n = o->longest;
    if (n <= v->n_positions)
        return 0;
    n = n < 512 ? 512 : n + n / 2;
    float *t = cpu_alloc(n, 2 * v->n * sizeof *t);
    if (!t)
        return LT_ENOMEM;
    for (size_t p = 0; p < n; p++) {
        for (size_t i = 0; i < v->n; i++) {
            const float angle = (float)p * v->v[i];
            t[p * 2 * v->n + i] = cosf(angle);
            t[(p * 2 + 1) * v->n + i] = sinf(angle);
        }
    }
    free(v->turns);
    v->turns = t;
    v->n_positions = n;
    return 0;
}

static bool attention_shape(const struct ops_attention *a, const struct ops_buf *qkv)
{
    return a->head_dim && a->head_dim <= ATTENTION_MAX_DIM && a->n_kv_heads && a->n_heads % a->n_kv_heads == 0 &&
           qkv->cols == (a->n_heads + 2 * (size_t)a->n_kv_heads) * a->head_dim;
}

static int rope(struct ops *op, struct ops_buf *qkv, const struct ops_vec *inv_freq, const struct ops_attention *a)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    if (!attention_shape(a, qkv) || inv_freq->n * 2 != a->head_dim)
        return fail(o, LT_EINVAL);
    /* The table is filled on the way; to the caller the vector stays what it was. */
    const int r = grow_turns(o, (struct ops_vec *)(uintptr_t)inv_freq);
    if (r)
        return fail(o, r);
    return record(o, (struct cpu_command){.op = OP_ROPE, .n = o->batch.n_tokens, .x = qkv, .y = qkv, .g = inv_freq, .attention = *a},
                  CPU_TOKENS);
}

static int qk_norm(struct ops *op, struct ops_buf *qkv, const struct ops_vec *gq, const struct ops_vec *gk, float eps,
                   const struct ops_attention *a)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    if (!attention_shape(a, qkv) || gq->n != a->head_dim || gk->n != a->head_dim)
        return fail(o, LT_EINVAL);
    return record(o, (struct cpu_command){.op = OP_QK_NORM, .n = o->batch.n_tokens, .x = qkv, .y = qkv, .g = gq, .b = gk,
                                          .eps = eps, .attention = *a}, CPU_TOKENS);
}

/* Whether attention on qkv may be rounded, and is faster so: not behind a product in f32, which then had no need to be one. */
static bool in_half(const struct cpu_ops *o, const struct ops_buf *qkv, const struct ops_attention *a)
{
    if (!a->half || !o->half || a->head_dim > ATTENTION_HALF_DIM || !(a->scale > 0))
        return false;
    for (size_t i = o->n_commands; i-- > 0;) {
        const struct cpu_command *c = &o->commands[i];
        if (c->y == qkv && c->op == OP_MATMUL)
            return c->w->int8;
    }
    return true;
}

static int attention(struct ops *op, const struct ops_buf *qkv, const struct ops_attention *a, struct ops_buf *y)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    struct ops_attention own = *a;
    if (qkv == y || !attention_shape(a, qkv) || y->cols != (size_t)a->n_heads * a->head_dim)
        return fail(o, LT_EINVAL);
    own.half = in_half(o, qkv, a);
    return record(o, (struct cpu_command){.op = OP_ATTENTION, .n = o->batch.n_tokens, .x = qkv, .y = y, .attention = own},
                  CPU_TOKENS);
}

static int gated(struct cpu_ops *o, enum cpu_op kind, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y)
{
    if (x == y || x->cols != 2 * (size_t)f || y->cols != f)
        return fail(o, LT_EINVAL);
    return record(o, (struct cpu_command){.op = kind, .n = n, .x = x, .y = y, .r = f}, domain_of(o, n));
}

static int swiglu(struct ops *op, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y)
{
    return gated((struct cpu_ops *)op, OP_SWIGLU, x, n, f, y);
}

static int geglu(struct ops *op, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y)
{
    return gated((struct cpu_ops *)op, OP_GEGLU, x, n, f, y);
}

static int geglu_tanh(struct ops *op, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y)
{
    return gated((struct cpu_ops *)op, OP_GEGLU_TANH, x, n, f, y);
}

static int softmax_groups(struct ops *op, struct ops_buf *x, uint32_t n, uint32_t groups, uint32_t r)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    if (!r || x->cols != (size_t)groups * r)
        return fail(o, LT_EINVAL);
    return record(o, (struct cpu_command){.op = OP_SOFTMAX, .n = n, .x = x, .y = x, .groups = groups, .r = r},
                  domain_of(o, n));
}

static int gather_pooled(struct ops *op, const struct ops_buf *x, struct ops_buf *y)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    if (x == y || x->cols != y->cols)
        return fail(o, LT_EINVAL);
    return record(o, (struct cpu_command){.op = OP_GATHER, .n = o->n_pooled, .x = x, .y = y}, CPU_TOKENS);
}

static int mean_pool(struct ops *op, const struct ops_buf *x, struct ops_buf *y)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    if (x == y || x->cols != y->cols)
        return fail(o, LT_EINVAL);
    return record(o, (struct cpu_command){.op = OP_MEAN, .n = o->batch.n_seqs, .x = x, .y = y}, CPU_POOLED);
}

static int pick_pooled(struct ops *op, const struct ops_buf *x, bool last, struct ops_buf *y)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    if (x == y || x->cols != y->cols)
        return fail(o, LT_EINVAL);
    return record(o, (struct cpu_command){.op = OP_PICK, .n = o->batch.n_seqs, .x = x, .y = y, .last = last}, CPU_POOLED);
}

static int l2_normalize(struct ops *op, struct ops_buf *x, uint32_t n)
{
    struct cpu_ops *o = (struct cpu_ops *)op;
    return record(o, (struct cpu_command){.op = OP_L2, .n = n, .x = x, .y = x}, domain_of(o, n));
}

void cpu_record_table(struct ops_vtbl *v)
{
    v->embed_rows = embed_rows;
    v->rms_norm = rms_norm;
    v->rms_norm_add = rms_norm_add;
    v->scale = scale;
    v->layer_norm = layer_norm;
    v->matmul = matmul;
    v->rope = rope;
    v->qk_norm = qk_norm;
    v->attention = attention;
    v->swiglu = swiglu;
    v->geglu = geglu;
    v->geglu_tanh = geglu_tanh;
    v->softmax_groups = softmax_groups;
    v->gather_pooled = gather_pooled;
    v->mean_pool = mean_pool;
    v->pick_pooled = pick_pooled;
    v->l2_normalize = l2_normalize;
}
