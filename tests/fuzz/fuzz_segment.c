/* A graph whose segment is made of these bytes, its checksums put right, so that everything behind them is reached: open, search,
 * change, check. Nothing but refusals and reports may come of it. */
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
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
    for (uint64_t i = 0; i < 3; i++) /* some slots are free, the list of them is not empty */
        graph_remove(g, 11 + i * 9);
    if (graph_checkpoint(g, 5, &em) < 0)
        abort();
    graph_destroy(&g);
    segment_path(segment, dir, 1);
    snprintf(path, sizeof path, "%s/MANIFEST", dir);
    if (file_read(segment, 1u << 30, &good, &good_len, &em) < 0 || file_read(path, 4096, &manifest, &manifest_len, &em) < 0)
        abort();
}

/* The blocks' checksums, where the header still says that they are within the file: without them the check would stop there. */
static void put_sums_right(uint8_t *page)
{
    struct segment_header h;
    struct segment_layout l;
    if (segment_header_unpack(&h, page) < 0 || !segment_layout(&h, &l) || l.end != good_len)
        return;
    for (uint64_t i = 0; i < l.n_blocks; i++) {
        const uint64_t from = l.nodes + i * SEGMENT_BLOCK;
        const uint64_t sum = XXH3_64bits(page + from, l.sums - from < SEGMENT_BLOCK ? (size_t)(l.sums - from) : SEGMENT_BLOCK);
        memcpy(page + l.sums + i * 8, &sum, 8);
    }
}

/* The input is a list of changes of four bytes each, which leave most of a good file as it is: u16 place, u8 part, u8 to xor with. */
static uint8_t *make(const uint8_t *data, size_t size)
{
    struct segment_header h;
    struct segment_layout l;
    uint8_t *page = malloc(good_len);
    if (!page || segment_header_unpack(&h, (uint8_t *)good) < 0 || !segment_layout(&h, &l) || l.end != good_len)
        abort();
    memcpy(page, good, good_len);
    for (size_t i = 0; i + 4 <= size; i += 4) {
        const size_t place = data[i] | (size_t)data[i + 1] << 8;
        const size_t at = data[i + 2] % 8 == 0   ? 12 + place % 228 /* the header's numbers */
                          : data[i + 2] % 8 == 1 ? l.upper + place % ((size_t)h.n_upper * h.upper_stride + 1)
                          : data[i + 2] % 8 == 2 ? l.hash + place % (l.free - l.hash)
                          : data[i + 2] % 8 == 3 ? l.free + place % (l.sums - l.free + 1)
                                                 : l.nodes + place % ((size_t)N * h.stride);
        page[at] ^= data[i + 3];
    }
    uint64_t sum = XXH3_64bits(page, SEGMENT_HEADER - 8);
    memcpy(page + SEGMENT_HEADER - 8, &sum, 8);
    put_sums_right(page);
    return page;
}

/* Without the sync of file_replace, and without emptying the file first, which some file systems answer with one. */
static void put(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, len) != (ssize_t)len || ftruncate(fd, (off_t)len) < 0)
        abort();
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
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
    put(segment, page, good_len);
    put(path, manifest, manifest_len);
    free(page);
    struct graph *g = open_graph(&seq);
    if (seq && graph_scratch_create(&s) == 0) {
        float v[DIM] = {1, 2, 3, 4};
        (void)graph_search(g, s, &(struct graph_query){.v = v, .k = 5}, hits, &n, NULL);
        (void)graph_search(g, s, &(struct graph_query){.v = v, .k = 5, .exact = true}, hits, &n, NULL);
        if (graph_check(g, &rep) < 0 && strstr(rep.text, "checksum differs") && strstr(rep.text, ".seg"))
            abort(); /* then nothing behind the checksums was looked at */
        (void)graph_add(g, 100, v);
        (void)graph_add(g, 3, v);
        (void)graph_remove(g, 7);
        (void)graph_search(g, s, &(struct graph_query){.v = v, .k = 5}, hits, &n, NULL);
        graph_scratch_destroy(&s);
    }
    graph_destroy(&g);
    return 0;
}

/* The good file itself; a number of the header; then a byte of each part in turn. */
size_t fuzz_seed(int i, uint8_t *buf, size_t cap)
{
    if (i > 20 || cap < 16)
        return 0;
    for (int k = 0; k < 4; k++) {
        uint8_t change[4] = {(uint8_t)(i * 37 + k * 101), (uint8_t)(i * k), (uint8_t)(i % 8), (uint8_t)(i ? 1 << (i + k) % 8 : 0)};
        memcpy(buf + 4 * k, change, sizeof change);
    }
    return 16;
}
