/* The operations a decoder and its pooler are made of, on some device.
 *
 * One struct ops is one device with its memory and its queue. Activations are f32 matrices
 * [rows, cols], row-major, in device buffers; weights are uploaded once and stay in the form that
 * suits the device. Between ops_begin and ops_end the calls record or run the batch; a device may do either,
 * so results are only there after ops_end. A batch packs its texts end to end, without padding:
 * text s owns rows seq_offset[s] .. seq_offset[s+1]-1. Every op is checked against ref_X of model/ref.
 * After ops_end a buffer holds what the batch left in it only if no later op of the batch read that, or it is the one that ops_end copies:
 * a device need not make rows that only other ops wanted.
 * Within a batch rows may be read as often as one likes, but those of a norm or a gate that a product has read: by further products in a row, and
 * a norm's by any op until what it was made from is written. Nor may what a gate has read be, once a product has read the gate's. A device
 * may have handed them to the product in a form of its own: LT_EINVAL where it has.
 *
 * Errors: LT_ENOMEM (device memory: needed and free in the message), LT_EDEVICELOST, LT_ELIMIT (batch larger than
 * the limits given at creation). After an error within a batch the batch is dropped; call ops_begin again.
 * Thread-safety: unsafe; one thread owns an ops and all that it made. */
#ifndef MODEL_OPS_H
#define MODEL_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/tensor.h"

struct ops;
struct ops_room; /* memory in which several buffers lie, of which one has contents at a time */
struct ops_buf; /* activations on the device: f32, capacity fixed at creation */
struct ops_mat; /* a weight matrix [m, k] in the device's own layout */
struct ops_vec; /* n f32 parameters */

/* What a batch looks like; arrays are borrowed for ops_begin only. */
struct ops_batch {
    const int32_t *ids;         /* n_tokens token ids, each < vocabulary (checked by the caller) */
    uint32_t n_tokens;
    const uint32_t *seq_offset; /* n_seqs + 1 row offsets, first 0, last n_tokens, ascending */
    uint32_t n_seqs;
    const uint32_t *pool_skip;  /* n_seqs: leading rows of each text left out of the pool, < its length */
};

/* Derived by ops_begin and known to every op: the pooled rows, n_pooled = n_tokens - sum(pool_skip),
 * packed end to end in the same order. */

struct ops_attention {
    uint32_t n_heads, n_kv_heads, head_dim;
    bool causal;
    float scale; /* multiplies q·k; usually 1/sqrt(head_dim) */
    uint32_t window; /* a token sees only those less than so many rows away; 0: all */
    bool half; /* q, k, v and the weights of the sum may be rounded as ops_info.attention_rounding says, with f32 sums, as what made q, k and v were:
                * products with weights that are not f32 */
    float cap; /* a score s becomes cap · tanh(s / cap) before the softmax; 0: it stays as it is */
};

/* What batches will be like at most. */
struct ops_use {
    uint32_t rows, texts;
    uint32_t longest;                    /* tokens of a text */
    uint32_t product_cols, product_rows; /* of the widest x of a product, and of the widest y */
    uint32_t n_kv_heads, head_dim;
    uint32_t n_freqs;                    /* vectors of rope frequencies */
    uint32_t out_cols;                   /* of what end() copies */
};

/* What one kernel took in several batches. */
struct ops_time {
    const char *kernel; /* static */
    uint64_t n;         /* times it ran, parts of a divided one counted */
    double ms;
    double work;        /* operations; of all kernels but the products and attention a rough figure */
};
#define OPS_TIMES_MAX 64

/* A room for whole steps of rows lets products write whole matrices, whatever the device's are. */
#define OPS_ROWS_STEP 32

struct ops_vtbl {
    void (*destroy)(struct ops *o);

