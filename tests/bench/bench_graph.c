/* The graph on vectors of a file: build, recall against exact search, queries per second, reopening.
 *
 *   bench_graph BASE.fvecs QUERIES.fvecs [M [EF_CONSTRUCTION [FOLDER]]]
 *   bench_graph --serve BASE.fvecs QUERIES.fvecs cosine|l2 auto|int8|1bit|f32
 *
 * The second form is one of bench_peers.py's processes: it reads commands and prints one line for each, "build" -> "SECONDS
 * BYTES" and "search EF OUT" -> "QUERIES-PER-SECOND", by CPU time; the labels go to OUT.
 *
 * One thread, cosine, k = 10. tests/bench/bench_graph.py runs hnswlib on the same files beside it. Prints lines
 * "ef recall queries-per-second". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "index/graph.h"

#define K 10

struct vectors {
    float *v;
    uint32_t dim;
    size_t n;
};

static void load(struct vectors *out, const char *path)
{
    FILE *f = fopen(path, "rb");
    size_t cap = 0;
    int32_t dim;
    if (!f) {
        perror(path);
        exit(1);
    }
    while (fread(&dim, 4, 1, f) == 1) {
        if (dim <= 0 || dim > (int32_t)GRAPH_DIM_MAX || (out->dim && out->dim != (uint32_t)dim)) {
            fprintf(stderr, "%s: not an fvecs file\n", path);
            exit(1);
        }
        out->dim = (uint32_t)dim;
        if (out->n == cap) {
            cap = cap ? 2 * cap : 1024;
            out->v = realloc(out->v, cap * out->dim * sizeof *out->v);
        }
        if (!out->v || fread(out->v + out->n * out->dim, 4, out->dim, f) != out->dim) {
            fprintf(stderr, "%s: cut short, or too large\n", path);
            exit(1);
        }
        out->n++;
    }
    fclose(f);
}

static double seconds_since(uint64_t start)
{
    return (double)(clock_ns() - start) / 1e9;
}

/* Labels of each query's K nearest; returns queries per second. */
static double run(const struct graph *g, struct graph_scratch *s, const struct vectors *q, uint32_t ef, uint64_t *labels)
{
    uint64_t start = clock_ns();
    for (size_t i = 0; i < q->n; i++) {
        struct graph_hit hits[K];
        size_t n = 0;
        struct graph_query query = {.v = q->v + i * q->dim, .k = K, .ef = ef, .exact = ef == 0};
        if (graph_search(g, s, &query, hits, &n, NULL) < 0)
            exit(1);
        for (size_t j = 0; j < K; j++)
            labels[i * K + j] = j < n ? hits[j].label : UINT64_MAX;
    }
    return (double)q->n / seconds_since(start);
}

static double recall(const uint64_t *truth, const uint64_t *found, size_t n)
{
    size_t hit = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t a = 0; a < K; a++)
            for (size_t b = 0; b < K; b++)
                hit += found[i * K + a] != UINT64_MAX && found[i * K + a] == truth[i * K + b];
    return (double)hit / (double)(n * K);
}

