/* The graph on disk: what comes back, what damage does, and that an old checkpoint stays good until a new one is. */
#include "tests/unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/file.h"
#include "index/graph.h"
#include "index/segment.h"

#define DIM 48
#define K 10

static const struct graph_params params = {.dim = DIM, .metric = METRIC_COSINE};
static char dir[64];

static int make_dir(void **state)
{
    return unit_folder(dir, "segment") ? 0 : -1;
}

static int remove_dir(void **state)
{
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

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
    if (graph_open(&g, dir, &params, seq, rep, &em) < 0)
        fail_msg("%s", em.text);
    return g;
}

static void add(struct graph *g, uint64_t from, uint64_t to)
{
    float v[DIM];
    for (uint64_t label = from; label < to; label++) {
        vector_of(label, v);
        assert_int_equal(graph_add(g, label, v), 0);
    }
}

static bool found(const struct graph *g, uint64_t label)
{
    struct graph_scratch *s;
    struct graph_hit hits[K];
    float v[DIM];
    size_t n;
    vector_of(label, v);
    struct graph_query q = {.v = v, .k = K};
    assert_int_equal(graph_scratch_create(&s), 0);
    assert_int_equal(graph_search(g, s, &q, hits, &n, NULL), 0);
    graph_scratch_destroy(&s);
    return n && hits[0].label == label && hits[0].score > 0.9999f;
}

static void checkpoint(struct graph *g, uint64_t seq)
{
    struct err_msg em = {{0}};
    if (graph_checkpoint(g, seq, &em) < 0)
        fail_msg("%s", em.text);
}

static void sound(const struct graph *g)
{
    struct graph_report rep = {0};
    if (graph_check(g, &rep) < 0)
        fail_msg("%s", rep.text);
    assert_int_equal(rep.n_live, rep.n_reached);
}

/* Files of another user, in a folder where they could be deleted: they are not taken for missing. */
static void test_refused_files(void **state)
{
    static const char *const names[] = {"MANIFEST", "segment-0000000000000001.seg", "vectors-0000000000000001.vec"};
    const bool root = geteuid() == 0;
    struct graph_report rep;
    uint64_t seq;
    assert_int_equal(remove_dir(state), 0);
    assert_int_equal(make_dir(state), 0);
    struct graph *g = open_graph(&seq, &rep);
    add(g, 0, 50);
    checkpoint(g, 7);
    graph_destroy(&g);
    assert_int_equal(chmod(dir, 0777), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct err_msg em;
        char path[SEGMENT_PATH];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        assert_int_equal(chmod(path, 0), 0);
        if (root)
            assert_int_equal(seteuid(65534), 0); /* who has no right to everything */
        const int r = graph_open(&g, dir, &params, &seq, &rep, &em);
        if (root)
            assert_int_equal(seteuid(0), 0);
        assert_int_equal(r, LT_EPERM);
        assert_non_null(strstr(em.text, names[i]));
        assert_int_equal(chmod(path, 0644), 0);
    }
    g = open_graph(&seq, &rep);
    assert_int_equal(seq, 7);
    assert_false(rep.damaged);
    assert_int_equal(graph_count(g), 50);
    graph_destroy(&g);
}

/* Sizes around a chunk's worth of nodes, opened three times, changed in between. */
static void test_comes_back(void **state)
{
    static const uint64_t sizes[] = {0, 1, 2, 4095, 4096, 4097, 9000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct graph_report rep;
        uint64_t seq, n = sizes[i];
        struct graph *g = open_graph(&seq, &rep);
        assert_int_equal(seq, 0);
        add(g, 0, n);
        checkpoint(g, 11);
        graph_destroy(&g);
        g = open_graph(&seq, &rep);
        assert_int_equal(seq, 11);
        assert_false(rep.damaged);
        assert_int_equal(graph_count(g), n);
        sound(g);
        for (uint64_t label = 0; label < n; label += 1 + n / 50)
            assert_true(found(g, label));
        /* new ones beside the mapped ones, removed ones, replaced ones */
        add(g, 100000, 100300);
        for (uint64_t label = 0; label < n && label < 200; label += 2)
            assert_int_equal(graph_remove(g, label), 0);
        sound(g);
        assert_true(found(g, 100299));
        checkpoint(g, 12);
        add(g, 200000, 200050); /* after the checkpoint: forgotten */
        graph_destroy(&g);
        g = open_graph(&seq, &rep);
        assert_int_equal(seq, 12);
        assert_true(found(g, 100000) && found(g, 100299));
        assert_false(graph_has(g, 200000));
        assert_true(n < 2 || (!graph_has(g, 0) && graph_has(g, 1)));
        sound(g);
        graph_destroy(&g);
        assert_int_equal(graph_erase(dir, NULL), 0);
    }
}

