/* A graph's files, cut at every 4 KiB and with one bit changed in every 64 bytes, fewer in room that is not used yet: closed, and under a
 * graph that has them mapped. Nothing crashes, the damage is named, and it never gets into a checkpoint. */
#include "tests/unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "index/graph.h"
#include "index/segment.h"

#define DIM 48
#define N 300
#define SEQ 3
#define N_FILES 2
#ifdef __SANITIZE_ADDRESS__
#define EVERY 1024 /* bytes of which one bit is changed; a sanitizer takes its time */
#else
#define EVERY 64
#endif
#define EVERY_UNUSED 1024

static char dir[64];
static char path[N_FILES + 1][SEGMENT_PATH];
static uint8_t *data[N_FILES + 1];
static size_t len[N_FILES + 1];

static void vector_of(uint64_t label, float *v)
{
    uint64_t s = label * 77 + 5;
    for (int i = 0; i < DIM; i++)
        v[i] = (float)(int64_t)(unit_rand(&s) >> 40) / 8388608.0f - 1;
}

static struct graph *open_graph(uint64_t *seq, struct graph_report *rep)
{
    struct graph *g;
    struct err_msg em;
    struct graph_params p = {.dim = DIM, .metric = METRIC_COSINE};
    if (graph_open(&g, dir, &p, seq, rep, &em) < 0)
        fail_msg("%s", em.text);
    return g;
}

/* Without a sync, which is not what is tested here, and without emptying the file first, which some file systems answer with one.
 * The file stays the same one. */