/* Saves, opens again, and shows that nothing had to be inserted. */
static void reopen(struct graph **g, const char *folder, const struct graph_params *p)
{
    struct err_msg em;
    uint64_t seq, start = clock_ns();
    uint64_t count = graph_count(*g);
    if (graph_checkpoint(*g, 1, &em) < 0) {
        fprintf(stderr, "%s\n", em.text);
        exit(1);
    }
    printf("saved in %.2f s\n", seconds_since(start));
    graph_destroy(g);
    start = clock_ns();
    if (graph_open(g, folder, p, &seq, NULL, &em) < 0 || seq != 1 || graph_count(*g) != count)
        exit(1);
    printf("opened again in %.4f s with %llu vectors\n", seconds_since(start), (unsigned long long)count);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int serve_build(struct graph *g, const struct vectors *base)
{
    struct graph_info info;
    double start = cpu_seconds();
    for (size_t i = 0; i < base->n; i++)
        if (graph_add(g, i, base->v + i * base->dim) < 0)
            return -1;
    graph_info(g, &info);
    printf("%.2f %llu\n", cpu_seconds() - start, (unsigned long long)info.bytes_codes);
    return 0;
}

static int serve_search(const struct graph *g, struct graph_scratch *s, const struct vectors *q, uint32_t ef, const char *path)
{
    uint64_t *labels = malloc(q->n * K * sizeof *labels);
    FILE *f = fopen(path, "wb");
    if (!labels || !f)
        return -1;
    double start = cpu_seconds();
    run(g, s, q, ef, labels);
    double t = cpu_seconds() - start;
    size_t n = fwrite(labels, K * sizeof *labels, q->n, f);
    free(labels);
    if (fclose(f) || n != q->n)
        return -1;
    printf("%.1f\n", (double)q->n / t);
    return 0;
}

static int serve(char **argv)
{
    struct vectors base = {0}, q = {0};
    struct graph_params p = {.m = 16, .ef_construction = 200};
    struct graph *g;
    struct graph_scratch *s;
    struct err_msg em;
    uint64_t seq;
    char line[4400], path[4096];
    unsigned ef;
    int r = 0;
    load(&base, argv[2]);
    load(&q, argv[3]);
    p.dim = base.dim;
    p.metric = strcmp(argv[4], "l2") ? METRIC_COSINE : METRIC_L2;
    p.codes = !strcmp(argv[5], "int8") ? GRAPH_CODES_INT8 : !strcmp(argv[5], "f32") ? GRAPH_CODES_F32 : !strcmp(argv[5], "1bit") ? GRAPH_CODES_1BIT : GRAPH_CODES_AUTO;
    if (q.dim != base.dim || graph_open(&g, NULL, &p, &seq, NULL, &em) < 0 || graph_scratch_create(&s) < 0)
        return 1;
    while (r == 0 && fgets(line, sizeof line, stdin)) {
        if (!strcmp(line, "build\n"))
            r = serve_build(g, &base);
        else if (sscanf(line, "search %u %4095s", &ef, path) == 2)
            r = serve_search(g, s, &q, ef, path);
        else
            r = -1;
        fflush(stdout);
    }
    graph_scratch_destroy(&s);
    graph_destroy(&g);
    free(base.v);
    free(q.v);
    return r < 0;
}

int main(int argc, char **argv)
{
    static const uint32_t efs[] = {10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512};
    struct vectors base = {0}, q = {0};
    struct graph_params p = {.metric = METRIC_COSINE};
    struct graph *g;
    struct graph_scratch *s;
    struct err_msg em;
    uint64_t seq;
    if (argc == 6 && !strcmp(argv[1], "--serve"))
        return serve(argv);
    if (argc < 3) {
        fprintf(stderr, "usage: bench_graph BASE.fvecs QUERIES.fvecs [M [EF_CONSTRUCTION [FOLDER]]]\n");
        return 2;
    }
    load(&base, argv[1]);
    load(&q, argv[2]);
    p.dim = base.dim;
    p.m = argc > 3 ? (uint32_t)atoi(argv[3]) : 16;
    p.ef_construction = argc > 4 ? (uint32_t)atoi(argv[4]) : 200;
    const char *folder = argc > 5 ? argv[5] : NULL;
    if (q.dim != base.dim || graph_open(&g, folder, &p, &seq, NULL, &em) < 0 || graph_scratch_create(&s) < 0)
        return 1;
    uint64_t start = clock_ns();
    for (size_t i = 0; i < base.n; i++)
        if (graph_add(g, i, base.v + i * base.dim) < 0)
            return 1;
    struct graph_info info;
    graph_info(g, &info);
    printf("%zu x %u built in %.1f s, kernel %s, %.0f bytes a node\n", base.n, base.dim, seconds_since(start), info.kernel,
           (double)info.bytes_codes / (double)base.n);
    if (folder)
        reopen(&g, folder, &p);
    uint64_t *truth = malloc(q.n * K * sizeof *truth), *found = malloc(q.n * K * sizeof *found);
    if (!truth || !found)
        return 1;
    run(g, s, &q, 0, truth);
    for (size_t i = 0; i < sizeof efs / sizeof *efs; i++) {
        run(g, s, &q, efs[i], found); /* warm */
        double best = 0;
        for (int round = 0; round < 3; round++) {
            double qps = run(g, s, &q, efs[i], found);
            best = qps > best ? qps : best;
        }
        printf("ef %4u  recall %.4f  %8.0f q/s\n", efs[i], recall(truth, found, q.n), best);
    }
    graph_scratch_destroy(&s);
    graph_destroy(&g);
    free(truth);
    free(found);
    free(base.v);
    free(q.v);
    return 0;
}
