/* Families whose files keep a layer's query, key and value as one tensor, and its gate and up projection as another: their parts, under the names
 * that other families' files have.
 * Thread-safety: safe once made. */
#ifndef MODEL_FUSED_H
#define MODEL_FUSED_H

#include "model/gguf.h"
#include "model/model.h"

struct fused;

/* Of a file whose tensors have been checked. *f is the caller's; it borrows from the file. Errors: LT_ENOMEM. */
int fused_create(struct fused **f, const struct gguf *g, const struct model_info *i, struct err_msg *em);
void fused_destroy(struct fused **f);

/* "blk.0.attn_q.weight", …: rows of the file's blk.0.attn_qkv.weight or blk.0.ffn_up.weight, gate first. NULL: not such a part, or f is NULL. */
const struct tensor *fused_tensor(const struct fused *f, const char *name);

#endif
