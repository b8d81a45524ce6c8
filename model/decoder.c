#include "model/decoder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/arch.h"

struct layer {
    struct ops_vec *attn_norm, *ffn_norm;       /* [d]; attn_norm: NULL in a first layer without one */
    struct ops_vec *post_attn, *post_ffn;       /* [d], or NULL */
    struct ops_vec *q_norm, *k_norm;            /* [D], or NULL */
    struct ops_mat *qkv;                        /* [(H + 2 Hkv) D, d] */
    struct ops_vec *qkv_bias;                   /* [(H + 2 Hkv) D], or NULL */
    struct ops_mat *attn_output;                /* [d, H D] */
    struct ops_mat *gate_up;                    /* [2 f, d] */
    struct ops_mat *ffn_down;                   /* [d, f] */
};

struct decoder {
    const struct model *m;
    const struct model_info *info;
    struct ops *o;
    struct ops_mat *table;
    struct ops_vec *inv_freq, *local_freq, *output_norm; /* local_freq: NULL where no layer is local */
    struct ops_vec *embed_norm; /* or NULL */
    struct layer *layers;
    uint32_t n_resident; /* the first so many stay on the device */
    const struct activations *buf;
    struct ops_attention attention, local;
};

static const struct tensor *layer_tensor(const struct model *m, uint32_t layer, const char *part)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%u.%s.weight", layer, part);
    return model_tensor(m, name);
}

/* A vector's data is f32 in the file, aligned as that wants it. */
static int load_vec(struct ops *o, const struct tensor *t, struct ops_vec **v, struct err_msg *em)
{
    return o->v->vec_create(o, t->data, t->cols, v, em);
}

static size_t qkv_cols(const struct model_info *i)
{
    return ((size_t)i->n_heads + 2 * (size_t)i->n_kv_heads) * i->head_dim;
}

/* A projection whose rows are in our order of pairs: a copy, freed by the caller, where the file has another. */
static int in_order(const struct decoder *d, const struct tensor **t, struct tensor *copy, struct err_msg *em)
{
    const size_t row = (*t)->len_bytes / (*t)->rows;
    uint8_t *rows;
    *copy = **t;
    copy->data = NULL;
    if (!d->info->rope_pairs)
        return 0;
    if (!(rows = malloc((*t)->len_bytes)))
        return err_set(em, LT_ENOMEM, "no memory for %s", (*t)->name);
    for (uint64_t i = 0; i < (*t)->rows; i++)
        memcpy(rows + i * row, (const uint8_t *)(*t)->data + arch_rope_row(d->info, i) * row, row);
    copy->data = rows;
    *t = copy;
    return 0;
}

static int load_qkv_bias(struct decoder *d, const struct model *m, uint32_t layer, struct ops_vec **v, struct err_msg *em)
{
    static const char *const parts[] = {"attn_q", "attn_k", "attn_v"};
    const size_t n = qkv_cols(d->info);
    size_t at = 0;
    float *all = malloc(n * sizeof *all);
    if (!all)
        return err_set(em, LT_ENOMEM, "no memory");
    for (int p = 0; p < 3; p++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s.bias", layer, parts[p]);
        const struct tensor *t = model_tensor(m, name);
        const float *x = t->data;
        for (uint64_t i = 0; i < t->cols; i++)
            all[at++] = x[p < 2 ? arch_rope_row(d->info, i) : i];
    }
    int r = d->o->v->vec_create(d->o, all, n, v, em);
    free(all);
    return r;
}

static int load_qkv(struct decoder *d, const struct model *m, uint32_t i, struct err_msg *em)
{
    struct layer *l = &d->layers[i];
    const struct tensor *qkv[] = {layer_tensor(m, i, "attn_q"), layer_tensor(m, i, "attn_k"),
                                  layer_tensor(m, i, "attn_v")};
    struct tensor copy[2] = {{0}};
    int r;
    if ((r = in_order(d, &qkv[0], &copy[0], em)) == 0 && (r = in_order(d, &qkv[1], &copy[1], em)) == 0)
        r = d->o->v->mat_create(d->o, qkv, 3, &l->qkv, em);
    free((void *)copy[0].data);
    free((void *)copy[1].data);
    if (r == 0 && d->info->qkv_bias)
        r = load_qkv_bias(d, m, i, &l->qkv_bias, em);
    return r;
}

