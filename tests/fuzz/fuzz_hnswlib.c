/* hnswlib's index files: whatever is taken becomes a graph that can be searched, checked and changed. */
#include "tests/fuzz/fuzz.h"

#include "index/graph_import.h"

#define DIM 2
#define M 4
#define RECORD (4 * (1 + 2 * M) + 4 * DIM + 8)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hnswlib_file f;
    struct err_msg em;
    struct graph *g = NULL;
    struct graph_scratch *s = NULL;
    struct graph_hit hits[5];
    struct graph_report rep = {0};
    uint64_t seq;
    size_t n;
    if (hnswlib_open(&f, data, size, DIM, &em) < 0)
        return 0;
    uint64_t *labels = malloc((f.n + 1u) * sizeof *labels);
    struct graph_params p = {.dim = DIM, .metric = METRIC_L2, .m = f.m, .ef_construction = 8, .codes = GRAPH_CODES_F32};
    if (!labels || graph_open(&g, NULL, &p, &seq, NULL, &em) < 0 || graph_scratch_create(&s) < 0)
        abort();
    for (uint32_t i = 0; i < f.n; i++)
        labels[i] = i;
    if (graph_import(g, &f, labels) == 0) {
        float v[DIM] = {1, 2};
        FUZZ_CHECK(graph_check(g, &rep) == 0);
        FUZZ_CHECK(graph_search(g, s, &(struct graph_query){.v = v, .k = 5, .ef = 5}, hits, &n, NULL) == 0);
        FUZZ_CHECK(graph_add(g, 1000000, v) == 0);
        (void)graph_remove(g, 0);
        FUZZ_CHECK(graph_check(g, &rep) == 0);
    }
    graph_scratch_destroy(&s);
    graph_destroy(&g);
    hnswlib_finish(&f);
    free(labels);
    return 0;
}

static void put(uint8_t *buf, size_t at, uint64_t v, size_t n)
{
    memcpy(buf + at, &v, n);
}

/* A ring of 6, 300 or 30 elements, the first on level 1; the second kind is large enough to be walked. */
size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    static const uint32_t sizes[] = {6, 300, 30};
    if (i > 2)
        return 0;
    uint32_t n = sizes[i];
    size_t at = 96 + (size_t)n * RECORD, len = at + 4 * (size_t)n + 4 * (1 + M);
    if (len > cap)
        return 0;
    memset(buf, 0, len);
    const uint64_t head[] = {0, n, n, RECORD, RECORD - 8, 4 * (1 + 2 * M), 1 /* level 1, entry 0 */, M, 2 * M, M, 0, 40};
    memcpy(buf, head, sizeof head);
    for (uint32_t e = 0; e < n; e++) {
        uint8_t *r = buf + 96 + (size_t)e * RECORD;
        put(r, 0, 2, 2);
        put(r, 4, (e + 1) % n, 4);
        put(r, 8, (e + n - 1) % n, 4);
        float v[DIM] = {(float)e, (float)(e * 7 % n)};
        memcpy(r + 4 * (1 + 2 * M), v, sizeof v);
        put(r, RECORD - 8, e, 8);
    }
    put(buf, at, 4 * (1 + M), 4);
    return len;
}