/* Deleting and adding over many checkpoints reuses slots and never touches what the last checkpoint names. */
static void test_churn(void **state)
{
    struct graph_report rep;
    uint64_t seq;
    struct graph *g = open_graph(&seq, &rep);
    struct graph_info info;
    add(g, 0, 1000);
    for (uint64_t round = 0; round < 12; round++) {
        uint64_t base = round * 1000;
        checkpoint(g, round + 1);
        for (uint64_t label = base; label < base + 1000; label++) {
            float v[DIM];
            assert_int_equal(graph_remove(g, label), 0);
            vector_of(label + 1000, v);
            assert_int_equal(graph_add(g, label + 1000, v), 0);
        }
        sound(g);
        if (round % 3 == 2) { /* a crash: what came after the checkpoint is gone, what it holds is whole */
            graph_destroy(&g);
            g = open_graph(&seq, &rep);
            assert_int_equal(seq, round + 1);
            sound(g);
            for (uint64_t label = base; label < base + 1000; label += 37)
                assert_true(found(g, label));
            for (uint64_t label = base; label < base + 1000; label++) {
                float v[DIM];
                assert_int_equal(graph_remove(g, label), 0);
                vector_of(label + 1000, v);
                assert_int_equal(graph_add(g, label + 1000, v), 0);
            }
        }
    }
    graph_info(g, &info);
    assert_true(info.n_slots < 3500);
    graph_destroy(&g);
    assert_int_equal(graph_erase(dir, NULL), 0);
}

/* A growing graph, saved whenever it wants to be: all savings together write at most twice the graph. */
static void test_written(void **state)
{
    const uint64_t n = 24000;
    struct graph_params small = {.dim = 4, .metric = METRIC_L2, .m = 4, .ef_construction = 8};
    uint64_t seq, n_written = 0, rng = 9;
    struct err_msg em;
    struct graph *g;
    assert_int_equal(graph_open(&g, dir, &small, &seq, NULL, &em), 0);
    for (uint64_t label = 0; label < n; label++) {
        float v[4];
        for (int i = 0; i < 4; i++)
            v[i] = (float)(unit_rand(&rng) >> 40);
        assert_int_equal(graph_add(g, label, v), 0);
        if (graph_wants_checkpoint(g, false)) {
            checkpoint(g, label + 1);
            n_written += graph_count(g);
        }
    }
    print_message("%llu nodes, %llu written\n", (unsigned long long)n, (unsigned long long)n_written);
    assert_in_range(n_written, n / 2, 2 * n);
    graph_destroy(&g);
    assert_int_equal(graph_erase(dir, NULL), 0);
}

static void segment_name(char *path, uint64_t gen)
{
    segment_path(path, dir, gen);
}

/* Opens after one change to a file and says whether the graph came back as damaged and empty. */
static bool refused(const char *path, const uint8_t *data, size_t len)
{
    struct graph_report rep;
    uint64_t seq;
    struct err_msg em;
    assert_int_equal(file_replace(path, data, len, 0600, &em), 0);
    struct graph *g = open_graph(&seq, &rep);
    bool r = seq == 0 && rep.damaged && rep.text[0] && graph_count(g) == 0;
    graph_destroy(&g);
    return r;
}

