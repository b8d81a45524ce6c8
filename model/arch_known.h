/* Models that people have as other programs' files which say too little of them: how their tokens become a vector, and which texts go around a
 * query and a passage. model/FORMAT.md has the list in words. Thread-safety: safe. */
#ifndef MODEL_ARCH_KNOWN_H
#define MODEL_ARCH_KNOWN_H

#include "model/gguf.h"
#include "model/model.h"

/* Completes what arch_read made of the file by what is known of a model of its name (i->name filled in): mask and pooling where the file leaves them
 * open, the EOS that it was trained with, query prefix, instruction template and passage template, static strings; and what
 * the file lacks.
 *
 * Errors: LT_EFORMAT (a key of another type). */
int arch_known_apply(const struct gguf *g, struct model_info *i, struct err_msg *em);

#endif
