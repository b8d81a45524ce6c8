/* bench_embed MODEL [DEVICE [THREADS [TEXTS [LENGTH [ROUNDS [MB]]]]]]: the engine with a model file, from token ids to vectors.
 *
 * DEVICE as latentd's --device (default cpu), THREADS 0 for all, TEXTS × LENGTH tokens a call (default 16 × 128), the median of ROUNDS
 * calls (default 15) after one that warms up; MB is what of the device's memory may be used, 0 most of it. Prints the device and its
 * driver, the time of a call, tokens/s, and the rate of the decoder's matrix products alone: two operations per weight and token, so a
 * lower bound of what the device does. On a GPU a second line has the share of each product's kernel in one more call, so that it can
 * be seen which way each took. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "gpu/gpu.h"
#include "model/engine.h"
#include "model/model.h"
#include "model/ops.h"

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static uint32_t number(int argc, char **argv, int i, uint32_t otherwise)
{
    return i < argc ? (uint32_t)strtoul(argv[i], NULL, 10) : otherwise;
}

/* Milliseconds of the median call; negative when one failed. */
static double measure(struct engine *e, const struct engine_seq *seqs, uint32_t texts, uint32_t dim, uint32_t rounds)
{
    struct err_msg em = {{0}};
    float *out = malloc((size_t)texts * dim * sizeof *out);
    int *status = calloc(texts, sizeof *status);
    double *ms = calloc(rounds, sizeof *ms), median = -1;
    int r = out && status && ms ? 0 : LT_ENOMEM;
    for (uint32_t i = 0; r == 0 && i <= rounds; i++) {
        const uint64_t start = clock_ns();
        r = engine_embed(e, seqs, texts, out, status, &em);
        if (i > 0)
            ms[i - 1] = (double)(clock_ns() - start) / 1e6;
        for (uint32_t s = 0; r == 0 && s < texts; s++)
            r = status[s];
    }
    if (r < 0)
        fprintf(stderr, "bench_embed: %s %s\n", err_text(r), em.text);
    else
        qsort(ms, rounds, sizeof *ms, compare), median = ms[rounds / 2];
    free(out);
    free(status);
    free(ms);
    return median;
}

static double weights(const struct model_info *m)
{
    const double h = m->hidden, heads = m->n_heads + 2.0 * m->n_kv_heads;
    return m->n_layers * (h * heads * m->head_dim + h * m->n_heads * m->head_dim + 3 * h * m->ffn);
}

/* A Vulkan device's driver, and whether it runs on the CPU. */
static void print_device(const struct engine_info *ei)
{
    struct gpu_device_info list[16];
    struct err_msg em;
    size_t n = 0;
    printf("%s [", ei->device);
    if (ei->uuid[0] && gpu_list(list, 16, &n, &em) == 0)
        for (size_t i = 0; i < n; i++)
            if (!strcmp(list[i].uuid, ei->uuid))
                printf("%s%s", list[i].software ? "software, " : "", list[i].driver);
    printf("], ");
}

static void print_ways(struct engine *e, const struct engine_seq *seqs, uint32_t texts, uint32_t dim)
{
    struct ops_time times[OPS_TIMES_MAX];
    double all = 0;
    if (engine_profile_start(e, NULL) < 0 || measure(e, seqs, texts, dim, 1) < 0)
        return;
    const size_t n = engine_profile(e, times, OPS_TIMES_MAX);
    for (size_t i = 0; i < n; i++)
        all += times[i].ms;
    printf("products:");
    for (size_t i = 0; i < n; i++)
        if (strncmp(times[i].kernel, "mat", 3) == 0)
            printf(" %s %.0f %%", times[i].kernel, 100 * times[i].ms / all);
    printf("\n");
}

static int run(const struct model *m, const struct engine_params *p, uint32_t texts, uint32_t length, uint32_t rounds)
{
    const struct model_info *mi = model_info(m);
    struct err_msg em = {{0}};
    struct engine *e = NULL;
    int32_t *ids = malloc((size_t)length * sizeof *ids);
    struct engine_seq *seqs = calloc(texts, sizeof *seqs);
    if (!ids || !seqs || engine_create(&e, m, p, &em) < 0) {
        fprintf(stderr, "bench_embed: %s\n", em.text);
        free(ids);
        free(seqs);
        return 1;
    }
    for (uint32_t i = 0; i < length; i++)
        ids[i] = (int32_t)((i * 7919u + 17) % mi->vocab);
    for (uint32_t i = 0; i < texts; i++)
        seqs[i] = (struct engine_seq){ids, length, 0};
    const double ms = measure(e, seqs, texts, mi->dim, rounds), n = (double)texts * length;
    const struct engine_info *ei = engine_info(e);
    if (ms > 0) {
        print_device(ei);
        printf("%s, %u x %u tokens: %.3f ms, %.0f tokens/s, %.4g TFLOP/s, %u layers streamed, batches of %u, %.0f MB of device memory\n",
               mi->weight_type, texts, length, ms,
               n / ms * 1e3, 2 * weights(mi) * n / ms / 1e9, ei->n_streamed, ei->batch_tokens,
               (double)ei->allocated_bytes / 1e6);
        if (ei->uuid[0])
            print_ways(e, seqs, texts, mi->dim);
    }
    engine_destroy(&e);
    free(ids);
    free(seqs);
    return ms <= 0;
}

int main(int argc, char **argv)
{
    struct err_msg em = {{0}};
    struct model *m;
    if (argc < 2) {
        fputs("usage: bench_embed MODEL [DEVICE [THREADS [TEXTS [LENGTH [ROUNDS [MB]]]]]]\n", stderr);
        return 2;
    }
    const uint32_t texts = number(argc, argv, 4, 16), length = number(argc, argv, 5, 128), rounds = number(argc, argv, 6, 15);
    if (!texts || !length || !rounds) {
        fputs("bench_embed: TEXTS, LENGTH and ROUNDS are at least 1\n", stderr);
        return 2;
    }
    if (model_open(&m, argv[1], &em) < 0) {
        fprintf(stderr, "bench_embed: %s\n", em.text);
        return 1;
    }
    struct engine_params p = {.device = argc > 2 ? argv[2] : "cpu", .n_threads = number(argc, argv, 3, 0),
                              .memory_bytes = number(argc, argv, 7, 0) * UINT64_C(1000000)};
    const int r = run(m, &p, texts, length, rounds);
    model_destroy(&m);
    return r;
}