/* Puts all files back, since a refusal removes them. */
struct saved {
    char path[3][SEGMENT_PATH];
    char *data[3];
    size_t len[3];
};

static void save_files(struct saved *s)
{
    struct err_msg em;
    segment_name(s->path[0], 1);
    vectors_path(s->path[1], dir, 1);
    snprintf(s->path[2], SEGMENT_PATH, "%s/MANIFEST", dir);
    for (int i = 0; i < 3; i++)
        assert_int_equal(file_read(s->path[i], 64u << 20, &s->data[i], &s->len[i], &em), 0);
}

static void restore_files(const struct saved *s)
{
    struct err_msg em;
    for (int i = 0; i < 3; i++)
        assert_int_equal(file_replace(s->path[i], s->data[i], s->len[i], 0600, &em), 0);
}

static void test_damage(void **state)
{
    struct graph_report rep;
    uint64_t seq;
    struct saved s;
    struct graph *g = open_graph(&seq, &rep);
    add(g, 0, 500);
    checkpoint(g, 3);
    graph_destroy(&g);
    save_files(&s);
    for (int file = 0; file < 3; file++) {
        for (size_t len = 0; len < s.len[file]; len += 4096 + s.len[file] / 64 / 4096 * 4096) {
            restore_files(&s);
            if (!refused(s.path[file], (uint8_t *)s.data[file], len))
                fail_msg("%s cut to %zu bytes was accepted", s.path[file], len);
        }
        size_t head = file == 2 ? s.len[file] : 300; /* every bit of the headers */
        for (size_t at = 0; at < head; at++) {
            restore_files(&s);
            s.data[file][at] ^= 1 << (at % 8);
            if (!refused(s.path[file], (uint8_t *)s.data[file], s.len[file]))
                fail_msg("%s: a changed byte %zu was accepted", s.path[file], at);
            s.data[file][at] ^= 1 << (at % 8);
        }
    }
    restore_files(&s);
    g = open_graph(&seq, &rep);
    assert_int_equal(seq, 3);
    sound(g);
    graph_destroy(&g);
    for (int i = 0; i < 3; i++)
        free(s.data[i]);
    assert_int_equal(graph_erase(dir, NULL), 0);
}

/* Of a version before or after ours: nobody damaged it. */
static void test_another_version(void **state)
{
    struct graph_report rep;
    struct err_msg em;
    uint64_t seq;
    struct saved s;
    struct graph *g = open_graph(&seq, &rep);
    add(g, 0, 50);
    checkpoint(g, 3);
    graph_destroy(&g);
    save_files(&s);
    for (int version = 2; version <= 4; version += 2) {
        char said[80];
        restore_files(&s);
        s.data[2][8] = (char)version;
        const uint64_t sum = XXH3_64bits(s.data[2], s.len[2] - 8);
        memcpy(s.data[2] + s.len[2] - 8, &sum, 8);
        assert_int_equal(file_replace(s.path[2], s.data[2], s.len[2], 0600, &em), 0);
        g = open_graph(&seq, &rep);
        assert_int_equal(seq, 0);
        assert_int_equal(graph_count(g), 0);
        snprintf(said, sizeof said, "its files are of version %d, this latentd's of version 3", version);
        assert_string_equal(rep.text, said);
        graph_destroy(&g);
    }
    for (int i = 0; i < 3; i++)
        free(s.data[i]);
    assert_int_equal(graph_erase(dir, NULL), 0);
}

