/* Restarts of a store at each size where something changes, after a crash and after a clean end, and with vectors that are damaged;
 * and that neither a start nor a search looks at what the graph has already. */
#include "kit_sql.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "index/reader.h"
#include "index/store.h"

#define DIM 8u
#define SAVED_FROM 4096u /* changes, from which on a running store saves its graph (graph.c); also the nodes of a chunk */
#define COMPARED_TO 256u /* vectors, up to which all are compared (graph_search.c) */
#ifdef __SANITIZE_ADDRESS__
#define TEN_TIMES 4
#else
#define TEN_TIMES 10
#endif

static void vector_of(uint64_t i, float v[static DIM])
{
    uint64_t s = i + 1;
    for (uint32_t j = 0; j < DIM; j++)
        v[j] = (float)(unit_rand(&s) >> 40) / (1 << 23) - 1;
}

static void create_named(struct index *ix, const char *name)
{
    struct err_msg em;
    struct index_collection_params p = {.name = name, .dim = DIM, .metric = METRIC_L2, .vectors_only = true, .m = 8, .ef_construction = 32};
    kit_ok(index_create(ix, &p, &em), &em);
}

static void create(struct index *ix)
{
    create_named(ix, "c");
}

static void put_into(struct index *ix, const char *name, uint64_t from, uint64_t to)
{
    struct err_msg em;
    for (uint64_t i = from; i < to; i++) {
        char id[24];
        float v[DIM];
        vector_of(i, v);
        snprintf(id, sizeof id, "%llu", (unsigned long long)i);
        struct index_doc d = {.collection = name, .id = id, .id_len = strlen(id), .vectors = v, .dim = DIM};
        kit_ok(index_put(ix, &d, &em), &em);
        if (i % 1024 == 1023)
            kit_commit(ix);
    }
    kit_commit(ix);
}

static void put(struct index *ix, uint64_t from, uint64_t to)
{
    put_into(ix, "c", from, to);
}

static struct index_collection info(struct index *ix)
{
    struct index_collection c;
    assert_int_equal(index_info(ix, "c", &c, NULL), 0);
    return c;
}

static void check_found(struct index_reader *r, uint64_t i)
{
    char id[24];
    float v[DIM];
    struct index_result res;
    struct err_msg em = {""};
    vector_of(i, v);
    snprintf(id, sizeof id, "%llu", (unsigned long long)i);
    kit_ok(index_search(r, &(struct index_query){.collection = "c", .vector = v, .dim = DIM, .k = 3, .mode = INDEX_DENSE}, &res, &em), &em);
    assert_true(res.n > 0);
    assert_string_equal(res.hits[0].id, id);
    index_result_finish(&res);
}

/* n documents are there and found; true: the graph has to be brought up to date, which is done before it returns. */
static bool check_all(struct index *ix, uint64_t n)
{
    struct index_reader *r;
    struct err_msg em;
    bool more = true, behind = info(ix).degraded;
    kit_ok(index_reader_create(&r, ix, &em), &em);
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(info(ix).documents, n);
        for (uint64_t i = 0; i < n; i += 1 + n / 20)
            check_found(r, i);
        if (n)
            check_found(r, n - 1);
        while (more)
            kit_ok(index_maintain(ix, 100, &more, &em), &em);
        assert_false(info(ix).degraded);
    }
    index_reader_destroy(&r);
    kit_check(ix);
    return behind;
}

/* In a process that ends without closing, after the housekeeping that a running store does. */
static void put_and_crash(const char *dir, uint64_t n)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        bool more = true;
        struct index *ix = kit_open(dir);
        create(ix);
        put(ix, 0, n);
        while (more)
            if (index_maintain(ix, 0, &more, NULL) < 0)
                _exit(1);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* What opening, and bringing the graph up to date, write into the log. */
