/* The plan. Rooms A and B take turns with the stream and what is made of it, W has what is widest, T what comes out of it:
 *
 *                 A            B            W          T
 *   embed         x
 *   attention     x            norm         qkv
 *                 x                         qkv        mix
 *                 x                                    mix        the product adds to x
 *   feed-forward  x            norm         wide
 *                 x                         wide       act
 *                 x                                    act        likewise
 *
 * and so on. The last layer, where only some rows are pooled, gathers x and mix into B and W, which have nothing to keep by then:
 *
 *   gathered                   x            mix
 *   feed-forward  norm         x            wide       act
 *
 * Either way the last norm writes B (hidden states), and A is free. What a family norms before adding it passes through norm's room.
 *
 *   latents       norm         hidden                  logits
 *                 x            hidden                  logits     x takes the place of its norm
 *                 x            hidden       wide                  hidden has become the norm of x
 *                 x                         wide       act
 *   texts         x            out          mean act   act
 *   dense                      out          second     first
 *
 * Without latents `out` is made from hidden, in A. */
#include "model/activations.h"

#include <string.h>

enum { A, B, W, T };

struct place {
    struct ops_buf **buf;
    int room;
    size_t cols; /* 0: there is none */
    bool texts;  /* a row a text */
};

enum { PLACES = 20 };

/* a may be zeroed but for info. */
static void places(struct activations *a, struct place list[PLACES])
{
    const struct model_info *i = a->info;
    const size_t d = i->hidden, mix = (size_t)i->n_heads * i->head_dim, f = i->ffn;
    const size_t qkv = mix + 2 * (size_t)i->n_kv_heads * i->head_dim;
    const bool latent = i->pooling == MODEL_POOL_LATENT;
    const size_t ld = latent ? d : 0, lf = latent ? i->latent_ffn : 0, logits = latent ? (size_t)i->n_latent_heads * i->n_latents : 0;
    const struct place all[PLACES] = {
        {&a->all.x, A, d, false},
        {&a->all.norm, B, d, false},
        {&a->qkv, W, qkv, false},
        {&a->all.mix, T, mix, false},
        {&a->all.wide, W, 2 * f, false},
        {&a->all.act, T, f, false},
        {&a->pooled.x, B, d, false},
        {&a->pooled.norm, A, d, false},
        {&a->pooled.mix, W, mix, false},
        {&a->pooled.wide, W, 2 * f, false},
        {&a->pooled.act, T, f, false},
        {&a->latent_norm, A, ld, false},
        {&a->latent_x, A, ld, false},
        {&a->logits, T, logits, false},
        {&a->latent_wide, W, 2 * lf, false},
        {&a->latent_act, T, lf, false},
        {&a->mean_act, W, lf, true},
        {&a->out, latent ? B : A, d, true},
        {&a->dense[0], T, i->dense[0], true},
        {&a->dense[1], W, i->dense[1], true},
    };
    memcpy(list, all, sizeof all);
}

static uint64_t padded(uint32_t rows)
{
    return ((uint64_t)rows + OPS_ROWS_STEP - 1) / OPS_ROWS_STEP * OPS_ROWS_STEP;
}

/* Floats of each room; returns the sum, or that of all buffers where they share nothing. */
static uint64_t floats(const struct model_info *info, bool rooms, uint32_t rows, uint32_t texts, uint64_t size[ACTIVATION_ROOMS])
{
    struct activations a = {.info = info};
    struct place list[PLACES];
    uint64_t shared = 0, each = 0;
    places(&a, list);
    memset(size, 0, ACTIVATION_ROOMS * sizeof *size);
    for (int i = 0; i < PLACES; i++) {
        const uint64_t n = (list[i].texts ? texts : padded(rows)) * list[i].cols;
        each += n;
        size[list[i].room] = n > size[list[i].room] ? n : size[list[i].room];
    }
    for (int r = 0; r < ACTIVATION_ROOMS; r++)
        shared += size[r];
    return rooms ? shared : each;
}

uint64_t activations_bytes(const struct model_info *info, bool rooms, uint32_t rows, uint32_t texts)
{
    uint64_t size[ACTIVATION_ROOMS];
    return floats(info, rooms, rows, texts, size) * sizeof(float);
}

uint32_t activations_widest(const struct model_info *info)
{
    struct activations a = {.info = info};
    struct place list[PLACES];
    size_t widest = 0;
    places(&a, list);
    for (int i = 0; i < PLACES; i++)
        widest = list[i].cols > widest ? list[i].cols : widest;
    return (uint32_t)widest;
}

void activations_init(struct activations *a, const struct model_info *info, struct ops *o)
{
    *a = (struct activations){.info = info, .o = o};
}

void activations_finish(struct activations *a)
{
    struct place list[PLACES];
    if (!a->o)
        return;
    places(a, list);
    for (int i = 0; i < PLACES; i++)
        a->o->v->buf_destroy(a->o, list[i].buf);
    for (int r = 0; r < ACTIVATION_ROOMS; r++)
        a->o->v->room_destroy(a->o, &a->room[r]);
    a->rows = 0;
}

int activations_resize(struct activations *a, uint32_t rows, uint32_t texts, struct err_msg *em)
{
    struct place list[PLACES];
    uint64_t size[ACTIVATION_ROOMS];
    int r = 0;
    activations_finish(a);
    places(a, list);
    floats(a->info, true, rows, texts, size);
    for (int i = 0; !r && i < ACTIVATION_ROOMS; i++)
        r = a->o->v->room_create(a->o, size[i], &a->room[i], em);
    for (int i = 0; !r && i < PLACES; i++)
        if (list[i].cols)
            r = a->o->v->buf_create_in(a->o, a->room[list[i].room], list[i].texts ? texts : rows, list[i].cols, list[i].buf, em);
    if (!r)
        a->rows = rows;
    return r;
}
