/* Which device an engine may run on: a list of candidates in order, and how to open one. */
#ifndef MODEL_ENGINE_DEVICE_H
#define MODEL_ENGINE_DEVICE_H

#include "model/engine.h"
#include "model/model.h"
#include "model/ops.h"

#define ENGINE_CANDIDATES_MAX 16

struct engine_candidate {
    bool cpu;
    bool shared;    /* its memory is the machine's own */
    bool plain;     /* without what is fast: the CPU without activations of 8 bits; a GPU without matrices, dot products and storage of 8 and 16 bits */
    char uuid[40];  /* of a Vulkan device */
    char name[256]; /* for messages */
};

/* Fills list with the devices that `device` (engine_params) means, best first; *n of them.
 *
 * named   set when the user asked for a device: then a failure is final, else the next one is tried
 *
 * Errors: LT_EDEVICE: none; the message names those there are. */
int engine_candidates(const char *device, struct engine_candidate *list, size_t *n, bool *named, struct err_msg *em);

/* Whether it may be tried once more as a plain one after it failed at the self-test or to make a kernel: not where the user chose the way. */
bool engine_may_be_plain(const struct engine_candidate *c);

/* Opens it for rows of at most max_cols floats. */
int engine_open_device(const struct engine_candidate *c, const struct engine_params *p, uint32_t max_batch_tokens,
                       uint32_t max_cols, struct ops **o, struct err_msg *em);

/* The same, for a model's widest rows and longest texts. */
int engine_open_for(const struct engine_candidate *c, const struct engine_params *p, const struct model_info *mi, struct ops **o, struct err_msg *em);

#endif
