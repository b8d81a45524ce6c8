/* bench_ops [--large | --wide TYPE] [THREADS [TEXTS [LENGTH [TIMES]]]]: the default model's ops on random q8_0 weights, straight on the CPU device,
 * against oneDNN's own int8 products on the same shapes, in turns, by the clock and by CPU time. With TIMES, only the ops, that often, for
 * a profiler.
 * --large: a decoder of 12 layers of 768 and the same kind of pooler instead. --wide: one layer of 4096 with a feed-forward of 14336, as
 * models of 7 billion weights have 32 of, its weights q8_0 or q4_K; what it took to make the matrices is printed too. bench_embed measures
 * the engine with a model file. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model/ops_cpu.h"
#include "tests/bench/raw_int8.h"

enum { DIM = 64, LATENTS = 64, VOCABULARY = 32000, MOST_LAYERS = 12, MOST_D = 4096, ROUNDS = 15, LEAST_ROWS = 512 };

struct size {
    uint32_t d, heads, ffn, hidden, layers;
};
static const struct size default_size = {384, 6, 1024, 1536, 3}, large_size = {768, 12, 2048, 3072, 12}, wide_size = {4096, 64, 14336, 4096, 1};
static enum tensor_type weight_type = TENSOR_Q8_0;

struct layer {
    struct ops_mat *qkv, *out, *up, *down;
};

struct decoder {
    struct ops *o;
    struct size s;
    struct layer layer[MOST_LAYERS];
    struct ops_mat *table, *latent_q, *latent_o, *wide, *narrow;
    struct ops_vec *g, *freq;
    struct ops_buf *x, *norm, *qkv, *att, *gate, *act, *pooled, *pnorm, *scores, *gegate, *geact, *mean_act, *mean, *out;
};

static uint64_t rng = 1;

static uint64_t rand64(void)
{
    uint64_t z = (rng += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void must(int r)
{
    if (r) {
        fprintf(stderr, "bench_ops: %s\n", err_text(r));
        exit(1);
    }
}

/* Random blocks whose values are about 1 / sqrt(k) in size */
static void fill(uint8_t *p, enum tensor_type type, size_t len, uint64_t k)
{
    const uint32_t block = tensor_block_bytes(type);
    const float size = 1.0f / sqrtf((float)k);
    const uint16_t scale = f32_to_f16(type == TENSOR_Q4_K ? size / 32 / 5 : size / 70), min = f32_to_f16(size / 32 / 5 * 7.5f);
    for (const uint8_t *end = p + len; p < end; p += block) {
        for (uint32_t j = 0; j < block; j++)
            p[j] = (uint8_t)rand64();
        memcpy(p, &scale, sizeof scale);
        if (type == TENSOR_Q4_K)
            memcpy(p + 2, &min, sizeof min);
    }
}

static double making; /* seconds that matrices took */

static struct ops_mat *matrix(struct ops *o, uint64_t m, uint64_t k, bool table)
{
    const enum tensor_type type = table ? TENSOR_Q8_0 : weight_type;
    const size_t len = m * tensor_row_bytes(type, k);
    uint8_t *data = malloc(len);
    struct ops_mat *w = NULL;
    struct tensor *t = malloc(sizeof *t);
    if (!data || !t)
        exit(1);
    fill(data, type, len, k);
    *t = (struct tensor){"w", type, m, k, data, len};
    const struct tensor *const parts[1] = {t};
    const double start = now(CLOCK_MONOTONIC);
    must(table ? o->v->table_create(o, t, &w, NULL) : o->v->mat_create(o, parts, 1, &w, NULL));
    making += now(CLOCK_MONOTONIC) - start;
    if (!table) /* a table is read as long as the process lives */
        free(data);
    free(t);
    return w;
}

static struct ops_buf *buffer(struct ops *o, size_t rows, size_t cols)
{
    struct ops_buf *b = NULL;
    must(o->v->buf_create(o, rows, cols, &b, NULL));
    return b;
}

