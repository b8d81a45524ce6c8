/* Ten times its size through a graph and through a folder: what is left is as good, as small and as whole as a fresh one. */
#include "store_kit.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include "index/graph.h"
#include "kit_clock.h"

#define N 1500u
#define TIMES 10u
#define DIM KIT_DIM
#define K 10
#define N_QUERIES 200
#define PAUSE_NS 60000000000u

/* Clustered, as embeddings are. */
static void vector_of(uint64_t label, float *v)
{
    uint64_t a = label % 41, b = label + 100;
    for (unsigned i = 0; i < DIM; i++)
        v[i] = (float)(int64_t)(unit_rand(&a) >> 40) / (1 << 23) + 0.7f * (float)(int64_t)(unit_rand(&b) >> 40) / (1 << 23) - 1.7f;
}

static struct graph *open_graph(const char *dir, enum graph_codes codes)
{
    struct graph *g;
    struct err_msg em;
    struct graph_report rep;
    uint64_t seq;
    struct graph_params p = {.dim = DIM, .ef_construction = 100, .codes = codes};
    kit_ok(graph_open(&g, dir, &p, &seq, &rep, &em), &em);
    assert_false(rep.damaged);
    return g;
}

static void add(struct graph *g, uint64_t label)
{
    float v[DIM];
    vector_of(label, v);
    assert_int_equal(graph_add(g, label, v), 0);
}

static void sound(const struct graph *g, uint64_t n)
{
    struct graph_report rep;
    if (graph_check(g, &rep) < 0)
        fail_msg("%s", rep.text);
    assert_int_equal(rep.n_live, n);
    assert_int_equal(rep.n_reached, n);
}

/* ef small enough that there is something to lose. */
static double recall(const struct graph *g)
{
    struct graph_scratch *s;
    size_t found = 0, n, m;
    assert_int_equal(graph_scratch_create(&s), 0);
    for (uint64_t i = 0; i < N_QUERIES; i++) {
        struct graph_hit near[K], exact[K];
        float v[DIM];
        vector_of(1u << 30 | i, v);
        struct graph_query q = {.v = v, .k = K, .ef = 12};
        assert_int_equal(graph_search(g, s, &q, near, &n, NULL), 0);
        q.exact = true;
        assert_int_equal(graph_search(g, s, &q, exact, &m, NULL), 0);
        assert_int_equal(n, K);
        for (size_t a = 0; a < n; a++)
            for (size_t b = 0; b < m; b++)
                found += near[a].label == exact[b].label;
    }
    graph_scratch_destroy(&s);
    return (double)found / (N_QUERIES * K);
}

static uint64_t bytes_in(const char *dir)
{
    char path[600];
    uint64_t bytes = 0;
    struct stat st;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.' && stat(path, &st) == 0)
            bytes += (uint64_t)st.st_blocks * 512;
    }
    closedir(d);
    return bytes;
}

/* Every label by its own vector, with a wide walk. */
static void all_found(const struct graph *g, const uint64_t *labels, uint32_t n)
{
    struct graph_scratch *s;
    assert_int_equal(graph_scratch_create(&s), 0);
    for (uint32_t i = 0; i < n; i++) {
        struct graph_hit hit;
        float v[DIM];
        size_t found;
        vector_of(labels[i], v);
        struct graph_query q = {.v = v, .k = 1, .ef = 200};
        assert_int_equal(graph_search(g, s, &q, &hit, &found, NULL), 0);
        if (found != 1 || hit.label != labels[i])
            fail_msg("label %llu is not found by its own vector", (unsigned long long)labels[i]);
    }
    graph_scratch_destroy(&s);
}

static void checkpoint(struct graph *g, uint64_t seq)
{
    struct err_msg em;
    kit_ok(graph_checkpoint(g, seq, &em), &em);
}

