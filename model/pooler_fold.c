/* Everything here is a product of a weight's rows and a matrix given by columns; the large ones are split by rows over threads. K and V
 * come from the normed latents; a from K and Wq; b from Wo and V. */
#include "model/pooler_fold.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAX_THREADS 64

struct fold {
    const struct model *m;
    const struct model_info *info;
    size_t d, r, e, inner; /* hidden, latents, head size, heads · head size */
    float *context;        /* [d, r] normed latents, a row each dimension; GROUP rows of zeros behind */
    float *kv;             /* [2 inner, r]: a row is one column of K or V over the latents; as many behind */
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
    float *row = calloc(c->row_len, sizeof *row); /* rows that a group lacks have numbers, too */
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

/* The widest vectors that the CPU has: in double, their rounding is far below that of the results. (clang has no clones for two features
 * together.) */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx512f", "avx2,fma", "default"), optimize("O3")))
#else
#define WIDE
#endif

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
            f->context[i * f->r + l] = (float)((x[i] - mean) * scale * g[i] + b[i]);
    }
}

/* Rows come in groups, so that what they meet is read from memory once for all of them, and in fours within. */
#define GROUP 8
#define FOUR 4

/* sum[q n + j] += k[q][0] v[j] + k[q][1] v[n + j] + …, for four sums: a value of v is made a double once for all. */
WIDE static void add_rows(double *restrict sum, const double (*restrict k)[GROUP], const float *restrict v, size_t n)
{
    double *const restrict s0 = sum, *const restrict s1 = sum + n, *const restrict s2 = sum + 2 * n, *const restrict s3 = sum + 3 * n;
    for (size_t j = 0; j < n; j++) {
        double a = s0[j], b = s1[j], c = s2[j], d = s3[j];
        for (size_t g = 0; g < GROUP; g++) {
            const double x = v[g * n + j];
            a += k[0][g] * x;
            b += k[1][g] * x;
            c += k[2][g] * x;
            d += k[3][g] * x;
        }
        s0[j] = a;
        s1[j] = b;
        s2[j] = c;
        s3[j] = d;
    }
}

/* sum[GROUP, n] = the group's rows, len values of them and `stride` apart, times v[len, n], behind which GROUP rows may be read. */
static void multiply(const float *rows, size_t stride, size_t len, const float *v, size_t n, double *sum)
{
    memset(sum, 0, GROUP * n * sizeof *sum);
    for (size_t e = 0; e < len; e += GROUP) {
        const size_t m = len - e < GROUP ? len - e : GROUP;
        for (size_t g = 0; g < GROUP; g += FOUR) {
            double k[FOUR][GROUP] = {{0}};
            for (size_t q = 0; q < FOUR; q++)
                for (size_t j = 0; j < m; j++)
                    k[q][j] = rows[(g + q) * stride + e + j];
            add_rows(sum + g * n, k, v + e * n, n);
        }
    }
}

static size_t group_rows(const struct fold *f, const char *name, size_t first, float *rows)
{
    const struct tensor *t = model_tensor(f->m, name);
    size_t n = t->rows - first < GROUP ? (size_t)t->rows - first : GROUP;
    for (size_t i = 0; i < n; i++)
        tensor_row_f32(t, first + i, rows + i * t->cols);
    return n;
}

/* Group i of Wkv's rows against every latent. */
static void step_kv(const struct fold *f, size_t i, float *rows, double *sum)
{
    const size_t n = group_rows(f, "pooler.attn_kv.weight", i * GROUP, rows);
    multiply(rows, f->d, f->d, f->context, f->r, sum);
    for (size_t j = 0; j < n * f->r; j++)
        f->kv[i * GROUP * f->r + j] = (float)sum[j];
}

/* Head h of a and c: K_h Wq_h, a sum over the head's E rows of Wq. Latents in runs, so that the sums stay small. */
#define LATENT_RUN 16
static_assert(LATENT_RUN % FOUR == 0 && GROUP % FOUR == 0, "four at once");

static void step_a(const struct fold *f, size_t i, float *rows, double *sum)
{
    const size_t runs = (f->r + LATENT_RUN - 1) / LATENT_RUN, h = i / runs, first = i % runs * LATENT_RUN;
    const size_t n = f->r - first < LATENT_RUN ? f->r - first : LATENT_RUN;
    const float *g = values(f->m, "pooler.attn_norm.weight"), *b = values(f->m, "pooler.attn_norm.bias");
    const double scale = 1 / sqrt((double)f->e);
    memset(sum, 0, LATENT_RUN * f->d * sizeof *sum);
    for (size_t e = 0; e < f->e; e += GROUP) {
        const size_t m = f->e - e < GROUP ? f->e - e : GROUP;
        memset(rows, 0, GROUP * f->d * sizeof *rows);
        for (size_t j = 0; j < m; j++)
            tensor_row_f32(model_tensor(f->m, "pooler.attn_q.weight"), h * f->e + e + j, rows + j * f->d);
        for (size_t l = 0; l < n; l += FOUR) {
            double k[FOUR][GROUP] = {{0}};
            for (size_t j = 0; j < m; j++)
                for (size_t q = 0; q < FOUR && l + q < n; q++)
                    k[q][j] = f->kv[(h * f->e + e + j) * f->r + first + l + q];
            add_rows(sum + l * f->d, k, rows, f->d);
        }
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

/* Group i of b's rows: those of Wo against V, head by head. */
static void step_b(const struct fold *f, size_t i, float *rows, double *sum)
{
    const size_t n = group_rows(f, "pooler.attn_output.weight", i * GROUP, rows);
    for (size_t h = 0; h < f->info->n_latent_heads; h++) {
        multiply(rows + h * f->e, f->inner, f->e, f->kv + (f->inner + h * f->e) * f->r, f->r, sum);
        for (size_t g = 0; g < n; g++)
            for (size_t l = 0; l < f->r; l++)
                f->out->b[(i * GROUP + g) * f->out->n_logits + h * f->r + l] = (float)sum[g * f->r + l];
    }
}

int pooler_fold(const struct model *m, unsigned n_threads, struct pooler_fold *out, struct err_msg *em)
{
    const struct model_info *i = model_info(m);
    struct fold f = {.m = m, .info = i, .d = i->hidden, .r = i->n_latents, .e = i->latent_head_dim,
                     .inner = (size_t)i->n_latent_heads * i->latent_head_dim, .out = out};
    const size_t runs = (f.r + LATENT_RUN - 1) / LATENT_RUN;
    cpu_set_t cpus;
    if (!n_threads)
        n_threads = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? (unsigned)CPU_COUNT(&cpus) : 1;
    *out = (struct pooler_fold){.n_logits = i->n_latent_heads * i->n_latents};
    f.context = calloc((f.d + GROUP) * f.r, sizeof *f.context);
    f.kv = calloc((2 * f.inner + GROUP) * f.r, sizeof *f.kv);
    out->a = malloc(out->n_logits * f.d * sizeof *out->a);
    out->b = malloc(out->n_logits * f.d * sizeof *out->b);
    out->c = malloc(out->n_logits * sizeof *out->c);
    bool done = f.context && f.kv && out->a && out->b && out->c;
    if (done) {
        norm_latents(&f);
        done = run(&f, step_kv, (2 * f.inner + GROUP - 1) / GROUP, GROUP * f.d, GROUP * f.r, n_threads) &&
               run(&f, step_a, i->n_latent_heads * runs, GROUP * f.d, LATENT_RUN * f.d, n_threads) &&
               run(&f, step_b, (f.d + GROUP - 1) / GROUP, GROUP * f.inner, GROUP * f.r, n_threads);
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