static void decoder_init(struct decoder *d, size_t rows)
{
    struct ops *o = d->o;
    const size_t dim = d->s.d, ffn = d->s.ffn, hidden = d->s.hidden, heads = d->s.heads;
    float v[MOST_D], f[DIM / 2];
    for (size_t i = 0; i < dim; i++)
        v[i] = 1;
    for (int i = 0; i < DIM / 2; i++)
        f[i] = powf(10000, -(float)i / (DIM / 2));
    must(o->v->vec_create(o, v, dim, &d->g, NULL));
    must(o->v->vec_create(o, f, DIM / 2, &d->freq, NULL));
    for (uint32_t i = 0; i < d->s.layers; i++)
        d->layer[i] = (struct layer){matrix(o, 3 * dim, dim, false), matrix(o, dim, dim, false), matrix(o, 2 * ffn, dim, false),
                                     matrix(o, dim, ffn, false)};
    d->table = matrix(o, VOCABULARY, dim, true);
    d->latent_q = matrix(o, heads * LATENTS, dim, false);
    d->latent_o = matrix(o, dim, heads * LATENTS, false);
    d->wide = matrix(o, 2 * hidden, dim, false);
    d->narrow = matrix(o, dim, hidden, false);
    struct ops_buf **bufs[] = {&d->x, &d->norm, &d->att, &d->pooled, &d->pnorm, &d->scores, &d->mean, &d->out};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++)
        *bufs[i] = buffer(o, rows, dim);
    d->qkv = buffer(o, rows, 3 * dim);
    d->gate = buffer(o, rows, 2 * ffn);
    d->act = buffer(o, rows, ffn);
    d->gegate = buffer(o, rows, 2 * hidden);
    d->geact = buffer(o, rows, hidden);
    d->mean_act = buffer(o, rows, hidden);
}

static void embed(struct decoder *d, const struct ops_batch *b, float *out)
{
    struct ops *o = d->o;
    const struct ops_vtbl *v = o->v;
    const struct ops_attention a = {d->s.heads, d->s.heads, DIM, false, 0.125f, 0, true};
    const uint32_t n = b->n_tokens;
    int r = v->begin(o, b, NULL);
    r |= v->embed_rows(o, d->table, d->x);
    for (uint32_t i = 0; i < d->s.layers; i++) {
        r |= v->rms_norm(o, d->x, d->g, 1e-5f, n, d->norm);
        r |= v->matmul(o, d->norm, d->layer[i].qkv, NULL, NULL, n, d->qkv);
        r |= v->rope(o, d->qkv, d->freq, &a);
        r |= v->attention(o, d->qkv, &a, d->att);
        r |= v->matmul(o, d->att, d->layer[i].out, NULL, d->x, n, d->x);
        r |= v->rms_norm(o, d->x, d->g, 1e-5f, n, d->norm);
        r |= v->matmul(o, d->norm, d->layer[i].up, NULL, NULL, n, d->gate);
        r |= v->swiglu(o, d->gate, n, d->s.ffn, d->act);
        r |= v->matmul(o, d->act, d->layer[i].down, NULL, d->x, n, d->x);
    }
    r |= v->rms_norm(o, d->x, d->g, 1e-5f, n, d->x);
    r |= v->gather_pooled(o, d->x, d->pooled);
    r |= v->layer_norm(o, d->pooled, d->g, d->g, 1e-5f, n, d->pnorm);
    r |= v->matmul(o, d->pnorm, d->latent_q, NULL, NULL, n, d->scores);
    r |= v->softmax_groups(o, d->scores, n, d->s.heads, LATENTS);
    r |= v->matmul(o, d->scores, d->latent_o, NULL, d->pooled, n, d->pooled);
    r |= v->layer_norm(o, d->pooled, d->g, d->g, 1e-5f, n, d->pnorm);
    r |= v->matmul(o, d->pnorm, d->wide, NULL, NULL, n, d->gegate);
    r |= v->geglu(o, d->gegate, n, d->s.hidden, d->geact);
    r |= v->mean_pool(o, d->geact, d->mean_act);
    r |= v->mean_pool(o, d->pooled, d->mean);
    r |= v->matmul(o, d->mean_act, d->narrow, d->g, d->mean, b->n_seqs, d->out);
    r |= v->l2_normalize(o, d->out, b->n_seqs);
    must(r);
    must(v->end(o, d->out, b->n_seqs, out, NULL));
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_value);
    return v[n / 2];
}

