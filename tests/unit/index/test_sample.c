/* Sampled searches: what is told about a healthy graph, about one that lost its links, about a collection that changes meanwhile,
 * and that work stays within its bounds. */
#include "store_kit.h"

#include "index/graph_int.h"
#include "index/store.h"

#define N 4200 /* a filter must let more through than is scanned */
#define EVERY 5u

static float vectors[2 * N][KIT_DIM];

static void vector_of(int i, float *v)
{
    uint64_t seed = (uint64_t)i + 77;
    for (unsigned j = 0; j < KIT_DIM; j++)
        v[j] = (float)(unit_rand(&seed) >> 40) / (1 << 23) - 1;
}

static void put(struct index *ix, int i)
{
    char id[16], meta[32];
    struct err_msg em;
    snprintf(id, sizeof id, "%d", i);
    snprintf(meta, sizeof meta, "{\"rare\":%s}", i % 100 ? "false" : "true");
    vector_of(i, vectors[i]);
    struct index_doc d = {.collection = "c", .id = id, .id_len = strlen(id), .metadata = meta, .metadata_len = strlen(meta),
                          .vectors = vectors[i], .dim = KIT_DIM};
    kit_ok(index_put(ix, &d, &em), &em);
}

static struct index *open_filled(const char *dir, uint32_t every, uint64_t most)
{
    struct index *ix;
    struct err_msg em;
    struct index_params p = {.dir = dir, .fingerprint = KIT_MODEL, .dim = KIT_DIM, .sample_every = every, .sample_vectors = most};
    kit_ok(index_open(&ix, &p, &em), &em);
    kit_ok(index_create(ix, &(struct index_collection_params){.name = "c", .dim = KIT_DIM, .vectors_only = true}, &em), &em);
    for (int i = 0; i < N; i++)
        put(ix, i);
    kit_commit(ix);
    return ix;
}

/* Asks n times; how many were sampled. */
static unsigned ask(struct index_reader *r, unsigned n, const char *filter, uint32_t ef, bool exact)
{
    unsigned sampled = 0;
    for (unsigned i = 0; i < n; i++) {
        float v[KIT_DIM];
        struct index_result res;
        struct err_msg em;
        vector_of(1000000 + (int)i, v);
        struct index_query q = {.collection = "c", .vector = v, .dim = KIT_DIM, .mode = INDEX_DENSE, .filter = filter, .ef = ef,
                                .exact = exact, .no_text = true};
        kit_ok(index_search(r, &q, &res, &em), &em);
        sampled += res.sampled;
        index_result_finish(&res);
    }
    return sampled;
}

/* Runs what waits; how many it was, and *n the vectors compared. */
static unsigned run(struct index_reader *r, uint64_t *n)
{
    unsigned times = 0;
    uint64_t one;
    struct err_msg em;
    int ret;
    for (*n = 0; (ret = index_sample(r, &one, &em)) == 0; times++)
        *n += one;
    assert_int_equal(ret, LT_ENOTFOUND);
    return times;
}

static struct index_collection info(struct index *ix)
{
    struct index_collection c;
    struct err_msg em;
    kit_ok(index_info(ix, "c", &c, &em), &em);
    return c;
}

/* Leaves of all lists only the edges of the tree: every node is reached, but hardly by the right way. */
static void damage(struct index *ix)
{
    struct collection *c = collection_find(ix, "c");
    struct core *core = graph_core(c->graph);
    uint32_t links[2 * GRAPH_M_MAX + 8];
    for (uint32_t id = 0; id < core_n_slots(core); id++) {
        uint32_t n = list_read_marked(core_list(core, id), links), k = 0;
        for (uint32_t i = 0; i < n; i++)
            if (links[i] & LINK_CHILD)
                links[k++] = links[i];
        list_write(core_list(core, id), links, k);
    }
    collection_release(c);
}