static int load_layer(struct decoder *d, const struct model *m, uint32_t i, struct err_msg *em)
{
    struct layer *l = &d->layers[i];
    struct ops *o = d->o;
    const bool gate_last = d->info->gate == MODEL_GATE_GELU; /* as geglu wants it */
    const struct tensor *gate_up[] = {layer_tensor(m, i, gate_last ? "ffn_up" : "ffn_gate"), layer_tensor(m, i, gate_last ? "ffn_gate" : "ffn_up")};
    const struct tensor *out = layer_tensor(m, i, "attn_output"), *down = layer_tensor(m, i, "ffn_down");
    int r;
    if (d->info->qk_norm && ((r = load_vec(o, layer_tensor(m, i, "attn_q_norm"), &l->q_norm, em)) < 0 ||
                             (r = load_vec(o, layer_tensor(m, i, "attn_k_norm"), &l->k_norm, em)) < 0))
        return r;
    if (d->info->post_norms && ((r = load_vec(o, layer_tensor(m, i, "post_attention_norm"), &l->post_attn, em)) < 0 ||
                                (r = load_vec(o, layer_tensor(m, i, "post_ffw_norm"), &l->post_ffn, em)) < 0))
        return r;
    if ((i || !d->info->bare_first) && (r = load_vec(o, layer_tensor(m, i, "attn_norm"), &l->attn_norm, em)) < 0)
        return r;
    if ((r = load_vec(o, layer_tensor(m, i, "ffn_norm"), &l->ffn_norm, em)) < 0 ||
        (r = load_qkv(d, m, i, em)) < 0 || (r = o->v->mat_create(o, &out, 1, &l->attn_output, em)) < 0 ||
        (r = o->v->mat_create(o, gate_up, 2, &l->gate_up, em)) < 0)
        return r;
    return o->v->mat_create(o, &down, 1, &l->ffn_down, em);
}

static int load_rope(struct decoder *d, const struct model *m, struct err_msg *em)
{
    const struct tensor *factors = d->info->rope_factors ? model_tensor(m, "rope_freqs.weight") : NULL;
    const uint32_t half = d->info->head_dim / 2;
    float *freq = calloc(half, sizeof *freq);
    if (!freq)
        return err_set(em, LT_ENOMEM, "no memory");
    arch_rope_freqs(d->info, false, factors ? factors->data : NULL, freq);
    int r = d->o->v->vec_create(d->o, freq, half, &d->inv_freq, em);
    if (r == 0 && d->info->window) {
        arch_rope_freqs(d->info, true, factors ? factors->data : NULL, freq);
        r = d->o->v->vec_create(d->o, freq, half, &d->local_freq, em);
    }
    free(freq);
    return r;
}

static void free_layer(struct decoder *d, uint32_t i)
{
    struct ops *o = d->o;
    struct layer *l = &d->layers[i];
    o->v->vec_destroy(o, &l->attn_norm);
    o->v->vec_destroy(o, &l->ffn_norm);
    o->v->vec_destroy(o, &l->post_attn);
    o->v->vec_destroy(o, &l->post_ffn);
    o->v->vec_destroy(o, &l->q_norm);
    o->v->vec_destroy(o, &l->k_norm);
    o->v->mat_destroy(o, &l->qkv);
    o->v->vec_destroy(o, &l->qkv_bias);
    o->v->mat_destroy(o, &l->attn_output);
    o->v->mat_destroy(o, &l->gate_up);
    o->v->mat_destroy(o, &l->ffn_down);
}

static const char *const matrices[] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
#define N_MATRICES (sizeof matrices / sizeof *matrices)

/* What a layer's matrices take on the device. */
static uint64_t layer_bytes(const struct decoder *d, uint32_t layer)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < N_MATRICES; i++)
        sum += d->o->v->mat_bytes(d->o, layer_tensor(d->m, layer, matrices[i]));
    return sum;
}

/* The pages of the model file that a layer was made from. */
static void release_layer(const struct decoder *d, uint32_t layer)
{
    for (size_t i = 0; i < N_MATRICES; i++)
        model_release(d->m, layer_tensor(d->m, layer, matrices[i]));
}

/* All, or as many as leave room for one more, through which the others pass. */
static uint32_t choose_resident(const struct decoder *d, uint64_t room)
{
    const uint32_t n = d->info->n_layers;
    uint64_t all = 0, largest = 0, used = 0;
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t bytes = layer_bytes(d, i);
        all += bytes;
        largest = bytes > largest ? bytes : largest;
    }
    if (!room || all <= room)
        return n;
    uint32_t i = 0;
    while (i < n && (used += layer_bytes(d, i)) + largest <= room)
        i++;
    return i;
}

