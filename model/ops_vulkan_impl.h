/* What the files of the Vulkan ops share. Not for others. */
#ifndef MODEL_OPS_VULKAN_IMPL_H
#define MODEL_OPS_VULKAN_IMPL_H

#include "model/ops_vulkan.h"

struct tuning_fragments;
struct tuning_few;

/* Buffers of a room all begin where it does. */
struct ops_buf {
    struct gpu_buf *b; /* its room's */
    size_t max_rows, cols;
    struct rows *rows; /* what is known of the room's contents */
    struct ops_room *own; /* a room for itself alone, NULL where it is another's */
};

struct ops_vec {
    struct gpu_buf *b;
    size_t n;
    float *host; /* a copy, for vectors short enough to be rope frequencies; else NULL */
};

/* How the device holds a storage type. */
struct held {
    enum tensor_type type;  /* of the kernel that reads it */
    uint32_t block;         /* values */
    uint32_t data, shared;  /* bytes of a block in the plane of values, and in that of what they share */
    /* One block of the file, of any alignment; data and shared are zero before. NULL where a block is one value: it is copied. */
    void (*pack)(const uint8_t *block, uint8_t *data, uint8_t *shared);
    /* The largest size of a value is d d_most + m m_most, of the two f16 that the shared plane's block begins with. */
    float d_most, m_most;
};

/* Rows row0 … row0 + n_rows - 1 of a matrix: one storage type, within one storage binding. */
struct mat_slice {
    enum tensor_type type;
    uint32_t row0, n_rows;
    bool beyond_half; /* a value has no place in f16's range */
    struct gpu_buf *data;
    struct gpu_buf *shared; /* what the values of a block share; NULL: a type without blocks */
};

struct ops_mat {
    uint32_t rows, cols, kp; /* kp: cols rounded up to PARAMS_K_PAD, the stored length of a row */
    struct mat_slice *slices;
    size_t n_slices;
};

/* y[n, w's rows] = x wᵀ + bias + residual */
struct product {
    const struct ops_buf *x, *residual;
    struct ops_buf *y;
    const struct ops_mat *w;
    const struct ops_vec *bias; /* NULL: none; so may residual be */
    uint32_t n;
};

/* The sums of a product whose k is divided, in v->parts: float [n, rows, w's rows], whose first rows are the product's. */
struct parts {
    uint32_t n, rows;
};

/* How a buffer's rows come about: ops_vulkan_late.c. */
enum rows_from {
    ROWS_THERE, /* they lie in the buffer, and nothing is to be done */
    ROWS_SUM,   /* parts of a product in v->parts, of which at most one buffer's lie there */
    ROWS_NORM,  /* rms_norm of x */
    ROWS_SWIGLU,
    ROWS_GEGLU_TANH,
    ROWS_GONE   /* a product took them without their being made, and what they came from is no more */
};

struct rows {
    enum rows_from from;
    uint64_t version;      /* another for each op that writes one of the room's buffers */
    struct ops_buf *b;     /* whose they are: the last that was written; NULL: none was */
    struct ops_buf *next;  /* of v->late, while they are late: ROWS_SUM … ROWS_GEGLU_TANH */
    bool taken;            /* late, but some op has had what it needs of them */
    struct ops_buf *x;     /* of a norm or a gate: from these rows */
    uint32_t n, cols;      /* so many, so wide */
    const struct ops_vec *g;
    float eps;
    struct product sum;    /* of ROWS_SUM */
    struct parts parts;
};

struct ops_room {
    struct gpu_buf *b;
    struct rows rows;
};

/* (cos, sin) of each position's angles for one vector of frequencies. */
struct rope_table {
    const struct ops_vec *freq; /* NULL: unused */
    struct gpu_buf *b;
    uint32_t positions;
};
#define ROPE_TABLES 4

/* Whose rows a product's x has been made of. */
struct packed_rows {
    const struct ops_buf *x; /* NULL: nobody's */
    uint64_t version;
    uint32_t n, cols;
};

/* Bytes of what batches need beside their buffers. */
struct scratch {
    uint64_t pack, parts, kv, fragments_x, fragments_w, ropes, readback;
};

/* A part of the batch's description in the meta buffers. */
struct meta_part {
    uint64_t offset, len; /* bytes */
};

struct ops_vulkan {
    struct ops base;
    struct gpu *g;
    struct gpu_buf *dummy;            /* bound where an optional input is absent */
    struct gpu_buf *meta, *meta_host; /* the batch's description, and the mapped buffer it is copied from */
    uint64_t meta_used;
    struct gpu_buf *readback;
    struct gpu_buf *pack;  /* the rows of a product's x as f16 or int8 */
    struct gpu_buf *parts; /* sums of a product whose k is divided */
    struct gpu_buf *fragments_x, *fragments_w; /* what one product multiplies */
    struct packed_rows packed; /* as f16 in v->pack */
    struct packed_rows spread; /* in v->fragments_x, as matmul_few.comp's right matrix: spread.n of them in whole blocks */
    struct ops_buf *late; /* buffers whose rows are still to be made */
    struct gpu_buf *kv;    /* keys and values as f16 */
    struct scratch expected; /* of batches to come; 0: not known */
    struct rope_table ropes[ROPE_TABLES];
    uint32_t rope_next; /* the entry to replace next */
    bool ropes_pending; /* the batch being recorded fills one */