static void test_recall(void **state)
{
    char dir[128];
    uint64_t n;
    struct err_msg em;
    struct index_reader *r;
    struct index *ix = open_filled(kit_dir(dir), EVERY, 0);
    kit_ok(index_reader_create(&r, ix, &em), &em);
    assert_int_equal(info(ix).recall_samples, 0);
    assert_int_equal(run(r, &n), 0);
    for (int round = 0; round < 4; round++) { /* every fifth, by count */
        assert_int_equal(ask(r, 2 * EVERY, NULL, 400, false), 2);
        assert_int_equal(run(r, &n), 2);
        assert_int_equal(n, 2 * N);
    }
    assert_int_equal(info(ix).recall_samples, 8);
    assert_true(info(ix).recall == 1);
    /* Those that compared every vector themselves, or look for words, have nothing to tell. */
    assert_int_equal(ask(r, 3 * EVERY, NULL, 0, true), 0);
    /* With a filter only what it lets through counts. */
    assert_int_equal(ask(r, EVERY, "not rare", 0, false), 1);
    assert_int_equal(run(r, &n), 1);
    assert_int_equal(n, N / 100 * 99);
    assert_int_equal(info(ix).recall_samples, 9);
    assert_true(info(ix).recall > 0.95f);
    damage(ix);
    for (int round = 0; round < 8; round++) {
        ask(r, 2 * EVERY, NULL, 0, false);
        run(r, &n);
    }
    struct index_collection c = info(ix);
    print_message("%u samples, recall %.3f with the damaged graph's\n", c.recall_samples, (double)c.recall);
    assert_int_equal(c.recall_samples, 25);
    assert_true(c.recall > 0 && c.recall < 0.9f);
    /* Only the last ones are told of, and waiting ones are few. */
    for (int round = 0; round < 40; round++) {
        assert_int_equal(ask(r, 20 * EVERY, NULL, 0, false), 8);
        assert_int_equal(run(r, &n), 8);
    }
    assert_int_equal(info(ix).recall_samples, 256);
    assert_true(info(ix).recall < c.recall);
    ask(r, EVERY, NULL, 0, false); /* one waits while all is closed */
    index_reader_destroy(&r);
    index_close(&ix);
    kit_remove(dir);
}

/* What is put, replaced and deleted between a search and its repetition does not count against the graph. */
static void test_changes(void **state)
{
    char dir[128], id[16];
    uint64_t n;
    struct err_msg em;
    struct index_reader *r;
    struct index *ix = open_filled(kit_dir(dir), 1, 0);
    kit_ok(index_reader_create(&r, ix, &em), &em);
    assert_int_equal(ask(r, 8, NULL, 400, false), 8);
    for (int i = 0; i < N; i += 3) {
        snprintf(id, sizeof id, "%d", i);
        kit_ok(index_delete(ix, "c", id, strlen(id), &em), &em);
    }
    for (int i = 1; i < N; i += 3)
        put(ix, i); /* another row with the same vector */
    for (int i = N; i < 2 * N; i++)
        put(ix, i);
    kit_commit(ix);
    assert_int_equal(run(r, &n), 8);
    assert_true(n % (N / 3) == 0 && n >= 5 * (N / 3)); /* but for searches that have lost all of their hits */
    assert_int_equal(info(ix).recall_samples, n / (N / 3));
    assert_true(info(ix).recall == 1);
    /* All of it gone, and the collection too. */
    assert_int_equal(ask(r, 8, NULL, 0, false), 8);
    kit_ok(index_drop(ix, "c", &em), &em);
    assert_int_equal(run(r, &n), 8);
    assert_int_equal(n, 0);
    index_reader_destroy(&r);
    index_close(&ix);
    kit_remove(dir);
}

/* A collection that is too large for all of it: compared with a part, the healthy graph misses nothing there and the damaged one
 * about as much as it does. */
static void test_bounded(void **state)
{
    char dir[128];
    uint64_t n;
    struct err_msg em;
    struct index_reader *r;
    struct index *ix = open_filled(kit_dir(dir), 1, N / 6);
    kit_ok(index_reader_create(&r, ix, &em), &em);
    for (int round = 0; round < 10; round++) {
        assert_int_equal(ask(r, 8, NULL, 400, false), 8);
        assert_int_equal(run(r, &n), 8);
        assert_int_equal(n, 8 * (N / 6));
    }
    struct index_collection c = info(ix);
    print_message("%u samples of a part, recall %.3f\n", c.recall_samples, (double)c.recall);
    assert_true(c.recall == 1 && c.recall_samples > 30);
    damage(ix);
    for (int round = 0; round < 40; round++) {
        ask(r, 8, NULL, 0, false);
        run(r, &n);
    }
    c = info(ix);
    print_message("%u samples of a part, recall %.3f with the damaged graph's\n", c.recall_samples, (double)c.recall);
    assert_true(c.recall < 0.9f);
    index_reader_destroy(&r);
    index_close(&ix);
    kit_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_recall), cmocka_unit_test(test_changes),
                                       cmocka_unit_test(test_bounded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
