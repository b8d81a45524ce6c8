/* What the files of the CPU device share. */
#ifndef MODEL_OPS_CPU_INTERNAL_H
#define MODEL_OPS_CPU_INTERNAL_H

#include <stdatomic.h>

#include "model/ops.h"
#include "model/ops_cpu_dnnl.h"
#include "model/ops_cpu_fine.h"
#include "model/ops_cpu_kernels.h"
#include "model/ops_cpu_team.h"
#include "model/ops_cpu_vnni.h"

#define CPU_MAX_THREADS 64
#define CPU_SPARES 4 /* matrices of a layer */
#define CPU_MATMUL_MOST_ROWS 512 /* of one step of a product */
#define CPU_FINE_ROWS 128        /* the same, of one with activations of 16 bits */

/* The three kinds of rows of a batch. Where two have the same number of rows, each text has the same rows in both. */
enum cpu_domain {
    CPU_TOKENS, /* all tokens */
    CPU_POOLED, /* those that are pooled */
    CPU_TEXTS,  /* one a text */
    CPU_LOOSE,  /* some other number: the batch is run by one thread, whole */
    CPU_DOMAINS
};

struct cpu_range {
    size_t begin, end;
};

/* Some columns of a product */
struct cpu_part {
    struct cpu_range cols;
    size_t then; /* the column that the thread goes on with; CPU_NO_COLUMN: with the next product */
};
#define CPU_NO_COLUMN SIZE_MAX

struct ops_buf {
    float *v;
    size_t max_rows, cols;
    uint64_t batch;         /* number of the last batch that wrote it; 0: none, or the host did since */
    enum cpu_domain domain; /* of the rows that batch wrote */
    bool begun, unread;     /* see cpu_find_passing */
    bool passing;           /* in this run, each thread has rows of its own: see ops_cpu_run.c and ops_cpu_column.c */
};

struct ops_mat {
    size_t m, k;
    /* a product's: panels of `panel` columns, the last may have fewer */
    bool int8;
    size_t panel, n_panels;
    struct cpu_panel **panels;
    bool in_blocks; /* all of them packed by o->pack_block, for o->multiply: see ops_cpu_vnni.h; then no `panels` */
    bool fine;      /* so, too, but by o->pack_fine, for o->multiply_fine */
    bool floats;    /* so, too, but by float_pack, for o->kernels->multiply_float */
    enum tensor_type type; /* of a product in f32, in blocks or by oneDNN: F32, F16 or BF16 */
    size_t value_bytes;    /* of a weight */
    void *room; /* of their weights, panel_bytes each */
    size_t panel_bytes, room_bytes, weight_bytes;
    float *col_scale;  /* m; int8 only */
    int32_t *col_bias; /* m, and 0 up to whole blocks; int8 only */
    /* fine only, see ops_cpu_fine.h */
    size_t unit;
    float *part_scale, *part_min; /* part_min: NULL where no type has minima */
    /* a table's */
    bool table;
    struct tensor tensor;
};

struct ops_vec {
    size_t n;
    float *v;
    /* rope's cosines and sines of positions 0 … n_positions - 1, made as texts get longer: [n_positions, 2, n] */
    float *turns;
    size_t n_positions;
};

enum cpu_op {
    OP_EMBED,
    OP_RMS_NORM,
    OP_RMS_NORM_ADD,
    OP_SCALE,
    OP_LAYER_NORM,
    OP_MATMUL,
    OP_ROPE,
    OP_QK_NORM,
    OP_ATTENTION,
    OP_SWIGLU,
    OP_GEGLU,
    OP_GEGLU_TANH,
    OP_SOFTMAX,
    OP_GATHER,
    OP_MEAN,
    OP_PICK,
    OP_L2,
};

/* One recorded call. */
struct cpu_command {
    enum cpu_op op;
    enum cpu_domain domain; /* of its output rows */
    uint32_t n;
    const struct ops_buf *x, *residual;
    struct ops_buf *y;
    /* Where a block of rows of a buffer that only this stretch needs lies in the worker's arena, in floats per row
     * of the block; -1: in the buffer itself. Set by cpu_place. */
    int32_t x_place, residual_place, y_place;
    enum cpu_gate gate; /* of a product: the op behind it that it runs as one with */
    /* by column, of a product of queries, keys and values that is shared out by heads: the end of the ops that go by heads behind it; or NULL */
    const struct cpu_command *heads_end;
    bool inner;         /* a norm that is made row by row as the int8 product behind it, its only reader, quantises it */
    const struct ops_mat *w;
    const struct ops_vec *g, *b;
    struct ops_attention attention;
    float eps; /* of a norm; the factor of a scaling */
    uint32_t groups, r; /* softmax: groups of r; swiglu and geglu: r values out */
    bool last;
};

