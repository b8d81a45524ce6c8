#include "model/plan.h"

#include <string.h>

#include "model/activations.h"
#include "model/pooler.h"

#define BATCH_SEQS_MAX 1024
/* Activation buffers of one batch may take this much, or this share of the device's memory where that is more: large models get smaller
 * batches, but a GPU with much memory is not kept waiting by them. */
#define ACTIVATION_BYTES (512ull << 20)
#define ACTIVATION_SHARE 8
/* What a driver may round a buffer up to. */
#define GRAIN 4096

void plan_add(struct plan_weights *w, struct ops *o, const struct tensor *t)
{
    const uint64_t bytes = t->rows > 1 ? o->v->mat_bytes(o, t) : t->cols * sizeof(float);
    if (pooler_folds(t->name))
        return;
    *(strncmp(t->name, "blk.", 4) || t->rows == 1 ? &w->others : &w->layers) += (bytes + GRAIN - 1) / GRAIN * GRAIN;
}

static uint32_t texts_of(uint32_t tokens)
{
    return tokens < BATCH_SEQS_MAX ? tokens : BATCH_SEQS_MAX;
}

uint32_t plan_tokens(const struct model_info *info, bool rooms, uint64_t memory_bytes, uint32_t asked)
{
    const uint64_t share = rooms ? memory_bytes / ACTIVATION_SHARE : 0, row = activations_bytes(info, rooms, OPS_ROWS_STEP, 0) / OPS_ROWS_STEP;
    uint64_t n = asked;
    if (!n) {
        n = (share > ACTIVATION_BYTES ? share : ACTIVATION_BYTES) / row;
        n = n > PLAN_TOKENS_MOST ? PLAN_TOKENS_MOST : n < PLAN_TOKENS ? PLAN_TOKENS : n;
    }
    return (uint32_t)(n > INT32_MAX ? INT32_MAX : n);
}

struct ops_use plan_use(const struct model_info *i, uint32_t tokens, uint32_t texts)
{
    const uint32_t mix = i->n_heads * i->head_dim, logits = i->n_latent_heads * i->n_latents;
    const uint32_t x[] = {i->hidden, mix, i->ffn, logits, i->latent_ffn, i->dense[0]};
    struct ops_use u = {
        .rows = tokens,
        .texts = texts,
        .longest = tokens < i->token_limit ? tokens : i->token_limit,
        .product_rows = activations_widest(i),
        .n_kv_heads = i->n_kv_heads,
        .head_dim = i->head_dim,
        .n_freqs = i->window ? 2 : 1,
        .out_cols = i->full_dim,
    };
    for (size_t k = 0; k < sizeof x / sizeof *x; k++)
        u.product_cols = x[k] > u.product_cols ? x[k] : u.product_cols;
    return u;
}

static uint64_t batch_bytes(const struct model_info *info, struct ops *o, uint32_t tokens)
{
    const struct ops_use u = plan_use(info, tokens, texts_of(tokens));
    return activations_bytes(info, o->info.rooms, tokens, u.texts) + o->v->scratch_bytes(o, &u);
}

/* The most tokens in least … most that take no more than `bytes`; `least` where those take more, too. */
static uint32_t fit(const struct model_info *info, struct ops *o, uint64_t bytes, uint32_t least, uint32_t most)
{
    while (least < most) {
        const uint32_t middle = least + (most - least + 1) / 2;
        if (batch_bytes(info, o, middle) <= bytes)
            least = middle;
        else
            most = middle - 1;
    }
    return least;
}

static uint64_t left(uint64_t all, uint64_t used)
{
    return all > used ? all - used : 0;
}

/* What may be used: a device with memory of its own has no more than it says, and than others leave, whatever one is told. */
static uint64_t bound(const struct ops *o, uint64_t told)
{
    const struct ops_info *i = &o->info;
    const uint64_t there = i->free_bytes && i->free_bytes < i->memory_bytes ? i->free_bytes : i->memory_bytes;
    return told && (told <= there || !there || !strcmp(i->kind, "cpu")) ? told : there / 10 * 9;
}

/* Room for a layer on its way through. */
static uint64_t passage(const struct model_info *info, const struct plan_weights *w)
{
    return info->n_layers ? w->layers / info->n_layers : 0;
}

uint64_t plan_least(const struct model_info *info, struct ops *o, const struct plan_weights *w)
{
    return w->others + pooler_folded_bytes(info, o) + passage(info, w) + batch_bytes(info, o, PLAN_TOKENS);
}

void plan_make(const struct model_info *info, struct ops *o, const struct plan_weights *w, uint64_t memory_bytes, uint32_t asked, uint32_t most,
               struct plan *p)
{
    const uint64_t all = bound(o, memory_bytes);
    const uint64_t others = w->others + pooler_folded_bytes(info, o), room = left(all, others);
    uint32_t n = plan_tokens(info, o->info.rooms, all, asked);
    n = n > most ? most : n;
    if (all && !asked && n > PLAN_TOKENS_LEAST) {
        const uint32_t fits = fit(info, o, left(room, w->layers), PLAN_TOKENS_LEAST, n);
        if (w->layers + batch_bytes(info, o, fits) <= room)
            n = fits;
        else if (n > PLAN_TOKENS) /* where even the fewest make layers stream, larger batches read them less often */
            n = fit(info, o, room / 2, PLAN_TOKENS, n);
    }
    const uint64_t layers = left(room, batch_bytes(info, o, n));
    *p = (struct plan){.tokens = n, .texts = texts_of(n), .layer_bytes = !all ? 0 : layers ? layers : 1};
    p->streams = all && layers < w->layers;
    p->bytes = others + batch_bytes(info, o, n) + (!p->streams ? w->layers : layers > passage(info, w) ? layers : passage(info, w));
}

uint32_t plan_longest(const struct model_info *info, struct ops *o, const struct plan *p, uint64_t room, uint32_t most, uint64_t *bytes)
{
    const uint64_t weights = p->bytes - batch_bytes(info, o, p->tokens);
    const uint32_t n = fit(info, o, left(room, weights), p->tokens, most);
    if (bytes)
        *bytes = weights + batch_bytes(info, o, n);
    return n;
}
