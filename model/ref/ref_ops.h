/* The operations of model/ops.h in plain C: what every device is checked against.
 *
 * f32 arrays in and out, double in between, nothing clever. Matrices are row-major; weights are [m, k] floats.
 * Rows, shapes and rules are those of struct ops_vtbl; unless said otherwise y may be x.
 * Thread-safety: safe. */
#ifndef MODEL_REF_REF_OPS_H
#define MODEL_REF_REF_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/ops.h"

/* y[n, d] = table[ids] */
void ref_embed_rows(const int32_t *ids, uint32_t n, const float *table, size_t d, float *y);
void ref_rms_norm(const float *x, const float *g, float eps, uint32_t n, size_t d, float *y);
/* y += …; y is not x */
void ref_rms_norm_add(const float *x, const float *g, float eps, uint32_t n, size_t d, float *y);
void ref_scale(float *x, float s, uint32_t n, size_t d);
/* g and b may be NULL */
void ref_layer_norm(const float *x, const float *g, const float *b, float eps, uint32_t n, size_t d, float *y);
/* y[n, m] = x[n, k] wᵀ + bias + residual; bias and residual may be NULL; residual may be y, x may not */
void ref_matmul(const float *x, const float *w, const float *bias, const float *residual, uint32_t n, size_t m,
                size_t k, float *y);
/* seq_offset: n_seqs + 1 row offsets; angles are f32 products of position and inv_freq[head_dim / 2] */
void ref_rope(float *qkv, const uint32_t *seq_offset, uint32_t n_seqs, const float *inv_freq,
              const struct ops_attention *a);
void ref_qk_norm(float *qkv, const float *gq, const float *gk, float eps, uint32_t n, const struct ops_attention *a);
/* y is not qkv. Returns false when scratch memory for the longest text is not to be had. */
bool ref_attention(const float *qkv, const uint32_t *seq_offset, uint32_t n_seqs, const struct ops_attention *a,
                   float *y);
void ref_swiglu(const float *x, uint32_t n, size_t f, float *y); /* y is not x */
void ref_geglu(const float *x, uint32_t n, size_t f, float *y);  /* y is not x */
void ref_geglu_tanh(const float *x, uint32_t n, size_t f, float *y); /* y is not x */
void ref_softmax_groups(float *x, uint32_t n, uint32_t groups, uint32_t r);
/* y is not x in these three; pooled rows are packed end to end, text s has seq length - pool_skip[s] of them */
void ref_gather_pooled(const float *x, const uint32_t *seq_offset, const uint32_t *pool_skip, uint32_t n_seqs,
                       size_t d, float *y);
void ref_mean_pool(const float *x, const uint32_t *seq_offset, const uint32_t *pool_skip, uint32_t n_seqs, size_t d,
                   float *y);
void ref_pick_pooled(const float *x, const uint32_t *seq_offset, const uint32_t *pool_skip, uint32_t n_seqs,
                     bool last, size_t d, float *y);
void ref_l2_normalize(float *x, uint32_t n, size_t d);

#endif
