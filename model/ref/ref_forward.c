/* Written to be read beside the architecture's description, so every step is the plain one: latent keys and values
 * from their projections, every token through every linear layer, the mean at the very end. Weights are dequantised a row
 * at a time; a row then meets all tokens, so that a large model is read once. */
#include "model/ref/ref_forward.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/arch.h"

/* Bytes of weights that are let go of after use, so that a model larger than memory can be computed. */
#define LARGE_TENSOR (1u << 20)

struct forward {
    const struct model *m;
    const struct model_info *info;
    const struct engine_seq *seqs;
    size_t n_seqs, n; /* texts; tokens of all */
    const struct ref_probe *probe;
    double *x, *norm, *qkv, *mix, *wide, *act; /* [n, …] each; see prepare */
    double *latent, *latent_norm, *latent_kv;  /* [r, d], [r, d], [r, 2 H E] */
    double *pooled, *pooled_tmp; /* widest of hidden and dense layers */
    double *scores; /* longest text or number of latents */
    float *row;     /* one weight row */
    size_t row_cap;
    bool failed;  /* out of memory */
    bool stopped; /* by the caller */
};

static const struct tensor *weight(const struct forward *f, const char *name)
{
    return model_tensor(f->m, name); /* the model's own check saw that it is there */
}

static const struct tensor *layer_weight(const struct forward *f, uint32_t layer, const char *part)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%u.%s.weight", layer, part);
    return weight(f, name);
}

/* NULL where the family has none. */
static const struct tensor *layer_bias(const struct forward *f, uint32_t layer, const char *part)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%u.%s.bias", layer, part);
    return f->info->qkv_bias ? weight(f, name) : NULL;
}

static void probe(const struct forward *f, const char *stage, const double *x, size_t n_rows, size_t cols)
{
    if (f->probe && f->probe->fn)
        f->probe->fn(f->probe->arg, stage, x, n_rows, cols);
}

static float *dequantised(struct forward *f, const struct tensor *t, uint64_t row)
{
    if (t->cols > f->row_cap) {
        free(f->row);
        f->row = malloc(t->cols * sizeof *f->row);
        f->row_cap = f->row ? t->cols : 0;
        if (!f->row) {
            f->failed = true;
            return NULL;
        }
    }
    tensor_row_f32(t, row, f->row);
    return f->row;
}

