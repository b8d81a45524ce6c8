/* The CPU's kernels besides the products of whole numbers, as one table per instruction set.
 *
 * Every row is computed in the same order of operations whatever rows surround it, so results do not depend
 * on how a batch is cut. All take any width; NaN and Inf come out as NaN or Inf.
 * Thread-safety: safe on different rows. */
#ifndef MODEL_OPS_CPU_KERNELS_H
#define MODEL_OPS_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/ops_cpu_float.h"

#define ATTENTION_KEYS 128   /* keys per step of the online softmax */
#define ATTENTION_LANES 32   /* most query rows of one tile */
#define ATTENTION_MAX_DIM 512 /* of a head */
#define ATTENTION_HALF_DIM 256 /* the same in attention_half_avx512 */
#define ATTENTION_SCRATCH (88u << 10) /* floats */

#define MIX_WAYS 8
#define MIX_LANES 16
#define MIX_BLOCK (MIX_WAYS * MIX_LANES)

/* Some query rows of one text, some heads */
struct cpu_attention {
    const float *qkv;      /* [rows, (n_heads + 2 n_kv_heads) head_dim] */
    float *y;              /* [rows, n_heads head_dim] */
    size_t first, last;    /* the text's rows */
    size_t begin, end;     /* the query rows to compute, within the text */
    uint32_t n_heads, n_kv_heads, head_dim;
    uint32_t first_head, end_head; /* of the query's: those to compute */
    bool causal;
    float scale;
    size_t window; /* 0: none */
    float cap;     /* of the scores; 0: none */
    float *scratch; /* ATTENTION_SCRATCH floats, 64-byte aligned */
};

/* What becomes of a tile of a matrix product: columns col … col + n_cols - 1 of y */
struct cpu_tile {
    const void *sums;        /* [n_rows, n_cols]: int32 for an int8 product, float for an f32 one */
    size_t n_rows, n_cols;
    const float *row_scale;  /* n_rows; int8 only */
    const float *col_scale;  /* n_cols; int8 only */
    const int32_t *col_bias; /* n_cols, taken off the sums: 128 times the column's sum; int8 only */
    const float *bias;       /* n_cols, or NULL */
    const float *residual;   /* first value of the tile, or NULL; may be y */
    size_t ld_residual, ld;
    float *y;
};

/* Ops from two halves a, b of a row to one */
enum cpu_gate {
    GATE_NONE,
    GATE_SWIGLU,     /* silu(a) b */
    GATE_GEGLU,      /* a gelu(b) */
    GATE_GEGLU_TANH, /* gelu(a) b, the tanh form */
};

typedef void cpu_attention_fn(const struct cpu_attention *a);

struct cpu_kernels {
    const char *name;
    void (*row_q8_0)(const void *blocks, size_t n, float *y); /* n a multiple of 32 */
    void (*row_q4_k)(const void *blocks, size_t n, float *y); /* n a multiple of 256 */
    void (*row_f16)(const void *x, size_t n, float *y);
    float_multiply *multiply_float;
    void (*rms_norm)(const float *x, const float *g, float eps, size_t n, size_t d, float *y);
    void (*rms_norm_add)(const float *x, const float *g, float eps, size_t n, size_t d, float *y);
    void (*scale)(float *x, float s, size_t n);
    void (*layer_norm)(const float *x, const float *g, const float *b, float eps, size_t n, size_t d, float *y);
    /* x[n, k] → q = z / scale + 128 with z = mixed x, scale = largest |z| of the row / 127, NaN when the row holds NaN or Inf.
     * Mixed: in each whole block of MIX_BLOCK values, the MIX_WAYS that lie MIX_LANES apart are replaced by their
     * Walsh-Hadamard transform, divided by MIX_WAYS. An outlier's size is shared out, so that the others keep more of
     * their bits; the products with weights transformed likewise, undivided, are those of before. */
    void (*quantise)(const float *x, size_t n, size_t k, uint8_t *q, float *scale);
    /* The other side: mixes w[k] in place, undivided, and rounds it to q = w / scale. Returns scale, the largest |w| / 127, NaN where w
     * holds NaN or Inf. sum: of q. */
    float (*quantise_weights)(float *w, size_t k, int8_t *q, int32_t *sum);
    void (*finish_int8)(const struct cpu_tile *t);
    void (*finish_f32)(const struct cpu_tile *t);
    /* Two int8 tiles of one shape, no residual, into a.y: what the gate makes of them */
    void (*finish_gate)(const struct cpu_tile *a, const struct cpu_tile *b, enum cpu_gate gate);
    /* One row: rotates n_heads heads; cosines and sines of the row's position, dim/2 each */
    void (*rope)(float *x, size_t n_heads, size_t dim, const float *cosines, const float *sines);
    cpu_attention_fn *attention;
    void (*swiglu)(const float *x, size_t n, size_t f, float *y);
    void (*geglu)(const float *x, size_t n, size_t f, float *y);
    void (*geglu_tanh)(const float *x, size_t n, size_t f, float *y);
    void (*softmax)(float *x, size_t n, size_t r); /* n runs of r */
    void (*mean_rows)(const float *x, size_t n, size_t d, float *y);
    void (*l2_normalize)(float *x, size_t n, size_t d);
};

extern const struct cpu_kernels cpu_kernels_c;
#if defined(__x86_64__)
extern const struct cpu_kernels cpu_kernels_avx2, cpu_kernels_avx512;
#endif

/* The best table for this CPU and LATENTD_CPU_MASK */
const struct cpu_kernels *cpu_kernels_choose(void);

#if defined(__x86_64__)
/* Attention with q, k, v and the weights of the sum rounded to bf16, heads of at most ATTENTION_HALF_DIM, scale > 0. CPU_AVX512_BF16. */
cpu_attention_fn attention_half_avx512;
#endif
#define ATTENTION_HALF_ROUNDING 0x1p-9

#endif