/* Whether q, k and v come out of products that may be rounded, in every layer. */
static bool may_be_half(const struct decoder *d)
{
    bool half = true;
    for (uint32_t l = 0; l < d->info->n_layers; l++)
        for (int part = 0; part < 3; part++)
            half &= layer_tensor(d->m, l, matrices[part])->type != TENSOR_F32;
    return half;
}

static int load(struct decoder *d, const struct decoder_params *p, struct err_msg *em)
{
    const struct model *m = d->m;
    const struct model_info *i = d->info;
    struct ops *o = d->o;
    int r;
    if (i->head_dim > o->info.max_head_dim)
        return err_set(em, LT_EUNSUPPORTED, "%s: attention heads of %u values, %u at most", o->info.name, i->head_dim, o->info.max_head_dim);
    d->attention = (struct ops_attention){i->n_heads, i->n_kv_heads, i->head_dim, i->causal, (float)arch_attention_scale(i, false), 0,
                                           may_be_half(d), i->attention_cap};
    d->local = d->attention;
    d->local.scale = (float)arch_attention_scale(i, true);
    d->local.window = i->window;
    d->layers = calloc(i->n_layers, sizeof *d->layers);
    if (!d->layers)
        return err_set(em, LT_ENOMEM, "no memory for %u layers", i->n_layers);
    if ((r = load_rope(d, m, em)) < 0 ||
        (r = o->v->table_create(o, model_tensor(m, "token_embd.weight"), &d->table, em)) < 0 ||
        (r = load_vec(o, model_tensor(m, "output_norm.weight"), &d->output_norm, em)) < 0)
        return r;
    if (i->layer_norm && (r = load_vec(o, model_tensor(m, "token_embd_norm.weight"), &d->embed_norm, em)) < 0)
        return r;
    d->n_resident = choose_resident(d, p->layer_bytes);
    for (uint32_t l = 0; l < d->n_resident; l++) {
        if ((r = load_layer(d, m, l, em)) < 0)
            return r;
        release_layer(d, l);
        if (p->progress)
            p->progress(p->progress_arg, (l + 1.0) / i->n_layers);
    }
    return 0;
}

int decoder_create(struct decoder **out, const struct model *m, struct ops *o, const struct decoder_params *p,
                   struct err_msg *em)
{
    struct decoder *d = calloc(1, sizeof *d);
    if (!d)
        return err_set(em, LT_ENOMEM, "no memory");
    d->m = m;
    d->info = model_info(m);
    d->o = o;
    d->buf = p->activations;
    int r = load(d, p, em);
    if (r < 0)
        decoder_destroy(&d);
    else
        *out = d;
    return r;
}

void decoder_destroy(struct decoder **dp)
{
    struct decoder *d = dp ? *dp : NULL;
    if (!d)
        return;
    struct ops *o = d->o;
    for (uint32_t i = 0; d->layers && i < d->info->n_layers; i++)
        free_layer(d, i);
    free(d->layers);
    o->v->mat_destroy(o, &d->table);
    o->v->vec_destroy(o, &d->inv_freq);
    o->v->vec_destroy(o, &d->local_freq);
    o->v->vec_destroy(o, &d->output_norm);
    o->v->vec_destroy(o, &d->embed_norm);
    free(d);
    *dp = NULL;
}

uint32_t decoder_n_streamed(const struct decoder *d)
{
    return d->info->n_layers - d->n_resident;
}

const struct ops_buf *decoder_stream(const struct decoder *d)
{
    return d->buf->all.x;
}

uint32_t decoder_n_parts(const struct decoder *d)
{
    return 1 + decoder_n_streamed(d);
}

int decoder_fetch(struct decoder *d, uint32_t part, struct err_msg *em)
{
    const uint32_t layer = d->n_resident + part - 1;
    int r = part ? load_layer(d, d->m, layer, em) : 0;
    if (part)
        release_layer(d, layer);
    if (r < 0)
        decoder_drop(d, part);
    return r;
}

void decoder_drop(struct decoder *d, uint32_t part)
{
    if (part)
        free_layer(d, d->n_resident + part - 1);
}

/* y = the family's norm of x; y may be x */
static int norm(struct decoder *d, const struct ops_buf *x, const struct ops_vec *g, uint32_t n, struct ops_buf *y)
{
    const struct ops_vtbl *v = d->o->v;
    const float eps = d->info->norm_eps;
    return d->info->layer_norm ? v->layer_norm(d->o, x, g, NULL, eps, n, y) : v->rms_norm(d->o, x, g, eps, n, y);
}

