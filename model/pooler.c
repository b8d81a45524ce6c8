#include "model/pooler.h"

#include <stdlib.h>
#include <string.h>

#include "model/pooler_fold.h"
#include "model/quantise.h"

struct pooler {
    const struct model_info *info;
    struct ops *o;
    uint32_t n_logits;
    struct ops_mat *a, *b;      /* folded attention: [H r, d], [d, H r] */
    struct ops_vec *c;          /* [H r] */
    struct ops_vec *norm_g, *norm_b;
    struct ops_mat *up, *down;  /* [2 f, d], [d, f] */
    struct ops_vec *up_bias, *down_bias;
    struct ops_buf *norm, *x;   /* [pooled, d] */
    struct ops_buf *logits;     /* [pooled, H r] */
    struct ops_buf *wide, *act; /* [pooled, 2 f], [pooled, f] */
    struct ops_buf *mean_act;   /* [texts, f] */
    struct ops_buf *out;        /* [texts, d] */
    struct ops_mat *dense[2];   /* linear layers on the result, NULL: none */
    struct ops_buf *dense_out[2]; /* [texts, info->dense] */
};

/* How a matrix of ours is stored: with 8 bits where the model's weights are quantised, with 16 where they have as many, since these run for
 * every token too. */
static enum tensor_type folded_type(const struct model_info *i, uint64_t cols)
{
    if (i->quantised)
        return tensor_row_bytes(TENSOR_Q8_0, cols) ? TENSOR_Q8_0 : TENSOR_F32;
    return strcmp(i->weight_type, "f32") ? TENSOR_F16 : TENSOR_F32;
}

uint64_t pooler_folded_bytes(const struct model_info *i, struct ops *o)
{
    const uint64_t d = i->hidden, logits = (uint64_t)i->n_latent_heads * i->n_latents;
    if (i->pooling != MODEL_POOL_LATENT)
        return 0;
    const struct tensor keys = {"", folded_type(i, d), logits, d, NULL, 0}, values = {"", folded_type(i, logits), d, logits, NULL, 0};
    return o->v->mat_bytes(o, &keys) + o->v->mat_bytes(o, &values);
}

/* A matrix of ours as the device's: in f32 after all where f16 does not hold it. */
static int upload(struct pooler *p, const char *name, const float *v, uint64_t rows, uint64_t cols, struct ops_mat **w,
                  struct err_msg *em)
{
    const enum tensor_type type = folded_type(p->info, cols);
    const size_t row = tensor_row_bytes(type, cols);
    struct tensor t = {name, TENSOR_F32, rows, cols, v, rows * cols * sizeof *v};
    const struct tensor *part = &t;
    uint8_t *packed = NULL;
    int r = 0;
    if (type != TENSOR_F32) {
        packed = aligned_alloc(64, (rows * row + 63) & ~(size_t)63);
        if (!packed)
            return err_set(em, LT_ENOMEM, "no memory for %s", name);
        for (uint64_t i = 0; !r && i < rows; i++)
            r = quantise_row(type, v + i * cols, NULL, cols, packed + i * row);
        if (!r)
            t = (struct tensor){name, type, rows, cols, packed, rows * row};
        else if (type == TENSOR_F16)
            r = 0;
    }
    if (!r)
        r = p->o->v->mat_create(p->o, &part, 1, w, em);
    free(packed);
    return r;
}

static int load_vec(struct pooler *p, const struct model *m, const char *name, struct ops_vec **v, struct err_msg *em)
{
    const struct tensor *t = model_tensor(m, name);
    return p->o->v->vec_create(p->o, t->data, t->cols, v, em);
}

static int load_mat(struct pooler *p, const struct model *m, const char *name, struct ops_mat **w, struct err_msg *em)
{
    const struct tensor *t = model_tensor(m, name);
    return p->o->v->mat_create(p->o, &t, 1, w, em);
}