/* Half of the changes replace a label's vector with itself moved to a new node, half let one go and bring another. */
static void churn_graph(enum graph_codes codes)
{
    char dir[128], fresh_dir[128];
    struct err_msg em;
    struct graph_info info;
    static uint64_t labels[N];
    uint64_t rng = unit_seed(), next = N;
    struct graph *g = open_graph(kit_dir(dir), codes), *fresh = open_graph(kit_dir(fresh_dir), codes);
    for (uint32_t i = 0; i < N; i++)
        add(g, labels[i] = i);
    for (uint32_t i = 0; i < TIMES * N; i++) {
        uint32_t at = (uint32_t)(unit_rand(&rng) % N);
        if (i % 2) {
            add(g, labels[at]);
        } else {
            assert_int_equal(graph_remove(g, labels[at]), 0);
            add(g, labels[at] = next++);
        }
        if (graph_wants_checkpoint(g, false))
            checkpoint(g, i + 1);
        if (i % (2 * N) == 0)
            sound(g, N);
    }
    checkpoint(g, TIMES * N + 1);
    for (uint32_t i = 0; i < N; i++)
        add(fresh, labels[i]);
    checkpoint(fresh, 1);
    sound(g, N);
    all_found(g, labels, N);
    double was = recall(g), want = recall(fresh);
    uint64_t before = bytes_in(dir), least = bytes_in(fresh_dir);
    kit_ok(graph_compact(g, TIMES * N + 2, &em), &em);
    graph_info(g, &info);
    assert_int_equal(info.n_slots, N);
    sound(g, N);
    double now = recall(g);
    uint64_t after = bytes_in(dir);
    print_message("codes %d: recall@10 %.4f, compacted %.4f, fresh %.4f; %llu bytes, compacted %llu, fresh %llu\n", (int)codes,
                  was, now, want, (unsigned long long)before, (unsigned long long)after, (unsigned long long)least);
    assert_true(was >= want - 0.01 && now >= want - 0.01);
    assert_true(after * 10 <= least * 13);
    assert_true(info.bytes_on_disk == after);
    /* From the files it is the same. */
    graph_destroy(&g);
    g = open_graph(dir, codes);
    assert_int_equal(graph_count(g), N);
    sound(g, N);
    all_found(g, labels, N);
    assert_true(recall(g) == now);
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(graph_remove(g, labels[i]), 0);
    kit_ok(graph_compact(g, TIMES * N + 3, &em), &em); /* nothing left */
    sound(g, 0);
    graph_info(g, &info);
    assert_int_equal(info.n_slots, 0);
    add(g, 5);
    sound(g, 1);
    graph_destroy(&g);
    graph_destroy(&fresh);
    kit_remove(dir);
    kit_remove(fresh_dir);
}

static void test_graph(void **state)
{
    churn_graph(GRAPH_CODES_INT8);
    churn_graph(GRAPH_CODES_1BIT);
}

enum { KEPT = 0, NOT_REACHED = 3, ELSEWHERE = 4, WRONG = 5 };

/* Compacts in a process of its own, whose fault point acts at some write; what became of it. */
static int compact_with_fault(const char *point, int after)
{
    char dir[128], spec[80];
    struct err_msg em;
    struct graph_report rep;
    uint64_t seq, before;
    struct graph_params p = {.dim = DIM, .ef_construction = 40, .codes = GRAPH_CODES_INT8};
    struct graph *g;
    snprintf(spec, sizeof spec, "%s:%d=fail", point, after);
    setenv("LATENTD_FAULT", spec, 1);
    kit_dir(dir);
    if (graph_open(&g, dir, &p, &seq, &rep, &em) < 0)
        return WRONG;
    for (uint64_t i = 0; i < N; i++) {
        float v[DIM];
        vector_of(i, v);
        if (graph_add(g, i, v) < 0)
            return WRONG;
    }
    if (graph_checkpoint(g, 1, &em) < 0)
        return ELSEWHERE;
    for (uint64_t i = 0; i < N; i += 2)
        graph_remove(g, i);
    if (graph_checkpoint(g, 2, &em) < 0)
        return ELSEWHERE;
    before = bytes_in(dir);
    int r = graph_compact(g, 3, &em);
    if (r == 0)
        return NOT_REACHED;
    if (r != LT_ENOSPC || !em.text[0] || bytes_in(dir) != before || graph_check(g, &rep) < 0 || graph_count(g) != N / 2)
        return WRONG;
    graph_destroy(&g);
    if (graph_open(&g, dir, &p, &seq, &rep, &em) < 0 || seq != 2 || graph_check(g, &rep) < 0 || graph_count(g) != N / 2 ||
        graph_compact(g, 3, &em) < 0 || graph_check(g, &rep) < 0 || bytes_in(dir) >= before)
        return WRONG;
    graph_destroy(&g);
    kit_remove(dir);
    return KEPT;
}

