#include "model/pooler.h"

#include <stdlib.h>
#include <string.h>

#include "model/pooler_fold.h"
#include "model/quantise.h"

struct pooler {
    const struct model_info *info;
    struct ops *o;
    const struct activations *buf;
    struct ops_mat *a, *b;      /* folded attention: [H r, d], [d, H r] */
    struct ops_vec *c;          /* [H r] */
    struct ops_vec *norm_g, *norm_b;
    struct ops_mat *up, *down;  /* [2 f, d], [d, f] */
    struct ops_vec *up_bias, *down_bias;
    struct ops_mat *dense[2];   /* linear layers on the result, NULL: none */
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

static int load_latent(struct pooler *p, const struct model *m, unsigned n_threads, struct err_msg *em)
{
    const uint32_t d = p->info->hidden;
    struct ops *o = p->o;
    struct pooler_fold fold;
    int r = pooler_fold(m, n_threads, &fold, em);
    if (r < 0)
        return r;
    if ((r = upload(p, "pooler's folded keys", fold.a, fold.n_logits, d, &p->a, em)) == 0 &&
        (r = upload(p, "pooler's folded values", fold.b, d, fold.n_logits, &p->b, em)) == 0)
        r = o->v->vec_create(o, fold.c, fold.n_logits, &p->c, em);
    pooler_fold_finish(&fold);
    if (r < 0 || (r = load_vec(p, m, "pooler.ffn_norm.weight", &p->norm_g, em)) < 0 ||
        (r = load_vec(p, m, "pooler.ffn_norm.bias", &p->norm_b, em)) < 0 ||
        (r = load_vec(p, m, "pooler.ffn_up.bias", &p->up_bias, em)) < 0 ||
        (r = load_vec(p, m, "pooler.ffn_down.bias", &p->down_bias, em)) < 0 ||
        (r = load_mat(p, m, "pooler.ffn_up.weight", &p->up, em)) < 0)
        return r;
    return load_mat(p, m, "pooler.ffn_down.weight", &p->down, em);
}

static int load_dense(struct pooler *p, const struct model *m, struct err_msg *em)
{
    int r = 0;
    for (int k = 0; k < 2 && r == 0; k++)
        if (p->info->dense[k])
            r = load_mat(p, m, k ? "dense_3.weight" : "dense_2.weight", &p->dense[k], em);
    return r;
}

int pooler_create(struct pooler **out, const struct model *m, struct ops *o, const struct activations *a, unsigned n_threads, struct err_msg *em)
{
    struct pooler *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(em, LT_ENOMEM, "no memory");
    p->info = model_info(m);
    p->o = o;
    p->buf = a;
    int r = p->info->pooling == MODEL_POOL_LATENT ? load_latent(p, m, n_threads, em) : 0;
    if (!r)
        r = load_dense(p, m, em);
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
    for (size_t i = 0; i < sizeof mats / sizeof *mats; i++)
        o->v->mat_destroy(o, mats[i]);
    for (size_t i = 0; i < sizeof vecs / sizeof *vecs; i++)
        o->v->vec_destroy(o, vecs[i]);
    free(p);
    *pp = NULL;
}

static int run_latent(struct pooler *p, struct ops_buf *hidden, uint32_t n, uint32_t n_seqs)
{
    const struct model_info *i = p->info;
    const struct activations *b = p->buf;
    const struct ops_vtbl *v = p->o->v;
    struct ops *o = p->o;
    int r;
    if ((r = v->layer_norm(o, hidden, NULL, NULL, i->layer_norm_eps, n, b->latent_norm)) < 0 ||
        (r = v->matmul(o, b->latent_norm, p->a, p->c, NULL, n, b->logits)) < 0 ||
        (r = v->softmax_groups(o, b->logits, n, i->n_latent_heads, i->n_latents)) < 0 ||
        (r = v->matmul(o, b->logits, p->b, NULL, hidden, n, b->latent_x)) < 0 ||
        (r = v->layer_norm(o, b->latent_x, p->norm_g, p->norm_b, i->layer_norm_eps, n, hidden)) < 0 ||
        (r = v->matmul(o, hidden, p->up, p->up_bias, NULL, n, b->latent_wide)) < 0 ||
        (r = v->geglu(o, b->latent_wide, n, i->latent_ffn, b->latent_act)) < 0 ||
        (r = v->mean_pool(o, b->latent_act, b->mean_act)) < 0 || (r = v->mean_pool(o, b->latent_x, b->out)) < 0)
        return r;
    return v->matmul(o, b->mean_act, p->down, p->down_bias, b->out, n_seqs, b->out);
}

int pooler_run(struct pooler *p, struct ops_buf *hidden, uint32_t n_pooled, uint32_t n_seqs, struct ops_buf **out)
{
    struct ops_buf *last = p->buf->out;
    int r = 0;
    switch (p->info->pooling) {
    case MODEL_POOL_LATENT:
        r = run_latent(p, hidden, n_pooled, n_seqs);
        break;
    case MODEL_POOL_MEAN:
        r = p->o->v->mean_pool(p->o, hidden, last);
        break;
    case MODEL_POOL_LAST:
    case MODEL_POOL_CLS:
        r = p->o->v->pick_pooled(p->o, hidden, p->info->pooling == MODEL_POOL_LAST, last);
        break;
    }
    for (int k = 0; k < 2 && r == 0; k++) {
        if (!p->dense[k])
            continue;
        r = p->o->v->matmul(p->o, last, p->dense[k], NULL, NULL, n_seqs, p->buf->dense[k]);
        last = p->buf->dense[k];
    }
    if (!r && !p->info->ranks)
        r = p->o->v->l2_normalize(p->o, last, n_seqs);
    *out = last;
    return r;
}