/* A bit flipped behind the header: found by the scrub, and until then no search or change crashes over it. */
static void test_flipped_bits(void **state)
{
    struct graph_report rep;
    uint64_t seq;
    struct saved s;
    struct graph *g = open_graph(&seq, &rep);
    add(g, 0, 300);
    checkpoint(g, 3);
    uint32_t n_sound = 0;
    memset(&rep, 0xff, sizeof rep);
    assert_int_equal(graph_scrub(g, UINT32_MAX, &n_sound, &rep), 0);
    assert_true(n_sound > 0);
    graph_destroy(&g);
    save_files(&s);
    uint64_t seed = unit_seed();
    for (int i = 0; i < 300; i++) {
        size_t at = SEGMENT_HEADER + unit_rand(&seed) % (size_t)(s.len[0] - SEGMENT_HEADER);
        uint32_t n = 0;
        float v[DIM];
        restore_files(&s);
        int fd = open(s.path[0], O_WRONLY | O_CLOEXEC);
        uint8_t b = (uint8_t)s.data[0][at] ^ (uint8_t)(1 << unit_rand(&seed) % 8);
        assert_int_equal(pwrite(fd, &b, 1, (off_t)at), 1);
        close(fd);
        g = open_graph(&seq, &rep);
        if (seq) {
            struct graph_report scrub;
            memset(&scrub, 0xff, sizeof scrub); /* the caller's memory is any */
            for (uint64_t label = 0; label < 300; label += 31)
                (void)found(g, label);
            vector_of(900, v);
            (void)graph_add(g, 900, v);
            (void)graph_remove(g, 5);
            assert_int_equal(graph_scrub(g, UINT32_MAX, &n, &scrub), LT_ECORRUPT);
            assert_non_null(strstr(scrub.text, "checksum differs"));
        }
        graph_destroy(&g);
    }
    for (int i = 0; i < 3; i++)
        free(s.data[i]);
    assert_int_equal(graph_erase(dir, NULL), 0);
}

/* A label lookup that is all garbage, as a page of it may be on a bad disk, without a free place in it: additions end all the same. */
static void test_full_lookup(void **state)
{
    struct graph_report rep;
    struct segment_header h;
    struct segment_layout l;
    struct saved s;
    uint64_t seq, seed = unit_seed();
    uint32_t n;
    float v[DIM];
    struct graph *g = open_graph(&seq, &rep);
    add(g, 0, 30);
    checkpoint(g, 3);
    graph_destroy(&g);
    save_files(&s);
    assert_int_equal(segment_header_unpack(&h, (uint8_t *)s.data[0]), 0);
    assert_true(segment_layout(&h, &l));
    for (uint64_t at = l.hash; at < l.free; at += 4) {
        const uint32_t garbage = (uint32_t)unit_rand(&seed) | 1;
        memcpy(s.data[0] + at, &garbage, 4);
    }
    restore_files(&s);
    g = open_graph(&seq, &rep);
    assert_int_equal(seq, 3);
    vector_of(900, v);
    (void)graph_add(g, 900, v);
    assert_int_equal(graph_scrub(g, UINT32_MAX, &n, &rep), LT_ECORRUPT);
    graph_destroy(&g);
    for (int i = 0; i < 3; i++)
        free(s.data[i]);
    assert_int_equal(graph_erase(dir, NULL), 0);
}

#ifdef LATENTD_FAULTS
static char no_sync[96]; /* folders are not synced after a rename while there is this file */

/* The manifest has its new name, and then its folder cannot be synced: whichever of the two a crash leaves, the files that it names are there. */
static void test_manifest_unsynced(void **state)
{
    struct graph_report rep;
    struct err_msg em;
    uint64_t seq;
    struct graph *g = open_graph(&seq, &rep);
    add(g, 0, 200);
    checkpoint(g, 3);
    add(g, 200, 300);
    for (int whole = 0; whole < 2; whole++) {
        fclose(fopen(no_sync, "w"));
        assert_int_equal(whole ? graph_compact(g, 4, &em) : graph_checkpoint(g, 4, &em), LT_EIO);
        unlink(no_sync);
        uint32_t n;
        if (graph_scrub(g, UINT32_MAX, &n, &rep) < 0)
            fail_msg("whole %d: %s", whole, rep.text);
        struct graph *again;
        struct graph_params look = params;
        look.inspect = true;
        assert_int_equal(graph_open(&again, dir, &look, &seq, &rep, &em), 0);
        if (rep.damaged)
            fail_msg("whole %d: %s", whole, rep.text);
        assert_int_equal(graph_count(again), seq == 3 ? 200 : 300);
        sound(again);
        graph_destroy(&again);
    }
    checkpoint(g, 5); /* which leaves no files beside its own */
    graph_destroy(&g);
    g = open_graph(&seq, &rep);
    assert_int_equal(seq, 5);
    assert_int_equal(rep.n_removed, 0);
    sound(g);
    graph_destroy(&g);
    assert_int_equal(graph_erase(dir, NULL), 0);
}
#endif

