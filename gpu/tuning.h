/* Ways, sizes of tiles and groups, chosen from what a device allows: with gpu/tuning_table.h the only place with knowledge of
 * devices. */
#ifndef GPU_TUNING_H
#define GPU_TUNING_H

#include "gpu/gpu.h"

/* Ways to make y[n, m] = x[n, k] wᵀ, with weights in any storage type but where said. */
enum tuning_path {
    TUNING_F32,  /* tiles, f32 arithmetic: every device, every case */
    TUNING_ROWS, /* f32 arithmetic for few rows: as fast as the weights can be read */
    TUNING_DOT,  /* integer dot products, x rounded in blocks of 32; for weights in blocks */
    TUNING_COOP, /* cooperative matrices, f16 with sums in f32; for weights that fit f16 */
    TUNING_PATHS
};

/* What LATENTD_VULKAN_MATMUL calls it. */
const char *tuning_path_name(enum tuning_path path);

/* The path that the environment's LATENTD_VULKAN_MATMUL names; NULL: none. */
const char *tuning_asked(void);

/* Every product on g takes the named path where it can be taken; NULL: tuning_asked; empty: whichever suits.
 * Errors: LT_EINVAL no such path; LT_ENOTFOUND the device lacks what it takes. */
int tuning_force(struct gpu *g, const char *name, struct err_msg *em);

/* What w's values may be taken as; 0: as f32 only. */
enum {
    TUNING_AS_HALF = 1, /* none is held as f32 or beyond f16 */
    TUNING_AS_INT8 = 2, /* all of it in blocks of at most 8 bits a value */
};

/* The path for n rows of x and weights that may be taken as `as` says. */
enum tuning_path tuning_path(const struct gpu *g, uint32_t n, unsigned as);

/* The rounding of a product's parts, relative to their size, of the paths in floats that tuning_path may choose on g for weights that
 * are not f32. */
double tuning_rounding(const struct gpu *g);

/* Whether products with weights in blocks round x to whole numbers on g: TUNING_DOT is chosen. */
bool tuning_rounds_to_int8(const struct gpu *g);

struct tuning_tiles {
    uint32_t group;      /* invocations */
    uint32_t tx;         /* of those, along w's rows */
    uint32_t rm, rn;     /* outputs of an invocation along w's rows and x's rows */
    uint32_t bk4;        /* depth of a tile, in vectors of 4; divides 8 */
    uint32_t bm, bn;     /* tile: tx * rm, group / tx * rn */
};

/* For TUNING_F32. The result's bits do not depend on the choice. */
struct tuning_tiles tuning_tiles(const struct gpu *g, uint32_t n, uint32_t m, uint32_t k);

struct tuning_rows {
    uint32_t group;  /* invocations */
    uint32_t lanes;  /* that share a row of w: a power of two, and one for a device, since the order of sums depends on it */
    uint32_t rm, nx; /* rows of w and of x that they take */
    uint32_t bm;     /* rows of w of a group: group / lanes * rm */
};

/* For TUNING_ROWS. */
struct tuning_rows tuning_rows(const struct gpu *g, uint32_t n);

struct tuning_dot {
    uint32_t group, tx;    /* as struct tuning_tiles */
    uint32_t rm, rn;
    uint32_t blocks;       /* depth of a tile, in blocks of 32; room for two planes of x */
    uint32_t bm, bn;       /* tile: tx * rm, group / tx * rn */
    uint32_t parts, part8; /* as struct tuning_coop */
};

/* For TUNING_DOT and y[n, m] = x[n, k] wᵀ of n_rows rows of w, kp values long as stored. */
struct tuning_dot tuning_dot(const struct gpu *g, uint32_t n, uint32_t n_rows, uint32_t kp);

struct tuning_coop {
    uint32_t group, subgroups; /* invocations, and how many subgroups they are */
    uint32_t sgm;              /* of those, beside each other along w's rows; divides subgroups */
    uint32_t rm, rn;           /* matrices of a subgroup along w's rows and x's rows */
    uint32_t tm, tn, tk;       /* limits.coop */
    uint32_t bk8;              /* depth of a tile, in eights; 8 bk8 is a multiple of tk */
    uint32_t bm, bn;           /* tile: sgm rm tn, subgroups / sgm rn tm */
    uint32_t parts, part8;     /* among how many groups k is divided, and values of a part, in eights: a multiple of bk8 */
};

/* For TUNING_COOP and y[n, m] = x[n, k] wᵀ of n_rows rows of w, kp values long as stored. */
struct tuning_coop tuning_coop(const struct gpu *g, uint32_t n, uint32_t n_rows, uint32_t kp);

