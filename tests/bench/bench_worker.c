/* Our graph as one of the processes of bench_peers.py, bench_growth.py and bench_paged.py: reads commands, prints a line for each.
 *
 *   bench_worker BASE.fvecs|- QUERIES.fvecs cosine|l2 auto|int8|1bit|f32 [FOLDER]
 *
 *   build [N]       -> "SECONDS BYTES ON-THE-CLOCK"  M 16, efConstruction 200, N threads; bytes of nodes and upper lists
 *   save            -> "SECONDS"             a checkpoint in FOLDER
 *   open            -> "SECONDS VECTORS"     that checkpoint, mapped
 *   search EF OUT   -> "QUERIES-PER-SECOND MAJOR MINOR" k = 10; page faults a query; the labels go to OUT
 *   threads N EF    -> "QUERIES-PER-SECOND ON-THE-CLOCK"  N threads at once, each with all the queries; the second by the clock
 *   remove N        -> "SECONDS"             each N-th vector; those that searches find afterwards are the others'
 *   replace N       -> "SECONDS"             each vector taken out and put back, N rounds of all
 *
 * Seconds are CPU time, for several threads that of the slowest: on a machine with other work it is what the work itself took. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "index/graph.h"

#define K 10
#define THREADS_MAX 64

struct vectors {
    float *v;
    uint32_t dim;
    size_t n;
};

struct worker {
    struct vectors base, q;
    struct graph_params p;
    const char *folder;
    struct graph *g;
    struct graph_scratch *s;
};

static void give_up(const char *what)
{
    fprintf(stderr, "bench_worker: %s\n", what);
    exit(1);
}

static void load(struct vectors *out, const char *path)
{
    FILE *f = fopen(path, "rb");
    size_t cap = 0;
    int32_t dim;
    if (!f)
        give_up(path);
    while (fread(&dim, 4, 1, f) == 1) {
        if (dim <= 0 || dim > (int32_t)GRAPH_DIM_MAX || (out->dim && out->dim != (uint32_t)dim))
            give_up("not an fvecs file");
        out->dim = (uint32_t)dim;
        if (out->n == cap) {
            cap = cap ? 2 * cap : 1024;
            out->v = realloc(out->v, cap * out->dim * sizeof *out->v);
        }
        if (!out->v || fread(out->v + out->n * out->dim, 4, out->dim, f) != out->dim)
            give_up("cut short, or too large");
        out->n++;
    }
    fclose(f);
}

static double cpu_seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void search_all(const struct worker *w, struct graph_scratch *s, uint32_t ef, uint64_t *labels)
{
    for (size_t i = 0; i < w->q.n; i++) {
        struct graph_hit hits[K];
        size_t n = 0;
        struct graph_query query = {.v = w->q.v + i * w->q.dim, .k = K, .ef = ef, .exact = ef == 0};
        if (graph_search(w->g, s, &query, hits, &n, NULL) < 0)
            give_up("a search failed");
        for (size_t j = 0; labels && j < K; j++)
            labels[i * K + j] = j < n ? hits[j].label : UINT64_MAX;
    }
}

#define BUILD_STEP 256

static void do_build(struct worker *w, unsigned n_threads)
{
    struct graph_info info;
    uint64_t labels[BUILD_STEP], from_ns = clock_ns();
    int results[BUILD_STEP];
    double start = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t i = 0; i < w->base.n; i += BUILD_STEP) {
        size_t n = w->base.n - i < BUILD_STEP ? w->base.n - i : BUILD_STEP;
        for (size_t j = 0; j < n; j++)
            labels[j] = i + j;
        graph_add_many(w->g, labels, w->base.v + i * w->base.dim, n, n_threads, results);
        for (size_t j = 0; j < n; j++)
            if (results[j] < 0)
                give_up("an insertion failed");
    }
    graph_info(w->g, &info);
    printf("%.2f %llu %.2f\n", cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - start, (unsigned long long)info.bytes_codes,
           (double)(clock_ns() - from_ns) / 1e9);
}

static void do_save(struct worker *w)
{
    struct err_msg em = {""};
    double start = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
    if (graph_checkpoint(w->g, 1, &em) < 0)
        give_up(em.text);
    printf("%.3f\n", cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - start);
}

static void do_open(struct worker *w)
{
    struct err_msg em = {""};
    uint64_t seq;
    graph_destroy(&w->g);
    uint64_t start = clock_ns();
    if (graph_open(&w->g, w->folder, &w->p, &seq, NULL, &em) < 0)
        give_up(em.text);
    printf("%.6f %llu\n", (double)(clock_ns() - start) / 1e9, (unsigned long long)graph_count(w->g));
}

static void do_search(struct worker *w, uint32_t ef, const char *path)
{
    uint64_t *labels = malloc(w->q.n * K * sizeof *labels);
    FILE *f = fopen(path, "wb");
    struct rusage before, after;
    if (!labels || !f)
        give_up(path);
    getrusage(RUSAGE_SELF, &before);
    double start = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID), n = (double)w->q.n;
    search_all(w, w->s, ef, labels);
    double t = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - start;
    getrusage(RUSAGE_SELF, &after);
    if (fwrite(labels, K * sizeof *labels, w->q.n, f) != w->q.n || fclose(f))
        give_up(path);
    free(labels);
    printf("%.1f %.3f %.3f\n", n / t, (double)(after.ru_majflt - before.ru_majflt) / n,
           (double)(after.ru_minflt - before.ru_minflt) / n);
}

struct thread {
    pthread_t id;
    const struct worker *w;
    pthread_barrier_t *start;
    uint32_t ef;
    double seconds;
    uint64_t from_ns, to_ns; /* clock_ns */
};

