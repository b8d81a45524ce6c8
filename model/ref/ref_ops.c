#include "model/ref/ref_ops.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void ref_embed_rows(const int32_t *ids, uint32_t n, const float *table, size_t d, float *y)
{
    for (size_t t = 0; t < n; t++)
        memcpy(y + t * d, table + (size_t)ids[t] * d, d * sizeof *y);
}

void ref_rms_norm(const float *x, const float *g, float eps, uint32_t n, size_t d, float *y)
{
    for (size_t t = 0; t < n; t++, x += d, y += d) {
        double sum = 0;
        for (size_t i = 0; i < d; i++)
            sum += (double)x[i] * x[i];
        double scale = 1 / sqrt(sum / (double)d + eps);
        for (size_t i = 0; i < d; i++)
            y[i] = (float)(x[i] * scale * g[i]);
    }
}

void ref_rms_norm_add(const float *x, const float *g, float eps, uint32_t n, size_t d, float *y)
{
    for (size_t t = 0; t < n; t++, x += d, y += d) {
        double sum = 0;
        for (size_t i = 0; i < d; i++)
            sum += (double)x[i] * x[i];
        double scale = 1 / sqrt(sum / (double)d + eps);
        for (size_t i = 0; i < d; i++)
            y[i] = (float)(y[i] + x[i] * scale * g[i]);
    }
}

void ref_scale(float *x, float s, uint32_t n, size_t d)
{
    for (size_t i = 0; i < n * d; i++)
        x[i] = (float)((double)x[i] * s);
}

void ref_qk_norm(float *qkv, const float *gq, const float *gk, float eps, uint32_t n, const struct ops_attention *a)
{
    const uint32_t d = a->head_dim, heads = a->n_heads + 2 * a->n_kv_heads;
    for (size_t t = 0; t < n; t++)
        for (uint32_t h = 0; h < a->n_heads + a->n_kv_heads; h++) {
            float *x = qkv + (t * heads + h) * d;
            ref_rms_norm(x, h < a->n_heads ? gq : gk, eps, 1, d, x);
        }
}

void ref_layer_norm(const float *x, const float *g, const float *b, float eps, uint32_t n, size_t d, float *y)
{
    for (size_t t = 0; t < n; t++, x += d, y += d) {
        double mean = 0, var = 0;
        for (size_t i = 0; i < d; i++)
            mean += x[i];
        mean /= (double)d;
        for (size_t i = 0; i < d; i++)
            var += (x[i] - mean) * (x[i] - mean);
        double scale = 1 / sqrt(var / (double)d + eps);
        for (size_t i = 0; i < d; i++)
            y[i] = (float)((x[i] - mean) * scale * (g ? g[i] : 1) + (b ? b[i] : 0));
    }
}

void ref_matmul(const float *x, const float *w, const float *bias, const float *residual, uint32_t n, size_t m,
                size_t k, float *y)
{
    enum { SIDE = 8 }; /* sums side by side: each in its own order, and none waits for another's addition */
    for (size_t t = 0; t < n; t++) {
        for (size_t at = 0; at < m; at += SIDE) {
            const size_t some = m - at < SIDE ? m - at : SIDE;
            double sum[SIDE];
            for (size_t o = 0; o < SIDE; o++)
                sum[o] = bias && o < some ? bias[at + o] : 0;
            for (size_t i = 0; i < k; i++)
                for (size_t o = 0; o < SIDE; o++) /* beyond m the last again, which nobody reads */
                    sum[o] += (double)x[t * k + i] * w[(at + (o < some ? o : some - 1)) * k + i];
            for (size_t o = 0; o < some; o++)
                y[t * m + at + o] = (float)(sum[o] + (residual ? residual[t * m + at + o] : 0));
        }
    }
}

void ref_rope(float *qkv, const uint32_t *seq_offset, uint32_t n_seqs, const float *inv_freq,
              const struct ops_attention *a)
{
    const uint32_t d = a->head_dim, half = d / 2, n_rotated = a->n_heads + a->n_kv_heads;
    const size_t cols = (size_t)(a->n_heads + 2 * a->n_kv_heads) * d;
    for (uint32_t s = 0; s < n_seqs; s++) {
        for (uint32_t t = seq_offset[s]; t < seq_offset[s + 1]; t++) {
            for (uint32_t i = 0; i < half; i++) {
                float angle = (float)(t - seq_offset[s]) * inv_freq[i];
                double c = cos((double)angle), sn = sin((double)angle);
                for (uint32_t h = 0; h < n_rotated; h++) {
                    float *v = qkv + t * cols + (size_t)h * d;
                    double lo = v[i], hi = v[i + half];
                    v[i] = (float)(lo * c - hi * sn);
                    v[i + half] = (float)(hi * c + lo * sn);
                }
            }
        }
    }
}