/* What one thread works with. */
struct cpu_worker {
    uint8_t *q;       /* quantised rows: CPU_MATMUL_MOST_ROWS × max_k */
    float *row;       /* max_k */
    int8_t *fine_x;   /* CPU_FINE_ROWS rows of the longest fine product, 2 fine_k bytes each */
    struct fine_part *fine_parts;
    const struct cpu_worker *bytes; /* whose q and row_scale, or fine_x and fine_parts, its products read */
    const struct cpu_command *held; /* by column: the product whose rows its own are */
    float *row_scale; /* CPU_MATMUL_MOST_ROWS */
    void *sums;       /* 2 × DNNL_ROWS × max_panel values of 4 bytes */
    float *arena;     /* arena_cols × the rows of a block */
    ptrdiff_t shift[CPU_DOMAINS]; /* rows that those of a passing buffer lie further up */
    float *attention; /* ATTENTION_SCRATCH */
};

struct cpu_ops {
    struct ops base;
    const struct cpu_kernels *kernels;
    cpu_attention_fn *half;  /* attention behind int8 products, or NULL */
    vnni_multiply *multiply; /* or NULL */
    vnni_pack *pack_block;   /* or NULL */
    fine_multiply *multiply_fine;   /* or NULL */
    fine_quantise *quantise_fine;   /* or NULL */
    vnni_pack *pack_fine;           /* or NULL */
    struct cpu_dnnl *dnnl;
    struct team *team;
    unsigned n_threads;
    bool int8, own_f32; /* own_f32: in f32, too, products are our own */

    /* scratch, grown as matrices are made */
    struct cpu_worker *workers;
    size_t max_k, max_panel, fine_k, arena_floats;
    size_t weight_bytes; /* of all matrices: small ones stay in the cache from one block of rows to the next */

    struct {
        void *room;
        size_t bytes;
    } spares[CPU_SPARES]; /* of matrices that are gone */

    /* the batch */
    bool recording;
    int error; /* first error of the batch */
    struct ops_batch batch;
    uint64_t batch_number; /* from 1 */
    uint32_t n_pooled, longest;
    int32_t *ids;
    uint32_t *seq_offset, *pooled_offset, *pool_skip, *position; /* capacity: max_batch_tokens + 1 */
    uint32_t *text;                                              /* of each token */
    struct cpu_command *commands;
    size_t n_commands, cap_commands;

    /* the run, see ops_cpu_run.c */
    bool by_text, by_column, loose;
    unsigned n_active;
    uint32_t *group; /* first text of each group, and the end */
    uint32_t n_groups, largest_group, largest_pooled; /* the latter in rows */
    atomic_uint next_group;
    atomic_int run_error;
    struct cpu_claim *claims; /* see ops_cpu_column.c */
    size_t n_claims;
};

/* Asks for the line at p to be written to. For __builtin_prefetch that is a matter of the compiler's flags; CPUs without it ignore it. */
static inline void cpu_claim_line(const void *p)
{
#if defined(__x86_64__)
    __asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
    __builtin_prefetch(p, 1);
#endif
}

/* ops_cpu_record.c: fills in the calls of the table that record */
void cpu_record_table(struct ops_vtbl *v);

/* ops_cpu_run.c: runs what is recorded; src is read afterwards, or NULL. Errors: LT_ENOMEM, LT_EDEVICE. */
int cpu_run(struct cpu_ops *o, const struct ops_buf *src);
size_t cpu_domain_rows(const struct cpu_ops *o, enum cpu_domain d);
/* Some rows of a command; a product's, only some columns. By worker `thread`. */
int cpu_run_command(struct cpu_ops *o, const struct cpu_command *c, struct cpu_range rows, unsigned thread);
int cpu_run_matmul(struct cpu_ops *o, const struct cpu_command *c, struct cpu_range rows, struct cpu_part part, unsigned thread);
/* rope, qk_norm or attention on all rows, but only on some heads of keys and values and on the queries' that go with them */
void cpu_run_heads(struct cpu_ops *o, const struct cpu_command *c, struct cpu_range heads, unsigned thread);

/* ops_cpu_column.c: runs what is recorded and placed, n_threads at one step at a time. Errors: LT_ENOMEM, LT_EDEVICE. */
int cpu_run_by_column(struct cpu_ops *o, const struct ops_buf *src, unsigned n_threads);

/* ops_cpu_matmul.c */
int cpu_mat_create(struct cpu_ops *o, const struct tensor *const *parts, size_t n_parts, struct ops_mat **w,
                   struct err_msg *em);
