#include "model/fused.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { Q, K, V, GATE, UP, PARTS };

static const char *const part_names[PARTS] = {"attn_q.weight", "attn_k.weight", "attn_v.weight", "ffn_gate.weight", "ffn_up.weight"};

struct part {
    struct tensor t;
    char name[48];
};

struct fused {
    uint32_t n_layers;
    struct part parts[]; /* PARTS a layer */
};

static const struct tensor *whole(const struct gguf *g, uint32_t layer, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "blk.%u.%s.weight", layer, name);
    return gguf_tensor(g, full);
}

int fused_create(struct fused **out, const struct gguf *g, const struct model_info *i, struct err_msg *em)
{
    const uint64_t q = (uint64_t)i->n_heads * i->head_dim, kv = (uint64_t)i->n_kv_heads * i->head_dim;
    const uint64_t first[PARTS] = {0, q, q + kv, 0, i->ffn}, rows[PARTS] = {q, kv, kv, i->ffn, i->ffn};
    struct fused *f = calloc(1, sizeof *f + (size_t)i->n_layers * PARTS * sizeof *f->parts);
    if (!f)
        return err_set(em, LT_ENOMEM, "model: no memory for the parts of its tensors");
    f->n_layers = i->n_layers;
    for (uint32_t layer = 0; layer < i->n_layers; layer++) {
        for (int p = 0; p < PARTS; p++) {
            const struct tensor *t = whole(g, layer, p < GATE ? "attn_qkv" : "ffn_up");
            const size_t row_bytes = t->len_bytes / t->rows;
            struct part *part = &f->parts[layer * PARTS + p];
            snprintf(part->name, sizeof part->name, "blk.%u.%s", layer, part_names[p]);
            part->t = *t;
            part->t.name = part->name;
            part->t.rows = rows[p];
            part->t.data = (const uint8_t *)t->data + first[p] * row_bytes;
            part->t.len_bytes = rows[p] * row_bytes;
        }
    }
    *out = f;
    return 0;
}

void fused_destroy(struct fused **f)
{
    free(*f);
    *f = NULL;
}

const struct tensor *fused_tensor(const struct fused *f, const char *name)
{
    uint32_t layer;
    int at = 0;
    if (!f || sscanf(name, "blk.%u.%n", &layer, &at) != 1 || !at || layer >= f->n_layers)
        return NULL;
    for (int p = 0; p < PARTS; p++)
        if (!strcmp(name + at, part_names[p]))
            return &f->parts[layer * PARTS + p].t;
    return NULL;
}