/* One query head at row t against rows first … end-1; p is scratch for end - first values. */
static void attend(const float *qkv, size_t cols, uint32_t t, uint32_t first, uint32_t end, uint32_t head,
                   const struct ops_attention *a, double *p, float *y)
{
    const uint32_t d = a->head_dim, kv = head / (a->n_heads / a->n_kv_heads);
    const float *q = qkv + t * cols + (size_t)head * d;
    const float *k = qkv + (size_t)(a->n_heads + kv) * d;
    const float *v = qkv + (size_t)(a->n_heads + a->n_kv_heads + kv) * d;
    double max = -INFINITY, sum = 0;
    for (uint32_t j = first; j < end; j++) {
        double dot = 0;
        for (uint32_t i = 0; i < d; i++)
            dot += (double)q[i] * k[j * cols + i];
        p[j - first] = dot * a->scale;
        if (a->cap > 0)
            p[j - first] = a->cap * tanh(p[j - first] / a->cap);
        max = fmax(max, p[j - first]);
    }
    for (uint32_t j = first; j < end; j++)
        sum += p[j - first] = exp(p[j - first] - max);
    for (uint32_t i = 0; i < d; i++) {
        double o = 0;
        for (uint32_t j = first; j < end; j++)
            o += p[j - first] * v[j * cols + i];
        y[i] = (float)(o / sum);
    }
}

bool ref_attention(const float *qkv, const uint32_t *seq_offset, uint32_t n_seqs, const struct ops_attention *a,
                   float *y)
{
    const size_t cols = (size_t)(a->n_heads + 2 * a->n_kv_heads) * a->head_dim;
    uint32_t longest = 0;
    for (uint32_t s = 0; s < n_seqs; s++)
        if (seq_offset[s + 1] - seq_offset[s] > longest)
            longest = seq_offset[s + 1] - seq_offset[s];
    double *p = calloc(longest ? longest : 1, sizeof *p);
    if (!p)
        return false;
    for (uint32_t s = 0; s < n_seqs; s++)
        for (uint32_t t = seq_offset[s]; t < seq_offset[s + 1]; t++) {
            uint32_t first = seq_offset[s], end = a->causal ? t + 1 : seq_offset[s + 1];
            if (a->window && t - first >= a->window)
                first = t - a->window + 1;
            if (a->window && end - t > a->window)
                end = t + a->window;
            for (uint32_t h = 0; h < a->n_heads; h++)
                attend(qkv, cols, t, first, end, h, a, p, y + ((size_t)t * a->n_heads + h) * a->head_dim);
        }
    free(p);
    return true;
}

void ref_swiglu(const float *x, uint32_t n, size_t f, float *y)
{
    for (size_t t = 0; t < n; t++, x += 2 * f, y += f)
        for (size_t i = 0; i < f; i++)
            y[i] = (float)(x[i] / (1 + exp(-(double)x[i])) * x[f + i]);
}

void ref_geglu(const float *x, uint32_t n, size_t f, float *y)
{
    for (size_t t = 0; t < n; t++, x += 2 * f, y += f)
        for (size_t i = 0; i < f; i++)
            y[i] = (float)(x[i] * (0.5 * x[f + i] * (1 + erf(x[f + i] * 0.70710678118654752440))));
}

void ref_geglu_tanh(const float *x, uint32_t n, size_t f, float *y)
{
    for (size_t t = 0; t < n; t++, x += 2 * f, y += f)
        for (size_t i = 0; i < f; i++) {
            double a = x[i], u = 0.79788456080286535588 * (a + 0.044715 * a * a * a); /* sqrt(2 / pi) */
            y[i] = (float)(0.5 * a * (1 + tanh(u)) * x[f + i]);
        }
}

void ref_softmax_groups(float *x, uint32_t n, uint32_t groups, uint32_t r)
{
    for (size_t g = 0; g < (size_t)n * groups; g++, x += r) {
        double max = -INFINITY, sum = 0;
        for (uint32_t i = 0; i < r; i++)
            max = fmax(max, x[i]);
        for (uint32_t i = 0; i < r; i++)
            sum += exp(x[i] - max);
        for (uint32_t i = 0; i < r; i++)
            x[i] = (float)(exp(x[i] - max) / sum);
    }
}

void ref_gather_pooled(const float *x, const uint32_t *seq_offset, const uint32_t *pool_skip, uint32_t n_seqs,
                       size_t d, float *y)
{
    for (uint32_t s = 0; s < n_seqs; s++) {
        uint32_t first = seq_offset[s] + pool_skip[s], n = seq_offset[s + 1] - first;
        memcpy(y, x + first * d, n * d * sizeof *y);
        y += n * d;
    }
}

void ref_mean_pool(const float *x, const uint32_t *seq_offset, const uint32_t *pool_skip, uint32_t n_seqs, size_t d,
                   float *y)
{
    for (uint32_t s = 0; s < n_seqs; s++, y += d) {
        uint32_t n = seq_offset[s + 1] - seq_offset[s] - pool_skip[s];
        for (size_t i = 0; i < d; i++) {
            double sum = 0;
            for (uint32_t t = 0; t < n; t++)
                sum += x[t * d + i];
            y[i] = (float)(sum / n);
        }
        x += n * d;
    }
}

void ref_pick_pooled(const float *x, const uint32_t *seq_offset, const uint32_t *pool_skip, uint32_t n_seqs,
                     bool last, size_t d, float *y)
{
    for (uint32_t s = 0; s < n_seqs; s++, y += d) {
        uint32_t n = seq_offset[s + 1] - seq_offset[s] - pool_skip[s];
        memcpy(y, x + (last ? (n - 1) * d : 0), d * sizeof *y);
        x += n * d;
    }
}

void ref_l2_normalize(float *x, uint32_t n, size_t d)
{
    for (size_t t = 0; t < n; t++, x += d) {
        double sum = 0;
        for (size_t i = 0; i < d; i++)
            sum += (double)x[i] * x[i];
        double norm = fmax(sqrt(sum), 1e-12);
        for (size_t i = 0; i < d; i++)
            x[i] = (float)(x[i] / norm);
    }
}