bool pooler_folds(const char *tensor)
{
    return !strncmp(tensor, "pooler.attn_", 12) || !strcmp(tensor, "pooler.latents.weight");
}

int pooler_resize(struct pooler *p, uint32_t max_tokens, struct err_msg *em)
{
    const uint32_t d = p->info->hidden, f = p->info->latent_ffn;
    struct ops *o = p->o;
    struct {
        struct ops_buf **b;
        size_t cols;
    } bufs[] = {{&p->norm, d}, {&p->x, d}, {&p->logits, p->n_logits}, {&p->wide, 2 * (size_t)f}, {&p->act, f}};
    int r = 0;
    if (p->info->pooling != MODEL_POOL_LATENT)
        return 0;
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        o->v->buf_destroy(o, bufs[i].b);
    for (size_t i = 0; !r && i < sizeof bufs / sizeof *bufs; i++)
        r = o->v->buf_create(o, max_tokens, bufs[i].cols, bufs[i].b, em);
    return r;
}

static int load_latent(struct pooler *p, const struct model *m, uint32_t max_tokens, uint32_t max_seqs,
                       unsigned n_threads, struct err_msg *em)
{
    const uint32_t d = p->info->hidden, f = p->info->latent_ffn;
    struct ops *o = p->o;
    struct pooler_fold fold;
    int r = pooler_fold(m, n_threads, &fold, em);
    if (r < 0)
        return r;
    p->n_logits = fold.n_logits;
    if ((r = upload(p, "pooler's folded keys", fold.a, p->n_logits, d, &p->a, em)) == 0 &&
        (r = upload(p, "pooler's folded values", fold.b, d, p->n_logits, &p->b, em)) == 0)
        r = o->v->vec_create(o, fold.c, p->n_logits, &p->c, em);
    pooler_fold_finish(&fold);
    if (r < 0 || (r = load_vec(p, m, "pooler.ffn_norm.weight", &p->norm_g, em)) < 0 ||
        (r = load_vec(p, m, "pooler.ffn_norm.bias", &p->norm_b, em)) < 0 ||
        (r = load_vec(p, m, "pooler.ffn_up.bias", &p->up_bias, em)) < 0 ||
        (r = load_vec(p, m, "pooler.ffn_down.bias", &p->down_bias, em)) < 0 ||
        (r = load_mat(p, m, "pooler.ffn_up.weight", &p->up, em)) < 0 ||
        (r = load_mat(p, m, "pooler.ffn_down.weight", &p->down, em)) < 0 ||
        (r = pooler_resize(p, max_tokens, em)) < 0)
        return r;
    return o->v->buf_create(o, max_seqs, f, &p->mean_act, em);
}

static int load_dense(struct pooler *p, const struct model *m, uint32_t max_seqs, struct err_msg *em)
{
    int r = 0;
    for (int k = 0; k < 2 && r == 0; k++) {
        if (!p->info->dense[k])
            continue;
        if ((r = load_mat(p, m, k ? "dense_3.weight" : "dense_2.weight", &p->dense[k], em)) == 0)
            r = p->o->v->buf_create(p->o, max_seqs, p->info->dense[k], &p->dense_out[k], em);
    }
    return r;
}

void pooler_row_floats(const struct model_info *i, uint64_t *widest, uint64_t *total)
{
    const uint64_t d = i->hidden, f = i->latent_ffn, logits = (uint64_t)i->n_latent_heads * i->n_latents;
    *widest = 2 * f > logits ? 2 * f : logits;
    *widest = *widest > d ? *widest : d;
    for (int k = 0; k < 2; k++)
        *widest = *widest > i->dense[k] ? *widest : i->dense[k];
    *total = 3 * d + logits + 4 * f;
}

