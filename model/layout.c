#include "model/layout.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define TENSORS_PER_LAYER 9 /* or those of a fused layer, see add_layer */
#define TENSORS_PER_LAYER_MORE 7 /* biases and further norms, see add_layer_more */
#define TENSORS_OF_DECODER 6
#define TENSORS_OF_HEAD 4
#define TENSORS_OF_POOLER 14

const char *layout_pooling_name(enum model_pooling pooling)
{
    static const char *const names[] = {"latent", "mean", "last", "cls"};
    return (unsigned)pooling < sizeof names / sizeof *names ? names[pooling] : NULL;
}

static int in_range(const char *what, uint32_t v, uint32_t min, uint32_t max, struct err_msg *em)
{
    if (v >= min && v <= max)
        return 0;
    return err_set(em, LT_EFORMAT, "model: %s is %u, must be %u to %u", what, v, min, max);
}

static int check_token(const char *what, int32_t id, uint32_t vocab, struct err_msg *em)
{
    if (id >= -1 && (id < 0 || (uint32_t)id < vocab))
        return 0;
    return err_set(em, LT_EFORMAT, "model: %s is %d, the vocabulary has %u ids", what, id, vocab);
}

static int check_pooler(const struct model_info *i, struct err_msg *em)
{
    int r;
    if (i->pooling != MODEL_POOL_LATENT)
        return 0;
    if ((r = in_range("number of latents", i->n_latents, 1, 65536, em)) < 0 ||
        (r = in_range("number of latent heads", i->n_latent_heads, 1, 1024, em)) < 0 ||
        (r = in_range("size of a latent head", i->latent_head_dim, 1, 65536, em)) < 0 ||
        (r = in_range("pooler's feed-forward length", i->latent_ffn, 1, 1u << 20, em)) < 0)
        return r;
    if (!(i->layer_norm_eps > 0 && i->layer_norm_eps <= 1))
        return err_set(em, LT_EFORMAT, "model: LayerNorm epsilon %g is out of range", (double)i->layer_norm_eps);
    return 0;
}

static int check_foreign(const struct model_info *i, struct err_msg *em)
{
    for (int k = 0; k < 2; k++)
        if (i->dense[k] > 65536)
            return err_set(em, LT_EFORMAT, "model: a dense layer gives %u values", i->dense[k]);
    if (i->window > 1u << 20)
        return err_set(em, LT_EFORMAT, "model: a window of %u tokens", i->window);
    if (i->window && (i->window_period < 1 || i->window_period > 1024))
        return err_set(em, LT_EFORMAT, "model: every %u-th layer is global", i->window_period);
    if (i->window && !(i->rope_theta_local >= 1 && isfinite(i->rope_theta_local)))
        return err_set(em, LT_EFORMAT, "model: RoPE base %g of local layers is out of range", (double)i->rope_theta_local);
    if (!(i->embed_scale >= 0 && i->embed_scale < 1e6f) || !(i->attention_scale >= 0 && i->attention_scale < 1e6f) ||
        !(i->attention_cap >= 0 && i->attention_cap < 1e6f))
        return err_set(em, LT_EFORMAT, "model: a scale is out of range");
    return 0;
}

int layout_check(const struct model_info *i, struct err_msg *em)
{
    int r;
    if ((r = in_range("token limit", i->token_limit, 1, LAYOUT_MAX_TOKENS, em)) < 0 ||
        (r = in_range("hidden size", i->hidden, 1, 65536, em)) < 0 ||
        (r = in_range("number of layers", i->n_layers, 1, 1024, em)) < 0 ||
        (r = in_range("feed-forward length", i->ffn, 1, 1u << 20, em)) < 0 ||
        (r = in_range("number of heads", i->n_heads, 1, 1024, em)) < 0 ||
        (r = in_range("number of key/value heads", i->n_kv_heads, 1, i->n_heads, em)) < 0 ||
        (r = in_range("head size", i->head_dim, 2, 4096, em)) < 0 ||
        (r = in_range("vocabulary", i->vocab, 1, 1u << 22, em)) < 0)
        return r;
    if (i->n_heads % i->n_kv_heads)
        return err_set(em, LT_EFORMAT, "model: %u heads cannot share %u key/value heads", i->n_heads, i->n_kv_heads);
    if (i->head_dim % 2)
        return err_set(em, LT_EFORMAT, "model: head size %u is odd", i->head_dim);
    if (!(i->norm_eps > 0 && i->norm_eps <= 1))
        return err_set(em, LT_EFORMAT, "model: a norm's epsilon %g is out of range", (double)i->norm_eps);
    if (!(i->rope_theta >= 1 && isfinite(i->rope_theta)))
        return err_set(em, LT_EFORMAT, "model: RoPE base %g is out of range", (double)i->rope_theta);
    if ((r = check_token("id of BOS", i->bos, i->vocab, em)) < 0 ||
        (r = check_token("id of EOS", i->eos, i->vocab, em)) < 0 ||
        (r = check_token("id of UNK", i->unk, i->vocab, em)) < 0)
        return r;
    if ((i->add_bos && i->bos < 0) || (i->add_eos && i->eos < 0))
        return err_set(em, LT_EFORMAT, "model: BOS or EOS is to be added, but has no id");
    if ((r = check_foreign(i, em)) < 0)
        return r;
    return check_pooler(i, em);
}