static void *thread_main(void *arg)
{
    struct thread *t = arg;
    struct graph_scratch *s;
    if (graph_scratch_create(&s) < 0)
        give_up("no memory");
    pthread_barrier_wait(t->start);
    double start = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
    t->from_ns = clock_ns();
    for (int round = 0; round < 5; round++)
        search_all(t->w, s, t->ef, NULL);
    t->to_ns = clock_ns();
    t->seconds = (cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - start) / 5;
    graph_scratch_destroy(&s);
    return NULL;
}

static void do_threads(struct worker *w, unsigned n, uint32_t ef)
{
    struct thread t[THREADS_MAX];
    pthread_barrier_t start;
    double slowest = 0;
    uint64_t from = UINT64_MAX, to = 0;
    if (n < 1 || n > THREADS_MAX || pthread_barrier_init(&start, NULL, n))
        give_up("threads");
    for (unsigned i = 0; i < n; i++) {
        t[i] = (struct thread){.w = w, .start = &start, .ef = ef};
        if (pthread_create(&t[i].id, NULL, thread_main, &t[i]))
            give_up("threads");
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(t[i].id, NULL);
        slowest = t[i].seconds > slowest ? t[i].seconds : slowest;
        from = t[i].from_ns < from ? t[i].from_ns : from;
        to = t[i].to_ns > to ? t[i].to_ns : to;
    }
    pthread_barrier_destroy(&start);
    printf("%.1f %.1f\n", n * (double)w->q.n / slowest, 5.0 * n * (double)w->q.n * 1e9 / (double)(to - from));
}

static void do_remove(struct worker *w, unsigned n)
{
    double from = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
    for (size_t i = 0; i < w->base.n; i += n)
        if (graph_remove(w->g, i) < 0)
            give_up("cannot remove");
    printf("%.3f\n", cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - from);
}

static void do_replace(struct worker *w, unsigned n)
{
    double from = cpu_seconds(CLOCK_THREAD_CPUTIME_ID);
    for (size_t i = 0; i < n * w->base.n; i++) {
        size_t at = i % w->base.n;
        if (graph_remove(w->g, at) < 0 || graph_add(w->g, at, w->base.v + at * w->base.dim) < 0)
            give_up("cannot replace");
    }
    printf("%.3f\n", cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - from);
}

static void obey(struct worker *w, const char *line)
{
    char path[4096];
    unsigned n, ef;
    if (!strcmp(line, "build\n"))
        do_build(w, 1);
    else if (sscanf(line, "build %u", &n) == 1)
        do_build(w, n);
    else if (!strcmp(line, "save\n"))
        do_save(w);
    else if (!strcmp(line, "open\n"))
        do_open(w);
    else if (sscanf(line, "search %u %4095s", &ef, path) == 2)
        do_search(w, ef, path);
    else if (sscanf(line, "threads %u %u", &n, &ef) == 2)
        do_threads(w, n, ef);
    else if (sscanf(line, "remove %u", &n) == 1 && n && w->g)
        do_remove(w, n);
    else if (sscanf(line, "replace %u", &n) == 1 && n && w->g)
        do_replace(w, n);
    else
        give_up("no such command");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const char *const codes[] = {[GRAPH_CODES_AUTO] = "auto", [GRAPH_CODES_INT8] = "int8", [GRAPH_CODES_F32] = "f32",
                                        [GRAPH_CODES_1BIT] = "1bit"};
    struct worker w = {.p = {.m = 16, .ef_construction = 200}};
    struct err_msg em = {""};
    char line[4400];
    uint64_t seq;
    if (argc < 5)
        give_up("BASE.fvecs|- QUERIES.fvecs cosine|l2 auto|int8|1bit|f32 [FOLDER]");
    if (strcmp(argv[1], "-"))
        load(&w.base, argv[1]);
    load(&w.q, argv[2]);
    w.p.dim = w.q.dim;
    w.p.metric = strcmp(argv[3], "l2") ? METRIC_COSINE : METRIC_L2;
    for (int i = GRAPH_CODES_AUTO; i <= GRAPH_CODES_1BIT; i++)
        if (!strcmp(argv[4], codes[i]))
            w.p.codes = (enum graph_codes)i;
    w.folder = argc > 5 ? argv[5] : NULL;
    if (w.base.n && w.base.dim != w.q.dim)
        give_up("base and queries differ in dimension");
    if (graph_open(&w.g, w.folder, &w.p, &seq, NULL, &em) < 0 || graph_scratch_create(&w.s) < 0)
        give_up(em.text);
    while (fgets(line, sizeof line, stdin))
        obey(&w, line);
    graph_scratch_destroy(&w.s);
    graph_destroy(&w.g);
    free(w.base.v);
    free(w.q.v);
    return 0;
}