int pooler_create(struct pooler **out, const struct model *m, struct ops *o, uint32_t max_tokens, uint32_t max_seqs,
                  unsigned n_threads, struct err_msg *em)
{
    struct pooler *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(em, LT_ENOMEM, "no memory");
    p->info = model_info(m);
    p->o = o;
    int r = o->v->buf_create(o, max_seqs, p->info->hidden, &p->out, em);
    if (!r && p->info->pooling == MODEL_POOL_LATENT)
        r = load_latent(p, m, max_tokens, max_seqs, n_threads, em);
    if (!r)
        r = load_dense(p, m, max_seqs, em);
    if (r < 0)
        pooler_destroy(&p);
    else
        *out = p;
    return r;
}

void pooler_destroy(struct pooler **pp)
{
    struct pooler *p = pp ? *pp : NULL;
    if (!p)
        return;
    struct ops *o = p->o;
    struct ops_mat **mats[] = {&p->a, &p->b, &p->up, &p->down, &p->dense[0], &p->dense[1]};
    struct ops_vec **vecs[] = {&p->c, &p->norm_g, &p->norm_b, &p->up_bias, &p->down_bias};
    struct ops_buf **bufs[] = {&p->norm, &p->x,   &p->logits,       &p->wide,        &p->act,
                               &p->mean_act, &p->out, &p->dense_out[0], &p->dense_out[1]};
    for (size_t i = 0; i < sizeof mats / sizeof *mats; i++)
        o->v->mat_destroy(o, mats[i]);
    for (size_t i = 0; i < sizeof vecs / sizeof *vecs; i++)
        o->v->vec_destroy(o, vecs[i]);
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        o->v->buf_destroy(o, bufs[i]);
    free(p);
    *pp = NULL;
}

static int run_latent(struct pooler *p, const struct ops_buf *hidden, uint32_t n, uint32_t n_seqs)
{
    const struct model_info *i = p->info;
    const struct ops_vtbl *v = p->o->v;
    struct ops *o = p->o;
    int r;
    if ((r = v->layer_norm(o, hidden, NULL, NULL, i->layer_norm_eps, n, p->norm)) < 0 ||
        (r = v->matmul(o, p->norm, p->a, p->c, NULL, n, p->logits)) < 0 ||
        (r = v->softmax_groups(o, p->logits, n, i->n_latent_heads, i->n_latents)) < 0 ||
        (r = v->matmul(o, p->logits, p->b, NULL, hidden, n, p->x)) < 0 ||
        (r = v->layer_norm(o, p->x, p->norm_g, p->norm_b, i->layer_norm_eps, n, p->norm)) < 0 ||
        (r = v->matmul(o, p->norm, p->up, p->up_bias, NULL, n, p->wide)) < 0 ||
        (r = v->geglu(o, p->wide, n, i->latent_ffn, p->act)) < 0 ||
        (r = v->mean_pool(o, p->act, p->mean_act)) < 0 || (r = v->mean_pool(o, p->x, p->out)) < 0)
        return r;
    return v->matmul(o, p->mean_act, p->down, p->down_bias, p->out, n_seqs, p->out);
}

int pooler_run(struct pooler *p, const struct ops_buf *hidden, uint32_t n_pooled, uint32_t n_seqs,
               struct ops_buf **out)
{
    int r = 0;
    switch (p->info->pooling) {
    case MODEL_POOL_LATENT:
        r = run_latent(p, hidden, n_pooled, n_seqs);
        break;
    case MODEL_POOL_MEAN:
        r = p->o->v->mean_pool(p->o, hidden, p->out);
        break;
    case MODEL_POOL_LAST:
    case MODEL_POOL_CLS:
        r = p->o->v->pick_pooled(p->o, hidden, p->info->pooling == MODEL_POOL_LAST, p->out);
        break;
    }
    struct ops_buf *last = p->out;
    for (int k = 0; k < 2 && r == 0; k++) {
        if (!p->dense[k])
            continue;
        r = p->o->v->matmul(p->o, last, p->dense[k], NULL, NULL, n_seqs, p->dense_out[k]);
        last = p->dense_out[k];
    }
    if (!r)
        r = p->o->v->l2_normalize(p->o, last, n_seqs);
    *out = last;
    return r;
}