    /* ---- memory; before or between batches ---- */
    int (*buf_create)(struct ops *o, size_t max_rows, size_t cols, struct ops_buf **b, struct err_msg *em);
    void (*buf_destroy)(struct ops *o, struct ops_buf **b);
    /* A room of so many floats, and a buffer in it; the room outlives its buffers. What an op writes to one ends the contents of the others,
     * and reading those is LT_EINVAL; no op takes two of a room. A device may give each buffer memory of its own all the same, see info.rooms. */
    int (*room_create)(struct ops *o, size_t n_floats, struct ops_room **room, struct err_msg *em);
    void (*room_destroy)(struct ops *o, struct ops_room **room);
    int (*buf_create_in)(struct ops *o, struct ops_room *room, size_t max_rows, size_t cols, struct ops_buf **b, struct err_msg *em);
    /* A matrix whose rows are those of parts[0], parts[1], … one below the other (fused projections);
     * all parts have the same cols. The tensors' data is not used after return. */
    int (*mat_create)(struct ops *o, const struct tensor *const *parts, size_t n_parts, struct ops_mat **w,
                      struct err_msg *em);
    /* Bytes that a matrix of these rows takes on the device. */
    uint64_t (*mat_bytes)(struct ops *o, const struct tensor *t);
    /* A token-vector table, used by embed_rows only. Its tensor's data stays valid as long as the ops. */
    int (*table_create)(struct ops *o, const struct tensor *t, struct ops_mat **w, struct err_msg *em);
    void (*mat_destroy)(struct ops *o, struct ops_mat **w);
    int (*vec_create)(struct ops *o, const float *v, size_t n, struct ops_vec **out, struct err_msg *em);
    void (*vec_destroy)(struct ops *o, struct ops_vec **v);

    /* Bytes that such batches take at most beside buffers, matrices and vectors, products' scratch for one. */
    uint64_t (*scratch_bytes)(struct ops *o, const struct ops_use *u);
    /* Batches will be like that: what was kept for larger ones is let go, and what they need is made in one go, the first time it is
     * needed. NULL where there is nothing to keep. */
    void (*expect)(struct ops *o, const struct ops_use *u);

    /* ---- one batch; buffers have the columns that an op names, a device may refuse wider ones ---- */
    int (*begin)(struct ops *o, const struct ops_batch *b, struct err_msg *em);

    /* y[n_tokens, cols] = table[ids] */
    int (*embed_rows)(struct ops *o, const struct ops_mat *table, struct ops_buf *y);
    /* y[n, d] = x / sqrt(mean(x²) + eps) * g; y may be x */
    int (*rms_norm)(struct ops *o, const struct ops_buf *x, const struct ops_vec *g, float eps, uint32_t n,
                    struct ops_buf *y);
    /* y[n, d] += x / sqrt(mean(x²) + eps) * g; y is not x */
    int (*rms_norm_add)(struct ops *o, const struct ops_buf *x, const struct ops_vec *g, float eps, uint32_t n,
                        struct ops_buf *y);
    /* In place on x[n, d]: x * s */
    int (*scale)(struct ops *o, struct ops_buf *x, float s, uint32_t n);
    /* y[n, d] = (x - mean) / sqrt(var + eps) * g + b; g and b may be NULL (1 and 0); y may be x */
    int (*layer_norm)(struct ops *o, const struct ops_buf *x, const struct ops_vec *g, const struct ops_vec *b,
                      float eps, uint32_t n, struct ops_buf *y);
    /* y[n, m] = x[n, k] wᵀ + bias (or NULL) + residual[n, m] (or NULL; may be y). Where y has them, rows from n to the next multiple of
     * OPS_ROWS_STEP may be overwritten. */
    int (*matmul)(struct ops *o, const struct ops_buf *x, const struct ops_mat *w, const struct ops_vec *bias,
                  const struct ops_buf *residual, uint32_t n, struct ops_buf *y);
    /* In place on qkv[n_tokens, (H + 2 Hkv) D], rows q heads, k heads, v heads: rotates the q and k heads, pair (i, i + D/2),
     * by the row's position within its text times inv_freq[i] (f32 product of f32 values, as Hugging Face);
     * inv_freq has D/2 values. */
    int (*rope)(struct ops *o, struct ops_buf *qkv, const struct ops_vec *inv_freq, const struct ops_attention *a);
    /* In place on qkv[n_tokens, (H + 2 Hkv) D]: rms_norm on each q head with gq[D] and on each k head with gk[D] */
    int (*qk_norm)(struct ops *o, struct ops_buf *qkv, const struct ops_vec *gq, const struct ops_vec *gk, float eps,
                   const struct ops_attention *a);
    /* y[n_tokens, H D] = softmax(scale q kᵀ) v within each text, online softmax, grouped heads */
    int (*attention)(struct ops *o, const struct ops_buf *qkv, const struct ops_attention *a, struct ops_buf *y);
    /* y[n, f] = silu(x[:, :f]) * x[:, f:] for x[n, 2f] */
    int (*swiglu)(struct ops *o, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y);
    /* y[n, f] = x[:, :f] * gelu(x[:, f:]), the exact erf form */
    int (*geglu)(struct ops *o, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y);
    /* y[n, f] = gelu(x[:, :f]) * x[:, f:], the tanh form */
    int (*geglu_tanh)(struct ops *o, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y);
    /* In place: softmax over each run of r values in x[n, groups r] */
    int (*softmax_groups)(struct ops *o, struct ops_buf *x, uint32_t n, uint32_t groups, uint32_t r);
    /* y[n_pooled, d] = the pooled rows of x[n_tokens, d], in order; y is not x */
    int (*gather_pooled)(struct ops *o, const struct ops_buf *x, struct ops_buf *y);
    /* y[n_seqs, d] = mean over each text's pooled rows of x[n_pooled, d] */
    int (*mean_pool)(struct ops *o, const struct ops_buf *x, struct ops_buf *y);
    /* y[n_seqs, d] = the last (or first) row of each text's pooled rows of x[n_pooled, d] */
    int (*pick_pooled)(struct ops *o, const struct ops_buf *x, bool last, struct ops_buf *y);
    /* In place on x[n, d]: x / max(|x|, 1e-12) */
    int (*l2_normalize)(struct ops *o, struct ops_buf *x, uint32_t n);

