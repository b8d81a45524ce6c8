/* A graph whose segment is made of these bytes, its checksums put right, so that everything behind them is reached: open, search,
 * change, check. Nothing but refusals and reports may come of it. */
#include "tests/fuzz/fuzz.h"

#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/file.h"
#include "index/graph.h"
#include "index/segment.h"

#define DIM 4
#define N 40

static char dir[64], segment[SEGMENT_PATH];
static char *good, *manifest;
static size_t good_len, manifest_len;

static struct graph *open_graph(uint64_t *seq)
{
    struct graph *g = NULL;
    struct graph_params p = {.dim = DIM, .metric = METRIC_L2, .m = 4};
    struct err_msg em;
    if (graph_open(&g, dir, &p, seq, NULL, &em) < 0)
        abort();
    return g;
}

static void clean_up(void)
{
    graph_erase(dir, NULL);
    free(good);
    free(manifest);
}

static void set_up(void)
{
    struct err_msg em;
    uint64_t seq;
    char path[SEGMENT_PATH];
    snprintf(dir, sizeof dir, "/tmp/latentd-fuzz-XXXXXX");
    if (!mkdtemp(dir))
        abort();
    atexit(clean_up);
    struct graph *g = open_graph(&seq);
    for (uint64_t i = 0; i < N; i++)
        graph_add(g, i, (float[DIM]){(float)(i % 7), (float)(i % 5), (float)(i % 3), (float)i});
    if (graph_checkpoint(g, 5, &em) < 0)
        abort();
    graph_destroy(&g);
    segment_path(segment, dir, 1);
    snprintf(path, sizeof path, "%s/MANIFEST", dir);
    if (file_read(segment, 1u << 30, &good, &good_len, &em) < 0 || file_read(path, 4096, &manifest, &manifest_len, &em) < 0)
        abort();
}

/* The bytes replace the start of the good segment's parts: the header's numbers, then the nodes. */
static uint8_t *make(const uint8_t *data, size_t size)
{
    uint8_t *page = malloc(good_len);
    size_t head = size < 256 ? size : 256, rest = size - head;
    if (!page)
        abort();
    memcpy(page, good, good_len);
    for (size_t i = 0; i < head; i++)
        page[12 + i] ^= data[i];
    if (rest > good_len - SEGMENT_HEADER)
        rest = good_len - SEGMENT_HEADER;
    for (size_t i = 0; i < rest; i++)
        page[SEGMENT_HEADER + i] ^= data[head + i];
    uint64_t sum = XXH3_64bits(page, SEGMENT_HEADER - 8);
    memcpy(page + SEGMENT_HEADER - 8, &sum, 8);
    return page;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err_msg em;
    struct graph_report rep = {0};
    struct graph_scratch *s;
    struct graph_hit hits[5];
    size_t n;
    uint64_t seq;
    char path[SEGMENT_PATH];
    if (!good)
        set_up();
    uint8_t *page = make(data, size);
    snprintf(path, sizeof path, "%s/MANIFEST", dir);
    if (file_replace(segment, page, good_len, 0600, &em) < 0 || file_replace(path, manifest, manifest_len, 0600, &em) < 0)
        abort();
    free(page);
    struct graph *g = open_graph(&seq);
    if (seq && graph_scratch_create(&s) == 0) {
        float v[DIM] = {1, 2, 3, 4};
        (void)graph_search(g, s, &(struct graph_query){.v = v, .k = 5}, hits, &n, NULL);
        (void)graph_search(g, s, &(struct graph_query){.v = v, .k = 5, .exact = true}, hits, &n, NULL);
        (void)graph_check(g, &rep);
        (void)graph_add(g, 100, v);
        (void)graph_add(g, 3, v);
        (void)graph_remove(g, 7);
        (void)graph_search(g, s, &(struct graph_query){.v = v, .k = 5}, hits, &n, NULL);
        graph_scratch_destroy(&s);
    }
    graph_destroy(&g);
    return 0;
}

size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    if (i > 2 || cap < 500)
        return 0;
    memset(buf, 0, 500); /* the good file itself; then one link, then one head changed */
    if (i)
        buf[256 + (i == 1 ? 100 : 30)] = 0xFF;
    return 500;
}