int main(int argc, char **argv)
{
    struct decoder d = {.s = default_size};
    if (argc > 1 && !strcmp(argv[1], "--large")) {
        d.s = large_size;
        argc--;
        argv++;
    } else if (argc > 2 && !strcmp(argv[1], "--wide")) {
        d.s = wide_size;
        weight_type = strcmp(argv[2], "q4_K") ? TENSOR_Q8_0 : TENSOR_Q4_K;
        argc -= 2;
        argv += 2;
    }
    const unsigned n_threads = argc > 1 ? (unsigned)atoi(argv[1]) : 2;
    const uint32_t texts = argc > 2 ? (uint32_t)atoi(argv[2]) : 16, length = argc > 3 ? (uint32_t)atoi(argv[3]) : 128;
    const uint32_t n = texts * length;
    const uint32_t dim = d.s.d, ffn = d.s.ffn, layers = d.s.layers;
    const struct raw_shape shapes[] = {{dim, 3 * dim, layers}, {dim, dim, layers + 2}, {dim, 2 * ffn, layers},
                                       {ffn, dim, layers},     {dim, 2 * d.s.hidden, 1}};
    struct err_msg em;
    if (ops_cpu_create(&d.o, &(struct ops_cpu_params){n_threads, n}, &em)) {
        fprintf(stderr, "bench_ops: %s\n", em.text);
        return 1;
    }
    decoder_init(&d, n < LEAST_ROWS ? LEAST_ROWS : n); /* an engine's buffers are never so small */
    struct raw *raw = raw_create(shapes, sizeof shapes / sizeof *shapes, n, (int)n_threads);
    int32_t *ids = calloc(n, sizeof *ids);
    uint32_t *offset = calloc(texts + 1, sizeof *offset), *skip = calloc(texts, sizeof *skip);
    float *out = calloc((size_t)texts * dim, sizeof *out);
    if (!raw || !ids || !offset || !skip || !out)
        return 1;
    for (uint32_t i = 0; i < n; i++)
        ids[i] = (int32_t)(rand64() % VOCABULARY);
    for (uint32_t i = 0; i <= texts; i++)
        offset[i] = i * length;
    const struct ops_batch batch = {ids, n, offset, texts, skip};
    for (int i = 0; argc > 4 && i < atoi(argv[4]); i++)
        embed(&d, &batch, out);
    if (argc > 4)
        return 0;
    /* by the clock, and by the CPU time of all threads, which other programs disturb less */
    static const clockid_t clocks[2] = {CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID};
    double own[2][ROUNDS], theirs[2][ROUNDS], ratio[2][ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        embed(&d, &batch, out);
        for (int c = 0; c < 2; c++) {
            const double start = now(clocks[c]);
            embed(&d, &batch, out);
            own[c][i] = now(clocks[c]) - start;
        }
        for (int c = 0; c < 2; c++) {
            theirs[c][i] = raw_time(raw, clocks[c]);
            ratio[c][i] = theirs[c][i] / own[c][i];
        }
        nanosleep(&(struct timespec){0, 20000000}, NULL); /* OpenMP's threads stop spinning */
    }
    printf("%s\n%u texts of %u, matrices made in %.3f s\n", d.o->info.name, texts, length, making);
    for (int c = 0; c < 2; c++)
        printf("%s: %.0f tokens/s (%.3f ms), products alone %.0f tokens/s (%.3f ms), ratio %.3f\n", c ? "CPU time" : "clock",
               n / median(own[c], ROUNDS), median(own[c], ROUNDS) * 1e3, n / median(theirs[c], ROUNDS),
               median(theirs[c], ROUNDS) * 1e3, median(ratio[c], ROUNDS));
    return 0;
}
