/* Token ids to unit vectors on one device: chooses the device, holds the weights there, runs decoder and pooler.
 *
 * A vector does not depend on the texts it shares a batch with. Of a reranker it has one value: the prompt's score (model/head.h).
 * Thread-safety: unsafe; it lives on the device thread. */
#ifndef MODEL_ENGINE_H
#define MODEL_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct engine;
struct model;

struct engine_params {
    const char *device;       /* NULL or "auto": discrete GPU, integrated GPU, CPU, never a software Vulkan driver;
                               * "cpu"; "vulkan": best Vulkan device that is not software;
                               * otherwise a UUID or any part of a device's name, case ignored */
    unsigned n_threads;       /* CPU threads; 0: as many as the process may use */
    const char *cache_dir;    /* pipeline cache; NULL: none */
    uint32_t max_batch_tokens; /* rows of one submission, but for longer texts; 0: chosen by model size. The engine
                               * may settle for fewer, see engine_info */
    uint64_t memory_bytes;    /* device memory for weights and batches; 0, or more than there is: most of what others leave. Layers that do not fit
                               * are streamed from the host's memory in every batch */
    double memory_share;      /* 0…1: of memory_bytes, or of what others leave, where another model is to have the rest; 0: all */
    uint64_t taken_bytes;     /* of a GPU, by another engine of this process: not every driver counts it */
    uint64_t host_bytes;      /* of the machine's memory, for weights and batches on a device that has no other (the CPU, software drivers,
                               * integrated GPUs), elsewhere for copies: what is left of it for other things is the caller's concern. Of what is beyond
                               * the least memory_share is taken. 0: no bound but memory_bytes */
    bool host_anyway;         /* where host_bytes is too little, go on with the least */
    uint64_t *least_bytes;    /* NULL, or where engine_create puts what it needs of that at least, also where it is refused for that */
    /* Called from engine_create with 0…1 while weights are loaded; may be NULL. */
    void (*progress)(void *arg, double fraction);
    void *progress_arg;
};

struct engine_info {
    char device[256];          /* as the driver names it */
    char kind[16];             /* "cpu" or "vulkan" */
    char uuid[40];             /* empty where there is none */
    char note[512];            /* devices that were skipped or lost and why; empty when none were */
    uint32_t n_goldens;        /* the file's, or computed by the reference where it has none */
    double selftest_error;     /* largest difference of a component from the golden vectors */
    double selftest_cosine;    /* smallest cosine to a golden vector */
    uint32_t max_batch_tokens; /* of one text at most; a longer one is refused with LT_ETOOLONG */
    uint32_t batch_tokens;     /* of one submission; a longer text gets one of its own, with memory of its own */
    uint64_t planned_bytes;    /* that weights, in memory or streamed through it, and one submission's buffers take on the device */
    uint32_t n_lost;           /* times the device was lost so far */
    bool host_shared;          /* the device has no memory but the machine's */
    uint64_t host_bytes;       /* of the machine's memory that is taken at most, the longest text's included */
    uint64_t unseen_bytes;     /* of those, what the kernel does not count as this process's: an integrated GPU's driver has it */
    uint64_t allocated_bytes;  /* of the device's memory after the last batch; 0: not counted (the CPU) */
    uint32_t n_streamed;       /* layers that do not fit the device: they pass through it in every batch */
    uint64_t n_submits, n_readbacks; /* so far; refreshed by engine_embed. A batch is one of each, a submission more for
                                      * each streamed layer, and more on a GPU where it would be a long one */
};

struct engine_seq {
    const int32_t *ids; /* borrowed for the call */
    uint32_t n;
    uint32_t n_skip; /* leading ids left out of the pool */
};

/* Opens the device, uploads the weights and checks the result against the model's golden vectors.
 *
 * m       borrowed; must outlive the engine
 *
 * Ownership: *e is the caller's, freed by engine_destroy; untouched on error.
 * Blocks: until the weights are on the device and the self-test is done.
 * Errors: LT_EDEVICE (no such device, or one asked for by name fails the self-test: figures in the message);
 *         LT_ENOMEM, also where host_bytes is too little. Under "auto" a device that fails is skipped and named in engine_info.note. */
int engine_create(struct engine **e, const struct model *m, const struct engine_params *p, struct err_msg *em);
void engine_destroy(struct engine **e);

/* What an engine needs of params.host_bytes at least, by the first device that opens, which is opened for it where its memory is the machine's.
 * Errors: as engine_create. */
int engine_least(const struct model *m, const struct engine_params *p, uint64_t *bytes, struct err_msg *em);

/* Embeds n_seqs texts, in submissions of whole texts.
 *
 * out     n_seqs × dim floats, unit length, or a reranker's scores; rows of failed texts are zero
 * status  n_seqs codes: 0, LT_EEMPTY (nothing left to pool), LT_EINVAL (an id outside the vocabulary),
 *         LT_ETOOLONG (more than the model's limit or max_batch_tokens, or than the device has memory for), LT_ENAN
 *
 * Blocks: until the device is done.
 * Errors: LT_ECORRUPT when the model file's bytes are not those that were imported, which a thread finds out after the load, or
 *         when it was cut short in use;
 *         LT_EDEVICELOST; LT_ENOMEM. Then out and status are undefined.
 * A device that is lost is opened again and the batch tried once more; after that the CPU takes its place for good, which
 * engine_info says. LT_EDEVICELOST comes only where the CPU fails as well. */
int engine_embed(struct engine *e, const struct engine_seq *seqs, size_t n_seqs, float *out, int *status,
                 struct err_msg *em);

struct ops_time;

/* Batches are timed kernel by kernel from here on, and are slower.
 * Errors: LT_EINVAL a device that cannot (the CPU); LT_EDEVICE, LT_ENOMEM. */
int engine_profile_start(struct engine *e, struct err_msg *em);
/* Sums since then, at most max of them (OPS_TIMES_MAX is enough); returns their number. */
size_t engine_profile(struct engine *e, struct ops_time *times, size_t max);

/* Lives as long as the engine; device, kind and note change where the CPU takes over within engine_embed. */
const struct engine_info *engine_info(const struct engine *e);

#endif