    /* the batch being recorded */
    bool in_batch;
    uint64_t submits_at_begin;
    int failed; /* the first error; what follows is not recorded */
    uint32_t n_tokens, n_seqs, n_pooled, max_len;
    uint32_t *seq_offset; /* a copy, n_seqs + 1 */
    struct meta_part ids, pos, pooled_rows, pooled_offset, blocks;
    uint32_t blocks_bq, n_blocks; /* block size that `blocks` was made for; 0: not yet */
};

/* Bytes of the description of a batch of so many rows: id, position, pooled row, pooled offset and one attention block each, and slack for
 * the alignment of each part. */
static inline uint64_t ops_vulkan_meta_bytes(uint32_t rows)
{
    return (4 + 4 + 4 + 4 + 16) * (uint64_t)rows + 4096;
}

static inline struct ops_vulkan *ops_vulkan(struct ops *o)
{
    return (struct ops_vulkan *)o;
}

/* ops_vulkan_pack.c; NULL: a type that is not known */
const struct held *held_as(enum tensor_type type);

/* ops_vulkan_mat.c */
uint64_t ops_vulkan_mat_bytes(struct ops *o, const struct tensor *t);
int ops_vulkan_mat_create(struct ops *o, const struct tensor *const *parts, size_t n_parts, struct ops_mat **w,
                          struct err_msg *em);
int ops_vulkan_table_create(struct ops *o, const struct tensor *t, struct ops_mat **w, struct err_msg *em);
void ops_vulkan_mat_destroy(struct ops *o, struct ops_mat **w);

/* ops_vulkan_batch.c */
int ops_vulkan_begin(struct ops *o, const struct ops_batch *b, struct err_msg *em);
int ops_vulkan_end(struct ops *o, const struct ops_buf *src, uint32_t rows, float *out, struct err_msg *em);
/* Makes the list of query blocks of bq rows for attention, unless it is there. */
int ops_vulkan_blocks(struct ops_vulkan *v, uint32_t bq, struct err_msg *em);
/* Makes the table for freq, long enough for the batch. */
int ops_vulkan_rope_table(struct ops_vulkan *v, const struct ops_vec *freq, struct gpu_buf **table,
                          struct err_msg *em);
/* What the table takes for texts of so many tokens. */
uint64_t ops_vulkan_rope_bytes(uint32_t longest, size_t n_freqs);
void ops_vulkan_rope_forget(struct ops_vulkan *v, const struct ops_vec *freq);

/* ops_vulkan_scratch.c */
uint64_t ops_vulkan_scratch_bytes(struct ops *o, const struct ops_use *u);
void ops_vulkan_expect(struct ops *o, const struct ops_use *u);
/* Room for len bytes in *b, which may be another buffer then, of `expected` bytes at least. */
int ops_vulkan_grow(struct ops_vulkan *v, struct gpu_buf **b, uint64_t len, uint64_t expected, struct err_msg *em);

/* ops_vulkan_late.c */
/* b's rows lie in the buffer from here on. Errors: LT_EINVAL they are gone, or another buffer of the room was written since. */
int ops_vulkan_reads(struct ops_vulkan *v, const struct ops_buf *b, struct err_msg *em);
/* Before an op writes b. */
int ops_vulkan_writes(struct ops_vulkan *v, struct ops_buf *b, struct err_msg *em);
/* Whether products of n rows take f16, so that norms and gates before them had better wait. */
bool ops_vulkan_defers(const struct ops_vulkan *v, uint32_t n);
/* y's n rows will be made of x as `how` says (a norm or a gate; its from, cols, g and eps count), at once where y is x. */
int ops_vulkan_defer(struct ops_vulkan *v, const struct ops_buf *x, uint32_t n, struct ops_buf *y, const struct rows *how,
                     struct err_msg *em);
/* x's first n rows of cols values in v->pack, kp values long, as f16 with a scale for each. */
int ops_vulkan_take_packed(struct ops_vulkan *v, const struct ops_buf *x, uint32_t n, uint32_t cols, uint32_t kp, struct err_msg *em);
/* Whether x's first n rows of cols values lie where `in` is kept. */
bool ops_vulkan_holds(const struct packed_rows *in, const struct ops_buf *x, uint32_t n, uint32_t cols);
/* p->x's for a product of few rows as *t says: as its fragments in v->fragments_x where the device's kernels know these, *spread then; else in
 * v->pack. */