    /* Ends the batch: submits what is not yet submitted, waits, then copies rows*cols floats of src to out. src NULL: only waits.
     * `probe` below may have asked for more. */
    int (*end)(struct ops *o, const struct ops_buf *src, uint32_t rows, float *out, struct err_msg *em);

    /* For tests: fills a buffer from the host, or reads it back, outside of begin/end. */
    int (*buf_write)(struct ops *o, struct ops_buf *b, const float *v, size_t n);
    int (*buf_read)(struct ops *o, const struct ops_buf *b, float *v, size_t n);

    /* ---- what kernels take, by the device's clock; both NULL where it can't be told ---- */
    /* From here on batches are timed kernel by kernel, which makes them slower; sums begin at 0. Between batches. */
    int (*profile_start)(struct ops *o, struct err_msg *em);
    /* Sums up to the last end, one a kernel that ran; returns their number, at most max. */
    size_t (*profile)(struct ops *o, struct ops_time *times, size_t max);
};

struct ops_info {
    char name[256];          /* as the driver gives it */
    char kind[16];           /* "cpu" or "vulkan" */
    char uuid[40];           /* empty where there is none */
    bool software;           /* a Vulkan driver that runs on the CPU */
    bool shared;             /* its memory is the machine's own */
    uint32_t max_batch_tokens; /* most rows begin() takes */
    uint32_t max_head_dim;   /* largest head that attention takes */
    uint64_t memory_bytes;   /* of the device, for everything; 0: not known */
    uint64_t free_bytes;     /* of those, what others had not taken when it was opened; 0: not known */
    bool rooms;              /* buffers of a room share its memory */
    uint64_t allocated_bytes; /* of it by this ops, at the last batch's end; 0: not counted */
    double rounding;         /* of the values in products whose weights are not f32, relative; 0: as the device's name says */
    double attention_rounding; /* of the values in attention that may be half, relative; 0: it isn't */
    bool int8_blocks;        /* but what goes into products with weights in blocks is rounded to int8, with more than 5 bits to 16, in blocks of 32 */
    bool fine_blocks;        /* or to 16 bits in blocks of 32 (of 16 beside q6_K), where it is not rounded to int8 */
    struct err_msg failed;   /* why the first op of the batch failed, where the code does not say all; empty: none did, or it does */
    uint64_t n_submits;      /* submissions so far; a batch is one, on a GPU more where it is a long one */
    uint64_t n_readbacks;    /* copies to the host so far; a batch is one, at its end */
};

/* Every implementation's struct starts with this. */
struct ops {
    const struct ops_vtbl *v;
    struct ops_info info;
};

static inline void ops_destroy(struct ops **o)
{
    if (*o)
        (*o)->v->destroy(*o);
    *o = NULL;
}

#endif