static void put(int file, const uint8_t *bytes, size_t n)
{
    int fd = open(path[file], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    assert_int_equal(ftruncate(fd, (off_t)n), 0);
    close(fd);
}

static void put_all(void)
{
    for (int i = 0; i <= N_FILES; i++)
        put(i, data[i], len[i]);
}

/* The vectors, which a graph in use writes to, and what a refusal has removed. */
static void put_back(void)
{
    put(1, data[1], len[1]);
    for (int i = 0; i <= N_FILES; i += 2)
        if (access(path[i], F_OK) < 0)
            put(i, data[i], len[i]);
}

static void flip(int file, size_t at, uint64_t bit)
{
    int fd = open(path[file], O_RDWR | O_CLOEXEC);
    uint8_t b;
    assert_int_equal(pread(fd, &b, 1, (off_t)at), 1);
    b ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(pwrite(fd, &b, 1, (off_t)at), 1);
    close(fd);
}

static int make_files(void **state)
{
    struct graph_report rep;
    struct err_msg em;
    uint64_t seq;
    float v[DIM];
    if (!unit_folder(dir, "files"))
        return -1;
    struct graph *g = open_graph(&seq, &rep);
    for (uint64_t label = 0; label < N; label++) {
        vector_of(label, v);
        assert_int_equal(graph_add(g, label, v), 0);
    }
    assert_int_equal(graph_checkpoint(g, SEQ, &em), 0);
    graph_destroy(&g);
    segment_path(path[0], dir, 1);
    vectors_path(path[1], dir, 1);
    snprintf(path[2], SEGMENT_PATH, "%s/MANIFEST", dir);
    for (int i = 0; i <= N_FILES; i++) {
        struct stat st;
        FILE *f = fopen(path[i], "rb");
        assert_int_equal(stat(path[i], &st), 0);
        len[i] = (size_t)st.st_size;
        data[i] = malloc(len[i]);
        assert_int_equal(fread(data[i], 1, len[i], f), len[i]);
        fclose(f);
    }
    print_message("segment of %zu bytes, vectors of %zu\n", len[0], len[1]);
    return 0;
}

static int remove_files(void **state)
{
    char cmd[128];
    for (int i = 0; i <= N_FILES; i++)
        free(data[i]);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

/* Searches for some labels, and changes; what comes of it does not matter. */
static void use(struct graph *g)
{
    struct graph_scratch *s;
    float v[DIM];
    assert_int_equal(graph_scratch_create(&s), 0);
    for (uint64_t label = 0; label < N; label += 31) {
        struct graph_hit hits[10];
        size_t n;
        struct graph_query q = {.v = v, .k = 10};
        vector_of(label, v);
        (void)graph_search(g, s, &q, hits, &n, NULL);
    }
    graph_scratch_destroy(&s);
    for (uint64_t label = 1000; label < 1003; label++) {
        vector_of(label, v);
        (void)graph_add(g, label, v);
        (void)graph_remove(g, label - 990);
    }
}

/* Opens a damaged graph. True when it is named: at once, and then it starts empty, or by the scrub. */
static bool named(void)
{
    struct graph_report rep = {0}, scrub = {0};
    uint64_t seq;
    uint32_t n;
    struct graph *g = open_graph(&seq, &rep);
    bool r = seq == 0 && rep.damaged && rep.text[0] && graph_count(g) == 0;
    if (seq) {
        r = graph_scrub(g, UINT32_MAX, &n, &scrub) == LT_ECORRUPT && strstr(scrub.text, "differs");
        use(g);
    }
    graph_destroy(&g);
    return r;
}

static void test_cut(void **state)
{
    for (int file = 0; file < N_FILES; file++)
        for (size_t at = 0; at < len[file]; at += 4096) {
            put_all();
            assert_int_equal(truncate(path[file], (off_t)at), 0);
            if (!named())
                fail_msg("%s cut to %zu bytes is not named", path[file], at);
        }
}

/* How far to go on from a place: one bit of that is changed. */
static size_t stride(int file, size_t at)
{
    for (size_t i = at; i < at + EVERY_UNUSED; i++)
        if (i >= len[file] || data[file][i])
            return EVERY;
    return EVERY_UNUSED;
}

static void test_flipped(void **state)
{
    uint64_t seed = unit_seed();
    unsigned n = 0;
    for (int file = 0; file < N_FILES; file++)
        for (size_t at = 0, step; at < len[file]; at += step, n++) {
            step = stride(file, at);
            const uint64_t r = unit_rand(&seed);
            const size_t byte = at + r % step < len[file] ? at + r % step : at;
            flip(file, byte, r >> 32);
            if (!named())
                fail_msg("%s: a bit changed in byte %zu is not named", path[file], byte);
            if (access(path[file], F_OK) == 0)
                flip(file, byte, r >> 32);
            put_back();
        }
    print_message("%u bits changed, one after the other\n", n);
}

/* Cut, or overwritten with zeros, while it is mapped. */
static void test_in_use(void **state)
{
    struct segment_header h;
    struct segment_layout l;
    unsigned n_mended = 0;
    assert_int_equal(segment_header_unpack(&h, data[0]), 0);
    assert_true(segment_layout(&h, &l));
    const size_t lookup_at = (size_t)(l.upper + (uint64_t)h.n_upper * h.upper_stride);
    for (int file = 0; file < N_FILES; file++)
        for (size_t at = 0; at < len[file]; at += 4096)
            for (int zeros = 0; zeros < 2; zeros++) {
                struct graph_report rep = {0}, scrub = {0};
                struct err_msg em;
                uint64_t seq;
                uint32_t n;
                put_all();
                struct graph *g = open_graph(&seq, &rep);
                assert_int_equal(seq, SEQ);
                use(g);
                assert_int_equal(truncate(path[file], (off_t)at), 0);
                if (zeros)
                    assert_int_equal(truncate(path[file], (off_t)len[file]), 0);
                use(g);
                const bool seen = graph_lost(g) || graph_scrub(g, UINT32_MAX, &n, &scrub) == LT_ECORRUPT || graph_lost(g);
                if (!seen && !(zeros && at >= len[file] - 4096)) /* the last page's rest may be zeros anyway */
                    fail_msg("%s cut to %zu bytes in use is not named", path[file], at);
                if (!zeros) {
                    int r = graph_checkpoint(g, SEQ + 1, &em);
                    /* Where only what lies behind the nodes and their lists was lost, which a save makes anew from them, it mends that. */
                    if (r == 0 && (file != 0 || at < lookup_at || graph_check(g, &rep) < 0))
                        fail_msg("%s cut to %zu bytes in use, and saved: %s", path[file], at, rep.text);
                    n_mended += r == 0;
                    assert_true(r == 0 || r == LT_ECORRUPT);
                    assert_true(r == 0 || !graph_wants_checkpoint(g, true));
                }
                graph_destroy(&g);
                /* A refused checkpoint left what was there. */
                (void)named();
            }
    assert_true(n_mended > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_cut, make_files, remove_files),
                                       cmocka_unit_test_setup_teardown(test_flipped, make_files, remove_files),
                                       cmocka_unit_test_setup_teardown(test_in_use, make_files, remove_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