struct list {
    struct layout_item *items;
    size_t n;
};

static struct layout_item *add(struct list *l, uint64_t rows, uint64_t cols, bool f32)
{
    struct layout_item *it = &l->items[l->n++];
    it->rows = rows;
    it->cols = cols;
    it->f32 = f32;
    return it;
}

static void matrix(struct list *l, uint64_t rows, uint64_t cols, const char *name, const char *source)
{
    struct layout_item *it = add(l, rows, cols, false);
    snprintf(it->name, sizeof it->name, "%s", name);
    snprintf(it->source, sizeof it->source, "%s", source);
}

static void vector(struct list *l, uint64_t cols, const char *name, const char *source)
{
    struct layout_item *it = add(l, 1, cols, true);
    it->vector = true;
    snprintf(it->name, sizeof it->name, "%s", name);
    snprintf(it->source, sizeof it->source, "%s", source);
}

static void add_fused_layer(struct list *l, const struct model_info *i, uint32_t layer)
{
    const uint64_t q = (uint64_t)i->n_heads * i->head_dim, kv = (uint64_t)i->n_kv_heads * i->head_dim;
    const struct {
        const char *name;
        uint64_t rows, cols; /* rows 0: a norm's gain */
    } part[] = {
        {"attn_norm", 0, i->hidden}, {"attn_qkv", q + 2 * kv, i->hidden},         {"attn_output", i->hidden, q},
        {"ffn_norm", 0, i->hidden},  {"ffn_up", 2 * (uint64_t)i->ffn, i->hidden}, {"ffn_down", i->hidden, i->ffn},
    };
    for (size_t p = layer == 0 && i->bare_first; p < sizeof part / sizeof *part; p++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s.weight", layer, part[p].name);
        if (part[p].rows)
            matrix(l, part[p].rows, part[p].cols, name, "");
        else
            vector(l, part[p].cols, name, "");
    }
}

static void add_layer(struct list *l, const struct model_info *i, uint32_t layer)
{
    if (i->fused) {
        add_fused_layer(l, i, layer);
        return;
    }
    uint64_t q = (uint64_t)i->n_heads * i->head_dim, kv = (uint64_t)i->n_kv_heads * i->head_dim;
    const struct {
        const char *name, *source;
        uint64_t rows, cols;
    } part[TENSORS_PER_LAYER] = {
        {"attn_norm", "input_layernorm", 1, i->hidden},
        {"attn_q", "self_attn.q_proj", q, i->hidden},
        {"attn_k", "self_attn.k_proj", kv, i->hidden},
        {"attn_v", "self_attn.v_proj", kv, i->hidden},
        {"attn_output", "self_attn.o_proj", i->hidden, q},
        {"ffn_norm", "post_attention_layernorm", 1, i->hidden},
        {"ffn_gate", "mlp.gate_proj", i->ffn, i->hidden},
        {"ffn_up", "mlp.up_proj", i->ffn, i->hidden},
        {"ffn_down", "mlp.down_proj", i->hidden, i->ffn},
    };
    for (int p = 0; p < TENSORS_PER_LAYER; p++) {
        bool norm = p == 0 || p == 5;
        struct layout_item *it = add(l, part[p].rows, part[p].cols, norm);
        it->vector = norm;
        snprintf(it->name, sizeof it->name, "blk.%u.%s.weight", layer, part[p].name);
        snprintf(it->source, sizeof it->source, "embedding_model.layers.%u.%s.weight", layer, part[p].source);
    }
}