static char *open_listening(const char *dir, struct index **ix)
{
    static char text[2048];
    char path[160];
    bool more = true;
    snprintf(path, sizeof path, "%s.log", dir);
    fflush(stderr);
    const int was = dup(STDERR_FILENO), fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(was >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    *ix = kit_open(dir);
    while (more && index_maintain(*ix, 100, &more, NULL) == 0)
        ;
    dup2(was, STDERR_FILENO);
    close(was);
    const ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    close(fd);
    unlink(path);
    return text;
}

static void test_sizes(void **state)
{
    static const uint64_t sizes[] = {0, 1, COMPARED_TO - 1, COMPARED_TO, COMPARED_TO + 1, SAVED_FROM - 1, SAVED_FROM, SAVED_FROM + 1,
                                     TEN_TIMES * SAVED_FROM};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char dir[128];
        const uint64_t n = sizes[i];
        put_and_crash(kit_dir(dir), n);
        struct index *ix = kit_open(dir);
        assert_int_equal(check_all(ix, n), n > 0 && n < SAVED_FROM); /* saved by itself, or brought up to date now */
        index_close(&ix);
        for (int again = 0; again < 2; again++) { /* from its files alone, and nothing is mended twice */
            assert_string_equal(open_listening(dir, &ix), "");
            assert_false(check_all(ix, n));
            index_close(&ix);
        }
        ix = kit_open(dir);
        put(ix, n, n + 10);
        assert_false(check_all(ix, n + 10));
        index_close(&ix);
        kit_remove(dir);
    }
}

/* Two vectors that cannot be used, one too short and one not a number: named once, the others serve, and no start after that makes the
 * graph anew because of them; the status goes on to say so. */
static void test_poisoned(void **state)
{
    char dir[128], cmd[300];
    struct index *ix = kit_open(kit_dir(dir));
    struct index_reader *r;
    struct index_status st;
    struct err_msg em;
    create(ix);
    put(ix, 0, 600);
    index_get_status(ix, &st);
    assert_string_equal(st.warning, "");
    index_close(&ix);
    kit_sql(dir, "UPDATE vectors SET data = substr(data, 1, 8) WHERE chunk = 8;"
             "UPDATE vectors SET data = x'ffffffff' || substr(data, 5) WHERE chunk = 300");
    snprintf(cmd, sizeof cmd, "%s/graph/1", dir);
    kit_ok(graph_erase(cmd, &em), &em);
    for (int start = 0; start < 3; start++) {
        char *log = open_listening(dir, &ix);
        if (start == 0)
            assert_true(strstr(log, "vector of chunk 8 is damaged") && strstr(log, "vector of chunk 300 is damaged"));
        else
            assert_string_equal(log, "");
        assert_false(info(ix).degraded);
        index_get_status(ix, &st);
        assert_non_null(strstr(st.warning, "collection c: the vectors of 2 chunks are damaged"));
        kit_ok(index_reader_create(&r, ix, &em), &em);
        for (uint64_t i = 0; i < 600 + (uint64_t)start; i++)
            if (i != 7 && i != 299)
                check_found(r, i);
        index_reader_destroy(&r);
        put(ix, 600 + (uint64_t)start, 601 + (uint64_t)start);
        index_close(&ix);
    }
    /* A graph that lacks what can be used is not this store's. */
    kit_sql(dir, "UPDATE vectors SET data = (SELECT data FROM vectors v WHERE v.chunk = 9) WHERE chunk = 8");
    assert_non_null(strstr(open_listening(dir, &ix), "made anew"));
    index_get_status(ix, &st);
    assert_non_null(strstr(st.warning, "of 1 chunks"));
    index_close(&ix);
    kit_remove(dir);
}

static void maintain(struct index *ix)
{
    struct err_msg em;
    for (bool more = true; more;)
        kit_ok(index_maintain(ix, 0, &more, &em), &em);
}

