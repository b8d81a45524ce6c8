/* Which tensors a model consists of, by its numbers, and which numbers are allowed: shared by the reader of
 * model files and the importer. model/FORMAT.md says the same in words.
 * Thread-safety: safe. */
#ifndef MODEL_LAYOUT_H
#define MODEL_LAYOUT_H

#include "model/model.h"

#define LAYOUT_MAX_TOKENS (1u << 20) /* of one text */

struct layout_item {
    char name[64];      /* in the model file */
    char source[112];   /* in NV-Embed's checkpoint; "" where it has none */
    uint64_t rows, cols;
    bool vector;        /* one row, listed with rank 1 in a checkpoint */
    bool f32;           /* stored as F32 whatever the file's type */
};

/* Checks every number of info against its allowed range; LT_EFORMAT names the first that is not. */
int layout_check(const struct model_info *info, struct err_msg *em);

/* The tensors of a checked info, in the order in which they are written; *items is malloc'ed, the caller frees it. */
int layout_list(const struct model_info *info, struct layout_item **items, size_t *n, struct err_msg *em);

/* "latent", "mean", "last", "cls". */
const char *layout_pooling_name(enum model_pooling pooling);

#endif
