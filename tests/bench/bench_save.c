/* How long a writer waits while a graph is saved: for the whole of it (graph_checkpoint), and for one bite (graph_save_step) at a time,
 * with some vectors added after each.
 *
 *   bench_save [N [DIM]]      default 60000 384
 *
 * In the writer's own processor time and in bytes that it writes, which do not depend on what else the machine does; what waits for
 * the disk is counted as waited, the longest. The graph is made quickly, not well: ef_construction is 24. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "index/graph.h"

#define ADDS 4 /* after each bite */

static uint64_t rng = 1;

static float *vectors(size_t n, uint32_t dim)
{
    float *v = malloc(n * dim * sizeof *v);
    for (size_t i = 0; v && i < n * dim; i++) {
        rng = rng * 6364136223846793005u + 1442695040888963407u;
        v[i] = (float)(int32_t)(rng >> 33) / 1073741824.0f - 1;
    }
    return v;
}

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Bytes that this thread has passed to write calls. */
static unsigned long long written(void)
{
    unsigned long long n = 0;
    char line[80];
    FILE *f = fopen("/proc/thread-self/io", "r");
    while (f && fgets(line, sizeof line, f))
        sscanf(line, "wchar: %llu", &n);
    if (f)
        fclose(f);
    return n;
}

static void must(int r, const struct err_msg *em)
{
    if (r == 0)
        return;
    fprintf(stderr, "%s: %s\n", err_name(r), em->text);
    exit(1);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void in_bites(struct graph *g, uint64_t *label, uint32_t dim, const char *what)
{
    static double ms[100000];
    size_t n = 0, n_adds = 0;
    unsigned long long most = 0, total = 0;
    uint64_t longest = 0;
    struct err_msg em;
    float *v = vectors(ADDS, dim);
    bool done = false;
    must(graph_save_begin(g, false, &em), &em);
    while (!done && n < sizeof ms / sizeof *ms) {
        const unsigned long long before = written();
        const double cpu = cpu_ms();
        const uint64_t start = clock_ns();
        must(graph_save_step(g, 2, 0, &done, &em), &em);
        ms[n++] = cpu_ms() - cpu;
        const uint64_t took = clock_ns() - start;
        const unsigned long long bytes = written() - before;
        longest = took > longest ? took : longest;
        most = bytes > most ? bytes : most;
        total += bytes;
        for (int i = 0; i < ADDS; i++, n_adds++)
            must(graph_add(g, (*label)++, v + (size_t)i * dim), &em);
    }
    free(v);
    qsort(ms, n, sizeof *ms, by_size);
    printf("%-26s %6zu bites, %5zu adds between them; a bite: at most %7.1f ms, p99 %6.1f, median %5.1f of processor time, at most %6.1f MiB of %.1f"
           " written; longest %.1f ms waited\n", what, n, n_adds, ms[n - 1], ms[n * 99 / 100], ms[n / 2], (double)most / 1048576,
           (double)total / 1048576, (double)longest / 1e6);
}

static void at_once(struct graph *g, const char *what)
{
    struct err_msg em;
    const unsigned long long before = written();
    const double cpu = cpu_ms();
    const uint64_t start = clock_ns();
    must(graph_checkpoint(g, 2, &em), &em);
    printf("%-26s %.1f ms of processor time, %.1f MiB written; %.1f ms waited\n", what, cpu_ms() - cpu,
           (double)(written() - before) / 1048576, (double)(clock_ns() - start) / 1e6);
}

int main(int argc, char **argv)
{
    const uint32_t n = argc > 1 ? (uint32_t)atoi(argv[1]) : 60000, dim = argc > 2 ? (uint32_t)atoi(argv[2]) : 384, lot = 2048;
    struct graph_params p = {.dim = dim, .m = 16, .ef_construction = 24};
    uint64_t seq, label = n;
    struct err_msg em;
    struct graph *g;
    char dir[200];
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%.150s/bench-save-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(dir))
        return 1;
    must(graph_open(&g, dir, &p, &seq, NULL, &em), &em);
    static uint64_t labels[2048];
    static int results[2048];
    for (uint32_t at = 0; at < n; at += lot) {
        uint32_t k = n - at < lot ? n - at : lot;
        float *v = vectors(k, dim);
        for (uint32_t i = 0; i < k; i++)
            labels[i] = at + i;
        graph_add_many(g, labels, v, k, (unsigned)sysconf(_SC_NPROCESSORS_ONLN), results);
        free(v);
    }
    printf("%u vectors of %u dimensions\n", n, dim);
    in_bites(g, &label, dim, "first save, in bites:");
    at_once(g, "at once:");
    in_bites(g, &label, dim, "in bites:");
    graph_destroy(&g);
    must(graph_open(&g, dir, &p, &seq, NULL, &em), &em);
    in_bites(g, &label, dim, "from its file, in bites:");
    at_once(g, "from its file, at once:");
    graph_destroy(&g);
    must(graph_erase(dir, &em), &em);
    return 0;
}