/* The disk has no room for the new files at some point: the graph goes on as it was, in memory and on disk. */
static void test_no_room(void **state)
{
    static const char *const points[] = {"graph.vectors.write", "graph.segment.write"};
    const char *compiled = getenv("LATENTD_FAULTS");
    if (!compiled || strcmp(compiled, "yes") != 0)
        skip();
    for (size_t p = 0; p < 2; p++) {
        int n_kept = 0;
        for (int after = 0; after < (p ? 60 : 750); after += p ? 2 : 240) {
            int status;
            pid_t pid = fork();
            if (pid == 0)
                _exit(compact_with_fault(points[p], after));
            assert_int_equal(waitpid(pid, &status, 0), pid);
            assert_true(WIFEXITED(status));
            if (WEXITSTATUS(status) == WRONG)
                fail_msg("%s after %d passes", points[p], after);
            n_kept += WEXITSTATUS(status) == KEPT;
        }
        print_message("%s: %d failures survived\n", points[p], n_kept);
        assert_true(n_kept >= 3);
    }
}

/* ---- a whole folder ---- */

#define N_DOCS 1000u
#define REST_MS 1500 /* the changes below never pause for so long */

static struct index *open_folder(const char *dir)
{
    struct index *ix;
    struct err_msg em;
    struct index_params p = {.dir = dir, .fingerprint = KIT_MODEL, .dim = KIT_DIM, .rest_ms = REST_MS};
    kit_ok(index_open(&ix, &p, &em), &em);
    return ix;
}