static double dot(const double *x, const float *w, size_t n)
{
    double s[4] = {0};
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (size_t j = 0; j < 4; j++)
            s[j] += x[i + j] * w[i + j];
    for (; i < n; i++)
        s[0] += x[i] * w[i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

/* A linear layer, its rows shared out among threads: each is one sum, so their number changes nothing. */
struct linear {
    struct forward *f;
    const struct tensor *w, *bias;
    const double *x;
    size_t n;
    double *y;
    size_t stride;
    bool add, reorder;
    atomic_uint_fast64_t next; /* run of rows */
    atomic_bool failed;
};

#define ROWS_AT_ONCE 16
#define THREAD_WORK (1u << 24) /* products below which threads are not worth starting */
#define MAX_THREADS 64

static void *linear_work(void *arg)
{
    struct linear *l = arg;
    const struct tensor *w = l->w;
    float *row = malloc(w->cols * sizeof *row);
    if (!row)
        atomic_store(&l->failed, true);
    for (uint64_t first; row && (first = atomic_fetch_add(&l->next, 1) * ROWS_AT_ONCE) < w->rows;) {
        const uint64_t end = w->rows - first < ROWS_AT_ONCE ? w->rows : first + ROWS_AT_ONCE;
        for (uint64_t o = first; o < end; o++) {
            const uint64_t at = l->reorder ? arch_rope_row(l->f->info, o) : o;
            float b = 0;
            if (l->bias)
                memcpy(&b, (const uint8_t *)l->bias->data + 4 * at, 4);
            tensor_row_f32(w, at, row);
            for (size_t t = 0; t < l->n; t++) {
                double *y = &l->y[t * l->stride + o];
                *y = (l->add ? *y : 0) + (dot(l->x + t * w->cols, row, w->cols) + b);
            }
        }
    }
    free(row);
    return NULL;
}

/* y[t, at … at+rows-1] (+)= x[t, cols] wᵀ + bias, rows of y being `stride` apart; `reorder` undoes the file's order of a
 * query or key projection's rows. */
static void linear_rows(struct forward *f, const struct tensor *w, const struct tensor *bias, const double *x, size_t n,
                        double *y, size_t stride, bool add, bool reorder)
{
    struct linear l = {.f = f, .w = w, .bias = bias, .x = x, .n = n, .y = y, .stride = stride, .add = add, .reorder = reorder};
    pthread_t thread[MAX_THREADS];
    int started = 0, most = 1;
    cpu_set_t set;
    if (f->failed)
        return;
    if ((double)w->rows * (double)w->cols * (double)n >= THREAD_WORK && sched_getaffinity(0, sizeof set, &set) == 0)
        most = CPU_COUNT(&set);
    while (started + 1 < most && started < MAX_THREADS && !pthread_create(&thread[started], NULL, linear_work, &l))
        started++;
    linear_work(&l);
    while (started)
        pthread_join(thread[--started], NULL);
    f->failed = atomic_load(&l.failed);
    if (w->len_bytes > LARGE_TENSOR)
        model_release(f->m, w);
}

static void linear(struct forward *f, const struct tensor *w, const struct tensor *bias, const double *x, size_t n,
                   double *y, size_t stride, bool add)
{
    linear_rows(f, w, bias, x, n, y, stride, add, false);
}

/* y[t, d] (+)= the family's norm of x[t, d] for n rows, `stride` apart in x and y: RMSNorm, or of what the row's mean is taken off */
static void norm_rows(struct forward *f, const struct tensor *g, const double *x, size_t n, size_t stride, double *y,
                          bool add)
{
    const size_t d = g->cols;
    const float *gain = dequantised(f, g, 0);
    for (size_t t = 0; gain && t < n; t++, x += stride, y += stride) {
        double mean = 0, sum = 0;
        for (size_t i = 0; f->info->layer_norm && i < d; i++)
            mean += x[i] / (double)d;
        for (size_t i = 0; i < d; i++)
            sum += (x[i] - mean) * (x[i] - mean);
        for (size_t i = 0; i < d; i++)
            y[i] = (add ? y[i] : 0) + (x[i] - mean) / sqrt(sum / (double)d + f->info->norm_eps) * gain[i];
    }
}

static void norm(struct forward *f, const struct tensor *g, const double *x, double *y)
{
    norm_rows(f, g, x, f->n, f->info->hidden, y, false);
}

static void layer_norm(struct forward *f, const char *name, const double *x, size_t n, double *y)
{
    const size_t d = f->info->hidden;
    char full[64];
    for (int part = 0; part < 2; part++) { /* standardise and scale, then shift */
        snprintf(full, sizeof full, "%s.%s", name, part ? "bias" : "weight");
        const float *v = dequantised(f, weight(f, full), 0);
        for (size_t t = 0; v && t < n; t++) {
            const double *in = x + t * d;
            double *out = y + t * d, mean = 0, var = 0;
            for (size_t i = 0; part == 0 && i < d; i++)
                mean += in[i] / (double)d;
            for (size_t i = 0; part == 0 && i < d; i++)
                var += (in[i] - mean) * (in[i] - mean) / (double)d;
            for (size_t i = 0; i < d; i++)
                out[i] = part ? out[i] + v[i] : (in[i] - mean) / sqrt(var + f->info->layer_norm_eps) * v[i];
        }
    }
}

static void rope(struct forward *f, bool local, double *head, size_t pos)
{
    const uint32_t half = f->info->head_dim / 2;
    for (uint32_t i = 0; i < half; i++) {
        double angle = (double)pos * arch_rope_freq(f->info, local, i);
        if (f->info->rope_factors)
            angle /= ((const float *)weight(f, "rope_freqs.weight")->data)[i];
        double lo = head[i], hi = head[i + half];
        head[i] = lo * cos(angle) - hi * sin(angle);
        head[i + half] = hi * cos(angle) + lo * sin(angle);
    }
}

/* out[e] = softmax(scale q·k) v over n_keys rows that are `stride` apart; cap: of the scores, 0 for none */
static void attend(const struct forward *f, const double *q, const double *k, const double *v, size_t n_keys,
                   size_t stride, size_t e, double scale, double cap, double *out)
{
    double max = -INFINITY, sum = 0, *p = f->scores;
    for (size_t j = 0; j < n_keys; j++) {
        p[j] = 0;
        for (size_t i = 0; i < e; i++)
            p[j] += q[i] * k[j * stride + i];
        p[j] *= scale;
        if (cap > 0)
            p[j] = cap * tanh(p[j] / cap);
        max = fmax(max, p[j]);
    }
    for (size_t j = 0; j < n_keys; j++)
        sum += p[j] = exp(p[j] - max);
    for (size_t i = 0; i < e; i++) {
        out[i] = 0;
        for (size_t j = 0; j < n_keys; j++)
            out[i] += p[j] / sum * v[j * stride + i];
    }
}

/* The stream += the projection of x, normed first where the family does. */
static void add_to_stream(struct forward *f, uint32_t layer, const char *projection, const char *norm, const double *x)
{
    const size_t d = f->info->hidden;
    if (!f->info->post_norms) {
        linear(f, layer_weight(f, layer, projection), NULL, x, f->n, f->x, d, true);
        return;
    }
    linear(f, layer_weight(f, layer, projection), NULL, x, f->n, f->norm, d, false);
    norm_rows(f, layer_weight(f, layer, norm), f->norm, f->n, d, f->x, true);
}

static void self_attention(struct forward *f, uint32_t layer)
{
    const struct model_info *i = f->info;
    const size_t e = i->head_dim, q = i->n_heads * e, kv = i->n_kv_heads * e, cols = q + 2 * kv;
    const bool local = arch_layer_is_local(i, layer);
    const double scale = arch_attention_scale(i, local);
    linear_rows(f, layer_weight(f, layer, "attn_q"), layer_bias(f, layer, "attn_q"), f->norm, f->n, f->qkv, cols, false, true);
    linear_rows(f, layer_weight(f, layer, "attn_k"), layer_bias(f, layer, "attn_k"), f->norm, f->n, f->qkv + q, cols, false,
                true);
    linear(f, layer_weight(f, layer, "attn_v"), layer_bias(f, layer, "attn_v"), f->norm, f->n, f->qkv + q + kv, cols, false);
    for (uint32_t h = 0; i->qk_norm && h < i->n_heads + i->n_kv_heads; h++)
        norm_rows(f, layer_weight(f, layer, h < i->n_heads ? "attn_q_norm" : "attn_k_norm"), f->qkv + h * e, f->n, cols,
                      f->qkv + h * e, false);
    for (size_t s = 0, first = 0; s < f->n_seqs; first += f->seqs[s++].n) {
        const size_t n = f->seqs[s].n;
        double *base = f->qkv + first * cols;
        for (size_t t = 0; t < n; t++)
            for (uint32_t h = 0; h < i->n_heads + i->n_kv_heads; h++)
                rope(f, local, base + t * cols + h * e, t);
        for (size_t t = 0; t < n; t++)
            for (uint32_t h = 0; h < i->n_heads; h++) {
                uint32_t group = h / (i->n_heads / i->n_kv_heads);
                size_t begin = local && t + 1 > i->window ? t + 1 - i->window : 0, end = i->causal ? t + 1 : n;
                if (local && end > t + i->window)
                    end = t + i->window;
                attend(f, base + t * cols + h * e, base + begin * cols + q + group * e,
                       base + begin * cols + q + kv + group * e, end - begin, cols, e, scale,
                       (double)i->attention_cap, f->mix + (first + t) * q + h * e);
            }
    }
    add_to_stream(f, layer, "attn_output", "post_attention_norm", f->mix);
}

static double activation(enum model_gate gate, double x)
{
    switch (gate) {
    case MODEL_GATE_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case MODEL_GATE_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    default:
        return x / (1 + exp(-x));
    }
}

static void feed_forward(struct forward *f, uint32_t layer)
{
    const size_t w = f->info->ffn;
    linear(f, layer_weight(f, layer, "ffn_gate"), NULL, f->norm, f->n, f->wide, 2 * w, false);
    linear(f, layer_weight(f, layer, "ffn_up"), NULL, f->norm, f->n, f->wide + w, 2 * w, false);
    for (size_t t = 0; t < f->n; t++)
        for (size_t j = 0; j < w; j++) {
            f->act[t * w + j] = activation(f->info->gate, f->wide[t * 2 * w + j]) * f->wide[t * 2 * w + w + j];
        }
    add_to_stream(f, layer, "ffn_down", "post_ffw_norm", f->act);
}

static void decoder(struct forward *f)
{
    const size_t d = f->info->hidden;
    size_t t = 0;
    for (size_t s = 0; s < f->n_seqs; s++)
        for (uint32_t j = 0; j < f->seqs[s].n; j++, t++) {
            const float *row = dequantised(f, weight(f, "token_embd.weight"), (uint64_t)f->seqs[s].ids[j]);
            for (size_t i = 0; row && i < d; i++)
                f->x[t * d + i] = f->info->embed_scale > 0 ? (double)row[i] * f->info->embed_scale : row[i];
        }
    if (f->info->layer_norm)
        norm(f, weight(f, "token_embd_norm.weight"), f->x, f->x);
    probe(f, "embed", f->x, f->n, d);
    for (uint32_t layer = 0; layer < f->info->n_layers && !f->failed; layer++) {
        char stage[24];
        if (layer || !f->info->bare_first)
            norm(f, layer_weight(f, layer, "attn_norm"), f->x, f->norm);
        else
            memcpy(f->norm, f->x, f->n * d * sizeof *f->x);
        self_attention(f, layer);
        norm(f, layer_weight(f, layer, "ffn_norm"), f->x, f->norm);
        feed_forward(f, layer);
        snprintf(stage, sizeof stage, "layer%u", layer);
        probe(f, stage, f->x, f->n, d);
        if (f->probe && f->probe->stop && *f->probe->stop) {
            f->stopped = true;
            return;
        }
        if (f->probe && f->probe->progress)
            f->probe->progress(f->probe->arg, (layer + 1.0) / (f->info->n_layers + 1.0));
    }
    norm(f, weight(f, "output_norm.weight"), f->x, f->x);
    probe(f, "hidden", f->x, f->n, d);
}

static void latent_attention(struct forward *f)
{
    const struct model_info *i = f->info;
    const size_t d = i->hidden, e = i->latent_head_dim, inner = i->n_latent_heads * e, w = i->latent_ffn;
    for (uint32_t l = 0; l < i->n_latents; l++) {
        const float *row = dequantised(f, weight(f, "pooler.latents.weight"), l);
        for (size_t j = 0; row && j < d; j++)
            f->latent[l * d + j] = row[j];
    }
    layer_norm(f, "pooler.context_norm", f->latent, i->n_latents, f->latent_norm);
    linear(f, weight(f, "pooler.attn_kv.weight"), NULL, f->latent_norm, i->n_latents, f->latent_kv, 2 * inner, false);
    layer_norm(f, "pooler.attn_norm", f->x, f->n, f->norm);
    linear(f, weight(f, "pooler.attn_q.weight"), NULL, f->norm, f->n, f->qkv, inner, false);
    for (size_t t = 0; t < f->n; t++)
        for (uint32_t h = 0; h < i->n_latent_heads; h++)
            attend(f, f->qkv + t * inner + h * e, f->latent_kv + h * e, f->latent_kv + inner + h * e, i->n_latents,
                   2 * inner, e, 1 / sqrt((double)e), 0, f->mix + t * inner + h * e);
    linear(f, weight(f, "pooler.attn_output.weight"), NULL, f->mix, f->n, f->x, d, true);
    probe(f, "cross", f->x, f->n, d);
    layer_norm(f, "pooler.ffn_norm", f->x, f->n, f->norm);
    linear(f, weight(f, "pooler.ffn_up.weight"), weight(f, "pooler.ffn_up.bias"), f->norm, f->n, f->wide, 2 * w, false);
    for (size_t t = 0; t < f->n; t++)
        for (size_t j = 0; j < w; j++) {
            double gate = f->wide[t * 2 * w + w + j];
            f->act[t * w + j] = f->wide[t * 2 * w + j] * 0.5 * gate * (1 + erf(gate / sqrt(2)));
        }
    linear(f, weight(f, "pooler.ffn_down.weight"), weight(f, "pooler.ffn_down.bias"), f->act, f->n, f->x, d, true);
    probe(f, "ffn", f->x, f->n, d);
}

/* The dense layers on one pooled vector, in place. v has room for every width, tmp too. */
static void dense(struct forward *f, double *v, double *tmp)
{
    size_t d = f->info->hidden;
    for (int k = 0; k < 2; k++) {
        if (!f->info->dense[k])
            continue;
        memcpy(tmp, v, d * sizeof *v);
        d = f->info->dense[k];
        linear(f, weight(f, k ? "dense_3.weight" : "dense_2.weight"), NULL, tmp, 1, v, d, false);
    }
}

static int pool(struct forward *f, double *result, struct err_msg *em)
{
    const size_t d = f->info->hidden, dim = model_golden_dim(f->info);
    const double *x = f->x;
    double *out = f->pooled;
    for (size_t s = 0; s < f->n_seqs; x += f->seqs[s++].n * d, result += dim) {
        size_t first = f->seqs[s].n_skip, end = f->seqs[s].n;
        if (f->info->pooling == MODEL_POOL_LAST)
            first = end - 1;
        if (f->info->pooling == MODEL_POOL_CLS)
            end = first + 1;
        double sum = 0;
        for (size_t i = 0; i < d; i++) {
            out[i] = 0;
            for (size_t t = first; t < end; t++)
                out[i] += x[t * d + i] / (double)(end - first);
        }
        dense(f, out, f->pooled_tmp);
        for (size_t i = 0; i < dim; i++)
            sum += out[i] * out[i];
        if (!(sum > 0) || !isfinite(sum))
            return err_set(em, LT_ENAN, "sequence %zu: the vector's length is %g", s, sqrt(sum));
        for (size_t i = 0; i < dim; i++)
            result[i] = out[i] / sqrt(sum);
    }
    return 0;
}

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

static bool prepare(struct forward *f)
{
    const struct model_info *i = f->info;
    const size_t d = i->hidden, heads = (size_t)i->n_heads * i->head_dim,
                 cols = heads + 2 * (size_t)i->n_kv_heads * i->head_dim,
                 inner = (size_t)i->n_latent_heads * i->latent_head_dim, ffn = max_size(i->ffn, i->latent_ffn);
    size_t longest = i->n_latents;
    for (size_t s = 0; s < f->n_seqs; s++) {
        f->n += f->seqs[s].n;
        longest = max_size(longest, f->seqs[s].n);
    }
    f->x = calloc(f->n * d, sizeof(double));
    f->norm = calloc(f->n * d, sizeof(double));
    f->qkv = calloc(f->n * max_size(cols, inner), sizeof(double));
    f->mix = calloc(f->n * max_size(heads, inner), sizeof(double));
    f->wide = calloc(f->n * 2 * ffn, sizeof(double));
    f->act = calloc(f->n * ffn, sizeof(double));
    f->scores = calloc(longest, sizeof(double));
    f->latent = calloc(i->n_latents * d + 1, sizeof(double));
    f->latent_norm = calloc(i->n_latents * d + 1, sizeof(double));
    f->latent_kv = calloc(i->n_latents * 2 * inner + 1, sizeof(double));
    const size_t widest = max_size(d, max_size(i->dense[0], i->dense[1]));
    f->pooled = calloc(widest, sizeof(double));
    f->pooled_tmp = calloc(widest, sizeof(double));
    return f->pooled && f->pooled_tmp && f->x && f->norm && f->qkv && f->mix && f->wide && f->act && f->scores && f->latent && f->latent_norm &&
           f->latent_kv;
}

int ref_forward(const struct model *m, const struct engine_seq *seqs, size_t n_seqs, const struct ref_probe *p,
                double *out, struct err_msg *em)
{
    struct forward f = {.m = m, .info = model_info(m), .seqs = seqs, .n_seqs = n_seqs, .probe = p};
    int r = 0;
    f.failed = !prepare(&f);
    if (!f.failed) {
        decoder(&f);
        if (!f.failed && !f.stopped && f.info->pooling == MODEL_POOL_LATENT)
            latent_attention(&f);
        r = f.stopped ? err_set(em, LT_ECANCELLED, "reference: stopped") : pool(&f, out, em);
    }
    if (f.failed)
        r = err_set(em, LT_ENOMEM, "reference: no memory for %zu tokens", f.n);
    free(f.x);
    free(f.pooled);
    free(f.pooled_tmp);
    free(f.norm);
    free(f.qkv);
    free(f.mix);
    free(f.wide);
    free(f.act);
    free(f.scores);
    free(f.latent);
    free(f.latent_norm);
    free(f.latent_kv);
    free(f.row);
    return r;
}