/* A graph that cannot be saved is no error, but it is said, and since when, until it can be. */
static void test_unsaved(void **state)
{
    char dir[128], path[160];
    struct index_status st;
    struct index *ix = kit_open(kit_dir(dir));
    create(ix);
    put(ix, 0, SAVED_FROM);
    snprintf(path, sizeof path, "%s/graph/1/MANIFEST.tmp", dir);
    assert_int_equal(mkdir(path, 0700), 0); /* in the way */
    maintain(ix);
    index_get_status(ix, &st);
    assert_non_null(strstr(st.warning, "has not been saved for ")); /* so many seconds: a slow machine may take one */
    assert_non_null(strstr(st.warning, "MANIFEST.tmp"));
    assert_true(info(ix).compaction_failed_ms > 0 && info(ix).compacted_ms == 0);
    assert_int_equal(rmdir(path), 0);
    ix->maintain_ns = ix->collections[0]->compaction.retry_ns = 0; /* now, not in a minute */
    maintain(ix);
    index_get_status(ix, &st);
    assert_string_equal(st.warning, "");
    assert_true(info(ix).compaction_failed_ms == 0 && info(ix).compacted_ms > 0);
    /* And so is one that nobody saves: here maintenance never comes. */
    ix->alarm_ms = 1;
    put(ix, SAVED_FROM, 2 * SAVED_FROM);
    usleep(20000);
    index_get_status(ix, &st);
    assert_non_null(strstr(st.warning, "wanted for "));
    assert_non_null(strstr(st.warning, " s and not done"));
    ix->maintain_ns = 0;
    maintain(ix);
    index_get_status(ix, &st);
    assert_string_equal(st.warning, "");
    index_close(&ix);
    kit_remove(dir);
}

/* Half of one graph is made anew when another one is found to be damaged: there is more to do then, but the percentage does not fall. */
static void test_percentage(void **state)
{
    char dir[128], path[160];
    struct index_status st;
    struct err_msg em;
    struct index *ix = kit_open(kit_dir(dir));
    unsigned last = 0;
    bool more = true, damaged = false;
    create(ix);
    create_named(ix, "d");
    put(ix, 0, 600);
    put_into(ix, "d", 0, 300);
    index_close(&ix);
    snprintf(path, sizeof path, "%s/graph/1", dir);
    kit_ok(graph_erase(path, &em), &em);
    ix = kit_open(dir);
    while (more) {
        kit_ok(index_maintain(ix, 0, &more, &em), &em);
        index_get_status(ix, &st);
        assert_in_range(st.recovered_percent, last, 100);
        last = st.recovered_percent;
        if (last >= 50 && !damaged) {
            struct collection *d = collection_find(ix, "d");
            kit_ok(collection_rebuild(ix, d, "for the test", &em), &em);
            collection_release(d);
            damaged = true;
        }
    }
    assert_true(damaged && last == 100);
    index_close(&ix);
    kit_remove(dir);
}

static int steps(sqlite3_stmt *st)
{
    assert_non_null(st);
    return sqlite3_stmt_status(st, SQLITE_STMTSTATUS_VM_STEP, 1);
}

/* Two bounds on one column: SQLite takes the first it is told, and the others are compared row by row. */
static void test_only_what_is_new(void **state)
{
    char dir[128];
    struct index_reader *r;
    struct err_msg em;
    struct index *ix = kit_open(kit_dir(dir));
    create(ix);
    put(ix, 0, 2000);
    index_close(&ix);
    ix = kit_open(dir);
    assert_false(info(ix).degraded);
    assert_in_range(steps(ix->stmt[ST_REFILL_COUNT]), 1, 200);
    kit_ok(index_reader_create(&r, ix, &em), &em);
    check_found(r, 1000);
    assert_in_range(steps(r->recent), 1, 200);
    put(ix, 2000, 2001);
    assert_in_range(steps(ix->stmt[ST_REFILL]), 1, 200);
    index_reader_destroy(&r);
    index_close(&ix);
    kit_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes), cmocka_unit_test(test_poisoned), cmocka_unit_test(test_unsaved), cmocka_unit_test(test_percentage),
                                       cmocka_unit_test(test_only_what_is_new)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
