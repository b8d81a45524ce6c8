/* Search latency through the socket, as a client sees it: one query after the other, its embedding included.
 *
 *   bench_search SOCKET COLLECTION QUERIES.txt   (one query per line)
 *
 * Prints the median, the 95th and the 99th percentile in milliseconds for each mode. tests/bench/search_latency.sh
 * makes a daemon with 60,000 chunks and runs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "clients/c/latent.h"

#define QUERIES_MAX 100000

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t read_lines(const char *path, char **lines)
{
    FILE *f = fopen(path, "r");
    size_t n = 0, cap = 0;
    char *line = NULL;
    if (!f) {
        perror(path);
        return 0;
    }
    while (n < QUERIES_MAX && getline(&line, &cap, f) > 0) {
        line[strcspn(line, "\n")] = 0;
        if (line[0])
            lines[n++] = strdup(line);
    }
    free(line);
    fclose(f);
    return n;
}

static int run_mode(struct latent *c, const char *collection, enum latent_mode mode, const char *name,
                    char **queries, size_t n)
{
    double *ms = malloc(n * sizeof *ms);
    for (size_t i = 0; ms && i < n; i++) {
        struct latent_search s = {.collection = collection, .query = queries[i], .k = 10, .mode = mode};
        struct latent_search_result *r;
        uint64_t t = clock_ns();
        if (latent_search(c, &s, &r) < 0) {
            fprintf(stderr, "%s: %s\n", queries[i], latent_error(c));
            free(ms);
            return 1;
        }
        ms[i] = (double)(clock_ns() - t) / 1e6;
        latent_free(r);
    }
    if (!ms)
        return 1;
    qsort(ms, n, sizeof *ms, by_value);
    printf("%-7s  %zu queries  p50 %6.2f ms  p95 %6.2f ms  p99 %6.2f ms\n", name, n, ms[n / 2], ms[n * 95 / 100],
           ms[n * 99 / 100]);
    free(ms);
    return 0;
}

int main(int argc, char **argv)
{
    static char *queries[QUERIES_MAX];
    if (argc != 4) {
        fprintf(stderr, "usage: bench_search SOCKET COLLECTION QUERIES.txt\n");
        return 2;
    }
    struct latent *c = latent_new();
    size_t n = read_lines(argv[3], queries);
    if (!n || !c || latent_connect_unix(c, argv[1]) < 0) {
        fprintf(stderr, "bench_search: %s\n", n ? latent_error(c) : "no queries");
        return 1;
    }
    size_t warm = n < 50 ? n : 50;
    int bad = run_mode(c, argv[2], LATENT_MODE_HYBRID, "warm-up", queries, warm) ||
              run_mode(c, argv[2], LATENT_MODE_DENSE, "dense", queries, n) ||
              run_mode(c, argv[2], LATENT_MODE_TEXT, "text", queries, n) ||
              run_mode(c, argv[2], LATENT_MODE_HYBRID, "hybrid", queries, n);
    latent_destroy(&c);
    for (size_t i = 0; i < n; i++)
        free(queries[i]);
    return bad;
}