void cpu_mat_destroy(struct cpu_ops *o, struct ops_mat **w);
void cpu_free_spares(struct cpu_ops *o);
/* What cpu_mat_create takes for these rows; parts of a matrix that come in several types may become f32 together */
uint64_t cpu_mat_bytes(const struct cpu_ops *o, const struct tensor *t);
/* More weights than stay in the cache from one batch to the next */
bool cpu_far_weights(const struct cpu_ops *o);
/* Most rows that cpu_matmul should be given at once for these weights */
size_t cpu_matmul_rows(const struct cpu_ops *o);

/* Columns of product c, or of what its gate makes of it; by column, those of one thread's slice, by heads the queries' of them */
size_t cpu_matmul_width(const struct cpu_command *c);
struct cpu_range cpu_matmul_slice(const struct cpu_ops *o, const struct cpu_command *c, unsigned slice);
/* By column, before any column of a product of whole numbers is made: some of its rows, for all threads */
void cpu_matmul_quantise(struct cpu_ops *o, const struct cpu_command *c, struct cpu_range rows);
/* n rows of product c from x on, the input of its inner norm if it has one, for this thread alone */
void cpu_matmul_prepare(struct cpu_ops *o, unsigned thread, const struct cpu_command *c, const float *x, size_t n);
/* The inner norm of product c, or NULL */
const struct cpu_command *cpu_inner_norm(const struct cpu_ops *o, const struct cpu_command *c);
/* Some columns, all or a slice, of n rows of product c, by worker `thread`; x, residual and y point to the first row, whole. */
int cpu_matmul(struct cpu_ops *o, unsigned thread, const struct cpu_command *c, struct cpu_part part, size_t n, const float *x,
               const float *residual, float *y);
/* The same of c[0] and the gate c[1] behind it, without the product in between */
bool cpu_matmul_can_gate(const struct cpu_command *c);
int cpu_matmul_gate(struct cpu_ops *o, unsigned thread, const struct cpu_command *c, struct cpu_range cols, size_t n, const float *x,
                    float *y);

/* ops_cpu_fine_mat.c: weights in blocks with activations of 16 bits */
/* Whether the CPU can take weights so */
bool cpu_becomes_fine(const struct cpu_ops *o, const struct tensor *t);
/* Finds the parts' unit and makes room for their scales; scratch for the rows of x. Errors: LT_ENOMEM. */
int cpu_fine_room(struct cpu_ops *o, struct ops_mat *w, const struct tensor *const *parts, size_t n_parts, struct err_msg *em);
/* Column j of the matrix, row `row` of t: its whole numbers to q[k], scales and minima to their places; room: 2 k / unit floats */
void cpu_fine_pack(struct ops_mat *w, size_t j, const struct tensor *t, size_t row, uint8_t *q, float *room);
/* Some rows, of at most CPU_FINE_ROWS, for who reads those of worker `thread`; x: the first of them */
void cpu_fine_prepare(struct cpu_ops *o, unsigned thread, const struct ops_mat *w, const float *x, struct cpu_range rows);
/* The columns of a block, of n of the rows that worker `thread` reads, from `first` on, to sums: VNNI_COLS a row */
void cpu_fine_multiply(struct cpu_ops *o, unsigned thread, const struct ops_mat *w, struct cpu_range cols, const void *weights, const void *next,
                       size_t first, size_t n, float *sums);
/* Of weights and their scales; those of columns that fill the last block are left out */
uint64_t cpu_fine_bytes(uint64_t m, uint64_t k, size_t unit, bool has_min);

/* ops_cpu_place.c: decides which buffers of the recorded commands stay in the arena. src: the buffer read at the end or NULL.
 * Returns LT_ENOMEM when the arena cannot grow. */
int cpu_place(struct cpu_ops *o, const struct ops_buf *src);
/* Which buffers hold nothing but what the batch wrote and read again; none where there may be none. */
void cpu_find_passing(struct cpu_ops *o, const struct ops_buf *src, bool may);
/* No buffer in an arena any more; what runs as one still does. */
void cpu_unplace(struct cpu_ops *o);
/* True for ops that read rows of other places than they write. */
bool cpu_across_rows(enum cpu_op op);
/* The end of the stretch that begins at command i: one op across rows, or row by row ops of one domain. */
size_t cpu_stretch_end(const struct cpu_ops *o, size_t i);

/* ops_cpu.c: 64-byte aligned, freed with free; NULL when there is no memory or the size overflows */
void *cpu_alloc(size_t n, size_t size);

#endif
