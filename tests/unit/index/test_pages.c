/* Maps and memory that do not end where pages of 64 KiB do (tests/tools/large_pages.c). */
#include "store_kit.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "index/graph.h"
#include "index/pages.h"

#define PAGES 4u

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MEMORY_TELLS 0 /* a sanitizer's is among it */
#else
#define OWN_MEMORY_TELLS 1
#endif

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 7 + (i >> 8) + 1);
}

/* A file of whole pages, without a name. */
static int make_file(size_t page)
{
    char path[] = "/tmp/latentd-pages-XXXXXX";
    const int fd = mkstemp(path);
    uint8_t *bytes = malloc(PAGES * page);
    assert_true(fd >= 0 && bytes);
    unlink(path);
    for (size_t i = 0; i < PAGES * page; i++)
        bytes[i] = byte_at(i);
    assert_int_equal(write(fd, bytes, PAGES * page), (ssize_t)(PAGES * page));
    free(bytes);
    return fd;
}

static void same(const uint8_t *p, size_t from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != byte_at(from + i))
            fail_msg("byte %zu of those from %zu", i, from);
}

static void test_map(void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), froms[] = {0, 1, 4096, page - 1, page, page + 4096},
                 lens[] = {1, 4096, page, page + 1, 2 * page - 4096};
    const int fd = make_file(page);
    assert_int_equal(page, PAGE_BYTES);
    for (size_t f = 0; f < sizeof froms / sizeof *froms; f++)
        for (size_t l = 0; l < sizeof lens / sizeof *lens; l++) {
            uint8_t *p = pages_map(fd, froms[f], lens[l]);
            assert_non_null(p);
            same(p, froms[f], lens[l]);
            pages_unmap(p, lens[l]);
            assert_int_equal(msync(p - froms[f] % page, page, MS_ASYNC), -1); /* nothing is there */
        }
    uint8_t *beyond = pages_map(fd, (PAGES - 1) * page + 4096, 9 * page);
    assert_non_null(beyond);
    same(beyond, (PAGES - 1) * page + 4096, page - 4096);
    pages_unmap(beyond, 9 * page);
    assert_null(pages_map(-1, 0, 1));
    close(fd);
}

/* Whatever is dropped, the bytes beside it stay. */
static void test_drop(void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), len = PAGES * page;
    uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    for (size_t from = 0; from < len; from += 4096)
        for (size_t end = from; end <= len; end += 4096) {
            const size_t first = (from + page - 1) / page * page, last = end / page * page;
            memset(p, 1, len);
            pages_drop(p + from, end - from);
            for (size_t i = 0; i < len; i += 4096)
                assert_int_equal(p[i], !(i >= first && i < last));
        }
    munmap(p, len);
}

static void test_move(void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const int fd = make_file(page);
    uint8_t *to = mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(to, MAP_FAILED);
    memset(to, 1, PAGES * page);
    uint8_t *odd = pages_map(fd, 4096, page), *whole = pages_map(fd, page, page);
    assert_false(pages_move(odd, page, to + 4096));
    assert_false(pages_move(odd, page, to));
    assert_false(pages_move(whole, page, to + 4096));
    assert_false(pages_move(whole, 4096, to));
    same(odd, 4096, page);
    same(whole, page, page);
    for (size_t i = 0; i < PAGES * page; i++)
        assert_int_equal(to[i], 1);
    assert_true(pages_move(whole, page, to + page));
    same(to + page, page, page);
    assert_int_equal(to[page - 1], 1);
    assert_int_equal(to[2 * page], 1);
    pages_unmap(odd, page);
    munmap(to, PAGES * page);
    close(fd);
}

static uint64_t anonymous(void)
{
    char line[200];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    while (f && fgets(line, sizeof line, f) && sscanf(line, "Anonymous: %llu", &kib) != 1)
        ;
    if (f)
        fclose(f);
    return (uint64_t)kib << 10;
}

/* The first save puts the exact vectors into a file, and the memory they had goes back. */
static void test_vectors(void **state)
{
    enum { DIM = 1024, N = 3000 };
    static float v[DIM];
    char dir[128];
    struct graph *g;
    struct err_msg em;
    uint64_t seq, rng = unit_seed();
    const struct graph_params p = {.dim = DIM, .metric = METRIC_L2, .m = 4, .ef_construction = 8, .codes = GRAPH_CODES_INT8};
    kit_ok(graph_open(&g, kit_dir(dir), &p, &seq, NULL, &em), &em);
    for (uint64_t label = 0; label < N; label++) {
        for (int i = 0; i < DIM; i++)
            v[i] = (float)(unit_rand(&rng) >> 40);
        assert_int_equal(graph_add(g, label, v), 0);
    }
    const uint64_t before = anonymous();
    kit_ok(graph_checkpoint(g, 1, &em), &em);
    kit_ok(graph_checkpoint(g, 2, &em), &em); /* what was retired with the first is let go */
    const uint64_t now = anonymous();
    print_message("%llu KiB of memory were %llu\n", (unsigned long long)now >> 10, (unsigned long long)before >> 10);
    assert_true(!OWN_MEMORY_TELLS || !before || now + sizeof v * N * 3 / 4 < before);
    graph_destroy(&g);
    kit_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_map), cmocka_unit_test(test_drop), cmocka_unit_test(test_move),
                                       cmocka_unit_test(test_vectors)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