/* Files of ours that nobody names go; files of others stay and stop nothing. */
static void test_other_files(void **state)
{
    char path[SEGMENT_PATH];
    struct err_msg em;
    struct graph_report rep;
    uint64_t seq;
    struct graph *g = open_graph(&seq, &rep);
    add(g, 0, 50);
    checkpoint(g, 9);
    graph_destroy(&g);
    segment_name(path, 77);
    assert_int_equal(file_replace(path, "half", 4, 0600, &em), 0);
    snprintf(path, sizeof path, "%s/notes.txt", dir);
    assert_int_equal(file_replace(path, "mine", 4, 0600, &em), 0);
    g = open_graph(&seq, &rep);
    assert_int_equal(seq, 9);
    assert_int_equal(rep.n_removed, 1);
    assert_int_equal(rep.n_foreign, 1);
    checkpoint(g, 10); /* its name is not 77's */
    graph_destroy(&g);
    g = open_graph(&seq, &rep);
    assert_int_equal(seq, 10);
    graph_destroy(&g);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(graph_erase(dir, NULL), 0);
}

/* Files that are whole, with checksums that fit, but of a collection that is another one: nothing is read as if they were its own. */
static void test_another_collections(void **state)
{
    static const struct graph_params others[] = {
        {.dim = DIM - 1, .metric = METRIC_COSINE}, {.dim = 4 * DIM, .metric = METRIC_COSINE}, {.dim = DIM, .metric = METRIC_IP},
        {.dim = DIM, .metric = METRIC_COSINE, .m = 4}, {.dim = DIM, .metric = METRIC_COSINE, .m = 64},
        {.dim = DIM, .metric = METRIC_COSINE, .codes = GRAPH_CODES_F32}, {.dim = DIM, .metric = METRIC_COSINE, .codes = GRAPH_CODES_1BIT},
    };
    struct graph_report rep;
    uint64_t seq;
    struct graph *g = open_graph(&seq, &rep);
    add(g, 0, 500);
    checkpoint(g, 3);
    graph_destroy(&g);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct graph_params p = others[i];
        struct err_msg em;
        p.inspect = true; /* or they would be taken away */
        assert_int_equal(graph_open(&g, dir, &p, &seq, &rep, &em), 0);
        assert_true(rep.damaged);
        if (!strstr(rep.text, "made for another collection"))
            fail_msg("%zu: '%s'", i, rep.text);
        assert_int_equal(graph_count(g), 0);
        assert_int_equal(seq, 0);
        graph_destroy(&g);
    }
    g = open_graph(&seq, &rep);
    assert_false(rep.damaged);
    assert_int_equal(seq, 3);
    graph_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comes_back),   cmocka_unit_test(test_churn),         cmocka_unit_test(test_written),
        cmocka_unit_test(test_damage),       cmocka_unit_test(test_flipped_bits),  cmocka_unit_test(test_full_lookup),
#ifdef LATENTD_FAULTS
        cmocka_unit_test(test_manifest_unsynced),
#endif
        cmocka_unit_test(test_other_files),  cmocka_unit_test(test_another_version), cmocka_unit_test(test_another_collections),
        cmocka_unit_test(test_refused_files),
    };
#ifdef LATENTD_FAULTS
    char fault[120];
    snprintf(no_sync, sizeof no_sync, "/tmp/latentd-test-unsynced-%ld", (long)getpid());
    snprintf(fault, sizeof fault, "file.renamed=%s", no_sync);
    setenv("LATENTD_FAULT", fault, 1);
#endif
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