static void put(struct index *ix, uint64_t number, uint64_t version)
{
    static const char *const words[] = {"house", "river", "engine", "paper", "garden", "number", "winter", "letter"};
    char id[24], text[1200];
    float v[DIM];
    struct err_msg em;
    uint64_t rng = number * 31 + version;
    size_t len = 0, n = 40 + unit_rand(&rng) % 80;
    for (size_t i = 0; i < n; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%u ", words[unit_rand(&rng) % 8], (unsigned)(unit_rand(&rng) % 500));
    snprintf(id, sizeof id, "%llu", (unsigned long long)number);
    vector_of(number + 1000003 * version, v);
    struct index_doc d = {.collection = "c", .id = id, .id_len = strlen(id), .text = text, .text_len = len, .vectors = v, .dim = DIM};
    kit_ok(index_put(ix, &d, &em), &em);
}

/* Until nothing is left to do and the graph is compacted; some of it is looked at once a second, rests are awaited, and a compaction that
 * took long under load waits twenty times as long before the next. That time is made to pass. */
static void settle(struct index *ix, const char *graph, uint64_t most)
{
    struct err_msg em;
    bool more;
    for (int idle = 0; idle < 5 || (idle < 90 && bytes_in(graph) > most); idle += !more) {
        kit_ok(index_maintain(ix, 100, &more, &em), &em);
        if (!more)
            atomic_fetch_add(&kit_clock.ahead_ns, PAUSE_NS);
    }
}

static uint64_t store_bytes(const char *dir)
{
    char path[300];
    struct stat st;
    snprintf(path, sizeof path, "%s/store.db", dir);
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

static void test_folder(void **state)
{
    char dir[128], fresh_dir[128], path[200];
    struct err_msg em;
    struct index_collection c;
    static uint64_t numbers[N_DOCS];
    uint64_t rng = unit_seed(), next = N_DOCS;
    struct index_collection_params p = {.name = "c", .dim = DIM, .vectors_only = true, .ef_construction = 40};
    struct index *ix = open_folder(kit_dir(dir)), *fresh = open_folder(kit_dir(fresh_dir));
    kit_ok(index_create(ix, &p, &em), &em);
    kit_ok(index_create(fresh, &p, &em), &em);
    for (uint32_t i = 0; i < N_DOCS; i++)
        put(ix, numbers[i] = i, 0);
    for (uint32_t i = 0; i < TIMES * N_DOCS; i++) {
        uint32_t at = (uint32_t)(unit_rand(&rng) % N_DOCS);
        if (i % 2) {
            put(ix, numbers[at], i);
        } else {
            char id[24];
            snprintf(id, sizeof id, "%llu", (unsigned long long)numbers[at]);
            kit_ok(index_delete(ix, "c", id, strlen(id), &em), &em);
            put(ix, numbers[at] = next++, 0);
        }
        if (i % 200 == 0)
            kit_commit(ix);
        if (i % 1000 == 0)
            kit_ok(index_maintain(ix, 20, NULL, &em), &em);
    }
    kit_commit(ix);
    for (uint32_t i = 0; i < N_DOCS; i++)
        put(fresh, numbers[i], 0);
    kit_commit(fresh);
    index_close(&fresh);
    snprintf(path, sizeof path, "%s/graph/1", fresh_dir);
    uint64_t graph_fresh = bytes_in(path);
    snprintf(path, sizeof path, "%s/graph/1", dir);
    settle(ix, path, graph_fresh * 13 / 10);
    kit_ok(index_info(ix, "c", &c, &em), &em);
    assert_int_equal(c.documents, N_DOCS);
    assert_true(c.compacted_ms > 0 && c.compacted_bytes > 0 && !c.compacting && !c.compaction_failed_ms);
    kit_check(ix); /* every row has a node and none more; links, levels, reachability */
    index_close(&ix);
    uint64_t store = store_bytes(dir), store_fresh = store_bytes(fresh_dir);
    uint64_t graph = bytes_in(path);
    print_message("store %llu bytes, fresh %llu; graph %llu, fresh %llu\n", (unsigned long long)store,
                  (unsigned long long)store_fresh, (unsigned long long)graph, (unsigned long long)graph_fresh);
    assert_true(store * 10 <= store_fresh * 13);
    assert_true(graph * 10 <= graph_fresh * 13);
    kit_remove(dir);
    kit_remove(fresh_dir);
}

/* All go and come back, three times, by a walk as narrow as can be: new nodes are linked to nearly as those of a fresh graph are. */
static void test_all_replaced(void **state)
{
    struct graph *g;
    uint64_t seq;
    struct graph_params p = {.dim = DIM, .ef_construction = 100};
    assert_int_equal(graph_open(&g, NULL, &p, &seq, NULL, NULL), 0);
    for (uint32_t i = 0; i < 4 * N; i++)
        add(g, i);
    double fresh = recall(g);
    for (uint32_t i = 0; i < 12 * N; i++) {
        assert_int_equal(graph_remove(g, i % (4 * N)), 0);
        add(g, i % (4 * N));
    }
    double was = recall(g);
    print_message("replaced: recall@10 %.4f, fresh %.4f\n", was, fresh);
    assert_true(was >= fresh - 0.08);
    sound(g, 4 * N);
    graph_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_room), cmocka_unit_test(test_graph), cmocka_unit_test(test_all_replaced),
                                       cmocka_unit_test(test_folder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