int ops_vulkan_take_spread(struct ops_vulkan *v, const struct product *p, const struct tuning_few *t, bool *spread, struct err_msg *em);
/* Room for len bytes in v->pack, which packed rows have left. */
int ops_vulkan_claim_pack(struct ops_vulkan *v, uint64_t len, struct err_msg *em);
/* Room for a product's parts in v->parts, which others have left. */
int ops_vulkan_claim_parts(struct ops_vulkan *v, const struct product *p, struct parts parts, struct err_msg *em);
/* Before an op that changes b[n, cols] in place and can add a product's parts itself: *sum is what to add, NULL where the rows are there. */
int ops_vulkan_take_sum(struct ops_vulkan *v, struct ops_buf *b, uint32_t n, uint32_t cols, const struct rows **sum, struct err_msg *em);
/* v->parts are p's, to be added once somebody wants p->y. */
void ops_vulkan_defer_sum(struct ops_vulkan *v, const struct product *p, struct parts parts);
/* The batch ends: makes what no op took. */
int ops_vulkan_settle(struct ops_vulkan *v, struct err_msg *em);
/* A batch begins: whatever an earlier one that was dropped left to be done is not. */
void ops_vulkan_forget_late(struct ops_vulkan *v);
void ops_vulkan_forget_buf(struct ops_vulkan *v, const struct ops_buf *b);

/* ops_vulkan_matmul.c: p->y from the parts in v->parts */
int ops_vulkan_add_parts(struct ops_vulkan *v, const struct product *p, struct parts parts, struct err_msg *em);

/* ops_vulkan_fragments.c */
/* Whether p, of few rows, is made from x's fragments: *t says how, and there is room for them. */
bool ops_vulkan_few(struct ops_vulkan *v, const struct product *p, struct tuning_few *t);
/* How p's parts lie, if it has several. */
struct parts ops_vulkan_few_parts(const struct product *p, const struct tuning_few *t);
/* p->y, or v->parts where t has several, from x in v->fragments_x where it is spread, else in v->pack. */
int ops_vulkan_run_few(struct ops_vulkan *v, const struct product *p, const struct tuning_few *t, bool spread, struct err_msg *em);
/* Bytes of x's fragments and scales for n rows of kp values, and for the few rows of t. */
uint64_t ops_vulkan_fragments_x_bytes(const struct tuning_fragments *t, uint32_t n, uint32_t kp);
uint64_t ops_vulkan_few_x_bytes(const struct tuning_few *t, uint32_t kp);
/* Where their scales lie behind them, in floats. */
uint32_t ops_vulkan_few_scales_at(const struct tuning_few *t, uint32_t kp);
/* Whether p is made from fragments: *t says how, and there is room for them. */
bool ops_vulkan_fragments(struct ops_vulkan *v, const struct product *p, struct tuning_fragments *t);
/* p->y, from x in v->pack. */
int ops_vulkan_run_fragments(struct ops_vulkan *v, const struct product *p, const struct tuning_fragments *t, struct err_msg *em);

/* ops_vulkan_run.c, and matmul and attention in files of their own: the operations */
int ops_vulkan_embed_rows(struct ops *o, const struct ops_mat *table, struct ops_buf *y);
int ops_vulkan_rms_norm(struct ops *o, const struct ops_buf *x, const struct ops_vec *g, float eps, uint32_t n,
                        struct ops_buf *y);
int ops_vulkan_rms_norm_add(struct ops *o, const struct ops_buf *x, const struct ops_vec *g, float eps, uint32_t n,
                            struct ops_buf *y);
int ops_vulkan_scale(struct ops *o, struct ops_buf *x, float s, uint32_t n);
int ops_vulkan_qk_norm(struct ops *o, struct ops_buf *qkv, const struct ops_vec *gq, const struct ops_vec *gk, float eps,
                       const struct ops_attention *a);
int ops_vulkan_layer_norm(struct ops *o, const struct ops_buf *x, const struct ops_vec *g,
                          const struct ops_vec *b, float eps, uint32_t n, struct ops_buf *y);
int ops_vulkan_matmul(struct ops *o, const struct ops_buf *x, const struct ops_mat *w,
                      const struct ops_vec *bias, const struct ops_buf *residual, uint32_t n,
                      struct ops_buf *y);
int ops_vulkan_rope(struct ops *o, struct ops_buf *qkv, const struct ops_vec *inv_freq,
                    const struct ops_attention *a);
int ops_vulkan_attention(struct ops *o, const struct ops_buf *qkv, const struct ops_attention *a,
                         struct ops_buf *y);
int ops_vulkan_swiglu(struct ops *o, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y);
int ops_vulkan_geglu(struct ops *o, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y);
int ops_vulkan_geglu_tanh(struct ops *o, const struct ops_buf *x, uint32_t n, uint32_t f, struct ops_buf *y);
int ops_vulkan_softmax_groups(struct ops *o, struct ops_buf *x, uint32_t n, uint32_t groups, uint32_t r);
int ops_vulkan_gather_pooled(struct ops *o, const struct ops_buf *x, struct ops_buf *y);
int ops_vulkan_mean_pool(struct ops *o, const struct ops_buf *x, struct ops_buf *y);
int ops_vulkan_pick_pooled(struct ops *o, const struct ops_buf *x, bool last, struct ops_buf *y);
int ops_vulkan_l2_normalize(struct ops *o, struct ops_buf *x, uint32_t n);

#endif