/* What only some families have. Import does not read them, so they have no other source. */
static void add_layer_more(struct list *l, const struct model_info *i, uint32_t layer)
{
    const uint64_t q = (uint64_t)i->n_heads * i->head_dim, kv = (uint64_t)i->n_kv_heads * i->head_dim;
    const struct {
        bool there;
        const char *name;
        uint64_t cols;
    } part[TENSORS_PER_LAYER_MORE] = {
        {i->qkv_bias, "attn_q.bias", q},
        {i->qkv_bias, "attn_k.bias", kv},
        {i->qkv_bias, "attn_v.bias", kv},
        {i->qk_norm, "attn_q_norm.weight", i->head_dim},
        {i->qk_norm, "attn_k_norm.weight", i->head_dim},
        {i->post_norms, "post_attention_norm.weight", i->hidden},
        {i->post_norms, "post_ffw_norm.weight", i->hidden},
    };
    for (int p = 0; p < TENSORS_PER_LAYER_MORE; p++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.%s", layer, part[p].name);
        if (part[p].there)
            vector(l, part[p].cols, name, "");
    }
}

static void add_pooler(struct list *l, const struct model_info *i)
{
    const uint64_t d = i->hidden, inner = (uint64_t)i->n_latent_heads * i->latent_head_dim, f = i->latent_ffn;
#define HEAD "latent_attention_model."
#define BLOCK HEAD "cross_attend_blocks."
    matrix(l, i->n_latents, d, "pooler.latents.weight", HEAD "latents");
    l->items[l->n - 1].f32 = true;
    vector(l, d, "pooler.attn_norm.weight", BLOCK "0.norm.weight");
    vector(l, d, "pooler.attn_norm.bias", BLOCK "0.norm.bias");
    vector(l, d, "pooler.context_norm.weight", BLOCK "0.norm_context.weight");
    vector(l, d, "pooler.context_norm.bias", BLOCK "0.norm_context.bias");
    matrix(l, inner, d, "pooler.attn_q.weight", BLOCK "0.fn.to_q.weight");
    matrix(l, 2 * inner, d, "pooler.attn_kv.weight", BLOCK "0.fn.to_kv.weight");
    matrix(l, d, inner, "pooler.attn_output.weight", BLOCK "0.fn.to_out.weight");
    vector(l, d, "pooler.ffn_norm.weight", BLOCK "1.norm.weight");
    vector(l, d, "pooler.ffn_norm.bias", BLOCK "1.norm.bias");
    matrix(l, 2 * f, d, "pooler.ffn_up.weight", BLOCK "1.fn.net.0.weight");
    vector(l, 2 * f, "pooler.ffn_up.bias", BLOCK "1.fn.net.0.bias");
    matrix(l, d, f, "pooler.ffn_down.weight", BLOCK "1.fn.net.2.weight");
    vector(l, d, "pooler.ffn_down.bias", BLOCK "1.fn.net.2.bias");
#undef BLOCK
#undef HEAD
}

int layout_list(const struct model_info *i, struct layout_item **items, size_t *n, struct err_msg *em)
{
    struct list l = {0};
    l.items = calloc((size_t)i->n_layers * (TENSORS_PER_LAYER + TENSORS_PER_LAYER_MORE) + TENSORS_OF_DECODER +
                         TENSORS_OF_POOLER + TENSORS_OF_HEAD, sizeof *l.items);
    if (!l.items)
        return err_set(em, LT_ENOMEM, "model: no memory for the list of tensors");
    matrix(&l, i->vocab, i->hidden, "token_embd.weight", "embedding_model.embed_tokens.weight");
    for (uint32_t layer = 0; layer < i->n_layers; layer++) {
        add_layer(&l, i, layer);
        add_layer_more(&l, i, layer);
    }
    vector(&l, i->hidden, "output_norm.weight", "embedding_model.norm.weight");
    if (i->layer_norm)
        vector(&l, i->hidden, "token_embd_norm.weight", "");
    if (i->rope_factors)
        vector(&l, i->head_dim / 2, "rope_freqs.weight", "");
    for (int k = 0; k < 2; k++)
        if (i->dense[k])
            matrix(&l, i->dense[k], k && i->dense[0] ? i->dense[0] : i->hidden, k ? "dense_3.weight" : "dense_2.weight", "");
    if (i->ranks)
        matrix(&l, i->n_labels, i->full_dim, "cls.output.weight", "");
    if (i->head_dense) {
        matrix(&l, i->full_dim, i->full_dim, "cls.weight", "");
        vector(&l, i->full_dim, "cls.norm.weight", "");
    }
    if (i->head_bias)
        vector(&l, i->n_labels, "cls.output.bias", "");
    if (i->pooling == MODEL_POOL_LATENT)
        add_pooler(&l, i);
    *items = l.items;
    *n = l.n;
    return 0;
}
