/* The tensors of a checkpoint into a model file: read, quantised on several threads, written in order. */
#ifndef MODEL_IMPORT_TENSORS_H
#define MODEL_IMPORT_TENSORS_H

#include "model/digest.h"
#include "model/gguf_write.h"
#include "model/layout.h"
#include "model/safetensors.h"

/* One tensor of the file. */
struct import_tensor {
    const struct layout_item *item;
    const struct safetensors_entry *source;
    const struct safetensors_entry *gains; /* of the norm before the matrix, one a column; NULL: columns count alike */
    enum tensor_type type;
    uint8_t digest[DIGEST_BYTES]; /* of what was written; set by import_tensors_write */
};

struct import_tensors {
    const char *dir;                 /* for messages */
    struct import_tensor *tensor;
    size_t n;
    unsigned n_threads;              /* 0: as many as the process may use */
    /* Called between blocks of rows with the weights done so far; true stops the import. May be NULL. */
    bool (*progress)(void *arg, uint64_t n_weights);
    void *progress_arg;
};

/* Writes the data of all tensors, which are listed already.
 *
 * Memory: a few MiB a thread; pages of the checkpoint are let go as they have been read.
 * Errors: LT_ENAN, LT_ELIMIT (a weight is not finite, or too large for its type: tensor and row in the message),
 *         LT_ECANCELLED, LT_ENOSPC, LT_EIO, LT_ENOMEM. */
int import_tensors_write(const struct import_tensors *t, struct gguf_writer *w, struct err_msg *em);

#endif
