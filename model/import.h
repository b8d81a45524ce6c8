/* A Hugging Face checkpoint folder in NV-Embed's layout into a model file. model/FORMAT.md has both sides. */
#ifndef MODEL_IMPORT_H
#define MODEL_IMPORT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/tensor.h"

struct import_params {
    enum tensor_type type; /* of the matrices; norms, biases and latents are f32 */
    unsigned n_threads;    /* 0: as many as the process may use */
    const volatile sig_atomic_t *stop; /* may be NULL; once it is not 0 the import ends with LT_ECANCELLED, leaving nothing */
    /* Called as it goes: stage is "tensors" or "golden vectors", fraction 0…1, bytes of the stage's whole work or 0. May be NULL. */
    void (*progress)(void *arg, const char *stage, double fraction, uint64_t bytes);
    void *progress_arg;
};

struct import_report {
    char name[128];
    char fingerprint[65];
    uint32_t n_tensors;
    uint32_t n_f16;        /* matrices stored as f16, since their rows do not divide by their type's block */
    char first_f16[64];    /* the first of them; empty when n_f16 is 0 */
    bool f16_table;        /* q8_0: the token vectors, less than a fifth of the weights, were kept as f16 */
    uint64_t n_params;     /* weights in all */
    uint64_t len_bytes;    /* of the file */
    uint32_t n_goldens;
    bool has_tokenizer;    /* false: the folder had none, the model serves ids only */
};

/* Reads folder dir and writes file `out`, atomically: on failure an existing file stays as it was.
 *
 * report  may be NULL
 *
 * Memory: bounded by the largest row and the golden vectors' activations, not by the model.
 * Blocks: on disk, and while the reference computes the golden vectors.
 * Errors: LT_ENOTFOUND, LT_EFORMAT, LT_EUNSUPPORTED, LT_ELIMIT, LT_ENAN (a weight is not finite), LT_ENOSPC, LT_EIO …:
 *         the file, field or tensor in the message. */
int import_folder(const char *dir, const char *out, const struct import_params *p, struct import_report *report,
                  struct err_msg *em);

/* "f32", "f16", "bf16", "q8_0", "q4_K", in any case; LT_EINVAL for others. */
int import_type(const char *name, enum tensor_type *type);

struct layout_item;

/* The type that a tensor is stored in, of a model of n_params weights imported at `type`. */
enum tensor_type import_tensor_type(enum tensor_type type, const struct layout_item *it, uint64_t n_params);

#endif
