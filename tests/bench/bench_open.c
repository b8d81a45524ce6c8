/* How long a large folder takes until it answers: opening, a reader, the first searches of each kind.
 *
 *   bench_open FOLDER [CHUNKS [DIM]]      1,000,000 chunks of 384 dimensions, unless said
 *
 * Makes the folder where it is not there yet (texts of eight words, vectors of its own generator around 1,000 centres,
 * efConstruction 40, which changes how long that takes but not what is opened: about 4 GB of disk for a million), closes it, and
 * opens it six times; the first time is printed apart. Then once more after a kill -9 behind 2,000 more documents. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "index/index.h"

#define GROUP 2000
#define CENTRES 1000
#define TIMES 6
#define LATE 2000

static const char *folder;
static uint32_t dim = 384;

static uint64_t next(uint64_t *s)
{
    uint64_t z = (*s += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static float unit(uint64_t *s)
{
    return (float)(next(s) >> 40) / (1 << 23) - 1;
}

static void must(int r, const struct err_msg *em)
{
    if (r == 0)
        return;
    fprintf(stderr, "%s: %s\n", err_name(r), em->text);
    exit(1);
}

static void vector_of(uint64_t i, float *v)
{
    uint64_t centre = i % CENTRES + 1, own = i + 1000003;
    for (uint32_t j = 0; j < dim; j++)
        v[j] = unit(&centre) + 0.7f * unit(&own);
}

static void text_of(uint64_t i, char text[static 128])
{
    uint64_t s = i;
    int at = sprintf(text, "chunk%llu", (unsigned long long)i);
    for (int j = 0; j < 7; j++)
        at += sprintf(text + at, " w%u", (unsigned)(next(&s) % 20000));
}

static struct index *open_index(void)
{
    struct index *ix;
    struct err_msg em = {""};
    must(index_open(&ix, &(struct index_params){.dir = folder}, &em), &em);
    return ix;
}

static void put(struct index *ix, uint64_t from, uint64_t n)
{
    static float v[INDEX_DIM_MAX];
    char id[24], text[128];
    struct err_msg em = {""};
    bool more;
    for (uint64_t i = from; i < from + n; i++) {
        vector_of(i, v);
        text_of(i, text);
        snprintf(id, sizeof id, "%llu", (unsigned long long)i);
        struct index_doc d = {.collection = "c", .id = id, .id_len = strlen(id), .text = text, .text_len = strlen(text), .vectors = v, .dim = dim};
        must(index_put(ix, &d, &em), &em);
    }
    must(index_commit(ix, NULL, &em), &em);
    must(index_maintain(ix, 0, &more, &em), &em);
}

static void make(uint64_t n)
{
    struct err_msg em = {""};
    struct index_collection c;
    struct index_collection_params p = {.name = "c", .dim = dim, .vectors_only = true, .ef_construction = 40};
    struct index *ix = open_index();
    if (index_info(ix, "c", &c, &em) < 0) {
        must(index_create(ix, &p, &em), &em);
        c.documents = 0;
    }
    for (uint64_t i = c.documents; i < n; i += GROUP) {
        put(ix, i, n - i < GROUP ? n - i : GROUP);
        if (i % 50000 == 0)
            fprintf(stderr, "%llu of %llu\n", (unsigned long long)i, (unsigned long long)n);
    }
    index_close(&ix);
}

/* Of this process, in milliseconds: on a busy machine it says more than the clock. */
static double cpu_ms(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return 1e3 * (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-3 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static double ms(uint64_t *since)
{
    uint64_t now = clock_ns(), was = *since;
    *since = now;
    return (double)(now - was) / 1e6;
}

static void measure(const char *what, uint64_t i)
{
    float *v = malloc(dim * sizeof *v);
    char text[128], id[24];
    struct index_reader *r;
    struct index_result res;
    struct err_msg em = {""};
    double took[5];
    vector_of(i, v);
    text_of(i, text);
    snprintf(id, sizeof id, "%llu", (unsigned long long)i);
    double cpu = cpu_ms();
    uint64_t t = clock_ns(), start = t;
    struct index *ix = open_index();
    took[0] = ms(&t);
    must(index_reader_create(&r, ix, &em), &em);
    took[1] = ms(&t);
    bool found = true, degraded = false;
    static const enum index_mode modes[] = {INDEX_DENSE, INDEX_TEXT, INDEX_HYBRID};
    for (int m = 0; m < 3; m++) {
        struct index_query q = {.collection = "c", .text = text, .text_len = strlen(text), .vector = v, .dim = dim, .mode = modes[m]};
        must(index_search(r, &q, &res, &em), &em);
        took[2 + m] = ms(&t);
        found = found && res.n && strcmp(res.hits[0].id, id) == 0;
        degraded = degraded || res.degraded;
        index_result_finish(&res);
    }
    printf("| %s | %.1f | %.1f | %.1f | %.1f | %.1f | %.1f | %.1f | %s%s |\n", what, took[0], took[1], took[2], took[3], took[4],
           (double)(t - start) / 1e6, cpu_ms() - cpu, found ? "yes" : "NO", degraded ? ", from an exact scan of what the graph lacks" : "");
    free(v);
    index_reader_destroy(&r);
    index_close(&ix);
}

int main(int argc, char **argv)
{
    struct err_msg em;
    struct index_collection c;
    uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    if (argc < 2 || (dim = argc > 3 ? (uint32_t)atoi(argv[3]) : dim) < 1 || dim > INDEX_DIM_MAX) {
        fprintf(stderr, "usage: bench_open FOLDER [CHUNKS [DIM]]\n");
        return 2;
    }
    folder = argv[1];
    make(n);
    struct index *ix = open_index();
    must(index_info(ix, "c", &c, &em), &em);
    index_close(&ix);
    printf("%llu chunks of %u dimensions, graph files of %.0f MB; milliseconds\n\n"
           "| time | open | reader | first dense | first text | first hybrid | all | of it CPU | found |\n"
           "| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
           (unsigned long long)c.chunks, dim, (double)c.bytes_index / 1e6);
    for (int i = 0; i < TIMES; i++) {
        char what[16];
        snprintf(what, sizeof what, "%d", i + 1);
        measure(what, (n * (uint64_t)(i + 1)) / (TIMES + 1));
    }
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        ix = open_index();
        put(ix, c.chunks, LATE);
        kill(getpid(), SIGKILL);
    }
    waitpid(pid, NULL, 0);
    measure("after a kill, 2,000 documents behind the graph", c.chunks + LATE / 2);
    return 0;
}
