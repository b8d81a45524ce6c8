/* model.safetensors.index.json: which shard holds which tensor. Bytes in, names out; no file is opened here. */
#ifndef MODEL_CHECKPOINT_INDEX_H
#define MODEL_CHECKPOINT_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CHECKPOINT_INDEX_MAX (16u << 20) /* bytes */
#define CHECKPOINT_MAX_SHARDS 4096
#define CHECKPOINT_MAX_TENSORS 65536
#define CHECKPOINT_MAX_NAME 255          /* bytes of a shard's file name */

/* Thread-safety: safe, never written after the parse. */
struct checkpoint_index {
    char **shard;           /* plain file names, none twice, none that leaves the folder */
    size_t n_shards;        /* 1 … CHECKPOINT_MAX_SHARDS */
    struct checkpoint_place {
        char *tensor;
        uint32_t shard;     /* < n_shards */
    } *place;               /* no tensor twice */
    size_t n_places;        /* 1 … CHECKPOINT_MAX_TENSORS */
};

/* Parses len bytes; `what` names them in messages. *x is emptied first; checkpoint_index_finish frees it, after a failure too.
 * Errors: LT_EFORMAT, LT_ELIMIT, LT_ENOMEM. */
int checkpoint_index_parse(struct checkpoint_index *x, const char *what, const char *text, size_t len,
                           struct err_msg *em);
void checkpoint_index_finish(struct checkpoint_index *x);

#endif