/* y = what the gate lets through of x */
static int gated(struct decoder *d, const struct ops_buf *x, uint32_t n, struct ops_buf *y)
{
    const struct ops_vtbl *v = d->o->v;
    switch (d->info->gate) {
    case MODEL_GATE_GELU_TANH:
        return v->geglu_tanh(d->o, x, n, d->info->ffn, y);
    case MODEL_GATE_GELU:
        return v->geglu(d->o, x, n, d->info->ffn, y);
    default:
        return v->swiglu(d->o, x, n, d->info->ffn, y);
    }
}

/* x += the projection of in; where the family does, what is added is normed first. */
static int add_projection(struct decoder *d, const struct activation_rows *b, const struct ops_buf *in, const struct ops_mat *w,
                          const struct ops_vec *post, uint32_t n)
{
    const struct ops_vtbl *v = d->o->v;
    if (!post)
        return v->matmul(d->o, in, w, NULL, b->x, n, b->x);
    int r = v->matmul(d->o, in, w, NULL, NULL, n, b->norm);
    return r < 0 ? r : v->rms_norm_add(d->o, b->norm, post, d->info->norm_eps, n, b->x);
}

/* x + attention's output projection, then x + feed-forward, on n rows */
static int finish_layer(struct decoder *d, const struct layer *l, const struct activation_rows *b, uint32_t n)
{
    int r;
    if ((r = add_projection(d, b, b->mix, l->attn_output, l->post_attn, n)) < 0 || (r = norm(d, b->x, l->ffn_norm, n, b->norm)) < 0 ||
        (r = d->o->v->matmul(d->o, b->norm, l->gate_up, NULL, NULL, n, b->wide)) < 0 || (r = gated(d, b->wide, n, b->act)) < 0)
        return r;
    return add_projection(d, b, b->act, l->ffn_down, l->post_ffn, n);
}

/* From x to mix, on all tokens. */
static int run_attention(struct decoder *d, uint32_t layer, uint32_t n)
{
    const struct ops_vtbl *v = d->o->v;
    const struct layer *l = &d->layers[layer];
    const struct activation_rows *b = &d->buf->all;
    const bool local = arch_layer_is_local(d->info, layer);
    const struct ops_attention *a = local ? &d->local : &d->attention;
    int r = l->attn_norm ? norm(d, b->x, l->attn_norm, n, b->norm) : 0;
    if (r < 0 || (r = v->matmul(d->o, l->attn_norm ? b->norm : b->x, l->qkv, l->qkv_bias, NULL, n, d->buf->qkv)) < 0 ||
        (l->q_norm && (r = v->qk_norm(d->o, d->buf->qkv, l->q_norm, l->k_norm, d->info->norm_eps, a)) < 0) ||
        (r = v->rope(d->o, d->buf->qkv, local ? d->local_freq : d->inv_freq, a)) < 0)
        return r;
    return v->attention(d->o, d->buf->qkv, a, b->mix);
}

int decoder_run(struct decoder *d, uint32_t part, uint32_t n_tokens, uint32_t n_pooled, struct ops_buf **hidden)
{
    const struct ops_vtbl *v = d->o->v;
    const struct model_info *info = d->info;
    const uint32_t first = part ? d->n_resident + part - 1 : 0, end = d->n_resident + part;
    const struct activation_rows *b = &d->buf->all;
    uint32_t n = n_tokens;
    int r = part ? 0 : v->embed_rows(d->o, d->table, b->x);
    if (!r && !part && info->embed_scale > 0)
        r = v->scale(d->o, b->x, info->embed_scale, n);
    if (!r && !part && d->embed_norm)
        r = norm(d, b->x, d->embed_norm, n, b->x);
    for (uint32_t i = first; !r && i < end; i++) {
        const struct layer *l = &d->layers[i];
        if ((r = run_attention(d, i, n)) < 0)
            return r;
        if (i + 1 == info->n_layers && n_pooled != n_tokens) {
            b = &d->buf->pooled;
            n = n_pooled;
            if ((r = v->gather_pooled(d->o, d->buf->all.x, b->x)) < 0 ||
                (r = v->gather_pooled(d->o, d->buf->all.mix, b->mix)) < 0)
                return r;
        }
        r = finish_layer(d, l, b, n);
    }
    /* where the pooler leaves it until the hidden states are used up (activations.c) */
    *hidden = b == &d->buf->pooled ? b->x : b->norm;
    if (!r && end == info->n_layers)
        r = norm(d, b->x, d->output_norm, n, *hidden);
    return r;
}
