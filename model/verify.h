/* Compares the bytes of a model's tensors with their digests, on a thread of the lowest priority, once, after the model is loaded.
 *
 * Thread-safety: safe. */
#ifndef MODEL_VERIFY_H
#define MODEL_VERIFY_H

#include "model/model.h"

struct verify;

/* Starts the thread; m must outlive it. A model whose digests were computed from its bytes when it was opened needs none: *v is NULL then.
 * Errors: LT_ENOMEM. */
int verify_start(struct verify **v, const struct model *m, struct err_msg *em);
/* Stops it where it is. */
void verify_destroy(struct verify **v);

enum verify_state {
    VERIFY_RUNNING,
    VERIFY_GOOD,
    VERIFY_DAMAGED,
};

/* v may be NULL: VERIFY_GOOD. With VERIFY_DAMAGED *tensor (may be NULL) is the name of the damaged one, as long as the model. */
enum verify_state verify_state(const struct verify *v, const char **tensor);

#endif