struct tuning_fragments {
    uint32_t group, subgroups, sgm, rm, rn, tm, tn, tk, bm, bn; /* as struct tuning_coop; bm 0: this way does not suit */
    uint32_t ahead;    /* steps of tk fetched ahead: so many more of each matrix are read than there are */
    uint32_t panel;    /* tiles of w's rows, next to each other while x's go by */
    uint32_t rows;     /* of w, whose fragments are there at one time: a multiple of bm panel unless that is too many */
    uint32_t pack_bk8; /* depth of a work-group that lays out fragments, in eights */
};

/* Bytes that the fragments of w take at most. */
uint64_t tuning_fragment_bytes(const struct gpu *g);

/* Rows of x up to which a product's k may be divided, and beyond which both matrices may be laid out as fragments. */
uint32_t tuning_few_rows(const struct gpu *g);

/* Bytes that the sums of a product of at most n rows of x and n_rows rows of w, at most kp values long as stored, take at most where k is divided. */
uint64_t tuning_parts_bytes(const struct gpu *g, uint32_t n, uint32_t n_rows, uint32_t kp);

/* For TUNING_COOP and y[n, m] = x[n, k] wᵀ of n_rows rows of w, kp values long as stored: whether by fragments of both, as many rows of x
 * are, and how. */
struct tuning_fragments tuning_fragments(const struct gpu *g, uint32_t n, uint32_t n_rows, uint32_t kp);

struct tuning_few {
    uint32_t group, subgroups;  /* as struct tuning_coop */
    uint32_t rm, rn;            /* matrices of a subgroup along w's rows; all of x's: 0: this way does not suit */
    uint32_t tm, tn, tk, sharing; /* limits.coop */
    bool placed;                /* limits.coop: finish_rows.comp can lay out x */
    uint32_t eights, sets;      /* of a row that an invocation takes in a turn, 2 or 4; places for turns, 1 or 2 */
    uint32_t bm;                /* rows of w of a group: subgroups rm tm */
    uint32_t parts, part8;      /* as struct tuning_coop */
    uint32_t pack_bk8;          /* as struct tuning_fragments */
};

/* For TUNING_COOP and few rows of x. */
struct tuning_few tuning_few(const struct gpu *g, uint32_t n, uint32_t n_rows, uint32_t kp);

struct tuning_attention {
    uint32_t group, tx; /* invocations, and how many of them beside each other along keys, at least 4 */
    uint32_t rq, rk;    /* rows and keys of an invocation */
    uint32_t c4, vk;    /* depth of a tile of queries and keys, in vectors of 4; keys of one of values, divides bk */
    uint32_t run;       /* of c4, as much as the code of the scores holds at once; divides it */
    uint32_t share;     /* heads with their keys in common that a group takes: divides bq */
    uint32_t bq, bk;    /* tile: group / tx * rq rows, each a token's of one head; tx * rk keys */
};

/* For heads of head_dim (1 … 256), sharing of them having the same keys. Does not depend on the batch, so that its neighbours change nothing. */
struct tuning_attention tuning_attention(const struct gpu *g, uint32_t head_dim, uint32_t sharing);

struct tuning_finish {
    uint32_t group;   /* invocations: a power of two */
    uint32_t vectors; /* of four values of each, so that a group has a row */
};

/* For rows of kp values. */
struct tuning_finish tuning_finish(const struct gpu *g, uint32_t kp);

struct tuning_attention_coop {
    uint32_t group, subgroups; /* invocations, and how many subgroups they are */
    uint32_t d8;               /* a head as packed, in eights */
    uint32_t bq, bk;           /* queries of a group, subgroups tm; keys of a tile, divides bq. bq 0: this way does not suit */
    uint32_t pass;             /* columns of scores that go through shared memory at once */
    uint32_t tm, tn, tk;       /* limits.coop */
    bool split;                /* queries as a sum of two f16 */
};

/* For heads of head_dim whose q, k and v may be taken as half. By cooperative matrices where products are, unless the padding would be
 * more than the head, shared memory is short, or subgroups do not shuffle. Does not depend on the batch. */
struct tuning_attention_coop tuning_attention_coop(const struct gpu *g, uint32_t head_dim);

/* Group size of kernels that give a whole group to a row of d values: a power of two. */
uint32_t tuning_row_group(const struct gpu *g, uint32_t d);

/* Group size of kernels that give an invocation to each element. */
uint32_t tuning_element_group(const struct gpu *g);

#endif
