/* Everything here is a product of two matrices given by rows, C[i, j] = x_i · y_j, or by columns; the large ones are
 * split by rows over threads. Seen as one: K and V from the normed latents; a from K and Wq; b from Wo and V. */
#include "model/pooler_fold.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 64

struct fold {
    const struct model *m;
    const struct model_info *info;
    size_t d, r, e, inner; /* hidden, latents, head size, heads · head size */
    float *context;        /* [r, d] normed latents */
    float *kv;             /* [2 inner, r]: a row is one column of K or V over the latents */
    struct pooler_fold *out;
};

/* One unit of work i of some count, run on any thread. Scratch is a weight row and its double sums. */
typedef void fold_step(const struct fold *f, size_t i, float *row, double *sum);

struct crew {
    const struct fold *f;
    fold_step *step;
    size_t n;
    size_t row_len, sum_len;
    atomic_size_t next;
    atomic_bool failed;
};

static void *work(void *arg)
{
    struct crew *c = arg;
    float *row = malloc(c->row_len * sizeof *row);
    double *sum = malloc(c->sum_len * sizeof *sum);
    if (row && sum)
        for (size_t i; (i = atomic_fetch_add(&c->next, 1)) < c->n;)
            c->step(c->f, i, row, sum);
    else
        atomic_store(&c->failed, true);
    free(row);
    free(sum);
    return NULL;
}

/* step for 0 … n-1, on this thread and up to n_threads - 1 more; a thread that does not start is done without. */
static bool run(const struct fold *f, fold_step *step, size_t n, size_t row_len, size_t sum_len, unsigned n_threads)
{
    pthread_t thread[MAX_THREADS];
    unsigned started = 0;
    struct crew c = {.f = f, .step = step, .n = n, .row_len = row_len, .sum_len = sum_len};
    while (started + 1 < n_threads && started < MAX_THREADS && started + 1 < n &&
           !pthread_create(&thread[started], NULL, work, &c))
        started++;
    work(&c);
    for (unsigned i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    return !atomic_load(&c.failed);
}

static double dot(const float *x, const float *y, size_t n)
{
    double s[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++)
            s[j] += (double)x[i + j] * y[i + j];
    for (; i < n; i++)
        s[0] += (double)x[i] * y[i];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

static const float *values(const struct model *m, const char *name)
{
    return model_tensor(m, name)->data; /* f32, aligned; checked when the model was opened */
}

static void norm_latents(const struct fold *f)
{
    const float *g = values(f->m, "pooler.context_norm.weight"), *b = values(f->m, "pooler.context_norm.bias");
    const float *x = values(f->m, "pooler.latents.weight");
    for (size_t l = 0; l < f->r; l++, x += f->d) {
        double mean = 0, var = 0;
        for (size_t i = 0; i < f->d; i++)
            mean += x[i];
        mean /= (double)f->d;
        for (size_t i = 0; i < f->d; i++)
            var += (x[i] - mean) * (x[i] - mean);
        double scale = 1 / sqrt(var / (double)f->d + f->info->layer_norm_eps);
        for (size_t i = 0; i < f->d; i++)
            f->context[l * f->d + i] = (float)((x[i] - mean) * scale * g[i] + b[i]);
    }
}

/* Row i of Wkv against every latent. */
static void step_kv(const struct fold *f, size_t i, float *row, double *sum)
{
    (void)sum;
    tensor_row_f32(model_tensor(f->m, "pooler.attn_kv.weight"), i, row);
    for (size_t l = 0; l < f->r; l++)
        f->kv[i * f->r + l] = (float)dot(f->context + l * f->d, row, f->d);
}

/* Head h of a and c: K_h Wq_h, a sum over the head's E rows of Wq. Latents in runs, so that the sums stay small. */
#define LATENT_RUN 16

static void step_a(const struct fold *f, size_t i, float *row, double *sum)
{
    const size_t runs = (f->r + LATENT_RUN - 1) / LATENT_RUN, h = i / runs, first = i % runs * LATENT_RUN;
    const size_t n = f->r - first < LATENT_RUN ? f->r - first : LATENT_RUN;
    const float *g = values(f->m, "pooler.attn_norm.weight"), *b = values(f->m, "pooler.attn_norm.bias");
    const double scale = 1 / sqrt((double)f->e);
    memset(sum, 0, n * f->d * sizeof *sum);
    for (size_t e = 0; e < f->e; e++) {
        const float *k = f->kv + (h * f->e + e) * f->r + first;
        tensor_row_f32(model_tensor(f->m, "pooler.attn_q.weight"), h * f->e + e, row);
        for (size_t l = 0; l < n; l++)
            for (size_t j = 0; j < f->d; j++)
                sum[l * f->d + j] += (double)k[l] * row[j];
    }
    for (size_t l = 0; l < n; l++) {
        const size_t logit = h * f->r + first + l;
        double c = 0;
        for (size_t j = 0; j < f->d; j++) {
            c += sum[l * f->d + j] * b[j];
            f->out->a[logit * f->d + j] = (float)(sum[l * f->d + j] * g[j] * scale);
        }
        f->out->c[logit] = (float)(c * scale);
    }
}

/* Row i of b: row i of Wo against V, head by head. */
static void step_b(const struct fold *f, size_t i, float *row, double *sum)
{
    float *out = f->out->b + i * f->out->n_logits;
    tensor_row_f32(model_tensor(f->m, "pooler.attn_output.weight"), i, row);
    for (size_t h = 0; h < f->info->n_latent_heads; h++) {
        memset(sum, 0, f->r * sizeof *sum);
        for (size_t e = 0; e < f->e; e++) {
            const float *v = f->kv + (f->inner + h * f->e + e) * f->r;
            const double w = row[h * f->e + e];
            for (size_t l = 0; l < f->r; l++)
                sum[l] += w * v[l];
        }
        for (size_t l = 0; l < f->r; l++)
            out[h * f->r + l] = (float)sum[l];
    }
}

int pooler_fold(const struct model *m, unsigned n_threads, struct pooler_fold *out, struct err_msg *em)
{
    const struct model_info *i = model_info(m);
    struct fold f = {.m = m, .info = i, .d = i->hidden, .r = i->n_latents, .e = i->latent_head_dim,
                     .inner = (size_t)i->n_latent_heads * i->latent_head_dim, .out = out};
    const size_t runs = (f.r + LATENT_RUN - 1) / LATENT_RUN;
    *out = (struct pooler_fold){.n_logits = i->n_latent_heads * i->n_latents};
    f.context = malloc(f.r * f.d * sizeof *f.context);
    f.kv = malloc(2 * f.inner * f.r * sizeof *f.kv);
    out->a = malloc(out->n_logits * f.d * sizeof *out->a);
    out->b = malloc(out->n_logits * f.d * sizeof *out->b);
    out->c = malloc(out->n_logits * sizeof *out->c);
    bool done = f.context && f.kv && out->a && out->b && out->c;
    if (done) {
        norm_latents(&f);
        done = run(&f, step_kv, 2 * f.inner, f.d, 1, n_threads) &&
               run(&f, step_a, i->n_latent_heads * runs, f.d, LATENT_RUN * f.d, n_threads) &&
               run(&f, step_b, f.d, f.inner, f.r, n_threads);
    }
    free(f.context);
    free(f.kv);
    if (done)
        return 0;
    pooler_fold_finish(out);
    return err_set(em, LT_ENOMEM, "no memory to fold the pooler's attention");
}

void pooler_fold_finish(struct pooler_fold *f)
{
    free(f->a);
    free(f->b);
    free(f->c);
    *f = (struct pooler_fold){0};
}
