/* The buffers through which a batch goes, decoder's and pooler's, and where they lie: in four rooms (model/ops.h), by which of them are
 * needed at one time. The table in activations.c is the plan; what runs over these buffers keeps to it.
 * Thread-safety: unsafe, as its ops. */
#ifndef MODEL_ACTIVATIONS_H
#define MODEL_ACTIVATIONS_H

#include "model/model.h"
#include "model/ops.h"

enum { ACTIVATION_ROOMS = 4 };

/* What rows go through in a layer. */
struct activation_rows {
    struct ops_buf *x;    /* [d] the residual stream */
    struct ops_buf *norm; /* [d] */
    struct ops_buf *mix;  /* [H D] attention's result */
    struct ops_buf *wide; /* [2 f] */
    struct ops_buf *act;  /* [f] */
};

/* A buffer holds rows of one kind in a batch, so that a device may work on different texts at once. NULL where the model has no use for it. */
struct activations {
    const struct model_info *info;
    struct ops *o;
    struct ops_room *room[ACTIVATION_ROOMS];
    uint32_t rows; /* that the buffers have; 0: there are none */
    struct ops_buf *qkv;                         /* [tokens, (H + 2 Hkv) D] */
    struct activation_rows all, pooled;          /* [tokens], [pooled]: the last layer's where some rows are not pooled */
    struct ops_buf *latent_norm, *latent_x;      /* [pooled, d] */
    struct ops_buf *logits;                      /* [pooled, Hl r] */
    struct ops_buf *latent_wide, *latent_act;    /* [pooled, 2 fl], [pooled, fl] */
    struct ops_buf *mean_act;                    /* [texts, fl] */
    struct ops_buf *out;                         /* [texts, d] */
    struct ops_buf *dense[2];                    /* [texts, info->dense] */
};

/* info, o   borrowed; outlive it */
void activations_init(struct activations *a, const struct model_info *info, struct ops *o);
void activations_finish(struct activations *a);

/* Makes the buffers anew for batches of so many rows and texts. After an error there are none: resize again, or finish.
 * Errors: LT_ENOMEM; LT_ELIMIT so many rows are too much for the device. */
int activations_resize(struct activations *a, uint32_t rows, uint32_t texts, struct err_msg *em);

/* Bytes of the buffers of such batches on a device whose rooms are shared (ops_info.rooms) or not. */
uint64_t activations_bytes(const struct model_info *info, bool rooms, uint32_t rows, uint32_t texts);
/* Floats of the widest row that lies in a buffer. */
uint32_t activations_widest(const struct model_info *info);

#endif
